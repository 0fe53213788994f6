//! The guides in `docs/`: every command of the walk-through is run, and no record or rule is
//! missing from the reference. `docs/install.md` is run under systemd by the agent's tests.

use nooterra_blackbox::{Clock, Journal, Options};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Asked, Source, StopProfile};
use nooterra_protocol::entry::{Entry, Link, Rule, Sample, Stop};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::keys::{Es256Key, Signer as _};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// The contents of the blocks that begin with exactly "```sh".
fn commands(text: &str) -> String {
    let mut inside = false;
    let mut script = String::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => script = script + line + "\n",
            _ => {}
        }
    }
    script
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder of the two programs, built as the walk-through says.
fn programs() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root()).args(["build", "--quiet", "-p", "nooterra-agent"]);
    // As a person at a shell has it, so that nothing is built anew (see `toolchain::cargo`).
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        build.env_remove(name);
    }
    build.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_LINKS");
    assert!(build.args(["-p", "nooterra-cloud"]).status().unwrap().success());
    // This test's own program lies in target/PROFILE/deps.
    let me = std::env::current_exe().unwrap();
    me.parent().unwrap().parent().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name == "target" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Runs a guide's commands in a copy of what they need; what was printed, errors last. `guests`
/// are where the guide compiles skills: those folders are kept from run to run.
fn follow(guide: &str, dir: &Path, guests: &[&str]) -> (String, bool) {
    copy(&root().join("examples"), &dir.join("examples"));
    copy(&root().join("skill-host/sdk"), &dir.join("skill-host/sdk"));
    copy(&root().join("skill-host/wit"), &dir.join("skill-host/wit"));
    for guest in guests {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guides");
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::create_dir_all(dir.join(guest)).unwrap();
        std::os::unix::fs::symlink(kept, dir.join(guest).join("target")).unwrap();
    }
    let script = commands(&read(guide))
        .replace("8443", &free_port().to_string())
        .replace("8883", &free_port().to_string());
    // However it ends, nothing is left running. What a guide shows to fail must fail.
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}",
        script.replace("\n! ", "\nfails ")
    );
    let fails = "fails() { if \"$@\"; then echo \"not refused: $*\"; exit 1; fi; }\n";
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("timeout")
        .args(["600", "bash", "-c", &(fails.to_owned() + &script)])
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", programs().display()))
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said + &String::from_utf8_lossy(&output.stderr), output.status.success())
}

#[test]
fn the_walk_through_to_the_first_job_works_command_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let (said, success) = follow("docs/first-job.md", dir.path(), &["examples/skills"]);
    let log = std::fs::read_to_string(dir.path().join("play/agent.log")).unwrap_or_default();
    assert!(success, "{said}\n{log}");
    assert!(said.contains("\"intact\":true"), "{said}");
    assert!(said.contains("speed.linear"), "{said}");
}

#[test]
fn the_guide_to_the_first_policy_works_command_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let (said, success) = follow("docs/first-policy.md", dir.path(), &[]);
    assert!(success, "{said}");
    for part in [
        "policy my-hall version 1 for robot amr-1 is in order",
        "did you mean `max_reverse_mps`?",
        "`zones[1].polygon`: the side after corner 0 meets the side after corner 2",
        "zone.keep_out press",
        "zone.keep_out (press): clearance",
        "looser   limits.max_linear_mps: 1.2 -> 1.6",
        "the object was altered or forged",
        "policy my-hall version 2, signed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let page = std::fs::read_to_string(dir.path().join("play-policy/drive.html")).unwrap();
    assert!(page.contains("<svg"), "nothing is drawn");
}

