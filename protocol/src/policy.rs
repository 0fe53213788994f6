//! The owner's policy document: the envelope that holds whatever is asked, by whomever.
//!
//! This is its form. What it means for motion, and whether its numbers make sense, is decided
//! in `nooterra-policy`, which builds a gate from a signed document only.

use crate::codec::Digest;
use crate::command::StopProfile;
use crate::envelope::Signable;
use crate::geometry::Point;
use crate::ids::{ModeId, PolicyId, RobotId, ZoneId};
use crate::schedule::Window;
use serde::{Deserialize, Serialize};

/// The document. All lengths in metres, times in milliseconds unless named otherwise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// What must be left in the battery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<BatteryReserve>,
    /// What is protected: the robot's outline. Left out for an arm that stands where it stands.
    #[serde(default, skip_serializing_if = "is_default")]
    pub footprint: Footprint,
    /// How old an input may be.
    pub freshness: Freshness,
    /// Its name.
    pub id: PolicyId,
    /// What lifts a stop that latches.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latches: Latches,
    /// How fast, how hard. Left out for an arm: each joint has limits of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Where, drawn as grids of cells in files of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Mask>,
    /// The documents that this one was merged from, by the hash of each as canonical CBOR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<Digest>,
    /// Tighter limits for as long as a mode holds, such as a payload on board.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<Mode>,
    /// How long it may move without a rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionLimit>,
    /// Where sensors are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub privacy: Vec<PrivacyZone>,
    /// How it keeps away from people and things that its range sensor sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proximity: Option<Proximity>,
    /// The robot that it is for.
    pub robot: RobotId,
    /// How the robot comes to rest when anything is wrong.
    pub stop: StopProfile,
    /// What kind of robot it is for, and the limits that only such a robot has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vehicle: Vehicle,
    /// Counts up; a robot never goes back to an older one.
    pub version: u32,
    /// Where.
    #[serde(default)]
    pub zones: Vec<Zone>,
}

/// What is not written is as it would be read.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What kind of robot, and the limits that only such a robot has. A command of another kind is
/// refused.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Vehicle {
    /// Steers like a car; `base_link` is the rear axle's centre.
    Ackermann {
        /// Of the virtual wheel in the middle, either way, radians.
        max_steering_rad: f64,
        /// rad/s.
        max_steering_rate_radps: f64,
        /// From the rear axle to the front axle.
        wheelbase_m: f64,
    },
    /// Turns by two driven wheels.
    #[default]
    Differential,
    /// An arm, fixed to the ground.
    Joints {
        /// Base first, at most [`crate::command::MAX_JOINTS`].
        joints: Vec<Joint>,
        /// From a command to its first effect, milliseconds.
        reaction_ms: u32,
    },
    /// Flies, and can hover. `limits` hold in the horizontal plane, whichever way it faces.
    Multirotor(Flight),
    /// Moves sideways as well; `limits.max_linear_mps` holds for the way it moves.
    Omnidirectional {
        /// Sideways, either way, m/s.
        max_lateral_mps: f64,
    },
}

/// The vertical envelope of what flies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flight {
    /// A stop that lasts longer ends in [`StopProfile::Land`], seconds; none: it hovers on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub land_after_s: Option<f64>,
    /// Above the point of take-off.
    pub max_altitude_m: f64,
    /// Up, m/s.
    pub max_climb_mps: f64,
    /// Down, m/s, as a positive number.
    pub max_descent_mps: f64,
    /// Measured; beyond it the robot is stopped. It also bounds the horizontal acceleration:
    /// a hovering multirotor accelerates by leaning, at g·tan(tilt).
    pub max_tilt_rad: f64,
    /// Up and down, m/s².
    pub max_vertical_accel_mps2: f64,
    /// Above the ground below it. To land, it is stopped, or told to.
    pub min_altitude_m: f64,
}

/// The envelope of one joint: rad for one that turns, m for one that slides.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Joint {
    /// rad/s² or m/s², speeding up and braking.
    pub max_accel: f64,
    /// Measured, N·m or N; beyond it the robot is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_effort: Option<f64>,
    /// rad or m.
    pub max_position: f64,
    /// rad/s or m/s.
    pub max_velocity: f64,
    /// rad or m.
    pub min_position: f64,
}

/// Limits while a mode holds. Each only tightens: of two that hold, the lower counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// Its name.
    pub id: ModeId,
    /// rad/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_angular_radps: Option<f64>,
    /// Braking that the base still achieves, m/s²: a payload makes it longer to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_decel_mps2: Option<f64>,
    /// m/s².
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_linear_accel_mps2: Option<f64>,
    /// Whichever way, m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_linear_mps: Option<f64>,
}

