//! The journal keeps within its bound: what goes first, what stays, and what is said of it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, eventually, fact, log, sample};
use nooterra_blackbox::{JournalHandle, Quota, TailFrom, excerpt, tail, verify};
use nooterra_evidence::absence::Statement as _;
use nooterra_evidence::{Prune, Record, Tree, Verification, leaf_hash};
use nooterra_protocol::entry::Class;
use nooterra_protocol::keys::Signer as _;
use std::collections::BTreeMap;

const MIB: u64 = 1024 * 1024;

fn check(bench: &Bench) -> Verification {
    verify(&bench.path(), Some(&bench.key.verifying_key()), &mut |_| {}).unwrap()
}

fn readable(bench: &Bench) -> BTreeMap<u64, Record> {
    let records = tail(&bench.path(), TailFrom::Seq(1)).unwrap();
    records.filter_map(|found| Some((found.seq, found.record.ok()?))).collect()
}

fn count(records: &BTreeMap<u64, Record>, class: Class, kind: &str) -> usize {
    records.values().filter(|record| record.class == class && record.kind == kind).count()
}

fn prunes(bench: &Bench, records: &BTreeMap<u64, Record>) -> Vec<Prune> {
    let key = bench.key.verifying_key();
    let prunes = records.values().filter(|record| record.kind == Prune::KIND);
    prunes.map(|record| Prune::read(&record.body, Some(&key)).unwrap()).collect()
}

fn small(bench: &mut Bench) {
    bench.options.checkpoint_every_records = 50;
    bench.options.quota = Quota {
        bulk_bytes: Some(20_000),
        critical_bytes: Some(20_000),
        normal_bytes: Some(100_000),
        ..Quota::default()
    };
}

fn work(handle: &JournalHandle, rounds: u32, ack: bool) {
    for i in 0..rounds {
        handle.append(log(&format!("{i}"), 700)).unwrap();
        handle.append(sample(f64::from(i))).unwrap();
        let seq = handle.append_durable(fact(&format!("{i:>200}"))).unwrap();
        if ack {
            handle.set_acked(Class::Critical, seq);
        }
    }
}

/// Counted in turns of the writer, however long one takes: it prunes between any two.
fn settled(handle: &JournalHandle) {
    let kept = || {
        let usage = handle.usage().unwrap();
        (usage.bulk_bytes, usage.critical_bytes, usage.normal_bytes, usage.pruned_through)
    };
    let (mut last, mut same) = (kept(), 0);
    eventually("nothing more is pruned", || {
        for _ in 0..2 {
            handle.put_state("turn", b"").unwrap();
        }
        let now = kept();
        same = if std::mem::replace(&mut last, now) == now { same + 1 } else { 0 };
        same >= 10
    });
}

#[test]
fn each_class_keeps_within_its_quota_and_the_newest_records_stay() {
    let mut bench = Bench::new();
    small(&mut bench);
    let opened = bench.open();
    let handle = opened.journal.handle();
    work(&handle, 600, true);
    settled(&handle);
    let usage = handle.usage().unwrap();
    assert!(usage.bulk_bytes < 40_000 && usage.normal_bytes < 140_000, "{usage:?}");
    assert!(usage.critical_bytes < 80_000 && usage.pruned_through > 0, "{usage:?}");
    opened.journal.close().unwrap();
    let found = check(&bench);
    assert!(found.is_whole() && found.pruned > 1000, "{found} {:?}", found.notes);
    assert!(found.to_string().contains("pruned"), "{found}");
    let records = readable(&bench);
    // To an excerpt nothing of that is lost: a signed record says that it was pruned.
    let taken = excerpt(&bench.path(), &mut std::io::sink(), &mut |_| true).unwrap();
    assert_eq!((taken.lost, taken.more_lost), (Vec::new(), 0));
    assert_eq!(taken.records, records.len() as u64);
    assert!(records.contains_key(records.keys().next_back().unwrap()));
    let facts = count(&records, Class::Critical, "fact");
    assert!((20..600).contains(&facts), "{facts}");

    // It goes on after another start, and says how far it was pruned.
    let again = bench.open();
    assert!(again.clean && again.quarantined.is_none());
    assert_eq!(again.journal.handle().usage().unwrap().pruned_through, usage.pruned_through);
    work(&again.journal.handle(), 50, true);
    again.journal.close().unwrap();
    assert!(check(&bench).is_whole());
}

#[test]
fn critical_records_that_nobody_acknowledged_outlive_everything_else() {
    let mut bench = Bench::new();
    small(&mut bench);
    let opened = bench.open();
    let handle = opened.journal.handle();
    work(&handle, 400, false);
    settled(&handle);
    opened.journal.close().unwrap();
    let records = readable(&bench);
    assert_eq!(count(&records, Class::Critical, "fact"), 400);
    assert!(count(&records, Class::Bulk, "sample") < 300);
    assert!(count(&records, Class::Normal, "link") < 300);
    let prunes = prunes(&bench, &records);
    assert!(!prunes.is_empty() && prunes.iter().all(|prune| prune.forced.is_none()));
    // What stands between the pruned records is still chained to what was signed.
    let found = check(&bench);
    assert!(found.is_whole() && found.verified_through == Some(found.records + found.pruned));
}

