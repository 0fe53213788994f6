//! Jobs: what the server states about them, and what robots' facts make of them.
//!
//! A job is its stream. Each fact that gets a place steps the state by the one table of
//! `nooterra_protocol::job`; the row in `jobs` is that fold, kept in the same transaction.

use crate::clock::Clock;
use crate::commands::{self, CommandError};
use crate::fold::{self, Created, FoldError, Reserved};
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
    #[error("skill {0} has no action `{1}`")]
    Action(String, String),
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
        place(tx, stream, &signed, false, self.now())?;
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
        let count: i64 = tx
            .prepare_cached(
                "UPDATE counters SET value = value + 1 WHERE name = 'actor_seq' RETURNING value",
            )?
            .query_row([], |row| row.get(0))?;
        let statement = Statement {
            actor: &self.actor,
            actor_seq: u64::try_from(count).map_err(|e| StoreError::damaged("a counter", e))?,
            at: self.clock.stamp(),
            job,
            journal: &self.journal,
            kind,
        };
        Ok(Fact::sign(&statement, payload, &self.key)?)
    }

    /// States `kind` in the job's stream and steps the job; refused where the table says so.
    fn advance<P: Serialize>(
        &self,
        tx: &Connection,
        job: &JobId,
        kind: EventType,
        payload: &P,
    ) -> Result<JobRow, JobError> {
        let mut row = load(tx, job)?;
        step(row.state, kind)?;
        let signed = self.state(tx, Some(job), kind, payload)?;
        let now = self.now();
        let head = place(tx, &stream_of(job)?, &signed, false, now)?;
        fold::next(&mut row, signed.body(), head, now)??;
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
        check_skills(tx, &plan)?;
        let id = new_id("job")?;
        let id = JobId::new(id).map_err(|e| StoreError::damaged("a job id", e))?;
        for Given { choice, step } in &given {
            registry::add_of_ring(tx, &id, step, &choice.skill.id)?;
        }
        let payload = Created { plan, requester: requester.clone(), robot: robot.clone() };
        let signed = self.state(tx, Some(&id), EventType::JobCreated, &payload)?;
        let now = self.now();
        let head = place(tx, &stream_of(&id)?, &signed, false, now)?;
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
        let JobRow { robot, plan, state, .. } = load(tx, job)?;
        // Before anything is stated: the reason is the robot's, not the job's.
        let ask = Ask::StartJob { job: job.clone(), plan: plan.clone() };
        standing::permit(tx, &robot, &ask)??;
        step(state, EventType::Matched)?;
        let (plan, given) = self.give(tx, job, &robot, &plan)?;
        check_skills(tx, &plan)?;
        let chosen = (!given.is_empty()).then(|| plan.clone());
        let matched = Matched { given, plan: chosen, robot: robot.clone() };
        let row = self.advance(tx, job, EventType::Matched, &matched)?;
        if matched.plan.is_some() {
            jobs::keep_plan(tx, &row)?;
        }
        for skill in plan.skills() {
            self.advance(tx, job, EventType::SkillLicensed, skill)?;
        }
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
        if before.command.is_some() {
            let ask = Ask::CancelJob { job: job.clone(), reason: reason.to_owned() };
            // A revoked robot is told nothing more; the job ends here all the same.
            if standing::permit(tx, &before.robot, &ask)?.is_ok() {
                commands::issue(tx, self, &before.robot, &ask, ttl, Some(job))?;
            }
        }
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
        #[derive(Serialize)]
        struct Rescheduled<'a> {
            command: &'a EnvelopeId,
            reason: &'a str,
        }
        let Some(row) = crate::store::commands::find(tx, robot, command)? else { return Ok(()) };
        let (Some(job), "refused") = (row.job, row.state.as_str()) else { return Ok(()) };
        let before = load(tx, &job)?;
        // Of another command to the same job, or of a start that is history by now.
        if before.state != JobState::Reserved || before.command.as_ref() != Some(command) {
            return Ok(());
        }
        let payload = Rescheduled { command, reason };
        self.advance(tx, &job, EventType::Rescheduled, &payload)?;
        Ok(())
    }
}

