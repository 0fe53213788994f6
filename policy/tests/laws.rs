//! Laws of the gate that hold for every kind of vehicle and whatever bits come in.
#![allow(clippy::unwrap_used)]
// Bit for bit is what is claimed, and what is no number must not pass.
#![allow(clippy::float_cmp, clippy::neg_cmp_op_on_partial_ord)]

mod common;

use common::{STEP, document, verified};
use nooterra_policy::{Action, Gate, Grants, Inputs, Outcome, Surroundings, Wish, Wishes};
use nooterra_protocol::command::{Command, JointVelocities, PerJoint, Source, Steer, Velocity};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Planar, Pose, Twist};
use nooterra_protocol::observation::{Flying, JointStates, Timed};
use nooterra_protocol::policy::{
    Flight, Footprint, Joint, Limits, MotionLimit, PolicyDocument, Proximity, Vehicle,
};
use nooterra_protocol::time::MonoNanos;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::time::Duration;

const START: MonoNanos = MonoNanos(1_000_000_000);

/// Numbers as they come: mostly such as robots have, and any bits at all.
fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -3.0..3.0,
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE,
            5e-324, -1e300,
        ]),
    ]
}

const JOINT: Joint = Joint {
    max_accel: 4.0,
    max_effort: Some(40.0),
    max_position: 2.0,
    max_velocity: 1.0,
    min_position: -2.0,
};

/// A policy for each kind of vehicle, in the same hall.
fn policies() -> [PolicyDocument; 5] {
    let of = |vehicle| PolicyDocument { vehicle, ..document() };
    let mut steered = of(Vehicle::Ackermann {
        max_steering_rad: 0.5,
        max_steering_rate_radps: 1.0,
        wheelbase_m: 0.4,
    });
    steered.limits.max_lateral_accel_mps2 = Some(0.5);
    let mut jerked = of(Vehicle::Differential);
    jerked.limits.max_linear_jerk_mps3 = Some(2.0);
    jerked.limits.max_lateral_accel_mps2 = Some(0.4);
    [
        jerked,
        steered,
        of(Vehicle::Omnidirectional { max_lateral_mps: 0.4 }),
        of(Vehicle::Multirotor(Flight {
            land_after_s: None,
            max_altitude_m: 10.0,
            max_climb_mps: 1.0,
            max_descent_mps: 0.7,
            max_tilt_rad: 0.5,
            max_vertical_accel_mps2: 1.0,
            min_altitude_m: 0.0,
        })),
        PolicyDocument {
            footprint: Footprint::default(),
            limits: Limits::default(),
            vehicle: Vehicle::Joints { joints: vec![JOINT; 3], reaction_ms: 40 },
            zones: vec![],
            ..document()
        },
    ]
}

/// The command of a vehicle's kind from bare numbers.
fn command(document: &PolicyDocument, [a, b, c, d]: [f64; 4]) -> Command {
    match document.vehicle {
        Vehicle::Ackermann { .. } => Command::Ackermann(Steer { speed_mps: a, steering_rad: b }),
        Vehicle::Differential => Command::Drive(Twist::new(a, b)),
        Vehicle::Joints { .. } => {
            Command::Joints(JointVelocities { joints: PerJoint::new(&[a, b, c]).unwrap() })
        }
        Vehicle::Multirotor(_) => Command::Fly(Velocity { x: a, y: b, yaw_rate: d, z: c }),
        Vehicle::Omnidirectional { .. } => Command::Omni(Planar::new(a, b, c)),
    }
}

/// Its numbers, in the order of [`command`].
fn axes(command: Command) -> [f64; 4] {
    match command {
        Command::Ackermann(steer) => [steer.speed_mps, steer.steering_rad, 0.0, 0.0],
        Command::Drive(twist) => [twist.linear, twist.angular, 0.0, 0.0],
        Command::Fly(v) => [v.x, v.y, v.z, v.yaw_rate],
        Command::Joints(joints) => {
            let joints = joints.joints;
            let joint = |index| joints.as_slice().get(index).copied().unwrap_or(0.0);
            [joint(0), joint(1), joint(2), 0.0]
        }
        Command::Omni(planar) => [planar.x, planar.y, planar.angular, 0.0],
    }
}

