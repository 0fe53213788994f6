//! What can be had from a journal without its agent: proofs, excerpts, what follows, and what is
//! left of a damaged one.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, copy_dir, eventually, fact, log, sample};
use nooterra_blackbox::{
    ExcerptError, Follow, Journal, ProveError, SalvageError, TailFrom, excerpt, locate, prove,
    prove_consistency, salvage, tail, verify, verify_each, verify_excerpt,
};
use nooterra_evidence::proof::{Proof, Shown};
use nooterra_evidence::{Record, Verification};
use nooterra_protocol::keys::{Es256Key, Signer as _};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// The first segments of the log.
const FIRST: &str = "log-0000000000000001";
const SECOND: &str = "log-0000000000000002";

/// A closed journal of two starts with checkpoints every 100 records; how many records.
fn boxed(bench: &mut Bench, each: u64) -> u64 {
    bench.options.checkpoint_every_records = 100;
    for start in 0..2 {
        let opened = bench.open();
        let handle = opened.journal.handle();
        for i in 0..each {
            bench.clock.advance(Duration::from_millis(20));
            let text = format!("{start}.{i}");
            let entry = if i % 10 == 9 { fact(&text) } else { log(&text, 200) };
            eventually("there is room", || handle.append(entry.clone()).is_ok());
        }
        handle.append_durable(sample(1.0)).unwrap();
        opened.journal.close().unwrap();
    }
    let records = tail(&bench.path(), TailFrom::Last(1)).unwrap().last().unwrap().seq;
    assert!(check(bench, &bench.path()).is_whole());
    records
}

fn check(bench: &Bench, dir: &Path) -> Verification {
    verify(dir, Some(&bench.key.verifying_key()), &mut |_| {}).unwrap()
}

fn shows(bench: &Bench, proof: &Proof) -> Shown {
    let again = Proof::decode(&proof.encode().unwrap()).unwrap();
    again.check(Some(&bench.key.verifying_key())).unwrap()
}

#[test]
fn every_record_under_a_checkpoint_is_proved_by_itself() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 700);
    for seq in [1, 2, 99, 100, 101, 255, 256, 257, 512, 700, 1000, records - 1] {
        let shown = shows(&bench, &prove(&bench.path(), seq).unwrap());
        assert_eq!(Record::decode(&shown.records[0]).unwrap().seq, seq);
        assert_eq!(shown.checkpoint.size, records - 1, "the newest checkpoint");
    }
    // The last record is a checkpoint, under none itself.
    assert!(matches!(prove(&bench.path(), records), Err(ProveError::Beyond(_))));
    assert!(matches!(prove(&bench.path(), records + 9), Err(ProveError::Gone(_))));
    assert!(matches!(prove(&bench.path(), 0), Err(ProveError::Gone(_))));
}

#[test]
fn a_running_journal_proves_too_and_the_roots_that_are_kept_are_those_of_the_tree() {
    let mut bench = Bench::new();
    boxed(&mut bench, 700);
    let opened = bench.open();
    let handle = opened.journal.handle();
    for i in 0..600 {
        eventually("there is room", || handle.append(log(&format!("{i}"), 100)).is_ok());
    }
    let last = handle.append_durable(fact("last")).unwrap();
    for seq in [3, 300, 900, last - 150] {
        assert!(shows(&bench, &handle.prove(seq).unwrap()).records.len() == 1);
    }
    let shown = shows(&bench, &handle.prove_consistency(101).unwrap());
    assert_eq!(shown.older.unwrap().size, 100);
    assert!(shown.checkpoint.size > 1400);
    opened.journal.close().unwrap();
}

#[test]
fn a_checkpoint_continues_every_one_before_it() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 300);
    let checkpoints: Vec<u64> = tail(&bench.path(), TailFrom::Seq(1))
        .unwrap()
        .filter(|record| record.record.as_ref().unwrap().kind == "checkpoint")
        .map(|record| record.seq)
        .collect();
    assert!(checkpoints.len() >= 6);
    for seq in &checkpoints {
        let shown = shows(&bench, &prove_consistency(&bench.path(), *seq).unwrap());
        assert_eq!(shown.older.unwrap().size, seq - 1);
        assert_eq!(shown.checkpoint.size, records - 1);
    }
    let refused = prove_consistency(&bench.path(), 1);
    assert!(matches!(refused, Err(ProveError::NoCheckpoint(1))), "{refused:?}");
}

