//! What a zone can be drawn as.

use crate::field::Field;
use crate::index::Rect;
use crate::polygon::{Polygon, ShapeFault};
use nooterra_protocol::geometry::Point;
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

    /// Around it; `None` for a field, which forbids what is outside its grid as well.
    pub(crate) fn bounds(&self) -> Option<Rect> {
        match self {
            Self::Circle { center, radius_m } => Some(Rect::around([*center]).grown(*radius_m)),
            Self::Field(_) => None,
            Self::Polygon(polygon) => Some(polygon.bounds()),
        }
    }
}

impl From<Polygon> for Shape {
    fn from(polygon: Polygon) -> Self {
        Self::Polygon(Arc::new(polygon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
