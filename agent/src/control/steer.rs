//! From a goal to a setpoint: what a wish to be somewhere means for the robot now.
//!
//! Pure and without a plan: a base turns towards the point and drives. What stands in the way is
//! the gate's concern. What it means for an arm is in `reach`.

use super::reach;
use nooterra_protocol::command::{Command, PerJoint};
use nooterra_protocol::geometry::{Point, Pose, Twist, wrap_angle};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::policy::{Joint, Vehicle};

/// Closer than this the point counts as reached, metres. Half of what the shipped skills ask.
const REACHED_M: f64 = 0.05;

/// Turning per heading error, 1/s: an error of a radian is gone in about a second.
const HEADING_GAIN: f64 = 2.5;

/// The fastest turn that is asked for, rad/s; the gate may allow less.
const MAX_TURN_RADPS: f64 = 1.5;

/// Beyond this heading error the base turns on the spot, radians (about 35 degrees).
const TURN_FIRST_RAD: f64 = 0.6;

/// Deceleration of the approach, m/s²: gentle, well under what policies allow.
const APPROACH_DECEL_MPS2: f64 = 0.4;

/// What is wished of the robot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A twist as it is.
    Drive(Twist),
    /// To be at a point, and then to face a direction.
    GoTo {
        /// Wished speed on the way, m/s.
        speed_mps: f64,
        /// In the `map` frame.
        to: Point,
        /// Counter-clockwise from x, radians.
        yaw: Option<f64>,
    },
    /// An arm's jaws that far open.
    Gripper {
        /// Metres.
        opening_m: f64,
        /// Of the velocity that the policy allows, 0 to 1.
        speed: f64,
    },
    /// An arm's joints at positions.
    Joints {
        /// Radians or metres, base first, without the gripper.
        positions: PerJoint<f64>,
        /// Of the velocity that the policy allows to each, 0 to 1.
        speed: f64,
    },
    /// To stand still.
    Stand,
}

/// The joints of the arm that a policy is for, with their limits; none for any other robot.
#[must_use]
pub fn joints_of(vehicle: &Vehicle) -> &[Joint] {
    match vehicle {
        Vehicle::Joints { joints, .. } => joints,
        _ => &[],
    }
}

impl Goal {
    /// The setpoint that serves the goal from what is seen, for a robot with these joints. A goal
    /// with a number that is no number gives a setpoint with one, for the gate to refuse; so does
    /// it refuse what is for another kind of robot.
    #[must_use]
    pub fn command(&self, seen: &Observation, joints: &[Joint]) -> Command {
        match *self {
            Self::Drive(twist) => twist.into(),
            Self::GoTo { speed_mps, to, yaw } => {
                let finite = to.is_finite() && speed_mps.is_finite();
                if !finite || yaw.is_some_and(|yaw| !yaw.is_finite()) {
                    return Twist::new(f64::NAN, f64::NAN).into();
                }
                go_to(seen.pose.value, to, yaw, speed_mps).into()
            }
            Self::Gripper { opening_m, speed } => reach::gripper(seen, joints, opening_m, speed),
            Self::Joints { positions, speed } => {
                reach::joints(seen, joints, positions.as_slice(), speed)
            }
            Self::Stand if joints.is_empty() => Twist::ZERO.into(),
            Self::Stand => reach::stand(joints),
        }
    }
}

fn go_to(pose: Pose, to: Point, yaw: Option<f64>, speed_mps: f64) -> Twist {
    let distance = pose.point().distance(to);
    if distance < REACHED_M {
        let turn = yaw.map_or(0.0, |yaw| turn(wrap_angle(yaw - pose.yaw)));
        return Twist::new(0.0, turn);
    }
    let bearing = (to.y - pose.y).atan2(to.x - pose.x);
    let error = wrap_angle(bearing - pose.yaw);
    if error.abs() > TURN_FIRST_RAD {
        return Twist::new(0.0, turn(error));
    }
    let approach = (2.0 * APPROACH_DECEL_MPS2 * distance).sqrt();
    Twist::new(speed_mps.min(approach) * error.cos(), turn(error))
}

fn turn(error: f64) -> f64 {
    (HEADING_GAIN * error).clamp(-MAX_TURN_RADPS, MAX_TURN_RADPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::observation::Timed;
    use nooterra_protocol::time::MonoNanos;

    fn seen(pose: Pose) -> Observation {
        let at = MonoNanos(1);
        Observation {
            battery: None,
            docked: false,
            emergency_stop: false,
            gripper: false,
            joints: None,
            pose: Timed { at, value: pose },
            scan: None,
            twist: Timed { at, value: Twist::ZERO },
        }
    }

    fn drive(mut pose: Pose, goal: Goal, seconds: f64) -> Pose {
        let step = 0.02;
        let mut left = seconds;
        while left > 0.0 {
            let twist = goal.command(&seen(pose), &[]).twist().unwrap();
            pose.yaw = wrap_angle(pose.yaw + twist.angular * step);
            pose.x += twist.linear * pose.yaw.cos() * step;
            pose.y += twist.linear * pose.yaw.sin() * step;
            left -= step;
        }
        pose
    }

    #[test]
    fn a_goal_is_reached_from_any_heading() {
        for eighth in 0..8 {
            let yaw = wrap_angle(f64::from(eighth) * std::f64::consts::FRAC_PI_4);
            let start = Pose { x: 1.0, y: 1.0, yaw };
            let to = Point::new(4.0, -2.0);
            let end = drive(start, Goal::GoTo { speed_mps: 1.0, to, yaw: Some(1.0) }, 15.0);
            assert!(end.point().distance(to) < 0.06, "from {yaw}: {end:?}");
            assert!(wrap_angle(end.yaw - 1.0).abs() < 0.02, "from {yaw}: {end:?}");
        }
    }

    #[test]
    fn a_goal_that_is_no_number_becomes_a_twist_that_the_gate_refuses() {
        let goal = Goal::GoTo { speed_mps: f64::NAN, to: Point::new(0.0, 0.0), yaw: None };
        assert!(!goal.command(&seen(Pose::default()), &[]).is_finite());
    }
}
