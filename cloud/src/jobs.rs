//! Jobs: what the server states about them, and what robots' facts make of them.
//!
//! A job is its stream. Each fact that gets a place steps the state by the one table of
//! `nooterra_protocol::job`; the row in `jobs` is that fold, kept in the same transaction.

use crate::access_plan::AccessError;
use crate::approval::{self, ApprovalError};
use crate::clock::Clock;
use crate::commands::{self, CommandError};
use crate::fold::{self, Created, FoldError, Reserved};
use crate::guard::Guard;
use crate::skill_registry::give::{self, Given, Withheld};
use crate::standing::{self, Barred};
use crate::store::jobs::{JobRow, NewFact, append, robot_stream, signed_of, stream_of};
use crate::store::{Connection, StoreError, jobs, registry, robots, skills};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::Ask;
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, JournalId, RobotId, StreamId};
use nooterra_protocol::job::{JobState, NotPossible, step};
use nooterra_protocol::keys::{Ed25519Key, Signer as _, VerifyingKey};
use nooterra_protocol::oversight::Rescheduled;
use nooterra_protocol::plan::{Plan, PlanError, SkillRef};
use nooterra_protocol::time::WallMillis;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Payload of `MATCHED`. What the robot's ring chose stands in it, with the reasons.
#[derive(Serialize)]
struct Matched {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    given: Vec<Given>,
    /// The plan with what was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    robot: RobotId,
}

