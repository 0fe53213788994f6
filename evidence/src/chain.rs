//! The hash chain over records: two one-byte prefixes keep leaves and links apart, as
//! RFC 6962 §2.1 keeps leaves and nodes apart, so that neither can pass for the other.

use crate::hash;
use nooterra_protocol::codec::Digest;

/// The head of a journal without records.
pub const GENESIS: Digest = Digest::ZERO;

/// SHA-256(0x00 ‖ record), over the bytes as they are stored.
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Digest {
    hash::behind(0x00, record)
}

/// The leaf hashes of two records, in less time than one after the other.
pub(crate) fn leaf_hashes(records: [&[u8]; 2]) -> [Digest; 2] {
    hash::behind_both(0x00, records)
}

/// SHA-256(0x01 ‖ previous link ‖ leaf hash): the head after one more record.
#[must_use]
pub fn link(previous: &Digest, leaf: &Digest) -> Digest {
    hash::pair(0x01, previous, leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_the_documented_sha_256() {
        // printf '\x00abc' | sha256sum, and the same for 0x01, 32 zeros and that digest.
        let leaf = leaf_hash(b"abc");
        assert_eq!(leaf, Digest::of(b"\x00abc"));
        let mut bytes = vec![1];
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend_from_slice(leaf.as_bytes());
        assert_eq!(link(&GENESIS, &leaf), Digest::of(&bytes));
    }

    #[test]
    fn a_link_is_never_the_leaf_of_the_same_bytes() {
        let (previous, leaf) = (Digest::of(b"p"), Digest::of(b"l"));
        let joined = [previous.as_bytes().as_slice(), leaf.as_bytes()].concat();
        assert_ne!(link(&previous, &leaf), leaf_hash(&joined));
    }
}
