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
use measure::{
    Point as Mark, Samples, Unit, argument, counted, curve, figure, in_turns, quick, samples,
};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::input::InputDraft;
use nooterra_protocol::observation::{Observation, Scan, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Bundle, CompiledCode, Host, HostOptions, NoPorts, Ports, Running, Session, Status, TrustedKeys,
    keygen, pack, sign,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
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
    let (ours, bare) = (Ours::new(bundle), Bare::new(&component, false));

    for (name, beams) in [("skills.step", 0), ("skills.step_with_scan", 360)] {
        let (step, call) = steps(ours.open(), &bare, beams, samples(4000));
        figure(name, Unit::Micros, &step, (FLOOR, &call));
    }
    let recorded = ours.open_with(Box::<Recording>::default());
    let (step, call) = steps(recorded, &bare, 0, samples(4000));
    figure("skills.step_recorded", Unit::Micros, &step, (FLOOR, &call));
    let recorded = ours.open_with(Box::<Recording>::default());
    let (step, call) = noisy_steps(recorded, &bare, samples(4000));
    figure("skills.step_recorded_with_scan", Unit::Micros, &step, (FLOOR, &call));
    fuel(&component, &bare);
    suspend(&ours, &bare);
    let (opening, bare_opening) = in_turns(
        samples(3000),
        1,
        || drop(black_box(ours.open())),
        || drop(black_box(bare.open())),
    );
    let what = "bare wasmtime: store, instantiate, init";
    figure("skills.start", Unit::Micros, &opening, (what, &bare_opening));
    let (cached, linked) = in_turns(
        samples(3000),
        1,
        || ours.host.prepare(&ours.bundle).unwrap(),
        || drop(black_box(bare.link())),
    );
    let what = "bare wasmtime: linking the compiled component";
    figure("skills.load_cached", Unit::Micros, &cached, (what, &linked));
    let (preparing, compiling) = in_turns(
        samples(20),
        1,
        // A new host has compiled nothing yet.
        || Host::new(HostOptions::default()).unwrap().prepare(&ours.bundle).unwrap(),
        || drop(black_box(Bare::new(&component, false))),
    );
    let again = |version: &str| {
        let manifest = manifest.replace(&ours.bundle.manifest().version, version);
        let packed = pack(&manifest, &component).unwrap();
        let signature = sign(&packed, &keys.secret, None, "bench").unwrap();
        Bundle::verify(&packed, &signature, &trusted).unwrap()
    };
    load([again("9.9.8"), again("9.9.9")], &bare);
    let what = "bare wasmtime: engine, compile, link";
    figure("skills.compile", Unit::Millis, &preparing, (what, &compiling));
    let what = "SHA-256 of the same bytes";
    figure("skills.verify", Unit::Micros, &verifying, (what, &hashing));
    memory(&ours);

    let points: Vec<Mark> = [45, 90, 180, 360, 720, 1440, 2880]
        .map(|beams| {
            let (ours, floor) = steps(ours.open(), &bare, beams, samples(1000));
            Mark { x: f64::from(beams), ours, floor }
        })
        .into();
    curve("skills.step_by_beams", "beams of the range sensor", Unit::Micros, FLOOR, &points);
    // Last: it keeps this process on one core.
    twenty(&ours);
}

/// Compiled code from the disk, read, authenticated, loaded and linked. Two bundles of the same
/// component take turns in a host that keeps one in memory.
fn load(bundles: [Bundle; 2], bare: &Bare) {
    let dir = tempfile::tempdir().unwrap();
    let code = CompiledCode::new(dir.path().to_owned(), [1; 32], u64::MAX);
    let host = Host::new(HostOptions { compiled: 1, ..HostOptions::default() }).unwrap();
    let host = host.with_disk(code);
    host.prepare(&bundles[0]).unwrap();
    let serialised = bare.component.serialize().unwrap();
    let mut turn = 0;
    let (loading, deserialising) = in_turns(
        samples(1000),
        1,
        || {
            turn += 1;
            host.prepare(&bundles[turn % 2]).unwrap();
        },
        || drop(black_box(bare.load(&serialised))),
    );
    assert!(host.take_recompiled().is_empty(), "it was compiled and not loaded");
    let what = "bare wasmtime: deserialising the same code from memory, link";
    figure("skills.load_compiled", Unit::Micros, &loading, (what, &deserialising));
}

