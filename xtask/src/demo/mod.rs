//! `cargo xtask demo`: one signed job, end to end, on a simulated robot.
//!
//! Two programs run, `nooterra-cloud` and `nooterra-agent`; everything goes through their
//! command lines and the HTTP API. What they claim is then checked: the true path against the
//! owner's zones with polygon code of our own, the journal against a flipped byte.

pub(crate) mod cloud;
mod facts;
mod gather;
pub(crate) mod plan;
pub(crate) mod robot;
pub(crate) mod scene;
pub(crate) mod script;
pub(crate) mod summary;
pub(crate) mod survey;

use crate::arm::Arch;
use crate::process;
use crate::progress::Progress;
use crate::report;
use crate::toolchain;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of `cargo xtask demo`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// The robot's agent for this processor instead of this machine's own; emulated where the
    /// two differ.
    #[arg(long, value_enum, value_name = "ARCH")]
    agent: Option<Arch>,
    /// Plain lines, for a log or for CI.
    #[arg(long)]
    headless: bool,
    /// Print summary.json on stdout, and the progress on stderr.
    #[arg(long)]
    json: bool,
    /// Leave the cloud and the robot running, and print commands to play with.
    #[arg(long)]
    keep: bool,
    /// Patrol this Nav2 map instead of the example's hall, under its masks NAME_keepout.yaml
    /// and NAME_speed.yaml where they lie beside it.
    #[arg(long, value_name = "NAME.yaml")]
    map: Option<PathBuf>,
    /// Where everything goes; what an earlier demo left there is removed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Of the simulator's noise, and of the tour of a map.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

impl Options {
    /// The demo with the agent for `agent`, for a log, into `out`.
    pub(crate) const fn of_agent(agent: Arch, out: PathBuf) -> Self {
        Self {
            agent: Some(agent),
            headless: true,
            json: false,
            keep: false,
            map: None,
            out: Some(out),
            seed: 1,
        }
    }

    /// Of a story of its own, for a log, into `out`.
    pub(crate) const fn of_story(out: PathBuf) -> Self {
        Self {
            agent: None,
            headless: true,
            json: false,
            keep: false,
            map: None,
            out: Some(out),
            seed: 1,
        }
    }
}

/// Lies in every directory that a demo made, and holds the ids of what was left running.
const MARKER: &str = ".nooterra-demo";

/// Of the cloud's and the robot's programs.
const PROGRAMS: [&str; 2] = ["nooterra-agent", "nooterra-cloud"];

/// Runs the demo; false when a claim does not hold.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let out = options.out.clone().unwrap_or_else(|| toolchain::root().join("target/demo"));
    let out =
        std::path::absolute(&out).with_context(|| format!("cannot use --out {}", out.display()))?;
    // Before anything is built or removed: a map may be refused.
    let scene = scene::Scene::new(options.map.as_deref(), options.seed)?;
    prepare(&out)?;
    let mut progress = Progress::new(script::STEPS, options.headless, options.json);
    let (run, hints) = match script::play(options, &scene, &out, &mut progress) {
        Ok(played) => played,
        Err(error) => {
            explain(&progress, &out);
            return Err(error);
        }
    };
    let json = serde_json::to_string_pretty(&run.summary).context("cannot encode the summary")?;
    write(&out.join("summary.json"), &json)?;
    write(&out.join("report.html"), &report::render(&run))?;
    sum_up(&progress, &run, &out);
    for hint in hints {
        progress.say(&hint);
    }
    if options.json {
        println!("{json}");
    }
    Ok(run.summary.holds())
}

/// Says what came of it.
fn sum_up(progress: &Progress, run: &report::Run, out: &Path) {
    let summary = &run.summary;
    progress.say("");
    for claim in &summary.claims {
        let mark = if claim.holds { "ok  " } else { "FAIL" };
        progress.say(&format!("  {mark}  {} ({})", claim.name, claim.measured));
    }
    let failed = summary.claims.iter().filter(|claim| !claim.holds).count();
    progress.say("");
    if failed == 0 {
        progress.say(&format!("All {} claims hold.", summary.claims.len()));
    } else {
        progress.say(&format!("{failed} of {} claims do not hold.", summary.claims.len()));
    }
    // Told, and no claim: a busy machine is no reason to fail, and a map's tour is as long as
    // it is.
    if let Some(seconds) = summary.durations.get("total_after_build") {
        progress.say(&format!("  took     {seconds:.1} s after the build"));
    }
    progress.say(&format!("  report   {}", out.join("report.html").display()));
    progress.say(&format!("  summary  {}", out.join("summary.json").display()));
}

