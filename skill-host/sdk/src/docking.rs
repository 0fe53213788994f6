//! Onto a dock: in front of it, turned along its axis, then straight, guided by the line.

use crate::drive;
use crate::geometry::{Nearing, ahead_of, direction, distance, position, wrap};
use crate::types::{Observation, Point, Request};
use std::f64::consts::PI;

/// In front of the dock counts as reached this near to it, metres.
const REACHED_M: f64 = 0.3;

/// Onto the dock, m/s.
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

/// The way onto a dock.
#[derive(Clone, Copy, Debug)]
pub struct Docking {
    approach: Point,
    approach_m: f64,
    /// Heading of travel onto the dock.
    course: f64,
    dock: Point,
    nearing: Nearing,
    nose_first: bool,
    phase: Phase,
    speed_mps: f64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Approach,
    Align,
    Dock,
    /// Since this moment, nanoseconds.
    Wait(u64),
}

/// How it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Docked {
    /// It came no nearer for 20 s: something is in the way.
    Blocked,
    /// It stands on its dock.
    Yes,
    /// The dock does not answer where it was said to be.
    Never,
    /// On the way: what to ask, how far (0 to 1), and in words.
    NotYet(Request, f64, String),
}

impl Docking {
    /// A dock at `dock` that `faces` away from its wall, radians. The last straight piece is
    /// `approach_m` long. Without `nose_first` the robot drives onto it backwards, so that it
    /// drives off forwards.
    #[must_use]
    pub fn new(dock: Point, faces: f64, approach_m: f64, nose_first: bool, speed_mps: f64) -> Self {
        Self {
            approach: ahead_of(dock, faces, approach_m),
            approach_m,
            course: wrap(faces + PI),
            dock,
            nearing: Nearing::default(),
            nose_first,
            phase: Phase::Approach,
            speed_mps,
        }
    }

    /// One step of the way.
    pub fn step(&mut self, seen: &Observation) -> Docked {
        if seen.docked {
            return Docked::Yes;
        }
        let here = position(seen);
        let travels = if self.nose_first { seen.pose.yaw } else { seen.pose.yaw + PI };
        // Along the line onto the dock: negative before it, zero on it.
        let along =
            (here.x - self.dock.x) * self.course.cos() + (here.y - self.dock.y) * self.course.sin();
        let error = wrap(self.course - travels);
        self.phase = match self.phase {
            Phase::Approach if distance(here, self.approach) <= REACHED_M => Phase::Align,
            Phase::Align if error.abs() <= ALIGNED_RAD => Phase::Dock,
            Phase::Dock if along >= -DOCK_BRAKING_M => Phase::Wait(seen.at_nanos),
            Phase::Wait(since) if seen.at_nanos.saturating_sub(since) > DOCK_ANSWER_NS => {
                return Docked::Never;
            }
            same => same,
        };
        match self.phase {
            Phase::Approach => {
                let Some(request) = self.nearing.onward(seen, self.approach, self.speed_mps) else {
                    return Docked::Blocked;
                };
                let left = distance(here, self.approach);
                Docked::NotYet(request, 0.0, format!("to the dock, {left:.1} m to go"))
            }
            Phase::Align => {
                Docked::NotYet(drive(0.0, turn(error)), 0.5, "turning for the dock".to_owned())
            }
            Phase::Dock => {
                // At a point of the line that stays as far ahead as it is: what the robot is
                // off the line by shrinks to about a third with each such length.
                let aim = ahead_of(self.dock, self.course, along + DOCKING_AHEAD_M);
                let turn = turn(wrap(direction(here, aim) - travels));
                let speed = if self.nose_first { DOCKING_MPS } else { -DOCKING_MPS };
                let note = format!("docking, {:.2} m to go", -along);
                Docked::NotYet(drive(speed, turn), 1.0 + 0.4 * along / self.approach_m, note)
            }
            Phase::Wait(_) => {
                Docked::NotYet(Request::Stop, 1.0, "waiting for the dock to answer".to_owned())
            }
        }
    }
}

/// The turning rate for an error of heading.
fn turn(error_rad: f64) -> f64 {
    (error_rad * DOCKING_TURN_GAIN).clamp(-DOCKING_TURN_MAX_RADPS, DOCKING_TURN_MAX_RADPS)
}
