//! Who may use the API: tokens, scopes, tenants, limits, and the trail of who did what.

use super::rig::{Kind, Rig, RigOn, bytes, plan, skill_bundle};
use nooterra_cloud::Clock;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const FAMILIES: [&str; 10] = [
    "audit", "commands", "events", "jobs", "metrics", "records", "robots", "skills", "tokens",
    "webhooks",
];

/// Both clocks, moved by a test, milliseconds.
#[derive(Debug)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap() * 1_000_000)
    }
    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::SeqCst))
    }
}

fn manual_clock() -> Arc<ManualClock> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Arc::new(ManualClock(AtomicI64::new(i64::try_from(now.as_millis()).unwrap())))
}

/// A token of `principal`, and its id.
fn token(
    rig: &RigOn<impl Kind>,
    principal: &str,
    role: &str,
    families: &[&str],
    tenant: &str,
) -> (String, String) {
    let body = json!({
        "families": families, "principal": principal, "role": role, "tenant": tenant,
    });
    let answer = rig.post("/v1/tokens", body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&answer["token"]), text(&answer["made"]["id"]))
}

/// A request with that token.
fn with(
    rig: &RigOn<impl Kind>,
    token: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    rig.ask(method, path, body.map(|body| bytes(&body)), Some(token), None)
}

/// A change of a request, and how it is refused.
type Case<'a> = (&'a dyn Fn(&mut Value), u16, &'a str);

/// Every operation of the document: its method, its path, and the scope that it names.
fn operations() -> Vec<(String, String, Option<String>)> {
    let document: Value =
        serde_json::from_str(&nooterra_cloud::api::openapi_json().unwrap()).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let needs = operation["security"].as_array().cloned().unwrap_or_default();
            let scope = needs.iter().find_map(|need| need["token"][0].as_str());
            all.push((method.to_uppercase(), path.clone(), scope.map(str::to_owned)));
        }
    }
    assert!(all.len() >= 39);
    all
}

#[test]
fn a_token_does_what_its_scopes_say_and_a_refusal_names_the_one_that_is_missing() {
    let rig = Rig::new();
    for (method, path, scope) in operations() {
        let Some(scope) = scope else { continue };
        let (family, right) = scope.split_once(':').unwrap();
        let path = path.replace("{id}", "none").replace("{cid}", "none");
        let path = path.replace("{digest}", &"0".repeat(64));
        let others: Vec<_> = FAMILIES.into_iter().filter(|&of| of != family).collect();
        let lower = match right {
            "read" => None,
            "write" => Some("viewer"),
            _ => Some("operator"),
        };
        let weak = [Some(token(&rig, "eve", "admin", &others, "default"))]
            .into_iter()
            .chain([lower.map(|role| token(&rig, "eve", role, &FAMILIES, "default"))]);
        for (weak, _) in weak.flatten() {
            let (status, body) = with(&rig, &weak, &method, &path, None);
            assert_eq!(
                (status, &body["code"], &body["scope"]),
                (403, &json!("scope_missing"), &json!(scope)),
                "{method} {path}: {body}"
            );
        }
    }
    let (alice, _) = token(&rig, "alice", "viewer", &["robots"], "default");
    assert_eq!(with(&rig, &alice, "GET", "/v1/robots", None).0, 200);
    assert_eq!(with(&rig, &alice, "HEAD", "/v1/robots", None).0, 200);
}

