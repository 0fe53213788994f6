//! Undock, patrol waypoints, look around, return to the dock.
//!
//! | action    | parameters                                                          |
//! |-----------|---------------------------------------------------------------------|
//! | `undock`  | `distance_m` (default 1.0; negative drives off backwards)           |
//! | `patrol`  | `waypoints` (points, 1 to 64), `speed_mps` (default 2.0)            |
//! | `inspect` | `turn_rad` (default one full turn; negative turns clockwise)        |
//! | `return`  | `dock` (one point), `dock_yaw_rad` (default 0: which way the dock   |
//! |           | faces, away from its wall), `nose_first` (default false: backwards  |
//! |           | onto the dock, so that `undock` drives off forwards), `approach_m`  |
//! |           | (default 1.0: where the last straight piece begins), `speed_mps`    |
//! |           | (default 0.8)                                                       |
//!
//! It knows no map and plans no path: it goes straight, gives up what comes no nearer for
//! 20 s, and what must not be is the business of the owner's policy. That is also why it simply asks for the speed it likes.

mod geometry;
mod inspect;
mod nearing;
mod params;

use geometry::{ahead_of, direction, distance, wrap};
use nearing::Nearing;
use params::Params;
use std::cell::RefCell;
use std::f64::consts::PI;

wit_bindgen::generate!({ path: "../../../skill-host/wit", world: "skill" });

use nooterra::skill::types::{Destination, Point, Progress, Twist};
use nooterra::skill::{checkpoint, log};

/// A waypoint counts as reached this near to it, metres.
const REACHED_M: f64 = 0.3;

/// Off the dock, and onto it, m/s.
const UNDOCKING_MPS: f64 = 0.3;
const DOCKING_MPS: f64 = 0.15;

/// How far ahead on the line onto the dock it aims, metres.
const DOCKING_AHEAD_M: f64 = 0.4;

/// The turn that corrects the course onto the dock: rad/s per rad, and at most.
const DOCKING_TURN_GAIN: f64 = 1.5;
const DOCKING_TURN_MAX_RADPS: f64 = 0.5;

/// The heading must be this near to the line before the last piece begins, rad.
const ALIGNED_RAD: f64 = 0.1;

/// This far before the dock it begins to brake, metres.
const DOCK_BRAKING_M: f64 = 0.03;

/// So long it waits there for the dock to answer, nanoseconds.
const DOCK_ANSWER_NS: u64 = 3_000_000_000;

thread_local! {
    /// What this run remembers from step to step.
    static ACTION: RefCell<Option<Action>> = const { RefCell::new(None) };
}

enum Action {
    Inspect(inspect::Inspect),
    Patrol { nearing: Nearing, next: usize, speed_mps: f64, waypoints: Vec<Point> },
    Return(Return),
    Undock { distance_m: f64, from: Option<Point> },
}

struct Return {
    approach: Point,
    approach_m: f64,
    /// Heading of travel onto the dock.
    course: f64,
    dock: Point,
    nose_first: bool,
    phase: Phase,
    speed_mps: f64,
}

enum Phase {
    Approach,
    Align,
    Dock,
    /// Since this moment, nanoseconds.
    Wait(u64),
}

struct Patrol;

impl Guest for Patrol {
    fn init(action: String, params: Vec<(String, Param)>) -> Result<(), String> {
        let mut params = Params::new(params);
        let action = match action.as_str() {
            "undock" => Action::Undock {
                distance_m: params.number("distance_m", 1.0, -5.0..=5.0)?,
                from: None,
            },
            "patrol" => Action::Patrol {
                nearing: Nearing::default(),
                next: 0,
                speed_mps: params.number("speed_mps", 2.0, 0.05..=5.0)?,
                waypoints: params.points("waypoints", 1..=64)?,
            },
            "inspect" => Action::Inspect(inspect::Inspect::new(params.number(
                "turn_rad",
                std::f64::consts::TAU,
                -12.6..=12.6,
            )?)),
            "return" => {
                let dock = params.points("dock", 1..=1)?[0];
                let faces = params.number("dock_yaw_rad", 0.0, -6.3..=6.3)?;
                let approach_m = params.number("approach_m", 1.0, 0.3..=5.0)?;
                Action::Return(Return {
                    approach: ahead_of(dock, faces, approach_m),
                    approach_m,
                    course: wrap(faces + PI),
                    dock,
                    nose_first: params.flag("nose_first", false)?,
                    phase: Phase::Approach,
                    speed_mps: params.number("speed_mps", 0.8, 0.05..=5.0)?,
                })
            }
            other => return Err(format!("there is no action `{other}`")),
        };
        params.none_left()?;
        ACTION.set(Some(action));
        Ok(())
    }

    fn step(seen: Observation) -> (Request, Status) {
        ACTION.with_borrow_mut(|action| match action {
            Some(Action::Inspect(inspect)) => inspect.step(&seen),
            Some(Action::Patrol { nearing, next, speed_mps, waypoints }) => {
                patrol(&seen, waypoints, next, nearing, *speed_mps)
            }
            Some(Action::Return(run)) => run.step(&seen),
            Some(Action::Undock { distance_m, from }) => undock(&seen, *distance_m, from),
            None => (Request::Stop, Status::Failed("`step` before `init`".to_owned())),
        })
    }
}

