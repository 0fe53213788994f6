//! `cargo xtask prove blackbox [PART]...`: what the black box promises, shown item by item.
//!
//! Each part is one promise, the tests that try to break it (`parts`), and the figures that they
//! print. The tests are those that run with every change; here they are given all of their cases
//! instead of a share. What was seen is printed at the end for somebody who has read none of it,
//! and kept in `target/prove/blackbox` (`report`).
//!
//! It judges nothing by itself: a part holds when its tests pass and say what they did.

mod parts;
mod report;

use super::{CASE_PATIENCE, Ledger, build_suite, commit, fuzz, minutes, package_dir, ran, soak};
use crate::process;
use crate::progress::{Progress, Step as Shown};
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use parts::{Cases, Part, Trial};
use report::{Outcome, Report, Verdict};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Of `cargo xtask prove blackbox`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which promises; all unless given.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Seed after seed for so long, all tests each time, instead of each promise once.
    #[arg(long = "for", value_name = "MINUTES", value_parser = minutes,
          conflicts_with_all = ["parts", "quick", "runs", "json"])]
    pub(super) patience: Option<Duration>,
    /// What was seen as JSON on standard output, progress on standard error.
    #[arg(long)]
    json: bool,
    /// The share of the cases that the tests take: minutes instead of an hour or more.
    #[arg(long)]
    quick: bool,
    /// How many inputs each reader is given. 1000000 unless given, with --quick 10000.
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Of everything that is drawn; the first that was never tried unless given.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
}

/// Inputs for each reader of bytes.
const RUNS: u64 = 1_000_000;
const QUICK_RUNS: u64 = 10_000;

/// For one test with all its cases: every bit of a box takes most of it.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Into so many shares everything that is tried exhaustively is split, for progress that shows.
const SHARES: u64 = 16;

/// Shows every promise that was asked for; false when one does not hold.
pub(super) fn run(options: &Options) -> Result<bool> {
    let folder = toolchain::root().join("target/prove/blackbox");
    let ledger_path = folder.join("seeds.json");
    let mut ledger = Ledger::load(&ledger_path)?;
    let seed = options.seed.unwrap_or_else(|| ledger.next());
    let all = Part::value_variants();
    let parts = if options.parts.is_empty() { all } else { &options.parts[..] };
    let mut progress = Progress::new(parts.len() + 1, false, options.json);
    progress.say(&format!(
        "prove blackbox: {} promises, seed {seed}{}",
        parts.len(),
        if options.quick { ", a share of the cases" } else { "" }
    ));
    let step = progress.step("building the tests");
    let mut programs: Vec<(PathBuf, &str, &str)> = Vec::new();
    for (package, program) in parts.iter().flat_map(|part| part.suites()) {
        if !programs.iter().any(|(_, p, name)| (*p, *name) == (package, program)) {
            programs.push((build_suite(package, program)?, package, program));
        }
    }
    step.done(&format!("{} programs", programs.len()));
    let trying = Trying { options, programs, seed };
    let mut outcomes = Vec::new();
    for part in parts {
        let step = progress.step(part.claim());
        let outcome = trying.part(*part, &step)?;
        step.done(outcome.verdict.name());
        outcomes.push(outcome);
    }
    let report = Report { commit: commit(), outcomes, quick: options.quick, seed };
    ledger.note(seed, &report.commit, report.holds());
    ledger.store(&ledger_path)?;
    report.keep(&folder)?;
    progress.say("");
    progress.say(&report.to_string());
    progress.say(&format!("kept in {}", folder.join("report.txt").display()));
    if options.json {
        println!("{}", report.json()?);
    }
    Ok(report.holds())
}

/// All that the parts need.
struct Trying<'a> {
    options: &'a Options,
    /// Programs with the suites that they run.
    programs: Vec<(PathBuf, &'static str, &'static str)>,
    seed: u64,
}

