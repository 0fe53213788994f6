//! What of a robot's journal is looked at while it happens: the newest records, and those that
//! follow them. It changes nothing.

use super::records::RecordRow;
use super::{Connection, OptionalExtension as _, Row, StoreError};
use nooterra_protocol::ids::{JournalId, RobotId};

/// Kinds that nobody looks at while they arrive: many bytes, made to be read by programs.
const UNSEEN: &str = "'flight', 'policy', 'shadow', 'skill_input'";

/// What the cloud holds of one life of a robot's journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) first_seq: u64,
    pub(crate) journal: JournalId,
    pub(crate) last_seq: u64,
    pub(crate) records: u64,
}

/// The newest records of one kind, oldest first.
pub(crate) fn newest(
    tx: &Connection,
    robot: &RobotId,
    kind: &str,
    limit: u32,
) -> Result<Vec<RecordRow>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT cursor, journal, bytes, note FROM records
         WHERE robot = ?1 AND kind = ?2 ORDER BY cursor DESC LIMIT ?3",
    )?;
    let rows = statement.query_map((robot.as_str(), kind, limit), row)?;
    let mut rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    rows.reverse();
    Ok(rows)
}

/// The records after a cursor that people look at.
pub(crate) fn after(
    tx: &Connection,
    robot: &RobotId,
    after: i64,
    limit: u32,
) -> Result<Vec<RecordRow>, StoreError> {
    let sql = format!(
        "SELECT cursor, journal, bytes, note FROM records
         WHERE robot = ?1 AND cursor > ?2 AND kind NOT IN ({UNSEEN})
         ORDER BY cursor LIMIT ?3"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map((robot.as_str(), after, limit), row)?;
    rows.collect()
}

/// More than `limit` such records follow the cursor.
pub(crate) fn is_behind(
    tx: &Connection,
    robot: &RobotId,
    after: i64,
    limit: u32,
) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT cursor FROM records
         WHERE robot = ?1 AND cursor > ?2 AND kind NOT IN ({UNSEEN})
         ORDER BY cursor LIMIT 1 OFFSET ?3"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let found = statement.query_row((robot.as_str(), after, limit), |_| Ok(())).optional()?;
    Ok(found.is_some())
}

/// Kinds of which every journal that says anything has some.
const COMMON: [&str; 4] = ["boot", "checkpoint", "link", "sample"];

/// The journal that sent last, as far as it came here; none before the first record. Counts all
/// of it, over an index.
pub(crate) fn held(tx: &Connection, robot: &RobotId) -> Result<Option<Held>, StoreError> {
    let mut latest = Vec::new();
    for kind in COMMON {
        latest.extend(newest(tx, robot, kind, 1)?);
    }
    let latest = latest.into_iter().max_by_key(|row| row.cursor);
    let Some(RecordRow { journal, .. }) = latest else { return Ok(None) };
    // Two records of one position (a journal that was rolled back) are one position.
    let (records, first, last): (i64, i64, i64) = tx
        .prepare_cached(
            "SELECT count(DISTINCT seq), min(seq), max(seq) FROM records
             WHERE robot = ?1 AND journal = ?2",
        )?
        .query_row((robot.as_str(), &journal), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let number = |number: i64| {
        u64::try_from(number).map_err(|error| StoreError::damaged("a record's place", error))
    };
    Ok(Some(Held {
        first_seq: number(first)?,
        journal: JournalId::new(journal)
            .map_err(|error| StoreError::damaged("a journal's id", error))?,
        last_seq: number(last)?,
        records: number(records)?,
    }))
}

fn row(row: &Row<'_>) -> Result<RecordRow, StoreError> {
    Ok(RecordRow {
        cursor: row.get(0)?,
        journal: row.get(1)?,
        bytes: row.get(2)?,
        note: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::records::{NewRecord, add};
    use super::*;
    use nooterra_protocol::entry::Class;
    use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};

    fn put(store: &Store, kind: &str, seq: u64) {
        let stamp = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) };
        let (journal, robot) = (JournalId::new("j").unwrap(), RobotId::new("amr-1").unwrap());
        let bytes = format!("{kind} {seq}").into_bytes();
        let class = Class::Normal;
        let new =
            NewRecord { bytes: &bytes, class, journal: &journal, kind, robot: &robot, seq, stamp };
        store.with(|tx| add(tx, &new, WallMillis(2)).unwrap());
    }

    #[test]
    fn the_newest_come_oldest_first_and_what_nobody_looks_at_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let robot = RobotId::new("amr-1").unwrap();
        store.with(|tx| {
            assert_eq!(held(tx, &robot).unwrap(), None);
        });
        for seq in 1..=9 {
            put(&store, ["sample", "flight", "verdict"][usize::try_from(seq % 3).unwrap()], seq);
        }
        store.with(|tx| {
            let text = |rows: Vec<RecordRow>| -> Vec<String> {
                rows.into_iter().map(|row| String::from_utf8(row.bytes).unwrap()).collect()
            };
            assert_eq!(text(newest(tx, &robot, "sample", 2).unwrap()), ["sample 6", "sample 9"]);
            let seen = text(after(tx, &robot, 3, 10).unwrap());
            assert_eq!(seen, ["verdict 5", "sample 6", "verdict 8", "sample 9"]);
            assert!(is_behind(tx, &robot, 3, 3).unwrap());
            assert!(!is_behind(tx, &robot, 3, 4).unwrap());
            let held = held(tx, &robot).unwrap().unwrap();
            assert_eq!((held.first_seq, held.last_seq, held.records), (1, 9, 9));
        });
    }
}
