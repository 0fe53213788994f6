//! An arm in a rehearsal: what a tick of it was, and whether it stands where a skill needs it.

use super::Frame;
use nooterra_hal::sim::ArmTruth;
use nooterra_protocol::command::{Asked, Command, PerJoint};

/// What is known of an arm in one tick.
#[derive(Clone, Debug)]
pub struct ArmFrame {
    /// The velocities that came through the gate, base first: rad/s or m/s.
    pub allowed: PerJoint<f64>,
    /// Those that were wished; zero where that was no number.
    pub asked: PerJoint<f64>,
    /// Where it truly is, and the things around it.
    pub truth: ArmTruth,
}

impl ArmFrame {
    pub(super) fn new(truth: ArmTruth, asked: Command, allowed: Command) -> Self {
        let velocities = |command: Command| match Asked::from(command) {
            Asked::Joints { joints } => joints.map(Option::unwrap_or_default),
            _ => PerJoint::default(),
        };
        Self { allowed: velocities(allowed), asked: velocities(asked), truth }
    }
}

/// Of the things that lie on the table and are not `taken`, the nearest to a place: which, and how
/// far from it, metres.
pub(super) fn nearest_thing(
    frame: &Frame,
    x: f64,
    y: f64,
    taken: &[usize],
) -> Option<(usize, f64)> {
    let things = frame.arm.iter().flat_map(|arm| arm.truth.things.iter().enumerate());
    let lying =
        things.filter(|(nth, thing)| !taken.contains(nth) && !thing.held && thing.bottom_m <= 1e-6);
    let off = lying.map(|(nth, thing)| (nth, (thing.at.x - x).hypot(thing.at.y - y)));
    off.min_by(|(_, a), (_, b)| a.total_cmp(b))
}
