//! How fast the sandbox is, for `cargo xtask bench skills`.
//!
//! The floor is the same component in an engine with the same settings, called through
//! wasmtime alone: no budget, no limits, no ports, nothing checked or converted.
//! `--component FILE.wasm --manifest FILE.json` name an example skill.
#![allow(clippy::unwrap_used)] // Whatever is unexpected ends the run.

#[path = "../src/engine.rs"]
mod engine;
#[path = "../../xtask/bench/measure.rs"]
mod measure;

#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({ path: "wit", world: "skill" });
}

use bindings::nooterra::skill::types as wit;
use bindings::{Skill, SkillPre};
use measure::{Point as Mark, Samples, Unit, argument, curve, figure, in_turns, samples};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::observation::{Observation, Scan, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Bundle, Host, HostOptions, NoPorts, Session, Status, TrustedKeys, keygen, pack, sign,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

/// Steps in one sample: one takes microseconds.
const EACH: usize = 16;

const FLOOR: &str = "bare wasmtime call of the same component, same engine settings";

fn main() {
    let file = |name: &str| argument(name).unwrap_or_else(|| panic!("{name} FILE is missing"));
    let component = std::fs::read(file("--component")).unwrap();
    let manifest = std::fs::read_to_string(file("--manifest")).unwrap();
    let keys = keygen(None).unwrap();
    let packed = pack(&manifest, &component).unwrap();
    let signature = sign(&packed, &keys.secret, None, "bench").unwrap();
    let trusted = TrustedKeys::from_texts([&keys.public]).unwrap();
    let (verifying, hashing) = in_turns(
        samples(500),
        1,
        || drop(black_box(Bundle::verify(&packed, &signature, &trusted).unwrap())),
        || {
            let _ = black_box(Digest::of(&packed));
        },
    );
    let bundle = Bundle::verify(&packed, &signature, &trusted).unwrap();
    let (ours, bare) = (Ours::new(bundle), Bare::new(&component));

    for (name, beams) in [("skills.step", 0), ("skills.step_with_scan", 360)] {
        let (step, call) = steps(&ours, &bare, beams, samples(4000));
        figure(name, Unit::Micros, &step, (FLOOR, &call));
    }
    let (opening, bare_opening) = in_turns(
        samples(3000),
        1,
        || drop(black_box(ours.open())),
        || drop(black_box(bare.open())),
    );
    let what = "bare wasmtime: store, instantiate, init";
    figure("skills.start", Unit::Micros, &opening, (what, &bare_opening));
    let (preparing, compiling) = in_turns(
        samples(20),
        1,
        // A new host has compiled nothing yet.
        || Host::new(HostOptions::default()).unwrap().prepare(&ours.bundle).unwrap(),
        || drop(black_box(Bare::new(&component))),
    );
    let what = "bare wasmtime: engine, compile, link";
    figure("skills.compile", Unit::Millis, &preparing, (what, &compiling));
    let what = "SHA-256 of the same bytes";
    figure("skills.verify", Unit::Micros, &verifying, (what, &hashing));

    let points: Vec<Mark> = [45, 90, 180, 360, 720, 1440, 2880]
        .map(|beams| {
            let (ours, floor) = steps(&ours, &bare, beams, samples(1000));
            Mark { x: f64::from(beams), ours, floor }
        })
        .into();
    curve("skills.step_by_beams", "beams of the range sensor", Unit::Micros, FLOOR, &points);
}

fn steps(ours: &Ours, bare: &Bare, beams: u16, rounds: usize) -> (Samples, Samples) {
    let (mut session, (mut store, skill)) = (ours.open(), bare.open());
    let mut seen = observation(beams);
    let mut same = handed_over(&seen);
    let mut at = 0;
    in_turns(
        rounds,
        EACH,
        || {
            at += PERIOD_NS;
            seen.pose.value.x += STRIDE_M;
            let (_, status) = black_box(session.step(MonoNanos(at), black_box(&seen)).unwrap());
            assert!(matches!(status, Status::Running { .. }), "the skill stopped: {status:?}");
        },
        || {
            same.at_nanos += PERIOD_NS;
            same.pose.x += STRIDE_M;
            let (_, status) = black_box(skill.call_step(&mut store, black_box(&same)).unwrap());
            assert!(matches!(status, wit::Status::Running(_)), "the floor stopped: {status:?}");
        },
    )
}

/// A route whose end is never reached, so that every step does the same.
const FAR_M: f64 = 1e6;

/// Between two steps, as the manifest has it.
const PERIOD_NS: u64 = 100_000_000;

/// And so much nearer: the skill gives up a way on which it comes no further.
const STRIDE_M: f64 = 0.1;

struct Ours {
    bundle: Bundle,
    host: Host,
}

impl Ours {
    fn new(bundle: Bundle) -> Self {
        let host = Host::new(HostOptions::default()).unwrap();
        host.prepare(&bundle).unwrap();
        Self { bundle, host }
    }

    fn open(&self) -> Session {
        let granted: BTreeSet<_> = self.bundle.manifest().capabilities.iter().copied().collect();
        let route = Param::Points(vec![Point::new(FAR_M, 0.0)]);
        let params = BTreeMap::from([("waypoints".to_owned(), route)]);
        let opened =
            self.host.open(&self.bundle, &granted, "patrol", &params, Box::new(NoPorts), &[]);
        opened.unwrap().unwrap()
    }
}

/// The floor.
struct Bare {
    engine: Engine,
    pre: SkillPre<()>,
}

impl Bare {
    fn new(component: &[u8]) -> Self {
        let engine = Engine::new(&engine::config(false)).unwrap();
        let component = Component::from_binary(&engine, component).unwrap();
        let mut linker = Linker::new(&engine);
        // None of them is called while the route goes on.
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).and_then(SkillPre::new).unwrap();
        Self { engine, pre }
    }

    fn open(&self) -> (Store<()>, Skill) {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(u64::from(u32::MAX));
        let skill = self.pre.instantiate(&mut store).unwrap();
        let route = wit::Param::Points(vec![wit::Point { x: FAR_M, y: 0.0 }]);
        let params = [("waypoints".to_owned(), route)];
        skill.call_init(&mut store, "patrol", &params).unwrap().unwrap();
        (store, skill)
    }
}

fn observation(beams: u16) -> Observation {
    let at = MonoNanos(0);
    let scan = Scan {
        angle_min: 0.0,
        angle_step: 0.017,
        range_max: 30.0,
        ranges: vec![4.2; usize::from(beams)],
    };
    Observation {
        battery: None,
        docked: false,
        emergency_stop: false,
        pose: Timed { at, value: Pose::default() },
        scan: (beams > 0).then_some(Timed { at, value: scan }),
        twist: Timed { at, value: Twist::ZERO },
    }
}

/// The same as the component takes it.
fn handed_over(seen: &Observation) -> wit::Observation {
    let (pose, twist) = (seen.pose.value, seen.twist.value);
    wit::Observation {
        at_nanos: 0,
        battery: None,
        docked: seen.docked,
        pose: wit::Pose { x: pose.x, y: pose.y, yaw: pose.yaw },
        scan: seen.scan.as_ref().map(|scan| wit::Scan {
            angle_min: scan.value.angle_min,
            angle_step: scan.value.angle_step,
            range_max: scan.value.range_max,
            ranges: scan.value.ranges.clone(),
        }),
        twist: wit::Twist { angular: twist.angular, linear: twist.linear },
    }
}
