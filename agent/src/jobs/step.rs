//! One step of a plan while it is under way: a skill that runs, what it is shown, and what it asks.

use super::Shared;
use super::asked::{in_words, lease, misfit, moves};
use super::frames::{Lens, Whose as WhosePicture};
use super::held::Hold;
use super::inputs::{InputLog, Whose};
use super::ports::{self, Call};
use super::proving::{Proving, record_installed};
use super::runner::{Halt, Runner, RunnerParts, Why};
use super::suspended::{Slot, Suspended};
use crate::authority::Skill;
use crate::own_cases::{self, NotPassed, Passed, Terms};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::{Entry, IncidentCause, SkillLog, SkillSensor, SkillStep};
use nooterra_protocol::event::{
    AssistRequested, CheckpointReached, EventType, EvidenceCaptured, Heartbeat, SkillUsed,
};
use nooterra_protocol::grant::Sensor;
use nooterra_protocol::ids::{JobId, SkillId};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::oversight::Resumed;
use nooterra_protocol::plan::PlanStep;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::skill_graph::SkillGraph;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{Bundle, End, GraphMove, RunState, Running, Status, Stepped};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Evidence up to this many bytes is stored in its fact; of more, the hash.
const INLINE_EVIDENCE_BYTES: usize = 16 * 1024;

/// The cloud hears how a job goes at least this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// So begins what the agent writes into a skill's log; what a skill writes never does.
const NOTE: &str = "[agent]";

/// One step of a plan while it is under way.
pub(super) struct StepRun<'r> {
    /// The skill has asked for help.
    assist: bool,
    beat_due: MonoNanos,
    /// The range sensor's data is kept from the skill.
    gated: bool,
    job: &'r JobId,
    parts: &'r mut RunnerParts,
    passed: &'r mut BTreeSet<Digest>,
    /// Index of this step, and how many there are.
    place: (u32, usize),
    said: (String, String),
    shared: Arc<Shared>,
    step: &'r PlanStep,
    stepped: u64,
    suspended: &'r mut Suspended,
}

impl<'r> StepRun<'r> {
    pub(super) fn new(
        runner: &'r mut Runner,
        job: &'r JobId,
        step: &'r PlanStep,
        place: (u32, usize),
    ) -> Self {
        Self {
            assist: false,
            beat_due: runner.parts.pace.now(),
            gated: false,
            job,
            place,
            said: Default::default(),
            shared: Arc::clone(&runner.inbox.shared),
            parts: &mut runner.parts,
            passed: &mut runner.passed,
            step,
            stepped: 0,
            suspended: &mut runner.suspended,
        }
    }

    pub(super) fn run(mut self, bundle: &Bundle) -> Result<(), Halt> {
        let installed = self.parts.shelf.installed().clone();
        let judge = self.parts.shelf.judge().clone();
        let standing = installed.begin(bundle).map_err(|error| self.failed(&error.to_string()))?;
        // On the disk before its first instance: a start that brings the agent down is counted.
        record_installed(&self.parts.journal, &self.parts.shelf, &self.parts.host);
        let mut proving = Proving::new(&installed, &judge, bundle, standing);
        self.own_cases(bundle, &mut proving)?;
        // They may take minutes: somebody may have given it up meanwhile.
        installed.may_start(bundle).map_err(|error| self.failed(&error.to_string()))?;
        self.carry_out(bundle, proving)
    }

    /// A version on trial first shows that its own cases come out as they must. The robot stands
    /// meanwhile; once for each start of the agent.
    fn own_cases(&mut self, bundle: &Bundle, proving: &mut Proving<'_>) -> Result<(), Halt> {
        let digest = bundle.digest();
        if !proving.is_on_trial() || self.passed.contains(&digest) {
            return Ok(());
        }
        let RunnerParts { cases_time: time, require_cases: required, .. } = *self.parts;
        let (terms, shared) = (Terms { required, time }, Arc::clone(&self.shared));
        if bundle.cases().is_some() {
            self.note("its own cases run in the simulator first");
        }
        let mut unsaid = None;
        let passed = own_cases::pass(bundle, terms, || {
            unsaid = self.beat(self.parts.pace.now(), 0.0).err();
            unsaid.is_none() && !shared.leaving() && shared.cancelled().is_none()
        });
        match passed {
            Ok(Passed::All(cases)) => {
                self.note(&format!("all of its own cases ({cases}) came out as they must"));
                self.passed.insert(digest);
                Ok(())
            }
            Ok(Passed::NotRun(why)) => {
                if bundle.cases().is_some() {
                    self.note(&format!("goes on trial without them: {why}"));
                }
                Ok(())
            }
            Err(NotPassed::Failed(why)) => {
                proving.failed(&why);
                Err(self.failed(&why))
            }
            Err(NotPassed::Fault(why)) => {
                proving.answered();
                Err(self.failed(&why))
            }
            // Its start is counted: what is too slow each time is given up.
            Err(NotPassed::TooSlow(why)) => Err(self.failed(&why)),
            Err(NotPassed::Stopped) => {
                proving.answered();
                if let Some(halt) = unsaid {
                    return Err(halt);
                }
                // Cancelled, or else the agent ends.
                Err(match shared.cancelled() {
                    Some(reason) if !shared.leaving() => {
                        Halt::Over(Why::Cancelled, format!("cancelled: {reason}"))
                    }
                    _ => Halt::Leave,
                })
            }
            Err(NotPassed::Wanted(why)) => {
                proving.answered();
                Err(self.failed(&format!("{why}, and `skills.require_cases` is set here")))
            }
        }
    }