/// The first speed limit of the policy that a command does not hold.
fn beyond(document: &PolicyDocument, command: Command) -> Option<&'static str> {
    let [a, b, c, d] = axes(command);
    let limits = &document.limits;
    let over = |value: f64, limit: f64| !(value.abs() <= limit + 1e-9);
    let way = |x: f64, y: f64| over(x.hypot(y), limits.max_linear_mps);
    let back = |x: f64| x < -limits.max_reverse_mps - 1e-9;
    let turns = |turn: f64| over(turn, limits.max_angular_radps);
    let found = match &document.vehicle {
        Vehicle::Ackermann { max_steering_rad, .. } => {
            [("speed", way(a, 0.0) || back(a)), ("steering", over(b, *max_steering_rad))].to_vec()
        }
        Vehicle::Differential => [("speed", way(a, 0.0) || back(a)), ("turn", turns(b))].to_vec(),
        Vehicle::Joints { joints, .. } => {
            let over = joints.iter().zip([a, b, c]).any(|(joint, v)| over(v, joint.max_velocity));
            [("joint", over)].to_vec()
        }
        Vehicle::Multirotor(flight) => [
            ("speed", way(a, b)),
            ("climb", !(-flight.max_descent_mps - 1e-9..=flight.max_climb_mps + 1e-9).contains(&c)),
            ("turn", turns(d)),
        ]
        .to_vec(),
        Vehicle::Omnidirectional { max_lateral_mps } => [
            ("speed", way(a, b) || back(a)),
            ("sideways", over(b, *max_lateral_mps)),
            ("turn", turns(c)),
        ]
        .to_vec(),
    };
    found.into_iter().find_map(|(name, over)| over.then_some(name))
}

/// What a robot that stands somewhere measures.
fn standing(tick: u64, now: MonoNanos, (x, y): (f64, f64), wish: Option<Command>) -> Inputs {
    let pose = Timed { at: now, value: Pose { x, y, yaw: 0.3 } };
    let until = now.plus(Duration::from_secs(1));
    let skill = wish.map(|command| Wish { at: now, command, until });
    let flying =
        Flying { above_ground_m: None, above_takeoff_m: 5.0, climb_mps: 0.0, tilt_rad: 0.0 };
    let zeros = PerJoint::new(&[0.0; 3]).unwrap();
    let joints = JointStates { effort: zeros, position: zeros, velocity: zeros };
    Inputs {
        flying: Some(Timed { at: now, value: flying }),
        grants: Grants::ALL,
        joints: Some(Timed { at: now, value: joints }),
        wishes: Wishes { skill, ..Wishes::default() },
        ..Inputs::new(tick, now, pose, Timed { at: now, value: Planar::ZERO })
    }
}

/// Where there is room all around.
const OPEN: (f64, f64) = (2.0, 6.5);

/// Ticks with one wish from standing, on a robot whose measurements stay as they are.
fn settle(gate: &mut Gate, wish: Command, ticks: u64) -> (Outcome, MonoNanos) {
    let mut now = START;
    let mut outcome = gate.tick(&standing(0, now, OPEN, Some(wish)));
    for tick in 1..=ticks {
        now = now.plus(STEP);
        let mut inputs = standing(tick, now, OPEN, Some(wish));
        // It does as it is told, on the spot: the path stays short.
        inputs.twist.value = follow(outcome.allowed);
        if let (Command::Joints(v), Some(joints)) = (outcome.allowed, &mut inputs.joints) {
            joints.value.velocity = v.joints;
        }
        outcome = gate.tick(&inputs);
    }
    (outcome, now)
}

