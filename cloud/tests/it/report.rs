//! The completion report: what a job's stream says of it, signed, the same whoever makes it.

use super::course::{BEGUN, Hand, report, with};
use super::rig::{Device, Kind, Mqtt, Rig, RigOn};
use base64::Engine as _;
use nooterra_evidence::Proof;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::entry::{Entry, Link};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{EventType as E, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::job::JobState;
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::report::{Evidence, JobReport, Times, Work};
use nooterra_protocol::time::WallMillis;
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

/// `report verify` of an answer: its exit code, and what it prints, or why not.
fn checked(answer: &Value, args: &[&str]) -> (i32, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    std::fs::write(&file, answer.to_string()).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
        command.args(["report", "verify"]).arg(&file).args(args).args(more).output().unwrap()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), text.status.code());
    let said = [text.stdout, text.stderr].concat();
    let value = serde_json::from_slice(&json.stdout).unwrap_or(Value::Null);
    (json.status.code().unwrap(), value, String::from_utf8(said).unwrap())
}

fn send(client: &mut Mqtt, device: &Device, class: &str, records: Vec<Blob>) {
    client.publish(&device.topic(&format!("up/{class}")), &device.batch(records)).unwrap();
    client.ack();
}

fn decoded(proof: &Value) -> Proof {
    let text = proof["proof"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    Proof::decode(&bytes).unwrap()
}

fn encoded(proof: &Proof) -> Value {
    json!(base64::engine::general_purpose::STANDARD.encode(proof.encode().unwrap()))
}

/// What a cloud tells that lies: it has a key, and signs what it likes.
fn told(answer: &Value, change: &dyn Fn(&mut JobReport)) -> Value {
    let base64 = base64::engine::general_purpose::STANDARD;
    let signed = base64.decode(answer["signed"].as_str().unwrap()).unwrap();
    let mut body: JobReport = danger_unverified(&signed).unwrap();
    change(&mut body);
    let signed = Signed::sign(body, &Ed25519Key::from_seed([9; 32])).unwrap();
    let mut answer = answer.clone();
    answer["sha256"] = json!(signed.digest());
    answer["signed"] = json!(base64.encode(signed.bytes()));
    answer["report"] = serde_json::to_value(signed.into_body()).unwrap();
    answer
}

/// What each statement of a checked report is shown by, by its name.
fn shown_by(said: &Value) -> Vec<(&str, Option<u64>)> {
    let statements = said["statements"].as_array().unwrap().iter();
    statements.map(|it| (it["what"].as_str().unwrap(), it["shown_by"]["seq"].as_u64())).collect()
}

/// A job that was carried out, by a robot whose journal has all its records here but for those
/// that are returned.
fn carried_out(rig: &RigOn<impl Kind>, device: &mut Device, client: &mut Mqtt) -> JobId {
    let id = rig.dispatch_job("amr-1");
    device.begin_journal("journal-2");
    let link = Entry::Link(Link { reason: None, up: true });
    let first = vec![device.record(&link), device.checkpoint()];
    send(client, device, "normal", first);
    let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
    for kind in BEGUN {
        said(client, device, &id, kind, &under);
    }
    let captured = json!({ "bytes": null, "media_type": "text/plain", "name": "count",
        "sha256": Digest::of(b"5"), "step": "s1" });
    said(client, device, &id, E::EvidenceCaptured, &captured);
    let checkpoint = vec![device.checkpoint()];
    send(client, device, "normal", checkpoint);
    report(client, device, &id, &[E::Heartbeat]);
    let incident = json!({ "escalates": false, "kind": "ROBOT_STUCK", "reason": "a step",
        "severity": 1 });
    said(client, device, &id, E::IncidentDetected, &incident);
    // Of 17 digits, as sums of a real odometer are.
    let completed = json!({ "interventions": 3, "steps": 1, "distance_m": 1234.5678901234567 });
    said(client, device, &id, E::ExecutionCompleted, &completed);
    id
}

/// The same, with all of its journal here and under a checkpoint, and the report of it.
fn reported() -> (Rig, Device, Mqtt, Value) {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = carried_out(&rig, &mut device, &mut client);
    let last = vec![device.checkpoint()];
    send(&mut client, &device, "normal", last);
    let answer = shown(&rig, &id);
    (rig, device, client, answer)
}

#[test]
fn who_has_the_report_and_the_robots_key_alone_sees_that_its_statements_are_in_the_box() {
    let mut rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = carried_out(&rig, &mut device, &mut client);
    let path = format!("/v1/jobs/{id}/report");
    let tag = |rig: &Rig| {
        let (status, head, _) = rig.call_with("GET", &path, &[], None);
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        (status, tag.trim().to_owned())
    };
    let key = device.key.verifying_key().to_string();
    let cloud = device.command_key.to_string();
    let by_key = ["--key", &key];

    // Between two checkpoints: the last facts are not under one yet.
    let early = shown(&rig, &id);
    verified(&early, &device);
    assert_eq!(early["black_box"]["proofs"].as_array().unwrap().len(), 1, "{early}");
    let waiting = early["black_box"]["unproven"].as_array().unwrap();
    assert_eq!(waiting.len(), 2, "{early}");
    assert!(waiting[0]["why"].as_str().unwrap().starts_with("no checkpoint"), "{early}");
    let (code, said, text) = checked(&early, &by_key);
    assert_eq!((code, &said["identity_proven"]), (8, &json!(true)), "{text}");
    assert!(text.contains("NOT SHOWN") && text.contains("4 of 10 statements"), "{text}");
    let early_tag = tag(&rig).1;

    // A record of another class that comes later: until then nothing leads to the checkpoint.
    let missing = device.record(&Entry::Link(Link { reason: None, up: true }));
    let last = vec![device.checkpoint()];
    send(&mut client, &device, "normal", last);
    let gap = shown(&rig, &id);
    assert_eq!(
        gap["black_box"]["unproven"][0]["why"],
        "record 11 of its journal is not here, or \
         not yet"
    );
    send(&mut client, &device, "normal", vec![missing]);

    let answer = shown(&rig, &id);
    assert_eq!((&answer["signed"], &answer["sha256"]), (&early["signed"], &early["sha256"]));
    assert_ne!(tag(&rig).1, early_tag, "a proof more is another answer");
    let known = rig.call_with("GET", &path, &[("if-none-match", &tag(&rig).1)], None);
    assert_eq!(known.0, 304);
    assert_eq!(answer["black_box"]["unproven"], json!([]), "{answer}");
    let (code, said, text) = checked(&answer, &[&by_key[..], &["--cloud-key", &cloud]].concat());
    assert_eq!(code, 0, "{text}");
    let found = shown_by(&said);
    let expected = [
        ("en_route", 3),
        ("started", 5),
        ("policy", 5),
        ("ended", 10),
        ("verdict", 10),
        ("distance", 10),
        ("interventions", 10),
        ("steps", 10),
        ("captured count", 6),
    ];
    assert_eq!(found[..9], expected.map(|(what, seq)| (what, Some(seq))));
    assert!(found[9].0.starts_with("incident ev_") && found[9].1 == Some(9), "{found:?}");
    assert_eq!((found.len(), &said["cloud_signature_checked"]), (10, &json!(true)));

    // Who has no key, or that of another robot, is told so.
    let (code, said, text) = checked(&answer, &[]);
    assert_eq!((code, &said["identity_proven"]), (10, &json!(false)), "{text}");
    assert!(text.contains("by records of whom nothing shows"), "{text}");
    let other = rig.enrol("amr-2").key.verifying_key().to_string();
    assert_eq!(checked(&answer, &["--key", &other]).0, 5);
    let several = checked(&answer, &["--key", &other, "--key", &key]);
    assert_eq!(several.0, 0, "{}", several.2);
    assert_eq!(checked(&answer, &["--key", "p256:none"]).0, 2);

    // The same without this cloud, whatever becomes of it.
    drop(client);
    rig.stop();
    let mut replay = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    replay.args(["replay", "--report", id.as_str(), "--data"]).arg(rig.dir.path().join("cloud"));
    if let Some(url) = rig.store_url() {
        replay.args(["--store", &url]);
    }
    let output = replay.output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), answer);
}

