//! Streams from outside: done once, only on what was seen, and followed without a gap.

use super::rig::{Kind, Rig, RigOn, dial, plan, tls_config};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};

fn job_at(rig: &Rig, calls: &[&str]) -> String {
    let job = rig.create_job("amr-1").to_string();
    for call in calls {
        rig.post(&format!("/v1/jobs/{job}/{call}"), json!({}));
    }
    job
}

#[test]
fn a_request_that_is_sent_again_with_its_key_is_done_once_and_answered_alike() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let body = json!({ "robot": "amr-1", "plan": plan(&rig.publish_skill()) });
    let key = [("Idempotency-Key", "0c4b1d2e")];
    let create = || rig.call_with("POST", "/v1/jobs", &key, Some(body.clone()));
    let (status, head, first) = create();
    assert_eq!(status, 201, "{first}");
    assert!(!head.contains("idempotency-replayed"));
    for _ in 0..3 {
        let (status, head, again) = create();
        assert_eq!((status, &again), (201, &first));
        assert!(head.contains("idempotency-replayed: true"), "{head}");
    }
    assert_eq!(rig.get("/v1/jobs")["jobs"].as_array().unwrap().len(), 1);
    // Commands too: a robot must not be told twice.
    let ask = json!({ "ask": { "type": "release_stop" } });
    let send = |key: &str| {
        let headers = [("Idempotency-Key", key)];
        rig.call_with("POST", "/v1/robots/amr-1/commands", &headers, Some(ask.clone())).2["id"]
            .clone()
    };
    assert_eq!(send("a"), send("a"));
    assert_ne!(send("a"), send("b"));
    // What was answered outlives the process.
    let rig = rig.restart();
    let (status, head, again) = rig.call_with("POST", "/v1/jobs", &key, Some(body));
    assert_eq!((status, again), (201, first));
    assert!(head.contains("idempotency-replayed: true"));
}

#[test]
fn a_key_that_came_with_another_request_is_refused_and_a_refusal_is_judged_anew() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let job = job_at(&rig, &[]);
    let call = |path: &str, key: &str, body: Value| {
        rig.call_with(
            "POST",
            &format!("/v1/jobs/{job}/{path}"),
            &[("Idempotency-Key", key)],
            Some(body),
        )
    };
    assert_eq!(call("book", "b", json!({})).0, 409);
    assert_eq!(call("quote", "q", json!({ "amount_minor": 5 })).0, 200);
    for (path, body) in
        [("quote", json!({ "amount_minor": 6 })), ("book", json!({ "amount_minor": 5 }))]
    {
        let (status, _, answer) = call(path, "q", body);
        assert_eq!((status, &answer["code"]), (422, &json!("idempotency_key_reused")));
    }
    let (status, _, booked) = call("book", "b", json!({}));
    assert_eq!((status, &booked["state"]), (200, &json!("BOOKED")));
    for bad in [" ", &"x".repeat(129), "caf\u{e9}"] {
        let (status, _, answer) = call("cancel", bad, json!({}));
        assert_eq!((status, &answer["code"]), (400, &json!("bad_idempotency_key")), "{bad}");
    }
}

#[test]
fn two_who_saw_the_same_job_cannot_both_change_it() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let job = job_at(&rig, &[]);
    let path = format!("/v1/jobs/{job}");
    let (_, head, seen) = rig.call_with("GET", &path, &[], None);
    let etag = format!("\"{}\"", seen["head"].as_str().unwrap());
    assert!(head.contains(&format!("etag: {etag}")), "{head}");
    assert_eq!(rig.call_with("GET", &path, &[("If-None-Match", &etag)], None).0, 304);

    let if_match = [("If-Match", etag.as_str())];
    let (status, head, quoted) = rig.call_with("POST", &format!("{path}/quote"), &if_match, None);
    assert_eq!(status, 200, "{quoted}");
    assert!(head.contains(&format!("etag: \"{}\"", quoted["head"].as_str().unwrap())));
    let (status, _, refused) = rig.call_with("POST", &format!("{path}/cancel"), &if_match, None);
    assert_eq!((status, &refused["code"]), (412, &json!("head_moved")));
    assert_eq!(rig.get(&path)["state"], "QUOTED");
    assert_eq!(rig.call_with("GET", &path, &[("If-None-Match", &etag)], None).0, 200);
    let (status, _, refused) =
        rig.call_with("POST", &format!("{path}/book"), &[("If-Match", "\"7\"")], None);
    assert_eq!((status, &refused["code"]), (400, &json!("bad_etag")));
}

#[test]
fn of_many_who_race_for_the_same_jobs_each_step_is_made_by_one() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    race(&[&rig]);
}

