//! A damaged journal is rebuilt: what can be read is there again under its number, what cannot
//! is named by a signed record, and nothing else is missing. Every run prints its seed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, Dice, copy_dir, fact, log, sample, seed};
use nooterra_blackbox::{Journal, Opened, TailFrom, locate, tail, verify};
use nooterra_evidence::absence::Statement as _;
use nooterra_evidence::{Loss, Record, Verification};
use nooterra_protocol::entry::Class;
use nooterra_protocol::keys::Signer as _;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Set by `cargo xtask prove`, which has the time for more.
const PROVE: &str = "NOOTERRA_PROVE";

/// The first segment of the log; here there is no other.
const FIRST: &str = "log-0000000000000001";

type Records = BTreeMap<u64, Record>;

fn boxed(bench: &Bench) -> Records {
    for start in 0..2 {
        let opened = bench.open();
        let handle = opened.journal.handle();
        handle.put_state("seen", b"1 2 3").unwrap();
        for i in 0..30 {
            handle.append(log(&format!("{start}.{i}"), 150)).unwrap();
            handle.append(sample(0.5)).unwrap();
            if i % 3 == 0 {
                handle.append_durable(fact(&format!("fact {start}.{i}"))).unwrap();
            }
        }
        handle.set_acked(Class::Critical, 3);
        opened.journal.close().unwrap();
    }
    readable(&bench.path())
}

fn readable(dir: &Path) -> Records {
    let records = tail(dir, TailFrom::Seq(1)).unwrap();
    records.filter_map(|found| Some((found.seq, found.record.ok()?))).collect()
}

fn check(bench: &Bench, dir: &Path) -> Verification {
    verify(dir, Some(&bench.key.verifying_key()), &mut |_| {}).unwrap()
}

fn flip(path: &Path, offset: u64, bit: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], offset).unwrap();
}

/// Every file of a journal, with its length.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for dir in [dir.to_owned(), dir.join("store")] {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        all.extend(entries.filter(|path| path.is_file()).map(|path| {
            let length = fs::metadata(&path).unwrap().len();
            (path, length)
        }));
    }
    all.retain(|(_, length)| *length > 0);
    all.sort();
    all
}

/// Opens a damaged copy, appends and closes; what was found, and the records that are missing.
fn reopen(bench: &Bench, dir: &Path, before: &Records) -> (Opening, Vec<u64>) {
    let opened = Journal::open(dir, bench.options.clone()).unwrap();
    let Opened { boot, journal, quarantined, rebuilt, .. } = opened;
    let handle = journal.handle();
    let seq = handle.append_durable(fact("after")).unwrap();
    let state = handle.get_state("seen").unwrap();
    journal.close().unwrap();
    let after = readable(dir);
    let found = check(bench, dir);
    if quarantined.is_none() || rebuilt {
        assert!(found.is_intact(), "{found} {:?}", found.notes);
        assert!(boot > 2, "start {boot}");
    }
    let mut missing = Vec::new();
    for (old, record) in before {
        match after.get(old) {
            Some(same) if same == record => {}
            other => {
                assert!(other.is_none() || !rebuilt, "record {old} became {other:?}");
                missing.push(*old);
            }
        }
    }
    if rebuilt {
        let named = |seq: &u64| found.missing.iter().any(|m| (m.first..=m.last).contains(seq));
        assert!(missing.iter().all(named), "{missing:?} {found}");
        assert!(before.keys().all(|seq| named(seq) == missing.contains(seq)), "{found}");
        // A number is never used twice.
        assert!(seq > *before.keys().last().unwrap(), "{seq}");
    }
    (Opening { quarantined, rebuilt, state }, missing)
}

struct Opening {
    quarantined: Option<PathBuf>,
    rebuilt: bool,
    state: Option<Vec<u8>>,
}

fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("copy") && path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_at_most_the_block_that_it_hits() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let before = boxed(&bench);
    let copy = bench.dir.path().join("copy");
    let rounds = if std::env::var_os(PROVE).is_some() { 300 } else { 40 };
    let (mut rebuilt, mut lost) = (0, 0);
    for round in 0..rounds {
        copy_dir(&bench.path(), &copy);
        let files = files(&copy);
        let (path, length) = &files[dice.index(files.len())];
        let offset = dice.roll(*length);
        flip(path, offset, dice.roll(8));
        let (opening, missing) = reopen(&bench, &copy, &before);
        assert!(opening.quarantined.is_none() || opening.rebuilt, "round {round}: not rebuilt");
        assert_eq!(opening.state.as_deref(), Some(b"1 2 3".as_slice()), "round {round}");
        // The largest block of this box holds three records and a checkpoint or so.
        assert!(missing.len() <= 12, "round {round}: {} at {offset}: {missing:?}", path.display());
        rebuilt += u32::from(opening.rebuilt);
        lost += missing.len();
        clear(bench.dir.path());
    }
    println!("{rounds} flips, {rebuilt} rebuilt, {lost} records lost in all of them");
}

