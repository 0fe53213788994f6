//! What the running agent says of itself, every few seconds, in a file of its state folder: for
//! `nooterra-agent status`, without a door into the process.
//!
//! The file is replaced as a whole and never synced: after a power cut it is old or gone, and
//! nothing depends on it. What must be proved is in the journal.

use crate::files;
use crate::start;
use nooterra_blackbox::flight::FlightState;
use nooterra_blackbox::{JournalHandle, Usage, is_locked};
use nooterra_protocol::ids::{JobId, RobotId};
use nooterra_protocol::time::Stamp;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two writings.
pub const EVERY: Duration = Duration::from_secs(5);

/// Under the state folder.
const FILE: &str = "status.json";

/// What is said.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// When it was said.
    pub at: Stamp,
    /// What journals that were put aside take on the disk.
    pub aside_bytes: u64,
    /// Which start of the agent.
    pub boot: u64,
    /// The bound on the disk for journal and journals that were put aside.
    pub disk_bound_bytes: u64,
    /// The flight recorder, where there is one.
    pub flight: Option<FlightState>,
    /// The job under way.
    pub job: Option<JobId>,
    /// What the journal takes; `None` where the file system does not say.
    pub journal: Option<Usage>,
    /// Its process.
    pub pid: u32,
    /// Why nothing is recorded any more.
    pub poisoned: Option<String>,
    /// Records in the journal.
    pub records: u64,
    /// Which robot.
    pub robot: RobotId,
    /// Ticks of the control loop since the start.
    pub ticks: u64,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// What is there is none: another release wrote it.
    #[error("{}: {source}; start the agent of this release", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// No agent has said anything, or the file cannot be read.
    #[error("{}: {source}; has an agent run with this configuration?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Status {
    /// What was said last.
    ///
    /// # Errors
    /// [`StatusError`].
    pub fn read(state_dir: &Path) -> Result<Self, StatusError> {
        let path = state_dir.join(FILE);
        let text = std::fs::read(&path)
            .map_err(|source| StatusError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| StatusError::Form { path, source })
    }

    /// Says it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, state_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let mut file = files::temporary_in(state_dir, 0o600)?;
        file.write_all(&text)?;
        file.persist(state_dir.join(FILE)).map(drop).map_err(|error| error.error)
    }

    /// The process that said it still runs: there is one of its number, which after a crash or a
    /// boot may be any other, and one that has the journal open.
    #[must_use]
    pub fn is_alive(&self, journal_dir: &Path) -> bool {
        let pid = i32::try_from(self.pid).map(nix::unistd::Pid::from_raw);
        let probe = pid.map(|pid| nix::sys::signal::kill(pid, None));
        let is_there = matches!(probe, Ok(Ok(()) | Err(nix::errno::Errno::EPERM)));
        is_there && is_locked(journal_dir)
    }
}

/// What a [`Status`] is made of.
pub(crate) struct Sources {
    pub(crate) boot: u64,
    pub(crate) disk_bound_bytes: u64,
    pub(crate) flight: Option<Box<dyn Fn() -> FlightState + Send + Sync>>,
    pub(crate) journal: JournalHandle,
    pub(crate) journal_dir: PathBuf,
    pub(crate) robot: RobotId,
    pub(crate) state_dir: PathBuf,
}

impl Sources {
    /// Says how everything stands now.
    pub(crate) fn say(&self, at: Stamp, ticks: u64, job: Option<JobId>) {
        let status = Status {
            at,
            aside_bytes: start::aside_bytes(&self.journal_dir),
            boot: self.boot,
            disk_bound_bytes: self.disk_bound_bytes,
            flight: self.flight.as_ref().map(|state| state()),
            job,
            journal: self.journal.usage().ok(),
            pid: std::process::id(),
            poisoned: self.journal.poisoned(),
            records: self.journal.records(),
            robot: self.robot.clone(),
            ticks,
        };
        if let Err(error) = status.write(&self.state_dir) {
            tracing::debug!(%error, "the status is not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::time::{ClockTrust, MonoNanos, WallMillis};

    #[test]
    fn another_process_of_the_same_number_is_not_the_agent_that_wrote_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mono, wall) = (MonoNanos(1), WallMillis(1));
        let status = Status {
            at: Stamp { mono, trust: ClockTrust::Network, wall },
            aside_bytes: 0,
            boot: 1,
            disk_bound_bytes: 0,
            flight: None,
            job: None,
            journal: None,
            pid: std::process::id(),
            poisoned: None,
            records: 0,
            robot: RobotId::new("amr-1").unwrap(),
            ticks: 0,
        };
        status.write(dir.path()).unwrap();
        let said = Status::read(dir.path()).unwrap();
        assert!(!said.is_alive(&dir.path().join("journal")), "nobody has the journal open");
        let lock = std::fs::File::create(dir.path().join("journal.lock")).unwrap();
        lock.lock().unwrap();
        assert!(said.is_alive(&dir.path().join("journal")));
    }
}
