//! Keeping away from whoever or whatever stands in the way, by a range sensor.
//!
//! The separation is that of ISO/TS 15066, 5.5.4: what remains between a person and the robot
//! covers the way that the person goes until the robot rests, the robot's way while it reacts
//! and while it brakes, intrusion and uncertainty. Solved for the speed, it is a limit.
//!
//! # What counts as in the way
//! A return ahead of the robot, on its course, within a corridor as wide as the robot's disc,
//! what a body may reach into it and what a person walks while the robot reacts. What stands
//! beside the robot or behind it does not hold it: turning on the spot moves no part of its
//! disc. A direction in which the sensor sees nothing of use, or a sensor that is silent, is
//! an obstacle that touches the robot.

use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use nooterra_protocol::observation::Scan;
use nooterra_protocol::policy::Proximity;
use nooterra_protocol::time::MonoNanos;
use std::f64::consts::TAU;
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

    /// What remains of a wish to go `course` (body frame); `None` when it may go as it likes.
    pub(crate) fn allow(
        &mut self,
        seen: Option<&Surroundings>,
        course: Planar,
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
                let aside = reactions.radius_m
                    + rule.intrusion_m
                    + rule.human_mps * (reactions.reaction_s + age.as_secs_f64());
                clearance(seen, course, reactions.radius_m, aside)
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

/// How far the robot's disc may go on its course before it meets a return, metres.
fn clearance(seen: &Surroundings, course: Planar, radius_m: f64, aside_m: f64) -> f64 {
    let heading = course.y.atan2(course.x);
    let width = TAU / SECTORS as f64;
    let mut least = f64::INFINITY;
    for (index, nearest) in seen.nearest_m.iter().enumerate() {
        let range = f64::from(*nearest);
        // The edge of the sector that is nearer to the course.
        let from = index as f64 * width - heading;
        let off = nearest_angle(from, width);
        let (sin, cos) = off.sin_cos();
        // Exactly abeam is beside, whatever rounding makes of its cosine.
        if cos > 1e-9 && range * sin.abs() <= aside_m {
            least = least.min((range * cos - radius_m).max(0.0));
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
            .allow(seen, course, now, &REACTIONS)
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
            keeper.allow(Some(&seen), course, at, &REACTIONS).map(|allowed| allowed.rule)
        };
        assert_eq!(allow(&near, ahead, 1_000), Some(Rule::ProximityStop));
        assert_eq!(allow(&near, back, 1_100), None);
        assert_eq!(allow(&around(9.0), ahead, 1_400), Some(Rule::ProximityStop));
        assert_eq!(allow(&around(9.0), ahead, 1_500), None);
    }
}
