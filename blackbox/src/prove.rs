//! Proofs of a journal's own: that a record is under a signed checkpoint, and that one
//! checkpoint continues another.

use crate::block::{Block, Held};
use crate::handle::{JournalHandle, Shared};
use crate::image::Image;
use crate::prune::{PRUNED_KEY, Pruned, leaf_of};
use crate::roots;
use crate::store::StoreError;
use crate::verify::VerifyError;
use nooterra_evidence::{Checkpoint, Consistency, Inclusion, Proof, Record, proof};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::Entry;
use std::path::Path;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// No checkpoint covers the record yet; one is made every few seconds, and at the end.
    #[error("no checkpoint covers record {0} yet; wait for the next one")]
    Beyond(u64),
    /// The journal does not have the record any more, or never had it.
    #[error("record {0} is not in the journal: pruned, lost, or never written")]
    Gone(u64),
    /// The journal is not as it was signed.
    #[error("the records do not lead to what the checkpoint at {0} signed; verify the journal")]
    Mismatch(u64),
    /// A checkpoint was asked for, and the record is none.
    #[error("record {0} is no checkpoint")]
    NoCheckpoint(u64),
    /// There is nothing to read.
    #[error("{0}")]
    Unreadable(String),
}

impl From<VerifyError> for ProveError {
    fn from(error: VerifyError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<StoreError> for ProveError {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl JournalHandle {
    /// Proves a record by the newest checkpoint that covers it, from the running journal.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove(&self, seq: u64) -> Result<Proof, ProveError> {
        Prover::of(Live(&self.shared))?.prove(seq)
    }

    /// Proves that the newest checkpoint continues the one at record `older`.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove_consistency(&self, older: u64) -> Result<Proof, ProveError> {
        Prover::of(Live(&self.shared))?.prove_consistency(older)
    }
}

/// Proves a record of the journal in `dir`, on a copy.
///
/// # Errors
/// [`ProveError`].
pub fn prove(dir: &Path, seq: u64) -> Result<Proof, ProveError> {
    Prover::of(Image::take_unread(dir)?)?.prove(seq)
}

/// Proves that the newest checkpoint of the journal in `dir` continues the one at `older`.
///
/// # Errors
/// [`ProveError`].
pub fn prove_consistency(dir: &Path, older: u64) -> Result<Proof, ProveError> {
    Prover::of(Image::take_unread(dir)?)?.prove_consistency(older)
}

/// Where blocks and states come from.
trait Source {
    /// The block with this record in it.
    fn block(&mut self, seq: u64) -> Result<Option<(Block, Vec<u8>)>, ProveError>;
    /// A state.
    fn state(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ProveError>;
    /// The last record.
    fn last_seq(&mut self) -> u64;
}

struct Live<'a>(&'a Shared);

impl Source for Live<'_> {
    fn block(&mut self, seq: u64) -> Result<Option<(Block, Vec<u8>)>, ProveError> {
        let Some(bytes) = self.0.store.block_before(seq)? else {
            return Ok(None);
        };
        let block = Block::read(&bytes).map_err(|e| ProveError::Unreadable(e.to_string()))?;
        Ok((block.last_seq() >= seq).then_some((block, bytes)))
    }

    fn state(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ProveError> {
        Ok(self.0.store.state(key)?)
    }

    fn last_seq(&mut self) -> u64 {
        self.0.records.load(std::sync::atomic::Ordering::Acquire)
    }
}

impl Source for Image {
    fn block(&mut self, seq: u64) -> Result<Option<(Block, Vec<u8>)>, ProveError> {
        Ok(self.block_with(seq))
    }

    fn state(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ProveError> {
        Ok(Image::state(self, key))
    }

    fn last_seq(&mut self) -> u64 {
        Image::last_seq(self)
    }
}

struct Prover<S> {
    /// The last block that was read: the leaves of a subtree stand in a few.
    block: Option<(Block, Vec<u8>)>,
    pruned: Pruned,
    source: S,
    /// The roots that were kept are asked.
    trusts_roots: bool,
}

impl<S: Source> Prover<S> {
    fn of(mut source: S) -> Result<Self, ProveError> {
        let pruned = source.state(PRUNED_KEY)?.and_then(|bytes| Pruned::read(&bytes).ok());
        let pruned = pruned.unwrap_or_default();
        Ok(Self { block: None, pruned, source, trusts_roots: true })
    }

    fn prove(&mut self, seq: u64) -> Result<Proof, ProveError> {
        let record = self.record(seq)?;
        let mut refused = ProveError::Beyond(seq);
        for (at, signed, checkpoint) in self.checkpoints_over(seq)? {
            for trusts_roots in [true, false] {
                self.trusts_roots = trusts_roots;
                let size = checkpoint.size;
                let node = &mut |level, index| self.node(level, index);
                let proof = match Inclusion::prove(seq, size, node) {
                    Ok(proof) => proof.ok_or(ProveError::Beyond(seq))?,
                    // A record on the way to this checkpoint is not there.
                    Err(ProveError::Gone(_)) => continue,
                    Err(error) => return Err(error),
                };
                if proof.root(&nooterra_evidence::leaf_hash(&record)) == Some(checkpoint.root) {
                    let (checkpoint, record) = (signed, Blob(record));
                    return Ok(Proof::Inclusion { checkpoint, proof, record, v: proof::VERSION });
                }
            }
            refused = ProveError::Mismatch(at);
        }
        Err(refused)
    }

