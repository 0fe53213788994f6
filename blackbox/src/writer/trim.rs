//! Pruning, a little after each commit, so that no record waits for it: first the signed record
//! of what goes, and when that is durable the blocks.

use super::statements::encoded;
use super::{Draft, States, Writer};
use crate::block::Block;
use crate::index::slot;
use crate::prune::{PRUNED_KEY, Plan, Pruned, leaf_of, plan, thin};
use crate::rebuild::HOLES_KEY;
use crate::store::StoreError;
use nooterra_evidence::{Prune, Tree, absence};
use nooterra_protocol::entry::Class;
use nooterra_protocol::time::{MonoNanos, Stamp};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is written again after one commit: as much as a full commit writes, times eight.
pub(super) const ROUND_BYTES: usize = 8 * crate::block::TARGET_BYTES;

/// Blocks that are removed after one commit.
const ROUND_BLOCKS: usize = 256;

/// The most blocks that one prune takes from the beginning.
const MOST_BLOCKS: usize = 8192;

/// How often it is looked at what has become too old.
const AGES_EVERY: Duration = Duration::from_secs(60);

/// How soon a key that did not sign is asked again.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl Writer {
    /// A share of the pruning that is due; all of it where more comes in than a share.
    pub(super) fn prune(&mut self, now: Stamp) -> Result<(), StoreError> {
        let quota = self.shared.options.quota;
        self.unpruned = 0;
        while self.prune_once(now)? {
            self.shared.store.compact(quota.log_bytes())?;
            let most = quota.live_bytes();
            let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
            if index.bytes() <= most + most / 16 {
                break;
            }
        }
        self.shared.store.compact(quota.log_bytes())
    }

    /// Returns whether there was anything.
    fn prune_once(&mut self, now: Stamp) -> Result<bool, StoreError> {
        if self.remove_blocks()? || self.thin_blocks()? {
            return Ok(true);
        }
        // Now that no record is left whole that was to go, what opened them may go, too.
        self.prune_openings();
        if now.mono.since(self.pruning_at).is_none() || !self.is_due(now) {
            return Ok(false);
        }
        if self.uncovered > 0 {
            // Nothing goes that no signature covers.
            let mut draft = Draft::default();
            self.add_checkpoint(now, &mut draft)?;
            self.commit(draft, States::default(), now.mono)?;
        }
        let acked = self.shared.cursors[slot(Class::Critical)].load(Ordering::Acquire);
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let quota = &self.shared.options.quota;
        let covered = self.chain.checkpoint_seq;
        let due = plan(&index, quota, self.pruned.horizons, acked, covered, now);
        self.pruned_at_bytes = index.bytes();
        drop(index);
        due.map_or(Ok(false), |plan| self.tell_prune(plan, now))
    }

    /// Something is over its bound, and has grown since that was last looked at, or is too old.
    fn is_due(&mut self, now: Stamp) -> bool {
        let quota = &self.shared.options.quota;
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        if now.mono.since(self.ages_at).is_none_or(|since| since >= AGES_EVERY) {
            self.ages_at = now.mono;
            let acked = self.shared.cursors[slot(Class::Critical)].load(Ordering::Acquire);
            if quota.is_outlived(&index, acked, now) {
                return true;
            }
        }
        let grown = index.bytes().abs_diff(self.pruned_at_bytes);
        quota.is_exceeded(&index) && grown >= quota.step_bytes()
    }

    /// The blocks of the pruned beginning.
    fn remove_blocks(&mut self) -> Result<bool, StoreError> {
        // First from the index: a reader that does not find a block looks there again.
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        let through = self.pruned.through;
        let gone = std::iter::from_fn(|| index.pop_through(through)).take(ROUND_BLOCKS);
        let gone: Vec<_> = gone.map(|first_seq| (first_seq, None)).collect();
        drop(index);
        if gone.is_empty() {
            return Ok(false);
        }
        self.shared.store.commit(&gone, &[])?;
        Ok(true)
    }

    /// The records up to the horizons, in blocks that hold others too.
    fn thin_blocks(&mut self) -> Result<bool, StoreError> {
        let horizons = self.pruned.horizons;
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut due: Vec<u64> = Vec::new();
        let mut size = 0;
        for class in Class::ALL {
            for entry in index.of_class(class) {
                if entry.last_seq > horizons.of(class) || size > ROUND_BYTES {
                    break;
                }
                size += usize::try_from(entry.length).unwrap_or(usize::MAX);
                due.push(entry.first_seq);
            }
        }
        drop(index);
        due.sort_unstable();
        due.dedup();
        let mut written = Vec::with_capacity(due.len());
        for first_seq in due {
            let (block, bytes) = self.block(first_seq)?;
            written.push((first_seq, Some(thin(&block, &bytes, &horizons))));
        }
        if written.is_empty() {
            return Ok(false);
        }
        self.shared.store.commit(&written, &[])?;
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        for (_, bytes) in &written {
            if let Some(block) = bytes.as_deref().and_then(|bytes| Block::read_head(bytes).ok()) {
                index.replace(&block);
            }
        }
        Ok(true)
    }

    /// Makes a signed record of what is about to go durable.
    fn tell_prune(&mut self, plan: Plan, now: Stamp) -> Result<bool, StoreError> {
        let mut pruned = self.hollow_beginning()?;
        pruned.horizons = plan.horizons;
        if let Some((first, last)) = plan.forced {
            let first = pruned.forced.map_or(first, |(before, _)| before);
            pruned.forced = Some((first, last));
        }
        let prune = Prune {
            boot: self.chain.boot,
            forced: pruned.forced,
            head: pruned.head,
            horizons: pruned.horizons,
            journal: self.shared.id.clone(),
            stamp: now,
            subtrees: pruned.subtrees.clone(),
            through: pruned.through,
            v: absence::VERSION,
        };
        let mut draft = Draft::default();
        if !self.add_statement(prune, &mut draft)? {
            let wait = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
            self.pruning_at = MonoNanos(now.mono.0.saturating_add(wait));
            return Ok(false);
        }
        if let Some((first, last)) = plan.forced {
            let why = "the journal is full of critical records that the cloud has not taken";
            tracing::error!(first, last, why, "critical records are pruned unsent");
        }
        // The statement of what was lost may be among what goes: it is made again.
        self.holes.spans.retain(|span| span.last > pruned.through);
        let raised = pruned.horizons.critical > self.pruned.horizons.critical;
        self.holes.untold |= raised && !self.holes.spans.is_empty();
        let changes = vec![
            (PRUNED_KEY.to_vec(), encoded(&pruned)?),
            (HOLES_KEY.to_vec(), encoded(&self.holes)?),
        ];
        self.pruned = pruned;
        self.add_checkpoint(now, &mut draft)?;
        self.commit(draft, States { changes, ..States::default() }, now.mono)?;
        self.tell_holes(now)?;
        Ok(true)
    }

    /// What was pruned with the blocks that hold nothing but leaf hashes at the beginning.
    fn hollow_beginning(&self) -> Result<Pruned, StoreError> {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let hollow = index.hollow().take_while(|entry| entry.last_seq <= self.chain.checkpoint_seq);
        let hollow: Vec<u64> = hollow.take(MOST_BLOCKS).map(|entry| entry.first_seq).collect();
        drop(index);
        let mut pruned = self.pruned.clone();
        let subtrees = std::mem::take(&mut pruned.subtrees);
        let mut tree = Tree::resume(pruned.through, subtrees).unwrap_or_default();
        for first_seq in hollow {
            let (block, bytes) = self.block(first_seq)?;
            tree.push_lost(first_seq.saturating_sub(tree.size() + 1));
            for (_, row, record) in block.records(&bytes) {
                match leaf_of(row.held, record) {
                    Some(leaf) => tree.push(leaf),
                    None => tree.push_lost(1),
                }
            }
            (pruned.through, pruned.head) = (block.last_seq(), block.head());
        }
        pruned.subtrees = tree.subtrees().to_vec();
        Ok(pruned)
    }

    fn block(&self, first_seq: u64) -> Result<(Block, Vec<u8>), StoreError> {
        let bytes = self.shared.store.block(first_seq)?;
        let damaged = || StoreError::State(format!("the block from record {first_seq} on"));
        let bytes = bytes.ok_or_else(damaged)?;
        let block = Block::read(&bytes).map_err(|_| damaged())?;
        Ok((block, bytes))
    }
}
