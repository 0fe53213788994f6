//! What makes no sense in either file, whoever signed it, and the checks that both share.

use super::{MAX_REASON_BYTES, TrustFile};
use crate::ids::{ActorId, SkillId};
use crate::time::WallMillis;

pub(super) const DAY_MS: i64 = 86_400_000;

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
    #[error(
        "`keys`: `{0}` is no key id; write the hexadecimal digits that `minisign` prints, 16 at most"
    )]
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

pub(super) fn versions(v: u32, version: u32) -> Result<(), TrustFormError> {
    if v != 1 {
        return Err(TrustFormError::Version { key: "v", found: v });
    }
    if version == 0 {
        return Err(TrustFormError::Version { key: "version", found: version });
    }
    Ok(())
}

pub(super) fn lifetime(
    issued: WallMillis,
    expires: WallMillis,
    most_days: i64,
) -> Result<(), TrustFormError> {
    if (1..=most_days * DAY_MS).contains(&expires.millis_since(issued)) {
        Ok(())
    } else {
        Err(TrustFormError::Lifetime { issued, most_days })
    }
}

pub(super) const fn count(
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
pub(super) mod moment {
    use crate::time::WallMillis;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::trust) fn serialize<S: Serializer>(
        at: &WallMillis,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let text = at.to_string();
        to.serialize_str(&text.replace(".000Z", "Z"))
    }

    pub(in crate::trust) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<WallMillis, D::Error> {
        let text = String::deserialize(from)?;
        WallMillis::from_rfc3339(&text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            D::Error::custom(format!("`{shown}` is no moment; write as in 2026-11-20T08:30:00Z"))
        })
    }
}
