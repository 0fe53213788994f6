//! `cargo xtask prove fuzz [TARGET]...`: bytes from nowhere, led on by what code they reach.
//!
//! libFuzzer on every reader of bytes that somebody else may have written; the targets are in
//! `xtask/fuzz`. What they are made of is compiled with LLVM's coverage counters, which stable
//! rustc can do, and without a sanitizer, which it cannot: a panic, a failed assertion, an
//! overflow, a hang and memory without bound are found. Corpora are kept in `target/prove`, so
//! that each run goes on from what the ones before it reached.

use super::{Ledger, commit, minutes, shown};
use crate::process;
use crate::toolchain::{self, Package};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of `cargo xtask prove fuzz`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which readers; all unless given. `list` prints their names.
    targets: Vec<String>,
    /// How long, shared by the targets; each gets at least a second. 2 unless given.
    #[arg(long = "for", value_name = "MINUTES", value_parser = minutes)]
    patience: Option<Duration>,
    /// So many inputs of each target instead, a seed for each million.
    #[arg(long, value_name = "N", conflicts_with = "patience")]
    runs: Option<u64>,
    /// Run one input and nothing else: what an earlier run found.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["patience", "runs", "seed"])]
    input: Option<PathBuf>,
    /// Of libFuzzer's choices; the first that was never tried unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
}

/// The counters, as `cargo fuzz` sets them.
const COVERAGE: &str = "-Cpasses=sancov-module \
                        -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The profile of a run that is worth an optimised build.
const FAST: &str = "release";

/// The profile of a run of seconds, where building is what takes its time.
const MOMENT: &str = "moment";

/// What compiles libFuzzer.
pub(crate) const COMPILER: &[Package] =
    &[Package { name: "g++", path: "/usr/bin/c++", why: "libFuzzer is C++" }];

/// A fault on purpose, to see that one is found; only when it is named.
const PLANTED: &str = "planted";

/// An input that takes longer hangs, seconds.
const HANG_S: u32 = 20;

/// More memory than this for one input is a fault, MiB.
const MEMORY_MIB: u32 = 2048;

/// Inputs of one seed, where they are counted.
const EACH: u64 = 1_000_000;

/// For these: the slowest reader is given some hundred a second on a busy machine.
const EACH_PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// libFuzzer looks at its clock now and then; after this it is cut off.
const GRACE: Duration = Duration::from_secs(120);

/// Fuzzes; false when something was found.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if !has_compiler() {
        toolchain::require_packages(COMPILER, &mut |line| println!("{line}"))?;
    }
    let fuzzer = Fuzzer::build(FAST)?;
    if options.targets == ["list"] {
        for (name, reads) in &fuzzer.targets {
            println!("{name:<12}  {reads}");
        }
        return Ok(true);
    }
    let named = fuzzer.named(&options.targets)?;
    if let Some(input) = &options.input {
        let [target] = named[..] else {
            bail!("--input is for one target: cargo xtask prove fuzz TARGET --input FILE");
        };
        return fuzzer.repeat(target, input);
    }
    if let Some(runs) = options.runs {
        let mut say = |part: f64, what: &str| println!("{:3.0} %  {what}", part * 100.0);
        let all = fuzzer.runs(&named, runs, options.seed, &mut say)?;
        for fuzzed in &all {
            println!("{fuzzed}");
            fuzzed.found.iter().for_each(|said| println!("{said}"));
        }
        return Ok(all.iter().all(|fuzzed| fuzzed.found.is_none()));
    }
    fuzzer.go(&named, options.patience.unwrap_or(super::PATIENCE), options.seed)
}

/// So many inputs of each of these targets; `say` is told what part of it is done.
pub(super) fn runs(
    targets: &[&str],
    runs: u64,
    seed: Option<u64>,
    say: &mut dyn FnMut(f64, &str),
) -> Result<Vec<Fuzzed>> {
    let fuzzer = Fuzzer::build(FAST)?;
    let seed = seed.map(u32::try_from).transpose().context("libFuzzer's seeds have 32 bits")?;
    let names: Vec<String> = targets.iter().map(|name| (*name).to_owned()).collect();
    fuzzer.runs(&fuzzer.named(&names)?, runs, seed, say)
}

