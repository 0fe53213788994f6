//! The door for the control thread: fixed-size records into a bounded queue, without a lock,
//! an allocation or a system call. The writer thread makes journal entries of them.

use crate::age::Age;
use crossbeam_queue::ArrayQueue;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Asked, Command, Source, StopProfile};
use nooterra_protocol::entry::{Entry, Rule, Sample, SensorGated, Stop, Verdict, VerdictPhase};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{EnvelopeId, JobId, ZoneId};
use nooterra_protocol::policy::Sensor;
use nooterra_protocol::time::MonoNanos;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many contexts are kept: a record that waits while this many newer ones are set is
/// written without job, command and zone rather than with the wrong ones.
pub const CONTEXTS_KEPT: usize = 64;

/// What a control record means but cannot carry, because it is no fixed size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Context {
    /// The job under way.
    pub job: Option<JobId>,
    /// The signed command whose wish a verdict on [`Source::Operator`] is about.
    pub operator_command: Option<EnvelopeId>,
    /// Hash of the signed policy in force; also what the next checkpoint names.
    pub policy_hash: Digest,
    /// The zones of that policy, by the index that a verdict carries.
    pub zones: Vec<ZoneId>,
}

/// Names a [`Context`] in a control record. Only `set_context` makes new ones, so a record
/// keeps the job that held when it was made, however late it is written.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ContextId(pub(crate) u64);

/// A record of the control thread.
// In a box a sample would be an allocation on that thread.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ControlRecord {
    /// A sample of the robot's state.
    Sample(SampleRecord),
    /// Which sensors may be read changed.
    Sensors(SensorsRecord),
    /// The robot was stopped outside the gate's own verdicts.
    Stop(StopRecord),
    /// An intervention of the gate.
    Verdict(VerdictRecord),
}

/// A [`Sample`] with its moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRecord {
    /// When.
    pub at: MonoNanos,
    /// What.
    pub sample: Sample,
}

/// A [`SensorGated`] with its moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SensorsRecord {
    /// When.
    pub at: MonoNanos,
    /// What the others record is kept at most so long, seconds.
    pub keep_s: Option<u32>,
    /// Which are off, in the order of [`Sensor::ALL`].
    pub off: [bool; Sensor::ALL.len()],
    /// Where the robot was taken to be.
    pub pose: Pose,
    /// Tick of the control loop.
    pub tick: u64,
}

impl SensorsRecord {
    fn into_gated(self) -> SensorGated {
        let off = Sensor::ALL.into_iter().zip(self.off).filter(|(_, off)| *off);
        SensorGated {
            keep_s: self.keep_s,
            off: off.map(|(sensor, _)| sensor).collect(),
            pose: self.pose,
            tick: self.tick,
        }
    }
}

/// A [`Stop`] with its moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRecord {
    /// When.
    pub at: MonoNanos,
    /// How.
    pub profile: StopProfile,
    /// Why, in one line.
    pub reason: &'static str,
}

/// A [`Verdict`] with its moment; the names in it are those of its context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerdictRecord {
    /// What went to the robot.
    pub allowed: Command,
    /// What the source wished.
    pub asked: Asked,
    /// When.
    pub at: MonoNanos,
    /// Job, command, zones and policy.
    pub context: ContextId,
    /// The limit, in the unit that the rule documents.
    pub limit: f64,
    /// Where in a run of equal interventions it stands.
    pub phase: VerdictPhase,
    /// Where the robot was.
    pub pose: Pose,
    /// The rule.
    pub rule: Rule,
    /// Whose wish it was.
    pub source: Source,
    /// Tick of the control loop.
    pub tick: u64,
    /// Index of the zone in the context, for rules about zones.
    pub zone: Option<u16>,
}

impl ControlRecord {
    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> MonoNanos {
        match self {
            Self::Sample(record) => record.at,
            Self::Sensors(record) => record.at,
            Self::Stop(record) => record.at,
            Self::Verdict(record) => record.at,
        }
    }

    /// The journal entry, with the names that held when the record was made.
    pub(crate) fn into_entry(self, contexts: &Contexts) -> Entry {
        match self {
            Self::Sample(record) => Entry::Sample(record.sample),
            Self::Sensors(record) => Entry::SensorGated(record.into_gated()),
            Self::Stop(record) => {
                Entry::Stop(Stop { profile: record.profile, reason: record.reason.to_owned() })
            }
            Self::Verdict(record) => Entry::Verdict(record.into_verdict(contexts)),
        }
    }
}

impl VerdictRecord {
    fn into_verdict(self, contexts: &Contexts) -> Verdict {
        let context = contexts.find(self.context);
        let context = context.as_deref();
        let zone = self.zone.and_then(|index| context?.zones.get(usize::from(index)).cloned());
        let command = match self.source {
            Source::Operator => context.and_then(|context| context.operator_command.clone()),
            Source::EmergencyStop | Source::Idle | Source::Skill => None,
        };
        Verdict {
            allowed: self.allowed,
            asked: self.asked,
            command,
            job: context.and_then(|context| context.job.clone()),
            limit: self.limit,
            phase: self.phase,
            policy_hash: context.map_or(Digest::ZERO, |context| context.policy_hash),
            pose: self.pose,
            rule: self.rule,
            source: self.source,
            tick: self.tick,
            zone,
        }
    }
}

/// The producer's end. It belongs to one real-time thread.
pub struct ControlQueue {
    pub(crate) age: Arc<Age>,
    pub(crate) queue: Arc<ArrayQueue<ControlRecord>>,
}

impl ControlQueue {
    /// Queues a record; `false` when the queue is full. Then the record is dropped and
    /// counted, the writer records how many were, and until that record is durable
    /// [`Self::oldest_uncommitted_age`] keeps growing, so that the gate stops the robot.
    #[must_use = "a record that was dropped is missing from the journal"]
    pub fn push(&mut self, record: ControlRecord) -> bool {
        let queued = self.queue.push(record).is_ok();
        if !queued {
            self.age.control_dropped(record.at());
        }
        // After the push: noted earlier, a commit in between could forget it.
        self.age.control_queued(record.at());
        queued
    }

    /// As `JournalHandle::oldest_uncommitted_age`.
    #[must_use]
    pub fn oldest_uncommitted_age(&self, now: MonoNanos) -> Duration {
        self.age.oldest(now)
    }
}

impl fmt::Debug for ControlQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlQueue({} of {})", self.queue.len(), self.queue.capacity())
    }
}

/// The last [`CONTEXTS_KEPT`] contexts.
#[derive(Debug, Default)]
pub(crate) struct Contexts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    contexts: VecDeque<Arc<Context>>,
    /// The id of the newest; ids count up by one.
    newest: u64,
}

impl Contexts {
    pub(crate) fn set(&self, context: Context) -> ContextId {
        let mut kept = self.kept();
        if kept.contexts.len() == CONTEXTS_KEPT {
            kept.contexts.pop_front();
        }
        kept.contexts.push_back(Arc::new(context));
        kept.newest += 1;
        ContextId(kept.newest)
    }

    pub(crate) fn find(&self, id: ContextId) -> Option<Arc<Context>> {
        let kept = self.kept();
        let behind = usize::try_from(kept.newest.checked_sub(id.0)?).ok()?;
        kept.contexts.iter().rev().nth(behind).map(Arc::clone)
    }

    pub(crate) fn newest(&self) -> Option<Arc<Context>> {
        self.kept().contexts.back().map(Arc::clone)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
