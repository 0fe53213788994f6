//! Webhooks from outside: what happened is told, signed, at least once, in order, and nowhere
//! that was not allowed.

use super::rig::{Kind, Mqtt, Rig, RigOn, bytes, csr, up};
use nooterra_cloud::{Clock, Config, WebhookPatience};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything that must happen may take here.
const PATIENCE: Duration = Duration::from_secs(300);

/// A wall clock that stands unless a test moves it on.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Hand {
    fn new() -> Arc<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Arc::new(Self(AtomicI64::new(i64::try_from(now.as_millis()).unwrap())))
    }
}

impl Clock for Hand {
    fn mono(&self) -> MonoNanos {
        MonoNanos(1)
    }
    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::SeqCst))
    }
}

/// What a subscriber was told.
#[derive(Clone, Debug)]
struct Told {
    body: Vec<u8>,
    delivery: String,
    position: i64,
    signature: String,
}

/// A subscriber: it takes what `answer` says, by the count of calls so far.
struct Subscriber {
    address: SocketAddr,
    calls: Arc<AtomicU32>,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Subscriber {
    fn new(answer: impl Fn(u32) -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, told) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, seen) = (calls.clone(), told.clone());
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let call = count.fetch_add(1, Ordering::SeqCst);
                // Zero hangs up without an answer.
                let _ = serve(stream, answer(call), &seen);
            }
        });
        Self { address, calls, told }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn wait(&self, good: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        wait(|| Some(self.told()).filter(|told| good(told)))
    }
}

fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "it did not come to be");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn serve(stream: TcpStream, status: u16, told: &Mutex<Vec<Told>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    let (mut delivery, mut signature) = (String::new(), String::new());
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "nooterra-delivery" => value.clone_into(&mut delivery),
            "nooterra-signature" => value.clone_into(&mut signature),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if status == 200 {
        let event: Value = serde_json::from_slice(&body)?;
        let position = event["position"].as_i64().unwrap_or(0);
        told.lock().unwrap().push(Told { body, delivery, position, signature });
    }
    if status != 0 {
        let answer = format!(
            "HTTP/1.1 {status} said\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        );
        (&stream).write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn allowed(config: &mut Config) {
    config.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
}

fn subscribe(rig: &RigOn<impl Kind>, body: Value) -> (String, String) {
    let answer = rig.post("/v1/webhooks", body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&answer["made"]["id"]), text(&answer["secret"]))
}

fn webhook(rig: &RigOn<impl Kind>, id: &str) -> Value {
    let all = rig.get("/v1/webhooks");
    let all = all["webhooks"].as_array().unwrap();
    all.iter().find(|it| it["id"] == id).unwrap().clone()
}

/// HMAC-SHA256, written once more.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block.to_vec()
    };
    let inner = Digest::of(&[pad(0x36), message.to_vec()].concat());
    Digest::of(&[pad(0x5c), inner.as_bytes().to_vec()].concat()).to_string()
}

#[test]
fn events_are_told_in_order_and_signed_so_that_the_subscriber_can_check_it() {
    let rig = Rig::with(allowed);
    rig.enrol("amr-1");
    let before = rig.dispatch_job("amr-1");
    let subscriber = Subscriber::new(|_| 200);
    let (id, secret) = subscribe(&rig, json!({ "url": subscriber.url() }));
    assert!(!rig.get("/v1/webhooks").to_string().contains(&secret));
    let job = rig.dispatch_job("amr-1");
    let events = rig.get(&format!("/v1/events?stream=job.{job}"));
    let events = events["events"].as_array().unwrap();
    let told = subscriber.wait(|told| told.len() >= events.len());
    for (told, event) in told.iter().zip(events) {
        let body: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(&body, event);
        assert_eq!(told.delivery, format!("{id}.{}", event["position"]));
        let (time, mac) = told.signature.split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let message = [time.as_bytes(), b".", &told.body].concat();
        assert_eq!(mac, hmac(secret.as_bytes(), &message));
    }
    // Nothing of before, and nothing once it is ended.
    assert!(told.iter().all(|told| !String::from_utf8_lossy(&told.body).contains(before.as_str())));
    wait(|| (webhook(&rig, &id)["position"] == events.last().unwrap()["position"]).then_some(()));
    assert!(!rig.post(&format!("/v1/webhooks/{id}/end"), json!({}))["ended_at"].is_null());
    // From the beginning, and of one type only.
    let other = Subscriber::new(|_| 200);
    let body = json!({ "url": other.url(), "after": 0, "types": ["BOOKED"] });
    let (of_one, _) = subscribe(&rig, body);
    let told = other.wait(|told| told.len() >= 2);
    let kinds: BTreeSet<_> = told
        .iter()
        .map(|it| serde_json::from_slice::<Value>(&it.body).unwrap()["type"].clone().to_string())
        .collect();
    assert_eq!(kinds.len(), 1);
    // What is none of its types is passed by.
    let last = rig.get("/v1/events?limit=1000")["next"].clone();
    wait(|| (webhook(&rig, &of_one)["position"] == last).then_some(()));
    // A subscriber that is slow to answer may be told twice, and of nothing else.
    let told: BTreeSet<_> = subscriber.told().iter().map(|told| told.position).collect();
    assert_eq!(told.len(), events.len());
}

