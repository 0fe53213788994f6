//! The completion report of a job, made of its stream and of nothing else: the same facts give
//! the same bytes, here and in `replay`, for the cloud's signature has no chance in it.
//!
//! Beside it stands what shows that the robot's statements in it lie in the robot's black box
//! (`proofs`), made of the records that came up; `verify` checks both without any cloud.

mod proofs;
pub(crate) mod verify;

use crate::fold::{self, FoldError};
use crate::jobs::JobError;
use crate::store::jobs::{self, FactRow, JobRow};
use crate::store::{Connection, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{ActorKind, EventType, EvidenceCaptured, Fact, SkillUsed};
use nooterra_protocol::ids::{JobId, JournalId, RobotId, StepId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::oversight::{IncidentReported, StallCause};
use nooterra_protocol::report::{
    AccessGiven, ApprovalGiven, Asked, Captured, Evidence, IncidentNamed, JobReport, JournalSpan,
    MAX_NAMED, Outstanding, StreamEnd, Times, Verdict, Work,
};
use proofs::{BlackBox, Cited};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Facts that are read at once.
const PAGE: u32 = 1024;

/// A report as JSON, and as it is signed.
#[derive(Serialize, ToSchema)]
#[schema(as = JobReport)]
pub(crate) struct ReportJson {
    /// What shows that the robot's statements in it lie in the robot's black box.
    black_box: BlackBox,
    /// `report::JobReport` of the protocol.
    #[schema(value_type = Object)]
    report: JobReport,
    /// SHA-256 of the signed bytes.
    #[schema(value_type = String)]
    sha256: Digest,
    /// The COSE_Sign1 over its canonical CBOR, base64; by the key that signs commands.
    signed: String,
}

impl ReportJson {
    fn new(signed: Signed<JobReport>, black_box: BlackBox) -> Self {
        let (sha256, text) = (signed.digest(), STANDARD.encode(signed.bytes()));
        Self { black_box, report: signed.into_body(), sha256, signed: text }
    }

    /// Of all of it: another one with every fact, and with every proof that can be made since.
    pub(crate) fn tag(&self) -> Digest {
        let BlackBox { proofs, unproven } = &self.black_box;
        let proofs = proofs.iter().map(|it| it.proof.as_bytes());
        let unproven = unproven.iter().map(|it| it.why.as_bytes());
        let parts: Vec<_> = proofs.chain(unproven).map(Digest::of).collect();
        let parts = parts.iter().map(|part| part.as_bytes().as_slice());
        Digest::of_parts(
            &[self.sha256.as_bytes().as_slice()].into_iter().chain(parts).collect::<Vec<_>>(),
        )
    }
}

/// The signed report of a job as its stream stands in this transaction, and its proofs.
pub(crate) fn of(tx: &Connection, job: &JobId, key: &Ed25519Key) -> Result<ReportJson, JobError> {
    let stream = jobs::stream_of(job)?;
    let (mut story, mut after) = (None, 0);
    loop {
        let page = jobs::facts(tx, &stream, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.place.seq;
        for row in &page {
            let (_, fact) = crate::api::unverified(&row.signed)
                .map_err(|error| StoreError::damaged("a fact", error))?;
            match &mut story {
                None => story = Some(Story::begin(job, &fact, row)?),
                Some(story) => story.next(&fact, row)?,
            }
        }
    }
    let mut story = story.ok_or_else(|| JobError::UnknownJob(job.clone()))?;
    // What a robot stated that had the job before is under another robot's key.
    story.cited.retain(|it| it.robot == story.job.robot);
    let black_box = proofs::of(tx, std::mem::take(&mut story.cited))?;
    let report = story.report().map_err(|error| StoreError::damaged("a plan", error))?;
    Ok(ReportJson::new(Signed::sign(report, key)?, black_box))
}

/// What a robot may say at the end. A robot of another release may say more, or less.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    distance_m: Option<f64>,
    energy_j: Option<f64>,
    interventions: Option<u64>,
    steps: Option<u32>,
}

/// Of a payload that gives a reason.
#[derive(Deserialize)]
struct Because {
    reason: String,
}

/// Of the payload of `EXECUTION_STARTED`.
#[derive(Deserialize)]
struct Under {
    policy_hash: Digest,
}

/// A stream as far as it was read.
struct Story {
    /// What of the robot's it rests on, one by one.
    cited: Vec<Cited>,
    evidence: Evidence,
    job: JobRow,
    late: Vec<EventType>,
    late_count: u64,
    /// Facts of the robot in journals that are not named.
    otherwhere: u64,
    /// The robot said how it ended, in time or not.
    robot_ended: bool,
    /// Steps that named their skill.
    skills: BTreeSet<StepId>,
    /// Where the span of a journal is: a robot may have stated each fact in another one.
    spans: BTreeMap<JournalId, usize>,
    times: Times,
    verdict: Verdict,
    work: Work,
}

impl Story {
    fn begin(id: &JobId, fact: &Fact, row: &FactRow) -> Result<Self, FoldError> {
        let job = fold::first(id, fact, row.place.hash, row.received_at)?;
        let verdict = Verdict {
            approved: None,
            by: None,
            reason: None,
            state: job.state,
            within_access: None,
        };
        Ok(Self {
            cited: Vec::new(),
            evidence: Evidence::default(),
            job,
            late: Vec::new(),
            late_count: 0,
            otherwhere: 0,
            robot_ended: false,
            skills: BTreeSet::new(),
            spans: BTreeMap::new(),
            times: Times { asked: fact.at.wall, ..Times::default() },
            verdict,
            work: Work::default(),
        })
    }

    fn next(&mut self, fact: &Fact, row: &FactRow) -> Result<(), FoldError> {
        self.span(fact);
        let before = self.job.state;
        let taken = fold::next(&mut self.job, fact, row.place.hash, row.received_at)?;
        let by_robot = fact.actor.kind == ActorKind::Robot;
        let ends = [EventType::ExecutionCompleted, EventType::ExecutionAborted];
        self.robot_ended |= by_robot && ends.contains(&fact.kind);
        if taken.is_err() {
            self.late_count += 1;
            if self.late.len() < MAX_NAMED {
                self.late.push(fact.kind);
            }
            return Ok(());
        }
        self.note(fact, row.record);
        if self.job.state != before {
            self.moved(fact);
        }
        Ok(())
    }

    /// Where the robot's facts stand in its own journals.
    fn span(&mut self, fact: &Fact) {
        if fact.actor.kind != ActorKind::Robot {
            return;
        }
        let (count, spans) = (fact.actor_seq, &mut self.evidence.journals);
        let known = self.spans.get(&fact.journal).copied();
        if let Some(span) = known.and_then(|at| spans.get_mut(at)) {
            span.facts += 1;
            (span.first, span.last) = (span.first.min(count), span.last.max(count));
        } else if spans.len() < MAX_NAMED {
            let journal = fact.journal.clone();
            self.spans.insert(journal.clone(), spans.len());
            spans.push(JournalSpan { facts: 1, first: count, journal, last: count });
        } else {
            // A robot may name as many as it likes.
            self.otherwhere += 1;
        }
    }

    /// The job is in another state than before.
    fn moved(&mut self, fact: &Fact) {
        let (at, times) = (fact.at.wall, &mut self.times);
        match self.job.state {
            // Dispatch started over, or it was booked for the first time.
            JobState::Booked => {
                times.dispatched = None;
                times.booked = times.booked.or(Some(at));
            }
            JobState::Reserved => times.dispatched = Some(at),
            JobState::EnRoute => times.en_route = Some(at),
            JobState::Executing => times.started = times.started.or(Some(at)),
            JobState::Completed | JobState::Aborted => times.ended = Some(at),
            _ => {}
        }
        let ends = matches!(
            self.job.state,
            JobState::AbortingSafeExit | JobState::Completed | JobState::Aborted
        );
        // What began the end is why, not the safe exit that followed.
        if ends && self.verdict.by.is_none() {
            self.verdict.by = Some(fact.id.clone());
            self.verdict.reason = payload::<Because>(fact).map(|because| because.reason);
        }
    }

    /// What a fact that came in time says.
    fn note(&mut self, fact: &Fact, record: Option<i64>) {
        let (evidence, work) = (&mut self.evidence, &mut self.work);
        let is_named = match fact.kind {
            // What cannot be read is counted and not named, so that there is nothing to show.
            EventType::EvidenceCaptured => {
                evidence.captured.len() < MAX_NAMED && payload::<EvidenceCaptured>(fact).is_some()
            }
            EventType::IncidentDetected => work.incidents.len() < MAX_NAMED,
            EventType::EnRoute
            | EventType::ExecutionAborted
            | EventType::ExecutionCompleted
            | EventType::ExecutionStarted => true,
            _ => false,
        };
        if is_named
            && fact.actor.kind == ActorKind::Robot
            && let Ok(robot) = RobotId::new(fact.actor.id.as_str())
        {
            let (event, journal) = (fact.id.clone(), fact.journal.clone());
            self.cited.push(Cited { event, journal, record, robot });
        }
        match fact.kind {
            EventType::CheckpointReached => evidence.checkpoints += 1,
            EventType::EvidenceCaptured => {
                evidence.captured_count += 1;
                let said = payload::<EvidenceCaptured>(fact);
                if let Some(said) = said.filter(|_| evidence.captured.len() < MAX_NAMED) {
                    let EvidenceCaptured { media_type, name, sha256, step, .. } = said;
                    evidence.captured.push(Captured { media_type, name, sha256, step });
                }
            }
            EventType::ExecutionCompleted => {
                let said = payload::<Said>(fact).unwrap_or_default();
                let amount = |it: Option<f64>| it.filter(|it| it.is_finite() && *it >= 0.0);
                work.distance_m = amount(said.distance_m);
                work.energy_j = amount(said.energy_j);
                (work.interventions, work.steps) = (said.interventions, said.steps);
            }
            EventType::ExecutionStalled => {
                let paused =
                    self.job.care.stall.as_ref().is_some_and(|it| it.cause == StallCause::Paused);
                *(if paused { &mut work.holds } else { &mut work.silences }) += 1;
            }
            EventType::ExecutionStarted => {
                evidence.policy = payload::<Under>(fact).map(|under| under.policy_hash);
            }
            EventType::IncidentDetected | EventType::IncidentReported => {
                work.incidents_count += 1;
                if work.incidents.len() < MAX_NAMED {
                    let kind = payload::<IncidentReported>(fact).map(|said| said.kind);
                    let (at, id) = (fact.at.wall, fact.id.clone());
                    work.incidents.push(IncidentNamed { at, id, kind });
                }
            }
            EventType::Rescheduled => work.reschedules += 1,
            EventType::SkillUsed => {
                self.skills.extend(payload::<SkillUsed>(fact).map(|used| used.step));
            }
            _ => {}
        }
    }

    fn report(self) -> Result<JobReport, codec::CodecError> {
        let outstanding = self.outstanding();
        let Self { evidence, job, late, late_count, times, mut verdict, work, .. } = self;
        let late_count = (late_count > late.len() as u64).then_some(late_count);
        let steps = u32::try_from(job.plan.steps.len()).unwrap_or(u32::MAX);
        let asked = Asked { by: job.requester, plan: job.plan.digest()?, robot: job.robot, steps };
        let needed = !job.care.approvals.is_empty()
            || job.care.access.as_ref().is_some_and(|plan| plan.needs_review);
        verdict.approved = needed.then(|| !job.care.lacks_approval());
        verdict.state = job.state;
        verdict.within_access = match (&job.care.access, times.started, times.ended) {
            (Some(plan), Some(started), Some(ended)) => {
                Some(plan.valid_from <= started && ended <= plan.valid_to)
            }
            _ => None,
        };
        let access = job.care.access.map(|plan| AccessGiven {
            method: plan.method,
            needs_review: plan.needs_review,
            privacy: plan.privacy,
            requested_by: plan.requested_by,
            revocable: plan.revocable,
            scope: plan.scope,
            valid_from: plan.valid_from,
            valid_to: plan.valid_to,
        });
        let approvals = job.care.approvals.into_iter().map(|it| ApprovalGiven {
            at: it.at,
            by: it.by,
            ended: it.ended.map(|ended| (ended.at, ended.reason)),
            plan: it.plan,
            until: it.until,
        });
        Ok(JobReport {
            access,
            approvals: approvals.collect(),
            asked,
            evidence,
            job: job.id,
            outstanding,
            stream: StreamEnd { events: job.events, head: job.head, late, late_count },
            times,
            v: nooterra_protocol::VERSION,
            verdict,
            work,
        })
    }

    fn outstanding(&self) -> Vec<Outstanding> {
        let mut open = Vec::new();
        if !self.job.state.is_over() {
            open.push(Outstanding::TheEnd);
        }
        let called_back = matches!(self.job.state, JobState::AbortingSafeExit | JobState::Aborted);
        if called_back && self.job.command.is_some() && !self.robot_ended {
            open.push(Outstanding::RobotsWord);
        }
        let named = u32::try_from(self.skills.len()).unwrap_or(u32::MAX);
        let missing = self.work.steps.map_or(0, |steps| steps.saturating_sub(named));
        if missing > 0 {
            open.push(Outstanding::Skills { missing });
        }
        for JournalSpan { facts, first, journal, last } in &self.evidence.journals {
            let missing = (last - first).saturating_add(1).saturating_sub(*facts);
            if missing > 0 {
                open.push(Outstanding::Facts { journal: journal.clone(), missing });
            }
        }
        if self.otherwhere > 0 {
            open.push(Outstanding::OtherJournals { facts: self.otherwhere });
        }
        open
    }
}

/// A payload, where this release can read it.
fn payload<T: serde::de::DeserializeOwned>(fact: &Fact) -> Option<T> {
    codec::from_value(fact.payload.clone()).ok()
}
