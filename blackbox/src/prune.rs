//! Keeping the journal within its bound on the disk.
//!
//! Where it outgrows the bound, the oldest records go: bulk ones first, then normal ones, then
//! critical ones that the cloud has acknowledged, and only when nothing else is left critical
//! ones that it has not. A pruned record leaves its leaf hash in its block, so that the chain
//! around it can still be checked; a beginning of the journal of which nothing but leaf hashes
//! is left is removed, and leaves the roots of its Merkle tree. Before anything goes, a signed
//! record that says so is durable.

use crate::block::{Block, Encoded, Held, Running};
use crate::index::{Index, slot};
use crate::log;
use crate::store::SEGMENT_BYTES;
use nooterra_evidence::{Horizons, Prune, leaf_hash};
use nooterra_protocol::codec::{self, CodecError, Digest};
use nooterra_protocol::entry::Class;
use nooterra_protocol::time::{ClockTrust, Stamp, WallMillis};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The state that holds [`Pruned`].
pub(crate) const PRUNED_KEY: &[u8] = b"m/pruned";

/// Of so many parts of the log these hold blocks that count; the rest is what was replaced, until
/// its segment is removed. To make room then costs two bytes written for each at the most.
const LIVE_PARTS: (u64, u64) = (2, 3);

/// What the states take, and what the log grows by before room is made in it.
const SLACK_BYTES: u64 = 3 * SEGMENT_BYTES as u64 + 3 * log::SEGMENT_BYTES;

/// Below this the slack is most of it.
const LEAST_DISK_BYTES: u64 = 48 * 1024 * 1024;

/// What a journal may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    /// What bulk records may weigh; nothing but the bound on the disk when `None`.
    pub bulk_bytes: Option<u64>,
    /// What acknowledged critical records may weigh.
    pub critical_bytes: Option<u64>,
    /// Of each class in the order of [`Class::ALL`] the age up to which its records stay, as long
    /// as the bound on the disk leaves a choice: others go before them.
    pub keep_at_least: [Option<Duration>; 3],
    /// Of each class in the order of [`Class::ALL`] the age from which its records go, though
    /// there were room; critical ones only when they are acknowledged.
    pub keep_at_most: [Option<Duration>; 3],
    /// What the store's files may take on the disk. At least 48 MiB.
    pub disk_bytes: u64,
    /// What normal records may weigh.
    pub normal_bytes: Option<u64>,
}

impl Default for Quota {
    fn default() -> Self {
        let disk_bytes = 1024 * 1024 * 1024;
        Self {
            bulk_bytes: None,
            critical_bytes: None,
            disk_bytes,
            keep_at_least: [None; 3],
            keep_at_most: [None; 3],
            normal_bytes: None,
        }
    }
}

impl Quota {
    /// What all blocks may weigh.
    pub(crate) fn live_bytes(&self) -> u64 {
        let (live, parts) = LIVE_PARTS;
        self.log_bytes() / parts * live
    }

    /// What the log may take before room is made in it.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.disk_bytes.max(LEAST_DISK_BYTES) - SLACK_BYTES
    }

    /// Something weighs more than it may.
    pub(crate) fn is_exceeded(&self, index: &Index) -> bool {
        let over = |class| self.of(class).is_some_and(|most| index.class_bytes(class) > most);
        index.bytes() > self.live_bytes() || Class::ALL.into_iter().any(over)
    }

    /// By how much the journal grows before it is looked at again.
    pub(crate) fn step_bytes(&self) -> u64 {
        let smallest = Class::ALL.into_iter().filter_map(|class| self.of(class)).min();
        (self.live_bytes() / 64).min(smallest.unwrap_or(u64::MAX) / 8)
    }

    /// Something is older than its class may be, by a clock that is trusted.
    pub(crate) fn is_outlived(&self, index: &Index, acked: u64, now: Stamp) -> bool {
        Class::ALL.into_iter().any(|class| {
            let oldest = index.of_class(class).next();
            oldest.is_some_and(|entry| {
                (class != Class::Critical || entry.last_critical <= acked)
                    && is_older(entry.newest, self.keep_at_most[slot(class)], now)
            })
        })
    }

    const fn of(&self, class: Class) -> Option<u64> {
        match class {
            Class::Bulk => self.bulk_bytes,
            Class::Critical => self.critical_bytes,
            Class::Normal => self.normal_bytes,
        }
    }
}

/// What a journal takes, and what it may take.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// What whole bulk records weigh.
    pub bulk_bytes: u64,
    /// What whole critical records weigh.
    pub critical_bytes: u64,
    /// What the store's files take on the disk.
    pub disk_bytes: u64,
    /// What it may take.
    pub disk_quota_bytes: u64,
    /// What whole normal records weigh.
    pub normal_bytes: u64,
    /// Wall clock of the oldest records that are whole.
    pub oldest: Option<WallMillis>,
    /// Up to which record the beginning of the journal is gone.
    pub pruned_through: u64,
}

