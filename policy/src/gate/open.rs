//! Which zones count in a tick: those that are in force at its time, and at the heights that
//! a setpoint leads to; and how far a setpoint may climb or sink among them.

use super::believed::{is_believable, is_known, measured};
use super::{CRAWL_MPS, Gate, Inputs, MAX_TICK_GAP, Tick};
use crate::arbitrate::age;
use crate::conditions::{Moment, WaysIn, week_ms};
use crate::law::{Axes, Law};
use crate::look_ahead::{Ahead, DOUBT, HALVINGS, Judge, Place};
use crate::planar::Planar;
use crate::privacy::Privacy;
use crate::verdict::Verdicts;
use crate::zones::{ROUNDING_M, SLACK_M, Standing, Uncertainty};
use nooterra_protocol::entry::Rule;

/// What a climb is judged by.
#[derive(Clone, Copy)]
pub(super) struct Climb<'a> {
    pub(super) ahead: &'a Ahead,
    pub(super) brake: &'a Axes,
    pub(super) hold_s: f64,
    pub(super) law: &'a Law,
    pub(super) moment: &'a Moment,
    pub(super) unsure: Uncertainty,
}

impl Gate {
    /// What is known of time and height, where some zone asks for it.
    pub(super) fn moment(&self, inputs: &Inputs, law: &Law) -> Option<Moment> {
        if self.conditions.is_empty() && self.curtain.is_none() {
            return None;
        }
        let fresh = |at| age(at, inputs.now).is_some_and(|age| age <= self.odometry_age);
        let mut moment = if inputs.flying.is_some_and(|flying| fresh(flying.at)) {
            measured(inputs, law, Planar::ZERO).heights(&self.memory, law)
        } else {
            Moment::default()
        };
        moment.week_ms = week_ms(inputs.clock, inputs.now);
        Some(moment)
    }

    /// Which sensors may be read, wherever the robot may be before the next tick.
    pub(super) fn privacy(&mut self, inputs: &Inputs, moment: &Option<Moment>) -> Privacy {
        let unsure = self.unsure(inputs);
        let Some((curtain, moment)) = self.curtain.as_mut().zip(moment.as_ref()) else {
            return Privacy::OPEN;
        };
        let Inputs { pose, twist, .. } = *inputs;
        let old = age(pose.at, inputs.now).filter(|age| *age <= self.odometry_age);
        let known = is_believable(pose.value, twist.value)
            && age(twist.at, inputs.now).is_some_and(|age| age <= self.odometry_age)
            && is_known(inputs);
        let place = old.filter(|_| known).map(|old| {
            let on_the_way_m = twist.value.speed() * (old + MAX_TICK_GAP).as_secs_f64();
            (pose.value, Uncertainty { place_m: unsure.place_m + on_the_way_m, ..unsure })
        });
        let climb_mps = inputs.flying.map_or(0.0, |flying| flying.value.climb_mps.abs());
        let climbed_m = climb_mps * MAX_TICK_GAP.as_secs_f64();
        curtain.at(place, &moment.swept(climbed_m, climbed_m))
    }

    /// What is left of a target where nothing that the robot must be kept in is open: up or
    /// down, to where something is, so fast that it can come to rest there, and not before it
    /// stands over the ground.
    pub(super) fn inward(
        &self,
        tick: &Tick<'_>,
        moment: &Moment,
        [brake, target]: [&Axes; 2],
        hold_s: f64,
    ) -> Axes {
        let law = tick.law;
        let mut held = self.laws.widest.on_the_spot(target);
        let ways = if tick.is_fast(brake) { WaysIn::NONE } else { self.conditions.ways_in(moment) };
        let most = |way_m: Option<f64>| way_m.map_or(0.0, |way_m| climb_within(law, way_m, hold_s));
        // Not `clamp`, which may panic.
        held.0[2] = held.0[2].max(-most(ways.down_m)).min(most(ways.up_m));
        held
    }

    /// As much of a climb, or of a descent, as leads into no zone that is not open at the
    /// heights that it reaches, and out of none that the robot must be kept in; and where it
    /// stands then. The zones of those heights are the ones that count from here on.
    pub(super) fn hold_height(
        &mut self,
        climb: &Climb<'_>,
        ramped: Axes,
        verdicts: &mut Verdicts,
    ) -> (Axes, Standing) {
        let at = |part: f64| {
            let mut axes = ramped;
            axes.0[2] = climb.brake.0[2] + part * (ramped.0[2] - climb.brake.0[2]);
            axes
        };
        let braked = at(0.0);
        let least = self.reached(climb, Some(braked));
        if climb.law.band().is_none() || ramped.0[2].to_bits() == braked.0[2].to_bits() {
            return (ramped, least.standing);
        }
        let now = self.reached(climb, None);
        // In a zone that it must be kept out of, up or down leads only to its nearer edge.
        if let Some(zone) = self.conditions.deeper(now.standing.entered, climb.moment, ramped.0[2])
        {
            let limit = self.conditions.edge_m(zone, climb.moment).unwrap_or_default();
            verdicts.note(Rule::Altitude, limit, Some(zone));
            let standing = self.reached(climb, Some(braked)).standing;
            return (braked, standing);
        }
        let whole = self.reached(climb, Some(ramped));
        // Where even a brake leads on, as when something has just closed, it is braked.
        let Some(zone) = least.worse_than(&now).or_else(|| whole.worse_than(&least)) else {
            return (ramped, whole.standing);
        };
        let limit = self.conditions.edge_m(zone, climb.moment).unwrap_or_default();
        verdicts.note(Rule::Altitude, limit, Some(zone));
        let (mut good, mut bad) = (0.0, 1.0);
        let tries = if least.worse_than(&now).is_some() { 0 } else { HALVINGS };
        for _ in 0..tries {
            let part = f64::midpoint(good, bad);
            match self.reached(climb, Some(at(part))).worse_than(&least) {
                Some(_) => bad = part,
                None => good = part,
            }
        }
        let held = at(good);
        let standing = self.reached(climb, Some(held)).standing;
        (held, standing)
    }

