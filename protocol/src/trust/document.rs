//! The trust document: which keys there are, and what each may sign.

use super::TrustFile;
use super::form::{TrustFormError, count, lifetime, moment, versions};
use crate::ids::{ActorId, FleetId};
use crate::skill::Tier;
use crate::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A document names at most so many keys.
pub const MAX_KEYS: usize = 64;

/// A document lasts at most so long: whoever holds the roots looks at it now and then.
pub const MAX_DOCUMENT_DAYS: i64 = 5 * 366;

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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn name(text: &str) -> ActorId {
        ActorId::new(text).unwrap()
    }

    #[test]
    fn a_document_that_makes_sense_is_taken_and_read_back() {
        document().check().unwrap();
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
}
