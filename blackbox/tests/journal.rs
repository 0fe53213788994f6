//! What a journal promises while nothing goes wrong, and while its queues are full.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, Key, copy_dir, eventually, fact, link, log, records_reach, sample, sample_at};
use nooterra_blackbox::{
    AppendError, CONTEXTS_KEPT, Context, ContextId, ControlRecord, Journal, OpenError,
    SampleRecord, StateError, StopRecord, TailFrom, VerdictRecord, tail, verify,
};
use nooterra_evidence::Record;
use nooterra_protocol::codec::{Blob, Digest, Value};
use nooterra_protocol::command::{Asked, Source, StopProfile};
use nooterra_protocol::entry::{Class, Entry, Rule, Verdict, VerdictPhase};
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, JournalId, ZoneId};
use nooterra_protocol::keys::Signer as _;
use nooterra_protocol::time::MonoNanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn verdict(context: ContextId, at: MonoNanos) -> VerdictRecord {
    VerdictRecord {
        allowed: Twist::ZERO.into(),
        asked: Asked::from(Twist::new(2.0, 0.0)),
        at,
        context,
        limit: 0.5,
        phase: VerdictPhase::Began,
        pose: Pose::default(),
        rule: Rule::ZoneKeepOut,
        source: Source::Operator,
        tick: 3,
        zone: Some(1),
    }
}

fn context(name: &str) -> Context {
    Context {
        job: Some(JobId::new(format!("job-{name}")).unwrap()),
        operator_command: Some(EnvelopeId::new(format!("env-{name}")).unwrap()),
        policy_hash: Digest::of(name.as_bytes()),
        zones: vec![ZoneId::new("yard").unwrap(), ZoneId::new("pond").unwrap()],
    }
}

fn verdicts(bench: &Bench) -> Vec<Verdict> {
    let records = tail(&bench.path(), TailFrom::Seq(1)).unwrap();
    let entries = records.map(|record| record.record.unwrap().entry().unwrap());
    entries
        .filter_map(|entry| match entry {
            Some(Entry::Verdict(verdict)) => Some(verdict),
            _ => None,
        })
        .collect()
}

#[test]
fn what_was_appended_is_there_after_a_clean_restart_and_verifies() {
    let bench = Bench::new();
    let opened = bench.open();
    assert!(opened.clean && opened.boot == 1 && opened.quarantined.is_none());
    let handle = opened.journal.handle();
    let id = handle.journal_id().clone();
    assert_eq!(handle.append_durable(fact("one")).unwrap(), 1);
    for i in 0..500 {
        handle.append(log(&format!("line {i}"), 100)).unwrap();
    }
    assert_eq!(handle.append_durable(fact("two")).unwrap(), 502);
    opened.journal.close().unwrap();
    assert_eq!(handle.append(fact("late")), Err(AppendError::Closed));
    assert_eq!(handle.append_durable(fact("late")), Err(AppendError::Closed));

    let again = bench.open();
    assert!(again.clean && again.boot == 2, "{again:?}");
    let handle = again.journal.handle();
    assert_eq!(*handle.journal_id(), id);
    // The checkpoint on closing is record 503.
    assert_eq!(handle.records(), 503);
    assert_eq!(handle.append_durable(fact("three")).unwrap(), 504);
    again.journal.close().unwrap();

    let mut seen = 0;
    let key = bench.key.verifying_key();
    let found = verify(&bench.path(), Some(&key), &mut |n| seen = n).unwrap();
    assert_eq!((found.records, found.checkpoints, seen), (505, 2, 505));
    assert_eq!(found.first_bad, None);
    assert_eq!(found.verified_through, Some(505));
    assert_eq!(found.journal, Some(id));
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn a_journal_that_was_not_closed_is_reported_and_loses_nothing_acknowledged() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    handle.append_durable(fact("kept")).unwrap();
    drop(opened.journal);
    let again = bench.open();
    assert!(!again.clean);
    assert_eq!((again.boot, again.journal.handle().records()), (2, 1));
    assert!(again.quarantined.is_none());
}

