//! A storm of robots, for `cargo xtask bench cloud`: a thousand connect at once with real TLS and
//! certificates of their own, stay and tell how they are every ten seconds; the cloud is killed
//! and they come back.
//!
//! The cloud is a process of its own (this program, started again), so that its memory is its
//! own. The floor of a connection is the handshake itself, both ends of it, in memory; the floor
//! of an acknowledgement is one round trip over TLS and one `fdatasync` of the same bytes.
//! `--dir DIR` names where; it must lie on the disk that is meant. `--robots N` is how many.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Whatever is unexpected ends the run.

#[path = "storm/client.rs"]
mod client;
#[path = "storm/floor.rs"]
mod floor;
#[path = "../../xtask/bench/measure.rs"]
mod measure;

use client::{Fleet, Link, Robot};
use measure::{Samples, Unit, argument, figure, quick, samples};
use nooterra_cloud::{Cloud, Config};
use nooterra_evidence::Record;
use nooterra_protocol::codec::{self, Blob};
use nooterra_protocol::entry::{Class, Entry, Link as LinkEntry};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use nooterra_protocol::uplink::Batch;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Beyond this a storm is not survived.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(dir) = argument("--serve") {
        return runtime.block_on(serve(Path::new(&dir)));
    }
    let dir = argument("--dir").unwrap_or_else(|| ".".to_owned());
    let dir = tempfile::tempdir_in(dir).unwrap();
    let robots =
        argument("--robots").map_or(if quick() { 100 } else { 1000 }, |n| n.parse().unwrap());
    raise_open_files(4 * robots + 256);
    runtime.block_on(run(dir.path(), robots));
}

/// The cloud, until it is killed.
async fn serve(dir: &Path) {
    raise_open_files(16 * 1024);
    let mut config = Config::for_test(dir);
    if let Some(address) = argument("--http") {
        config.http = address.parse().unwrap();
    }
    if let Some(address) = argument("--mqtt") {
        config.mqtt = address.parse().unwrap();
    }
    let cloud = Cloud::start(config).await.unwrap();
    println!(r#"{{"http":"{}","mqtt":"{}"}}"#, cloud.http_addr(), cloud.mqtt_addr());
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}

async fn run(dir: &Path, count: usize) {
    let data = dir.join("cloud");
    let mut process = Process::start(&data, None);
    let robots = enrol(&process, &data, count + 1);
    let (mut robots, probe) = {
        let mut all = robots;
        let probe = all.pop().unwrap();
        (all, probe)
    };
    robots.truncate(count);

    // One alone, then among all.
    let echo = floor::Echo::start(&dir.join("floor")).await;
    let mut link = Link::connect(&probe, process.mqtt).await.unwrap();
    let mut journal = Journal::default();
    let what = "one round trip over TLS and one fdatasync of the same bytes";
    let (ours, least) = acknowledgements(&mut link, &probe, &mut journal, &echo).await;
    figure("cloud.acknowledged", Unit::Micros, &ours, (what, &least));

    let fleet = Fleet::new(process.mqtt);
    let started = Instant::now();
    fleet.connect(robots);
    until(|| fleet.up() == count, || format!("{} of {count} connected", fleet.up())).await;
    let mut took = Samples::default();
    took.push_each(started.elapsed(), count);
    let mut handshake = Samples::default();
    for _ in 0..samples(200) {
        handshake.push(echo.handshake_in_memory());
    }
    let what = "a handshake with both certificates, both ends of it, in memory";
    figure("cloud.storm_connect", Unit::Micros, &took, (what, &handshake));

    // Everybody has told how it is twice.
    until(|| fleet.told() >= 2 * count, || format!("{} states told", fleet.told())).await;
    let (ours, least) = acknowledgements(&mut link, &probe, &mut journal, &echo).await;
    figure("cloud.acknowledged_in_storm", Unit::Micros, &ours, (what_ack(), &least));
    plain("cloud.storm_resident", "MiB", process.resident_mib());
    eprintln!("files open in the cloud: {}", process.open_files());

    // As a power cut: nobody is told.
    process.kill();
    until(|| fleet.up() == 0, || format!("{} still up", fleet.up())).await;
    let lost = fleet.lost();
    let again = Process::start(&data, Some(&process));
    let started = Instant::now();
    until(|| fleet.up() == count, || format!("{} of {count} came back", fleet.up())).await;
    plain("cloud.storm_return", "ms", started.elapsed().as_secs_f64() * 1e3);
    assert_eq!(lost, fleet.lost(), "a connection was lost while all came back");
    eprintln!("resident after the return: {:.1} MiB", again.resident_mib());
}

const fn what_ack() -> &'static str {
    "one round trip over TLS and one fdatasync of the same bytes"
}

