//! Whether the indexes of a file's chunks are of its chunks: who begins at the end of a file reads
//! by them, and would read something else than who walks through it.
//!
//! Neither are kept, however many there are: of both there is a sum under keys that whoever made
//! the file does not know, so that nobody makes other indexes of the same sum.

use super::body::Body;
use super::damaged;
use std::hash::{BuildHasher as _, RandomState};
use std::io;

/// What the index of a chunk says of it, but for where its messages are.
#[derive(Hash)]
pub(super) struct Index<'a> {
    pub(super) begins: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) length: u64,
    pub(super) name: &'a [u8],
    pub(super) packed: u64,
    pub(super) size: u64,
}

/// The chunks of a file and their indexes, so far.
#[derive(Debug)]
pub(super) struct Indexes {
    /// The sum of what the indexes of all chunks must be.
    chunks: u128,
    has_index: bool,
    /// The sum of what they are.
    indexes: u128,
    keys: [RandomState; 2],
}

impl Indexes {
    pub(super) fn new() -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        Self { chunks: 0, has_index: false, indexes: 0, keys }
    }

    /// Notes a chunk, by the index that it must have.
    pub(super) fn chunk(&mut self, index: &Index<'_>) {
        self.chunks = self.chunks.wrapping_add(self.keyed(index));
    }

    /// Notes an index as it is in the file.
    pub(super) fn index(&mut self, mut body: Body<'_>) -> io::Result<()> {
        let [first, last, begins, length] = [body.u64()?, body.u64()?, body.u64()?, body.u64()?];
        let (_of_messages, _length) = (body.part()?, body.u64()?);
        let (name, packed, size) = (body.part()?, body.u64()?, body.u64()?);
        body.end()?;
        let index = Index { begins, first, last, length, name, packed, size };
        self.has_index = true;
        self.indexes = self.indexes.wrapping_add(self.keyed(&index));
        Ok(())
    }

    /// At the end of the file, in which `is_loose` messages stand outside of chunks: a file
    /// without indexes is walked through by everybody.
    pub(super) fn end(&self, is_loose: bool) -> io::Result<()> {
        match self.has_index && (is_loose || self.chunks != self.indexes) {
            true => Err(damaged("the indexes of its chunks are not those of its chunks")),
            false => Ok(()),
        }
    }

    fn keyed(&self, index: &Index<'_>) -> u128 {
        let [high, low] = &self.keys;
        u128::from(high.hash_one(index)) << 64 | u128::from(low.hash_one(index))
    }
}
