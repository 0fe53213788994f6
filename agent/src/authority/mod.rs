//! Who may ask this robot for what: an owner's rules, evaluated when something changes.
//!
//! Rules are written in Cedar ([`rules`], the kinds of things in `schema.cedarschema`, those of
//! this release in `default.cedar`), signed by the owner like the policy ([`signed`]), and asked
//! ([`judge`]) in two places only: when a signed command arrives, and when the [`Situation`]
//! changes: a session, a job, a mode, a veto. The second leaves [`Grants`], bits with an end,
//! which is all that a control loop ever looks at.
//!
//! # What it never does
//! It is never asked on the tick. It never answers a doubt with "yes": a rule that cannot be
//! evaluated, a question that makes no sense and grants that have ended all deny. It has no say
//! about an emergency stop, which needs nobody's leave, nor about how the robot then moves,
//! which is the safety envelope's.

pub mod judge;
pub mod place;
pub mod rules;
pub mod signed;
pub mod situation;

pub use judge::Denied;
pub use rules::{Rules, RulesError};
pub use situation::{About, Access, Decisions, Question, Situation, Skill, Who};

use nooterra_blackbox::MAX_STATE_BYTES;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::command::Ask;
use nooterra_protocol::grant::{Action, Asker, Grants, Sensor, SensorGrant};
use nooterra_protocol::ids::{ActorId, JobId, RobotId, ZoneId};
use nooterra_protocol::time::{MonoNanos, WallMillis};
use situation::MAX_JOBS;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Grants are evaluated again after this at the latest: rules may name times of day.
pub const HORIZON: Duration = Duration::from_secs(60);

/// How long data may be kept is asked for these spans, seconds: an hour, a day, a week, a month
/// of 30 days, a year. The longest that is permitted, with all shorter ones, is granted.
pub const KEEP_S: [u32; 5] = [3_600, 86_400, 604_800, 2_592_000, 31_536_000];

/// What people decided may take so much of the journal's state, bytes, with all that is known of
/// jobs. What is left of it is for a veto, a mode and a disconnection, which are always kept.
const MAX_DECIDED_BYTES: usize = MAX_STATE_BYTES - 2048;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Of this boot.
    pub mono: MonoNanos,
    /// To judge times of day by.
    pub wall: WallMillis,
}

/// The rules in force and the situation that they are asked about.
pub struct Authority {
    clock: Box<dyn Fn() -> Now + Send + Sync>,
    inner: Mutex<Inner>,
    keep: Box<dyn Fn(&Decisions) + Send + Sync>,
    listener: OnceLock<Listener>,
    robot: RobotId,
    rules: Rules,
}

/// Is told what is granted, and in which situation: whether a veto holds, whose limits do.
type Listener = Box<dyn Fn(&Grants, &Situation) + Send + Sync>;

struct Inner {
    grants: Grants,
    situation: Situation,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("robot", &self.robot).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority over a robot under `rules`.
    #[must_use]
    pub fn new(
        robot: RobotId,
        rules: Rules,
        situation: Situation,
        clock: Box<dyn Fn() -> Now + Send + Sync>,
    ) -> Self {
        let inner = Mutex::new(Inner { grants: Grants::NONE, situation });
        let (keep, listener) = (Box::new(|_: &Decisions| {}), OnceLock::new());
        let authority = Self { clock, inner, keep, listener, robot, rules };
        authority.change(|_| {});
        authority
    }

    /// The same, which hands over what people decided each time that it changes, before it
    /// takes effect. For [`Situation::after`] a restart.
    #[must_use]
    pub fn keeping(self, keep: Box<dyn Fn(&Decisions) + Send + Sync>) -> Self {
        Self { keep, ..self }
    }

    /// Whether an operator may ask this now. Asks the rules.
    ///
    /// # Errors
    /// [`Denied`], with the rule.
    pub fn judge_ask(&self, operator: &ActorId, ask: &Ask) -> Result<(), Denied> {
        let Some((action, about)) = about(ask) else { return Ok(()) };
        let mut situation = self.situation();
        if let Some(by) = situation.disconnected.clone().filter(|_| !reaches(action)) {
            return Err(Denied::Disconnected { by });
        }
        if matches!(ask, Ask::PlanAccess { .. } | Ask::ReviewJob { .. }) {
            room_for(&situation, |situation| note_ask(situation, operator, ask))?;
        }
        if let Ask::StartJob { job, plan } = ask
            && let Some(access) = situation.jobs.get_mut(job)
            && access.reviewed_plan != plan.digest().ok()
        {
            // Somebody approved another plan than this.
            access.reviewed_by.clear();
        }
        self.judge(Who::Operator(operator.clone()), action, about, &situation)
    }

