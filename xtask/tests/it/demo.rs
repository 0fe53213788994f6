//! The end-to-end test: the demo runs headless, and its summary is what was promised.

use serde_json::Value;
use std::process::Command;

#[test]
fn one_signed_job_runs_end_to_end_and_every_claim_holds() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("demo");
    let run = Command::new(env!("CARGO_BIN_EXE_nooterra-xtask"))
        .args(["demo", "--headless", "--seed", "7", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(run.status.success(), "{said}");

    let summary = std::fs::read_to_string(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["job"]["state"], "COMPLETED", "{said}");
    assert_eq!(summary["seed"], 7);
    assert_eq!(summary["zone_exits"], 0);
    assert!(summary["zones"]["samples"].as_u64().unwrap() > 500, "hardly any true poses");

    let clamps = summary["clamps"].as_array().unwrap();
    let with = |rule: &'static str| clamps.iter().filter(move |clamp| clamp["rule"] == rule);
    assert!(with("speed.linear").any(|clamp| clamp["source"] == "skill"), "{said}");
    let through_the_zone = with("zone.keep_out").find(|clamp| !clamp["command"].is_null());
    let clamp = through_the_zone.expect("the command through the keep-out zone was clamped");
    for key in ["limit", "asked", "allowed", "zone", "pose", "at"] {
        assert!(!clamp[key].is_null(), "a clamp without `{key}`: {clamp}");
    }
    assert!(
        clamp["asked"]["linear"].as_f64().unwrap() > clamp["allowed"]["linear"].as_f64().unwrap()
    );

    assert_eq!(summary["skill"]["tampered_refused"], true);
    assert!(!summary["skill"]["reason"].as_str().unwrap().is_empty());
    let blackbox = &summary["blackbox"];
    assert!(blackbox["records"].as_u64().unwrap() > 100);
    assert_eq!(blackbox["verified"], true);
    assert_eq!(blackbox["tamper_found_at"], blackbox["flipped_in"]);

    let checkpoints = summary["job"]["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|moment| moment["event"] == "CHECKPOINT_REACHED")
        .count();
    assert!(checkpoints >= 3, "{checkpoints} checkpoints");

    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(report.matches("id=\"clamp-").count(), clamps.len());
    assert!(!report.contains("https://") && !report.contains("http://"), "it loads something");

    // No process has the demo's directory on its command line.
    let out = out.to_string_lossy().into_owned();
    crate::running::none_has(&out);
}

#[test]
fn a_directory_that_no_demo_made_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("thesis.txt");
    std::fs::write(&file, "years").unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_nooterra-xtask"))
        .args(["demo", "--headless", "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).contains("--out"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "years");
}
