//! The Merkle tree of RFC 6962 §2.1 over leaf hashes, of which only the roots of the perfect
//! subtrees are kept: 32 bytes for each set bit in the number of leaves.
//!
//! A pruned beginning of a journal leaves these roots behind, so that whoever kept a copy of
//! what was pruned can show that it is what the journal held.

use crate::hash;
use nooterra_protocol::codec::Digest;

/// Two neighbours one level up: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    hash::pair(0x01, left, right)
}

/// A growing tree.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect subtrees, the largest first.
    subtrees: Vec<Digest>,
}

impl Tree {
    /// The tree of `size` leaves whose perfect subtrees have these roots, the largest first;
    /// `None` when their number is not that of the set bits in `size`.
    #[must_use]
    pub fn resume(size: u64, subtrees: Vec<Digest>) -> Option<Self> {
        let wanted = usize::try_from(size.count_ones()).ok()?;
        (subtrees.len() == wanted).then_some(Self { size, subtrees })
    }

    /// Adds a leaf hash. A record that was lost counts as 32 zero bytes.
    pub fn push(&mut self, leaf: Digest) {
        self.push_noting(leaf, &mut |_, _, _| {});
    }

    /// Adds a leaf hash, and tells of each perfect subtree above the leaf that it completes: the
    /// level, the number from the left, and the root.
    pub fn push_noting(&mut self, leaf: Digest, note: &mut dyn FnMut(u32, u64, &Digest)) {
        self.push_knowing(leaf, None, note);
    }

    /// The leaf that the next one will make a pair with.
    pub(crate) fn neighbour(&self) -> Option<&Digest> {
        self.subtrees.last().filter(|_| self.size & 1 == 1)
    }

    /// Adds a leaf hash; `pair` is the node over it and its [`Self::neighbour`], where that is
    /// known already.
    pub(crate) fn push_paired(&mut self, leaf: Digest, pair: Option<Digest>) {
        self.push_knowing(leaf, pair, &mut |_, _, _| {});
    }

    fn push_knowing(
        &mut self,
        leaf: Digest,
        mut pair: Option<Digest>,
        note: &mut dyn FnMut(u32, u64, &Digest),
    ) {
        let mut root = leaf;
        // As in a binary counter: each 1 that the addition carries over is a finished pair.
        let carried = self.size.trailing_ones();
        for level in 1..=carried {
            if let Some(left) = self.subtrees.pop() {
                root = pair.take().unwrap_or_else(|| node(&left, &root));
                note(level, self.size >> level, &root);
            }
        }
        self.subtrees.push(root);
        self.size += 1;
    }

    /// Adds as many lost records, in time that grows with the tree's height only.
    pub fn push_lost(&mut self, mut count: u64) {
        while count > 0 {
            // The largest perfect subtree of zeros that may stand at this place.
            let room = if self.size == 0 { 63 } else { self.size.trailing_zeros() };
            let level = room.min(63 - count.leading_zeros());
            let mut root = Digest::ZERO;
            for _ in 0..level {
                root = node(&root, &root);
            }
            let mut size = self.size >> level;
            while size & 1 == 1 {
                if let Some(left) = self.subtrees.pop() {
                    root = node(&left, &root);
                }
                size >>= 1;
            }
            self.subtrees.push(root);
            self.size += 1 << level;
            count -= 1 << level;
        }
    }

    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, the largest first.
    #[must_use]
    pub fn subtrees(&self) -> &[Digest] {
        &self.subtrees
    }

    /// The root: of no leaves SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut from_small = self.subtrees.iter().rev();
        match from_small.next() {
            None => Digest::of(b""),
            Some(smallest) => from_small.fold(*smallest, |right, left| node(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::leaf_hash;
    use proptest::prelude::*;

    fn tree(leaves: &[&[u8]]) -> Tree {
        let mut tree = Tree::default();
        for leaf in leaves {
            tree.push(leaf_hash(leaf));
        }
        tree
    }

    /// RFC 6962 §2.1 word for word.
    fn by_the_book(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node(&by_the_book(&leaves[..k]), &by_the_book(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_published_vectors_of_certificate_transparency_hold() {
        // From the reference implementation's merkle_tree_test: inputs and roots by size.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(tree(&inputs[..size]).root(), Digest::from_hex(root).unwrap(), "{size}");
        }
    }

    #[test]
    fn a_tree_goes_on_from_its_subtrees_and_from_no_other_number_of_them() {
        let whole = tree(&[b"a", b"b", b"c", b"d", b"e", b"f"]);
        let mut resumed = tree(&[b"a", b"b", b"c"]);
        resumed = Tree::resume(3, resumed.subtrees().to_vec()).unwrap();
        for leaf in [b"d", b"e", b"f"] {
            resumed.push(leaf_hash(leaf));
        }
        assert_eq!(resumed, whole);
        assert_eq!(Tree::resume(3, Vec::new()), None);
    }

    proptest! {
        #[test]
        fn it_is_the_tree_of_the_book_lost_records_too(
            runs in proptest::collection::vec((any::<bool>(), 0_u64..40), 0..8)
        ) {
            let (mut tree, mut leaves) = (Tree::default(), Vec::new());
            for (lost, count) in runs {
                if lost {
                    tree.push_lost(count);
                    leaves.extend((0..count).map(|_| Digest::ZERO));
                } else {
                    for i in 0..count {
                        tree.push(Digest::of(&i.to_be_bytes()));
                        leaves.push(Digest::of(&i.to_be_bytes()));
                    }
                }
                prop_assert_eq!(tree.root(), by_the_book(&leaves));
                prop_assert_eq!(tree.size(), leaves.len() as u64);
            }
        }
    }
}
