//! Time from outside, so that a test can move it.

use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the cloud reads the time: expiries, certificates and stamps all come from here.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Since some moment of this process.
    fn mono(&self) -> MonoNanos;

    /// Wall-clock time.
    fn wall(&self) -> WallMillis;

    /// Both, as the cloud stamps its own facts. It is the authority on time for its robots, so
    /// it trusts itself.
    fn stamp(&self) -> Stamp {
        Stamp { mono: self.mono(), trust: ClockTrust::Cloud, wall: self.wall() }
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos::default().plus(self.start.elapsed())
    }

    fn wall(&self) -> WallMillis {
        // Before 1970 there is no cloud; such a clock reads as 1970 and everything expires.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMillis::default().plus(since)
    }
}