#[test]
fn a_token_that_expired_was_revoked_or_was_made_up_opens_nothing() {
    let clock = manual_clock();
    let now = clock.clone();
    let rig = Rig::with(|config| config.clock = now);
    let code = |token: &str| {
        let (status, body) = with(&rig, token, "GET", "/v1/robots", None);
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |code: &str| (401, code.to_owned());
    let (alice, id) = token(&rig, "alice", "admin", &["robots", "tokens"], "default");
    let (bob, _) = token(&rig, "bob", "viewer", &["robots"], "default");
    let made = json!({ "families": ["robots"], "principal": "carol", "role": "viewer" });
    let (status, child) = with(&rig, &alice, "POST", "/v1/tokens", Some(made));
    assert_eq!((status, &child["made"]["parent"]), (201, &json!(id)), "{child}");
    let child = child["token"].as_str().unwrap();
    assert_eq!((code(&alice).0, code(&bob).0, code(child).0), (200, 200, 200));
    for (at, end) in [(alice.len() - 1, "x"), (10, "x"), (0, "x")] {
        let mut forged = alice.clone();
        forged.replace_range(at..=at, end);
        assert_eq!(code(&forged), refused("unauthorized"), "{forged}");
    }
    assert_eq!(code(&id), refused("unauthorized"));
    // One that is revoked takes those with it that it made.
    let answer = rig.post(&format!("/v1/tokens/{id}/revoke"), json!({}));
    assert_eq!((&answer["state"], &answer["revoked_by"]), (&json!("revoked"), &json!("bootstrap")));
    assert_eq!((code(&alice), code(child)), (refused("token_revoked"), refused("token_revoked")));
    assert_eq!(code(&bob).0, 200);
    clock.0.fetch_add(3_600_000, Ordering::SeqCst);
    assert_eq!(code(&bob), refused("token_expired"));
    let states: Vec<_> = rig.get("/v1/tokens")["tokens"].as_array().unwrap().clone();
    let states: Vec<_> = states.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["revoked", "expired", "revoked"]);
    let (status, body) = rig.call("POST", "/v1/tokens/tok_none/revoke", None);
    assert_eq!((status, &body["code"]), (404, &json!("no_such_token")));
}

#[test]
fn what_is_sent_without_an_end_ends_with_the_token() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    for path in ["/v1/events/stream", "/v1/robots/amr-1/live"] {
        let (alice, id) = token(&rig, "alice", "viewer", &["events", "records"], "default");
        let mut stream = super::rig::dial(rig.http, &super::rig::tls_config(&rig.root_pem, None));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             authorization: Bearer {alice}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut begun = [0; 12];
        stream.read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200");
        rig.post(&format!("/v1/tokens/{id}/revoke"), json!({}));
        let job = rig.create_job("amr-1").to_string();
        // It ends by itself, and says nothing of what came after.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains(&job), "{path}");
    }
}

#[test]
fn only_the_hash_of_a_token_is_kept() {
    let rig = Rig::new();
    let (alice, id) = token(&rig, "alice", "viewer", &["robots"], "default");
    let (_, secret) = alice.split_once('.').unwrap();
    let shown = rig.get("/v1/tokens").to_string();
    assert!(shown.contains(&id) && !shown.contains(secret));
    let kept = match rig.database() {
        Some(database) => database.ask("SELECT string_agg(tokens::text, ' ') FROM tokens").into(),
        None => ["cloud.sqlite", "cloud.sqlite-wal"]
            .map(|name| std::fs::read(rig.dir.path().join("cloud").join(name)).unwrap_or_default())
            .concat(),
    };
    let holds = |what: &str| kept.windows(what.len()).any(|bytes| bytes == what.as_bytes());
    assert!(holds(&id) && !holds(secret));
}

#[test]
fn a_token_makes_another_that_goes_beyond_it_in_nothing() {
    let rig = Rig::new();
    let (own, _) = token(&rig, "alice", "admin", &["jobs", "tokens"], "acme");
    let ask = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "families": ["jobs"], "principal": "bob", "role": "viewer" });
        change(&mut body);
        with(&rig, &own, "POST", "/v1/tokens", Some(body))
    };
    let (status, made) = ask(&|_| {});
    assert_eq!((status, &made["made"]["tenant"]), (201, &json!("acme")), "{made}");
    let families = |names: Value| move |body: &mut Value| body["families"] = names.clone();
    let cases: [Case<'_>; 10] = [
        (&families(json!(["jobs", "robots"])), 403, "beyond_own_token"),
        (&|body| body["tenant"] = json!("default"), 403, "beyond_own_token"),
        (&|body| body["tenant"] = json!("*"), 403, "beyond_own_token"),
        (&|body| body["tenant"] = json!("A/B"), 422, "bad_tenant"),
        (&|body| body["ttl_s"] = json!(3700), 403, "beyond_own_token"),
        (&families(json!([])), 422, "bad_families"),
        (&families(json!(["jobs", "jobs"])), 422, "bad_families"),
        (&families(json!(["everything"])), 400, "bad_json"),
        (&|body| body["ttl_s"] = json!(59), 422, "bad_ttl"),
        (&|body| body["role"] = json!("root"), 400, "bad_json"),
    ];
    for (change, status, code) in cases {
        let (found, body) = ask(change);
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{body}");
    }
    let (weaker, _) = token(&rig, "carol", "operator", &["jobs", "tokens"], "acme");
    let body = json!({ "families": ["jobs"], "principal": "bob", "role": "viewer" });
    assert_eq!(with(&rig, &weaker, "POST", "/v1/tokens", Some(body)).0, 403);
}

