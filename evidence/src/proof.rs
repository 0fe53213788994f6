//! Proofs over the tree that checkpoints sign (RFC 9162 §2.1.3 and §2.1.4): that one record is
//! under a checkpoint, and that what an older checkpoint covers is the beginning of what a newer
//! one does. And over the chain that they sign, too: that records are under a checkpoint, by all
//! leaf hashes from the first of them on, for whoever has those and not the whole tree. A proof
//! carries what it is about, so that it can be checked without the box.

use crate::chain::{leaf_hash, link};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::head::Head;
use crate::record::RecordError;
use crate::tree::node;
use nooterra_protocol::codec::{self, Blob, CodecError, Digest};
use nooterra_protocol::keys::VerifyingKey;
use serde::{Deserialize, Serialize};

/// The format of a proof that this release writes and reads.
pub const VERSION: u32 = 1;

/// No tree of 64-bit sizes needs more steps, twice that for a consistency proof.
const MOST_STEPS: usize = 2 * 64;

/// The most leaf hashes in one proof over the chain: a checkpoint is made every 1000 records, and
/// where a key did not sign for a while there is the tree.
pub const MOST_LEAVES: usize = 1 << 16;

/// The way from a leaf to a root.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// The neighbours on the way, from the leaf up.
    pub path: Vec<Digest>,
    /// The record's sequence number: one more than the leaf's index.
    pub seq: u64,
    /// How many leaves the tree has.
    pub size: u64,
}

/// That a tree is the beginning of a larger one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// How many leaves the smaller tree has.
    pub first: u64,
    /// The nodes of the proof, in the order of RFC 9162.
    pub path: Vec<Digest>,
    /// How many leaves the larger tree has.
    pub second: u64,
}

/// A file that proves something by itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum Proof {
    /// Of records before a checkpoint, by the chain.
    Chain {
        /// The link of the record before the first leaf.
        before: Digest,
        /// A checkpoint that covers them, signed.
        checkpoint: Blob,
        /// Of all records up to the last that the checkpoint covers; how many they are says where
        /// the first of them stands.
        leaves: Vec<Digest>,
        /// The bytes of those that are shown, as they are stored, in order.
        records: Vec<Blob>,
        /// Format version, [`VERSION`].
        v: u32,
    },
    /// Of two checkpoints.
    Consistency {
        /// The newer checkpoint, signed.
        newer: Blob,
        /// The older one.
        older: Blob,
        /// Between their trees.
        proof: Consistency,
        /// Format version, [`VERSION`].
        v: u32,
    },
    /// Of a record.
    Inclusion {
        /// A checkpoint that covers it, signed.
        checkpoint: Blob,
        /// In the checkpoint's tree.
        proof: Inclusion,
        /// Its bytes as they are stored.
        record: Blob,
        /// Format version, [`VERSION`].
        v: u32,
    },
}

/// What a proof shows, once it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The checkpoint under which everything is.
    pub checkpoint: Checkpoint,
    /// The checkpoint that it continues, of a consistency proof.
    pub older: Option<Checkpoint>,
    /// The record of an inclusion proof, the records of one over the chain.
    pub records: Vec<Vec<u8>>,
}

