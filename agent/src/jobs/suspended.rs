//! The state of the skill under way, in a file that survives restarts.
//!
//! It is not in the journal: it follows from what the skill saw, which is. The journal says
//! from which state a skill went on, by its hash.

use crate::files;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::MonoNanos;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::warn;

/// Between two writes: what a power cut can take of a skill's memory.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Where a skill's thread leaves its latest state; a newer one replaces it.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<Left>>);

#[derive(Debug, Default)]
struct Left {
    /// One of those that were put since the last was taken is to be written at once.
    at_once: bool,
    state: Option<Vec<u8>>,
}

impl Slot {
    pub(super) fn put(&self, state: &[u8], at_once: bool) {
        let mut left = self.lock();
        left.at_once |= at_once;
        left.state = Some(state.to_vec());
    }

    fn take(&self) -> Option<Vec<u8>> {
        std::mem::take(&mut *self.lock()).state
    }

    fn is_pressing(&self) -> bool {
        self.lock().at_once
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state and whose it is: of no other step, job or bundle it means anything.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    bundle: Digest,
    job: JobId,
    /// Index of the step in the plan.
    place: u32,
    state: Blob,
}

/// The file.
#[derive(Debug)]
pub(super) struct Suspended {
    path: PathBuf,
    written: Option<MonoNanos>,
}

impl Suspended {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("skill-state.cbor"), written: None }
    }

    /// What a step of a job has left behind; empty where that is nothing.
    pub(super) fn load(&self, job: &JobId, place: u32, bundle: Digest) -> Vec<u8> {
        let Ok(bytes) = std::fs::read(&self.path) else { return Vec::new() };
        match codec::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.job == *job && kept.place == place && kept.bundle == bundle => {
                kept.state.0
            }
            Ok(_) => Vec::new(),
            Err(error) => {
                warn!(%error, path = %self.path.display(), "a skill's state cannot be read; it begins anew");
                Vec::new()
            }
        }
    }

    /// Writes down what is in the slot, if that is due; at the end of the agent it always is, and
    /// so it is where a graph moved.
    pub(super) fn keep(
        &mut self,
        slot: &Slot,
        now: Option<MonoNanos>,
        job: &JobId,
        place: u32,
        bundle: Digest,
    ) {
        let age = |now: MonoNanos| self.written.and_then(|written| now.since(written));
        let young = now.and_then(age).is_some_and(|age| age < WRITE_EVERY);
        if young && !slot.is_pressing() {
            return;
        }
        let Some(state) = slot.take() else { return };
        self.written = now;
        let kept = Kept { bundle, job: job.clone(), place, state: Blob(state) };
        let written = codec::to_vec(&kept)
            .map_err(std::io::Error::other)
            .and_then(|bytes| files::write_whole(&self.path, &bytes, 0o600));
        if let Err(error) = written {
            warn!(%error, path = %self.path.display(), "a skill's state is not kept; after a restart it goes on from an older one");
        }
    }

    /// The step is over.
    pub(super) fn clear(&mut self) {
        self.written = None;
        // Where it stays it is of a step that does not come again.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_by_its_own_step_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (job, other) = (JobId::new("job-1").unwrap(), JobId::new("job-2").unwrap());
        let bundle = Digest::of(b"bundle");
        let (slot, mut suspended) = (Slot::default(), Suspended::new(dir.path()));
        slot.put(b"one", false);
        slot.put(b"two", false);
        suspended.keep(&slot, None, &job, 3, bundle);
        let again = Suspended::new(dir.path());
        assert_eq!(again.load(&job, 3, bundle), b"two");
        assert_eq!(again.load(&job, 2, bundle), b"");
        assert_eq!(again.load(&other, 3, bundle), b"");
        assert_eq!(again.load(&job, 3, Digest::ZERO), b"");
        suspended.clear();
        assert_eq!(again.load(&job, 3, bundle), b"");
    }

    #[test]
    fn it_is_written_once_a_second_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (job, bundle) = (JobId::new("job-1").unwrap(), Digest::ZERO);
        let (slot, mut suspended) = (Slot::default(), Suspended::new(dir.path()));
        let at = |ms: u64| Some(MonoNanos(ms * 1_000_000));
        for (now, state, kept) in [(at(0), 0, 0), (at(999), 1, 0), (at(1000), 2, 2), (None, 3, 3)] {
            slot.put(&[state], false);
            suspended.keep(&slot, now, &job, 0, bundle);
            assert_eq!(suspended.load(&job, 0, bundle), [kept], "{now:?}");
        }
    }

    #[test]
    fn a_move_of_a_graph_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (job, bundle) = (JobId::new("job-1").unwrap(), Digest::ZERO);
        let (slot, mut suspended) = (Slot::default(), Suspended::new(dir.path()));
        for (ms, state, at_once, kept) in [(0, 0, false, 0), (10, 1, true, 1), (20, 2, false, 1)] {
            slot.put(&[state], at_once);
            suspended.keep(&slot, Some(MonoNanos(ms * 1_000_000)), &job, 0, bundle);
            assert_eq!(suspended.load(&job, 0, bundle), [kept], "{ms}");
        }
    }

    #[test]
    fn a_damaged_file_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("skill-state.cbor"), b"\xff\xff").unwrap();
        let suspended = Suspended::new(dir.path());
        assert_eq!(suspended.load(&JobId::new("job-1").unwrap(), 0, Digest::ZERO), b"");
    }
}
