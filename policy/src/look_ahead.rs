//! Where a new setpoint will find the robot, and whether what it leads to keeps every rule.
//!
//! What is written now takes effect only after the reaction time, and what was measured is
//! already old. In between the robot does what it was told before; the gate remembers that.

use crate::conditions::{Moment, Span};
use crate::law::{Arm, Axes, Band, Breach, Height, Law, Reach};
use crate::planar::{Heading, Planar, advance, advance_heading};
use crate::walk::Broken;
use crate::zones::{Edge, Near, Path, SLACK_M, Standing, Uncertainty, ZoneMap};
use nooterra_protocol::command::MAX_JOINTS;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::observation::{Flying, JointStates, Timed};
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// The longest memory of setpoints. The oldest odometry (1 s) and the longest reaction (1 s)
/// fit at 500 ticks per second; a faster loop forgets the oldest, and the gate then takes the
/// measured motion for them.
const MEMORY: usize = 1024;

/// Measured and asked for differ by more than lag and noise, m/s and rad/s.
pub(crate) const DOUBT: Planar = Planar { angular: 0.1, x: 0.03, y: 0.03 };

/// Slower than this, what flies keeps its height: above the noise of a barometer, m/s.
pub(crate) const CLIMB_DOUBT_MPS: f64 = 0.2;

/// Halvings of the range between braking and the wish: 2⁻⁸ of it remains, a quarter of a
/// millimetre per second of what a tick may change.
pub(crate) const HALVINGS: u32 = 8;

/// The parts of the range that are left then.
const PARTS: u32 = 1 << HALVINGS;

/// How far from a guess it is looked, in parts, before the range is halved: a guess is mostly
/// right, or off by few.
const BESIDE: [u32; 3] = [0, 1, 4];

/// What was written and when: a ring that never grows, as a `VecDeque` could.
#[derive(Debug)]
pub(crate) struct Memory {
    /// How many count.
    count: usize,
    entries: Box<[Noted]>,
    /// Where the next one goes.
    next: usize,
}

type Noted = (MonoNanos, Axes);

impl Memory {
    pub(crate) fn new() -> Self {
        let entries = vec![(MonoNanos(0), Axes::ZERO); MEMORY].into_boxed_slice();
        Self { count: 0, entries, next: 0 }
    }

    pub(crate) fn clear(&mut self) {
        (self.count, self.next) = (0, 0);
    }

    pub(crate) fn note(&mut self, at: MonoNanos, axes: Axes) {
        if let Some(entry) = self.entries.get_mut(self.next) {
            *entry = (at, axes);
        }
        self.next = (self.next + 1) % MEMORY;
        self.count = (self.count + 1).min(MEMORY);
    }

    /// What is in force at `from`, if that is remembered, and what follows it.
    fn since(&self, from: MonoNanos) -> (Option<&Axes>, impl Iterator<Item = &Noted>) {
        // Back from the newest: few ticks fit into a reaction time.
        let back = |count: usize| self.entries.get((self.next + MEMORY - count) % MEMORY);
        let mut later = 0;
        while later < self.count && back(later + 1).is_some_and(|(at, _)| *at > from) {
            later += 1;
        }
        let in_force = if later < self.count { back(later + 1) } else { None };
        let in_force = in_force.map(|(_, axes)| axes);
        (in_force, (0..later).filter_map(move |at| back(later - at)))
    }

    /// The least and the most that an axis was, or was measured to be, since `from`.
    fn range(&self, from: MonoNanos, axis: usize, measured: f64) -> (f64, f64) {
        let (in_force, later) = self.since(from);
        let told = in_force.into_iter().chain(later.map(|(_, axes)| axes));
        // The laws know how many axes there are, and ask for no other.
        told.filter_map(|axes| axes.0.get(axis).copied())
            .fold((measured, measured), |(least, most), value| (least.min(value), most.max(value)))
    }
}

