//! A black box as an MCAP file that Foxglove and Rerun open, and that verifies again.
//!
//! Chunks are compressed with zstd and indexed. The log time of a message is the wall clock of
//! its record; how far that clock could be believed stands in the metadata and in each message
//! of our own. The records themselves, signed and chained, are in the attachment [`EXCERPT`]:
//! those that were not wanted as their leaf hashes, so that what is there can still be proved.
//! The result of verifying that attachment, and every checkpoint, are metadata.
//!
//! The messages are made of the records and signed by nobody. Whoever verifies an export makes
//! them again of the records in the attachment, and compares ([`Messages`]).

mod cdr;
mod compare;
mod messages;
mod read;
mod schema;

pub use compare::{Messages, Wrong, WrongMessage};

use compare::Comparison;
use mcap::records::{AttachmentHeader, MessageHeader, Metadata};
use mcap::{Compression, McapError, WriteOptions, Writer};
use messages::Message;
use nooterra_blackbox::{
    ExcerptError, Lost, Record, Taken, Verification, excerpt, is_locked, verify_each,
    verify_excerpt,
};
use nooterra_evidence::Checkpoint;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::keys::VerifyingKey;
use schema::Topic;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The attachment with the records.
pub const EXCERPT: &str = "nooterra.excerpt";

const MEDIA_TYPE: &str = "application/vnd.nooterra.excerpt";

/// What writes the files, and says so in them.
const LIBRARY: &str = concat!("nooterra-agent ", env!("CARGO_PKG_VERSION"));

/// How often a journal in use is exported again when something of it cannot be read.
const ATTEMPTS_IN_USE: u32 = 3;

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
    /// A file that is read back has two attachments of the name.
    #[error("{path} has more than one attachment {EXCERPT}", path = .0.display())]
    TwoExcerpts(PathBuf),
}

/// What is to be exported.
#[allow(missing_debug_implementations)] // Of functions there is nothing to show.
pub struct Asked<'a> {
    /// Whether it may be among what cannot be read.
    pub may_take: &'a dyn Fn(&Lost) -> bool,
    /// Whether a record is.
    pub takes: &'a mut dyn FnMut(&Record) -> bool,
}

/// Records in a row that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Unreadable {
    /// Sequence number of the first.
    pub first: u64,
    /// Sequence number of the last.
    pub last: u64,
    /// Why.
    pub why: String,
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// Messages by topic.
    pub messages: BTreeMap<&'static str, u64>,
    /// Records that were chosen.
    pub records: u64,
    /// Records that may have been asked for and cannot be read: damaged, lost or taken away. Not
    /// what was pruned, where a signed record says so.
    pub unreadable: u64,
    /// Others that cannot be read.
    pub unreadable_elsewhere: u64,
    /// Those that may have been asked for, of a few thousand spans.
    pub unreadable_spans: Vec<Unreadable>,
    /// What verifying the attachment found.
    pub verification: Verification,
    /// What is wrong first in the attachment is nothing that cannot be read: it is forged, or of
    /// another robot.
    #[serde(skip)]
    pub(crate) is_forged: bool,
    /// Records of which only the leaf hash is in the attachment.
    pub withheld: u64,
}

/// Exports the journal in `dir` to the new file `out`: the records that are asked for.
/// `progress` is called with the sequence number of the last record seen.
///
/// # Errors
/// [`ExportError`]. A damaged journal is exported as far as it reads, and what is answered says
/// what does not. Of one in use that is believed when it shows several times.
pub fn export(
    dir: &Path,
    out: &Path,
    key: Option<&VerifyingKey>,
    asked: Asked<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    let Asked { may_take, takes } = asked;
    let mut attempt = 1;
    loop {
        let in_use = is_locked(dir);
        let (exported, file) =
            write(dir, out, key, Asked { may_take, takes: &mut *takes }, progress)?;
        // An agent may have started meanwhile.
        let in_use = in_use || is_locked(dir);
        let is_whole = exported.unreadable == 0 && exported.verification.is_intact();
        if is_whole || !in_use || attempt == ATTEMPTS_IN_USE {
            file.persist_noclobber(out).map_err(|error| at(out)(error.error))?;
            return Ok(exported);
        }
        attempt += 1;
    }
}

