//! The control loop: read the robot, ask the gate, record, write. Nothing else decides about
//! motion, and nothing here waits for a network, a disk, a skill or a lock.
//!
//! Order within a tick: what the gate decided is queued for the journal before it is written
//! to the robot. When the queue is full the robot is stopped instead; a stop waits for
//! nothing.

mod desk;
mod runs;
mod steer;
mod thread;
mod view;

pub use desk::{Desk, Intent, Lease};
pub use steer::Goal;
pub use thread::{ControlThread, Exit, ThreadError};
pub use view::View;

use crate::stop_input::Watched;
use nooterra_blackbox::{ControlQueue, ControlRecord, SampleRecord, StopRecord, VerdictRecord};
use nooterra_hal::{HalError, Robot, StopInput};
use nooterra_policy::{Action, Gate, Inputs, Outcome, Surroundings, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::entry::Sample;
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::time::MonoNanos;
use runs::Runs;
use std::sync::Arc;
use std::time::Duration;
use tracing::error;

/// Between two samples of a robot that moves.
const SAMPLE_MOVING: Duration = Duration::from_millis(100);

/// Between two samples of a robot that stands.
const SAMPLE_STANDING: Duration = Duration::from_secs(1);

/// Slower than this counts as standing, m/s and rad/s: above the odometry's noise.
const STANDING: f64 = 0.02;

/// One robot under one gate.
pub struct ControlLoop {
    desk: Arc<Desk>,
    gate: Gate,
    intent: Intent,
    /// The policy has a rule about what stands around the robot.
    keeps_distance: bool,
    queue: ControlQueue,
    robot: Box<dyn Robot>,
    runs: Runs,
    sampled_at: Option<MonoNanos>,
    stop: StopProfile,
    stop_input: Option<Watched>,
    /// Why the robot is stopped outside the gate, so that it is said once.
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
            desk,
            gate: Gate::new(policy),
            intent,
            keeps_distance: policy.document().proximity.is_some(),
            queue,
            robot,
            runs: Runs::default(),
            sampled_at: None,
            stop: policy.document().stop,
            stop_input: None,
            stopped_for: None,
            tick: 0,
            view,
        }
    }

    /// The same, with a contact that stops the robot.
    #[must_use]
    pub fn with_stop_input(mut self, input: Box<dyn StopInput>) -> Self {
        self.stop_input = Some(Watched::new(input));
        self
    }

    /// One tick at `now`.
    pub fn tick(&mut self, now: MonoNanos) {
        self.tick += 1;
        let input = self.stop_input.as_mut();
        let stopped =
            input.is_some_and(|input| input.stops(&self.view, self.intent.acknowledged, now));
        match self.robot.read(now) {
            Ok(seen) => {
                let emergency_stop = seen.emergency_stop || stopped;
                self.judge(now, Observation { emergency_stop, ..seen });
            }
            Err(error) => self.halt(now, "the robot cannot be read", &error),
        }
        self.view.beat();
    }

    /// Stops the robot for a reason outside the gate and records it.
    pub fn stop(&mut self, now: MonoNanos, reason: &'static str) {
        if let Err(error) = self.robot.stop(now, self.stop) {
            // Nothing is left to do here but to fall silent: the driver's own watchdog stops.
            error!(%error, "the robot does not take the stop");
        }
        if self.stopped_for != Some(reason) {
            self.stopped_for = Some(reason);
            let record = StopRecord { at: now, profile: self.stop, reason };
            if !self.queue.push(ControlRecord::Stop(record)) {
                error!(reason, "a stop is not in the journal: its queue is full");
            }
        }
    }

    fn judge(&mut self, now: MonoNanos, seen: Observation) {
        if let Some(intent) = self.desk.try_intent() {
            self.intent = intent;
        }
        let scan = seen.scan.as_ref().filter(|_| self.keeps_distance);
        let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
        let inputs = Inputs {
            battery: seen.battery.map(|battery| battery.value.fraction),
            grants: self.intent.grants,
            journal_age: self.queue.oldest_uncommitted_age(now),
            surroundings: scan.map(|scan| Surroundings::from_scan(scan.at, &scan.value)),
            wishes: self.wishes(now, &seen),
            ..Inputs::new(self.tick, now, seen.pose, twist)
        };
        let outcome = self.gate.tick(&inputs);
        let recorded = self.record_verdicts(now, seen.pose.value, &outcome);
        self.record_sample(now, &seen, &outcome);
        let Outcome { action, .. } = outcome;
        match action {
            Action::Write(_) if !recorded => self.stop(now, "the journal's queue is full"),
            Action::Write(command) => match self.robot.write(now, self.tick, command) {
                Ok(()) => self.stopped_for = None,
                Err(error) => self.halt(now, "the robot does not take commands", &error),
            },
            // The gate's verdicts say why.
            Action::Stop(profile) => {
                if let Err(error) = self.robot.stop(now, profile) {
                    error!(%error, "the robot does not take the stop");
                }
            }
        }
        self.view.see(seen);
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
            command: lease.goal.twist(seen.pose.value).into(),
            until: lease.until,
        };
        Wishes {
            acknowledged: self.intent.acknowledged,
            emergency_stop: self.intent.emergency_stop || seen.emergency_stop,
            operator: self.intent.operator.map(wish),
            skill: self.intent.skill.map(wish),
            veto: self.intent.veto,
        }
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

    fn record_sample(&mut self, now: MonoNanos, seen: &Observation, outcome: &Outcome) {
        let moves = |speed: f64| speed.abs() > STANDING;
        let twists = [seen.twist.value, outcome.allowed_twist()];
        let moving = twists.iter().any(|twist| moves(twist.linear) || moves(twist.angular));
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
            limit_mps: outcome.limit_mps,
            pose: seen.pose.value,
            source: outcome.source,
            twist: seen.twist.value,
        };
        // A sample that does not fit is noticed as any dropped record: by the journal's age.
        let _ = self.queue.push(ControlRecord::Sample(SampleRecord { at: now, sample }));
    }
}
