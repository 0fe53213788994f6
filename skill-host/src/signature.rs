//! Detached minisign signatures, and the keys whose signatures count.

use base64::Engine as _;
use minisign_verify::{PublicKey, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The most keys that are kept.
pub const MAX_KEYS: usize = 64;

/// The most signatures that are read of one file.
pub const MAX_SIGNATURES: usize = 12;

/// The id of a minisign key, printed as `minisign` prints it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    /// From the hexadecimal digits that `minisign` prints: 16, or fewer where it leaves out
    /// leading zeros.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_id =
            (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_id);
        number.map(|id| Self(id.to_le_bytes())).ok_or(KeyError::Malformed)
    }
}

/// Whose signatures a file of signatures holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SignedBy {
    /// Of these, whose keys are known, the signatures are good.
    pub good: BTreeSet<KeyId>,
    /// These are of keys that nobody knows here, and count for nothing.
    pub unknown: BTreeSet<KeyId>,
}

/// The public keys whose signatures on bundles are accepted.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(BTreeMap<KeyId, PublicKey>);

/// Why a text is not a usable public key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A different key with the same id is trusted already. Ids are random, so this is no
    /// accident.
    #[error("another key with the id {0} is trusted already; remove one of the two")]
    Clash(KeyId),
    /// More than [`MAX_KEYS`].
    #[error("at most {MAX_KEYS} skill keys are kept; remove those that no longer sign")]
    Full,
    /// Not the content of a `.pub` file; often the secret key, or a signature.
    #[error(
        "not a minisign public key: expected the content of a `.pub` file or its one line of \
         base64 that begins with RW"
    )]
    Malformed,
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The signature is by a trusted key, but over other bytes or another comment: the file
    /// or the signature was changed.
    #[error(
        "the signature by {0} is not over these bytes: the bundle or its signature was changed"
    )]
    Broken(KeyId),
    /// Made by an old `minisign` without hashing first.
    #[error("the signature is in minisign's legacy format; sign again with `minisign -S -H`")]
    Legacy,
    /// Empty, or not the content of a `.minisig` file.
    #[error("not signed: there is no minisign signature; sign with `minisign -Sm FILE`")]
    Malformed,
    /// More than are read.
    #[error(
        "{0} lines of signatures; at most {MAX_SIGNATURES} `.minisig` files of four lines, one \
         after the other, are read"
    )]
    TooMany(usize),
    /// The same key twice.
    #[error("it holds two signatures by {0}; leave out one of them")]
    Twice(KeyId),
    /// By a key that nobody trusts here.
    #[error("signed by {0}, which is not among the trusted skill keys")]
    UnknownKey(KeyId),
}

impl TrustedKeys {
    /// No keys: nothing is accepted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads keys from the contents of `.pub` files, or bare lines of base64.
    ///
    /// # Errors
    /// [`KeyError`] for the first that is not a usable key.
    pub fn from_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, KeyError> {
        let mut keys = Self::new();
        for text in texts {
            keys.add(text.as_ref())?;
        }
        Ok(keys)
    }

    /// Trusts one more key.
    ///
    /// # Errors
    /// [`KeyError`] when it is not a key, or has the id of another.
    pub fn add(&mut self, text: &str) -> Result<KeyId, KeyError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().ok_or(KeyError::Malformed)?;
        let line = if first.starts_with("untrusted comment:") {
            lines.next().ok_or(KeyError::Malformed)?
        } else {
            first
        };
        if lines.next().is_some() {
            return Err(KeyError::Malformed);
        }
        let key = PublicKey::from_base64(line).map_err(|_| KeyError::Malformed)?;
        let id = key_id(line).ok_or(KeyError::Malformed)?;
        match self.0.get(&id) {
            Some(known) if *known != key => return Err(KeyError::Clash(id)),
            None if self.0.len() >= MAX_KEYS => return Err(KeyError::Full),
            _ => {}
        }
        self.0.insert(id, key);
        Ok(id)
    }

    /// The ids of the keys, ascending.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.keys().copied()
    }

    /// Checks a detached signature over `bytes` and says whose it is.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn check(&self, bytes: &[u8], minisig: &str) -> Result<KeyId, SignatureError> {
        let signature = Signature::decode(minisig).map_err(|_| SignatureError::Malformed)?;
        let line = minisig.lines().nth(1).ok_or(SignatureError::Malformed)?;
        let id = key_id(line).ok_or(SignatureError::Malformed)?;
        let key = self.0.get(&id).ok_or(SignatureError::UnknownKey(id))?;
        key.verify(bytes, &signature, false).map(|()| id).map_err(|error| match error {
            minisign_verify::Error::UnexpectedAlgorithm => SignatureError::Legacy,
            _ => SignatureError::Broken(id),
        })
    }

    /// Checks several detached signatures over `bytes`: the contents of `.minisig` files, one
    /// after the other, as `cat` joins them. Those of unknown keys count for nothing; one by a
    /// known key that is not over these bytes spoils all.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn check_all(&self, bytes: &[u8], minisigs: &str) -> Result<SignedBy, SignatureError> {
        let lines: Vec<&str> = minisigs.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() || !lines.len().is_multiple_of(4) {
            return Err(SignatureError::Malformed);
        }
        if lines.len() > 4 * MAX_SIGNATURES {
            return Err(SignatureError::TooMany(lines.len()));
        }
        let mut signed = SignedBy::default();
        for four in lines.chunks(4) {
            let id = key_id(four[1]).ok_or(SignatureError::Malformed)?;
            if signed.good.contains(&id) || signed.unknown.contains(&id) {
                return Err(SignatureError::Twice(id));
            }
            match self.check(bytes, &(four.join("\n") + "\n")) {
                Ok(id) => signed.good.insert(id),
                Err(SignatureError::UnknownKey(id)) => signed.unknown.insert(id),
                Err(error) => return Err(error),
            };
        }
        Ok(signed)
    }
}

