//! `blackbox erase` as an operator meets it.

use crate::common::Site;
use nooterra_agent::clock::SystemClock;
use nooterra_agent::identity::device_key;
use nooterra_blackbox::{FramesAt, Journal, Options};
use nooterra_protocol::command::{Command as Setpoint, Source};
use nooterra_protocol::entry::{Entry, Sample, SkillLog};
use nooterra_protocol::frame::{FrameTaken, PixelFormat, SkillFrame};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

const SECRET: &str = "somebody is at the door";

fn blackbox(site: &Site, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .arg("--config")
        .arg(site.path("agent.toml"))
        .arg("blackbox")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A robot's journal with one private record.
fn journal(site: &Site) -> Journal {
    let signer = device_key(&site.config().state.identity_dir()).unwrap();
    let clock = Arc::new(SystemClock::new(WallMillis(0)));
    let options = Options::new(clock, signer, site.policy().digest());
    let journal = Journal::open(&site.config().state.journal_dir(), options).unwrap().journal;
    let skill = SkillId::new("patrol").unwrap();
    let entry = Entry::SkillLog(SkillLog { message: SECRET.into(), skill });
    journal.handle().append_durable(entry).unwrap();
    journal
}

#[test]
fn an_operator_erases_what_is_private_and_the_box_still_verifies() {
    let site = Site::new();
    journal(&site).close().unwrap();
    let tail = || {
        let output = blackbox(&site, &["tail", "--kind", "skill_log", "--json"]);
        json(&output)["body"]["message"].clone()
    };
    assert_eq!(tail(), SECRET);

    let before = ["erase", "--before", "2999-01-01", "--by", "op_7"];
    let asked = blackbox(&site, &before);
    let errors = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(1));
    assert!(errors.contains("1 of skill_log") && errors.contains("add --yes"), "{errors}");
    let would = json(&blackbox(&site, &[&before[..], &["--dry-run", "--json"]].concat()));
    assert_eq!((&would["erased"], &would["openings"]), (&false.into(), &1.into()));
    let older = ["erase", "--before", "1999-01-01", "--by", "op_7", "--yes", "--json"];
    let older = blackbox(&site, &older);
    assert_eq!(json(&older)["openings"], 0);
    assert_eq!(tail(), SECRET);

    let done = json(&blackbox(&site, &[&before[..], &["--yes", "--json"]].concat()));
    assert_eq!((&done["erased"], &done["openings"]), (&true.into(), &1.into()));
    assert_eq!(tail()["type"], "text");
    let verified = json(&blackbox(&site, &["verify", "--json"]));
    assert_eq!((&verified["intact"], &verified["identity_proven"]), (&true.into(), &true.into()));
    let said = blackbox(&site, &["tail", "--kind", "erase", "--json"]);
    assert_eq!(json(&said)["kind"], "erase");
}

#[test]
fn whoever_erases_keeps_the_journal_within_the_owners_bounds() {
    let site = Site::new();
    site.edit("agent.toml", "[policy]", "[blackbox]\nmost_mib = { bulk = 1 }\n\n[policy]");
    let open = journal(&site);
    let handle = open.handle();
    let stand = Setpoint::Drive(Twist::ZERO);
    let sample = Sample {
        allowed: stand,
        asked: stand.into(),
        battery: None,
        joints: None,
        limit_mps: 1.0,
        pose: Pose::default(),
        source: Source::Idle,
        twist: Twist::ZERO,
    };
    // Twice as much as the owner wants kept of them.
    for nth in 0..20_000 {
        let entry = Entry::Sample(sample);
        if nth % 500 == 0 {
            handle.append_durable(entry).unwrap();
        } else {
            handle.append(entry).unwrap();
        }
    }
    assert!(handle.usage().unwrap().bulk_bytes > 2 << 20);
    open.close().unwrap();
    let erase = ["erase", "--before", "2999-01-01", "--by", "op_7", "--yes", "--json"];
    assert_eq!(json(&blackbox(&site, &erase))["openings"], 1);
    let said = blackbox(&site, &["tail", "--kind", "prune", "--json"]);
    assert_eq!(json(&said)["kind"], "prune", "the bounds of the configuration do not hold");
}

