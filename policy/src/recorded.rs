//! A policy asked about motion that was recorded: what its zones say of each moment.
//!
//! For whoever sets limits from what a robot was seen to do. The robot's discs, the zones and
//! what they are conditional on, the path to rest and the sensors that may be read are the
//! gate's own, by the same code. What a gate remembers from tick to tick (ramps, latches, what
//! was written before) has no counterpart here: each moment is judged by itself.
//!
//! # What it never does
//! It makes no setpoint; nothing that comes out of it moves a robot.

use crate::conditions::{Conditions, Moment, week_ms};
use crate::footprint::Body;
use crate::gate::MAX_TICK_GAP;
use crate::gate::open::swept;
use crate::law::{Axes, Law};
use crate::look_ahead::{Measured, Memory};
use crate::place::{Area, Kind, Place};
use crate::planar::Planar;
use crate::privacy::{Curtain, Privacy};
use crate::verified::VerifiedPolicy;
use crate::zones::{Edge, Path, ROUNDING_M, SLACK_M, Uncertainty, ZoneMap};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::observation::{Flying, Timed};
use nooterra_protocol::policy::{Footprint, ZoneRule};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::time::Duration;

/// Between two looks at a stopping path no disc goes further, metres.
pub const LOOK_M: f64 = 0.05;

/// The most looks at a stopping path, beside the one at its start.
pub const MOST_LOOKS: u32 = 256;

/// A recording has no ticks. Any moment is as good; it only must not be the first of all.
const NOW: MonoNanos = MonoNanos(3_600_000_000_000);

/// A moment of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// What time it was, where that is known: it is believed.
    pub clock: Option<WallMillis>,
    /// Height and climb, of what flies.
    pub flying: Option<Flying>,
    /// Where, in the frame of the zones.
    pub pose: Pose,
    /// How it moved, in the body frame.
    pub twist: Planar,
}

/// What the zones say of a moment, along the path on which the robot would have come to rest.
#[derive(Clone, Debug)]
pub struct Said {
    /// There is something to be kept in, and at this time and height none of it is open.
    pub closed: bool,
    /// The least clearance from each zone in force that must be kept out of, and from those
    /// that must be kept in, all together.
    pub edges: Vec<Edge>,
    /// Which sensors might have been read here.
    pub privacy: Privacy,
    /// The highest speed in each speed zone in force that is touched, m/s.
    pub speeds: Vec<(u16, f64)>,
}

/// A policy as recordings are judged by it.
#[derive(Debug)]
pub struct Recorded {
    conditions: Conditions,
    curtain: Option<Curtain>,
    flies: bool,
    footprint: Footprint,
    law: Law,
    /// Nothing was written before: as it was measured, so it was told.
    memory: Memory,
    zone_ids: Vec<ZoneId>,
    zones: ZoneMap,
}

impl Recorded {
    /// Takes what a gate would be made of.
    #[must_use]
    pub fn new(policy: &VerifiedPolicy) -> Self {
        let document = policy.document();
        let law = Law::new(document, None);
        Self {
            conditions: policy.conditions().clone(),
            curtain: policy.curtain().cloned(),
            flies: law.band().is_some(),
            footprint: document.footprint.clone(),
            law,
            memory: Memory::new(),
            zone_ids: policy.zone_ids().to_vec(),
            zones: policy.zones().clone(),
        }
    }

    /// The same, for a robot of which nobody knows which way it faced: the circle around it is
    /// judged.
    #[must_use]
    pub fn facing_anywhere(mut self) -> Self {
        let circle = Body::circle(&self.footprint, SLACK_M);
        if let Some(curtain) = &mut self.curtain {
            curtain.judge(circle.clone());
        }
        self.zones.body = circle;
        self
    }

    /// What is judged of the robot.
    #[must_use]
    pub const fn body(&self) -> &Body {
        self.zones.body()
    }

    /// The robot flies, and its height is measured; of any other the gate knows no height.
    #[must_use]
    pub const fn flies(&self) -> bool {
        self.flies
    }

    /// There are zones in which sensors are off.
    #[must_use]
    pub const fn has_privacy(&self) -> bool {
        self.curtain.is_some()
    }

    /// Every zone, by its number: those of the document first, then those of its masks.
    #[must_use]
    pub fn zones(&self) -> Vec<(ZoneId, ZoneRule)> {
        let rules = self.zones.of(u128::MAX).map(|area| match area.kind {
            Kind::KeepIn => ZoneRule::KeepIn,
            Kind::KeepOut => ZoneRule::KeepOut,
            Kind::Speed(max_linear_mps) => ZoneRule::Speed { max_linear_mps },
        });
        self.zone_ids.iter().cloned().zip(rules).collect()
    }

