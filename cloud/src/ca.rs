//! The private root: it certifies robots, and the server itself.
//!
//! Profiles are stated in [`crate::api`]. Nothing of a certificate request is taken but its
//! key: the name comes from the claim code, or from the certificate that is renewed.

use crate::files;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::WallMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, RevokedCertParams, SanType,
    SerialNumber, string::Ia5String,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

/// What stands before a robot's id in the URI of its certificate.
pub(crate) const ROBOT_URI: &str = "urn:nooterra:robot:";

/// The longest certificate request that is read; a P-256 one has about 500 bytes.
pub(crate) const MAX_CSR_BYTES: usize = 8 * 1024;

/// Clocks of freshly booted robots are a little behind: certificates begin in the past.
pub(crate) const BACKDATE: Duration = Duration::from_secs(5 * 60);

const ROOT_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// The server certificate is made anew at each start and each day, so this is what a laptop
/// may sleep.
const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Why the authority cannot work, or does not certify.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The clock reads a time that no certificate can carry, or the library failed.
    #[error("the certificate could not be made: {0}")]
    Make(String),
    /// A host that is neither a DNS name nor an IP address.
    #[error("`{0}` is no host name or address; give --host a name that robots can dial")]
    Host(String),
    /// The request is not PEM, not self-signed by its key, or the key is not on P-256.
    #[error("the certificate request is refused: {0}")]
    Request(String),
    /// A file of the authority is damaged or was edited by hand.
    #[error(
        "{path}: {why}; restore it from a backup, or move the data directory away to begin anew"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// The data directory cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A chain of certificates, and the key of the first.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The authority: root certificate and key.
pub(crate) struct Ca {
    fingerprint: Digest,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
}

/// A certificate request whose signature was checked.
#[derive(Debug)]
pub(crate) struct Request {
    key: VerifyingKey,
    public: rcgen::PublicKey,
}

/// A robot's certificate that opens nothing any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) at: WallMillis,
    /// As it was issued, hexadecimal.
    pub(crate) serial: String,
}

/// A certificate that was made.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) not_after: WallMillis,
    pub(crate) pem: String,
    pub(crate) serial: String,
}

impl Request {
    /// Reads a PKCS#10 request in PEM and checks that its key signed it.
    pub(crate) fn parse(pem: &str) -> Result<Self, CaError> {
        if pem.len() > MAX_CSR_BYTES {
            return Err(CaError::Request(format!("longer than {MAX_CSR_BYTES} bytes")));
        }
        let request = CertificateSigningRequestParams::from_pem(pem)
            .map_err(|error| CaError::Request(error.to_string()))?;
        let key = VerifyingKey::from_p256_sec1(request.public_key.der_bytes())
            .map_err(|_| CaError::Request("its key is not on P-256".to_owned()))?;
        Ok(Self { key, public: request.public_key })
    }

