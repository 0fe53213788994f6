//! From the configuration to a robot that can be driven.

use crate::config::{Config, ConfigError, Driver};
use nooterra_hal::Robot;
use std::path::PathBuf;

/// Why there is no robot to drive.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// This build of the agent was made without it.
    #[error("driver \"{0}\" is not in this build of the agent; install the one with it")]
    Absent(&'static str),
    /// The file of the simulated world cannot be read or is not understood.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// The log of the true poses cannot be written.
    #[error("{}: {source}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The world makes no sense.
    #[error("{}: {what}", path.display())]
    World {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write instead.
        what: String,
    },
}

/// What only the simulated robot takes.
#[derive(Clone, Debug, Default)]
pub struct SimOptions {
    /// For the noise of its sensors.
    pub seed: u64,
    /// Where the true poses are written, as CSV, to check the agent by what it cannot know.
    pub truth: Option<PathBuf>,
}

/// Opens the configured robot.
///
/// # Errors
/// [`DriverError`]
pub fn open(config: &Config, options: &SimOptions) -> Result<Box<dyn Robot>, DriverError> {
    match config.robot.driver {
        Driver::Sim => sim(config, options),
    }
}

#[cfg(not(feature = "sim"))]
fn sim(_config: &Config, _options: &SimOptions) -> Result<Box<dyn Robot>, DriverError> {
    Err(DriverError::Absent("sim"))
}

#[cfg(feature = "sim")]
fn sim(config: &Config, options: &SimOptions) -> Result<Box<dyn Robot>, DriverError> {
    use nooterra_hal::sim::{SimConfig, Simulated};

    // Config::load refuses driver = "sim" without a world.
    let path = config.robot.world.clone().unwrap_or_default();
    let text = std::fs::read_to_string(&path)
        .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    let world: SimConfig = crate::config::parse_toml(&text, &path)?;
    let robot = Simulated::new(config.robot.id.clone(), world, options.seed)
        .map_err(|error| DriverError::World { path, what: error.to_string() })?;
    match &options.truth {
        None => Ok(Box::new(robot)),
        Some(path) => {
            let logged = truth::Logged::new(robot, path)
                .map_err(|source| DriverError::Truth { path: path.clone(), source })?;
            Ok(Box::new(logged))
        }
    }
}

/// The simulated robot with a log of where it truly is, or the tool of an arm.
#[cfg(feature = "sim")]
mod truth {
    use nooterra_hal::sim::{ArmTruth, Simulated};
    use nooterra_hal::{Camera, HalError, Robot};
    use nooterra_policy::Gated;
    use nooterra_protocol::command::{Command, StopProfile};
    use nooterra_protocol::geometry::Pose;
    use nooterra_protocol::observation::{Capabilities, Observation};
    use nooterra_protocol::time::MonoNanos;
    use std::fs::File;
    use std::io::{BufWriter, Write as _};
    use std::path::Path;
    use std::sync::Arc;

    pub(super) struct Logged {
        log: BufWriter<File>,
        robot: Simulated,
    }

    impl Logged {
        pub(super) fn new(robot: Simulated, path: &Path) -> std::io::Result<Self> {
            let mut log = BufWriter::new(File::create(path)?);
            writeln!(log, "mono_ns,x,y,yaw,linear,angular")?;
            Ok(Self { log, robot })
        }

        /// Where that of the robot is which moves: of an arm the tool, with the fore arm's yaw.
        fn moving(&self) -> Pose {
            self.robot.arm().map_or_else(
                || self.robot.truth(),
                |ArmTruth { elbow, tool, .. }| {
                    let yaw = (tool.y - elbow.y).atan2(tool.x - elbow.x);
                    Pose { x: tool.x, y: tool.y, yaw }
                },
            )
        }
    }

    impl Robot for Logged {
        fn capabilities(&self) -> Capabilities {
            self.robot.capabilities()
        }

        fn camera(&self) -> Option<Arc<dyn Camera>> {
            self.robot.camera()
        }

        fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
            let seen = self.robot.read(now)?;
            let (pose, twist) = (self.moving(), self.robot.truth_twist());
            writeln!(
                self.log,
                "{},{:.5},{:.5},{:.5},{:.5},{:.5}",
                now.0, pose.x, pose.y, pose.yaw, twist.linear, twist.angular
            )
            .map_err(|error| HalError::Device(Box::new(error)))?;
            Ok(seen)
        }

        fn write(
            &mut self,
            now: MonoNanos,
            tick: u64,
            command: Gated<Command>,
        ) -> Result<(), HalError> {
            self.robot.write(now, tick, command)
        }

        fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
            self.robot.stop(now, profile)
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use nooterra_policy::VerifiedPolicy;
    use nooterra_protocol::envelope::Signed;
    use nooterra_protocol::keys::{Ed25519Key, Signer as _};
    use nooterra_protocol::time::MonoNanos;
    use std::path::Path;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots")
    }

    #[test]
    fn every_shipped_world_has_a_robot_that_moves_under_its_own_policy() {
        let mut models = Vec::new();
        for folder in std::fs::read_dir(shipped()).unwrap() {
            let folder = folder.unwrap().path();
            if !folder.join("world.toml").exists() {
                continue;
            }
            let config = Config::load(&folder.join("agent.toml")).unwrap();
            let document = crate::policy_file::load(&folder.join("policy.json")).unwrap();
            let owner = Ed25519Key::from_seed([9; 32]);
            let signed = Signed::sign(document, &owner).unwrap();
            let (key, robot) = (owner.verifying_key(), &config.robot.id);
            let policy = VerifiedPolicy::verify(signed.bytes(), &key, robot).unwrap();
            let mut robot = open(&config, &SimOptions::default()).unwrap();
            models.push(robot.capabilities().model);
            let begin = MonoNanos(1_000_000_000);
            nooterra_hal::conformance::check(&mut *robot, &policy, begin, |_| ())
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
        models.sort();
        assert_eq!(models, ["Nooterra simulated arm", "Nooterra simulated base"]);
    }

    #[test]
    fn the_log_of_the_truth_has_the_tool_of_an_arm() {
        let dir = tempfile::tempdir().unwrap();
        let truth = dir.path().join("truth.csv");
        let config = Config::load(&shipped().join("arm/agent.toml")).unwrap();
        let options = SimOptions { truth: Some(truth.clone()), ..SimOptions::default() };
        let mut robot = open(&config, &options).unwrap();
        robot.read(MonoNanos(7)).unwrap();
        drop(robot);
        // From (0.8, 0), north: 0.4 m turned by 0.6 to the left, then 0.3 m by 0.6 to the right.
        let lines = "mono_ns,x,y,yaw,linear,angular\n7,0.74354,0.57773,0.97080,0.00000,0.00000\n";
        assert_eq!(std::fs::read_to_string(truth).unwrap(), lines);
    }
}
