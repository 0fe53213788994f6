//! The control loop: read the robot, ask the gate, record, write. Nothing else decides about
//! motion, and nothing here waits for a network, a disk, a skill or a lock.
//!
//! Order within a tick: what the gate decided is queued for the journal before it is written
//! to the robot. When the queue is full the robot is stopped instead; a stop waits for
//! nothing.

mod desk;
mod flight;
mod reach;
mod runs;
mod shadow;
mod steer;
mod stop_input;
mod thread;
mod view;

pub(crate) use desk::STOP_KEY;
pub use desk::{Desk, Intent, Lease};
pub use shadow::{Real, ShadowJournal, ShadowThread, ShadowWatch, shadow};
pub use steer::{Goal, joints_of};
pub use stop_input::{MAX_READING_AGE, StopReader, StopReaderThread, StopSignal};
pub use thread::{ControlThread, Exit, ThreadError};
pub use view::View;

use nooterra_blackbox::flight::FlightQueue;
use nooterra_blackbox::{
    Clock, ControlQueue, ControlRecord, SampleRecord, SensorsRecord, StopRecord, VerdictRecord,
};
use nooterra_hal::{HalError, Robot};
use nooterra_policy::{
    Action, Gate, Inputs, Outcome, Privacy, Sensors, Surroundings, VerifiedPolicy, Wish, Wishes,
};
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::entry::Sample;
use nooterra_protocol::flight::Trigger;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::policy::{Joint, Sensor};
use nooterra_protocol::time::{MonoNanos, Stamp};
use runs::Runs;
use std::sync::Arc;
use std::time::Duration;
use tracing::error;

/// Between two samples of a robot that moves.
const SAMPLE_MOVING: Duration = Duration::from_millis(100);

/// Between two samples of a robot that stands.
const SAMPLE_STANDING: Duration = Duration::from_secs(1);

/// Between two looks at the wall clock, for zones that hold only at times.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// A charge that was measured longer ago says nothing any more: a minute takes a robot a percent
/// or two of its battery.
const MAX_BATTERY_AGE: Duration = Duration::from_secs(60);

/// What a tick says of privacy holds for two ticks, so that one may be missed, and this long:
/// what a tick is late by on a busy machine without real-time scheduling.
const SAID_HOLDS: Duration = Duration::from_millis(100);

/// The time of one tick where nobody says another.
const PERIOD: Duration = Duration::from_millis(20);

/// Slower than this counts as standing, m/s and rad/s: above the odometry's noise.
const STANDING: f64 = 0.02;

/// Slower than this a joint stands, rad/s or m/s: a gripper moves by centimetres, and encoders
/// are off by little.
const STANDING_JOINT: f64 = 0.005;

/// The robot stands, as far as its measurements say; of an arm every joint does.
pub(crate) fn stands(seen: &Observation) -> bool {
    let Twist { angular, linear } = seen.twist.value;
    let velocities = seen.joints.as_ref().map(|joints| joints.value.velocity);
    // What is no number is no rest.
    linear.abs() <= STANDING
        && angular.abs() <= STANDING
        && velocities.is_none_or(|all| all.as_slice().iter().all(|v| v.abs() <= STANDING_JOINT))
}

/// Why a robot is stopped that gives no observation.
const UNREADABLE: &str = "the robot cannot be read";

/// What is recorded where a stop did not reach the robot.
const UNSTOPPED: &str = "the robot does not take the stop";

/// What was seen and decided in a tick.
type Judged<'a> = (&'a Observation, &'a Outcome);

/// One robot under one gate.
pub struct ControlLoop {
    /// The policy has zones that hold only at times.
    asks_for_time: bool,
    clock: Option<Arc<dyn Clock>>,
    desk: Arc<Desk>,
    flight: Option<FlightQueue>,
    gate: Gate,
    /// The stop input holds the robot in this tick.
    input_stops: bool,
    intent: Intent,
    /// The robot was stopped past the gate, and the gate does not know it yet.
    interrupted: bool,
    /// Of an arm, as the policy limits them; none otherwise.
    joints: Vec<Joint>,
    /// The policy, or its shadow, has a rule about what stands around the robot.
    keeps_distance: bool,
    /// What was last recorded of the sensors.
    privacy: Privacy,
    queue: ControlQueue,
    /// That the robot did not take a stop is recorded, for the reason for which it is stopped.
    refusal_told: bool,
    /// The robot did not take the last stop.
    refuses_stop: bool,
    robot: Box<dyn Robot>,
    runs: Runs,
    /// How long what a tick says of privacy holds.
    said_holds: Duration,
    sampled_at: Option<MonoNanos>,
    shadow: Option<ShadowWatch>,
    stamp: Option<Stamp>,
    stop: StopProfile,
    stop_input: Option<StopSignal>,
    /// Why the robot is stopped outside the gate, so that it is said once for each time.
    stopped_for: Option<&'static str>,
    tick: u64,
    view: Arc<View>,
}

