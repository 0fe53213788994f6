//! The control loop over a simulated robot and a real journal.

use crate::common::{Site, robot};
use nooterra_agent::control::{ControlLoop, ControlThread, Desk, Exit, Goal, Lease, View};
use nooterra_blackbox::{Journal, JournalHandle};
use nooterra_hal::sim::{SimBase, SimConfig};
use nooterra_hal::{HalError, Robot};
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, Source, StopProfile};
use nooterra_protocol::entry::{Class, Entry, Rule, Verdict};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::grant::Grants;
use nooterra_protocol::ids::EnvelopeId;
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::observation::{Battery, Capabilities, Observation, Timed};
use nooterra_protocol::policy::BatteryReserve;
use nooterra_protocol::time::MonoNanos;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TICK: u64 = 20_000_000;

/// A loop whose time is ours.
struct Rig {
    control: ControlLoop,
    desk: Arc<Desk>,
    handle: JournalHandle,
    _journal: Journal,
    now: u64,
    pose: Arc<Mutex<Pose>>,
    view: Arc<View>,
}

/// The simulated base, and where it truly is.
struct Watched {
    base: SimBase,
    truth: Arc<Mutex<Pose>>,
}

impl Robot for Watched {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let seen = self.base.read(now);
        *self.truth.lock().unwrap() = self.base.truth();
        seen
    }
    fn write(&mut self, now: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        self.base.write(now, tick, c)
    }
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.base.stop(now, profile)
    }
}

fn base(site: &Site) -> SimBase {
    let text = std::fs::read_to_string(site.path("world.toml")).unwrap();
    let world: SimConfig = toml::from_str(&text).unwrap();
    SimBase::new(robot(), world, 1).unwrap()
}

/// Everything, to everybody, without an end.
fn granted() -> Grants {
    Grants { bits: u64::MAX, expires: MonoNanos(u64::MAX), ..Grants::NONE }
}

impl Rig {
    fn new(site: &Site) -> Self {
        let pose = Arc::new(Mutex::new(Pose::default()));
        let robot = Watched { base: base(site), truth: Arc::clone(&pose) };
        Self::with(site, Box::new(robot), pose)
    }

    fn with(site: &Site, robot: Box<dyn Robot>, pose: Arc<Mutex<Pose>>) -> Self {
        let (journal, handle) = site.journal();
        let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
        desk.set_authority(&granted(), false);
        let view = Arc::new(View::default());
        let control = ControlLoop::new(
            robot,
            &site.policy(),
            Arc::clone(&desk),
            handle.control_queue(),
            Arc::clone(&view),
        );
        Self { control, desk, handle, _journal: journal, now: 1_000_000_000, pose, view }
    }

    /// Ticks for so long, with `each` before every tick. The clock is ours and the disk is
    /// not, so each tick waits until its records are durable.
    fn run(&mut self, millis: u64, mut each: impl FnMut(&Desk, MonoNanos)) {
        let ticks = millis * 1_000_000 / TICK;
        for _ in 0..ticks {
            self.now += TICK;
            let now = MonoNanos(self.now);
            each(&self.desk, now);
            self.control.tick(now);
            while self.handle.oldest_uncommitted_age(now.plus(Duration::from_secs(1)))
                > Duration::ZERO
            {
                std::thread::sleep(Duration::from_micros(300));
            }
        }
    }

    fn pose(&self) -> Pose {
        *self.pose.lock().unwrap()
    }

    fn speed(&self) -> f64 {
        self.view.observation().unwrap().twist.value.linear.abs()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut found = Vec::new();
        for (_, bytes) in self.handle.read_from(Class::Normal, 0, 1 << 22).unwrap() {
            if let Some(Entry::Verdict(verdict)) =
                nooterra_evidence::Record::decode(&bytes).unwrap().entry().unwrap()
            {
                found.push(verdict);
            }
        }
        found
    }
}

