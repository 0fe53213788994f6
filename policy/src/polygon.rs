//! Polygons, with holes: the signed distance to the edge, found by an index.
//!
//! Two things make a query cheap. A coarse grid over the polygon holds the distance at the
//! middle of each of its cells: a place is never nearer to the edge than its cell's middle
//! less the way there, so that far from the edge one look at the grid is all. Close to it the
//! grid names a side that is near, and a tree of boxes over the sides (`index.rs`) finds the
//! nearest. Inside or outside is then told by that side, exactly: sides keep apart by more
//! than rounding ([`LEAST_GAP_M`](crate::simple::LEAST_GAP_M)).
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::coarse::Coarse;
use crate::index::{Rect, Tree};
use crate::simple::{area, check, check_holes, sides};
use nooterra_protocol::geometry::Point;
use std::ops::{ControlFlow, Range};

pub use crate::simple::{Fault, LEAST_AREA_M2, ShapeFault, concave_corner};

/// The most nodes of the tree that a query of the gate sees. Outlines that people or programs
/// draw need some tens.
const PATIENCE: u32 = 4096;

/// Thirds by which the nearest place on a way is closed in on: a thousandth of it remains.
const THIRDS: u32 = 17;

/// What a distance from the grid is less than the rounding could make it, metres.
pub(crate) const ROUNDING_M: f64 = 1e-9;

/// A polygon whose sides do not cross, in either order of corners, with or without holes.
#[derive(Clone, Debug)]
pub struct Polygon {
    coarse: Coarse,
    corners: Vec<Point>,
    /// Where each ring of `sides` begins, and where the last one ends.
    rings: Vec<usize>,
    /// The edge counter-clockwise, holes clockwise: the inside is to the left of each.
    sides: Vec<Side>,
    tree: Tree,
}