    /// The key that it asks to have certified.
    pub(crate) const fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl Ca {
    /// Reads the authority from `dir`, or makes it there at the first start.
    pub(crate) fn open(dir: &Path, now: WallMillis) -> Result<Self, CaError> {
        let (key_path, cert_path) = (dir.join("ca_key.pem"), dir.join("ca.pem"));
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::File { path, source }
        };
        let damaged = |path: &Path| {
            let path = path.to_owned();
            move |why: String| CaError::Damaged { path, why }
        };
        let key_pem = files::read(&key_path).map_err(file(&key_path))?;
        let cert_pem = files::read(&cert_path).map_err(file(&cert_path))?;
        let key = match (&key_pem, &cert_pem) {
            (Some(pem), _) => {
                KeyPair::from_pem(pem).map_err(|e| damaged(&key_path)(e.to_string()))?
            }
            (None, Some(_)) => {
                return Err(damaged(&key_path)("is missing beside ca.pem".to_owned()));
            }
            (None, None) => {
                let key = KeyPair::generate().map_err(make)?;
                files::write_private(&key_path, &key.serialize_pem()).map_err(file(&key_path))?;
                key
            }
        };
        // The certificate is written before anything is issued under it: a key that stands
        // alone comes from a first start that was cut short, and nobody has seen its root.
        let root_pem = match cert_pem {
            Some(pem) => pem,
            None => {
                let pem = root_params(now)?.self_signed(&key).map_err(make)?.pem();
                files::write_private(&cert_path, &pem).map_err(file(&cert_path))?;
                pem
            }
        };
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|e| damaged(&cert_path)(format!("{e:?}")))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&root)
            .map_err(|e| damaged(&cert_path)(e.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(damaged(&cert_path)("is not of the key in ca_key.pem".to_owned()));
        }
        let fingerprint = Digest::of(&root);
        let issuer =
            Issuer::from_ca_cert_der(&root, key).map_err(|e| damaged(&cert_path)(e.to_string()))?;
        Ok(Self { fingerprint, issuer, root, root_pem })
    }

    /// SHA-256 over the root certificate's DER.
    pub(crate) const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The root certificate.
    pub(crate) const fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The root certificate as text.
    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Certifies the key of `request` for `robot`.
    pub(crate) fn certify_robot(
        &self,
        robot: &RobotId,
        request: &Request,
        now: WallMillis,
        lifetime: Duration,
    ) -> Result<Issued, CaError> {
        let mut params = leaf_params(robot.as_str(), now, lifetime)?;
        let serial = entropy()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("{ROBOT_URI}{robot}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(make)?)];
        let pem = params.signed_by(&request.public, &self.issuer).map_err(make)?.pem();
        let not_after = params.not_after.unix_timestamp().saturating_mul(1000);
        let serial = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Issued { not_after: WallMillis(not_after), pem, serial })
    }

    /// A list of the certificates that nobody is to take any more, PEM, good from `from` on for as
    /// long as a server's certificate.
    pub(crate) fn revocation_list(
        &self,
        refused: &[Refused],
        from: WallMillis,
    ) -> Result<String, CaError> {
        let revoked = |it: &Refused| {
            let serial = number(&it.serial)
                .ok_or_else(|| CaError::Make(format!("`{}` is no serial number", it.serial)))?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: moment(it.at)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: moment(from)?,
            next_update: moment(from.plus(SERVER_LIFETIME))?,
            crl_number: SerialNumber::from(u64::try_from(from.0.div_euclid(1000)).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: refused.iter().map(revoked).collect::<Result<_, CaError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(make)
    }

    /// A fresh key and certificate for this server; the chain ends with the root, so that an
    /// agent that knows only the root's hash can find it there.
    pub(crate) fn certify_server(
        &self,
        hosts: &[String],
        now: WallMillis,
    ) -> Result<Identity, CaError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = leaf_params("nooterra-cloud", now, SERVER_LIFETIME)?;
        params.serial_number = Some(SerialNumber::from_slice(&entropy()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(dns_name(host)?),
            });
        }
        let leaf = params.signed_by(&key, &self.issuer).map_err(make)?;
        let chain = vec![leaf.der().clone(), self.root.clone()];
        Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    /// A fresh key and certificate by which a broker takes this cloud for `robot`, for minutes: to
    /// end the robot's connection there. Nobody else takes it for the robot's, for it names none
    /// as those do.
    pub(crate) fn certify_eviction(
        &self,
        robot: &RobotId,
        now: WallMillis,
    ) -> Result<Identity, CaError> {
        self.certify_name(robot.as_str(), now, BACKDATE)
    }

    /// A fresh key and certificate with which this cloud is a client of its broker, under a
    /// name that no robot can have.
    pub(crate) fn certify_client(&self, name: &str, now: WallMillis) -> Result<Identity, CaError> {
        if RobotId::new(name).is_ok() {
            return Err(CaError::Make(format!("`{name}` could be a robot")));
        }
        self.certify_name(name, now, SERVER_LIFETIME)
    }

    fn certify_name(
        &self,
        name: &str,
        now: WallMillis,
        lifetime: Duration,
    ) -> Result<Identity, CaError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = leaf_params(name, now, lifetime)?;
        params.serial_number = Some(SerialNumber::from_slice(&entropy()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(make)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok((vec![leaf.der().clone()], key))
    }
}

// rcgen's errors are many and mean the same to us.
#[allow(clippy::needless_pass_by_value)]
fn make(error: impl ToString) -> CaError {
    CaError::Make(error.to_string())
}

/// What a certificate can carry as a DNS name, and a client can dial.
fn dns_name(host: &str) -> Result<Ia5String, CaError> {
    let fits = rustls::pki_types::DnsName::try_from(host).is_ok();
    let name = Ia5String::try_from(host).ok().filter(|_| fits);
    name.ok_or_else(|| CaError::Host(host.to_owned()))
}

/// A positive serial number of 16 bytes, as RFC 5280 §4.1.2.2 wants it.
fn entropy() -> Result<[u8; 16], CaError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(make)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

/// The bytes of a serial number as it is kept.
fn number(hex: &str) -> Option<Vec<u8>> {
    let digit = |at: &u8| char::from(*at).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

fn moment(at: WallMillis) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).map_err(make)
}