#[test]
fn an_operator_who_aims_through_the_press_is_stopped_before_it() {
    let site = Site::new();
    let mut rig = Rig::new(&site);
    let until = MonoNanos(rig.now + 20_000_000_000);
    let goal = Goal::GoTo { speed_mps: 1.0, to: Point::new(5.0, 4.0), yaw: None };
    let lease = Lease { goal, holds: true, renewed: MonoNanos(rig.now), until };
    rig.desk.set_operator(lease, EnvelopeId::new("env_1").unwrap());
    rig.run(12_000, |_, _| {});
    let pose = rig.pose();
    assert!(pose.x > 2.5, "it went as far as it may: {pose:?}");
    // The press zone begins at x = 4, y = 2.6; the footprint's circle has 0.43 m.
    let corner = Point::new(4.0, 2.6);
    assert!(pose.point().distance(corner) > 0.43, "{pose:?}");
    assert!(rig.speed() < 0.05);
    let verdicts = rig.verdicts();
    let stopped = verdicts.iter().find(|v| v.rule == Rule::ZoneKeepOut).expect("a verdict");
    assert_eq!(stopped.zone.as_ref().unwrap().as_str(), "press");
    assert_eq!(stopped.command.as_ref().unwrap().as_str(), "env_1");
    assert_eq!(stopped.source, Source::Operator);
}

#[test]
fn a_skill_that_falls_silent_leaves_the_robot_at_rest() {
    let site = Site::new();
    let mut rig = Rig::new(&site);
    let lease = |now: MonoNanos| Lease {
        goal: Goal::Drive(Twist::new(1.0, 0.0)),
        holds: false,
        renewed: now,
        until: now.plus(Duration::from_secs(2)),
    };
    rig.run(2_000, |desk, now| desk.set_skill(Some(lease(now))));
    assert!(rig.speed() > 0.5, "it drives while the skill speaks");
    rig.run(1800, |_, _| {});
    assert!(rig.speed() < 0.05, "{} m/s", rig.speed());
    assert!(rig.verdicts().iter().any(|verdict| verdict.rule == Rule::SourceStale));
}

#[test]
fn a_request_that_is_no_number_stops_the_robot() {
    let site = Site::new();
    let mut rig = Rig::new(&site);
    rig.run(1_000, |desk, now| {
        let goal = Goal::Drive(Twist::new(f64::NAN, 0.0));
        let until = now.plus(Duration::from_secs(1));
        desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
    });
    assert!(rig.speed() < 0.02);
    let verdicts = rig.verdicts();
    let refused = verdicts.iter().find(|v| v.rule == Rule::InputNan).expect("a verdict");
    assert_eq!(refused.asked.forward_mps(), None);
    assert_eq!(refused.allowed, Twist::ZERO.into());
}

#[test]
fn an_emergency_stop_overrules_everybody_until_it_is_lifted() {
    let site = Site::new();
    let mut rig = Rig::new(&site);
    let drive = |desk: &Desk, now: MonoNanos| {
        let until = now.plus(Duration::from_secs(1));
        let goal = Goal::Drive(Twist::new(0.5, 0.0));
        desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
    };
    rig.run(1_000, drive);
    rig.desk.press_emergency_stop();
    rig.run(1500, drive);
    assert!(rig.speed() < 0.02);
    rig.desk.release_emergency_stop(MonoNanos(rig.now));
    rig.run(1_000, drive);
    assert!(rig.speed() > 0.2);
}

/// A mock: a robot that fails in a chosen way, around the simulated one.
struct Failing {
    base: SimBase,
    panics_at: u32,
    reads: u32,
    stops: Arc<AtomicU32>,
}

impl Robot for Failing {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        self.reads += 1;
        assert!(self.reads != self.panics_at, "the driver is broken on purpose");
        if self.panics_at == 0 {
            return Err(HalError::Device("unplugged".into()));
        }
        self.base.read(now)
    }
    fn write(&mut self, now: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        self.base.write(now, tick, c)
    }
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.stops.fetch_add(1, Ordering::Relaxed);
        self.base.stop(now, profile)
    }
}

