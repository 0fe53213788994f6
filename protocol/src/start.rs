//! What a start of the agent finds of the runs before it.

use crate::ids::{JobId, StepId};
use crate::time::Stamp;
use serde::{Deserialize, Serialize};

/// The run before this start did not end in order: power was lost, or the agent was killed.
/// Class critical.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// The dump of the flight recorder that was cut off, and what there is of it.
    pub flight: Option<CutDump>,
    /// The job that was under way, as the job runner's memory has it.
    pub job: Option<JobId>,
    /// When the last durable record was made, by the clocks of that run. It ended later.
    pub last_at: Option<Stamp>,
    /// The boot that ended so.
    pub last_boot: u64,
    /// Sequence number of its last durable record.
    pub last_seq: u64,
    /// The damaged journal of that run was put aside under this name.
    pub put_aside: Option<String>,
    /// The step of the plan that was to be done next.
    pub step: Option<StepId>,
}

/// A dump that is not whole.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CutDump {
    /// Blocks that are in the journal, each of them whole.
    pub blocks: u32,
    /// Which dump of that boot.
    pub dump: u64,
    /// Ticks that are in them.
    pub ticks: u64,
}

/// A damaged journal that was put aside is about to be removed for good. Class critical.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AsideRemoved {
    /// How much it took on the disk.
    pub bytes: u64,
    /// Its name, as the `loss` has it that was written when it was put aside.
    pub name: String,
    /// Why, in one line.
    pub reason: String,
}
