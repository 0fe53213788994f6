//! The daemon as a process, against an embedded cloud: real handshakes, real disks, real
//! signals.

mod common;

use common::Site;
use nooterra_blackbox::{TailFrom, tail, verify};
use nooterra_cloud::{Cloud, Config};
use nooterra_protocol::entry::Class;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long anything that must happen may take here.
const PATIENCE: Duration = Duration::from_secs(60);

const AGENT: &str = env!("CARGO_BIN_EXE_nooterra-agent");

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
struct CloudRig {
    cloud: Option<Cloud>,
    config: Config,
    http: SocketAddr,
    runtime: Runtime,
    client: ureq::Agent,
    token: String,
}

impl CloudRig {
    fn start(site: &Site, change: impl FnOnce(&mut Config)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::for_test(site.path("cloud"));
        change(&mut config);
        let cloud = runtime.block_on(Cloud::start(config.clone())).unwrap();
        (config.http, config.mqtt) = (cloud.http_addr(), cloud.mqtt_addr());
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

    fn stop(&mut self) {
        let cloud = self.cloud.take().unwrap();
        self.runtime.block_on(cloud.stop());
    }

    fn start_again(&mut self) {
        // The port may be lingering for a moment.
        self.cloud = Some(wait_for("the cloud's ports", || {
            self.runtime.block_on(Cloud::start(self.config.clone())).ok()
        }));
    }

    fn url(&self) -> String {
        format!("https://{}", self.http)
    }

    fn get(&self, path: &str) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}{path}", self.url());
        let mut answer = self.client.get(url).header("authorization", bearer).call().unwrap();
        answer.body_mut().read_json().unwrap()
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}{path}", self.url());
        let request = self.client.post(url).header("authorization", bearer);
        let mut answer = request.send_json(body).unwrap();
        let status = answer.status();
        let value: Value = answer.body_mut().read_json().unwrap();
        assert!(status.is_success(), "{path}: {status} {value}");
        value
    }

    fn is_online(&self) -> bool {
        self.get("/v1/robots/amr-1")["online"] == true
    }

    /// All records of a class that the cloud has, by sequence number; each exactly once.
    fn records(&self, class: Class) -> BTreeMap<u64, Value> {
        let (mut all, mut after) = (BTreeMap::new(), 0);
        loop {
            let path = format!(
                "/v1/robots/amr-1/records?class={}&limit=1000&after={after}",
                class.name()
            );
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
struct Agent {
    child: Child,
    log: PathBuf,
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
    fn run(site: &Site) -> Self {
        let mut command = Command::new(AGENT);
        command.arg("--config").arg(site.path("agent.toml")).arg("run");
        Self::spawn(site, command)
    }

    fn spawn(site: &Site, mut command: Command) -> Self {
        let log = site.path("agent.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Self { child: child.unwrap(), log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn says(&self, text: &str) {
        wait_for(&format!("the agent to say {text:?}"), || self.log().contains(text).then_some(()));
    }

    /// SIGTERM, and the end.
    fn terminate(mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn enroll(site: &Site, cloud: &CloudRig) {
    let code = cloud.post("/v1/claim-codes", json!({ "robot": "amr-1" }))["code"].clone();
    let output = Command::new(AGENT)
        .arg("--config")
        .arg(site.path("agent.toml"))
        .args(["enroll", "--cloud", &cloud.url(), "--code", code.as_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_cloud_that_is_gone_and_comes_back_misses_nothing_and_counts_nothing_twice() {
    let site = Site::new();
    let mut cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::run(&site);
    wait_for("the robot", || cloud.is_online().then_some(()));
    cloud.stop();
    agent.says("no channel to the cloud");
    // What happens meanwhile is only in the journal.
    std::thread::sleep(Duration::from_secs(3));
    cloud.start_again();
    wait_for("the robot to come back", || cloud.is_online().then_some(()));
    // The robot's own word that the link was gone comes with what was missed.
    wait_for("what was missed", || {
        let links = cloud.records(Class::Normal);
        links.values().any(|r| r["kind"] == "link" && r["body"]["up"] == false).then_some(())
    });
    assert!(agent.terminate().success());

    let journal = site.path("state/journal");
    let mut theirs = cloud.records(Class::Critical);
    theirs.extend(cloud.records(Class::Normal));
    theirs.extend(cloud.records(Class::Bulk));
    let newest: BTreeMap<String, u64> = theirs
        .values()
        .map(|record| (record["class"].as_str().unwrap().to_owned(), record["seq"].as_u64().unwrap()))
        .collect();
    for record in tail(&journal, TailFrom::Seq(1)).unwrap() {
        let read = record.record.unwrap();
        let sent = newest.get(read.class.name()).is_some_and(|newest| record.seq <= *newest);
        let there = theirs.contains_key(&record.seq);
        assert!(there || !sent, "the cloud misses record {} ({})", record.seq, read.kind);
    }
    assert!(theirs.len() > 5);
}

#[test]
fn a_killed_agent_starts_again_with_its_journal_whole() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    for _ in 0..2 {
        let agent = Agent::run(&site);
        wait_for("the robot", || cloud.is_online().then_some(()));
        agent.kill();
        wait_for("the cloud to notice", || (!cloud.is_online()).then_some(()));
    }
    let agent = Agent::run(&site);
    wait_for("the robot", || cloud.is_online().then_some(()));
    agent.says("the last run did not end in order");
    assert!(agent.terminate().success());
    let key = std::fs::read_to_string(site.path("state/identity/device.pub")).unwrap();
    let key = key.trim().parse().unwrap();
    let found = verify(&site.path("state/journal"), Some(&key), &mut |_| {}).unwrap();
    assert!(found.is_intact(), "{found}");
    assert_eq!(found.verified_through, Some(found.records), "{found}");
    let boots: Vec<_> = cloud
        .records(Class::Critical)
        .into_values()
        .filter(|record| record["kind"] == "boot")
        .map(|record| record["body"]["clean"] == true)
        .collect();
    assert_eq!(boots, [true, false, false]);
}

#[test]
fn a_certificate_of_another_cloud_is_refused_and_the_robot_goes_on_by_itself() {
    let (site, elsewhere) = (Site::new(), Site::new());
    let cloud = CloudRig::start(&site, |_| {});
    let other = CloudRig::start(&elsewhere, |_| {});
    enroll(&site, &cloud);
    enroll(&elsewhere, &other);
    // The key and certificate of another cloud's robot, shown to ours.
    for file in ["device.key", "certificate.pem"] {
        let file = format!("state/identity/{file}");
        std::fs::copy(elsewhere.path(&file), site.path(&file)).unwrap();
    }
    let agent = Agent::run(&site);
    agent.says("no channel to the cloud");
    agent.says("ready");
    assert!(!cloud.is_online());
    assert!(agent.terminate().success());
}

#[test]
fn an_expired_certificate_is_named_and_a_short_one_is_renewed_in_time() {
    let site = Site::new();
    let mut cloud = CloudRig::start(&site, |config| {
        config.robot_certificate_lifetime = Duration::from_secs(2);
    });
    enroll(&site, &cloud);
    std::thread::sleep(Duration::from_secs(3));
    let agent = Agent::run(&site);
    agent.says("enroll this robot again");
    assert!(agent.terminate().success());
    cloud.stop();

    let site = Site::new();
    let cloud = CloudRig::start(&site, |config| {
        config.robot_certificate_lifetime = Duration::from_secs(30);
    });
    enroll(&site, &cloud);
    let agent = Agent::run(&site);
    agent.says("the certificate was renewed");
    wait_for("the robot", || cloud.is_online().then_some(()));
    assert!(agent.terminate().success());
}

#[test]
fn a_used_claim_code_is_refused_in_the_clouds_words() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let code = cloud.post("/v1/claim-codes", json!({ "robot": "amr-1" }))["code"].clone();
    let enroll = || {
        Command::new(AGENT)
            .arg("--config")
            .arg(site.path("agent.toml"))
            .args(["enroll", "--cloud", &cloud.url(), "--code", code.as_str().unwrap()])
            .output()
            .unwrap()
    };
    assert!(enroll().status.success());
    let second = enroll();
    assert_eq!(second.status.code(), Some(6), "{}", String::from_utf8_lossy(&second.stderr));
}

#[test]
fn a_second_agent_on_the_same_state_is_refused() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::run(&site);
    wait_for("the robot", || cloud.is_online().then_some(()));
    let second = Command::new(AGENT)
        .arg("--config")
        .arg(site.path("agent.toml"))
        .arg("run")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(7), "{errors}");
    assert!(errors.contains("open in another process"), "{errors}");
    assert!(agent.terminate().success());
}

#[test]
fn a_full_disk_stops_the_robot_and_is_said_in_one_line() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let state = site.path("state");
    std::fs::create_dir(&state).unwrap();
    enroll(&site, &cloud);
    let kept = site.path("kept");
    // A small disk of its own, in a namespace, so that nobody else's runs full. The store sets
    // space aside for minutes to come; giving that back and taking it brings the end nearer.
    let script = "set -e; cp -a \"$1\" \"$2\"; mount -t tmpfs -o size=32m tmpfs \"$1\"; \
                  cp -a \"$2\"/. \"$1\"; \
                  (while ! grep -q ready \"$3\"; do sleep 0.1; done; \
                  find \"$1\"/journal -name db -exec fallocate --dig-holes {} +; \
                  dd if=/dev/zero of=\"$1\"/filler bs=4k 2>/dev/null || true) & \
                  exec \"$4\" --config \"$5\" run";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    command.arg(&state).arg(&kept).arg(site.path("agent.log"));
    command.arg(AGENT).arg(site.path("agent.toml"));
    let mut agent = Agent::spawn(&site, command);
    agent.says("the journal stopped");
    let status = wait_for("the agent to end", || agent.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let log = agent.log();
    let last = log.trim_end().lines().last().unwrap();
    assert!(last.starts_with("nooterra-agent: the journal stopped"), "{last}");
}
