//! The simulated room and robot, as written in a configuration file.

use nooterra_policy::polygon::{Fault, Polygon};
use nooterra_protocol::geometry::{Point, Pose};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most obstacles of a room: a map's walls, as boxes.
pub const MAX_OBSTACLES: usize = 4096;

/// The most corners of a room or an obstacle.
pub const MAX_CORNERS: usize = 1024;

/// The most things on an arm's table.
pub const MAX_THINGS: usize = 64;

/// A room, what stands in it, and the robot: a base, or an arm where `arm` is written. All but
/// the room has a default.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SimConfig {
    /// The arm, where the robot is one; nothing else but room and start is written then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<ArmConfig>,
    /// Body and drives.
    #[serde(default)]
    pub base: BaseConfig,
    /// Battery.
    #[serde(default)]
    pub battery: BatteryConfig,
    /// Camera that looks forward, where there is one.
    #[serde(default)]
    pub camera: Option<CameraConfig>,
    /// Charging pad, where there is one.
    #[serde(default)]
    pub dock: Option<DockConfig>,
    /// Range sensor.
    #[serde(default)]
    pub lidar: LidarConfig,
    /// What stands in the room: polygons in the `map` frame, solid from outside.
    #[serde(default)]
    pub obstacles: Vec<Vec<Point>>,
    /// Errors of pose and twist.
    #[serde(default)]
    pub odometry: OdometryConfig,
    /// The walls, or the edge of an arm's table: a polygon in the `map` frame.
    pub room: Vec<Point>,
    /// Where the robot begins; when absent a base on its dock, an arm at the origin.
    #[serde(default)]
    pub start: Option<Pose>,
}

/// An arm that stands on its table: shoulder and elbow turn in the plane (SCARA), a lift carries
/// a gripper up and down. What is given per joint is in their order: shoulder, elbow, lift,
/// gripper.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArmConfig {
    /// Between which angles the elbow turns, radians from the upper arm's direction.
    pub elbow_rad: [f64; 2],
    /// From the elbow to the tool, metres.
    pub fore_m: f64,
    /// Of jaws that something blocks, N.
    pub grip_n: f64,
    /// How high the lift goes, metres over the table.
    pub lift_m: f64,
    /// Speeding up and braking, rad/s² or m/s².
    pub max_accel: [f64; 4],
    /// rad/s or m/s.
    pub max_velocity: [f64; 4],
    /// How wide the jaws open, metres.
    pub opening_m: f64,
    /// The measured position of a joint is off by at most this, rad or m.
    pub position_noise: f64,
    /// From a write to its first effect on the joints, milliseconds.
    pub reaction_ms: u32,
    /// Between which angles the shoulder turns, radians from the yaw of the arm's place.
    pub shoulder_rad: [f64; 2],
    /// Where the joints begin, rad or m; when absent stretched out, lifted and open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<[f64; 4]>,
    /// What lies on the table.
    pub things: Vec<Thing>,
    /// From the shoulder to the elbow, metres.
    pub upper_m: f64,
    /// The measured velocity of a joint is off by at most this, rad/s or m/s.
    pub velocity_noise: f64,
}

impl Default for ArmConfig {
    fn default() -> Self {
        Self {
            elbow_rad: [-2.6, 2.6],
            fore_m: 0.3,
            grip_n: 30.0,
            lift_m: 0.3,
            max_accel: [6.0, 8.0, 1.5, 1.0],
            max_velocity: [1.5, 2.0, 0.3, 0.1],
            opening_m: 0.1,
            position_noise: 1e-4,
            reaction_ms: 20,
            shoulder_rad: [-2.6, 2.6],
            start: None,
            things: Vec::new(),
            upper_m: 0.4,
            velocity_noise: 1e-3,
        }
    }
}

impl ArmConfig {
    /// The lowest and the highest position of each joint.
    pub(crate) const fn ranges(&self) -> [[f64; 2]; 4] {
        [self.shoulder_rad, self.elbow_rad, [0.0, self.lift_m], [0.0, self.opening_m]]
    }

