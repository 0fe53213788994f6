//! Whether a path that ends in a standstill keeps to the zones.
//!
//! It is walked in spans. While the circle around the robot is clear, a span is as long as its
//! clearance, so that open space costs one look. Close to an edge a span is as long as it is
//! nearly straight, and the discs that could come to the edge on it are swept along it.
//!
//! # Beyond an edge
//! A zone may change, somebody may push the robot, the pose may jump. Beyond an edge that must
//! not be crossed, only a way back is good: one on which the *depth* never grows and of whose
//! length at least a twentieth comes off it, or less where that is enough to be out within a
//! few of its own lengths. Depth is the sum over the discs of what each is
//! beyond the edge, and with several zones the worst zone counts; of one that is merely grazed,
//! the depth must not grow, so that no way back leads through it. With a sum, a robot that lies
//! along a wall can still turn: one end goes out as the other comes in. So there is a way out
//! of every place beside a wall, and no turn goes deeper at one end than it comes out at the
//! other.
//!
//! Near a corner of a zone to be kept out of, the discs at one end may be nearest to one side
//! and those at the other end to another: whichever way it went, one end would go deeper. So
//! where the middle of the discs lies within such a zone by more than the pose may be wrong, they
//! count as if all of them were there, where that is deeper than their sum; along a straight edge
//! it never is. The robot may turn there as it likes, and the middle must come out. The middle
//! is within the outline, so the robot is truly beyond the edge then; of one that is only
//! believed to touch it, each end counts.
//!
//! A robot that is long beside the zones may still stand where each short way takes one end
//! deeper than it brings the other out: partly beyond a corner, mostly. There it stands until
//! it is pushed.
//!
//! A base that can drive backward mostly gets out where it got in, by the same way. One that
//! cannot is judged by the circle alone ([`Body::circle`](crate::footprint::Body::circle)).
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::footprint::MAX_DISCS;
use crate::path::Path;
use crate::place::{Area, Kind, Met, Place};
use crate::planar::{Heading, advance_heading};
use crate::zones::{Edge, Near, ROUNDING_M, Standing, Uncertainty, Unsure, ZoneMap};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose};

/// The shortest step of a walk, metres. Between two points that far apart a disc can come at
/// most half of it nearer to an edge than it is at either.
pub(crate) const STEP_M: f64 = 0.004;

/// Spans of an arc that leave their chords by no more than this are taken for straight, metres.
const SAGITTA_M: f64 = 0.001;

/// The part of a path's length that must come out as clearance when it leads back from beyond
/// an edge.
const GAIN: f64 = 0.05;

/// Less is enough where the robot is out, at that rate, within so many of its radii: what lies
/// along an edge and is hardly beyond it gets away at a small angle, in about its own length.
const LENGTHS: f64 = 10.0;

/// Over a zone's limit by less than this is rounding, m/s.
const SPEED_SLACK_MPS: f64 = 1e-6;

/// The most looks at one path. Only a measured speed far beyond what the policy allows makes a
/// path that needs more; it is then taken to break the rule of the nearest edge.
const MOST_LOOKS: u32 = 4096;

/// A path, and what is judged on it.
#[derive(Clone, Copy, Debug)]
struct Walk<'a> {
    /// At the start.
    heading: Heading,
    near: &'a Near,
    /// Of the fastest disc, m/s.
    pace: f64,
    /// Of each.
    paces: [f64; MAX_DISCS],
    path: &'a Path,
    /// Of `base_link`, m/s.
    speed: f64,
    standing: &'a Standing,
    unsure: &'a Unsure,
}

/// An edge that a path breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    pub(crate) edge: Edge,
    /// For about so long the twist can be held before, seconds: a guess, where there is one.
    pub(crate) free_s: Option<f64>,
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

impl Walk<'_> {
    /// Where the robot is on the path, as in [`Path::place`], and which way it looks.
    fn place(&self, held_s: f64) -> (Pose, Heading) {
        if held_s > 0.0 {
            advance_heading(self.path.start, self.heading, self.path.twist, held_s)
        } else {
            (self.path.start, self.heading)
        }
    }
}

