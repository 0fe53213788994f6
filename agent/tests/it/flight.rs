//! What is on the disk after something happened: the flight recorder's ticks, what a skill saw,
//! and what a start says of a run that ended without order.

use crate::common::rig::{
    AGENT, Agent, CloudRig, dispatch, enroll, publish_patrol, step, wait_for,
};
use crate::common::{Site, robot};
use nooterra_agent::control::{ControlLoop, Desk, Goal, Lease, View};
use nooterra_blackbox::flight::{FlightOptions, recorder};
use nooterra_blackbox::{JournalHandle, TailFrom, tail};
use nooterra_evidence::Record;
use nooterra_hal::sim::{SimBase, SimConfig};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry, Rule, VerdictPhase};
use nooterra_protocol::flight::{FlightBlock, FlightNote, FlightTick, Trigger};
use nooterra_protocol::geometry::Point;
use nooterra_protocol::grant::Grants;
use nooterra_protocol::ids::EnvelopeId;
use nooterra_protocol::input::SkillInput;
use nooterra_protocol::time::MonoNanos;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const TICK: u64 = 20_000_000;

fn normal(handle: &JournalHandle) -> Vec<Entry> {
    let records = handle.read_from(Class::Normal, 0, 1 << 24).unwrap();
    let entry = |bytes: &[u8]| Record::decode(bytes).unwrap().entry().unwrap();
    records.iter().filter_map(|(_, bytes)| entry(bytes)).collect()
}

/// The ticks of a dump, each block checked against the one before.
fn ticks<'a>(blocks: impl Iterator<Item = &'a FlightBlock>) -> Vec<FlightTick> {
    let (mut head, mut all) = (Digest::ZERO, Vec::new());
    for (index, block) in (0..).zip(blocks) {
        assert_eq!((block.index, block.previous), (index, head));
        head = Digest::of(&block.rows.0);
        all.extend(block.ticks().unwrap());
    }
    all
}

#[test]
fn a_clamp_in_the_simulator_leaves_the_ticks_before_and_after_it() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("world.toml")).unwrap();
    let world: SimConfig = toml::from_str(&text).unwrap();
    let (journal, handle) = site.journal();
    let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
    let granted = Grants { bits: u64::MAX, expires: MonoNanos(u64::MAX), ..Grants::NONE };
    desk.set_authority(&granted, false);
    let (mut recorder, queue, _) = recorder(FlightOptions {
        before: Duration::from_secs(30),
        triggers: vec![Trigger::Clamp],
        ..FlightOptions::default()
    });
    let mut control = ControlLoop::new(
        Box::new(SimBase::new(robot(), world, 1).unwrap()),
        &site.policy(),
        Arc::clone(&desk),
        handle.control_queue(),
        Arc::new(View::default()),
    )
    .with_flight(queue);
    let (mut now, mut sink) = (1_000_000_000, handle.clone());
    let mut run = |seconds: u64| {
        for nth in 0..seconds * 50 {
            now += TICK;
            control.tick(MonoNanos(now));
            while handle.oldest_uncommitted_age(MonoNanos(now + TICK)) > Duration::ZERO {
                std::thread::sleep(Duration::from_micros(300));
            }
            if nth.is_multiple_of(5) {
                recorder.step(MonoNanos(now), &mut sink);
            }
        }
        MonoNanos(now)
    };
    let since = run(5);
    assert!(normal(&handle).iter().all(|entry| !matches!(entry, Entry::Flight(_))));
    let goal = Goal::GoTo { speed_mps: 1.0, to: Point::new(5.0, 4.0), yaw: None };
    let until = since.plus(Duration::from_secs(20));
    let lease = Lease { goal, holds: true, renewed: since, until };
    desk.set_operator(lease, EnvelopeId::new("env_1").unwrap());
    run(60);

    let entries = normal(&handle);
    let zoned = entries.iter().find_map(|entry| match entry {
        Entry::Verdict(verdict)
            if verdict.rule == Rule::ZoneKeepOut && verdict.phase == VerdictPhase::Began =>
        {
            Some(verdict)
        }
        _ => None,
    });
    let zoned = zoned.expect("the press is in the way");
    let dumps = entries.iter().filter_map(|entry| match entry {
        Entry::FlightNote(FlightNote::Ended { dump, lost, cut, ticks, .. }) => {
            assert_eq!((*lost, *cut), (0, false));
            Some((*dump, *ticks))
        }
        _ => None,
    });
    let (mut all, mut written) = (Vec::new(), 0);
    for (dump, count) in dumps {
        let blocks = entries.iter().filter_map(|entry| match entry {
            Entry::Flight(block) if block.dump == dump => Some(block),
            _ => None,
        });
        all.extend(ticks(blocks));
        written += count;
    }
    assert_eq!(all.len() as u64, written);
    let at = all.iter().position(|tick| tick.tick == zoned.tick).expect("the tick of the clamp");
    let before = at.min(5 * 50);
    assert!(before >= 4 * 50, "five seconds had passed before it: {before} ticks");
    let window = &all[at - before..=at + 10 * 50];
    assert!(window.windows(2).all(|pair| pair[1].tick == pair[0].tick + 1), "one is missing");
    let kept = all[at].verdicts.iter().find(|kept| kept.rule == Rule::ZoneKeepOut).unwrap();
    assert!((kept.limit - zoned.limit).abs() < f64::EPSILON);
    assert_eq!((all[at].allowed, all[at].asked), (zoned.allowed, zoned.asked));
    assert_eq!(all[at].pose.unwrap().1, zoned.pose);
    drop(handle);
    journal.close().unwrap();
}