    fn carry_out(mut self, bundle: &Bundle, mut proving: Proving<'_>) -> Result<(), Halt> {
        let used = SkillUsed {
            bundle: bundle.digest(),
            skill: bundle.manifest().id.clone(),
            step: self.step.id.clone(),
            version: bundle.manifest().version.clone(),
        };
        // Before it is used: a skill that may not move the robot, or cannot, is not.
        let granted = self.granted(bundle)?;
        self.fits(bundle)?;
        self.parts.facts.state(self.job, EventType::SkillUsed, &used)?;
        let moves = moves(&granted);
        let scans = granted.contains(&Capability::Scan);
        let kept = Slot::default();
        let (ports, calls) = ports::queue(Some(self.inputs(bundle)), kept.clone());
        let ports = ports.with_lens(self.lens(bundle));
        let (place, digest) = (self.place.0, bundle.digest());
        let state = self.suspended.load(self.job, place, digest);
        if !state.is_empty() {
            let (bytes, hash) = (state.len(), Digest::of(&state));
            self.note(&format!(
                "goes on from the state that was kept: {bytes} bytes, SHA-256 {hash}"
            ));
        }
        let (action, params) = (&self.step.action, &self.step.params);
        let running = self
            .parts
            .host
            .start(bundle, &granted, action, params, Box::new(ports), &state)
            .map_err(|error| {
                proving.not_started(&error);
                self.failed(&error.to_string())
            })?;
        let period = Duration::from_millis(u64::from(bundle.manifest().period_ms));
        let timeout = Duration::from_secs(u64::from(self.step.timeout_s));
        let mut next = self.parts.pace.now();
        let mut asked = 0;
        let mut give_up = next.plus(timeout);
        let mut held_since = None;
        loop {
            if self.shared.leaving() {
                proving.answered();
                self.suspended.keep(&kept, None, self.job, place, digest);
                return Err(Halt::Leave);
            }
            if let Some(reason) = self.shared.cancelled() {
                proving.answered();
                return Err(Halt::Over(Why::Cancelled, format!("cancelled: {reason}")));
            }
            if moves {
                self.parts.authority.skill_drives().map_err(|why| self.failed(&why.to_string()))?;
            }
            // What is revoked while it runs ends: a stop needs no fresh list.
            let goes_on = self.parts.shelf.may_go_on(bundle, &mut asked);
            goes_on.map_err(|why| self.failed(&why.to_string()))?;
            let now = self.parts.pace.now();
            let hold = self.shared.hold();
            if hold == Hold::Held {
                if held_since.is_none() {
                    held_since = Some(now);
                    self.parts.desk.set_skill(None);
                    self.note("the job is held: the skill sees and asks for nothing");
                }
                self.heartbeat(now, &running)?;
                self.parts.pace.sleep(Duration::from_millis(10).min(period));
                continue;
            }
            if let Some(since) = held_since.take() {
                // What was waited is not the skill's.
                give_up = give_up.plus(now.since(since).unwrap_or_default());
            }
            if hold == Hold::GoingOn {
                let resumed = Resumed { heartbeat: None };
                self.parts.facts.state(self.job, EventType::ExecutionResumed, &resumed)?;
                self.shared.goes_on();
                self.note("the job goes on");
            }
            if now >= give_up {
                return Err(self.failed(&format!("not done within {} s", self.step.timeout_s)));
            }
            if now >= next {
                // Who comes a period late is not stepped twice at once, on the same observation.
                let due = next.plus(period);
                next = if due > now { due } else { now.plus(period) };
                if let Some(mut seen) = self.parts.view.observation() {
                    if scans {
                        seen = self.permitted(seen, &bundle.manifest().id);
                    }
                    running.observe(seen.pose.at, &seen);
                }
            }
            let ended = self.follow(&running);
            // After the state was read: what a skill did in its last step is in the queue.
            for call in calls.try_iter() {
                if let (Call::Restarted(why), true) = (&call, proving.is_on_trial()) {
                    proving.failed(why);
                    return Err(Halt::Over(Why::Crashed, self.in_step(why)));
                }
                self.take(call)?;
            }
            let was_on_trial = proving.is_on_trial();
            match &ended {
                Some(end) => proving.ended(end),
                None => proving.stepped(self.stepped),
            }
            if was_on_trial && !proving.is_on_trial() {
                record_installed(&self.parts.journal, &self.parts.shelf, &self.parts.host);
            }
            match ended {
                None => {}
                Some(End::Done) => return Ok(()),
                Some(End::Crashed(reason)) => {
                    return Err(Halt::Over(Why::Crashed, self.in_step(&reason)));
                }
                Some(End::Failed(reason)) => return Err(self.failed(&reason)),
                Some(End::Stopped) => return Err(self.failed("its skill was stopped")),
            }
            self.suspended.keep(&kept, Some(now), self.job, place, digest);
            self.heartbeat(now, &running)?;
            self.parts.pace.sleep(Duration::from_millis(10).min(period));
        }
    }

