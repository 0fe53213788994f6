//! What stands beside the gate in the control loop: a stop input that it obeys, and a candidate
//! policy that it does not.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.
#![allow(unsafe_code)] // The allocator that counts.

mod common;

use common::{Site, robot};
use nooterra_agent::clock;
use nooterra_agent::control::{
    ControlLoop, Desk, Goal, Lease, MAX_READING_AGE, Real, ShadowJournal, StopReader, View, shadow,
};
use nooterra_agent::envelope;
use nooterra_blackbox::{Journal, JournalHandle};
use nooterra_hal::sim::{SimBase, SimConfig};
use nooterra_hal::stop_input::{StopInput, StopInputError};
use nooterra_policy::{Gate, Grants, Inputs, Planar, Wish, Wishes};
use nooterra_protocol::entry::{Class, Entry, Rule};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::grant;
use nooterra_protocol::ids::{PolicyId, ZoneId};
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::observation::Timed;
use nooterra_protocol::policy::{Clear, PolicyDocument, ZoneRule};
use nooterra_protocol::shadow::{Difference, Shadow, ShadowPhase};
use nooterra_protocol::time::MonoNanos;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const TICK: u64 = 20_000_000;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged; the counter is a
// thread-local that needs neither allocation nor destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A test double: a line that reads as it is told.
#[derive(Clone, Default)]
struct PretendLine(Arc<AtomicU8>);

const RELEASED: u8 = 0;
const PRESSED: u8 = 1;
const UNPLUGGED: u8 = 2;
const BROKEN: u8 = 3;

impl PretendLine {
    fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }
}

impl StopInput for PretendLine {
    fn is_pressed(&mut self) -> Result<bool, StopInputError> {
        match self.0.load(Ordering::SeqCst) {
            RELEASED => Ok(false),
            PRESSED => Ok(true),
            UNPLUGGED => Err(StopInputError::Unreadable("no such device".into())),
            _ => panic!("the driver is broken on purpose"),
        }
    }
}

/// A loop over the simulated base, whose time is ours.
struct Rig {
    control: ControlLoop,
    desk: Arc<Desk>,
    handle: JournalHandle,
    journal: Journal,
    now: u64,
    view: Arc<View>,
}

impl Rig {
    fn new(site: &Site) -> Self {
        let text = std::fs::read_to_string(site.path("world.toml")).unwrap();
        let world: SimConfig = toml::from_str(&text).unwrap();
        let base = SimBase::new(robot(), world, 1).unwrap();
        let (journal, handle) = site.journal();
        let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
        let all =
            grant::Grants { bits: u64::MAX, expires: MonoNanos(u64::MAX), ..grant::Grants::NONE };
        desk.set_authority(&all, false);
        let view = Arc::new(View::default());
        let queue = handle.control_queue();
        let seen = Arc::clone(&view);
        let policy = site.policy();
        let control = ControlLoop::new(Box::new(base), &policy, Arc::clone(&desk), queue, seen);
        Self { control, desk, handle, journal, now: 1_000_000_000, view }
    }

    /// Obeys a line that reads as told.
    fn with_line(mut self) -> (Self, PretendLine, StopReader) {
        let line = PretendLine::default();
        let (reader, signal) = StopReader::new(Box::new(line.clone()), Arc::clone(&self.desk));
        self.control = self.control.with_stop_input(signal);
        (self, line, reader)
    }

