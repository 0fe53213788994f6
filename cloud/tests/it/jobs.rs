//! A job through its states, as its stream.

use super::rig::{Device, Mqtt, Rig, bytes, plan};
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{CommandRefused, Entry};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{
    Completed, EventType as E, Fact, Heartbeat, Place, SkillUsed, UnderPolicy,
};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use serde_json::{Value, json};

fn under_policy() -> UnderPolicy {
    UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() }
}

fn completed() -> Completed {
    Completed { interventions: 2, pose: Pose::default(), steps: 1 }
}

fn send(client: &mut Mqtt, device: &Device, records: Vec<Blob>) {
    let code = client.publish(&device.topic("up/critical"), &device.batch(records));
    assert!(code.is_some());
    client.ack();
}

fn state(rig: &Rig, job: &JobId) -> Value {
    rig.get(&format!("/v1/jobs/{job}"))["state"].clone()
}

fn events(rig: &Rig, path: &str) -> Vec<Value> {
    rig.get(path)["events"].as_array().unwrap().clone()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// Every place follows from the one before, and every fact's signature holds.
fn check_chain(device: &Device, events: &[Value]) {
    use base64::Engine as _;
    use nooterra_protocol::keys::Signer as _;
    let mut prev = Digest::ZERO;
    for (i, event) in events.iter().enumerate() {
        let signed = base64::engine::general_purpose::STANDARD
            .decode(event["signed"].as_str().unwrap())
            .unwrap();
        assert_eq!(event["seq"], i + 1);
        assert_eq!(event["prev_hash"], prev.to_string());
        prev = Place::hash_of(&prev, &signed);
        assert_eq!(event["hash"], prev.to_string());
        let keys = [device.command_key.clone(), device.key.verifying_key()];
        let fact: Signed<Fact> =
            Signed::verify(&signed, |id| keys.iter().find(|key| key.key_id() == id)).unwrap();
        fact.body().check().unwrap();
        assert_eq!(event["key_id"], fact.key_id().to_string());
        assert_eq!(event["payload_hash"], fact.body().payload_hash.to_string());
    }
}

#[test]
fn a_job_runs_from_created_to_completed_by_signed_facts() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");

    let key = device.command_key.clone();
    let start: Signed<RemoteCommand> =
        Signed::verify(&client.command(), |id| (id == key.key_id()).then_some(&key)).unwrap();
    let Ask::StartJob { job: named, plan: steps } = &start.body().body else { panic!() };
    assert_eq!((named, steps.steps.len()), (&job, 1));
    let skill = &steps.steps[0].skill;

    let used = SkillUsed {
        bundle: skill.bundle,
        skill: SkillId::new("patrol").unwrap(),
        step: StepId::new("s1").unwrap(),
        version: "1.0.0".to_owned(),
    };
    let beat = Heartbeat {
        assist_requested: false,
        progress: 0.5,
        stage: Some(StepId::new("s1").unwrap()),
    };
    let steps: Vec<(Blob, &str)> = vec![
        (device.fact(E::EnRoute, Some(&job), &under_policy()), "EN_ROUTE"),
        (device.fact(E::AccessGranted, Some(&job), &under_policy()), "ACCESS_GRANTED"),
        (device.fact(E::ExecutionStarted, Some(&job), &under_policy()), "EXECUTING"),
        (device.fact(E::SkillUsed, Some(&job), &used), "EXECUTING"),
        (device.fact(E::Heartbeat, Some(&job), &beat), "EXECUTING"),
    ];
    for (record, expected) in steps {
        send(&mut client, &device, vec![record]);
        assert_eq!(state(&rig, &job), expected);
    }
    let view = rig.get(&format!("/v1/jobs/{job}"));
    assert_eq!((&view["progress"], &view["stage"]), (&json!(0.5), &json!("s1")));
    let done = device.fact(E::ExecutionCompleted, Some(&job), &completed());
    send(&mut client, &device, vec![done]);
    let view = rig.get(&format!("/v1/jobs/{job}"));
    assert_eq!((&view["state"], &view["progress"]), (&json!("COMPLETED"), &json!(1.0)));
    assert_eq!(view["command"], start.body().id.as_str());

    let stream = events(&rig, &format!("/v1/jobs/{job}/events"));
    let expected = [
        "JOB_CREATED",
        "QUOTE_PROPOSED",
        "BOOKED",
        "MATCHED",
        "SKILL_LICENSED",
        "RESERVED",
        "EN_ROUTE",
        "ACCESS_GRANTED",
        "EXECUTION_STARTED",
        "SKILL_USED",
        "HEARTBEAT",
        "EXECUTION_COMPLETED",
    ];
    assert_eq!(types(&stream), expected);
    assert!(stream.iter().all(|event| event["late"] == false));
    assert_eq!(stream[4]["payload"]["bundle"], skill.bundle.to_string());
    assert_eq!(stream[6]["actor"], json!({ "id": "amr-1", "type": "robot" }));
    assert_eq!(stream[0]["actor"], json!({ "id": "cloud", "type": "server" }));
    check_chain(&device, &stream);
    let tail = events(&rig, &format!("/v1/jobs/{job}/events?after=11"));
    assert_eq!(types(&tail), ["EXECUTION_COMPLETED"]);
}

