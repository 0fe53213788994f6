//! The daemon as a process, against an embedded cloud: real handshakes, real disks, real
//! signals.

use crate::common::Site;
use crate::common::rig::{
    AGENT, Agent, CloudRig, dispatch, enroll, publish_patrol, step, wait_for,
};
use crate::common::skip;
use nooterra_blackbox::{TailFrom, tail, verify};
use nooterra_protocol::entry::Class;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

/// A way of a quarter of a minute: what is to happen under way does, on a busy machine too.
fn there_and_back() -> Value {
    json!([{ "x": 9.0, "y": 1.2 }, { "x": 2.0, "y": 1.2 }])
}

/// A way that no test waits for the end of.
fn back_and_forth() -> Value {
    let legs = there_and_back().as_array().unwrap().clone();
    Value::Array(legs.iter().cycle().take(16).cloned().collect())
}

#[test]
fn a_cloud_that_is_gone_and_comes_back_misses_nothing_and_counts_nothing_twice() {
    let site = Site::new();
    let mut cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    // Only what was up can be gone: the cloud knows of the channel before the robot does.
    agent.says("the channel is up");
    cloud.stop();
    agent.says("no channel to the cloud");
    // What happens meanwhile is only in the journal.
    std::thread::sleep(Duration::from_secs(3));
    cloud.start_again();
    wait_for("the robot to come back", || cloud.is_online().then_some(()));
    // The robot's own word that the link was gone comes with what was missed.
    wait_for("what was missed", || {
        let links = cloud.records(Class::Normal);
        links.values().any(|r| r["kind"] == "link" && r["body"]["up"] == false).then_some(())
    });
    assert!(agent.terminate().success());

    let journal = site.path("state/journal");
    let mut theirs = cloud.records(Class::Critical);
    theirs.extend(cloud.records(Class::Normal));
    theirs.extend(cloud.records(Class::Bulk));
    let newest: BTreeMap<String, u64> = theirs
        .values()
        .map(|record| {
            (record["class"].as_str().unwrap().to_owned(), record["seq"].as_u64().unwrap())
        })
        .collect();
    for record in tail(&journal, TailFrom::Seq(1)).unwrap() {
        let read = record.record.unwrap();
        let sent = newest.get(read.class.name()).is_some_and(|newest| record.seq <= *newest);
        let there = theirs.contains_key(&record.seq);
        assert!(there || !sent, "the cloud misses record {} ({})", record.seq, read.kind);
    }
    assert!(theirs.len() > 5);
}

#[test]
fn a_killed_agent_starts_again_with_its_journal_whole() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    for _ in 0..2 {
        let agent = Agent::online(&site, &cloud);
        agent.kill();
        wait_for("the cloud to notice", || (!cloud.is_online()).then_some(()));
    }
    let agent = Agent::online(&site, &cloud);
    agent.says("the last run did not end in order");
    let boots = || -> Vec<_> {
        let records = cloud.records(Class::Critical).into_values();
        let boots = records.filter(|record| record["kind"] == "boot");
        boots.map(|record| record["body"]["clean"] == true).collect()
    };
    wait_for("its boot", || (boots().len() == 3).then_some(()));
    assert!(agent.terminate().success());
    let key = std::fs::read_to_string(site.path("state/identity/device.pub")).unwrap();
    let key = key.trim().parse().unwrap();
    let found = verify(&site.path("state/journal"), Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_intact(), "{found}");
    assert_eq!(found.verified_through, Some(found.records), "{found}");
    assert_eq!(boots(), [true, false, false]);
}

#[test]
fn a_robot_whose_journal_lost_what_it_remembered_stands_until_somebody_says_otherwise() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    assert!(Agent::online(&site, &cloud).terminate().success());
    let states = site.path("state/journal/store/db");
    let length = usize::try_from(std::fs::metadata(&states).unwrap().len()).unwrap();
    std::fs::write(&states, vec![0xa5; length]).unwrap();
    let agent = Agent::online(&site, &cloud);
    agent.says("a damaged journal was set aside");
    let stands = |expected: bool| {
        wait_for("the robot to say so", || {
            let health = cloud.get("/v1/robots/amr-1")["health"].clone();
            let says = |what: &str| health[what] == expected;
            (says("emergency_stop") && says("vetoed")).then_some(())
        });
    };
    stands(true);
    for ask in [json!({ "type": "lift_veto" }), json!({ "type": "release_stop" })] {
        let sent = cloud.post("/v1/robots/amr-1/commands", json!({ "ask": ask }));
        let path = format!("/v1/robots/amr-1/commands/{}", sent["id"].as_str().unwrap());
        wait_for("it to be taken", || (cloud.get(&path)["state"] == "accepted").then_some(()));
    }
    stands(false);
    assert!(agent.terminate().success());
    let agent = Agent::online(&site, &cloud);
    stands(false);
    assert!(agent.terminate().success());
}