    /// Where the joints begin.
    pub(crate) fn begin(&self) -> [f64; 4] {
        self.start.unwrap_or([0.0, 0.0, self.lift_m, self.opening_m])
    }

    fn check(&self) -> Result<(), ConfigError> {
        let [shoulder, elbow] = [self.shoulder_rad, self.elbow_rad];
        for (key, found, least, most) in [
            ("arm.elbow_rad[0]", elbow[0], -6.3, 6.3),
            ("arm.elbow_rad[1]", elbow[1], elbow[0] + 0.01, 6.3),
            ("arm.fore_m", self.fore_m, 0.05, 5.0),
            ("arm.grip_n", self.grip_n, 0.0, 1e4),
            ("arm.lift_m", self.lift_m, 0.01, 5.0),
            ("arm.opening_m", self.opening_m, 0.01, 1.0),
            ("arm.position_noise", self.position_noise, 0.0, 0.005),
            ("arm.reaction_ms", f64::from(self.reaction_ms), 0.0, 1_000.0),
            ("arm.shoulder_rad[0]", shoulder[0], -6.3, 6.3),
            ("arm.shoulder_rad[1]", shoulder[1], shoulder[0] + 0.01, 6.3),
            ("arm.upper_m", self.upper_m, 0.05, 5.0),
            ("arm.velocity_noise", self.velocity_noise, 0.0, 0.004),
        ] {
            range(key, found, least, most)?;
        }
        for (joint, (accel, velocity)) in self.max_accel.iter().zip(self.max_velocity).enumerate() {
            range(format!("arm.max_accel[{joint}]"), *accel, 0.01, 200.0)?;
            range(format!("arm.max_velocity[{joint}]"), velocity, 0.001, 20.0)?;
        }
        for (joint, (at, [low, high])) in self.begin().into_iter().zip(self.ranges()).enumerate() {
            range(format!("arm.start[{joint}]"), at, low, high)?;
        }
        if self.things.len() > MAX_THINGS {
            let key = "arm.things".to_owned();
            return Err(ConfigError::TooMany { key, found: self.things.len(), most: MAX_THINGS });
        }
        for (index, thing) in self.things.iter().enumerate() {
            range(format!("arm.things[{index}].size_m"), thing.size_m, 0.005, 1.0)?;
        }
        Ok(())
    }
}

/// A cube that lies on the table.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// Its middle.
    pub at: Point,
    /// Its side, metres, 0.005 to 1.
    pub size_m: f64,
}

/// Body and drives.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaseConfig {
    /// Rolling out without power, m/s².
    pub coast_decel_mps2: f64,
    /// Turning up or down, rad/s².
    pub max_angular_accel_radps2: f64,
    /// Turning, rad/s.
    pub max_angular_radps: f64,
    /// Braking, m/s².
    pub max_decel_mps2: f64,
    /// Speeding up, m/s².
    pub max_linear_accel_mps2: f64,
    /// Forward and backward, m/s.
    pub max_linear_mps: f64,
    /// Rim speed of a wheel, m/s; with `track_m` it bounds driving and turning together.
    pub max_wheel_mps: f64,
    /// The body is a disc, metres.
    pub radius_m: f64,
    /// From a write to its first effect on the wheels, milliseconds.
    pub reaction_ms: u32,
    /// Between the wheels, metres.
    pub track_m: f64,
}

impl Default for BaseConfig {
    fn default() -> Self {
        Self {
            coast_decel_mps2: 0.8,
            max_angular_accel_radps2: 6.0,
            max_angular_radps: 2.5,
            max_decel_mps2: 1.5,
            max_linear_accel_mps2: 1.2,
            max_linear_mps: 1.2,
            max_wheel_mps: 1.6,
            radius_m: 0.25,
            reaction_ms: 40,
            track_m: 0.4,
        }
    }
}

/// Battery.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatteryConfig {
    /// Watt-hours when full.
    pub capacity_wh: f64,
    /// Into the battery on the dock, watts.
    pub charge_w: f64,
    /// For each m/s of speed, watts.
    pub drive_w_per_mps: f64,
    /// Electronics, watts.
    pub idle_w: f64,
    /// State of charge at the start, 0 to 1.
    pub start_fraction: f64,
}

