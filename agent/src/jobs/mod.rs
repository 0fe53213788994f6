//! Jobs on the robot: taking a plan, carrying out its steps by skills, stating what happened.
//!
//! [`Jobs`] is the door, for the downlink. The [`Runner`] has a thread of its own and one job
//! at a time. What must survive a restart is in one file that is replaced as a whole at every
//! step of a plan ([`memory`]); what happened is in the journal, as signed facts ([`Facts`]).

mod asked;
mod epochs;
mod facts;
mod frames;
mod held;
mod inputs;
mod memory;
mod pace;
mod ports;
mod proving;
mod runner;
mod shelf;
mod step;
mod suspended;

pub(crate) use asked::{in_words, lease, misfit};
pub(crate) use epochs::Epochs;
pub use facts::{Facts, FactsError};
pub use frames::Pictures;
#[cfg(feature = "sim")]
use held::{Held, Hold};
use nooterra_protocol::ids::{JobId, StepId};
use nooterra_protocol::plan::Plan;
pub use pace::{Pace, SystemPace};
pub use runner::{Runner, RunnerParts};
pub use shelf::{Fetch, Shelf, ShelfError, trusted_keys};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{error, warn};

/// Which job is under way, in the journal's state, for when its file cannot be read; no bytes where
/// none is.
pub(crate) const JOB_KEY: &str = "job.under_way";

/// The job that was under way when the agent ended, and the step that it was at.
pub(crate) fn under_way(state_dir: &Path) -> Option<(JobId, Option<StepId>)> {
    let progress = memory::Memory::new(state_dir).load().ok()??;
    let step = progress.plan.steps.get(progress.next_step as usize).map(|step| step.id.clone());
    Some((progress.job, step))
}

/// A job that is to be carried out.
#[derive(Clone, Debug)]
struct Order {
    job: JobId,
    plan: Plan,
}

#[derive(Debug)]
struct Current {
    cancelled: Option<String>,
    /// Its steps are over and the robot rests: whoever hears that may send the next at once.
    ending: bool,
    hold: Hold,
    job: JobId,
}

#[derive(Debug)]
struct Shared {
    current: Mutex<Option<Current>>,
    held: Held,
    leaving: AtomicBool,
}

impl Shared {
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancelled(&self) -> Option<String> {
        self.current().as_ref().and_then(|current| current.cancelled.clone())
    }

    fn hold(&self) -> Hold {
        self.current().as_ref().map_or(Hold::Free, |current| current.hold)
    }

    /// The job has said that it goes on.
    fn goes_on(&self) {
        if let Some(current) = self.current().as_mut().filter(|it| it.hold == Hold::GoingOn) {
            self.held.let_go();
            current.hold = Hold::Free;
        }
    }

    fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn begin(&self, job: &JobId) {
        let hold = self.held.of(job);
        *self.current() = Some(Current { cancelled: None, ending: false, hold, job: job.clone() });
    }

    /// Before the end of the job is said: from then on the next may come.
    fn ending(&self) {
        if let Some(current) = self.current().as_mut() {
            current.ending = true;
        }
    }

    /// What held the job ends with it. The next may have come meanwhile.
    fn end(&self, job: &JobId) {
        let mut current = self.current();
        if current.as_ref().is_none_or(|current| current.job == *job) {
            self.held.let_go();
            *current = None;
        }
    }
}

/// The door to the runner.
#[derive(Clone, Debug)]
pub struct Jobs {
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
}

/// The runner's end of the door.
#[derive(Debug)]
pub struct Inbox {
    orders: Receiver<Order>,
    shared: Arc<Shared>,
}

