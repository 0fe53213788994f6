//! What a job's stream says of the job: the one fold, used when a fact is appended and when
//! all of them are read again.
//!
//! It knows no database and no clock: a job is a function of its facts and of when they came.

use crate::care::{Care, Ended};
use crate::guard::Guard;
use crate::store::jobs::JobRow;
use nooterra_protocol::codec::{self, CodecError, Digest};
use nooterra_protocol::event::{EventType, Fact, Heartbeat};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, RobotId};
use nooterra_protocol::job::{JobState, NotPossible, Step, step};
use nooterra_protocol::oversight::Rescheduled;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};

/// Payload of `JOB_CREATED`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Created {
    pub(crate) plan: Plan,
    pub(crate) requester: ActorId,
    pub(crate) robot: RobotId,
}

/// Of the payload of `MATCHED`: the plan, where the robot's ring chose a version in it.
#[derive(Debug, Deserialize)]
struct Matched {
    #[serde(default)]
    plan: Option<Plan>,
}

/// Payload of `RESERVED`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Reserved {
    pub(crate) command: EnvelopeId,
    pub(crate) robot: RobotId,
}

/// Why a stream makes no job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldError {
    #[error("the payload of {kind} cannot be read: {source}")]
    Payload { kind: EventType, source: CodecError },
    #[error("a job's stream begins with JOB_CREATED, not with {0}")]
    Unmade(EventType),
}

/// The job of which `fact` is the first.
pub(crate) fn first(
    id: &JobId,
    fact: &Fact,
    head: Digest,
    at: WallMillis,
) -> Result<JobRow, FoldError> {
    if fact.kind != EventType::JobCreated {
        return Err(FoldError::Unmade(fact.kind));
    }
    let Created { plan, requester, robot } = payload(fact)?;
    Ok(JobRow {
        care: Care::default(),
        command: None,
        created_at: at,
        events: 1,
        head,
        id: id.clone(),
        plan,
        progress: 0.0,
        requester,
        robot,
        stage: None,
        state: JobState::Created,
        updated_at: at,
    })
}

/// The job after one more fact, which came at `at` and has the stream's new head; or why the
/// fact comes too late for the state, which then stays as it is.
pub(crate) fn next(
    job: &mut JobRow,
    fact: &Fact,
    head: Digest,
    at: WallMillis,
) -> Result<Result<(), NotPossible>, FoldError> {
    let step = step(job.state, fact.kind);
    if let Ok(Step::To(to)) = step {
        if fact.kind == EventType::Reserved {
            job.command = Some(payload::<Reserved>(fact)?.command);
        }
        // Dispatch starts over: nobody has a start of it any more.
        if to == JobState::Booked {
            job.command = None;
        }
        if fact.kind == EventType::Rescheduled
            && let Some(robot) = payload::<Rescheduled>(fact)?.robot
        {
            if robot != job.robot && Guard::ApprovalOfRobot.on() {
                let reason = "scheduled anew for another robot".to_owned();
                job.care.end_approvals(&Ended { at, by: None, reason });
            }
            job.robot = robot;
        }
        if fact.kind == EventType::Matched
            && let Some(plan) = payload::<Matched>(fact)?.plan
        {
            job.plan = plan;
        }
        job.state = to;
        job.updated_at = at;
        // A completed job is wholly done, whatever its last heartbeat said.
        if to == JobState::Completed {
            job.progress = 1.0;
        }
        if matches!(to, JobState::Completed | JobState::Aborted) {
            job.stage = None;
        }
    } else if step.is_ok() {
        heartbeat(job, fact, at);
    }
    if step.is_ok() {
        job.care.note(job.state, fact, at);
    }
    job.events += 1;
    job.head = head;
    Ok(step.map(|_| ()))
}

fn heartbeat(job: &mut JobRow, fact: &Fact, at: WallMillis) {
    let over = job.state.is_over() && Guard::HeartbeatAfterEnd.on();
    if fact.kind != EventType::Heartbeat || over {
        return;
    }
    // A heartbeat of a later release may say more than this one reads.
    let Ok(heartbeat) = payload::<Heartbeat>(fact) else { return };
    if (0.0..=1.0).contains(&heartbeat.progress) || !Guard::HeartbeatRange.on() {
        job.progress = heartbeat.progress;
        job.stage = heartbeat.stage;
        job.updated_at = at;
    }
}

fn payload<T: serde::de::DeserializeOwned>(fact: &Fact) -> Result<T, FoldError> {
    codec::from_value(fact.payload.clone())
        .map_err(|source| FoldError::Payload { kind: fact.kind, source })
}
