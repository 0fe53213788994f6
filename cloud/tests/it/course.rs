//! What befalls a job on its way: silence, a hold, a new date, access that ends.

use super::rig::{Device, Mqtt, Rig};
use nooterra_cloud::{Clock, Config};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::EventType as E;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// A guard against hanging, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(180);

/// A wall clock that a test moves.
#[derive(Debug)]
pub(super) struct Hand(AtomicI64);

impl Clock for Hand {
    fn mono(&self) -> MonoNanos {
        MonoNanos(1)
    }
    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::SeqCst))
    }
}

impl Hand {
    pub(super) fn new() -> Arc<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Arc::new(Self(AtomicI64::new(i64::try_from(now.as_millis()).unwrap())))
    }

    pub(super) fn forward(&self, seconds: i64) -> i64 {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst) + seconds * 1000
    }
}

pub(super) fn with(clock: &Arc<Hand>) -> impl FnOnce(&mut Config) {
    let clock = Arc::clone(clock);
    move |config| {
        config.clock = clock;
        config.heartbeat_interval = Duration::from_secs(1);
        config.escalate_after = Duration::from_secs(60);
    }
}

pub(super) fn job(rig: &Rig, job: &JobId) -> Value {
    rig.get(&format!("/v1/jobs/{job}"))
}

pub(super) fn wait_for(rig: &Rig, id: &JobId, what: impl Fn(&Value) -> bool) -> Value {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let shown = job(rig, id);
        if what(&shown) {
            return shown;
        }
        assert!(Instant::now() < give_up, "waited in vain: {shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn events(rig: &Rig, id: &JobId) -> Vec<Value> {
    rig.get(&format!("/v1/jobs/{id}/events"))["events"].as_array().unwrap().clone()
}

pub(super) fn types(rig: &Rig, id: &JobId) -> Vec<String> {
    events(rig, id).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// A robot reports facts without much in them.
pub(super) fn report(client: &mut Mqtt, device: &mut Device, id: &JobId, kinds: &[E]) {
    let beat = json!({ "assist_requested": false, "progress": 0.5, "stage": "s1" });
    let records = kinds
        .iter()
        .map(|kind| match kind {
            E::Heartbeat => device.fact(*kind, Some(id), &beat),
            _ => device.fact(*kind, Some(id), &json!({})),
        })
        .collect();
    client.publish(&device.topic("up/critical"), &device.batch(records)).unwrap();
    client.ack();
}

pub(super) const BEGUN: [E; 3] = [E::EnRoute, E::AccessGranted, E::ExecutionStarted];

pub(super) fn ask(client: &mut Mqtt, device: &Device) -> Ask {
    let key = &device.command_key;
    let command: Signed<RemoteCommand> =
        Signed::verify(&client.command(), |id| (id == key.key_id()).then_some(key)).unwrap();
    command.into_body().body
}

#[test]
fn silence_is_a_stall_calls_a_person_once_and_ends_with_a_later_heartbeat() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &id, &BEGUN);
    report(&mut client, &mut device, &id, &[E::Heartbeat]);
    let heard = job(&rig, &id)["heard_at"].clone();
    clock.forward(4);
    let stalled = wait_for(&rig, &id, |job| job["state"] == "STALLED");
    assert_eq!((&stalled["heard_at"], &stalled["stall"]["cause"]), (&heard, &json!("silence")));
    let stall = events(&rig, &id).pop().unwrap();
    assert_eq!(stall["payload"]["liveness"], json!({ "interval_ms": 1000, "missed": 3 }));
    clock.forward(61);
    wait_for(&rig, &id, |job| !job["stall"]["escalated_at"].is_null());
    clock.forward(61);
    report(&mut client, &mut device, &id, &[E::Heartbeat]);
    let shown = job(&rig, &id);
    assert_eq!((&shown["state"], &shown["stall"]), (&json!("EXECUTING"), &Value::Null));
    let told = types(&rig, &id);
    let end = ["EXECUTION_STALLED", "INCIDENT_REPORTED", "HEARTBEAT", "EXECUTION_RESUMED"];
    assert_eq!(told[told.len() - 4..], end);
}

