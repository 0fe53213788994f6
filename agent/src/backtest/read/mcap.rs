//! MCAP with ROS 2 messages: `nav_msgs/Odometry`, `geometry_msgs/TwistStamped` and
//! `geometry_msgs/Twist`, chunks plain or compressed with zstd or lz4.
//!
//! Odometry says where and how fast. A topic of twists says only how fast, and for
//! `geometry_msgs/Twist` only when it was logged; its poses are those of the odometry, where
//! there is one, by the times at which both were logged.

use super::cdr::{Cdr, CdrError};
use super::{ReadError, ReadOptions};
use crate::backtest::recording::{
    Format, MAX_SAMPLES, Motion, Quaternion, Recording, Sample, Samples, Velocity,
};
use ::mcap::McapError;
use ::mcap::records::{ChunkHeader, Record, op};
use ::mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use std::collections::HashMap;
use std::io::{Read, Take};

/// How a file begins and ends.
pub(super) const MAGIC: &[u8] = ::mcap::MAGIC;

/// The largest record, and the largest chunk before and after unpacking. Recorders write
/// chunks of about a megabyte; one holds at least a whole message, such as an image.
const MAX_RECORD: usize = 1 << 28;

/// A pose that was logged longer ago than this is not where a twist was meant, nanoseconds.
const POSE_AGE_NS: i64 = 1_000_000_000;

const RECOVER: &str = "`mcap recover` makes it whole again";

/// Reads a stream of records.
pub(super) fn read(
    input: &mut dyn std::io::BufRead,
    options: &ReadOptions,
) -> Result<Recording, ReadError> {
    let mut log = Log::default();
    let mut reader = LinearReader::new_with_options(
        LinearReaderOptions::default().with_emit_chunks(true).with_record_length_limit(MAX_RECORD),
    );
    while let Some(event) = reader.next_event() {
        match event {
            Ok(LinearReadEvent::ReadRequest(need)) => {
                let count = input.read(reader.insert(need))?;
                reader.notify_read(count);
            }
            Ok(LinearReadEvent::Record { opcode, data }) => log.record(opcode, data)?,
            Err(error) => return Err(log.error(&error)),
        }
    }
    log.recording(options)
}

/// What a topic carries.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    // In the order of preference.
    Odometry,
    TwistStamped,
    Twist,
}

impl Kind {
    fn of(schema: &str) -> Option<Self> {
        match schema {
            "nav_msgs/msg/Odometry" | "nav_msgs/Odometry" => Some(Self::Odometry),
            "geometry_msgs/msg/TwistStamped" | "geometry_msgs/TwistStamped" => {
                Some(Self::TwistStamped)
            }
            "geometry_msgs/msg/Twist" | "geometry_msgs/Twist" => Some(Self::Twist),
            _ => None,
        }
    }
}

