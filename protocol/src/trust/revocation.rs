//! The list of what was revoked: bundles, keys, and versions of skills.

use super::TrustFile;
use super::form::{TrustFormError, count, lifetime, moment, versions};
use crate::codec::Digest;
use crate::ids::{FleetId, SkillId};
use crate::time::WallMillis;
use semver::Version;
use serde::{Deserialize, Serialize};

/// A list revokes at most so much.
pub const MAX_REVOKED: usize = 2048;

/// A list lasts at most so long: how far behind a robot may be kept without noticing.
pub const MAX_LIST_DAYS: i64 = 366;

/// The longest reason, bytes.
pub const MAX_REASON_BYTES: usize = 200;

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
            // `minisign` leaves out leading zeros.
            let is_id =
                (1..=16).contains(&key.key.len()) && key.key.bytes().all(|b| b.is_ascii_hexdigit());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::form::DAY_MS;

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

    #[test]
    fn a_list_that_makes_sense_is_taken_and_read_back() {
        list().check().unwrap();
        let json = serde_json::to_string(&list()).unwrap();
        assert!(json.contains("2026-12-20T08:30:00Z"), "{json}");
        assert_eq!(serde_json::from_str::<RevocationList>(&json).unwrap(), list());
    }

    #[test]
    fn each_thing_that_makes_no_sense_in_a_list_is_refused() {
        type Edit = fn(&mut RevocationList);
        let edits: [(&str, Edit); 9] = [
            ("366 days at most", |l| l.expires = WallMillis(l.issued.0 + 367 * DAY_MS)),
            ("is no key id", |l| l.keys[0].key = "0E7620F1842B4E81F".to_owned()),
            ("is no key id", |l| l.keys[0].key.clear()),
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
