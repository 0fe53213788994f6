//! Journal records, as robots sent them.

use super::{Connection, OptionalExtension as _, Row, StoreError};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::{EnvelopeId, JournalId, RobotId};
use nooterra_protocol::time::{Stamp, WallMillis};

/// A record to be kept.
#[derive(Debug)]
pub(crate) struct NewRecord<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) class: Class,
    pub(crate) journal: &'a JournalId,
    pub(crate) kind: &'a str,
    pub(crate) robot: &'a RobotId,
    pub(crate) seq: u64,
    pub(crate) stamp: Stamp,
}

/// A record as it is kept.
#[derive(Debug)]
pub(crate) struct RecordRow {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cursor: i64,
    pub(crate) journal: String,
    pub(crate) note: Option<String>,
}

/// A record at its place in a journal.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) journal: String,
    pub(crate) kind: String,
    pub(crate) robot: String,
    pub(crate) seq: u64,
}

/// Which records to read.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) after: i64,
    pub(crate) class: Option<Class>,
    pub(crate) kind: Option<String>,
    pub(crate) limit: u32,
}

/// A record that was not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) cursor: i64,
    /// No other record has its position.
    pub(crate) first_there: bool,
}

/// Keeps a record, or `None` when it is there already. Who keeps some counts them:
/// [`live::grew`](super::live::grew).
pub(crate) fn add(
    tx: &Connection,
    record: &NewRecord<'_>,
    now: WallMillis,
) -> Result<Option<Added>, StoreError> {
    let out_of_range = |what| StoreError::damaged(what, "a number beyond 2^63");
    let seq = i64::try_from(record.seq).map_err(|_| out_of_range("a record"))?;
    let mono = i64::try_from(record.stamp.mono.0).unwrap_or(i64::MAX);
    let position = (record.robot.as_str(), record.journal.as_str(), seq);
    let another: bool = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM records WHERE robot = ?1 AND journal = ?2 AND seq = ?3)",
        )?
        .query_row(position, |row| row.get(0))?;
    let note = another.then_some("another record has this position");
    let cursor = tx
        .prepare_cached(
            "INSERT INTO records (robot, journal, seq, digest, class, kind, mono, wall, note,
                 bytes, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT DO NOTHING RETURNING cursor",
        )?
        .query_row(
            (
                position.0,
                position.1,
                position.2,
                Digest::of(record.bytes).as_bytes(),
                record.class.name(),
                record.kind,
                mono,
                record.stamp.wall.0,
                note,
                record.bytes,
                now.0,
            ),
            |row| row.get(0),
        )
        .optional()?;
    Ok(cursor.map(|cursor| Added { cursor, first_there: !another }))
}

/// Writes beside a record what became of it.
pub(crate) fn note(tx: &Connection, cursor: i64, note: &str) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE records SET note = ?2 WHERE cursor = ?1")?.execute((cursor, note))?;
    Ok(())
}

/// Names the command that a record is about.
pub(crate) fn about(tx: &Connection, cursor: i64, command: &EnvelopeId) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE records SET command = ?2 WHERE cursor = ?1")?
        .execute((cursor, command.as_str()))?;
    Ok(())
}

/// The records of a robot, in the order of their arrival.
pub(crate) fn list(
    tx: &Connection,
    robot: &RobotId,
    filter: &Filter,
) -> Result<Vec<RecordRow>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT cursor, journal, bytes, note FROM records
         WHERE robot = ?1 AND cursor > ?2 AND (kind = ?3 OR ?3 IS NULL)
             AND (class = ?4 OR ?4 IS NULL)
         ORDER BY cursor LIMIT ?5",
    )?;
    let class = filter.class.map(Class::name);
    let rows = statement
        .query_map((robot.as_str(), filter.after, &filter.kind, class, filter.limit), row)?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

/// One record.
pub(crate) fn at(tx: &Connection, cursor: i64) -> Result<Option<Placed>, StoreError> {
    let sql = format!("SELECT {PLACED} FROM records WHERE cursor = ?1");
    tx.prepare_cached(&sql)?.query_row([cursor], placed).optional()
}

/// The records of a journal from a place on, in their order; at most `limit`.
pub(crate) fn from(
    tx: &Connection,
    journal: (&RobotId, &JournalId),
    seq: u64,
    limit: u32,
) -> Result<Vec<Placed>, StoreError> {
    beside(tx, journal, seq, limit, "seq >= ?3 ORDER BY seq")
}

/// The records of a journal before a place, the last first; at most `limit`.
pub(crate) fn before(
    tx: &Connection,
    journal: (&RobotId, &JournalId),
    seq: u64,
    limit: u32,
) -> Result<Vec<Placed>, StoreError> {
    beside(tx, journal, seq, limit, "seq < ?3 ORDER BY seq DESC")
}

fn beside(
    tx: &Connection,
    (robot, journal): (&RobotId, &JournalId),
    seq: u64,
    limit: u32,
    which: &str,
) -> Result<Vec<Placed>, StoreError> {
    let sql = format!(
        "SELECT {PLACED} FROM records WHERE robot = ?1 AND journal = ?2 AND {which} LIMIT ?4"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let rows = statement.query_map((robot.as_str(), journal.as_str(), seq, limit), placed)?;
    rows.collect::<Result<_, _>>()
}

/// The verdicts of `robot` that name `command`, oldest first; at most `limit`.
pub(crate) fn verdicts(
    tx: &Connection,
    robot: &RobotId,
    command: &EnvelopeId,
    limit: u32,
) -> Result<Vec<RecordRow>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT cursor, journal, bytes, note FROM records
         WHERE command = ?1 AND robot = ?2 AND kind = 'verdict' ORDER BY cursor LIMIT ?3",
    )?;
    let rows = statement
        .query_map((command.as_str(), robot.as_str(), limit), row)?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

const PLACED: &str = "bytes, journal, kind, robot, seq";

fn placed(row: &Row<'_>) -> Result<Placed, StoreError> {
    Ok(Placed {
        bytes: row.get(0)?,
        journal: row.get(1)?,
        kind: row.get(2)?,
        robot: row.get(3)?,
        seq: u64::try_from(row.get::<i64>(4)?).unwrap_or_default(),
    })
}

fn row(row: &Row<'_>) -> Result<RecordRow, StoreError> {
    Ok(RecordRow {
        cursor: row.get(0)?,
        journal: row.get(1)?,
        bytes: row.get(2)?,
        note: row.get(3)?,
    })
}
