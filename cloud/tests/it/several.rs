//! Several processes on one Postgres: one history, seen alike by all, and every robot within
//! reach of each.

use crate::rig::{Device, Mqtt, Postgres, RigOn, bytes, csr};
use crate::server::{Database, skipped};
use crate::streams::{Follower, race};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::RemoteCommand;
use nooterra_protocol::envelope::Signed;
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

type Process = RigOn<Postgres>;

/// As many processes on one database, with the same keys; none where there is no Postgres.
fn processes(count: usize) -> Option<Vec<Process>> {
    let database = Database::new().map_err(|why| skipped(&why)).ok()?;
    let start = |dir: TempDir| {
        Process::program(dir, Some(database.clone()), &[]).unwrap_or_else(|_| panic!("not ready"))
    };
    let mut all = vec![start(tempfile::tempdir().unwrap())];
    for _ in 1..count {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cloud")).unwrap();
        for name in ["admin_token", "ca.pem", "ca_key.pem", "command_key.pem"] {
            let copy = |of: &Path| of.join("cloud").join(name);
            std::fs::copy(copy(all[0].dir.path()), copy(dir.path())).unwrap();
        }
        all.push(start(dir));
    }
    Some(all)
}

fn replay(process: &Process) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
        .args(["replay", "--check", "--data"])
        .arg(process.dir.path().join("cloud"))
        .args(["--store", &process.database().unwrap().url()])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn of_64_clients_of_three_processes_each_step_is_made_by_one_and_seen_by_all() {
    let Some(all) = processes(3) else { return };
    all[0].enrol("amr-1");
    let race = || race(&all.iter().collect::<Vec<_>>());
    // Who follows meanwhile sees every position, in order, at whichever process.
    let follow = |process: &Process| {
        let mut follower = Follower::new(process, "", "");
        let (mut seen, mut cancelled) = (Vec::new(), 0);
        while cancelled < 3 {
            let (position, kind, data) = follower.next().unwrap();
            cancelled += usize::from(kind == "CANCELLED");
            seen.push((position, data["hash"].clone()));
        }
        seen
    };
    let seen: Vec<_> = std::thread::scope(|scope| {
        let follow = &follow;
        let followers: Vec<_> = all.iter().map(|it| scope.spawn(move || follow(it))).collect();
        race();
        followers.into_iter().map(|follower| follower.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|one| *one == seen[0]));
    let positions: Vec<_> = seen[0].iter().map(|(position, _)| *position).collect();
    assert!((1..).zip(&positions).all(|(n, position)| n == *position), "{positions:?}");
    let pages: Vec<_> = all.iter().map(|process| process.get("/v1/events?limit=1000")).collect();
    assert!(pages.iter().all(|page| *page == pages[0]));
    let (code, said) = replay(&all[0]);
    assert_eq!(code, Some(0), "{said}");
}

fn command(process: &Process, device: &Device) -> Value {
    let ask = json!({ "ask": { "type": "release_stop" }, "ttl_ms": 600_000 });
    process.post(&format!("/v1/robots/{}/commands", device.robot), ask)["id"].clone()
}

fn id_of(bytes: &[u8], device: &Device) -> String {
    let key = &device.command_key;
    let known = |id| (key.key_id() == id).then_some(key);
    Signed::<RemoteCommand>::verify(bytes, known).unwrap().body().id.to_string()
}

#[test]
fn a_command_reaches_the_robot_whichever_process_it_is_connected_to() {
    let Some(all) = processes(3) else { return };
    let device = all[0].enrol("amr-1");
    let mut client = Mqtt::connect(&all[1], &device);
    for process in &all {
        process.wait("/v1/robots/amr-1", |robot| robot["online"] == true);
        let id = command(process, &device);
        assert_eq!(id_of(&client.command(), &device), id.as_str().unwrap());
    }
    // Later elsewhere: the older connection ends, and commands follow the newer.
    let mut newer = Mqtt::connect(&all[2], &device);
    assert!(client.is_closed());
    for _ in 0..3 {
        // Not yet answered by the journal, they come again on the new connection.
        newer.command();
    }
    let id = command(&all[0], &device);
    assert_eq!(id_of(&newer.command(), &device), id.as_str().unwrap());
    assert_eq!(all[0].get("/v1/robots/amr-1")["online"], true);
    drop(newer);
    for process in &all {
        process.wait("/v1/robots/amr-1", |robot| robot["online"] == false);
    }
    // A process that is killed takes its connections with it, and nobody believes otherwise.
    let _last = Mqtt::connect(&all[2], &device);
    let mut all = all;
    all[0].wait("/v1/robots/amr-1", |robot| robot["online"] == true);
    drop(all.pop().unwrap().kill());
    all[0].wait("/v1/robots/amr-1", |robot| robot["online"] == false);
}

#[test]
fn a_robot_that_enrolls_again_elsewhere_loses_its_connection_here() {
    let Some(all) = processes(2) else { return };
    let device = all[0].enrol("amr-1");
    let mut client = Mqtt::connect(&all[0], &device);
    let claim = all[1].post("/v1/claim-codes", json!({ "robot": "amr-1" }));
    let key = KeyPair::generate().unwrap();
    let body = json!({ "code": claim["code"], "csr_pem": csr(&key) });
    let (status, answer) = all[1].ask("POST", "/v1/enrolments", Some(bytes(&body)), None, None);
    assert_eq!(status, 201, "{answer}");
    assert!(client.is_closed());
    let _again = Mqtt::connect(&all[0], &Device::new("amr-1", key, &answer));
}

#[test]
fn a_robot_that_is_revoked_elsewhere_loses_its_connection_here_and_is_told_why() {
    let Some(all) = processes(2) else { return };
    let device = all[0].enrol("amr-1");
    let mut client = Mqtt::connect(&all[0], &device);
    all[1].post("/v1/robots/amr-1/revoke", json!({ "reason": "it was stolen" }));
    assert_eq!(client.farewell(), Some(DisconnectReasonCode::AdministrativeAction));
    assert!(client.words.contains("revoked"), "{}", client.words);
}

#[test]
fn a_server_that_drops_every_connection_costs_nothing_but_a_moment() {
    let Some(all) = processes(2) else { return };
    let device = all[0].enrol("amr-1");
    let mut client = Mqtt::connect(&all[1], &device);
    let mut follower = Follower::new(&all[1], "", "");
    for round in 0..3 {
        all[0].database().unwrap().cut();
        let job = all[0].create_job("amr-1");
        assert_eq!(follower.next().unwrap().0, round + 1);
        assert_eq!(all[1].get(&format!("/v1/jobs/{job}"))["state"], "CREATED");
        let id = command(&all[0], &device);
        assert_eq!(id_of(&client.command(), &device), id.as_str().unwrap());
    }
    assert_eq!(replay(&all[0]).0, Some(0));
}

#[test]
fn a_process_with_other_keys_or_without_a_server_does_not_start() {
    let Some(all) = processes(1) else { return };
    let other = tempfile::tempdir().unwrap();
    let serve = |url: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
            .args(["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data"])
            .arg(other.path().join("cloud"))
            .args(["--store", url])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = serve(&all[0].database().unwrap().url());
    assert!(code == Some(3) && said.contains("copy ca.pem"), "{said}");
    let (code, said) = serve("postgres://nobody@127.0.0.1:1/nothing?connect_timeout=2");
    assert!(code == Some(3) && said.contains("postgres at 127.0.0.1"), "{said}");
    let (code, said) = serve("postgres://nobody@db.example/nothing");
    assert!(code == Some(3) && said.contains("TLS"), "{said}");
}

#[test]
fn a_server_is_spoken_to_by_tls_and_only_if_it_is_who_it_should_be() {
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    let key = own.signing_key.serialize_pem();
    let (database, port) = match Database::encrypted(&own.cert.pem(), &key) {
        Ok(started) => started,
        Err(why) => return skipped(&why),
    };
    let dir = tempfile::tempdir().unwrap();
    let url = |host: &str, certificate: &rcgen::Certificate| {
        let roots = dir.path().join(format!("{}.pem", Digest::of(certificate.der())));
        std::fs::write(&roots, certificate.pem()).unwrap();
        format!("postgres://nooterra@{host}:{port}/postgres?sslrootcert={}", roots.display())
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = |url: String| {
        let mut config = nooterra_cloud::Config::for_test(dir.path().join("cloud"));
        config.store = Some(url);
        runtime.block_on(nooterra_cloud::Cloud::start(config))
    };
    for wrong in [url("localhost", &other.cert), url("127.0.0.1", &own.cert)] {
        let said = start(wrong).unwrap_err().to_string();
        assert!(said.contains("certificate"), "{said}");
    }
    let cloud = start(url("localhost", &own.cert)).unwrap();
    let plain = "SELECT count(*)::text FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
                 WHERE application_name LIKE 'process%' AND ssl = ";
    assert_eq!(database.ask(&format!("{plain} false")), "0");
    assert_ne!(database.ask(&format!("{plain} true")), "0");
    runtime.block_on(cloud.stop());
}
