//! The MQTT endpoint: whose topics, what is kept, what is sent again, and hostile clients.

use super::rig::{Device, Mqtt, Rig, foreign_identity, stamp, tls_config, tls_config_with, up};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, PubackReasonCode};
use nooterra_evidence::Record;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, Asked, RemoteCommand};
use nooterra_protocol::entry::{
    Class, CommandReceived, CommandRefused, Entry, Link, Rule, Verdict, VerdictPhase,
};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{EnvelopeId, PolicyId, RobotId};
use nooterra_protocol::observation::Capabilities;
use nooterra_protocol::uplink::{Health, State};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::time::Duration;

fn link(up: bool) -> Entry {
    Entry::Link(Link { reason: None, up })
}

fn verdict(command: Option<EnvelopeId>) -> Entry {
    Entry::Verdict(Verdict {
        allowed: Twist::new(0.5, 0.0).into(),
        asked: Asked::Drive { angular: Some(0.0), linear: Some(2.0) },
        command,
        job: None,
        limit: 0.5,
        phase: VerdictPhase::Began,
        policy_hash: Digest::of(b"policy"),
        pose: Pose::default(),
        rule: Rule::SpeedLinear,
        source: nooterra_protocol::command::Source::Operator,
        tick: 7,
        zone: None,
    })
}

fn health(robot: &RobotId) -> State {
    let capabilities = Capabilities {
        names: vec!["drive".to_owned()],
        max_linear_mps: 1.5,
        max_angular_radps: 2.0,
        model: "sim".to_owned(),
    };
    State {
        health: Some(Health {
            agent_version: "0.1.0".to_owned(),
            battery: None,
            capabilities,
            emergency_stop: false,
            job: None,
            journal_bound_bytes: None,
            journal_bytes: None,
            journal_records: 3,
            key_store: "file".to_owned(),
            mode: None,
            policy: PolicyId::new("p").unwrap(),
            policy_hash: Digest::of(b"policy"),
            pose: None,
            vetoed: false,
        }),
        online: true,
        robot: robot.clone(),
    }
}

fn open(device: &Device, bytes: &[u8]) -> RemoteCommand {
    use nooterra_protocol::keys::Signer as _;
    assert_ne!(device.key.verifying_key(), device.command_key);
    let key = &device.command_key;
    Signed::verify(bytes, |id| (id == key.key_id()).then_some(key)).unwrap().into_body()
}

fn records(rig: &Rig, robot: &str) -> Vec<Value> {
    rig.get(&format!("/v1/robots/{robot}/records"))["records"].as_array().unwrap().clone()
}

#[test]
fn a_robot_is_online_while_it_is_connected_and_tells_what_it_can_do() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let state = codec::to_vec(&health(&device.robot)).unwrap();
    assert_eq!(client.publish(&device.topic("state"), &state), Some(PubackReasonCode::Success));
    let robot = rig.get("/v1/robots/amr-1");
    assert_eq!((&robot["online"], &robot["capabilities"]["model"]), (&json!(true), &json!("sim")));
    assert_eq!(robot["health"]["policy_hash"], Digest::of(b"policy").to_string());
    // Its parting words do not erase how it was.
    let parting = State { health: None, online: false, robot: device.robot.clone() };
    client.publish(&device.topic("state"), &codec::to_vec(&parting).unwrap());
    drop(client);
    let robot = rig.wait("/v1/robots/amr-1", |robot| robot["online"] == false);
    assert_eq!(robot["capabilities"]["model"], "sim");
    assert!(robot["last_seen"].as_i64().unwrap() > 1_700_000_000_000);
}

#[test]
fn without_a_client_certificate_or_with_a_foreign_one_there_is_no_mqtt() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let foreign = foreign_identity(rig.dir.path(), &device);
    let expired = tls_config_with(&rig.root_pem, Some(foreign));
    for config in [tls_config(&rig.root_pem, None), expired] {
        let mut tls = crate::rig::dial(rig.mqtt, &config);
        // In TLS 1.3 the client learns of the refusal when it reads.
        let _ = tls.write_all(b"\x10\x00");
        let _ = tls.flush();
        assert!(!matches!(tls.read(&mut [0; 16]), Ok(1..)));
    }
    let (status, _) = rig.ask("GET", "/healthz", None, None, None);
    assert_eq!(status, 200);
}

