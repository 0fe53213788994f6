//! The safety gate: whatever is asked, by whomever, the robot stays inside its owner's envelope.
//!
//! An owner's signed document becomes a [`VerifiedPolicy`], and nothing else does. A policy
//! makes a [`Gate`]. The gate is asked once per tick of the control loop and answers with a
//! setpoint that holds every limit, or with the owner's stop; each change that it makes to a
//! wish is a verdict that names the rule.
//!
//! # Vocabulary
//! A *wish* is what a source would like the robot to do, with a lease that ends by itself. The
//! *source in charge* is the first in the order e-stop, operator, skill, idle that has one.
//! A *setpoint* is what the gate makes of the wish. [`Gated`] is a setpoint that the gate let
//! through, for one robot and one tick; a driver accepts nothing else. *Clearance* is the
//! distance from the robot's protected disc to the edge that it must not cross, negative once
//! it has been crossed.
//!
//! # How a wish becomes a setpoint
//! 1. [`arbitrate`]: whose wish counts, and whether it is still fresh.
//! 2. [`limits`]: speed limits, forward, backward and turning, by one ratio for both axes, so
//!    that the path keeps its shape; then the limit of the speed zones that the disc touches;
//!    then what can be reached within a tick from the last setpoint.
//! 3. [`zones`]: the path that the robot would sweep before a brake at the next tick has
//!    brought it to rest, latency counted. Where that path leaves its place, the setpoint moves
//!    towards braking, by one ratio, until it no longer does.
//! 4. The result is checked once more; what fails then is a fault here, and stops the robot.
//!
//! A zone is a polygon of the document or a region of a mask ([`mask`]): a grid of cells in a
//! file that the document names by its hash, judged by its distance field ([`field`]).
//!
//! # What is conservative
//! The robot is judged as a disc: the circle around `base_link` that contains the outline, plus
//! the margin, plus 5 mm for the steps in which a path is sampled. A long, narrow robot is
//! therefore refused gaps that its outline would fit. In return turning on the spot is always
//! possible, and no heading error can carry a corner across an edge.
//!
//! # What it never does
//! It opens nothing, reads no clock and draws no randomness: time and state are arguments. On
//! the tick it allocates nothing. It never answers a doubt with "no limit": silence, a number
//! that is no number, a stale input, a clock that jumped, a journal that is behind all end in
//! the stop.

pub mod arbitrate;
pub mod document;
pub mod field;
pub mod footprint;
pub mod gate;
pub mod gated;
mod index;
pub mod limits;
pub mod mask;
mod path;
mod place;
pub mod planar;
pub mod polygon;
pub mod room;
mod shape;
pub mod simple;
pub mod verdict;
pub mod verified;
mod walk;
pub mod zones;

pub use arbitrate::{Wish, Wishes};
pub use document::{DocumentError, check_document};
pub use gate::{Action, Gate, Inputs, Outcome};
pub use gated::{Gated, GatedError};
pub use mask::MaskError;
pub use planar::Planar;
pub use verdict::{GateVerdict, Verdicts};
pub use verified::{PolicyError, VerifiedPolicy};
