//! The developer's commands, as `cargo xtask COMMAND`.
//!
//! - `bench`: figures beside their floors, and whether SPECIFICATION.md holds.
//! - `build-arm`: the agent for the processors that robots have.
//! - `ci`: formatting, lints, licences, docs, the direction of the dependencies, the tests.
//! - `console`: the cloud's page for people in a real browser, with a robot that moves.
//! - `demo`: one signed job, end to end, against the embedded cloud and a simulated robot;
//!   leaves `report.html` and `summary.json`.
//! - `prove`: properties, mutations and faults, seed after seed, over nights.
//! - `test`: installs what the tests need, runs all of them, counts.
//!
//! # What it never does
//! It links neither the agent nor the cloud: it drives the two programs as a user would, by
//! command line and HTTP, and checks their claims with code of its own.

mod arm;
mod bench;
mod cadence;
mod cells;
mod ci;
mod console;
mod demo;
mod process;
mod progress;
mod prove;
mod report;
mod test;
mod toolchain;
mod truth;
mod world;
mod zones;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The developer's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure speed, memory and size beside their floors; see SPECIFICATION.md.
    Bench(bench::Options),
    /// The agent for an ARM robot, by cross or by Debian's cross gcc.
    BuildArm(arm::Options),
    /// Everything that a change must pass: format, lints, licences, docs, tests.
    Ci(ci::Options),
    /// The cloud's page for people in a real browser, with a robot that moves; leaves pictures.
    Console(console::Options),
    /// One signed job, end to end, on a simulated robot; leaves report.html and summary.json.
    Demo(demo::Options),
    /// Try seed after seed: properties, mutated inputs, injected faults.
    Prove(prove::Options),
    /// Install what the tests need and run all of them.
    Test(test::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::BuildArm(options) => arm::run(&options),
        Command::Ci(options) => ci::run(&options),
        Command::Console(options) => console::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Prove(options) => prove::run(&options),
        Command::Test(options) => test::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_in_the_documents_is_understood() {
        let mut understood = 0;
        for document in ["README.md", "docs/arm.md"] {
            let text = std::fs::read_to_string(toolchain::root().join(document)).unwrap();
            for line in text.lines().filter(|line| line.starts_with("    cargo xtask ")) {
                let words = line.trim().trim_start_matches("cargo ").split(' ');
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{document}: {}: {:?}", line.trim(), parsed.err());
                understood += 1;
            }
        }
        assert!(understood >= 6, "{understood} commands found");
    }
}
