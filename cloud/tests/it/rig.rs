//! What the tests share: a cloud, a robot's keys and journal, an HTTP and an MQTT client.

use crate::server::{Database, skipped};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait as _, Packet, Properties, Property, Qos, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, PubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use nooterra_cloud::{Cloud, Config};
use nooterra_evidence::Record;
use nooterra_protocol::codec::{self, Blob, Digest};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::ids::{ActorId, JobId, JournalId, RobotId};
use nooterra_protocol::keys::{Es256Key, VerifyingKey};
use nooterra_protocol::private::{PrivateError, SALT_BYTES, Salts};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use nooterra_protocol::uplink::{Ack, Batch, Since, State};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A guard against hanging, and no measure of anything: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The longest that the cloud agrees to: a test may be held up for longer than a robot would be.
const KEEP_ALIVE_S: u16 = 60;

/// Within this a connection is closed that is to be closed: longer than anything takes, and
/// shorter than the keep-alive, which would close it too.
const CLOSED_WITHIN: Duration = Duration::from_secs(80);

/// Where the cloud of a test keeps what lasts.
pub(crate) trait Kind {
    /// A Postgres of its own; none for the file in the data directory.
    fn database() -> Option<Database>;
}

/// In its data directory.
pub(crate) struct Sqlite;

impl Kind for Sqlite {
    fn database() -> Option<Database> {
        None
    }
}

/// On a server.
pub(crate) struct Postgres;

impl Kind for Postgres {
    /// Where there is no server the test says so, and runs over the file again.
    fn database() -> Option<Database> {
        Database::new().map_err(|why| skipped(&why)).ok()
    }
}

/// What most tests use; `main.rs` has most of them once more over Postgres.
pub(crate) type Rig = RigOn<Sqlite>;

/// A running cloud and what it takes to talk to it.
pub(crate) struct RigOn<K: Kind> {
    /// Gone before its data is.
    _program: Option<Program>,
    cloud: Option<Cloud>,
    database: Option<Database>,
    pub(crate) dir: TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) root_pem: String,
    pub(crate) runtime: Runtime,
    pub(crate) token: String,
    _kind: PhantomData<fn() -> K>,
}

