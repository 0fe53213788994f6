//! Keeping away from whoever or whatever stands in the way, by a range sensor.
//!
//! The separation is that of ISO/TS 15066, 5.5.4: what remains between a person and the robot
//! covers the way that the person goes until the robot rests, the robot's way while it reacts
//! and while it brakes, intrusion and uncertainty. Solved for the speed, it is a limit.
//!
//! # What counts as in the way
//! A return on the arc that the robot's course leads along, within a corridor as wide as its
//! disc, what a body may reach into it and what a person walks while the robot reacts: of the
//! course that is wished, of the one that it is on, and between them, for it does not turn at
//! once. What stands beside the arc does not hold it, nor does what comes only after half a turn,
//! where the robot could stop before; turning on the spot moves no part of its disc. A direction in which the sensor sees nothing of use, or a sensor that is silent, is
//! an obstacle that touches the robot.

use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::observation::Scan;
use nooterra_protocol::policy::Proximity;
use nooterra_protocol::time::MonoNanos;
use std::f64::consts::{PI, TAU};
use std::time::Duration;

/// Directions that are told apart: 5 degrees each.
pub const SECTORS: usize = 72;

/// The nearest return in each direction around `base_link`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surroundings {
    /// When it was measured.
    pub at: MonoNanos,
    /// Metres from `base_link`, counter-clockwise from straight ahead, sector `i` from
    /// `i * 5` degrees on. 0 where the sensor does not see.
    pub nearest_m: [f32; SECTORS],
}

impl Surroundings {
    /// The nearest return of a scan in each direction; 0 where no beam points, and where a beam
    /// gives no number.
    #[must_use]
    pub fn from_scan(at: MonoNanos, scan: &Scan) -> Self {
        let mut nearest_m = [f32::INFINITY; SECTORS];
        let (mut angle, mut seen) = (scan.angle_min, [false; SECTORS]);
        for range in &scan.ranges {
            if let Some(sector) = sector(angle) {
                seen[sector] = true;
                // A beam that is no number, or nothing at all, has met something.
                let range = if *range > 0.0 { *range } else { 0.0 };
                nearest_m[sector] = nearest_m[sector].min(range);
            }
            angle += scan.angle_step;
        }
        // Sparse beams leave sectors between them empty; the neighbours speak for one.
        let lit = |index: usize| seen[index % SECTORS];
        for index in 0..SECTORS {
            if !lit(index) {
                let (before, after) = (index + SECTORS - 1, index + 1);
                nearest_m[index] = if lit(before) && lit(after) {
                    nearest_m[before % SECTORS].min(nearest_m[after % SECTORS])
                } else {
                    0.0
                };
            }
        }
        Self { at, nearest_m }
    }
}

/// What the surroundings allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Allowed {
    /// What the rule documents: a speed, or the clearance for a stop.
    pub(crate) limit: f64,
    pub(crate) rule: Rule,
    pub(crate) speed_mps: f64,
}

/// The rule and what it remembers of its last stop.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    document: Proximity,
    /// When it last stopped, and which way the robot wished to go.
    stopped: Option<(MonoNanos, Planar)>,
}

/// How the robot answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reactions {
    pub(crate) decel_mps2: f64,
    /// Radius of the robot's disc.
    pub(crate) radius_m: f64,
    /// Until the next setpoint takes effect.
    pub(crate) reaction_s: f64,
}

impl Keeper {
    pub(crate) const fn new(document: Proximity) -> Self {
        Self { document, stopped: None }
    }

