//! Hours of a robot's work on one journal, for `cargo xtask prove soak`: ticks, verdicts,
//! samples, facts, what skills see, and dumps of the flight recorder, at the rate of a robot's
//! control loop and beyond, with a bound on the disk that has it prune all the time.
//!
//! One JSON object a line on standard output: what it takes in memory and on the disk, every
//! few seconds. `--dir DIR` names where, `--seconds N` how long.
#![allow(clippy::unwrap_used)] // Whatever is unexpected ends the run.

#[path = "../../xtask/bench/measure.rs"]
mod measure;

use measure::argument;
use nooterra_blackbox::flight::{FlightOptions, FlightQueue, FlightState, recorder};
use nooterra_blackbox::{
    AppendError, Clock, ControlQueue, ControlRecord, Journal, JournalHandle, Options, Quota,
    SampleRecord, VerdictRecord, verify,
};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::command::{Asked, Source};
use nooterra_protocol::entry::{Class, Entry, Rule, Sample, VerdictPhase};
use nooterra_protocol::flight::{FlightTick, FlightVerdict, FlightVerdicts};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::input::{InputDraft, SkillInput};
use nooterra_protocol::keys::{Es256Key, Signer};
use nooterra_protocol::observation::{Battery, Observation, Scan, Timed};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The fastest control loop that can be configured; ten times as many samples and verdicts as a
/// robot makes that pushes against its envelope all the time.
const RATE_HZ: u64 = 500;

/// The least that a journal has: it prunes within minutes.
const DISK_BYTES: u64 = 48 * 1024 * 1024;

/// The bound of a policy that says nothing about it.
const JOURNAL_BOUND: Duration = Duration::from_millis(100);

/// Between two lines.
const SAMPLED: Duration = Duration::from_secs(5);

fn main() {
    let dir = PathBuf::from(argument("--dir").unwrap_or_else(|| ".".to_owned()));
    let seconds = argument("--seconds").map_or(60, |text| text.parse().unwrap());
    let dir = tempfile::tempdir_in(dir).unwrap();
    let path = dir.path().join("journal");
    let key = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
    let signer: Arc<dyn Signer> = Arc::<Es256Key>::clone(&key);
    let mut options = Options::new(Arc::new(Machine), signer, Digest::of(b"soak"));
    options.quota = Quota { disk_bytes: DISK_BYTES, ..Quota::default() };
    let opened = Journal::open(&path, options).unwrap();
    let handle = opened.journal.handle();
    let flight = FlightOptions { rate_hz: 500, ..FlightOptions::default() };
    let (mut recorder, ticks, _triggers) = recorder(flight);
    let flown = Mutex::new(recorder.state());
    let (seen, over) = (Seen::default(), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let (seen, over, flown) = (&seen, &over, &flown);
        // As in the agent: nothing that waits for the disk shares a thread with what must not.
        let control = handle.control_queue();
        scope.spawn(|| drive(begun, &handle, control, ticks, (seen, over)));
        scope.spawn(|| acknowledge(&handle, seen, over));
        let flight = scope.spawn(|| {
            let mut sink = handle.clone();
            while !over.load(Ordering::Relaxed) {
                recorder.step(Machine.stamp().mono, &mut sink);
                *flown.lock().unwrap() = recorder.state();
                std::thread::sleep(Duration::from_millis(100));
            }
            recorder
        });
        while begun.elapsed() < Duration::from_secs(seconds) {
            say(begun.elapsed(), &handle, *flown.lock().unwrap(), seen);
            std::thread::sleep(SAMPLED);
        }
        over.store(true, Ordering::Relaxed);
        let mut recorder = flight.join().unwrap();
        recorder.finish(Machine.stamp().mono, &mut handle.clone());
        say(begun.elapsed(), &handle, recorder.state(), seen);
    });
    drop(handle);
    opened.journal.close().unwrap();
    let found = verify(&path, Some(&key.verifying_key()), &mut |_| {}).unwrap();
    assert!(found.is_intact(), "{found}");
}