fn failing(site: &Site, panics_at: u32) -> (Journal, ControlLoop, Arc<AtomicU32>) {
    let stops = Arc::new(AtomicU32::new(0));
    let robot = Failing { base: base(site), panics_at, reads: 0, stops: Arc::clone(&stops) };
    let (journal, handle) = site.journal();
    let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
    desk.set_authority(&granted(), false);
    let view = Arc::new(View::default());
    let queue = handle.control_queue();
    let control = ControlLoop::new(Box::new(robot), &site.policy(), desk, queue, view);
    (journal, control, stops)
}

fn stop_reasons(handle: &JournalHandle) -> Vec<String> {
    // Until all is durable, however long that takes.
    while handle.oldest_uncommitted_age(MonoNanos(u64::MAX)) > Duration::ZERO {
        std::thread::sleep(Duration::from_millis(1));
    }
    let records = handle.read_from(Class::Critical, 0, 1 << 20).unwrap();
    records
        .into_iter()
        .filter_map(|(_, bytes)| {
            match nooterra_evidence::Record::decode(&bytes).unwrap().entry().unwrap() {
                Some(Entry::Stop(stop)) => Some(stop.reason),
                _ => None,
            }
        })
        .collect()
}

#[test]
fn a_panic_in_a_tick_ends_in_a_stop_that_is_recorded() {
    let site = Site::new();
    let (journal, control, stops) = failing(&site, 5);
    let thread = ControlThread::spawn(control, &site.config().control).unwrap();
    while !thread.is_over() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(thread.end(), Exit::Panicked);
    assert!(stops.load(Ordering::Relaxed) >= 1);
    assert_eq!(stop_reasons(&journal.handle()), ["the control loop panicked"]);
}

#[test]
fn a_start_that_fails_after_the_control_loop_began_leaves_no_robot_driving() {
    let site = Site::new();
    let (journal, control, stops) = failing(&site, u32::MAX);
    let thread = ControlThread::spawn(control, &site.config().control).unwrap();
    // Whatever comes next does not start: nobody ends the thread.
    drop(thread);
    // The robot is gone with its loop.
    assert_eq!(Arc::strong_count(&stops), 1);
    assert!(stops.load(Ordering::Relaxed) >= 1);
    assert_eq!(stop_reasons(&journal.handle()), ["the agent ends"]);
}

#[test]
fn a_robot_that_cannot_be_read_is_stopped_and_that_is_said_once() {
    let site = Site::new();
    let (journal, mut control, stops) = failing(&site, 0);
    for tick in 1..=20 {
        control.tick(MonoNanos(tick * TICK));
    }
    assert_eq!(stops.load(Ordering::Relaxed), 20, "told again at every tick");
    assert_eq!(stop_reasons(&journal.handle()), ["the robot cannot be read"]);
}

/// A mock: a robot that stands and takes no setpoints for a while, and then the first one.
struct Deaf {
    base: SimBase,
    deaf: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Command>>>,
    unreadable: Arc<AtomicBool>,
}

impl Robot for Deaf {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        if self.unreadable.load(Ordering::Relaxed) {
            return Err(HalError::Device("unplugged".into()));
        }
        self.base.read(now)
    }
    fn write(&mut self, _: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        if self.deaf.load(Ordering::Relaxed) {
            return Err(HalError::Device("no answer".into()));
        }
        self.taken.lock().unwrap().push(c.open(&robot(), tick)?);
        Ok(())
    }
    fn stop(&mut self, _: MonoNanos, _: StopProfile) -> Result<(), HalError> {
        Ok(())
    }
}

