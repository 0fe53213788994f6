//! The workspace on the disk, cargo, rustup and apt: what is there, and what is added.

use crate::process;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that skills are compiled for.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The root of the repository: of the one that cargo runs us in. Two checkouts that share a folder
/// for what is built may share this program too, and it would otherwise know the other one only.
pub(crate) fn root() -> PathBuf {
    let built_in = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built_in, PathBuf::from);
    here.parent().unwrap_or(&here).to_path_buf()
}

/// Cargo, as it started us, in the root of the repository. It does not hear which package we are:
/// the build script of ring asks to run again whenever that changes, and all that stands on it
/// would be built anew in turns, by this command and by whoever calls cargo by hand.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_MANIFEST_", "CARGO_PKG_"];
        if of_package.iter().any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes())) {
            command.env_remove(name);
        }
    }
    command
}

fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let text = process::succeed(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let dir = metadata["target_directory"].as_str();
    dir.map(PathBuf::from).context("cargo metadata names no target directory")
}

/// Adds the skill target when it is missing; true when it was.
pub(crate) fn ensure_wasm_target() -> Result<bool> {
    ensure_target(WASM_TARGET, "skills need")
}

/// Adds a Rust target when it is missing; true when it was. `who_needs` opens the error where
/// it cannot be added.
pub(crate) fn ensure_target(target: &str, who_needs: &str) -> Result<bool> {
    let sysroot = process::succeed(Command::new("rustc").args(["--print", "sysroot"]))
        .context("rustc is missing: install rustup from https://rustup.rs")?;
    let installed = Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib");
    if installed.is_dir() {
        return Ok(false);
    }
    process::succeed(Command::new("rustup").args(["target", "add", target])).with_context(
        || {
            format!(
                "{who_needs} the Rust target {target}, which is missing and could not be added; \
                 with network, run: rustup target add {target}"
            )
        },
    )?;
    Ok(true)
}

/// Builds and returns the files that came of it: programs, and WebAssembly modules.
pub(crate) fn build(command: &mut Command) -> Result<Vec<PathBuf>> {
    command.arg("--message-format=json-render-diagnostics");
    let line = process::shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`{line}` failed; its errors are above");
    }
    Ok(artifacts(&String::from_utf8_lossy(&output.stdout)))
}

/// The files in cargo's messages that can be run.
fn artifacts(messages: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        if let Some(program) = message["executable"].as_str() {
            found.push(PathBuf::from(program));
        }
        for file in message["filenames"].as_array().into_iter().flatten() {
            if let Some(file) = file.as_str().filter(|file| file.ends_with(".wasm")) {
                found.push(PathBuf::from(file));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The one of `files` with this name.
pub(crate) fn named(files: &[PathBuf], name: &str) -> Result<PathBuf> {
    files
        .iter()
        .find(|file| file.file_name().is_some_and(|found| found == name))
        .cloned()
        .with_context(|| format!("the build made no file `{name}`"))
}

/// A Debian package that provides `path`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: &'static str,
    /// A file that is there when it is installed.
    pub(crate) path: &'static str,
    /// What needs it.
    pub(crate) why: &'static str,
}

/// Installs the packages that are missing, as root; says what and why. Where that is not
/// possible it says what to type, and goes on: the tests that need them say so themselves.
pub(crate) fn ensure_packages(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        println!("missing: {} ({})", package.name, package.why);
    }
    if !can_install() {
        println!("not root, or no apt: to install them, run as root: {}", install(&missing));
        return Ok(());
    }
    println!("installing: {}", names(&missing));
    if let Err(error) = apt(&missing) {
        println!("not installed: {error:#}");
    }
    Ok(())
}

/// As [`ensure_packages`], for what cannot be done without; `say` is told what is installed.
pub(crate) fn require_packages(
    packages: &'static [Package],
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        say(&format!("missing: {} ({})", package.name, package.why));
    }
    if !can_install() {
        bail!(
            "not root, or no apt: to install what is missing, run as root: {}",
            install(&missing)
        );
    }
    say(&format!("installing: {}", names(&missing)));
    apt(&missing)
}

/// Those that are not installed.
pub(crate) fn missing(packages: &[Package]) -> Vec<&Package> {
    packages.iter().filter(|package| !Path::new(package.path).exists()).collect()
}

/// Packages can be installed: we are root, and there is an apt.
pub(crate) fn can_install() -> bool {
    nix::unistd::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// For one line.
pub(crate) fn names(packages: &[&Package]) -> String {
    packages.iter().map(|package| package.name).collect::<Vec<_>>().join(" ")
}

/// The command that installs them, for people.
pub(crate) fn install(packages: &[&Package]) -> String {
    format!("apt-get install -y --no-install-recommends {}", names(packages))
}

/// Installs, or says why not. Where no mirror answers that is said soon: a machine without
/// network is to skip what needs the packages, and not to wait.
pub(crate) fn apt(packages: &[&Package]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("timeout");
        command.args(["900", "apt-get", "-o", "Acquire::Retries=1"]);
        command.args(["-o", "Acquire::http::Timeout=30", "-o", "DPkg::Lock::Timeout=300"]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // Lists that are old may still do; whether they do, the installation says.
    if let Err(error) = process::succeed(apt().arg("update")) {
        eprintln!("apt-get update failed, and what is known already is used: {error:#}");
    }
    let names = packages.iter().map(|package| package.name);
    process::succeed(apt().args(["install", "-y", "--no-install-recommends"]).args(names))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_modules_are_read_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null,"filenames":["/t/libx.rlib"]}
not json
{"reason":"compiler-artifact","executable":"/t/debug/nooterra-agent","filenames":["/t/debug/nooterra-agent"]}
{"reason":"compiler-artifact","executable":null,"filenames":["/t/patrol.wasm"]}
{"reason":"build-finished","success":true}"#;
        let files = artifacts(messages);
        assert_eq!(named(&files, "patrol.wasm").unwrap(), Path::new("/t/patrol.wasm"));
        assert_eq!(named(&files, "nooterra-agent").unwrap().parent(), Some(Path::new("/t/debug")));
        assert!(named(&files, "absent").is_err());
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("protocol/src/lib.rs").is_file());
    }
}
