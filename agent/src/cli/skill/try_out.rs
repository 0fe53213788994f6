//! `nooterra-agent skill run`, `test` and `bench`: a skill in the simulator.

use super::super::Answer;
use super::super::exit::Code;
use super::live::Live;
use super::project::{Project, Wanted, stage};
use crate::files;
use crate::rehearsal::ended_in_words;
use crate::rehearsal::{self, Cost, Rehearsed, What, report};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    wanted: Wanted,
    /// A robot's folder or its agent.toml; the example robot of its kind unless named.
    #[arg(long, value_name = "ROBOT")]
    sim: Option<PathBuf>,
    /// How fast the robot's time passes; 0 is as fast as it can be computed. In a terminal 1,
    /// otherwise 0.
    #[arg(long, value_name = "TIMES")]
    speed: Option<f64>,
    /// Where the picture of the run goes, one HTML file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    project: Project,
    /// The cases, unless they are in tests/cases.json.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// A robot's folder or its agent.toml; the example robot of its kind unless named.
    #[arg(long, value_name = "ROBOT")]
    sim: Option<PathBuf>,
    /// Only cases whose name holds this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// A folder for a picture of each case that misses.
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    wanted: Wanted,
    /// A robot's folder or its agent.toml; the example robot of its kind unless named.
    #[arg(long, value_name = "ROBOT")]
    sim: Option<PathBuf>,
}

