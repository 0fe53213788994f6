//! What the journal holds: the kinds of record, their bodies and their priority classes.
//!
//! How a record is framed, chained and signed is `nooterra-evidence`'s; this is what it says.

use crate::codec::{self, Blob, CodecError, Digest, Value};
use crate::command::{Asked, Command, Source, StopProfile};
use crate::flight::{FlightBlock, FlightNote};
use crate::frame::SkillFrame;
use crate::geometry::{Pose, Twist};
use crate::grant;
use crate::ids::{EnvelopeId, JobId, JournalId, PolicyId, SkillId, StepId, ZoneId};
use crate::input::SkillInput;
use crate::observation::JointStates;
use crate::policy::Sensor;
use crate::policy_part::PolicyPart;
use crate::private::{Opening, Private, PrivateError, Salts, Sealer};
use crate::shadow::Shadow;
use crate::skill_graph::SkillGraph;
use crate::skill_install::SkillInstall;
use crate::start::{AsideRemoved, Crash};
use crate::trust::SkillTrust;
use serde::{Deserialize, Serialize};

pub use crate::rule::Rule;

/// How urgent a record is for the uplink, and how long it outlives a quota.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Facts, stops, refusals: durable before they are acknowledged, sent first, kept longest.
    Critical,
    /// Verdicts and what skills did.
    Normal,
    /// Samples of state; sent last.
    Bulk,
}

impl Class {
    /// Most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Bulk];

    /// As in a topic.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// An intervention of the gate: what was asked, what was allowed, and the rule between.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// What went to the robot.
    pub allowed: Command,
    /// What the source wished. A number that was none is left out.
    pub asked: Asked,
    /// The signed command whose wish it was, if it was one's.
    pub command: Option<EnvelopeId>,
    /// The job under way.
    pub job: Option<JobId>,
    /// The limit, in the unit that the rule documents.
    pub limit: f64,
    /// The first verdict of its kind in a row, or the last: a rule that holds for many ticks
    /// is written when it begins, when it ends, and when what it allows changes much.
    pub phase: VerdictPhase,
    /// Hash of the signed policy in force.
    pub policy_hash: Digest,
    /// Where the robot was.
    pub pose: Pose,
    /// The rule.
    pub rule: Rule,
    /// Whose wish it was.
    pub source: Source,
    /// Tick of the control loop.
    pub tick: u64,
    /// The zone, for rules about zones.
    pub zone: Option<ZoneId>,
}

/// Where in a run of equal interventions a verdict stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictPhase {
    /// The rule began to act.
    Began,
    /// It still acts.
    Holds,
    /// It no longer acts; `asked` and `allowed` are of the first tick without it.
    Ended,
}

/// A sample of the robot's state, at a lower rate than the control loop.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What the gate let through.
    pub allowed: Command,
    /// What the source in charge wished, where it was finite.
    pub asked: Asked,
    /// State of charge, 0 to 1.
    pub battery: Option<f64>,
    /// What the joints measured, where it is an arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joints: Option<JointStates>,
    /// The tightest speed limit that held, m/s: the envelope at this place.
    pub limit_mps: f64,
    /// Where.
    pub pose: Pose,
    /// In charge.
    pub source: Source,
    /// Measured.
    pub twist: Twist,
}

/// One entry of the journal. On the wire `kind` names the variant and `body` holds the rest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Entry {
    /// A journal that was put aside is removed.
    AsideRemoved(AsideRemoved),
    /// The agent started.
    Boot(Boot),
    /// A checkpoint of the journal: a COSE_Sign1 over its head.
    Checkpoint(Blob),
    /// A signed command was accepted; its bytes as received.
    CommandReceived(CommandReceived),
    /// A message that claimed to be a command was refused.
    CommandRefused(CommandRefused),
    /// The run before this start did not end in order.
    Crash(Crash),
    /// A signed fact, COSE_Sign1.
    Fact(Blob),
    /// Ticks of the flight recorder.
    Flight(FlightBlock),
    /// A dump of the flight recorder began or ended, or none was made.
    FlightNote(FlightNote),
    /// Records are missing here.
    Gap(Gap),
    /// Something happened that somebody will ask about.
    Incident(Incident),
    /// The channel to the cloud came up or went down.
    Link(Link),
    /// A part of the signed policy in force.
    Policy(PolicyPart),
    /// Which sensors may be read changed.
    SensorGated(SensorGated),
    /// A new policy took a step towards being in force, or back.
    PolicyStep(PolicyStep),
    /// A line that a skill logged.
    SkillLog(SkillLog),
    /// A bundle was verified and installed, or refused.
    SkillChecked(SkillChecked),
    /// The running skill asked for a picture.
    SkillFrame(SkillFrame),
    /// The policy graph of the running skill moved.
    SkillGraph(SkillGraph),
    /// What entered the running skill.
    SkillInput(SkillInput),
    /// A version of a skill was installed, activated or rolled back.
    SkillInstall(SkillInstall),
    /// What the running skill is given of a sensor changed.
    SkillSensor(SkillSensor),
    /// What the running skill asked for and said, when either changed.
    SkillStep(SkillStep),
    /// The trust in skills changed, or a change of it was refused.
    SkillTrust(SkillTrust),
    /// A sample of the robot's state.
    Sample(Sample),
    /// What a candidate policy would have done.
    Shadow(Shadow),
    /// The robot was stopped outside the gate's own verdicts, or did not take a stop.
    Stop(Stop),
    /// An intervention of the gate.
    Verdict(Verdict),
}

