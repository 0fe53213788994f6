//! The page for people, and what the API shows for it: how it is served, a robot as it is
//! watched, its policy and its black box.

use crate::rig::{Device, Mqtt, Rig, dial, tls_config};
use mqtt_protocol_core::mqtt::result_code::PubackReasonCode;
use nooterra_evidence::{Checkpoint, Seal};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Command, Source};
use nooterra_protocol::entry::{Class, Entry, Gap, Sample};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::keys::{Ed25519Key, Signer};
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::policy_part::PolicyPart;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};

fn sample(x: f64) -> Entry {
    Entry::Sample(Sample {
        allowed: Command::Drive(Twist::default()),
        asked: Twist::default().into(),
        battery: None,
        joints: None,
        limit_mps: 1.0,
        pose: Pose { x, y: 0.0, yaw: 0.0 },
        source: Source::Idle,
        twist: Twist::default(),
    })
}

/// Sends entries as one batch of `class`, and waits until they are kept.
fn send(client: &mut Mqtt, device: &mut Device, class: Class, entries: &[Entry]) {
    let records = entries.iter().map(|entry| device.record(entry)).collect();
    let batch = device.batch(records);
    let topic = device.topic(&crate::rig::up(class));
    assert_eq!(client.publish(&topic, &batch), Some(PubackReasonCode::Success));
}

fn head(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (status, head, _) = rig.call_with("GET", path, headers, None);
    (status, head.to_lowercase())
}

#[test]
fn the_page_is_served_with_a_policy_that_lets_nothing_inline_or_foreign_run() {
    let rig = Rig::new();
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/console/index.html", "text/html; charset=utf-8"),
        ("/console/main.js", "text/javascript; charset=utf-8"),
        ("/console/console.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        let (status, head) = head(&rig, path, &[]);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("content-type: {media_type}\r\n")), "{path}: {head}");
        let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
        let policy = policy.unwrap_or_else(|| panic!("{path}: {head}"));
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"));
        for wanted in ["x-content-type-options: nosniff", "referrer-policy: no-referrer"] {
            assert!(head.contains(wanted), "{path}: {head}");
        }
    }
    // It needs no token, and shows nothing that does.
    assert_eq!(rig.raw("GET", "/", None, None, None).0, 200);
}

#[test]
fn a_page_that_the_browser_has_is_not_sent_again_and_a_file_that_is_none_is_missing() {
    let rig = Rig::new();
    let (_, first) = head(&rig, "/console/map.js", &[]);
    let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (status, again) = head(&rig, "/console/map.js", &[("If-None-Match", tag)]);
    assert_eq!(status, 304);
    assert!(again.contains("cache-control: no-cache"), "{again}");
    for path in ["/console/", "/console/mod.rs", "/console/..%2fmod.rs", "/console/a/b"] {
        let (status, body) = rig.ask("GET", path, None, None, None);
        assert_eq!((status, &body["code"]), (404, &json!("no_such_path")), "{path}");
    }
    let (status, body) = rig.ask("POST", "/", None, None, None);
    assert_eq!((status, &body["code"]), (405, &json!("method_not_allowed")));
}

/// Reads a robot's live stream: kind and data.
struct Watcher(Box<dyn Iterator<Item = String>>);

impl Watcher {
    fn new(rig: &Rig, headers: &str) -> Self {
        let mut tls = dial(rig.http, &tls_config(&rig.root_pem, None));
        let token = &rig.token;
        write!(
            tls,
            "GET /v1/robots/amr-1/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             {headers}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(tls).lines().map_while(Result::ok);
        let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(head[0].contains("200"), "{head:?}");
        Self(Box::new(lines))
    }

    fn next(&mut self) -> Option<(String, Value)> {
        let mut field = |name: &str| {
            let found = self.0.find_map(|line| line.strip_prefix(name).map(str::to_owned))?;
            Some(found.trim().to_owned())
        };
        // Where both come, the id stands before the event.
        let kind = field("event:")?;
        Some((kind, serde_json::from_str(&field("data:")?).unwrap()))
    }

    fn take(&mut self, count: usize) -> Vec<(String, Value)> {
        (0..count).map(|_| self.next().unwrap()).collect()
    }
}

#[test]
fn who_watches_gets_the_newest_then_what_comes_and_goes_on_after_a_break() {
    let mut rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    send(&mut client, &mut device, Class::Bulk, &[sample(1.0), sample(2.0)]);
    let mut watcher = Watcher::new(&rig, "");
    let first = watcher.take(3);
    assert_eq!(first[0].0, "start");
    let place = |(kind, data): &(String, Value)| {
        assert_eq!(kind, "sample");
        data["body"]["pose"]["x"].as_f64().unwrap()
    };
    assert_eq!(first[1..].iter().map(place).collect::<Vec<_>>(), [1.0, 2.0]);
    send(&mut client, &mut device, Class::Bulk, &[sample(3.0)]);
    let came = watcher.next().unwrap();
    assert_eq!(place(&came).to_bits(), 3.0_f64.to_bits());
    drop(watcher);

    send(&mut client, &mut device, Class::Bulk, &[sample(4.0)]);
    let mut again = Watcher::new(&rig, &format!("last-event-id: {}\r\n", came.1["cursor"]));
    assert_eq!(place(&again.next().unwrap()).to_bits(), 4.0_f64.to_bits());
    // A watcher does not keep the cloud from stopping, and sees the end.
    rig.stop();
    assert!(again.next().is_none());
}

#[test]
fn who_fell_far_behind_is_shown_the_newest_again_and_not_all_that_was_missed() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    for batch in 0..14 {
        let entries: Vec<_> = (0..100).map(|at| sample(f64::from(100 * batch + at))).collect();
        send(&mut client, &mut device, Class::Bulk, &entries);
    }
    let mut watcher = Watcher::new(&rig, "last-event-id: 1\r\n");
    let shown = watcher.take(601);
    assert_eq!(shown[0].0, "start");
    assert_eq!(shown[1].1["body"]["pose"]["x"], 800.0);
    assert_eq!(shown[600].1["body"]["pose"]["x"], 1399.0);
    // A little behind is no reason to begin anew.
    let cursor = shown[500].1["cursor"].clone();
    let mut near = Watcher::new(&rig, &format!("last-event-id: {cursor}\r\n"));
    let (kind, data) = near.next().unwrap();
    assert_eq!((kind.as_str(), &data["body"]["pose"]["x"]), ("sample", &json!(1300.0)));
}

