//! Inclusion and consistency proofs: against the vectors of Certificate Transparency's reference
//! implementation, against another implementation (`ct-merkle`), and altered in every way.
#![allow(clippy::unwrap_used)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{HashableLeaf, RootHash};
use nooterra_evidence::proof::{self, ProofError, root_of};
use nooterra_evidence::tree::node;
use nooterra_evidence::{
    Checkpoint, Consistency, GENESIS, Inclusion, Proof, Record, Seal, checkpoint, leaf_hash, link,
};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use proptest::prelude::*;
use sha2::Sha256;
use std::convert::Infallible;
use std::sync::Arc;

/// The leaves of the reference implementation's tests.
const INPUTS: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

fn leaves(inputs: &[&[u8]]) -> Vec<Digest> {
    inputs.iter().map(|input| leaf_hash(input)).collect()
}

fn numbered(count: usize) -> Vec<Digest> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// Knows the leaves only, or some perfect subtrees too.
fn nodes(
    leaves: &[Digest],
    level: u32,
) -> impl FnMut(u32, u64) -> Result<Option<Digest>, Infallible> {
    let leaves = leaves.to_vec();
    move |asked, index| {
        let at = usize::try_from(index << asked).unwrap();
        if asked == 0 {
            return Ok(Some(leaves[at]));
        }
        if asked != level {
            return Ok(None);
        }
        let part = &leaves[at..at + (1 << asked)];
        Ok(Some(fold(part)))
    }
}

fn fold(part: &[Digest]) -> Digest {
    match part {
        [leaf] => *leaf,
        _ => {
            let (left, right) = part.split_at(part.len() / 2);
            node(&fold(left), &fold(right))
        }
    }
}

fn root(leaves: &[Digest]) -> Digest {
    root_of(0, leaves.len() as u64, &mut nodes(leaves, 0)).unwrap()
}

fn inclusion(leaves: &[Digest], seq: u64) -> Inclusion {
    Inclusion::prove(seq, leaves.len() as u64, &mut nodes(leaves, 2)).unwrap().unwrap()
}

fn consistency(leaves: &[Digest], first: u64) -> Consistency {
    Consistency::prove(first, leaves.len() as u64, &mut nodes(leaves, 1)).unwrap().unwrap()
}

fn hex(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(ToString::to_string).collect()
}

