//! The gate itself: one pure call per tick.

use crate::arbitrate::{Charge, Wishes, age, arbitrate};
use crate::document::MAX_COORDINATE_M;
use crate::gated::Gated;
use crate::limits;
use crate::planar::advance;
use crate::verdict::Verdicts;
use crate::verified::VerifiedPolicy;
use crate::zones::{Edge, Near, Path, Standing, Uncertainty, ZoneMap};
use nooterra_protocol::command::{Command, Source, StopProfile};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{RobotId, ZoneId};
use nooterra_protocol::observation::Timed;
use nooterra_protocol::policy::Limits;
use nooterra_protocol::time::MonoNanos;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The longest time between two ticks; beyond it the loop was not running, and stops.
pub const MAX_TICK_GAP: Duration = Duration::from_millis(250);

/// What counts as the time since the last tick when there was none.
const FIRST_STEP_S: f64 = 0.01;

/// The fastest way back from beyond an edge, m/s: slow enough to walk away from, and to notice
/// within a hand's breadth that the pose was wrong.
pub const CRAWL_MPS: f64 = 0.1;

/// The longest memory of setpoints. The oldest odometry (1 s) and the longest reaction (1 s)
/// fit at 500 ticks per second; a faster loop forgets the oldest, and the gate then takes the
/// measured twist for them.
const MEMORY: usize = 1024;

/// A pose further from the map's origin is no measurement, metres: ten times what a zone may
/// reach.
const MOST_BELIEVED_M: f64 = 10.0 * MAX_COORDINATE_M;

/// A heading beyond so many radians has lost its fraction; headings are usually within ±π.
const MOST_BELIEVED_RAD: f64 = 1e6;

/// A faster motion is no measurement, m/s or rad/s.
const MOST_BELIEVED_SPEED: f64 = 100.0;

/// Measured and asked for differ by more than lag and noise, m/s and rad/s.
const DOUBT: Twist = Twist { angular: 0.1, linear: 0.03 };

/// Halvings of the range between braking and the wish: 2⁻¹² of it remains.
const HALVINGS: u32 = 12;

/// All that a tick knows.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Age of the oldest verdict that is not yet on the disk; zero when all are.
    pub journal_age: Duration,
    /// Time of the tick.
    pub now: MonoNanos,
    /// Where the robot was, and when.
    pub pose: Timed<Pose>,
    /// Count of the tick; the gated command is good for this one.
    pub tick: u64,
    /// How it moved, and when.
    pub twist: Timed<Twist>,
    /// Who wishes what.
    pub wishes: Wishes,
}

/// What to do in this tick.
#[derive(Debug)]
#[must_use = "a tick that is not acted on leaves the robot to its watchdog"]
pub enum Action {
    /// Stop as the owner laid down. Waits for nothing.
    Stop(StopProfile),
    /// Write this to the robot.
    Write(Gated<Command>),
}

/// What a tick came to, and why.
#[derive(Debug)]
pub struct Outcome {
    /// What to do.
    pub action: Action,
    /// What goes to the robot; zero for a stop.
    pub allowed: Twist,
    /// What the source in charge wished, as it came.
    pub asked: Twist,
    /// The tightest speed limit at this place, m/s; 0 where the place is unknown.
    pub limit_mps: f64,
    /// In charge.
    pub source: Source,
    /// Each rule that acted; empty when the wish went through bit for bit.
    pub verdicts: Verdicts,
}

/// Turns wishes into setpoints that hold the policy it was made from.
#[derive(Debug)]
pub struct Gate {
    command_age: Duration,
    journal_age: Duration,
    limits: Limits,
    /// Last setpoint; `None` after a stop, when only the measurement says how the robot moves.
    last: Option<Twist>,
    /// What was written and when, oldest first.
    memory: VecDeque<(MonoNanos, Twist)>,
    odometry_age: Duration,
    /// A slowly sinking maximum of the time between ticks, seconds.
    period_s: f64,
    previous: Option<MonoNanos>,
    robot: Arc<RobotId>,
    stop: StopProfile,
    zone_ids: Vec<ZoneId>,
    zones: ZoneMap,
}

impl Gate {
    /// A gate that holds `policy`. Allocates all that it will ever need.
    #[must_use]
    pub fn new(policy: &VerifiedPolicy) -> Self {
        let document = policy.document();
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        Self {
            command_age: millis(document.freshness.command_ms),
            journal_age: millis(document.freshness.journal_ms),
            limits: document.limits.clone(),
            last: None,
            memory: VecDeque::with_capacity(MEMORY),
            odometry_age: millis(document.freshness.odometry_ms),
            period_s: 0.0,
            previous: None,
            robot: Arc::new(document.robot.clone()),
            stop: document.stop,
            zone_ids: policy.zone_ids().to_vec(),
            zones: policy.zones().clone(),
        }
    }