impl Polygon {
    /// Checks a list of corners and builds the index. Takes time that grows little faster than
    /// their number; only sides that are long and side by side cost more.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub fn new(corners: &[Point]) -> Result<Self, Fault> {
        check(corners)?;
        Ok(Self::build(corners, &[]))
    }

    /// As [`Polygon::new`], without what lies in one of the `holes`.
    ///
    /// # Errors
    /// The first [`ShapeFault`].
    pub fn with_holes(corners: &[Point], holes: &[Vec<Point>]) -> Result<Self, ShapeFault> {
        check(corners).map_err(ShapeFault::Edge)?;
        for (index, hole) in holes.iter().enumerate() {
            check(hole).map_err(|fault| ShapeFault::Hole(index, fault))?;
        }
        check_holes(corners, holes)?;
        Ok(Self::build(corners, holes))
    }

    fn build(corners: &[Point], holes: &[Vec<Point>]) -> Self {
        let mut all = Vec::new();
        let mut rings = vec![0];
        for (ring, turn) in
            std::iter::once((corners, 1.0)).chain(holes.iter().map(|hole| (&hole[..], -1.0)))
        {
            if area(ring) * turn > 0.0 {
                all.extend(sides(ring).map(Side::new));
            } else {
                let turned: Vec<Point> = ring.iter().rev().copied().collect();
                all.extend(sides(&turned).map(Side::new));
            }
            rings.push(all.len());
        }
        let boxes: Vec<Rect> =
            all.iter().map(|side| Rect::around([side.from, side.to()])).collect();
        let mut polygon = Self {
            coarse: Coarse::default(),
            corners: corners.to_vec(),
            rings,
            sides: all,
            tree: Tree::new(&boxes),
        };
        polygon.coarse = Coarse::new(&polygon);
        polygon
    }

    /// The corners of the outer edge, in the order in which they were given.
    #[must_use]
    pub fn corners(&self) -> &[Point] {
        &self.corners
    }

    /// Distance to the edge, metres; negative inside. NaN for a place that is none.
    #[must_use]
    pub fn signed_distance(&self, at: Point) -> f64 {
        if !at.is_finite() {
            return f64::NAN;
        }
        let (cell, _) = self.coarse.cell(at);
        self.nearest(at, cell.side as usize, u32::MAX)
            .map_or(f64::NAN, |found| self.signed(at, found))
    }

    /// As [`Polygon::signed_distance`] where that is less than `enough` either way. Beyond it,
    /// a number of the same sign that is at least `enough` and at most the distance: mostly
    /// for the price of one look at a grid.
    ///
    /// Never takes long. Where it would, among thousands of sides at nearly one distance, the
    /// answer is 0: at the edge.
    #[must_use]
    pub fn signed_within(&self, at: Point, enough: f64) -> f64 {
        let beyond = self.tree.bounds().squared_distance(at);
        if beyond > 0.0 && beyond >= enough * enough {
            return beyond.sqrt();
        }
        if !at.is_finite() {
            return f64::NAN;
        }
        let (cell, apart) = self.coarse.cell(at);
        let surely = cell.signed.abs() - apart - ROUNDING_M;
        if surely > 0.0 && surely >= enough {
            return surely.copysign(cell.signed);
        }
        let few = self.coarse.few(&cell, apart).and_then(|few| self.nearest_of(at, few));
        few.or_else(|| self.nearest(at, cell.side as usize, PATIENCE))
            .map_or(0.0, |found| self.signed(at, found))
    }

    /// No side comes nearer than a distance to the straight way between two places; from the
    /// one to the other the distance grows from the first to the second. Never takes long: where
    /// thousands of sides are close by, the answer is no.
    #[must_use]
    pub fn is_clear_between(&self, way: [Point; 2], distances: [f64; 2]) -> bool {
        self.met_between(way, distances).is_none()
    }

    /// As [`Polygon::is_clear_between`]: `None` where it is clear, or else about the part of the
    /// way to where a side comes too near; a guess, by the first such side that was found.
    pub(crate) fn met_between(&self, [from, to]: [Point; 2], distances: [f64; 2]) -> Option<f64> {
        let [first, last] = distances;
        if !(from.is_finite() && to.is_finite() && first.is_finite() && last >= first) {
            return Some(0.0);
        }
        let around = Rect::around([from, to]).grown(last);
        let (squared, mut patience) = (last * last, PATIENCE);
        self.tree.meeting(&around, 0, |range| {
            patience = patience.saturating_sub(1);
            let meets = |side: &&Side| {
                // Mostly the larger distance decides, and mostly there is only one.
                side.meets([from, to], squared)
                    && (last <= first || side.meets_cone([from, to], distances))
            };
            let Some(sides) = self.sides.get(range).filter(|_| patience > 0) else {
                return ControlFlow::Break(0.0);
            };
            match sides.iter().find(meets) {
                Some(side) => ControlFlow::Break(side.met_after([from, to], distances)),
                None => ControlFlow::Continue(()),
            }
        })
    }

    /// The polygon is surely further away than `distance`, told by its bounding box alone.
    #[must_use]
    pub fn is_beyond(&self, point: Point, distance: f64) -> bool {
        self.tree.bounds().squared_distance(point) > distance * distance
    }

    pub(crate) fn bounds(&self) -> Rect {
        self.tree.bounds()
    }

    pub(crate) fn count(&self) -> usize {
        self.sides.len()
    }

    /// A few sides, in the order of all, that contain all within a distance; `None` where that
    /// takes more than `most`.
    pub(crate) fn few_within(&self, at: Point, distance: f64, most: usize) -> Option<Range<usize>> {
        let mut few: Option<Range<usize>> = None;
        let around = Rect::around([at]).grown(distance);
        let too_many = self.tree.meeting(&around, 0, |range| {
            let from = range.start;
            for (side, index) in self.sides.get(range).into_iter().flatten().zip(from..) {
                if side.found(at, index).squared <= distance * distance {
                    let before = few.clone().unwrap_or(index..index);
                    let wider = before.start.min(index)..before.end.max(index + 1);
                    if wider.len() > most {
                        return ControlFlow::Break(());
                    }
                    few = Some(wider);
                }
            }
            ControlFlow::Continue(())
        });
        few.filter(|_| too_many.is_none())
    }

    /// The nearest of some sides to a place.
    fn nearest_of(&self, at: Point, range: Range<usize>) -> Option<Found> {
        let from = range.start;
        let sides = self.sides.get(range)?.iter().zip(from..);
        let found = sides.map(|(side, index)| side.found(at, index));
        found.reduce(|least, other| if other.squared < least.squared { other } else { least })
    }

    /// The side nearest to a place, begun with one that is near.
    pub(crate) fn nearest(&self, at: Point, begin: usize, patience: u32) -> Option<Found> {
        let mut found = self.sides.get(begin)?.found(at, begin);
        self.tree.nearest(at, found.squared, patience, |range, _| {
            let from = range.start;
            for (side, index) in self.sides.get(range).into_iter().flatten().zip(from..) {
                let other = side.found(at, index);
                if other.squared < found.squared {
                    found = other;
                }
            }
            found.squared
        })?;
        Some(found)
    }

    /// The distance that was found, negative on the left of the edge there. A side that were
    /// missing would be at the place itself: at the edge.
    pub(crate) fn signed(&self, at: Point, found: Found) -> f64 {
        let Found { along, index, squared } = found;
        let Some(side) = self.sides.get(index) else {
            return 0.0;
        };
        let beside = if along <= 0.0 {
            self.sides.get(self.before(index))
        } else if along >= 1.0 {
            self.sides.get(self.after(index))
        } else {
            None
        };
        let outward = match beside {
            Some(beside) => side.normal().plus(beside.normal()),
            None => Way { x: side.way.y, y: -side.way.x },
        };
        let corner = if along >= 1.0 { side.to() } else { side.from };
        let out = (at.x - corner.x) * outward.x + (at.y - corner.y) * outward.y;
        if out < 0.0 { -squared.sqrt() } else { squared.sqrt() }
    }

    fn before(&self, index: usize) -> usize {
        let ring = self.ring(index);
        (if index == ring.start { ring.end } else { index }).saturating_sub(1)
    }

    fn after(&self, index: usize) -> usize {
        let ring = self.ring(index);
        if index + 1 == ring.end { ring.start } else { index + 1 }
    }

    fn ring(&self, index: usize) -> Range<usize> {
        let after = self.rings.partition_point(|begin| *begin <= index);
        let begin = after.checked_sub(1).and_then(|before| self.rings.get(before));
        let end = self.rings.get(after);
        begin.copied().unwrap_or_default()..end.copied().unwrap_or_default()
    }
}

