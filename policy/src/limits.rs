//! How fast, how hard: the laws of a differential base, each a pure function.

use nooterra_protocol::geometry::Twist;
use nooterra_protocol::policy::Limits;

/// Below this a speed is standing still, m/s or rad/s: rounding, not motion.
const REST: f64 = 1e-9;

/// The largest ratio, at most 1, by which `twist` holds the speed limits, for each limit:
/// linear (forward or backward), then angular.
#[must_use]
pub fn speed_ratios(twist: Twist, limits: &Limits) -> [f64; 2] {
    [
        ratio(twist.linear, linear_limit(twist, limits)),
        ratio(twist.angular, limits.max_angular_radps),
    ]
}

/// The linear limit for the direction in which `twist` goes, m/s.
#[must_use]
pub fn linear_limit(twist: Twist, limits: &Limits) -> f64 {
    if twist.linear < 0.0 { limits.max_reverse_mps } else { limits.max_linear_mps }
}

/// By how much `speed` must be scaled to be at most `limit` either way.
#[must_use]
pub fn ratio(speed: f64, limit: f64) -> f64 {
    if speed.abs() > limit { limit / speed.abs() } else { 1.0 }
}

/// Scales to the speed limits by one ratio for both axes. The clamp after it only takes off
/// what rounding put on.
#[must_use]
pub fn limit_speed(twist: Twist, limits: &Limits) -> Twist {
    let [linear, angular] = speed_ratios(twist, limits);
    let ratio = linear.min(angular);
    if ratio < 1.0 { clamp(twist.scaled(ratio), limits) } else { twist }
}

/// Each axis into its limits on its own.
#[must_use]
pub fn clamp(twist: Twist, limits: &Limits) -> Twist {
    Twist {
        angular: between(twist.angular, -limits.max_angular_radps, limits.max_angular_radps),
        linear: between(twist.linear, -limits.max_reverse_mps, limits.max_linear_mps),
    }
}

/// Within the speed limits, rounding forgiven.
#[must_use]
pub fn holds_speed(twist: Twist, limits: &Limits) -> bool {
    twist.is_finite()
        && twist.linear <= limits.max_linear_mps + REST
        && twist.linear >= -limits.max_reverse_mps - REST
        && twist.angular.abs() <= limits.max_angular_radps + REST
}

/// How long braking from `twist` takes, seconds, when both axes reach zero together and
/// neither brakes harder than its limit: the path keeps its curvature to the end.
#[must_use]
pub fn brake_seconds(twist: Twist, limits: &Limits) -> f64 {
    (twist.linear.abs() / limits.max_decel_mps2)
        .max(twist.angular.abs() / limits.max_angular_accel_radps2)
}

/// What is left of `twist` after `seconds` of braking as hard as allowed.
#[must_use]
pub fn brake(twist: Twist, seconds: f64, limits: &Limits) -> Twist {
    let whole = brake_seconds(twist, limits);
    if seconds >= whole { Twist::ZERO } else { twist.scaled(1.0 - seconds / whole) }
}

/// How far towards a target one tick can go.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    /// The limit that held the turning back, rad/s².
    pub angular: Option<f64>,
    /// The limit that held the speed back, m/s².
    pub linear: Option<f64>,
    /// Where it ends.
    pub twist: Twist,
}

