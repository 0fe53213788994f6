//! `cargo xtask ci`: what a change must pass, in the order of what fails fastest.

use crate::arm::{self, Arch};
use crate::demo;
use crate::process;
use crate::prove::fuzz;
use crate::test;
use crate::toolchain::{self, WASM_TARGET};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The cargo-deny that the checks were written against.
const CARGO_DENY: &str = "0.20.2";

/// What must never be in the cloud's tree: it neither runs skills nor keeps a robot's journal.
const NOT_IN_CLOUD: [&str; 2] = ["wasmtime", "sled"];

/// What also builds for a browser: anyone can verify evidence there.
const PORTABLE: [&str; 2] = ["nooterra-protocol", "nooterra-evidence"];

/// How a check came out.
enum Outcome {
    Failed { advice: String },
    Passed,
    Skipped { why: String },
}

type Check = fn() -> Result<Outcome>;

/// Every check but the tests, which come last.
const CHECKS: &[(&str, Check)] = &[
    ("the Rust target for skills", target),
    ("format", format),
    ("direction of the dependencies", direction),
    ("clippy", clippy),
    ("clippy, skills", clippy_skills),
    ("protocol and evidence for wasm32", portable),
    ("docs", docs),
    ("licences, bans, sources", deny),
    ("advisories", advisories),
    ("what a robot's package leaves out", package),
    ("the job with the aarch64 agent", aarch64),
    ("readers of bytes from outside, fuzzed", fuzzed),
];

/// Of `cargo xtask ci`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only checks whose name contains this, such as `aarch64`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|text| name.contains(text.as_str()))
    }
}

/// What the tests are called among the checks.
const TESTS: &str = "tests";

/// Runs the checks; false at the first that fails.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let total = CHECKS.len() + 1;
    let wanted = |name: &str| options.wants(name);
    if !wanted(TESTS) && !CHECKS.iter().any(|(name, _)| wanted(name)) {
        let names: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).chain([TESTS]).collect();
        bail!("no check has that name; there is: {}", names.join("; "));
    }
    for (index, (name, check)) in CHECKS.iter().enumerate().filter(|(_, (name, _))| wanted(name)) {
        println!("[{}/{total}] {name} ...", index + 1);
        let began = Instant::now();
        let outcome = check().with_context(|| format!("check `{name}`"))?;
        let took = began.elapsed().as_secs_f64();
        match outcome {
            Outcome::Passed => println!("[{}/{total}] {name}: ok ({took:.1} s)", index + 1),
            Outcome::Skipped { why } => {
                println!("[{}/{total}] {name}: skipped, {why} ({took:.1} s)", index + 1);
            }
            Outcome::Failed { advice } => {
                println!("[{}/{total}] {name}: FAILED ({took:.1} s)", index + 1);
                println!("what to do: {advice}");
                return Ok(false);
            }
        }
    }
    if !wanted(TESTS) {
        return Ok(true);
    }
    println!("[{total}/{total}] {TESTS} ...");
    // Its last line is the count, and stays the last line of this command too.
    test::run(&test::Options::all())
}

fn target() -> Result<Outcome> {
    if toolchain::ensure_wasm_target()? {
        println!("      added {WASM_TARGET}");
    }
    Ok(Outcome::Passed)
}

fn format() -> Result<Outcome> {
    let advice = "run `cargo fmt --all`, and again in examples/skills, skill-host/sdk, \
                  xtask/fuzz, xtask/no-panic, xtask/peers";
    let check = ["fmt", "--all", "--check"];
    let mut clean = process::pass_through(toolchain::cargo().args(check))?;
    clean &= process::pass_through(skills().args(check))?;
    // By file: `--all` would follow the paths into the workspace around them.
    for folder in ["skill-host/sdk", "xtask/fuzz", "xtask/no-panic", "xtask/peers"] {
        let mut command = toolchain::cargo();
        command.current_dir(toolchain::root().join(folder)).args(["fmt", "--check"]);
        clean &= process::pass_through(&mut command)?;
    }
    Ok(passed(clean, advice))
}

