//! Where wishes for the robot are laid down, and picked up by every tick.
//!
//! The downlink and the job runner write; the control loop only ever tries the lock, and
//! works with what it last saw when it is taken. A wish carries its own end, so an old copy
//! cannot outlive its lease.

use super::steer::Goal;
use nooterra_blackbox::{Context, ContextId, JournalHandle};
use nooterra_policy::{Grants, VerifiedPolicy};
use nooterra_protocol::grant;
use nooterra_protocol::ids::{EnvelopeId, JobId, ModeId};
use nooterra_protocol::policy::Clear;
use nooterra_protocol::time::MonoNanos;
use std::sync::{Mutex, MutexGuard};
use tracing::error;

/// Whether the software emergency stop is in force, in the journal's state.
pub(crate) const STOP_KEY: &str = "control.emergency_stop";

fn was_stopped(journal: &JournalHandle) -> bool {
    match journal.get_state(STOP_KEY) {
        Ok(None) => false,
        Ok(Some(state)) => state != [0],
        Err(error) => {
            error!(%error, "whether the emergency stop was in force is not known; it is now");
            true
        }
    }
}

/// A goal and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lease {
    /// What is wished.
    pub goal: Goal,
    /// Whether the goal is fresh by itself until the lease ends (an operator who granted a
    /// lease), or must be renewed within the policy's freshness (a skill).
    pub holds: bool,
    /// When it was last renewed.
    pub renewed: MonoNanos,
    /// After this moment it is void.
    pub until: MonoNanos,
}

/// All wishes of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Intent {
    /// When somebody who may last said that a stop may be lifted.
    pub acknowledged: Option<MonoNanos>,
    /// The journal context that explains these wishes.
    pub context: ContextId,
    /// A software emergency stop is in force.
    pub emergency_stop: bool,
    /// Who may move the robot, until when.
    pub grants: Grants,
    /// The policy's mode that holds, by its place in the document; beyond it the strictest.
    pub limits: Option<u8>,
    /// An operator's.
    pub operator: Option<Lease>,
    /// Until when the range sensor's data may be kept.
    pub scan_kept_until: MonoNanos,
    /// The running skill's.
    pub skill: Option<Lease>,
    /// Somebody's veto holds the robot.
    pub veto: bool,
}

struct Inner {
    context: Context,
    intent: Intent,
}

/// The one place for wishes.
pub struct Desk {
    inner: Mutex<Inner>,
    journal: JournalHandle,
    /// The policy's modes, in their order.
    modes: Vec<ModeId>,
    /// Held while it is written down whether the emergency stop is in force.
    remembering: Mutex<()>,
    /// An emergency stop stays until somebody lifts it.
    stop_latches: bool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("intent", &self.lock().intent).finish_non_exhaustive()
    }
}

impl Desk {
    /// An empty desk of a robot under `policy`. A software emergency stop that was in force when
    /// the agent ended is in force again; so it is where nobody can say whether it was.
    #[must_use]
    pub fn new(journal: JournalHandle, policy: &VerifiedPolicy) -> Self {
        let context = Context {
            job: None,
            operator_command: None,
            policy_hash: policy.digest(),
            zones: policy.zone_ids().to_vec(),
        };
        let intent = Intent {
            acknowledged: None,
            context: journal.set_context(context.clone()),
            emergency_stop: was_stopped(&journal),
            grants: Grants::NONE,
            limits: None,
            operator: None,
            scan_kept_until: MonoNanos(0),
            skill: None,
            veto: false,
        };
        let document = policy.document();
        let modes = document.modes.iter().map(|mode| mode.id.clone()).collect();
        let stop_latches = document.latches.emergency_stop == Clear::Acknowledged;
        let inner = Mutex::new(Inner { context, intent });
        Self { inner, journal, modes, remembering: Mutex::new(()), stop_latches }
    }

    /// Lays down an operator's wish on behalf of a signed command; the latest replaces.
    pub fn set_operator(&self, lease: Lease, command: EnvelopeId) {
        let mut inner = self.lock();
        inner.intent.operator = Some(lease);
        inner.context.operator_command = Some(command);
        self.explain(&mut inner);
    }

    /// Lays down what the running skill asks for; `None` when it asks for nothing.
    pub fn set_skill(&self, lease: Option<Lease>) {
        self.lock().intent.skill = lease;
    }

