//! The system's clocks, read in one place and handed to everything else as arguments.

use nix::time::{ClockId, clock_gettime};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// systemd-timesyncd (and chrony's systemd unit) create this file once the clock was set.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// The clocks of this machine, with a floor under the wall clock: the latest trusted time
/// that is known. A wall clock below the floor is wrong.
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time at `origin`, at the least, milliseconds.
    floor: AtomicI64,
    origin: MonoNanos,
}

impl SystemClock {
    /// A clock that knows that it is at least `floor`.
    #[must_use]
    pub fn new(floor: WallMillis) -> Self {
        Self { floor: AtomicI64::new(floor.0), origin: mono() }
    }

    /// Learns of a moment that has surely passed, such as the last time in the journal.
    pub fn raise_floor(&self, moment: WallMillis) {
        let elapsed = mono().since(self.origin).unwrap_or_default();
        let at_origin = moment.0.saturating_sub(millis(elapsed));
        self.floor.fetch_max(at_origin, Ordering::Relaxed);
    }

    /// The wall clock to judge expiry by: never below the floor plus what has elapsed since.
    #[must_use]
    pub fn judged_wall(&self) -> WallMillis {
        let elapsed = mono().since(self.origin).unwrap_or_default();
        let floor = WallMillis(self.floor.load(Ordering::Relaxed)).plus(elapsed);
        wall().max(floor)
    }
}

impl nooterra_blackbox::Clock for SystemClock {
    fn stamp(&self) -> Stamp {
        let wall = wall();
        let behind = wall < self.judged_wall();
        let trust = if !behind && Path::new(SYNCHRONIZED).exists() {
            ClockTrust::Network
        } else {
            ClockTrust::Untrusted
        };
        Stamp { mono: mono(), trust, wall }
    }
}

/// The monotonic clock of this boot (`CLOCK_MONOTONIC`, the clock of the control timer).
#[must_use]
pub fn mono() -> MonoNanos {
    // CLOCK_MONOTONIC exists on every Linux, so the error cannot happen; zero would be seen
    // by the gate as a clock that ran backwards, and stop the robot.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    MonoNanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock as the system has it, right or wrong.
#[must_use]
pub fn wall() -> WallMillis {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => WallMillis(millis(since)),
        Err(before) => WallMillis(millis(before.duration()).saturating_neg()),
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_blackbox::Clock as _;

    #[test]
    fn a_wall_clock_behind_the_floor_is_untrusted_and_not_believed() {
        let ahead = wall().plus(Duration::from_secs(3600));
        let clock = SystemClock::new(ahead);
        assert!(clock.judged_wall() >= ahead);
        assert_eq!(clock.stamp().trust, ClockTrust::Untrusted);
    }

    #[test]
    fn the_floor_only_rises() {
        let clock = SystemClock::new(WallMillis(0));
        let ahead = wall().plus(Duration::from_secs(3600));
        clock.raise_floor(ahead);
        clock.raise_floor(WallMillis(5));
        assert!(clock.judged_wall().millis_since(ahead) >= -1);
    }
}