fn clippy() -> Result<Outcome> {
    let clean = process::pass_through(toolchain::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(passed(clean, "mend what clippy names above; an `allow` needs its reason beside it"))
}

fn clippy_skills() -> Result<Outcome> {
    let lints = ["clippy", "--workspace", "--target", WASM_TARGET, "--", "-D", "warnings"];
    let mut clean = process::pass_through(skills().args(lints))?;
    // For this machine too: what unit tests of skills use is there only.
    for lints in [&lints[..], &["clippy", "--all-targets", "--", "-D", "warnings"]] {
        let sdk = toolchain::root().join("skill-host/sdk");
        clean &= process::pass_through(toolchain::cargo().current_dir(sdk).args(lints))?;
    }
    Ok(passed(clean, "mend what clippy names above in examples/skills or skill-host/sdk"))
}

fn docs() -> Result<Outcome> {
    let clean = process::pass_through(
        toolchain::cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
            // Private items are documented too, so a link to one is no dead end.
            .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"),
    )?;
    Ok(passed(clean, "mend what rustdoc names above, often a link to something renamed"))
}

fn portable() -> Result<Outcome> {
    let mut command = toolchain::cargo();
    command.args(["check", "--target", WASM_TARGET]);
    for package in PORTABLE {
        command.args(["--package", package]);
    }
    let builds = process::pass_through(&mut command)?;
    Ok(passed(builds, "these two crates must not use anything that needs an operating system"))
}

fn direction() -> Result<Outcome> {
    for package in NOT_IN_CLOUD {
        if is_in_tree("nooterra-cloud", package)? {
            let why = format!("cargo tree --package nooterra-cloud --edges normal -i {package}");
            return Ok(Outcome::Failed {
                advice: format!("the cloud must not depend on {package}; see who brings it: {why}"),
            });
        }
    }
    if let Some((package, forbidden)) = upward_edges(&tree_of_ours()?).first() {
        let advice = format!("{package} depends on {forbidden}, which lies above it");
        return Ok(Outcome::Failed { advice: format!("{advice}; state a trait instead") });
    }
    Ok(Outcome::Passed)
}

/// `inner` is among the normal dependencies of `package`.
fn is_in_tree(package: &str, inner: &str) -> Result<bool> {
    let tree = process::succeed(
        toolchain::cargo()
            .args(["tree", "--package", package, "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}", "--target", "all"]),
    )?;
    Ok(tree.lines().any(|line| line.split(' ').next() == Some(inner)))
}

/// Which of our crates each of our crates may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("nooterra-protocol", &[]),
    ("nooterra-policy", &["nooterra-protocol"]),
    ("nooterra-hal", &["nooterra-policy", "nooterra-protocol"]),
    ("nooterra-evidence", &["nooterra-protocol"]),
    ("nooterra-blackbox", &["nooterra-evidence", "nooterra-protocol"]),
    ("nooterra-skill-host", &["nooterra-protocol"]),
    (
        "nooterra-agent",
        &[
            "nooterra-blackbox",
            "nooterra-evidence",
            "nooterra-hal",
            "nooterra-policy",
            "nooterra-protocol",
            "nooterra-skill-host",
        ],
    ),
    ("nooterra-client", &["nooterra-protocol"]),
    ("nooterra-cloud", &["nooterra-client", "nooterra-evidence", "nooterra-protocol"]),
    ("nooterra-xtask", &["nooterra-hal", "nooterra-policy", "nooterra-protocol"]),
];

/// Our crates and which of ours they name as dependencies.
fn tree_of_ours() -> Result<Vec<(String, String)>> {
    let text = process::succeed(toolchain::cargo().args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let (Some(from), Some(to)) = (package["name"].as_str(), dependency["name"].as_str())
            else {
                continue;
            };
            // Tests may look further up: a cloud embedded in a test of the agent.
            if to.starts_with("nooterra-") && dependency["kind"].is_null() {
                edges.push((from.to_owned(), to.to_owned()));
            }
        }
    }
    Ok(edges)
}

fn upward_edges(edges: &[(String, String)]) -> Vec<(&str, &str)> {
    let allowed = |from: &str, to: &str| {
        MAY_USE.iter().find(|(name, _)| *name == from).is_none_or(|(_, below)| below.contains(&to))
    };
    edges
        .iter()
        .filter(|(from, to)| !allowed(from, to))
        .map(|(from, to)| (from.as_str(), to.as_str()))
        .collect()
}

fn deny() -> Result<Outcome> {
    let checks = ["check", "bans", "licenses", "sources"];
    let mut clean = process::pass_through(cargo_deny()?.args(checks))?;
    // They have lock files of their own; the rules are the same.
    for folder in
        ["examples/skills", "skill-host/sdk", "xtask/fuzz", "xtask/no-panic", "xtask/peers"]
    {
        let mut command = cargo_deny()?;
        let manifest = format!("{folder}/Cargo.toml");
        command.args(["--manifest-path", &manifest, "--config", "deny.toml"]);
        clean &= process::pass_through(command.args(checks))?;
    }
    Ok(passed(clean, "replace the dependency, or state in deny.toml why it is acceptable"))
}

