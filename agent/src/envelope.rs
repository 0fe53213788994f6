//! The safety envelope in force: the owner's signed policy, read from its file, with its masks
//! from the files beside it.

use crate::config::Config;
use crate::versions::{Of, Versions, VersionsError};
use nooterra_blackbox::{AppendError, JournalHandle};
use nooterra_policy::{PolicyError, VerifiedPolicy};
use nooterra_protocol::entry::Entry;
use nooterra_protocol::grid::MAX_FILE_BYTES;
use nooterra_protocol::keys::{KeyError, VerifyingKey};
use nooterra_protocol::policy::Mask;
use nooterra_protocol::policy_part::PolicyPart;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Why no policy is in force.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The owner's key file holds no key.
    #[error("{}: {source}", path.display())]
    OwnerKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// An older policy than one that was in force here: put back by mistake, or by somebody.
    #[error(
        "policy version {found} is older than {newest}, which was in force; sign a new version"
    )]
    Older {
        /// In the file.
        found: u32,
        /// Was in force.
        newest: u32,
    },
    /// Not signed by the owner, for another robot, or senseless.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PolicyError,
    },
    /// It is not known which versions were in force.
    #[error(transparent)]
    Versions(#[from] VersionsError),
}

/// Reads and verifies the configured policy and its masks.
///
/// # Errors
/// [`EnvelopeError`], except `Older` and `Versions`.
pub fn load(config: &Config) -> Result<VerifiedPolicy, EnvelopeError> {
    load_file(config, &config.policy.file)
}

/// Reads and verifies a policy of this robot from any file, with its masks from beside it.
///
/// # Errors
/// As [`load`].
pub fn load_file(config: &Config, path: &Path) -> Result<VerifiedPolicy, EnvelopeError> {
    let owner = owner_key(&config.policy.owner_key_file)?;
    verified(path.to_owned(), &owner, config)
}

/// Reads and verifies the candidate that is to judge beside the policy, if one is configured.
///
/// # Errors
/// As [`load`].
pub fn load_shadow(config: &Config) -> Result<Option<VerifiedPolicy>, EnvelopeError> {
    let Some(path) = config.policy.shadow.clone() else {
        return Ok(None);
    };
    let owner = owner_key(&config.policy.owner_key_file)?;
    verified(path, &owner, config).map(Some)
}

fn verified(
    path: PathBuf,
    owner: &VerifyingKey,
    config: &Config,
) -> Result<VerifiedPolicy, EnvelopeError> {
    let bytes = std::fs::read(&path)
        .map_err(|source| EnvelopeError::File { path: path.clone(), source })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mask = |mask: &Mask| mask_file(&folder.join(mask.file_name()));
    VerifiedPolicy::verify_with_masks(&bytes, owner, &config.robot.id, mask)
        .map_err(|source| EnvelopeError::Policy { path: path.clone(), source })
}

/// A mask's file, of which no more is read than can be one.
fn mask_file(path: &Path) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    let most = MAX_FILE_BYTES as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes)
}

/// A public key from its file.
///
/// # Errors
/// [`EnvelopeError::File`] and [`EnvelopeError::OwnerKey`].
pub fn owner_key(path: &Path) -> Result<VerifyingKey, EnvelopeError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| EnvelopeError::File { path: path.to_owned(), source })?;
    text.trim().parse().map_err(|source| EnvelopeError::OwnerKey { path: path.to_owned(), source })
}

/// Refuses a policy that is older than one that was in force, and remembers nothing: for one
/// on trial.
///
/// # Errors
/// [`EnvelopeError::Older`] and [`EnvelopeError::Versions`].
pub fn not_older(policy: &VerifiedPolicy, versions: &Versions) -> Result<(), EnvelopeError> {
    let found = policy.document().version;
    match versions.newest(Of::Policy)? {
        Some(newest) if found < newest => Err(EnvelopeError::Older { found, newest }),
        _ => Ok(()),
    }
}

/// Refuses a policy that is older than one that was in force, and remembers a newer one.
///
/// # Errors
/// [`EnvelopeError::Older`] and [`EnvelopeError::Versions`].
pub fn never_back(policy: &VerifiedPolicy, versions: &Versions) -> Result<(), EnvelopeError> {
    not_older(policy, versions)?;
    Ok(versions.remember(Of::Policy, policy.document().version)?)
}

/// Writes the signed policy itself into the journal, once for each start: what the hash in
/// verdicts stands for, for whoever reads them later or watches from afar. One that is too large
/// stays a hash.
///
/// # Errors
/// [`AppendError`].
pub fn record(policy: &VerifiedPolicy, journal: &JournalHandle) -> Result<(), AppendError> {
    let parts = PolicyPart::split(policy.signed_bytes());
    if parts.is_empty() {
        tracing::info!(hash = %policy.digest(), "the policy is too large to be written out");
    }
    parts.into_iter().try_for_each(|part| journal.append(Entry::Policy(part)))
}
