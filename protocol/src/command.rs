//! What a robot can be asked: by an actuator command, and by a signed command from afar.

use crate::codec::Digest;
use crate::envelope::{Envelope, Signable};
use crate::geometry::{Planar, Point, Twist};
use crate::grant::Mode;
use crate::ids::{JobId, ModeId};
use crate::plan::Plan;
use crate::time::WallMillis;
use serde::{Deserialize, Serialize};

/// A setpoint for the actuators. One variant per kind of vehicle; the gate has a law for each.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A car-like base: speed and steering.
    Ackermann(Steer),
    /// A differential base: body twist.
    Drive(Twist),
    /// A multirotor: velocity over ground.
    Fly(Velocity),
    /// An arm: the velocity of each joint.
    Joints(JointVelocities),
    /// An omnidirectional base: body twist, sideways too.
    Omni(Planar),
}

/// What a car-like base is told, as `ackermann_msgs/AckermannDrive` has it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// Of the rear axle's centre, forward positive, m/s.
    pub speed_mps: f64,
    /// Of the virtual front wheel in the middle, to the left positive, radians.
    pub steering_rad: f64,
}

/// What a multirotor is told: a velocity in the `map` frame, whichever way it faces.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Velocity {
    /// East, m/s.
    pub x: f64,
    /// North, m/s.
    pub y: f64,
    /// Counter-clockwise seen from above, rad/s.
    pub yaw_rate: f64,
    /// Up, m/s.
    pub z: f64,
}

/// The most joints of an arm: seven, and a gripper.
pub const MAX_JOINTS: usize = 8;

/// One number for each joint of an arm, base first: rad or rad/s for a joint that turns, m or
/// m/s for one that slides. Fixed in size, so that no tick allocates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerJoint<T> {
    count: u8,
    values: [T; MAX_JOINTS],
}

/// The velocity of each joint, rad/s or m/s.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JointVelocities {
    /// Base first.
    pub joints: PerJoint<f64>,
}

/// More joints than are handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} joints; at most {MAX_JOINTS} are handled")]
pub struct TooManyJoints(pub usize);

impl<T: Copy + Default> PerJoint<T> {
    /// One value for each joint.
    ///
    /// # Errors
    /// [`TooManyJoints`].
    pub fn new(joints: &[T]) -> Result<Self, TooManyJoints> {
        let mut values = [T::default(); MAX_JOINTS];
        let (Some(room), Ok(count)) = (values.get_mut(..joints.len()), u8::try_from(joints.len()))
        else {
            return Err(TooManyJoints(joints.len()));
        };
        room.copy_from_slice(joints);
        Ok(Self { count, values })
    }

    /// The values, base first.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.values.get(..usize::from(self.count)).unwrap_or(&self.values)
    }

    /// The same joints with other values.
    #[must_use]
    pub fn map<U: Copy + Default>(&self, change: impl FnMut(T) -> U) -> PerJoint<U> {
        PerJoint { count: self.count, values: self.values.map(change) }
    }
}

impl<T: Copy + Default + Serialize> Serialize for PerJoint<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.as_slice())
    }
}

impl<'de, T: Copy + Default + Deserialize<'de>> Deserialize<'de> for PerJoint<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let joints = Vec::<T>::deserialize(deserializer)?;
        Self::new(&joints).map_err(serde::de::Error::custom)
    }
}

impl Command {
    /// Every number in it is finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Ackermann(steer) => steer.speed_mps.is_finite() && steer.steering_rad.is_finite(),
            Self::Drive(twist) => twist.is_finite(),
            Self::Fly(v) => [v.x, v.y, v.z, v.yaw_rate].into_iter().all(f64::is_finite),
            Self::Joints(joints) => joints.joints.as_slice().iter().all(|v| v.is_finite()),
            Self::Omni(planar) => planar.is_finite(),
        }
    }

    /// How fast it goes ahead, m/s: east for what flies, 0 for an arm.
    #[must_use]
    pub const fn forward_mps(&self) -> f64 {
        match self {
            Self::Ackermann(steer) => steer.speed_mps,
            Self::Drive(twist) => twist.linear,
            Self::Fly(velocity) => velocity.x,
            Self::Joints(_) => 0.0,
            Self::Omni(planar) => planar.x,
        }
    }

    /// How fast it turns, rad/s: 0 where the command does not say.
    #[must_use]
    pub const fn turning_radps(&self) -> f64 {
        match self {
            Self::Ackermann(_) | Self::Joints(_) => 0.0,
            Self::Drive(twist) => twist.angular,
            Self::Fly(velocity) => velocity.yaw_rate,
            Self::Omni(planar) => planar.angular,
        }
    }

    /// The body twist of a differential base; `None` for any other vehicle's command.
    #[must_use]
    pub const fn twist(&self) -> Option<Twist> {
        match self {
            Self::Drive(twist) => Some(*twist),
            _ => None,
        }
    }
}

impl From<Twist> for Command {
    fn from(twist: Twist) -> Self {
        Self::Drive(twist)
    }
}

/// A setpoint as somebody wished it: a number that is none is left out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Asked {
    /// See [`Command::Ackermann`].
    Ackermann {
        /// m/s.
        speed_mps: Option<f64>,
        /// Radians.
        steering_rad: Option<f64>,
    },
    /// See [`Command::Drive`].
    Drive {
        /// rad/s.
        angular: Option<f64>,
        /// m/s.
        linear: Option<f64>,
    },
    /// See [`Command::Fly`].
    Fly {
        /// m/s.
        x: Option<f64>,
        /// m/s.
        y: Option<f64>,
        /// rad/s.
        yaw_rate: Option<f64>,
        /// m/s.
        z: Option<f64>,
    },
    /// See [`Command::Joints`].
    Joints {
        /// rad/s or m/s.
        joints: PerJoint<Option<f64>>,
    },
    /// See [`Command::Omni`].
    Omni {
        /// rad/s.
        angular: Option<f64>,
        /// m/s.
        x: Option<f64>,
        /// m/s.
        y: Option<f64>,
    },
}

