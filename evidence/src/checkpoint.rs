//! The signed statement that makes a chain mean something to a stranger.

use crate::seal::{self, Origin, Seal, SealError};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::Entry;
use nooterra_protocol::envelope::{Signable, SignedError};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::Stamp;
use serde::{Deserialize, Serialize};

/// The checkpoint format that this release writes and reads.
pub const VERSION: u32 = 1;

/// How many records a journal held, and where its chain ended, at one moment.
///
/// It is stored as a record of kind `checkpoint` and covers the records before that one, so
/// `size` is one less than the sequence number of the record that holds it. That record has
/// the same boot and stamp and the class `normal`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The start of the agent in which it was made, counted from 1.
    pub boot: u64,
    /// The link of the last record that it covers.
    pub head: Digest,
    /// Which journal.
    pub journal: JournalId,
    /// Hash of the signed policy in force.
    pub policy_hash: Digest,
    /// Root of the Merkle tree over the leaf hashes of the records that it covers
    /// ([`crate::tree`]).
    pub root: Digest,
    /// How many records it covers: all from 1 to this number.
    pub size: u64,
    /// When it was made.
    pub stamp: Stamp,
    /// Format version, [`VERSION`].
    pub v: u32,
}

impl Signable for Checkpoint {
    const CONTENT_TYPE: &'static str = "nooterra/checkpoint+cbor;v=1";
}

impl Origin for Checkpoint {
    fn origin(&self) -> (Stamp, u64, &JournalId) {
        (self.stamp, self.boot, &self.journal)
    }
}

/// Why a stored checkpoint says nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The body of the record is not a signed checkpoint of the key.
    #[error("no checkpoint: {0}")]
    Seal(#[from] SealError),
    /// Written by a later release.
    #[error("checkpoint format {0}, this release reads {VERSION}; verify with a newer release")]
    Version(u32),
}

impl Checkpoint {
    /// Signs it and makes it an entry of the journal.
    ///
    /// # Errors
    /// [`SignedError`] when the key does not sign.
    pub fn into_entry(self, seal: &Seal) -> Result<Entry, SignedError> {
        Ok(Entry::Checkpoint(Blob(seal.sign(self)?)))
    }

    /// Reads the signed bytes. With a key the signature must be that key's, or that of a
    /// session key that it certified; without one the content is taken as it stands and proves
    /// nothing about who made it.
    ///
    /// # Errors
    /// Every variant of [`CheckpointError`].
    pub fn read(bytes: &[u8], key: Option<&VerifyingKey>) -> Result<Self, CheckpointError> {
        Self::read_with(&mut seal::Reader::new(key.cloned()), bytes)
    }

    /// The same, one of many.
    ///
    /// # Errors
    /// Every variant of [`CheckpointError`].
    pub fn read_with(reader: &mut seal::Reader, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let checkpoint: Self = reader.read(bytes)?;
        if checkpoint.v == VERSION {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Version(checkpoint.v))
        }
    }
}
