//! What happens to a journal whose bytes were damaged: opened or put aside, never a panic,
//! and the damaged record is named. Every run prints its seed; `NOOTERRA_SEED` repeats one.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, Dice, copy_dir, fact, log, sample, seed};
use nooterra_blackbox::{Follow, Journal, TailFrom, VerifyError, excerpt, locate, tail, verify};
use nooterra_evidence::{Record, Verification};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::keys::Signer as _;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A journal of three starts (the second ends without a clean mark), with records of all
/// sizes in many blocks, so that the store has written its leaves more than once.
fn boxed(bench: &Bench, dice: &mut Dice) -> u64 {
    for start in 0..3 {
        let opened = bench.open();
        let handle = opened.journal.handle();
        for i in 0..120 {
            let size = dice.index(3000);
            handle.append(log(&format!("{start}.{i}"), size)).unwrap();
            if dice.roll(3) == 0 {
                handle.append(sample(0.5)).unwrap();
            }
            if dice.roll(4) == 0 {
                handle.append_durable(fact("f")).unwrap();
            }
        }
        if start == 1 {
            handle.append_durable(fact("last words")).unwrap();
            drop(opened.journal);
        } else {
            opened.journal.close().unwrap();
        }
    }
    let opened = bench.open();
    let records = opened.journal.handle().records();
    opened.journal.close().unwrap();
    records
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

fn digest_of(dir: &Path) -> Digest {
    let mut all = Vec::new();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        all.extend_from_slice(path.to_str().unwrap().as_bytes());
        if path.is_dir() {
            all.extend_from_slice(digest_of(&path).as_bytes());
        } else {
            all.extend_from_slice(&fs::read(&path).unwrap());
        }
    }
    Digest::of(&all)
}

/// Opens damaged bytes as an agent would. Whatever they are, a journal comes out.
fn opens(bench: &Bench, dir: &Path) -> bool {
    let opened = Journal::open(dir, bench.options.clone()).unwrap();
    let handle = opened.journal.handle();
    handle.append_durable(fact("after")).unwrap();
    let kept = opened.quarantined.is_none() || opened.rebuilt;
    if let Some(aside) = &opened.quarantined {
        assert!(aside.join("store").join("db").exists());
        assert!(opened.quarantine_reason.is_some() && !opened.clean);
    }
    opened.journal.close().unwrap();
    let found = check(bench, dir);
    assert!(found.is_intact(), "{found} {:?}", found.notes);
    kept
}

#[test]
fn a_flipped_bit_in_any_record_names_that_record() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let records = boxed(&bench, &mut dice);
    let whole = check(&bench, &bench.path());
    assert!(whole.is_intact(), "{whole}");
    let copy = bench.dir.path().join("copy");
    for round in 0..60 {
        // The first, the last, and others by chance.
        let seq = match round {
            0 => 1,
            1 => records,
            _ => 1 + dice.roll(records),
        };
        copy_dir(&bench.path(), &copy);
        let place = locate(&copy, seq).unwrap();
        let offset = place.offset + dice.roll(place.len as u64);
        flip(&place.path, offset, dice.roll(8));
        let found = check(&bench, &copy);
        let bad = found.first_bad.unwrap_or_else(|| panic!("record {seq} at {offset}: not seen"));
        assert_eq!(bad.seq, seq, "record {seq} at {offset}: {}", bad.why);
        assert!(found.verified_through.unwrap_or(0) < seq);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_a_journal_that_was_never_closed_is_named_too() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let opened = bench.open();
    let handle = opened.journal.handle();
    for i in 0..40 {
        handle.append_durable(log(&format!("{i}"), 2000)).unwrap();
    }
    // Copied as it stands on the disk while the agent runs.
    for _ in 0..25 {
        let copy = bench.dir.path().join("copy");
        copy_dir(&bench.path(), &copy);
        let seq = 1 + dice.roll(40);
        let place = locate(&copy, seq).unwrap();
        flip(&place.path, place.offset + dice.roll(place.len as u64), dice.roll(8));
        let found = check(&bench, &copy);
        match found.first_bad {
            Some(bad) => assert_eq!(bad.seq, seq, "{}", bad.why),
            // The very last write of the store repeats older blocks. Damaged, it looks like a
            // write that a power cut tore; the records are whole in the copies before it.
            None => assert!(
                found.notes.iter().any(|note| note.contains("torn by a power cut")),
                "{:?}",
                found.notes
            ),
        }
        fs::remove_dir_all(&copy).unwrap();
    }
}

