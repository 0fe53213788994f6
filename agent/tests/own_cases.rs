//! A bundle's own cases before its version may become active: from a file, by a plan, and with
//! the process killed in between.
#![cfg(all(feature = "sim", feature = "tools"))]
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::rig::{AGENT, Agent, CloudRig, dispatch, enroll, step, wait_for};
use common::{Site, guests};
use nooterra_agent::rehearsal::anonymous;
use nooterra_agent::rehearsal::gate::{Bounds, GateError, pass};
use nooterra_skill_host::{Beside, Keys, keygen, pack_with, sign};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Of `patrol`: off the dock, as it must be.
fn undocks() -> Value {
    json!({ "name": "off the dock", "action": "undock", "expect": { "outcome": "done" } })
}

/// Something that it does not.
fn flies() -> Value {
    json!({ "name": "flies", "action": "undock", "expect": { "outcome": "failed" } })
}

/// To and fro for minutes of the robot's time.
fn walks(name: &str) -> Value {
    let way: Vec<Value> =
        (0..16).map(|nth| json!({ "x": f64::from(3 + nth % 2 * 7), "y": 1.0 })).collect();
    json!({
        "name": name, "action": "patrol", "params": { "waypoints": way }, "limit_s": 600,
        "expect": { "outcome": "done" },
    })
}

/// A version of `patrol` with these cases.
fn bundle(version: &str, cases: Option<&[Value]>) -> Vec<u8> {
    let mut template: Value = serde_json::from_str(&guests::template("patrol")).unwrap();
    template["version"] = version.into();
    let cases = cases.map(|cases| json!({ "v": 1, "cases": cases }).to_string());
    let beside = Beside { cases: cases.as_deref().map(str::as_bytes), ..Beside::default() };
    pack_with(&template.to_string(), &guests::component("patrol"), beside).unwrap()
}

fn keys(site: &Site) -> Keys {
    let keys = keygen(None).unwrap();
    std::fs::write(site.path("skill-keys/test.pub"), &keys.public).unwrap();
    keys
}

fn file(site: &Site, name: &str, bundle: &[u8], keys: &Keys) -> PathBuf {
    let path = site.path(name);
    std::fs::write(&path, bundle).unwrap();
    let signature = sign(bundle, &keys.secret, None, "a test").unwrap();
    std::fs::write(site.path(&format!("{name}.minisig")), signature).unwrap();
    path
}

fn publish(cloud: &CloudRig, bundle: &[u8], keys: &Keys) -> Value {
    use base64::Engine as _;
    let signature = sign(bundle, &keys.secret, None, "a test").unwrap();
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    cloud.post("/v1/skills", json!({ "bundle_base64": bundle, "signature": signature }))
}

fn command(site: &Site, arguments: &[&str]) -> Command {
    let mut agent = Command::new(AGENT);
    agent.arg("--config").arg(site.path("agent.toml")).args(["--json", "skill"]).args(arguments);
    agent
}

fn skill(site: &Site, arguments: &[&str]) -> Output {
    command(site, arguments).output().unwrap()
}