#[test]
fn a_second_agent_on_the_same_journal_is_refused() {
    let bench = Bench::new();
    let _first = bench.open();
    let second = Journal::open(&bench.path(), bench.options.clone());
    assert!(matches!(second, Err(OpenError::Locked(_))), "{second:?}");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    std::fs::write(bench.path().join("thesis.txt"), "three years").unwrap();
    let refused = Journal::open(&bench.path(), bench.options.clone());
    assert!(matches!(refused, Err(OpenError::NotAJournal(_))));
    assert!(bench.path().join("thesis.txt").exists());
    assert!(verify(&bench.path(), None, &mut |_| {}).is_err());
}

#[test]
fn an_empty_directory_and_a_cut_off_creation_become_a_journal() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    let unfinished = bench.dir.path().join("journal.new-00c0ffee");
    std::fs::create_dir(&unfinished).unwrap();
    assert_eq!(bench.open().boot, 1);
    assert!(!unfinished.exists());
}

#[test]
fn cursors_survive_never_go_back_and_never_pass_the_end() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    for i in 0..5 {
        handle.append_durable(fact(&format!("{i}"))).unwrap();
    }
    handle.set_acked(Class::Critical, 4);
    handle.set_acked(Class::Critical, 2);
    handle.set_acked(Class::Bulk, 99);
    opened.journal.close().unwrap();
    let again = bench.open();
    let handle = again.journal.handle();
    assert_eq!(handle.acked(Class::Critical), 4);
    assert_eq!(handle.acked(Class::Bulk), 0);
}

#[test]
fn a_cursor_without_new_records_is_kept_within_a_second() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    handle.append_durable(fact("x")).unwrap();
    handle.set_acked(Class::Critical, 1);
    bench.clock.advance(Duration::from_secs(1));
    // What is on the disk meanwhile: no clean end, and no record after the acknowledgement.
    eventually("the cursor is kept", || {
        let found = Bench::new();
        copy_dir(&bench.path(), &found.path());
        let opened = Journal::open(&found.path(), found.options.clone());
        opened.is_ok_and(|found| found.journal.handle().acked(Class::Critical) == 1)
    });
}

#[test]
fn small_states_survive_and_large_ones_are_refused() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    handle.put_state("replay", &[1; 4000]).unwrap();
    handle.put_state("replay", &[2; 4000]).unwrap();
    assert!(matches!(handle.put_state("x", &[0; 17_000]), Err(StateError::TooLarge(_))));
    drop(opened.journal);
    let again = bench.open();
    let handle = again.journal.handle();
    assert_eq!(handle.get_state("replay").unwrap(), Some(vec![2; 4000]));
    assert_eq!(handle.get_state("never").unwrap(), None);
}

#[test]
fn each_class_is_read_in_order_whole_and_within_its_bound() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    for i in 0..900_u32 {
        let entry = match i % 9 {
            0 => fact(&format!("fact {i}")),
            1..=4 => log(&format!("log {i}"), 300),
            _ => sample(f64::from(i)),
        };
        handle.append(entry).unwrap();
    }
    records_reach(&handle, 900);
    for (class, count) in [(Class::Critical, 100), (Class::Normal, 400), (Class::Bulk, 400)] {
        let (mut after, mut seen) = (0, Vec::new());
        loop {
            let batch = handle.read_from(class, after, 2000).unwrap();
            let Some((last, _)) = batch.last() else { break };
            after = *last;
            let bytes: usize = batch.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(bytes <= 2000);
            seen.extend(batch);
        }
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(seen.len(), count, "{class:?}");
        for (seq, bytes) in seen {
            let record = Record::decode(&bytes).unwrap();
            assert_eq!((record.seq, record.class), (seq, class));
        }
    }
    // At least one, even when it is larger than asked for.
    assert_eq!(handle.read_from(Class::Normal, 0, 1).unwrap().len(), 1);
    assert!(handle.read_from(Class::Normal, 900, 1).unwrap().is_empty());
}