#[test]
fn a_cloud_that_was_away_calls_nobody_silent_before_it_has_listened() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &id, &BEGUN);
    drop(client);
    let (dir, database) = rig.stopped();
    clock.forward(10);
    let began = clock.forward(0);
    let rig = Rig::on(dir, database, with(&clock));
    assert_eq!(job(&rig, &id)["state"], "EXECUTING");
    clock.forward(4);
    let stalled = wait_for(&rig, &id, |job| job["state"] == "STALLED");
    assert!(stalled["stall"]["since"].as_i64().unwrap() >= began + 3000, "{stalled}");
}

#[test]
fn what_somebody_holds_is_ended_by_no_heartbeat_and_goes_on_when_its_robot_says_so() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    assert!(matches!(ask(&mut client, &device), Ask::StartJob { .. }));
    let refused = rig.call("POST", &format!("/v1/jobs/{id}/pause"), None);
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("wrong_state")));
    report(&mut client, &mut device, &id, &BEGUN);
    let refused = rig.call("POST", &format!("/v1/jobs/{id}/resume"), None);
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("wrong_state")));
    let held = rig.post(&format!("/v1/jobs/{id}/pause"), json!({ "reason": "a child" }));
    assert_eq!((&held["state"], &held["stall"]["reason"]), (&json!("STALLED"), &json!("a child")));
    let Ask::PauseJob { job: named, reason } = ask(&mut client, &device) else { panic!() };
    assert_eq!((&named, reason.as_str()), (&id, "a child"));
    report(&mut client, &mut device, &id, &[E::Heartbeat]);
    clock.forward(600);
    assert_eq!(job(&rig, &id)["state"], "STALLED");
    let asked = rig.post(&format!("/v1/jobs/{id}/resume"), json!({}));
    assert_eq!(asked["state"], "STALLED");
    assert!(matches!(ask(&mut client, &device), Ask::ResumeJob { .. }));
    report(&mut client, &mut device, &id, &[E::ExecutionResumed]);
    assert_eq!(job(&rig, &id)["state"], "EXECUTING");
    assert!(!types(&rig, &id).contains(&"INCIDENT_REPORTED".to_owned()));
}

#[test]
fn a_job_that_has_not_begun_is_scheduled_anew_for_another_robot_and_the_first_is_told() {
    let rig = Rig::new();
    let (mut one, two) = (rig.enrol("amr-1"), rig.enrol("amr-2"));
    let mut first = Mqtt::connect(&rig, &one);
    let mut second = Mqtt::connect(&rig, &two);
    let id = rig.dispatch_job("amr-1");
    assert!(matches!(ask(&mut first, &one), Ask::StartJob { .. }));
    let path = format!("/v1/jobs/{id}/reschedule");
    let (status, refused) = rig.call("POST", &path, Some(json!({ "robot": "amr-9" })));
    assert_eq!((status, &refused["code"]), (422, &json!("unknown_robot")));
    let shown = rig.post(&path, json!({ "robot": "amr-2", "reason": "a flat tyre" }));
    assert_eq!((&shown["state"], &shown["robot"]), (&json!("BOOKED"), &json!("amr-2")));
    assert_eq!(shown["command"], Value::Null);
    assert!(matches!(ask(&mut first, &one), Ask::CancelJob { .. }));
    rig.post(&format!("/v1/jobs/{id}/dispatch"), json!({}));
    assert!(matches!(ask(&mut second, &two), Ask::StartJob { .. }));
    // The first began all the same: that is its own story now.
    report(&mut first, &mut one, &id, &[E::EnRoute]);
    assert_eq!(job(&rig, &id)["state"], "RESERVED");
    let own = rig.get("/v1/robots/amr-1/events");
    assert_eq!(own["events"][0]["type"], "EN_ROUTE");
}