impl Entry {
    /// The name of the variant, as in a record's `kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AsideRemoved(_) => "aside_removed",
            Self::Boot(_) => "boot",
            Self::Checkpoint(_) => "checkpoint",
            Self::CommandReceived(_) => "command_received",
            Self::CommandRefused(_) => "command_refused",
            Self::Crash(_) => "crash",
            Self::Fact(_) => "fact",
            Self::Flight(_) => "flight",
            Self::FlightNote(_) => "flight_note",
            Self::Gap(_) => "gap",
            Self::Incident(_) => "incident",
            Self::Link(_) => "link",
            Self::Policy(_) => "policy",
            Self::SensorGated(_) => "sensor_gated",
            Self::PolicyStep(_) => "policy_step",
            Self::SkillLog(_) => "skill_log",
            Self::SkillChecked(_) => "skill_checked",
            Self::SkillFrame(_) => "skill_frame",
            Self::SkillGraph(_) => "skill_graph",
            Self::SkillInput(_) => "skill_input",
            Self::SkillInstall(_) => "skill_install",
            Self::SkillSensor(_) => "skill_sensor",
            Self::SkillStep(_) => "skill_step",
            Self::SkillTrust(_) => "skill_trust",
            Self::Sample(_) => "sample",
            Self::Shadow(_) => "shadow",
            Self::Stop(_) => "stop",
            Self::Verdict(_) => "verdict",
        }
    }

    /// The class that is right unless the caller knows better.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::AsideRemoved(_)
            | Self::Boot(_)
            | Self::CommandReceived(_)
            | Self::CommandRefused(_)
            | Self::Crash(_)
            | Self::Fact(_)
            | Self::Gap(_)
            | Self::Incident(_)
            | Self::SensorGated(_)
            | Self::PolicyStep(_)
            | Self::SkillChecked(_)
            | Self::SkillInstall(_)
            | Self::SkillSensor(_)
            | Self::SkillTrust(_)
            | Self::Stop(_) => Class::Critical,
            Self::Checkpoint(_)
            | Self::Flight(_)
            | Self::FlightNote(_)
            | Self::Link(_)
            | Self::Policy(_)
            | Self::SkillFrame(_)
            | Self::SkillGraph(_)
            | Self::SkillInput(_)
            | Self::Shadow(_)
            | Self::SkillLog(_)
            | Self::SkillStep(_)
            | Self::Verdict(_) => Class::Normal,
            Self::Sample(_) => Class::Bulk,
        }
    }

    /// Puts commitments in the place of all that is private, for the record `seq` of `journal`,
    /// and returns what opens them. An entry that was not sealed cannot be written.
    ///
    /// # Errors
    /// [`PrivateError`]; some fields may be sealed then.
    pub fn seal(
        &mut self,
        journal: &JournalId,
        seq: u64,
        salts: &dyn Salts,
    ) -> Result<Vec<Opening>, PrivateError> {
        let kind = self.kind();
        let mut sealer = Sealer { journal, kind, openings: Vec::new(), salts, seq };
        match self {
            Self::CommandReceived(body) => sealer.field("signed", &mut body.signed)?,
            Self::SkillLog(body) => sealer.field("message", &mut body.message)?,
            Self::SkillStep(body) => sealer.field("status", &mut body.status)?,
            Self::AsideRemoved(_)
            | Self::Boot(_)
            | Self::Checkpoint(_)
            | Self::CommandRefused(_)
            | Self::Crash(_)
            | Self::Fact(_)
            | Self::Flight(_)
            | Self::FlightNote(_)
            | Self::Gap(_)
            | Self::Incident(_)
            | Self::Link(_)
            | Self::Policy(_)
            | Self::PolicyStep(_)
            | Self::SensorGated(_)
            | Self::Shadow(_)
            | Self::SkillChecked(_)
            | Self::SkillFrame(_)
            | Self::SkillGraph(_)
            | Self::SkillInput(_)
            | Self::SkillInstall(_)
            | Self::SkillSensor(_)
            | Self::SkillTrust(_)
            | Self::Sample(_)
            | Self::Stop(_)
            | Self::Verdict(_) => {}
        }
        Ok(sealer.openings)
    }

    /// The body as a generic tree, for a record.
    ///
    /// # Errors
    /// [`CodecError::Encode`] when a value has no CBOR form, as one that is private and was not
    /// sealed ([`Self::seal`]).
    pub fn body(&self) -> Result<Value, CodecError> {
        match self {
            Self::AsideRemoved(body) => codec::to_value(body),
            Self::Boot(body) => codec::to_value(body),
            Self::Checkpoint(body) | Self::Fact(body) => codec::to_value(body),
            Self::CommandReceived(body) => codec::to_value(body),
            Self::CommandRefused(body) => codec::to_value(body),
            Self::Crash(body) => codec::to_value(body),
            Self::Flight(body) => codec::to_value(body),
            Self::FlightNote(body) => codec::to_value(body),
            Self::Gap(body) => codec::to_value(body),
            Self::Incident(body) => codec::to_value(body),
            Self::Link(body) => codec::to_value(body),
            Self::Policy(body) => codec::to_value(body),
            Self::SensorGated(body) => codec::to_value(body),
            Self::PolicyStep(body) => codec::to_value(body),
            Self::SkillLog(body) => codec::to_value(body),
            Self::SkillChecked(body) => codec::to_value(body),
            Self::SkillFrame(body) => codec::to_value(body),
            Self::SkillGraph(body) => codec::to_value(body),
            Self::SkillInput(body) => codec::to_value(body),
            Self::SkillInstall(body) => codec::to_value(body),
            Self::SkillSensor(body) => codec::to_value(body),
            Self::SkillStep(body) => codec::to_value(body),
            Self::SkillTrust(body) => codec::to_value(body),
            Self::Sample(body) => codec::to_value(body),
            Self::Shadow(body) => codec::to_value(body),
            Self::Stop(body) => codec::to_value(body),
            Self::Verdict(body) => codec::to_value(body),
        }
    }

    /// Reads a record's `kind` and `body`; `None` for a kind that a later release wrote.
    ///
    /// # Errors
    /// [`CodecError::Shape`] when the kind is known and the body does not fit it.
    pub fn parse(kind: &str, body: Value) -> Result<Option<Self>, CodecError> {
        Ok(Some(match kind {
            "aside_removed" => Self::AsideRemoved(codec::from_value(body)?),
            "boot" => Self::Boot(codec::from_value(body)?),
            "checkpoint" => Self::Checkpoint(codec::from_value(body)?),
            "command_received" => Self::CommandReceived(codec::from_value(body)?),
            "command_refused" => Self::CommandRefused(codec::from_value(body)?),
            "crash" => Self::Crash(codec::from_value(body)?),
            "fact" => Self::Fact(codec::from_value(body)?),
            "flight" => Self::Flight(codec::from_value(body)?),
            "flight_note" => Self::FlightNote(codec::from_value(body)?),
            "gap" => Self::Gap(codec::from_value(body)?),
            "incident" => Self::Incident(codec::from_value(body)?),
            "link" => Self::Link(codec::from_value(body)?),
            "policy" => Self::Policy(codec::from_value(body)?),
            "sensor_gated" => Self::SensorGated(codec::from_value(body)?),
            "policy_step" => Self::PolicyStep(codec::from_value(body)?),
            "skill_log" => Self::SkillLog(codec::from_value(body)?),
            "skill_checked" => Self::SkillChecked(codec::from_value(body)?),
            "skill_frame" => Self::SkillFrame(codec::from_value(body)?),
            "skill_graph" => Self::SkillGraph(codec::from_value(body)?),
            "skill_input" => Self::SkillInput(codec::from_value(body)?),
            "skill_install" => Self::SkillInstall(codec::from_value(body)?),
            "skill_sensor" => Self::SkillSensor(codec::from_value(body)?),
            "skill_step" => Self::SkillStep(codec::from_value(body)?),
            "skill_trust" => Self::SkillTrust(codec::from_value(body)?),
            "sample" => Self::Sample(codec::from_value(body)?),
            "shadow" => Self::Shadow(codec::from_value(body)?),
            "stop" => Self::Stop(codec::from_value(body)?),
            "verdict" => Self::Verdict(codec::from_value(body)?),
            _ => return Ok(None),
        }))
    }
}