fn records(journal: &Path) -> Vec<(u64, Entry)> {
    let all = tail(journal, TailFrom::Seq(1)).unwrap();
    all.filter_map(|found| {
        let record = found.record.unwrap();
        Some((record.boot, record.entry().unwrap()?))
    })
    .collect()
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_a_dump_says_so_at_its_next_start() {
    let site = Site::new();
    // A dump is as long as can be: the agent is killed in its middle on a busy machine, too.
    let configuration = std::fs::read_to_string(site.path("agent.toml")).unwrap();
    let configuration = format!("{configuration}\n[flight]\nafter_s = 60\n");
    std::fs::write(site.path("agent.toml"), configuration).unwrap();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    // Under way for long enough to be killed there, on a busy machine too.
    let waypoints = json!([{ "x": 9.0, "y": 1.2 }, { "x": 2.0, "y": 1.2 }]);
    let job = dispatch(&cloud, &[step(&skill, "patrol", json!({ "waypoints": waypoints }))]);
    let dumped = |what: &str| {
        let found = cloud.records(Class::Normal).into_values();
        found
            .filter(|record| record["kind"] == "flight_note" && record["body"]["what"] == what)
            .count()
    };
    // The skill asks for more speed than the owner allows.
    wait_for("a dump to begin", || (dumped("began") > 0).then_some(()));
    wait_for("one of its blocks", || {
        let found = cloud.records(Class::Normal);
        found.values().any(|record| record["kind"] == "flight").then_some(())
    });
    // A crash takes what it saw in the last half second: on a machine that stumbles, all of it.
    wait_for("some of what the skill saw", || {
        let found = cloud.records(Class::Normal).into_values();
        let inputs = found.filter(|record| record["kind"] == "skill_input");
        let steps: u64 = inputs.filter_map(|record| record["body"]["count"].as_u64()).sum();
        (steps > 5).then_some(())
    });
    let status = || {
        let mut command = Command::new(AGENT);
        command.arg("--config").arg(site.path("agent.toml")).args(["status", "--json"]);
        let output = command.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said)
    };
    wait_for("the status of the first start", || (status().1["boot"] == 1).then_some(()));
    agent.kill();
    let (code, said) = status();
    assert_eq!((code, &said["running"]), (Some(1), &json!(false)), "{said}");

    let agent = Agent::run(&site);
    agent.says("taking up the job under way");
    cloud.wait_for_state(&job, "COMPLETED");
    wait_for("the status of this start", || (status().1["boot"] == 2).then_some(()));
    let (code, said) = status();
    assert_eq!((code, &said["running"]), (Some(0), &json!(true)), "{said}");
    assert_eq!(said["disk_bound_bytes"], 1 << 30);
    assert!(said["journal"]["disk_bytes"].as_u64().unwrap() > 0, "{said}");
    assert!(said["flight"]["memory_bytes"].as_u64().unwrap() > 1 << 20, "{said}");
    assert!(agent.terminate().success());

    let all = records(&site.path("state/journal"));
    let crash = all.iter().find_map(|(boot, entry)| match entry {
        Entry::Crash(crash) => Some((*boot, crash)),
        _ => None,
    });
    let (boot, crash) = crash.expect("a crash record");
    assert_eq!((boot, crash.last_boot), (2, 1));
    assert_eq!(crash.job.as_ref().unwrap().as_str(), job);
    assert_eq!(crash.step.as_ref().unwrap().as_str(), "patrol");
    assert!(crash.last_at.is_some() && crash.last_seq > 3, "{crash:?}");
    let cut = crash.flight.as_ref().expect("the dump that was cut");
    let blocks: Vec<&FlightBlock> = all
        .iter()
        .filter_map(|(boot, entry)| match entry {
            Entry::Flight(block) if *boot == 1 && block.dump == cut.dump => Some(block),
            _ => None,
        })
        .collect();
    assert_eq!(blocks.len(), usize::try_from(cut.blocks).unwrap());
    assert!(blocks.iter().all(|block| !block.last), "none of them says that it is the last");
    assert_eq!(ticks(blocks.into_iter()).len() as u64, cut.ticks);
    let ended = |(boot, entry): &(u64, Entry)| {
        *boot == 2 && matches!(entry, Entry::FlightNote(FlightNote::Ended { .. }))
    };
    assert!(all.iter().any(ended), "the end of the agent ends its dump");

    // What the skill saw, from its first step to its last, without a gap, in each of its runs.
    let inputs: Vec<(u64, &SkillInput)> = all
        .iter()
        .filter_map(|(boot, entry)| match entry {
            Entry::SkillInput(input) => Some((*boot, input)),
            _ => None,
        })
        .collect();
    for run in [1, 2] {
        let (mut next, mut last) = (1, MonoNanos(0));
        for (_, input) in inputs.iter().filter(|(boot, _)| *boot == run) {
            assert_eq!(input.first, next);
            for (at, seen) in input.inputs().unwrap() {
                // A control loop that is held up shows the same twice.
                assert!(at >= last, "{at:?} after {last:?}");
                assert!(input.withheld || seen.scan.is_some(), "no scan at {at:?}");
                last = at;
            }
            next += u64::from(input.count);
        }
        assert!(next > 5, "run {run} has {next} steps");
    }
}