fn answer(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

fn slots(site: &Site) -> Value {
    answer(&skill(site, &["installed"]))["skills"]["patrol"].clone()
}

#[test]
fn a_bundle_from_a_file_passes_its_own_cases_or_nothing_has_changed() {
    let site = Site::new();
    let keys = keys(&site);
    let one = file(&site, "one.noot", &bundle("1.0.0", Some(&[undocks()])), &keys);
    let output = skill(&site, &["install", one.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(answer(&output)["cases_passed"], 1);
    let before = slots(&site);
    assert_eq!(before["trial"]["of"]["version"], "1.0.0");

    let two = file(&site, "two.noot", &bundle("2.0.0", Some(&[undocks(), flies()])), &keys);
    let output = skill(&site, &["install", two.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    let reason = answer(&output)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("case `flies`") && reason.contains("it must end `failed`"), "{reason}");
    assert_eq!(slots(&site), before);

    // Without cases: as the owner has it.
    let three = file(&site, "three.noot", &bundle("3.0.0", None), &keys);
    let three = three.to_str().unwrap();
    site.edit("agent.toml", "[skills]", "[skills]\nrequire_cases = true");
    let output = skill(&site, &["install", three]);
    let reason = answer(&output)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("no cases") && reason.contains("skills.require_cases"), "{reason}");
    assert_eq!((output.status.code(), slots(&site)), (Some(5), before));
    site.edit("agent.toml", "require_cases = true", "require_cases = false");
    let output = skill(&site, &["install", three]);
    assert_eq!(answer(&output)["cases_passed"], Value::Null);
    assert_eq!(slots(&site)["trial"]["of"]["version"], "3.0.0");
}

#[test]
fn a_bundle_whose_cases_robots_would_refuse_is_not_packed() {
    let site = Site::new();
    std::fs::create_dir(site.path("tests")).unwrap();
    std::fs::write(site.path("manifest.json"), guests::template("patrol")).unwrap();
    std::fs::write(site.path("patrol.wasm"), guests::component("patrol")).unwrap();
    let pack = |cases: &[Value], more: &[&str]| {
        let cases = json!({ "v": 1, "cases": cases }).to_string();
        std::fs::write(site.path("tests/cases.json"), cases).unwrap();
        let mut agent = Command::new(AGENT);
        agent.current_dir(site.path(".")).args(["skill", "pack", "--manifest", "manifest.json"]);
        agent.args(["--component", "patrol.wasm", "--out", "patrol.noot", "--no-sbom"]);
        agent.args(more).output().unwrap()
    };
    let refused = pack(&[undocks(), flies()], &[]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{errors}");
    assert!(errors.contains("case `flies`") && errors.contains("--no-cases"), "{errors}");
    assert!(!site.path("patrol.noot").exists());
    assert!(pack(&[undocks(), flies()], &["--no-cases"]).status.success());
    let packed = pack(&[undocks()], &[]);
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
}

#[test]
fn cases_are_given_up_where_they_use_up_what_they_may_take() {
    let packed = bundle("1.0.0", Some(&[undocks(), walks("far")]));
    let bundle = anonymous(&packed).unwrap();
    let cases = bundle.cases().unwrap();
    let ample = Bounds { time: Duration::from_secs(3600), ..Bounds::default() };
    let run = |bounds: Bounds| pass(&bundle, cases, &bounds, || true);
    assert_eq!(run(ample).unwrap(), 2);
    let refused = |bounds: Bounds| match run(bounds) {
        Err(GateError::Bound { case, what }) => (case, what),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Bounds { fuel: 1000, ..ample }).1, "the fuel");
    // The first one fits, and what it took is gone.
    let far = |what| ("far".to_owned(), what);
    assert_eq!(refused(Bounds { simulated_s: 30.0, ..ample }), far("the robot's time"));
    let slow = run(Bounds { time: Duration::ZERO, ..ample }).unwrap_err();
    assert!(matches!(slow, GateError::TooSlow { .. }) && slow.to_string().contains("the time"));
    assert!(matches!(pass(&bundle, cases, &ample, || false), Err(GateError::Stopped)));
    // What is no case is refused, and so is one of an action that there is not.
    assert!(matches!(pass(&bundle, b"{}", &ample, || true), Err(GateError::Cases(_))));
    let other = json!({ "v": 1, "cases": [
        { "name": "fly", "action": "fly", "expect": { "outcome": "done" } }] });
    let refused = pass(&bundle, other.to_string().as_bytes(), &ample, || true).unwrap_err();
    assert!(refused.to_string().contains("`fly`"), "{refused}");
}

#[test]
fn a_version_that_a_plan_names_shows_its_cases_first_or_is_given_up() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let one = publish(&cloud, &bundle("1.0.0", Some(&[undocks()])), &keys);
    let two = publish(&cloud, &bundle("2.0.0", Some(&[undocks(), flies()])), &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&one, "undock", json!({}))]);
    cloud.wait_for_state(&job, "COMPLETED");
    assert_eq!(slots(&site)["active"]["version"], "1.0.0");

    let job = dispatch(&cloud, &[step(&two, "undock", json!({}))]);
    cloud.wait_for_state(&job, "ABORTED");
    let events = cloud.events(&job);
    let (_, aborted) = events.iter().find(|(name, _)| name == "EXECUTION_ABORTED").unwrap();
    let reason = aborted["reason"].as_str().unwrap();
    assert!(reason.contains("case `flies`"), "{reason}");
    // It never ran on the robot, and the old one stays.
    assert!(!events.iter().any(|(name, _)| name == "SKILL_USED"), "{events:?}");
    let after =
        wait_for("the trial's end", || Some(slots(&site)).filter(|slots| slots["trial"].is_null()));
    assert_eq!(after["active"]["version"], "1.0.0");
    assert_eq!(after["given_up"][0]["of"]["version"], "2.0.0");
    let job = dispatch(&cloud, &[step(&one, "undock", json!({}))]);
    cloud.wait_for_state(&job, "COMPLETED");
    assert!(agent.terminate().success());
}

