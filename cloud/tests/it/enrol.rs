//! How a robot comes to its certificate, and how it does not.

use super::rig::{Device, Mqtt, Rig, bytes, csr};
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use nooterra_cloud::Clock;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

fn enrol(rig: &Rig, code: &Value, key: &KeyPair) -> (u16, Value) {
    let body = bytes(&json!({ "code": code, "csr_pem": csr(key) }));
    rig.ask("POST", "/v1/enrolments", Some(body), None, None)
}

/// A wall clock that a test moves.
#[derive(Debug)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(1)
    }
    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::SeqCst))
    }
}

fn manual_clock() -> Arc<ManualClock> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Arc::new(ManualClock(AtomicI64::new(i64::try_from(now.as_millis()).unwrap())))
}

#[test]
fn a_claim_code_becomes_a_certificate_for_the_robot_that_it_names() {
    let rig = Rig::new();
    let claim = rig.post("/v1/claim-codes", json!({ "robot": "amr-1" }));
    let code = claim["code"].as_str().unwrap();
    let root = CertificateDer::from_pem_slice(rig.root_pem.as_bytes()).unwrap();
    assert!(code.starts_with("noot1.") && code.ends_with(&Digest::of(&root).to_string()));

    let key = KeyPair::generate().unwrap();
    let (status, answer) = enrol(&rig, &claim["code"], &key);
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["robot"], "amr-1");
    assert_eq!(answer["mqtt"], rig.mqtt.to_string());
    assert_eq!(answer["ca_pem"], rig.root_pem);
    let lives = answer["expires_at"].as_i64().unwrap() - claim["expires_at"].as_i64().unwrap();
    assert!(lives > 6 * 24 * 3_600_000, "{lives}");

    let device = Device::new("amr-1", key, &answer);
    let robot = rig.get("/v1/robots/amr-1");
    use nooterra_protocol::keys::Signer as _;
    assert_eq!(robot["device_key"], device.key.verifying_key().to_string());
    assert_eq!(robot["online"], false);
    Mqtt::connect(&rig, &device);
}

#[test]
fn the_chain_that_the_server_sends_ends_with_the_root_of_the_claim_code() {
    let rig = Rig::new();
    let mut tls = crate::rig::dial(rig.http, &crate::rig::tls_config(&rig.root_pem, None));
    std::io::Write::write_all(&mut tls, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    std::io::Read::read_exact(&mut tls, &mut [0; 8]).unwrap();
    let chain = tls.conn.peer_certificates().unwrap();
    let root = CertificateDer::from_pem_slice(rig.root_pem.as_bytes()).unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], root);
}

#[test]
fn a_claim_code_is_good_once() {
    let rig = Rig::new();
    let claim = rig.post("/v1/claim-codes", json!({ "robot": "amr-1" }));
    let key = KeyPair::generate().unwrap();
    // A damaged request does not use it up.
    let damaged = bytes(&json!({ "code": claim["code"], "csr_pem": "nonsense" }));
    let (status, answer) = rig.ask("POST", "/v1/enrolments", Some(damaged), None, None);
    assert_eq!((status, &answer["code"]), (400, &json!("bad_csr")));
    assert_eq!(enrol(&rig, &claim["code"], &key).0, 201);
    let (status, answer) = enrol(&rig, &claim["code"], &key);
    assert_eq!((status, &answer["code"]), (410, &json!("claim_used")));
}

#[test]
fn a_claim_code_that_is_old_invented_or_of_another_cloud_is_refused() {
    let clock = manual_clock();
    let rig = Rig::with(|config| config.clock = clock.clone());
    let key = KeyPair::generate().unwrap();
    let claim = rig.post("/v1/claim-codes", json!({ "robot": "amr-1", "ttl_s": 60 }));
    let code = claim["code"].as_str().unwrap();
    let root = code.rsplit('.').next().unwrap();
    for (text, status, why) in [
        (format!("noot1.s_{}.{root}", "0".repeat(32)), 403, "claim_unknown"),
        (code.replace(root, &"0".repeat(64)), 400, "other_cloud"),
        (code.replace("noot1", "noot2"), 400, "bad_claim_code"),
        (String::new(), 400, "bad_claim_code"),
    ] {
        let (found, answer) = enrol(&rig, &json!(text), &key);
        assert_eq!((found, &answer["code"]), (status, &json!(why)), "{text}");
    }
    clock.0.fetch_add(60_000, Ordering::SeqCst);
    let (status, answer) = enrol(&rig, &claim["code"], &key);
    assert_eq!((status, &answer["code"]), (410, &json!("claim_expired")));
    assert_eq!(rig.get("/v1/robots")["robots"], json!([]));
}

