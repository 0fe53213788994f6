//! The Merkle tree over all records, at the end of the journal: what checkpoints sign. It is
//! kept with each checkpoint, so that a start hashes only what came after the last one.

use crate::block::Block;
use crate::prune::{Pruned, leaf_of};
use nooterra_evidence::Tree;
use nooterra_protocol::codec::{self, CodecError, Digest};
use serde::{Deserialize, Serialize};

/// The state that holds [`Known`].
pub(crate) const TREE_KEY: &[u8] = b"m/tree";

/// The tree at some record.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// Link of the record `size`.
    head: Digest,
    size: u64,
    subtrees: Vec<Digest>,
}

impl Known {
    /// The tree at the record whose link is `head`.
    pub(crate) fn of(tree: &Tree, head: Digest) -> Self {
        Self { head, size: tree.size(), subtrees: tree.subtrees().to_vec() }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::to_vec(self)
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        codec::from_slice(bytes).ok()
    }
}

/// The tree while the blocks are read, in order.
#[derive(Debug)]
pub(crate) struct Leaves {
    known: Option<(u64, Digest)>,
    tree: Tree,
}

impl Leaves {
    /// From where it is known, or from where the blocks begin.
    pub(crate) fn begin(known: Option<Known>, pruned: &Pruned) -> Self {
        let known = known.filter(|known| known.size > pruned.through);
        if let Some(Known { head, size, subtrees }) = known
            && let Some(tree) = Tree::resume(size, subtrees)
        {
            return Self { known: Some((size, head)), tree };
        }
        let tree = Tree::resume(pruned.through, pruned.subtrees.clone()).unwrap_or_default();
        Self { known: None, tree }
    }

    /// The next block.
    pub(crate) fn add(&mut self, block: &Block, bytes: &[u8]) {
        if block.last_seq() > self.tree.size() {
            for (seq, row, record) in block.records(bytes) {
                if seq > self.tree.size() {
                    self.lose(seq - 1);
                    match leaf_of(row.held, record) {
                        Some(leaf) => self.tree.push(leaf),
                        None => self.tree.push_lost(1),
                    }
                }
            }
        }
        if let Some((size, head)) = self.known
            && (block.first_seq..=block.last_seq()).contains(&size)
        {
            let row = usize::try_from(size - block.first_seq).ok();
            let row = row.and_then(|row| block.rows.get(row));
            if row.is_some_and(|row| row.link == head) {
                self.known = None;
            }
        }
    }

    /// Whatever is not there up to this record is lost.
    pub(crate) fn lose(&mut self, through: u64) {
        self.tree.push_lost(through.saturating_sub(self.tree.size()));
    }

    /// The tree; `None` when what was known is not of this journal.
    pub(crate) fn end(self, last_seq: u64) -> Option<Tree> {
        (self.known.is_none() && self.tree.size() == last_seq).then_some(self.tree)
    }
}
