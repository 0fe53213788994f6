//! Whether corners make an outline: enough of them, an area, and sides that keep apart.
//!
//! Sides that come closer than [`LEAST_GAP_M`] count as meeting. That is less than any
//! surveyor can draw, and enough that which side of the nearest side a place is on is never a
//! matter of rounding. The pairs that may meet are found by an index over the sides: its time
//! grows hardly faster than their number where sides are short against the whole.

use crate::index::{Rect, Tree};
use nooterra_protocol::geometry::Point;
use std::ops::ControlFlow;

/// The smallest area that counts as one, m²: a square centimetre.
pub const LEAST_AREA_M2: f64 = 1e-4;

/// Sides that do not share a corner are further apart than this, metres.
pub const LEAST_GAP_M: f64 = 1e-6;

/// The sine of the sharpest corner.
const LEAST_SINE: f64 = 1e-6;

/// What is wrong with a list of corners. Sides and corners count from 0; side `i` runs from
/// corner `i` to the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Two sides cross, touch or lie on each other.
    Crossing(usize, usize),
    /// Fewer than three corners.
    Few(usize),
    /// No area to speak of.
    Flat,
    /// A coordinate that is no number.
    NotFinite(usize),
    /// A corner that stands where the one before it stands.
    Repeated(usize),
}

/// Why corners and numbers are no shape. Holes count from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ShapeFault {
    /// A circle without a place, or without a size.
    #[error("its centre must be finite and its radius positive; write both in metres")]
    Circle,
    /// The outer edge is no polygon.
    #[error("its outer edge: {}", said(.0))]
    Edge(Fault),
    /// The corners of a hole are no polygon.
    #[error("hole {}: {}", .0, said(.1))]
    Hole(usize, Fault),
    /// A hole meets the outer edge, or lies beyond it.
    #[error("hole {0} is not inside the outer edge; move it, or leave it out")]
    HoleOutside(usize),
    /// Two holes meet, or one lies in the other.
    #[error("holes {0} and {1} are not apart; draw them as one")]
    HolesMeet(usize, usize),
}

fn said(fault: &Fault) -> String {
    match fault {
        Fault::Crossing(first, second) => format!(
            "the side after corner {first} meets the side after corner {second}; list the \
             corners in order around the edge"
        ),
        Fault::Few(count) => format!("it has {count} corners; write at least 3"),
        Fault::Flat => format!("it has no area; enclose at least {LEAST_AREA_M2} m²"),
        Fault::NotFinite(corner) => format!("corner {corner} is not finite; write a number"),
        Fault::Repeated(corner) => {
            format!("corner {corner} stands where the one before it stands; leave one out")
        }
    }
}

/// Checks the corners of one outline.
pub(crate) fn check(corners: &[Point]) -> Result<(), Fault> {
    if corners.len() < 3 {
        return Err(Fault::Few(corners.len()));
    }
    if let Some(corner) = corners.iter().position(|corner| !corner.is_finite()) {
        return Err(Fault::NotFinite(corner));
    }
    for (side, [from, to]) in sides(corners).enumerate() {
        if from == to {
            return Err(Fault::Repeated((side + 1) % corners.len()));
        }
    }
    if let Some((first, second)) = crossing(corners) {
        return Err(Fault::Crossing(first, second));
    }
    if area(corners).abs() < LEAST_AREA_M2 {
        return Err(Fault::Flat);
    }
    Ok(())
}

/// Checks that holes lie inside an outer edge and apart from each other. All are outlines.
pub(crate) fn check_holes(edge: &[Point], holes: &[Vec<Point>]) -> Result<(), ShapeFault> {
    let rings = || std::iter::once(edge).chain(holes.iter().map(Vec::as_slice));
    // Each side with its ring: 0 is the edge, hole `h` is `h + 1`.
    let all: Vec<(usize, [Point; 2])> = rings()
        .enumerate()
        .flat_map(|(ring, corners)| sides(corners).map(move |side| (ring, side)))
        .collect();
    let tree = Tree::new(&all.iter().map(|(_, side)| Rect::around(*side)).collect::<Vec<_>>());
    for (ring, side) in all.iter().filter(|(ring, _)| *ring > 0) {
        let around = Rect::around(*side).grown(LEAST_GAP_M);
        let met = tree.meeting(&around, 0, |range| {
            let other = all[range].iter().find(|(of, other)| of != ring && meet(*side, *other));
            other.map_or(ControlFlow::Continue(()), |(of, _)| ControlFlow::Break(*of))
        });
        match met {
            Some(0) => return Err(ShapeFault::HoleOutside(ring - 1)),
            Some(other) => {
                let (first, second) = (ring.min(&other), ring.max(&other));
                return Err(ShapeFault::HolesMeet(first - 1, second - 1));
            }
            None => {}
        }
    }
    for (hole, corners) in holes.iter().enumerate() {
        // No sides cross, so that one corner speaks for all. A ray from it to the right crosses
        // the edge an odd number of times, and every other hole an even number.
        let at = corners[0];
        let ray = Rect { least: at, most: Point::new(f64::INFINITY, at.y) };
        let (mut of_edge, mut of_holes) = (false, false);
        let _: Option<()> = tree.meeting(&ray, 0, |range| {
            for (ring, side) in &all[range] {
                if *ring != hole + 1 && crosses_ray(*side, at) {
                    if *ring == 0 { of_edge = !of_edge } else { of_holes = !of_holes }
                }
            }
            ControlFlow::Continue(())
        });
        if !of_edge {
            return Err(ShapeFault::HoleOutside(hole));
        }
        if of_holes {
            let around = |other: &usize| *other != hole && contains(&holes[*other], at);
            let other = (0..holes.len()).find(around).unwrap_or(hole);
            return Err(ShapeFault::HolesMeet(hole.min(other), hole.max(other)));
        }
    }
    Ok(())
}