#[test]
fn a_report_that_was_altered_is_refused_and_one_of_an_earlier_release_is_read() {
    let (_rig, mut device, _client, answer) = reported();
    let key = device.key.verifying_key().to_string();
    let cloud = device.command_key.to_string();
    let code = |answer: &Value| checked(answer, &["--key", &key, "--cloud-key", &cloud]).0;
    assert_eq!(code(&answer), 0);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut answer = answer.clone();
        change(&mut answer);
        code(&answer)
    };
    let proof_with = |change: &dyn Fn(&mut Vec<Digest>, &mut Vec<Blob>)| {
        with(&|answer| {
            let mut proof = decoded(&answer["black_box"]["proofs"][0]);
            let Proof::Chain { leaves, records, .. } = &mut proof else { panic!("a chain") };
            change(leaves, records);
            answer["black_box"]["proofs"][0]["proof"] = encoded(&proof);
        })
    };
    // What people read beside what is signed, the hash, a leaf, a record of another place.
    assert_eq!(with(&|it| it["report"]["work"]["steps"] = json!(9)), 5);
    assert_eq!(with(&|it| it["sha256"] = json!(Digest::of(b"another"))), 5);
    assert_eq!(proof_with(&|leaves, _| leaves[0] = Digest::ZERO), 5);
    assert_eq!(proof_with(&|_, records| records.swap(0, 1)), 5);
    let other = device.checkpoint();
    assert_eq!(proof_with(&|_, records| records.push(other.clone())), 5);
    // Taken away, nothing is wrong with the rest, and nothing is shown by it.
    assert_eq!(proof_with(&|_, records| drop(records.remove(0))), 8);
    assert_eq!(with(&|it| it["black_box"]["proofs"] = json!([])), 8);
    assert_eq!(with(&|it| drop(it.as_object_mut().unwrap().remove("black_box"))), 8);
    assert_eq!(with(&|it| drop(it.as_object_mut().unwrap().remove("signed"))), 3);
    // Signed by somebody else: seen by who has the cloud's key.
    let stranger = Ed25519Key::from_seed([9; 32]).verifying_key().to_string();
    assert_eq!(checked(&answer, &["--key", &key, "--cloud-key", &stranger]).0, 5);
    // The words of a stranger do not reach the terminal as they are.
    let mut loud = answer.clone();
    loud["black_box"]["unproven"] = json!([{ "fact": "\u{1b}[2J", "why": "\nall is well" }]);
    let text = checked(&loud, &["--key", &key]).2;
    assert!(!text.contains('\u{1b}') && text.contains("\u{fffd}all is well"), "{text:?}");
}

