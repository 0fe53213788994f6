//! Whose signatures on skills count: the trust document, the list of what was revoked, and what
//! the journal says about both.
//!
//! Both are JSON that a person writes, reads and signs with the stock `minisign`; the signatures
//! are detached and over the file's bytes. What they mean for a bundle is decided by
//! `nooterra-skill-host`; here is their form, and everything about it that needs no key.

use crate::codec::{Blob, Digest};
use crate::ids::{ActorId, FleetId, SkillId};
use crate::skill::Tier;
use crate::time::WallMillis;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The largest document or list that is read, bytes.
pub const MAX_TRUST_BYTES: usize = 256 * 1024;

/// A document names at most so many keys.
pub const MAX_KEYS: usize = 64;

/// A list revokes at most so much.
pub const MAX_REVOKED: usize = 2048;

/// A document lasts at most so long: whoever holds the roots looks at it now and then.
pub const MAX_DOCUMENT_DAYS: i64 = 5 * 366;

/// A list lasts at most so long: how far behind a robot may be kept without noticing.
pub const MAX_LIST_DAYS: i64 = 366;

/// The longest reason, bytes.
pub const MAX_REASON_BYTES: usize = 200;

const DAY_MS: i64 = 86_400_000;

/// Which of the two a file is, by its `type`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum TrustFile {
    /// A [`TrustDocument`].
    #[serde(rename = "nooterra/skill-trust")]
    Document,
    /// A [`RevocationList`].
    #[serde(rename = "nooterra/skill-revocations")]
    List,
}

impl fmt::Display for TrustFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document => "trust document",
            Self::List => "revocation list",
        })
    }
}

/// Which keys there are, and what each may sign. The next one is signed by the roots of this
/// one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDocument {
    /// From this moment on no new skill is taken by it.
    #[serde(with = "moment")]
    pub expires: WallMillis,
    /// The robots that it is for.
    pub fleet: FleetId,
    /// When it was made.
    #[serde(with = "moment")]
    pub issued: WallMillis,
    /// Every key that it speaks of.
    pub keys: Vec<NamedKey>,
    /// Who signs revocation lists. Without them there are none, and none is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revokers: Option<Signers>,
    /// Who signs the next document.
    pub roots: Signers,
    /// Who signs skills.
    pub tiers: Tiers,
    /// [`TrustFile::Document`].
    #[serde(rename = "type")]
    pub file: TrustFile,
    /// Format, 1.
    pub v: u32,
    /// Counts up; a robot never goes back to an older one by itself.
    pub version: u32,
}

/// A public key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKey {
    /// The line of a minisign `.pub` file that begins with `RW`.
    pub key: String,
    /// What the rest of the document calls it.
    pub name: ActorId,
}

/// Any `threshold` of these keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signers {
    /// Names of keys.
    pub keys: Vec<ActorId>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// Who signs the skills of each tier. What is not listed is not accepted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tiers {
    /// [`Tier::Dev`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<TierSigners>,
    /// [`Tier::FieldCert`]; never without certifiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_cert: Option<TierSigners>,
    /// [`Tier::LabCert`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_cert: Option<TierSigners>,
}

impl Tiers {
    /// Who signs skills of this tier.
    #[must_use]
    pub const fn of(&self, tier: Tier) -> Option<&TierSigners> {
        match tier {
            Tier::Dev => self.dev.as_ref(),
            Tier::FieldCert => self.field_cert.as_ref(),
            Tier::LabCert => self.lab_cert.as_ref(),
        }
    }
}

/// Who signs the skills of one tier: enough developers, and enough certifiers where there are
/// any. Nobody is both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TierSigners {
    /// Who vouches that it was tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certifiers: Option<Signers>,
    /// Who wrote it.
    pub developers: Signers,
}

/// What counts no longer. A newer list takes the place of the older one as a whole.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// Bundles, by the hash of the file.
    #[serde(default)]
    pub bundles: Vec<RevokedBundle>,
    /// From this moment on no new skill is taken until a newer list is there.
    #[serde(with = "moment")]
    pub expires: WallMillis,
    /// The robots that it is for.
    pub fleet: FleetId,
    /// When it was made.
    #[serde(with = "moment")]
    pub issued: WallMillis,
    /// Keys, whose signatures on skills count no longer. Roots and revokers are changed by a
    /// new document alone.
    #[serde(default)]
    pub keys: Vec<RevokedKey>,
    /// [`TrustFile::List`].
    #[serde(rename = "type")]
    pub file: TrustFile,
    /// Format, 1.
    pub v: u32,
    /// Counts up; a robot never goes back to an older one by itself.
    pub version: u32,
    /// Versions of skills.
    #[serde(default)]
    pub versions: Vec<RevokedVersions>,
}