/// The agent started.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Of the agent.
    pub agent_version: String,
    /// Hash of the rules of who may ask for what; of the text where they are the release's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_hash: Option<Digest>,
    /// The journal was closed in order before this start; otherwise the last run crashed.
    pub clean: bool,
    /// The policy in force.
    pub policy: PolicyId,
    /// Its hash.
    pub policy_hash: Digest,
    /// Its version.
    pub policy_version: u32,
}

/// A signed command was accepted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommandReceived {
    /// The `type` of what it asks.
    pub ask: String,
    /// Its id.
    pub id: EnvelopeId,
    /// The signed bytes: who asked, for which job, with what plan and in what words.
    pub signed: Private<Blob>,
}

/// A message on the command channel was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRefused {
    /// SHA-256 of what came.
    pub digest: Digest,
    /// Its id, where the signature held and it could be read.
    pub id: Option<EnvelopeId>,
    /// Why, in one line.
    pub reason: String,
}

/// Records that should stand here were lost before they reached the disk.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// How many.
    pub dropped: u64,
    /// Why, in one line.
    pub reason: String,
}

/// Something happened that somebody will ask about. The words of whoever marked it are in their
/// signed command.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// What makes it one.
    pub cause: IncidentCause,
    /// The signed command that marked it.
    pub command: Option<EnvelopeId>,
    /// The job under way.
    pub job: Option<JobId>,
    /// The step of its plan.
    pub step: Option<StepId>,
}

