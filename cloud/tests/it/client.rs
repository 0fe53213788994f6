//! The typed client beside a real cloud.

#[path = "../../client/examples/run_a_job.rs"]
#[allow(dead_code, unreachable_pub)]
mod example;

use super::rig::{Kind, Rig, RigOn, plan};
use nooterra_client::types::{
    AuditQuery, CancelRequest, EventQuery, Family, JobRequest, ListQuery, QuoteRequest, Role,
    TokenRequest,
};
use nooterra_client::{Client, ClientError, MadeTokens, OPERATIONS, Repeat};
use nooterra_protocol::job::JobState;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long anything that must happen may take here.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn client(rig: &RigOn<impl Kind>) -> Client {
    Client::builder(format!("https://{}", rig.http))
        .root_pem(&rig.root_pem)
        .token(&rig.token)
        .build()
        .unwrap()
}

fn request(rig: &RigOn<impl Kind>, robot: &str) -> JobRequest {
    let plan = plan(&rig.publish_skill());
    serde_json::from_value(json!({ "robot": robot, "plan": plan, "requester": null })).unwrap()
}

#[test]
fn the_example_gives_a_robot_a_job_and_follows_it() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let client = client(&rig);
    let job = example::give(&client, &request(&rig, "amr-1")).unwrap();
    assert_eq!((job.state, job.robot.as_str()), (JobState::Reserved, "amr-1"));
    let mut seen = Vec::new();
    example::follow(&client, &job, |kind| {
        seen.push(kind.to_owned());
        kind == "RESERVED"
    })
    .unwrap();
    assert_eq!(
        seen[..3],
        ["JOB_CREATED", "QUOTE_PROPOSED", "BOOKED"].map(str::to_owned),
        "{seen:?}"
    );
}

#[test]
fn a_change_is_made_once_and_only_as_it_was_seen() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let (client, request) = (client(&rig), request(&rig, "amr-1"));
    let first = client.create_job(&request).idempotency_key("order-7").send().unwrap();
    let again = client.create_job(&request).idempotency_key("order-7").send().unwrap();
    assert_eq!((first.replayed, again.replayed, &again.id), (false, true, &first.id));

    let seen = client.show_job(&first.id).send().unwrap();
    let tag = seen.etag.unwrap();
    assert_eq!(tag.0, seen.head);
    assert!(client.show_job(&first.id).send_if_changed(tag).unwrap().is_none());
    client.quote_job(&first.id, &QuoteRequest::default()).if_match(tag).send().unwrap();
    assert!(client.show_job(&first.id).send_if_changed(tag).unwrap().is_some());
    let moved = client.book_job(&first.id).if_match(tag).send().unwrap_err();
    assert_eq!(moved.code(), Some("head_moved"));
}

#[test]
fn a_refusal_has_its_code_and_is_found_in_the_audit_trail_by_its_request() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let (client, request) = (client(&rig), request(&rig, "amr-1"));
    let job = client.create_job(&request).send().unwrap();
    let error = client.book_job(&job.id).send().unwrap_err();
    let ClientError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!((refusal.problem.status, refusal.problem.code.as_str()), (409, "wrong_state"));
    let query = AuditQuery { request_id: Some(refusal.request_id), ..AuditQuery::default() };
    let found: Vec<_> = client.list_audit(&query).items().map(Result::unwrap).collect();
    assert_eq!((found.len(), found[0].outcome.as_str()), (1, "refused"));
    assert_eq!(found[0].code.as_deref(), Some("wrong_state"));
}

#[test]
fn a_list_is_one_iterator_over_all_its_pages() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let (client, request) = (client(&rig), request(&rig, "amr-1"));
    let mut made: Vec<_> =
        (0..7).map(|_| client.create_job(&request).send().unwrap().body.id).collect();
    made.reverse();
    let query = ListQuery { limit: Some(2), ..ListQuery::default() };
    let listed: Result<Vec<_>, _> = client.list_jobs(&query).items().collect();
    assert_eq!(listed.unwrap().into_iter().map(|job| job.id).collect::<Vec<_>>(), made);
    let query = EventQuery { limit: Some(3), ..EventQuery::default() };
    let events: Result<Vec<_>, _> = client.list_events(&query).items().collect();
    let events = events.unwrap();
    assert!(events.windows(2).all(|two| two[0].position < two[1].position));
    assert_eq!(events.iter().filter(|event| event.job.is_some()).count(), 7);
}

