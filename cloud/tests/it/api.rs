//! The HTTP API: who may call, what a wrong request is told, and its document.

use super::rig::{PATIENCE, Rig, plan, skill_bundle, tls_config_with};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::time::Instant;

#[test]
fn a_cloud_is_embedded_in_three_lines() {
    let dir = tempfile::tempdir().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let config = nooterra_cloud::Config::for_test(dir.path());
        let cloud = nooterra_cloud::Cloud::start(config).await.unwrap();
        assert_ne!(cloud.http_addr().port(), cloud.mqtt_addr().port());
        cloud.stop().await;
    });
}

#[test]
fn without_the_admin_token_nothing_of_the_admins_is_shown_or_done() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    for (method, path) in [
        ("GET", "/v1/robots"),
        ("GET", "/v1/robots/amr-1"),
        ("GET", "/v1/robots/amr-1/records"),
        ("GET", "/v1/robots/amr-1/verdicts"),
        ("GET", "/v1/robots/amr-1/events"),
        ("GET", "/v1/robots/amr-1/commands"),
        ("GET", "/v1/robots/amr-1/commands/cmd_1"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/job_1"),
        ("GET", "/v1/jobs/job_1/events"),
        ("POST", "/v1/claim-codes"),
        ("POST", "/v1/skills"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/jobs/job_1/quote"),
        ("POST", "/v1/jobs/job_1/book"),
        ("POST", "/v1/jobs/job_1/dispatch"),
        ("POST", "/v1/jobs/job_1/cancel"),
        ("POST", "/v1/robots/amr-1/commands"),
    ] {
        let wrong = format!("{}x", rig.token);
        for token in [None, Some("wrong"), Some(wrong.as_str())] {
            // A robot's certificate does not make it an administrator.
            let (status, body) = rig.ask(method, path, None, token, Some(&device));
            assert_eq!((status, &body["code"]), (401, &json!("unauthorized")), "{path}");
            assert!(body["hint"].as_str().unwrap().contains("admin_token"));
        }
    }
    let (status, _) = rig.ask("GET", "/v1/skills", None, None, None);
    assert_eq!(status, 401);
    let (status, _) = rig.ask("GET", "/v1/skills", None, None, Some(&device));
    assert_eq!(status, 200);
}

#[test]
fn the_health_of_the_process_needs_no_token() {
    let rig = Rig::new();
    let (status, body) = rig.ask("GET", "/healthz", None, None, None);
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
}

#[test]
fn a_wrong_request_is_told_what_is_wrong_with_it() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let skill = rig.publish_skill();
    let job = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "robot": "amr-1", "plan": plan(&skill) });
        change(&mut body);
        body
    };
    let huge = json!({ "robot": "x".repeat(300_000) });
    let cases: Vec<(&str, Option<Value>, u16, &str)> = vec![
        ("/v1/claim-codes", None, 400, "bad_json"),
        ("/v1/claim-codes", Some(json!({})), 400, "bad_json"),
        ("/v1/claim-codes", Some(json!({ "robot": "Amr 1" })), 400, "bad_json"),
        ("/v1/claim-codes", Some(json!({ "robot": "a", "x": 1 })), 400, "bad_json"),
        ("/v1/claim-codes", Some(json!({ "robot": "a", "ttl_s": 0 })), 422, "bad_ttl"),
        ("/v1/claim-codes", Some(json!({ "robot": "a".repeat(60) })), 422, "bad_robot_id"),
        ("/v1/claim-codes", Some(huge), 413, "too_large"),
        ("/v1/jobs", Some(job(&|b| b["robot"] = json!("amr-2"))), 422, "unknown_robot"),
        ("/v1/jobs", Some(job(&|b| b["plan"]["steps"] = json!([]))), 422, "bad_plan"),
        (
            "/v1/jobs",
            Some(job(&|b| b["plan"]["steps"][0]["timeout_s"] = json!(0))),
            422,
            "bad_plan",
        ),
        (
            "/v1/jobs",
            Some(job(&|b| b["plan"]["steps"][0]["action"] = json!("fly"))),
            422,
            "unknown_action",
        ),
        (
            "/v1/jobs",
            Some(job(&|b| b["plan"]["steps"][0]["skill"]["version"] = json!("9.9.9"))),
            422,
            "unknown_skill",
        ),
        (
            "/v1/jobs",
            Some(job(&|b| b["plan"]["steps"][0]["skill"]["bundle"] = json!("0".repeat(64)))),
            422,
            "unknown_skill",
        ),
        ("/v1/jobs/job_1/quote", None, 404, "no_such_job"),
        ("/v1/jobs/Not%20an%20id/quote", None, 404, "no_such_job"),
        (
            "/v1/robots/amr-2/commands",
            Some(json!({ "ask": { "type": "release_stop" } })),
            404,
            "no_such_robot",
        ),
        (
            "/v1/robots/amr-1/commands",
            Some(json!({ "ask": { "type": "explode" } })),
            400,
            "bad_json",
        ),
        (
            "/v1/robots/amr-1/commands",
            Some(json!({ "ask": { "type": "release_stop" }, "ttl_ms": 0 })),
            422,
            "bad_ttl",
        ),
        (
            "/v1/robots/amr-1/commands",
            Some(json!({ "ask": { "type": "release_stop" }, "ttl_ms": 100_000_000 })),
            422,
            "bad_ttl",
        ),
        (
            "/v1/robots/amr-1/commands",
            Some(json!({ "ask": { "type": "cancel_job", "job": "j", "reason": "" } })),
            422,
            "use_jobs",
        ),
        (
            "/v1/skills",
            Some(json!({ "bundle_base64": "", "signature": "x" })),
            422,
            "bad_signature",
        ),
        (
            "/v1/skills",
            Some(json!({ "bundle_base64": "!", "signature": "untrusted comment: x" })),
            400,
            "bad_base64",
        ),
        (
            "/v1/skills",
            Some(json!({ "bundle_base64": "aGVsbG8=", "signature": "untrusted comment: x" })),
            422,
            "bad_bundle",
        ),
        ("/v1/nothing", None, 404, "no_such_path"),
        ("/v1/robots", None, 405, "method_not_allowed"),
    ];
    for (path, body, status, code) in cases {
        let (found, answer) = rig.call("POST", path, body);
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{path}: {answer}");
        assert!(answer["detail"].is_string() && answer["hint"].is_string());
    }
    let (status, body) = rig.call("GET", "/v1/robots/amr-1/records?limit=many", None);
    assert_eq!((status, &body["code"]), (400, &json!("bad_query")));
}

