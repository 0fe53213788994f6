//! The text of a token: an id that may be shown, and a secret that is shown once.

use crate::jobs::new_id;
use nooterra_protocol::codec::Digest;

/// What the id of every token begins with, and nothing else that is presented.
const PREFIX: &str = "tok_";

/// A token that was just made.
pub(crate) struct Minted {
    /// What is kept of the secret. It has 128 random bits: there is nothing to try out, so one
    /// round of SHA-256 hides it.
    pub(crate) hash: Digest,
    pub(crate) id: String,
    /// All of it: `{id}.{secret}`.
    pub(crate) text: String,
}

impl Minted {
    /// A fresh one.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let (id, secret) = (new_id("tok")?, new_id("s")?);
        Ok(Self { hash: Digest::of(secret.as_bytes()), text: format!("{id}.{secret}"), id })
    }
}

impl std::fmt::Debug for Minted {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a caller presents as a token.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Presented<'a> {
    pub(crate) hash: Digest,
    pub(crate) id: &'a str,
}

impl<'a> Presented<'a> {
    /// None where it has not the form of a token.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let hex = id.strip_prefix(PREFIX)?;
        let known = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        known.then(|| Self { hash: Digest::of(secret.as_bytes()), id })
    }
}

/// Compares without a branch on the content: how long it takes says nothing.
pub(crate) fn same(one: &Digest, other: &Digest) -> bool {
    let difference = one
        .as_bytes()
        .iter()
        .zip(other.as_bytes())
        .fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_read_as_it_was_made_and_its_secret_is_not_shown() {
        let minted = Minted::new().unwrap();
        let read = Presented::read(&minted.text).unwrap();
        assert_eq!((read.hash, read.id), (minted.hash, minted.id.as_str()));
        let secret = minted.text.split_once('.').unwrap().1;
        assert!(!format!("{minted:?}").contains(secret));
        for bad in ["", "tok_", "tok_1.s", "admin_0.s", &minted.id, &minted.text[4..]] {
            assert_eq!(Presented::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn digests_are_the_same_only_when_every_bit_is() {
        let one = Digest::of(b"token");
        assert!(same(&one, &one));
        for bit in 0..256 {
            let mut bytes = *one.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&one, &Digest::from_bytes(bytes)));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_presented_is_read_or_not_and_nothing_panics(text in "(tok_[0-9a-fé]{30,34})?\\PC*") {
            if let Some(read) = Presented::read(&text) {
                prop_assert_eq!(read.id.len(), 36);
            }
        }
    }
}
