//! Turning a claim code into a certificate, and a certificate into the next one.

use super::tls::{DeviceKey, pinned_config};
use super::{CloudAddress, Identity, IdentityError, client_config, damaged, device_key};
use super::{parse_chain, validity, write};
use crate::http::{Client, HttpError};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::{Signer, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Why enrolment or renewal did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// What the cloud sent does not belong to this key, or to the CA that the code names.
    #[error("the cloud's answer does not fit: {0}; ask the cloud's operator")]
    Answer(String),
    /// Mistyped, cut, or of a later release.
    #[error("`{0}` is not a claim code; it looks like noot1.SECRET.FINGERPRINT")]
    Code(String),
    /// The cloud refused or could not be reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The key or the folder.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The code is for another robot than agent.toml names.
    #[error(
        "the claim code is for robot {claimed}, but agent.toml says {configured}; correct `robot.id` or make a code for it"
    )]
    OtherRobot {
        /// In the cloud's answer.
        claimed: RobotId,
        /// In agent.toml.
        configured: RobotId,
    },
    /// The signing request could not be made.
    #[error("no certificate request: {0}")]
    Request(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A claim code: a secret for the cloud, and the fingerprint of the cloud's root for us.
#[derive(Clone, Eq, PartialEq)]
pub struct ClaimCode {
    root_sha256: [u8; 32],
    text: String,
}

impl std::fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret stays out of logs.
        write!(f, "ClaimCode(root {})", hex::encode(self.root_sha256))
    }
}

impl FromStr for ClaimCode {
    type Err = EnrollError;

    fn from_str(text: &str) -> Result<Self, EnrollError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let ["noot1", secret, root] = parts[..] else {
            return Err(EnrollError::Code(text.to_owned()));
        };
        let mut root_sha256 = [0; 32];
        if secret.is_empty() || hex::decode_to_slice(root, &mut root_sha256).is_err() {
            return Err(EnrollError::Code(text.to_owned()));
        }
        Ok(Self { root_sha256, text: text.to_owned() })
    }
}

#[derive(Serialize)]
struct EnrolmentRequest<'a> {
    code: &'a str,
    csr_pem: &'a str,
}

#[derive(Serialize)]
struct RenewalRequest<'a> {
    csr_pem: &'a str,
}

#[derive(Deserialize)]
struct EnrolmentAnswer {
    ca_pem: String,
    certificate_pem: String,
    command_key: VerifyingKey,
    mqtt: String,
    robot: RobotId,
}

#[derive(Deserialize)]
struct RenewalAnswer {
    certificate_pem: String,
}

/// Enrols with the cloud at `url` (`https://host:port`). Safe to repeat: until the last file
/// is written the robot counts as not enrolled.
///
/// # Errors
/// Every variant of [`EnrollError`].
pub async fn enroll(
    dir: &Path,
    robot: &RobotId,
    url: &str,
    code: &ClaimCode,
) -> Result<Identity, EnrollError> {
    let signer = device_key(dir)?;
    let csr_pem = csr(&signer, robot)?;
    let client = Client::new(url, pinned_config(code.root_sha256)?)?;
    let request = EnrolmentRequest { code: &code.text, csr_pem: &csr_pem };
    let answer: EnrolmentAnswer = client.post_json("/v1/enrolments", &request).await?;
    if answer.robot != *robot {
        return Err(EnrollError::OtherRobot { claimed: answer.robot, configured: robot.clone() });
    }
    let ca = parse_chain(answer.ca_pem.as_bytes()).map_err(EnrollError::Answer)?;
    if <[u8; 32]>::from(sha2::Sha256::digest(&ca[0])) != code.root_sha256 {
        return Err(EnrollError::Answer("its CA is not the one that the code names".to_owned()));
    }
    check_certificate(&answer.certificate_pem, signer.as_ref())?;
    let cloud = CloudAddress {
        command_key: answer.command_key,
        http: url.trim_end_matches('/').to_owned(),
        mqtt: answer.mqtt,
        robot: answer.robot,
    };
    let address = serde_json::to_vec_pretty(&cloud)
        .map_err(|error| damaged(&dir.join("cloud.json"), &error))?;
    write(&dir.join("ca.pem"), answer.ca_pem.as_bytes(), 0o644)?;
    write(&dir.join("certificate.pem"), answer.certificate_pem.as_bytes(), 0o644)?;
    write(&dir.join("cloud.json"), &address, 0o644)?;
    Ok(Identity::load(dir, robot)?)
}

/// Fetches the next certificate over the channel that the present one opens.
///
/// # Errors
/// Every variant of [`EnrollError`]; the present certificate is then still in place.
pub async fn renew(identity: &Identity) -> Result<Identity, EnrollError> {
    let robot = &identity.cloud().robot;
    let signer = identity.signer();
    let csr_pem = csr(&signer, robot)?;
    let client = Client::new(&identity.cloud().http, client_config(identity)?)?;
    let path = format!("/v1/robots/{robot}/certificate");
    let answer: RenewalAnswer =
        client.post_json(&path, &RenewalRequest { csr_pem: &csr_pem }).await?;
    check_certificate(&answer.certificate_pem, signer.as_ref())?;
    let file = identity.dir.join("certificate.pem");
    write(&file, answer.certificate_pem.as_bytes(), 0o644)?;
    Ok(Identity::load(&identity.dir, robot)?)
}

fn csr(signer: &Arc<dyn Signer>, robot: &RobotId) -> Result<String, rcgen::Error> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, robot.as_str());
    params.serialize_request(&DeviceKey::new(Arc::clone(signer)))?.pem()
}

/// The certificate must be for our key; all else about it is the cloud's concern.
fn check_certificate(pem: &str, signer: &dyn Signer) -> Result<(), EnrollError> {
    let chain = parse_chain(pem.as_bytes()).map_err(EnrollError::Answer)?;
    validity(&chain[0], Path::new("certificate"))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&chain[0])
        .map_err(|error| EnrollError::Answer(error.to_string()))?;
    let point = &certificate.public_key().subject_public_key.data;
    match VerifyingKey::from_p256_sec1(point) {
        Ok(key) if key == signer.verifying_key() => Ok(()),
        _ => Err(EnrollError::Answer("its certificate is for another key".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_code_is_read_and_its_secret_is_not_printed() {
        let text = format!("noot1.s3cret.{}", "ab".repeat(32));
        let code: ClaimCode = format!(" {text}\n").parse().unwrap();
        assert_eq!(code.root_sha256, [0xab; 32]);
        assert!(!format!("{code:?}").contains("s3cret"));
    }

    #[test]
    fn a_damaged_claim_code_is_refused() {
        let good = format!("noot1.s3cret.{}", "ab".repeat(32));
        for text in ["", "noot1", "noot1..ab", &good[1..], &good[..good.len() - 1], "noot2.a.b"] {
            assert!(text.parse::<ClaimCode>().is_err(), "{text:?} was taken");
        }
    }
}