/// What came of one target.
#[derive(Debug)]
pub(super) struct Fuzzed {
    edges: u64,
    executions: u64,
    /// What it said where it found something, and how to repeat that.
    pub(super) found: Option<String>,
    seeds: (u32, u32),
    /// In all runs that the ledger knows.
    so_far: u64,
    target: String,
}

impl std::fmt::Display for Fuzzed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { edges, executions, found, seeds: (first, last), so_far, target } = self;
        let found = if found.is_some() { "FAILED" } else { "nothing found" };
        write!(
            f,
            "{target}: {executions} inputs, seeds {first} to {last}, {edges} edges reached, "
        )?;
        write!(f, "{found}; {so_far} inputs so far")
    }
}

/// Every target, for a moment; false when something was found.
pub(crate) fn run_all(patience: Duration, seed: Option<u64>) -> Result<bool> {
    let fuzzer = Fuzzer::build(MOMENT)?;
    let seed = seed.map(u32::try_from).transpose().context("libFuzzer's seeds have 32 bits")?;
    fuzzer.go(&fuzzer.named(&[])?, patience, seed)
}

/// libFuzzer can be built here.
pub(crate) fn has_compiler() -> bool {
    process::output(Command::new("c++").arg("--version")).is_ok_and(|o| o.status.success())
}

/// The program with all targets.
struct Fuzzer {
    folder: PathBuf,
    program: PathBuf,
    /// Names, and what each reads.
    targets: Vec<(String, String)>,
}

impl Fuzzer {
    fn build(profile: &str) -> Result<Self> {
        let said = process::succeed(Command::new("rustc").arg("-vV"))?;
        let host = said.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc -vV names no host")?;
        let mut command = toolchain::cargo();
        command.args(["build", "--profile", profile, "--manifest-path", "xtask/fuzz/Cargo.toml"]);
        // A folder of its own, and a target that is named: the flags are not for build scripts.
        command.args(["--target", host, "--target-dir"]);
        command.arg(toolchain::target_dir()?.join("fuzz"));
        command.env("RUSTFLAGS", COVERAGE).env_remove("CARGO_ENCODED_RUSTFLAGS");
        let built = toolchain::build(&mut command)?;
        let program = toolchain::named(&built, "nooterra-fuzz")?;
        let list = process::succeed(Command::new(&program).env("NOOTERRA_FUZZ", "list"))?;
        let pair = |line: &str| line.split_once('\t').map(|(n, r)| (n.to_owned(), r.to_owned()));
        let targets: Vec<_> = list.lines().filter_map(pair).collect();
        if targets.is_empty() {
            bail!("{} names no targets", program.display());
        }
        Ok(Self { folder: toolchain::root().join("target/prove/fuzz"), program, targets })
    }

