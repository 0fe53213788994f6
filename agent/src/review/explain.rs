//! One command in one state: which rules act, now and while the command goes on.

use super::{ReviewError, Reviewed, STEP, State};
use nooterra_policy::planar::{Planar, advance};
use nooterra_policy::{Action, Gate, Outcome};
use nooterra_protocol::command::{Asked, Command, Steer, StopProfile, Velocity};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{PolicyDocument, Sensor, Vehicle};
use nooterra_protocol::time::MonoNanos;
use serde::Serialize;
use std::time::Duration;

/// A rule that acts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Acting {
    /// The limit; for a zone the clearance.
    pub limit: f64,
    /// Which.
    pub rule: Rule,
    /// Of the limit.
    pub unit: &'static str,
    /// For a rule about a zone.
    pub zone: Option<ZoneId>,
}

/// A rule that began or ceased to act while the command went on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// What is let through from here on.
    pub allowed: Command,
    /// It began; otherwise it ended.
    pub began: bool,
    /// The rule.
    pub rule: Acting,
    /// Seconds since the state that was asked about.
    pub t_s: f64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// What is let through in the tick that was asked about.
    pub allowed: Command,
    /// What was asked; a number that is none is left out.
    pub asked: Asked,
    /// Whether it passes as it was asked.
    pub passes: bool,
    /// The rules that act in that tick.
    pub rules: Vec<Acting>,
    /// These sensors are off at this place.
    pub sensors_off: Vec<Sensor>,
    /// The stop, where it comes to one.
    pub stop: Option<StopProfile>,
    /// While the command goes on and the robot does as it is told.
    pub then: Vec<Change>,
    /// Where that leads, and what is let through there.
    pub end: End,
}

/// The end of what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct End {
    /// What is let through.
    pub allowed: Command,
    /// Where the robot is.
    pub pose: Pose,
    /// Seconds since the state that was asked about.
    pub t_s: f64,
}

/// Puts `state` to `policy`, and goes on with it for `span`.
///
/// # Errors
/// [`ReviewError::Mode`].
pub fn explain(policy: &Reviewed, state: &State, span: Duration) -> Result<Explained, ReviewError> {
    let document = policy.document();
    let mut gate = policy.gate();
    let mut state = state.clone();
    let mut now = MonoNanos(1_000_000_000);
    let first = gate.tick(&state.inputs(document, 0, now)?);
    let rules = acting(&gate, &first);
    let stop = match first.action {
        Action::Stop(profile) => Some(profile),
        Action::Write(_) => None,
    };
    let (mut then, mut open, mut allowed) = (Vec::new(), rules.clone(), first.allowed);
    let ticks = span.as_nanos() / STEP.as_nanos();
    let mut t_s = 0.0;
    for tick in 1..=u64::try_from(ticks).unwrap_or(u64::MAX) {
        follow(&mut state, document, allowed);
        now = now.plus(STEP);
        t_s += STEP.as_secs_f64();
        let outcome = gate.tick(&state.inputs(document, tick, now)?);
        allowed = outcome.allowed;
        let next = acting(&gate, &outcome);
        let same = |a: &Acting, b: &Acting| a.rule == b.rule && a.zone == b.zone;
        let change = |began, rule: &Acting| Change { allowed, began, rule: rule.clone(), t_s };
        let ended = open.iter().filter(|rule| !next.iter().any(|other| same(rule, other)));
        then.extend(ended.map(|rule| change(false, rule)));
        let began = next.iter().filter(|rule| !open.iter().any(|other| same(rule, other)));
        then.extend(began.map(|rule| change(true, rule)));
        open = next;
    }
    Ok(Explained {
        allowed: first.allowed,
        asked: first.asked.into(),
        passes: rules.is_empty(),
        rules,
        sensors_off: first.privacy.allowed.missing().collect(),
        stop,
        then,
        end: End { allowed, pose: state.pose, t_s },
    })
}

pub(super) fn acting(gate: &Gate, outcome: &Outcome) -> Vec<Acting> {
    outcome
        .verdicts
        .iter()
        .map(|verdict| Acting {
            limit: verdict.limit,
            rule: verdict.rule,
            unit: verdict.rule.unit(),
            zone: verdict.zone.and_then(|zone| gate.zone_id(zone)).cloned(),
        })
        .collect()
}

