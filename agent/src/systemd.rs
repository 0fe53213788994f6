//! What systemd is told: ready, stopping, and that the control loop still ticks.

use sd_notify::NotifyState;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tracing::warn;

/// Between two feedings where systemd asks for none; the loop's health is still looked at.
const UNASKED: Duration = Duration::from_secs(1);

/// Feeds the watchdog as long as the control loop makes progress, and only then.
#[derive(Debug)]
pub(crate) struct Watchdog {
    asked: bool,
    beats: u64,
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
        Self { asked: asked.is_some(), beats: 0, every }
    }

    /// Feeds when there were beats since the last look; tells whether there were.
    pub(crate) fn look(&mut self, beats: u64) -> bool {
        let alive = beats != self.beats;
        self.beats = beats;
        if alive && self.asked {
            tell(&[NotifyState::Watchdog]);
        }
        alive
    }
}

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
    fn a_frozen_control_loop_is_not_fed() {
        let mut watchdog = Watchdog { asked: false, beats: 0, every: UNASKED };
        assert!(watchdog.look(3));
        assert!(!watchdog.look(3));
        assert!(watchdog.look(4));
    }
}
