//! Signed commands, from their making until the robot's journal names them.

use super::{Connection, News, OptionalExtension as _, Row, StoreError, typed};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{EnvelopeId, JobId, RobotId};
use nooterra_protocol::time::WallMillis;

/// A command as it is kept.
#[derive(Debug)]
pub(crate) struct CommandRow {
    pub(crate) expires_at: WallMillis,
    pub(crate) id: EnvelopeId,
    pub(crate) issued_at: WallMillis,
    pub(crate) job: Option<JobId>,
    /// Grows with each command; what a connection remembers to have sent.
    pub(crate) n: i64,
    pub(crate) reason: Option<String>,
    pub(crate) robot: RobotId,
    pub(crate) signed: Vec<u8>,
    /// As stored: `sent`, `accepted` or `refused`.
    pub(crate) state: String,
}

const COLUMNS: &str = "n, id, robot, job, signed, state, reason, issued_at, expires_at";

/// Keeps a command.
pub(crate) fn add(
    tx: &Connection,
    id: &EnvelopeId,
    robot: &RobotId,
    job: Option<&JobId>,
    signed: &[u8],
    validity: (WallMillis, WallMillis),
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO commands (id, robot, job, digest, signed, issued_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        id.as_str(),
        robot.as_str(),
        job.map(JobId::as_str),
        Digest::of(signed).as_bytes(),
        signed,
        validity.0.0,
        validity.1.0,
    ))?;
    tx.tell(News::Commands(robot.clone()));
    Ok(())
}

/// One command.
pub(crate) fn find(
    tx: &Connection,
    robot: &RobotId,
    id: &EnvelopeId,
) -> Result<Option<CommandRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM commands WHERE id = ?1 AND robot = ?2");
    let mut statement = tx.prepare_cached(&sql)?;
    statement.query_row([id.as_str(), robot.as_str()], command).optional()
}

/// The newest commands to `robot` first.
pub(crate) fn newest(
    tx: &Connection,
    robot: &RobotId,
    limit: u32,
) -> Result<Vec<CommandRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM commands WHERE robot = ?1 ORDER BY n DESC LIMIT ?2");
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map((robot.as_str(), limit), command)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// What `robot` has neither answered nor, on this connection, been sent: oldest first.
pub(crate) fn unanswered(
    tx: &Connection,
    robot: &RobotId,
    after: i64,
    now: WallMillis,
    limit: usize,
) -> Result<Vec<CommandRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM commands
         WHERE robot = ?1 AND state = 'sent' AND n > ?2 AND expires_at > ?3 ORDER BY n LIMIT ?4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement
        .query_map((robot.as_str(), after, now.0, limit), command)?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

/// The robot's journal says that it took the command.
pub(crate) fn accepted(
    tx: &Connection,
    robot: &RobotId,
    id: &EnvelopeId,
) -> Result<(), StoreError> {
    // An earlier refusal was of a copy that came damaged or twice.
    tx.prepare_cached(
        "UPDATE commands SET state = 'accepted', reason = NULL WHERE id = ?1 AND robot = ?2",
    )?
    .execute([id.as_str(), robot.as_str()])?;
    Ok(())
}

/// The robot's journal says that it refused the command; its id where that is known. What was
/// accepted once stays accepted: the refusal is then of a second copy.
pub(crate) fn refused(
    tx: &Connection,
    robot: &RobotId,
    digest: &Digest,
    reason: &str,
) -> Result<Option<EnvelopeId>, StoreError> {
    let found = tx
        .prepare_cached("SELECT id FROM commands WHERE robot = ?1 AND digest = ?2")?
        .query_row((robot.as_str(), digest.as_bytes()), |row| typed(row, 0))
        .optional()?;
    let Some(id): Option<EnvelopeId> = found else {
        return Ok(None);
    };
    tx.prepare_cached(
        "UPDATE commands SET state = 'refused', reason = ?2 WHERE id = ?1 AND state = 'sent'",
    )?
    .execute((id.as_str(), reason))?;
    Ok(Some(id))
}

fn command(row: &Row<'_>) -> Result<CommandRow, StoreError> {
    let job: Option<String> = row.get(3)?;
    Ok(CommandRow {
        n: row.get(0)?,
        id: typed(row, 1)?,
        robot: typed(row, 2)?,
        job: job.and_then(|text| JobId::new(text).ok()),
        signed: row.get(4)?,
        state: row.get(5)?,
        reason: row.get(6)?,
        issued_at: WallMillis(row.get(7)?),
        expires_at: WallMillis(row.get(8)?),
    })
}
