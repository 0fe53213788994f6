//! Access plans of jobs: issued, taken back, expired. Whichever ends access ends the job, through
//! the robot's safe exit where it is under way.

use crate::commands;
use crate::guard::Guard;
use crate::jobs::{JobError, Server, load};
use crate::standing;
use crate::store::Connection;
use crate::store::jobs::JobRow;
use nooterra_protocol::access::AccessPlan;
use nooterra_protocol::command::Ask;
use nooterra_protocol::event::EventType;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::job::{JobState, NotPossible};
use serde::Serialize;
use std::time::Duration;

/// How long a robot without a link may take to hear of its access: as long as an envelope is
/// valid. What it knows of its window it holds by itself.
pub(crate) const TTL: Duration = Duration::from_secs(24 * 3600);

/// Why access does not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("the job has no access plan")]
    NoPlan,
    #[error("the access plan says that it is not revocable before its time")]
    NotRevocable,
    #[error("the time of the access plan is over")]
    Over,
    #[error(transparent)]
    Plan(#[from] nooterra_protocol::access::AccessPlanError),
}

/// Payload of `ACCESS_REVOKED` and `ACCESS_EXPIRED`.
#[derive(Serialize)]
struct Ended<'a> {
    reason: &'a str,
}

impl Server {
    /// `ACCESS_PLAN_ISSUED`; a robot that has the job is told its window.
    pub(crate) fn issue_access(
        &self,
        tx: &Connection,
        job: &JobId,
        plan: &AccessPlan,
    ) -> Result<JobRow, JobError> {
        plan.check().map_err(AccessError::from)?;
        if plan.valid_to <= self.now() {
            return Err(AccessError::Over.into());
        }
        let before = load(tx, job)?;
        if before.state.is_over() || before.state == JobState::AbortingSafeExit {
            let (event, state) = (EventType::AccessPlanIssued, before.state);
            return Err(NotPossible { event, state }.into());
        }
        let after = self.advance(tx, job, EventType::AccessPlanIssued, plan)?;
        if before.command.is_some() {
            self.tell_window(tx, &after)?;
        }
        Ok(after)
    }

    /// Tells the robot of a job when it may be let in and may go on, if a plan or an approval
    /// says so: what it knows it holds by itself, also without a link.
    pub(crate) fn tell_window(&self, tx: &Connection, job: &JobRow) -> Result<(), JobError> {
        let (plan, approved) = (job.care.access.as_ref(), job.care.approved_until());
        if plan.is_none() && approved.is_none() {
            return Ok(());
        }
        let ask = Ask::PlanAccess {
            from: plan.map(|plan| plan.valid_from),
            job: job.id.clone(),
            needs_review: plan.is_some_and(|plan| plan.needs_review),
            privacy: plan.and_then(|plan| plan.privacy.clone()),
            to: plan.map(|plan| plan.valid_to).into_iter().chain(approved).min(),
        };
        if standing::permit(tx, &job.robot, &ask)?.is_ok() {
            commands::issue(tx, self, &job.robot, &ask, TTL, Some(&job.id))?;
        }
        Ok(())
    }

    /// A job whose access is over is not sent to a robot.
    pub(crate) fn check_window(&self, job: &JobRow) -> Result<(), JobError> {
        let over = job.care.access.as_ref().is_some_and(|plan| self.now() >= plan.valid_to);
        if over && Guard::DispatchInWindow.on() {
            return Err(AccessError::Over.into());
        }
        Ok(())
    }

    /// `ACCESS_REVOKED`.
    pub(crate) fn revoke_access(
        &self,
        tx: &Connection,
        job: &JobId,
        reason: &str,
    ) -> Result<JobRow, JobError> {
        let before = load(tx, job)?;
        let Some(plan) = &before.care.access else { return Err(AccessError::NoPlan.into()) };
        if !plan.revocable && Guard::Revocable.on() {
            return Err(AccessError::NotRevocable.into());
        }
        let after = self.advance(tx, job, EventType::AccessRevoked, &Ended { reason })?;
        self.recall(tx, &before, &format!("access was revoked: {reason}"), TTL)?;
        Ok(after)
    }

    /// `ACCESS_EXPIRED`.
    pub(crate) fn expire_access(&self, tx: &Connection, job: &JobId) -> Result<(), JobError> {
        let before = load(tx, job)?;
        let reason = "the time of the access plan is over";
        self.advance(tx, job, EventType::AccessExpired, &Ended { reason })?;
        self.recall(tx, &before, reason, TTL)?;
        tracing::warn!(%job, robot = %before.robot, "access expired");
        Ok(())
    }
}
