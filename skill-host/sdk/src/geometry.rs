//! The little plane geometry that skills share. Metres and radians, in the `map` frame.

use crate::types::{Observation, Point, Request};
use crate::{drive, go_to};

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

/// After so long without progress it gets out of where it is: long enough for people to have
/// walked by, nanoseconds.
const BACK_OFF_NS: u64 = 8_000_000_000;

/// From trying backwards to trying forwards, nanoseconds.
const FORWARDS_NS: u64 = 14_000_000_000;

/// So long, and so fast, it drives then: 0.3 m in all, nanoseconds and m/s.
const GETTING_OUT_NS: u64 = 2_000_000_000;
const GETTING_OUT_MPS: f64 = 0.15;

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

    /// What to ask on a straight way to a point; `None` when it has come no nearer for 20 s.
    ///
    /// A robot that was led with its nose to an edge may neither go on nor turn there: its
    /// corners would cross it. So without progress it drives a little backwards after 8 s, and a
    /// little forwards after 14 s, and goes on from there.
    pub fn onward(&mut self, seen: &Observation, to: Point, speed_mps: f64) -> Option<Request> {
        if self.is_stuck(distance(position(seen), to), seen.at_nanos) {
            return None;
        }
        let waited = self.0.map_or(0, |(_, since)| seen.at_nanos.saturating_sub(since));
        let tries = |from: u64| (from..from + GETTING_OUT_NS).contains(&waited);
        Some(if tries(BACK_OFF_NS) {
            drive(-GETTING_OUT_MPS, 0.0)
        } else if tries(FORWARDS_NS) {
            drive(GETTING_OUT_MPS, 0.0)
        } else {
            go_to(to, speed_mps)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Robot;
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
    #[test]
    fn what_holds_the_robot_is_backed_off_from_before_the_way_is_given_up() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        robot.is_held = true;
        let to = Point { x: 5.0, y: 0.0 };
        let mut nearing = Nearing::default();
        let mut asked = Vec::new();
        while let Some(request) = nearing.onward(&robot.sees(), to, 1.0) {
            robot.obey(&request);
            if asked.last().is_none_or(|(last, _)| *last != request) {
                asked.push((request, 0));
            }
            asked.last_mut().unwrap().1 += 1;
        }
        let (back, on) = (drive(-GETTING_OUT_MPS, 0.0), drive(GETTING_OUT_MPS, 0.0));
        let go = go_to(to, 1.0);
        // Ten times a second.
        let way = [(go, 80), (back, 20), (go, 40), (on, 20), (go, 40)];
        assert_eq!(asked, way);
    }
}
