//! The skill registry over HTTP: whose a version is, what proves its tier and to whom, how it is
//! found. Which robot is given it is in `rollouts`.

use super::rig::{Device, Mqtt, Rig, bytes, csr, plan, up};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::KeyPair;
use nooterra_cloud::Clock;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep as Step};
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde_json::{Value, json};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine's clock, and what a test adds to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead(pub(super) Arc<AtomicI64>);

impl Clock for Ahead {
    fn mono(&self) -> MonoNanos {
        MonoNanos(0)
    }

    fn wall(&self) -> WallMillis {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ahead = self.0.load(Ordering::Relaxed);
        WallMillis(i64::try_from(now.as_millis()).unwrap() + ahead)
    }
}

pub(crate) struct Skill<'a> {
    pub(crate) developer: &'a str,
    pub(crate) id: &'a str,
    pub(crate) tier: &'a str,
    pub(crate) version: &'a str,
}

pub(crate) const PATROL: Skill<'static> =
    Skill { developer: "acme", id: "patrol", tier: "dev", version: "1.0.0" };

pub(crate) fn bundle(skill: &Skill<'_>) -> Vec<u8> {
    bundle_with(skill, None)
}

/// The same, with a bill of materials.
pub(crate) fn bundle_with(skill: &Skill<'_>, sbom: Option<&[u8]>) -> Vec<u8> {
    let component = format!("component of {} {}", skill.id, skill.version);
    let mut manifest = json!({
        "actions": ["patrol"], "capabilities": ["drive"],
        "component_sha256": Digest::of(component.as_bytes()).to_string(),
        "developer": skill.developer, "id": skill.id, "licence": "MIT", "memory_mib": 8,
        "name": "Patrol of halls", "period_ms": 100, "tier": skill.tier, "v": 1,
        "version": skill.version, "wit": nooterra_protocol::skill::WIT,
    });
    if let Some(sbom) = sbom {
        manifest["sbom_sha256"] = Digest::of(sbom).to_string().into();
    }
    let manifest = manifest.to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let members =
        [("manifest.json", manifest.as_bytes()), ("component.wasm", component.as_bytes())];
    for (name, content) in members.into_iter().chain(sbom.map(|sbom| ("sbom.cdx.json", sbom))) {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn signed(keys: &KeyPair, bytes: &[u8]) -> String {
    let signature = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), None, None);
    signature.unwrap().to_string()
}

pub(crate) fn keys() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

pub(super) fn send(
    rig: &Rig,
    bundle: &[u8],
    signature: &str,
    certification: Option<(&str, &str)>,
) -> (u16, Value) {
    let mut body = json!({ "bundle_base64": STANDARD.encode(bundle), "signature": signature });
    if let Some((record, signature)) = certification {
        body["certification"] = json!({ "record": record, "signature": signature });
    }
    rig.call("POST", "/v1/skills", Some(body))
}

/// Publishes a version of tier `dev` by nobody who is known; its digest.
pub(super) fn publish(rig: &Rig, skill: &Skill<'_>) -> String {
    let (status, answer) = send(rig, &bundle(skill), "untrusted comment: test\nRWQ\n", None);
    assert_eq!(status, 201, "{answer}");
    answer["digest"].as_str().unwrap().to_owned()
}

pub(super) fn refused(answer: (u16, Value)) -> (u16, String) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default().to_owned())
}

pub(super) fn why(reason: &str) -> Value {
    json!({ "reason": reason })
}

/// Three rings; the last takes every robot.
pub(super) fn set_rings(rig: &Rig) {
    let ring = |name: &str| json!({ "name": name, "of": { "labels": [name] } });
    let all = json!({ "name": "all", "of": { "everyone": true } });
    rig.post("/v1/rings", json!({ "rings": [ring("canary"), ring("early"), all] }));
}

pub(super) fn start(rig: &Rig, digest: &str, gate: Value) -> Value {
    let body = json!({ "bundle": digest, "gate": gate, "reason": "new" });
    rig.post("/v1/rollouts", body)
}

/// One job, no time.
pub(super) fn quick() -> Value {
    json!({ "jobs": 1, "soak_s": 0 })
}

pub(super) fn path(rollout: &Value) -> String {
    format!("/v1/rollouts/{}", rollout["id"].as_str().unwrap())
}

