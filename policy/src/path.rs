//! The path of one setpoint to its end: a twist that is held, then braked to rest.

use crate::planar::{Planar, advance};
use nooterra_protocol::geometry::Pose;

/// The path of a setpoint that is held and then braked, all axes by one ratio: an arc.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Braking takes so long, seconds.
    pub brake_s: f64,
    /// Before it the twist is held so long, seconds.
    pub hold_s: f64,
    /// Where it begins.
    pub start: Pose,
    /// What is held.
    pub twist: Planar,
}

impl Path {
    /// Metres of `base_link` from the start to the standstill.
    #[must_use]
    pub fn length_m(&self) -> f64 {
        self.twist.speed() * self.whole_s()
    }

    /// How long the twist would have to be held to lead to where the path ends, seconds. Places
    /// on the path are named by such times: only the arc counts, not how fast it is driven.
    #[must_use]
    pub fn whole_s(&self) -> f64 {
        self.hold_s + self.brake_s / 2.0
    }

    /// Where the robot is when it has come as far as in `held_s` at the full twist.
    #[must_use]
    pub fn place(&self, held_s: f64) -> Pose {
        if held_s > 0.0 { advance(self.start, self.twist, held_s) } else { self.start }
    }

    /// How fast `base_link` moves there, m/s.
    #[must_use]
    pub fn speed(&self, held_s: f64) -> f64 {
        let braked = held_s - self.hold_s;
        if braked <= 0.0 {
            return self.twist.speed();
        }
        self.twist.speed() * (1.0 - 2.0 * braked / self.brake_s).max(0.0).sqrt()
    }

    /// Where it has slowed down to `speed` m/s, named as in [`Path::place`]; before the path
    /// begins where it is slower all along.
    pub(crate) fn slow_s(&self, speed: f64) -> f64 {
        let ratio = speed / self.twist.speed();
        if ratio >= 1.0 {
            return 0.0;
        }
        self.hold_s + self.brake_s / 2.0 * (1.0 - ratio * ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_slows_from_its_twist_to_nothing_over_its_length() {
        let path = Path {
            brake_s: 2.0,
            hold_s: 0.5,
            start: Pose::default(),
            twist: Planar::new(-0.6, 0.8, 0.0),
        };
        assert!((path.length_m() - 1.5).abs() < 1e-12 && (path.whole_s() - 1.5).abs() < 1e-12);
        assert!((path.speed(0.5) - 1.0).abs() < 1e-12);
        assert!((path.speed(1.25) - 0.5).abs() < 1e-12);
        assert!(path.speed(1.5) < 1e-6);
        assert!((path.slow_s(0.5) - 1.25).abs() < 1e-12 && path.slow_s(1.5) == 0.0);
        assert!((path.place(1.5).x + 0.9).abs() < 1e-12);
        assert!((path.place(1.5).y - 1.2).abs() < 1e-12);
    }
}
