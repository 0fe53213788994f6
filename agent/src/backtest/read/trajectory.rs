//! Trajectories in text: the layouts of EuRoC, TUM and KITTI.

use super::{ReadError, ReadOptions};
use crate::backtest::recording::{
    Format, Motion, Quaternion, Recording, Sample, Samples, Velocity,
};
use std::io::{BufRead, Read as _};

/// The longest line; EuRoC's are below 300 bytes.
const MAX_LINE: u64 = 4096;

/// The most columns that any of the layouts has a use for: EuRoC's.
const MAX_COLUMNS: usize = 17;

/// Which layout a text is in, by the columns of its first line of numbers.
///
/// # Errors
/// [`ReadError::Foreign`].
pub(super) fn detect(head: &[u8]) -> Result<Format, ReadError> {
    let foreign = |what: String| Err(ReadError::Foreign(what));
    let is_text = |byte: &u8| (0x20..0x7f).contains(byte) || b"\t\r\n".contains(byte);
    if !head.iter().take(256).all(is_text) {
        return foreign("a binary file that is none of them".to_owned());
    }
    for line in String::from_utf8_lossy(head).lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let first = columns(line).next().unwrap_or_default();
        if first.parse::<f64>().is_err() {
            if first.starts_with("timestamp") || first.starts_with("time") {
                continue;
            }
            let shown: String = first.chars().take(20).collect();
            return foreign(format!("a text that begins with {shown:?}"));
        }
        let count = columns(line).count();
        return match (line.contains(','), count) {
            (true, 8..=MAX_COLUMNS) => Ok(Format::Euroc),
            (false, 8) => Ok(Format::Tum),
            (false, 12) => Ok(Format::Kitti),
            _ => foreign(format!(
                "a text with {count} columns (EuRoC has 8 to 17 with commas, TUM 8, KITTI 12)"
            )),
        };
    }
    foreign("a text with no line of numbers".to_owned())
}

/// Reads a text in a layout that is known.
pub(super) fn read(
    input: &mut dyn BufRead,
    layout: Format,
    options: &ReadOptions,
) -> Result<Recording, ReadError> {
    let mut samples = Samples::default();
    let mut notes = Vec::new();
    let mut has_velocity = false;
    let (mut line, mut bytes) = (0_u64, Vec::new());
    let mut poses = 0_u64;
    loop {
        bytes.clear();
        line += 1;
        if (&mut *input).take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let wrong = |what: String| ReadError::Line { line, what };
        if !bytes.ends_with(b"\n") {
            if bytes.len() as u64 == MAX_LINE {
                return Err(wrong(format!("is longer than {MAX_LINE} bytes")));
            }
            if samples.len() == 0 {
                return Err(ReadError::Cut {
                    advice: "copy it anew",
                    samples: 0,
                    what: "its first line".to_owned(),
                });
            }
            notes.push(format!("line {line} has no end and was left out: the file may be cut"));
            break;
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text".to_owned()))?;
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') || (poses == 0 && text.starts_with("time")) {
            continue;
        }
        let row = Row::parse(text).map_err(wrong)?;
        let sample = match layout {
            Format::Euroc => row.euroc(text),
            Format::Kitti => row.kitti(poses, options.rate_hz),
            _ => row.tum(),
        };
        let sample = sample.map_err(wrong)?;
        has_velocity |= sample.velocity != Velocity::Unknown;
        poses += 1;
        samples.push(sample)?;
    }
    if !has_velocity {
        notes.push("the layout has no speeds; they are derived from the positions".to_owned());
    }
    if layout == Format::Kitti {
        notes.push(format!("the layout has no times; {} poses per second", options.rate_hz));
    }
    Ok(Recording {
        format: layout,
        frame: "the trajectory's own".to_owned(),
        // EuRoC's recordings are of aircraft, TUM's and KITTI's of what carries a camera.
        motion: if layout == Format::Euroc { Motion::Course } else { Motion::Heading },
        samples: samples.in_order(&mut notes),
        notes,
        source: match layout {
            Format::Euroc => "EuRoC ground truth",
            Format::Kitti => "KITTI poses",
            _ => "TUM trajectory",
        }
        .to_owned(),
    })
}

