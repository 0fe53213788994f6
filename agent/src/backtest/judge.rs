//! When, for how long and by how much a recorded motion lies outside the envelope.
//!
//! Each moment is judged as the robot was then, as if it had come there by itself: what the
//! gate would have changed before does not carry on. So a tightened policy shows each place
//! where it would act, not only the first.
//!
//! # What is judged
//! - `speed.linear`: forward and in reverse; `speed.angular`: either way.
//! - `accel.linear`: speeding up against one limit, braking against the other;
//!   `accel.angular`.
//! - Zones by the robot's disc (the circle around its outline, the margin, and the gate's
//!   slack) at each point of its stopping path: the twist held for the reaction time, then
//!   braked to rest on its arc. The gate looks ahead in the same way, and acts before an edge
//!   is crossed. A path is looked at each 5 cm, or at 256 points where it is longer than that
//!   allows. Where motion is by course, the path is straight.
//!
//! Each zone is judged as if it were in force: at which time or height it is, is not looked at.
//!
//! The rules about inputs (`input.stale`, `journal.behind`, ...) have no counterpart in a
//! recording; its gaps are listed instead.

use super::timeline::{Moment, Timeline};
use crate::backtest::recording::Motion;
use nooterra_policy::planar::advance;
use nooterra_policy::zones::{SLACK_M, Shape};
use nooterra_policy::{DocumentError, check_document, limits};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Twist};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::{Limits, PolicyDocument, ZoneRule};
use serde::Serialize;

/// Beyond a limit by less than this is rounding, in the limit's unit.
const ROUNDING: f64 = 1e-9;

/// Between two looks at a stopping path, metres.
const LOOK_M: f64 = 0.05;

/// The most looks at a stopping path, beside the one at its start.
const MOST_LOOKS: u32 = 256;

/// Which side of a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Getting slower.
    Braking,
    /// Going forward.
    Forward,
    /// Going backward.
    Reverse,
    /// Getting faster.
    SpeedingUp,
}

impl Way {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Braking => "braking",
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::SpeedingUp => "speeding up",
        }
    }
}

/// A rule of the policy that can be judged, and what the recording shows of it.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Stretches in which it would have acted.
    pub intervals: usize,
    /// The limit; for zones that must be kept in or out of, 0 m of clearance.
    pub limit: f64,
    /// The most that was measured, or the least clearance; `None` where there was nothing to
    /// measure.
    pub most: Option<f64>,
    /// In all of them together, seconds.
    pub over_s: f64,
    /// Below this are 99 % of the measured moments; `None` for clearances.
    pub p99: Option<f64>,
    /// The rule.
    pub rule: Rule,
    /// Of all three numbers.
    pub unit: &'static str,
    /// Which side of it.
    pub way: Option<Way>,
    /// The zone; of several to be kept in, the rule is about all together.
    pub zone: Option<ZoneId>,
}

/// A stretch in which a rule would have acted. Pauses shorter than the join are part of it.
#[derive(Clone, Debug, Serialize)]
pub struct Interval {
    /// When it began, seconds since the first moment.
    pub from_s: f64,
    /// How long the rule would have acted in it, seconds.
    pub over_s: f64,
    /// The rule.
    pub rule: Rule,
    /// When it ended.
    pub to_s: f64,
    /// Which side of the rule.
    pub way: Option<Way>,
    /// Where it was worst.
    pub worst: Worst,
    /// The zone.
    pub zone: Option<ZoneId>,
}

/// The worst moment of an interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Worst {
    /// By how much, in the unit of the rule.
    pub excess: f64,
    /// The limit there.
    pub limit: f64,
    /// When, seconds since the first moment.
    pub t_s: f64,
    /// What was measured: a speed, an acceleration, or a clearance (negative beyond the edge).
    pub value: f64,
    /// Where, metres; `None` where no poses were recorded.
    pub x: Option<f64>,
    /// See `x`.
    pub y: Option<f64>,
}

/// Judges a timeline by a policy. `join_s` is the longest pause that does not end an interval.
///
/// # Errors
/// [`DocumentError`] when the policy makes no sense.
pub fn judge(
    policy: &PolicyDocument,
    timeline: &Timeline,
    join_s: f64,
) -> Result<(Vec<Judged>, Vec<Interval>), DocumentError> {
    check_document(policy)?;
    let mut bench = Bench::new(policy, timeline.motion);
    for moment in &timeline.moments {
        bench.judge(moment, join_s);
    }
    Ok(bench.finish())
}

