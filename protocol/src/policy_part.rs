//! The signed policy in force, as the journal holds it: cut into parts that fit into records.
//!
//! Verdicts and checkpoints name a policy by its hash alone. With the signed bytes beside them
//! whoever reads the journal, or watches the robot from afar, sees what the hash stands for.

use crate::codec::{Blob, Digest};
use serde::{Deserialize, Serialize};

/// A part has at most so many bytes: a record has room for 48 KiB.
pub const PART_BYTES: usize = 32 * 1024;

/// A policy of more parts is not written out, only named: it would crowd out of the journal
/// what happened under it.
pub const MAX_PARTS: u32 = 16;

/// A piece of a signed policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyPart {
    /// The piece.
    pub bytes: Blob,
    /// SHA-256 of all pieces together: what verdicts name the policy by.
    pub hash: Digest,
    /// Which piece, from 1.
    pub part: u32,
    /// Of how many.
    pub parts: u32,
}

impl PolicyPart {
    /// Cuts a signed policy up; nothing where it is too large to be written out.
    #[must_use]
    pub fn split(signed: &[u8]) -> Vec<Self> {
        let pieces = signed.chunks(PART_BYTES);
        let Some(parts) = u32::try_from(pieces.len()).ok().filter(|parts| *parts <= MAX_PARTS)
        else {
            return Vec::new();
        };
        let hash = Digest::of(signed);
        (1..)
            .zip(pieces)
            .map(|(part, piece)| Self { bytes: Blob(piece.to_vec()), hash, part, parts })
            .collect()
    }

    /// The signed policy `hash` of its parts, whatever else is among them and in which order;
    /// none unless all are there and make up what has this hash.
    #[must_use]
    pub fn join(parts: &[Self], hash: &Digest) -> Option<Vec<u8>> {
        let ours = || parts.iter().filter(|part| part.hash == *hash);
        let count = ours().map(|part| part.parts).max().filter(|parts| *parts <= MAX_PARTS)?;
        let mut signed = Vec::new();
        for number in 1..=count {
            let part = ours().find(|part| part.part == number && part.parts == count)?;
            signed.extend_from_slice(&part.bytes.0);
        }
        (Digest::of(&signed) == *hash).then_some(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn what_was_cut_up_is_whole_again_in_any_order(len in 1_usize..5 * PART_BYTES, turn: usize) {
            let signed: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut parts = PolicyPart::split(&signed);
            let hash = Digest::of(&signed);
            let turn = turn % parts.len();
            parts.rotate_left(turn);
            prop_assert_eq!(PolicyPart::join(&parts, &hash), Some(signed));
            parts.pop();
            prop_assert_eq!(PolicyPart::join(&parts, &hash), None);
        }
    }

    #[test]
    fn an_altered_part_makes_no_policy() {
        let signed = vec![7; PART_BYTES + 9];
        let mut parts = PolicyPart::split(&signed);
        let hash = Digest::of(&signed);
        parts[1].bytes.0[3] ^= 1;
        assert_eq!(PolicyPart::join(&parts, &hash), None);
        assert_eq!(PolicyPart::join(&parts, &Digest::of(b"another")), None);
        assert_eq!(PolicyPart::join(&[], &hash), None);
    }

    #[test]
    fn a_policy_that_would_crowd_the_journal_is_not_written_out() {
        let largest = vec![1; PART_BYTES * MAX_PARTS as usize];
        assert_eq!(PolicyPart::split(&largest).len(), MAX_PARTS as usize);
        assert!(PolicyPart::split(&[largest, vec![1]].concat()).is_empty());
    }
}
