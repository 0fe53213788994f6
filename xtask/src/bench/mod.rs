//! `cargo xtask bench [AREA]...`: how fast it is, beside what could not be faster.
//!
//! Each figure is measured together with its *floor*: the least that any program would have to
//! do for the same purpose, in the same run, in turns. The ratio of the two says the same on
//! any machine, and is what `SPECIFICATION.md` makes promises about. Some figures stand beside
//! a *peer* as well: what others take for the same purpose. This command only builds and starts
//! programs (the `bench_*` examples of the crates and `xtask/peers`, with
//! `xtask/bench/measure.rs` in common, and the shipped agent itself), reads what they print,
//! and judges.

mod agent;
mod figure;
mod machine;
mod plot;
mod promise;

use crate::process;
use crate::toolchain::{self, WASM_TARGET};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use figure::{Curve, Figure, Line, Row};
use machine::{Machine, Noise};
use promise::Promise;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of `cargo xtask bench`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to measure; everything unless given.
    #[arg(value_enum)]
    areas: Vec<Area>,
    /// Print the results as JSON on stdout, and everything else on stderr.
    #[arg(long)]
    json: bool,
    /// A tenth of the samples: to see that everything runs, not to be quoted.
    #[arg(long)]
    quick: bool,
}

/// A part of the robot's software.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Area {
    /// The safety gate's tick.
    Gate,
    /// The journal.
    Blackbox,
    /// The sandbox.
    Skills,
    /// From the cloud's API to the actuators.
    Link,
    /// The cloud's answer and its intake.
    Cloud,
    /// The daemon as a process: start, memory, size.
    Agent,
}

impl Area {
    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Blackbox => "blackbox",
            Self::Cloud => "cloud",
            Self::Gate => "gate",
            Self::Link => "link",
            Self::Skills => "skills",
        }
    }

    /// All that it measures; the specification can promise nothing else.
    const fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Agent => &agent::FIGURES,
            Self::Blackbox => &[
                "blackbox.append",
                "blackbox.append_durable",
                "blackbox.append_durable_vs_sqlite",
                "blackbox.append_vs_sqlite",
                "blackbox.control_call",
                "blackbox.control_push",
                "blackbox.flight_push",
                "blackbox.open_large",
                "blackbox.resident_large",
                "blackbox.prove",
                "blackbox.verify",
                "blackbox.written",
            ],
            Self::Cloud => &[
                "cloud.acknowledged",
                "cloud.acknowledged_in_storm",
                "cloud.command_answered",
                "cloud.replay",
                "cloud.storm_connect",
                "cloud.storm_resident",
                "cloud.storm_return",
                "cloud.transition",
                "cloud.transition_alone",
                "cloud.transition_alone_postgres",
                "cloud.transition_postgres",
                "cloud.uplink",
            ],
            Self::Gate => &[
                "gate.tick",
                "gate.tick_at_fence",
                "gate.tick_among_many",
                "gate.load_fence",
                "gate.tick_vs_cedar",
                "gate.tick_vs_regorus",
            ],
            Self::Link => &[
                "link.command_received",
                "link.command_to_actuator",
                "link.setpoint_to_write_p99",
                "link.stop_to_actuator",
                "link.echo",
            ],
            Self::Skills => &[
                "skills.step",
                "skills.step_with_scan",
                "skills.step_recorded",
                "skills.step_recorded_with_scan",
                "skills.step_fuel",
                "skills.step_vs_wasmi",
                "skills.suspend",
                "skills.start",
                "skills.load_cached",
                "skills.load_compiled",
                "skills.compile",
                "skills.verify",
                "skills.memory",
                "skills.twenty_missed",
                "skills.ticks_missed",
            ],
        }
    }

    fn measure(self, place: &Place) -> Result<Vec<Line>> {
        match self {
            Self::Agent => agent::measure(place),
            Self::Blackbox => {
                let ours = place.example("nooterra-blackbox", "bench_blackbox", &[])?;
                beside_peers(ours, place.peers(self, &[])?)
            }
            Self::Cloud => {
                let mut lines = place.example("nooterra-cloud", "bench_cloud", &[])?;
                lines.extend(place.example("nooterra-cloud", "bench_storm", &[])?);
                lines.extend(place.link(self)?);
                Ok(lines)
            }
            Self::Link => place.link(self),
            Self::Gate => {
                let ours = place.example("nooterra-policy", "bench_gate", &[])?;
                beside_peers(ours, place.peers(self, &[])?)
            }
            Self::Skills => {
                let (component, manifest) = skill("patrol")?;
                let (hostile, its_manifest) = skill("misbehave")?;
                let named = [
                    ("--component", component),
                    ("--manifest", manifest),
                    ("--hostile", hostile),
                    ("--hostile-manifest", its_manifest),
                ];
                let arguments: Vec<String> = named
                    .into_iter()
                    .flat_map(|(name, path)| [name.to_owned(), path.display().to_string()])
                    .collect();
                let ours = place.example("nooterra-skill-host", "bench_skills", &arguments)?;
                let mut lines = beside_peers(ours, place.peers(self, &arguments)?)?;
                lines.extend(place.example("nooterra-agent", "bench_hostile", &arguments)?);
                Ok(lines)
            }
        }
    }
}

