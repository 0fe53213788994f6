//! How fast a command travels from the cloud's API to the actuators, and a record from the
//! robot's journal to the cloud's disk, for `cargo xtask bench link` and `bench cloud`.
//!
//! One process holds the embedded cloud and the agent's parts with a robot that only notes
//! when it is written to; between them are the real sockets, TLS and disks. `--dir DIR` names
//! the disk, `--area link|cloud` what is measured.
#![allow(clippy::unwrap_used)] // Whatever is unexpected ends the run.

#[path = "../../../xtask/bench/measure.rs"]
mod measure;
mod rig;

use measure::{Samples, Unit, argument, figure, figure_with_floor, in_turns, samples};
use nooterra_agent::clock::{mono, wall};
use nooterra_blackbox::Record;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::{Class, CommandRefused, Entry};
use nooterra_protocol::envelope::{Envelope, Signed};
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::ids::{ActorId, EnvelopeId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::time::MonoNanos;
use rig::{Motion, Rig, Robot};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ECHO: &str = "endpoint echo + one signature + one verification";

/// As the uplink's batches.
const BATCH_BYTES: usize = 32 * 1024;

fn main() {
    let dir = PathBuf::from(argument("--dir").unwrap_or_else(|| ".".to_owned()));
    let rig = Rig::start(&dir);
    match argument("--area").as_deref() {
        Some("cloud") => cloud(&rig),
        _ => link(&rig),
    }
    rig.stop();
}

fn link(rig: &Rig) {
    let (signing, verifying) = signatures();
    let echo = rig.echo("amr-2", samples(3000));
    let floor = echo.median() + signing.median() + verifying.median();
    let robot = Robot::start(rig);
    let drive =
        json!({ "type": "drive", "lease_ms": 60, "twist": { "linear": 0.3, "angular": 0.0 } });
    let driven = commands(rig, &robot, &drive, Motion::Moving, samples(300));
    let (written, tick) = setpoints(&robot);
    let stop = json!({ "type": "emergency_stop", "reason": "bench" });
    let stopped = commands(rig, &robot, &stop, Motion::Stopped, samples(150));
    robot.stop();
    figure_with_floor("link.command_received", Unit::Micros, &driven.received, ECHO, floor);
    figure_with_floor("link.command_to_actuator", Unit::Micros, &driven.acted, ECHO, floor);
    figure_with_floor("link.stop_to_actuator", Unit::Micros, &stopped.acted, ECHO, floor);
    let what = "one tick of the control loop";
    figure_with_floor("link.setpoint_to_write_p99", Unit::Micros, &written, what, tick);
    let what = "signing and verifying alone";
    let crypto = signing.median() + verifying.median();
    figure_with_floor("link.echo", Unit::Micros, &echo, what, crypto);
}

/// How long after the API was called.
struct Sent {
    /// Until the robot's driver was told.
    acted: Samples,
    /// Until the robot had verified and judged the command: the stamp of its record.
    received: Samples,
}

/// Sends a command again and again, each time at another moment between two ticks.
fn commands(rig: &Rig, robot: &Robot, ask: &Value, wanted: Motion, rounds: usize) -> Sent {
    let warm_up = rounds.div_ceil(10);
    let (mut acted, mut asked_at) = (Samples::default(), BTreeMap::new());
    for round in 0..warm_up + rounds {
        robot.forget();
        let asked = mono();
        let answer = rig.command("amr-1", ask);
        let moved = robot.wait_for(wanted);
        if round >= warm_up {
            acted.push(moved.since(asked).unwrap());
            asked_at.insert(answer["id"].as_str().unwrap().to_owned(), asked);
        }
        if wanted == Motion::Stopped {
            rig.command("amr-1", &json!({ "type": "release_stop" }));
        }
        robot.wait_for(Motion::Still);
        // 7 and 20 have no common factor: over 20 rounds every millisecond of a tick is met.
        let between = 40 + round as u64 * 7 % 20;
        std::thread::sleep(Duration::from_millis(between));
    }
    let mut received = Samples::default();
    for (id, at) in receipts(robot) {
        if let Some(asked) = asked_at.get(id.as_str()) {
            received.push(at.since(*asked).unwrap());
        }
    }
    assert_eq!(received.len(), rounds);
    Sent { acted, received }
}

/// From a wish on the control thread's desk to the driver's write, at the 99th percentile: one
/// sample for each hundred wishes. Beside it the tick that a wish may have to wait for.
fn setpoints(robot: &Robot) -> (Samples, f64) {
    let (mut worst, mut tick) = (Samples::default(), Samples::default());
    tick.push(rig::PERIOD);
    for batch in 0..3_u64 {
        let mut written = Samples::default();
        for round in 0..100_u64 {
            robot.forget();
            let asked = robot.wish();
            written.push(robot.wait_for(Motion::Moving).since(asked).unwrap());
            robot.wait_for(Motion::Still);
            // As above, to a tenth of a millisecond.
            let between = 20_000 + (batch * 100 + round) * 733 % 20_000;
            std::thread::sleep(Duration::from_micros(between));
        }
        worst.push(Duration::from_secs_f64(written.p99()));
    }
    (worst, tick.median())
}

/// When the robot received which command, by its own journal.
fn receipts(robot: &Robot) -> Vec<(EnvelopeId, MonoNanos)> {
    let records = robot.journal().read_from(Class::Critical, 0, usize::MAX).unwrap();
    let received = records.iter().filter_map(|(_, bytes)| {
        let record = Record::decode(bytes).unwrap();
        match record.entry().unwrap() {
            Some(Entry::CommandReceived(command)) => Some((command.id, record.stamp.mono)),
            _ => None,
        }
    });
    received.collect()
}

/// One signature of the cloud and one verification by the robot, of a command as sent here.
fn signatures() -> (Samples, Samples) {
    let key = Ed25519Key::from_seed([7; 32]);
    let (public, now) = (key.verifying_key(), wall());
    let id = public.key_id();
    let command: RemoteCommand = Envelope {
        audience: RobotId::new("amr-1").unwrap(),
        body: Ask::Drive { lease_ms: 60, twist: Twist::new(0.3, 0.0) },
        expires_at: now.plus(Duration::from_secs(2)),
        id: EnvelopeId::new("cmd_00000000000000000000000000000000").unwrap(),
        issued_at: now,
        issuer: ActorId::new("cloud").unwrap(),
        v: nooterra_protocol::VERSION,
    };
    let signed = Signed::sign(command.clone(), &key).unwrap();
    in_turns(
        samples(3000),
        1,
        || drop(black_box(Signed::sign(command.clone(), &key).unwrap())),
        || {
            let found = Signed::<RemoteCommand>::verify(black_box(signed.bytes()), |named| {
                (named == id).then_some(&public)
            });
            drop(black_box(found.unwrap()));
        },
    )
}

fn cloud(rig: &Rig) {
    command_answered(rig);
    uplink(rig);
}

/// The API's answer to a command for a robot that is not there: signed, and on the disk.
fn command_answered(rig: &Rig) {
    let (signing, _) = signatures();
    rig.enroll("amr-2");
    let mut file = File::create_new(rig.path("command.plain")).unwrap();
    let ask =
        json!({ "type": "drive", "lease_ms": 60, "twist": { "linear": 0.3, "angular": 0.0 } });
    let (posts, floor) = in_turns(
        samples(600),
        1,
        || {
            rig.command("amr-2", &ask);
        },
        || {
            rig.get("/healthz");
            file.write_all(&[7; 512]).unwrap();
            file.sync_data().unwrap();
        },
    );
    let what = "GET /healthz + one signature + 512 bytes to a plain file with fdatasync";
    let floor = floor.median() + signing.median();
    figure_with_floor("cloud.command_answered", Unit::Micros, &posts, what, floor);
}

/// Records from the robot's journal until they are on the cloud's disk and acknowledged.
fn uplink(rig: &Rig) {
    let robot = Robot::start(rig);
    let journal = robot.journal();
    let mut file = File::create_new(rig.path("uplink.plain")).unwrap();
    let count = samples(3000);
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    for round in 0..samples(20) + 1 {
        let begun = Instant::now();
        for nth in 0..count {
            while journal.append(refused(nth)).is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        let last = journal.append_durable(refused(count)).unwrap();
        robot.wait_for_ack(Class::Critical, last);
        let took = begun.elapsed();
        let records = journal.read_from(Class::Critical, last - 1, 1).unwrap();
        let bytes = records[0].1.len() * count;
        let begun = Instant::now();
        for _ in 0..bytes.div_ceil(BATCH_BYTES) {
            file.write_all(&[7; BATCH_BYTES]).unwrap();
            file.sync_data().unwrap();
        }
        if round > 0 {
            ours.push_each(took, count);
            floor.push_each(begun.elapsed(), count);
        }
    }
    robot.stop();
    let what = "plain file, the same bytes, fdatasync per batch of 32 KiB";
    figure("cloud.uplink", Unit::Micros, &ours, (what, &floor));
}

/// A critical record of about 512 bytes.
fn refused(nth: usize) -> Entry {
    let reason = format!("{nth:0>300}");
    Entry::CommandRefused(CommandRefused { digest: Digest::of(b"bench"), id: None, reason })
}