#[test]
fn the_reference_of_policies_is_in_order_and_its_questions_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (said, success) = follow("docs/policy.md", dir.path(), &[]);
    assert!(success, "{said}");
    for part in [
        "policy arm version 1 for robot robot-1 is in order",
        "policy drone version 1 for robot robot-1 is in order",
        "merged from 2 policies: 2 zones",
        "zone.keep_in (field)",
        "looser   vehicle.max_altitude_m: 30.0 -> 50.0",
        "allows more than the old one",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_bundle_packed_and_signed_by_hand_installs_and_runs() {
    if Command::new("minisign").arg("-v").output().is_err() {
        let name = "a_bundle_packed_and_signed_by_hand_installs_and_runs";
        let said = format!("\nSKIPPED: {name}: no minisign; apt install minisign\n");
        let _ = std::io::stdout().write_all(said.as_bytes());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (said, success) = follow("docs/skill-bundle.md", dir.path(), &["examples/skills"]);
    let log = std::fs::read_to_string(dir.path().join("play-bundle/agent.log")).unwrap_or_default();
    assert!(success, "{said}\n{log}");
    for part in [
        "Signature and comment signature verified",
        "for the first one name its hash",
        "trust document version 1 is in force",
        "there is no revocation list by the revokers",
        "revocation list version 1 is in force",
        "new skills are taken",
        "tier field_cert needs 2 of the certifiers, 1 signed",
        "was revoked: stolen on Friday",
        "needs the signatures of 2 roots of the document in force, 1 signed",
        "trust document version 2 is in force",
    ] {
        assert!(said.contains(part), "{part}: {said}\n{log}");
    }
}

/// 2026-11-18, and 20 ms more with every look.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn stamp(&self) -> Stamp {
        let ticks = self.0.fetch_add(1, Ordering::SeqCst);
        let wall = WallMillis(1_795_000_000_000 + i64::try_from(ticks).unwrap() * 20);
        Stamp { mono: MonoNanos(ticks * 20_000_000), trust: ClockTrust::Network, wall }
    }
}

/// A box where the walk-through leaves one.
fn leave_a_box(robot: &Path) {
    let key = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
    let identity = robot.join("state/identity");
    std::fs::create_dir_all(&identity).unwrap();
    std::fs::write(identity.join("device.pub"), key.verifying_key().to_string()).unwrap();
    let clock = Arc::new(Ticking(AtomicU64::new(1)));
    let mut options = Options::new(clock, key, Digest::of(b"policy"));
    options.checkpoint_every_records = 40;
    let opened = Journal::open(&robot.join("state/journal"), options).unwrap();
    let put = |entry: Entry| opened.journal.handle().append_durable(entry).unwrap();
    put(Entry::Link(Link { reason: None, up: true }));
    let reason = "the test of the guide".to_owned();
    put(Entry::Stop(Stop { profile: StopProfile::ControlledHold, reason }));
    for step in 0..120_u32 {
        let twist = Twist::new(0.5, 0.0);
        put(Entry::Sample(Sample {
            allowed: twist.into(),
            asked: Asked::from(twist),
            battery: None,
            joints: None,
            limit_mps: 0.5,
            pose: Pose { x: f64::from(step) / 100.0, y: 1.0, yaw: 0.0 },
            source: Source::Skill,
            twist,
        }));
    }
    opened.journal.close().unwrap();
}

#[test]
fn the_page_on_simulated_robots_checks_the_arm_that_is_shipped() {
    let dir = tempfile::tempdir().unwrap();
    let (said, success) = follow("docs/simulated-robots.md", dir.path(), &[]);
    assert!(success, "{said}");
    for part in ["policy table-arm version 1 for robot arm-1 is in order", "Nooterra simulated arm"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_guide_to_the_black_box_works_command_by_command() {
    let dir = tempfile::tempdir().unwrap();
    leave_a_box(&dir.path().join("play/robot"));
    let (said, success) = follow("docs/blackbox.md", dir.path(), &[]);
    assert!(success, "{said}");
    for part in [
        "verified through the signed checkpoint",
        "self-consistent",
        "record 2: stop, critical",
        "the test of the guide",
        "/odom                   120 messages",
        "withheld",
        "signed by the key",
        "exit code 5",
        "record 9 is not as it was written",
        "missing: 9 to 9",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_guide_to_the_first_skill_works_command_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let (said, success) = follow("docs/first-skill.md", dir.path(), &["play-skill/nod"]);
    let log = std::fs::read_to_string(dir.path().join("play-skill/agent.log")).unwrap_or_default();
    assert!(success, "{said}\n{log}");
    for part in [
        "3 of 3 cases as they must be",
        "it is done",
        "- ask the robot to move",
        "journal",
        "accepted",
        "is not over these bytes",
        "nodding",
        "CHECKPOINT_REACHED",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_reference_of_records_names_every_kind_and_every_rule() {
    let text = read("docs/records.md");
    for rule in Rule::ALL {
        assert!(text.contains(&format!("| `{rule}` |")), "{rule} is missing");
    }
    let source = read("protocol/src/entry.rs");
    let kinds = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("(_) => \""))
        .filter_map(|(_, kind)| kind.strip_suffix("\","));
    let mut count = 0;
    for kind in kinds {
        count += 1;
        assert!(text.contains(&format!("| `{kind}` |")), "{kind} is missing");
    }
    assert!(count >= 13, "the source was not understood: {count} kinds");
}