/// From `last` towards `target` within `seconds`. Towards rest both axes brake together, so
/// that the path keeps its curvature; towards anything else each axis goes as fast as it may,
/// so that steering does not wait for speed. A change of direction passes through standing
/// still.
#[must_use]
pub fn ramp(last: Twist, target: Twist, seconds: f64, limits: &Limits) -> Ramp {
    let angular_limit = limits.max_angular_accel_radps2;
    if target == Twist::ZERO {
        let twist = brake(last, seconds, limits);
        let short = |left: f64, limit| (left.abs() > 0.0).then_some(limit);
        return Ramp {
            angular: short(twist.angular, angular_limit),
            linear: short(twist.linear, limits.max_decel_mps2),
            twist,
        };
    }
    let last_linear = if last.linear.abs() < REST { 0.0 } else { last.linear };
    let slows = (target.linear - last_linear) * last_linear < 0.0;
    let linear_limit = if slows { limits.max_decel_mps2 } else { limits.max_linear_accel_mps2 };
    let reach = linear_limit * seconds;
    let reach = if slows { reach.min(last_linear.abs()) } else { reach };
    let (linear, linear_short) = towards(last_linear, target.linear, reach);
    let (angular, angular_short) = towards(last.angular, target.angular, angular_limit * seconds);
    Ramp {
        angular: angular_short.then_some(angular_limit),
        linear: linear_short.then_some(linear_limit),
        twist: Twist::new(linear, angular),
    }
}

/// One axis by at most `reach`, and whether that falls short.
fn towards(from: f64, to: f64, reach: f64) -> (f64, bool) {
    let change = to - from;
    if change.abs() > reach { (from + reach.copysign(change), true) } else { (to, false) }
}

/// As `f64::clamp`, which panics where the bounds are the wrong way round; no document that was
/// checked has such, and the optimiser does not know it.
pub(crate) fn between(value: f64, least: f64, most: f64) -> f64 {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LIMITS: Limits = Limits {
        max_angular_accel_radps2: 2.0,
        max_angular_radps: 1.5,
        max_decel_mps2: 1.0,
        max_lateral_accel_mps2: None,
        max_linear_accel_mps2: 0.5,
        max_linear_jerk_mps3: None,
        max_linear_mps: 0.8,
        max_reverse_mps: 0.2,
        reaction_ms: 100,
    };

    fn close(found: Twist, expected: Twist) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(
            near(found.linear, expected.linear) && near(found.angular, expected.angular),
            "{found:?}, expected {expected:?}"
        );
    }

    #[test]
    fn both_axes_are_scaled_by_one_ratio() {
        close(limit_speed(Twist::new(1.6, 1.0), &LIMITS), Twist::new(0.8, 0.5));
        close(limit_speed(Twist::new(0.4, 3.0), &LIMITS), Twist::new(0.2, 1.5));
        close(limit_speed(Twist::new(-0.4, 1.0), &LIMITS), Twist::new(-0.2, 0.5));
        let compliant = Twist::new(0.799, -1.499);
        assert_eq!(limit_speed(compliant, &LIMITS), compliant);
    }

    #[test]
    fn the_largest_number_there_is_comes_out_within_the_limits() {
        let twist = limit_speed(Twist::new(f64::MAX, -f64::MAX), &LIMITS);
        assert!(holds_speed(twist, &LIMITS), "{twist:?}");
    }

    #[test]
    fn a_ramp_brakes_harder_than_it_speeds_up_and_turns_round_at_rest() {
        close(ramp(Twist::ZERO, Twist::new(0.8, 0.0), 0.1, &LIMITS).twist, Twist::new(0.05, 0.0));
        let from = Twist::new(0.8, 0.0);
        close(ramp(from, Twist::ZERO, 0.1, &LIMITS).twist, Twist::new(0.7, 0.0));
        let from = Twist::new(0.05, 0.0);
        close(ramp(from, Twist::new(-0.2, 0.0), 0.1, &LIMITS).twist, Twist::ZERO);
        let done = ramp(from, Twist::new(0.06, 0.0), 0.1, &LIMITS);
        close(done.twist, Twist::new(0.06, 0.0));
        assert!(done.linear.is_none() && done.angular.is_none());
    }

    #[test]
    fn braking_keeps_the_curvature_and_ends_at_zero() {
        let from = Twist::new(0.4, 1.2);
        let half = brake(from, 0.3, &LIMITS);
        close(half, Twist::new(0.2, 0.6));
        assert_eq!(brake(half, 0.4, &LIMITS), Twist::ZERO);
    }
}
