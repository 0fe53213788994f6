//! Guests that mean harm, and the host that goes on.
//!
//! Each of them is stepped beside a neighbour on the same host, and what counts is the same for
//! all: it ends by itself or is ended, with a reason for people; nothing comes through that is
//! beyond the bounds; and the neighbour's next step is as its last.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;
#[path = "common/forge.rs"]
#[allow(dead_code)] // Each test crate uses its part.
mod forge;

use common::{Heard, Listening, Toy, bundle, bundle_with, everything};
use forge::{Forged, signed};
use nooterra_protocol::skill::Capability;
use nooterra_skill_host::{
    Bundle, End, Host, HostOptions, MAX_RESTARTS, NoPorts, Ports, Request, RunState, Running,
    Session, SkillError, StartError, Status,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn host() -> Arc<Host> {
    Arc::new(Host::new(HostOptions::default()).unwrap())
}

fn open(host: &Host, bundle: &Bundle, action: &str, ports: Box<dyn Ports + Send>) -> Session {
    let granted = everything();
    host.open(bundle, &granted, action, &BTreeMap::new(), ports, &[]).unwrap().unwrap()
}

/// Ports that let time pass while the skill speaks: `0` ticks with each line.
struct Ticking(Arc<Host>, u64, Listening);

impl Ports for Ticking {
    fn assist(&mut self, reason: &str) {
        self.2.assist(reason);
    }
    fn checkpoint(&mut self, name: &str) {
        self.2.checkpoint(name);
    }
    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        self.2.evidence(name, media_type, bytes);
    }
    fn log(&mut self, text: &str) {
        (0..self.1).for_each(|_| self.0.epoch_tick());
        self.2.log(text);
    }
    fn note(&mut self, text: &str) {
        self.2.note(text);
    }
    fn restarted(&mut self, why: &str) {
        self.2.restarted(why);
    }
    fn suspended(&mut self, state: &[u8]) {
        self.2.suspended(state);
    }
}

