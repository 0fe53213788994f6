//! A candidate policy beside the one in force: it judges the same inputs, and moves nothing.
//!
//! What it gives is an [`Opinion`], which holds no gated command: the one that its gate makes
//! ends here, so that nothing that a candidate allows can reach a robot. Place, motion, wishes
//! and time are the robot's own. What a gate remembers of its own setpoints (its ramps, its time
//! in motion) is the candidate's: it says what it would have done, had it been obeyed.

use crate::gate::{Action, Gate, Inputs};
use crate::verdict::{GateVerdict, Verdicts};
use crate::verified::VerifiedPolicy;
use nooterra_protocol::command::{Command, MAX_JOINTS};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::shadow::Difference;

/// Two setpoints that are nearer count as the same, m/s and rad/s: ramps of two policies are out
/// of step by less.
const MUCH: f64 = 0.05;

/// Slower than this is at rest, m/s and rad/s.
const REST: f64 = 0.02;

/// A gate whose commands go nowhere.
#[derive(Debug)]
pub struct Shadow {
    gate: Gate,
    /// For each mode of the policy in force, the candidate's mode of that name.
    modes: Vec<u8>,
}

/// What a candidate would have done in a tick.
#[derive(Clone, Copy, Debug)]
pub struct Opinion {
    /// What it would have let through; standing still for a stop.
    pub allowed: Command,
    /// Each of its rules that acted.
    pub verdicts: Verdicts,
}

impl Shadow {
    /// A shadow of `in_force` that judges by `candidate`. Allocates all that it will ever need.
    #[must_use]
    pub fn new(candidate: &VerifiedPolicy, in_force: &VerifiedPolicy) -> Self {
        let theirs = &candidate.document().modes;
        let modes = in_force.document().modes.iter().map(|mode| {
            let same = theirs.iter().position(|candidate| candidate.id == mode.id);
            // A mode that it does not have is to it the strictest, as to any gate.
            same.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX)
        });
        Self { gate: Gate::new(candidate), modes: modes.collect() }
    }

    /// What the candidate makes of a tick of the policy in force.
    #[must_use]
    pub fn judge(&mut self, inputs: &Inputs) -> Opinion {
        let named = |mode: u8| self.modes.get(usize::from(mode)).copied().unwrap_or(u8::MAX);
        let outcome = self.gate.tick(&Inputs { mode: inputs.mode.map(named), ..*inputs });
        let allowed = outcome.allowed;
        match outcome.action {
            // Here it ends.
            Action::Write(gated) => drop(gated),
            Action::Stop(_) => {}
        }
        Opinion { allowed, verdicts: outcome.verdicts }
    }

    /// The robot was stopped past both gates: as [`Gate::interrupted`].
    pub const fn interrupted(&mut self) {
        self.gate.interrupted();
    }

    /// The name of a zone of the candidate that a verdict gives by number.
    #[must_use]
    pub fn zone_id(&self, zone: u16) -> Option<&ZoneId> {
        self.gate.zone_id(zone)
    }
}

impl Opinion {
    /// How it differs from what the policy in force let through.
    #[must_use]
    pub fn differs(&self, allowed: &Command) -> Option<Difference> {
        let (real, would) = (axes(allowed), axes(&self.allowed));
        let pairs = || real.into_iter().zip(would);
        // Along the way that the robot goes; negative is the other way.
        let along =
            |(real, would): (f64, f64)| (real.abs(), if real < 0.0 { -would } else { would });
        let more = |(real, would): (f64, f64)| would > real + MUCH || would < -MUCH;
        let less = |(real, would): (f64, f64)| real > would + MUCH;
        if pairs().map(along).any(more) {
            Some(Difference::WouldAllow)
        } else if !pairs().map(along).any(less) {
            None
        } else if would.iter().all(|axis| axis.abs() <= REST) {
            Some(Difference::WouldStop)
        } else {
            Some(Difference::WouldSlow)
        }
    }

    /// The rule that makes the difference: one that acted in the stricter of the two and not in
    /// the other, or else its first.
    #[must_use]
    pub fn because(&self, difference: Difference, in_force: &Verdicts) -> Option<GateVerdict> {
        let (stricter, other) = match difference {
            Difference::WouldAllow => (in_force, &self.verdicts),
            Difference::WouldSlow | Difference::WouldStop => (&self.verdicts, in_force),
        };
        let alone = |verdict: &&GateVerdict| other.iter().all(|seen| seen.rule != verdict.rule);
        stricter.iter().find(alone).or_else(|| stricter.iter().next()).copied()
    }
}

