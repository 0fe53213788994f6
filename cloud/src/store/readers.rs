//! Connections that only read: each piece of work sees one state of the database, whatever is
//! written meanwhile.

use super::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads at the same time; more wait.
const AT_ONCE: usize = 4;

/// The readers' end of the store.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    path: PathBuf,
    places: Arc<Semaphore>,
}

impl Readers {
    /// Connections are opened when they are first needed.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { idle: Mutex::new(Vec::new()), path, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Waits for a place among those who read.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.places.clone().acquire_owned().await.map_err(|_| StoreError::Stopping)
    }

    /// Runs `work` on this thread, which may block.
    pub(super) fn run<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open(&self.path).map_err(StoreError::from)?,
        };
        let snapshot = connection.transaction().map_err(StoreError::from)?;
        let result = work(&snapshot);
        drop(snapshot);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }
}

/// A connection that cannot write.
pub(crate) fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