/// What became of a guest: its end, or that it was still going on after `steps`.
fn fate(
    host: &Arc<Host>,
    bundle: &Bundle,
    action: &str,
    steps: u32,
    hangs: bool,
) -> (String, Heard) {
    // A guest that hangs hangs in here: somebody must let time pass. For one that does not, none
    // passes, so that a busy machine decides nothing.
    let (ticking, over) = (Arc::clone(host), Arc::new(()));
    let alive = Arc::downgrade(&over);
    let ticks = std::thread::spawn(move || {
        while hangs && alive.strong_count() > 0 {
            ticking.epoch_tick();
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let (ports, mut toy) = (Listening::default(), Toy::docked_at(0.0, 0.0, 0.0));
    let granted = everything();
    let opened = host.open(bundle, &granted, action, &BTreeMap::new(), ports.ports(), &[]);
    let fate = match opened {
        Err(error) => format!("not started: {error}"),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(mut session)) => (0..steps)
            .find_map(|_| {
                toy.now_ns += 20_000_000;
                let step = session.step(toy.at(), &toy.seen());
                match step {
                    Ok((_, Status::Running { .. })) => {
                        session.suspend().err().map(|error| error.to_string())
                    }
                    Ok((_, status)) => Some(format!("{status:?}")),
                    Err(error) => Some(error.to_string()),
                }
            })
            .unwrap_or_else(|| "goes on".to_owned()),
    };
    drop(over);
    ticks.join().unwrap();
    (fate, ports.heard())
}

#[test]
fn every_hostile_guest_is_contained_and_its_neighbour_goes_on() {
    let cases: &[(&str, Forged, &str)] = &[
        (
            "a start function that never returns",
            Forged { more: "(func $s (loop (br 0))) (start $s)", ..Forged::default() },
            "`init` did not return within 2000 ms",
        ),
        (
            "a start function that traps",
            Forged { more: "(func $s unreachable) (start $s)", ..Forged::default() },
            "gave up by itself",
        ),
        (
            "a start function that recurses",
            Forged { more: "(func $s call $s) (start $s)", ..Forged::default() },
            "its stack is full",
        ),
        (
            "a memory that is too large from the start",
            Forged { memory: "65", ..Forged::default() },
            "more than the 4 MiB of memory",
        ),
        (
            "a memory that asks for all there is",
            Forged { memory: "65536", ..Forged::default() },
            "",
        ),
        (
            "memory growth that takes no for no answer",
            Forged {
                step: "(loop (drop (memory.grow (i32.const 1))) (br 0)) unreachable",
                ..Forged::default()
            },
            "more than the 4 MiB of memory",
        ),
        (
            "table growth",
            Forged {
                more: "(table $t 1 funcref)",
                step: "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0)) \
                       unreachable",
                ..Forged::default()
            },
            "more than 20000 table entries",
        ),
        (
            "a table that is too large from the start",
            Forged { more: "(table 4000000 funcref)", ..Forged::default() },
            "more than 20000 table entries",
        ),
        (
            "recursion with many locals",
            Forged {
                more: "(func $r (param i64 i64 i64 i64 i64 i64 i64 i64) \
                       (call $r (local.get 7) (local.get 6) (local.get 5) (local.get 4) \
                       (local.get 3) (local.get 2) (local.get 1) (local.get 0)))",
                step: "(call $r (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) \
                       (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8)) i32.const 1024",
                ..Forged::default()
            },
            "its stack is full",
        ),
        (
            "recursion through a table",
            Forged {
                more: "(table funcref (elem $r)) (func $r (call_indirect (i32.const 0)))",
                step: "call $r i32.const 1024",
                ..Forged::default()
            },
            "its stack is full",
        ),
        (
            "a call of nothing",
            Forged {
                more: "(table 1 funcref)",
                step: "(call_indirect (i32.const 0)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a call beyond the table",
            Forged {
                more: "(table 1 funcref)",
                step: "(call_indirect (i32.const -1)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a call of the wrong signature",
            Forged {
                more: "(table funcref (elem $f)) (func $f (param i64))",
                step: "(call_indirect (i32.const 0)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a read beyond its memory",
            Forged {
                step: "(drop (i64.load offset=4294967288 (i32.const -8))) i32.const 1024",
                ..Forged::default()
            },
            "reached outside its memory",
        ),
        (
            "a fill beyond its memory",
            Forged {
                step: "(memory.fill (i32.const 0) (i32.const 7) (i32.const -1)) i32.const 1024",
                ..Forged::default()
            },
            "reached outside its memory",
        ),
        (
            "data outside its memory",
            Forged { more: r#"(data (i32.const 65535) "too much")"#, ..Forged::default() },
            "reached outside its memory",
        ),
        (
            "a division by zero",
            Forged { step: "(i32.div_s (i32.const 1) (i32.const 0))", ..Forged::default() },
            "divided by zero",
        ),
        (
            "a conversion of what is no number",
            Forged {
                step: "(i32.trunc_f64_s (f64.div (f64.const 0) (f64.const 0)))",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a result outside its memory",
            Forged { step: "i32.const 65530", ..Forged::default() },
            "crashed",
        ),
        ("a result at no address", Forged { step: "i32.const -8", ..Forged::default() }, "crashed"),
        (
            "a result that is not aligned",
            Forged { step: "i32.const 1025", ..Forged::default() },
            "crashed",
        ),
        (
            "a request of no kind",
            Forged {
                step: "(i32.store8 (i32.const 1024) (i32.const 99)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a status of no kind",
            Forged {
                step: "(i32.store8 (i32.const 1072) (i32.const 99)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a note of four gigabytes",
            Forged {
                step: "(i32.store (i32.const 1092) (i32.const -1)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a note that is no text",
            Forged {
                more: r#"(data (i32.const 8) "\ff\fe\c0\80")"#,
                step: "(i32.store (i32.const 1088) (i32.const 8)) \
                       (i32.store (i32.const 1092) (i32.const 4)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a state of four gigabytes",
            Forged {
                suspend: "(i32.store (i32.const 2052) (i32.const -1)) i32.const 2048",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a state at no address",
            Forged { suspend: "i32.const -4", ..Forged::default() },
            "crashed",
        ),
        (
            "an allocation outside its memory",
            Forged { realloc: "i32.const -16", ..Forged::default() },
            "crashed",
        ),
        (
            "an allocation that never returns",
            Forged { realloc: "(loop (br 0)) unreachable", ..Forged::default() },
            "`init` did not return",
        ),
        (
            "an allocation that calls the robot",
            Forged {
                imports: r#"(import "nooterra:skill/log@0.2.2" "line" (func $l (param i32 i32)))"#,
                realloc: "(call $l (i32.const 0) (i32.const 4)) i32.const 4096",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a line at no address",
            Forged {
                imports: r#"(import "nooterra:skill/log@0.2.2" "line" (func $l (param i32 i32)))"#,
                step: "(call $l (i32.const -8) (i32.const 64)) i32.const 1024",
                ..Forged::default()
            },
            "crashed",
        ),
        (
            "a storm of calls",
            Forged {
                imports: r#"(import "nooterra:skill/log@0.2.2" "line" (func $l (param i32 i32)))"#,
                step: "(loop (call $l (i32.const 0) (i32.const 0)) (br 0)) unreachable",
                ..Forged::default()
            },
            "more than 64 times in one step",
        ),
        (
            "a step that loops for ever",
            Forged { step: "(loop (br 0)) unreachable", ..Forged::default() },
            "`step` did not return within 520 ms",
        ),
        (
            "a step that answers nothing at all",
            Forged { step: "unreachable", ..Forged::default() },
            "gave up by itself",
        ),
    ];
    let host = host();
    let mut neighbour = open(&host, &bundle("patrol"), "inspect", Box::new(NoPorts));
    let mut toy = Toy::docked_at(0.0, 0.0, 0.0);
    for (what, forged, expected) in cases {
        let bundle = forged.bundle();
        let (fate, heard) = fate(&host, &bundle, "done", 40, expected.contains("did not return"));
        assert!(fate.contains(expected) && fate != "goes on", "{what}: {fate}");
        assert!(heard.lines.len() <= 128, "{what}: {} lines", heard.lines.len());
        toy.now_ns += 1;
        neighbour.step(toy.at(), &toy.seen()).unwrap();
    }
    println!("{} forged guests", cases.len());
}

#[test]
fn every_misbehaviour_is_contained_and_its_neighbour_goes_on() {
    let cases = [
        ("alternate", "without the capability `drive`"),
        ("assist-flood", "goes on"),
        ("checkpoint-flood", "goes on"),
        ("control-characters", "Failed(\"a   [2Jb c d\")"),
        ("drive", "without the capability `drive`"),
        ("evidence-flood", "goes on"),
        ("flood", "more than 64 times in one step"),
        ("grow", "more than the 4 MiB of memory"),
        ("grow-init", "more than the 4 MiB of memory"),
        ("line-flood", "goes on"),
        ("line-huge", "crashed"),
        ("name-huge", "crashed"),
        ("nan", "without the capability `drive`"),
        ("rant", "crashed"),
        ("recurse", "ended"),
        ("refuse", "no such waypoint"),
        ("spin", "did not return within 520 ms"),
        ("spin-init", "did not return within 2000 ms"),
        ("state-huge", "crashed"),
        ("state-large", "16385 bytes, at most 16384"),
        ("suspend-calls", "it called the robot from `suspend`"),
        ("suspend-spin", "`suspend` did not return"),
        ("suspend-trap", "gave up by itself"),
        ("trap", "gave up by itself"),
        ("trap-init", "gave up by itself"),
        ("vast", "without the capability `drive`"),
    ];
    let (host, misbehave) = (host(), bundle("misbehave"));
    let mut neighbour = open(&host, &bundle("patrol"), "inspect", Box::new(NoPorts));
    let mut toy = Toy::docked_at(0.0, 0.0, 0.0);
    for (action, expected) in cases {
        let (fate, heard) =
            fate(&host, &misbehave, action, 100, expected.contains("did not return"));
        // A stack of its own may be full in two ways: the engine's, or that in its memory.
        let recursed = action == "recurse" && fate.contains("crashed");
        assert!(fate.contains(expected) || recursed, "{action}: {fate}");
        // In a hundred steps of 20 ms: what may come at once, and two seconds of the rate.
        assert!(heard.lines.len() <= 128 + 20, "{action}: {} lines", heard.lines.len());
        assert!(heard.checkpoints.len() <= 64 + 4, "{action}: {}", heard.checkpoints.len());
        assert!(heard.assists.len() <= 3, "{action}: {:?}", heard.assists);
        let bytes: usize = heard.evidence.iter().map(|piece| piece.2.len()).sum();
        assert!(bytes <= (1 << 20) + 3 * 16_384, "{action}: {bytes} bytes of evidence");
        let said = heard.assists.iter().chain(&heard.lines).chain(&heard.notes);
        let plain = |line: &String| line.chars().all(|c| !c.is_control());
        assert!(said.into_iter().all(plain), "{action}: {heard:?}");
        toy.now_ns += 1;
        neighbour.step(toy.at(), &toy.seen()).unwrap();
    }
}

#[test]
fn what_is_not_in_the_engine_is_refused_before_it_runs() {
    let refusal = |module: &str| {
        let component = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        let refused = host().prepare(&signed(&component)).unwrap_err();
        assert!(matches!(refused, StartError::Component { .. }), "{refused}");
        refused.to_string()
    };
    // Refused too, because it is no skill, and in other words.
    let harmless = refusal("(memory 1) (func (drop (v128.const i64x2 0 0)))");
    assert!(!harmless.contains("abled"), "{harmless}");
    for (what, module) in [
        (
            "relaxed SIMD",
            "(func (param v128) (result v128) \
             (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))",
        ),
        ("shared memory", "(memory 1 1 shared)"),
        ("64-bit memory", "(memory i64 1)"),
        ("exceptions", "(tag (param i32))"),
        ("garbage collection", "(type (struct (field i32)))"),
    ] {
        let refused = refusal(module);
        // Not enabled, or disabled.
        assert!(refused.contains("abled"), "{what}: {refused}");
    }
}

#[test]
fn a_component_that_probes_for_more_is_refused_by_the_name_of_what_it_wants() {
    let component = |text: &str| signed(&wat::parse_str(text).unwrap());
    let host = host();
    for import in [
        "wasi:clocks/monotonic-clock@0.2.0",
        "wasi:filesystem/preopens@0.2.0",
        "wasi:random/random@0.2.0",
        "wasi:sockets/tcp@0.2.0",
        "nooterra:skill/log@0.1.0",
        "nooterra:skill/actuators@0.2.0",
    ] {
        let text = format!(r#"(component (import "{import}" (instance)))"#);
        let refused = host.prepare(&component(&text)).unwrap_err();
        assert!(refused.to_string().contains(import), "{refused}");
    }
    // A log that would give more than this one.
    let lies = r#"(component (import "nooterra:skill/log@0.2.0" (instance
        (export "read" (func (result string))))))"#;
    let refused = host.prepare(&component(lies)).unwrap_err();
    assert!(matches!(refused, StartError::Component { .. }), "{refused}");
}

#[test]
fn more_instances_than_any_skill_needs_are_refused() {
    let modules = "(core instance (instantiate $m))".repeat(40);
    let text = format!("(component (core module $m (memory 1)) {modules})");
    let refused = host().prepare(&signed(&wat::parse_str(text).unwrap())).unwrap_err();
    // It is no skill either; what counts is that nothing of it ran.
    assert!(matches!(refused, StartError::Component { .. }), "{refused}");
}

#[test]
fn a_manifest_that_lies_about_what_is_used_is_refused() {
    for kept in [&["log"][..], &[], &["assist", "checkpoint", "log"]] {
        let liar = bundle_with("misbehave", |manifest| manifest["capabilities"] = kept.into());
        let refused = host().prepare(&liar).unwrap_err();
        assert!(matches!(refused, StartError::Undeclared { .. }), "{kept:?}: {refused}");
    }
}

#[test]
fn what_is_no_number_comes_out_canonical_whatever_its_bits_were() {
    // A drive of 0/0 with bits of its own, out of an operation that may choose any.
    let forged = Forged {
        step: "(i32.store8 (i32.const 1024) (i32.const 1)) \
               (f64.store (i32.const 1032) (f64.add (f64.const nan:0x4deadbeef) (f64.const 1))) \
               (f64.store (i32.const 1040) (f64.neg (f64.const inf))) i32.const 1024",
        ..Forged::default()
    };
    let component = forged.component().unwrap();
    let driver = bundle_with("misbehave", |manifest| {
        manifest["capabilities"] = serde_json::json!(["drive"]);
    });
    let manifest = serde_json::to_string(driver.manifest()).unwrap();
    let packed = nooterra_skill_host::pack(&manifest, &component).unwrap();
    let bundle = common::verify_signed(&packed).unwrap();
    let (host, toy) = (host(), Toy::docked_at(0.0, 0.0, 0.0));
    let mut session = open(&host, &bundle, "done", Box::new(NoPorts));
    let (Request::Drive(twist), _) = session.step(toy.at(), &toy.seen()).unwrap() else {
        panic!("another request")
    };
    assert_eq!(twist.linear.to_bits(), 0x7ff8_0000_0000_0000);
    assert_eq!(twist.angular.to_bits(), f64::NEG_INFINITY.to_bits());
}

#[test]
fn fuel_ends_a_step_at_the_same_place_whatever_the_machine_does() {
    let thirsty = bundle_with("misbehave", |manifest| {
        manifest["fuel_per_step"] = 2_000_000.into();
    });
    let toy = Toy::docked_at(0.0, 0.0, 0.0);
    let spent = |action: &str| {
        let host = host();
        let mut session = open(&host, &thirsty, action, Box::new(NoPorts));
        let result = session.step(toy.at(), &toy.seen());
        (result.map(drop).map_err(|error| error.to_string()), session.usage().fuel)
    };
    let (result, _) = spent("spin");
    assert_eq!(result, Err("the skill was ended: it used up its 2000000 units of fuel".to_owned()));
    let (result, fuel) = spent("note");
    assert!(result.is_ok() && fuel.is_some_and(|fuel| fuel > 100), "{fuel:?}");
    assert_eq!(spent("note").1, fuel, "the same step uses the same");
}

#[test]
fn fuel_is_not_counted_unless_somebody_asks() {
    let toy = Toy::docked_at(0.0, 0.0, 0.0);
    let mut session = open(&host(), &bundle("misbehave"), "note", Box::new(NoPorts));
    session.step(toy.at(), &toy.seen()).unwrap();
    assert_eq!(session.usage().fuel, None);
    let counting = HostOptions { counts_fuel: true, ..HostOptions::default() };
    let host = Host::new(counting).unwrap();
    let mut session = open(&host, &bundle("misbehave"), "note", Box::new(NoPorts));
    session.step(toy.at(), &toy.seen()).unwrap();
    let usage = session.usage();
    assert!(usage.fuel.is_some_and(|fuel| fuel > 100), "{usage:?}");
    assert!(usage.memory_bytes >= 1 << 20 && usage.calls == 0, "{usage:?}");
}

#[test]
fn a_state_goes_on_in_another_instance() {
    let (host, toy) = (host(), Toy::docked_at(0.0, 0.0, 0.0));
    let bundle = bundle("misbehave");
    let mut first = open(&host, &bundle, "state", Box::new(NoPorts));
    for _ in 0..7 {
        first.step(toy.at(), &toy.seen()).unwrap();
    }
    let state = first.suspend().unwrap();
    let ports = Listening::default();
    let resume = |action: &str, state: &[u8]| {
        let granted = everything();
        host.open(&bundle, &granted, action, &BTreeMap::new(), ports.ports(), state).unwrap()
    };
    let mut second = resume("state", &state).unwrap();
    let (_, status) = second.step(toy.at(), &toy.seen()).unwrap();
    assert_eq!(status, Status::Running { note: "step 8".to_owned(), progress: 0.5 });
    assert_eq!(ports.heard().lines, ["on from 7"]);
    // Whatever lies on the disk: it is for the skill to say no.
    let refused = resume("state", &[1, 2, 3]).unwrap_err();
    assert!(matches!(refused, SkillError::Refused(_)), "{refused}");
    let refused = resume("resume-refuse", &state).unwrap_err();
    assert!(refused.to_string().contains("somebody else"), "{refused}");
    assert!(matches!(resume("resume-trap", &state), Err(SkillError::Trapped(_))));
}

/// Gives a run something to see until `what` holds.
fn until(running: &Running, host: Option<&Host>, mut what: impl FnMut() -> bool) {
    let toy = Toy::docked_at(0.0, 0.0, 0.0);
    for _ in 0..60_000 {
        if what() {
            return;
        }
        running.observe(toy.at(), &toy.seen());
        if let Some(host) = host {
            host.epoch_tick();
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    panic!("it never came to that: {:?}", running.state());
}

#[test]
fn a_late_step_finishes_and_is_noted_and_the_third_costs_the_instance() {
    let (host, ports) = (host(), Listening::default());
    // Each line lets a tick pass: ten in a step whose period is two.
    let ticking = Ticking(Arc::clone(&host), 1, ports.clone());
    let running = host
        .start(
            &bundle("misbehave"),
            &everything(),
            "chatter",
            &BTreeMap::new(),
            Box::new(ticking),
            &[],
        )
        .unwrap();
    until(&running, None, || !ports.heard().restarts.is_empty());
    let heard = ports.heard();
    assert_eq!(heard.restarts[0], "3 of its last 20 steps took longer than its period");
    let notes = &heard.notes[..3];
    assert_eq!(notes[2], "step 3 took longer than its period");
    // Nothing is lost: the late step's state is what the next instance begins with.
    until(&running, None, || ports.heard().lines.iter().any(|line| line.starts_with("on from")));
    assert!(ports.heard().lines.contains(&"on from 3".to_owned()));
    until(&running, None, || matches!(running.state(), RunState::Ended(_)));
    assert_eq!(ports.heard().restarts.len(), MAX_RESTARTS as usize);
    assert_eq!(running.latest(), None);
    let RunState::Ended(End::Crashed(why)) = running.state() else { panic!("it went on") };
    assert!(why.contains("3 new instances"), "{why}");
}

#[test]
fn a_step_that_hangs_once_costs_the_instance_and_not_the_action() {
    let (host, ports) = (host(), Listening::default());
    let running = host
        .start(
            &bundle("misbehave"),
            &everything(),
            "spin-once",
            &BTreeMap::new(),
            ports.ports(),
            &[],
        )
        .unwrap();
    // Two steps without any time, then one that hangs in it.
    until(&running, None, || running.latest().is_some_and(|stepped| stepped.step == 2));
    until(&running, Some(&host), || ports.heard().restarts.len() == 1);
    until(&running, None, || running.latest().is_some_and(|stepped| stepped.step > 4));
    assert_eq!(ports.heard().restarts, ["`step` did not return within 520 ms"]);
    assert_eq!(running.state(), RunState::Running);
}

#[test]
fn twenty_skills_run_beside_each_other_and_beside_one_that_hangs() {
    let (host, misbehave, toy) = (host(), bundle("misbehave"), Toy::docked_at(0.0, 0.0, 0.0));
    let granted = everything();
    let start = |action: &str| {
        let ports = Box::new(NoPorts);
        host.start(&misbehave, &granted, action, &BTreeMap::new(), ports, &[]).unwrap()
    };
    let hung = start("spin");
    hung.observe(toy.at(), &toy.seen());
    let skills: Vec<Running> = (0..20).map(|_| start("note")).collect();
    for step in 1..=10 {
        for skill in &skills {
            skill.observe(toy.at(), &toy.seen());
        }
        for skill in &skills {
            let stepped = || skill.latest().is_some_and(|stepped| stepped.step >= step);
            for _ in 0..60_000 {
                if stepped() {
                    break;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            assert!(stepped(), "{:?}", skill.state());
        }
    }
    assert!(matches!(hung.state(), RunState::Running | RunState::Starting));
}

#[test]
fn no_capability_is_given_that_was_not_asked_for() {
    // All is granted, and the manifest asks for one: `scan` stays shut.
    let (host, toy) = (host(), Toy::docked_at(0.0, 0.0, 0.0));
    let blind = bundle_with("patrol", |manifest| {
        manifest["capabilities"] = serde_json::json!(["checkpoint", "drive", "evidence", "log"]);
    });
    let ports = Listening::default();
    let mut session = open(&host, &blind, "inspect", ports.ports());
    assert!(!blind.manifest().capabilities.contains(&Capability::Scan));
    let mut toy = toy;
    for _ in 0..200 {
        let (request, status) = session.step(toy.at(), &toy.seen()).unwrap();
        toy.apply(&request);
        if status == Status::Done {
            break;
        }
    }
    let report = String::from_utf8(ports.heard().evidence[0].2.clone()).unwrap();
    assert!(report.contains("\"beams\":0"), "{report}");
}

/// Set in the process that is short of address space.
const SHORT: &str = "NOOTERRA_TEST_SHORT";

/// How much address space this process may take beyond what it has, MiB.
fn room(mib: Option<u64>) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let hard = getrlimit(Resource::RLIMIT_AS).unwrap().1;
    let most = mib.map_or(hard, |mib| pages * 4096 + (mib << 20));
    setrlimit(Resource::RLIMIT_AS, most, hard).unwrap();
}

/// How large files may be that this process writes, bytes; those in memory too.
fn largest_file(bytes: Option<u64>) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let hard = getrlimit(Resource::RLIMIT_FSIZE).unwrap().1;
    setrlimit(Resource::RLIMIT_FSIZE, bytes.unwrap_or(hard), hard).unwrap();
}

/// The component with so many more core instances, each with a small memory of its own.
fn with_memories(mut component: Vec<u8>, count: u8) -> Vec<u8> {
    // Behind the header come sections: a byte that says what of, and a length in groups of seven.
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        modules += u8::from(component[at] == 1);
        let (mut length, mut shift) = (0, 0);
        loop {
            at += 1;
            length |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + length;
    }
    let module = wat::parse_str("(module (memory 1))").unwrap();
    component.extend([1, u8::try_from(module.len()).unwrap()]);
    component.extend(module);
    // Instances: of the last module, without arguments.
    component.extend([2, 1 + 3 * count, count]);
    (0..count).for_each(|_| component.extend([0, modules, 0]));
    component
}

/// Not a test of its own: does nothing in the process of the others.
#[test]
fn child_that_is_short_of_what_an_instance_takes() {
    if std::env::var_os(SHORT).is_none() {
        return;
    }
    let host = host();
    // Each memory is small, as its manifest says: what it takes is address space.
    let honest = Forged::default();
    let greedy = signed(&with_memories(honest.component().unwrap(), 6));
    let more = "(memory 1) (memory 1) (memory 1)";
    let four = Forged { more, ..Forged::default() }.bundle();
    // And what this one takes is its first content, which is a file in memory: three pages of it.
    let full = r#"(data (i32.const 65536) "x") (data (i32.const 196608) "x")"#;
    let full = Forged { more: full, memory: "4", ..Forged::default() }.bundle();
    let honest = honest.bundle();
    let tried = |bundle| match host.try_out(bundle, &everything()) {
        Ok(Ok(())) => "started".to_owned(),
        Ok(Err(SkillError::Machine(_))) => "the machine".to_owned(),
        Ok(Err(SkillError::Exhausted(why))) => format!("the skill: {why}"),
        other => format!("{other:?}"),
    };
    let tell = || println!("TOLD {} | {} | {}", tried(&honest), tried(&four), tried(&greedy));
    // With room enough, and compiled: what the others lack is not heap.
    tell();
    // For two memories and not for four, and then not for one.
    for mib in [Some(150), Some(40), None] {
        room(mib);
        tell();
        room(None);
    }
    // In a run, where it decides whether the start counts.
    let granted = everything();
    let ended = |bundle| {
        let (ports, params) = (Box::new(NoPorts), BTreeMap::new());
        let running = host.start(bundle, &granted, "spin", &params, ports, &[]).unwrap();
        until(&running, None, || matches!(running.state(), RunState::Ended(_)));
        running.state()
    };
    room(Some(150));
    let told = (ended(&four), ended(&greedy));
    room(None);
    println!("TOLD {:?} | {:?}", told.0, told.1);
    // Whoever writes too large a file is told by a signal, and dies of it.
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGXFSZ).thread_block().unwrap();
    largest_file(Some(100_000));
    let short = (tried(&honest), tried(&full));
    largest_file(None);
    println!("TOLD {} | {} | {}", short.0, short.1, tried(&full));
}

#[test]
fn no_guest_passes_its_own_greed_off_as_a_fault_of_the_machine_nor_is_blamed_for_one() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_short_of_what_an_instance_takes"])
        .args(["--nocapture", "--test-threads=1"])
        .env(SHORT, "1")
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told: Vec<_> = said.lines().filter_map(|line| Some(line.split_once("TOLD ")?.1)).collect();
    let [enough, for_two, for_none, again, run, full] = told[..] else { panic!("{said}") };
    assert!(enough.starts_with("started | started | Ok(Err(Trapped("), "{enough}");
    assert!(enough.contains("memory count too high"), "{enough}");
    // It may have four, and the machine has no room for them; nobody may have seven.
    let greed = "it wanted 7 memories, and a skill has 4";
    assert_eq!(for_two, format!("started | the machine | the skill: {greed}"));
    assert_eq!(for_none, format!("the machine | the machine | the skill: {greed}"));
    assert_eq!(again, enough);
    let (four, greedy) = run.split_once(" | ").unwrap();
    assert!(four.contains("this machine has no room"), "{run}");
    assert!(greedy.contains("Crashed") && greedy.contains(greed), "{run}");
    let more = "it wanted more of this machine than one memory of 4 MiB";
    assert!(full.starts_with(&format!("started | the skill: {more}")), "{full}");
    assert!(full.ends_with(" | started"), "{full}");
}