    /// Judges one tick.
    pub fn tick(&mut self, inputs: &Inputs) -> Outcome {
        let charge = arbitrate(&inputs.wishes, inputs.now, self.command_age);
        let mut verdicts = Verdicts::none();
        let step_s = self.step(inputs.now, &mut verdicts);
        self.note_stops(inputs, &charge, &mut verdicts);
        let limit_mps = self.limit_at(inputs.pose.value);
        if !verdicts.is_empty() {
            return self.halt(inputs, &charge, limit_mps, verdicts);
        }
        let allowed = self.setpoint(inputs, &charge, step_s, &mut verdicts);
        // What fails here is a fault in this crate; the robot must not pay for it.
        if !limits::holds_speed(allowed, &self.limits) {
            let (rule, limit) = if allowed.is_finite() {
                (Rule::SpeedLinear, self.limits.max_linear_mps)
            } else {
                (Rule::InputNan, 0.0)
            };
            verdicts.note(rule, limit, None);
            return self.halt(inputs, &charge, limit_mps, verdicts);
        }
        self.last = Some(allowed);
        self.remember(inputs.now, allowed);
        verdicts.seal(charge.asked(), allowed);
        let command = Command::Drive(allowed);
        Outcome {
            action: Action::Write(Gated::new(command, Arc::clone(&self.robot), inputs.tick)),
            allowed,
            asked: charge.asked(),
            limit_mps,
            source: charge.source(),
            verdicts,
        }
    }

    /// The name of a zone that a verdict gives by number.
    #[must_use]
    pub fn zone_id(&self, zone: u16) -> Option<&ZoneId> {
        self.zone_ids.get(usize::from(zone))
    }

    /// The seconds since the last tick; a clock that jumped is noted and forgets the past.
    fn step(&mut self, now: MonoNanos, verdicts: &mut Verdicts) -> f64 {
        let before = self.previous.replace(now);
        let Some(before) = before else {
            return FIRST_STEP_S;
        };
        match now.since(before) {
            Some(gap) if !gap.is_zero() && gap <= MAX_TICK_GAP => {
                let step_s = gap.as_secs_f64();
                self.period_s = step_s.max(self.period_s * 0.95);
                step_s
            }
            _ => {
                verdicts.note(Rule::ClockJump, MAX_TICK_GAP.as_secs_f64(), None);
                self.memory.clear();
                FIRST_STEP_S
            }
        }
    }

    fn note_stops(&self, inputs: &Inputs, charge: &Charge, verdicts: &mut Verdicts) {
        if *charge == Charge::EmergencyStop {
            verdicts.note(Rule::EmergencyStop, 0.0, None);
        }
        if !is_believable(inputs.pose.value, inputs.twist.value) || !charge.asked().is_finite() {
            verdicts.note(Rule::InputNan, 0.0, None);
        }
        let fresh = |at| age(at, inputs.now).is_some_and(|age| age <= self.odometry_age);
        if !fresh(inputs.pose.at) || !fresh(inputs.twist.at) {
            verdicts.note(Rule::InputStale, self.odometry_age.as_secs_f64() * 1e3, None);
        }
        if inputs.journal_age > self.journal_age {
            verdicts.note(Rule::JournalBehind, self.journal_age.as_secs_f64() * 1e3, None);
        }
    }

    fn halt(
        &mut self,
        inputs: &Inputs,
        charge: &Charge,
        limit_mps: f64,
        mut verdicts: Verdicts,
    ) -> Outcome {
        self.last = None;
        let moving = inputs.twist.value;
        self.remember(inputs.now, if moving.is_finite() { moving } else { Twist::ZERO });
        verdicts.seal(charge.asked(), Twist::ZERO);
        Outcome {
            action: Action::Stop(self.stop),
            allowed: Twist::ZERO,
            asked: charge.asked(),
            limit_mps,
            source: charge.source(),
            verdicts,
        }
    }

