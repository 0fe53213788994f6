//! A bundle's own cases before its version may become active: from a file, by a plan, and with
//! the process killed in between.

use crate::common::bundles::{answer, command, file, keys, patrol, publish, skill, slots};
use crate::common::rig::{AGENT, Agent, CloudRig, dispatch, enroll, step, wait_for};
#[cfg(target_os = "linux")]
use crate::common::skip::{allows, skipped};
use crate::common::{Site, guests};
use nooterra_agent::installed::MAX_STARTS;
use nooterra_agent::rehearsal::anonymous;
use nooterra_agent::rehearsal::gate::{Bounds, GateError, pass};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
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
    patrol(version, "patrol", cases)
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

/// Why a job was aborted, before the version that it names moved the robot.
fn aborted(cloud: &CloudRig, job: &str) -> String {
    cloud.wait_for_state(job, "ABORTED");
    let events = cloud.events(job);
    assert!(!events.iter().any(|(name, _)| name == "SKILL_USED"), "{events:?}");
    let (_, aborted) = events.iter().find(|(name, _)| name == "EXECUTION_ABORTED").unwrap();
    aborted["reason"].as_str().unwrap().to_owned()
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
    let reason = aborted(&cloud, &job);
    assert!(reason.contains("case `flies`"), "{reason}");
    // It never ran on the robot, and the old one stays.
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
    let reason = aborted(&cloud, &job);
    assert!(reason.contains("given up on this robot: by hand"), "{reason}");
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

#[test]
fn a_version_whose_cases_are_too_slow_each_time_is_given_up_like_one_that_crashes() {
    let site = Site::new();
    // Of the time below, each step takes some milliseconds, and there are 30000 of them.
    site.edit("agent.toml", "[skills]", "[skills]\ncases_s = 1");
    let toils = json!({ "name": "toils", "action": "toil", "limit_s": 600,
        "expect": { "outcome": "timed_out" } });
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let one = publish(&cloud, &bundle("1.0.0", None), &keys);
    let slow = patrol("2.0.0", "misbehave", Some(&[toils]));
    let two = publish(&cloud, &slow, &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let undock = || dispatch(&cloud, &[step(&one, "undock", json!({}))]);
    cloud.wait_for_state(&undock(), "COMPLETED");
    // By hand: nothing has changed.
    let before = slots(&site);
    let by_hand = file(&site, "two.noot", &slow, &keys);
    let output = skill(&site, &["install", by_hand.to_str().unwrap()]);
    let reason = answer(&output)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("case `toils`: the time on this machine"), "{reason}");
    assert_eq!((output.status.code(), slots(&site)), (Some(5), before));

    let done = || dispatch(&cloud, &[step(&two, "done", json!({}))]);
    for starts in 1..=MAX_STARTS {
        let reason = aborted(&cloud, &done());
        assert!(reason.contains("case `toils`: the time on this machine"), "{reason}");
        let after = slots(&site);
        assert_eq!(after["trial"]["of"]["version"], "2.0.0", "{after:#}");
        assert_eq!(after["trial"]["starts"], starts, "{after:#}");
    }
    let reason = aborted(&cloud, &done());
    assert!(reason.contains("started 3 times and never proved itself"), "{reason}");
    let after = slots(&site);
    assert_eq!(after["given_up"][0]["of"]["version"], "2.0.0", "{after:#}");
    assert_eq!(after["active"]["version"], "1.0.0", "{after:#}");
    cloud.wait_for_state(&undock(), "COMPLETED");
    assert!(agent.terminate().success());
}

/// The address space that a process has, bytes.
#[cfg(target_os = "linux")]
fn address_space(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    kib.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Leaves a running process so much more than it has now. What it took between the look and the
/// bound, a thread's arena of 64 MiB for one, would come out of what it is left: then it is
/// looked at once more.
#[cfg(target_os = "linux")]
fn leave_address_space(agent: &Agent, more: u64) {
    loop {
        let has = address_space(agent);
        bound_address_space(agent, &(has + more).to_string());
        if address_space(agent) == has {
            return;
        }
    }
}

/// What a running process may have of it from now on.
#[cfg(target_os = "linux")]
fn bound_address_space(agent: &Agent, most: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={}", agent.child.id())).arg(format!("--as={most}:"));
    assert!(prlimit.status().unwrap().success());
}

/// What an instance needs more than anything else that an agent does: 64 MiB of address space for
/// its memory, and the edge behind it.
#[cfg(target_os = "linux")]
const LESS_THAN_AN_INSTANCE: u64 = 60 << 20;

#[cfg(target_os = "linux")]
#[test]
fn what_this_machine_has_no_room_for_is_not_held_against_a_version_and_is_tried_again() {
    if let Err(why) = allows("limits of another process", "prlimit", &["--version"]) {
        return skipped(&why);
    }
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let keys = keys(&site);
    let one = publish(&cloud, &bundle("1.0.0", None), &keys);
    let two = publish(&cloud, &bundle("2.0.0", Some(&[undocks()])), &keys);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let undock = |skill: &Value| dispatch(&cloud, &[step(skill, "undock", json!({}))]);
    cloud.wait_for_state(&undock(&one), "COMPLETED");
    assert!(agent.terminate().success());

    // One that has run nothing yet, so that no instance gives its room back.
    let agent = Agent::online(&site, &cloud);
    leave_address_space(&agent, LESS_THAN_AN_INSTANCE);
    // More often than a version may crash.
    for _ in 0..=MAX_STARTS {
        let reason = aborted(&cloud, &undock(&two));
        assert!(reason.contains("in the simulator: case `off the dock`"), "{reason}");
        assert!(reason.contains("no room for an instance of the skill"), "{reason}");
        let after = slots(&site);
        assert_eq!(after["trial"]["of"]["version"], "2.0.0", "{after:#}");
        assert_eq!(after["trial"]["starts"], 0, "{after:#}");
        assert_eq!(after["active"]["version"], "1.0.0", "{after:#}");
    }
    // Nor against the one that is active, on the robot itself.
    let job = undock(&one);
    cloud.wait_for_state(&job, "ABORTED");
    let (_, aborted) = cloud.events(&job).pop().unwrap();
    let reason = aborted["reason"].as_str().unwrap();
    assert!(reason.contains("no room for an instance of the skill"), "{reason}");

    bound_address_space(&agent, "unlimited");
    cloud.wait_for_state(&undock(&two), "COMPLETED");
    agent.says("all of its own cases (1) came out as they must");
    let after = slots(&site);
    assert_eq!(after["active"]["version"], "2.0.0", "{after:#}");
    assert_eq!(after["given_up"], json!([]), "{after:#}");
    assert!(agent.terminate().success());
}
