//! Journals that somebody rewrote who knows the format: frames and checksums are right, and what
//! was done to the records is named.

use crate::block::{Block, Encoded, Held, Running};
use crate::excerpt::{excerpt, verify_excerpt};
use crate::journal::{Clock, Journal, Options};
use crate::place::STORE_DIR;
use crate::store::Store;
use crate::verify::verify;
use nooterra_evidence::{Checkpoint, Record, Seal, Verification, leaf_hash, link};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Still;

impl Clock for Still {
    fn stamp(&self) -> Stamp {
        Stamp {
            mono: MonoNanos(5),
            trust: ClockTrust::Network,
            wall: WallMillis(1_795_000_000_000),
        }
    }
}

fn key(seed: u8) -> Arc<Es256Key> {
    Arc::new(Es256Key::from_seed([seed; 32]).unwrap())
}

fn options(seed: u8) -> Options {
    let mut options = Options::new(Arc::new(Still), key(seed), Digest::of(b"policy"));
    options.checkpoint_every_records = 3;
    options
}

/// One record to a block, a checkpoint after every three, closed.
fn boxed(dir: &Path, seed: u8) -> PathBuf {
    let options = options(seed);
    let path = dir.join(format!("journal-{seed}"));
    let opened = Journal::open(&path, options).unwrap();
    for nth in 0..9 {
        let reason = Some(format!("{nth} of {seed}"));
        let entry = Entry::Link(Link { reason, up: true });
        opened.journal.handle().append_durable(entry).unwrap();
    }
    opened.journal.close().unwrap();
    path
}

fn records(path: &Path) -> Vec<Vec<u8>> {
    let store = Store::open(&path.join(STORE_DIR)).unwrap();
    let (mut all, mut next) = (Vec::new(), 1);
    while let Some((_, bytes)) = store.block_from(next).unwrap() {
        let block = Block::read(&bytes).unwrap();
        all.extend(block.records(&bytes).map(|(_, _, record)| record.to_vec()));
        next = block.last_seq() + 1;
    }
    all
}

/// Puts other records in the place of all, in one block, linked anew.
fn rewrite(path: &Path, records: &[Vec<u8>]) {
    rewrite_held(path, records, |_| Held::Whole);
}

/// The same, of each record by its number as much as is said.
fn rewrite_held(path: &Path, records: &[Vec<u8>], held: impl Fn(u64) -> Held) {
    let store = Store::open(&path.join(STORE_DIR)).unwrap();
    let mut gone = Vec::new();
    while let Some((key, _)) = store.block_from(gone.last().map_or(1, |last| last + 1)).unwrap() {
        gone.push(key);
    }
    let mut head = nooterra_evidence::GENESIS;
    let encoded: Vec<Encoded> = (1..)
        .zip(records)
        .map(|(seq, record)| {
            let leaf = leaf_hash(record);
            head = link(&head, &leaf);
            let class = Record::decode(record).map_or(Class::Normal, |record| record.class);
            let held = held(seq);
            let bytes = match held {
                Held::Leaf => leaf.as_bytes().to_vec(),
                Held::Nothing => Vec::new(),
                Held::Whole => record.clone(),
            };
            Encoded { bytes, class, held, link: head }
        })
        .collect();
    let running = Running { boot: 1, actor_seq: 0, checkpoint_seq: 0 };
    let block = Block::encode(1, &nooterra_evidence::GENESIS, running, &encoded);
    let mut changes: Vec<_> = gone.into_iter().map(|key| (key, None)).collect();
    changes.push((1, Some(block)));
    store.commit(&changes, &[]).unwrap();
    store.close();
}

/// What is found, and that an excerpt of it is caught too.
fn found(path: &Path) -> Verification {
    let key = key(1).verifying_key();
    let found = verify(path, Some(&key), &mut |_| {}).unwrap();
    let mut bytes = Vec::new();
    excerpt(path, &mut bytes, &mut |_| true).unwrap();
    let again = verify_excerpt(&mut bytes.as_slice(), Some(&key), &mut |_| {});
    assert!(!again.is_ok_and(|again| again.is_intact()), "an excerpt of it passes");
    found
}

fn bad(path: &Path, seq: u64, why: &str) {
    let bad = found(path).first_bad.expect("something is wrong");
    assert!(bad.seq == seq && bad.why.contains(why), "{bad:?} is not {seq}: {why}");
}

#[test]
fn rewritten_as_it_was_it_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let records = records(&path);
    rewrite(&path, &records);
    let key = key(1).verifying_key();
    let found = verify(&path, Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_whole() && found.verified_through == Some(12), "{found}");
}

