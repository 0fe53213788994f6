//! A device that is hostile: it has a genuine certificate, and everything else is a lie. Each
//! refusal has its code, and nobody else notices.

use crate::rig::{Device, Mqtt, PATIENCE, Rig, stamp};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, PubackReasonCode,
};
use nooterra_evidence::Record;
use nooterra_protocol::codec::{self, Blob};
use nooterra_protocol::entry::{Class, Entry, Link};
use nooterra_protocol::uplink::State;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

/// A robot beside the hostile one that must notice nothing.
struct Bystander {
    client: Mqtt,
    device: Device,
    kept: usize,
}

impl Bystander {
    fn new(rig: &Rig) -> Self {
        let device = rig.enrol("good");
        Self { client: Mqtt::connect(rig, &device), device, kept: 0 }
    }

    /// It is still connected, heard and answered, and a command reaches it.
    fn notices_nothing(&mut self, rig: &Rig) {
        let link = Entry::Link(Link { reason: None, up: true });
        let record = self.device.record(&link);
        let batch = self.device.batch(vec![record]);
        let code = self.client.publish(&self.device.topic("up/normal"), &batch);
        assert_eq!(code, Some(PubackReasonCode::Success));
        self.client.ack();
        self.kept += 1;
        let found = rig.get("/v1/robots/good/records");
        assert_eq!(found["records"].as_array().unwrap().len(), self.kept);
        rig.post("/v1/robots/good/commands", json!({ "ask": { "type": "release_stop" } }));
        self.client.command();
    }
}

fn state(robot: &str) -> Vec<u8> {
    let robot = nooterra_protocol::ids::RobotId::new(robot).unwrap();
    codec::to_vec(&State { health: None, online: true, robot }).unwrap()
}

/// A packet with a length of two bytes before its body, as MQTT writes strings.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn publish(flags: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    body.push(0);
    body.extend(payload);
    let mut packet = vec![0x30 | flags];
    let mut left = body.len();
    loop {
        let byte = u8::try_from(left % 128).unwrap();
        left /= 128;
        packet.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[test]
fn what_the_endpoint_does_not_offer_ends_the_connection_with_the_code_for_it() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let device = rig.enrol("bad");
    let own = device.topic("state");
    let payload = state("bad");
    for (bytes, code) in [
        (publish(1, &own, None, &payload), Some(DisconnectReasonCode::RetainNotSupported)),
        (publish(4, &own, Some(1), &payload), Some(DisconnectReasonCode::QosNotSupported)),
        (
            publish(0, "noot/1/good/state", None, &payload),
            Some(DisconnectReasonCode::NotAuthorized),
        ),
        (publish(0, "", None, &payload), None),
        (publish(6, &own, Some(1), &payload), None),
        (publish(2, &own, Some(0), &payload), None),
        (publish(0, "noot/1/bad/#", None, &payload), None),
        (publish(0, "noot/1/bad/st\0ate", None, &payload), None),
        // Oversize: said in CONNACK, and not even read.
        (b"\x32\xff\xff\xff\x7f".to_vec(), Some(DisconnectReasonCode::PacketTooLarge)),
        // AUTH, PUBREC, PUBREL, PUBCOMP, CONNACK, PINGRESP: none is a robot's to send.
        (b"\xf0\x00".to_vec(), None),
        (b"\x50\x02\x00\x01".to_vec(), None),
        (b"\x62\x02\x00\x01".to_vec(), None),
        (b"\x70\x02\x00\x01".to_vec(), None),
        (b"\x20\x03\x00\x00\x00".to_vec(), None),
        (b"\xd0\x00".to_vec(), None),
        // A PUBACK of nothing that was sent.
        (b"\x40\x02\x00\x63".to_vec(), None),
    ] {
        let mut client = Mqtt::connect(&rig, &device);
        client.send_raw(&bytes);
        let found = client.farewell();
        let shown = &bytes[..bytes.len().min(24)];
        assert!(code.is_none() || found == code, "{shown:x?}: {found:?} {}", client.words);
    }
    bystander.notices_nothing(&rig);
}