#[test]
fn a_fact_that_came_too_late_is_kept_marked_and_changes_nothing() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");
    let first = vec![
        device.fact(E::EnRoute, Some(&job), &under_policy()),
        device.fact(E::AccessGranted, Some(&job), &under_policy()),
        device.fact(E::ExecutionStarted, Some(&job), &under_policy()),
    ];
    send(&mut client, &device, first);
    let cancelled = rig.post(&format!("/v1/jobs/{job}/cancel"), json!({ "reason": "rain" }));
    assert_eq!(cancelled["state"], "ABORTING_SAFE_EXIT");
    let late = device.fact(E::ExecutionCompleted, Some(&job), &completed());
    send(&mut client, &device, vec![late]);
    assert_eq!(state(&rig, &job), "ABORTING_SAFE_EXIT");
    let aborted = json!({ "reason": "cancelled", "step": null });
    let exit = device.fact(E::ExecutionAborted, Some(&job), &aborted);
    send(&mut client, &device, vec![exit]);
    assert_eq!(state(&rig, &job), "ABORTED");
    let stream = events(&rig, &format!("/v1/jobs/{job}/events"));
    let marked: Vec<_> = stream.iter().filter(|event| event["late"] == true).collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0]["type"], "EXECUTION_COMPLETED");
    check_chain(&device, &stream);
}

#[test]
fn a_cancelled_job_is_cancelled_at_the_robot_too() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");
    client.command();
    let answer = rig.call("POST", &format!("/v1/jobs/{job}/cancel"), None);
    assert_eq!((answer.0, &answer.1["state"]), (200, &json!("ABORTED")));
    let key = device.command_key.clone();
    let cancel: Signed<RemoteCommand> =
        Signed::verify(&client.command(), |id| (id == key.key_id()).then_some(&key)).unwrap();
    assert!(matches!(&cancel.body().body, Ask::CancelJob { job: named, .. } if *named == job));
}

#[test]
fn a_job_whose_start_the_robot_refuses_is_booked_again_and_can_be_dispatched_anew() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");
    let start = client.command();
    assert_eq!(state(&rig, &job), "RESERVED");
    let refused = Entry::CommandRefused(CommandRefused {
        digest: Digest::of(&start),
        id: None,
        reason: "another job is under way".to_owned(),
    });
    let record = device.record(&refused);
    send(&mut client, &device, vec![record]);
    assert_eq!(state(&rig, &job), "BOOKED");
    let stream = events(&rig, &format!("/v1/jobs/{job}/events"));
    let last = stream.last().unwrap();
    assert_eq!(last["type"], "RESCHEDULED");
    assert_eq!(last["payload"]["reason"], "another job is under way");
    let again = rig.post(&format!("/v1/jobs/{job}/dispatch"), json!({}));
    assert_eq!(again["state"], "RESERVED");
    assert_ne!(client.command(), start);
}