/// A topic about motion.
#[derive(Debug)]
struct Topic {
    frame: String,
    has_stamps: bool,
    kind: Kind,
    /// When each sample was logged, nanoseconds.
    logged: Vec<i64>,
    name: String,
    samples: Vec<Sample>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Log {
    schemas: HashMap<u16, String>,
    /// By channel; `None` for one that says nothing about motion.
    topics: HashMap<u16, Option<Topic>>,
    total: usize,
    /// Names of what else is in it.
    others: Vec<String>,
}

impl Log {
    fn record(&mut self, opcode: u8, body: &[u8]) -> Result<(), ReadError> {
        // Only these: nothing else says anything here, and what is not parsed cannot be wrong.
        if !matches!(opcode, op::SCHEMA | op::CHANNEL | op::MESSAGE | op::CHUNK) {
            return Ok(());
        }
        match ::mcap::parse_record(opcode, body).map_err(|error| self.error(&error))? {
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, header.name);
            }
            Record::Channel(channel) => {
                let schema = self.schemas.get(&channel.schema_id).cloned().unwrap_or_default();
                let kind = Kind::of(&schema).filter(|_| channel.message_encoding == "cdr");
                if kind.is_none() && self.others.len() < 8 && !self.others.contains(&schema) {
                    self.others.push(schema);
                }
                self.topics.entry(channel.id).or_insert_with(|| {
                    kind.map(|kind| Topic {
                        frame: String::new(),
                        has_stamps: false,
                        kind,
                        logged: Vec::new(),
                        name: channel.topic,
                        samples: Vec::new(),
                    })
                });
            }
            Record::Message { header, data } => {
                let Some(topic) = self.topics.get_mut(&header.channel_id) else {
                    return Err(ReadError::Damaged(format!(
                        "a message is of channel {}, which was not announced",
                        header.channel_id
                    )));
                };
                if let Some(topic) = topic {
                    if self.total == MAX_SAMPLES {
                        return Err(ReadError::TooLong);
                    }
                    self.total += 1;
                    topic
                        .message(header.log_time, &data)
                        .map_err(|error| ReadError::Damaged(format!("{}: {error}", topic.name)))?;
                }
            }
            Record::Chunk { header, data } => self.chunk(&header, &data)?,
            _ => {}
        }
        Ok(())
    }

    fn chunk(&mut self, header: &ChunkHeader, packed: &[u8]) -> Result<(), ReadError> {
        let damaged = |what: String| ReadError::Damaged(format!("a chunk {what}"));
        let size = header.uncompressed_size;
        if size > MAX_RECORD as u64 {
            return Err(damaged(format!("would unpack to {size} bytes")));
        }
        let mut unpacked = Vec::new();
        let records = match header.compression.as_str() {
            "" => packed,
            "zstd" => {
                let stream = ruzstd::decoding::StreamingDecoder::new(packed)
                    .map_err(|error| damaged(format!("does not unpack: {error}")))?;
                unpack(stream.take(size + 1), &mut unpacked).map_err(damaged)?
            }
            "lz4" => {
                let stream = lz4_flex::frame::FrameDecoder::new(packed);
                unpack(stream.take(size + 1), &mut unpacked).map_err(damaged)?
            }
            other => {
                let other: String = other.chars().take(20).collect();
                return Err(damaged(format!("is packed with {other:?}; zstd and lz4 are read")));
            }
        };
        if records.len() as u64 != size {
            return Err(damaged(format!("has {} bytes, not {size}", records.len())));
        }
        // Zero: the writer made none.
        if header.uncompressed_crc != 0 && crc32fast::hash(records) != header.uncompressed_crc {
            return Err(damaged("does not match its checksum".to_owned()));
        }
        let mut rest = records;
        while let Some((head, tail)) = rest.split_at_checked(9) {
            let mut length = [0; 8];
            length.copy_from_slice(&head[1..]);
            let (body, tail) = usize::try_from(u64::from_le_bytes(length))
                .ok()
                .and_then(|length| tail.split_at_checked(length))
                .ok_or_else(|| damaged("ends in the middle of a record".to_owned()))?;
            // A chunk in a chunk is none of the format's; it must not nest for ever.
            if head[0] != op::CHUNK {
                self.record(head[0], body)?;
            }
            rest = tail;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(damaged("ends in the middle of a record".to_owned()))
        }
    }

    fn error(&self, error: &McapError) -> ReadError {
        match error {
            McapError::UnexpectedEof => ReadError::Cut {
                advice: RECOVER,
                samples: self.total,
                what: "the middle of its records, or before its footer".to_owned(),
            },
            McapError::BadMagic if self.total == 0 && self.topics.is_empty() => {
                ReadError::Foreign("no MCAP".to_owned())
            }
            other => ReadError::Damaged(other.to_string()),
        }
    }

    /// Picks the topic and makes a recording of it.
    fn recording(self, options: &ReadOptions) -> Result<Recording, ReadError> {
        let mut topics: Vec<Topic> = self.topics.into_values().flatten().collect();
        topics.sort_by_key(|topic| {
            (topic.samples.is_empty(), topic.kind, usize::MAX - topic.samples.len())
        });
        let there = topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ");
        if topics.is_empty() {
            let others = self.others.join(", ");
            let others = if others.is_empty() { "no channels".to_owned() } else { others };
            return Err(ReadError::NoMotion(format!(
                "no nav_msgs/Odometry and no geometry_msgs/Twist or TwistStamped in CDR; it has \
                 {others}"
            )));
        }
        let chosen = match &options.topic {
            None => 0,
            Some(asked) => topics
                .iter()
                .position(|topic| topic.name == *asked)
                .ok_or_else(|| ReadError::Topic { asked: asked.clone(), there: there.clone() })?,
        };
        let topic = topics.remove(chosen);
        let mut notes = Vec::new();
        if !topics.is_empty() && options.topic.is_none() {
            notes.push(format!("motion is on {there}; {} was taken", topic.name));
        }
        let odometry = topics.iter().find(|topic| topic.kind == Kind::Odometry);
        topic.recording(odometry, notes)
    }
}

