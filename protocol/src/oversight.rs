//! Payloads of what the cloud states about a job that is under way: that nothing is heard of it,
//! that somebody holds it, that it goes on, that a person must look.

use crate::ids::{EnvelopeId, EventId, RobotId};
use crate::time::WallMillis;
use serde::{Deserialize, Serialize};

/// When silence is a stall. It stands in the event, so that a later reader need not guess what
/// was configured.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Liveness {
    /// A heartbeat is expected at least so often, milliseconds.
    pub interval_ms: u64,
    /// So many intervals without one are a stall.
    pub missed: u32,
}

/// Why a job stands still.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StallCause {
    /// Somebody holds it.
    Paused,
    /// Nothing is heard of it.
    Silence,
}

/// Payload of `EXECUTION_STALLED`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stalled {
    /// Why.
    pub cause: StallCause,
    /// When the robot was last heard of about this job.
    pub heard_at: Option<WallMillis>,
    /// By what the silence was judged; none for a pause.
    pub liveness: Option<Liveness>,
    /// In the words of whoever paused it.
    pub reason: Option<String>,
}

/// Payload of `EXECUTION_RESUMED`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Resumed {
    /// The heartbeat that ended the silence; none where the robot was asked to go on.
    pub heartbeat: Option<EventId>,
}

/// Payload of `RESCHEDULED`: dispatch and access start over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rescheduled {
    /// The start that is void now.
    pub command: Option<EnvelopeId>,
    /// Why.
    pub reason: String,
    /// By which robot from now on; the same unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robot: Option<RobotId>,
}

/// What kind of thing happened that somebody will ask about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // The names are the vocabulary.
pub enum IncidentType {
    AccessFailure,
    DamageProperty,
    FailureToComplete,
    PrivacyViolation,
    RobotStuck,
    SafetyNearMiss,
    TheftAllegation,
    UnexpectedHumanContact,
}

/// Payload of `INCIDENT_REPORTED`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentReported {
    /// A stall that nobody ended: a person must look.
    pub escalates: bool,
    /// What.
    pub kind: IncidentType,
    /// In one line.
    pub reason: String,
    /// 1, a nuisance, to 5, people or homes are in danger.
    pub severity: u8,
}
