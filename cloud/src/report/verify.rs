//! Checks a completion report by itself: its bytes by the cloud's key, and what it says of the
//! robot's work by records of the robot's black box, under checkpoints that the device key signed.
//!
//! What the robot states, a record shows or not. All else in a report is the cloud's word: who
//! asked, who approved, what was counted, and of why it ended and of incidents whatever no
//! statement names. That a job was completed is always the robot's to state. A statement that is shown was made then and there; that
//! it is true, no signature shows.

use super::{Because, Said, Under, payload};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_evidence::cose::{PeekError, danger_unverified};
use nooterra_evidence::proof::{Proof, ProofError};
use nooterra_evidence::{Checkpoint, Record, RecordError};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::event::{ActorKind, EventType, EvidenceCaptured, Fact, FactError};
use nooterra_protocol::ids::{ActorId, EventId, JobId, JournalId, RobotId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::oversight::IncidentReported;
use nooterra_protocol::report::{Captured, JobReport};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// So many facts of a robot are counted through; at a beat every ten seconds, those of months.
const MAX_FACTS: usize = 1 << 20;

/// Why a report shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The signed bytes are not what the text beside them says.
    #[error("{0} is not what the signed report says; it was altered")]
    Altered(&'static str),
    /// A record in a proof is no fact of this robot and job.
    #[error("proof {at}: {why}")]
    Fact {
        /// Which proof, from 1.
        at: usize,
        /// In which way.
        why: String,
    },
    /// Not a file of this kind.
    #[error("no completion report as `job report --json` prints it: {0}")]
    Form(String),
    /// A proof does not hold.
    #[error("proof {at}: {source}")]
    Proof {
        /// Which, from 1.
        at: usize,
        /// In which way.
        source: ProofError,
    },
    /// It is not signed by the cloud's key.
    #[error("the report is not signed by the key of the cloud: {0}")]
    Signature(SignedError),
}

/// What a report shows, once nothing in it is wrong.
#[derive(Debug, Serialize)]
pub struct VerifiedReport {
    /// The cloud's signature was checked; without its key it was not.
    pub cloud_signature_checked: bool,
    /// A device key was given and signed what is in the proofs, so that they show whose records
    /// they are. Without a proof there is nothing that it signed.
    pub identity_proven: bool,
    /// Which job.
    pub job: JobId,
    /// Proofs in it that show a record.
    pub proofs: usize,
    /// By which robot.
    pub robot: RobotId,
    /// Of the signed bytes.
    pub sha256: Digest,
    /// Whose it is to state how the job ended and what was done: the robot's.
    pub statements: Vec<Statement>,
    /// Facts of which the cloud made no proof, and why, as it says.
    pub unproven: Vec<UnprovenFact>,
}

/// Something that the report says in the robot's name.
#[derive(Debug, Serialize)]
pub struct Statement {
    /// The record that shows it; none where nothing does.
    pub shown_by: Option<ShownBy>,
    /// What: `started`, `captured photo`.
    pub what: String,
}

/// A record in the black box of a robot.
#[derive(Clone, Debug, Serialize)]
pub struct ShownBy {
    /// When the checkpoint was made, by the robot's clock.
    pub checkpoint_at: WallMillis,
    /// How many records it covers.
    pub checkpoint_size: u64,
    /// The fact in the record.
    pub event: EventId,
    /// Of which journal.
    pub journal: JournalId,
    /// Its place.
    pub seq: u64,
}

/// What the cloud says of a fact without a proof.
#[derive(Debug, Deserialize, Serialize)]
pub struct UnprovenFact {
    /// Which.
    pub fact: String,
    /// In its words.
    pub why: String,
}

impl VerifiedReport {
    /// Everything that the report says in the robot's name is shown by a record.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.statements.iter().all(|it| it.shown_by.is_some())
    }
}

/// As far as it is read of an answer of the API.
#[derive(Deserialize)]
struct File {
    /// Of a release that made proofs.
    #[serde(default)]
    black_box: Attached,
    report: Value,
    sha256: Option<Digest>,
    signed: String,
}

#[derive(Default, Deserialize)]
struct Attached {
    proofs: Vec<ProofFile>,
    unproven: Vec<UnprovenFact>,
}

#[derive(Deserialize)]
struct ProofFile {
    proof: String,
}