/// A part of a path that is nearly straight.
struct Span<'a> {
    held_s: f64,
    map: &'a ZoneMap,
    place: Place<'a>,
    /// To the end of the path, seconds.
    rest_s: f64,
    /// Where the discs are at its end, once that is asked for.
    then: Option<[Point; MAX_DISCS]>,
    until_s: f64,
    walk: &'a Walk<'a>,
}

impl<'a> Span<'a> {
    fn new(map: &'a ZoneMap, walk: &'a Walk<'a>, held_s: f64, until_s: f64) -> Self {
        let Walk { path, speed, unsure, .. } = *walk;
        let (pose, heading) = walk.place(held_s);
        let place = Place::new(&map.body, pose, unsure).after(speed * held_s).heading(heading);
        let rest_s = path.whole_s() - held_s;
        Self { held_s, map, place, rest_s, then: None, until_s, walk }
    }

    /// That an area is clear to the end of the span; true where it is to the end of the path.
    fn follow(&mut self, area: &Area, rule: Rule, seen: &mut Seen) -> Result<bool, Broken> {
        let Walk { near, path, speed, unsure, .. } = *self.walk;
        let inside = rule == Rule::ZoneKeepIn;
        let known = if self.held_s > 0.0 { None } else { near.known(area.index, path.start) };
        let span_s = self.until_s - self.held_s;
        // What is not known grows along the path, as if the edge came nearer.
        let closing = speed * (1.0 + unsure.swing);
        let met = self.place.whole(area, inside, closing * self.rest_s, known);
        let free_s = met.clearance_m / closing;
        if met.clearance_m >= 0.0 && !(free_s < span_s) {
            if free_s < seen.free_s {
                (seen.free_s, seen.nearest) = (free_s, Some(area.edge(rule, &met)));
                return Ok(false);
            }
            return Ok(!(free_s < self.rest_s));
        }
        let Self { map, until_s, walk, .. } = *self;
        let then = *self.then.get_or_insert_with(|| {
            let (pose, heading) = walk.place(until_s);
            map.body.centers(pose.point(), heading)
        });
        let (met, free) =
            self.place.swept(area, inside, &then, (&walk.paces, span_s, speed * span_s), known);
        if met.clearance_m >= 0.0 {
            (seen.free_s, seen.nearest) = (seen.free_s.min(span_s), Some(area.edge(rule, &met)));
            return Ok(!(span_s < self.rest_s));
        }
        // Also where the clearance is no number. The limit of a speed zone may come to hold on
        // the way: where the zone is met says little.
        let free_s = (rule != Rule::ZoneSpeed).then_some(self.held_s + free * span_s);
        Err(Broken { edge: area.edge(rule, &met), free_s })
    }
}