#[test]
fn a_robot_that_is_not_enrolled_is_refused_even_with_a_genuine_certificate() {
    // The database was lost, the authority was kept.
    let mut rig = Rig::new();
    let device = rig.enrol("amr-1");
    rig.stop();
    rig.lose_database();
    let rig = rig.restart();
    let code = Mqtt::dial(&rig, &device).hello("amr-1", None);
    assert_eq!(code, Some(ConnectReasonCode::NotAuthorized));
}

#[test]
fn a_client_that_names_itself_otherwise_or_wills_elsewhere_is_refused() {
    let rig = Rig::new();
    let (device, other) = (rig.enrol("amr-1"), rig.enrol("amr-2"));
    let mut others = Mqtt::connect(&rig, &other);
    let code = Mqtt::dial(&rig, &device).hello("amr-2", None);
    assert_eq!(code, Some(ConnectReasonCode::ClientIdentifierNotValid));
    for will in [other.topic("state"), device.topic("cmd"), "anything".to_owned()] {
        let code = Mqtt::dial(&rig, &device).hello("amr-1", Some(&will));
        assert_eq!(code, Some(ConnectReasonCode::NotAuthorized), "{will}");
    }
    let code = Mqtt::dial(&rig, &device).hello("amr-1", Some(&device.topic("state")));
    assert_eq!(code, Some(ConnectReasonCode::Success));
    assert!(others.is_silent_for(Duration::from_millis(200)));
}

#[test]
fn a_robot_publishes_and_subscribes_to_its_own_topics_only() {
    let rig = Rig::new();
    let (mut device, other) = (rig.enrol("amr-1"), rig.enrol("amr-2"));
    let mut client = Mqtt::connect(&rig, &device);
    let record = device.record(&link(true));
    let batch = device.batch(vec![record]);
    for topic in [
        other.topic("up/normal"),
        other.topic("state"),
        other.topic("cmd"),
        other.topic("ack"),
        device.topic("cmd"),
        device.topic("ack"),
        device.topic("up/other"),
        "x".to_owned(),
        "noot/1/amr-1/up/normal/x".to_owned(),
        "$SYS/x".to_owned(),
    ] {
        let code = client.publish(&topic, &batch);
        assert_eq!(code, Some(PubackReasonCode::NotAuthorized), "{topic}");
    }
    let others_state = codec::to_vec(&health(&other.robot)).unwrap();
    let code = client.publish(&device.topic("state"), &others_state);
    assert_eq!(code, Some(PubackReasonCode::NotAuthorized));
    let filters = [
        "#",
        "+/+/+/+",
        "noot/1/+/cmd",
        "noot/1/amr-2/cmd",
        "noot/1/amr-2/ack",
        "noot/1/amr-1/#",
        "noot/1/amr-1/up/normal",
        "noot/1/amr-1/state",
        "$share/g/noot/1/amr-1/cmd",
    ];
    for filter in filters {
        assert_eq!(client.subscribe(&[filter]), [0x87], "{filter}");
    }
    assert!(records(&rig, "amr-1").is_empty() && records(&rig, "amr-2").is_empty());
    assert_eq!(rig.get("/v1/robots/amr-2")["health"], Value::Null);
    // A command to the other robot reaches nobody here.
    rig.post("/v1/robots/amr-2/commands", json!({ "ask": { "type": "release_stop" } }));
    assert!(client.is_silent_for(Duration::from_millis(300)));
    client.publish_qos0(&other.topic("state"), b"x");
    assert!(client.is_closed());
}

#[test]
fn a_batch_is_kept_then_acknowledged_and_a_second_copy_changes_nothing() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let kept = vec![device.record(&link(true)), device.record(&verdict(None))];
    let through = Record::decode(&kept[1].0).unwrap().seq;
    let batch = device.batch(kept);
    for _ in 0..2 {
        let code = client.publish(&device.topic(&up(Class::Normal)), &batch);
        assert_eq!(code, Some(PubackReasonCode::Success));
        let ack = client.ack();
        assert_eq!((ack.class, ack.through_seq), (Class::Normal, through));
        assert_eq!(ack.journal, device.journal);
    }
    let found = records(&rig, "amr-1");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["kind"], "link");
    assert_eq!(found[0]["body"], json!({ "reason": null, "up": true }));
    assert_eq!(found[1]["body"]["rule"], "speed.linear");
    assert_eq!(found[1]["body"]["policy_hash"], Digest::of(b"policy").to_string());
    let after = rig.get(&format!("/v1/robots/amr-1/records?after={}", found[0]["cursor"]));
    assert_eq!(after["records"].as_array().unwrap().len(), 1);
    let verdicts = rig.get("/v1/robots/amr-1/verdicts");
    assert_eq!(verdicts["records"], json!([found[1]]));
    assert_eq!(rig.get("/v1/robots/amr-1/records?class=critical")["records"], json!([]));
    assert_eq!(rig.get("/v1/robots/amr-1/records?kind=link")["records"], json!([found[0]]));
}

