//! What a developer's command works on: a skill's folder, or a bundle.

use super::super::exit::{Code, coded};
use super::sbom;
use crate::rehearsal::cases::{self, Case};
use crate::rehearsal::{self, Script, Stage};
use anyhow::Context as _;
use clap::Args;
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::{GRAPH_FILE, MANIFEST_FILE, SkillManifest};
use nooterra_skill_host::{Beside, Bundle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

#[derive(Debug, Args)]
pub(in crate::cli) struct Project {
    /// The skill's folder, with its manifest.json; or a bundle.
    #[arg(value_name = "SKILL", default_value = ".")]
    skill: PathBuf,
    /// The component. Without it, a folder with a Cargo.toml is built by cargo.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

impl Project {
    /// The bundle as a robot would see it, whoever signs it. Of a folder it is made without a bill
    /// of materials and without cases, which change nothing about how it runs.
    pub(in crate::cli) fn bundle(&self) -> anyhow::Result<Bundle> {
        self.made(false)
    }

    /// The same as `skill pack` makes it.
    pub(in crate::cli) fn packed(&self) -> anyhow::Result<Bundle> {
        self.made(true)
    }

    fn made(&self, whole: bool) -> anyhow::Result<Bundle> {
        let refused = |error| coded(Code::NotVerified, error);
        if self.skill.is_file() {
            let packed = read(&self.skill)?;
            return rehearsal::anonymous(&packed).map_err(refused);
        }
        let manifest = self.skill.join(MANIFEST_FILE);
        let manifest =
            std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        let graph = graph(&self.skill)?;
        let component = match &self.component {
            Some(file) => read(file)?,
            None => read(&build(&self.skill)?)?,
        };
        let sbom = if whole { sbom::of_folder(&self.skill, &component)? } else { None };
        let cases = if whole { super::cases_of(&self.skill)? } else { None };
        let cases = cases.as_deref().map(str::as_bytes);
        let beside = Beside { cases, graph: graph.as_deref(), sbom: sbom.as_deref() };
        rehearsal::unsigned(&manifest, &component, beside).map_err(refused)
    }

    /// `named`, or the folder's or bundle's own.
    pub(in crate::cli) fn cases(&self, named: Option<&Path>) -> anyhow::Result<Vec<Case>> {
        if named.is_none() && self.skill.is_file() {
            let bundle = self.bundle()?;
            let text =
                bundle.cases().context("the bundle has no cases; name a file with --cases")?;
            let cases = cases::parse(std::str::from_utf8(text)?);
            return cases.map_err(|error| coded(Code::Configuration, error));
        }
        let file = named.map_or_else(|| self.skill.join(super::CASES), Path::to_owned);
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!("{}: write cases there, or name a file with --cases", file.display())
        })?;
        let cases = cases::parse(&text).with_context(|| file.display().to_string());
        cases.map_err(|error| coded(Code::Configuration, error))
    }
}

/// The policy graph of a skill's folder, where it has one.
pub(in crate::cli) fn graph(folder: &Path) -> anyhow::Result<Option<String>> {
    let file = folder.join(GRAPH_FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Where it is rehearsed.
pub(in crate::cli) fn stage(sim: Option<&Path>, skill: &SkillManifest) -> anyhow::Result<Stage> {
    let stage = sim.map_or_else(|| Stage::example_for(skill), Stage::load);
    stage.map_err(|error| coded(Code::Configuration, error))
}

/// What is run, as told on the command line.
#[derive(Debug, Args)]
pub(in crate::cli) struct Wanted {
    /// Which action; the manifest's first unless named.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// A parameter: a number, true, false, a text, or points as `[[1,2],[3,4]]`. Repeat it.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, Param)>,
    /// One of the skill's cases instead: its action, parameters, start and faults.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["action", "params"])]
    case: Option<String>,
    /// Give up after so many seconds of the robot's time.
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    limit: f64,
    /// Seed of the sensors' noise.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Wanted {
    pub(in crate::cli) fn script(
        &self,
        project: &Project,
        bundle: &Bundle,
    ) -> anyhow::Result<Script> {
        if let Some(name) = &self.case {
            let cases = project.cases(None)?;
            let case = cases.iter().find(|case| case.name == *name);
            return Ok(case.with_context(|| format!("there is no case `{name}`"))?.script());
        }
        let first = bundle.manifest().actions.first().cloned().unwrap_or_default();
        Ok(Script {
            action: self.action.clone().unwrap_or(first),
            limit_s: self.limit.clamp(0.1, 86_400.0),
            params: self.params.iter().cloned().collect::<BTreeMap<_, _>>(),
            seed: self.seed,
            ..Script::default()
        })
    }
}

/// `NAME=VALUE` as a plan would have it.
fn param(text: &str) -> Result<(String, Param), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = match serde_json::from_str::<Vec<[f64; 2]>>(value) {
        Ok(pairs) => {
            let point = |[x, y]: [f64; 2]| nooterra_protocol::geometry::Point::new(x, y);
            Param::Points(pairs.into_iter().map(point).collect())
        }
        // What is no JSON is a text.
        Err(_) => serde_json::from_str(value).unwrap_or_else(|_| Param::Text(value.to_owned())),
    };
    Ok((name.to_owned(), value))
}

/// Has cargo build the folder, and finds what it made.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(
        folder.join("Cargo.toml").exists(),
        "{}: nothing to build with cargo; name the component with --component",
        folder.display()
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(folder)
        .args(["build", "--release", "--quiet", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo does not build {}; if it says that the target is missing: rustup target add {TARGET}",
        folder.display()
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let made = said.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?;
        files
            .iter()
            .filter_map(|file| file.as_str())
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    });
    made.with_context(|| format!("{}: cargo made no .wasm; is it a cdylib?", folder.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Point;

    #[test]
    fn a_parameter_is_what_it_looks_like() {
        let value = |text| param(text).unwrap().1;
        assert_eq!(value("a=2"), Param::Number(2.0));
        assert_eq!(value("a=true"), Param::Flag(true));
        assert_eq!(value("a=b c"), Param::Text("b c".to_owned()));
        assert_eq!(value("a=\"2\""), Param::Text("2".to_owned()));
        assert_eq!(value("a=[[1,2]]"), Param::Points(vec![Point::new(1.0, 2.0)]));
        assert_eq!(value("a=[{\"x\":1,\"y\":2}]"), Param::Points(vec![Point::new(1.0, 2.0)]));
        assert!(param("a").is_err());
    }
}
