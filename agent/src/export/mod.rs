//! A black box as an MCAP file that Foxglove and Rerun open, and that verifies again.
//!
//! Chunks are compressed with zstd and indexed. The log time of a message is the wall clock of
//! its record; how far that clock could be believed stands in the metadata and in each message
//! of our own. The records themselves, signed and chained, are in the attachment [`EXCERPT`]:
//! those that were not wanted as their leaf hashes, so that what is there can still be proved.
//! The result of verifying that attachment, and every checkpoint, are metadata.

mod cdr;
mod schema;

use cdr::Cdr;
use mcap::records::{AttachmentHeader, MessageHeader, Metadata};
use mcap::{Compression, McapError, WriteOptions, Writer};
use nooterra_blackbox::{ExcerptError, Record, TailRecord, Verification, excerpt, verify_excerpt};
use nooterra_evidence::Checkpoint;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::command::{Asked, Command};
use nooterra_protocol::entry::{Entry, Sample, Verdict};
use nooterra_protocol::event::{EventType, Fact};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::ClockTrust;
use schema::Topic;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The attachment with the records.
pub const EXCERPT: &str = "nooterra.excerpt";

/// What a reader of an MCAP must not take for more than it is.
const UNSIGNED: &str = "this is of the attached records; the messages that other programs draw \
                        from the file were made of them, and nobody signed those";

const MEDIA_TYPE: &str = "application/vnd.nooterra.excerpt";

/// Of `rcl_interfaces/Log`.
const INFO: u8 = 20;
const WARN: u8 = 30;
const ERROR: u8 = 40;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read, or its excerpt not written.
    #[error("{0}")]
    Excerpt(#[from] ExcerptError),
    /// A file cannot be written: disk full, no permission, or it is there already.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written as MCAP.
    #[error("cannot write the MCAP: {0}")]
    Mcap(#[from] McapError),
    /// A file that is read back is no export of a black box.
    #[error("{path} holds no black box: it has no attachment {EXCERPT}", path = .0.display())]
    NoExcerpt(PathBuf),
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// Messages by topic.
    pub messages: BTreeMap<&'static str, u64>,
    /// Records that were chosen.
    pub records: u64,
    /// Records in the journal that cannot be read: pruned, lost or damaged.
    pub unreadable: u64,
    /// What verifying the attachment found.
    pub verification: Verification,
    /// Records of which only the leaf hash is in the attachment.
    pub withheld: u64,
}

/// Exports the journal in `dir` to the new file `out`: the records that `wanted` chooses.
/// `progress` is called with the sequence number of the last record seen.
///
/// # Errors
/// [`ExportError`]. A damaged journal is exported as far as it reads, and its verification says
/// what is wrong.
pub fn export(
    dir: &Path,
    out: &Path,
    key: Option<&VerifyingKey>,
    wanted: &mut dyn FnMut(&Record) -> bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::File { path, source }
    };
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut records = tempfile::tempfile_in(folder).map_err(at(folder))?;
    // Under another name until it is whole.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    let mut log = Log::new(BufWriter::new(file.as_file_mut()))?;
    let mut failed = None;
    let mut unreadable = 0;
    let taken = {
        let mut buffered = BufWriter::new(&mut records);
        let taken = excerpt(dir, &mut buffered, &mut |record: &TailRecord| {
            progress(record.seq);
            let Ok(record) = &record.record else {
                unreadable += 1;
                return false;
            };
            if record.kind == "checkpoint" {
                log.checkpoint(record);
            }
            let chosen = wanted(record);
            if chosen && failed.is_none() {
                failed = log.record(record).err();
            }
            chosen
        })?;
        buffered.flush().map_err(at(folder))?;
        taken
    };
    if let Some(error) = failed {
        return Err(error.into());
    }
    records.rewind().map_err(at(folder))?;
    let mut input = BufReader::new(&mut records);
    let verification = verify_excerpt(&mut input, key, &mut |_| {})?;
    log.attach(&mut records)?;
    let chosen = log.chosen;
    let messages = log.end(&verification)?;
    file.as_file().sync_all().map_err(at(out))?;
    file.persist_noclobber(out).map_err(|error| at(out)(error.error))?;
    let withheld = taken.withheld;
    Ok(Exported { messages, records: chosen, unreadable, verification, withheld })
}