#[test]
fn what_was_pruned_can_be_shown_by_who_kept_a_copy() {
    let mut bench = Bench::new();
    small(&mut bench);
    let opened = bench.open();
    let handle = opened.journal.handle();
    let mut leaves: BTreeMap<u64, _> = BTreeMap::new();
    for round in 0..40 {
        work(&handle, 10, false);
        // The cloud keeps what it takes.
        for class in Class::ALL {
            let mut after = 0;
            while let Some((last, _)) = handle.read_from(class, after, 1 << 20).unwrap().last() {
                for (seq, bytes) in handle.read_from(class, after, 1 << 20).unwrap() {
                    leaves.insert(seq, leaf_hash(&bytes));
                }
                after = *last;
            }
        }
        handle.set_acked(Class::Critical, handle.records());
        assert!(round < 100);
    }
    settled(&handle);
    opened.journal.close().unwrap();
    let records = readable(&bench);
    let prunes = prunes(&bench, &records);
    let prune = prunes.last().unwrap();
    assert!(prune.through > 100, "{prune:?}");
    let mut tree = Tree::default();
    for seq in 1..=prune.through {
        match leaves.get(&seq) {
            Some(leaf) => tree.push(*leaf),
            None => panic!("record {seq} was pruned before it was read"),
        }
    }
    assert_eq!(tree.subtrees(), prune.subtrees);
}

#[test]
fn the_disk_bound_holds_while_many_times_as_much_is_written() {
    let mut bench = Bench::new();
    bench.options.quota.disk_bytes = 48 * MIB;
    let opened = bench.open();
    let handle = opened.journal.handle();
    let (mut most, mut written) = (0, 0);
    while written < 160 * MIB {
        for i in 0..20_u32 {
            let entry = if i % 10 == 0 { sample(0.5) } else { log(&format!("{i}"), 40_000) };
            while handle.append(entry.clone()).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            written += 40_000;
        }
        let seq = handle.append_durable(fact("x")).unwrap();
        handle.set_acked(Class::Critical, seq);
        most = handle.usage().unwrap().disk_bytes.max(most);
    }
    println!("at most {} MiB on the disk, {} MiB written", most / MIB, written / MIB);
    assert!(most <= 48 * MIB, "{} MiB", most / MIB);
    assert!(handle.poisoned().is_none());
    opened.journal.close().unwrap();
    let found = check(&bench);
    assert!(found.is_whole() && found.pruned > 0, "{found}");
}

#[test]
fn only_when_nothing_else_is_left_do_unsent_critical_records_go_and_that_is_said() {
    let mut bench = Bench::new();
    bench.options.quota.disk_bytes = 48 * MIB;
    let opened = bench.open();
    let handle = opened.journal.handle();
    let large = "x".repeat(40_000);
    for _ in 0..700 {
        handle.append_durable(fact(&large)).unwrap();
    }
    settled(&handle);
    let usage = handle.usage().unwrap();
    assert!(usage.disk_bytes <= 48 * MIB, "{usage:?}");
    opened.journal.close().unwrap();
    let records = readable(&bench);
    let prunes = prunes(&bench, &records);
    let forced: Vec<_> = prunes.iter().filter_map(|prune| prune.forced).collect();
    assert!(!forced.is_empty() && forced[0].0 == 1, "{forced:?}");
    assert!(check(&bench).is_whole());
}

#[test]
fn a_record_that_was_taken_away_is_not_called_pruned() {
    let mut bench = Bench::new();
    small(&mut bench);
    let opened = bench.open();
    work(&opened.journal.handle(), 400, true);
    settled(&opened.journal.handle());
    opened.journal.close().unwrap();
    assert!(check(&bench).is_whole());
    // Its statements are another's: what is not there was taken away.
    let stranger = common::Key::new(9).verifying_key();
    let found = verify(&bench.path(), Some(&stranger), &mut |_| {}).unwrap();
    assert!(!found.is_intact(), "{found}");
    assert_eq!(found.first_bad.unwrap().seq, 1);
}

#[test]
fn what_a_class_must_keep_stays_until_the_disk_leaves_no_choice_and_what_is_too_old_goes() {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    let mut bench = Bench::new();
    small(&mut bench);
    bench.options.quota.keep_at_least = [None, Some(2 * DAY), None];
    bench.options.quota.keep_at_most = [None, None, Some(5 * DAY)];
    let opened = bench.open();
    let handle = opened.journal.handle();
    work(&handle, 300, true);
    settled(&handle);
    let young = handle.usage().unwrap();
    assert!(young.normal_bytes > 200_000, "younger than it must stay: {young:?}");
    assert!(young.bulk_bytes < 40_000, "its own bound holds for what has no such age: {young:?}");
    bench.clock.advance(3 * DAY);
    work(&handle, 10, true);
    settled(&handle);
    let older = handle.usage().unwrap();
    assert!(older.normal_bytes < 140_000, "its own bound holds again: {older:?}");
    bench.clock.advance(6 * DAY);
    handle.append_durable(fact("much later")).unwrap();
    settled(&handle);
    let last = handle.usage().unwrap();
    assert!(last.bulk_bytes == 0, "too old, though there is room: {last:?}");
    drop(handle);
    opened.journal.close().unwrap();
    assert!(check(&bench).is_intact());
}
