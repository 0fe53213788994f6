//! Facts, and the place that a stream gives them.
//!
//! An actor signs the *fact*, offline if need be. The keeper of a stream adds the *place*:
//! stream, position and the hash of what stood before.

use crate::codec::{self, Blob, CodecError, Digest, Value};
use crate::envelope::{Signable, Signed, SignedError};
use crate::geometry::Pose;
use crate::ids::{ActorId, EventId, JobId, JournalId, SkillId, StepId, StreamId};
use crate::keys::Signer;
use crate::time::Stamp;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! event_types {
    ($($name:ident = $wire:literal),* $(,)?) => {
        /// What happened. Names as in the vocabulary.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[allow(missing_docs)]
        pub enum EventType {
            $(#[serde(rename = $wire)] $name),*
        }

        impl EventType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As on the wire: `CHECKPOINT_REACHED`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire),* }
            }
        }
    };
}

event_types! {
    AccessDenied = "ACCESS_DENIED",
    AccessExpired = "ACCESS_EXPIRED",
    AccessGranted = "ACCESS_GRANTED",
    AccessPlanIssued = "ACCESS_PLAN_ISSUED",
    AccessRevoked = "ACCESS_REVOKED",
    ApprovalExpired = "APPROVAL_EXPIRED",
    ApprovalGranted = "APPROVAL_GRANTED",
    ApprovalRevoked = "APPROVAL_REVOKED",
    AssistAccepted = "ASSIST_ACCEPTED",
    AssistDeclined = "ASSIST_DECLINED",
    AssistEnded = "ASSIST_ENDED",
    AssistRequested = "ASSIST_REQUESTED",
    AssistStarted = "ASSIST_STARTED",
    Booked = "BOOKED",
    Cancelled = "CANCELLED",
    CheckpointReached = "CHECKPOINT_REACHED",
    ClaimTriaged = "CLAIM_TRIAGED",
    ComplaintFiled = "COMPLAINT_FILED",
    EnRoute = "EN_ROUTE",
    EnteredSpace = "ENTERED_SPACE",
    EvidenceCaptured = "EVIDENCE_CAPTURED",
    ExecutionAborted = "EXECUTION_ABORTED",
    ExecutionCompleted = "EXECUTION_COMPLETED",
    ExecutionResumed = "EXECUTION_RESUMED",
    ExecutionStalled = "EXECUTION_STALLED",
    ExecutionStarted = "EXECUTION_STARTED",
    Heartbeat = "HEARTBEAT",
    IncidentDetected = "INCIDENT_DETECTED",
    IncidentReported = "INCIDENT_REPORTED",
    JobCreated = "JOB_CREATED",
    LeftSpace = "LEFT_SPACE",
    Matched = "MATCHED",
    QuoteProposed = "QUOTE_PROPOSED",
    Rescheduled = "RESCHEDULED",
    Reserved = "RESERVED",
    RobotInMaintenance = "ROBOT_IN_MAINTENANCE",
    RobotQuarantined = "ROBOT_QUARANTINED",
    RobotRestored = "ROBOT_RESTORED",
    RobotRevoked = "ROBOT_REVOKED",
    RolloutAdvanced = "ROLLOUT_ADVANCED",
    RolloutCompleted = "ROLLOUT_COMPLETED",
    RolloutPaused = "ROLLOUT_PAUSED",
    RolloutResumed = "ROLLOUT_RESUMED",
    RolloutRolledBack = "ROLLOUT_ROLLED_BACK",
    RolloutStarted = "ROLLOUT_STARTED",
    Settled = "SETTLED",
    SkillLicensed = "SKILL_LICENSED",
    SkillRevoked = "SKILL_REVOKED",
    SkillUsed = "SKILL_USED",
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What kind of party acts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ActorKind {
    Operator,
    Requester,
    Robot,
    Server,
}

/// Who acts.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Which one.
    pub id: ActorId,
    /// What kind.
    #[serde(rename = "type")]
    pub kind: ActorKind,
}

/// What an actor states and signs. The signer and the signature are in the COSE structure
/// around it ([`Signed`]).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Who states it.
    pub actor: Actor,
    /// The actor's own count, from 1, without gaps within one journal.
    pub actor_seq: u64,
    /// When, with the trust in that clock.
    pub at: Stamp,
    /// Derived from actor, journal and count ([`EventId::derive`]).
    pub id: EventId,
    /// The job that it belongs to.
    pub job: Option<JobId>,
    /// The actor's journal: a wiped robot counts from 1 again, in a new one.
    pub journal: JournalId,
    /// What exactly; one of the structs of this module, by `type`.
    pub payload: Value,
    /// SHA-256 of the canonical payload, which stands beside it. It is no commitment: without a
    /// salt it tells a payload to whoever guesses it, so it is never shown in its place.
    pub payload_hash: Digest,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Format version.
    pub v: u32,
}

impl Signable for Fact {
    const CONTENT_TYPE: &'static str = "nooterra/fact+cbor;v=1";
}