#[test]
fn after_a_stop_past_the_gate_a_robot_is_told_to_start_gently_and_not_where_the_ramp_had_been() {
    let site = Site::new();
    let (deaf, unreadable) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let taken = Arc::default();
    let robot = Deaf {
        base: base(&site),
        deaf: Arc::clone(&deaf),
        taken: Arc::clone(&taken),
        unreadable: Arc::clone(&unreadable),
    };
    let mut rig = Rig::with(&site, Box::new(robot), Arc::default());
    let drive = |desk: &Desk, now: MonoNanos| {
        let until = now.plus(Duration::from_secs(1));
        let goal = Goal::Drive(Twist::new(0.8, 0.0));
        desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
    };
    let fastest = |taken: &Arc<Mutex<Vec<Command>>>| {
        let taken = std::mem::take(&mut *taken.lock().unwrap());
        taken.iter().map(Command::forward_mps).fold(0.0, f64::max)
    };
    rig.run(2_000, drive);
    deaf.store(false, Ordering::Relaxed);
    rig.run(60, drive);
    let first = fastest(&taken);
    assert!(first > 0.0 && first < 0.1, "after two seconds of silence: {first} m/s");
    // It stands as long as it is not told otherwise, and the gate believes that it drives.
    rig.run(2_000, drive);
    assert!(fastest(&taken) > 0.3);
    unreadable.store(true, Ordering::Relaxed);
    rig.run(40, drive);
    unreadable.store(false, Ordering::Relaxed);
    rig.run(20, drive);
    let first = fastest(&taken);
    assert!(first < 0.1, "after two ticks without a reading: {first} m/s");
}

#[test]
fn each_outage_has_its_record_also_where_only_the_gate_stopped_the_robot_between_two() {
    let site = Site::new();
    let (deaf, unreadable) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let robot = Deaf {
        base: base(&site),
        deaf: Arc::clone(&deaf),
        taken: Arc::default(),
        unreadable: Arc::clone(&unreadable),
    };
    let mut rig = Rig::with(&site, Box::new(robot), Arc::default());
    rig.run(40, |_, _| {});
    rig.desk.press_emergency_stop();
    for _ in 0..3 {
        unreadable.store(true, Ordering::Relaxed);
        rig.run(100, |_, _| {});
        unreadable.store(false, Ordering::Relaxed);
        rig.run(100, |_, _| {});
    }
    assert_eq!(stop_reasons(&rig.handle), ["the robot cannot be read"; 3]);
    let drive = |desk: &Desk, now: MonoNanos| {
        let until = now.plus(Duration::from_secs(1));
        let goal = Goal::Drive(Twist::new(0.3, 0.0));
        desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
    };
    deaf.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        rig.desk.release_emergency_stop(MonoNanos(rig.now));
        rig.run(200, drive);
        rig.desk.press_emergency_stop();
        rig.run(200, drive);
    }
    let reasons = stop_reasons(&rig.handle);
    assert_eq!(reasons[3..], ["the robot does not take commands"; 2]);
}

/// A mock: a robot that takes no stop for a while, around the simulated one.
struct Unstoppable {
    base: SimBase,
    refuses: Arc<AtomicBool>,
}

impl Robot for Unstoppable {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        self.base.read(now)
    }
    fn write(&mut self, now: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        self.base.write(now, tick, c)
    }
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(HalError::Device("no answer".into()));
        }
        self.base.stop(now, profile)
    }
}

#[test]
fn a_stop_that_the_robot_does_not_take_is_recorded_once_for_each_time() {
    let site = Site::new();
    let refuses = Arc::new(AtomicBool::new(false));
    let robot = Unstoppable { base: base(&site), refuses: Arc::clone(&refuses) };
    let mut rig = Rig::with(&site, Box::new(robot), Arc::default());
    rig.run(40, |_, _| {});
    rig.desk.press_emergency_stop();
    for _ in 0..3 {
        refuses.store(true, Ordering::Relaxed);
        rig.run(100, |_, _| {});
        refuses.store(false, Ordering::Relaxed);
        rig.run(100, |_, _| {});
    }
    assert_eq!(stop_reasons(&rig.handle), ["the robot does not take the stop"; 3]);
    // Stopped past the gate, the record of why comes first.
    refuses.store(true, Ordering::Relaxed);
    rig.control.stop(MonoNanos(rig.now), "a reason");
    assert_eq!(stop_reasons(&rig.handle)[3..], ["a reason", "the robot does not take the stop"]);
    // And again behind each other reason, so that none of them reads as if it had been taken.
    rig.control.stop(MonoNanos(rig.now), "a reason");
    rig.control.stop(MonoNanos(rig.now), "another");
    assert_eq!(stop_reasons(&rig.handle)[5..], ["another", "the robot does not take the stop"]);
}

