//! From where an arm's joints shall be to how fast they turn now.
//!
//! Pure and without a plan: each joint goes straight to its position, all arrive together. What
//! the tool meets on its way is the gate's concern, as far as the owner's policy says it, and
//! otherwise the skill's.

use nooterra_protocol::command::{Command, JointVelocities, MAX_JOINTS, PerJoint};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::policy::Joint;

/// Velocity per error, 1/s: the last piece takes about half a second.
const GAIN: f64 = 5.0;

/// Of the deceleration that the policy allows, so much is used on the approach.
const APPROACH: f64 = 0.5;

/// Nearer than this a joint holds, radians or metres: above what encoders flicker by.
const REACHED: f64 = 2e-4;

/// To rest, for an arm of so many joints.
pub(super) fn stand(limits: &[Joint]) -> Command {
    command(&[0.0; MAX_JOINTS], limits)
}

/// Moves all joints but a gripper to `positions`, base first. Another number of them becomes a
/// command that no arm takes, and a number that is none one that the gate refuses.
pub(super) fn joints(
    seen: &Observation,
    limits: &[Joint],
    positions: &[f64],
    speed: f64,
) -> Command {
    let movable = limits.len().saturating_sub(usize::from(seen.gripper));
    if positions.len() != movable {
        return Command::Joints(JointVelocities::default());
    }
    towards(seen, limits, positions.iter().copied().enumerate(), speed)
}

/// Moves the gripper, which is the last joint; an arm without one takes no such command.
pub(super) fn gripper(seen: &Observation, limits: &[Joint], opening_m: f64, speed: f64) -> Command {
    let last = limits.len().checked_sub(1).filter(|_| seen.gripper);
    last.map_or(Command::Joints(JointVelocities::default()), |last| {
        towards(seen, limits, [(last, opening_m)], speed)
    })
}

/// The joints that are not among the targets hold.
fn towards(
    seen: &Observation,
    limits: &[Joint],
    targets: impl IntoIterator<Item = (usize, f64)>,
    speed: f64,
) -> Command {
    // Of a fixed size: this runs in every tick.
    let mut velocities = [0.0; MAX_JOINTS];
    let Some(states) = &seen.joints else {
        // The gate holds an arm that nothing is known of.
        return stand(limits);
    };
    // `clamp` keeps what is no number.
    let speed = speed.clamp(0.0, 1.0);
    let mut longest_s = 0.0_f64;
    for (index, target) in targets {
        let positions = states.value.position.as_slice();
        let (Some(velocity), Some(limit), Some(position)) =
            (velocities.get_mut(index), limits.get(index), positions.get(index))
        else {
            continue;
        };
        let error = target - position;
        if !(error.is_finite() && speed.is_finite()) {
            *velocity = f64::NAN;
        } else if error.abs() > REACHED {
            let approach = (2.0 * APPROACH * limit.max_accel * error.abs()).sqrt();
            let fastest = (speed * limit.max_velocity).min(approach).min(GAIN * error.abs());
            *velocity = error;
            longest_s = longest_s.max(error.abs() / fastest);
        }
    }
    for velocity in &mut velocities {
        // A speed of zero takes for ever, which is zero velocity.
        *velocity = if longest_s > 0.0 { *velocity / longest_s } else { *velocity };
    }
    command(&velocities, limits)
}