    /// The wish of the source in charge, held to every rule in turn.
    fn setpoint(
        &self,
        inputs: &Inputs,
        charge: &Charge,
        step_s: f64,
        verdicts: &mut Verdicts,
    ) -> Twist {
        let mut target = match charge {
            Charge::Fresh(_, wish) => wish.twist,
            Charge::Stale(..) => {
                verdicts.note(Rule::SourceStale, self.command_age.as_secs_f64() * 1e3, None);
                Twist::ZERO
            }
            Charge::EmergencyStop | Charge::Idle => Twist::ZERO,
        };
        let [linear, angular] = limits::speed_ratios(target, &self.limits);
        if linear < 1.0 {
            verdicts.note(Rule::SpeedLinear, limits::linear_limit(target, &self.limits), None);
        }
        if angular < 1.0 {
            verdicts.note(Rule::SpeedAngular, self.limits.max_angular_radps, None);
        }
        target = limits::limit_speed(target, &self.limits);

        let (here, unsure) = (inputs.pose.value, Uncertainty::NONE);
        if let Some((limit, zone)) = self.zones.speed_limit(here, &unsure) {
            target = slowed(target, limit, Rule::ZoneSpeed, limit, zone, verdicts);
        }
        let ahead = self.foresee(inputs);
        let standing = self.zones.standing(ahead.start, &unsure);
        if let Some(edge) = standing.worst().or_else(|| self.zones.standing(here, &unsure).worst())
        {
            let clearance = self.zones.clearance_m(edge.rule, edge.zone, here, &unsure);
            target = slowed(target, CRAWL_MPS, edge.rule, clearance, edge.zone, verdicts);
        }

        let last = self.last.unwrap_or_else(|| self.seed(inputs.twist.value));
        let ramp = limits::ramp(last, target, step_s, &self.limits);
        if let Some(limit) = ramp.linear {
            verdicts.note(Rule::AccelLinear, limit, None);
        }
        if let Some(limit) = ramp.angular {
            verdicts.note(Rule::AccelAngular, limit, None);
        }
        let brake = limits::brake(last, step_s, &self.limits);
        let (twist, broken) = self.keep_to_zones(&ahead, &standing, brake, ramp.twist, step_s);
        if let Some(edge) = broken {
            let limit = match edge.rule {
                Rule::ZoneSpeed => self.zones.speed_limit_of(edge.zone),
                _ => self.zones.clearance_m(edge.rule, edge.zone, here, &unsure),
            };
            verdicts.note(edge.rule, limit, Some(edge.zone));
        }
        twist
    }

    /// Where the ramps begin when nothing was written before: at the measured twist, without
    /// what is only its noise.
    fn seed(&self, measured: Twist) -> Twist {
        let still = measured.linear.abs() < DOUBT.linear && measured.angular.abs() < DOUBT.angular;
        if still { Twist::ZERO } else { limits::clamp(measured, &self.limits) }
    }

    /// The setpoint between `brake` and `wish` that is nearest to `wish` and whose path keeps
    /// to the zones, and the rule that keeps it from the wish.
    fn keep_to_zones(
        &self,
        ahead: &Ahead,
        standing: &Standing,
        brake: Twist,
        wish: Twist,
        step_s: f64,
    ) -> (Twist, Option<Edge>) {
        // The next tick may take twice as long as the slowest of the last ones.
        let hold_s = 2.0 * self.period_s.max(step_s);
        let judge = Judge::new(self, ahead, standing, [brake, wish], hold_s);
        let Some(mut broken) = judge.broken_by(wish) else {
            return (wish, None);
        };
        if let Some(edge) = judge.broken_by(brake) {
            return (brake, Some(edge));
        }
        let between = |part: f64| {
            Twist::new(
                brake.linear + part * (wish.linear - brake.linear),
                brake.angular + part * (wish.angular - brake.angular),
            )
        };
        let (mut good, mut bad) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let part = f64::midpoint(good, bad);
            match judge.broken_by(between(part)) {
                Some(edge) => (bad, broken) = (part, edge),
                None => good = part,
            }
        }
        (if good > 0.0 { between(good) } else { brake }, Some(broken))
    }

    /// Where the robot will be when what is written now takes effect: from the measured pose,
    /// along what was written before.
    fn foresee(&self, inputs: &Inputs) -> Ahead {
        let reaction = Duration::from_millis(u64::from(self.limits.reaction_ms));
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let (pose, measured) = (inputs.pose.value, inputs.twist.value);
        let from = MonoNanos(inputs.pose.at.min(inputs.now).0.saturating_sub(nanos(reaction)));
        let seconds =
            |from: MonoNanos, to: MonoNanos| to.since(from).unwrap_or_default().as_secs_f64();
        // Setpoints are in force from one to the next, all `reaction` later.
        let in_force = self.memory.partition_point(|(at, _)| *at <= from);
        let (mut start, mut at) = (pose, from);
        let mut twist = match in_force.checked_sub(1).and_then(|i| self.memory.get(i)) {
            Some((_, twist)) => *twist,
            None => measured,
        };
        let expected = twist;
        for (next, next_twist) in self.memory.range(in_force..) {
            start = advance(start, twist.into(), seconds(at, *next));
            (at, twist) = (*next, *next_twist);
        }
        start = advance(start, twist.into(), seconds(at, inputs.now));

        let odd = (measured.linear - expected.linear).abs() > DOUBT.linear
            || (measured.angular - expected.angular).abs() > DOUBT.angular;
        let delay_s = seconds(from, inputs.now);
        let doubt = odd.then(|| (advance(pose, measured.into(), delay_s), measured));
        Ahead { doubt, start }
    }

    fn limit_at(&self, pose: Pose) -> f64 {
        if !pose.is_finite() {
            return 0.0;
        }
        let zone = self
            .zones
            .speed_limit(pose, &Uncertainty::NONE)
            .map_or(f64::INFINITY, |(limit, _)| limit);
        zone.min(self.limits.max_linear_mps)
    }

    fn remember(&mut self, at: MonoNanos, twist: Twist) {
        if self.memory.len() == MEMORY {
            self.memory.pop_front();
        }
        self.memory.push_back((at, twist));
    }
}

