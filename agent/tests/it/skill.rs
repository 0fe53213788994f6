//! The developer's commands: a skill that is begun, built, tried out and measured.

use crate::common::guests;
use crate::common::skip;
use guests::{component, skills};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn agent(args: &[&str]) -> Output {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_nooterra-agent"));
    // Within a checkout, as a developer who has one; and cargo's own words for this test are not
    // for the guests.
    agent.current_dir(skills()).args(args);
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        agent.env_remove(name);
    }
    agent.output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(errors))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// A component as a file.
fn file_of(name: &str, dir: &Path) -> PathBuf {
    let file = dir.join(format!("{name}.wasm"));
    std::fs::write(&file, component(name)).unwrap();
    file
}

fn try_out(command: &str, name: &str, dir: &Path, more: &[&str]) -> Output {
    let file = file_of(name, dir);
    let component = ["--json", "skill", command, name, "--component", file.to_str().unwrap()];
    agent(&[&component[..], more].concat())
}

#[test]
fn every_example_does_in_the_simulator_what_its_cases_say() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["charge", "follow-me", "lookout", "patrol", "pick-and-place", "rounds", "survey"] {
        let output = try_out("test", name, dir.path(), &[]);
        let answer = json(&output);
        assert!(output.status.success(), "{name}: {answer:#}");
        assert_eq!(answer["failed"], 0);
        assert!(answer["cases"].as_array().unwrap().len() >= 2, "{name}");
    }
}

#[test]
fn a_rehearsal_comes_out_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let route = r#"waypoints=[[3,1],[3,6]]"#;
    let run = || {
        let more = ["--action", "patrol", "--param", route, "--seed", "7"];
        json(&try_out("run", "patrol", dir.path(), &more))
    };
    let (first, second) = (run(), run());
    assert_eq!(first["outcome"], "done");
    assert_eq!(first, second);
}

#[test]
fn a_run_is_drawn_with_its_track_and_what_the_policy_did() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.html");
    let robot = skills().join("../robots/amr");
    let more = [
        "--sim",
        robot.to_str().unwrap(),
        "--action",
        "patrol",
        "--param",
        "waypoints=[[3,1]]",
        "--report",
        report.to_str().unwrap(),
    ];
    let answer = json(&try_out("run", "patrol", dir.path(), &more));
    assert_eq!(answer["told"][0]["what"]["kind"], "checkpoint", "{answer:#}");
    let page = std::fs::read_to_string(report).unwrap();
    for part in [r#"<svg class="map""#, r#"<svg class="chart""#, "waypoint-1", "accel.linear"] {
        assert!(page.contains(part), "no {part}");
    }
    for outside in ["http:", "https:", " src=", "<script", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn an_arms_run_is_drawn_from_above_with_its_joints_and_says_where_the_things_are() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.html");
    let more = [
        "--param",
        "from=[[0.8,0.55]]",
        "--param",
        "to=[[0.65,0.4]]",
        "--report",
        report.to_str().unwrap(),
    ];
    let answer = json(&try_out("run", "pick-and-place", dir.path(), &more));
    assert_eq!(answer["outcome"], "done", "{answer:#}");
    let things = answer["things"].as_array().unwrap();
    let put = things.iter().find(|it| (it["at"]["x"].as_f64().unwrap() - 0.65).abs() < 0.02);
    assert_eq!(put.unwrap()["held"], false, "{answer:#}");
    assert!(answer["path_m"].as_f64().unwrap() > 0.2, "of the tool: {answer:#}");
    let page = std::fs::read_to_string(report).unwrap();
    for part in ["The way of the tool, from above", "<rect class=\"slow\"", "Joint 4", "placed-1"] {
        assert!(page.contains(part), "no {part}");
    }
    for outside in ["http:", "https:", " src=", "<script", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Each is told that it is for the other, before anything is run.
    let robots = skills().join("../robots");
    for (skill, robot, why) in
        [("pick-and-place", "amr", "moves an arm"), ("patrol", "arm", "moves a base")]
    {
        let robot = robots.join(robot);
        let refused = try_out("test", skill, dir.path(), &["--sim", robot.to_str().unwrap()]);
        assert!(!refused.status.success() && said(&refused).contains(why), "{}", said(&refused));
    }
}

#[test]
fn a_graph_is_drawn_as_it_is_shown_beside_its_skill() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("graph.svg");
    let svg = ["--svg", file.to_str().unwrap()];
    let answer = json(&try_out("inspect", "rounds", dir.path(), &svg));
    assert_eq!(answer["svg"], svg[1]);
    let drawn = std::fs::read_to_string(&file).unwrap();
    let shown = std::fs::read_to_string(skills().join("rounds/graph.svg")).unwrap_or_default();
    assert!(
        drawn == shown,
        "{}; is that as it should be? In examples/skills: nooterra-agent skill inspect rounds \
         --svg rounds/graph.svg",
        drawn
    );
    std::fs::remove_file(&file).unwrap();
    let refused = try_out("inspect", "patrol", dir.path(), &svg);
    assert!(!refused.status.success() && !file.exists());
    assert!(said(&refused).contains("patrol has no policy graph to draw"), "{}", said(&refused));
}