/// What the robot's ring has of `patrol`.
pub(super) fn has(rig: &Rig, robot: &str) -> Value {
    rig.get(&format!("/v1/robots/{robot}/skills"))["skills"][0]["version"].clone()
}

#[test]
fn a_version_never_changes_and_a_skill_is_its_first_developers() {
    let rig = Rig::new();
    let digest = publish(&rig, &PATROL);
    let junk = "untrusted comment: test\nRWQ\n";
    assert_eq!(send(&rig, &bundle(&PATROL), junk, None).0, 200);
    // The same version of other bytes: a tar archive may go on with empty blocks.
    let mut other = bundle(&PATROL);
    other.extend([0; 512]);
    let taken = send(&rig, &other, junk, None);
    assert!(taken.1["detail"].as_str().unwrap().contains(&digest));
    assert_eq!(refused(taken), (409, "version_taken".to_owned()));
    let theirs = Skill { developer: "other", version: "2.0.0", ..PATROL };
    let theirs = refused(send(&rig, &bundle(&theirs), junk, None));
    assert_eq!(theirs, (409, "skill_of_another".to_owned()));
    let high = Skill { id: "survey", tier: "lab_cert", ..PATROL };
    let high = refused(send(&rig, &bundle(&high), junk, None));
    assert_eq!(high, (422, "unknown_developer".to_owned()));
}

#[test]
fn a_tier_needs_its_developers_key_and_a_certifiers_record_that_lasts() {
    let clock = Ahead::default();
    let ticking = clock.clone();
    let rig = Rig::with(|config| config.clock = Arc::new(ticking));
    let (acme, lab) = (keys(), keys());
    let key = |holder: &str, role: &str, keys: &KeyPair| {
        let key = keys.pk.to_base64();
        json!({ "holder": holder, "key": key, "role": role, "tier": "field_cert" })
    };
    let added = rig.post("/v1/skill-keys", key("acme", "developer", &acme));
    let again = rig.call("POST", "/v1/skill-keys", Some(key("other", "developer", &acme)));
    assert_eq!(refused(again), (409, "key_known".to_owned()));
    rig.post("/v1/skill-keys", key("lab", "certifier", &lab));
    for (name, value, code) in
        [("key", "RWQ", "bad_key"), ("role", "owner", "bad_role"), ("holder", "", "bad_holder")]
    {
        let mut body = key("x", "developer", &keys());
        body[name] = json!(value);
        let answer = refused(rig.call("POST", "/v1/skill-keys", Some(body)));
        assert_eq!(answer, (422, code.to_owned()));
    }

    let skill = Skill { tier: "field_cert", ..PATROL };
    let (bytes, signature) = (bundle(&skill), signed(&acme, &bundle(&skill)));
    let bare = refused(send(&rig, &bytes, &signature, None));
    assert_eq!(bare, (422, "certification_missing".to_owned()));
    let stranger = refused(send(&rig, &bytes, &signed(&keys(), &bytes), None));
    assert_eq!(stranger, (422, "unknown_key".to_owned()));
    let expires_at = clock.wall().0 + 3_600_000;
    let record = json!({
        "v": 1, "bundle": Digest::of(&bytes), "id": "patrol", "version": "1.0.0",
        "tier": "field_cert", "issued_at": 0, "expires_at": expires_at,
    })
    .to_string();
    let forged = refused(send(&rig, &bytes, &signature, Some((&record, &signature))));
    assert_eq!(forged, (422, "bad_certification".to_owned()));
    let vouched = signed(&lab, record.as_bytes());
    let (status, answer) = send(&rig, &bytes, &signature, Some((&record, &vouched)));
    assert_eq!(status, 201, "{answer}");
    let at = format!("/v1/skills/{}", answer["digest"].as_str().unwrap());
    let shown = rig.get(&at);
    assert_eq!((&shown["tier"], &shown["signed_by"]), (&json!("field_cert"), &added["key_id"]));
    assert_eq!(shown["certification"]["record"], record);

    // A ring that takes certified skills only takes it while that lasts.
    let device = rig.enrol("amr-1");
    let all = json!({ "name": "all", "of": { "everyone": true }, "tier": "field_cert" });
    rig.post("/v1/rings", json!({ "rings": [all] }));
    let rollout = start(&rig, answer["digest"].as_str().unwrap(), quick());
    assert_eq!(has(&rig, "amr-1"), "1.0.0");
    clock.0.store(7_200_000, Ordering::Relaxed);
    assert_eq!(rig.get(&at)["tier"], "dev");
    let skills = rig.get("/v1/robots/amr-1/skills");
    assert_eq!(skills["skills"][0]["version"], Value::Null);
    assert!(skills["skills"][0]["why"].as_str().unwrap().contains("counts as dev"), "{skills}");
    let (status, _) = rig.ask("GET", &format!("{at}/bundle"), None, None, Some(&device));
    assert_eq!(status, 409);
    rig.post(&format!("{}/roll_back", path(&rollout)), why("expired"));

    // A closed key publishes nothing more.
    let close = format!("/v1/skill-keys/{}/revoke", added["key_id"].as_str().unwrap());
    assert_eq!(rig.post(&close, why("lost"))["reason"], "lost");
    let next = Skill { version: "1.0.1", ..PATROL };
    let (bytes, signature) = (bundle(&next), signed(&acme, &bundle(&next)));
    let closed = refused(send(&rig, &bytes, &signature, None));
    assert_eq!(closed, (422, "key_revoked".to_owned()));
}