#[test]
fn a_record_that_no_block_can_hold_is_refused_with_its_size() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let large = Entry::Fact(Blob(vec![0; 60_000]));
    assert!(matches!(handle.append(large.clone()), Err(AppendError::TooLarge(_))));
    assert!(matches!(handle.append_durable(large), Err(AppendError::TooLarge(_))));
    assert_eq!(handle.append_durable(log("largest", 48_000)).unwrap(), 1);
}

#[test]
fn the_store_never_makes_a_blob_file() {
    // Blob files are not covered by the fdatasync. Leaves of the largest states would be.
    let bench = Bench::new();
    let opened = bench.open();
    for i in 0..120_u8 {
        let key = format!("{:>2}", i % 60);
        let value = vec![i; nooterra_blackbox::MAX_STATE_BYTES - key.len()];
        opened.journal.handle().put_state(&key, &value).unwrap();
        opened.journal.handle().append_durable(log(&format!("{i}"), 47_000)).unwrap();
    }
    opened.journal.close().unwrap();
    let blobs = bench.path().join("store").join("blobs");
    let made = std::fs::read_dir(blobs).map_or(0, Iterator::count);
    assert_eq!(made, 0);
    assert!(verify(&bench.path(), None, &mut |_| {}).unwrap().is_intact());
}

#[test]
fn the_count_of_facts_is_recovered_and_foreign_facts_do_not_count() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let fact = |seq, journal: &JournalId| {
        let actor = Actor { id: ActorId::new("amr-1").unwrap(), kind: ActorKind::Robot };
        let statement = Statement {
            actor: &actor,
            actor_seq: seq,
            at: nooterra_blackbox::Clock::stamp(&*bench.clock),
            job: None,
            journal,
            kind: EventType::Heartbeat,
        };
        let payload = Value::Map(std::collections::BTreeMap::new());
        let signed = Fact::sign(&statement, &payload, bench.key.as_ref()).unwrap();
        Entry::Fact(Blob(signed.bytes().to_vec()))
    };
    let (mine, other) = (handle.journal_id().clone(), JournalId::new("jr_other").unwrap());
    handle.append_durable(fact(41, &mine)).unwrap();
    handle.append_durable(fact(999, &other)).unwrap();
    handle.append_durable(log("x", 10)).unwrap();
    assert_eq!(handle.last_actor_seq(), 41);
    drop(opened.journal);
    assert_eq!(bench.open().journal.handle().last_actor_seq(), 41);
}

#[test]
fn a_checkpoint_comes_after_so_many_records_or_so_much_time() {
    let mut bench = Bench::new();
    bench.options.checkpoint_every_records = 100;
    let opened = bench.open();
    let handle = opened.journal.handle();
    for _ in 0..250 {
        handle.append(link(true)).unwrap();
    }
    // 100, its checkpoint, 99 more and the checkpoint itself counts as the first.
    records_reach(&handle, 252);
    let found = verify(&bench.path(), Some(&bench.key.verifying_key()), &mut |_| {}).unwrap();
    assert_eq!((found.checkpoints, found.verified_through), (2, Some(202)));
    assert_eq!(found.beyond_last_checkpoint, 50);

    bench.clock.advance(Duration::from_secs(10));
    records_reach(&handle, 253);
    // No new records, no new checkpoint.
    bench.clock.advance(Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(handle.records(), 253);
}

#[test]
fn a_verdict_keeps_the_context_in_which_it_was_made() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let mut queue = handle.control_queue();
    let (first, second) = (handle.set_context(context("a")), handle.set_context(context("b")));
    assert!(queue.push(ControlRecord::Verdict(verdict(second, bench.clock.now()))));
    assert!(queue.push(ControlRecord::Verdict(verdict(first, bench.clock.now()))));
    records_reach(&handle, 2);
    for i in 0..CONTEXTS_KEPT {
        handle.set_context(context(&format!("{i}")));
    }
    assert!(queue.push(ControlRecord::Verdict(verdict(first, bench.clock.now()))));
    records_reach(&handle, 3);
    opened.journal.close().unwrap();

    let verdicts = verdicts(&bench);
    let jobs: Vec<_> = verdicts.iter().map(|v| v.job.as_ref().map(JobId::as_str)).collect();
    assert_eq!(jobs, [Some("job-b"), Some("job-a"), None]);
    assert_eq!(verdicts[1].command, Some(EnvelopeId::new("env-a").unwrap()));
    assert_eq!(verdicts[1].zone, Some(ZoneId::new("pond").unwrap()));
    assert_eq!(verdicts[1].policy_hash, Digest::of(b"a"));
    // A context that is no longer kept is left out, never replaced by another.
    assert_eq!((&verdicts[2].command, &verdicts[2].zone), (&None, &None));
    assert_eq!(verdicts[2].policy_hash, Digest::ZERO);
}

