//! `cargo xtask prove no-panic`: that no tick of the gate can panic.
//!
//! The program in `xtask/no-panic` is linked only if the optimiser, which sees all of it, finds
//! no way from the tick to a panic. What it does not find may still be one that never happens:
//! a failure says that nothing is shown, not that there is a panic.

use crate::process;
use crate::toolchain;
use anyhow::Result;
use std::process::Command;

/// Builds and runs it; false where it does not link.
pub(super) fn run() -> Result<bool> {
    let mut command = toolchain::cargo();
    command.args(["build", "--release", "--manifest-path", "xtask/no-panic/Cargo.toml"]);
    command.arg("--target-dir").arg(toolchain::target_dir()?.join("no-panic"));
    // Of the flags that somebody may build with, each could change what is shown.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = process::output(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        println!("{said}");
        let shows = said.contains("detected panic in function");
        let why = if shows { "a panic may be reached" } else { "it does not build" };
        println!("no-panic: FAILED, {why}");
        return Ok(false);
    }
    let built = toolchain::target_dir()?.join("no-panic/release/nooterra-no-panic");
    process::succeed(&mut Command::new(built))?;
    println!("no-panic: no tick of the gate can panic");
    Ok(true)
}