/// Where a new setpoint will find the robot.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// The measured twist does not fit what was written: where it would lead instead, and the
    /// twist. Then both must be safe.
    doubt: Option<(Pose, Twist)>,
    /// If the robot does as it was told.
    start: Pose,
}

/// Judges setpoints of one tick.
struct Judge<'a> {
    ahead: &'a Ahead,
    hold_s: f64,
    limits: &'a Limits,
    /// The measured motion alone, braked at once, breaks this.
    momentum: Option<Edge>,
    near: Near,
    standing: &'a Standing,
    zones: &'a ZoneMap,
}

impl<'a> Judge<'a> {
    fn new(
        gate: &'a Gate,
        ahead: &'a Ahead,
        standing: &'a Standing,
        candidates: [Twist; 2],
        hold_s: f64,
    ) -> Self {
        let limits = &gate.limits;
        let (apart, measured) = ahead.doubt.map_or((0.0, Twist::ZERO), |(pose, twist)| {
            (pose.point().distance(ahead.start.point()), twist)
        });
        // No path between the candidates is longer than the fastest held and braked longest.
        let all = candidates.into_iter().chain([measured]);
        let (speed, brake_s) = all.fold((0.0_f64, 0.0_f64), |(speed, brake_s), twist| {
            (speed.max(twist.linear.abs()), brake_s.max(limits::brake_seconds(twist, limits)))
        });
        let reach_m = apart + speed * (hold_s + brake_s / 2.0);
        let near = gate.zones.near(ahead.start, reach_m, &Uncertainty::NONE);
        let mut judge =
            Self { ahead, hold_s, limits, momentum: None, near, standing, zones: &gate.zones };
        judge.momentum =
            ahead.doubt.and_then(|(start, twist)| judge.path_broken(start, twist, 0.0));
        judge
    }

    fn broken_by(&self, twist: Twist) -> Option<Edge> {
        let told = self.path_broken(self.ahead.start, twist, self.hold_s);
        let doubted = || {
            let (start, measured) = self.ahead.doubt?;
            let same_way = twist.linear * measured.linear > 0.0;
            let faster = measured.linear.abs() / twist.linear.abs();
            // Slower than told needs no second look at the speed, only at the place.
            let stretch = if same_way && (1.0..20.0).contains(&faster) { faster } else { 1.0 };
            self.path_broken(start, twist.scaled(stretch), self.hold_s)
        };
        told.or(self.momentum).or_else(doubted)
    }

    fn path_broken(&self, start: Pose, twist: Twist, hold_s: f64) -> Option<Edge> {
        let brake_s = limits::brake_seconds(twist, self.limits);
        let path = Path { brake_s, hold_s, start, twist: twist.into() };
        self.zones.broken_by(&path, &self.near, self.standing, &Uncertainty::NONE)
    }
}

/// Finite, and within what any robot on earth can be measured to do. A number beyond is as
/// little a measurement as NaN is.
fn is_believable(pose: Pose, twist: Twist) -> bool {
    pose.is_finite()
        && twist.is_finite()
        && pose.x.abs() <= MOST_BELIEVED_M
        && pose.y.abs() <= MOST_BELIEVED_M
        && pose.yaw.abs() <= MOST_BELIEVED_RAD
        && twist.linear.abs() <= MOST_BELIEVED_SPEED
        && twist.angular.abs() <= MOST_BELIEVED_SPEED
}

/// Scales `target` to at most `speed`, with a verdict where that changes it.
fn slowed(
    target: Twist,
    speed: f64,
    rule: Rule,
    limit: f64,
    zone: u16,
    verdicts: &mut Verdicts,
) -> Twist {
    let ratio = limits::ratio(target.linear, speed);
    if ratio < 1.0 {
        verdicts.note(rule, limit, Some(zone));
        return target.scaled(ratio);
    }
    target
}
