//! What systemd is told: ready, stopping, and that the control loop still ticks.

use crate::control::View;
use sd_notify::NotifyState;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// Between two feedings where systemd asks for none; the loop's health is still looked at.
const UNASKED: Duration = Duration::from_secs(1);

/// The rest of the agent may wait for a disk, which is no reason to end it: the robot stands as soon
/// as nothing is recorded. One that does nothing for so long hangs.
const CHORES_WITHIN: Duration = Duration::from_secs(600);

/// Counts what the rest of the agent does beside the control loop.
pub(crate) type Chores = Arc<AtomicU64>;

/// Feeds the watchdog as long as the control loop makes progress, and only then.
///
/// It has a thread of its own, on which nothing waits for a disk, a lock or a network: what it looks
/// at are two counters. A disk that hangs is answered by the gate, which stops the robot once the
/// journal is behind; fed in time, the agent is there to record that when the disk comes back.
#[derive(Debug)]
pub(crate) struct Watchdog {
    asked: bool,
    beats: u64,
    chores: u64,
    /// When the chores last went on.
    done_at: Instant,
    /// How often to call [`Self::look`].
    pub(crate) every: Duration,
}

impl Watchdog {
    /// As systemd asks for (`WatchdogSec`).
    #[must_use]
    pub(crate) fn from_env() -> Self {
        let asked = sd_notify::watchdog_enabled();
        // A third of the time, so that one late feeding is no restart.
        let every = asked.map_or(UNASKED, |within| within / 3);
        Self { asked: asked.is_some(), beats: 0, chores: 0, done_at: Instant::now(), every }
    }

    /// Feeds from now on, by these counters, until what it returns is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn feed(mut self, view: Arc<View>, chores: Chores) -> io::Result<Feeding> {
        let (held, ended) = channel::<()>();
        self.done_at = Instant::now();
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            loop {
                let done = chores.load(Ordering::Relaxed);
                if !self.look(view.beats(), done, Instant::now()) {
                    error!("the agent makes no progress; the watchdog is not fed");
                }
                if ended.recv_timeout(self.every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Feeding(held))
    }

    /// Feeds when there were beats since the last look, and chores not long ago; tells whether
    /// there were.
    fn look(&mut self, beats: u64, chores: u64, now: Instant) -> bool {
        if chores != self.chores {
            (self.chores, self.done_at) = (chores, now);
        }
        let alive = beats != self.beats && now.duration_since(self.done_at) <= CHORES_WITHIN;
        self.beats = beats;
        if alive && self.asked {
            tell(&[NotifyState::Watchdog]);
        }
        alive
    }
}

/// The watchdog is fed until this is dropped.
#[derive(Debug)]
pub(crate) struct Feeding(#[allow(dead_code)] Sender<()>);

/// Between two requests for more time.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// How much is asked for: three requests may be late.
const ASKED_FOR: Duration = Duration::from_secs(40);

/// The longest that is asked for: what takes longer does not end.
const ASKED_AT_MOST: Duration = Duration::from_secs(6 * 3600);

/// Asks systemd for more time to start, as long as this lives: a long journal is read as a whole,
/// and a damaged one is written anew. Killed in the middle of that it would begin again at each
/// start.
#[derive(Debug)]
pub(crate) struct Patience(#[allow(dead_code)] Option<Sender<()>>);

impl Patience {
    pub(crate) fn ask() -> Self {
        let (held, ended) = channel::<()>();
        let thread = std::thread::Builder::new().name("patience".to_owned()).spawn(move || {
            let begun = Instant::now();
            let micros = u32::try_from(ASKED_FOR.as_micros()).unwrap_or(u32::MAX);
            while begun.elapsed() < ASKED_AT_MOST {
                tell(&[NotifyState::ExtendTimeoutUsec(micros)]);
                if ended.recv_timeout(ASKED_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        if let Err(error) = &thread {
            warn!(%error, "systemd is not asked for more time to start");
        }
        Self(thread.ok().map(|_| held))
    }
}

/// The agent is up: the control loop ticks.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The agent ends in order.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_control_loop_is_not_fed_nor_is_an_agent_that_does_nothing_else_for_long() {
        let begun = Instant::now();
        let mut watchdog = Watchdog { asked: false, done_at: begun, ..Watchdog::from_env() };
        assert!(watchdog.look(3, 1, begun));
        assert!(!watchdog.look(3, 2, begun));
        assert!(watchdog.look(4, 2, begun));
        // A disk that hangs for minutes is no reason.
        assert!(watchdog.look(5, 2, begun + CHORES_WITHIN));
        let later = begun + CHORES_WITHIN + Duration::from_secs(1);
        assert!(!watchdog.look(6, 2, later));
        assert!(watchdog.look(7, 3, later), "it comes back");
    }
}