/// The robot does as it is told, at once and exactly, for one tick.
fn follow(state: &mut State, document: &PolicyDocument, allowed: Command) {
    let step_s = STEP.as_secs_f64();
    state.clock = state.clock.map(|wall| wall.plus(STEP));
    state.twist = body_twist(document, allowed, state.pose.yaw);
    state.pose = advance(state.pose, state.twist, step_s);
    match allowed {
        Command::Fly(Velocity { z, .. }) => {
            if let Some(flying) = &mut state.flying {
                flying.climb_mps = z;
                flying.above_takeoff_m += z * step_s;
                flying.above_ground_m = flying.above_ground_m.map(|height| height + z * step_s);
            }
        }
        Command::Joints(velocities) => {
            if let Some(joints) = &mut state.joints {
                let mut moving = velocities.joints.as_slice().iter();
                let mut step = |at: f64| at + moving.next().copied().unwrap_or(0.0) * step_s;
                joints.position = joints.position.map(&mut step);
                joints.velocity = velocities.joints;
            }
        }
        Command::Ackermann(_) | Command::Drive(_) | Command::Omni(_) => {}
    }
}

/// What a command comes to in the body frame.
pub(super) fn body_twist(document: &PolicyDocument, command: Command, yaw: f64) -> Planar {
    match command {
        Command::Ackermann(Steer { speed_mps, steering_rad }) => {
            let Vehicle::Ackermann { wheelbase_m, .. } = document.vehicle else {
                return Planar::ZERO;
            };
            Planar::new(speed_mps, 0.0, speed_mps * steering_rad.tan() / wheelbase_m)
        }
        Command::Drive(twist) => twist.into(),
        Command::Fly(Velocity { x, y, yaw_rate, .. }) => {
            let (sin, cos) = (-yaw).sin_cos();
            Planar::new(x * cos - y * sin, x * sin + y * cos, yaw_rate)
        }
        Command::Joints(_) => Planar::ZERO,
        Command::Omni(planar) => planar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_file;
    use nooterra_protocol::geometry::Twist;
    use std::path::Path;

    fn reviewed() -> Reviewed {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/turtlebot/policy.toml");
        Reviewed::new(&policy_file::load(&path).unwrap(), Path::new(".")).unwrap()
    }

    #[test]
    fn a_command_that_breaks_nothing_passes_and_one_too_fast_says_by_what_it_is_held() {
        let slow =
            State { twist: Planar::new(0.3, 0.0, 0.0), ..State::new(Twist::new(0.3, 0.0).into()) };
        let explained = explain(&reviewed(), &slow, Duration::ZERO).unwrap();
        assert!(explained.passes && explained.rules.is_empty(), "{explained:?}");
        let fast = State::new(Twist::new(2.0, 0.0).into());
        let explained = explain(&reviewed(), &fast, Duration::ZERO).unwrap();
        let first = &explained.rules[0];
        assert_eq!((first.rule, first.limit, first.unit), (Rule::SpeedLinear, 0.55, "m/s"));
    }

    #[test]
    fn a_command_that_goes_on_meets_the_fence_and_the_answer_names_it_and_when() {
        let ahead = State::new(Twist::new(0.5, 0.0).into());
        let explained = explain(&reviewed(), &ahead, Duration::from_secs(40)).unwrap();
        let fence = explained.then.iter().find(|change| change.rule.rule == Rule::ZoneKeepIn);
        let fence = fence.expect("it drives against the fence");
        assert!(fence.began && fence.rule.zone.is_some() && fence.t_s > 10.0, "{fence:?}");
        // The floor ends at 13.2 m.
        assert!((12.0..13.2).contains(&explained.end.pose.x), "{:?}", explained.end);
        assert!(explained.end.allowed.forward_mps().abs() < 0.01);
    }

    #[test]
    fn a_mode_that_is_not_there_is_an_error() {
        let state = State {
            mode: Some("loaded".parse().unwrap()),
            ..State::new(Twist::new(0.5, 0.0).into())
        };
        let error = explain(&reviewed(), &state, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("no mode `loaded`"), "{error}");
    }
}
