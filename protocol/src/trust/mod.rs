//! Whose signatures on skills count: the trust document, the list of what was revoked, and what
//! the journal says about both.
//!
//! Both are JSON that a person writes, reads and signs with the stock `minisign`; the signatures
//! are detached and over the file's bytes. What they mean for a bundle is decided by
//! `nooterra-skill-host`; here is their form, and everything about it that needs no key.

mod document;
mod form;
mod marks;
mod revocation;

pub use document::{
    MAX_DOCUMENT_DAYS, MAX_KEYS, NamedKey, Signers, TierSigners, Tiers, TrustDocument,
};
pub use form::TrustFormError;
pub use marks::{Mark, Marks, is_older};
pub use revocation::{
    MAX_LIST_DAYS, MAX_REASON_BYTES, MAX_REVOKED, RevocationList, RevokedBundle, RevokedKey,
    RevokedVersions,
};

use crate::codec::{Blob, Digest};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The largest document or list that is read, bytes.
pub const MAX_TRUST_BYTES: usize = 256 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::entry::Entry;

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
}
