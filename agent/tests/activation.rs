//! A new policy on a running robot: on trial, kept, and given up, through the command line.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::Site;
use common::rig::{AGENT, Agent, CloudRig, enroll, wait_for};
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::policy::PolicyDocument;
use serde_json::Value;
use std::process::Command;

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
