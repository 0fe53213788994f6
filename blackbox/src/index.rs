//! Which block holds which class: a few bytes per block, so that a reader of one class never
//! reads blocks that hold none of it.

use crate::block::Block;
use nooterra_protocol::entry::Class;

/// First sequence numbers of the blocks that hold a class, ascending, per class.
#[derive(Debug, Default)]
pub(crate) struct Index([Vec<u64>; 3]);

impl Index {
    /// The next block.
    pub(crate) fn add(&mut self, block: &Block) {
        for class in Class::ALL {
            if block.rows.iter().any(|row| row.class == class) {
                self.of_mut(class).push(block.first_seq);
            }
        }
    }

    /// The blocks that may hold records of `class` after `seq`, at most `limit` of them.
    pub(crate) fn blocks_after(&self, class: Class, seq: u64, limit: usize) -> Vec<u64> {
        let blocks = &self.0[slot(class)];
        let beyond = blocks.partition_point(|first| *first <= seq);
        // The block before may reach past `seq`.
        blocks[beyond.saturating_sub(1)..].iter().take(limit).copied().collect()
    }

    fn of_mut(&mut self, class: Class) -> &mut Vec<u64> {
        &mut self.0[slot(class)]
    }
}

/// A class as the index of an array.
pub(crate) const fn slot(class: Class) -> usize {
    match class {
        Class::Critical => 0,
        Class::Normal => 1,
        Class::Bulk => 2,
    }
}
