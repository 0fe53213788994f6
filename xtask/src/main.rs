//! The developer's commands, as `cargo xtask COMMAND`.
//!
//! - `bench`: figures beside their floors, and whether SPECIFICATION.md holds.
//! - `demo`: one signed job, end to end, against the embedded cloud and a simulated robot;
//!   leaves `report.html` and `summary.json`.
//! - `prove`: properties, mutations and faults, seed after seed, over nights.
//! - `test`: installs what the tests need, runs all of them, counts.
//! - `ci`: formatting, lints, licences, docs, the direction of the dependencies, the tests.
//!
//! # What it never does
//! It links neither the agent nor the cloud: it drives the two programs as a user would, by
//! command line and HTTP, and checks their claims with code of its own.

mod bench;
mod ci;
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
    /// Everything that a change must pass: format, lints, licences, docs, tests.
    Ci,
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
        Command::Ci => ci::run(),
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
