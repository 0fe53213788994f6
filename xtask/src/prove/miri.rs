//! `cargo xtask prove miri`: the gate under an interpreter that sees undefined behaviour.
//!
//! The laws with two cases each, and the unit tests, those left out that draw thousands of
//! corners: an interpreter needs a hundred times as long. There is no unsafe code in `policy`;
//! what Miri looks at besides is the arithmetic, and what the crates below it do.

use super::minutes;
use crate::process;
use crate::toolchain;
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

/// Of `cargo xtask prove miri`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Only tests whose names contain this.
    filter: Option<String>,
    /// Give up after so long. 60 unless given.
    #[arg(long = "for", value_name = "MINUTES", value_parser = minutes)]
    patience: Option<Duration>,
}

const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Unit tests that build outlines of thousands of corners, or search a whole hall for room.
const TOO_LONG: &[&str] = &[
    "a_hundred_thousand_corners_load_within_a_second_and_a_query_stays_short",
    "among_thousands_of_sides_at_one_distance_a_query_gives_up_and_says_so",
    "an_exclusion_that_swallows_its_inclusion_is_refused",
    "more_zones_or_corners_than_are_handled_are_refused",
    "room::",
];

/// Interprets; false when something was found.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut there = Command::new("cargo");
    there.args(["+nightly", "miri", "--version"]);
    if !process::output(&mut there).is_ok_and(|output| output.status.success()) {
        println!(
            "miri: skipped, there is none; rustup toolchain install nightly --component miri \
             --component rust-src"
        );
        return Ok(true);
    }
    let mut holds = true;
    for program in [["--test", "laws"].as_slice(), &["--lib"]] {
        // By rustup's proxy, which knows toolchains; the cargo that started us knows only its own.
        let mut command = Command::new("cargo");
        command.current_dir(toolchain::root());
        command.args(["+nightly", "miri", "test", "--package", "nooterra-policy"]).args(program);
        command.arg("--target-dir").arg(toolchain::target_dir()?.join("miri"));
        command.arg("--").args(options.filter.iter()).args(["--test-threads", "1"]);
        for test in TOO_LONG {
            command.args(["--skip", test]);
        }
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
            command.env_remove(name);
        }
        // Proptest asks for its settings in the environment.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
        command.env("PROPTEST_CASES", "2").env("PROPTEST_RNG_SEED", "1");
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        let patience = options.patience.unwrap_or(PATIENCE);
        let (status, said) = process::output_within(&mut command, patience)?;
        let well = status.is_some_and(|status| status.success());
        for line in said.lines().filter(|line| line.starts_with("test ")) {
            println!("{line}");
        }
        if !well {
            println!("{said}");
            let why = if status.is_some() { "FAILED" } else { "did not end, and was cut off" };
            println!("miri: {} {why}", program.join(" "));
        }
        holds &= well;
    }
    Ok(holds)
}