    /// The targets of these names; all but the planted fault for none.
    fn named<'t>(&'t self, names: &'t [String]) -> Result<Vec<&'t str>> {
        let all = || self.targets.iter().map(|(name, _)| name.as_str());
        if names.is_empty() {
            return Ok(all().filter(|name| *name != PLANTED).collect());
        }
        let known = |name: &'t String| {
            let found = all().find(|known| known == name);
            found.with_context(|| {
                let there: Vec<&str> = all().collect();
                format!("there is no target `{name}`; there is {}", there.join(", "))
            })
        };
        names.iter().map(known).collect()
    }

    fn go(&self, targets: &[&str], patience: Duration, seed: Option<u32>) -> Result<bool> {
        let share = patience / u32::try_from(targets.len().max(1)).unwrap_or(u32::MAX);
        let share = share.max(Duration::from_secs(1));
        let (commit, mut holds) = (commit(), true);
        for target in targets {
            let path = self.folder.join(format!("{target}.json"));
            let mut ledger = Ledger::load(&path)?;
            // libFuzzer takes 0 for a seed of its own choice.
            let next = || u32::try_from(ledger.next()).unwrap_or(1);
            let seed = seed.unwrap_or_else(next).max(1);
            let (stats, found) = self.one(target, Amount::Time(share), seed)?;
            println!("{target}: {stats}, seed {seed}");
            ledger.note(u64::from(seed), &commit, found.is_none());
            ledger.add_executions(stats.executions);
            ledger.store(&path)?;
            if let Some(said) = found {
                holds = false;
                println!("{said}");
            }
        }
        Ok(holds)
    }

    /// So many inputs of each target, a seed for each [`EACH`] of them.
    fn runs(
        &self,
        targets: &[&str],
        runs: u64,
        seed: Option<u32>,
        say: &mut dyn FnMut(f64, &str),
    ) -> Result<Vec<Fuzzed>> {
        let (commit, mut all) = (commit(), Vec::new());
        let rounds = runs.div_ceil(EACH).max(1);
        for (nth, target) in targets.iter().enumerate() {
            let path = self.folder.join(format!("{target}.json"));
            let mut ledger = Ledger::load(&path)?;
            let next = || u32::try_from(ledger.next()).unwrap_or(1);
            let first = seed.unwrap_or_else(next).max(1);
            let mut fuzzed = Fuzzed {
                edges: 0,
                executions: 0,
                found: None,
                seeds: (first, first),
                so_far: 0,
                target: (*target).to_owned(),
            };
            for (round, seed) in (0..rounds).zip(first..) {
                let done = nth as f64 + round as f64 / rounds as f64;
                say(done / targets.len() as f64, &format!("{target}, seed {seed}"));
                let left = runs.saturating_sub(round * EACH).min(EACH);
                let (stats, found) = self.one(target, Amount::Runs(left), seed)?;
                ledger.note(u64::from(seed), &commit, found.is_none());
                ledger.add_executions(stats.executions);
                ledger.store(&path)?;
                fuzzed.executions += stats.executions;
                (fuzzed.edges, fuzzed.seeds.1) = (stats.edges, seed);
                if found.is_some() {
                    fuzzed.found = found;
                    break;
                }
            }
            fuzzed.so_far = ledger.executions();
            all.push(fuzzed);
        }
        Ok(all)
    }

    /// Fuzzes one target; what it said where it found something.
    fn one(&self, target: &str, amount: Amount, seed: u32) -> Result<(Stats, Option<String>)> {
        let [corpus, seeds, faults] = ["corpus", "seeds", "found"].map(|kind| {
            let folder = self.folder.join(kind).join(target);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", shown(&folder)))
                .map(|()| folder)
        });
        let (corpus, seeds, faults) = (corpus?, seeds?, faults?);
        let mut command = self.command(target);
        command
            .env("NOOTERRA_FUZZ_SEEDS", &seeds)
            .arg(format!("-seed={seed}"))
            .arg(match amount {
                Amount::Runs(runs) => format!("-runs={runs}"),
                Amount::Time(share) => format!("-max_total_time={}", share.as_secs()),
            })
            .arg(format!("-artifact_prefix={}/", faults.display()))
            .args([format!("-timeout={HANG_S}"), format!("-rss_limit_mb={MEMORY_MIB}")])
            .args(["-print_final_stats=1", "-use_value_profile=1", "-max_len=65536"])
            .args([&corpus, &seeds]);
        let patience = match amount {
            Amount::Runs(_) => EACH_PATIENCE,
            Amount::Time(share) => share + GRACE,
        };
        let (status, said) = process::output_within(&mut command, patience)?;
        let stats = Stats::read(&said);
        if status.is_some_and(|status| status.success()) {
            return Ok((stats, None));
        }
        let file = said.lines().find_map(|line| line.split_once("Test unit written to "));
        let repeat = match file {
            Some((_, file)) => format!("cargo xtask prove fuzz {target} --input {}", file.trim()),
            None => format!("cargo xtask prove fuzz {target} --seed {seed}"),
        };
        let why = if status.is_some() { "FAILED" } else { "hangs, and was cut off" };
        Ok((stats, Some(format!("{said}\n{target}: {why}\nrepeat it: {repeat}"))))
    }

    /// Runs one input.
    fn repeat(&self, target: &str, input: &Path) -> Result<bool> {
        if !input.is_file() {
            bail!("{} is no file", shown(input));
        }
        let mut command = self.command(target);
        command.arg(format!("-timeout={HANG_S}")).arg(input);
        command.arg(format!("-rss_limit_mb={MEMORY_MIB}"));
        let (status, said) = process::output_within(&mut command, GRACE)?;
        let holds = status.is_some_and(|status| status.success());
        if !holds {
            println!("{said}");
        }
        println!("{target}: {} {}", shown(input), if holds { "holds" } else { "FAILED" });
        Ok(holds)
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("NOOTERRA_FUZZ", target);
        command
    }
}

