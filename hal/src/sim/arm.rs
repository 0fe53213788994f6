//! The driver of the simulated arm.

use super::STEP;
use super::calls::Calls;
use super::config::{ArmConfig, ConfigError, SimConfig};
use super::joints::{Joints, PerJoint};
use super::orders::{Order, Orders};
use super::sensors::Noise;
use super::table::{Table, ThingTruth};
use crate::robot::{HalError, Robot};
use nooterra_policy::Gated;
use nooterra_protocol::command::{self, Command, StopProfile};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::observation::{Capabilities, JointStates, Observation, Timed};
use nooterra_protocol::time::MonoNanos;

/// The simulated arm, a SCARA: joint 0 is the shoulder (rad), joint 1 the elbow (rad), joint 2
/// the lift (m over the table, which 0 touches), joint 3 the gripper (m between its jaws). Both
/// angles are counter-clockwise: the shoulder's from the yaw of the arm's place, the elbow's from
/// the upper arm.
///
/// # Picking up
/// A thing is between the jaws while the tool's point is no further from its middle than half its
/// size, the lift is lower than it is high, and the jaws are open wider than it. Jaws that close
/// then end at its size with [`ArmConfig::grip_n`], and hold it: it moves with tool and lift as
/// one body. Opened 1 mm wider than it they let it go, and it falls onto the table at that place.
/// Jaws hold one thing, and none that they could not open wide enough to let go.
#[derive(Debug)]
pub struct SimArm {
    calls: Calls,
    config: ArmConfig,
    joints: Joints,
    noise: Noise,
    orders: Orders<PerJoint>,
    robot: RobotId,
    table: Table,
}

/// Where an arm and its things really are, for whoever checks the run. Points are in the `map`
/// frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmTruth {
    /// Between upper arm and fore arm.
    pub elbow: Point,
    /// Over the table, metres.
    pub lift_m: f64,
    /// Between the jaws, metres.
    pub opening_m: f64,
    /// Of each joint, rad or m.
    pub positions: [f64; 4],
    /// Where it stands.
    pub shoulder: Point,
    /// In the order of the configuration.
    pub things: Vec<ThingTruth>,
    /// The end of the fore arm, where the jaws meet.
    pub tool: Point,
}

impl SimArm {
    /// Puts an arm to its table, at `config.start` or the origin. `seed` fixes the noise.
    ///
    /// # Errors
    /// [`ConfigError`] when the table makes no sense, or there is no arm at it.
    pub fn new(robot: RobotId, config: SimConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let stands = config.begin().unwrap_or_default();
        let Some(config) = config.arm else {
            return Err(ConfigError::Kind { asked: "an arm", found: "a base" });
        };
        Ok(Self {
            calls: Calls::default(),
            joints: Joints::new(&config, stands),
            noise: Noise::new(seed),
            orders: Orders::new(config.reaction_ms),
            robot,
            table: Table::new(&config),
            config,
        })
    }

    /// Presses or releases the button on the robot. While it is pressed the joints have no power
    /// and their brakes hold.
    pub fn press_emergency_stop(&mut self, pressed: bool) {
        self.orders.cut_power(pressed);
    }

    /// Where it stands.
    #[must_use]
    pub const fn stands(&self) -> Pose {
        self.joints.stands()
    }

    /// Where its parts and things really are. No part of the robot knows it.
    #[must_use]
    pub fn truth(&self) -> ArmTruth {
        let positions = self.joints.position;
        let [_, _, lift_m, opening_m] = positions;
        ArmTruth {
            elbow: self.joints.elbow(),
            lift_m,
            opening_m,
            positions,
            shoulder: self.stands().point(),
            things: self.table.things().to_vec(),
            tool: self.joints.tool().at,
        }
    }

    /// How its joints really move, rad/s or m/s.
    #[must_use]
    pub const fn truth_velocities(&self) -> [f64; 4] {
        self.joints.velocity
    }

    /// The arm is at rest, or coming to rest, because nobody wrote to it in time.
    #[must_use]
    pub const fn is_watchdog_tripped(&self) -> bool {
        self.orders.is_abandoned()
    }

    /// Brings the world up to `now`, to within a step.
    fn advance(&mut self, now: MonoNanos) -> Result<MonoNanos, HalError> {
        self.calls.at(now)?;
        while let Some(at) = self.calls.step() {
            let told = match self.orders.in_force(at) {
                Order::Set(told) if !self.orders.is_power_cut() => told,
                _ => [0.0; 4],
            };
            let [.., before_m] = self.joints.position;
            self.joints.advance(&told, STEP.as_secs_f64());
            let [.., told_m] = self.joints.position;
            let opening_m = self.table.jaws(self.joints.tool(), before_m, told_m);
            if opening_m > told_m {
                self.joints.block_jaws(opening_m);
            }
        }
        Ok(self.calls.world())
    }

    fn measured(&mut self) -> JointStates {
        let ArmConfig { grip_n, position_noise, velocity_noise, .. } = self.config;
        let effort_n = if self.table.is_holding() { grip_n } else { 0.0 };
        let position = self.joints.position.map(|at| at + self.noise.within(position_noise));
        let velocity = self.joints.velocity.map(|at| at + self.noise.within(velocity_noise));
        // Four joints are no more than there is room for.
        let of_each = |values: PerJoint| command::PerJoint::new(&values).unwrap_or_default();
        JointStates {
            effort: of_each([0.0, 0.0, 0.0, effort_n]),
            position: of_each(position),
            velocity: of_each(velocity),
        }
    }
}

impl Robot for SimArm {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            names: vec!["gripper".to_owned(), "joints".to_owned()],
            max_linear_mps: 0.0,
            max_angular_radps: 0.0,
            model: "Nooterra simulated arm".to_owned(),
        }
    }

    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let at = self.advance(now)?;
        Ok(Observation {
            battery: None,
            docked: false,
            emergency_stop: self.orders.is_power_cut(),
            gripper: true,
            joints: Some(Timed { at, value: self.measured() }),
            pose: Timed { at, value: self.stands() },
            scan: None,
            twist: Timed { at, value: Twist::ZERO },
        })
    }

    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        // The order counts even when the clock is wrong: a stop waits for nothing.
        let advanced = self.advance(now);
        self.orders.give(self.calls.latest(now), Order::Stop(profile));
        advanced.map(drop)
    }

    fn write(
        &mut self,
        now: MonoNanos,
        tick: u64,
        command: Gated<Command>,
    ) -> Result<(), HalError> {
        let command = command.open(&self.robot, tick)?;
        self.calls.check_tick(tick)?;
        self.advance(now)?;
        self.calls.wrote(tick);
        let Command::Joints(velocities) = command else { return Err(HalError::Command) };
        let told = velocities.joints.as_slice().try_into().map_err(|_| HalError::Command)?;
        self.orders.give(now, Order::Set(told));
        Ok(())
    }
}
