//! Which versions of what the owner signs were in force on this robot: none that is older is
//! again.
//!
//! They are kept twice: in the journal's state, and in a file of their own beside the journal,
//! because a journal that was damaged may come back without its states, or with older ones. The
//! newest of both counts. Each says whether it is whole; what is not says nothing. Where both are
//! lost nobody knows what was in force, and the robot is stopped and vetoed until people lift
//! that, as after any loss of what a journal remembered.

use crate::files;
use nooterra_blackbox::{JournalHandle, StateError};
use nooterra_protocol::codec::{self, Digest};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use tracing::error;

/// Under the state folder: SHA-256 of the rest, and the rest.
const FILE: &str = "versions";

/// What has versions that only rise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Of {
    /// The owner's rules of who may ask for what.
    Authority,
    /// The safety envelope.
    Policy,
}

impl Of {
    /// Where the journal's state has it.
    const fn key(self) -> &'static str {
        match self {
            Self::Authority => "authority.version",
            Self::Policy => "policy.version",
        }
    }
}

/// Why it is not known which versions were in force, or that is not kept.
#[derive(Debug, thiserror::Error)]
pub enum VersionsError {
    /// The file beside the journal cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The journal's state.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The newest versions that were in force.
#[derive(Clone, Debug)]
pub struct Versions {
    journal: JournalHandle,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Kept {
    authority: Option<u32>,
    policy: Option<u32>,
}

impl Kept {
    const fn of(&mut self, what: Of) -> &mut Option<u32> {
        match what {
            Of::Authority => &mut self.authority,
            Of::Policy => &mut self.policy,
        }
    }
}

impl Versions {
    /// Those of the robot with this journal and this state folder.
    #[must_use]
    pub fn new(journal: JournalHandle, state_dir: &Path) -> Self {
        Self { journal, path: state_dir.join(FILE) }
    }

    /// The newest that was in force; `None` where none is known of.
    pub(crate) fn newest(&self, what: Of) -> Result<Option<u32>, VersionsError> {
        let beside = *self.beside().of(what);
        Ok(self.in_journal(what)?.max(beside))
    }

    /// From now on nothing older than `version` is in force again. Returns when both places have
    /// it.
    pub(crate) fn remember(&self, what: Of, version: u32) -> Result<(), VersionsError> {
        let mut kept = self.beside();
        if *kept.of(what) != Some(version) {
            *kept.of(what) = Some(version);
            self.write(kept)
                .map_err(|source| VersionsError::File { path: self.path.clone(), source })?;
        }
        if self.in_journal(what)? != Some(version) {
            self.journal.put_state(what.key(), &version.to_be_bytes())?;
        }
        Ok(())
    }

    fn in_journal(&self, what: Of) -> Result<Option<u32>, StateError> {
        let stored = self.journal.get_state(what.key())?;
        Ok(stored.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?))))
    }

    /// What the file says: nothing before it was first written, and nothing where it is damaged.
    fn beside(&self) -> Kept {
        let read = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Kept::default(),
            Err(error) => Err(error.to_string()),
            Ok(bytes) => whole(&bytes).ok_or_else(|| "it is damaged".to_owned()),
        };
        read.unwrap_or_else(|why| {
            let path = self.path.display();
            error!(%path, why, "which versions were in force only the journal knows");
            Kept::default()
        })
    }

    fn write(&self, kept: Kept) -> io::Result<()> {
        let kept = codec::to_vec(&kept).map_err(io::Error::other)?;
        let bytes = [&Digest::of(&kept).as_bytes()[..], &kept].concat();
        files::write_whole(&self.path, &bytes, 0o600)
    }
}

/// What the file holds, if its bytes are those that were written.
fn whole(bytes: &[u8]) -> Option<Kept> {
    let (sha256, kept) = bytes.split_first_chunk::<32>()?;
    let is_whole = Digest::of(kept) == Digest::from_bytes(*sha256);
    is_whole.then(|| codec::from_slice(kept).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_blackbox::{Clock, Journal, Options};
    use nooterra_protocol::keys::{Es256Key, Signer};
    use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
    use std::sync::Arc;

    struct Still;

    impl Clock for Still {
        fn stamp(&self) -> Stamp {
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) }
        }
    }

    /// A robot with a new journal, whatever lies beside it.
    fn with_new_journal(dir: &Path) -> (Journal, Versions, tempfile::TempDir) {
        let signer: Arc<dyn Signer> = Arc::new(Es256Key::from_seed([3; 32]).unwrap());
        let options = Options::new(Arc::new(Still), signer, Digest::ZERO);
        let at = tempfile::tempdir().unwrap();
        let journal = Journal::open(&at.path().join("journal"), options).unwrap().journal;
        let versions = Versions::new(journal.handle(), dir);
        (journal, versions, at)
    }

    #[test]
    fn either_place_alone_still_knows_and_of_both_the_newer_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (_journal, versions, _at) = with_new_journal(dir.path());
        assert_eq!(versions.newest(Of::Policy).unwrap(), None);
        versions.remember(Of::Policy, 5).unwrap();
        versions.remember(Of::Authority, 2).unwrap();
        let known = |versions: &Versions| {
            [Of::Authority, Of::Policy].map(|what| versions.newest(what).unwrap())
        };
        assert_eq!(known(&versions), [Some(2), Some(5)]);
        // The journal's states are lost.
        let (_new, without_states, _at) = with_new_journal(dir.path());
        assert_eq!(known(&without_states), [Some(2), Some(5)]);
        // They came back older than they were.
        without_states.remember(Of::Policy, 6).unwrap();
        without_states.journal.put_state(Of::Policy.key(), &4_u32.to_be_bytes()).unwrap();
        assert_eq!(known(&without_states)[1], Some(6));
        // The file is lost, or a byte of it is another.
        let file = dir.path().join(FILE);
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(known(&versions), [Some(2), Some(5)], "byte {at}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(known(&versions), [Some(2), Some(5)]);
        // And is written anew although nothing is newer.
        versions.remember(Of::Policy, 5).unwrap();
        let (_new, without_states, _at) = with_new_journal(dir.path());
        assert_eq!(known(&without_states), [None, Some(5)]);
    }
}
