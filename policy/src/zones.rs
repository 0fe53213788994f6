//! Where: the zones of a policy, and where the robot stands among them.
//!
//! The robot is a few discs here ([`crate::footprint`]), and one circle around all of them that
//! no turn changes. Where the circle is clear, the discs need not be looked at. A path is what
//! one setpoint means to the end, an arc; [`ZoneMap::broken_by`] says which rule it breaks.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::clear::Clear;
use crate::document::MAX_ZONES;
use crate::footprint::Body;
use crate::index::{Rect, Tree, morton};
use crate::place::{Area, Kind, Met, Place};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::policy::ZoneRule;

pub use crate::near::Near;
pub use crate::path::Path;
pub use crate::shape::Shape;

/// Added to what is judged: half a step and what an arc is off its chord, and what a base
/// covers while it changes from one setpoint to the next.
pub const SLACK_M: f64 = 0.005;

/// Deeper by less than this is rounding, metres.
pub(crate) const ROUNDING_M: f64 = 1e-9;

/// A rule about a zone, and the clearance from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Metres; negative beyond the edge.
    pub clearance_m: f64,
    /// Keep-in, keep-out or speed.
    pub rule: Rule,
    /// Index of the zone: those of the document first, then those of its masks.
    pub zone: u16,
}

/// What is not known of a pose: all of it is added to what is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Uncertainty {
    /// Of the place, metres.
    pub place_m: f64,
    /// Of the heading, radians: it swings the discs around `base_link`, and the whole path
    /// around its start.
    pub yaw_rad: f64,
}

impl Uncertainty {
    /// The pose is good to within the footprint's margin, to the end of every path.
    pub const NONE: Self = Self { place_m: 0.0, yaw_rad: 0.0 };

    pub(crate) fn unsure(&self) -> Unsure {
        if !(self.place_m >= 0.0 && self.yaw_rad >= 0.0) {
            return Unsure { place_m: f64::INFINITY, swing: 0.0 };
        }
        if self.yaw_rad > 0.0 {
            // Half a turn is the most.
            let swing = 2.0 * (self.yaw_rad.min(std::f64::consts::PI) / 2.0).sin();
            return Unsure { place_m: self.place_m, swing };
        }
        Unsure { place_m: self.place_m, swing: 0.0 }
    }
}

/// An uncertainty as it is added. What was negative or no number is no bound: then nowhere is
/// clear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsure {
    place_m: f64,
    /// The chord of the heading's error, for each metre of reach.
    pub(crate) swing: f64,
}

impl Unsure {
    /// What is `reach_m` away may be off by so much, metres.
    pub(crate) fn at(&self, reach_m: f64) -> f64 {
        self.place_m + reach_m * self.swing
    }
}

/// Which edges were already crossed before a path begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// One bit for each zone that must be kept out of and is not.
    pub(crate) entered: u128,
    /// Those of them that are only grazed, by what is added to the outline, while another edge
    /// is crossed by the outline itself.
    pub(crate) grazed: u128,
    /// In none of the zones that must be kept in.
    pub(crate) left: bool,
    /// It only grazes their edge, in the same way.
    pub(crate) left_grazed: bool,
    /// The worst of them.
    pub(crate) worst: Option<Edge>,
}

impl Standing {
    /// The edge that was crossed furthest; `None` where all is well.
    #[must_use]
    pub const fn worst(&self) -> Option<Edge> {
        self.worst
    }

    pub(crate) fn deepen(&mut self, edge: Edge) {
        if self.worst.is_none_or(|worst| edge.clearance_m < worst.clearance_m) {
            self.worst = Some(edge);
        }
    }
}

/// The zones of a policy and the robot that is judged against them.
#[derive(Clone, Debug)]
pub struct ZoneMap {
    areas: Vec<Area>,
    pub(crate) body: Body,
    /// What was last found to be open, see [`ZoneMap::look_around`].
    pub(crate) clear: Clear,
    /// Which areas are of a kind: a bit for each.
    /// Only those that are in force, see [`ZoneMap::select`].
    pub(crate) keep_ins: u128,
    pub(crate) keep_outs: u128,
    pub(crate) speeds: u128,
    /// The three, of all areas.
    all: [u128; 3],
    /// Areas that are near everything.
    pub(crate) unbounded: u128,
    /// Over the bounds of the others, in an order of its own.
    order: Vec<u16>,
    pub(crate) tree: Tree,
}

impl ZoneMap {
    /// Takes what is judged, and at most [`MAX_ZONES`] zones.
    pub(crate) fn new(body: Body, zones: Vec<(ZoneRule, Shape)>) -> Self {
        // A zone that is left out would be a rule that is left out.
        assert!(zones.len() <= MAX_ZONES, "a document has at most {MAX_ZONES} zones");
        let areas: Vec<Area> = zones
            .into_iter()
            .zip(0_u16..)
            .map(|((rule, shape), index)| {
                let kind = match rule {
                    ZoneRule::KeepIn => Kind::KeepIn,
                    ZoneRule::KeepOut => Kind::KeepOut,
                    ZoneRule::Speed { max_linear_mps } => Kind::Speed(max_linear_mps),
                };
                Area { bounds: shape.bounds(), index, kind, shape }
            })
            .collect();
        let bits = |is: &dyn Fn(&Area) -> bool| {
            areas.iter().filter(|area| is(area)).fold(0, |bits, area| bits | 1 << area.index)
        };
        let (indices, boxes): (Vec<u16>, Vec<Rect>) =
            areas.iter().filter_map(|area| Some((area.index, area.bounds?))).unzip();
        let order = morton(&boxes);
        let sorted: Vec<Rect> = order.iter().map(|at| boxes[*at]).collect();
        let keep_ins = bits(&|area| matches!(area.kind, Kind::KeepIn));
        let keep_outs = bits(&|area| matches!(area.kind, Kind::KeepOut));
        let speeds = bits(&|area| matches!(area.kind, Kind::Speed(_)));
        Self {
            keep_ins,
            keep_outs,
            speeds,
            all: [keep_ins, keep_outs, speeds],
            unbounded: bits(&|area| area.bounds.is_none()),
            order: order.into_iter().map(|at| indices[at]).collect(),
            tree: Tree::new(&sorted),
            areas,
            body,
            clear: Clear::UNKNOWN,
        }
    }

