//! The shipped unit under a real systemd, booted in namespaces of its own.
//!
//! Needs root, systemd and dbus, and a machine that lets root make namespaces, which a
//! container often does not. Without them there is nothing to test with, and the test says so.

#[path = "../common/machine.rs"]
mod machine;

use crate::common::Site;
use crate::common::rig::{AGENT, CloudRig, dispatch, publish_patrol, step, wait_for};
use crate::common::skip::{self, skipped};
use machine::Machine;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const UNIT: &str = "nooterra-agent";

/// Of the shipped unit.
const WATCHDOG: Duration = Duration::from_secs(3);

/// What is missing here, if anything is.
fn refusal() -> Result<(), String> {
    machine::refusal()?;
    skip::allows_tracing()
}

/// The machine that the agent's unit is on.
struct Robot(Machine);

impl Robot {
    fn succeed(&self, command: &[&str]) -> String {
        self.0.succeed(command, UNIT)
    }

    fn show(&self, property: &str) -> String {
        self.0.show(UNIT, property)
    }

    /// How long the agent has been ready.
    fn active_for(&self) -> Option<Duration> {
        let since: u64 = self.show("ActiveEnterTimestampMonotonic").parse().ok()?;
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
        let active = self.show("ActiveState") == "active";
        Duration::from(now).checked_sub(Duration::from_micros(since)).filter(|_| active)
    }

    fn log(&self) -> String {
        self.0.log(UNIT)
    }

    /// The agent's control thread, seen from here.
    fn control_thread(&self) -> i32 {
        let inside = self.show("MainPID");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let status = entry.path().join("status");
            let text = std::fs::read_to_string(status).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default();
            let is_agent = text.starts_with("Name:\tnooterra-agent");
            if !is_agent || line.split_whitespace().nth(2) != Some(&inside) {
                continue;
            }
            for task in std::fs::read_dir(entry.path().join("task")).unwrap().flatten() {
                // Others come and go.
                let name = std::fs::read_to_string(task.path().join("comm"));
                if name.is_ok_and(|name| name.trim() == "control") {
                    return task.file_name().to_string_lossy().parse().unwrap();
                }
            }
        }
        panic!("the agent has no control thread");
    }
}

/// Freezes one thread and nothing else of its process, until the process is gone.
fn freeze(thread: i32) {
    // ptrace(2) belongs to the thread that attached; it must also reap its tracee.
    std::thread::spawn(move || {
        let tracee = Pid::from_raw(thread);
        ptrace::seize(tracee, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(tracee).unwrap();
        loop {
            match waitpid(tracee, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) => {}
                _ => return,
            }
        }
    });
}

/// The commands of `docs/install.md`, as they stand there.
fn install(cloud: &str, code: &str) -> String {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/install.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: String = blocks.collect();
    assert!(commands.contains("systemctl enable"), "the guide was not understood");
    format!(
        "cd /run/site\nAGENT=nooterra-agent ROBOT=/run/site CLOUD={cloud} CODE={code}\n{commands}"
    )
}

#[test]
fn the_shipped_unit_runs_a_skill_and_its_watchdog_ends_a_frozen_control_loop() {
    if let Err(why) = refusal() {
        return skipped(&why);
    }
    let site = Site::new();
    site.edit("agent.toml", "dir = \"state\"", "dir = \"/var/lib/nooterra\"");
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    let machine = match Machine::boot(site.dir.path(), &[Path::new(AGENT)]) {
        Ok(machine) => Robot(machine),
        Err(why) => return skipped(&why),
    };
    let code = cloud.post("/v1/claim-codes", json!({ "robot": "amr-1" }))["code"].clone();
    // Starting a Type=notify unit returns when the agent has said that it is ready.
    machine.succeed(&["sh", "-ec", &install(&cloud.url(), code.as_str().unwrap())]);
    assert_eq!(machine.show("ActiveState"), "active");
    assert_eq!(machine.show("StatusText"), "the control loop ticks");
    wait_for("the robot", || cloud.is_online().then_some(()));
    let job = dispatch(&cloud, &[step(&skill, "undock", json!({}))]);
    wait_for("the job", || {
        let state = cloud.get(&format!("/v1/jobs/{job}"))["state"].clone();
        assert_ne!(state, "ABORTED", "{}", machine.log());
        (state == "COMPLETED").then_some(())
    });
    // Fed while the loop ticks: it outlives its watchdog, sooner or later also on a machine that
    // holds it up for so long that the watchdog is right.
    wait_for("a run that is fed", || (machine.active_for()? > 2 * WATCHDOG).then_some(()));

    let before = machine.show("NRestarts");
    freeze(machine.control_thread());
    wait_for("the watchdog", || (machine.show("NRestarts") != before).then_some(()));
    wait_for("the agent to be ready again", || {
        (machine.show("ActiveState") == "active").then_some(())
    });
    let log = machine.log();
    assert!(log.contains("the watchdog is not fed"), "{log}");
    assert!(log.to_lowercase().contains("watchdog timeout"), "{log}");
    machine.succeed(&["systemctl", "stop", "nooterra-agent"]);
    assert_eq!(machine.show("Result"), "success");
}

#[test]
fn the_units_exposure_is_scored_below_2_5() {
    let unit = Path::new(ROOT).join("systemd/nooterra-agent.service");
    if let Err(why) = skip::allows("scoring the unit", "systemd-analyze", &["--version"]) {
        return skipped(&why);
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    let score = line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!(score < 2.5, "{line}");
}