fn access(clock: &Hand, seconds: i64) -> Value {
    let now = clock.wall().0;
    json!({ "method": "SMART_LOCK_CODE", "credential_ref": "vault:door/7",
        "valid_from": now - 1000, "valid_to": now + seconds * 1000 })
}

#[test]
fn a_robot_hears_its_window_before_its_start_and_is_called_back_when_access_is_revoked() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.create_job("amr-1");
    let path = format!("/v1/jobs/{id}/access");
    let none = rig.call("POST", &format!("{path}/revoke"), None);
    assert_eq!((none.0, &none.1["code"]), (409, &json!("no_access_plan")));
    let backwards = json!({ "method": "ON_SITE_OWNER", "valid_from": 2, "valid_to": 1 });
    let bad = rig.call("POST", &path, Some(backwards));
    assert_eq!((bad.0, &bad.1["code"]), (422, &json!("bad_access_plan")));
    let shown = rig.post(&path, access(&clock, 60));
    assert_eq!(shown["access"]["credential_ref"], "vault:door/7");
    assert_eq!(shown["access"]["requested_by"], shown["requester"]);
    for call in ["quote", "book", "dispatch"] {
        rig.post(&format!("/v1/jobs/{id}/{call}"), json!({}));
    }
    let Ask::PlanAccess { to, .. } = ask(&mut client, &device) else { panic!() };
    assert_eq!(json!(to), shown["access"]["valid_to"]);
    assert!(matches!(ask(&mut client, &device), Ask::StartJob { .. }));
    report(&mut client, &mut device, &id, &BEGUN);
    let revoked = rig.post(&format!("{path}/revoke"), json!({ "reason": "a guest came" }));
    assert_eq!(revoked["state"], "ABORTING_SAFE_EXIT");
    let Ask::CancelJob { reason, .. } = ask(&mut client, &device) else { panic!() };
    assert_eq!(reason, "access was revoked: a guest came");
    report(&mut client, &mut device, &id, &[E::ExecutionCompleted, E::ExecutionAborted]);
    assert_eq!(job(&rig, &id)["state"], "ABORTED");
    let late: Vec<_> =
        events(&rig, &id).into_iter().filter(|event| event["late"] == true).collect();
    assert_eq!((late.len(), &late[0]["type"]), (1, &json!("EXECUTION_COMPLETED")));
}

#[test]
fn access_that_is_not_revocable_is_not_revoked_and_ends_with_its_time() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    let mut plan = access(&clock, 60);
    plan["revocable"] = json!(false);
    rig.post(&format!("/v1/jobs/{id}/access"), plan);
    report(&mut client, &mut device, &id, &BEGUN);
    let refused = rig.call("POST", &format!("/v1/jobs/{id}/access/revoke"), None);
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("not_revocable")));
    assert!(matches!(ask(&mut client, &device), Ask::StartJob { .. }));
    assert!(matches!(ask(&mut client, &device), Ask::PlanAccess { .. }));
    clock.forward(61);
    let over = wait_for(&rig, &id, |job| job["state"] == "ABORTING_SAFE_EXIT");
    assert_eq!(over["access"]["revocable"], false);
    assert!(matches!(ask(&mut client, &device), Ask::CancelJob { .. }));
    assert_eq!(types(&rig, &id).last().unwrap(), "ACCESS_EXPIRED");
}

#[test]
fn a_job_that_waits_ends_with_its_access_and_no_plan_is_issued_whose_time_is_over() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    rig.enrol("amr-1");
    let id = rig.create_job("amr-1");
    let path = format!("/v1/jobs/{id}/access");
    let gone = rig.call("POST", &path, Some(access(&clock, 0)));
    assert_eq!((gone.0, &gone.1["code"]), (409, &json!("access_over")));
    rig.post(&path, access(&clock, 60));
    clock.forward(61);
    wait_for(&rig, &id, |job| job["state"] == "ABORTED");
}