#[test]
fn what_a_tenants_keys_prove_they_prove_to_that_tenant() {
    let clock = Ahead::default();
    let ticking = clock.clone();
    let rig = Rig::with(|config| config.clock = Arc::new(ticking));
    let made = |tenant: &str| {
        let body = json!({ "families": ["robots", "skills"], "principal": tenant,
            "role": "admin", "tenant": tenant });
        rig.post("/v1/tokens", body)["token"].as_str().unwrap().to_owned()
    };
    let (north, south) = (made("north"), made("south"));
    let call = |token: &str, method: &str, path: &str, body: Option<Value>| {
        rig.ask(method, path, body.map(|body| bytes(&body)), Some(token), None)
    };
    let (acme, lab) = (keys(), keys());
    for (holder, role, keys) in [("acme", "developer", &acme), ("lab", "certifier", &lab)] {
        let body = json!({ "holder": holder, "key": keys.pk.to_base64(), "role": role,
            "tier": "field_cert" });
        assert_eq!(call(&north, "POST", "/v1/skill-keys", Some(body)).0, 201);
    }
    let skill = Skill { tier: "field_cert", ..PATROL };
    let bytes = bundle(&skill);
    let record = json!({
        "v": 1, "bundle": Digest::of(&bytes), "id": "patrol", "version": "1.0.0",
        "tier": "field_cert", "issued_at": 0, "expires_at": clock.wall().0 + 3_600_000,
    })
    .to_string();
    let body = json!({ "bundle_base64": STANDARD.encode(&bytes),
        "signature": signed(&acme, &bytes),
        "certification": { "record": record, "signature": signed(&lab, record.as_bytes()) } });
    let publish = |token: &str, body: &Value| call(token, "POST", "/v1/skills", Some(body.clone()));
    // Nobody in the south knows them, though the bundle is there already.
    let (status, answer) = publish(&north, &body);
    assert_eq!(status, 201, "{answer}");
    let at = format!("/v1/skills/{}", answer["digest"].as_str().unwrap());
    let refused = publish(&south, &body);
    assert_eq!((refused.0, &refused.1["code"]), (422, &json!("unknown_developer")));
    assert_eq!(call(&south, "GET", &at, None).0, 404);
    // There the name is free, and so are the skill's id and its versions.
    let other = bundle(&Skill { id: "patrol", ..PATROL });
    let unproven = json!({ "bundle_base64": STANDARD.encode(&other),
        "signature": "untrusted comment: test\nRWQ\n" });
    assert_eq!(publish(&north, &unproven).1["code"], "unknown_key");
    let (status, answer) = publish(&south, &unproven);
    assert_eq!(status, 201, "{answer}");
    // Once the south trusts others, the same version is proved to it by those, or by nobody.
    let own = keys();
    let key = json!({ "holder": "acme", "key": own.pk.to_base64(), "role": "developer",
        "tier": "dev" });
    assert_eq!(call(&south, "POST", "/v1/skill-keys", Some(key)).0, 201);
    assert_eq!(publish(&south, &body).1["code"], "unknown_key");
    let shown = call(&north, "GET", &at, None).1;
    assert_eq!(shown["tier"], "field_cert", "{shown}");
    assert_eq!(call(&south, "GET", "/v1/skills", None).1["skills"][0]["signed_by"], Value::Null);
    // Who sees all tenants sees what was proved to one of them.
    assert_eq!(rig.get(&at)["tier"], "field_cert");
    // And rolls out to the default one's robots what that published.
    set_rings(&rig);
    let foreign = json!({ "bundle": Digest::of(&bytes), "gate": quick(), "reason": "new" });
    let (status, answer) = rig.call("POST", "/v1/rollouts", Some(foreign));
    assert_eq!((status, &answer["code"]), (422, &json!("unknown_skill")), "{answer}");
}

