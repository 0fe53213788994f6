//! What a robot is to the agent: capabilities, read, gated write, stop.
//!
//! A driver is one implementation of [`Robot`]. It speaks the robot's own protocol on one side
//! and the project's types on the other, and decides nothing: what may move was decided by the
//! gate, and [`Robot::write`] takes only what the gate let through
//! ([`Gated`](nooterra_policy::Gated)).
//!
//! # Vocabulary
//! An *observation* is what one read gives, each part with the time of its measurement. The
//! *write watchdog* is the driver's own: a robot that is no longer written to comes to rest by
//! itself, whatever became of the process that wrote.
//!
//! # Drivers
//! With the feature `sim` (on by default; a robot's package leaves it out) [`sim`] holds a
//! simulated differential base and a simulated arm on injected time.
//!
//! # Pictures
//! A driver that has a [`Camera`] hands it out by [`Robot::camera`].
//!
//! # Maps
//! With the feature `map` [`map`] reads Nav2's map files and drones' fences, for developers'
//! commands; a robot is given grids and zones that its owner signed.
//!
//! # Stop inputs
//! [`stop_input`] is a button or relay that is wired to this computer; with the feature `gpio` on
//! a line of a Linux GPIO chip.
//!
//! # What it never does
//! It makes no command of its own other than a stop, remembers none to write it again, and
//! takes no setpoint that did not come through a gate. It reads no clock: `now` is an argument.

pub mod camera;
pub mod conformance;
#[cfg(feature = "map")]
pub mod map;
pub mod robot;
#[cfg(feature = "sim")]
pub mod sim;
pub mod stop_input;

pub use camera::Camera;
pub use robot::{HalError, Robot};
