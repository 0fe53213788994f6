//! What this machine does not let a test do: asked before the test, and said where it is seen.

use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Says that the running test shows nothing here. Past the harness, which keeps to itself what
/// a test prints that passes; `cargo xtask test` counts these lines.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("\nSKIPPED: {test}: {why}\n");
    // Nobody listens: then it cannot be said.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// Runs a probe; otherwise what was tried, and why it did not succeed, in one line.
pub(crate) fn allows(what: &str, program: &str, args: &[&str]) -> Result<(), String> {
    let mut probe = Command::new(program);
    let output = probe.args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{what}: {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("refused");
    Err(format!("{what}: {}", said.trim()))
}

/// One process may stop another's threads.
pub(crate) fn allows_tracing() -> Result<(), String> {
    let mut traced = Command::new("sleep").arg("60").spawn().map_err(|e| e.to_string())?;
    let id = Pid::from_raw(i32::try_from(traced.id()).map_err(|e| e.to_string())?);
    let seized = ptrace::seize(id, ptrace::Options::empty());
    // Gone with the test in any case.
    let _ = traced.kill();
    let _ = waitpid(id, None);
    seized.map_err(|error| format!("stopping a thread by ptrace: {error}"))
}