#[test]
fn versions_are_listed_in_pages_and_found_by_what_they_say() {
    let rig = Rig::new();
    let all: Vec<_> = (0..5)
        .map(|n| publish(&rig, &Skill { version: &format!("1.{n}.0"), ..PATROL }))
        .chain([publish(&rig, &Skill { developer: "other", id: "survey", ..PATROL })])
        .collect();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.get(&format!("/v1/skills?limit=2{after}"));
        let skills = page["skills"].as_array().unwrap();
        assert!(skills.len() <= 2);
        found.extend(skills.iter().map(|skill| skill["digest"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    found.sort();
    let mut expected = all.clone();
    expected.sort();
    assert_eq!(found, expected);
    let count =
        |query: &str| rig.get(&format!("/v1/skills?{query}"))["skills"].as_array().unwrap().len();
    rig.post(&format!("/v1/skills/{}/revoke", all[0]), why("bad"));
    for (query, expected) in [
        ("id=patrol", 5),
        ("developer=other", 1),
        ("q=HALLS", 6),
        ("q=surv", 1),
        ("q=none", 0),
        ("tier=dev", 6),
        ("tier=lab_cert", 0),
        ("revoked=true", 1),
        ("revoked=false&id=patrol&limit=3", 3),
    ] {
        assert_eq!(count(query), expected, "{query}");
    }
    for bad in ["after=x", "tier=gold", "limit=x", "colour=red"] {
        let answer = refused(rig.call("GET", &format!("/v1/skills?{bad}"), None));
        assert_eq!(answer, (400, "bad_query".to_owned()));
    }
}

#[test]
fn the_registry_is_the_administrators() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    for (method, path) in [
        ("GET", "/v1/skill-keys"),
        ("POST", "/v1/skill-keys"),
        ("POST", "/v1/skill-keys/x/revoke"),
        ("GET", "/v1/skill-rules/patrol"),
        ("POST", "/v1/skill-rules/patrol"),
        ("GET", "/v1/rings"),
        ("POST", "/v1/rings"),
        ("GET", "/v1/robots/amr-1/skills"),
        ("POST", "/v1/robots/amr-1/labels"),
        ("GET", "/v1/rollouts"),
        ("POST", "/v1/rollouts"),
        ("GET", "/v1/rollouts/x"),
        ("GET", "/v1/rollouts/x/events"),
        ("GET", "/v1/rollouts/x/jobs"),
        ("POST", "/v1/rollouts/x/advance"),
        ("POST", "/v1/rollouts/x/pause"),
        ("POST", "/v1/rollouts/x/resume"),
        ("POST", "/v1/rollouts/x/roll_back"),
        ("POST", "/v1/skills/x/revoke"),
    ] {
        let body = (method == "POST").then(|| bytes(&json!({})));
        let (status, _) = rig.ask(method, path, body, None, Some(&device));
        assert_eq!(status, 401, "{method} {path}");
    }
}

#[test]
fn a_bill_of_materials_is_answered_byte_for_byte_to_whoever_may_see_the_version() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    // With spaces and an order that no writer of JSON would give it.
    let bill = br#"{ "specVersion": "1.6",  "bomFormat": "CycloneDX", "components": [] }"#;
    let minisig = "untrusted comment: test\nRWQ\n";
    let (status, answer) = send(&rig, &bundle_with(&PATROL, Some(bill)), minisig, None);
    assert_eq!(status, 201, "{answer}");
    let path = format!("/v1/skills/{}/sbom", answer["digest"].as_str().unwrap());
    let (status, body) = rig.raw("GET", &path, None, Some(&rig.token), None);
    assert_eq!((status, body), (200, bill.to_vec()));
    let tag = format!("\"{}\"", Digest::of(bill));
    let (_, head, _) = rig.call_with("GET", &path, &[], None);
    assert!(head.contains("content-type: application/vnd.cyclonedx+json\r\n"), "{head}");
    assert!(head.contains(&format!("etag: {tag}\r\n")), "{head}");
    assert_eq!(rig.call_with("GET", &path, &[("If-None-Match", &tag)], None).0, 304);
    let other = format!("\"{}\"", Digest::of(b"another"));
    assert_eq!(rig.call_with("GET", &path, &[("If-None-Match", &other)], None).0, 200);
    // Without one; of nothing; for a robot, which has no use for it; for another tenant.
    let silent = publish(&rig, &Skill { version: "1.1.0", ..PATROL });
    let silent = format!("/v1/skills/{silent}/sbom");
    let no_sbom = (404, "no_sbom".to_owned());
    assert_eq!(refused(rig.call("GET", &silent, None)), no_sbom);
    let nowhere = format!("/v1/skills/{}/sbom", "0".repeat(64));
    let (status, nothing) = rig.call("GET", &nowhere, None);
    assert_eq!((status, &nothing["code"]), (404, &json!("no_such_skill")));
    assert_eq!(rig.raw("GET", &path, None, None, Some(&device)).0, 401);
    let south = json!({ "families": ["skills"], "principal": "south", "role": "admin",
        "tenant": "south" });
    let south = rig.post("/v1/tokens", south)["token"].as_str().unwrap().to_owned();
    for path in [&path, &silent, &nowhere] {
        let (status, body) = rig.ask("GET", path, None, Some(&south), None);
        assert_eq!((status, &body["code"]), (404, &json!("no_such_skill")), "{body}");
    }
}

/// A robot that says what becomes of versions.
pub(super) struct Robot {
    device: Device,
    link: Mqtt,
}

impl Robot {
    pub(super) fn new(rig: &Rig, device: Device) -> Self {
        Self { link: Mqtt::connect(rig, &device), device }
    }

    pub(super) fn says(&mut self, steps: &[(Step, &str)]) {
        let records = steps.iter().map(|(step, bundle)| {
            self.device.record(&Entry::SkillInstall(SkillInstall {
                bundle: Digest::from_hex(bundle),
                reason: "by hand".to_owned(),
                skill: (!bundle.is_empty()).then(|| SkillId::new("patrol").unwrap()),
                step: *step,
                version: None,
            }))
        });
        let records = records.collect();
        let topic = self.device.topic(&up(Class::Critical));
        self.link.publish(&topic, &self.device.batch(records)).unwrap();
        self.link.ack();
    }
}

/// Each robot that has a version or gets it: its id, how it has it, its ring, its jobs.
fn told(page: &Value) -> Vec<String> {
    let robots = page["robots"].as_array().unwrap().iter();
    let told = robots.map(|robot| {
        assert_eq!(robot["reported_at"].is_i64(), robot["state"].is_string(), "{robot}");
        let text = |name: &str| robot[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {}", text("id"), text("state"), text("ring"), robot["jobs"])
    });
    told.collect()
}

#[test]
fn the_robots_that_have_a_version_and_those_that_get_it_are_named_to_their_tenant() {
    let rig = Rig::new();
    let one = publish(&rig, &PATROL);
    let two = publish(&rig, &Skill { version: "1.1.0", ..PATROL });
    let at = |bundle: &str| format!("/v1/skills/{bundle}/robots");
    let named = |bundle: &str| told(&rig.get(&at(bundle)));
    let mut first = Robot::new(&rig, rig.enrol("amr-1"));
    let second = rig.enrol("amr-2");
    rig.enrol("amr-3");
    assert_eq!((named(&one).len(), named(&two).len()), (0, 0));
    // As a robot goes from one version to the next.
    first.says(&[(Step::Installed, &one), (Step::Activated, &one), (Step::Installed, &two)]);
    assert_eq!(named(&one), ["amr-1 active - 0"]);
    assert_eq!(named(&two), ["amr-1 on_trial - 0"]);
    first.says(&[(Step::Activated, &two)]);
    assert_eq!(
        (named(&one), named(&two)),
        (vec!["amr-1 before - 0".to_owned()], vec!["amr-1 active - 0".to_owned()])
    );
    // Those that get it: by a ring that is open, and by a job.
    rig.post("/v1/robots/amr-2/labels", json!({ "labels": ["canary"] }));
    set_rings(&rig);
    start(&rig, &one, quick());
    assert_eq!(named(&one), ["amr-1 before - 0", "amr-2 - canary 0"]);
    let step = json!({ "bundle": two, "id": "patrol", "version": "1.1.0" });
    let job = rig.post("/v1/jobs", json!({ "plan": plan(&step), "robot": "amr-3" }));
    let job = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    for call in ["quote", "book"] {
        rig.post(&format!("{job}/{call}"), json!({}));
    }
    assert_eq!(named(&two), ["amr-1 active - 0"], "nothing was sent");
    rig.post(&format!("{job}/dispatch"), json!({}));
    assert_eq!(named(&two), ["amr-1 active - 0", "amr-3 - - 1"]);
    // In pages, each once.
    let (mut found, mut after) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = rig.get(&format!("{}?limit=1{after}", at(&two)));
        assert!(told(&page).len() <= 1, "{page}");
        found.extend(told(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, named(&two));
    // Of another tenant nothing, though it published the same; and whoever sees all, sees all.
    let south = json!({ "families": ["robots", "skills"], "principal": "south",
        "role": "admin", "tenant": "south" });
    let south = rig.post("/v1/tokens", south)["token"].as_str().unwrap().to_owned();
    let theirs = |path: &str| rig.ask("GET", path, None, Some(&south), None);
    assert_eq!(theirs(&at(&one)).1["code"], "no_such_skill");
    let body = json!({ "bundle_base64": STANDARD.encode(bundle(&PATROL)),
        "signature": "untrusted comment: test\nRWQ\n" });
    let (status, answer) = rig.ask("POST", "/v1/skills", Some(bytes(&body)), Some(&south), None);
    assert_eq!(status, 201, "{answer}");
    assert_eq!(theirs(&at(&one)).1, json!({ "next": null, "robots": [] }));
    let claim = Some(bytes(&json!({ "robot": "south-1" })));
    let (_, claim) = rig.ask("POST", "/v1/claim-codes", claim, Some(&south), None);
    let key = rcgen::KeyPair::generate().unwrap();
    let body = json!({ "code": claim["code"], "csr_pem": csr(&key) });
    let (status, answer) = rig.ask("POST", "/v1/enrolments", Some(bytes(&body)), None, None);
    assert_eq!(status, 201, "{answer}");
    let mut other = Robot::new(&rig, Device::new("south-1", key, &answer));
    other.says(&[(Step::Installed, &one)]);
    assert_eq!(told(&theirs(&at(&one)).1), ["south-1 on_trial - 0"]);
    assert_eq!(named(&one), ["amr-1 before - 0", "amr-2 - canary 0", "south-1 on_trial - 0"]);
    // What is given up, or lost, or revoked, is there no longer.
    first.says(&[(Step::RolledBack, &two), (Step::Activated, &one)]);
    assert_eq!(named(&two), ["amr-3 - - 1"]);
    assert_eq!(named(&one)[0], "amr-1 active - 0");
    rig.post(&format!("/v1/skills/{one}/revoke"), why("bad"));
    assert_eq!(named(&one), ["amr-1 active - 0", "south-1 on_trial - 0"]);
    first.says(&[(Step::Lost, "")]);
    assert_eq!(named(&one), ["south-1 on_trial - 0"]);
    // And nothing of it for a robot, for what is not published, and for a query that is none.
    assert_eq!(rig.ask("GET", &at(&one), None, None, Some(&second)).0, 401);
    let nowhere = refused(rig.call("GET", &at(&"0".repeat(64)), None));
    assert_eq!(nowhere, (404, "no_such_skill".to_owned()));
    let bad = refused(rig.call("GET", &format!("{}?limit=x", at(&one)), None));
    assert_eq!(bad, (400, "bad_query".to_owned()));
}
