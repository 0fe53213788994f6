//! The job under way, in a file that survives restarts: replaced as a whole at each step.

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

    /// The job that was under way when the agent ended.
    pub(super) fn load(&self) -> Option<Progress> {
        let bytes = std::fs::read(&self.path).ok()?;
        match codec::from_slice(&bytes) {
            Ok(progress) => Some(progress),
            Err(error) => {
                // Written whole or not at all, so this is a damaged disk or another release.
                error!(%error, path = %self.path.display(), "the job under way cannot be read; it is given up");
                None
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
        assert_eq!(memory.load(), None);
        let progress = Progress {
            job: JobId::new("job-1").unwrap(),
            next_step: 2,
            plan: Plan { steps: vec![] },
            resumes: 1,
            started: true,
        };
        memory.store(&progress).unwrap();
        assert_eq!(Memory::new(dir.path()).load(), Some(progress));
        memory.clear();
        assert_eq!(memory.load(), None);
    }
}