fn follow(command: Command) -> Planar {
    match command {
        Command::Ackermann(steer) => {
            Planar::new(steer.speed_mps, 0.0, steer.speed_mps * steer.steering_rad.tan() / 0.4)
        }
        Command::Drive(twist) => twist.into(),
        Command::Fly(v) => {
            let (sin, cos) = (-0.3_f64).sin_cos();
            Planar::new(v.x * cos - v.y * sin, v.x * sin + v.y * cos, v.yaw_rate)
        }
        Command::Joints(_) => Planar::ZERO,
        Command::Omni(planar) => planar,
    }
}

proptest! {
    /// Any bits in every input, tick after tick on one gate.
    #[test]
    fn whatever_comes_in_what_goes_out_is_finite_and_within_every_limit(
        kind in 0_usize..5,
        ticks in prop::collection::vec(
            (
                prop::array::uniform4(numbers()),
                prop::array::uniform8(numbers()),
                prop::array::uniform8(numbers()),
                any::<(u64, u8, bool, bool)>(),
                0_u64..60,
            ),
            1..20,
        )
    ) {
        let mut document = policies()[kind].clone();
        document.motion = Some(MotionLimit { max_s: 1.0, rest_s: 0.1 });
        if !matches!(document.vehicle, Vehicle::Joints { .. }) {
            document.proximity = Some(Proximity {
                human_mps: 1.6, intrusion_m: 0.1, release_ms: 100, sensor_ms: 200, slow_m: 1.0,
                slow_mps: 0.2, stop_m: 0.3, uncertainty_m: 0.1,
            });
        }
        let mut gate = Gate::new(&verified(document.clone()));
        let mut now = START;
        for (tick, (wish, first, second, (bits, small, flag, odd), step)) in ticks.into_iter().enumerate() {
            now = if odd && flag { MonoNanos(bits) } else { MonoNanos(now.0.wrapping_add(step * 1_000_000)) };
            let at = |number: f64| if odd { MonoNanos(number.to_bits()) } else { now };
            let [x, y, yaw, vx, vy, turn, battery, sigma] = first;
            let mut inputs = standing(tick as u64, now, (x, y), Some(command(&document, wish)));
            inputs.pose = Timed { at: at(x), value: Pose { x, y, yaw } };
            inputs.twist = Timed { at: at(y), value: Planar::new(vx, vy, turn) };
            inputs.battery = Some(battery);
            inputs.pose_sigma_m = if flag { sigma } else { 0.0 };
            inputs.yaw_sigma_rad = if odd { sigma } else { 0.0 };
            inputs.mode = (small % 3 == 0).then_some(small);
            #[allow(clippy::cast_possible_truncation)] // Any range will do.
            let near = battery as f32;
            inputs.surroundings = (small % 2 == 0).then_some(Surroundings {
                at: at(turn), nearest_m: [near; nooterra_policy::proximity::SECTORS],
            });
            let [height, ground, climb, tilt, p, q, v, effort] = second;
            inputs.flying = flag.then_some(Timed { at: at(height), value: Flying {
                above_ground_m: odd.then_some(ground), above_takeoff_m: height, climb_mps: climb,
                tilt_rad: tilt,
            }});
            let per = |a, b| PerJoint::new(&[a, b, a]).unwrap();
            inputs.joints = (small % 5 != 0).then_some(Timed { at: at(p), value: JointStates {
                effort: per(effort, 0.0), position: per(p, q), velocity: per(v, 0.0),
            }});
            let outcome = gate.tick(&inputs);
            let allowed = outcome.allowed;
            prop_assert!(allowed.is_finite(), "{allowed:?}");
            prop_assert_eq!(beyond(&document, allowed), None, "{:?}", allowed);
            if matches!(outcome.action, Action::Stop(_)) {
                prop_assert!(!outcome.verdicts.is_empty(), "a stop without a reason");
            }
        }
    }

    #[test]
    fn what_the_gate_lets_through_it_lets_through_again(
        kind in 0_usize..5, wish in prop::array::uniform4(-2.0..2.0), ticks in 0_u64..60
    ) {
        let document = &policies()[kind];
        let policy = verified(document.clone());
        let (mut once, mut twice) = (Gate::new(&policy), Gate::new(&policy));
        let wish = command(document, wish);
        let (first, now) = settle(&mut once, wish, ticks);
        let (_, again) = settle(&mut twice, wish, ticks);
        prop_assert_eq!(now, again);
        let now = now.plus(STEP);
        let next = |gate: &mut Gate, wish| {
            let mut inputs = standing(ticks + 1, now, OPEN, Some(wish));
            inputs.twist.value = follow(first.allowed);
            if let (Command::Joints(v), Some(joints)) = (first.allowed, &mut inputs.joints) {
                joints.value.velocity = v.joints;
            }
            gate.tick(&inputs).allowed
        };
        let allowed = next(&mut once, wish);
        prop_assert_eq!(axes(next(&mut twice, allowed)), axes(allowed));
    }

    #[test]
    fn a_compliant_command_passes_bit_for_bit_and_anything_else_is_explained(
        kind in 0_usize..5, wish in prop::array::uniform4(-1.2..1.2)
    ) {
        let document = &policies()[kind];
        let wish = command(document, wish);
        let (outcome, _) = settle(&mut Gate::new(&verified(document.clone())), wish, 300);
        let bits = |command| axes(command).map(f64::to_bits);
        if outcome.verdicts.is_empty() {
            prop_assert_eq!(bits(outcome.allowed), bits(wish));
            prop_assert_eq!(beyond(document, wish), None);
        } else {
            prop_assert!(bits(outcome.allowed) != bits(wish), "{:?}", outcome.verdicts);
        }
    }

    #[test]
    fn standing_still_is_always_within_reach_and_no_jerk_limit_delays_it(
        kind in 0_usize..5, wish in prop::array::uniform4(-2.0..2.0), ticks in 1_u64..80
    ) {
        let document = &policies()[kind];
        let mut gate = Gate::new(&verified(document.clone()));
        let (moving, mut now) = settle(&mut gate, command(document, wish), ticks);
        let mut last = moving.allowed;
        let zero = command(document, [0.0; 4]);
        for tick in 0..200 {
            now = now.plus(STEP);
            let mut inputs = standing(ticks + tick + 1, now, OPEN, Some(zero));
            inputs.twist.value = follow(last);
            if let (Command::Joints(v), Some(joints)) = (last, &mut inputs.joints) {
                joints.value.velocity = v.joints;
            }
            let next = gate.tick(&inputs).allowed;
            for (before, after) in axes(last).into_iter().zip(axes(next)) {
                prop_assert!(after.abs() <= before.abs() + 1e-12, "{last:?} then {next:?}");
            }
            last = next;
        }
        prop_assert!(axes(last)[0] == 0.0, "{last:?}");
        // The wheels of what steers stay as they are.
        let steers = matches!(document.vehicle, Vehicle::Ackermann { .. });
        prop_assert!(steers || axes(last) == [0.0; 4], "{:?}", last);
    }

    #[test]
    fn a_denied_source_decides_nothing(
        kind in 0_usize..5,
        first in prop::array::uniform4(-2.0..2.0), second in prop::array::uniform4(-2.0..2.0),
        operator in any::<bool>()
    ) {
        let document = &policies()[kind];
        let outcome = |numbers| {
            let mut gate = Gate::new(&verified(document.clone()));
            let mut inputs = standing(0, START, OPEN, Some(command(document, numbers)));
            if operator {
                inputs.wishes.operator = inputs.wishes.skill.take();
                inputs.grants.operator_until = START;
            } else {
                inputs.grants.skill_until = START;
            }
            gate.tick(&inputs)
        };
        let (one, other) = (outcome(first), outcome(second));
        prop_assert_eq!(axes(one.allowed), axes(other.allowed));
        prop_assert_eq!(axes(one.allowed), [0.0; 4]);
        prop_assert!(one.verdicts.iter().any(|verdict| verdict.rule == Rule::Grant));
        let source = if operator { Source::Operator } else { Source::Skill };
        prop_assert_eq!(one.source, source);
    }

    #[test]
    fn tightening_a_limit_never_speeds_anything_up(
        kind in 0_usize..4, wish in prop::array::uniform4(-2.0..2.0), ticks in 0_u64..40,
        factor in 0.1..1.0, which in 0_u8..4
    ) {
        let document = policies()[kind].clone();
        let mut tighter = document.clone();
        let limits = &mut tighter.limits;
        match which {
            0 => limits.max_linear_mps *= factor,
            1 => limits.max_angular_radps *= factor,
            2 => limits.max_linear_accel_mps2 *= factor,
            _ => limits.max_reverse_mps *= factor,
        }
        let wish = command(&document, wish);
        let speed = |document: &PolicyDocument| {
            let (outcome, _) =
                settle(&mut Gate::new(&verified(document.clone())), wish, ticks);
            follow(outcome.allowed).speed()
        };
        prop_assert!(speed(&tighter) <= speed(&document) + 1e-9);
    }

    #[test]
    fn a_clock_that_stands_jumps_or_goes_back_is_a_stop(kind in 0_usize..5, jump in any::<i64>()) {
        let document = &policies()[kind];
        let mut gate = Gate::new(&verified(document.clone()));
        let (_, now) = settle(&mut gate, command(document, [0.2; 4]), 20);
        let later = MonoNanos(now.0.wrapping_add_signed(jump));
        let gap = later.0.wrapping_sub(now.0);
        let ordinary = (1..=250_000_000).contains(&gap);
        let outcome = gate.tick(&standing(21, later, OPEN, None));
        prop_assert_eq!(matches!(outcome.action, Action::Stop(_)), !ordinary);
    }

    #[test]
    fn a_differential_path_keeps_its_curvature_or_the_verdict_says_so(
        linear in -2.0..2.0, angular in -4.0..4.0
    ) {
        let document = &policies()[0];
        let wish = Twist::new(linear, angular);
        let (outcome, _) = settle(&mut Gate::new(&verified(document.clone())), wish.into(), 400);
        let allowed = outcome.allowed_twist();
        let kept = (allowed.angular * wish.linear - allowed.linear * wish.angular).abs() < 1e-9;
        prop_assert!(kept || !outcome.verdicts.is_empty(), "{allowed:?}");
    }
}

