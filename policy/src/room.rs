//! Whether a policy leaves the robot any place at all.
//!
//! An exclusion that swallows its inclusion is a slip of a digit, and without this check would
//! be noticed as a robot that never moves.
//!
//! # How
//! The ground is searched best first: of all squares still open the one is cut in four whose
//! middle has the most clearance for its size. How much clearance any place in a square can
//! have is known from its middle, so that whole squares fall away at once, and where there is
//! room it is mostly found at the first looks. At each place a few headings are tried.
//!
//! # What it is not
//! A place that is found is one: the robot stands clear there. That none is found is no proof:
//! it may be narrower than [`FINEST_M`] more than the robot, or need a heading between those
//! that were tried, or the search may have come to [`MOST_LOOKS`]. Nothing a robot could use is
//! lost by that.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::index::Rect;
use crate::place::Place;
use crate::zones::{Uncertainty, Unsure, ZoneMap};
use nooterra_protocol::geometry::Pose;
use std::collections::BinaryHeap;
use std::f64::consts::{SQRT_2, TAU};

/// Squares are not cut smaller than this, metres.
pub const FINEST_M: f64 = 0.02;

/// The most places and headings that are looked at.
pub const MOST_LOOKS: u32 = 40_000;

/// Headings that are tried, all around.
const HEADINGS: u32 = 16;

/// Squares along the longer side of the ground at the beginning.
const MOST_ACROSS: f64 = 64.0;

/// A part of the ground, at one heading.
#[derive(Clone, Copy, Debug)]
struct Square {
    /// No place in it has more, metres.
    at_most_m: f64,
    half_m: f64,
    middle: Pose,
}

impl ZoneMap {
    /// A pose at which the robot keeps every rule about where it may be; `None` where none was
    /// found. Takes a fraction of a second at most; for the load of a policy, not for a tick.
    #[must_use]
    pub fn find_room(&self) -> Option<Pose> {
        let Some(grounds) = self.grounds() else {
            // Nothing holds it: beyond all zones there is room.
            let far = self.tree.bounds().most;
            let at = |side: f64| if side.is_finite() { side + 2.0 * self.radius_m() } else { 0.0 };
            return Some(Pose { x: at(far.x), y: at(far.y), yaw: 0.0 });
        };
        let unsure = Uncertainty::NONE.unsure();
        let headings = if self.body.is_circle() { 1 } else { HEADINGS };
        let mut open = BinaryHeap::new();
        let mut looks = 0;
        for ground in grounds {
            let (width, height) = (ground.width(), ground.height());
            let side = width.min(height).max(width.max(height) / MOST_ACROSS);
            if !(side > 0.0) {
                continue;
            }
            let half_m = side / 2.0;
            let mut y = ground.least.y + half_m;
            while y < ground.most.y + half_m {
                let mut x = ground.least.x + half_m;
                while x < ground.most.x + half_m {
                    for heading in 0..headings {
                        let yaw = TAU * f64::from(heading) / f64::from(headings);
                        let square = self.square(Pose { x, y, yaw }, half_m, &unsure);
                        looks += 1;
                        if square.is_room() {
                            return Some(square.middle);
                        }
                        open.push(square);
                    }
                    x += side;
                }
                y += side;
            }
        }
        while let Some(square) = open.pop() {
            // Best first: the others have no more.
            if !(square.at_most_m >= 0.0) || looks >= MOST_LOOKS {
                return None;
            }
            let half_m = square.half_m / 2.0;
            if 2.0 * half_m < FINEST_M {
                continue;
            }
            for (x, y) in [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)] {
                let Pose { x: from_x, y: from_y, yaw } = square.middle;
                let middle = Pose { x: from_x + x * half_m, y: from_y + y * half_m, yaw };
                let part = self.square(middle, half_m, &unsure);
                looks += 1;
                if part.is_room() {
                    return Some(part.middle);
                }
                open.push(part);
            }
        }
        None
    }

    /// As [`ZoneMap::find_room`], without the place.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.find_room().is_some()
    }

    /// Where the robot must be; `None` where it may be anywhere.
    fn grounds(&self) -> Option<Vec<Rect>> {
        let extents = |bits| self.of(bits).map(|area| area.shape.extent()).collect::<Vec<_>>();
        if self.keep_ins != 0 {
            return Some(extents(self.keep_ins));
        }
        // Beyond a grid all is forbidden: the first holds all that there is.
        let fields = extents(self.keep_outs & self.unbounded);
        fields.first().map(|first| vec![*first])
    }

    fn square(&self, middle: Pose, half_m: f64, unsure: &Unsure) -> Square {
        let mut place = Place::new(&self.body, middle, unsure);
        let inside = self.of(self.keep_ins).map(|area| place.met(area, true, None).clearance_m);
        let mut clearance_m = inside.reduce(f64::max).unwrap_or(0.0);
        let reach = self.within(middle.point(), self.radius_m());
        for area in self.of(reach & self.keep_outs) {
            clearance_m = clearance_m.min(place.met(area, false, None).clearance_m);
        }
        // A distance changes by no more than the way.
        let at_most_m =
            if clearance_m >= 0.0 { f64::INFINITY } else { clearance_m + SQRT_2 * half_m };
        Square { at_most_m, half_m, middle }
    }
}

