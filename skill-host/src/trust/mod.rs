//! Whether a bundle is taken: by whose signatures, and whether anything was revoked.
//!
//! A [`Trust`] is a trust document that verifies, with the newest revocation list. A new document
//! is signed by enough roots of the one in force and by enough of its own; a list by enough
//! revokers of the document. Neither goes back to an older version unless an operator permits it.
//!
//! # What holds when something expires
//! A bundle that comes from outside is taken only while document and list are fresh, by a clock
//! that can be believed. A bundle that the robot already has goes on as long as its signatures
//! and the list at hand allow it, whatever has expired: a robot that was offline for two months
//! works on with what it has, and takes nothing new until it has heard the news. An expired list
//! still revokes what it revokes. An expired document still says who its successor is.

mod file;

pub use file::TrustError;

use crate::bundle::{Bundle, BundleError};
use crate::signature::{KeyId, SignedBy, TrustedKeys};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, SkillId};
use nooterra_protocol::skill::{MAX_BUNDLE_BYTES, Tier};
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::trust::{
    Carried, Marks, RevocationList, Signers, TierSigners, TrustDocument, TrustFile,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The moment that expiry is judged by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Whether the clock was set by something that knows the time. One that was not may be
    /// years behind, and everything would look fresh.
    pub trusted: bool,
    /// By that clock.
    pub wall: WallMillis,
}

/// Whether older documents and lists are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Back {
    /// No.
    Never,
    /// An operator at the robot permits it.
    Permitted,
}

/// Where a bundle comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The robot has it: it was taken before.
    Kept,
    /// From outside.
    New,
}

/// Whether new bundles are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// The clock was not set.
    ClockUntrusted,
    /// The document has expired.
    DocumentExpired(WallMillis),
    /// They are.
    Fresh,
    /// The list has expired.
    ListExpired(WallMillis),
    /// The document names revokers, and no list of theirs is here.
    ListMissing,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockUntrusted => f.write_str(
                "the clock was not set since the start, so nothing shows that the revocation list \
                 is fresh; let it be set (NTP), or say `skills.clock = \"system\"` where something \
                 else keeps it",
            ),
            Self::DocumentExpired(at) => write!(
                f,
                "the trust document expired at {at}; install the next one: `nooterra-agent trust \
                 install FILE`"
            ),
            Self::Fresh => f.write_str("fresh"),
            Self::ListExpired(at) => write!(
                f,
                "the revocation list expired at {at}; install the next one: `nooterra-agent trust \
                 install FILE`"
            ),
            Self::ListMissing => f.write_str(
                "there is no revocation list by the revokers of the trust document; install one: \
                 `nooterra-agent trust install FILE`",
            ),
        }
    }
}

/// Why a bundle is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DistrustError {
    /// It does not verify, or has another form.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No trust document is in force, and the tier needs one.
    #[error(
        "its tier is {}, and keys of a folder vouch for dev alone; install a trust document that \
         says who certifies: `nooterra-agent trust install FILE --first SHA256`", tier_name(*.0)
    )]
    NoDocument(Tier),
    /// Nobody signed it who is a developer by the document.
    #[error("no developer whom the trust document names has signed it{}", hints(revoked, unknown))]
    NoDeveloper {
        /// Signed, and revoked: whose key, and why.
        revoked: Vec<(KeyId, String)>,
        /// Signed, and not named by the document.
        unknown: Vec<KeyId>,
    },
    /// The document names nobody for this tier.
    #[error("the trust document accepts no skills of tier {}", tier_name(*.0))]
    NotAccepted(Tier),
    /// An older version than one that was taken here.
    #[error(
        "version {found} is older than {newest}, which was taken here; use that, or permit this \
         one: `nooterra-agent trust permit {skill} {found}`"
    )]
    Older {
        /// Of the bundle.
        found: String,
        /// Taken before.
        newest: String,
        /// Which skill.
        skill: SkillId,
    },
    /// The bundle was revoked.
    #[error("this bundle was revoked: {0}")]
    RevokedBundle(String),
    /// The version was revoked.
    #[error("{skill} {version} was revoked: {reason}")]
    RevokedVersion {
        /// As the list says.
        reason: String,
        /// Which skill.
        skill: SkillId,
        /// Which version.
        version: String,
    },
    /// New bundles are not taken at the moment.
    #[error("no new skill is taken: {0}")]
    Stale(Standing),
    /// Not enough signatures that count.
    #[error(
        "tier {} needs {needed} of the {role}, {found} signed{}", tier_name(*tier), hints(revoked, unknown)
    )]
    Threshold {
        /// Signatures that count.
        found: usize,
        /// That many are needed.
        needed: u32,
        /// `developers` or `certifiers`.
        role: &'static str,
        /// Signed, and revoked: whose key, and why.
        revoked: Vec<(KeyId, String)>,
        /// What it says that it is.
        tier: Tier,
        /// Signed, and not named by the document.
        unknown: Vec<KeyId>,
    },
}

