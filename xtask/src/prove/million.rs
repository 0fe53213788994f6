//! `cargo xtask prove AREA --cases N`: so many cases of every law of the gate, or so many steps of
//! the cloud's model, seed after seed.
//!
//! The tests draw a few hundred cases of each law and the seeds of `prove` some more of
//! everything; this is for a night, or for a release. It is built with optimisation.

use super::suites::{Area, Suite};
use super::{Ledger, commit, package_dir, ran, test_program};
use crate::process;
use crate::toolchain;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};

/// For the cases of one seed of one law, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(900);

/// The tests of an area that draw as many cases as they are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laws {
    area: &'static str,
    /// What is counted.
    counted: &'static str,
    /// So many of them with one seed: some seconds of the slowest law.
    each: u64,
    package: &'static str,
    /// How many of them one of proptest's cases is, at least.
    per_case: u64,
    /// An integration test; the unit tests where empty.
    program: &'static str,
    tests: &'static [&'static str],
}

/// What the model's test is called in the suite of its area.
const MODEL: &str = "model::tests::";

impl Laws {
    /// Those of an area, where it has some.
    pub(super) fn of(area: Area) -> Option<Self> {
        let laws = |suite: &Suite, tests, counted, each, per_case| Self {
            area: area.name(),
            counted,
            each,
            package: suite.package,
            per_case,
            program: suite.program,
            tests,
        };
        area.suites().iter().find_map(|suite| match area {
            Area::Gate if suite.program == "laws" => {
                Some(laws(suite, suite.tests, "cases of each law", 10_000, 1))
            }
            Area::Cloud => {
                let model = suite.tests.iter().find(|test| test.starts_with(MODEL))?;
                // A run has 50 steps at least.
                Some(laws(suite, std::slice::from_ref(model), "steps of the model", 50_000, 50))
            }
            _ => None,
        })
    }

    fn build(&self) -> Result<std::path::PathBuf> {
        let mut command = toolchain::cargo();
        command.args(["test", "--release", "--no-run", "--package", self.package]);
        let name = if self.program.is_empty() {
            command.arg("--lib");
            self.package.replace('-', "_")
        } else {
            command.args(["--test", self.program]);
            self.program.to_owned()
        };
        test_program(&toolchain::build(&mut command)?, &name)
    }
}

/// At least `cases` of each law, with seeds from `first` on; false when one failed.
pub(super) fn run(of: &Laws, cases: u64, first: Option<u64>) -> Result<bool> {
    let Laws { area, counted, each, package, per_case, tests: laws, .. } = *of;
    let program = of.build()?;
    let name = if area == "gate" { "laws" } else { "model" };
    let path = toolchain::root().join(format!("target/prove/{name}.json"));
    let mut ledger = Ledger::load(&path)?;
    let (commit, seeds) = (commit(), cases.div_ceil(each));
    let first = first.unwrap_or_else(|| ledger.next());
    let (begin, mut holds) = (Instant::now(), true);
    let mut spent = vec![Duration::ZERO; laws.len()];
    for seed in first..first.saturating_add(seeds) {
        let mut held = true;
        for (law, spent) in laws.iter().zip(&mut spent) {
            let mut command = Command::new(&program);
            command
                .args(["--exact", law])
                .current_dir(package_dir(package))
                .env("PROPTEST_CASES", (each / per_case).to_string())
                .env("PROPTEST_RNG_SEED", seed.to_string())
                .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
            let start = Instant::now();
            let (status, said) = process::output_within(&mut command, PATIENCE)?;
            *spent += start.elapsed();
            if !status.is_some_and(|status| status.success()) {
                held = false;
                println!("{law}: seed {seed} FAILED\n{said}");
                println!("repeat it: cargo xtask prove {area} --cases {each} --seed {seed}");
            } else if ran(&said) != Some(1) {
                bail!("there is no law `{law}` in the tests of {package}");
            }
        }
        holds &= held;
        ledger.note(seed, &commit, held);
        ledger.store(&path)?;
        let done = seed - first + 1;
        let left = begin.elapsed().as_secs() * (seeds - done) / done;
        println!("seed {seed}: {} of {} {counted}, some {left} s to go", done * each, seeds * each);
    }
    for (law, spent) in laws.iter().zip(&spent) {
        println!("{law}: at least {} {counted} in {:.1} s", seeds * each, spent.as_secs_f64());
    }
    Ok(holds)
}
