//! Where a skill is rehearsed: a world and an owner's policy.

use crate::config::{self, Config, ConfigError, Driver};
use crate::envelope::{self, EnvelopeError};
use crate::policy_file::{self, PolicyFileError};
use crate::review::{ReviewError, Reviewed};
use nooterra_hal::sim::SimConfig;
use nooterra_protocol::policy::{PolicyDocument, Vehicle};
use nooterra_protocol::skill::{Capability, SkillManifest};
use std::path::{Path, PathBuf};

/// The example robots, which are there without any file: a folder, its world, its policy.
const AMR: [&str; 3] = [
    "examples/robots/amr",
    include_str!("../../../examples/robots/amr/world.toml"),
    include_str!("../../../examples/robots/amr/policy.json"),
];
const ARM: [&str; 3] = [
    "examples/robots/arm",
    include_str!("../../../examples/robots/arm/world.toml"),
    include_str!("../../../examples/robots/arm/policy.json"),
];

/// Why a robot's folder is no stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The configuration, or the world that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The signed policy.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The policy is for a base and the world has an arm, or the other way round.
    #[error(
        "{}: the policy is for another kind of robot than the world has; vehicle.type = \"joints\" \
         goes with [arm]",
        .0.display()
    )]
    Kinds(PathBuf),
    /// There is a configuration and no policy, signed or not.
    #[error(
        "{}: no policy; write one beside it as policy.toml or policy.json (docs/first-policy.md)",
        .0.display()
    )]
    NoPolicy(PathBuf),
    /// The policy before it is signed.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
}

/// A world and a policy.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What the gate holds.
    pub policy: PolicyDocument,
    /// The masks that the policy names lie here.
    masks: PathBuf,
    /// The room and the robot.
    pub world: SimConfig,
}

impl Stage {
    /// The example robot that a skill is for: the arm at its table where it moves joints, and
    /// otherwise the base in its hall.
    ///
    /// # Errors
    /// None that a build can have which passed its tests.
    pub fn example_for(manifest: &SkillManifest) -> Result<Self, StageError> {
        let is_arm = manifest.capabilities.contains(&Capability::Joints);
        Self::of(if is_arm { ARM } else { AMR })
    }

    /// The example base in its hall.
    ///
    /// # Errors
    /// As [`Self::example_for`].
    pub fn example() -> Result<Self, StageError> {
        Self::of(AMR)
    }

    fn of([path, world, policy]: [&str; 3]) -> Result<Self, StageError> {
        let path = Path::new(path);
        Ok(Self {
            policy: policy_file::parse(policy, &path.join("policy.json"))?,
            masks: path.to_owned(),
            world: config::parse_toml(world, &path.join("world.toml"))?,
        })
    }

    /// A robot's folder, or its `agent.toml`: the policy that is signed for it, and otherwise
    /// `policy.toml` or `policy.json` beside where that would be.
    ///
    /// # Errors
    /// [`StageError`]
    pub fn load(robot: &Path) -> Result<Self, StageError> {
        let file = if robot.is_dir() { robot.join("agent.toml") } else { robot.to_owned() };
        let config = Config::load(&file)?;
        let Driver::Sim = config.robot.driver;
        let path = config.robot.world.clone().unwrap_or_default();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let world: SimConfig = config::parse_toml(&text, &path)?;
        let signed = &config.policy.file;
        let masks = signed.parent().unwrap_or(Path::new(".")).to_owned();
        let policy = if signed.exists() {
            envelope::load(&config)?.document().clone()
        } else {
            let mut drafts =
                ["policy.toml", "policy.json"].map(|name| masks.join(name)).into_iter();
            let draft = drafts.find(|draft| draft.exists());
            policy_file::load(&draft.ok_or_else(|| StageError::NoPolicy(file))?)?
        };
        if matches!(policy.vehicle, Vehicle::Joints { .. }) != world.arm.is_some() {
            return Err(StageError::Kinds(robot.to_owned()));
        }
        Ok(Self { policy, masks, world })
    }

    pub(super) fn reviewed(&self) -> Result<Reviewed, ReviewError> {
        Reviewed::new(&self.policy, &self.masks)
    }
}