/// 64 clients, each of one of the clouds, try all steps of the same jobs at the same time.
pub(crate) fn race<K: Kind>(clouds: &[&RigOn<K>]) {
    const CLIENTS: usize = 64;
    let rig = clouds[0];
    let jobs: Vec<_> = (0..3).map(|_| rig.create_job("amr-1").to_string()).collect();
    let start = std::sync::Barrier::new(CLIENTS);
    let one = |client: usize| {
        let rig = clouds[client % clouds.len()];
        start.wait();
        let mut made = Vec::new();
        for call in ["quote", "book", "dispatch", "cancel"] {
            for job in &jobs {
                let path = format!("/v1/jobs/{job}");
                let head = rig.get(&path)["head"].as_str().unwrap().to_owned();
                let key = format!("{client}-{call}-{job}");
                let headers = [("If-Match", &*format!("\"{head}\"")), ("Idempotency-Key", &*key)];
                let path = format!("{path}/{call}");
                let (status, _, answer) = rig.call_with("POST", &path, &headers, None);
                match status {
                    200 => made.push((job.clone(), call, head, answer["head"].clone())),
                    409 | 412 => {}
                    _ => panic!("{path}: {status} {answer}"),
                }
            }
        }
        made
    };
    let made: Vec<_> = std::thread::scope(|scope| {
        let one = &one;
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || one(n))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    for job in &jobs {
        // Every change that was answered with 200 is in the stream, built on the head that its
        // sender saw; nothing else is.
        let stream = rig.get(&format!("/v1/jobs/{job}/events"))["events"].clone();
        let heads: Vec<_> = stream.as_array().unwrap().iter().map(|e| e["hash"].clone()).collect();
        let at = |head: &Value| heads.iter().position(|known| known == head).unwrap();
        let mut steps: Vec<_> = made
            .iter()
            .filter(|(of, ..)| of == job)
            .map(|(_, call, from, to)| (at(&json!(from)), at(to), *call))
            .collect();
        steps.sort_unstable();
        let (mut head, mut facts) = (0, 1);
        for (from, to, call) in &steps {
            assert_eq!(*from, head, "{steps:?}");
            facts += to - from;
            head = *to;
            assert!(to - from == 1 || *call == "dispatch");
        }
        assert_eq!(facts, heads.len(), "{steps:?}");
        assert_eq!(steps.iter().filter(|(.., call)| *call == "quote").count(), 1);
    }
}

#[test]
fn the_pages_of_all_events_have_each_once_in_order() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    let one = job_at(&rig, &["quote"]);
    let two = job_at(&rig, &["quote", "book"]);
    let all = rig.get("/v1/events");
    let kinds: Vec<_> = all["events"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
    assert_eq!(kinds, ["JOB_CREATED", "QUOTE_PROPOSED", "JOB_CREATED", "QUOTE_PROPOSED", "BOOKED"]);
    let (mut after, mut seen) = (json!(0), Vec::new());
    loop {
        let page = rig.get(&format!("/v1/events?after={after}&limit=2"));
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            assert_eq!(page["next"], after);
            break;
        }
        seen.extend(events.clone());
        after = page["next"].clone();
    }
    assert_eq!(&seen, all["events"].as_array().unwrap());
    let of_one = rig.get(&format!("/v1/events?stream=job.{one}"));
    assert_eq!(of_one["events"].as_array().unwrap().len(), 2);
    let booked = rig.get("/v1/events?type=BOOKED");
    assert_eq!(booked["events"][0]["stream"], format!("job.{two}"));
}

/// Reads server-sent events: their ids, types and data.
pub(crate) struct Follower {
    lines: Box<dyn Iterator<Item = String>>,
}

impl Follower {
    pub(crate) fn new(rig: &RigOn<impl Kind>, query: &str, headers: &str) -> Self {
        let mut tls = dial(rig.http, &tls_config(&rig.root_pem, None));
        write!(
            tls,
            "GET /v1/events/stream{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             {headers}\r\n",
            rig.token
        )
        .unwrap();
        let mut lines = BufReader::new(tls).lines().map_while(Result::ok);
        let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(head[0].contains("200"), "{head:?}");
        assert!(head.iter().any(|line| line.to_lowercase() == "content-type: text/event-stream"));
        Self { lines: Box::new(lines) }
    }

    pub(crate) fn next(&mut self) -> Option<(i64, String, Value)> {
        let mut field = |name: &str| {
            let found = self.lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))?;
            Some(found.trim().to_owned())
        };
        let id = field("id:")?;
        let kind = field("event:")?;
        let data = field("data:")?;
        Some((id.parse().unwrap(), kind, serde_json::from_str(&data).unwrap()))
    }
}

#[test]
fn whoever_follows_gets_what_was_and_what_comes_and_goes_on_where_it_stopped() {
    let mut rig = Rig::new();
    rig.enrol("amr-1");
    let job = job_at(&rig, &[]);
    let mut follower = Follower::new(&rig, "", "");
    let (first, kind, data) = follower.next().unwrap();
    assert_eq!((kind.as_str(), &data["job"]), ("JOB_CREATED", &json!(job)));
    rig.post(&format!("/v1/jobs/{job}/quote"), json!({}));
    let (second, kind, _) = follower.next().unwrap();
    assert_eq!(kind, "QUOTE_PROPOSED");
    assert!(second > first);
    drop(follower);

    rig.post(&format!("/v1/jobs/{job}/book"), json!({}));
    let mut again = Follower::new(&rig, "", &format!("last-event-id: {second}\r\n"));
    assert_eq!(again.next().unwrap().1, "BOOKED");
    let mut only = Follower::new(&rig, "?type=BOOKED&after=1", "");
    assert_eq!(only.next().unwrap().1, "BOOKED");
    // A follower does not keep the cloud from stopping, and sees the end.
    rig.stop();
    assert!(again.next().is_none() && only.next().is_none());
}

#[test]
fn a_position_that_is_none_is_refused() {
    let rig = Rig::new();
    let headers = [("Last-Event-ID", "yesterday")];
    let (status, _, answer) = rig.call_with("GET", "/v1/events/stream", &headers, None);
    assert_eq!((status, &answer["code"]), (400, &json!("bad_last_event_id")));
    assert_eq!(rig.call("GET", "/v1/events?after=x", None).0, 400);
    assert_eq!(rig.ask("GET", "/v1/events", None, None, None).0, 401);
}
