//! `policy backtest` against recordings of every format, and against a second opinion: an
//! independent script in Python that reads the same files and must come to the same intervals.
//!
//! The recordings are made here. With `NOOTERRA_RECORDINGS` naming a folder that holds real
//! ones, those are compared too.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The numbers are made here.
#![allow(clippy::float_cmp)] // The same moments are summed up.

use crate::common::rig::AGENT;
use mavlink::calculate_crc;
use serde_json::Value;
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two implementations of one definition differ by rounding, in any of the units.
const ROUNDING: f64 = 1e-6;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots")
}

fn backtest(policy: &Path, log: &Path, more: &[&str]) -> Output {
    Command::new(AGENT)
        .args(["policy", "backtest", "--policy"])
        .arg(policy)
        .arg(log)
        .args(more)
        .output()
        .unwrap()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A figure of eight, 50 moments per second for 24 s: time, x, y, yaw, speed, turn. It goes
/// backward for a while, jerks a little, and has a pause of two seconds.
fn eight() -> Vec<[f64; 6]> {
    let mut seed = 7_u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(seed >> 16) / 65_536.0 - 0.5
    };
    let (mut x, mut y, mut yaw) = (6.0, 4.0, 0.0);
    let mut moments = Vec::new();
    for step in 0..1200_u32 {
        let t = f64::from(step) / 50.0;
        let back = if (14.0..17.0).contains(&t) { -0.4 } else { 1.0 };
        let speed = back * (0.9 + 0.8 * (t * 0.7).sin()) + 0.02 * noise();
        let turn = 1.4 * (t * TAU / 12.0).cos() + 0.05 * noise();
        yaw += turn * 0.02;
        x += speed * f64::cos(yaw) * 0.02;
        y += speed * f64::sin(yaw) * 0.02;
        if !(9.0..11.0).contains(&t) {
            moments.push([t, x, y, yaw, speed, turn]);
        }
    }
    moments
}

fn euroc() -> Vec<u8> {
    let mut text = "#timestamp [ns], p, q w x y z, v\n".to_owned();
    for [t, x, y, yaw, speed, _] in eight() {
        let (sin, cos) = (yaw / 2.0).sin_cos();
        let stamp = 1_403_715_524_907_143_168 + (t * 1e9).round() as i64;
        let (vx, vy) = (speed * yaw.cos(), speed * yaw.sin());
        // Nose down by 0.2 rad around the body's y axis, climbing.
        let (s, c) = 0.1_f64.sin_cos();
        let q = [cos * c, -sin * s, cos * s, sin * c];
        let [w, i, j, k] = q;
        let _ = writeln!(
            text,
            "{stamp},{x:.6},{y:.6},{:.6},{w:.6},{i:.6},{j:.6},{k:.6},{vx:.6},{vy:.6},0.1",
            t * 0.1
        );
    }
    text.into_bytes()
}

fn tum() -> Vec<u8> {
    let mut text = "# timestamp x y z qx qy qz qw\n".to_owned();
    for [t, x, y, yaw, ..] in eight() {
        let (sin, cos) = (yaw / 2.0).sin_cos();
        let _ = writeln!(text, "{:.6} {x:.7} {y:.7} 0 0 0 {sin:.9} {cos:.9}", 1e9 + t);
    }
    text.into_bytes()
}

fn kitti() -> Vec<u8> {
    let mut text = String::new();
    for [_, x, y, yaw, ..] in eight() {
        let (s, c) = yaw.sin_cos();
        // Right, down, forward: a turn to the left is one around -y.
        let _ = writeln!(text, "{c:.9} 0 {:.9} {:.7} 0 1 0 0 {s:.9} 0 {c:.9} {x:.7}", -s, -y);
    }
    text.into_bytes()
}

