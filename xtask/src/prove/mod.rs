//! `cargo xtask prove [AREA]... [--seed N] [--for MINUTES]`: properties, mutated inputs and
//! injected faults, seed after seed.
//!
//! The cases are those of the tests, which run a share of them every time. Here each seed gives
//! every suite of an area new cases: properties over random closed loops, bytes that no program
//! of ours wrote, bits that flipped, files that were cut, processes that were killed. What was
//! run is kept in `target/prove`, so that the next run goes on with seeds that were never
//! tried, and a failure prints the one command that repeats it.
//!
//! [`blackbox`] shows what the journal promises, item by item, with all cases of its tests.
//! [`fuzz`] is the part that is led by coverage, [`soak`] the one that takes long. [`million`]
//! draws very many cases of the gate's laws and steps of the cloud's model; [`schemathesis`] asks
//! the cloud's API as its document has it; [`coverage`],
//! [`miri`], [`mutants`] and [`no_panic`] ask how good the gate's tests and its code are.

mod blackbox;
mod coverage;
pub(crate) mod fuzz;
mod ledger;
mod million;
mod miri;
mod mutants;
mod no_panic;
mod schemathesis;
mod soak;
mod suites;

use crate::process;
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use ledger::Ledger;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use suites::{Area, Suite};

/// Of `cargo xtask prove`.
#[derive(clap::Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    only: Option<Only>,
    /// So many cases of each law of the gate, or steps of the cloud's model, such as 1000000, in
    /// a release build; nothing else.
    #[arg(long, value_name = "N", conflicts_with = "patience", requires = "areas")]
    cases: Option<u64>,
    /// What to try; everything unless given, fuzzing too where there is a C++ compiler.
    #[arg(value_enum)]
    areas: Vec<Area>,
    /// How long, shared by the areas; each gets at least one seed. 2 unless given, and with
    /// --seed only that seed.
    #[arg(long = "for", value_name = "MINUTES", value_parser = minutes)]
    patience: Option<Duration>,
    /// The first seed; the first that was never tried unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// What has options of its own.
#[derive(clap::Subcommand, Clone, Debug)]
enum Only {
    /// The cloud's whole API asked by schemathesis, as two tenants; needs Python, and PyPI once.
    Api(schemathesis::Options),
    /// What the black box promises, item by item: power cuts, kills, flipped bits, forgeries,
    /// fuzzing, the soak. With --for: its tests, seed after seed.
    Blackbox(blackbox::Options),
    /// Which regions of the gate its tests run through; fails below 95 %.
    Coverage(coverage::Options),
    /// Bytes from outside, led on by what code they reach; needs a C++ compiler.
    Fuzz(fuzz::Options),
    /// The gate's laws and unit tests under Miri; needs a nightly toolchain.
    Miri(miri::Options),
    /// Faults put into the gate, which its tests must notice; needs cargo-mutants.
    Mutants(mutants::Options),
    /// That no tick of the gate can panic, shown by the linker.
    NoPanic,
    /// A robot's work for an hour, memory and disk watched and drawn.
    Soak(soak::Options),
}

const PATIENCE: Duration = Duration::from_secs(120);

/// For the cases of one seed in one suite. The slowest takes some ten seconds; a machine that
/// is busy may take long, and what takes this long will not end.
const CASE_PATIENCE: Duration = Duration::from_secs(300);