#[test]
fn a_stop_is_not_lifted_while_a_joint_still_moves() {
    let document = &policies()[4];
    let mut gate = Gate::new(&verified(document.clone()));
    let mut now = START;
    let mut tick = |pressed, velocity: f64| {
        now = now.plus(STEP);
        let mut inputs = standing(0, now, OPEN, Some(command(document, [0.2; 4])));
        inputs.wishes.emergency_stop = pressed;
        inputs.wishes.acknowledged = (!pressed).then_some(now);
        if let Some(joints) = &mut inputs.joints {
            joints.value.velocity = PerJoint::new(&[velocity; 3]).unwrap();
        }
        matches!(gate.tick(&inputs).action, Action::Stop(_))
    };
    assert!(!tick(false, 0.2));
    assert!(tick(true, 0.2));
    assert!(tick(false, 0.2), "it still moves");
    assert!(!tick(false, 0.0));
}

#[test]
fn a_command_for_another_kind_of_vehicle_is_a_stop() {
    let documents = policies();
    for (index, document) in documents.iter().enumerate() {
        for (other, from) in documents.iter().enumerate() {
            let mut gate = Gate::new(&verified(document.clone()));
            let wish = command(from, [0.1; 4]);
            let outcome = gate.tick(&standing(0, START, OPEN, Some(wish)));
            let stopped = matches!(outcome.action, Action::Stop(_));
            assert_eq!(stopped, index != other, "{wish:?} to {:?}", document.vehicle);
            let kind = outcome.verdicts.iter().any(|verdict| verdict.rule == Rule::CommandKind);
            assert_eq!(kind, index != other);
        }
    }
}