/// A fact that a record shows.
struct Shown {
    by: ShownBy,
    fact: Fact,
}

/// Checks a report as `job report --json` and `replay --report` print it, by the keys of its
/// robot, which may have had several, and by that of the cloud where it is given.
///
/// # Errors
/// [`ReportError`] when anything in it is wrong.
pub fn verify_report(
    text: &str,
    device: &[VerifyingKey],
    cloud: Option<&VerifyingKey>,
) -> Result<VerifiedReport, ReportError> {
    let form = |why: &dyn std::fmt::Display| ReportError::Form(why.to_string());
    let File { black_box, report: told, sha256, signed } =
        serde_json::from_str(text).map_err(|error| form(&error))?;
    let bytes = STANDARD.decode(signed).map_err(|error| form(&error))?;
    let digest = Digest::of(&bytes);
    if sha256.is_some_and(|said| said != digest) {
        return Err(ReportError::Altered("`sha256`"));
    }
    let report: JobReport = match cloud {
        Some(key) => Signed::verify(&bytes, |id| (id == key.key_id()).then_some(key))
            .map(Signed::into_body)
            .map_err(ReportError::Signature)?,
        None => danger_unverified(&bytes).map_err(|error: PeekError| form(&error))?,
    };
    if serde_json::to_value(&report).ok() != Some(told) {
        return Err(ReportError::Altered("`report`"));
    }
    let (mut proofs, mut shown) = (0, Vec::new());
    for (at, proof) in black_box.proofs.iter().enumerate() {
        let before = shown.len();
        read(at + 1, &proof.proof, &report, device, &mut shown)?;
        proofs += usize::from(shown.len() > before);
    }
    Ok(VerifiedReport {
        cloud_signature_checked: cloud.is_some(),
        identity_proven: !device.is_empty() && proofs > 0,
        proofs,
        sha256: digest,
        statements: statements(&report, &shown),
        unproven: black_box.unproven,
        job: report.job,
        robot: report.asked.robot,
    })
}

/// The facts of one proof.
fn read(
    at: usize,
    text: &str,
    report: &JobReport,
    device: &[VerifyingKey],
    shown: &mut Vec<Shown>,
) -> Result<(), ReportError> {
    let refused = |source| ReportError::Proof { at, source };
    let wrong = |why: &dyn std::fmt::Display| ReportError::Fact { at, why: why.to_string() };
    let bytes = STANDARD.decode(text).map_err(|error| wrong(&error))?;
    let proof = Proof::decode(&bytes).map_err(refused)?;
    // The key that fits the checkpoint, or what the first says of it.
    let tries = device.iter().map(|key| proof.check(Some(key)));
    let fits = tries.reduce(|first, next| if first.is_ok() { first } else { next.or(first) });
    let found = fits.unwrap_or_else(|| proof.check(None)).map_err(refused)?;
    for bytes in found.records {
        let record = Record::decode(&bytes).map_err(|error: RecordError| wrong(&error))?;
        let Ok(Some(Entry::Fact(signed))) = record.entry() else {
            return Err(wrong(&format!("record {} carries no fact", record.seq)));
        };
        // A robot that was enrolled again signs checkpoints with its new key over facts of the old.
        let fact = if device.is_empty() {
            danger_unverified(&signed.0).map_err(|error| wrong(&error))?
        } else {
            Signed::<Fact>::verify(&signed.0, |id| device.iter().find(|key| key.key_id() == id))
                .map_err(|error| wrong(&error))?
                .into_body()
        };
        fact.check().map_err(|error: FactError| wrong(&error))?;
        let robot = report.asked.robot.as_str();
        let own = fact.actor.kind == ActorKind::Robot && fact.actor.id.as_str() == robot;
        let of_job = fact.job.as_ref() == Some(&report.job);
        if !own || !of_job || fact.journal != found.checkpoint.journal {
            return Err(wrong(&format!("record {} is of another robot or job", record.seq)));
        }
        let Checkpoint { journal, size, stamp, .. } = found.checkpoint.clone();
        let by = ShownBy {
            checkpoint_at: stamp.wall,
            checkpoint_size: size,
            event: fact.id.clone(),
            journal,
            seq: record.seq,
        };
        shown.push(Shown { by, fact });
    }
    Ok(())
}

