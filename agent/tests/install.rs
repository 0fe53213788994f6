//! Versions of a skill on a robot: by a job, by hand, and back.
#![cfg(all(feature = "sim", feature = "tools"))]
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::rig::{AGENT, Agent, CloudRig, dispatch, enroll, step};
use common::{Site, guests};
use nooterra_protocol::entry::Class;
use nooterra_skill_host::{Keys, keygen, pack, sign};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A version of `patrol`, made of another guest's component.
fn bundle(version: &str, guest: &str) -> Vec<u8> {
    let mut template: Value = serde_json::from_str(&guests::template(guest)).unwrap();
    template["id"] = "patrol".into();
    template["version"] = version.into();
    pack(&template.to_string(), &guests::component(guest)).unwrap()
}

fn keys(site: &Site) -> Keys {
    let keys = keygen(None).unwrap();
    std::fs::write(site.path("skill-keys/test.pub"), &keys.public).unwrap();
    keys
}

fn publish(cloud: &CloudRig, bundle: &[u8], keys: &Keys) -> Value {
    use base64::Engine as _;
    let signature = sign(bundle, &keys.secret, None, "a test").unwrap();
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    cloud.post("/v1/skills", json!({ "bundle_base64": bundle, "signature": signature }))
}

fn file(site: &Site, name: &str, bundle: &[u8], keys: &Keys) -> PathBuf {
    let path = site.path(name);
    std::fs::write(&path, bundle).unwrap();
    let signature = sign(bundle, &keys.secret, None, "a test").unwrap();
    std::fs::write(site.path(&format!("{name}.minisig")), signature).unwrap();
    path
}

fn skill(site: &Site, arguments: &[&str]) -> Output {
    let mut agent = Command::new(AGENT);
    agent.arg("--config").arg(site.path("agent.toml")).args(["--json", "skill"]);
    agent.args(arguments).output().unwrap()
}

fn answer(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

fn steps(cloud: &CloudRig) -> Vec<(String, String, String)> {
    let records = cloud.records(Class::Critical).into_values();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let installs = records.filter(|record| record["kind"] == "skill_install");
    let said = installs.map(|record| {
        let body = &record["body"];
        (text(&body["step"]), text(&body["version"]), text(&body["reason"]))
    });
    said.collect()
}

fn has(said: &[(String, String, String)], step: &str, version: &str, part: &str) -> bool {
    said.iter().any(|said| said.0 == step && said.1 == version && said.2.contains(part))
}

#[test]
fn a_new_version_that_crashes_in_its_first_steps_is_rolled_back_and_the_old_one_still_runs() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let good = publish(&cloud, &bundle("1.0.0", "patrol"), &keys);
    let bad = publish(&cloud, &bundle("2.0.0", "misbehave"), &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let undock = |skill: &Value| dispatch(&cloud, &[step(skill, "undock", json!({}))]);
    cloud.wait_for_state(&undock(&good), "COMPLETED");
    let crashing = dispatch(&cloud, &[step(&bad, "trap", json!({}))]);
    cloud.wait_for_state(&crashing, "ABORTED");
    // It is not tried again, and the robot says why.
    let again = dispatch(&cloud, &[step(&bad, "note", json!({}))]);
    cloud.wait_for_state(&again, "ABORTED");
    let (_, aborted) = cloud.events(&again).pop().unwrap();
    let reason = aborted["reason"].as_str().unwrap();
    assert!(reason.contains("2.0.0 is given up on this robot: on its trial"), "{reason}");
    // A start later the old version is there, active, and runs.
    assert!(agent.terminate().success());
    let agent = Agent::online(&site, &cloud);
    cloud.wait_for_state(&undock(&good), "COMPLETED");
    let said = steps(&cloud);
    assert!(has(&said, "installed", "1.0.0", "a plan names it"), "{said:?}");
    assert!(has(&said, "activated", "1.0.0", ""), "{said:?}");
    assert!(has(&said, "installed", "2.0.0", "a plan names it"), "{said:?}");
    assert!(has(&said, "rolled_back", "2.0.0", "gave up by itself"), "{said:?}");
    assert!(!has(&said, "activated", "2.0.0", ""), "{said:?}");
    let shown = answer(&skill(&site, &["installed"]));
    let patrol = &shown["skills"]["patrol"];
    assert_eq!(patrol["active"]["version"], "1.0.0", "{shown:#}");
    assert_eq!(patrol["given_up"][0]["of"]["version"], "2.0.0", "{shown:#}");
    let bundles = std::fs::read_dir(site.path("state/skills")).unwrap();
    let names = bundles.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".noot")).count(), 1, "only what may run");
    assert!(agent.terminate().success());
}

#[test]
fn several_skills_in_one_job_each_prove_themselves() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let patrol = publish(&cloud, &bundle("1.0.0", "patrol"), &keys);
    let other = pack(&guests::template("misbehave"), &guests::component("misbehave")).unwrap();
    let other = publish(&cloud, &other, &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let plan = [step(&other, "done", json!({})), step(&patrol, "undock", json!({}))];
    let job = dispatch(&cloud, &plan);
    cloud.wait_for_state(&job, "COMPLETED");
    let shown = answer(&skill(&site, &["installed"]));
    for name in ["misbehave", "patrol"] {
        assert!(shown["skills"][name]["active"].is_object(), "{name}: {shown:#}");
    }
    assert!(agent.terminate().success());
}

#[test]
fn a_skill_is_installed_from_a_file_and_rolled_back_by_hand() {
    let site = Site::new();
    let keys = keys(&site);
    let shown = || answer(&skill(&site, &["installed"]))["skills"]["patrol"].clone();
    let one = file(&site, "one.noot", &bundle("1.0.0", "patrol"), &keys);
    let output = skill(&site, &["install", one.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(answer(&output)["proven"], false);
    assert_eq!(shown()["trial"]["of"]["version"], "1.0.0");
    // Its code waits for the agent, readable for nobody else.
    assert_eq!(std::fs::read_dir(site.path("state/skills/compiled")).unwrap().count(), 1);
    // What could never start is not installed, and nothing has changed.
    let mut template: Value = serde_json::from_str(&guests::template("patrol")).unwrap();
    template["version"] = "2.0.0".into();
    let mut component = b"\0asm\x0d\x00\x01\x00".to_vec();
    component.resize(100, 0xff);
    let two = pack(&template.to_string(), &component).unwrap();
    let two = file(&site, "two.noot", &two, &keys);
    let output = skill(&site, &["install", two.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(answer(&output)["reason"].as_str().unwrap().contains("component.wasm"));
    assert_eq!(shown()["trial"]["of"]["version"], "1.0.0");
    let output = skill(&site, &["rollback", "patrol"]);
    assert!(output.status.success());
    assert_eq!(answer(&output)["from"]["version"], "1.0.0");
    assert_eq!(shown()["given_up"][0]["reason"], "by hand");
    let output = skill(&site, &["rollback", "patrol"]);
    assert_eq!(output.status.code(), Some(1), "there is nothing to go back to");
}