/// Why a job does not move.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("skill {0} has no action `{1}`")]
    Action(String, String),
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error(transparent)]
    Barred(#[from] Barred),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("the fact cannot be signed: {0}")]
    Sign(#[from] SignedError),
    #[error("{0}")]
    Skill(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    #[error("robot {0} is not enrolled")]
    UnknownRobot(RobotId),
    #[error(transparent)]
    Withheld(Box<Withheld>),
}

impl From<Withheld> for JobError {
    fn from(withheld: Withheld) -> Self {
        Self::Withheld(Box::new(withheld))
    }
}

/// The server as an actor: its key signs commands and its own facts.
#[derive(Debug)]
pub(crate) struct Server {
    actor: Actor,
    clock: Arc<dyn Clock>,
    journal: JournalId,
    key: Ed25519Key,
}

impl Server {
    /// `journal` is one life of this data directory, as a robot's journal is of its own.
    pub(crate) const fn new(
        actor: ActorId,
        journal: JournalId,
        key: Ed25519Key,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { actor: Actor { id: actor, kind: ActorKind::Server }, clock, journal, key }
    }

    /// Who it is, on envelopes and facts.
    pub(crate) const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The key that robots learn at enrolment.
    pub(crate) fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// The key itself.
    pub(crate) const fn key(&self) -> &Ed25519Key {
        &self.key
    }

    pub(crate) fn now(&self) -> WallMillis {
        self.clock.wall()
    }

    /// States a fact in the stream of a robot.
    pub(crate) fn state_of_robot<P: Serialize>(
        &self,
        tx: &Connection,
        robot: &RobotId,
        kind: EventType,
        payload: &P,
    ) -> Result<(), JobError> {
        self.state_in(tx, &robot_stream(robot)?, kind, payload)
    }

    /// States a fact in a stream that is of no job.
    pub(crate) fn state_in<P: Serialize>(
        &self,
        tx: &Connection,
        stream: &StreamId,
        kind: EventType,
        payload: &P,
    ) -> Result<(), JobError> {
        let signed = self.state(tx, None, kind, payload)?;
        place(tx, stream, &signed, None, false, self.now())?;
        Ok(())
    }

    /// States a fact: the next of its own count, which is part of the transaction.
    fn state<P: Serialize>(
        &self,
        tx: &Connection,
        job: Option<&JobId>,
        kind: EventType,
        payload: &P,
    ) -> Result<Signed<Fact>, JobError> {
        self.state_for(tx, &self.actor, job, kind, payload)
    }

    /// As [`state`](Self::state), in the name of another actor, for whom the cloud's signature
    /// vouches. It counts for whom it states: they have no journal here.
    fn state_for<P: Serialize>(
        &self,
        tx: &Connection,
        actor: &Actor,
        job: Option<&JobId>,
        kind: EventType,
        payload: &P,
    ) -> Result<Signed<Fact>, JobError> {
        let count: i64 = tx
            .prepare_cached(
                "UPDATE counters SET value = value + 1 WHERE name = 'actor_seq' RETURNING value",
            )?
            .query_row([], |row| row.get(0))?;
        let statement = Statement {
            actor,
            actor_seq: u64::try_from(count).map_err(|e| StoreError::damaged("a counter", e))?,
            at: self.clock.stamp(),
            job,
            journal: &self.journal,
            kind,
        };
        Ok(Fact::sign(&statement, payload, &self.key)?)
    }

    /// States `kind` in the job's stream and steps the job; refused where the table says so.
    pub(crate) fn advance<P: Serialize>(
        &self,
        tx: &Connection,
        job: &JobId,
        kind: EventType,
        payload: &P,
    ) -> Result<JobRow, JobError> {
        self.advance_for(tx, &self.actor, job, kind, payload)
    }

    /// As [`advance`](Self::advance), in the name of another actor.
    pub(crate) fn advance_for<P: Serialize>(
        &self,
        tx: &Connection,
        actor: &Actor,
        job: &JobId,
        kind: EventType,
        payload: &P,
    ) -> Result<JobRow, JobError> {
        let mut row = load(tx, job)?;
        if Guard::Table.on() {
            step(row.state, kind)?;
        }
        let signed = self.state_for(tx, actor, Some(job), kind, payload)?;
        let now = self.now();
        let head = place(tx, &stream_of(job)?, &signed, None, false, now)?;
        let folded = fold::next(&mut row, signed.body(), head, now)?;
        if Guard::Table.on() {
            folded?;
        }
        jobs::keep(tx, &row)?;
        Ok(row)
    }

    /// `JOB_CREATED`, after the plan was checked against the published skills.
    pub(crate) fn create(
        &self,
        tx: &Connection,
        robot: &RobotId,
        plan: &Plan,
        requester: &ActorId,
    ) -> Result<JobRow, JobError> {
        plan.check()?;
        if robots::find(tx, robot)?.is_none() {
            return Err(JobError::UnknownRobot(robot.clone()));
        }
        let of_ring = |_: &_, skill: &_| give::is_of_ring(skill);
        let (plan, given) = give::chosen(tx, robot, plan, of_ring, self.now())?;
        if Guard::SkillsPublished.on() {
            check_skills(tx, &plan)?;
        }
        let id = new_id("job")?;
        let id = JobId::new(id).map_err(|e| StoreError::damaged("a job id", e))?;
        for Given { choice, step } in &given {
            registry::add_of_ring(tx, &id, step, &choice.skill.id)?;
        }
        let payload = Created { plan, requester: requester.clone(), robot: robot.clone() };
        let signed = self.state(tx, Some(&id), EventType::JobCreated, &payload)?;
        let now = self.now();
        let head = place(tx, &stream_of(&id)?, &signed, None, false, now)?;
        let row = fold::first(&id, signed.body(), head, now)?;
        jobs::add(tx, &row)?;
        Ok(row)
    }

    /// `QUOTE_PROPOSED`.
    pub(crate) fn quote(
        &self,
        tx: &Connection,
        job: &JobId,
        amount_minor: u64,
        currency: &str,
    ) -> Result<JobRow, JobError> {
        #[derive(Serialize)]
        struct Quote<'a> {
            amount_minor: u64,
            currency: &'a str,
        }
        self.advance(tx, job, EventType::QuoteProposed, &Quote { amount_minor, currency })
    }

    /// `BOOKED`.
    pub(crate) fn book(&self, tx: &Connection, job: &JobId) -> Result<JobRow, JobError> {
        self.advance(tx, job, EventType::Booked, &Nothing {})
    }

    /// `MATCHED`, a `SKILL_LICENSED` for each skill, `RESERVED`, and the envelope that starts
    /// the job at the robot: all of it or none.
    pub(crate) fn dispatch(
        &self,
        tx: &Connection,
        job: &JobId,
        ttl: Duration,
    ) -> Result<JobRow, JobError> {
        let row = load(tx, job)?;
        self.check_window(&row)?;
        self.check_approved(&row)?;
        let JobRow { care, robot, plan, state, .. } = row;
        // Before anything is stated: the reason is the robot's, not the job's.
        let ask = Ask::StartJob { job: job.clone(), plan: plan.clone() };
        standing::permit(tx, &robot, &ask)??;
        step(state, EventType::Matched)?;
        let (plan, given) = self.give(tx, job, &robot, &plan)?;
        check_skills(tx, &plan)?;
        approval::check_plan(&care, &plan)?;
        let chosen = (!given.is_empty()).then(|| plan.clone());
        let matched = Matched { given, plan: chosen, robot: robot.clone() };
        let row = self.advance(tx, job, EventType::Matched, &matched)?;
        if matched.plan.is_some() {
            jobs::keep_plan(tx, &row)?;
        }
        for skill in plan.skills() {
            self.advance(tx, job, EventType::SkillLicensed, skill)?;
        }
        // The window first: a robot that does not know it would begin outside of it.
        let known = load(tx, job)?;
        self.tell_window(tx, &known)?;
        self.tell_approvals(tx, &known)?;
        let ask = Ask::StartJob { job: job.clone(), plan: plan.clone() };
        let command = commands::issue(tx, self, &robot, &ask, ttl, Some(job))?;
        self.advance(tx, job, EventType::Reserved, &Reserved { command, robot })
    }

    /// `CANCELLED`; a robot that may have the job is told to give it up.
    pub(crate) fn cancel(
        &self,
        tx: &Connection,
        job: &JobId,
        reason: &str,
        ttl: Duration,
    ) -> Result<JobRow, JobError> {
        #[derive(Serialize)]
        struct Cancelled<'a> {
            reason: &'a str,
        }
        let before = load(tx, job)?;
        let after = self.advance(tx, job, EventType::Cancelled, &Cancelled { reason })?;
        self.recall(tx, &before, reason, ttl)?;
        Ok(after)
    }
}