/// Takes a fact from a robot's journal. Every genuine one gets a place: in its job's stream,
/// marked late where the state could not take it, or in the robot's own stream. What is not
/// genuine is described in a line for the record that carries it.
pub(crate) fn take_from_robot(
    tx: &Connection,
    robot: &RobotId,
    bytes: &[u8],
    now: WallMillis,
) -> Result<Option<String>, StoreError> {
    let keys = robots::keys(tx, robot)?;
    let signed = match Signed::<Fact>::verify(bytes, |id| keys.iter().find(|k| k.key_id() == id)) {
        Ok(signed) => signed,
        Err(error) => return Ok(Some(format!("not taken as a fact: {error}"))),
    };
    let fact = signed.body();
    if let Err(error) = fact.check() {
        return Ok(Some(format!("not taken as a fact: {error}")));
    }
    if fact.actor.kind != ActorKind::Robot || fact.actor.id.as_str() != robot.as_str() {
        return Ok(Some("not taken as a fact: its actor is not the robot that signed".to_owned()));
    }
    if let Some(known) = signed_of(tx, &fact.id)? {
        let note = "not taken as a fact: another one has its id and place already";
        return Ok((known != bytes).then(|| note.to_owned()));
    }
    let job = fact.job.as_ref().map(|id| jobs::find(tx, id)).transpose()?.flatten();
    let Some(mut job) = job.filter(|job| job.robot == *robot) else {
        // Nothing here says what state it should meet: it is kept, and changes nothing.
        place(tx, &robot_stream(robot)?, &signed, false, now)?;
        return Ok(None);
    };
    let late = step(job.state, fact.kind).is_err();
    let head = place(tx, &stream_of(&job.id)?, &signed, late, now)?;
    let folded = fold::next(&mut job, fact, head, now);
    match folded.map_err(|e| StoreError::damaged("a job", e))? {
        Ok(()) => jobs::keep(tx, &job)?,
        Err(reason) => {
            tracing::info!(%robot, job = %job.id, %reason, "a late fact was kept and marked");
        }
    }
    Ok(None)
}

