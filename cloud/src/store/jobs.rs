//! Jobs as projected from their streams, and the streams themselves.

use super::{Connection, News, OptionalExtension as _, Row, StoreError, digest, tenants, typed};
use crate::access::Tenant;
use crate::care::Care;
use crate::guard::Guard;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::{EventType, Place};
use nooterra_protocol::ids::{ActorId, EnvelopeId, EventId, JobId, RobotId, StepId, StreamId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::time::WallMillis;

/// A job as its stream leaves it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobRow {
    pub(crate) care: Care,
    pub(crate) command: Option<EnvelopeId>,
    pub(crate) created_at: WallMillis,
    /// Facts in its stream.
    pub(crate) events: u64,
    /// Hash of the last fact's place: changes with every fact.
    pub(crate) head: Digest,
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
    /// The record of a robot that brought it.
    pub(crate) record: Option<i64>,
    pub(crate) signed: &'a [u8],
    pub(crate) stream: &'a StreamId,
}

/// A fact in its place.
#[derive(Debug)]
pub(crate) struct FactRow {
    /// As it is written beside the fact.
    pub(crate) event: String,
    /// As it is written beside the fact.
    pub(crate) kind: String,
    pub(crate) place: Place,
    /// Its place in the order of all streams.
    pub(crate) position: i64,
    pub(crate) received_at: WallMillis,
    /// The record of a robot that brought it.
    pub(crate) record: Option<i64>,
    pub(crate) signed: Vec<u8>,
}

const COLUMNS: &str = "id, robot, requester, plan, state, progress, stage, command, created_at,
    updated_at, last.seq, last.hash, care";

/// A job with the last place of its stream.
const TABLES: &str = "jobs JOIN facts AS last ON last.stream = 'job.' || jobs.id
    AND last.seq = (SELECT max(seq) FROM facts WHERE stream = 'job.' || jobs.id)";

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
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE id = ?1");
    let mut statement = tx.prepare_cached(&sql)?;
    statement.query_row([id.as_str()], job).optional()
}

/// The newest jobs first, each with its number; only those before the job of number `before`,
/// and of one tenant where it is given.
pub(crate) fn newest(
    tx: &Connection,
    tenant: Option<&Tenant>,
    before: i64,
    limit: u32,
) -> Result<Vec<(i64, JobRow)>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, n FROM {TABLES}
         WHERE n < ?1 AND (?2 = '' OR robot IN (SELECT id FROM robots WHERE tenant = ?2))
         ORDER BY n DESC LIMIT ?3"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    statement
        .query_map((before, tenants::name(tenant), limit), |row| Ok((row.get(13)?, job(row)?)))?
        .collect()
}

/// Every job that has a stream.
pub(crate) fn every(tx: &Connection) -> Result<Vec<JobRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} ORDER BY n");
    let mut statement = tx.prepare_cached(&sql)?;
    statement.query_map([], job)?.collect::<Result<_, _>>()
}

/// The id of every job that is shown, with a stream or without.
pub(crate) fn names(tx: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare_cached("SELECT id FROM jobs")?;
    statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()
}

/// A job that a robot has been given, and has not ended: the condition of the index
/// `jobs_under_way`, word for word.
pub(super) const UNDER_WAY: &str = "(state = 'RESERVED' OR state = 'EN_ROUTE'
    OR state = 'ACCESS_GRANTED' OR state = 'EXECUTING' OR state = 'ASSISTED'
    OR state = 'STALLED')";

fn under_way() -> String {
    format!(
        "SELECT {COLUMNS} FROM {TABLES} WHERE {UNDER_WAY}
             AND plan LIKE ?1 AND (?2 = '' OR robot IN (SELECT id FROM robots WHERE tenant = ?2))
         ORDER BY n"
    )
}

/// The jobs that a robot has been given, and has not ended, whose plan runs the bundle; of one
/// tenant where it is given.
pub(crate) fn under_way_with(
    tx: &Connection,
    tenant: Option<&Tenant>,
    bundle: &Digest,
) -> Result<Vec<JobRow>, StoreError> {
    let sql = under_way();
    let mut statement = tx.prepare_cached(&sql)?;
    let of = (format!("%{bundle}%"), tenants::name(tenant));
    let found: Vec<JobRow> = statement.query_map(of, job)?.collect::<Result<_, _>>()?;
    // A parameter of the plan may say the same digits.
    let runs = |job: &JobRow| job.plan.steps.iter().any(|step| step.skill.bundle == *bundle);
    Ok(found.into_iter().filter(runs).collect())
}

