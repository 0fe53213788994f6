//! `cargo xtask prove api`: the whole API asked by schemathesis, as the test of the cloud has it,
//! for as long as there is time. What asks and what is looked for is in
//! `cloud/tests/it/schemathesis.rs`; here it is installed and given its minutes.

use super::minutes;
use crate::process;
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The release that the test was written against.
const RELEASE: &str = "schemathesis==4.32.5";

/// Of the cloud's integration tests; no other program of the name `it` has such a module.
const TEST: &str = "schemathesis::";

/// Of `cargo xtask prove api`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Options {
    /// How long it asks.
    #[arg(long = "for", value_name = "MINUTES", value_parser = minutes, default_value = "10")]
    patience: Duration,
    /// The seed of its cases; one of its own unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// False when it found something.
pub(super) fn run(options: &Options) -> Result<bool> {
    let program = installed()?;
    let mut command = toolchain::cargo();
    // Of the whole workspace, as `xtask test` builds it: by itself the package has fewer features of
    // what others use too, and almost everything below it would be compiled once more.
    command
        .args(["test", "--workspace", "--test", "it", TEST, "--", "--nocapture"])
        .env("NOOTERRA_SCHEMATHESIS", program)
        .env("NOOTERRA_SCHEMATHESIS_S", options.patience.as_secs().max(1).to_string());
    if let Some(seed) = options.seed {
        command.env("NOOTERRA_SCHEMATHESIS_SEED", seed.to_string());
    }
    Ok(command.status().context("cannot start cargo")?.success())
}

/// The program, in an environment of its own below `target`; made where it is missing.
fn installed() -> Result<PathBuf> {
    let folder = toolchain::root().join("target/prove/schemathesis");
    let program = folder.join("bin/schemathesis");
    let is_it = |program: &Path| {
        let said = process::output(Command::new(program).arg("--version"));
        let version = RELEASE.rsplit('=').next().unwrap_or(RELEASE);
        said.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(version))
    };
    if is_it(&program) {
        return Ok(program);
    }
    println!("installing {RELEASE} into {}", folder.display());
    let made = process::succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    made.context("python3 makes no environment: apt-get install python3-venv")?;
    let pip = folder.join("bin/pip");
    let installed = process::succeed(Command::new(pip).args(["install", "--quiet", RELEASE]));
    installed.context("schemathesis was not installed; it comes from PyPI, over the network")?;
    if !is_it(&program) {
        bail!("{} does not run", program.display());
    }
    Ok(program)
}
