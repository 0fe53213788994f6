//! Taking a version back for good.
//!
//! A revoked version is given to no robot again, whatever a plan or a ring says. A start that was
//! not answered is withdrawn and its job booked again. What runs ends or goes on as whoever
//! revokes says ([`Running`]).

use super::Revocation;
use super::rollout::Step;
use crate::jobs::{JobError, Server};
use crate::store::jobs::JobRow;
use crate::store::{Connection, jobs, registry, rollouts, skills};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::EventType;
use nooterra_protocol::ids::{SkillId, StreamId};
use nooterra_protocol::job::JobState;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// The stream of facts about published versions.
const STREAM: &str = "registry";

/// How long a robot may take to hear that a job was taken from it.
const CANCEL_TTL: Duration = Duration::from_secs(600);

/// What becomes of jobs that run a revoked version.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Running {
    /// They are cancelled, and end by the robot's safe exit.
    #[default]
    Cancel,
    /// They go on to their end.
    Finish,
}

impl Running {
    /// As in the API and the store.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Finish => "finish",
        }
    }

    /// Reads a name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Cancel, Self::Finish].into_iter().find(|it| it.name() == name)
    }
}

#[derive(Serialize)]
struct Revoked<'a> {
    bundle: &'a Digest,
    id: &'a SkillId,
    reason: &'a str,
    running: Running,
    version: &'a str,
}

impl Server {
    /// Revokes a version, and takes it back from robots; false where it is not published. Asked
    /// again it changes nothing.
    pub(crate) fn revoke_skill(
        &self,
        tx: &Connection,
        bundle: &Digest,
        reason: &str,
        running: Running,
    ) -> Result<bool, JobError> {
        let Some(manifest) = skills::manifest(tx, bundle)? else { return Ok(false) };
        if registry::revocation(tx, bundle)?.is_some() {
            return Ok(true);
        }
        let why = Revocation { at: self.now(), reason: reason.to_owned(), running };
        registry::revoke(tx, bundle, &why)?;
        let payload =
            Revoked { bundle, id: &manifest.id, reason, running, version: &manifest.version };
        let stream =
            StreamId::new(STREAM).map_err(|e| crate::store::StoreError::damaged("a name", e))?;
        self.state_in(tx, &stream, EventType::SkillRevoked, &payload)?;
        let why = format!("skill {} {} was revoked: {reason}", manifest.id, manifest.version);
        for it in rollouts::all_unfinished(tx)?.into_iter().filter(|it| it.target == *bundle) {
            self.step_rollout(tx, it, Step::RollBack, &why)?;
        }
        for job in jobs::under_way_with(tx, None, bundle)? {
            self.take_back(tx, &job, running == Running::Cancel, &why)?;
        }
        Ok(true)
    }

    /// Takes a job from its robot: a start that was not answered is withdrawn, and the job is
    /// booked again; what the robot has begun is cancelled, if `begun` says so.
    pub(super) fn take_back(
        &self,
        tx: &Connection,
        job: &JobRow,
        begun: bool,
        reason: &str,
    ) -> Result<(), JobError> {
        if let (JobState::Reserved, Some(command)) = (job.state, &job.command) {
            let waits = crate::store::commands::find(tx, &job.robot, command)?
                .is_some_and(|command| command.state == "sent");
            if waits {
                let reason = format!("withdrawn: {reason}");
                return self.withdraw_start(tx, &job.robot, command, &job.id, &reason);
            }
        }
        if begun && job.state != JobState::AbortingSafeExit {
            self.cancel(tx, &job.id, reason, CANCEL_TTL)?;
        }
        Ok(())
    }
}