    /// Judges one moment.
    pub fn judge(&mut self, seen: &Seen) -> Said {
        let moment = self.moment(seen);
        let privacy = self.privacy(seen, &moment);
        self.zones.select(self.conditions.in_force(&self.heights(seen, &moment)));
        let path = self.path(seen);
        let mut edges: Vec<Edge> = Vec::new();
        let mut speeds: Vec<(u16, f64)> = Vec::new();
        for held_s in self.looks(&path) {
            let unsure = Uncertainty::NONE.unsure();
            let mut place = Place::new(self.zones.body(), path.place(held_s), &unsure);
            for area in self.zones.of(self.zones.keep_outs) {
                let found = edges.iter().position(|edge| edge.zone == area.index);
                let worst_m = found.map_or(f64::INFINITY, |at| edges[at].clearance_m);
                // What is clear of the circle by more is as clear of the discs.
                if circle_m(&place, area, false) >= worst_m {
                    continue;
                }
                let met = place.by_discs(area, false, f64::INFINITY, None);
                note(&mut edges, found, area.edge(Rule::ZoneKeepOut, &met));
            }
            let found = edges.iter().position(|edge| edge.rule == Rule::ZoneKeepIn);
            let worst_m = found.map_or(f64::INFINITY, |at| edges[at].clearance_m);
            if let Some(edge) = self.kept_in(&mut place, worst_m) {
                note(&mut edges, found, edge);
            }
            for area in self.zones.of(self.zones.speeds) {
                let speed = path.speed(held_s);
                let found = speeds.iter().position(|(zone, _)| *zone == area.index);
                if found.is_some_and(|at| speeds[at].1 >= speed)
                    || circle_m(&place, area, false) > 0.0
                    || place.by_discs(area, false, f64::INFINITY, None).clearance_m > 0.0
                {
                    continue;
                }
                match found {
                    Some(at) => speeds[at].1 = speed,
                    None => speeds.push((area.index, speed)),
                }
            }
        }
        Said { closed: self.zones.is_closed(), edges, privacy, speeds }
    }

    /// In the zone to be kept in that holds the robot best; `None` where that is further inside
    /// than `worst_m`.
    fn kept_in(&self, place: &mut Place<'_>, worst_m: f64) -> Option<Edge> {
        let mut best: Option<(f64, Edge)> = None;
        for area in self.zones.of(self.zones.keep_ins) {
            if circle_m(place, area, true) >= worst_m {
                return None;
            }
            let met = place.by_discs(area, true, f64::INFINITY, None);
            let edge = area.edge(Rule::ZoneKeepIn, &met);
            // As the gate chooses: the least that is outside, then the most that is inside.
            if best.is_none_or(|(depth_m, other)| {
                (met.depth_m, -edge.clearance_m) < (depth_m, -other.clearance_m)
            }) {
                best = Some((met.depth_m, edge));
            }
        }
        best.map(|(_, edge)| edge)
    }

    /// How far along the path the robot is looked at, as in [`Path::place`].
    fn looks(&self, path: &Path) -> impl Iterator<Item = f64> + use<> {
        let whole_s = path.whole_s();
        let (_, pace) = self.zones.body().paces(path.twist);
        let way_m = pace * whole_s;
        let looks = if way_m > ROUNDING_M {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates.
            let looks = (way_m / LOOK_M).ceil() as u32;
            looks.clamp(1, MOST_LOOKS)
        } else {
            0
        };
        (0..=looks).map(
            move |look| if look == 0 { 0.0 } else { whole_s * f64::from(look) / f64::from(looks) },
        )
    }

    /// The twist is held for the reaction time, and braked then.
    fn path(&self, seen: &Seen) -> Path {
        let mut twist = seen.twist;
        if !self.law.is_body_frame() {
            // How what flies turns leads nowhere.
            twist.angular = 0.0;
        }
        Path {
            brake_s: self.law.brake_seconds(twist),
            hold_s: self.reaction().as_secs_f64(),
            start: seen.pose,
            twist,
        }
    }

    fn reaction(&self) -> Duration {
        Duration::from_millis(u64::from(self.law.limits().reaction_ms))
    }

    fn moment(&self, seen: &Seen) -> Moment {
        let timed = |value| Timed { at: NOW, value };
        let measured = Measured {
            flying: seen.flying.map(timed),
            joints: None,
            moving: seen.twist,
            now: NOW,
            pose: Timed { at: NOW, value: seen.pose },
            reaction: self.reaction(),
        };
        let clock = seen.clock.map(|wall| Stamp { mono: NOW, trust: ClockTrust::Network, wall });
        let mut moment = measured.heights(&self.memory, &self.law);
        moment.week_ms = week_ms(clock, NOW);
        moment
    }

    /// All heights until it would be at rest.
    fn heights(&self, seen: &Seen, moment: &Moment) -> Moment {
        let mut climb = Axes::ZERO;
        climb.0[2] = seen.flying.map_or(0.0, |flying| flying.climb_mps);
        swept(moment, &self.law, [&climb, &climb], 0.0)
    }

    fn privacy(&mut self, seen: &Seen, moment: &Moment) -> Privacy {
        let Some(curtain) = &mut self.curtain else {
            return Privacy::OPEN;
        };
        // As in a gate: wherever it may be before the next tick.
        let until_s = MAX_TICK_GAP.as_secs_f64();
        let climbed_m = seen.flying.map_or(0.0, |flying| flying.climb_mps.abs()) * until_s;
        let unsure = Uncertainty { place_m: seen.twist.speed() * until_s, ..Uncertainty::NONE };
        curtain.at(Some((seen.pose, unsure)), &moment.swept(climbed_m, climbed_m))
    }
}

/// Clearance of the circle around everything.
fn circle_m(place: &Place<'_>, area: &Area, inside: bool) -> f64 {
    place.whole(area, inside, f64::INFINITY, None).clearance_m
}

fn note(edges: &mut Vec<Edge>, found: Option<usize>, edge: Edge) {
    match found {
        Some(at) if edge.clearance_m < edges[at].clearance_m => edges[at] = edge,
        Some(_) => {}
        None => edges.push(edge),
    }
}
