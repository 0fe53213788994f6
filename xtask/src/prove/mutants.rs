//! `cargo xtask prove mutants --shard K/N`: faults put into the gate one by one, each of which
//! some test must notice.
//!
//! By cargo-mutants, on a copy of the tree, with the tests that `.cargo/mutants.toml` names. All
//! of them take a day; shards are spread evenly over the files, so that each is a sample of the
//! whole. What survived, and why it may, is told in `docs/mutants.md`.

use crate::process;
use crate::toolchain;
use anyhow::Result;

/// Of `cargo xtask prove mutants`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which part of how many; all of them, a day's work, unless given.
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<String>,
}

/// Cases that each law draws for each fault.
const CASES: &str = "32";

/// Mutates; false when a fault went unnoticed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let version = process::output(toolchain::cargo().args(["mutants", "--version"]));
    if !version.is_ok_and(|output| output.status.success()) {
        println!(
            "mutants: skipped, there is no cargo-mutants; cargo install cargo-mutants --locked \
             --version 27.1.0"
        );
        return Ok(true);
    }
    let mut command = toolchain::cargo();
    command.args(["mutants", "--package", "nooterra-policy", "--jobs", "1", "--no-shuffle"]);
    command.args(["--gitignore", "true", "--output"]);
    command.arg(toolchain::root().join("target/prove/mutants"));
    if let Some(shard) = &options.shard {
        command.args(["--sharding", "round-robin", "--shard", shard]);
    }
    // A copy of the tree must not build into the target folder of this one.
    command.env_remove("CARGO_TARGET_DIR");
    command.env("PROPTEST_CASES", CASES).env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    process::pass_through(&mut command)
}

fn shard(text: &str) -> Result<String, String> {
    let parts = text
        .split_once('/')
        .and_then(|(nth, count)| Some((nth.parse::<u32>().ok()?, count.parse::<u32>().ok()?)));
    match parts {
        Some((nth, count)) if nth < count => Ok(text.to_owned()),
        _ => Err("write K/N with K from 0 to N-1, such as 0/32".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_some() {
        assert_eq!(shard("3/32").unwrap(), "3/32");
        for bad in ["", "3", "32/32", "-1/4", "a/b", "1/0"] {
            assert!(shard(bad).is_err(), "{bad}");
        }
    }
}