    /// Where all that the skill sees is recorded.
    fn inputs(&self, bundle: &Bundle) -> InputLog {
        let whose = Whose {
            action: self.step.action.clone(),
            bundle: bundle.digest(),
            job: self.job.clone(),
            skill: bundle.manifest().id.clone(),
            step: self.step.id.clone(),
        };
        let RunnerParts { authority, input_kib_per_s, journal, .. } = &*self.parts;
        let authority = Arc::clone(authority);
        let keeps = move |at| authority.grants().sensor(Sensor::Range, at).keep_s > 0;
        InputLog::new(whose, *input_kib_per_s, journal.clone(), Box::new(keeps))
    }

    /// By which it has pictures, while it may.
    fn lens(&self, bundle: &Bundle) -> Lens {
        let whose = WhosePicture {
            job: self.job.clone(),
            skill: bundle.manifest().id.clone(),
            step: self.step.id.clone(),
        };
        let RunnerParts { authority, journal, pictures, view, .. } = &*self.parts;
        Lens::new(pictures.clone(), whose, Arc::clone(authority), Arc::clone(view), journal.clone())
    }

    /// What the step's skill is given of what it asks for, if the rules let it drive now.
    fn granted(&self, bundle: &Bundle) -> Result<BTreeSet<Capability>, Halt> {
        let manifest = bundle.manifest();
        let mut granted = self.parts.grant.clone();
        granted.retain(|capability| manifest.capabilities.contains(capability));
        let skill = Skill { id: manifest.id.clone(), tier: manifest.tier };
        let authority = &self.parts.authority;
        authority
            .begin_step(self.job, skill, moves(&granted))
            .map_err(|why| self.failed(&why.to_string()))?;
        Ok(granted)
    }

    /// A skill for an arm moves no base, and the other way round: said before it is started rather
    /// than by the gate, tick by tick.
    fn fits(&self, bundle: &Bundle) -> Result<(), Halt> {
        let Some(seen) = self.parts.view.observation() else { return Ok(()) };
        let misfit = misfit(bundle.manifest(), seen.joints.is_some());
        misfit.map_or(Ok(()), |why| Err(self.failed(&why)))
    }

    /// What of an observation the skill may have now. Where it begins and ends to be less, that
    /// is recorded; the data itself reaches nobody.
    fn permitted(&mut self, seen: Arc<Observation>, skill: &SkillId) -> Arc<Observation> {
        let grants = self.parts.authority.grants();
        let may = grants.sensor(Sensor::Range, self.parts.pace.now()).read;
        if self.gated == may {
            self.gated = !may;
            let sensor = Sensor::Range;
            info!(job = %self.job, %skill, sensor = sensor.name(), granted = may, "sensor of a skill");
            self.record(Entry::SkillSensor(SkillSensor {
                granted: may,
                job: self.job.clone(),
                sensor,
                skill: skill.clone(),
                step: self.step.id.clone(),
            }));
        }
        if may || seen.scan.is_none() {
            return seen;
        }
        Arc::new(Observation { scan: None, ..(*seen).clone() })
    }

    fn failed(&self, why: &str) -> Halt {
        Halt::abort(self.in_step(why))
    }

    fn in_step(&self, why: &str) -> String {
        format!("step {} ({}): {why}", self.step.id, self.step.action)
    }

