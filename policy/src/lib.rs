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
//! 1. [`arbitrate`]: stops that latch, then whose wish counts, whether it is still fresh, and
//!    whether its source may move the robot at all ([`Grants`]).
//! 2. The law of the vehicle: speed limits by one ratio for all axes, so that the path keeps its
//!    shape; then the limit of the speed zones that the robot touches, of what stands in the way
//!    ([`proximity`]), of the battery and of the time in motion; then what can be reached within
//!    a tick from the last setpoint. What is common to laws is in [`limits`].
//! 3. What the setpoint leads to before a brake at the next tick has brought the robot to rest,
//!    latency counted: the path through the [`zones`], the height, the joints' positions. Where
//!    that leaves its place, the setpoint moves towards braking, by one ratio, until it no
//!    longer does.
//! 4. The result is checked once more; what fails then is a fault here, and stops the robot.
//!
//! There is a law for each kind of vehicle: differential, steered, omnidirectional, multirotor,
//! arm. Only a law knows what the numbers of a command mean; the gate knows no kind of vehicle.
//!
//! A zone is a polygon of the document or a region of a mask ([`mask`]): a grid of cells in a
//! file that the document names by its hash, judged by its distance field ([`field`]).
//!
//! A zone may also be a circle, or a polygon with holes ([`zones::Shape`]). The side of a
//! fence that is nearest is found by an index ([`polygon`]): a fence of 100,000 corners costs a
//! tick no more than one of ten. Ground that was once found open, far from every edge, is not
//! looked at again until the robot has left it.
//!
//! # What is not always so
//! A zone may hold only between heights, or at times of the week. Which are in force is settled
//! before each judgement, by all the time and all the heights until the robot would be at rest;
//! what is not known restricts and does not permit. Where nothing that the robot must be kept
//! in is open, it stops, and what flies may only climb or sink to where one is. Which sensors
//! may be read at this place ([`privacy`]) comes with each tick as a few bits.
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
mod clear;
mod coarse;
mod conditions;
pub mod document;
mod endurance;
pub mod field;
pub mod footprint;
pub mod gate;
pub mod gated;
mod index;
mod law;
pub mod limits;
mod look_ahead;
pub mod mask;
pub mod merge;
mod near;
mod occupied;
mod path;
mod place;
pub mod planar;
pub mod polygon;
pub mod privacy;
pub mod proximity;
pub mod recorded;
pub mod room;
pub mod shadow;
mod shape;
pub mod simple;
pub mod verdict;
pub mod verified;
mod walk;
pub mod zones;

pub use arbitrate::{Grants, Wish, Wishes};
pub use conditions::MAX_STAMP_AGE;
pub use document::{DocumentError, check_document, check_room};
pub use gate::{Action, Gate, Inputs, Outcome};
pub use gated::{Gated, GatedError};
pub use mask::MaskError;
pub use merge::{MergeError, merge};
pub use planar::Planar;
pub use privacy::{Privacy, Sensors};
pub use proximity::Surroundings;
pub use recorded::Recorded;
pub use shadow::{Opinion, Shadow};
pub use verdict::{GateVerdict, Verdicts};
pub use verified::{PolicyError, VerifiedPolicy};