/// Fields of a ROS 2 message, aligned from behind its header.
fn cdr(parts: &[Field<'_>], is_little: bool) -> Vec<u8> {
    let mut bytes = vec![0, u8::from(is_little), 0, 0];
    let put = |bytes: &mut Vec<u8>, mut little: Vec<u8>| {
        while !(bytes.len() - 4).is_multiple_of(little.len()) {
            bytes.push(0);
        }
        if !is_little {
            little.reverse();
        }
        bytes.extend(little);
    };
    for part in parts {
        match part {
            Field::Number(number) => put(&mut bytes, number.to_le_bytes().to_vec()),
            Field::Text(text) => {
                let length = u32::try_from(text.len()).unwrap() + 1;
                put(&mut bytes, length.to_le_bytes().to_vec());
                bytes.extend(text.bytes().chain([0]));
            }
            Field::Word(word) => put(&mut bytes, word.to_le_bytes().to_vec()),
        }
    }
    bytes
}

enum Field<'a> {
    Number(f64),
    Text(&'a str),
    Word(u32),
}

fn stamp(t: f64, frame: &str) -> Vec<Field<'_>> {
    let nanos = (t * 1e9).round() as u64;
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    vec![Field::Word(seconds as u32), Field::Word(nanos as u32), Field::Text(frame)]
}

/// Odometry in both orders of bytes, and twists on a topic of their own.
fn mcap() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let options = mcap::WriteOptions::new().compression(None).chunk_size(Some(20_000));
    let mut writer = options.create(&mut out).unwrap();
    let channel = |writer: &mut mcap::Writer<_>, topic: &str, schema: &str| {
        let schema = writer.add_schema(schema, "ros2msg", b"").unwrap();
        writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap()
    };
    let odom = channel(&mut writer, "/odom", "nav_msgs/msg/Odometry");
    let command = channel(&mut writer, "/cmd_vel", "geometry_msgs/msg/Twist");
    for (index, [t, x, y, yaw, speed, turn]) in eight().into_iter().enumerate() {
        let (sin, cos) = (yaw / 2.0).sin_cos();
        let number = |numbers: &[f64]| -> Vec<Field<'static>> {
            numbers.iter().map(|number| Field::Number(*number)).collect()
        };
        let mut fields = stamp(t, "odom");
        fields.push(Field::Text("base_link"));
        fields.extend(number(&[x, y, 0.0, 0.0, 0.0, sin, cos]));
        fields.extend(number(&[0.0; 36]));
        fields.extend(number(&[speed, 0.01, 0.0, 0.0, 0.0, turn]));
        fields.extend(number(&[0.0; 36]));
        let logged = 1_700_000_000_000_000_000 + (t * 1e9) as u64;
        let mut write = |channel_id, data: Vec<u8>, log_time| {
            let header = mcap::records::MessageHeader {
                channel_id,
                log_time,
                publish_time: log_time,
                sequence: 0,
            };
            writer.write_to_known_channel(&header, &data).unwrap();
        };
        write(odom, cdr(&fields, index % 2 == 0), logged);
        if index % 5 == 0 {
            let twist = number(&[speed * 1.1, 0.0, 0.0, 0.0, 0.0, turn]);
            write(command, cdr(&twist, true), logged + 1_000_000);
        }
    }
    writer.finish().unwrap();
    drop(writer);
    out.into_inner()
}