/// Writes a file beside `out`.
fn write(
    dir: &Path,
    out: &Path,
    key: Option<&VerifyingKey>,
    asked: Asked<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<(Exported, NamedTempFile), ExportError> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut records = tempfile::tempfile_in(folder).map_err(at(folder))?;
    // Under another name until it is whole.
    let mut file = NamedTempFile::new_in(folder).map_err(at(folder))?;
    let mut log = Log::new(BufWriter::new(file.as_file_mut()))?;
    let mut failed = None;
    let taken = {
        let mut buffered = BufWriter::new(&mut records);
        let taken = excerpt(dir, &mut buffered, &mut |record| {
            progress(record.seq);
            if record.kind == "checkpoint" {
                log.checkpoint(record);
            }
            let chosen = (asked.takes)(record);
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
    let Taken { lost, more_lost, withheld, .. } = taken;
    let unread = |seq| lost.iter().any(|one| (one.first..=one.last).contains(&seq));
    let wrong = verification.first_bad.as_ref().map(|bad| bad.seq);
    let mut exported = Exported {
        // Of further spans it is not known where they are.
        is_forged: more_lost == 0 && wrong.is_some_and(|seq| !unread(seq)),
        messages,
        records: chosen,
        unreadable: more_lost,
        unreadable_elsewhere: 0,
        unreadable_spans: Vec::new(),
        verification,
        withheld,
    };
    for lost in lost {
        let may_be_asked_for = (asked.may_take)(&lost);
        let Lost { first, last, why, .. } = lost;
        let count = last - first + 1;
        if may_be_asked_for {
            exported.unreadable += count;
            exported.unreadable_spans.push(Unreadable { first, last, why });
        } else {
            exported.unreadable_elsewhere += count;
        }
    }
    Ok((exported, file))
}

/// Verifies the records in an export, or an excerpt that stands by itself; and of an export
/// that its messages are those that are made of the records.
///
/// # Errors
/// [`ExportError`] where there are no records. Messages that cannot be read are no error.
pub fn verify_export(
    path: &Path,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> Result<(Verification, Option<Messages>), ExportError> {
    let mut file = BufReader::new(File::open(path).map_err(at(path))?);
    if !read::is_mcap(&mut file).map_err(at(path))? {
        return Ok((verify_excerpt(&mut file, key, progress)?, None));
    }
    let library = read::library(&mut file).map_err(at(path))?;
    let excerpts = read::excerpts(&mut file).map_err(at(path))?;
    let attached = match excerpts[..] {
        [attached] => attached,
        [] => return Err(ExportError::NoExcerpt(path.to_owned())),
        _ => return Err(ExportError::TwoExcerpts(path.to_owned())),
    };
    file.seek(io::SeekFrom::Start(attached.offset)).map_err(at(path))?;
    let beside = BufReader::new(File::open(path).map_err(at(path))?);
    let mut comparison = Comparison::new(read::messages(beside), library);
    let mut each = |record: &Record| comparison.record(record);
    let found = verify_each(&mut file.take(attached.length), key, &mut each, progress)?;
    Ok((found, Some(comparison.end())))
}

/// Makes an error name its path.
fn at(path: &Path) -> impl Fn(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::File { path: path.clone(), source }
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
            .library(LIBRARY)
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

    /// The messages about a record.
    fn record(&mut self, record: &Record) -> Result<(), McapError> {
        self.chosen += 1;
        *self.trust.entry(messages::trust(record)).or_default() += 1;
        messages::of(record).into_iter().try_for_each(|message| self.put(&message))
    }

    fn put(&mut self, message: &Message) -> Result<(), McapError> {
        let Message { data, seq, time_ns, topic } = message;
        let channel_id = match self.channels.get(topic) {
            Some(channel) => *channel,
            None => {
                let (definition, nothing) = (topic.definition(), BTreeMap::new());
                let schema = self.writer.add_schema(
                    topic.schema(),
                    schema::ENCODING,
                    definition.as_bytes(),
                )?;
                let id = self.writer.add_channel(
                    schema,
                    topic.name(),
                    schema::MESSAGE_ENCODING,
                    &nothing,
                )?;
                self.channels.insert(*topic, id);
                id
            }
        };
        let (first, last) = self.span_ns.unwrap_or((*time_ns, *time_ns));
        self.span_ns = Some((first.min(*time_ns), last.max(*time_ns)));
        *self.messages.entry(topic.name()).or_default() += 1;
        let sequence = messages::sequence(*seq);
        let (log_time, publish_time) = (*time_ns, *time_ns);
        let header = MessageHeader { channel_id, sequence, log_time, publish_time };
        self.writer.write_to_known_channel(&header, data)
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
