//! What a journal says, signed, of records that it no longer holds.
//!
//! Both statements are stored as records whose kind is theirs and whose body is the
//! COSE_Sign1. A record that is absent and that no such statement speaks of was taken away.

use crate::cose::PeekError;
use crate::seal::{self, Origin, Seal, SealError};
use nooterra_protocol::codec::{Digest, Value};
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::{Signable, SignedError};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::Stamp;
use serde::{Deserialize, Serialize};

/// The format of both that this release writes and reads.
pub const VERSION: u32 = 1;

/// The most spans that one [`Loss`] names, so that it fits a record.
pub const MAX_SPANS: usize = 500;

/// Records in a row.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Link of the record before the first, which binds what stands before the hole.
    pub before: Digest,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Records were damaged on the disk, and the journal was rebuilt without them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The name under which the damaged journal was put aside, with all its bytes.
    pub aside: String,
    /// The start of the agent in which it was found.
    pub boot: u64,
    /// Which journal.
    pub journal: JournalId,
    /// The last number of which it is known that a record had it. Where the last span goes
    /// beyond, nobody knows how many records the end of the journal held; those numbers are
    /// not used again.
    pub known_to: u64,
    /// All that is missing at this moment and was not pruned, in order.
    pub spans: Vec<Span>,
    /// When it was found.
    pub stamp: Stamp,
    /// Format version, [`VERSION`].
    pub v: u32,
    /// What was wrong with the journal.
    pub why: String,
}

/// Records were removed because the journal reached its bound.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// The start of the agent in which it happened.
    pub boot: u64,
    /// The first and the last of the critical records that nobody had acknowledged and that
    /// were pruned, by this statement or one before it. `None` in every journal but one that
    /// held nothing else any more.
    pub forced: Option<(u64, u64)>,
    /// Link of the record `through`.
    pub head: Digest,
    /// Up to which record each class may be represented by leaf hashes alone.
    pub horizons: Horizons,
    /// Which journal.
    pub journal: JournalId,
    /// When it happened.
    pub stamp: Stamp,
    /// Roots of the perfect subtrees over the records 1 to `through`, the largest first.
    pub subtrees: Vec<Digest>,
    /// The records from 1 to this number are gone, leaf hashes too.
    pub through: u64,
    /// Format version, [`VERSION`].
    pub v: u32,
}

/// A sequence number for each class.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Horizons {
    /// Of [`Class::Bulk`].
    pub bulk: u64,
    /// Of [`Class::Critical`].
    pub critical: u64,
    /// Of [`Class::Normal`].
    pub normal: u64,
}

impl Horizons {
    /// That of a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> u64 {
        match class {
            Class::Bulk => self.bulk,
            Class::Critical => self.critical,
            Class::Normal => self.normal,
        }
    }

    /// Moves that of a class on; it never goes back.
    pub fn raise(&mut self, class: Class, seq: u64) {
        let horizon = match class {
            Class::Bulk => &mut self.bulk,
            Class::Critical => &mut self.critical,
            Class::Normal => &mut self.normal,
        };
        *horizon = seq.max(*horizon);
    }
}

impl Origin for Loss {
    fn origin(&self) -> (Stamp, u64, &JournalId) {
        (self.stamp, self.boot, &self.journal)
    }
}

impl Signable for Loss {
    const CONTENT_TYPE: &'static str = "nooterra/loss+cbor;v=1";
}

impl Origin for Prune {
    fn origin(&self) -> (Stamp, u64, &JournalId) {
        (self.stamp, self.boot, &self.journal)
    }
}

impl Signable for Prune {
    const CONTENT_TYPE: &'static str = "nooterra/prune+cbor;v=1";
}

/// A statement of this module.
pub trait Statement: Origin {
    /// The kind of the record that holds it.
    const KIND: &'static str;

    /// Its format version.
    fn version(&self) -> u32;

    /// Signs it and makes it the body of a record.
    ///
    /// # Errors
    /// [`SignedError`] when the key does not sign.
    fn into_body(self, seal: &Seal) -> Result<Value, SignedError> {
        Ok(Value::Bytes(seal.sign(self)?))
    }

    /// Reads the body of a record. With a key the signature must be that key's, or that of a
    /// session key that it certified; without one the content is taken as it stands.
    ///
    /// # Errors
    /// Every variant of [`AbsenceError`].
    fn read(body: &Value, key: Option<&VerifyingKey>) -> Result<Self, AbsenceError> {
        Self::read_with(&mut seal::Reader::new(key.cloned()), body)
    }

    /// The same, one of many.
    ///
    /// # Errors
    /// Every variant of [`AbsenceError`].
    fn read_with(reader: &mut seal::Reader, body: &Value) -> Result<Self, AbsenceError> {
        let Value::Bytes(bytes) = body else {
            return Err(SealError::from(PeekError::Form).into());
        };
        let statement: Self = reader.read(bytes)?;
        if statement.version() == VERSION {
            Ok(statement)
        } else {
            Err(AbsenceError::Version(statement.version()))
        }
    }
}

impl Statement for Loss {
    const KIND: &'static str = "loss";

    fn version(&self) -> u32 {
        self.v
    }
}

impl Statement for Prune {
    const KIND: &'static str = "prune";

    fn version(&self) -> u32 {
        self.v
    }
}

/// Why the body of a record says nothing about absent records.
#[derive(Debug, thiserror::Error)]
pub enum AbsenceError {
    /// The body is not such a statement, signed by the key.
    #[error("no statement: {0}")]
    Seal(#[from] SealError),
    /// Written by a later release.
    #[error("format {0} of a loss or prune, this release reads {VERSION}; use a newer release")]
    Version(u32),
}
