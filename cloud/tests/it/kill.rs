//! `kill -9` at a write that the test chooses: whatever was confirmed is there, whatever was not
//! is wholly there or not at all, and the same request sent again is done once.
//!
//! strace counts the system calls and kills; the program knows nothing of it. Every fifth write
//! is tried; `NOOTERRA_KILL_EVERY=1` tries each.

use crate::rig::{Device, Kind, Mqtt, Postgres, RigOn, Sqlite, plan};
use crate::server::skipped;
use nooterra_protocol::event::EventType;
use serde_json::{Value, json};
use std::fs::File;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Requests in one life: a job through all that a person does with it.
const STEPS: [&str; 4] = ["quote", "book", "dispatch", "cancel"];

/// What was asked, and what was answered where an answer came.
struct Asked {
    answer: Option<Value>,
    body: Value,
    key: String,
    path: String,
}

/// The words that make strace kill what follows at the `nth` of these system calls.
fn killing(calls: &str, paths: &[String], nth: u32) -> Vec<String> {
    let mut words = vec!["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "signal=none", "-e"];
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:signal=SIGKILL:when={nth}");
    words.extend([&*trace, "-e", &*inject]);
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    for path in paths {
        words.extend(["-P".to_owned(), path.clone()]);
    }
    // A program that outlives what is asked of it is to end with strace.
    words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
    words
}

/// Whether strace can do here what is asked of it.
fn allowed() -> Result<(), String> {
    let words = killing("write", &[], 1);
    let mut probe = Command::new(&words[0]);
    let killed = probe.args(&words[1..]).args(["sh", "-c", "echo x; exit 0"]);
    let killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let killed = killed.map_err(|error| format!("strace: {error}"))?;
    if killed.success() { Err("strace does not kill here".to_owned()) } else { Ok(()) }
}

/// Asks until an answer stays out; all that was asked. A second key for each life.
fn live<K: Kind>(cloud: &RigOn<K>, life: u32, skill: &Value) -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut ask = |path: String, body: Value| {
        let key = format!("{life}-{}", asked.len());
        let answer = cloud.try_call("POST", &path, &key, &body).map(|(status, _, answer)| {
            assert!(status < 300, "{path}: {status} {answer}");
            answer
        });
        asked.push(Asked { answer: answer.clone(), body, key, path });
        answer
    };
    let body = json!({ "robot": "amr-1", "plan": plan(skill) });
    let created = ask("/v1/jobs".to_owned(), body);
    let mut last = created;
    for step in STEPS {
        let Some(job) = last else { break };
        let path = format!("/v1/jobs/{}/{step}", job["id"].as_str().unwrap());
        last = ask(path, json!({}));
    }
    asked
}

/// Life after life, each killed some writes later than the one before, until one outlives all
/// that is asked of it.
fn lives<K: Kind>(calls: &str, paths: impl Fn(&TempDir) -> Vec<String>, kills: &[u32]) {
    if let Err(why) = allowed() {
        return skipped(&why);
    }
    let first = RigOn::<K>::new();
    let mut device = first.enrol("amr-1");
    let skill = first.publish_skill();
    let (mut dir, mut database) = first.stopped();
    // What strace traces ends with it, and a moment later.
    let free = |dir: &TempDir| {
        let lock = File::open(dir.path().join("cloud/lock")).unwrap();
        lock.lock().unwrap();
    };
    let mut killed = 0;
    for (life, nth) in (0..).zip(kills) {
        let words = killing(calls, &paths(&dir), *nth);
        let mut asked = Vec::new();
        match RigOn::<K>::program(dir, database.clone(), &words) {
            Err(left) => dir = left,
            Ok(doomed) => {
                asked = live(&doomed, life, &skill);
                (dir, database) = doomed.kill();
            }
        }
        println!("life {life}, killed at {nth}: {} asked", asked.len());
        let outlived = asked.len() > STEPS.len() && asked.iter().all(|it| it.answer.is_some());
        killed += u32::from(!outlived);
        free(&dir);
        let cloud = RigOn::<K>::on(dir, database, |_| {});
        judge(&cloud, &asked);
        report(&cloud, &mut device);
        (dir, database) = cloud.stopped();
        if outlived {
            break;
        }
    }
    assert!(killed >= 3, "{killed} lives ended early");
}

/// Holds what was asked against what is there.
fn judge(cloud: &RigOn<impl Kind>, asked: &[Asked]) {
    for Asked { answer, body, key, path } in asked {
        // What was answered is known; what was not is done now, if it was not done before.
        let (status, head, again) = cloud.try_call("POST", path, key, body).unwrap();
        assert!(status < 300, "{path}: {status} {again}");
        if let Some(answer) = answer {
            assert!(head.contains("idempotency-replayed: true"), "{path}: {head}");
            assert_eq!(*answer, again);
        }
        let (job, head) = (again["id"].as_str().unwrap(), &again["head"]);
        let stream = cloud.get(&format!("/v1/jobs/{job}/events"))["events"].clone();
        let stream = stream.as_array().unwrap();
        assert_eq!(stream.iter().filter(|event| event["hash"] == *head).count(), 1);
    }
    let mut replay = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    replay.args(["replay", "--check", "--data"]).arg(cloud.dir.path().join("cloud"));
    if let Some(database) = cloud.database() {
        replay.args(["--store", &database.url()]);
    }
    let output = replay.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The robot does nothing but connect again, and its journal goes on.
fn report(cloud: &RigOn<impl Kind>, device: &mut Device) {
    let mut client = Mqtt::connect(cloud, device);
    let record = device.fact(EventType::AccessDenied, None, &json!({}));
    client.publish(&device.topic("up/critical"), &device.batch(vec![record])).unwrap();
    client.ack();
}

#[test]
fn killed_at_its_writes_to_sqlite_it_keeps_what_it_confirmed() {
    let every = std::env::var("NOOTERRA_KILL_EVERY").ok().and_then(|text| text.parse().ok());
    let every: usize = every.unwrap_or(5);
    let kills: Vec<u32> = (1..400).step_by(every).collect();
    let files = |dir: &TempDir| {
        let file = |end: &str| format!("{}/cloud/cloud.sqlite{end}", dir.path().display());
        vec![file(""), file("-wal"), file("-journal")]
    };
    lives::<Sqlite>("write,pwrite64,fsync,fdatasync,ftruncate", files, &kills);
}

#[test]
fn killed_while_it_talks_to_postgres_it_keeps_what_it_confirmed() {
    // Of the writer's thread: what it sends to the server; of others, what they send to anyone.
    let kills = [3, 20, 42, 44, 47, 50, 53, 57, 60, 65, 70, 80, 120];
    lives::<Postgres>("write,writev,sendto,sendmsg", |_| Vec::new(), &kills);
}