#[test]
fn a_start_asks_for_the_time_that_a_long_journal_takes() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let mut command = Command::new(AGENT);
    command.arg("--config").arg(site.path("agent.toml")).arg("run");
    command.env("NOTIFY_SOCKET", site.path("notify"));
    let agent = Agent::spawn(&site, command);
    let mut said = String::new();
    while !said.contains("READY=1") {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        said.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    let before = said.split("READY=1").next().unwrap_or_default();
    assert!(before.contains("EXTEND_TIMEOUT_USEC="), "{said}");
    assert!(agent.terminate().success());
}

#[test]
fn a_disk_that_hangs_keeps_the_watchdog_fed_by_the_control_loop() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let mut command = Command::new(AGENT);
    command.arg("--config").arg(site.path("agent.toml")).arg("run");
    command.env("NOTIFY_SOCKET", site.path("notify")).env("WATCHDOG_USEC", "600000");
    let agent = Agent::spawn(&site, command);
    let told = |what: &str| {
        let mut bytes = [0; 4096];
        loop {
            let length = socket.recv(&mut bytes).unwrap();
            if String::from_utf8_lossy(&bytes[..length]).contains(what) {
                return;
            }
        }
    };
    told("READY=1");
    // A file that the agent reads every few looks, on a disk that does not answer.
    std::fs::create_dir_all(site.path("state/policy")).unwrap();
    let hangs = site.path("state/policy/start_anew");
    assert!(Command::new("mkfifo").arg(&hangs).status().unwrap().success());
    let opened = wait_for("the agent to wait for the disk", || {
        let mut open = std::fs::File::options();
        open.write(true).custom_flags(nix::libc::O_NONBLOCK).open(&hangs).ok()
    });
    // What was sent before it came there is one or two of them.
    for _ in 0..10 {
        told("WATCHDOG=1");
    }
    std::fs::remove_file(&hangs).unwrap();
    drop(opened);
    assert!(agent.terminate().success());
}

#[test]
fn a_job_whose_file_cannot_be_read_is_given_up_and_that_is_said() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let patrol = || step(&skill, "patrol", json!({ "waypoints": back_and_forth() }));
    let job = dispatch(&cloud, &[patrol()]);
    cloud.wait_for_state(&job, "EXECUTING");
    agent.kill();
    let file = site.path("state/job.cbor");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    // And what a kill in the middle of a write leaves.
    std::fs::write(site.path("state/.tmpq1W2e3"), b"half").unwrap();
    let agent = Agent::online(&site, &cloud);
    cloud.wait_for_state(&job, "ABORTED");
    let incident = wait_for("the incident", || {
        let records = cloud.records(Class::Critical);
        records.into_values().find(|record| record["kind"] == "incident")
    });
    let told = json!({ "cause": "job_aborted", "command": null, "job": job, "step": null });
    assert_eq!(incident["body"], told);
    let aside = std::fs::read(site.path("state/job-unreadable-1.cbor")).unwrap();
    assert_eq!(aside, whole[..whole.len() / 2]);
    assert!(!site.path("state/.tmpq1W2e3").exists());
    // The next job is none of its business.
    let next = dispatch(&cloud, &[step(&skill, "undock", json!({}))]);
    cloud.wait_for_state(&next, "COMPLETED");
    assert!(agent.terminate().success());
    let again = Agent::online(&site, &cloud);
    assert!(again.terminate().success());
    let records = cloud.records(Class::Critical);
    assert_eq!(records.values().filter(|record| record["kind"] == "incident").count(), 1);
}

#[test]
fn a_job_under_way_at_a_crash_goes_on_with_the_step_that_was_not_done() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let waypoints = there_and_back();
    let job = dispatch(
        &cloud,
        &[
            step(&skill, "undock", json!({})),
            step(&skill, "patrol", json!({ "waypoints": waypoints })),
        ],
    );
    let used = |step: &str| {
        let events = cloud.events(&job);
        events.iter().filter(|(kind, what)| kind == "SKILL_USED" && what["step"] == step).count()
    };
    wait_for("the second step", || (used("patrol") == 1).then_some(()));
    agent.kill();
    let agent = Agent::run(&site);
    agent.says("taking up the job under way");
    cloud.wait_for_state(&job, "COMPLETED");
    assert_eq!((used("undock"), used("patrol")), (1, 2), "{:?}", cloud.events(&job));
    let ends = cloud.events(&job).iter().filter(|(kind, _)| kind == "EXECUTION_COMPLETED").count();
    assert_eq!(ends, 1);
    // What the cloud reports in the robot's name is in the robot's box, the crash in between.
    let report = wait_for("a checkpoint over the end", || {
        let report = cloud.get(&format!("/v1/jobs/{job}/report"));
        (report["black_box"]["unproven"] == json!([])).then_some(report)
    });
    let key = std::fs::read_to_string(site.path("state/identity/device.pub")).unwrap();
    let key = key.trim().parse().unwrap();
    let shown = nooterra_cloud::verify_report(&report.to_string(), &[key], None).unwrap();
    assert!(shown.is_shown() && shown.statements.len() >= 6, "{shown:?}");
    assert!(agent.terminate().success());
}