/// Shows the ends of the logs, and where the rest is.
fn explain(progress: &Progress, out: &Path) {
    for name in ["cloud", "agent"] {
        let log = out.join(format!("{name}.log"));
        let tail = process::tail(&log);
        if !tail.is_empty() {
            progress.say(&format!("the end of {}:\n{tail}", log.display()));
        }
    }
    progress.say(
        "what to do: the error below names the step; the logs above say what the two programs \
         saw. Run it again with RUST_BACKTRACE=1, or step by step by hand: the commands are in \
         xtask/src/demo/robot.rs.",
    );
}

/// Empties the directory of an earlier demo. A directory that none made is left alone.
pub(crate) fn prepare(out: &Path) -> Result<()> {
    let marker = out.join(MARKER);
    let is_empty = std::fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty {
        let Ok(left_running) = std::fs::read_to_string(&marker) else {
            bail!("{} is not empty and no earlier demo made it; name another --out", out.display());
        };
        stop_left_running(&left_running)?;
        std::fs::remove_dir_all(out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    robot::create_dir(out)?;
    write(&marker, "")
}

/// Ends what `--keep` left running. A process id that now belongs to something else stays.
fn stop_left_running(ids: &str) -> Result<()> {
    for id in ids.split_whitespace().filter_map(|id| id.parse::<u32>().ok()) {
        let is_ours = || is_ours(Path::new("/proc").join(id.to_string()).as_path());
        if is_ours() {
            process::succeed(Command::new("kill").arg(id.to_string()))?;
            process::wait_for("an earlier demo to end", Duration::from_secs(60), || {
                Ok((!is_ours()).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// A process, by its directory below `/proc`, runs one of our programs: by itself, or as what
/// an emulator runs.
fn is_ours(process: &Path) -> bool {
    // A program that was built anew since is shown as deleted.
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.trim_end_matches(" (deleted)").to_owned()
    };
    let Ok(program) = std::fs::read_link(process.join("exe")) else {
        return false;
    };
    let program = name(&program);
    if !program.starts_with("qemu-") {
        return PROGRAMS.contains(&program.as_str());
    }
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| {
        PROGRAMS.contains(&name(Path::new(&*String::from_utf8_lossy(argument))).as_str())
    })
}

/// Notes what goes on running.
fn note_left_running(out: &Path, ids: &[u32]) -> Result<()> {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    write(&out.join(MARKER), &ids.join("\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_no_demo_made_is_never_emptied() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "years").unwrap();
        assert!(prepare(dir.path()).unwrap_err().to_string().contains("--out"));
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[test]
    fn the_directory_of_an_earlier_demo_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("demo");
        prepare(&out).unwrap();
        std::fs::write(out.join("old"), "x").unwrap();
        prepare(&out).unwrap();
        assert!(!out.join("old").exists() && out.join(MARKER).exists());
    }

    #[test]
    fn a_process_that_is_not_ours_is_not_ended() {
        let own = std::process::id().to_string();
        stop_left_running(&own).unwrap();
        stop_left_running("not a number\n4294967295").unwrap();
    }

    #[test]
    fn an_emulated_agent_is_ours_and_another_emulated_program_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/usr/bin/qemu-aarch64", dir.path().join("exe")).unwrap();
        let runs = |line: &str| {
            std::fs::write(dir.path().join("cmdline"), line).unwrap();
            is_ours(dir.path())
        };
        assert!(runs("qemu-aarch64\0-L\0/usr\0/t/nooterra-agent\0run\0"));
        assert!(!runs("qemu-aarch64\0/t/game\0--near\0/t/nooterra-agent-2\0"));
        assert!(!runs(""));
    }
}