/// What is measured of the robot, of the kinds that its law needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) flying: Option<Timed<Flying>>,
    pub(crate) joints: Option<Timed<JointStates>>,
    /// How it moves: in the body frame, or in the `map` frame where its law's setpoints are.
    pub(crate) moving: Planar,
    pub(crate) now: MonoNanos,
    pub(crate) pose: Timed<Pose>,
    pub(crate) reaction: Duration,
}

/// Where a new setpoint will find the robot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// The measured motion does not fit what was written: where it would lead instead, and the
    /// motion. Then both must be safe.
    doubt: Option<(Pose, Planar)>,
    height: Option<Height>,
    reach: Option<Reach>,
    /// If the robot does as it was told.
    pub(crate) start: Pose,
}

impl Ahead {
    /// Foresees from what was measured, along what was written before.
    pub(crate) fn new(measured: &Measured, memory: &Memory, law: &Law) -> Self {
        let Measured { moving, now, pose, .. } = *measured;
        let from = measured.from(pose.at);
        let (in_force, later) = memory.since(from);
        let expected = in_force.map_or(moving, |axes| law.planar(axes));
        let (mut start, mut heading) = (pose.value, None);
        // What stands goes nowhere.
        let mut go = |twist: Planar, seconds: f64| {
            if twist != Planar::ZERO {
                let from = heading.unwrap_or_else(|| Heading::of(start));
                let (there, then) = advance_heading(start, from, twist, seconds);
                (start, heading) = (there, Some(then));
            }
        };
        let (mut at, mut twist) = (from, expected);
        for (next, axes) in later {
            go(twist, seconds(at, *next));
            (at, twist) = (*next, law.planar(axes));
        }
        go(twist, seconds(at, now));
        let doubt = is_odd(moving, expected, law)
            .then(|| (advance(pose.value, moving, seconds(from, now)), moving));
        Self {
            doubt,
            height: measured.height(memory, law),
            reach: measured.reach(memory, law),
            start,
        }
    }
}

impl Ahead {
    /// So far from the start leads no setpoint between the two `candidates`, held for `hold_s`
    /// and then braked, nor the measured motion, metres.
    pub(crate) fn reach_m(&self, law: &Law, candidates: [&Axes; 2], hold_s: f64) -> f64 {
        let (apart, measured) = self.doubt.map_or((0.0, Planar::ZERO), |(pose, twist)| {
            (pose.point().distance(self.start.point()), twist)
        });
        // No path between the candidates is longer than the fastest held and braked longest.
        let (mut speed, mut brake_s) = (0.0_f64, 0.0_f64);
        for twist in [law.planar(candidates[0]), law.planar(candidates[1]), measured] {
            (speed, brake_s) = (speed.max(twist.speed()), brake_s.max(law.brake_seconds(twist)));
        }
        apart + speed * (hold_s + brake_s / 2.0)
    }
}

/// The measured motion does not fit what was written.
fn is_odd(moving: Planar, expected: Planar, law: &Law) -> bool {
    let odd = (moving.x - expected.x).abs() > DOUBT.x
        || (moving.y - expected.y).abs() > DOUBT.y
        || (moving.angular - expected.angular).abs() > DOUBT.angular;
    // How what flies turns leads nowhere.
    odd && (law.is_body_frame() || moving.speed() > DOUBT.x)
}

/// No further than this from where it was measured at `at` is the robot foreseen ([`Ahead`]),
/// metres: for a fraction of the price. `None` where the measured motion does not fit what was
/// written.
pub(crate) fn drift_m(
    moving: Planar,
    [at, now]: [MonoNanos; 2],
    memory: &Memory,
    law: &Law,
) -> Option<f64> {
    let from = effect_from(at, now, law.reaction());
    let (in_force, later) = memory.since(from);
    let expected = in_force.map_or(moving, |axes| law.planar(axes));
    if is_odd(moving, expected, law) {
        return None;
    }
    // An arc is no longer than its fastest part, all the time; its chord is shorter.
    let fastest =
        later.fold(expected.speed(), |most, (_, axes)| larger(most, law.planar(axes).speed()));
    Some(fastest * seconds(from, now))
}

