//! Incidents, through the real agent: what is one, what is none, and what is kept around it.

use crate::common::rig::{Agent, CloudRig, dispatch, enroll, publish, step, wait_for};
use crate::common::{Site, robot};
use nooterra_agent::authority::rules::DEFAULT;
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::grant::AuthorityDocument;
use nooterra_protocol::ids::PolicyId;
use nooterra_protocol::keys::Ed25519Key;
use serde_json::{Value, json};

/// A site whose flight recorder writes for incidents alone.
fn site() -> Site {
    let site = Site::new();
    let path = site.path("agent.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n[flight]\nafter_s = 1\ntriggers = [\"incident\"]\n"))
        .unwrap();
    site
}

fn of_kind(cloud: &CloudRig, class: Class, kind: &str) -> Vec<Value> {
    let records = cloud.records(class).into_values();
    records.filter(|record| record["kind"] == kind).map(|record| record["body"].clone()).collect()
}

/// The incidents that the cloud has heard of, once there are so many.
fn incidents(cloud: &CloudRig, count: usize) -> Vec<Value> {
    wait_for("the incidents", || {
        let found = of_kind(cloud, Class::Critical, "incident");
        (found.len() >= count).then_some(found)
    })
}

/// Why the dumps began, once so many have ended.
fn dumps(cloud: &CloudRig, count: usize) -> Vec<Value> {
    let notes = |what: &str| -> Vec<Value> {
        let notes = of_kind(cloud, Class::Normal, "flight_note").into_iter();
        notes.filter(|note| note["what"] == what).collect()
    };
    wait_for("the dumps' ends", || (notes("ended").len() >= count).then_some(()));
    notes("began").iter().map(|note| note["trigger"].clone()).collect()
}

fn mark(cloud: &CloudRig, reason: &str) -> Value {
    let ask = json!({ "type": "mark_incident", "reason": reason });
    let command = json!({ "ask": ask, "operator": "anna", "ttl_ms": 600_000 });
    cloud.post("/v1/robots/amr-1/commands", command)
}

#[test]
fn an_operator_marks_an_incident_and_the_ticks_around_it_are_kept() {
    let site = site();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let sent = mark(&cloud, "it touched a person's arm");
    let marked = incidents(&cloud, 1);
    assert_eq!(
        marked[0],
        json!({ "cause": "marked", "command": sent["id"], "job": null, "step": null })
    );
    assert_eq!(dumps(&cloud, 1), ["incident"]);
    let ticks: u64 = of_kind(&cloud, Class::Normal, "flight")
        .iter()
        .map(|block| block["count"].as_u64().unwrap())
        .sum();
    assert!(ticks > 20, "{ticks} ticks are no second");
    // Whose words they were stays on the robot.
    let said = cloud.records(Class::Critical).into_values().map(|record| record.to_string());
    assert!(said.into_iter().all(|record| !record.contains("arm")));
    assert!(agent.terminate().success());
}

#[test]
fn who_may_not_mark_one_is_refused_by_the_owners_rules() {
    let site = site();
    site.edit("agent.toml", "[policy]", "[authority]\nfile = \"authority.cbor\"\n\n[policy]");
    let rule = "forbid (principal, action == Action::\"mark_incident\", resource);";
    let rules = format!("{DEFAULT}\n@id(\"no-marks\")\n{rule}\n");
    let id = PolicyId::new("ours").unwrap();
    let document = AuthorityDocument { id, robot: robot(), rules, version: 1 };
    let signed = Signed::sign(document, &Ed25519Key::from_seed([9; 32])).unwrap();
    std::fs::write(site.path("authority.cbor"), signed.bytes()).unwrap();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    mark(&cloud, "for nothing");
    let refused =
        wait_for("the refusal", || of_kind(&cloud, Class::Critical, "command_refused").pop());
    assert!(refused["reason"].as_str().unwrap().contains("`no-marks` forbids it"), "{refused}");
    assert!(of_kind(&cloud, Class::Critical, "incident").is_empty());
    assert!(agent.terminate().success());
}

#[test]
fn a_skill_that_crashes_is_one_and_so_is_a_job_that_the_robot_gives_up() {
    let site = site();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish(&cloud, "misbehave", Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    // What somebody cancels is none.
    let job = dispatch(&cloud, &[step(&skill, "note", json!({}))]);
    cloud.wait_for_state(&job, "EXECUTING");
    cloud.post(&format!("/v1/jobs/{job}/cancel"), json!({ "reason": "no longer needed" }));
    cloud.wait_for_state(&job, "ABORTED");
    let job = dispatch(&cloud, &[step(&skill, "refuse", json!({}))]);
    cloud.wait_for_state(&job, "ABORTED");
    let given_up = &incidents(&cloud, 1)[0];
    let told = json!({ "cause": "job_aborted", "command": null, "job": job, "step": "refuse" });
    assert_eq!(*given_up, told);
    let job = dispatch(&cloud, &[step(&skill, "trap", json!({}))]);
    cloud.wait_for_state(&job, "ABORTED");
    let crashed = &incidents(&cloud, 2)[1];
    let told = json!({ "cause": "skill_crash", "command": null, "job": job, "step": "trap" });
    assert_eq!(*crashed, told);
    assert!(dumps(&cloud, 1).iter().all(|trigger| trigger == "incident"));
    assert!(agent.terminate().success());
    assert_eq!(of_kind(&cloud, Class::Critical, "incident").len(), 2);
}