#[test]
fn a_bench_measures_every_step_and_an_inspection_says_it_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--action", "inspect"];
    let answer = json(&try_out("bench", "patrol", dir.path(), &more));
    assert!(answer["steps"].as_u64().unwrap() > 50, "{answer:#}");
    for figure in ["fuel", "journal", "memory", "time"] {
        assert!(answer[figure]["most"].as_f64().unwrap() > 0.0, "{figure}: {answer:#}");
    }
    let answer = json(&try_out("inspect", "follow-me", dir.path(), &[]));
    assert_eq!(answer["may"], serde_json::json!(["drive", "scan", "log"]));
    let file = file_of("survey", dir.path());
    let words =
        said(&agent(&["skill", "inspect", "survey", "--component", file.to_str().unwrap()]));
    for part in ["ask the robot to move", "the gate decides", "write to the robot's log", "4 MiB"] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn what_a_skill_does_wrong_in_the_simulator_ends_with_a_reason_and_a_code() {
    let dir = tempfile::tempdir().unwrap();
    for (action, outcome, part) in [
        ("spin", "crashed", "did not return"),
        ("trap", "crashed", "gave up by itself"),
        ("refuse", "failed", "no such waypoint"),
        ("drive", "failed", "without the capability `drive`"),
    ] {
        let output = try_out("run", "misbehave", dir.path(), &["--action", action]);
        let answer = json(&output);
        assert_eq!(
            (output.status.code(), &answer["outcome"]),
            (Some(1), &outcome.into()),
            "{action}"
        );
        assert!(answer["reason"].as_str().unwrap().contains(part), "{action}: {answer:#}");
    }
    let output = try_out("run", "misbehave", dir.path(), &["--action", "dance"]);
    assert!(said(&output).contains("has no action `dance`"), "{}", said(&output));
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("cases.json");
    std::fs::write(
        &bad,
        r#"{ "v": 1, "cases": [ { "name": "a", "action": "b", "expect": {} } ] }"#,
    )
    .unwrap();
    let output = try_out("test", "patrol", dir.path(), &["--cases", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("expect.outcome"), "{}", said(&output));
    for (args, code, part) in [
        (&["skill", "test", "nowhere"][..], 1, "nowhere"),
        (&["skill", "run", "patrol", "--param", "x"][..], 2, "NAME=VALUE"),
        (&["skill", "new", "Upper Case"][..], 1, "Upper Case"),
        (
            &["skill", "run", "patrol", "--component", "Cargo.toml"][..],
            5,
            "not a WebAssembly component",
        ),
    ] {
        let output = agent(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(part), "{args:?}: {}", said(&output));
    }
}

/// Begins a skill, and has it built and tested as its author would.
fn a_new_skill_is_whole(name: &str, more: &[&str], motion: &str) {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().to_str().unwrap();
    let begin = [&["skill", "new", name, "--into", into, "--developer", "A \"B\""], more].concat();
    let output = agent(&begin);
    assert!(output.status.success(), "{}", said(&output));
    let folder = dir.path().join(name);
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["capabilities"], serde_json::json!(["checkpoint", motion, "log"]));
    // Compiled once, and kept from run to run.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("new-skill-{motion}"));
    std::fs::create_dir_all(&kept).unwrap();
    std::os::unix::fs::symlink(kept, folder.join("target")).unwrap();
    let again = agent(&begin);
    assert!(said(&again).contains("nothing was written"), "{}", said(&again));
    let mut tests = Command::new(env!("CARGO"));
    tests.current_dir(&folder).args(["test", "--quiet"]).env_remove("CARGO_TARGET_DIR");
    let tests = tests.output().unwrap();
    assert!(tests.status.success() && said(&tests).contains("2 passed"), "{}", said(&tests));
    let cases = agent(&["skill", "test", folder.to_str().unwrap()]);
    assert!(cases.status.success(), "{}", said(&cases));
    assert!(said(&cases).contains("3 of 3 cases as they must be"), "{}", said(&cases));
    let lines = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    let skill = lines.split("#[cfg(test)]").next().unwrap();
    let code = skill.lines().filter(|line| !line.is_empty() && !line.trim().starts_with("//"));
    assert!(code.count() < 60);
}

#[test]
fn a_new_skill_builds_and_passes_its_tests() {
    a_new_skill_is_whole("night-watch", &[], "drive");
}

#[test]
fn a_new_skill_for_an_arm_builds_and_passes_its_tests() {
    a_new_skill_is_whole("table-watch", &["--arm"], "joints");
}

#[test]
fn a_skill_in_c_does_what_its_cases_say() {
    for (program, advice) in [
        ("clang", "apt install clang"),
        ("wasm-ld", "apt install lld"),
        ("wit-bindgen", "cargo install wit-bindgen-cli --no-default-features --features c"),
    ] {
        if let Err(why) = skip::allows(advice, program, &["--version"]) {
            return skip::skipped(&why);
        }
    }
    if !Path::new("/usr/lib/wasm32-wasi/libc.a").exists() {
        return skip::skipped("apt install wasi-libc: no C library for skills");
    }
    let dir = tempfile::tempdir().unwrap();
    let build = Command::new(skills().join("sway/build.sh")).arg(dir.path()).output().unwrap();
    assert!(build.status.success(), "{}", said(&build));
    let file = dir.path().join("sway.wasm");
    let output = agent(&["skill", "test", "sway", "--component", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
}
