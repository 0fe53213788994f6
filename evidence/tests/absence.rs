//! What is not there: a hole, a leaf hash or a missing beginning counts as lost or pruned only
//! as far as a signed record says so, and everything around it is still proved.
#![allow(clippy::unwrap_used)]

use nooterra_evidence::absence::{self, Statement};
use nooterra_evidence::{
    Checkpoint, GENESIS, Horizons, Loss, Missing, Prune, Record, Seal, Span, Tree, Verification,
    Verifier, checkpoint, leaf_hash, link, record,
};
use nooterra_protocol::codec::{Digest, Value};
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use proptest::prelude::*;
use std::sync::Arc;

/// A record's bytes and its link.
type Stored = Vec<(Vec<u8>, Digest)>;

/// What a carrier says of each record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    Leaf,
    Nothing,
    Whole,
}

fn key(seed: u8) -> Es256Key {
    Es256Key::from_seed([seed; 32]).unwrap()
}

fn seal(seed: u8) -> Seal {
    Seal::Device(Arc::new(key(seed)))
}

fn stamp(n: u64) -> Stamp {
    let wall = WallMillis(1_795_000_000_000);
    Stamp { mono: MonoNanos(n), trust: ClockTrust::Network, wall }
}

fn journal() -> JournalId {
    JournalId::new("jr_a").unwrap()
}

fn add(stored: &mut Stored, record: &Record) {
    let bytes = record.encode().unwrap();
    let before = stored.last().map_or(GENESIS, |(_, link)| *link);
    let link = link(&before, &leaf_hash(&bytes));
    stored.push((bytes, link));
}

fn add_statement<T: Statement>(stored: &mut Stored, seal: &Seal, statement: T) {
    let seq = stored.len() as u64 + 1;
    let (stamp, boot, _) = statement.origin();
    let body = statement.into_body(seal).unwrap();
    let (class, kind) = (Class::Critical, T::KIND.to_owned());
    add(stored, &Record { body, boot, class, kind, seq, stamp, v: record::VERSION });
}

/// The tree of a box that has lost some records.
fn tree(stored: &[(Vec<u8>, Digest)], lost: &[u64]) -> Tree {
    let mut tree = Tree::default();
    for ((bytes, _), seq) in stored.iter().zip(1..) {
        match lost.contains(&seq) {
            true => tree.push_lost(1),
            false => tree.push(leaf_hash(bytes)),
        }
    }
    tree
}

fn add_checkpoint(stored: &mut Stored, lost: &[u64]) {
    let size = stored.len() as u64;
    let head = stored.last().unwrap().1;
    let (policy_hash, stamp, v) = (Digest::of(b"policy"), stamp(size), checkpoint::VERSION);
    let root = tree(stored, lost).root();
    let journal = journal();
    let checkpoint = Checkpoint { boot: 1, head, journal, policy_hash, root, size, stamp, v };
    let entry = checkpoint.into_entry(&seal(1)).unwrap();
    add(stored, &Record::of_entry(&entry, Class::Normal, size + 1, 1, stamp).unwrap());
}

/// Ten records, normal and bulk in turns, then a checkpoint.
fn eleven() -> Stored {
    let mut stored = Stored::new();
    for seq in 1..=10 {
        let entry = Entry::Link(Link { reason: None, up: seq % 2 == 0 });
        let class = if seq % 2 == 0 { Class::Bulk } else { Class::Normal };
        add(&mut stored, &Record::of_entry(&entry, class, seq, 1, stamp(seq)).unwrap());
    }
    add_checkpoint(&mut stored, &[]);
    stored
}

fn loss(spans: Vec<Span>) -> Loss {
    let (aside, why) = ("journal.bad-1".to_owned(), "a flipped bit".to_owned());
    let (stamp, v) = (stamp(20), absence::VERSION);
    Loss { aside, boot: 1, journal: journal(), known_to: 11, spans, stamp, v, why }
}

fn prune(through: u64, stored: &Stored, horizons: Horizons) -> Prune {
    let tree = tree(&stored[..usize::try_from(through).unwrap()], &[]);
    let head = match through {
        0 => GENESIS,
        _ => stored[usize::try_from(through - 1).unwrap()].1,
    };
    let (subtrees, stamp, v) = (tree.subtrees().to_vec(), stamp(20), absence::VERSION);
    let (boot, forced, journal) = (1, None, journal());
    Prune { boot, forced, head, horizons, journal, stamp, subtrees, through, v }
}

