//! The laws of motion, one for each kind of vehicle: what its command means, how fast it may
//! change, and how it comes to rest.
//!
//! A command is handled as its axes, a few numbers whose meaning only its law knows. What is
//! common to all vehicles (whose wish counts, zones, look-ahead) is the gate's and knows no
//! kind of vehicle; a vehicle that moves in the plane tells it by [`Law::planar`] where a
//! setpoint leads.

mod ackermann;
mod arm;
mod differential;
mod multirotor;
mod omnidirectional;
mod plane;

pub(crate) use arm::{Arm, Reach};
pub(crate) use multirotor::{Band, Height};

use crate::verdict::Verdicts;
use ackermann::Ackermann;
use differential::Differential;
use multirotor::Multirotor;
use nooterra_protocol::command::{Command, MAX_JOINTS};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::policy::{Limits, Mode, PolicyDocument, Vehicle};
use omnidirectional::Omnidirectional;
use std::time::Duration;

/// Rounding that the last check forgives, in any unit.
const ROUNDING: f64 = 1e-9;

/// The numbers of a command. How many count, and what they mean, its law knows; the others
/// are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Axes(pub(crate) [f64; MAX_JOINTS]);

impl Axes {
    /// Standing still, with the wheels straight.
    pub(crate) const ZERO: Self = Self([0.0; MAX_JOINTS]);

    pub(crate) fn is_finite(&self) -> bool {
        self.0.iter().all(|axis| axis.is_finite())
    }

    pub(crate) fn scaled(&self, ratio: f64) -> Self {
        Self(self.0.map(|axis| axis * ratio))
    }

    /// The point between, as a part of the way to `other`.
    pub(crate) fn towards(&self, other: &Self, part: f64) -> Self {
        let mut axes = *self;
        for (axis, to) in axes.0.iter_mut().zip(other.0) {
            *axis += part * (to - *axis);
        }
        axes
    }
}

/// How far one tick may change a setpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Speeding up, m/s²: the acceleration limit, or what jerk leaves of it.
    pub(crate) accel_mps2: f64,
    /// Of the tick.
    pub(crate) seconds: f64,
}

/// A limit that a setpoint does not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Breach {
    /// In the unit that the rule documents; for zones the clearance.
    pub(crate) limit: f64,
    pub(crate) rule: Rule,
    pub(crate) zone: Option<u16>,
}

impl Breach {
    pub(crate) const fn of(rule: Rule, limit: f64) -> Self {
        Self { limit, rule, zone: None }
    }
}

/// The law of one vehicle in one mode.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    kind: Kind,
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Kind {
    Ackermann(Ackermann),
    Arm(Box<Arm>),
    Differential(Differential),
    Multirotor(Multirotor),
    Omnidirectional(Omnidirectional),
}

/// Hands a call to the law of the kind.
macro_rules! by_kind {
    ($self:ident, $law:ident => $call:expr) => {
        match &$self.kind {
            Kind::Ackermann($law) => $call,
            Kind::Arm($law) => $call,
            Kind::Differential($law) => $call,
            Kind::Multirotor($law) => $call,
            Kind::Omnidirectional($law) => $call,
        }
    };
}

impl Law {
    /// Of a document that was checked, under a mode of it.
    pub(crate) fn new(document: &PolicyDocument, mode: Option<&Mode>) -> Self {
        let mut limits = document.limits;
        if let Some(mode) = mode {
            let tighten = |limit: &mut f64, by: Option<f64>| {
                *limit = by.map_or(*limit, |by| limit.min(by));
            };
            tighten(&mut limits.max_angular_radps, mode.max_angular_radps);
            tighten(&mut limits.max_decel_mps2, mode.max_decel_mps2);
            tighten(&mut limits.max_linear_accel_mps2, mode.max_linear_accel_mps2);
            tighten(&mut limits.max_linear_mps, mode.max_linear_mps);
            tighten(&mut limits.max_reverse_mps, mode.max_linear_mps);
        }
        let kind = match &document.vehicle {
            Vehicle::Ackermann { max_steering_rad, max_steering_rate_radps, wheelbase_m } => {
                Kind::Ackermann(Ackermann {
                    limits,
                    max_steering_rad: *max_steering_rad,
                    max_steering_rate_radps: *max_steering_rate_radps,
                    wheelbase_m: *wheelbase_m,
                })
            }
            Vehicle::Differential => Kind::Differential(Differential { limits }),
            Vehicle::Joints { joints, reaction_ms } => {
                limits.reaction_ms = *reaction_ms;
                Kind::Arm(Box::new(Arm::new(joints)))
            }
            Vehicle::Multirotor(flight) => Kind::Multirotor(Multirotor::new(*flight, &mut limits)),
            Vehicle::Omnidirectional { max_lateral_mps } => {
                let lateral = mode.and_then(|mode| mode.max_linear_mps);
                let max_lateral_mps =
                    lateral.map_or(*max_lateral_mps, |by| max_lateral_mps.min(by));
                Kind::Omnidirectional(Omnidirectional { limits, max_lateral_mps })
            }
        };
        Self { kind, limits }
    }

    /// The limits that hold in this mode.
    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is written takes effect within so long.
    pub(crate) fn reaction(&self) -> Duration {
        Duration::from_millis(u64::from(self.limits.reaction_ms))
    }

