//! What people change about a job on its way: to start dispatch over, to hold it, to let it go on.

use crate::commands;
use crate::guard::Guard;
use crate::jobs::{JobError, Server, load};
use crate::standing;
use crate::store::jobs::JobRow;
use crate::store::{Connection, robots, standings};
use nooterra_protocol::command::Ask;
use nooterra_protocol::event::EventType;
use nooterra_protocol::ids::{JobId, RobotId};
use nooterra_protocol::job::NotPossible;
use nooterra_protocol::oversight::{Rescheduled, StallCause, Stalled};
use std::time::Duration;

impl Server {
    /// `RESCHEDULED`: a job that has not begun goes back to BOOKED, for the same robot or for
    /// another. The start that was sent is void, and its robot is told so.
    pub(crate) fn reschedule(
        &self,
        tx: &Connection,
        job: &JobId,
        robot: Option<RobotId>,
        reason: &str,
        ttl: Duration,
    ) -> Result<JobRow, JobError> {
        if let Some(robot) = &robot
            && robots::find(tx, robot)?.is_none()
        {
            return Err(JobError::UnknownRobot(robot.clone()));
        }
        let before = load(tx, job)?;
        let payload =
            Rescheduled { command: before.command.clone(), reason: reason.to_owned(), robot };
        let after = self.advance(tx, job, EventType::Rescheduled, &payload)?;
        if let Some(command) = &before.command
            && Guard::RescheduleWithdraws.on()
        {
            standings::withdraw(tx, command, &format!("withdrawn: {reason}"))?;
            self.recall(tx, &before, reason, ttl)?;
        }
        Ok(after)
    }

    /// `EXECUTION_STALLED` by somebody who holds the job; its robot is told to come to rest.
    pub(crate) fn pause(
        &self,
        tx: &Connection,
        job: &JobId,
        reason: &str,
        ttl: Duration,
    ) -> Result<JobRow, JobError> {
        let before = load(tx, job)?;
        let stalled = Stalled {
            cause: StallCause::Paused,
            heard_at: before.care.heard_at,
            liveness: None,
            reason: Some(reason.to_owned()),
        };
        let after = self.advance(tx, job, EventType::ExecutionStalled, &stalled)?;
        let ask = Ask::PauseJob { job: job.clone(), reason: reason.to_owned() };
        // A revoked robot is told nothing more; what was stated holds all the same.
        if standing::permit(tx, &before.robot, &ask)?.is_ok() {
            commands::issue(tx, self, &before.robot, &ask, ttl, Some(job))?;
        }
        Ok(after)
    }

    /// Asks the robot of a job that somebody holds to go on. The job does when its robot says so.
    pub(crate) fn resume(
        &self,
        tx: &Connection,
        job: &JobId,
        ttl: Duration,
    ) -> Result<JobRow, JobError> {
        let row = load(tx, job)?;
        let held = row.care.stall.as_ref().is_some_and(|it| it.cause == StallCause::Paused);
        if !held && Guard::ResumeOfPaused.on() {
            let (event, state) = (EventType::ExecutionResumed, row.state);
            return Err(NotPossible { event, state }.into());
        }
        let ask = Ask::ResumeJob { job: job.clone() };
        standing::permit(tx, &row.robot, &ask)??;
        commands::issue(tx, self, &row.robot, &ask, ttl, Some(job))?;
        Ok(row)
    }

    /// Tells the robot of a job that it was given to that it is to give it up.
    pub(crate) fn recall(
        &self,
        tx: &Connection,
        before: &JobRow,
        reason: &str,
        ttl: Duration,
    ) -> Result<(), JobError> {
        if before.command.is_none() || !Guard::CancelReachesRobot.on() {
            return Ok(());
        }
        let ask = Ask::CancelJob { job: before.id.clone(), reason: reason.to_owned() };
        // A revoked robot is told nothing more; what was stated holds all the same.
        if standing::permit(tx, &before.robot, &ask)?.is_ok() {
            commands::issue(tx, self, &before.robot, &ask, ttl, Some(&before.id))?;
        }
        Ok(())
    }
}