/// A trust document that verifies, and the newest list.
#[derive(Clone, Debug)]
pub struct Trust {
    carried: Carried,
    digest: Digest,
    document: TrustDocument,
    ids: BTreeMap<ActorId, KeyId>,
    keys: TrustedKeys,
    list: Option<List>,
}

#[derive(Clone, Debug)]
struct List {
    carried: Carried,
    digest: Digest,
    /// Signed by revokers of this document. One that an earlier document's revokers signed goes
    /// on to revoke, and does not count as fresh.
    holds: bool,
    list: RevocationList,
    revoked: BTreeMap<KeyId, String>,
}

impl Trust {
    /// What is in force.
    #[must_use]
    pub const fn document(&self) -> &TrustDocument {
        &self.document
    }

    /// SHA-256 of the document's file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The document with its signatures.
    #[must_use]
    pub const fn carried(&self) -> &Carried {
        &self.carried
    }

    /// The newest list.
    #[must_use]
    pub fn list(&self) -> Option<&RevocationList> {
        self.list.as_ref().map(|held| &held.list)
    }

    /// SHA-256 of the list's file.
    #[must_use]
    pub fn list_digest(&self) -> Option<Digest> {
        self.list.as_ref().map(|held| held.digest)
    }

    /// The list with its signatures.
    #[must_use]
    pub fn carried_list(&self) -> Option<&Carried> {
        self.list.as_ref().map(|held| &held.carried)
    }

    /// The list's revokers are those of this document, so that its version counts.
    #[must_use]
    pub fn list_holds(&self) -> bool {
        self.list.as_ref().is_some_and(|held| held.holds)
    }

    /// The id of a key that the document names.
    #[must_use]
    pub fn key_id(&self, name: &ActorId) -> Option<KeyId> {
        self.ids.get(name).copied()
    }

    /// Whose lists are counted together: it changes when the revokers do.
    #[must_use]
    pub fn revokers(&self) -> Option<Digest> {
        let revokers = self.document.revokers.as_ref()?;
        Some(self.fingerprint(revokers))
    }

    /// Whether new bundles are taken.
    #[must_use]
    pub fn standing(&self, now: Now) -> Standing {
        if !now.trusted {
            return Standing::ClockUntrusted;
        }
        if now.wall >= self.document.expires {
            return Standing::DocumentExpired(self.document.expires);
        }
        if self.document.revokers.is_none() {
            return Standing::Fresh;
        }
        match &self.list {
            Some(held) if held.holds && now.wall < held.list.expires => Standing::Fresh,
            Some(held) if held.holds => Standing::ListExpired(held.list.expires),
            _ => Standing::ListMissing,
        }
    }

