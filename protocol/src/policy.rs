//! The owner's policy document: the envelope that holds whatever is asked, by whomever.
//!
//! This is its form. What it means for motion, and whether its numbers make sense, is decided
//! in `nooterra-policy`, which builds a gate from a signed document only.

use crate::codec::Digest;
use crate::command::StopProfile;
use crate::envelope::Signable;
use crate::geometry::Point;
use crate::ids::{PolicyId, RobotId, ZoneId};
use serde::{Deserialize, Serialize};

/// The document. All lengths in metres, times in milliseconds unless named otherwise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// What is protected: the robot's outline.
    pub footprint: Footprint,
    /// How old an input may be.
    pub freshness: Freshness,
    /// Its name.
    pub id: PolicyId,
    /// How fast, how hard.
    pub limits: Limits,
    /// Where, drawn as grids of cells in files of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Mask>,
    /// The robot that it is for.
    pub robot: RobotId,
    /// How the robot comes to rest when anything is wrong.
    pub stop: StopProfile,
    /// Counts up; a robot never goes back to an older one.
    pub version: u32,
    /// Where.
    #[serde(default)]
    pub zones: Vec<Zone>,
}

impl Signable for PolicyDocument {
    const CONTENT_TYPE: &'static str = "nooterra/policy+cbor;v=1";

    /// Room for fences of some 200,000 corners.
    const MAX_BYTES: usize = 6 * 1024 * 1024;
}

/// The robot's outline around `base_link`, convex, in the body frame.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// Added all around: pose uncertainty and map error.
    pub margin_m: f64,
    /// Corners in order, at least three.
    pub outline: Vec<Point>,
}

/// How fast and how hard. Every limit is positive and finite.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Turning up or down, rad/s².
    pub max_angular_accel_radps2: f64,
    /// Turning, either way, rad/s.
    pub max_angular_radps: f64,
    /// Braking that the base surely achieves, m/s²; the stopping distance is computed with it.
    pub max_decel_mps2: f64,
    /// Speeding up, m/s².
    pub max_linear_accel_mps2: f64,
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

/// A region with a rule.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name.
    pub id: ZoneId,
    /// Corners in order, `map` frame, at least three; sides do not cross.
    pub polygon: Vec<Point>,
    /// What holds in it.
    pub rule: ZoneRule,
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