    /// What remains of a wish to go the second of two courses (body frame), while the robot is
    /// on the first; `None` when it may go as it likes.
    pub(crate) fn allow(
        &mut self,
        seen: Option<&Surroundings>,
        [doing, course]: [Planar; 2],
        now: MonoNanos,
        reactions: &Reactions,
    ) -> Option<Allowed> {
        let speed = course.speed();
        if speed < 1e-9 {
            return None;
        }
        let rule = &self.document;
        let fresh = Duration::from_millis(u64::from(rule.sensor_ms));
        let age = seen.and_then(|seen| crate::arbitrate::age(seen.at, now));
        let clear_m = match (seen, age) {
            (Some(seen), Some(age)) if age <= fresh => {
                let latency_s = reactions.reaction_s + age.as_secs_f64();
                // Standing, or going the other way, it takes up the new course alone.
                let turns = doing.x * course.x + doing.y * course.y > 0.0;
                let doing = if turns { doing } else { course };
                let fastest = speed.max(doing.speed());
                let corridor = Corridor {
                    aside_m: reactions.radius_m + rule.intrusion_m + rule.human_mps * latency_s,
                    disc_m: reactions.radius_m,
                    stopping_m: fastest * (latency_s + fastest / (2.0 * reactions.decel_mps2)),
                };
                clearance(seen, [doing, course], &corridor)
            }
            _ => 0.0,
        };
        let stop = |limit| Allowed { limit, rule: Rule::ProximityStop, speed_mps: 0.0 };
        if clear_m < rule.stop_m {
            self.stopped = Some((now, course));
            return Some(stop(clear_m));
        }
        if let Some((at, way)) = self.stopped {
            let held = Duration::from_millis(u64::from(rule.release_ms));
            if now.since(at).is_none_or(|waited| waited >= held) {
                self.stopped = None;
            } else if way.x * course.x + way.y * course.y > 0.0 {
                return Some(stop(clear_m));
            }
        }
        let latency_s = reactions.reaction_s + age.unwrap_or_default().as_secs_f64();
        let separation = separation_speed(rule, clear_m, latency_s, reactions.decel_mps2);
        let slow = if clear_m < rule.slow_m { rule.slow_mps } else { f64::INFINITY };
        let (speed_mps, rule) = if separation <= slow {
            (separation, Rule::ProximitySeparation)
        } else {
            (slow, Rule::ProximitySlow)
        };
        (speed > speed_mps).then_some(Allowed { limit: speed_mps, rule, speed_mps })
    }
}

/// The fastest speed at which a clearance is enough, m/s.
fn separation_speed(rule: &Proximity, clear_m: f64, latency_s: f64, decel_mps2: f64) -> f64 {
    // clear = human·(latency + v/decel) + v·latency + v²/(2·decel) + intrusion + uncertainty
    let spare = clear_m - rule.human_mps * latency_s - rule.intrusion_m - rule.uncertainty_m;
    if spare <= 0.0 {
        return 0.0;
    }
    let slope = latency_s + rule.human_mps / decel_mps2;
    let root = (slope * slope + 2.0 * spare / decel_mps2).sqrt();
    decel_mps2 * (root - slope)
}

/// A course is straight where it bends by no more than this, 1/m: half a centimetre at 100 m.
const STRAIGHT_PER_M: f64 = 1e-6;

/// What is swept along a course.
#[derive(Clone, Copy, Debug)]
struct Corridor {
    /// To either side of `base_link`.
    aside_m: f64,
    /// Of the robot.
    disc_m: f64,
    /// At the fastest of its courses.
    stopping_m: f64,
}

/// The circle, or the line, that a course leads `base_link` along.
#[derive(Clone, Copy, Debug)]
struct Arc {
    /// Which way it begins, radians in the body frame.
    heading: f64,
    /// Metres; infinite where it is straight.
    radius_m: f64,
    /// To the left, or to the right.
    side: f64,
}

/// How an arc passes a place.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// To where the place is abeam, along the arc.
    along_m: f64,
    /// The place is to the left of the arc by so much; to the right where it is negative.
    left_m: f64,
    /// So much earlier a disc may meet it.
    lead_m: f64,
    /// Within half a turn.
    soon: bool,
}

impl Arc {
    fn of(course: Planar) -> Self {
        let speed = course.speed();
        let bend = course.angular / speed;
        let radius_m =
            if bend.abs() <= STRAIGHT_PER_M { f64::INFINITY } else { speed / course.angular.abs() };
        Self { heading: course.y.atan2(course.x), radius_m, side: bend.signum() }
    }

    /// How it passes what is so far away in a direction (body frame), for a disc.
    fn pass(&self, angle: f64, range: f64, disc_m: f64) -> Pass {
        let (sin, cos) = (angle - self.heading).sin_cos();
        let (ahead, left) = (range * cos, range * sin);
        if self.radius_m.is_infinite() {
            // Exactly abeam is beside, whatever rounding makes of its cosine.
            return Pass { along_m: ahead, left_m: left, lead_m: disc_m, soon: cos > 1e-9 };
        }
        // From the middle of the circle, mirrored so that it turns to the left.
        let (radius_m, inward) = (self.radius_m, left * self.side);
        let from_middle = (ahead, inward - radius_m);
        let away_m = from_middle.0.hypot(from_middle.1);
        let turned = from_middle.0.atan2(-from_middle.1).rem_euclid(TAU);
        // Two discs' middles on circles of these radii are nearer than `disc_m` for an angle
        // of at most this, by the law of cosines.
        let half = (disc_m / (2.0 * (radius_m * away_m).sqrt())).min(1.0).asin();
        Pass {
            along_m: radius_m * turned,
            left_m: (radius_m - away_m) * self.side,
            lead_m: radius_m * 2.0 * half,
            soon: turned > 0.0 && turned <= PI,
        }
    }
}

