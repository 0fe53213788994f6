//! Roots of perfect subtrees of the journal's tree, kept as it grows: a proof then reads a few
//! blocks and a few dozen roots, however long the journal is.
//!
//! One root for each 256 records, and one for 16 of those, and so on: 34 bytes for 256 records.
//! They are a shortcut only. Where one is missing the tree below it is hashed, and no proof is
//! given out that does not lead to a signed checkpoint.

use nooterra_protocol::codec::Digest;

/// Begins the key of the state that holds a root.
pub(crate) const PREFIX: &[u8] = b"r/";

/// The smallest subtree whose root is kept has two to this many leaves.
const LEAST_LEVEL: u32 = 8;

/// Between two levels that are kept.
const STEP: u32 = 4;

/// Those of this level are kept.
pub(crate) const fn is_kept(level: u32) -> bool {
    level >= LEAST_LEVEL && (level - LEAST_LEVEL).is_multiple_of(STEP)
}

/// Under which state the root of a subtree is kept.
pub(crate) fn key(level: u32, index: u64) -> Vec<u8> {
    [PREFIX, &level.to_be_bytes()[3..], &index.to_be_bytes()].concat()
}

/// Those that came to be since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Vec<(Vec<u8>, Vec<u8>)>);

impl Fresh {
    pub(crate) fn note(&mut self, level: u32, index: u64, root: &Digest) {
        if is_kept(level) {
            self.0.push((key(level, index), root.as_bytes().to_vec()));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        std::mem::take(&mut self.0)
    }
}
