//! What bases that move in the plane have in common.

use super::{Axes, Step, lateral_ratio};
use crate::verdict::Verdicts;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::policy::Limits;

/// Below this a change is rounding, m/s.
const ROUNDING: f64 = 1e-12;

/// Slower through a curve that is too tight for the speed, on the same path.
pub(super) fn curve(
    limits: &Limits,
    axes: &Axes,
    verdicts: &mut Verdicts,
    planar: impl Fn(&Axes) -> Planar,
) -> Axes {
    let ratio = lateral_ratio(limits, planar(axes));
    if ratio < 1.0 {
        verdicts.note(Rule::AccelLateral, limits.max_lateral_accel_mps2.unwrap_or(0.0), None);
        return axes.scaled(ratio);
    }
    *axes
}

/// Names what held the speed back: the acceleration, or how fast it may set in.
pub(super) fn note_accel(limits: &Limits, limit: f64, step: Step, verdicts: &mut Verdicts) {
    // Braking is noted by its own limit, and never waits for jerk.
    let by_jerk = step.accel_mps2 < limits.max_linear_accel_mps2 && limit <= step.accel_mps2;
    match limits.max_linear_jerk_mps3 {
        Some(jerk) if by_jerk => verdicts.note(Rule::JerkLinear, jerk, None),
        _ => verdicts.note(Rule::AccelLinear, limit, None),
    }
}

/// A velocity in two dimensions on its way to another within a tick, and what held it back.
///
/// Along its course it speeds up by `accel` and brakes by `decel`, without passing standstill;
/// across it changes by the larger of the two. The change keeps its direction.
pub(super) fn course(
    last: [f64; 2],
    target: [f64; 2],
    accel_mps2: f64,
    decel_mps2: f64,
    seconds: f64,
) -> ([f64; 2], Option<f64>) {
    let change = [target[0] - last[0], target[1] - last[1]];
    let speed = last[0].hypot(last[1]);
    if speed < 1e-9 {
        let held = part(change[0].hypot(change[1]), accel_mps2 * seconds);
        if held >= 1.0 {
            return (target, None);
        }
        return ([last[0] + held * change[0], last[1] + held * change[1]], Some(accel_mps2));
    }
    let along = [last[0] / speed, last[1] / speed];
    let (forth, aside) =
        (change[0] * along[0] + change[1] * along[1], change[1] * along[0] - change[0] * along[1]);
    // One part of the whole change, so that the course does not swing past the target's.
    let most_forth =
        if forth > 0.0 { accel_mps2 * seconds } else { (decel_mps2 * seconds).min(speed) };
    let most_aside = accel_mps2.max(decel_mps2) * seconds;
    let (along_part, across_part) = (part(forth, most_forth), part(aside, most_aside));
    let held = along_part.min(across_part);
    if held >= 1.0 {
        return (target, None);
    }
    let limit = if along_part <= across_part && forth > 0.0 {
        accel_mps2
    } else if along_part <= across_part {
        decel_mps2
    } else {
        accel_mps2.max(decel_mps2)
    };
    ([last[0] + held * change[0], last[1] + held * change[1]], Some(limit))
}

/// The part of a change that is at most `most`; all of what is more only by rounding.
fn part(change: f64, most: f64) -> f64 {
    if change.abs() > most + ROUNDING { most / change.abs() } else { 1.0 }
}

/// One axis by at most `most`, and whether that falls short.
pub(super) fn axis(last: f64, target: f64, most: f64) -> (f64, bool) {
    let change = target - last;
    if change.abs() > most { (last + most.copysign(change), true) } else { (target, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braking_takes_the_deceleration_and_does_not_pass_standstill() {
        let (held, limit) = course([1.0, 0.0], [-1.0, 0.0], 0.5, 2.0, 0.1);
        assert!((held[0] - 0.8).abs() < 1e-12 && held[1] == 0.0 && limit == Some(2.0));
        let (held, _) = course([0.1, 0.0], [-1.0, 0.0], 0.5, 2.0, 0.1);
        assert!(held[0].abs() < 1e-12);
    }

    #[test]
    fn speeding_up_takes_the_acceleration_whichever_way() {
        let (held, limit) = course([0.0, 0.0], [3.0, 4.0], 0.5, 2.0, 0.2);
        assert!((held[0] - 0.06).abs() < 1e-12 && (held[1] - 0.08).abs() < 1e-12);
        assert_eq!(limit, Some(0.5));
        assert_eq!(course([0.3, 0.4], [0.3, 0.4], 0.5, 2.0, 0.2), ([0.3, 0.4], None));
    }
}