#[test]
fn whoever_acts_with_a_token_acts_in_its_name() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let skill = rig.publish_skill();
    let (alice, _) = token(&rig, "alice", "operator", &["commands", "jobs"], "default");
    let job = |requester: Value| {
        let body = json!({ "robot": "amr-1", "plan": plan(&skill), "requester": requester });
        with(&rig, &alice, "POST", "/v1/jobs", Some(body))
    };
    assert_eq!(job(Value::Null).1["requester"], "alice");
    assert_eq!(job(json!("alice")).0, 201);
    assert_eq!(job(json!("bob")).1["code"], "not_your_name");
    let stop = |operator: Value| {
        let body = json!({ "ask": { "type": "release_stop" }, "operator": operator });
        with(&rig, &alice, "POST", "/v1/robots/amr-1/commands", Some(body))
    };
    assert_eq!(stop(Value::Null).0, 202);
    assert_eq!(stop(json!("bob")).1["code"], "not_your_name");
}

#[test]
fn every_changing_call_is_in_the_trail_with_who_called_and_what_came_of_it() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let (alice, id) = token(&rig, "alice", "operator", &["robots", "audit"], "default");
    let reason = json!({ "reason": "a look at its wheels" });
    let call = |path: &str, body: &Value| with(&rig, &alice, "POST", path, Some(body.clone())).0;
    assert_eq!(call("/v1/robots/amr-1/maintenance", &reason), 200);
    assert_eq!(call("/v1/robots/amr-1/revoke", &reason), 403);
    assert_eq!(call("/v1/robots/amr-1/restore", &json!({})), 400);
    assert_eq!(call("/v1/robots/amr-9/restore", &reason), 404);
    // What nobody who is known did, and what changes nothing, is not in it.
    rig.ask("POST", "/v1/jobs", None, Some("made up"), None);
    rig.ask("POST", "/v1/enrolments", Some(b"{}".to_vec()), None, None);
    rig.get("/v1/robots");
    let body = bytes(&json!({ "csr_pem": super::rig::csr(&device.pair) }));
    let path = "/v1/robots/amr-1/certificate";
    assert_eq!(rig.ask("POST", path, Some(body), None, Some(&device)).0, 201);
    let said = |query: &str| -> Vec<(String, String, String, Value)> {
        let page = rig.get(&format!("/v1/audit{query}"));
        let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
        let entries = page["entries"].as_array().unwrap().iter();
        entries
            .map(|it| {
                assert!(text(it, "request_id").starts_with("req_"), "{it}");
                let what = format!("{} {}", text(it, "method"), text(it, "path"));
                (text(it, "principal"), what, text(it, "outcome"), it["code"].clone())
            })
            .collect()
    };
    let entry = |who: &str, path: &str, outcome: &str, code: Value| {
        (who.to_owned(), format!("POST {path}"), outcome.to_owned(), code)
    };
    let all = said("");
    let expected = [
        entry("bootstrap", "/v1/claim-codes", "done", Value::Null),
        entry("claim-code", "/v1/enrolments", "done", Value::Null),
        entry("bootstrap", "/v1/tokens", "done", Value::Null),
        entry("alice", "/v1/robots/amr-1/maintenance", "done", Value::Null),
        entry("alice", "/v1/robots/amr-1/revoke", "refused", json!("scope_missing")),
        entry("alice", "/v1/robots/amr-1/restore", "refused", json!("bad_json")),
        entry("alice", "/v1/robots/amr-9/restore", "refused", json!("no_such_robot")),
        entry("robot:amr-1", "/v1/robots/amr-1/certificate", "done", Value::Null),
    ];
    assert_eq!(all, expected);
    assert_eq!(said("?principal=alice&outcome=refused"), expected[4..7]);
    let first = rig.get("/v1/audit?limit=2");
    assert_eq!(said(&format!("?limit=3&after={}", first["next"])), expected[2..5]);
    // A caller of one tenant sees what was held to it, and which token it was.
    let (_, own) = with(&rig, &alice, "GET", "/v1/audit", None);
    let own = own["entries"].as_array().unwrap();
    assert_eq!(
        (own.len(), &own[0]["token"], &own[0]["tenant"]),
        (5, &json!(id), &json!("default"))
    );
    let (_, head, _) = rig.call_with(
        "POST",
        "/v1/robots/amr-1/restore",
        &[("X-Request-Id", "mine-8")],
        Some(reason.clone()),
    );
    assert!(head.contains("x-request-id: mine-8"));
    assert_eq!(rig.get("/v1/audit?request_id=mine-8")["entries"][0]["principal"], "bootstrap");
}

