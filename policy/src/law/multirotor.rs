//! A multirotor: it goes whichever way without turning, and it has a height.

use super::{Axes, Breach, ROUNDING, Step, plane, ratio};
use crate::verdict::Verdicts;
use nooterra_protocol::command::{Command, Velocity};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::policy::{Flight, Limits};

/// Standard gravity, m/s² (CGPM 1901).
const GRAVITY_MPS2: f64 = 9.806_65;

/// Axes: east, north, up m/s, turning rad/s.
#[derive(Clone, Debug)]
pub(super) struct Multirotor {
    flight: Flight,
    limits: Limits,
}

/// Where it may be in height, and how it brakes there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Band {
    pub(crate) accel_mps2: f64,
    pub(crate) ceiling_m: f64,
    pub(crate) floor_m: f64,
    pub(crate) max_tilt_rad: f64,
}

/// Between which heights it may be when a new setpoint takes effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Height {
    /// At most, above take-off.
    pub(crate) highest_m: f64,
    /// At least, above ground; above take-off where the ground is not measured.
    pub(crate) lowest_m: f64,
}

impl Band {
    /// What a setpoint that is held and then braked does to the height: the rule that it breaks.
    pub(crate) fn breach(
        &self,
        from: &Height,
        climb_mps: f64,
        moves: bool,
        hold_s: f64,
    ) -> Option<Breach> {
        let way = climb_mps.abs() * (hold_s + climb_mps.abs() / (2.0 * self.accel_mps2));
        let above = from.highest_m - self.ceiling_m;
        let below = self.floor_m - from.lowest_m;
        let breach = |limit| Some(Breach::of(Rule::Altitude, limit));
        // From outside only what leads back in: sideways waits until it does.
        if above > 0.0 && (climb_mps > 0.0 || (moves && climb_mps == 0.0)) {
            return breach(self.ceiling_m);
        }
        if below > 0.0 && (climb_mps < 0.0 || (moves && climb_mps == 0.0)) {
            return breach(self.floor_m);
        }
        if climb_mps > 0.0 && below <= 0.0 && above + way > 0.0 {
            return breach(self.ceiling_m);
        }
        if climb_mps < 0.0 && above <= 0.0 && below + way > 0.0 {
            return breach(self.floor_m);
        }
        None
    }
}

impl Multirotor {
    /// Tightens the horizontal limits to what the tilt gives.
    pub(super) fn new(flight: Flight, limits: &mut Limits) -> Self {
        let lean = GRAVITY_MPS2 * flight.max_tilt_rad.tan();
        limits.max_linear_accel_mps2 = limits.max_linear_accel_mps2.min(lean);
        limits.max_decel_mps2 = limits.max_decel_mps2.min(lean);
        Self { flight, limits: *limits }
    }

    pub(super) const fn band(&self) -> Band {
        Band {
            accel_mps2: self.flight.max_vertical_accel_mps2,
            ceiling_m: self.flight.max_altitude_m,
            floor_m: self.flight.min_altitude_m,
            max_tilt_rad: self.flight.max_tilt_rad,
        }
    }

    pub(super) fn axes(&self, command: &Command) -> Option<Axes> {
        match command {
            Command::Fly(Velocity { x, y, yaw_rate, z }) => Some(axes([*x, *y, *z, *yaw_rate])),
            _ => None,
        }
    }

    pub(super) fn command(&self, axes: &Axes) -> Command {
        let [x, y, z, yaw_rate, ..] = axes.0;
        Command::Fly(Velocity { x, y, yaw_rate, z })
    }

    /// How it turns says nothing about where it goes.
    pub(super) fn planar(&self, axes: &Axes) -> Planar {
        Planar { angular: 0.0, x: axes.0[0], y: axes.0[1] }
    }

    pub(super) fn seed(&self, moving: Planar) -> Axes {
        let ratio = ratio(moving.speed(), self.limits.max_linear_mps);
        axes([moving.x * ratio, moving.y * ratio, 0.0, 0.0])
    }

