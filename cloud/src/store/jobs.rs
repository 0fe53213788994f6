//! Jobs as projected from their streams, and the streams themselves.

use super::{StoreError, digest, typed};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::{EventType, Place};
use nooterra_protocol::ids::{ActorId, EnvelopeId, EventId, JobId, RobotId, StepId, StreamId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::time::WallMillis;
use rusqlite::{Connection, OptionalExtension as _, Row};

/// A job as its stream leaves it.
#[derive(Clone, Debug)]
pub(crate) struct JobRow {
    pub(crate) command: Option<EnvelopeId>,
    pub(crate) created_at: WallMillis,
    /// Facts in its stream.
    pub(crate) events: u64,
    pub(crate) id: JobId,
    pub(crate) plan: Plan,
    pub(crate) progress: f64,
    pub(crate) requester: ActorId,
    pub(crate) robot: RobotId,
    pub(crate) stage: Option<StepId>,
    pub(crate) state: JobState,
    pub(crate) updated_at: WallMillis,
}

/// A fact on its way into a stream.
#[derive(Debug)]
pub(crate) struct NewFact<'a> {
    pub(crate) event: &'a EventId,
    pub(crate) kind: EventType,
    pub(crate) late: bool,
    pub(crate) signed: &'a [u8],
    pub(crate) stream: &'a StreamId,
}

/// A fact in its place.
#[derive(Debug)]
pub(crate) struct FactRow {
    pub(crate) place: Place,
    pub(crate) received_at: WallMillis,
    pub(crate) signed: Vec<u8>,
}

const COLUMNS: &str = "id, robot, requester, plan, state, progress, stage, command, created_at,
    updated_at, (SELECT count(*) FROM facts WHERE stream = 'job.' || jobs.id)";

/// The stream of a job. Ids of jobs are ours and short, so the name always fits.
pub(crate) fn stream_of(job: &JobId) -> Result<StreamId, StoreError> {
    StreamId::new(format!("job.{job}")).map_err(|e| StoreError::damaged("a job id", e))
}

/// The stream of a robot's facts that belong to no job of its own.
pub(crate) fn robot_stream(robot: &RobotId) -> Result<StreamId, StoreError> {
    StreamId::new(format!("robot.{robot}")).map_err(|e| StoreError::damaged("a robot id", e))
}

/// Reads a state's name.
pub(crate) fn state(name: &str) -> Option<JobState> {
    JobState::ALL.into_iter().find(|state| state.name() == name)
}

/// One job.
pub(crate) fn find(tx: &Connection, id: &JobId) -> Result<Option<JobRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_row([id.as_str()], job).optional()?)
}