/// Tries seed after seed; false when one failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    match &options.only {
        Some(Only::Blackbox(options)) => {
            return match options.patience {
                Some(patience) => try_areas(&[Area::Blackbox], patience, options.seed, false),
                None => blackbox::run(options),
            };
        }
        Some(Only::Api(options)) => return schemathesis::run(options),
        Some(Only::Coverage(options)) => return coverage::run(options),
        Some(Only::Fuzz(options)) => return fuzz::run(options),
        Some(Only::Miri(options)) => return miri::run(options),
        Some(Only::Mutants(options)) => return mutants::run(options),
        Some(Only::NoPanic) => return no_panic::run(),
        Some(Only::Soak(options)) => return soak::run(options),
        None => {}
    }
    if let Some(cases) = options.cases {
        let [area] = options.areas[..] else {
            bail!("name one area: cargo xtask prove gate --cases {cases}");
        };
        let Some(laws) = million::Laws::of(area) else {
            bail!("only the gate and the cloud have laws: cargo xtask prove gate --cases {cases}");
        };
        return million::run(&laws, cases, options.seed);
    }
    let all = Area::value_variants();
    let areas: &[Area] = if options.areas.is_empty() { all } else { &options.areas };
    let patience = match (options.patience, options.seed) {
        (Some(patience), _) => patience,
        (None, Some(_)) => Duration::ZERO,
        (None, None) => PATIENCE,
    };
    try_areas(areas, patience, options.seed, options.areas.is_empty())
}

/// Seed after seed of each area, and of the fuzzer.
fn try_areas(
    areas: &[Area],
    patience: Duration,
    seed: Option<u64>,
    with_fuzzer: bool,
) -> Result<bool> {
    let folder = toolchain::root().join("target/prove");
    let fuzzes = with_fuzzer && fuzz::has_compiler();
    let parts = areas.len().max(1) + usize::from(fuzzes);
    let share = patience / u32::try_from(parts).unwrap_or(u32::MAX);
    let commit = commit();
    let mut holds = true;
    for area in areas {
        let programs = build(*area).with_context(|| format!("prove {}", area.name()))?;
        let path = folder.join(format!("{}.json", area.name()));
        let mut ledger = Ledger::load(&path)?;
        let end = Instant::now() + share;
        let first = seed.unwrap_or_else(|| ledger.next());
        let mut seed = first;
        loop {
            let failed = try_seed(&programs, seed)?;
            ledger.note(seed, &commit, failed.is_none());
            ledger.store(&path)?;
            if let Some(said) = failed {
                holds = false;
                println!("{}: seed {seed} FAILED\n{said}", area.name());
                println!("repeat it: cargo xtask prove {}", area.repeat(seed));
            }
            if Instant::now() >= end {
                break;
            }
            seed += 1;
        }
        println!(
            "{}: seeds {first} to {seed} tried, {} so far, {} of them failed",
            area.name(),
            ledger.tried(),
            ledger.failed()
        );
    }
    if fuzzes {
        holds &= fuzz::run_all(share, seed)?;
    } else if with_fuzzer {
        println!("fuzz: skipped, there is no C++ compiler; apt-get install g++");
    }
    Ok(holds)
}