/// Gives a fact the next place of a stream; the stream's new head.
fn place(
    tx: &Connection,
    stream: &StreamId,
    signed: &Signed<Fact>,
    late: bool,
    now: WallMillis,
) -> Result<Digest, StoreError> {
    let Fact { id: event, kind, .. } = signed.body();
    let fact = NewFact { event, kind: *kind, late, signed: signed.bytes(), stream };
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

fn load(tx: &Connection, job: &JobId) -> Result<JobRow, JobError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Store;
    use nooterra_protocol::keys::Es256Key;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use serde_json::json;
    use std::collections::BTreeSet;

    /// What a model run does next. A robot's report may be sent again, and late.
    #[derive(Clone, Debug)]
    enum Act {
        Book,
        Cancel,
        Dispatch,
        Quote,
        Report(EventType),
        /// One of the earlier reports, once more.
        Repeat(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let report = proptest::sample::select(EventType::ALL.to_vec()).prop_map(Act::Report);
        let on_the_way = proptest::sample::select(vec![
            EventType::EnRoute,
            EventType::AccessGranted,
            EventType::ExecutionStarted,
            EventType::ExecutionCompleted,
            EventType::ExecutionAborted,
        ])
        .prop_map(Act::Report);
        let one = prop_oneof![
            2 => Just(Act::Quote), 2 => Just(Act::Book), 2 => Just(Act::Dispatch),
            1 => Just(Act::Cancel), 3 => report, 6 => on_the_way,
            2 => any::<usize>().prop_map(Act::Repeat),
        ];
        proptest::collection::vec(one, 1..40)
    }

    struct World {
        job: JobId,
        key: Es256Key,
        robot: RobotId,
        server: Server,
        store: Store,
        _dir: tempfile::TempDir,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let server = Server::new(
            ActorId::new("cloud").unwrap(),
            JournalId::new("cloud_1").unwrap(),
            Ed25519Key::from_seed([1; 32]),
            Arc::new(SystemClock::default()),
        );
        let key = Es256Key::from_seed([2; 32]).unwrap();
        let robot = RobotId::new("amr-1").unwrap();
        let manifest = serde_json::from_value(json!({
            "actions": ["patrol"], "capabilities": [], "component_sha256": Digest::of(b"c"),
            "developer": "d", "id": "patrol", "licence": "MIT", "memory_mib": 1, "name": "P",
            "period_ms": 100, "tier": "dev", "v": 1, "version": "1.0.0",
            "wit": nooterra_protocol::skill::WIT,
        }))
        .unwrap();
        let plan = serde_json::from_value(json!({ "steps": [{
            "action": "patrol", "id": "s1", "timeout_s": 60,
            "skill": { "bundle": Digest::of(b"b"), "id": "patrol", "version": "1.0.0" },
        }]}))
        .unwrap();
        let job = store.with(|tx| {
            let now = server.now();
            robots::enrol(tx, &robot, &key.verifying_key(), now).unwrap();
            skills::add(tx, &Digest::of(b"b"), &manifest, "", b"b", now).unwrap();
            server.create(tx, &robot, &plan, &ActorId::new("me").unwrap()).unwrap().id
        });
        World { job, key, robot, server, store, _dir: dir }
    }

    impl World {
        fn report(&self, kind: EventType, count: u64) -> Vec<u8> {
            let actor =
                Actor { id: ActorId::new(self.robot.as_str()).unwrap(), kind: ActorKind::Robot };
            let statement = Statement {
                actor: &actor,
                actor_seq: count,
                at: self.server.clock.stamp(),
                job: Some(&self.job),
                journal: &JournalId::new("journal-1").unwrap(),
                kind,
            };
            Fact::sign(&statement, &json!({}), &self.key).unwrap().bytes().to_vec()
        }
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_comes_in_whatever_order_the_state_is_the_fold_and_no_fact_is_lost(
            acts in acts(),
        ) {
            let world = world();
            let World { job, robot, server, store, .. } = &world;
            let stream = stream_of(job).unwrap();
            let mut reports: Vec<Vec<u8>> = Vec::new();
            let mut kept = BTreeSet::new();
            for act in acts {
                let before = store.with(|tx| load(tx, job).unwrap());
                let refused = match act {
                    Act::Quote => store.attempt(|tx| server.quote(tx, job, 1, "EUR")).err(),
                    Act::Book => store.attempt(|tx| server.book(tx, job)).err(),
                    Act::Dispatch => {
                        let ttl = Duration::from_secs(60);
                        store.attempt(|tx| server.dispatch(tx, job, ttl)).err()
                    }
                    Act::Cancel => {
                        let ttl = Duration::from_secs(60);
                        store.attempt(|tx| server.cancel(tx, job, "why", ttl)).err()
                    }
                    Act::Report(kind) => {
                        let bytes = world.report(kind, reports.len() as u64 + 1);
                        let now = server.now();
                        let note =
                            store.with(|tx| take_from_robot(tx, robot, &bytes, now)).unwrap();
                        let may = nooterra_protocol::job::signers(kind);
                        assert_eq!(note.is_none(), may.contains(&ActorKind::Robot), "{kind}");
                        if note.is_none() {
                            kept.insert(bytes.clone());
                        }
                        reports.push(bytes);
                        None
                    }
                    Act::Repeat(which) => {
                        if let Some(bytes) = reports.get(which % reports.len().max(1)) {
                            let now = server.now();
                            store.with(|tx| take_from_robot(tx, robot, bytes, now)).unwrap();
                            let after = store.with(|tx| load(tx, job).unwrap());
                            assert_eq!(after.state, before.state);
                        }
                        None
                    }
                };
                if let Some(error) = refused {
                    assert!(matches!(error, JobError::NotPossible(_)), "{error}");
                    let after = store.with(|tx| load(tx, job).unwrap());
                    assert_eq!((after.state, after.events), (before.state, before.events));
                }
            }
            let after = store.with(|tx| load(tx, job).unwrap());
            let key = server.public_key();
            let again = store.with(|tx| crate::replay::compare(tx, Some(&key)).unwrap().0);
            assert!(again.agrees() && again.jobs == 1, "{again:?}");
            let stored: BTreeSet<_> = store.with(|tx| {
                let facts = jobs::facts(tx, &stream, 0, 1000).unwrap();
                facts.into_iter().map(|row| row.signed).collect()
            });
            assert!(kept.is_subset(&stored));
            assert_eq!(stored.len() as u64, after.events);
        }
    }
}
