//! The client beside a server that fails in the ways that networks and proxies do; what it does
//! beside a real cloud is in the cloud's tests.

use crate::token::{TokenError, TokenSource};
use crate::types::{
    EventQuery, Family, JobReasonRequest, ListQuery, Role, StandingRequest, TokenRequest,
};
use crate::{Client, ClientError, Retry, Tag};
use nooterra_protocol::codec::Digest;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server does with a connection.
enum Does {
    /// Sends this, and closes.
    Answer(String),
    /// Closes without a word.
    Hangs,
}

/// What a server was sent: the head, lower case, and the body.
type Heard = (String, String);

/// A server that does these things, one for each connection, and says what it heard.
fn server(script: Vec<Does>) -> (SocketAddr, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for does in script {
            let Ok((mut tcp, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(tcp.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let mut body = vec![0; length.map_or(0, |text| text.trim().parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let _ = tell.send((head, String::from_utf8(body).unwrap()));
            if let Does::Answer(answer) = does {
                let _ = tcp.write_all(answer.as_bytes());
            }
        }
    });
    (address, heard)
}

fn answer(status: u16, headers: &str, body: &str) -> Does {
    Does::Answer(format!(
        "HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn problem(status: u16, code: &str, headers: &str) -> Does {
    let body = json!({
        "code": code, "detail": "no", "hint": "ask", "status": status, "title": "No",
        "type": format!("urn:nooterra:problem:{code}"),
    });
    answer(
        status,
        &format!("content-type: application/problem+json\r\n{headers}"),
        &body.to_string(),
    )
}

/// A client that waits for nothing, and what it would have waited, milliseconds.
fn client(address: SocketAddr) -> (Client, Arc<Mutex<Vec<u128>>>) {
    with_tokens(address, Arc::new(crate::token::Fixed("tok_1".to_owned())))
}

fn with_tokens(
    address: SocketAddr,
    tokens: Arc<dyn TokenSource>,
) -> (Client, Arc<Mutex<Vec<u128>>>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let counted = waits.clone();
    let pause = Arc::new(move |wait: Duration| counted.lock().unwrap().push(wait.as_millis()));
    let client = Client::builder(format!("http://{address}"))
        .in_the_clear()
        .tokens(tokens)
        .retry(Retry { pause, ..Retry::default() })
        .build()
        .unwrap();
    (client, waits)
}

fn line<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

const HEALTH: &str = r#"{"status":"ok","version":"1","later":true}"#;

#[test]
fn what_only_reads_is_sent_again_when_no_answer_came_and_keeps_its_name() {
    let (address, heard) = server(vec![
        Does::Hangs,
        answer(503, "", "a proxy"),
        answer(200, "x-request-id: req_x\r\n", HEALTH),
    ]);
    let (client, waits) = client(address);
    let health = client.health().send().unwrap();
    assert_eq!((health.status, health.request_id.as_str()), (200, "req_x"));
    assert_eq!(health.body.status, "ok");
    let ids: Vec<_> =
        heard.iter().map(|(head, _)| line(&head, "x-request-id").unwrap().to_owned()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0] && id.len() == 36), "{ids:?}");
    assert_eq!(waits.lock().unwrap().len(), 2);
}

#[test]
fn tries_have_an_end() {
    let (address, heard) = server((0..9).map(|_| Does::Hangs).collect());
    let (client, _) = client(address);
    let error = client.health().send().unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    drop(client);
    assert_eq!(heard.try_iter().count(), 4);
}

#[test]
fn under_one_key_a_change_is_sent_again_and_without_one_it_is_not() {
    let (address, heard) = server(vec![Does::Hangs, problem(409, "wrong_state", ""), Does::Hangs]);
    let (client, _) = client(address);
    let reason = JobReasonRequest { reason: Some("x".to_owned()) };
    let error = client.pause_job("job_1", &reason).send().unwrap_err();
    assert_eq!(error.code(), Some("wrong_state"));
    let first = heard.recv().unwrap();
    let second = heard.recv().unwrap();
    let key = line(&first.0, "idempotency-key").unwrap();
    assert_eq!((key.len(), line(&second.0, "idempotency-key")), (32, Some(key)));

    let request = StandingRequest { reason: "x".to_owned() };
    let error = client.restore_robot("amr-1", &request).send().unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let (head, body) = heard.recv().unwrap();
    assert_eq!(line(&head, "idempotency-key"), None);
    assert_eq!(body, r#"{"reason":"x"}"#);
    assert!(heard.try_recv().is_err(), "it was sent again");
}

#[test]
fn a_change_that_nobody_can_have_heard_is_sent_again() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (client, waits) = client(address);
    let request = StandingRequest { reason: "x".to_owned() };
    assert!(client.restore_robot("amr-1", &request).send().is_err());
    assert_eq!(waits.lock().unwrap().len(), 3);
}

#[test]
fn a_caller_that_is_too_fast_waits_as_long_as_it_is_told_within_bounds() {
    let (address, _heard) = server(vec![
        problem(429, "rate_limited", "retry-after: 7\r\n"),
        problem(429, "rate_limited", "retry-after: 70000\r\n"),
        answer(200, "", HEALTH),
    ]);
    let (client, waits) = client(address);
    client.health().send().unwrap();
    assert_eq!(*waits.lock().unwrap(), [7_000, 30_000]);
}

#[test]
fn a_refusal_is_the_clouds_problem_with_the_name_of_the_request() {
    let (address, _heard) = server(vec![problem(409, "wrong_state", "x-request-id: req_7\r\n")]);
    let (client, _) = client(address);
    let error = client.book_job("job_1").send().unwrap_err();
    assert_eq!(error.code(), Some("wrong_state"));
    let ClientError::Refused(refusal) = &error else { panic!("{error}") };
    assert_eq!((refusal.problem.status, refusal.request_id.as_str()), (409, "req_7"));
    assert_eq!(error.to_string(), "POST /v1/jobs/job_1/book: no; ask (wrong_state, request req_7)");
}

#[test]
fn what_is_no_answer_of_a_cloud_is_an_error_and_no_panic() {
    for (status, body) in [(200, "hello"), (200, "{}"), (404, "<html>"), (302, ""), (500, "")] {
        let (address, _heard) = server(vec![answer(status, "location: /x\r\n", body)]);
        let (client, _) = client(address);
        let error = client.health().send().unwrap_err();
        assert!(matches!(error, ClientError::Answer { .. }), "{status} {body}: {error}");
    }
    let (address, _heard) = server(vec![answer(200, "etag: W/7\r\n", HEALTH)]);
    assert!(client(address).0.health().send().is_err());
}

/// Gives out `tok_1`, `tok_2` and so on.
#[derive(Debug, Default)]
struct Numbered(Mutex<u32>);

impl TokenSource for Numbered {
    fn token(&self, _: Option<&str>) -> Result<String, TokenError> {
        let mut number = self.0.lock().unwrap();
        *number += 1;
        Ok(format!("tok_{number}"))
    }
}

#[test]
fn a_token_that_is_over_is_replaced_once_also_for_what_must_not_be_done_twice() {
    let made = r#"{"code":"c","expires_at":1,"robot":"amr-1"}"#;
    let (address, heard) = server(vec![
        problem(401, "token_expired", ""),
        answer(201, "", made),
        problem(401, "token_revoked", ""),
        problem(401, "token_revoked", ""),
    ]);
    let (client, _) = with_tokens(address, Arc::new(Numbered::default()));
    let request = crate::types::ClaimCodeRequest { robot: "amr-1".parse().unwrap(), ttl_s: None };
    assert_eq!(client.create_claim_code(&request).send().unwrap().code, "c");
    let error = client.create_claim_code(&request).send().unwrap_err();
    assert_eq!(error.code(), Some("token_revoked"));
    let shown: Vec<_> =
        heard.iter().map(|(head, _)| line(&head, "authorization").unwrap().to_owned()).collect();
    assert_eq!(shown, ["bearer tok_1", "bearer tok_2", "bearer tok_2", "bearer tok_3"]);
}

#[test]
fn a_fixed_token_that_is_over_is_presented_no_second_time() {
    let (address, heard) = server(vec![problem(401, "token_expired", "")]);
    let (client, _) = client(address);
    assert_eq!(client.health().send().unwrap_err().code(), Some("token_expired"));
    assert_eq!(heard.iter().count(), 1);
}

#[test]
fn what_did_not_change_is_not_sent() {
    let tag = Tag(Digest::of(b"head"));
    let (address, heard) = server(vec![answer(304, &format!("etag: {tag}\r\n"), "")]);
    let (client, _) = client(address);
    assert!(client.show_job("job_1").send_if_changed(tag).unwrap().is_none());
    let (head, _) = heard.recv().unwrap();
    assert_eq!(line(&head, "if-none-match"), Some(tag.to_string().as_str()));
}

#[test]
fn pages_are_asked_for_one_after_the_other_and_a_circle_is_an_error() {
    let page = |id: u32, next: Value| {
        let item = json!({
            "attempts": 1, "died_at": 1, "error": "e", "position": id, "state": "dead",
        });
        answer(200, "", &json!({ "dead_letters": [item], "next": next }).to_string())
    };
    let (address, heard) = server(vec![page(1, json!(1)), page(2, json!(2)), page(3, json!(null))]);
    let query = ListQuery { limit: Some(1), ..ListQuery::default() };
    let (client_, _) = client(address);
    let found: Result<Vec<_>, _> = client_.list_dead_letters("w", &query).items().collect();
    assert_eq!(found.unwrap().iter().map(|it| it.position).collect::<Vec<_>>(), [1, 2, 3]);
    let asked: Vec<_> =
        heard.iter().map(|(head, _)| head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(asked[0], "get /v1/webhooks/w/dead-letters?limit=1 http/1.1");
    assert_eq!(asked[2], "get /v1/webhooks/w/dead-letters?limit=1&after=2 http/1.1");

    let (address, _heard) = server((0..9).map(|_| page(1, json!(1))).collect());
    let (client_, _) = client(address);
    let found: Vec<_> = client_.list_dead_letters("w", &query).items().collect();
    assert_eq!(found.len(), 2);
    assert!(matches!(found[1], Err(ClientError::Answer { .. })), "{found:?}");
}

#[test]
fn a_stream_that_breaks_goes_on_after_what_was_given_out() {
    let stream = |text: &str| {
        Does::Answer(format!(
            "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{text}"
        ))
    };
    let (address, heard) = server(vec![
        stream(":hello\n\nid: 4\ndata: {\"n\":4}\n\nid: 5\ndata: {\"n\""),
        Does::Hangs,
        answer(502, "", "a proxy"),
        stream("id: 5\nevent: BOOKED\ndata: {\"n\":5}\n\n"),
        problem(403, "scope_missing", ""),
    ]);
    let (client, _) = client(address);
    let query =
        EventQuery { after: Some(3), kind: Some("BOOKED".to_owned()), ..EventQuery::default() };
    let mut follow = client.follow_events_as_sent(&query);
    assert_eq!(follow.next().unwrap().unwrap(), json!({ "n": 4 }));
    assert_eq!(follow.next().unwrap().unwrap(), json!({ "n": 5 }));
    assert_eq!(follow.last_id(), Some("5"));
    assert_eq!(follow.next().unwrap().unwrap_err().code(), Some("scope_missing"));
    assert!(follow.next().is_none());
    let asked: Vec<_> = heard
        .iter()
        .map(|(head, _)| line(&head, "last-event-id").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(asked, ["3", "4", "4", "4", "5"]);
}

#[test]
fn a_stream_gives_up_after_so_many_tries() {
    let (address, heard) = server((0..9).map(|_| Does::Hangs).collect());
    let (client, waits) = client(address);
    let mut follow = client.watch_robot("amr-1").tries(Some(3));
    assert!(matches!(follow.next(), Some(Err(ClientError::Unreachable { .. }))));
    assert!(follow.next().is_none());
    assert_eq!((heard.try_iter().count(), waits.lock().unwrap().len()), (3, 2));
}

#[test]
fn neither_errors_nor_debug_show_a_secret() {
    let builder = Client::builder("https://cloud.example").token("s3cret").root_pem("x");
    assert!(!format!("{builder:?}").contains("s3cret"));
    let error = builder.build().unwrap_err();
    assert!(matches!(error, ClientError::Certificate { .. }), "{error}");
    assert!(matches!(Client::builder("http://x").build(), Err(ClientError::Url(_))));
    assert!(matches!(Client::builder("https://").build(), Err(ClientError::Url(_))));
    let (client, _) = client("127.0.0.1:1".parse().unwrap());
    let shown = format!(
        "{client:?} {:?}",
        client.create_token(&TokenRequest {
            certificate: None,
            families: vec![Family::Jobs],
            principal: "alice".to_owned(),
            role: Role::Viewer,
            tenant: None,
            ttl_s: None,
        })
    );
    assert!(!shown.contains("tok_1"), "{shown}");
}

#[test]
fn what_json_cannot_say_is_not_sent() {
    let (client, _) = client("127.0.0.1:1".parse().unwrap());
    let unsayable: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 2)].into();
    let call = client.get::<Value>("/v1/jobs").with_body(&unsayable);
    assert!(matches!(call.send(), Err(ClientError::Ask(_))));
}
