//! What is sent again, when, and how often.
//!
//! A call is sent again where that cannot do anything twice: it only reads, it carries an
//! `Idempotency-Key` that the cloud keeps, doing it twice comes to the same, or the cloud said
//! that it did nothing (429; 401 with a fresh token). All else is sent once, and its caller is
//! told that it may have been done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Waits for a while: a thread's sleep, unless a test counts.
pub type Pause = Arc<dyn Fn(Duration) + Send + Sync>;

/// How often a call is sent, and how long to wait between.
#[derive(Clone)]
pub struct Retry {
    /// The first wait; each later one is twice the one before. A part of it, up to a half, is
    /// left to chance, so that clients which failed together do not come back together.
    pub first: Duration,
    /// No wait is longer, whatever the cloud asks for.
    pub longest: Duration,
    /// How to wait.
    pub pause: Pause,
    /// A call is sent so often at the most; at least once.
    pub tries: u32,
}

impl Default for Retry {
    /// Four times within about two seconds, and up to half a minute where the cloud asks for it.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            pause: Arc::new(std::thread::sleep),
            tries: 4,
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("first", &self.first)
            .field("longest", &self.longest)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

impl Retry {
    /// Waits before the next try. `failed` counts those that failed, from 1; `asked` is what the
    /// cloud asked for.
    pub(crate) fn wait(&self, failed: u32, asked: Option<Duration>) {
        let mut chance = [0];
        // Without random bytes everybody waits the same.
        let _ = getrandom::fill(&mut chance);
        (self.pause)(self.delay(failed, asked, chance[0]));
    }

    fn delay(&self, failed: u32, asked: Option<Duration>, chance: u8) -> Duration {
        let doubled = 1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        let part = whole / 2 + (whole / 2 / 255).saturating_mul(u32::from(chance));
        part.max(asked.unwrap_or_default()).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_allowed_and_never_shorter_than_asked_within_that(
            failed in 0..u32::MAX, asked in proptest::option::of(0..100_000u64), chance in any::<u8>()
        ) {
            let retry = Retry::default();
            let asked = asked.map(Duration::from_millis);
            let wait = retry.delay(failed, asked, chance);
            prop_assert!(wait <= retry.longest);
            prop_assert!(wait >= asked.unwrap_or_default().min(retry.longest));
            prop_assert!(wait >= retry.first / 2);
        }
    }

    #[test]
    fn waits_double() {
        let retry = Retry::default();
        let waits: Vec<_> = (1..=4).map(|n| retry.delay(n, None, 255).as_millis()).collect();
        assert!(waits.windows(2).all(|two| two[1].abs_diff(two[0] * 2) <= 2), "{waits:?}");
    }
}
