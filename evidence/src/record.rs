//! One record of a journal, and its one form in bytes.

use crate::head::Head;
use nooterra_protocol::codec::{self, CodecError, Value};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::private::PrivateError;
use nooterra_protocol::time::Stamp;
use serde::{Deserialize, Serialize};

/// The record format that this release writes and reads.
pub const VERSION: u32 = 1;

/// The largest record, in bytes. With its framing it fits the block that the store commits at
/// once, and a batch of the uplink can carry it.
pub const MAX_RECORD_BYTES: usize = 48 * 1024;

/// One entry with its place and time.
///
/// `kind` and `body` are those of an [`Entry`]. A kind that a later release wrote is kept and
/// chained like any other, so that an older verifier still verifies a newer box.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What `kind` says it is.
    pub body: Value,
    /// Which start of the agent wrote it, counted from 1.
    pub boot: u64,
    /// How urgent it is.
    pub class: Class,
    /// The name of the entry's variant.
    pub kind: String,
    /// Its place in the journal, counted from 1 without gaps.
    pub seq: u64,
    /// When it happened, which may be a little before it was written.
    pub stamp: Stamp,
    /// Format version, [`VERSION`].
    pub v: u32,
}

/// Why bytes are not a record, or an entry cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not canonical, or not of this shape: altered, or cut short.
    #[error("record: {0}")]
    Codec(#[from] CodecError),
    /// Canonical, and yet not exactly the fields of a record: another object, or another form
    /// of one that some readers would take.
    #[error("record: {0}")]
    Shape(&'static str),
    /// Larger than [`MAX_RECORD_BYTES`]: a signed object too large to be kept.
    #[error("record of {0} bytes, at most {MAX_RECORD_BYTES} are kept; split what it carries")]
    TooLarge(usize),
    /// A private field has no commitment.
    #[error(transparent)]
    Unsealed(PrivateError),
    /// Written by a later release.
    #[error("record format {0}, this release reads {VERSION}; verify with a newer release")]
    Version(u32),
}

impl Record {
    /// A record of `entry` at a place and time.
    ///
    /// # Errors
    /// [`RecordError::Codec`] when the entry has no canonical form.
    pub fn of_entry(
        entry: &Entry,
        class: Class,
        seq: u64,
        boot: u64,
        stamp: Stamp,
    ) -> Result<Self, RecordError> {
        let kind = entry.kind().to_owned();
        Ok(Self { body: entry.body()?, boot, class, kind, seq, stamp, v: VERSION })
    }

    /// The canonical bytes: what is stored, hashed and sent.
    ///
    /// # Errors
    /// [`RecordError::Codec`] when the body has no canonical form, [`RecordError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = codec::to_vec(self)?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads canonical bytes back.
    ///
    /// # Errors
    /// Every variant of [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let Head { body, boot, class, kind, seq, stamp } = Head::read(bytes)?;
        let (body, kind) = (codec::from_slice(body)?, kind.to_owned());
        Ok(Self { body, boot, class, kind, seq, stamp, v: VERSION })
    }

    /// What it says; `None` for a kind that a later release wrote.
    ///
    /// # Errors
    /// [`RecordError::Codec`] when the kind is known and the body does not fit it.
    pub fn entry(&self) -> Result<Option<Entry>, RecordError> {
        Ok(Entry::parse(&self.kind, self.body.clone())?)
    }
}