    /// Checks everything about a bundle that can be checked without running it: signatures
    /// before any of it is interpreted, then its form, who must sign its tier, what was revoked,
    /// whether it is older than what was taken, and, where it comes from outside, whether new
    /// ones are taken.
    ///
    /// # Errors
    /// [`DistrustError`] with the first thing that is wrong.
    pub fn bundle(
        &self,
        bytes: &[u8],
        signatures: &str,
        origin: Origin,
        marks: &Marks,
        now: Now,
    ) -> Result<Bundle, DistrustError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge(bytes.len()).into());
        }
        let signed = self.keys.check_all(bytes, signatures).map_err(BundleError::from)?;
        let bundle = Bundle::read_signed(bytes, self.some_developer(&signed)?)?;
        let signers = self.permits(&bundle, &signed)?;
        let manifest = bundle.manifest();
        if let Some(newest) = marks.against(&manifest.id, &manifest.version) {
            return Err(DistrustError::Older {
                found: manifest.version.clone(),
                newest: newest.to_owned(),
                skill: manifest.id.clone(),
            });
        }
        let standing = self.standing(now);
        if origin == Origin::New && standing != Standing::Fresh {
            return Err(DistrustError::Stale(standing));
        }
        Ok(bundle.with_signers(signers))
    }

    /// Whether a bundle that was taken may go on: whether its signers still suffice, and nothing
    /// of it was revoked.
    ///
    /// # Errors
    /// [`DistrustError`] with the first thing that is wrong.
    pub fn still_takes(&self, bundle: &Bundle) -> Result<(), DistrustError> {
        let good = bundle.signers().iter().copied().collect();
        self.permits(bundle, &SignedBy { good, ..SignedBy::default() }).map(drop)
    }

    /// Enough of those whom its tier needs have signed, and nothing of it was revoked; who they
    /// are, developers first.
    fn permits(&self, bundle: &Bundle, signed: &SignedBy) -> Result<Vec<KeyId>, DistrustError> {
        let manifest = bundle.manifest();
        let tier = manifest.tier;
        let TierSigners { certifiers, developers } =
            self.document.tiers.of(tier).ok_or(DistrustError::NotAccepted(tier))?;
        let mut signers = self.enough(developers, "developers", tier, signed)?;
        if let Some(certifiers) = certifiers {
            signers.extend(self.enough(certifiers, "certifiers", tier, signed)?);
        }
        let Some(List { list, .. }) = &self.list else { return Ok(signers) };
        if let Some(reason) = list.revoked_bundle(&bundle.digest()) {
            return Err(DistrustError::RevokedBundle(reason.to_owned()));
        }
        match list.revoked_version(&manifest.id, &manifest.version) {
            None => Ok(signers),
            Some(reason) => Err(DistrustError::RevokedVersion {
                reason: reason.to_owned(),
                skill: manifest.id.clone(),
                version: manifest.version.clone(),
            }),
        }
    }

    /// Those who signed and are developers of any tier: before one of them has, a bundle is not
    /// even looked at.
    fn some_developer(&self, signed: &SignedBy) -> Result<Vec<KeyId>, DistrustError> {
        let tiers = [Tier::Dev, Tier::LabCert, Tier::FieldCert];
        let named: BTreeSet<KeyId> = tiers
            .iter()
            .filter_map(|tier| self.document.tiers.of(*tier))
            .flat_map(|signers| self.ids_of(&signers.developers))
            .collect();
        let found: Vec<KeyId> =
            named.intersection(&signed.good).copied().filter(|id| !self.is_revoked(id)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        Err(DistrustError::NoDeveloper {
            revoked: self.revoked_of(signed),
            unknown: signed.unknown.iter().copied().collect(),
        })
    }

    fn enough(
        &self,
        signers: &Signers,
        role: &'static str,
        tier: Tier,
        signed: &SignedBy,
    ) -> Result<Vec<KeyId>, DistrustError> {
        let named: BTreeSet<KeyId> = self.ids_of(signers).collect();
        let found: Vec<KeyId> =
            named.intersection(&signed.good).copied().filter(|id| !self.is_revoked(id)).collect();
        if reaches(found.len(), signers.threshold) {
            return Ok(found);
        }
        Err(DistrustError::Threshold {
            found: found.len(),
            needed: signers.threshold,
            role,
            revoked: self.revoked_of(signed),
            tier,
            unknown: signed.unknown.iter().copied().collect(),
        })
    }

    fn ids_of<'a>(&'a self, signers: &'a Signers) -> impl Iterator<Item = KeyId> + 'a {
        signers.keys.iter().filter_map(|name| self.ids.get(name).copied())
    }

    fn is_revoked(&self, id: &KeyId) -> bool {
        self.list.as_ref().is_some_and(|held| held.revoked.contains_key(id))
    }

    fn revoked_of(&self, signed: &SignedBy) -> Vec<(KeyId, String)> {
        let Some(held) = &self.list else { return Vec::new() };
        let reason = |id: &KeyId| Some((*id, held.revoked.get(id)?.clone()));
        signed.good.iter().filter_map(reason).collect()
    }

    fn fingerprint(&self, signers: &Signers) -> Digest {
        let ids: BTreeSet<String> = self.ids_of(signers).map(|id| id.to_string()).collect();
        let text = ids.into_iter().fold(signers.threshold.to_string(), |text, id| text + " " + &id);
        Digest::of(text.as_bytes())
    }
}

/// A bundle for a robot without a trust document, whose keys lie in a folder: its developer's
/// signature is enough, for the tier that says no more than that.
///
/// # Errors
/// [`DistrustError::Bundle`] and [`DistrustError::NoDocument`].
pub fn without_document(
    bytes: &[u8],
    signature: &str,
    keys: &TrustedKeys,
) -> Result<Bundle, DistrustError> {
    let bundle = Bundle::verify(bytes, signature, keys)?;
    match bundle.manifest().tier {
        Tier::Dev => Ok(bundle),
        tier => Err(DistrustError::NoDocument(tier)),
    }
}

fn reaches(found: usize, threshold: u32) -> bool {
    usize::try_from(threshold).is_ok_and(|needed| found >= needed)
}

/// As in a manifest.
const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Dev => "dev",
        Tier::FieldCert => "field_cert",
        Tier::LabCert => "lab_cert",
    }
}

/// What became of the other signatures.
fn hints(revoked: &[(KeyId, String)], unknown: &[KeyId]) -> String {
    let revoked = revoked.iter().map(|(id, reason)| format!("; {id} was revoked: {reason}"));
    let unknown = unknown.iter().map(|id| format!("; {id} is not in the trust document"));
    revoked.chain(unknown).collect()
}

/// The file in words, for errors.
const fn the(file: TrustFile) -> &'static str {
    match file {
        TrustFile::Document => "the trust document",
        TrustFile::List => "the revocation list",
    }
}