#[test]
fn what_fails_is_tried_later_then_is_a_dead_letter_and_is_sent_anew_when_told() {
    let clock = Hand::new();
    let now = clock.clone();
    let rig = Rig::with(|config| {
        allowed(config);
        config.clock = now;
    });
    rig.enrol("amr-1");
    // A refusal, a redirect that is not followed, a hung-up line; and so on, eight times.
    let subscriber = Subscriber::new(|call| match call {
        0..8 => [500, 302, 0, 404][call as usize % 4],
        _ => 200,
    });
    let (id, _) = subscribe(&rig, json!({ "url": subscriber.url() }));
    let job = rig.create_job("amr-1");
    for failures in 1..8_u32 {
        wait(|| (webhook(&rig, &id)["attempts"] == failures).then_some(()));
        // Not before its time, which is four times as long after each.
        assert_eq!(subscriber.calls.load(Ordering::SeqCst), failures);
        clock.0.fetch_add(3_600_000, Ordering::SeqCst);
    }
    wait(|| (webhook(&rig, &id)["dead_letters"] == 1).then_some(()));
    assert!(subscriber.told().is_empty());
    let path = format!("/v1/webhooks/{id}/dead-letters");
    let dead = rig.get(&path)["dead_letters"][0].clone();
    assert_eq!((&dead["attempts"], &dead["state"]), (&json!(8), &json!("dead")));
    assert_eq!(dead["error"], "it answered 404");
    // The next is told meanwhile, and the dead one when somebody says so.
    rig.post(&format!("/v1/jobs/{job}/quote"), json!({}));
    subscriber.wait(|told| told.len() == 1);
    let asked = json!({ "position": dead["position"] });
    let redeliver = format!("/v1/webhooks/{id}/redeliver");
    assert_eq!(rig.post(&redeliver, asked.clone())["waiting"], 1);
    let told = subscriber.wait(|told| told.len() == 2);
    assert_eq!(told[1].position, dead["position"].as_i64().unwrap());
    wait(|| (rig.get(&path)["dead_letters"] == json!([])).then_some(()));
    assert_eq!(rig.post(&redeliver, asked)["waiting"], 0);
}

/// A subscriber that answers its first `good` calls, and takes all others and is silent until it
/// is dropped: then it hangs up.
struct Silent {
    address: SocketAddr,
    held: Arc<Mutex<Option<Vec<TcpStream>>>>,
    told: Arc<AtomicU32>,
}

impl Silent {
    fn after(good: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (held, told) = (Arc::new(Mutex::new(Some(Vec::new()))), Arc::new(AtomicU32::new(0)));
        let it = Self { address, held: held.clone(), told: told.clone() };
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if told.load(Ordering::SeqCst) < good {
                    let _ = serve(stream, 200, &Mutex::default());
                    told.fetch_add(1, Ordering::SeqCst);
                } else if let Some(held) = held.lock().unwrap().as_mut() {
                    held.push(stream);
                }
            }
        });
        it
    }

    /// Calls that nobody has answered and nobody has given up.
    fn open(&self) -> usize {
        let is_open = |stream: &&TcpStream| {
            let mut stream: &TcpStream = stream;
            stream.set_nonblocking(true).unwrap();
            !matches!(stream.read(&mut [0; 1 << 16]), Ok(0))
        };
        let held = self.held.lock().unwrap();
        held.iter().flatten().filter(is_open).count()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        *self.held.lock().unwrap() = None;
    }
}

/// Somebody who may do everything of one tenant's.
struct Tenant<'a, K: Kind> {
    name: String,
    rig: &'a RigOn<K>,
    token: String,
}

impl<'a, K: Kind> Tenant<'a, K> {
    fn new(rig: &'a RigOn<K>, name: &str) -> Self {
        let body = json!({ "families": ["robots", "webhooks"], "principal": name, "role": "admin",
            "tenant": name });
        let token = rig.post("/v1/tokens", body)["token"].as_str().unwrap().to_owned();
        let it = Self { name: name.to_owned(), rig, token };
        let code = it.post("/v1/claim-codes", json!({ "robot": it.robot() }))["code"].clone();
        let csr = csr(&rcgen::KeyPair::generate().unwrap());
        it.post("/v1/enrolments", json!({ "code": code, "csr_pem": csr }));
        it
    }