/// A journal that an agent has open, with room made ahead in its newest segment; where its blocks
/// begin and end there.
fn reserved(bench: &Bench) -> (PathBuf, Vec<usize>) {
    let opened = bench.open();
    let handle = opened.journal.handle();
    for i in 0..5 {
        handle.append_durable(log(&format!("{i}"), 2000)).unwrap();
    }
    let copy = bench.dir.path().join("copy");
    copy_dir(&bench.path(), &copy);
    let path = copy.join("store").join("log-0000000000000001");
    let bytes = fs::read(&path).unwrap();
    let starts = memchr::memmem::find_iter(&bytes, b"NOOTBLK\x01");
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(bytes.len() > end + 10_000, "zeros stand ahead");
    (copy, starts.chain([end]).collect())
}

#[test]
fn a_copy_of_a_journal_that_is_written_verifies_and_a_torn_write_in_it_is_told_as_one() {
    let bench = Bench::new();
    let (copy, places) = reserved(&bench);
    let path = copy.join("store").join("log-0000000000000001");
    let whole = check(&bench, &copy);
    assert!(whole.is_intact() && whole.notes.is_empty(), "{whole} {:?}", whole.notes);
    let bytes = fs::read(&path).unwrap();
    let [.., start, end] = places[..] else { panic!("some blocks") };
    let last = tail(&copy, TailFrom::Last(1)).unwrap().next().unwrap().seq;
    // Every beginning of the last write that is as long as so many sectors, or every end.
    let first_sector = start.next_multiple_of(512);
    for at in (first_sector..end).step_by(512) {
        for gone in [at..end, start..at, at..(at + 512).min(end)] {
            let mut torn = bytes.clone();
            torn[gone.clone()].fill(0);
            fs::write(&path, torn).unwrap();
            let found = check(&bench, &copy);
            assert!(found.is_intact(), "{gone:?} of {start}..{end}: {found} {:?}", found.notes);
            assert_eq!(found.records, last - 1, "{gone:?} of {start}..{end}");
            // Of one that has lost its beginning nothing says that there was a block.
            let told = found.notes.iter().any(|note| note.contains("torn by a power cut"));
            assert_eq!(told, gone.start > start, "{gone:?} of {start}..{end}: {:?}", found.notes);
            let records = tail(&copy, TailFrom::Seq(1)).unwrap();
            assert!(records.map(|record| record.record.unwrap().seq).eq(1..last));
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_write_before_the_room_ahead_is_damage_and_no_end() {
    let bench = Bench::new();
    let (copy, places) = reserved(&bench);
    let path = copy.join("store").join("log-0000000000000001");
    let [.., start, end] = places[..] else { panic!("some blocks") };
    let last = tail(&copy, TailFrom::Last(1)).unwrap().next().unwrap().seq;
    let place = locate(&copy, last).unwrap();
    let record = usize::try_from(place.offset).unwrap();
    for at in (record..end).step_by(97).chain([end - 1]) {
        flip(&path, at as u64, 3);
        let found = check(&bench, &copy);
        assert_eq!(found.first_bad.map(|bad| bad.seq), Some(last), "byte {at}");
        flip(&path, at as u64, 3);
    }
    // In its frame, which says what is where; but for its magic and its number, without which it
    // is none.
    let length = (start + 76..start + 80).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    for (at, bit) in (start + 16..start + 125).map(|at| (at, 3)).chain(length) {
        flip(&path, at as u64, bit);
        let found = check(&bench, &copy);
        assert!(!found.is_intact(), "bit {bit} of byte {at} of the block at {start}: {found}");
        flip(&path, at as u64, bit);
    }
    // In the room itself: nothing is altered that anybody wrote.
    flip(&path, end as u64 + 700, 3);
    assert!(check(&bench, &copy).is_intact());
}

#[test]
fn a_block_that_is_just_being_written_is_beyond_the_end_to_every_reader() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    for i in 0..5 {
        handle.append_durable(log(&format!("{i}"), 2000)).unwrap();
    }
    let last = handle.append_durable(log("last", 1500)).unwrap();
    let dir = bench.path();
    let path = dir.join("store").join("log-0000000000000001");
    let whole = fs::read(&path).unwrap();
    let start = memchr::memmem::rfind(&whole, b"NOOTBLK\x01").unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let length = end - start;
    assert!(whole.len() > end + 10_000, "it is written where zeros stand");
    let file = fs::File::options().write(true).open(&path).unwrap();
    let put = |bytes: &[u8]| file.write_all_at(&bytes[start..end], start as u64).unwrap();
    // What another process may see of it: its beginning, up to any byte; or where it reads the
    // first part before and the second after it was written, its end; or both without a middle.
    let beginnings = [4, 8, 12, 16, 60, 79, 88, 100, 125, 126, 400, length - 9, length - 1];
    let halves = beginnings.into_iter().map(|at| at..length);
    let halves = halves.chain([0..40, 0..length / 2, 128..160, 90..100, 700..900]);
    for gone in halves {
        let mut half = whole.clone();
        half[start + gone.start..start + gone.end].fill(0);
        put(&half);
        let found = check(&bench, &dir);
        assert!(found.is_intact(), "{gone:?}: {found} {:?}", found.notes);
        assert_eq!(found.records, last - 1, "{gone:?}");
        // As far as it can be seen that there is a block.
        let told = found.notes.iter().any(|note| note.contains("it is being written"));
        assert_eq!(told, gone.start >= 8, "{gone:?}: {:?}", found.notes);
        for (from, first) in [(TailFrom::Seq(1), 1), (TailFrom::Last(1), last - 1)] {
            let records = tail(&dir, from).unwrap().map(|record| record.record.unwrap().seq);
            assert!(records.eq(first..last), "{gone:?} from {from:?}");
        }
        let taken = excerpt(&dir, &mut std::io::sink(), &mut |_| true).unwrap();
        assert_eq!((taken.records, taken.lost), (last - 1, Vec::new()), "{gone:?}");
        let mut follow = Follow::new(&dir, last - 1).unwrap();
        let seen: Vec<u64> = follow.poll().unwrap().iter().map(|record| record.seq).collect();
        assert_eq!(seen, [last - 1], "{gone:?}");
        put(&whole);
        let seen: Vec<u64> = follow.poll().unwrap().iter().map(|record| record.seq).collect();
        assert_eq!(seen, [last], "{gone:?}");
    }
    let found = check(&bench, &dir);
    assert!(found.is_intact() && found.records == last && found.notes.is_empty(), "{found}");
    // The same where nobody writes is damage: no sector of it is missing.
    let copy = bench.dir.path().join("copy");
    copy_dir(&dir, &copy);
    let half = copy.join("store").join("log-0000000000000001");
    let zeros = fs::File::options().write(true).open(half).unwrap();
    zeros.write_all_at(&[0; 32], start as u64 + 128).unwrap();
    assert_eq!(check(&bench, &copy).first_bad.unwrap().seq, last);
    opened.journal.close().unwrap();
}

#[test]
fn located_bytes_are_the_record() {
    let (bench, mut dice) = (Bench::new(), Dice(3));
    let records = boxed(&bench, &mut dice);
    for seq in [1, 2, records / 2, records] {
        let place = locate(&bench.path(), seq).unwrap();
        let mut bytes = vec![0; place.len];
        fs::File::open(&place.path).unwrap().read_exact_at(&mut bytes, place.offset).unwrap();
        assert_eq!(Record::decode(&bytes).unwrap().seq, seq);
    }
    let beyond = locate(&bench.path(), records + 1);
    assert!(matches!(beyond, Err(VerifyError::NoSuchRecord(_))), "{beyond:?}");
}

#[test]
fn a_flipped_bit_anywhere_in_any_file_never_panics_and_is_never_called_another_record() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let records = boxed(&bench, &mut dice);
    let copy = bench.dir.path().join("copy");
    let (mut kept, mut rounds) = (0, 0);
    for _ in 0..30 {
        copy_dir(&bench.path(), &copy);
        let store = copy.join("store");
        let files: Vec<PathBuf> = fs::read_dir(&store)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0)
            .collect();
        let path = &files[dice.index(files.len())];
        let used = fs::metadata(path).unwrap().len();
        flip(path, dice.roll(used), dice.roll(8));
        let found = check(&bench, &copy);
        assert!(found.records <= records);
        tail(&copy, TailFrom::Last(5)).unwrap().for_each(drop);
        kept += u32::from(opens(&bench, &copy));
        rounds += 1;
        for entry in fs::read_dir(bench.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("copy") && path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }
    println!("{kept} of {rounds} were continued, the others put aside");
}

#[test]
fn a_truncated_journal_opens_or_is_put_aside_and_what_is_missing_is_said() {
    let (bench, mut dice) = (Bench::new(), Dice(seed()));
    let records = boxed(&bench, &mut dice);
    let copy = bench.dir.path().join("copy");
    let mut kept = 0;
    for _ in 0..25 {
        copy_dir(&bench.path(), &copy);
        let store = fs::read_dir(copy.join("store")).unwrap();
        let mut files: Vec<PathBuf> =
            store.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        files.sort();
        let path = &files[dice.index(files.len())];
        let length = fs::metadata(path).unwrap().len();
        let cut = dice.roll(length);
        fs::File::options().write(true).open(path).unwrap().set_len(cut).unwrap();
        let found = check(&bench, &copy);
        assert!(found.records <= records, "cut at {cut}");
        tail(&copy, TailFrom::Last(3)).unwrap().for_each(drop);
        kept += u32::from(opens(&bench, &copy));
        for entry in fs::read_dir(bench.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("copy") && path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }
    println!("{kept} of 25 were continued, the others put aside");
}

#[test]
fn a_journal_without_its_id_is_put_aside_and_still_verifies() {
    let bench = Bench::new();
    let opened = bench.open();
    opened.journal.handle().append_durable(fact("x")).unwrap();
    opened.journal.close().unwrap();
    fs::write(bench.path().join("journal"), "scribble").unwrap();
    assert!(check(&bench, &bench.path()).is_intact());
    let again = bench.open();
    let aside = again.quarantined.expect("put aside");
    assert!(aside.ends_with("journal.bad-1"));
    assert!(check(&bench, &aside).is_intact());
    // A checkpoint says which journal it is.
    assert_eq!((again.boot, again.clean, again.rebuilt), (2, false, true));
    again.journal.close().unwrap();
    assert!(check(&bench, &bench.path()).is_whole());
}

#[test]
fn looking_at_a_journal_changes_no_byte_of_it() {
    let (bench, mut dice) = (Bench::new(), Dice(5));
    boxed(&bench, &mut dice);
    let before = digest_of(&bench.path());
    check(&bench, &bench.path());
    locate(&bench.path(), 3).unwrap();
    tail(&bench.path(), TailFrom::Last(3)).unwrap().for_each(drop);
    assert_eq!(digest_of(&bench.path()), before);
    // And leaves nothing behind beside it.
    let beside: Vec<_> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(beside.iter().all(|name| name.starts_with("journal")), "{beside:?}");
}

#[test]
fn a_tail_ends_at_the_last_record() {
    let (bench, mut dice) = (Bench::new(), Dice(6));
    let records = boxed(&bench, &mut dice);
    let seqs: Vec<u64> =
        tail(&bench.path(), TailFrom::Last(4)).unwrap().map(|record| record.seq).collect();
    assert_eq!(seqs, [records - 3, records - 2, records - 1, records]);
    assert_eq!(tail(&bench.path(), TailFrom::Seq(1)).unwrap().count() as u64, records);
    assert_eq!(tail(&bench.path(), TailFrom::Seq(records + 1)).unwrap().count(), 0);
}

#[test]
fn a_journal_in_use_verifies() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let writer = {
        let handle = handle.clone();
        std::thread::spawn(move || {
            for i in 0..3000 {
                while handle.append(log(&format!("{i}"), 400)).is_err() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        })
    };
    while !writer.is_finished() {
        let written = handle.records();
        let found = check(&bench, &bench.path());
        assert!(found.is_intact(), "{found} {:?}", found.notes);
        assert!(found.records >= written);
    }
    writer.join().unwrap();
}