/// A mock: a robot that stands, whose charge was measured once.
struct OldCharge {
    base: SimBase,
    measured: Option<Timed<Battery>>,
}

impl Robot for OldCharge {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let seen = self.base.read(now)?;
        let battery = *self.measured.get_or_insert(seen.battery.unwrap());
        Ok(Observation { battery: Some(battery), ..seen })
    }
    fn write(&mut self, _: MonoNanos, _: u64, _: Gated<Command>) -> Result<(), HalError> {
        Ok(())
    }
    fn stop(&mut self, _: MonoNanos, _: StopProfile) -> Result<(), HalError> {
        Ok(())
    }
}

#[test]
fn a_charge_that_was_measured_long_ago_is_none() {
    let site = Site::new();
    let mut document = site.document();
    let home = Point::new(0.0, 0.0);
    document.battery = Some(BatteryReserve { fraction_per_m: 0.001, home, reserve: 0.1 });
    site.sign_policy(&document, &Ed25519Key::from_seed([9; 32]));
    let robot = OldCharge { base: base(&site), measured: None };
    let mut rig = Rig::with(&site, Box::new(robot), Arc::default());
    let away = |desk: &Desk, now: MonoNanos| {
        let until = now.plus(Duration::from_secs(1));
        let goal = Goal::Drive(Twist::new(0.3, 0.0));
        desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
    };
    let held = |rig: &Rig| rig.verdicts().iter().any(|v| v.rule == Rule::BatteryReserve);
    rig.run(1_000, away);
    assert!(!held(&rig), "it is full");
    // Of a clock that goes on with the robot unread: the next tick begins as after a pause.
    rig.now += 61_000_000_000;
    rig.run(1_000, away);
    assert!(held(&rig), "nobody knows what is left");
}

/// A mock: the simulated robot with a stop button of its own.
struct Buttoned {
    base: SimBase,
    pressed: Arc<AtomicBool>,
}

impl Robot for Buttoned {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let emergency_stop = self.pressed.load(Ordering::Relaxed);
        self.base.read(now).map(|seen| Observation { emergency_stop, ..seen })
    }
    fn write(&mut self, now: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        self.base.write(now, tick, c)
    }
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.base.stop(now, profile)
    }
}

#[test]
fn a_press_of_the_robots_own_stop_outlives_a_restart_until_somebody_lifts_it() {
    let site = Site::new();
    let pressed = Arc::new(AtomicBool::new(false));
    let robot = Buttoned { base: base(&site), pressed: Arc::clone(&pressed) };
    let mut rig = Rig::with(&site, Box::new(robot), Arc::default());
    // As the agent looks, now and then.
    let look = |rig: &Rig| {
        if let Some(at) = rig.view.pressed_at() {
            rig.desk.keep_pressed(at);
        }
        Desk::new(rig.handle.clone(), &site.policy()).emergency_stop()
    };
    rig.run(100, |_, _| {});
    assert!(!look(&rig));
    pressed.store(true, Ordering::Relaxed);
    rig.run(100, |_, _| {});
    pressed.store(false, Ordering::Relaxed);
    rig.run(100, |_, _| {});
    assert!(look(&rig), "the agent began anew, and nobody said that it may move");
    rig.desk.release_emergency_stop(MonoNanos(rig.now));
    rig.run(100, |_, _| {});
    assert!(!look(&rig), "what was lifted does not come back");
}