/// Why a proof shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A checkpoint in it is none, or is not signed by the key.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// Not a file of this kind.
    #[error("no proof: {0}")]
    Codec(#[from] CodecError),
    /// The steps do not lead from what is shown to what was signed.
    #[error("it does not lead to what the checkpoint signs: {0}")]
    Path(&'static str),
    /// The record in it is none.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// Written by a later release.
    #[error("proof format {0}, this release reads {VERSION}; check it with a newer release")]
    Version(u32),
}

/// The root of the leaves `first..first + count`, by what `nodes` knows: it is asked for perfect
/// subtrees, by level (0 is a leaf) and number from the left, and answers `None` where it knows
/// only what is below.
///
/// # Errors
/// That of `nodes`; at level 0 it has to know.
pub fn root_of<E>(
    first: u64,
    count: u64,
    nodes: &mut dyn FnMut(u32, u64) -> Result<Option<Digest>, E>,
) -> Result<Digest, E> {
    if count == 0 {
        return Ok(Digest::of(b""));
    }
    if count.is_power_of_two() && first.is_multiple_of(count) {
        let level = count.trailing_zeros();
        if let Some(root) = nodes(level, first >> level)? {
            return Ok(root);
        }
        if level == 0 {
            return Ok(Digest::ZERO);
        }
    }
    let left = split(count);
    let root = root_of(first, left, nodes)?;
    Ok(node(&root, &root_of(first + left, count - left, nodes)?))
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

impl Inclusion {
    /// The proof for the record `seq` in the tree of `size` leaves; `None` when the tree has no
    /// such leaf. `nodes` is as in [`root_of`].
    ///
    /// # Errors
    /// That of `nodes`.
    pub fn prove<E>(
        seq: u64,
        size: u64,
        nodes: &mut dyn FnMut(u32, u64) -> Result<Option<Digest>, E>,
    ) -> Result<Option<Self>, E> {
        if seq == 0 || seq > size {
            return Ok(None);
        }
        let (index, mut path) = (seq - 1, Vec::new());
        let (mut first, mut count) = (0, size);
        while count > 1 {
            let left = split(count);
            if index < first + left {
                path.push(root_of(first + left, count - left, nodes)?);
                count = left;
            } else {
                path.push(root_of(first, left, nodes)?);
                (first, count) = (first + left, count - left);
            }
        }
        path.reverse();
        Ok(Some(Self { path, seq, size }))
    }

    /// The root to which the leaf leads; `None` when the path has another length than the
    /// place in the tree asks for. RFC 9162 §2.1.3.2.
    #[must_use]
    pub fn root(&self, leaf: &Digest) -> Option<Digest> {
        if self.seq == 0 || self.seq > self.size {
            return None;
        }
        let (mut index, mut last) = (self.seq - 1, self.size - 1);
        let mut root = *leaf;
        for step in &self.path {
            if last == 0 {
                return None;
            }
            if index & 1 == 1 || index == last {
                root = node(step, &root);
                while index & 1 == 0 && index != 0 {
                    (index, last) = (index >> 1, last >> 1);
                }
            } else {
                root = node(&root, step);
            }
            (index, last) = (index >> 1, last >> 1);
        }
        (last == 0).then_some(root)
    }
}

impl Consistency {
    /// The proof that the first `first` of `second` leaves are the smaller tree; `None` when the
    /// first is empty or larger. `nodes` is as in [`root_of`].
    ///
    /// # Errors
    /// That of `nodes`.
    pub fn prove<E>(
        first: u64,
        second: u64,
        nodes: &mut dyn FnMut(u32, u64) -> Result<Option<Digest>, E>,
    ) -> Result<Option<Self>, E> {
        if first == 0 || first > second {
            return Ok(None);
        }
        let mut path = Vec::new();
        // The subtree in which the smaller one ends, and whether it is all of the smaller one.
        let (mut begin, mut count, mut inner, mut whole) = (0, second, first, true);
        while inner < count {
            let left = split(count);
            if inner <= left {
                path.push(root_of(begin + left, count - left, nodes)?);
                count = left;
            } else {
                path.push(root_of(begin, left, nodes)?);
                (begin, count, inner, whole) = (begin + left, count - left, inner - left, false);
            }
        }
        if !whole {
            path.push(root_of(begin, count, nodes)?);
        }
        path.reverse();
        Ok(Some(Self { first, path, second }))
    }

    /// Whether the steps lead from one root to the other. RFC 9162 §2.1.4.2.
    #[must_use]
    pub fn holds(&self, first_root: &Digest, second_root: &Digest) -> bool {
        let Self { first, path, second } = self;
        if first == second {
            return path.is_empty() && first_root == second_root && *first > 0;
        }
        if *first == 0 || first > second {
            return false;
        }
        let mut steps = path.iter();
        let begin = if first.is_power_of_two() { Some(first_root) } else { steps.next() };
        let Some(begin) = begin else { return false };
        let (mut index, mut last) = (first - 1, second - 1);
        while index & 1 == 1 {
            (index, last) = (index >> 1, last >> 1);
        }
        let (mut one, mut other) = (*begin, *begin);
        for step in steps {
            if last == 0 {
                return false;
            }
            if index & 1 == 1 || index == last {
                (one, other) = (node(step, &one), node(step, &other));
                while index & 1 == 0 && index != 0 {
                    (index, last) = (index >> 1, last >> 1);
                }
            } else {
                other = node(&other, step);
            }
            (index, last) = (index >> 1, last >> 1);
        }
        last == 0 && one == *first_root && other == *second_root
    }
}

impl Proof {
    /// Its one form in bytes.
    ///
    /// # Errors
    /// [`CodecError`] when it has none, which no proof of ours is.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::to_vec(self)
    }

    /// Reads it; whether it holds, [`Self::check`] says.
    ///
    /// # Errors
    /// [`ProofError::Codec`], [`ProofError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let proof: Self = codec::from_slice(bytes)?;
        let (Self::Chain { v, .. } | Self::Consistency { v, .. } | Self::Inclusion { v, .. }) =
            &proof;
        if *v == VERSION { Ok(proof) } else { Err(ProofError::Version(*v)) }
    }

    /// What it shows. With the device key it shows whose record that is; without one only that
    /// the parts of the proof fit each other.
    ///
    /// # Errors
    /// Every variant of [`ProofError`].
    pub fn check(&self, key: Option<&VerifyingKey>) -> Result<Shown, ProofError> {
        match self {
            Self::Chain { before, checkpoint, leaves, records, .. } => {
                let checkpoint = Checkpoint::read(&checkpoint.0, key)?;
                if leaves.len() > MOST_LEAVES {
                    return Err(ProofError::Path("it has too many steps"));
                }
                let first = checkpoint.size.checked_sub(leaves.len() as u64);
                let first = first.ok_or(ProofError::Path("the checkpoint is of another size"))?;
                if leaves.iter().fold(*before, |head, leaf| link(&head, leaf)) != checkpoint.head {
                    return Err(ProofError::Path("the leaves do not lead to its head"));
                }
                let mut last = first;
                for record in records {
                    let seq = Head::read(&record.0)?.seq;
                    if seq <= last {
                        return Err(ProofError::Path("a record is not where it should be"));
                    }
                    last = seq;
                    let at = usize::try_from(seq - first - 1).ok();
                    if at.and_then(|at| leaves.get(at)) != Some(&leaf_hash(&record.0)) {
                        return Err(ProofError::Path("a record or a leaf was altered"));
                    }
                }
                let records = records.iter().map(|record| record.0.clone()).collect();
                Ok(Shown { checkpoint, older: None, records })
            }
            Self::Consistency { newer, older, proof, .. } => {
                if proof.path.len() > MOST_STEPS {
                    return Err(ProofError::Path("it has too many steps"));
                }
                let older = Checkpoint::read(&older.0, key)?;
                let checkpoint = Checkpoint::read(&newer.0, key)?;
                if older.journal != checkpoint.journal {
                    return Err(ProofError::Path("the checkpoints are of two journals"));
                }
                if (older.size, checkpoint.size) != (proof.first, proof.second) {
                    return Err(ProofError::Path("the checkpoints are of other sizes"));
                }
                if !proof.holds(&older.root, &checkpoint.root) {
                    return Err(ProofError::Path("the older one is not its beginning"));
                }
                Ok(Shown { checkpoint, older: Some(older), records: Vec::new() })
            }
            Self::Inclusion { checkpoint, proof, record, .. } => {
                if proof.path.len() > MOST_STEPS {
                    return Err(ProofError::Path("it has too many steps"));
                }
                let checkpoint = Checkpoint::read(&checkpoint.0, key)?;
                if Head::read(&record.0)?.seq != proof.seq {
                    return Err(ProofError::Path("the record is another one"));
                }
                if checkpoint.size != proof.size {
                    return Err(ProofError::Path("the checkpoint is of another size"));
                }
                if proof.root(&leaf_hash(&record.0)) != Some(checkpoint.root) {
                    return Err(ProofError::Path("the record or a step was altered"));
                }
                Ok(Shown { checkpoint, older: None, records: vec![record.0.clone()] })
            }
        }
    }
}
