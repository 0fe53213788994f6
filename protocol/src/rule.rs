//! The rules of the gate: their names on the wire and in rules' tables, and the units of their
//! limits.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The rule that changed a command.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Rule {
    /// Turning rate changes faster than allowed, rad/s².
    #[serde(rename = "accel.angular")]
    AccelAngular,
    /// A joint changes its velocity faster than allowed, rad/s² or m/s².
    #[serde(rename = "accel.joint")]
    AccelJoint,
    /// Across the way in a curve, m/s².
    #[serde(rename = "accel.lateral")]
    AccelLateral,
    /// Speed changes faster than allowed, m/s².
    #[serde(rename = "accel.linear")]
    AccelLinear,
    /// Climbing changes faster than allowed, m/s².
    #[serde(rename = "accel.vertical")]
    AccelVertical,
    /// Braking would end above the ceiling or below the floor, m.
    #[serde(rename = "altitude")]
    Altitude,
    /// The charge is needed to come home, 0 to 1.
    #[serde(rename = "battery.reserve")]
    BatteryReserve,
    /// The time between two ticks was zero, negative or far too long, s.
    #[serde(rename = "clock.jump")]
    ClockJump,
    /// A command for another kind of vehicle.
    #[serde(rename = "command.kind")]
    CommandKind,
    /// An emergency stop is in force, or not yet cleared.
    #[serde(rename = "estop")]
    EmergencyStop,
    /// The source in charge may not move the robot now.
    #[serde(rename = "grant")]
    Grant,
    /// A number that is no number.
    #[serde(rename = "input.nan")]
    InputNan,
    /// Pose, twist or another measurement that the vehicle needs is too old, ms.
    #[serde(rename = "input.stale")]
    InputStale,
    /// The place is known too badly, m.
    #[serde(rename = "input.uncertain")]
    InputUncertain,
    /// Speeding up sets in faster than allowed, m/s³.
    #[serde(rename = "jerk.linear")]
    JerkLinear,
    /// A joint is loaded beyond its limit, N·m or N.
    #[serde(rename = "joint.effort")]
    JointEffort,
    /// Braking would end beyond a joint's range, rad or m.
    #[serde(rename = "joint.position")]
    JointPosition,
    /// The journal is behind, ms.
    #[serde(rename = "journal.behind")]
    JournalBehind,
    /// It has moved for too long without a rest, s.
    #[serde(rename = "motion.duration")]
    MotionDuration,
    /// Too fast for the distance to what stands in the way, m/s.
    #[serde(rename = "proximity.separation")]
    ProximitySeparation,
    /// Something is near on the way, m/s.
    #[serde(rename = "proximity.slow")]
    ProximitySlow,
    /// Something is too near on the way, or the sensor is silent, m.
    #[serde(rename = "proximity.stop")]
    ProximityStop,
    /// The wish of the source in charge is too old, ms.
    #[serde(rename = "source.stale")]
    SourceStale,
    /// Turning too fast, rad/s.
    #[serde(rename = "speed.angular")]
    SpeedAngular,
    /// A joint is too fast, rad/s or m/s.
    #[serde(rename = "speed.joint")]
    SpeedJoint,
    /// Sideways too fast, m/s.
    #[serde(rename = "speed.lateral")]
    SpeedLateral,
    /// Too fast, m/s.
    #[serde(rename = "speed.linear")]
    SpeedLinear,
    /// Climbing or sinking too fast, m/s.
    #[serde(rename = "speed.vertical")]
    SpeedVertical,
    /// Steering too far, rad.
    #[serde(rename = "steering.angle")]
    SteeringAngle,
    /// Steering too quickly, rad/s.
    #[serde(rename = "steering.rate")]
    SteeringRate,
    /// Leaning too far, rad.
    #[serde(rename = "tilt")]
    Tilt,
    /// A person who may has vetoed motion.
    #[serde(rename = "veto")]
    Veto,
    /// No zone that it must be kept in is open at this time, or at this height.
    #[serde(rename = "zone.closed")]
    ZoneClosed,
    /// Braking would end outside where the robot must stay, m of clearance.
    #[serde(rename = "zone.keep_in")]
    ZoneKeepIn,
    /// Braking would end inside where the robot must not be, m of clearance.
    #[serde(rename = "zone.keep_out")]
    ZoneKeepOut,
    /// Too fast for the zone, m/s.
    #[serde(rename = "zone.speed")]
    ZoneSpeed,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 36] = [
        Self::AccelAngular,
        Self::AccelJoint,
        Self::AccelLateral,
        Self::AccelLinear,
        Self::AccelVertical,
        Self::Altitude,
        Self::BatteryReserve,
        Self::ClockJump,
        Self::CommandKind,
        Self::EmergencyStop,
        Self::Grant,
        Self::InputNan,
        Self::InputStale,
        Self::InputUncertain,
        Self::JerkLinear,
        Self::JointEffort,
        Self::JointPosition,
        Self::JournalBehind,
        Self::MotionDuration,
        Self::ProximitySeparation,
        Self::ProximitySlow,
        Self::ProximityStop,
        Self::SourceStale,
        Self::SpeedAngular,
        Self::SpeedJoint,
        Self::SpeedLateral,
        Self::SpeedLinear,
        Self::SpeedVertical,
        Self::SteeringAngle,
        Self::SteeringRate,
        Self::Tilt,
        Self::Veto,
        Self::ZoneClosed,
        Self::ZoneKeepIn,
        Self::ZoneKeepOut,
        Self::ZoneSpeed,
    ];

    /// As on the wire: `zone.keep_out`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccelAngular => "accel.angular",
            Self::AccelJoint => "accel.joint",
            Self::AccelLateral => "accel.lateral",
            Self::AccelLinear => "accel.linear",
            Self::AccelVertical => "accel.vertical",
            Self::Altitude => "altitude",
            Self::BatteryReserve => "battery.reserve",
            Self::ClockJump => "clock.jump",
            Self::CommandKind => "command.kind",
            Self::EmergencyStop => "estop",
            Self::Grant => "grant",
            Self::InputNan => "input.nan",
            Self::InputStale => "input.stale",
            Self::InputUncertain => "input.uncertain",
            Self::JerkLinear => "jerk.linear",
            Self::JointEffort => "joint.effort",
            Self::JointPosition => "joint.position",
            Self::JournalBehind => "journal.behind",
            Self::MotionDuration => "motion.duration",
            Self::ProximitySeparation => "proximity.separation",
            Self::ProximitySlow => "proximity.slow",
            Self::ProximityStop => "proximity.stop",
            Self::SourceStale => "source.stale",
            Self::SpeedAngular => "speed.angular",
            Self::SpeedJoint => "speed.joint",
            Self::SpeedLateral => "speed.lateral",
            Self::SpeedLinear => "speed.linear",
            Self::SpeedVertical => "speed.vertical",
            Self::SteeringAngle => "steering.angle",
            Self::SteeringRate => "steering.rate",
            Self::Tilt => "tilt",
            Self::Veto => "veto",
            Self::ZoneClosed => "zone.closed",
            Self::ZoneKeepIn => "zone.keep_in",
            Self::ZoneKeepOut => "zone.keep_out",
            Self::ZoneSpeed => "zone.speed",
        }
    }
}

impl Rule {
    /// The unit of its limit; empty where it has none. That of a joint is of one that turns.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::AccelAngular | Self::AccelJoint => "rad/s²",
            Self::AccelLateral | Self::AccelLinear | Self::AccelVertical => "m/s²",
            Self::Altitude
            | Self::InputUncertain
            | Self::ProximityStop
            | Self::ZoneKeepIn
            | Self::ZoneKeepOut => "m",
            Self::BatteryReserve => "of the charge",
            Self::ClockJump | Self::MotionDuration => "s",
            Self::InputStale | Self::JournalBehind | Self::SourceStale => "ms",
            Self::JerkLinear => "m/s³",
            Self::JointEffort => "N·m",
            Self::ProximitySeparation
            | Self::ProximitySlow
            | Self::SpeedLateral
            | Self::SpeedLinear
            | Self::SpeedVertical
            | Self::ZoneSpeed => "m/s",
            Self::SpeedAngular | Self::SpeedJoint | Self::SteeringRate => "rad/s",
            Self::JointPosition | Self::SteeringAngle | Self::Tilt => "rad",
            Self::CommandKind
            | Self::EmergencyStop
            | Self::Grant
            | Self::InputNan
            | Self::Veto
            | Self::ZoneClosed => "",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
