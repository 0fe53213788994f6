//! The skills that are installed on this robot: which version of each has proven itself, which
//! one before it is kept, which is on trial, and which are given up.
//!
//! ```text
//! skills/DIGEST.noot, DIGEST.noot.minisig   a bundle and its signature, each written whole
//! skills/installed.cbor                     the register: replaced as a whole, after the files
//! skills/compiled.key, compiled/            compiled code, and the key that authenticates it
//! skills/lock                               held by whoever changes any of it
//!
//! a plan names it, or `skill install`       -> on trial      the active one stays beside it
//! 50 steps, or its action done              -> active        what was active is the one before
//! crash, late, no instance                  -> given up      no plan starts it here any more
//! 3 starts in a row without any end         -> given up
//! `skill rollback`                         -> given up      the one before is active again
//! ```
//! A plan names its skill's version by hash, and the robot never runs another in its place: a job
//! whose version fails its trial is aborted. What is kept is what the next plan may name, also
//! while no cloud is to be reached.
//!
//! Each change and the record of it are one write of one file. Whenever the power goes, a version
//! is in the register or not, and what is in the register was put on the disk before; what the disk
//! has lost since is fetched again. The records wait there until the agent has them in its journal
//! ([`Installed::record`]).
//!
//! # What it never does
//! It judges no bundle: whoever gives it one has verified it, and it is verified again at each
//! use. It starts nothing.

mod code;
mod register;
#[cfg(test)]
#[cfg(feature = "tools")]
mod tests;

pub use register::{GivenUp, MAX_SKILLS, MAX_STARTS, Slots, Standing, Trial, Version};

use crate::files;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill_install::SkillInstall;
use nooterra_skill_host::Bundle;
use register::Register;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A version has proven itself after so many steps. A second at 50 Hz, ten at the usual period:
/// past its first turn, its first scan and its first checkpoint.
pub const PROVING_STEPS: u64 = 50;

/// The largest register that is read, bytes; one that is full has a tenth of it.
const MAX_REGISTER_BYTES: u64 = 4 * 1024 * 1024;

/// So many records may wait for the agent; a person's command that would add to them is refused.
const MAX_UNSAID: usize = 64;

/// Whoever holds the lock has it for a few milliseconds.
const LOCK_TRIES: u32 = 500;
const LOCK_EVERY: Duration = Duration::from_millis(10);

const REGISTER: &str = "installed.cbor";

/// Why a version is not installed, not taken back, or not run.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file of the folder cannot be read or written: no space, or another user's.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It failed its trial here, or a person rolled it back.
    #[error(
        "skill {skill} {version} is given up on this robot: {reason}; plan another version, or \
         install it again with `nooterra-agent skill install`"
    )]
    GivenUp {
        /// Why.
        reason: String,
        /// Of which skill.
        skill: SkillId,
        /// As its manifest has it.
        version: String,
    },
    /// Another process changes it and does not come to an end.
    #[error("{}: another process holds it; see whether `nooterra-agent skill` hangs", .0.display())]
    Held(PathBuf),
    /// There is no version to go back to.
    #[error(
        "skill {0} has no version on trial and none that ran before the active one; \
         `nooterra-agent skill installed` shows what there is"
    )]
    Nothing(SkillId),
    /// Too many records wait for the journal.
    #[error("{MAX_UNSAID} steps are not in the journal yet; start the agent, which records them")]
    Unrecorded,
}

/// The folder of installed skills.
#[derive(Clone, Debug)]
pub struct Installed {
    dir: PathBuf,
}

/// What a rollback changed.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct RolledBack {
    /// Given up.
    pub from: Version,
    /// Active now; absent where nothing has proven itself.
    pub to: Option<Version>,
}

impl Installed {
    /// In this folder; it is made when something is put there.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bytes and the signature of a bundle, as they are on the disk.
    #[must_use]
    pub fn read(&self, bundle: Digest) -> Option<(Vec<u8>, String)> {
        let [bytes, signature] = self.files(bundle);
        std::fs::read(bytes).ok().zip(std::fs::read_to_string(signature).ok())
    }