#[test]
fn a_file_cut_anywhere_keeps_what_stands_before_the_cut() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let before = boxed(&bench);
    let copy = bench.dir.path().join("copy");
    let rounds = if std::env::var_os(PROVE).is_some() { 100 } else { 20 };
    let place = |seq: &u64| locate(&bench.path(), *seq).unwrap();
    let places: BTreeMap<u64, u64> =
        before.keys().map(|seq| (*seq, place(seq).offset + place(seq).len as u64)).collect();
    for round in 0..rounds {
        copy_dir(&bench.path(), &copy);
        let log = copy.join("store").join(FIRST);
        let length = fs::metadata(&log).unwrap().len();
        let cut = dice.roll(length);
        fs::File::options().write(true).open(&log).unwrap().set_len(cut).unwrap();
        let (opening, missing) = reopen(&bench, &copy, &before);
        if opening.quarantined.is_none() || opening.rebuilt {
            // A record's block ends at most one block after it.
            let kept = |seq: &&u64| places[seq] + 4096 < cut;
            let gone: Vec<_> = missing.iter().filter(kept).collect();
            assert!(gone.is_empty(), "round {round}: cut at {cut} of {length}: {gone:?}");
        }
        clear(bench.dir.path());
    }
}

#[test]
fn a_rebuilt_journal_says_signed_what_it_lost_and_is_rebuilt_again() {
    let bench = Bench::new();
    let before = boxed(&bench);
    let mut wanted = Vec::new();
    for (round, seq) in [40, 20].into_iter().enumerate() {
        let place = locate(&bench.path(), seq).unwrap();
        flip(&place.path, place.offset + place.len as u64 / 2, 3);
        let damaged = check(&bench, &bench.path());
        assert_eq!(damaged.first_bad.unwrap().seq, seq);
        // Not every copy of the block is damaged, so this one is hidden from the store.
        let opened = bench.open();
        assert!(opened.rebuilt || opened.quarantined.is_none());
        if opened.rebuilt {
            wanted.push(seq);
        }
        opened.journal.handle().append_durable(fact("after")).unwrap();
        opened.journal.close().unwrap();
        let found = check(&bench, &bench.path());
        assert!(found.is_intact(), "round {round}: {found} {:?}", found.notes);
        assert_eq!(found.is_whole(), wanted.is_empty());
        let missing: Vec<_> = found.missing.iter().map(|missing| missing.first).collect();
        let mut expected = wanted.clone();
        expected.sort_unstable();
        assert_eq!(missing, expected, "round {round}");
    }
    let after = readable(&bench.path());
    let losses: Vec<Loss> = after
        .values()
        .filter(|record| record.kind == Loss::KIND)
        .map(|record| Loss::read(&record.body, Some(&bench.key.verifying_key())).unwrap())
        .collect();
    assert_eq!(losses.len(), wanted.len());
    if let Some(loss) = losses.last() {
        assert_eq!(loss.spans.len(), wanted.len());
        assert!(loss.aside.starts_with("journal.bad-"), "{}", loss.aside);
        assert!(loss.known_to >= *before.keys().last().unwrap());
    }
}

#[test]
fn a_rebuild_that_was_cut_off_is_finished_or_done_again() {
    let bench = Bench::new();
    let before = boxed(&bench);
    let rebuilt = bench.dir.path().join("journal.rebuilt");
    // Before the swap: the journal is still in its place.
    copy_dir(&bench.path(), &rebuilt);
    fs::write(rebuilt.join("journal"), "not finished").unwrap();
    let opened = bench.open();
    assert!(opened.quarantined.is_none() && !rebuilt.exists());
    opened.journal.close().unwrap();
    // In the middle of the swap: the journal is away.
    fs::rename(bench.path(), &rebuilt).unwrap();
    let opened = bench.open();
    assert!(opened.quarantined.is_none() && !rebuilt.exists());
    assert!(opened.journal.handle().records() >= before.len() as u64);
}

#[test]
fn a_loss_that_nobody_signed_is_no_explanation() {
    let bench = Bench::new();
    boxed(&bench);
    // A stranger removes the end of the file and has the journal rebuilt with a key of his own.
    let log = bench.path().join("store").join(FIRST);
    fs::File::options().write(true).open(&log).unwrap().set_len(12_000).unwrap();
    let mut forger = Bench::in_dir(bench.dir.path());
    forger.options.signer = common::Key::new(9);
    forger.open().journal.close().unwrap();
    let found = check(&bench, &bench.path());
    assert!(!found.is_intact() && !found.is_whole(), "{found}");
}
