//! A policy that its owner signed, for this robot, and whose numbers make sense.

use crate::conditions::Conditions;
use crate::document::{DocumentError, check, check_privacy_shapes};
use crate::footprint::Body;
use crate::mask::{self, MaskError};
use crate::privacy::Curtain;
use crate::zones::{SLACK_M, ZoneMap};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::ids::{RobotId, ZoneId};
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::policy::{Mask, PolicyDocument, Vehicle};

/// The only thing that a gate can be built from. [`VerifiedPolicy::verify`] and
/// [`VerifiedPolicy::verify_with_masks`] are the only ways to one.
#[derive(Clone, Debug)]
pub struct VerifiedPolicy {
    conditions: Conditions,
    curtain: Option<Curtain>,
    signed: Signed<PolicyDocument>,
    zone_ids: Vec<ZoneId>,
    zones: ZoneMap,
}

/// Why bytes are not a policy for this robot.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Signed, and yet its numbers make no sense; it was signed without `policy check`.
    #[error("the policy cannot be used: {0}")]
    Document(#[from] DocumentError),
    /// A mask that the policy names is missing, or not the one that was signed.
    #[error("mask `{id}`: {fault}")]
    Mask {
        /// The mask.
        id: ZoneId,
        /// What is wrong with it.
        fault: MaskError,
    },
    /// For another robot; the wrong file was installed.
    #[error("the policy is for robot {found}, this is {expected}; install the one for {expected}")]
    Robot {
        /// This robot.
        expected: RobotId,
        /// Whom the policy names.
        found: RobotId,
    },
    /// Not signed by the owner, altered, or no policy at all.
    #[error("the policy is not signed by this robot's owner: {0}")]
    Signed(#[from] SignedError),
}

impl VerifiedPolicy {
    /// Checks the owner's signature over `bytes` (a COSE_Sign1 of a [`PolicyDocument`]), the
    /// robot that it is for, and the document itself, in that order. For documents without
    /// masks; one with a mask is refused, for who leaves out a mask leaves out a rule.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`].
    pub fn verify(
        bytes: &[u8],
        owner: &VerifyingKey,
        robot: &RobotId,
    ) -> Result<Self, PolicyError> {
        Self::verify_with_masks(bytes, owner, robot, |mask| {
            Err(format!("{} was not looked for", mask.file_name()).into())
        })
    }

    /// As [`VerifiedPolicy::verify`], for a document that may have masks: `read` gives the
    /// bytes of a mask's file. They are compared with the hash in the document, and turned into
    /// distance fields here, once.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`].
    pub fn verify_with_masks(
        bytes: &[u8],
        owner: &VerifyingKey,
        robot: &RobotId,
        mut read: impl FnMut(&Mask) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Self, PolicyError> {
        let owner_id = owner.key_id();
        let signed =
            Signed::<PolicyDocument>::verify(bytes, |key| (key == owner_id).then_some(owner))?;
        if signed.body().robot != *robot {
            return Err(PolicyError::Robot {
                expected: robot.clone(),
                found: signed.body().robot.clone(),
            });
        }
        let document = signed.body();
        let mut areas = check(document)?;
        let drawn = mask::zones(&document.masks, &document.limits, |mask| {
            read(mask).map_err(MaskError::Unread)
        })
        .map_err(|(id, fault)| PolicyError::Mask { id, fault })?;
        let mut zone_ids: Vec<ZoneId> = document.zones.iter().map(|zone| zone.id.clone()).collect();
        for (id, rule, shape) in drawn {
            zone_ids.push(id);
            areas.push((rule, shape));
        }
        let zones = ZoneMap::new(body_of(document), areas);
        let private = check_privacy_shapes(document)?;
        let curtain = Curtain::new(document, ZoneMap::new(body_of(document), private));
        let conditions = Conditions::new(&document.zones, document);
        Ok(Self { conditions, curtain, signed, zone_ids, zones })
    }

    /// Some zone holds only at times: the gate must be told what time it is, or takes it to
    /// hold.
    #[must_use]
    pub fn asks_for_time(&self) -> bool {
        self.conditions.ask_for_time() || self.curtain.as_ref().is_some_and(Curtain::ask_for_time)
    }

    /// SHA-256 of the signed bytes: what verdicts name the policy by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.signed.digest()
    }

    /// The signed bytes, as they came.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        self.signed.bytes()
    }

    /// What was signed.
    #[must_use]
    pub const fn document(&self) -> &PolicyDocument {
        self.signed.body()
    }

    /// The names of the zones, by the numbers that verdicts give: those of the document, then
    /// those of its masks. A speed mask has its name once for each of its limits.
    #[must_use]
    pub fn zone_ids(&self) -> &[ZoneId] {
        &self.zone_ids
    }

    pub(crate) const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    pub(crate) const fn curtain(&self) -> Option<&Curtain> {
        self.curtain.as_ref()
    }

    pub(crate) const fn zones(&self) -> &ZoneMap {
        &self.zones
    }
}

/// The discs that a robot is judged by.
pub(crate) fn body_of(document: &PolicyDocument) -> Body {
    let (reverses, footprint) = (document.limits.max_reverse_mps > 0.0, &document.footprint);
    match document.vehicle {
        Vehicle::Ackermann { .. } | Vehicle::Differential if reverses => {
            Body::covering(footprint, SLACK_M)
        }
        Vehicle::Omnidirectional { .. } => Body::covering(footprint, SLACK_M),
        // What cannot back out of a corner must be able to turn in it; which way something
        // that flies faces is not what its setpoints say.
        Vehicle::Ackermann { .. }
        | Vehicle::Differential
        | Vehicle::Joints { .. }
        | Vehicle::Multirotor(_) => Body::circle(footprint, SLACK_M),
    }
}
