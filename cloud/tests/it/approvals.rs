//! Who lets a job be carried out: granted over a plan, taken back, over.

use super::course::{BEGUN, Hand, ask, events, job, report, types, wait_for, with};
use super::rig::{Mqtt, Rig, bytes};
use nooterra_cloud::Clock as _;
use nooterra_protocol::command::Ask;
use nooterra_protocol::event::EventType as E;
use nooterra_protocol::ids::JobId;
use serde_json::{Value, json};
use std::process::Command;

/// A job in BOOKED, and the hash of its plan.
fn booked(rig: &Rig, robot: &str) -> (JobId, Value) {
    let id = rig.create_job(robot);
    for call in ["quote", "book"] {
        rig.post(&format!("/v1/jobs/{id}/{call}"), json!({}));
    }
    let plan = job(rig, &id)["plan_hash"].clone();
    (id, plan)
}

fn refused(rig: &Rig, path: &str, body: Value) -> (u16, Value) {
    let (status, said) = rig.call("POST", path, Some(body));
    (status, said["code"].clone())
}

#[test]
fn a_job_that_needs_a_review_is_sent_after_somebody_approved_its_plan_and_no_other() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let (id, plan) = booked(&rig, "amr-1");
    let now = clock.wall().0;
    let access = json!({ "method": "ON_SITE_OWNER", "needs_review": true, "valid_from": now - 1000,
        "valid_to": now + 600_000 });
    rig.post(&format!("/v1/jobs/{id}/access"), access);
    let (path, dispatch) = (format!("/v1/jobs/{id}/approvals"), format!("/v1/jobs/{id}/dispatch"));
    assert_eq!(rig.get(&path), json!({ "approvals": [], "needed": true, "plan": plan }));
    assert_eq!(refused(&rig, &dispatch, json!({})), (409, json!("approval_missing")));
    let other = json!({ "plan": "0".repeat(64) });
    assert_eq!(refused(&rig, &path, other), (409, json!("another_plan")));
    let gone = json!({ "plan": plan, "until": now });
    assert_eq!(refused(&rig, &path, gone), (409, json!("approval_over")));
    let until = now + 60_000;
    rig.post(&path, json!({ "plan": plan, "until": until, "by": "anna" }));
    let granted = events(&rig, &id).pop().unwrap();
    assert_eq!(granted["type"], "APPROVAL_GRANTED");
    assert_eq!(granted["actor"], json!({ "id": "anna", "type": "requester" }));
    assert_eq!(granted["payload"], json!({ "plan": plan, "until": until }));
    rig.post(&dispatch, json!({}));
    // The robot hears by when it must be done, who looked at which plan, and then its start.
    let Ask::PlanAccess { needs_review, to, .. } = ask(&mut client, &device) else { panic!() };
    assert_eq!((needs_review, json!(to)), (true, json!(until)));
    let Ask::ReviewJob { plan: looked_at, .. } = ask(&mut client, &device) else { panic!() };
    assert_eq!(json!(looked_at), plan);
    assert!(matches!(ask(&mut client, &device), Ask::StartJob { .. }));
    let sent = rig.get("/v1/robots/amr-1/commands");
    assert_eq!(sent["commands"].as_array().unwrap().len(), 3);
}

#[test]
fn an_approval_that_is_taken_back_under_way_ends_the_job_through_the_robots_safe_exit() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    assert!(matches!(ask(&mut client, &device), Ask::StartJob { .. }));
    report(&mut client, &mut device, &id, &BEGUN);
    let path = format!("/v1/jobs/{id}/approvals");
    let revoke = format!("{path}/revoke");
    assert_eq!(refused(&rig, &revoke, json!({})), (409, json!("no_approval")));
    rig.post(&path, json!({ "plan": job(&rig, &id)["plan_hash"] }));
    assert!(matches!(ask(&mut client, &device), Ask::ReviewJob { .. }));
    let shown = rig.post(&revoke, json!({ "by": "ben", "reason": "the child came home" }));
    assert_eq!(shown["state"], "ABORTING_SAFE_EXIT");
    let Ask::CancelJob { reason, .. } = ask(&mut client, &device) else { panic!() };
    assert_eq!(reason, "approval was revoked: the child came home");
    report(&mut client, &mut device, &id, &[E::ExecutionCompleted, E::ExecutionAborted]);
    assert_eq!(job(&rig, &id)["state"], "ABORTED");
    let late: Vec<_> = events(&rig, &id).into_iter().filter(|it| it["late"] == true).collect();
    assert_eq!((late.len(), &late[0]["type"]), (1, &json!("EXECUTION_COMPLETED")));
    let list = rig.get(&path);
    let ended = &list["approvals"][0]["ended"];
    assert_eq!((&ended["by"], &ended["reason"]), (&json!("ben"), &json!("the child came home")));
    let again = json!({ "plan": list["plan"] });
    assert_eq!(refused(&rig, &path, again), (409, json!("wrong_state")));
}

