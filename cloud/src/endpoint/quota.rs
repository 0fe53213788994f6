//! How much of the cloud one connection may take.
//!
//! Packets beyond the rate are not lost: they wait in the socket, and the sender with them. What
//! is refused costs the cloud as much as what is taken, so a connection of which too much was
//! refused is ended.

use std::time::Duration;
use tokio::time::Instant;

/// Packets a second, over a while. A robot that catches up after an outage sends batches of
/// 32 KiB, which is 8 MiB/s.
pub(super) const PACKETS_PER_S: u32 = 256;

/// Packets at once after a while of less.
pub(super) const BURST: u32 = 512;

/// Refused packets on one connection.
pub(super) const REFUSALS: u32 = 64;

/// What a connection has used. Time is given, so that it can be tested.
#[derive(Debug)]
pub(super) struct Quota {
    refused: u32,
    /// When all that was taken would be paid for at the rate.
    paid: Instant,
}

impl Quota {
    pub(super) const fn new(now: Instant) -> Self {
        Self { paid: now, refused: 0 }
    }

    /// Counts one packet.
    pub(super) fn take(&mut self, now: Instant) {
        self.paid = self.paid.max(now) + Duration::from_secs(1) / PACKETS_PER_S;
    }

    /// When the next bytes may be read, if not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        let free = Duration::from_secs(1) * BURST / PACKETS_PER_S;
        let from = self.paid.checked_sub(free)?;
        (from > now).then_some(from)
    }

    /// Counts a refusal; whether there were too many.
    pub(super) const fn refuse(&mut self) -> bool {
        self.refused += 1;
        self.refused > REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let mut now = start;
        let mut taken = 0;
        while now < start + Duration::from_secs(10) {
            match quota.wait(now) {
                Some(later) => now = later,
                None => {
                    quota.take(now);
                    taken += 1;
                }
            }
        }
        let most = BURST + 10 * PACKETS_PER_S + 1;
        assert!((most - 2..=most).contains(&taken), "{taken}");
        // What was saved up is a burst, however long the pause.
        now += Duration::from_secs(3600);
        let burst =
            (0..).take_while(|_| quota.wait(now).is_none().then(|| quota.take(now)).is_some());
        assert_eq!(burst.count(), usize::try_from(BURST).unwrap() + 1);
    }

    #[test]
    fn the_refusal_after_the_last_is_one_too_many() {
        let mut quota = Quota { refused: 0, paid: Instant::now() };
        assert!((0..REFUSALS).all(|_| !quota.refuse()));
        assert!(quota.refuse());
    }
}