#[test]
fn whoever_erases_after_a_crash_says_that_there_was_one() {
    let site = Site::new();
    // Not closed.
    drop(journal(&site));
    let erase = ["erase", "--before", "2999-01-01", "--by", "op_7", "--yes", "--json"];
    assert_eq!(json(&blackbox(&site, &erase))["openings"], 1);
    let said = blackbox(&site, &["show", "--kind", "crash", "--json"]);
    let said = json(&said);
    assert_eq!((&said["kind"], &said["body"]["last_boot"]), (&"crash".into(), &1.into()), "{said}");
}

#[test]
fn erasing_wants_the_agent_stopped_and_a_choice() {
    let site = Site::new();
    let open = journal(&site);
    let output = blackbox(&site, &["erase", "--job", "job_1", "--by", "op_7", "--yes"]);
    assert!(output.status.success(), "nothing of that job: nothing to open the journal for");
    let output = blackbox(&site, &["erase", "--before", "2999-01-01", "--by", "op_7", "--yes"]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    open.close().unwrap();
    assert_eq!(blackbox(&site, &["erase"]).status.code(), Some(2));
    assert_eq!(blackbox(&site, &["erase", "--before", "tomorrow"]).status.code(), Some(2));
}

#[test]
fn an_operator_looks_at_a_picture_until_it_is_erased() {
    let site = Site::new();
    let pixels = [7, 70, 200, 255, 0, 1];
    let journal = {
        let config = site.config();
        let signer = device_key(&config.state.identity_dir()).unwrap();
        let clock = Arc::new(SystemClock::new(WallMillis(0)));
        let mut options = Options::new(clock, signer, site.policy().digest());
        let dir = config.state.frames_dir();
        options.frames = Some(FramesAt { dir, most_bytes: 1 << 20 });
        let opened = Journal::open(&config.state.journal_dir(), options).unwrap();
        let frames = opened.frames.unwrap().unwrap();
        let job = JobId::new("job_1").unwrap();
        let (mono, trust, wall) = (MonoNanos(1), ClockTrust::Network, WallMillis(1));
        let now = Stamp { mono, trust, wall };
        let sha256 = frames.keep(&pixels, Some(&job), std::time::Duration::MAX, now).unwrap();
        let (height, width) = (2, 3);
        let (at, format) = (MonoNanos(1), PixelFormat::Grey8);
        let taken = FrameTaken { at, format, height, kept: true, sha256: Some(sha256), width };
        let (skill, step) = (SkillId::new("lookout").unwrap(), StepId::new("s1").unwrap());
        let (refused, taken) = (None, Some(taken));
        let frame = SkillFrame { job, nth: 1, refused, skill, step, taken };
        opened.journal.handle().append_durable(Entry::SkillFrame(frame)).unwrap();
        opened.journal
    };
    // Beside a journal that is in use.
    let out = site.path("picture.pgm");
    let shown = blackbox(&site, &["picture", "1", "-o", out.to_str().unwrap(), "--json"]);
    assert_eq!(json(&shown)["width"], 3);
    assert_eq!(std::fs::read(&out).unwrap(), [b"P5 3 2 255\n", &pixels[..]].concat());
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    journal.close().unwrap();
    let again = blackbox(&site, &["picture", "1", "-o", out.to_str().unwrap()]);
    assert!(!again.status.success(), "what is there is not overwritten");

    let done = ["erase", "--job", "job_1", "--by", "op_7", "--yes", "--json"];
    let done = json(&blackbox(&site, &done));
    assert_eq!((&done["openings"], &done["kinds"]["skill_frame"]), (&1.into(), &1.into()));
    let out = site.path("later.pgm");
    let gone = blackbox(&site, &["picture", "1", "-o", out.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(
        !gone.status.success() && errors.contains("its end, or was erased as record"),
        "{errors}"
    );
    assert!(!out.exists());
    let verified = json(&blackbox(&site, &["verify", "--json"]));
    assert_eq!(verified["intact"], true);
}
