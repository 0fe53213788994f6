//! Guests that misbehave, and what becomes of them.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;

use common::{Listening, Toy, bundle, bundle_with, everything, template, verify_signed};
use nooterra_protocol::skill::Capability;
use nooterra_skill_host::{
    Bundle, End, Host, HostError, HostOptions, MAX_CALLS_PER_STEP, MAX_NOTE_BYTES, NoPorts, Ports,
    Request, RunState, Running, Session, SkillError, StartError, Status, pack,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn host() -> Host {
    Host::new(HostOptions::default()).unwrap()
}

fn open(host: &Host, bundle: &Bundle, action: &str, ports: &Listening) -> Session {
    host.open(bundle, &everything(), action, &BTreeMap::new(), ports.ports(), &[]).unwrap().unwrap()
}

fn start(host: &Host, bundle: &Bundle, action: &str, ports: &Listening) -> Running {
    host.start(bundle, &everything(), action, &BTreeMap::new(), ports.ports(), &[]).unwrap()
}

/// One step of an action of `misbehave`.
fn once(action: &str) -> (Result<(Request, Status), SkillError>, Listening) {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let mut session = open(&host, &bundle("misbehave"), action, &ports);
    let outcome = session.step(toy.at(), &toy.seen());
    assert!(outcome.is_ok() || session.step(toy.at(), &toy.seen()).is_err(), "it went on");
    (outcome, ports)
}

/// Lets the threads run until `what` holds; ticks only when told to. Counts no time: it gives
/// up after so many turns that only a hang can take as long.
fn until(host: Option<&Host>, mut what: impl FnMut() -> bool) -> u32 {
    for ticks in 0..200_000 {
        if what() {
            return ticks;
        }
        if let Some(host) = host {
            host.epoch_tick();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it never came to that");
}

fn ended(running: &Running) -> Option<End> {
    match running.state() {
        RunState::Ended(end) => Some(end),
        RunState::Running | RunState::Starting => None,
    }
}

#[test]
fn a_step_that_never_returns_is_ended_after_its_limit_and_leaves_no_request() {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let running = start(&host, &bundle("misbehave"), "spin", &ports);
    until(None, || running.state() == RunState::Running);
    let ticks = until(Some(&host), || {
        running.observe(toy.at(), &toy.seen());
        ended(&running).is_some()
    });
    assert!(ticks >= 4 * 50, "ended after {ticks} ticks, before four times 520 ms");
    let Some(End::Crashed(reason)) = ended(&running) else { panic!("{:?}", running.state()) };
    let why = "`step` did not return within 520 ms";
    assert!(reason.contains(why) && reason.contains("3 new instances"), "{reason}");
    assert_eq!(ports.heard().restarts, [why; 3]);
    assert_eq!(running.latest(), None);
}

#[test]
fn an_init_that_never_returns_is_ended_too() {
    let (host, ports) = (host(), Listening::default());
    let running = start(&host, &bundle("misbehave"), "spin-init", &ports);
    let ticks = until(Some(&host), || ended(&running).is_some());
    assert!(ticks >= 200, "ended after {ticks} ticks, before its 2 s");
    let Some(End::Crashed(reason)) = ended(&running) else { panic!("{:?}", running.state()) };
    assert!(reason.contains("`init` did not return within 2000 ms"), "{reason}");
}

#[test]
fn a_stop_ends_a_step_in_the_middle_without_any_tick() {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let running = start(&host, &bundle("misbehave"), "spin", &ports);
    until(None, || running.state() == RunState::Running);
    running.observe(toy.at(), &toy.seen());
    until(None, || {
        running.stop();
        ended(&running).is_some()
    });
    assert_eq!(ended(&running), Some(End::Stopped));
}

#[test]
fn a_wish_does_not_outlive_the_word_to_stop() {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let running = start(&host, &bundle("misbehave"), "note", &ports);
    running.observe(toy.at(), &toy.seen());
    until(None, || running.latest().is_some());
    running.stop();
    assert_eq!(running.latest(), None);
    until(None, || ended(&running) == Some(End::Stopped));
}

/// Ports whose first call waits for a word from outside, and whose other calls count.
struct Slow(Receiver<()>, Arc<AtomicU32>);

impl Ports for Slow {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, _name: &str) {}
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn log(&mut self, _text: &str) {
        self.1.fetch_add(1, Ordering::SeqCst);
        let _ = self.0.recv();
    }
}

#[test]
fn a_port_that_blocks_holds_up_no_drop_and_is_not_called_again() {
    let (host, toy) = (host(), Toy::docked_at(0.0, 0.0, 0.0));
    let (release, released) = channel();
    let calls = Arc::new(AtomicU32::new(0));
    let slow = Box::new(Slow(released, Arc::clone(&calls)));
    let running = host
        .start(&bundle("misbehave"), &everything(), "flood", &BTreeMap::new(), slow, &[])
        .unwrap();
    running.observe(toy.at(), &toy.seen());
    until(None, || calls.load(Ordering::SeqCst) == 1);
    drop(running);
    drop(release);
    until(None, || Arc::strong_count(&calls) == 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

struct Panicking;

impl Ports for Panicking {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, _name: &str) {}
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn log(&mut self, _text: &str) {
        panic!("a fault of the agent, on purpose");
    }
}

#[test]
fn a_port_that_panics_ends_the_run_and_is_told() {
    let (host, toy) = (host(), Toy::docked_at(0.0, 0.0, 0.0));
    let running = host
        .start(
            &bundle("misbehave"),
            &everything(),
            "flood",
            &BTreeMap::new(),
            Box::new(Panicking),
            &[],
        )
        .unwrap();
    running.observe(toy.at(), &toy.seen());
    until(None, || ended(&running).is_some());
    let Some(End::Crashed(reason)) = ended(&running) else { panic!("{:?}", running.state()) };
    assert!(reason.contains("a fault of the agent"), "{reason}");
}

#[test]
fn a_dropped_run_takes_its_thread_with_it() {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    for action in ["spin", "spin-init", "note"] {
        let running = start(&host, &bundle("misbehave"), action, &ports);
        running.observe(toy.at(), &toy.seen());
        drop(running);
        // The ports went with the thread: this is the only handle left. On a busy machine
        // the drop may have let go of a thread that was still waiting for its turn.
        until(Some(&host), || Arc::strong_count(&ports.0) == 1);
    }
}

#[test]
fn one_skill_that_hangs_does_not_hold_up_another() {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let bundle = bundle("misbehave");
    let hung = start(&host, &bundle, "spin", &ports);
    hung.observe(toy.at(), &toy.seen());
    let well = start(&host, &bundle, "note", &ports);
    for step in 1..=20 {
        well.observe(toy.at(), &toy.seen());
        until(None, || well.latest().is_some_and(|stepped| stepped.step == step));
    }
    assert_eq!(ended(&hung), None);
}

#[test]
fn more_memory_than_the_manifest_asks_for_ends_the_skill() {
    let (outcome, _) = once("grow");
    let reason = outcome.unwrap_err().to_string();
    assert!(reason.contains("more than the 4 MiB of memory"), "{reason}");
}

#[test]
fn a_memory_that_is_too_large_from_the_start_is_refused() {
    let host = host();
    // Its stack alone takes 1 MiB.
    let small = bundle_with("misbehave", |manifest| manifest["memory_mib"] = 1.into());
    let opened =
        host.open(&small, &everything(), "done", &BTreeMap::new(), Box::new(NoPorts), &[]).unwrap();
    assert!(matches!(opened, Err(SkillError::Exhausted(_))), "{opened:?}");
}

#[test]
fn endless_recursion_ends_the_skill_and_not_the_process() {
    let (outcome, _) = once("recurse");
    assert!(
        matches!(outcome, Err(SkillError::Exhausted(_) | SkillError::Trapped(_))),
        "{outcome:?}"
    );
}

#[test]
fn a_trap_ends_the_skill_in_plain_words() {
    let (outcome, _) = once("trap");
    let reason = outcome.unwrap_err().to_string();
    assert!(reason.contains("gave up by itself"), "{reason}");
}

#[test]
fn numbers_that_are_no_numbers_are_passed_on_for_the_gate_to_refuse() {
    let (host, toy) = (host(), Toy::docked_at(0.0, 0.0, 0.0));
    let driver = bundle_with("misbehave", |manifest| {
        manifest["capabilities"] =
            serde_json::json!(["assist", "checkpoint", "drive", "evidence", "log"]);
    });
    let mut session = open(&host, &driver, "nan", &Listening::default());
    let (request, status) = session.step(toy.at(), &toy.seen()).unwrap();
    let Request::Drive(twist) = request else { panic!("{request:?}") };
    assert!(twist.linear.is_nan() && twist.angular.is_infinite());
    assert_eq!(status, Status::Running { note: String::new(), progress: 0.0 });
}

#[test]
fn motion_without_the_capability_ends_the_skill() {
    let (outcome, _) = once("drive");
    assert!(matches!(outcome, Err(SkillError::Ungranted(Capability::Drive))), "{outcome:?}");
}

#[test]
fn a_flood_of_log_lines_is_cut_off_at_its_budget() {
    let (outcome, ports) = once("flood");
    let reason = outcome.unwrap_err().to_string();
    assert!(reason.contains("more than 64 times in one step"), "{reason}");
    let lines = ports.heard().lines;
    assert_eq!(lines.len(), MAX_CALLS_PER_STEP as usize);
    assert!(lines.iter().all(|line| line == "again and again"));
}

#[test]
fn evidence_beyond_the_budget_of_a_step_is_refused_to_the_skill() {
    let (outcome, ports) = once("attach");
    assert_eq!(outcome.unwrap().1, Status::Done);
    let names: Vec<_> = ports.heard().evidence.into_iter().map(|piece| piece.0).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_name_that_could_forge_something_is_refused_to_the_skill() {
    let (outcome, ports) = once("names");
    assert_eq!(outcome.unwrap().1, Status::Done);
    assert_eq!(ports.heard().checkpoints, ["fine"]);
}

#[test]
fn a_result_of_a_megabyte_ends_the_skill() {
    let (outcome, _) = once("rant");
    assert!(matches!(outcome, Err(SkillError::Trapped(_))), "{outcome:?}");
}

#[test]
fn a_note_is_cut_and_progress_brought_into_its_range() {
    let (outcome, _) = once("note");
    let Status::Running { note, progress } = outcome.unwrap().1 else { panic!("it ended") };
    assert_eq!((note.len(), progress), (MAX_NOTE_BYTES, 1.0));
}

#[test]
fn an_init_that_says_no_says_why() {
    let (host, ports) = (host(), Listening::default());
    let running = start(&host, &bundle("misbehave"), "refuse", &ports);
    until(None, || ended(&running).is_some());
    let said = "the skill refused to start: no such waypoint".to_owned();
    assert_eq!(ended(&running), Some(End::Failed(said)));
}

#[test]
fn a_skill_that_is_done_is_over_and_asks_for_nothing_any_more() {
    let (host, ports, toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let running = start(&host, &bundle("misbehave"), "done", &ports);
    running.observe(toy.at(), &toy.seen());
    until(None, || ended(&running).is_some());
    assert_eq!((ended(&running), running.latest()), (Some(End::Done), None));
}

#[test]
fn an_observation_that_was_not_taken_is_replaced_by_the_next() {
    let (host, ports, mut toy) = (host(), Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let running = start(&host, &bundle("misbehave"), "note", &ports);
    // However many of these the skill takes, the last one is the last that it answers.
    for _ in 0..1000 {
        toy.now_ns += 1;
        running.observe(toy.at(), &toy.seen());
    }
    until(None, || running.latest().is_some_and(|stepped| stepped.observed_at == toy.at()));
    assert!(running.latest().unwrap().step <= 1000);
}

#[test]
fn a_missing_capability_is_named_and_nothing_is_started() {
    let host = host();
    let granted = BTreeSet::from([Capability::Checkpoint, Capability::Log]);
    let refused = host
        .start(&bundle("misbehave"), &granted, "spin", &BTreeMap::new(), Box::new(NoPorts), &[])
        .unwrap_err();
    let StartError::Capability { capability, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*capability, Capability::Assist);
    assert!(refused.to_string().contains("`assist`"), "{refused}");
}

#[test]
fn a_component_that_uses_more_than_its_manifest_says_is_refused() {
    let silent = bundle_with("misbehave", |manifest| {
        manifest["capabilities"] = serde_json::json!(["assist", "checkpoint", "log"]);
    });
    let refused = host().prepare(&silent).unwrap_err();
    let StartError::Undeclared { capability, .. } = refused else { panic!("{refused}") };
    assert_eq!(capability, Capability::Evidence);
}

/// A component by hand: the preamble, then sections.
fn handmade(sections: &[u8]) -> Bundle {
    let component = [b"\0asm\x0d\x00\x01\x00".as_slice(), sections].concat();
    verify_signed(&pack(&template("misbehave"), &component).unwrap()).unwrap()
}

#[test]
fn a_component_that_wants_what_is_not_there_is_refused_by_name_with_what_to_do() {
    for (import, advice) in [
        ("wasi:cli/environment@0.2.0", "build it for wasm32-unknown-unknown"),
        ("nooterra:skill/gps@0.2.9", "update the agent"),
        // Nor did this version have it yet.
        ("nooterra:skill/arm@0.2.1", "update the agent"),
    ] {
        let length = u8::try_from(import.len()).unwrap();
        // An instance type without members, and an import of that type.
        let mut sections = vec![7, 3, 1, 0x42, 0, 10, length + 5, 1, 0, length];
        sections.extend_from_slice(import.as_bytes());
        sections.extend_from_slice(&[5, 0]);
        let refused = host().prepare(&handmade(&sections)).unwrap_err();
        assert!(refused.to_string().contains(advice), "{refused}");
        let StartError::Import { import: named, .. } = refused else { panic!("{refused}") };
        assert_eq!(named, import);
    }
}

#[test]
fn a_component_that_is_no_skill_is_refused() {
    for sections in [&[][..], &[7, 3, 1, 0x42, 0], &[0xff; 64]] {
        let refused = host().prepare(&handmade(sections)).unwrap_err();
        assert!(matches!(refused, StartError::Component { .. }), "{refused}");
    }
}

#[test]
fn an_action_that_the_manifest_does_not_name_is_refused() {
    let refused = host()
        .start(&bundle("patrol"), &everything(), "fly", &BTreeMap::new(), Box::new(NoPorts), &[])
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "skill patrol has no action `fly`; it has undock, patrol, inspect, return"
    );
}

#[test]
fn compiled_code_is_kept_for_as_many_bundles_as_allowed() {
    let host = Host::new(HostOptions { compiled: 1, ..HostOptions::default() }).unwrap();
    let (one, two) = (bundle("misbehave"), bundle("patrol"));
    for bundle in [&one, &two, &one, &one] {
        host.prepare(bundle).unwrap();
    }
}

#[test]
fn a_tick_without_length_is_refused() {
    let options = HostOptions { tick: Duration::ZERO, ..HostOptions::default() };
    assert!(matches!(Host::new(options), Err(HostError::Tick)));
}
