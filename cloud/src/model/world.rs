//! What is: the cloud's own functions over a database in memory, robots that write journals, and
//! a clock that moves when it is told. Each step is done here and in [`Spec`], and compared.

use super::act::{Act, Forgery};
use super::spec::{
    Beat, CALLED_AFTER_MS, Fate, Placed, Refusal, STALLED_AFTER_MS, Said, Spec, TTL_MS, Trust, Word,
};
use crate::clock::Clock;
use crate::commands::CommandError;
use crate::ingest;
use crate::jobs::{JobError, Server};
use crate::replay;
use crate::standing::{Admission, Standing};
use crate::store::{Connection, StoreError, in_memory, jobs, robots, skills, standings};
use crate::watch::{self, Attention};
use nooterra_evidence::Record;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::access::{AccessMethod, AccessPlan, AccessScope};
use nooterra_protocol::approval::ApprovalGranted;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::RemoteCommand;
use nooterra_protocol::entry::{Class, CommandReceived, CommandRefused, Entry};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, JournalId, RobotId, StreamId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::oversight::StallCause;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::private::{PrivateError, SALT_BYTES, Salts};
use nooterra_protocol::time::{MonoNanos, WallMillis};
use nooterra_protocol::uplink::Batch;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Robots of a run.
const ROBOTS: usize = 3;

/// Jobs of a run at the most; more of them make each rarer.
const JOBS: usize = 6;

/// When a run begins, milliseconds since 1970.
const BEGIN: i64 = 1_795_000_000_000;

/// A clock that stands until it is moved.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn mono(&self) -> MonoNanos {
        let since = self.wall().millis_since(WallMillis(BEGIN));
        MonoNanos::default().plus(Duration::from_millis(u64::try_from(since).unwrap_or(0)))
    }

    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed))
    }
}

/// One life of a robot's journal.
struct Life {
    actor_seq: u64,
    journal: JournalId,
    key: Ed25519Key,
    records: Vec<Written>,
}

/// A record, and what it means.
struct Written {
    arrived: bool,
    bytes: Blob,
    /// The signed fact in it, where it is one.
    fact: Option<Blob>,
    word: Word,
}

struct Machine {
    id: RobotId,
    lives: Vec<Life>,
}

/// The cloud, its robots, and what should be.
pub(super) struct World {
    clock: Arc<Hand>,
    commands: Vec<(EnvelopeId, Digest, Vec<u8>)>,
    connection: Connection,
    jobs: Vec<JobId>,
    machines: Vec<Machine>,
    plans: [Plan; 2],
    server: Server,
    spec: Spec,
}

/// Whatever does not fit, in words.
type Outcome = Result<(), String>;

struct Salt;

impl Salts for Salt {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        Ok([7; SALT_BYTES])
    }
}

