//! A new policy on a running robot: on trial, kept, and given up, through the command line.

use crate::common::Site;
use crate::common::rig::{AGENT, Agent, CloudRig, dispatch, enroll, publish, step, wait_for};
use nooterra_blackbox::{TailFrom, tail};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::policy::PolicyDocument;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// What `policy ...` says, and whether it did it.
fn policy(site: &Site, args: &[&str]) -> (String, bool) {
    let output = Command::new(AGENT)
        .arg("--config")
        .arg(site.path("agent.toml"))
        .arg("policy")
        .args(args)
        .current_dir(&site.dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said + &String::from_utf8_lossy(&output.stderr), output.status.success())
}

fn done(site: &Site, args: &[&str]) -> String {
    let (said, success) = policy(site, args);
    assert!(success, "{said}");
    said
}

/// A newer policy, signed by the owner, as `new.cbor`.
fn sign_newer(site: &Site, by: u32) -> u32 {
    let document = site.document();
    let version = document.version + by;
    let document = PolicyDocument { version, ..document };
    let signed = Signed::sign(document, &Ed25519Key::from_seed([9; 32])).unwrap();
    std::fs::write(site.path("new.cbor"), signed.bytes()).unwrap();
    version
}

/// The policies' steps and the versions of the boots, in order.
fn story(cloud: &CloudRig) -> Vec<String> {
    let word = |record: Value| match record["kind"].as_str() {
        Some("boot") => Some(format!("boot {}", record["body"]["policy_version"])),
        Some("policy_step") => record["body"]["step"].as_str().map(str::to_owned),
        _ => None,
    };
    cloud.records(Class::Critical).into_values().filter_map(word).collect()
}

#[test]
fn a_new_policy_is_tried_rolled_back_by_kill_9_and_then_kept() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let old = site.document().version;
    let new = sign_newer(&site, 1);
    assert!(done(&site, &["stage", "new.cbor"]).contains("is staged"));
    assert!(done(&site, &["activate"]).contains("on trial"));
    let agent = Agent::online(&site, &cloud);
    agent.kill();
    let agent = Agent::run(&site);
    agent.says("policy: RolledBack");
    let (said, success) = policy(&site, &["confirm"]);
    assert!(!success && said.contains("no policy is on trial"), "{said}");
    assert!(agent.terminate().success());
    done(&site, &["stage", "new.cbor"]);
    done(&site, &["activate"]);
    let agent = Agent::online(&site, &cloud);
    wait_for("the trial", || policy(&site, &["confirm"]).1.then_some(()));
    agent.says("the new policy is confirmed");
    assert!(agent.terminate().success());
    let agent = Agent::online(&site, &cloud);
    let status = done(&site, &["status"]);
    assert!(status.contains(&format!("confirmed   version {new}")), "{status}");
    let (said, success) = policy(&site, &["stage", "new.cbor"]);
    assert!(!success && said.contains("is not newer than"), "{said}");
    let (old, new) = (format!("boot {old}"), format!("boot {new}"));
    let told = ["on_trial", &new, "rolled_back", &old, "on_trial", &new, "confirmed", &new];
    wait_for("the whole story", || (story(&cloud).len() >= told.len()).then_some(()));
    assert_eq!(story(&cloud), told);
    assert!(agent.terminate().success());
}

#[test]
fn a_person_gives_up_a_policy_on_trial_and_the_agent_ends_under_it() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    sign_newer(&site, 1);
    done(&site, &["stage", "new.cbor"]);
    done(&site, &["activate"]);
    let mut agent = Agent::online(&site, &cloud);
    assert!(done(&site, &["rollback"]).contains("the policy on trial is given up"));
    let ended = wait_for("the agent's end", || agent.child.try_wait().unwrap());
    assert!(!ended.success());
    agent.says("a person gave it up");
    let agent = Agent::run(&site);
    agent.says("policy: RolledBack");
    let status = done(&site, &["status"]);
    assert!(status.contains("rejected") && !status.contains("trial "), "{status}");
    assert!(agent.terminate().success());
}

/// A newer policy with another limit on the speed, signed by the owner, as `new.cbor`.
fn sign_speed(site: &Site, max_linear_mps: f64) {
    let mut document = site.document();
    document.version += 1;
    document.limits.max_linear_mps = max_linear_mps;
    let signed = Signed::sign(document, &Ed25519Key::from_seed([9; 32])).unwrap();
    std::fs::write(site.path("new.cbor"), signed.bytes()).unwrap();
}