/// The signed bytes of the last fact of this type in a stream that did not come too late.
pub(crate) fn last_in_time(
    tx: &Connection,
    stream: &StreamId,
    kind: EventType,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT signed FROM facts WHERE stream = ?1 AND kind = ?2 AND late = 0
         ORDER BY seq DESC LIMIT 1",
    )?;
    find.query_row([stream.as_str(), kind.name()], |row| row.get(0)).optional()
}

const ADD: &str = "INSERT INTO jobs (id, robot, requester, plan, state, progress, stage, command,
        created_at, updated_at, care, access_until)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Begins the projection of a new job.
pub(crate) fn add(tx: &Connection, job: &JobRow) -> Result<(), StoreError> {
    let plan = serde_json::to_string(&job.plan).map_err(|e| StoreError::damaged("a plan", e))?;
    tx.prepare_cached(ADD)?.execute((
        job.id.as_str(),
        job.robot.as_str(),
        job.requester.as_str(),
        plan,
        job.state.name(),
        job.progress,
        job.stage.as_ref().map(StepId::as_str),
        job.command.as_ref().map(EnvelopeId::as_str),
        job.created_at.0,
        job.updated_at.0,
        care(job)?,
        job.care.right_until(job.state).map(|until| until.0),
    ))?;
    Ok(())
}

const KEEP: &str = "UPDATE jobs SET state = ?2, progress = ?3, stage = ?4, command = ?5,
        updated_at = ?6, care = ?7, access_until = ?8, robot = ?9
    WHERE id = ?1";

/// Keeps what a fact changed of a job.
pub(crate) fn keep(tx: &Connection, job: &JobRow) -> Result<(), StoreError> {
    tx.prepare_cached(KEEP)?.execute((
        job.id.as_str(),
        job.state.name(),
        job.progress,
        job.stage.as_ref().map(StepId::as_str),
        job.command.as_ref().map(EnvelopeId::as_str),
        job.updated_at.0,
        care(job)?,
        job.care.right_until(job.state).map(|until| until.0),
        job.robot.as_str(),
    ))?;
    Ok(())
}

fn care(job: &JobRow) -> Result<String, StoreError> {
    serde_json::to_string(&job.care).map_err(|e| StoreError::damaged("a job", e))
}

/// Keeps the plan of a job in which a version was chosen.
pub(crate) fn keep_plan(tx: &Connection, job: &JobRow) -> Result<(), StoreError> {
    let plan = serde_json::to_string(&job.plan).map_err(|e| StoreError::damaged("a plan", e))?;
    tx.prepare_cached("UPDATE jobs SET plan = ?2 WHERE id = ?1")?
        .execute((job.id.as_str(), plan))?;
    Ok(())
}

/// Forgets every job; their streams stay.
pub(crate) fn forget(tx: &Connection) -> Result<usize, StoreError> {
    tx.execute("DELETE FROM jobs", [])
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
        .query_row([fact.stream.as_str()], |row| Ok((row.get::<i64>(0)?, digest(row, 1)?)))
        .optional()?;
    let (last, prev_hash) = head.unwrap_or((0, Digest::ZERO));
    let prev_hash = if Guard::Chain.on() { prev_hash } else { Digest::ZERO };
    let place = Place {
        hash: Place::hash_of(&prev_hash, fact.signed),
        late: fact.late,
        prev_hash,
        seq: u64::try_from(last).map_err(|e| StoreError::damaged("a stream", e))? + 1,
        stream: fact.stream.clone(),
    };
    tx.prepare_cached(
        "INSERT INTO facts (position, stream, seq, event, kind, late, prev_hash, hash, signed,
             received_at, record)
         VALUES ((SELECT coalesce(max(position), 0) + 1 FROM facts), ?1, ?2, ?3, ?4, ?5, ?6, ?7,
             ?8, ?9, ?10)",
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
        fact.record,
    ))?;
    tx.tell(News::Events);
    Ok(Some(place))
}

/// The signed bytes under which an event stands, wherever.
pub(crate) fn signed_of(tx: &Connection, event: &EventId) -> Result<Option<Vec<u8>>, StoreError> {
    let mut find = tx.prepare_cached("SELECT signed FROM facts WHERE event = ?1")?;
    find.query_row([event.as_str()], |row| row.get(0)).optional()
}