/// What makes something an incident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentCause {
    /// The robot gave up a job; nobody had cancelled it.
    JobAborted,
    /// A person who may marked it.
    Marked,
    /// A skill crashed, or was ended because it used up a limit.
    SkillCrash,
}

impl IncidentCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::JobAborted, Self::Marked, Self::SkillCrash];

    /// As in a record: `job_aborted`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JobAborted => "job_aborted",
            Self::Marked => "marked",
            Self::SkillCrash => "skill_crash",
        }
    }
}

/// The channel to the cloud changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// In one line, when it went down.
    pub reason: Option<String>,
    /// Now.
    pub up: bool,
}

/// Which sensors may be read, by the privacy zones of the policy, from this tick on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SensorGated {
    /// What the others record is kept at most so long, seconds.
    pub keep_s: Option<u32>,
    /// These are off.
    pub off: Vec<Sensor>,
    /// Where the robot was taken to be.
    pub pose: Pose,
    /// Tick of the control loop.
    pub tick: u64,
}

/// A new policy took a step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyStep {
    /// Of the policy, where it could be read.
    pub hash: Option<Digest>,
    /// Why, in one line.
    pub reason: String,
    /// Which step.
    pub step: PolicyStepKind,
    /// Of the policy, where it could be read.
    pub version: Option<u32>,
}

/// A step of a new policy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyStepKind {
    /// A person confirmed it within the trial's time.
    Confirmed,
    /// It is in force, until it is confirmed or rolled back.
    OnTrial,
    /// It was activated and is not put in force.
    Refused,
    /// The one before comes back.
    RolledBack,
}

/// A line that a skill logged.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillLog {
    /// At most 512 bytes of it.
    pub message: Private<String>,
    /// Which skill.
    pub skill: SkillId,
}

/// A bundle was checked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillChecked {
    /// It may run.
    pub accepted: bool,
    /// SHA-256 of the bundle file.
    pub bundle: Digest,
    /// Why not, or by which key.
    pub reason: String,
    /// Where its manifest could be read.
    pub skill: Option<SkillId>,
}

/// A step of a skill, when its request or status differs from the one before.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillStep {
    /// The job.
    pub job: JobId,
    /// What it asked for, in words.
    pub request: String,
    /// Which skill.
    pub skill: SkillId,
    /// What it said of itself, in words.
    pub status: Private<String>,
    /// The step of the plan.
    pub step: StepId,
}

/// What the running skill is given of a sensor, by the rules of who may ask for what, from this
/// step on. What is refused does not reach it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillSensor {
    /// It has the sensor's data again; otherwise it has it no longer.
    pub granted: bool,
    /// The job.
    pub job: JobId,
    /// Which sensor.
    pub sensor: grant::Sensor,
    /// Which skill.
    pub skill: SkillId,
    /// The step of the plan.
    pub step: StepId,
}

/// The robot was told to stop. Whether it took that is in its reason.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// How.
    pub profile: StopProfile,
    /// Why, in one line.
    pub reason: String,
}
