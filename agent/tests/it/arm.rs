//! The control loop over a simulated arm and a real journal.

use crate::common::Site;
use nooterra_agent::control::{ControlLoop, Desk, Goal, Lease, View, joints_of};
use nooterra_blackbox::{Journal, JournalHandle};
use nooterra_hal::sim::{ArmTruth, SimConfig, Simulated};
use nooterra_hal::{HalError, Robot};
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, PerJoint, StopProfile};
use nooterra_protocol::entry::{Class, Entry, Rule, Sample, Verdict};
use nooterra_protocol::geometry::{Point, Twist};
use nooterra_protocol::grant::Grants;
use nooterra_protocol::observation::{Capabilities, JointStates, Observation, Timed};
use nooterra_protocol::policy::Joint;
use nooterra_protocol::time::MonoNanos;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TICK: u64 = 20_000_000;

/// Of the simulated arm's positions, rad or m.
const NOISE: f64 = 1e-4;

/// A loop whose time is ours.
struct Rig {
    control: ControlLoop,
    desk: Arc<Desk>,
    encoders: Arc<Mutex<Encoders>>,
    handle: JournalHandle,
    _journal: Journal,
    limits: Vec<Joint>,
    now: u64,
    _site: Site,
    truth: Arc<Mutex<ArmTruth>>,
}

/// What becomes of the measured joints.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoders {
    Absent,
    Frozen,
    NoNumber,
    Well,
}

/// The simulated arm, and where it truly is.
struct Watched {
    encoders: Arc<Mutex<Encoders>>,
    last: Option<Timed<JointStates>>,
    robot: Simulated,
    truth: Arc<Mutex<ArmTruth>>,
}

impl Robot for Watched {
    fn capabilities(&self) -> Capabilities {
        self.robot.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let mut seen = self.robot.read(now)?;
        *self.truth.lock().unwrap() = self.robot.arm().unwrap();
        match *self.encoders.lock().unwrap() {
            Encoders::Absent => seen.joints = None,
            Encoders::Frozen => seen.joints = self.last,
            Encoders::NoNumber => {
                let joints = &mut seen.joints.as_mut().unwrap().value;
                joints.velocity = joints.velocity.map(|_| f64::NAN);
            }
            Encoders::Well => self.last = seen.joints,
        }
        Ok(seen)
    }
    fn write(&mut self, now: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        self.robot.write(now, tick, c)
    }
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.robot.stop(now, profile)
    }
}

impl Rig {
    fn new() -> Self {
        let site = Site::of("arm");
        let text = std::fs::read_to_string(site.path("world.toml")).unwrap();
        let world: SimConfig = toml::from_str(&text).unwrap();
        let policy = site.policy();
        let document = policy.document();
        let robot = Simulated::new(document.robot.clone(), world, 1).unwrap();
        let truth = Arc::new(Mutex::new(robot.arm().unwrap()));
        let (journal, handle) = site.journal();
        let desk = Arc::new(Desk::new(handle.clone(), &policy));
        // Everything, to everybody, without an end.
        let all = Grants { bits: u64::MAX, expires: MonoNanos(u64::MAX), ..Grants::NONE };
        desk.set_authority(&all, false);
        let encoders = Arc::new(Mutex::new(Encoders::Well));
        let (watched, ours) = (Arc::clone(&truth), Arc::clone(&encoders));
        let robot = Box::new(Watched { encoders: ours, last: None, robot, truth: watched });
        let view = Arc::new(View::default());
        let control =
            ControlLoop::new(robot, &policy, Arc::clone(&desk), handle.control_queue(), view);
        let limits = joints_of(&document.vehicle).to_vec();
        let now = 1_000_000_000;
        Self { control, desk, encoders, handle, _journal: journal, limits, now, _site: site, truth }
    }