/// Unpacks at most what a chunk's header promised, and one byte.
fn unpack(mut stream: Take<impl Read>, into: &mut Vec<u8>) -> Result<&[u8], String> {
    stream.read_to_end(into).map_err(|error| format!("does not unpack: {error}"))?;
    Ok(into)
}

impl Topic {
    fn message(&mut self, logged: u64, data: &[u8]) -> Result<(), CdrError> {
        let mut cdr = Cdr::new(data)?;
        let logged = i64::try_from(logged).unwrap_or(i64::MAX);
        let mut stamp = 0;
        if self.kind != Kind::Twist {
            let seconds = i64::from(cdr.i32()?);
            stamp = seconds * 1_000_000_000 + i64::from(cdr.u32()?);
            let frame = cdr.text()?;
            if self.frame.is_empty() {
                frame.clone_into(&mut self.frame);
            }
        }
        let (mut position, mut attitude) = (None, None);
        if self.kind == Kind::Odometry {
            let _child_frame = cdr.text()?;
            position = Some(cdr.f64s()?);
            let [x, y, z, w] = cdr.f64s()?;
            attitude = Quaternion::new(w, x, y, z);
            let _covariance: [f64; 36] = cdr.f64s()?;
        }
        let linear = cdr.f64s()?;
        let [_, _, turn] = cdr.f64s()?;
        self.has_stamps |= stamp != 0;
        self.logged.push(logged);
        let velocity = Velocity::Body(linear, turn);
        self.samples.push(Sample { at_ns: stamp, attitude, position, velocity });
        Ok(())
    }

    fn recording(
        self,
        odometry: Option<&Self>,
        mut notes: Vec<String>,
    ) -> Result<Recording, ReadError> {
        let mut samples = Samples::default();
        let mut poses = odometry.filter(|_| self.kind != Kind::Odometry).map(Poses::of);
        for (sample, logged) in self.samples.iter().zip(&self.logged) {
            let mut sample = *sample;
            if let Some(pose) = poses.as_mut().and_then(|poses| poses.before(*logged)) {
                (sample.position, sample.attitude) = (pose.position, pose.attitude);
            }
            if !self.has_stamps {
                sample.at_ns = *logged;
            }
            samples.push(sample)?;
        }
        let mut frame = self.frame;
        match (self.kind, odometry) {
            (Kind::Odometry, _) => {}
            (_, Some(odometry)) => {
                notes.push(format!("poses are those of {}", odometry.name));
                frame.clone_from(&odometry.frame);
            }
            (_, None) => notes.push("there are no poses; zones are not judged".to_owned()),
        }
        if !self.has_stamps {
            notes.push("times are those of logging: the messages have no stamps".to_owned());
        }
        Ok(Recording {
            format: Format::Mcap,
            frame,
            motion: Motion::Heading,
            samples: samples.in_order(&mut notes),
            notes,
            source: self.name,
        })
    }
}

/// The poses of another topic, by when they were logged.
struct Poses {
    next: usize,
    poses: Vec<(i64, Sample)>,
}