/// Verifies the records in an export, or an excerpt that stands by itself.
///
/// # Errors
/// [`ExportError`] where there are none.
pub fn verify_export(
    path: &Path,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, ExportError> {
    let at = |source| ExportError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(at)?;
    let mut magic = [0; 8];
    let begins = file.read_exact(&mut magic).is_ok();
    file.rewind().map_err(at)?;
    if !begins || magic != *mcap::MAGIC {
        return Ok(verify_excerpt(&mut BufReader::new(file), key, progress)?);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(at)?;
    let summary = mcap::Summary::read(&bytes)?;
    let index = summary.iter().flat_map(|summary| &summary.attachment_indexes);
    let Some(index) = index.into_iter().find(|index| index.name == EXCERPT) else {
        return Err(ExportError::NoExcerpt(path.to_owned()));
    };
    let attachment = mcap::read::attachment(&bytes, index)?;
    let mut found = verify_excerpt(&mut attachment.data.as_ref(), key, progress)?;
    found.notes.push(UNSIGNED.to_owned());
    Ok(found)
}

/// The file while it is written.
struct Log<W: io::Write + io::Seek> {
    channels: BTreeMap<Topic, u16>,
    checkpoints: BTreeMap<String, String>,
    chosen: u64,
    messages: BTreeMap<&'static str, u64>,
    /// Records by how far their wall clock can be believed.
    trust: BTreeMap<&'static str, u64>,
    span_ns: Option<(u64, u64)>,
    writer: Writer<W>,
}

impl<W: io::Write + io::Seek> Log<W> {
    fn new(out: W) -> Result<Self, McapError> {
        let options = WriteOptions::new()
            .profile("ros2")
            .library(concat!("nooterra-agent ", env!("CARGO_PKG_VERSION")))
            .compression(Some(Compression::Zstd))
            .compression_threads(0);
        Ok(Self {
            channels: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            chosen: 0,
            messages: BTreeMap::new(),
            trust: BTreeMap::new(),
            span_ns: None,
            writer: options.create(out)?,
        })
    }

    /// A message about a record.
    fn put(&mut self, topic: Topic, record: &Record, data: &[u8]) -> Result<(), McapError> {
        let channel_id = match self.channels.get(&topic) {
            Some(channel) => *channel,
            None => {
                let definition = topic.definition();
                let schema =
                    self.writer.add_schema(topic.schema(), "ros2msg", definition.as_bytes())?;
                let id = self.writer.add_channel(schema, topic.name(), "cdr", &BTreeMap::new())?;
                self.channels.insert(topic, id);
                id
            }
        };
        let time = wall_ns(record);
        let (first, last) = self.span_ns.unwrap_or((time, time));
        self.span_ns = Some((first.min(time), last.max(time)));
        *self.messages.entry(topic.name()).or_default() += 1;
        // It only tells messages of a topic apart; the whole number is in the message.
        let sequence = u32::try_from(record.seq & 0xffff_ffff).unwrap_or_default();
        let header = MessageHeader { channel_id, sequence, log_time: time, publish_time: time };
        self.writer.write_to_known_channel(&header, data)
    }

    fn record(&mut self, record: &Record) -> Result<(), McapError> {
        self.chosen += 1;
        *self.trust.entry(trust(record)).or_default() += 1;
        match record.entry() {
            Ok(Some(Entry::Sample(sample))) => self.sample(record, &sample),
            Ok(Some(Entry::Verdict(verdict))) => self.verdict(record, &verdict),
            Ok(Some(Entry::Stop(stop))) => {
                let profile = word(&stop.profile);
                let data = own(record).text(&profile).text(&stop.reason).end();
                self.put(Topic::Stops, record, &data)?;
                self.line(record, ERROR, "stop", &format!("{profile}: {}", stop.reason))
            }
            Ok(Some(Entry::Fact(bytes))) => match danger_unverified::<Fact>(&bytes.0) {
                Ok(fact) => self.fact(record, &fact),
                Err(_) => self.other(record),
            },
            Ok(Some(Entry::SkillLog(log))) => {
                // An export leaves the robot, and what is private does not.
                let message = log.message.get().map_or("(private)", String::as_str);
                self.line(record, INFO, log.skill.as_str(), message)?;
                self.other(record)
            }
            _ => self.other(record),
        }
    }

    fn sample(&mut self, record: &Record, sample: &Sample) -> Result<(), McapError> {
        let at = wall_ns(record);
        let Pose { x, y, yaw } = sample.pose;
        let (sin, cos) = (yaw / 2.0).sin_cos();
        let motion = [sample.twist.linear, 0.0, 0.0, 0.0, 0.0, sample.twist.angular];
        let unknown = [0.0; 36];
        let data = Cdr::new().header(at, "map").text("base_link");
        let data = data.f64s(&[x, y, 0.0, 0.0, 0.0, sin, cos]).f64s(&unknown);
        self.put(Topic::Odometry, record, &data.f64s(&motion).f64s(&unknown).end())?;
        let data = Cdr::new().u32(1).header(at, "map").text("base_link");
        let data = data.f64s(&[x, y, 0.0, 0.0, 0.0, sin, cos]);
        self.put(Topic::Transforms, record, &data.end())?;
        if let Some(twist) = twist(&Asked::from(sample.allowed)) {
            let data = Cdr::new().header(at, frame(&sample.allowed)).f64s(&twist);
            self.put(Topic::Allowed, record, &data.end())?;
        }
        if let Some(twist) = twist(&sample.asked) {
            let data = Cdr::new().header(at, frame(&sample.allowed)).f64s(&twist);
            self.put(Topic::Asked, record, &data.end())?;
        }
        let data = own(record).text(&word(&sample.source)).f64(sample.limit_mps);
        self.put(Topic::Samples, record, &data.f64(sample.battery.unwrap_or(f64::NAN)).end())
    }

    fn verdict(&mut self, record: &Record, verdict: &Verdict) -> Result<(), McapError> {
        let text = |text: Option<String>| text.unwrap_or_default();
        let zone = text(verdict.zone.as_ref().map(ToString::to_string));
        let (phase, source) = (word(&verdict.phase), word(&verdict.source));
        let data = own(record)
            .text(verdict.rule.name())
            .text(&phase)
            .text(&source)
            .text(&zone)
            .text(&text(verdict.job.as_ref().map(ToString::to_string)))
            .text(&text(verdict.command.as_ref().map(ToString::to_string)))
            .u64(verdict.tick)
            .f64(verdict.limit)
            .text(verdict.rule.unit())
            .f64(verdict.asked.forward_mps().unwrap_or(f64::NAN))
            .f64(verdict.asked.turning_radps().unwrap_or(f64::NAN))
            .f64(verdict.allowed.forward_mps())
            .f64(verdict.allowed.turning_radps())
            .f64s(&[verdict.pose.x, verdict.pose.y, verdict.pose.yaw]);
        self.put(Topic::Verdicts, record, &data.end())?;
        let zone = if zone.is_empty() { zone } else { format!(" ({zone})") };
        let said = format!("{}{zone} {phase}, asked by {source}", verdict.rule);
        self.line(record, WARN, "gate", &said)
    }

    fn fact(&mut self, record: &Record, fact: &Fact) -> Result<(), McapError> {
        let is_incident =
            matches!(fact.kind, EventType::IncidentDetected | EventType::IncidentReported);
        let payload = serde_json::to_value(&fact.payload).unwrap_or(Value::Null).to_string();
        let job = fact.job.as_ref().map(ToString::to_string).unwrap_or_default();
        let data = own(record)
            .text(fact.kind.name())
            .text(&job)
            .text(fact.actor.id.as_str())
            .u64(fact.actor_seq)
            .text(&payload);
        let topic = if is_incident { Topic::Incidents } else { Topic::Facts };
        self.put(topic, record, &data.end())?;
        let level = if is_incident { ERROR } else { INFO };
        self.line(record, level, "fact", &format!("{} {job}", fact.kind))
    }

    /// Any record, its body as JSON.
    fn other(&mut self, record: &Record) -> Result<(), McapError> {
        let body = match record.entry() {
            Ok(Some(entry)) => serde_json::to_value(entry)
                .ok()
                .and_then(|value| value.get("body").cloned())
                .unwrap_or(Value::Null),
            _ => serde_json::to_value(&record.body).unwrap_or(Value::Null),
        };
        let data = own(record)
            .u64(record.boot)
            .text(record.class.name())
            .text(&record.kind)
            .text(&body.to_string());
        self.put(Topic::Records, record, &data.end())
    }

    /// A line of the log that people read beside the picture.
    fn line(
        &mut self,
        record: &Record,
        level: u8,
        name: &str,
        said: &str,
    ) -> Result<(), McapError> {
        let at = wall_ns(record);
        let seconds = u32::try_from(at / 1_000_000_000).unwrap_or(u32::MAX);
        let nanos = u32::try_from(at % 1_000_000_000).unwrap_or_default();
        let data = Cdr::new().u32(seconds).u32(nanos).u8(level).text(name).text(said);
        self.put(Topic::Log, record, &data.text("").text("").u32(0).end())
    }

    fn checkpoint(&mut self, record: &Record) {
        let Ok(Some(Entry::Checkpoint(bytes))) = record.entry() else { return };
        if let Ok(read) = Checkpoint::read(&bytes.0, None)
            && let Ok(text) = serde_json::to_string(&read)
        {
            self.checkpoints.insert(format!("{:012}", record.seq), text);
        }
    }

    /// The records.
    fn attach(&mut self, records: &mut File) -> Result<(), ExportError> {
        let length = records.metadata().map_err(McapError::from)?.len();
        records.rewind().map_err(McapError::from)?;
        let (first, last) = self.span_ns.unwrap_or_default();
        let header = AttachmentHeader {
            log_time: last,
            create_time: first,
            name: EXCERPT.to_owned(),
            media_type: MEDIA_TYPE.to_owned(),
        };
        self.writer.start_attachment(length, header)?;
        let mut part = vec![0; 1 << 20];
        loop {
            let count = records.read(&mut part).map_err(McapError::from)?;
            if count == 0 {
                break;
            }
            self.writer.put_attachment_bytes(&part[..count])?;
        }
        self.writer.finish_attachment()?;
        Ok(())
    }

    fn end(mut self, found: &Verification) -> Result<BTreeMap<&'static str, u64>, McapError> {
        let mut note = |name: &str, metadata: BTreeMap<String, String>| {
            self.writer.write_metadata(&Metadata { name: name.to_owned(), metadata })
        };
        let trusts = ["cloud", "network", "untrusted"].map(|name| {
            let count = self.trust.get(name).copied().unwrap_or_default();
            (format!("records_{name}"), count.to_string())
        });
        let mut clock = BTreeMap::from(trusts);
        let what = "the wall clock of each record; how far it can be believed stands in the record";
        clock.insert("log_time".to_owned(), what.to_owned());
        note("nooterra.clock", clock)?;
        note("nooterra.checkpoints", std::mem::take(&mut self.checkpoints))?;
        let result = serde_json::to_value(found).unwrap_or(Value::Null);
        let mut metadata: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in result.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            metadata.insert(name.clone(), text);
        }
        metadata.insert("said".to_owned(), found.to_string());
        let again = format!("nooterra-agent blackbox verify FILE, over the attachment {EXCERPT}");
        metadata.insert("verify_again".to_owned(), again);
        note("nooterra.verification", metadata)?;
        self.writer.finish()?;
        self.writer.into_inner().flush()?;
        Ok(self.messages)
    }
}