impl Default for BatteryConfig {
    fn default() -> Self {
        Self {
            capacity_wh: 250.0,
            charge_w: 240.0,
            drive_w_per_mps: 90.0,
            idle_w: 25.0,
            start_fraction: 0.92,
        }
    }
}

/// A charging pad in the floor: not an obstacle, and the heading on it does not matter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DockConfig {
    /// Its place, and the heading of a robot that begins there.
    pub pose: Pose,
    /// A robot that stands within this distance is docked, metres.
    #[serde(default = "DockConfig::default_reach_m")]
    pub reach_m: f64,
}

impl DockConfig {
    const fn default_reach_m() -> f64 {
        0.15
    }
}

/// A grey camera over the middle of the base that looks forward and level.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// Pixels in a column, 1 to 480.
    pub height: u16,
    /// Over the floor, metres, 0 to 2.5; walls are 2.5 m high.
    pub mounted_m: f64,
    /// From the leftmost to the rightmost pixel, radians, 0.01 to 3.
    pub view_rad: f64,
    /// Pixels in a row, 1 to 640.
    pub width: u16,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self { height: 48, mounted_m: 0.6, view_rad: 1.2, width: 64 }
    }
}

/// Planar range sensor in the middle of the base, all around.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LidarConfig {
    /// Evenly over the full turn, the first straight behind.
    pub beams: u16,
    /// Each range is off by at most this, metres.
    pub noise_m: f64,
    /// Beyond this it sees nothing, metres.
    pub range_m: f64,
    /// Scans per second.
    pub rate_hz: f64,
}

impl Default for LidarConfig {
    fn default() -> Self {
        Self { beams: 90, noise_m: 0.01, range_m: 12.0, rate_hz: 10.0 }
    }
}

impl LidarConfig {
    /// Between two scans.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate_hz)
    }
}

/// Errors of pose and twist: bounded, fresh at each read, no drift (a robot that localises
/// against its map).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OdometryConfig {
    /// The measured angular speed is off by at most this, rad/s.
    pub angular_noise_radps: f64,
    /// The measured speed is off by at most this, m/s.
    pub linear_noise_mps: f64,
    /// The measured place is off by at most this in any direction, metres; at most 0.01, so
    /// that a policy's margin of a few centimetres holds it.
    pub pose_noise_m: f64,
    /// The measured heading is off by at most this, radians.
    pub yaw_noise_rad: f64,
}

impl Default for OdometryConfig {
    fn default() -> Self {
        Self {
            angular_noise_radps: 0.01,
            linear_noise_mps: 0.005,
            pose_noise_m: 0.004,
            yaw_noise_rad: 0.003,
        }
    }
}

/// What makes no sense in a simulation. `key` is the path to it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The driver of one kind of robot was asked for, and the file has another.
    #[error("the file describes {found}, and {asked} was asked for; `arm` tells them apart")]
    Kind {
        /// What was asked for.
        asked: &'static str,
        /// What the file has.
        found: &'static str,
    },
    /// Neither a start nor a dock.
    #[error("neither `start` nor `dock` says where the robot begins; write one of them")]
    NoStart,
    /// A place on no table.
    #[error("`{key}` ({x}, {y}) is outside of `room`, or reaches out of it; move it inside")]
    Outside {
        /// Where.
        key: String,
        /// East, metres.
        x: f64,
        /// North, metres.
        y: f64,
    },
    /// A place where the body does not fit.
    #[error("`{key}` ({x}, {y}) leaves the base no room of {radius_m} m; move it away from walls")]
    Place {
        /// Where.
        key: &'static str,
        /// East, metres.
        x: f64,
        /// North, metres.
        y: f64,
        /// Of the base.
        radius_m: f64,
    },
    /// Corners that are no polygon.
    #[error("`{key}` is no polygon ({fault}); list at least three corners in order around it")]
    Polygon {
        /// Where.
        key: String,
        /// What is wrong.
        fault: String,
    },
    /// A number that is none, or that the simulation cannot take.
    #[error("`{key}` is {found}; write {least} to {most}")]
    Range {
        /// Where.
        key: String,
        /// What it says.
        found: f64,
        /// The least that is accepted.
        least: f64,
        /// The most that is accepted.
        most: f64,
    },
    /// More than are handled.
    #[error("`{key}` has {found} entries; at most {most} are handled")]
    TooMany {
        /// Where.
        key: String,
        /// How many.
        found: usize,
        /// How many are handled.
        most: usize,
    },
    /// What an arm does not have.
    #[error("`{key}` means nothing to an arm, which stands on its table; leave it out")]
    Unused {
        /// Where.
        key: &'static str,
    },
}