/// What was measured at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    excess: f64,
    limit: f64,
    value: f64,
    /// For a rule about several zones: which.
    zone: Option<usize>,
}

impl Reading {
    const fn speed(value: f64, limit: f64) -> Self {
        Self { excess: value - limit, limit, value, zone: None }
    }

    const fn clearance(metres: f64, zone: usize) -> Self {
        Self { excess: -metres, limit: 0.0, value: metres, zone: Some(zone) }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    AccelAngular,
    Braking,
    Forward,
    KeepIn,
    KeepOut(usize),
    Reverse,
    SlowZone(usize),
    SpeedingUp,
    Turn,
}

/// One rule on its way through the timeline.
#[derive(Debug)]
struct Track {
    closed: Vec<Interval>,
    judged: Judged,
    open: Option<Interval>,
    subject: Subject,
    /// All that was measured, for the percentile; nothing for zones.
    values: Vec<f64>,
}

/// All rules of a policy.
#[derive(Debug)]
struct Bench<'a> {
    limits: &'a Limits,
    motion: Motion,
    radius_m: f64,
    tracks: Vec<Track>,
    zones: Vec<(&'a ZoneRule, Shape)>,
    zone_ids: Vec<&'a ZoneId>,
}

impl<'a> Bench<'a> {
    fn new(policy: &'a PolicyDocument, motion: Motion) -> Self {
        let limits = &policy.limits;
        let outline = policy.footprint.outline.iter().map(|corner| corner.x.hypot(corner.y));
        let mut bench = Self {
            limits,
            motion,
            radius_m: outline.fold(0.0, f64::max) + policy.footprint.margin_m + SLACK_M,
            tracks: Vec::new(),
            zones: Vec::new(),
            zone_ids: Vec::new(),
        };
        for (subject, rule, way, limit, unit) in [
            (Subject::Forward, Rule::SpeedLinear, Some(Way::Forward), limits.max_linear_mps, "m/s"),
            (
                Subject::Reverse,
                Rule::SpeedLinear,
                Some(Way::Reverse),
                limits.max_reverse_mps,
                "m/s",
            ),
            (Subject::Turn, Rule::SpeedAngular, None, limits.max_angular_radps, "rad/s"),
            (
                Subject::SpeedingUp,
                Rule::AccelLinear,
                Some(Way::SpeedingUp),
                limits.max_linear_accel_mps2,
                "m/s²",
            ),
            (
                Subject::Braking,
                Rule::AccelLinear,
                Some(Way::Braking),
                limits.max_decel_mps2,
                "m/s²",
            ),
            (
                Subject::AccelAngular,
                Rule::AccelAngular,
                None,
                limits.max_angular_accel_radps2,
                "rad/s²",
            ),
        ] {
            bench.track(subject, rule, way, limit, unit, None);
        }
        for (index, zone) in policy.zones.iter().enumerate() {
            let shape = Shape::of(zone).expect("check_document took this zone");
            match zone.rule {
                ZoneRule::KeepIn => {
                    if bench.tracks.iter().all(|track| track.subject != Subject::KeepIn) {
                        bench.track(Subject::KeepIn, Rule::ZoneKeepIn, None, 0.0, "m", None);
                    }
                }
                ZoneRule::KeepOut => bench.track(
                    Subject::KeepOut(index),
                    Rule::ZoneKeepOut,
                    None,
                    0.0,
                    "m",
                    Some(zone.id.clone()),
                ),
                ZoneRule::Speed { max_linear_mps } => bench.track(
                    Subject::SlowZone(index),
                    Rule::ZoneSpeed,
                    None,
                    max_linear_mps,
                    "m/s",
                    Some(zone.id.clone()),
                ),
            }
            bench.zones.push((&zone.rule, shape));
            bench.zone_ids.push(&zone.id);
        }
        bench
    }

    fn track(
        &mut self,
        subject: Subject,
        rule: Rule,
        way: Option<Way>,
        limit: f64,
        unit: &'static str,
        zone: Option<ZoneId>,
    ) {
        let judged = Judged {
            intervals: 0,
            limit,
            most: None,
            over_s: 0.0,
            p99: None,
            rule,
            unit,
            way,
            zone,
        };
        self.tracks.push(Track {
            closed: Vec::new(),
            judged,
            open: None,
            subject,
            values: Vec::new(),
        });
    }

