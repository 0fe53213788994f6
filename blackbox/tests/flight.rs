//! The flight recorder: what is written when something happened, and how much at the most.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::{Bench, Dice};
use nooterra_blackbox::AppendError;
use nooterra_blackbox::flight::{
    BLOCK_BYTES, FlightOptions, FlightQueue, FlightSink, FlightTriggers, Recorder, cut_dump,
    recorder,
};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Asked, Source};
use nooterra_protocol::entry::{Class, Entry, Rule};
use nooterra_protocol::flight::{
    FlightBlock, FlightNote, FlightTick, FlightVerdict, FlightVerdicts, Trigger,
};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::time::MonoNanos;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(20);

/// A journal of the test's own: it refuses as it is told.
#[derive(Default)]
struct Shelf {
    entries: Vec<Entry>,
    full: bool,
    open: Option<u64>,
}

impl FlightSink for Shelf {
    fn append(&mut self, entry: Entry) -> Result<(), AppendError> {
        if self.full {
            return Err(AppendError::Full);
        }
        self.entries.push(entry);
        Ok(())
    }

    fn open(&mut self, dump: Option<u64>) -> Result<(), AppendError> {
        if self.full {
            return Err(AppendError::Full);
        }
        self.open = dump;
        Ok(())
    }
}

impl Shelf {
    fn blocks(&self, dump: u64) -> Vec<&FlightBlock> {
        let blocks = self.entries.iter().filter_map(|entry| match entry {
            Entry::Flight(block) => Some(block),
            _ => None,
        });
        blocks.filter(|block| block.dump == dump).collect()
    }

    fn notes(&self) -> Vec<&FlightNote> {
        let notes = self.entries.iter().filter_map(|entry| match entry {
            Entry::FlightNote(note) => Some(note),
            _ => None,
        });
        notes.collect()
    }

    /// The numbers of a dump's ticks, its chain of blocks checked.
    fn ticks(&self, dump: u64) -> Vec<u64> {
        let (mut ticks, mut head) = (Vec::new(), Digest::ZERO);
        for (index, block) in (0..).zip(self.blocks(dump)) {
            assert_eq!((block.index, block.previous), (index, head));
            head = Digest::of(&block.rows.0);
            ticks.extend(block.ticks().unwrap().into_iter().map(|tick| tick.tick));
        }
        ticks
    }

    fn bytes(&self) -> u64 {
        let weigh = |entry: &Entry| match entry {
            Entry::Flight(block) => block.rows.0.len() as u64,
            _ => 0,
        };
        self.entries.iter().map(weigh).sum()
    }
}

struct Rig {
    now: MonoNanos,
    queue: FlightQueue,
    recorder: Recorder,
    shelf: Shelf,
    tick: u64,
    triggers: FlightTriggers,
}

impl Rig {
    fn new(options: FlightOptions) -> Self {
        let (recorder, queue, triggers) = recorder(options);
        let (now, shelf) = (MonoNanos(1_000_000_000), Shelf::default());
        Self { now, queue, recorder, shelf, tick: 0, triggers }
    }

    /// Ticks for so long; the recorder takes its turn ten times a second.
    fn run(&mut self, span: Duration, mut change: impl FnMut(&mut FlightTick)) {
        for _ in 0..span.as_millis() / TICK.as_millis() {
            self.tick += 1;
            self.now = self.now.plus(TICK);
            let mut tick = tick(self.tick, self.now);
            change(&mut tick);
            self.queue.push(tick);
            if self.tick.is_multiple_of(5) {
                self.recorder.step(self.now, &mut self.shelf);
            }
        }
    }

    fn ended(&self) -> Vec<(u64, bool, u64, u64)> {
        let end = |note: &&FlightNote| match note {
            FlightNote::Ended { dump, cut, ticks, lost, .. } => Some((*dump, *cut, *ticks, *lost)),
            _ => None,
        };
        self.shelf.notes().iter().filter_map(end).collect()
    }
}

