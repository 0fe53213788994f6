//! What can be met from where a path begins: measured once for all that a tick asks about it.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::place::{Area, Known, Met, Place};
use crate::planar::Heading;
use crate::zones::{ROUNDING_M, Standing, Uncertainty, ZoneMap};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Pose;

/// Zones of which the distances are measured once for all the paths of a tick.
const KNOWN: usize = 6;

/// Zones that a path may reach at all.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    /// There; `None` where no path has to ask for it.
    heading: Option<Heading>,
    /// The zones that counted.
    in_force: [u128; 3],
    pub(crate) keep_in: bool,
    /// What was measured at the start of those that are nearest.
    known: [Option<(u16, Known)>; KNOWN],
    /// How far from the start all that can be met was looked for, metres.
    reach_m: f64,
    start: Pose,
    pub(crate) zones: u128,
}

impl Near {
    /// The heading where a path begins.
    pub(crate) fn heading(&self, start: Pose) -> Heading {
        self.heading.filter(|_| start == self.start).unwrap_or_else(|| Heading::of(start))
    }

    /// What was measured for a zone where a path begins.
    pub(crate) fn known(&self, zone: u16, start: Pose) -> Option<&Known> {
        if start == self.start { self.of(zone) } else { None }
    }

    /// What was measured for a zone at the start.
    pub(crate) fn of(&self, zone: u16) -> Option<&Known> {
        let known = self.known.iter().flatten().find(|(index, _)| *index == zone);
        known.map(|(_, known)| known)
    }

    /// It says all about paths that lead so far, among the zones that count in `map`.
    pub(crate) fn serves(&self, map: &ZoneMap, reach_m: f64) -> bool {
        reach_m <= self.reach_m && self.in_force == map.in_force()
    }
}

impl ZoneMap {
    /// What can be met when `base_link` moves no further than `reach_m` from `pose`, turning as
    /// it likes.
    #[must_use]
    pub fn near(&self, pose: Pose, reach_m: f64, unsure: &Uncertainty) -> Near {
        let (at, unsure) = (pose.point(), &unsure.unsure());
        let circle_m = self.body.circle_m() + unsure.at(reach_m + self.body.arm_m());
        // The circle is reached before any disc of it.
        let enough = reach_m + circle_m + ROUNDING_M;
        let mut near = Near {
            heading: None,
            in_force: self.in_force(),
            keep_in: false,
            known: [None; KNOWN],
            reach_m,
            start: pose,
            zones: 0,
        };
        if self.is_open(at, enough) {
            return near;
        }
        let heading = Heading::of(pose);
        near.heading = Some(heading);
        let (mut place, mut count) = (Place::new(&self.body, pose, unsure).heading(heading), 0);
        let mut note = |near: &mut Near, area: &Area, inside: bool, distance_m: f64| {
            let Some(known) = near.known.get_mut(count) else {
                return;
            };
            count += 1;
            // Only where the circle is not clear will every path ask for the discs.
            let mut discs_m = None;
            if !(distance_m >= circle_m) {
                discs_m = Some(place.distances_m(area, inside, enough));
            }
            *known = Some((area.index, Known { discs_m, whole_m: distance_m }));
        };
        for area in self.of(self.within(at, enough) & (self.keep_outs | self.speeds)) {
            let distance_m = area.distance_m(false, at, enough);
            if !(distance_m > enough) {
                near.zones |= 1 << area.index;
                note(&mut near, area, false, distance_m);
            }
        }
        // Where one holds the robot all along, no path has to look at any.
        near.keep_in = self.keep_ins != 0;
        for area in self.of(self.keep_ins) {
            let distance_m = area.distance_m(true, at, enough);
            if distance_m > enough {
                near.keep_in = false;
                break;
            }
            note(&mut near, area, true, distance_m);
        }
        near
    }

    /// As [`ZoneMap::clearance_m`], and not measured again where `near` was measured with the
    /// same uncertainty.
    pub(crate) fn clearance_near(
        &self,
        rule: Rule,
        zone: u16,
        pose: Pose,
        near: &Near,
        unsure: &Uncertainty,
    ) -> f64 {
        let known = near.known(zone, pose).filter(|known| known.discs_m.is_some());
        let area = self.of(1_u128.checked_shl(zone.into()).unwrap_or(0)).next();
        if let (Some(known), Some(area)) = (known, area) {
            let of_pose = unsure.unsure();
            let mut place = Place::new(&self.body, pose, &of_pose).heading(near.heading(pose));
            let met = place.by_discs(area, rule == Rule::ZoneKeepIn, f64::INFINITY, Some(known));
            // Up to there each of the distances is exact.
            if met.clearance_m < near.reach_m {
                return met.clearance_m;
            }
        }
        self.clearance_m(rule, zone, pose, unsure)
    }

    /// Which edges are already crossed at a pose.
    #[must_use]
    pub fn standing(&self, pose: Pose, unsure: &Uncertainty) -> Standing {
        self.standing_in(&self.near(pose, 0.0, unsure), unsure)
    }

    /// Which edges are already crossed where `near` was measured, with the same uncertainty.
    pub(crate) fn standing_in(&self, near: &Near, unsure: &Uncertainty) -> Standing {
        let mut standing = Standing::default();
        if near.zones == 0 && !near.keep_in {
            return standing;
        }
        let unsure = &unsure.unsure();
        let mut place =
            Place::new(&self.body, near.start, unsure).heading(near.heading(near.start));
        let grazes_m = self.body.added_m() + unsure.at(self.body.arm_m());
        let grazes = |met: &Met| met.clearance_m >= -grazes_m;
        for area in self.of(near.zones & self.keep_outs) {
            let met = place.met(area, false, near.of(area.index));
            if !(met.clearance_m >= 0.0) {
                standing.entered |= 1 << area.index;
                standing.grazed |= u128::from(grazes(&met)) << area.index;
                standing.deepen(area.edge(Rule::ZoneKeepOut, &met));
            }
        }
        if near.keep_in
            && let Some((area, met)) = self.keep_in(&mut place, Some(near))
            && !(met.clearance_m >= 0.0)
        {
            (standing.left, standing.left_grazed) = (true, grazes(&met));
            standing.deepen(area.edge(Rule::ZoneKeepIn, &met));
        }
        if standing.worst.is_none_or(|worst| worst.clearance_m >= -grazes_m) {
            (standing.grazed, standing.left_grazed) = (0, false);
        }
        standing
    }
}
