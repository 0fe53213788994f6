//! Ticks that the real control thread misses while guests mean harm, for `cargo xtask bench
//! skills`. The floor is the same thread in the same run without any guest.
//! `--hostile FILE.wasm --hostile-manifest FILE.json` name `misbehave`.
#![allow(clippy::unwrap_used)] // Whatever is unexpected ends the run.

#[path = "../../xtask/bench/measure.rs"]
mod measure;

use measure::{argument, counted, quick};
use nooterra_agent::clock::SystemClock;
use nooterra_agent::config::Config;
use nooterra_agent::control::{ControlLoop, ControlThread, Desk, View};
use nooterra_agent::policy_file;
use nooterra_blackbox::{Clock, Journal, Options};
use nooterra_hal::sim::{SimBase, SimConfig};
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::keys::{Ed25519Key, Es256Key, Signer as _};
use nooterra_protocol::time::WallMillis;
use nooterra_skill_host::{
    Bundle, Host, HostOptions, NoPorts, RunState, Running, TrustedKeys, keygen, pack, sign,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What goes on from step to step, or hangs, or takes all that it can.
const GUESTS: [&str; 8] = [
    "checkpoint-flood",
    "evidence-flood",
    "grow",
    "line-flood",
    "note",
    "recurse",
    "spin",
    "spin-init",
];

fn main() {
    let robot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/amr");
    let config = Config::load(&robot.join("agent.toml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let owner = Ed25519Key::from_seed([9; 32]);
    let document = policy_file::load(&robot.join("policy.json")).unwrap();
    let signed = Signed::sign(document.clone(), &owner).unwrap();
    let policy =
        VerifiedPolicy::verify(signed.bytes(), &owner.verifying_key(), &document.robot).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(WallMillis(0)));
    let signer = Arc::new(Es256Key::from_seed([7; 32]).unwrap());
    let options = Options::new(clock, signer, Digest::ZERO);
    let journal = Journal::open(&dir.path().join("journal"), options).unwrap().journal;
    let world = std::fs::read_to_string(robot.join("world.toml")).unwrap();
    let world: SimConfig = toml::from_str(&world).unwrap();
    let base = SimBase::new(document.robot, world, 1).unwrap();
    let (handle, view) = (journal.handle(), Arc::new(View::default()));
    let desk = Arc::new(Desk::new(handle.clone(), &policy));
    let control =
        ControlLoop::new(Box::new(base), &policy, desk, handle.control_queue(), Arc::clone(&view));
    let thread = ControlThread::spawn(control, &config.control).unwrap();

    let span = Duration::from_secs(if quick() { 2 } else { 20 });
    let quiet = missed(&view, span, || {});
    let bundle = bundle();
    let host = Arc::new(Host::new(HostOptions::default()).unwrap());
    host.prepare(&bundle).unwrap();
    let granted: BTreeSet<_> = bundle.manifest().capabilities.iter().copied().collect();
    let start = |action: &&str| -> Running {
        let ports = Box::new(NoPorts);
        host.start(&bundle, &granted, action, &BTreeMap::new(), ports, &[]).unwrap()
    };
    let mut guests: Vec<Running> = GUESTS.iter().map(start).collect();
    let hostile = missed(&view, span, || {
        host.epoch_tick();
        for (guest, action) in guests.iter_mut().zip(&GUESTS) {
            if let Some(seen) = view.observation() {
                guest.observe(seen.pose.at, &seen);
            }
            if matches!(guest.state(), RunState::Ended(_)) {
                *guest = start(action);
            }
        }
    });
    let what = "the same thread without any guest";
    counted("skills.ticks_missed", "ticks", hostile, (what, quiet));
    drop(guests);
    thread.end();
}

/// Ticks that did not come in `span`, of the 50 in a second; `each` is called every 10 ms.
fn missed(view: &View, span: Duration, mut each: impl FnMut()) -> f64 {
    let (begun, before) = (Instant::now(), view.beats());
    while begun.elapsed() < span {
        each();
        std::thread::sleep(Duration::from_millis(10));
    }
    let due = begun.elapsed().as_secs_f64() / 0.02;
    // One may be on its way at either end.
    (due - (view.beats() - before) as f64 - 1.0).max(0.0).floor()
}

fn bundle() -> Bundle {
    let file = |name: &str| argument(name).unwrap_or_else(|| panic!("{name} FILE is missing"));
    let component = std::fs::read(file("--hostile")).unwrap();
    let manifest = std::fs::read_to_string(file("--hostile-manifest")).unwrap();
    let packed = pack(&manifest, &component).unwrap();
    let keys = keygen(None).unwrap();
    let signature = sign(&packed, &keys.secret, None, "bench").unwrap();
    let trusted = TrustedKeys::from_texts([&keys.public]).unwrap();
    Bundle::verify(&packed, &signature, &trusted).unwrap()
}
