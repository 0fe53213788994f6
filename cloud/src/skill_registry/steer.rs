//! What moves a roll-out: commands, reports of robots, and time. Each step is a fact in the
//! stream of the roll-out, in the transaction that makes it.

use super::rollout::{Gate, Refused, Rollout, Stage, State, Step, Tally};
use super::{Ring, Version, tier_name};
use crate::access::Tenant;
use crate::jobs::{JobError, Server, new_id};
use crate::store::rollouts::GivenRow;
use crate::store::{Connection, StoreError, jobs, registry, rollouts};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::event::{Aborted, EventType};
use nooterra_protocol::ids::{JobId, RobotId, SkillId, StepId, StreamId};
use nooterra_protocol::job::JobState;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Why a roll-out does not begin, or does not move.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RolloutError {
    #[error("the gate of ring `{ring}`: {why}")]
    Gate { ring: String, why: String },
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("there are no rings")]
    NoRings,
    #[error("skill {skill} {version} is not newer than {current}, which all rings have")]
    NotNewer { current: String, skill: SkillId, version: String },
    #[error("no version of a skill with bundle {0} is published")]
    NotPublished(Digest),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("skill {skill} {version} was revoked: {reason}")]
    Revoked { reason: String, skill: SkillId, version: String },
    #[error("ring `{ring}` takes skills from tier {least} on, this one counts as {found}")]
    Tier { found: &'static str, least: &'static str, ring: String },
    #[error("skill {skill} has a roll-out under way: {id}")]
    UnderWay { id: String, skill: SkillId },
    #[error("the last open ring is `{open}`, not `{named}`")]
    Passed { named: String, open: String },
    #[error("there is no roll-out {0}")]
    Unknown(String),
    #[error("a gate is for ring `{0}`, which there is not")]
    UnknownRing(String),
}

impl From<StoreError> for RolloutError {
    fn from(error: StoreError) -> Self {
        Self::Job(error.into())
    }
}

/// A roll-out to be begun.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) bundle: Digest,
    /// For rings that have none of their own.
    pub(crate) gate: Gate,
    /// By ring.
    pub(crate) gates: BTreeMap<String, Gate>,
    pub(crate) reason: String,
    /// For whose robots.
    pub(crate) tenant: Tenant,
}

/// Payload of every fact about a roll-out.
#[derive(Serialize)]
struct Moved<'a> {
    bundle: &'a Digest,
    epoch: u32,
    heard: &'a Tally,
    reason: &'a str,
    ring: &'a str,
    skill: &'a SkillId,
    state: State,
}

impl Server {
    /// Begins a roll-out: its first ring is open from here on.
    pub(crate) fn start_rollout(
        &self,
        tx: &Connection,
        wanted: &Wanted,
    ) -> Result<Rollout, RolloutError> {
        let Wanted { bundle, gate, gates, reason, tenant } = wanted;
        let version = Version::find(tx, Some(tenant), bundle)?;
        let version = version.ok_or(RolloutError::NotPublished(*bundle))?;
        let skill = version.manifest.id.clone();
        let rings = registry::rings(tx, tenant)?;
        self.check_start(tx, tenant, &version, &rings)?;
        if let Some(ring) = gates.keys().find(|name| rings.iter().all(|it| it.name != **name)) {
            return Err(RolloutError::UnknownRing(ring.clone()));
        }
        let stages: Vec<_> = rings
            .into_iter()
            .map(|ring| {
                let gate = *gates.get(&ring.name).unwrap_or(gate);
                Stage { gate, ring: ring.name }
            })
            .collect();
        for Stage { gate, ring } in &stages {
            if let Some(why) = gate.fault() {
                return Err(RolloutError::Gate { ring: ring.clone(), why });
            }
        }
        let now = self.now();
        let it = Rollout {
            baseline: registry::current(tx, tenant, &skill)?,
            created_at: now,
            epoch: 0,
            id: new_id("rollout").map_err(JobError::from)?,
            opened_at: now,
            reason: reason.clone(),
            skill,
            stage: 0,
            stages,
            state: State::Rolling,
            target: *bundle,
            tenant: tenant.clone(),
            updated_at: now,
        };
        rollouts::add(tx, &it)?;
        self.note(tx, &it, EventType::RolloutStarted)?;
        Ok(it)
    }

