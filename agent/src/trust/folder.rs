//! The folder in the agent's state that holds what is in force, and the only way to change it.
//!
//! ```text
//! trust/document.cbor   the trust document in force, with its signatures
//! trust/list.cbor       the newest revocation list, with its signatures
//! trust/skills.cbor     the newest version of each skill that was taken, and what is permitted
//! trust/notes/          what the command line refused or permitted, for the journal
//! trust/lock            held while anything of this is changed
//! ```
//! Each file is replaced as a whole. The command line and the daemon both write here, under the
//! lock and by the same rules.

use crate::files;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::trust::{
    Carried, MAX_TRUST_BYTES, Marks, SkillTrust, SkillTrustStep, TrustFile,
};
use nooterra_skill_host::{Back, Now, Trust, TrustError};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "document.cbor";
const LIST: &str = "list.cbor";
const LOCK: &str = "lock";
const MARKS: &str = "skills.cbor";
const NOTES: &str = "notes";

/// So many notes wait for the daemon; what comes after them is refused as well, without one.
const MAX_NOTES: usize = 32;

/// Signatures over a document or list, bytes: more than [`nooterra_skill_host::MAX_SIGNATURES`].
pub(crate) const MAX_SIGNATURES_BYTES: usize = 16 * 1024;

/// Why the trust in skills is not known, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file that the agent wrote holds something else.
    #[error(
        "{}: {what}; it was damaged or altered, and no skill runs until it is installed again: \
         `nooterra-agent trust install FILE --first SHA256 --allow-older` for a document, \
         `trust install FILE` for a list", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A document while none is in force, and no hash to know it by.
    #[error(
        "no trust document is in force yet; for the first one name its hash, which you had by \
         another way than the file: `--first SHA256` (this file has {0})"
    )]
    First(Digest),
    /// A list while no document is in force.
    #[error(
        "no trust document is in force, so nobody knows who may revoke; install the document \
         first: `nooterra-agent trust install FILE --first SHA256`"
    )]
    NoDocument,
    /// Nothing newer of the skill was taken.
    #[error("{skill} {version} is not older than what was taken here; nothing stands against it")]
    NothingToPermit {
        /// Which skill.
        skill: SkillId,
        /// Which version.
        version: String,
    },
    /// `--first` where a document is in force.
    #[error(
        "a trust document is in force, and the next one is signed by its roots: leave out \
         `--first`; where its roots are lost, `--first SHA256 --allow-older` begins anew"
    )]
    NotTheFirst,
    /// It does not take effect.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Neither a document nor a list.
    #[error(
        "it is neither a trust document nor a revocation list ({0}); both are JSON with a `type`, \
         see docs/skill-bundle.md"
    )]
    Type(String),
}

/// What is kept of a document or a list.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    carried: Carried,
    /// An operator permitted it although it was older, or another first one.
    permitted: bool,
}

/// What is in force by the folder alone.
#[derive(Clone, Debug)]
pub struct InFolder {
    /// Versions of skills.
    pub marks: Marks,
    /// An operator permitted to go back to this document, and to this list.
    pub permitted: (bool, bool),
    /// Document and list.
    pub trust: Trust,
}

