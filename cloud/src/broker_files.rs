//! What mosquitto needs to carry this cloud's link: its configuration, who may use which topic,
//! and a certificate of this cloud's authority.

use crate::broker_crl;
use crate::ca::{Ca, CaError, Refused};
use crate::clock::{Clock as _, SystemClock};
use crate::files;
use crate::store::{Address, StoreError, robots};
use nooterra_protocol::time::WallMillis;
use rustls::pki_types::PrivateKeyDer;
use std::path::{Path, PathBuf};

const CONFIGURATION: &str = include_str!("../mosquitto/mosquitto.conf");

/// As what it is connected to a server.
const NAME: &str = "nooterra-cloud broker";

const ACL: &str = include_str!("../mosquitto/acl");

/// Why the files are not there now.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFilesError {
    /// The authority, or a host name that no certificate can carry.
    #[error("{0}")]
    Ca(#[from] CaError),
    /// A file cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no cloud there yet, whose authority could certify a broker.
    #[error("{0} is not there; start `nooterra-cloud serve` on that data directory first")]
    NoCloud(PathBuf),
    /// No database is there, and no server was named. An empty list would let in whoever the real
    /// one keeps out.
    #[error(
        "{0} is not there; start `nooterra-cloud serve` there first, or name the server with --store"
    )]
    NoStore(PathBuf),
    /// The database, which knows what robots' certificates are to be refused.
    #[error("{database}: {source}; start this release's `nooterra-cloud serve` on it first")]
    Store {
        /// Which one.
        database: String,
        /// What is wrong.
        source: StoreError,
    },
}

/// Writes the files into `out`: `mosquitto.conf`, `acl`, `ca.pem`, `broker.pem`, `broker_key.pem`
/// and `robots.crl`, by the database at `store`, or in the data directory without. Called again it
/// makes a new key and certificate, and the broker needs to be told. It may be called while the
/// cloud runs.
///
/// # Errors
/// [`BrokerFilesError`], with what to do about it.
pub fn broker_files(
    data: &Path,
    store: Option<&str>,
    hosts: &[String],
    out: &Path,
) -> Result<(), BrokerFilesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BrokerFilesError::File { path, source }
    };
    let known = data.join("ca.pem");
    if !known.exists() {
        return Err(BrokerFilesError::NoCloud(known));
    }
    let now = SystemClock::default().wall();
    let ca = Ca::open(data, now)?;
    let refused = refused(data, store, now)?;
    let (chain, key) = ca.certify_server(hosts, now)?;
    let PrivateKeyDer::Pkcs8(key) = key else {
        return Err(CaError::Make("the key is not PKCS#8".to_owned()).into());
    };
    files::make_private_dir(out).map_err(failed(out))?;
    let out = std::path::absolute(out).map_err(failed(out))?;
    let chain: String = chain.iter().map(|one| pem("CERTIFICATE", one)).collect();
    let configuration = CONFIGURATION
        .lines()
        .map(|line| match line.starts_with('#') {
            true => format!("{line}\n"),
            false => format!("{}\n", line.replace("DIR/", &format!("{}/", out.display()))),
        })
        .collect::<String>();
    for (name, content) in [
        ("acl", ACL),
        ("broker.pem", &chain),
        ("broker_key.pem", &pem("PRIVATE KEY", key.secret_pkcs8_der())),
        ("ca.pem", ca.root_pem()),
        ("mosquitto.conf", &configuration),
    ] {
        let path = out.join(name);
        files::write_private(&path, content).map_err(failed(&path))?;
    }
    let path = out.join("robots.crl");
    let list = broker_crl::next(&ca, &refused, &path, now)?;
    files::write_public(&path, &list).map_err(failed(&path))
}

/// What of robots' certificates the database says.
fn refused(
    data: &Path,
    store: Option<&str>,
    now: WallMillis,
) -> Result<Vec<Refused>, BrokerFilesError> {
    let file = data.join("cloud.sqlite");
    if store.is_none() && !file.exists() {
        return Err(BrokerFilesError::NoStore(file));
    }
    let failed = |database: String| |source| BrokerFilesError::Store { database, source };
    let address = Address::new(store, file, NAME).map_err(failed("--store".to_owned()))?;
    let read = address
        .read_only()
        .and_then(|mut connection| connection.reading(|tx| robots::refused_certificates(tx, now)));
    read.map_err(failed(address.to_string()))
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII.
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use nooterra_protocol::time::WallMillis;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn the_files_name_each_other_and_hold_a_chain_to_the_clouds_root() {
        let dir = tempfile::tempdir().unwrap();
        let (data, out) = (dir.path().join("cloud"), dir.path().join("broker"));
        let hosts = ["broker.example".to_owned()];
        let early = broker_files(&data, None, &hosts, &out);
        assert!(matches!(early, Err(BrokerFilesError::NoCloud(_))));
        files::make_private_dir(&data).unwrap();
        let ca = Ca::open(&data, WallMillis(1_795_000_000_000)).unwrap();
        // Its database may be on a server: nothing is written that says that nobody is revoked.
        let unknown = broker_files(&data, None, &hosts, &out);
        assert!(matches!(unknown, Err(BrokerFilesError::NoStore(_))));
        assert!(!out.exists());
        drop(Store::open(&data.join("cloud.sqlite")).unwrap());
        for _ in 0..2 {
            broker_files(&data, None, &hosts, &out).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        for line in read("mosquitto.conf").lines().filter(|line| !line.starts_with('#')) {
            assert!(!line.contains("DIR"), "{line}");
            if let Some((_, path)) = line.split_once(' ').filter(|(_, it)| it.starts_with('/')) {
                assert!(Path::new(path).exists(), "{line}");
            }
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(read("broker.pem").as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!((chain.len(), chain.last().unwrap()), (2, ca.root()));
        assert!(PrivateKeyDer::from_pem_slice(read("broker_key.pem").as_bytes()).is_ok());
        assert_eq!(read("ca.pem"), ca.root_pem());
        let bad = broker_files(&data, None, &["no host".to_owned()], &out);
        assert!(matches!(bad, Err(BrokerFilesError::Ca(CaError::Host(_)))));
    }
}