impl Server {
    /// A robot refused the command that starts a job: `RESCHEDULED`, so that the job can be
    /// dispatched again or cancelled instead of waiting for a robot that will never begin.
    pub(crate) fn start_refused(
        &self,
        tx: &Connection,
        robot: &RobotId,
        command: &EnvelopeId,
        reason: &str,
    ) -> Result<(), JobError> {
        let Some(row) = crate::store::commands::find(tx, robot, command)? else { return Ok(()) };
        let (Some(job), "refused") = (row.job, row.state.as_str()) else { return Ok(()) };
        let before = load(tx, &job)?;
        // Of another command to the same job, or of a start that is history by now.
        let waits = before.state == JobState::Reserved && before.command.as_ref() == Some(command);
        if !waits && Guard::RefusalOfThisStart.on() {
            return Ok(());
        }
        let payload =
            Rescheduled { command: Some(command.clone()), reason: reason.to_owned(), robot: None };
        self.advance(tx, &job, EventType::Rescheduled, &payload)?;
        Ok(())
    }
}

/// Takes a fact from a robot's journal, from the record under that cursor. Every genuine one gets a place: in its job's stream,
/// marked late where the state could not take it, or in the robot's own stream. What is not
/// genuine is described in a line for the record that carries it.
pub(crate) fn take_from_robot(
    server: &Server,
    tx: &Connection,
    robot: &RobotId,
    (record, bytes): (i64, &[u8]),
    now: WallMillis,
) -> Result<Option<String>, StoreError> {
    let keys = robots::keys(tx, robot)?;
    #[cfg(test)]
    let keys = if Guard::Signature.on() { keys } else { robots::every_key(tx)? };
    let signed = match Signed::<Fact>::verify(bytes, |id| keys.iter().find(|k| k.key_id() == id)) {
        Ok(signed) => signed,
        Err(error) => return Ok(Some(format!("not taken as a fact: {error}"))),
    };
    let fact = signed.body();
    if let Err(error) = fact.check()
        && Guard::SignerPolicy.on()
    {
        return Ok(Some(format!("not taken as a fact: {error}")));
    }
    let own = fact.actor.kind == ActorKind::Robot && fact.actor.id.as_str() == robot.as_str();
    if !own && Guard::OwnName.on() {
        return Ok(Some("not taken as a fact: its actor is not the robot that signed".to_owned()));
    }
    if let Some(known) = signed_of(tx, &fact.id)?
        && Guard::OnePlace.on()
    {
        let note = "not taken as a fact: another one has its id and place already";
        return Ok((known != bytes).then(|| note.to_owned()));
    }
    let job = fact.job.as_ref().map(|id| jobs::find(tx, id)).transpose()?.flatten();
    let Some(mut job) = job.filter(|job| job.robot == *robot || !Guard::OwnJob.on()) else {
        // Nothing here says what state it should meet: it is kept, and changes nothing.
        place(tx, &robot_stream(robot)?, &signed, Some(record), false, now)?;
        return Ok(None);
    };
    let late = step(job.state, fact.kind).is_err() && Guard::LateMark.on();
    let head = place(tx, &stream_of(&job.id)?, &signed, Some(record), late, now)?;
    let heard = job.care.ends_silence(job.state, fact);
    let folded = fold::next(&mut job, fact, head, now);
    match folded.map_err(|e| StoreError::damaged("a job", e))? {
        Ok(()) if Guard::Shown.on() => jobs::keep(tx, &job)?,
        Ok(()) => {}
        Err(reason) => {
            tracing::info!(%robot, job = %job.id, %reason, "a late fact was kept and marked");
        }
    }
    if let Some(heartbeat) = heard {
        match server.heard_again(tx, &job.id, heartbeat) {
            Ok(()) => {}
            Err(JobError::Store(error)) => return Err(error),
            Err(error) => tracing::error!(%robot, job = %job.id, %error, "a job stays stalled"),
        }
    }
    Ok(None)
}