#[test]
fn a_skill_signed_by_a_stranger_aborts_the_job_before_anything_moves() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, None);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&skill, "undock", json!({}))]);
    cloud.wait_for_state(&job, "ABORTED");
    let events = cloud.events(&job);
    assert!(events.iter().all(|(kind, _)| kind != "SKILL_USED"), "{events:?}");
    let (_, aborted) = events.last().unwrap();
    assert!(aborted["reason"].as_str().unwrap().contains("is refused"), "{aborted}");
    let checked = cloud.records(Class::Critical).into_values();
    let checked: Vec<_> = checked.filter(|record| record["kind"] == "skill_checked").collect();
    assert_eq!(checked.len(), 1);
    assert_eq!(checked[0]["body"]["accepted"], false);
    assert!(agent.terminate().success());
}

#[test]
fn a_cancelled_job_ends_in_a_safe_exit() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let waypoints = back_and_forth();
    let job = dispatch(&cloud, &[step(&skill, "patrol", json!({ "waypoints": waypoints }))]);
    cloud.wait_for_state(&job, "EXECUTING");
    let answer = cloud.post(&format!("/v1/jobs/{job}/cancel"), json!({ "reason": "not needed" }));
    assert_eq!(answer["state"], "ABORTING_SAFE_EXIT");
    cloud.wait_for_state(&job, "ABORTED");
    let (_, aborted) = cloud.events(&job).pop().unwrap();
    assert_eq!(aborted["reason"], "cancelled: not needed");
    assert!(agent.terminate().success());
}

#[test]
fn a_paused_job_rests_over_a_restart_and_goes_on_where_it_was() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let waypoints = there_and_back();
    let job = dispatch(&cloud, &[step(&skill, "patrol", json!({ "waypoints": waypoints }))]);
    let used = || {
        let events = cloud.events(&job);
        events.into_iter().filter(|(kind, _)| kind == "SKILL_USED").count()
    };
    wait_for("the step", || (used() == 1).then_some(()));
    let held = cloud.post(&format!("/v1/jobs/{job}/pause"), json!({ "reason": "a child" }));
    assert_eq!(held["state"], "STALLED");
    agent.says("the job is held");
    agent.kill();
    let agent = Agent::run(&site);
    agent.says("taking up the job under way");
    wait_for("the step to begin again", || (used() == 2).then_some(()));
    assert_eq!(cloud.get(&format!("/v1/jobs/{job}"))["state"], "STALLED");
    cloud.post(&format!("/v1/jobs/{job}/resume"), json!({}));
    cloud.wait_for_state(&job, "COMPLETED");
    let kinds: Vec<_> = cloud.events(&job).into_iter().map(|(kind, _)| kind).collect();
    let at = |name: &str| kinds.iter().position(|kind| kind == name);
    assert!(at("EXECUTION_STALLED") < at("EXECUTION_RESUMED"), "{kinds:?}");
    assert!(at("EXECUTION_RESUMED") < at("EXECUTION_COMPLETED"), "{kinds:?}");
    assert!(agent.terminate().success());
}

#[test]
fn access_that_is_revoked_under_way_ends_in_a_safe_exit() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let waypoints = back_and_forth();
    let plan = json!({ "steps": [step(&skill, "patrol", json!({ "waypoints": waypoints }))] });
    let job = cloud.post("/v1/jobs", json!({ "robot": "amr-1", "plan": plan }));
    let job = job["id"].as_str().unwrap();
    let window = json!({ "method": "DOCKED_IN_BUILDING", "valid_from": 0,
        "valid_to": 4_000_000_000_000_i64 });
    cloud.post(&format!("/v1/jobs/{job}/access"), window);
    for action in ["quote", "book", "dispatch"] {
        cloud.post(&format!("/v1/jobs/{job}/{action}"), json!({}));
    }
    cloud.wait_for_state(job, "EXECUTING");
    let revoked =
        cloud.post(&format!("/v1/jobs/{job}/access/revoke"), json!({ "reason": "a guest" }));
    assert_eq!(revoked["state"], "ABORTING_SAFE_EXIT");
    cloud.wait_for_state(job, "ABORTED");
    let (kind, aborted) = cloud.events(job).pop().unwrap();
    assert_eq!(kind, "EXECUTION_ABORTED");
    assert_eq!(aborted["reason"], "cancelled: access was revoked: a guest");
    assert!(agent.terminate().success());
}

