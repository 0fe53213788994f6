//! What the tests share: a cloud, a robot's keys and journal, an HTTP and an MQTT client.

mod device;
mod wire;

pub(crate) use device::{Device, stamp, up};
use wire::try_dial;
pub(crate) use wire::{Mqtt, dial, foreign_identity, tls_config, tls_config_with};

use crate::server::{Database, skipped};
use nooterra_cloud::{Cloud, Config};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::JobId;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A guard against hanging, and no measure of anything: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

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

    /// Has files read again that may change.
    pub(crate) fn reload(&self) {
        self.cloud.as_ref().unwrap().reload();
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