#[test]
fn an_approval_ends_with_its_time_and_stops_what_is_under_way() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let (id, plan) = booked(&rig, "amr-1");
    let until = clock.wall().0 + 60_000;
    rig.post(&format!("/v1/jobs/{id}/approvals"), json!({ "plan": plan, "until": until }));
    rig.post(&format!("/v1/jobs/{id}/dispatch"), json!({}));
    for _ in 0..3 {
        ask(&mut client, &device);
    }
    report(&mut client, &mut device, &id, &BEGUN);
    clock.forward(61);
    wait_for(&rig, &id, |job| job["state"] == "ABORTING_SAFE_EXIT");
    assert!(matches!(ask(&mut client, &device), Ask::CancelJob { .. }));
    assert_eq!(types(&rig, &id).last().unwrap(), "APPROVAL_EXPIRED");
}

#[test]
fn a_job_that_has_not_begun_waits_for_another_approval_and_its_start_is_void() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    rig.enrol("amr-1");
    let (id, plan) = booked(&rig, "amr-1");
    let (path, dispatch) = (format!("/v1/jobs/{id}/approvals"), format!("/v1/jobs/{id}/dispatch"));
    let until = clock.wall().0 + 60_000;
    rig.post(&path, json!({ "plan": plan, "until": until, "by": "anna" }));
    rig.post(&path, json!({ "plan": plan, "by": "ben" }));
    let sent = rig.post(&dispatch, json!({}));
    let command = sent["command"].as_str().unwrap().to_owned();
    // Anna's time is over; that Ben's is not changes nothing: both were asked.
    clock.forward(61);
    let shown = wait_for(&rig, &id, |job| job["state"] == "BOOKED");
    assert_eq!(shown["command"], Value::Null);
    let start = rig.get(&format!("/v1/robots/amr-1/commands/{command}"));
    assert_eq!(start["state"], "refused", "{start}");
    assert_eq!(refused(&rig, &dispatch, json!({})), (409, json!("approval_missing")));
    rig.post(&path, json!({ "plan": plan, "by": "ben" }));
    assert_eq!(rig.post(&dispatch, json!({}))["state"], "RESERVED");
}

#[test]
fn an_approval_does_not_pass_to_another_robot() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    rig.enrol("amr-2");
    let (id, plan) = booked(&rig, "amr-1");
    rig.post(&format!("/v1/jobs/{id}/approvals"), json!({ "plan": plan }));
    rig.post(&format!("/v1/jobs/{id}/reschedule"), json!({ "robot": "amr-2" }));
    let dispatch = format!("/v1/jobs/{id}/dispatch");
    assert_eq!(refused(&rig, &dispatch, json!({})), (409, json!("approval_missing")));
}

#[test]
fn who_approves_is_whoever_holds_the_token_and_a_viewer_may_not() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let (id, plan) = booked(&rig, "amr-1");
    let path = format!("/v1/jobs/{id}/approvals");
    let token = |role: &str| {
        let body = json!({ "families": ["jobs"], "principal": "alice", "role": role });
        rig.post("/v1/tokens", body)["token"].as_str().unwrap().to_owned()
    };
    let approve = |token: &str, body: Value| {
        let (status, said) = rig.ask("POST", &path, Some(bytes(&body)), Some(token), None);
        (status, said["code"].clone())
    };
    let (viewer, operator) = (token("viewer"), token("operator"));
    assert_eq!(approve(&viewer, json!({ "plan": plan })), (403, json!("scope_missing")));
    let foreign = json!({ "plan": plan, "by": "bob" });
    assert_eq!(approve(&operator, foreign), (403, json!("not_your_name")));
    assert_eq!(approve(&operator, json!({ "plan": plan })), (200, Value::Null));
    assert_eq!(rig.get(&path)["approvals"][0]["by"], "alice");
}

#[test]
fn a_job_is_approved_listed_and_forbidden_on_the_command_line() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let (id, plan) = booked(&rig, "amr-1");
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
            .arg("job")
            .args(args)
            .args(["--url", &format!("https://{}", rig.http), "--data"])
            .arg(rig.dir.path().join("cloud"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (id, plan) = (id.to_string(), plan.as_str().unwrap());
    let (code, shown) = run(&["show", &id]);
    assert!(code == Some(0) && shown.contains(plan), "{shown}");
    assert_eq!(run(&["approve", &id, "--plan", plan, "--by", "anna", "--for", "600"]).0, Some(0));
    let (_, listed) = run(&["approvals", &id]);
    assert!(listed.contains("anna approved") && listed.contains("holds until"), "{listed}");
    assert_eq!(run(&["revoke-approval", &id, "--reason", "not today"]).0, Some(0));
    let (_, listed) = run(&["approvals", &id]);
    assert!(listed.contains("not today") && listed.contains("not sent before"), "{listed}");
    assert_eq!(run(&["dispatch", &id]).0, Some(7));
}