/// How far the robot's disc may go before it meets a return, metres: on the arc that it wishes,
/// on the one that it is on, and on all between them, for it does not change at once.
fn clearance(seen: &Surroundings, courses: [Planar; 2], corridor: &Corridor) -> f64 {
    let arcs = courses.map(Arc::of);
    let width = TAU / SECTORS as f64;
    let mut least = f64::INFINITY;
    for (index, nearest) in seen.nearest_m.iter().enumerate() {
        let range = f64::from(*nearest);
        let from = index as f64 * width;
        if range <= corridor.disc_m {
            // Touching, or not seen at all: it holds where the robot sets out towards it.
            let ahead = |arc: &Arc| nearest_angle(from - arc.heading, width).cos() > 1e-9;
            if arcs.iter().any(ahead) {
                return 0.0;
            }
            continue;
        }
        // Anywhere in the sector: at its edges, and where that is between, ahead and abeam.
        let mut seen_at = [Some(from), Some(from + width), None, None, None];
        for (slot, arc) in seen_at[2..].iter_mut().zip([arcs[0].heading, arcs[1].heading]) {
            *slot = (nearest_angle(from - arc, width) == 0.0).then_some(arc);
        }
        let beside = arcs[1].heading + arcs[1].side * PI / 2.0;
        seen_at[4] = (nearest_angle(from - beside, width) == 0.0).then_some(beside);
        let mut between = [(f64::INFINITY, f64::NEG_INFINITY); 2];
        let mut soonest = [f64::INFINITY; 2];
        let mut any_soon = false;
        for angle in seen_at.into_iter().flatten() {
            for (which, arc) in arcs.iter().enumerate() {
                let pass = arc.pass(angle, range, corridor.disc_m);
                let free_m = (pass.along_m - pass.lead_m).max(0.0);
                if pass.soon || (pass.along_m > 0.0 && free_m < corridor.stopping_m) {
                    any_soon = true;
                    soonest[which] = soonest[which].min(free_m);
                    let (low, high) = &mut between[which];
                    (*low, *high) = (low.min(pass.left_m), high.max(pass.left_m));
                }
            }
        }
        if !any_soon {
            continue;
        }
        let meets = |(low, high): (f64, f64)| low <= corridor.aside_m && high >= -corridor.aside_m;
        for which in 0..2 {
            if meets(between[which]) {
                least = least.min(soonest[which]);
            }
        }
        let both = (between[0].0.min(between[1].0), between[0].1.max(between[1].1));
        if meets(both) {
            // No way to it is shorter than this.
            least = least.min(range - corridor.disc_m);
        }
    }
    least
}

/// The angle in a sector from `from` on that is nearest to straight ahead, at most π either way.
fn nearest_angle(from: f64, width: f64) -> f64 {
    let from = from.rem_euclid(TAU);
    let to = from + width;
    if to >= TAU {
        return 0.0;
    }
    if from <= TAU - to { from } else { to - TAU }
}

fn sector(angle: f64) -> Option<usize> {
    if !angle.is_finite() {
        return None;
    }
    let part = angle.rem_euclid(TAU) / TAU * SECTORS as f64;
    // Within 0 and SECTORS by the remainder; rounding may give SECTORS itself.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((part as usize).min(SECTORS - 1))
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::float_cmp)] // A stop is exactly 0.
mod tests {
    use super::*;

    const RULE: Proximity = Proximity {
        human_mps: 1.6,
        intrusion_m: 0.1,
        release_ms: 500,
        sensor_ms: 200,
        slow_m: 1.5,
        slow_mps: 0.3,
        stop_m: 0.4,
        uncertainty_m: 0.1,
    };
    const REACTIONS: Reactions = Reactions { decel_mps2: 1.0, radius_m: 0.3, reaction_s: 0.1 };