#[test]
fn a_caller_beyond_its_rate_is_told_when_to_come_again_and_others_are_served() {
    let clock = manual_clock();
    let now = clock.clone();
    let rig = Rig::with(|config| {
        config.api_per_s = 2;
        config.clock = now;
    });
    let (alice, _) = token(&rig, "alice", "viewer", &["robots"], "default");
    let (bob, _) = token(&rig, "bob", "viewer", &["robots"], "default");
    let ask = |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        rig.exchange("GET", "/v1/robots", &headers, None, None)
    };
    for left in (0..4).rev() {
        let (status, head, _) = ask(&alice);
        assert_eq!(status, 200);
        assert!(head.contains(&format!("ratelimit: \"caller\";r={left};t=")), "{head}");
        assert!(head.contains("ratelimit-policy: \"caller\";q=4;w=2\r\n"), "{head}");
    }
    let (status, head, body) = ask(&alice);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["code"]), (429, &json!("rate_limited")));
    assert!(head.contains("retry-after: 1\r\n") && head.contains("r=0;t=2"), "{head}");
    assert_eq!(ask(&bob).0, 200);
    assert_eq!(rig.call("GET", "/v1/robots", None).0, 200);
    clock.0.fetch_add(1000, Ordering::SeqCst);
    assert_eq!((ask(&alice).0, ask(&alice).0, ask(&alice).0), (200, 200, 429));
}

/// What is of the whole cloud, and closed to a token of one tenant.
const WHOLE: [&str; 1] = ["/metrics"];