#[test]
fn a_call_that_the_state_does_not_take_is_a_conflict_and_leaves_no_trace() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let job = rig.create_job("amr-1");
    for call in ["book", "dispatch"] {
        let (status, body) = rig.call("POST", &format!("/v1/jobs/{job}/{call}"), None);
        assert_eq!((status, &body["code"]), (409, &json!("wrong_state")));
        assert!(body["hint"].as_str().unwrap().contains("quote"));
    }
    assert_eq!(types(&events(&rig, &format!("/v1/jobs/{job}/events"))), ["JOB_CREATED"]);
    rig.post(&format!("/v1/jobs/{job}/quote"), json!({ "amount_minor": 1250, "currency": "CHF" }));
    let (status, _) = rig.call("POST", &format!("/v1/jobs/{job}/quote"), None);
    assert_eq!(status, 409);
    let stream = events(&rig, &format!("/v1/jobs/{job}/events"));
    assert_eq!(stream[1]["payload"], json!({ "amount_minor": 1250, "currency": "CHF" }));
    // The counts of the server's facts have no gap where a call was refused.
    assert_eq!((&stream[0]["actor_seq"], &stream[1]["actor_seq"]), (&json!(1), &json!(2)));
    rig.post(&format!("/v1/jobs/{job}/cancel"), json!({}));
    assert_eq!(rig.call("POST", &format!("/v1/jobs/{job}/cancel"), None).0, 409);
    assert_eq!(rig.get("/v1/jobs")["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_plan_too_large_for_one_command_is_refused_at_dispatch_and_stays_booked() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let mut plan = plan(&rig.publish_skill());
    plan["steps"][0]["params"]["text"] = json!("x".repeat(60_000));
    let job = rig.post("/v1/jobs", json!({ "robot": "amr-1", "plan": plan }))["id"].clone();
    let job = job.as_str().unwrap();
    rig.post(&format!("/v1/jobs/{job}/quote"), json!({}));
    rig.post(&format!("/v1/jobs/{job}/book"), json!({}));
    let (status, body) = rig.call("POST", &format!("/v1/jobs/{job}/dispatch"), None);
    assert_eq!((status, &body["code"]), (422, &json!("command_too_large")));
    assert_eq!(rig.get(&format!("/v1/jobs/{job}"))["state"], "BOOKED");
}

#[test]
fn facts_that_are_forged_foreign_or_of_no_job_do_not_enter_a_jobs_stream() {
    let rig = Rig::new();
    let (mut one, mut two) = (rig.enrol("amr-1"), rig.enrol("amr-2"));
    let mut first = Mqtt::connect(&rig, &one);
    let mut second = Mqtt::connect(&rig, &two);
    let job = rig.dispatch_job("amr-1");
    let unknown = JobId::new("job_unknown").unwrap();

    // Another robot speaks of the job: kept, in its own stream, where it moves nothing.
    let foreign = two.fact(E::EnRoute, Some(&job), &under_policy());
    send(&mut second, &two, vec![foreign]);
    // Positions that the other journal does not reach here.
    for _ in 0..50 {
        two.fact(E::Heartbeat, None, &json!({}));
    }
    // Another robot's signature, sent as one's own; and another actor under one's own signature.
    let stolen = two.fact_of("amr-1", E::EnRoute, Some(&job), &under_policy());
    send(&mut first, &one, vec![stolen]);
    let impostor = one.fact_of("amr-2", E::EnRoute, Some(&job), &under_policy());
    // A job that nobody knows, and a signature that was altered.
    let lost = one.fact(E::EnRoute, Some(&unknown), &under_policy());
    let altered = {
        let genuine = one.fact(E::EnRoute, Some(&job), &under_policy());
        let record = nooterra_evidence::Record::decode(&genuine.0).unwrap();
        let Ok(Some(Entry::Fact(mut signed))) = record.entry() else { panic!() };
        let last = signed.0.len() - 1;
        signed.0[last] ^= 1;
        one.record(&Entry::Fact(signed))
    };
    send(&mut first, &one, vec![impostor, lost, altered]);

    assert_eq!(state(&rig, &job), "RESERVED");
    assert_eq!(events(&rig, &format!("/v1/jobs/{job}/events")).len(), 6);
    let own = events(&rig, "/v1/robots/amr-2/events");
    assert_eq!((types(&own), &own[0]["job"]), (vec!["EN_ROUTE"], &json!(job)));
    let own = events(&rig, "/v1/robots/amr-1/events");
    assert_eq!((types(&own), &own[0]["job"]), (vec!["EN_ROUTE"], &json!(unknown)));
    let notes = rig.get("/v1/robots/amr-1/records?kind=fact");
    let notes: Vec<_> = notes["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["note"].as_str().unwrap_or("").to_owned())
        .collect();
    assert!(notes[0].contains("unknown key"), "{notes:?}");
    assert!(notes[1].contains("actor is not the robot"), "{notes:?}");
    assert_eq!(notes[2], "");
    assert!(notes[3].contains("signature is wrong"), "{notes:?}");
}

#[test]
fn an_old_journal_still_proves_its_facts_after_the_robot_enrolled_anew() {
    let rig = Rig::new();
    let mut older = rig.enrol("amr-1");
    let job = rig.dispatch_job("amr-1");
    let record = older.fact(E::EnRoute, Some(&job), &under_policy());
    let newer = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &newer);
    send(&mut client, &newer, vec![record]);
    assert_eq!(state(&rig, &job), "EN_ROUTE");
}

#[test]
fn a_fact_that_is_sent_again_in_another_record_has_one_place() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");
    let record = device.fact(E::EnRoute, Some(&job), &under_policy());
    let entry = nooterra_evidence::Record::decode(&record.0).unwrap().entry().unwrap().unwrap();
    let again = device.record(&entry);
    send(&mut client, &device, vec![record, again]);
    assert_eq!(events(&rig, &format!("/v1/jobs/{job}/events")).len(), 7);
}