    /// Only these zones count from here on: a bit for each.
    pub(crate) const fn select(&mut self, in_force: u128) {
        [self.keep_ins, self.keep_outs, self.speeds] =
            [self.all[0] & in_force, self.all[1] & in_force, self.all[2] & in_force];
    }

    /// The zones that count: to be kept in, to be kept out of, with a speed.
    pub(crate) const fn in_force(&self) -> [u128; 3] {
        [self.keep_ins, self.keep_outs, self.speeds]
    }

    /// There is something to be kept in, and none of it counts.
    pub(crate) const fn is_closed(&self) -> bool {
        self.keep_ins == 0 && self.all[0] != 0
    }

    /// The first of the zones to be kept in, whether they count or not.
    pub(crate) fn first_keep_in(&self) -> Option<u16> {
        self.of(self.all[0]).next().map(|area| area.index)
    }

    /// What is judged.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Radius of the circle that contains outline, margin and [`SLACK_M`] at any heading.
    #[must_use]
    pub const fn radius_m(&self) -> f64 {
        self.body.circle_m()
    }

    /// The tightest limit of the speed zones that the robot touches, m/s.
    #[must_use]
    pub fn speed_limit(&self, pose: Pose, unsure: &Uncertainty) -> Option<(f64, u16)> {
        if self.speeds == 0 {
            return None;
        }
        let unsure = &unsure.unsure();
        let mut place = Place::new(&self.body, pose, unsure);
        let reach_m = self.body.circle_m() + unsure.at(self.body.arm_m());
        if self.is_open(pose.point(), reach_m) {
            return None;
        }
        self.of(self.within(pose.point(), reach_m) & self.speeds)
            .filter_map(|area| match area.kind {
                Kind::Speed(limit) if !(place.met(area, false, None).clearance_m > 0.0) => {
                    Some((limit, area.index))
                }
                _ => None,
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The limit of a speed zone, m/s; 0 for any other.
    #[must_use]
    pub fn speed_limit_of(&self, zone: u16) -> f64 {
        match self.areas.get(usize::from(zone)).map(|area| area.kind) {
            Some(Kind::Speed(limit)) => limit,
            _ => 0.0,
        }
    }

    /// Clearance at a pose from the edge that `rule` and `zone` name.
    #[must_use]
    pub fn clearance_m(&self, rule: Rule, zone: u16, pose: Pose, unsure: &Uncertainty) -> f64 {
        let Some(area) = self.areas.get(usize::from(zone)) else {
            return f64::NEG_INFINITY;
        };
        let inside = rule == Rule::ZoneKeepIn;
        let unsure = unsure.unsure();
        Place::new(&self.body, pose, &unsure)
            .by_discs(area, inside, f64::INFINITY, None)
            .clearance_m
    }

    /// The zone to be kept in that holds the robot best; `None` where there is none. Outside
    /// all of them its depth is the least of any.
    pub(crate) fn keep_in(
        &self,
        place: &mut Place<'_>,
        near: Option<&Near>,
    ) -> Option<(&Area, Met)> {
        let mut best: Option<(&Area, Met)> = None;
        for area in self.of(self.keep_ins) {
            // A box that does not hold the middle holds no robot; any that does is better.
            let beside =
                area.bounds.is_some_and(|bounds| bounds.squared_distance(place.point()) > 0.0);
            if beside && best.is_some_and(|(_, met)| met.clearance_m >= 0.0) {
                continue;
            }
            let met = place.met(area, true, near.and_then(|near| near.of(area.index)));
            if best.is_none_or(|(_, other)| {
                (met.depth_m, -met.clearance_m) < (other.depth_m, -other.clearance_m)
            }) {
                best = Some((area, met));
            }
        }
        best
    }

    /// The areas whose bounds are within `distance_m`: a bit for each.
    pub(crate) fn within(&self, at: Point, distance_m: f64) -> u128 {
        let mut found = self.unbounded;
        let distance_m = distance_m + ROUNDING_M;
        let most = distance_m * distance_m;
        let _ = self.tree.nearest(at, most, u32::MAX, |range, _| {
            // At most 128 areas: a bit for each.
            found = match self.order.get(range) {
                Some(areas) => areas.iter().fold(found, |found, area| found | 1 << area),
                None => u128::MAX,
            };
            most
        });
        // NaN is within nothing's reach by comparison, and must not be taken for far away.
        if at.is_finite() && !distance_m.is_nan() { found } else { u128::MAX }
    }

    /// The areas of a set of bits.
    pub(crate) fn of(&self, mut bits: u128) -> impl Iterator<Item = &Area> {
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            // At most 128 areas: a bit's place is an index.
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            self.areas.get(index)
        })
    }
}
