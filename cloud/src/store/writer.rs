//! The one writer: transactions that wait at the same time are committed together, with one
//! sync of the disk for all of them.
//!
//! Each piece of work runs in a savepoint of its own: what it refuses is undone, and the others
//! of the same commit do not notice. Nobody is told that anything was done before the commit
//! that holds it is on the disk.

use super::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, watch};

/// Pieces of work that may wait; when full, callers wait with theirs.
const QUEUE: usize = 1024;

/// Pieces of work in one commit: enough for the sync to cost each little, few enough that the
/// first does not wait for long.
const MOST_TOGETHER: usize = 256;

/// Work for the writer. It is given a connection, or the reason why there is none for it.
pub(super) type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Done + Send>;

/// What a piece of work came to.
pub(super) struct Done {
    /// Its changes are to be committed.
    pub(super) keep: bool,
    /// Tells the caller, after the commit.
    pub(super) tell: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// The writer's end of the store.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection of its own; `commits` counts what it commits.
    pub(super) fn start(
        connection: Connection,
        commits: watch::Sender<u64>,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store writer".to_owned())
            .spawn(move || run(connection, waiting, &commits))
            .map_err(|e| StoreError::Thread(Arc::new(e)))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Hands over a piece of work, waiting while the queue is full.
    pub(super) async fn send(&self, work: Work) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Stopping)?;
        queue.send(work).await.map_err(|_| StoreError::Stopping)
    }
}

impl Drop for Writer {
    /// Waits until what was handed over is committed.
    fn drop(&mut self) {
        self.queue = None;
        let Some(thread) = self.thread.take() else { return };
        // The last owner of the store may be a piece of work itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the store's writer failed");
        }
    }
}

fn run(
    mut connection: Connection,
    mut waiting: mpsc::Receiver<Work>,
    commits: &watch::Sender<u64>,
) {
    let mut together = Vec::with_capacity(MOST_TOGETHER);
    while waiting.blocking_recv_many(&mut together, MOST_TOGETHER) > 0 {
        let mut rest = std::mem::take(&mut together).into_iter();
        while rest.len() > 0 {
            commit(&mut connection, &mut rest);
            commits.send_modify(|count| *count += 1);
        }
    }
}

/// Runs work from `rest` in one transaction until there is none left, or until the database
/// ends the transaction by itself.
fn commit(connection: &mut Connection, rest: &mut std::vec::IntoIter<Work>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = Arc::new(error);
            for work in rest {
                let done = work(Err(StoreError::Commit(error.clone())));
                (done.tell)(Err(StoreError::Commit(error.clone())));
            }
            return;
        }
    };
    let mut done = Vec::with_capacity(rest.len());
    let mut undone = None;
    for work in rest.by_ref() {
        match apart(&transaction, work) {
            Ok(one) => done.extend(one),
            Err(error) => undone = Some(Arc::new(error)),
        }
        // A full or failing disk makes SQLite roll back all of it, not only the last part.
        if undone.is_none() && transaction.is_autocommit() {
            undone = Some(Arc::new(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                Some("the transaction was rolled back, the disk may be full".to_owned()),
            )));
        }
        if undone.is_some() {
            break;
        }
    }
    let outcome = match undone {
        Some(error) => Err(error),
        None => transaction.commit().map_err(Arc::new),
    };
    for one in done {
        (one.tell)(outcome.clone().map_err(StoreError::Commit));
    }
}

/// Runs one piece of work in a savepoint; none when it panicked, which its caller learns by
/// hearing nothing more.
fn apart(transaction: &Connection, work: Work) -> Result<Option<Done>, rusqlite::Error> {
    let sql = |text: &str| transaction.prepare_cached(text)?.execute([]);
    sql("SAVEPOINT work")?;
    let done = catch_unwind(AssertUnwindSafe(|| work(Ok(transaction)))).ok();
    if done.is_none() {
        tracing::error!("a piece of work for the store panicked; nothing of it is kept");
    }
    if transaction.is_autocommit() {
        return Ok(done);
    }
    if !done.as_ref().is_some_and(|done| done.keep) {
        sql("ROLLBACK TO work")?;
    }
    sql("RELEASE work")?;
    Ok(done)
}
