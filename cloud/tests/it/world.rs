//! A cloud with something of everything in it, for whoever asks at random: two tenants beside the
//! default one, each with a robot whose journal is here, jobs on their way and at their end, a
//! roll-out, approvals, commands; and the words by which all of that is called.

use crate::course::{BEGUN, report};
use crate::registry::{self, PATROL, Skill};
use crate::rig::{Device, Kind, Mqtt, Rig, RigOn, bytes, csr, plan, skill_bundle};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::event::{EventType as E, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::ids::{JobId, SkillId};
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// What an administrator of a tenant may reach: every family but the whole cloud's figures.
const FAMILIES: [&str; 9] =
    ["audit", "commands", "events", "jobs", "records", "robots", "skills", "tokens", "webhooks"];

/// One tenant, and what it calls its own.
pub(crate) struct Tenant {
    pub(crate) device: Device,
    /// Words for what is its own; [`World::known`] has them too.
    pub(crate) known: Words,
    /// Stands in what is this tenant's, and nobody asks with it: who reads it has read that.
    pub(crate) secret: String,
    pub(crate) token: String,
    /// Of the token: with it revoked, nothing more would be asked.
    pub(crate) token_id: String,
}

/// What is right somewhere, by the name of what it is given as: a property, a parameter, or the
/// family of routes whose ids it is one of.
pub(crate) type Words = BTreeMap<String, Vec<Value>>;

/// All of it.
pub(crate) struct World {
    pub(crate) known: Words,
    pub(crate) tenants: [Tenant; 2],
}

impl World {
    pub(crate) fn new(rig: &RigOn<impl Kind>) -> Self {
        let mut world =
            Self { known: words(), tenants: [settle(rig, "acme"), settle(rig, "globex")] };
        rig.enrol("amr-1");
        let skill = rig.publish_skill();
        let job = rig.dispatch_job("amr-1");
        world.knows(
            "plan",
            [plan(&skill), rig.get(&format!("/v1/jobs/{job}"))["plan_hash"].clone()],
        );
        world.knows("jobs", [json!(job)]);
        world.knows("robots", [json!("amr-1")]);
        world.knows("cid", [rig.get("/v1/robots/amr-1/commands")["commands"][0]["id"].clone()]);
        for at in 0..world.tenants.len() {
            world.hear_of(rig, at);
        }
        world
    }

    fn knows(&mut self, name: &str, words: impl IntoIterator<Item = Value>) {
        self.known.entry(name.to_owned()).or_default().extend(words);
    }

    /// What a tenant has is called by its names, by everybody.
    fn hear_of(&mut self, rig: &RigOn<impl Kind>, at: usize) {
        let Tenant { device, token, .. } = &self.tenants[at];
        let (token, robot) = (token.clone(), device.robot.to_string());
        let list = |path: &str, of: &str, name: &str| -> Vec<Value> {
            let shown = ask(rig, &token, "GET", path, None);
            shown[of].as_array().unwrap().iter().map(|it| it[name].clone()).collect()
        };
        let commands = list(&format!("/v1/robots/{robot}/commands"), "commands", "id");
        let digests = list("/v1/skills", "skills", "digest");
        for (name, words) in [
            ("bundle", digests.clone()),
            ("cid", commands),
            ("csr_pem", vec![json!(csr(&self.tenants[at].device.pair))]),
            ("digest", digests),
            ("jobs", list("/v1/jobs", "jobs", "id")),
            ("key_id", list("/v1/skill-keys", "keys", "key_id")),
            ("plan", list("/v1/jobs", "jobs", "plan_hash")),
            ("robot", vec![json!(robot)]),
            ("robots", vec![json!(robot)]),
            ("rollouts", list("/v1/rollouts", "rollouts", "id")),
            ("webhooks", list("/v1/webhooks", "webhooks", "id")),
        ] {
            self.tenants[at].known.insert(name.to_owned(), words.clone());
            self.knows(name, words);
        }
    }
}

/// As a tenant; what was asked must be done.
fn ask<K: Kind>(
    rig: &RigOn<K>,
    token: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Value {
    let body = body.map(|body| bytes(&body));
    let (status, answer) = rig.ask(method, path, body, Some(token), None);
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

fn settle(rig: &RigOn<impl Kind>, name: &str) -> Tenant {
    let secret = format!("secret-of-{name}");
    let body = json!({ "families": FAMILIES, "principal": secret, "role": "admin", "tenant": name,
        "ttl_s": 86_400 });
    let made = rig.post("/v1/tokens", body);
    let token = made["token"].as_str().unwrap().to_owned();
    let token_id = made["made"]["id"].as_str().unwrap().to_owned();
    let post = |path: &str, body: Value| ask(rig, &token, "POST", path, Some(body));

    let robot = format!("{name}-1");
    let claim = post("/v1/claim-codes", json!({ "robot": robot }));
    let key = KeyPair::generate().unwrap();
    let body = json!({ "code": claim["code"], "csr_pem": csr(&key) });
    let (status, answer) = rig.ask("POST", "/v1/enrolments", Some(bytes(&body)), None, None);
    assert_eq!(status, 201, "{answer}");
    let mut device = Device::new(&robot, key, &answer);
    let mut client = Mqtt::connect(rig, &device);
    post(&format!("/v1/robots/{robot}/labels"), json!({ "labels": [secret] }));

    // What it was made of is this tenant's to know, too.
    let part = json!({ "type": "library", "name": secret, "version": "1.0.0" });
    let bill =
        json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": [part] }).to_string();
    let skill = Skill { developer: name, ..PATROL };
    let bundle = registry::bundle_with(&skill, Some(bill.as_bytes()));
    let signature = "untrusted comment: test\nRWQ\n";
    let body = json!({ "bundle_base64": STANDARD.encode(&bundle), "signature": signature });
    let answer = post("/v1/skills", body);
    let step =
        json!({ "bundle": answer["digest"], "id": answer["id"], "version": answer["version"] });
    let own = json!({ "name": secret, "of": { "labels": [secret] } });
    let all = json!({ "name": "all", "of": { "everyone": true } });
    post("/v1/rings", json!({ "rings": [own, all] }));
    post("/v1/rollouts", json!({ "bundle": answer["digest"], "reason": secret }));
    let key = registry::keys().pk.to_base64();
    post(
        "/v1/skill-keys",
        json!({ "holder": secret, "key": key, "role": "developer", "tier": "dev" }),
    );
    let hook = json!({ "url": format!("https://192.0.2.1/{secret}") });
    post("/v1/webhooks", hook);

    device.begin_journal("journal-2");
    let first =
        vec![device.record(&Entry::Link(Link { reason: None, up: true })), device.checkpoint()];
    send(&mut client, &device, Class::Normal, first);
    let installed = device.record(&Entry::SkillInstall(SkillInstall {
        bundle: Some(Digest::of(&bundle)),
        reason: secret.clone(),
        skill: Some(SkillId::new(skill.id).unwrap()),
        step: SkillInstallStep::Installed,
        version: Some(skill.version.to_owned()),
    }));
    send(&mut client, &device, Class::Critical, vec![installed]);
    let job = |device: &mut Device, client: &mut Mqtt| {
        let made = post("/v1/jobs", json!({ "plan": plan(&step), "robot": robot }));
        let id = JobId::new(made["id"].as_str().unwrap()).unwrap();
        let at = format!("/v1/jobs/{id}");
        post(&format!("{at}/approvals"), json!({ "plan": made["plan_hash"] }));
        for call in ["quote", "book", "dispatch"] {
            post(&format!("{at}/{call}"), json!({}));
        }
        let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
        for kind in BEGUN {
            let fact = device.fact(kind, Some(&id), &under);
            send(client, device, Class::Critical, vec![fact]);
        }
        id
    };
    let over = job(&mut device, &mut client);
    let captured = json!({ "bytes": null, "media_type": "text/plain", "name": secret,
        "sha256": Digest::of(b"5"), "step": "s1" });
    let incident =
        json!({ "escalates": false, "kind": "ROBOT_STUCK", "reason": secret, "severity": 1 });
    let done = json!({ "interventions": 0, "steps": 1, "distance_m": 12.5 });
    let said = [
        (E::EvidenceCaptured, captured),
        (E::IncidentDetected, incident),
        (E::ExecutionCompleted, done),
    ];
    for (kind, what) in said {
        let fact = device.fact(kind, Some(&over), &what);
        send(&mut client, &device, Class::Critical, vec![fact]);
    }
    let last = vec![device.checkpoint()];
    send(&mut client, &device, Class::Normal, last);
    let under_way = job(&mut device, &mut client);
    report(&mut client, &mut device, &under_way, &[E::Heartbeat]);
    post("/v1/jobs", json!({ "plan": plan(&step), "robot": robot }));
    Tenant { device, known: Words::new(), secret, token, token_id }
}

fn send(client: &mut Mqtt, device: &Device, class: Class, records: Vec<Blob>) {
    client.publish(&device.topic(&crate::rig::up(class)), &device.batch(records)).unwrap();
    client.ack();
}

/// What is right without anything of it being there.
fn words() -> Words {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let (bundle, signature) = skill_bundle(b"another");
    let ring = json!({ "name": "all", "of": { "everyone": true } });
    let all = [
        ("ask", vec![json!({ "type": "release_stop" }), json!({ "type": "veto", "reason": "x" })]),
        ("bundle_base64", vec![json!(STANDARD.encode(bundle))]),
        ("certificate", vec![Value::Null, json!("uri:spiffe://example/erp")]),
        ("certification", vec![Value::Null]),
        ("families", vec![json!(["jobs"]), json!(["robots", "tokens"])]),
        ("gate", vec![json!({ "jobs": 1, "soak_s": 0 })]),
        ("holder", vec![json!("acme")]),
        ("id", vec![json!("patrol")]),
        ("key", vec![json!(registry::keys().pk.to_base64())]),
        ("labels", vec![json!(["dock"]), json!([])]),
        ("method", vec![json!("SMART_LOCK_CODE"), json!("ON_SITE_OWNER")]),
        ("past", vec![json!("all")]),
        ("principal", vec![json!("alice")]),
        ("reason", vec![json!("because")]),
        ("rings", vec![json!([ring])]),
        ("robot", vec![json!("amr-1"), json!("new-1")]),
        ("role", vec![json!("developer"), json!("viewer"), json!("admin")]),
        ("signature", vec![json!(signature)]),
        ("skill-rules", vec![json!("patrol")]),
        ("tenant", vec![Value::Null, json!("acme"), json!("globex")]),
        ("tier", vec![json!("dev")]),
        ("ttl_s", vec![json!(600)]),
        ("types", vec![json!(["BOOKED"])]),
        ("until", vec![json!(now + 600_000)]),
        ("url", vec![json!("https://192.0.2.1/")]),
        ("valid_from", vec![json!(now - 1000)]),
        ("valid_to", vec![json!(now + 600_000)]),
    ];
    all.into_iter().map(|(name, words)| (name.to_owned(), words)).collect()
}

#[test]
fn each_tenant_of_the_world_may_read_what_its_skill_was_made_of_and_who_has_it_and_no_other_may() {
    let rig = Rig::new();
    let World { tenants, .. } = World::new(&rig);
    for (at, tenant) in tenants.iter().enumerate() {
        let other = &tenants[1 - at];
        let digest = tenant.known["digest"][0].as_str().unwrap();
        for what in ["sbom", "robots"] {
            let path = format!("/v1/skills/{digest}/{what}");
            let (status, said) = rig.raw("GET", &path, None, Some(&tenant.token), None);
            let said = String::from_utf8(said).unwrap();
            assert!(status == 200 && said.contains(&tenant.secret), "{path}: {status} {said}");
            let (status, said) = rig.raw("GET", &path, None, Some(&other.token), None);
            assert_eq!(status, 404, "{path}: {}", String::from_utf8_lossy(&said));
        }
        // A robot finds no more of another tenant's than its owner does.
        for what in ["", "/bundle", "/signature"] {
            let path = format!("/v1/skills/{digest}{what}");
            let (status, said) = rig.raw("GET", &path, None, None, Some(&tenant.device));
            assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&said));
            let (status, said) = rig.raw("GET", &path, None, None, Some(&other.device));
            assert_eq!(status, 404, "{path}: {}", String::from_utf8_lossy(&said));
        }
    }
}
