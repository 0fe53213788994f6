//! How old the oldest record is that is not yet on the disk: atomics only, because the
//! control thread asks on every tick.
//!
//! Each source of records has one cell with the moment of its oldest waiting record. The
//! writer swaps the cells empty *before* it takes what waits and keeps the minimum in
//! `in_flight` until that is durable. A producer writes its cell *after* it queued, so a
//! record may be counted a commit too long, never too short.

use nooterra_protocol::time::MonoNanos;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const NONE: u64 = u64::MAX;

/// The cells.
#[derive(Debug)]
pub(crate) struct Age {
    control: AtomicU64,
    dropped: AtomicU64,
    in_flight: AtomicU64,
    poisoned: AtomicBool,
    queue: AtomicU64,
}

impl Age {
    pub(crate) const fn new() -> Self {
        Self {
            control: AtomicU64::new(NONE),
            dropped: AtomicU64::new(0),
            in_flight: AtomicU64::new(NONE),
            poisoned: AtomicBool::new(false),
            queue: AtomicU64::new(NONE),
        }
    }

    /// The control thread queued (or lost) a record of this moment.
    pub(crate) fn control_queued(&self, at: MonoNanos) {
        self.control.fetch_min(at.0, Ordering::AcqRel);
    }

    /// The control thread lost a record; followed by [`Self::control_queued`].
    pub(crate) fn control_dropped(&self, at: MonoNanos) {
        self.dropped.fetch_add(1, Ordering::AcqRel);
        self.control_queued(at);
    }

    /// Another thread queued a record of this moment.
    pub(crate) fn queued(&self, at: MonoNanos) {
        self.queue.fetch_min(at.0, Ordering::AcqRel);
    }

    /// The writer is about to take what waits. Returns how many control records were lost
    /// since the last time.
    pub(crate) fn taking(&self) -> u64 {
        for cell in [&self.control, &self.queue] {
            // First the copy, then the removal: in between it counts twice, never not at all.
            self.in_flight.fetch_min(cell.load(Ordering::Acquire), Ordering::AcqRel);
            self.in_flight.fetch_min(cell.swap(NONE, Ordering::AcqRel), Ordering::AcqRel);
        }
        self.dropped.swap(0, Ordering::AcqRel)
    }

    /// All that the writer took is durable.
    pub(crate) fn committed(&self) {
        self.in_flight.store(NONE, Ordering::Release);
    }

    /// Nothing will become durable any more.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Zero when all is durable, [`Duration::MAX`] when nothing will be.
    pub(crate) fn oldest(&self, now: MonoNanos) -> Duration {
        if self.is_poisoned() {
            return Duration::MAX;
        }
        let cells = [&self.control, &self.queue, &self.in_flight];
        let oldest = cells.map(|cell| cell.load(Ordering::Acquire)).into_iter().min();
        match oldest {
            None | Some(NONE) => Duration::ZERO,
            Some(at) => Duration::from_nanos(now.0.saturating_sub(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_record_counts_from_its_own_moment_until_it_is_durable() {
        let age = Age::new();
        assert_eq!(age.oldest(MonoNanos(9)), Duration::ZERO);
        age.queued(MonoNanos(20 * MS));
        age.control_queued(MonoNanos(10 * MS));
        age.control_queued(MonoNanos(30 * MS));
        assert_eq!(age.oldest(MonoNanos(40 * MS)), Duration::from_millis(30));
        assert_eq!(age.taking(), 0);
        assert_eq!(age.oldest(MonoNanos(50 * MS)), Duration::from_millis(40));
        age.control_queued(MonoNanos(45 * MS));
        age.committed();
        assert_eq!(age.oldest(MonoNanos(50 * MS)), Duration::from_millis(5));
    }

    #[test]
    fn a_lost_record_keeps_the_age_growing_until_its_loss_is_durable() {
        let age = Age::new();
        age.control_dropped(MonoNanos(MS));
        assert_eq!(age.oldest(MonoNanos(200 * MS)), Duration::from_millis(199));
        assert_eq!(age.taking(), 1);
        assert_eq!(age.oldest(MonoNanos(300 * MS)), Duration::from_millis(299));
        age.committed();
        assert_eq!(age.oldest(MonoNanos(300 * MS)), Duration::ZERO);
    }

    #[test]
    fn a_poisoned_journal_is_infinitely_late() {
        let age = Age::new();
        age.poison();
        assert_eq!(age.oldest(MonoNanos(0)), Duration::MAX);
    }
}
