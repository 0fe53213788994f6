//! The contract between the control loop and a driver.

use crate::camera::Camera;
use nooterra_policy::{Gated, GatedError};
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::observation::{Capabilities, Observation};
use nooterra_protocol::time::MonoNanos;
use std::sync::Arc;

/// A robot as the control loop drives it.
///
/// The loop calls [`read`](Self::read) and then [`write`](Self::write) or
/// [`stop`](Self::stop) once per tick, from one thread, with a `now` that never goes back. A
/// driver answers within a fraction of a tick: what is slow on its side (a bus, a socket) runs
/// on its own thread, and `read` gives the latest that arrived, with the time of its
/// measurement. A driver that cannot measure says so with an old stamp, never with a new one.
pub trait Robot: Send {
    /// What this robot is able to do. The same for the life of the driver.
    fn capabilities(&self) -> Capabilities;

    /// Its camera, where it has one. The same for the life of the driver.
    fn camera(&self) -> Option<Arc<dyn Camera>> {
        None
    }

    /// The latest observation. Stamps are never later than `now`. A number that the robot
    /// marks as missing (NaN in some protocols) becomes `None` or an error here, and reaches
    /// nobody as a number.
    ///
    /// # Errors
    /// [`HalError`] when nothing is known of the robot; the loop then stops it.
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError>;

    /// Brings the robot to rest as `profile` says. Works in every state, also when a write has
    /// just failed, waits for nothing, and may be called any number of times. It holds until
    /// the next accepted write.
    ///
    /// # Errors
    /// [`HalError`] when the robot could not be told; it is then left to its write watchdog.
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError>;

    /// Writes a setpoint. It holds until the next write or stop; when neither comes within the
    /// driver's write watchdog (at most 250 ms), the robot comes to rest by itself.
    ///
    /// # Errors
    /// [`HalError::Gated`] for a command for another robot or tick and [`HalError::Tick`] for a
    /// tick that was already written: nothing has been written then, and what was written
    /// before still holds. Any other error leaves open whether the robot took it; the loop
    /// stops it.
    fn write(&mut self, now: MonoNanos, tick: u64, command: Gated<Command>)
    -> Result<(), HalError>;
}

/// Why a robot could not be read, written to or stopped.
#[derive(Debug, thiserror::Error)]
pub enum HalError {
    /// `now` is earlier than in the call before; the caller mixes two clocks.
    #[error("time went back by {0} ns between two calls; give one monotonic clock to all")]
    Clock(u64),
    /// A command for another kind of robot; the policy is for one.
    #[error("the robot takes no such command; give the policy the vehicle that this robot is")]
    Command,
    /// The robot or the way to it failed: a bus, a socket, a device that is off.
    #[error("the robot does not answer: {0}")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The command is not for this robot in this tick.
    #[error(transparent)]
    Gated(#[from] GatedError),
    /// The tick is not later than the last one that was written.
    #[error("tick {found} after tick {last}: each tick is written once, in order")]
    Tick {
        /// The tick of the write.
        found: u64,
        /// The last that was written.
        last: u64,
    },
}