/// A bundle that may not run.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedBundle {
    /// SHA-256 of the file.
    pub bundle: Digest,
    /// Why, in one line.
    pub reason: String,
}

/// A key that signs skills no longer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedKey {
    /// Its id as `minisign` prints it, 16 hexadecimal digits.
    pub key: String,
    /// Why, in one line.
    pub reason: String,
}

/// Versions of a skill that may not run: one, or all below one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedVersions {
    /// All that are older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// Why, in one line.
    pub reason: String,
    /// Which skill.
    pub skill: SkillId,
    /// This one, whatever its build metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A document or list with its signatures, as it is carried and kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// The file.
    pub bytes: Blob,
    /// The `.minisig` files, one after the other.
    pub signatures: String,
}

/// What the cloud has for a robot.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrustNews {
    /// Documents after the one that the robot has, in their order.
    pub documents: Vec<Carried>,
    /// The newest list.
    pub list: Option<Carried>,
}

/// Which versions of skills a robot has taken.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<SkillId, Mark>);

/// Of one skill.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The newest version that was taken.
    pub newest: String,
    /// An older one that an operator permits beside it.
    pub permitted: Option<String>,
}

impl Marks {
    /// What is known of a skill.
    #[must_use]
    pub fn of(&self, skill: &SkillId) -> Option<&Mark> {
        self.0.get(skill)
    }

    /// Of every skill.
    pub fn iter(&self) -> impl Iterator<Item = (&SkillId, &Mark)> {
        self.0.iter()
    }

    /// A version was taken. Tells whether that is news.
    pub fn taken(&mut self, skill: &SkillId, version: &str) -> bool {
        match self.0.get_mut(skill) {
            Some(mark) if is_older(&mark.newest, version) => {
                // What was permitted beside the one before is not permitted beside this one.
                *mark = Mark { newest: version.to_owned(), permitted: None };
                true
            }
            Some(_) => false,
            None => {
                let mark = Mark { newest: version.to_owned(), permitted: None };
                self.0.insert(skill.clone(), mark);
                true
            }
        }
    }

    /// An operator permits an older version; false where nothing newer is known, so that there
    /// is nothing to permit.
    pub fn permit(&mut self, skill: &SkillId, version: &str) -> bool {
        match self.0.get_mut(skill) {
            Some(mark) if is_older(version, &mark.newest) => {
                mark.permitted = Some(version.to_owned());
                true
            }
            _ => false,
        }
    }

    /// The newer version that stands against this one, if one does.
    #[must_use]
    pub fn against(&self, skill: &SkillId, version: &str) -> Option<&str> {
        let mark = self.0.get(skill)?;
        let permitted = mark.permitted.as_deref() == Some(version);
        (!permitted && is_older(version, &mark.newest)).then_some(mark.newest.as_str())
    }
}

/// The trust in skills changed, or something that would have changed it was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillTrust {
    /// SHA-256 of the file, where there is one.
    pub digest: Option<Digest>,
    /// Which of the two, where it is about one.
    pub file: Option<TrustFile>,
    /// Why, in one line.
    pub reason: String,
    /// What happened.
    pub step: SkillTrustStep,
    /// Of the document or list, where it could be read.
    pub version: Option<u32>,
}

/// What happened to the trust in skills.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkillTrustStep {
    /// New skills are taken again.
    Fresh,
    /// What was in force is gone, damaged or older: no skill runs.
    Lost,
    /// An operator permits an older version of a skill.
    Permitted,
    /// In force.
    PutInForce,
    /// Not put in force.
    Refused,
    /// No new skill is taken: something expired, is missing, or the clock cannot be believed.
    Stale,
}

