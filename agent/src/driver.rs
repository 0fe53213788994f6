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