impl SimConfig {
    /// An empty room with all defaults, the robot beginning at `start`.
    #[must_use]
    pub fn room(room: Vec<Point>, start: Pose) -> Self {
        Self {
            arm: None,
            base: BaseConfig::default(),
            battery: BatteryConfig::default(),
            camera: None,
            dock: None,
            lidar: LidarConfig::default(),
            obstacles: Vec::new(),
            odometry: OdometryConfig::default(),
            room,
            start: Some(start),
        }
    }

    /// Checks what the types do not hold.
    ///
    /// # Errors
    /// The first [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_numbers()?;
        let room = check_polygon("room", &self.room)?;
        if let Some(arm) = &self.arm {
            arm.check()?;
            return self.check_table(arm, &room);
        }
        if self.obstacles.len() > MAX_OBSTACLES {
            return Err(ConfigError::TooMany {
                key: "obstacles".to_owned(),
                found: self.obstacles.len(),
                most: MAX_OBSTACLES,
            });
        }
        let mut obstacles = Vec::new();
        for (index, obstacle) in self.obstacles.iter().enumerate() {
            obstacles.push(check_polygon(&format!("obstacles[{index}]"), obstacle)?);
        }
        let radius_m = self.base.radius_m;
        let fits = |key: &'static str, pose: Pose| {
            let at = pose.point();
            let free = pose.is_finite()
                && -room.signed_distance(at) >= radius_m
                && obstacles.iter().all(|obstacle| obstacle.signed_distance(at) >= radius_m);
            if free { Ok(()) } else { Err(ConfigError::Place { key, x: at.x, y: at.y, radius_m }) }
        };
        if let Some(dock) = &self.dock {
            fits("dock.pose", dock.pose)?;
        }
        fits("start", self.begin().ok_or(ConfigError::NoStart)?)
    }

    /// Where the robot begins.
    pub(crate) fn begin(&self) -> Option<Pose> {
        let origin = self.arm.as_ref().map(|_| Pose::default());
        self.start.or_else(|| self.dock.as_ref().map(|dock| dock.pose)).or(origin)
    }

    /// What surrounds an arm, and that nothing is written that only a base has.
    fn check_table(&self, arm: &ArmConfig, room: &Polygon) -> Result<(), ConfigError> {
        let written = [
            ("base", self.base != BaseConfig::default()),
            ("battery", self.battery != BatteryConfig::default()),
            ("camera", self.camera.is_some()),
            ("dock", self.dock.is_some()),
            ("lidar", self.lidar != LidarConfig::default()),
            ("obstacles", !self.obstacles.is_empty()),
            ("odometry", self.odometry != OdometryConfig::default()),
        ];
        if let Some((key, _)) = written.into_iter().find(|(_, written)| *written) {
            return Err(ConfigError::Unused { key });
        }
        let inside = |key: String, at: Point, yaw: f64, beyond_m: f64| {
            // The distance from what is not finite is none. An arm may stand on the edge.
            if yaw.is_finite() && -room.signed_distance(at) >= beyond_m - 1e-9 {
                Ok(())
            } else {
                Err(ConfigError::Outside { key, x: at.x, y: at.y })
            }
        };
        let stands = self.begin().ok_or(ConfigError::NoStart)?;
        inside("start".to_owned(), stands.point(), stands.yaw, 0.0)?;
        for (index, Thing { at, size_m }) in arm.things.iter().enumerate() {
            inside(format!("arm.things[{index}].at"), *at, 0.0, size_m / 2.0)?;
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let Self { base, battery, lidar, odometry, .. } = self;
        let camera = self.camera.clone().unwrap_or_default();
        let dock_reach_m = self.dock.as_ref().map_or(0.1, |dock| dock.reach_m);
        for (key, found, least, most) in [
            ("base.coast_decel_mps2", base.coast_decel_mps2, 0.05, 50.0),
            ("base.max_angular_accel_radps2", base.max_angular_accel_radps2, 0.05, 200.0),
            ("base.max_angular_radps", base.max_angular_radps, 0.05, 20.0),
            ("base.max_decel_mps2", base.max_decel_mps2, 0.05, 50.0),
            ("base.max_linear_accel_mps2", base.max_linear_accel_mps2, 0.05, 50.0),
            ("base.max_linear_mps", base.max_linear_mps, 0.05, 10.0),
            ("base.max_wheel_mps", base.max_wheel_mps, 0.05, 20.0),
            ("base.radius_m", base.radius_m, 0.05, 5.0),
            ("base.reaction_ms", f64::from(base.reaction_ms), 0.0, 1_000.0),
            ("base.track_m", base.track_m, 0.05, 5.0),
            ("battery.capacity_wh", battery.capacity_wh, 0.001, 1e6),
            ("battery.charge_w", battery.charge_w, 0.0, 1e6),
            ("battery.drive_w_per_mps", battery.drive_w_per_mps, 0.0, 1e6),
            ("battery.idle_w", battery.idle_w, 0.0, 1e6),
            ("battery.start_fraction", battery.start_fraction, 0.0, 1.0),
            ("camera.height", f64::from(camera.height), 1.0, 480.0),
            ("camera.mounted_m", camera.mounted_m, 0.0, 2.5),
            ("camera.view_rad", camera.view_rad, 0.01, 3.0),
            ("camera.width", f64::from(camera.width), 1.0, 640.0),
            ("dock.reach_m", dock_reach_m, 0.01, 2.0),
            ("lidar.beams", f64::from(lidar.beams), 1.0, 2_048.0),
            ("lidar.noise_m", lidar.noise_m, 0.0, 0.5),
            ("lidar.range_m", lidar.range_m, 0.1, 200.0),
            ("lidar.rate_hz", lidar.rate_hz, 0.1, 100.0),
            ("odometry.angular_noise_radps", odometry.angular_noise_radps, 0.0, 0.2),
            ("odometry.linear_noise_mps", odometry.linear_noise_mps, 0.0, 0.2),
            ("odometry.pose_noise_m", odometry.pose_noise_m, 0.0, 0.01),
            ("odometry.yaw_noise_rad", odometry.yaw_noise_rad, 0.0, 0.1),
        ] {
            range(key, found, least, most)?;
        }
        Ok(())
    }
}