    fn prove_consistency(&mut self, older: u64) -> Result<Proof, ProveError> {
        let (first_signed, first) = self.checkpoint(older)?;
        let newest = self.newest_checkpoint()?;
        if newest < older {
            return Err(ProveError::Beyond(older));
        }
        let (signed, second) = self.checkpoint(newest)?;
        for trusts_roots in [true, false] {
            self.trusts_roots = trusts_roots;
            let node = &mut |level, index| self.node(level, index);
            let proof = Consistency::prove(first.size, second.size, node)?;
            // The first checkpoint of a journal may cover nothing.
            let proof = proof.ok_or(ProveError::NoCheckpoint(older))?;
            if proof.holds(&first.root, &second.root) {
                let (older, newer) = (first_signed, signed);
                return Ok(Proof::Consistency { newer, older, proof, v: proof::VERSION });
            }
        }
        Err(ProveError::Mismatch(newest))
    }

    /// The newest checkpoint, and the first one after the record: where records were lost in
    /// between, only that one signed the tree as it was.
    fn checkpoints_over(&mut self, seq: u64) -> Result<Vec<(u64, Blob, Checkpoint)>, ProveError> {
        let newest = self.newest_checkpoint()?;
        let mut places = vec![newest];
        let mut next = seq + 1;
        while next <= newest {
            let Some((block, _)) = self.source.block(next)? else { break };
            if block.checkpoint_seq > seq {
                // The last of the block; there is rarely more than one.
                places.push(block.checkpoint_seq);
                break;
            }
            next = block.last_seq() + 1;
            // Beyond this the newest one has to do.
            if next > seq + 100_000 {
                break;
            }
        }
        let mut found = Vec::new();
        places.dedup();
        for at in places.into_iter().filter(|at| *at > seq) {
            let (signed, checkpoint) = self.checkpoint(at)?;
            found.push((at, signed, checkpoint));
        }
        Ok(found)
    }

    fn newest_checkpoint(&mut self) -> Result<u64, ProveError> {
        let last = self.source.last_seq();
        Ok(self.source.block(last)?.map_or(0, |(block, _)| block.checkpoint_seq))
    }

    fn checkpoint(&mut self, at: u64) -> Result<(Blob, Checkpoint), ProveError> {
        let bytes = self.record(at)?;
        let entry = Record::decode(&bytes).and_then(|record| record.entry());
        let Ok(Some(Entry::Checkpoint(blob))) = entry else {
            return Err(ProveError::NoCheckpoint(at));
        };
        let read = Checkpoint::read(&blob.0, None).map_err(|_| ProveError::NoCheckpoint(at))?;
        Ok((blob, read))
    }

    fn record(&mut self, seq: u64) -> Result<Vec<u8>, ProveError> {
        self.with(seq, |held, bytes| (held == Held::Whole).then(|| bytes.to_vec()))?
            .ok_or(ProveError::Gone(seq))
    }

    /// What the journal knows of a node of its tree.
    fn node(&mut self, level: u32, index: u64) -> Result<Option<Digest>, ProveError> {
        let end = index.checked_add(1).and_then(|next| next.checked_mul(1 << level));
        let end = end.ok_or(ProveError::Gone(u64::MAX))?;
        let begin = end - (1 << level);
        if end <= self.pruned.through
            && let Some(root) = self.pruned_root(begin, level)
        {
            return Ok(Some(root));
        }
        if level > 0 {
            if !self.trusts_roots || !roots::is_kept(level) {
                return Ok(None);
            }
            let root = self.source.state(&roots::key(level, index))?;
            return Ok(root.and_then(|root| root.try_into().ok()).map(Digest::from_bytes));
        }
        self.with(end, |held, bytes| leaf_of(held, bytes).unwrap_or(Digest::ZERO)).map(Some)
    }

    /// Of a perfect subtree of the beginning that is gone.
    fn pruned_root(&self, begin: u64, level: u32) -> Option<Digest> {
        let (mut first, mut rest) = (0, self.pruned.through);
        for root in &self.pruned.subtrees {
            let largest = 63_u32.checked_sub(rest.leading_zeros())?;
            if (first, largest) == (begin, level) {
                return Some(*root);
            }
            (first, rest) = (first + (1 << largest), rest - (1 << largest));
        }
        None
    }

    /// Looks at what is held of a record.
    fn with<T>(&mut self, seq: u64, look: impl FnOnce(Held, &[u8]) -> T) -> Result<T, ProveError> {
        let holds =
            |(block, _): &(Block, Vec<u8>)| (block.first_seq..=block.last_seq()).contains(&seq);
        if !self.block.as_ref().is_some_and(holds) {
            self.block = self.source.block(seq)?;
        }
        let Some((block, bytes)) = self.block.as_ref().filter(|block| holds(block)) else {
            return Err(ProveError::Gone(seq));
        };
        let row = usize::try_from(seq - block.first_seq).ok().and_then(|at| block.rows.get(at));
        let found = row.and_then(|row| {
            bytes.get(row.offset..row.offset + row.length).map(|bytes| look(row.held, bytes))
        });
        found.ok_or(ProveError::Gone(seq))
    }
}
