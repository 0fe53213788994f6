//! From a goal to a twist: what a wish to be somewhere means for a differential base now.
//!
//! Pure and without a plan: it turns towards the point and drives. What stands in the way is
//! the gate's concern.

use nooterra_protocol::geometry::{Point, Pose, Twist, wrap_angle};

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

/// What is wished of the base.
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
    /// To stand still.
    Stand,
}

impl Goal {
    /// The twist that serves the goal from `pose`. A goal with a number that is no number
    /// gives a twist with one, for the gate to refuse.
    #[must_use]
    pub fn twist(&self, pose: Pose) -> Twist {
        match *self {
            Self::Drive(twist) => twist,
            Self::Stand => Twist::ZERO,
            Self::GoTo { speed_mps, to, yaw } => {
                let finite = to.is_finite() && speed_mps.is_finite();
                if !finite || yaw.is_some_and(|yaw| !yaw.is_finite()) {
                    return Twist::new(f64::NAN, f64::NAN);
                }
                go_to(pose, to, yaw, speed_mps)
            }
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

    fn drive(mut pose: Pose, goal: Goal, seconds: f64) -> Pose {
        let step = 0.02;
        let mut left = seconds;
        while left > 0.0 {
            let twist = goal.twist(pose);
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
        assert!(!goal.twist(Pose::default()).is_finite());
    }
}