    fn check_start(
        &self,
        tx: &Connection,
        tenant: &Tenant,
        version: &Version,
        rings: &[Ring],
    ) -> Result<(), RolloutError> {
        let (skill, number) = (&version.manifest.id, &version.manifest.version);
        if let Some(revoked) = &version.revoked {
            return Err(RolloutError::Revoked {
                reason: revoked.reason.clone(),
                skill: skill.clone(),
                version: number.clone(),
            });
        }
        if rings.is_empty() {
            return Err(RolloutError::NoRings);
        }
        if let Some(it) = rollouts::unfinished(tx, tenant, skill)? {
            return Err(RolloutError::UnderWay { id: it.id, skill: skill.clone() });
        }
        let found = version.tier(self.now());
        if let Some(ring) = rings.iter().find(|ring| ring.tier > found) {
            return Err(RolloutError::Tier {
                found: tier_name(found),
                least: tier_name(ring.tier),
                ring: ring.name.clone(),
            });
        }
        let current = match registry::current(tx, tenant, skill)? {
            Some(digest) => Version::find(tx, Some(tenant), &digest)?,
            None => None,
        };
        // A revoked version is no measure: what stood before it may be needed again.
        if let Some(current) = current.filter(|current| current.revoked.is_none()) {
            let current = current.manifest.version;
            let parsed = |text: &str| semver::Version::parse(text).ok();
            if parsed(number) <= parsed(&current) {
                let (skill, version) = (skill.clone(), number.clone());
                return Err(RolloutError::NotNewer { current, skill, version });
            }
        }
        Ok(())
    }

    /// Moves a roll-out by command. Whoever has the next ring opened says past which one
    /// (`past`): it may have been opened a moment ago, and that after it is not meant.
    pub(crate) fn command_rollout(
        &self,
        tx: &Connection,
        id: &str,
        step: Step,
        past: Option<&str>,
        reason: &str,
    ) -> Result<Rollout, RolloutError> {
        let it = rollouts::find(tx, id)?.ok_or_else(|| RolloutError::Unknown(id.to_owned()))?;
        let open = it.watched().map_or("", |stage| stage.ring.as_str());
        if let Some(named) = past.filter(|named| *named != open) {
            let (named, open) = (named.to_owned(), open.to_owned());
            return Err(RolloutError::Passed { named, open });
        }
        self.try_step(tx, it, step, reason)
    }

    /// Takes a step that the state takes.
    pub(super) fn step_rollout(
        &self,
        tx: &Connection,
        it: Rollout,
        step: Step,
        reason: &str,
    ) -> Result<Rollout, JobError> {
        match self.try_step(tx, it, step, reason) {
            Ok(it) => Ok(it),
            Err(RolloutError::Job(error)) => Err(error),
            Err(error) => Err(StoreError::damaged("a roll-out", error).into()),
        }
    }

    fn try_step(
        &self,
        tx: &Connection,
        mut it: Rollout,
        step: Step,
        reason: &str,
    ) -> Result<Rollout, RolloutError> {
        let heard = rollouts::tally(tx, &it)?;
        let event = it.take(step, reason, self.now())?;
        rollouts::keep(tx, &it)?;
        self.note_with(tx, &it, event, &heard)?;
        match it.state {
            State::Completed => {
                registry::set_current(tx, &it, it.updated_at)?;
            }
            State::RolledBack => {
                // What runs goes on; what was not answered yet is given anew.
                let why = format!("roll-out {} was rolled back: {reason}", it.id);
                for given in rollouts::open(tx, None)? {
                    if given.rollout != it.id {
                        continue;
                    }
                    if let Some(job) = jobs::find(tx, &given.job)?
                        && job.state == JobState::Reserved
                    {
                        self.take_back(tx, &job, false, &why)?;
                    }
                }
            }
            State::Paused | State::Rolling => {}
        }
        tracing::warn!(rollout = %it.id, skill = %it.skill, state = %it.state, reason, "a roll-out moves");
        Ok(it)
    }

    fn note(&self, tx: &Connection, it: &Rollout, event: EventType) -> Result<(), JobError> {
        self.note_with(tx, it, event, &Tally::default())
    }

    fn note_with(
        &self,
        tx: &Connection,
        it: &Rollout,
        event: EventType,
        heard: &Tally,
    ) -> Result<(), JobError> {
        let moved = Moved {
            bundle: &it.target,
            epoch: it.epoch,
            heard,
            reason: &it.reason,
            ring: it.watched().map_or("", |stage| stage.ring.as_str()),
            skill: &it.skill,
            state: it.state,
        };
        self.state_in(tx, &stream_of(&it.id)?, event, &moved)
    }

    /// Does what the reports and the time ask for, as far as they go.
    pub(super) fn review(&self, tx: &Connection, id: &str) -> Result<(), JobError> {
        // Each step opens a ring or ends it, so there is an end.
        while let Some(it) = rollouts::find(tx, id)? {
            let heard = rollouts::tally(tx, &it)?;
            let Some((step, why)) = it.judge(&heard, self.now()) else { break };
            self.step_rollout(tx, it, step, &why)?;
        }
        Ok(())
    }

