//! Typed identifiers: one type per kind of thing, so that a job's id cannot stand where a
//! robot's is meant.
//!
//! The alphabet is narrow on purpose: an id appears in MQTT topics, file names, URLs and
//! certificate subjects, and none of them must need escaping.

use crate::codec::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest id, in bytes.
pub const MAX_LEN: usize = 64;

/// Why a text is not an id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdError {
    /// A character outside `[a-z0-9_.-]`; often an upper-case letter or a slash.
    #[error("`{text}` is not an id: `{found}` is outside a-z 0-9 _ . -")]
    Alphabet {
        /// The refused text.
        text: String,
        /// The first character that does not belong.
        found: char,
    },
    /// Empty, or longer than [`MAX_LEN`].
    #[error("an id has 1 to {MAX_LEN} characters, this one has {0}")]
    Length(usize),
    /// Begins with a dot or a dash, which file systems and command lines give a meaning.
    #[error("`{0}` is not an id: it must begin with a letter, a digit or _")]
    Start(String),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > MAX_LEN {
        return Err(IdError::Length(text.len()));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    if let Some(found) = text.chars().find(|c| !allowed(*c)) {
        return Err(IdError::Alphabet { text: text.to_owned(), found });
    }
    if text.starts_with(['.', '-']) {
        return Err(IdError::Start(text.to_owned()));
    }
    Ok(())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a text and makes it an id.
            ///
            /// # Errors
            /// [`IdError`] when the text is empty, too long, or leaves the alphabet.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// Whoever acts: a robot, an operator, a service. A robot's actor id is its robot id.
    ActorId,
    /// One fact.
    EventId,
    /// One signed envelope; what replay protection and idempotency count by.
    EnvelopeId,
    /// The robots that trust the same signers of skills.
    FleetId,
    /// A purchasable outcome.
    JobId,
    /// One life of a journal directory; new when the journal is created anew.
    JournalId,
    /// A mode of a robot, such as carrying a payload.
    ModeId,
    /// An owner's policy document.
    PolicyId,
    /// An endpoint with capabilities, health and a safety policy.
    RobotId,
    /// A skill, without its version.
    SkillId,
    /// One step of a plan.
    StepId,
    /// An append-only event stream at the cloud.
    StreamId,
    /// A zone of a policy's map.
    ZoneId,
}

impl EventId {
    /// The id of an actor's `actor_seq`-th fact. Derived, so that a fact that is sent twice
    /// is recognised as one.
    #[must_use]
    pub fn derive(actor: &ActorId, actor_seq: u64, journal: &JournalId) -> Self {
        let digest = Digest::of_parts(&[
            actor.as_str().as_bytes(),
            b"/",
            journal.as_str().as_bytes(),
            b"/",
            &actor_seq.to_be_bytes(),
        ]);
        Self(format!("ev_{}", hex::encode(&digest.as_bytes()[..16])))
    }
}

/// 16 bytes from outside (a random source) as the text of an id: `prefix_hex`.
#[must_use]
pub fn from_entropy(prefix: &str, entropy: [u8; 16]) -> String {
    format!("{prefix}_{}", hex::encode(entropy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_escape_a_topic_or_a_path_is_refused() {
        for text in ["", "a/b", "a+b", "#", "../x", "-rf", ".hidden", "Robot", "é", "a b"] {
            assert!(RobotId::new(text).is_err(), "{text:?} was taken");
        }
        assert!(RobotId::new("a".repeat(65)).is_err());
        assert!(RobotId::new("amr-07.hall_b").is_ok());
    }

    #[test]
    fn the_same_fact_has_the_same_id() {
        let (actor, journal) = (ActorId::new("amr-1").unwrap(), JournalId::new("j1").unwrap());
        assert_eq!(EventId::derive(&actor, 7, &journal), EventId::derive(&actor, 7, &journal));
        assert_ne!(EventId::derive(&actor, 7, &journal), EventId::derive(&actor, 8, &journal));
    }
}
