//! What the control loop lets the rest of the agent see.

use nooterra_policy::{Privacy, Sensors};
use nooterra_protocol::entry::VerdictPhase;
use nooterra_protocol::observation::Observation;
use nooterra_protocol::policy::Sensor;
use nooterra_protocol::time::MonoNanos;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// Where in the word of sensors the time that they are kept begins.
const KEEP: u32 = 8;

/// There is such a time.
const KEEPS: u64 = 1 << 40;

/// The latest observation, two counters, and which sensors may be read. The loop only ever tries
/// the lock: a reader that holds it costs the reader one tick of freshness, and the loop nothing.
#[derive(Debug, Default)]
pub struct View {
    beats: AtomicU64,
    interventions: AtomicU64,
    /// From when on what `privacy` says counts no more, nanoseconds.
    holds_until: AtomicU64,
    /// The sensors that may be read from the lowest bit on, then how long what they record is
    /// kept. Zero is none.
    privacy: AtomicU64,
    /// When the robot's own stop was last seen pressed, nanoseconds; 0 before.
    pressed_at: AtomicU64,
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

    /// When the robot's own emergency stop was last seen pressed.
    #[must_use]
    pub fn pressed_at(&self) -> Option<MonoNanos> {
        Some(self.pressed_at.load(Ordering::Relaxed)).filter(|at| *at > 0).map(MonoNanos)
    }

    /// Which sensors may be read now, by the policy's privacy zones; `None` where nobody knows:
    /// before the first tick, and once the control loop has fallen silent for longer than
    /// [`ControlLoop::with_period`](super::ControlLoop::with_period) says. Whoever reads a sensor
    /// asks before each picture, and takes none without an answer. `clock` is the monotonic clock
    /// of this boot.
    #[must_use]
    pub fn privacy(&self, clock: impl FnOnce() -> MonoNanos) -> Option<Privacy> {
        // In this order: the word is at least as new as the end that was read before it, and the
        // clock is read last, so that nobody who was held up in here takes an old word for fresh.
        let until = MonoNanos(self.holds_until.load(Ordering::Acquire));
        let word = self.privacy.load(Ordering::Acquire);
        if clock() >= until {
            return None;
        }
        let allowed: Vec<Sensor> =
            Sensor::ALL.into_iter().filter(|sensor| word >> *sensor as u32 & 1 != 0).collect();
        // Below the flag, and above the sensors.
        let keep_s = u32::try_from(word >> KEEP & u64::from(u32::MAX)).ok();
        let keep_s = keep_s.filter(|_| word & KEEPS != 0);
        Some(Privacy { allowed: Sensors::of(&allowed), keep_s })
    }

    /// Says it, until a moment at the most.
    pub(super) fn allow(&self, privacy: Privacy, until: MonoNanos) {
        let sensors = Sensor::ALL.into_iter().filter(|sensor| privacy.allowed.contains(*sensor));
        let sensors = sensors.fold(0, |word, sensor| word | 1 << sensor as u32);
        let kept = privacy.keep_s.map_or(0, |keep_s| u64::from(keep_s) << KEEP | KEEPS);
        self.privacy.store(sensors | kept, Ordering::Release);
        self.holds_until.store(until.0, Ordering::Release);
    }

    pub(super) fn pressed(&self, now: MonoNanos) {
        self.pressed_at.store(now.0.max(1), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sensor_may_be_read_before_a_tick_and_then_those_that_it_says_until_that_is_old() {
        let view = View::default();
        assert_eq!(view.privacy(|| MonoNanos(0)), None);
        for keep_s in [None, Some(0), Some(60), Some(u32::MAX)] {
            let allowed = Sensors::of(&[Sensor::Camera, Sensor::ThermalCamera]);
            view.allow(Privacy { allowed, keep_s }, MonoNanos(100));
            assert_eq!(view.privacy(|| MonoNanos(99)), Some(Privacy { allowed, keep_s }));
            assert_eq!(view.privacy(|| MonoNanos(100)), None);
        }
    }
}
