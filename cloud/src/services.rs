//! Certificates of services: who vouches for them, and by which names a token knows them.
//!
//! A service's certificate is made by an authority that whoever runs the cloud names, not by the
//! cloud's own, which makes robots'. Either makes only its kind: a robot's name in a certificate
//! of the services' authority is no robot, and the other way round. What a service may do stands
//! in the table of tokens, under a name of its certificate.
//!
//! With a file of revocation lists, what stands on one is refused, at the handshake and at every
//! request of a connection that is open; so is whatever no list in its time speaks of, for a list
//! that is over hides what was revoked since by the authority that made it.

use crate::clock::Clock;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::time::WallMillis;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

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
    /// The file holds no revocation lists.
    #[error("{path}: {why}; write the revocation lists of the services' authority there, PEM")]
    Lists {
        /// Which file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
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
#[derive(Debug)]
pub(crate) struct Service {
    chain: Vec<CertificateDer<'static>>,
    /// The lists by which its chain was last found good.
    good_by: AtomicU64,
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
    lists: Option<ListFile>,
    provider: Arc<CryptoProvider>,
    robots: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    services: RwLock<Services>,
    subjects: Vec<DistinguishedName>,
}

/// Where revocation lists are.
#[derive(Debug)]
struct ListFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

/// What is known of a file of revocation lists.
#[derive(Debug, Default)]
struct Seen {
    /// What it held when it was last looked at; none where it could not be read.
    digest: Option<Digest>,
    /// Until when the lists were of which the log says that one is over.
    told_over: Option<WallMillis>,
}

/// How services are verified from some moment on.
#[derive(Clone, Debug)]
struct Services {
    /// Counts the lists that were read: a chain that was found good by these is asked again by
    /// the next.
    number: u64,
    /// From then on one of the lists is over. None without lists.
    until: Option<WallMillis>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// What a file of revocation lists says.
struct Lists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// Certificates on them.
    revoked: usize,
    /// When the first of them is over.
    until: WallMillis,
}

impl Authorities {
    /// Beside the cloud's own `root`, whose certificates `robots` verifies, those of `path`, but
    /// for what is on the lists in `lists`.
    pub(crate) fn read(
        path: &Path,
        lists: Option<&Path>,
        root: &CertificateDer<'_>,
        robots: Arc<dyn ClientCertVerifier>,
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServicesError> {
        let authority = |why: String| ServicesError::Authority { path: path.to_owned(), why };
        let text = read(path)?;
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
        let roots = Arc::new(roots);
        let (read_lists, seen) = match lists {
            Some(path) => {
                let bytes = read(path)?;
                (Some(Lists::read(path, &bytes)?), Some(Digest::of(&bytes)))
            }
            None => (None, None),
        };
        let verifier = verifier(&roots, &provider, read_lists.as_ref())
            .map_err(|error| authority(error.to_string()))?;
        let subjects = [robots.root_hint_subjects(), verifier.root_hint_subjects()].concat();
        let until = read_lists.as_ref().map(|lists| lists.until);
        let mut seen = Seen { digest: seen, told_over: None };
        if let (Some(path), Some(found)) = (lists, &read_lists) {
            found.tell(path, clock.wall());
            seen.tell_over(path, until, clock.wall());
        }
        Ok(Self {
            clock,
            lists: lists.map(|path| ListFile { path: path.to_owned(), seen: Mutex::new(seen) }),
            provider,
            robots,
            roots,
            services: RwLock::new(Services { number: 0, until, verifier }),
            subjects,
        })
    }

    /// Reads the revocation lists again, where they changed. Lists that cannot be read leave the
    /// last ones in force, until these are over, which the log says. Blocks on the file.
    pub(crate) fn refresh(&self) {
        let Some(ListFile { path, seen }) = &self.lists else { return };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.read_again(path, &mut seen.digest);
        seen.tell_over(path, self.services().until, self.clock.wall());
    }

    fn read_again(&self, path: &Path, seen: &mut Option<Digest>) {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if seen.take().is_some() {
                    tracing::error!(%error, "the last revocation lists of services stay in force");
                }
                return;
            }
        };
        let digest = Digest::of(&bytes);
        if seen.replace(digest) == Some(digest) {
            return;
        }
        let fresh = Lists::read(path, &bytes).and_then(|lists| {
            let verifier = verifier(&self.roots, &self.provider, Some(&lists))
                .map_err(|why| ServicesError::Lists { path: path.into(), why: why.to_string() })?;
            Ok((lists, verifier))
        });
        match fresh {
            Ok((lists, verifier)) => {
                lists.tell(path, self.clock.wall());
                let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
                let number = services.number + 1;
                *services = Services { number, until: Some(lists.until), verifier };
            }
            Err(error) => {
                tracing::error!(%error, "the last revocation lists of services stay in force");
            }
        }
    }

    /// Who vouches for a chain that a handshake let in; nobody for one whose time went by since.
    pub(crate) fn vouched(&self, chain: &[CertificateDer<'_>]) -> Option<Vouched> {
        let (leaf, rest) = chain.split_first()?;
        let now = self.now()?;
        let by = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, rest, now).is_ok()
        };
        // The cloud first: what both vouch for is no service.
        if by(&self.robots) {
            Some(Vouched::ByCloud)
        } else {
            by(&self.services().verifier).then_some(Vouched::ByServices)
        }
    }

    /// Whether a service that a handshake let in would be let in now, as far as lists go; why not.
    pub(crate) fn stands(&self, service: &Service) -> Result<(), rustls::Error> {
        let Services { number, until, verifier } = self.services();
        let over = until.is_some_and(|until| until <= self.clock.wall());
        if !over && service.good_by.load(Ordering::Acquire) == number {
            return Ok(());
        }
        let unknown = || rustls::Error::from(CertificateError::UnknownRevocationStatus);
        let (leaf, rest) = service.chain.split_first().ok_or_else(unknown)?;
        verifier.verify_client_cert(leaf, rest, self.now().ok_or_else(unknown)?)?;
        service.good_by.store(number, Ordering::Release);
        Ok(())
    }

    fn services(&self) -> Services {
        self.services.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.clock.wall().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

/// Takes what leads to `roots`; with lists nothing that is on one, nothing of an authority without
/// one, and nothing that an authority made once its list is over.
fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    lists: Option<&Lists>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let verifier = verifier.allow_unauthenticated();
    let verifier: Arc<dyn ClientCertVerifier> = match lists {
        Some(lists) => {
            let lists = lists.lists.iter().cloned();
            verifier.with_crls(lists).enforce_revocation_expiration().build()?
        }
        None => verifier.build()?,
    };
    Ok(verifier)
}

