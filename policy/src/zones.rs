//! Where: the zones of a policy, and whether a path that ends in a standstill keeps to them.
//!
//! The robot is a few discs here ([`crate::footprint`]), and one circle around all of them that
//! no turn changes. A path is what one setpoint means to the end ([`crate::path`]). It is
//! walked in steps as long as the clearance at each point, so that open space costs one look
//! and only the neighbourhood of an edge costs many. Where the circle is clear, the discs need
//! not be looked at.
//!
//! # Beyond an edge
//! A zone may change, somebody may push the robot, the pose may jump. Beyond an edge that must
//! not be crossed, only a way back is good: one on which the *depth* never grows and of whose
//! length at least a twentieth comes off it. Depth is the sum over the discs of what each is
//! beyond the edge, and with several zones the worst zone counts. With a sum, a robot that lies along a wall can
//! still turn: one end goes out as the other comes in. So there is a way out of every place
//! beside a wall, and no turn goes deeper at one end than it comes out at the other.
//!
//! A base that can drive backward always gets out where it got in, by the same way. One that
//! cannot is judged by the circle alone ([`Body::circle`]).

use crate::footprint::{Body, MAX_DISCS};
use crate::index::{Rect, Tree, morton};
use crate::planar::Planar;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::policy::ZoneRule;

pub use crate::path::Path;
pub use crate::shape::Shape;

/// The shortest step of a walk, metres. Between two points that far apart a disc can come at
/// most half of it nearer to an edge than it is at either.
pub(crate) const STEP_M: f64 = 0.004;

/// Spans of an arc that leave their chords by no more than this are taken for straight, metres.
const SAGITTA_M: f64 = 0.001;

/// Added to what is judged: half a step and what an arc is off its chord, and what a base
/// covers while it changes from one setpoint to the next.
pub const SLACK_M: f64 = 0.005;

/// The part of a path's length that must come out as clearance when it leads back from beyond
/// an edge.
const GAIN: f64 = 0.05;

/// Deeper by less than this is rounding, metres.
const ROUNDING_M: f64 = 1e-9;

/// Over a zone's limit by less than this is rounding, m/s.
const SPEED_SLACK_MPS: f64 = 1e-6;

/// The most looks at one path. Only a measured speed far beyond what the policy allows makes a
/// path that needs more; it is then taken to break the rule of the nearest edge.
const MOST_LOOKS: u32 = 4096;

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

    /// What is `reach_m` away may be off by so much, metres. What is negative or no number is
    /// no bound: then nowhere is clear.
    fn at(&self, reach_m: f64) -> f64 {
        if self.place_m >= 0.0 { self.place_m + reach_m * self.swing() } else { f64::INFINITY }
    }

    /// The chord of the heading's error, for each metre of reach.
    fn swing(&self) -> f64 {
        if self.yaw_rad >= 0.0 {
            // Half a turn is the most.
            2.0 * (self.yaw_rad.min(std::f64::consts::PI) / 2.0).sin()
        } else {
            f64::INFINITY
        }
    }
}

/// Which edges were already crossed before a path begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// One bit for each zone that must be kept out of and is not.
    entered: u128,
    /// In none of the zones that must be kept in.
    left: bool,
    /// The worst of them.
    worst: Option<Edge>,
}

impl Standing {
    /// The edge that was crossed furthest; `None` where all is well.
    #[must_use]
    pub const fn worst(&self) -> Option<Edge> {
        self.worst
    }

    fn deepen(&mut self, edge: Edge) {
        if self.worst.is_none_or(|worst| edge.clearance_m < worst.clearance_m) {
            self.worst = Some(edge);
        }
    }
}

/// Zones that a path may reach at all.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    zones: u128,
    keep_in: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    KeepIn,
    KeepOut,
    Speed(f64),
}

#[derive(Clone, Debug)]
struct Area {
    bounds: Option<Rect>,
    index: u16,
    kind: Kind,
    shape: Shape,
}

/// The zones of a policy and the robot that is judged against them.
#[derive(Clone, Debug)]
pub struct ZoneMap {
    areas: Vec<Area>,
    body: Body,
    /// Which areas are of a kind: a bit for each.
    keep_ins: u128,
    keep_outs: u128,
    speeds: u128,
    /// Areas that are near everything.
    unbounded: u128,
    /// Over the bounds of the others, in an order of its own.
    order: Vec<u16>,
    tree: Tree,
}

