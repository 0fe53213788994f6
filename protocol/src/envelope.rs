//! Signed objects: one form for everything that is signed here.
//!
//! A [`Signed<T>`] is an untagged COSE_Sign1 (RFC 9052 §4.2) whose protected header names the
//! algorithm, the key and the content type. The content type is different for each `T`, so a
//! signature over one kind of object is never valid for another. The original bytes are kept
//! and are what is hashed, stored and sent on.
//!
//! An [`Envelope`] adds what a carrier cannot be trusted with: who it is for and until when.

use crate::codec::{self, CodecError, Digest};
use crate::ids::{ActorId, EnvelopeId, RobotId};
use crate::keys::{Algorithm, KeyError, KeyId, Signer, VerifyingKey};
use crate::time::WallMillis;
use coset::iana::{self, EnumI64 as _};
use coset::{AsCborValue as _, CborSerializable as _, CoseSign1, HeaderBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest signed object that is read, in bytes, unless its type says otherwise; bounds
/// what a stranger can make us parse.
pub const MAX_SIGNED_BYTES: usize = 256 * 1024;

/// A type that can be signed. The content type is its domain: no two types share one.
pub trait Signable: Serialize + DeserializeOwned {
    /// Such as `nooterra/fact+cbor;v=1`.
    const CONTENT_TYPE: &'static str;

    /// The largest that is read, in bytes.
    const MAX_BYTES: usize = MAX_SIGNED_BYTES;
}

/// Why bytes are not a signed object, or one could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// The header names an algorithm that the key is not for.
    #[error("signed with algorithm {0}, which does not belong to the key that it names")]
    Algorithm(i64),
    /// The payload is not canonical CBOR of the expected type.
    #[error("signed object: {0}")]
    Codec(#[from] CodecError),
    /// The object is of another kind: an envelope where a fact is expected, say.
    #[error("signed object is `{found}`, expected `{expected}`")]
    ContentType {
        /// What was expected.
        expected: &'static str,
        /// What the header says.
        found: String,
    },
    /// Not a COSE_Sign1 with exactly our three protected headers.
    #[error("not a signed object: {0}")]
    Form(&'static str),
    /// Signing failed at the key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not that of the key: altered on the way, or forged.
    #[error("the signature is wrong: the object was altered or forged")]
    Signature,
    /// Larger than its type may be ([`Signable::MAX_BYTES`]).
    #[error("signed object of {0} bytes, at most {1} are read")]
    TooLarge(usize, usize),
    /// No trusted key has this id: a stranger, or a key that was replaced.
    #[error("signed by an unknown key {0}")]
    UnknownKey(KeyId),
}

/// A verified (or just signed) object with the bytes that prove it.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    body: T,
    bytes: Vec<u8>,
    key_id: KeyId,
}

/// The key that signed an object, as the object says itself: nothing is verified. For display,
/// of what was verified before.
#[must_use]
pub fn claimed_key_id(bytes: &[u8]) -> Option<KeyId> {
    let sign1 = CoseSign1::from_slice(bytes).ok()?;
    KeyId::from_slice(&sign1.protected.header.key_id)
}

impl<T: Signable> Signed<T> {
    /// Signs `body`.
    ///
    /// # Errors
    /// [`SignedError::Codec`] when the body has no canonical form, [`SignedError::Key`] when
    /// the key does not sign.
    pub fn sign(body: T, signer: &dyn Signer) -> Result<Self, SignedError> {
        let payload = codec::to_vec(&body)?;
        let key = signer.verifying_key();
        let key_id = key.key_id();
        let protected = HeaderBuilder::new()
            .algorithm(cose_algorithm(key.algorithm()))
            .key_id(key_id.as_bytes().to_vec())
            .content_type(T::CONTENT_TYPE.to_owned())
            .build()
            .to_vec()
            .map_err(|_| SignedError::Form("cannot encode"))?;
        // Two arrays of four, as coset would write them by way of two trees: what is signed
        // (RFC 9052 §4.4), and the object.
        let room = protected.len() + payload.len() + 128;
        let mut message = Vec::with_capacity(room);
        message.extend_from_slice(b"\x84\x6aSignature1");
        put_bytes(&mut message, &protected);
        put_bytes(&mut message, &[]);
        put_bytes(&mut message, &payload);
        let signature = signer.sign(&message)?;
        let mut bytes = Vec::with_capacity(room);
        bytes.push(0x84);
        put_bytes(&mut bytes, &protected);
        bytes.push(0xa0);
        put_bytes(&mut bytes, &payload);
        put_bytes(&mut bytes, &signature);
        if bytes.len() > T::MAX_BYTES {
            return Err(SignedError::TooLarge(bytes.len(), T::MAX_BYTES));
        }
        Ok(Self { body, bytes, key_id })
    }

    /// Checks the form, the kind and the signature, in that order; nothing of the payload is
    /// interpreted before the signature holds.
    ///
    /// # Errors
    /// Every variant of [`SignedError`].
    pub fn verify<'k>(
        bytes: &[u8],
        key_for: impl Fn(KeyId) -> Option<&'k VerifyingKey>,
    ) -> Result<Self, SignedError> {
        if bytes.len() > T::MAX_BYTES {
            return Err(SignedError::TooLarge(bytes.len(), T::MAX_BYTES));
        }
        codec::validate(bytes)?;
        let sign1 = CoseSign1::from_slice(bytes)
            .map_err(|_| SignedError::Form("not a COSE_Sign1 structure"))?;
        if !sign1.unprotected.is_empty() {
            return Err(SignedError::Form("has unprotected headers"));
        }
        let header = &sign1.protected.header;
        let Some(key_id) = KeyId::from_slice(&header.key_id) else {
            return Err(SignedError::Form("its key id has not 16 bytes"));
        };
        match &header.content_type {
            Some(coset::RegisteredLabel::Text(found)) if found == T::CONTENT_TYPE => {}
            other => {
                return Err(SignedError::ContentType {
                    expected: T::CONTENT_TYPE,
                    found: match other {
                        Some(coset::RegisteredLabel::Text(text)) => text.clone(),
                        Some(coset::RegisteredLabel::Assigned(number)) => {
                            format!("CoAP {}", number.to_i64())
                        }
                        None => "nothing".to_owned(),
                    },
                });
            }
        }
        let key = key_for(key_id).ok_or(SignedError::UnknownKey(key_id))?;
        let expected = HeaderBuilder::new()
            .algorithm(cose_algorithm(key.algorithm()))
            .key_id(key_id.as_bytes().to_vec())
            .content_type(T::CONTENT_TYPE.to_owned())
            .build();
        if header.alg != expected.alg {
            let number = header.alg.clone().and_then(|alg| match alg {
                coset::RegisteredLabelWithPrivate::Assigned(alg) => Some(alg.to_i64()),
                coset::RegisteredLabelWithPrivate::PrivateUse(alg) => Some(alg),
                coset::RegisteredLabelWithPrivate::Text(_) => None,
            });
            return Err(SignedError::Algorithm(number.unwrap_or(0)));
        }
        // Any further header (`crit` above all) would be one that we do not understand.
        let same = expected.to_cbor_value().ok() == header.clone().to_cbor_value().ok();
        if !same {
            return Err(SignedError::Form("has protected headers that are not understood"));
        }
        sign1.verify_signature(&[], |signature, message| {
            if key.verifies(message, signature) { Ok(()) } else { Err(SignedError::Signature) }
        })?;
        let payload = sign1.payload.ok_or(SignedError::Form("has no payload"))?;
        let body = codec::from_slice(&payload)?;
        Ok(Self { body, bytes: bytes.to_vec(), key_id })
    }

    /// What was signed.
    #[must_use]
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// The bytes as they were made or received; what to store and send on.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of [`Self::bytes`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The key that signed.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The body alone.
    #[must_use]
    pub fn into_body(self) -> T {
        self.body
    }
}