impl std::fmt::Debug for ControlLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlLoop").field("tick", &self.tick).finish_non_exhaustive()
    }
}

impl ControlLoop {
    /// A loop that holds `policy` over `robot`.
    #[must_use]
    pub fn new(
        robot: Box<dyn Robot>,
        policy: &VerifiedPolicy,
        desk: Arc<Desk>,
        queue: ControlQueue,
        view: Arc<View>,
    ) -> Self {
        let intent = desk.try_intent().unwrap_or_default();
        Self {
            asks_for_time: policy.asks_for_time(),
            clock: None,
            desk,
            flight: None,
            gate: Gate::new(policy),
            input_stops: false,
            intent,
            joints: joints_of(&policy.document().vehicle).to_vec(),
            interrupted: false,
            keeps_distance: policy.document().proximity.is_some(),
            privacy: Privacy::OPEN,
            queue,
            refusal_told: false,
            refuses_stop: false,
            robot,
            runs: Runs::default(),
            said_holds: PERIOD * 2 + SAID_HOLDS,
            sampled_at: None,
            shadow: None,
            stamp: None,
            stop: policy.document().stop,
            stop_input: None,
            stopped_for: None,
            tick: 0,
            view,
        }
    }

    /// Has each tick handed to a flight recorder.
    #[must_use]
    pub fn with_flight(mut self, queue: FlightQueue) -> Self {
        self.flight = Some(queue);
        self
    }

    /// The clock that says what time it is, for zones that hold only at times. Without one, what
    /// restricts holds always, and what permits never.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The time between two ticks; 20 ms where nobody says another. Which sensors may be read is
    /// said anew with each, and holds for two of them and 100 ms: should the loop hang, no picture
    /// is taken after that.
    #[must_use]
    pub fn with_period(self, period: Duration) -> Self {
        Self { said_holds: period * 2 + SAID_HOLDS, ..self }
    }

    /// Has a candidate judge each tick beside the gate.
    #[must_use]
    pub fn with_shadow(mut self, shadow: ShadowWatch) -> Self {
        self.keeps_distance |= shadow.keeps_distance;
        self.shadow = Some(shadow);
        self
    }

    /// Obeys a stop input. Before its reader's first reading the robot stands.
    #[must_use]
    pub fn with_stop_input(mut self, signal: StopSignal) -> Self {
        self.stop_input = Some(signal);
        self
    }

    /// One tick at `now`.
    pub fn tick(&mut self, now: MonoNanos) {
        self.tick += 1;
        if let Some(intent) = self.desk.try_intent() {
            self.intent = intent;
        }
        // Also where the robot cannot be read: a press in that time is one.
        self.look_at_stop_input(now);
        match self.robot.read(now) {
            Ok(seen) => {
                // Another such outage is one more, also where only the gate had a say meanwhile.
                self.stopped_for = self.stopped_for.filter(|reason| *reason != UNREADABLE);
                self.judge(now, seen);
            }
            Err(error) => {
                self.allow(now, Privacy { allowed: Sensors::NONE, keep_s: None });
                self.halt(now, UNREADABLE, &error);
                self.record_flight(now, true, None);
            }
        }
        self.view.beat();
    }

    /// Stops the robot for a reason outside the gate and records it.
    pub fn stop(&mut self, now: MonoNanos, reason: &'static str) {
        self.interrupted = true;
        let answer = self.robot.stop(now, self.stop);
        if self.stopped_for != Some(reason) {
            self.stopped_for = Some(reason);
            // Whether it takes this one is said anew.
            self.refusal_told = false;
            if let Some(flight) = self.flight.as_ref().filter(|_| reason != thread::ORDERLY) {
                flight.pull(Trigger::Stop, now);
            }
            self.record_stop(StopRecord { at: now, profile: self.stop, reason });
        }
        self.note_answer(now, self.stop, answer);
    }