    /// Where the robot stands among the zones of all heights that a setpoint reaches, or of
    /// those where it is; they are the ones that count from here on.
    fn reached(&mut self, climb: &Climb<'_>, axes: Option<Axes>) -> Reached {
        let Climb { ahead, brake, hold_s, law, moment, unsure } = *climb;
        let heights = axes.map_or(*moment, |axes| swept(moment, law, [brake, &axes], hold_s));
        self.zones.select(self.conditions.in_force(&heights));
        let axes = axes.unwrap_or(*brake);
        let reach_m = ahead.reach_m(law, [brake, &axes], hold_s);
        let near = self.zones.near(ahead.start, reach_m, &unsure);
        let standing = self.zones.standing_in(&near, &unsure);
        let place = Place { standing: &standing, unsure, zones: &self.zones };
        let judge = Judge::new(law, place, ahead, &near, hold_s);
        let broken = judge.edge_broken(law.planar(brake)).map(|edge| edge.zone);
        Reached { broken, keep_ins: self.zones.keep_ins, standing }
    }
}

impl Tick<'_> {
    /// Even braked it is faster than a crawl over the ground. From beyond an edge, what flies
    /// changes its height only once it is not: it could leave what closes around it.
    pub(super) fn is_fast(&self, brake: &Axes) -> bool {
        let told_mps = self.law.planar(brake).speed();
        self.law.band().is_some() && told_mps.max(self.moving.speed() - DOUBT.x) > CRAWL_MPS
    }
}

/// How the zones of some heights find the robot.
struct Reached {
    /// A zone that braking in the plane would break.
    broken: Option<u16>,
    keep_ins: u128,
    standing: Standing,
}

impl Reached {
    /// A zone for which these heights are worse than the others.
    fn worse_than(&self, least: &Self) -> Option<u16> {
        // At most 128 zones: a bit's place is a number.
        let first = |bits: u128| u16::try_from(bits.trailing_zeros()).ok();
        let entered = self.standing.entered & !least.standing.entered;
        if entered != 0 {
            return first(entered);
        }
        let closed = self.keep_ins == 0 && least.keep_ins != 0;
        // Of what it has left by a hair, it must not leave the heights too.
        let deep = |standing: &Standing| standing.worst().map_or(0.0, |worst| worst.clearance_m);
        let further = deep(&self.standing) < deep(&least.standing) - ROUNDING_M;
        if closed || (self.standing.left && (!least.standing.left || further)) {
            return first(least.keep_ins & !self.keep_ins).or(Some(0));
        }
        self.broken.filter(|_| least.broken.is_none())
    }
}

/// A moment with all heights that two setpoints reach, held and then braked.
pub(crate) fn swept(moment: &Moment, law: &Law, candidates: [&Axes; 2], hold_s: f64) -> Moment {
    let Some(band) = law.band() else {
        return *moment;
    };
    let (mut up_m, mut down_m) = (0.0_f64, 0.0_f64);
    for climb_mps in candidates.map(|axes| axes.0[2]).into_iter().chain([moment.climb_mps]) {
        if climb_mps == 0.0 {
            continue;
        }
        let brake_s = climb_mps.abs() / (2.0 * band.accel_mps2);
        let way_m = climb_mps.abs() * (HELD_ON * hold_s + brake_s) + SLACK_M;
        if climb_mps > 0.0 {
            up_m = up_m.max(way_m);
        } else {
            down_m = down_m.max(way_m);
        }
    }
    moment.swept(up_m, down_m)
}

/// The fastest climb, or descent, of which [`swept`] says that it ends within so many metres.
fn climb_within(law: &Law, way_m: f64, hold_s: f64) -> f64 {
    let Some(band) = law.band() else {
        return 0.0;
    };
    let (accel, held_s) = (band.accel_mps2, HELD_ON * hold_s);
    let way_m = (way_m - SLACK_M).max(0.0);
    accel * ((held_s * held_s + 2.0 * way_m / accel).sqrt() - held_s)
}

/// What is braked tick by tick goes on a little longer than what is braked at once.
const HELD_ON: f64 = 1.5;