fn read(path: &Path) -> Result<Vec<u8>, ServicesError> {
    std::fs::read(path).map_err(|source| ServicesError::Read { path: path.to_owned(), source })
}

impl Lists {
    fn read(path: &Path, bytes: &[u8]) -> Result<Self, ServicesError> {
        let refused = |why: String| ServicesError::Lists { path: path.to_owned(), why };
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(bytes).collect();
        let lists = lists.map_err(|error| refused(error.to_string()))?;
        let (mut revoked, mut until) = (0, None);
        let mut scopes: Vec<(&[u8], Option<Vec<u8>>)> = Vec::new();
        for list in &lists {
            let (_, list) = CertificateRevocationList::from_der(list)
                .map_err(|error| refused(error.to_string()))?;
            // The first that fits a certificate is asked, and no other, whichever is newer. One
            // without a distribution point fits all that its authority made.
            let crl = &list.tbs_cert_list;
            let point = crl.find_extension(&OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
            let scope = (crl.issuer.as_raw(), point.map(|it| it.value.to_vec()));
            let meets = |(by, of): &(&[u8], Option<Vec<u8>>)| {
                *by == scope.0 && (*of == scope.1 || of.is_none() || scope.1.is_none())
            };
            if scopes.iter().any(meets) {
                let authority = list.issuer();
                return Err(refused(format!(
                    "two lists of one authority ({authority}): leave only the newer one in it"
                )));
            }
            scopes.push(scope);
            revoked += list.iter_revoked_certificates().count();
            let next = list.next_update();
            let next = next.ok_or_else(|| refused("a list says not when it is over".to_owned()))?;
            let next = WallMillis(next.timestamp().saturating_mul(1000));
            until = Some(until.map_or(next, |until: WallMillis| until.min(next)));
        }
        match until {
            Some(until) => Ok(Self { lists, revoked, until }),
            None => Err(refused("it holds no revocation list".to_owned())),
        }
    }

    /// Says in the log what holds from now on.
    fn tell(&self, path: &Path, now: WallMillis) {
        let Self { lists, revoked, until } = self;
        let (path, lists) = (path.display(), lists.len());
        if *until > now {
            tracing::info!(%path, lists, revoked, %until, "revocation lists of services are in force");
        }
    }
}

impl Seen {
    /// Says in the log, once, that a list is over of those that end at `until`.
    fn tell_over(&mut self, path: &Path, until: Option<WallMillis>, now: WallMillis) {
        if let Some(until) = self.newly_over(until, now) {
            tracing::error!(
                path = %path.display(), %until,
                "a revocation list of services is over: whatever its authority made is refused \
                 until there is a new one"
            );
        }
    }

    fn newly_over(&mut self, until: Option<WallMillis>, now: WallMillis) -> Option<WallMillis> {
        let over = until.filter(|until| *until <= now);
        let is_new = over.is_some() && over != self.told_over;
        self.told_over = over;
        over.filter(|_| is_new)
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
                self.services().verifier.verify_client_cert(leaf, rest, now)
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
        self.robots.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.robots.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.robots.supported_verify_schemes()
    }
}

impl Service {
    /// Reads the chain of a certificate that was just verified; `None` where it names nobody.
    ///
    /// Its alternative names count, URIs and host names; its common name only where it has no
    /// alternative name of any kind (RFC 9525 §4.1.2 leaves that out for servers).
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
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
        some.then(|| Self {
            chain: chain.iter().map(|it| it.clone().into_owned()).collect(),
            // By none: lists may have come since the handshake.
            good_by: AtomicU64::new(u64::MAX),
            names,
            not_after: WallMillis(not_after),
        })
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
        Service::of(&[certificate(change)]).map(|service| service.names)
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
            assert!(Service::of(&[CertificateDer::from(&whole[..end])]).is_none());
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

    #[test]
    fn that_a_list_is_over_is_said_once() {
        let mut seen = Seen::default();
        let [first, second] = [10, 20].map(|until| Some(WallMillis(until)));
        let said = [(None, 9), (first, 9), (first, 10), (first, 11), (second, 12), (second, 20)]
            .map(|(until, now)| seen.newly_over(until, WallMillis(now)));
        assert_eq!(said, [None, None, first, None, None, second]);
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
