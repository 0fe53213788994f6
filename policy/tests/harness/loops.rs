//! Laws of a few seconds of motion, on the worst robot that a policy describes. Where it may be
//! is told by the arithmetic of two rectangles; the closed loops of `vehicles_hold` and
//! `zones_hold` judge by whole geometry libraries instead.

#[path = "../vehicles/plant.rs"]
mod plant;

use super::draw::Draw;
use super::vehicles::{ARM, KINDS, START, axes, command, gate, policy};
use crate::common::STEP;
use nooterra_policy::{Gate, Grants, Inputs, Wish, Wishes};
use nooterra_protocol::command::Command;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::observation::Timed;
use nooterra_protocol::policy::{PolicyDocument, Vehicle};
use nooterra_protocol::time::MonoNanos;
use plant::Plant;
use std::f64::consts::PI;
use std::time::Duration;

/// Of the hall and of the island in it, as in the document: least and most x, then y.
const ROOM: [f64; 4] = [0.0, 12.0, 0.0, 8.0];
const ISLAND: [f64; 4] = [4.0, 7.5, 2.6, 5.0];

/// Half of the robot's length and width.
const HALF: [f64; 2] = [0.25, 0.2];

/// A robot and its gate.
struct Robot {
    document: &'static PolicyDocument,
    gate: Gate,
    now: MonoNanos,
    plant: Plant,
    tick: u64,
}

impl Robot {
    fn new(kind: usize, place: impl FnOnce(&mut Plant)) -> Self {
        let (document, _) = policy(kind);
        let mut plant = Plant::new(document, 1.0);
        place(&mut plant);
        Self { document, gate: gate(kind), now: START, plant, tick: 0 }
    }

    /// A tick and what follows until the next; what the gate wrote.
    fn go(&mut self, wish: Option<Command>) -> Command {
        self.tick += 1;
        self.now = self.now.plus(STEP);
        let (now, plant) = (self.now, &self.plant);
        let until = now.plus(Duration::from_secs(1));
        let skill = wish.map(|command| Wish { at: now, command, until });
        let pose = Timed { at: now, value: plant.pose };
        let twist = Timed { at: now, value: plant.body_twist() };
        let inputs = Inputs {
            flying: plant.flying().map(|value| Timed { at: now, value }),
            grants: Grants::ALL,
            joints: plant.joints().map(|value| Timed { at: now, value }),
            wishes: Wishes { skill, ..Wishes::default() },
            ..Inputs::new(self.tick, now, pose, twist)
        };
        let allowed = self.gate.tick(&inputs).allowed;
        self.plant.write(allowed);
        for _ in 0..STEP.as_millis() {
            self.plant.pass_a_millisecond();
        }
        allowed
    }

    /// What is wrong with where it is.
    fn strays(&self) -> Option<String> {
        let Plant { height_m, joints, pose, .. } = &self.plant;
        let bad = match &self.document.vehicle {
            Vehicle::Joints { joints: ranges, .. } => {
                ranges.iter().zip(joints).any(|(range, at)| {
                    !(range.min_position - 1e-9..=range.max_position + 1e-9).contains(at)
                })
            }
            Vehicle::Multirotor(flight) => {
                let radius = HALF[0].hypot(HALF[1]);
                let [least_x, most_x, least_y, most_y] = ROOM;
                !(flight.min_altitude_m..=flight.max_altitude_m).contains(height_m)
                    || !(least_x + radius..=most_x - radius).contains(&pose.x)
                    || !(least_y + radius..=most_y - radius).contains(&pose.y)
                    || outside(ISLAND, pose.point()) < radius
            }
            _ => corners(*pose).iter().any(|at| outside(ROOM, *at) > 0.0) || on_island(*pose),
        };
        bad.then(|| format!("{pose:?}, {height_m} m, {joints:?}"))
    }
}