#[test]
fn the_published_inclusion_proofs_are_ours() {
    // From merkle_tree_test: leaf and size counted from 1, and the path.
    let vectors: [(u64, usize, &[&str]); 5] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (3, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            2,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (seq, size, path) in vectors {
        let leaves = leaves(&INPUTS[..size]);
        let proof = inclusion(&leaves, seq);
        assert_eq!(hex(&proof.path), path, "leaf {seq} of {size}");
        let leaf = leaves[usize::try_from(seq).unwrap() - 1];
        assert_eq!(proof.root(&leaf), Some(root(&leaves)));
    }
}

#[test]
fn the_published_consistency_proofs_are_ours() {
    let vectors: [(u64, usize, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (first, size, path) in vectors {
        let leaves = leaves(&INPUTS[..size]);
        let proof = consistency(&leaves, first);
        assert_eq!(hex(&proof.path), path, "{first} of {size}");
        let smaller = root(&leaves[..usize::try_from(first).unwrap()]);
        assert!(proof.holds(&smaller, &root(&leaves)));
    }
}

#[test]
fn every_proof_in_every_small_tree_holds_and_nothing_else_does() {
    for size in 1..=20_u64 {
        let leaves = numbered(usize::try_from(size).unwrap());
        let whole = root(&leaves);
        for seq in 1..=size {
            let proof = inclusion(&leaves, seq);
            for (other, leaf) in leaves.iter().enumerate() {
                let holds = proof.root(leaf) == Some(whole);
                assert_eq!(holds, other as u64 + 1 == seq, "{other} of {size} by {seq}");
            }
            let moved = Inclusion { seq: seq % size + 1, ..proof.clone() };
            let leaf = leaves[usize::try_from(seq).unwrap() - 1];
            assert!(size == 1 || moved.root(&leaf) != Some(whole));
        }
        for first in 1..=size {
            let proof = consistency(&leaves, first);
            for other in 1..=size {
                let smaller = root(&leaves[..usize::try_from(other).unwrap()]);
                assert_eq!(proof.holds(&smaller, &whole), other == first, "{first} {other} {size}");
            }
        }
    }
    assert_eq!(Inclusion::prove::<Infallible>(0, 5, &mut |_, _| Ok(None)), Ok(None));
    assert_eq!(Inclusion::prove::<Infallible>(6, 5, &mut |_, _| Ok(None)), Ok(None));
    assert_eq!(Consistency::prove::<Infallible>(6, 5, &mut |_, _| Ok(None)), Ok(None));
}

/// A leaf as the other implementation takes it.
#[derive(Clone)]
struct Input([u8; 8]);

impl HashableLeaf for Input {
    fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

fn theirs(count: usize) -> MemoryBackedTree<Sha256, Input> {
    let mut tree = MemoryBackedTree::new();
    (0..count).for_each(|i| tree.push(Input((i as u64).to_be_bytes())));
    tree
}

fn raw(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| *digest.as_bytes()).collect()
}

proptest! {
    #[test]
    fn another_implementation_makes_the_same_proofs(
        size in 1_usize..300, at in any::<prop::sample::Index>(),
    ) {
        let (leaves, tree) = (numbered(size), theirs(size));
        prop_assert_eq!(raw(&[root(&leaves)]), tree.root().as_bytes().to_vec());
        let index = at.index(size);
        let ours = inclusion(&leaves, index as u64 + 1);
        prop_assert_eq!(raw(&ours.path), tree.prove_inclusion(index).as_bytes().to_vec());
        let theirs = ct_merkle::InclusionProof::<Sha256>::from_bytes(raw(&ours.path));
        let root: RootHash<Sha256> = tree.root();
        let leaf = Input((index as u64).to_be_bytes());
        prop_assert!(root.verify_inclusion(&leaf, index as u64, &theirs).is_ok());
        let first = index + 1;
        let ours = consistency(&leaves, first as u64);
        let added = size - first;
        prop_assert_eq!(raw(&ours.path), tree.prove_consistency(added).as_bytes().to_vec());
    }

    #[test]
    fn a_flipped_bit_in_a_path_is_noticed(
        size in 2_usize..200, at in any::<prop::sample::Index>(),
        step in any::<prop::sample::Index>(), bit in 0_usize..256,
    ) {
        let leaves = numbered(size);
        let index = at.index(size);
        let flip = |path: &mut Vec<Digest>| {
            if path.is_empty() { return false; }
            let step = step.index(path.len());
            let mut bytes = *path[step].as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            path[step] = Digest::from_bytes(bytes);
            true
        };
        let mut proof = inclusion(&leaves, index as u64 + 1);
        if flip(&mut proof.path) {
            prop_assert_ne!(proof.root(&leaves[index]), Some(root(&leaves)));
        }
        let mut proof = consistency(&leaves, index as u64 + 1);
        if flip(&mut proof.path) {
            prop_assert!(!proof.holds(&root(&leaves[..=index]), &root(&leaves)));
        }
    }

    #[test]
    fn records_are_proved_by_the_leaves_up_to_a_checkpoint_wherever_these_begin(
        size in 1_u64..40, first in any::<prop::sample::Index>(), mask in any::<u64>(),
    ) {
        let first = 1 + first.index(usize::try_from(size).unwrap()) as u64;
        let shown: Vec<u64> = (first..=size).filter(|seq| mask >> seq & 1 == 1).collect();
        let proof = chained(size, first, &shown);
        let checked = Proof::decode(&proof.encode().unwrap()).unwrap();
        let found = checked.check(Some(&key().verifying_key())).unwrap();
        let seqs = found.records.iter().map(|it| Record::decode(it).unwrap().seq);
        prop_assert_eq!(seqs.collect::<Vec<_>>(), shown);
        prop_assert_eq!(found.checkpoint.size, size);
    }

    #[test]
    fn no_bytes_make_the_reader_of_proofs_panic(
        at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
        chain in any::<bool>(),
    ) {
        let file = if chain { chained(6, 3, &[4, 6]) } else { example().0 };
        let mut bytes = file.encode().unwrap();
        let at = at.index(bytes.len());
        let altered = bytes[at] != to;
        bytes[at] = to;
        let key = key().verifying_key();
        let shown = Proof::decode(&bytes).and_then(|proof| proof.check(Some(&key)));
        prop_assert!(!altered || shown.is_err(), "byte {at}");
        prop_assert!(Proof::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

fn key() -> Es256Key {
    Es256Key::from_seed([1; 32]).unwrap()
}

fn stamp() -> Stamp {
    let wall = WallMillis(1_795_000_000_000);
    Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall }
}

fn signed(size: u64, root: Digest, seal: &Seal) -> Blob {
    signed_of(size, root, GENESIS, seal)
}

fn signed_of(size: u64, root: Digest, head: Digest, seal: &Seal) -> Blob {
    let checkpoint = Checkpoint {
        boot: 1,
        head,
        journal: JournalId::new("jr_a").unwrap(),
        policy_hash: Digest::of(b"policy"),
        root,
        size,
        stamp: stamp(),
        v: checkpoint::VERSION,
    };
    let Entry::Checkpoint(blob) = checkpoint.into_entry(seal).unwrap() else {
        panic!("a checkpoint");
    };
    blob
}

fn records(last: u64) -> Vec<Vec<u8>> {
    let record = |seq| {
        let entry = Entry::Link(Link { reason: None, up: seq % 2 == 0 });
        Record::of_entry(&entry, Class::Normal, seq, 1, stamp()).unwrap().encode().unwrap()
    };
    (1..=last).map(record).collect()
}

/// The proof over the chain of records of `size`, by the leaves from the one at `first` on.
fn chained(size: u64, first: u64, shown: &[u64]) -> Proof {
    let (records, at) = (records(size), |seq: u64| usize::try_from(seq).unwrap() - 1);
    let leaves: Vec<Digest> = records.iter().map(|record| leaf_hash(record)).collect();
    let head = |leaves: &[Digest]| leaves.iter().fold(GENESIS, |head, leaf| link(&head, leaf));
    let seal = Seal::Device(Arc::new(key()));
    Proof::Chain {
        before: head(&leaves[..at(first)]),
        checkpoint: signed_of(size, root(&leaves), head(&leaves), &seal),
        leaves: leaves[at(first)..].to_vec(),
        records: shown.iter().map(|seq| Blob(records[at(*seq)].clone())).collect(),
        v: proof::VERSION,
    }
}

/// The proof of record 4 of 6, and the leaves.
fn example() -> (Proof, Vec<Digest>) {
    let records = records(6);
    let leaves: Vec<Digest> = records.iter().map(|record| leaf_hash(record)).collect();
    let file = Proof::Inclusion {
        checkpoint: signed(6, root(&leaves), &Seal::Device(Arc::new(key()))),
        proof: inclusion(&leaves, 4),
        record: Blob(records[3].clone()),
        v: proof::VERSION,
    };
    (file, leaves)
}

#[test]
fn a_proof_is_checked_without_the_box_and_a_stranger_s_signature_is_named() {
    let (file, leaves) = example();
    let again = Proof::decode(&file.encode().unwrap()).unwrap();
    assert_eq!(again, file);
    let shown = again.check(Some(&key().verifying_key())).unwrap();
    assert_eq!(Record::decode(&shown.records[0]).unwrap().seq, 4);
    assert_eq!(shown.checkpoint.size, 6);
    let stranger = Es256Key::from_seed([2; 32]).unwrap().verifying_key();
    assert!(matches!(again.check(Some(&stranger)), Err(ProofError::Checkpoint(_))));

    let seal = Seal::Device(Arc::new(key()));
    let (older, newer) = (signed(4, root(&leaves[..4]), &seal), signed(6, root(&leaves), &seal));
    let proof = consistency(&leaves, 4);
    let file = Proof::Consistency { newer: newer.clone(), older, proof, v: proof::VERSION };
    let shown = file.check(Some(&key().verifying_key())).unwrap();
    assert_eq!((shown.older.unwrap().size, shown.checkpoint.size), (4, 6));
    // History was rewritten between the two.
    let older = signed(4, root(&numbered(4)), &seal);
    let proof = consistency(&leaves, 4);
    let file = Proof::Consistency { newer, older, proof, v: proof::VERSION };
    let refused = file.check(Some(&key().verifying_key()));
    assert!(matches!(refused, Err(ProofError::Path(_))), "{refused:?}");
}

#[test]
fn a_proof_over_the_chain_shows_no_record_that_is_not_there() {
    let by_key = |proof: &Proof| proof.check(Some(&key().verifying_key()));
    type Change<'a> = dyn Fn(&mut Digest, &mut Vec<Digest>, &mut Vec<Blob>) + 'a;
    let altered = |change: &Change<'_>| {
        let mut proof = chained(9, 4, &[5, 7]);
        let Proof::Chain { before, leaves, records, .. } = &mut proof else { unreachable!() };
        change(before, leaves, records);
        by_key(&proof)
    };
    assert!(altered(&|_, _, _| {}).is_ok());
    let another = Blob(records(9)[7].clone());
    let wrong: [&Change<'_>; 8] = [
        &|before, _, _| *before = GENESIS,
        &|_, leaves, _| leaves[0] = Digest::ZERO,
        &|_, leaves, _| leaves.truncate(5),
        &|_, leaves, _| leaves.insert(0, Digest::ZERO),
        &|_, leaves, _| leaves.extend([Digest::ZERO; 9]),
        &|_, _, records| records.reverse(),
        &|_, _, records| records.push(records[1].clone()),
        // A record of the journal, and before the leaves.
        &|_, _, records| records.insert(0, Blob(self::records(9)[2].clone())),
    ];
    for (at, change) in wrong.iter().enumerate() {
        let refused = altered(change);
        assert!(matches!(refused, Err(ProofError::Path(_))), "{at}: {refused:?}");
    }
    // A genuine record in the place of another.
    let refused = altered(&|_, leaves, records| {
        leaves[1] = leaf_hash(&another.0);
        records[0] = another.clone();
    });
    assert!(matches!(refused, Err(ProofError::Path(_))), "{refused:?}");
    let stranger = Es256Key::from_seed([2; 32]).unwrap().verifying_key();
    let refused = chained(9, 4, &[5]).check(Some(&stranger));
    assert!(matches!(refused, Err(ProofError::Checkpoint(_))), "{refused:?}");
}

#[test]
fn a_proof_in_a_journal_of_a_million_records_is_below_a_kilobyte() {
    let mut known =
        |level: u32, _: u64| Ok::<_, Infallible>(Some(Digest::of(&level.to_be_bytes())));
    let proof = Inclusion::prove(123_456, 1_000_000, &mut known).unwrap().unwrap();
    let bytes = nooterra_protocol::codec::to_vec(&proof).unwrap();
    assert!(bytes.len() <= 1024, "{} bytes", bytes.len());
}
