//! The little plane geometry that the actions share.

use crate::nooterra::skill::types::Point;

pub fn distance(a: Point, b: Point) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}

/// From `a` towards `b`, radians in the `map` frame.
pub fn direction(a: Point, b: Point) -> f64 {
    (b.y - a.y).atan2(b.x - a.x)
}

/// The point `by` metres from `point` in the direction `yaw`.
pub fn ahead_of(point: Point, yaw: f64, by: f64) -> Point {
    Point { x: point.x + by * yaw.cos(), y: point.y + by * yaw.sin() }
}

/// An angle in (-pi, pi].
pub fn wrap(radians: f64) -> f64 {
    let wrapped = radians.rem_euclid(std::f64::consts::TAU);
    if wrapped > std::f64::consts::PI { wrapped - std::f64::consts::TAU } else { wrapped }
}