    /// After a robot's report, or as time goes by for all (`None`): counts the jobs that are
    /// over, and moves roll-outs accordingly.
    pub(crate) fn tend_rollouts(
        &self,
        tx: &Connection,
        robot: Option<&RobotId>,
    ) -> Result<(), JobError> {
        let mut touched = BTreeSet::new();
        for given in rollouts::open(tx, robot)? {
            if let Some((outcome, reason)) = outcome(tx, &given)? {
                self.judge_given(tx, &given, outcome, reason.as_deref())?;
                touched.insert(given.rollout);
            }
        }
        if robot.is_none() {
            touched.extend(rollouts::all_unfinished(tx)?.into_iter().map(|it| it.id));
        }
        touched.iter().try_for_each(|id| self.review(tx, id))
    }

    /// A skill crashed in a job: that job has failed for the roll-out of the skill, however it
    /// goes on.
    pub(crate) fn skill_crashed(
        &self,
        tx: &Connection,
        robot: &RobotId,
        job: &JobId,
        step: Option<&StepId>,
    ) -> Result<(), JobError> {
        for given in rollouts::of_job(tx, job)? {
            if given.robot == *robot && blames(tx, &given, step)? {
                self.fail(tx, &given, "the skill crashed")?;
            }
        }
        Ok(())
    }

    /// A robot does not take a bundle: the jobs for which it was given that have failed.
    pub(crate) fn bundle_refused(
        &self,
        tx: &Connection,
        robot: &RobotId,
        bundle: &Digest,
        reason: &str,
    ) -> Result<(), JobError> {
        for given in rollouts::open(tx, Some(robot))? {
            let of = rollouts::find(tx, &given.rollout)?;
            if of.is_some_and(|it| it.target == *bundle) {
                self.fail(tx, &given, &format!("the robot refused the bundle: {reason}"))?;
            }
        }
        Ok(())
    }

    fn fail(&self, tx: &Connection, given: &GivenRow, reason: &str) -> Result<(), JobError> {
        if given.outcome == "failed" {
            return Ok(());
        }
        self.judge_given(tx, given, "failed", Some(reason))?;
        self.review(tx, &given.rollout)
    }

    fn judge_given(
        &self,
        tx: &Connection,
        given: &GivenRow,
        outcome: &str,
        reason: Option<&str>,
    ) -> Result<(), JobError> {
        let epoch = rollouts::find(tx, &given.rollout)?.map_or(0, |it| it.epoch);
        Ok(rollouts::judge(tx, given, outcome, reason, epoch, self.now())?)
    }
}

/// The stream of a roll-out.
pub(crate) fn stream_of(id: &str) -> Result<StreamId, StoreError> {
    StreamId::new(format!("rollout.{id}")).map_err(|e| StoreError::damaged("a roll-out's id", e))
}

/// What came of a job for the roll-out that gave it a version; nothing while it is under way.
fn outcome(
    tx: &Connection,
    given: &GivenRow,
) -> Result<Option<(&'static str, Option<String>)>, StoreError> {
    let withdrawn = |why: &str| Ok(Some(("withdrawn", Some(why.to_owned()))));
    let Some(job) = jobs::find(tx, &given.job)? else { return withdrawn("there is no such job") };
    if matches!(job.state, JobState::Created | JobState::Quoted | JobState::Booked) {
        return withdrawn("the robot did not begin it");
    }
    if !job.state.is_over() {
        return Ok(None);
    }
    let stream = jobs::stream_of(&given.job)?;
    let in_time = |kind| jobs::last_in_time(tx, &stream, kind);
    if in_time(EventType::ExecutionCompleted)?.is_some() {
        return Ok(Some(("succeeded", None)));
    }
    // An approval may have ended and been granted anew before; what is gone at the end ended it.
    if job.care.lacks_approval() {
        return withdrawn("it was called off");
    }
    for kind in [EventType::Cancelled, EventType::AccessRevoked, EventType::AccessExpired] {
        if in_time(kind)?.is_some() {
            return withdrawn("it was called off");
        }
    }
    let aborted = in_time(EventType::ExecutionAborted)?
        .map(|signed| crate::api::unverified(&signed))
        .transpose()?
        .and_then(|(_, fact)| codec::from_value::<Aborted>(fact.payload).ok());
    let (reason, step) = match aborted {
        Some(Aborted { reason, step }) => (reason, step),
        // Of a later release: it was given up all the same.
        None => ("the robot gave it up".to_owned(), None),
    };
    if blames(tx, given, step.as_ref())? {
        Ok(Some(("failed", Some(reason))))
    } else {
        withdrawn("another skill of the plan ended it")
    }
}

/// Whether what went wrong in a step, or in none that is named, is of the version given.
fn blames(tx: &Connection, given: &GivenRow, step: Option<&StepId>) -> Result<bool, StoreError> {
    let Some(step) = step else { return Ok(true) };
    let Some(job) = jobs::find(tx, &given.job)? else { return Ok(true) };
    let Some(of) = rollouts::find(tx, &given.rollout)? else { return Ok(true) };
    let named = job.plan.steps.iter().find(|it| it.id == *step);
    Ok(named.is_none_or(|it| it.skill.bundle == of.target))
}
