//! What travels between the agent and the cloud beside signed commands.

use crate::codec::{Blob, Digest};
use crate::entry::Class;
use crate::geometry::Pose;
use crate::grant::Mode;
use crate::ids::{JobId, JournalId, PolicyId, RobotId};
use crate::observation::{Battery, Capabilities};
use serde::{Deserialize, Serialize};

/// The largest batch, in bytes of records: small enough for a slow link to make progress.
pub const MAX_BATCH_BYTES: usize = 32 * 1024;

/// Journal records of one class, in order, as they are stored (`nooterra_evidence::Record`).
/// Positions between them belong to other classes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Which journal: a wiped robot begins a new one.
    pub journal: JournalId,
    /// Canonical record bytes, ascending by sequence number.
    pub records: Vec<Blob>,
    /// What of this class stands before. A carrier that may lose a batch between two others
    /// needs it: acknowledgements are cumulative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// Where a batch begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Journal sequence number up to which the cloud has acknowledged this class.
    pub acked: u64,
    /// Up to and with which it was sent before this batch.
    pub after: u64,
}

/// What the cloud has made durable: every record of this class up to and with `through_seq`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Which class.
    pub class: Class,
    /// Which journal.
    pub journal: JournalId,
    /// Journal sequence number.
    pub through_seq: u64,
}

/// Presence, capabilities and health of a robot. Its last will says `online: false`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Absent in a last will.
    pub health: Option<Health>,
    /// The channel is up.
    pub online: bool,
    /// Whose.
    pub robot: RobotId,
}

/// How a robot is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Of the agent.
    pub agent_version: String,
    /// Battery, where there is one.
    pub battery: Option<Battery>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// A software or hardware emergency stop is in force.
    pub emergency_stop: bool,
    /// The job under way.
    pub job: Option<JobId>,
    /// What the journal may take on the disk; `None` where the file system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_bound_bytes: Option<u64>,
    /// What it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_bytes: Option<u64>,
    /// Records in the journal.
    pub journal_records: u64,
    /// Where the device key lives: `file` or `tpm`.
    pub key_store: String,
    /// How it is operated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The policy in force.
    pub policy: PolicyId,
    /// Its hash.
    pub policy_hash: Digest,
    /// Last known pose.
    pub pose: Option<Pose>,
    /// A person's veto holds it.
    #[serde(default)]
    pub vetoed: bool,
}
