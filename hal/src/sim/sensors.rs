//! What the robot measures: ranges, battery, pose and twist, with bounded noise.

use super::config::{BatteryConfig, LidarConfig, OdometryConfig};
use super::world::{World, single};
use nooterra_protocol::geometry::{Pose, Twist, wrap_angle};
use nooterra_protocol::observation::{Battery, Scan};
use std::f64::consts::{PI, TAU};

/// A small seeded generator (SplitMix64; Steele, Lea, Flood 2014): repeatable noise, no secrets.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    state: u64,
}

impl Noise {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Uniform between `-bound` and `bound`.
    pub(super) fn within(&mut self, bound: f64) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 32 bits are plenty for noise and convert exactly.
        let part = f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        bound * (2.0 * part - 1.0)
    }

    pub(super) fn pose(&mut self, truth: Pose, odometry: &OdometryConfig) -> Pose {
        let (off, towards) = (self.within(odometry.pose_noise_m), self.within(PI));
        Pose {
            x: truth.x + off * towards.cos(),
            y: truth.y + off * towards.sin(),
            yaw: wrap_angle(truth.yaw + self.within(odometry.yaw_noise_rad)),
        }
    }

    pub(super) fn twist(&mut self, truth: Twist, odometry: &OdometryConfig) -> Twist {
        Twist::new(
            truth.linear + self.within(odometry.linear_noise_mps),
            truth.angular + self.within(odometry.angular_noise_radps),
        )
    }
}

/// One full turn of the range sensor.
pub(super) fn scan(lidar: &LidarConfig, world: &World, noise: &mut Noise) -> Scan {
    let angle_step = TAU / f64::from(lidar.beams);
    let ranges = (0..lidar.beams).map(|beam| {
        let angle = -PI + f64::from(beam) * angle_step;
        let off = noise.within(lidar.noise_m);
        match world.range(angle, lidar.range_m) {
            Some(range) => single((range + off).clamp(0.0, lidar.range_m)),
            None => single(lidar.range_m),
        }
    });
    Scan { angle_min: -PI, angle_step, range_max: lidar.range_m, ranges: ranges.collect() }
}

/// A battery as an integral of power.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    config: BatteryConfig,
    fraction: f64,
    load_w: f64,
}

impl Cell {
    pub(super) const fn new(config: BatteryConfig) -> Self {
        Self { fraction: config.start_fraction, load_w: config.idle_w, config }
    }

    /// Lets time pass at a speed, on the dock or off it.
    pub(super) fn pass(&mut self, seconds: f64, speed_mps: f64, docked: bool) {
        self.load_w = self.config.idle_w + self.config.drive_w_per_mps * speed_mps;
        let charge_w = if docked { self.config.charge_w } else { 0.0 };
        let gained_wh = (charge_w - self.load_w) * seconds / 3_600.0;
        self.fraction = (self.fraction + gained_wh / self.config.capacity_wh).clamp(0.0, 1.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fraction <= 0.0
    }

    pub(super) fn read(&self, docked: bool) -> Battery {
        // A 24 V pack of eight lithium iron phosphate cells: 21 V empty, 27.2 V full, and a
        // few tenths less under load.
        let volts = 21.0 + 6.2 * self.fraction - 0.002 * self.load_w;
        Battery { charging: docked && self.config.charge_w > 0.0, fraction: self.fraction, volts }
    }
}