/// Gives a fact the next place of a stream; the stream's new head.
fn place(
    tx: &Connection,
    stream: &StreamId,
    signed: &Signed<Fact>,
    record: Option<i64>,
    late: bool,
    now: WallMillis,
) -> Result<Digest, StoreError> {
    let Fact { id: event, kind, .. } = signed.body();
    let fact = NewFact { event, kind: *kind, late, record, signed: signed.bytes(), stream };
    let place = append(tx, &fact, now)?;
    let place = place.ok_or_else(|| StoreError::damaged("an event", "it has a place already"))?;
    Ok(place.hash)
}

/// 16 random bytes as the text of an id.
pub(crate) fn new_id(prefix: &str) -> Result<String, getrandom::Error> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy)?;
    Ok(nooterra_protocol::ids::from_entropy(prefix, entropy))
}

pub(crate) fn load(tx: &Connection, job: &JobId) -> Result<JobRow, JobError> {
    jobs::find(tx, job)?.ok_or_else(|| JobError::UnknownJob(job.clone()))
}

fn check_skills(tx: &Connection, plan: &Plan) -> Result<(), JobError> {
    for plan_step in &plan.steps {
        let SkillRef { bundle, id, version } = &plan_step.skill;
        let Some(manifest) = skills::manifest(tx, bundle)? else {
            return Err(JobError::Skill(format!(
                "step {}: no skill with bundle {bundle} is published",
                plan_step.id
            )));
        };
        if manifest.id != *id || manifest.version != *version {
            return Err(JobError::Skill(format!(
                "step {}: bundle {bundle} is {} {}, the plan says {id} {version}",
                plan_step.id, manifest.id, manifest.version
            )));
        }
        if !manifest.actions.contains(&plan_step.action) {
            return Err(JobError::Action(id.to_string(), plan_step.action.clone()));
        }
    }
    Ok(())
}

/// The payload of a fact that says all by its type.
#[derive(Serialize)]
struct Nothing {}

/// Whether a job in this state can still be cancelled, for hints.
pub(crate) const fn next_call(state: JobState) -> &'static str {
    match state {
        JobState::Created => "quote",
        JobState::Quoted => "book",
        JobState::Booked => "dispatch",
        _ => "none: the robot moves it from here, or cancel ends it",
    }
}
