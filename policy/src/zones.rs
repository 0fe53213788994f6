//! Where: the zones of a policy, and whether a path that ends in a standstill keeps to them.
//!
//! The robot is a disc here. A path is what one setpoint means to the end: the twist held for
//! a while, then braked to rest with its curvature kept, which is a single arc of a circle. It
//! is walked in steps as long as the clearance at each point, so that open space costs one
//! look and only the neighbourhood of an edge costs many.
//!
//! Beyond an edge that must not be crossed (a zone changed, somebody pushed the robot, the
//! pose jumped), a path is good when it never goes deeper on its way and ends in a place with
//! more clearance.

use crate::field::Field;
use crate::planar::{Planar, advance};
use crate::polygon::Polygon;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::policy::{Footprint, ZoneRule};
use std::sync::Arc;

/// The shortest step of a walk, metres. Between two points that far apart a disc can come at
/// most half of it nearer to an edge than it is at either.
const STEP_M: f64 = 0.004;

/// Added to the disc: half a step, and what a base covers while it changes from one setpoint
/// to the next.
pub const SLACK_M: f64 = 0.005;

/// The part of a path's length that must come out as clearance when it leads back from beyond
/// an edge.
const GAIN: f64 = 0.05;

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

/// The path of a setpoint that is held and then braked.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Braking takes so long, seconds.
    pub brake_s: f64,
    /// Before it the twist is held so long, seconds.
    pub hold_s: f64,
    /// Where it begins.
    pub start: Pose,
    /// What is held.
    pub twist: Planar,
}

impl Path {
    /// Metres from the start to the standstill.
    #[must_use]
    pub fn length_m(&self) -> f64 {
        self.twist.speed() * (self.hold_s + self.brake_s / 2.0)
    }

    /// The place after `along_m` metres.
    fn place(&self, along_m: f64) -> Point {
        // Only the arc counts, not how fast it is driven.
        advance(self.start, self.twist, along_m / self.twist.speed()).point()
    }

    /// The speed after `along_m` metres, m/s.
    fn speed(&self, along_m: f64) -> f64 {
        let speed = self.twist.speed();
        let braked = along_m - speed * self.hold_s;
        if braked <= 0.0 {
            return speed;
        }
        let decel = speed / self.brake_s;
        (speed * speed - 2.0 * decel * braked).max(0.0).sqrt()
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

/// Where a zone is.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Drawn as cells. Shared: a gate has a map of its own, and a field may be large.
    Field(Arc<Field>),
    Polygon(Polygon),
}

impl Shape {
    /// Distance to the edge, metres, never too much; negative inside.
    pub(crate) fn signed_distance(&self, at: Point) -> f64 {
        match self {
            Self::Field(field) => field.signed_distance(at),
            Self::Polygon(polygon) => polygon.signed_distance(at),
        }
    }

    /// Surely further away than `distance`, told cheaply. To ask a field is cheap as it is.
    fn is_beyond(&self, at: Point, distance: f64) -> bool {
        matches!(self, Self::Polygon(polygon) if polygon.is_beyond(at, distance))
    }
}

#[derive(Clone, Debug)]
struct Area {
    index: u16,
    kind: Kind,
    shape: Shape,
}

/// The zones of a policy and the disc that is judged against them.
#[derive(Clone, Debug)]
pub struct ZoneMap {
    areas: Vec<Area>,
    radius_m: f64,
}

impl ZoneMap {
    /// Takes the outline and the zones of a document that was checked.
    pub(crate) fn new(footprint: &Footprint, zones: Vec<(ZoneRule, Shape)>) -> Self {
        let areas = zones.into_iter().zip(0_u16..).map(|((rule, shape), index)| {
            let kind = match rule {
                ZoneRule::KeepIn => Kind::KeepIn,
                ZoneRule::KeepOut => Kind::KeepOut,
                ZoneRule::Speed { max_linear_mps } => Kind::Speed(max_linear_mps),
            };
            Area { index, kind, shape }
        });
        let outline = footprint.outline.iter().map(|corner| corner.x.hypot(corner.y));
        let radius_m = outline.fold(0.0, f64::max) + footprint.margin_m + SLACK_M;
        Self { areas: areas.collect(), radius_m }
    }

