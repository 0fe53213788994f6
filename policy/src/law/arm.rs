//! An arm: each joint has a range, a velocity and an acceleration of its own.

use super::{Axes, Breach, ROUNDING, Step, ratio};
use crate::limits::between;
use crate::verdict::Verdicts;
use nooterra_protocol::command::{Command, JointVelocities, MAX_JOINTS, PerJoint};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::policy::Joint;

/// Axes: the velocity of each joint, rad/s or m/s.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    count: usize,
    /// Those beyond `count` may not move.
    joints: [Joint; MAX_JOINTS],
}

/// Between which positions each joint may be when a new setpoint takes effect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) highest: [f64; MAX_JOINTS],
    pub(crate) lowest: [f64; MAX_JOINTS],
}

impl Arm {
    /// Of joints that were checked: no more than there is room for.
    pub(super) fn new(joints: &[Joint]) -> Self {
        const STILL: Joint = Joint {
            max_accel: 1.0,
            max_effort: None,
            max_position: 0.0,
            max_velocity: 0.0,
            min_position: 0.0,
        };
        let mut all = [STILL; MAX_JOINTS];
        let count = joints.len().min(MAX_JOINTS);
        all[..count].copy_from_slice(&joints[..count]);
        Self { count, joints: all }
    }

    /// How many joints it has.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The first joint that is loaded beyond its limit.
    pub(crate) fn overload(&self, effort: &[f64]) -> Option<Breach> {
        self.joints.iter().zip(effort).find_map(|(joint, effort)| {
            let limit = joint.max_effort?;
            (effort.abs() > limit).then_some(Breach::of(Rule::JointEffort, limit))
        })
    }

    /// The first joint that leaves its range when a setpoint is held and then braked.
    pub(crate) fn leaves(&self, from: &Reach, axes: &Axes, hold_s: f64) -> Option<Breach> {
        let brake_s = self.stop_seconds(axes);
        let joints = self.joints.iter().zip(axes.0).zip(from.highest.iter().zip(from.lowest));
        for ((joint, velocity), (highest, lowest)) in joints.take(self.count) {
            let way = velocity.abs() * (hold_s + brake_s / 2.0);
            let above = highest - joint.max_position;
            let below = joint.min_position - lowest;
            // From beyond one end the way back is open, as far as the other end.
            if velocity > 0.0 && above + way > 0.0 {
                return Some(Breach::of(Rule::JointPosition, joint.max_position));
            }
            if velocity < 0.0 && below + way > 0.0 {
                return Some(Breach::of(Rule::JointPosition, joint.min_position));
            }
        }
        None
    }

    pub(super) fn axes(&self, command: &Command) -> Option<Axes> {
        match command {
            Command::Joints(velocities) => {
                let velocities = velocities.joints.as_slice();
                let mut axes = Axes::ZERO;
                axes.0.get_mut(..velocities.len())?.copy_from_slice(velocities);
                (velocities.len() == self.count).then_some(axes)
            }
            _ => None,
        }
    }

    pub(super) fn command(&self, axes: &Axes) -> Command {
        let joints =
            axes.0.get(..self.count).and_then(|axes| PerJoint::new(axes).ok()).unwrap_or_default();
        Command::Joints(JointVelocities { joints })
    }

    #[allow(clippy::unused_self)] // One of the laws' common calls, as some below.
    pub(super) const fn planar(&self, _: &Axes) -> Planar {
        Planar::ZERO
    }

    /// What it measures is handed over by [`Self::seed_from`].
    #[allow(clippy::unused_self)]
    pub(super) const fn seed(&self, _: Planar) -> Axes {
        Axes::ZERO
    }

    /// The axes nearest to measured velocities, within the limits.
    pub(crate) fn seed_from(&self, velocity: &[f64]) -> Axes {
        let mut axes = Axes::ZERO;
        for ((axis, joint), measured) in axes.0.iter_mut().zip(&self.joints).zip(velocity) {
            *axis = between(*measured, -joint.max_velocity, joint.max_velocity);
        }
        axes
    }

    pub(super) fn limit_speed(&self, wish: &Axes, verdicts: &mut Verdicts) -> Axes {
        let mut least = 1.0_f64;
        for (axis, joint) in wish.0.iter().zip(&self.joints) {
            let ratio = ratio(*axis, joint.max_velocity);
            if ratio < least {
                verdicts.note(Rule::SpeedJoint, joint.max_velocity, None);
                least = ratio;
            }
        }
        if least < 1.0 { wish.scaled(least) } else { *wish }
    }

    #[allow(clippy::unused_self)]
    pub(super) fn slowed(&self, axes: &Axes, ratio: f64) -> Axes {
        axes.scaled(ratio)
    }

    /// All joints by one ratio of the change, so that the tool keeps to its way.
    pub(super) fn ramp(
        &self,
        last: &Axes,
        target: &Axes,
        step: Step,
        verdicts: &mut Verdicts,
    ) -> Axes {
        let mut part = 1.0_f64;
        for ((from, to), joint) in last.0.iter().zip(target.0).zip(&self.joints) {
            let ratio = ratio(to - from, joint.max_accel * step.seconds);
            if ratio < part {
                verdicts.note(Rule::AccelJoint, joint.max_accel, None);
                part = ratio;
            }
        }
        if part < 1.0 { last.towards(target, part) } else { *target }
    }

    pub(super) fn brake(&self, last: &Axes, seconds: f64) -> Axes {
        let whole = self.stop_seconds(last);
        if seconds >= whole { Axes::ZERO } else { last.scaled(1.0 - seconds / whole) }
    }

    #[allow(clippy::unused_self)]
    pub(super) const fn brake_seconds(&self, _: Planar) -> f64 {
        0.0
    }

    #[allow(clippy::unused_self)]
    pub(super) const fn breach(&self, _: &Axes) -> Option<Breach> {
        None
    }

    pub(super) fn holds_speed(&self, axes: &Axes) -> bool {
        let joints = axes.0.iter().zip(&self.joints);
        joints.into_iter().all(|(axis, joint)| axis.abs() <= joint.max_velocity + ROUNDING)
    }

    #[allow(clippy::unused_self)]
    pub(super) fn is_rest(&self, axes: &Axes) -> bool {
        *axes == Axes::ZERO
    }

    /// All joints come to rest together; the slowest tells when.
    fn stop_seconds(&self, axes: &Axes) -> f64 {
        let joints = axes.0.iter().zip(&self.joints);
        joints.map(|(axis, joint)| axis.abs() / joint.max_accel).fold(0.0, f64::max)
    }
}