    fn judge(&mut self, moment: &Moment, join_s: f64) {
        let path = self.stopping_path(moment);
        for index in 0..self.tracks.len() {
            let reading = self.read(self.tracks[index].subject, moment, &path);
            let zone = reading.and_then(|reading| reading.zone).map(|zone| self.zone_ids[zone]);
            self.tracks[index].take(moment, reading, zone, join_s);
        }
    }

    fn read(&self, subject: Subject, moment: &Moment, path: &[(Point, f64)]) -> Option<Reading> {
        let limits = self.limits;
        let Twist { linear, angular } = moment.twist;
        let slows = |accel: Twist| accel.linear * linear < 0.0;
        match subject {
            Subject::Forward => {
                (linear >= 0.0).then(|| Reading::speed(linear, limits.max_linear_mps))
            }
            Subject::Reverse => {
                (linear < 0.0).then(|| Reading::speed(-linear, limits.max_reverse_mps))
            }
            Subject::Turn => Some(Reading::speed(angular.abs(), limits.max_angular_radps)),
            Subject::SpeedingUp => {
                let accel = moment.accel.filter(|accel| !slows(*accel))?;
                Some(Reading::speed(accel.linear.abs(), limits.max_linear_accel_mps2))
            }
            Subject::Braking => {
                let accel = moment.accel.filter(|accel| slows(*accel))?;
                Some(Reading::speed(accel.linear.abs(), limits.max_decel_mps2))
            }
            Subject::AccelAngular => {
                let accel = moment.accel?;
                Some(Reading::speed(accel.angular.abs(), limits.max_angular_accel_radps2))
            }
            Subject::KeepIn => {
                path.iter().filter_map(|(at, _)| self.kept_in(*at)).max_by(by_excess)
            }
            Subject::KeepOut(zone) => path
                .iter()
                .map(|(at, _)| Reading::clearance(self.outside(zone, *at), zone))
                .max_by(by_excess),
            Subject::SlowZone(zone) => {
                let ZoneRule::Speed { max_linear_mps } = self.zones[zone].0 else {
                    return None;
                };
                path.iter()
                    .filter(|(at, _)| self.outside(zone, *at) <= 0.0)
                    .map(|(_, speed)| Reading {
                        zone: Some(zone),
                        ..Reading::speed(*speed, *max_linear_mps)
                    })
                    .max_by(by_excess)
            }
        }
    }

    /// In the zone to be kept in that holds the disc best.
    fn kept_in(&self, at: Point) -> Option<Reading> {
        self.zones
            .iter()
            .enumerate()
            .filter(|(_, (rule, _))| **rule == ZoneRule::KeepIn)
            .map(|(zone, (_, polygon))| {
                Reading::clearance(-polygon.signed_distance(at) - self.radius_m, zone)
            })
            .min_by(by_excess)
    }

    fn outside(&self, zone: usize, at: Point) -> f64 {
        self.zones[zone].1.signed_distance(at) - self.radius_m
    }

    /// Points from where the robot is to where it would come to rest, and its speed at each;
    /// empty where no pose was recorded or no zone asks for it.
    fn stopping_path(&self, moment: &Moment) -> Vec<(Point, f64)> {
        let Some(pose) = moment.pose.filter(|_| !self.zones.is_empty()) else {
            return Vec::new();
        };
        let straight = Twist::new(moment.twist.linear, 0.0);
        let twist = if self.motion == Motion::Course { straight } else { moment.twist };
        let speed = twist.linear.abs();
        let hold_s = f64::from(self.limits.reaction_ms) / 1000.0;
        let brake_s = limits::brake_seconds(twist, self.limits);
        let length_m = speed * (hold_s + brake_s / 2.0);
        if length_m < ROUNDING {
            return vec![(pose.point(), speed)];
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates.
        let looks = ((length_m / LOOK_M).ceil() as u32).clamp(1, MOST_LOOKS);
        (0..=looks)
            .map(|look| {
                let along_m = length_m * f64::from(look) / f64::from(looks);
                let braked_m = along_m - speed * hold_s;
                let left = speed * speed - 2.0 * (speed / brake_s) * braked_m.max(0.0);
                (advance(pose, twist.into(), along_m / speed).point(), left.max(0.0).sqrt())
            })
            .collect()
    }

    fn finish(self) -> (Vec<Judged>, Vec<Interval>) {
        let mut rules = Vec::with_capacity(self.tracks.len());
        let mut intervals = Vec::new();
        for mut track in self.tracks {
            track.close();
            track.judged.intervals = track.closed.len();
            track.judged.over_s =
                track.closed.iter().fold(0.0, |over_s, interval| over_s + interval.over_s);
            track.judged.p99 = percentile_99(&mut track.values);
            rules.push(track.judged);
            intervals.append(&mut track.closed);
        }
        // Stable: what begins at one moment stays in the order of the rules.
        intervals.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
        (rules, intervals)
    }
}

fn by_excess(a: &Reading, b: &Reading) -> std::cmp::Ordering {
    a.excess.total_cmp(&b.excess)
}

fn percentile_99(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len().saturating_sub(1)) * 99 / 100).copied()
}