fn base_params(name: &str, now: WallMillis, life: Duration) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(now)? - BACKDATE;
    params.not_after = moment(now.plus(life))?;
    Ok(params)
}

fn leaf_params(name: &str, now: WallMillis, life: Duration) -> Result<CertificateParams, CaError> {
    let mut params = base_params(name, now, life)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn root_params(now: WallMillis) -> Result<CertificateParams, CaError> {
    let mut params = base_params("Nooterra private root", now, ROOT_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMillis = WallMillis(1_795_000_000_000);

    #[test]
    fn the_authority_survives_a_restart_and_a_first_start_that_was_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::open(dir.path(), NOW).unwrap().fingerprint();
        assert_eq!(Ca::open(dir.path(), NOW).unwrap().fingerprint(), first);
        std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
        assert!(Ca::open(dir.path(), NOW).is_ok());
        std::fs::remove_file(dir.path().join("ca_key.pem")).unwrap();
        assert!(matches!(Ca::open(dir.path(), NOW), Err(CaError::Damaged { .. })));
    }

    #[test]
    fn a_root_of_another_key_is_noticed() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Ca::open(one.path(), NOW).unwrap();
        Ca::open(two.path(), NOW).unwrap();
        std::fs::copy(two.path().join("ca.pem"), one.path().join("ca.pem")).unwrap();
        assert!(matches!(Ca::open(one.path(), NOW), Err(CaError::Damaged { .. })));
    }

    #[test]
    fn only_a_p256_request_signed_by_its_own_key_is_taken() {
        let csr = |key: &KeyPair| {
            CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
        };
        let good = csr(&KeyPair::generate().unwrap());
        assert!(Request::parse(&good).is_ok());
        let other_curve = csr(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
        for bad in ["", "hello", &good[..good.len() / 2], &other_curve, &"x".repeat(9000)] {
            assert!(matches!(Request::parse(bad), Err(CaError::Request(_))), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_request_is_refused_and_never_panics(
            at in 0_usize..10_000, byte in proptest::prelude::any::<u8>(), seed in 0_u8..3,
        ) {
            use base64::Engine as _;
            let key = KeyPair::from_pem(KEYS[usize::from(seed) % KEYS.len()]).unwrap();
            let request = CertificateParams::default().serialize_request(&key).unwrap();
            let mut der = request.der().to_vec();
            let at = at % der.len();
            proptest::prop_assume!(der[at] != byte);
            der[at] = byte;
            let body = base64::engine::general_purpose::STANDARD.encode(&der);
            let pem = format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"
            );
            if let Ok(taken) = Request::parse(&pem) {
                // Only the unsigned framing may change without effect: never the key.
                proptest::prop_assert_eq!(taken.public.der_bytes(), key.public_key_raw());
            }
        }
    }

    const KEYS: [&str; 1] = ["-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
"];
}
