//! What the verifier must find, whatever the box: every altered, exchanged, missing or foreign
//! record, by its number; and that no bytes make it panic.
#![allow(clippy::unwrap_used)]

use nooterra_evidence::{
    Checkpoint, GENESIS, Record, Seal, Tree, Verification, Verifier, checkpoint,
};
use nooterra_evidence::{cose, leaf_hash, link};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use proptest::prelude::*;
use std::sync::Arc;

type Stored = Vec<(Vec<u8>, Digest)>;

fn key(seed: u8) -> Es256Key {
    Es256Key::from_seed([seed; 32]).unwrap()
}

fn seal(seed: u8) -> Seal {
    Seal::Device(Arc::new(key(seed)))
}

fn stamp(n: u64) -> Stamp {
    let wall = WallMillis(1_795_000_000_000);
    Stamp { mono: MonoNanos(n), trust: ClockTrust::Untrusted, wall }
}

/// A box: a record per entry, checkpoints at the given places.
fn boxed(journal: &str, signer: &Seal, checkpoints: &[u64], total: u64) -> Stored {
    let (mut stored, mut head, mut tree) = (Stored::new(), GENESIS, Tree::default());
    for seq in 1..=total {
        let entry = if checkpoints.contains(&seq) {
            let checkpoint = Checkpoint {
                boot: 1,
                head,
                journal: JournalId::new(journal).unwrap(),
                policy_hash: Digest::of(b"policy"),
                root: tree.root(),
                size: seq - 1,
                stamp: stamp(seq),
                v: checkpoint::VERSION,
            };
            checkpoint.into_entry(signer).unwrap()
        } else {
            Entry::Link(Link { reason: Some(format!("reason {seq}")), up: seq % 2 == 0 })
        };
        let record = Record::of_entry(&entry, Class::Normal, seq, 1, stamp(seq)).unwrap();
        let bytes = record.encode().unwrap();
        head = link(&head, &leaf_hash(&bytes));
        tree.push(leaf_hash(&bytes));
        stored.push((bytes, head));
    }
    stored
}

fn twelve() -> Stored {
    boxed("jr_a", &seal(1), &[5, 10], 12)
}

fn check(stored: &Stored, with_links: bool) -> Verification {
    let mut verifier = Verifier::new(Some(key(1).verifying_key()));
    for (bytes, link) in stored {
        verifier.push(bytes, with_links.then_some(link));
    }
    verifier.finish()
}

fn first_bad(stored: &Stored, with_links: bool) -> u64 {
    check(stored, with_links).first_bad.expect("something is wrong").seq
}

#[test]
fn a_whole_box_verifies_through_its_last_checkpoint() {
    for with_links in [false, true] {
        let found = check(&twelve(), with_links);
        assert_eq!((found.records, found.checkpoints), (12, 2));
        assert_eq!(found.verified_through, Some(10));
        assert_eq!(found.beyond_last_checkpoint, 2);
        assert!(found.is_intact() && found.key_known);
        assert_eq!(found.head, twelve()[11].1);
    }
}

#[test]
fn without_a_key_a_box_is_self_consistent_and_never_valid() {
    let mut verifier = Verifier::new(None);
    for (bytes, link) in twelve() {
        verifier.push(&bytes, Some(&link));
    }
    let text = verifier.finish().to_string();
    assert!(text.contains("self-consistent") && text.contains("identity unproven"), "{text}");
    assert!(!text.contains("valid") && !text.contains("verified"), "{text}");
}

#[test]
fn a_forged_checkpoint_is_named() {
    let forged = boxed("jr_a", &seal(2), &[5], 6);
    let found = check(&forged, true);
    assert_eq!(found.first_bad.unwrap().seq, 5);
    assert_eq!(found.verified_through, None);
}

#[test]
fn two_boxes_spliced_are_noticed_at_the_seam() {
    let (mut one, two) = (twelve(), boxed("jr_b", &seal(1), &[6, 10], 12));
    one.splice(5.., two[5..].to_vec());
    assert_eq!(first_bad(&one, true), 6);
    // Without links, at the checkpoint that speaks of another journal.
    assert_eq!(first_bad(&one, false), 6);
}

