//! A skill on its own thread, and the two slots through which the rest of the robot meets it.

use crate::course::Session;
use crate::host::THREAD_STACK_BYTES;
use crate::ports::Ports;
use crate::session::{Opening, SkillError};
use crate::world::{self, Request, Status};
use crossbeam_queue::ArrayQueue;
use nooterra_protocol::observation::Observation;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wasmtime::Engine;

/// How often a new instance takes the place of one that overran its time, within one run.
pub const MAX_RESTARTS: u32 = 3;

/// So many late steps, among [`LATE_AMONG`], end an instance.
const MOST_LATE: u32 = 3;
const LATE_AMONG: u32 = 20;

/// How long a dropped run waits for its thread, in steps of a millisecond, before it lets go
/// of it. Only a port that blocks takes this long.
const DROP_PATIENCE_MS: u32 = 50;

/// The result of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Stepped {
    /// The moment of the observation that it answers. The age of the request counts from
    /// here, however long the step took.
    pub observed_at: MonoNanos,
    /// What the skill asks for.
    pub request: Request,
    /// How it stands.
    pub status: Status,
    /// Counts from 1. Observations that were replaced before the skill came to them have no
    /// number.
    pub step: u64,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// Over; nothing changes any more.
    Ended(End),
    /// Initialised; it is stepped as observations come.
    Running,
    /// Before the end of `init`.
    Starting,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It crashed, or was ended by the host because it used up a limit; how, for people.
    Crashed(String),
    /// The skill says that the action is achieved.
    Done,
    /// The skill says that it cannot be achieved, or it may not go on; why, for people.
    Failed(String),
    /// By [`Running::stop`].
    Stopped,
}

/// A skill that runs.
///
/// Dropping it stops the skill and waits for its thread, in general for about a
/// millisecond, and for 50 ms at most; after that the thread is left to end by itself, which
/// it does before its next call into the ports.
#[derive(Debug)]
pub struct Running {
    engine: Engine,
    scan: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// An instance was initialised.
    begun: AtomicBool,
    /// One slot; a newer observation replaces one that was not yet taken.
    inbox: ArrayQueue<(MonoNanos, Observation)>,
    outcome: Mutex<Outcome>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Outcome {
    latest: Option<Arc<Stepped>>,
    state: RunState,
}

impl Running {
    pub(crate) fn spawn(
        name: &str,
        opening: Opening,
        ports: Box<dyn Ports + Send>,
        state: Vec<u8>,
    ) -> std::io::Result<Self> {
        let engine = opening.pre.engine().clone();
        let shared = Arc::new(Shared {
            begun: AtomicBool::new(false),
            inbox: ArrayQueue::new(1),
            outcome: Mutex::new(Outcome { latest: None, state: RunState::Starting }),
            stop: Arc::default(),
        });
        let scan = opening.capabilities.contains(&Capability::Scan);
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("skill {name}"))
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let end = catch_unwind(AssertUnwindSafe(|| ours.run(&opening, ports, state)));
                ours.end(end.unwrap_or_else(|_| {
                    End::Crashed(
                        "the host of the skill panicked; this is a fault of the agent".into(),
                    )
                }));
            })?;
        Ok(Self { engine, scan, shared, thread: Some(thread) })
    }

    /// Gives the skill something to see; it makes one step for it. Call this once per period
    /// of the manifest. An observation that the skill has not taken yet is replaced. Never
    /// waits for the skill.
    pub fn observe(&self, at: MonoNanos, seen: &Observation) {
        self.shared.inbox.force_push((at, world::visible(seen, self.scan).into_owned()));
        self.wake();
    }

    /// The latest step; `None` before the first, and as soon as the run has ended or was
    /// told to stop, so that no wish outlives its skill.
    ///
    /// While a step is under way this is still the one before: compare `observed_at` with
    /// the time to know how old it is.
    #[must_use]
    pub fn latest(&self) -> Option<Stepped> {
        if self.shared.stop.load(Ordering::SeqCst) {
            return None;
        }
        let latest = self.shared.outcome().latest.clone();
        latest.map(|stepped| Stepped::clone(&stepped))
    }

    /// Where the run stands.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.shared.outcome().state.clone()
    }

    /// Whether `init` has ever returned without a complaint: what ended before that has not run.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.shared.begun.load(Ordering::SeqCst)
    }

    /// Ends the run as soon as possible, in the middle of a step too. Does not wait: the
    /// state says when it has ended.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Moves the guest to look at the flag. It costs other skills one tick of their
        // deadline, of which they have dozens.
        self.engine.increment_epoch();
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for _ in 0..DROP_PATIENCE_MS {
            // Again each time: a guest that looked at the flag just before it was set waits
            // for another tick.
            self.stop();
            match self.thread.take_if(|thread| thread.is_finished()) {
                // The thread catches its own panics.
                Some(thread) => return drop(thread.join()),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        tracing::warn!(
            "a stopped skill is still in a call into the robot; its thread is left alone"
        );
    }
}