/// The database of advisories is fetched over the network, which a builder may not have.
fn advisories() -> Result<Outcome> {
    let output = process::output(cargo_deny()?.args(["check", "advisories"]))?;
    if output.status.success() {
        return Ok(Outcome::Passed);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if is_out_of_reach(&said) {
        return Ok(Outcome::Skipped { why: "the advisory database is out of reach".to_owned() });
    }
    eprintln!("{said}");
    Ok(passed(false, "update the crate, or state in deny.toml why the advisory does not apply"))
}

fn is_out_of_reach(said: &str) -> bool {
    ["failed to fetch advisory database", "failed to load advisory database", "failed to clone"]
        .iter()
        .any(|sign| said.contains(sign))
}

/// What only the simulator and the developer need must not reach a robot.
fn package() -> Result<Outcome> {
    Ok(match arm::superfluous()? {
        None => Outcome::Passed,
        Some(tree) => Outcome::Failed {
            advice: format!("leave it to the features `sim` or `tools`; who brings it: {tree}"),
        },
    })
}

/// The demo's job with the agent that was built for aarch64, under emulation. The agent is in
/// the development profile, because building it is most of what this costs.
fn aarch64() -> Result<Outcome> {
    if let Some(why) = without_arm() {
        return Ok(Outcome::Skipped { why });
    }
    let out = toolchain::root().join("target/demo-aarch64");
    let holds = demo::run(&demo::Options::of_agent(Arch::Aarch64, out))?;
    Ok(passed(holds, "see which claim fails: cargo xtask demo --agent aarch64"))
}

/// A moment for each reader, from well-formed inputs on: that they still compile together, and
/// that none falls over at once. Nights are for `cargo xtask prove fuzz`.
fn fuzzed() -> Result<Outcome> {
    if !fuzz::has_compiler() && toolchain::can_install() {
        println!("      installing g++");
        if let Err(error) = toolchain::apt(&fuzz::COMPILER.iter().collect::<Vec<_>>()) {
            println!("      {error:#}");
        }
    }
    if !fuzz::has_compiler() {
        let why = "libFuzzer is C++, and there is no C++ compiler; as root: apt-get install g++";
        return Ok(Outcome::Skipped { why: why.to_owned() });
    }
    let holds = fuzz::run_all(Duration::from_secs(20), Some(1))?;
    Ok(passed(holds, "each failure above names the command that repeats it"))
}

/// Installs what building and running for aarch64 needs; says why it is not there otherwise.
/// A builder may have no network, and that is no fault of the change.
fn without_arm() -> Option<String> {
    let missing = || arm::missing(Arch::Aarch64);
    let before = missing();
    if !before.is_empty() && toolchain::can_install() {
        println!("      installing {}", toolchain::names(&before));
        if let Err(error) = toolchain::apt(&before) {
            println!("      {error:#}");
        }
    }
    let still = missing();
    if !still.is_empty() {
        return Some(format!("its tools are missing; as root: {}", toolchain::install(&still)));
    }
    match toolchain::ensure_target(Arch::Aarch64.triple(), "the robot's program needs") {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// `cargo deny`, installed when it is missing.
fn cargo_deny() -> Result<Command> {
    let present = process::output(toolchain::cargo().args(["deny", "--version"]))?.status.success();
    if !present {
        println!("      installing cargo-deny {CARGO_DENY} (about two minutes, once)");
        process::succeed(toolchain::cargo().args([
            "install",
            // A check of a second: less to compile counts for more than speed.
            "--debug",
            "--locked",
            "--version",
            CARGO_DENY,
            "cargo-deny",
        ]))
        .context("cargo-deny is missing and could not be installed")?;
    }
    let mut command = toolchain::cargo();
    command.arg("deny");
    Ok(command)
}

fn passed(success: bool, advice: &str) -> Outcome {
    if success { Outcome::Passed } else { Outcome::Failed { advice: advice.to_owned() } }
}

fn skills_dir() -> PathBuf {
    toolchain::root().join("examples/skills")
}

/// Cargo in the workspace of the example skills.
fn skills() -> Command {
    let mut command = toolchain::cargo();
    command.current_dir(skills_dir());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn a_crate_that_reaches_up_is_found() {
        let edges = [
            edge("nooterra-hal", "nooterra-policy"),
            edge("nooterra-policy", "nooterra-blackbox"),
            edge("nooterra-agent", "nooterra-blackbox"),
        ];
        assert_eq!(upward_edges(&edges), [("nooterra-policy", "nooterra-blackbox")]);
    }

    #[test]
    fn one_check_can_be_run_alone_and_a_name_that_none_has_is_refused() {
        let only = |text: &str| Options { only: Some(text.to_owned()) };
        assert!(only("aarch64").wants("the job with the aarch64 agent"));
        assert!(!only("aarch64").wants(TESTS) && Options { only: None }.wants(TESTS));
        assert!(run(&only("arch64x")).unwrap_err().to_string().contains("clippy"));
    }

    #[test]
    fn this_workspace_points_one_way() {
        let edges = tree_of_ours().unwrap();
        assert!(!edges.is_empty());
        assert_eq!(upward_edges(&edges), []);
    }

    #[test]
    fn a_missing_database_is_told_from_an_advisory() {
        assert!(is_out_of_reach("error: failed to fetch advisory database https://example.org"));
        assert!(!is_out_of_reach("error[vulnerability]: RUSTSEC-2020-0001"));
    }
}
