//! The one writer: transactions that wait at the same time are committed together, with one
//! sync of the disk for all of them.
//!
//! Each piece of work runs in a part of its own: what it refuses is undone, and the others
//! of the same commit do not notice. Nobody is told that anything was done before the commit
//! that holds it is on the disk.

use super::StoreError;
use super::news::News;
use super::sql::{Connection, Intent};
use crate::traces::TARGET;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{broadcast, mpsc, watch};

/// Pieces of work that may wait; when full, callers wait with theirs.
const QUEUE: usize = 1024;

/// Pieces of work in one commit: enough for the sync to cost each little, few enough that the
/// first does not wait for long.
const MOST_TOGETHER: usize = 256;

/// News that may wait for who listens in this process; who is slower is told that some are gone.
const NEWS: usize = 1024;

/// Work for the writer. It is given a connection, or the reason why there is none for it.
pub(super) type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Done + Send>;

/// What a piece of work came to.
pub(super) struct Done {
    /// Its changes are to be committed.
    pub(super) keep: bool,
    /// Tells the caller, after the commit.
    pub(super) tell: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// Whoever in this process waits for commits and news, of this process and of others.
#[derive(Clone, Debug)]
pub(super) struct Public {
    pub(super) commits: Arc<watch::Sender<u64>>,
    /// Changes with every commit that may hold events.
    pub(super) events: Arc<watch::Sender<u64>>,
    pub(super) news: broadcast::Sender<News>,
}

impl Public {
    pub(super) fn new() -> Self {
        let (commits, events) = (Arc::default(), Arc::default());
        Self { commits, events, news: broadcast::Sender::new(NEWS) }
    }

    /// Something was committed.
    pub(super) fn tell(&self, news: impl IntoIterator<Item = News>) {
        self.commits.send_modify(|count| *count += 1);
        for news in news {
            if matches!(news, News::Events | News::Missed) {
                self.events.send_modify(|count| *count += 1);
            }
            if news != News::Events {
                // Nobody may be listening.
                let _ = self.news.send(news);
            }
        }
    }
}

/// The writer's end of the store.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(connection: Connection, public: Public) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store writer".to_owned())
            .spawn(move || run(connection, waiting, &public))
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

fn run(mut connection: Connection, mut waiting: mpsc::Receiver<Work>, public: &Public) {
    let mut together = Vec::with_capacity(MOST_TOGETHER);
    while waiting.blocking_recv_many(&mut together, MOST_TOGETHER) > 0 {
        let mut rest = std::mem::take(&mut together).into_iter();
        while rest.len() > 0 {
            // As a number: OpenTelemetry has no unsigned ones.
            let works = i64::try_from(rest.len()).unwrap_or(i64::MAX);
            let span = tracing::info_span!(target: TARGET, "store.commit", works);
            let _entered = span.enter();
            commit(&mut connection, &mut rest, public);
        }
    }
}

/// Runs work from `rest` in one transaction until there is none left, or until the database
/// ends the transaction by itself.
fn commit(connection: &mut Connection, rest: &mut std::vec::IntoIter<Work>, public: &Public) {
    if let Err(error) = connection.database.begin(Intent::Write) {
        let error = Arc::new(error);
        for work in rest {
            let done = work(Err(StoreError::Commit(error.clone())));
            (done.tell)(Err(StoreError::Commit(error.clone())));
        }
        return;
    }
    let mut done = Vec::with_capacity(rest.len());
    let mut undone = None;
    for work in rest.by_ref() {
        match apart(connection, work) {
            Ok(one) => done.extend(one),
            Err(error) => undone = Some(error),
        }
        if undone.is_none() && connection.database.is_over() {
            undone = Some(StoreError::Ended);
        }
        if undone.is_some() {
            break;
        }
    }
    let news = connection.told.take();
    let outcome = match undone {
        Some(error) => {
            connection.database.rollback();
            Err(error)
        }
        None => connection.database.commit(&news),
    };
    let outcome = match outcome {
        Ok(()) => {
            public.tell(news);
            Ok(())
        }
        // It may have been kept, and the others may have been told.
        Err(StoreError::Unsure(why)) => {
            public.tell([News::Missed]);
            Err(StoreError::Unsure(why))
        }
        Err(error) => Err(StoreError::Commit(Arc::new(error))),
    };
    for one in done {
        (one.tell)(match &outcome {
            Ok(()) => Ok(()),
            Err(StoreError::Unsure(why)) => Err(StoreError::Unsure(why.clone())),
            Err(StoreError::Commit(why)) => Err(StoreError::Commit(why.clone())),
            Err(_) => Err(StoreError::Ended),
        });
    }
}

/// Runs one piece of work apart; none when it panicked, which its caller learns by hearing
/// nothing more.
fn apart(connection: &Connection, work: Work) -> Result<Option<Done>, StoreError> {
    connection.database.part()?;
    let told = connection.told.borrow().len();
    let done = catch_unwind(AssertUnwindSafe(|| work(Ok(connection)))).ok();
    if done.is_none() {
        tracing::error!("a piece of work for the store panicked; nothing of it is kept");
    }
    if connection.database.is_over() {
        return Ok(done);
    }
    if done.as_ref().is_some_and(|done| done.keep) {
        connection.database.keep()?;
    } else {
        connection.told.borrow_mut().truncate(told);
        connection.database.undo()?;
    }
    Ok(done)
}
