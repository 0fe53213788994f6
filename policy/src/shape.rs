//! What a zone can be drawn as.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // What is no number must not pass for clear.

use crate::field::Field;
use crate::index::Rect;
use crate::polygon::{Polygon, ShapeFault, least_over};
use crate::walk::STEP_M;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::Zone;
use std::sync::Arc;

/// Where a zone is. Cheap to clone: what is large is shared.
#[derive(Clone, Debug)]
pub enum Shape {
    /// All that is near a place.
    Circle {
        /// The place.
        center: Point,
        /// Metres.
        radius_m: f64,
    },
    /// Drawn as cells.
    Field(Arc<Field>),
    /// Corners, with or without holes.
    Polygon(Arc<Polygon>),
}

impl Shape {
    /// A circle.
    ///
    /// # Errors
    /// [`ShapeFault::Circle`].
    pub fn circle(center: Point, radius_m: f64) -> Result<Self, ShapeFault> {
        if center.is_finite() && radius_m.is_finite() && radius_m > 0.0 {
            Ok(Self::Circle { center, radius_m })
        } else {
            Err(ShapeFault::Circle)
        }
    }

    /// Of a zone as the document has it.
    ///
    /// # Errors
    /// The first [`ShapeFault`].
    pub fn of(zone: &Zone) -> Result<Self, ShapeFault> {
        match zone.circle {
            Some(circle) => Self::circle(circle.center, circle.radius_m),
            None => Self::polygon(&zone.polygon, &zone.holes),
        }
    }

    /// A polygon without what lies in its holes.
    ///
    /// # Errors
    /// The first [`ShapeFault`].
    pub fn polygon(corners: &[Point], holes: &[Vec<Point>]) -> Result<Self, ShapeFault> {
        Ok(Polygon::with_holes(corners, holes)?.into())
    }

    /// Distance to the edge, metres, never too much; negative inside.
    #[must_use]
    pub fn signed_distance(&self, at: Point) -> f64 {
        match self {
            Self::Circle { center, radius_m } => at.distance(*center) - radius_m,
            Self::Field(field) => field.signed_distance(at),
            Self::Polygon(polygon) => polygon.signed_distance(at),
        }
    }

    /// As [`Shape::signed_distance`] where that is less than `enough` either way; beyond it at
    /// least `enough`. Never takes long: see [`Polygon::signed_within`].
    pub(crate) fn signed_within(&self, at: Point, enough: f64) -> f64 {
        match self {
            Self::Polygon(polygon) => polygon.signed_within(at, enough),
            _ => self.signed_distance(at),
        }
    }

    /// A disc whose middle goes straight from one place to another, growing from the first
    /// radius to the second, and that does not touch the edge at the first place, touches it
    /// nowhere. `inside` is the side that it is on.
    ///
    /// `None` where it does not, or else about the part of the way to where it does: a guess.
    pub(crate) fn met_between(
        &self,
        way: [Point; 2],
        radii: [f64; 2],
        inside: bool,
    ) -> Option<f64> {
        match self {
            Self::Circle { center, radius_m } => {
                let clear = if inside {
                    // Furthest at one of its ends.
                    let mut ends = way.iter().zip(radii);
                    ends.all(|(at, own_m)| at.distance(*center) + own_m <= *radius_m)
                } else {
                    from_segment(way, *center) >= radius_m + radii[1]
                        || least_over(way, radii, |at| at.distance(*center) - radius_m) >= 0.0
                };
                let left = |at: Point, own_m: f64| {
                    let from_edge = at.distance(*center) - radius_m;
                    if inside { -from_edge - own_m } else { from_edge - own_m }
                };
                let (begins, ends) = (left(way[0], radii[0]), left(way[1], radii[1]));
                (!clear).then(|| begins / (begins - ends))
            }
            Self::Field(field) => {
                let [from, to] = way;
                let sign = if inside { -1.0 } else { 1.0 };
                let length = from.distance(to);
                // In steps as long as the clearance at each place, which also the growing of
                // the disc uses up.
                let closing = if length > 0.0 { 1.0 + (radii[1] - radii[0]) / length } else { 1.0 };
                let mut along = 0.0;
                loop {
                    let part = if length > 0.0 { along / length } else { 0.0 };
                    let at = Point::new(
                        from.x + part * (to.x - from.x),
                        from.y + part * (to.y - from.y),
                    );
                    let radius_m = radii[0] + part * (radii[1] - radii[0]);
                    let clear = sign * field.signed_distance(at) - radius_m;
                    // Not clear is what is no number, too.
                    if !(clear >= 0.0) {
                        return Some(part);
                    }
                    if along >= length {
                        return None;
                    }
                    along = (along + (clear / closing).max(STEP_M)).min(length);
                }
            }
            Self::Polygon(polygon) => polygon.met_between(way, radii),
        }
    }

