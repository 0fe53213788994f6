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

/// Which records to read.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) after: i64,
    pub(crate) class: Option<Class>,
    pub(crate) kind: Option<String>,
    pub(crate) limit: u32,
}

/// Keeps a record; its cursor, or `None` when it is there already.
pub(crate) fn add(
    tx: &Connection,
    record: &NewRecord<'_>,
    now: WallMillis,
) -> Result<Option<i64>, StoreError> {
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
    Ok(cursor)
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

fn row(row: &Row<'_>) -> Result<RecordRow, StoreError> {
    Ok(RecordRow {
        cursor: row.get(0)?,
        journal: row.get(1)?,
        bytes: row.get(2)?,
        note: row.get(3)?,
    })
}