    /// Radius of the disc: outline, margin and [`SLACK_M`].
    #[must_use]
    pub const fn radius_m(&self) -> f64 {
        self.radius_m
    }

    /// The tightest limit of the speed zones that the disc at `at` touches, m/s.
    #[must_use]
    pub fn speed_limit(&self, at: Point) -> Option<(f64, u16)> {
        self.areas
            .iter()
            .filter_map(|area| match area.kind {
                Kind::Speed(limit) if self.outside(area, at) <= 0.0 => Some((limit, area.index)),
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

    /// Clearance at `at` from the edge that `rule` and `zone` name.
    #[must_use]
    pub fn clearance_m(&self, rule: Rule, zone: u16, at: Point) -> f64 {
        let Some(area) = self.areas.get(usize::from(zone)) else {
            return f64::NEG_INFINITY;
        };
        if rule == Rule::ZoneKeepIn { self.inside(area, at) } else { self.outside(area, at) }
    }

    /// Which edges are already crossed at `at`.
    #[must_use]
    pub fn standing(&self, at: Point) -> Standing {
        let mut standing = Standing::default();
        for area in &self.areas {
            if matches!(area.kind, Kind::KeepOut) && !area.shape.is_beyond(at, self.radius_m) {
                let clearance_m = self.outside(area, at);
                if clearance_m < 0.0 {
                    standing.entered |= 1 << area.index;
                    standing.deepen(Edge {
                        clearance_m,
                        rule: Rule::ZoneKeepOut,
                        zone: area.index,
                    });
                }
            }
        }
        if let Some(edge) = self.keep_in(at)
            && edge.clearance_m < 0.0
        {
            standing.left = true;
            standing.deepen(edge);
        }
        standing
    }

    /// What can be met within `reach_m` of `at`.
    #[must_use]
    pub fn near(&self, at: Point, reach_m: f64) -> Near {
        let zones = self
            .areas
            .iter()
            .filter(|area| !matches!(area.kind, Kind::KeepIn))
            .filter(|area| !area.shape.is_beyond(at, reach_m + self.radius_m))
            .filter(|area| self.outside(area, at) <= reach_m)
            .fold(0, |zones, area| zones | 1 << area.index);
        Near { zones, keep_in: self.keep_in(at).is_some_and(|edge| edge.clearance_m <= reach_m) }
    }

    /// The first rule that a path breaks; `None` when it keeps them all. Zones that are not
    /// `near` are not looked at; an edge that `standing` has crossed may be crossed back.
    #[must_use]
    pub fn broken_by(&self, path: &Path, near: &Near, standing: &Standing) -> Option<Edge> {
        let leaving = standing.worst.is_some();
        if near.zones == 0 && !near.keep_in && !leaving {
            return None;
        }
        let length = path.length_m();
        if length < 1e-9 {
            // On the spot a disc goes nowhere.
            return None;
        }
        let (mut along, mut first, mut before, mut last) = (0.0, None, f64::NEG_INFINITY, None);
        for _ in 0..MOST_LOOKS {
            let (nearest, worst) = match self.look(path, along, near, standing) {
                Ok(seen) => seen,
                Err(edge) => return Some(edge),
            };
            if let Some(worst) = worst {
                // Once back inside, as far as the edge and no further.
                if worst.clearance_m < before.min(0.0) - 1e-9 {
                    return Some(worst);
                }
                before = worst.clearance_m;
                let first = *first.get_or_insert(before);
                if along >= length && before < 0.0 && before < first + GAIN * length {
                    return Some(worst);
                }
            }
            if along >= length {
                return None;
            }
            last = nearest.or(worst);
            let clear = nearest.map_or(length, |edge| edge.clearance_m);
            let step = if leaving { STEP_M } else { clear.max(STEP_M) };
            along = (along + step).min(length);
        }
        last
    }

    /// At one point of a path the nearest edge of those that hold there, and the worst of those
    /// that were crossed before; or the edge that is broken.
    fn look(
        &self,
        path: &Path,
        along: f64,
        near: &Near,
        standing: &Standing,
    ) -> Result<(Option<Edge>, Option<Edge>), Edge> {
        let at = path.place(along);
        let mut nearest: Option<Edge> = None;
        let mut crossed: Option<Edge> = None;
        let mut judge = |edge: Edge, was_crossed: bool| {
            if was_crossed {
                if crossed.is_none_or(|worst| edge.clearance_m < worst.clearance_m) {
                    crossed = Some(edge);
                }
                Ok(())
            } else if edge.clearance_m >= 0.0 {
                if nearest.is_none_or(|other| edge.clearance_m < other.clearance_m) {
                    nearest = Some(edge);
                }
                Ok(())
            } else {
                // Also where the clearance is no number.
                Err(edge)
            }
        };
        let mut rest = near.zones | standing.entered;
        while rest != 0 {
            let bit = rest & rest.wrapping_neg();
            rest ^= bit;
            // At most 128 zones: a bit's place is an index.
            let Some(area) = self.areas.get(bit.trailing_zeros() as usize) else {
                break;
            };
            let clearance_m = self.outside(area, at);
            let edge = |rule| Edge { clearance_m, rule, zone: area.index };
            match area.kind {
                Kind::KeepIn => {}
                Kind::KeepOut => judge(edge(Rule::ZoneKeepOut), standing.entered & bit != 0)?,
                Kind::Speed(limit) if path.speed(along) > limit + SPEED_SLACK_MPS => {
                    judge(edge(Rule::ZoneSpeed), false)?;
                }
                // Slow enough from here to the end.
                Kind::Speed(_) => {}
            }
        }
        if (near.keep_in || standing.left)
            && let Some(edge) = self.keep_in(at)
        {
            judge(edge, standing.left)?;
        }
        Ok((nearest, crossed))
    }

    /// The zone to be kept in that holds the disc best; `None` where there is none.
    fn keep_in(&self, at: Point) -> Option<Edge> {
        self.areas
            .iter()
            .filter(|area| matches!(area.kind, Kind::KeepIn))
            .map(|area| Edge {
                clearance_m: self.inside(area, at),
                rule: Rule::ZoneKeepIn,
                zone: area.index,
            })
            .max_by(|a, b| a.clearance_m.total_cmp(&b.clearance_m))
    }

    fn outside(&self, area: &Area, at: Point) -> f64 {
        area.shape.signed_distance(at) - self.radius_m
    }

    fn inside(&self, area: &Area, at: Point) -> f64 {
        -area.shape.signed_distance(at) - self.radius_m
    }
}

impl Standing {
    fn deepen(&mut self, edge: Edge) {
        if self.worst.is_none_or(|worst| edge.clearance_m < worst.clearance_m) {
            self.worst = Some(edge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_slows_from_its_twist_to_nothing_over_its_length() {
        let path = Path {
            brake_s: 2.0,
            hold_s: 0.5,
            start: Pose::default(),
            twist: Planar::new(-1.0, 0.0, 0.0),
        };
        assert!((path.length_m() - 1.5).abs() < 1e-12);
        assert!((path.speed(0.5) - 1.0).abs() < 1e-12);
        assert!((path.speed(1.25) - 0.5).abs() < 1e-12);
        assert!(path.speed(1.5) < 1e-6);
        assert!((path.place(1.5).x + 1.5).abs() < 1e-12);
    }
}