    /// Around it; for a field, around its grid.
    pub(crate) fn extent(&self) -> Rect {
        match self {
            Self::Circle { center, radius_m } => Rect::around([*center]).grown(*radius_m),
            Self::Field(field) => field.extent(),
            Self::Polygon(polygon) => polygon.bounds(),
        }
    }

    /// Around it; `None` for a field, which forbids what is outside its grid as well.
    pub(crate) fn bounds(&self) -> Option<Rect> {
        if matches!(self, Self::Field(_)) { None } else { Some(self.extent()) }
    }
}

/// Distance of a place from the straight way between two, metres.
pub(crate) fn from_segment([from, to]: [Point; 2], at: Point) -> f64 {
    let (ex, ey) = (to.x - from.x, to.y - from.y);
    let (px, py) = (at.x - from.x, at.y - from.y);
    let squared = ex * ex + ey * ey;
    let along = if squared > 0.0 { ((px * ex + py * ey) / squared).clamp(0.0, 1.0) } else { 0.0 };
    let (dx, dy) = (px - along * ex, py - along * ey);
    (dx * dx + dy * dy).sqrt()
}

impl From<Polygon> for Shape {
    fn from(polygon: Polygon) -> Self {
        Self::Polygon(Arc::new(polygon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assume, proptest};

    #[test]
    fn a_circle_has_a_place_and_a_size() {
        let circle = Shape::circle(Point::new(1.0, 2.0), 0.5).unwrap();
        assert!((circle.signed_distance(Point::new(1.0, 4.0)) - 1.5).abs() < 1e-12);
        assert!((circle.signed_distance(Point::new(1.0, 2.0)) + 0.5).abs() < 1e-12);
        for (x, radius_m) in [(f64::NAN, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, f64::INFINITY)] {
            let refused = Shape::circle(Point::new(x, 0.0), radius_m);
            assert_eq!(refused.unwrap_err(), ShapeFault::Circle);
        }
    }

    #[test]
    fn what_lies_in_a_hole_is_outside() {
        let square = |half: f64| {
            [(-half, -half), (half, -half), (half, half), (-half, half)]
                .map(|(x, y)| Point::new(x, y))
                .to_vec()
        };
        let ring = Shape::polygon(&square(5.0), &[square(2.0)]).unwrap();
        for (x, expected) in [(0.0, 2.0), (1.5, 0.5), (3.0, -1.0), (6.0, 1.0)] {
            let found = ring.signed_distance(Point::new(x, 0.0));
            assert!((found - expected).abs() < 1e-12, "{x}: {found}");
        }
    }

    /// Places that a way is looked at by the tests.
    const LOOKS: u32 = 512;

    proptest! {
        #[test]
        fn a_way_is_clear_where_no_place_on_it_comes_too_near_to_the_edge(
            round in any::<bool>(), corners in [(-4.0..4.0, -4.0..4.0), (-4.0..4.0, -4.0..4.0),
            (-4.0..4.0, -4.0..4.0)], from in (-6.0..6.0, -6.0..6.0), to in (-6.0..6.0, -6.0..6.0),
            first in 0.0..0.6, more in 0.0..0.4, grows in any::<bool>()
        ) {
            let point = |(x, y): (f64, f64)| Point::new(x, y);
            let shape = if round {
                Shape::circle(point(corners[0]), 0.5 + corners[1].0.abs())
            } else {
                Shape::polygon(&corners.map(point), &[])
            };
            prop_assume!(shape.is_ok());
            let (shape, from, to) = (shape.unwrap(), point(from), point(to));
            let inside = shape.signed_distance(from) < 0.0;
            let more = if grows { more } else { 0.0 };
            let left = |look: u32| {
                let part = f64::from(look) / f64::from(LOOKS);
                let at = Point::new(from.x + part * (to.x - from.x), from.y + part * (to.y - from.y));
                let sign = if inside { -1.0 } else { 1.0 };
                sign * shape.signed_distance(at) - first - part * more
            };
            let least = (0..=LOOKS).map(left).fold(f64::INFINITY, f64::min);
            // Between two looks it can come no nearer than the way between them; of a distance
            // that grows, a thousandth of the way is left to the search.
            let between = (from.distance(to) + more) / f64::from(LOOKS);
            let clear = shape.met_between([from, to], [first, first + more], inside).is_none();
            let sought = if grows { 2e-3 * (from.distance(to) + more) } else { 1e-9 };
            prop_assert!(!clear || least >= -sought, "clear, and {least} m too near");
            prop_assert!(clear || least < between + sought, "not clear, with {least} m left");
        }
    }
}