    /// Passes on what the skill asks for; tells whether it has ended.
    fn follow(&mut self, running: &Running) -> Option<End> {
        let ended = match running.state() {
            RunState::Ended(end) => Some(end),
            RunState::Running | RunState::Starting => None,
        };
        let Some(stepped) = running.latest().filter(|_| ended.is_none()) else {
            // Over, or between two instances: what the last one wished ends with it.
            self.parts.desk.set_skill(None);
            return ended;
        };
        if stepped.step != self.stepped {
            self.stepped = stepped.step;
            self.parts.desk.set_skill(lease(stepped.observed_at, &stepped.request));
            self.say(&stepped);
        }
        ended
    }

    /// Journals what a skill asks and says, when it changes.
    fn say(&mut self, stepped: &Stepped) {
        let note = match &stepped.status {
            Status::Running { note, .. } => note.clone(),
            Status::Done => "done".to_owned(),
            Status::Failed(reason) => reason.clone(),
        };
        let said = (in_words(&stepped.request), note);
        if said == self.said {
            return;
        }
        let (request, status) = said.clone();
        self.said = said;
        self.record(Entry::SkillStep(SkillStep {
            job: self.job.clone(),
            request,
            skill: self.step.skill.id.clone(),
            status: status.into(),
            step: self.step.id.clone(),
        }));
    }

    fn take(&mut self, call: Call) -> Result<(), Halt> {
        let step = self.step.id.clone();
        match call {
            Call::Assist(reason) => {
                warn!(job = %self.job, reason, "the skill asks for help");
                self.assist = true;
                let asked = AssistRequested { reason, step };
                self.parts.facts.state(self.job, EventType::AssistRequested, &asked)?;
            }
            Call::Checkpoint(name) => {
                info!(job = %self.job, checkpoint = name, "checkpoint reached");
                let pose = self.parts.view.observation().map(|seen| seen.pose.value);
                let reached = CheckpointReached { name, pose: pose.unwrap_or_default(), step };
                self.parts.facts.state(self.job, EventType::CheckpointReached, &reached)?;
            }
            Call::Evidence { bytes, media_type, name } => {
                let sha256 = Digest::of(&bytes);
                let bytes = (bytes.len() <= INLINE_EVIDENCE_BYTES).then_some(Blob(bytes));
                let captured = EvidenceCaptured { bytes, media_type, name, sha256, step };
                self.parts.facts.state(self.job, EventType::EvidenceCaptured, &captured)?;
            }
            Call::Log(mut message) => {
                let skill = self.step.skill.id.clone();
                if message.starts_with(NOTE) {
                    message.insert(0, ' ');
                }
                info!(%skill, "skill says: {message}");
                self.record(Entry::SkillLog(SkillLog { message: message.into(), skill }));
            }
            Call::Moved(GraphMove { live, position, why }) => {
                let (job, skill) = (self.job.clone(), self.step.skill.id.clone());
                let (action, step) = (self.step.action.clone(), step);
                info!(%job, %skill, live, why, "the skill's graph moved");
                let moved = SkillGraph { action, job, live, position, skill, step, why };
                self.record(Entry::SkillGraph(moved));
            }
            Call::Note(message) => self.note(&message),
            Call::Restarted(why) => {
                self.note(&format!("the skill was ended and goes on from its last state: {why}"));
                let about = (Some(self.job.clone()), Some(self.step.id.clone()));
                let (now, cause) = (self.parts.pace.now(), IncidentCause::SkillCrash);
                self.parts.incidents.report(now, cause, about, None);
            }
        }
        Ok(())
    }

    /// Writes down what the agent has to say about the run.
    fn note(&self, message: &str) {
        let skill = self.step.skill.id.clone();
        warn!(job = %self.job, %skill, "{message}");
        let message = format!("{NOTE} {message}").into();
        self.record(Entry::SkillLog(SkillLog { message, skill }));
    }

    fn heartbeat(&mut self, now: MonoNanos, running: &Running) -> Result<(), Halt> {
        let within = match running.latest().map(|stepped| stepped.status) {
            Some(Status::Running { progress, .. }) => progress,
            _ => 0.0,
        };
        self.beat(now, within)
    }

    /// Says how it goes, where that is due; `within` of this step.
    fn beat(&mut self, now: MonoNanos, within: f64) -> Result<(), Halt> {
        if now < self.beat_due {
            return Ok(());
        }
        self.beat_due = now.plus(HEARTBEAT_EVERY);
        self.parts.pictures.tidy();
        let (done, all) = self.place;
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let beat = Heartbeat {
            assist_requested: self.assist,
            progress: (f64::from(done) + within) / f64::from(all.max(1)),
            stage: Some(self.step.id.clone()),
        };
        self.parts.facts.state(self.job, EventType::Heartbeat, &beat)?;
        Ok(())
    }

    fn record(&self, entry: Entry) {
        let kind = entry.kind();
        if let Err(error) = self.parts.journal.append(entry) {
            warn!(%error, kind, "an entry is not in the journal");
        }
    }
}
