//! What a robot can be asked: by an actuator command, and by a signed command from afar.

use crate::envelope::{Envelope, Signable};
use crate::geometry::{Point, Twist};
use crate::ids::JobId;
use crate::plan::Plan;
use serde::{Deserialize, Serialize};

/// A setpoint for the actuators. One variant per kind of vehicle; the gate has a law for each.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A differential base: body twist.
    Drive(Twist),
}

/// How a robot comes to rest. What each means physically is the driver's to state.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopProfile {
    /// Brake within the limits and hold position under control (IEC 60204-1 category 2).
    ControlledHold,
    /// Brake within the limits, then remove drive power (IEC 60204-1 category 1).
    ControlledStopThenPowerOff,
    /// Ask for immediate removal of drive power (IEC 60204-1 category 0).
    ImmediatePowerRemoval,
}

/// Whose wish a setpoint is, in order of authority: the first that wishes, wins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A stop that nothing overrules.
    EmergencyStop,
    /// A person who holds a lease, through the cloud or on site.
    Operator,
    /// The skill of the running job.
    Skill,
    /// Nobody: stand still.
    Idle,
}

/// What a signed command asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Give up the job and come to a safe rest.
    CancelJob {
        /// The job.
        job: JobId,
        /// For the record.
        reason: String,
    },
    /// Drive with a given twist until the lease ends.
    Drive {
        /// How long the wish holds, milliseconds.
        lease_ms: u32,
        /// The wish; the gate decides what becomes of it.
        twist: Twist,
    },
    /// Drive straight towards a point until it is reached or the lease ends. No planner: what
    /// stands in the way is the gate's concern.
    DriveTo {
        /// How long the wish holds, milliseconds.
        lease_ms: u32,
        /// Wished speed, m/s.
        speed_mps: f64,
        /// The point in the `map` frame.
        to: Point,
    },
    /// Stop now and stay stopped until [`Ask::ReleaseStop`].
    EmergencyStop {
        /// For the record.
        reason: String,
    },
    /// Lift a software emergency stop. The robot does not move by this alone.
    ReleaseStop,
    /// Carry out a plan.
    StartJob {
        /// The job.
        job: JobId,
        /// Its steps.
        plan: Plan,
    },
}

impl Ask {
    /// The `type` of the ask, as written on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CancelJob { .. } => "cancel_job",
            Self::Drive { .. } => "drive",
            Self::DriveTo { .. } => "drive_to",
            Self::EmergencyStop { .. } => "emergency_stop",
            Self::ReleaseStop => "release_stop",
            Self::StartJob { .. } => "start_job",
        }
    }
}

/// A command as it is signed by the cloud.
pub type RemoteCommand = Envelope<Ask>;

impl Signable for RemoteCommand {
    const CONTENT_TYPE: &'static str = "nooterra/command+cbor;v=1";
}