/// The program as a process of its own; it is killed with the rig.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl<K: Kind> RigOn<K> {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), K::database(), change)
    }

    /// The server that it is on; none for a file.
    pub(crate) fn store_url(&self) -> Option<String> {
        self.database.as_ref().map(Database::url)
    }

    /// In `dir/cloud`, which may hold the data of another.
    pub(crate) fn on(
        dir: TempDir,
        database: Option<Database>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::for_test(dir.path().join("cloud"));
        config.store = database.as_ref().map(Database::url);
        change(&mut config);
        let cloud = runtime.block_on(Cloud::start(config)).unwrap();
        Self {
            http: cloud.http_addr(),
            mqtt: cloud.mqtt_addr(),
            root_pem: cloud.root_pem().to_owned(),
            token: cloud.admin_token().to_owned(),
            cloud: Some(cloud),
            database,
            dir,
            runtime,
            _kind: PhantomData,
            _program: None,
        }
    }

    /// The program, in `dir/cloud` and in a process of its own, begun by the words `before`;
    /// or where it would have been when it does not come to be ready.
    pub(crate) fn program(
        dir: TempDir,
        database: Option<Database>,
        before: &[String],
    ) -> Result<Self, TempDir> {
        let data = dir.path().join("cloud");
        let own = [env!("CARGO_BIN_EXE_nooterra-cloud"), "serve", "--json"].map(str::to_owned);
        let mut words = before.iter().chain(&own);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
        command.arg("--data").arg(&data);
        if let Some(database) = &database {
            command.args(["--store", &database.url()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = Program(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else { return Err(dir) };
        let text = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
        let address = |name: &str| ready[name].as_str().unwrap().replace("https://", "");
        Ok(Self {
            cloud: None,
            http: address("http").parse().unwrap(),
            mqtt: address("mqtt").parse().unwrap(),
            root_pem: text("ca.pem"),
            token: text("admin_token").trim().to_owned(),
            database,
            dir,
            runtime: Runtime::new().unwrap(),
            _kind: PhantomData,
            _program: Some(program),
        })
    }

    /// Kills the program, if it still runs; what it leaves behind.
    pub(crate) fn kill(self) -> (TempDir, Option<Database>) {
        (self.dir, self.database)
    }

    /// Stops the cloud in order; what it leaves behind.
    pub(crate) fn stopped(mut self) -> (TempDir, Option<Database>) {
        self.stop();
        (self.dir, self.database)
    }

    /// Stops the cloud and starts another on the same data.
    pub(crate) fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// As [`Self::restart`], configured otherwise.
    pub(crate) fn restart_with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Some(cloud) = self.cloud.take() {
            self.runtime.block_on(cloud.stop());
        }
        Self::on(self.dir, self.database, change)
    }

    /// The database of a stopped cloud is lost.
    pub(crate) fn lose_database(&self) {
        if let Some(database) = &self.database {
            return database.lose();
        }
        for name in ["cloud.sqlite", "cloud.sqlite-wal", "cloud.sqlite-shm"] {
            let _ = std::fs::remove_file(self.dir.path().join("cloud").join(name));
        }
    }

    /// Where the database is, if it is on a server.
    pub(crate) const fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(cloud) = self.cloud.take() {
            self.runtime.block_on(cloud.stop());
        }
    }

    /// A request as the administrator.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask(method, path, body.map(|b| b.to_string().into_bytes()), Some(&self.token), None)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body));
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Any request: with or without a token, with or without a certificate.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        token: Option<&str>,
        device: Option<&Device>,
    ) -> (u16, Value) {
        let (status, body) = self.raw(method, path, body, token, device);
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn raw(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        token: Option<&str>,
        device: Option<&Device>,
    ) -> (u16, Vec<u8>) {
        let mut headers = String::new();
        if let Some(token) = token {
            headers = format!("authorization: Bearer {token}\r\n");
        }
        let (status, _, body) = self.exchange(method, path, &headers, body, device);
        (status, body)
    }

    /// A request as the administrator, with further headers; the answer's headers in lower case.
    pub(crate) fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, String, Value) {
        let mut all = format!("authorization: Bearer {}\r\n", self.token);
        for (name, value) in headers {
            all.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.map(|b| b.to_string().into_bytes());
        let (status, head, body) = self.exchange(method, path, &all, body, None);
        (status, head, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Any request: its status, its head in lower case, its body.
    pub(crate) fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<Vec<u8>>,
        device: Option<&Device>,
    ) -> (u16, String, Vec<u8>) {
        self.try_exchange(method, path, headers, body, device).expect("no answer")
    }

    /// As [`call_with`](Self::call_with); none when the cloud is gone before it answered all.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Option<(u16, String, Value)> {
        let headers = format!("authorization: Bearer {}\r\nidempotency-key: {key}\r\n", self.token);
        let body = Some(bytes(body));
        let (status, head, body) = self.try_exchange(method, path, &headers, body, None)?;
        Some((status, head, serde_json::from_slice(&body).ok()?))
    }

    fn try_exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<Vec<u8>>,
        device: Option<&Device>,
    ) -> Option<(u16, String, Vec<u8>)> {
        let mut tls = try_dial(self.http, &tls_config(&self.root_pem, device)).ok()?;
        let body = body.unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        tls.write_all(head.as_bytes()).ok()?;
        // A server that refuses a large body may close before all of it is sent.
        let _ = tls.write_all(&body);
        let _ = tls.flush();
        let mut answer = Vec::new();
        let _ = tls.read_to_end(&mut answer);
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&answer[..split]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head, answer[split..].to_vec()))
    }

    /// Claims and enrols a robot.
    pub(crate) fn enrol(&self, robot: &str) -> Device {
        let claim = self.post("/v1/claim-codes", json!({ "robot": robot }));
        let key = KeyPair::generate().unwrap();
        let body = json!({ "code": claim["code"], "csr_pem": csr(&key) });
        let (status, answer) = self.ask("POST", "/v1/enrolments", Some(bytes(&body)), None, None);
        assert_eq!(status, 201, "{answer}");
        Device::new(robot, key, &answer)
    }

    /// Publishes a skill with one action, `patrol`; the `skill` of a plan's step.
    pub(crate) fn publish_skill(&self) -> Value {
        let (bundle, signature) = skill_bundle(b"component");
        use base64::Engine as _;
        let bundle_base64 = base64::engine::general_purpose::STANDARD.encode(&bundle);
        let body = json!({ "bundle_base64": bundle_base64, "signature": signature });
        let answer = self.post("/v1/skills", body);
        json!({ "bundle": answer["digest"], "id": answer["id"], "version": answer["version"] })
    }

    /// A job in CREATED.
    pub(crate) fn create_job(&self, robot: &str) -> JobId {
        let plan = plan(&self.publish_skill());
        let answer = self.post("/v1/jobs", json!({ "robot": robot, "plan": plan }));
        assert_eq!(answer["state"], "CREATED");
        JobId::new(answer["id"].as_str().unwrap()).unwrap()
    }

    /// A job in RESERVED.
    pub(crate) fn dispatch_job(&self, robot: &str) -> JobId {
        let job = self.create_job(robot);
        for (call, state) in [("quote", "QUOTED"), ("book", "BOOKED"), ("dispatch", "RESERVED")] {
            let answer = self.call("POST", &format!("/v1/jobs/{job}/{call}"), None);
            assert_eq!((answer.0, &answer.1["state"]), (200, &json!(state)), "{}", answer.1);
        }
        job
    }

    /// Polls until `path` satisfies `good`.
    pub(crate) fn wait(&self, path: &str, good: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let body = self.get(path);
            if good(&body) {
                return body;
            }
            assert!(start.elapsed() < PATIENCE, "{path} stays {body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

pub(crate) fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

/// A one-step plan of `skill`.
pub(crate) fn plan(skill: &Value) -> Value {
    json!({ "steps": [
        { "action": "patrol", "id": "s1", "params": { "speed": 0.5 }, "skill": skill, "timeout_s": 60 }
    ]})
}

pub(crate) fn skill_bundle(component: &[u8]) -> (Vec<u8>, String) {
    let manifest = json!({
        "actions": ["patrol"], "capabilities": ["drive"],
        "component_sha256": Digest::of(component).to_string(), "developer": "dev", "id": "patrol",
        "licence": "MIT", "memory_mib": 8, "name": "Patrol", "period_ms": 100, "tier": "dev",
        "v": 1, "version": "1.0.0", "wit": "nooterra:skill@0.2.0"
    })
    .to_string();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("manifest.json", manifest.as_bytes()), ("component.wasm", component)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, content).unwrap();
    }
    (builder.into_inner().unwrap(), "untrusted comment: test\nRWQ\n".to_owned())
}