#[test]
fn everything_survives_a_restart() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let job = rig.dispatch_job("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let record = device.fact(E::EnRoute, Some(&job), &under_policy());
    let batch = device.batch(vec![record]);
    client.publish(&device.topic("up/critical"), &batch);
    let claim = rig.post("/v1/claim-codes", json!({ "robot": "amr-2" }));
    let paths = [
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/events"),
        "/v1/robots/amr-1/records".to_owned(),
        "/v1/robots/amr-1/commands".to_owned(),
        "/v1/skills".to_owned(),
    ];
    drop(client);
    let before: Vec<_> = paths.iter().map(|path| rig.get(path)).collect();
    let (token, root) = (rig.token.clone(), rig.root_pem.clone());

    let rig = rig.restart();
    assert_eq!((&rig.token, &rig.root_pem), (&token, &root));
    let after: Vec<_> = paths.iter().map(|path| rig.get(path)).collect();
    assert_eq!(before, after);
    assert_eq!(rig.get("/v1/robots/amr-1")["online"], false);
    // The same certificate opens the door, the batch is known, the command comes again.
    let mut client = Mqtt::connect(&rig, &device);
    client.publish(&device.topic("up/critical"), &batch);
    assert_eq!(client.ack().journal, device.journal);
    let again: RemoteCommand = {
        let key = device.command_key.clone();
        let bytes = client.command();
        Signed::verify(&bytes, |id| (id == key.key_id()).then_some(&key)).unwrap().into_body()
    };
    assert!(matches!(again.body, Ask::StartJob { .. }));
    assert_eq!(rig.get(&paths[1]), before[1]);
    // A claim code of before is still good, once.
    let key = rcgen::KeyPair::generate().unwrap();
    let body = bytes(&json!({ "code": claim["code"], "csr_pem": crate::rig::csr(&key) }));
    let (status, _) = rig.ask("POST", "/v1/enrolments", Some(body), None, None);
    assert_eq!(status, 201);
    // And the server's count of facts goes on where it was.
    let next = rig.post(&format!("/v1/jobs/{job}/cancel"), json!({}));
    assert_eq!(next["state"], "ABORTING_SAFE_EXIT");
    check_chain(&device, &events(&rig, &paths[1]));
}

#[test]
fn a_fact_of_a_later_release_is_kept_as_a_record() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let record = nooterra_evidence::Record {
        body: codec::to_value(&json!({ "of": "tomorrow" })).unwrap(),
        boot: 1,
        class: nooterra_protocol::entry::Class::Critical,
        kind: "prophecy".to_owned(),
        seq: 9,
        stamp: crate::rig::stamp(9),
        v: 1,
    };
    send(&mut client, &device, vec![Blob(record.encode().unwrap())]);
    let found = rig.get("/v1/robots/amr-1/records?kind=prophecy");
    assert_eq!(found["records"][0]["body"], json!({ "of": "tomorrow" }));
}