/// How far a place is outside a rectangle, to the nearest side; negative inside.
fn outside([least_x, most_x, least_y, most_y]: [f64; 4], at: Point) -> f64 {
    let dx = (least_x - at.x).max(at.x - most_x);
    let dy = (least_y - at.y).max(at.y - most_y);
    if dx > 0.0 && dy > 0.0 { dx.hypot(dy) } else { dx.max(dy) }
}

fn corners(pose: Pose) -> [Point; 4] {
    let (sin, cos) = pose.yaw.sin_cos();
    [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)].map(|(a, b)| {
        let (x, y) = (a * HALF[0], b * HALF[1]);
        Point::new(pose.x + x * cos - y * sin, pose.y + x * sin + y * cos)
    })
}

/// Two rectangles are apart where an axis of one of them parts them.
fn on_island(pose: Pose) -> bool {
    let robot = corners(pose);
    let [least_x, most_x, least_y, most_y] = ISLAND;
    let apart = |all: [f64; 4], least: f64, most: f64| {
        all.iter().all(|at| *at <= least) || all.iter().all(|at| *at >= most)
    };
    if apart(robot.map(|at| at.x), least_x, most_x) || apart(robot.map(|at| at.y), least_y, most_y)
    {
        return false;
    }
    let (sin, cos) = pose.yaw.sin_cos();
    let island = [(least_x, least_y), (most_x, least_y), (most_x, most_y), (least_x, most_y)];
    let along = island.map(|(x, y)| (x - pose.x) * cos + (y - pose.y) * sin);
    let aside = island.map(|(x, y)| (y - pose.y) * cos - (x - pose.x) * sin);
    !apart(along, -HALF[0], HALF[0]) && !apart(aside, -HALF[1], HALF[1])
}

/// Whatever was wished for however long: when the source falls silent, the robot comes to rest,
/// and neither before nor on the way there leaves where it must stay.
pub fn braking(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = draw.below(KINDS);
    let [x, y, turn] = [draw.within(0.5, 11.5), draw.within(0.5, 7.5), draw.within(-PI, PI)];
    let pose = Pose { x, y, yaw: turn };
    if kind != ARM && outside(ISLAND, pose.point()) < 0.4 {
        return Ok(());
    }
    let (height_m, joints): (f64, [f64; 3]) = (draw.within(0.1, 9.9), draw.all_within(-1.9, 1.9));
    let mut robot = Robot::new(kind, |plant| {
        (plant.pose, plant.height_m) = (pose, height_m);
        plant.joints[..3].copy_from_slice(&joints);
    });
    for _ in 0..=draw.below(3) {
        let wish = command(robot.document, draw.all_within(-1.5, 1.5));
        for _ in 0..10 + draw.below(50) {
            robot.go(Some(wish));
            if let Some(strays) = robot.strays() {
                return Err(format!("{wish:?} took it to {strays}"));
            }
        }
    }
    let mut last = [f64::NAN; 4];
    for _ in 0..300 {
        last = axes(robot.go(None));
        if let Some(strays) = robot.strays() {
            return Err(format!("let go, it went on to {strays}"));
        }
        let steers = matches!(robot.document.vehicle, Vehicle::Ackermann { .. });
        let moves = if steers { &last[..1] } else { &last[..] };
        if moves.iter().all(|axis| *axis == 0.0) {
            return Ok(());
        }
    }
    Err(format!("let go, it was still told {last:?} after 6 s"))
}

