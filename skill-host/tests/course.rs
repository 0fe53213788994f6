//! A policy graph with real guests: which instance runs, what it keeps, what it may.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;

use common::{Heard, Listening, Toy, component, everything, template, verify_signed};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::{COMPONENT_FILE, GRAPH_FILE, MANIFEST_FILE};
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Beside, Bundle, BundleError, GOES_ON, GraphMove, Host, HostOptions, NoPorts, PackError, Ports,
    Request, Session, SkillError, Status, pack, pack_with,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn with(graph: &str) -> Beside<'_> {
    Beside { graph: Some(graph), ..Beside::default() }
}

/// An example whose action `action` goes by `root`.
fn with_graph(name: &str, action: &str, root: &Value) -> Bundle {
    let graph = json!({ "v": 1, "actions": { action: root } }).to_string();
    verify_signed(&pack_with(&template(name), &component(name), with(&graph)).unwrap()).unwrap()
}

/// `rounds` as it is shipped.
fn rounds() -> Bundle {
    let graph = include_str!("../../examples/skills/rounds/graph.json");
    let packed = pack_with(&template("rounds"), &component("rounds"), with(graph)).unwrap();
    verify_signed(&packed).unwrap()
}

fn params() -> BTreeMap<String, Param> {
    let points = |points: &[(f64, f64)]| {
        let point = |&(x, y): &(f64, f64)| nooterra_protocol::geometry::Point::new(x, y);
        Param::Points(points.iter().map(point).collect())
    };
    BTreeMap::from([
        ("waypoints".to_owned(), points(&[(3.0, 0.0), (3.0, 3.0)])),
        ("dock".to_owned(), points(&[(0.0, 0.0)])),
        ("until".to_owned(), Param::Number(0.5)),
    ])
}

/// Low from 5 to 20 s, unless it is on its dock.
fn sees(toy: &Toy) -> Observation {
    let mut seen = toy.seen();
    let low = (5_000_000_000..20_000_000_000).contains(&toy.now_ns) && !seen.docked;
    if let Some(battery) = &mut seen.battery {
        battery.value.fraction = if low { 0.2 } else { 0.8 };
    }
    seen
}

/// Ports that write down the moves and what was seen.
#[derive(Clone, Default)]
struct Watching {
    heard: Listening,
    moves: Arc<Mutex<Vec<GraphMove>>>,
    seen: Arc<Mutex<Vec<(MonoNanos, Observation)>>>,
}

impl Watching {
    fn went(&self) -> Vec<String> {
        let moves = self.moves.lock().unwrap();
        let moved = moves.iter().filter(|moved| moved.why != GOES_ON);
        moved.filter_map(|moved| moved.live.clone()).collect()
    }

    fn heard(&self) -> Heard {
        self.heard.heard()
    }
}

impl Ports for Watching {
    fn assist(&mut self, reason: &str) {
        self.heard.assist(reason);
    }
    fn checkpoint(&mut self, name: &str) {
        self.heard.checkpoint(name);
    }
    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        self.heard.evidence(name, media_type, bytes);
    }
    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        self.seen.lock().unwrap().push((at, seen.clone()));
        Ok(())
    }
    fn log(&mut self, text: &str) {
        self.heard.log(text);
    }
    fn moved(&mut self, moved: &GraphMove) {
        self.moves.lock().unwrap().push(moved.clone());
    }
    fn note(&mut self, text: &str) {
        self.heard.note(text);
    }
}

fn open(bundle: &Bundle, action: &str, ports: Box<dyn Ports + Send>, state: &[u8]) -> Session {
    let host = Host::new(HostOptions::default()).unwrap();
    let params = if action == "rounds" { params() } else { BTreeMap::new() };
    host.open(bundle, &everything(), action, &params, ports, state).unwrap().unwrap()
}

fn is_over(status: &Status) -> bool {
    !matches!(status, Status::Running { .. })
}

/// Steps to the end; at each of `restarts` only the state is left.
fn run(bundle: &Bundle, restarts: &[usize]) -> (Vec<(Request, Status)>, Watching) {
    let ports = Watching::default();
    let mut session = open(bundle, "rounds", Box::new(ports.clone()), &[]);
    let (mut toy, mut asked) = (Toy::docked_at(0.0, 0.0, 0.0), Vec::new());
    for step in 0..2000 {
        if restarts.contains(&step) {
            let state = session.suspend().unwrap();
            session = open(bundle, "rounds", Box::new(ports.clone()), &state);
        }
        let (request, status) = session.step(toy.at(), &sees(&toy)).unwrap();
        toy.apply(&request);
        let over = is_over(&status);
        asked.push((request, status));
        if over {
            return (asked, ports);
        }
    }
    panic!("it goes on and on: {:?}", ports.went());
}

