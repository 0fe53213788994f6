//! What is believed of a measurement, and how it is taken by a law.

use super::Inputs;
use crate::document::MAX_COORDINATE_M;
use crate::law::{Axes, Law};
use crate::look_ahead::{DOUBT, Measured};
use crate::planar::Planar;
use nooterra_protocol::geometry::Pose;

/// A pose further from the map's origin is no measurement, metres: ten times what a zone may
/// reach.
const MOST_BELIEVED_M: f64 = 10.0 * MAX_COORDINATE_M;

/// A heading beyond so many radians has lost its fraction; headings are usually within ±π.
const MOST_BELIEVED_RAD: f64 = 1e6;

/// A faster motion is no measurement, m/s or rad/s.
const MOST_BELIEVED_SPEED: f64 = 100.0;

/// The pose's standard deviations that are added to the robot's outline where they are more
/// than the margin that the document gives: 99.7 % of a normal error.
pub(super) const SIGMAS: f64 = 3.0;

/// A place that is known no better than this is unknown, metres.
pub(super) const MAX_UNCERTAINTY_M: f64 = 5.0;

/// The place is known at all.
pub(super) fn is_known(inputs: &Inputs) -> bool {
    // False also where a deviation is no number.
    (0.0..=MAX_UNCERTAINTY_M).contains(&(SIGMAS * inputs.pose_sigma_m))
        && (0.0..=std::f64::consts::PI).contains(&(SIGMAS * inputs.yaw_sigma_rad))
}

pub(super) fn measured(inputs: &Inputs, law: &Law, moving: Planar) -> Measured {
    let mut pose = inputs.pose;
    if !law.is_body_frame() {
        // Its setpoints are in the map's frame: whichever way it faces, they lead there.
        pose.value.yaw = 0.0;
    }
    Measured {
        flying: inputs.flying,
        joints: inputs.joints,
        moving,
        now: inputs.now,
        pose,
        reaction: law.reaction(),
    }
}

/// Where the ramps begin when nothing was written before: at what is measured, without what is
/// only its noise.
pub(super) fn seed(law: &Law, inputs: &Inputs, moving: Planar) -> Axes {
    if let (Some(arm), Some(joints)) = (law.arm(), &inputs.joints) {
        return arm.seed_from(joints.value.velocity.as_slice());
    }
    if is_still(moving) { Axes::ZERO } else { law.seed(moving) }
}

/// The measured motion in the frame of a law's setpoints.
pub(super) fn in_frame_of(law: &Law, inputs: &Inputs) -> Planar {
    let moving = inputs.twist.value;
    if law.is_body_frame() { moving } else { turned(moving, inputs.pose.value.yaw) }
}

pub(super) fn turned(planar: Planar, yaw: f64) -> Planar {
    let (sin, cos) = yaw.sin_cos();
    Planar {
        angular: planar.angular,
        x: planar.x * cos - planar.y * sin,
        y: planar.x * sin + planar.y * cos,
    }
}

/// Slower than the odometry's noise.
pub(super) fn is_still(moving: Planar) -> bool {
    moving.x.abs() < DOUBT.x && moving.y.abs() < DOUBT.y && moving.angular.abs() < DOUBT.angular
}

/// Finite, and within what any robot on earth can be measured to do. A number beyond is as
/// little a measurement as NaN is.
pub(super) fn is_believable(pose: Pose, twist: Planar) -> bool {
    pose.is_finite()
        && twist.is_finite()
        && pose.x.abs() <= MOST_BELIEVED_M
        && pose.y.abs() <= MOST_BELIEVED_M
        && pose.yaw.abs() <= MOST_BELIEVED_RAD
        && [twist.x, twist.y, twist.angular].iter().all(|v| v.abs() <= MOST_BELIEVED_SPEED)
}