    /// Records once for each time and each reason that the robot did not take a stop; false where
    /// it did not.
    fn note_answer(
        &mut self,
        now: MonoNanos,
        profile: StopProfile,
        answer: Result<(), HalError>,
    ) -> bool {
        let Err(error) = answer else {
            self.refuses_stop = false;
            return true;
        };
        // Nothing is left to do here but to go on telling it: the driver's own watchdog stops.
        if !self.refuses_stop {
            (self.refuses_stop, self.refusal_told) = (true, false);
            error!(%error, UNSTOPPED);
            if let Some(flight) = &self.flight {
                flight.pull(Trigger::Stop, now);
            }
        }
        if !self.refusal_told {
            self.refusal_told =
                self.record_stop(StopRecord { at: now, profile, reason: UNSTOPPED });
        }
        false
    }

    /// False where it did not fit.
    fn record_stop(&mut self, record: StopRecord) -> bool {
        let reason = record.reason;
        let fits = self.queue.push(ControlRecord::Stop(record));
        if !fits {
            error!(reason, "a stop is not in the journal: its queue is full");
        }
        fits
    }

    fn judge(&mut self, now: MonoNanos, seen: Observation) {
        if seen.emergency_stop {
            self.view.pressed(now);
        }
        let scan = seen.scan.as_ref().filter(|_| self.keeps_distance);
        let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
        let recent = |at| now.since(at).is_some_and(|age| age <= MAX_BATTERY_AGE);
        let battery = seen.battery.filter(|battery| recent(battery.at));
        let inputs = Inputs {
            battery: battery.map(|battery| battery.value.fraction),
            clock: self.time(now),
            grants: self.intent.grants,
            joints: seen.joints,
            journal_age: self.queue.oldest_uncommitted_age(now),
            mode: self.intent.limits,
            surroundings: scan.map(|scan| Surroundings::from_scan(scan.at, &scan.value)),
            wishes: self.wishes(now, &seen),
            ..Inputs::new(self.tick, now, seen.pose, twist)
        };
        // Here and not where it is stopped: then the shadow has yet to judge that tick.
        if std::mem::take(&mut self.interrupted) {
            self.gate.interrupted();
            if let Some(shadow) = &mut self.shadow {
                shadow.interrupted();
            }
        }
        let outcome = self.gate.tick(&inputs);
        let recorded = self.record_verdicts(now, seen.pose.value, &outcome);
        self.record_sample(now, &seen, &outcome);
        let stopped = matches!(outcome.action, Action::Stop(_));
        self.record_flight(now, stopped, Some((&seen, &outcome)));
        self.gate_sensors(now, seen.pose.value, outcome.privacy);
        let Outcome { action, allowed, asked, source, verdicts, .. } = outcome;
        match action {
            Action::Write(_) if !recorded => self.stop(now, "the journal's queue is full"),
            Action::Write(command) => match self.robot.write(now, self.tick, command) {
                Ok(()) => (self.stopped_for, self.refuses_stop) = (None, false),
                Err(error) => self.halt(now, "the robot does not take commands", &error),
            },
            // The gate's verdicts say why.
            Action::Stop(profile) => {
                let answer = self.robot.stop(now, profile);
                // It answers, and what the gate said found its place: what was is over.
                if self.note_answer(now, profile, answer) && recorded {
                    self.stopped_for = None;
                }
            }
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.observe(&inputs, &Real { allowed, asked, source, verdicts: &verdicts });
        }
        self.view.see(seen);
    }

    fn look_at_stop_input(&mut self, now: MonoNanos) {
        let Some(signal) = &mut self.stop_input else {
            return;
        };
        let (stops, news) = signal.look(now, self.intent.acknowledged);
        self.input_stops = stops;
        // The gate's verdict says that it stood still; this says who stopped it.
        if let Some(reason) = news {
            self.record_stop(StopRecord { at: now, profile: self.stop, reason });
        }
    }

    fn halt(&mut self, now: MonoNanos, reason: &'static str, error: &HalError) {
        if self.stopped_for != Some(reason) {
            error!(%error, reason, "stopping");
        }
        self.stop(now, reason);
    }

    fn wishes(&self, now: MonoNanos, seen: &Observation) -> Wishes {
        let wish = |lease: Lease| Wish {
            at: if lease.holds { now } else { lease.renewed },
            command: lease.goal.command(seen, &self.joints),
            until: lease.until,
        };
        Wishes {
            acknowledged: self.intent.acknowledged,
            emergency_stop: self.intent.emergency_stop || seen.emergency_stop || self.input_stops,
            operator: self.intent.operator.map(wish),
            skill: self.intent.skill.map(wish),
            veto: self.intent.veto,
        }
    }