impl Poses {
    fn of(topic: &Topic) -> Self {
        let logged = topic.logged.iter().copied();
        let mut poses: Vec<(i64, Sample)> = logged.zip(topic.samples.iter().copied()).collect();
        poses.sort_by_key(|(logged, _)| *logged);
        Self { next: 0, poses }
    }

    /// The newest that was logged at `logged` or before, unless it is too old.
    fn before(&mut self, logged: i64) -> Option<Sample> {
        self.next = self.poses.partition_point(|(at, _)| *at <= logged);
        let (at, sample) = self.next.checked_sub(1).and_then(|last| self.poses.get(last))?;
        (logged.saturating_sub(*at) <= POSE_AGE_NS).then_some(*sample)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refused, survives_mutation};
    use super::super::{ReadOptions, read_from};
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Cursor;

    /// Writes fields as ROS 2 does.
    struct Cdrs {
        bytes: Vec<u8>,
        is_little: bool,
    }

    impl Cdrs {
        fn new(is_little: bool) -> Self {
            Self { bytes: vec![0, u8::from(is_little), 0, 0], is_little }
        }

        fn put<const N: usize>(mut self, little: [u8; N]) -> Self {
            while !(self.bytes.len() - 4).is_multiple_of(N) {
                self.bytes.push(0);
            }
            let mut bytes = little;
            if !self.is_little {
                bytes.reverse();
            }
            self.bytes.extend(bytes);
            self
        }

        fn text(self, text: &str) -> Self {
            let mut with = self.put((u32::try_from(text.len()).unwrap() + 1).to_le_bytes());
            with.bytes.extend(text.bytes().chain([0]));
            with
        }

        fn numbers(self, numbers: &[f64]) -> Self {
            numbers.iter().fold(self, |cdr, number| cdr.put(number.to_le_bytes()))
        }

        fn header(self, seconds: i32, nanos: u32, frame: &str) -> Self {
            self.put(seconds.to_le_bytes()).put(nanos.to_le_bytes()).text(frame)
        }
    }

    fn odometry(is_little: bool, seconds: i32, x: f64, v: f64) -> Vec<u8> {
        Cdrs::new(is_little)
            .header(seconds, 500_000_000, "odom")
            .text("base_link")
            .numbers(&[x, 2.0, 0.0, 0.0, 0.0, 0.6, 0.8])
            .numbers(&[0.0; 36])
            .numbers(&[v, 0.1, 0.0, 0.0, 0.0, -0.25])
            .numbers(&[0.0; 36])
            .bytes
    }

    /// A log of messages, each of a topic, a schema and a time of logging.
    fn log(messages: &[(&str, &str, u64, Vec<u8>)]) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let options = ::mcap::WriteOptions::new().compression(None).chunk_size(Some(1500));
        let mut writer = options.create(&mut out).unwrap();
        for (topic, schema, logged, data) in messages {
            let schema = writer.add_schema(schema, "ros2msg", b"").unwrap();
            let channel = writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap();
            let header = ::mcap::records::MessageHeader {
                channel_id: channel,
                log_time: *logged,
                publish_time: *logged,
                sequence: 0,
            };
            writer.write_to_known_channel(&header, data).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        out.into_inner()
    }

    fn two() -> Vec<u8> {
        let odom = ("/odom", "nav_msgs/msg/Odometry");
        log(&[
            (odom.0, odom.1, 10, odometry(true, 7, 1.0, 0.5)),
            (odom.0, odom.1, 20, odometry(false, 8, 1.5, -0.5)),
            ("/chatter", "std_msgs/msg/String", 21, b"\0\x01\0\0".to_vec()),
        ])
    }

    #[test]
    fn odometry_is_read_in_both_orders_of_bytes() {
        let read = read_from(&mut &*two(), &ReadOptions::default()).unwrap();
        assert_eq!((read.source.as_str(), read.frame.as_str()), ("/odom", "odom"));
        assert_eq!(read.samples[0].at_ns, 7_500_000_000);
        assert_eq!(read.samples[1].position, Some([1.5, 2.0, 0.0]));
        assert_eq!(read.samples[1].velocity, Velocity::Body([-0.5, 0.1, 0.0], -0.25));
        assert!(read.notes.is_empty(), "{:?}", read.notes);
    }

