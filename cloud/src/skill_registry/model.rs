//! Roll-outs against a model of a few lines: commands, reports of robots, time, labels, and
//! restarts, in any order.

use super::revoke::Running;
use super::rollout::{Gate, State, Step};
use super::steer::Wanted;
use super::{OF_RING, Ring, Selection};
use crate::access::Tenant;
use crate::clock::Clock;
use crate::ingest;
use crate::jobs::{JobError, Server};
use crate::skill_registry::give::{Withheld, choose};
use crate::skill_registry::reported;
use crate::store::{Store, jobs, registry, robots, rollouts, skills};
use nooterra_evidence::Record;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{Class, Entry, Incident, IncidentCause, SkillChecked};
use nooterra_protocol::event::{Aborted, Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::ids::{ActorId, JobId, JournalId, RobotId, SkillId, StepId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::keys::{Ed25519Key, Es256Key, Signer as _};
use nooterra_protocol::plan::Plan;
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use nooterra_protocol::uplink::Batch;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const ROBOTS: usize = 4;
const VERSIONS: usize = 4;
/// In their order; each takes the robots that have its name as a label.
const RINGS: [&str; 3] = ["canary", "early", "all"];
const SOAK_S: u32 = 5;
/// The ring of each robot at first.
const AT_FIRST: [usize; ROBOTS] = [0, 0, 1, 2];

/// What a run does next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Abort(usize),
    Begin(usize),
    Cancel(usize),
    Complete(usize),
    Crash(usize),
    Dispatch(usize),
    Label(usize, usize),
    RefuseBundle(usize, usize),
    Restart,
    Revoke(usize, bool),
    Start(usize, bool),
    Step(Step),
    Wait(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let n = any::<usize>;
    let steps = vec![Step::Advance, Step::Pause, Step::Resume, Step::Resume, Step::RollBack];
    let one = prop_oneof![
        20 => n().prop_map(Act::Dispatch),
        20 => n().prop_map(Act::Complete),
        3 => n().prop_map(Act::Begin),
        2 => n().prop_map(Act::Abort),
        1 => n().prop_map(Act::Crash),
        1 => n().prop_map(Act::Cancel),
        1 => (n(), n()).prop_map(|(robot, version)| Act::RefuseBundle(robot, version)),
        2 => (n(), n()).prop_map(|(robot, label)| Act::Label(robot, label)),
        6 => (n(), any::<bool>()).prop_map(|(version, strict)| Act::Start(version, strict)),
        3 => proptest::sample::select(steps).prop_map(Act::Step),
        1 => (n(), any::<bool>()).prop_map(|(version, cancel)| Act::Revoke(version, cancel)),
        5 => (0..4 * SOAK_S).prop_map(Act::Wait),
        2 => Just(Act::Restart),
    ];
    proptest::collection::vec(one, 1..120)
}

#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn mono(&self) -> MonoNanos {
        MonoNanos(0)
    }

    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Failed,
    Open,
    Succeeded,
    Withdrawn,
}

/// A job as the model has it: what it was given and what came of it.
#[derive(Clone, Debug)]
struct Job {
    epoch: u32,
    id: JobId,
    outcome: Outcome,
    ring: usize,
    robot: usize,
    /// Which roll-out gave it its version, if one did.
    rollout: Option<usize>,
    state: JobState,
    version: usize,
}

/// A roll-out as the model has it.
#[derive(Clone, Debug)]
struct Roll {
    epoch: u32,
    gate: Gate,
    opened_at: i64,
    stage: usize,
    state: State,
    version: usize,
}

#[derive(Default)]
struct Model {
    current: Option<usize>,
    jobs: Vec<Job>,
    labels: [usize; ROBOTS],
    now: i64,
    revoked: BTreeSet<usize>,
    rolls: Vec<Roll>,
}

impl Model {
    fn unfinished(&self) -> Option<usize> {
        self.rolls.len().checked_sub(1).filter(|last| !self.rolls[*last].state.is_over())
    }

    /// The ring of a robot; a label beyond the rings is of none.
    fn ring(&self, robot: usize) -> Option<usize> {
        Some(self.labels[robot]).filter(|label| *label < RINGS.len())
    }

