//! The owner's rules of who may ask for what, from a text to a refusal.

use crate::common::rig::{Agent, CloudRig, dispatch, enroll, publish_patrol, step, wait_for};
use crate::common::{Site, robot};
use nooterra_agent::authority::rules::DEFAULT;
use nooterra_agent::authority::signed::{self, AuthorityError};
use nooterra_agent::authority::{Authority, Rules, place};
use nooterra_agent::clock::{SystemClock, wall};
use nooterra_agent::envelope::{self, EnvelopeError};
use nooterra_agent::versions::Versions;
use nooterra_blackbox::{Journal, JournalHandle, Opened};
use nooterra_policy::zones::Uncertainty;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::Ask;
use nooterra_protocol::entry::Class;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::grant::{AuthorityDocument, Mode};
use nooterra_protocol::ids::{ActorId, JobId, PolicyId, RobotId};
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::time::{MonoNanos, WallMillis};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

const RULES: &str = "// Ours.\n@id(\"work\")\npermit (principal, action, resource);\n\n\
    @id(\"no-nights\")\n@say(\"not at night\")\nforbid (principal, action in Action::\"motion\", resource)\n\
    when { context.now.toTime() >= duration(\"20h\") };\n";

fn agent(site: &Site, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .arg("--config")
        .arg(site.path("agent.toml"))
        .args(args)
        .current_dir(&site.dir)
        .output()
        .unwrap()
}

