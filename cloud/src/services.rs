//! Certificates of services: who vouches for them, and by which names a token knows them.
//!
//! A service's certificate is made by an authority that whoever runs the cloud names, not by the
//! cloud's own, which makes robots'. Either makes only its kind: a robot's name in a certificate
//! of the services' authority is no robot, and the other way round. What a service may do stands
//! in the table of tokens, under a name of its certificate.

use crate::clock::Clock;
use nooterra_protocol::time::WallMillis;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::extensions::GeneralName;

/// The most names of one certificate that are looked at; one with more is no service's.
const MAX_NAMES: usize = 16;

/// The longest name, bytes.
const MAX_NAME: usize = 256;

/// Why services cannot be told from others.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The file holds no certificate that can be an authority's.
    #[error("{path}: {why}; write the certificates of the services' authority there, PEM")]
    Authority {
        /// Which file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// It is the authority of the robots.
    #[error(
        "{0} holds this cloud's own root, which makes robots' certificates; services need an \
         authority of their own"
    )]
    Own(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A service, as its certificate names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Service {
    /// Such as `uri:spiffe://example/erp`; never none.
    pub(crate) names: Vec<String>,
    pub(crate) not_after: WallMillis,
}

/// At the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Vouched {
    ByCloud,
    ByServices,
}

/// Takes a certificate of the cloud or of the services' authority, or none.
#[derive(Debug)]
pub(crate) struct Authorities {
    clock: Arc<dyn Clock>,
    robots: Arc<dyn ClientCertVerifier>,
    services: Arc<dyn ClientCertVerifier>,
    subjects: Vec<DistinguishedName>,
}

impl Authorities {
    /// Beside the cloud's own `root`, whose certificates `robots` verifies, those of `path`.
    pub(crate) fn read(
        path: &Path,
        root: &CertificateDer<'_>,
        robots: Arc<dyn ClientCertVerifier>,
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServicesError> {
        let authority = |why: String| ServicesError::Authority { path: path.to_owned(), why };
        let text = std::fs::read(path)
            .map_err(|source| ServicesError::Read { path: path.to_owned(), source })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| authority(error.to_string()))?;
            if certificate == *root {
                return Err(ServicesError::Own(path.to_owned()));
            }
            roots.add(certificate).map_err(|error| authority(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(authority("it holds no certificate".to_owned()));
        }
        let services = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| authority(error.to_string()))?;
        let subjects = [robots.root_hint_subjects(), services.root_hint_subjects()].concat();
        Ok(Self { clock, robots, services, subjects })
    }

    /// Who vouches for a chain that a handshake let in; nobody for one whose time went by since.
    pub(crate) fn vouched(&self, chain: &[CertificateDer<'_>]) -> Option<Vouched> {
        let (leaf, rest) = chain.split_first()?;
        let millis = u64::try_from(self.clock.wall().0).ok()?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(millis));
        let by = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, rest, now).is_ok()
        };
        // The cloud first: what both vouch for is no service.
        if by(&self.robots) {
            Some(Vouched::ByCloud)
        } else {
            by(&self.services).then_some(Vouched::ByServices)
        }
    }
}

impl ClientCertVerifier for Authorities {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.robots.verify_client_cert(leaf, rest, now).or_else(|error| {
            let others = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
            // What the cloud itself made is refused in the words that fit it.
            if error == others {
                self.services.verify_client_cert(leaf, rest, now)
            } else {
                Err(error)
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.services.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.services.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.services.supported_verify_schemes()
    }
}

impl Service {
    /// Reads a certificate that was already verified; `None` where it names nobody.
    ///
    /// Its alternative names count, URIs and host names; its common name only where it has no
    /// alternative name of any kind (RFC 9525 §4.1.2 leaves that out for servers).
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let names = match certificate.subject_alternative_name().ok()? {
            Some(names) => names
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(host) => Some(format!("dns:{host}")),
                    GeneralName::URI(uri) => Some(format!("uri:{uri}")),
                    _ => None,
                })
                .collect(),
            None => {
                let mut common = certificate.subject().iter_common_name();
                match (common.next(), common.next()) {
                    (Some(name), None) => vec![format!("cn:{}", name.as_str().ok()?)],
                    _ => Vec::new(),
                }
            }
        };
        let names: Vec<_> = names.iter().filter_map(|name| named(name)).collect();
        let not_after = certificate.validity().not_after.timestamp().saturating_mul(1000);
        let some = (1..=MAX_NAMES).contains(&names.len());
        some.then_some(Self { names, not_after: WallMillis(not_after) })
    }
}

/// A name by which a token knows a certificate: `uri:`, `dns:` or `cn:` and 1 to 256 visible
/// ASCII characters, blanks among them in a `cn:`. Host names are compared in lower case.
pub(crate) fn named(text: &str) -> Option<String> {
    let (kind, name) = text.split_once(':')?;
    let blank = kind == "cn";
    let visible = |byte: u8| byte.is_ascii_graphic() || blank && byte == b' ';
    if name.is_empty() || text.len() > MAX_NAME || !name.bytes().all(visible) {
        return None;
    }
    match kind {
        "cn" | "uri" => Some(text.to_owned()),
        "dns" => Some(text.to_ascii_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn names(change: impl FnOnce(&mut CertificateParams)) -> Option<Vec<String>> {
        Service::of(&certificate(change)).map(|service| service.names)
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn a_service_is_named_by_its_alternative_names_or_where_it_has_none_by_its_common_name() {
        let host = SanType::DnsName("ERP.Example".try_into().unwrap());
        let both = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![uri("spiffe://example/erp"), host];
            params.distinguished_name.push(DnType::CommonName, "erp");
        };
        let expected = ["uri:spiffe://example/erp", "dns:erp.example"].map(str::to_owned);
        assert_eq!(names(both), Some(expected.to_vec()));
        let common = |params: &mut CertificateParams| {
            params.distinguished_name.push(DnType::CommonName, "the ERP");
        };
        assert_eq!(names(common), Some(vec!["cn:the ERP".to_owned()]));
    }

    #[test]
    fn a_certificate_that_names_nobody_or_too_many_is_no_services() {
        assert_eq!(names(|_| {}), None);
        let address = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
            params.distinguished_name.push(DnType::CommonName, "erp");
        };
        assert_eq!(names(address), None);
        let many = |params: &mut CertificateParams| {
            params.subject_alt_names = (0..17).map(|n| uri(&format!("urn:{n}"))).collect();
        };
        assert_eq!(names(many), None);
        let whole = certificate(|params| params.subject_alt_names = vec![uri("urn:x")]);
        for end in 0..whole.len() {
            assert_eq!(Service::of(&CertificateDer::from(&whole[..end])), None);
        }
    }

    #[test]
    fn names_have_a_kind_and_are_visible() {
        assert_eq!(named("dns:A.b"), Some("dns:a.b".to_owned()));
        assert_eq!(named("uri:urn:A"), Some("uri:urn:A".to_owned()));
        assert_eq!(named("cn:a b"), Some("cn:a b".to_owned()));
        for bad in ["", "erp", "dns:", "ip:127.0.0.1", "uri:a b", "cn:\u{7}", "cn:é"] {
            assert_eq!(named(bad), None, "{bad}");
        }
        assert_eq!(named(&format!("cn:{}", "x".repeat(254))), None);
    }

    proptest! {
        #[test]
        fn whatever_is_named_is_read_the_same_again(text in "(uri|dns|cn)?:?[ -~é]{0,20}") {
            if let Some(name) = named(&text) {
                prop_assert_eq!(named(&name), Some(name));
            }
        }
    }
}
