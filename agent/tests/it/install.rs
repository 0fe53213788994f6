//! Versions of a skill on a robot: by a job, by hand, and back.

use crate::common::bundles::{answer, file, keys, patrol, publish, skill, slots};
use crate::common::rig::{Agent, CloudRig, dispatch, enroll, step};
use crate::common::{Site, guests};
use nooterra_protocol::entry::Class;
use nooterra_skill_host::pack;
use serde_json::{Value, json};

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
    let good = publish(&cloud, &patrol("1.0.0", "patrol", None), &keys);
    let bad = publish(&cloud, &patrol("2.0.0", "misbehave", None), &keys);
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
    let shown = slots(&site);
    assert_eq!(shown["active"]["version"], "1.0.0", "{shown:#}");
    assert_eq!(shown["given_up"][0]["of"]["version"], "2.0.0", "{shown:#}");
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
    let good = publish(&cloud, &patrol("1.0.0", "patrol", None), &keys);
    let other = pack(&guests::template("misbehave"), &guests::component("misbehave")).unwrap();
    let other = publish(&cloud, &other, &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let plan = [step(&other, "done", json!({})), step(&good, "undock", json!({}))];
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
    let one = file(&site, "one.noot", &patrol("1.0.0", "patrol", None), &keys);
    let output = skill(&site, &["install", one.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(answer(&output)["proven"], false);
    assert_eq!(slots(&site)["trial"]["of"]["version"], "1.0.0");
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
    assert_eq!(slots(&site)["trial"]["of"]["version"], "1.0.0");
    let output = skill(&site, &["rollback", "patrol"]);
    assert!(output.status.success());
    assert_eq!(answer(&output)["from"]["version"], "1.0.0");
    assert_eq!(slots(&site)["given_up"][0]["reason"], "by hand");
    let output = skill(&site, &["rollback", "patrol"]);
    assert_eq!(output.status.code(), Some(1), "there is nothing to go back to");
}