/// From beyond an edge, beyond the ceiling or floor, or beyond the end of a joint, there is a
/// wish that leads back, and the gate lets it.
pub fn escape(draw: &mut Draw<'_>) -> Result<(), String> {
    let kind = draw.below(KINDS);
    let depth = draw.within(0.01, 0.3);
    if kind == ARM || (matches!(policy(kind).0.vehicle, Vehicle::Multirotor(_)) && draw.flag()) {
        return upright(kind, depth, draw.flag());
    }
    // Beyond a side of the room, or into one of the island.
    let (rect, out) = if draw.flag() { (ROOM, 1.0) } else { (ISLAND, -1.0) };
    let [least_x, most_x, least_y, most_y] = rect;
    let part = draw.within(0.2, 0.8);
    let (x, y) = (least_x + part * (most_x - least_x), least_y + part * (most_y - least_y));
    // Where it is, and which way leads back.
    let (at, back) = match draw.byte() % 4 {
        0 => ((most_x + out * depth, y), if out > 0.0 { PI } else { 0.0 }),
        1 => ((least_x - out * depth, y), if out > 0.0 { 0.0 } else { PI }),
        2 => ((x, most_y + out * depth), -out * PI / 2.0),
        _ => ((x, least_y - out * depth), out * PI / 2.0),
    };
    let yaw = draw.within(-PI, PI);
    let pose = Pose { x: at.0, y: at.1, yaw };
    let steers = matches!(policy(kind).0.vehicle, Vehicle::Ackermann { .. });
    // What steers cannot turn on the spot: alongside an edge it must be pushed.
    if steers && (yaw - back).cos().abs() < 0.2 {
        return Ok(());
    }
    let beyond = |pose: Pose| out * outside(rect, pose.point());
    let leads_back = |plan: &[Command]| {
        let mut robot = Robot::new(kind, |plant| plant.pose = pose);
        plan.iter().any(|wish| {
            (0..60).any(|_| {
                robot.go(Some(*wish));
                beyond(robot.plant.pose) < beyond(pose) - 0.005
            })
        })
    };
    let wishes = wishes(kind, yaw, back);
    // At once, or after a turn.
    let at_once = wishes.iter().any(|wish| leads_back(&[*wish]));
    let after = |first: &Command| wishes.iter().any(|second| leads_back(&[*first, *second]));
    if at_once || wishes.iter().any(after) {
        return Ok(());
    }
    Err(format!("nothing leads back from {pose:?}"))
}

/// What might lead back: straight there, and forward or backward with a turn.
fn wishes(kind: usize, yaw: f64, back: f64) -> Vec<Command> {
    let document = policy(kind).0;
    let (sin, cos) = (back - yaw).sin_cos();
    let ahead = if cos >= 0.0 { 0.1 } else { -0.1 };
    let turns = [0.0, 0.3, -0.3, 1.5, -1.5];
    match document.vehicle {
        Vehicle::Omnidirectional { .. } => {
            vec![command(document, [0.1 * cos, 0.1 * sin, 0.0, 0.0])]
        }
        Vehicle::Multirotor(_) => {
            vec![command(document, [0.1 * back.cos(), 0.1 * back.sin(), 0.0, 0.0])]
        }
        _ => {
            let speeds = [ahead, -ahead, ahead / 4.0, -ahead / 4.0, 0.0];
            let pairs = speeds.iter().flat_map(|ahead| turns.map(|turn| [*ahead, turn, 0.0, 0.0]));
            pairs.map(|axes| command(document, axes)).collect()
        }
    }
}

/// Too high or too low, or a joint beyond one of its ends.
fn upright(kind: usize, depth: f64, above: bool) -> Result<(), String> {
    let sign = if above { 1.0 } else { -1.0 };
    let mut robot = Robot::new(kind, |plant| {
        plant.pose = Pose { x: 2.0, y: 6.5, yaw: 0.0 };
        plant.height_m = if above { 10.0 + depth } else { -depth };
        plant.joints[1] = sign * (2.0 + depth);
    });
    let wish =
        if kind == ARM { [0.0, -0.3 * sign, 0.0, 0.0] } else { [0.0, 0.0, -0.3 * sign, 0.0] };
    let wish = command(robot.document, wish);
    for _ in 0..200 {
        robot.go(Some(wish));
    }
    match robot.strays() {
        Some(strays) => Err(format!("it was let no further back than {strays}")),
        None => Ok(()),
    }
}
