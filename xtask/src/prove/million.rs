//! `cargo xtask prove gate --cases N`: so many cases of every law of the gate, seed after seed.
//!
//! The tests draw a few hundred cases of each law and the seeds of `prove` some more of
//! everything; this is for a night, or for a release. It is built with optimisation.

use super::{Ledger, commit, package_dir, ran, test_program};
use crate::process;
use crate::toolchain;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};

/// Cases of one seed: some seconds of the slowest law.
const EACH: u64 = 10_000;

/// For the cases of one seed of one law, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(900);

/// The program of the laws.
pub(super) const PROGRAM: &str = "laws";

/// At least `cases` of each law, with seeds from `first` on; false when one failed.
pub(super) fn run(laws: &[&str], cases: u64, first: Option<u64>) -> Result<bool> {
    let mut command = toolchain::cargo();
    let package = "nooterra-policy";
    command.args(["test", "--release", "--no-run", "--package", package, "--test", PROGRAM]);
    let program = test_program(&toolchain::build(&mut command)?, PROGRAM)?;
    let path = toolchain::root().join("target/prove/laws.json");
    let mut ledger = Ledger::load(&path)?;
    let (commit, seeds) = (commit(), cases.div_ceil(EACH));
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
                .env("PROPTEST_CASES", EACH.to_string())
                .env("PROPTEST_RNG_SEED", seed.to_string())
                .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
            let start = Instant::now();
            let (status, said) = process::output_within(&mut command, PATIENCE)?;
            *spent += start.elapsed();
            if !status.is_some_and(|status| status.success()) {
                held = false;
                println!("{law}: seed {seed} FAILED\n{said}");
                println!("repeat it: cargo xtask prove gate --cases {EACH} --seed {seed}");
            } else if ran(&said) != Some(1) {
                bail!("there is no law `{law}` in the tests of {package}");
            }
        }
        holds &= held;
        ledger.note(seed, &commit, held);
        ledger.store(&path)?;
        let done = seed - first + 1;
        let left = begin.elapsed().as_secs() * (seeds - done) / done;
        println!("{} of {} cases of each law, some {left} s to go", done * EACH, seeds * EACH);
    }
    for (law, spent) in laws.iter().zip(&spent) {
        println!("{law}: {} cases in {:.1} s", seeds * EACH, spent.as_secs_f64());
    }
    Ok(holds)
}