#[test]
fn two_records_with_one_position_are_both_kept_and_the_second_is_noted() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    for up in [true, false] {
        let record = Record::of_entry(&link(up), Class::Normal, 5, 1, stamp(5)).unwrap();
        let batch = device.batch(vec![Blob(record.encode().unwrap())]);
        client.publish(&device.topic("up/normal"), &batch);
        assert_eq!(client.ack().through_seq, 5);
    }
    let found = records(&rig, "amr-1");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["note"], Value::Null);
    assert_eq!(found[1]["note"], "another record has this position");
}

#[test]
fn a_batch_that_is_damaged_is_refused_whole_and_not_acknowledged() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let good = device.record(&link(true));
    let next = device.record(&link(false));
    let mut cut = next.clone();
    cut.0.pop();
    let whole = device.batch(vec![good.clone()]);
    for (topic, payload) in [
        ("up/normal", b"nonsense".to_vec()),
        ("up/normal", whole[..whole.len() - 1].to_vec()),
        ("up/normal", device.batch(vec![])),
        ("up/normal", device.batch(vec![good.clone(), cut])),
        ("up/normal", device.batch(vec![next.clone(), good.clone()])),
        ("up/normal", device.batch(vec![good.clone(), good.clone()])),
        ("up/critical", whole.clone()),
    ] {
        let code = client.publish(&device.topic(topic), &payload);
        assert_eq!(code, Some(PubackReasonCode::PayloadFormatInvalid));
    }
    assert!(client.is_silent_for(Duration::from_millis(200)));
    assert!(records(&rig, "amr-1").is_empty());
    assert_eq!(client.publish(&device.topic("up/normal"), &whole), Some(PubackReasonCode::Success));
}

#[test]
fn a_command_is_signed_sent_and_its_fate_is_read_from_the_journal() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let ask =
        json!({ "type": "drive", "lease_ms": 500, "twist": { "linear": 2.0, "angular": 0.0 } });
    let sent = rig.post("/v1/robots/amr-1/commands", json!({ "ask": ask, "ttl_ms": 50_000 }));
    assert_eq!((&sent["state"], &sent["ask"]), (&json!("sent"), &ask));
    let bytes = client.command();
    let command = open(&device, &bytes);
    command.check(&device.robot, command.issued_at).unwrap();
    assert_eq!(command.id.as_str(), sent["id"]);
    assert_eq!(command.expires_at.millis_since(command.issued_at), 50_000);
    assert!(matches!(command.body, Ask::Drive { lease_ms: 500, .. }));

    let received = CommandReceived {
        ask: "drive".to_owned(),
        id: command.id.clone(),
        signed: Blob(bytes.clone()).into(),
    };
    let critical = vec![device.record(&Entry::CommandReceived(received))];
    client.publish(&device.topic("up/critical"), &device.batch(critical));
    let normal =
        vec![device.record(&verdict(Some(command.id.clone()))), device.record(&verdict(None))];
    client.publish(&device.topic("up/normal"), &device.batch(normal));
    let path = format!("/v1/robots/amr-1/commands/{}", command.id);
    let fate = rig.get(&path);
    assert_eq!(fate["state"], "accepted");
    assert_eq!(fate["verdicts"].as_array().unwrap().len(), 1);
    assert_eq!(fate["verdicts"][0]["verdict"]["asked"]["linear"], 2.0);
    assert_eq!(fate["verdicts"][0]["verdict"]["allowed"]["linear"], 0.5);
    // A second copy that is refused as a replay does not undo that.
    let replay = CommandRefused {
        digest: Digest::of(&bytes),
        id: Some(command.id.clone()),
        reason: "a replay".to_owned(),
    };
    let critical = vec![device.record(&Entry::CommandRefused(replay))];
    client.publish(&device.topic("up/critical"), &device.batch(critical));
    assert_eq!(rig.get(&path)["state"], "accepted");
}