/// What every message of our own begins with.
fn own(record: &Record) -> Cdr {
    Cdr::new().header(wall_ns(record), "map").u64(record.seq).text(trust(record))
}

/// Nanoseconds since 1970; a clock that was never set may be before.
fn wall_ns(record: &Record) -> u64 {
    u64::try_from(record.stamp.wall.0).unwrap_or_default().saturating_mul(1_000_000)
}

const fn trust(record: &Record) -> &'static str {
    match record.stamp.trust {
        ClockTrust::Cloud => "cloud",
        ClockTrust::Network => "network",
        ClockTrust::Untrusted => "untrusted",
    }
}

/// An enum's name as on the wire.
fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("?").to_owned()
}

/// A command as a twist, NaN where the wish was no number; `None` where it is no such thing.
fn twist(asked: &Asked) -> Option<[f64; 6]> {
    let number = |part: Option<f64>| part.unwrap_or(f64::NAN);
    match *asked {
        // The turn follows from the wheelbase, which is not in the record.
        Asked::Ackermann { speed_mps, .. } => Some([number(speed_mps), 0.0, 0.0, 0.0, 0.0, 0.0]),
        Asked::Drive { angular, linear } => {
            Some([number(linear), 0.0, 0.0, 0.0, 0.0, number(angular)])
        }
        Asked::Fly { x, y, yaw_rate, z } => {
            Some([number(x), number(y), number(z), 0.0, 0.0, number(yaw_rate)])
        }
        Asked::Joints { .. } => None,
        Asked::Omni { angular, x, y } => {
            Some([number(x), number(y), 0.0, 0.0, 0.0, number(angular)])
        }
    }
}

/// What flies is commanded along the map's axes, everything else along its own.
const fn frame(command: &Command) -> &'static str {
    match command {
        Command::Fly(_) => "map",
        _ => "base_link",
    }
}