/// How an area is met by the robot.
#[derive(Clone, Copy, Debug)]
struct Met {
    clearance_m: f64,
    /// Sum of what is beyond the edge.
    depth_m: f64,
}

/// A path, and what is judged on it.
#[derive(Clone, Copy, Debug)]
struct Walk<'a> {
    near: &'a Near,
    /// Of the fastest disc, m/s.
    pace: f64,
    path: &'a Path,
    standing: &'a Standing,
    unsure: &'a Uncertainty,
}

/// A pose at which areas are met, with its discs once they are asked for.
struct Place<'a> {
    /// So far from where the uncertainty is about, metres.
    along_m: f64,
    body: &'a Body,
    centers: Option<[Point; MAX_DISCS]>,
    pose: Pose,
    unsure: &'a Uncertainty,
}

/// What a look at one place of a path tells.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The worst edge of those that were crossed before, and its depth.
    crossed: Option<(Edge, f64)>,
    /// No edge is reached before the twist has been held so much longer, seconds.
    free_s: f64,
    /// The edge that says so.
    nearest: Option<Edge>,
}

impl ZoneMap {
    /// Takes what is judged, and at most 128 zones.
    pub(crate) fn new(body: Body, zones: Vec<(ZoneRule, Shape)>) -> Self {
        let areas: Vec<Area> = zones
            .into_iter()
            .zip(0_u16..128)
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
        Self {
            keep_ins: bits(&|area| matches!(area.kind, Kind::KeepIn)),
            keep_outs: bits(&|area| matches!(area.kind, Kind::KeepOut)),
            speeds: bits(&|area| matches!(area.kind, Kind::Speed(_))),
            unbounded: bits(&|area| area.bounds.is_none()),
            order: order.into_iter().map(|at| indices[at]).collect(),
            tree: Tree::new(&sorted),
            areas,
            body,
        }
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
        let mut place = self.place(pose, unsure);
        let reach_m = self.body.circle_m() + unsure.at(0.0);
        self.of(self.within(pose.point(), reach_m) & self.speeds)
            .filter_map(|area| match area.kind {
                Kind::Speed(limit) if !(place.met(area, false).clearance_m > 0.0) => {
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
        self.place(pose, unsure).by_discs(area, inside, f64::INFINITY).clearance_m
    }

    /// Which edges are already crossed at a pose.
    #[must_use]
    pub fn standing(&self, pose: Pose, unsure: &Uncertainty) -> Standing {
        let mut standing = Standing::default();
        let mut place = self.place(pose, unsure);
        let reach_m = self.body.circle_m() + unsure.at(0.0);
        for area in self.of(self.within(pose.point(), reach_m) & self.keep_outs) {
            let met = place.met(area, false);
            if !(met.clearance_m >= 0.0) {
                standing.entered |= 1 << area.index;
                standing.deepen(area.edge(Rule::ZoneKeepOut, &met));
            }
        }
        if let Some((area, met)) = self.keep_in(&mut place)
            && !(met.clearance_m >= 0.0)
        {
            standing.left = true;
            standing.deepen(area.edge(Rule::ZoneKeepIn, &met));
        }
        standing
    }

    /// What can be met when `base_link` moves no further than `reach_m` from `pose`, turning as
    /// it likes.
    #[must_use]
    pub fn near(&self, pose: Pose, reach_m: f64, unsure: &Uncertainty) -> Near {
        let at = pose.point();
        // The circle is reached before any disc of it.
        let reach_m = reach_m + self.body.circle_m() + unsure.at(reach_m) + ROUNDING_M;
        let far = |area: &Area| area.shape.signed_within(at, reach_m);
        let zones = self
            .of(self.within(at, reach_m) & !self.keep_ins)
            .filter(|area| !(far(area) > reach_m))
            .fold(0, |zones, area| zones | 1 << area.index);
        let kept = self.of(self.keep_ins).any(|area| -far(area) > reach_m);
        Near { zones, keep_in: self.keep_ins != 0 && !kept }
    }

    /// The first rule that a path breaks; `None` when it keeps them all. Zones that are not
    /// `near` are not looked at; an edge that `standing` has crossed may be crossed back.
    #[must_use]
    pub fn broken_by(
        &self,
        path: &Path,
        near: &Near,
        standing: &Standing,
        unsure: &Uncertainty,
    ) -> Option<Edge> {
        let leaving = standing.worst.is_some();
        if near.zones == 0 && !near.keep_in && !leaving {
            return None;
        }
        let (whole_s, pace) = (path.whole_s(), self.body.pace(path.twist));
        if pace * whole_s < ROUNDING_M {
            // On the spot, or around a disc's own centre: nothing goes anywhere.
            return None;
        }
        let walk = Walk { near, pace, path, standing, unsure };
        if leaving { self.way_back_broken_by(&walk) } else { self.walk_broken_by(&walk) }
    }

    /// From a place that is clear of all edges: in spans that are nearly straight.
    fn walk_broken_by(&self, walk: &Walk<'_>) -> Option<Edge> {
        let whole_s = walk.path.whole_s();
        let (mut held_s, mut last) = (0.0, None);
        for _ in 0..MOST_LOOKS {
            let until_s = self.span_end(walk, held_s);
            match self.span(walk, held_s, until_s) {
                Ok(seen) => {
                    held_s += seen.free_s;
                    last = seen.nearest.or(last);
                }
                Err(edge) => return Some(edge),
            }
            if held_s >= whole_s {
                return None;
            }
        }
        last
    }

    /// How far a span from `held_s` goes: until the arcs of the discs leave their chords by
    /// [`SAGITTA_M`], or a speed zone's limit is met, seconds.
    fn span_end(&self, walk: &Walk<'_>, held_s: f64) -> f64 {
        let Walk { path, pace, near, .. } = *walk;
        let straight_s = (8.0 * SAGITTA_M / (pace * path.twist.angular.abs())).sqrt();
        let mut until_s = (held_s + straight_s).min(path.whole_s());
        for area in self.of(near.zones & self.speeds) {
            if let Kind::Speed(limit) = area.kind {
                let slow_s = path.slow_s(limit);
                if slow_s > held_s && slow_s < until_s {
                    until_s = slow_s;
                }
            }
        }
        until_s
    }

    /// That no edge is met on a span; how much further none is, is told as well.
    fn span(&self, walk: &Walk<'_>, held_s: f64, until_s: f64) -> Result<Seen, Edge> {
        let Walk { near, pace, path, unsure, .. } = *walk;
        let span_s = until_s - held_s;
        // What is not known grows along the path, as if it came nearer.
        let (rest_s, speed) = (path.whole_s() - held_s, path.twist.speed());
        let closing = speed * (1.0 + unsure.swing());
        let mut place = self.place(path.place(held_s), unsure);
        let mut then = None;
        let mut seen = Seen { crossed: None, free_s: rest_s, nearest: None };
        // Whether an area is clear to the end of the span.
        let mut follow = |area: &Area, inside: bool, seen: &mut Seen, rule| {
            place.along_m = speed * held_s;
            let met = place.whole(area, inside, closing * rest_s);
            let whole_s = met.clearance_m / closing;
            if met.clearance_m >= 0.0 && !(whole_s < span_s) {
                if whole_s < seen.free_s {
                    (seen.free_s, seen.nearest) = (whole_s, Some(area.edge(rule, &met)));
                }
                return Ok(());
            }
            let then = *then.get_or_insert_with(|| self.body.centers(path.place(until_s)));
            place.along_m = speed * until_s;
            let met = place.swept(area, inside, &then, path.twist, span_s);
            if met.clearance_m >= 0.0 {
                (seen.free_s, seen.nearest) = (span_s, Some(area.edge(rule, &met)));
                return Ok(());
            }
            // Also where the clearance is no number.
            Err(area.edge(rule, &met))
        };
        for area in self.of(near.zones) {
            let rule = match area.kind {
                Kind::KeepIn => continue,
                Kind::KeepOut => Rule::ZoneKeepOut,
                // Slow enough from here to the end.
                Kind::Speed(limit) if path.speed(held_s) <= limit + SPEED_SLACK_MPS => continue,
                Kind::Speed(_) => Rule::ZoneSpeed,
            };
            follow(area, false, &mut seen, rule)?;
        }
        if near.keep_in {
            let mut held = Err(None);
            for area in self.of(self.keep_ins) {
                let mut alone = seen;
                match follow(area, true, &mut alone, Rule::ZoneKeepIn) {
                    Ok(()) => {
                        held = Ok(alone);
                        break;
                    }
                    Err(edge) => held = Err(Some(edge)),
                }
            }
            seen = match held {
                Ok(seen) => seen,
                Err(edge) if self.keep_ins.count_ones() > 1 => {
                    // None holds it all along; one after the other may. In steps, then.
                    let free_s = seen.free_s.min(STEP_M / pace);
                    for at_s in [held_s, held_s + free_s] {
                        let mut place = self.place(path.place(at_s), unsure);
                        place.along_m = speed * at_s;
                        if let Some((area, met)) = self.keep_in(&mut place)
                            && !(met.clearance_m >= 0.0)
                        {
                            return Err(area.edge(Rule::ZoneKeepIn, &met));
                        }
                    }
                    Seen { free_s, nearest: edge, ..seen }
                }
                Err(Some(edge)) => return Err(edge),
                Err(None) => seen,
            };
        }
        Ok(seen)
    }

    /// From beyond an edge: in steps, at each of which it must be no deeper.
    fn way_back_broken_by(&self, walk: &Walk<'_>) -> Option<Edge> {
        let (path, step_s) = (walk.path, STEP_M / walk.pace);
        let whole_s = path.whole_s();
        let (mut held_s, mut first, mut before, mut last) = (0.0, None, f64::INFINITY, None);
        for _ in 0..MOST_LOOKS {
            let seen = match self.look(walk, held_s) {
                Ok(seen) => seen,
                Err(edge) => return Some(edge),
            };
            if let Some((worst, depth_m)) = seen.crossed {
                // Once back inside, as far as the edge and no further.
                if depth_m > before + ROUNDING_M {
                    return Some(worst);
                }
                before = depth_m;
                let first = *first.get_or_insert(depth_m);
                let least = GAIN * path.length_m();
                if held_s >= whole_s && depth_m > 0.0 && depth_m > first - least + ROUNDING_M {
                    return Some(worst);
                }
                last = Some(worst);
            }
            if held_s >= whole_s {
                return None;
            }
            held_s = (held_s + step_s).min(whole_s);
        }
        last
    }

    /// At one place of a way back the worst of the edges that were crossed before; or another
    /// edge that is broken.
    fn look(&self, walk: &Walk<'_>, held_s: f64) -> Result<Seen, Edge> {
        let Walk { near, path, standing, unsure, .. } = *walk;
        let mut place = self.place(path.place(held_s), unsure);
        let mut seen = Seen { crossed: None, free_s: 0.0, nearest: None };
        let mut judge = |edge: Edge, met: &Met, was_crossed: bool| {
            if was_crossed {
                if seen.crossed.is_none_or(|(_, depth_m)| met.depth_m > depth_m) {
                    seen.crossed = Some((edge, met.depth_m));
                }
                Ok(())
            } else if edge.clearance_m >= 0.0 {
                Ok(())
            } else {
                // Also where the clearance is no number.
                Err(edge)
            }
        };
        for area in self.of(near.zones | standing.entered) {
            let rule = match area.kind {
                Kind::KeepIn => continue,
                Kind::KeepOut => Rule::ZoneKeepOut,
                Kind::Speed(limit) if path.speed(held_s) <= limit + SPEED_SLACK_MPS => continue,
                Kind::Speed(_) => Rule::ZoneSpeed,
            };
            let met = place.met(area, false);
            let was_crossed = rule == Rule::ZoneKeepOut && standing.entered >> area.index & 1 != 0;
            judge(area.edge(rule, &met), &met, was_crossed)?;
        }
        if (near.keep_in || standing.left)
            && let Some((area, met)) = self.keep_in(&mut place)
        {
            judge(area.edge(Rule::ZoneKeepIn, &met), &met, standing.left)?;
        }
        Ok(seen)
    }

    /// The zone to be kept in that holds the robot best; `None` where there is none. Outside
    /// all of them its depth is the least of any.
    fn keep_in(&self, place: &mut Place<'_>) -> Option<(&Area, Met)> {
        let mut best: Option<(&Area, Met)> = None;
        for area in self.of(self.keep_ins) {
            // A box that does not hold the middle holds no robot; any that does is better.
            let beside =
                area.bounds.is_some_and(|bounds| bounds.squared_distance(place.pose.point()) > 0.0);
            if beside && best.is_some_and(|(_, met)| met.clearance_m >= 0.0) {
                continue;
            }
            let met = place.met(area, true);
            if best.is_none_or(|(_, other)| {
                (met.depth_m, -met.clearance_m) < (other.depth_m, -other.clearance_m)
            }) {
                best = Some((area, met));
            }
        }
        best
    }

    fn place<'a>(&'a self, pose: Pose, unsure: &'a Uncertainty) -> Place<'a> {
        Place { along_m: 0.0, body: &self.body, centers: None, pose, unsure }
    }

    /// The areas whose bounds are within `distance_m`: a bit for each.
    fn within(&self, at: Point, distance_m: f64) -> u128 {
        let mut found = self.unbounded;
        let distance_m = distance_m + ROUNDING_M;
        let most = distance_m * distance_m;
        let _ = self.tree.nearest(at, most, u32::MAX, |range, _| {
            found = self.order[range].iter().fold(found, |found, area| found | 1 << area);
            most
        });
        // NaN is within nothing's reach by comparison, and must not be taken for far away.
        if at.is_finite() && !distance_m.is_nan() { found } else { u128::MAX }
    }

    /// The areas of a set of bits.
    fn of(&self, mut bits: u128) -> impl Iterator<Item = &Area> {
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

impl Area {
    const fn edge(&self, rule: Rule, met: &Met) -> Edge {
        Edge { clearance_m: met.clearance_m, rule, zone: self.index }
    }

    /// Of a disc from the edge; exact where it is less than `enough`.
    fn clearance_m(&self, inside: bool, at: Point, radius_m: f64, enough: f64) -> f64 {
        let sign = if inside { -1.0 } else { 1.0 };
        let distance_m = sign * self.shape.signed_within(at, radius_m + enough);
        if distance_m < 0.0 {
            // How deep it is must be exact: the way back is measured by it.
            return sign * self.shape.signed_within(at, f64::INFINITY) - radius_m;
        }
        distance_m - radius_m
    }
}

impl Place<'_> {
    /// Clearance from an area, at most.
    fn met(&mut self, area: &Area, inside: bool) -> Met {
        let met = self.whole(area, inside, 0.0);
        if met.clearance_m >= 0.0 || self.body.is_circle() {
            return met;
        }
        self.by_discs(area, inside, 0.0)
    }

    /// Clearance of the circle around everything, exact where it is less than `enough`.
    fn whole(&self, area: &Area, inside: bool, enough: f64) -> Met {
        let circle_m = self.body.circle_m() + self.unsure.at(self.along_m);
        let clearance_m = area.clearance_m(inside, self.pose.point(), circle_m, enough);
        Met { clearance_m, depth_m: (-clearance_m).max(0.0) }
    }

    /// Clearance of the discs, exact where it is less than `enough`.
    fn by_discs(&mut self, area: &Area, inside: bool, enough: f64) -> Met {
        let mut met = Met { clearance_m: enough, depth_m: 0.0 };
        for (disc, center) in self.body.discs().iter().zip(self.centers()) {
            let radius_m = disc.radius_m + self.unsure.at(self.along_m + disc.arm_m());
            // More than the least so far need not be measured.
            let enough = met.clearance_m.max(0.0);
            let clearance_m = area.clearance_m(inside, center, radius_m, enough);
            met.depth_m += (-clearance_m).max(0.0);
            met.lower(clearance_m);
        }
        met
    }

    /// Clearance of the discs on their way to where they are `then`, at most; negative where
    /// one meets the edge.
    fn swept(
        &mut self,
        area: &Area,
        inside: bool,
        then: &[Point; MAX_DISCS],
        twist: Planar,
        span_s: f64,
    ) -> Met {
        let mut met = Met { clearance_m: f64::INFINITY, depth_m: 0.0 };
        for ((disc, from), to) in self.body.discs().iter().zip(self.centers()).zip(then) {
            let radius_m = disc.radius_m + self.unsure.at(self.along_m + disc.arm_m());
            let way_m = disc.pace(twist) * span_s;
            let clearance_m = area.clearance_m(inside, from, radius_m, way_m);
            // Where the way is longer than that, it is followed; it ends no deeper than at the
            // edge, or is not clear.
            if clearance_m >= 0.0 && !(clearance_m >= way_m) {
                let clear = area.shape.is_clear_between([from, *to], radius_m, inside);
                met.lower(if clear { 0.0 } else { -f64::MIN_POSITIVE });
            } else {
                met.lower(clearance_m);
            }
            if !(met.clearance_m >= 0.0) {
                break;
            }
        }
        met
    }

    fn centers(&mut self) -> [Point; MAX_DISCS] {
        let Self { body, pose, .. } = *self;
        *self.centers.get_or_insert_with(|| body.centers(pose))
    }
}

impl Met {
    /// Not `min`, which drops what is no number.
    fn lower(&mut self, clearance_m: f64) {
        if !(clearance_m >= self.clearance_m) {
            self.clearance_m = clearance_m;
        }
    }
}
