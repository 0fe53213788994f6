//! An embedded cloud with a client, and the agent as a process.

use super::{Site, bundles, guests, ports};
use nooterra_cloud::{Cloud, Config};
use nooterra_protocol::entry::Class;
use nooterra_skill_host::{keygen, pack};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A guard against hanging, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_nooterra-agent");

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A cloud that can be stopped and started again at the same addresses.
pub(crate) struct CloudRig {
    cloud: Option<Cloud>,
    config: Config,
    http: SocketAddr,
    runtime: Runtime,
    client: ureq::Agent,
    token: String,
}

impl CloudRig {
    pub(crate) fn start(site: &Site, change: impl FnOnce(&mut Config)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::for_test(site.path("cloud"));
        change(&mut config);
        // Another process of tests may have found the same port free.
        let cloud = wait_for("two ports", || {
            (config.http, config.mqtt) = (ports::free(), ports::free());
            runtime.block_on(Cloud::start(config.clone())).map_err(|e| eprintln!("{e}")).ok()
        });
        let root = ureq::tls::Certificate::from_pem(cloud.root_pem().as_bytes()).unwrap();
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::Specific(Arc::new(vec![root.to_owned()])))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let client = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .build()
            .new_agent();
        let token = cloud.admin_token().to_owned();
        Self { http: cloud.http_addr(), cloud: Some(cloud), config, runtime, client, token }
    }

    pub(crate) fn stop(&mut self) {
        let cloud = self.cloud.take().unwrap();
        self.runtime.block_on(cloud.stop());
    }

    pub(crate) fn start_again(&mut self) {
        // A child that another test is just starting holds our listeners, too, until it has become
        // another program.
        self.cloud = Some(wait_for("the cloud's ports", || {
            self.runtime.block_on(Cloud::start(self.config.clone())).ok()
        }));
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.http)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}{path}", self.url());
        let mut answer = self.client.get(url).header("authorization", bearer).call().unwrap();
        answer.body_mut().read_json().unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}{path}", self.url());
        let request = self.client.post(url).header("authorization", bearer);
        let mut answer = request.send_json(body).unwrap();
        let status = answer.status();
        let value: Value = answer.body_mut().read_json().unwrap();
        assert!(status.is_success(), "{path}: {status} {value}");
        value
    }

    pub(crate) fn is_online(&self) -> bool {
        self.get("/v1/robots/amr-1")["online"] == true
    }

    /// The types of a job's events, in order, with their payloads.
    pub(crate) fn events(&self, job: &str) -> Vec<(String, Value)> {
        let answer = self.get(&format!("/v1/jobs/{job}/events"));
        let events = answer["events"].as_array().unwrap().clone();
        let name = |event: &Value| event["type"].as_str().unwrap().to_owned();
        events.into_iter().map(|event| (name(&event), event["payload"].clone())).collect()
    }

    pub(crate) fn wait_for_state(&self, job: &str, state: &str) {
        wait_for(&format!("job {job} to be {state}"), || {
            (self.get(&format!("/v1/jobs/{job}"))["state"] == state).then_some(())
        });
    }

    /// All records of a class that the cloud has, by sequence number; each exactly once.
    pub(crate) fn records(&self, class: Class) -> BTreeMap<u64, Value> {
        let (mut all, mut after) = (BTreeMap::new(), 0);
        loop {
            let path =
                format!("/v1/robots/amr-1/records?class={}&limit=1000&after={after}", class.name());
            let page = self.get(&path);
            let records = page["records"].as_array().unwrap();
            if records.is_empty() {
                return all;
            }
            for record in records {
                let twice = all.insert(record["seq"].as_u64().unwrap(), record.clone());
                assert!(twice.is_none(), "record {} is there twice", record["seq"]);
            }
            after = page["next"].as_u64().unwrap();
        }
    }
}

/// The agent's process; killed when the test ends early.
pub(crate) struct Agent {
    pub(crate) child: Child,
    log: PathBuf,
    /// What runs before this one have said.
    said_before: usize,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", self.log());
        }
    }
}

impl Agent {
    pub(crate) fn run(site: &Site) -> Self {
        let mut command = Command::new(AGENT);
        command.arg("--config").arg(site.path("agent.toml")).arg("run");
        Self::spawn(site, command)
    }

    /// Runs, and has been seen by the cloud.
    pub(crate) fn online(site: &Site, cloud: &CloudRig) -> Self {
        let agent = Self::run(site);
        wait_for("the robot", || cloud.is_online().then_some(()));
        agent
    }

    pub(crate) fn spawn(site: &Site, mut command: Command) -> Self {
        let log = site.path("agent.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let said_before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Self { child: child.unwrap(), log, said_before }
    }

    /// What this run has said so far.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.said_before..).unwrap_or_default()).into_owned()
    }

    pub(crate) fn says(&self, text: &str) {
        wait_for(&format!("the agent to say {text:?}"), || self.log().contains(text).then_some(()));
    }

    /// SIGTERM, and the end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn enroll(site: &Site, cloud: &CloudRig) {
    let code = cloud.post("/v1/claim-codes", json!({ "robot": "amr-1" }))["code"].clone();
    let output = Command::new(AGENT)
        .arg("--config")
        .arg(site.path("agent.toml"))
        .args(["enroll", "--cloud", &cloud.url(), "--code", code.as_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Publishes the patrol skill, signed by a new key that `trusted_by` trusts.
pub(crate) fn publish_patrol(cloud: &CloudRig, trusted_by: Option<&Site>) -> Value {
    publish(cloud, "patrol", trusted_by)
}

/// Publishes a skill of `examples/skills`, signed by a new key that `trusted_by` trusts.
pub(crate) fn publish(cloud: &CloudRig, name: &str, trusted_by: Option<&Site>) -> Value {
    let keys = match trusted_by {
        Some(site) => bundles::keys(site),
        None => keygen(None).unwrap(),
    };
    let bundle = pack(&guests::template(name), &guests::component(name)).unwrap();
    bundles::publish(cloud, &bundle, &keys)
}

/// One step of a plan, named after its action. Its time is a guard against hanging: a disk that
/// others keep busy holds the robot up.
pub(crate) fn step(skill: &Value, action: &str, params: Value) -> Value {
    let skill =
        json!({ "bundle": skill["digest"], "id": skill["id"], "version": skill["version"] });
    json!({ "id": action, "action": action, "params": params, "timeout_s": 900, "skill": skill })
}

/// Sends a job to the robot and gives its id.
pub(crate) fn dispatch(cloud: &CloudRig, steps: &[Value]) -> String {
    let job = json!({ "robot": "amr-1", "plan": { "steps": steps } });
    let id = cloud.post("/v1/jobs", job)["id"].as_str().unwrap().to_owned();
    for action in ["quote", "book", "dispatch"] {
        cloud.post(&format!("/v1/jobs/{id}/{action}"), json!({}));
    }
    id
}
