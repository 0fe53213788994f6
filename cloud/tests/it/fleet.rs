//! How robots stand in the fleet: revoked, quarantined, in maintenance, in service again.

use crate::rig::{Device, Mqtt, Rig, bytes, csr};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{EventType as E, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use rcgen::KeyPair;
use serde_json::{Value, json};

fn stand(rig: &Rig, how: &str) -> Value {
    rig.post(&format!("/v1/robots/amr-1/{how}"), json!({ "reason": "it was stolen" }))
}

fn robot_events(rig: &Rig) -> Vec<Value> {
    let events = rig.get("/v1/robots/amr-1/events");
    events["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect()
}

fn command(rig: &Rig, ask: Value) -> (u16, Value) {
    let (status, answer) =
        rig.call("POST", "/v1/robots/amr-1/commands", Some(json!({ "ask": ask })));
    (status, answer["code"].clone())
}

fn stop() -> Value {
    json!({ "type": "emergency_stop", "reason": "test" })
}

fn asked(device: &Device, bytes: &[u8]) -> Ask {
    let key = &device.command_key;
    let found: Signed<RemoteCommand> =
        Signed::verify(bytes, |id| (id == key.key_id()).then_some(key)).unwrap();
    found.into_body().body
}

fn renewal(rig: &Rig, device: &Device) -> (u16, Value) {
    let body = bytes(&json!({ "csr_pem": csr(&device.pair) }));
    let (status, answer) =
        rig.ask("POST", "/v1/robots/amr-1/certificate", Some(body), None, Some(device));
    (status, answer["code"].clone())
}

fn enrol_with(rig: &Rig, key: &KeyPair) -> (u16, Value) {
    let claim = rig.post("/v1/claim-codes", json!({ "robot": "amr-1" }));
    let body = bytes(&json!({ "code": claim["code"], "csr_pem": csr(key) }));
    rig.ask("POST", "/v1/enrolments", Some(body), None, None)
}

/// A job that the robot is carrying out.
fn executing(rig: &Rig, device: &mut Device, client: &mut Mqtt) -> String {
    let job = rig.dispatch_job("amr-1");
    assert!(matches!(asked(device, &client.command()), Ask::StartJob { .. }));
    let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
    let facts = [E::EnRoute, E::AccessGranted, E::ExecutionStarted]
        .map(|kind| device.fact(kind, Some(&job), &under));
    client.publish(&device.topic("up/critical"), &device.batch(facts.to_vec()));
    let path = format!("/v1/jobs/{job}");
    assert_eq!(rig.get(&path)["state"], "EXECUTING");
    path
}

#[test]
fn a_revoked_robot_is_dropped_at_once_and_nothing_of_its_key_opens_again() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut live = Mqtt::connect(&rig, &device);
    assert_eq!(rig.get("/v1/robots/amr-1")["standing"]["state"], "in_service");
    let robot = stand(&rig, "revoke");
    let standing = &robot["standing"];
    assert_eq!(
        (&standing["state"], &standing["reason"]),
        (&json!("revoked"), &json!("it was stolen"))
    );
    assert_eq!(live.farewell(), Some(DisconnectReasonCode::AdministrativeAction));
    assert!(live.words.contains("revoked"), "{}", live.words);
    rig.wait("/v1/robots/amr-1", |robot| robot["online"] == false);

    let mut again = Mqtt::dial(&rig, &device);
    assert_eq!(again.hello("amr-1", None), Some(ConnectReasonCode::Banned));
    assert!(again.words.contains("new claim code"), "{}", again.words);
    assert_eq!(renewal(&rig, &device), (403, json!("certificate_revoked")));
    let (status, answer) = rig.ask("GET", "/v1/skills", None, None, Some(&device));
    assert_eq!((status, &answer["code"]), (403, &json!("certificate_revoked")));
    // Not with a certificate of another kind over the same key either.
    let (status, answer) = enrol_with(&rig, &device.pair);
    assert_eq!((status, &answer["code"]), (403, &json!("certificate_revoked")));

    // It stays so when the cloud comes back.
    let rig = rig.restart();
    let refused = Mqtt::dial(&rig, &device).hello("amr-1", None);
    assert_eq!(refused, Some(ConnectReasonCode::Banned));

    let (status, answer) =
        rig.call("POST", "/v1/robots/amr-1/restore", Some(json!({ "reason": "a mistake" })));
    assert_eq!((status, &answer["code"]), (409, &json!("robot_revoked")), "{answer}");
    let key = KeyPair::generate().unwrap();
    let (status, answer) = enrol_with(&rig, &key);
    assert_eq!(status, 201, "{answer}");
    Mqtt::connect(&rig, &Device::new("amr-1", key, &answer));
    let refused = Mqtt::dial(&rig, &device).hello("amr-1", None);
    assert_eq!(refused, Some(ConnectReasonCode::Banned));
    assert_eq!(rig.get("/v1/robots/amr-1")["standing"]["state"], "in_service");
    assert_eq!(robot_events(&rig), ["ROBOT_REVOKED", "ROBOT_RESTORED"]);
    let streams = nooterra_cloud::replay(
        &rig.dir.path().join("cloud"),
        &nooterra_cloud::ReplayOptions::default(),
    );
    assert!(streams.unwrap().agrees());
}

#[test]
fn nothing_is_signed_for_a_revoked_robot_and_what_waited_for_it_is_withdrawn() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let job = rig.dispatch_job("amr-1");
    let path = format!("/v1/jobs/{job}");
    stand(&rig, "revoke");
    // Asked again it changes nothing.
    stand(&rig, "revoke");
    assert_eq!(robot_events(&rig), ["ROBOT_REVOKED"]);
    let told = rig.get("/v1/robots/amr-1/commands");
    let told = told["commands"].as_array().unwrap();
    assert_eq!((told.len(), &told[0]["state"]), (1, &json!("refused")), "{told:?}");
    assert!(told[0]["reason"].as_str().unwrap().contains("it was stolen"), "{told:?}");
    // The job waits for a robot that may work.
    assert_eq!(rig.get(&path)["state"], "BOOKED");
    let (status, answer) = rig.call("POST", &format!("{path}/dispatch"), None);
    assert_eq!((status, &answer["code"]), (409, &json!("robot_revoked")));
    assert_eq!(command(&rig, stop()), (409, json!("robot_revoked")));
    let (status, answer) = rig.call("POST", &format!("{path}/cancel"), None);
    assert_eq!((status, &answer["state"]), (200, &json!("ABORTED")), "{answer}");
}

