//! The sandbox's time.

use nooterra_skill_host::{Host, HostOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::error;

/// Makes the sandbox's time pass while a skill may run, so that a skill that does not
/// return is ended. Without a job nothing wakes up for it.
pub(crate) struct Epochs {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Epochs {
    pub(crate) fn count(host: &Arc<Host>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (host, stop) = (Arc::clone(host), Arc::clone(&over));
        let tick = HostOptions::default().tick;
        let thread = std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(tick);
                host.epoch_tick();
            }
        });
        if let Err(error) = &thread {
            // A skill that does not return then keeps its thread; the robot stands all the
            // same once its last request is too old.
            error!(%error, "no thread to count the sandbox's time");
        }
        Self { over, thread: thread.ok() }
    }
}

impl Drop for Epochs {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
