//! The simulated arm against what it claims, driven through a gate as everything is.
// Rest and the ends of ranges are exact.
#![allow(clippy::float_cmp, clippy::unwrap_used)]
#![cfg(feature = "sim")]

mod common;

use common::{close, document, rectangle, robot, verified};
use nooterra_hal::conformance::{self, Nonconformance};
use nooterra_hal::sim::config::{ArmConfig, CameraConfig, MAX_THINGS, Thing};
use nooterra_hal::sim::{ConfigError, SimArm, SimBase, SimConfig, Simulated, WRITE_WATCHDOG};
use nooterra_hal::{HalError, Robot};
use nooterra_policy::{Action, Gate, Gated, Grants, Inputs, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::{Command, JointVelocities, PerJoint, StopProfile};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::observation::{Capabilities, JointStates, Observation, Timed};
use nooterra_protocol::policy::{Footprint, Joint, Limits, PolicyDocument, Vehicle};
use nooterra_protocol::time::MonoNanos;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(20);

/// The simulation's.
const SIM_STEP: Duration = Duration::from_millis(5);

/// Where the arm stands, away from the origin and turned.
const STANDS: Pose = Pose { x: 0.1, y: -0.05, yaw: 0.4 };

const ACCEL: [f64; 4] = [6.0, 8.0, 1.5, 1.0];

fn table_with(arm: ArmConfig) -> SimConfig {
    let room = rectangle((-1.0, -1.0), (1.0, 1.0));
    SimConfig { arm: Some(arm), ..SimConfig::room(room, STANDS) }
}

fn table(things: &[Thing]) -> SimConfig {
    table_with(ArmConfig { things: things.to_vec(), ..ArmConfig::default() })
}

/// Where the tool is with the joints at these angles.
fn tool(shoulder: f64, elbow: f64) -> Point {
    let (upper, fore) = (STANDS.yaw + shoulder, STANDS.yaw + shoulder + elbow);
    Point::new(
        STANDS.x + 0.4 * upper.cos() + 0.3 * fore.cos(),
        STANDS.y + 0.4 * upper.sin() + 0.3 * fore.sin(),
    )
}

/// A policy that lets through what the hardware cannot do: what holds it then is the hardware.
fn policy() -> VerifiedPolicy {
    let joint = Joint {
        max_accel: 500.0,
        max_effort: None,
        max_position: 100.0,
        max_velocity: 50.0,
        min_position: -100.0,
    };
    verified(PolicyDocument {
        footprint: Footprint::default(),
        limits: Limits::default(),
        vehicle: Vehicle::Joints { joints: vec![joint; 4], reaction_ms: 20 },
        ..document()
    })
}

fn joints(velocities: &[f64]) -> Command {
    Command::Joints(JointVelocities { joints: PerJoint::new(velocities).unwrap() })
}

/// What a gate makes of a wish.
fn gated(
    gate: &mut Gate,
    tick: u64,
    now: MonoNanos,
    seen: &Observation,
    command: Command,
) -> Gated<Command> {
    let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
    let outcome = gate.tick(&Inputs {
        grants: Grants::ALL,
        joints: seen.joints,
        wishes: Wishes {
            skill: Some(Wish { at: now, command, until: now.plus(STEP) }),
            ..Wishes::default()
        },
        ..Inputs::new(tick, now, seen.pose, twist)
    });
    match outcome.action {
        Action::Write(gated) => gated,
        Action::Stop(_) => panic!("{:?}", outcome.verdicts),
    }
}

/// An arm with its gate and its clock.
struct Drive {
    arm: SimArm,
    gate: Gate,
    now: MonoNanos,
    tick: u64,
}

impl Drive {
    fn new(config: SimConfig) -> Self {
        let arm = SimArm::new(robot(), config, 1).unwrap();
        Self { arm, gate: Gate::new(&policy()), now: MonoNanos(1_000_000_000), tick: 0 }
    }

    fn gated(&mut self, velocities: &[f64; 4]) -> Gated<Command> {
        self.now = self.now.plus(STEP);
        self.tick += 1;
        let seen = self.arm.read(self.now).unwrap();
        gated(&mut self.gate, self.tick, self.now, &seen, joints(velocities))
    }

    fn tick(&mut self, velocities: [f64; 4]) {
        let gated = self.gated(&velocities);
        self.arm.write(self.now, self.tick, gated).unwrap();
    }

    fn run(&mut self, seconds: f64, velocities: [f64; 4]) {
        let end = self.now.plus(Duration::from_secs_f64(seconds));
        while self.now < end {
            self.tick(velocities);
        }
    }

    /// Moves the joints to positions and comes to rest there.
    fn go(&mut self, to: [f64; 4]) {
        for _ in 0..400 {
            let errors = to.iter().zip(self.arm.truth().positions).map(|(to, at)| to - at);
            let mut velocities = [0.0; 4];
            for (velocity, (error, most)) in
                velocities.iter_mut().zip(errors.zip([1.0, 1.0, 0.2, 0.08]))
            {
                *velocity = (4.0 * error).clamp(-most, most);
            }
            self.tick(velocities);
        }
        self.run(0.5, [0.0; 4]);
    }

    /// Lets time pass without a write.
    fn wait(&mut self, span: Duration) -> Observation {
        self.now = self.now.plus(span);
        self.arm.read(self.now).unwrap()
    }

    /// As after a restart: the gate has seen no tick for a while.
    fn begin_anew(&mut self) {
        self.gate = Gate::new(&policy());
    }
}

fn effort(seen: &Observation) -> Vec<f64> {
    seen.joints.unwrap().value.effort.as_slice().to_vec()
}

#[test]
fn velocities_are_tracked_within_what_the_joints_can_accelerate() {
    let told = [1.0, -1.2, -0.1, -0.05];
    let mut drive = Drive::new(table(&[]));
    let (begin, mut before) = (drive.arm.truth().positions, [0.0; 4]);
    for _ in 0..50 {
        drive.tick(told);
        before = drive.arm.truth_velocities();
        for _ in 0..3 {
            drive.wait(SIM_STEP);
            let now = drive.arm.truth_velocities();
            for ((now, before), accel) in now.iter().zip(before).zip(ACCEL) {
                assert!((now - before).abs() <= accel * 0.005 + 1e-12, "{now} after {before}");
            }
            before = now;
        }
    }
    for (now, told) in before.iter().zip(told) {
        close(*now, told, 1e-12);
    }
    // As far as velocity and time say, less the ramp (v/2a), the first tick and the delay.
    let span_s = 50.0 * 0.035;
    let moved = drive.arm.truth().positions;
    for (((now, from), told), accel) in moved.iter().zip(begin).zip(told).zip(ACCEL) {
        let ramp_s = f64::abs(told) / accel / 2.0;
        close(now - from, told * (span_s - 0.02 - 0.02 - ramp_s), 0.01 * told.abs());
    }
}

#[test]
fn no_joint_is_faster_than_it_can_be_and_all_slow_down_by_one_ratio() {
    let mut drive = Drive::new(table(&[]));
    drive.run(0.4, [3.0, 1.0, -0.1, 0.0]);
    let [shoulder, elbow, lift, gripper] = drive.arm.truth_velocities();
    close(shoulder, 1.5, 1e-9);
    close(elbow, 0.5, 1e-9);
    close(lift, -0.05, 1e-9);
    close(gripper, 0.0, 1e-12);
}

#[test]
fn a_joint_ends_at_its_range_and_stands_there() {
    let mut drive = Drive::new(table(&[]));
    drive.run(6.0, [1.5, -1.5, -0.3, -0.1]);
    assert_eq!(drive.arm.truth().positions, [2.6, -2.6, 0.0, 0.0]);
    assert_eq!(drive.arm.truth_velocities(), [0.0; 4]);
    drive.run(8.0, [-1.5, 1.5, 0.3, 0.1]);
    assert_eq!(drive.arm.truth().positions, [-2.6, 2.6, 0.3, 0.1]);
    assert_eq!(drive.arm.truth_velocities(), [0.0; 4]);
}

#[test]
fn a_write_takes_effect_after_the_reaction_time_and_no_sooner() {
    let mut drive = Drive::new(table(&[]));
    drive.tick([0.5; 4]);
    drive.wait(Duration::from_millis(15));
    assert_eq!(drive.arm.truth_velocities(), [0.0; 4]);
    drive.wait(SIM_STEP);
    assert!(drive.arm.truth_velocities()[0] > 0.0);
}

#[test]
fn silence_beyond_the_watchdog_brings_it_to_rest() {
    let mut drive = Drive::new(table(&[]));
    drive.run(1.0, [0.5, 0.0, 0.0, 0.0]);
    drive.wait(WRITE_WATCHDOG);
    assert!(!drive.arm.is_watchdog_tripped());
    close(drive.arm.truth_velocities()[0], 0.5, 1e-9);
    drive.wait(Duration::from_millis(10));
    assert!(drive.arm.is_watchdog_tripped());
    drive.wait(Duration::from_millis(100));
    assert_eq!(drive.arm.truth_velocities(), [0.0; 4]);
    drive.begin_anew();
    drive.run(1.0, [0.2, 0.0, 0.0, 0.0]);
    assert!(!drive.arm.is_watchdog_tripped());
    close(drive.arm.truth_velocities()[0], 0.2, 1e-9);
}

#[test]
fn every_stop_brings_it_to_rest_within_its_deceleration_and_there_it_stays() {
    for profile in [
        StopProfile::ControlledHold,
        StopProfile::ControlledStopThenPowerOff,
        StopProfile::ImmediatePowerRemoval,
        StopProfile::Land,
    ] {
        let mut drive = Drive::new(table(&[]));
        drive.run(1.0, [1.2, -1.2, -0.15, -0.05]);
        drive.arm.stop(drive.now, profile).unwrap();
        // Shoulder 1.2 / 6 s, elbow and lift less; the delay is 20 ms.
        drive.wait(Duration::from_millis(100));
        assert!(drive.arm.truth_velocities()[0] > 0.0);
        drive.wait(Duration::from_millis(125));
        assert_eq!(drive.arm.truth_velocities(), [0.0; 4], "{profile:?}");
        let there = drive.arm.truth();
        drive.wait(Duration::from_secs(60));
        assert_eq!(drive.arm.truth(), there);
        drive.begin_anew();
        drive.run(0.5, [-0.3, 0.0, 0.0, 0.0]);
        close(drive.arm.truth_velocities()[0], -0.3, 1e-9);
    }
}

#[test]
fn the_button_takes_the_power_at_once_and_releasing_it_moves_nothing() {
    let mut drive = Drive::new(table(&[Thing { at: tool(0.0, 0.0), size_m: 0.04 }]));
    drive.go([0.0, 0.0, 0.02, 0.1]);
    drive.go([0.0, 0.0, 0.02, 0.0]);
    drive.run(0.6, [1.2, 0.0, 0.0, -0.1]);
    drive.arm.press_emergency_stop(true);
    // What is written meanwhile does not get through.
    drive.tick([1.2, 0.0, 0.0, 0.1]);
    assert!(drive.wait(Duration::from_millis(185)).emergency_stop);
    assert_eq!(drive.arm.truth_velocities(), [0.0; 4], "1.2 / 6 s, and no delay");
    assert!(drive.arm.truth().things[0].held, "the jaws keep what they hold");
    let there = drive.arm.truth();
    drive.arm.press_emergency_stop(false);
    assert!(!drive.wait(Duration::from_secs(1)).emergency_stop);
    assert_eq!(drive.arm.truth(), there);
}

#[test]
fn time_that_goes_back_is_refused_and_a_stop_counts_all_the_same() {
    let mut drive = Drive::new(table(&[]));
    drive.run(1.0, [1.2, 0.0, 0.0, 0.0]);
    let earlier = MonoNanos(drive.now.0 - 1);
    assert!(matches!(drive.arm.read(earlier), Err(HalError::Clock(1))));
    let refused = drive.arm.stop(earlier, StopProfile::ControlledHold);
    assert!(matches!(refused, Err(HalError::Clock(1))));
    drive.wait(Duration::from_millis(225));
    assert_eq!(drive.arm.truth_velocities(), [0.0; 4]);
    assert!(!drive.arm.is_watchdog_tripped());
}

#[test]
fn a_command_for_another_robot_tick_or_kind_of_robot_is_refused_and_moves_nothing() {
    let mut drive = Drive::new(table(&[]));
    let gate = drive.gated(&[0.5; 4]);
    let wrong = drive.arm.write(drive.now, drive.tick + 1, gate);
    assert!(matches!(wrong, Err(HalError::Gated(_))), "{wrong:?}");
    drive.tick([0.0; 4]);
    drive.tick -= 1;
    let gate = drive.gated(&[0.5; 4]);
    let again = drive.arm.write(drive.now, drive.tick, gate);
    assert!(matches!(again, Err(HalError::Tick { found: 2, last: 2 })), "{again:?}");
    let other = RobotId::new("arm-2").unwrap();
    let mut stranger = SimArm::new(other, table(&[]), 1).unwrap();
    let gate = drive.gated(&[0.5; 4]);
    let refused = stranger.write(drive.now, drive.tick, gate);
    assert!(matches!(refused, Err(HalError::Gated(_))), "{refused:?}");

    let base = Gate::new(&verified(document()));
    let three = |document: &PolicyDocument| match &document.vehicle {
        Vehicle::Joints { joints, reaction_ms } => {
            Vehicle::Joints { joints: joints[..3].to_vec(), reaction_ms: *reaction_ms }
        }
        other => other.clone(),
    };
    let fewer = policy().document().clone();
    let fewer = Gate::new(&verified(PolicyDocument { vehicle: three(&fewer), ..fewer }));
    for (mut gate, command) in [(base, Twist::new(0.5, 0.0).into()), (fewer, joints(&[0.5; 3]))] {
        drive.now = drive.now.plus(STEP);
        drive.tick += 1;
        let mut seen = drive.arm.read(drive.now).unwrap();
        let states = &mut seen.joints.as_mut().unwrap().value;
        for of_each in [&mut states.effort, &mut states.position, &mut states.velocity] {
            *of_each = PerJoint::new(&of_each.as_slice()[..3]).unwrap();
        }
        let gated = gated(&mut gate, drive.tick, drive.now, &seen, command);
        let refused = drive.arm.write(drive.now, drive.tick, gated);
        assert!(matches!(refused, Err(HalError::Command)), "{refused:?}");
    }
    for arm in [&mut drive.arm, &mut stranger] {
        arm.read(drive.now.plus(Duration::from_millis(100))).unwrap();
        assert_eq!(arm.truth().positions, [0.0, 0.0, 0.3, 0.1]);
    }
}

#[test]
fn a_base_takes_no_joints() {
    let hall =
        SimConfig::room(rectangle((0.0, 0.0), (4.0, 4.0)), Pose { x: 2.0, y: 2.0, yaw: 0.0 });
    let mut base = SimBase::new(robot(), hall, 1).unwrap();
    let mut drive = Drive::new(table(&[]));
    let gated = drive.gated(&[0.5; 4]);
    let refused = base.write(drive.now, drive.tick, gated);
    assert!(matches!(refused, Err(HalError::Command)), "{refused:?}");
}

#[test]
fn it_says_where_its_parts_are_and_what_it_is() {
    let mut drive = Drive::new(table(&[]));
    let told = drive.arm.capabilities();
    assert_eq!(told.names, ["gripper", "joints"]);
    assert_eq!(told.model, "Nooterra simulated arm");
    let seen = drive.wait(Duration::ZERO);
    assert!(seen.gripper && !seen.docked && seen.battery.is_none() && seen.scan.is_none());
    assert_eq!((seen.pose.value, seen.twist.value), (STANDS, Twist::ZERO));
    drive.go([0.5, -0.9, 0.2, 0.05]);
    let truth = drive.arm.truth();
    close(truth.tool.distance(tool(0.5, -0.9)), 0.0, 1e-3);
    close(truth.tool.distance(truth.elbow), 0.3, 1e-12);
    close(truth.elbow.distance(truth.shoulder), 0.4, 1e-12);
    assert_eq!(truth.shoulder, STANDS.point());
    assert_eq!((truth.lift_m, truth.opening_m), (truth.positions[2], truth.positions[3]));
}

#[test]
fn it_picks_a_thing_up_carries_it_and_drops_it_where_the_tool_is() {
    let (size_m, at) = (0.04, tool(0.5, 0.6));
    let mut drive = Drive::new(table(&[
        Thing { at: tool(-0.2, 0.3), size_m: 0.05 },
        Thing { at: Point::new(at.x + 0.005, at.y), size_m },
    ]));
    drive.go([0.5, 0.6, 0.01, 0.08]);
    let before = drive.wait(Duration::ZERO);
    assert_eq!(effort(&before), [0.0; 4]);
    drive.go([0.5, 0.6, 0.01, 0.0]);
    let truth = drive.arm.truth();
    assert!(truth.things[1].held && !truth.things[0].held);
    close(truth.opening_m, size_m, 1e-12);
    let seen = drive.wait(Duration::ZERO);
    assert_eq!(effort(&seen), [0.0, 0.0, 0.0, 30.0]);
    close(seen.joints.unwrap().value.position.as_slice()[3], size_m, 1.01e-4);
    close(seen.joints.unwrap().value.velocity.as_slice()[3], 0.0, 1.01e-3);

    drive.begin_anew();
    drive.go([0.5, 0.6, 0.2, 0.0]);
    close(drive.arm.truth().things[1].bottom_m, 0.19, 1e-3);
    drive.go([-0.6, -0.9, 0.2, 0.0]);
    let carried = drive.arm.truth();
    assert!(carried.things[1].held);
    // It lay 5 mm from the tool, and turned with it.
    close(carried.things[1].at.distance(tool(-0.6, -0.9)), 0.005, 1e-3);
    // Less than a millimetre wider, they still have it.
    drive.go([-0.6, -0.9, 0.2, size_m + 0.0007]);
    assert!(drive.arm.truth().things[1].held);
    drive.go([-0.6, -0.9, 0.2, 0.06]);
    let dropped = drive.arm.truth();
    assert!(!dropped.things[1].held);
    close(dropped.things[1].bottom_m, 0.0, 1e-12);
    close(dropped.things[1].at.distance(carried.things[1].at), 0.0, 1e-3);
    assert_eq!(effort(&drive.wait(Duration::ZERO)), [0.0; 4]);
    // It lies where it fell, and the other thing lies where it lay.
    drive.begin_anew();
    drive.go([0.0, 0.0, 0.2, 0.0]);
    let after = drive.arm.truth();
    assert_eq!(after.things[1], dropped.things[1]);
    assert_eq!(after.things[0].at, tool(-0.2, 0.3));
    close(after.opening_m, 0.0, 1e-6);
}

#[test]
fn what_is_pressed_onto_the_table_slips_and_does_not_go_through_it() {
    let mut drive = Drive::new(table(&[Thing { at: tool(0.0, 0.0), size_m: 0.04 }]));
    drive.go([0.0, 0.0, 0.03, 0.1]);
    drive.go([0.0, 0.0, 0.03, 0.0]);
    drive.go([0.0, 0.0, 0.1, 0.0]);
    close(drive.arm.truth().things[0].bottom_m, 0.07, 1e-3);
    drive.go([0.0, 0.0, 0.0, 0.0]);
    close(drive.arm.truth().things[0].bottom_m, 0.0, 1e-12);
    drive.go([0.0, 0.0, 0.1, 0.0]);
    close(drive.arm.truth().things[0].bottom_m, 0.1, 1e-3);
}

#[test]
fn jaws_miss_what_is_beside_them_below_them_or_too_wide_for_them() {
    let middle = tool(0.3, 0.3);
    let off = |metres: f64| Point::new(middle.x + metres, middle.y);
    for (thing, lift_m, opening_m, taken) in [
        (Thing { at: off(0.019), size_m: 0.04 }, 0.01, 0.1, true),
        (Thing { at: off(0.022), size_m: 0.04 }, 0.01, 0.1, false),
        (Thing { at: off(0.0), size_m: 0.04 }, 0.038, 0.1, true),
        (Thing { at: off(0.0), size_m: 0.04 }, 0.042, 0.1, false),
        (Thing { at: off(0.0), size_m: 0.04 }, 0.01, 0.043, true),
        (Thing { at: off(0.0), size_m: 0.04 }, 0.01, 0.037, false),
        // They could never open wide enough to let it go.
        (Thing { at: off(0.0), size_m: 0.0995 }, 0.01, 0.1, false),
    ] {
        let mut drive = Drive::new(table(&[thing]));
        drive.go([0.3, 0.3, 0.3, opening_m]);
        drive.go([0.3, 0.3, lift_m, opening_m]);
        drive.go([0.3, 0.3, lift_m, 0.0]);
        let truth = drive.arm.truth();
        assert_eq!(truth.things[0].held, taken, "{thing:?} at {lift_m} and {opening_m}");
        close(truth.opening_m, if taken { thing.size_m } else { 0.0 }, 1e-6);
        if !taken {
            assert_eq!((truth.things[0].at, truth.things[0].bottom_m), (thing.at, 0.0));
            assert_eq!(effort(&drive.wait(Duration::ZERO)), [0.0; 4]);
        }
    }
}

#[test]
fn the_same_seed_and_the_same_calls_are_the_same_run() {
    let run = |seed| {
        let mut drive = Drive::new(table(&[]));
        drive.arm = SimArm::new(robot(), table(&[]), seed).unwrap();
        let mut seen = Vec::new();
        for turn in 0_u32..300 {
            drive.tick([0.3, (f64::from(turn) / 20.0).sin(), -0.02, 0.0]);
            seen.push(drive.wait(Duration::ZERO));
        }
        (drive.arm.truth(), seen)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
}

#[test]
fn measured_and_true_joints_differ_by_no_more_than_stated() {
    let config = ArmConfig { position_noise: 0.002, velocity_noise: 0.004, ..ArmConfig::default() };
    let mut drive = Drive::new(table_with(config));
    let mut furthest = [0.0_f64; 2];
    for _ in 0..200 {
        drive.tick([0.2, 0.2, -0.02, -0.01]);
        let seen = drive.wait(Duration::ZERO).joints.unwrap();
        assert_eq!(seen.at, drive.now);
        let JointStates { position, velocity, .. } = seen.value;
        let (positions, velocities) = (drive.arm.truth().positions, drive.arm.truth_velocities());
        let all = [(position, positions, 0.002), (velocity, velocities, 0.004)];
        for ((measured, truth, most), furthest) in all.iter().zip(&mut furthest) {
            for (measured, truth) in measured.as_slice().iter().zip(truth) {
                assert!((measured - truth).abs() <= most + 1e-12);
                *furthest = furthest.max((measured - truth).abs() / most);
            }
        }
    }
    assert!(furthest.iter().all(|part| *part > 0.9), "{furthest:?}");
}

#[test]
fn it_conforms_to_the_contract_of_drivers() {
    let mut arm = SimArm::new(robot(), table(&[]), 3).unwrap();
    conformance::check(&mut arm, &policy(), MonoNanos(5), |_| ()).unwrap();
    let mut either = Simulated::new(robot(), table(&[]), 3).unwrap();
    conformance::check(&mut either, &policy(), MonoNanos(5), |_| ()).unwrap();
    let mut arm = SimArm::new(robot(), table(&[]), 3).unwrap();
    let other = conformance::check(&mut arm, &verified(document()), MonoNanos(5), |_| ());
    assert!(matches!(other, Err(Nonconformance::Joints { expected: 0, found: 4 })), "{other:?}");
}

/// An arm that measures a crawl whatever it does.
struct Restless(SimArm);

impl Robot for Restless {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let mut seen = self.0.read(now)?;
        let joints = &mut seen.joints.as_mut().unwrap().value;
        joints.velocity = joints.velocity.map(|_| 0.1);
        Ok(seen)
    }

    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.0.stop(now, profile)
    }

    fn write(
        &mut self,
        now: MonoNanos,
        tick: u64,
        command: Gated<Command>,
    ) -> Result<(), HalError> {
        self.0.write(now, tick, command)
    }
}