/// Hands a box to the verifier, of which `held` is there.
fn check(stored: &Stored, held: impl Fn(u64) -> Held) -> Verification {
    let mut verifier = Verifier::new(Some(key(1).verifying_key()));
    for ((bytes, link), seq) in stored.iter().zip(1..) {
        match held(seq) {
            Held::Leaf => {
                let class = Record::decode(bytes).unwrap().class;
                verifier.push_pruned(class, &leaf_hash(bytes), Some(link));
            }
            Held::Nothing => verifier.push_unreadable(seq, Some(link), "it is missing"),
            Held::Whole => drop(verifier.push(bytes, Some(link))),
        }
    }
    verifier.finish()
}

fn without(seqs: &[u64]) -> impl Fn(u64) -> Held {
    move |seq| if seqs.contains(&seq) { Held::Nothing } else { Held::Whole }
}

#[test]
fn a_hole_that_nobody_speaks_of_is_named_and_no_checkpoint_after_it_counts() {
    let found = check(&eleven(), without(&[4, 5]));
    let bad = found.first_bad.unwrap();
    assert_eq!(bad.seq, 4);
    assert!(bad.why.contains("4 to 5"), "{}", bad.why);
    assert_eq!((found.verified_through, found.checkpoints), (None, 0));
}

#[test]
fn a_loss_explains_exactly_its_hole() {
    let mut stored = eleven();
    let before = stored[2].1;
    add_statement(&mut stored, &seal(1), loss(vec![Span { before, first: 4, last: 5 }]));
    add_checkpoint(&mut stored, &[4, 5]);
    let found = check(&stored, without(&[4, 5]));
    assert_eq!(found.missing, [Missing { first: 4, last: 5, said_in: 12 }]);
    assert!(found.is_intact() && !found.is_whole(), "{found}");
    assert_eq!(found.verified_through, Some(13));
    let text = found.to_string();
    assert!(text.contains("4 to 5 are missing, as record 12 says"), "{text}");
    // Another hole is not explained by it, nor is a larger one.
    for others in [[3, 4, 5].as_slice(), &[4], &[4, 5, 8]] {
        let found = check(&stored, without(others));
        assert!(!found.is_intact(), "{others:?}");
    }
}

#[test]
fn what_stands_before_a_hole_is_bound_by_the_loss() {
    let mut stored = eleven();
    let before = stored[2].1;
    add_statement(&mut stored, &seal(1), loss(vec![Span { before, first: 4, last: 5 }]));
    add_checkpoint(&mut stored, &[4, 5]);
    // The three records before the hole are written anew, with links that fit.
    let mut forged = Stored::new();
    for seq in 1..=3 {
        let entry = Entry::Link(Link { reason: Some("never".to_owned()), up: true });
        add(&mut forged, &Record::of_entry(&entry, Class::Normal, seq, 1, stamp(seq)).unwrap());
    }
    forged.extend_from_slice(&stored[3..]);
    let found = check(&forged, without(&[4, 5]));
    assert_eq!(found.first_bad.unwrap().seq, 4);
    assert_eq!(found.verified_through, None);
}

#[test]
fn a_statement_of_another_key_or_about_what_comes_after_it_says_nothing() {
    let (stored, before) = (eleven(), eleven()[2].1);
    let span = |first, last| vec![Span { before, first, last }];
    let mut foreign = stored.clone();
    add_statement(&mut foreign, &seal(2), loss(span(4, 5)));
    assert_eq!(check(&foreign, without(&[4, 5])).first_bad.unwrap().seq, 4);
    let mut early = stored.clone();
    add_statement(&mut early, &seal(1), loss(span(4, 99)));
    assert_eq!(check(&early, without(&[])).first_bad.unwrap().seq, 12);
    let mut horizons = Horizons::default();
    horizons.raise(Class::Bulk, 99);
    let mut greedy = stored.clone();
    add_statement(&mut greedy, &seal(1), prune(2, &stored, horizons));
    assert_eq!(check(&greedy, without(&[])).first_bad.unwrap().seq, 12);
}

#[test]
fn a_leaf_hash_stands_for_a_record_only_up_to_its_class_s_horizon() {
    let mut stored = eleven();
    let mut horizons = Horizons::default();
    horizons.raise(Class::Bulk, 6);
    let prune = prune(0, &stored, horizons);
    add_statement(&mut stored, &seal(1), prune);
    let leaves = |seqs: &'static [u64]| {
        move |seq| if seqs.contains(&seq) { Held::Leaf } else { Held::Whole }
    };
    let found = check(&stored, leaves(&[2, 4, 6]));
    assert!(found.is_whole(), "{found}");
    assert_eq!((found.pruned, found.verified_through), (3, Some(11)));
    // One beyond the horizon, and one of another class.
    assert_eq!(check(&stored, leaves(&[2, 4, 6, 8])).first_bad.unwrap().seq, 7);
    assert_eq!(check(&stored, leaves(&[3])).first_bad.unwrap().seq, 3);
}