    /// Carries out what an operator's ask says about the situation, once it was granted and
    /// recorded. True when a person took the robot's motion away by it: whoever calls ends the
    /// operators' leases, so that none goes on when the reason is gone.
    pub fn asked(&self, operator: &ActorId, ask: &Ask) -> bool {
        let says_more = !matches!(
            ask,
            Ask::CancelJob { .. }
                | Ask::Drive { .. }
                | Ask::DriveTo { .. }
                | Ask::EmergencyStop { .. }
                | Ask::PauseJob { .. }
                | Ask::ReleaseStop
                | Ask::ResumeJob { .. }
                | Ask::StartJob { .. }
        );
        if says_more || self.lock().situation.operator.as_ref() != Some(operator) {
            self.change(|situation| note_ask(situation, operator, ask));
        }
        matches!(ask, Ask::Disconnect { .. } | Ask::SetMode { .. } | Ask::Veto { .. })
    }

    /// Holds the robot's motion until the veto is lifted. Whoever calls stops the robot.
    ///
    /// # Errors
    /// [`Denied`], with the rule.
    pub fn veto(&self, operator: &ActorId) -> Result<(), Denied> {
        self.judge_operator(operator, Action::Veto, About::Robot)?;
        self.change(|situation| situation.vetoed = Some(operator.clone()));
        Ok(())
    }

    /// Takes back a veto; the robot does not move by this alone.
    ///
    /// # Errors
    /// [`Denied`], with the rule.
    pub fn lift_veto(&self, operator: &ActorId) -> Result<(), Denied> {
        self.judge_operator(operator, Action::LiftVeto, About::Robot)?;
        self.change(|situation| situation.vetoed = None);
        Ok(())
    }

    /// States that an operator reviewed a job.
    ///
    /// # Errors
    /// [`Denied`], with the rule.
    pub fn review(&self, operator: &ActorId, job: &JobId, plan: Digest) -> Result<(), Denied> {
        self.judge_operator(operator, Action::ReviewJob, About::Job(job.clone()))?;
        room_for(&self.situation(), |situation| note_review(situation, operator, job, plan))?;
        self.change(|situation| note_review(situation, operator, job, plan));
        Ok(())
    }

    /// Takes note of where the robot is. The rules are asked only when that has changed.
    pub fn stands_in(&self, zones: Option<BTreeSet<ZoneId>>) {
        if self.lock().situation.zones != zones {
            self.change(|situation| situation.zones = zones);
        }
    }

    /// A job is over: nothing of it has to be remembered.
    pub fn forget_job(&self, job: &JobId) {
        if self.lock().situation.jobs.contains_key(job) {
            self.change(|situation| drop(situation.jobs.remove(job)));
        }
    }

    /// A step of a job begins: whether its skill may drive. What it may see is in the grants.
    ///
    /// # Errors
    /// [`Denied`], with the rule; the situation has changed all the same.
    pub fn begin_step(&self, job: &JobId, skill: Skill, drives: bool) -> Result<(), Denied> {
        self.change(|situation| {
            situation.job = Some(job.clone());
            situation.skill = Some(skill);
        });
        if drives { self.skill_drives() } else { Ok(()) }
    }

    /// Whether the skill under way may still drive. As long as the grants say so, no rule is
    /// asked; once they do not, the rules are, and the answer names the one that denies.
    ///
    /// # Errors
    /// [`Denied`], with the rule.
    pub fn skill_drives(&self) -> Result<(), Denied> {
        if self.grants().allows(Asker::Skill, Action::Drive, (self.clock)().mono) {
            return Ok(());
        }
        self.change(|_| {});
        let situation = self.situation();
        let Some(skill) = situation.skill.clone() else {
            return Err(Denied::Question("no skill is under way".to_owned()));
        };
        self.judge(Who::Skill(skill), Action::Drive, About::Robot, &situation)
    }

    /// No step is under way any more.
    pub fn end_step(&self) {
        self.change(|situation| (situation.job, situation.skill) = (None, None));
    }

    /// Changes the situation and evaluates the rules for it.
    pub fn change(&self, change: impl FnOnce(&mut Situation)) {
        let mut inner = self.lock();
        let decided = inner.situation.decisions();
        change(&mut inner.situation);
        let now_decided = inner.situation.decisions();
        if now_decided != decided {
            (self.keep)(&now_decided);
        }
        inner.grants = self.settle(&inner.situation);
        self.tell(&inner);
    }

    /// Hands over what is granted now, and again each time that it changes: for a control loop,
    /// which never asks. Only the first listener is told.
    pub fn listen(&self, listener: impl Fn(&Grants, &Situation) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
        self.tell(&self.lock());
    }

    fn tell(&self, inner: &Inner) {
        if let Some(listener) = self.listener.get() {
            listener(&inner.grants, &inner.situation);
        }
    }