/// As `f64::max`, which drops what is no number.
pub(crate) fn larger(one: f64, other: f64) -> f64 {
    if one.is_nan() || other <= one { one } else { other }
}

/// The moment from which on setpoints have an effect that a measurement does not show.
fn effect_from(at: MonoNanos, now: MonoNanos, reaction: Duration) -> MonoNanos {
    let nanos = u64::try_from(reaction.as_nanos()).unwrap_or(u64::MAX);
    MonoNanos(at.min(now).0.saturating_sub(nanos))
}

impl Measured {
    /// The moment from which on setpoints have an effect that a measurement does not show.
    fn from(&self, at: MonoNanos) -> MonoNanos {
        effect_from(at, self.now, self.reaction)
    }

    fn height(&self, memory: &Memory, law: &Law) -> Option<Height> {
        law.band()?;
        let Timed { at, value } = self.flying?;
        let from = self.from(at);
        let delay_s = seconds(from, self.now);
        let (least, most) = memory.range(from, 2, value.climb_mps);
        Some(Height {
            highest_m: value.above_takeoff_m + most.max(0.0) * delay_s,
            lowest_m: value.above_ground_m.unwrap_or(value.above_takeoff_m)
                + least.min(0.0) * delay_s,
        })
    }

    /// Between which heights it may be when a new setpoint takes effect; the time is left out.
    pub(crate) fn heights(&self, memory: &Memory, law: &Law) -> Moment {
        let (Some(_), Some(Timed { at, value })) = (law.band(), self.flying) else {
            return Moment::default();
        };
        let from = self.from(at);
        let (in_force, later) = memory.since(from);
        let expected = in_force.map_or(value.climb_mps, |axes| axes.0[2]);
        // What it was told, to the end: with it, what was safe in the last tick still is.
        let (mut told_m, mut at, mut climb_mps) = (0.0, from, expected);
        for (next, axes) in later {
            told_m += climb_mps * seconds(at, *next);
            (at, climb_mps) = (*next, axes.0[2]);
        }
        told_m += climb_mps * seconds(at, self.now);
        // Also where it is no number.
        let as_told = (value.climb_mps - expected).abs() <= CLIMB_DOUBT_MPS;
        let measured_m = if as_told { told_m } else { value.climb_mps * seconds(from, self.now) };
        // And what it covers while it changes from one setpoint to the next.
        let up_m = told_m.max(measured_m) + SLACK_M;
        let down_m = SLACK_M - told_m.min(measured_m);
        let span = |height_m| Span { highest_m: height_m, lowest_m: height_m }.swept(up_m, down_m);
        Moment {
            above_ground: value.above_ground_m.map(span),
            above_takeoff: Some(span(value.above_takeoff_m)),
            climb_mps: if as_told { 0.0 } else { value.climb_mps },
            week_ms: None,
        }
    }

    fn reach(&self, memory: &Memory, law: &Law) -> Option<Reach> {
        let arm = law.arm()?;
        let Timed { at, value } = self.joints?;
        let from = self.from(at);
        let delay_s = seconds(from, self.now);
        let mut reach = Reach { highest: [0.0; MAX_JOINTS], lowest: [0.0; MAX_JOINTS] };
        let (position, velocity) = (value.position.as_slice(), value.velocity.as_slice());
        let bounds = reach.highest.iter_mut().zip(&mut reach.lowest);
        let joints = position.iter().zip(velocity).zip(bounds).enumerate();
        for (index, ((at, moving), (highest, lowest))) in joints.take(arm.count()) {
            let (least, most) = memory.range(from, index, *moving);
            *highest = at + most.max(0.0) * delay_s;
            *lowest = at + least.min(0.0) * delay_s;
        }
        Some(reach)
    }
}