#[test]
fn records_of_both_queues_stand_in_the_order_of_their_moments() {
    let bench = Bench::new();
    bench.key.hold();
    let mut options = bench.options.clone();
    options.session_key = false;
    options.checkpoint_every_records = 1;
    let opened = Journal::open(&bench.path(), options).unwrap();
    let handle = opened.journal.handle();
    let mut queue = handle.control_queue();
    handle.append(link(true)).unwrap();
    eventually("the writer signs", || bench.key.is_waited_for());
    for i in 0..6_u32 {
        bench.clock.advance(Duration::from_millis(3));
        let at = bench.clock.now();
        if i % 2 == 0 {
            handle.append(log(&format!("{i}"), 1)).unwrap();
        } else if i == 3 {
            let (profile, reason) = (StopProfile::ControlledHold, "3");
            assert!(queue.push(ControlRecord::Stop(StopRecord { at, profile, reason })));
        } else {
            let sample = sample_at(f64::from(i));
            assert!(queue.push(ControlRecord::Sample(SampleRecord { at, sample })));
        }
    }
    bench.key.release();
    opened.journal.close().unwrap();
    let records: Vec<_> = tail(&bench.path(), TailFrom::Seq(3))
        .unwrap()
        .map(|record| record.record.unwrap())
        .filter(|record| record.kind != "checkpoint")
        .collect();
    let kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["link", "sample", "link", "stop", "link", "sample"]);
    let walls: Vec<_> = records.iter().map(|r| r.stamp.wall.0 % 1000).collect();
    assert_eq!(walls, [3, 6, 9, 12, 15, 18]);
}

#[test]
fn a_full_control_queue_drops_counts_and_lets_the_age_grow() {
    let mut bench = Bench::new();
    bench.options.control_capacity = 4;
    bench.options.checkpoint_every_records = 1;
    bench.options.session_key = false;
    bench.key.hold();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let mut queue = handle.control_queue();
    handle.append(link(true)).unwrap();
    eventually("the writer signs", || bench.key.is_waited_for());

    let id = handle.set_context(context("a"));
    let push = |queue: &mut nooterra_blackbox::ControlQueue| {
        queue.push(ControlRecord::Verdict(verdict(id, bench.clock.now())))
    };
    assert_eq!([(); 6].map(|()| push(&mut queue)), [true, true, true, true, false, false]);
    bench.clock.advance(Duration::from_millis(150));
    assert_eq!(queue.oldest_uncommitted_age(bench.clock.now()), Duration::from_millis(150));
    bench.key.release();
    eventually("all is durable", || {
        handle.oldest_uncommitted_age(bench.clock.now()) == Duration::ZERO
    });
    opened.journal.close().unwrap();
    assert_eq!(verdicts(&bench).len(), 4);
    let gap = tail(&bench.path(), TailFrom::Seq(1))
        .unwrap()
        .map(|record| record.record.unwrap())
        .find(|record| record.kind == "gap")
        .expect("a record says that records were lost");
    assert_eq!(gap.class, Class::Critical);
    let Value::Map(body) = gap.body else { panic!("{:?}", gap.body) };
    assert_eq!(body[&Value::Text("dropped".to_owned())], Value::Integer(2));
}

