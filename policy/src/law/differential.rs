//! A differential base: forward, backward, and turning, also on the spot.

use super::{Axes, Breach, Step, lateral_breach, plane};
use crate::limits;
use crate::verdict::Verdicts;
use nooterra_protocol::command::Command;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Planar, Twist};
use nooterra_protocol::policy::Limits;

/// Axes: forward m/s, turning rad/s.
#[derive(Clone, Debug)]
pub(super) struct Differential {
    pub(super) limits: Limits,
}

impl Differential {
    pub(super) fn axes(&self, command: &Command) -> Option<Axes> {
        command.twist().map(axes)
    }

    pub(super) fn command(&self, axes: &Axes) -> Command {
        Command::Drive(twist(axes))
    }

    pub(super) fn planar(&self, axes: &Axes) -> Planar {
        twist(axes).into()
    }

    pub(super) fn seed(&self, moving: Planar) -> Axes {
        axes(limits::clamp(Twist::new(moving.x, moving.angular), &self.limits))
    }

    pub(super) fn limit_speed(&self, wish: &Axes, verdicts: &mut Verdicts) -> Axes {
        let wished = twist(wish);
        let [linear, angular] = limits::speed_ratios(wished, &self.limits);
        if linear < 1.0 {
            verdicts.note(Rule::SpeedLinear, limits::linear_limit(wished, &self.limits), None);
        }
        if angular < 1.0 {
            verdicts.note(Rule::SpeedAngular, self.limits.max_angular_radps, None);
        }
        let held = axes(limits::limit_speed(wished, &self.limits));
        plane::curve(&self.limits, &held, verdicts, |axes| self.planar(axes))
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
        let limits = Limits { max_linear_accel_mps2: step.accel_mps2, ..self.limits };
        let ramp = limits::ramp(twist(last), twist(target), step.seconds, &limits);
        if let Some(limit) = ramp.linear {
            plane::note_accel(&self.limits, limit, step, verdicts);
        }
        if let Some(limit) = ramp.angular {
            verdicts.note(Rule::AccelAngular, limit, None);
        }
        axes(ramp.twist)
    }

    pub(super) fn brake(&self, last: &Axes, seconds: f64) -> Axes {
        axes(limits::brake(twist(last), seconds, &self.limits))
    }

    pub(super) fn brake_seconds(&self, planar: Planar) -> f64 {
        limits::brake_seconds(Twist::new(planar.x, planar.angular), &self.limits)
    }

    pub(super) fn breach(&self, axes: &Axes) -> Option<Breach> {
        lateral_breach(&self.limits, self.planar(axes))
    }

    pub(super) fn holds_speed(&self, axes: &Axes) -> bool {
        limits::holds_speed(twist(axes), &self.limits)
    }

    pub(super) fn is_rest(&self, axes: &Axes) -> bool {
        twist(axes) == Twist::ZERO
    }
}

fn axes(twist: Twist) -> Axes {
    let mut axes = Axes::ZERO;
    [axes.0[0], axes.0[1]] = [twist.linear, twist.angular];
    axes
}

fn twist(axes: &Axes) -> Twist {
    Twist::new(axes.0[0], axes.0[1])
}