    /// Nobody wishes anything, and no job is under way.
    #[must_use]
    pub fn is_idle(&self, now: MonoNanos) -> bool {
        let inner = self.lock();
        let wished = inner.intent.operator.is_some_and(|lease| now < lease.until);
        !wished && inner.intent.skill.is_none() && inner.context.job.is_none()
    }

    /// Puts the software emergency stop in force. Any operator's wish ends.
    pub fn press_emergency_stop(&self) {
        let mut inner = self.lock();
        inner.intent.emergency_stop = true;
        inner.intent.operator = None;
        drop(inner);
        self.remember_stop();
    }

    /// The robot's own stop was pressed at a moment. Where the policy has somebody lift it, and
    /// nobody has since, it is in force from now on like one from afar, so that it outlives a
    /// restart. What is seen in a tick is not kept by the tick: this waits for the disk.
    pub fn keep_pressed(&self, at: MonoNanos) {
        let mut inner = self.lock();
        let lifted = inner.intent.acknowledged.is_some_and(|said| said >= at);
        if !self.stop_latches || lifted || inner.intent.emergency_stop {
            return;
        }
        inner.intent.emergency_stop = true;
        inner.intent.operator = None;
        drop(inner);
        self.remember_stop();
    }

    /// Takes the software emergency stop back, and says for any stop whose cause is gone that
    /// it may be lifted. Any operator's wish ends.
    pub fn release_emergency_stop(&self, now: MonoNanos) {
        let mut inner = self.lock();
        inner.intent.acknowledged = Some(now);
        inner.intent.emergency_stop = false;
        inner.intent.operator = None;
        drop(inner);
        self.remember_stop();
    }

    /// Ends any operator's wish.
    pub fn end_operator(&self) {
        self.lock().intent.operator = None;
    }

    /// Says who may move the robot, and whether a veto holds it. Before this nobody may.
    pub fn set_authority(&self, granted: &grant::Grants, veto: bool) {
        let until = |asker| {
            let drives = granted.bits & grant::Grants::bit(asker, grant::Action::Drive) != 0;
            if drives { granted.expires } else { MonoNanos(0) }
        };
        let mut inner = self.lock();
        inner.intent.grants = Grants {
            operator_until: until(grant::Asker::Operator),
            skill_until: until(grant::Asker::Skill),
        };
        let kept = granted.sensors[grant::Sensor::Range as usize].keep_s > 0;
        inner.intent.scan_kept_until = if kept { granted.expires } else { MonoNanos(0) };
        inner.intent.veto = veto;
    }

    /// Says which of the policy's modes holds. One that the policy does not have, because it was
    /// changed since, is taken for the strictest of all.
    pub fn set_limits(&self, mode: Option<&ModeId>) {
        let place = |mode: &ModeId| self.modes.iter().position(|known| known == mode);
        self.lock().intent.limits = mode
            .map(|mode| place(mode).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX));
    }

    /// The policy's modes.
    #[must_use]
    pub fn modes(&self) -> &[ModeId] {
        &self.modes
    }

    /// Names the job that verdicts belong to from now on.
    pub fn set_job(&self, job: Option<JobId>) {
        let mut inner = self.lock();
        inner.context.job = job;
        self.explain(&mut inner);
    }

    /// The job that is under way.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.lock().context.job.clone()
    }

    /// All wishes, if that needs no waiting.
    #[must_use]
    pub fn try_intent(&self) -> Option<Intent> {
        match self.inner.try_lock() {
            Ok(inner) => Some(inner.intent),
            Err(std::sync::TryLockError::Poisoned(inner)) => Some(inner.into_inner().intent),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// A software emergency stop is in force.
    #[must_use]
    pub fn emergency_stop(&self) -> bool {
        self.lock().intent.emergency_stop
    }

    /// After it took effect: a stop waits for no disk. What is in force by then is what is written
    /// down: of a press and a release at once, whichever counts in the end.
    fn remember_stop(&self) {
        let _in_turn = self.remembering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let on = self.emergency_stop();
        if let Err(error) = self.journal.put_state(STOP_KEY, &[u8::from(on)]) {
            error!(%error, on, "the emergency stop is not remembered over a restart");
        }
    }

    fn explain(&self, inner: &mut Inner) {
        inner.intent.context = self.journal.set_context(inner.context.clone());
    }

    /// A holder that panicked left whole values behind: each is written by one assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
