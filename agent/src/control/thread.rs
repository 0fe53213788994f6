//! The thread of the control loop: a timer, a priority, and a safe end whatever happens.

use super::ControlLoop;
use crate::clock;
use crate::config::{Control, Realtime};
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tracing::{error, info, warn};

/// Why a robot is stopped when nothing happened.
pub(super) const ORDERLY: &str = "the agent ends";

/// Why there is no control thread.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// `control.realtime = "require"`, and the system refuses.
    #[error(
        "real-time scheduling is refused ({0}); give the service CAP_SYS_NICE and LimitRTPRIO, or set control.realtime = \"try\""
    )]
    Realtime(Errno),
    /// The system gives no thread.
    #[error("no control thread: {0}")]
    Thread(std::io::Error),
    /// The system gives no timer.
    #[error("no timer for the control loop: {0}")]
    Timer(Errno),
}

/// How the control loop ended. The robot was told to stop in every case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// A tick panicked: a fault of the agent.
    Panicked,
    /// It was asked to.
    Stopped,
    /// The timer failed.
    TimerFailed,
}

/// The running thread. Dropped, it stops the robot and ends, as by [`Self::end`]: whatever fails
/// after it was started leaves no robot driving.
#[derive(Debug)]
pub struct ControlThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Exit>>,
}

impl ControlThread {
    /// Starts ticking.
    ///
    /// # Errors
    /// [`ThreadError`]
    pub fn spawn(control: ControlLoop, config: &Control) -> Result<Self, ThreadError> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)
            .map_err(ThreadError::Timer)?;
        let nanos = i64::try_from(config.period().as_nanos()).unwrap_or(i64::MAX);
        timer
            .set(Expiration::Interval(TimeSpec::nanoseconds(nanos)), TimerSetTimeFlags::empty())
            .map_err(ThreadError::Timer)?;
        let control = control.with_period(config.period());
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let (realtime, priority) = (config.realtime, config.realtime_priority);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let prioritised = prioritise(realtime, priority);
                let refused = prioritised.is_err();
                let _ = ready.send(prioritised);
                if refused { Exit::Stopped } else { run(control, &timer, &stopping) }
            })
            .map_err(ThreadError::Thread)?;
        match started.recv() {
            Ok(Err(refused)) => Err(refused),
            _ => Ok(Self { stop, thread: Some(thread) }),
        }
    }

    /// The loop has ended by itself, which is a reason to end the agent.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the robot and the loop.
    pub fn end(mut self) -> Exit {
        self.stop()
    }

    fn stop(&mut self) -> Exit {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Exit::Stopped };
        thread.join().unwrap_or(Exit::Panicked)
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut control: ControlLoop, timer: &TimerFd, stopping: &AtomicBool) -> Exit {
    loop {
        match timer.wait() {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(error) => {
                error!(%error, "the control timer failed");
                control.stop(clock::mono(), "the control timer failed");
                return Exit::TimerFailed;
            }
        }
        if stopping.load(Ordering::Relaxed) {
            control.stop(clock::mono(), ORDERLY);
            return Exit::Stopped;
        }
        let ticked = catch_unwind(AssertUnwindSafe(|| control.tick(clock::mono())));
        if ticked.is_err() {
            // The loop's state may be half changed; the robot's own driver is all that is
            // used from here on.
            let stopped = catch_unwind(AssertUnwindSafe(|| {
                control.stop(clock::mono(), "the control loop panicked");
            }));
            error!(stopped = stopped.is_ok(), "the control loop panicked");
            return Exit::Panicked;
        }
    }
}

fn prioritise(realtime: Realtime, priority: u8) -> Result<(), ThreadError> {
    if realtime == Realtime::Off {
        return Ok(());
    }
    match set_fifo(priority).and_then(|()| lock_memory()) {
        Ok(()) => {
            info!(priority, "the control thread is real-time, memory is locked");
            Ok(())
        }
        Err(error) if realtime == Realtime::Require => Err(ThreadError::Realtime(error)),
        Err(error) => {
            warn!(%error, "the control thread is not real-time; ticks may be late under load");
            Ok(())
        }
    }
}

/// SCHED_FIFO for the calling thread.
#[allow(unsafe_code)]
pub(super) fn set_fifo(priority: u8) -> Result<(), Errno> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: `param` is a whole, initialised `sched_param` that outlives the call, and the
    // call only reads it. Thread 0 is the calling thread (sched_setscheduler(2)).
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
    Errno::result(result).map(drop)
}

/// Keeps what is resident from being paged out, now and later, without making resident what
/// was never touched: the sandbox sets aside more address space than it uses.
fn lock_memory() -> Result<(), Errno> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
}
