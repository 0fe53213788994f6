//! Carries out one job: its steps in order, each by one action of one skill.

use super::epochs::Epochs;
use super::facts::{Facts, FactsError};
use super::frames::Pictures;
use super::memory::{MAX_RESUMES, Memory, Progress};
use super::pace::Pace;
use super::proving::record_installed;
use super::shelf::Shelf;
use super::step::StepRun;
use super::suspended::Suspended;
use super::{Inbox, JOB_KEY, Jobs, Order};
use crate::authority::Authority;
use crate::control::{Desk, View, stands};
use crate::incident::Incidents;
use nooterra_blackbox::JournalHandle;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::IncidentCause;
use nooterra_protocol::event::{Aborted, Completed, EventType, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::skill::Capability;
use nooterra_skill_host::{Bundle, Host};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tracing::{error, info, warn};

/// A cancelled job is over once the robot has been at rest; no longer than this is waited.
const REST_WITHIN: Duration = Duration::from_secs(10);

/// While nothing is under way, steps of installs are looked for after so many waits of 100 ms.
const RECORD_EVERY: u32 = 50;

/// What the runner works with.
pub struct RunnerParts {
    /// Whether a skill may drive, and what it may see.
    pub authority: Arc<Authority>,
    /// `skills.cases_s` of the configuration.
    pub cases_time: Duration,
    /// Takes the skill's wishes.
    pub desk: Arc<Desk>,
    /// Signs what happened.
    pub facts: Facts,
    /// `skills.grant` of the configuration.
    pub grant: BTreeSet<Capability>,
    /// Runs skills.
    pub host: Arc<Host>,
    /// Takes what somebody will ask about.
    pub incidents: Incidents,
    /// `skills.input_kib_per_s` of the configuration.
    pub input_kib_per_s: u32,
    /// For entries that are no facts.
    pub journal: JournalHandle,
    /// Time.
    pub pace: Box<dyn Pace>,
    /// Takes and keeps pictures.
    pub pictures: Pictures,
    /// Hash of the policy in force.
    pub policy_hash: Digest,
    /// `skills.require_cases` of the configuration.
    pub require_cases: bool,
    /// Where bundles come from.
    pub shelf: Shelf,
    /// What the robot sees.
    pub view: Arc<View>,
}

impl std::fmt::Debug for RunnerParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerParts").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// One job at a time, on its own thread.
pub struct Runner {
    pub(super) inbox: Inbox,
    /// Why the file of the job under way cannot be read.
    lost: Option<String>,
    memory: Memory,
    /// Bundles whose own cases came out as they must, since this start.
    pub(super) passed: BTreeSet<Digest>,
    pub(super) parts: RunnerParts,
    pub(super) suspended: Suspended,
    unfinished: Option<Progress>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("memory", &self.memory).finish_non_exhaustive()
    }
}

/// Why a job does not go on.
pub(super) enum Halt {
    /// The agent ends; the job goes on after the next start.
    Leave,
    /// Aborted: the job is over, for this reason.
    Over(Why, String),
}

/// Who or what ends a job before its time.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// Somebody cancelled it.
    Cancelled,
    /// A skill crashed.
    Crashed,
    /// The robot gives it up.
    GivenUp,
}

impl Why {
    /// What somebody will ask about; nobody asks why a job ended that somebody cancelled.
    const fn incident(self) -> Option<IncidentCause> {
        match self {
            Self::Cancelled => None,
            Self::Crashed => Some(IncidentCause::SkillCrash),
            Self::GivenUp => Some(IncidentCause::JobAborted),
        }
    }
}

impl Halt {
    pub(super) const fn abort(reason: String) -> Self {
        Self::Over(Why::GivenUp, reason)
    }
}

impl From<FactsError> for Halt {
    /// A job whose facts cannot be recorded does not go on.
    fn from(error: FactsError) -> Self {
        Self::abort(error.to_string())
    }
}

