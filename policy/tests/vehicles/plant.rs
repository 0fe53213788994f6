//! The worst robot that a policy describes, one millisecond at a time.

use nooterra_protocol::command::{Command, MAX_JOINTS, PerJoint};
use nooterra_protocol::geometry::{Planar, Pose};
use nooterra_protocol::observation::{Flying, JointStates};
use nooterra_protocol::policy::{PolicyDocument, Vehicle};
use std::collections::VecDeque;

const MILLI: f64 = 1e-3;

#[derive(Clone, Debug)]
pub(crate) struct Plant {
    pub(crate) height_m: f64,
    pub(crate) joints: [f64; MAX_JOINTS],
    pub(crate) pose: Pose,
    pub(crate) travelled: f64,
    brakes: f64,
    climb_mps: f64,
    document: PolicyDocument,
    moving: Planar,
    pending: VecDeque<(u64, Command)>,
    steering_rad: f64,
    target: Option<Command>,
    time_ms: u64,
    velocities: [f64; MAX_JOINTS],
}

impl Plant {
    pub(crate) fn new(document: &PolicyDocument, brakes: f64) -> Self {
        Self {
            height_m: 3.0,
            joints: [0.0; MAX_JOINTS],
            pose: Pose::default(),
            travelled: 0.0,
            brakes,
            climb_mps: 0.0,
            document: document.clone(),
            moving: Planar::ZERO,
            pending: VecDeque::new(),
            steering_rad: 0.0,
            target: None,
            time_ms: 0,
            velocities: [0.0; MAX_JOINTS],
        }
    }

    /// How it moves, in the body frame.
    pub(crate) fn body_twist(&self) -> Planar {
        match self.document.vehicle {
            Vehicle::Multirotor(_) => turned(self.moving, -self.pose.yaw),
            _ => self.moving,
        }
    }

    pub(crate) fn flying(&self) -> Option<Flying> {
        matches!(self.document.vehicle, Vehicle::Multirotor(_)).then_some(Flying {
            above_ground_m: None,
            above_takeoff_m: self.height_m,
            climb_mps: self.climb_mps,
            tilt_rad: 0.1,
        })
    }

    pub(crate) fn joints(&self) -> Option<JointStates> {
        let Vehicle::Joints { joints, .. } = &self.document.vehicle else {
            return None;
        };
        let of = |values: [f64; MAX_JOINTS]| PerJoint::new(&values[..joints.len()]).unwrap();
        Some(JointStates {
            effort: of([0.0; MAX_JOINTS]),
            position: of(self.joints),
            velocity: of(self.velocities),
        })
    }

    pub(crate) fn write(&mut self, command: Command) {
        let reaction_ms = match &self.document.vehicle {
            Vehicle::Joints { reaction_ms, .. } => *reaction_ms,
            _ => self.document.limits.reaction_ms,
        };
        self.pending.push_back((self.time_ms + u64::from(reaction_ms), command));
    }

    pub(crate) fn pass_a_millisecond(&mut self) {
        while let Some((due, command)) = self.pending.front()
            && *due <= self.time_ms
        {
            self.target = Some(*command);
            self.pending.pop_front();
        }
        self.time_ms += 1;
        let Some(target) = self.target else {
            return;
        };
        let decel = self.document.limits.max_decel_mps2 * self.brakes * MILLI;
        match target {
            Command::Ackermann(steer) => {
                let Vehicle::Ackermann { max_steering_rate_radps, wheelbase_m, .. } =
                    self.document.vehicle
                else {
                    return;
                };
                let rate = max_steering_rate_radps * MILLI;
                self.steering_rad += (steer.steering_rad - self.steering_rad).clamp(-rate, rate);
                let x = slower(self.moving.x, steer.speed_mps, decel);
                let angular = x * self.steering_rad.tan() / wheelbase_m;
                self.moving = Planar { angular, x, y: 0.0 };
            }
            Command::Drive(twist) => {
                let x = slower(self.moving.x, twist.linear, decel);
                let turn = self.document.limits.max_angular_accel_radps2 * MILLI;
                let change = (twist.angular - self.moving.angular).clamp(-turn, turn);
                self.moving = Planar { angular: self.moving.angular + change, x, y: 0.0 };
            }
            Command::Fly(velocity) => {
                let Vehicle::Multirotor(flight) = self.document.vehicle else {
                    return;
                };
                let [x, y] =
                    course([self.moving.x, self.moving.y], [velocity.x, velocity.y], decel);
                self.moving = Planar { angular: 0.0, x, y };
                let upright = flight.max_vertical_accel_mps2 * self.brakes * MILLI;
                self.climb_mps = slower(self.climb_mps, velocity.z, upright);
                self.height_m += self.climb_mps * MILLI;
                self.pose.yaw += velocity.yaw_rate * MILLI;
            }
            Command::Joints(velocities) => {
                let Vehicle::Joints { joints, .. } = &self.document.vehicle else {
                    return;
                };
                for (index, velocity) in velocities.joints.as_slice().iter().enumerate() {
                    let accel = joints[index].max_accel * self.brakes * MILLI;
                    self.velocities[index] = slower(self.velocities[index], *velocity, accel);
                    self.joints[index] += self.velocities[index] * MILLI;
                    self.travelled += self.velocities[index].abs() * MILLI;
                }
            }
            Command::Omni(planar) => {
                let [x, y] = course([self.moving.x, self.moving.y], [planar.x, planar.y], decel);
                let turn = self.document.limits.max_angular_accel_radps2 * MILLI;
                let angular = slower(self.moving.angular, planar.angular, turn * self.brakes);
                self.moving = Planar { angular, x, y };
            }
        }
        let flies = matches!(self.document.vehicle, Vehicle::Multirotor(_));
        let half = self.pose.yaw + self.moving.angular * MILLI / 2.0;
        let over_ground = if flies { self.moving } else { turned(self.moving, half) };
        self.pose.x += over_ground.x * MILLI;
        self.pose.y += over_ground.y * MILLI;
        self.pose.yaw += self.moving.angular * MILLI;
        self.travelled += self.moving.x.hypot(self.moving.y) * MILLI;
    }
}

/// Speeds up at once, which is worse than any real robot; brakes by no more than `most`.
fn slower(from: f64, to: f64, most: f64) -> f64 {
    let brakes = (to - from) * from < 0.0;
    if brakes { from + (to - from).clamp(-most, most) } else { to }
}

/// The same for a velocity: along its course it brakes by no more than `most`, across it
/// follows at once.
fn course(from: [f64; 2], to: [f64; 2], most: f64) -> [f64; 2] {
    let speed = from[0].hypot(from[1]);
    if speed < 1e-12 {
        return to;
    }
    let along = [from[0] / speed, from[1] / speed];
    let forth = to[0] * along[0] + to[1] * along[1];
    let aside = to[1] * along[0] - to[0] * along[1];
    let forth = if forth < speed { forth.max(speed - most) } else { forth };
    [forth * along[0] - aside * along[1], forth * along[1] + aside * along[0]]
}

fn turned(planar: Planar, yaw: f64) -> Planar {
    let (sin, cos) = yaw.sin_cos();
    Planar {
        angular: planar.angular,
        x: planar.x * cos - planar.y * sin,
        y: planar.x * sin + planar.y * cos,
    }
}
