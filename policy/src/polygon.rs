//! Simple polygons: signed distance, and the checks that make one acceptable.

use nooterra_protocol::geometry::Point;

/// The smallest area that counts as one, m²: a square centimetre.
pub const LEAST_AREA_M2: f64 = 1e-4;

/// A polygon whose sides do not cross, in either order of corners.
#[derive(Clone, Debug)]
pub struct Polygon {
    corners: Vec<Point>,
    least: Point,
    most: Point,
}

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

impl Polygon {
    /// Checks a list of corners. Takes time that grows with the square of their number.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub fn new(corners: &[Point]) -> Result<Self, Fault> {
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
        let (mut least, mut most) = (corners[0], corners[0]);
        for corner in corners {
            least = Point::new(least.x.min(corner.x), least.y.min(corner.y));
            most = Point::new(most.x.max(corner.x), most.y.max(corner.y));
        }
        Ok(Self { corners: corners.to_vec(), least, most })
    }

    /// The corners in order.
    #[must_use]
    pub fn corners(&self) -> &[Point] {
        &self.corners
    }

    /// Distance to the edge, metres; negative inside.
    #[must_use]
    pub fn signed_distance(&self, point: Point) -> f64 {
        let mut nearest = f64::INFINITY;
        let mut inside = false;
        for [from, to] in sides(&self.corners) {
            let (ex, ey) = (to.x - from.x, to.y - from.y);
            let (px, py) = (point.x - from.x, point.y - from.y);
            let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
            let (dx, dy) = (px - along * ex, py - along * ey);
            nearest = nearest.min(dx * dx + dy * dy);
            if (from.y > point.y) != (to.y > point.y) && px < py / ey * ex {
                inside = !inside;
            }
        }
        if inside { -nearest.sqrt() } else { nearest.sqrt() }
    }

    /// The polygon is surely further away than `distance`, told by its bounding box alone.
    #[must_use]
    pub fn is_beyond(&self, point: Point, distance: f64) -> bool {
        let dx = (self.least.x - point.x).max(point.x - self.most.x).max(0.0);
        let dy = (self.least.y - point.y).max(point.y - self.most.y).max(0.0);
        dx * dx + dy * dy > distance * distance
    }
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
fn area(corners: &[Point]) -> f64 {
    // Relative to the first corner: far from the origin the products would swallow the area.
    let origin = corners[0];
    sides(corners).map(|[from, to]| cross(origin, from, to)).sum::<f64>() / 2.0
}

fn sides(corners: &[Point]) -> impl Iterator<Item = [Point; 2]> + '_ {
    let next = corners.iter().skip(1).chain(corners.first());
    corners.iter().zip(next).map(|(from, to)| [*from, *to])
}

/// Twice the signed area of the triangle.
fn cross(origin: Point, a: Point, b: Point) -> f64 {
    (a.x - origin.x) * (b.y - origin.y) - (a.y - origin.y) * (b.x - origin.x)
}

/// The first two sides that share more than a common corner.
fn crossing(corners: &[Point]) -> Option<(usize, usize)> {
    let count = corners.len();
    let side = |index: usize| [corners[index % count], corners[(index + 1) % count]];
    for first in 0..count {
        let [a, b] = side(first);
        // Neighbours always share a corner; they must not fold back onto each other.
        let [_, c] = side(first + 1);
        let back = (a.x - b.x) * (c.x - b.x) + (a.y - b.y) * (c.y - b.y);
        if on_line(a, b, c) && back > 0.0 {
            return Some((first.min((first + 1) % count), first.max((first + 1) % count)));
        }
        for second in first + 2..count {
            if (second + 1) % count != first && touch(side(first), side(second)) {
                return Some((first, second));
            }
        }
    }
    None
}

fn on_line(a: Point, b: Point, c: Point) -> bool {
    cross(a, b, c).abs() <= 1e-12 * (a.distance(b) * b.distance(c)).max(f64::MIN_POSITIVE)
}

fn touch([a, b]: [Point; 2], [c, d]: [Point; 2]) -> bool {
    let within = |a: Point, b: Point, p: Point| {
        p.x >= a.x.min(b.x) && p.x <= a.x.max(b.x) && p.y >= a.y.min(b.y) && p.y <= a.y.max(b.y)
    };
    let (c_side, d_side) = (cross(a, b, c), cross(a, b, d));
    let (a_side, b_side) = (cross(c, d, a), cross(c, d, b));
    let opposite = |one: f64, other: f64| (one > 0.0 && other < 0.0) || (one < 0.0 && other > 0.0);
    (opposite(c_side, d_side) && opposite(a_side, b_side))
        || (c_side == 0.0 && within(a, b, c))
        || (d_side == 0.0 && within(a, b, d))
        || (a_side == 0.0 && within(c, d, a))
        || (b_side == 0.0 && within(c, d, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(corners: &[(f64, f64)]) -> Vec<Point> {
        corners.iter().map(|(x, y)| Point::new(*x, *y)).collect()
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
        ] {
            assert_eq!(Polygon::new(&points(corners)).unwrap_err(), fault, "{corners:?}");
        }
    }

    #[test]
    fn a_straight_corner_is_convex_and_an_inward_one_is_not() {
        let straight = points(&[(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 2.0)]);
        assert_eq!(concave_corner(&straight), None);
        let dart = points(&[(0.0, 0.0), (2.0, 1.0), (0.0, 2.0), (0.5, 1.0)]);
        assert_eq!(concave_corner(&dart), Some(3));
    }
}
