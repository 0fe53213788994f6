//! What can be wrong with a policy document, in words that say what to write instead.

use crate::polygon::{LEAST_AREA_M2, ShapeFault};
use nooterra_protocol::command::MAX_JOINTS;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::schedule::TimeOfDay;

/// What makes no sense in a policy document. `key` is the path to it, as in
/// `zones[2].polygon`; corners and sides count from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// Sides cross: two corners are swapped.
    #[error(
        "`{key}`: the side after corner {first} meets the side after corner {second}; \
         list the corners in order around the edge"
    )]
    Crossing {
        /// Where.
        key: String,
        /// One side.
        first: usize,
        /// The other.
        second: usize,
    },
    /// Too few corners for a polygon, or more than are handled.
    #[error("`{key}` has {found} corners; write 3 to {most}")]
    Corners {
        /// Where.
        key: String,
        /// How many it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
    /// A time window without a day.
    #[error("`{key}.days` names no day; write some of mon, tue, wed, thu, fri, sat, sun")]
    EmptyDays {
        /// Where.
        key: String,
    },
    /// A time window that ends before it begins, or as it begins.
    #[error(
        "`{key}`: it begins at {from} and ends at {to}; where it goes over midnight, write two: \
         {from} to 24:00, and 00:00 to {to} on the day after"
    )]
    EmptyWindow {
        /// Where.
        key: String,
        /// Its begin.
        from: TimeOfDay,
        /// Its end.
        to: TimeOfDay,
    },
    /// An altitude band of something that does not fly.
    #[error("`{key}` is about what flies; leave it out: a zone on the ground has no heights")]
    Grounded {
        /// Where.
        key: String,
    },
    /// Corners on one line, or in one place.
    #[error("`{key}` has no area; its corners must enclose at least {LEAST_AREA_M2} m²")]
    Flat {
        /// Where.
        key: String,
    },
    /// Two limits that leave nothing between them.
    #[error("`{low}` is not below `{high}`; swap them, or correct one")]
    Inverted {
        /// What should be above.
        high: String,
        /// What should be below.
        low: String,
    },
    /// No joints, or more than are handled.
    #[error("`vehicle.joints` has {found} joints; write 1 to {MAX_JOINTS}")]
    Joints {
        /// How many it has.
        found: usize,
    },
    /// A mode that would allow more than the document does without it.
    #[error(
        "`{key}` is {found}, more than the {most} {unit} without the mode; a mode only tightens"
    )]
    Loosens {
        /// Where.
        key: String,
        /// What it says.
        found: f64,
        /// What holds without it.
        most: f64,
        /// Of both.
        unit: &'static str,
    },
    /// A part that says nothing about an arm that stands where it stands.
    #[error("`{key}` says nothing about an arm; leave it out, its limits are in `vehicle.joints`")]
    Meaningless {
        /// Where.
        key: &'static str,
    },
    /// What must be kept out of, or the edge of what must be kept in, leaves no place.
    #[error(
        "`zones` leave the robot no place to stand with its outline and margin; enlarge what it \
         is kept in, or shrink what it is kept out of"
    )]
    NoRoom,
    /// The outline has a dent.
    #[error(
        "`{key}` is not convex at corner {corner}; leave that corner out, or list the corners \
         in order"
    )]
    NotConvex {
        /// Where.
        key: String,
        /// The first corner that turns the other way.
        corner: usize,
    },
    /// The outline is not around `base_link`: it was drawn in another frame.
    #[error("`{key}` does not contain the origin; give the corners relative to base_link")]
    Origin {
        /// Where.
        key: String,
    },
    /// A number that is none, or that no robot has.
    #[error("`{key}` is {found}; write {least} to {most} {unit}")]
    Range {
        /// Where.
        key: String,
        /// What it says.
        found: f64,
        /// The least that is accepted.
        least: f64,
        /// The most that is accepted.
        most: f64,
        /// Of all three.
        unit: &'static str,
    },
    /// The same corner twice in a row.
    #[error("`{key}`: corner {corner} stands where the one before it stands; leave one out")]
    RepeatedCorner {
        /// Where.
        key: String,
        /// The second of the two.
        corner: usize,
    },
    /// Two modes with one name.
    #[error("`{key}` names the same mode as `{first}`; give each mode its own name")]
    RepeatedMode {
        /// Where.
        key: String,
        /// What has the name already.
        first: String,
    },
    /// A part that would say nothing.
    #[error("`{key}` is empty; {what}, or leave it out")]
    Nothing {
        /// Where.
        key: String,
        /// What to write.
        what: &'static str,
    },
    /// Two zones or masks with one name.
    #[error("`{key}` is `{id}`, as is `{first}`; give each zone its own name")]
    RepeatedZone {
        /// Where.
        key: String,
        /// The name.
        id: ZoneId,
        /// What has it already.
        first: String,
    },
    /// A polygon with holes, or a circle, that is none.
    #[error("`{key}`: {fault}")]
    Shape {
        /// Where.
        key: String,
        /// What is wrong with it.
        fault: ShapeFault,
    },
    /// A stop that lets what flies fall.
    #[error("`stop` would switch a multirotor off in the air; write `controlled_hold` or `land`")]
    StopInTheAir,
    /// A landing of what does not fly.
    #[error("`stop` is `land`, and the vehicle does not fly; write `controlled_hold`")]
    StopOnGround,
    /// A circle and corners in one zone.
    #[error("`{key}` has a circle and corners; make two zones of them")]
    TwoShapes {
        /// Where.
        key: String,
    },
    /// More zones or masks, or more corners in all zones, than are handled.
    #[error("`{key}` has {found} {what}; at most {most} are handled, merge or simplify some")]
    TooMany {
        /// Where.
        key: &'static str,
        /// Zones, masks or corners.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many are handled.
        most: usize,
    },
}