#[test]
fn bytes_that_are_no_json_are_refused_and_the_cloud_lives() {
    let rig = Rig::new();
    for body in [&b"{"[..], b"\xff\xfe\x00", b"[[[[[[[[", b"null", b"{\"robot\":1e999}"] {
        let body = Some(body.to_vec());
        let (status, answer) = rig.ask("POST", "/v1/claim-codes", body, Some(&rig.token), None);
        assert_eq!((status, &answer["code"]), (400, &json!("bad_json")));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    let (status, _) = rig.ask("POST", "/v1/jobs", Some(deep), Some(&rig.token), None);
    assert_eq!(status, 400);
    // Not even HTTP.
    let mut tls = crate::rig::dial(rig.http, &tls_config_with(&rig.root_pem, None));
    tls.write_all(b"\x10\x20 nonsense\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    assert_eq!(rig.ask("GET", "/healthz", None, None, None).0, 200);
}

#[test]
fn a_skill_is_published_once_and_comes_back_byte_for_byte() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let (bundle, signature) = skill_bundle(b"component");
    let skill = rig.publish_skill();
    assert_eq!(rig.publish_skill(), skill);
    assert_eq!(rig.get("/v1/skills")["skills"].as_array().unwrap().len(), 1);
    let path = format!("/v1/skills/{}", skill["bundle"].as_str().unwrap());
    for (token, device) in [(Some(rig.token.as_str()), None), (None, Some(&device))] {
        let (status, body) = rig.raw("GET", &format!("{path}/bundle"), None, token, device);
        assert_eq!((status, body), (200, bundle.clone()));
        let (status, body) = rig.raw("GET", &format!("{path}/signature"), None, token, device);
        assert_eq!((status, body), (200, signature.clone().into_bytes()));
    }
    let (status, _) = rig.raw("GET", &format!("{path}/bundle"), None, None, None);
    assert_eq!(status, 401);
    let nowhere = format!("/v1/skills/{}/bundle", "0".repeat(64));
    assert_eq!(rig.call("GET", &nowhere, None).1["code"], "no_such_skill");
}

#[test]
fn every_operation_of_the_document_has_its_own_name_and_says_what_it_answers() {
    let document: Value =
        serde_json::from_str(&nooterra_cloud::api::openapi_json().unwrap()).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} at {path} is not the only one");
            for response in operation["responses"].as_object().unwrap().values() {
                assert!(!response["description"].as_str().unwrap_or("").is_empty(), "{path}");
            }
        }
    }
    assert_eq!(names.len(), 77);
}

#[test]
fn the_openapi_document_is_the_one_that_is_checked_in() {
    let checked_in = include_str!("../../openapi.json");
    let made = nooterra_cloud::api::openapi_json().unwrap();
    assert!(
        checked_in == made,
        "the API changed; review it, then: cargo run -p nooterra-cloud -- openapi > cloud/openapi.json"
    );
    let rig = Rig::new();
    let (status, served) = rig.ask("GET", "/v1/openapi.json", None, None, None);
    assert_eq!(status, 200);
    assert_eq!(served, serde_json::from_str::<Value>(checked_in).unwrap());
}