    /// What time it is, where the policy asks for it: a look each second, which reads a clock and
    /// the state of its synchronisation and waits for nothing.
    fn time(&mut self, now: MonoNanos) -> Option<Stamp> {
        let clock = self.clock.as_ref().filter(|_| self.asks_for_time)?;
        let old = |stamp: Stamp| now.since(stamp.mono).is_none_or(|age| age >= CLOCK_EVERY);
        if self.stamp.is_none_or(old) {
            self.stamp = Some(Stamp { mono: now, ..clock.stamp() });
        }
        self.stamp
    }

    /// Closes sensors at once, and opens them once that is on its way to the journal.
    fn gate_sensors(&mut self, now: MonoNanos, pose: Pose, privacy: Privacy) {
        if privacy != self.privacy {
            let record = SensorsRecord {
                at: now,
                keep_s: privacy.keep_s,
                off: Sensor::ALL.map(|sensor| !privacy.allowed.contains(sensor)),
                pose,
                tick: self.tick,
            };
            if !self.queue.push(ControlRecord::Sensors(record)) {
                self.allow(now, Privacy { allowed: Sensors::NONE, keep_s: privacy.keep_s });
                return;
            }
            self.privacy = privacy;
        }
        self.allow(now, privacy);
    }

    fn allow(&self, now: MonoNanos, privacy: Privacy) {
        self.view.allow(privacy, now.plus(self.said_holds));
    }

    /// False when one of them did not fit.
    fn record_verdicts(&mut self, now: MonoNanos, pose: Pose, outcome: &Outcome) -> bool {
        let Self { intent, queue, runs, tick, view, .. } = self;
        let mut recorded = true;
        runs.observe(now, outcome.verdicts.iter().copied(), outcome.allowed, |phase, verdict| {
            view.intervened(phase);
            recorded &= queue.push(ControlRecord::Verdict(VerdictRecord {
                allowed: outcome.allowed,
                asked: outcome.asked.into(),
                at: now,
                context: intent.context,
                limit: verdict.limit,
                phase,
                pose,
                rule: verdict.rule,
                source: outcome.source,
                tick: *tick,
                zone: verdict.zone,
            }));
        });
        recorded
    }

    fn record_flight(&mut self, now: MonoNanos, stopped: bool, judged: Option<Judged<'_>>) {
        let Some(queue) = &mut self.flight else {
            return;
        };
        let around = flight::Around {
            at: now,
            journal_age: self.queue.oldest_uncommitted_age(now),
            keeps_scan: now < self.intent.scan_kept_until,
            software_stop: self.intent.emergency_stop,
            stopped,
            tick: self.tick,
        };
        queue.push(match judged {
            Some((seen, outcome)) => flight::tick(&around, seen, outcome),
            None => flight::unseen(&around),
        });
    }

    fn record_sample(&mut self, now: MonoNanos, seen: &Observation, outcome: &Outcome) {
        let moves = |speed: f64| speed.abs() > STANDING;
        let told = outcome.allowed_twist();
        // A joint that is told to move and does not is of as much interest as one that does.
        let moving = match &outcome.allowed {
            Command::Joints(told) => {
                told.joints.as_slice().iter().any(|speed| speed.abs() > 0.0) || !stands(seen)
            }
            _ => !stands(seen) || moves(told.linear) || moves(told.angular),
        };
        let every = if moving { SAMPLE_MOVING } else { SAMPLE_STANDING };
        let waited = |at: MonoNanos| now.since(at).is_none_or(|age| age >= every);
        if !self.sampled_at.is_none_or(waited) {
            return;
        }
        self.sampled_at = Some(now);
        let sample = Sample {
            allowed: outcome.allowed,
            asked: outcome.asked.into(),
            battery: seen.battery.map(|battery| battery.value.fraction),
            joints: seen.joints.map(|joints| joints.value),
            limit_mps: outcome.limit_mps,
            pose: seen.pose.value,
            source: outcome.source,
            twist: seen.twist.value,
        };
        // A sample that does not fit is noticed as any dropped record: by the journal's age.
        let _ = self.queue.push(ControlRecord::Sample(SampleRecord { at: now, sample }));
    }
}
