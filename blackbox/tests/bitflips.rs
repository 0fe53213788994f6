//! Every single bit of a small journal's files flipped, and every length that they can be cut
//! to: what is altered is found and located, and everything else is read as it was written.
//!
//! The store makes room for megabytes ahead, all zeros; of those every 4096th byte has to do. The
//! rest is too much for every run: a run takes one of [`SHARES`] shares, by its seed, so that as
//! many seeds in a row (`cargo xtask prove blackbox`) try every bit. `NOOTERRA_SHARES=1` tries
//! all at once.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, copy_dir, fact, log, sample, seed};
use nooterra_blackbox::{TailFrom, VerifyError, locate, tail, verify};
use nooterra_evidence::Record;
use nooterra_protocol::keys::{Signer as _, VerifyingKey};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// `NOOTERRA_SHARES` says otherwise.
const SHARES: u64 = 512;

/// Of room that nothing was written to, one byte of so many is tried.
const SPARSE: u64 = 4096;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Cut(u64),
    Flip(u64, u8),
}

struct Small {
    bench: Bench,
    /// With the length, and the length of what was written.
    files: Vec<(PathBuf, u64, u64)>,
    records: Vec<Record>,
}

/// Two starts, some blocks, checkpoints; closed in order.
fn small() -> Small {
    let mut bench = Bench::new();
    bench.options.checkpoint_every_records = 5;
    for start in 0..2 {
        let opened = bench.open();
        let handle = opened.journal.handle();
        for i in 0..3 {
            handle.append(log(&format!("{start}.{i}"), 60)).unwrap();
            handle.append(sample(0.5)).unwrap();
            handle.append_durable(fact("f")).unwrap();
        }
        opened.journal.close().unwrap();
    }
    let records = tail(&bench.path(), TailFrom::Seq(1)).unwrap();
    let records: Vec<Record> = records.map(|record| record.record.unwrap()).collect();
    let mut files = Vec::new();
    list(&bench.path(), &bench.path(), &mut files);
    files.sort();
    Small { bench, files, records }
}

fn list(root: &Path, dir: &Path, files: &mut Vec<(PathBuf, u64, u64)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            let bytes = fs::read(&path).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let name = path.strip_prefix(root).unwrap().to_owned();
            files.push((name, bytes.len() as u64, used as u64));
        }
    }
}

/// Sequence numbers that are written together: damage to one may take all of them.
fn block_of(small: &Small, seq: u64) -> (u64, u64) {
    // A new block begins where the bytes do not follow those before: the frame is in between.
    let places: Vec<_> = (1..=small.records.len() as u64)
        .map(|seq| locate(&small.bench.path(), seq).unwrap())
        .collect();
    let index = usize::try_from(seq - 1).unwrap();
    let joined = |a: usize| places[a].offset + places[a].len as u64 == places[a + 1].offset;
    let (mut first, mut last) = (index, index);
    while first > 0 && joined(first - 1) {
        first -= 1;
    }
    while last + 1 < places.len() && joined(last) {
        last += 1;
    }
    (first as u64 + 1, last as u64 + 1)
}

