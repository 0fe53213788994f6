//! The flight recorder: every tick of the control loop in memory, and on the disk where
//! something happened.
//!
//! ```text
//! control thread ── FlightQueue (lock-free, 2 s of ticks) ──► Recorder ── ring ──► journal
//! any thread ────── FlightTriggers (64) ───────────────────────┘
//! ```
//! The control thread only ever moves a tick of fixed size into a queue that was made before.
//! The [`Recorder`] is stepped some ten times a second by a thread of its own. It keeps the last
//! ticks in a ring, and when a trigger fires it writes those before it and those of the seconds
//! after it as blocks into the journal.
//!
//! # Bounds
//! Memory: [`FlightOptions::memory_bytes`], all of it set aside at the start. A dump is written
//! at [`FlightOptions::bytes_per_s`] at the most. It never waits for the disk: the journal's queue
//! takes what is written while a disk stands still, and where that is full, the ring bridges ten
//! seconds more. What is overwritten beyond that is counted, in the record that ends the dump. A
//! trigger that fires during a dump extends it. What dumps take in an hour is bounded too: beyond
//! [`FlightOptions::bytes_per_hour`] a dump is cut, and further triggers are counted and said.
//!
//! # What it never does
//! It never stops a robot (the journal's age does that, when the disk stands still): what it does
//! not get it counts, and the verdicts' own queue is another one. It writes nothing unless something happened.

mod recorder;
mod sink;

pub use recorder::{FlightState, Recorder};
pub use sink::{FlightSink, cut_dump};

use crossbeam_queue::ArrayQueue;
use nooterra_protocol::flight::{FlightTick, Trigger};
use nooterra_protocol::time::MonoNanos;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rows of a block, bytes: a third of what a record may have, so that it fits into a batch of
/// the uplink.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// Ticks that may wait for the recorder: two seconds of them. It waits for nothing but a
/// processor.
const QUEUE_FOR: Duration = Duration::from_secs(2);

/// How long the journal may refuse a dump, its queue full, before a tick of the dump is
/// overwritten. On a disk that a benchmark saturated a commit took 4 s.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Triggers that may wait.
const TRIGGERS: usize = 64;

/// How much is kept and written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlightOptions {
    /// Ticks of so long after a trigger are written.
    pub after: Duration,
    /// Ticks of so long before a trigger are written, and kept in memory.
    pub before: Duration,
    /// What dumps may take in an hour.
    pub bytes_per_hour: u64,
    /// What a dump may take in a second.
    pub bytes_per_s: u64,
    /// Ticks in a second.
    pub rate_hz: u32,
    /// What a dump begins for.
    pub triggers: Vec<Trigger>,
}

impl Default for FlightOptions {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(10),
            before: Duration::from_secs(60),
            bytes_per_hour: 16 * 1024 * 1024,
            bytes_per_s: 64 * 1024,
            rate_hz: 50,
            triggers: Trigger::ALL.to_vec(),
        }
    }
}

impl FlightOptions {
    /// Ticks in the ring: those before a trigger, and some more, so that none is overwritten
    /// before its dump has begun, or while the journal does not take it.
    #[must_use]
    pub fn ring_ticks(&self) -> usize {
        self.ticks(self.before + QUEUE_FOR + REFUSED_FOR)
    }

    /// Ticks in the queue.
    #[must_use]
    pub fn queue_ticks(&self) -> usize {
        self.ticks(QUEUE_FOR)
    }

    /// What all of it takes in memory: ring, queue, and the block under construction.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // The queue has a counter of 8 bytes beside each tick.
        self.ring_ticks() * size_of::<FlightTick>()
            + self.queue_ticks() * (size_of::<FlightTick>() + size_of::<u64>())
            + TRIGGERS * 32
            + 3 * BLOCK_BYTES
    }

    fn ticks(&self, span: Duration) -> usize {
        let ticks = span.as_millis() * u128::from(self.rate_hz) / 1000;
        usize::try_from(ticks).unwrap_or(usize::MAX).max(2)
    }
}

/// The control thread's end: it hands ticks over and may pull a trigger.
pub struct FlightQueue {
    lost: Arc<AtomicU64>,
    queue: Arc<ArrayQueue<FlightTick>>,
    triggers: FlightTriggers,
}

impl FlightQueue {
    /// Hands a tick over. Neither waits nor allocates; a tick that does not fit is counted.
    pub fn push(&mut self, tick: FlightTick) {
        if self.queue.push(tick).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`FlightTriggers::pull`].
    pub fn pull(&self, trigger: Trigger, at: MonoNanos) {
        self.triggers.pull(trigger, at);
    }
}

impl fmt::Debug for FlightQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlightQueue({} of {})", self.queue.len(), self.queue.capacity())
    }
}

/// Pulls triggers that no tick shows: a skill crashed, somebody reports an incident.
#[derive(Clone)]
pub struct FlightTriggers {
    missed: Arc<AtomicU64>,
    queue: Arc<ArrayQueue<(Trigger, MonoNanos)>>,
}

impl FlightTriggers {
    /// Something happened. Neither waits nor allocates. Beyond 64 that wait it is only counted:
    /// a dump is under way then.
    pub fn pull(&self, trigger: Trigger, at: MonoNanos) {
        if self.queue.push((trigger, at)).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for FlightTriggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlightTriggers({} wait)", self.queue.len())
    }
}

/// A recorder with its two doors.
#[must_use]
pub fn recorder(options: FlightOptions) -> (Recorder, FlightQueue, FlightTriggers) {
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Arc::new(ArrayQueue::new(options.queue_ticks()));
    let triggers = FlightTriggers {
        missed: Arc::new(AtomicU64::new(0)),
        queue: Arc::new(ArrayQueue::new(TRIGGERS)),
    };
    let recorder = Recorder::new(options, Arc::clone(&queue), Arc::clone(&lost), triggers.clone());
    (recorder, FlightQueue { lost, queue, triggers: triggers.clone() }, triggers)
}
