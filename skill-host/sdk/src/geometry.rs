//! The little plane geometry that skills share. Metres and radians, in the `map` frame.

use crate::types::{Observation, Point};

/// Where the robot is.
#[must_use]
pub const fn position(seen: &Observation) -> Point {
    Point { x: seen.pose.x, y: seen.pose.y }
}

/// Between two points, metres.
#[must_use]
pub fn distance(a: Point, b: Point) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}

/// From `a` towards `b`, radians.
#[must_use]
pub fn direction(a: Point, b: Point) -> f64 {
    (b.y - a.y).atan2(b.x - a.x)
}

/// The point `by_m` from `point` in the direction `yaw`.
#[must_use]
pub fn ahead_of(point: Point, yaw: f64, by_m: f64) -> Point {
    Point { x: point.x + by_m * yaw.cos(), y: point.y + by_m * yaw.sin() }
}

/// An angle in (-pi, pi].
#[must_use]
pub fn wrap(radians: f64) -> f64 {
    let wrapped = radians.rem_euclid(std::f64::consts::TAU);
    if wrapped > std::f64::consts::PI { wrapped - std::f64::consts::TAU } else { wrapped }
}

/// This much nearer counts as progress, metres.
const NEARER_M: f64 = 0.1;

/// Without progress for so long the way is given up, nanoseconds. Longer than an operator's
/// lease may last, who may lead the robot elsewhere meanwhile.
const PATIENCE_NS: u64 = 20_000_000_000;

/// Whether a way leads anywhere: a robot that is held back for good should say so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nearing(Option<(f64, u64)>);

impl Nearing {
    /// Forgets; for the next way.
    pub const fn reset(&mut self) {
        self.0 = None;
    }

    /// Takes the distance that is left at a moment; true when it has come no nearer for 20 s.
    pub fn is_stuck(&mut self, left_m: f64, at_nanos: u64) -> bool {
        match &mut self.0 {
            Some((nearest, since)) if left_m > *nearest - NEARER_M => {
                at_nanos.saturating_sub(*since) >= PATIENCE_NS
            }
            nearest => {
                *nearest = Some((left_m, at_nanos));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn angles_and_distances_are_as_in_the_plane() {
        let (a, b) = (Point { x: 1.0, y: 1.0 }, Point { x: 4.0, y: 5.0 });
        assert_eq!(distance(a, b), 5.0);
        assert!((wrap(3.0 * PI) - PI).abs() < 1e-12 && wrap(-0.5) == -0.5);
        let there = ahead_of(a, direction(a, b), 5.0);
        assert!(distance(there, b) < 1e-12);
    }

    #[test]
    fn a_way_is_given_up_after_20_s_without_progress() {
        let mut nearing = Nearing::default();
        assert!(!nearing.is_stuck(5.0, 0));
        assert!(!nearing.is_stuck(4.95, 19_000_000_000));
        assert!(nearing.is_stuck(4.95, 20_000_000_000));
        assert!(!nearing.is_stuck(4.8, 21_000_000_000));
    }
}
