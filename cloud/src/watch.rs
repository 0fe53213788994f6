//! What follows from time alone: a job of which nothing is heard is stalled, a stall that nobody
//! ends calls a person, and access ends with its plan.
//!
//! Silence counts only while this process listens: a cloud that was down does not call its fleet
//! silent. Every process on a database watches; whichever looks first in its own transaction
//! states what is due, and the others find it stated.

use crate::core::Core;
use crate::guard::Guard;
use crate::jobs::{JobError, Server, load};
use crate::store::jobs::JobRow;
use crate::store::{Connection, StoreError, watched};
use crate::tls;
use nooterra_protocol::event::EventType;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::job::JobState;
use nooterra_protocol::oversight::{
    IncidentReported, IncidentType, Liveness, Resumed, StallCause, Stalled,
};
use nooterra_protocol::time::WallMillis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How silence is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// A stall that lasts so long calls a person.
    pub(crate) escalate_after: Duration,
    pub(crate) liveness: Liveness,
    /// When this process began to listen.
    pub(crate) listens_since: WallMillis,
}

/// Missed intervals that are a stall.
const MISSED: u32 = 3;

/// Between two looks at the longest.
const LOOK: Duration = Duration::from_secs(2);

impl Attention {
    pub(crate) fn new(
        interval: Duration,
        escalate_after: Duration,
        listens_since: WallMillis,
    ) -> Self {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let liveness = Liveness { interval_ms, missed: MISSED };
        Self { escalate_after, liveness, listens_since }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.liveness.interval_ms).saturating_mul(self.liveness.missed)
    }

    /// What is due for a job now.
    fn due(&self, job: &JobRow, now: WallMillis) -> Option<Due> {
        let passed = |since: WallMillis, span: Duration| now >= since.plus(span);
        if job.care.access_until(job.state).is_some_and(|until| now >= until) {
            return Some(Due::Expiry);
        }
        let right_until = job.care.right_until(job.state).filter(|_| Guard::ApprovalEnds.on());
        if right_until.is_some_and(|until| now >= until) {
            return Some(Due::ApprovalExpiry);
        }
        if matches!(job.state, JobState::Executing | JobState::Assisted) {
            let heard = job.care.heard_at.unwrap_or(job.updated_at).max(self.listens_since);
            let silent = passed(heard, self.patience()) || !Guard::StallAfterSilence.on();
            return silent.then_some(Due::Stall);
        }
        let stall = job.care.stall.as_ref().filter(|stall| {
            stall.cause == StallCause::Silence
                && (stall.escalated_at.is_none() || !Guard::EscalateOnce.on())
        })?;
        passed(stall.since, self.escalate_after).then_some(Due::Escalation)
    }
}

/// What time brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    ApprovalExpiry,
    Escalation,
    Expiry,
    Stall,
}

/// The jobs for which something is due now.
pub(crate) fn due(
    tx: &Connection,
    attention: &Attention,
    now: WallMillis,
) -> Result<Vec<JobId>, StoreError> {
    let watched = watched::all(tx, now)?;
    let due = watched.into_iter().filter(|job| attention.due(job, now).is_some());
    Ok(due.map(|job| job.id).collect())
}

impl Server {
    /// States what is due for a job, if something still is.
    pub(crate) fn look_after(
        &self,
        tx: &Connection,
        job: &JobId,
        attention: &Attention,
    ) -> Result<(), JobError> {
        let row = load(tx, job)?;
        match attention.due(&row, self.now()) {
            None => {}
            Some(Due::ApprovalExpiry) => self.expire_approval(tx, job)?,
            Some(Due::Expiry) => self.expire_access(tx, job)?,
            Some(Due::Escalation) => {
                let reason = "nothing is heard of the robot, and nobody has ended that";
                let incident = IncidentReported {
                    escalates: true,
                    kind: IncidentType::RobotStuck,
                    reason: reason.to_owned(),
                    severity: 2,
                };
                self.advance(tx, job, EventType::IncidentReported, &incident)?;
                tracing::warn!(%job, robot = %row.robot, "a stalled job needs a person");
            }
            Some(Due::Stall) => {
                let stalled = Stalled {
                    cause: StallCause::Silence,
                    heard_at: row.care.heard_at,
                    liveness: Some(attention.liveness),
                    reason: None,
                };
                self.advance(tx, job, EventType::ExecutionStalled, &stalled)?;
                tracing::warn!(%job, robot = %row.robot, "nothing is heard of a job");
            }
        }
        Ok(())
    }

    /// A heartbeat ended a silence.
    pub(crate) fn heard_again(
        &self,
        tx: &Connection,
        job: &JobId,
        heartbeat: nooterra_protocol::ids::EventId,
    ) -> Result<(), JobError> {
        let resumed = Resumed { heartbeat: Some(heartbeat) };
        self.advance(tx, job, EventType::ExecutionResumed, &resumed).map(|_| ())
    }
}

/// Looks every few seconds, by the injected clock, until the cloud stops.
pub(crate) async fn keep(core: Arc<Core>, attention: Attention, mut stop: watch::Receiver<bool>) {
    let interval = Duration::from_millis(attention.liveness.interval_ms);
    let pause = (interval / 10).clamp(Duration::from_millis(50), LOOK);
    loop {
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let now = core.clock.wall();
        let due = core.store.read(move |tx| due(tx, &attention, now)).await;
        let due = due.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is due for jobs is not known");
            Vec::new()
        });
        for job in due {
            let (server, named) = (core.server.clone(), job.clone());
            let stated: Result<(), JobError> =
                core.store.write(move |tx| server.look_after(tx, &named, &attention)).await;
            if let Err(error) = stated {
                tracing::error!(%job, %error, "what is due for a job was not stated");
            }
        }
    }
}