    /// Evaluates the rules again where their last answer ends soon. Called every few seconds
    /// from a thread that may wait.
    pub fn refresh(&self) {
        let soon = (self.clock)().mono.plus(HORIZON / 2);
        if self.grants().expires < soon {
            self.change(|_| {});
        }
    }

    /// What is granted; its end is in it.
    #[must_use]
    pub fn grants(&self) -> Grants {
        self.lock().grants
    }

    /// The situation as it is known here.
    #[must_use]
    pub fn situation(&self) -> Situation {
        self.lock().situation.clone()
    }

    /// The rules in force.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    fn judge_operator(
        &self,
        operator: &ActorId,
        action: Action,
        about: About,
    ) -> Result<(), Denied> {
        self.judge(Who::Operator(operator.clone()), action, about, &self.situation())
    }

    fn judge(
        &self,
        who: Who,
        action: Action,
        about: About,
        situation: &Situation,
    ) -> Result<(), Denied> {
        let question = Question { about, action, now: (self.clock)().wall, who };
        self.rules.judge(&question, situation, &self.robot).map(drop)
    }

    /// What is granted from now on, and until when it surely is: at [`HORIZON`], or where the
    /// answer first becomes less, to the millisecond where it does so once.
    fn settle(&self, situation: &Situation) -> Grants {
        let now = (self.clock)();
        let granted = self.granted(situation, now.wall);
        let holds = |at| self.granted(situation, at).covers(&granted);
        let (mut good, mut end) = (now.wall, now.wall.plus(HORIZON));
        if !holds(WallMillis(end.0 - 1)) {
            end = WallMillis(end.0 - 1);
            while end.millis_since(good) > 1 {
                let middle = WallMillis(good.0 + end.millis_since(good) / 2);
                if holds(middle) { good = middle } else { end = middle }
            }
        }
        let span = u64::try_from(end.millis_since(now.wall)).unwrap_or(0);
        let expires = now.mono.plus(Duration::from_millis(span));
        Grants { expires, expires_at: end, ..granted }
    }

    /// What the rules grant at a moment, without an end.
    fn granted(&self, situation: &Situation, now: WallMillis) -> Grants {
        let mut grants = Grants::NONE;
        let asks = |who: &Who, action, about| {
            let question = Question { about, action, now, who: who.clone() };
            self.rules.judge(&question, situation, &self.robot).is_ok()
        };
        if let Some(operator) = &situation.operator {
            let who = Who::Operator(operator.clone());
            for action in Action::ALL {
                let about = match action {
                    // Sensors' data goes to skills.
                    Action::ReadSensor | Action::RetainSensor => continue,
                    // Judged as it is asked, for the mode that it names.
                    Action::SetMode => continue,
                    // Of jobs, only the one under way is known; another is judged as it is asked.
                    Action::CancelJob
                    | Action::PlanAccess
                    | Action::ReviewJob
                    | Action::StartJob => match &situation.job {
                        Some(job) => About::Job(job.clone()),
                        None => continue,
                    },
                    Action::Disconnect
                    | Action::Drive
                    | Action::LiftVeto
                    | Action::MarkIncident
                    | Action::SetLimits
                    | Action::Reconnect
                    | Action::ReleaseStop
                    | Action::Veto => About::Robot,
                };
                let cut_off = situation.disconnected.is_some() && !reaches(action);
                if !cut_off && asks(&who, action, about) {
                    grants.bits |= Grants::bit(Asker::Operator, action);
                }
            }
        }
        if let Some(skill) = &situation.skill {
            let who = Who::Skill(skill.clone());
            if asks(&who, Action::Drive, About::Robot) {
                grants.bits |= Grants::bit(Asker::Skill, Action::Drive);
            }
            for (sensor, grant) in Sensor::ALL.into_iter().zip(&mut grants.sensors) {
                let read = asks(&who, Action::ReadSensor, About::Sensor(sensor));
                let keeps =
                    |keep_s: &&u32| asks(&who, Action::RetainSensor, About::Keep(sensor, **keep_s));
                // What may not be had is not kept either.
                let keep_s = KEEP_S.iter().take_while(|keep_s| read && keeps(keep_s)).last();
                *grant = SensorGrant { keep_s: keep_s.copied().unwrap_or(0), read };
            }
        }
        let any = |had: fn(&SensorGrant) -> bool| grants.sensors.iter().any(had);
        let (read, kept) = (any(|grant| grant.read), any(|grant| grant.keep_s > 0));
        for (granted, action) in [(read, Action::ReadSensor), (kept, Action::RetainSensor)] {
            if granted {
                grants.bits |= Grants::bit(Asker::Skill, action);
            }
        }
        grants
    }

    /// A holder that panicked left a situation and grants that belong to it or to the one
    /// before, which is no more than was granted then.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an ask asks for; `None` for a stop, which needs nobody's leave.