/// Results of one area.
#[derive(Debug, Serialize)]
struct Report {
    area: Area,
    curves: Vec<Curve>,
    figures: Vec<Row>,
    machine: Machine,
    noise: Noise,
    /// Too few samples to be quoted.
    quick: bool,
}

/// Runs the areas; false when a promise does not hold.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let file = toolchain::root().join("SPECIFICATION.md");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let promises = promise::read(&text)?;
    let place = Place { out: toolchain::root().join("target/bench"), quick: options.quick };
    let scratch = place.scratch();
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot make {}", scratch.display()))?;
    let say = |text: &str| if options.json { eprintln!("{text}") } else { println!("{text}") };
    let machine = Machine::here(&scratch);
    say(&format!("machine: {machine}"));
    if options.quick {
        say("quick: a tenth of the samples; these figures are not to be quoted");
    }
    let mut reports = Vec::new();
    let all = Area::value_variants();
    let areas: &[Area] = if options.areas.is_empty() { all } else { &options.areas };
    for area in areas {
        say(&format!("\n{}: building, then measuring ...", area.name()));
        let report = one(*area, &place, &promises, &machine)
            .with_context(|| format!("bench {}", area.name()))?;
        say(&format!("noise: {}\n{}", report.noise, figure::table(&report.figures)));
        for curve in &report.curves {
            let name = curve.name();
            say(&format!("plot: {}", place.out.join(format!("{name}.svg")).display()));
        }
        reports.push(report);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports).context("cannot encode")?);
    }
    let broken: Vec<&str> = reports
        .iter()
        .flat_map(|report| &report.figures)
        .filter(|row| row.held == Some(false))
        .map(|row| row.name.as_str())
        .collect();
    if !broken.is_empty() {
        say(&format!(
            "\nnot held: {}. Run it again on an idle machine; if it stays, look for what made it \
             slower, and only then correct SPECIFICATION.md.",
            broken.join(", ")
        ));
    }
    Ok(broken.is_empty())
}

fn one(area: Area, place: &Place, promises: &[Promise], machine: &Machine) -> Result<Report> {
    let before = Noise::now();
    let lines = area.measure(place)?;
    let noise = before.and(&Noise::now());
    let (mut figures, mut curves) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Curve(curve) => curves.push(curve),
            Line::Figure(figure) => figures.push(figure),
        }
    }
    check_names(area, &figures)?;
    let figures: Vec<Row> =
        figures.into_iter().map(|figure| promise::judge(figure, promises)).collect();
    for curve in &curves {
        write(&place.out.join(format!("{}.svg", curve.name())), &plot::svg(curve))?;
    }
    let machine = machine.clone();
    let report = Report { area, curves, figures, machine, noise, quick: place.quick };
    let json = serde_json::to_string_pretty(&report).context("cannot encode the figures")?;
    write(&place.out.join(format!("{}.json", area.name())), &json)?;
    Ok(report)
}

/// Adds a row for each peer: the figure of ours that the row's name begins with, and the
/// peer's time in the place of the floor.
fn beside_peers(mut ours: Vec<Line>, peers: Vec<Line>) -> Result<Vec<Line>> {
    for peer in peers {
        let Line::Figure(peer) = peer else {
            bail!("a peer printed a curve");
        };
        let of = peer.name().split("_vs_").next().unwrap_or_default();
        let figure = ours.iter().find_map(|line| match line {
            Line::Figure(figure) if figure.name() == of => Some(figure.clone()),
            _ => None,
        });
        let figure = figure.with_context(|| format!("`{}` is beside no figure", peer.name()))?;
        ours.push(Line::Figure(figure.beside(peer)));
    }
    Ok(ours)
}

fn check_names(area: Area, figures: &[Figure]) -> Result<()> {
    let found: Vec<&str> = figures.iter().map(Figure::name).collect();
    let mut expected = area.figures().to_vec();
    // Where there is no Postgres, the program has said so.
    expected.retain(|name| found.contains(name) || !name.ends_with("_postgres"));
    let mut sorted = found.clone();
    expected.sort_unstable();
    sorted.sort_unstable();
    if sorted != expected {
        bail!("measured {found:?}, expected {expected:?}; correct the list in xtask/src/bench");
    }
    Ok(())
}

/// Where results go and how much is measured.
#[derive(Clone, Debug)]
struct Place {
    out: PathBuf,
    quick: bool,
}

