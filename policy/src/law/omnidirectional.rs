//! An omnidirectional base: forward, sideways and turning, all at once.

use super::{Axes, Breach, ROUNDING, Step, lateral_breach, plane, ratio};
use crate::verdict::Verdicts;
use nooterra_protocol::command::Command;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::policy::Limits;

/// Axes: forward and to the left m/s, turning rad/s.
#[derive(Clone, Debug)]
pub(super) struct Omnidirectional {
    pub(super) limits: Limits,
    pub(super) max_lateral_mps: f64,
}

impl Omnidirectional {
    pub(super) fn axes(&self, command: &Command) -> Option<Axes> {
        match command {
            Command::Omni(planar) => Some(axes(*planar)),
            _ => None,
        }
    }

    pub(super) fn command(&self, axes: &Axes) -> Command {
        Command::Omni(planar(axes))
    }

    pub(super) fn planar(&self, axes: &Axes) -> Planar {
        planar(axes)
    }

    pub(super) fn seed(&self, moving: Planar) -> Axes {
        let ratio = self.ratios(moving).into_iter().fold(1.0, f64::min);
        axes(moving.scaled(ratio))
    }

    pub(super) fn limit_speed(&self, wish: &Axes, verdicts: &mut Verdicts) -> Axes {
        let wished = planar(wish);
        let [linear, reverse, lateral, angular] = self.ratios(wished);
        let limits = &self.limits;
        if linear < 1.0 {
            verdicts.note(Rule::SpeedLinear, limits.max_linear_mps, None);
        } else if reverse < 1.0 {
            verdicts.note(Rule::SpeedLinear, limits.max_reverse_mps, None);
        }
        if lateral < 1.0 {
            verdicts.note(Rule::SpeedLateral, self.max_lateral_mps, None);
        }
        if angular < 1.0 {
            verdicts.note(Rule::SpeedAngular, limits.max_angular_radps, None);
        }
        let ratio = linear.min(reverse).min(lateral).min(angular);
        let held = if ratio < 1.0 { wish.scaled(ratio) } else { *wish };
        plane::curve(limits, &held, verdicts, planar)
    }

    pub(super) fn slowed(&self, axes: &Axes, ratio: f64) -> Axes {
        axes.scaled(ratio)
    }

    pub(super) fn ramp(
        &self,
        last: &Axes,
        target: &Axes,
        step: Step,
        verdicts: &mut Verdicts,
    ) -> Axes {
        let limits = &self.limits;
        if *target == Axes::ZERO {
            let held = self.brake(last, step.seconds);
            if held != Axes::ZERO {
                verdicts.note(Rule::AccelLinear, limits.max_decel_mps2, None);
            }
            return held;
        }
        let (from, to) = (planar(last), planar(target));
        let (held, limit) = plane::course(
            [from.x, from.y],
            [to.x, to.y],
            step.accel_mps2,
            limits.max_decel_mps2,
            step.seconds,
        );
        if let Some(limit) = limit {
            plane::note_accel(limits, limit, step, verdicts);
        }
        let turn = limits.max_angular_accel_radps2;
        let (angular, short) = plane::axis(from.angular, to.angular, turn * step.seconds);
        if short {
            verdicts.note(Rule::AccelAngular, turn, None);
        }
        axes(Planar { angular, x: held[0], y: held[1] })
    }

    pub(super) fn brake(&self, last: &Axes, seconds: f64) -> Axes {
        let whole = self.brake_seconds(planar(last));
        if seconds >= whole { Axes::ZERO } else { last.scaled(1.0 - seconds / whole) }
    }

    pub(super) fn brake_seconds(&self, planar: Planar) -> f64 {
        (planar.speed() / self.limits.max_decel_mps2)
            .max(planar.angular.abs() / self.limits.max_angular_accel_radps2)
    }

    pub(super) fn breach(&self, axes: &Axes) -> Option<Breach> {
        lateral_breach(&self.limits, planar(axes))
    }

    pub(super) fn holds_speed(&self, axes: &Axes) -> bool {
        self.ratios(planar(axes)).into_iter().all(|ratio| ratio >= 1.0 - ROUNDING)
            || planar(axes).speed() < ROUNDING
    }

    pub(super) fn is_rest(&self, axes: &Axes) -> bool {
        *axes == Axes::ZERO
    }

    /// Whichever way, backward, sideways, turning.
    fn ratios(&self, planar: Planar) -> [f64; 4] {
        let Limits { max_angular_radps, max_linear_mps, max_reverse_mps, .. } = self.limits;
        [
            ratio(planar.speed(), max_linear_mps),
            if planar.x < 0.0 { ratio(planar.x, max_reverse_mps) } else { 1.0 },
            ratio(planar.y, self.max_lateral_mps),
            ratio(planar.angular, max_angular_radps),
        ]
    }
}

fn axes(planar: Planar) -> Axes {
    let mut axes = Axes::ZERO;
    [axes.0[0], axes.0[1], axes.0[2]] = [planar.x, planar.y, planar.angular];
    axes
}

fn planar(axes: &Axes) -> Planar {
    Planar { angular: axes.0[2], x: axes.0[0], y: axes.0[1] }
}