impl Shared {
    /// The life of the thread: one instance, and another where it overran its time.
    fn run(&self, opening: &Opening, mut ports: Box<dyn Ports + Send>, state: Vec<u8>) -> End {
        let (mut state, mut stepped) = (state, 0);
        for restarts in 0.. {
            let opened = Session::open(opening, ports, &state, Arc::clone(&self.stop));
            let mut session = match opened {
                Ok(session) => session,
                Err(error) => return error.into(),
            };
            self.begun.store(true, Ordering::SeqCst);
            self.outcome().state = RunState::Running;
            let why = match self.steps(&mut session, &mut state, &mut stepped) {
                Ok(end) => return end,
                Err(SkillError::Overran(why)) => why,
                Err(error) => return error.into(),
            };
            // With the instance its wish is gone.
            let replaced = self.outcome().latest.take();
            drop(replaced);
            if restarts == MAX_RESTARTS {
                return SkillError::Overran(format!(
                    "{why}, after {MAX_RESTARTS} new instances of it did so too"
                ))
                .into();
            }
            ports = session.into_ports();
            ports.restarted(&why);
        }
        End::Stopped
    }

    /// The life of one instance. `state` is the last that it gave.
    fn steps(
        &self,
        session: &mut Session,
        state: &mut Vec<u8>,
        stepped: &mut u64,
    ) -> Result<End, SkillError> {
        let mut late = Late::default();
        loop {
            let Some((observed_at, seen)) = self.next_observation() else {
                return Ok(End::Stopped);
            };
            let (request, status) = session.step(observed_at, &seen)?;
            match status {
                Status::Done => return Ok(End::Done),
                Status::Failed(reason) => return Ok(End::Failed(reason)),
                Status::Running { .. } => {}
            }
            *stepped += 1;
            let outcome = Arc::new(Stepped { observed_at, request, status, step: *stepped });
            let replaced = self.outcome().latest.replace(outcome);
            // Freed here, not under the lock that the control loop may want.
            drop(replaced);
            let remembered = session.suspend()?;
            if *state != remembered {
                *state = remembered;
                session.ports().suspended(state);
            }
            let overran = session.overran();
            if overran {
                session.ports().note(&format!("step {stepped} took longer than its period"));
            }
            if late.count(overran) {
                return Err(SkillError::Overran(format!(
                    "{MOST_LATE} of its last {LATE_AMONG} steps took longer than its period"
                )));
            }
        }
    }

    fn next_observation(&self) -> Option<(MonoNanos, Observation)> {
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(seen) = self.inbox.pop() {
                return Some(seen);
            }
            thread::park();
        }
    }

    fn end(&self, end: End) {
        let mut outcome = self.outcome();
        outcome.latest = None;
        outcome.state = RunState::Ended(end);
    }

    /// Held for a few instructions only: the control loop may be the other side. Nothing
    /// that could panic happens under it.
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The late ones among the last steps, a bit each.
#[derive(Default)]
struct Late(u32);

impl Late {
    /// Takes whether a step was late; true when that is too often.
    fn count(&mut self, is_late: bool) -> bool {
        self.0 = (self.0 << 1 | u32::from(is_late)) & ((1 << LATE_AMONG) - 1);
        self.0.count_ones() >= MOST_LATE
    }
}

impl From<SkillError> for End {
    fn from(error: SkillError) -> Self {
        match error {
            SkillError::Stopped => Self::Stopped,
            SkillError::Exhausted(_) | SkillError::Overran(_) | SkillError::Trapped(_) => {
                Self::Crashed(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_late_step_among_twenty_is_one_too_many() {
        let mut late = Late::default();
        assert!(!late.count(true) && !late.count(true));
        assert!((0..18).all(|_| !late.count(false)));
        // With each step one more of the first two is forgotten.
        assert!(!late.count(true) && !late.count(true));
        assert!(late.count(true));
    }
}
