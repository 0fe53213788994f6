//! A stop input, from the thread that reads it to the tick that obeys it.
//!
//! The input is read on a thread of its own and the tick only loads atomics, because a line
//! behind an expander on a bus takes milliseconds to read, and on a bus that hangs it takes for
//! ever. What is published is not "pressed" but "released at": a reader that hangs, panics or is
//! starved publishes nothing more, and that is a stop as much as a press is. A press between two
//! ticks is not lost: it is kept until a tick has seen it.

use super::Desk;
use super::thread::set_fifo;
use crate::clock;
use crate::config::{Control, Realtime};
use nooterra_hal::stop_input::StopInput;
use nooterra_protocol::time::MonoNanos;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{error, info, warn};

/// Between two readings.
const READ_EVERY: Duration = Duration::from_millis(5);

/// A reading that is older says nothing any more: twenty missed readings, and a fraction of the
/// time that a driver's watchdog gives the agent.
pub const MAX_READING_AGE: Duration = Duration::from_millis(100);

/// A reading may be stamped later than the tick that looks at it by no more than the tick took
/// to get here; further ahead is a broken clock.
const MAX_LEAD: Duration = Duration::from_millis(20);

/// Why the input stops the robot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Cause {
    Pressed = 1,
    Unreadable = 2,
    Silent = 3,
}

impl Cause {
    const fn of(kept: u8) -> Option<Self> {
        match kept {
            0 => None,
            1 => Some(Self::Pressed),
            2 => Some(Self::Unreadable),
            _ => Some(Self::Silent),
        }
    }

    /// As in the journal.
    const fn reason(self) -> &'static str {
        match self {
            Self::Pressed => "the stop input is pressed",
            Self::Silent => "the reader of the stop input is silent",
            Self::Unreadable => "the stop input cannot be read",
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// A cause since the last look, as a number; 0 when there was none.
    cause: AtomicU8,
    /// When the last reading began that said released, nanoseconds; 0 when the last one did not.
    released_at: AtomicU64,
}

/// Reads an input and publishes what it says.
pub struct StopReader {
    desk: Arc<Desk>,
    input: Box<dyn StopInput>,
    shared: Arc<Shared>,
    /// What was said in the log last.
    told: Option<Cause>,
}

impl std::fmt::Debug for StopReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StopReader").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl StopReader {
    /// A reader that tells `desk` of a press, so that it outlives a restart like any emergency
    /// stop, and what the control loop looks at.
    #[must_use]
    pub fn new(input: Box<dyn StopInput>, desk: Arc<Desk>) -> (Self, StopSignal) {
        let shared = Arc::new(Shared::default());
        let signal =
            StopSignal { last: Cause::Silent, obeyed_at: None, shared: Arc::clone(&shared) };
        (Self { desk, input, shared, told: None }, signal)
    }

    /// Reads once, at `now`.
    pub fn poll(&mut self, now: MonoNanos) {
        let cause = match self.input.is_pressed() {
            Ok(false) => {
                if self.told.take().is_some() {
                    // Whoever lifted the stop until now did so while the input was pressed.
                    self.desk.press_emergency_stop();
                    info!("the stop input is released; the stop stays until somebody lifts it");
                }
                // A reading that hung is as old as its beginning.
                self.shared.released_at.store(now.0.max(1), Ordering::Release);
                return;
            }
            Ok(true) => Cause::Pressed,
            Err(error) => {
                if self.told != Some(Cause::Unreadable) {
                    error!(%error, "the stop input cannot be read, which is a stop");
                }
                Cause::Unreadable
            }
        };
        self.stop(cause);
    }

    /// Reads until it is told to end.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(mut self, config: &Control) -> std::io::Result<StopReaderThread> {
        // So that the loop's first tick finds a reading.
        self.poll(clock::mono());
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let (realtime, priority) = (config.realtime, config.realtime_priority);
        let thread =
            std::thread::Builder::new().name("stop input".to_owned()).spawn(move || {
                // As urgent as the loop: starved beside it, it would stop the robot for nothing.
                if realtime != Realtime::Off
                    && let Err(error) = set_fifo(priority)
                {
                    warn!(%error, "the reader of the stop input is not real-time");
                }
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    while !told.load(Ordering::Relaxed) {
                        self.poll(clock::mono());
                        std::thread::sleep(READ_EVERY);
                    }
                }));
                if ended.is_err() {
                    error!("the reader of the stop input panicked, which is a stop");
                    self.stop(Cause::Silent);
                }
            })?;
        Ok(StopReaderThread { ending, thread: Some(thread) })
    }

    fn stop(&mut self, cause: Cause) {
        self.shared.cause.store(cause as u8, Ordering::Release);
        self.shared.released_at.store(0, Ordering::Release);
        if self.told != Some(cause) {
            warn!("{}", cause.reason());
        }
        self.told = Some(cause);
        // After the tick was told: this waits for the disk. Again when somebody lifted the stop
        // too early.
        if !self.desk.emergency_stop() {
            self.desk.press_emergency_stop();
        }
    }
}

/// The running reader; it ends when this is dropped.
#[derive(Debug)]
pub struct StopReaderThread {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StopReaderThread {
    /// The reader has ended by itself; the robot stands.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for StopReaderThread {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // One that hangs in its bus is left behind.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// What the control loop looks at, and its own latch: whatever the policy says of emergency
/// stops, this one stays until the input is released and somebody then lifts it.
#[derive(Debug)]
pub struct StopSignal {
    /// The cause that was seen last.
    last: Cause,
    /// The last tick that had a cause, until that was lifted.
    obeyed_at: Option<MonoNanos>,
    shared: Arc<Shared>,
}

impl StopSignal {
    /// Whether the robot must stand at `now`, and why if that is new. `acknowledged` is when
    /// somebody who may last lifted a stop.
    pub(super) fn look(
        &mut self,
        now: MonoNanos,
        acknowledged: Option<MonoNanos>,
    ) -> (bool, Option<&'static str>) {
        if let Some(cause) = self.cause(now) {
            let is_new = self.obeyed_at.is_none() || self.last != cause;
            self.last = cause;
            self.obeyed_at = Some(now);
            return (true, is_new.then(|| cause.reason()));
        }
        let lifted = |obeyed: MonoNanos| {
            acknowledged.is_some_and(|at| at >= obeyed && is_recent(at, now, Duration::MAX))
        };
        if self.obeyed_at.is_some_and(lifted) {
            self.obeyed_at = None;
        }
        (self.obeyed_at.is_some(), None)
    }

    fn cause(&self, now: MonoNanos) -> Option<Cause> {
        // In this order: a press that comes in between is seen here or by the next tick.
        let released_at = MonoNanos(self.shared.released_at.load(Ordering::Acquire));
        let kept = Cause::of(self.shared.cause.swap(0, Ordering::AcqRel));
        if kept.is_some() {
            return kept;
        }
        if released_at.0 == 0 {
            // Not released, and no news since: as it was.
            return Some(self.last);
        }
        (!is_recent(released_at, now, MAX_READING_AGE)).then_some(Cause::Silent)
    }
}

fn is_recent(at: MonoNanos, now: MonoNanos, most: Duration) -> bool {
    match now.since(at) {
        Some(age) => age <= most,
        None => at.since(now).is_some_and(|lead| lead <= MAX_LEAD),
    }
}