fn done(site: &Site, args: &[&str]) -> String {
    let output = agent(site, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(site: &Site, args: &[&str], code: i32, line: &str) {
    let output = agent(site, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(line), "{errors:?} does not say {line:?}");
    assert_eq!(errors.trim_end().lines().count(), 1, "one line, not {errors:?}");
}

/// A site whose configuration names rules that its owner signed.
fn site(rules: &str, robot: &RobotId, version: u32) -> Site {
    let site = Site::new();
    site.edit("agent.toml", "[policy]", "[authority]\nfile = \"authority.cbor\"\n\n[policy]");
    put(&site, rules, robot, version);
    site
}

fn put(site: &Site, rules: &str, robot: &RobotId, version: u32) {
    let id = PolicyId::new("ours").unwrap();
    let document = AuthorityDocument { id, robot: robot.clone(), rules: rules.into(), version };
    let owner = Ed25519Key::from_seed([9; 32]);
    let signed = Signed::sign(document, &owner).unwrap();
    std::fs::write(site.path("authority.cbor"), signed.bytes()).unwrap();
}

#[test]
fn rules_are_checked_with_line_and_column() {
    let site = Site::new();
    std::fs::write(site.path("ours.cedar"), RULES).unwrap();
    let said = done(&site, &["authority", "check", "ours.cedar"]);
    assert!(said.contains("ours.cedar: 2 rules are in order"), "{said}");
    std::fs::write(site.path("ours.cedar"), RULES.replace("context.now.", "context.noon."))
        .unwrap();
    let line = "ours.cedar:8:8: rule `no-nights`";
    refused(&site, &["authority", "check", "ours.cedar"], 3, line);
    std::fs::write(site.path("ours.cedar"), RULES.replace("when {", "when (")).unwrap();
    refused(&site, &["authority", "check", "ours.cedar"], 3, "ours.cedar:8:6: ");
}

#[test]
fn an_explanation_names_the_rule_and_its_line() {
    let site = Site::new();
    std::fs::write(site.path("ours.cedar"), RULES).unwrap();
    let explain = |args: &[&str]| {
        let args = [&["authority", "explain", "--json", "--operator", "anna"], args].concat();
        serde_json::from_str::<Value>(&done(&site, &args)).unwrap()
    };
    let day = ["drive", "--rules", "ours.cedar", "--at", "2026-11-20T12:00:00Z"];
    assert_eq!(explain(&day)["allowed"], true);
    let night = explain(&["drive", "--rules", "ours.cedar", "--at", "2026-11-20T22:00:00Z"]);
    assert_eq!(night["rules"][0], "no-nights", "{night}");
    let why = night["why"].as_str().unwrap();
    assert!(why.contains("not at night") && why.contains("(line 5)"), "{why}");
    // Without a file, by what the configuration puts in force.
    let built_in = explain(&["start_job", "--job", "job-1", "--mode", "manual"]);
    assert_eq!(built_in["rules"][0], "jobs-in-automatic-mode-only", "{built_in}");
    let over = ["start_job", "--job", "j", "--access-to", "2026-11-20T12:00:00Z"];
    assert_eq!(explain(&over)["rules"][0], "access-has-its-time");
    let review = ["start_job", "--job", "j", "--needs-review"];
    assert_eq!(explain(&review)["rules"][0], "review-comes-first");
    let reviewed = [&review[..], &["--reviewed-by", "ben"]].concat();
    assert_eq!(explain(&reviewed)["allowed"], true);
    refused(&site, &["authority", "explain", "start_job", "--operator", "a"], 1, "--job");
    assert_eq!(
        agent(&site, &["authority", "explain", "fly", "--operator", "a"]).status.code(),
        Some(2)
    );
}

#[test]
fn the_owners_signed_rules_are_in_force() {
    let site = Site::new();
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    let (key, public) = (path("o.pem"), path("owner.pub"));
    done(&site, &["policy", "keygen", "--out", &key, "--public", &public]);
    let sign = ["policy", "sign", "policy.json", "--key", &key, "--out", "policy.cbor"];
    done(&site, &sign);
    std::fs::write(site.path("ours.cedar"), RULES).unwrap();
    let sign = ["authority", "sign", "ours.cedar", "--robot", "amr-1", "--version", "3"];
    let sign = [&sign[..], &["--key", &key, "--out", "authority.cbor"]].concat();
    assert!(done(&site, &sign).contains("rules authority version 3 for robot amr-1, signed"));
    site.edit("agent.toml", "[policy]", "[authority]\nfile = \"authority.cbor\"\n\n[policy]");
    assert!(done(&site, &["check"]).contains("rules authority version 3"));
    assert!(done(&site, &["authority", "show"]).contains("@id(\"no-nights\")"));
    assert!(done(&site, &["authority", "show", "--built-in"]).contains("@id(\"a-veto-holds\")"));
    assert!(done(&site, &["authority", "show", "--schema"]).contains("entity Operator"));
}

#[test]
fn rules_of_a_stranger_for_another_robot_or_altered_are_not_in_force() {
    let site = site(RULES, &robot(), 1);
    assert!(done(&site, &["check"]).contains("rules ours version 1"));
    let mut bytes = std::fs::read(site.path("authority.cbor")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(site.path("authority.cbor"), bytes).unwrap();
    refused(&site, &["check"], 5, "altered or forged");
    put(&site, RULES, &RobotId::new("amr-2").unwrap(), 1);
    refused(&site, &["check"], 5, "the rules are for robot amr-2, this is amr-1");
    put(&site, &RULES.replace("context.now.", "context.noon."), &robot(), 1);
    refused(&site, &["check"], 5, "authority.cbor:8:8: rule `no-nights`");
    // A policy is no rules, although the same owner signed it.
    std::fs::copy(site.path("policy.cbor"), site.path("authority.cbor")).unwrap();
    refused(&site, &["check"], 5, "nooterra/policy+cbor");
    std::fs::remove_file(site.path("authority.cbor")).unwrap();
    refused(&site, &["check"], 3, "authority.cbor: ");
}

#[test]
fn older_rules_do_not_come_back_nor_do_none() {
    let site = site(RULES, &robot(), 2);
    let (_journal, handle) = site.journal();
    let versions = Versions::new(handle, &site.path("state"));
    let in_force = || signed::load(&site.config()).unwrap();
    signed::never_back(&in_force(), &versions).unwrap();
    signed::never_back(&in_force(), &versions).unwrap();
    put(&site, RULES, &robot(), 1);
    let older = signed::never_back(&in_force(), &versions);
    assert!(matches!(older, Err(AuthorityError::Older { found: 1, newest: 2 })), "{older:?}");
    site.edit("agent.toml", "file = \"authority.cbor\"", "");
    let gone = signed::never_back(&in_force(), &versions);
    assert!(matches!(gone, Err(AuthorityError::Gone(2))), "{gone:?}");
}

#[test]
fn older_rules_and_policies_do_not_come_back_when_the_journal_has_forgotten_them() {
    let site = site(RULES, &robot(), 2);
    let owner = Ed25519Key::from_seed([9; 32]);
    let policy = |version| {
        site.sign_policy(&PolicyDocument { version, ..site.document() }, &owner);
        site.policy()
    };
    let dir = site.path("state/journal");
    let open = || Journal::open(&dir, site.options()).unwrap();
    let opened = open();
    let versions = |opened: &Opened| Versions::new(opened.journal.handle(), &site.path("state"));
    let in_force = || signed::load(&site.config()).unwrap();
    signed::never_back(&in_force(), &versions(&opened)).unwrap();
    envelope::never_back(&policy(7), &versions(&opened)).unwrap();
    opened.journal.close().unwrap();
    // All of its states.
    let states = dir.join("store").join("db");
    let length = usize::try_from(std::fs::metadata(&states).unwrap().len()).unwrap();
    std::fs::write(&states, vec![0xa5; length]).unwrap();
    let opened = open();
    assert!(opened.journal.handle().states_are_doubted().unwrap());
    put(&site, RULES, &robot(), 1);
    let older = signed::never_back(&in_force(), &versions(&opened));
    assert!(matches!(older, Err(AuthorityError::Older { found: 1, newest: 2 })), "{older:?}");
    let older = envelope::never_back(&policy(6), &versions(&opened));
    assert!(matches!(older, Err(EnvelopeError::Older { found: 6, newest: 7 })), "{older:?}");
    envelope::never_back(&policy(7), &versions(&opened)).unwrap();
}

/// As the agent has it after a start, by what its journal remembers.
fn restarted(site: &Site, handle: &JournalHandle) -> Authority {
    let clock = Arc::new(SystemClock::new(WallMillis(0)));
    let rules = signed::load(&site.config()).unwrap().rules;
    signed::authority(&site.config(), rules, clock, handle).unwrap()
}

#[test]
fn what_people_decided_outlives_a_restart_and_an_unreadable_memory_is_a_veto() {
    let site = Site::new();
    let (_journal, handle) = site.journal();
    let restart = || restarted(&site, &handle);
    let (anna, job) = (ActorId::new("anna").unwrap(), JobId::new("job-1").unwrap());
    let before = restart();
    before.veto(&anna).unwrap();
    before.review(&anna, &job, Digest::of(b"a plan")).unwrap();
    let after = restart();
    assert_eq!(after.situation().decisions(), before.situation().decisions());
    assert_eq!(after.situation().vetoed, Some(anna.clone()));
    after.lift_veto(&anna).unwrap();
    assert_eq!(restart().situation().vetoed, None);
    assert!(restart().situation().jobs[&job].reviewed_by.contains(&anna));
    handle.put_state("authority.decided", b"rubbish").unwrap();
    assert!(restart().situation().vetoed.is_some());
}

#[test]
fn a_veto_outlives_a_restart_however_much_is_remembered_of_jobs() {
    let site = Site::new();
    let (_journal, handle) = site.journal();
    let restart = || restarted(&site, &handle);
    let (anna, before) = (ActorId::new("a".repeat(64)).unwrap(), restart());
    let plan = |number: usize| Ask::PlanAccess {
        from: Some(wall()),
        job: JobId::new(format!("{number:0>64}")).unwrap(),
        needs_review: true,
        privacy: Some("w".repeat(128)),
        to: None,
    };
    let refused = (0..=64).find_map(|number| {
        let why = before.judge_ask(&anna, &plan(number)).err();
        if why.is_none() {
            before.asked(&anna, &plan(number));
        }
        why.map(|why| (number, why.to_string()))
    });
    let (taken, why) = refused.expect("no more than 64 jobs are remembered");
    assert!(taken > 10 && why.contains("jobs are remembered already"), "{taken}: {why}");
    let after = restart();
    assert!(after.situation().jobs.len() >= taken);
    after.veto(&anna).unwrap();
    after.asked(&anna, &Ask::SetMode { mode: Mode::Maintenance });
    after.asked(&anna, &Ask::Disconnect { reason: "a test".to_owned() });
    assert_eq!(restart().situation().decisions(), after.situation().decisions());
    assert_eq!(restart().situation().vetoed, Some(anna));
}

#[test]
fn every_rule_in_the_documentation_is_in_order() {
    let text = include_str!("../../../docs/authority.md");
    let blocks: Vec<&str> =
        text.split("```cedar\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "{}", blocks.len());
    for block in blocks {
        let rules = Rules::parse(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert_eq!(rules.warnings(), [""; 0], "{block}");
    }
}

#[test]
fn a_skill_that_may_not_drive_aborts_the_job_in_the_rules_words() {
    let rules = format!(
        "{DEFAULT}\n@id(\"no-patrols\")\n@say(\"nobody patrols here\")\n\
         forbid (principal == Skill::\"patrol\", action == Action::\"drive\", resource);\n"
    );
    let site = site(&rules, &robot(), 1);
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&skill, "undock", json!({}))]);
    cloud.wait_for_state(&job, "ABORTED");
    let events = cloud.events(&job);
    assert!(events.iter().all(|(kind, _)| kind != "SKILL_USED"), "{events:?}");
    let reason = events.last().unwrap().1["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("rule `no-patrols` forbids it: nobody patrols here"), "{reason}");
    assert!(agent.terminate().success());
}

#[test]
fn a_job_whose_time_is_over_while_it_is_under_way_ends_in_a_safe_exit() {
    let over = wall().plus(Duration::from_secs(10));
    let rules = format!(
        "{DEFAULT}\n@id(\"until-then\")\nforbid (principal is Skill, action, resource)\n\
         when {{ context.now >= datetime(\"{over}\") }};\n"
    );
    let site = site(&rules, &robot(), 1);
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    // Back and forth, for longer than the rule lasts.
    let there = json!([{ "x": 9.0, "y": 1.2 }, { "x": 2.0, "y": 1.2 }, { "x": 9.0, "y": 1.2 },
        { "x": 2.0, "y": 1.2 }, { "x": 9.0, "y": 1.2 }]);
    let job = dispatch(&cloud, &[step(&skill, "patrol", json!({ "waypoints": there }))]);
    // On a machine so slow that the time is over before the step begins, it ends there.
    cloud.wait_for_state(&job, "ABORTED");
    assert!(wall() >= over, "it was over too soon");
    let (_, aborted) = cloud.events(&job).pop().unwrap();
    let reason = aborted["reason"].as_str().unwrap();
    assert!(reason.contains("rule `until-then` forbids it"), "{reason}");
    assert!(agent.terminate().success());
}

#[test]
fn a_gated_sensor_reaches_no_skill_and_that_is_recorded() {
    let rules = format!(
        "{DEFAULT}\n@id(\"blind\")\n\
         forbid (principal, action == Action::\"read_sensor\", resource == Sensor::\"range\");\n"
    );
    let site = site(&rules, &robot(), 1);
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let job = dispatch(&cloud, &[step(&skill, "undock", json!({}))]);
    let told = wait_for("what the skill is not given", || {
        let mut records = cloud.records(Class::Critical).into_values();
        records.find(|record| record["kind"] == "skill_sensor")
    });
    assert_eq!(told["body"]["granted"], false);
    assert_eq!(
        (&told["body"]["sensor"], &told["body"]["step"]),
        (&json!("range"), &json!("undock"))
    );
    assert_eq!(told["body"]["job"], job);
    assert_eq!(told["body"]["skill"], skill["id"]);
    assert!(agent.terminate().success());
}

#[test]
fn after_a_restart_the_mode_is_the_stricter_of_the_configured_and_the_one_that_was_set() {
    let site = Site::new();
    let (_journal, handle) = site.journal();
    let restart = || restarted(&site, &handle);
    let anna = ActorId::new("anna").unwrap();
    let set = |mode| restart().asked(&anna, &Ask::SetMode { mode });
    set(Mode::Maintenance);
    let after = restart().situation();
    assert_eq!((after.mode, after.mode_set_by), (Mode::Maintenance, Some(anna.clone())));
    set(Mode::Automatic);
    assert_eq!(restart().situation().mode, Mode::Automatic);
    site.edit("agent.toml", "[policy]", "[authority]\nmode = \"manual\"\n\n[policy]");
    let after = restart().situation();
    assert_eq!((after.mode, after.mode_set_by), (Mode::Manual, None));
    restart().asked(&anna, &Ask::Disconnect { reason: "drill".to_owned() });
    assert_eq!(restart().situation().disconnected, Some(anna.clone()));
}

#[test]
fn the_zones_are_looked_up_from_a_pose_and_unknown_where_it_is_old_or_none() {
    let site = Site::new();
    let policy = site.policy();
    let zones = policy.zones_at(Pose { x: f64::NAN, y: 0.0, yaw: 0.0 }, &Uncertainty::NONE);
    assert_eq!(zones, None);
    assert_eq!(place::zones(&policy, None, MonoNanos(5)), None);
    let zone = policy.document().zones.iter().find(|zone| !zone.polygon.is_empty()).unwrap();
    let corner = zone.polygon[0];
    let pose = Pose { x: corner.x, y: corner.y, yaw: 0.0 };
    let zones = policy.zones_at(pose, &Uncertainty::NONE).unwrap();
    assert!(zones.contains(&zone.id), "{zones:?}");
    let seen = |at| Observation {
        battery: None,
        docked: false,
        emergency_stop: false,
        gripper: false,
        joints: None,
        pose: Timed { at: MonoNanos(at), value: pose },
        scan: None,
        twist: Timed { at: MonoNanos(at), value: Twist::ZERO },
    };
    let now = MonoNanos(10_000_000_000);
    let at = |at| place::zones(&policy, Some(&seen(at)), now);
    assert_eq!(at(now.0), Some(zones));
    assert_eq!(at(now.0 - 5_000_000_000), None, "long ago");
    assert_eq!(at(now.0 + 5_000_000_000), None, "in a time to come");
    let far = Pose { x: 1.0e4, y: 1.0e4, yaw: 0.0 };
    assert_eq!(policy.zones_at(far, &Uncertainty::NONE), Some([].into()));
}

/// What became of a command that was sent in an operator's name.
fn asks(cloud: &CloudRig, operator: &str, ask: &Value) -> (String, String) {
    let sent = cloud.post(
        "/v1/robots/amr-1/commands",
        json!({ "ask": ask, "operator": operator, "ttl_ms": 600_000 }),
    );
    let path = format!("/v1/robots/amr-1/commands/{}", sent["id"].as_str().unwrap());
    wait_for("the robot's answer", || {
        let command = cloud.get(&path);
        let state = command["state"].as_str().unwrap().to_owned();
        let reason = command["reason"].as_str().unwrap_or_default().to_owned();
        (state != "sent").then_some((state, reason))
    })
}

#[test]
fn what_operators_decide_through_the_cloud_outlives_kill_9_and_names_who_refuses() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let taken = |operator, ask: Value| assert_eq!(asks(&cloud, operator, &ask).0, "accepted");
    let refused = |operator, ask: Value, why: &str| {
        let (state, reason) = asks(&cloud, operator, &ask);
        assert!(state == "refused" && reason.contains(why), "{state}: {reason}");
    };
    let drive =
        || json!({ "type": "drive", "lease_ms": 500, "twist": { "linear": 0.1, "angular": 0.0 } });
    taken("anna", json!({ "type": "veto", "reason": "somebody is on the floor" }));
    taken("ben", json!({ "type": "set_mode", "mode": "maintenance" }));
    agent.kill();
    let agent = Agent::run(&site);
    agent.says("ready");
    refused("anna", drive(), "`a-veto-holds`");
    taken("anna", json!({ "type": "lift_veto" }));
    refused("anna", drive(), "`nothing-moves-in-maintenance`");
    refused("anna", json!({ "type": "set_mode", "mode": "automatic" }), "`who-works-on-it");
    taken("ben", json!({ "type": "set_mode", "mode": "automatic" }));
    taken("anna", drive());
    let boots = wait_for("both boots", || {
        let records = cloud.records(Class::Critical);
        let boots: Vec<Value> =
            records.into_values().filter(|record| record["kind"] == "boot").collect();
        (boots.len() == 2).then_some(boots)
    });
    let hash = signed::load(&site.config()).unwrap().hash;
    for boot in boots {
        assert_eq!(boot["body"]["authority_hash"], json!(hash), "{boot}");
    }
    assert!(agent.terminate().success());
}

#[test]
fn a_job_that_needs_review_begins_only_after_it_was_approved_with_its_plan() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let params = json!({ "speed_mps": 0.5, "waypoints": [{ "x": 3.0, "y": 2.0 }] });
    let plan = json!({ "steps": [step(&skill, "patrol", params)] });
    let job = cloud.post("/v1/jobs", json!({ "robot": "amr-1", "plan": plan }));
    let id = job["id"].as_str().unwrap();
    let plan_hash = &job["plan_hash"];
    let access = json!({ "type": "plan_access", "job": id, "needs_review": true,
        "from": null, "to": null, "privacy": null });
    assert_eq!(asks(&cloud, "anna", &access).0, "accepted");
    for action in ["quote", "book", "dispatch"] {
        cloud.post(&format!("/v1/jobs/{id}/{action}"), json!({}));
    }
    // The robot refused; the job can be dispatched again.
    cloud.wait_for_state(id, "BOOKED");
    let events = cloud.events(id);
    let said = events.iter().find(|(kind, _)| kind == "RESCHEDULED").unwrap();
    assert!(said.1["reason"].as_str().unwrap().contains("`review-comes-first`"), "{said:?}");
    let review = json!({ "type": "review_job", "job": id, "plan": plan_hash });
    assert_eq!(asks(&cloud, "ben", &review).0, "accepted");
    cloud.post(&format!("/v1/jobs/{id}/dispatch"), json!({}));
    wait_for("the job to begin", || {
        let begun = cloud.events(id).iter().any(|(kind, _)| kind == "EXECUTION_STARTED");
        begun.then_some(())
    });
    assert!(agent.terminate().success());
}