#[test]
fn a_refused_and_an_expired_command_say_so() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let stop = json!({ "type": "emergency_stop", "reason": "test" });
    let refused = rig.post("/v1/robots/amr-1/commands", json!({ "ask": stop, "ttl_ms": 600_000 }));
    let expired = rig.post("/v1/robots/amr-1/commands", json!({ "ask": stop, "ttl_ms": 1 }));
    let mut client = Mqtt::connect(&rig, &device);
    let bytes = client.command();
    let entry = Entry::CommandRefused(CommandRefused {
        digest: Digest::of(&bytes),
        id: None,
        reason: "the signature is wrong".to_owned(),
    });
    let batch = vec![device.record(&entry)];
    client.publish(&device.topic("up/critical"), &device.batch(batch));
    client.ack();
    let commands = rig.get("/v1/robots/amr-1/commands");
    let commands = commands["commands"].as_array().unwrap();
    assert_eq!((&commands[0]["id"], &commands[0]["state"]), (&expired["id"], &json!("expired")));
    assert_eq!((&commands[1]["id"], &commands[1]["state"]), (&refused["id"], &json!("refused")));
    assert_eq!(commands[1]["reason"], "the signature is wrong");
    // What expired is never sent.
    assert!(client.is_silent_for(Duration::from_millis(200)));
}

#[test]
fn commands_are_sent_again_on_each_connection_until_the_journal_names_them() {
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    // More than one window, while the robot is away.
    let ids = (0..20)
        .map(|_| {
            let body = json!({ "ask": { "type": "release_stop" }, "ttl_ms": 600_000 });
            rig.post("/v1/robots/amr-1/commands", body)["id"].clone()
        })
        .collect::<Vec<_>>();
    let mut received = Vec::new();
    for _ in 0..2 {
        let mut client = Mqtt::connect(&rig, &device);
        received = (0..20).map(|_| client.command()).collect::<Vec<_>>();
        let seen = received.iter().map(|b| json!(open(&device, b).id)).collect::<Vec<_>>();
        assert_eq!(seen, ids);
        assert!(client.is_silent_for(Duration::from_millis(100)));
    }
    let entries = received[..19]
        .iter()
        .map(|bytes| {
            let id = open(&device, bytes).id;
            let ask = "release_stop".to_owned();
            let signed = Blob(bytes.clone()).into();
            Entry::CommandReceived(CommandReceived { ask, id, signed })
        })
        .collect::<Vec<_>>();
    let batch = entries.iter().map(|entry| device.record(entry)).collect();
    let mut client = Mqtt::dial(&rig, &device);
    client.hello("amr-1", None);
    client.publish(&device.topic("up/critical"), &device.batch(batch));
    client.subscribe(&[&device.topic("cmd")]);
    assert_eq!(json!(open(&device, &client.command()).id), ids[19]);
    assert!(client.is_silent_for(Duration::from_millis(200)));
}

#[test]
fn a_second_connection_of_a_robot_takes_over() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut first = Mqtt::connect(&rig, &device);
    let mut second = Mqtt::connect(&rig, &device);
    assert!(first.is_closed());
    assert_eq!(rig.get("/v1/robots/amr-1")["online"], true);
    rig.post("/v1/robots/amr-1/commands", json!({ "ask": { "type": "release_stop" } }));
    second.command();
}

#[test]
fn a_stopping_cloud_closes_its_connections() {
    let mut rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let started = std::time::Instant::now();
    rig.stop();
    // It waits for nobody's keep-alive, which would be half as long again.
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(client.is_closed());
}