impl Square {
    fn is_room(&self) -> bool {
        self.at_most_m.is_infinite()
    }
}

impl Ord for Square {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_most_m.total_cmp(&other.at_most_m)
    }
}

impl PartialOrd for Square {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Square {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Square {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::Body;
    use crate::shape::Shape;
    use crate::zones::SLACK_M;
    use nooterra_protocol::geometry::Point;
    use nooterra_protocol::policy::{Footprint, ZoneRule};

    fn rectangle(from: (f64, f64), to: (f64, f64)) -> Vec<Point> {
        [from, (to.0, from.1), to, (from.0, to.1)].map(|(x, y)| Point::new(x, y)).to_vec()
    }

    fn map(zones: Vec<(ZoneRule, Shape)>) -> ZoneMap {
        // 1.2 by 0.4 m.
        let outline = rectangle((-0.6, -0.2), (0.6, 0.2));
        ZoneMap::new(Body::covering(&Footprint { margin_m: 0.05, outline }, SLACK_M), zones)
    }

    fn shape(from: (f64, f64), to: (f64, f64)) -> Shape {
        Shape::polygon(&rectangle(from, to), &[]).unwrap()
    }

    fn ring(outer: f64, inner: f64) -> Shape {
        let square = |half: f64| rectangle((-half, -half), (half, half));
        Shape::polygon(&square(outer), &[square(inner)]).unwrap()
    }

    #[test]
    fn an_exclusion_that_swallows_its_inclusion_leaves_no_room() {
        let room = (ZoneRule::KeepIn, shape((0.0, 0.0), (12.0, 8.0)));
        let swallowing = (ZoneRule::KeepOut, shape((-1.0, -1.0), (13.0, 9.0)));
        assert!(!map(vec![room.clone(), swallowing]).has_room());
        // All but a strip along one wall, too narrow and then wide enough for the long robot.
        for (strip, has_room) in [(0.5, false), (0.9, true)] {
            let most = (ZoneRule::KeepOut, shape((-1.0, strip), (13.0, 9.0)));
            let found = map(vec![room.clone(), most]).find_room();
            assert_eq!(found.is_some(), has_room, "{strip} m: {found:?}");
        }
        let disc = Shape::circle(Point::new(6.0, 4.0), 7.3).unwrap();
        assert!(!map(vec![room, (ZoneRule::KeepOut, disc)]).has_room());
    }

    #[test]
    fn a_room_that_is_smaller_than_the_robot_has_none() {
        for (half, has_room) in [(0.3, false), (0.9, true)] {
            let circle = Shape::circle(Point::new(3.0, -2.0), half).unwrap();
            assert_eq!(map(vec![(ZoneRule::KeepIn, circle)]).has_room(), has_room, "{half}");
        }
        // What is around a hole counts, not what is in it.
        for (inner, has_room) in [(3.9, false), (3.0, true)] {
            assert_eq!(map(vec![(ZoneRule::KeepIn, ring(4.0, inner))]).has_room(), has_room);
        }
    }

    #[test]
    fn without_anything_to_be_kept_in_there_is_room_beyond_all_zones() {
        assert!(map(Vec::new()).has_room());
        let out = map(vec![(ZoneRule::KeepOut, shape((-50.0, -50.0), (50.0, 50.0)))]);
        let place = out.find_room().unwrap();
        assert!(out.standing(place, &Uncertainty::NONE).worst().is_none(), "{place:?}");
    }

    #[test]
    fn where_room_is_found_the_robot_stands_clear() {
        let map = map(vec![
            (ZoneRule::KeepIn, ring(6.0, 4.2)),
            (ZoneRule::KeepOut, shape((-7.0, -7.0), (4.0, 7.0))),
        ]);
        let place = map.find_room().unwrap();
        assert!(map.standing(place, &Uncertainty::NONE).worst().is_none() && place.x > 4.0);
    }
}
