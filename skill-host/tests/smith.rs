//! Guests that nobody wrote: arbitrary valid modules (`wasm-smith`) through validation, compilation
//! and the sandbox. None of them harms the host: each is refused with a reason, ends with a
//! reason, or goes on.
//!
//! The seeds are fixed, so that a failure names a guest. `NOOTERRA_SMITH=FROM..TO` runs others, for
//! as long as one likes: `NOOTERRA_SMITH=0..1000000 cargo test -p nooterra-skill-host --test smith`.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;
#[path = "common/forge.rs"]
#[allow(dead_code)]
mod forge;

use arbitrary::Unstructured;
use common::{Toy, bundle, everything, template, verify_signed};
use forge::Forged;
use nooterra_protocol::command::PerJoint;
use nooterra_protocol::frame::{Frame, FrameRefusal, PixelFormat};
use nooterra_protocol::observation::{JointStates, Timed};
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{Bundle, Host, HostOptions, NoPorts, Ports, Status, pack};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use wasm_smith::{Config, Module};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Without a wish of the environment's: some seconds, also on a busy machine.
const SEEDS: Range<u64> = 0..1_000;

/// What it may import: all that the world offers, as the canonical ABI has it.
const IMPORTS: &str = r#"(module
    (import "nooterra:skill/log@0.2.2" "line" (func (param i32 i32)))
    (import "nooterra:skill/checkpoint@0.2.2" "reached" (func (param i32 i32 i32)))
    (import "nooterra:skill/assist@0.2.2" "request" (func (param i32 i32 i32)))
    (import "nooterra:skill/evidence@0.2.2" "attach" (func (param i32 i32 i32 i32 i32 i32 i32)))
    (import "nooterra:skill/camera@0.2.2" "capture" (func (param i32)))
    (import "nooterra:skill/camera@0.2.2" "[method]frame.read" (func (param i32 i32 i32 i32)))
    (import "nooterra:skill/camera@0.2.2" "[method]frame.describe" (func (param i32 i32)))
    (import "nooterra:skill/camera@0.2.2" "[resource-drop]frame" (func (param i32))))"#;

fn seeds() -> Range<u64> {
    let wished = std::env::var("NOOTERRA_SMITH").ok();
    let wished = wished.as_deref().and_then(|text| text.split_once(".."));
    wished.map_or(SEEDS, |(from, to)| from.parse().unwrap()..to.parse().unwrap())
}

/// Bytes of a seed (SplitMix64; Steele, Lea, Flood 2014).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let words = 64 + usize::try_from(next() % 512).unwrap();
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}

/// What the sandbox has switched on.
fn plain() -> Config {
    Config {
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        // `externref` is garbage collected.
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        max_memory32_bytes: 2 << 20,
        ..Config::default()
    }
}

/// One seed of two makes a skill for an arm.
const fn is_for_arm(seed: u64) -> bool {
    seed % 2 == 1
}

