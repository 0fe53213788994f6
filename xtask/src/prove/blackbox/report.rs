//! What was seen, for people and for scripts.

use super::parts::Part;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Of one promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Failed,
    Held,
    /// Something that it needs is not there.
    NotShown,
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            Self::Held => "held",
            Self::NotShown => "not shown",
        }
    }
}

/// What came of one promise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) part: &'static str,
    claim: &'static str,
    asked: &'static str,
    pub(super) verdict: Verdict,
    /// What was done and found, in lines.
    pub(super) seen: Vec<String>,
    /// All that a failed test said.
    pub(super) said: Vec<String>,
    pub(super) seconds: f64,
    seed: u64,
}

impl Outcome {
    pub(super) const fn of(part: Part, seed: u64) -> Self {
        Self {
            part: part.name(),
            claim: part.claim(),
            asked: part.asked(),
            verdict: Verdict::Held,
            seen: Vec::new(),
            said: Vec::new(),
            seconds: 0.0,
            seed,
        }
    }

    pub(super) fn skip(&mut self, why: &str) {
        self.verdict = Verdict::NotShown;
        self.seen.push(why.to_owned());
    }
}

/// Of a whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) commit: String,
    /// Only a share of the cases was tried.
    pub(super) quick: bool,
    pub(super) seed: u64,
    pub(super) outcomes: Vec<Outcome>,
}

impl Report {
    /// Nothing failed. What was not shown is no failure, and is counted.
    pub(super) fn holds(&self) -> bool {
        self.count(Verdict::Failed) == 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count()
    }

    pub(super) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("cannot encode the report")
    }

    /// As `report.txt` and `report.json`.
    pub(super) fn keep(&self, folder: &Path) -> Result<()> {
        let json = self.json()?;
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join("report.txt"), format!("{self}\n")))
            .and_then(|()| std::fs::write(folder.join("report.json"), json))
            .with_context(|| format!("cannot write to {}", folder.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, quick, seed, outcomes } = self;
        writeln!(f, "The black box at {commit}, seed {seed}\n")?;
        for outcome in outcomes {
            let Outcome { part, claim, asked, verdict, seen, said, seconds, seed } = outcome;
            writeln!(f, "{:<9}  {part}: {claim}", verdict.name())?;
            writeln!(f, "           asked: {asked}")?;
            for line in seen {
                writeln!(f, "           {line}")?;
            }
            for line in said.iter().flat_map(|said| said.lines()) {
                writeln!(f, "           | {line}")?;
            }
            let quick = if *quick { " --quick" } else { "" };
            let again = format!("cargo xtask prove blackbox {part} --seed {seed}{quick}");
            writeln!(f, "           {seconds:.0} s; again: {again}\n")?;
        }
        let [held, failed, not] =
            [Verdict::Held, Verdict::Failed, Verdict::NotShown].map(|verdict| self.count(verdict));
        write!(f, "{held} held, {failed} failed, {not} not shown")?;
        if *quick {
            write!(f, "; a share of the cases only, without --quick it tries them all")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut kill = Outcome::of(Part::Kill, 7);
        kill.seen.push("500 kills over 900 changes, 0 failures".to_owned());
        let mut soak = Outcome::of(Part::Soak, 7);
        soak.skip("no soak was run yet");
        Report { commit: "abc".to_owned(), quick: false, seed: 7, outcomes: vec![kill, soak] }
    }

    #[test]
    fn it_says_what_was_asked_seen_and_how_to_repeat_it() {
        let said = report().to_string();
        for part in [
            "held       kill: a process killed",
            "asked: 500 kills",
            "500 kills over 900",
            "again: cargo xtask prove blackbox kill --seed 7\n",
            "not shown  soak:",
            "1 held, 0 failed, 1 not shown",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    #[test]
    fn one_failure_fails_the_run_and_what_it_said_is_there() {
        let mut report = report();
        assert!(report.holds());
        report.outcomes[0].verdict = Verdict::Failed;
        report.outcomes[0].said.push("panicked at x\nlost".to_owned());
        assert!(!report.holds());
        let said = report.to_string();
        assert!(said.contains("FAILED     kill") && said.contains("| lost"), "{said}");
    }

    #[test]
    fn it_is_kept_for_people_and_for_scripts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        report().keep(&folder).unwrap();
        let json = std::fs::read(folder.join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["outcomes"][1]["verdict"], "not_shown");
        assert!(std::fs::read_to_string(folder.join("report.txt")).unwrap().contains("asked"));
    }
}
