//! What a robot sees of itself and around itself, once per tick.

use crate::command::PerJoint;
use crate::geometry::{Pose, Twist};
use crate::time::MonoNanos;
use serde::{Deserialize, Serialize};

/// One reading with the moment it was taken.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Timed<T> {
    /// When it was measured, on the robot's monotonic clock.
    pub at: MonoNanos,
    /// The reading.
    pub value: T,
}

/// The state of the battery.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Battery {
    /// Current flows in.
    pub charging: bool,
    /// State of charge, 0 to 1.
    pub fraction: f64,
    /// Terminal voltage, volts.
    pub volts: f64,
}

/// How high something flies, and how it leans.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flying {
    /// Above the ground below it, metres, where that is measured.
    pub above_ground_m: Option<f64>,
    /// Above the point of take-off, metres.
    pub above_takeoff_m: f64,
    /// Up, m/s.
    pub climb_mps: f64,
    /// From upright, radians.
    pub tilt_rad: f64,
}

/// What an arm measures of its joints.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JointStates {
    /// N·m or N; zeros where the arm does not measure it.
    pub effort: PerJoint<f64>,
    /// rad or m.
    pub position: PerJoint<f64>,
    /// rad/s or m/s.
    pub velocity: PerJoint<f64>,
}

/// The beams of a planar range sensor, as `sensor_msgs/LaserScan` has them: beam `i` points
/// at `angle_min + i * angle_step` from the robot's x axis.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Direction of the first beam, radians.
    pub angle_min: f64,
    /// Between neighbouring beams, radians.
    pub angle_step: f64,
    /// Beyond this nothing is seen, metres; a beam that hit nothing reads this.
    pub range_max: f64,
    /// Metres.
    pub ranges: Vec<f32>,
}

/// Everything that one read of the robot gives.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Battery, where there is one.
    pub battery: Option<Timed<Battery>>,
    /// On its dock.
    pub docked: bool,
    /// A hardware emergency stop is pressed.
    pub emergency_stop: bool,
    /// The last of the joints is a gripper: its position is how far its jaws are open, metres.
    pub gripper: bool,
    /// The joints, where it is an arm.
    pub joints: Option<Timed<JointStates>>,
    /// Pose of `base_link` in the `map` frame.
    pub pose: Timed<Pose>,
    /// Range sensor, where there is one.
    pub scan: Option<Timed<Scan>>,
    /// Measured body twist.
    pub twist: Timed<Twist>,
}

/// What a robot is able to do, as advertised to the cloud.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Such as `drive`, `joints`, `gripper`, `scan`, `dock`; what skill manifests require.
    pub names: Vec<String>,
    /// Fastest forward speed of the hardware, m/s.
    pub max_linear_mps: f64,
    /// Fastest turn of the hardware, rad/s.
    pub max_angular_radps: f64,
    /// Make and model, for people.
    pub model: String,
}