#[test]
fn a_report_of_another_job_is_not_shown_by_this_ones_proofs() {
    let (rig, mut device, mut client, first) = reported();
    let second = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &second, &BEGUN);
    report(&mut client, &mut device, &second, &[E::ExecutionCompleted]);
    let mut second = shown(&rig, &second);
    second["black_box"] = first["black_box"].clone();
    let key = device.key.verifying_key().to_string();
    let (code, _, text) = checked(&second, &["--key", &key]);
    assert!(code == 5 && text.contains("of another robot or job"), "{code} {text}");
}

#[test]
fn how_a_job_ended_is_not_shown_where_the_cloud_made_it_up() {
    let (rig, mut device, mut client, answer) = reported();
    let key = device.key.verifying_key().to_string();
    let code = |change: &dyn Fn(&mut JobReport)| {
        let (code, _, text) = checked(&told(&answer, change), &["--key", &key]);
        assert_eq!(code == 8, text.contains("NOT SHOWN"), "{text}");
        code
    };
    assert_eq!(code(&|_| ()), 0);
    // Nothing of what the robot states, and the end of it in another hour.
    let bare = |it: &mut JobReport| {
        it.times = Times { asked: it.times.asked, ..Times::default() };
        (it.evidence, it.work) = (Evidence::default(), Work::default());
        it.verdict.by = None;
    };
    assert_eq!(code(&bare), 8);
    let later = |it: &mut JobReport| {
        (it.times.en_route, it.times.started) = (None, None);
        it.times.ended = Some(WallMillis(1));
    };
    assert_eq!(code(&later), 8);
    // Another end than the robot's, another reason, and nobody who ended it.
    assert_eq!(code(&|it| it.verdict.state = JobState::Aborted), 8);
    assert_eq!(code(&|it| it.verdict.reason = Some("it was stuck".to_owned())), 8);
    assert_eq!(code(&|it| it.verdict.by = None), 8);

    // What did end so is shown as before: by the robot, and by the cloud before it set out.
    let stuck = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &stuck, &BEGUN);
    said(&mut client, &mut device, &stuck, E::ExecutionAborted, &json!({ "reason": "stuck" }));
    let checkpoint = vec![device.checkpoint()];
    send(&mut client, &device, "normal", checkpoint);
    let stuck = shown(&rig, &stuck);
    assert_eq!(stuck["report"]["verdict"]["reason"], "stuck");
    let (code, said, text) = checked(&stuck, &["--key", &key]);
    assert_eq!((code, shown_by(&said).len()), (0, 4), "{text}");
    let left = rig.dispatch_job("amr-1");
    rig.post(&format!("/v1/jobs/{left}/cancel"), json!({ "reason": "rain" }));
    let (code, said, text) = checked(&shown(&rig, &left), &["--key", &key]);
    assert_eq!((code, shown_by(&said).len()), (0, 0), "{text}");
    // No key signed anything in it.
    assert_eq!((&said["identity_proven"], &said["proofs"]), (&json!(false), &json!(0)));
    assert!(text.contains("robot's key   nothing to check: no proof in it"), "{text}");
}