/// The facts of a stream after `after`, in order; at most `limit`.
pub(crate) fn facts(
    tx: &Connection,
    stream: &StreamId,
    after: u64,
    limit: u32,
) -> Result<Vec<FactRow>, StoreError> {
    let sql =
        format!("SELECT {FACT} FROM facts WHERE stream = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
    let mut statement = tx.prepare_cached(&sql)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = statement.query_map((stream.as_str(), after, limit), fact)?;
    rows.collect::<Result<_, _>>()
}

/// Which facts of all streams.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Only those with a higher position.
    pub(crate) after: i64,
    pub(crate) kind: Option<String>,
    pub(crate) limit: u32,
    pub(crate) stream: Option<String>,
    /// Of one tenant only, where it is given.
    pub(crate) tenant: Option<Tenant>,
}

/// Facts of all streams by position.
pub(crate) fn feed(tx: &Connection, wanted: &Feed) -> Result<Vec<FactRow>, StoreError> {
    let sql = format!(
        "SELECT {FACT} FROM facts
         WHERE position > ?1 AND (stream = ?2 OR ?2 IS NULL) AND (kind = ?3 OR ?3 IS NULL)
             AND {}
         ORDER BY position LIMIT ?4",
        tenants::OF_STREAM
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let Feed { after, kind, limit, stream, tenant } = wanted;
    let tenant = tenants::name(tenant.as_ref());
    let rows = statement.query_map((after, stream, kind, limit, tenant), fact)?;
    rows.collect::<Result<_, _>>()
}

/// Facts in all streams.
pub(crate) fn count(tx: &Connection) -> Result<i64, StoreError> {
    // Positions have no gaps: each is the one after the last that is committed.
    let last = "SELECT coalesce(max(position), 0) FROM facts";
    tx.prepare_cached(last)?.query_row([], |row| row.get(0))
}

const FACT: &str =
    "seq, late, prev_hash, hash, signed, received_at, position, stream, event, kind, record";

fn fact(row: &Row<'_>) -> Result<FactRow, StoreError> {
    let seq: i64 = row.get(0)?;
    let place = Place {
        hash: digest(row, 3)?,
        late: row.get(1)?,
        prev_hash: digest(row, 2)?,
        seq: u64::try_from(seq).unwrap_or_default(),
        stream: typed(row, 7)?,
    };
    Ok(FactRow {
        event: row.get(8)?,
        kind: row.get(9)?,
        place,
        position: row.get(6)?,
        received_at: WallMillis(row.get(5)?),
        record: row.get(10)?,
        signed: row.get(4)?,
    })
}

fn job(row: &Row<'_>) -> Result<JobRow, StoreError> {
    let plan: String = row.get(3)?;
    let care: Option<String> = row.get(12)?;
    let name: String = row.get(4)?;
    let optional = |column| row.get::<Option<String>>(column);
    Ok(JobRow {
        care: match care {
            Some(text) => {
                serde_json::from_str(&text).map_err(|e| StoreError::damaged("a job", e))?
            }
            None => Care::default(),
        },
        id: typed(row, 0)?,
        robot: typed(row, 1)?,
        requester: typed(row, 2)?,
        plan: serde_json::from_str(&plan).map_err(|e| StoreError::damaged("a plan", e))?,
        state: state(&name).ok_or_else(|| StoreError::damaged("a state", name))?,
        progress: row.get(5)?,
        stage: optional(6)?.and_then(|text| StepId::new(text).ok()),
        command: optional(7)?.and_then(|text| EnvelopeId::new(text).ok()),
        created_at: WallMillis(row.get(8)?),
        updated_at: WallMillis(row.get(9)?),
        events: u64::try_from(row.get::<i64>(10)?).unwrap_or_default(),
        head: digest(row, 11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::Value;

    #[test]
    fn jobs_that_are_over_are_not_read_to_find_those_that_are_under_way() {
        let tx = crate::store::in_memory().unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {}", under_way());
        let mut statement = tx.prepare_cached(&plan).unwrap();
        let rows = statement.query_map(("%", ""), |row| row.get::<String>(3)).unwrap();
        let steps: Vec<_> = rows.map(Result::unwrap).collect();
        let by_index = |it: &String| it.contains("jobs USING INDEX jobs_under_way");
        assert!(steps.iter().any(by_index), "{steps:?}");
    }

    #[test]
    fn no_index_needs_a_table_of_its_own_when_a_job_changes() {
        let tx = crate::store::in_memory().unwrap();
        for sql in [ADD, KEEP] {
            let mut steps = Vec::new();
            let explain = format!("EXPLAIN {sql}");
            let values = vec![Value::Null; sql.matches('?').count()];
            tx.database
                .query(&explain, &values, &mut |row| {
                    steps.push(row.get::<String>(1)?);
                    Ok(true)
                })
                .unwrap();
            assert!(steps.iter().any(|step| step == "IdxInsert"), "{steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("OpenEphemeral")), "{steps:?}");
        }
    }
}
