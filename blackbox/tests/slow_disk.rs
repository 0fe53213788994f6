//! A disk that stands still for seconds, as one does that something else saturates: what the
//! journal has acknowledged stays, the robot is told to stop, and the flight recorder bridges it
//! or counts what it could not.
//!
//! The syncs of the C library are defined again here, and come before its own in this program, so
//! that they can be held up below everything that it uses.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.
#![allow(unsafe_code)] // The C library's names.

mod common;

use common::{Bench, log};
use nix::libc::{c_int, c_uint, off64_t};
use nooterra_blackbox::flight::{FlightOptions, FlightQueue, Recorder, recorder};
use nooterra_blackbox::{
    AppendError, ContextId, ControlRecord, JournalHandle, VerdictRecord, verify,
};
use nooterra_evidence::Record;
use nooterra_protocol::command::{Asked, Source};
use nooterra_protocol::entry::{Class, Entry, Gap, Rule, VerdictPhase};
use nooterra_protocol::flight::{FlightNote, FlightTick, FlightVerdicts};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::keys::Signer as _;
use nooterra_protocol::time::MonoNanos;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(20);

/// The bound of a policy that says nothing about it.
const JOURNAL_BOUND: Duration = Duration::from_millis(100);

/// For what must not wait: a machine that is slower than this is taken for one that waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the disk stands.
#[derive(Debug)]
struct Disk {
    still: bool,
    /// Syncs that wait for it.
    waiting: usize,
}

static DISK: Mutex<Disk> = Mutex::new(Disk { still: false, waiting: 0 });
static MOVED: Condvar = Condvar::new();

/// One disk for all tests of this program.
static TURN: Mutex<()> = Mutex::new(());

fn disk() -> MutexGuard<'static, Disk> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on no sync returns, until this is dropped.
struct Standstill;

impl Standstill {
    fn begin() -> Self {
        disk().still = true;
        Self
    }

    /// Returns when the journal waits for it.
    fn is_felt(&self) {
        let mut disk = disk();
        while disk.waiting == 0 {
            disk = MOVED.wait(disk).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        disk().still = false;
        MOVED.notify_all();
    }
}

fn sync() -> c_int {
    let mut disk = disk();
    disk.waiting += 1;
    MOVED.notify_all();
    while disk.still {
        disk = MOVED.wait(disk).unwrap_or_else(PoisonError::into_inner);
    }
    disk.waiting -= 1;
    // Nobody cuts the power here.
    0
}

// SAFETY: of the C library's signature, and as good as it: a sync that takes its time.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(_fd: c_int) -> c_int {
    sync()
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn fsync(_fd: c_int) -> c_int {
    sync()
}

// SAFETY: as above; sled calls it beside its syncs.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(_fd: c_int, _at: off64_t, _count: off64_t, _flags: c_uint) -> c_int {
    0
}

fn verdict(nth: u64, at: MonoNanos) -> ControlRecord {
    ControlRecord::Verdict(VerdictRecord {
        allowed: Twist::ZERO.into(),
        asked: Asked::from(Twist::new(0.6, 0.1)),
        at,
        context: ContextId::default(),
        limit: 100.0,
        phase: VerdictPhase::Holds,
        pose: Pose { x: 1.0, y: 2.0, yaw: 0.5 },
        rule: Rule::JournalBehind,
        source: Source::Skill,
        tick: nth,
        zone: None,
    })
}

fn tick(nth: u64, at: MonoNanos, stopped: bool) -> FlightTick {
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
        stopped,
        tick: nth,
        twist: Twist::new(0.5 + along.sin() / 100.0, 0.1),
        verdicts: FlightVerdicts::default(),
    }
}

/// A control loop of 50 Hz on a clock set by hand, the recorder stepped ten times a second.
struct Robot<'a> {
    bench: &'a Bench,
    handle: JournalHandle,
    nth: u64,
    queue: FlightQueue,
    recorder: Recorder,
}

impl Robot<'_> {
    fn run(&mut self, span: Duration, stopped: bool) {
        for _ in 0..span.as_millis() / TICK.as_millis() {
            self.nth += 1;
            self.bench.clock.advance(TICK);
            let now = self.bench.clock.now();
            self.queue.push(tick(self.nth, now, stopped));
            if self.nth.is_multiple_of(5) {
                self.recorder.step(now, &mut self.handle);
            }
        }
    }
}

/// All normal and critical records of a journal.
fn entries(handle: &JournalHandle) -> Vec<Entry> {
    let read = |class| handle.read_from(class, 0, 1 << 26).unwrap();
    let records = [Class::Critical, Class::Normal].into_iter().flat_map(read);
    records.filter_map(|(_, bytes)| Record::decode(&bytes).unwrap().entry().unwrap()).collect()
}

/// The numbers of the ticks that were written, and how each dump ended: its ticks, and how many
/// are missing.
fn dumped(entries: &[Entry]) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut ticks, mut ends) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Flight(block) => {
                ticks.extend(block.ticks().unwrap().into_iter().map(|tick| tick.tick));
            }
            Entry::FlightNote(FlightNote::Ended { ticks, lost, .. }) => ends.push((*ticks, *lost)),
            _ => {}
        }
    }
    (ticks, ends)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Runs it where it may hang, on a thread that nobody waits for longer than patience lasts.
fn within_patience(what: &'static str, test: impl FnOnce() + Send + 'static) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let ended = ended.recv_timeout(PATIENCE);
    if ended == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        drop(Standstill);
        panic!("{what}");
    }
    thread.join().unwrap();
    drop(turn);
}