    fn around(range: f32) -> Surroundings {
        Surroundings { at: MonoNanos(1_000_000_000), nearest_m: [range; SECTORS] }
    }

    fn speed(seen: Option<&Surroundings>, course: Planar) -> f64 {
        let now = MonoNanos(1_000_000_000);
        Keeper::new(RULE)
            .allow(seen, [course; 2], now, &REACTIONS)
            .map_or(f64::INFINITY, |allowed| allowed.speed_mps)
    }

    #[test]
    fn the_separation_is_enough_for_a_person_who_walks_up_and_no_more() {
        for clear in [0.5, 1.0, 2.0, 5.0] {
            let v = separation_speed(&RULE, clear, 0.2, 1.0);
            let way = 1.6 * (0.2 + v) + v * 0.2 + v * v / 2.0 + 0.2;
            assert!(v == 0.0 || (way - clear).abs() < 1e-9, "{clear}: {v}");
        }
        assert_eq!(separation_speed(&RULE, 0.5, 0.2, 1.0), 0.0);
    }

    #[test]
    fn what_is_nearer_allows_less_and_the_nearest_allows_nothing() {
        let ahead = Planar::new(1.0, 0.0, 0.0);
        let speeds = [9.0, 4.0, 2.5, 1.7, 0.6].map(|range| speed(Some(&around(range)), ahead));
        assert!(speeds.windows(2).all(|pair| pair[0] >= pair[1]), "{speeds:?}");
        assert_eq!(speeds[4], 0.0);
    }

    #[test]
    fn a_sensor_that_is_silent_or_blind_is_an_obstacle() {
        let ahead = Planar::new(0.2, 0.0, 0.0);
        assert_eq!(speed(None, ahead), 0.0);
        let old = Surroundings { at: MonoNanos(1), ..around(9.0) };
        assert_eq!(speed(Some(&old), ahead), 0.0);
        // A scanner that looks forward only, and a robot that backs up.
        let ranges = vec![9.0; 180];
        let scan = Scan {
            angle_min: -std::f64::consts::FRAC_PI_2,
            angle_step: std::f64::consts::PI / 180.0,
            range_max: 9.0,
            ranges,
        };
        let seen = Surroundings::from_scan(MonoNanos(1_000_000_000), &scan);
        assert_eq!(speed(Some(&seen), Planar::new(-0.2, 0.0, 0.0)), 0.0);
        assert!(speed(Some(&seen), ahead) > 0.2);
        let broken = Scan { ranges: vec![f32::NAN; 180], ..scan };
        let seen = Surroundings::from_scan(MonoNanos(1_000_000_000), &broken);
        assert_eq!(speed(Some(&seen), ahead), 0.0);
    }

    #[test]
    fn what_stands_beside_or_behind_holds_nothing() {
        let mut seen = around(9.0);
        for index in 0..SECTORS {
            // A wall 1 m to the left.
            let angle = (index as f64 + 0.5) * TAU / SECTORS as f64;
            if angle.sin() > 0.12 {
                seen.nearest_m[index] = (1.0 / angle.sin()).min(9.0) as f32;
            }
        }
        assert!(speed(Some(&seen), Planar::new(0.5, 0.0, 0.0)) >= 0.5);
        assert!(speed(Some(&seen), Planar::new(0.0, 0.5, 0.0)) < 0.5);
    }

    /// A thing of no size at a place, and nothing else.
    fn thing(x: f64, y: f64) -> Surroundings {
        let mut seen = around(30.0);
        let index = sector(y.atan2(x)).unwrap();
        seen.nearest_m[index] = x.hypot(y) as f32;
        seen
    }

    /// How far a disc goes on an arc before it meets a place, by small steps.
    fn walked(course: Planar, x: f64, y: f64, disc_m: f64) -> f64 {
        let step_s = 0.002 / course.speed();
        let mut pose = nooterra_protocol::geometry::Pose::default();
        for step in 0..5_000_u32 {
            if (pose.x - x).hypot(pose.y - y) <= disc_m {
                return f64::from(step) * 0.002;
            }
            pose = crate::planar::advance(pose, course, step_s);
        }
        f64::INFINITY
    }

