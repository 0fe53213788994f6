//! The joints of the arm: what written velocities become at them, and where that puts the tool.

use super::config::ArmConfig;
use nooterra_protocol::geometry::{Point, Pose};

/// Shoulder, elbow, lift, gripper.
pub(super) type PerJoint = [f64; 4];

#[derive(Debug)]
pub(super) struct Joints {
    fore_m: f64,
    max_accel: PerJoint,
    max_velocity: PerJoint,
    pub(super) position: PerJoint,
    ranges: [[f64; 2]; 4],
    stands: Pose,
    upper_m: f64,
    pub(super) velocity: PerJoint,
}

/// Where the tool is: where the jaws meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    pub(super) at: Point,
    /// Over the table, metres.
    pub(super) lift_m: f64,
    /// Of the fore arm, radians.
    pub(super) yaw: f64,
}

impl Joints {
    /// Of a checked configuration.
    pub(super) fn new(config: &ArmConfig, stands: Pose) -> Self {
        Self {
            fore_m: config.fore_m,
            max_accel: config.max_accel,
            max_velocity: config.max_velocity,
            position: config.begin(),
            ranges: config.ranges(),
            stands,
            upper_m: config.upper_m,
            velocity: [0.0; 4],
        }
    }

    /// One step: each joint towards its velocity as fast as its drive allows, and no further
    /// than to the end of its range.
    pub(super) fn advance(&mut self, told: &PerJoint, step_s: f64) {
        let told = self.reachable(told);
        let moves = self.position.iter_mut().zip(&mut self.velocity);
        let limits = self.max_accel.iter().zip(self.ranges);
        for (((position, velocity), (accel, [low, high])), told) in moves.zip(limits).zip(told) {
            let most = accel * step_s;
            *velocity += (told - *velocity).clamp(-most, most);
            *position += *velocity * step_s;
            if !(low..=high).contains(position) {
                *position = position.clamp(low, high);
                *velocity = 0.0;
            }
        }
    }

    /// Something is between the jaws that they do not go through.
    pub(super) const fn block_jaws(&mut self, opening_m: f64) {
        self.position[3] = opening_m;
        self.velocity[3] = 0.0;
    }

    pub(super) const fn stands(&self) -> Pose {
        self.stands
    }

    pub(super) fn elbow(&self) -> Point {
        let [shoulder, ..] = self.position;
        ahead(self.stands.point(), self.stands.yaw + shoulder, self.upper_m)
    }

    pub(super) fn tool(&self) -> Tool {
        let [shoulder, elbow, lift_m, _] = self.position;
        let yaw = self.stands.yaw + shoulder + elbow;
        Tool { at: ahead(self.elbow(), yaw, self.fore_m), lift_m, yaw }
    }

    /// The velocities by one ratio to what every joint can do, so that the tool keeps its way.
    fn reachable(&self, told: &PerJoint) -> PerJoint {
        let ratios = told
            .iter()
            .zip(self.max_velocity)
            .map(|(told, most)| if told.abs() > most { most / told.abs() } else { 1.0 });
        let ratio = ratios.fold(1.0, f64::min);
        told.map(|told| told * ratio)
    }
}

fn ahead(from: Point, yaw: f64, metres: f64) -> Point {
    Point::new(from.x + metres * yaw.cos(), from.y + metres * yaw.sin())
}