fn about(ask: &Ask) -> Option<(Action, About)> {
    match ask {
        Ask::CancelJob { job, .. } => Some((Action::CancelJob, About::Job(job.clone()))),
        Ask::Disconnect { .. } => Some((Action::Disconnect, About::Robot)),
        Ask::Drive { .. } | Ask::DriveTo { .. } => Some((Action::Drive, About::Robot)),
        Ask::EmergencyStop { .. } => None,
        Ask::LiftVeto => Some((Action::LiftVeto, About::Robot)),
        Ask::MarkIncident { .. } => Some((Action::MarkIncident, About::Robot)),
        // Who may end a job may hold it, and who may begin one may let it go on.
        Ask::PauseJob { job, .. } => Some((Action::CancelJob, About::Job(job.clone()))),
        Ask::PlanAccess { job, .. } => Some((Action::PlanAccess, About::Job(job.clone()))),
        Ask::Reconnect => Some((Action::Reconnect, About::Robot)),
        Ask::ReleaseStop => Some((Action::ReleaseStop, About::Robot)),
        Ask::ResumeJob { job } => Some((Action::StartJob, About::Job(job.clone()))),
        Ask::ReviewJob { job, .. } => Some((Action::ReviewJob, About::Job(job.clone()))),
        Ask::SetLimits { .. } => Some((Action::SetLimits, About::Robot)),
        Ask::SetMode { mode } => Some((Action::SetMode, About::Mode(*mode))),
        Ask::StartJob { job, .. } => Some((Action::StartJob, About::Job(job.clone()))),
        Ask::Veto { .. } => Some((Action::Veto, About::Robot)),
    }
}

/// What still reaches a robot that was cut off from those who ask from afar: what ends motion,
/// what ends the cut, and what only has more recorded.
const fn reaches(action: Action) -> bool {
    matches!(
        action,
        Action::CancelJob
            | Action::Disconnect
            | Action::MarkIncident
            | Action::Reconnect
            | Action::Veto
    )
}

/// What is to be remembered of jobs can be.
fn room_for(situation: &Situation, change: impl FnOnce(&mut Situation)) -> Result<(), Denied> {
    let mut then = situation.clone();
    change(&mut then);
    let more_jobs = then.jobs.len() > situation.jobs.len();
    let full = then.jobs.len() > MAX_JOBS && more_jobs;
    let bytes = |situation: &Situation| {
        codec::to_vec(&situation.decisions()).map_or(usize::MAX, |bytes| bytes.len())
    };
    let size = bytes(&then);
    if full || (size > MAX_DECIDED_BYTES && size > bytes(situation)) {
        let jobs = situation.jobs.len();
        let what = format!(
            "{jobs} jobs are remembered already, and there is no room for more; cancel or carry \
             out some"
        );
        return Err(Denied::Question(what));
    }
    Ok(())
}

/// What an ask says about the situation.
fn note_ask(situation: &mut Situation, operator: &ActorId, ask: &Ask) {
    situation.operator = Some(operator.clone());
    match ask {
        Ask::Disconnect { .. } => situation.disconnected = Some(operator.clone()),
        Ask::LiftVeto => situation.vetoed = None,
        Ask::PlanAccess { from, job, needs_review, privacy, to } => {
            let access = situation.jobs.entry(job.clone()).or_default();
            (access.from, access.to) = (*from, *to);
            access.needs_review = *needs_review;
            access.privacy.clone_from(privacy);
        }
        Ask::Reconnect => situation.disconnected = None,
        Ask::ReviewJob { job, plan } => note_review(situation, operator, job, *plan),
        Ask::SetLimits { mode } => situation.limits.clone_from(mode),
        Ask::SetMode { mode } => {
            (situation.mode, situation.mode_set_by) = (*mode, Some(operator.clone()));
        }
        Ask::Veto { .. } => situation.vetoed = Some(operator.clone()),
        Ask::CancelJob { .. }
        | Ask::Drive { .. }
        | Ask::DriveTo { .. }
        | Ask::EmergencyStop { .. }
        | Ask::MarkIncident { .. }
        | Ask::PauseJob { .. }
        | Ask::ReleaseStop
        | Ask::ResumeJob { .. }
        | Ask::StartJob { .. } => {}
    }
}

/// Reviews of another plan than this are void.
fn note_review(situation: &mut Situation, operator: &ActorId, job: &JobId, plan: Digest) {
    let access = situation.jobs.entry(job.clone()).or_default();
    if access.reviewed_plan != Some(plan) {
        access.reviewed_by.clear();
        access.reviewed_plan = Some(plan);
    }
    access.reviewed_by.insert(operator.clone());
}

#[cfg(test)]
mod tests;
