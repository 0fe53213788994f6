//! Motion in the plane: forward, sideways and turning at once.
//!
//! What a differential, an omnidirectional and a steered base do is the same to the ground
//! that they cover, and is judged in this one form.

use nooterra_protocol::geometry::Pose;

pub use nooterra_protocol::geometry::Planar;

/// Of the series of sin(x)/x, by powers of x².
const CHORD: [f64; 8] = [
    1.0,
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5_040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
];

/// Of the series of cos(x), by powers of x².
const COS: [f64; 8] = [
    1.0,
    -1.0 / 2.0,
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
];

/// Where a constant twist leads within `seconds`: exact, not in steps.
#[must_use]
pub fn advance(pose: Pose, twist: Planar, seconds: f64) -> Pose {
    advance_heading(pose, Heading::of(pose), twist, seconds).0
}

/// Which way a robot looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heading {
    pub(crate) cos: f64,
    pub(crate) sin: f64,
}

impl Heading {
    pub(crate) fn of(pose: Pose) -> Self {
        let (sin, cos) = pose.yaw.sin_cos();
        Self { cos, sin }
    }

    fn turned(self, by: Self) -> Self {
        Self {
            cos: self.cos * by.cos - self.sin * by.sin,
            sin: self.sin * by.cos + self.cos * by.sin,
        }
    }
}

/// As [`advance`], where the heading is known, and gives the one at the end.
pub(crate) fn advance_heading(
    pose: Pose,
    heading: Heading,
    twist: Planar,
    seconds: f64,
) -> (Pose, Heading) {
    let turn = twist.angular * seconds;
    // The chord of the arc, at half the turn.
    let (half, chord) = half_turn(turn / 2.0);
    let toward = heading.turned(half);
    let (ahead, aside) = (twist.x * seconds * chord, twist.y * seconds * chord);
    let end = Pose {
        x: pose.x + ahead * toward.cos - aside * toward.sin,
        y: pose.y + ahead * toward.sin + aside * toward.cos,
        yaw: pose.yaw + turn,
    };
    (end, toward.turned(half))
}

/// The heading that `half` turns to, and sin(half)/half.
fn half_turn(half: f64) -> (Heading, f64) {
    if half.abs() > 0.5 {
        let (sin, cos) = half.sin_cos();
        return (Heading { cos, sin }, sin / half);
    }
    // Their series, which up to half a radian end below rounding with these terms, and with
    // five of them up to a sixteenth. A path of one tick turns less, and much of the time of a
    // tick would go into asking for sines.
    let few = half.abs() <= 0.0625;
    let (chord, cos) = (series(&CHORD, half * half, few), series(&COS, half * half, few));
    (Heading { cos, sin: half * chord }, chord)
}

/// The sum of a series, or of its first five terms.
fn series([a, b, c, d, e, f, g, h]: &[f64; 8], x: f64, few: bool) -> f64 {
    let rest = if few { 0.0 } else { x * (f + x * (g + x * h)) };
    a + x * (b + x * (c + x * (d + x * (e + rest))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Twist;
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
        fn a_small_turn_is_as_exact_as_a_large_one(half in -0.6..0.6) {
            let (Heading { cos, sin }, chord) = half_turn(half);
            prop_assert!((sin - half.sin()).abs() < 3e-16 && (cos - half.cos()).abs() < 3e-16);
            prop_assert!((chord * half - sin).abs() < 3e-16);
        }

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