/// From sending a record to its durable acknowledgement, beside its floor, in turns.
async fn acknowledgements(
    link: &mut Link,
    robot: &Robot,
    journal: &mut Journal,
    echo: &floor::Echo,
) -> (Samples, Samples) {
    let (mut ours, mut least) = (Samples::default(), Samples::default());
    let topic = robot.topic("up/normal");
    for round in 0..samples(400) + 20 {
        let batch = journal.batch();
        let started = Instant::now();
        link.publish(&topic, &batch).await.unwrap();
        link.acknowledged().await.unwrap();
        let took = started.elapsed();
        let also = echo.round_trip_and_sync(&batch).await;
        if round >= 20 {
            ours.push(took);
            least.push(also);
        }
    }
    (ours, least)
}

/// Records of one robot.
#[derive(Default)]
struct Journal(u64);

impl Journal {
    /// One more record, alone in its batch.
    fn batch(&mut self) -> Vec<u8> {
        self.0 += 1;
        let stamp = Stamp {
            mono: MonoNanos(self.0),
            trust: ClockTrust::Network,
            wall: WallMillis(1_795_000_000_000),
        };
        let entry = Entry::Link(LinkEntry { reason: None, up: true });
        let record = Record::of_entry(&entry, Class::Normal, self.0, 1, stamp).unwrap();
        let records = vec![Blob(record.encode().unwrap())];
        codec::to_vec(&Batch { journal: JournalId::new("j").unwrap(), records, since: None })
            .unwrap()
    }
}

/// A cloud in a process of its own.
struct Process {
    child: Child,
    http: SocketAddr,
    mqtt: SocketAddr,
}

impl Process {
    /// Starts it, at the same addresses as the one before.
    fn start(data: &Path, before: Option<&Self>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--serve").arg(data).stdout(Stdio::piped()).env("RUST_LOG", "off");
        if let Some(before) = before {
            command.args(["--http", &before.http.to_string()]);
            command.args(["--mqtt", &before.mqtt.to_string()]);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        Self { child, http: address("http"), mqtt: address("mqtt") }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Robots with keys and certificates of their own, by the API.
fn enrol(process: &Process, data: &Path, count: usize) -> Vec<Robot> {
    let root = std::fs::read_to_string(data.join("ca.pem")).unwrap();
    let token = std::fs::read_to_string(data.join("admin_token")).unwrap();
    let api = client::Api::new(process.http, &root, token.trim());
    let api = Arc::new(api);
    let threads: Vec<_> = (0..8)
        .map(|part| {
            let (api, root) = (api.clone(), root.clone());
            std::thread::spawn(move || {
                let names = (part..count).step_by(8).map(|n| format!("amr-{n}"));
                names.map(|name| api.enrol(&name, &root)).collect::<Vec<_>>()
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// Looks until it is so, for as long as a storm may last.
async fn until(so: impl Fn() -> bool, how: impl Fn() -> String) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "{}", how());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A figure without a floor.
fn plain(name: &str, unit: &str, value: f64) {
    println!(r#"{{"figure":"{name}","unit":"{unit}","value":{value:.3},"samples":1}}"#);
}

fn raise_open_files(wanted: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = u64::try_from(wanted).unwrap();
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).unwrap();
    }
}