/// The newest jobs first.
pub(crate) fn newest(tx: &Connection, limit: u32) -> Result<Vec<JobRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs ORDER BY n DESC LIMIT ?1");
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map([limit], job)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Begins the projection of a new job, in CREATED.
pub(crate) fn create(
    tx: &Connection,
    id: &JobId,
    robot: &RobotId,
    requester: &ActorId,
    plan: &Plan,
    now: WallMillis,
) -> Result<(), StoreError> {
    let plan = serde_json::to_string(plan).map_err(|e| StoreError::damaged("a plan", e))?;
    tx.prepare_cached(
        "INSERT INTO jobs (id, robot, requester, plan, state, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?
    .execute((
        id.as_str(),
        robot.as_str(),
        requester.as_str(),
        plan,
        JobState::Created.name(),
        now.0,
    ))?;
    Ok(())
}

/// The job moved to `to`.
pub(crate) fn set_state(
    tx: &Connection,
    id: &JobId,
    to: JobState,
    now: WallMillis,
) -> Result<(), StoreError> {
    // A completed job is wholly done, whatever its last heartbeat said.
    tx.prepare_cached(
        "UPDATE jobs SET state = ?2, updated_at = ?3,
             progress = CASE ?2 WHEN 'COMPLETED' THEN 1.0 ELSE progress END,
             stage = CASE WHEN ?2 IN ('COMPLETED', 'ABORTED') THEN NULL ELSE stage END
         WHERE id = ?1",
    )?
    .execute((id.as_str(), to.name(), now.0))?;
    Ok(())
}

/// What a heartbeat said of the job.
pub(crate) fn set_progress(
    tx: &Connection,
    id: &JobId,
    progress: f64,
    stage: Option<&StepId>,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE jobs SET progress = ?2, stage = ?3, updated_at = ?4 WHERE id = ?1")?
        .execute((id.as_str(), progress, stage.map(StepId::as_str), now.0))?;
    Ok(())
}

/// The envelope that started the job.
pub(crate) fn set_command(
    tx: &Connection,
    id: &JobId,
    command: &EnvelopeId,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE jobs SET command = ?2 WHERE id = ?1")?
        .execute((id.as_str(), command.as_str()))?;
    Ok(())
}

/// Gives a fact the next place of its stream; `None` when that event has a place already.
pub(crate) fn append(
    tx: &Connection,
    fact: &NewFact<'_>,
    now: WallMillis,
) -> Result<Option<Place>, StoreError> {
    let known: bool = tx
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM facts WHERE event = ?1)")?
        .query_row([fact.event.as_str()], |row| row.get(0))?;
    if known {
        return Ok(None);
    }
    let head = tx
        .prepare_cached("SELECT seq, hash FROM facts WHERE stream = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([fact.stream.as_str()], |row| Ok((row.get::<_, i64>(0)?, digest(row, 1)?)))
        .optional()?;
    let (last, prev_hash) = head.unwrap_or((0, Digest::ZERO));
    let place = Place {
        hash: Place::hash_of(&prev_hash, fact.signed),
        late: fact.late,
        prev_hash,
        seq: u64::try_from(last).map_err(|e| StoreError::damaged("a stream", e))? + 1,
        stream: fact.stream.clone(),
    };
    tx.prepare_cached(
        "INSERT INTO facts (stream, seq, event, kind, late, prev_hash, hash, signed, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        place.stream.as_str(),
        last + 1,
        fact.event.as_str(),
        fact.kind.name(),
        place.late,
        place.prev_hash.as_bytes(),
        place.hash.as_bytes(),
        fact.signed,
        now.0,
    ))?;
    Ok(Some(place))
}

/// The signed bytes under which an event stands, wherever.
pub(crate) fn signed_of(tx: &Connection, event: &EventId) -> Result<Option<Vec<u8>>, StoreError> {
    let mut find = tx.prepare_cached("SELECT signed FROM facts WHERE event = ?1")?;
    Ok(find.query_row([event.as_str()], |row| row.get(0)).optional()?)
}

/// The facts of a stream after `after`, in order; at most `limit`.
pub(crate) fn facts(
    tx: &Connection,
    stream: &StreamId,
    after: u64,
    limit: u32,
) -> Result<Vec<FactRow>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT seq, late, prev_hash, hash, signed, received_at FROM facts
         WHERE stream = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = statement
        .query_map((stream.as_str(), after, limit), |row| {
            let seq: i64 = row.get(0)?;
            let place = Place {
                hash: digest(row, 3)?,
                late: row.get(1)?,
                prev_hash: digest(row, 2)?,
                seq: u64::try_from(seq).unwrap_or_default(),
                stream: stream.clone(),
            };
            Ok(FactRow { place, received_at: WallMillis(row.get(5)?), signed: row.get(4)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let unreadable = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let plan: String = row.get(3)?;
    let name: String = row.get(4)?;
    let optional = |column| row.get::<_, Option<String>>(column);
    Ok(JobRow {
        id: typed(row, 0)?,
        robot: typed(row, 1)?,
        requester: typed(row, 2)?,
        plan: serde_json::from_str(&plan).map_err(|e| unreadable(3, e.into()))?,
        state: state(&name).ok_or_else(|| unreadable(4, name.into()))?,
        progress: row.get(5)?,
        stage: optional(6)?.and_then(|text| StepId::new(text).ok()),
        command: optional(7)?.and_then(|text| EnvelopeId::new(text).ok()),
        created_at: WallMillis(row.get(8)?),
        updated_at: WallMillis(row.get(9)?),
        events: u64::try_from(row.get::<_, i64>(10)?).unwrap_or_default(),
    })
}