/// The first corner, counted from 0, at which an outline turns the other way; `None` when it
/// is convex.
#[must_use]
pub fn concave_corner(corners: &[Point]) -> Option<usize> {
    let turn = area(corners).signum();
    let count = corners.len();
    (0..count).find(|corner| {
        let (from, at) = (corners[(corner + count - 1) % count], corners[*corner]);
        cross(from, at, corners[(corner + 1) % count]) * turn < 0.0
    })
}

/// Area, m²; positive when the corners run counter-clockwise.
pub(crate) fn area(corners: &[Point]) -> f64 {
    // Relative to the first corner: far from the origin the products would swallow the area.
    let origin = corners[0];
    sides(corners).map(|[from, to]| cross(origin, from, to)).sum::<f64>() / 2.0
}

pub(crate) fn sides(corners: &[Point]) -> impl Iterator<Item = [Point; 2]> + '_ {
    let next = corners.iter().skip(1).chain(corners.first());
    corners.iter().zip(next).map(|(from, to)| [*from, *to])
}

/// Twice the signed area of the triangle.
fn cross(origin: Point, a: Point, b: Point) -> f64 {
    (a.x - origin.x) * (b.y - origin.y) - (a.y - origin.y) * (b.x - origin.x)
}

fn contains(corners: &[Point], at: Point) -> bool {
    sides(corners).filter(|side| crosses_ray(*side, at)).count() % 2 == 1
}

/// A side crosses the ray to the right of a place.
pub(crate) fn crosses_ray([from, to]: [Point; 2], at: Point) -> bool {
    (from.y > at.y) != (to.y > at.y)
        && at.x - from.x < (at.y - from.y) / (to.y - from.y) * (to.x - from.x)
}

