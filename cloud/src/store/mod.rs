//! Everything that lasts, but for the keys: one SQLite file ([`sqlite`]), or a Postgres server for
//! several processes ([`postgres`]).
//!
//! The functions of the store are written once, over the few things that a database must be
//! able to do ([`sql`]). One thread writes ([`writer`]); what waits for it together is committed
//! together. Reads go beside it ([`readers`]), each in a snapshot of its own. A piece of work is
//! one function, and what was not committed did not happen.

pub(crate) mod answers;
pub(crate) mod audit;
pub(crate) mod commands;
pub(crate) mod copy;
pub(crate) mod jobs;
pub(crate) mod live;
pub(crate) mod readers;
pub(crate) mod records;
pub(crate) mod registry;
pub(crate) mod robot_skills;
pub(crate) mod robots;
pub(crate) mod rollouts;
pub(crate) mod skill_trust;
pub(crate) mod skills;
pub(crate) mod standings;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod watched;
pub(crate) mod webhooks;

mod encrypted;
mod listener;
mod news;
mod postgres;
mod sql;
mod sqlite;
#[cfg(test)]
mod upgrade;
mod writer;

pub(crate) use news::News;
pub(crate) use sql::{Connection, OptionalExtension, Row};
#[cfg(test)]
pub(crate) use sqlite::in_memory;

use self::listener::Listener;
use self::postgres::Server;
use crate::traces::TARGET;
use nooterra_protocol::codec::Digest;
use readers::Readers;
use sql::Intent;
use std::fmt;
#[cfg(any(test, feature = "measure"))]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot, watch};
use tracing::Instrument as _;
use writer::{Done, Public, Writer};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Where the database is was not said in a way that can be understood.
    #[error("the address of the database: {0}")]
    Address(String),
    /// The transaction was not committed, with this and with what waited beside it.
    #[error("{0}; nothing of it was kept")]
    Commit(Arc<StoreError>),
    /// What is stored is not what this release stores: damage, or edited by hand.
    #[error("the database holds {what} that cannot be read: {why}")]
    Damaged {
        /// What.
        what: &'static str,
        /// In which way.
        why: String,
    },
    /// The database ended a transaction by itself: it is full, or the connection was lost.
    #[error("the transaction was rolled back, the disk may be full or the server gone")]
    Ended,
    /// A row that must be there is not: damage, or edited by hand.
    #[error("the database lacks a row that must be there")]
    NoRow,
    /// A backup is restored into a new database only.
    #[error("the database holds another cloud already; name an empty one")]
    NotEmpty,
    /// A defect ended the work; nothing of it was kept.
    #[error("a defect of this release ended the work; nothing of it was kept")]
    Panicked,
    /// The server is not there, does not let us in, or failed.
    #[error("database: {}", postgres::said(.0))]
    Postgres(#[from] ::postgres::Error),
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
    /// The connection was lost while the server was committing.
    #[error("whether it was kept is not known ({0}); look, or send the same request again")]
    Unsure(String),
}

impl StoreError {
    /// For text of the store that does not parse.
    pub(crate) fn damaged(what: &'static str, why: impl ToString) -> Self {
        Self::Damaged { what, why: why.to_string() }
    }
}

/// Where a database is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A server.
    Postgres(Server),
    /// A file.
    Sqlite(PathBuf),
}

impl Address {
    /// The server at `url`, as which `process` is connected there; `file` without.
    pub(crate) fn new(url: Option<&str>, file: PathBuf, process: &str) -> Result<Self, StoreError> {
        Ok(match url {
            Some(url) => Self::Postgres(Server::parse(url, process)?),
            None => Self::Sqlite(file),
        })
    }

    /// A connection that writes as the store promises.
    pub(crate) fn connect(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Postgres(server) => server.connect(),
            Self::Sqlite(path) => sqlite::connect(path),
        }
    }

    /// A connection that reads.
    pub(crate) fn read_only(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Postgres(server) => server.connect(),
            Self::Sqlite(path) => sqlite::read_only(path),
        }
    }

    /// Makes the database, or brings it to this release's version.
    pub(crate) fn migrate(&self) -> Result<(), StoreError> {
        self.migrate_by(sqlite::MIGRATIONS)
    }

    /// Brings the database to the version after `migrations`.
    fn migrate_by(&self, migrations: &[&str]) -> Result<(), StoreError> {
        match self {
            Self::Postgres(server) => server.migrate(migrations),
            Self::Sqlite(path) => sqlite::migrate(path, migrations),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(server) => write!(f, "{server}"),
            Self::Sqlite(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Connection {
    /// Runs `work`, which only reads, over one state of the database.
    pub(crate) fn reading<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.begin(Intent::Read)?;
        let result = work(self);
        self.database.rollback();
        result
    }

    /// Runs `work` in one transaction of its own.
    pub(crate) fn writing<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.begin(Intent::Write)?;
        match work(self) {
            Ok(done) => {
                let news = self.told.take();
                self.database.commit(&news)?;
                Ok(done)
            }
            Err(error) => {
                self.told.take();
                self.database.rollback();
                Err(error)
            }
        }
    }
}

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    address: Address,
    public: Public,
    readers: Arc<Readers>,
    writer: Arc<Writer>,
    _listener: Option<Arc<Listener>>,
    /// For tests, which look and change on their own thread.
    #[cfg(test)]
    direct: Arc<std::sync::Mutex<Connection>>,
}