#[test]
fn a_certificate_of_another_cloud_is_refused_and_the_robot_goes_on_by_itself() {
    let (site, elsewhere) = (Site::new(), Site::new());
    let cloud = CloudRig::start(&site, |_| {});
    let other = CloudRig::start(&elsewhere, |_| {});
    enroll(&site, &cloud);
    enroll(&elsewhere, &other);
    // The key and certificate of another cloud's robot, shown to ours.
    for file in ["device.key", "certificate.pem"] {
        let file = format!("state/identity/{file}");
        std::fs::copy(elsewhere.path(&file), site.path(&file)).unwrap();
    }
    let agent = Agent::run(&site);
    agent.says("no channel to the cloud");
    agent.says("ready");
    assert!(!cloud.is_online());
    assert!(agent.terminate().success());
}

#[test]
fn an_expired_certificate_is_named_and_a_short_one_is_renewed_in_time() {
    let site = Site::new();
    let mut cloud = CloudRig::start(&site, |config| {
        config.robot_certificate_lifetime = Duration::from_secs(2);
    });
    enroll(&site, &cloud);
    std::thread::sleep(Duration::from_secs(3));
    let agent = Agent::run(&site);
    agent.says("enroll this robot again");
    assert!(agent.terminate().success());
    cloud.stop();

    let site = Site::new();
    let cloud = CloudRig::start(&site, |config| {
        // It begins five minutes in the past, so that it is to be renewed from its first moment
        // on; and no machine is so slow that it ends before.
        config.robot_certificate_lifetime = Duration::from_secs(140);
    });
    enroll(&site, &cloud);
    let agent = Agent::run(&site);
    agent.says("the certificate was renewed");
    wait_for("the robot", || cloud.is_online().then_some(()));
    assert!(agent.terminate().success());
}

#[test]
fn a_used_claim_code_is_refused_in_the_clouds_words() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let code = cloud.post("/v1/claim-codes", json!({ "robot": "amr-1" }))["code"].clone();
    let enroll = || {
        Command::new(AGENT)
            .arg("--config")
            .arg(site.path("agent.toml"))
            .args(["enroll", "--cloud", &cloud.url(), "--code", code.as_str().unwrap()])
            .output()
            .unwrap()
    };
    assert!(enroll().status.success());
    let second = enroll();
    assert_eq!(second.status.code(), Some(6), "{}", String::from_utf8_lossy(&second.stderr));
}

#[test]
fn a_second_agent_on_the_same_state_is_refused() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let second = Command::new(AGENT)
        .arg("--config")
        .arg(site.path("agent.toml"))
        .arg("run")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(7), "{errors}");
    assert!(errors.contains("open in another process"), "{errors}");
    assert!(agent.terminate().success());
}

#[test]
fn a_full_disk_stops_the_robot_and_is_said_in_one_line() {
    let small = ["--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    if let Err(why) = skip::allows("a small disk in a namespace", "unshare", &small) {
        return skip::skipped(&why);
    }
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let state = site.path("state");
    std::fs::create_dir(&state).unwrap();
    enroll(&site, &cloud);
    let kept = site.path("kept");
    // A small disk of its own, in a namespace, so that nobody else's runs full. The store sets
    // space aside for minutes to come; giving that back and taking it brings the end nearer.
    let script = "set -e; cp -a \"$1\" \"$2\"; mount -t tmpfs -o size=32m tmpfs \"$1\"; \
                  cp -a \"$2\"/. \"$1\"; \
                  (while ! grep -q ready \"$3\"; do sleep 0.1; done; \
                  find \"$1\"/journal -name db -exec fallocate --dig-holes {} +; \
                  dd if=/dev/zero of=\"$1\"/filler bs=4k 2>/dev/null || true) & \
                  exec \"$4\" --config \"$5\" run";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    command.arg(&state).arg(&kept).arg(site.path("agent.log"));
    command.arg(AGENT).arg(site.path("agent.toml"));
    let mut agent = Agent::spawn(&site, command);
    agent.says("the journal stopped");
    let status = wait_for("the agent to end", || agent.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let log = agent.log();
    let last = log.trim_end().lines().last().unwrap();
    assert!(last.starts_with("nooterra-agent: the journal stopped"), "{last}");
}