fn steps(mut session: Session, bare: &Bare, beams: u16, rounds: usize) -> (Samples, Samples) {
    let (mut store, skill) = bare.open();
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

/// The same with 360 beams of which each is another at each step, as a sensor's noise makes them:
/// what is recorded is not the same again.
fn noisy_steps(mut session: Session, bare: &Bare, rounds: usize) -> (Samples, Samples) {
    const SCANS: usize = 16;
    let (mut store, skill) = bare.open();
    let mut noise = 1_u32;
    let mut seen: Vec<Observation> = (0..SCANS).map(|_| observation(360)).collect();
    for range in seen.iter_mut().flat_map(|seen| &mut seen.scan.as_mut().unwrap().value.ranges) {
        // Numerical Recipes' generator; millimetres of noise at some metres.
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *range += f32::from(u16::try_from(noise >> 16).unwrap()) * 1e-7;
    }
    let mut same: Vec<_> = seen.iter().map(handed_over).collect();
    let (mut ours, mut theirs) = (0_u32, 0_u32);
    let x = |turn: u32| f64::from(turn) * STRIDE_M;
    let at = |turn: u32| u64::from(turn) * PERIOD_NS;
    in_turns(
        rounds,
        EACH,
        || {
            ours += 1;
            let seen = &mut seen[ours as usize % SCANS];
            seen.pose.value.x = x(ours);
            drop(black_box(session.step(MonoNanos(at(ours)), black_box(seen)).unwrap()));
        },
        || {
            theirs += 1;
            let same = &mut same[theirs as usize % SCANS];
            (same.at_nanos, same.pose.x) = (at(theirs), x(theirs));
            drop(black_box(skill.call_step(&mut store, black_box(same)).unwrap()));
        },
    )
}

/// What it costs that fuel is counted: the bare call with it, beside the bare call without.
fn fuel(component: &[u8], bare: &Bare) {
    let fuelled = Bare::new(component, true);
    let ((mut store, skill), (mut other_store, other)) = (fuelled.open(), bare.open());
    let (mut seen, mut same) = (handed_over(&observation(0)), handed_over(&observation(0)));
    let (counting, plain) = in_turns(
        samples(4000),
        EACH,
        || {
            seen.at_nanos += PERIOD_NS;
            seen.pose.x += STRIDE_M;
            store.set_fuel(u64::MAX).unwrap();
            black_box(skill.call_step(&mut store, black_box(&seen)).unwrap());
        },
        || {
            same.at_nanos += PERIOD_NS;
            same.pose.x += STRIDE_M;
            black_box(other.call_step(&mut other_store, black_box(&same)).unwrap());
        },
    );
    let what = "the same bare call where fuel is not counted";
    figure("skills.step_fuel", Unit::Micros, &counting, (what, &plain));
}

/// What asking for the state after each step costs.
fn suspend(ours: &Ours, bare: &Bare) {
    let (mut session, (mut store, skill)) = (ours.open(), bare.open());
    let (asking, call) = in_turns(
        samples(4000),
        EACH,
        || drop(black_box(session.suspend().unwrap())),
        || drop(black_box(skill.call_suspend(&mut store).unwrap())),
    );
    figure("skills.suspend", Unit::Micros, &asking, (FLOOR, &call));
}

/// What a skill occupies while it waits for its next step, beside its own linear memory.
fn memory(ours: &Ours) {
    const MANY: u32 = 32;
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
        pages.unwrap() * 4096.0
    };
    let before = resident();
    let mut held: Vec<Session> = (0..MANY).map(|_| ours.open()).collect();
    let seen = observation(360);
    for session in &mut held {
        session.step(MonoNanos(PERIOD_NS), &seen).unwrap();
    }
    let each = (resident() - before) / f64::from(MANY) / MIB;
    let guest = held[0].usage().memory_bytes as f64 / MIB;
    counted("skills.memory", "MiB", each, ("its linear memory, as it is reserved", guest));
}

const MIB: f64 = 1024.0 * 1024.0;

