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
//! - Zones by the gate's own code ([`nooterra_policy::recorded`]): the discs that it judges the
//!   robot by, at each point of the stopping path: the twist held for the reaction time, then
//!   braked to rest on its arc. The gate looks ahead in the same way, and acts before an edge
//!   is crossed. A path is looked at each 5 cm, or at 256 points where it is longer than that
//!   allows. Where motion is by course, the path is straight, and the circle around the robot is
//!   judged: which way it faced is not known.
//! - Zones that hold only at times or between heights where they held, by the gate's own code
//!   too. What is not known (the time, the height of what does not fly) restricts and does not
//!   permit. `zone.closed` acts on what moves while nothing to be kept in is open.
//! - Which sensors would have been off, by the zones of `privacy`.
//!
//! The rules about inputs (`input.stale`, `journal.behind`, ...) have no counterpart in a
//! recording; its gaps are listed instead.

use super::private::{Off, Private};
use super::timeline::{Moment, Timeline};
use crate::backtest::recording::Motion;
use nooterra_policy::recorded::{Recorded, Said, Seen};
use nooterra_policy::zones::Edge;
use nooterra_policy::{Planar, VerifiedPolicy};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::observation::Flying;
use nooterra_protocol::policy::{Limits, ZoneRule};
use serde::Serialize;

/// Beyond a limit by less than this is rounding, in the limit's unit.
const ROUNDING: f64 = 1e-9;

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

/// What a policy has to say of a timeline.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// In the order of their beginnings.
    pub intervals: Vec<Interval>,
    /// When sensors would have been off.
    pub private: Vec<Off>,
    /// Every rule that was judged, in the order of the policy.
    pub rules: Vec<Judged>,
}

