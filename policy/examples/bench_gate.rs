//! How fast the gate is, for `cargo xtask bench gate`.
//!
//! The floor is what a hand-written safety filter would do: clamp the same twelve limits, and
//! stop where a brake from here would end outside the fence. It sweeps no path, keeps no
//! memory, finds no ratio and names no rule.
#![allow(clippy::unwrap_used)] // Whatever is unexpected ends the run.

#[path = "../../xtask/bench/measure.rs"]
mod measure;

use measure::{Point as Mark, Samples, Unit, curve, figure, in_turns, samples};
use nooterra_policy::polygon::Polygon;
use nooterra_policy::{Gate, Grants, Inputs, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::{PolicyId, RobotId, ZoneId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::observation::Timed;
use nooterra_protocol::policy::{
    Footprint, Freshness, Latches, Limits, PolicyDocument, Vehicle, Zone, ZoneRule,
};
use nooterra_protocol::time::MonoNanos;
use std::f64::consts::TAU;
use std::hint::black_box;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(20);
const STEP_S: f64 = 0.02;

/// Ticks of a drive that is judged over and over.
const TICKS: u32 = 4096;

/// Ticks in one sample: a single one is as short as reading the clock.
const EACH: usize = 64;

/// Corners of the fence in the figures; the curves vary them.
const CORNERS: u32 = 50;

/// Corners of the fence, and zones inside it, where there is much of both.
const MANY: (u32, u16) = (1_000, 99);

/// Corners of the largest fence that a policy may have.
const MOST: u32 = 100_000;

const FLOOR: &str = "clamp of the same 12 limits, brake distance to the same fence";

fn main() {
    let document = fenced(CORNERS, 0);
    for (name, wish) in [("gate.tick", wander as Wishing), ("gate.tick_at_fence", ahead)] {
        let drive = drive(&document, wish);
        let (gate, bare) = race(&document, &drive, samples(4000));
        figure(name, Unit::Micros, &gate, (FLOOR, &bare));
    }
    let many = fenced(MANY.0, MANY.1);
    let (gate, bare) = race(&many, &drive(&many, wander), samples(4000));
    figure("gate.tick_among_many", Unit::Micros, &gate, (FLOOR, &bare));
    load();
    let mark = |x: u32, document: &PolicyDocument| {
        // The floor looks at every corner: fewer samples where there are many.
        let rounds = samples(600).min(600 * 1024 / x as usize).max(20);
        let (ours, floor) = race(document, &drive(document, wander), rounds);
        Mark { x: f64::from(x), ours, floor }
    };
    let corners = [4, 16, 64, 256, 1024, 4096, 16_384, MOST];
    let points: Vec<Mark> = corners.map(|count| mark(count, &fenced(count, 0))).into();
    curve("gate.tick_by_corners", "corners of the fence", Unit::Micros, FLOOR, &points);
    let zones = [0, 1, 2, 4, 8, 16, 32, 64, 127];
    let points: Vec<Mark> =
        zones.map(|count| mark(u32::from(count) + 1, &fenced(CORNERS, count))).into();
    curve("gate.tick_by_zones", "zones", Unit::Micros, FLOOR, &points);
}

/// The largest fence, from its corners to what the gate asks; the floor is to sort them.
fn load() {
    let fence = fenced(MOST, 0).zones.swap_remove(0).polygon;
    let (ours, floor) = in_turns(
        samples(20),
        1,
        || drop(black_box(Polygon::new(black_box(&fence)).unwrap())),
        || {
            let mut corners = fence.clone();
            corners.sort_by(|a, b| a.x.total_cmp(&b.x));
            drop(black_box(corners));
        },
    );
    figure("gate.load_fence", Unit::Millis, &ours, ("sorting its corners", &floor));
}

/// Gate and floor on the same inputs, in turns.
fn race(document: &PolicyDocument, drive: &[Inputs], rounds: usize) -> (Samples, Samples) {
    let (mut gate, mut bare) = (Gate::new(&verified(document)), Bare::new(document));
    let (mut mine, mut theirs) = (Replay::new(drive), Replay::new(drive));
    in_turns(
        rounds,
        EACH,
        || {
            let _ = black_box(gate.tick(black_box(mine.next())));
        },
        || {
            let _ = black_box(bare.tick(black_box(theirs.next())));
        },
    )
}

/// The inputs of a drive, again and again, on a clock that goes on.
struct Replay {
    at: usize,
    inputs: Vec<Inputs>,
    now: MonoNanos,
}

impl Replay {
    fn new(drive: &[Inputs]) -> Self {
        Self { at: 0, inputs: drive.to_vec(), now: MonoNanos(1_000_000_000) }
    }

    fn next(&mut self) -> &Inputs {
        self.now = self.now.plus(STEP);
        self.at = (self.at + 1) % self.inputs.len();
        let inputs = &mut self.inputs[self.at];
        stamp(inputs, self.now);
        inputs
    }
}

fn stamp(inputs: &mut Inputs, now: MonoNanos) {
    inputs.now = now;
    (inputs.pose.at, inputs.twist.at) = (now, now);
    if let Some(wish) = &mut inputs.wishes.skill {
        (wish.at, wish.until) = (now, now.plus(STEP * 10));
    }
}

type Wishing = fn(u32) -> Twist;

/// Here and there, often faster than allowed.
fn wander(tick: u32) -> Twist {
    let turn = f64::from(tick);
    Twist::new(0.5 + 0.7 * (turn / 130.0).sin(), 1.2 * (turn / 170.0).cos())
}

/// Into the fence, and on against it: the gate's dearest case.
fn ahead(_: u32) -> Twist {
    Twist::new(0.8, 0.02)
}

/// What a robot under this policy sees and is asked while it does what the gate allows.
fn drive(document: &PolicyDocument, wish: Wishing) -> Vec<Inputs> {
    let mut gate = Gate::new(&verified(document));
    let (mut pose, mut twist, mut now) = (Pose::default(), Twist::ZERO, MonoNanos(1));
    let mut seen = Vec::new();
    for tick in 0..TICKS {
        now = now.plus(STEP);
        let asked = Wish { at: now, command: wish(tick).into(), until: now };
        let pose_then = Timed { at: now, value: pose };
        let mut inputs = Inputs {
            grants: Grants::ALL,
            journal_age: Duration::from_millis(8),
            wishes: Wishes { skill: Some(asked), ..Wishes::default() },
            ..Inputs::new(u64::from(tick), now, pose_then, Timed { at: now, value: twist.into() })
        };
        stamp(&mut inputs, now);
        twist = gate.tick(&inputs).allowed_twist();
        pose.yaw += twist.angular * STEP_S;
        pose.x += twist.linear * STEP_S * pose.yaw.cos();
        pose.y += twist.linear * STEP_S * pose.yaw.sin();
        seen.push(inputs);
    }
    seen
}

/// A keep-in fence of so many corners around the origin, and small keep-out zones inside it.
fn fenced(corners: u32, islands: u16) -> PolicyDocument {
    let square = |x: f64, y: f64, half: f64| {
        [(-half, -half), (half, -half), (half, half), (-half, half)]
            .map(|(dx, dy)| Point::new(x + dx, y + dy))
            .to_vec()
    };
    let around = |index: u32| {
        let turn = TAU * f64::from(index) / f64::from(corners);
        let radius = 9.0 + (turn * 5.0).sin();
        Point::new(radius * turn.cos(), radius * turn.sin())
    };
    let zone = |id: String, polygon, rule| Zone::new(ZoneId::new(id).unwrap(), polygon, rule);
    let fence = zone("fence".to_owned(), (0..corners).map(around).collect(), ZoneRule::KeepIn);
    let island = |index: u16| {
        // On rings of 16, the first 3.5 m from the start.
        let turn = TAU * f64::from(index) / 16.0;
        let radius = 3.5 + 0.6 * f64::from(index / 16);
        let polygon = square(radius * turn.cos(), radius * turn.sin(), 0.1);
        zone(format!("island-{index}"), polygon, ZoneRule::KeepOut)
    };
    PolicyDocument {
        battery: None,
        footprint: Footprint { margin_m: 0.05, outline: square(0.0, 0.0, 0.25) },
        freshness: Freshness { command_ms: 300, journal_ms: 100, odometry_ms: 100 },
        id: PolicyId::new("bench").unwrap(),
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
        robot: RobotId::new("amr-1").unwrap(),
        stop: StopProfile::ControlledHold,
        vehicle: Vehicle::Differential,
        version: 1,
        zones: std::iter::once(fence).chain((0..islands).map(island)).collect(),
    }
}

fn verified(document: &PolicyDocument) -> VerifiedPolicy {
    let owner = Ed25519Key::from_seed([7; 32]);
    let signed = Signed::sign(document.clone(), &owner).unwrap();
    VerifiedPolicy::verify(signed.bytes(), &owner.verifying_key(), &document.robot).unwrap()
}

/// The floor.
struct Bare {
    freshness: [Duration; 3],
    keep_away_m: f64,
    last: Twist,
    limits: Limits,
    /// Every zone, and whether the robot must stay inside it.
    zones: Vec<(Vec<Point>, bool)>,
}

impl Bare {
    fn new(document: &PolicyDocument) -> Self {
        let Freshness { command_ms, journal_ms, odometry_ms } = document.freshness;
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        let radius = document.footprint.outline.iter().map(|p| p.x.hypot(p.y)).fold(0.0, f64::max);
        let zones = document.zones.iter();
        Self {
            freshness: [command_ms, journal_ms, odometry_ms].map(millis),
            keep_away_m: radius + document.footprint.margin_m,
            last: Twist::ZERO,
            limits: document.limits,
            zones: zones.map(|z| (z.polygon.clone(), z.rule == ZoneRule::KeepIn)).collect(),
        }
    }

    fn tick(&mut self, inputs: &Inputs) -> Twist {
        self.last = self.judge(inputs).unwrap_or(Twist::ZERO);
        self.last
    }

    fn judge(&self, inputs: &Inputs) -> Option<Twist> {
        let [command, journal, odometry] = self.freshness;
        let wish = inputs.wishes.skill.filter(|wish| inputs.now < wish.until)?;
        let asked = wish.command.twist()?;
        let fresh = |at: MonoNanos, most| inputs.now.since(at).is_some_and(|age| age <= most);
        let believed = asked.is_finite()
            && inputs.pose.value.is_finite()
            && inputs.twist.value.is_finite()
            && inputs.journal_age <= journal
            && fresh(wish.at, command)
            && fresh(inputs.pose.at, odometry)
            && fresh(inputs.twist.at, odometry);
        if !believed {
            return None;
        }
        let limits = &self.limits;
        let (up, down) = (limits.max_linear_accel_mps2, limits.max_decel_mps2);
        let turn = limits.max_angular_accel_radps2 * STEP_S;
        let linear = asked.linear.clamp(-limits.max_reverse_mps, limits.max_linear_mps);
        let angular = asked.angular.clamp(-limits.max_angular_radps, limits.max_angular_radps);
        let linear = linear.clamp(self.last.linear - down * STEP_S, self.last.linear + up * STEP_S);
        let angular = angular.clamp(self.last.angular - turn, self.last.angular + turn);
        let reach_m = linear.abs() * f64::from(limits.reaction_ms) * 1e-3
            + linear * linear / (2.0 * limits.max_decel_mps2);
        let pose = inputs.pose.value;
        let (sin, cos) = pose.yaw.sin_cos();
        let reach_m = reach_m.copysign(linear);
        let end = Point::new(pose.x + reach_m * cos, pose.y + reach_m * sin);
        let clear = |(polygon, inside): &(Vec<Point>, bool)| {
            let (contains, gap_m) = place(end, polygon);
            contains == *inside && gap_m >= self.keep_away_m
        };
        self.zones.iter().all(clear).then_some(Twist::new(linear, angular))
    }
}

/// Whether a polygon contains a point, and how far its border is: one pass over the corners.
fn place(point: Point, polygon: &[Point]) -> (bool, f64) {
    let (mut contains, mut least) = (false, f64::INFINITY);
    let mut a = polygon[polygon.len() - 1];
    for &b in polygon {
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let (px, py) = (point.x - a.x, point.y - a.y);
        if (a.y > point.y) != (b.y > point.y) && px < py / dy * dx {
            contains = !contains;
        }
        let along = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
        let (ox, oy) = (px - along * dx, py - along * dy);
        least = least.min(ox * ox + oy * oy);
        a = b;
    }
    (contains, least.sqrt())
}