/// Why a document or a list makes no sense, whoever signed it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrustFormError {
    /// Somebody is developer and certifier of one tier, and would vouch for himself.
    #[error("`tiers.{tier}`: {name} is developer and certifier; name two, who check each other")]
    Both {
        /// The key.
        name: ActorId,
        /// The tier.
        tier: &'static str,
    },
    /// More than there is room for, or fewer than it takes.
    #[error("`{key}` has {found} entries, must be {least} to {most}")]
    Count {
        /// Where.
        key: &'static str,
        /// At least.
        least: usize,
        /// At most.
        most: usize,
        /// There are.
        found: usize,
    },
    /// A document where a list belongs, or the other way round.
    #[error("it is a {found}, not a {expected}")]
    File {
        /// What belongs here.
        expected: TrustFile,
        /// What it says that it is.
        found: TrustFile,
    },
    /// A key id that is none.
    #[error("`keys`: `{0}` is no key id; write the 16 hexadecimal digits that `minisign` prints")]
    KeyId(String),
    /// It ends before it begins, or lasts too long.
    #[error("`expires` must be after `issued` ({issued}), by {most_days} days at most")]
    Lifetime {
        /// When it was made.
        issued: WallMillis,
        /// The longest.
        most_days: i64,
    },
    /// A tier without certifiers that is nothing without them.
    #[error("`tiers.field_cert` has no `certifiers`; name who vouches for what runs in the field")]
    NoCertifiers,
    /// No reason, or one that does not fit a line.
    #[error("each `reason` is one line of 1 to {MAX_REASON_BYTES} bytes")]
    Reason,
    /// More signatures than keys, or none.
    #[error("`{role}.threshold` is {found}, must be 1 to {most}: so many keys are named")]
    Threshold {
        /// Where.
        role: &'static str,
        /// There.
        found: u32,
        /// Keys that are named.
        most: usize,
    },
    /// A name twice in one place.
    #[error("`{role}` names {name} twice; one key signs once")]
    Twice {
        /// The key.
        name: ActorId,
        /// Where.
        role: &'static str,
    },
    /// A name that `keys` does not have.
    #[error("`{role}` names {name}, which is not among `keys`")]
    Unknown {
        /// The key.
        name: ActorId,
        /// Where.
        role: &'static str,
    },
    /// Written in a later format, or counted from nothing.
    #[error("`{key}` is {found}; this release reads format 1 and versions from 1")]
    Version {
        /// `v` or `version`.
        key: &'static str,
        /// There.
        found: u32,
    },
    /// Neither `version` nor `below`, both, or no semantic version.
    #[error(
        "`versions` of {0}: write either `version` or `below`, with a semantic version such as 1.2.0"
    )]
    Versions(SkillId),
}

impl TrustDocument {
    /// Checks what the types do not hold. That its keys are keys, and differ, is checked by who
    /// knows keys.
    ///
    /// # Errors
    /// [`TrustFormError`] with the first thing that is wrong.
    pub fn check(&self) -> Result<(), TrustFormError> {
        let (expected, found) = (TrustFile::Document, self.file);
        if found != expected {
            return Err(TrustFormError::File { expected, found });
        }
        versions(self.v, self.version)?;
        lifetime(self.issued, self.expires, MAX_DOCUMENT_DAYS)?;
        count("keys", self.keys.len(), 1, MAX_KEYS)?;
        let mut known = BTreeSet::new();
        for NamedKey { name, .. } in &self.keys {
            if !known.insert(name) {
                return Err(TrustFormError::Twice { name: name.clone(), role: "keys" });
            }
        }
        self.roots.check("roots", &known)?;
        if let Some(revokers) = &self.revokers {
            revokers.check("revokers", &known)?;
        }
        for (tier, developers, certifiers, signers) in [
            ("dev", "tiers.dev.developers", "tiers.dev.certifiers", &self.tiers.dev),
            (
                "field_cert",
                "tiers.field_cert.developers",
                "tiers.field_cert.certifiers",
                &self.tiers.field_cert,
            ),
            (
                "lab_cert",
                "tiers.lab_cert.developers",
                "tiers.lab_cert.certifiers",
                &self.tiers.lab_cert,
            ),
        ] {
            let Some(signers) = signers else { continue };
            signers.developers.check(developers, &known)?;
            let Some(others) = &signers.certifiers else { continue };
            others.check(certifiers, &known)?;
            if let Some(name) = others.keys.iter().find(|n| signers.developers.keys.contains(n)) {
                return Err(TrustFormError::Both { name: name.clone(), tier });
            }
        }
        match &self.tiers.field_cert {
            Some(TierSigners { certifiers: None, .. }) => Err(TrustFormError::NoCertifiers),
            _ => Ok(()),
        }
    }
}