/// What the report says in the robot's name, each with the record that says the same.
fn statements(report: &JobReport, shown: &[Shown]) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut say = |what: String, says: &dyn Fn(&Fact) -> bool| {
        let by = shown.iter().find(|it| says(&it.fact)).map(|it| it.by.clone());
        all.push(Statement { shown_by: by, what });
    };
    let JobReport { evidence, times, verdict, work, .. } = report;
    let at = |kind: EventType, at: WallMillis| {
        move |fact: &Fact| fact.kind == kind && fact.at.wall == at
    };
    if let Some(time) = times.en_route {
        say("en_route".to_owned(), &at(EventType::EnRoute, time));
    }
    if let Some(time) = times.started {
        say("started".to_owned(), &at(EventType::ExecutionStarted, time));
    }
    if let Some(policy) = evidence.policy {
        say("policy".to_owned(), &|fact| {
            fact.kind == EventType::ExecutionStarted
                && payload::<Under>(fact).is_some_and(|under| under.policy_hash == policy)
        });
    }
    let ends: &[EventType] = match verdict.state {
        JobState::Completed => &[EventType::ExecutionCompleted],
        JobState::Aborted => &[EventType::ExecutionAborted],
        _ => &[EventType::ExecutionCompleted, EventType::ExecutionAborted],
    };
    // Only its robot completes a job. One that it never set out for is ended by the cloud alone.
    let completed = verdict.state == JobState::Completed;
    let set_out = times.en_route.or(times.started).is_some();
    if completed || (times.ended.is_some() && set_out) {
        say("ended".to_owned(), &|fact| {
            ends.contains(&fact.kind) && Some(fact.at.wall) == times.ended
        });
    }
    let own = robots_own(report);
    if completed || verdict.by.as_ref().is_some_and(|by| own.contains(by)) {
        say("verdict".to_owned(), &|fact| {
            let reason = payload::<Because>(fact).map(|because| because.reason);
            let is_it = Some(&fact.id) == verdict.by.as_ref() && reason == verdict.reason;
            is_it && ends.contains(&fact.kind)
        });
    }
    let mut figure = |name: &str, is_told: bool, says: &dyn Fn(Said) -> bool| {
        if is_told {
            say(name.to_owned(), &|fact| {
                fact.kind == EventType::ExecutionCompleted && payload(fact).is_some_and(says)
            });
        }
    };
    figure("distance", work.distance_m.is_some(), &|said| said.distance_m == work.distance_m);
    figure("energy", work.energy_j.is_some(), &|said| said.energy_j == work.energy_j);
    figure("interventions", work.interventions.is_some(), &|said| {
        said.interventions == work.interventions
    });
    figure("steps", work.steps.is_some(), &|said| said.steps == work.steps);
    for captured in &evidence.captured {
        say(format!("captured {}", captured.name), &|fact| {
            let Some(said) = payload::<EvidenceCaptured>(fact) else { return false };
            let EvidenceCaptured { media_type, name, sha256, step, .. } = said;
            fact.kind == EventType::EvidenceCaptured
                && Captured { media_type, name, sha256, step } == *captured
        });
    }
    for incident in work.incidents.iter().filter(|it| own.contains(&it.id)) {
        say(format!("incident {}", incident.id), &|fact| {
            let kind = payload::<IncidentReported>(fact).map(|said| said.kind);
            let is_it = fact.kind == EventType::IncidentDetected && fact.id == incident.id;
            is_it && (fact.at.wall, kind) == (incident.at, incident.kind)
        });
    }
    all
}

/// Which of the facts that the report names are the robot's: ids follow from who states what, and
/// the report says how far the robot counted.
fn robots_own(report: &JobReport) -> BTreeSet<EventId> {
    let named = report.work.incidents.iter().map(|incident| &incident.id);
    let named: BTreeSet<_> = named.chain(&report.verdict.by).collect();
    let Ok(actor) = ActorId::new(report.asked.robot.as_str()) else { return BTreeSet::new() };
    let spans = report.evidence.journals.iter();
    let counts =
        spans.flat_map(|span| (span.first..=span.last).map(|count| (&span.journal, count)));
    let ids =
        counts.take(MAX_FACTS).map(|(journal, count)| EventId::derive(&actor, count, journal));
    ids.filter(|id| named.contains(id)).collect()
}