/// What came of it: nothing is altered, or which records.
fn harmed(small: &Small, key: &VerifyingKey, dir: &Path, file: &Path, harm: Harm) -> u64 {
    copy_dir(&small.bench.path(), dir);
    let path = dir.join(file);
    let opened = fs::File::options().read(true).write(true).open(&path).unwrap();
    match harm {
        Harm::Cut(length) => opened.set_len(length).unwrap(),
        Harm::Flip(at, bit) => {
            let mut byte = [0];
            opened.read_exact_at(&mut byte, at).unwrap();
            opened.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
        }
    }
    drop(opened);
    let what = format!("{} {harm:?}", file.display());
    let found = match verify(dir, Some(key), &mut |_| {}) {
        Ok(found) => found,
        // A whole file is cut to nothing, and with it what makes the directory a journal.
        Err(VerifyError::NotAJournal(_)) => return 0,
        Err(error) => panic!("{what}: {error}"),
    };
    let mut seen = vec![false; small.records.len()];
    for record in tail(dir, TailFrom::Seq(1)).unwrap() {
        let index = usize::try_from(record.seq - 1).unwrap();
        let expected = small.records.get(index).unwrap_or_else(|| panic!("{what}: invented"));
        seen[index] = record.record.as_ref() == Ok(expected);
    }
    let altered: Vec<u64> =
        seen.iter().zip(1..).filter(|(same, _)| !**same).map(|(_, seq)| seq).collect();
    let count = altered.len() as u64;
    match (altered.as_slice(), &found.first_bad) {
        ([], None) => {
            assert_eq!(found.records, small.records.len() as u64, "{what}");
            assert_eq!(found.verified_through, Some(found.records), "{what}");
        }
        // Nothing that is there is altered, and yet the chain says that something is: a flip in
        // a link, or in the framing around a record.
        ([], Some(bad)) => assert!(bad.seq <= small.records.len() as u64, "{what}: {}", bad.why),
        ([first, .., last] | [first @ last], Some(bad)) => {
            let (block_first, block_last) = block_of(small, *first);
            assert!((block_first..=*first).contains(&bad.seq), "{what}: {bad:?}, not {altered:?}");
            let is_tail = matches!(harm, Harm::Cut(_)) && *last == small.records.len() as u64;
            assert!(*last <= block_last || is_tail, "{what}: {altered:?} for one block");
            assert!(found.verified_through.unwrap_or(0) < bad.seq, "{what}");
        }
        (altered, None) => panic!("{what}: {altered:?} not noticed; {found}; {:?}", found.notes),
    }
    fs::remove_dir_all(dir).unwrap();
    count
}

/// Every byte that was written, and a few of the others.
fn places(length: u64, used: u64) -> impl Iterator<Item = u64> {
    (0..length).filter(move |at| *at < used || at.is_multiple_of(SPARSE))
}

fn run(small: &Small, harms: &[(PathBuf, Harm)]) {
    let shares = std::env::var("NOOTERRA_SHARES").ok().and_then(|text| text.parse().ok());
    let shares: u64 = shares.unwrap_or(SHARES);
    let share = seed() % shares;
    let chosen: Vec<_> =
        harms.iter().zip(0..).filter(|(_, nth)| nth % shares == share).map(|(h, _)| h).collect();
    let key = small.bench.key.verifying_key();
    let (next, altered) = (AtomicU64::new(0), AtomicU64::new(0));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for core in 0..cores {
            let (next, altered, chosen, key) = (&next, &altered, &chosen, &key);
            scope.spawn(move || {
                let dir = small.bench.dir.path().join(format!("harmed-{core}"));
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let Some((file, harm)) = chosen.get(usize::try_from(nth).unwrap()) else {
                        break;
                    };
                    let count = harmed(small, key, &dir, file, *harm);
                    altered.fetch_add(count.min(1), Ordering::Relaxed);
                }
            });
        }
    });
    let altered = altered.into_inner();
    println!(
        "share {share} of {shares}: {} of {}, {altered} alter records",
        chosen.len(),
        harms.len()
    );
}

#[test]
fn every_flipped_bit_is_found_and_located_and_the_rest_is_read() {
    let small = small();
    let mut harms = Vec::new();
    for (file, length, used) in &small.files {
        for at in places(*length, *used) {
            harms.extend((0..8).map(|bit| (file.clone(), Harm::Flip(at, bit))));
        }
    }
    run(&small, &harms);
}

#[test]
fn every_truncation_is_found_and_located_and_the_rest_is_read() {
    let small = small();
    let mut harms = Vec::new();
    for (file, length, used) in &small.files {
        harms.extend(places(*length, *used).map(|length| (file.clone(), Harm::Cut(length))));
    }
    run(&small, &harms);
}