#[test]
fn a_quarantined_robot_is_called_back_tells_its_journal_and_hears_only_what_ends_motion() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = executing(&rig, &mut device, &mut client);
    stand(&rig, "quarantine");
    assert!(matches!(asked(&device, &client.command()), Ask::CancelJob { .. }));
    assert_eq!(rig.get(&job)["state"], "ABORTING_SAFE_EXIT");

    assert_eq!(command(&rig, json!({ "type": "release_stop" })), (409, json!("robot_quarantined")));
    let drive =
        json!({ "type": "drive", "lease_ms": 500, "twist": { "linear": 1.0, "angular": 0.0 } });
    assert_eq!(command(&rig, drive), (409, json!("robot_quarantined")));
    assert_eq!(command(&rig, stop()).0, 202);
    assert!(matches!(asked(&device, &client.command()), Ask::EmergencyStop { .. }));
    let waiting = rig.create_job("amr-1");
    for call in ["quote", "book"] {
        assert_eq!(rig.call("POST", &format!("/v1/jobs/{waiting}/{call}"), None).0, 200);
    }
    let (status, answer) = rig.call("POST", &format!("/v1/jobs/{waiting}/dispatch"), None);
    assert_eq!((status, &answer["code"]), (409, &json!("robot_quarantined")));

    // What it did is still told, also on a new connection, and its certificate is renewed.
    let mut client = Mqtt::connect(&rig, &device);
    let aborted = device.fact(
        E::ExecutionAborted,
        Some(&nooterra_protocol::ids::JobId::new(job.rsplit('/').next().unwrap()).unwrap()),
        &json!({ "reason": "called back", "step": null }),
    );
    client.publish(&device.topic("up/critical"), &device.batch(vec![aborted]));
    assert_eq!(rig.get(&job)["state"], "ABORTED");
    assert_eq!(renewal(&rig, &device).0, 201);

    let robot = stand(&rig, "restore");
    assert_eq!(robot["standing"], json!({ "state": "in_service", "reason": null, "since": null }));
    assert_eq!(command(&rig, json!({ "type": "release_stop" })).0, 202);
    let (status, answer) = rig.call("POST", &format!("/v1/jobs/{waiting}/dispatch"), None);
    assert_eq!((status, &answer["state"]), (200, &json!("RESERVED")), "{answer}");
    assert_eq!(robot_events(&rig), ["ROBOT_QUARANTINED", "ROBOT_RESTORED"]);
}

#[test]
fn a_robot_in_maintenance_ends_its_job_takes_commands_and_gets_no_further_job() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = executing(&rig, &mut device, &mut client);
    stand(&rig, "maintenance");
    assert_eq!(rig.get(&job)["state"], "EXECUTING");
    assert_eq!(command(&rig, json!({ "type": "release_stop" })).0, 202);
    assert!(matches!(asked(&device, &client.command()), Ask::ReleaseStop));
    let waiting = rig.create_job("amr-1");
    for call in ["quote", "book"] {
        assert_eq!(rig.call("POST", &format!("/v1/jobs/{waiting}/{call}"), None).0, 200);
    }
    let (status, answer) = rig.call("POST", &format!("/v1/jobs/{waiting}/dispatch"), None);
    assert_eq!((status, &answer["code"]), (409, &json!("robot_in_maintenance")));
    // From there to quarantine without a step between.
    assert_eq!(stand(&rig, "quarantine")["standing"]["state"], "quarantined");
    assert_eq!(robot_events(&rig), ["ROBOT_IN_MAINTENANCE", "ROBOT_QUARANTINED"]);
}

#[test]
fn a_change_of_standing_needs_a_robot_a_reason_and_the_administrator() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let ask = |path: &str, body: Value| {
        let (status, answer) = rig.call("POST", path, Some(body));
        (status, answer["code"].clone())
    };
    let long = "x".repeat(513);
    for reason in ["", &long] {
        let refused = ask("/v1/robots/amr-1/revoke", json!({ "reason": reason }));
        assert_eq!(refused, (422, json!("bad_reason")));
    }
    assert_eq!(ask("/v1/robots/amr-1/revoke", json!({})).0, 400);
    let missing = ask("/v1/robots/amr-9/revoke", json!({ "reason": "x" }));
    assert_eq!(missing, (404, json!("no_such_robot")));
    let body = Some(bytes(&json!({ "reason": "x" })));
    let path = "/v1/robots/amr-1/revoke";
    assert_eq!(rig.ask("POST", path, body, None, Some(&device)).0, 401);
    assert_eq!(rig.get("/v1/robots")["robots"][0]["standing"]["state"], "in_service");
}
