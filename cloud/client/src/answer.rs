//! Answers: what was asked for, and what the cloud says beside it.

use nooterra_protocol::codec::Digest;
use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// What was asked for, and what came with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// What was asked for; the answer derefs to it.
    pub body: T,
    /// Which state it shows; what `if_match` takes.
    pub etag: Option<Tag>,
    /// The same request had been answered before, and this is that answer.
    pub replayed: bool,
    /// As the audit trail and the cloud's log name the request.
    pub request_id: String,
    /// Such as 200.
    pub status: u16,
}

impl<T> Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}

/// An entity tag (RFC 9110 §8.8.3): the state of something, by the hash of its last fact.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Tag(pub Digest);

/// A text that is no entity tag of a cloud.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no entity tag; write 64 hexadecimal digits in double quotes")]
pub struct NoTag(String);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl FromStr for Tag {
    type Err = NoTag;
    fn from_str(text: &str) -> Result<Self, NoTag> {
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        digits.and_then(Digest::from_hex).map(Self).ok_or_else(|| NoTag(text.to_owned()))
    }
}

/// What an answer's body is read as.
pub trait FromBody: Sized {
    /// Reads a whole body.
    ///
    /// # Errors
    /// In which way it does not fit.
    fn from_body(body: Vec<u8>) -> Result<Self, String>;
}

/// Bytes as they are: a bundle, a bill of materials.
impl FromBody for Vec<u8> {
    fn from_body(body: Vec<u8>) -> Result<Self, String> {
        Ok(body)
    }
}

/// Text: a signature, the figures of the process.
impl FromBody for String {
    fn from_body(body: Vec<u8>) -> Result<Self, String> {
        Self::from_utf8(body).map_err(|error| error.to_string())
    }
}

/// JSON as it was sent.
impl FromBody for serde_json::Value {
    fn from_body(body: Vec<u8>) -> Result<Self, String> {
        json(&body)
    }
}

pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tag_is_read_as_it_is_written(bytes in any::<[u8; 32]>()) {
            let tag = Tag(Digest::from_bytes(bytes));
            prop_assert_eq!(tag.to_string().parse(), Ok(tag));
        }

        #[test]
        fn whatever_a_header_says_is_a_tag_or_none_and_nothing_panics(text in "\"?[0-9a-fé]{60,66}\"?") {
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }
    }
}