#[test]
fn a_beginning_is_pruned_only_where_the_statement_says_so_and_leads_on() {
    let mut stored = eleven();
    let statement = prune(6, &stored, Horizons::default());
    add_statement(&mut stored, &seal(1), statement);
    add_checkpoint(&mut stored, &[]);
    let from = |first: usize, head: Digest| {
        let mut verifier = Verifier::new(Some(key(1).verifying_key()));
        let subtrees = tree(&stored[..first], &[]).subtrees().to_vec();
        verifier.push_removed(first as u64, &head, subtrees);
        for (bytes, link) in &stored[first..] {
            verifier.push(bytes, Some(link));
        }
        verifier.finish()
    };
    let found = from(6, stored[5].1);
    assert!(found.is_whole() && found.pruned == 6, "{found}");
    assert_eq!(found.verified_through, Some(13));
    // More is gone than it says; and what it says is gone did not end so.
    assert!(!from(7, stored[6].1).is_intact());
    let subtrees = tree(&stored[..6], &[]).subtrees().to_vec();
    let others = vec![Digest::of(b"1 to 4"), Digest::of(b"5 and 6")];
    for (head, subtrees) in [(Digest::of(b"another"), subtrees), (stored[5].1, others)] {
        let mut verifier = Verifier::new(Some(key(1).verifying_key()));
        verifier.push_removed(6, &head, subtrees);
        for (bytes, _) in &stored[6..] {
            verifier.push(bytes, None);
        }
        assert!(!verifier.finish().is_intact());
    }
}

#[test]
fn a_checkpoint_over_another_tree_is_named() {
    let mut stored = eleven();
    add_checkpoint(&mut stored, &[3]);
    let found = check(&stored, without(&[]));
    let bad = found.first_bad.unwrap();
    assert!(bad.seq == 11 && bad.why.contains("tree"), "{}", bad.why);
    assert_eq!(found.verified_through, Some(11));
}

#[test]
fn a_body_that_is_no_statement_is_refused() {
    for body in [Value::Null, Value::Bytes(Vec::new()), Value::Bytes(vec![0x84, 0x40])] {
        assert!(Loss::read(&body, None).is_err());
        assert!(Prune::read(&body, Some(&key(1).verifying_key())).is_err());
    }
    // A loss is no prune, although both are signed by the same key.
    let body = loss(Vec::new()).into_body(&seal(1)).unwrap();
    assert!(Loss::read(&body, Some(&key(1).verifying_key())).is_ok());
    assert!(Prune::read(&body, Some(&key(1).verifying_key())).is_err());
    let later = Loss { v: absence::VERSION + 1, ..loss(Vec::new()) };
    let refused = Loss::read(&later.into_body(&seal(1)).unwrap(), None).unwrap_err();
    assert!(refused.to_string().contains("newer release"), "{refused}");
}

proptest! {
    #[test]
    fn whatever_is_there_in_whatever_form_nothing_is_called_whole_that_is_not(
        held in proptest::collection::vec(0_u8..3, 11), spoken in any::<bool>()
    ) {
        let mut stored = eleven();
        if spoken {
            let before = stored[2].1;
            add_statement(&mut stored, &seal(1), loss(vec![Span { before, first: 4, last: 5 }]));
        }
        let at = |seq: u64| match held.get(usize::try_from(seq - 1).unwrap()) {
            Some(1) => Held::Leaf,
            Some(2) => Held::Nothing,
            _ => Held::Whole,
        };
        let found = check(&stored, at);
        let all = held.iter().all(|held| *held == 0);
        prop_assert_eq!(found.is_whole(), all);
        let holes: Vec<u64> = (1..=11).filter(|seq| at(*seq) != Held::Whole).collect();
        let explained = spoken && holes == [4, 5] && at(4) == Held::Nothing && at(5) == Held::Nothing;
        prop_assert_eq!(found.is_intact(), all || explained);
        if let Some(bad) = &found.first_bad {
            prop_assert!(found.verified_through.is_none_or(|through| through < bad.seq));
        }
    }
}