#[test]
fn an_arm_that_does_not_come_to_rest_does_not_conform() {
    let mut arm = Restless(SimArm::new(robot(), table(&[]), 3).unwrap());
    let found = conformance::check(&mut arm, &policy(), MonoNanos(5), |_| ());
    assert!(matches!(found, Err(Nonconformance::Motion { .. })), "{found:?}");
}

#[test]
fn what_a_configuration_describes_is_what_is_simulated() {
    let arm = Simulated::new(robot(), table(&[]), 1).unwrap();
    assert_eq!((arm.truth(), arm.truth_twist()), (STANDS, Twist::ZERO));
    assert_eq!(arm.arm().unwrap().positions, [0.0, 0.0, 0.3, 0.1]);
    let start = Pose { x: 0.2, y: 0.1, yaw: 0.0 };
    let hall = SimConfig::room(rectangle((-1.0, -1.0), (1.0, 1.0)), start);
    let base = Simulated::new(robot(), hall.clone(), 1).unwrap();
    assert!(matches!(base, Simulated::Base(_)));
    assert!((base.truth().x - 0.2).abs() < 1e-6 && base.arm().is_none());
    let wrong = SimBase::new(robot(), table(&[]), 1).unwrap_err();
    assert!(matches!(wrong, ConfigError::Kind { found: "an arm", .. }));
    let wrong = SimArm::new(robot(), hall, 1).unwrap_err();
    assert!(matches!(wrong, ConfigError::Kind { found: "a base", .. }));
    let origin = SimConfig { start: None, ..table(&[]) };
    assert_eq!(SimArm::new(robot(), origin, 1).unwrap().stands(), Pose::default());
}

