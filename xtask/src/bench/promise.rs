//! The promises of `SPECIFICATION.md`, read from its section "Measured": there is one place
//! for a number, and it is the one that people read.

use super::figure::{Figure, Row};
use anyhow::{Context as _, Result, bail};

const HEADING: &str = "## Measured";

/// At most so much.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Promise {
    pub(crate) figure: String,
    most: f64,
    /// The command.
    pub(crate) shown_by: String,
    /// Of the slowest hundredth, not of the median.
    tail: bool,
    text: String,
    to: To,
}

/// What a limit is measured in.
#[derive(Clone, Debug, PartialEq)]
enum To {
    /// Floors of the same run.
    Floor,
    /// A unit.
    Unit(String),
}

/// Reads the rows `| what | figure | promise | shown by |` of the section.
pub(crate) fn read(specification: &str) -> Result<Vec<Promise>> {
    let section = specification.lines().skip_while(|line| line.trim_end() != HEADING).skip(1);
    let rows = section.take_while(|line| !line.starts_with("## ")).filter(|l| l.starts_with('|'));
    // Two lines of heading.
    let promises: Vec<Promise> = rows
        .skip(2)
        .map(|row| parse(row).with_context(|| format!("SPECIFICATION.md: {row}")))
        .collect::<Result<_>>()?;
    if promises.is_empty() {
        bail!("SPECIFICATION.md has no promises under `{HEADING}`");
    }
    Ok(promises)
}

fn parse(row: &str) -> Result<Promise> {
    let cells: Vec<&str> = row.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [_, figure, text, shown_by] = cells[..] else {
        bail!("write four cells: what, figure, promise, shown by");
    };
    let form = "write a promise as `≤ 12 × floor`, `≤ 40 MiB`, or `p99 ≤ 3 × floor`";
    let (tail, limit) = text.strip_prefix("p99 ").map_or((false, text), |rest| (true, rest));
    let limit = limit.strip_prefix('≤').context(form)?.trim();
    let (number, rest) = limit.split_once(' ').context(form)?;
    let most: f64 = number.parse().context(form)?;
    let to = match rest.trim() {
        "× floor" => To::Floor,
        unit if !unit.is_empty() && !unit.contains(' ') => To::Unit(unit.to_owned()),
        _ => bail!(form),
    };
    let code = |cell: &str| cell.trim_matches('`').to_owned();
    let (figure, shown_by) = (code(figure), code(shown_by));
    Ok(Promise { figure, most, shown_by, tail, text: text.to_owned(), to })
}

/// Sets a figure beside its floor and what is promised of it.
pub(crate) fn judge(figure: Figure, promises: &[Promise]) -> Row {
    let of_floor = |value: f64| {
        let floor = figure.floor.as_ref().map(|floor| floor.value)?;
        (floor > 0.0).then(|| value / floor)
    };
    let ratio = of_floor(figure.value);
    let promise = promises.iter().find(|promise| promise.figure == figure.name());
    let held = promise.map(|promise| {
        let value = if promise.tail { figure.p99 } else { Some(figure.value) };
        let found = match &promise.to {
            To::Floor => value.and_then(of_floor),
            To::Unit(unit) => value.filter(|_| *unit == figure.unit),
        };
        // What cannot be compared does not hold.
        found.is_some_and(|found| found <= promise.most)
    });
    Row {
        held,
        name: figure.name().to_owned(),
        p99: figure.p99,
        promise: promise.map(|promise| promise.text.clone()),
        ratio,
        samples: figure.samples,
        unit: figure.unit,
        value: figure.value,
        floor: figure.floor,
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::Floor;
    use super::*;

    fn specification(promise: &str) -> String {
        format!(
            "# S\n| not | this |\n\n## Measured\nWords.\n\n| what | figure | promise | shown by \
             |\n|---|---|---|---|\n| the tick | `gate.tick` | {promise} | `cargo xtask bench \
             gate` |\n\n## Bounds\n| a | b | c | d |\n"
        )
    }

    fn judged(promise: &str, value: f64) -> Option<bool> {
        let promises = read(&specification(promise)).unwrap();
        let floor = Floor { name: "clamp".to_owned(), value: 2.0 };
        let figure = Figure::new("gate.tick", "ms", &[value, value, 3.0 * value], Some(floor));
        judge(figure, &promises).held
    }

    #[test]
    fn a_promise_is_a_multiple_of_the_floor_or_a_number_with_its_unit() {
        assert_eq!(judged("≤ 3 × floor", 6.0), Some(true));
        assert_eq!(judged("≤ 3 × floor", 6.1), Some(false));
        assert_eq!(judged("≤ 6 ms", 6.0), Some(true));
        assert_eq!(judged("≤ 5.9 ms", 6.0), Some(false));
        assert_eq!(judged("p99 ≤ 3 × floor", 6.0), Some(false));
        assert_eq!(judged("p99 ≤ 9 × floor", 6.0), Some(true));
    }

    #[test]
    fn what_cannot_be_compared_does_not_hold() {
        assert_eq!(judged("≤ 6000 µs", 6.0), Some(false));
        assert_eq!(judged("≤ 6 ms", f64::NAN), Some(false));
    }

    #[test]
    fn a_figure_without_a_promise_is_not_judged() {
        let promises = read(&specification("≤ 3 × floor")).unwrap();
        let row = judge(Figure::new("gate.other", "ms", &[1.0], None), &promises);
        assert_eq!((row.held, row.ratio, row.promise), (None, None, None));
    }

    #[test]
    fn a_promise_that_is_not_understood_is_named_with_its_line() {
        for bad in ["fast", "3 × floor", "≤ 3", "≤ x ms", "≤ 3 × ceiling", "≥ 3 ms"] {
            let error = format!("{:#}", read(&specification(bad)).unwrap_err());
            assert!(error.contains("the tick") && error.contains("write"), "{bad}: {error}");
        }
        assert!(read("# nothing").is_err());
    }
}