/// A salt that is one: nobody guesses here.
struct Salt;

impl Salts for Salt {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        Ok([7; SALT_BYTES])
    }
}

/// A robot as its keys and its journal.
pub(crate) struct Device {
    actor_seq: u64,
    pub(crate) certificate_pem: String,
    pub(crate) command_key: VerifyingKey,
    pub(crate) journal: JournalId,
    pub(crate) key: Es256Key,
    /// Where it was told to connect.
    pub(crate) mqtt: String,
    pub(crate) pair: KeyPair,
    pub(crate) robot: RobotId,
    seq: u64,
}

impl Device {
    pub(crate) fn new(robot: &str, pair: KeyPair, enrolment: &Value) -> Self {
        Self {
            actor_seq: 0,
            certificate_pem: enrolment["certificate_pem"].as_str().unwrap().to_owned(),
            command_key: enrolment["command_key"].as_str().unwrap().parse().unwrap(),
            journal: JournalId::new("journal-1").unwrap(),
            key: Es256Key::from_pem(&pair.serialize_pem()).unwrap(),
            mqtt: enrolment["mqtt"].as_str().unwrap().to_owned(),
            pair,
            robot: RobotId::new(robot).unwrap(),
            seq: 0,
        }
    }

    pub(crate) fn topic(&self, end: &str) -> String {
        format!("noot/1/{}/{end}", self.robot)
    }

    /// The next record of the journal.
    pub(crate) fn record(&mut self, entry: &Entry) -> Blob {
        // Places in between belong to other classes.
        self.seq += 3;
        let mut entry = entry.clone();
        // What opens it stays on the robot.
        drop(entry.seal(&self.journal, self.seq, &Salt).unwrap());
        let record = Record::of_entry(&entry, entry.class(), self.seq, 1, stamp(self.seq)).unwrap();
        Blob(record.encode().unwrap())
    }