#[test]
fn tls_below_1_3_is_refused() {
    let rig = Rig::new();
    // A ClientHello of TLS 1.2 without the supported_versions extension.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    for address in [rig.http, rig.mqtt] {
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        tcp.write_all(&hello).unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        // An alert, and nothing of a ServerHello.
        assert_eq!(answer.first(), Some(&0x15), "{answer:?}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let rig = Rig::new();
    let mut tls = crate::rig::dial(rig.http, &tls_config_with(&rig.root_pem, None));
    let head = format!(
        "POST /v1/skills HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: 48000000\r\n\r\n",
        rig.token
    );
    tls.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
}

#[test]
fn who_still_sends_when_it_is_refused_reads_why() {
    let rig = Rig::new();
    let mut tls = crate::rig::dial(rig.http, &tls_config_with(&rig.root_pem, None));
    let head = format!(
        "POST /v1/skills HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: 48000000\r\n\r\n",
        rig.token
    );
    tls.write_all(head.as_bytes()).unwrap();
    // The answer is there, and only now comes a part of the body.
    let mut answer = [0; 12];
    tls.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    tls.write_all(&vec![b' '; 2_000_000]).unwrap();
    let mut problem = String::new();
    let _ = tls.read_to_string(&mut problem);
    assert!(problem.contains("too_large"), "{problem}");
}

#[test]
fn a_body_of_unknown_length_is_refused_at_the_limit() {
    let rig = Rig::new();
    let mut tls = crate::rig::dial(rig.http, &tls_config_with(&rig.root_pem, None));
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        rig.token
    );
    tls.write_all(head.as_bytes()).unwrap();
    // 0x41000 bytes: a little more than the 256 KiB that this path takes.
    tls.write_all(format!("41000\r\n{}\r\n", " ".repeat(0x41000)).as_bytes()).unwrap();
    let mut answer = [0; 12];
    tls.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn the_process_says_whether_it_can_work_and_how_much_it_does() {
    let rig = Rig::new();
    // A disk that others keep busy is no store that commits in time, until it is.
    let started = Instant::now();
    loop {
        let (status, body) = rig.ask("GET", "/readyz", None, None, None);
        if status == 200 {
            assert_eq!(body["status"], "ready");
            break;
        }
        assert_eq!((status, &body["code"]), (503, &json!("not_ready")));
        assert!(started.elapsed() < PATIENCE, "it is never ready: {body}");
    }
    assert_eq!(rig.ask("GET", "/metrics", None, None, None).0, 401);
    rig.enrol("amr-1");
    let job = rig.create_job("amr-1");
    for path in [format!("/v1/jobs/{job}"), "/v1/jobs/job_none".to_owned(), "/none".to_owned()] {
        rig.call("GET", &path, None);
    }
    let (status, text) = rig.raw("GET", "/metrics", None, Some(&rig.token), None);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(status, 200, "{text}");
    for line in [
        r#"nooterra_http_requests_total{method="GET",path="/v1/jobs/{id}",status="200"} 1"#,
        r#"nooterra_http_requests_total{method="GET",path="/v1/jobs/{id}",status="404"} 1"#,
        r#"nooterra_http_requests_total{method="other",path="other",status="404"} 1"#,
        r#"nooterra_http_request_seconds_count{method="GET",path="/v1/jobs/{id}"} 2"#,
        "nooterra_facts 1",
        "nooterra_robots_online 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn an_answer_names_its_request_and_a_refusal_is_a_problem_of_rfc_9457() {
    let rig = Rig::new();
    let (_, head, _) = rig.call_with("GET", "/v1/jobs", &[("X-Request-Id", "mine-7")], None);
    assert!(head.contains("x-request-id: mine-7\r\n"), "{head}");
    for id in ["", "two words", &"x".repeat(65)] {
        let (_, head, _) = rig.call_with("GET", "/v1/jobs", &[("X-Request-Id", id)], None);
        assert!(head.contains("x-request-id: req_"), "{head}");
    }
    let (status, head, body) = rig.call_with("GET", "/v1/jobs/job_none", &[], None);
    assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
    assert_eq!(
        (status, &body["status"], &body["title"], &body["type"]),
        (404, &json!(404), &json!("Not Found"), &json!("urn:nooterra:problem:no_such_job"))
    );
}

#[test]
fn jobs_and_robots_come_in_pages_that_have_each_once() {
    let rig = Rig::new();
    for robot in ["amr-2", "amr_3", "amr-1"] {
        rig.enrol(robot);
    }
    for _ in 0..5 {
        rig.create_job("amr-1");
    }
    for (path, name, all) in [("/v1/jobs", "jobs", 5), ("/v1/robots", "robots", 3)] {
        let whole = rig.get(path);
        assert_eq!(whole["next"], json!(null));
        let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
        for _ in 0..all {
            let page = rig.get(&format!("{path}{query}"));
            seen.extend(page[name].as_array().unwrap().clone());
            let Some(next) = page.get("next").filter(|next| !next.is_null()) else { break };
            query = format!("?limit=2&after={}", next.to_string().trim_matches('"'));
        }
        assert_eq!(&seen, whole[name].as_array().unwrap());
        assert_eq!(seen.len(), all);
    }
    let ids = rig.get("/v1/robots");
    let ids: Vec<_> = ids["robots"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, ["amr-1", "amr-2", "amr_3"]);
    assert_eq!(rig.call("GET", "/v1/jobs?after=x", None).0, 400);
    assert_eq!(rig.call("GET", "/v1/robots?before=x", None).0, 400);
}