    fn robot(&self) -> String {
        format!("{}-1", self.name)
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let body = Some(bytes(&body));
        let (status, answer) = self.rig.ask("POST", path, body, Some(&self.token), None);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Two events.
    fn something_happens(&self) {
        let path = format!("/v1/robots/{}/maintenance", self.robot());
        let reason = json!({ "reason": "something happens" });
        self.post(&path, reason.clone());
        self.post(&path.replace("maintenance", "restore"), reason);
    }

    fn subscribe(&self, address: SocketAddr) {
        self.post("/v1/webhooks", json!({ "url": format!("http://{address}/") }));
    }
}

/// Nobody who is silent has failed before the test is over.
fn never_given_up(config: &mut Config) {
    allowed(config);
    let hour = Duration::from_secs(3600);
    config.webhook_patience = WebhookPatience { answer: hour, prompt: hour };
}

#[test]
fn seven_tenants_whose_subscribers_never_answer_hold_up_not_even_a_newcomer() {
    let rig = Rig::with(never_given_up);
    let silent: Vec<_> = (0..7).map(|_| Silent::after(0)).collect();
    for (n, silent) in silent.iter().enumerate() {
        let tenant = Tenant::new(&rig, &format!("silent{n}"));
        (0..4).for_each(|_| tenant.subscribe(silent.address));
        tenant.something_happens();
    }
    // Two calls of each, which nobody gives up.
    wait(|| silent.iter().all(|it| it.open() == 2).then_some(()));
    let subscriber = Subscriber::new(|_| 200);
    let good = Tenant::new(&rig, "good");
    good.subscribe(subscriber.address);
    good.something_happens();
    subscriber.wait(|told| told.len() == 2);
    good.something_happens();
    subscriber.wait(|told| told.len() == 4);
    assert!(silent.iter().all(|it| it.open() == 2));
}

#[test]
fn any_number_of_tenants_whose_subscribers_never_answer_hold_up_nobody_who_does() {
    let rig = Rig::with(never_given_up);
    let subscriber = Subscriber::new(|_| 200);
    let good = Tenant::new(&rig, "good");
    good.subscribe(subscriber.address);
    good.something_happens();
    subscriber.wait(|told| told.len() == 2);
    let silent = Silent::after(0);
    for n in 0..12 {
        let tenant = Tenant::new(&rig, &format!("silent{n}"));
        (0..4).for_each(|_| tenant.subscribe(silent.address));
        tenant.something_happens();
    }
    // There is no slot left for a newcomer.
    wait(|| (silent.open() == 16).then_some(()));
    for told in [4, 6] {
        good.something_happens();
        subscriber.wait(|it| it.len() == told);
    }
    assert_eq!(silent.open(), 16);
}

#[test]
fn whoever_answered_until_now_and_falls_silent_holds_up_the_others_for_a_moment_only() {
    let rig = Rig::with(|config| {
        allowed(config);
        let (answer, prompt) = (Duration::from_secs(3600), Duration::from_secs(2));
        config.webhook_patience = WebhookPatience { answer, prompt };
    });
    let subscriber = Subscriber::new(|_| 200);
    let good = Tenant::new(&rig, "good");
    good.subscribe(subscriber.address);
    // Each is told twice, and is prompt.
    let silent: Vec<_> = (0..12).map(|_| Silent::after(2)).collect();
    let tenants: Vec<_> = (0..3).map(|n| Tenant::new(&rig, &format!("silent{n}"))).collect();
    for (tenant, silent) in tenants.iter().zip(silent.chunks(4)) {
        silent.iter().for_each(|it| tenant.subscribe(it.address));
        tenant.something_happens();
    }
    wait(|| silent.iter().all(|it| it.told.load(Ordering::SeqCst) == 2).then_some(()));
    // And that is kept: what is not theirs is passed by.
    let last = rig.get("/v1/events?limit=1000")["next"].clone();
    wait(|| {
        let all = rig.get("/v1/webhooks")["webhooks"].clone();
        all.as_array().unwrap().iter().all(|it| it["position"] == last).then_some(())
    });
    tenants.iter().for_each(Tenant::something_happens);
    // More than there are slots for the prompt.
    wait(|| silent.iter().all(|it| it.open() == 1).then_some(()));
    good.something_happens();
    subscriber.wait(|told| told.len() == 2);
    assert!(silent.iter().all(|it| it.open() == 1));
}

#[test]
fn no_address_that_is_not_public_is_called_unless_its_network_was_allowed() {
    let subscriber = Subscriber::new(|_| 200);
    let rig = Rig::new();
    rig.enrol("amr-1");
    let refused = json!({ "url": subscriber.url() });
    let (status, body) = rig.call("POST", "/v1/webhooks", Some(refused));
    assert_eq!((status, &body["code"]), (422, &json!("bad_url")));
    for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[::ffff:127.0.0.1]"] {
        let url = format!("https://{host}:{}/", subscriber.address.port());
        let (id, _) = subscribe(&rig, json!({ "url": url }));
        rig.create_job("amr-1");
        let said = wait(|| Some(webhook(&rig, &id)["error"].clone()).filter(|it| !it.is_null()));
        assert!(said.as_str().unwrap().contains("not public"), "{host}: {said}");
        rig.post(&format!("/v1/webhooks/{id}/end"), json!({}));
    }
    assert_eq!(subscriber.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn whenever_the_cloud_is_killed_every_event_is_told_at_least_once() {
    // It hangs up on every third call: some events are under way whenever the cloud dies.
    let subscriber = Subscriber::new(|call| if call % 3 == 2 { 0 } else { 200 });
    let before = ["env", "NOOTERRA_CLOUD_WEBHOOK_ALLOW=127.0.0.0/8"].map(str::to_owned);
    let start = |dir, database| Rig::program(dir, database, &before).ok().unwrap();
    let (dir, database) = Rig::new().stopped();
    let mut rig = start(dir, database);
    rig.enrol("amr-1");
    let (id, _) = subscribe(&rig, json!({ "url": subscriber.url(), "after": 0 }));
    for life in 0..4_usize {
        rig.dispatch_job("amr-1");
        // Killed while it tells, a little later each time.
        subscriber.wait(|told| told.len() > 3 * life);
        let (dir, database) = rig.kill();
        std::fs::File::open(dir.path().join("cloud/lock")).unwrap().lock().unwrap();
        rig = start(dir, database);
    }
    let all = rig.get("/v1/events?limit=1000");
    let all: BTreeSet<i64> = all["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["position"].as_i64().unwrap())
        .collect();
    assert!(all.len() >= 20);
    let told = subscriber.wait(|told| {
        let told: BTreeSet<i64> = told.iter().map(|it| it.position).collect();
        told == all
    });
    // In order, but for what is told again.
    let firsts = told.iter().scan(BTreeSet::new(), |seen, it| Some((seen.insert(it.position), it)));
    let firsts: Vec<_> = firsts.filter(|(new, _)| *new).map(|(_, it)| it.position).collect();
    assert!(firsts.is_sorted(), "{firsts:?}");
    assert_eq!(webhook(&rig, &id)["dead_letters"], 0);
}

/// How often the cloud looked for somebody to tell, so far.
fn looks(rig: &RigOn<impl Kind>) -> u64 {
    let (_, text) = rig.raw("GET", "/metrics", None, Some(&rig.token), None);
    let text = String::from_utf8(text).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix("nooterra_webhook_looks_total "));
    found.unwrap_or_else(|| panic!("no looks in {text}")).parse().unwrap()
}

#[test]
fn what_brings_no_event_is_not_looked_at_while_a_subscriber_is_silent_and_an_event_is() {
    // A newcomer, for whom no look waits.
    let rig = Rig::with(never_given_up);
    let tenant = Tenant::new(&rig, "silent");
    let silent = Silent::after(0);
    tenant.subscribe(silent.address);
    tenant.something_happens();
    wait(|| (silent.open() == 1).then_some(()));
    let mut device = rig.enrol("amr-1");
    let mut link = Mqtt::connect(&rig, &device);
    let (before, began) = (looks(&rig), Instant::now());
    for _ in 0..100 {
        let record = device.record(&Entry::Link(Link { reason: None, up: true }));
        let batch = device.batch(vec![record]);
        link.publish(&device.topic(&up(Class::Normal)), &batch).unwrap();
        link.ack();
    }
    // Twice a second, whatever comes; the second look of the two may be about what was before.
    let looked = looks(&rig) - before;
    let most = began.elapsed().as_millis() / 500 + 3;
    assert!(u128::from(looked) <= most, "{looked} looks, at most {most}");
    // And somebody who answers is told at once of what happens meanwhile.
    let subscriber = Subscriber::new(|_| 200);
    let good = Tenant::new(&rig, "good");
    good.subscribe(subscriber.address);
    for told in [2, 4, 6] {
        good.something_happens();
        subscriber.wait(|it| it.len() == told);
    }
    assert_eq!(silent.open(), 1);
}