/// Straight off the dock.
fn undock(seen: &Observation, distance_m: f64, from: &mut Option<Point>) -> (Request, Status) {
    let here = position(seen);
    let start = *from.get_or_insert_with(|| {
        log::line(&format!("undocking from {:.2}, {:.2}", here.x, here.y));
        here
    });
    let (driven, wanted) = (distance(start, here), distance_m.abs());
    if driven >= wanted && !seen.docked {
        return (Request::Stop, Status::Done);
    }
    let request = drive(UNDOCKING_MPS.copysign(distance_m), 0.0);
    (request, running(driven / wanted, format!("{driven:.2} of {wanted:.2} m off the dock")))
}

fn patrol(
    seen: &Observation,
    waypoints: &[Point],
    next: &mut usize,
    nearing: &mut Nearing,
    speed_mps: f64,
) -> (Request, Status) {
    let here = position(seen);
    if let Some(&to) = waypoints.get(*next)
        && distance(here, to) <= REACHED_M
    {
        *next += 1;
        nearing.reset();
        // The name is made here and short: a refusal would be a fault of this file.
        let _ = checkpoint::reached(&format!("waypoint-{next}"));
    }
    let Some(&to) = waypoints.get(*next) else {
        return (Request::Stop, Status::Done);
    };
    let left = distance(here, to);
    let request = Request::GoTo(Destination { to, yaw: None, speed_mps });
    let number = *next + 1;
    if nearing.is_stuck(left, seen.at_nanos) {
        let reason = format!("waypoint {number} came no nearer for 20 s: something is in the way");
        return (Request::Stop, Status::Failed(reason));
    }
    let note = format!("waypoint {number} of {}, {left:.1} m to go", waypoints.len());
    (request, running(*next as f64 / waypoints.len() as f64, note))
}

impl Return {
    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        if seen.docked {
            // As above.
            let _ = checkpoint::reached("docked");
            return (Request::Stop, Status::Done);
        }
        let here = position(seen);
        let travels = if self.nose_first { seen.pose.yaw } else { seen.pose.yaw + PI };
        // Along the line onto the dock: negative before it, zero on it.
        let along =
            (here.x - self.dock.x) * self.course.cos() + (here.y - self.dock.y) * self.course.sin();
        self.phase = match self.phase {
            Phase::Approach if distance(here, self.approach) <= REACHED_M => {
                log::line("in front of the dock");
                Phase::Align
            }
            Phase::Align if wrap(self.course - travels).abs() <= ALIGNED_RAD => Phase::Dock,
            Phase::Dock if along >= -DOCK_BRAKING_M => Phase::Wait(seen.at_nanos),
            Phase::Wait(since) if seen.at_nanos.saturating_sub(since) > DOCK_ANSWER_NS => {
                let reason = "the dock does not answer where the plan says it is".to_owned();
                return (Request::Stop, Status::Failed(reason));
            }
            Phase::Approach => Phase::Approach,
            Phase::Align => Phase::Align,
            Phase::Dock => Phase::Dock,
            Phase::Wait(since) => Phase::Wait(since),
        };
        match self.phase {
            Phase::Approach => {
                let to = self.approach;
                let note = format!("to the dock, {:.1} m to go", distance(here, to));
                let speed_mps = self.speed_mps;
                (Request::GoTo(Destination { to, yaw: None, speed_mps }), running(0.0, note))
            }
            Phase::Align => {
                let turn = turn(wrap(self.course - travels));
                (drive(0.0, turn), running(0.5, "turning for the dock".to_owned()))
            }
            Phase::Dock => {
                // At a point of the line that stays as far ahead as it is: what the robot is
                // off the line by shrinks to about a third with each such length.
                let aim = ahead_of(self.dock, self.course, along + DOCKING_AHEAD_M);
                let turn = turn(wrap(direction(here, aim) - travels));
                let speed = if self.nose_first { DOCKING_MPS } else { -DOCKING_MPS };
                let note = format!("docking, {:.2} m to go", -along);
                (drive(speed, turn), running(1.0 + 0.4 * along / self.approach_m, note))
            }
            Phase::Wait(_) => {
                (Request::Stop, running(1.0, "waiting for the dock to answer".to_owned()))
            }
        }
    }
}

/// The turning rate for an error of heading.
fn turn(error_rad: f64) -> f64 {
    (error_rad * DOCKING_TURN_GAIN).clamp(-DOCKING_TURN_MAX_RADPS, DOCKING_TURN_MAX_RADPS)
}

fn drive(linear: f64, angular: f64) -> Request {
    Request::Drive(Twist { linear, angular })
}

fn position(seen: &Observation) -> Point {
    Point { x: seen.pose.x, y: seen.pose.y }
}

fn running(fraction: f64, note: String) -> Status {
    Status::Running(Progress { fraction: fraction.clamp(0.0, 1.0), note })
}

export!(Patrol);
