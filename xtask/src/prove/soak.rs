//! `cargo xtask prove soak [--minutes N]`: a robot's work for as long as one likes, with memory
//! and disk watched and drawn.
//!
//! The program is `blackbox/examples/soak.rs`, in release; its samples and the drawing stay in
//! `target/prove/soak`. A leak shows as a second half that is
//! larger than the first: what is compared is the largest of each, so that a plateau with teeth
//! (segments of the store, dumps) is none.

use super::minutes;
use crate::progress::Progress;
use crate::report::{esc, px};
use crate::toolchain;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Of `cargo xtask prove soak`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How long. 60 unless given; below 10 the store's file has not come to its plateau.
    #[arg(long, value_name = "MINUTES", value_parser = minutes, default_value = "60")]
    minutes: Duration,
    /// Judge and draw these samples of an earlier run instead: what the program printed.
    #[arg(long, value_name = "FILE", conflicts_with = "minutes")]
    samples: Option<PathBuf>,
}

/// The samples of the last run, in its folder.
const SAMPLES: &str = "soak.jsonl";

/// Shorter there are too few samples to judge.
const LEAST: Duration = Duration::from_secs(30);

/// Between two lines that stay, seconds.
const NOTED_S: f64 = 300.0;

/// What the second half may take beyond the first in memory: what the allocator and the store's
/// cache move by.
const MEMORY_SLACK: f64 = 8.0 * 1024.0 * 1024.0;

/// The bound on the disk that the program sets.
const DISK_BOUND: f64 = 48.0 * 1024.0 * 1024.0;

/// What the file system counts to a file beside its content: the map of where that lies.
const MAP: f64 = 64.0 * 1024.0;

/// Warming up, as a part of the time: nothing is pruned yet, caches and the ring fill.
const WARM_UP: f64 = 0.2;

/// One look at it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    disk: u64,
    dropped: u64,
    dumps: u64,
    lost: u64,
    pruned: u64,
    pss: u64,
    records: u64,
    rss: u64,
    #[serde(default)]
    slowest_ms: u64,
    #[serde(default)]
    stood: u64,
    t: f64,
    written: u64,
}

/// What is drawn and judged of a sample.
type Number = fn(&Sample) -> u64;

/// Works, watches, draws; false when it grew.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = folder();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let said = match &options.samples {
        Some(samples) => std::fs::read_to_string(samples)
            .with_context(|| format!("cannot read {}", samples.display()))?,
        None => work(&folder, options.minutes.max(LEAST))?,
    };
    let samples = read(&said)?;
    let kept = folder.join(SAMPLES);
    std::fs::write(&kept, &said).with_context(|| format!("cannot write {}", kept.display()))?;
    let drawn = folder.join("soak.svg");
    std::fs::write(&drawn, svg(&samples))
        .with_context(|| format!("cannot write {}", drawn.display()))?;
    let verdict = judge(&samples)?;
    println!("{}\nsoak: {}; drawn in {}", verdict.text, verdict.name(), drawn.display());
    Ok(verdict.holds)
}

/// What the last soak that came to its end says; `None` before the first.
pub(super) fn last() -> Result<Option<Judged>> {
    match std::fs::read_to_string(folder().join(SAMPLES)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        said => Ok(Some(judge(&read(&said.context("cannot read the last soak")?)?)?)),
    }
}

