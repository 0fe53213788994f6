//! The device key in TLS: rustls and rcgen ask a [`Signer`] to sign, wherever it lives.

use super::Identity;
use nooterra_protocol::keys::{Signer, VerifyingKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::Digest as _;
use std::sync::Arc;

/// TLS 1.3 as this robot: trusts the CA of its enrolment only, shows its certificate.
///
/// # Errors
/// [`rustls::Error`] when the stored CA is not a certificate.
pub fn client_config(identity: &Identity) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in &identity.ca {
        roots.add(certificate.clone())?;
    }
    let key = DeviceKey::new(identity.signer());
    let certified = Arc::new(CertifiedKey::new(identity.chain.clone(), Arc::new(key)));
    let config = builder()?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(AlwaysThis(certified)));
    Ok(Arc::new(config))
}

/// TLS 1.3 to a server whose chain ends in the certificate with this SHA-256.
///
/// # Errors
/// [`rustls::Error`] when the provider does not offer TLS 1.3.
pub(super) fn pinned_config(root_sha256: [u8; 32]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedRoot { provider, root_sha256 }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
}

/// A [`Signer`] as rustls and rcgen want it: ECDSA P-256 with DER signatures.
#[derive(Clone)]
pub(super) struct DeviceKey {
    point: Vec<u8>,
    signer: Arc<dyn Signer>,
}

impl DeviceKey {
    pub(super) fn new(signer: Arc<dyn Signer>) -> Self {
        let point = match signer.verifying_key() {
            VerifyingKey::Es256(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            // Device keys are P-256 by construction; an empty point fails the handshake.
            VerifyingKey::Ed25519(_) => Vec::new(),
        };
        Self { point, signer }
    }

    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let raw = self.signer.sign(message).map_err(|error| error.to_string())?;
        let signature = p256::ecdsa::Signature::from_slice(&raw)
            .map_err(|_| "the device key gave a malformed signature".to_owned())?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({})", self.signer.verifying_key().key_id())
    }
}

impl rustls::sign::SigningKey for DeviceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn rustls::sign::Signer>)
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        rustls::SignatureAlgorithm::ECDSA
    }
}

impl rustls::sign::Signer for DeviceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.sign_der(message).map_err(rustls::Error::General)
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl rcgen::PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for DeviceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_der(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[derive(Debug)]
struct AlwaysThis(Arc<CertifiedKey>);

impl ResolvesClientCert for AlwaysThis {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Trusts one root, known by its hash only; the server sends it along in its chain. Names,
/// dates and signatures are then checked as usual.
#[derive(Debug)]
struct PinnedRoot {
    provider: Arc<CryptoProvider>,
    root_sha256: [u8; 32],
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = |der: &&CertificateDer<'_>| {
            <[u8; 32]>::from(sha2::Sha256::digest(der.as_ref())) == self.root_sha256
        };
        let root = intermediates.iter().find(pinned).ok_or_else(|| {
            rustls::Error::General(
                "the server is not the cloud that the claim code is from".to_owned(),
            )
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