#[test]
fn a_table_that_makes_no_sense_is_refused_by_key() {
    let thing = |x: f64, size_m| Thing { at: Point::new(x, 0.0), size_m };
    let arm = |change: &dyn Fn(&mut ArmConfig)| {
        let mut arm = ArmConfig::default();
        change(&mut arm);
        table_with(arm).check().map_err(|error| error.to_string())
    };
    assert_eq!(table(&[thing(0.98, 0.04)]).check(), Ok(()));
    for (refusal, words) in [
        (arm(&|a| a.upper_m = f64::NAN), "`arm.upper_m` is NaN; write 0.05 to 5"),
        (arm(&|a| a.max_accel[2] = 0.0), "`arm.max_accel[2]` is 0"),
        (arm(&|a| a.max_velocity[3] = -0.1), "`arm.max_velocity[3]` is -0.1"),
        (arm(&|a| a.elbow_rad = [1.0, -1.0]), "`arm.elbow_rad[1]` is -1; write 1.01 to 6.3"),
        (arm(&|a| a.position_noise = 0.1), "`arm.position_noise`"),
        (
            arm(&|a| a.start = Some([0.0, 2.7, 0.0, 0.0])),
            "`arm.start[1]` is 2.7; write -2.6 to 2.6",
        ),
        (arm(&|a| a.start = Some([0.0, 0.0, 0.31, 0.0])), "`arm.start[2]` is 0.31; write 0 to 0.3"),
        (arm(&|a| a.things = vec![thing(0.0, 0.004)]), "`arm.things[0].size_m` is 0.004"),
        (
            arm(&|a| a.things = vec![thing(0.0, 0.04), thing(0.99, 0.04)]),
            "`arm.things[1].at` (0.99, 0) is outside of `room`",
        ),
        (arm(&|a| a.things = vec![thing(f64::NAN, 0.04)]), "`arm.things[0].at` (NaN, 0)"),
        (
            arm(&|a| a.things = vec![thing(0.0, 0.04); MAX_THINGS + 1]),
            "`arm.things` has 65 entries; at most 64",
        ),
    ] {
        let refusal = refusal.unwrap_err();
        assert!(refusal.starts_with(words), "{refusal}, expected {words}");
    }
    let around = |change: fn(&mut SimConfig)| {
        let mut config = table(&[]);
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(around(|c| c.start = Some(Pose { x: 1.1, ..STANDS })).starts_with("`start` (1.1, "));
    assert!(around(|c| c.start = Some(Pose { yaw: f64::NAN, ..STANDS })).starts_with("`start`"));
    assert!(around(|c| c.base.radius_m = 0.3).starts_with("`base` means nothing to an arm"));
    assert!(around(|c| c.camera = Some(CameraConfig::default())).starts_with("`camera`"));
    assert!(around(|c| c.obstacles = vec![vec![]]).starts_with("`obstacles`"));
}

#[test]
fn a_configuration_file_needs_only_room_and_arm_and_refuses_unknown_keys() {
    let text = "room = [{x=-1.0,y=-1.0},{x=1.0,y=-1.0},{x=1.0,y=1.0},{x=-1.0,y=1.0}]\n[arm]\n";
    let config: SimConfig = toml::from_str(text).unwrap();
    assert_eq!(config, SimConfig { start: None, ..table(&[]) });
    let whole = table(&[Thing { at: Point::new(0.1, 0.2), size_m: 0.03 }]);
    let again: SimConfig = toml::from_str(&toml::to_string(&whole).unwrap()).unwrap();
    assert_eq!(again, whole);
    for (wrong, words) in [
        ("reach_m = 1.0\n", "reach_m"),
        ("max_accel = [1.0, 1.0, 1.0]\n", "array of length 4"),
        ("[[arm.things]]\nat = {x=0.0,y=0.0}\nsize_m = 0.03\ncolour = 3\n", "colour"),
        ("[[arm.things]]\nat = {x=0.0,y=0.0}\n", "size_m"),
    ] {
        let refusal = toml::from_str::<SimConfig>(&format!("{text}{wrong}")).unwrap_err();
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}

proptest! {
    #[test]
    fn whatever_it_is_told_no_joint_leaves_its_range_and_no_thing_its_laws(
        things in prop::collection::vec((-0.7..0.7, -0.7..0.7, 0.01..0.12), 0..30),
        told in prop::collection::vec(([-2.0..2.0, -2.0..2.0, -0.4..0.4, -0.2..0.2], 1..40_u32, 0..20_u8), 1..30),
    ) {
        let things: Vec<_> =
            things.iter().map(|(x, y, size_m)| Thing { at: Point::new(*x, *y), size_m: *size_m }).collect();
        let mut drive = Drive::new(table(&things));
        for (velocities, ticks, event) in told {
            if event == 0 {
                drive.wait(Duration::from_secs(1));
                drive.begin_anew();
            }
            drive.arm.press_emergency_stop(event == 1);
            for _ in 0..ticks {
                drive.tick(velocities);
                let truth = drive.arm.truth();
                let ranges = [[-2.6, 2.6], [-2.6, 2.6], [0.0, 0.3], [0.0, 0.1]];
                for (at, [low, high]) in truth.positions.iter().zip(ranges) {
                    prop_assert!((low..=high).contains(at));
                }
                prop_assert!(truth.things.iter().filter(|thing| thing.held).count() <= 1);
                for thing in &truth.things {
                    if thing.held {
                        let wider = truth.opening_m - thing.size_m;
                        prop_assert!((0.0..0.001 + 1e-9).contains(&wider), "{}", wider);
                        prop_assert!(thing.at.distance(truth.tool) <= thing.size_m / 2.0 + 1e-9);
                        prop_assert!((0.0..=truth.lift_m).contains(&thing.bottom_m));
                    } else {
                        prop_assert_eq!(thing.bottom_m, 0.0);
                    }
                }
            }
        }
    }

    #[test]
    fn no_numbers_in_a_configuration_make_it_panic(
        numbers in any::<[f64; 12]>(),
        things in prop::collection::vec(any::<(f64, f64, f64)>(), 0..4),
    ) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = numbers;
        let things = things.into_iter().map(|(x, y, size_m)| Thing { at: Point::new(x, y), size_m });
        let mut config = table_with(ArmConfig {
            elbow_rad: [a, b],
            fore_m: c,
            max_accel: [d; 4],
            max_velocity: [e; 4],
            position_noise: f,
            start: Some([g, h, i, j]),
            things: things.collect(),
            ..ArmConfig::default()
        });
        config.start = Some(Pose { x: k, y: l, yaw: a });
        if let Ok(mut arm) = SimArm::new(robot(), config, 1) {
            prop_assert!(arm.read(MonoNanos(1)).is_ok());
        }
    }
}