/// Judges a timeline by a policy. `join_s` is the longest pause that does not end an interval.
#[must_use]
pub fn judge(policy: &VerifiedPolicy, timeline: &Timeline, join_s: f64) -> Verdict {
    let mut bench = Bench::new(policy, timeline);
    for moment in &timeline.moments {
        bench.judge(moment, join_s);
    }
    bench.finish()
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

    fn clearance(edge: &Edge) -> Self {
        let metres = edge.clearance_m;
        Self { excess: -metres, limit: 0.0, value: metres, zone: Some(usize::from(edge.zone)) }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    AccelAngular,
    Braking,
    Closed,
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
    /// Zones can be closed.
    conditional: bool,
    limits: &'a Limits,
    private: Private,
    recorded: Recorded,
    timeline: &'a Timeline,
    tracks: Vec<Track>,
    zones: Vec<(ZoneId, ZoneRule)>,
}

impl<'a> Bench<'a> {
    fn new(policy: &'a VerifiedPolicy, timeline: &'a Timeline) -> Self {
        let document = policy.document();
        let limits = &document.limits;
        let recorded = recorded(policy, timeline.motion);
        let mut bench = Self {
            conditional: document.zones.iter().any(|zone| {
                zone.rule == ZoneRule::KeepIn
                    && (zone.altitude.is_some() || !zone.windows.is_empty())
            }),
            limits,
            private: Private::default(),
            zones: recorded.zones(),
            recorded,
            timeline,
            tracks: Vec::new(),
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
        for (index, (id, rule)) in bench.zones.clone().into_iter().enumerate() {
            let zone = Some(id);
            match rule {
                ZoneRule::KeepIn => {
                    if bench.tracks.iter().any(|track| track.subject == Subject::KeepIn) {
                        continue;
                    }
                    if bench.conditional {
                        bench.track(Subject::Closed, Rule::ZoneClosed, None, 0.0, "m/s", None);
                    }
                    bench.track(Subject::KeepIn, Rule::ZoneKeepIn, None, 0.0, "m", None);
                }
                ZoneRule::KeepOut => {
                    bench.track(Subject::KeepOut(index), Rule::ZoneKeepOut, None, 0.0, "m", zone);
                }
                ZoneRule::Speed { max_linear_mps } => bench.track(
                    Subject::SlowZone(index),
                    Rule::ZoneSpeed,
                    None,
                    max_linear_mps,
                    "m/s",
                    zone,
                ),
            }
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
        let said = self.said(moment);
        if let Some(said) = said.as_ref().filter(|_| self.recorded.has_privacy()) {
            self.private.take(moment, said.privacy);
        }
        for index in 0..self.tracks.len() {
            let reading = self.read(self.tracks[index].subject, moment, said.as_ref());
            let zone = reading.and_then(|reading| reading.zone).map(|zone| &self.zones[zone].0);
            self.tracks[index].take(moment, reading, zone, join_s);
        }
    }

    /// What the zones say; `None` where no pose was recorded, or no zone asks for it.
    fn said(&mut self, moment: &Moment) -> Option<Said> {
        let asks = !self.zones.is_empty() || self.recorded.has_privacy();
        let pose = moment.pose.filter(|_| asks)?;
        let straight = Twist::new(moment.twist.linear, 0.0);
        let by_course = self.timeline.motion == Motion::Course;
        let flying = moment.height_m.filter(|_| self.recorded.flies()).map(|height_m| Flying {
            above_ground_m: None,
            above_takeoff_m: height_m - self.timeline.takeoff_m,
            climb_mps: moment.climb_mps,
            tilt_rad: 0.0,
        });
        let twist: Planar = if by_course { straight } else { moment.twist }.into();
        Some(self.recorded.judge(&Seen { clock: self.timeline.wall(moment), flying, pose, twist }))
    }

    fn read(&self, subject: Subject, moment: &Moment, said: Option<&Said>) -> Option<Reading> {
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
            Subject::Closed => said?.closed.then(|| Reading::speed(linear.abs(), 0.0)),
            Subject::KeepIn => {
                let edge = said?.edges.iter().find(|edge| edge.rule == Rule::ZoneKeepIn)?;
                Some(Reading::clearance(edge))
            }
            Subject::KeepOut(zone) => {
                let edge = said?.edges.iter().find(|edge| {
                    edge.rule == Rule::ZoneKeepOut && usize::from(edge.zone) == zone
                })?;
                Some(Reading::clearance(edge))
            }
            Subject::SlowZone(zone) => {
                let ZoneRule::Speed { max_linear_mps } = self.zones[zone].1 else {
                    return None;
                };
                let speeds = &said?.speeds;
                let (_, speed) = speeds.iter().find(|(of, _)| usize::from(*of) == zone)?;
                Some(Reading { zone: Some(zone), ..Reading::speed(*speed, max_linear_mps) })
            }
        }
    }

    fn finish(self) -> Verdict {
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
        Verdict { intervals, private: self.private.finish(), rules }
    }
}

/// The policy as a vehicle that moves so is judged by it.
pub(super) fn recorded(policy: &VerifiedPolicy, motion: Motion) -> Recorded {
    let recorded = Recorded::new(policy);
    if motion == Motion::Course { recorded.facing_anywhere() } else { recorded }
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
    use super::super::verified;
    use super::*;
    use nooterra_protocol::geometry::Pose;
    use nooterra_protocol::policy::PolicyDocument;

    fn document() -> PolicyDocument {
        let text = include_str!("../../../examples/robots/amr/policy.json");
        serde_json::from_str(text).unwrap()
    }

    /// Ten moments per second at one place.
    fn timeline(twists: &[(f64, f64)], pose: Option<Pose>) -> Timeline {
        let moments = twists.iter().enumerate().map(|(index, (linear, angular))| Moment {
            accel: Some(Twist::ZERO),
            climb_mps: 0.0,
            height_m: None,
            holds_s: 0.1,
            is_first: index == 0,
            pose,
            t_s: index as f64 * 0.1,
            twist: Twist::new(*linear, *angular),
        });
        Timeline {
            began: None,
            gaps: Vec::new(),
            moments: moments.collect(),
            motion: Motion::Heading,
            notes: Vec::new(),
            path_m: 0.0,
            takeoff_m: 0.0,
        }
    }

    fn found(timeline: &Timeline, join_s: f64) -> Vec<Interval> {
        judge(&verified(&document()), timeline, join_s).intervals
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
        // The press begins at x = 4, the hall at x = 0.1.
        let at = |x: f64, v: f64| {
            let pose = Pose { x, y: 3.8, yaw: 0.0 };
            found(&timeline(&[(v, 0.0), (v, 0.0)], Some(pose)), 0.0)
        };
        let body = recorded(&verified(&document()), Motion::Heading);
        let discs = body.body().discs();
        let ahead = discs.iter().map(|disc| disc.center.x + disc.radius_m).fold(0.0, f64::max);
        let behind = discs.iter().map(|disc| disc.radius_m - disc.center.x).fold(0.0, f64::max);
        assert!(ahead > 0.4 && ahead < 0.45 && discs.len() > 1, "{discs:?}");
        assert!(at(4.0 - ahead - 0.01, 0.0).is_empty());
        // 1 m/s: 0.12 m until it acts, 0.36 m to brake.
        let way = 0.12 + 0.5 / 1.4;
        assert!(at(4.0 - ahead - way - 0.01, 1.0).is_empty());
        let found = at(4.0 - ahead - way + 0.01, 1.0);
        assert_eq!(found[0].rule, Rule::ZoneKeepOut);
        assert_eq!(found[0].zone.as_ref().unwrap().as_str(), "press");
        assert!((found[0].worst.excess - 0.01).abs() < 1e-9, "{found:?}");
        // Outside the hall, moving or not.
        let found = at(-3.0, 0.0);
        assert_eq!(found[0].rule, Rule::ZoneKeepIn);
        assert!((found[0].worst.value + 3.1 + behind).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_speed_zone_is_judged_where_the_path_leads() {
        let pose = Pose { x: 4.1, y: 6.5, yaw: 0.0 };
        let line = timeline(&[(1.2, 0.0), (0.5, 0.0)], Some(pose));
        let found = found(&line, 0.0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].rule, Rule::ZoneSpeed);
        // Reached while braking.
        assert!(found[0].worst.value < 1.2 && found[0].worst.value > 0.6);
    }

    #[test]
    fn every_rule_says_what_was_measured_also_where_it_did_not_act() {
        let line = timeline(&[(0.5, 0.1); 200], Some(Pose { x: 2.0, y: 2.0, yaw: 0.0 }));
        let Verdict { rules, intervals, .. } = judge(&verified(&document()), &line, 0.5);
        assert!(intervals.is_empty());
        assert_eq!(rules.len(), 9);
        assert_eq!(rules[0].p99, Some(0.5));
        assert_eq!(rules[1].most, None, "it never reversed");
        let hall = rules.iter().find(|judged| judged.rule == Rule::ZoneKeepIn).unwrap();
        assert!(hall.most.unwrap() > 1.0 && hall.p99.is_none());
    }
}