/// Where the robot stands, as the zones see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) standing: &'a Standing,
    pub(crate) unsure: Uncertainty,
    pub(crate) zones: &'a ZoneMap,
}

/// Judges setpoints of one tick.
pub(crate) struct Judge<'a> {
    ahead: &'a Ahead,
    arm: Option<(&'a Arm, Reach)>,
    band: Option<(Band, Height)>,
    hold_s: f64,
    law: &'a Law,
    /// The measured motion alone, braked at once, breaks this.
    momentum: Option<Broken>,
    near: &'a Near,
    place: Place<'a>,
}

impl<'a> Judge<'a> {
    /// For setpoints that lead no further than `near` was measured, each held for `hold_s` and
    /// then braked.
    pub(crate) fn new(
        law: &'a Law,
        place: Place<'a>,
        ahead: &'a Ahead,
        near: &'a Near,
        hold_s: f64,
    ) -> Self {
        let mut judge = Self {
            ahead,
            arm: law.arm().zip(ahead.reach),
            band: law.band().zip(ahead.height),
            hold_s,
            law,
            momentum: None,
            near,
            place,
        };
        judge.momentum =
            ahead.doubt.and_then(|(start, twist)| judge.path_broken(start, twist, 0.0));
        // It is the same for every setpoint.
        if let Some(momentum) = &mut judge.momentum {
            momentum.free_s = None;
        }
        judge
    }

    /// The setpoint between `brake` and `wish` that is nearest to `wish` and breaks nothing,
    /// and what keeps it from the wish.
    pub(crate) fn nearest(&self, brake: &Axes, wish: &Axes) -> (Axes, Option<Breach>) {
        let Some(Stopped { breach, free_m }) = self.stopped_by(wish) else {
            return (*wish, None);
        };
        if let Some(breach) = self.broken_by(brake) {
            return (*brake, Some(breach));
        }
        let at = |part: u32| brake.towards(wish, f64::from(part) / f64::from(PARTS));
        let guess = free_m.and_then(|free_m| self.part_of(brake, wish, free_m));
        let (good, broken) = furthest(guess, |part| self.broken_by(&at(part)));
        (if good > 0 { at(good) } else { *brake }, Some(broken.unwrap_or(breach)))
    }

    /// About how many parts of the way from `brake` to `wish` lead no further than `free_m`;
    /// `None` where that is no number.
    fn part_of(&self, brake: &Axes, wish: &Axes, free_m: f64) -> Option<u32> {
        let way_m = |axes: &Axes| {
            let twist = self.law.planar(axes);
            self.pace_mps(twist) * (self.hold_s + self.law.brake_seconds(twist) / 2.0)
        };
        let (none, half, whole) = (way_m(brake), way_m(&brake.towards(wish, 0.5)), way_m(wish));
        // It grows with the speed and its square: a parabola through the three.
        let square = 2.0 * (whole + none - 2.0 * half);
        let (straight, more) = (whole - none - square, free_m - none);
        let part =
            2.0 * more / (straight + (straight * straight + 4.0 * square * more).max(0.0).sqrt());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates.
        (!part.is_nan()).then(|| (part * f64::from(PARTS)) as u32)
    }

    /// How fast the parts of the robot go, m/s: more or less, turning counted.
    fn pace_mps(&self, twist: Planar) -> f64 {
        twist.speed() + self.place.zones.body().arm_m() * twist.angular.abs()
    }

    fn broken_by(&self, axes: &Axes) -> Option<Breach> {
        self.stopped_by(axes).map(|stopped| stopped.breach)
    }