/// What was pruned so far.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pruned {
    pub(crate) forced: Option<(u64, u64)>,
    pub(crate) head: Digest,
    pub(crate) horizons: Horizons,
    pub(crate) subtrees: Vec<Digest>,
    pub(crate) through: u64,
}

impl Default for Pruned {
    fn default() -> Self {
        let (head, horizons) = (nooterra_evidence::GENESIS, Horizons::default());
        Self { forced: None, head, horizons, subtrees: Vec::new(), through: 0 }
    }
}

impl Pruned {
    /// What a statement says.
    pub(crate) fn of(prune: &Prune) -> Self {
        let Prune { forced, head, horizons, through, .. } = *prune;
        Self { forced, head, horizons, subtrees: prune.subtrees.clone(), through }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::to_vec(self)
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::from_slice(bytes)
    }
}

/// What to prune.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Critical records among it that nobody has acknowledged.
    pub(crate) forced: Option<(u64, u64)>,
    pub(crate) horizons: Horizons,
}

/// What to prune now, if anything: only what the last checkpoint covers (`covered`), and as
/// much that the next time is not soon.
pub(crate) fn plan(
    index: &Index,
    quota: &Quota,
    before: Horizons,
    acked: u64,
    covered: u64,
    now: Stamp,
) -> Option<Plan> {
    let bound = quota.live_bytes();
    let mut need = excess(index.bytes(), bound);
    let own = |class| quota.of(class).map_or(0, |most| excess(index.class_bytes(class), most));
    let mut plan = Plan { forced: None, horizons: before };
    // First what has stayed as long as it should; the second time what is left to choose from.
    for spares in [true, false] {
        for class in [Class::Bulk, Class::Normal, Class::Critical] {
            let own = if spares { own(class) } else { 0 };
            let (most, mut freed) = (need.max(own), 0);
            let (least, end) = (quota.keep_at_least[slot(class)], quota.keep_at_most[slot(class)]);
            let before = plan.horizons.of(class);
            for entry in index.of_class(class).skip_while(|entry| entry.last_seq <= before) {
                let due = class != Class::Critical || entry.last_critical <= acked;
                let young = spares && least.is_some() && !is_older(entry.newest, least, now);
                let old = is_older(entry.newest, end, now);
                if entry.last_seq > covered || !due || !old && (young || freed >= most) {
                    break;
                }
                freed += u64::from(entry.held[slot(class)]);
                plan.horizons.raise(class, entry.last_seq);
            }
            need = need.saturating_sub(freed);
        }
    }
    // Hollow blocks in front of what is kept weigh too, and go with it.
    if need > bound / 16 && index.hollow().next().is_none() {
        for entry in index.of_class(Class::Critical) {
            if entry.last_seq > covered || need == 0 {
                break;
            }
            if entry.last_critical > acked {
                let first = plan.forced.map_or(entry.first_seq.max(acked + 1), |(first, _)| first);
                plan.forced = Some((first, entry.last_critical));
                need = need.saturating_sub(u64::from(entry.length));
            }
            plan.horizons.raise(Class::Critical, entry.last_seq);
        }
    }
    let hollow = index.bytes() > bound && index.hollow().next().is_some();
    (plan.horizons != before || hollow).then_some(plan)
}

/// Whether that is known: only a trusted clock says how old anything is.
fn is_older(newest: WallMillis, age: Option<Duration>, now: Stamp) -> bool {
    let Some(age) = age.filter(|_| now.trust != ClockTrust::Untrusted) else {
        return false;
    };
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    newest.0.saturating_add(age) < now.wall.0
}

/// How much has to go, so that an eighth is free again.
const fn excess(bytes: u64, most: u64) -> u64 {
    if bytes > most { bytes - (most - most / 8) } else { 0 }
}

/// The block with leaf hashes in place of the records up to their class's horizon.
pub(crate) fn thin(block: &Block, bytes: &[u8], horizons: &Horizons) -> Vec<u8> {
    let records = block.records(bytes).map(|(seq, row, record)| {
        let (class, link) = (row.class, row.link);
        if row.held == Held::Whole && seq <= horizons.of(class) {
            let bytes = leaf_hash(record).as_bytes().to_vec();
            Encoded { bytes, class, held: Held::Leaf, link }
        } else {
            Encoded { bytes: record.to_vec(), class, held: row.held, link }
        }
    });
    let Block { boot, actor_seq, checkpoint_seq, .. } = *block;
    let running = Running { boot, actor_seq, checkpoint_seq };
    Block::encode(block.first_seq, &block.previous, running, &records.collect::<Vec<_>>())
}

/// The leaf hash of a record of which a block holds so much; `None` for a lost one.
pub(crate) fn leaf_of(held: Held, bytes: &[u8]) -> Option<Digest> {
    match held {
        Held::Leaf => bytes.try_into().ok().map(Digest::from_bytes),
        Held::Nothing => None,
        Held::Whole => Some(leaf_hash(bytes)),
    }
}