#[test]
fn packets_that_are_too_large_or_no_mqtt_end_the_connection_and_nothing_else() {
    let rig = Rig::new();
    let (mut device, other) = (rig.enrol("amr-1"), rig.enrol("amr-2"));
    let mut bystander = Mqtt::connect(&rig, &other);
    let record = device.record(&link(true));
    let batch = device.batch(vec![record]);
    // PUBLISH with a remaining length of 200 kB; reserved type 0; SUBACK from a client; a
    // second CONNECT; a PUBLISH that ends early.
    let hostile: [&[u8]; 5] = [
        b"\x32\xc0\x9a\x0c",
        b"\x00\x00",
        b"\x90\x04\x00\x01\x00\x00",
        b"\x10\x12\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x05amr-1",
        b"\x32\x03\x00\x09a",
    ];
    for bytes in hostile {
        let mut client = Mqtt::connect(&rig, &device);
        client.send_raw(bytes);
        assert!(client.is_closed(), "{bytes:x?}");
    }
    // A first packet that is not CONNECT.
    for bytes in [&b"\xc0\x00"[..], b"\x82\x0a\x00\x01\x00\x00\x04abcd\x01"] {
        let mut client = Mqtt::dial(&rig, &device);
        client.send_raw(bytes);
        assert!(client.is_closed(), "{bytes:x?}");
    }
    let mut client = Mqtt::connect(&rig, &device);
    let code = client.publish(&device.topic("up/normal"), &batch);
    assert_eq!(code, Some(PubackReasonCode::Success));
    assert!(bystander.is_silent_for(Duration::from_millis(50)));
    assert_eq!(rig.get("/v1/robots/amr-2")["online"], true);
}

#[test]
fn random_bytes_never_bring_the_endpoint_down() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..40 {
        let mut client = Mqtt::connect(&rig, &device);
        let noise = (0..64)
            .map(|_| {
                // xorshift64: the same noise each time.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect::<Vec<_>>();
        client.send_raw(&noise);
        drop(client);
        assert_eq!(rig.ask("GET", "/healthz", None, None, None).0, 200, "round {round}");
    }
    Mqtt::connect(&rig, &device);
}

#[test]
fn handshakes_that_never_end_hold_up_nobody_else() {
    let rig = Rig::new();
    let device = rig.enrol("amr-1");
    let idle: Vec<_> = [rig.mqtt, rig.http]
        .into_iter()
        .flat_map(|address| (0..50).map(move |_| std::net::TcpStream::connect(address).unwrap()))
        .collect();
    // One after the other, a hundred of them would be longer than anything here waits.
    Mqtt::connect(&rig, &device);
    assert_eq!(rig.ask("GET", "/healthz", None, None, None).0, 200);
    drop(idle);
}

/// The client that the agent is built on, with the options that it needs.
#[test]
fn rumqttc_gets_on_with_the_endpoint() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
    let rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    rig.post("/v1/robots/amr-1/commands", json!({ "ask": { "type": "release_stop" } }));
    let config = tls_config(&rig.root_pem, Some(&device));
    let record = device.record(&link(true));
    let (topics, batch) =
        (["ack", "cmd", "up/normal"].map(|end| device.topic(end)), device.batch(vec![record]));
    let mut options = MqttOptions::new("amr-1", rig.mqtt.ip().to_string(), rig.mqtt.port());
    let tls = rumqttc::TlsConfiguration::Rustls(config);
    options.set_transport(rumqttc::Transport::tls_with_config(tls));
    options.set_keep_alive(Duration::from_secs(5));
    let events = async {
        let (client, mut events) = AsyncClient::new(options, 16);
        let (mut seen, mut published) = (Vec::new(), false);
        while seen.len() < 5 {
            match events.poll().await.unwrap() {
                Event::Incoming(Incoming::ConnAck(connack)) => {
                    assert!(!connack.session_present);
                    seen.push("connack");
                    client.subscribe(&topics[0], QoS::AtLeastOnce).await.unwrap();
                    client.subscribe(&topics[1], QoS::AtLeastOnce).await.unwrap();
                }
                Event::Incoming(Incoming::SubAck(_)) if !published => {
                    seen.push("suback");
                    published = true;
                    let payload = batch.clone();
                    client.publish(&topics[2], QoS::AtLeastOnce, false, payload).await.unwrap();
                }
                Event::Incoming(Incoming::PubAck(_)) => seen.push("puback"),
                Event::Incoming(Incoming::Publish(publish)) => {
                    seen.push(if publish.topic.ends_with(b"/ack") { "ack" } else { "cmd" });
                }
                _ => {}
            }
        }
        seen.sort_unstable();
        seen
    };
    let seen = rig
        .runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(180), events).await.unwrap() });
    assert_eq!(seen, ["ack", "cmd", "connack", "puback", "suback"]);
}
