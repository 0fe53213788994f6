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

/// What one batch adds to a journal that is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grown {
    first: u64,
    last: u64,
    records: u64,
}

impl Grown {
    /// With a record more, at a place where none was.
    pub(crate) fn with(before: Option<Self>, seq: u64) -> Self {
        let Self { first, last, records } =
            before.unwrap_or(Self { first: seq, last: seq, records: 0 });
        Self { first: first.min(seq), last: last.max(seq), records: records + 1 }
    }
}

/// Counts what came of a journal.
pub(crate) fn grew(
    tx: &Connection,
    (robot, journal): (&RobotId, &JournalId),
    grown: Grown,
) -> Result<(), StoreError> {
    let number = |number: u64| {
        i64::try_from(number).map_err(|error| StoreError::damaged("a record's place", error))
    };
    let (first, last, records) =
        (number(grown.first)?, number(grown.last)?, number(grown.records)?);
    tx.prepare_cached(
        "INSERT INTO held_journals (robot, journal, first_seq, last_seq, records)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (robot, journal) DO UPDATE SET
             first_seq = CASE WHEN excluded.first_seq < held_journals.first_seq
                 THEN excluded.first_seq ELSE held_journals.first_seq END,
             last_seq = CASE WHEN excluded.last_seq > held_journals.last_seq
                 THEN excluded.last_seq ELSE held_journals.last_seq END,
             records = held_journals.records + excluded.records",
    )?
    .execute((robot.as_str(), journal.as_str(), first, last, records))?;
    Ok(())
}

/// The journal that sent last, as far as it came here; none before the first record.
pub(crate) fn held(tx: &Connection, robot: &RobotId) -> Result<Option<Held>, StoreError> {
    let mut latest = Vec::new();
    for kind in COMMON {
        latest.extend(newest(tx, robot, kind, 1)?);
    }
    let latest = latest.into_iter().max_by_key(|row| row.cursor);
    let Some(RecordRow { journal, .. }) = latest else { return Ok(None) };
    let place = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let counted = tx
        .prepare_cached(
            "SELECT records, first_seq, last_seq FROM held_journals
             WHERE robot = ?1 AND journal = ?2",
        )?
        .query_row((robot.as_str(), &journal), place)
        .optional()?;
    // A process of an earlier release kept them, which does not count.
    let (records, first, last): (i64, i64, i64) = match counted {
        Some(counted) => counted,
        None => tx
            .prepare_cached(
                "SELECT count(DISTINCT seq), min(seq), max(seq) FROM records
                 WHERE robot = ?1 AND journal = ?2",
            )?
            .query_row((robot.as_str(), &journal), place)?,
    };
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

    /// As a batch of one.
    fn put(tx: &Connection, kind: &str, seq: u64, more: u8) {
        let stamp = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) };
        let (journal, robot) = (JournalId::new("j").unwrap(), RobotId::new("amr-1").unwrap());
        let mut bytes = format!("{kind} {seq}").into_bytes();
        bytes.extend((more > 0).then_some(more));
        let class = Class::Normal;
        let new =
            NewRecord { bytes: &bytes, class, journal: &journal, kind, robot: &robot, seq, stamp };
        if add(tx, &new, WallMillis(2)).unwrap().is_some_and(|it| it.first_there) {
            grew(tx, (&robot, &journal), Grown::with(None, seq)).unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_held_is_counted_as_it_comes_whatever_comes_twice(
            came in proptest::collection::vec((1_u64..12, 0_u8..3), 1..40),
        ) {
            let tx = crate::store::in_memory().unwrap();
            came.iter().for_each(|(seq, more)| put(&tx, "sample", *seq, *more));
            let held = held(&tx, &RobotId::new("amr-1").unwrap()).unwrap().unwrap();
            let places: std::collections::BTreeSet<u64> = came.iter().map(|it| it.0).collect();
            let expected = (places.first(), places.last(), places.len() as u64);
            proptest::prop_assert_eq!(
                (Some(&held.first_seq), Some(&held.last_seq), held.records), expected
            );
        }
    }

    #[test]
    fn a_batch_is_as_much_as_its_records() {
        let grown = [7, 9, 8].into_iter().fold(None, |grown, seq| Some(Grown::with(grown, seq)));
        let Grown { first, last, records } = grown.unwrap();
        assert_eq!((first, last, records), (7, 9, 3));
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
            let kind = ["sample", "flight", "verdict"][usize::try_from(seq % 3).unwrap()];
            store.with(|tx| put(tx, kind, seq, 0));
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
            tx.prepare_cached("DELETE FROM held_journals").unwrap().execute([]).unwrap();
            assert_eq!(super::held(tx, &robot).unwrap().unwrap(), held);
        });
    }
}