#[test]
fn across_tenants_every_route_answers_as_if_the_other_was_not_there() {
    let rig = Rig::new();
    // What the default tenant has: a robot, a skill, a job with a command, facts.
    rig.enrol("amr-1");
    let skill = rig.publish_skill();
    let job = rig.dispatch_job("amr-1").to_string();
    rig.post("/v1/robots/amr-1/maintenance", json!({ "reason": "wheels" }));
    let digest = skill["bundle"].as_str().unwrap();
    let command = rig.get("/v1/robots/amr-1/commands")["commands"][0]["id"].clone();
    let command = command.as_str().unwrap();
    let (alice, default_token) = token(&rig, "alice", "admin", &FAMILIES, "default");
    let hook = json!({ "url": "https://erp.example/" });
    let (status, webhook) = with(&rig, &alice, "POST", "/v1/webhooks", Some(hook));
    assert_eq!(status, 201, "{webhook}");
    let webhook = webhook["made"]["id"].as_str().unwrap().to_owned();
    // Its rings, a roll-out and a rule.
    let rings = json!({ "rings": [{ "name": "all", "of": { "everyone": true } }] });
    rig.post("/v1/rings", rings.clone());
    let rolled = json!({ "bundle": digest, "reason": "new" });
    let (status, rollout) = rig.call("POST", "/v1/rollouts", Some(rolled.clone()));
    assert_eq!(status, 201, "{rollout}");
    let rollout = rollout["id"].as_str().unwrap().to_owned();
    let rule = format!("/v1/skill-rules/{}", skill["id"].as_str().unwrap());
    rig.post(&rule, json!({ "robots": ["amr-1"] }));
    // A key whose signatures count for it.
    let key = minisign::KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    let key = json!({ "holder": "zoe", "key": key, "role": "developer", "tier": "dev" });
    let key_id = rig.post("/v1/skill-keys", key.clone())["key_id"].as_str().unwrap().to_owned();
    let (acme, acme_token) = token(&rig, "eve", "admin", &FAMILIES, "acme");
    let call =
        |method: &str, path: &str, body: Option<Value>| with(&rig, &acme, method, path, body);
    for (method, path, scope) in operations() {
        if scope.is_none() {
            continue;
        }
        let of_job = path.starts_with("/v1/jobs/");
        let of_token = path.starts_with("/v1/tokens/");
        let of_webhook = path.starts_with("/v1/webhooks/");
        let of_rollout = path.starts_with("/v1/rollouts/");
        let fill = |robot: &str, job: &str, token: &str, hook: &str, digest: &str| {
            let id = match (of_job, of_token, of_webhook, of_rollout) {
                (true, ..) => job,
                (_, true, ..) => token,
                (_, _, true, _) => hook,
                (_, _, _, true) if robot == "amr-1" => &rollout,
                (_, _, _, true) => "rollout_9",
                _ => robot,
            };
            let key = if robot == "amr-1" { key_id.as_str() } else { "0000000000000009" };
            let path = path.replace("{id}", id).replace("{cid}", command);
            path.replace("{digest}", digest).replace("{key_id}", key)
        };
        let theirs = fill("amr-1", &job, &default_token, &webhook, digest);
        if WHOLE.iter().any(|of| path.starts_with(of)) || path == "/v1/skills/{digest}/revoke" {
            assert_eq!(call(&method, &theirs, None).1["code"], "all_tenants_only", "{path}");
            continue;
        }
        // A rule is a tenant's own, whichever skill it names.
        if theirs == path || path.starts_with("/v1/skill-rules/") {
            continue;
        }
        // Said of what is another's is what is said of what nobody has.
        let nobodys = fill("amr-9", "job_9", "tok_9", "wh_9", &"0".repeat(64));
        // What each route takes, so that nothing but the name is wrong with it.
        let body = match path.rsplit('/').next() {
            _ if method == "GET" => None,
            Some("book" | "cancel" | "dispatch" | "end" | "quote" | "redeliver" | "revoke")
                if !path.starts_with("/v1/robots") && !path.starts_with("/v1/skill-keys") =>
            {
                None
            }
            Some("commands") => Some(json!({ "ask": { "type": "release_stop" } })),
            _ => Some(json!({ "reason": "x" })),
        };
        let (status, said) = call(&method, &theirs, body.clone());
        assert_eq!(status, 404, "{method} {theirs}: {said}");
        assert_eq!(call(&method, &nobodys, body), (404, said), "{method} {path}");
    }
    // Lists hold nothing of it, however they are asked.
    for (path, list) in [
        ("/v1/robots", "robots"),
        ("/v1/webhooks", "webhooks"),
        ("/v1/jobs", "jobs"),
        ("/v1/skills", "skills"),
        ("/v1/events", "events"),
        (&*format!("/v1/events?stream=job.{job}"), "events"),
        ("/v1/events?stream=robot.amr-1", "events"),
        (&*format!("/v1/events?stream=rollout.{rollout}"), "events"),
        ("/v1/rings", "rings"),
        ("/v1/rollouts", "rollouts"),
        ("/v1/skill-keys", "keys"),
    ] {
        let (status, body) = call("GET", path, None);
        assert_eq!((status, &body[list]), (200, &json!([])), "{path}");
        assert_ne!(rig.get(path)[list], json!([]), "{path}");
    }
    // The same key is another row here, and closed for itself.
    assert_eq!(rig.get("/v1/skill-keys")["keys"][0]["reason"], Value::Null);
    let (status, own) = call("POST", "/v1/skill-keys", Some(key.clone()));
    assert_eq!((status, own["key_id"].as_str()), (201, Some(key_id.as_str())));
    let close = format!("/v1/skill-keys/{key_id}/revoke");
    assert_eq!(call("POST", &close, Some(json!({ "reason": "lost" }))).0, 200);
    assert_eq!(rig.get("/v1/skill-keys")["keys"][0]["reason"], Value::Null);
    assert_eq!(call("GET", &rule, None).1["rule"]["everyone"], true);
    assert_eq!(rig.get(&rule)["rule"]["everyone"], false);
    let theirs = call("POST", "/v1/rollouts", Some(rolled.clone())).1;
    assert_eq!(theirs["code"], "unknown_skill", "{theirs}");
    let (_, tokens) = call("GET", "/v1/tokens", None);
    let ids: Vec<_> = tokens["tokens"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(acme_token)]);
    let (_, audit) = call("GET", "/v1/audit", None);
    for entry in audit["entries"].as_array().unwrap() {
        assert_eq!((&entry["principal"], &entry["tenant"]), (&json!("eve"), &json!("acme")));
    }
    // Named in a body it is not there either; only that a robot's id is taken can be seen.
    let make = |robot: &str, skill: &Value| {
        call("POST", "/v1/jobs", Some(json!({ "robot": robot, "plan": plan(skill) })))
    };
    assert_eq!(make("amr-1", &skill).1["code"], "unknown_robot");
    let claimed = call("POST", "/v1/claim-codes", Some(json!({ "robot": "amr-1" })));
    assert_eq!((claimed.0, &claimed.1["code"]), (409, &json!("robot_id_taken")));
    // And what acme makes is acme's: its own robot, a copy of the same bundle, a job.
    let (_, claim) = call("POST", "/v1/claim-codes", Some(json!({ "robot": "acme-1" })));
    let key = rcgen::KeyPair::generate().unwrap();
    let body = bytes(&json!({ "code": claim["code"], "csr_pem": super::rig::csr(&key) }));
    assert_eq!(rig.ask("POST", "/v1/enrolments", Some(body), None, None).0, 201);
    assert_eq!(make("acme-1", &skill).1["code"], "unknown_skill");
    let (bundle, signature) = skill_bundle(b"component");
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    let body = json!({ "bundle_base64": bundle, "signature": signature });
    assert_eq!(call("POST", "/v1/skills", Some(body.clone())).0, 201);
    assert_eq!(call("POST", "/v1/skills", Some(body)).0, 200);
    let (status, own) = make("acme-1", &skill);
    assert_eq!(status, 201, "{own}");
    let id = own["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}/quote");
    assert_eq!(with(&rig, &alice, "POST", &path, None).0, 404);
    assert_eq!(call("POST", &path, None).0, 200);
    let (_, jobs) = call("GET", "/v1/jobs", None);
    let (_, events) = call("GET", "/v1/events", None);
    let (jobs, events) = (&jobs["jobs"], events["events"].as_array().unwrap().clone());
    assert_eq!((jobs.as_array().unwrap().len(), &jobs[0]["id"]), (1, &own["id"]));
    assert!(events.iter().all(|event| event["stream"] == format!("job.{id}")));
    assert_eq!(events.len(), 2);
    assert_eq!(with(&rig, &alice, "GET", "/v1/robots/acme-1", None).0, 404);
    // Its rings and roll-outs are its own, though names and bundle are the same.
    let skills = |robot: &str| rig.get(&format!("/v1/robots/{robot}/skills"));
    assert_eq!(
        (&skills("amr-1")["ring"], &skills("acme-1")["ring"]),
        (&json!("all"), &json!(null))
    );
    assert_eq!(call("POST", "/v1/rings", Some(rings)).0, 200);
    let (status, own) = call("POST", "/v1/rollouts", Some(rolled));
    assert_eq!(status, 201, "{own}");
    let own = format!("/v1/rollouts/{}", own["id"].as_str().unwrap());
    assert_eq!(with(&rig, &alice, "GET", &own, None).0, 404);
    assert_eq!((call("GET", &own, None).0, rig.call("GET", &own, None).0), (200, 200));
    assert_eq!(skills("acme-1")["skills"][0]["bundle"], json!(digest));
    // Another's command is not reached through one's own robot.
    let path = format!("/v1/robots/acme-1/commands/{command}");
    assert_eq!(call("GET", &path, None).1["code"], "no_such_command");
    // The administrator sees all of it, and so does a token of all tenants.
    assert_eq!(rig.get("/v1/robots")["robots"].as_array().unwrap().len(), 2);
    let (all, _) = token(&rig, "carol", "viewer", &["metrics", "robots"], "*");
    let (_, robots) = with(&rig, &all, "GET", "/v1/robots", None);
    assert_eq!(robots["robots"].as_array().unwrap().len(), 2);
    assert_eq!(with(&rig, &all, "GET", "/metrics", None).0, 200);
}

