//! Who this robot is: the device key, its certificate, and the cloud that it belongs to.
//!
//! ```text
//! identity/device.key        P-256, PKCS#8 PEM, 0600: signs facts, checkpoints, handshakes
//! identity/device.pub        its public half as text, for whoever verifies the black box
//! identity/certificate.pem   short-lived, from the cloud's CA
//! identity/ca.pem            the root that the claim code named by its fingerprint
//! identity/cloud.json        addresses and the key that signs commands; written last
//! ```

mod enroll;
mod tls;

pub use enroll::{ClaimCode, EnrollError, enroll, renew};
pub use tls::client_config;

use crate::files;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::{Es256Key, KeyError, Signer, VerifyingKey};
use nooterra_protocol::time::WallMillis;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate, CA or address file is damaged.
    #[error("{}: {what}; enroll again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Enrolled as another robot than the configuration names.
    #[error(
        "enrolled as {enrolled}, but agent.toml says {configured}; correct `robot.id`, or enroll with a fresh state folder"
    )]
    OtherRobot {
        /// In agent.toml.
        configured: RobotId,
        /// In the state folder.
        enrolled: RobotId,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The device key's file is damaged.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Nothing there yet.
    #[error(
        "this robot is not enrolled; make a claim code at the cloud and run `nooterra-agent enroll`"
    )]
    NotEnrolled,
    /// The random source failed.
    #[error("no randomness for a new key: {0}")]
    Random(getrandom::Error),
}

/// Where the cloud is and by which key it commands.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CloudAddress {
    /// The key that signs commands to this robot.
    pub command_key: VerifyingKey,
    /// `https://host:port` of the API.
    pub http: String,
    /// `host:port` of the MQTT endpoint.
    pub mqtt: String,
    /// The robot as which the cloud knows this one.
    pub robot: RobotId,
}

/// An enrolled robot's identity, read from its folder.
#[derive(Clone)]
pub struct Identity {
    ca: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    cloud: CloudAddress,
    dir: PathBuf,
    not_after: WallMillis,
    not_before: WallMillis,
    signer: Arc<dyn Signer>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("cloud", &self.cloud)
            .field("key", &self.signer.verifying_key().key_id())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the folder.
    ///
    /// # Errors
    /// [`IdentityError::NotEnrolled`] when enrolment never finished; the other variants when
    /// what it left does not fit together.
    pub fn load(dir: &Path, robot: &RobotId) -> Result<Self, IdentityError> {
        let address = dir.join("cloud.json");
        if !address.exists() {
            return Err(IdentityError::NotEnrolled);
        }
        let cloud: CloudAddress =
            serde_json::from_slice(&read(&address)?).map_err(|error| damaged(&address, &error))?;
        if cloud.robot != *robot {
            return Err(IdentityError::OtherRobot {
                configured: robot.clone(),
                enrolled: cloud.robot,
            });
        }
        let certificate = dir.join("certificate.pem");
        let chain = read_chain(&certificate)?;
        let (not_before, not_after) = validity(&chain[0], &certificate)?;
        Ok(Self {
            ca: read_chain(&dir.join("ca.pem"))?,
            chain,
            cloud,
            dir: dir.to_owned(),
            not_after,
            not_before,
            signer: read_key(&dir.join("device.key"))?,
        })
    }

    /// Signs as this robot.
    #[must_use]
    pub fn signer(&self) -> Arc<dyn Signer> {
        Arc::clone(&self.signer)
    }

    /// Where the cloud is.
    #[must_use]
    pub const fn cloud(&self) -> &CloudAddress {
        &self.cloud
    }

    /// When the certificate ends.
    #[must_use]
    pub const fn not_after(&self) -> WallMillis {
        self.not_after
    }

    /// When the certificate began: a moment that has surely passed.
    #[must_use]
    pub const fn not_before(&self) -> WallMillis {
        self.not_before
    }

    /// Two thirds of the certificate's life are over: time for the next one.
    #[must_use]
    pub const fn wants_renewal(&self, now: WallMillis) -> bool {
        let life = self.not_after.0 - self.not_before.0;
        now.0 > self.not_after.0 - life / 3
    }

    /// Where the device key lives, as the cloud is told.
    #[must_use]
    pub const fn key_store(&self) -> &'static str {
        "file"
    }
}

/// The device key of a folder; made on the first call.
///
/// # Errors
/// [`IdentityError`] when it cannot be read, made or stored.
pub fn device_key(dir: &Path) -> Result<Arc<dyn Signer>, IdentityError> {
    let path = dir.join("device.key");
    if path.exists() {
        return read_key(&path);
    }
    files::private_dir(dir)
        .map_err(|source| IdentityError::File { path: dir.to_owned(), source })?;
    let key = loop {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(IdentityError::Random)?;
        // A seed that is not a scalar of the curve has a chance of 2^-32.
        if let Some(key) = Es256Key::from_seed(seed) {
            break key;
        }
    };
    let pem = key.to_pem().map_err(|source| IdentityError::Key { path: path.clone(), source })?;
    write(&dir.join("device.pub"), format!("{}\n", key.verifying_key()).as_bytes(), 0o644)?;
    write(&path, pem.as_bytes(), 0o600)?;
    Ok(Arc::new(key))
}

fn read_key(path: &Path) -> Result<Arc<dyn Signer>, IdentityError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let key = Es256Key::from_pem(&text)
        .map_err(|source| IdentityError::Key { path: path.to_owned(), source })?;
    Ok(Arc::new(key))
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    files::write_whole(path, bytes, mode)
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn damaged(path: &Path, what: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), what: what.to_string() }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    parse_chain(&read(path)?).map_err(|what| damaged(path, &what))
}

fn parse_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(chain) }
}

fn validity(
    certificate: &CertificateDer<'_>,
    path: &Path,
) -> Result<(WallMillis, WallMillis), IdentityError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| damaged(path, &error))?;
    let validity = parsed.validity();
    let millis = |seconds: i64| WallMillis(seconds.saturating_mul(1000));
    Ok((millis(validity.not_before.timestamp()), millis(validity.not_after.timestamp())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_device_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let identity = dir.path().join("identity");
        let first = device_key(&identity).unwrap().verifying_key();
        assert_eq!(device_key(&identity).unwrap().verifying_key(), first);
        let mode = std::fs::metadata(identity.join("device.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = std::fs::read_to_string(identity.join("device.pub")).unwrap();
        assert_eq!(public.trim().parse::<VerifyingKey>().unwrap(), first);
    }

    #[test]
    fn a_robot_that_never_enrolled_is_told_how() {
        let dir = tempfile::tempdir().unwrap();
        let robot = RobotId::new("amr-1").unwrap();
        let error = Identity::load(dir.path(), &robot).unwrap_err();
        assert!(error.to_string().contains("nooterra-agent enroll"), "{error}");
    }
}
