//! How a robot stands in the fleet: what is still signed for it, and whether it is let in.
//!
//! A robot is in service, in maintenance, quarantined or revoked. Each change is a fact of the
//! server in the robot's own stream, in the transaction that makes the change. One function says
//! what each standing permits ([`Standing::permits`]); it is asked before anything is signed,
//! and what waits unsent is withdrawn when it stops being permitted.
//!
//! It never takes a fact back that a robot signed before, and never opens a revoked key again:
//! a revoked robot comes back with another key and a new claim code.

use crate::commands;
use crate::guard::Guard;
use crate::jobs::{JobError, Server};
use crate::store::commands::unanswered;
use crate::store::standings::{self, StandingRow};
use crate::store::{Connection, News, jobs, robots};
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::event::EventType;
use nooterra_protocol::ids::{EnvelopeId, JobId, RobotId};
use nooterra_protocol::job::JobState;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a robot may take to hear that a job was taken from it.
const CANCEL_TTL: Duration = Duration::from_secs(600);

/// How a robot stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// Nothing is held back.
    InService,
    /// Somebody works on it: it goes on with what it has, and gets no further job.
    Maintenance,
    /// It is not trusted to work: it connects and tells its journal, and hears only what ends
    /// motion.
    Quarantined,
    /// Its key is closed: nothing is signed for it and nothing is taken from it.
    Revoked,
}

impl Standing {
    const ALL: [Self; 4] = [Self::InService, Self::Maintenance, Self::Quarantined, Self::Revoked];

    /// As in the API and the store.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InService => "in_service",
            Self::Maintenance => "maintenance",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }

    /// Whether `ask` may be signed for, and sent to, a robot that stands so.
    pub(crate) const fn permits(self, ask: &Ask) -> bool {
        match self {
            Self::InService => true,
            Self::Maintenance => !matches!(ask, Ask::StartJob { .. }),
            Self::Quarantined => {
                matches!(
                    ask,
                    Ask::CancelJob { .. }
                        | Ask::EmergencyStop { .. }
                        | Ask::PauseJob { .. }
                        | Ask::Veto { .. }
                )
            }
            Self::Revoked => false,
        }
    }

    const fn event(self) -> EventType {
        match self {
            Self::InService => EventType::RobotRestored,
            Self::Maintenance => EventType::RobotInMaintenance,
            Self::Quarantined => EventType::RobotQuarantined,
            Self::Revoked => EventType::RobotRevoked,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InService => "in service",
            Self::Maintenance => "in maintenance",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        })
    }
}

/// A word of the store that is no standing.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no standing of a robot")]
pub(crate) struct NoStanding(String);

impl FromStr for Standing {
    type Err = NoStanding;
    fn from_str(text: &str) -> Result<Self, NoStanding> {
        let found = Self::ALL.into_iter().find(|standing| standing.name() == text);
        found.ok_or_else(|| NoStanding(text.to_owned()))
    }
}

/// Whether somebody is let in as a robot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Admission {
    Admitted,
    /// The key was revoked.
    Revoked,
    /// No such robot, or it is enrolled with another key.
    Unknown,
}

/// Why something is not done for a robot that stands as it does.
#[derive(Debug, thiserror::Error)]
#[error("robot {robot} is {standing} ({reason}): {what}")]
pub(crate) struct Barred {
    pub(crate) reason: String,
    pub(crate) robot: RobotId,
    pub(crate) standing: Standing,
    pub(crate) what: String,
}

/// Refuses what the robot's standing does not permit.
pub(crate) fn permit(
    tx: &Connection,
    robot: &RobotId,
    ask: &Ask,
) -> Result<Result<(), Barred>, crate::store::StoreError> {
    let Some(row) = standings::of(tx, robot)? else { return Ok(Ok(())) };
    if row.standing.permits(ask) || !Guard::Standing.on() {
        return Ok(Ok(()));
    }
    let what = format!("`{}` is not signed for it", ask.name());
    Ok(Err(Barred { reason: row.reason, robot: robot.clone(), standing: row.standing, what }))
}

/// How the robot stands.
fn standing_of(tx: &Connection, robot: &RobotId) -> Result<Standing, crate::store::StoreError> {
    Ok(standings::of(tx, robot)?.map_or(Standing::InService, |row| row.standing))
}

#[derive(Serialize)]
struct Changed<'a> {
    reason: &'a str,
}

