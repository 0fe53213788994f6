//! That the job under way is held, in a file: it stays held when the agent starts anew.
//!
//! The file is there before the command that holds the job is done, and it names the job, so that
//! what is left of an earlier one holds no other.

use crate::files;
use nooterra_protocol::ids::JobId;
use std::path::{Path, PathBuf};
use tracing::error;

/// The file.
#[derive(Debug)]
pub(super) struct Held(PathBuf);

impl Held {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("job-held"))
    }

    /// Whether `job` is held. A file that cannot be read holds whatever there is: a robot that
    /// rests does no harm.
    pub(super) fn holds(&self, job: &JobId) -> bool {
        match std::fs::read_to_string(&self.0) {
            Ok(named) => named == job.as_str(),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }

    pub(super) fn hold(&self, job: &JobId) {
        if let Err(error) = files::write_whole(&self.0, job.as_str().as_bytes(), 0o600) {
            error!(%error, path = %self.0.display(), "the job is held, and not after a restart");
        }
    }

    pub(super) fn let_go(&self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            error!(%error, path = %self.0.display(), "the file that holds a job stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_held_until_it_is_let_go_and_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (JobId::new("job-1").unwrap(), JobId::new("job-2").unwrap());
        let held = Held::new(dir.path());
        assert!(!held.holds(&one));
        held.hold(&one);
        let again = Held::new(dir.path());
        assert!(again.holds(&one) && !again.holds(&two));
        again.let_go();
        again.let_go();
        assert!(!again.holds(&one));
    }
}
