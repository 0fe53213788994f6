//! The control loop beside guests that mean harm: it misses no tick. Counted, not timed: the
//! ticks are the test's own, and each must end in a word to the robot.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::{Site, guests, robot};
use nooterra_agent::control::{ControlLoop, Desk, Goal, Lease, View};
use nooterra_hal::sim::{SimBase, SimConfig};
use nooterra_hal::{HalError, Robot};
use nooterra_policy::Gated;
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::grant::Grants;
use nooterra_protocol::observation::{Capabilities, Observation};
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Bundle, Host, HostOptions, NoPorts, Request, Running, TrustedKeys, keygen, pack, sign,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const TICKS: u64 = 1_000;

/// Every misbehaviour that goes on from step to step, or hangs, or takes all that it can.
const GUESTS: [&str; 12] = [
    "alternate",
    "checkpoint-flood",
    "evidence-flood",
    "grow",
    "line-flood",
    "nan",
    "note",
    "rant",
    "recurse",
    "spin",
    "spin-init",
    "vast",
];

/// The simulated base, and how often it was told something.
struct Counted {
    base: SimBase,
    told: Arc<AtomicU64>,
}

impl Robot for Counted {
    fn capabilities(&self) -> Capabilities {
        self.base.capabilities()
    }
    fn read(&mut self, now: MonoNanos) -> Result<Observation, HalError> {
        self.base.read(now)
    }
    fn write(&mut self, now: MonoNanos, tick: u64, c: Gated<Command>) -> Result<(), HalError> {
        self.told.fetch_add(1, Ordering::SeqCst);
        self.base.write(now, tick, c)
    }
    fn stop(&mut self, now: MonoNanos, profile: StopProfile) -> Result<(), HalError> {
        self.told.fetch_add(1, Ordering::SeqCst);
        self.base.stop(now, profile)
    }
}

fn misbehave() -> Bundle {
    let manifest = guests::template("misbehave");
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    // So that their wishes reach the gate.
    manifest["capabilities"] =
        serde_json::json!(["assist", "checkpoint", "drive", "evidence", "log"]);
    let packed = pack(&manifest.to_string(), &guests::component("misbehave")).unwrap();
    let keys = keygen(None).unwrap();
    let signature = sign(&packed, &keys.secret, None, "a test").unwrap();
    let trusted = TrustedKeys::from_texts([&keys.public]).unwrap();
    Bundle::verify(&packed, &signature, &trusted).unwrap()
}

fn goal(request: &Request) -> Option<Goal> {
    Some(match *request {
        Request::Idle => return None,
        Request::Stop => Goal::Stand,
        Request::Drive(twist) => Goal::Drive(twist),
        Request::GoTo { speed_mps, to, yaw } => Goal::GoTo { speed_mps, to, yaw },
        Request::Gripper { opening_m, speed } => Goal::Gripper { opening_m, speed },
        Request::Joints { positions, speed } => Goal::Joints { positions, speed },
    })
}

#[test]
fn every_tick_ends_in_a_word_to_the_robot_while_guests_do_their_worst() {
    let site = Site::new();
    let world: SimConfig =
        toml::from_str(&std::fs::read_to_string(site.path("world.toml")).unwrap()).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let base = SimBase::new(robot(), world, 1).unwrap();
    let (_journal, handle) = site.journal();
    let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
    let granted = Grants { bits: u64::MAX, expires: MonoNanos(u64::MAX), ..Grants::NONE };
    desk.set_authority(&granted, false);
    let view = Arc::new(View::default());
    let counted = Box::new(Counted { base, told: Arc::clone(&told) });
    let mut control = ControlLoop::new(
        counted,
        &site.policy(),
        Arc::clone(&desk),
        handle.control_queue(),
        Arc::clone(&view),
    );

    let host = Arc::new(Host::new(HostOptions::default()).unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let (ticking, ended) = (Arc::clone(&host), Arc::clone(&over));
    let epochs = std::thread::spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
            ticking.epoch_tick();
        }
    });
    let (bundle, granted) = (misbehave(), every_capability());
    let start = |action: &str| {
        let ports = Box::new(NoPorts);
        host.start(&bundle, &granted, action, &BTreeMap::new(), ports, &[]).unwrap()
    };
    let mut guests: Vec<Running> = GUESTS.iter().map(|action| start(action)).collect();

    let (mut wishes, mut revived) = (0, 0);
    for tick in 1..=TICKS {
        let now = MonoNanos(1_000_000_000 + tick * 20_000_000);
        if let Some(seen) = view.observation() {
            for guest in &guests {
                guest.observe(now, &seen);
            }
        }
        // One after the other has the wheel, whatever it wants.
        let nth = usize::try_from(tick).unwrap() % guests.len();
        let wish = guests[nth].latest().and_then(|stepped| goal(&stepped.request));
        wishes += u64::from(wish.is_some());
        desk.set_skill(wish.map(|goal| Lease {
            goal,
            holds: false,
            renewed: now,
            until: now.plus(Duration::from_secs(2)),
        }));
        control.tick(now);
        assert_eq!(told.load(Ordering::SeqCst), tick, "a tick without a word to the robot");
        // What has ended comes back: there is no end of harm.
        if matches!(guests[nth].state(), nooterra_skill_host::RunState::Ended(_)) {
            guests[nth] = start(GUESTS[nth]);
            revived += 1;
        }
        std::thread::yield_now();
    }
    assert_eq!(view.beats(), TICKS);
    let twist = view.observation().unwrap().twist.value;
    assert!(twist.is_finite(), "{twist:?}");
    println!("{wishes} wishes of hostile guests, {revived} of them started anew");
    drop(guests);
    over.store(true, Ordering::SeqCst);
    epochs.join().unwrap();
}

fn every_capability() -> std::collections::BTreeSet<Capability> {
    use Capability::{Assist, Checkpoint, Drive, Evidence, Log, Scan};
    [Assist, Checkpoint, Drive, Evidence, Log, Scan].into()
}