#[test]
fn a_graph_goes_round_charges_and_goes_on_where_it_was() {
    let bundle = rounds();
    let (asked, ports) = run(&bundle, &[]);
    assert_eq!(asked.last().unwrap().1, Status::Done);
    assert_eq!(ports.went(), ["undock", "route", "charge", "undock", "route"]);
    assert_eq!(ports.heard().checkpoints, ["waypoint-1", "charged", "waypoint-2"]);
    // What it decided by is in the record, each observation once; and it repeats.
    let seen = ports.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), asked.len());
    let mut again = open(&bundle, "rounds", Box::new(NoPorts), &[]);
    let repeated: Vec<_> = seen.iter().map(|(at, seen)| again.step(*at, seen).unwrap()).collect();
    assert_eq!(repeated, asked);
}

#[test]
fn a_restart_at_any_step_goes_on_within_the_graph() {
    let bundle = rounds();
    let (through, ports) = run(&bundle, &[]);
    for first in (1..through.len()).step_by(11) {
        let (asked, restarted) = run(&bundle, &[first, first + 1]);
        assert_eq!(asked.last().unwrap().1, Status::Done, "after {first} steps");
        assert_eq!(restarted.went(), ports.went(), "after {first} steps");
        let told = restarted.moves.lock().unwrap().clone();
        assert!(told.iter().filter(|moved| moved.why.starts_with(GOES_ON)).count() >= 2);
    }
}

#[test]
fn a_state_that_is_none_of_the_graph_ends_the_action_and_starts_nothing() {
    let bundle = rounds();
    let host = Host::new(HostOptions::default()).unwrap();
    let mut session = open(&bundle, "rounds", Box::new(NoPorts), &[]);
    let toy = Toy::docked_at(0.0, 0.0, 0.0);
    session.step(toy.at(), &toy.seen()).unwrap();
    let state = session.suspend().unwrap();
    for (at, byte) in (0..state.len()).zip([0xff, 0x00].into_iter().cycle()) {
        let mut damaged = state.clone();
        damaged[at] = byte;
        // Some other position of the same graph may come of it, and never a panic.
        let opened =
            host.open(&bundle, &everything(), "rounds", &params(), Box::new(NoPorts), &damaged);
        if let Ok(mut session) = opened.unwrap() {
            let _ = session.step(toy.at(), &toy.seen());
        }
    }
    for state in [&b"\x07"[..], b"\xff\xff", &state[1..]] {
        let opened =
            host.open(&bundle, &everything(), "rounds", &params(), Box::new(NoPorts), state);
        assert!(matches!(opened.unwrap(), Err(SkillError::Refused(_))));
    }
    let mut more = params();
    more.insert("waypoint".to_owned(), Param::Flag(true));
    let opened = host.open(&bundle, &everything(), "rounds", &more, Box::new(NoPorts), &[]);
    let refused = opened.unwrap().unwrap_err().to_string();
    assert!(refused.contains("no parameter `waypoint`"), "{refused}");
}

type Stepped = Result<(Request, Status), SkillError>;

/// Steps a graph of `misbehave` with the same observation again and again.
fn misbehaves(root: &Value, steps: u64) -> (Vec<Stepped>, Heard) {
    let bundle = with_graph("misbehave", "state", root);
    let ports = Watching::default();
    let mut session = open(&bundle, "state", Box::new(ports.clone()), &[]);
    let mut results = Vec::new();
    for step in 0..steps {
        let toy = Toy { now_ns: step * 20_000_000, ..Toy::docked_at(0.0, 0.0, 0.0) };
        let result = session.step(toy.at(), &toy.seen());
        let over = result.as_ref().is_err() || result.as_ref().is_ok_and(|(_, s)| is_over(s));
        results.push(result);
        if over {
            break;
        }
    }
    (results, ports.heard())
}

#[test]
fn what_crashes_is_not_tried_again() {
    for action in ["trap", "trap-init", "grow"] {
        let (results, _) = misbehaves(&json!({ "retry": 5, "do": { "run": action } }), 20);
        assert_eq!(results.len(), 1, "{action}");
        assert!(matches!(results[0], Err(SkillError::Trapped(_) | SkillError::Exhausted(_))));
    }
}

