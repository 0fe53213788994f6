//! The same cloud over a real broker: mosquitto from Debian, with the configuration that
//! `nooterra-cloud broker` writes.

use crate::ports;
use crate::rig::{Device, Mqtt, PATIENCE, Rig, tls_config_with};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, PubackReasonCode};
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{CommandReceived, Entry, Link};
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::event::{Completed, EventType as E, Heartbeat, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use nooterra_protocol::uplink::State;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/sbin/mosquitto";

/// A broker, as long as it is held.
struct Mosquitto {
    address: SocketAddr,
    child: Child,
    configuration: PathBuf,
}

impl Mosquitto {
    /// With the shipped configuration but for the port.
    fn start(files: &Path) -> Self {
        let address = ports::free();
        let shipped = std::fs::read_to_string(files.join("mosquitto.conf")).unwrap();
        let listener = format!("listener {} 127.0.0.1", address.port());
        assert_eq!(shipped.matches("listener 8883").count(), 1);
        let mut text = shipped.replace("listener 8883", &listener);
        if nix::unistd::geteuid().is_root() {
            // Otherwise it becomes a user that may not read what a test wrote.
            text.push_str("user root\n");
        }
        let configuration = files.join("test.conf");
        std::fs::write(&configuration, text).unwrap();
        Self { address, child: Self::run(&configuration, address), configuration }
    }

    fn run(configuration: &Path, address: SocketAddr) -> Child {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(configuration).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "mosquitto ended");
            assert!(started.elapsed() < PATIENCE, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has its files read again, as `systemctl reload mosquitto` does.
    fn reload(&self) {
        let id = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// The revocation list as it is now.
    fn list(&self) -> Vec<u8> {
        std::fs::read(self.configuration.with_file_name("robots.crl")).unwrap()
    }

    /// Waits until the list is another one than `before`, and has it read.
    fn take_list(&self, before: &[u8]) {
        let started = Instant::now();
        while self.list() == before {
            assert!(started.elapsed() < PATIENCE, "the list stays as it was");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.reload();
    }

    fn start_again(&mut self) {
        self.child = Self::run(&self.configuration, self.address);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cloud and its broker; none where mosquitto is not installed.
fn rig() -> Option<(Rig, Mosquitto)> {
    if !Path::new(PROGRAM).exists() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let line =
            format!("\nSKIPPED: {test}: mosquitto is not installed: apt install mosquitto\n");
        // Past the harness, which keeps to itself what a test prints that passes.
        let _ = std::io::stdout().write_all(line.as_bytes());
        return None;
    }
    let rig = Rig::new();
    let (data, files) = (rig.dir.path().join("cloud"), rig.dir.path().join("broker"));
    let written = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
        .args(["broker", "--host", "127.0.0.1", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&files)
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let broker = Mosquitto::start(&files);
    let named = format!("mqtts://{}", broker.address).parse().unwrap();
    let rig = rig.restart_with(|config| {
        config.broker = Some(named);
        config.broker_crl = Some(files.join("robots.crl"));
    });
    Some((rig, broker))
}

/// Connected as the agent does: a will, both topics, and how it is.
fn connect(rig: &Rig, broker: &Mosquitto, device: &Device) -> Mqtt {
    assert_eq!(device.mqtt, broker.address.to_string());
    let mut client = Mqtt::dial_to(broker.address, rig, device);
    let code = client.hello(device.robot.as_str(), Some(&device.topic("state")));
    assert_eq!(code, Some(ConnectReasonCode::Success));
    let codes = client.subscribe(&[&device.topic("ack"), &device.topic("cmd")]);
    assert!(codes.iter().all(|code| *code < 0x80), "{codes:?}");
    let path = format!("/v1/robots/{}", device.robot);
    let state = State { health: None, online: true, robot: device.robot.clone() };
    // The cloud may be on its way to the broker still: until then nobody hears the robot.
    let started = Instant::now();
    loop {
        client.publish(&device.topic("state"), &codec::to_vec(&state).unwrap());
        if rig.get(&path)["online"] == true {
            return client;
        }
        assert!(started.elapsed() < PATIENCE, "{path} stays offline");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn asked(device: &Device, bytes: &[u8]) -> RemoteCommand {
    use nooterra_protocol::keys::Signer as _;
    assert_ne!(device.key.verifying_key(), device.command_key);
    let key = &device.command_key;
    Signed::verify(bytes, |id| (id == key.key_id()).then_some(key)).unwrap().into_body()
}

fn link() -> Entry {
    Entry::Link(Link { reason: None, up: true })
}

fn kept(rig: &Rig, robot: &str) -> usize {
    rig.get(&format!("/v1/robots/{robot}/records"))["records"].as_array().unwrap().len()
}

#[test]
fn a_job_under_way_outlives_a_lost_link_and_is_completed_over_mosquitto() {
    let Some((rig, broker)) = rig() else { return };
    let mut device = rig.enrol("amr-1");
    let mut client = connect(&rig, &broker, &device);
    let job = rig.dispatch_job("amr-1");
    let signed = client.command();
    let command = asked(&device, &signed);
    assert!(matches!(&command.body, Ask::StartJob { job: started, .. } if *started == job));
    let received = Entry::CommandReceived(CommandReceived {
        ask: "start_job".to_owned(),
        id: command.id,
        signed: Blob(signed).into(),
    });
    let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
    let mut batch = vec![device.record(&received)];
    for kind in [E::EnRoute, E::AccessGranted, E::ExecutionStarted] {
        batch.push(device.fact(kind, Some(&job), &under));
    }
    let code = client.publish(&device.topic("up/critical"), &device.batch(batch));
    assert_eq!(code, Some(PubackReasonCode::Success));
    client.ack();
    let path = format!("/v1/jobs/{job}");
    assert_eq!(rig.get(&path)["state"], "EXECUTING");

    // The link is lost: its will says so, and what is asked meanwhile waits.
    drop(client);
    rig.wait("/v1/robots/amr-1", |robot| robot["online"] == false);
    let ask = json!({ "ask": { "type": "release_stop" }, "ttl_ms": 600_000 });
    let waits = rig.post("/v1/robots/amr-1/commands", ask);

    let mut client = connect(&rig, &broker, &device);
    // What the journal has named is not sent again; what waited is.
    assert_eq!(json!(asked(&device, &client.command()).id), waits["id"]);
    let beat = Heartbeat { assist_requested: false, progress: 0.7, stage: None };
    let over = Completed { interventions: 0, pose: Pose::default(), steps: 1 };
    let batch = vec![
        device.fact(E::Heartbeat, Some(&job), &beat),
        device.fact(E::ExecutionCompleted, Some(&job), &over),
    ];
    let batch = device.batch(batch);
    for _ in 0..2 {
        client.publish(&device.topic("up/critical"), &batch);
        client.ack();
    }
    assert_eq!(rig.get(&path)["state"], "COMPLETED");
    assert_eq!(kept(&rig, "amr-1"), 6);
    // A command while it is there is there at once, without a new connection.
    rig.post("/v1/robots/amr-1/commands", json!({ "ask": { "type": "lift_veto" } }));
    // On a slow machine what the journal has not named yet is sent again before it.
    let commands = std::iter::repeat_with(|| asked(&device, &client.command()));
    let other = commands.into_iter().find(|command| json!(command.id) != waits["id"]).unwrap();
    assert!(matches!(other.body, Ask::LiftVeto));
}

#[test]
fn mosquitto_binds_names_and_topics_to_certificates_as_it_is_configured() {
    let Some((rig, broker)) = rig() else { return };
    let (mut good, mut bad) = (rig.enrol("good"), rig.enrol("bad"));
    let mut bystander = connect(&rig, &broker, &good);
    // Another robot's client id is not taken: it stays who its certificate says.
    let mut client = Mqtt::dial_to(broker.address, &rig, &bad);
    assert_eq!(client.hello("good", None), Some(ConnectReasonCode::Success));
    let record = bad.record(&link());
    let batch = bad.batch(vec![record]);
    for topic in ["noot/1/good/up/normal", "noot/1/good/cmd", "noot/1/bad/cmd", "noot/1/CLOUD/cmd"]
    {
        let code = client.publish(topic, &batch);
        assert_eq!(code, Some(PubackReasonCode::NotAuthorized), "{topic}");
    }
    // Filters are taken; nothing of another robot comes by them.
    for filter in ["#", "noot/1/+/cmd", "noot/1/good/#", "noot/1/good/ack", "$SYS/#"] {
        client.subscribe(&[filter]);
    }
    rig.post("/v1/robots/good/commands", json!({ "ask": { "type": "release_stop" } }));
    bystander.command();
    let record = good.record(&link());
    bystander.publish(&good.topic("up/normal"), &good.batch(vec![record]));
    bystander.ack();
    assert!(client.is_silent_for(Duration::from_millis(500)));
    assert_eq!((kept(&rig, "good"), kept(&rig, "bad")), (1, 0));
    // Nor with its will.
    let mut will = Mqtt::dial_to(broker.address, &rig, &bad);
    let _ = will.hello("bad", Some("noot/1/good/state"));
    drop((will, client));
    rig.wait("/v1/robots/bad", |robot| robot["online"] == false);
    let record = good.record(&link());
    bystander.publish(&good.topic("up/normal"), &good.batch(vec![record]));
    bystander.ack();
    assert_eq!(rig.get("/v1/robots/good")["online"], true);

    // The cloud's own name can be no robot's, and no other authority's certificate is taken.
    let (status, _) = rig.call("POST", "/v1/claim-codes", Some(json!({ "robot": "CLOUD" })));
    assert_eq!(status, 400);
    let foreign = crate::rig::foreign_identity(rig.dir.path(), &good);
    for identity in [None, Some(foreign)] {
        let mut tls = crate::rig::dial(broker.address, &tls_config_with(&rig.root_pem, identity));
        let _ = tls.write_all(b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x02go");
        let _ = tls.flush();
        assert!(!matches!(tls.read(&mut [0; 16]), Ok(1..)));
    }
}

#[test]
fn the_broker_goes_and_comes_back_and_nothing_that_was_acknowledged_is_lost() {
    let Some((rig, mut broker)) = rig() else { return };
    let mut device = rig.enrol("amr-1");
    let mut client = connect(&rig, &broker, &device);
    let record = device.record(&link());
    client.publish(&device.topic("up/normal"), &device.batch(vec![record]));
    client.ack();
    broker.stop();
    rig.wait("/v1/robots/amr-1", |robot| robot["online"] == false);
    assert_eq!(kept(&rig, "amr-1"), 1);
    broker.start_again();
    let mut client = connect(&rig, &broker, &device);
    let record = device.record(&link());
    client.publish(&device.topic("up/normal"), &device.batch(vec![record]));
    client.ack();
    assert_eq!(kept(&rig, "amr-1"), 2);
}

/// A broker may lose one batch and carry the next: an acknowledgement of the next would be one
/// of both.
#[test]
fn a_batch_behind_one_that_was_lost_is_neither_kept_nor_acknowledged() {
    let Some((rig, broker)) = rig() else { return };
    let mut device = rig.enrol("amr-1");
    let mut client = connect(&rig, &broker, &device);
    let records: Vec<_> = (0..4).map(|_| device.record(&link())).collect();
    let seq = |n: usize| nooterra_evidence::Record::decode(&records[n].0).unwrap().seq;
    let topic = device.topic("up/normal");
    let send = |client: &mut Mqtt, n: usize, after: u64, acked: u64| {
        client.publish(&topic, &device.batch_since(vec![records[n].clone()], after, acked));
    };
    send(&mut client, 0, 0, 0);
    assert_eq!(client.ack().through_seq, seq(0));
    // The second is lost on the way, the third comes.
    send(&mut client, 2, seq(1), seq(0));
    assert!(client.is_silent_for(Duration::from_millis(300)));
    assert_eq!(kept(&rig, "amr-1"), 1);
    // The robot begins again behind what was acknowledged, and goes on without waiting.
    send(&mut client, 1, seq(0), seq(0));
    assert_eq!(client.ack().through_seq, seq(1));
    send(&mut client, 2, seq(1), seq(0));
    assert_eq!(client.ack().through_seq, seq(2));
    // A cloud that was started anew has the robot's word for what was acknowledged.
    let named = format!("mqtts://{}", broker.address).parse().unwrap();
    let rig = rig.restart_with(|config| config.broker = Some(named));
    let mut client = connect(&rig, &broker, &device);
    send(&mut client, 3, seq(2), seq(1));
    assert!(client.is_silent_for(Duration::from_millis(300)));
    send(&mut client, 3, seq(2), seq(2));
    assert_eq!(client.ack().through_seq, seq(3));
    // Nor is anything taken that does not say what it follows.
    let blind = nooterra_protocol::uplink::Batch {
        journal: device.journal.clone(),
        records: vec![device.record(&link())],
        since: None,
    };
    client.publish(&topic, &codec::to_vec(&blind).unwrap());
    assert!(client.is_silent_for(Duration::from_millis(300)));
    assert_eq!(kept(&rig, "amr-1"), 4);
}

/// The broker lets whoever has that certificate in.
fn lets_in(rig: &Rig, broker: &Mosquitto, device: &Device) -> bool {
    let config = crate::rig::tls_config(&rig.root_pem, Some(device));
    let mut tls = crate::rig::dial(broker.address, &config);
    let hello = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x02go";
    let _ = tls.write_all(hello).and_then(|()| tls.flush());
    let mut answer = [0; 4];
    // CONNACK; a handshake that is refused ends in an alert when it is read.
    matches!(tls.read(&mut answer), Ok(1..) if answer[0] == 0x20)
}

fn wait_until_refused(rig: &Rig, broker: &Mosquitto, device: &Device) {
    let started = Instant::now();
    while lets_in(rig, broker, device) {
        assert!(started.elapsed() < PATIENCE, "{} is still let in", device.robot);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Comes in and is heard by the cloud, as an agent does: again, for it may be put out meanwhile.
fn comes_in(rig: &Rig, broker: &Mosquitto, device: &Device) {
    let (path, topic) = (format!("/v1/robots/{}", device.robot), device.topic("state"));
    let state = State { health: None, online: true, robot: device.robot.clone() };
    let started = Instant::now();
    loop {
        let mut client = Mqtt::dial_to(broker.address, rig, device);
        let code = client.hello(device.robot.as_str(), Some(&topic));
        if code == Some(ConnectReasonCode::Success)
            && client.publish(&topic, &codec::to_vec(&state).unwrap()).is_some()
            && rig.get(&path)["online"] == true
        {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{path} does not come in");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_revoked_robot_is_put_out_of_mosquitto_and_neither_it_nor_a_replaced_key_comes_in_again() {
    let Some((rig, broker)) = rig() else { return };
    let (mut lost, mut kept, other) = (rig.enrol("lost"), rig.enrol("kept"), rig.enrol("other"));
    let mut live = connect(&rig, &broker, &lost);
    let mut bystander = connect(&rig, &broker, &kept);
    let before = broker.list();
    rig.post("/v1/robots/lost/revoke", json!({ "reason": "stolen" }));
    // Its connection ends without a word of the broker's configuration.
    assert!(live.is_closed(), "the revoked robot stays connected");
    broker.take_list(&before);
    wait_until_refused(&rig, &broker, &lost);
    // Nobody else is kept out, and who is connected stays so.
    assert!(lets_in(&rig, &broker, &other));
    let record = kept.record(&link());
    bystander.publish(&kept.topic("up/normal"), &kept.batch(vec![record]));
    bystander.ack();

    // It comes back by another key; by the closed one it does not.
    let newer = rig.enrol("lost");
    assert!(lets_in(&rig, &broker, &newer));
    broker.reload();
    wait_until_refused(&rig, &broker, &lost);
    lost.enrolled_again(newer);
    comes_in(&rig, &broker, &lost);

    // A key that was replaced opens nothing either, without having been revoked.
    let before = broker.list();
    let newer = rig.enrol("kept");
    assert!(bystander.is_closed(), "whoever has the replaced key stays connected");
    broker.take_list(&before);
    wait_until_refused(&rig, &broker, &kept);
    assert!(lets_in(&rig, &broker, &newer) && lets_in(&rig, &broker, &lost));
}

#[test]
fn a_robot_that_was_revoked_while_nobody_told_the_broker_is_put_out_of_mosquitto_at_the_start() {
    let Some((rig, broker)) = rig() else { return };
    let (lost, kept) = (rig.enrol("lost"), rig.enrol("kept"));
    let (mut live, mut bystander) = (connect(&rig, &broker, &lost), connect(&rig, &broker, &kept));
    let rig = rig.restart_with(|_| {});
    rig.post("/v1/robots/lost/revoke", json!({ "reason": "stolen" }));
    rig.post("/v1/robots/kept/quarantine", json!({ "reason": "odd" }));
    assert!(live.is_silent_for(Duration::from_millis(300)));
    let named = format!("mqtts://{}", broker.address).parse().unwrap();
    let _rig = rig.restart_with(|config| config.broker = Some(named));
    assert!(live.is_closed(), "the revoked robot stays connected");
    let state = State { health: None, online: true, robot: kept.robot.clone() };
    let code = bystander.publish(&kept.topic("state"), &codec::to_vec(&state).unwrap());
    assert_eq!(code, Some(PubackReasonCode::Success));
}

#[test]
fn behind_a_broker_nothing_is_taken_from_a_revoked_robot_and_nothing_is_sent_to_it() {
    let Some((rig, broker)) = rig() else { return };
    let mut device = rig.enrol("amr-1");
    let mut client = connect(&rig, &broker, &device);
    let answer = rig.post("/v1/robots/amr-1/revoke", json!({ "reason": "stolen" }));
    assert_eq!(answer["standing"]["state"], "revoked");
    rig.wait("/v1/robots/amr-1", |robot| robot["online"] == false);
    assert!(client.is_closed());
    // Nobody told the broker to read its list: it comes in again, until it is put out again.
    let mut client = Mqtt::dial_to(broker.address, &rig, &device);
    assert_eq!(client.hello("amr-1", None), Some(ConnectReasonCode::Success));
    client.subscribe(&[&device.topic("ack"), &device.topic("cmd")]);
    let record = device.record(&link());
    client.publish(&device.topic("up/normal"), &device.batch(vec![record]));
    let state = State { health: None, online: true, robot: device.robot.clone() };
    client.publish(&device.topic("state"), &codec::to_vec(&state).unwrap());
    assert_eq!(client.unacknowledged(0, Duration::from_millis(500)), 0);
    let robot = rig.get("/v1/robots/amr-1");
    assert_eq!((&robot["online"], kept(&rig, "amr-1")), (&Value::Bool(false), 0));
}
