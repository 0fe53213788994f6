//! The verifier: records in, in order, and out comes how far they are proved.

use crate::chain::{GENESIS, leaf_hash, link};
use crate::checkpoint::Checkpoint;
use crate::record::Record;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::VerifyingKey;
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
    /// What the reader of the store had to say that concerns no single record.
    pub notes: Vec<String>,
    /// Records seen, good and bad.
    pub records: u64,
    /// The sequence number of the last checkpoint that holds with everything before it.
    pub verified_through: Option<u64>,
}

impl Verification {
    /// Nothing is wrong with any record. Whose records they are is [`Self::key_known`].
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.first_bad.is_none()
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
        }
    }
}

/// Takes the records of one journal from the first on and checks each against the chain and
/// the checkpoints. Its memory does not grow with the journal.
#[derive(Debug)]
pub struct Verifier {
    boot: u64,
    checkpoints: u64,
    /// Records that the last checkpoint covers.
    covered: u64,
    first_bad: Option<Bad>,
    head: Digest,
    journal: Option<JournalId>,
    key: Option<VerifyingKey>,
    next_seq: u64,
    records: u64,
    verified_through: Option<u64>,
}

impl Verifier {
    /// A verifier for a whole journal. Without a key it can find damage but not a forger.
    #[must_use]
    pub const fn new(key: Option<VerifyingKey>) -> Self {
        Self {
            boot: 0,
            checkpoints: 0,
            covered: 0,
            first_bad: None,
            head: GENESIS,
            journal: None,
            key,
            next_seq: 1,
            records: 0,
            verified_through: None,
        }
    }

    /// The sequence number that the next record must have.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The link of the last record.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Nothing wrong so far.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.first_bad.is_none()
    }

    /// The next record as it is stored, with its stored link where the carrier has one. With
    /// links a flipped bit is told to the record; without them, to the span between two
    /// checkpoints. Returns the record when it is chained and in its place.
    pub fn push(&mut self, bytes: &[u8], stored_link: Option<&Digest>) -> Option<Record> {
        let seq = self.next_seq;
        let computed = link(&self.head, &leaf_hash(bytes));
        let record = self.check(seq, bytes, stored_link, &computed);
        if let Some(record) = &record {
            self.boot = record.boot;
            if record.kind == "checkpoint" {
                self.checkpoint(seq, record);
            }
        }
        // After a bad record the stored link still connects what follows.
        self.head = stored_link.copied().unwrap_or(computed);
        self.next_seq = seq.saturating_add(1);
        self.records += 1;
        record
    }

    /// The records from the next one up to and with `through_seq` cannot be read, for a
    /// reason that the caller knows; `head` is the link of the last of them, where known.
    pub fn push_unreadable(&mut self, through_seq: u64, head: Option<&Digest>, why: &str) {
        let seq = self.next_seq;
        if through_seq < seq {
            return;
        }
        let why = match through_seq {
            last if last == seq => why.to_owned(),
            last => format!("records {seq} to {last}: {why}"),
        };
        self.bad(seq, why);
        self.head = head.copied().unwrap_or(self.head);
        self.next_seq = through_seq.saturating_add(1);
    }

    /// What the caller knows about a record beyond its bytes: a damaged frame around it, a
    /// class in an index that is not its own.
    pub fn note_bad(&mut self, seq: u64, why: &str) {
        self.bad(seq, why.to_owned());
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Verification {
        Verification {
            beyond_last_checkpoint: (self.next_seq - 1) - self.verified_through.unwrap_or(0),
            checkpoints: self.checkpoints,
            first_bad: self.first_bad,
            head: self.head,
            journal: self.journal,
            key_known: self.key.is_some(),
            notes: Vec::new(),
            records: self.records,
            verified_through: self.verified_through,
        }
    }

    /// The record, if it is one, chained and in its place; otherwise the reason is noted.
    fn check(
        &mut self,
        seq: u64,
        bytes: &[u8],
        stored_link: Option<&Digest>,
        computed: &Digest,
    ) -> Option<Record> {
        if stored_link.is_some_and(|stored| stored != computed) {
            self.bad(seq, "its bytes do not lead to its link in the chain".to_owned());
            return None;
        }
        let record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.bad(seq, error.to_string());
                return None;
            }
        };
        if record.seq != seq {
            self.bad(seq, format!("in its place stands record {}", record.seq));
            return None;
        }
        if record.boot < self.boot {
            let (boot, before) = (record.boot, self.boot);
            self.bad(seq, format!("it is of start {boot}, the record before of start {before}"));
            return None;
        }
        Some(record)
    }

    fn checkpoint(&mut self, seq: u64, record: &Record) {
        let Ok(Some(Entry::Checkpoint(blob))) = record.entry() else {
            return self.bad(seq, "it is no checkpoint inside".to_owned());
        };
        let checkpoint = match Checkpoint::read(&blob.0, self.key.as_ref()) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.bad(seq, error.to_string()),
        };
        // Nothing of the record around it is left to chance: the signature covers all of it.
        let (stamp, boot) = (checkpoint.stamp, checkpoint.boot);
        if (record.stamp, record.boot, record.class) != (stamp, boot, Class::Normal) {
            return self.bad(seq, "it says otherwise than the checkpoint that it holds".to_owned());
        }
        if checkpoint.size != seq - 1 {
            let size = checkpoint.size;
            return self.bad(seq, format!("this checkpoint covers {size} records, not all before"));
        }
        if self.journal.as_ref().is_some_and(|journal| *journal != checkpoint.journal) {
            return self.bad(
                seq,
                format!("this checkpoint is of another journal, {}", checkpoint.journal),
            );
        }
        if checkpoint.head != self.head {
            let (first, last) = (self.covered + 1, seq);
            return self.bad(
                first,
                format!("records {first} to {last} do not lead to what the checkpoint there says"),
            );
        }
        self.covered = checkpoint.size;
        self.journal = Some(checkpoint.journal);
        if self.first_bad.is_none() {
            self.checkpoints += 1;
            self.verified_through = Some(seq);
        }
    }

    fn bad(&mut self, seq: u64, why: String) {
        match &self.first_bad {
            Some(first) if first.seq <= seq => {}
            _ => self.first_bad = Some(Bad { seq, why }),
        }
    }
}
