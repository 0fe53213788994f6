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
//! distance from what is judged of the robot to the edge that it must not cross, negative once
//! it has been crossed.
//!
//! # How a wish becomes a setpoint
//! 1. [`arbitrate`]: whose wish counts, and whether it is still fresh.
//! 2. [`limits`]: speed limits, forward, backward and turning, by one ratio for both axes, so
//!    that the path keeps its shape; then the limit of the speed zones that the robot touches;
//!    then what can be reached within a tick from the last setpoint.
//! 3. [`zones`]: the path that the robot would sweep before a brake at the next tick has
//!    brought it to rest, latency counted. Where that path leaves its place, the setpoint moves
//!    towards braking, by one ratio, until it no longer does.
//! 4. The result is checked once more; what fails then is a fault here, and stops the robot.
//!
//! A zone is a polygon of the document or a region of a mask ([`mask`]): a grid of cells in a
//! file that the document names by its hash, judged by its distance field ([`field`]).
//!
//! A zone may also be a circle, or a polygon with holes ([`zones::Shape`]). The side of a
//! fence that is nearest is found by an index ([`polygon`]): a fence of 100,000 corners costs a
//! tick no more than one of ten.
//!
//! # What is conservative
//! The robot is judged as a few discs that cover its outline ([`footprint`]), each larger by
//! the margin, by what is not known of the pose, and by 5 mm for the spans in which a path is
//! walked. What the discs stick out beyond the outline is refused as well: some centimetres
//! for a long robot, and where it is nearly round, its circle. Turning on the spot is refused
//! where a corner would sweep across an edge. A base that cannot drive backward is judged by
//! its circle instead, so that it can always turn round. Beyond an edge, what leads back is
//! allowed ([`zones::ZoneMap::broken_by`]).
//!
//! # What it never does
//! It opens nothing, reads no clock and draws no randomness: time and state are arguments. On
//! the tick it allocates nothing. It never answers a doubt with "no limit": silence, a number
//! that is no number, a stale input, a clock that jumped, a journal that is behind all end in
//! the stop.

pub mod arbitrate;
mod coarse;
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
