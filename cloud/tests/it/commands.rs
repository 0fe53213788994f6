//! The commands that talk to a cloud, as a person types them.

use super::rig::{Device, Mqtt, Rig, bytes, csr, plan, skill_bundle};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::{Completed, EventType as E, Heartbeat, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{JobId, StepId};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn command(rig: &Rig, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    command
        .args(args)
        .args(["--url", &format!("https://{}", rig.http), "--data"])
        .arg(rig.dir.path().join("cloud"));
    command
}

fn run(rig: &Rig, args: &[&str]) -> (Option<i32>, String, String) {
    said(&command(rig, args).output().unwrap())
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn ok(rig: &Rig, args: &[&str]) -> String {
    let (code, out, err) = run(rig, args);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}: {out}");
    out
}

/// A robot that was claimed on the command line, and the file of a job for it.
fn prepared(rig: &Rig) -> (Device, PathBuf) {
    let code = ok(rig, &["claim", "amr-1"]);
    let pair = KeyPair::generate().unwrap();
    let body = json!({ "code": code.trim(), "csr_pem": csr(&pair) });
    let (status, enrolled) = rig.ask("POST", "/v1/enrolments", Some(bytes(&body)), None, None);
    assert_eq!(status, 201, "{enrolled}");
    let (bundle, signature) = skill_bundle(b"component");
    let path = rig.dir.path().join("patrol.noot");
    std::fs::write(&path, bundle).unwrap();
    std::fs::write(path.with_extension("noot.minisig"), signature).unwrap();
    let skill: Value =
        serde_json::from_str(&ok(rig, &["skill", "publish", path.to_str().unwrap()])).unwrap();
    assert!(ok(rig, &["skill", "list"]).contains(skill["bundle"].as_str().unwrap()));
    let job = json!({ "robot": "amr-1", "plan": { "steps": [
        { "action": "patrol", "id": "s1", "skill": skill, "timeout_s": 60 },
    ]}});
    let path = rig.dir.path().join("job.json");
    std::fs::write(&path, job.to_string()).unwrap();
    (Device::new("amr-1", pair, &enrolled), path)
}

#[test]
fn a_job_goes_from_a_file_to_its_end_and_is_watched_on_the_way() {
    let rig = Rig::new();
    let (mut device, file) = prepared(&rig);
    let mut client = Mqtt::connect(&rig, &device);
    let watching = command(&rig, &["job", "run", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    rig.wait("/v1/jobs", |answer| answer["jobs"][0]["state"] == "RESERVED");
    let id = rig.get("/v1/jobs")["jobs"][0]["id"].as_str().unwrap().to_owned();
    let job = JobId::new(id.clone()).unwrap();
    let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
    let beat = Heartbeat {
        assist_requested: false,
        progress: 0.5,
        stage: Some(StepId::new("s1").unwrap()),
    };
    let over = Completed { interventions: 0, pose: Pose::default(), steps: 1 };
    let facts = vec![
        device.fact(E::EnRoute, Some(&job), &under),
        device.fact(E::AccessGranted, Some(&job), &under),
        device.fact(E::ExecutionStarted, Some(&job), &under),
        device.fact(E::Heartbeat, Some(&job), &beat),
        device.fact(E::ExecutionCompleted, Some(&job), &over),
    ];
    assert!(client.publish(&device.topic("up/critical"), &device.batch(facts)).is_some());
    let (code, out, err) = said(&watching.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let kinds: Vec<_> = out.lines().map(|line| line.split("  ").nth(2).unwrap().trim()).collect();
    assert_eq!(
        kinds,
        [
            "JOB_CREATED",
            "QUOTE_PROPOSED",
            "BOOKED",
            "MATCHED",
            "SKILL_LICENSED",
            "RESERVED",
            "EN_ROUTE",
            "ACCESS_GRANTED",
            "EXECUTION_STARTED",
            "HEARTBEAT",
            "EXECUTION_COMPLETED",
        ],
        "{out}"
    );
    assert!(out.contains("50 % s1"), "{out}");
    // What is over is watched from its first fact all the same.
    assert_eq!(ok(&rig, &["job", "watch", &id]), out);
    assert!(ok(&rig, &["job", "list"]).contains("COMPLETED"));
    assert!(ok(&rig, &["job", "show", &id]).contains("100 %"));
    let shown: Value = serde_json::from_str(&ok(&rig, &["job", "show", &id, "--json"])).unwrap();
    assert_eq!(shown["state"], "COMPLETED");
    assert_eq!(ok(&rig, &["job", "events", &id]).lines().count(), kinds.len());
    assert_eq!(ok(&rig, &["event", "list", "--job", &id]).lines().count(), kinds.len());
    assert_eq!(ok(&rig, &["event", "list", "--type", "BOOKED", "--json"]).lines().count(), 1);
}

#[test]
fn steps_are_taken_one_by_one_and_a_cancelled_job_is_not_completed() {
    let rig = Rig::new();
    let (_device, file) = prepared(&rig);
    let made = ok(&rig, &["job", "create", file.to_str().unwrap(), "--json"]);
    let id = serde_json::from_str::<Value>(&made).unwrap()["id"].as_str().unwrap().to_owned();
    let priced = ["job", "quote", &id, "--amount", "1250", "--currency", "CHF"];
    assert!(ok(&rig, &priced).contains("QUOTED"));
    for (step, state) in [("book", "BOOKED"), ("dispatch", "RESERVED"), ("cancel", "ABORTED")] {
        assert!(ok(&rig, &["job", step, &id]).contains(state), "{step}");
    }
    let (code, out, _) = run(&rig, &["job", "watch", &id]);
    assert_eq!(code, Some(6), "{out}");
    assert!(out.contains("cancelled by the operator"), "{out}");
    let (code, _, err) = run(&rig, &["job", "book", &id]);
    assert_eq!(code, Some(7));
    assert!(err.contains("the next call is"), "{err}");
    assert_eq!(run(&rig, &["job", "watch", "job_none"]).0, Some(7));
}

#[test]
fn a_robot_is_stopped_released_and_seen() {
    let rig = Rig::new();
    let (device, _) = prepared(&rig);
    assert!(ok(&rig, &["robot", "list"]).contains("amr-1  offline"));
    let _client = Mqtt::connect(&rig, &device);
    rig.wait("/v1/robots/amr-1", |robot| robot["online"] == true);
    assert!(ok(&rig, &["robot", "show", "amr-1"]).contains("online"));
    assert!(
        ok(&rig, &["robot", "stop", "amr-1", "--reason", "a child"]).contains("emergency_stop")
    );
    assert!(ok(&rig, &["robot", "release", "amr-1"]).contains("release_stop"));
    ok(&rig, &["robot", "send", "amr-1", r#"{"type":"release_stop"}"#, "--ttl", "1000"]);
    let veto = r#"{"type":"veto","reason":"somebody is on the floor"}"#;
    assert!(ok(&rig, &["robot", "send", "amr-1", veto, "--operator", "anna"]).contains("veto"));
    let told = ok(&rig, &["robot", "commands", "amr-1"]);
    assert_eq!(told.lines().count(), 5, "{told}");
    assert!(ok(&rig, &["robot", "verdicts", "amr-1"]).starts_with("CURSOR"));
    let (code, _, err) = run(&rig, &["robot", "send", "amr-1", "{"]);
    assert_eq!(code, Some(2), "{err}");
    let (code, _, err) = run(&rig, &["robot", "show", "amr-9"]);
    assert_eq!(code, Some(7));
    assert!(err.contains("not enrolled"), "{err}");
}

#[test]
fn a_robot_is_put_out_of_work_and_back_and_at_last_revoked() {
    let rig = Rig::new();
    let (_device, _) = prepared(&rig);
    for (how, shown) in [
        ("maintain", "maintenance since"),
        ("quarantine", "quarantined since"),
        ("restore", "standing in_service"),
        ("revoke", "revoked since"),
    ] {
        let told = ok(&rig, &["robot", how, "amr-1", "--reason", "a test of it"]);
        assert!(told.contains(shown), "{told}");
    }
    assert!(ok(&rig, &["robot", "list"]).contains("revoked"));
    let (code, _, err) = run(&rig, &["robot", "stop", "amr-1"]);
    assert_eq!(code, Some(7));
    assert!(err.contains("revoked (a test of it)") && err.contains("enrol it again"), "{err}");
    assert_eq!(run(&rig, &["robot", "revoke", "amr-1"]).0, Some(2));
}

#[test]
fn jobs_and_robots_are_listed_over_all_pages() {
    let rig = Rig::new();
    let (_device, _) = prepared(&rig);
    for robot in ["amr-2", "amr-3"] {
        rig.enrol(robot);
    }
    // One more than the commands ask for at once.
    let plan = plan(&rig.publish_skill());
    for _ in 0..201 {
        rig.post("/v1/jobs", json!({ "robot": "amr-1", "plan": plan }));
    }
    let of = |name: &str, args: &[&str]| {
        let object: Value = serde_json::from_str(&ok(&rig, args)).unwrap();
        object[name].as_array().unwrap().clone()
    };
    let jobs = of("jobs", &["job", "list", "--json"]);
    assert_eq!(jobs, *rig.get("/v1/jobs?limit=1000")["jobs"].as_array().unwrap());
    assert_eq!(ok(&rig, &["job", "list"]).lines().count(), 1 + 201);
    assert_eq!(of("jobs", &["job", "list", "--json", "-n", "2"]), jobs[..2]);
    assert_eq!(ok(&rig, &["robot", "list"]).lines().count(), 1 + 3);
    assert_eq!(of("robots", &["robot", "list", "--json", "--limit", "2"]).len(), 2);
    assert_eq!(run(&rig, &["job", "list", "--limit", "0"]).0, Some(2));
}

#[test]
fn whoever_cannot_be_reached_or_read_is_said_with_what_to_do() {
    let mut rig = Rig::new();
    let alone = |args: &[&str]| {
        said(&Command::new(env!("CARGO_BIN_EXE_nooterra-cloud")).args(args).output().unwrap())
    };
    let (code, _, err) = alone(&["job", "list"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("--data"), "{err}");
    let (code, _, err) = alone(&["job", "list", "--data", "no-such-directory"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("ca.pem"), "{err}");
    let data = rig.dir.path().join("cloud");
    let data = data.to_str().unwrap();
    assert_eq!(alone(&["job", "list", "--data", data, "--url", "http://x"]).0, Some(2));
    let missing = run(&rig, &["job", "create", "no-such-file"]);
    assert_eq!(missing.0, Some(3), "{missing:?}");
    let token = rig.dir.path().join("token");
    std::fs::write(&token, "not the token").unwrap();
    let refused = run(&rig, &["job", "list", "--token-file", token.to_str().unwrap()]);
    assert_eq!(refused.0, Some(7), "{refused:?}");
    rig.stop();
    let (code, _, err) = run(&rig, &["job", "list"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot reach"), "{err}");
}

#[test]
fn the_versions_that_were_made_with_a_package_are_found() {
    use super::registry::{PATROL, Robot, Skill, bundle_with, quick, set_rings, start};
    use nooterra_protocol::skill_install::SkillInstallStep as Step;
    let rig = Rig::new();
    let publish = |version: &str, sbom: Option<&[u8]>| -> String {
        let path = rig.dir.path().join(format!("{version}.skill"));
        std::fs::write(&path, bundle_with(&Skill { version, ..PATROL }, sbom)).unwrap();
        let signature = rig.dir.path().join(format!("{version}.skill.minisig"));
        std::fs::write(signature, "untrusted comment: test\nRWQ\n").unwrap();
        let told = ok(&rig, &["skill", "publish", path.to_str().unwrap()]);
        let told: Value = serde_json::from_str(&told).unwrap();
        told["bundle"].as_str().unwrap().to_owned()
    };
    let bill = |version: &str| {
        let parts = json!([{ "type": "library", "name": "@acme/way", "version": version }]);
        json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts }).to_string()
    };
    let (old, new) = (bill("1.0.0"), bill("1.1.0"));
    let first = publish("1.0.0", Some(old.as_bytes()));
    let second = publish("1.1.0", Some(new.as_bytes()));
    let (silent, unfit) = (publish("1.2.0", None), publish("1.3.0", Some(b"{}")));
    assert_eq!(ok(&rig, &["skill", "sbom", &first]), old);
    let found = |package: &str| -> (Vec<String>, Vec<String>) {
        let told = ok(&rig, &["skill", "contains", package, "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let of = |key: &str| -> Vec<String> {
            let all = told[key].as_array().unwrap().iter();
            all.map(|skill| skill["digest"].as_str().unwrap().to_owned()).collect()
        };
        (of("skills"), of("unknown"))
    };
    let unknown = vec![silent.clone(), unfit];
    assert_eq!(found("@acme/way"), (vec![first.clone(), second.clone()], unknown.clone()));
    assert_eq!(found("@acme/way@1.1.0"), (vec![second.clone()], unknown.clone()));
    assert_eq!(found("@acme/way@1.1"), (Vec::new(), unknown.clone()));
    assert_eq!(found("way"), (Vec::new(), unknown));
    let text = ok(&rig, &["skill", "contains", "@acme/way@1.1.0"]);
    assert!(text.contains(&second) && !text.contains(&first), "{text}");
    assert!(text.contains("2 more cannot be told of"), "{text}");
    assert!(text.contains("no robot says that it has one of them"), "{text}");
    // And the robots that have what was found, or get it.
    let device = rig.enrol("amr-1");
    rig.enrol("amr-2");
    let mut robot = Robot::new(&rig, device);
    robot.says(&[(Step::Installed, &second), (Step::Activated, &second)]);
    robot.says(&[(Step::Installed, &silent)]);
    rig.post("/v1/robots/amr-2/labels", json!({ "labels": ["canary"] }));
    set_rings(&rig);
    start(&rig, &second, quick());
    let told = ok(&rig, &["skill", "contains", "@acme/way", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["skills"][0]["robots"], json!([]));
    let robots = told["skills"][1]["robots"].as_array().unwrap();
    let robots: Vec<_> = robots.iter().map(|it| [&it["id"], &it["state"], &it["ring"]]).collect();
    let expected = [["amr-1", "active", ""], ["amr-2", "", "canary"]];
    let expected =
        expected.map(|row| row.map(|it| if it.is_empty() { json!(null) } else { json!(it) }));
    assert_eq!(robots, expected.each_ref().map(|row| row.each_ref()));
    let text = ok(&rig, &["skill", "contains", "@acme/way"]);
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("amr-")).collect();
    assert!(rows[0].contains("active") && rows[0].ends_with("1.1.0"), "{text}");
    assert!(rows[1].contains("ring canary") && rows.len() == 2, "{text}");
    let (code, _, why) = run(&rig, &["skill", "sbom", &silent]);
    assert!(code == Some(7) && why.contains("does not say what it is made of"), "{why}");
}
