//! Connections that only read: each piece of work sees one state of the database, whatever is
//! written meanwhile.

use super::sql::Connection;
use super::{Address, StoreError};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads at the same time; more wait.
const AT_ONCE: usize = 4;

/// The readers' end of the store.
#[derive(Debug)]
pub(super) struct Readers {
    address: Address,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Readers {
    /// Connections are opened when they are first needed.
    pub(super) fn new(address: Address) -> Self {
        Self { address, idle: Mutex::new(Vec::new()), places: Arc::new(Semaphore::new(AT_ONCE)) }
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
            None => self.address.read_only()?,
        };
        let result = connection.reading(work);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }
}

impl Drop for Readers {
    /// Taking leave of a server may block, and the last owner may be a task that must not.
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        if idle.is_empty() {
            return;
        }
        let ends = std::thread::Builder::new().name("store ends".to_owned());
        if let Err(error) = ends.spawn(move || drop(idle)) {
            tracing::warn!(%error, "connections of the store are left to the system");
        }
    }
}