/// What must be left in the battery to come home.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatteryReserve {
    /// Charge that a metre of way costs, 0 to 1.
    pub fraction_per_m: f64,
    /// Where it charges.
    pub home: Point,
    /// Charge to arrive with, 0 to 1.
    pub reserve: f64,
}

/// How long it may move without a rest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MotionLimit {
    /// Moving, seconds.
    pub max_s: f64,
    /// Resting before it may move again, seconds.
    pub rest_s: f64,
}

/// Keeping away from whoever or whatever stands in the way, by a range sensor around the robot.
///
/// The speed is held so low that the separation of ISO/TS 15066 remains: the way that a person
/// goes while the robot reacts and brakes, the robot's own way, intrusion and uncertainty.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proximity {
    /// How fast a person walks towards the robot, m/s; ISO 13855 takes 1.6. 0 where only things
    /// stand.
    pub human_mps: f64,
    /// How far a body reaches before the sensor sees it.
    pub intrusion_m: f64,
    /// The stop holds until nothing has been near for so long, milliseconds.
    pub release_ms: u32,
    /// How old a reading may be, milliseconds. A sensor that is silent is an obstacle.
    pub sensor_ms: u32,
    /// Nearer than this, on the way: slowly.
    pub slow_m: f64,
    /// How slowly, m/s.
    pub slow_mps: f64,
    /// Nearer than this, on the way: not at all.
    pub stop_m: f64,
    /// Of the sensor's range and of the robot's place.
    pub uncertainty_m: f64,
}

/// What lifts a stop that latches. In any case the cause must be gone and the robot at rest.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clear {
    /// Somebody who may said so after the cause was gone (ISO 13850: a reset starts nothing).
    #[default]
    Acknowledged,
    /// Nothing more.
    Released,
}

/// What lifts each stop that latches.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Latches {
    /// The emergency stop.
    #[serde(default)]
    pub emergency_stop: Clear,
    /// A person's veto.
    #[serde(default)]
    pub veto: Clear,
}

impl Signable for PolicyDocument {
    const CONTENT_TYPE: &'static str = "nooterra/policy+cbor;v=1";

    /// Room for fences of some 200,000 corners.
    const MAX_BYTES: usize = 6 * 1024 * 1024;
}

/// The robot's outline around `base_link`, convex, in the body frame.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// Added all around: pose uncertainty and map error.
    pub margin_m: f64,
    /// Corners in order, at least three.
    pub outline: Vec<Point>,
}

/// How fast and how hard. Every limit is positive and finite.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Turning up or down, rad/s².
    pub max_angular_accel_radps2: f64,
    /// Turning, either way, rad/s.
    pub max_angular_radps: f64,
    /// Braking that the base surely achieves, m/s²; the stopping distance is computed with it.
    pub max_decel_mps2: f64,
    /// Across the way in a curve, m/s²; none: the other limits are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lateral_accel_mps2: Option<f64>,
    /// Speeding up, m/s².
    pub max_linear_accel_mps2: f64,
    /// How fast speeding up may set in, m/s³; none: at once. Braking never waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_linear_jerk_mps3: Option<f64>,
    /// Forward, m/s.
    pub max_linear_mps: f64,
    /// Backward, m/s, as a positive number; 0 forbids reversing.
    pub max_reverse_mps: f64,
    /// From a command to its first effect on the wheels, milliseconds.
    pub reaction_ms: u32,
}

/// How old an input may be before it counts as missing, milliseconds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// A setpoint.
    pub command_ms: u32,
    /// The oldest verdict that is not yet on the disk; at most 100.
    pub journal_ms: u32,
    /// Pose and twist.
    pub odometry_ms: u32,
}

/// A region with a rule: a polygon, with or without holes, or a circle.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Only between these heights; none: at any. Only for what flies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altitude: Option<AltitudeBand>,
    /// Instead of a polygon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<Circle>,
    /// Parts of the polygon that are not of the region; each has corners as the polygon does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Vec<Point>>,
    /// Its name.
    pub id: ZoneId,
    /// Corners in order, `map` frame, at least three; sides do not cross.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub polygon: Vec<Point>,
    /// What holds in it.
    pub rule: ZoneRule,
    /// Only at these times; none: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
}

impl Zone {
    /// A region by its corners.
    #[must_use]
    pub const fn new(id: ZoneId, polygon: Vec<Point>, rule: ZoneRule) -> Self {
        Self {
            altitude: None,
            circle: None,
            holes: Vec::new(),
            id,
            polygon,
            rule,
            windows: Vec::new(),
        }
    }