/// What was put in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PutInForce {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Which of the two.
    pub file: TrustFile,
    /// It was in force before.
    pub same: bool,
    /// Its version.
    pub version: u32,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// That of a state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("trust") }
    }

    /// What is in force; nothing where no document was ever installed.
    ///
    /// # Errors
    /// [`FolderError::Damaged`] and [`FolderError::File`].
    pub fn load(&self) -> Result<Option<InFolder>, FolderError> {
        let Some(document) = self.read::<Kept>(DOCUMENT)? else {
            return Ok(None);
        };
        let (list, listed) = match self.read::<Kept>(LIST)? {
            Some(kept) => (Some(kept.carried), kept.permitted),
            None => (None, false),
        };
        let trust = Trust::kept(document.carried, list)
            .map_err(|error| self.damaged(DOCUMENT, error.to_string()))?;
        let marks = self.read(MARKS)?.unwrap_or_default();
        Ok(Some(InFolder { marks, permitted: (document.permitted, listed), trust }))
    }

    /// Puts a document or a list in force. What is refused is noted for the journal.
    ///
    /// # Errors
    /// [`FolderError`]; nothing has changed.
    pub fn install(
        &self,
        carried: &Carried,
        first: Option<Digest>,
        back: Back,
        now: Now,
    ) -> Result<PutInForce, FolderError> {
        let _locked = self.lock()?;
        let result = self.install_locked(carried, first, back, now);
        if let Err(error) = &result {
            let read = type_of(&carried.bytes.0).ok();
            self.note(&SkillTrust {
                digest: Some(Digest::of(&carried.bytes.0)),
                file: read.map(|(file, _)| file),
                reason: error.to_string(),
                step: SkillTrustStep::Refused,
                version: read.map(|(_, version)| version),
            });
        }
        result
    }

    /// Permits an older version of a skill beside the newest one that was taken.
    ///
    /// # Errors
    /// [`FolderError::NothingToPermit`], [`FolderError::Damaged`] and [`FolderError::File`].
    pub fn permit(&self, skill: &SkillId, version: &str) -> Result<(), FolderError> {
        let _locked = self.lock()?;
        let mut marks: Marks = self.read(MARKS)?.unwrap_or_default();
        if !marks.permit(skill, version) {
            let (skill, version) = (skill.clone(), version.to_owned());
            return Err(FolderError::NothingToPermit { skill, version });
        }
        self.write(MARKS, &marks)?;
        self.note(&SkillTrust {
            digest: None,
            file: None,
            reason: format!("{skill} {version} may run although a newer one was taken"),
            step: SkillTrustStep::Permitted,
            version: None,
        });
        Ok(())
    }

    /// A version was taken: older ones are not, from now on.
    ///
    /// # Errors
    /// [`FolderError::Damaged`] and [`FolderError::File`].
    pub fn taken(&self, skill: &SkillId, version: &str) -> Result<(), FolderError> {
        let _locked = self.lock()?;
        let mut marks: Marks = self.read(MARKS)?.unwrap_or_default();
        if marks.taken(skill, version) {
            self.write(MARKS, &marks)?;
        }
        Ok(())
    }

    /// Hands over what was noted; a note that was taken is gone.
    pub(super) fn take_notes(&self, mut take: impl FnMut(SkillTrust) -> bool) {
        let Ok(notes) = std::fs::read_dir(self.dir.join(NOTES)) else { return };
        for path in notes.flatten().map(|entry| entry.path()) {
            let read = bounded(&path).ok().and_then(|bytes| codec::from_slice(&bytes).ok());
            if read.is_none_or(&mut take) {
                // Otherwise it is recorded once more.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    fn install_locked(
        &self,
        carried: &Carried,
        first: Option<Digest>,
        back: Back,
        now: Now,
    ) -> Result<PutInForce, FolderError> {
        let digest = Digest::of(&carried.bytes.0);
        let (file, _) = type_of(&carried.bytes.0).map_err(FolderError::Type)?;
        let loaded = self.load();
        let trust = match (file, first, loaded) {
            (TrustFile::Document, Some(pinned), Ok(None)) => {
                Trust::first(carried.clone(), pinned, now)?
            }
            // Also where what is there can no longer be read.
            (TrustFile::Document, Some(pinned), _) if back == Back::Permitted => {
                Trust::first(carried.clone(), pinned, now)?
            }
            (TrustFile::Document, Some(_), Ok(Some(_))) => return Err(FolderError::NotTheFirst),
            (TrustFile::Document, None, Ok(None)) => return Err(FolderError::First(digest)),
            (TrustFile::Document, None, Ok(Some(held))) => {
                held.trust.succeeded_by(carried.clone(), back, now)?
            }
            (TrustFile::List, _, Ok(None)) => return Err(FolderError::NoDocument),
            (TrustFile::List, _, Ok(Some(held))) => {
                held.trust.revoking(carried.clone(), back, now)?
            }
            // The document may be whole; then the list is what was damaged.
            (TrustFile::List, _, Err(error)) => {
                let document = self.read::<Kept>(DOCUMENT).ok().flatten().ok_or(error)?;
                Trust::kept(document.carried, None)?.revoking(carried.clone(), back, now)?
            }
            (TrustFile::Document, _, Err(error)) => return Err(error),
        };
        let (name, version) = match file {
            TrustFile::Document => (DOCUMENT, trust.document().version),
            TrustFile::List => (LIST, trust.list().map_or(0, |list| list.version)),
        };
        let same = self
            .read::<Kept>(name)
            .is_ok_and(|kept| kept.is_some_and(|kept| kept.carried.bytes == carried.bytes));
        if !same {
            // A list that the new document knows nothing of would make the two unreadable.
            if file == TrustFile::Document && trust.list().is_none() {
                self.remove(LIST)?;
            }
            let permitted = back == Back::Permitted;
            self.write(name, &Kept { carried: carried.clone(), permitted })?;
        }
        Ok(PutInForce { digest, file, same, version })
    }

    fn note(&self, note: &SkillTrust) {
        let dir = self.dir.join(NOTES);
        let waiting = std::fs::read_dir(&dir).map_or(0, Iterator::count);
        let Ok(bytes) = codec::to_vec(note) else { return };
        if waiting >= MAX_NOTES {
            tracing::warn!("{MAX_NOTES} notes wait for the agent; this one is not written");
            return;
        }
        let path = dir.join(format!("{}.cbor", Digest::of(&bytes)));
        let written =
            files::private_dir(&dir).and_then(|()| files::write_whole(&path, &bytes, 0o600));
        if let Err(error) = written {
            tracing::warn!(%error, "a note for the journal is not written");
        }
    }

    fn lock(&self) -> Result<File, FolderError> {
        let path = self.dir.join(LOCK);
        let locked = files::private_dir(&self.dir).and_then(|()| {
            let file = File::options().create(true).append(true).open(&path)?;
            file.lock()?;
            Ok(file)
        });
        locked.map_err(|source| FolderError::File { path, source })
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let path = self.dir.join(name);
        match bounded(&path) {
            Ok(bytes) => codec::from_slice(&bytes)
                .map(Some)
                .map_err(|error| self.damaged(name, error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::File { path, source }),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), FolderError> {
        let path = self.dir.join(name);
        let bytes = codec::to_vec(value).map_err(|error| self.damaged(name, error.to_string()))?;
        files::write_whole(&path, &bytes, 0o600)
            .map_err(|source| FolderError::File { path, source })
    }

    fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.dir.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    fn damaged(&self, name: &str, what: String) -> FolderError {
        FolderError::Damaged { path: self.dir.join(name), what }
    }
}

/// A document or a list and its signatures, of two files.
///
/// # Errors
/// [`FolderError::File`], also where one of them is larger than what is read.
pub fn carried(file: &Path, signatures: &Path) -> Result<Carried, FolderError> {
    let read = |path: &Path| {
        bounded(path).map_err(|source| FolderError::File { path: path.to_owned(), source })
    };
    let bytes = Blob(read(file)?);
    let signatures = String::from_utf8_lossy(&read(signatures)?).into_owned();
    Ok(Carried { bytes, signatures })
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let most = MAX_TRUST_BYTES + MAX_SIGNATURES_BYTES;
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let what = format!("more than {most} bytes: neither a document nor a list");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(bytes)
}

fn type_of(bytes: &[u8]) -> Result<(TrustFile, u32), String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "type")]
        file: TrustFile,
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok((head.file, head.version))
}