impl Signers {
    fn check(&self, role: &'static str, known: &BTreeSet<&ActorId>) -> Result<(), TrustFormError> {
        let mut seen = BTreeSet::new();
        for name in &self.keys {
            if !known.contains(name) {
                return Err(TrustFormError::Unknown { name: name.clone(), role });
            }
            if !seen.insert(name) {
                return Err(TrustFormError::Twice { name: name.clone(), role });
            }
        }
        let most = self.keys.len();
        if usize::try_from(self.threshold).is_ok_and(|least| (1..=most).contains(&least)) {
            Ok(())
        } else {
            Err(TrustFormError::Threshold { role, found: self.threshold, most })
        }
    }
}

impl RevocationList {
    /// Checks what the types do not hold.
    ///
    /// # Errors
    /// [`TrustFormError`] with the first thing that is wrong.
    pub fn check(&self) -> Result<(), TrustFormError> {
        let (expected, found) = (TrustFile::List, self.file);
        if found != expected {
            return Err(TrustFormError::File { expected, found });
        }
        versions(self.v, self.version)?;
        lifetime(self.issued, self.expires, MAX_LIST_DAYS)?;
        count("bundles", self.bundles.len(), 0, MAX_REVOKED)?;
        count("keys", self.keys.len(), 0, MAX_REVOKED)?;
        count("versions", self.versions.len(), 0, MAX_REVOKED)?;
        for key in &self.keys {
            let is_id = key.key.len() == 16 && key.key.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_id {
                return Err(TrustFormError::KeyId(key.key.clone()));
            }
        }
        for revoked in &self.versions {
            let named = match (&revoked.version, &revoked.below) {
                (Some(version), None) | (None, Some(version)) => Version::parse(version).is_ok(),
                _ => false,
            };
            if !named {
                return Err(TrustFormError::Versions(revoked.skill.clone()));
            }
        }
        let bundles = self.bundles.iter().map(|revoked| &revoked.reason);
        let keys = self.keys.iter().map(|revoked| &revoked.reason);
        let versions = self.versions.iter().map(|revoked| &revoked.reason);
        let fits = |reason: &String| {
            (1..=MAX_REASON_BYTES).contains(&reason.len()) && !reason.contains(char::is_control)
        };
        if bundles.chain(keys).chain(versions).all(fits) {
            Ok(())
        } else {
            Err(TrustFormError::Reason)
        }
    }

    /// Why this version of a skill may not run, if it may not. A version that is none may not.
    #[must_use]
    pub fn revoked_version(&self, skill: &SkillId, version: &str) -> Option<&str> {
        let version = Version::parse(version).ok();
        let covers = |revoked: &&RevokedVersions| {
            let Some(version) = version.as_ref().filter(|_| revoked.skill == *skill) else {
                return revoked.skill == *skill;
            };
            let at = |text: &Option<String>| Version::parse(text.as_deref()?).ok();
            at(&revoked.version).is_some_and(|one| one.cmp_precedence(version).is_eq())
                || at(&revoked.below).is_some_and(|below| version.cmp_precedence(&below).is_lt())
        };
        Some(self.versions.iter().find(covers)?.reason.as_str())
    }

    /// Why this bundle may not run, if it may not.
    #[must_use]
    pub fn revoked_bundle(&self, bundle: &Digest) -> Option<&str> {
        let found = self.bundles.iter().find(|revoked| revoked.bundle == *bundle)?;
        Some(found.reason.as_str())
    }
}

/// Whether a version of a skill is older than another. Build metadata makes no difference; what
/// is no version is older than everything.
#[must_use]
pub fn is_older(version: &str, than: &str) -> bool {
    match (Version::parse(version), Version::parse(than)) {
        (Ok(version), Ok(than)) => version.cmp_precedence(&than).is_lt(),
        (version, _) => version.is_err(),
    }
}

fn versions(v: u32, version: u32) -> Result<(), TrustFormError> {
    if v != 1 {
        return Err(TrustFormError::Version { key: "v", found: v });
    }
    if version == 0 {
        return Err(TrustFormError::Version { key: "version", found: version });
    }
    Ok(())
}

fn lifetime(issued: WallMillis, expires: WallMillis, most_days: i64) -> Result<(), TrustFormError> {
    if (1..=most_days * DAY_MS).contains(&expires.millis_since(issued)) {
        Ok(())
    } else {
        Err(TrustFormError::Lifetime { issued, most_days })
    }
}

