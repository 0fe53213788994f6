//! The figures of the sandbox on this machine: size, compile time, step time, memory.
//!
//! ```text
//! (cd examples/skills && cargo build --release --target wasm32-unknown-unknown)
//! cargo run --release -p nooterra-skill-host --example figures -- \
//!     examples/skills/target/wasm32-unknown-unknown/release/patrol.wasm \
//!     examples/skills/patrol/manifest.json
//! ```

use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::observation::{Observation, Scan, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Bundle, Host, HostOptions, NoPorts, RunState, TrustedKeys, keygen, pack, sign,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

const STEPS: u32 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(component), Some(manifest)) = (args.next(), args.next()) else {
        return Err("usage: figures COMPONENT.wasm MANIFEST.json".into());
    };
    let (component, manifest) = (std::fs::read(component)?, std::fs::read_to_string(manifest)?);
    let keys = keygen(None)?;
    let bytes = pack(&manifest, &component)?;
    let signature = sign(&bytes, &keys.secret, None, "figures")?;
    let trusted = TrustedKeys::from_texts([&keys.public])?;
    println!("component            {:>9} bytes", component.len());

    let (bundle, verifying) = timed(|| Bundle::verify(&bytes, &signature, &trusted));
    let bundle = bundle?;
    println!("verify               {:>9.3} ms", verifying.as_secs_f64() * 1e3);

    let before = memory_kib()?;
    let host = Host::new(HostOptions::default())?;
    report("host, nothing loaded", before, memory_kib()?);
    let (prepared, compiling) = timed(|| host.prepare(&bundle));
    prepared?;
    println!("compile              {:>9.3} ms", compiling.as_secs_f64() * 1e3);
    report("host, one compiled", before, memory_kib()?);

    let granted = bundle.manifest().capabilities.iter().copied().collect();
    let route = Param::Points(vec![Point::new(1e6, 0.0)]);
    let params = BTreeMap::from([("waypoints".to_owned(), route)]);
    let open = || host.open(&bundle, &granted, "patrol", &params, Box::new(NoPorts));
    drop(open()??);
    let (session, opening) = timed(open);
    let mut session = session??;
    println!("instantiate and init {:>9.3} us", opening.as_secs_f64() * 1e6);
    for beams in [0, 360] {
        let seen = observation(beams);
        let ((), stepping) = timed(|| {
            for at in 0..STEPS {
                if session.step(MonoNanos(u64::from(at)), &seen).is_err() {
                    break;
                }
            }
        });
        let each = stepping.as_secs_f64() * 1e6 / f64::from(STEPS);
        println!("step, {beams:>3} beams      {each:>9.3} us");
    }
    drop(session);

    let running = host.start(&bundle, &granted, "patrol", &params, Box::new(NoPorts))?;
    while running.state() == RunState::Starting {
        std::thread::yield_now();
    }
    report("one skill running", before, memory_kib()?);
    let seen = observation(360);
    let ((), observing) =
        timed(|| (0..STEPS).for_each(|at| running.observe(MonoNanos(u64::from(at)), &seen)));
    println!("observe, 360 beams   {:>9.3} us", observing.as_secs_f64() * 1e6 / f64::from(STEPS));
    let ((), dropping) = timed(|| drop(running));
    println!("stop and join        {:>9.3} ms", dropping.as_secs_f64() * 1e3);
    report("after it", before, memory_kib()?);
    Ok(())
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

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

fn report(what: &str, before: (u64, u64), now: (u64, u64)) {
    let (pss, mapped) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
    println!("{what:<20} {pss:>9} KiB PSS more, {mapped} KiB mapped more");
}

/// Proportional set size and mapped address space of this process, KiB.
fn memory_kib() -> Result<(u64, u64), Box<dyn Error>> {
    let field = |file: &str, name: &str| -> Result<u64, Box<dyn Error>> {
        let text = std::fs::read_to_string(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok((field("/proc/self/smaps_rollup", "Pss:")?, field("/proc/self/status", "VmSize:")?))
}
