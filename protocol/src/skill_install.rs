//! What became of a skill's versions on a robot: a record of the journal.

use crate::codec::Digest;
use crate::ids::SkillId;
use serde::{Deserialize, Serialize};

/// A version of a skill took a step towards running on this robot, or back.
///
/// The step and this record are decided in one write. Where the power goes between the record's
/// own write and the note that it was made, it stands twice.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillInstall {
    /// SHA-256 of the bundle file; absent where it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// Why, in one line.
    pub reason: String,
    /// Of which skill; absent where it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<SkillId>,
    /// Which step.
    pub step: SkillInstallStep,
    /// As its manifest has it; absent where it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A step of a version of a skill.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkillInstallStep {
    /// It has proven itself, or had before, and is the one that runs.
    Activated,
    /// It is here and may be tried; what ran before stays.
    Installed,
    /// What was known of all versions cannot be read any more; each is new again.
    Lost,
    /// Its compiled code was not taken from the disk, and is made anew.
    Recompiled,
    /// It is no longer kept.
    Removed,
    /// It is given up, and the one before comes back.
    RolledBack,
}

impl SkillInstallStep {
    /// As in a record: `rolled_back`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Installed => "installed",
            Self::Lost => "lost",
            Self::Recompiled => "recompiled",
            Self::Removed => "removed",
            Self::RolledBack => "rolled_back",
        }
    }
}