impl Run {
    pub(in crate::cli) fn answer(self, as_json: bool) -> anyhow::Result<Answer> {
        let bundle = self.project.bundle()?;
        let stage = stage(self.sim.as_deref(), bundle.manifest())?;
        let script = self.wanted.script(&self.project, &bundle)?;
        let host = rehearsal::host(false)?;
        let terminal = std::io::stdout().is_terminal() && !as_json;
        let speed = self.speed.unwrap_or(f64::from(u8::from(terminal)));
        anyhow::ensure!(speed.is_finite() && speed >= 0.0, "--speed must be 0 or more");
        let began = Instant::now();
        let mut live = terminal.then(|| Live::new(&stage));
        let ran = rehearsal::run(&host, &bundle, &stage, &script, |frame| {
            if speed > 0.0 {
                let due = Duration::try_from_secs_f64(frame.t_s / speed).unwrap_or_default();
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
            if let Some(live) = &mut live {
                live.show(frame);
            }
            ControlFlow::Continue(())
        })?;
        let mut text = summary(&ran);
        if let Some(file) = &self.report {
            let page = report::render(bundle.manifest(), &script.action, &stage.policy, &ran);
            files::write_whole(file, page.as_bytes(), 0o644)
                .with_context(|| file.display().to_string())?;
            let _ = write!(text, "\ndrawn in {}", file.display());
        }
        let mut json = facts(&ran);
        json["skill"] = json!(bundle.manifest().id);
        json["action"] = json!(script.action);
        json["report"] = json!(self.report);
        let done = ran.ending == rehearsal::Ending::Done;
        Ok(Answer { code: if done { Code::Done } else { Code::Failed }, json, text })
    }
}

/// A run for people.
fn summary(ran: &Rehearsed) -> String {
    let mut text = format!("after {:.1} s it {}", ran.ended_s, ended_in_words(&ran.ending));
    for told in &ran.told {
        let said = match &told.what {
            What::Assist { reason } => format!("asks for help: {reason}"),
            What::Checkpoint { name } => format!("checkpoint {name}"),
            What::Evidence { bytes, name, .. } => format!("attaches {name}, {bytes} bytes"),
            What::Log { text } => format!("says: {text}"),
            What::Moved { live, why } => {
                format!("now {}: {why}", live.as_deref().unwrap_or("nothing"))
            }
            What::Note { text } => format!("[the host] {text}"),
            What::Picture { refused: Some(why), .. } => {
                format!("is given no picture: {}", why.name())
            }
            What::Picture { height, width, .. } => {
                format!("takes a picture of {width} by {height} pixels")
            }
        };
        let _ = write!(text, "\n  {:7.2} s  {said}", told.at_s);
    }
    for held in report::interventions(ran) {
        let label = crate::backtest::report::label(held.rule, None, held.zone.as_ref());
        let _ = write!(
            text,
            "\n  {:7.2} s  the policy acts for {:.2} s: {label}",
            held.from_s, held.over_s
        );
    }
    text
}

fn facts(ran: &Rehearsed) -> Value {
    let mut facts = json!({
        "outcome": ran.ending.name(),
        "reason": ran.ending.reason(),
        "ended_s": ran.ended_s,
        "steps": ran.costs.len(),
        "path_m": report::path_m(ran),
        "pose": ran.frames.last().map(|frame| frame.pose),
        "told": ran.told,
        "interventions": report::interventions(ran),
    });
    if let Some(arm) = ran.frames.last().and_then(|frame| frame.arm.as_ref()) {
        let things = arm.truth.things.iter();
        facts["joints"] = json!(arm.truth.positions);
        facts["things"] = things.map(|it| json!({ "at": it.at, "held": it.held })).collect();
    }
    facts
}

impl Test {
    pub(in crate::cli) fn answer(self) -> anyhow::Result<Answer> {
        let cases = self.project.cases(self.cases.as_deref())?;
        let bundle = self.project.bundle()?;
        let stage = stage(self.sim.as_deref(), bundle.manifest())?;
        let host = rehearsal::host(false)?;
        if let Some(dir) = &self.reports {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        let (mut text, mut rows, mut failed) = (String::new(), Vec::new(), 0);
        for case in cases.iter().filter(|case| case.name.contains(&self.only)) {
            let script = case.script();
            let ran =
                rehearsal::run(&host, &bundle, &stage, &script, |_| ControlFlow::Continue(()))
                    .with_context(|| format!("case `{}`", case.name))?;
            let misses = case.misses(&ran);
            let word = if misses.is_empty() { "ok" } else { "FAILED" };
            let _ = writeln!(text, "{word:6} {} ({:.1} s)", case.name, ran.ended_s);
            for miss in &misses {
                let _ = writeln!(text, "         {miss}");
            }
            if !misses.is_empty() {
                failed += 1;
                if let Some(dir) = &self.reports {
                    let file = dir.join(format!("case-{}.html", rows.len() + 1));
                    let page =
                        report::render(bundle.manifest(), &script.action, &stage.policy, &ran);
                    files::write_whole(&file, page.as_bytes(), 0o644)
                        .with_context(|| file.display().to_string())?;
                    let _ = writeln!(text, "         drawn in {}", file.display());
                }
            }
            let mut row = facts(&ran);
            row["case"] = json!(case.name);
            row["misses"] = json!(misses);
            rows.push(row);
        }
        anyhow::ensure!(!rows.is_empty(), "no case has `{}` in its name", self.only);
        let _ = write!(text, "{} of {} cases as they must be", rows.len() - failed, rows.len());
        let code = if failed == 0 { Code::Done } else { Code::Failed };
        Ok(Answer { code, json: json!({ "cases": rows, "failed": failed }), text })
    }
}

impl Bench {
    pub(in crate::cli) fn answer(self) -> anyhow::Result<Answer> {
        let bundle = self.project.bundle()?;
        let stage = stage(self.sim.as_deref(), bundle.manifest())?;
        let script = self.wanted.script(&self.project, &bundle)?;
        let watch = |_: &_| ControlFlow::Continue(());
        // Twice: fuel is counted by slower code, which would spoil the time.
        let plain = rehearsal::host(false)?;
        let compiling = Instant::now();
        plain.prepare(&bundle)?;
        let compiling = compiling.elapsed();
        let timed = rehearsal::run(&plain, &bundle, &stage, &script, watch)?;
        let counted = rehearsal::run(&rehearsal::host(true)?, &bundle, &stage, &script, watch)?;
        anyhow::ensure!(
            !timed.costs.is_empty(),
            "it made no step: {}",
            ended_in_words(&timed.ending)
        );
        let of = |ran: &Rehearsed, value: fn(&Cost) -> f64| figures(ran.costs.iter().map(value));
        #[allow(clippy::cast_precision_loss)] // Far below what a float holds.
        let rows = [
            ("time", "us", of(&timed, |cost| cost.took.as_secs_f64() * 1e6)),
            ("fuel", "units", of(&counted, |cost| cost.usage.fuel.unwrap_or(0) as f64)),
            ("memory", "KiB", of(&timed, |cost| cost.usage.memory_bytes as f64 / 1024.0)),
            ("journal", "bytes", of(&timed, |cost| cost.journal_bytes as f64)),
            ("calls", "", of(&timed, |cost| f64::from(cost.usage.calls))),
        ];
        let manifest = bundle.manifest();
        let mut text = format!(
            "{} {} {}: {} steps of {} ms; compiled in {:.0} ms from {} bytes\n{:10} {:>12} {:>12} {:>12}",
            manifest.id,
            manifest.version,
            script.action,
            timed.costs.len(),
            manifest.period_ms,
            compiling.as_secs_f64() * 1e3,
            bundle.component().len(),
            "per step",
            "median",
            "99 %",
            "most"
        );
        let mut json = json!({
            "skill": manifest.id,
            "action": script.action,
            "steps": timed.costs.len(),
            "period_ms": manifest.period_ms,
            "compile_ms": compiling.as_secs_f64() * 1e3,
            "component_bytes": bundle.component().len(),
        });
        for (name, unit, [median, p99, most]) in rows {
            let _ = write!(text, "\n{name:10} {median:12.1} {p99:12.1} {most:12.1} {unit}");
            json[name] = json!({ "unit": unit, "median": median, "p99": p99, "most": most });
        }
        Ok(Answer::done(text, json))
    }
}

/// Median, 99th of a hundred, and most.
fn figures(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |hundredths: usize| values.get((values.len().max(1) - 1) * hundredths / 100).copied();
    [50, 99, 100].map(|hundredths| at(hundredths).unwrap_or_default())
}