/// A module with all that its world asks for and arbitrary code in it, as a component.
fn skill(seed: u64) -> Option<Vec<u8>> {
    let shape = if is_for_arm(seed) { Forged::arm() } else { Forged::default() };
    let config = Config {
        available_imports: Some(wat::parse_str(IMPORTS).unwrap()),
        exports: Some(wat::parse_str(shape.text()).unwrap()),
        ..plain()
    };
    let bytes = bytes(seed);
    let module = Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    let mut module = module.to_bytes();
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let (package, _) = resolve.push_path(wit).unwrap();
    let world = resolve.select_world(&[package], Some(shape.world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).ok()?;
    ComponentEncoder::default().module(&module).ok()?.validate(false).encode().ok()
}

/// All that one skill can have: what moves a base is not what moves an arm.
fn all_of(is_for_arm: bool) -> BTreeSet<Capability> {
    use Capability::{Drive, Joints, Scan};
    let other: &[Capability] = if is_for_arm { &[Drive, Scan] } else { &[Joints] };
    everything().into_iter().filter(|capability| !other.contains(capability)).collect()
}

fn signed(component: &[u8], is_for_arm: bool) -> Bundle {
    let mut manifest: serde_json::Value = serde_json::from_str(&template("misbehave")).unwrap();
    manifest["capabilities"] = serde_json::to_value(all_of(is_for_arm)).unwrap();
    // So that what never returns ends at the same instruction on every machine.
    manifest["fuel_per_step"] = 50_000.into();
    verify_signed(&pack(&manifest.to_string(), component).unwrap()).unwrap()
}

struct Sink;

impl Ports for Sink {
    fn assist(&mut self, reason: &str) {
        assert!(!reason.is_empty() && reason.len() <= 256);
    }
    fn checkpoint(&mut self, name: &str) {
        assert!(!name.is_empty() && name.len() <= 64);
    }
    fn evidence(&mut self, _name: &str, _media_type: &str, bytes: &[u8]) {
        assert!(bytes.len() <= 64 * 1024);
    }
    fn log(&mut self, text: &str) {
        assert!(text.len() <= 512);
    }
    fn frame(&mut self) -> Result<Frame, FrameRefusal> {
        let frame = Frame::new(MonoNanos(1), PixelFormat::Grey8, (8, 8), vec![7; 64]);
        frame.ok_or(FrameRefusal::Unavailable)
    }
}

/// What becomes of a component: refused, ended, or going on after a few steps.
fn fate(host: &Host, component: &[u8], is_for_arm: bool) -> &'static str {
    let bundle = signed(component, is_for_arm);
    let action = bundle.manifest().actions[0].clone();
    let opened = host.open(&bundle, &everything(), &action, &BTreeMap::new(), Box::new(Sink), &[]);
    let mut session = match opened {
        Err(error) => {
            let why = error.to_string();
            assert!(!why.is_empty());
            if std::env::var_os("NOOTERRA_SMITH").is_some() {
                eprintln!("{why}");
            }
            return "refused";
        }
        Ok(Err(error)) => {
            assert!(!error.to_string().is_empty());
            return "ended";
        }
        Ok(Ok(session)) => session,
    };
    let mut toy = Toy::docked_at(0.0, 0.0, 0.0);
    for _ in 0..4 {
        toy.now_ns += 100_000_000;
        let mut seen = toy.seen();
        if is_for_arm {
            let three = || PerJoint::new(&[0.1; 3]).unwrap();
            let value = JointStates { effort: three(), position: three(), velocity: three() };
            seen.joints = Some(Timed { at: toy.at(), value });
        }
        match session.step(toy.at(), &seen) {
            Ok((_, Status::Running { .. })) => {}
            Ok(_) | Err(_) => return "ended",
        }
        if session.suspend().is_err() {
            return "ended";
        }
    }
    "goes on"
}

/// A skill of the examples still does what it does.
fn neighbour_goes_on(host: &Host) {
    let bundle = bundle("misbehave");
    let action = "spin";
    let known = bundle.manifest().actions.iter().any(|it| it == action);
    assert!(known, "an action that starts in order");
    let granted = everything();
    let ports = Box::new(NoPorts);
    host.open(&bundle, &granted, action, &BTreeMap::new(), ports, &[]).unwrap().unwrap();
}

#[test]
fn arbitrary_code_in_the_form_of_a_skill_is_contained() {
    let host = Host::new(HostOptions { compiled: 1, ..HostOptions::default() }).unwrap();
    let (mut made, mut fates) = (0, [BTreeMap::<_, u64>::new(), BTreeMap::new()]);
    for seed in seeds() {
        let Some(component) = skill(seed) else { continue };
        made += 1;
        let is_for_arm = is_for_arm(seed);
        let fate = fate(&host, &component, is_for_arm);
        *fates[usize::from(is_for_arm)].entry(fate).or_default() += 1;
    }
    neighbour_goes_on(&host);
    eprintln!("{made} skills: {fates:?}");
    let all = seeds().end - seeds().start;
    for fates in fates {
        let begun = fates.values().sum::<u64>() - fates.get("refused").copied().unwrap_or_default();
        assert!(begun * 200 > all, "some of each world must run, or this shows nothing: {fates:?}");
    }
}

#[test]
fn arbitrary_modules_with_everything_switched_on_are_refused() {
    let host = Host::new(HostOptions { compiled: 1, ..HostOptions::default() }).unwrap();
    let mut compiled = 0_u32;
    for seed in seeds() {
        // Odd ones with what the sandbox has switched off: it must say no, and nothing else.
        let config = if seed % 2 == 0 { plain() } else { Config::default() };
        let bytes = bytes(seed ^ 0x5eed_0000_0000);
        let Ok(module) = Module::new(config, &mut Unstructured::new(&bytes)) else { continue };
        let module = module.to_bytes();
        assert!(pack(&template("misbehave"), &module).is_err(), "a module is no component");
        // As a component by hand: header, and one section that holds the module.
        let mut component = b"\0asm\x0d\x00\x01\x00\x01".to_vec();
        let mut left = module.len();
        while left >= 0x80 {
            component.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        component.push(u8::try_from(left).unwrap());
        component.extend(&module);
        assert_eq!(fate(&host, &component, false), "refused", "seed {seed}: it exports no `step`");
        compiled += 1;
        // Damaged somewhere: whatever it says then, it says it.
        let at = 9 + usize::from(bytes[0]) * module.len() / 256;
        component[at] ^= 1 << (bytes[1] % 8);
        let _ = fate(&host, &component, false);
    }
    neighbour_goes_on(&host);
    assert!(compiled > 100, "{compiled}");
}
