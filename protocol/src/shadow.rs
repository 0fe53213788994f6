//! What a candidate policy would have done, had it been in force: a record of the journal.

use crate::codec::Digest;
use crate::command::{Asked, Command, Source};
use crate::entry::Rule;
use crate::geometry::Pose;
use crate::ids::{JobId, PolicyId, ZoneId};
use serde::{Deserialize, Serialize};

/// A candidate judged what the robot did, and moved nothing.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// The candidate.
    pub candidate: PolicyId,
    /// Its hash.
    pub candidate_hash: Digest,
    /// Its version.
    pub candidate_version: u32,
    /// Of all ticks since the agent started.
    pub counts: ShadowCounts,
    /// Where it differs; absent where only the counts are told.
    pub finding: Option<ShadowFinding>,
    /// Why this is written.
    pub phase: ShadowPhase,
    /// Hash of the policy in force.
    pub policy_hash: Digest,
}

/// Why a record of a shadow is written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowPhase {
    /// The two began to differ.
    Began,
    /// It is time to tell the counts: every ten minutes, and when the agent ends.
    Counted,
    /// They have agreed for half a second; the finding is of the last tick in which they did not.
    Ended,
    /// The candidate failed; it judges nothing more until the agent is started again.
    Failed,
    /// They still differ, and in another way.
    Holds,
}

/// How a candidate differs from the policy in force.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It would have let the robot move faster in some direction, or in another one.
    WouldAllow,
    /// It would have held the robot slower.
    WouldSlow,
    /// It would have brought the robot to rest, which moved.
    WouldStop,
}

/// Ticks, counted from the start of the agent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowCounts {
    /// Both judged.
    pub judged: u64,
    /// [`Difference::WouldAllow`]
    pub would_allow: u64,
    /// [`Difference::WouldSlow`]
    pub would_slow: u64,
    /// [`Difference::WouldStop`]
    pub would_stop: u64,
}

/// One tick in which a candidate differs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowFinding {
    /// What the policy in force let through.
    pub allowed: Command,
    /// What the source wished. A number that was none is left out.
    pub asked: Asked,
    /// How they differ.
    pub difference: Difference,
    /// The job under way.
    pub job: Option<JobId>,
    /// The limit of the rule, in its unit.
    pub limit: Option<f64>,
    /// Where the robot was.
    pub pose: Pose,
    /// The rule that makes the difference: the candidate's, or for `would_allow` that of the
    /// policy in force.
    pub rule: Option<Rule>,
    /// Whose wish it was.
    pub source: Source,
    /// Tick of the control loop.
    pub tick: u64,
    /// In how many ticks of this run they differed so far.
    pub ticks: u64,
    /// What the candidate would have let through.
    pub would: Command,
    /// The zone of the rule, for rules about zones.
    pub zone: Option<ZoneId>,
}

impl ShadowCounts {
    /// Counts one tick.
    pub const fn add(&mut self, difference: Option<Difference>) {
        self.judged += 1;
        match difference {
            Some(Difference::WouldAllow) => self.would_allow += 1,
            Some(Difference::WouldSlow) => self.would_slow += 1,
            Some(Difference::WouldStop) => self.would_stop += 1,
            None => {}
        }
    }
}
