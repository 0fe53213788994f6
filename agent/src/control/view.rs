//! What the control loop lets the rest of the agent see.

use nooterra_protocol::entry::VerdictPhase;
use nooterra_protocol::observation::Observation;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// The latest observation and two counters. The loop only ever tries the lock: a reader that
/// holds it costs the reader one tick of freshness, and the loop nothing.
#[derive(Debug, Default)]
pub struct View {
    beats: AtomicU64,
    interventions: AtomicU64,
    presses: AtomicU64,
    pressed: AtomicBool,
    seen: Mutex<Option<Arc<Observation>>>,
}

impl View {
    /// The latest observation; `None` before the first.
    #[must_use]
    pub fn observation(&self) -> Option<Arc<Observation>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ticks that came to their end. What feeds the watchdog.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Runs of interventions of the gate that have begun.
    #[must_use]
    pub fn interventions(&self) -> u64 {
        self.interventions.load(Ordering::Relaxed)
    }

    /// How often the stop input was pressed, and whether it is now.
    #[must_use]
    pub fn stop_input(&self) -> (u64, bool) {
        (self.presses.load(Ordering::Relaxed), self.pressed.load(Ordering::Relaxed))
    }

    pub(crate) fn see_stop_input(&self, pressed: bool) {
        if !self.pressed.swap(pressed, Ordering::Relaxed) && pressed {
            self.presses.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn intervened(&self, phase: VerdictPhase) {
        if phase == VerdictPhase::Began {
            self.interventions.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn see(&self, observation: Observation) {
        let observation = Some(Arc::new(observation));
        match self.seen.try_lock() {
            Ok(mut seen) => *seen = observation,
            Err(TryLockError::Poisoned(seen)) => *seen.into_inner() = observation,
            Err(TryLockError::WouldBlock) => {}
        }
    }
}
