//! Simulated robots: a differential base in a walled room, and an arm at its table.
//!
//! [`SimBase`] and [`SimArm`] are drivers like any other, with a world behind them instead of a
//! bus; [`Simulated`] is whichever of them a configuration describes. The world moves only when
//! it is called: each call first brings it up to `now` in steps of 5 ms, so it runs as fast as it
//! is asked and the same calls with the same seed are the same run (on one kind of machine; the
//! base's physics is in `f32`).
//!
//! # What is modelled
//! Of both: the delay from a write to the drives, limited velocity and acceleration, bounded
//! noise on what is measured, an emergency stop button, and the driver's write watchdog.
//!
//! Of the base: a disc-shaped body pushed by two wheels, contact with walls and obstacles, a
//! planar range sensor, a small grey camera, a battery, a charging pad. What is not: wheel slip
//! on a free floor, people, things that move.
//!
//! Of the arm: four joints that end at their ranges, and jaws that pick up cubes (see
//! [`SimArm`]). What is not: weight, and collisions of anything with anything, such as of the arm
//! with walls and things, of two things, of jaws that are driven down onto a thing, of a held
//! thing that is carried through another or put down on it. The table goes on for ever.
//!
//! # What stopping means here
//! Of the base, `ControlledHold` brakes and holds. `ControlledStopThenPowerOff` brakes, then
//! switches the drives off; the next accepted write switches them on. `ImmediatePowerRemoval` lets
//! it roll out against friction. All three take effect after the same delay as a write.
//!
//! The joints of the arm have brakes that lock by themselves without power, and brake as hard as
//! the drives do: every profile, and the button, brings each joint to rest within its
//! deceleration, where it stays. The jaws keep what they hold.

mod arm;
mod base;
mod calls;
mod camera;
pub mod config;
mod drives;
mod joints;
mod orders;
mod sensors;
mod table;
mod world;

pub use arm::{ArmTruth, SimArm};
pub use base::SimBase;
pub use config::{ConfigError, SimConfig};
pub use table::ThingTruth;

use crate::camera::Camera;
use crate::robot::{HalError, Robot};
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::observation::{Capabilities, Observation};
use nooterra_protocol::time::MonoNanos;
use std::sync::Arc;
use std::time::Duration;

/// The step of the simulation.
pub const STEP: Duration = Duration::from_millis(5);

/// A robot that is not written to for so long brakes and holds.
pub const WRITE_WATCHDOG: Duration = Duration::from_millis(200);

/// A longer pause between calls is not simulated in full: the robot has long come to rest, and
/// only a battery goes on.
const LONGEST_CATCH_UP: Duration = Duration::from_secs(20);

/// The simulated robot that a configuration describes.
#[derive(Debug)]
pub enum Simulated {
    /// With `arm`.
    Arm(Box<SimArm>),
    /// Without.
    Base(Box<SimBase>),
}

impl Simulated {
    /// Puts a robot into its room. `seed` fixes the noise.
    ///
    /// # Errors
    /// [`ConfigError`] when the room makes no sense.
    pub fn new(robot: RobotId, config: SimConfig, seed: u64) -> Result<Self, ConfigError> {
        Ok(if config.arm.is_some() {
            Self::Arm(Box::new(SimArm::new(robot, config, seed)?))
        } else {
            Self::Base(Box::new(SimBase::new(robot, config, seed)?))
        })
    }

    /// Presses or releases the button on the robot.
    pub fn press_emergency_stop(&mut self, pressed: bool) {
        match self {
            Self::Arm(arm) => arm.press_emergency_stop(pressed),
            Self::Base(base) => base.press_emergency_stop(pressed),
        }
    }

    /// Where the robot really is: of an arm, where it stands.
    #[must_use]
    pub fn truth(&self) -> Pose {
        match self {
            Self::Arm(arm) => arm.stands(),
            Self::Base(base) => base.truth(),
        }
    }

    /// How it really moves: an arm does not.
    #[must_use]
    pub fn truth_twist(&self) -> Twist {
        match self {
            Self::Arm(_) => Twist::ZERO,
            Self::Base(base) => base.truth_twist(),
        }
    }

    /// Where an arm and its things really are.
    #[must_use]
    pub fn arm(&self) -> Option<ArmTruth> {
        match self {
            Self::Arm(arm) => Some(arm.truth()),
            Self::Base(_) => None,
        }
    }

    fn robot(&self) -> &dyn Robot {
        match self {
            Self::Arm(arm) => &**arm,
            Self::Base(base) => &**base,
        }
    }

    fn robot_mut(&mut self) -> &mut dyn Robot {
        match self {
            Self::Arm(arm) => &mut **arm,
            Self::Base(base) => &mut **base,
        }
    }
}

impl Robot for Simulated {
    fn capabilities(&self) -> Capabilities {
        self.robot().capabilities()
    }

    fn camera(&self) -> Option<Arc<dyn Camera>> {
        self.robot().camera()
    }

    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        self.robot_mut().read(now)
    }

    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.robot_mut().stop(now, profile)
    }

    fn write(
        &mut self,
        now: MonoNanos,
        tick: u64,
        command: Gated<Command>,
    ) -> Result<(), HalError> {
        self.robot_mut().write(now, tick, command)
    }
}