impl Server {
    /// Changes how a robot stands, withdraws what it may no longer be told, and, for a
    /// quarantine, calls it back from the jobs that it has begun. Asked again it changes
    /// nothing.
    pub(crate) fn stand(
        &self,
        tx: &Connection,
        robot: &RobotId,
        to: Standing,
        reason: &str,
    ) -> Result<(), JobError> {
        let Some(row) = robots::find(tx, robot)? else {
            return Err(JobError::UnknownRobot(robot.clone()));
        };
        let before = standings::of(tx, robot)?;
        let from = before.as_ref().map_or(Standing::InService, |row| row.standing);
        if from == to {
            return Ok(());
        }
        if let (Standing::Revoked, Some(before)) = (from, before)
            && Guard::RevokedForGood.on()
        {
            return Err(JobError::Barred(Barred {
                reason: before.reason,
                robot: robot.clone(),
                standing: from,
                what: "it comes back only by enrolment with another key".to_owned(),
            }));
        }
        if to == Standing::Revoked {
            standings::revoke_key(tx, &row.device_key, robot, reason, self.now())?;
            robots::end_connections(tx, robot, News::Revoked)?;
        }
        self.note_standing(tx, robot, to, reason)?;
        if Guard::Withdrawal.on() {
            self.withdraw(tx, robot, to, reason)?;
        }
        if to == Standing::Quarantined && Guard::QuarantineRecalls.on() {
            for job in standings::under_way(tx, robot)? {
                self.cancel(tx, &job, &format!("the robot was quarantined: {reason}"), CANCEL_TTL)?;
            }
        }
        Ok(())
    }

    /// A robot that was revoked has enrolled with another key.
    pub(crate) fn readmit(&self, tx: &Connection, robot: &RobotId) -> Result<(), JobError> {
        match standings::of(tx, robot)? {
            Some(row) if row.standing == Standing::Revoked => {
                self.note_standing(tx, robot, Standing::InService, "enrolled with another key")
            }
            _ => Ok(()),
        }
    }

    fn note_standing(
        &self,
        tx: &Connection,
        robot: &RobotId,
        to: Standing,
        reason: &str,
    ) -> Result<(), JobError> {
        let row = StandingRow { reason: reason.to_owned(), since: self.now(), standing: to };
        standings::set(tx, robot, &row)?;
        self.state_of_robot(tx, robot, to.event(), &Changed { reason })
    }

    fn withdraw(
        &self,
        tx: &Connection,
        robot: &RobotId,
        to: Standing,
        reason: &str,
    ) -> Result<(), JobError> {
        let reason = format!("withdrawn: the robot is {to}: {reason}");
        for command in unanswered(tx, robot, 0, self.now(), usize::MAX)? {
            // What cannot be read is not sent either.
            let ask = danger_unverified::<RemoteCommand>(&command.signed).map(|it| it.body);
            if ask.as_ref().is_ok_and(|ask| to.permits(ask)) {
                continue;
            }
            let Ok(Ask::StartJob { job, .. }) = ask else {
                standings::withdraw(tx, &command.id, &reason)?;
                continue;
            };
            self.withdraw_start(tx, robot, &command.id, &job, &reason)?;
        }
        Ok(())
    }

    /// Withdraws the start of a job that the robot has not answered, and books the job again.
    pub(crate) fn withdraw_start(
        &self,
        tx: &Connection,
        robot: &RobotId,
        command: &EnvelopeId,
        job: &JobId,
        reason: &str,
    ) -> Result<(), JobError> {
        standings::withdraw(tx, command, reason)?;
        let state = jobs::find(tx, job)?.map(|job| job.state);
        // A job that has begun was heard of, though the journal has not said so yet.
        if state != Some(JobState::Reserved) {
            return Ok(());
        }
        self.start_refused(tx, robot, command, reason)?;
        // It may have been sent a moment ago, and be on its way into the robot's journal.
        let cancel = Ask::CancelJob { job: job.clone(), reason: reason.to_owned() };
        if standing_of(tx, robot)?.permits(&cancel) {
            commands::issue(tx, self, robot, &cancel, CANCEL_TTL, Some(job))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_reads_back_as_itself_and_nothing_else_does() {
        for standing in Standing::ALL {
            assert_eq!(standing.name().parse::<Standing>().unwrap(), standing);
        }
        assert!("Revoked".parse::<Standing>().is_err());
    }

    #[test]
    fn quarantine_lets_through_only_what_ends_motion_and_revocation_nothing() {
        let reason = || "why".to_owned();
        let stop = Ask::EmergencyStop { reason: reason() };
        let veto = Ask::Veto { reason: reason() };
        for ask in [&stop, &veto] {
            assert!(Standing::Quarantined.permits(ask) && Standing::Maintenance.permits(ask));
        }
        for ask in [Ask::ReleaseStop, Ask::LiftVeto, Ask::Reconnect] {
            assert!(!Standing::Quarantined.permits(&ask), "{}", ask.name());
            assert!(Standing::Maintenance.permits(&ask), "{}", ask.name());
        }
        assert!(!Standing::Revoked.permits(&stop));
    }
}
