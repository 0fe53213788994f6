//! The manifest of a skill bundle: what it is, what it needs, and of whom it is.

use crate::codec::Digest;
use crate::ids::SkillId;
use serde::{Deserialize, Serialize};

/// The WIT package that a bundle is written against, in this release.
pub const WIT: &str = "nooterra:skill@0.2.2";

/// All that this release runs, oldest first. Each has all that the one before it has.
pub const WITS: [&str; 3] = ["nooterra:skill@0.2.0", "nooterra:skill@0.2.1", WIT];

/// The file in a bundle that holds the manifest, as JSON.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The file in a bundle that holds the WebAssembly component.
pub const COMPONENT_FILE: &str = "component.wasm";

/// The file in a bundle that says what the component was made of: CycloneDX, as JSON. It may be
/// missing.
pub const SBOM_FILE: &str = "sbom.cdx.json";

/// The largest of them that is read, in bytes.
pub const MAX_SBOM_BYTES: usize = 2 * 1024 * 1024;

/// The file in a bundle that holds the policy graph, as JSON; not every bundle has one.
pub const GRAPH_FILE: &str = "graph.json";

/// The largest policy graph that is read, in bytes.
pub const MAX_GRAPH_BYTES: usize = 64 * 1024;

/// The file in a bundle that holds the cases that it must pass in the simulator, as JSON; not
/// every bundle has one.
pub const CASES_FILE: &str = "cases.json";

/// The largest file of cases that is read, in bytes.
pub const MAX_CASES_BYTES: usize = 256 * 1024;

/// The largest bundle that is read, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 32 * 1024 * 1024;

/// What a skill may be allowed to do beyond computing. What is effective is what its manifest
/// asks for and the local configuration grants.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Ask people for help.
    Assist,
    /// Take pictures with the robot's camera.
    Camera,
    /// State that a checkpoint of the job was reached.
    Checkpoint,
    /// Ask for motion of a base.
    Drive,
    /// Attach evidence to the job.
    Evidence,
    /// Be a skill for an arm: see its joints, and ask for motion of them and of its gripper.
    Joints,
    /// Write lines to the robot's log.
    Log,
    /// See the range sensor.
    Scan,
}

/// How far a skill has been tested, and by whom.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Nobody but its developer.
    Dev,
    /// In the laboratory.
    LabCert,
    /// In the field.
    FieldCert,
}

/// The manifest.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillManifest {
    /// What a plan's step can name.
    pub actions: Vec<String>,
    /// What it needs.
    pub capabilities: Vec<Capability>,
    /// SHA-256 of [`CASES_FILE`], where the bundle has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases_sha256: Option<Digest>,
    /// SHA-256 of the component file.
    pub component_sha256: Digest,
    /// Who answers for it.
    pub developer: String,
    /// The most fuel that one call may use, in the sandbox's units: about one for each
    /// instruction. A budget that does not depend on the machine; without it only time counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel_per_step: Option<u64>,
    /// SHA-256 of the policy graph's file, where the bundle has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph_sha256: Option<Digest>,
    /// Its id.
    pub id: SkillId,
    /// SPDX expression, or the name of the terms.
    pub licence: String,
    /// The most linear memory that it needs, MiB.
    pub memory_mib: u32,
    /// For people.
    pub name: String,
    /// One step each so many milliseconds.
    pub period_ms: u32,
    /// SHA-256 of [`SBOM_FILE`], where the bundle has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom_sha256: Option<Digest>,
    /// How far it has been tested.
    pub tier: Tier,
    /// Manifest format, 1.
    pub v: u32,
    /// Semantic version.
    pub version: String,
    /// The WIT package that it is written against, one of [`WITS`].
    pub wit: String,
}

/// Why a manifest is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or with missing or unknown keys.
    #[error("{MANIFEST_FILE}: {0}")]
    Json(String),
    /// A value outside its range.
    #[error("{MANIFEST_FILE}: `{key}` {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl SkillManifest {
    /// Checks what the types do not hold.
    ///
    /// # Errors
    /// [`ManifestError::Value`] with the key.
    pub fn check(&self) -> Result<(), ManifestError> {
        let refuse = |key, why: String| Err(ManifestError::Value { key, why });
        if self.v != 1 {
            return refuse("v", format!("is {}, this release reads 1", self.v));
        }
        if semver::Version::parse(&self.version).is_err() {
            return refuse("version", format!("`{}` is not a semantic version", self.version));
        }
        if !WITS.contains(&self.wit.as_str()) {
            let why = format!(
                "is `{}`, this release runs `{}`; build the skill anew against one of them",
                self.wit,
                WITS.join("` and `")
            );
            return refuse("wit", why);
        }
        let has = |capability| self.capabilities.contains(&capability);
        let since = |wit: &str| WITS.iter().position(|known| *known == wit);
        for (capability, name, came_with) in
            [(Capability::Camera, "camera", WITS[1]), (Capability::Joints, "joints", WITS[2])]
        {
            if has(capability) && since(&self.wit) < since(came_with) {
                let why = format!("has `{name}`, which came with `{came_with}`; set `wit` to that");
                return refuse("capabilities", why);
            }
        }
        for (capability, name) in [(Capability::Drive, "drive"), (Capability::Scan, "scan")] {
            if has(Capability::Joints) && has(capability) {
                let why = format!(
                    "has `joints` and `{name}`, and a skill is for an arm or for a base; leave \
                     one of them out"
                );
                return refuse("capabilities", why);
            }
        }
        if !(10..=10_000).contains(&self.period_ms) {
            return refuse("period_ms", format!("is {}, must be 10 to 10000", self.period_ms));
        }
        if !(1..=64).contains(&self.memory_mib) {
            return refuse("memory_mib", format!("is {}, must be 1 to 64", self.memory_mib));
        }
        if self.fuel_per_step.is_some_and(|fuel| !(10_000..=1_000_000_000_000).contains(&fuel)) {
            return refuse("fuel_per_step", "must be 10000 to 1000000000000".to_owned());
        }
        if self.actions.is_empty() || self.actions.len() > 64 {
            return refuse("actions", format!("has {} names, must be 1 to 64", self.actions.len()));
        }
        Ok(())
    }
}
