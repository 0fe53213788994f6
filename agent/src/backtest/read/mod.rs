//! From files to recordings: one module for each format, and which one a file is in.

mod cdr;
mod mcap;
mod tlog;
mod trajectory;

use super::recording::{Format, MAX_SAMPLES, Recording};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What a reader is told beside the bytes.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// `None` tells the format by its first bytes.
    pub format: Option<Format>,
    /// Latitude and longitude of the map's origin, degrees; `None` is the first fix.
    pub origin_deg: Option<(f64, f64)>,
    /// Poses per second, for KITTI's layout, which has no times.
    pub rate_hz: f64,
    /// The topic of an MCAP or the message of a tlog; `None` is the one with the most samples.
    pub topic: Option<String>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { format: None, origin_deg: None, rate_hz: 10.0, topic: None }
    }
}

/// Why a file is no recording that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file ends in the middle of something: the recorder died, or the copy did.
    #[error("the recording is cut: it ends in {what}, after {samples} samples; {advice}")]
    Cut {
        /// What to do.
        advice: &'static str,
        /// What was being recorded or copied.
        samples: usize,
        /// Where it ends.
        what: String,
    },
    /// Whole, and yet not what its format says: a flipped bit, or a writer's fault.
    #[error("the recording is damaged: {0}; copy it anew from where it was recorded")]
    Damaged(String),
    /// Nothing in it.
    #[error("the recording is empty")]
    Empty,
    /// The file cannot be read.
    #[error("cannot read the recording: {0}")]
    File(std::io::Error),
    /// Of no format that is read.
    #[error(
        "this is {0}; backtest reads MCAP (ROS 2), MAVLink tlog, and trajectories in the layouts \
         of EuRoC, TUM and KITTI"
    )]
    Foreign(String),
    /// A line that does not fit its layout.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong and what should be there.
        what: String,
    },
    /// No pose and no velocity in a file that could hold some.
    #[error("the recording has {0}")]
    NoMotion(String),
    /// Longer than is handled.
    #[error("the recording has more than {MAX_SAMPLES} samples; cut it into parts")]
    TooLong,
    /// The topic that was asked for is not there, or says nothing about motion.
    #[error("the recording has no motion on `{asked}`; it is on {there}")]
    Topic {
        /// As asked for.
        asked: String,
        /// Those that could have been asked for.
        there: String,
    },
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::File(error)
    }
}

/// Reads a file.
///
/// # Errors
/// [`ReadError`].
pub fn read(path: &Path, options: &ReadOptions) -> Result<Recording, ReadError> {
    read_from(&mut BufReader::with_capacity(1 << 16, File::open(path)?), options)
}

/// Reads bytes. They are streamed: what is kept is the samples and one record.
///
/// # Errors
/// [`ReadError`].
pub fn read_from(input: &mut dyn BufRead, options: &ReadOptions) -> Result<Recording, ReadError> {
    let head = input.fill_buf()?;
    if head.is_empty() {
        return Err(ReadError::Empty);
    }
    let format = match options.format {
        Some(format) => format,
        None => detect(head)?,
    };
    let recording = match format {
        Format::Euroc | Format::Kitti | Format::Tum => trajectory::read(input, format, options)?,
        Format::Mcap => mcap::read(input, options)?,
        Format::Tlog => tlog::read(input, options)?,
    };
    if recording.samples.len() < 2 {
        let count = recording.samples.len();
        return Err(ReadError::NoMotion(format!("{count} samples; it takes 2 to tell a motion")));
    }
    Ok(recording)
}

/// What other recorders write, by how it begins; to be refused by name.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"ULog\x01\x12\x35", "a PX4 ULog; export its vehicle_local_position as CSV"),
    (b"#ROSBAG V2.0", "a ROS 1 bag; convert it with `mcap convert`"),
    (b"SQLite format 3\0", "a ROS 2 bag in SQLite; convert it with `mcap convert`"),
    (b"\xa3\x95", "an ArduPilot dataflash log; record a telemetry log or export CSV"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
];

fn detect(head: &[u8]) -> Result<Format, ReadError> {
    if head.starts_with(mcap::MAGIC) || mcap::MAGIC.starts_with(head) {
        return Ok(Format::Mcap);
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(ReadError::Foreign((*what).to_owned()));
    }
    if tlog::begins_like_one(head) {
        return Ok(Format::Tlog);
    }
    trajectory::detect(head)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads, and asserts that the error says `part`.
    pub(super) fn refused(bytes: &[u8], options: &ReadOptions, part: &str) {
        let error = read_from(&mut &*bytes, options).unwrap_err().to_string();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }

    /// Whatever is done to a recording, reading it ends, in samples or in an error with words.
    pub(super) fn survives_mutation(good: &[u8], options: &ReadOptions) {
        let outcome = |bytes: &[u8]| {
            if let Err(error) = read_from(&mut &*bytes, options) {
                assert!(!error.to_string().is_empty());
            }
        };
        for cut in 0..good.len().min(700) {
            outcome(&good[..cut]);
            outcome(&good[..good.len() - cut]);
        }
        proptest!(ProptestConfig::with_cases(400), |(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
            again in any::<prop::sample::Index>(),
        )| {
            let mut bytes = good.to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            outcome(&bytes);
            // A piece twice, as a torn copy has it.
            let (from, to) = (cut.index(bytes.len()), again.index(bytes.len()));
            let torn = [&bytes[..to], &bytes[from..]].concat();
            outcome(&torn);
        });
    }

    #[test]
    fn a_file_of_another_kind_is_refused_by_name() {
        let options = ReadOptions::default();
        for (bytes, part) in [
            (&b""[..], "empty"),
            (b"ULog\x01\x12\x35\x01rest", "PX4 ULog"),
            (b"#ROSBAG V2.0\n", "ROS 1 bag"),
            (b"SQLite format 3\0", "SQLite"),
            (b"\x1f\x8b\x08", "unpack it first"),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0", "none of them"),
            (b"# no data\n", "no line of numbers"),
            (b"once upon a time\n", "begins with \"once\""),
            (b"1 2 3\n", "3 columns"),
        ] {
            refused(bytes, &options, part);
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_whatever_it_is_taken_for(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            format in prop::option::of(prop::sample::select(vec![
                Format::Euroc, Format::Kitti, Format::Mcap, Format::Tlog, Format::Tum,
            ])),
        ) {
            let options = ReadOptions { format, ..ReadOptions::default() };
            let _ = read_from(&mut &*bytes, &options);
        }
    }
}