    #[test]
    fn twists_take_the_time_of_logging_and_the_pose_of_the_odometry() {
        let twist = |v: f64| Cdrs::new(true).numbers(&[v, 0.0, 0.0, 0.0, 0.0, 1.0]).bytes;
        let second = 1_000_000_000;
        let bytes = log(&[
            ("/odom", "nav_msgs/msg/Odometry", 10 * second, odometry(true, 7, 1.0, 0.5)),
            ("/cmd_vel", "geometry_msgs/msg/Twist", 10 * second + 1, twist(0.7)),
            ("/cmd_vel", "geometry_msgs/msg/Twist", 12 * second, twist(0.8)),
        ]);
        let options = ReadOptions { topic: Some("/cmd_vel".to_owned()), ..ReadOptions::default() };
        let read = read_from(&mut &*bytes, &options).unwrap();
        assert_eq!(read.samples[0].at_ns, 10_000_000_001);
        assert_eq!(read.samples[0].position, Some([1.0, 2.0, 0.0]));
        assert_eq!(read.samples[1].position, None, "two seconds old");
        let other = ReadOptions { topic: Some("/tf".to_owned()), ..ReadOptions::default() };
        refused(&bytes, &other, "no motion on `/tf`; it is on /odom, /cmd_vel");
    }

    #[test]
    fn packed_chunks_are_unpacked_and_held_to_their_header() {
        let mut records = Vec::new();
        records.extend([op::MESSAGE, 22, 0, 0, 0, 0, 0, 0, 0]);
        records.extend([0; 22]);
        let zstd = ruzstd::encoding::compress_to_vec(
            &*records,
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut lz4, &records).unwrap();
        let lz4 = lz4.finish().unwrap();
        let header = |compression: &str, size: usize, crc: u32| ChunkHeader {
            message_start_time: 0,
            message_end_time: 0,
            uncompressed_size: size as u64,
            uncompressed_crc: crc,
            compression: compression.to_owned(),
            compressed_size: 0,
        };
        let crc = crc32fast::hash(&records);
        for (name, packed) in [("zstd", &zstd), ("lz4", &lz4), ("", &records)] {
            let mut log = Log::default();
            log.topics.insert(0, None);
            log.chunk(&header(name, records.len(), crc), packed).unwrap();
            let wrong = |header: &ChunkHeader, packed: &[u8], part: &str| {
                let mut log = Log::default();
                log.topics.insert(0, None);
                let error = log.chunk(header, packed).unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            };
            wrong(&header(name, records.len(), crc ^ 1), packed, "checksum");
            wrong(&header(name, records.len() - 1, 0), packed, "bytes, not 30");
            wrong(&header(name, usize::MAX, 0), packed, "would unpack to");
        }
        let mut log = Log::default();
        let error = log.chunk(&header("brotli", 1, 0), &records).unwrap_err().to_string();
        assert!(error.contains("packed with \"brotli\""), "{error}");
    }

    #[test]
    fn a_log_that_is_cut_or_has_no_motion_says_so() {
        let options = ReadOptions::default();
        let bytes = two();
        refused(&bytes[..bytes.len() - 9], &options, "`mcap recover` makes it whole again");
        refused(&bytes[..5], &options, "cut");
        refused(&bytes[..900], &options, "cut");
        let huge = [MAGIC, &[op::HEADER], &(1_u64 << 60).to_le_bytes()].concat();
        refused(&huge, &options, "damaged");
        let chatter = log(&[("/chatter", "std_msgs/msg/String", 1, vec![0, 1, 0, 0])]);
        refused(&chatter, &options, "it has std_msgs/msg/String");
        let short = log(&[("/odom", "nav_msgs/msg/Odometry", 1, vec![0, 1, 0, 0, 1])]);
        refused(&short, &options, "/odom: a message ends before its last field");
    }

    #[test]
    fn no_mutation_brings_the_reader_down() {
        survives_mutation(&two(), &ReadOptions::default());
    }
}