    pub(crate) fn arm(&self) -> Option<&Arm> {
        match &self.kind {
            Kind::Arm(arm) => Some(arm),
            _ => None,
        }
    }

    /// The altitude band of what flies.
    pub(crate) fn band(&self) -> Option<Band> {
        match &self.kind {
            Kind::Multirotor(law) => Some(law.band()),
            _ => None,
        }
    }

    /// The robot goes where it faces: its heading turns its setpoints. A multirotor's are in
    /// the `map` frame.
    pub(crate) const fn is_body_frame(&self) -> bool {
        !matches!(self.kind, Kind::Multirotor(_))
    }

    /// The axes of a command; `None` for one of another vehicle.
    pub(crate) fn axes(&self, command: &Command) -> Option<Axes> {
        by_kind!(self, law => law.axes(command))
    }

    /// The command of axes.
    pub(crate) fn command(&self, axes: &Axes) -> Command {
        by_kind!(self, law => law.command(axes))
    }

    /// Where the axes lead in the plane: in the body frame, or in the `map` frame for what is
    /// not [`Self::is_body_frame`].
    pub(crate) fn planar(&self, axes: &Axes) -> Planar {
        by_kind!(self, law => law.planar(axes))
    }

    /// The axes that come nearest to a measured motion, within the limits.
    pub(crate) fn seed(&self, moving: Planar) -> Axes {
        by_kind!(self, law => law.seed(moving))
    }

    /// Held to the speed limits: all axes by one ratio where that is possible, so that the path
    /// keeps its shape.
    pub(crate) fn limit_speed(&self, wish: &Axes, verdicts: &mut Verdicts) -> Axes {
        by_kind!(self, law => law.limit_speed(wish, verdicts))
    }

    /// Slower by a ratio, on the same path.
    pub(crate) fn slowed(&self, axes: &Axes, ratio: f64) -> Axes {
        by_kind!(self, law => law.slowed(axes, ratio))
    }

    /// Without going anywhere: turning, steering and height as they are.
    pub(crate) fn on_the_spot(&self, axes: &Axes) -> Axes {
        let mut axes = *axes;
        match self.kind {
            Kind::Multirotor(_) | Kind::Omnidirectional(_) => [axes.0[0], axes.0[1]] = [0.0; 2],
            Kind::Ackermann(_) | Kind::Differential(_) => axes.0[0] = 0.0,
            Kind::Arm(_) => {}
        }
        axes
    }

    /// At most so fast in the plane, on the same path; and whether that changed it.
    pub(crate) fn at_most(&self, axes: &Axes, speed_mps: f64) -> (Axes, bool) {
        let ratio = ratio(self.planar(axes).speed(), speed_mps);
        if ratio < 1.0 { (self.slowed(axes, ratio), true) } else { (*axes, false) }
    }

    /// From the last setpoint towards a target, as far as a tick may go.
    pub(crate) fn ramp(
        &self,
        last: &Axes,
        target: &Axes,
        step: Step,
        verdicts: &mut Verdicts,
    ) -> Axes {
        by_kind!(self, law => law.ramp(last, target, step, verdicts))
    }

    /// What is left of a setpoint after braking for a while as hard as allowed.
    pub(crate) fn brake(&self, last: &Axes, seconds: f64) -> Axes {
        by_kind!(self, law => law.brake(last, seconds))
    }

    /// How long braking to rest takes in the plane, seconds.
    pub(crate) fn brake_seconds(&self, planar: Planar) -> f64 {
        by_kind!(self, law => law.brake_seconds(planar))
    }

    /// The first limit on the setpoint itself, whatever was before it, that does not hold.
    pub(crate) fn breach(&self, axes: &Axes) -> Option<Breach> {
        by_kind!(self, law => law.breach(axes))
    }

    /// Within every speed limit of `widest`, the law without a mode, rounding forgiven.
    pub(crate) fn holds_speed(&self, axes: &Axes) -> bool {
        axes.is_finite() && by_kind!(self, law => law.holds_speed(axes))
    }

    /// Moves no actuator that matters: everything is at rest.
    pub(crate) fn is_rest(&self, axes: &Axes) -> bool {
        by_kind!(self, law => law.is_rest(axes))
    }
}

/// By how much `speed` must be scaled to be at most `limit` either way. What was scaled to a
/// limit passes when it comes again, whatever its last bit.
fn ratio(speed: f64, limit: f64) -> f64 {
    if speed.abs() > limit * (1.0 + 1e-12) { limit / speed.abs() } else { 1.0 }
}

/// The limit across the way of a curve, where the limits have one.
fn lateral_breach(limits: &Limits, planar: Planar) -> Option<Breach> {
    let limit = limits.max_lateral_accel_mps2?;
    let across = (planar.speed() * planar.angular).abs();
    (across > limit * (1.0 + ROUNDING)).then_some(Breach::of(Rule::AccelLateral, limit))
}

/// Slower, so that the curve holds the limit across the way: the ratio of the speeds. Turning
/// is slowed with it, so that the radius stays.
fn lateral_ratio(limits: &Limits, planar: Planar) -> f64 {
    let across = (planar.speed() * planar.angular).abs();
    match limits.max_lateral_accel_mps2 {
        Some(limit) if across > limit * (1.0 + 1e-12) => (limit / across).sqrt(),
        _ => 1.0,
    }
}
