//! Skills for arms: what they see and ask for, what becomes of one that does what it should not,
//! and that a run is repeated from its record.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;
#[path = "common/forge.rs"]
#[allow(dead_code)]
mod forge;

use common::{Toy, bundle, bundle_with, component, everything, template, verify_signed};
use forge::Forged;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::PerJoint;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::input::{InputDraft, SkillInput};
use nooterra_protocol::observation::{JointStates, Observation, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Bundle, Host, HostOptions, NoPorts, Ports, Request, Session, SkillError, StartError, Status,
    pack,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A step of the arm, nanoseconds and seconds.
const PERIOD_NS: u64 = 50_000_000;
const PERIOD_S: f64 = 0.05;

/// Where the thing is, and where it belongs.
const FROM: Point = Point { x: 0.8, y: 0.55 };
const TO: Point = Point { x: 1.15, y: 0.3 };

/// A thing of 4 cm.
const THING_M: f64 = 0.04;

fn host() -> Host {
    Host::new(HostOptions::default()).unwrap()
}

/// Shoulder, elbow, lift, gripper, each as fast as it likes up to 1 a second; whatever the jaws
/// close around they hold.
#[derive(Clone, Copy)]
struct Bench {
    effort: f64,
    now: MonoNanos,
    position: [f64; 4],
    velocity: [f64; 4],
}

impl Bench {
    const fn new() -> Self {
        Self {
            effort: 0.0,
            now: MonoNanos(0),
            position: [0.6, -1.2, 0.25, 0.08],
            velocity: [0.0; 4],
        }
    }

    fn sees(&self) -> Observation {
        let of_each = |values: [f64; 4]| PerJoint::new(&values).unwrap();
        let states = JointStates {
            effort: of_each([0.1, 0.2, 0.3, self.effort]),
            position: of_each(self.position),
            velocity: of_each(self.velocity),
        };
        Observation {
            battery: None,
            docked: false,
            emergency_stop: false,
            gripper: true,
            joints: Some(Timed { at: self.now, value: states }),
            pose: Timed {
                at: self.now,
                value: Pose { x: 0.8, y: 0.0, yaw: std::f64::consts::FRAC_PI_2 },
            },
            scan: None,
            twist: Timed { at: self.now, value: Twist::ZERO },
        }
    }

    fn apply(&mut self, request: &Request) {
        let mut to = self.position;
        match request {
            Request::Joints { positions, .. } => to[..3].copy_from_slice(positions.as_slice()),
            Request::Gripper { opening_m, .. } => to[3] = opening_m.max(THING_M),
            _ => {}
        }
        let before = self.position;
        for (at, to) in self.position.iter_mut().zip(to) {
            *at += (to - *at).clamp(-PERIOD_S, PERIOD_S);
        }
        for (nth, velocity) in self.velocity.iter_mut().enumerate() {
            *velocity = (self.position[nth] - before[nth]) / PERIOD_S;
        }
        self.effort = if self.position[3] <= THING_M { 20.0 } else { 0.0 };
        self.now.0 += PERIOD_NS;
    }
}

/// Ports that record what the skill sees, and its checkpoints.
#[derive(Clone, Default)]
struct Recording {
    checkpoints: Arc<Mutex<Vec<String>>>,
    draft: Arc<Mutex<InputDraft>>,
}

impl Ports for Recording {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, name: &str) {
        self.checkpoints.lock().unwrap().push(name.to_owned());
    }
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn input(&mut self, at: MonoNanos, seen: &Observation) -> Result<(), String> {
        self.draft.lock().unwrap().push(at, seen);
        Ok(())
    }
    fn log(&mut self, _text: &str) {}
}

fn picking(host: &Host, ports: Box<dyn Ports + Send>) -> Session {
    let params = [("from", FROM), ("to", TO)];
    let params = params.map(|(name, point)| (name.to_owned(), Param::Points(vec![point])));
    let params = BTreeMap::from(params);
    let bundle = bundle("pick-and-place");
    host.open(&bundle, &everything(), "pick_and_place", &params, ports, &[]).unwrap().unwrap()
}