#[test]
fn an_idempotency_key_of_one_principal_says_nothing_to_another() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let skill = rig.publish_skill();
    let (alice, _) = token(&rig, "alice", "operator", &["jobs"], "default");
    let (bob, _) = token(&rig, "bob", "operator", &["jobs"], "default");
    let body = Some(bytes(&json!({ "robot": "amr-1", "plan": plan(&skill) })));
    let make = |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\nidempotency-key: k\r\n");
        let (status, _, answer) = rig.exchange("POST", "/v1/jobs", &headers, body.clone(), None);
        assert_eq!(status, 201);
        serde_json::from_slice::<Value>(&answer).unwrap()["id"].clone()
    };
    let first = make(&alice);
    assert_eq!(make(&alice), first);
    assert_ne!(make(&bob), first);
}

#[test]
fn of_two_tenants_that_claim_one_id_the_first_to_enrol_has_it() {
    let rig = Rig::new();
    let (acme, _) = token(&rig, "eve", "admin", &["robots"], "acme");
    let claim = |token: &str| {
        let (status, answer) =
            with(&rig, token, "POST", "/v1/claim-codes", Some(json!({ "robot": "amr-1" })));
        assert_eq!(status, 201, "{answer}");
        answer["code"].clone()
    };
    let (theirs, ours) = (claim(&acme), claim(&rig.token));
    let enrol = |code: &Value| {
        let key = rcgen::KeyPair::generate().unwrap();
        let body = bytes(&json!({ "code": code, "csr_pem": super::rig::csr(&key) }));
        rig.ask("POST", "/v1/enrolments", Some(body), None, None)
    };
    assert_eq!(enrol(&theirs).0, 201);
    assert_eq!(enrol(&ours).1["code"], "robot_id_taken");
    assert_eq!(with(&rig, &acme, "GET", "/v1/robots/amr-1", None).0, 200);
    // The bootstrap token claims it again for whose it is.
    assert_eq!(enrol(&claim(&rig.token)).0, 201);
    assert_eq!(with(&rig, &acme, "GET", "/v1/robots/amr-1", None).0, 200);
}

