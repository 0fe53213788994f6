//! A policy for each kind of vehicle, what its commands are made of, and what it measures.

use crate::common::{STEP, document, verified};
use nooterra_policy::{Gate, Grants, Inputs, Outcome, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::{Command, JointVelocities, PerJoint, Steer, Velocity};
use nooterra_protocol::geometry::{Planar, Pose, Twist};
use nooterra_protocol::observation::{Flying, JointStates, Timed};
use nooterra_protocol::policy::{Flight, Footprint, Joint, Limits, PolicyDocument, Vehicle};
use nooterra_protocol::time::MonoNanos;
use std::sync::OnceLock;
use std::time::Duration;

pub const START: MonoNanos = MonoNanos(1_000_000_000);

/// Where there is room all around.
pub const OPEN: (f64, f64) = (2.0, 6.5);

/// How many kinds of vehicles there are.
pub const KINDS: u16 = 5;

/// The kind in [`policies`] that has neither place nor zones.
pub const ARM: usize = 4;

/// Of what steers, metres.
pub const WHEELBASE_M: f64 = 0.4;

const JOINT: Joint = Joint {
    max_accel: 4.0,
    max_effort: Some(40.0),
    max_position: 2.0,
    max_velocity: 1.0,
    min_position: -2.0,
};

/// A policy for each kind of vehicle, in the same hall.
pub fn policies() -> [PolicyDocument; KINDS as usize] {
    let of = |vehicle| PolicyDocument { vehicle, ..document() };
    let mut steered = of(Vehicle::Ackermann {
        max_steering_rad: 0.5,
        max_steering_rate_radps: 1.0,
        wheelbase_m: WHEELBASE_M,
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

/// The policy of a kind as it is, verified once: a signature costs more than a tick.
pub fn policy(kind: usize) -> (&'static PolicyDocument, &'static VerifiedPolicy) {
    static POLICIES: [OnceLock<(PolicyDocument, VerifiedPolicy)>; KINDS as usize] =
        [const { OnceLock::new() }; KINDS as usize];
    let (document, policy) = POLICIES[kind].get_or_init(|| {
        let document = policies()[kind].clone();
        let policy = verified(document.clone());
        (document, policy)
    });
    (document, policy)
}

pub fn gate(kind: usize) -> Gate {
    Gate::new(policy(kind).1)
}

/// The command of a vehicle's kind from bare numbers.
pub fn command(document: &PolicyDocument, [a, b, c, d]: [f64; 4]) -> Command {
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
pub fn axes(command: Command) -> [f64; 4] {
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

pub fn bits(command: Command) -> [u64; 4] {
    axes(command).map(f64::to_bits)
}

/// The first speed limit of the policy that a command does not hold.
pub fn beyond(document: &PolicyDocument, command: Command) -> Option<&'static str> {
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
pub fn standing(tick: u64, now: MonoNanos, (x, y): (f64, f64), wish: Option<Command>) -> Inputs {
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

/// What the same robot measures that does as it was told, on the spot: its path stays short.
pub fn told(tick: u64, now: MonoNanos, last: Command, wish: Option<Command>) -> Inputs {
    let mut inputs = standing(tick, now, OPEN, wish);
    inputs.twist.value = follow(last);
    if let (Command::Joints(velocities), Some(joints)) = (last, &mut inputs.joints) {
        joints.value.velocity = velocities.joints;
    }
    inputs
}

/// Ticks with one wish from standing, on a robot whose measurements stay as they are.
pub fn settle(gate: &mut Gate, wish: Command, ticks: u64) -> (Outcome, MonoNanos) {
    let mut now = START;
    let mut outcome = gate.tick(&standing(0, now, OPEN, Some(wish)));
    for tick in 1..=ticks {
        now = now.plus(STEP);
        outcome = gate.tick(&told(tick, now, outcome.allowed, Some(wish)));
    }
    (outcome, now)
}

/// How a command moves the robot of [`standing`], in its body frame.
pub fn follow(command: Command) -> Planar {
    match command {
        Command::Ackermann(steer) => {
            let curvature = steer.steering_rad.tan() / WHEELBASE_M;
            Planar::new(steer.speed_mps, 0.0, steer.speed_mps * curvature)
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
