//! The completion report: what a job's stream says of it, signed, the same whoever makes it.

use super::course::{BEGUN, Hand, report, with};
use super::rig::{Device, Kind, Mqtt, Rig, RigOn};
use base64::Engine as _;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::EventType as E;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::report::JobReport;
use serde_json::{Value, json};
use std::process::Command;

fn shown(rig: &RigOn<impl Kind>, id: &JobId) -> Value {
    rig.get(&format!("/v1/jobs/{id}/report"))
}

/// The signed report, checked by the key that the robot learnt at its enrolment.
fn verified(answer: &Value, device: &Device) -> JobReport {
    let signed = answer["signed"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(signed).unwrap();
    assert_eq!(answer["sha256"], json!(Digest::of(&bytes)));
    let key = &device.command_key;
    let signed: Signed<JobReport> =
        Signed::verify(&bytes, |id| (id == key.key_id()).then_some(key)).unwrap();
    // Canonical: what was read is written as it stood.
    let body = signed.into_body();
    assert_eq!(codec::from_slice::<JobReport>(&codec::to_vec(&body).unwrap()).unwrap(), body);
    assert_eq!(serde_json::to_value(&body).unwrap(), answer["report"]);
    body
}

fn said<P: serde::Serialize>(client: &mut Mqtt, device: &mut Device, id: &JobId, kind: E, it: &P) {
    let records = vec![device.fact(kind, Some(id), it)];
    client.publish(&device.topic("up/critical"), &device.batch(records)).unwrap();
    client.ack();
}

#[test]
fn a_report_says_what_the_stream_says_and_is_the_same_when_the_stream_is_replayed() {
    let clock = Hand::new();
    let mut rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.create_job("amr-1");
    let plan = rig.get(&format!("/v1/jobs/{id}"))["plan_hash"].clone();
    rig.post(&format!("/v1/jobs/{id}/approvals"), json!({ "plan": plan, "by": "anna" }));
    for call in ["quote", "book", "dispatch"] {
        rig.post(&format!("/v1/jobs/{id}/{call}"), json!({}));
    }
    report(&mut client, &mut device, &id, &BEGUN);
    let open = verified(&shown(&rig, &id), &device);
    assert_eq!(serde_json::to_value(&open.outstanding).unwrap(), json!([{ "what": "the_end" }]));
    assert_eq!((open.times.ended, open.work.distance_m), (None, None));
    let used =
        json!({ "bundle": Digest::of(b"b"), "skill": "patrol", "step": "s1", "version": "1.0.0" });
    said(&mut client, &mut device, &id, E::SkillUsed, &used);
    let captured = json!({ "bytes": null, "media_type": "text/plain", "name": "count",
        "sha256": Digest::of(b"5"), "step": "s1" });
    said(&mut client, &mut device, &id, E::EvidenceCaptured, &captured);
    report(&mut client, &mut device, &id, &[E::Heartbeat, E::IncidentDetected]);
    let completed = json!({ "interventions": 3, "steps": 1, "distance_m": 12.5 });
    said(&mut client, &mut device, &id, E::ExecutionCompleted, &completed);
    report(&mut client, &mut device, &id, &[E::ExecutionAborted]);
    let answer = shown(&rig, &id);
    let done = verified(&answer, &device);
    assert_eq!((done.outstanding.len(), done.verdict.state.name()), (0, "COMPLETED"));
    assert_eq!((done.work.interventions, done.work.steps), (Some(3), Some(1)));
    assert_eq!((done.work.distance_m, done.work.energy_j), (Some(12.5), None));
    assert_eq!((done.work.incidents_count, done.evidence.captured[0].name.as_str()), (1, "count"));
    assert_eq!((done.approvals[0].by.as_str(), done.verdict.approved), ("anna", Some(true)));
    assert_eq!(done.stream.late, [E::ExecutionAborted]);
    assert_eq!(json!(done.stream.head), rig.get(&format!("/v1/jobs/{id}"))["head"]);
    let span = &done.evidence.journals[0];
    assert_eq!((span.first, span.last, span.facts), (1, 9, 9));
    drop(client);
    rig.stop();
    let mut replay = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    replay.args(["replay", "--report", id.as_str(), "--data"]).arg(rig.dir.path().join("cloud"));
    if let Some(url) = rig.store_url() {
        replay.args(["--store", &url]);
    }
    let output = replay.output().unwrap();
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again, answer);
}

#[test]
fn a_report_names_what_is_not_known_and_why_the_job_ended() {
    let clock = Hand::new();
    let rig = Rig::with(with(&clock));
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &id, &BEGUN);
    rig.post(&format!("/v1/jobs/{id}/cancel"), json!({ "reason": "a guest came" }));
    let what = |it: &JobReport| serde_json::to_value(&it.outstanding).unwrap();
    let leaving = verified(&shown(&rig, &id), &device);
    assert_eq!(what(&leaving), json!([{ "what": "the_end" }, { "what": "robots_word" }]));
    // A fact that never comes leaves a gap in the robot's own count.
    let _lost = device.fact(E::Heartbeat, Some(&id), &json!({}));
    report(&mut client, &mut device, &id, &[E::ExecutionAborted]);
    let over = verified(&shown(&rig, &id), &device);
    let journal = &over.evidence.journals[0].journal;
    assert_eq!(what(&over), json!([{ "what": "facts", "journal": journal, "missing": 1 }]));
    assert_eq!(over.verdict.reason.as_deref(), Some("a guest came"));
    assert_eq!((over.work.steps, over.work.interventions), (None, None));
    let none = rig.call("GET", "/v1/jobs/job_9/report", None);
    assert_eq!((none.0, &none.1["code"]), (404, &json!("no_such_job")));
}

#[test]
fn a_report_is_read_on_the_command_line() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let id = rig.dispatch_job("amr-1");
    rig.post(&format!("/v1/jobs/{id}/cancel"), json!({ "reason": "rain" }));
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
            .args(["job", "report", id.as_str()])
            .args(args)
            .args(["--url", &format!("https://{}", rig.http), "--data"])
            .arg(rig.dir.path().join("cloud"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&[]);
    for line in ["verdict     ABORTED", "reason      rain", "distance    not reported"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("not known   what the robot did"), "{text}");
    let json: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(json, shown(&rig, &id));
}