#[test]
fn tokens_are_made_listed_and_revoked_and_the_trail_is_read_on_the_command_line() {
    let rig = Rig::new();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
            .args(args)
            .args(["--url", &format!("https://{}", rig.http), "--data"])
            .arg(rig.dir.path().join("cloud"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let words = ["token", "create", "--principal", "alice", "--role", "operator"];
    let (code, made) = run(&[&words[..], &["--families", "jobs,robots"]].concat());
    assert_eq!(code, Some(0));
    assert_eq!(with(&rig, made.trim(), "GET", "/v1/jobs", None).0, 200);
    let (_, listed) = run(&["token", "list"]);
    let id = made.split_once('.').unwrap().0;
    assert!(listed.contains(id) && listed.contains("jobs,robots") && listed.contains("valid"));
    assert!(!listed.contains(made.trim()));
    assert!(run(&["token", "revoke", id]).1.contains("revoked"));
    assert_eq!(with(&rig, made.trim(), "GET", "/v1/jobs", None).0, 401);
    assert_eq!(run(&["token", "revoke", "tok_none"]).0, Some(7));
    let (_, trail) = run(&["audit"]);
    assert_eq!(trail.lines().count(), 3, "{trail}");
    assert!(trail.contains("refused no_such_token  POST /v1/tokens/tok_none/revoke"), "{trail}");
    let (_, json) = run(&["audit", "--json", "--outcome", "refused"]);
    let entry: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(entry["principal"], "bootstrap");
}

#[test]
fn a_tenant_follows_so_many_streams_and_then_waits_until_one_ends() {
    let rig = Rig::with(|config| config.streams_of_tenant = 2);
    let token = |tenant: &str| {
        let body = json!({ "families": ["events"], "principal": "eve", "role": "viewer",
            "tenant": tenant });
        rig.post("/v1/tokens", body)["token"].as_str().unwrap().to_owned()
    };
    // Another token of the tenant is no way around it.
    let (one, two, other) = (token("acme"), token("acme"), token("globex"));
    let follow = |token: &str| {
        let mut tls = super::rig::dial(rig.http, &super::rig::tls_config(&rig.root_pem, None));
        let head = format!(
            "GET /v1/events/stream HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        tls.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        tls.read_exact(&mut answer).unwrap();
        let status: u16 = String::from_utf8_lossy(&answer[9..]).parse().unwrap();
        (status, tls)
    };
    let first = follow(&one);
    let second = follow(&two);
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!((follow(&one).0, follow(&two).0), (429, 429));
    assert_eq!((follow(&other).0, follow(&rig.token).0), (200, 200));
    drop(first);
    let start = std::time::Instant::now();
    while follow(&one).0 != 200 {
        assert!(start.elapsed() < super::rig::PATIENCE, "the stream that ended still counts");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