impl Trying<'_> {
    fn part(&self, part: Part, step: &Shown<'_>) -> Result<Outcome> {
        let begun = Instant::now();
        let mut outcome = Outcome::of(part, self.seed);
        match part {
            Part::Fuzz => self.fuzz(&mut outcome, step)?,
            Part::Soak => self.soak(&mut outcome)?,
            _ => {
                for trial in part.trials() {
                    self.trial(trial, &mut outcome, step)?;
                }
            }
        }
        for line in &outcome.seen {
            step.note(line);
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// One program's tests, in shares where they try everything.
    fn trial(&self, trial: &Trial, outcome: &mut Outcome, step: &Shown<'_>) -> Result<()> {
        let shares: Vec<(u64, Option<u64>)> = match (trial.cases, self.options.quick) {
            (Cases::Drawn, _) | (Cases::Shares, true) => vec![(self.seed, None)],
            (Cases::Shares, false) => (0..SHARES).map(|share| (share, Some(SHARES))).collect(),
        };
        let count = shares.len();
        let mut seen = Vec::new();
        for (nth, (seed, of)) in shares.into_iter().enumerate() {
            step.part(nth as f64 / count as f64, &format!("{} {}", trial.program, outcome.part));
            let (passed, said) = self.one(trial, seed, of)?;
            let figures = figures(&said, trial.figures);
            if !passed {
                outcome.verdict = Verdict::Failed;
                outcome.said.push(said);
            } else if figures.len() < trial.figures.len() {
                bail!(
                    "{} did not say {:?}; correct the list in parts.rs",
                    trial.program,
                    trial.figures
                );
            }
            if count > 1 {
                step.note(&figures.join("; "));
            }
            seen.extend(figures);
        }
        match count {
            1 => outcome.seen.extend(seen),
            _ => outcome.seen.push(summed(&seen)),
        }
        if trial.figures.is_empty() && outcome.verdict == Verdict::Held {
            outcome.seen.extend(trial.tests.iter().map(|test| claim_of(test)));
        }
        Ok(())
    }

    /// Runs the tests of one trial with one seed; whether they passed, and what they said.
    fn one(&self, trial: &Trial, seed: u64, shares: Option<u64>) -> Result<(bool, String)> {
        let of_it = |(_, package, program): &&(PathBuf, &str, &str)| {
            (*package, *program) == (trial.package, trial.program)
        };
        let program = self.programs.iter().find(of_it);
        let (program, ..) = program.with_context(|| format!("{} was not built", trial.program))?;
        let mut command = Command::new(program);
        command
            .args(["--exact", "--show-output"])
            .args(trial.tests)
            .current_dir(package_dir(trial.package))
            .env("NOOTERRA_SEED", seed.to_string())
            .env("PROPTEST_RNG_SEED", seed.to_string())
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        if !self.options.quick {
            command.env("NOOTERRA_PROVE", "1");
        }
        if let Some(shares) = shares {
            command.env("NOOTERRA_SHARES", shares.to_string());
        }
        let patience = if self.options.quick { CASE_PATIENCE } else { PATIENCE };
        let (status, said) = process::output_within(&mut command, patience)?;
        let passed = status.is_some_and(|status| status.success());
        if passed && ran(&said) != Some(trial.tests.len()) {
            bail!("{} {} ran other tests than parts.rs names", trial.package, trial.program);
        }
        Ok((passed, said))
    }

    /// The readers of bytes, with coverage.
    fn fuzz(&self, outcome: &mut Outcome, step: &Shown<'_>) -> Result<()> {
        if !fuzz::has_compiler() {
            outcome.skip("libFuzzer is C++, and there is no C++ compiler: apt-get install g++");
            return Ok(());
        }
        let usual = if self.options.quick { QUICK_RUNS } else { RUNS };
        let runs = self.options.runs.unwrap_or(usual);
        let seed = self.options.seed;
        let found =
            fuzz::runs(parts::READERS, runs, seed, &mut |part, what| step.part(part, what))?;
        for fuzzed in found {
            outcome.seen.push(fuzzed.to_string());
            if let Some(said) = fuzzed.found {
                outcome.verdict = Verdict::Failed;
                outcome.said.push(said);
            }
        }
        Ok(())
    }

    /// What the last soak said: it takes an hour, and is a command of its own.
    fn soak(&self, outcome: &mut Outcome) -> Result<()> {
        match soak::last()? {
            None => outcome.skip("no soak was run yet: cargo xtask prove soak --minutes 60"),
            Some(judged) => {
                outcome.seen.extend(judged.text.lines().map(str::to_owned));
                if !judged.holds {
                    outcome.verdict = Verdict::Failed;
                }
            }
        }
        Ok(())
    }
}

/// The lines in which these words stand, in order, without what marks them as a test's.
fn figures(said: &str, words: &[&str]) -> Vec<String> {
    let line = |word: &&str| said.lines().find(|line| line.contains(word));
    words.iter().filter_map(line).map(|line| line.trim().to_owned()).collect()
}

/// `share 3 of 16: 20 of 10160, 15 alter records` of each share, as one line.
fn summed(lines: &[String]) -> String {
    let numbers = |line: &String| -> Option<(u64, u64)> {
        let (_, rest) = line.split_once(": ")?;
        let (tried, rest) = rest.split_once(" of ")?;
        let (_, altered) = rest.split_once(", ")?;
        Some((tried.parse().ok()?, altered.split(' ').next()?.parse().ok()?))
    };
    let (tried, altered) = lines
        .iter()
        .filter_map(numbers)
        .fold((0, 0), |(tried, altered), (t, a)| (tried + t, altered + a));
    format!("{tried} harms in {} shares, {altered} of them alter records: all found", lines.len())
}

/// A test's name is its claim.
fn claim_of(test: &str) -> String {
    test.rsplit("::").next().unwrap_or(test).replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_a_test_program_says() {
        let said = "running 1 test\n---- a stdout ----\nNOOTERRA_SEED=3\n  40 images, 0 failures\n";
        assert_eq!(figures(said, &["images"]), ["40 images, 0 failures"]);
        assert!(figures(said, &["kills"]).is_empty());
    }

    #[test]
    fn shares_are_added_up() {
        let lines =
            ["share 0 of 2: 20 of 30, 15 alter records", "share 1 of 2: 10 of 30, 1 alter x"];
        let said = summed(&lines.map(str::to_owned));
        assert_eq!(said, "30 harms in 2 shares, 16 of them alter records: all found");
        assert!(summed(&["nothing".to_owned()]).starts_with("0 harms"));
    }

    #[test]
    fn a_test_s_name_reads_as_its_claim() {
        assert_eq!(claim_of("forged::a_record_is_named"), "a record is named");
    }
}
