//! Where dumps go, and what is found of one that was cut off.

use crate::handle::{AppendError, JournalHandle, ReadError};
use nooterra_evidence::Record;
use nooterra_protocol::codec;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::flight::FlightNote;
use nooterra_protocol::start::CutDump;
use serde::{Deserialize, Serialize};

/// The state that names the dump under way.
const OPEN_KEY: &str = "flight.open";

/// Read at once while a cut dump is looked for.
const READ_BYTES: usize = 256 * 1024;

/// Takes what a recorder writes.
pub trait FlightSink {
    /// Queues a record.
    ///
    /// # Errors
    /// [`AppendError::Full`] when it is to be tried again later; after any other the dump is
    /// given up.
    fn append(&mut self, entry: Entry) -> Result<(), AppendError>;

    /// A dump begins, or none is under way: what the next start needs to find one that was cut
    /// off. Durable before what is appended after it; it does not wait for that, because a disk
    /// that stands still is what the recorder has to bridge.
    ///
    /// # Errors
    /// As for [`Self::append`].
    fn open(&mut self, dump: Option<u64>) -> Result<(), AppendError>;
}

/// The dump under way, by where it began.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct OpenDump {
    after_seq: u64,
    dump: u64,
}

impl FlightSink for JournalHandle {
    fn append(&mut self, entry: Entry) -> Result<(), AppendError> {
        Self::append(self, entry)
    }

    fn open(&mut self, dump: Option<u64>) -> Result<(), AppendError> {
        let open = dump.map(|dump| OpenDump { after_seq: self.records(), dump });
        let bytes = codec::to_vec(&open).map_err(|error| AppendError::Encode(error.to_string()))?;
        self.queue_state(OPEN_KEY, &bytes)
    }
}

/// What there is of the dump that the run before was writing when it ended, if it was writing
/// one: `last_boot` is that run.
///
/// # Errors
/// [`ReadError`].
pub fn cut_dump(journal: &JournalHandle, last_boot: u64) -> Result<Option<CutDump>, ReadError> {
    let state = journal.get_state(OPEN_KEY).ok().flatten();
    let Some(open) = state.and_then(|bytes| codec::from_slice::<Option<OpenDump>>(&bytes).ok())
    else {
        return Ok(None);
    };
    let Some(OpenDump { mut after_seq, dump }) = open else {
        return Ok(None);
    };
    let mut cut = CutDump { blocks: 0, dump, ticks: 0 };
    loop {
        let records = journal.read_from(Class::Normal, after_seq, READ_BYTES)?;
        let Some((last, _)) = records.last() else {
            return Ok(Some(cut));
        };
        after_seq = *last;
        for (_, bytes) in &records {
            let Ok(record) = Record::decode(bytes) else { continue };
            if record.boot != last_boot {
                continue;
            }
            match record.entry() {
                Ok(Some(Entry::Flight(block))) if block.dump == dump => {
                    cut.blocks += 1;
                    cut.ticks += u64::from(block.count);
                }
                Ok(Some(Entry::FlightNote(FlightNote::Ended { dump: ended, .. })))
                    if ended == dump =>
                {
                    return Ok(None);
                }
                _ => {}
            }
        }
    }
}
