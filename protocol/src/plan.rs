//! A plan: the steps of a job, each carried out by one action of one skill.

use crate::codec::{self, CodecError, Digest};
use crate::geometry::Point;
use crate::ids::{SkillId, StepId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most steps of a plan.
pub const MAX_STEPS: usize = 256;

/// The longest time that a step may be given, seconds.
pub const MAX_STEP_TIMEOUT_S: u32 = 24 * 3600;

/// Which bundle a step runs: the hash decides, id and version are for people and for licences.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillRef {
    /// SHA-256 of the bundle file.
    pub bundle: Digest,
    /// The skill.
    pub id: SkillId,
    /// Its semantic version.
    pub version: String,
}

/// A parameter of a step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Param {
    /// True or false.
    Flag(bool),
    /// A number, in the unit that the skill documents.
    Number(f64),
    /// Points in the `map` frame.
    Points(Vec<Point>),
    /// A text.
    Text(String),
}

/// One step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// One of the actions that the skill's manifest names.
    pub action: String,
    /// Unique within the plan.
    pub id: StepId,
    /// For the action.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// The skill that carries it out.
    pub skill: SkillRef,
    /// After this many seconds the step has failed.
    pub timeout_s: u32,
}

/// The steps of a job, in order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In order.
    pub steps: Vec<PlanStep>,
}

impl Plan {
    /// SHA-256 of its canonical CBOR: what a review names, so that it counts for this plan only.
    ///
    /// # Errors
    /// [`CodecError::Encode`] when a value has no CBOR form.
    pub fn digest(&self) -> Result<Digest, CodecError> {
        Ok(Digest::of(&codec::to_vec(self)?))
    }
}

/// Why a plan is not acceptable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No steps, or more than [`MAX_STEPS`].
    #[error("a plan has 1 to {MAX_STEPS} steps, this one has {0}")]
    Length(usize),
    /// A number that is no number.
    #[error("step {step}: parameter `{param}` is not finite")]
    NotFinite {
        /// Of the step.
        param: String,
        /// The step.
        step: StepId,
    },
    /// Two steps with one id.
    #[error("step id {0} appears twice")]
    Repeated(StepId),
    /// No time, or more than [`MAX_STEP_TIMEOUT_S`].
    #[error("step {step}: timeout_s must be 1 to {MAX_STEP_TIMEOUT_S}, is {timeout_s}")]
    Timeout {
        /// The step.
        step: StepId,
        /// What it says.
        timeout_s: u32,
    },
}

impl Plan {
    /// Checks what the types do not hold.
    ///
    /// # Errors
    /// The first [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        if self.steps.is_empty() || self.steps.len() > MAX_STEPS {
            return Err(PlanError::Length(self.steps.len()));
        }
        let mut seen = BTreeSet::new();
        for step in &self.steps {
            if !seen.insert(&step.id) {
                return Err(PlanError::Repeated(step.id.clone()));
            }
            if step.timeout_s == 0 || step.timeout_s > MAX_STEP_TIMEOUT_S {
                return Err(PlanError::Timeout {
                    step: step.id.clone(),
                    timeout_s: step.timeout_s,
                });
            }
            for (name, value) in &step.params {
                let finite = match value {
                    Param::Number(number) => number.is_finite(),
                    Param::Points(points) => points.iter().all(|point| point.is_finite()),
                    Param::Flag(_) | Param::Text(_) => true,
                };
                if !finite {
                    return Err(PlanError::NotFinite {
                        param: name.clone(),
                        step: step.id.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The skills that the plan needs, each once.
    #[must_use]
    pub fn skills(&self) -> BTreeSet<&SkillRef> {
        self.steps.iter().map(|step| &step.skill).collect()
    }
}