/// How much of one target.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Runs(u64),
    Time(Duration),
}

/// What libFuzzer says of a run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Stats {
    /// Edges that the corpus reached before anything was tried.
    before: u64,
    corpus: u64,
    edges: u64,
    executions: u64,
}

impl Stats {
    /// From lines such as `#4096 pulse  cov: 311 ft: 902 corp: 61/9Kb ...`.
    fn read(said: &str) -> Self {
        let mut stats = Self::default();
        for line in said.lines().filter(|line| line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let number = |word: Option<&str>| {
                let digits = word?.trim_start_matches('#');
                digits.split('/').next()?.parse::<u64>().ok()
            };
            stats.executions = number(words.next()).unwrap_or(stats.executions);
            while let Some(word) = words.next() {
                match word {
                    "cov:" => stats.edges = number(words.next()).unwrap_or(stats.edges),
                    "corp:" => stats.corpus = number(words.next()).unwrap_or(stats.corpus),
                    _ => {}
                }
            }
            if line.contains("INITED") {
                stats.before = stats.edges;
            }
        }
        stats
    }
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { before, corpus, edges, executions } = self;
        write!(f, "{executions} executions, {edges} edges reached ({before} at the start), ")?;
        write!(f, "{corpus} inputs in the corpus")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_and_coverage_are_read_from_what_libfuzzer_prints() {
        let said = "INFO: Seed: 3\n#5\tINITED cov: 210 ft: 311 corp: 4/1Kb exec/s: 0 rss: 30Mb\n\
                    #99\tNEW    cov: 250 ft: 400 corp: 5/2Kb lim: 4096 exec/s: 0\n\
                    #70000\tDONE   cov: 312 ft: 900 corp: 61/9Kb exec/s: 7000\nDone 70000 runs";
        let stats = Stats::read(said);
        let expected = Stats { before: 210, corpus: 61, edges: 312, executions: 70_000 };
        assert_eq!(stats, expected);
        assert_eq!(Stats::read("nothing"), Stats::default());
        assert_eq!(Stats::read("#x cov: y\n#"), Stats::default());
    }

    #[test]
    fn the_planted_fault_is_only_run_when_it_is_named() {
        let target = |name: &str| (name.to_owned(), String::new());
        let targets = vec![target("codec"), target(PLANTED)];
        let fuzzer = Fuzzer { folder: PathBuf::new(), program: PathBuf::new(), targets };
        assert_eq!(fuzzer.named(&[]).unwrap(), ["codec"]);
        assert_eq!(fuzzer.named(&[PLANTED.to_owned()]).unwrap(), [PLANTED]);
        let error = fuzzer.named(&["coedc".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("codec, planted"), "{error}");
    }
}
