//! How many requests one caller may send: a bucket for each, filled at the rate.
//!
//! Time is given, so that it can be tested. Only callers that were let in have a bucket, so that
//! nobody can make up more of them; one that is full again says nothing and is thrown away.

use nooterra_protocol::time::MonoNanos;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const NANOS_PER_S: u64 = 1_000_000_000;

/// Buckets that are kept before full ones are looked for.
const KEPT: usize = 1024;

/// Requests a second, and at once after a while of fewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    pub(crate) burst: u32,
    pub(crate) per_s: u32,
}

/// What one request came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Taken {
    /// Requests that may follow at once.
    pub(crate) left: u32,
    /// It may be sent again after so many seconds; it was taken where this is none.
    pub(crate) retry_s: Option<u64>,
    /// All of the burst is there again after so many seconds.
    pub(crate) whole_s: u64,
}

/// The buckets of all callers.
#[derive(Debug)]
pub(crate) struct Limits {
    limit: Limit,
    /// When all that a caller took would be paid for at the rate, nanoseconds.
    paid: Mutex<HashMap<String, u64>>,
}

impl Limit {
    /// With a burst of two seconds' worth; at least one request a second.
    pub(crate) fn new(per_s: u32) -> Self {
        let per_s = per_s.max(1);
        Self { burst: per_s.saturating_mul(2), per_s }
    }

    /// What one request costs, nanoseconds.
    fn cost(self) -> u64 {
        NANOS_PER_S / u64::from(self.per_s)
    }

    /// The time in which the burst fills, nanoseconds.
    fn window(self) -> u64 {
        self.cost().saturating_mul(u64::from(self.burst))
    }

    /// As [`window`](Self::window), whole seconds.
    pub(crate) fn window_s(self) -> u64 {
        self.window().div_ceil(NANOS_PER_S)
    }
}

impl Limits {
    pub(crate) fn new(limit: Limit) -> Self {
        Self { limit, paid: Mutex::default() }
    }

    /// For all callers alike.
    pub(crate) const fn limit(&self) -> Limit {
        self.limit
    }

    /// Counts one request of `caller`.
    pub(crate) fn take(&self, caller: &str, now: MonoNanos) -> Taken {
        let Limit { burst, .. } = self.limit;
        let (cost, window) = (self.limit.cost(), self.limit.window());
        // Nothing under this lock can panic half way.
        let mut table = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= KEPT && !table.contains_key(caller) {
            table.retain(|_, paid| *paid > now.0);
        }
        let paid = table.get(caller).copied().unwrap_or(0).max(now.0);
        let after = paid.saturating_add(cost);
        let full = now.0.saturating_add(window);
        if after > full {
            let retry_s = (after - full).div_ceil(NANOS_PER_S).max(1);
            let whole_s = (paid - now.0).div_ceil(NANOS_PER_S);
            return Taken { left: 0, retry_s: Some(retry_s), whole_s };
        }
        table.insert(caller.to_owned(), after);
        let left = u32::try_from((full - after) / cost).unwrap_or(u32::MAX).min(burst);
        Taken { left, retry_s: None, whole_s: (after - now.0).div_ceil(NANOS_PER_S) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonoNanos {
        MonoNanos(millis * 1_000_000)
    }

    #[test]
    fn a_burst_is_taken_at_once_then_the_rate_holds_and_others_do_not_notice() {
        let limits = Limits::new(Limit { burst: 4, per_s: 2 });
        let taken: Vec<_> = (0..4).map(|_| limits.take("a", at(0))).collect();
        assert_eq!(taken.iter().map(|it| it.left).collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert!(taken.iter().all(|it| it.retry_s.is_none()));
        assert_eq!(limits.take("a", at(0)), Taken { left: 0, retry_s: Some(1), whole_s: 2 });
        assert_eq!(limits.take("b", at(0)).left, 3);
        // A refusal costs nothing, and after the half second one more is taken.
        assert!(limits.take("a", at(499)).retry_s.is_some());
        assert!(limits.take("a", at(500)).retry_s.is_none());
        assert!(limits.take("a", at(999)).retry_s.is_some());
        // What was saved up is a burst, however long the pause.
        assert_eq!(limits.take("a", at(3_600_000)).left, 3);
    }

    #[test]
    fn what_is_told_to_wait_is_enough_and_the_table_does_not_grow() {
        let limits = Limits::new(Limit { burst: 3, per_s: 1 });
        for caller in 0..10 * KEPT as u64 {
            let now = at(caller * 4_000);
            let name = caller.to_string();
            while limits.take(&name, now).retry_s.is_none() {}
            let wait = limits.take(&name, now).retry_s.unwrap();
            assert!(limits.take(&name, MonoNanos(now.0 + wait * NANOS_PER_S)).retry_s.is_none());
        }
        assert!(limits.paid.lock().unwrap().len() <= KEPT + 1);
    }
}
