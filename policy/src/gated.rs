//! The one thing that a driver accepts: a command that went through the gate.

use nooterra_protocol::ids::RobotId;
use std::sync::Arc;

/// A command that the gate let through, good for one robot and one tick.
///
/// Only a [`Gate`](crate::Gate) makes one. It cannot be copied, cloned or read from bytes, and
/// using it consumes it, so that a command reaches the actuators at most once.
#[derive(Debug)]
#[must_use = "a gated command that is not written moves nothing"]
pub struct Gated<C> {
    command: C,
    robot: Arc<RobotId>,
    tick: u64,
}

/// Why a gated command is not opened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GatedError {
    /// Made for another robot: two robots' loops in one process are crossed.
    #[error(
        "the command was gated for robot {found}, this is {expected}; wire each gate to its own robot"
    )]
    Robot {
        /// Whom the driver drives.
        expected: RobotId,
        /// Whom the gate judged.
        found: RobotId,
    },
    /// Made in another tick: it was kept back, and the world has moved on.
    #[error(
        "the command was gated in tick {found}, this is tick {expected}; write it in the tick it was made"
    )]
    Tick {
        /// The tick of the write.
        expected: u64,
        /// The tick of the gate.
        found: u64,
    },
}

impl<C> Gated<C> {
    pub(crate) const fn new(command: C, robot: Arc<RobotId>, tick: u64) -> Self {
        Self { command, robot, tick }
    }

    /// Takes the command out, for the driver `robot` in its tick `tick`. Consumes it either
    /// way: a command that came to the wrong door is not tried at the next.
    ///
    /// # Errors
    /// [`GatedError`] when it is for another robot or of another tick.
    pub fn open(self, robot: &RobotId, tick: u64) -> Result<C, GatedError> {
        if *self.robot != *robot {
            return Err(GatedError::Robot {
                expected: robot.clone(),
                found: RobotId::clone(&self.robot),
            });
        }
        if self.tick != tick {
            return Err(GatedError::Tick { expected: tick, found: self.tick });
        }
        Ok(self.command)
    }

    /// The robot that it is for.
    #[must_use]
    pub fn robot(&self) -> &RobotId {
        &self.robot
    }

    /// The tick that it is good for.
    #[must_use]
    pub const fn tick(&self) -> u64 {
        self.tick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_opens_for_its_robot_in_its_tick_and_nowhere_else() {
        let robot = |name: &str| RobotId::new(name).unwrap();
        let gated = |tick| Gated::new(7, Arc::new(robot("amr-1")), tick);
        assert_eq!(gated(3).open(&robot("amr-1"), 3), Ok(7));
        assert_eq!(
            gated(3).open(&robot("amr-2"), 3),
            Err(GatedError::Robot { expected: robot("amr-2"), found: robot("amr-1") })
        );
        assert_eq!(
            gated(3).open(&robot("amr-1"), 4),
            Err(GatedError::Tick { expected: 4, found: 3 })
        );
    }
}