impl Place {
    /// For journals, databases and plain files: all on one disk.
    fn scratch(&self) -> PathBuf {
        self.out.join("scratch")
    }

    /// Builds an example as it is shipped, runs it, and reads what it prints.
    fn example(&self, package: &str, example: &str, arguments: &[String]) -> Result<Vec<Line>> {
        let built = toolchain::build(
            toolchain::cargo()
                .args(["build", "--release", "--package", package])
                .args(if package == "nooterra-cloud" {
                    &["--features", "measure"][..]
                } else {
                    &[]
                })
                .args(["--example", example]),
        )?;
        self.run(&toolchain::named(&built, example)?, arguments)
    }

    /// What is measured through a robot and a cloud that talk to each other.
    fn link(&self, area: Area) -> Result<Vec<Line>> {
        let area = ["--area".to_owned(), area.name().to_owned()];
        self.example("nooterra-agent", "bench_link", &area)
    }

    /// Builds the peers and measures those of an area.
    fn peers(&self, area: Area, more: &[String]) -> Result<Vec<Line>> {
        let mut command = toolchain::cargo();
        command.args(["build", "--release", "--manifest-path", "xtask/peers/Cargo.toml"]);
        // What both need is compiled once.
        command.arg("--target-dir").arg(toolchain::target_dir()?);
        let built = toolchain::build(&mut command)?;
        let area = ["--area".to_owned(), area.name().to_owned()];
        self.run(&toolchain::named(&built, "nooterra-peers")?, &[&area, more].concat())
    }

    fn run(&self, program: &Path, arguments: &[String]) -> Result<Vec<Line>> {
        let mut command = prioritised(program);
        command.arg("--dir").arg(self.scratch()).args(arguments);
        if self.quick {
            command.arg("--quick");
        }
        // Its panics are the explanation, and belong on the terminal.
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        if !output.status.success() {
            bail!(
                "`{}` failed ({}); what it said is above",
                process::shown(&command),
                output.status
            );
        }
        figure::read(&String::from_utf8_lossy(&output.stdout))
    }
}

/// Ahead of whatever else the machine does, where we may: figures that wait their turn say
/// little about the program.
fn prioritised(program: &Path) -> Command {
    if !machine::may_raise_priority() {
        return Command::new(program);
    }
    let mut command = Command::new("nice");
    command.args(["-n", "-15"]).arg(program);
    command
}

/// An example skill: its component, built, and its manifest.
fn skill(name: &str) -> Result<(PathBuf, PathBuf)> {
    toolchain::ensure_wasm_target()?;
    let skills = toolchain::root().join("examples/skills");
    let built = toolchain::build(toolchain::cargo().current_dir(&skills).args([
        "build",
        "--release",
        "--target",
        WASM_TARGET,
        "--package",
        name,
    ]))?;
    let component = toolchain::named(&built, &format!("{name}.wasm"))?;
    Ok((component, skills.join(name).join("manifest.json")))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_promises_only_what_is_measured_and_by_which_command() {
        let text = std::fs::read_to_string(toolchain::root().join("SPECIFICATION.md")).unwrap();
        let promises = promise::read(&text).unwrap();
        assert!(!promises.is_empty());
        for promise in promises {
            let area = Area::value_variants()
                .iter()
                .find(|area| area.figures().contains(&promise.figure.as_str()));
            let area = area.unwrap_or_else(|| panic!("{} is not measured", promise.figure));
            assert_eq!(promise.shown_by, format!("cargo xtask bench {}", area.name()));
        }
    }

    #[test]
    fn a_peer_stands_beside_the_figure_of_its_name() {
        let read = |name: &str, value: u32| {
            figure::read(&format!(
                r#"{{"figure":"{name}","unit":"µs","value":{value},"samples":9,"floor":{{"name":"{name}","value":{value}}}}}"#
            ))
            .unwrap()
        };
        let lines = beside_peers(read("gate.tick", 1), read("gate.tick_vs_cedar", 20)).unwrap();
        let Line::Figure(row) = &lines[1] else { panic!("a curve") };
        let floor = row.floor.as_ref().unwrap();
        assert_eq!((row.name(), floor.name.as_str()), ("gate.tick_vs_cedar", "gate.tick_vs_cedar"));
        assert!((row.value - 1.0).abs() < 1e-9 && (floor.value - 20.0).abs() < 1e-9);
        assert!(beside_peers(read("gate.tick", 1), read("gate.tock_vs_cedar", 20)).is_err());
    }

    #[test]
    fn a_figure_that_is_missing_or_new_is_noticed() {
        let line = r#"{"figure":"gate.tick","unit":"µs","value":1,"samples":9}"#;
        let Line::Figure(tick) = figure::read(line).unwrap().remove(0) else { panic!("a curve") };
        let error = check_names(Area::Gate, &[tick]).unwrap_err();
        assert!(error.to_string().contains("gate.tick_at_fence"), "{error}");
    }
}