#[test]
fn what_refuses_to_start_has_failed_and_the_graph_goes_on() {
    let root = json!({ "fallback": [{ "run": "refuse" }, { "run": "done" }] });
    let (results, _) = misbehaves(&root, 20);
    let last = results.last().unwrap().as_ref().unwrap();
    assert_eq!((last, results.len()), (&(Request::Stop, Status::Done), 3));
    let (results, _) = misbehaves(&json!({ "retry": 2, "do": { "run": "refuse" } }), 20);
    let (_, status) = results.last().unwrap().as_ref().unwrap();
    assert_eq!(*status, Status::Failed("refuse: no such waypoint".to_owned()));
}

#[test]
fn between_two_steps_of_a_graph_the_robot_is_asked_to_stop() {
    let root = json!({ "sequence": [{ "run": "done" }, { "run": "state" }] });
    let (results, _) = misbehaves(&root, 3);
    let asked: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().0).collect();
    assert_eq!(asked, [Request::Stop, Request::Idle, Request::Idle]);
}

#[test]
fn another_instance_is_not_another_allowance() {
    // Sixty lines in each of its steps, and a new instance for each second one.
    let root = json!({ "retry": 100, "do": { "timeout_ticks": 1, "do": { "run": "line-flood" } } });
    let (results, heard) = misbehaves(&root, 120);
    assert_eq!(results.len(), 120);
    // 128 at once and ten a second, for 2.4 s.
    assert!((128..=152).contains(&heard.lines.len()), "{} lines", heard.lines.len());
}

#[test]
fn a_step_that_keeps_goes_on_where_it_was_and_another_begins_anew() {
    let run = |keep: bool| {
        let root = json!({ "retry": 2, "do": { "timeout_ticks": 3, "do": {
            "run": "state", "keep": keep } } });
        misbehaves(&root, 20).1.lines
    };
    assert_eq!(run(false), Vec::<String>::new());
    assert_eq!(run(true), ["on from 3"]);
}

#[test]
fn a_bundle_holds_the_graph_that_its_manifest_names_and_no_other() {
    let (template, component) = (template("misbehave"), component("misbehave"));
    let graph = r#"{ "v": 1, "actions": { "state": { "run": "done" } } }"#;
    let packed = pack_with(&template, &component, with(graph)).unwrap();
    assert_eq!(packed, pack_with(&template, &component, with(graph)).unwrap());
    let bundle = verify_signed(&packed).unwrap();
    assert!(bundle.graph().unwrap().tree("state").is_some());
    let named = serde_json::to_string(bundle.manifest()).unwrap();
    assert!(matches!(pack(&named, &component), Err(PackError::GraphMissing)));
    let unknown = graph.replace("done", "fly");
    let refused = pack_with(&template, &component, with(&unknown));
    assert!(matches!(refused, Err(PackError::Graph(_))));

    let plain = pack(&template, &component).unwrap();
    let silent = serde_json::to_string(verify_signed(&plain).unwrap().manifest()).unwrap();
    let archive = |files: &[(&str, &[u8])]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *content).unwrap();
        }
        verify_signed(&builder.into_inner().unwrap())
    };
    let m = (MANIFEST_FILE, named.as_bytes());
    let g = (GRAPH_FILE, graph.as_bytes());
    let c = (COMPONENT_FILE, &component[..]);
    assert!(archive(&[m, g, c]).is_ok());
    let other = graph.replace("done", "spin");
    let refused = archive(&[m, (GRAPH_FILE, other.as_bytes()), c]);
    assert!(matches!(refused, Err(BundleError::GraphDigest { .. })), "{refused:?}");
    for files in [
        &[m, c][..],
        &[(MANIFEST_FILE, silent.as_bytes()), g, c],
        &[m, g, g, c],
        &[g, m, c],
        &[m, c, g],
    ] {
        let refused = archive(files);
        assert!(matches!(refused, Err(BundleError::Shape(_))), "{refused:?}");
    }
    // One that nobody could have packed, with the right hash.
    let bad = named.replace(
        &nooterra_protocol::codec::Digest::of(graph.as_bytes()).to_string(),
        &nooterra_protocol::codec::Digest::of(unknown.as_bytes()).to_string(),
    );
    let refused = archive(&[(MANIFEST_FILE, bad.as_bytes()), (GRAPH_FILE, unknown.as_bytes()), c]);
    assert!(matches!(refused, Err(BundleError::Graph(_))), "{refused:?}");
}
