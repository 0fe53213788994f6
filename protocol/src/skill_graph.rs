//! Where the policy graph of a running skill stands: what the journal keeps of it.

use crate::ids::{JobId, SkillId, StepId};
use serde::{Deserialize, Serialize};

/// One node on the way from the root of a graph to where it stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSpot {
    /// Of a retry the attempts that failed; of a timeout the observations since it began;
    /// otherwise 0.
    pub count: u32,
    /// Of a timeout the observed time since it began, nanoseconds; otherwise 0.
    pub elapsed_ns: u64,
    /// Its number in the action's tree, from 0 for the root, each before what is below it.
    pub node: u16,
}

/// The way from the root to where a graph stands; empty before it begins and after its end.
/// With the parameters of the action this is all that what comes next depends on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct GraphPosition(pub Vec<GraphSpot>);

/// The policy graph of the running skill moved. Class normal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillGraph {
    /// The action that the graph carries out.
    pub action: String,
    /// The job.
    pub job: JobId,
    /// The name of the step of the graph that runs now; none between two attempts and at the end.
    pub live: Option<String>,
    /// Where the graph stands now.
    pub position: GraphPosition,
    /// Which skill.
    pub skill: SkillId,
    /// The step of the plan.
    pub step: StepId,
    /// What moved it, in the names of the graph.
    pub why: String,
}
