//! Who may ask for what, as bits that a control loop can look at.
//!
//! The rules are written in a policy language and evaluated where time does not press: when a
//! session, a plan, a mode changes. What comes out is [`Grants`], plain data with an end. After
//! it nothing is granted, until somebody has evaluated the rules again.

use crate::envelope::Signable;
use crate::ids::{PolicyId, RobotId};
use crate::time::{MonoNanos, WallMillis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What can be asked for. An emergency stop is not among it: it needs nobody's leave.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Give up a job.
    CancelJob,
    /// Cut the robot off from those who ask from afar.
    Disconnect,
    /// Move the robot, within its envelope.
    Drive,
    /// Take back a veto.
    LiftVeto,
    /// State that something happened that somebody will ask about.
    MarkIncident,
    /// State when a job may be carried out, and whether it needs review.
    PlanAccess,
    /// Get a sensor's data.
    ReadSensor,
    /// Take back a disconnect.
    Reconnect,
    /// Lift a software emergency stop.
    ReleaseStop,
    /// Keep a sensor's data.
    RetainSensor,
    /// State that a job was reviewed.
    ReviewJob,
    /// Choose among the policy's modes, such as a payload on board.
    SetLimits,
    /// Set how the robot is operated.
    SetMode,
    /// Begin a job.
    StartJob,
    /// Hold the robot until the veto is lifted.
    Veto,
}

impl Action {
    /// Every action, in the order of their bits.
    pub const ALL: [Self; 15] = [
        Self::CancelJob,
        Self::Disconnect,
        Self::Drive,
        Self::LiftVeto,
        Self::MarkIncident,
        Self::PlanAccess,
        Self::ReadSensor,
        Self::Reconnect,
        Self::ReleaseStop,
        Self::RetainSensor,
        Self::ReviewJob,
        Self::SetLimits,
        Self::SetMode,
        Self::StartJob,
        Self::Veto,
    ];

    /// As in rules: `start_job`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CancelJob => "cancel_job",
            Self::Disconnect => "disconnect",
            Self::Drive => "drive",
            Self::LiftVeto => "lift_veto",
            Self::MarkIncident => "mark_incident",
            Self::PlanAccess => "plan_access",
            Self::ReadSensor => "read_sensor",
            Self::Reconnect => "reconnect",
            Self::ReleaseStop => "release_stop",
            Self::RetainSensor => "retain_sensor",
            Self::ReviewJob => "review_job",
            Self::SetLimits => "set_limits",
            Self::SetMode => "set_mode",
            Self::StartJob => "start_job",
            Self::Veto => "veto",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// On whose behalf something is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// Whoever signed commands come from.
    Operator,
    /// The skill that carries out a step of the job under way.
    Skill,
}

impl Asker {
    /// Every asker, in the order of their bits.
    pub const ALL: [Self; 2] = [Self::Operator, Self::Skill];
}

/// How the robot is being operated.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Jobs and operators move it.
    #[default]
    Automatic,
    /// Somebody works on it.
    Maintenance,
    /// People move it, skills do not.
    Manual,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Automatic, Self::Maintenance, Self::Manual];

    /// As in rules and configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Maintenance => "maintenance",
            Self::Manual => "manual",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// The one of two in which fewer may move the robot.
    #[must_use]
    pub const fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Maintenance, _) | (_, Self::Maintenance) => Self::Maintenance,
            (Self::Manual, _) | (_, Self::Manual) => Self::Manual,
            (Self::Automatic, Self::Automatic) => Self::Automatic,
        }
    }
}

/// What a robot perceives with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensor {
    /// Images.
    Camera,
    /// Depth images and point clouds, in which people can be told apart.
    Depth,
    /// Sound.
    Microphone,
    /// Where the robot is.
    Position,
    /// Distances in a plane.
    Range,
}

impl Sensor {
    /// Every sensor, in the order of [`Grants::sensors`].
    pub const ALL: [Self; 5] =
        [Self::Camera, Self::Depth, Self::Microphone, Self::Position, Self::Range];

    /// As in rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Depth => "depth",
            Self::Microphone => "microphone",
            Self::Position => "position",
            Self::Range => "range",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sensor| sensor.name() == name)
    }
}

/// What the running skill may have of a sensor.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SensorGrant {
    /// How long the data may be kept, seconds; 0 is not at all.
    pub keep_s: u32,
    /// Whether the data may be had at all.
    pub read: bool,
}

/// What is granted, to whom, until when. [`Grants::NONE`] grants nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// One bit for each asker and action; see [`Grants::bit`].
    pub bits: u64,
    /// The end, for a control loop: from this moment on nothing is granted.
    pub expires: MonoNanos,
    /// The same moment, for the record.
    pub expires_at: WallMillis,
    /// Of the running skill, in the order of [`Sensor::ALL`].
    pub sensors: [SensorGrant; Sensor::ALL.len()],
}

impl Grants {
    /// Nothing.
    pub const NONE: Self = Self {
        bits: 0,
        expires: MonoNanos(0),
        expires_at: WallMillis(0),
        sensors: [SensorGrant { keep_s: 0, read: false }; Sensor::ALL.len()],
    };