impl ZoneMap {
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
        self.broken_after(path, near, standing, unsure).map(|broken| broken.edge)
    }

    /// As [`ZoneMap::broken_by`], and about where on the path.
    pub(crate) fn broken_after(
        &self,
        path: &Path,
        near: &Near,
        standing: &Standing,
        unsure: &Uncertainty,
    ) -> Option<Broken> {
        let leaving = standing.worst.is_some();
        if near.zones == 0 && !near.keep_in && !leaving {
            return None;
        }
        let (whole_s, (paces, pace)) = (path.whole_s(), self.body.paces(path.twist));
        if pace * whole_s < ROUNDING_M {
            // On the spot, or around a disc's own centre: nothing goes anywhere.
            return None;
        }
        let (speed, unsure) = (path.twist.speed(), &unsure.unsure());
        let heading = near.heading(path.start);
        let walk = Walk { heading, near, pace, paces, path, speed, standing, unsure };
        if leaving {
            // What is deeper on the way may be less deep at its end: there is nothing to guess.
            self.way_back_broken_by(&walk).map(|edge| Broken { edge, free_s: None })
        } else {
            self.walk_broken_by(&walk)
        }
    }

    /// From a place that is clear of all edges: in spans that are nearly straight.
    fn walk_broken_by(&self, walk: &Walk<'_>) -> Option<Broken> {
        let whole_s = walk.path.whole_s();
        let (mut held_s, mut last, mut zones) = (0.0, None, walk.near.zones);
        for _ in 0..MOST_LOOKS {
            let mut span = Span::new(self, walk, held_s, self.span_end(walk, held_s));
            match self.span(&mut span, &mut zones) {
                Ok(seen) => {
                    held_s += seen.free_s;
                    last = seen.nearest.or(last);
                }
                Err(broken) => return Some(broken),
            }
            if held_s >= whole_s {
                return None;
            }
        }
        last.map(|edge| Broken { edge, free_s: None })
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

    /// That no edge is met on a span; how much further none is, is told as well. Zones that are
    /// not met to the end of the path are taken out of `zones`.
    fn span(&self, span: &mut Span<'_>, zones: &mut u128) -> Result<Seen, Broken> {
        let mut seen = Seen { crossed: None, free_s: span.rest_s, nearest: None };
        for area in self.of(*zones) {
            let rule = match area.kind {
                Kind::KeepIn => continue,
                Kind::KeepOut => Rule::ZoneKeepOut,
                Kind::Speed(limit) => {
                    if span.walk.path.speed(span.held_s) <= limit + SPEED_SLACK_MPS {
                        // Slow enough from here to the end.
                        *zones &= !(1 << area.index);
                        continue;
                    }
                    Rule::ZoneSpeed
                }
            };
            if span.follow(area, rule, &mut seen)? {
                *zones &= !(1 << area.index);
            }
        }
        if !span.walk.near.keep_in {
            return Ok(seen);
        }
        let mut broken = None;
        for area in self.of(self.keep_ins) {
            let mut alone = seen;
            match span.follow(area, Rule::ZoneKeepIn, &mut alone) {
                Ok(_) => return Ok(alone),
                Err(first) => broken = Some(first),
            }
        }
        match broken {
            // None holds it all along; one after the other may.
            Some(broken) if self.keep_ins.count_ones() > 1 => self
                .step(span, seen, broken.edge)
                .map_err(|edge| Broken { edge, free_s: Some(span.held_s) }),
            Some(broken) => Err(broken),
            None => Ok(seen),
        }
    }

    /// One short step, at both ends of which some zone to be kept in holds the robot.
    fn step(&self, span: &Span<'_>, seen: Seen, nearest: Edge) -> Result<Seen, Edge> {
        let Walk { pace, path, speed, unsure, .. } = *span.walk;
        let free_s = seen.free_s.min(STEP_M / pace);
        for at_s in [span.held_s, span.held_s + free_s] {
            let place = Place::new(&self.body, path.place(at_s), unsure);
            let mut place = place.after(speed * at_s);
            if let Some((area, met)) = self.keep_in(&mut place, None)
                && !(met.clearance_m >= 0.0)
            {
                return Err(area.edge(Rule::ZoneKeepIn, &met));
            }
        }
        Ok(Seen { free_s, nearest: Some(nearest), ..seen })
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
                let rate = GAIN.min(first / (LENGTHS * self.body.circle_m()));
                let least = rate * path.length_m();
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
        let mut place = Place::new(&self.body, path.place(held_s), unsure);
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
            let (met, bit) = (place.met(area, false, None), 1 << area.index);
            let was_crossed = rule == Rule::ZoneKeepOut && standing.entered & bit != 0;
            if was_crossed && standing.grazed & bit != 0 {
                let at_first = Place::new(&self.body, path.start, unsure).met(area, false, None);
                no_deeper(area.edge(rule, &met), &met, &at_first)?;
            }
            judge(area.edge(rule, &met), &met, was_crossed)?;
        }
        if (near.keep_in || standing.left)
            && let Some((area, met)) = self.keep_in(&mut place, None)
        {
            let edge = area.edge(Rule::ZoneKeepIn, &met);
            if standing.left_grazed
                && let Some((_, at_first)) =
                    self.keep_in(&mut Place::new(&self.body, path.start, unsure), None)
            {
                no_deeper(edge, &met, &at_first)?;
            }
            judge(edge, &met, standing.left)?;
        }
        Ok(seen)
    }
}

fn no_deeper(edge: Edge, met: &Met, at_first: &Met) -> Result<(), Edge> {
    // Also where a depth is no number.
    if met.depth_m <= at_first.depth_m + ROUNDING_M { Ok(()) } else { Err(edge) }
}

#[cfg(test)]
mod escapes;
#[cfg(test)]
mod tests;