impl Store {
    /// Opens or makes the file and brings it to this release's version.
    #[cfg(any(test, feature = "measure"))]
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::at(Address::Sqlite(path.to_owned()))
    }

    /// Opens or makes the database and brings it to this release's version. It may block.
    pub(crate) fn at(address: Address) -> Result<Self, StoreError> {
        address.migrate()?;
        crate::replay::complete(&mut address.connect()?)?;
        let public = Public::new();
        let listener = match &address {
            Address::Postgres(server) => Some(Listener::start(server, public.clone())?),
            Address::Sqlite(_) => None,
        };
        Ok(Self {
            #[cfg(test)]
            direct: Arc::new(std::sync::Mutex::new(address.connect()?)),
            readers: Arc::new(Readers::new(address.clone())),
            writer: Arc::new(Writer::start(address.connect()?, public.clone())?),
            _listener: listener.map(Arc::new),
            address,
            public,
        })
    }

    /// Changes with every commit: who waits for news looks again then.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.public.commits.subscribe()
    }

    /// Changes with every commit that may hold events, or somebody more to tell them: of this
    /// process where it does, of others with each.
    pub(crate) fn events(&self) -> watch::Receiver<u64> {
        self.public.events.subscribe()
    }

    /// What [`Connection::tell`] was told, once it is committed, in this process and in others;
    /// but for [`News::Events`], by which [`Self::events`] changes and nothing else.
    pub(crate) fn news(&self) -> broadcast::Receiver<News> {
        self.public.news.subscribe()
    }

    /// Runs `work` on the writer's thread: all of it is durable when this returns, or none.
    pub(crate) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let call = audit::current();
        let work = move |tx: Result<&Connection, StoreError>| {
            let result = tx.map_err(E::from).and_then(|tx| {
                let done = work(tx)?;
                call.as_ref().map_or(Ok(()), |call| call.begin(tx))?;
                Ok(done)
            });
            let keep = result.is_ok();
            // Who no longer waits is not told; what was committed stays.
            let tell = move |committed: Result<(), StoreError>| {
                if let Some(call) = call {
                    call.ended(keep && committed.is_ok());
                }
                let _ = tell.send(committed.map_err(E::from).and(result));
            };
            Done { keep, tell: Box::new(tell) }
        };
        // From the queue to the disk.
        let span = tracing::info_span!(target: TARGET, "store.write");
        let done = async {
            self.writer.send(Box::new(work)).await?;
            told.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
        };
        done.instrument(span).await
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
        connection.database.begin(Intent::Write).unwrap();
        let outcome = work(&connection);
        // A full disk rolls back by itself.
        if outcome.is_ok() {
            connection.database.commit(&[]).unwrap();
        } else {
            connection.database.rollback();
        }
        outcome
    }

    /// The setting `name`, made by `make` at the first asking. It may block.
    pub(crate) fn setting(
        &self,
        name: &str,
        make: impl FnOnce() -> String,
    ) -> Result<String, StoreError> {
        self.address.connect()?.writing(|tx| {
            tx.execute(
                "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                (name, make()),
            )?;
            tx.query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0))
        })
    }
}

/// Reads a digest column.
pub(crate) fn digest(row: &Row<'_>, column: usize) -> Result<Digest, StoreError> {
    let bytes: [u8; 32] = row.get(column)?;
    Ok(Digest::from_bytes(bytes))
}

/// Reads a text column that has a type of ours.
pub(crate) fn typed<T>(row: &Row<'_>, column: usize) -> Result<T, StoreError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| StoreError::damaged("a text", error))
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
        let plain = rusqlite::Connection::open(&path).unwrap();
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
            .read(|tx| tx.query_row("SELECT value FROM counters", [], |r| r.get(0)))
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
        let value: Result<i64, _> =
            store.with(|tx| tx.query_row("SELECT value FROM counters", [], |r| r.get(0)));
        assert_eq!(value.unwrap(), kept);
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
            store.read(|tx| tx.execute("UPDATE counters SET value = 1", [])).await;
        assert!(matches!(wrote, Err(StoreError::Sqlite(_))));
        let after: i64 = store.with(|tx| tx.query_row(value, [], |r| r.get(0)).unwrap());
        assert_eq!(after, 9);
    }

    #[test]
    fn a_full_disk_refuses_the_write_and_keeps_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let limit = |pages: i64| {
            store.with(|tx| {
                tx.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
            });
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
        let pages: i64 =
            store.with(|tx| tx.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap());
        limit(pages + 20);
        let kept = (0..60).take_while(|i| put(format!("s{i}")).is_ok()).count();
        assert!((1..60).contains(&kept), "{kept}");
        assert_eq!(usize::try_from(count()).unwrap(), kept);
        limit(pages + 1000);
        put("after".to_owned()).unwrap();
        assert_eq!(usize::try_from(count()).unwrap(), kept + 1);
    }
}