    /// Its edge as corners, for pictures: a circle's are on a ring around it, holes are left out.
    #[must_use]
    pub fn corners(&self) -> Vec<Point> {
        const CORNERS: u8 = 64;
        let Some(Circle { center, radius_m }) = self.circle else {
            return self.polygon.clone();
        };
        let step = std::f64::consts::TAU / f64::from(CORNERS);
        let ring = radius_m / (step / 2.0).cos();
        (0..CORNERS)
            .map(|corner| {
                let (sin, cos) = (step * f64::from(corner)).sin_cos();
                Point::new(center.x + ring * cos, center.y + ring * sin)
            })
            .collect()
    }
}

/// Between which heights a zone lies. A height that is not known, or too old, is taken to be
/// inside of what restricts, and outside of what permits.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AltitudeBand {
    /// Up to here, metres; none: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_m: Option<f64>,
    /// From here on, metres; none: from below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_m: Option<f64>,
    /// Above what.
    pub reference: AltitudeReference,
}

/// What heights are measured from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AltitudeReference {
    /// The ground below the robot; unknown where that is not measured.
    AboveGround,
    /// The point of take-off.
    AboveTakeoff,
}

/// A region in which some sensors are off, and what is taken is kept for a bounded time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyZone {
    /// Only between these heights; none: at any. Only for what flies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altitude: Option<AltitudeBand>,
    /// Instead of a polygon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<Circle>,
    /// Parts of the polygon that are not of the region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Vec<Point>>,
    /// Its name; no zone and no mask has the same.
    pub id: ZoneId,
    /// What is recorded in it by the other sensors is kept at most so long, seconds; none: as
    /// long as anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_s: Option<u32>,
    /// Corners in order, `map` frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub polygon: Vec<Point>,
    /// Off while any part of the footprint is inside, and where the place is not known.
    pub sensors: Vec<Sensor>,
    /// Only at these times; none: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
}

impl PrivacyZone {
    /// Where and when it is, as the zones of motion say it.
    #[must_use]
    pub fn region(&self) -> Zone {
        Zone {
            altitude: self.altitude,
            circle: self.circle,
            holes: self.holes.clone(),
            id: self.id.clone(),
            polygon: self.polygon.clone(),
            rule: ZoneRule::KeepOut,
            windows: self.windows.clone(),
        }
    }
}

/// A source of what could be recorded. What the gate itself needs is never off.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensor {
    /// Pictures.
    Camera,
    /// Pictures of distances.
    DepthCamera,
    /// Sound.
    Microphone,
    /// Ranges, for other uses than keeping clear.
    RangeScanner,
    /// Pictures of heat.
    ThermalCamera,
}

impl Sensor {
    /// Every sensor.
    pub const ALL: [Self; 5] = [
        Self::Camera,
        Self::DepthCamera,
        Self::Microphone,
        Self::RangeScanner,
        Self::ThermalCamera,
    ];

    /// As in a document: `depth_camera`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::DepthCamera => "depth_camera",
            Self::Microphone => "microphone",
            Self::RangeScanner => "range_scanner",
            Self::ThermalCamera => "thermal_camera",
        }
    }
}

/// All that is near a place.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// In the `map` frame.
    pub center: Point,
    /// Metres.
    pub radius_m: f64,
}

/// What a zone does.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ZoneRule {
    /// The whole footprint stays inside. With several, inside at least one of them entirely.
    KeepIn,
    /// No part of the footprint enters.
    KeepOut,
    /// While any part of the footprint is inside, at most this fast.
    Speed {
        /// m/s.
        max_linear_mps: f64,
    },
}

/// A region drawn as a grid of cells ([`crate::grid`]). What lies outside the grid is unknown.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Its name; no zone and no other mask has the same.
    pub id: ZoneId,
    /// What its cells mean.
    pub rule: MaskRule,
    /// Of the grid's file.
    pub sha256: Digest,
}

impl Mask {
    /// The name of the grid's file, which lies beside the signed policy. It holds a part of
    /// the hash, so that the grids of two versions lie side by side.
    #[must_use]
    pub fn file_name(&self) -> String {
        let hash = self.sha256.to_string();
        format!("{}-{}.grid", self.id, &hash[..16])
    }
}

/// What the cells of a mask mean.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum MaskRule {
    /// No part of the footprint enters a cell that is not 0; an unknown one neither.
    KeepOut,
    /// While any part of the footprint is on a cell, at most
    /// `base_percent + multiplier * cell` percent of the forward limit; 0 is no limit, as in
    /// Nav2's speed filter. On an unknown cell the lowest limit that there is.
    Speed {
        /// Percent.
        base_percent: f64,
        /// Percent for each step of a cell.
        multiplier: f64,
    },
}