#[test]
fn a_damaged_journal_proves_what_it_still_can_and_nothing_wrong() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 300);
    let place = locate(&bench.path(), 450).unwrap();
    let file = fs::File::options().write(true).open(&place.path).unwrap();
    file.write_all_at(&[0xff; 4], place.offset + 20).unwrap();
    // Whatever is proved holds; the altered record never is.
    for seq in (1..records).step_by(37).chain([450]) {
        if let Ok(proof) = prove(&bench.path(), seq) {
            assert_ne!(seq, 450);
            shows(&bench, &proof);
        }
    }
    // What an earlier checkpoint covers is proved by that one.
    assert!(prove(&bench.path(), 20).is_ok());
}

#[test]
fn an_excerpt_shows_what_was_chosen_and_proves_it() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 300);
    let (mut whole, mut some) = (Vec::new(), Vec::new());
    let taken = excerpt(&bench.path(), &mut whole, &mut |_| true).unwrap();
    assert_eq!((taken.records, taken.withheld), (records, 0));
    let taken = excerpt(&bench.path(), &mut some, &mut |record| record.kind == "fact").unwrap();
    assert!(taken.withheld > 500 && taken.records + taken.withheld == records);
    assert!(some.len() < whole.len() / 2);
    let key = bench.key.verifying_key();
    let found = verify_excerpt(&mut whole.as_slice(), Some(&key), &mut |_| {}).unwrap();
    assert_eq!((found.records, found.withheld), (records, 0));
    assert_eq!(found.verified_through, Some(records));
    let found = verify_excerpt(&mut some.as_slice(), Some(&key), &mut |_| {}).unwrap();
    assert_eq!((found.records, found.withheld), (taken.records, taken.withheld));
    assert!(found.is_whole() && found.verified_through == Some(records), "{found}");
    assert!(found.to_string().contains("withheld"), "{found}");
    // A stranger's key, a flipped bit, a cut: never verified.
    let stranger = Es256Key::from_seed([9; 32]).unwrap().verifying_key();
    let found = verify_excerpt(&mut some.as_slice(), Some(&stranger), &mut |_| {}).unwrap();
    assert!(!found.is_intact() && found.verified_through.is_none());
    for at in (0..some.len()).step_by(some.len() / 97) {
        let mut altered = some.clone();
        altered[at] ^= 4;
        match verify_excerpt(&mut altered.as_slice(), Some(&key), &mut |_| {}) {
            Err(ExcerptError::Damaged(_)) => {}
            // The counters of a block that no record rests on are covered by its CRC.
            found => assert!(!found.unwrap().is_intact(), "byte {at}"),
        }
        let cut = verify_excerpt(&mut &some[..at], Some(&key), &mut |_| {});
        assert!(cut.is_err() || cut.is_ok_and(|found| !found.is_intact()), "cut at {at}");
    }
}

