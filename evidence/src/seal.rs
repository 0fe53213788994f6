//! Who signs what the journal says of itself: the device key, or a key that lives for one start
//! of the agent and that the device key has certified. A device key in a TPM takes a quarter of
//! a second to sign, and nothing is recorded meanwhile; and a session key is gone when its
//! start is, so that nobody can sign for it afterwards.

use crate::cose::{PeekError, danger_unverified};
use nooterra_protocol::codec::{self, CodecError, Value};
use nooterra_protocol::envelope::{Signable, Signed, SignedError};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::{Ed25519Key, Signer, VerifyingKey};
use nooterra_protocol::time::Stamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The format of a session's certificate that this release writes and reads.
pub const VERSION: u32 = 1;

/// The device key's word for a key, for one start and one journal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The start of the agent.
    pub boot: u64,
    /// The journal.
    pub journal: JournalId,
    /// The key.
    pub key: VerifyingKey,
    /// When it began.
    pub stamp: Stamp,
    /// Format version, [`VERSION`].
    pub v: u32,
}

impl Signable for Session {
    const CONTENT_TYPE: &'static str = "nooterra/session+cbor;v=1";
}

/// Something that the journal says of itself.
pub trait Origin: Signable {
    /// When it was made, in which start of the agent, and for which journal.
    fn origin(&self) -> (Stamp, u64, &JournalId);
}

/// Why sealed bytes say nothing.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The body of the record is no signed object, or one around something else.
    #[error("{0}")]
    Form(#[from] PeekError),
    /// The key that signed it was certified for another start or another journal.
    #[error("signed by a session key of start {boot} of {journal}")]
    OtherSession {
        /// The start.
        boot: u64,
        /// The journal.
        journal: JournalId,
    },
    /// The signature does not hold, or belongs to another key.
    #[error("{0}")]
    Signed(#[from] SignedError),
    /// The certificate was written by a later release.
    #[error("session format {0}, this release reads {VERSION}; verify with a newer release")]
    Version(u32),
}

impl From<CodecError> for SealError {
    fn from(error: CodecError) -> Self {
        Self::Form(error.into())
    }
}

/// What signs.
#[derive(Clone)]
pub enum Seal {
    /// The device key itself.
    Device(Arc<dyn Signer>),
    /// A session key.
    Session {
        /// What the device key says of it, signed.
        certificate: Vec<u8>,
        /// The key. Erased from memory when the last of these goes.
        key: Arc<Ed25519Key>,
    },
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(_) => "Seal::Device",
            Self::Session { .. } => "Seal::Session",
        })
    }
}

impl Seal {
    /// A session key from 32 random bytes, certified by `device`, which signs once.
    ///
    /// # Errors
    /// [`SignedError`] when the device key does not sign.
    pub fn session(
        device: &dyn Signer,
        seed: [u8; 32],
        boot: u64,
        journal: JournalId,
        stamp: Stamp,
    ) -> Result<Self, SignedError> {
        let key = Ed25519Key::from_seed(seed);
        let session = Session { boot, journal, key: key.verifying_key(), stamp, v: VERSION };
        let certificate = Signed::sign(session, device)?.bytes().to_vec();
        Ok(Self::Session { certificate, key: Arc::new(key) })
    }

    /// Signs: a COSE_Sign1 of the device key, or an array of the certificate and a COSE_Sign1
    /// of the session key.
    ///
    /// # Errors
    /// [`SignedError`] when the key does not sign.
    pub fn sign<T: Origin>(&self, body: T) -> Result<Vec<u8>, SignedError> {
        match self {
            Self::Device(key) => Ok(Signed::sign(body, key.as_ref())?.bytes().to_vec()),
            Self::Session { certificate, key } => {
                let signed = Signed::sign(body, key.as_ref())?.bytes().to_vec();
                let parts = [certificate.clone(), signed].map(Value::Bytes);
                Ok(codec::to_vec(&Value::Array(parts.into()))?)
            }
        }
    }
}

/// Reads what was sealed. With the device key the signature must be its own, or that of a
/// session key that it certified for the start and the journal of which the content speaks.
/// Without it the content is taken as it stands and proves nothing about who made it.
///
/// # Errors
/// Every variant of [`SealError`].
pub fn read<T: Origin>(bytes: &[u8], device: Option<&VerifyingKey>) -> Result<T, SealError> {
    Reader::new(device.cloned()).read(bytes)
}

/// Reads much that was sealed. Every object of a start carries the same certificate; its
/// signature is checked once.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The last certificate that held, and what it says.
    certified: Option<(Vec<u8>, Session)>,
    device: Option<VerifyingKey>,
}

impl Reader {
    /// With the device key, or without one.
    #[must_use]
    pub const fn new(device: Option<VerifyingKey>) -> Self {
        Self { certified: None, device }
    }

    /// A device key was given, so that what holds proves who made it.
    #[must_use]
    pub const fn has_key(&self) -> bool {
        self.device.is_some()
    }

    /// As [`read`].
    ///
    /// # Errors
    /// Every variant of [`SealError`].
    pub fn read<T: Origin>(&mut self, bytes: &[u8]) -> Result<T, SealError> {
        let parts = match codec::from_slice(bytes)? {
            Value::Array(parts) => parts,
            _ => return Err(PeekError::Form.into()),
        };
        let [Value::Bytes(certificate), Value::Bytes(signed)] = parts.as_slice() else {
            return verified(bytes, self.device.as_ref());
        };
        let Some(device) = &self.device else {
            return verified(signed, None);
        };
        let session = match &self.certified {
            Some((known, session)) if known == certificate => session,
            _ => {
                let session: Session = verified(certificate, Some(device))?;
                if session.v != VERSION {
                    return Err(SealError::Version(session.v));
                }
                &self.certified.insert((certificate.clone(), session)).1
            }
        };
        let body: T = verified(signed, Some(&session.key))?;
        let (_, boot, journal) = body.origin();
        if (boot, journal) != (session.boot, &session.journal) {
            let Session { boot, journal, .. } = session.clone();
            return Err(SealError::OtherSession { boot, journal });
        }
        Ok(body)
    }
}

fn verified<T: Signable>(bytes: &[u8], key: Option<&VerifyingKey>) -> Result<T, SealError> {
    Ok(match key {
        Some(key) => {
            let id = key.key_id();
            Signed::<T>::verify(bytes, |named| (named == id).then_some(key))?.into_body()
        }
        None => danger_unverified(bytes)?,
    })
}