/// The fields of a line, however they are apart.
fn columns(line: &str) -> impl Iterator<Item = &str> {
    let commas = line.contains(',');
    line.split(move |c: char| if commas { c == ',' } else { c.is_ascii_whitespace() })
        .map(str::trim)
        .filter(move |field| commas || !field.is_empty())
}

/// A line of numbers.
struct Row {
    count: usize,
    numbers: [f64; MAX_COLUMNS],
}

impl Row {
    fn parse(line: &str) -> Result<Self, String> {
        let mut row = Self { count: 0, numbers: [0.0; MAX_COLUMNS] };
        for (index, field) in columns(line).enumerate() {
            let Some(place) = row.numbers.get_mut(index) else {
                return Err(format!("has more than {MAX_COLUMNS} columns"));
            };
            *place = field.parse().map_err(|_| {
                let shown: String = field.chars().take(20).collect();
                format!("column {} is {shown:?}, not a number", index + 1)
            })?;
            row.count = index + 1;
        }
        Ok(row)
    }

    fn is_of(&self, least: usize, most: usize) -> Result<(), String> {
        if (least..=most).contains(&self.count) {
            return Ok(());
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(format!("has {} columns, its layout has {expected}", self.count))
    }

    fn three(&self, from: usize) -> [f64; 3] {
        [self.numbers[from], self.numbers[from + 1], self.numbers[from + 2]]
    }

    /// `timestamp [ns], p x y z, q w x y z[, v x y z[, biases]]`, z up.
    fn euroc(&self, line: &str) -> Result<Sample, String> {
        self.is_of(8, MAX_COLUMNS)?;
        // As an integer: a float would round nanoseconds since 1970 to 256 of them.
        let stamp = columns(line).next().unwrap_or_default();
        let at_ns = stamp
            .parse()
            .map_err(|_| format!("column 1 is {}, not whole nanoseconds", self.numbers[0]))?;
        let [_, _, _, _, w, x, y, z, ..] = self.numbers;
        Ok(Sample {
            at_ns,
            attitude: Quaternion::new(w, x, y, z),
            position: Some(self.three(1)),
            velocity: if self.count >= 11 {
                Velocity::World(self.three(8))
            } else {
                Velocity::Unknown
            },
        })
    }

    /// `timestamp [s] x y z qx qy qz qw`, z up.
    fn tum(&self) -> Result<Sample, String> {
        self.is_of(8, 8)?;
        let [seconds, _, _, _, x, y, z, w, ..] = self.numbers;
        Ok(Sample {
            at_ns: nanoseconds(seconds)?,
            attitude: Quaternion::new(w, x, y, z),
            position: Some(self.three(1)),
            velocity: Velocity::Unknown,
        })
    }

    /// A 3x4 matrix by rows, of a camera: x right, y down, z forward.
    fn kitti(&self, index: u64, rate_hz: f64) -> Result<Sample, String> {
        self.is_of(12, 12)?;
        let [r00, r01, r02, x, r10, r11, r12, y, r20, r21, r22, z, ..] = self.numbers;
        // Forward, left, up from right, down, forward; on both sides of the rotation.
        let rows = [[r22, -r20, -r21], [-r02, r00, r01], [-r12, r10, r11]];
        Ok(Sample {
            at_ns: nanoseconds(index as f64 / rate_hz)?,
            attitude: Quaternion::from_matrix(rows),
            position: Some([z, -x, -y]),
            velocity: Velocity::Unknown,
        })
    }
}

fn nanoseconds(seconds: f64) -> Result<i64, String> {
    let nanos = (seconds * 1e9).round();
    // Within it every f64 is an i64; years 1678 to 2262.
    if nanos.abs() < 9.2e18 {
        #[allow(clippy::cast_possible_truncation)] // Just checked.
        return Ok(nanos as i64);
    }
    Err(format!("column 1 is {seconds}, not seconds since 1970 or since the start"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refused, survives_mutation};
    use super::super::{ReadOptions, read_from};
    use super::*;

    const EUROC: &str = "#timestamp, p_RS_R_x [m], ...\n\
        1403715524907143168,0.5,1.9,0.9,1,0,0,0,-0.1,0.2,0.3,0,0,0,0,0,0\n\
        1403715524912143104,0.6,1.8,0.9,1,0,0,0,-0.1,0.2,0.3,0,0,0,0,0,0\n";
    const TUM: &str = "# time x y z qx qy qz qw\n0.5 1 2 3 0 0 0 1\n1.0 1.5 2 3 0 0 0.6 0.8\n";
    const KITTI: &str = "1 0 0 0 0 1 0 0 0 0 1 0\n0 0 1 -0.5 0 1 0 0.25 -1 0 0 2\n";

    fn read_text(text: &str) -> Recording {
        read_from(&mut text.as_bytes(), &ReadOptions::default()).unwrap()
    }

    #[test]
    fn euroc_keeps_its_nanoseconds_and_its_velocity() {
        let read = read_text(EUROC);
        assert_eq!((read.format, read.motion), (Format::Euroc, Motion::Course));
        assert_eq!(read.samples[1].at_ns - read.samples[0].at_ns, 4_999_936);
        assert_eq!(read.samples[0].velocity, Velocity::World([-0.1, 0.2, 0.3]));
        assert!(read.notes.is_empty(), "{:?}", read.notes);
    }

    #[test]
    fn tum_has_w_last_and_no_speeds() {
        let read = read_text(TUM);
        assert_eq!(read.format, Format::Tum);
        assert_eq!(read.samples[0].at_ns, 500_000_000);
        let yaw = read.samples[1].attitude.unwrap().yaw();
        assert!((yaw - 2.0 * 0.6_f64.atan2(0.8)).abs() < 1e-12);
        assert_eq!(read.notes.len(), 1);
    }

    #[test]
    fn kitti_is_turned_from_the_cameras_axes_into_the_maps() {
        let read = read_text(KITTI);
        assert_eq!(read.format, Format::Kitti);
        assert_eq!(read.samples[1].at_ns, 100_000_000);
        // Two metres ahead, half a metre to the left, a quarter down.
        assert_eq!(read.samples[1].position, Some([2.0, 0.5, -0.25]));
        // A camera that has turned right by 90°: z forward has become x.
        let yaw = read.samples[1].attitude.unwrap().yaw();
        assert!((yaw + std::f64::consts::FRAC_PI_2).abs() < 1e-9, "{yaw}");
    }

    #[test]
    fn a_line_that_does_not_fit_is_named() {
        let options = ReadOptions::default();
        for (text, part) in [
            (TUM.replace("0.6 0.8", "0.6"), "line 3: has 7 columns, its layout has 8"),
            (TUM.replace("1.5", "1.5m"), "line 3: column 2 is \"1.5m\", not a number"),
            (EUROC.replace("12143104,", "12143104.5,"), "line 3: column 1 is"),
            (format!("{TUM}{}\n", "1 ".repeat(3000)), "line 4: is longer than 4096 bytes"),
            (format!("{TUM}1e30 1 2 3 0 0 0 1\n"), "not seconds since 1970"),
            ("0.5 1 2 3 0 0 0 1".to_owned(), "cut: it ends in its first line"),
            ("0.5 1 2 3 0 0 0 1\n".to_owned(), "1 samples; it takes 2"),
        ] {
            refused(text.as_bytes(), &options, part);
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_left_out_and_said() {
        let read = read_text(&format!("{TUM}1.5 2 2 3 0 0 0.6 0.8"));
        assert_eq!(read.samples.len(), 2);
        assert!(read.notes.iter().any(|note| note.starts_with("line 4 has no end")));
    }

    #[test]
    fn a_pose_that_was_lost_is_left_out_and_counted() {
        let read = read_text(&format!("{TUM}1.5 nan nan nan 0 0 0 1\n2.0 3 2 3 0 0 0 0\n"));
        assert_eq!(read.samples.len(), 3);
        assert!(read.samples[2].attitude.is_none(), "a quaternion of zeros is no attitude");
        assert!(read.notes.iter().any(|note| note.starts_with("1 samples")));
    }

    #[test]
    fn no_mutation_brings_the_reader_down() {
        for text in [EUROC, TUM, KITTI] {
            survives_mutation(text.as_bytes(), &ReadOptions::default());
        }
    }
}