/// Frames of both versions, five per second, some of them late.
fn tlog() -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let frame = |stamp_us: u64, is_v2: bool, id: u8, extra: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = if is_v2 {
            vec![0xfd, length, 0, 0, 0, 1, 1, id, 0, 0]
        } else {
            vec![0xfe, length, 0, 1, 1, id]
        };
        frame.extend(payload);
        let crc = calculate_crc(&frame[1..], extra);
        [&stamp_us.to_be_bytes()[..], &frame, &crc.to_le_bytes()].concat()
    };
    let start = 1_700_000_000_000_000;
    frames.push(frame(start, false, 0, 50, &[0, 0, 0, 0, 2, 3, 0, 4, 3]));
    for (index, [t, x, y, yaw, speed, _]) in eight().into_iter().step_by(10).enumerate() {
        let (lat, lon) = (-35.36, 149.16);
        let north = (lat + y / 111_319.5) * 1e7;
        let east = (lon + x / (111_319.5 * 0.8155)) * 1e7;
        let heading = (90.0 - yaw.to_degrees()).rem_euclid(360.0) * 100.0;
        let (vx, vy) = (speed * yaw.sin() * 100.0, speed * yaw.cos() * 100.0);
        let mut payload = ((t * 1e3).round() as u32 + 5_000).to_le_bytes().to_vec();
        for number in [north, east, 600_000.0, 10_000.0] {
            payload.extend((number.round() as i32).to_le_bytes());
        }
        for number in [vx, vy, -20.0] {
            payload.extend((number.round() as i16).to_le_bytes());
        }
        payload.extend((heading as u16).to_le_bytes());
        frames.push(frame(start + (t * 1e6) as u64, index % 3 == 0, 33, 104, &payload));
    }
    frames.swap(20, 21);
    // Of a dialect that is not read here.
    frames.insert(7, frame(start, false, 178, 47, &[1; 28]));
    frames.concat()
}

/// A policy that the figure of eight breaks in every way there is.
const TIGHT: &str = r#"
id = "tight"
version = 1
robot = "r"
stop = "controlled_hold"
[footprint]
margin_m = 0.05
outline = [{ x = -0.3, y = -0.2 }, { x = 0.3, y = -0.2 }, { x = 0.3, y = 0.2 }, { x = -0.3, y = 0.2 }]
[limits]
max_linear_mps = 1.2
max_reverse_mps = 0.2
max_angular_radps = 1.1
max_linear_accel_mps2 = 0.5
max_decel_mps2 = 0.6
max_angular_accel_radps2 = 0.7
reaction_ms = 120
[freshness]
command_ms = 400
odometry_ms = 200
journal_ms = 100
[[zones]]
id = "hall"
rule = { type = "keep_in" }
polygon = [{ x = X0, y = Y0 }, { x = X1, y = Y0 }, { x = X1, y = Y1 }, { x = X0, y = Y1 }]
[[zones]]
id = "annex"
rule = { type = "keep_in" }
polygon = [{ x = X1, y = Y0 }, { x = X2, y = Y0 }, { x = X2, y = Y2 }]
[[zones]]
id = "press"
rule = { type = "keep_out" }
polygon = [{ x = X3, y = Y3 }, { x = X4, y = Y3 }, { x = X4, y = Y4 }, { x = X5, y = Y5 }, { x = X3, y = Y4 }]
[[zones]]
id = "aisle"
rule = { type = "speed", max_linear_mps = 0.7 }
polygon = [{ x = X0, y = Y3 }, { x = X2, y = Y3 }, { x = X2, y = Y5 }, { x = X0, y = Y4 }]
"#;

/// The tight policy with its zones laid over a track of this extent.
fn tight([left, bottom]: [f64; 2], [right, top]: [f64; 2]) -> String {
    let (wide, tall) = ((right - left).max(1.0), (top - bottom).max(1.0));
    let parts = [("0", -0.02), ("1", 0.85), ("2", 1.4), ("3", 0.3), ("4", 0.55), ("5", 0.42)];
    parts.iter().fold(TIGHT.to_owned(), |text, (name, part)| {
        let x = format!("{:.4}", left + part * wide);
        let y = format!("{:.4}", bottom + part * tall);
        text.replace(&format!("= X{name}"), &format!("= {x}"))
            .replace(&format!("= Y{name}"), &format!("= {y}"))
    })
}