#[test]
fn a_version_that_somebody_gives_up_while_its_cases_run_does_not_move_the_robot() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let long: Vec<Value> = (0..6).map(|nth| walks(&format!("far {nth}"))).collect();
    let version = publish(&cloud, &bundle("1.0.0", Some(&long)), &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&version, "undock", json!({}))]);
    agent.says("its own cases run in the simulator first");
    assert!(skill(&site, &["rollback", "patrol"]).status.success());
    cloud.wait_for_state(&job, "ABORTED");
    let events = cloud.events(&job);
    let (_, aborted) = events.iter().find(|(name, _)| name == "EXECUTION_ABORTED").unwrap();
    assert!(aborted["reason"].as_str().unwrap().contains("given up on this robot: by hand"));
    assert!(!events.iter().any(|(name, _)| name == "SKILL_USED"), "{events:?}");
    assert_eq!(slots(&site)["given_up"][0]["of"]["version"], "1.0.0");
    assert!(agent.terminate().success());
}

#[test]
fn an_agent_that_is_killed_while_cases_run_has_the_old_version_and_tries_the_new_one_again() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let one = publish(&cloud, &bundle("1.0.0", None), &keys);
    let long = [walks("far"), walks("and again")];
    let two = publish(&cloud, &bundle("2.0.0", Some(&long)), &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&one, "undock", json!({}))]);
    cloud.wait_for_state(&job, "COMPLETED");

    let job = dispatch(&cloud, &[step(&two, "undock", json!({}))]);
    agent.says("its own cases run in the simulator first");
    agent.kill();
    let killed = slots(&site);
    assert_eq!(killed["active"]["version"], "1.0.0");
    assert_eq!(
        (&killed["trial"]["of"]["version"], &killed["trial"]["starts"]),
        (&"2.0.0".into(), &1.into())
    );
    // Asked to end, it does not wait for them, and that start does not count.
    let agent = Agent::run(&site);
    agent.says("its own cases run in the simulator first");
    assert!(agent.terminate().success());
    assert_eq!(slots(&site)["trial"]["starts"], 0);
    let agent = Agent::run(&site);
    cloud.wait_for_state(&job, "COMPLETED");
    agent.says("all of its own cases (2) came out as they must");
    let after = slots(&site);
    assert_eq!(
        (&after["active"]["version"], &after["before"]["version"]),
        (&"2.0.0".into(), &"1.0.0".into())
    );
    assert!(agent.terminate().success());
}

#[test]
fn an_install_that_is_killed_at_any_moment_leaves_the_old_version_or_the_new_one() {
    let site = Site::new();
    let keys = keys(&site);
    let one = file(&site, "one.noot", &bundle("1.0.0", None), &keys);
    assert!(skill(&site, &["install", one.to_str().unwrap()]).status.success());
    let old = slots(&site);
    let two = bundle("2.0.0", Some(&[walks("far"), walks("and again")]));
    let two = file(&site, "two.noot", &two, &keys);
    let install = || command(&site, &["install", two.to_str().unwrap()]);
    let mut neither = 0;
    for nth in 0..12_u32 {
        let mut child = install().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 * u64::from(nth)));
        let _ = child.kill();
        child.wait().unwrap();
        let found = slots(&site);
        let is_new = found["trial"]["of"]["version"] == "2.0.0";
        assert!(found == old || is_new, "killed after {nth}: {found:#}");
        neither += u32::from(found == old);
        if is_new {
            break;
        }
    }
    println!("{neither} kills before it was installed");
    assert!(install().output().unwrap().status.success());
    assert_eq!(slots(&site)["trial"]["of"]["version"], "2.0.0");
}
