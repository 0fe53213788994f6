//! One SQLite file: WAL, `synchronous = FULL`, so that what was committed survives a power cut.
//!
//! One thread writes ([`writer`]); what waits for it together is committed together. Reads go
//! beside it ([`readers`]), each in a snapshot of its own. A piece of work is one function, and
//! what was not committed did not happen.

pub(crate) mod answers;
pub(crate) mod commands;
pub(crate) mod jobs;
pub(crate) mod live;
pub(crate) mod readers;
pub(crate) mod records;
pub(crate) mod robots;
pub(crate) mod skills;
pub(crate) mod standings;

mod writer;

use nooterra_protocol::codec::Digest;
use readers::Readers;
use rusqlite::types::Type;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use writer::{Done, Writer};

/// One after the other; the position in the list is the version after it, from 1. A migration
/// that was released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_positions_and_answers.sql"),
    include_str!("migrations/0004_standings.sql"),
];

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The transaction was not committed, with this and with what waited beside it.
    #[error("database: {0}; nothing of it was kept")]
    Commit(Arc<rusqlite::Error>),
    /// What is stored is not what this release stores: damage, or edited by hand.
    #[error("the database holds {what} that cannot be read: {why}")]
    Damaged {
        /// What.
        what: &'static str,
        /// In which way.
        why: String,
    },
    /// A defect ended the work; nothing of it was kept.
    #[error("a defect of this release ended the work; nothing of it was kept")]
    Panicked,
    /// The disk is full or failing, or the file is no database.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The process is stopping.
    #[error("the store is closing")]
    Stopping,
    /// The system gave no thread to write on.
    #[error("no thread for the database: {0}")]
    Thread(Arc<std::io::Error>),
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
    commits: watch::Receiver<u64>,
    path: PathBuf,
    readers: Arc<Readers>,
    writer: Arc<Writer>,
    /// For tests, which look and change on their own thread.
    #[cfg(test)]
    direct: Arc<std::sync::Mutex<Connection>>,
}

impl Store {
    /// Opens or makes the file and brings it to this release's version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(path)?;
        migrate(&mut connection)?;
        let (counted, commits) = watch::channel(0);
        Ok(Self {
            commits,
            #[cfg(test)]
            direct: Arc::new(std::sync::Mutex::new(connect(path)?)),
            path: path.to_owned(),
            readers: Arc::new(Readers::new(path.to_owned())),
            writer: Arc::new(Writer::start(connection, counted)?),
        })
    }

    /// Changes with every commit: who waits for news looks again then.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// Runs `work` on the writer's thread: all of it is durable when this returns, or none.
    pub(crate) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let work = move |tx: Result<&Connection, StoreError>| {
            let result = tx.map_err(E::from).and_then(work);
            let keep = result.is_ok();
            // Who no longer waits is not told; what was committed stays.
            let tell = move |committed: Result<(), StoreError>| {
                let _ = tell.send(committed.map_err(E::from).and(result));
            };
            Done { keep, tell: Box::new(tell) }
        };
        self.writer.send(Box::new(work)).await?;
        told.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    /// Runs `work`, which only reads, on a blocking thread, over one state of the database.
    pub(crate) async fn read<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let place = self.readers.place().await?;
        let readers = self.readers.clone();
        // The place goes with the work, which goes on when nobody waits for it any longer.
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            readers.run(work)
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
        let mut connection = self.direct.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
        let connection = connect(&self.path)?;
        connection.execute(
            "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            (name, make()),
        )?;
        let mut found = connection.prepare("SELECT value FROM settings WHERE name = ?1")?;
        Ok(found.query_row([name], |row| row.get(0))?)
    }
}

/// A connection that writes as the store promises.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
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

    #[tokio::test]
    async fn what_waits_together_is_kept_or_refused_each_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let add = |n: i64| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |tx| {
                        tx.execute("UPDATE counters SET value = value + 1", [])?;
                        assert!(n != 7, "a defect");
                        if n % 3 == 0 { Err(StoreError::Stopping) } else { Ok(n) }
                    })
                    .await
            })
        };
        let all: Vec<_> = (1..=60).map(add).collect();
        let mut kept = 0;
        for (n, one) in (1..).zip(all) {
            match one.await.unwrap() {
                Ok(said) => {
                    assert_eq!(said, n);
                    kept += 1;
                }
                Err(StoreError::Panicked) => assert_eq!(n, 7),
                Err(error) => assert!(matches!(error, StoreError::Stopping) && n % 3 == 0),
            }
        }
        assert_eq!(kept, 39);
        let value = store.with(|tx| tx.query_row("SELECT value FROM counters", [], |r| r.get(0)));
        assert_eq!(value, Ok(kept));
    }

    #[tokio::test]
    async fn a_reader_sees_one_state_and_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let (within, value) = (store.clone(), "SELECT value FROM counters");
        let seen: (i64, i64) = store
            .read::<_, StoreError, _>(move |tx| {
                let before = tx.query_row(value, [], |r| r.get(0))?;
                within.with(|tx| tx.execute("UPDATE counters SET value = 9", [])).unwrap();
                Ok((before, tx.query_row(value, [], |r| r.get(0))?))
            })
            .await
            .unwrap();
        assert_eq!(seen, (0, 0));
        let wrote: Result<usize, StoreError> =
            store.read(|tx| Ok(tx.execute("UPDATE counters SET value = 1", [])?)).await;
        assert!(matches!(wrote, Err(StoreError::Sqlite(_))));
        assert_eq!(store.with(|tx| tx.query_row(value, [], |r| r.get::<_, i64>(0))), Ok(9));
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