/// The script's answer; `None` without a Python that can run it.
fn oracle(policy: &Path, log: &Path, more: &[&str], ours: &Value) -> Option<Value> {
    let version = "import sys; sys.exit(sys.version_info < (3, 11))";
    if !Command::new("python3").args(["-c", version]).status().is_ok_and(|status| status.success())
    {
        eprintln!("skipped: the second opinion needs Python 3.11");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backtest_oracle.py");
    let mut discs = tempfile::NamedTempFile::new().unwrap();
    discs.write_all(ours.to_string().as_bytes()).unwrap();
    let output = Command::new("python3")
        .arg(script)
        .arg("--policy")
        .arg(policy)
        .arg(log)
        .args(more)
        .arg("--discs")
        .arg(discs.path())
        .output()
        .unwrap();
    Some(answer(&output))
}

fn near(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= ROUNDING * a.abs().max(1.0),
        _ => ours == theirs,
    }
}

/// Asserts that both say the same, and gives how many intervals that was.
fn agrees(policy: &Path, log: &Path, more: &[&str]) -> usize {
    let json = [more, &["--json"]].concat();
    let ours = answer(&backtest(policy, log, &json));
    let Some(theirs) = oracle(policy, log, more, &ours) else {
        return usize::MAX;
    };
    let what = format!("{} under {}", log.display(), policy.display());
    assert_eq!(ours["recording"]["samples"], theirs["samples"], "{what}");
    assert_eq!(ours["recording"]["motion"], theirs["motion"], "{what}");
    assert!(near(&ours["recording"]["duration_s"], &theirs["duration_s"]), "{what}");
    let gaps = |value: &Value| value.as_array().unwrap().len();
    assert_eq!(gaps(&ours["recording"]["gaps"]), gaps(&theirs["gaps"]), "{what}");
    let list = |value: &Value, key: &str| value[key].as_array().unwrap().clone();
    let (rules, their_rules) = (list(&ours, "rules"), list(&theirs, "rules"));
    assert_eq!(rules.len(), their_rules.len(), "{what}");
    for (ours, theirs) in rules.iter().zip(&their_rules) {
        for key in ["rule", "way", "zone", "intervals", "over_s", "most"] {
            assert!(near(&ours[key], &theirs[key]), "{what}: {key}: {ours} and {theirs}");
        }
    }
    let (found, their_found) = (list(&ours, "intervals"), list(&theirs, "intervals"));
    assert_eq!(found.len(), their_found.len(), "{what}");
    for (ours, theirs) in found.iter().zip(&their_found) {
        for key in ["rule", "way", "zone", "from_s", "to_s", "over_s"] {
            assert!(near(&ours[key], &theirs[key]), "{what}: {key}: {ours} and {theirs}");
        }
        for key in ["excess", "limit", "value", "t_s"] {
            let ours = &ours["worst"];
            assert!(near(&ours[key], &theirs[key]), "{what}: {key}: {ours} and {theirs}");
        }
    }
    found.len()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The rules that acted.
fn acted(answer: &Value) -> Vec<String> {
    let rules = answer["rules"].as_array().unwrap().iter();
    rules
        .filter(|rule| rule["intervals"] != 0)
        .map(|rule| format!("{} {}", rule["rule"].as_str().unwrap(), rule["way"]))
        .collect()
}

#[test]
fn the_second_opinion_is_the_same_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let local = tight([4.0, 2.5], [9.0, 6.5]);
    let policy = write(dir, "tight.toml", local.as_bytes());
    // KITTI's positions are of the same track; tlog's count from the first fix.
    let from_first = write(dir, "first.toml", tight([-2.0, -1.5], [3.0, 2.5]).as_bytes());
    for (log, policy, more) in [
        (write(dir, "e.csv", &euroc()), &policy, &[][..]),
        (write(dir, "e2.csv", &euroc()), &policy, &["--motion", "heading", "--join", "0"]),
        (write(dir, "t.txt", &tum()), &policy, &[]),
        (write(dir, "t2.txt", &tum()), &policy, &["--window", "0.05", "--gap", "3"]),
        (write(dir, "k.txt", &kitti()), &policy, &["--rate", "50"]),
        (write(dir, "m.mcap", &mcap()), &policy, &[]),
        (write(dir, "m2.mcap", &mcap()), &policy, &["--topic", "/cmd_vel"]),
        (write(dir, "f.tlog", &tlog()), &from_first, &[]),
        (
            write(dir, "f2.tlog", &tlog()),
            &policy,
            &["--origin=-35.36,149.16", "--motion", "heading"],
        ),
    ] {
        let count = agrees(policy, &log, more);
        assert!(count > 8, "{}: only {count} intervals", log.display());
    }
}