#[test]
fn an_arms_run_is_repeated_from_its_record_bit_for_bit() {
    let (host, ports, mut bench) = (host(), Recording::default(), Bench::new());
    let mut session = picking(&host, Box::new(ports.clone()));
    let (mut asked, mut saw) = (Vec::new(), Vec::new());
    loop {
        let seen = bench.sees();
        let (request, status) = session.step(bench.now, &seen).unwrap();
        saw.push((bench.now, seen));
        bench.apply(&request);
        let over = !matches!(status, Status::Running { .. });
        asked.push((request, status));
        if over {
            break;
        }
    }
    assert_eq!(asked.last().unwrap().1, Status::Done);
    assert_eq!(*ports.checkpoints.lock().unwrap(), ["placed-1"]);
    let asks = |is: fn(&Request) -> bool| asked.iter().any(|(request, _)| is(request));
    assert!(asks(|request| matches!(request, Request::Joints { .. })));
    assert!(asks(|request| matches!(request, Request::Gripper { .. })));
    let (count, rows) = ports.draft.lock().unwrap().take();
    let recorded = SkillInput {
        action: "pick_and_place".to_owned(),
        bundle: Digest::ZERO,
        count,
        first: 1,
        job: JobId::new("job_1").unwrap(),
        rows,
        skill: SkillId::new("pick-and-place").unwrap(),
        step: StepId::new("pick").unwrap(),
        withheld: false,
    };
    let inputs = recorded.inputs().unwrap();
    assert_eq!(inputs, saw, "what entered it, in order");
    let mut again = picking(&host, Box::new(NoPorts));
    let repeated: Vec<_> = inputs.iter().map(|(at, seen)| again.step(*at, seen).unwrap()).collect();
    assert_eq!(repeated, asked);
}

#[test]
fn a_skill_for_an_arm_ends_where_no_joints_are_seen_and_says_what_is_true() {
    // What is no arm, and an arm whose encoders give nothing.
    let silent = Observation { joints: None, ..Bench::new().sees() };
    for (nth, seen) in [Toy::docked_at(0.0, 0.0, 0.0).seen(), silent].iter().enumerate() {
        let (host, at) = (host(), MonoNanos(1));
        let ports = Recording::default();
        let mut session = picking(&host, Box::new(ports.clone()));
        let refused = session.step(at, seen).unwrap_err();
        assert!(matches!(refused, SkillError::NoJoints), "{nth}: {refused}");
        let said = refused.to_string();
        assert!(said.contains("gives no position of joints at this moment"), "{nth}: {said}");
        assert!(!said.contains("has no joints"), "{nth}: {said}");
        assert_eq!(ports.draft.lock().unwrap().count(), 0, "it saw nothing");
        assert!(matches!(session.step(at, seen), Err(SkillError::Stopped)));
    }
}

/// A component of the world `arm-skill`, with a manifest that says so.
fn forged(forged: &Forged) -> Bundle {
    let mut manifest: serde_json::Value =
        serde_json::from_str(&template("pick-and-place")).unwrap();
    manifest["id"] = "forged".into();
    let component = forged.component().unwrap_or_else(|error| panic!("{error}"));
    verify_signed(&pack(&manifest.to_string(), &component).unwrap()).unwrap()
}

/// What a guest with this `step` asks for.
fn asks(step: &'static str) -> Result<(Request, Status), SkillError> {
    let (host, bench) = (host(), Bench::new());
    let bundle = forged(&Forged { step, ..Forged::arm() });
    let opened = host.open(
        &bundle,
        &everything(),
        "pick_and_place",
        &BTreeMap::new(),
        Box::new(NoPorts),
        &[],
    );
    opened.unwrap().unwrap().step(bench.now, &bench.sees())
}

/// At 1024 a `request` and a `status`: the request's case, and from 1032 on its contents.
const JOINTS: &str = "(i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store (i32.const 1032) (i32.const 2048)) (f64.store (i32.const 1040) (f64.const 0.5))";

#[test]
fn what_is_no_number_is_passed_on_for_the_gate_to_refuse() {
    let step = format!(
        "{JOINTS} (i32.store (i32.const 1036) (i32.const 3))
             (f64.store (i32.const 2048) (f64.const nan))
             (f64.store (i32.const 2056) (f64.const inf))
             (f64.store (i32.const 2064) (f64.const 0.25)) i32.const 1024"
    );
    let (request, _) = asks(step.leak()).unwrap();
    let Request::Joints { positions, speed } = request else { panic!("{request:?}") };
    let [shoulder, elbow, lift] = positions.as_slice() else { panic!("{positions:?}") };
    assert!(shoulder.is_nan() && elbow.is_infinite());
    assert_eq!((*lift, speed), (0.25, 0.5));
    let step = "(i32.store8 (i32.const 1024) (i32.const 2))
        (f64.store (i32.const 1032) (f64.const nan)) i32.const 1024";
    let (request, _) = asks(step).unwrap();
    let Request::Gripper { opening_m, speed } = request else { panic!("{request:?}") };
    assert!(opening_m.is_nan() && speed == 0.0);
}

/// What a guest with so much memory that names so many positions asks for.
fn asks_for(pages: &'static str, count: i32) -> Result<(Request, Status), SkillError> {
    let step = format!("{JOINTS} (i32.store (i32.const 1036) (i32.const {count})) i32.const 1024");
    let forged = Forged { memory: pages, step: step.leak(), ..Forged::arm() };
    let (host, bench, none) = (host(), Bench::new(), BTreeMap::new());
    let bundle = self::forged(&forged);
    let ports = Box::new(NoPorts);
    let opened = host.open(&bundle, &everything(), "pick_and_place", &none, ports, &[]);
    opened.unwrap().unwrap().step(bench.now, &bench.sees())
}