/// A direction with a length.
#[derive(Clone, Copy, Debug)]
struct Way {
    x: f64,
    y: f64,
}

impl Way {
    fn plus(self, other: Self) -> Self {
        Self { x: self.x + other.x, y: self.y + other.y }
    }
}

#[derive(Clone, Copy, Debug)]
struct Side {
    from: Point,
    /// One over the squared length.
    inverse: f64,
    /// From there to the end.
    way: Way,
}

/// The nearest place on a side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// From 0, its beginning, to 1.
    along: f64,
    pub(crate) index: usize,
    squared: f64,
}

impl Side {
    fn new([from, to]: [Point; 2]) -> Self {
        let way = Way { x: to.x - from.x, y: to.y - from.y };
        Self { from, inverse: 1.0 / (way.x * way.x + way.y * way.y), way }
    }

    fn to(&self) -> Point {
        Point::new(self.from.x + self.way.x, self.from.y + self.way.y)
    }

    fn found(&self, at: Point, index: usize) -> Found {
        let (px, py) = (at.x - self.from.x, at.y - self.from.y);
        let along = ((px * self.way.x + py * self.way.y) * self.inverse).clamp(0.0, 1.0);
        let (dx, dy) = (px - along * self.way.x, py - along * self.way.y);
        Found { along, index, squared: dx * dx + dy * dy }
    }

    /// Comes nearer to a straight way than the square root of `squared`.
    fn meets(&self, [from, to]: [Point; 2], squared: f64) -> bool {
        let near = |at| self.found(at, 0).squared < squared;
        if near(from) || near(to) {
            return true;
        }
        let way = Way { x: to.x - from.x, y: to.y - from.y };
        let long = way.x * way.x + way.y * way.y;
        if !(long > 0.0) {
            return false;
        }
        let ends = [self.from, self.to()].map(|end| (end.x - from.x, end.y - from.y));
        let corner = |(x, y): (f64, f64)| {
            let along = ((x * way.x + y * way.y) / long).clamp(0.0, 1.0);
            let (dx, dy) = (x - along * way.x, y - along * way.y);
            dx * dx + dy * dy < squared
        };
        // Or it crosses it, far from all four ends.
        let left = |(x, y): (f64, f64)| way.x * y - way.y * x > 0.0;
        let from_side =
            |at: Point| self.way.x * (at.y - self.from.y) - self.way.y * (at.x - self.from.x) > 0.0;
        corner(ends[0])
            || corner(ends[1])
            || (left(ends[0]) != left(ends[1]) && from_side(from) != from_side(to))
    }