/// All of a fact that its maker chooses.
#[derive(Clone, Debug)]
pub struct Statement<'a> {
    /// Who states it.
    pub actor: &'a Actor,
    /// The actor's count.
    pub actor_seq: u64,
    /// When.
    pub at: Stamp,
    /// Which job.
    pub job: Option<&'a JobId>,
    /// The actor's journal.
    pub journal: &'a JournalId,
    /// What happened.
    pub kind: EventType,
}

impl Fact {
    /// States a fact and signs it.
    ///
    /// # Errors
    /// [`SignedError`] when the payload has no canonical form or the key does not sign.
    pub fn sign<P: Serialize>(
        statement: &Statement<'_>,
        payload: &P,
        signer: &dyn Signer,
    ) -> Result<Signed<Self>, SignedError> {
        let payload = codec::to_value(payload)?;
        let payload_hash = Digest::of(&codec::value_to_vec(&payload)?);
        let fact = Self {
            actor: statement.actor.clone(),
            actor_seq: statement.actor_seq,
            at: statement.at,
            id: EventId::derive(&statement.actor.id, statement.actor_seq, statement.journal),
            job: statement.job.cloned(),
            journal: statement.journal.clone(),
            payload,
            payload_hash,
            kind: statement.kind,
            v: crate::VERSION,
        };
        Signed::sign(fact, signer)
    }

    /// What a valid signature does not say: that the parts of the fact agree with each other.
    ///
    /// # Errors
    /// [`FactError`] with the part that does not fit.
    pub fn check(&self) -> Result<(), FactError> {
        if self.v != crate::VERSION {
            return Err(FactError::Version(self.v));
        }
        if Digest::of(&codec::value_to_vec(&self.payload)?) != self.payload_hash {
            return Err(FactError::PayloadHash);
        }
        if EventId::derive(&self.actor.id, self.actor_seq, &self.journal) != self.id {
            return Err(FactError::Id);
        }
        if !crate::job::signers(self.kind).contains(&self.actor.kind) {
            return Err(FactError::Signer { actor: self.actor.kind, event: self.kind });
        }
        Ok(())
    }
}

/// Why a genuine fact is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// The payload cannot be encoded again.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The id is not the one that actor, journal and count give.
    #[error("its id is not derived from its actor, journal and count")]
    Id,
    /// The hash is of another payload.
    #[error("its payload is not the one that its hash names")]
    PayloadHash,
    /// An actor states what only others may.
    #[error("{event} may not be signed by a {actor:?}")]
    Signer {
        /// Who signed.
        actor: ActorKind,
        /// What was stated.
        event: EventType,
    },
    /// A later format.
    #[error("format version {0} is not known")]
    Version(u32),
}

/// Where a stream's keeper put a fact.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// SHA-256 over `prev_hash` and the fact's signed bytes.
    pub hash: Digest,
    /// The state could no longer take it; kept, and marked.
    pub late: bool,
    /// Of the entry before; zeros for the first.
    pub prev_hash: Digest,
    /// From 1, without gaps.
    pub seq: u64,
    /// Which stream.
    pub stream: StreamId,
}

impl Place {
    /// The hash of a place: what the next one names as `prev_hash`.
    #[must_use]
    pub fn hash_of(prev_hash: &Digest, fact_bytes: &[u8]) -> Digest {
        Digest::of_parts(&[prev_hash.as_bytes(), fact_bytes])
    }
}

/// Payload of `CHECKPOINT_REACHED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointReached {
    /// Named by the skill.
    pub name: String,
    /// Where the robot was.
    pub pose: Pose,
    /// In which step of the plan.
    pub step: StepId,
}

/// Payload of `EXECUTION_STARTED`, `EN_ROUTE` and `ACCESS_GRANTED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UnderPolicy {
    /// Hash of the signed policy in force.
    pub policy_hash: Digest,
    /// Where the robot was.
    pub pose: Pose,
}

/// Payload of `EXECUTION_COMPLETED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Completed {
    /// Interventions of the gate during the job.
    pub interventions: u64,
    /// Where the robot was.
    pub pose: Pose,
    /// Steps carried out.
    pub steps: u32,
}

/// Payload of `EXECUTION_ABORTED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Aborted {
    /// Why, in one line.
    pub reason: String,
    /// In which step, if one had begun.
    pub step: Option<StepId>,
}

/// Payload of `SKILL_USED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillUsed {
    /// SHA-256 of the bundle.
    pub bundle: Digest,
    /// Which skill.
    pub skill: SkillId,
    /// For which step.
    pub step: StepId,
    /// Semantic version.
    pub version: String,
}

/// Payload of `ASSIST_REQUESTED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssistRequested {
    /// In the skill's words, for an operator.
    pub reason: String,
    /// In which step of the plan.
    pub step: StepId,
}

/// Payload of `EVIDENCE_CAPTURED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceCaptured {
    /// The bytes, where they are few enough for a record.
    pub bytes: Option<Blob>,
    /// Such as `application/json`.
    pub media_type: String,
    /// Named by the skill.
    pub name: String,
    /// Of the bytes.
    pub sha256: Digest,
    /// In which step of the plan.
    pub step: StepId,
}

/// Payload of `HEARTBEAT`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The robot asks for an operator.
    pub assist_requested: bool,
    /// Steps done of all, 0 to 1.
    pub progress: f64,
    /// The step under way.
    pub stage: Option<StepId>,
}