#[test]
fn a_report_of_a_job_that_another_robot_had_before_is_shown_by_its_own_robots_key() {
    let rig = Rig::new();
    let [mut one, mut two] = ["amr-1", "amr-2"].map(|robot| {
        let mut device = rig.enrol(robot);
        device.begin_journal(&format!("journal-of-{robot}"));
        device
    });
    let (mut first, mut second) = (Mqtt::connect(&rig, &one), Mqtt::connect(&rig, &two));
    let id = rig.dispatch_job("amr-1");
    let incident = json!({ "escalates": false, "kind": "ROBOT_STUCK", "reason": "a flat tyre",
        "severity": 1 });
    said(&mut first, &mut one, &id, E::IncidentDetected, &incident);
    let checkpoint = vec![one.checkpoint()];
    send(&mut first, &one, "normal", checkpoint);
    let anew = json!({ "robot": "amr-2", "reason": "a flat tyre" });
    rig.post(&format!("/v1/jobs/{id}/reschedule"), anew);
    rig.post(&format!("/v1/jobs/{id}/dispatch"), json!({}));
    report(&mut second, &mut two, &id, &BEGUN);
    report(&mut second, &mut two, &id, &[E::ExecutionCompleted]);
    let checkpoint = vec![two.checkpoint()];
    send(&mut second, &two, "normal", checkpoint);
    let answer = shown(&rig, &id);
    assert_eq!(answer["report"]["work"]["incidents_count"], 1, "{answer}");
    let key = two.key.verifying_key().to_string();
    let (code, said, text) = checked(&answer, &["--key", &key]);
    // What the first one met is in the report, by the cloud's word.
    assert_eq!(code, 0, "{text}");
    assert_eq!(shown_by(&said).len(), 4, "{text}");
}

#[test]
fn facts_of_a_robots_older_key_are_shown_under_a_checkpoint_of_its_newer_one() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = carried_out(&rig, &mut device, &mut client);
    let older = device.key.verifying_key().to_string();
    device.enrolled_again(rig.enrol("amr-1"));
    let newer = device.key.verifying_key().to_string();
    let mut client = Mqtt::connect(&rig, &device);
    let last = vec![device.checkpoint()];
    send(&mut client, &device, "normal", last);
    let answer = shown(&rig, &id);
    assert_eq!(answer["black_box"]["unproven"], json!([]), "{answer}");
    for (one, other) in [(&older, &newer), (&newer, &older)] {
        let (code, _, text) = checked(&answer, &["--key", one, "--key", other]);
        assert_eq!(code, 0, "{text}");
    }
    // One of them alone is not the key of all that is in it.
    for key in [&older, &newer] {
        assert_eq!(checked(&answer, &["--key", key]).0, 5);
    }
}

#[test]
fn evidence_that_cannot_be_read_is_counted_and_asks_for_no_proof() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &id, &BEGUN);
    report(&mut client, &mut device, &id, &[E::EvidenceCaptured; 20]);
    report(&mut client, &mut device, &id, &[E::ExecutionCompleted]);
    let answer = shown(&rig, &id);
    let evidence = &answer["report"]["evidence"];
    assert_eq!((&evidence["captured"], &evidence["captured_count"]), (&json!([]), &json!(20)));
    // That it set out, began and ended.
    assert_eq!(answer["black_box"]["unproven"].as_array().unwrap().len(), 3, "{answer}");
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

#[test]
fn what_a_robot_says_too_late_or_in_ever_new_journals_is_named_up_to_a_bound_and_counted() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let id = rig.dispatch_job("amr-1");
    report(&mut client, &mut device, &id, &BEGUN);
    report(&mut client, &mut device, &id, &[E::ExecutionCompleted]);
    let before = verified(&shown(&rig, &id), &device);
    assert_eq!((before.outstanding.len(), before.stream.late_count), (0, None));
    let signed = serde_json::to_value(&before).unwrap();
    assert!(signed["stream"].get("late_count").is_none(), "as every release before wrote it");
    // 260 journals more, with a late fact in each.
    for at in 0..260 {
        device.begin_journal(&format!("journal-more-{at}"));
        report(&mut client, &mut device, &id, &[E::ExecutionCompleted]);
    }
    let answer = shown(&rig, &id);
    let after = verified(&answer, &device);
    assert_eq!((after.stream.late.len(), after.stream.late_count), (256, Some(260)));
    assert_eq!(after.evidence.journals.len(), 256);
    let open = serde_json::to_value(&after.outstanding).unwrap();
    assert_eq!(open, json!([{ "what": "other_journals", "facts": 5 }]));
    let key = device.key.verifying_key().to_string();
    let (code, _, text) = checked(&answer, &["--key", &key]);
    // Of a journal whose checkpoints are not here nothing is shown; the form is fine.
    assert_eq!(code, 8, "{text}");
}
