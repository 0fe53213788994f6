//! The registry of skills: whose a version is, who may have it, and how it reaches robots.
//!
//! # Vocabulary
//! A *version* is a published bundle; it never changes. A *ring* is a part of the fleet; rings
//! are in an order, and a robot is in the first that takes it. A *roll-out* brings a version
//! from ring to ring ([`rollout`]). A step of a plan names a bundle, or says [`OF_RING`]: then
//! the version is chosen when the job is dispatched ([`give`]). What robots then have of it is what
//! they say ([`reported`]).
//!
//! # What it never does
//! It makes no certification, it checks records of those who do ([`publish`]). It never gives a
//! revoked version to a robot ([`revoke`]), and never a version that a roll-out has not brought
//! to the robot's ring. Robots trust none of it: they check signatures by keys of their own.

pub(crate) mod give;
pub(crate) mod publish;
pub(crate) mod reported;
pub(crate) mod revoke;
pub(crate) mod rollout;
pub(crate) mod steer;

#[cfg(test)]
mod model;

use crate::access::Tenant;
use crate::store::{Connection, StoreError, registry, skills};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{RobotId, SkillId};
use nooterra_protocol::skill::{SkillManifest, Tier};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// What a plan's step says as `version` when the robot's ring chooses it. It is no semantic
/// version, so no published bundle has it.
pub(crate) const OF_RING: &str = "ring";

/// The most names in one list: robots or labels of a rule.
pub(crate) const MAX_NAMES: usize = 10_000;

/// Which robots.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Selection {
    /// Every robot, whatever the lists say.
    pub(crate) everyone: bool,
    /// Those that have one of these labels.
    pub(crate) labels: BTreeSet<String>,
    /// Those with these ids.
    pub(crate) robots: BTreeSet<String>,
}

impl Selection {
    /// Whether the robot with these labels is one of them.
    pub(crate) fn takes(&self, robot: &RobotId, labels: &BTreeSet<String>) -> bool {
        self.everyone
            || self.robots.contains(robot.as_str())
            || self.labels.intersection(labels).next().is_some()
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.labels.len() > MAX_NAMES || self.robots.len() > MAX_NAMES {
            return Some(format!("a list has at most {MAX_NAMES} names"));
        }
        let bad = self.labels.iter().chain(&self.robots).find(|name| !is_name(name));
        bad.map(|name| format!("`{}` is no name", name.escape_debug()))
    }
}

/// A part of the fleet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ring {
    /// Its name, such as `canary`.
    pub(crate) name: String,
    /// Its robots, but for those that are in a ring before it.
    #[serde(default)]
    pub(crate) of: Selection,
    /// Its robots take no skill of a lower tier; `dev`, which is any, unless given.
    #[schema(value_type = Option<String>)]
    #[serde(default = "lowest")]
    pub(crate) tier: Tier,
}

const fn lowest() -> Tier {
    Tier::Dev
}

/// Names of rings and labels are as ids: they stand in URLs and on command lines.
pub(crate) fn is_name(text: &str) -> bool {
    SkillId::new(text).is_ok()
}

/// As in manifests.
pub(crate) const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Dev => "dev",
        Tier::LabCert => "lab_cert",
        Tier::FieldCert => "field_cert",
    }
}

/// Reads the name of a tier.
pub(crate) fn tier_of(name: &str) -> Option<Tier> {
    [Tier::Dev, Tier::LabCert, Tier::FieldCert].into_iter().find(|tier| tier_name(*tier) == name)
}

/// What was proven of a bundle when a tenant published it, by keys of that tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Proof {
    /// The certification, where there is one: by which key, until when, the record and its
    /// signature.
    pub(crate) certification: Option<Certified>,
    /// The developer's key that signed it.
    pub(crate) key_id: String,
}

/// A certification record that was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Certified {
    /// The certifier's key.
    pub(crate) key_id: String,
    /// The record, as it was signed.
    pub(crate) record: String,
    /// The text of its `.minisig` file.
    pub(crate) signature: String,
    /// It counts until then.
    pub(crate) until: WallMillis,
}

/// A version that is not given to robots any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Revocation {
    pub(crate) at: WallMillis,
    pub(crate) reason: String,
    /// What became of the jobs that ran it.
    pub(crate) running: revoke::Running,
}

/// A published version and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) manifest: SkillManifest,
    pub(crate) proof: Option<Proof>,
    pub(crate) revoked: Option<Revocation>,
}

impl Version {
    /// The version with this bundle, if it is published, and what is proven of it to the tenant
    /// ([`registry::proof`]).
    pub(crate) fn find(
        tx: &Connection,
        tenant: Option<&Tenant>,
        digest: &Digest,
    ) -> Result<Option<Self>, StoreError> {
        let Some(manifest) = skills::manifest(tx, digest)? else { return Ok(None) };
        Self::with(tx, tenant, digest, manifest).map(Some)
    }

    /// The version of which this is the manifest.
    pub(crate) fn with(
        tx: &Connection,
        tenant: Option<&Tenant>,
        digest: &Digest,
        manifest: SkillManifest,
    ) -> Result<Self, StoreError> {
        let proof = registry::proof(tx, tenant, digest)?;
        let revoked = registry::revocation(tx, digest)?;
        Ok(Self { manifest, proof, revoked })
    }

    /// The tier that counts: the manifest's, while a certification that was checked holds.
    pub(crate) fn tier(&self, now: WallMillis) -> Tier {
        let certified = self.proof.as_ref().and_then(|proof| proof.certification.as_ref());
        match certified {
            Some(certified) if now < certified.until => self.manifest.tier,
            _ => Tier::Dev,
        }
    }
}