impl Track {
    fn take(
        &mut self,
        moment: &Moment,
        reading: Option<Reading>,
        zone: Option<&ZoneId>,
        join_s: f64,
    ) {
        if moment.is_first {
            self.close();
        }
        let Some(reading) = reading else {
            return;
        };
        let is_clearance = self.judged.unit == "m";
        let most = self.judged.most.get_or_insert(reading.value);
        *most = if is_clearance { most.min(reading.value) } else { most.max(reading.value) };
        if zone.is_none() {
            self.values.push(reading.value);
        }
        if reading.excess <= ROUNDING {
            return;
        }
        let worst = Worst {
            excess: reading.excess,
            limit: reading.limit,
            t_s: moment.t_s,
            value: reading.value,
            x: moment.pose.map(|pose| pose.x),
            y: moment.pose.map(|pose| pose.y),
        };
        let to_s = moment.t_s + moment.holds_s;
        match &mut self.open {
            Some(open) if moment.t_s - open.to_s <= join_s + ROUNDING => {
                open.to_s = to_s;
                open.over_s += moment.holds_s;
                if worst.excess > open.worst.excess {
                    open.worst = worst;
                    open.zone = zone.cloned();
                }
            }
            _ => {
                self.close();
                self.open = Some(Interval {
                    from_s: moment.t_s,
                    over_s: moment.holds_s,
                    rule: self.judged.rule,
                    to_s,
                    way: self.judged.way,
                    worst,
                    zone: zone.cloned(),
                });
            }
        }
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Pose;

    fn policy() -> PolicyDocument {
        let text = include_str!("../../../examples/robots/amr/policy.json");
        serde_json::from_str(text).unwrap()
    }

    /// Ten moments per second at one place.
    fn timeline(twists: &[(f64, f64)], pose: Option<Pose>) -> Timeline {
        let moments = twists.iter().enumerate().map(|(index, (linear, angular))| Moment {
            accel: Some(Twist::ZERO),
            holds_s: 0.1,
            is_first: index == 0,
            pose,
            t_s: index as f64 * 0.1,
            twist: Twist::new(*linear, *angular),
        });
        Timeline {
            gaps: Vec::new(),
            moments: moments.collect(),
            motion: Motion::Heading,
            notes: Vec::new(),
            path_m: 0.0,
        }
    }

    fn found(timeline: &Timeline, join_s: f64) -> Vec<Interval> {
        judge(&policy(), timeline, join_s).unwrap().1
    }

    #[test]
    fn an_interval_says_when_how_long_and_by_how_much() {
        let speeds = [1.4, 1.6, 1.9, 1.7, 1.5, 1.5, -0.2, -0.5, -0.3, 0.0];
        let timeline = timeline(&speeds.map(|v| (v, 0.0)), None);
        let found = found(&timeline, 0.0);
        assert_eq!(found.len(), 2);
        let (fast, back) = (&found[0], &found[1]);
        assert_eq!((fast.rule, fast.way), (Rule::SpeedLinear, Some(Way::Forward)));
        assert!((fast.from_s - 0.1).abs() < 1e-9 && (fast.to_s - 0.4).abs() < 1e-9);
        assert!((fast.over_s - 0.3).abs() < 1e-9);
        assert!((fast.worst.excess - 0.4).abs() < 1e-9 && (fast.worst.t_s - 0.2).abs() < 1e-9);
        assert_eq!(back.way, Some(Way::Reverse));
        assert!((back.worst.excess - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_pause_shorter_than_the_join_does_not_end_an_interval_and_a_gap_does() {
        let turns = [2.0, 0.0, 0.0, 2.0, 0.0, 2.0];
        let mut line = timeline(&turns.map(|w| (0.0, w)), None);
        assert_eq!(found(&line, 0.0).len(), 3);
        assert_eq!(found(&line, 0.15).len(), 2);
        let joined = found(&line, 0.5);
        assert_eq!(joined.len(), 1);
        assert!((joined[0].over_s - 0.3).abs() < 1e-9 && (joined[0].to_s - 0.6).abs() < 1e-9);
        line.moments[3].is_first = true;
        assert_eq!(found(&line, 0.5).len(), 2);
    }

    #[test]
    fn braking_and_speeding_up_have_their_own_limits() {
        let mut line = timeline(&[(0.5, 0.0), (0.5, 0.0), (-0.2, 0.0), (-0.2, 0.0)], None);
        for (moment, accel) in line.moments.iter_mut().zip([1.3, -1.3, 1.45, -1.3]) {
            moment.accel = Some(Twist::new(accel, 4.5));
        }
        let found = found(&line, 0.0);
        let of = |way| found.iter().filter(|i| i.way == Some(way)).collect::<Vec<_>>();
        assert_eq!((of(Way::SpeedingUp).len(), of(Way::Braking).len()), (2, 1));
        assert!((of(Way::Braking)[0].worst.t_s - 0.2).abs() < 1e-9);
        assert!(found.iter().any(|interval| interval.rule == Rule::AccelAngular));
    }

    #[test]
    fn a_zone_acts_before_its_edge_is_crossed() {
        // The disc's radius is 0.485 m; the press begins at x = 4.
        let at = |x: f64, v: f64| {
            let pose = Pose { x, y: 3.8, yaw: 0.0 };
            found(&timeline(&[(v, 0.0), (v, 0.0)], Some(pose)), 0.0)
        };
        assert!(at(3.4, 0.0).is_empty());
        // 1 m/s: 0.12 m until it acts, 0.36 m to brake.
        assert!(at(3.0, 1.0).is_empty());
        let found = at(3.1, 1.0);
        assert_eq!(found[0].rule, Rule::ZoneKeepOut);
        assert_eq!(found[0].zone.as_ref().unwrap().as_str(), "press");
        let deepest = 3.1 + 0.12 + 0.5 / 1.4 + 0.35_f64.hypot(0.25) + 0.055 - 4.0;
        assert!((found[0].worst.excess - deepest).abs() < 1e-9, "{found:?}");
        // Outside the hall, moving or not.
        let found = at(-3.0, 0.0);
        assert_eq!(found[0].rule, Rule::ZoneKeepIn);
        assert!((found[0].worst.value + 3.1 + 0.35_f64.hypot(0.25) + 0.055).abs() < 1e-9);
    }

    #[test]
    fn a_speed_zone_is_judged_where_the_path_leads() {
        let pose = Pose { x: 4.0, y: 6.5, yaw: 0.0 };
        let line = timeline(&[(1.2, 0.0), (0.5, 0.0)], Some(pose));
        let found = found(&line, 0.0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].rule, Rule::ZoneSpeed);
        // From the edge of the disc to the zone: 0.515 m, reached while braking.
        assert!(found[0].worst.value < 1.2 && found[0].worst.value > 0.6);
    }

    #[test]
    fn every_rule_says_what_was_measured_also_where_it_did_not_act() {
        let line = timeline(&[(0.5, 0.1); 200], Some(Pose { x: 2.0, y: 2.0, yaw: 0.0 }));
        let (rules, intervals) = judge(&policy(), &line, 0.5).unwrap();
        assert!(intervals.is_empty());
        assert_eq!(rules.len(), 9);
        assert_eq!(rules[0].p99, Some(0.5));
        assert_eq!(rules[1].most, None, "it never reversed");
        let hall = rules.iter().find(|judged| judged.rule == Rule::ZoneKeepIn).unwrap();
        assert!(hall.most.unwrap() > 1.0 && hall.p99.is_none());
    }
}
