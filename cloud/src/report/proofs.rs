//! The evidence of a report: that the robot's statements which it rests on lie in the robot's
//! black box, under a checkpoint that its device key signed.
//!
//! Checkpoints are records and come up with all others, so what is here is enough: from a
//! statement to the next checkpoint it is some hundred records, and a checkpoint signs the chain.
//! The tree would need every record since the journal began.

use crate::store::records::{self, Placed};
use crate::store::{Connection, StoreError, robots};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_evidence::{Checkpoint, GENESIS, Proof, Record, leaf_hash, link, proof};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::Entry;
use nooterra_protocol::ids::{EventId, JournalId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Records that are read at once: they may have 48 KiB each.
const PAGE: u32 = 64;

/// So far is looked for a checkpoint: they are made every 1000 records.
const REACH: u64 = 4096;

/// What the proofs of one report may weigh together, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What is read for the proofs of one report, in bytes of records: a robot chooses what it cites
/// and how far it is from there to a checkpoint, and a page more is at most 3 MiB.
const MAX_READ: usize = 128 * 1024 * 1024;

/// The same, in records, for small ones cost as much each: what the forward and the backward way
/// of proofs of [`MAX_BYTES`] take, at 34 bytes a leaf.
const MAX_RECORDS: usize = 1 << 18;

/// The kind of a record that carries a checkpoint.
const CHECKPOINT: &str = "checkpoint";

/// A statement of a robot that a report rests on.
#[derive(Clone, Debug)]
pub(super) struct Cited {
    pub(super) event: EventId,
    pub(super) journal: JournalId,
    /// The record that brought it.
    pub(super) record: Option<i64>,
    pub(super) robot: RobotId,
}

/// What stands beside a signed report, and is no part of it: it grows with what comes later.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ReportProofs)]
pub(crate) struct BlackBox {
    /// Of the robot's statements that the report rests on.
    pub(super) proofs: Vec<ProofJson>,
    /// Those of which none can be made here, or not yet.
    pub(super) unproven: Vec<Unproven>,
}

/// Some records of a journal, up to a checkpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportProof)]
pub(crate) struct ProofJson {
    /// The statements that its records make.
    #[schema(value_type = Vec<String>)]
    facts: Vec<EventId>,
    /// Whose.
    #[schema(value_type = String)]
    journal: JournalId,
    /// `evidence::Proof` in its canonical CBOR, base64.
    pub(super) proof: String,
    /// Whose.
    #[schema(value_type = String)]
    robot: RobotId,
}

/// A statement that cannot be proven here.
#[derive(Serialize, ToSchema)]
#[schema(as = UnprovenFact)]
pub(crate) struct Unproven {
    /// Which.
    #[schema(value_type = String)]
    pub(super) fact: EventId,
    /// In words.
    pub(super) why: String,
}

/// Why there is no proof.
enum Why {
    /// Two records claim one place: a journal that was rolled back.
    Doubled(u64),
    /// What is here is not what was signed.
    Mismatch(u64),
    /// A record is not here, or not yet.
    Missing(u64),
    NoCheckpoint,
    /// What may be read for one report was.
    Spent,
    Store(StoreError),
    TooFar,
    TooLarge,
    Unknown,
}

impl From<StoreError> for Why {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Why {
    fn words(&self) -> String {
        match self {
            Self::Doubled(seq) => format!("two records came with the place {seq} of its journal"),
            Self::Mismatch(seq) => {
                format!("the records here do not lead to what the checkpoint at {seq} signs")
            }
            Self::Missing(seq) => format!("record {seq} of its journal is not here, or not yet"),
            Self::NoCheckpoint => "no checkpoint over its record is here yet".to_owned(),
            Self::Spent | Self::TooLarge => {
                "the proofs of this report are at their bound already".to_owned()
            }
            Self::Store(error) => error.to_string(),
            Self::TooFar => format!("no checkpoint within {REACH} records of it"),
            Self::Unknown => "an earlier release kept it without its record".to_owned(),
        }
    }
}

/// What may still be read for a report.
struct Budget {
    bytes: usize,
    records: usize,
}

impl Budget {
    const OF_A_REPORT: Self = Self { bytes: MAX_READ, records: MAX_RECORDS };

    /// Refuses where nothing is left: before a read, so that the last one may go beyond by a page.
    const fn left(&self) -> Result<(), Why> {
        if self.bytes == 0 || self.records == 0 { Err(Why::Spent) } else { Ok(()) }
    }

    fn spend(&mut self, page: &[Placed]) {
        let bytes = page.iter().map(|record| record.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.records = self.records.saturating_sub(page.len());
    }
}

/// Proofs of what is cited, as far as the records that are here make any.
pub(super) fn of(tx: &Connection, cited: Vec<Cited>) -> Result<BlackBox, StoreError> {
    within(tx, cited, Budget::OF_A_REPORT)
}

fn within(tx: &Connection, cited: Vec<Cited>, mut budget: Budget) -> Result<BlackBox, StoreError> {
    let mut found = BlackBox::default();
    let mut journals: BTreeMap<_, Vec<(u64, EventId)>> = BTreeMap::new();
    for Cited { event, journal, record, robot } in cited {
        let placed = record.map(|cursor| records::at(tx, cursor)).transpose()?.flatten();
        // A fact may come in another robot's name only by a hand in the database.
        let own = |it: &Placed| it.robot == robot.as_str() && it.journal == journal.as_str();
        match placed.filter(own) {
            Some(record) => {
                journals.entry((robot, journal)).or_default().push((record.seq, event));
            }
            None => found.unproven.push(Unproven { fact: event, why: Why::Unknown.words() }),
        }
    }
    let mut size = 0;
    for ((robot, journal), mut facts) in journals {
        facts.sort();
        let keys = robots::keys(tx, &robot)?;
        let mut rest = facts.as_slice();
        while let Some(((first, event), behind)) = rest.split_first() {
            match stretch(tx, (&robot, &journal), &keys, rest, &mut budget) {
                Ok((proof, shown)) if size + proof.len() <= MAX_BYTES => {
                    size += proof.len();
                    let (these, later) = rest.split_at(shown);
                    found.proofs.push(ProofJson {
                        facts: these.iter().map(|(_, event)| event.clone()).collect(),
                        journal: journal.clone(),
                        proof: STANDARD.encode(proof),
                        robot: robot.clone(),
                    });
                    rest = later;
                }
                Err(Why::Store(error)) => return Err(error),
                refused => {
                    let why = refused.err().unwrap_or(Why::TooLarge);
                    tracing::debug!(%robot, %journal, seq = first, why = why.words(), "no proof");
                    found.unproven.push(Unproven { fact: event.clone(), why: why.words() });
                    rest = behind;
                }
            }
        }
    }
    Ok(found)
}

/// A proof from the first of `facts` to the next checkpoint, and how many of them are in it.
fn stretch(
    tx: &Connection,
    journal: (&RobotId, &JournalId),
    keys: &[VerifyingKey],
    facts: &[(u64, EventId)],
    budget: &mut Budget,
) -> Result<(Vec<u8>, usize), Why> {
    let first = facts.first().map_or(0, |(seq, _)| *seq);
    let (mut leaves, mut shown, mut next) = (Vec::new(), Vec::new(), first);
    let checkpoint = loop {
        budget.left()?;
        let page = records::from(tx, journal, next, PAGE)?;
        budget.spend(&page);
        if page.is_empty() {
            return Err(Why::NoCheckpoint);
        }
        let mut found = None;
        for record in page {
            match record.seq.cmp(&next) {
                Ordering::Equal => {}
                Ordering::Greater => return Err(Why::Missing(next)),
                Ordering::Less => return Err(Why::Doubled(record.seq)),
            }
            if record.kind == CHECKPOINT && record.seq > first {
                found = Some(record);
                break;
            }
            next += 1;
            leaves.push(leaf_hash(&record.bytes));
            if facts.iter().any(|(seq, _)| *seq == record.seq) {
                shown.push(Blob(record.bytes));
            }
        }
        if let Some(found) = found {
            break found;
        }
        if next - first > REACH {
            return Err(Why::TooFar);
        }
    };
    let count = shown.len();
    let mismatch = || Why::Mismatch(checkpoint.seq);
    let proof = Proof::Chain {
        before: link_before(tx, journal, first, budget)?,
        checkpoint: signed(&checkpoint).ok_or_else(mismatch)?,
        leaves,
        records: shown,
        v: proof::VERSION,
    };
    if !keys.iter().any(|key| proof.check(Some(key)).is_ok()) {
        return Err(mismatch());
    }
    Ok((proof.encode().map_err(|_| mismatch())?, count))
}

/// The link of the record before `first`: from the checkpoint before, or from the journal's
/// beginning. It is believed because it leads to the checkpoint behind.
fn link_before(
    tx: &Connection,
    journal: (&RobotId, &JournalId),
    first: u64,
    budget: &mut Budget,
) -> Result<Digest, Why> {
    let (mut leaves, mut next) = (Vec::new(), first);
    let mut head = GENESIS;
    'back: while next > 1 {
        budget.left()?;
        let page = records::before(tx, journal, next, PAGE)?;
        budget.spend(&page);
        if page.is_empty() {
            return Err(Why::Missing(next - 1));
        }
        for record in page {
            match (record.seq + 1).cmp(&next) {
                Ordering::Equal => {}
                Ordering::Greater => return Err(Why::Doubled(record.seq)),
                Ordering::Less => return Err(Why::Missing(next - 1)),
            }
            next = record.seq;
            leaves.push(leaf_hash(&record.bytes));
            if record.kind == CHECKPOINT {
                let signed = signed(&record).and_then(|it| Checkpoint::read(&it.0, None).ok());
                let signed = signed.filter(|it| it.size + 1 == record.seq);
                head = signed.ok_or(Why::Mismatch(record.seq))?.head;
                break 'back;
            }
        }
        if first - next > REACH {
            return Err(Why::TooFar);
        }
    }
    Ok(leaves.iter().rev().fold(head, |head, leaf| link(&head, leaf)))
}

/// The signed checkpoint in a record.
fn signed(record: &Placed) -> Option<Blob> {
    match Record::decode(&record.bytes).and_then(|record| record.entry()) {
        Ok(Some(Entry::Checkpoint(signed))) => Some(signed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::in_memory;
    use crate::store::records::NewRecord;
    use nooterra_protocol::entry::Class;
    use nooterra_protocol::ids::ActorId;
    use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};

    #[test]
    fn what_is_read_for_a_report_is_bounded_however_much_it_cites() {
        let tx = in_memory().unwrap();
        let (robot, actor) = (RobotId::new("amr-1").unwrap(), ActorId::new("amr-1").unwrap());
        let journal = JournalId::new("j").unwrap();
        let stamp = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) };
        let cite = |seq: u64| {
            let bytes = &seq.to_be_bytes();
            let (class, kind) = (Class::Critical, "fact");
            let new =
                NewRecord { bytes, class, journal: &journal, kind, robot: &robot, seq, stamp };
            let record = records::add(&tx, &new, WallMillis(1)).unwrap().map(|it| it.cursor);
            let event = EventId::derive(&actor, seq, &journal);
            Cited { event, journal: journal.clone(), record, robot: robot.clone() }
        };
        let cited: Vec<_> = (1..=300).map(cite).collect();
        let records = Budget { records: 600, ..Budget::OF_A_REPORT };
        let bytes = Budget { bytes: 600 * 8, ..Budget::OF_A_REPORT };
        // No checkpoint ever: for the first 300 records are read, for the next 299.
        for budget in [records, bytes] {
            let found = within(&tx, cited.clone(), budget).unwrap();
            let why: Vec<_> = found.unproven.iter().map(|it| it.why.as_str()).collect();
            assert_eq!((found.proofs.len(), why.len()), (0, 300));
            assert!(why[..2].iter().all(|why| *why == Why::NoCheckpoint.words()), "{why:?}");
            assert!(why[2..].iter().all(|why| *why == Why::Spent.words()), "{why:?}");
        }
    }
}
