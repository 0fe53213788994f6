//! Who compiles for ARM: `cross` in a container, or Debian's cross gcc.

use super::Arch;
use crate::process;
use crate::toolchain::{self, Package};
use anyhow::{Result, bail};
use std::process::Command;

/// How long an engine may take to answer. The client is often there without its daemon, and
/// one that is told of a machine out of reach waits for it.
const PATIENCE_S: &str = "10";

/// For aarch64. aws-lc is C and assembly; nothing needs cmake or bindgen.
const AARCH64: &[Package] = &[
    Package {
        name: "g++-aarch64-linux-gnu",
        path: "/usr/bin/aarch64-linux-gnu-g++",
        why: "compiles C++ for aarch64",
    },
    Package {
        name: "gcc-aarch64-linux-gnu",
        path: "/usr/bin/aarch64-linux-gnu-gcc",
        why: "compiles C and links for aarch64",
    },
    Package {
        name: "libc6-dev-arm64-cross",
        path: "/usr/aarch64-linux-gnu/include/stdio.h",
        why: "the C library for aarch64",
    },
];

/// For armv7.
const ARMV7: &[Package] = &[
    Package {
        name: "g++-arm-linux-gnueabihf",
        path: "/usr/bin/arm-linux-gnueabihf-g++",
        why: "compiles C++ for armv7",
    },
    Package {
        name: "gcc-arm-linux-gnueabihf",
        path: "/usr/bin/arm-linux-gnueabihf-gcc",
        why: "compiles C and links for armv7",
    },
    Package {
        name: "libc6-dev-armhf-cross",
        path: "/usr/arm-linux-gnueabihf/include/stdio.h",
        why: "the C library for armv7",
    },
];

/// As the command line names them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum With {
    /// `cross`, in a container.
    Cross,
    /// Debian's cross gcc.
    Gcc,
}

/// Who compiles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compiler {
    /// `cross`, which reads `Cross.toml`.
    Cross,
    /// Debian's cross gcc.
    Gcc,
    /// This machine's own: it has the processor that is built for.
    Own,
}

/// The packages of Debian's cross gcc.
pub(super) fn packages(arch: Arch) -> &'static [Package] {
    match arch {
        _ if arch.is_here() => &[],
        Arch::Aarch64 => AARCH64,
        Arch::Armv7 => ARMV7,
    }
}

impl Compiler {
    /// Who is wanted, or who can: says which, and why.
    pub(super) fn choose(
        wanted: Option<With>,
        arch: Arch,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        match wanted {
            Some(With::Cross) => match cross() {
                Ok(_) => Ok(Self::Cross),
                Err(why) => bail!("cross cannot be used: {why}; --with gcc needs no container"),
            },
            Some(With::Gcc) if !arch.is_here() => Ok(Self::Gcc),
            None if !arch.is_here() => match cross() {
                Ok(engine) => {
                    say(&format!("compiling with cross: {engine} answers"));
                    Ok(Self::Cross)
                }
                Err(why) => {
                    say(&format!("compiling with Debian's cross gcc: {why}"));
                    Ok(Self::Gcc)
                }
            },
            _ => Ok(Self::Own),
        }
    }

    /// Installs what is missing; an error where it cannot.
    pub(super) fn prepare(self, arch: Arch, say: &mut dyn FnMut(&str)) -> Result<()> {
        if self == Self::Cross {
            return Ok(());
        }
        if self == Self::Gcc {
            toolchain::require_packages(packages(arch), say)?;
        }
        let triple = arch.triple();
        if toolchain::ensure_target(triple, "the robot's program needs")? {
            say(&format!("added the Rust target {triple}"));
        }
        Ok(())
    }

    /// Cargo, or what stands in for it, in the root of the repository.
    pub(super) fn command(self, arch: Arch) -> Command {
        if self == Self::Cross {
            let mut command = Command::new("cross");
            command.current_dir(toolchain::root());
            return command;
        }
        let mut command = toolchain::cargo();
        if self == Self::Gcc {
            let (variable, linker) = match arch {
                Arch::Aarch64 => {
                    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
                }
                Arch::Armv7 => {
                    ("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER", "arm-linux-gnueabihf-gcc")
                }
            };
            command.env(variable, linker);
        }
        command
    }

    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cross => "cross",
            Self::Gcc => "Debian's cross gcc",
            Self::Own => "this machine's own compiler",
        }
    }
}

/// The engine that answers, if `cross` is here too; otherwise why not.
fn cross() -> Result<String, String> {
    // Asked first: it is the quicker answer, and mostly the last.
    if !succeeds(Command::new("cross").arg("--version").current_dir(toolchain::root())) {
        return Err("cross is not installed".to_owned());
    }
    let named = std::env::var("CROSS_CONTAINER_ENGINE").ok();
    let engines =
        named.map_or_else(|| vec!["docker".to_owned(), "podman".to_owned()], |engine| vec![engine]);
    match engines.iter().find(|engine| answers(engine)) {
        Some(engine) => Ok(engine.clone()),
        None => Err(format!("no container engine answers ({})", engines.join(", "))),
    }
}

/// The engine's daemon answers: the client alone proves nothing.
fn answers(engine: &str) -> bool {
    let is_podman = engine.rsplit('/').next() == Some("podman");
    // Podman has no daemon; `info` fails where it cannot run containers.
    let question: &[&str] =
        if is_podman { &["info"] } else { &["version", "--format", "{{.Server.Version}}"] };
    succeeds(Command::new("timeout").args([PATIENCE_S, engine]).args(question))
}

fn succeeds(command: &mut Command) -> bool {
    process::output(command).is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(dir: &std::path::Path, text: &str) -> String {
        let path = dir.join("engine");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    #[test]
    fn a_client_without_its_daemon_is_no_engine() {
        let dir = tempfile::tempdir().unwrap();
        assert!(answers(&script(dir.path(), "echo 28.1.0")));
        assert!(!answers(&script(dir.path(), "echo cannot connect to the daemon >&2; exit 1")));
        assert!(!answers("/nonexistent/engine"));
    }

    #[test]
    fn cross_that_cannot_run_is_refused_with_a_way_out() {
        if cross().is_err() {
            let refused = Compiler::choose(Some(With::Cross), Arch::Aarch64, &mut |_| {});
            assert!(refused.unwrap_err().to_string().contains("--with gcc"));
        }
    }

    #[test]
    fn gcc_needs_no_container() {
        let chosen = Compiler::choose(Some(With::Gcc), Arch::Armv7, &mut |_| {}).unwrap();
        assert_eq!(chosen, Compiler::Gcc);
    }
}
