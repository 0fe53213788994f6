//! What a verifier found, and how it says so.

use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::JournalId;
use serde::Serialize;
use std::fmt;

/// The first record that is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Bad {
    /// Its sequence number; where only a range can be told, the first of the range.
    pub seq: u64,
    /// What is wrong, in one line.
    pub why: String,
}

/// Records in a row that are missing, of which the journal itself says, signed, that it lost
/// them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Missing {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The record that says so.
    pub said_in: u64,
}

/// What a verifier found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Verification {
    /// Records after the last checkpoint that holds: chained, but signed by nobody yet.
    pub beyond_last_checkpoint: u64,
    /// Checkpoints that hold.
    pub checkpoints: u64,
    /// The first record that is not as it was written.
    pub first_bad: Option<Bad>,
    /// The link of the last record.
    pub head: Digest,
    /// The journal that the checkpoints name.
    pub journal: Option<JournalId>,
    /// A key was given, so that checkpoints prove who wrote them. Without one the best that
    /// can be said is "self-consistent, identity unproven".
    pub key_known: bool,
    /// What is missing and was said to be; what is missing and was not is [`Self::first_bad`].
    pub missing: Vec<Missing>,
    /// What the reader of the store had to say that concerns no single record.
    pub notes: Vec<String>,
    /// Records that were pruned, as a signed record says: gone, or leaf hashes only.
    pub pruned: u64,
    /// Records seen, good and bad.
    pub records: u64,
    /// The sequence number of the last checkpoint that holds with everything before it.
    pub verified_through: Option<u64>,
    /// In an excerpt, records of which it holds the leaf hash only.
    pub withheld: u64,
}

impl Verification {
    /// Nothing is wrong with any record that is there, and of what is not there the journal
    /// says why. Whose records they are is [`Self::key_known`].
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.first_bad.is_none()
    }

    /// It is intact, and nothing was lost.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_intact() && self.missing.is_empty()
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bad) = &self.first_bad {
            write!(f, "record {} is not as it was written: {}; ", bad.seq, bad.why)?;
        }
        write!(f, "{} records, ", self.records)?;
        match (self.verified_through, self.key_known) {
            (Some(seq), true) => {
                write!(f, "verified through the signed checkpoint at record {seq}")?;
            }
            (Some(seq), false) => write!(
                f,
                "self-consistent through the checkpoint at record {seq}, identity unproven"
            )?,
            (None, true) => write!(f, "no signed checkpoint holds")?,
            (None, false) => write!(f, "no checkpoint holds, identity unproven")?,
        }
        match (self.beyond_last_checkpoint, &self.first_bad) {
            (0, _) => Ok(()),
            (n, None) => write!(f, ", {n} beyond the last checkpoint"),
            (n, Some(_)) => write!(f, ", {n} not covered by a checkpoint that holds"),
        }?;
        if self.pruned > 0 {
            write!(f, ", {} pruned", self.pruned)?;
        }
        if self.withheld > 0 {
            write!(f, ", {} withheld", self.withheld)?;
        }
        for Missing { first, last, said_in } in &self.missing {
            write!(f, "; {first} to {last} are missing, as record {said_in} says")?;
        }
        Ok(())
    }
}