    /// What a robot gets: the version, and the roll-out that brings it.
    fn gets(&self, robot: usize) -> Option<(usize, Option<usize>)> {
        let ring = self.ring(robot)?;
        let (version, roll) = match self.unfinished() {
            Some(at) if ring <= self.rolls[at].stage => (self.rolls[at].version, Some(at)),
            _ => (self.current?, None),
        };
        (!self.revoked.contains(&version)).then_some((version, roll))
    }

    fn step(&mut self, at: usize, step: Step) -> bool {
        let now = self.now;
        let roll = &mut self.rolls[at];
        match (step, roll.state) {
            (Step::Advance, State::Rolling) if roll.stage + 1 == RINGS.len() => {
                roll.state = State::Completed;
                self.current = Some(roll.version);
            }
            (Step::Advance, State::Rolling) => {
                roll.stage += 1;
                (roll.epoch, roll.opened_at) = (roll.epoch + 1, now);
            }
            (Step::Pause, State::Rolling) => roll.state = State::Paused,
            (Step::Resume, State::Paused) => {
                roll.state = State::Rolling;
                (roll.epoch, roll.opened_at) = (roll.epoch + 1, now);
            }
            (Step::RollBack, State::Rolling | State::Paused) => {
                roll.state = State::RolledBack;
                for job in &mut self.jobs {
                    if job.rollout == Some(at)
                        && job.outcome == Outcome::Open
                        && job.state == JobState::Reserved
                    {
                        job.state = JobState::Booked;
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// What the reports and the time ask for.
    fn review(&mut self) {
        while let Some(at) = self.unfinished() {
            let roll = &self.rolls[at];
            let heard = |outcome| {
                let of = move |job: &&Job| {
                    (job.rollout, job.outcome, job.epoch) == (Some(at), outcome, roll.epoch)
                };
                self.jobs.iter().filter(of)
            };
            let failed = u32::try_from(heard(Outcome::Failed).count()).unwrap();
            let good: Vec<_> =
                heard(Outcome::Succeeded).filter(|job| job.ring == roll.stage).collect();
            let robots: BTreeSet<_> = good.iter().map(|job| job.robot).collect();
            let soaked = self.now - roll.opened_at >= i64::from(roll.gate.soak_s) * 1000;
            let enough =
                good.len() >= roll.gate.jobs as usize && robots.len() >= roll.gate.robots as usize;
            let step = if failed >= roll.gate.roll_back_at {
                Step::RollBack
            } else if roll.state == State::Paused {
                return;
            } else if failed >= roll.gate.pause_at {
                Step::Pause
            } else if soaked && enough {
                Step::Advance
            } else {
                return;
            };
            assert!(self.step(at, step));
        }
    }

    fn judged(&mut self, job: usize, outcome: Outcome) {
        let Some(rollout) = self.jobs[job].rollout else { return };
        let epoch = self.rolls[rollout].epoch;
        let job = &mut self.jobs[job];
        (job.outcome, job.epoch) = (outcome, epoch);
    }

    /// Counts the jobs that are over.
    fn settle(&mut self) {
        for at in 0..self.jobs.len() {
            let job = &self.jobs[at];
            if job.outcome == Outcome::Open {
                match job.state {
                    JobState::Completed => self.judged(at, Outcome::Succeeded),
                    // Given up by the robot itself; what was called off is `Settled` here.
                    JobState::Aborted => self.judged(at, Outcome::Failed),
                    JobState::Booked | JobState::Settled => self.judged(at, Outcome::Withdrawn),
                    _ => {}
                }
            }
        }
        self.review();
    }
}

struct World {
    actor_seq: u64,
    clock: Arc<Hand>,
    dir: tempfile::TempDir,
    key: Es256Key,
    model: Model,
    seq: u64,
    server: Server,
    store: Store,
}

fn skill() -> SkillId {
    SkillId::new("patrol").unwrap()
}

fn bundle(version: usize) -> Digest {
    Digest::of(format!("version {version}").as_bytes())
}

fn robot(number: usize) -> RobotId {
    RobotId::new(format!("amr-{number}")).unwrap()
}

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("cloud.sqlite")
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&path(&dir)).unwrap();
        let clock = Arc::new(Hand::default());
        let server = Server::new(
            ActorId::new("cloud").unwrap(),
            JournalId::new("cloud_1").unwrap(),
            Ed25519Key::from_seed([1; 32]),
            clock.clone(),
        );
        let key = Es256Key::from_seed([2; 32]).unwrap();
        store.with(|tx| {
            let now = WallMillis(0);
            let ring = |name: &str| Ring {
                name: name.to_owned(),
                of: Selection { labels: [name.to_owned()].into(), ..Selection::default() },
                tier: Tier::Dev,
            };
            registry::set_rings(tx, &Tenant::default(), &RINGS.map(ring)).unwrap();
            for (number, ring) in AT_FIRST.into_iter().enumerate() {
                let robot = robot(number);
                robots::enrol(tx, &robot, &key.verifying_key(), now).unwrap();
                registry::set_labels(tx, &robot, &[RINGS[ring].to_owned()].into()).unwrap();
            }
            for version in 0..VERSIONS {
                let manifest = serde_json::from_value(json!({
                    "actions": ["patrol"], "capabilities": [],
                    "component_sha256": Digest::of(b"c"), "developer": "d", "id": "patrol",
                    "licence": "MIT", "memory_mib": 1, "name": "P", "period_ms": 100,
                    "tier": "dev", "v": 1, "version": format!("1.{version}.0"),
                    "wit": nooterra_protocol::skill::WIT,
                }))
                .unwrap();
                skills::add(tx, &bundle(version), &manifest, "", b"b", now).unwrap();
            }
        });
        let model = Model { labels: AT_FIRST, ..Model::default() };
        Self { actor_seq: 0, clock, dir, key, model, seq: 0, server, store }
    }

    /// Records of a robot, by the way that they always come.
    fn report(&mut self, of: usize, entries: &[Entry]) {
        let mut records = Vec::new();
        for entry in entries {
            self.seq += 1;
            let record =
                Record::of_entry(entry, Class::Critical, self.seq, 1, self.clock.stamp()).unwrap();
            records.push(Blob(record.encode().unwrap()));
        }
        let journal = JournalId::new(format!("journal-{of}")).unwrap();
        let batch = codec::to_vec(&Batch { journal, records, since: None }).unwrap();
        let checked = ingest::check(Class::Critical, &batch).unwrap();
        let (server, now) = (&self.server, self.clock.wall());
        self.store.with(|tx| ingest::keep(tx, server, &robot(of), &checked, now)).unwrap();
    }

    fn facts(&mut self, job: usize, kinds: &[EventType]) {
        let Job { id, robot: of, .. } = self.model.jobs[job].clone();
        let actor = Actor { id: ActorId::new(robot(of).as_str()).unwrap(), kind: ActorKind::Robot };
        let journal = JournalId::new(format!("journal-{of}")).unwrap();
        let mut entries = Vec::new();
        for kind in kinds {
            self.actor_seq += 1;
            let statement = Statement {
                actor: &actor,
                actor_seq: self.actor_seq,
                at: self.clock.stamp(),
                job: Some(&id),
                journal: &journal,
                kind: *kind,
            };
            let signed = match kind {
                EventType::ExecutionAborted => {
                    let aborted = Aborted { reason: "stuck".to_owned(), step: None };
                    Fact::sign(&statement, &aborted, &self.key)
                }
                _ => Fact::sign(&statement, &json!({}), &self.key),
            };
            entries.push(Entry::Fact(Blob(signed.unwrap().bytes().to_vec())));
        }
        self.report(of, &entries);
    }

    fn act(&mut self, act: &Act) {
        use EventType as E;
        let jobs = self.model.jobs.len();
        let begin = [E::EnRoute, E::AccessGranted, E::ExecutionStarted];
        // Mostly a job that is under way, for most reports are of one.
        let under_way = |at: &usize| {
            matches!(self.model.jobs[*at].state, JobState::Reserved | JobState::Executing)
        };
        let under_way: Vec<_> = (0..jobs).filter(under_way).collect();
        let of_job = |at: usize| match under_way.as_slice() {
            [] if jobs == 0 => None,
            some if !some.is_empty() && !at.is_multiple_of(4) => Some(some[at % some.len()]),
            _ => Some(at % jobs),
        };
        match *act {
            Act::Dispatch(of) => self.dispatch(of % ROBOTS),
            Act::Begin(at) => {
                let Some(at) = of_job(at) else { return };
                self.facts(at, &begin);
                let job = &mut self.model.jobs[at];
                if job.state == JobState::Reserved {
                    job.state = JobState::Executing;
                }
            }
            Act::Complete(at) | Act::Abort(at) => {
                let Some(at) = of_job(at) else { return };
                let complete = matches!(act, Act::Complete(_));
                let (last, to) = if complete {
                    (E::ExecutionCompleted, JobState::Completed)
                } else {
                    (E::ExecutionAborted, JobState::Aborted)
                };
                self.facts(at, &[begin.as_slice(), &[last]].concat());
                let job = &mut self.model.jobs[at];
                match job.state {
                    JobState::Reserved | JobState::Executing => job.state = to,
                    JobState::AbortingSafeExit if !complete => job.state = JobState::Settled,
                    _ => {}
                }
                self.model.settle();
            }
            Act::Cancel(at) => {
                let Some(at) = of_job(at) else { return };
                let (server, id) = (&self.server, self.model.jobs[at].id.clone());
                let ttl = Duration::from_secs(60);
                let done = self.store.attempt(|tx| server.cancel(tx, &id, "why", ttl));
                let job = &mut self.model.jobs[at];
                let before = job.state;
                match before {
                    JobState::Reserved | JobState::Booked => job.state = JobState::Settled,
                    JobState::Executing => job.state = JobState::AbortingSafeExit,
                    _ => {}
                }
                assert_eq!(done.is_ok(), job.state != before);
            }
            Act::Crash(at) => {
                let Some(at) = of_job(at) else { return };
                let Job { id, robot, outcome, .. } = self.model.jobs[at].clone();
                let crash = Incident {
                    cause: IncidentCause::SkillCrash,
                    command: None,
                    job: Some(id),
                    step: Some(StepId::new("s1").unwrap()),
                };
                self.report(robot, &[Entry::Incident(crash)]);
                if outcome != Outcome::Failed {
                    self.model.judged(at, Outcome::Failed);
                    self.model.review();
                }
            }
            Act::RefuseBundle(of, version) => {
                let (of, version) = (of % ROBOTS, version % VERSIONS);
                let refused = SkillChecked {
                    accepted: false,
                    bundle: bundle(version),
                    reason: "unknown key".to_owned(),
                    skill: None,
                };
                self.report(of, &[Entry::SkillChecked(refused)]);
                let open = |job: &Job| {
                    (job.robot, job.version, job.outcome) == (of, version, Outcome::Open)
                        && job.rollout.is_some()
                };
                let open: Vec<_> = (0..jobs).filter(|at| open(&self.model.jobs[*at])).collect();
                for at in open {
                    self.model.judged(at, Outcome::Failed);
                    self.model.review();
                }
            }
            Act::Label(of, label) => {
                let (of, label) = (of % ROBOTS, label % (RINGS.len() + 1));
                let names = RINGS.get(label).map(|name| (*name).to_owned()).into_iter().collect();
                self.store.with(|tx| registry::set_labels(tx, &robot(of), &names)).unwrap();
                self.model.labels[of] = label;
            }
            Act::Start(version, strict) => self.start(version % VERSIONS, strict),
            Act::Step(step) => {
                let at = self.model.rolls.len().checked_sub(1);
                let Some(at) = at else { return };
                let (server, store) = (&self.server, &self.store);
                let newest =
                    store.with(|tx| rollouts::newest(tx, None, i64::MAX, None, 1)).unwrap();
                let id = &newest[0].1.id;
                let done = store.attempt(|tx| server.command_rollout(tx, id, step, None, "why"));
                assert_eq!(done.is_ok(), self.model.step(at, step), "{done:?}");
            }
            Act::Revoke(version, cancel) => self.revoke(version % VERSIONS, cancel),
            Act::Wait(seconds) => {
                self.model.now += i64::from(seconds) * 1000;
                self.clock.0.store(self.model.now, Ordering::Relaxed);
            }
            Act::Restart => self.store = Store::open(&path(&self.dir)).unwrap(),
        }
    }

    fn dispatch(&mut self, of: usize) {
        let plan: Plan = serde_json::from_value(json!({ "steps": [{
            "action": "patrol", "id": "s1", "timeout_s": 60,
            "skill": { "bundle": Digest::ZERO, "id": "patrol", "version": OF_RING },
        }]}))
        .unwrap();
        let (server, who) = (&self.server, ActorId::new("me").unwrap());
        let made = self.store.attempt(|tx| {
            let job = server.create(tx, &robot(of), &plan, &who)?.id;
            server.quote(tx, &job, 1, "EUR")?;
            server.book(tx, &job)?;
            server.dispatch(tx, &job, Duration::from_secs(3600))
        });
        let expected = self.model.gets(of);
        match made {
            Ok(row) => {
                let (version, rollout) = expected.expect("a version where none is to be had");
                assert_eq!(row.plan.steps[0].skill.bundle, bundle(version));
                assert_eq!(row.plan.steps[0].skill.version, format!("1.{version}.0"));
                self.model.jobs.push(Job {
                    epoch: 0,
                    id: row.id,
                    outcome: Outcome::Open,
                    ring: self.model.ring(of).unwrap(),
                    robot: of,
                    rollout,
                    state: JobState::Reserved,
                    version,
                });
            }
            Err(error) => {
                assert_eq!(expected, None, "{error}");
                let JobError::Withheld(why) = error else { panic!("{error}") };
                let said = matches!(*why, Withheld::NoVersion { .. } | Withheld::Revoked { .. });
                assert!(said, "{why}");
            }
        }
    }

    fn start(&mut self, version: usize, strict: bool) {
        let (pause_at, roll_back_at) = if strict { (1, 2) } else { (2, 3) };
        let gate = Gate { jobs: 1, pause_at, robots: 1, roll_back_at, soak_s: SOAK_S };
        let wanted = Wanted {
            bundle: bundle(version),
            gate,
            gates: BTreeMap::new(),
            reason: "why".to_owned(),
            tenant: Tenant::default(),
        };
        let (server, model) = (&self.server, &mut self.model);
        let begun = self.store.attempt(|tx| server.start_rollout(tx, &wanted));
        let current = model.current.filter(|current| !model.revoked.contains(current));
        let may = model.unfinished().is_none()
            && !model.revoked.contains(&version)
            && current.is_none_or(|current| version > current);
        assert_eq!(begun.is_ok(), may, "{begun:?}");
        if may {
            let (epoch, opened_at, stage, state) = (0, model.now, 0, State::Rolling);
            model.rolls.push(Roll { epoch, gate, opened_at, stage, state, version });
        }
    }

    fn revoke(&mut self, version: usize, cancel: bool) {
        let running = if cancel { Running::Cancel } else { Running::Finish };
        let server = &self.server;
        let known = self.store.with(|tx| server.revoke_skill(tx, &bundle(version), "why", running));
        assert!(known.unwrap());
        if !self.model.revoked.insert(version) {
            return;
        }
        if let Some(at) = self.model.unfinished()
            && self.model.rolls[at].version == version
        {
            assert!(self.model.step(at, Step::RollBack));
        }
        for job in self.model.jobs.iter_mut().filter(|job| job.version == version) {
            match job.state {
                JobState::Reserved => job.state = JobState::Booked,
                JobState::Executing if cancel => job.state = JobState::AbortingSafeExit,
                _ => {}
            }
        }
    }

    fn check(&self) {
        let now = self.clock.wall();
        let model = &self.model;
        self.store.with(|tx| {
            // The roll-out stands as the model says.
            let newest = rollouts::newest(tx, None, i64::MAX, None, 1).unwrap();
            let found = newest.first().map(|(_, it)| (it.state, it.stage, it.epoch));
            let expected = model.rolls.last().map(|roll| (roll.state, roll.stage, roll.epoch));
            assert_eq!(found, expected);
            assert_eq!(
                registry::current(tx, &Tenant::default(), &skill()).unwrap(),
                model.current.map(bundle)
            );
            // Every robot gets what its ring has, and nothing else.
            for of in 0..ROBOTS {
                let chosen = choose(tx, &robot(of), &skill(), now).ok();
                let chosen = chosen.map(|choice| choice.skill.bundle);
                assert_eq!(chosen, model.gets(of).map(|(version, _)| bundle(version)));
            }
            // And they are named to whoever asks for a version, beside those that carry it out.
            for version in 0..VERSIONS {
                let of = bundle(version);
                let (has, _) = reported::robots_of(tx, None, &of, ("", ROBOTS), now).unwrap();
                let given = has.iter().filter_map(|it| Some((it.id.clone(), it.ring.clone()?)));
                let given: Vec<_> = given.collect();
                let gets = (0..ROBOTS)
                    .filter(|of| model.gets(*of).is_some_and(|(brought, _)| brought == version));
                let gets = gets.map(|of| (robot(of), RINGS[model.ring(of).unwrap()].to_owned()));
                assert_eq!(given, gets.collect::<Vec<_>>());
                let runs = model.jobs.iter().filter(|job| {
                    let under_way = matches!(job.state, JobState::Reserved | JobState::Executing);
                    under_way && job.version == version
                });
                let jobs: u32 = has.iter().map(|it| it.jobs).sum();
                assert_eq!(usize::try_from(jobs).unwrap(), runs.count());
            }
            // Every job stands as the model says, with what it was given.
            for job in &model.jobs {
                let row = jobs::find(tx, &job.id).unwrap().unwrap();
                let state = match job.state {
                    JobState::Settled => JobState::Aborted,
                    state => state,
                };
                assert_eq!(row.state, state, "{job:?}");
                assert_eq!(row.plan.steps[0].skill.bundle, bundle(job.version));
                let given = rollouts::of_job(tx, &job.id).unwrap();
                assert_eq!(given.len(), usize::from(job.rollout.is_some()));
                for given in given {
                    let outcome = match job.outcome {
                        Outcome::Failed => "failed",
                        Outcome::Open => "open",
                        Outcome::Succeeded => "succeeded",
                        Outcome::Withdrawn => "withdrawn",
                    };
                    assert_eq!((given.outcome.as_str(), &*given.ring), (outcome, RINGS[job.ring]));
                }
            }
            // No start waits that would bring a revoked version.
            for of in 0..ROBOTS {
                let waits =
                    crate::store::commands::unanswered(tx, &robot(of), 0, now, usize::MAX).unwrap();
                for command in waits {
                    let ask = danger_unverified::<RemoteCommand>(&command.signed).unwrap().body;
                    let Ask::StartJob { job, plan } = ask else { continue };
                    let job = jobs::find(tx, &job).unwrap().unwrap();
                    for version in &model.revoked {
                        let brings = plan.steps[0].skill.bundle == bundle(*version);
                        assert!(!brings || job.state != JobState::Reserved);
                    }
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_happens_a_robot_gets_what_its_ring_has_and_a_roll_out_stands_as_it_should(
        acts in acts(),
    ) {
        let mut world = World::new();
        for act in acts {
            let before = world.model.rolls.last().cloned();
            let resumed = matches!(act, Act::Step(_));
            world.act(&act);
            let server = &world.server;
            world.store.with(|tx| server.tend_rollouts(tx, None)).unwrap();
            world.model.settle();
            world.check();
            // By itself a paused roll-out goes nowhere but back.
            if let (Some(before), false) = (before, resumed)
                && before.state == State::Paused
                && !matches!(act, Act::Start(..))
            {
                let after = world.model.rolls.last().unwrap();
                assert!(matches!(after.state, State::Paused | State::RolledBack));
                assert_eq!(after.stage, before.stage);
            }
        }
        let key = world.server.public_key();
        let again = world.store.with(|tx| crate::replay::compare(tx, Some(&key)).unwrap().0);
        assert!(again.agrees(), "{again:?}");
    }
}
