//! What a policy would do, before it is signed: questions to a gate that moves nothing.
//!
//! [`explain`] holds one command in one state against a policy and says which rules act, now and
//! for as long as the command goes on. [`compare`] says what a new policy allows that the old one
//! did not, and the reverse, with examples that anybody can put to [`explain`].
//!
//! # What it never does
//! It judges by no law of its own: every answer is a gate's. The gate is made as every gate is,
//! from a signed document; it is signed here with a key that nobody trusts, so that it is good
//! for nothing else.

pub mod compare;
pub mod explain;

use nooterra_policy::{Gate, Grants, Inputs, Planar, PolicyError, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Command, Source};
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{ModeId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::observation::{Flying, JointStates, Timed};
use nooterra_protocol::policy::{Mask, PolicyDocument};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Between two ticks of a question: the rate at which robots run.
pub(crate) const STEP: Duration = Duration::from_millis(20);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The policies are for different kinds of vehicle; no command means something to both.
    #[error("the policies are for different kinds of vehicle; compare each with its own kind")]
    Kinds,
    /// The state names a mode that the policy does not have.
    #[error("the policy has no mode `{0}`; name one of its `modes`, or leave `mode` out")]
    Mode(ModeId),
    /// The policy makes no sense, or a mask of it is missing.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy cannot be written as a document.
    #[error(transparent)]
    Signed(#[from] SignedError),
}

/// A policy as it would be in force.
pub struct Reviewed {
    policy: VerifiedPolicy,
}

impl std::fmt::Debug for Reviewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewed").field("id", &self.document().id).finish_non_exhaustive()
    }
}

impl Reviewed {
    /// Takes a document as its owner wrote it; masks that it names lie in `masks`.
    ///
    /// # Errors
    /// [`ReviewError::Policy`] where it makes no sense.
    pub fn new(document: &PolicyDocument, masks: &Path) -> Result<Self, ReviewError> {
        let nobody = Ed25519Key::from_seed([0; 32]);
        let signed = Signed::sign(document.clone(), &nobody)?;
        let read = |mask: &Mask| Ok(std::fs::read(masks.join(mask.file_name()))?);
        let (key, robot): (_, &RobotId) = (nobody.verifying_key(), &document.robot);
        let policy = VerifiedPolicy::verify_with_masks(signed.bytes(), &key, robot, read)?;
        Ok(Self { policy })
    }

    /// Takes a policy that its owner signed.
    #[must_use]
    pub const fn of(policy: VerifiedPolicy) -> Self {
        Self { policy }
    }

    /// What is reviewed.
    #[must_use]
    pub const fn document(&self) -> &PolicyDocument {
        self.policy.document()
    }

    /// Of the document as it is signed here; the owner's signature makes another.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.policy.digest()
    }

    /// As a gate takes it; signed by nobody whom a robot trusts.
    #[must_use]
    pub const fn policy(&self) -> &VerifiedPolicy {
        &self.policy
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::new(&self.policy)
    }
}

/// A state and a command to put to a policy. What is left out is at rest, or not measured.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// State of charge, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<f64>,
    /// What time it is, for zones that hold only at times: trusted, milliseconds since 1970 in
    /// UTC. Left out, it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<WallMillis>,
    /// What is asked.
    pub command: Command,
    /// An emergency stop is pressed.
    #[serde(default)]
    pub emergency_stop: bool,
    /// Height and tilt, of what flies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flying: Option<Flying>,
    /// Of an arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joints: Option<JointStates>,
    /// The mode that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeId>,
    /// Where it is, in the map's frame.
    #[serde(default)]
    pub pose: Pose,
    /// Standard deviation of the position, metres.
    #[serde(default)]
    pub pose_sigma_m: f64,
    /// Who asks.
    #[serde(default = "skill")]
    pub source: Source,
    /// How it moves, in the body frame.
    #[serde(default)]
    pub twist: Planar,
    /// A veto holds it.
    #[serde(default)]
    pub veto: bool,
}

const fn skill() -> Source {
    Source::Skill
}

impl State {
    /// A command to a robot that stands at the origin.
    #[must_use]
    pub const fn new(command: Command) -> Self {
        Self {
            battery: None,
            clock: None,
            command,
            emergency_stop: false,
            flying: None,
            joints: None,
            mode: None,
            pose: Pose { x: 0.0, y: 0.0, yaw: 0.0 },
            pose_sigma_m: 0.0,
            source: Source::Skill,
            twist: Planar::ZERO,
            veto: false,
        }
    }

    /// All that a tick knows, everything fresh and everything granted.
    pub(crate) fn inputs(
        &self,
        document: &PolicyDocument,
        tick: u64,
        now: MonoNanos,
    ) -> Result<Inputs, ReviewError> {
        let mode = match &self.mode {
            None => None,
            Some(mode) => {
                let place = document.modes.iter().position(|known| known.id == *mode);
                let place = place.ok_or_else(|| ReviewError::Mode(mode.clone()))?;
                Some(u8::try_from(place).unwrap_or(u8::MAX))
            }
        };
        let wish = Some(Wish { at: now, command: self.command, until: now.plus(STEP) });
        let (operator, skill) = match self.source {
            Source::Operator => (wish, None),
            Source::Skill => (None, wish),
            Source::EmergencyStop | Source::Idle => (None, None),
        };
        let pose = Timed { at: now, value: self.pose };
        let twist = Timed { at: now, value: self.twist };
        Ok(Inputs {
            battery: self.battery,
            clock: self.clock.map(|wall| Stamp { mono: now, trust: ClockTrust::Network, wall }),
            flying: self.flying.map(|value| Timed { at: now, value }),
            grants: Grants::ALL,
            joints: self.joints.map(|value| Timed { at: now, value }),
            mode,
            pose_sigma_m: self.pose_sigma_m,
            wishes: Wishes {
                acknowledged: None,
                emergency_stop: self.emergency_stop || self.source == Source::EmergencyStop,
                operator,
                skill,
                veto: self.veto,
            },
            ..Inputs::new(tick, now, pose, twist)
        })
    }
}