fn wrong(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Two things that must be the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Outcome {
    if is == should { Ok(()) } else { Err(format!("{what} is {is:?}, should be {should:?}")) }
}

fn key_of(robot: usize, life: usize) -> Ed25519Key {
    let mut seed = [3; 32];
    seed[0] = u8::try_from(robot).unwrap_or(0);
    seed[1..3].copy_from_slice(&u16::try_from(life).unwrap_or(0).to_be_bytes());
    Ed25519Key::from_seed(seed)
}

impl Life {
    fn new(robot: usize, life: usize) -> Self {
        let journal = JournalId::new(format!("journal_{robot}_{life}")).unwrap();
        Self { actor_seq: 0, journal, key: key_of(robot, life), records: Vec::new() }
    }
}

impl World {
    pub(super) fn new() -> Result<Self, String> {
        let clock = Arc::new(Hand(AtomicI64::new(BEGIN)));
        let shared: Arc<dyn Clock> = clock.clone();
        let server = Server::new(
            ActorId::new("cloud").map_err(wrong)?,
            JournalId::new("cloud_1").map_err(wrong)?,
            Ed25519Key::from_seed([1; 32]),
            shared,
        );
        let machine = |robot: usize| Machine {
            id: RobotId::new(format!("amr-{robot}")).unwrap(),
            lives: vec![Life::new(robot, 0)],
        };
        let machines: Vec<_> = (0..ROBOTS).map(machine).collect();
        let bundle = Digest::of(b"b");
        let manifest = serde_json::from_value(json!({
            "actions": ["patrol"], "capabilities": [], "component_sha256": Digest::of(b"c"),
            "developer": "d", "id": "patrol", "licence": "MIT", "memory_mib": 1, "name": "P",
            "period_ms": 100, "tier": "dev", "v": 1, "version": "1.0.0",
            "wit": nooterra_protocol::skill::WIT,
        }));
        let manifest = manifest.map_err(wrong)?;
        let plan = |bundle: Digest| {
            serde_json::from_value(json!({ "steps": [{
                "action": "patrol", "id": "s1", "timeout_s": 60,
                "skill": { "bundle": bundle, "id": "patrol", "version": "1.0.0" },
            }]}))
            .map_err(wrong)
        };
        let plans = [plan(Digest::of(b"nowhere"))?, plan(bundle)?];
        let mut connection = in_memory().map_err(wrong)?;
        let now = clock.wall();
        let set_up = connection.writing(|tx| {
            for machine in &machines {
                robots::enrol(tx, &machine.id, &machine.lives[0].key.verifying_key(), now)?;
            }
            skills::add(tx, &bundle, &manifest, "", b"b", now)
        });
        set_up.map_err(|error: StoreError| wrong(error))?;
        let spec = Spec::new(ROBOTS, BEGIN);
        let (commands, jobs) = Default::default();
        Ok(Self { clock, commands, connection, jobs, machines, plans, server, spec })
    }

    /// Does one step, here and as it should be, and compares.
    pub(super) fn step(&mut self, act: &Act) -> Outcome {
        match act {
            Act::Access { job, millis, reviewed, revocable } => {
                self.give_access(*job, *millis, *revocable, *reviewed)
            }
            Act::Approve { by, job, millis, of_it } => self.approve(*by, *job, *millis, *of_it),
            Act::Answer { accepts, command, robot } => self.answer(*accepts, *command, *robot),
            Act::Book(job) => self.on(*job, "BOOKED", |server, tx, job| server.book(tx, job)),
            Act::Cancel(job) => self.cancel(*job),
            Act::Create { published, robot } => self.create(*published, *robot),
            Act::Deliver { count, from, life, robot } => {
                let robot = usize::from(*robot) % ROBOTS;
                let lives = &self.machines[robot].lives;
                let life = lives.len() - 1 - usize::from(*life) % lives.len();
                let records = lives[life].records.len();
                if records == 0 {
                    return Ok(());
                }
                let from = usize::from(*from) % records;
                let to = (from + 1 + usize::from(*count) % 4).min(records);
                self.deliver(robot, life, from..to)
            }
            Act::Disapprove(job) => self.disapprove(*job),
            Act::Dispatch(job) => self.dispatch(*job),
            Act::Enrol(robot) => self.enrol(usize::from(*robot) % ROBOTS),
            Act::Forge { how, job, kind, robot } => self.forge(*how, *job, *kind, *robot),
            Act::Knock { life, robot } => self.knock(*life, *robot),
            Act::Next { choice, job } => self.next(*choice, *job),
            Act::Pause(job) => self.pause(*job),
            Act::Resume(job) => self.resume(*job),
            Act::Quote(job) => {
                let quote =
                    |server: &Server, tx: &Connection, job: &JobId| server.quote(tx, job, 5, "EUR");
                self.on(*job, "QUOTE_PROPOSED", quote)
            }
            Act::Report { choice, job, kind, robot } => {
                self.report(usize::from(*robot) % ROBOTS, self.job(*job), *kind, *choice)
            }
            Act::Reschedule { job, robot } => self.reschedule(*job, *robot),
            Act::Revoke(job) => self.revoke_access(*job),
            Act::Stand { robot, to } => self.stand(usize::from(*robot) % ROBOTS, *to),
            Act::Wait { millis } => {
                self.spec.now += i64::from(*millis);
                self.clock.0.store(self.spec.now, Ordering::Relaxed);
                Ok(())
            }
            Act::Watch => self.watch(),
        }?;
        self.compare()
    }

    /// Which job a number chooses.
    fn job(&self, number: u8) -> Option<usize> {
        usize::from(number).checked_rem(self.jobs.len())
    }

    /// Runs a command in a transaction of its own; what it refuses leaves nothing.
    fn run<T>(
        &mut self,
        work: impl FnOnce(&Server, &Connection) -> Result<T, JobError>,
    ) -> Result<Result<T, Refusal>, String> {
        let server = &self.server;
        match self.connection.writing(|tx| work(server, tx)) {
            Ok(done) => Ok(Ok(done)),
            Err(JobError::Access(_)) => Ok(Err(Refusal::Access)),
            Err(JobError::Approval(_)) => Ok(Err(Refusal::Approval)),
            Err(JobError::NotPossible(_)) => Ok(Err(Refusal::State)),
            Err(JobError::Barred(_) | JobError::Command(CommandError::Barred(_))) => {
                Ok(Err(Refusal::Barred))
            }
            Err(JobError::Skill(_)) => Ok(Err(Refusal::Skill)),
            Err(error) => Err(format!("an unexpected refusal: {error}")),
        }
    }

    fn on<T>(
        &mut self,
        job: u8,
        event: &'static str,
        work: impl FnOnce(&Server, &Connection, &JobId) -> Result<T, JobError>,
    ) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let done = self.run(|server, tx| work(server, tx, &id))?.map(|_| ());
        same(event, &done, &self.spec.state(at, event))
    }

    fn create(&mut self, published: bool, robot: u8) -> Outcome {
        if self.jobs.len() >= JOBS {
            return Ok(());
        }
        let robot = usize::from(robot) % ROBOTS;
        let (id, plan) =
            (self.machines[robot].id.clone(), self.plans[usize::from(published)].clone());
        let requester = ActorId::new("me").map_err(wrong)?;
        let made = self.run(|server, tx| server.create(tx, &id, &plan, &requester))?;
        if let Ok(row) = &made {
            self.jobs.push(row.id.clone());
        }
        same("creation", &made.map(|_| ()), &self.spec.create(robot, published))
    }

    fn dispatch(&mut self, job: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let ttl = Duration::from_millis(TTL_MS.unsigned_abs());
        let done = self.run(|server, tx| server.dispatch(tx, &id, ttl))?;
        same("dispatch", &done.map(|_| ()), &self.spec.dispatch(at))
    }

    fn cancel(&mut self, job: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let ttl = Duration::from_millis(TTL_MS.unsigned_abs());
        let done = self.run(|server, tx| server.cancel(tx, &id, "why", ttl))?;
        same("cancellation", &done.map(|_| ()), &self.spec.cancel(at, TTL_MS))
    }

    fn reschedule(&mut self, job: u8, robot: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let (id, before) = (self.jobs[at].clone(), self.spec.jobs[at].robot);
        // Half of them to the same robot.
        let to = (robot >= 128).then(|| usize::from(robot) % ROBOTS);
        let named = to.map(|to| self.machines[to].id.clone());
        let ttl = Duration::from_millis(TTL_MS.unsigned_abs());
        let done = self.run(|server, tx| server.reschedule(tx, &id, named, "why", ttl))?;
        let should = self.spec.reschedule(at, to.unwrap_or(before));
        same("scheduling anew", &done.map(|_| ()), &should)
    }

    fn pause(&mut self, job: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let ttl = Duration::from_millis(TTL_MS.unsigned_abs());
        let done = self.run(|server, tx| server.pause(tx, &id, "why", ttl))?;
        same("a pause", &done.map(|_| ()), &self.spec.pause(at))
    }

    fn resume(&mut self, job: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let ttl = Duration::from_millis(TTL_MS.unsigned_abs());
        let done = self.run(|server, tx| server.resume(tx, &id, ttl))?;
        same("going on", &done.map(|_| ()), &self.spec.resume(at))
    }

    fn approve(&mut self, by: u8, job: u8, millis: Option<u32>, of_it: bool) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let (id, by) = (self.jobs[at].clone(), by % 2);
        let name = ActorId::new(format!("person-{by}")).map_err(wrong)?;
        let until = millis.map(|millis| self.spec.now + i64::from(millis));
        let plan = &self.plans[usize::from(of_it)];
        let plan = plan.digest().map_err(wrong)?;
        let granted = ApprovalGranted { plan, until: until.map(WallMillis) };
        let done = self.run(|server, tx| server.approve(tx, &id, &name, &granted))?;
        let should = self.spec.approve(at, by, until, of_it);
        same("approval", &done.map(|_| ()), &should)
    }

    fn disapprove(&mut self, job: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let by = ActorId::new("person-2").map_err(wrong)?;
        let done = self.run(|server, tx| server.revoke_approval(tx, &id, &by, "why"))?;
        same("taking an approval back", &done.map(|_| ()), &self.spec.disapprove(at))
    }

    fn give_access(&mut self, job: u8, millis: u32, revocable: bool, reviewed: bool) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let until = self.spec.now + i64::from(millis);
        let plan = AccessPlan {
            credential_ref: None,
            method: AccessMethod::OnSiteOwner,
            needs_review: reviewed,
            privacy: None,
            requested_by: ActorId::new("me").map_err(wrong)?,
            revocable,
            scope: AccessScope::default(),
            valid_from: WallMillis(0),
            valid_to: WallMillis(until),
        };
        let done = self.run(|server, tx| server.issue_access(tx, &id, &plan))?;
        same("access", &done.map(|_| ()), &self.spec.give_access(at, until, revocable, reviewed))
    }

    fn revoke_access(&mut self, job: u8) -> Outcome {
        let Some(at) = self.job(job) else { return Ok(()) };
        let id = self.jobs[at].clone();
        let done = self.run(|server, tx| server.revoke_access(tx, &id, "why"))?;
        same("revocation", &done.map(|_| ()), &self.spec.revoke_access(at))
    }

    /// As the task that watches does it.
    fn watch(&mut self) -> Outcome {
        let millis = |span: i64| Duration::from_millis(span.unsigned_abs());
        let interval = millis(STALLED_AFTER_MS / 3);
        let attention = Attention::new(interval, millis(CALLED_AFTER_MS), WallMillis(BEGIN));
        let now = self.clock.wall();
        let due = self.connection.reading(|tx| watch::due(tx, &attention, now));
        let mut due = due.map_err(|error: StoreError| wrong(error))?;
        // In the order in which they were made: commands are counted.
        due.sort_by_key(|id| self.jobs.iter().position(|job| job == id));
        for job in due {
            let done = self.run(|server, tx| server.look_after(tx, &job, &attention))?;
            same("what is due", &done, &Ok(()))?;
        }
        self.spec.watch();
        Ok(())
    }

    fn stand(&mut self, robot: usize, to: Standing) -> Outcome {
        let id = self.machines[robot].id.clone();
        let done = self.run(|server, tx| server.stand(tx, &id, to, "why"))?;
        let to = match to {
            Standing::InService => Trust::InService,
            Standing::Maintenance => Trust::Maintenance,
            Standing::Quarantined => Trust::Quarantined,
            Standing::Revoked => Trust::Revoked,
        };
        same("standing", &done, &self.spec.stand(robot, to))
    }

    fn enrol(&mut self, robot: usize) -> Outcome {
        let id = self.machines[robot].id.clone();
        let life = Life::new(robot, self.machines[robot].lives.len());
        let key = life.key.verifying_key();
        self.machines[robot].lives.push(life);
        let now = self.clock.wall();
        let done = self.run(|server, tx| {
            robots::enrol(tx, &id, &key, now)?;
            server.readmit(tx, &id)
        })?;
        self.spec.enrol(robot);
        same("enrolment", &done, &Ok(()))
    }

    fn knock(&mut self, life: u8, robot: u8) -> Outcome {
        let robot = usize::from(robot) % ROBOTS;
        let life = usize::from(life) % self.machines[robot].lives.len();
        let is = self.is_let_in(robot, life)?;
        same("admission", &is, &self.spec.admits(robot, life))
    }

    fn is_let_in(&mut self, robot: usize, life: usize) -> Result<bool, String> {
        let machine = &self.machines[robot];
        let (id, key) = (machine.id.clone(), machine.lives[life].key.verifying_key());
        let admission = self.connection.reading(|tx| standings::admission(tx, &id, Some(&key)));
        let admission = admission.map_err(|error: StoreError| wrong(error))?;
        Ok(admission == Admission::Admitted)
    }

    /// Puts an entry into the newest life of a robot's journal.
    fn write(&mut self, robot: usize, mut entry: Entry, word: Word) -> Outcome {
        let fact = if let Entry::Fact(signed) = &entry { Some(signed.clone()) } else { None };
        let stamp = self.clock.stamp();
        let Some(life) = self.machines[robot].lives.last_mut() else { return Ok(()) };
        let seq = life.records.len() as u64 + 1;
        drop(entry.seal(&life.journal, seq, &Salt).map_err(wrong)?);
        let record = Record::of_entry(&entry, Class::Critical, seq, 1, stamp).map_err(wrong)?;
        let bytes = Blob(record.encode().map_err(wrong)?);
        life.records.push(Written { arrived: false, bytes, fact, word });
        Ok(())
    }

    fn answer(&mut self, accepts: bool, command: u8, robot: u8) -> Outcome {
        let Some(at) = usize::from(command).checked_rem(self.commands.len()) else {
            return Ok(());
        };
        // Mostly by the robot that it is for.
        let other = (robot >= 250).then(|| usize::from(robot) % ROBOTS);
        let robot = other.unwrap_or(self.spec.commands[at].robot);
        let (id, digest, signed) = self.commands[at].clone();
        if accepts {
            let (ask, signed) = (self.spec.commands[at].ask.to_owned(), Blob(signed).into());
            let entry = Entry::CommandReceived(CommandReceived { ask, id, signed });
            return self.write(robot, entry, Word::Accepted(at));
        }
        let refused = CommandRefused { digest, id: Some(id), reason: "no".to_owned() };
        self.write(robot, Entry::CommandRefused(refused), Word::Refused(at))
    }

    fn report(&mut self, robot: usize, job: Option<usize>, kind: EventType, choice: u8) -> Outcome {
        let (fact, beat) = self.state(robot, robot, robot, job, kind, choice)?;
        let said = Said {
            beat,
            genuine: true,
            job,
            kind: kind.name(),
            name: fact.body().id.to_string(),
            place: (self.machines[robot].lives.len() - 1, fact.body().actor_seq),
        };
        self.write(robot, Entry::Fact(Blob(fact.bytes().to_vec())), Word::Fact(said))
    }

    /// The next fact in the journal of `robot`, in the name of one and signed by another.
    fn state(
        &mut self,
        robot: usize,
        name: usize,
        signer: usize,
        job: Option<usize>,
        kind: EventType,
        choice: u8,
    ) -> Result<(Signed<Fact>, Option<Beat>), String> {
        let id = ActorId::new(self.machines[name].id.as_str()).map_err(wrong)?;
        let actor = Actor { id, kind: ActorKind::Robot };
        let key = key_of(signer, self.machines[signer].lives.len() - 1);
        let (at, job) = (self.clock.stamp(), job.map(|job| self.jobs[job].clone()));
        let Some(life) = self.machines[robot].lives.last_mut() else {
            return Err("a robot without a life".to_owned());
        };
        life.actor_seq += 1;
        let statement = Statement {
            actor: &actor,
            actor_seq: life.actor_seq,
            at,
            job: job.as_ref(),
            journal: &life.journal,
            kind,
        };
        let progress = f64::from(choice % 7) / 4.0 - 0.25;
        let beat = (kind == EventType::Heartbeat).then_some((progress, choice & 8 == 0));
        let payload = match beat {
            Some((progress, stage)) => json!({
                "assist_requested": false, "progress": progress, "stage": stage.then_some("s1"),
            }),
            None => json!({}),
        };
        Ok((Fact::sign(&statement, &payload, &key).map_err(wrong)?, beat))
    }

    fn forge(&mut self, how: Forgery, job: u8, kind: EventType, robot: u8) -> Outcome {
        let (robot, job) = (usize::from(robot) % ROBOTS, self.job(job));
        let other = (robot + 1) % ROBOTS;
        let mut genuine = false;
        let (bytes, name) = match how {
            Forgery::Altered => {
                let fact = self.state(robot, robot, robot, job, kind, 0)?.0;
                let mut bytes = fact.bytes().to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                (bytes, fact.body().id.to_string())
            }
            Forgery::OtherHash => {
                let mut fact = self.state(robot, robot, robot, job, kind, 0)?.0.into_body();
                fact.payload_hash = Digest::of(b"another");
                let name = fact.id.to_string();
                let Some(life) = self.machines[robot].lives.last() else { return Ok(()) };
                let signed = Signed::sign(fact, &life.key).map_err(wrong)?;
                (signed.bytes().to_vec(), name)
            }
            Forgery::OtherKey => {
                let fact = self.state(robot, robot, other, job, kind, 0)?.0;
                (fact.bytes().to_vec(), fact.body().id.to_string())
            }
            Forgery::OtherName => {
                let fact = self.state(robot, other, robot, job, kind, 0)?.0;
                (fact.bytes().to_vec(), fact.body().id.to_string())
            }
            Forgery::Stolen => {
                let all = self.machines[other].lives.iter().flat_map(|life| &life.records);
                let Some(Blob(bytes)) = all.filter_map(|it| it.fact.clone()).next_back() else {
                    return Ok(());
                };
                (bytes, String::new())
            }
            Forgery::Twin => {
                let Some(life) = self.machines[robot].lives.last_mut() else { return Ok(()) };
                let Some(before) = life.actor_seq.checked_sub(1) else { return Ok(()) };
                life.actor_seq = before;
                let fact = self.state(robot, robot, robot, job, kind, 2)?.0;
                // It is the robot's own, for what that is worth: the first that comes counts.
                genuine = true;
                (fact.bytes().to_vec(), fact.body().id.to_string())
            }
        };
        let beat = (genuine && kind == EventType::Heartbeat).then_some((0.25, true));
        let life = self.machines[robot].lives.len() - 1;
        let place = (life, self.machines[robot].lives[life].actor_seq);
        let said = Said { beat, genuine, job, kind: kind.name(), name, place };
        self.write(robot, Entry::Fact(Blob(bytes)), Word::Fact(said))
    }

    /// Records of one journal arrive over the robot's connection, if it has one.
    fn deliver(&mut self, robot: usize, life: usize, which: std::ops::Range<usize>) -> Outcome {
        let newest = self.machines[robot].lives.len() - 1;
        let is_let_in = self.is_let_in(robot, newest)?;
        same("admission", &is_let_in, &self.spec.admits(robot, newest))?;
        if !is_let_in || which.is_empty() {
            return Ok(());
        }
        let machine = &mut self.machines[robot];
        let of = &mut machine.lives[life];
        let records = of.records[which.clone()].iter().map(|it| it.bytes.clone()).collect();
        let batch = Batch { journal: of.journal.clone(), records, since: None };
        let batch = codec::to_vec(&batch).map_err(wrong)?;
        let checked = ingest::check(Class::Critical, &batch).map_err(wrong)?;
        let (server, now, id) = (&self.server, self.clock.wall(), &machine.id);
        let kept = self.connection.writing(|tx| ingest::keep(tx, server, id, &checked, now));
        let ack = kept.map_err(|error: StoreError| wrong(error))?;
        same("acknowledgement", &ack.through_seq, &(which.end as u64))?;
        for record in &mut of.records[which] {
            if !std::mem::replace(&mut record.arrived, true) {
                self.spec.take(robot, &record.word);
            }
        }
        Ok(())
    }

    /// What is next in a job's life, and is heard of at once.
    fn next(&mut self, choice: u8, job: u8) -> Outcome {
        use super::spec::Life;
        let Some(at) = self.job(job) else {
            return self.create(true, choice);
        };
        let robot = self.spec.jobs[at].robot;
        let kind = match self.spec.jobs[at].life {
            Life::Created => return self.step(&Act::Quote(job)),
            Life::Quoted => return self.step(&Act::Book(job)),
            Life::Booked => return self.step(&Act::Dispatch(job)),
            Life::Reserved => EventType::EnRoute,
            Life::EnRoute => EventType::AccessGranted,
            Life::AccessGranted => EventType::ExecutionStarted,
            Life::Executing | Life::Assisted | Life::Stalled => match choice % 16 {
                0 => EventType::ExecutionCompleted,
                1 => EventType::ExecutionAborted,
                2 => EventType::CheckpointReached,
                // A heartbeat that is written down, and overtaken by the next.
                3..=5 => {
                    self.report(robot, Some(at), EventType::Heartbeat, choice)?;
                    EventType::Heartbeat
                }
                6..=9 => return self.straggler(robot),
                _ => EventType::Heartbeat,
            },
            Life::SafeExit => EventType::ExecutionAborted,
            Life::Matched | Life::Completed | Life::Aborted | Life::Settled => {
                return self.create(true, choice);
            }
        };
        self.report(robot, Some(at), kind, choice)?;
        let life = self.machines[robot].lives.len() - 1;
        let last = self.machines[robot].lives[life].records.len();
        self.deliver(robot, life, last - 1..last)
    }

    /// What was overtaken arrives.
    fn straggler(&mut self, robot: usize) -> Outcome {
        let life = self.machines[robot].lives.len() - 1;
        let waiting = self.machines[robot].lives[life].records.iter().position(|it| !it.arrived);
        waiting.map_or(Ok(()), |at| self.deliver(robot, life, at..at + 1))
    }

    /// Everything that is shown now, held against what it should be.
    fn compare(&mut self) -> Outcome {
        let spec = &self.spec;
        let rows = self.connection.reading(|tx| {
            let mut rows = Vec::new();
            for id in &self.jobs {
                rows.push(jobs::find(tx, id)?);
            }
            let mut find =
                tx.prepare_cached("SELECT id, robot, job, state, signed FROM commands ORDER BY n")?;
            let command = find.query_map([], |row| {
                let text = |at| row.get::<String>(at);
                Ok((text(0)?, text(1)?, text(2)?, text(3)?, row.get::<Vec<u8>>(4)?))
            })?;
            Ok((rows, command.collect::<Result<Vec<_>, _>>()?))
        });
        let (rows, commands) = rows.map_err(|error: StoreError| wrong(error))?;
        same("the number of commands", &commands.len(), &spec.commands.len())?;
        for (at, (id, robot, job, state, signed)) in commands.into_iter().enumerate() {
            let should = &spec.commands[at];
            same("a command's robot", &robot.as_str(), &self.machines[should.robot].id.as_str())?;
            same("a command's job", &job.as_str(), &self.jobs[should.job].as_str())?;
            let fate = match should.fate {
                Fate::Accepted => "accepted",
                Fate::Refused => "refused",
                Fate::Sent => "sent",
            };
            same("a command's fate", &state.as_str(), &fate)?;
            if at == self.commands.len() {
                let body: RemoteCommand = danger_unverified(&signed).map_err(wrong)?;
                same("a command's ask", &body.body.name(), &should.ask)?;
                let id = EnvelopeId::new(id).map_err(wrong)?;
                self.commands.push((id, Digest::of(&signed), signed));
            }
        }
        for (row, should) in rows.into_iter().zip(&spec.jobs) {
            let Some(row) = row else { return Err("a job is not shown".to_owned()) };
            same("a job's state", &row.state.name(), &should.life.name())?;
            same("a job's facts", &row.events, &(should.facts.len() as u64))?;
            same("a job's progress", &row.progress.to_bits(), &should.progress.to_bits())?;
            same("a job's stage", &row.stage.is_some(), &should.stage)?;
            same("a job's robot", &row.robot, &self.machines[should.robot].id)?;
            same("a job's word", &row.care.heard_at.map(|at| at.0), &should.heard)?;
            let still = row.care.stall.as_ref();
            let is = still.map(|it| (it.cause == StallCause::Paused, it.escalated_at.is_some()));
            same("a job's stall", &is, &should.still.map(|it| (it.paused, it.called)))?;
            let access = row.care.access.as_ref().map(|plan| (plan.valid_to.0, plan.revocable));
            same("a job's access", &access, &should.access)?;
            let holds = row.care.approved().map(|it| it.until.map(|until| until.0));
            let wanted: Vec<_> = should.approved.iter().map(|(_, until)| *until).collect();
            same("a job's approvals", &holds.collect(), &wanted)?;
            let start = should.start.map(|at| &self.commands[at].0);
            same("a job's start", &row.command.as_ref(), &start)?;
        }
        Ok(())
    }

    /// All that is still on its way arrives; then streams, places and projections are held
    /// against what they should be. All of it comes once more, and changes nothing.
    pub(super) fn end(&mut self) -> Outcome {
        for _ in 0..2 {
            for robot in 0..ROBOTS {
                for life in 0..self.machines[robot].lives.len() {
                    let all = self.machines[robot].lives[life].records.len();
                    self.deliver(robot, life, 0..all)?;
                }
            }
            self.compare()?;
            self.streams()?;
        }
        let key = self.server.public_key();
        let again = self.connection.reading(|tx| {
            let compared = replay::compare(tx, Some(&key))?;
            Ok::<_, StoreError>((compared, jobs::every(tx)?))
        });
        let ((again, mut folded), shown) = again.map_err(wrong)?;
        same("what replay says", &again.differences, &Vec::new())?;
        folded.sort_by_key(|(position, _)| *position);
        let folded: Vec<_> = folded.into_iter().map(|(_, job)| job).collect();
        same("what is shown", &shown, &folded)
    }

    fn streams(&mut self) -> Outcome {
        let stream = |name: String| StreamId::new(name).map_err(wrong);
        let mut wanted = Vec::new();
        for (id, should) in self.jobs.iter().zip(&self.spec.jobs) {
            wanted.push((stream(format!("job.{id}"))?, &should.facts));
        }
        for (machine, should) in self.machines.iter().zip(&self.spec.robots) {
            wanted.push((stream(format!("robot.{}", machine.id))?, &should.facts));
        }
        let all: usize = wanted.iter().map(|(_, facts)| facts.len()).sum();
        let read = self.connection.reading(|tx| {
            let mut rows = Vec::new();
            for (stream, _) in &wanted {
                rows.push(jobs::facts(tx, stream, 0, u32::MAX)?);
            }
            Ok::<_, StoreError>((rows, jobs::count(tx)?))
        });
        let (streams, count) = read.map_err(wrong)?;
        same("the number of facts", &usize::try_from(count).unwrap_or(0), &all)?;
        let mut counted = BTreeSet::new();
        for ((name, should), rows) in wanted.iter().zip(streams) {
            let mut is: Vec<Placed> = Vec::new();
            for row in rows {
                let fact: Fact = danger_unverified(&row.signed).map_err(wrong)?;
                let by_robot = fact.actor.kind == ActorKind::Robot;
                if !by_robot && !counted.insert(fact.actor_seq) {
                    return Err(format!("the server counts {} twice", fact.actor_seq));
                }
                is.push((row.kind, row.place.late, by_robot.then_some(row.event)));
            }
            same(&format!("stream {name}"), &is, should)?;
        }
        // The server's count has no gap, whatever was refused meanwhile.
        same("the server's count", &counted.last().copied().unwrap_or(0), &(counted.len() as u64))
    }
}
