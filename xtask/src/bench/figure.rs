//! What the measuring programs print, and the table made of it.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// A line of a measuring program.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Curve(Curve),
    Figure(Figure),
}

/// What was measured: less is better.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figure {
    figure: String,
    pub(crate) floor: Option<Floor>,
    /// Not where every sample is the same.
    pub(crate) p99: Option<f64>,
    pub(crate) samples: u64,
    pub(crate) unit: String,
    /// The median.
    pub(crate) value: f64,
}

impl Figure {
    /// A figure that this program measured itself.
    pub(crate) fn new(name: &str, unit: &str, sorted: &[f64], floor: Option<Floor>) -> Self {
        let at = |part: f64| {
            let below = sorted.iter().enumerate();
            let mut enough = below.filter(|(n, _)| (*n as f64 + 1.0) >= part * sorted.len() as f64);
            enough.next().map_or(f64::NAN, |(_, value)| *value)
        };
        Self {
            figure: name.to_owned(),
            floor,
            p99: (sorted.len() > 1).then(|| at(0.99)),
            samples: sorted.len() as u64,
            unit: unit.to_owned(),
            value: at(0.5),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.figure
    }

    /// The same figure under the peer's name, with the peer's time as its floor.
    pub(crate) fn beside(self, peer: Self) -> Self {
        Self { figure: peer.figure, floor: peer.floor, ..self }
    }
}

/// The least that any program would have to do, measured in the same run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    /// What it is.
    pub(crate) name: String,
    /// The median, in the unit of the figure.
    pub(crate) value: f64,
}

/// A figure by a size.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Curve {
    /// What grows.
    pub(crate) axis: String,
    curve: String,
    /// What the floor is.
    pub(crate) floor: String,
    pub(crate) points: Vec<Point>,
    pub(crate) unit: String,
}

impl Curve {
    pub(crate) fn name(&self) -> &str {
        &self.curve
    }
}

/// One place on a curve.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) floor: f64,
    pub(crate) value: f64,
    pub(crate) x: f64,
}

/// A figure, judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) floor: Option<Floor>,
    /// None where nothing is promised.
    pub(crate) held: Option<bool>,
    pub(crate) name: String,
    pub(crate) p99: Option<f64>,
    /// As the specification has it.
    pub(crate) promise: Option<String>,
    /// Of the median to the floor.
    pub(crate) ratio: Option<f64>,
    pub(crate) samples: u64,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// Reads one JSON object per line.
pub(crate) fn read(output: &str) -> Result<Vec<Line>> {
    output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a figure: {line}")))
        .collect()
}

/// The rows in columns, each floor explained below.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["name", "value", "p99", "unit", "floor", "ratio", "promise", "held"];
    let mut cells: Vec<Vec<String>> = vec![head.map(str::to_owned).into()];
    let (dash, mut notes) = ("–".to_owned(), String::new());
    for row in rows {
        let floor = row.floor.as_ref();
        cells.push(vec![
            row.name.clone(),
            short(row.value),
            row.p99.map_or(dash.clone(), short),
            row.unit.clone(),
            floor.map_or(dash.clone(), |floor| short(floor.value)),
            row.ratio.map_or(dash.clone(), short),
            row.promise.clone().unwrap_or_else(|| dash.clone()),
            row.held.map_or(dash.clone(), |held| if held { "yes" } else { "NO" }.to_owned()),
        ]);
        if let Some(floor) = floor {
            notes.push_str(&format!("  floor of {}: {}\n", row.name, floor.name));
        }
    }
    let width = |column: usize| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut table = String::new();
    for row in &cells {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.chars().count());
            // Numbers end below one another, words begin so.
            let is_number = matches!(column, 1 | 2 | 4 | 5);
            let (before, after) =
                if is_number { (space, String::new()) } else { (String::new(), space) };
            table.push_str(&format!("{before}{cell}{after}  "));
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table + &notes
}

/// Three digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        huge if huge >= 1000.0 => format!("{value:.0}"),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURE: &str = r#"{"figure":"gate.tick","unit":"µs","value":1.5,"p99":2.5,"samples":4000,"floor":{"name":"clamp","value":0.25}}"#;
    const CURVE: &str = r#"{"curve":"gate.tick_by_zones","axis":"zones","unit":"µs","floor":"clamp","points":[{"x":1,"value":1.5,"floor":0.2}]}"#;

    #[test]
    fn figures_and_curves_are_told_apart_and_anything_else_is_shown() {
        let lines = read(&format!("{FIGURE}\n\n{CURVE}\n")).unwrap();
        assert!(matches!(&lines[0], Line::Figure(figure) if figure.name() == "gate.tick"));
        assert!(matches!(&lines[1], Line::Curve(curve) if curve.points.len() == 1));
        for bad in ["warming up", "{}", &FIGURE.replace("1.5", "null"), &FIGURE[..30]] {
            let error = format!("{:#}", read(bad).unwrap_err());
            assert!(error.contains("not a figure"), "{error}");
        }
    }

    #[test]
    fn the_median_and_the_tail_of_few_samples_are_samples() {
        let figure = Figure::new("a", "ms", &[1.0, 2.0, 3.0], None);
        assert!((figure.value - 2.0).abs() < 1e-12);
        assert!((figure.p99.unwrap() - 3.0).abs() < 1e-12);
        assert_eq!(Figure::new("a", "MiB", &[9.0], None).p99, None);
    }

    #[test]
    fn the_table_has_a_line_for_each_row_and_one_for_its_floor() {
        let row = Row {
            floor: Some(Floor { name: "clamp".to_owned(), value: 0.25 }),
            held: Some(true),
            name: "gate.tick".to_owned(),
            p99: None,
            promise: Some("≤ 12 × floor".to_owned()),
            ratio: Some(6.0),
            samples: 1,
            unit: "µs".to_owned(),
            value: 1.5,
        };
        let table = table(&[row]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[1].starts_with("gate.tick") && lines[1].ends_with("yes"), "{table}");
        assert!(lines[2].contains("clamp"));
    }

    #[test]
    fn three_digits_are_enough() {
        for (value, expected) in [
            (12345.6, "12346"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
        ] {
            assert_eq!(short(value), expected);
        }
    }
}
