//! The driver of the simulated base.

use super::STEP;
use super::calls::Calls;
use super::camera::SimCamera;
use super::config::{ConfigError, SimConfig};
use super::drives::Drives;
use super::orders::{Order, Orders};
use super::sensors::{self, Cell, Noise};
use super::world::World;
use crate::camera::Camera;
use crate::robot::{HalError, Robot};
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::observation::{Capabilities, Observation, Scan, Timed};
use nooterra_protocol::time::MonoNanos;
use std::sync::Arc;

/// The simulated base.
#[derive(Debug)]
pub struct SimBase {
    battery: Cell,
    calls: Calls,
    camera: Option<Arc<SimCamera>>,
    config: SimConfig,
    drives: Drives,
    noise: Noise,
    orders: Orders<Twist>,
    robot: RobotId,
    scan: Option<Timed<Scan>>,
    /// The next scan.
    scan_due: MonoNanos,
    world: World,
}

impl SimBase {
    /// Puts a robot into its room, at `config.start` or on the dock. `seed` fixes the noise.
    ///
    /// # Errors
    /// [`ConfigError`] when the room makes no sense, or an arm stands in it.
    pub fn new(robot: RobotId, config: SimConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        if config.arm.is_some() {
            return Err(ConfigError::Kind { asked: "a base", found: "an arm" });
        }
        Ok(Self {
            battery: Cell::new(config.battery.clone()),
            calls: Calls::default(),
            camera: config.camera.as_ref().map(|_| Arc::new(SimCamera::new(&config))),
            drives: Drives::new(config.base.clone()),
            noise: Noise::new(seed),
            orders: Orders::new(config.base.reaction_ms),
            robot,
            scan: None,
            scan_due: MonoNanos(0),
            world: World::new(&config),
            config,
        })
    }

    /// Presses or releases the button on the robot. While it is pressed the drives have no
    /// power.
    pub fn press_emergency_stop(&mut self, pressed: bool) {
        self.orders.cut_power(pressed);
    }

    /// Where the robot really is, for whoever checks the run. No part of the robot knows it.
    #[must_use]
    pub fn truth(&self) -> Pose {
        self.world.pose()
    }

    /// How it really moves.
    #[must_use]
    pub fn truth_twist(&self) -> Twist {
        self.world.twist()
    }

    /// The base is at rest, or coming to rest, because nobody wrote to it in time.
    #[must_use]
    pub const fn is_watchdog_tripped(&self) -> bool {
        self.orders.is_abandoned()
    }

    /// Brings the world up to `now`, to within a step.
    fn advance(&mut self, now: MonoNanos) -> Result<MonoNanos, HalError> {
        if let Some(skipped) = self.calls.at(now)? {
            self.battery.pass(skipped.as_secs_f64(), 0.0, self.is_docked());
            self.scan_due = self.calls.world();
        }
        if self.scan.is_none() {
            self.look(self.calls.world());
            self.scan_due = self.calls.world().plus(self.config.lidar.period());
        }
        while let Some(at) = self.calls.step() {
            let step_s = STEP.as_secs_f64();
            let powerless = self.orders.is_power_cut() || self.battery.is_empty();
            let twist = self.drives.advance(self.orders.in_force(at), step_s, powerless);
            self.world.step(twist);
            self.battery.pass(step_s, twist.linear.abs(), self.is_docked());
            if self.scan_due <= at {
                self.scan_due = self.scan_due.plus(self.config.lidar.period());
                self.look(at);
            }
        }
        let at = self.calls.world();
        if let Some(camera) = &self.camera {
            camera.stand(at, self.world.pose());
        }
        Ok(at)
    }

    fn is_docked(&self) -> bool {
        let moving = self.world.twist().linear.abs() > 0.02;
        self.config.dock.as_ref().is_some_and(|dock| {
            !moving && self.world.pose().point().distance(dock.pose.point()) <= dock.reach_m
        })
    }

    fn look(&mut self, at: MonoNanos) {
        let value = sensors::scan(&self.config.lidar, &self.world, &mut self.noise);
        self.scan = Some(Timed { at, value });
    }
}

impl Robot for SimBase {
    fn capabilities(&self) -> Capabilities {
        let mut names = vec!["drive".to_owned(), "scan".to_owned()];
        if self.camera.is_some() {
            names.insert(0, "camera".to_owned());
        }
        if self.config.dock.is_some() {
            names.insert(0, "dock".to_owned());
        }
        Capabilities {
            names,
            max_linear_mps: self.config.base.max_linear_mps,
            max_angular_radps: self.config.base.max_angular_radps,
            model: "Nooterra simulated base".to_owned(),
        }
    }

    fn camera(&self) -> Option<Arc<dyn Camera>> {
        self.camera.clone().map(|camera| camera as Arc<dyn Camera>)
    }

    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        let at = self.advance(now)?;
        let docked = self.is_docked();
        let odometry = &self.config.odometry;
        Ok(Observation {
            battery: Some(Timed { at, value: self.battery.read(docked) }),
            docked,
            emergency_stop: self.orders.is_power_cut(),
            gripper: false,
            joints: None,
            pose: Timed { at, value: self.noise.pose(self.world.pose(), odometry) },
            scan: self.scan.clone(),
            twist: Timed { at, value: self.noise.twist(self.world.twist(), odometry) },
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
        let twist = command.twist().ok_or(HalError::Command)?;
        self.orders.give(now, Order::Set(twist));
        Ok(())
    }
}