    /// A skill wishes this for so long.
    fn wish(&mut self, goal: Goal, millis: u64) {
        for _ in 0..millis * 1_000_000 / TICK {
            self.now += TICK;
            let now = MonoNanos(self.now);
            let until = now.plus(Duration::from_secs(1));
            self.desk.set_skill(Some(Lease { goal, holds: false, renewed: now, until }));
            self.control.tick(now);
            // The clock is ours and the disk is not.
            while self.handle.oldest_uncommitted_age(now.plus(Duration::from_secs(1)))
                > Duration::ZERO
            {
                std::thread::sleep(Duration::from_micros(300));
            }
            for (position, limit) in self.truth().positions.iter().zip(&self.limits) {
                // The gate knows no more than the encoders, which are off by that much.
                let within = limit.min_position - NOISE..=limit.max_position + NOISE;
                assert!(within.contains(position), "{position} of {limit:?}");
            }
        }
    }

    fn truth(&self) -> ArmTruth {
        self.truth.lock().unwrap().clone()
    }

    fn records(&self, class: Class) -> Vec<Entry> {
        let records = self.handle.read_from(class, 0, 1 << 24).unwrap();
        let entry = |bytes: &[u8]| nooterra_evidence::Record::decode(bytes).unwrap().entry();
        records.iter().filter_map(|(_, bytes)| entry(bytes).unwrap()).collect()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let all = self.records(Class::Normal).into_iter();
        all.filter_map(|entry| if let Entry::Verdict(it) = entry { Some(it) } else { None })
            .collect()
    }

    fn samples(&self) -> Vec<Sample> {
        let all = Class::ALL.into_iter().flat_map(|class| self.records(class));
        all.filter_map(|entry| if let Entry::Sample(it) = entry { Some(it) } else { None })
            .collect()
    }
}

fn joints(positions: [f64; 3]) -> Goal {
    Goal::Joints { positions: PerJoint::new(&positions).unwrap(), speed: 1.0 }
}

const fn jaws(opening_m: f64) -> Goal {
    Goal::Gripper { opening_m, speed: 1.0 }
}

/// Shoulder and elbow that bring the tool over a place.
fn over(truth: &ArmTruth, at: Point) -> [f64; 2] {
    let upper = truth.shoulder.distance(truth.elbow);
    let fore = truth.elbow.distance(truth.tool);
    let reach = truth.shoulder.distance(at);
    let bend = ((reach * reach - upper * upper - fore * fore) / (2.0 * upper * fore)).acos();
    let bearing = (at.y - truth.shoulder.y).atan2(at.x - truth.shoulder.x);
    let heading = (truth.elbow.y - truth.shoulder.y).atan2(truth.elbow.x - truth.shoulder.x);
    // Where the shoulder's angle counts from.
    let zero = heading - truth.positions[0];
    let inner = (fore * bend.sin()).atan2(upper + fore * bend.cos());
    [nooterra_protocol::geometry::wrap_angle(bearing - inner - zero), bend]
}

#[test]
fn a_thing_is_taken_up_and_put_down_elsewhere_and_the_journal_has_every_joint_of_it() {
    let mut rig = Rig::new();
    let start = rig.truth();
    let thing = start.things[0];
    let from = over(&start, thing.at);
    let to = [from[0] + 0.6, from[1]];
    rig.wish(joints([from[0], from[1], 0.15]), 6_000);
    rig.wish(jaws(0.08), 2_000);
    rig.wish(joints([from[0], from[1], 0.01]), 3_000);
    rig.wish(jaws(0.0), 3_000);
    assert!(rig.truth().things[0].held, "{:?}", rig.truth());
    rig.wish(joints([from[0], from[1], 0.15]), 3_000);
    rig.wish(joints([to[0], to[1], 0.15]), 4_000);
    let carried = rig.truth();
    assert!(carried.things[0].held && carried.things[0].bottom_m > 0.1, "{carried:?}");
    rig.wish(joints([to[0], to[1], 0.01]), 3_000);
    rig.wish(jaws(0.08), 3_000);
    let end = rig.truth();
    assert!(!end.things[0].held && end.things[0].bottom_m.abs() < 1e-9, "{end:?}");
    assert!(end.things[0].at.distance(thing.at) > 0.1, "{end:?}");
    assert!(end.things[0].at.distance(end.tool) < 0.01, "{end:?}");
    let samples = rig.samples();
    assert!(samples.len() > 100, "ten a second while it moves: {}", samples.len());
    let states = samples.iter().map(|sample| sample.joints.unwrap());
    let highest = states.map(|joints| joints.position.as_slice()[0]).fold(f64::MIN, f64::max);
    assert!((highest - to[0].max(from[0])).abs() < 0.02, "{highest}");
    let known = [Rule::AccelJoint, Rule::SpeedJoint, Rule::JointPosition];
    assert!(rig.verdicts().iter().all(|verdict| known.contains(&verdict.rule)));
}