    fn stopped_by(&self, axes: &Axes) -> Option<Stopped> {
        let at_once = |breach| Stopped { breach, free_m: None };
        if let Some(breach) = self.law.breach(axes) {
            return Some(at_once(breach));
        }
        let planar = self.law.planar(axes);
        if let Some((band, height)) = &self.band {
            let moves = planar.speed() > 0.0;
            if let Some(breach) = band.breach(height, axes.0[2], moves, self.hold_s) {
                return Some(at_once(breach));
            }
        }
        if let Some((arm, reach)) = &self.arm {
            return arm.leaves(reach, axes, self.hold_s).map(at_once);
        }
        self.broken(planar).map(|Broken { edge, free_s }| Stopped {
            breach: Breach { limit: edge.clearance_m, rule: edge.rule, zone: Some(edge.zone) },
            free_m: free_s.map(|free_s| self.pace_mps(planar) * free_s),
        })
    }

    /// The edge that a motion breaks, held and then braked.
    pub(crate) fn edge_broken(&self, twist: Planar) -> Option<Edge> {
        self.broken(twist).map(|broken| broken.edge)
    }

    fn broken(&self, twist: Planar) -> Option<Broken> {
        let told = self.path_broken(self.ahead.start, twist, self.hold_s);
        let doubted = || {
            let (start, measured) = self.ahead.doubt?;
            let same_way = twist.x * measured.x + twist.y * measured.y > 0.0;
            let faster = measured.speed() / twist.speed();
            // Slower than told needs no second look at the speed, only at the place.
            let stretch = if same_way && (1.0..20.0).contains(&faster) { faster } else { 1.0 };
            let broken = self.path_broken(start, twist.scaled(stretch), self.hold_s)?;
            // Where it is as fast as measured, whatever it is told, its way is not the twist's.
            Some(Broken { free_s: broken.free_s.filter(|_| stretch <= 1.0), ..broken })
        };
        told.or(self.momentum).or_else(doubted)
    }

    fn path_broken(&self, start: Pose, twist: Planar, hold_s: f64) -> Option<Broken> {
        let brake_s = self.law.brake_seconds(twist);
        let path = Path { brake_s, hold_s, start, twist };
        let Place { standing, unsure, zones } = &self.place;
        zones.broken_after(&path, self.near, standing, unsure)
    }
}

/// What a setpoint breaks, and how far it leads before, where that can be guessed.
struct Stopped {
    breach: Breach,
    free_m: Option<f64>,
}

/// The furthest part of a way that breaks nothing, and what the next one breaks: `None` where
/// that is the end, which is known to be broken, as its beginning is known not to be.
///
/// As by halving, where what lies before what is good is good; in any case the part is good and
/// the next one is not. Near a guess that is right it takes two looks, and with the worst
/// guess three more than halving.
fn furthest(
    guess: Option<u32>,
    mut broken_at: impl FnMut(u32) -> Option<Breach>,
) -> (u32, Option<Breach>) {
    let (mut good, mut bad, mut broken) = (0, PARTS, None);
    let mut look = |part: u32, good: &mut u32, bad: &mut u32| match broken_at(part) {
        Some(breach) => (*bad, broken) = (part, Some(breach)),
        None => *good = part,
    };
    if let Some(guess) = guess {
        for beside in BESIDE {
            if bad - good <= 1 {
                break;
            }
            // On from what was good, back from what was not.
            let part = if good > 0 { good + beside } else { guess.min(bad).saturating_sub(beside) };
            look(part.max(good + 1).min(bad - 1), &mut good, &mut bad);
        }
    }
    while bad - good > 1 {
        look(u32::midpoint(good, bad), &mut good, &mut bad);
    }
    (good, broken)
}

/// Zero where `to` is before `from`. Without a `Duration`, which is divided twice.
#[allow(clippy::cast_precision_loss)] // Beyond 104 days, in which a tick's ages do not come.
fn seconds(from: MonoNanos, to: MonoNanos) -> f64 {
    to.0.saturating_sub(from.0) as f64 * 1e-9
}

#[cfg(test)]
mod tests;