#[test]
fn every_rule_is_found_where_it_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let policy = write(dir.path(), "tight.toml", tight([4.0, 2.5], [9.0, 6.5]).as_bytes());
    let log = write(dir.path(), "m.mcap", &mcap());
    let answer = answer(&backtest(&policy, &log, &["--json"]));
    assert_eq!(acted(&answer).len(), 9, "{:?}", acted(&answer));
    assert_eq!(answer["recording"]["format"], "mcap");
    let gaps = answer["recording"]["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1);
    assert!((gaps[0][0].as_f64().unwrap() - 8.98).abs() < 1e-6);
}

/// The tight policy, of which every zone holds only on one day of the week between two times.
fn windowed(policy: &str, [day, from, to]: [&str; 3]) -> String {
    ["hall", "annex", "press", "aisle"].iter().fold(policy.to_owned(), |text, id| {
        let line = format!("id = \"{id}\"\n");
        let window =
            format!("windows = [{{ days = [\"{day}\"], from = \"{from}\", to = \"{to}\" }}]\n");
        text.replace(&line, &(line.clone() + &window))
    })
}

/// The tight policy for what flies, of which zones hold between heights.
fn banded(policy: &str, [low, high]: [f64; 2]) -> String {
    let vehicle = "[vehicle]\ntype = \"multirotor\"\nmax_altitude_m = 120.0\nmin_altitude_m = 0.0\n\
                   max_climb_mps = 4.0\nmax_descent_mps = 3.0\nmax_tilt_rad = 0.5\n\
                   max_vertical_accel_mps2 = 3.0\n[[zones]]";
    let text = policy.replacen("[[zones]]", vehicle, 1);
    ["hall", "press", "aisle"].iter().fold(text, |text, id| {
        let line = format!("id = \"{id}\"\n");
        let band = format!(
            "altitude = {{ reference = \"above_takeoff\", min_m = {low:.1}, max_m = {high:.1} }}\n"
        );
        text.replace(&line, &(line.clone() + &band))
    })
}

