//! What a tick is given, and what it comes to.

use crate::arbitrate::{Grants, Wishes};
use crate::gated::Gated;
use crate::planar::Planar;
use crate::privacy::Privacy;
use crate::proximity::Surroundings;
use crate::verdict::Verdicts;
use nooterra_protocol::command::{Command, Source, StopProfile};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::observation::{Flying, JointStates, Timed};
use nooterra_protocol::time::{MonoNanos, Stamp};
use std::time::Duration;

/// All that a tick knows.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// State of charge, 0 to 1, where it is measured.
    pub battery: Option<f64>,
    /// What time it is, for zones that hold only at times, and how far that is to be believed.
    /// Left out, untrusted, or older than [`MAX_STAMP_AGE`](crate::MAX_STAMP_AGE), it is not
    /// known.
    pub clock: Option<Stamp>,
    /// Height and tilt, of what flies.
    pub flying: Option<Timed<Flying>>,
    /// Who may move the robot.
    pub grants: Grants,
    /// What an arm measures of its joints.
    pub joints: Option<Timed<JointStates>>,
    /// Age of the oldest verdict that is not yet on the disk; zero when all are.
    pub journal_age: Duration,
    /// The mode that holds, by its place in the document. One that the document does not have
    /// is taken for the strictest of all.
    pub mode: Option<u8>,
    /// Time of the tick.
    pub now: MonoNanos,
    /// Where the robot was, and when.
    pub pose: Timed<Pose>,
    /// Standard deviation of the position in its worst direction, metres; 0 where it is not
    /// known, and the document's margin is all that covers it.
    pub pose_sigma_m: f64,
    /// Standard deviation of the heading, radians; 0 where it is not known.
    pub yaw_sigma_rad: f64,
    /// What stands around the robot, where a sensor looks.
    pub surroundings: Option<Surroundings>,
    /// Count of the tick; the gated command is good for this one.
    pub tick: u64,
    /// How it moved, in the body frame, and when.
    pub twist: Timed<Planar>,
    /// Who wishes what.
    pub wishes: Wishes,
}

impl Inputs {
    /// A robot that measures its place and its motion, and of which nobody wishes anything.
    #[must_use]
    pub fn new(tick: u64, now: MonoNanos, pose: Timed<Pose>, twist: Timed<Planar>) -> Self {
        Self {
            battery: None,
            clock: None,
            flying: None,
            grants: Grants::NONE,
            joints: None,
            journal_age: Duration::ZERO,
            mode: None,
            now,
            pose,
            pose_sigma_m: 0.0,
            yaw_sigma_rad: 0.0,
            surroundings: None,
            tick,
            twist,
            wishes: Wishes::default(),
        }
    }
}

/// What to do in this tick.
#[derive(Debug)]
#[must_use = "a tick that is not acted on leaves the robot to its watchdog"]
pub enum Action {
    /// Stop as the owner laid down. Waits for nothing.
    Stop(StopProfile),
    /// Write this to the robot.
    Write(Gated<Command>),
}

/// What a tick came to, and why.
#[derive(Debug)]
pub struct Outcome {
    /// What to do.
    pub action: Action,
    /// What goes to the robot; standing still for a stop.
    pub allowed: Command,
    /// What the source in charge wished, as it came.
    pub asked: Command,
    /// The tightest speed limit at this place, m/s; 0 where the place is unknown.
    pub limit_mps: f64,
    /// Which sensors may be read at this place.
    pub privacy: Privacy,
    /// In charge.
    pub source: Source,
    /// Each rule that acted; empty when the wish went through bit for bit.
    pub verdicts: Verdicts,
}

impl Outcome {
    /// The body twist that goes to a differential base; standing still for any other robot.
    #[must_use]
    pub fn allowed_twist(&self) -> Twist {
        self.allowed.twist().unwrap_or(Twist::ZERO)
    }
}