/// As a robot that drives through a room.
fn tick(nth: u64, at: MonoNanos) -> FlightTick {
    let along = nth as f64 * 0.01;
    FlightTick {
        allowed: Twist::new(0.5, along.sin() / 10.0).into(),
        asked: Asked::from(Twist::new(0.6, along.sin() / 10.0)),
        at,
        battery: Some(0.75),
        docked: false,
        emergency_stop: false,
        joints: None,
        journal_ms: 3,
        limit_mps: 0.8,
        pose: Some((at, Pose { x: along, y: along.cos(), yaw: along.sin() })),
        scan: None,
        source: Source::Skill,
        stopped: false,
        tick: nth,
        twist: Twist::new(0.5 + along.sin() / 100.0, 0.1),
        verdicts: FlightVerdicts::default(),
    }
}

fn clamp(tick: &mut FlightTick, rule: Rule) {
    tick.verdicts.push(FlightVerdict { limit: 0.4, rule, zone: None });
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_clamp_writes_the_ticks_before_it_and_after_it_complete_and_in_order() {
    let mut rig = Rig::new(FlightOptions { before: seconds(30), ..FlightOptions::default() });
    rig.run(seconds(50), |_| {});
    assert!(rig.shelf.entries.is_empty(), "nothing happened, nothing is written");
    let at = rig.tick + 1;
    rig.run(TICK, |tick| clamp(tick, Rule::ZoneSpeed));
    rig.run(seconds(20), |_| {});
    let expected: Vec<u64> = (at - 30 * 50..=at + 10 * 50).collect();
    assert_eq!(rig.shelf.ticks(1), expected);
    assert_eq!(rig.ended(), [(1, false, 2001, 0)]);
    assert_eq!(rig.shelf.open, None);
    let blocks = rig.shelf.blocks(1);
    assert!(blocks.iter().rev().skip(1).all(|block| !block.last) && blocks.last().unwrap().last);
    let largest = blocks.iter().map(|block| block.rows.0.len()).max().unwrap();
    assert!(largest < BLOCK_BYTES + 1024, "{largest}");
    let per_tick = rig.shelf.bytes() / 2001;
    assert!(per_tick < 120, "{per_tick} bytes for a tick");
}

#[test]
fn what_smooths_every_start_is_no_reason_and_a_skill_that_crashed_is_one() {
    let mut rig = Rig::new(FlightOptions::default());
    rig.run(seconds(5), |tick| clamp(tick, Rule::AccelLinear));
    assert!(rig.shelf.entries.is_empty());
    rig.triggers.pull(Trigger::SkillCrash, rig.now);
    rig.run(seconds(15), |_| {});
    let FlightNote::Began { trigger, follows, .. } = rig.shelf.notes()[0] else {
        panic!("{:?}", rig.shelf.notes())
    };
    assert_eq!((*trigger, *follows), (Trigger::SkillCrash, None));
    assert_eq!(rig.shelf.ticks(1), (1..=15 * 50).collect::<Vec<_>>());
}

#[test]
fn triggers_that_overlap_make_one_dump_and_the_next_repeats_nothing() {
    let mut rig = Rig::new(FlightOptions::default());
    rig.run(seconds(5), |_| {});
    rig.run(TICK, |tick| tick.stopped = true);
    rig.run(seconds(5), |_| {});
    rig.run(TICK, |tick| tick.emergency_stop = true);
    rig.run(seconds(20), |_| {});
    let last = *rig.shelf.ticks(1).last().unwrap();
    let FlightNote::Ended { merged, .. } = rig.shelf.notes()[1] else { panic!("no end") };
    assert_eq!(merged, &[(Trigger::EmergencyStop, 1)]);
    rig.run(TICK, |tick| tick.stopped = true);
    rig.run(seconds(15), |_| {});
    let FlightNote::Began { follows, .. } = rig.shelf.notes()[2] else { panic!("no beginning") };
    assert_eq!(*follows, Some(1));
    assert_eq!(rig.shelf.ticks(2)[0], last + 1);
}

#[test]
fn a_flood_of_triggers_takes_its_share_of_the_disk_and_no_more_and_that_is_said() {
    let options = FlightOptions { bytes_per_hour: 256 * 1024, ..FlightOptions::default() };
    let mut rig = Rig::new(options);
    let mut nth = 0;
    rig.run(seconds(1200), |tick| {
        nth += 1;
        if nth % 2 == 0 {
            clamp(tick, Rule::ZoneSpeed);
        }
    });
    // The hour's share, and a third of it that grew back in 20 minutes.
    let bytes = rig.shelf.bytes();
    assert!(bytes < 256 * 1024 * 4 / 3 + 2 * BLOCK_BYTES as u64, "{bytes}");
    assert!(rig.ended()[0].1, "the first dump was cut: {:?}", rig.ended());
    let suppressed: u64 = rig
        .shelf
        .notes()
        .iter()
        .filter_map(|note| match note {
            FlightNote::Suppressed { triggers } => Some(triggers[0].1),
            _ => None,
        })
        .sum();
    let notes = rig.shelf.notes().len();
    assert!(suppressed > 10_000 && notes < 40, "{suppressed} suppressed, {notes} notes");
    assert!(rig.recorder.state().suppressed >= suppressed);
}

#[test]
fn a_journal_that_is_full_is_waited_for_and_what_is_overwritten_meanwhile_is_counted() {
    let mut rig = Rig::new(FlightOptions { before: seconds(30), ..FlightOptions::default() });
    rig.run(seconds(40), |_| {});
    rig.shelf.full = true;
    rig.triggers.pull(Trigger::Incident, rig.now);
    rig.run(seconds(17), |_| {});
    assert!(rig.shelf.entries.is_empty() && rig.shelf.open.is_none());
    rig.shelf.full = false;
    rig.run(seconds(30), |_| {});
    // The ring bridges 12 s; the window's first 5 s are overwritten, and what comes with a step.
    let (window, lost) = (30 * 50 + 1 + 10 * 50, 5 * 50 + 6);
    assert_eq!(rig.ended(), [(1, false, window - lost, lost)]);
    assert_eq!(rig.recorder.state().lost, lost);
    let first = 10 * 50 + lost;
    assert_eq!(rig.shelf.ticks(1), (first..first + window - lost).collect::<Vec<_>>());
}

#[test]
fn a_journal_that_is_full_for_ten_seconds_costs_no_tick() {
    let mut rig = Rig::new(FlightOptions { before: seconds(30), ..FlightOptions::default() });
    rig.run(seconds(40), |_| {});
    rig.triggers.pull(Trigger::Stop, rig.now);
    rig.shelf.full = true;
    rig.run(seconds(10), |_| {});
    rig.shelf.full = false;
    rig.run(seconds(30), |_| {});
    assert_eq!(rig.ended(), [(1, false, 2001, 0)]);
    assert_eq!(rig.recorder.state().lost, 0);
}

#[test]
fn what_does_not_reach_the_recorder_is_counted_also_where_it_crosses_the_end_of_the_window() {
    let mut rig = Rig::new(FlightOptions { after: seconds(5), ..FlightOptions::default() });
    rig.run(seconds(5), |_| {});
    rig.triggers.pull(Trigger::Stop, rig.now);
    rig.run(seconds(2), |_| {});
    // The recorder's thread gets no processor for six seconds; its queue holds two of them.
    for _ in 0..6 * 50 {
        rig.tick += 1;
        rig.now = rig.now.plus(TICK);
        rig.queue.push(tick(rig.tick, rig.now));
    }
    rig.run(seconds(20), |_| {});
    assert_eq!(rig.shelf.ticks(1), (1..=9 * 50).collect::<Vec<_>>());
    // Up to the first step after it; a second of that lies in the window, which nobody knows.
    let lost = 4 * 50 + 5;
    assert_eq!(rig.ended(), [(1, false, 450, lost)]);
    assert_eq!(rig.recorder.state().lost, lost);
}

#[test]
fn a_dump_that_the_end_of_the_agent_cuts_is_ended_and_says_so() {
    let mut rig = Rig::new(FlightOptions::default());
    rig.run(seconds(5), |_| {});
    rig.triggers.pull(Trigger::Stop, rig.now);
    rig.run(seconds(1), |_| {});
    rig.recorder.finish(rig.now, &mut rig.shelf);
    assert_eq!(rig.ended(), [(1, true, 300, 0)]);
    assert_eq!(rig.shelf.ticks(1).len(), 300);
}

#[test]
fn of_a_dump_that_a_crash_cut_the_next_start_knows_what_is_there() {
    let bench = Bench::new();
    let opened = bench.open();
    let mut handle = opened.journal.handle();
    let (mut recorder, mut queue, triggers) = recorder(FlightOptions::default());
    let now = bench.clock.now();
    for nth in 1..=90 {
        queue.push(tick(nth, now));
    }
    triggers.pull(Trigger::Stop, now);
    recorder.step(now, &mut handle);
    recorder.step(now.plus(seconds(1)), &mut handle);
    handle.append_durable(common::fact("the last")).unwrap();
    drop(handle);
    // As kill -9 does: no end, no mark.
    drop(opened.journal);
    let again = bench.open();
    assert!(!again.clean);
    let found = cut_dump(&again.journal.handle(), opened.boot).unwrap().unwrap();
    assert_eq!((found.dump, found.blocks, found.ticks), (1, 1, 90));
    let records = again.journal.handle().read_from(Class::Normal, 0, 1 << 20).unwrap();
    let block =
        records.into_iter().find_map(|(_, bytes)| {
            match nooterra_evidence::Record::decode(&bytes).unwrap().entry().unwrap() {
                Some(Entry::Flight(block)) => Some(block),
                _ => None,
            }
        });
    let block = block.unwrap();
    assert!(!block.last, "it says that more was to come");
    assert_eq!(block.ticks().unwrap().len(), 90);
}

#[test]
fn what_it_takes_in_memory_is_known_before() {
    let options = FlightOptions::default();
    // A minute at 50 Hz.
    assert!(options.memory_bytes() < 3 * 1024 * 1024, "{}", options.memory_bytes());
    let most = FlightOptions { before: seconds(120), rate_hz: 500, ..options };
    assert!(most.memory_bytes() < 50 * 1024 * 1024, "{}", most.memory_bytes());
    let mut rig = Rig::new(FlightOptions { before: seconds(30), ..FlightOptions::default() });
    rig.run(seconds(100), |_| {});
    assert_eq!(rig.recorder.state().ticks, 42 * 50, "the ring does not grow");
}

proptest! {
    // Each is some minutes of ticks.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_fires_whenever_nothing_is_written_twice_and_every_trigger_is_accounted_for(
        seed: u64,
        share in 20_u64..400,
        after in 1_u64..20,
        refuses in any::<bool>(),
    ) {
        let options = FlightOptions {
            after: seconds(after),
            before: seconds(30),
            bytes_per_hour: share * 1024,
            ..FlightOptions::default()
        };
        let mut rig = Rig::new(options);
        let (mut dice, mut pulled) = (Dice(seed), 0_u64);
        for _ in 0..40 {
            rig.shelf.full = refuses && dice.roll(5) == 0;
            for _ in 0..dice.roll(3) {
                rig.triggers.pull(Trigger::Incident, rig.now);
                pulled += 1;
            }
            rig.run(Duration::from_millis(dice.roll(4000)), |_| {});
        }
        rig.shelf.full = false;
        rig.recorder.step(rig.now, &mut rig.shelf);
        rig.recorder.step(rig.now, &mut rig.shelf);
        rig.recorder.finish(rig.now, &mut rig.shelf);
        let dumps = rig.recorder.state().dumps;
        let mut last = 0;
        for dump in 1..=dumps {
            for tick in rig.shelf.ticks(dump) {
                prop_assert!(tick > last, "tick {} after {}", tick, last);
                last = tick;
            }
        }
        let merged: u64 = rig.shelf.notes().iter().map(|note| match note {
            FlightNote::Ended { merged, .. } => merged.iter().map(|(_, count)| count).sum(),
            _ => 0,
        }).sum();
        prop_assert_eq!(pulled, dumps + merged + rig.recorder.state().suppressed);
        prop_assert_eq!(rig.ended().len() as u64, dumps, "each dump has its end");
        let written: u64 = rig.ended().iter().map(|ended| ended.2).sum();
        let found: usize = (1..=dumps).map(|dump| rig.shelf.ticks(dump).len()).sum();
        prop_assert_eq!(written, found as u64);
        // 160 s give back a twentieth of the hour's share; each dump may end with a block.
        let most = share * 1024 * 21 / 20 + (dumps + 1) * BLOCK_BYTES as u64;
        prop_assert!(rig.shelf.bytes() <= most, "{} of {}", rig.shelf.bytes(), most);
    }
}