#[test]
fn zones_are_judged_when_and_at_the_height_at_which_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plain = tight([4.0, 2.5], [9.0, 6.5]);
    // The recording begins on a Wednesday at 16:58:44.907, and ends 24 s later.
    let log = write(dir, "e.csv", &euroc());
    let zones = |policy: &Path, more: &[&str]| {
        agrees(policy, &log, more);
        let answer = answer(&backtest(policy, &log, &[more, &["--json"]].concat()));
        let mut zones = BTreeMap::new();
        for rule in answer["rules"].as_array().unwrap() {
            let name = rule["rule"].as_str().unwrap();
            if name.starts_with("zone.") {
                let over_s = rule["over_s"].as_f64().unwrap();
                *zones.entry(name.to_owned()).or_insert(0.0) += over_s;
            }
        }
        zones
    };
    let heading: &[&str] = &["--motion", "heading"];
    let always = zones(&write(dir, "always.toml", plain.as_bytes()), heading);
    assert!(always.values().all(|over_s| *over_s > 0.0), "{always:?}");
    let inside = windowed(&plain, ["wed", "00:00", "24:00"]);
    let same = zones(&write(dir, "inside.toml", inside.as_bytes()), heading);
    assert!(same["zone.closed"] == 0.0 && same["zone.keep_in"] == always["zone.keep_in"]);
    assert_eq!(same["zone.keep_out"], always["zone.keep_out"]);
    // They end within the recording: what permits before that, by the time that a stop takes.
    let ending = windowed(&plain, ["wed", "16:00", "16:59"]);
    let ending = write(dir, "ending.toml", ending.as_bytes());
    let part = zones(&ending, heading);
    assert!(part["zone.closed"] > 0.0 && part["zone.keep_out"] <= always["zone.keep_out"]);
    // Somebody knows better when it was: nothing restricts, and nothing permits.
    let later: &[&str] = &["--motion", "heading", "--start", "2026-11-18T18:00:00Z"];
    let none = zones(&ending, later);
    assert!(none["zone.keep_out"] == 0.0 && none["zone.speed"] == 0.0, "{none:?}");
    assert!(none["zone.closed"] > part["zone.closed"] && none["zone.keep_in"] == 0.0);
    // It climbs from 0 to 2.4 m, by a tenth of a metre in a second.
    for (name, [low, high]) in [("low", [-1.0, 1.0]), ("high", [1.0, 9.0]), ("all", [-9.0, 9.0])] {
        let policy = write(dir, &format!("{name}.toml"), banded(&plain, [low, high]).as_bytes());
        let found = zones(&policy, &[]);
        assert!(found["zone.keep_out"] > 0.0, "{name}: {found:?}");
        zones(&policy, &["--takeoff", "1.5"]);
    }
    let policy = write(dir, "far.toml", banded(&plain, [50.0, 60.0]).as_bytes());
    let far = zones(&policy, &[]);
    assert!(far["zone.keep_out"] == 0.0 && far["zone.speed"] == 0.0, "{far:?}");
}

#[test]
fn what_time_it_was_is_not_guessed_and_what_is_not_known_permits_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plain = tight([4.0, 2.5], [9.0, 6.5]);
    // Its stamps count from the start of the robot.
    let log = write(dir.path(), "m.mcap", &mcap());
    let policy = windowed(&plain, ["wed", "00:00", "24:00"]);
    let policy = write(dir.path(), "wed.toml", policy.as_bytes());
    agrees(&policy, &log, &[]);
    agrees(&policy, &log, &["--start", "2026-11-18T12:00:00Z"]);
    let unknown = answer(&backtest(&policy, &log, &["--json"]));
    let notes = unknown["recording"]["notes"].to_string();
    assert!(notes.contains("what time it was is not known"), "{notes}");
    let acted = acted(&unknown);
    assert!(acted.contains(&"zone.closed null".to_owned()), "{acted:?}");
    assert!(acted.contains(&"zone.keep_out null".to_owned()), "{acted:?}");
}

#[test]
fn where_sensors_would_have_been_off_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let plain = tight([4.0, 2.5], [9.0, 6.5]);
    let room = "[[privacy]]\nid = \"ward\"\nsensors = [\"camera\"]\nkeep_s = 60\n\
                windows = [{ days = [\"wed\"], from = \"16:00\", to = \"16:59\" }]\n\
                circle = { center = { x = 6.0, y = 4.0 }, radius_m = 1.0 }\n";
    let policy = write(dir.path(), "room.toml", format!("{plain}{room}").as_bytes());
    let log = write(dir.path(), "e.csv", &euroc());
    let page = dir.path().join("report.html");
    let told = |more: &[&str]| {
        let off = answer(&backtest(&policy, &log, &[more, &["--json"]].concat()));
        off["sensors_off"].as_array().unwrap().clone()
    };
    let off = told(&["--out", page.to_str().unwrap()]);
    assert!(off[0]["from_s"] == 0.0 && off[0]["keep_s"] == 60, "{off:?}");
    assert_eq!(off[0]["off"], serde_json::json!(["camera"]));
    // The window ends at 15.09 s, and the figure ends where it began.
    let ends = off.last().unwrap()["to_s"].as_f64().unwrap();
    assert!(ends < 15.2, "{off:?}");
    assert!(told(&["--start", "2026-11-19T16:30:00Z"]).is_empty());
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("<h2>Privacy</h2>") && html.contains("camera"));
    let output = backtest(&policy, &log, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("camera; what the others record is kept 60 s at most"), "{text}");
}

