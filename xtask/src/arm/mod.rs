//! `cargo xtask build-arm`: the agent for the processors that robots have.
//!
//! [`compiler`] decides who compiles and links it, [`elf`] reads what came of it, and
//! [`emulator`] runs it on a machine with another processor.
//!
//! It never takes the developer's tools into the program: keys are made and skills are packed
//! on a developer's machine, by a program for that machine.

mod compiler;
mod elf;
mod emulator;

pub(crate) use compiler::With;
pub(crate) use emulator::Runnable;

use crate::process;
use crate::toolchain::{self, Package};
use anyhow::{Context as _, Result, bail};
use compiler::Compiler;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The program.
const AGENT: &str = "nooterra-agent";

/// What must not be in a robot's package: the simulator's physics, and what signs skills.
const NOT_IN_PACKAGE: [&str; 2] = ["minisign", "rapier2d"];

/// Of `cargo xtask build-arm`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// 32-bit ARM (armv7, hard float) instead of aarch64; skills are interpreted there.
    #[arg(long)]
    armv7: bool,
    /// Print what was made on stdout, as JSON.
    #[arg(long)]
    json: bool,
    /// What a robot gets: without the simulated robot, which is in it otherwise.
    #[arg(long)]
    package: bool,
    /// Optimised and stripped.
    #[arg(long)]
    release: bool,
    /// Who compiles; by default cross where a container engine answers, otherwise gcc.
    #[arg(long, value_enum, value_name = "COMPILER")]
    with: Option<With>,
}

/// A processor that the agent is built for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arch {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, hard float. The demo does not offer it: there, interpreted skills would be
    /// emulated on top.
    #[value(skip)]
    Armv7,
}

/// What goes into the agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    /// What a robot gets.
    Package,
    /// The same, and the simulated robot.
    Sim,
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// For which processor.
    pub(crate) arch: Arch,
    /// Optimised and stripped.
    pub(crate) release: bool,
    /// With what in it.
    pub(crate) variant: Variant,
    /// By whom; `None` leaves the choice to what is there.
    pub(crate) with: Option<With>,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Built {
    arch: Arch,
    bytes: u64,
    compiler: &'static str,
    /// The oldest C library that it runs with.
    glibc: Option<String>,
    pub(crate) program: PathBuf,
    release: bool,
    seconds: f64,
    target: &'static str,
    variant: Variant,
}

/// Builds as the command line says.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let order = Order {
        arch: if options.armv7 { Arch::Armv7 } else { Arch::Aarch64 },
        release: options.release,
        variant: if options.package { Variant::Package } else { Variant::Sim },
        with: options.with,
    };
    let built = if options.json {
        build(order, &mut |line| eprintln!("{line}"))?
    } else {
        build(order, &mut |line| println!("{line}"))?
    };
    if options.json {
        println!("{}", serde_json::to_string(&built).context("cannot encode the answer")?);
    } else {
        println!("{built}");
    }
    Ok(true)
}

/// Builds the agent; `say` is told what is installed and who compiles.
pub(crate) fn build(order: Order, say: &mut dyn FnMut(&str)) -> Result<Built> {
    let began = Instant::now();
    let (arch, triple) = (order.arch, order.arch.triple());
    let compiler = Compiler::choose(order.with, arch, say)?;
    compiler.prepare(arch, say)?;
    let mut command = compiler.command(arch);
    command.args(["build", "--target", triple, "-p", AGENT, "--no-default-features"]);
    if order.variant == Variant::Sim {
        command.args(["--features", "sim"]);
    }
    if order.release {
        command.arg("--release");
    }
    let line = process::shown(&command);
    say(&line);
    if !process::pass_through(&mut command)? {
        bail!("`{line}` failed; its errors are above");
    }
    let profile = if order.release { "release" } else { "debug" };
    let target_dir = toolchain::target_dir()?;
    let made = target_dir.join(triple).join(profile).join(AGENT);
    // Cargo puts every variant in the same place: a copy is what its name says.
    let program = target_dir.join("arm").join(order.dir()).join(AGENT);
    copy(&made, &program)?;
    let image = elf::read(&program)?;
    if image.machine != arch.machine() {
        bail!(
            "{} is for machine {} in the numbers of ELF, wanted {}",
            program.display(),
            image.machine,
            arch.machine()
        );
    }
    Ok(Built {
        arch,
        bytes: image.bytes,
        compiler: compiler.name(),
        glibc: image.glibc.map(|(major, minor)| format!("{major}.{minor}")),
        program,
        release: order.release,
        seconds: began.elapsed().as_secs_f64(),
        target: triple,
        variant: order.variant,
    })
}