/// What the threads have seen.
#[derive(Debug, Default)]
struct Seen {
    /// Records that the control queue did not take; a `gap` in the journal counts them, too.
    dropped: AtomicU64,
    /// The longest that a record waited to become durable, milliseconds.
    slowest_ms: AtomicU64,
    /// How often the robot was stopped because the journal was behind.
    stood: AtomicU64,
}

/// The control thread: ticks, samples, verdicts, and what skills see.
fn drive(
    begun: Instant,
    handle: &JournalHandle,
    mut control: ControlQueue,
    mut ticks: FlightQueue,
    (seen, over): (&Seen, &AtomicBool),
) {
    let (mut inputs, mut waiting) = (InputDraft::default(), VecDeque::new());
    let (mut nth, mut stands) = (0_u64, false);
    while !over.load(Ordering::Relaxed) {
        // What a thread that was held up has missed, it makes up for.
        let due = u64::try_from(begun.elapsed().as_millis()).unwrap() * RATE_HZ / 1000;
        while nth < due {
            nth += 1;
            let now = Machine.stamp().mono;
            let age = control.oldest_uncommitted_age(now);
            seen.slowest_ms.fetch_max(u64::try_from(age.as_millis()).unwrap(), Ordering::Relaxed);
            let stood = std::mem::replace(&mut stands, age > JOURNAL_BOUND);
            seen.stood.fetch_add(u64::from(stands && !stood), Ordering::Relaxed);
            ticks.push(tick(nth, now, stands));
            // A robot that stands has less to say.
            let every = if stands { RATE_HZ } else { 5 };
            let mut push = |record| {
                seen.dropped.fetch_add(u64::from(!control.push(record)), Ordering::Relaxed);
            };
            if nth.is_multiple_of(every) {
                push(ControlRecord::Sample(SampleRecord { at: now, sample: sample(nth) }));
            }
            if nth % every == 2 {
                push(verdict(nth, now));
            }
            if nth.is_multiple_of(50) {
                inputs.push(now, &seen_by_a_skill(nth, now));
            }
            if nth.is_multiple_of(500) {
                let (count, rows) = inputs.take();
                waiting.push_back(input(count, rows, nth));
            }
        }
        while let Some(entry) = waiting.front().cloned() {
            match handle.append(entry) {
                Ok(()) => drop(waiting.pop_front()),
                Err(AppendError::Full) => break,
                Err(refused) => panic!("{refused}"),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A fact each second, durable before it is acknowledged.
fn acknowledge(handle: &JournalHandle, seen: &Seen, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let seq = handle.append_durable(Entry::Fact(Blob(vec![7; 400]))).unwrap();
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
        seen.slowest_ms.fetch_max(took, Ordering::Relaxed);
        handle.set_acked(Class::Critical, seq);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// One line.
fn say(elapsed: Duration, handle: &JournalHandle, flown: FlightState, seen: &Seen) {
    let usage = handle.usage().unwrap();
    let count = |what: &AtomicU64| what.load(Ordering::Relaxed);
    println!(
        "{{\"t\":{},\"rss\":{},\"pss\":{},\"disk\":{},\"records\":{},\"pruned\":{},\"dumps\":{},\
         \"lost\":{},\"dropped\":{},\"written\":{},\"stood\":{},\"slowest_ms\":{}}}",
        elapsed.as_secs_f64(),
        memory("Rss:"),
        memory("Pss:"),
        usage.disk_bytes,
        handle.records(),
        usage.pruned_through,
        flown.dumps,
        flown.lost,
        count(&seen.dropped),
        written(),
        count(&seen.stood),
        count(&seen.slowest_ms),
    );
}

/// Of this process, bytes.
fn memory(what: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// What this process has handed to the disk, bytes.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

/// The machine's clocks.
struct Machine;

impl Clock for Machine {
    fn stamp(&self) -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mono = MonoNanos(u64::try_from(since.as_nanos()).unwrap());
        let wall = WallMillis(i64::try_from(since.as_millis()).unwrap());
        Stamp { mono, trust: ClockTrust::Network, wall }
    }
}

fn along(nth: u64) -> f64 {
    nth as f64 / RATE_HZ as f64
}

fn pose(nth: u64) -> Pose {
    let at = along(nth);
    Pose { x: 10.0 * (at / 20.0).cos(), y: 10.0 * (at / 20.0).sin(), yaw: (at / 20.0).sin() }
}

/// Every other minute the gate holds back for a moment.
fn tick(nth: u64, at: MonoNanos, stopped: bool) -> FlightTick {
    let mut verdicts = FlightVerdicts::default();
    if nth % (120 * RATE_HZ) < RATE_HZ / 10 {
        verdicts.push(FlightVerdict { limit: 0.4, rule: Rule::ZoneSpeed, zone: Some(1) });
    }
    FlightTick {
        allowed: Twist::new(0.5, along(nth).sin() / 10.0).into(),
        asked: Asked::from(Twist::new(0.6, along(nth).sin() / 10.0)),
        at,
        battery: Some(0.75),
        docked: false,
        emergency_stop: false,
        joints: None,
        journal_ms: u32::try_from(nth % 11).unwrap(),
        limit_mps: 0.8,
        pose: Some((at, pose(nth))),
        scan: None,
        source: Source::Skill,
        stopped,
        tick: nth,
        twist: Twist::new(0.5 + along(nth).sin() / 100.0, 0.1),
        verdicts,
    }
}

fn sample(nth: u64) -> Sample {
    Sample {
        allowed: Twist::new(0.5, 0.1).into(),
        asked: Asked::from(Twist::new(0.6, 0.1)),
        battery: Some(0.75),
        joints: None,
        limit_mps: 0.8,
        pose: pose(nth),
        source: Source::Skill,
        twist: Twist::new(0.4, 0.1),
    }
}

fn verdict(nth: u64, at: MonoNanos) -> ControlRecord {
    ControlRecord::Verdict(VerdictRecord {
        allowed: Twist::new(0.4, 0.1).into(),
        asked: Asked::from(Twist::new(0.6, 0.1)),
        at,
        context: nooterra_blackbox::ContextId::default(),
        limit: 0.4,
        phase: VerdictPhase::Holds,
        pose: pose(nth),
        rule: Rule::ZoneSpeed,
        source: Source::Skill,
        tick: nth,
        zone: None,
    })
}

fn seen_by_a_skill(nth: u64, at: MonoNanos) -> Observation {
    let ranges = (0..360_u16).map(|beam| 3.0 + f32::from(beam) / 100.0 + (nth % 7) as f32 / 50.0);
    Observation {
        battery: Some(Timed {
            at,
            value: Battery { charging: false, fraction: 0.75, volts: 25.1 },
        }),
        docked: false,
        emergency_stop: false,
        gripper: false,
        joints: None,
        pose: Timed { at, value: pose(nth) },
        scan: Some(Timed {
            at,
            value: Scan {
                angle_min: -3.1,
                angle_step: 0.0174,
                range_max: 30.0,
                ranges: ranges.collect(),
            },
        }),
        twist: Timed { at, value: Twist::new(0.5, 0.1) },
    }
}

fn input(count: u32, rows: Blob, nth: u64) -> Entry {
    Entry::SkillInput(SkillInput {
        action: "patrol".to_owned(),
        bundle: Digest::ZERO,
        count,
        first: nth / 50,
        job: JobId::new("job_soak").unwrap(),
        rows,
        skill: SkillId::new("patrol").unwrap(),
        step: StepId::new("patrol").unwrap(),
        withheld: false,
    })
}