    proptest::proptest! {
        #[test]
        fn it_stops_before_whatever_is_on_its_arc(
            speed in 0.05..1.5_f64, turn in -2.0..2.0_f64, away in 0.35..6.0_f64,
            angle in -PI..PI, doing in -2.0..2.0_f64,
        ) {
            let rule = Proximity { human_mps: 0.0, stop_m: 0.0, ..RULE };
            let (x, y) = (away * angle.cos(), away * angle.sin());
            let now = MonoNanos(1_000_000_000);
            let course = Planar::new(speed, 0.0, turn);
            for first in [course, Planar::new(speed, 0.0, doing)] {
                let allowed = Keeper::new(rule)
                    .allow(Some(&thing(x, y)), [first, course], now, &REACTIONS)
                    .map_or(speed, |allowed| allowed.speed_mps);
                // On the same arc, slower.
                let way = allowed * REACTIONS.reaction_s + allowed * allowed / 2.0;
                let free = walked(course, x, y, REACTIONS.radius_m);
                proptest::prop_assert!(way <= free + 0.003, "{way} m of {free}");
            }
        }

        #[test]
        fn what_is_well_beside_its_arc_does_not_stop_it(
            speed in 0.05..1.0_f64, radius in 0.4..5.0_f64, side in proptest::bool::ANY,
            turned in 0.0..1.5_f64, beside in 0.3..1.0_f64, inside in proptest::bool::ANY,
        ) {
            let side = if side { 1.0 } else { -1.0 };
            let course = Planar::new(speed, 0.0, side * speed / radius);
            // Sectors are 5 degrees wide, and a thing may be anywhere in one.
            let beside = 0.4 + beside + 0.1 * radius * turned;
            let from_middle = if inside { radius - beside } else { radius + beside };
            proptest::prop_assume!(from_middle > 0.0);
            let x = from_middle * turned.sin();
            let y = side * (radius - from_middle * turned.cos());
            proptest::prop_assume!(x.hypot(y) * TAU / SECTORS as f64 <= beside - 0.4);
            let rule = Proximity { human_mps: 0.0, ..RULE };
            let now = MonoNanos(1_000_000_000);
            let allowed =
                Keeper::new(rule).allow(Some(&thing(x, y)), [course; 2], now, &REACTIONS);
            proptest::prop_assert!(allowed.is_none(), "{allowed:?} at ({x}, {y})");
        }
    }

    #[test]
    fn a_robot_that_turns_away_from_what_is_ahead_goes_and_one_that_turns_towards_it_does_not() {
        // 1 m ahead and 1 m to the left: on the arc of 1 m to the left, and on no other.
        let seen = thing(1.0, 1.0);
        let rule = Proximity { human_mps: 0.0, ..RULE };
        let now = MonoNanos(1_000_000_000);
        let allow = |doing, course| {
            Keeper::new(rule)
                .allow(Some(&seen), [doing, course], now, &REACTIONS)
                .map(|allowed| allowed.speed_mps)
        };
        let at = |angular| Planar::new(0.8, 0.0, angular);
        assert!(allow(at(0.8), at(0.8)).is_some_and(|speed| speed <= 0.3));
        assert_eq!(allow(at(-0.8), at(-0.8)), None);
        assert_eq!(allow(at(0.0), at(0.0)), None);
        // On the way from one to the other it is met.
        assert!(allow(at(0.0), at(1.6)).is_some());
    }

    #[test]
    fn a_stop_holds_until_nothing_has_been_near_for_a_while_and_lets_the_way_back_open() {
        let mut keeper = Keeper::new(RULE);
        let mut near = around(9.0);
        near.nearest_m[0] = 0.5;
        near.nearest_m[SECTORS - 1] = 0.5;
        let (ahead, back) = (Planar::new(0.2, 0.0, 0.0), Planar::new(-0.2, 0.0, 0.0));
        let mut allow = |seen: &Surroundings, course, at: u64| {
            let at = MonoNanos(at * 1_000_000);
            let seen = Surroundings { at, ..*seen };
            keeper.allow(Some(&seen), [course; 2], at, &REACTIONS).map(|allowed| allowed.rule)
        };
        assert_eq!(allow(&near, ahead, 1_000), Some(Rule::ProximityStop));
        assert_eq!(allow(&near, back, 1_100), None);
        assert_eq!(allow(&around(9.0), ahead, 1_400), Some(Rule::ProximityStop));
        assert_eq!(allow(&around(9.0), ahead, 1_500), None);
    }
}