    /// After about which part of a straight way it comes nearer than the distance that grows
    /// along it: as if it had no ends.
    fn met_after(&self, [from, to]: [Point; 2], [first, last]: [f64; 2]) -> f64 {
        let scale = self.inverse.sqrt();
        let beside = |at: Point| {
            let (px, py) = (at.x - self.from.x, at.y - self.from.y);
            (self.way.x * py - self.way.y * px) * scale
        };
        let (begins, ends) = (beside(from), beside(to));
        // On the side where it begins.
        let left = begins.abs() - first;
        left / (left - (ends * begins.signum() - last))
    }

    /// Comes nearer to a straight way than the distance that grows along it.
    fn meets_cone(&self, way: [Point; 2], distances: [f64; 2]) -> bool {
        self.meets(way, distances[0] * distances[0])
            || least_over(way, distances, |at| self.found(at, 0).squared.sqrt()) < 0.0
    }

    /// To the right of it, of length 1.
    fn normal(&self) -> Way {
        let scale = self.inverse.sqrt();
        Way { x: self.way.y * scale, y: -self.way.x * scale }
    }
}

/// The least by which `from_edge` exceeds a distance that grows along a straight way. The
/// distance from what is convex is convex along a way: thirds are halved in on the least.
pub(crate) fn least_over(
    [from, to]: [Point; 2],
    [first, last]: [f64; 2],
    from_edge: impl Fn(Point) -> f64,
) -> f64 {
    let left = |part: f64| {
        let at = Point::new(from.x + part * (to.x - from.x), from.y + part * (to.y - from.y));
        from_edge(at) - first - part * (last - first)
    };
    let (mut low, mut high) = (0.0, 1.0);
    let mut least = left(0.0).min(left(1.0));
    for _ in 0..THIRDS {
        let (one, other) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        let (at_one, at_other) = (left(one), left(other));
        least = least.min(at_one).min(at_other);
        if at_one < at_other {
            high = other;
        } else {
            low = one;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simple::crosses_ray;
    use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};
    use std::f64::consts::TAU;
    use std::time::Instant;

    fn points(corners: &[(f64, f64)]) -> Vec<Point> {
        corners.iter().map(|(x, y)| Point::new(*x, *y)).collect()
    }

    /// By all sides, inside by the crossings of a ray.
    fn scan(rings: &[Vec<Point>], at: Point) -> f64 {
        let (mut nearest, mut inside) = (f64::INFINITY, false);
        for [from, to] in rings.iter().flat_map(|ring| sides(ring)) {
            let (ex, ey) = (to.x - from.x, to.y - from.y);
            let (px, py) = (at.x - from.x, at.y - from.y);
            let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
            nearest = nearest.min((px - along * ex).hypot(py - along * ey));
            inside ^= crosses_ray([from, to], at);
        }
        if inside { -nearest } else { nearest }
    }

    /// Around a place, near and far by turns.
    fn star(corners: &[f64], x: f64, y: f64, scale: f64) -> Vec<Point> {
        let step = TAU / f64::from(u32::try_from(corners.len()).unwrap());
        let corner = |(index, radius): (u32, &f64)| {
            let turn = step * f64::from(index);
            Point::new(x + scale * radius * turn.cos(), y + scale * radius * turn.sin())
        };
        (0..).zip(corners).map(corner).collect()
    }

    /// A star with up to two holes, in either order of corners.
    fn shapes() -> impl Strategy<Value = (Vec<Point>, Vec<Vec<Point>>)> {
        let radii = |count| prop::collection::vec(0.3..1.0, count);
        (radii(3..120), prop::collection::vec(radii(3..9), 0..3), any::<bool>()).prop_map(
            |(edge, holes, turned)| {
                let mut edge = star(&edge, 1.0, -2.0, 10.0);
                if turned {
                    edge.reverse();
                }
                let place = |(hole, x): (&Vec<f64>, f64)| star(hole, x, -2.0, 0.4);
                (edge, holes.iter().zip([0.5, 1.5]).map(place).collect())
            },
        )
    }

    #[test]
    fn distance_is_negative_inside_and_measured_to_the_nearest_edge_or_corner() {
        // An L, so that a concave corner is tried as well.
        let shape = [(0.0, 0.0), (4.0, 0.0), (4.0, 1.0), (1.0, 1.0), (1.0, 4.0), (0.0, 4.0)];
        let mut corners = points(&shape);
        for _ in 0..2 {
            let polygon = Polygon::new(&corners).unwrap();
            for (x, y, expected) in [
                (0.5, 3.0, -0.5),
                (2.0, 3.0, 1.0),
                (3.0, 0.25, -0.25),
                (-3.0, -4.0, 5.0),
                (1.5, 1.5, 0.5),
                (4.0, 0.5, 0.0),
            ] {
                let found = polygon.signed_distance(Point::new(x, y));
                assert!((found - expected).abs() < 1e-12, "({x}, {y}): {found}");
            }
            corners.reverse();
        }
    }

    proptest! {
        #[test]
        fn the_index_says_what_all_sides_say(
            (edge, holes) in shapes(), x in -14.0..16.0, y in -17.0..13.0, enough in 0.0..5.0
        ) {
            let Ok(polygon) = Polygon::with_holes(&edge, &holes) else {
                return Ok(());
            };
            let mut rings = vec![edge];
            rings.extend(holes);
            // Anywhere, and where cases are decided: at corners and a hair beside them.
            let corners = rings.iter().flatten().map(|p| Point::new(p.x + 1e-4 * x, p.y + 1e-4 * y));
            for at in corners.chain([Point::new(x, y)]).collect::<Vec<_>>() {
                let expected = scan(&rings, at);
                let found = polygon.signed_distance(at);
                prop_assert!((found - expected).abs() < 1e-9, "{at:?}: {found}, is {expected}");
                let within = polygon.signed_within(at, enough);
                if expected.abs() < enough {
                    prop_assert!((within - expected).abs() < 1e-9, "{at:?}: {within}, is {expected}");
                } else {
                    let same = within.is_sign_negative() == expected.is_sign_negative();
                    prop_assert!(same && within.abs() <= expected.abs() + 1e-9, "{at:?}: {within}");
                    prop_assert!(within.abs() >= enough - 1e-9, "{at:?}: {within}, {enough}");
                }
            }
        }

        #[test]
        fn no_number_makes_it_panic(x in any::<f64>(), y in any::<f64>(), enough in any::<f64>()) {
            let polygon = Polygon::new(&points(&[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])).unwrap();
            let at = Point::new(x, y);
            let (whole, within) = (polygon.signed_distance(at), polygon.signed_within(at, enough));
            prop_assert!(at.is_finite() || (whole.is_nan() && !(within < 0.0)));
        }
    }

    #[test]
    fn among_thousands_of_sides_at_one_distance_a_query_gives_up_and_says_so() {
        // A pillar that somebody drew with a corner for each 20 micrometres.
        let polygon = Polygon::new(&star(&vec![0.3; 100_000], 0.0, 0.0, 1.0)).unwrap();
        let middle = Point::new(1e-7, 0.0);
        assert!((polygon.signed_distance(middle) + 0.3).abs() < 1e-6);
        let within = polygon.signed_within(middle, 0.5);
        assert!(within == 0.0 || (within + 0.3).abs() < 1e-6, "{within}");
        let beside = [Point::new(0.6, -0.1), Point::new(0.6, 0.1)];
        assert!(!polygon.is_clear_between(beside, [0.301; 2]));
        assert!(polygon.is_clear_between(beside, [0.29; 2]));
    }

    #[test]
    fn a_hundred_thousand_corners_load_within_a_second_and_a_query_stays_short() {
        let radii: Vec<f64> = (0..100_000).map(|i| 50.0 + f64::from(i % 7) * 0.01).collect();
        let begun = Instant::now();
        let polygon = Polygon::new(&star(&radii, 0.0, 0.0, 1.0)).unwrap();
        // Not optimised it takes a few times as long.
        let most_s = if cfg!(debug_assertions) { 20.0 } else { 1.0 };
        assert!(begun.elapsed().as_secs_f64() < most_s, "{:?}", begun.elapsed());
        let at = Point::new(49.0, 3.0);
        let mut visits = 0;
        let squared = polygon.tree.nearest(at, f64::INFINITY, u32::MAX, |range, least| {
            visits += 1;
            let sides = polygon.sides[range].iter();
            sides.map(|side| side.found(at, 0).squared).fold(least, f64::min)
        });
        assert!(visits < 40, "{visits} leaves");
        let told = polygon.signed_within(at, 5.0);
        assert!((told + squared.unwrap().sqrt()).abs() < 1e-9, "{told}");
    }
}
