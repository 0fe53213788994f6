//! Trust documents and revocation lists: kept as they came, handed out in order.

use super::rig::Rig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const SIGNED: &str = "untrusted comment: test\nRWQ\n";

fn document(version: u32) -> Value {
    json!({
        "type": "nooterra/skill-trust", "v": 1, "fleet": "hall", "version": version,
        "issued": "2026-11-01T00:00:00Z", "expires": "2027-11-01T00:00:00Z",
        "keys": [{ "name": "root", "key": "RW" }],
        "roots": { "keys": ["root"], "threshold": 1 }, "tiers": {},
    })
}

fn list(version: u32) -> Value {
    json!({
        "type": "nooterra/skill-revocations", "v": 1, "fleet": "hall", "version": version,
        "issued": "2026-11-20T00:00:00Z", "expires": "2026-12-20T00:00:00Z",
    })
}

fn body(file: &Value) -> Value {
    json!({ "bytes": STANDARD.encode(file.to_string()), "signatures": SIGNED })
}

#[test]
fn what_was_published_is_handed_out_from_where_a_robot_stands() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    for version in [2, 1, 3, 4, 5, 6] {
        let (status, said) = rig.call("POST", "/v1/skill-trust", Some(body(&document(version))));
        assert_eq!((status, &said["version"]), (201, &version.into()), "{said}");
    }
    for version in [7, 3] {
        assert_eq!(rig.call("POST", "/v1/skill-trust", Some(body(&list(version)))).0, 201);
    }
    assert_eq!(rig.call("POST", "/v1/skill-trust", Some(body(&document(6)))).0, 200);
    let news = |after: u32| {
        let path = format!("/v1/skill-trust?after={after}");
        let (status, said) = rig.ask("GET", &path, None, None, Some(&device));
        assert_eq!(status, 200, "{said}");
        said
    };
    let first = news(1);
    let versions = first["documents"].as_array().unwrap().iter().map(|document| {
        let bytes = STANDARD.decode(document["bytes"].as_str().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["version"].clone()
    });
    assert_eq!(versions.collect::<Vec<_>>(), [2, 3, 4, 5], "so many at once");
    assert_eq!(news(5)["documents"].as_array().unwrap().len(), 1);
    assert_eq!(news(6)["documents"], json!([]));
    let bytes = STANDARD.decode(first["list"]["bytes"].as_str().unwrap()).unwrap();
    let last: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(last, list(3), "the one that was published last");
    assert_eq!(rig.ask("GET", "/v1/skill-trust", None, None, None).0, 401);
    let (status, _) = rig.ask(
        "POST",
        "/v1/skill-trust",
        Some(crate::rig::bytes(&body(&list(8)))),
        None,
        Some(&device),
    );
    assert!(matches!(status, 401 | 403), "a robot publishes nothing: {status}");
}

#[test]
fn what_makes_no_sense_is_not_published() {
    let rig = Rig::new();
    assert_eq!(rig.call("POST", "/v1/skill-trust", Some(body(&document(1)))).0, 201);
    let mut other = document(1);
    other["fleet"] = "yard".into();
    let (status, said) = rig.call("POST", "/v1/skill-trust", Some(body(&other)));
    assert_eq!((status, &said["code"]), (409, &"version_taken".into()), "{said}");
    let mut endless = list(1);
    endless["expires"] = "2036-12-20T00:00:00Z".into();
    for (wrong, code) in [
        (body(&json!({ "type": "other" })), "bad_trust"),
        (body(&endless), "bad_trust"),
        (json!({ "bytes": STANDARD.encode("{"), "signatures": SIGNED }), "bad_trust"),
        (json!({ "bytes": STANDARD.encode("{}"), "signatures": "x" }), "bad_signature"),
    ] {
        let (status, said) = rig.call("POST", "/v1/skill-trust", Some(wrong));
        assert_eq!((status, &said["code"]), (422, &code.into()), "{said}");
    }
}

#[test]
fn a_robot_is_handed_what_its_tenant_published_and_nothing_of_another() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let acme =
        json!({ "families": ["skills"], "principal": "eve", "role": "admin", "tenant": "acme" });
    let acme = rig.post("/v1/tokens", acme)["token"].as_str().unwrap().to_owned();
    let publish = |token: &str, file: &Value| {
        let body = crate::rig::bytes(&body(file));
        rig.ask("POST", "/v1/skill-trust", Some(body), Some(token), None).0
    };
    // The same version, and another document; and the same list.
    let mut theirs = document(1);
    theirs["fleet"] = "yard".into();
    assert_eq!((publish(&rig.token, &document(1)), publish(&acme, &theirs)), (201, 201));
    assert_eq!((publish(&acme, &list(3)), publish(&acme, &list(3))), (201, 200));
    let told = |token: Option<&str>| {
        let robot = token.is_none().then_some(&device);
        rig.ask("GET", "/v1/skill-trust", None, token, robot).1
    };
    let first = |news: &Value| news["documents"][0]["bytes"].clone();
    let (own, foreign) = (told(None), told(Some(&acme)));
    assert_eq!(first(&own), json!(STANDARD.encode(document(1).to_string())));
    assert_eq!(first(&foreign), json!(STANDARD.encode(theirs.to_string())));
    assert_eq!(own["list"], Value::Null);
    assert_ne!(foreign["list"], Value::Null);
}
