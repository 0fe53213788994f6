//! The job under way, in a file that survives restarts: replaced as a whole at each step.
//!
//! One that cannot be read is no job that can go on, and no reason to say nothing: the runner
//! states the job's end, and the file stays beside as `job-unreadable-1.cbor` for whoever wants to
//! know why, the last [`MAX_ASIDE`] of them.

use crate::files;
use nooterra_protocol::codec;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::plan::Plan;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tracing::error;

/// How often a job is taken up again within one step before it is aborted: a step that
/// brings the agent down each time must not do so for ever.
pub(super) const MAX_RESUMES: u32 = 3;

/// So many unreadable files are kept; the newest has the number 1.
const MAX_ASIDE: u32 = 4;

/// Where a job stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) job: JobId,
    /// Index of the step that is to be done, or is under way.
    pub(super) next_step: u32,
    pub(super) plan: Plan,
    /// How often the agent started anew within this step.
    pub(super) resumes: u32,
    /// The robot has stated that it began.
    pub(super) started: bool,
}

/// The file.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
}

impl Memory {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("job.cbor") }
    }

    /// The job that was under way when the agent ended, or why that cannot be said.
    pub(super) fn load(&self) -> Result<Option<Progress>, String> {
        match std::fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
            // Written whole or not at all, so this is a damaged disk or another release.
            Ok(bytes) => codec::from_slice(&bytes).map(Some).map_err(|error| error.to_string()),
        }
    }

    /// Keeps a file that cannot be read for inspection, out of the way of the next job.
    pub(super) fn put_aside(&self) {
        let aside = |nth: u32| self.path.with_file_name(format!("job-unreadable-{nth}.cbor"));
        let older = (1..MAX_ASIDE).rev().map(|nth| (aside(nth), aside(nth + 1)));
        for (from, to) in older.chain([(self.path.clone(), aside(1))]) {
            match std::fs::rename(&from, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    error!(%error, path = %from.display(), "an unreadable file is not kept");
                }
            }
        }
    }

    pub(super) fn store(&self, progress: &Progress) -> std::io::Result<()> {
        let bytes = codec::to_vec(progress).map_err(std::io::Error::other)?;
        files::write_whole(&self.path, &bytes, 0o600)
    }

    pub(super) fn clear(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            error!(%error, path = %self.path.display(), "a finished job's file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_under_way_is_found_again_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path());
        assert_eq!(memory.load(), Ok(None));
        let progress = Progress {
            job: JobId::new("job-1").unwrap(),
            next_step: 2,
            plan: Plan { steps: vec![] },
            resumes: 1,
            started: true,
        };
        memory.store(&progress).unwrap();
        assert_eq!(Memory::new(dir.path()).load(), Ok(Some(progress)));
        memory.clear();
        assert_eq!(memory.load(), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_the_last_few_of_it_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path());
        for nth in 1..=6_u8 {
            std::fs::write(dir.path().join("job.cbor"), [0xff, nth]).unwrap();
            assert!(memory.load().is_err());
            memory.put_aside();
            assert_eq!(memory.load(), Ok(None), "it is out of the way");
        }
        let kept = (1..=4).map(|nth| {
            std::fs::read(dir.path().join(format!("job-unreadable-{nth}.cbor"))).unwrap()[1]
        });
        assert_eq!(kept.collect::<Vec<_>>(), [6, 5, 4, 3]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
