//! Hears, over Postgres, what other processes commit.

use super::StoreError;
use super::news::News;
use super::postgres::{CHANNEL, Server, said};
use super::writer::Public;
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the listener waits for news before it looks whether it is to stop.
const LISTEN: Duration = Duration::from_millis(200);

/// How long the listener waits before it connects again.
const AGAIN: Duration = Duration::from_secs(1);

/// The thread that listens; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn start(server: &Server, public: Public) -> Result<Self, StoreError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, server) = (stop.clone(), server.clone());
        // The first time in the foreground: whoever starts us learns that it does not work.
        let client = listen(&server)?;
        let thread = std::thread::Builder::new()
            .name("store listener".to_owned())
            .spawn(move || hear(client, &server, &public, &until))
            .map_err(|e| StoreError::Thread(Arc::new(e)))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's listener failed");
        }
    }
}

fn listen(server: &Server) -> Result<Client, StoreError> {
    let mut client = server.client()?;
    client.batch_execute(&format!("LISTEN {CHANNEL}"))?;
    Ok(client)
}

fn hear(mut client: Client, server: &Server, public: &Public, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if client.is_closed() {
            match listen(server) {
                Ok(again) => {
                    client = again;
                    public.tell([News::Missed]);
                }
                Err(error) => {
                    tracing::warn!(%error, "other processes are not heard; trying again");
                    std::thread::park_timeout(AGAIN);
                    continue;
                }
            }
        }
        let heard = client.notifications().timeout_iter(LISTEN).next();
        match heard {
            Ok(Some(notice)) => tell(notice.payload(), server, public),
            Ok(None) => {}
            Err(error) => tracing::warn!(error = said(&error), "the store's listener was cut off"),
        }
    }
}

fn tell(notice: &str, server: &Server, public: &Public) {
    let mut lines = notice.lines();
    // Our own were told when they were committed.
    if lines.next() != Some(&*server.process) {
        // What cannot be read, a later release wrote. Whether there are events is not said.
        let said = lines.map(|line| line.parse().unwrap_or(News::Missed));
        public.tell(said.chain([News::Events]));
    }
}