    pub(super) fn limit_speed(&self, wish: &Axes, verdicts: &mut Verdicts) -> Axes {
        let mut least = 1.0_f64;
        for (rule, limit, ratio) in self.ratios(wish) {
            if ratio < 1.0 {
                verdicts.note(rule, limit, None);
                least = least.min(ratio);
            }
        }
        if least < 1.0 { wish.scaled(least) } else { *wish }
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
        let (from, to) = (last.0, target.0);
        let ([x, y], limit) = plane::course(
            [from[0], from[1]],
            [to[0], to[1]],
            step.accel_mps2,
            self.limits.max_decel_mps2,
            step.seconds,
        );
        if let Some(limit) = limit {
            plane::note_accel(&self.limits, limit, step, verdicts);
        }
        let upright = self.flight.max_vertical_accel_mps2;
        let (z, short) = plane::axis(from[2], to[2], upright * step.seconds);
        if short {
            verdicts.note(Rule::AccelVertical, upright, None);
        }
        let turn = self.limits.max_angular_accel_radps2;
        let (yaw_rate, short) = plane::axis(from[3], to[3], turn * step.seconds);
        if short {
            verdicts.note(Rule::AccelAngular, turn, None);
        }
        axes([x, y, z, yaw_rate])
    }

    pub(super) fn brake(&self, last: &Axes, seconds: f64) -> Axes {
        let [x, y, z, yaw_rate, ..] = last.0;
        let speed = x.hypot(y);
        let left = (speed - self.limits.max_decel_mps2 * seconds).max(0.0);
        let part = if speed > 0.0 { left / speed } else { 0.0 };
        let (z, _) = plane::axis(z, 0.0, self.flight.max_vertical_accel_mps2 * seconds);
        let (yaw_rate, _) =
            plane::axis(yaw_rate, 0.0, self.limits.max_angular_accel_radps2 * seconds);
        axes([x * part, y * part, z, yaw_rate])
    }

    pub(super) fn brake_seconds(&self, planar: Planar) -> f64 {
        planar.speed() / self.limits.max_decel_mps2
    }

    #[allow(clippy::unused_self)] // One of the laws' common calls.
    pub(super) const fn breach(&self, _: &Axes) -> Option<Breach> {
        None
    }

    pub(super) fn holds_speed(&self, axes: &Axes) -> bool {
        self.ratios(axes).into_iter().all(|(_, _, ratio)| ratio >= 1.0 - ROUNDING)
    }

    #[allow(clippy::unused_self)]
    pub(super) fn is_rest(&self, axes: &Axes) -> bool {
        *axes == Axes::ZERO
    }

    fn ratios(&self, axes: &Axes) -> [(Rule, f64, f64); 3] {
        let [x, y, z, yaw_rate, ..] = axes.0;
        let Flight { max_climb_mps, max_descent_mps, .. } = self.flight;
        let vertical = if z < 0.0 { max_descent_mps } else { max_climb_mps };
        let Limits { max_angular_radps, max_linear_mps, .. } = self.limits;
        [
            (Rule::SpeedLinear, max_linear_mps, ratio(x.hypot(y), max_linear_mps)),
            (Rule::SpeedVertical, vertical, ratio(z, vertical)),
            (Rule::SpeedAngular, max_angular_radps, ratio(yaw_rate, max_angular_radps)),
        ]
    }
}

fn axes(first: [f64; 4]) -> Axes {
    let mut axes = Axes::ZERO;
    axes.0[..4].copy_from_slice(&first);
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAND: Band = Band { accel_mps2: 2.0, ceiling_m: 30.0, floor_m: 2.0, max_tilt_rad: 0.5 };

    fn breaks(highest_m: f64, lowest_m: f64, climb_mps: f64, moves: bool) -> bool {
        BAND.breach(&Height { highest_m, lowest_m }, climb_mps, moves, 0.1).is_some()
    }

    #[test]
    fn a_climb_ends_below_the_ceiling_and_a_descent_above_the_floor() {
        // 2 m/s: 0.2 m while it is held, 1 m of braking.
        assert!(!breaks(28.7, 28.7, 2.0, false) && breaks(28.9, 28.9, 2.0, false));
        assert!(!breaks(3.3, 3.3, -2.0, false) && breaks(3.1, 3.1, -2.0, false));
    }

    #[test]
    fn from_outside_the_band_only_the_way_back_is_open() {
        assert!(breaks(31.0, 31.0, 0.5, false) && breaks(31.0, 31.0, 0.0, true));
        assert!(!breaks(31.0, 31.0, -0.5, true) && !breaks(31.0, 31.0, 0.0, false));
        assert!(breaks(1.0, 1.0, -0.5, false) && !breaks(1.0, 1.0, 0.5, true));
    }
}
