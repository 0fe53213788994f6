//! That the job under way is held, in a file: it stays held when the agent starts anew.
//!
//! The file is there before the command that holds the job is done, and it names the job, so that
//! what is left of an earlier one holds no other. It says so until the job has said that it goes
//! on: whoever waits for that hears it, also when the agent is ended in between.

use crate::files;
use nooterra_protocol::ids::JobId;
use std::path::{Path, PathBuf};
use tracing::error;

/// How a job stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hold {
    /// Nobody holds it.
    Free,
    /// It was let go, and has not said so yet.
    GoingOn,
    /// Somebody holds it: the robot rests, and the job stays.
    Held,
}

/// After the job's name: it was let go.
const GOING_ON: &str = "\ngoing on";

/// The file.
#[derive(Debug)]
pub(super) struct Held(PathBuf);

impl Held {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("job-held"))
    }

    /// How `job` stands. A file that cannot be read holds whatever there is: a robot that rests
    /// does no harm.
    pub(super) fn of(&self, job: &JobId) -> Hold {
        match std::fs::read_to_string(&self.0) {
            Ok(named) if named == job.as_str() => Hold::Held,
            Ok(named) if named.strip_suffix(GOING_ON) == Some(job.as_str()) => Hold::GoingOn,
            Ok(_) => Hold::Free,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Hold::Free,
            Err(_) => Hold::Held,
        }
    }

    pub(super) fn hold(&self, job: &JobId) {
        self.write(job.as_str());
    }

    pub(super) fn go_on(&self, job: &JobId) {
        self.write(&format!("{job}{GOING_ON}"));
    }

    fn write(&self, text: &str) {
        if let Err(error) = files::write_whole(&self.0, text.as_bytes(), 0o600) {
            error!(%error, path = %self.0.display(), "whether the job is held is not kept");
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
        assert_eq!(held.of(&one), Hold::Free);
        held.hold(&one);
        let again = Held::new(dir.path());
        assert_eq!((again.of(&one), again.of(&two)), (Hold::Held, Hold::Free));
        again.go_on(&one);
        assert_eq!((held.of(&one), held.of(&two)), (Hold::GoingOn, Hold::Free));
        again.let_go();
        again.let_go();
        assert_eq!(again.of(&one), Hold::Free);
    }
}