/// Adds a byte string in canonical form.
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let all = length.to_be_bytes();
    let [.., c, d, e, f] = all;
    match length {
        0..24 => to.push(0x40 | f),
        24..0x100 => to.extend_from_slice(&[0x58, f]),
        0x100..0x1_0000 => to.extend_from_slice(&[0x59, e, f]),
        0x1_0000..=0xffff_ffff => to.extend_from_slice(&[0x5a, c, d, e, f]),
        _ => {
            to.push(0x5b);
            to.extend_from_slice(&all);
        }
    }
    to.extend_from_slice(bytes);
}

const fn cose_algorithm(algorithm: Algorithm) -> iana::Algorithm {
    match algorithm {
        Algorithm::Ed25519 => iana::Algorithm::EdDSA,
        Algorithm::Es256 => iana::Algorithm::ES256,
    }
}

/// What a signed object to a robot says about itself, whatever carries it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<B> {
    /// The one robot that may act on it.
    pub audience: RobotId,
    /// What it asks.
    pub body: B,
    /// After this moment it is void.
    pub expires_at: WallMillis,
    /// Counts once: a second arrival is a replay.
    pub id: EnvelopeId,
    /// Made at this moment.
    pub issued_at: WallMillis,
    /// On whose behalf.
    pub issuer: ActorId,
    /// Format version, [`crate::VERSION`].
    pub v: u32,
}

/// Why a genuine envelope is nevertheless not acted on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// For another robot.
    #[error("it is for robot {0}, not for this one")]
    Audience(RobotId),
    /// Its time is over.
    #[error("it expired {0} ms ago; send it again with a later expiry")]
    Expired(i64),
    /// Issued further ahead of this clock than clocks are allowed to differ.
    #[error("it was issued {0} ms in this robot's future; check both clocks")]
    FromTheFuture(i64),
    /// Valid for longer than an envelope may be.
    #[error("it is valid for {0} ms, at most {max} ms are accepted", max = MAX_VALIDITY_MS)]
    TooLong(i64),
    /// Written for a later protocol.
    #[error("it has format version {0}, this robot knows {version}", version = crate::VERSION)]
    Version(u32),
}

/// How far two clocks may differ, milliseconds.
pub const MAX_CLOCK_SKEW_MS: i64 = 30_000;

/// The longest that an envelope may be valid, milliseconds: a day. It bounds the memory that
/// replay protection needs.
pub const MAX_VALIDITY_MS: i64 = 24 * 3_600_000;

impl<B> Envelope<B> {
    /// Whether this robot may act on it now. Replay is the caller's to check: it needs memory.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn check(&self, me: &RobotId, now: WallMillis) -> Result<(), Refusal> {
        if self.v != crate::VERSION {
            return Err(Refusal::Version(self.v));
        }
        if self.audience != *me {
            return Err(Refusal::Audience(self.audience.clone()));
        }
        let validity = self.expires_at.millis_since(self.issued_at);
        if validity > MAX_VALIDITY_MS {
            return Err(Refusal::TooLong(validity));
        }
        let ahead = self.issued_at.millis_since(now);
        if ahead > MAX_CLOCK_SKEW_MS {
            return Err(Refusal::FromTheFuture(ahead));
        }
        let late = now.millis_since(self.expires_at);
        if late >= 0 { Err(Refusal::Expired(late)) } else { Ok(()) }
    }
}
