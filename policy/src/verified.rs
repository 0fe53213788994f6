//! A policy that its owner signed, for this robot, and whose numbers make sense.

use crate::document::{DocumentError, check};
use crate::zones::ZoneMap;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::policy::PolicyDocument;

/// The only thing that a gate can be built from. [`VerifiedPolicy::verify`] is the only way to
/// one.
#[derive(Clone, Debug)]
pub struct VerifiedPolicy {
    signed: Signed<PolicyDocument>,
    zones: ZoneMap,
}

/// Why bytes are not a policy for this robot.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Signed, and yet its numbers make no sense; it was signed without `policy check`.
    #[error("the policy cannot be used: {0}")]
    Document(#[from] DocumentError),
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
    /// robot that it is for, and the document itself, in that order.
    ///
    /// # Errors
    /// Every variant of [`PolicyError`].
    pub fn verify(
        bytes: &[u8],
        owner: &VerifyingKey,
        robot: &RobotId,
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
        let zones = check(signed.body())?;
        Ok(Self { signed, zones })
    }

    /// SHA-256 of the signed bytes: what verdicts name the policy by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.signed.digest()
    }

    /// What was signed.
    #[must_use]
    pub const fn document(&self) -> &PolicyDocument {
        self.signed.body()
    }

    pub(crate) const fn zones(&self) -> &ZoneMap {
        &self.zones
    }
}