    /// A signed fact as a record.
    pub(crate) fn fact<P: Serialize>(
        &mut self,
        kind: EventType,
        job: Option<&JobId>,
        payload: &P,
    ) -> Blob {
        let robot = self.robot.to_string();
        self.fact_of(&robot, kind, job, payload)
    }

    pub(crate) fn fact_of<P: Serialize>(
        &mut self,
        actor: &str,
        kind: EventType,
        job: Option<&JobId>,
        payload: &P,
    ) -> Blob {
        self.actor_seq += 1;
        let actor = Actor { id: ActorId::new(actor).unwrap(), kind: ActorKind::Robot };
        let statement = Statement {
            actor: &actor,
            actor_seq: self.actor_seq,
            at: stamp(self.actor_seq),
            job,
            journal: &self.journal,
            kind,
        };
        let signed = Fact::sign(&statement, payload, &self.key).unwrap();
        self.record(&Entry::Fact(Blob(signed.bytes().to_vec())))
    }

    pub(crate) fn batch(&self, records: Vec<Blob>) -> Vec<u8> {
        let first = records.first().and_then(|record| Record::decode(&record.0).ok());
        // As if all before it had been acknowledged.
        let before = first.map_or(0, |record| record.seq - 1);
        self.batch_since(records, before, before)
    }

    /// Records that follow `after`, of a robot that was acknowledged through `acked`.
    pub(crate) fn batch_since(&self, records: Vec<Blob>, after: u64, acked: u64) -> Vec<u8> {
        let since = Some(Since { acked, after });
        codec::to_vec(&Batch { journal: self.journal.clone(), records, since }).unwrap()
    }
}

pub(crate) fn stamp(seq: u64) -> Stamp {
    Stamp {
        mono: MonoNanos(seq * 1_000_000),
        trust: ClockTrust::Network,
        wall: WallMillis(1_795_000_000_000),
    }
}

pub(crate) fn tls_config(root_pem: &str, device: Option<&Device>) -> Arc<ClientConfig> {
    let identity = device.map(|device| {
        let certificate = CertificateDer::from_pem_slice(device.certificate_pem.as_bytes());
        let key = PrivateKeyDer::try_from(device.pair.serialize_der()).unwrap();
        (vec![certificate.unwrap()], key)
    });
    tls_config_with(root_pem, identity)
}

pub(crate) fn tls_config_with(
    root_pem: &str,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn dial(address: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    try_dial(address, config).unwrap()
}

fn try_dial(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    tls(TcpStream::connect(address)?, address, config)
}

fn tls(tcp: TcpStream, address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::from(address.ip());
    Ok(StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp))
}

/// An MQTT 5 client that does what it is told, sensible or not.
pub(crate) struct Mqtt {
    /// The reason string of the last CONNACK or DISCONNECT.
    pub(crate) words: String,
    /// Of the last DISCONNECT.
    pub(crate) code: Option<DisconnectReasonCode>,
    inbox: VecDeque<Packet>,
    mqtt: Connection<role::Client>,
    tls: Tls,
}

impl Mqtt {
    /// TLS done, CONNECT not yet sent.
    pub(crate) fn dial(rig: &RigOn<impl Kind>, device: &Device) -> Self {
        Self::dial_to(rig.mqtt, rig, device)
    }

    /// As [`Self::dial`], somewhere else.
    pub(crate) fn dial_to(address: SocketAddr, rig: &RigOn<impl Kind>, device: &Device) -> Self {
        Self::over(dial(address, &tls_config(&rig.root_pem, Some(device))))
    }

