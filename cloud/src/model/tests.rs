//! The runs of the model, and those in which a guard is left out.

use super::act::acts;
use super::run;
use crate::guard::{Guard, Off};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;

/// Runs in the tests. `cargo xtask prove cloud --cases N` asks for more of them.
const RUNS: u32 = 48;

/// Runs within which a guard that was left out must be missed. The slowest takes some thirty.
const RUNS_TO_MISS: u32 = 400;

#[test]
fn whatever_comes_in_whatever_order_the_cloud_does_what_the_model_does() {
    let mut config = Config { source_file: Some(file!()), ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = RUNS;
    }
    let (runs, steps) = (config.cases, Cell::new(0));
    let outcome = TestRunner::new(config).run(&acts(), |acts| {
        let done = run(&acts).map_err(TestCaseError::fail)?;
        steps.set(steps.get() + done);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{runs} runs, {} steps held", steps.get());
}

/// After how many runs, always the same ones, a guard is missed.
fn missed(guard: Guard) -> Option<(u32, String)> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = acts();
    let _off = Off::new(guard);
    (1..=RUNS_TO_MISS).find_map(|runs| {
        let acts = strategy.new_tree(&mut runner).ok()?.current();
        run(&acts).err().map(|why| (runs, why))
    })
}

#[test]
fn each_guard_that_is_left_out_is_missed() {
    let mut unmissed = Vec::new();
    for guard in Guard::ALL {
        match missed(*guard) {
            Some((runs, why)) => println!("{guard:?}: run {runs}: {why}"),
            None => unmissed.push(guard),
        }
    }
    assert_eq!(unmissed, Vec::<&Guard>::new(), "nobody notices when these are left out");
}