#[test]
fn a_connect_that_lies_is_refused_with_the_code_for_it() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let device = rig.enrol("bad");
    let too_long = "x".repeat(300);
    for id in ["good", "", "BAD", "bad/", "+", "#", "bad\u{e9}", too_long.as_str()] {
        let code = Mqtt::dial(&rig, &device).hello(id, None);
        assert_eq!(code, Some(ConnectReasonCode::ClientIdentifierNotValid), "{id}");
    }
    for will in ["noot/1/good/state", "noot/1/good/cmd", "noot/1/bad/up/critical", "$SYS/x"] {
        let mut client = Mqtt::dial(&rig, &device);
        assert_eq!(client.hello("bad", Some(will)), Some(ConnectReasonCode::NotAuthorized));
        assert!(client.words.contains("will"), "{}", client.words);
    }
    // MQTT 3.1.1, a will with wildcards, a retained will, a user name that is another robot's.
    let mut retained = b"\x10\x30\x00\x04MQTT\x05\x26\x00\x1e\x00\x00\x03bad\x00".to_vec();
    retained.extend(text("noot/1/bad/state"));
    retained.extend(text("x"));
    let length = u8::try_from(retained.len() - 2).unwrap();
    retained[1] = length;
    for bytes in [&b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x1e\x00\x03bad"[..], &retained] {
        let mut client = Mqtt::dial(&rig, &device);
        client.send_raw(bytes);
        assert!(client.is_closed(), "{bytes:x?}");
    }
    bystander.notices_nothing(&rig);
    assert_eq!(rig.get("/v1/robots/bad")["online"], false);
}

#[test]
fn a_record_that_is_sent_again_or_from_another_robots_journal_changes_nothing_of_others() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let (mut good, bad) = (rig.enrol("other"), rig.enrol("bad"));
    let job = rig.dispatch_job("other");
    let fact = good.fact(
        nooterra_protocol::event::EventType::EnRoute,
        Some(&job),
        &json!({ "policy_hash": nooterra_protocol::codec::Digest::of(b"p"), "pose": { "x": 0.0, "y": 0.0, "yaw": 0.0 } }),
    );
    // Genuine, and another robot's: kept as a record of who sent it, and no more.
    let mut client = Mqtt::connect(&rig, &bad);
    for _ in 0..3 {
        client.publish(&bad.topic("up/critical"), &bad.batch(vec![fact.clone()]));
    }
    let found = rig.get("/v1/robots/bad/records");
    let found = found["records"].as_array().unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0]["note"].as_str().unwrap().contains("not taken as a fact"), "{found:?}");
    assert_eq!(rig.get(&format!("/v1/jobs/{job}"))["state"], "RESERVED");
    // The robot itself may say it as often as it likes: it counts once.
    let mut client = Mqtt::connect(&rig, &good);
    for _ in 0..3 {
        client.publish(&good.topic("up/critical"), &good.batch(vec![fact.clone()]));
    }
    let job = rig.get(&format!("/v1/jobs/{job}"));
    assert_eq!(job["state"], "EN_ROUTE");
    let events = rig.get(&format!("/v1/jobs/{}/events", job["id"].as_str().unwrap()));
    let on_the_way =
        events["events"].as_array().unwrap().iter().filter(|e| e["type"] == "EN_ROUTE");
    assert_eq!(on_the_way.count(), 1);
    // Another robot's journal name does not reach into its records.
    let record = Record::of_entry(
        &Entry::Link(Link { reason: None, up: true }),
        Class::Normal,
        3,
        1,
        stamp(3),
    );
    let record = Blob(record.unwrap().encode().unwrap());
    Mqtt::connect(&rig, &bad).publish(&bad.topic("up/normal"), &bad.batch(vec![record]));
    assert_eq!(rig.get("/v1/robots/other/records")["records"].as_array().unwrap().len(), 1);
    bystander.notices_nothing(&rig);
}