fn command(velocities: &[f64; MAX_JOINTS], limits: &[Joint]) -> Command {
    // No policy has more joints than there is room for.
    let joints = velocities.get(..limits.len()).and_then(|all| PerJoint::new(all).ok());
    Command::Joints(JointVelocities { joints: joints.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::{Pose, Twist};
    use nooterra_protocol::observation::{JointStates, Timed};
    use nooterra_protocol::time::MonoNanos;

    const LIMITS: [Joint; 3] = [
        Joint {
            max_accel: 4.0,
            max_effort: None,
            max_position: 3.0,
            max_velocity: 1.0,
            min_position: -3.0,
        },
        Joint {
            max_accel: 1.0,
            max_effort: None,
            max_position: 1.0,
            max_velocity: 0.2,
            min_position: 0.0,
        },
        Joint {
            max_accel: 1.0,
            max_effort: None,
            max_position: 0.1,
            max_velocity: 0.1,
            min_position: 0.0,
        },
    ];

    fn seen(positions: &[f64], gripper: bool) -> Observation {
        let at = MonoNanos(1);
        let position = PerJoint::new(positions).unwrap();
        let rest = position.map(|_| 0.0);
        Observation {
            battery: None,
            docked: false,
            emergency_stop: false,
            gripper,
            joints: Some(Timed {
                at,
                value: JointStates { effort: rest, position, velocity: rest },
            }),
            pose: Timed { at, value: Pose::default() },
            scan: None,
            twist: Timed { at, value: Twist::ZERO },
        }
    }

    fn velocities(command: Command) -> Vec<f64> {
        let Command::Joints(velocities) = command else { panic!("{command:?}") };
        velocities.joints.as_slice().to_vec()
    }

    #[test]
    fn all_joints_arrive_together_and_none_is_faster_than_it_may_be() {
        let mut at = [0.0, 0.5, 0.05];
        let to = [2.0, 0.4];
        let mut arrived = [None; 2];
        for tick in 0..500 {
            let now = velocities(joints(&seen(&at, true), &LIMITS, &to, 0.5));
            for (index, velocity) in now.iter().enumerate() {
                assert!(velocity.abs() <= 0.5 * LIMITS[index].max_velocity + 1e-12);
                at[index] += velocity * 0.02;
            }
            for (index, arrived) in arrived.iter_mut().enumerate() {
                let near =
                    (at[index] - to[index]).abs() < 0.05 * (to[index] - [0.0, 0.5][index]).abs();
                *arrived = arrived.or(near.then_some(tick));
            }
        }
        let [a, b] = arrived.map(Option::unwrap);
        assert!(i32::abs_diff(a, b) < 5, "ticks {a} and {b}");
        assert!((at[0] - 2.0).abs() < 1e-3 && (at[1] - 0.4).abs() < 1e-3, "{at:?}");
        assert!((at[2] - 0.05).abs() < f64::EPSILON, "the gripper holds");
        let there = seen(&[2.0, 0.4, 0.05], true);
        assert_eq!(velocities(joints(&there, &LIMITS, &to, 1.0)), [0.0; 3]);
    }

    #[test]
    fn the_gripper_moves_alone_and_only_where_there_is_one() {
        let arm = seen(&[1.0, 0.5, 0.08], true);
        let [a, b, jaws] = velocities(gripper(&arm, &LIMITS, 0.0, 1.0))[..] else { panic!() };
        assert!(a == 0.0 && b == 0.0 && (-0.1..-0.05).contains(&jaws), "{jaws}");
        let none = seen(&[1.0, 0.5, 0.08], false);
        assert!(velocities(gripper(&none, &LIMITS, 0.0, 1.0)).is_empty());
        assert_eq!(velocities(joints(&none, &LIMITS, &[1.0, 0.5, 0.08], 1.0)), [0.0; 3]);
    }

    #[test]
    fn what_makes_no_sense_is_left_for_the_gate_to_refuse() {
        let arm = seen(&[0.0, 0.5, 0.05], true);
        for positions in [&[][..], &[0.0], &[0.0, 0.5, 0.05]] {
            assert!(velocities(joints(&arm, &LIMITS, positions, 1.0)).is_empty());
        }
        for (position, speed) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NAN)] {
            let command = joints(&arm, &LIMITS, &[position, 0.4], speed);
            assert!(!command.is_finite(), "{command:?}");
        }
        assert_eq!(velocities(joints(&arm, &LIMITS, &[1.0, 0.4], 0.0)), [0.0; 3]);
        assert_eq!(velocities(joints(&arm, &LIMITS, &[1.0, 0.4], -1.0)), [0.0; 3]);
        let unread = Observation { joints: None, ..arm };
        assert_eq!(velocities(joints(&unread, &LIMITS, &[1.0, 0.4], 1.0)), [0.0; 3]);
    }
}