    /// The bit of an asker and an action. An asker has 16 of the 64.
    #[must_use]
    pub const fn bit(asker: Asker, action: Action) -> u64 {
        1 << (asker as u32 * 16 + action as u32)
    }

    /// Whether this was granted and still is. One comparison and one mask.
    #[must_use]
    pub const fn allows(&self, asker: Asker, action: Action, now: MonoNanos) -> bool {
        now.0 < self.expires.0 && self.bits & Self::bit(asker, action) != 0
    }

    /// What the running skill may have of a sensor now.
    #[must_use]
    pub const fn sensor(&self, sensor: Sensor, now: MonoNanos) -> SensorGrant {
        if now.0 < self.expires.0 {
            self.sensors[sensor as usize]
        } else {
            SensorGrant { keep_s: 0, read: false }
        }
    }

    /// All that `other` grants is granted here too, ends aside.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let sensor = |(mine, other): (&SensorGrant, &SensorGrant)| {
            mine.read >= other.read && mine.keep_s >= other.keep_s
        };
        self.bits & other.bits == other.bits && self.sensors.iter().zip(&other.sensors).all(sensor)
    }
}

/// An owner's rules of who may ask for what, as they are signed. What the text means is decided
/// by whoever evaluates it; a robot without such a document goes by the rules of its release.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityDocument {
    /// Its name.
    pub id: PolicyId,
    /// The robot that it is for.
    pub robot: RobotId,
    /// The rules, in Cedar.
    pub rules: String,
    /// Counts up; a robot never goes back to an older one.
    pub version: u32,
}

impl Signable for AuthorityDocument {
    const CONTENT_TYPE: &'static str = "nooterra/authority+cbor;v=1";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::envelope::{Signed, SignedError};
    use crate::keys::{Ed25519Key, Signer as _};
    use crate::policy::PolicyDocument;

    #[test]
    fn each_asker_and_action_has_a_bit_of_its_own() {
        let pairs = Asker::ALL.iter().flat_map(|who| Action::ALL.map(|action| (*who, action)));
        let bits = pairs.fold(0_u64, |bits, (who, action)| {
            let bit = Grants::bit(who, action);
            assert_eq!(bits & bit, 0, "{who:?} {action}");
            bits | bit
        });
        assert_eq!(bits.count_ones() as usize, Asker::ALL.len() * Action::ALL.len());
    }

    #[test]
    fn names_are_those_on_the_wire() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.name()), Some(action));
            let bytes = codec::to_vec(&action).unwrap();
            assert_eq!(codec::from_slice::<String>(&bytes).unwrap(), action.name());
        }
        for mode in Mode::ALL {
            assert_eq!(Mode::from_name(mode.name()), Some(mode));
            let bytes = codec::to_vec(&mode).unwrap();
            assert_eq!(codec::from_slice::<String>(&bytes).unwrap(), mode.name());
        }
        for (index, sensor) in Sensor::ALL.into_iter().enumerate() {
            assert_eq!(Sensor::from_name(sensor.name()), Some(sensor));
            assert_eq!(sensor as usize, index);
        }
    }

    #[test]
    fn a_grant_ends_at_its_end_and_nothing_is_granted_by_default() {
        let read = SensorGrant { keep_s: 60, read: true };
        let grants = Grants {
            bits: Grants::bit(Asker::Skill, Action::Drive),
            expires: MonoNanos(100),
            expires_at: WallMillis(7),
            sensors: [read; 5],
        };
        assert!(grants.allows(Asker::Skill, Action::Drive, MonoNanos(99)));
        assert!(!grants.allows(Asker::Skill, Action::Drive, MonoNanos(100)));
        assert!(!grants.allows(Asker::Operator, Action::Drive, MonoNanos(99)));
        assert_eq!(grants.sensor(Sensor::Range, MonoNanos(99)), read);
        assert_eq!(grants.sensor(Sensor::Range, MonoNanos(100)), SensorGrant::default());
        assert!(!Grants::NONE.allows(Asker::Operator, Action::Veto, MonoNanos(0)));
        assert!(grants.covers(&Grants::NONE) && !Grants::NONE.covers(&grants));
        let bytes = codec::to_vec(&grants).unwrap();
        assert_eq!(codec::from_slice::<Grants>(&bytes).unwrap(), grants);
    }

    #[test]
    fn rules_do_not_pass_for_a_policy() {
        let key = Ed25519Key::from_seed([5; 32]);
        let document = AuthorityDocument {
            id: PolicyId::new("rules").unwrap(),
            robot: RobotId::new("amr-1").unwrap(),
            rules: "permit(principal, action, resource);".to_owned(),
            version: 1,
        };
        let signed = Signed::sign(document, &key).unwrap();
        let public = key.verifying_key();
        assert!(Signed::<AuthorityDocument>::verify(signed.bytes(), |_| Some(&public)).is_ok());
        let error = Signed::<PolicyDocument>::verify(signed.bytes(), |_| Some(&public));
        assert!(matches!(error, Err(SignedError::ContentType { .. })));
    }
}