#[test]
fn a_disk_that_stands_still_stops_the_robot_and_costs_no_tick_of_the_flight() {
    within_patience("something waited for the disk that must not", || {
        let bench = Bench::new();
        let opened = bench.open();
        let handle = opened.journal.handle();
        let mut control = handle.control_queue();
        let (recorder, queue, _) = recorder(FlightOptions::default());
        let mut robot = Robot { bench: &bench, handle: handle.clone(), nth: 0, queue, recorder };
        robot.run(seconds(40), false);
        let standstill = Standstill::begin();
        assert!(control.push(verdict(robot.nth, bench.clock.now())));
        standstill.is_felt();
        // What the gate asks on every tick.
        robot.run(JOURNAL_BOUND + TICK, false);
        assert!(control.oldest_uncommitted_age(bench.clock.now()) > JOURNAL_BOUND);
        // It stops the robot, which is a trigger; the disk stands on for five seconds.
        robot.run(seconds(5), true);
        assert!(control.oldest_uncommitted_age(bench.clock.now()) >= seconds(5));
        assert!(robot.recorder.state().recording);
        drop(standstill);
        robot.run(seconds(30), true);
        let (nth, state) = (robot.nth, robot.recorder.state());
        assert_eq!((state.dumps, state.lost, state.recording), (1, 0, false));
        handle.append_durable(log("after", 10)).unwrap();
        let entries = entries(&handle);
        let (ticks, ends) = dumped(&entries);
        let window: Vec<u64> = (1..nth).take(ticks.len()).collect();
        assert_eq!(ticks, window, "from the first tick on, none missing");
        assert_eq!(ends, [(ticks.len() as u64, 0)]);
        let behind = |entry: &Entry| matches!(entry, Entry::Verdict(v) if v.tick == 2000);
        assert_eq!(entries.iter().filter(|entry| behind(entry)).count(), 1);
        drop((handle, robot, control));
        opened.journal.close().unwrap();
        let key = bench.key.verifying_key();
        assert!(verify(&bench.path(), Some(&key), &mut |_| {}).unwrap().is_whole());
    });
}

#[test]
fn where_every_queue_is_full_what_is_lost_is_counted_in_records() {
    within_patience("something waited for the disk that must not", || {
        let bench = Bench::new();
        let opened = bench.open();
        let handle = opened.journal.handle();
        let mut control = handle.control_queue();
        let options = FlightOptions { before: seconds(30), ..FlightOptions::default() };
        let (recorder, queue, _) = recorder(options);
        let mut robot = Robot { bench: &bench, handle: handle.clone(), nth: 0, queue, recorder };
        robot.run(seconds(40), false);
        let standstill = Standstill::begin();
        handle.append(log("the first", 10)).unwrap();
        standstill.is_felt();
        let mut taken = 0_u64;
        let refused = loop {
            match handle.append(log("one of many", 40_000)) {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, AppendError::Full, "and it says so");
        while handle.append(log("small", 0)).is_ok() {
            taken += 1;
        }
        let pushed = (0..3000).filter(|nth| control.push(verdict(*nth, bench.clock.now()))).count();
        // That the robot stands is a trigger.
        robot.run(seconds(17), true);
        drop(standstill);
        // The writer empties its queue on a thread of its own.
        common::eventually("it is taken again", || handle.append(log("after", 0)).is_ok());
        robot.run(seconds(30), true);
        handle.append_durable(log("the last", 0)).unwrap();
        let entries = entries(&handle);
        let (ticks, ends) = dumped(&entries);
        // The ring bridges 12 s: 5 s of the window were overwritten, and what came with the step
        // after them; the record says so.
        let ([(written, lost)], state) = (&ends[..], robot.recorder.state()) else {
            panic!("{ends:?}")
        };
        assert_eq!((*lost, state.lost), (5 * 50 + 5, 5 * 50 + 5));
        assert_eq!(*written, ticks.len() as u64);
        let first = 10 * 50 + 1 + lost;
        assert_eq!(ticks, (first..first + written).collect::<Vec<_>>());
        let dropped = entries.iter().find_map(|entry| match entry {
            Entry::Gap(Gap { dropped, .. }) => Some(*dropped),
            _ => None,
        });
        assert_eq!(dropped, Some(3000 - pushed as u64), "the gap names the verdicts");
        let verdicts = entries.iter().filter(|entry| matches!(entry, Entry::Verdict(_))).count();
        assert_eq!(verdicts, pushed);
        let logged = entries.iter().filter(|entry| matches!(entry, Entry::Link(_))).count();
        assert_eq!(logged as u64, taken + 3, "what was taken is there");
        drop((handle, robot, control));
        opened.journal.close().unwrap();
        let key = bench.key.verifying_key();
        assert!(verify(&bench.path(), Some(&key), &mut |_| {}).unwrap().is_whole());
    });
}

#[test]
fn a_state_that_has_its_place_is_kept_whatever_is_queued_around_it() {
    within_patience("something waited for the disk that must not", || {
        let bench = Bench::new();
        let opened = bench.open();
        let handle = opened.journal.handle();
        let standstill = Standstill::begin();
        handle.append(log("before all", 10)).unwrap();
        standstill.is_felt();
        for round in 0..3_u8 {
            handle.append(log("before", 10)).unwrap();
            handle.queue_state("place", &[round]).unwrap();
            handle.queue_state("other", &[round]).unwrap();
        }
        assert_eq!(handle.get_state("place").unwrap(), None);
        drop(standstill);
        handle.append_durable(log("behind", 10)).unwrap();
        assert_eq!(handle.get_state("place").unwrap(), Some(vec![2]));
        assert_eq!(handle.get_state("other").unwrap(), Some(vec![2]));
        assert_eq!(handle.records(), 5);
        let refused = handle.queue_state("large", &vec![0; 20_000]);
        assert!(matches!(refused, Err(AppendError::TooLarge(_))), "{refused:?}");
        drop(handle);
        opened.journal.close().unwrap();
    });
}