/// The first two sides that share more than a common corner.
fn crossing(corners: &[Point]) -> Option<(usize, usize)> {
    let all: Vec<[Point; 2]> = sides(corners).collect();
    let count = all.len();
    let tree = Tree::new(&all.iter().map(|side| Rect::around(*side)).collect::<Vec<_>>());
    for (first, [a, b]) in all.iter().copied().enumerate() {
        // Neighbours always share a corner; they must not fold back onto each other.
        let next = (first + 1) % count;
        let [_, c] = all[next];
        let back = (a.x - b.x) * (c.x - b.x) + (a.y - b.y) * (c.y - b.y);
        if back > 0.0 && cross(a, b, c).abs() <= LEAST_SINE * a.distance(b) * b.distance(c) {
            return Some((first.min(next), first.max(next)));
        }
        let around = Rect::around([a, b]).grown(LEAST_GAP_M);
        let met = tree.meeting(&around, first + 2, |range| {
            let mut others = range.skip_while(|second| *second < first + 2);
            let met =
                others.find(|second| (second + 1) % count != first && meet([a, b], all[*second]));
            met.map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        if let Some(second) = met {
            return Some((first, second));
        }
    }
    None
}

/// Two sides come closer than [`LEAST_GAP_M`].
fn meet(one: [Point; 2], other: [Point; 2]) -> bool {
    let ([a, b], [c, d]) = (one, other);
    let (c_side, d_side) = (cross(a, b, c), cross(a, b, d));
    let (a_side, b_side) = (cross(c, d, a), cross(c, d, b));
    let opposite = |one: f64, other: f64| (one > 0.0 && other < 0.0) || (one < 0.0 && other > 0.0);
    if opposite(c_side, d_side) && opposite(a_side, b_side) {
        return true;
    }
    let near = |[from, to]: [Point; 2], at: Point| {
        let (ex, ey) = (to.x - from.x, to.y - from.y);
        let (px, py) = (at.x - from.x, at.y - from.y);
        let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        (px - along * ex).hypot(py - along * ey) <= LEAST_GAP_M
    };
    near(one, c) || near(one, d) || near(other, a) || near(other, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    fn points(corners: &[(f64, f64)]) -> Vec<Point> {
        corners.iter().map(|(x, y)| Point::new(*x, *y)).collect()
    }

    fn square(x: f64, y: f64, half: f64) -> Vec<Point> {
        points(&[(-half, -half), (half, -half), (half, half), (-half, half)])
            .into_iter()
            .map(|p| Point::new(p.x + x, p.y + y))
            .collect()
    }

    #[test]
    fn corners_that_are_no_polygon_are_refused_with_the_fault() {
        for (corners, fault) in [
            (&[(0.0, 0.0), (1.0, 0.0)][..], Fault::Few(2)),
            (&[(0.0, 0.0), (1.0, f64::NAN), (1.0, 1.0)], Fault::NotFinite(1)),
            (&[(0.0, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1.0)], Fault::Repeated(2)),
            (&[(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], Fault::Crossing(0, 2)),
            (&[(0.0, 0.0), (2.0, 0.0), (1.0, 0.0)], Fault::Crossing(0, 1)),
            (&[(0.0, 0.0), (1e-3, 0.0), (0.0, 1e-3)], Fault::Flat),
            // A corner on another side.
            (&[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (2.0, 0.0), (0.0, 4.0)], Fault::Crossing(0, 2)),
            // Two corners in one place, and two that are a ten-thousandth of a hair apart.
            (
                &[(0.0, 0.0), (2.0, 2.0), (4.0, 0.0), (4.0, 4.0), (2.0, 2.0), (0.0, 4.0)],
                Fault::Crossing(0, 3),
            ),
            (
                &[(0.0, 0.0), (2.0, 2.0), (4.0, 0.0), (4.0, 4.0), (2.0, 2.0 + 1e-8), (0.0, 4.0)],
                Fault::Crossing(0, 3),
            ),
            // A spike.
            (&[(0.0, 0.0), (9.0, 0.0), (0.0, 1e-7), (-1.0, 5.0)], Fault::Crossing(0, 1)),
        ] {
            assert_eq!(check(&points(corners)).unwrap_err(), fault, "{corners:?}");
        }
    }

    #[test]
    fn a_hole_is_inside_and_apart_from_others() {
        let edge = square(0.0, 0.0, 5.0);
        let check = |holes: &[Vec<Point>]| check_holes(&edge, holes);
        assert_eq!(check(&[square(-2.0, 0.0, 1.0), square(2.0, 0.0, 1.0)]), Ok(()));
        for outside in [square(5.0, 0.0, 1.0), square(9.0, 0.0, 1.0), square(4.0, 0.0, 1.0)] {
            let holes = [square(-2.0, 0.0, 1.0), outside];
            assert_eq!(check(&holes), Err(ShapeFault::HoleOutside(1)));
        }
        // Around the edge altogether.
        assert_eq!(check(&[square(0.0, 0.0, 9.0)]), Err(ShapeFault::HoleOutside(0)));
        for other in [square(-1.5, 0.0, 1.0), square(-2.0, 0.0, 0.5), square(-0.5, 0.0, 0.5)] {
            let holes = [square(2.0, 0.0, 1.0), square(-2.0, 0.0, 1.0), other];
            assert_eq!(check(&holes), Err(ShapeFault::HolesMeet(1, 2)));
        }
    }

    #[test]
    fn a_straight_corner_is_convex_and_an_inward_one_is_not() {
        let straight = points(&[(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 2.0)]);
        assert_eq!(concave_corner(&straight), None);
        let dart = points(&[(0.0, 0.0), (2.0, 1.0), (0.0, 2.0), (0.5, 1.0)]);
        assert_eq!(concave_corner(&dart), Some(3));
    }

    #[test]
    fn each_fault_says_what_to_do() {
        for (fault, expected) in [
            (ShapeFault::Circle, "write both in metres"),
            (ShapeFault::Edge(Fault::Flat), "its outer edge: it has no area"),
            (ShapeFault::Hole(2, Fault::Few(1)), "hole 2: it has 1 corners; write at least 3"),
            (ShapeFault::HoleOutside(0), "hole 0 is not inside"),
            (ShapeFault::HolesMeet(0, 1), "holes 0 and 1 are not apart"),
        ] {
            assert!(fault.to_string().contains(expected), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_the_crossing_that_all_pairs_have(
            corners in prop::collection::vec((-4_i8..4, -4_i8..4), 3..12)
        ) {
            // On a lattice, so that touching is as frequent as crossing.
            let corners: Vec<Point> =
                corners.iter().map(|(x, y)| Point::new((*x).into(), (*y).into())).collect();
            let all: Vec<[Point; 2]> = sides(&corners).collect();
            if all.iter().any(|[from, to]| from == to) {
                return Ok(());
            }
            let count = all.len();
            let mut pairs = (0..count).flat_map(|first| (0..count).map(move |second| (first, second)));
            let expected = pairs.any(|(first, second)| {
                let next = (first + 1) % count;
                if second == next {
                    let ([a, b], [_, c]) = (all[first], all[second]);
                    let back = (a.x - b.x) * (c.x - b.x) + (a.y - b.y) * (c.y - b.y);
                    back > 0.0 && cross(a, b, c) == 0.0
                } else {
                    first != second && first != (second + 1) % count && meet(all[first], all[second])
                }
            });
            prop_assert_eq!(crossing(&corners).is_some(), expected);
        }
    }
}