#[test]
fn a_full_inbox_refuses_append_and_makes_append_durable_wait() {
    let mut bench = Bench::new();
    bench.options.inbox_capacity = 3;
    bench.options.checkpoint_every_records = 1;
    bench.options.session_key = false;
    bench.key.hold();
    let opened = bench.open();
    let handle = opened.journal.handle();
    handle.append(link(true)).unwrap();
    eventually("the writer signs", || bench.key.is_waited_for());
    for _ in 0..3 {
        handle.append(link(false)).unwrap();
    }
    assert_eq!(handle.append(link(true)), Err(AppendError::Full));
    let patient = {
        let handle = handle.clone();
        std::thread::spawn(move || handle.append_durable(fact("patient")))
    };
    std::thread::sleep(Duration::from_millis(50));
    assert!(!patient.is_finished());
    bench.key.release();
    let seq = patient.join().unwrap().unwrap();
    opened.journal.close().unwrap();
    let found: Vec<_> = tail(&bench.path(), TailFrom::Seq(seq)).unwrap().take(1).collect();
    assert_eq!(found[0].record.as_ref().unwrap().kind, "fact");
}

#[test]
fn bulk_records_do_not_hold_the_robot_back_and_others_do() {
    let mut bench = Bench::new();
    bench.options.checkpoint_every_records = 1;
    bench.options.session_key = false;
    bench.key.hold();
    let opened = bench.open();
    let handle = opened.journal.handle();
    handle.append(sample(0.0)).unwrap();
    eventually("the writer signs", || bench.key.is_waited_for());
    handle.append(sample(1.0)).unwrap();
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(handle.oldest_uncommitted_age(bench.clock.now()), Duration::ZERO);
    handle.append(link(true)).unwrap();
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(handle.oldest_uncommitted_age(bench.clock.now()), Duration::from_secs(1));
    bench.key.release();
}

#[test]
fn readers_are_told_after_each_commit() {
    let bench = Bench::new();
    let opened = bench.open();
    let handle = opened.journal.handle();
    let told = Arc::new(AtomicU64::new(0));
    let (inner, reader) = (Arc::clone(&told), handle.clone());
    handle.set_notify(Box::new(move || {
        inner.fetch_max(reader.records(), Ordering::SeqCst);
    }));
    handle.append(fact("x")).unwrap();
    eventually("the reader is told", || told.load(Ordering::SeqCst) == 1);
    // A callback that holds a handle does not keep the journal alive.
    drop(opened.journal);
    eventually("the callback is dropped", || Arc::strong_count(&told) == 1);
}

#[test]
fn a_device_key_that_does_not_sign_any_more_holds_up_no_record() {
    let mut bench = Bench::new();
    bench.options.checkpoint_every_records = 10;
    let opened = bench.open();
    let handle = opened.journal.handle();
    // It signed once, for this start's own key.
    bench.key.hold();
    for i in 0..40 {
        handle.append_durable(fact(&format!("{i}"))).unwrap();
    }
    assert!(!bench.key.is_waited_for());
    opened.journal.close().unwrap();
    let found = verify(&bench.path(), Some(&bench.key.verifying_key()), &mut |_| {}).unwrap();
    assert!(found.is_whole() && found.checkpoints >= 4, "{found}");
    assert_eq!(found.verified_through, Some(found.records));
}

#[test]
fn another_key_is_named_and_no_key_proves_nothing() {
    let bench = Bench::new();
    let opened = bench.open();
    opened.journal.handle().append_durable(fact("x")).unwrap();
    opened.journal.close().unwrap();
    let stranger = Key::new(9).verifying_key();
    let found = verify(&bench.path(), Some(&stranger), &mut |_| {}).unwrap();
    let bad = found.first_bad.expect("a stranger's key verifies nothing");
    assert_eq!(bad.seq, 2);
    assert!(bad.why.contains("unknown key"), "{}", bad.why);
    let found = verify(&bench.path(), None, &mut |_| {}).unwrap();
    assert!(found.is_intact() && !found.key_known);
    assert!(found.to_string().contains("self-consistent"), "{found}");
    assert!(found.to_string().contains("identity unproven"), "{found}");
    assert!(!found.to_string().contains("valid"), "{found}");
}
