//! The simulator's own account of where the robot was: `mono_ns,x,y,yaw,linear,angular`.
//!
//! It is written beside the path that the robot's software takes, so it can contradict it.

use anyhow::{Context as _, Result, bail};
use nooterra_protocol::geometry::Pose;
use std::path::Path;

const HEADER: &str = "mono_ns,x,y,yaw,linear,angular";

/// One line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Truth {
    /// On the robot's monotonic clock.
    pub(crate) mono_ns: u64,
    /// Where `base_link` truly was.
    pub(crate) pose: Pose,
    /// m/s, forward positive.
    pub(crate) linear_mps: f64,
    /// rad/s.
    pub(crate) angular_radps: f64,
}

/// Reads the file. A last line without its end, cut off when the program stopped, is left out.
pub(crate) fn read(path: &Path) -> Result<Vec<Truth>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Truth>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().enumerate();
    match lines.next() {
        Some((_, header)) if header.trim() == HEADER => {}
        other => bail!("expected the header `{HEADER}`, found {:?}", other.map(|(_, line)| line)),
    }
    let mut samples: Vec<Truth> = Vec::new();
    for (index, line) in lines {
        let sample = parse_line(line).with_context(|| format!("line {}: `{line}`", index + 1))?;
        if samples.last().is_some_and(|last| last.mono_ns > sample.mono_ns) {
            bail!("line {}: time runs backwards", index + 1);
        }
        samples.push(sample);
    }
    Ok(samples)
}

fn parse_line(line: &str) -> Result<Truth> {
    let fields: Vec<&str> = line.trim().split(',').collect();
    let [mono, x, y, yaw, linear, angular] = fields[..] else {
        bail!("has {} fields, expected 6", fields.len());
    };
    let number = |text: &str| -> Result<f64> {
        let number: f64 = text.trim().parse().with_context(|| format!("`{text}`"))?;
        if number.is_finite() { Ok(number) } else { bail!("`{text}` is not finite") }
    };
    Ok(Truth {
        mono_ns: mono.trim().parse().with_context(|| format!("`{mono}`"))?,
        pose: Pose { x: number(x)?, y: number(y)?, yaw: number(yaw)? },
        linear_mps: number(linear)?,
        angular_radps: number(angular)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_and_its_unfinished_last_line_is_left_out() {
        let text = format!("{HEADER}\n10,1,2,0.5,0.1,-0.2\n20,1.5,2,0.5,0.1,0\n30,1.");
        let samples = parse(&text).unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].mono_ns, 10);
        assert!((samples[0].angular_radps + 0.2).abs() < 1e-12);
    }

    #[test]
    fn bad_lines_are_named_and_never_skipped() {
        for (line, expected) in [
            ("10,1,2,0.5,0.1", "fields"),
            ("10,1,NaN,0.5,0.1,0", "finite"),
            ("-3,1,2,0.5,0.1,0", "-3"),
            ("ten,1,2,0.5,0.1,0", "ten"),
        ] {
            let error = format!("{:#}", parse(&format!("{HEADER}\n{line}\n")).unwrap_err());
            assert!(error.contains("line 2") && error.contains(expected), "{error}");
        }
        assert!(parse("x,y\n1,2\n").is_err());
        assert!(parse("").is_err());
        let backwards = format!("{HEADER}\n20,1,2,0,0,0\n10,1,2,0,0,0\n");
        assert!(parse(&backwards).unwrap_err().to_string().contains("backwards"));
    }
}
