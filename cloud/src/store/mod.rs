//! One SQLite file: WAL, `synchronous = FULL`, so that what was committed survives a power cut.
//!
//! One connection behind a lock, used on tokio's blocking threads. Writers wait for each
//! other; a transaction is one function, and what it did not commit did not happen.

pub(crate) mod commands;
pub(crate) mod jobs;
pub(crate) mod records;
pub(crate) mod robots;
pub(crate) mod skills;

use nooterra_protocol::codec::Digest;
use rusqlite::types::Type;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One after the other; the position in the list is the version after it, from 1. A migration
/// that was released is never changed.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_first.sql")];

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is stored is not what this release stores: damage, or edited by hand.
    #[error("the database holds {what} that cannot be read: {why}")]
    Damaged {
        /// What.
        what: &'static str,
        /// In which way.
        why: String,
    },
    /// The disk is full or failing, or the file is no database.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The process is stopping.
    #[error("the store is closing")]
    Stopping,
    /// Written by a later release.
    #[error(
        "the database has version {found}, this release knows {known}; \
         start the release that wrote it"
    )]
    TooNew {
        /// In the file.
        found: usize,
        /// The last one here.
        known: usize,
    },
}

impl StoreError {
    /// For text of the store that does not parse.
    pub(crate) fn damaged(what: &'static str, why: impl ToString) -> Self {
        Self::Damaged { what, why: why.to_string() }
    }
}

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens or makes the file and brings it to this release's version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.set_prepared_statement_cache_capacity(64);
        migrate(&mut connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in one transaction on a blocking thread: all of it is durable, or none.
    pub(crate) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A panic under the lock rolled its transaction back: the connection is whole.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(StoreError::from)?;
            let result = work(&transaction)?;
            transaction.commit().map_err(StoreError::from)?;
            Ok(result)
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Stopping.into()))
    }

    /// Runs `work`, which only reads, on a blocking thread.
    pub(crate) async fn read<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Stopping.into()))
    }

    /// Runs `work` in one transaction on this thread.
    #[cfg(test)]
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let kept: Result<T, ()> = self.attempt(|tx| Ok(work(tx)));
        kept.unwrap()
    }

    /// Runs `work` in one transaction on this thread; what it refuses is rolled back.
    #[cfg(test)]
    pub(crate) fn attempt<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction().unwrap();
        let outcome = work(&transaction);
        // Dropped, it rolls back what is still to be rolled back: a full disk did so already.
        if outcome.is_ok() {
            transaction.commit().unwrap();
        }
        outcome
    }

    /// The setting `name`, made by `make` at the first asking.
    pub(crate) fn setting(
        &self,
        name: &str,
        make: impl FnOnce() -> String,
    ) -> Result<String, StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            (name, make()),
        )?;
        let mut found = connection.prepare("SELECT value FROM settings WHERE name = ?1")?;
        Ok(found.query_row([name], |row| row.get(0))?)
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: usize = connection.pragma_query_value(None, "user_version", |row| {
        let version: u32 = row.get(0)?;
        usize::try_from(version).map_err(|_| rusqlite::Error::InvalidQuery)
    })?;
    if found > MIGRATIONS.len() {
        return Err(StoreError::TooNew { found, known: MIGRATIONS.len() });
    }
    for (i, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        let version = u32::try_from(i + 1).map_err(|_| rusqlite::Error::InvalidQuery)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Reads a digest column.
pub(crate) fn digest(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let bytes: [u8; 32] = row.get(column)?;
    Ok(Digest::from_bytes(bytes))
}

/// Reads a text column that has a type of ours.
pub(crate) fn typed<T>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_twice_migrates_once_and_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.sqlite");
        let first = Store::open(&path).unwrap().setting("journal", || "one".to_owned()).unwrap();
        let again = Store::open(&path).unwrap().setting("journal", || "two".to_owned()).unwrap();
        assert_eq!((first.as_str(), again.as_str()), ("one", "one"));
        let plain = Connection::open(&path).unwrap();
        plain.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::TooNew { found: 99, .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.sqlite");
        std::fs::write(&path, "this is not a database, it is a sentence".repeat(100)).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Sqlite(_))));
    }

    #[tokio::test]
    async fn what_fails_half_way_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let failed: Result<(), StoreError> = store
            .write(|tx| {
                tx.execute("UPDATE counters SET value = 7", [])?;
                Err(StoreError::Stopping)
            })
            .await;
        assert!(failed.is_err());
        let value: i64 = store
            .read(|tx| {
                Ok::<_, StoreError>(tx.query_row("SELECT value FROM counters", [], |r| r.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(value, 0);
    }

    #[test]
    fn a_full_disk_refuses_the_write_and_keeps_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let limit = |pages: u32| {
            store.with(|tx| tx.pragma_update(None, "max_page_count", pages).unwrap());
        };
        let put = |name: String| {
            store.attempt(|tx| {
                let value = "x".repeat(10_000);
                tx.execute("INSERT INTO settings (name, value) VALUES (?1, ?2)", (name, value))
            })
        };
        let count = || -> i64 {
            store
                .with(|tx| tx.query_row("SELECT count(*) FROM settings", [], |r| r.get(0)).unwrap())
        };
        limit(60);
        let kept = (0..60).take_while(|i| put(format!("s{i}")).is_ok()).count();
        assert!((1..60).contains(&kept), "{kept}");
        assert_eq!(usize::try_from(count()).unwrap(), kept);
        limit(1000);
        put("after".to_owned()).unwrap();
        assert_eq!(usize::try_from(count()).unwrap(), kept + 1);
    }
}