impl Jobs {
    /// A door and its other end. One order fits in between; a robot has one job at a time. That
    /// a job is held is kept in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> (Self, Inbox) {
        let (sender, orders) = sync_channel(1);
        let shared = Arc::new(Shared {
            current: Mutex::default(),
            held: Held::new(state_dir),
            leaving: AtomicBool::default(),
        });
        (Self { orders: sender, shared: Arc::clone(&shared) }, Inbox { orders, shared })
    }

    /// Whether a job could start now.
    ///
    /// # Errors
    /// The reason why not.
    pub fn can_start(&self, job: &JobId) -> Result<(), String> {
        match &*self.shared.current() {
            Some(current) if current.job == *job => Err(format!("job {job} is already under way")),
            Some(current) if !current.ending => Err(format!(
                "job {} is under way; a robot has one job at a time: cancel it or wait",
                current.job
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether there is such a job to cancel.
    ///
    /// # Errors
    /// The reason why not.
    pub fn can_cancel(&self, job: &JobId) -> Result<(), String> {
        match &*self.shared.current() {
            Some(current) if current.job == *job => Ok(()),
            _ => Err(format!("job {job} is not under way here")),
        }
    }

    /// Hands a job to the runner. The caller has asked [`Self::can_start`].
    pub fn start(&self, job: JobId, plan: Plan) {
        self.shared.begin(&job);
        if self.orders.try_send(Order { job: job.clone(), plan }).is_err() {
            // The runner is gone, which ends the agent.
            error!(%job, "the job runner takes no orders");
        }
    }

    /// Gives up a job: the skill ends, the robot comes to rest, and then the job is aborted.
    pub fn cancel(&self, job: &JobId, reason: &str) {
        if let Some(current) = self.shared.current().as_mut().filter(|c| c.job == *job) {
            current.cancelled = Some(reason.to_owned());
        }
    }

    /// Whether there is such a job that is held.
    ///
    /// # Errors
    /// The reason why not.
    pub fn can_resume(&self, job: &JobId) -> Result<(), String> {
        self.can_cancel(job)?;
        match self.shared.hold() {
            Hold::Held => Ok(()),
            Hold::Free | Hold::GoingOn => Err(format!("job {job} is not held")),
        }
    }

    /// Holds a job: the skill's wishes end, the robot comes to rest, and the job stays.
    pub fn pause(&self, job: &JobId, reason: &str) {
        if let Some(current) = self.shared.current().as_mut().filter(|c| c.job == *job) {
            self.shared.held.hold(job);
            current.hold = Hold::Held;
            warn!(%job, reason, "the job is held");
        }
    }

    /// Lets a job go on that is held; it says so itself.
    pub fn resume(&self, job: &JobId) {
        let mut current = self.shared.current();
        let held = |current: &&mut Current| current.job == *job && current.hold == Hold::Held;
        if let Some(current) = current.as_mut().filter(held) {
            self.shared.held.go_on(job);
            current.hold = Hold::GoingOn;
        }
    }

    /// Lets the runner's thread end; a job under way goes on after the next start.
    pub fn leave(&self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_has_one_job_at_a_time_and_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let (jobs, _inbox) = Jobs::new(dir.path());
        let (first, second) = (JobId::new("job-1").unwrap(), JobId::new("job-2").unwrap());
        assert!(jobs.can_start(&first).is_ok());
        jobs.start(first.clone(), Plan { steps: vec![] });
        assert!(jobs.can_start(&second).unwrap_err().contains("job-1 is under way"));
        assert!(jobs.can_cancel(&second).is_err());
        assert!(jobs.can_cancel(&first).is_ok());
    }

    #[test]
    fn whoever_hears_that_a_job_is_over_may_send_the_next_before_all_of_it_is_put_away() {
        let dir = tempfile::tempdir().unwrap();
        let (jobs, inbox) = Jobs::new(dir.path());
        let (first, second) = (JobId::new("job-1").unwrap(), JobId::new("job-2").unwrap());
        jobs.start(first.clone(), Plan { steps: vec![] });
        assert_eq!(inbox.orders.recv().unwrap().job, first);
        inbox.shared.ending();
        assert!(jobs.can_start(&first).unwrap_err().contains("already under way"));
        assert!(jobs.can_start(&second).is_ok());
        jobs.start(second.clone(), Plan { steps: vec![] });
        jobs.pause(&second, "a child is in the way");
        inbox.shared.end(&first);
        assert!(jobs.can_resume(&second).is_ok(), "it ended with the first");
        assert_eq!(inbox.orders.recv().unwrap().job, second);
        inbox.shared.end(&second);
        assert!(jobs.can_start(&first).is_ok());
    }

    #[test]
    fn a_held_job_is_held_after_a_restart_and_until_it_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let job = JobId::new("job-1").unwrap();
        let (jobs, inbox) = Jobs::new(dir.path());
        jobs.start(job.clone(), Plan { steps: vec![] });
        assert!(jobs.can_resume(&job).is_err() && inbox.shared.hold() == Hold::Free);
        jobs.pause(&job, "a child is in the way");
        assert_eq!(inbox.shared.hold(), Hold::Held);
        let (jobs, inbox) = Jobs::new(dir.path());
        inbox.shared.begin(&job);
        assert!(inbox.shared.hold() == Hold::Held && jobs.can_resume(&job).is_ok());
        inbox.shared.goes_on();
        assert_eq!(inbox.shared.hold(), Hold::Held, "nobody let it go");
        jobs.resume(&job);
        // Ended before it could say so, it says so after the next start.
        let (jobs, inbox) = Jobs::new(dir.path());
        inbox.shared.begin(&job);
        assert!(inbox.shared.hold() == Hold::GoingOn && jobs.can_resume(&job).is_err());
        inbox.shared.goes_on();
        assert_eq!(inbox.shared.hold(), Hold::Free);
        jobs.pause(&job, "again");
        inbox.shared.end(&job);
        inbox.shared.begin(&job);
        assert_eq!(inbox.shared.hold(), Hold::Free, "what holds a job ends with it");
    }
}