    /// Ticks for so long with a skill that wishes `goal`, and waits for the disk, whose time is
    /// not ours.
    fn run(&mut self, millis: u64, goal: Goal, mut each: impl FnMut(MonoNanos)) {
        for _ in 0..millis * 1_000_000 / TICK {
            self.now += TICK;
            let now = MonoNanos(self.now);
            each(now);
            let until = now.plus(Duration::from_secs(1));
            self.desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
            self.control.tick(now);
            let later = now.plus(Duration::from_secs(1));
            while self.handle.oldest_uncommitted_age(later) > Duration::ZERO {
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    }

    fn speed(&self) -> f64 {
        self.view.observation().unwrap().twist.value.linear.abs()
    }

    fn pose(&self) -> Pose {
        self.view.observation().unwrap().pose.value
    }

    fn entries(&self, class: Class) -> Vec<Entry> {
        // A stop of the loop's is queued and no more when the tick is over.
        let wait = self
            .handle
            .append_durable(Entry::Link(nooterra_protocol::entry::Link { reason: None, up: true }));
        wait.unwrap();
        let records = self.handle.read_from(class, 0, 1 << 22).unwrap();
        let entry = |bytes: Vec<u8>| {
            nooterra_evidence::Record::decode(&bytes).unwrap().entry().unwrap().unwrap()
        };
        records.into_iter().map(|(_, bytes)| entry(bytes)).collect()
    }

    fn stops(&self) -> Vec<String> {
        let entries = self.entries(Class::Critical).into_iter();
        entries
            .filter_map(|entry| match entry {
                Entry::Stop(stop) => Some(stop.reason),
                _ => None,
            })
            .collect()
    }

    fn shadows(&self, written: &ShadowJournal) -> Vec<Shadow> {
        written.write();
        let entries = self.entries(Class::Normal).into_iter();
        entries
            .filter_map(|entry| match entry {
                Entry::Shadow(shadow) => Some(shadow),
                _ => None,
            })
            .collect()
    }
}

const AHEAD: Goal = Goal::Drive(Twist { linear: 0.5, angular: 0.0 });

/// Turning on the spot, for as long as one likes.
const ROUND: Goal = Goal::Drive(Twist { linear: 0.0, angular: 1.0 });

fn owner() -> Ed25519Key {
    Ed25519Key::from_seed([9; 32])
}

#[test]
fn a_pressed_input_stops_the_robot_until_it_is_released_and_then_somebody_lifts_the_stop() {
    let site = Site::new();
    let mut document = site.document();
    // Whatever the policy says of other stops, this one stays.
    document.latches.emergency_stop = Clear::Released;
    site.sign_policy(&document, &owner());
    let (mut rig, line, mut reader) = Rig::new(&site).with_line();
    rig.run(1_000, AHEAD, |now| reader.poll(now));
    assert!(rig.speed() > 0.3, "{}", rig.speed());
    line.set(PRESSED);
    rig.run(1_200, AHEAD, |now| reader.poll(now));
    assert!(rig.speed() < 0.02, "{}", rig.speed());

    rig.desk.release_emergency_stop(MonoNanos(rig.now));
    rig.run(200, AHEAD, |now| reader.poll(now));
    line.set(RELEASED);
    rig.run(600, AHEAD, |now| reader.poll(now));
    assert!(rig.speed() < 0.02, "lifted while it was pressed: {}", rig.speed());
    assert!(rig.desk.emergency_stop(), "and the robot says so");
    let restarted = Desk::new(rig.handle.clone(), &site.policy());
    assert!(restarted.emergency_stop(), "over a restart too");

    rig.desk.release_emergency_stop(MonoNanos(rig.now));
    rig.run(1_000, AHEAD, |now| reader.poll(now));
    assert!(rig.speed() > 0.2, "{}", rig.speed());
    assert_eq!(rig.stops(), ["the stop input is pressed"]);
    let verdicts = rig.entries(Class::Normal);
    let by_stop =
        |entry: &&Entry| matches!(entry, Entry::Verdict(v) if v.rule == Rule::EmergencyStop);
    assert_eq!(verdicts.iter().filter(by_stop).count(), 2, "it began and it ended");
}

#[test]
fn a_press_that_is_over_before_a_tick_sees_it_stops_the_robot_all_the_same() {
    let site = Site::new();
    let (mut rig, line, mut reader) = Rig::new(&site).with_line();
    rig.run(1_000, AHEAD, |now| reader.poll(now));
    line.set(PRESSED);
    reader.poll(MonoNanos(rig.now + 5_000_000));
    line.set(RELEASED);
    rig.run(1_200, AHEAD, |now| reader.poll(now));
    assert!(rig.speed() < 0.02, "{}", rig.speed());
}

#[test]
fn an_input_that_cannot_be_read_or_whose_reader_is_silent_is_a_stop() {
    let site = Site::new();
    let (mut rig, line, mut reader) = Rig::new(&site).with_line();
    rig.run(800, ROUND, |now| reader.poll(now));
    assert_eq!(rig.stops(), [""; 0]);
    line.set(UNPLUGGED);
    rig.run(600, ROUND, |now| reader.poll(now));
    line.set(RELEASED);
    rig.run(200, ROUND, |now| reader.poll(now));
    assert!(rig.view.observation().unwrap().twist.value.angular.abs() < 0.05);
    assert_eq!(rig.stops(), ["the stop input cannot be read"]);

    rig.desk.release_emergency_stop(MonoNanos(rig.now));
    rig.run(600, ROUND, |now| reader.poll(now));
    assert!(rig.view.observation().unwrap().twist.value.angular > 0.5);
    let silent_at = rig.now;
    rig.run(800, ROUND, |_| {});
    assert!(rig.view.observation().unwrap().twist.value.angular.abs() < 0.05);
    assert_eq!(rig.stops().last().unwrap(), "the reader of the stop input is silent");
    let age = Duration::from_nanos(rig.now - silent_at);
    assert!(age > MAX_READING_AGE);
    rig.run(200, ROUND, |now| reader.poll(now));
    assert!(rig.view.observation().unwrap().twist.value.angular.abs() < 0.05, "it stays");
}

#[test]
fn a_reader_that_dies_is_a_stop_that_outlives_a_restart() {
    // A machine that holds this thread up between the reading and the tick is silence, too.
    let (site, mut rig, line, thread) = std::iter::repeat_with(|| {
        let site = Site::new();
        let (mut rig, line, reader) = Rig::new(&site).with_line();
        let before = clock::mono();
        let thread = reader.spawn(&site.config().control).unwrap();
        let now = clock::mono();
        rig.control.tick(now);
        let in_time = now.since(before).is_some_and(|held_up| held_up < MAX_READING_AGE);
        in_time.then_some((site, rig, line, thread))
    })
    .flatten()
    .next()
    .unwrap();
    assert_eq!(rig.stops(), [""; 0], "its first reading is there before the first tick");
    line.set(BROKEN);
    while !thread.is_over() {
        std::thread::sleep(Duration::from_millis(1));
    }
    rig.control.tick(clock::mono());
    assert_eq!(rig.stops(), ["the reader of the stop input is silent"]);
    assert!(Desk::new(rig.handle.clone(), &site.policy()).emergency_stop());
}

/// Signs a candidate beside the policy, and names it in the configuration.
fn candidate(site: &Site, change: impl FnOnce(&mut PolicyDocument)) {
    let mut document = site.document();
    document.id = PolicyId::new("candidate").unwrap();
    document.version = 7;
    change(&mut document);
    let signed = Signed::sign(document, &owner()).unwrap();
    std::fs::write(site.path("candidate.cbor"), signed.bytes()).unwrap();
    site.edit("agent.toml", "[policy]", "[policy]\nshadow = \"candidate.cbor\"");
}

fn shadowed(site: &Site) -> (Rig, ShadowJournal) {
    let mut rig = Rig::new(site);
    let candidate = envelope::load_shadow(&site.config()).unwrap().unwrap();
    let (watch, records) =
        shadow(candidate, site.policy(), rig.handle.clone(), Arc::clone(&rig.desk));
    rig.control = rig.control.with_shadow(watch);
    (rig, records)
}

#[test]
fn a_stricter_candidate_says_that_it_would_have_stopped_and_the_robot_drives_on() {
    let plain = Site::new();
    let mut alone = Rig::new(&plain);
    alone.run(3_000, AHEAD, |_| {});

    let site = Site::new();
    let from = alone.view.observation().unwrap().pose.value;
    candidate(&site, |document| {
        let mut shut =
            document.zones.iter().find(|zone| zone.id.as_str() == "press").unwrap().clone();
        shut.id = ZoneId::new("new-rack").unwrap();
        assert_eq!(shut.rule, ZoneRule::KeepOut);
        let corner = |x: f64, y: f64| Point::new(from.x + x, from.y + y);
        shut.polygon =
            vec![corner(-0.1, -1.0), corner(0.4, -1.0), corner(0.4, 1.0), corner(-0.1, 1.0)];
        document.zones.push(shut);
    });
    let (mut rig, written) = shadowed(&site);
    rig.run(3_000, AHEAD, |_| {});
    assert_eq!(rig.pose(), alone.pose(), "to the last bit: it moves nothing");
    rig.run(600, Goal::Stand, |_| {});
    rig.run(700, Goal::Stand, |_| {});
    let shadows = rig.shadows(&written);
    let found = shadows.iter().filter_map(|shadow| shadow.finding.as_ref());
    let stop = found.clone().find(|finding| finding.difference == Difference::WouldStop).unwrap();
    assert_eq!(stop.rule, Some(Rule::ZoneKeepOut));
    assert_eq!(stop.zone.as_ref().unwrap().as_str(), "new-rack");
    assert!(stop.allowed.forward_mps() > 0.3 && stop.would.forward_mps() < 0.02, "{stop:?}");
    let phases: Vec<ShadowPhase> = shadows.iter().map(|shadow| shadow.phase).collect();
    assert_eq!((phases[0], *phases.last().unwrap()), (ShadowPhase::Began, ShadowPhase::Ended));
    assert!(phases.len() <= 6, "a bounded rate: {phases:?}");
    let last = shadows.last().unwrap();
    assert!(last.counts.would_stop > 10 && last.counts.would_allow == 0, "{:?}", last.counts);
    assert_eq!(last.candidate_version, 7);

    // The command reads the same from the black box.
    drop(rig.control);
    rig.journal.close().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .arg("--config")
        .arg(site.path("agent.toml"))
        .args(["policy", "shadow"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("would have stopped") && said.contains("(new-rack)"), "{said}");
}

#[test]
fn a_looser_candidate_says_that_it_would_have_allowed_and_the_robot_stays_stopped() {
    let site = Site::new();
    candidate(&site, |document| document.zones.retain(|zone| zone.id.as_str() != "press"));
    let (mut rig, written) = shadowed(&site);
    let through = Goal::GoTo { speed_mps: 1.0, to: Point::new(5.0, 4.0), yaw: None };
    rig.run(8_000, through, |_| {});
    assert!(rig.pose().point().distance(Point::new(4.0, 2.6)) > 0.43, "{:?}", rig.pose());
    let shadows = rig.shadows(&written);
    let found = shadows.iter().filter_map(|shadow| shadow.finding.as_ref());
    let allow = found
        .filter(|finding| finding.difference == Difference::WouldAllow)
        .find(|finding| finding.rule == Some(Rule::ZoneKeepOut))
        .unwrap();
    assert_eq!(allow.zone.as_ref().unwrap().as_str(), "press", "that of the policy in force");
}

#[test]
fn after_a_stop_past_both_gates_the_candidate_too_begins_at_what_is_measured() {
    let site = Site::new();
    // What they disagree about can only be what they remember.
    candidate(&site, |_| {});
    let (mut rig, written) = shadowed(&site);
    rig.run(1_000, AHEAD, |_| {});
    assert!(rig.speed() > 0.3, "{} m/s", rig.speed());
    for _ in 0..100 {
        rig.control.stop(MonoNanos(rig.now), "on purpose");
        rig.run(20, AHEAD, |_| {});
    }
    assert!(rig.speed() < 0.1, "{} m/s", rig.speed());
    let shadows = rig.shadows(&written);
    assert!(shadows.is_empty(), "{shadows:?}");
}

#[test]
fn a_shadow_allocates_nothing_on_the_tick() {
    let site = Site::new();
    candidate(&site, |document| document.limits.max_linear_mps = 0.4);
    let (journal, handle) = site.journal();
    let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
    let candidate = envelope::load_shadow(&site.config()).unwrap().unwrap();
    let (mut watch, written) = shadow(candidate, site.policy(), handle, desk);
    let mut gate = Gate::new(&site.policy());
    let mut now = MonoNanos(1_000_000_000);
    let mut before = 0;
    for tick in 1_u32..=3_000 {
        now = MonoNanos(now.0 + TICK);
        let turn = f64::from(tick) / 50.0;
        let value = Pose { x: 2.0 + turn.sin(), y: 1.5, yaw: turn };
        let pose = Timed { at: now, value };
        let twist = Timed { at: now, value: Planar::new(0.3, 0.0, 0.0) };
        let speed = if tick % 200 < 100 { 1.0 } else { 0.1 };
        let command = Twist::new(speed, 0.0).into();
        let until = now.plus(Duration::from_secs(1));
        let inputs = Inputs {
            grants: Grants::ALL,
            wishes: Wishes { skill: Some(Wish { at: now, command, until }), ..Wishes::default() },
            ..Inputs::new(u64::from(tick), now, pose, twist)
        };
        let outcome = gate.tick(&inputs);
        let real = Real {
            allowed: outcome.allowed,
            asked: outcome.asked,
            source: outcome.source,
            verdicts: &outcome.verdicts,
        };
        if tick == 2 {
            before = CALLS.with(Cell::get);
        }
        watch.observe(&inputs, &real);
    }
    assert_eq!(CALLS.with(Cell::get) - before, 0);
    written.write();
    drop(watch);
    journal.close().unwrap();
}

fn check(site: &Site) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .arg("--config")
        .arg(site.path("agent.toml"))
        .arg("check")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_check_names_a_stop_input_that_is_not_there_and_a_candidate_of_a_stranger() {
    let site = Site::new();
    candidate(&site, |_| {});
    let (code, said) = check(&site);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("shadow candidate version 7"), "{said}");
    let stranger = Signed::sign(site.document(), &Ed25519Key::from_seed([4; 32])).unwrap();
    std::fs::write(site.path("candidate.cbor"), stranger.bytes()).unwrap();
    let (code, said) = check(&site);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("candidate.cbor: "), "{said}");

    let site = Site::new();
    site.edit("agent.toml", "[link]", "[stop_input]\nchip = \"gpiochip0\"\nline = 3\n\n[link]");
    let (code, said) = check(&site);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("there is no such GPIO chip"), "{said}");
}