/// What a public key is, without the id that its owner gave it: two ids for one key are one
/// signer.
pub(crate) fn key_material(line: &str) -> Option<[u8; 32]> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim()).ok()?;
    bytes.get(10..)?.try_into().ok()
}

/// Keys and signatures both begin with an algorithm of two bytes and the id of eight.
fn key_id(line: &str) -> Option<KeyId> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim()).ok()?;
    Some(KeyId(bytes.get(2..10)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the `minisign-verify` documentation, made by the `minisign` program.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const HASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/\
        z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
        wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==";

    #[test]
    fn a_signature_of_the_minisign_program_is_accepted() {
        let keys = TrustedKeys::from_texts([KEY]).unwrap();
        let id = keys.check(b"test", HASHED).unwrap();
        assert_eq!(id.to_string(), "E7620F1842B4E81F");
        assert!(matches!(keys.check(b"tess", HASHED), Err(SignatureError::Broken(_))));
    }

    #[test]
    fn the_trusted_comment_is_signed_too() {
        let keys = TrustedKeys::from_texts([KEY]).unwrap();
        let changed = HASHED.replace("1633700835", "1633700836");
        assert!(matches!(keys.check(b"test", &changed), Err(SignatureError::Broken(_))));
    }

    #[test]
    fn no_signature_and_a_foreign_one_are_told_apart() {
        let nobody = TrustedKeys::new();
        assert!(matches!(nobody.check(b"test", HASHED), Err(SignatureError::UnknownKey(_))));
        for text in ["", "\n\n\n\n", "untrusted comment: x", "RWQ", &HASHED[..120]] {
            assert!(matches!(nobody.check(b"test", text), Err(SignatureError::Malformed)));
        }
    }

    #[test]
    fn a_public_key_is_read_with_and_without_its_comment() {
        let mut keys = TrustedKeys::new();
        let bare = keys.add(KEY).unwrap();
        let file = keys.add(&format!("untrusted comment: minisign public key\n{KEY}\n")).unwrap();
        assert_eq!(bare, file);
        assert_eq!(keys.ids().count(), 1);
        for text in ["", "untrusted comment: x", "RWQ", &format!("{KEY}\n{KEY}"), HASHED] {
            assert!(matches!(keys.add(text), Err(KeyError::Malformed)), "{text:?} was taken");
        }
    }

    #[test]
    fn several_signatures_are_read_as_cat_joins_them() {
        let keys = TrustedKeys::from_texts([KEY]).unwrap();
        let id: KeyId = "E7620F1842B4E81F".parse().unwrap();
        assert_eq!(keys.check_all(b"test", HASHED).unwrap().good, BTreeSet::from([id]));
        // The same signature by a key with another id: nobody knows it, so it does not count.
        let line = HASHED.lines().nth(1).unwrap();
        let foreign = HASHED.replace(line, &line.replace("RUQf6LRC", "RUQf6LRD"));
        for both in [format!("{HASHED}\n{foreign}"), format!("{foreign}\n\n{HASHED}\n")] {
            let signed = keys.check_all(b"test", &both).unwrap();
            assert_eq!((signed.good.len(), signed.unknown.len()), (1, 1));
        }
        let twice = format!("{HASHED}\n{HASHED}\n");
        assert!(matches!(keys.check_all(b"test", &twice), Err(SignatureError::Twice(_))));
        let many = format!("{HASHED}\n").repeat(MAX_SIGNATURES + 1);
        assert!(matches!(keys.check_all(b"test", &many), Err(SignatureError::TooMany(_))));
        let spoiled = keys.check_all(b"tess", &format!("{foreign}\n{HASHED}"));
        assert!(matches!(spoiled, Err(SignatureError::Broken(_))), "{spoiled:?}");
        for text in ["", "\n", &HASHED[..120], &format!("{HASHED}\nx")] {
            let refused = keys.check_all(b"test", text);
            assert!(matches!(refused, Err(SignatureError::Malformed)), "{text:?}: {refused:?}");
        }
    }

    #[test]
    fn a_key_id_is_read_as_it_is_printed() {
        let id: KeyId = "E7620F1842B4E81F".parse().unwrap();
        assert_eq!(id.to_string(), "E7620F1842B4E81F");
        // `minisign` leaves out leading zeros, which one key in sixteen has.
        let id: KeyId = "7B273FF983921E6".parse().unwrap();
        assert_eq!(id.to_string(), "07B273FF983921E6");
        for text in ["", "+7620F1842B4E81F", "E7620F1842B4E81Ff", "Ü620F1842B4E81"] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_borrows_the_id_of_another_is_refused() {
        let mut keys = TrustedKeys::from_texts([KEY]).unwrap();
        let other = KEY.replace("53mlY", "53mlZ");
        assert!(matches!(keys.add(&other), Err(KeyError::Clash(_))));
    }
}