#[test]
fn a_box_rewritten_with_its_links_is_caught_by_the_checkpoint() {
    let mut stored = twelve();
    let (mut head, other) = (stored[5].1, boxed("jr_a", &seal(1), &[], 8));
    stored[6].0 = other[7].0.clone();
    let record = Record { seq: 7, ..Record::decode(&stored[6].0).unwrap() };
    stored[6].0 = record.encode().unwrap();
    for (bytes, stored) in &mut stored[6..] {
        head = link(&head, &leaf_hash(bytes));
        *stored = head;
    }
    let bad = check(&stored, true).first_bad.unwrap();
    // From the last checkpoint on: that record is covered by the next one only.
    assert_eq!(bad.seq, 5, "{}", bad.why);
    assert!(bad.why.contains("records 5 to 10"), "{}", bad.why);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_goes_on() {
    let stored = twelve();
    let mut verifier = Verifier::new(Some(key(1).verifying_key()));
    for (bytes, link) in &stored[..5] {
        verifier.push(bytes, Some(link));
    }
    verifier.push_unreadable(8, Some(&stored[7].1), "the block is gone");
    for (bytes, link) in &stored[8..] {
        verifier.push(bytes, Some(link));
    }
    let found = verifier.finish();
    assert_eq!((found.records, found.verified_through), (9, Some(5)));
    let bad = found.first_bad.unwrap();
    assert_eq!((bad.seq, bad.why.as_str()), (6, "records 6 to 8: the block is gone"));
}

#[test]
fn a_start_that_counts_backwards_is_noticed() {
    let mut verifier = Verifier::new(None);
    let entry = Entry::Link(Link { reason: None, up: true });
    for (seq, boot) in [(1, 2), (2, 1)] {
        let record = Record::of_entry(&entry, Class::Normal, seq, boot, stamp(seq)).unwrap();
        verifier.push(&record.encode().unwrap(), None);
    }
    assert_eq!(verifier.finish().first_bad.unwrap().seq, 2);
}

#[test]
fn a_checkpoint_s_record_in_another_form_is_named() {
    // A key as bytes instead of text reads as the same record, and nothing else covers it yet.
    let mut stored = twelve();
    let bytes = &mut stored[9].0;
    let at = bytes.windows(5).position(|word| word == b"dkind").unwrap();
    bytes[at] ^= 0x20;
    assert_eq!(first_bad(&stored, false), 10);
}

proptest! {
    #[test]
    fn any_flipped_bit_in_any_record_or_link_is_named(
        seq in 1_usize..=12, at in any::<prop::sample::Index>(), bit in 0_u8..8, in_link in any::<bool>(),
    ) {
        let mut stored = twelve();
        let (bytes, link) = &mut stored[seq - 1];
        if in_link {
            let mut raw = *link.as_bytes();
            raw[at.index(32)] ^= 1 << bit;
            *link = Digest::from_bytes(raw);
        } else {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        prop_assert_eq!(first_bad(&stored, true), seq as u64);
    }

    #[test]
    fn without_links_a_flipped_bit_is_found_or_lies_beyond_what_is_verified(
        seq in 1_usize..=12, at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let mut stored = twelve();
        let bytes = &mut stored[seq - 1].0;
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let found = check(&stored, false);
        let is_named = found.first_bad.as_ref().is_some_and(|bad| bad.seq <= seq as u64);
        prop_assert!(is_named || found.verified_through < Some(seq as u64), "{found}");
    }

    #[test]
    fn a_missing_doubled_or_exchanged_record_is_noticed(at in 0_usize..11, what in 0..3) {
        let mut stored = twelve();
        match what {
            0 => { stored.remove(at); }
            1 => { let again = stored[at].clone(); stored.insert(at, again); }
            _ => stored.swap(at, at + 1),
        }
        let expected = if what == 1 { at + 2 } else { at + 1 };
        prop_assert_eq!(first_bad(&stored, true), expected as u64);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let _ = Record::decode(&noise);
        let _ = Checkpoint::read(&noise, None);
        let mut bytes = twelve()[4].0.clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(record) = Record::decode(&bytes) {
            let _ = record.entry();
            let mut verifier = Verifier::new(Some(key(1).verifying_key()));
            verifier.push(&bytes, None);
            let _ = verifier.finish().to_string();
        }
        let Ok(Some(Entry::Checkpoint(Blob(signed)))) = Record::decode(&twelve()[4].0).unwrap().entry()
        else { panic!("record 5 is a checkpoint") };
        let cut = &signed[..noise.len().min(signed.len())];
        let _ = cose::danger_unverified::<Checkpoint>(cut);
    }
}
