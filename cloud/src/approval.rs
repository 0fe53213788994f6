//! Approvals of jobs: granted over a plan, taken back, expired. Whichever ends one ends the right
//! to go on: a job under way leaves through its robot's safe exit, and one that has not begun is
//! not sent before somebody approves it again.
//!
//! The facts are a requester's. The cloud signs for whoever held the token, as it signs commands
//! in an operator's name; `key_id` says that it did.

use crate::access_plan::TTL;
use crate::care::Care;
use crate::commands;
use crate::guard::Guard;
use crate::jobs::{JobError, Server, load};
use crate::standing;
use crate::store::jobs::JobRow;
use crate::store::{Connection, StoreError, standings};
use nooterra_protocol::approval::{ApprovalEnded, ApprovalGranted, MAX_APPROVALS};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::Ask;
use nooterra_protocol::event::{Actor, ActorKind, EventType};
use nooterra_protocol::ids::{ActorId, JobId};
use nooterra_protocol::job::{JobState, NotPossible};
use nooterra_protocol::plan::Plan;

/// Why an approval does not count, or is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApprovalError {
    #[error("the job is not sent before somebody approves it")]
    Missing,
    #[error("nobody has approved the job, or no approval of it holds any more")]
    None,
    #[error("the approval is of plan {named}, the job's is {is}")]
    OtherPlan { is: Digest, named: Digest },
    #[error("the time of the approval is over")]
    Over,
    #[error("a job is approved {MAX_APPROVALS} times at the most")]
    TooMany,
}

impl Server {
    /// `APPROVAL_GRANTED` by a requester; a robot that has the job is told.
    pub(crate) fn approve(
        &self,
        tx: &Connection,
        job: &JobId,
        by: &ActorId,
        granted: &ApprovalGranted,
    ) -> Result<JobRow, JobError> {
        let before = load(tx, job)?;
        if before.state.is_over() || before.state == JobState::AbortingSafeExit {
            let (event, state) = (EventType::ApprovalGranted, before.state);
            return Err(NotPossible { event, state }.into());
        }
        let is = digest(&before.plan)?;
        if granted.plan != is && Guard::ApprovalOfPlan.on() {
            return Err(ApprovalError::OtherPlan { is, named: granted.plan }.into());
        }
        if granted.until.is_some_and(|until| until <= self.now()) {
            return Err(ApprovalError::Over.into());
        }
        if before.care.approvals.len() >= MAX_APPROVALS {
            return Err(ApprovalError::TooMany.into());
        }
        let kind = EventType::ApprovalGranted;
        let after = self.advance_for(tx, &requester(by), job, kind, granted)?;
        if before.command.is_some() {
            self.tell_window(tx, &after)?;
            self.tell_approvals(tx, &after)?;
        }
        Ok(after)
    }

    /// `APPROVAL_REVOKED` by a requester.
    pub(crate) fn revoke_approval(
        &self,
        tx: &Connection,
        job: &JobId,
        by: &ActorId,
        reason: &str,
    ) -> Result<JobRow, JobError> {
        let before = load(tx, job)?;
        if before.care.approved().next().is_none() {
            return Err(ApprovalError::None.into());
        }
        let ended = ApprovalEnded { reason: reason.to_owned() };
        let kind = EventType::ApprovalRevoked;
        let after = self.advance_for(tx, &requester(by), job, kind, &ended)?;
        self.take_right(tx, &before, &after, &format!("approval was revoked: {reason}"))?;
        Ok(after)
    }

    /// `APPROVAL_EXPIRED`.
    pub(crate) fn expire_approval(&self, tx: &Connection, job: &JobId) -> Result<(), JobError> {
        let before = load(tx, job)?;
        let reason = "the time of an approval is over";
        let ended = ApprovalEnded { reason: reason.to_owned() };
        let after = self.advance(tx, job, EventType::ApprovalExpired, &ended)?;
        self.take_right(tx, &before, &after, reason)?;
        tracing::warn!(%job, robot = %before.robot, "an approval expired");
        Ok(())
    }

    /// A job that lacks an approval is not sent to a robot.
    pub(crate) fn check_approved(&self, job: &JobRow) -> Result<(), JobError> {
        if !Guard::ApprovedDispatch.on() {
            return Ok(());
        }
        if job.care.lacks_approval() {
            return Err(ApprovalError::Missing.into());
        }
        // Nobody may have looked since.
        if job.care.approved_until().is_some_and(|until| self.now() >= until) {
            return Err(ApprovalError::Over.into());
        }
        Ok(())
    }

    /// Tells the robot of a job who approved it, each in the name of whoever did: rules of its
    /// owner may ask for a review.
    pub(crate) fn tell_approvals(&self, tx: &Connection, job: &JobRow) -> Result<(), JobError> {
        for approval in job.care.approved() {
            let ask = Ask::ReviewJob { job: job.id.clone(), plan: approval.plan };
            if standing::permit(tx, &job.robot, &ask)?.is_ok() {
                let (robot, by) = (&job.robot, &approval.by);
                commands::issue_for(tx, self, by, robot, &ask, TTL, Some(&job.id))?;
            }
        }
        Ok(())
    }

    /// Whoever was given the job is told to give it up; a start that nobody has taken is void.
    fn take_right(
        &self,
        tx: &Connection,
        before: &JobRow,
        after: &JobRow,
        reason: &str,
    ) -> Result<(), JobError> {
        if let (Some(command), JobState::Booked) = (&before.command, after.state)
            && Guard::ApprovalWithdraws.on()
        {
            standings::withdraw(tx, command, &format!("withdrawn: {reason}"))?;
        }
        self.recall(tx, before, reason, TTL)
    }
}

/// The plan that is sent is the one that was approved, whatever a ring has meanwhile.
pub(crate) fn check_plan(care: &Care, plan: &Plan) -> Result<(), JobError> {
    let is = digest(plan)?;
    match care.approved().find(|approval| approval.plan != is) {
        Some(approval) if Guard::ApprovalOfPlan.on() => {
            Err(ApprovalError::OtherPlan { is, named: approval.plan }.into())
        }
        _ => Ok(()),
    }
}

fn digest(plan: &Plan) -> Result<Digest, StoreError> {
    plan.digest().map_err(|error| StoreError::damaged("a plan", error))
}

fn requester(by: &ActorId) -> Actor {
    Actor { id: by.clone(), kind: ActorKind::Requester }
}