/// Builds the program and has it work for so long; its samples.
fn work(folder: &Path, span: Duration) -> Result<String> {
    let mut progress = Progress::new(2, false, false);
    let step = progress.step("building the soak");
    let built = toolchain::build(toolchain::cargo().args([
        "build",
        "--release",
        "--package",
        "nooterra-blackbox",
        "--example",
        "soak",
    ]))?;
    step.done("ready");
    let seconds = span.as_secs();
    let mut command = Command::new(toolchain::named(&built, "soak")?);
    command.arg("--dir").arg(folder).arg("--seconds").arg(seconds.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let step = progress.step("a robot's work at full rate, pruning all the time");
    // Its panics are the explanation, and stand on the terminal.
    let mut child = command.spawn().context("cannot start the soak")?;
    let out = child.stdout.take().context("the soak has no output")?;
    let (mut said, mut noted) = (String::new(), 0.0);
    for line in BufReader::new(out).lines() {
        let line = line.context("cannot read what the soak says")?;
        if let Ok(sample) = serde_json::from_str::<Sample>(&line) {
            let looks = looks(&sample);
            step.part(sample.t / seconds as f64, &looks);
            if sample.t >= noted {
                noted += NOTED_S;
                step.note(&looks);
            }
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait().context("cannot wait for the soak")?;
    if !status.success() {
        bail!("the soak ended early ({status}); what it said is above");
    }
    step.done("worked to its end, and its journal verifies");
    Ok(said)
}

/// A sample for people.
fn looks(sample: &Sample) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{:.0} min: PSS {:.1} MiB, disk {:.1} MiB, {} records, {} of them pruned",
        sample.t / 60.0,
        mib(sample.pss),
        mib(sample.disk),
        sample.records,
        sample.pruned
    )
}

fn folder() -> PathBuf {
    toolchain::root().join("target/prove/soak")
}

fn read(said: &str) -> Result<Vec<Sample>> {
    let lines = said.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a sample: {line}")))
        .collect()
}

/// What the samples say.
pub(super) struct Judged {
    pub(super) holds: bool,
    pub(super) text: String,
}

impl Judged {
    const fn name(&self) -> &'static str {
        if self.holds { "held" } else { "FAILED" }
    }
}