fn range(key: impl Into<String>, found: f64, least: f64, most: f64) -> Result<(), ConfigError> {
    // `contains` is false for NaN.
    if (least..=most).contains(&found) {
        Ok(())
    } else {
        Err(ConfigError::Range { key: key.into(), found, least, most })
    }
}

fn check_polygon(key: &str, corners: &[Point]) -> Result<Polygon, ConfigError> {
    if corners.len() > MAX_CORNERS {
        return Err(ConfigError::TooMany {
            key: key.to_owned(),
            found: corners.len(),
            most: MAX_CORNERS,
        });
    }
    // The physics is in single precision: 1 km from the origin it still resolves 0.1 mm.
    if corners.iter().any(|corner| corner.x.abs() > 1_000.0 || corner.y.abs() > 1_000.0) {
        let fault = "a corner is more than 1000 m from the origin".to_owned();
        return Err(ConfigError::Polygon { key: key.to_owned(), fault });
    }
    Polygon::new(corners).map_err(|fault| ConfigError::Polygon {
        key: key.to_owned(),
        fault: match fault {
            Fault::Crossing(one, other) => {
                format!("the sides after corners {one} and {other} meet")
            }
            Fault::Few(count) => format!("it has {count} corners"),
            Fault::Flat => "it has no area".to_owned(),
            Fault::NotFinite(corner) => format!("corner {corner} is not finite"),
            Fault::Repeated(corner) => format!("corner {corner} repeats the one before"),
        },
    })
}
