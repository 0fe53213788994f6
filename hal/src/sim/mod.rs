//! A simulated differential base in a walled room.
//!
//! [`SimBase`] is a driver like any other, with a world behind it instead of a bus. The world
//! moves only when it is called: each call first brings it up to `now` in steps of 5 ms, so it
//! runs as fast as it is asked and the same calls with the same seed are the same run (on one
//! kind of machine; the physics is in `f32`).
//!
//! What is modelled: a disc-shaped body pushed by two wheels with limited speed and
//! acceleration, the delay from a write to the wheels, contact with walls and obstacles, a
//! planar range sensor, a small grey camera, a battery, a charging pad, bounded noise on what is measured, an
//! emergency stop button, and the driver's write watchdog. What is not: wheel slip on a free
//! floor, people, things that move.
//!
//! # What stopping means here
//! `ControlledHold` brakes and holds. `ControlledStopThenPowerOff` brakes, then switches the
//! drives off; the next accepted write switches them on. `ImmediatePowerRemoval` lets the base
//! roll out against friction. All three take effect after the same delay as a write.

mod base;
mod camera;
pub mod config;
mod sensors;
mod world;

pub use config::{ConfigError, SimConfig};

use crate::camera::Camera;
use crate::robot::{HalError, Robot};
use base::{Base, Order};
use camera::SimCamera;
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::observation::{Capabilities, Observation, Scan, Timed};
use nooterra_protocol::time::MonoNanos;
use sensors::{Cell, Noise};
use std::sync::Arc;
use std::time::Duration;
use world::World;

/// The step of the simulation.
pub const STEP: Duration = Duration::from_millis(5);

/// A base that is not written to for so long brakes and holds.
pub const WRITE_WATCHDOG: Duration = Duration::from_millis(200);

/// A longer pause between calls is not simulated in full: the base has long come to rest, and
/// only the battery goes on.
const LONGEST_CATCH_UP: Duration = Duration::from_secs(20);

/// The simulated robot.
#[derive(Debug)]
pub struct SimBase {
    base: Base,
    battery: Cell,
    camera: Option<Arc<SimCamera>>,
    clock: Option<Clock>,
    config: SimConfig,
    last_tick: Option<u64>,
    noise: Noise,
    robot: RobotId,
    scan: Option<Timed<Scan>>,
    world: World,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    /// The latest call.
    called: MonoNanos,
    /// The next scan is due.
    scan_due: MonoNanos,
    /// The world stands here, at most one step behind.
    world: MonoNanos,
}

impl SimBase {
    /// Puts a robot into its room, at `config.start` or on the dock. `seed` fixes the noise.
    ///
    /// # Errors
    /// [`ConfigError`] when the room makes no sense.
    pub fn new(robot: RobotId, config: SimConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            base: Base::new(config.base.clone()),
            battery: Cell::new(config.battery.clone()),
            camera: config.camera.as_ref().map(|_| Arc::new(SimCamera::new(&config))),
            clock: None,
            last_tick: None,
            noise: Noise::new(seed),
            robot,
            scan: None,
            world: World::new(&config),
            config,
        })
    }

    /// Presses or releases the button on the robot. While it is pressed the drives have no
    /// power.
    pub fn press_emergency_stop(&mut self, pressed: bool) {
        self.base.cut_power(pressed);
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
        self.base.is_abandoned()
    }

    /// Brings the world up to `now`, to within a step.
    fn advance(&mut self, now: MonoNanos) -> Result<MonoNanos, HalError> {
        let mut clock = self.clock.unwrap_or(Clock { called: now, scan_due: now, world: now });
        if now < clock.called {
            return Err(HalError::Clock(clock.called.0 - now.0));
        }
        clock.called = now;
        let behind = now.since(clock.world).unwrap_or_default();
        if let Some(skipped) = behind.checked_sub(LONGEST_CATCH_UP) {
            self.battery.pass(skipped.as_secs_f64(), 0.0, self.is_docked());
            clock.world = clock.world.plus(skipped);
            clock.scan_due = clock.world;
        }
        if self.scan.is_none() {
            self.scan = Some(Timed { at: clock.world, value: self.look() });
            clock.scan_due = clock.world.plus(self.config.lidar.period());
        }
        while clock.world.plus(STEP) <= now {
            clock.world = clock.world.plus(STEP);
            let step_s = STEP.as_secs_f64();
            let twist = self.base.advance(clock.world, step_s, self.battery.is_empty());
            self.world.step(twist);
            self.battery.pass(step_s, twist.linear.abs(), self.is_docked());
            if clock.scan_due <= clock.world {
                clock.scan_due = clock.scan_due.plus(self.config.lidar.period());
                self.scan = Some(Timed { at: clock.world, value: self.look() });
            }
        }
        self.clock = Some(clock);
        if let Some(camera) = &self.camera {
            camera.stand(clock.world, self.world.pose());
        }
        Ok(clock.world)
    }

    fn is_docked(&self) -> bool {
        let moving = self.world.twist().linear.abs() > 0.02;
        self.config.dock.as_ref().is_some_and(|dock| {
            !moving && self.world.pose().point().distance(dock.pose.point()) <= dock.reach_m
        })
    }

    fn look(&mut self) -> Scan {
        sensors::scan(&self.config.lidar, &self.world, &mut self.noise)
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
            emergency_stop: self.base.is_power_cut(),
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
        let at = self.clock.map_or(now, |clock| clock.called);
        self.base.order(at, Order::Stop(profile));
        advanced.map(drop)
    }

    fn write(
        &mut self,
        now: MonoNanos,
        tick: u64,
        command: Gated<Command>,
    ) -> Result<(), HalError> {
        let command = command.open(&self.robot, tick)?;
        if let Some(last) = self.last_tick
            && tick <= last
        {
            return Err(HalError::Tick { found: tick, last });
        }
        self.advance(now)?;
        self.last_tick = Some(tick);
        let twist = command.twist().ok_or(HalError::Command)?;
        self.base.order(now, Order::Drive(twist));
        Ok(())
    }
}
