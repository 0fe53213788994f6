//! What a journal says, signed, of openings that it no longer keeps.
//!
//! The records that the openings belonged to stay, and verify as before: each still commits to
//! the value that nobody can show any more.

use crate::absence::Statement;
use crate::seal::Origin;
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::Signable;
use nooterra_protocol::ids::{JobId, JournalId};
use nooterra_protocol::time::{Stamp, WallMillis};
use serde::{Deserialize, Serialize};

/// The most spans that one [`Erase`] names, so that it fits a record.
pub const MAX_SPANS: usize = 500;

/// Openings were erased: their keys were destroyed, and nothing of them was kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// What was asked for: all from before this moment, by the clock of the records.
    pub before: Option<WallMillis>,
    /// The start of the agent in which it happened.
    pub boot: u64,
    /// Who asked for it; `robot` where its own bound did.
    pub by: String,
    /// Only openings of records of this class, where one is named.
    pub class: Option<Class>,
    /// What was asked for: all of this job.
    pub job: Option<JobId>,
    /// Which journal.
    pub journal: JournalId,
    /// How many openings went, at least.
    pub openings: u64,
    /// First and last record of each row of records without openings from now on, ascending.
    pub spans: Vec<(u64, u64)>,
    /// When it happened.
    pub stamp: Stamp,
    /// Format version, [`crate::absence::VERSION`].
    pub v: u32,
    /// In words, where any were given.
    pub why: Option<String>,
}

impl Erase {
    /// Whether it speaks of this record.
    #[must_use]
    pub fn covers(&self, seq: u64, class: Class) -> bool {
        self.class.is_none_or(|only| only == class)
            && self.spans.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }

    /// Its spans are in order, and all of records before `seq`, the one that holds it.
    #[must_use]
    pub fn is_in_order(&self, seq: u64) -> bool {
        let mut after = 0;
        self.spans.iter().all(|(first, last)| {
            let fits = *first > after && first <= last && *last < seq;
            after = *last;
            fits
        })
    }
}

impl Origin for Erase {
    fn origin(&self) -> (Stamp, u64, &JournalId) {
        (self.stamp, self.boot, &self.journal)
    }
}

impl Signable for Erase {
    const CONTENT_TYPE: &'static str = "nooterra/erase+cbor;v=1";
}

impl Statement for Erase {
    const KIND: &'static str = "erase";

    fn version(&self) -> u32 {
        self.v
    }
}