impl Runner {
    /// A runner with the door to it. A job that was under way is taken up by [`Self::run`].
    #[must_use]
    pub fn new(state_dir: &Path, parts: RunnerParts) -> (Self, Jobs) {
        let (jobs, inbox) = Jobs::new(state_dir);
        let memory = Memory::new(state_dir);
        let (unfinished, lost) = match memory.load() {
            Ok(unfinished) => (unfinished, None),
            Err(why) => (None, Some(why)),
        };
        if let Some(progress) = &unfinished {
            inbox.shared.begin(&progress.job);
        }
        let suspended = Suspended::new(state_dir);
        let passed = BTreeSet::new();
        (Self { inbox, lost, memory, passed, parts, suspended, unfinished }, jobs)
    }

    /// Serves until [`Jobs::leave`].
    pub fn run(mut self) {
        self.record_installed();
        self.give_up_lost();
        if let Some(mut progress) = self.unfinished.take() {
            progress.resumes += 1;
            info!(job = %progress.job, step = progress.next_step, "taking up the job under way");
            self.carry_out(progress);
        }
        let mut idle = 0;
        while !self.inbox.shared.leaving() {
            match self.inbox.orders.recv_timeout(Duration::from_millis(100)) {
                Ok(Order { job, plan }) => {
                    let progress = Progress { job, next_step: 0, plan, resumes: 0, started: false };
                    self.carry_out(progress);
                }
                Err(RecvTimeoutError::Timeout) => {
                    idle += 1;
                    if idle % RECORD_EVERY == 0 {
                        self.record_installed();
                        self.parts.pictures.tidy();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, mut progress: Progress) {
        let job = progress.job.clone();
        self.parts.desk.set_job(Some(job.clone()));
        let interventions = self.parts.view.interventions();
        let epochs = Epochs::count(&self.parts.host);
        let outcome = self.steps(&mut progress);
        drop(epochs);
        self.parts.desk.set_skill(None);
        let over = match outcome {
            Ok(()) => {
                let completed = Completed {
                    interventions: self.parts.view.interventions() - interventions,
                    pose: self.pose(),
                    steps: u32::try_from(progress.plan.steps.len()).unwrap_or(u32::MAX),
                };
                info!(%job, "job completed");
                self.inbox.shared.ending();
                self.parts.facts.state(&job, EventType::ExecutionCompleted, &completed)
            }
            Err(Halt::Leave) => {
                info!(%job, "the job under way goes on after the next start");
                return;
            }
            Err(Halt::Over(why, reason)) => {
                let step = progress.plan.steps.get(progress.next_step as usize);
                let step = step.map(|step| step.id.clone());
                warn!(%job, reason, "job aborted");
                if let Some(cause) = why.incident() {
                    let (now, about) = (self.parts.pace.now(), (Some(job.clone()), step.clone()));
                    self.parts.incidents.report(now, cause, about, None);
                }
                self.rest();
                let aborted = Aborted { reason, step };
                self.inbox.shared.ending();
                self.parts.facts.state(&job, EventType::ExecutionAborted, &aborted)
            }
        };
        match over {
            Ok(()) => {
                // Before its file is gone: a file that is there then has its name, or none.
                // What is there is of the job before it where the end of that is not said.
                if self.lost.is_none() {
                    self.note_job(None);
                    self.memory.clear();
                }
                self.parts.authority.forget_job(&job);
            }
            Err(error) => {
                error!(%error, %job, "the end of the job is not recorded; it is taken up again after the next start")
            }
        }
        self.record_installed();
        if let Err(error) = self.parts.shelf.installed().tidy() {
            warn!(%error, "bundles that are needed no more stay on the disk");
        }
        self.parts.desk.set_job(None);
        self.inbox.shared.end(&job);
    }

    /// A job was under way, and its file cannot be read. It is over: an incident says so, and a fact
    /// where the journal still knows which job it was. The file is kept for inspection.
    /// Until that is said, no other job takes its place.
    fn give_up_lost(&mut self) {
        let Some(why) = self.lost.take() else { return };
        error!(why, "the file of the job under way cannot be read; the job is given up");
        let RunnerParts { facts, incidents, journal, pace, .. } = &mut self.parts;
        let known = journal.get_state(JOB_KEY).ok().flatten();
        let job = known.and_then(|bytes| JobId::new(str::from_utf8(&bytes).ok()?).ok());
        incidents.report(pace.now(), IncidentCause::JobAborted, (job.clone(), None), None);
        if let Some(job) = &job {
            let reason = format!("what the robot remembered of it cannot be read: {why}");
            let aborted = Aborted { reason, step: None };
            if let Err(error) = facts.state(job, EventType::ExecutionAborted, &aborted) {
                error!(%error, %job, "the end of the job is not recorded; the next order tries again");
                self.lost = Some(why);
                return;
            }
            self.parts.authority.forget_job(job);
        }
        self.note_job(None);
        self.memory.put_aside();
    }

    /// Keeps which job is under way where its file is not.
    fn note_job(&self, job: Option<&JobId>) {
        let bytes = job.map_or(&[][..], |job| job.as_str().as_bytes());
        if let Err(error) = self.parts.journal.put_state(JOB_KEY, bytes) {
            warn!(%error, "which job is under way is kept in its file alone");
        }
    }

    fn steps(&mut self, progress: &mut Progress) -> Result<(), Halt> {
        if progress.resumes > MAX_RESUMES {
            return Err(Halt::abort(format!(
                "the agent started anew {} times within this step",
                progress.resumes
            )));
        }
        self.give_up_lost();
        if self.lost.is_some() {
            return Err(Halt::abort("the end of the job before it cannot be recorded".to_owned()));
        }
        self.remember(progress)?;
        self.note_job(Some(&progress.job));
        if !progress.started {
            let under = UnderPolicy { policy_hash: self.parts.policy_hash, pose: self.pose() };
            for kind in [EventType::EnRoute, EventType::AccessGranted, EventType::ExecutionStarted]
            {
                self.parts.facts.state(&progress.job, kind, &under)?;
            }
            progress.started = true;
            self.remember(progress)?;
        }
        let bundles = self.bundles(&progress.plan)?;
        while let Some(step) = progress.plan.steps.get(progress.next_step as usize) {
            info!(job = %progress.job, step = %step.id, action = step.action, "step begins");
            let bundle = bundles
                .get(&step.skill.bundle)
                .ok_or_else(|| Halt::abort(format!("step {}: its bundle is missing", step.id)))?;
            let steps = progress.plan.steps.len();
            let ended =
                StepRun::new(self, &progress.job, step, (progress.next_step, steps)).run(bundle);
            self.parts.desk.set_skill(None);
            self.parts.authority.end_step();
            if !matches!(ended, Err(Halt::Leave)) {
                self.suspended.clear();
            }
            ended?;
            progress.next_step += 1;
            progress.resumes = 0;
            self.remember(progress)?;
        }
        Ok(())
    }

    /// All of the plan's bundles are here and good before the first step begins.
    fn bundles(&self, plan: &Plan) -> Result<BTreeMap<Digest, Bundle>, Halt> {
        let mut bundles = BTreeMap::new();
        for skill in plan.skills() {
            let bundle = self.parts.shelf.bundle(skill).map_err(|error| {
                // A bundle that was not fetched because the agent ends is fetched after its start.
                let leaves = self.inbox.shared.leaving();
                if leaves { Halt::Leave } else { Halt::abort(error.to_string()) }
            })?;
            let may_start = self.parts.shelf.installed().may_start(&bundle);
            may_start.map_err(|error| Halt::abort(error.to_string()))?;
            bundles.insert(skill.bundle, bundle);
        }
        Ok(bundles)
    }

    /// What became of skills' versions, in the journal: also what people did by the command line.
    fn record_installed(&self) {
        let RunnerParts { host, journal, shelf, .. } = &self.parts;
        record_installed(journal, shelf, host);
    }

    fn remember(&self, progress: &Progress) -> Result<(), Halt> {
        self.memory
            .store(progress)
            .map_err(|error| Halt::abort(format!("the job's progress cannot be stored: {error}")))
    }

    /// Waits until the robot stands.
    fn rest(&self) {
        let pace = self.parts.pace.as_ref();
        let give_up = pace.now().plus(REST_WITHIN);
        while pace.now() < give_up && !self.inbox.shared.leaving() {
            if self.parts.view.observation().is_none_or(|seen| stands(&seen)) {
                return;
            }
            pace.sleep(Duration::from_millis(50));
        }
    }

    fn pose(&self) -> Pose {
        self.parts.view.observation().map(|seen| seen.pose.value).unwrap_or_default()
    }
}
