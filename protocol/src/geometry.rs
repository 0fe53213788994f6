//! Points, poses and twists in the plane.

use serde::{Deserialize, Serialize};

/// A point in the `map` frame, metres.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
}

impl Point {
    /// A point from its coordinates in metres.
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// Euclidean distance, metres.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// Both coordinates are finite.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

/// Where `base_link` is in the `map` frame.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pose {
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// Counter-clockwise from x, radians.
    pub yaw: f64,
}

impl Pose {
    /// All three are finite.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.yaw.is_finite()
    }

    /// The position without the heading.
    #[must_use]
    pub const fn point(self) -> Point {
        Point::new(self.x, self.y)
    }
}

/// A planar body velocity of a differential base.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Twist {
    /// Counter-clockwise, radians per second.
    pub angular: f64,
    /// Along the robot's x axis, forward positive, metres per second.
    pub linear: f64,
}

impl Twist {
    /// Standing still.
    pub const ZERO: Self = Self { angular: 0.0, linear: 0.0 };

    /// Linear in m/s, angular in rad/s.
    #[must_use]
    pub const fn new(linear: f64, angular: f64) -> Self {
        Self { angular, linear }
    }

    /// Both are finite.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.linear.is_finite() && self.angular.is_finite()
    }

    /// Both axes by one ratio, which keeps the curvature of the path.
    #[must_use]
    pub fn scaled(self, ratio: f64) -> Self {
        Self { angular: self.angular * ratio, linear: self.linear * ratio }
    }
}

/// A planar body velocity of any base: what a differential base cannot do is sideways.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
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

    /// How fast `base_link` moves, whichever way, metres per second.
    #[must_use]
    pub fn speed(self) -> f64 {
        // The square root of a square is not always the number: a differential base is exact.
        if self.y == 0.0 { self.x.abs() } else { self.x.hypot(self.y) }
    }
}

impl From<Twist> for Planar {
    fn from(twist: Twist) -> Self {
        Self { angular: twist.angular, x: twist.linear, y: 0.0 }
    }
}

/// An angle in (-π, π].
#[must_use]
pub fn wrap_angle(radians: f64) -> f64 {
    let turn = std::f64::consts::TAU;
    let wrapped = radians.rem_euclid(turn);
    if wrapped > std::f64::consts::PI { wrapped - turn } else { wrapped }
}
