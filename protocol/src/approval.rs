//! Approvals: that somebody on the requester's side looked at a job's plan and lets it be carried
//! out, and that this no longer holds.

use crate::codec::Digest;
use crate::time::WallMillis;
use serde::{Deserialize, Serialize};

/// The most approvals that a job is ever given, those that ended counted.
pub const MAX_APPROVALS: usize = 32;

/// Payload of `APPROVAL_GRANTED`. Who approves is the fact's actor.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGranted {
    /// [`Plan::digest`](crate::plan::Plan::digest) of the plan that was looked at; the approval
    /// is of no other.
    pub plan: Digest,
    /// Not from then on; until the job is over without.
    pub until: Option<WallMillis>,
}

/// Payload of `APPROVAL_REVOKED` and `APPROVAL_EXPIRED`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalEnded {
    /// In the words of whoever ended it.
    pub reason: String,
}