/// A suite with its program.
type Built = (PathBuf, &'static Suite);

fn build(area: Area) -> Result<Vec<Built>> {
    toolchain::ensure_wasm_target()?;
    let build = |suite: &'static Suite| Ok((build_suite(suite.package, suite.program)?, suite));
    area.suites().iter().map(build).collect()
}

/// The test program of a package; of its unit tests where `program` is empty.
fn build_suite(package: &str, program: &str) -> Result<PathBuf> {
    let mut command = toolchain::cargo();
    command.args(["test", "--no-run", "--package", package]);
    let name = if program.is_empty() {
        command.arg("--lib");
        package.replace('-', "_")
    } else {
        command.args(["--test", program]);
        program.to_owned()
    };
    test_program(&toolchain::build(&mut command)?, &name)
}

/// Cargo adds a hash to a test program's name.
fn test_program(files: &[PathBuf], name: &str) -> Result<PathBuf> {
    let is_it = |file: &&PathBuf| {
        let found = file.file_name().unwrap_or_default().to_string_lossy();
        found.rsplit_once('-').is_some_and(|(stem, _)| stem == name)
    };
    files.iter().find(is_it).cloned().with_context(|| format!("the build made no test `{name}`"))
}

/// Runs every suite with the cases of one seed; what was said where it failed.
fn try_seed(programs: &[Built], seed: u64) -> Result<Option<String>> {
    for (program, suite) in programs {
        let mut command = Command::new(program);
        command
            .arg("--exact")
            .args(suite.tests)
            .current_dir(package_dir(suite.package))
            .env("NOOTERRA_PROVE", "1")
            .env("NOOTERRA_SEED", seed.to_string())
            .env("PROPTEST_RNG_SEED", seed.to_string())
            // The seed is the whole memory of a failure.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        let (status, said) = process::output_within(&mut command, CASE_PATIENCE)?;
        let Some(status) = status else {
            return Ok(Some(hung(suite, &said)));
        };
        if !status.success() {
            return Ok(Some(said));
        }
        let expected = suite.tests.len();
        if ran(&said) != Some(expected) {
            bail!("{} ran other tests than the {expected} named in xtask/src/prove", suite.package);
        }
    }
    Ok(None)
}

/// What is known of cases that were cut off: which tests had begun, and what they printed.
fn hung(suite: &Suite, said: &str) -> String {
    format!(
        "{said}\n{} {} did not end within {} s and was cut off; one of its tests that is not \
         `ok` above hangs: {}",
        suite.package,
        suite.program,
        CASE_PATIENCE.as_secs(),
        suite.tests.join(", ")
    )
}

/// Where cargo runs the tests of a package: in its folder.
fn package_dir(package: &str) -> PathBuf {
    toolchain::root().join(package.strip_prefix("nooterra-").unwrap_or(package))
}

/// How many tests a test program says that it runs.
fn ran(said: &str) -> Option<usize> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("running "))?;
    line.split(' ').next()?.parse().ok()
}

fn commit() -> String {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty"]).current_dir(toolchain::root());
    match process::output(&mut command) {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        // Outside a repository, or without git, the cases are as good.
        _ => "unknown".to_owned(),
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of minutes"))?;
    if (0.0..=60.0 * 24.0 * 30.0).contains(&number) {
        return Ok(Duration::from_secs_f64(number * 60.0));
    }
    Err("write 0 to 43200 minutes (30 days)".to_owned())
}

/// For messages of [`ledger`].
fn shown(path: &Path) -> impl std::fmt::Display + '_ {
    path.display()
}

/// Whether a test of this full name is written in the program of a package.
#[cfg(test)]
fn is_in_sources(package: &str, program: &str, test: &str) -> bool {
    let dir = package_dir(package);
    let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
    let file = if program.is_empty() {
        let module = module.strip_suffix("::tests").unwrap_or(module);
        let module = dir.join("src").join(module.replace("::", "/"));
        let apart = module.join("tests.rs");
        if apart.exists() { apart } else { module.with_extension("rs") }
    } else {
        dir.join("tests").join(program).with_extension("rs")
    };
    // Laws of the harness are named in a macro's call, one to a line.
    let source = std::fs::read_to_string(file).unwrap_or_default();
    source.contains(&format!("fn {name}(")) || source.contains(&format!("\n    {name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_test_is_in_the_sources() {
        for area in Area::value_variants() {
            for suite in area.suites() {
                for test in suite.tests {
                    let there = is_in_sources(suite.package, suite.program, test);
                    assert!(there, "{}: {test}", suite.package);
                }
            }
        }
    }

    #[test]
    fn a_test_program_is_found_by_its_name_without_the_hash() {
        let files = ["/t/deps/zones_hold-0a1b", "/t/nooterra-agent"].map(PathBuf::from);
        assert_eq!(test_program(&files, "zones_hold").unwrap(), files[0]);
        assert!(test_program(&files, "zones").is_err());
    }

    #[test]
    fn the_number_of_tests_is_read_where_there_is_one() {
        assert_eq!(ran("\nrunning 2 tests\n..\n"), Some(2));
        assert_eq!(ran("running 1 test\n"), Some(1));
        assert_eq!(ran("nothing"), None);
    }

    #[test]
    fn minutes_are_a_number_within_a_month() {
        assert_eq!(minutes("0.5").unwrap(), Duration::from_secs(30));
        for bad in ["", "x", "-1", "nan", "inf", "1e9"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }
}