    /// Keeps a verified bundle's files. Nothing runs by this; until a plan's step begins or
    /// somebody installs it, [`Installed::tidy`] may remove them.
    ///
    /// # Errors
    /// [`InstallError`]
    pub fn keep(&self, bundle: &Bundle, signature: &str) -> Result<(), InstallError> {
        let _lock = self.lock()?;
        self.write(bundle, signature)
    }

    /// Keeps a verified bundle and puts it on trial, where it has not proven itself before. One
    /// that was given up is tried again. For people; the record says so by `why`.
    ///
    /// # Errors
    /// [`InstallError`]: what there was is there.
    pub fn install(
        &self,
        bundle: &Bundle,
        signature: &str,
        why: &str,
    ) -> Result<Standing, InstallError> {
        let (skill, version) = version_of(bundle);
        let _lock = self.lock()?;
        let mut register = self.load();
        room_to_say(&register)?;
        let standing = register.install(&skill, &version, why);
        self.write(bundle, signature)?;
        self.store(&register)?;
        Ok(standing)
    }

    /// Whether a version may be started here.
    ///
    /// # Errors
    /// [`InstallError::GivenUp`]
    pub fn may_start(&self, bundle: &Bundle) -> Result<(), InstallError> {
        let (skill, version) = version_of(bundle);
        match self.load().given_up(&skill, version.bundle) {
            Some(given_up) => Err(refused(&skill, given_up.clone())),
            None => Ok(()),
        }
    }

    /// A plan's step begins with this version: before it is started. A start on trial is counted
    /// here, durably.
    ///
    /// # Errors
    /// [`InstallError`]: it is not to be started.
    pub fn begin(&self, bundle: &Bundle) -> Result<Standing, InstallError> {
        let (skill, version) = version_of(bundle);
        self.change(|register| register.begin(&skill, &version))?
            .map_err(|given_up| refused(&skill, given_up))
    }

    /// What is on trial has proven itself.
    ///
    /// # Errors
    /// [`InstallError`]: it is still on trial.
    pub fn proven(&self, bundle: &Bundle, why: &str) -> Result<(), InstallError> {
        let (skill, version) = version_of(bundle);
        self.change(|register| register.proven(&skill, version.bundle, why))
    }

    /// What is on trial came to an end in order, such as a no of its own or a job that was
    /// cancelled: it stays on trial.
    ///
    /// # Errors
    /// [`InstallError`]: its start was counted.
    pub fn answered(&self, bundle: &Bundle) -> Result<(), InstallError> {
        let (skill, version) = version_of(bundle);
        self.change(|register| register.answered(&skill, version.bundle))
    }

    /// What is on trial is given up.
    ///
    /// # Errors
    /// [`InstallError`]: it is still on trial, and its start was counted.
    pub fn failed(&self, bundle: &Bundle, why: &str) -> Result<(), InstallError> {
        let (skill, version) = version_of(bundle);
        self.change(|register| register.failed(&skill, version.bundle, why))
    }

    /// Gives up what is on trial, or else what is active, and goes back to the one before. What
    /// runs at this moment goes on to the end of its step.
    ///
    /// # Errors
    /// [`InstallError`]
    pub fn roll_back(&self, skill: &SkillId, why: &str) -> Result<RolledBack, InstallError> {
        let _lock = self.lock()?;
        let mut register = self.load();
        room_to_say(&register)?;
        let rolled_back = register.roll_back(skill, why);
        let (from, to) = rolled_back.ok_or_else(|| InstallError::Nothing(skill.clone()))?;
        self.store(&register)?;
        Ok(RolledBack { from, to })
    }

    /// All skills and their versions, for people.
    ///
    /// # Errors
    /// [`InstallError::File`] where it may not be read: often another user's.
    pub fn status(&self) -> Result<BTreeMap<SkillId, Slots>, InstallError> {
        let path = self.dir.join(REGISTER);
        match File::open(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(broken(&path, source)),
            _ => Ok(self.load().skills),
        }
    }