fn judge(samples: &[Sample]) -> Result<Judged> {
    let last = samples.last().context("the soak said nothing")?;
    let warm = samples.iter().filter(|sample| sample.t >= last.t * WARM_UP);
    let warm: Vec<Sample> = warm.copied().collect();
    ensure!(warm.len() >= 4, "{} samples are too few to judge; give it longer", samples.len());
    let (first, second) = warm.split_at(warm.len() / 2);
    let most =
        |half: &[Sample], what: Number| half.iter().map(what).max().unwrap_or_default() as f64;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let (mut holds, mut text) = (true, format!("soak: {:.0} minutes\n", last.t / 60.0));
    for (name, what) in [("PSS", (|s: &Sample| s.pss) as Number), ("RSS", |s| s.rss)] {
        let (before, after) = (most(first, what), most(second, what));
        let held = after <= before + MEMORY_SLACK;
        holds &= held;
        let _ = writeln!(
            text,
            "soak: {name} at most {:.1} MiB, in the second half {:.1} MiB (may grow by {:.0}): {}",
            mib(before),
            mib(after),
            mib(MEMORY_SLACK),
            if held { "held" } else { "GREW" },
        );
    }
    let disk = most(samples, |sample| sample.disk);
    let within = disk <= DISK_BOUND + MAP;
    holds &= within && last.dropped == 0 && last.lost == 0;
    let _ = write!(
        text,
        "soak: the journal's file at most {:.1} of {:.0} MiB: {}; {} records, {} of them pruned, \
         {} dumps; {} control records and {} ticks lost; {:.1} MiB handed to the disk\n\
         soak: a record waited at most {} ms for the disk; the robot stood {} times because one \
         waited for more than 100",
        mib(disk),
        mib(DISK_BOUND),
        if within { "held" } else { "GREW" },
        last.records,
        last.pruned,
        last.dumps,
        last.dropped,
        last.lost,
        mib(last.written as f64),
        last.slowest_ms,
        last.stood,
    );
    Ok(Judged { holds, text })
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 44.0;

const STYLE: &str = "<style>svg{background:#fff;color:#222;font:13px system-ui,sans-serif}\
    text{fill:currentColor}.title{font-size:15px;font-weight:600}.end{text-anchor:end}\
    .mid{text-anchor:middle}.rule{stroke:currentColor;opacity:.15}path{fill:none;stroke-width:2}\
    .pss{stroke:#0a62a9}.rss{stroke:#7a4fb5}.disk{stroke:#b5541c}\
    text.pss{fill:#0a62a9;stroke:none}text.rss{fill:#7a4fb5;stroke:none}\
    text.disk{fill:#b5541c;stroke:none}.bound{stroke:#b5541c;stroke-dasharray:5 4}\
    @media(prefers-color-scheme:dark){svg{background:#16181b;color:#ddd}}</style>";

/// Memory and disk over time, from zero, the bound on the disk dashed.
fn svg(samples: &[Sample]) -> String {
    let end = samples.last().map_or(1.0, |sample| sample.t.max(1.0));
    let all = samples.iter().flat_map(|s| [s.pss, s.rss, s.disk]).max().unwrap_or_default();
    let high = (all as f64).max(DISK_BOUND) * 1.05;
    let x = |t: f64| px(LEFT + t / end * (WIDTH - LEFT - RIGHT));
    let y = |bytes: f64| px(HEIGHT - BOTTOM - bytes / high * (HEIGHT - TOP - BOTTOM));
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="Memory and disk over time">{STYLE}<text class="title" x="{}" y="22">{}</text>"#,
        px(WIDTH),
        px(HEIGHT),
        px(LEFT),
        esc("Soak: memory and the journal's file, MiB over minutes"),
    );
    let named = [("pss", "PSS"), ("rss", "RSS"), ("disk", "journal's file (bound dashed)")];
    for ((class, name), nth) in named.into_iter().zip(0_u32..) {
        let at = px(LEFT + f64::from(nth) * 80.0);
        let _ = write!(svg, r#"<text class="{class}" x="{at}" y="44">● {name}</text>"#);
    }
    for part in 0..=4_u32 {
        let part = f64::from(part) / 4.0;
        let _ = write!(
            svg,
            r#"<line class="rule" x1="{}" x2="{}" y1="{2}" y2="{2}"/><text class="end" x="{3}" y="{2}">{4:.0}</text><text class="mid" x="{5}" y="{6}">{7:.0}</text>"#,
            px(LEFT),
            px(WIDTH - RIGHT),
            y(high * part),
            px(LEFT - 8.0),
            high * part / f64::from(1 << 20),
            x(end * part),
            px(HEIGHT - 18.0),
            end * part / 60.0,
        );
    }
    let _ = write!(
        svg,
        r#"<path class="bound" d="M{} {2}L{} {2}"/>"#,
        px(LEFT),
        px(WIDTH - RIGHT),
        y(DISK_BOUND),
    );
    let lines: [(&str, Number); 3] = [("rss", |s| s.rss), ("pss", |s| s.pss), ("disk", |s| s.disk)];
    for (class, what) in lines {
        let mut path = String::new();
        for sample in samples {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", x(sample.t), y(what(sample) as f64));
        }
        let _ = write!(svg, r#"<path class="{class}" d="{path}"/>"#);
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::assert_well_formed;

    fn line(t: u32, pss: u64, disk: u64) -> String {
        format!(
            r#"{{"t":{t},"rss":{pss},"pss":{pss},"disk":{disk},"records":9,"pruned":3,"dumps":1,"lost":0,"dropped":0,"written":1,"stood":2,"slowest_ms":4000}}"#
        )
    }

    fn run_of(pss: impl Fn(u32) -> u64) -> Vec<Sample> {
        let said: Vec<_> = (0..20).map(|t| line(t * 5, pss(t), 40 << 20)).collect();
        read(&said.join("\n")).unwrap()
    }

    #[test]
    fn a_plateau_with_teeth_holds_and_a_slope_does_not() {
        let flat = run_of(|t| (20 + u64::from(t % 3)) << 20);
        let held = judge(&flat).unwrap();
        assert!(held.holds && held.text.contains("stood 2 times"), "a slow disk: {}", held.text);
        let slope = judge(&run_of(|t| (20 + 2 * u64::from(t)) << 20)).unwrap();
        assert!(!slope.holds && slope.text.contains("PSS at most"), "{}", slope.text);
        assert!(judge(&flat[..2]).is_err(), "too short to say anything");
    }

    #[test]
    fn what_was_lost_or_outgrew_its_bound_fails_too() {
        let mut lost = run_of(|_| 1 << 20);
        lost.last_mut().unwrap().lost = 1;
        assert!(!judge(&lost).unwrap().holds);
        let mut large = run_of(|_| 1 << 20);
        large[3].disk = 60 << 20;
        assert!(judge(&large).unwrap().text.contains("GREW"));
    }

    #[test]
    fn the_drawing_has_a_line_for_each_and_is_well_formed() {
        let drawn = svg(&run_of(|t| u64::from(t) << 20));
        assert_well_formed(&drawn);
        assert_eq!(drawn.matches("<path").count(), 4);
        assert_well_formed(&svg(&[]));
        assert!(read("warming up").is_err());
    }
}
