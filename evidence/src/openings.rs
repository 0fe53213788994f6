//! What of a record's private fields can be shown, and why the rest cannot.

use crate::erase::Erase;
use crate::record::Record;
use nooterra_protocol::codec::{Digest, Value};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::private::{Opening, Placeholder, filled, placeholders};
use std::collections::HashMap;

/// The openings of one journal that a reader was given, and what the journal says of those that
/// it erased.
#[derive(Clone, Debug)]
pub struct Openings {
    by_commitment: HashMap<Digest, Opening>,
    erased: Vec<(u64, Erase)>,
    journal: JournalId,
}

/// What is known of a private field.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The journal says in this record that its opening was erased.
    Erased {
        /// Sequence number of the record that says so.
        said_in: u64,
    },
    /// The reader was given an opening that is not the one of this field: somebody altered it,
    /// or the record was never sealed with it.
    Forged,
    /// The value to which the record commits.
    Opened(Value),
    /// The reader was not given it.
    Withheld,
}

/// A private field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// What is known of it.
    pub found: Found,
    /// Where in the record's body.
    pub path: String,
    /// What stands there.
    pub placeholder: Placeholder,
}

impl Openings {
    /// None, of this journal: a record does not tell its journal, its checkpoints do.
    #[must_use]
    pub fn new(journal: JournalId) -> Self {
        Self { by_commitment: HashMap::new(), erased: Vec::new(), journal }
    }

    /// Adds one. Of two for the same commitment the one that opens it stays.
    pub fn add(&mut self, opening: Opening) {
        let known = self.by_commitment.get(&opening.sealed);
        if known.is_none_or(|known| !known.holds(&self.journal)) {
            self.by_commitment.insert(opening.sealed, opening);
        }
    }

    /// Adds what the journal says in its record `seq`; whether that is signed is for the
    /// verifier to say ([`crate::verify`]).
    pub fn add_erased(&mut self, seq: u64, erase: Erase) {
        self.erased.push((seq, erase));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_commitment.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_commitment.is_empty()
    }

    /// The private fields of a record, in the order of their paths.
    #[must_use]
    pub fn open(&self, record: &Record) -> Vec<Field> {
        let fields = placeholders(&record.body).into_iter();
        fields
            .map(|(path, placeholder)| {
                let found = self.find(record, &path, &placeholder);
                Field { found, path, placeholder }
            })
            .collect()
    }

    /// The record with the values in the place of the placeholders that can be opened. It is
    /// for reading: it has other bytes than the journal holds, and cannot be verified.
    #[must_use]
    pub fn show(&self, record: &Record) -> Record {
        let body =
            filled(&record.body, &|path, placeholder| match self.find(record, path, placeholder) {
                Found::Opened(value) => Some(value),
                Found::Erased { .. } | Found::Forged | Found::Withheld => None,
            });
        Record { body, ..record.clone() }
    }

    fn find(&self, record: &Record, path: &str, placeholder: &Placeholder) -> Found {
        if let Some(opening) = self.by_commitment.get(&placeholder.sealed) {
            let here = (record.seq, record.kind.as_str(), path);
            let fits = (opening.seq, opening.kind.as_str(), opening.path.as_str()) == here;
            return if fits && opening.holds(&self.journal) {
                Found::Opened(opening.value.clone())
            } else {
                Found::Forged
            };
        }
        let covers = |(_, erase): &&(u64, Erase)| erase.covers(record.seq, record.class);
        let said = self.erased.iter().find(covers);
        said.map_or(Found::Withheld, |(seq, _)| Found::Erased { said_in: *seq })
    }
}

/// The private fields of one record: a shorthand for [`Openings::open`].
#[must_use]
pub fn open(record: &Record, openings: &Openings) -> Vec<Field> {
    openings.open(record)
}