#[test]
fn a_robot_of_which_too_much_is_refused_is_disconnected_for_its_quota() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let device = rig.enrol("bad");
    for filter in [true, false] {
        let mut client = Mqtt::connect(&rig, &device);
        let mut refused = 0;
        let ended = loop {
            let gone = if filter {
                client.try_subscribe("noot/1/good/cmd").is_none()
            } else {
                client.publish("noot/1/good/state", b"x").is_none()
            };
            if gone {
                break true;
            }
            refused += 1;
            if refused > 200 {
                break false;
            }
        };
        assert!(ended && refused >= 60, "{refused}");
        assert_eq!(client.code, Some(DisconnectReasonCode::QuotaExceeded));
        assert!(client.words.contains("refused"), "{}", client.words);
    }
    bystander.notices_nothing(&rig);
}

#[test]
fn a_flood_waits_in_its_own_socket_and_others_are_answered_meanwhile() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let device = rig.enrol("bad");
    let topic = device.topic("state");
    let mut client = Mqtt::connect(&rig, &device);
    let flood = publish(0, &topic, None, &state("bad")).repeat(500);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let pushing = std::thread::spawn(move || {
        while wait.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            if client.push_until_closed(&flood, Duration::from_millis(200)) {
                return false;
            }
        }
        true
    });
    for _ in 0..10 {
        bystander.notices_nothing(&rig);
    }
    drop(done);
    assert!(pushing.join().unwrap(), "a flood is slowed down, not cut");
    assert_eq!(rig.get("/v1/robots/bad")["online"], true);
}

#[test]
fn a_robot_that_acknowledges_nothing_is_sent_a_window_of_commands_and_the_rest_waits() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let device = rig.enrol("bad");
    let mut client = Mqtt::connect(&rig, &device);
    for _ in 0..20 {
        let ask = json!({ "ask": { "type": "release_stop" }, "ttl_ms": 600_000 });
        rig.post("/v1/robots/bad/commands", ask);
    }
    assert_eq!(client.unacknowledged(8, Duration::from_millis(500)), 8);
    // Nor does asking for them again and again open it further.
    for _ in 0..3 {
        client.subscribe(&[&device.topic("cmd")]);
    }
    assert_eq!(client.unacknowledged(8, Duration::from_millis(500)), 8);
    bystander.notices_nothing(&rig);
}

#[test]
fn a_robot_that_does_not_read_is_given_up_and_holds_up_nobody() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let mut device = rig.enrol("bad");
    let mut client = Mqtt::connect(&rig, &device);
    // Every copy of a batch has two answers, and none of them is read.
    let record = device.record(&Entry::Link(Link { reason: None, up: true }));
    let batch = device.batch(vec![record]);
    let many = publish(2, &device.topic("up/normal"), Some(1), &batch).repeat(64);
    let pushing =
        std::thread::spawn(move || client.push_until_closed(&many, Duration::from_secs(300)));
    for _ in 0..5 {
        bystander.notices_nothing(&rig);
    }
    assert!(pushing.join().unwrap());
    rig.wait("/v1/robots/bad", |robot| robot["online"] == false);
    bystander.notices_nothing(&rig);
}

