//! `nooterra-cloud replay`: what the streams say and what is shown, and every way to differ.

use crate::rig::{Device, Mqtt, Rig};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::event::{EventType as E, UnderPolicy};
use nooterra_protocol::geometry::Pose;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A stopped cloud with a job under way and one that was cancelled.
fn stopped() -> (Rig, PathBuf) {
    let mut rig = Rig::new();
    let mut device = rig.enrol("amr-1");
    let mut client = Mqtt::connect(&rig, &device);
    let job = rig.dispatch_job("amr-1");
    let under = UnderPolicy { policy_hash: Digest::of(b"policy"), pose: Pose::default() };
    // The second comes twice as a statement, and too late the second time.
    let facts: Vec<_> =
        [E::EnRoute, E::EnRoute].map(|kind| device.fact(kind, Some(&job), &under)).into();
    report(&mut client, &device, facts);
    let other = rig.create_job("amr-1");
    rig.post(&format!("/v1/jobs/{other}/cancel"), json!({}));
    drop(client);
    rig.stop();
    let data = rig.dir.path().join("cloud");
    (rig, data)
}

fn report(client: &mut Mqtt, device: &Device, records: Vec<nooterra_protocol::codec::Blob>) {
    assert!(client.publish(&device.topic("up/critical"), &device.batch(records)).is_some());
    client.ack();
}

fn replay(data: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
        .args(["replay", "--json", "--data"])
        .arg(data)
        .args(args)
        .output()
        .unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

fn change(data: &Path, sql: &str) {
    let changed = Connection::open(data.join("cloud.sqlite")).unwrap().execute(sql, []).unwrap();
    assert_eq!(changed, 1, "{sql}");
}

#[test]
fn a_cloud_that_was_left_alone_shows_what_its_streams_say() {
    let (_rig, data) = stopped();
    for args in [&["--check"][..], &[], &["--skip-signatures"]] {
        let (code, said) = replay(&data, args);
        assert_eq!((code, &said["differing"]), (Some(0), &json!(0)), "{said}");
        assert_eq!((&said["jobs"], &said["late"]), (&json!(2), &json!(1)), "{said}");
    }
}

#[test]
fn it_may_run_beside_the_cloud_but_makes_nothing_anew_there() {
    let rig = Rig::new();
    rig.enrol("amr-1");
    rig.create_job("amr-1");
    let data = rig.dir.path().join("cloud");
    assert_eq!(replay(&data, &[]).0, Some(0));
    assert_eq!(replay(&data, &["--rebuild"]).0, Some(3));
    assert_eq!(replay(&data.join("nowhere"), &[]).0, Some(3));
    assert_eq!(replay(&data, &["--check", "--rebuild"]).0, Some(2));
}

#[test]
fn whatever_is_changed_by_hand_is_found_and_named() {
    for (sql, said) in [
        ("UPDATE jobs SET state = 'COMPLETED' WHERE n = 1", "state is shown as Completed"),
        ("UPDATE jobs SET progress = 0.5 WHERE n = 1", "progress is shown as 0.5"),
        ("UPDATE jobs SET robot = 'amr-2' WHERE n = 1", "robot is shown as"),
        ("DELETE FROM jobs WHERE n = 1", "the job is not shown"),
        (
            "INSERT INTO jobs (id, robot, requester, plan, state, created_at, updated_at)
             VALUES ('job_x', 'amr-1', 'me', '{\"steps\":[]}', 'BOOKED', 0, 0)",
            "a job is shown that has no stream",
        ),
        ("UPDATE facts SET late = 1 WHERE position = 2", "is marked late, and came in time"),
        ("UPDATE facts SET late = 0 WHERE late = 1", "is marked in time, and came late"),
        ("UPDATE facts SET kind = 'BOOKED' WHERE position = 2", "is filed as BOOKED"),
        ("DELETE FROM facts WHERE position = 2", "follows 1: facts are missing"),
        ("UPDATE facts SET hash = zeroblob(32) WHERE position = 2", "its hash is not of its bytes"),
        (
            "UPDATE facts SET signed = (SELECT signed FROM facts WHERE position = 3)
             WHERE position = 2",
            "its hash is not of its bytes",
        ),
        (
            "UPDATE facts SET signed = CAST(substr(signed, 1, length(signed) - 1)
                 || CASE substr(signed, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)
             WHERE position = 2",
            "signature",
        ),
        ("UPDATE device_keys SET robot = 'amr-2', key_id = x'00'", "key"),
    ] {
        let (_rig, data) = stopped();
        if sql.contains("device_keys") {
            change(
                &data,
                "INSERT INTO robots (id, device_key, enrolled_at) VALUES ('amr-2', '', 0)",
            );
        }
        change(&data, sql);
        let (code, found) = replay(&data, &[]);
        assert_eq!(code, Some(5), "{sql}: {found}");
        let found = found["differences"].to_string();
        assert!(found.contains(said), "{sql}: {found}");
    }
}

#[test]
fn what_is_shown_is_made_anew_from_the_streams() {
    let (rig, data) = stopped();
    change(&data, "UPDATE jobs SET state = 'COMPLETED', stage = 's9' WHERE n = 1");
    change(&data, "DELETE FROM jobs WHERE n = 2");
    let (code, said) = replay(&data, &["--rebuild"]);
    assert_eq!((code, &said["rebuilt"]), (Some(5), &json!(2)), "{said}");
    assert_eq!(replay(&data, &[]).0, Some(0));
    let rig = rig.restart();
    let jobs = rig.get("/v1/jobs");
    let states: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| &job["state"]).collect();
    assert_eq!(states, ["ABORTED", "EN_ROUTE"]);
}