#[test]
fn a_stream_goes_on_when_the_cloud_comes_back_and_misses_nothing() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let (api, request) = (client(&rig), request(&rig, "amr-1"));
    let first = api.create_job(&request).send().unwrap();
    let (tell, told) = channel();
    let follow = api.follow_events(&EventQuery::default()).tries(None);
    std::thread::spawn(move || {
        for event in follow {
            if tell.send(event.map(|event| event.position)).is_err() {
                return;
            }
        }
    });
    let mut seen = vec![told.recv_timeout(PATIENCE).unwrap().unwrap()];
    let address = rig.http;
    let rig = rig.restart_with(|config| config.http = address);
    // Until the cloud answers again.
    let last = api.cancel_job(&first.id, &CancelRequest::default()).send();
    assert_eq!(last.unwrap().state, JobState::Aborted);
    let all = rig.get("/v1/events")["events"].as_array().unwrap().len();
    while seen.len() < all {
        seen.push(told.recv_timeout(PATIENCE).unwrap().unwrap());
    }
    let expected: Vec<_> = rig.get("/v1/events")["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["position"].as_i64().unwrap())
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn short_lived_tokens_are_made_anew_when_one_is_over() {
    let rig = Rig::new();
    let maker = client(&rig);
    let request = TokenRequest {
        certificate: None,
        families: vec![Family::Jobs],
        principal: "erp".to_owned(),
        role: Role::Viewer,
        tenant: None,
        ttl_s: Some(60),
    };
    let api = Client::builder(maker.url())
        .root_pem(&rig.root_pem)
        .tokens(Arc::new(MadeTokens { maker: maker.clone(), request }))
        .build()
        .unwrap();
    let query = ListQuery::default();
    assert!(api.list_jobs(&query).send().unwrap().jobs.is_empty());
    let made = maker.list_tokens(&query).send().unwrap();
    assert_eq!(made.tokens.len(), 1);
    maker.revoke_token(&made.tokens[0].id).send().unwrap();
    assert!(api.list_jobs(&query).send().unwrap().jobs.is_empty());
    assert_eq!(maker.list_tokens(&query).send().unwrap().tokens.len(), 2);
    // What another token cannot mend is refused as it is.
    assert_eq!(api.list_tokens(&query).send().unwrap_err().code(), Some("scope_missing"));
}

#[test]
fn the_operations_that_take_an_idempotency_key_are_those_that_the_client_gives_one() {
    let rig = Rig::new();
    let key = "x".repeat(200);
    for operation in OPERATIONS.iter().filter(|operation| operation.method == "POST") {
        let parts =
            operation.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        let headers = [("idempotency-key", key.as_str())];
        let (_, _, body) = rig.call_with("POST", &path, &headers, Some(json!({})));
        let takes = body["code"] == "bad_idempotency_key";
        assert_eq!(takes, operation.repeat == Repeat::Keyed, "{}: {body}", operation.name);
    }
}

#[test]
fn what_a_tool_passes_on_is_sent_as_it_is() {
    let rig = Rig::new();
    let client = client(&rig);
    let call = client.operation("create_claim_code", &[]).unwrap();
    let answer = call.json(&json!({ "robot": "amr-1" })).send().unwrap();
    assert_eq!((answer.status, &answer["robot"]), (201, &json!("amr-1")));
    assert!(client.operation("show_job", &[]).is_none() && client.operation("x", &[]).is_none());
    let health: Value = client.get("/healthz").send().unwrap().body;
    assert_eq!(health["status"], "ok");
    assert!(client.metrics().send().unwrap().contains("nooterra_facts"));
}

#[test]
fn a_cloud_of_another_root_is_not_talked_to() {
    let (rig, other) = (Rig::new(), Rig::new());
    let client = Client::builder(format!("https://{}", rig.http))
        .root_pem(&other.root_pem)
        .token(&rig.token)
        .retry(nooterra_client::Retry { tries: 1, ..Default::default() })
        .build()
        .unwrap();
    assert!(matches!(client.health().send(), Err(ClientError::Unreachable { .. })));
}