/// The agent with the simulated robot, made to be run on this machine.
pub(crate) fn runnable(arch: Arch, say: &mut dyn FnMut(&str)) -> Result<Runnable> {
    toolchain::require_packages(arch.emulator_packages(), say)?;
    let order = Order { arch, release: false, variant: Variant::Sim, with: None };
    let built = build(order, say)?;
    Ok(Runnable::new(arch, built.program))
}

/// Which packages are missing that building and running for `arch` needs.
pub(crate) fn missing(arch: Arch) -> Vec<&'static Package> {
    let mut missing = toolchain::missing(arch.emulator_packages());
    missing.extend(toolchain::missing(compiler::packages(arch)));
    missing
}

/// What is in a robot's package and must not be, with the command that shows who brings it.
pub(crate) fn superfluous() -> Result<Option<String>> {
    let tree = ["tree", "-p", AGENT, "--no-default-features", "--edges", "normal"];
    let listed = process::succeed(toolchain::cargo().args(tree).args([
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--target",
        Arch::Aarch64.triple(),
    ]))?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    Ok(NOT_IN_PACKAGE
        .into_iter()
        .find(|package| names.contains(package))
        .map(|package| format!("cargo {} -i {package}", tree.join(" "))))
}

impl Arch {
    /// As rustc names it.
    pub(crate) const fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// As people name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
        }
    }

    /// This machine has this processor.
    pub(crate) fn is_here(self) -> bool {
        self == Self::Aarch64 && std::env::consts::ARCH == "aarch64"
    }

    /// `e_machine` of its programs (ELF: EM_AARCH64, EM_ARM).
    const fn machine(self) -> u16 {
        match self {
            Self::Aarch64 => 183,
            Self::Armv7 => 40,
        }
    }

    fn emulator_packages(self) -> &'static [Package] {
        if self.is_here() { &[] } else { emulator::packages(self) }
    }
}

impl Order {
    /// Where the program is kept, below the target directory.
    fn dir(self) -> PathBuf {
        let variant = match self.variant {
            Variant::Package => "package",
            Variant::Sim => "sim",
        };
        let profile = if self.release { "release" } else { "debug" };
        Path::new(self.arch.name()).join(format!("{variant}-{profile}"))
    }
}

impl std::fmt::Display for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let variant = match self.variant {
            Variant::Package => "a robot's package",
            Variant::Sim => "with the simulated robot",
        };
        writeln!(f, "{}", self.program.display())?;
        write!(f, "{}, {variant}, {:.1} MB", self.target, self.bytes as f64 / 1e6)?;
        if let Some(glibc) = &self.glibc {
            write!(f, ", runs with glibc {glibc} or later")?;
        }
        write!(f, "; made by {} in {:.0} s", self.compiler, self.seconds)
    }
}

/// Copies a program. What was there is removed first: it may be running.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().unwrap_or(to);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if let Err(error) = std::fs::remove_file(to)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot replace {}", to.display()));
    }
    std::fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robots_package_holds_neither_simulator_nor_the_developers_tools() {
        assert_eq!(superfluous().unwrap(), None);
    }

    #[test]
    fn every_variant_is_kept_in_a_place_of_its_own() {
        let mut dirs = Vec::new();
        for arch in [Arch::Aarch64, Arch::Armv7] {
            for variant in [Variant::Package, Variant::Sim] {
                for release in [false, true] {
                    dirs.push(Order { arch, release, variant, with: None }.dir());
                }
            }
        }
        dirs.sort();
        dirs.dedup();
        assert_eq!(dirs.len(), 8);
    }

    #[test]
    fn a_copy_replaces_a_program_that_is_running() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("a/sleep");
        copy(Path::new("/bin/sleep"), &to).unwrap();
        let mut running = std::process::Command::new(&to).arg("60").spawn().unwrap();
        let replaced = copy(Path::new("/bin/sleep"), &to);
        running.kill().unwrap();
        running.wait().unwrap();
        replaced.unwrap();
    }
}
