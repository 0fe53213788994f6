//! The completion report of a job: what its stream says of it, in one document that the cloud
//! signs. Whoever has the stream makes the same bytes again.
//!
//! Nothing in it is measured by the cloud, and nothing is guessed: what the robot did not report
//! is absent, and what is not known yet is named. Times are those that the facts state, by the
//! clocks of whoever states them; the times of approvals are those at which the cloud took them.

use crate::access::{AccessMethod, AccessScope};
use crate::codec::Digest;
use crate::envelope::Signable;
use crate::event::EventType;
use crate::ids::{ActorId, EventId, JobId, JournalId, RobotId, StepId};
use crate::job::JobState;
use crate::oversight::IncidentType;
use crate::time::WallMillis;
use serde::{Deserialize, Serialize};

/// Incidents, pieces of evidence, journals and late facts that a report names one by one; more are
/// only counted.
pub const MAX_NAMED: usize = 256;

/// A job, as its stream says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobReport {
    /// How its robot may be let in; none where no plan was issued, or dispatch started over.
    pub access: Option<AccessGiven>,
    /// Who approved it, oldest first.
    pub approvals: Vec<ApprovalGiven>,
    /// Who asked for what.
    pub asked: Asked,
    /// What the robot captured, and where its facts stand in its own journals.
    pub evidence: Evidence,
    /// Which job.
    pub job: JobId,
    /// What is not known yet, or cannot be; empty when the report is final.
    pub outstanding: Vec<Outstanding>,
    /// The stream that it is made of.
    pub stream: StreamEnd,
    /// When what happened.
    pub times: Times,
    /// Format version.
    pub v: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// What was done, and what went otherwise.
    pub work: Work,
}

impl Signable for JobReport {
    const CONTENT_TYPE: &'static str = "nooterra/job-report+cbor;v=1";
}

/// Who asked for what.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// On whose behalf.
    pub by: ActorId,
    /// [`Plan::digest`](crate::plan::Plan::digest) of its plan as it was last sent.
    pub plan: Digest,
    /// By which robot.
    pub robot: RobotId,
    /// Steps of the plan.
    pub steps: u32,
}

/// How the robot may be let in. Where the secret is kept is left out: reports are handed on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // As in `access::AccessPlan`.
pub struct AccessGiven {
    pub method: AccessMethod,
    pub needs_review: bool,
    pub privacy: Option<String>,
    pub requested_by: ActorId,
    pub revocable: bool,
    pub scope: AccessScope,
    pub valid_from: WallMillis,
    pub valid_to: WallMillis,
}

/// That somebody approved the job.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGiven {
    /// When the cloud took it.
    pub at: WallMillis,
    /// Who.
    pub by: ActorId,
    /// When it ended, and why; none where it held to the end.
    pub ended: Option<(WallMillis, String)>,
    /// Over which plan.
    pub plan: Digest,
    /// Not from then on.
    pub until: Option<WallMillis>,
}

/// What the robot says that it can show.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What its skills captured, in the order of the stream.
    pub captured: Vec<Captured>,
    /// All that they captured.
    pub captured_count: u64,
    /// Checkpoints of the plan that were reached.
    pub checkpoints: u64,
    /// Where the robot's facts stand: its own count in each of its journals, the first
    /// [`MAX_NAMED`] of them. That they lie in its black box is shown beside the report, which a
    /// later checkpoint must not change.
    pub journals: Vec<JournalSpan>,
    /// The policy under which the robot began.
    pub policy: Option<Digest>,
}

/// One captured thing, by its hash.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // As in `event::EvidenceCaptured`.
pub struct Captured {
    pub media_type: String,
    pub name: String,
    pub sha256: Digest,
    pub step: StepId,
}

/// Facts of one journal of a robot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSpan {
    /// Facts of it in the job's stream.
    pub facts: u64,
    /// The lowest count of its robot.
    pub first: u64,
    /// Which journal.
    pub journal: JournalId,
    /// The highest.
    pub last: u64,
}

/// Something that is not known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "what")]
pub enum Outstanding {
    /// The robot counted facts between those that are here, which stand elsewhere or are yet to
    /// come.
    Facts {
        /// In which journal.
        journal: JournalId,
        /// How many.
        missing: u64,
    },
    /// The job was ended here after its robot was sent it, and the robot has not said what it
    /// did.
    RobotsWord,
    /// Facts of the robot stand in journals beyond those that are named: whether others are missing
    /// there cannot be said.
    OtherJournals {
        /// How many.
        facts: u64,
    },
    /// The robot says that it carried out more steps than it named skills for.
    Skills {
        /// So many more.
        missing: u32,
    },
    /// The job is not over.
    TheEnd,
}

/// As far as the stream went.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEnd {
    /// Facts in it.
    pub events: u64,
    /// Hash of the last one's place, which binds all before it.
    pub head: Digest,
    /// Facts that came too late for the state, by type, the first [`MAX_NAMED`] of them: kept, and
    /// part of no figure here but this one and the journals'.
    pub late: Vec<EventType>,
    /// All of them, where they are more than are named; absent otherwise, as from every release
    /// before there was this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_count: Option<u64>,
}

/// When what happened, as whoever states it says; none where it did not.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The job was asked for.
    pub asked: WallMillis,
    /// Its price was accepted.
    pub booked: Option<WallMillis>,
    /// It was last sent to its robot.
    pub dispatched: Option<WallMillis>,
    /// It was over.
    pub ended: Option<WallMillis>,
    /// The robot set out.
    pub en_route: Option<WallMillis>,
    /// The robot began.
    pub started: Option<WallMillis>,
}

/// How a job ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Whatever needed an approval had one that held; none where none was needed.
    pub approved: Option<bool>,
    /// The fact that ended it.
    pub by: Option<EventId>,
    /// In the words of whoever ended it.
    pub reason: Option<String>,
    /// COMPLETED, ABORTED or SETTLED; anything else is not the end.
    pub state: JobState,
    /// The robot began and ended within its access; none where that cannot be said.
    pub within_access: Option<bool>,
}

/// What was done.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// How far the robot drove, where it says so.
    pub distance_m: Option<f64>,
    /// What it used, where it says so.
    pub energy_j: Option<f64>,
    /// How often somebody held it.
    pub holds: u64,
    /// What happened that somebody will ask about.
    pub incidents: Vec<IncidentNamed>,
    /// All of that.
    pub incidents_count: u64,
    /// How often the gate changed or stopped what was asked of the robot, where it says so.
    pub interventions: Option<u64>,
    /// How often dispatch started over.
    pub reschedules: u64,
    /// How often nothing was heard of it.
    pub silences: u64,
    /// Steps carried out, where the robot says so.
    pub steps: Option<u32>,
}

/// One incident.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentNamed {
    /// When, as whoever states it says.
    pub at: WallMillis,
    /// The fact.
    pub id: EventId,
    /// What, where that can be read.
    pub kind: Option<IncidentType>,
}
