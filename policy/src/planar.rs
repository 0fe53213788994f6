//! Motion in the plane: forward, sideways and turning at once.
//!
//! What a differential, an omnidirectional and a steered base do is the same to the ground
//! that they cover, and is judged in this one form.

use nooterra_protocol::geometry::{Pose, Twist};

/// A body velocity in the plane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Planar {
    /// Counter-clockwise, radians per second.
    pub angular: f64,
    /// Forward, metres per second.
    pub x: f64,
    /// To the left, metres per second.
    pub y: f64,
}

impl Planar {
    /// Standing still.
    pub const ZERO: Self = Self { angular: 0.0, x: 0.0, y: 0.0 };

    /// Forward and left in m/s, turning in rad/s.
    #[must_use]
    pub const fn new(x: f64, y: f64, angular: f64) -> Self {
        Self { angular, x, y }
    }

    /// All three are finite.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.angular.is_finite()
    }

    /// All axes by one ratio, which keeps the shape of the path.
    #[must_use]
    pub fn scaled(self, ratio: f64) -> Self {
        Self { angular: self.angular * ratio, x: self.x * ratio, y: self.y * ratio }
    }

    /// How fast `base_link` moves over the ground, m/s.
    #[must_use]
    pub fn speed(self) -> f64 {
        self.x.hypot(self.y)
    }
}

impl From<Twist> for Planar {
    fn from(twist: Twist) -> Self {
        Self { angular: twist.angular, x: twist.linear, y: 0.0 }
    }
}

/// Where a constant twist leads within `seconds`: exact, not in steps.
#[must_use]
pub fn advance(pose: Pose, twist: Planar, seconds: f64) -> Pose {
    let turn = twist.angular * seconds;
    // The chord of the arc, at half the turn. sin(x)/x by its series where it would be 0/0.
    let half = turn / 2.0;
    let chord = if half.abs() < 1e-4 { 1.0 - half * half / 6.0 } else { half.sin() / half };
    let (sin, cos) = (pose.yaw + half).sin_cos();
    let (ahead, aside) = (twist.x * seconds * chord, twist.y * seconds * chord);
    Pose {
        x: pose.x + ahead * cos - aside * sin,
        y: pose.y + ahead * sin + aside * cos,
        yaw: pose.yaw + turn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};
    use std::f64::consts::FRAC_PI_2;

    #[test]
    fn an_arc_is_exact_and_meets_the_straight_line() {
        let quarter = advance(Pose::default(), Twist::new(1.0, 1.0).into(), FRAC_PI_2);
        assert!((quarter.x - 1.0).abs() < 1e-12 && (quarter.y - 1.0).abs() < 1e-12);
        let straight = advance(Pose::default(), Planar::new(-1.0, 0.0, 0.0), 2.0);
        let bent = advance(Pose::default(), Planar::new(-1.0, 0.0, 1e-9), 2.0);
        assert!((straight.x + 2.0).abs() < 1e-12 && (bent.x + 2.0).abs() < 1e-8);
    }

    #[test]
    fn sideways_is_to_the_left_of_the_heading() {
        let north = Pose { yaw: FRAC_PI_2, ..Pose::default() };
        let west = advance(north, Planar::new(0.0, 1.0, 0.0), 1.0);
        assert!((west.x + 1.0).abs() < 1e-12 && west.y.abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn two_spans_lead_where_their_sum_does_and_turned_back_to_where_they_began(
            x in -3.0..3.0, y in -3.0..3.0, angular in -3.0..3.0, yaw in -3.0..3.0,
            first in 0.0..2.0, second in 0.0..2.0,
        ) {
            let (start, twist) = (Pose { x: 1.0, y: -2.0, yaw }, Planar::new(x, y, angular));
            let stepped = advance(advance(start, twist, first), twist, second);
            let whole = advance(start, twist, first + second);
            let back = advance(whole, twist.scaled(-1.0), first + second);
            for (a, b) in [(stepped, whole), (back, start)] {
                prop_assert!(a.point().distance(b.point()) < 1e-9 && (a.yaw - b.yaw).abs() < 1e-9);
            }
        }
    }
}
