//! Keys as the protocol sees them: something that signs, and something that checks.
//!
//! Robots sign with ECDSA P-256, because that is what a TPM 2.0 holds; the cloud and owners
//! sign with Ed25519. Where a private key lives (a file today, a TPM later) is behind
//! [`Signer`].

use crate::codec::Digest;
use base64::Engine as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A signature algorithm, by its COSE number (RFC 9053, RFC 9864).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// EdDSA over Curve25519, COSE -8.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, COSE -7.
    Es256,
}

/// Which key made a signature: the first 16 bytes of SHA-256 over its public form.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From 16 bytes; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a point of the curve, or not 32 bytes; often a cut or mistyped text.
    #[error("`{0}` is not a public key: expected `ed25519:BASE64` or `p256:BASE64`")]
    PublicForm(String),
    /// Not an unencrypted PKCS#8 private key of the expected kind.
    #[error("not a {0} private key in PKCS#8 PEM")]
    PrivateForm(&'static str),
    /// The key store (a TPM, a remote signer) did not sign.
    #[error("the key did not sign: {0}")]
    Sign(String),
}

/// Something that signs: a key in a file, in memory, or behind a TPM.
pub trait Signer: Send + Sync {
    /// The public half.
    fn verifying_key(&self) -> VerifyingKey;

    /// Signs `message`; 64 bytes for both algorithms (R‖S).
    ///
    /// # Errors
    /// [`KeyError::Sign`] when the key store fails.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// A public key that checks signatures. Its text form is `ed25519:BASE64` or `p256:BASE64`
/// (compressed point).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum VerifyingKey {
    /// Ed25519, checked strictly (RFC 8032 §5.1.7 with small-order keys refused).
    Ed25519(ed25519_dalek::VerifyingKey),
    /// ECDSA on P-256 with SHA-256.
    Es256(p256::ecdsa::VerifyingKey),
}

impl VerifyingKey {
    /// The algorithm that this key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Es256(_) => Algorithm::Es256,
        }
    }

    /// The id by which signatures name this key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let digest = Digest::of(self.to_string().as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        KeyId(id)
    }

    /// From an uncompressed SEC1 point on P-256, as an X.509 certificate carries it.
    ///
    /// # Errors
    /// [`KeyError::PublicForm`] when the bytes are no point of the curve.
    pub fn from_p256_sec1(point: &[u8]) -> Result<Self, KeyError> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
            .map(Self::Es256)
            .map_err(|_| KeyError::PublicForm(hex::encode(point)))
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        match self {
            Self::Ed25519(key) => write!(f, "ed25519:{}", text(key.as_bytes())),
            Self::Es256(key) => write!(f, "p256:{}", text(key.to_sec1_point(true).as_bytes())),
        }
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refuse = || KeyError::PublicForm(text.to_owned());
        let (kind, encoded) = text.split_once(':').ok_or_else(refuse)?;
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|_| refuse())?;
        match kind {
            "ed25519" => ed25519_dalek::VerifyingKey::try_from(bytes.as_slice())
                .map(Self::Ed25519)
                .map_err(|_| refuse()),
            "p256" => p256::ecdsa::VerifyingKey::from_sec1_bytes(&bytes)
                .map(Self::Es256)
                .map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl TryFrom<String> for VerifyingKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<VerifyingKey> for String {
    fn from(key: VerifyingKey) -> Self {
        key.to_string()
    }
}

/// An Ed25519 key in memory: the cloud's, an owner's.
pub struct Ed25519Key(ed25519_dalek::SigningKey);

impl Ed25519Key {
    /// From 32 bytes of a cryptographic random source.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// From PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::PrivateForm`] when the text is anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| KeyError::PrivateForm("Ed25519"))
    }

    /// As PKCS#8 PEM. Whoever holds the text holds the key.
    ///
    /// # Errors
    /// [`KeyError::PrivateForm`] when the encoder fails.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self
            .0
            .to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)
            .map_err(|_| KeyError::PrivateForm("Ed25519"))?;
        Ok(pem.to_string())
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Key({})", self.verifying_key().key_id())
    }
}

impl Signer for Ed25519Key {
    fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::Ed25519(self.0.verifying_key())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

/// A P-256 key in memory: a robot's device key where there is no TPM.
pub struct Es256Key(p256::ecdsa::SigningKey);

impl Es256Key {
    /// From 32 bytes of a cryptographic random source; `None` for the rare value that is not
    /// a scalar of the curve.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(&seed).ok().map(Self)
    }

    /// From PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::PrivateForm`] when the text is anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        use p256::pkcs8::DecodePrivateKey as _;
        p256::SecretKey::from_pkcs8_pem(pem)
            .map(|key| Self(key.into()))
            .map_err(|_| KeyError::PrivateForm("P-256"))
    }

    /// As PKCS#8 PEM. Whoever holds the text holds the key.
    ///
    /// # Errors
    /// [`KeyError::PrivateForm`] when the encoder fails.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        use p256::pkcs8::EncodePrivateKey as _;
        let pem = p256::SecretKey::from(&self.0)
            .to_pkcs8_pem(p256::pkcs8::LineEnding::LF)
            .map_err(|_| KeyError::PrivateForm("P-256"))?;
        Ok(pem.to_string())
    }
}

impl fmt::Debug for Es256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Es256Key({})", self.verifying_key().key_id())
    }
}

impl Signer for Es256Key {
    fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::Es256(*self.0.verifying_key())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        // RFC 6979: deterministic, so no random source is needed here.
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Ok(signature.to_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_key_signs_checks_and_survives_its_text_form() {
        let keys: [Box<dyn Signer>; 2] = [
            Box::new(Ed25519Key::from_seed([7; 32])),
            Box::new(Es256Key::from_seed([7; 32]).unwrap()),
        ];
        for key in &keys {
            let signature = key.sign(b"message").unwrap();
            let public: VerifyingKey = key.verifying_key().to_string().parse().unwrap();
            assert_eq!(public, key.verifying_key());
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
            assert!(!public.verifies(b"message", &signature[..63]));
        }
        assert!(!keys[0].verifying_key().verifies(b"message", &keys[1].sign(b"message").unwrap()));
    }

    #[test]
    fn private_keys_survive_pem_and_refuse_the_other_kind() {
        let (edwards, p256) =
            (Ed25519Key::from_seed([1; 32]), Es256Key::from_seed([2; 32]).unwrap());
        let (edwards_pem, p256_pem) = (edwards.to_pem().unwrap(), p256.to_pem().unwrap());
        let again = Ed25519Key::from_pem(&edwards_pem).unwrap();
        assert_eq!(again.verifying_key(), edwards.verifying_key());
        let again = Es256Key::from_pem(&p256_pem).unwrap();
        assert_eq!(again.verifying_key(), p256.verifying_key());
        assert!(Ed25519Key::from_pem(&p256_pem).is_err());
        assert!(Es256Key::from_pem(&edwards_pem).is_err());
    }
}