#[test]
fn the_page_and_the_table_are_made_and_the_exit_code_is_0() {
    let dir = tempfile::tempdir().unwrap();
    let log = write(dir.path(), "m.mcap", &mcap());
    let page = dir.path().join("report.html");
    let policy = examples().join("amr/policy.json");
    let output = backtest(&policy, &log, &["--out", page.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["speed.linear forward", "gap: nothing was recorded", "drawn in"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("zone.keep_out press"));
}

#[test]
fn what_cannot_be_read_is_said_in_one_line_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let (mcap, tlog) = (mcap(), tlog());
    let policy = examples().join("amr/policy.json");
    let missing = dir.path().join("missing.toml");
    let logs = [
        (write(dir.path(), "empty", b""), "the recording is empty"),
        (write(dir.path(), "cut.mcap", &mcap[..mcap.len() / 2]), "the recording is cut"),
        (write(dir.path(), "cut.tlog", &tlog[..tlog.len() - 3]), "the recording is cut"),
        (write(dir.path(), "cut.csv", b"1403715524907143168,0.5,1.9"), "3 columns"),
        (write(dir.path(), "x.ulg", b"ULog\x01\x12\x35\x01"), "PX4 ULog"),
        (write(dir.path(), "x.bin", &[7; 4000]), "a binary file that is none of them"),
        (dir.path().to_owned(), "cannot read the recording"),
        (dir.path().join("nowhere"), "cannot read the recording"),
    ];
    for (log, part) in logs {
        let output = backtest(&policy, &log, &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(part), "{errors:?} does not say {part:?}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors:?}");
    }
    let log = write(dir.path(), "m.mcap", &mcap);
    assert_eq!(backtest(&missing, &log, &[]).status.code(), Some(3));
    let wrong = write(dir.path(), "wrong.toml", b"id = 'x'\nlimit = 3\n");
    let output = backtest(&wrong, &log, &[]);
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("wrong.toml:2:1: unknown key `limit`"), "{errors}");
}

#[test]
fn the_second_opinion_is_the_same_on_real_recordings() {
    let Some(folder) = std::env::var_os("NOOTERRA_RECORDINGS") else {
        eprintln!("skipped: NOOTERRA_RECORDINGS names no folder with recordings");
        return;
    };
    let folder = PathBuf::from(folder);
    let dir = tempfile::tempdir().unwrap();
    for (name, robot, low, high) in [
        ("nav2_turtlebot.mcap", "turtlebot", [-2.0, -4.0], [11.0, 1.0]),
        ("euroc_V102_groundtruth.csv", "mav", [-2.0, -1.5], [1.5, 3.0]),
        ("vtol.tlog", "vtol", [-60.0, -150.0], [60.0, 200.0]),
    ] {
        let log = folder.join(name);
        let own = examples().join(robot).join("policy.toml");
        let plain = tight(low, high);
        let tight = write(dir.path(), &format!("{robot}.toml"), plain.as_bytes());
        let windows = windowed(&plain, ["wed", "08:00", "12:00"]);
        let windows = write(dir.path(), &format!("{robot}-windows.toml"), windows.as_bytes());
        agrees(&windows, &log, &["--start", "2026-11-18T11:59:30Z"]);
        let heights = write(
            dir.path(),
            &format!("{robot}-heights.toml"),
            banded(&plain, [0.5, 30.0]).as_bytes(),
        );
        agrees(&heights, &log, &["--motion", "course"]);
        let (own, tight) = (agrees(&own, &log, &[]), agrees(&tight, &log, &[]));
        eprintln!("{name}: {own} intervals under its robot's policy, {tight} under a tight one");
        assert!(own > 0 && tight > own);
    }
}