/// At each stage: before TLS, inside the handshake, before CONNECT, inside a packet.
#[test]
fn whoever_dribbles_or_falls_silent_is_closed_and_other_hosts_connect_meanwhile() {
    let rig = Rig::new();
    let mut bystander = Bystander::new(&rig);
    let (device, other) = (rig.enrol("bad"), rig.enrol("other"));
    let mut unconnected = Mqtt::dial_from([127, 0, 0, 3].into(), &rig, &device);
    // CONNECT, of which the end never comes.
    unconnected.send_raw(b"\x10\x40\x00\x04MQTT\x05");
    let mut rounds = 0;
    let mut silent = loop {
        let mut silent: Vec<_> =
            (0..300).map(|_| std::net::TcpStream::connect(rig.mqtt).unwrap()).collect();
        silent.extend((0..20).map(|_| {
            let mut tcp = std::net::TcpStream::connect(rig.mqtt).unwrap();
            // The head of a ClientHello of 512 bytes, of which no more comes.
            tcp.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
            tcp
        }));
        bystander.notices_nothing(&rig);
        // More than all handshakes that there are, and yet another host has its share.
        let mut elsewhere = Mqtt::dial_from([127, 0, 0, 2].into(), &rig, &other);
        assert_eq!(elsewhere.hello("other", None), Some(ConnectReasonCode::Success));
        // Nobody waited for who is still waited for. On a machine so slow that the first was
        // given up by now, that is not known.
        if is_open(&silent[0]) {
            break silent;
        }
        rounds += 1;
        assert!(rounds < 10, "it waited for the silent ones");
    };
    for tcp in &mut silent {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = [0; 64];
        let end = loop {
            match tcp.read(&mut rest) {
                // An alert may come before the end.
                Ok(1..) => {}
                end => break end,
            }
        };
        let in_vain = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!in_vain, "a silent one is kept");
    }
    bystander.notices_nothing(&rig);
    assert!(unconnected.is_closed());
    bystander.notices_nothing(&rig);
}

/// Whether nothing came from the other side, not even the end.
fn is_open(tcp: &std::net::TcpStream) -> bool {
    tcp.set_nonblocking(true).unwrap();
    let seen = tcp.peek(&mut [0]);
    tcp.set_nonblocking(false).unwrap();
    seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn a_packet_that_never_ends_does_not_keep_a_connection_alive() {
    let rig = Rig::new();
    let device = rig.enrol("bad");
    let mut client = Mqtt::dial(&rig, &device);
    assert_eq!(client.hello_for(2), Some(ConnectReasonCode::Success));
    // A PUBLISH of 100 bytes, one byte now and then: no packet in 1.5 keep-alives.
    client.send_raw(b"\x32\x64\x00\x10");
    let started = Instant::now();
    let mut closed = false;
    while !closed && started.elapsed() < Duration::from_secs(180) {
        client.send_raw(b"x");
        closed = client.is_closed_within(Duration::from_millis(300));
    }
    assert!(closed);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(8))]
    /// Well-formed packets with bytes changed, on one cloud: it answers or closes, and goes on.
    #[test]
    fn packets_with_bytes_changed_never_bring_the_endpoint_down(
        changes in proptest::collection::vec((0_usize..400, proptest::prelude::any::<u8>()), 1..12),
        order in proptest::collection::vec(0_usize..5, 1..8),
    ) {
        thread_local! {
            static RIG: (Rig, Device) = {
                let rig = Rig::new();
                let device = rig.enrol("bad");
                (rig, device)
            };
        }
        RIG.with(|(rig, device)| {
            let packets = [
                publish(2, "noot/1/bad/state", Some(9), &state("bad")),
                publish(0, "noot/1/bad/up/normal", None, &device.batch(vec![])),
                b"\x82\x16\x00\x01\x00\x00\x10noot/1/bad/cmd\x01\x01".to_vec(),
                b"\xc0\x00".to_vec(),
                b"\xe0\x02\x00\x00".to_vec(),
            ];
            let mut bytes: Vec<u8> = order.iter().flat_map(|which| packets[*which].clone()).collect();
            let length = bytes.len();
            for (at, byte) in changes {
                bytes[at % length] = byte;
            }
            let mut client = Mqtt::connect(rig, device);
            client.send_raw(&bytes);
            drop(client);
            assert_eq!(rig.ask("GET", "/healthz", None, None, None).0, 200);
        });
    }
}
