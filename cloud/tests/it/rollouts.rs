//! Which robot is given which version of a skill: rings, roll-outs by what robots report, rules,
//! revocation.

use super::registry::{
    Ahead, PATROL, Skill, bundle, has, path, publish, quick, refused, send, set_rings, start, why,
};
use super::rig::{Device, Mqtt, Rig, plan};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{Entry, Incident, IncidentCause};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{Aborted, Completed, EventType as E, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{JobId, StepId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

struct Robot {
    client: Mqtt,
    device: Device,
}

impl Robot {
    fn new(rig: &Rig, name: &str, labels: &[&str]) -> Self {
        let device = rig.enrol(name);
        rig.post(&format!("/v1/robots/{name}/labels"), json!({ "labels": labels }));
        Self { client: Mqtt::connect(rig, &device), device }
    }

    fn job(&self, rig: &Rig) -> (u16, Value) {
        let plan = plan(&json!({ "id": "patrol", "version": "ring" }));
        let body = json!({ "robot": self.device.robot.as_str(), "plan": plan });
        rig.call("POST", "/v1/jobs", Some(body))
    }

    /// A job that the ring chooses the version of, sent to the robot: its id and its version.
    fn dispatched(&mut self, rig: &Rig) -> (JobId, String) {
        let (status, answer) = self.job(rig);
        assert_eq!(status, 201, "{answer}");
        let id = JobId::new(answer["id"].as_str().unwrap()).unwrap();
        for call in ["quote", "book", "dispatch"] {
            rig.post(&format!("/v1/jobs/{id}/{call}"), json!({}));
        }
        let Ask::StartJob { job, plan } = self.asked() else { panic!() };
        assert_eq!(job, id);
        (id, plan.steps[0].skill.version.clone())
    }

    fn asked(&mut self) -> Ask {
        let (key, command) = (self.device.command_key.clone(), self.client.command());
        let found: Signed<RemoteCommand> =
            Signed::verify(&command, |id| (id == key.key_id()).then_some(&key)).unwrap();
        found.into_body().body
    }

    fn send(&mut self, records: Vec<Blob>) {
        let (topic, batch) = (self.device.topic("up/critical"), self.device.batch(records));
        assert!(self.client.publish(&topic, &batch).is_some());
        self.client.ack();
    }

    fn begin(&mut self, job: &JobId) {
        let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
        let facts = [E::EnRoute, E::AccessGranted, E::ExecutionStarted]
            .map(|kind| self.device.fact(kind, Some(job), &under));
        self.send(facts.to_vec());
    }

    fn complete(&mut self, job: &JobId) {
        self.begin(job);
        let done = Completed { interventions: 0, pose: Pose::default(), steps: 1 };
        let fact = self.device.fact(E::ExecutionCompleted, Some(job), &done);
        self.send(vec![fact]);
    }

    fn abort(&mut self, job: &JobId) {
        self.begin(job);
        let aborted = Aborted { reason: "it is stuck".to_owned(), step: None };
        let fact = self.device.fact(E::ExecutionAborted, Some(job), &aborted);
        self.send(vec![fact]);
    }

    /// A job that is carried out in order; the version that did.
    fn work(&mut self, rig: &Rig) -> String {
        let (job, version) = self.dispatched(rig);
        self.complete(&job);
        version
    }
}

#[test]
fn a_version_reaches_each_ring_after_the_one_before_it_was_good() {
    let rig = Rig::new();
    set_rings(&rig);
    let [mut canary, mut early, mut late] =
        [("amr-1", "canary"), ("amr-2", "early"), ("amr-3", "none")]
            .map(|(name, label)| Robot::new(&rig, name, &[label]));
    let first = publish(&rig, &PATROL);
    assert_eq!(refused(canary.job(&rig)), (409, "no_version".to_owned()));
    let rollout = start(&rig, &first, quick());
    for robot in [&early, &late] {
        assert_eq!(refused(robot.job(&rig)), (409, "no_version".to_owned()));
    }
    assert_eq!(canary.work(&rig), "1.0.0");
    assert_eq!(early.work(&rig), "1.0.0");
    assert_eq!(late.work(&rig), "1.0.0");
    let rollout = rig.get(&path(&rollout));
    assert_eq!((&rollout["state"], &rollout["baseline"]), (&json!("completed"), &Value::Null));

    let second = publish(&rig, &Skill { version: "1.1.0", ..PATROL });
    let rollout = start(&rig, &second, quick());
    assert_eq!(rollout["baseline_version"], "1.0.0");
    // A job of another ring makes nothing good.
    assert_eq!((late.work(&rig), early.work(&rig)), ("1.0.0".to_owned(), "1.0.0".to_owned()));
    assert_eq!(rig.get(&path(&rollout))["ring"], "canary");
    assert_eq!(canary.work(&rig), "1.1.0");
    assert_eq!(rig.get(&path(&rollout))["ring"], "early");
    assert_eq!((late.work(&rig), canary.work(&rig)), ("1.0.0".to_owned(), "1.1.0".to_owned()));
    assert_eq!(rig.get(&path(&rollout))["ring"], "early");
    let (job, version) = early.dispatched(&rig);
    assert_eq!(version, "1.1.0");
    // Why, in the job's own stream.
    let events = rig.get(&format!("/v1/jobs/{job}/events"));
    let matched = &events["events"][3];
    let given = &matched["payload"]["given"][0];
    assert_eq!((&matched["type"], &given["step"]), (&json!("MATCHED"), &json!("s1")));
    assert_eq!(given["choice"]["ring"], "early");
    assert_eq!(given["choice"]["rollout"], rollout["id"]);
    assert!(given["choice"]["why"].as_str().unwrap().contains("has opened ring `early`"));
    early.complete(&job);
    assert_eq!(late.work(&rig), "1.1.0");

    let events = rig.get(&format!("{}/events", path(&rollout)));
    let events = events["events"].as_array().unwrap();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = ["ROLLOUT_STARTED", "ROLLOUT_ADVANCED", "ROLLOUT_ADVANCED", "ROLLOUT_COMPLETED"];
    assert_eq!(types, expected);
    assert!(events[1]["payload"]["reason"].as_str().unwrap().contains("ring `canary` is good"));
    let jobs = rig.get(&format!("{}/jobs?limit=2", path(&rollout)));
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(jobs["jobs"][0]["outcome"], "succeeded");
    let rest = rig.get(&format!("{}/jobs?after={}", path(&rollout), jobs["next"]));
    assert_eq!(rest["jobs"].as_array().unwrap().len(), 2);
    // A roll-out goes forward.
    let back = json!({ "bundle": first, "reason": "back" });
    let back = refused(rig.call("POST", "/v1/rollouts", Some(back)));
    assert_eq!(back, (409, "not_newer".to_owned()));
}

#[test]
fn failures_pause_a_roll_out_and_more_of_them_roll_it_back() {
    let rig = Rig::new();
    set_rings(&rig);
    let mut canary = Robot::new(&rig, "amr-1", &["canary"]);
    let mut late = Robot::new(&rig, "amr-2", &[]);
    let first = publish(&rig, &PATROL);
    let rollout = start(&rig, &first, quick());
    for past in ["canary", "early", "all"] {
        let body = json!({ "past": past, "reason": "it is the first" });
        rig.post(&format!("{}/advance", path(&rollout)), body);
    }
    let second = publish(&rig, &Skill { version: "1.1.0", ..PATROL });
    let rollout = start(&rig, &second, json!({ "jobs": 1, "roll_back_at": 2, "soak_s": 0 }));
    let at = path(&rollout);
    let (crashed, version) = canary.dispatched(&rig);
    assert_eq!(version, "1.1.0");
    canary.begin(&crashed);
    let crash = Incident {
        cause: IncidentCause::SkillCrash,
        command: None,
        job: Some(crashed.clone()),
        step: Some(StepId::new("s1").unwrap()),
    };
    let crash = canary.device.record(&Entry::Incident(crash));
    canary.send(vec![crash]);
    let paused = rig.get(&at);
    assert_eq!((&paused["state"], &paused["ring"]), (&json!("paused"), &json!("canary")));
    assert!(paused["reason"].as_str().unwrap().contains("1 pause it"), "{paused}");
    // It completed all the same; that makes it no success, and a paused one goes nowhere.
    canary.complete(&crashed);
    assert_eq!(canary.work(&rig), "1.1.0");
    assert_eq!(rig.get(&at)["ring"], "canary");
    let past = json!({ "past": "canary", "reason": "on" });
    let stays = refused(rig.call("POST", &format!("{at}/advance"), Some(past.clone())));
    assert_eq!(stays, (409, "wrong_state".to_owned()));

    // Resumed, it counts anew: one success opens the next ring.
    assert_eq!(rig.post(&format!("{at}/resume"), why("looked at"))["heard"]["failed"], 0);
    assert_eq!(canary.work(&rig), "1.1.0");
    assert_eq!(rig.get(&at)["ring"], "early");
    let passed = refused(rig.call("POST", &format!("{at}/advance"), Some(past)));
    assert_eq!(passed, (409, "ring_passed".to_owned()));
    // Failures of any ring count. The start that nobody answered is taken back.
    for state in ["paused", "rolled_back"] {
        let (waits, _) = canary.dispatched(&rig);
        let (failed, _) = canary.dispatched(&rig);
        canary.abort(&failed);
        assert_eq!(rig.get(&at)["state"], state);
        let booked = rig.get(&format!("/v1/jobs/{waits}"))["state"] == "BOOKED";
        assert_eq!(booked, state == "rolled_back");
    }
    assert_eq!((has(&rig, "amr-1"), has(&rig, "amr-2")), (json!("1.0.0"), json!("1.0.0")));
    assert_eq!(late.work(&rig), "1.0.0");
    let over = refused(rig.call("POST", &format!("{at}/resume"), Some(why("again"))));
    assert_eq!(over, (409, "wrong_state".to_owned()));
    let rig = rig.restart();
    assert_eq!(rig.get(&at)["state"], "rolled_back");
    assert_eq!(has(&rig, "amr-1"), "1.0.0");
}

#[test]
fn time_alone_opens_a_ring_that_is_good_and_a_restart_forgets_nothing_of_it() {
    let clock = Ahead::default();
    let ticking = clock.clone();
    let rig = Rig::with(|config| config.clock = Arc::new(ticking));
    set_rings(&rig);
    let mut canary = Robot::new(&rig, "amr-1", &["canary"]);
    let digest = publish(&rig, &PATROL);
    let at = path(&start(&rig, &digest, json!({ "jobs": 1, "soak_s": 3600 })));
    assert_eq!(canary.work(&rig), "1.0.0");
    assert_eq!(rig.get(&at)["ring"], "canary");
    drop(canary);
    let ticking = clock.clone();
    let rig = rig.restart_with(|config| config.clock = Arc::new(ticking));
    let it = rig.get(&at);
    assert_eq!((&it["ring"], &it["heard"]["succeeded"]), (&json!("canary"), &json!(1)));
    clock.0.store(3_600_000, Ordering::Relaxed);
    let it = rig.wait(&at, |it| it["ring"] == "early");
    assert_eq!(it["heard"]["succeeded"], 0);
}

#[test]
fn a_revoked_version_is_never_given_again_and_what_runs_it_ends_as_said() {
    for running in ["cancel", "finish"] {
        let rig = Rig::new();
        set_rings(&rig);
        let mut robot = Robot::new(&rig, "amr-1", &["canary"]);
        let digest = publish(&rig, &PATROL);
        let at = path(&start(&rig, &digest, quick()));
        let (runs, _) = robot.dispatched(&rig);
        robot.begin(&runs);
        let (waits, _) = robot.dispatched(&rig);
        let exact = plan(&json!({ "bundle": digest, "id": "patrol", "version": "1.0.0" }));
        let exact = json!({ "robot": "amr-1", "plan": exact });
        let booked = rig.post("/v1/jobs", exact.clone())["id"].as_str().unwrap().to_owned();
        for call in ["quote", "book"] {
            rig.post(&format!("/v1/jobs/{booked}/{call}"), json!({}));
        }
        let body = json!({ "reason": "it turns left", "running": running });
        let revoked = rig.post(&format!("/v1/skills/{digest}/revoke"), body);
        assert_eq!(revoked["revoked"]["running"], running);
        let state = |job: &str| rig.get(&format!("/v1/jobs/{job}"))["state"].clone();
        let ends = if running == "cancel" { "ABORTING_SAFE_EXIT" } else { "EXECUTING" };
        assert_eq!(state(runs.as_str()), ends);
        assert_eq!(state(waits.as_str()), "BOOKED");
        let it = rig.get(&at);
        assert_eq!(it["state"], "rolled_back");
        assert!(it["reason"].as_str().unwrap().contains("was revoked: it turns left"));
        // Neither the one that names it nor the one that left it to the ring goes out again.
        let dispatch = |job: &str| {
            refused(rig.call("POST", &format!("/v1/jobs/{job}/dispatch"), Some(json!({}))))
        };
        assert_eq!(dispatch(&booked), (409, "skill_revoked".to_owned()));
        assert_eq!(dispatch(waits.as_str()), (409, "no_version".to_owned()));
        let made = refused(rig.call("POST", "/v1/jobs", Some(exact)));
        assert_eq!(made, (409, "skill_revoked".to_owned()));
        let again = json!({ "bundle": digest, "reason": "again" });
        let again = refused(rig.call("POST", "/v1/rollouts", Some(again)));
        assert_eq!(again, (409, "skill_revoked".to_owned()));
        let junk = "untrusted comment: test\nRWQ\n";
        let published = refused(send(&rig, &bundle(&PATROL), junk, None));
        assert_eq!(published, (409, "skill_revoked".to_owned()));
        // Its bundle is there for who was left to finish.
        let bundle = format!("/v1/skills/{digest}/bundle");
        let (status, _) = rig.ask("GET", &bundle, None, None, Some(&robot.device));
        assert_eq!(status, if running == "cancel" { 409 } else { 200 });
        let facts = rig.get("/v1/events?type=SKILL_REVOKED&stream=registry");
        assert_eq!(facts["events"][0]["payload"]["reason"], "it turns left");
    }
}

#[test]
fn a_rule_keeps_a_skill_from_robots_that_it_does_not_name_whoever_asks() {
    let rig = Rig::new();
    set_rings(&rig);
    let robots = ["amr-1", "amr-2"].map(|name| Robot::new(&rig, name, &[]));
    rig.post("/v1/robots/amr-1/labels", json!({ "labels": ["tenant-a", "canary"] }));
    let digest = publish(&rig, &PATROL);
    let rollout = start(&rig, &digest, quick());
    for past in ["canary", "early"] {
        let body = json!({ "past": past, "reason": "at once" });
        rig.post(&format!("{}/advance", path(&rollout)), body);
    }
    assert_eq!((has(&rig, "amr-1"), has(&rig, "amr-2")), (json!("1.0.0"), json!("1.0.0")));
    let rule = "/v1/skill-rules/patrol";
    assert_eq!(rig.get(rule)["rule"]["everyone"], true);
    rig.post(rule, json!({ "labels": ["tenant-a"] }));
    assert_eq!((has(&rig, "amr-1"), has(&rig, "amr-2")), (json!("1.0.0"), Value::Null));
    let exact = plan(&json!({ "bundle": digest, "id": "patrol", "version": "1.0.0" }));
    let exact = |robot: &str| {
        let body = json!({ "robot": robot, "plan": exact });
        refused(rig.call("POST", "/v1/jobs", Some(body)))
    };
    assert_eq!(exact("amr-1").0, 201);
    assert_eq!(exact("amr-2"), (409, "skill_not_for_robot".to_owned()));
    let fetch = |robot: &Robot| {
        let path = format!("/v1/skills/{digest}/bundle");
        rig.ask("GET", &path, None, None, Some(&robot.device)).0
    };
    assert_eq!((fetch(&robots[0]), fetch(&robots[1])), (200, 409));
    rig.post(rule, json!({ "everyone": true }));
    assert_eq!(exact("amr-2").0, 201);
}

#[test]
fn what_does_not_fit_is_refused_with_a_code_and_changes_nothing() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let digest = publish(&rig, &PATROL);
    let begin = |body: Value| refused(rig.call("POST", "/v1/rollouts", Some(body)));
    let wanted = json!({ "bundle": digest, "reason": "new" });
    assert_eq!(begin(wanted.clone()), (409, "no_rings".to_owned()));
    set_rings(&rig);
    let with = |name: &str, value: Value| {
        let mut body = wanted.clone();
        body[name] = value;
        body
    };
    for (body, status, code) in [
        (with("bundle", json!("0".repeat(64))), 422, "unknown_skill"),
        (with("reason", json!("")), 422, "bad_reason"),
        (with("gates", json!({ "none": {} })), 422, "unknown_ring"),
        (with("gate", json!({ "pause_at": 0 })), 422, "bad_gate"),
        (with("gates", json!({ "early": { "robots": 9 } })), 422, "bad_gate"),
        (with("gate", json!({ "jobs": -1 })), 400, "bad_json"),
        (with("more", json!(1)), 400, "bad_json"),
    ] {
        assert_eq!(begin(body), (status, code.to_owned()));
    }
    assert_eq!(rig.get("/v1/rollouts")["rollouts"], json!([]));
    let at = path(&rig.post("/v1/rollouts", wanted.clone()));
    assert_eq!(begin(wanted), (409, "rollout_under_way".to_owned()));
    let ring = |name: &str| json!({ "name": name });
    let rings =
        |rings: Value| refused(rig.call("POST", "/v1/rings", Some(json!({ "rings": rings }))));
    assert_eq!(rings(json!([ring("canary")])), (409, "rings_in_use".to_owned()));
    for bad in [
        json!([ring("a"), ring("a")]),
        json!([ring("A")]),
        json!([{ "name": "a", "of": { "labels": ["x y"] } }]),
        json!((0..33).map(|n| ring(&format!("r{n}"))).collect::<Vec<_>>()),
    ] {
        assert_eq!(rings(bad), (422, "bad_rings".to_owned()));
    }
    let post = |path: &str, body: Value| refused(rig.call("POST", path, Some(body)));
    for (path, body, status, code) in [
        ("/v1/rollouts/none/pause", why("x"), 404, "no_such_rollout"),
        (&format!("{at}/pause"), why(""), 422, "bad_reason"),
        (&format!("{at}/resume"), why("x"), 409, "wrong_state"),
        ("/v1/robots/none/labels", json!({ "labels": [] }), 404, "no_such_robot"),
        ("/v1/robots/amr-1/labels", json!({ "labels": ["a b"] }), 422, "bad_labels"),
        ("/v1/skill-rules/patrol", json!({ "robots": ["A"] }), 422, "bad_rule"),
        ("/v1/skill-rules/A", json!({}), 404, "no_such_skill"),
        ("/v1/skill-keys/none/revoke", why("x"), 404, "no_such_key"),
        (&format!("/v1/skills/{}/revoke", "0".repeat(64)), why("x"), 404, "no_such_skill"),
        (&format!("/v1/skills/{digest}/revoke"), why(""), 422, "bad_reason"),
    ] {
        assert_eq!(post(path, body), (status, code.to_owned()), "{path}");
    }
    for path in ["", "/events", "/jobs"] {
        let path = format!("/v1/rollouts/none{path}");
        assert_eq!(refused(rig.call("GET", &path, None)), (404, "no_such_rollout".to_owned()));
    }
    // A step that names a bundle leaves nothing to the ring.
    let both = plan(&json!({ "bundle": digest, "id": "patrol", "version": "ring" }));
    let both = post("/v1/jobs", json!({ "robot": "amr-1", "plan": both }));
    assert_eq!(both, (400, "bad_json".to_owned()));
    assert_eq!(rig.get(&at)["state"], "rolling");
}

#[test]
fn a_roll_out_that_is_begun_twice_by_one_request_is_begun_once() {
    let rig = Rig::new();
    set_rings(&rig);
    let body = json!({ "bundle": publish(&rig, &PATROL), "reason": "new" });
    let key = [("idempotency-key", "one")];
    let first = rig.call_with("POST", "/v1/rollouts", &key, Some(body.clone()));
    let again = rig.call_with("POST", "/v1/rollouts", &key, Some(body));
    assert_eq!((first.0, &first.2), (201, &again.2));
    assert!(again.1.contains("idempotency-replayed"), "{}", again.1);
    assert_eq!(rig.get("/v1/rollouts")["rollouts"].as_array().unwrap().len(), 1);
}
