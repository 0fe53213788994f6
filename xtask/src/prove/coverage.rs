//! `cargo xtask prove coverage`: which regions of the gate its own tests run through.
//!
//! By the compiler's own counters and LLVM's tools of the toolchain. What is counted is the code
//! of `policy` itself, its tests left out; a table of files is printed, and a page for each,
//! with the regions that no test reaches, is left in `target/prove/coverage`.

use crate::process;
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of `cargo xtask prove coverage`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Fail below so many of a hundred regions.
    #[arg(long, value_name = "PERCENT", default_value_t = LEAST)]
    least: f64,
}

const LEAST: f64 = 95.0;

const PACKAGE: &str = "nooterra-policy";

/// What is not the gate: tests, the other crates, and crates from elsewhere.
const LEFT_OUT: &str =
    r"(/tests/|/tests\.rs|/escapes\.rs|/examples/|/registry/|/rustc/|/library/|/protocol/)";

/// Of a file, or of all.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Regions {
    count: u64,
    covered: u64,
}

/// Counts; false where too little is covered.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let tools = tools()?;
    let folder = toolchain::root().join("target/prove/coverage");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = toolchain::cargo();
    command.args(["test", "--no-run", "--lib", "--tests", "--package", PACKAGE, "--target-dir"]);
    // A folder of its own: everything is compiled with counters.
    command.arg(toolchain::target_dir()?.join("coverage"));
    command.env("RUSTFLAGS", "-Cinstrument-coverage").env_remove("CARGO_ENCODED_RUSTFLAGS");
    // What counts while it compiles is not asked for.
    command.env("LLVM_PROFILE_FILE", folder.join("build-%m.profraw"));
    let programs = toolchain::build(&mut command)?;
    // Compiles programs that must be refused, and has nothing to count.
    let programs: Vec<&PathBuf> =
        programs.iter().filter(|program| !named(program, "compile_fail")).collect();
    for (nth, program) in programs.iter().enumerate() {
        let mut command = Command::new(program);
        command.current_dir(toolchain::root().join("policy"));
        command.env("LLVM_PROFILE_FILE", folder.join(format!("{nth}-%p.profraw")));
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        process::succeed(&mut command)?;
    }
    let profile = folder.join("all.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge.args(["merge", "-sparse", "-o"]).arg(&profile);
    merge.args(raw_profiles(&folder, programs.len())?);
    process::succeed(&mut merge)?;
    let cov = |action: &str| {
        let mut command = Command::new(tools.join("llvm-cov"));
        command.arg(action).arg(format!("-instr-profile={}", profile.display()));
        command.arg(format!("-ignore-filename-regex={LEFT_OUT}"));
        for (nth, program) in programs.iter().enumerate() {
            let named = if nth == 0 { OsString::new() } else { OsString::from("-object=") };
            let mut argument = named;
            argument.push(program);
            command.arg(argument);
        }
        command
    };
    let pages = folder.join("html");
    process::succeed(
        cov("show").arg("-format=html").arg(format!("-output-dir={}", pages.display())),
    )?;
    let told = process::succeed(cov("export").args(["-summary-only", "-skip-expansions"]))?;
    let (files, all) = read(&told)?;
    let width = files.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, regions) in &files {
        println!("{name:<width$}  {regions}");
    }
    println!("{:<width$}  {all}", "all");
    println!("pages: {}", pages.join("index.html").display());
    let holds = all.percent() >= options.least;
    if !holds {
        println!("FAILED: {:.2} % of the regions is less than {} %", all.percent(), options.least);
    }
    Ok(holds)
}

/// The programs of LLVM beside the compiler; added where they are missing.
fn tools() -> Result<PathBuf> {
    let host = process::succeed(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?.to_owned();
    let sysroot = process::succeed(Command::new("rustc").args(["--print", "sysroot"]))?;
    let tools = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    if !tools.join("llvm-cov").is_file() {
        println!("missing: llvm-tools; adding it: rustup component add llvm-tools");
        let mut add = Command::new("rustup");
        process::succeed(add.args(["component", "add", "llvm-tools"]))
            .context("with network, run: rustup component add llvm-tools")?;
    }
    Ok(tools)
}

fn named(program: &Path, name: &str) -> bool {
    let file = program.file_name().unwrap_or_default().to_string_lossy();
    file.rsplit_once('-').is_some_and(|(stem, _)| stem == name)
}

/// What the programs wrote: at least a file for each.
fn raw_profiles(folder: &Path, programs: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let files =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for file in files {
        let path = file.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".profraw") && !name.starts_with("build-") {
            found.push(path);
        }
    }
    if found.len() < programs {
        bail!("{programs} test programs left only {} profiles", found.len());
    }
    Ok(found)
}

impl Regions {
    /// Of a summary in LLVM's export.
    fn read(summary: &Value) -> Option<Self> {
        let regions = &summary["regions"];
        Some(Self { count: regions["count"].as_u64()?, covered: regions["covered"].as_u64()? })
    }

    #[allow(clippy::cast_precision_loss)] // Thousands.
    fn percent(self) -> f64 {
        if self.count == 0 { 100.0 } else { self.covered as f64 / self.count as f64 * 100.0 }
    }
}

impl std::fmt::Display for Regions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>5} of {:>5} regions, {:6.2} %", self.covered, self.count, self.percent())
    }
}

/// The files by name, and all together.
fn read(told: &str) -> Result<(Vec<(String, Regions)>, Regions)> {
    let told: Value = serde_json::from_str(told).context("llvm-cov's export is not JSON")?;
    let data = &told["data"][0];
    let all = Regions::read(&data["totals"]).context("llvm-cov's export has no totals")?;
    let files = data["files"].as_array().context("llvm-cov's export has no files")?;
    let mut found = Vec::new();
    for file in files {
        let name = file["filename"].as_str().unwrap_or_default();
        let name = name.rsplit_once("policy/src/").map_or(name, |(_, name)| name);
        let regions = Regions::read(&file["summary"]).context("a file without regions")?;
        found.push((name.to_owned(), regions));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((found, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_from_what_llvm_cov_exports() {
        let told = r#"{"data":[{"files":[
            {"filename":"/h/policy/src/walk.rs","summary":{"regions":{"count":4,"covered":3}}},
            {"filename":"/h/policy/src/gate.rs","summary":{"regions":{"count":6,"covered":6}}}],
            "totals":{"regions":{"count":10,"covered":9}}}]}"#;
        let (files, all) = read(told).unwrap();
        assert_eq!(all, Regions { count: 10, covered: 9 });
        assert!((all.percent() - 90.0).abs() < 1e-9);
        assert_eq!(files[0], ("gate.rs".to_owned(), Regions { count: 6, covered: 6 }));
        assert!(read("{}").is_err() && read("").is_err());
    }
}