#[test]
fn an_excerpt_takes_for_lost_what_no_signed_record_calls_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let records = records(&path);
    let held = |seq| match seq {
        2 | 3 => Held::Leaf,
        6 => Held::Nothing,
        _ => Held::Whole,
    };
    rewrite_held(&path, &records, held);
    let mut seen = Vec::new();
    let mut see = |record: &Record| {
        seen.push(record.seq);
        true
    };
    let taken = excerpt(&path, &mut Vec::new(), &mut see).unwrap();
    assert_eq!(seen, [1, 4, 5, 7, 8, 9, 10, 11, 12]);
    let lost: Vec<_> = taken.lost.iter().map(|lost| (lost.first, lost.last, &*lost.why)).collect();
    let leaves = "only its leaf hash is there, and no signed record says that it was pruned";
    assert_eq!(lost, [(2, 3, leaves), (6, 6, "it was lost")]);
    // What stands beside them tells when they were.
    assert!(taken.lost.iter().all(|lost| lost.before.is_some() && lost.after.is_some()));
    assert_eq!((taken.records, taken.withheld, taken.more_lost), (9, 0, 0));
}

#[test]
fn two_records_exchanged_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let mut records = records(&path);
    records.swap(4, 5);
    rewrite(&path, &records);
    bad(&path, 5, "in its place stands record 6");
}

#[test]
fn a_record_that_was_taken_out_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let mut records = records(&path);
    records.remove(5);
    rewrite(&path, &records);
    bad(&path, 6, "in its place stands record 7");
}

#[test]
fn a_record_that_stands_twice_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let mut records = records(&path);
    records.insert(6, records[5].clone());
    rewrite(&path, &records);
    bad(&path, 7, "in its place stands record 6");
}

#[test]
fn the_end_of_another_box_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (boxed(dir.path(), 1), boxed(dir.path(), 2));
    let mut spliced = records(&path);
    spliced.splice(5.., records(&other)[5..].to_vec());
    rewrite(&path, &spliced);
    // At the first checkpoint of the other: nobody here certified its key.
    bad(&path, 8, "unknown key");
}

#[test]
fn a_record_with_other_words_is_named_by_the_checkpoint_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let mut records = records(&path);
    let mut record = Record::decode(&records[5]).unwrap();
    let entry = Entry::Link(Link { reason: Some("nothing happened".to_owned()), up: true });
    record.body = entry.body().unwrap();
    records[5] = record.encode().unwrap();
    rewrite(&path, &records);
    bad(&path, 4, "records 4 to 8 do not lead to what the checkpoint there says");
}

#[test]
fn a_forged_checkpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let mut records = records(&path);
    let record = Record::decode(&records[7]).unwrap();
    let Ok(Some(Entry::Checkpoint(blob))) = record.entry() else { panic!("a checkpoint") };
    let checkpoint = Checkpoint::read(&blob.0, None).unwrap();
    // All of it true, but for who says so.
    let forged = checkpoint.into_entry(&Seal::Device(key(2))).unwrap();
    let forged = Record { body: forged.body().unwrap(), ..record };
    records[7] = forged.encode().unwrap();
    rewrite(&path, &records);
    bad(&path, 8, "unknown key");
}

#[test]
fn a_journal_of_an_earlier_build_goes_on_with_all_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = boxed(dir.path(), 1);
    let before = records(&path);
    // The blocks as they were: in a tree of sled's.
    let inner = path.join(STORE_DIR);
    let store = Store::open(&inner).unwrap();
    let (mut blocks, mut next) = (Vec::new(), 1);
    while let Some((key, bytes)) = store.block_from(next).unwrap() {
        next = key + 1;
        blocks.push((key, bytes));
    }
    store.close();
    for segment in crate::log::segments(&inner).unwrap().into_values() {
        std::fs::remove_file(segment).unwrap();
    }
    let config = sled::Config::new().path(&inner).mode(sled::Mode::LowSpace);
    let config = config.segment_size(crate::store::SEGMENT_BYTES).flush_every_ms(None);
    let mut db = config.open();
    // sled's own threads let go of its lock a little after it was closed.
    for _ in 0..1000 {
        if db.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        db = config.open();
    }
    let db = db.unwrap();
    let tree = db.open_tree("blocks").unwrap();
    for (key, bytes) in blocks {
        tree.insert(key.to_be_bytes(), bytes).unwrap();
    }
    db.flush().unwrap();
    drop((tree, db));

    let key = key(1).verifying_key();
    let found = verify(&path, Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_whole() && found.records == 12, "{found} {:?}", found.notes);
    let opened = Journal::open(&path, options(1)).unwrap();
    assert!(opened.rebuilt && opened.quarantined.is_some());
    opened.journal.close().unwrap();
    let found = verify(&path, Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_whole() && found.missing.is_empty(), "{found} {:?}", found.notes);
    assert_eq!(records(&path)[..before.len()], before);
}
