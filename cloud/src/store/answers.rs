//! The first answers to requests that name themselves, so that the same request sent again
//! changes nothing and is answered with the same words.

use super::{Connection, OptionalExtension as _, StoreError};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::time::WallMillis;
use std::time::Duration;

/// An answer is known for so long.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

/// Old answers that one new answer clears away: more than come in, so that none pile up.
const CLEARED: u32 = 4;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) body: String,
    /// SHA-256 of the request that it answers.
    pub(crate) request: Digest,
    pub(crate) status: u16,
}

/// The answer to the request of that key, while it is known.
pub(crate) fn find(
    tx: &Connection,
    key: &str,
    now: WallMillis,
) -> Result<Option<Kept>, StoreError> {
    let mut find =
        tx.prepare_cached("SELECT body, request, status FROM answers WHERE key = ?1 AND at > ?2")?;
    let kept = find.query_row((key, oldest(now)), |row| {
        Ok(Kept { body: row.get(0)?, request: super::digest(row, 1)?, status: row.get(2)? })
    });
    kept.optional()
}

/// Keeps an answer, and clears some that are known no longer.
pub(crate) fn keep(
    tx: &Connection,
    key: &str,
    kept: &Kept,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM answers WHERE key IN
             (SELECT key FROM answers WHERE at <= ?1 ORDER BY at LIMIT ?2)",
    )?
    .execute((oldest(now), CLEARED))?;
    tx.prepare_cached(
        "INSERT INTO answers (key, request, status, body, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key) DO UPDATE SET request = ?2, status = ?3, body = ?4, at = ?5",
    )?
    .execute((key, kept.request.as_bytes(), kept.status, &kept.body, now.0))?;
    Ok(())
}

fn oldest(now: WallMillis) -> i64 {
    let known = i64::try_from(KNOWN_FOR.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn an_answer_is_known_for_a_day_and_then_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let (day, at) = (24 * 3_600_000, |now| WallMillis(now));
        let put = |key: &str, now| {
            let kept = Kept { body: key.to_owned(), request: Digest::of(b"r"), status: 201 };
            store.with(|tx| keep(tx, key, &kept, at(now)).unwrap());
        };
        let known = |key: &str, now| store.with(|tx| find(tx, key, at(now)).unwrap().is_some());
        let count = || -> i64 {
            store.with(|tx| tx.query_row("SELECT count(*) FROM answers", [], |r| r.get(0)).unwrap())
        };
        put("a", 0);
        put("b", 10);
        assert!(known("a", day - 1) && !known("a", day) && known("b", day));
        put("c", day);
        assert_eq!(count(), 2);
        assert!(known("b", day) && !known("d", day));
    }
}