#[test]
fn an_excerpt_of_a_damaged_journal_names_what_it_could_not_read_and_hands_on_the_rest() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 60);
    for seq in [43, 44, 50] {
        let place = locate(&bench.path(), seq).unwrap();
        let file = fs::File::options().read(true).write(true).open(&place.path).unwrap();
        // In the middle of its words: it reads as a record all the same, and not as this one.
        let (at, mut byte) = (place.offset + place.len as u64 / 2, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    let (mut seen, mut bytes) = (Vec::new(), Vec::new());
    let mut see = |record: &Record| {
        seen.push(record.seq);
        true
    };
    let taken = excerpt(&bench.path(), &mut bytes, &mut see).unwrap();
    let lost: Vec<_> = taken.lost.iter().map(|lost| (lost.first, lost.last)).collect();
    assert_eq!(lost, [(43, 44), (50, 50)], "{:?}", taken.lost);
    assert!(seen.iter().copied().eq((1..=records).filter(|seq| ![43, 44, 50].contains(seq))));
    let at = |seq| {
        let record = tail(&bench.path(), TailFrom::Seq(seq)).unwrap().next().unwrap();
        Some(record.record.unwrap().stamp)
    };
    assert_eq!((taken.lost[0].before, taken.lost[0].after), (at(42), at(45)));
    // Who verifies it is handed the same, and told of the first that is wrong.
    let (mut again, key) = (Vec::new(), bench.key.verifying_key());
    let mut each = |record: &Record| again.push(record.seq);
    let found = verify_each(&mut bytes.as_slice(), Some(&key), &mut each, &mut |_| {}).unwrap();
    assert_eq!(again, seen);
    assert_eq!(found.first_bad.unwrap().seq, 43);
    // The end of the newest file goes: the journal knows that there was more.
    let segment = bench.path().join("store").join(FIRST);
    let length = fs::metadata(&segment).unwrap().len();
    fs::File::options().write(true).open(&segment).unwrap().set_len(length / 2).unwrap();
    let taken = excerpt(&bench.path(), &mut std::io::sink(), &mut |_| true).unwrap();
    assert_eq!(taken.lost.last().map(|lost| (lost.last, lost.after)), Some((records, None)));
}

#[test]
fn a_follower_sees_every_record_once_and_in_order_while_they_are_written() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    handle.append_durable(log("before", 10)).unwrap();
    let mut follow = Follow::new(&bench.path(), 1).unwrap();
    let mut seen: Vec<u64> = Vec::new();
    for round in 0..60 {
        for i in 0..40 {
            let entry = log(&format!("{round}.{i}"), 3000);
            eventually("there is room", || handle.append(entry.clone()).is_ok());
        }
        handle.append_durable(fact("now")).unwrap();
        seen.extend(follow.poll().unwrap().iter().map(|record| {
            assert!(record.record.is_ok(), "{record:?}");
            record.seq
        }));
        // All of it is in the file when it was acknowledged.
        assert!(seen.len() as u64 >= handle.records() - 1, "round {round}");
    }
    assert!(seen.iter().copied().eq(1..=seen.len() as u64));
    // Across the ends of segments, too.
    assert!(bench.path().join("store").join(SECOND).exists());
    opened.journal.close().unwrap();
}

#[test]
fn a_damaged_journal_is_salvaged_and_left_as_it_was() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 300);
    let damaged = bench.dir.path().join("damaged");
    copy_dir(&bench.path(), &damaged);
    for seq in [100, 400] {
        let place = locate(&damaged, seq).unwrap();
        let file = fs::File::options().write(true).open(&place.path).unwrap();
        file.write_all_at(&[0xff; 4], place.offset + 20).unwrap();
    }
    let before = fs::read(damaged.join("store").join(FIRST)).unwrap();
    let out = bench.dir.path().join("out/salvaged");
    fs::create_dir(out.parent().unwrap()).unwrap();
    let key = bench.key.verifying_key();
    let found = salvage(&damaged, &out, Some(&key)).unwrap();
    assert_eq!(found.missing, [(100, 100), (400, 400)]);
    assert_eq!((found.records, found.end_is_unknown), (records - 2, false));
    assert!(fs::read(damaged.join("store").join(FIRST)).unwrap() == before);
    assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1);
    // It names what nobody signed for yet; an agent that goes on with it signs.
    assert_eq!(check(&bench, &out).first_bad.unwrap().seq, 100);
    let opened = Journal::open(&out, bench.options.clone()).unwrap();
    assert!(opened.quarantined.is_none());
    opened.journal.close().unwrap();
    let again = check(&bench, &out);
    assert!(again.is_intact() && again.missing.len() == 2, "{again}");
    let refused = salvage(&damaged, &out, Some(&key));
    assert!(matches!(refused, Err(SalvageError::Occupied(_))), "{refused:?}");
}

#[test]
fn a_bare_file_and_a_folder_of_files_are_salvaged_too() {
    let mut bench = Bench::new();
    let records = boxed(&mut bench, 60);
    let log = bench.path().join("store").join(FIRST);
    let out = bench.dir.path().join("from-file");
    let found = salvage(&log, &out, None).unwrap();
    assert_eq!(found.records, records);
    assert!(check(&bench, &out).is_whole() || found.end_is_unknown);
    let folder = bench.dir.path().join("lost+found");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("#1"), "something else").unwrap();
    fs::copy(&log, folder.join("#2")).unwrap();
    let found = salvage(&folder, &bench.dir.path().join("from-folder"), None).unwrap();
    assert_eq!(found.records, records);
    fs::remove_file(folder.join("#2")).unwrap();
    let nothing = salvage(&folder, &bench.dir.path().join("nothing"), None);
    assert!(matches!(nothing, Err(SalvageError::Nothing(_))), "{nothing:?}");
    assert!(!bench.dir.path().join("nothing").exists());
}