    /// As [`Self::dial`], from another address of this machine.
    pub(crate) fn dial_from(own: IpAddr, rig: &Rig, device: &Device) -> Self {
        let tcp = rig.runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((own, 0).into()).unwrap();
            socket.connect(rig.mqtt).await.unwrap().into_std().unwrap()
        });
        tcp.set_nonblocking(false).unwrap();
        Self::over(tls(tcp, rig.mqtt, &tls_config(&rig.root_pem, Some(device))).unwrap())
    }

    fn over(tls: Tls) -> Self {
        let (inbox, mqtt) = (VecDeque::new(), Connection::new(Version::V5_0));
        Self { code: None, words: String::new(), inbox, mqtt, tls }
    }

    /// Connected, and subscribed to both of its topics.
    pub(crate) fn connect(rig: &RigOn<impl Kind>, device: &Device) -> Self {
        let mut client = Self::dial(rig, device);
        let code = client.hello(device.robot.as_str(), None);
        assert_eq!(code, Some(ConnectReasonCode::Success));
        let codes = client.subscribe(&[&device.topic("ack"), &device.topic("cmd")]);
        assert!(codes.iter().all(|code| *code < 0x80), "{codes:?}");
        client
    }

    /// Sends CONNECT; the answer's code, or `None` when the connection was closed.
    pub(crate) fn hello(
        &mut self,
        client_id: &str,
        will: Option<&str>,
    ) -> Option<ConnectReasonCode> {
        self.hello_with(client_id, will, KEEP_ALIVE_S)
    }

    fn hello_with(
        &mut self,
        client_id: &str,
        will: Option<&str>,
        keep_alive_s: u16,
    ) -> Option<ConnectReasonCode> {
        let mut connect = v5_0::Connect::builder()
            .client_id(client_id)
            .unwrap()
            .clean_start(true)
            .keep_alive(keep_alive_s);
        if let Some(topic) = will {
            let gone = RobotId::new(client_id).map_or(b"x".to_vec(), |robot| {
                codec::to_vec(&State { health: None, online: false, robot }).unwrap()
            });
            connect = connect.will_message(topic, gone, Qos::AtLeastOnce, false).unwrap();
        }
        let events = self.mqtt.checked_send(connect.build().unwrap());
        self.send(events);
        match self.next(PATIENCE)? {
            Packet::V5_0Connack(connack) => {
                self.words = words(connack.props());
                Some(connack.reason_code())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        self.subscribe_all(filters).expect("no SUBACK")
    }

    /// Asks for one filter; `None` when the connection was closed.
    pub(crate) fn try_subscribe(&mut self, filter: &str) -> Option<u8> {
        Some(self.subscribe_all(&[filter])?[0])
    }

    fn subscribe_all(&mut self, filters: &[&str]) -> Option<Vec<u8>> {
        let id = self.mqtt.acquire_packet_id().unwrap();
        let entries = filters
            .iter()
            .map(|f| SubEntry::new(*f, SubOpts::new().set_qos(Qos::AtLeastOnce)).unwrap())
            .collect::<Vec<_>>();
        let packet = v5_0::Subscribe::builder().packet_id(id).entries(entries).build().unwrap();
        let events = self.mqtt.checked_send(packet);
        self.send(events);
        self.until(|packet| match packet {
            Packet::V5_0Suback(suback) => {
                Some(suback.reason_codes().into_iter().map(|code| code as u8).collect())
            }
            _ => None,
        })
    }

    /// Publishes with QoS 1; the code of the PUBACK, or `None` when the connection was closed.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) -> Option<PubackReasonCode> {
        let id = self.mqtt.acquire_packet_id().unwrap();
        let packet = v5_0::Publish::builder()
            .topic_name(topic)
            .unwrap()
            .qos(Qos::AtLeastOnce)
            .packet_id(id)
            .payload(payload)
            .build()
            .unwrap();
        let events = self.mqtt.checked_send(packet);
        self.send(events);
        self.until(|packet| match packet {
            Packet::V5_0Puback(puback) => {
                Some(puback.reason_code().unwrap_or(PubackReasonCode::Success))
            }
            _ => None,
        })
    }

    pub(crate) fn publish_qos0(&mut self, topic: &str, payload: &[u8]) {
        let packet = v5_0::Publish::builder().topic_name(topic).unwrap().payload(payload);
        let events = self.mqtt.checked_send(packet.build().unwrap());
        self.send(events);
    }

    /// The next acknowledgement of the cloud.
    pub(crate) fn ack(&mut self) -> Ack {
        self.until(|packet| match packet {
            Packet::V5_0Publish(publish) if publish.topic_name().ends_with("/ack") => {
                Some(codec::from_slice(publish.payload().as_slice()).unwrap())
            }
            _ => None,
        })
        .expect("no ack")
    }

    /// The next command, acknowledged to the cloud.
    pub(crate) fn command(&mut self) -> Vec<u8> {
        let (id, payload) = self
            .until(|packet| match packet {
                Packet::V5_0Publish(publish) if publish.topic_name().ends_with("/cmd") => {
                    let payload = publish.payload().as_slice().to_vec();
                    Some((publish.packet_id().unwrap(), payload))
                }
                _ => None,
            })
            .expect("no command");
        let puback = v5_0::Puback::builder().packet_id(id).build().unwrap();
        let events = self.mqtt.checked_send(puback);
        self.send(events);
        payload
    }

    /// Reads to the end of the connection; the code of the cloud's DISCONNECT, if it sent one.
    pub(crate) fn farewell(&mut self) -> Option<DisconnectReasonCode> {
        while self.next(PATIENCE).is_some() {}
        self.code
    }

    /// How much is published to it: at least so much, and then until nothing comes for a while.
    /// Nothing of it is acknowledged.
    pub(crate) fn unacknowledged(&mut self, at_least: usize, quiet: Duration) -> usize {
        let publications = |inbox: &VecDeque<Packet>| {
            inbox.iter().filter(|packet| matches!(packet, Packet::V5_0Publish(_))).count()
        };
        while publications(&self.inbox) < at_least && self.read(PATIENCE).is_some() {}
        while self.read(quiet).is_some() {}
        publications(&self.inbox)
    }

    /// As [`Self::hello`], with a keep-alive of so many seconds.
    pub(crate) fn hello_for(&mut self, keep_alive_s: u16) -> Option<ConnectReasonCode> {
        self.hello_with("bad", None, keep_alive_s)
    }

    /// Sends as much as the cloud takes without reading anything; how the connection ended.
    pub(crate) fn push_until_closed(&mut self, bytes: &[u8], patience: Duration) -> bool {
        self.tls.sock.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let start = Instant::now();
        while start.elapsed() < patience {
            match self.tls.write_all(bytes).and_then(|()| self.tls.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Whether the cloud ends the connection; what it sends before is dropped.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.is_closed_within(CLOSED_WITHIN)
    }

    /// As [`Self::is_closed`], in so much time.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            if self.next(patience).is_none() {
                return start.elapsed() < patience;
            }
        }
        false
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.inbox.is_empty() && self.read(time).is_none() && self.inbox.is_empty()
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes);
        let _ = self.tls.flush();
    }

    fn send(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    let bytes = packet.to_continuous_buffer();
                    self.send_raw(&bytes);
                }
                Event::NotifyPacketReceived(packet) => self.inbox.push_back(packet),
                Event::NotifyError(error) => panic!("{error:?}"),
                _ => {}
            }
        }
    }

    /// Takes the first packet that `wanted` likes; others stay.
    fn until<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Option<T> {
        loop {
            if let Some((at, found)) =
                self.inbox.iter().enumerate().find_map(|(at, p)| Some((at, wanted(p)?)))
            {
                self.inbox.remove(at);
                return Some(found);
            }
            self.read(PATIENCE)?;
        }
    }

    fn next(&mut self, patience: Duration) -> Option<Packet> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Some(packet);
            }
            self.read(patience)?;
        }
    }

    /// Reads once; `None` when the connection is over or nothing came in time.
    fn read(&mut self, patience: Duration) -> Option<()> {
        self.tls.sock.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 16 * 1024];
        let n = match self.tls.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => n,
        };
        let mut cursor = Cursor::new(&buffer[..n]);
        while cursor.position() < n as u64 {
            for event in self.mqtt.recv(&mut cursor) {
                if let Event::NotifyPacketReceived(packet) = event {
                    if let Packet::V5_0Disconnect(disconnect) = &packet {
                        self.words = disconnect.props().as_ref().map(words).unwrap_or_default();
                        self.code = disconnect.reason_code();
                    }
                    self.inbox.push_back(packet);
                }
            }
        }
        Some(())
    }
}

fn words(props: &Properties) -> String {
    let found = props.iter().find_map(|property| match property {
        Property::ReasonString(reason) => Some(reason.val().to_owned()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// An identity that another authority made, for the same name.
pub(crate) fn foreign_identity(
    dir: &Path,
    device: &Device,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let other = Rig::on(TempDir::new_in(dir).unwrap(), None, |_| {});
    let twin = other.enrol(device.robot.as_str());
    let certificate = CertificateDer::from_pem_slice(twin.certificate_pem.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::try_from(twin.pair.serialize_der()).unwrap())
}

/// A class by its topic.
pub(crate) fn up(class: Class) -> String {
    format!("up/{}", class.name())
}
