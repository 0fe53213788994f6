//! Which block holds what: a few bytes per block, so that a reader of one class never reads
//! blocks that hold none of it, and the bound on the disk is kept without reading any.

use crate::block::{Block, Held};
use nooterra_evidence::Head;
use nooterra_protocol::entry::Class;
use nooterra_protocol::time::WallMillis;
use std::collections::VecDeque;

/// A block of this age is not pruned for its age.
pub(crate) const NEVER_OLD: WallMillis = WallMillis(i64::MAX);

/// One block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) first_seq: u64,
    /// Bytes of the whole records of each class.
    pub(crate) held: [u32; 3],
    /// The last whole critical record, 0 when there is none.
    pub(crate) last_critical: u64,
    pub(crate) last_seq: u64,
    /// Wall clock of its newest record when it was added; [`NEVER_OLD`] where that is not known.
    pub(crate) newest: WallMillis,
    /// Of the whole block.
    pub(crate) length: u32,
}

/// The blocks of the store, in order.
#[derive(Debug, Default)]
pub(crate) struct Index {
    blocks: VecDeque<Entry>,
    bytes: u64,
    class_bytes: [u64; 3],
    /// First sequence numbers of the blocks that hold whole records of a class, ascending.
    classes: [VecDeque<u64>; 3],
}

impl Entry {
    fn of(block: &Block, newest: WallMillis) -> Self {
        let mut entry = Self {
            first_seq: block.first_seq,
            held: [0; 3],
            last_critical: 0,
            last_seq: block.last_seq(),
            newest,
            length: u32::try_from(block.length).unwrap_or(u32::MAX),
        };
        for (row, seq) in block.rows.iter().zip(block.first_seq..) {
            if row.held == Held::Whole {
                entry.held[slot(row.class)] += u32::try_from(row.length).unwrap_or(u32::MAX);
                if row.class == Class::Critical {
                    entry.last_critical = seq;
                }
            }
        }
        entry
    }
}

impl Index {
    /// The next block, with its bytes.
    pub(crate) fn add(&mut self, block: &Block, bytes: &[u8]) {
        let entry = Entry::of(block, newest(block, bytes));
        self.count(&entry);
        for class in Class::ALL {
            if entry.held[slot(class)] > 0 {
                self.classes[slot(class)].push_back(entry.first_seq);
            }
        }
        self.blocks.push_back(entry);
    }

    /// A block was written again with less in it.
    pub(crate) fn replace(&mut self, block: &Block) {
        let at = self.blocks.partition_point(|entry| entry.first_seq < block.first_seq);
        let Some(old) = self.blocks.get(at).copied().filter(|e| e.first_seq == block.first_seq)
        else {
            return;
        };
        let new = Entry::of(block, old.newest);
        self.blocks[at] = new;
        self.discount(&old);
        self.count(&new);
        for class in Class::ALL {
            if old.held[slot(class)] > 0 && new.held[slot(class)] == 0 {
                self.forget(class, old.first_seq);
            }
        }
    }

    /// Takes out the first block, if it ends at or before `through`.
    pub(crate) fn pop_through(&mut self, through: u64) -> Option<u64> {
        let entry = self.blocks.pop_front_if(|entry| entry.last_seq <= through)?;
        self.discount(&entry);
        for class in Class::ALL {
            if entry.held[slot(class)] > 0 {
                self.forget(class, entry.first_seq);
            }
        }
        Some(entry.first_seq)
    }

    /// The first record that is in a block.
    pub(crate) fn first_seq(&self) -> Option<u64> {
        self.blocks.front().map(|entry| entry.first_seq)
    }

    /// Wall clock of the first block that holds anything.
    pub(crate) fn oldest(&self) -> Option<WallMillis> {
        let first = Class::ALL.into_iter().filter_map(|class| self.of_class(class).next());
        first.min_by_key(|entry| entry.first_seq).map(|entry| entry.newest)
    }

    /// It still has this block.
    pub(crate) fn contains(&self, first_seq: u64) -> bool {
        self.blocks.binary_search_by_key(&first_seq, |entry| entry.first_seq).is_ok()
    }

    /// The blocks that may hold records of `class` after `seq`, at most `limit` of them.
    pub(crate) fn blocks_after(&self, class: Class, seq: u64, limit: usize) -> Vec<u64> {
        let blocks = &self.classes[slot(class)];
        let beyond = blocks.partition_point(|first| *first <= seq);
        // The block before may reach past `seq`.
        blocks.range(beyond.saturating_sub(1)..).take(limit).copied().collect()
    }

    /// The blocks that hold whole records of a class, in order.
    pub(crate) fn of_class(&self, class: Class) -> impl Iterator<Item = &Entry> {
        self.classes[slot(class)].iter().filter_map(|first_seq| {
            let at = self.blocks.binary_search_by_key(first_seq, |entry| entry.first_seq).ok()?;
            self.blocks.get(at)
        })
    }

    /// The blocks at the beginning of which no record is whole, in order.
    pub(crate) fn hollow(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().take_while(|entry| entry.held == [0; 3])
    }

    /// What all blocks weigh.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the whole records of a class weigh.
    pub(crate) const fn class_bytes(&self, class: Class) -> u64 {
        self.class_bytes[slot(class)]
    }

    fn forget(&mut self, class: Class, first_seq: u64) {
        let blocks = &mut self.classes[slot(class)];
        if let Ok(at) = blocks.binary_search(&first_seq) {
            blocks.remove(at);
        }
    }

    fn count(&mut self, entry: &Entry) {
        self.bytes += u64::from(entry.length);
        for (sum, held) in self.class_bytes.iter_mut().zip(entry.held) {
            *sum += u64::from(held);
        }
    }

    fn discount(&mut self, entry: &Entry) {
        self.bytes -= u64::from(entry.length);
        for (sum, held) in self.class_bytes.iter_mut().zip(entry.held) {
            *sum -= u64::from(held);
        }
    }
}

/// Wall clock of the last whole record. A clock that nobody trusted counts as well: it is behind
/// rather than ahead, and what is pruned by age is old by a trusted clock.
fn newest(block: &Block, bytes: &[u8]) -> WallMillis {
    let whole = block.records(bytes).filter(|(_, row, _)| row.held == Held::Whole);
    let last = whole.last().and_then(|(_, _, record)| Head::read(record).ok());
    last.map_or(NEVER_OLD, |head| head.stamp.wall)
}

/// A class as the index of an array.
pub(crate) const fn slot(class: Class) -> usize {
    match class {
        Class::Critical => 0,
        Class::Normal => 1,
        Class::Bulk => 2,
    }
}