impl Asked {
    /// As [`Command::forward_mps`], where it was a number.
    #[must_use]
    pub const fn forward_mps(&self) -> Option<f64> {
        match self {
            Self::Ackermann { speed_mps, .. } => *speed_mps,
            Self::Drive { linear, .. } => *linear,
            Self::Fly { x, .. } | Self::Omni { x, .. } => *x,
            Self::Joints { .. } => None,
        }
    }

    /// As [`Command::turning_radps`], where it was a number.
    #[must_use]
    pub const fn turning_radps(&self) -> Option<f64> {
        match self {
            Self::Ackermann { .. } | Self::Joints { .. } => None,
            Self::Drive { angular, .. } | Self::Omni { angular, .. } => *angular,
            Self::Fly { yaw_rate, .. } => *yaw_rate,
        }
    }
}

impl From<Command> for Asked {
    fn from(command: Command) -> Self {
        let finite = |number: f64| number.is_finite().then_some(number);
        match command {
            Command::Ackermann(Steer { speed_mps, steering_rad }) => {
                Self::Ackermann { speed_mps: finite(speed_mps), steering_rad: finite(steering_rad) }
            }
            Command::Drive(Twist { angular, linear }) => {
                Self::Drive { angular: finite(angular), linear: finite(linear) }
            }
            Command::Fly(Velocity { x, y, yaw_rate, z }) => {
                Self::Fly { x: finite(x), y: finite(y), yaw_rate: finite(yaw_rate), z: finite(z) }
            }
            Command::Joints(joints) => Self::Joints { joints: joints.joints.map(finite) },
            Command::Omni(Planar { angular, x, y }) => {
                Self::Omni { angular: finite(angular), x: finite(x), y: finite(y) }
            }
        }
    }
}

impl From<Twist> for Asked {
    fn from(twist: Twist) -> Self {
        Command::Drive(twist).into()
    }
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
    /// Come to a hover, descend on the spot and switch off on the ground: how a multirotor ends.
    Land,
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
    /// Cut the robot off from those who ask from afar, until [`Ask::Reconnect`]. What ends
    /// motion (a stop, a veto, a cancelled job) still reaches it.
    Disconnect {
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
    /// Take back a veto, whoever made it. The robot does not move by this alone.
    LiftVeto,
    /// State that something happened that somebody will ask about: the black box keeps what was
    /// seen around it. The robot goes on.
    MarkIncident {
        /// For the record.
        reason: String,
    },
    /// Come to rest and keep the job, until [`Ask::ResumeJob`].
    PauseJob {
        /// The job.
        job: JobId,
        /// For the record.
        reason: String,
    },
    /// State what is known of a job beyond its plan; it replaces what was stated before.
    PlanAccess {
        /// Not before.
        from: Option<WallMillis>,
        /// The job.
        job: JobId,
        /// A person must approve it before it begins.
        needs_review: bool,
        /// What was agreed about privacy, in the words of whoever agreed it.
        privacy: Option<String>,
        /// Not from then on.
        to: Option<WallMillis>,
    },
    /// Take back a [`Ask::Disconnect`], whoever made it.
    Reconnect,
    /// Lift a software emergency stop. The robot does not move by this alone.
    ReleaseStop,
    /// Go on with a job that was paused.
    ResumeJob {
        /// The job.
        job: JobId,
    },
    /// Approve a job with the plan that was looked at, and no other.
    ReviewJob {
        /// The job.
        job: JobId,
        /// [`Plan::digest`] of its plan.
        plan: Digest,
    },
    /// Hold the limits of one of the policy's modes, such as a payload on board.
    SetLimits {
        /// Which; none for the policy's own limits.
        mode: Option<ModeId>,
    },
    /// Set how the robot is operated.
    SetMode {
        /// From now on.
        mode: Mode,
    },
    /// Carry out a plan.
    StartJob {
        /// The job.
        job: JobId,
        /// Its steps.
        plan: Plan,
    },
    /// Hold the robot until [`Ask::LiftVeto`].
    Veto {
        /// For the record.
        reason: String,
    },
}

impl Ask {
    /// The `type` of the ask, as written on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CancelJob { .. } => "cancel_job",
            Self::Disconnect { .. } => "disconnect",
            Self::Drive { .. } => "drive",
            Self::DriveTo { .. } => "drive_to",
            Self::EmergencyStop { .. } => "emergency_stop",
            Self::LiftVeto => "lift_veto",
            Self::MarkIncident { .. } => "mark_incident",
            Self::PauseJob { .. } => "pause_job",
            Self::PlanAccess { .. } => "plan_access",
            Self::Reconnect => "reconnect",
            Self::ReleaseStop => "release_stop",
            Self::ResumeJob { .. } => "resume_job",
            Self::ReviewJob { .. } => "review_job",
            Self::SetLimits { .. } => "set_limits",
            Self::SetMode { .. } => "set_mode",
            Self::StartJob { .. } => "start_job",
            Self::Veto { .. } => "veto",
        }
    }
}

/// A command as it is signed by the cloud.
pub type RemoteCommand = Envelope<Ask>;

impl Signable for RemoteCommand {
    const CONTENT_TYPE: &'static str = "nooterra/command+cbor;v=1";
}