fn policy() -> (Signed<PolicyDocument>, Vec<Entry>) {
    let document: PolicyDocument =
        serde_json::from_str(include_str!("../../../examples/robots/amr/policy.json")).unwrap();
    let signed = Signed::sign(document, &Ed25519Key::from_seed([7; 32])).unwrap();
    let parts = PolicyPart::split(signed.bytes()).into_iter().map(Entry::Policy).collect();
    (signed, parts)
}

#[test]
fn the_policy_that_a_robot_reported_is_shown_by_its_checked_hash() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let (status, body) = rig.call("GET", "/v1/robots/amr-1/policy", None);
    assert_eq!((status, &body["code"]), (404, &json!("no_policy_reported")));
    let mut client = Mqtt::connect(&rig, &device);
    let (signed, parts) = policy();
    send(&mut client, &mut device, Class::Normal, &parts);
    let shown = rig.get("/v1/robots/amr-1/policy");
    assert_eq!(shown["hash"], signed.digest().to_string());
    assert_eq!(shown["document"]["zones"][0]["id"], "hall");
    // The robot has not said yet which one it is under.
    assert_eq!(shown["in_force"], false);
    // One that claims a hash that is not its own is not shown.
    let Entry::Policy(mut forged) = parts[0].clone() else { panic!("no part") };
    forged.hash = Digest::of(b"another");
    send(&mut client, &mut device, Class::Normal, &[Entry::Policy(forged)]);
    assert_eq!(rig.call("GET", "/v1/robots/amr-1/policy", None).0, 404);
}

#[test]
fn the_box_says_what_came_here_what_is_missing_and_whether_its_checkpoint_is_genuine() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    assert_eq!(rig.get("/v1/robots/amr-1/box")["journal"], Value::Null);
    let mut client = Mqtt::connect(&rig, &device);
    let gap = Entry::Gap(Gap { dropped: 9, reason: "the disk was full".to_owned() });
    send(&mut client, &mut device, Class::Critical, &[gap]);
    // Two places between any two records here belong to what never comes.
    send(&mut client, &mut device, Class::Bulk, &[sample(1.0)]);
    let shown = rig.get("/v1/robots/amr-1/box");
    let first = shown["first_seq"].as_u64().unwrap();
    assert_eq!(shown["last_seq"].as_u64(), Some(first + 3));
    assert_eq!((&shown["records"], &shown["missing"]), (&json!(2), &json!(2)));
    assert!(shown["gaps"][0]["what"].as_str().unwrap().contains("9 records lost"));
    assert_eq!(shown["checkpoint"], Value::Null);
    // What came already changes nothing of that.
    let again = vec![device.record(&sample(2.0))];
    for _ in 0..2 {
        client.publish(&device.topic("up/bulk"), &device.batch(again.clone()));
        client.ack();
        let shown = rig.get("/v1/robots/amr-1/box");
        assert_eq!((&shown["records"], &shown["missing"]), (&json!(3), &json!(4)));
    }

    let checkpoint = |device: &Device, key: &dyn Signer| {
        let (journal, stamp) = (device.journal.clone(), crate::rig::stamp(7));
        let seal = Seal::session(key, [9; 32], 1, journal.clone(), stamp).unwrap();
        let (head, root, policy_hash) = (Digest::of(b"h"), Digest::of(b"r"), Digest::of(b"p"));
        let size = 41;
        Checkpoint { boot: 1, head, journal, policy_hash, root, size, stamp, v: 1 }
            .into_entry(&seal)
            .unwrap()
    };
    let genuine = checkpoint(&device, &device.key);
    send(&mut client, &mut device, Class::Normal, &[genuine]);
    let shown = rig.get("/v1/robots/amr-1/box")["checkpoint"].clone();
    assert_eq!((&shown["genuine"], &shown["size"]), (&json!(true), &json!(41)));
    let forged = checkpoint(&device, &Ed25519Key::from_seed([3; 32]));
    send(&mut client, &mut device, Class::Normal, &[forged]);
    assert_eq!(rig.get("/v1/robots/amr-1/box")["checkpoint"]["genuine"], false);
}

#[test]
fn what_people_watch_needs_the_token_too() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    for path in ["live", "policy", "box"] {
        let path = format!("/v1/robots/amr-1/{path}");
        for token in [None, Some("wrong")] {
            let (status, body) = rig.ask("GET", &path, None, token, Some(&device));
            assert_eq!((status, &body["code"]), (401, &json!("unauthorized")), "{path}");
        }
        let other = path.replace("amr-1", "amr-2");
        assert_eq!(rig.call("GET", &other, None).0, 404, "{other}");
    }
}
