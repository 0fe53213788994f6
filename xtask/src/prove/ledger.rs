//! Which seeds were tried, at which commit, and which failed.

use super::shown;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Of one area.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    runs: Vec<Run>,
}

/// Seeds in a row, all of one commit and one outcome.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Run {
    commit: String,
    /// Of a fuzzer: inputs that were tried.
    #[serde(default)]
    executions: u64,
    first: u64,
    held: bool,
    last: u64,
}

impl Ledger {
    /// An empty one where there is no file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", shown(path)))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not understood; remove it to begin anew", shown(path)))
    }

    pub(crate) fn store(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(path);
        let text = serde_json::to_string_pretty(self).context("cannot encode the ledger")?;
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(path, text))
            .with_context(|| format!("cannot write {}", shown(path)))
    }

    /// The first seed beyond all that were tried.
    pub(crate) fn next(&self) -> u64 {
        self.runs.iter().map(|run| run.last).max().map_or(1, |last| last.saturating_add(1))
    }

    /// Adds one seed; in a row with the last run where it can be.
    pub(crate) fn note(&mut self, seed: u64, commit: &str, held: bool) {
        let follows = |run: &&mut Run| {
            run.commit == commit && run.held == held && run.last.checked_add(1) == Some(seed)
        };
        match self.runs.last_mut().filter(follows) {
            Some(run) => run.last = seed,
            None => {
                let commit = commit.to_owned();
                self.runs.push(Run { commit, executions: 0, first: seed, held, last: seed });
            }
        }
    }

    /// Adds what a fuzzer tried with the seed that was noted last.
    pub(crate) fn add_executions(&mut self, executions: u64) {
        if let Some(run) = self.runs.last_mut() {
            run.executions = run.executions.saturating_add(executions);
        }
    }

    /// What a fuzzer has tried so far.
    pub(crate) fn executions(&self) -> u64 {
        self.runs.iter().map(|run| run.executions).fold(0, u64::saturating_add)
    }

    /// Seeds tried, repeated ones as often as they were.
    pub(crate) fn tried(&self) -> u64 {
        self.runs.iter().map(Run::count).fold(0, u64::saturating_add)
    }

    /// Those of them that failed.
    pub(crate) fn failed(&self) -> u64 {
        let failed = self.runs.iter().filter(|run| !run.held);
        failed.map(Run::count).fold(0, u64::saturating_add)
    }
}

impl Run {
    /// At least 1, also in a file that somebody edited.
    fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_in_a_row_are_one_run_and_the_next_was_never_tried() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.next(), 1);
        for seed in 1..=5 {
            ledger.note(seed, "abc", seed != 4);
        }
        assert_eq!((ledger.runs.len(), ledger.next()), (3, 6));
        assert_eq!((ledger.tried(), ledger.failed()), (5, 1));
        ledger.note(6, "def", true);
        ledger.note(4, "def", true);
        assert_eq!((ledger.runs.len(), ledger.next(), ledger.tried()), (5, 7, 7));
    }

    #[test]
    fn the_ends_of_the_scale_do_not_overflow() {
        let mut ledger = Ledger::default();
        ledger.note(u64::MAX, "abc", true);
        ledger.note(0, "abc", false);
        let commit = String::new();
        ledger.runs.push(Run { commit, executions: u64::MAX, first: 9, held: true, last: 3 });
        ledger.add_executions(7);
        assert_eq!(ledger.executions(), u64::MAX);
        assert_eq!((ledger.next(), ledger.tried()), (u64::MAX, 3));
    }

    #[test]
    fn it_comes_back_from_its_file_and_anything_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/gate.json");
        let mut ledger = Ledger::load(&path).unwrap();
        ledger.note(3, "abc", true);
        ledger.store(&path).unwrap();
        assert_eq!(Ledger::load(&path).unwrap(), ledger);
        std::fs::write(&path, "{}").unwrap();
        assert!(format!("{:#}", Ledger::load(&path).unwrap_err()).contains("remove it"));
    }
}
