//! A base that steers like a car: it turns only as far as it drives, and its wheels need time.

use super::{Axes, Breach, ROUNDING, Step, lateral_breach, lateral_ratio, plane, ratio};
use crate::limits::between;
use crate::verdict::Verdicts;
use nooterra_protocol::command::{Command, Steer};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::policy::Limits;

/// Axes: speed m/s, steering rad. Braking leaves the wheels as they are.
#[derive(Clone, Debug)]
pub(super) struct Ackermann {
    pub(super) limits: Limits,
    pub(super) max_steering_rad: f64,
    pub(super) max_steering_rate_radps: f64,
    pub(super) wheelbase_m: f64,
}

impl Ackermann {
    pub(super) fn axes(&self, command: &Command) -> Option<Axes> {
        match command {
            Command::Ackermann(steer) => Some(axes(steer.speed_mps, steer.steering_rad)),
            _ => None,
        }
    }

    pub(super) fn command(&self, axes: &Axes) -> Command {
        Command::Ackermann(Steer { speed_mps: axes.0[0], steering_rad: axes.0[1] })
    }

    /// The single-track model: the path's curvature is tan(steering) / wheelbase.
    pub(super) fn planar(&self, axes: &Axes) -> Planar {
        let speed = axes.0[0];
        Planar { angular: speed * axes.0[1].tan() / self.wheelbase_m, x: speed, y: 0.0 }
    }

    pub(super) fn seed(&self, moving: Planar) -> Axes {
        let speed = between(moving.x, -self.limits.max_reverse_mps, self.limits.max_linear_mps);
        let steering = if moving.x.abs() < 1e-6 {
            0.0
        } else {
            (moving.angular * self.wheelbase_m / moving.x).atan()
        };
        axes(speed, between(steering, -self.max_steering_rad, self.max_steering_rad))
    }

    pub(super) fn limit_speed(&self, wish: &Axes, verdicts: &mut Verdicts) -> Axes {
        let limits = &self.limits;
        let [mut speed, mut steering] = [wish.0[0], wish.0[1]];
        if steering.abs() > self.max_steering_rad {
            verdicts.note(Rule::SteeringAngle, self.max_steering_rad, None);
            steering = self.max_steering_rad.copysign(steering);
        }
        let limit = if speed < 0.0 { limits.max_reverse_mps } else { limits.max_linear_mps };
        if speed.abs() > limit {
            verdicts.note(Rule::SpeedLinear, limit, None);
            speed = limit.copysign(speed);
        }
        let turning = self.planar(&axes(speed, steering)).angular;
        let ratio_turning = ratio(turning, limits.max_angular_radps);
        if ratio_turning < 1.0 {
            verdicts.note(Rule::SpeedAngular, limits.max_angular_radps, None);
            speed *= ratio_turning;
        }
        let ratio = lateral_ratio(limits, self.planar(&axes(speed, steering)));
        if ratio < 1.0 {
            let limit = limits.max_lateral_accel_mps2.unwrap_or(0.0);
            verdicts.note(Rule::AccelLateral, limit, None);
            speed *= ratio;
        }
        axes(speed, steering)
    }

    pub(super) fn slowed(&self, axes: &Axes, ratio: f64) -> Axes {
        let mut axes = *axes;
        axes.0[0] *= ratio;
        axes
    }

    pub(super) fn ramp(
        &self,
        last: &Axes,
        target: &Axes,
        step: Step,
        verdicts: &mut Verdicts,
    ) -> Axes {
        let (from, to) = (last.0[0], target.0[0]);
        let slows = (to - from) * from < 0.0;
        let limit = if slows { self.limits.max_decel_mps2 } else { step.accel_mps2 };
        let reach = limit * step.seconds;
        // A change of direction passes through standing still.
        let reach = if slows { reach.min(from.abs()) } else { reach };
        let (speed, short) = plane::axis(from, to, reach);
        if short {
            plane::note_accel(&self.limits, limit, step, verdicts);
        }
        let rate = self.max_steering_rate_radps;
        let (steering, short) = plane::axis(last.0[1], target.0[1], rate * step.seconds);
        if short {
            verdicts.note(Rule::SteeringRate, rate, None);
        }
        axes(speed, steering)
    }

    pub(super) fn brake(&self, last: &Axes, seconds: f64) -> Axes {
        let (speed, _) = plane::axis(last.0[0], 0.0, self.limits.max_decel_mps2 * seconds);
        axes(speed, last.0[1])
    }

    pub(super) fn brake_seconds(&self, planar: Planar) -> f64 {
        planar.x.abs() / self.limits.max_decel_mps2
    }

    pub(super) fn breach(&self, axes: &Axes) -> Option<Breach> {
        let planar = self.planar(axes);
        let limit = self.limits.max_angular_radps;
        if planar.angular.abs() > limit * (1.0 + ROUNDING) {
            return Some(Breach::of(Rule::SpeedAngular, limit));
        }
        lateral_breach(&self.limits, planar)
    }

    pub(super) fn holds_speed(&self, axes: &Axes) -> bool {
        axes.0[0] <= self.limits.max_linear_mps + ROUNDING
            && axes.0[0] >= -self.limits.max_reverse_mps - ROUNDING
            && axes.0[1].abs() <= self.max_steering_rad + ROUNDING
    }

    pub(super) fn is_rest(&self, axes: &Axes) -> bool {
        axes.0[0] == 0.0
    }
}

fn axes(speed_mps: f64, steering_rad: f64) -> Axes {
    let mut axes = Axes::ZERO;
    [axes.0[0], axes.0[1]] = [speed_mps, steering_rad];
    axes
}