#[test]
fn a_request_over_a_key_that_is_not_p256_is_refused() {
    let rig = Rig::new();
    let claim = rig.post("/v1/claim-codes", json!({ "robot": "amr-1" }));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let (status, answer) = enrol(&rig, &claim["code"], &key);
    assert_eq!((status, &answer["code"]), (400, &json!("bad_csr")));
}

#[test]
fn a_robot_renews_its_own_certificate_over_its_own_key_and_nothing_else() {
    let rig = Rig::new();
    let (one, two) = (rig.enrol("amr-1"), rig.enrol("amr-2"));
    let renew = |path: &str, key: &KeyPair, caller: Option<&Device>| {
        let body = bytes(&json!({ "csr_pem": csr(key) }));
        rig.ask("POST", path, Some(body), None, caller)
    };
    let path = "/v1/robots/amr-1/certificate";
    let (status, answer) = renew(path, &one.pair, Some(&one));
    assert_eq!(status, 201, "{answer}");
    assert_ne!(answer["certificate_pem"], json!(one.certificate_pem));
    let pair = KeyPair::from_pem(&one.pair.serialize_pem()).unwrap();
    Mqtt::connect(&rig, &Device::new("amr-1", pair, &answer));

    let (status, answer) = renew(path, &two.pair, Some(&two));
    assert_eq!((status, &answer["code"]), (403, &json!("other_robot")));
    let (status, answer) = renew(path, &two.pair, Some(&one));
    assert_eq!((status, &answer["code"]), (422, &json!("other_key")));
    assert_eq!(renew(path, &one.pair, None).0, 401);
}

#[test]
fn enrolling_again_with_another_key_closes_the_older_certificate_and_its_connection() {
    let rig = Rig::new();
    let older = rig.enrol("amr-1");
    let mut live = Mqtt::connect(&rig, &older);
    let newer = rig.enrol("amr-1");
    assert!(live.is_closed());
    let code = Mqtt::dial(&rig, &older).hello("amr-1", None);
    assert_eq!(code, Some(ConnectReasonCode::NotAuthorized));
    assert_eq!(rig.ask("GET", "/v1/skills", None, None, Some(&older)).0, 401);
    Mqtt::connect(&rig, &newer);
}

#[test]
fn a_connection_ends_with_its_certificate_and_an_expired_one_is_refused() {
    let clock = manual_clock();
    let rig = Rig::with(|config| {
        config.clock = clock.clone();
        config.robot_certificate_lifetime = Duration::from_secs(60);
    });
    let device = rig.enrol("amr-1");
    // Into its last seconds, and there the clock stands until the robot is connected.
    clock.0.fetch_add(58_000, Ordering::SeqCst);
    let mut live = Mqtt::connect(&rig, &device);
    clock.0.fetch_add(2_000, Ordering::SeqCst);
    assert!(live.is_closed());
    assert_eq!(Mqtt::dial(&rig, &device).hello("amr-1", None), None);
}

#[test]
fn an_expired_certificate_is_refused_by_the_clouds_own_clock() {
    let clock = manual_clock();
    let rig = Rig::with(|config| config.clock = clock.clone());
    let device = rig.enrol("amr-1");
    drop(Mqtt::connect(&rig, &device));
    clock.0.fetch_add(8 * 24 * 3_600_000, Ordering::SeqCst);
    assert_eq!(Mqtt::dial(&rig, &device).hello("amr-1", None), None);
}