#[test]
fn what_is_asked_beyond_a_joints_range_ends_before_its_end() {
    let mut rig = Rig::new();
    rig.wish(joints([9.0, 0.5, 0.15]), 8_000);
    let truth = rig.truth();
    assert!(truth.positions[0] > rig.limits[0].max_position - 0.2, "{truth:?}");
    assert!(rig.verdicts().iter().any(|verdict| verdict.rule == Rule::JointPosition));
}

#[test]
fn a_wish_that_is_for_another_robot_holds_the_arm_where_it_is() {
    let two = Goal::Joints { positions: PerJoint::new(&[0.1, 0.1]).unwrap(), speed: 1.0 };
    let drive = Goal::Drive(Twist::new(0.1, 0.0));
    for (goal, rule) in [
        (two, Rule::CommandKind),
        (drive, Rule::CommandKind),
        (joints([f64::NAN, 0.0, 0.1]), Rule::InputNan),
    ] {
        let mut rig = Rig::new();
        let before = rig.truth();
        rig.wish(goal, 1_000);
        assert_eq!(rig.truth().positions.map(f64::to_bits), before.positions.map(f64::to_bits));
        assert!(rig.verdicts().iter().any(|verdict| verdict.rule == rule), "{goal:?}");
    }
}

#[test]
fn an_arm_that_is_stopped_stays_where_it_came_to_rest_until_somebody_says_that_it_may_go_on() {
    let mut rig = Rig::new();
    rig.wish(joints([1.0, 0.5, 0.15]), 400);
    rig.desk.press_emergency_stop();
    rig.wish(joints([1.0, 0.5, 0.15]), 1_000);
    let rest = rig.truth();
    rig.wish(joints([1.0, 0.5, 0.15]), 1_000);
    assert_eq!(rig.truth().positions.map(f64::to_bits), rest.positions.map(f64::to_bits));
    assert!(rest.positions[0] < 0.9, "{rest:?}");
    rig.desk.release_emergency_stop(MonoNanos(rig.now));
    rig.wish(joints([1.0, 0.5, 0.15]), 4_000);
    assert!((rig.truth().positions[0] - 1.0).abs() < 0.01, "{:?}", rig.truth());
}

#[test]
fn an_arm_whose_joints_are_not_known_comes_to_rest() {
    for (encoders, rule) in [
        (Encoders::Absent, Rule::InputStale),
        (Encoders::Frozen, Rule::InputStale),
        (Encoders::NoNumber, Rule::InputNan),
    ] {
        let mut rig = Rig::new();
        let goal = joints([-1.5, 0.5, 0.15]);
        rig.wish(goal, 500);
        *rig.encoders.lock().unwrap() = encoders;
        // What is 200 ms old is still believed, and then it brakes.
        rig.wish(goal, 1_000);
        let rest = rig.truth();
        rig.wish(goal, 1_000);
        let bits = |truth: ArmTruth| truth.positions.map(f64::to_bits);
        assert_eq!(bits(rig.truth()), bits(rest), "{encoders:?}");
        assert!(rig.truth().positions[0] > -1.4, "{encoders:?}: {:?}", rig.truth());
        assert!(rig.verdicts().iter().any(|verdict| verdict.rule == rule), "{encoders:?}");
    }
}