const fn count(
    key: &'static str,
    found: usize,
    least: usize,
    most: usize,
) -> Result<(), TrustFormError> {
    if found < least || found > most {
        return Err(TrustFormError::Count { key, least, most, found });
    }
    Ok(())
}

/// A moment as people write it, in JSON.
mod moment {
    use crate::time::WallMillis;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &WallMillis, to: S) -> Result<S::Ok, S::Error> {
        let text = at.to_string();
        to.serialize_str(&text.replace(".000Z", "Z"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WallMillis, D::Error> {
        let text = String::deserialize(from)?;
        WallMillis::from_rfc3339(&text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            D::Error::custom(format!("`{shown}` is no moment; write as in 2026-11-20T08:30:00Z"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::entry::Entry;

    fn document() -> TrustDocument {
        serde_json::from_str(
            r#"{ "type": "nooterra/skill-trust", "v": 1, "fleet": "hall", "version": 1,
                 "issued": "2026-11-20T08:30:00Z", "expires": "2027-11-20T08:30:00Z",
                 "keys": [ { "name": "a", "key": "RWa" }, { "name": "b", "key": "RWb" },
                           { "name": "c", "key": "RWc" } ],
                 "roots": { "keys": ["a", "b"], "threshold": 2 },
                 "revokers": { "keys": ["c"], "threshold": 1 },
                 "tiers": { "dev": { "developers": { "keys": ["a"], "threshold": 1 } },
                            "field_cert": {
                              "developers": { "keys": ["a"], "threshold": 1 },
                              "certifiers": { "keys": ["b", "c"], "threshold": 2 } } } }"#,
        )
        .unwrap()
    }

    fn list() -> RevocationList {
        serde_json::from_str(
            r#"{ "type": "nooterra/skill-revocations", "v": 1, "fleet": "hall", "version": 1,
                 "issued": "2026-11-20T08:30:00Z", "expires": "2026-12-20T08:30:00Z",
                 "keys": [ { "key": "E7620F1842B4E81F", "reason": "lost" } ],
                 "versions": [ { "skill": "patrol", "below": "1.2.0", "reason": "hits doors" },
                               { "skill": "patrol", "version": "1.3.0", "reason": "hangs" } ] }"#,
        )
        .unwrap()
    }

    fn name(text: &str) -> ActorId {
        ActorId::new(text).unwrap()
    }

    #[test]
    fn a_document_and_a_list_that_make_sense_are_taken_and_read_back() {
        document().check().unwrap();
        list().check().unwrap();
        let json = serde_json::to_string(&document()).unwrap();
        assert!(json.contains("2026-11-20T08:30:00Z"), "{json}");
        assert_eq!(serde_json::from_str::<TrustDocument>(&json).unwrap(), document());
    }

    #[test]
    fn each_thing_that_makes_no_sense_in_a_document_is_refused() {
        type Edit = fn(&mut TrustDocument);
        let edits: [(&str, Edit); 13] = [
            ("`v` is 2", |d| d.v = 2),
            ("`version` is 0", |d| d.version = 0),
            ("must be after `issued`", |d| d.expires = d.issued),
            ("1830 days at most", |d| d.expires = WallMillis(i64::MAX)),
            ("has 0 entries", |d| d.keys.clear()),
            ("names a twice", |d| d.keys[1].name = name("a")),
            ("`roots.threshold` is 3", |d| d.roots.threshold = 3),
            ("`roots.threshold` is 0", |d| d.roots.threshold = 0),
            ("`roots` names z", |d| d.roots.keys[0] = name("z")),
            ("`roots` names a twice", |d| d.roots.keys[1] = name("a")),
            ("developer and certifier", |d| {
                d.tiers.field_cert.as_mut().unwrap().developers.keys[0] = name("b");
            }),
            ("no `certifiers`", |d| d.tiers.field_cert.as_mut().unwrap().certifiers = None),
            ("is a revocation list", |d| d.file = TrustFile::List),
        ];
        for (part, edit) in edits {
            let mut edited = document();
            edit(&mut edited);
            let refused = edited.check().unwrap_err().to_string();
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    #[test]
    fn each_thing_that_makes_no_sense_in_a_list_is_refused() {
        type Edit = fn(&mut RevocationList);
        let edits: [(&str, Edit); 8] = [
            ("366 days at most", |l| l.expires = WallMillis(l.issued.0 + 367 * DAY_MS)),
            ("is no key id", |l| l.keys[0].key = "E7620F1842B4E81".to_owned()),
            ("is no key id", |l| l.keys[0].key = "E7620F1842B4E81G".to_owned()),
            ("either `version` or `below`", |l| l.versions[0].version = Some("1.0.0".to_owned())),
            ("either `version` or `below`", |l| l.versions[0].below = None),
            ("either `version` or `below`", |l| l.versions[0].below = Some("1".to_owned())),
            ("one line", |l| l.versions[0].reason = "a\nb".to_owned()),
            ("is a trust document", |l| l.file = TrustFile::Document),
        ];
        for (part, edit) in edits {
            let mut edited = list();
            edit(&mut edited);
            let refused = edited.check().unwrap_err().to_string();
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    #[test]
    fn a_revoked_version_is_revoked_in_every_spelling() {
        let (list, patrol) = (list(), SkillId::new("patrol").unwrap());
        for version in ["0.1.0", "1.1.9", "1.2.0-rc.1", "1.3.0", "1.3.0+build.7", "nonsense"] {
            assert!(list.revoked_version(&patrol, version).is_some(), "{version}");
        }
        for version in ["1.2.0", "1.3.1", "1.3.0-rc.1", "2.0.0"] {
            assert_eq!(list.revoked_version(&patrol, version), None, "{version}");
        }
        assert_eq!(list.revoked_version(&SkillId::new("survey").unwrap(), "0.1.0"), None);
    }

    #[test]
    fn what_is_older_is_told_by_precedence() {
        assert!(is_older("1.0.0", "1.0.1") && is_older("1.0.0-rc.1", "1.0.0"));
        assert!(!is_older("1.0.0+b", "1.0.0+a") && !is_older("1.10.0", "1.9.0"));
        assert!(is_older("nonsense", "0.0.1") && !is_older("0.0.1", "nonsense"));
    }

    #[test]
    fn an_older_version_needs_a_permission_that_ends_with_the_next_newer_one() {
        let (mut marks, patrol) = (Marks::default(), SkillId::new("patrol").unwrap());
        assert!(!marks.permit(&patrol, "1.0.0"), "nothing is known that would stand against it");
        assert!(marks.taken(&patrol, "1.1.0") && !marks.taken(&patrol, "1.0.0"));
        assert_eq!(marks.against(&patrol, "1.0.0"), Some("1.1.0"));
        assert_eq!(marks.against(&patrol, "1.1.0+other"), None);
        assert!(marks.permit(&patrol, "1.0.0"));
        assert_eq!(marks.against(&patrol, "1.0.0"), None);
        assert_eq!(marks.against(&patrol, "0.9.0"), Some("1.1.0"));
        assert!(marks.taken(&patrol, "1.2.0"));
        assert_eq!(marks.against(&patrol, "1.0.0"), Some("1.2.0"));
    }

    #[test]
    fn a_change_of_the_trust_is_a_record_that_reads_back() {
        for (step, name) in [
            (SkillTrustStep::Lost, "lost"),
            (SkillTrustStep::PutInForce, "put_in_force"),
            (SkillTrustStep::Stale, "stale"),
        ] {
            let entry = Entry::SkillTrust(SkillTrust {
                digest: Some(Digest::of(b"file")),
                file: Some(TrustFile::List),
                reason: "in force".to_owned(),
                step,
                version: Some(3),
            });
            let body = entry.body().unwrap();
            let bytes = codec::to_vec(&body).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains(name) && text.contains("nooterra/skill-revocations"), "{text}");
            assert_eq!(Entry::parse("skill_trust", body).unwrap(), Some(entry));
        }
    }

    #[test]
    fn a_key_twice_in_an_object_an_unknown_key_and_a_wrong_moment_are_refused() {
        let json = serde_json::to_string(&list()).unwrap();
        for (from, to) in [
            ("\"v\":1", "\"v\":1,\"v\":1"),
            ("\"v\":1", "\"v\":1,\"more\":1"),
            ("2026-12-20T08:30:00Z", "2026-13-20T08:30:00Z"),
            ("2026-12-20T08:30:00Z", "2026-12-20 08:30"),
            ("nooterra/skill-revocations", "nooterra/other"),
        ] {
            let text = json.replace(from, to);
            assert_ne!(text, json);
            assert!(serde_json::from_str::<RevocationList>(&text).is_err(), "{to}");
        }
    }
}
