//! Skill bundles on this robot: fetched once, kept by hash, verified at every use.

use crate::installed::Installed;
use crate::trust::{Judge, JudgeError};
use nooterra_blackbox::JournalHandle;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Entry, SkillChecked};
use nooterra_protocol::plan::SkillRef;
use nooterra_skill_host::{Bundle, DistrustError, KeyError, Origin, TrustedKeys};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

/// Why a skill cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Its signature or its form.
    #[error("skill {skill} is refused: {source}")]
    Bundle {
        /// As the plan names it.
        skill: String,
        /// Why.
        source: JudgeError,
    },
    /// The cloud gave another file than the plan names.
    #[error("skill {skill} is refused: the file has SHA-256 {found}, the plan says {wanted}")]
    Digest {
        /// Of the file.
        found: Digest,
        /// As the plan names it.
        skill: String,
        /// In the plan.
        wanted: Digest,
    },
    /// It is not here and could not be fetched.
    #[error("skill {skill} could not be fetched: {what}")]
    Fetch {
        /// As the plan names it.
        skill: String,
        /// In words.
        what: String,
    },
    /// The folder of trusted keys holds something that is no key.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The folder of trusted keys cannot be read.
    #[error("{}: {source}; make the folder, or correct `skills.trusted_keys_dir`", path.display())]
    Keys {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The manifest is of another skill or version than the plan names.
    #[error("the bundle holds {found}, the plan says {wanted}")]
    Name {
        /// In the manifest.
        found: String,
        /// In the plan.
        wanted: String,
    },
}

/// Gets a bundle and its signature from afar; blocks. Called on the runner's thread.
pub type Fetch = Box<dyn Fn(Digest) -> Result<(Vec<u8>, String), String> + Send>;

/// The folder of bundles, with what is needed to fill it.
pub struct Shelf {
    fetch: Fetch,
    installed: Installed,
    journal: JournalHandle,
    judge: Arc<Judge>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("installed", &self.installed).finish_non_exhaustive()
    }
}

impl Shelf {
    /// A shelf in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf, judge: Arc<Judge>, journal: JournalHandle, fetch: Fetch) -> Self {
        Self { fetch, installed: Installed::new(dir), journal, judge }
    }

    /// Which versions have proven themselves, and which are on trial.
    #[must_use]
    pub const fn installed(&self) -> &Installed {
        &self.installed
    }

    /// The bundle that a plan names, verified. Whether it was accepted or refused is in the
    /// journal when this returns.
    ///
    /// # Errors
    /// [`ShelfError`]
    pub fn bundle(&self, wanted: &SkillRef) -> Result<Bundle, ShelfError> {
        let result = self.look_up(wanted);
        let (accepted, reason) = match &result {
            Ok(bundle) => {
                let signers: Vec<String> =
                    bundle.signers().iter().map(ToString::to_string).collect();
                (true, format!("signed by {}", signers.join(", ")))
            }
            Err(error) => (false, error.to_string()),
        };
        let entry = Entry::SkillChecked(SkillChecked {
            accepted,
            bundle: wanted.bundle,
            reason: reason.clone(),
            skill: Some(wanted.id.clone()),
        });
        if let Err(error) = self.journal.append(entry) {
            warn!(%error, "a skill's check is not in the journal");
        }
        if accepted {
            info!(skill = %wanted.id, version = wanted.version, reason, "skill accepted");
        } else {
            warn!(skill = %wanted.id, version = wanted.version, reason, "skill refused");
        }
        result
    }

    /// Whether a bundle that runs may go on, where something was revoked since `asked`.
    ///
    /// # Errors
    /// [`ShelfError::Bundle`]: it may not.
    pub fn may_go_on(&self, bundle: &Bundle, asked: &mut u64) -> Result<(), ShelfError> {
        self.judge.may_go_on(bundle, asked).map_err(|source| ShelfError::Bundle {
            skill: bundle.manifest().id.to_string(),
            source: source.into(),
        })
    }

    /// By whom bundles are judged here.
    pub(super) const fn judge(&self) -> &Arc<Judge> {
        &self.judge
    }

    fn look_up(&self, wanted: &SkillRef) -> Result<Bundle, ShelfError> {
        let mut no_longer = None;
        if let Some((bytes, signature)) = self.installed.read(wanted.bundle) {
            match self.check(&bytes, &signature, wanted, Origin::Kept) {
                Ok(bundle) => {
                    if let Err(error) = self.judge.taken(&bundle) {
                        warn!(%error, "that this version runs is not remembered");
                    }
                    return Ok(bundle);
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    warn!(%error, "a stored bundle is no longer good; fetching it again");
                    no_longer = Some(error);
                }
            }
        }
        let (bytes, signature) = (self.fetch)(wanted.bundle).map_err(|what| {
            no_longer.unwrap_or(ShelfError::Fetch { skill: wanted.id.to_string(), what })
        })?;
        let bundle = self.check(&bytes, &signature, wanted, Origin::New)?;
        if let Err(error) = self.installed.keep(&bundle, &signature) {
            warn!(%error, "the bundle is used but not kept; it is fetched again next time");
        }
        let taken = self.judge.taken(&bundle);
        taken.map_err(|source| ShelfError::Bundle { skill: wanted.id.to_string(), source })?;
        Ok(bundle)
    }

    fn check(
        &self,
        bytes: &[u8],
        signature: &str,
        wanted: &SkillRef,
        origin: Origin,
    ) -> Result<Bundle, ShelfError> {
        let skill = || wanted.id.to_string();
        let bundle = self
            .judge
            .bundle(bytes, signature, origin)
            .map_err(|source| ShelfError::Bundle { skill: skill(), source })?;
        if bundle.digest() != wanted.bundle {
            let found = bundle.digest();
            return Err(ShelfError::Digest { found, skill: skill(), wanted: wanted.bundle });
        }
        let manifest = bundle.manifest();
        if manifest.id != wanted.id || manifest.version != wanted.version {
            return Err(ShelfError::Name {
                found: format!("{} {}", manifest.id, manifest.version),
                wanted: format!("{} {}", wanted.id, wanted.version),
            });
        }
        Ok(bundle)
    }
}

/// No other signature would make a difference, so it need not be asked for.
const fn is_final(error: &ShelfError) -> bool {
    let ShelfError::Bundle { source, .. } = error else { return false };
    matches!(
        source,
        JudgeError::Lost(_)
            | JudgeError::Distrust(
                DistrustError::NoDocument(_)
                    | DistrustError::NotAccepted(_)
                    | DistrustError::Older { .. }
                    | DistrustError::RevokedBundle(_)
                    | DistrustError::RevokedVersion { .. }
            )
    )
}

/// The keys of a folder: every file that ends in `.pub`.
///
/// # Errors
/// [`ShelfError::Keys`] and [`ShelfError::Key`].
pub fn trusted_keys(dir: &Path) -> Result<TrustedKeys, ShelfError> {
    let unreadable = |path: &Path, source| ShelfError::Keys { path: path.to_owned(), source };
    let mut keys = TrustedKeys::new();
    for entry in std::fs::read_dir(dir).map_err(|source| unreadable(dir, source))? {
        let path = entry.map_err(|source| unreadable(dir, source))?.path();
        if path.extension().is_some_and(|extension| extension == "pub") {
            let text =
                std::fs::read_to_string(&path).map_err(|source| unreadable(&path, source))?;
            keys.add(&text).map_err(|source| ShelfError::Key { path: path.clone(), source })?;
        }
    }
    Ok(keys)
}