/// The numbers of a setpoint; a steering angle counts only in motion.
fn axes(command: &Command) -> [f64; MAX_JOINTS] {
    let mut axes = [0.0; MAX_JOINTS];
    let values: [f64; 4] = match command {
        Command::Ackermann(steer) => {
            let moves = steer.speed_mps.abs() > REST;
            [steer.speed_mps, if moves { steer.steering_rad } else { 0.0 }, 0.0, 0.0]
        }
        Command::Drive(twist) => [twist.linear, twist.angular, 0.0, 0.0],
        Command::Fly(velocity) => [velocity.x, velocity.y, velocity.z, velocity.yaw_rate],
        Command::Joints(velocities) => {
            for (axis, joint) in axes.iter_mut().zip(velocities.joints.as_slice()) {
                *axis = *joint;
            }
            return axes;
        }
        Command::Omni(planar) => [planar.x, planar.y, planar.angular, 0.0],
    };
    axes[..values.len()].copy_from_slice(&values);
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::command::{JointVelocities, PerJoint, Steer, Velocity};
    use nooterra_protocol::geometry::{Planar, Twist};

    fn difference(real: (f64, f64), would: (f64, f64)) -> Option<Difference> {
        let command = |(linear, angular)| Command::Drive(Twist::new(linear, angular));
        let opinion = Opinion { allowed: command(would), verdicts: Verdicts::none() };
        opinion.differs(&command(real))
    }

    #[test]
    fn a_difference_is_named_by_what_it_would_have_meant() {
        assert_eq!(difference((1.0, 0.0), (0.0, 0.0)), Some(Difference::WouldStop));
        assert_eq!(difference((-0.3, 0.0), (0.0, 0.0)), Some(Difference::WouldStop));
        assert_eq!(difference((1.0, 0.0), (0.5, 0.0)), Some(Difference::WouldSlow));
        assert_eq!(difference((0.5, 0.0), (1.0, 0.0)), Some(Difference::WouldAllow));
        assert_eq!(difference((0.0, 0.0), (0.0, -0.4)), Some(Difference::WouldAllow));
        assert_eq!(difference((0.0, 0.0), (0.0, 0.0)), None);
        assert_eq!(difference((1.0, 0.2), (0.98, 0.22)), None, "out of step by a tick of a ramp");
    }

    #[test]
    fn what_allows_more_in_any_direction_allows_more() {
        assert_eq!(difference((1.0, 0.0), (0.0, 0.5)), Some(Difference::WouldAllow));
        assert_eq!(difference((1.0, 0.0), (-0.2, 0.0)), Some(Difference::WouldAllow), "backward");
    }

    #[test]
    fn every_kind_of_command_is_compared_by_each_of_its_axes() {
        let joints = |axes: &[f64]| {
            Command::Joints(JointVelocities { joints: PerJoint::new(axes).unwrap() })
        };
        let fly = |z| Command::Fly(Velocity { x: 0.5, y: 0.0, yaw_rate: 0.0, z });
        let omni = |y| Command::Omni(Planar { angular: 0.0, x: 0.5, y });
        let steer = |steering_rad| Command::Ackermann(Steer { speed_mps: 0.5, steering_rad });
        for (real, would) in [
            (joints(&[0.1, 0.5, 0.2]), joints(&[0.1, 0.3, 0.2])),
            (fly(0.4), fly(0.1)),
            (omni(0.3), omni(0.1)),
            (steer(0.3), steer(0.1)),
        ] {
            let opinion = |allowed| Opinion { allowed, verdicts: Verdicts::none() };
            assert_eq!(opinion(would).differs(&real), Some(Difference::WouldSlow), "{would:?}");
            assert_eq!(opinion(real).differs(&would), Some(Difference::WouldAllow), "{would:?}");
            assert_eq!(opinion(real).differs(&real), None);
        }
    }

    #[test]
    fn a_car_that_stands_is_no_different_for_its_wheels() {
        let stands = |steering_rad| Command::Ackermann(Steer { speed_mps: 0.0, steering_rad });
        let opinion = Opinion { allowed: stands(0.4), verdicts: Verdicts::none() };
        assert_eq!(opinion.differs(&stands(0.0)), None);
    }
}