    /// Hands over the steps that are not in the journal yet, in order, until `append` says that
    /// one is not durable there; those before it are forgotten after that, the others come again.
    ///
    /// # Errors
    /// [`InstallError`]: all come again.
    pub fn record(&self, append: impl FnMut(SkillInstall) -> bool) -> Result<(), InstallError> {
        let said = self.load().unsaid.into_iter().map(append).take_while(|said| *said).count();
        if said > 0 {
            // Others only add at the end.
            self.change(|register| {
                register.unsaid.drain(..said.min(register.unsaid.len()));
            })?;
        }
        Ok(())
    }

    /// Removes files that are of no version in the register: what a cut left behind, and what was
    /// given up or replaced.
    ///
    /// # Errors
    /// [`InstallError`]
    pub fn tidy(&self) -> Result<(), InstallError> {
        let _lock = self.lock()?;
        let kept: Vec<PathBuf> =
            self.load().kept().into_iter().flat_map(|bundle| self.files(bundle)).collect();
        let unread = |source| broken(&self.dir, source);
        for entry in std::fs::read_dir(&self.dir).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let ours = name.ends_with(".noot") || name.ends_with(".minisig");
            // `files::write_whole` writes under such a name before it moves the file.
            let left = name.starts_with(".tmp");
            if (ours || left) && path.is_file() && !kept.contains(&path) {
                std::fs::remove_file(&path).map_err(|source| broken(&path, source))?;
            }
        }
        Ok(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Register) -> T) -> Result<T, InstallError> {
        let _lock = self.lock()?;
        let before = self.load();
        let mut register = before.clone();
        let result = change(&mut register);
        if register != before {
            self.store(&register)?;
        }
        Ok(result)
    }

    fn write(&self, bundle: &Bundle, signature: &str) -> Result<(), InstallError> {
        let [file, minisig] = self.files(bundle.digest());
        for (path, bytes) in [(file, bundle.bytes()), (minisig, signature.as_bytes())] {
            files::write_whole(&path, bytes, 0o600).map_err(|source| broken(&path, source))?;
        }
        Ok(())
    }

    /// The register. One that cannot be read is no reason to run no skill for ever: each version
    /// is new again then, and the journal says so.
    fn load(&self) -> Register {
        let path = self.dir.join(REGISTER);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Register::default(),
            Err(error) => return Register::lost(&format!("{REGISTER} cannot be read: {error}")),
        };
        match codec::from_slice::<Register>(&bytes) {
            Ok(register) if register.is_known() => register,
            Ok(_) => Register::lost(&format!("{REGISTER} is of another release")),
            Err(error) => Register::lost(&format!("{REGISTER} is damaged: {error}")),
        }
    }

    fn store(&self, register: &Register) -> Result<(), InstallError> {
        let path = self.dir.join(REGISTER);
        codec::to_vec(register)
            .map_err(io::Error::other)
            .and_then(|bytes| files::write_whole(&path, &bytes, 0o600))
            .map_err(|source| broken(&path, source))
    }

    fn files(&self, bundle: Digest) -> [PathBuf; 2] {
        [format!("{bundle}.noot"), format!("{bundle}.noot.minisig")].map(|name| self.dir.join(name))
    }

    fn lock(&self) -> Result<File, InstallError> {
        let path = self.dir.join("lock");
        let open = || {
            files::private_dir(&self.dir)?;
            File::options().create(true).append(true).open(&path)
        };
        let file = open().map_err(|source| broken(&path, source))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_EVERY),
                Err(TryLockError::Error(source)) => return Err(broken(&path, source)),
            }
        }
        Err(InstallError::Held(path))
    }
}

fn broken(path: &Path, source: io::Error) -> InstallError {
    InstallError::File { path: path.to_owned(), source }
}

fn version_of(bundle: &Bundle) -> (SkillId, Version) {
    let manifest = bundle.manifest();
    let version = Version { bundle: bundle.digest(), version: manifest.version.clone() };
    (manifest.id.clone(), version)
}

fn refused(skill: &SkillId, given_up: GivenUp) -> InstallError {
    let GivenUp { of, reason } = given_up;
    InstallError::GivenUp { reason, skill: skill.clone(), version: of.version }
}

fn room_to_say(register: &Register) -> Result<(), InstallError> {
    if register.unsaid.len() >= MAX_UNSAID { Err(InstallError::Unrecorded) } else { Ok(()) }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_REGISTER_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