/// Twenty skills at 50 Hz on one core: steps that did not come of those that were due. Beside
/// them, on the same core and woken in the same rounds, as many threads that only count: what
/// these miss, the machine did not give to anybody.
fn twenty(ours: &Ours) {
    const SKILLS: usize = 20;
    one_core();
    let period = std::time::Duration::from_millis(20);
    let rounds: u64 = if quick() { 50 } else { 500 };
    let route = Param::Points(vec![Point::new(FAR_M, 0.0)]);
    let params = BTreeMap::from([("waypoints".to_owned(), route)]);
    let granted: BTreeSet<_> = ours.bundle.manifest().capabilities.iter().copied().collect();
    let start = || -> Running {
        let ports = Box::new(NoPorts);
        ours.host.start(&ours.bundle, &granted, "patrol", &params, ports, &[]).unwrap()
    };
    let skills: Vec<Running> = (0..SKILLS).map(|_| start()).collect();
    let counting: Vec<_> = (0..SKILLS).map(|_| Counting::start()).collect();
    let mut seen = observation(360);
    let begun = std::time::Instant::now();
    for round in 1..=rounds {
        seen.pose.value.x += STRIDE_M;
        for (skill, counting) in skills.iter().zip(&counting) {
            counting.wake();
            skill.observe(MonoNanos(round * PERIOD_NS), &seen);
        }
        ours.host.epoch_tick();
        let due = period * u32::try_from(round).unwrap();
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let done: u64 = skills.iter().filter_map(Running::latest).map(|latest| latest.step).sum();
    let counted_up: u64 = counting.into_iter().map(Counting::end).sum();
    let due = rounds * SKILLS as u64;
    counted(
        "skills.twenty_missed",
        "steps",
        due.saturating_sub(done) as f64,
        ("threads that only count, in the same rounds", due.saturating_sub(counted_up) as f64),
    );
}

/// This thread, and those that it starts from now on.
fn one_core() {
    let (mut core, this) = (nix::sched::CpuSet::new(), nix::unistd::Pid::from_raw(0));
    let allowed = nix::sched::sched_getaffinity(this).unwrap();
    let first = (0..nix::sched::CpuSet::count()).find(|core| allowed.is_set(*core).unwrap());
    core.set(first.unwrap()).unwrap();
    nix::sched::sched_setaffinity(this, &core).unwrap();
}

/// A thread that is woken as a skill's is, by one slot in which a newer number replaces an older
/// one, and counts what it finds there.
struct Counting {
    slot: Arc<Slot>,
    thread: JoinHandle<u64>,
}

#[derive(Default)]
struct Slot {
    over: AtomicBool,
    woken: AtomicBool,
}

impl Counting {
    fn start() -> Self {
        let slot = Arc::<Slot>::default();
        let ours = Arc::clone(&slot);
        let thread = std::thread::spawn(move || {
            let mut found = 0;
            loop {
                if ours.woken.swap(false, Ordering::SeqCst) {
                    found += 1;
                } else if ours.over.load(Ordering::SeqCst) {
                    return found;
                } else {
                    std::thread::park();
                }
            }
        });
        Self { slot, thread }
    }

    fn wake(&self) {
        self.slot.woken.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }

    fn end(self) -> u64 {
        self.slot.over.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}

/// The agent closes a record at this size, or after half a second.
const RECORD_BYTES: usize = 16 * 1024;

/// Ports that record what the skill sees, as the agent does before its journal.
#[derive(Default)]
struct Recording(InputDraft);

impl Ports for Recording {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, _name: &str) {}
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        self.0.push(at, seen);
        if self.0.count() >= 50 || self.0.bytes() >= RECORD_BYTES {
            drop(black_box(self.0.take()));
        }
        Ok(())
    }
    fn log(&mut self, _text: &str) {}
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
        self.open_with(Box::new(NoPorts))
    }

    fn open_with(&self, ports: Box<dyn Ports + Send>) -> Session {
        let granted: BTreeSet<_> = self.bundle.manifest().capabilities.iter().copied().collect();
        let route = Param::Points(vec![Point::new(FAR_M, 0.0)]);
        let params = BTreeMap::from([("waypoints".to_owned(), route)]);
        let opened = self.host.open(&self.bundle, &granted, "patrol", &params, ports, &[]);
        opened.unwrap().unwrap()
    }
}

/// The floor.
struct Bare {
    component: Component,
    engine: Engine,
    fuel: bool,
    pre: SkillPre<()>,
}

impl Bare {
    fn new(component: &[u8], fuel: bool) -> Self {
        let engine = Engine::new(&engine::config(fuel)).unwrap();
        let component = Component::from_binary(&engine, component).unwrap();
        let pre = link(&engine, &component);
        Self { component, engine, fuel, pre }
    }

    fn link(&self) -> SkillPre<()> {
        link(&self.engine, &self.component)
    }

    #[allow(unsafe_code)]
    fn load(&self, serialised: &[u8]) -> SkillPre<()> {
        // SAFETY: serialised in this process, by this engine.
        let component = unsafe { Component::deserialize(&self.engine, serialised) }.unwrap();
        link(&self.engine, &component)
    }

    fn open(&self) -> (Store<()>, Skill) {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(u64::from(u32::MAX));
        if self.fuel {
            store.set_fuel(u64::MAX).unwrap();
        }
        let skill = self.pre.instantiate(&mut store).unwrap();
        let route = wit::Param::Points(vec![wit::Point { x: FAR_M, y: 0.0 }]);
        let params = [("waypoints".to_owned(), route)];
        skill.call_init(&mut store, "patrol", &params).unwrap().unwrap();
        (store, skill)
    }
}

fn link(engine: &Engine, component: &Component) -> SkillPre<()> {
    let mut linker = Linker::new(engine);
    // None of them is called while the route goes on.
    linker.define_unknown_imports_as_traps(component).unwrap();
    linker.instantiate_pre(component).and_then(SkillPre::new).unwrap()
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
        gripper: false,
        joints: None,
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