/// 65536 bytes each.
const ONE_PAGE: &str = "1";
const MANY_PAGES: &str = "64";

#[test]
fn more_positions_than_any_arm_has_are_none() {
    for (count, kept) in [(8, 8), (9, 0), (1000, 0)] {
        let (request, _) = asks_for(ONE_PAGE, count).unwrap();
        let Request::Joints { positions, .. } = request else { panic!("{request:?}") };
        assert_eq!(positions.as_slice().len(), kept, "of {count}");
    }
}

#[test]
fn a_list_that_goes_beyond_the_guests_memory_ends_the_skill() {
    // From 2048 on; 8192 positions have 64 KiB, which may be handed over.
    let (fits, most) = ((65_536 - 2_048) / 8, 65_536 / 8);
    assert!(asks_for(ONE_PAGE, fits).is_ok());
    assert!(asks_for(MANY_PAGES, most).is_ok(), "it is its memory that ends the next one");
    for count in [fits + 1, most, -1] {
        let ended = asks_for(ONE_PAGE, count).unwrap_err();
        assert!(matches!(ended, SkillError::Trapped(_)), "{count}: {ended}");
    }
}

#[test]
fn a_list_of_more_than_may_be_handed_over_ends_the_skill_that_has_the_memory_for_it() {
    // 4 MiB of memory, and at most 128 KiB are handed over. 100000 positions have 800 kB.
    assert!(asks_for(MANY_PAGES, 8_192).is_ok());
    for count in [16_385, 100_000] {
        let ended = asks_for(MANY_PAGES, count).unwrap_err();
        assert!(matches!(ended, SkillError::Trapped(_) | SkillError::Exhausted(_)), "{ended}");
        println!("{count}: {ended}");
    }
}

#[test]
fn an_arm_sees_its_joints_without_its_gripper_and_that_apart() {
    // Whether there is a gripper, its effort, position and velocity; the joints' address and how
    // many they are. A joint has 24 bytes.
    let step = "
        (if (i32.ne (local.get 1) (i32.const 1)) (then unreachable))
        (if (f64.ne (local.get 3) (f64.const 0.08)) (then unreachable))
        (if (i32.ne (local.get 6) (i32.const 3)) (then unreachable))
        (if (f64.ne (f64.load offset=24 (local.get 5)) (f64.const 0.2)) (then unreachable))
        (if (f64.ne (f64.load offset=32 (local.get 5)) (f64.const -1.2)) (then unreachable))
        (if (f64.ne (f64.load offset=56 (local.get 5)) (f64.const 0.25)) (then unreachable))
        i32.const 1024";
    let (request, status) = asks(step).unwrap();
    assert_eq!(request, Request::Idle);
    assert_eq!(status, Status::Running { note: String::new(), progress: 0.0 });
}

#[test]
fn a_component_of_the_one_world_with_a_manifest_of_the_other_is_refused_with_what_to_do() {
    let host = host();
    let base_as_arm = bundle_with("patrol", |manifest| {
        manifest["capabilities"] = serde_json::json!(["checkpoint", "evidence", "joints", "log"]);
    });
    let refused = host.prepare(&base_as_arm).unwrap_err();
    assert!(matches!(refused, StartError::World { is_arm: true, .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("leave `joints` out") && said.contains("`export_arm!`"), "{said}");
    let arm_as_base = bundle_with("pick-and-place", |manifest| {
        manifest["capabilities"] = serde_json::json!(["checkpoint", "drive", "log"]);
    });
    let refused = host.prepare(&arm_as_base).unwrap_err();
    assert!(matches!(refused, StartError::World { is_arm: false, .. }), "{refused}");
    assert!(refused.to_string().contains("add that"), "{refused}");
    // An arm's manifest cannot ask for a base's motion too.
    let mut manifest: serde_json::Value =
        serde_json::from_str(&template("pick-and-place")).unwrap();
    manifest["capabilities"] = serde_json::json!(["drive", "joints"]);
    let refused = pack(&manifest.to_string(), &component("pick-and-place")).unwrap_err();
    assert!(refused.to_string().contains("for an arm or for a base"), "{refused}");
}

#[test]
fn a_robot_that_does_not_grant_joints_does_not_start_the_skill() {
    let host = host();
    let mut granted = everything();
    granted.remove(&Capability::Joints);
    let bundle = bundle("pick-and-place");
    let ports = Box::new(NoPorts);
    let refused = host.open(&bundle, &granted, "pick_and_place", &BTreeMap::new(), ports, &[]);
    let Err(StartError::Capability { capability, .. }) = refused else { panic!("it was started") };
    assert_eq!(capability, Capability::Joints);
}
