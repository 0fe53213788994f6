//! A policy to test with, and a base that does what it is told as late and as weakly as the
//! policy says it may.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use nooterra_policy::{Grants, Inputs, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::{PolicyId, RobotId, ZoneId};
use nooterra_protocol::keys::{Ed25519Key, Signer};
use nooterra_protocol::observation::Timed;
use nooterra_protocol::policy::{
    Footprint, Freshness, Latches, Limits, PolicyDocument, Vehicle, Zone, ZoneRule,
};
use nooterra_protocol::time::MonoNanos;
use std::collections::VecDeque;
use std::time::Duration;

pub const STEP: Duration = Duration::from_millis(20);

pub fn robot() -> RobotId {
    RobotId::new("amr-1").unwrap()
}

pub fn owner() -> Ed25519Key {
    Ed25519Key::from_seed([7; 32])
}

pub fn polygon(corners: &[(f64, f64)]) -> Vec<Point> {
    corners.iter().map(|(x, y)| Point::new(*x, *y)).collect()
}

pub fn rectangle(from: (f64, f64), to: (f64, f64)) -> Vec<Point> {
    polygon(&[from, (to.0, from.1), to, (from.0, to.1)])
}

pub fn zone(id: &str, polygon: Vec<Point>, rule: ZoneRule) -> Zone {
    Zone::new(ZoneId::new(id).unwrap(), polygon, rule)
}

/// A base of 0.5 by 0.4 m in a room of 12 by 8 m with a forbidden island.
pub fn document() -> PolicyDocument {
    PolicyDocument {
        battery: None,
        footprint: Footprint { margin_m: 0.05, outline: rectangle((-0.25, -0.2), (0.25, 0.2)) },
        freshness: Freshness { command_ms: 300, journal_ms: 100, odometry_ms: 100 },
        id: PolicyId::new("hall").unwrap(),
        latches: Latches::default(),
        limits: Limits {
            max_angular_accel_radps2: 3.0,
            max_angular_radps: 1.5,
            max_decel_mps2: 0.8,
            max_lateral_accel_mps2: None,
            max_linear_accel_mps2: 0.6,
            max_linear_jerk_mps3: None,
            max_linear_mps: 0.8,
            max_reverse_mps: 0.3,
            reaction_ms: 100,
        },
        masks: Vec::new(),
        merged_from: Vec::new(),
        modes: Vec::new(),
        motion: None,
        privacy: Vec::new(),
        proximity: None,
        robot: robot(),
        stop: StopProfile::ControlledHold,
        vehicle: Vehicle::Differential,
        version: 1,
        zones: vec![
            zone("room", rectangle((0.0, 0.0), (12.0, 8.0)), ZoneRule::KeepIn),
            zone("island", rectangle((4.0, 2.6), (7.5, 5.0)), ZoneRule::KeepOut),
        ],
    }
}

pub fn signed(document: PolicyDocument) -> Vec<u8> {
    Signed::sign(document, &owner()).unwrap().bytes().to_vec()
}

pub fn verified(document: PolicyDocument) -> VerifiedPolicy {
    VerifiedPolicy::verify(&signed(document), &owner().verifying_key(), &robot()).unwrap()
}

/// Radius of the circle around the outline, without margin.
pub fn radius(document: &PolicyDocument) -> f64 {
    document.footprint.outline.iter().map(|p| p.x.hypot(p.y)).fold(0.0, f64::max)
}

/// A fresh wish of the skill.
pub fn skill(now: MonoNanos, twist: Twist) -> Wishes {
    let until = now.plus(Duration::from_secs(1));
    Wishes { skill: Some(Wish { at: now, command: twist.into(), until }), ..Wishes::default() }
}

/// Inputs with everything fresh.
pub fn inputs(tick: u64, now: MonoNanos, pose: Pose, twist: Twist, wishes: Wishes) -> Inputs {
    let pose = Timed { at: now, value: pose };
    let twist = Timed { at: now, value: twist.into() };
    Inputs { grants: Grants::ALL, wishes, ..Inputs::new(tick, now, pose, twist) }
}

/// The worst base that a policy's limits describe: it answers after the full reaction time and
/// brakes no harder than promised.
#[derive(Debug)]
pub struct Plant {
    pub pose: Pose,
    pub twist: Twist,
    limits: Limits,
    pending: VecDeque<(u64, Twist)>,
    target: Twist,
    time: u64,
}

impl Plant {
    pub fn new(document: &PolicyDocument, pose: Pose) -> Self {
        Self {
            pose,
            twist: Twist::ZERO,
            limits: document.limits,
            pending: VecDeque::new(),
            target: Twist::ZERO,
            time: 0,
        }
    }

    pub fn write(&mut self, twist: Twist) {
        let due = self.time + u64::from(self.limits.reaction_ms) * 1_000;
        self.pending.push_back((due, twist));
    }

    /// Lets a span pass in steps of a millisecond, and shows each pose.
    pub fn pass(&mut self, span: Duration, mut look: impl FnMut(Pose, Twist)) {
        for _ in 0..span.as_millis() {
            while let Some((due, twist)) = self.pending.front().copied()
                && due <= self.time
            {
                self.target = twist;
                self.pending.pop_front();
            }
            self.time += 1_000;
            let (from, to) = (self.twist, self.target);
            let change = to.linear - from.linear;
            let slows = change * from.linear < 0.0;
            // Speeds up at once, which is worse than any real base; brakes as promised.
            let linear = if slows { self.limits.max_decel_mps2 * 1e-3 } else { f64::INFINITY };
            let angular = self.limits.max_angular_accel_radps2 * 1e-3;
            self.twist = Twist::new(
                from.linear + change.clamp(-linear, linear),
                from.angular + (to.angular - from.angular).clamp(-angular, angular),
            );
            let half = self.pose.yaw + self.twist.angular * 0.5e-3;
            self.pose.x += self.twist.linear * 1e-3 * half.cos();
            self.pose.y += self.twist.linear * 1e-3 * half.sin();
            self.pose.yaw += self.twist.angular * 1e-3;
            look(self.pose, self.twist);
        }
    }
}