#[test]
fn staging_says_what_the_new_policy_changes_and_refuses_a_looser_one_where_that_is_asked() {
    let site = Site::new();
    let limit = site.document().limits.max_linear_mps;
    sign_speed(&site, limit + 0.5);
    let (said, success) = policy(&site, &["stage", "new.cbor", "--deny-looser"]);
    assert!(!success && said.contains("not staged") && said.contains("looser"), "{said}");
    assert!(said.contains("limits.max_linear_mps"), "{said}");
    assert!(!done(&site, &["status"]).contains("staged"), "it was staged all the same");
    let said = done(&site, &["stage", "new.cbor"]);
    assert!(
        said.contains("is staged") && said.contains("only the new policy lets go on"),
        "{said}"
    );
    sign_speed(&site, limit - 0.5);
    let said = done(&site, &["stage", "new.cbor", "--deny-looser", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["looser"], &said["same"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(said["comparison"]["changed"][0]["key"], "limits.max_linear_mps");
    assert_eq!(said["comparison"]["changed"][0]["effect"], "tighter");
}

#[test]
fn the_agent_ends_for_an_activated_policy_when_nothing_is_under_way_and_not_before() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish(&cloud, "misbehave", Some(&site));
    enroll(&site, &cloud);
    let new = sign_newer(&site, 1);
    let mut agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&skill, "note", json!({}))]);
    cloud.wait_for_state(&job, "EXECUTING");
    done(&site, &["stage", "new.cbor"]);
    assert!(done(&site, &["activate", "--when-idle"]).contains("nothing is under way"));
    // As often as it looks while a job is under way.
    let looks =
        || std::fs::metadata(site.path("state/status.json")).and_then(|file| file.modified());
    let mut seen = wait_for("a look", || looks().ok());
    for _ in 0..3 {
        seen = wait_for("another look", || looks().ok().filter(|now| *now != seen));
        assert!(agent.child.try_wait().unwrap().is_none(), "it ended under a job");
    }
    cloud.post(&format!("/v1/jobs/{job}/cancel"), json!({ "reason": "no longer needed" }));
    let ended = wait_for("the agent's end", || agent.child.try_wait().unwrap());
    assert!(ended.success());
    agent.says("to start anew under the activated policy");
    let agent = Agent::online(&site, &cloud);
    wait_for("the trial", || policy(&site, &["confirm"]).1.then_some(()));
    agent.says("the new policy is confirmed");
    wait_for("the story", || (story(&cloud).len() >= 4).then_some(()));
    assert!(agent.terminate().success());
    let old = format!("boot {}", site.document().version);
    assert_eq!(story(&cloud), [&old, "on_trial", &format!("boot {new}"), "confirmed"]);
}

#[test]
fn whenever_it_is_killed_on_the_way_a_start_finds_the_old_policy_or_the_new_one() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let old = site.document().version;
    let new = sign_newer(&site, 1);
    for killed_after_ms in [0, 15, 40, 80, 150, 300, 600] {
        done(&site, &["stage", "new.cbor"]);
        done(&site, &["activate", "--when-idle"]);
        let agent = Agent::run(&site);
        // Wherever that is: nothing below depends on it.
        std::thread::sleep(Duration::from_millis(killed_after_ms));
        agent.kill();
        let status = done(&site, &["status", "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        let places: Vec<&str> = status["policies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|policy| policy[0].as_str().unwrap())
            .collect();
        let at = |place| places.contains(&place);
        assert!(at("configured") && !at("confirmed"), "{status}");
        assert!(at("staged") || at("trial") || at("rejected"), "the new one is lost: {status}");
    }
    let _ = policy(&site, &["rollback"]);
    let agent = Agent::online(&site, &cloud);
    assert!(agent.terminate().success());
    let told: Vec<String> = tail(&site.path("state/journal"), TailFrom::Seq(1))
        .unwrap()
        .filter_map(|found| match found.record.unwrap().entry().unwrap()? {
            Entry::Boot(boot) => Some(format!("boot {}", boot.policy_version)),
            Entry::PolicyStep(taken) => {
                Some(serde_json::to_value(taken.step).unwrap().as_str().unwrap().to_owned())
            }
            _ => None,
        })
        .collect();
    let boots = [format!("boot {old}"), format!("boot {new}")];
    for (before, after) in told.iter().zip(told.iter().skip(1)) {
        // Whatever was cut off, nothing is in force that was not said to be.
        assert!(*after != boots[1] || before == "on_trial", "{told:?}");
    }
    assert_eq!(told.last(), Some(&boots[0]), "{told:?}");
}
