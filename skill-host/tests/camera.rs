//! Pictures by handle: what a skill may do with them, and what becomes of one that does more.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;
#[path = "common/forge.rs"]
#[allow(dead_code)]
mod forge;

use common::{Toy, everything, template, verify_signed};
use forge::Forged;
use nooterra_protocol::frame::{Frame, FrameRefusal, PixelFormat};
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use nooterra_skill_host::{
    Bundle, Host, HostOptions, MAX_FRAME_HANDLES, MAX_FRAMES_PER_STEP, Ports, StartError, Status,
    pack,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The camera's functions; `$c` takes a picture and leaves its answer at an address.
const CAMERA: &str = r#"
    (import "nooterra:skill/camera@0.2.2" "capture" (func $c (param i32)))
    (import "nooterra:skill/camera@0.2.2" "[method]frame.read"
        (func $r (param i32 i32 i32 i32)))
    (import "nooterra:skill/camera@0.2.2" "[method]frame.describe" (func $d (param i32 i32)))
    (import "nooterra:skill/camera@0.2.2" "[resource-drop]frame" (func $x (param i32)))"#;

/// `$want address code`: crashes unless an answer is this error, or a good one for -1.
/// `$take`: a picture's handle, or a crash.
const HELP: &str = r#"
    (func $want (param $at i32) (param $code i32)
        (if (i32.eq (local.get $code) (i32.const -1))
            (then (if (i32.load8_u (local.get $at)) (then unreachable)))
            (else
                (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 1)) (then unreachable))
                (if (i32.ne (i32.load8_u offset=4 (local.get $at)) (local.get $code))
                    (then unreachable)))))
    (func $take (result i32)
        (call $c (i32.const 2048)) (call $want (i32.const 2048) (i32.const -1))
        (i32.load (i32.const 2052)))
    (global $kept (mut i32) (i32.const 0))"#;

/// Codes of `camera-error`, in its order.
const BEYOND: i32 = 0;
const GONE: i32 = 1;
const NONE: i32 = 2;
const OFF: i32 = 3;
const TOO_OFTEN: i32 = 4;
const UNAVAILABLE: i32 = 5;

/// A camera that counts its pictures, and what it says instead of one.
#[derive(Clone, Default)]
struct Lens {
    given: Arc<AtomicUsize>,
    refuses: Option<FrameRefusal>,
}

impl Ports for Lens {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, _name: &str) {}
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn log(&mut self, _text: &str) {}
    fn frame(&mut self) -> Result<Frame, FrameRefusal> {
        if let Some(why) = self.refuses {
            return Err(why);
        }
        self.given.fetch_add(1, Ordering::SeqCst);
        let bytes: Vec<u8> = (0..64_u8).collect();
        Ok(Frame::new(MonoNanos(9), PixelFormat::Grey8, (8, 8), bytes).unwrap())
    }
}

fn bundle(component: &[u8], wit: &str) -> Bundle {
    let mut manifest: serde_json::Value = serde_json::from_str(&template("misbehave")).unwrap();
    manifest["wit"] = wit.into();
    if !wit.ends_with("0.2.0") {
        manifest["capabilities"].as_array_mut().unwrap().push("camera".into());
    }
    verify_signed(&pack(&manifest.to_string(), component).unwrap()).unwrap()
}

fn guest(init: &'static str, step: &'static str) -> Bundle {
    let forged = Forged { imports: CAMERA, init, more: HELP, step, ..Forged::default() };
    bundle(&forged.component().unwrap(), "nooterra:skill@0.2.2")
}

/// What became of a guest after some steps, and how many pictures it was given.
fn fate(bundle: &Bundle, steps: usize, refuses: Option<FrameRefusal>) -> (String, usize) {
    let host = Host::new(HostOptions::default()).unwrap();
    let (lens, mut toy) = (Lens { refuses, ..Lens::default() }, Toy::docked_at(0.0, 0.0, 0.0));
    let action = bundle.manifest().actions[0].clone();
    let ports = Box::new(lens.clone());
    let opened = host.open(bundle, &everything(), &action, &BTreeMap::new(), ports, &[]).unwrap();
    let mut session = match opened {
        Ok(session) => session,
        Err(error) => return (error.to_string(), lens.given.load(Ordering::SeqCst)),
    };
    let ended = (0..steps).find_map(|_| {
        toy.now_ns += 20_000_000;
        let stepped = session.step(toy.at(), &toy.seen());
        let ended = match stepped {
            Ok((_, Status::Running { .. })) => session.suspend().err(),
            Ok((_, status)) => return Some(format!("{status:?}")),
            Err(error) => Some(error),
        };
        ended.map(|error| error.to_string())
    });
    (ended.unwrap_or_else(|| "goes on".to_owned()), lens.given.load(Ordering::SeqCst))
}

/// A body of `step` in which `{}` stand for codes.
fn body(text: &str, codes: &[i32]) -> &'static str {
    let text =
        codes.iter().fold(text.to_owned(), |text, code| text.replacen("{}", &code.to_string(), 1));
    format!("{text} i32.const 1024").leak()
}

#[test]
fn a_picture_is_read_by_its_handle_within_its_bounds() {
    let step = body(
        "(local $h i32) (local.set $h (call $take))
         (call $r (local.get $h) (i32.const 10) (i32.const 4) (i32.const 2048))
         (call $want (i32.const 2048) (i32.const {}))
         (if (i32.ne (i32.load (i32.load (i32.const 2052))) (i32.const 0x0d0c0b0a))
            (then unreachable))
         (call $d (local.get $h) (i32.const 2048))
         (call $want (i32.const 2048) (i32.const {}))
         (if (i64.ne (i64.load (i32.const 2056)) (i64.const 9)) (then unreachable))
         (if (i32.ne (i32.load (i32.const 2068)) (i32.const 8)) (then unreachable))
         (call $r (local.get $h) (i32.const 61) (i32.const 4) (i32.const 2048))
         (call $want (i32.const 2048) (i32.const {}))
         (call $r (local.get $h) (i32.const -1) (i32.const -1) (i32.const 2048))
         (call $want (i32.const 2048) (i32.const {}))
         (call $x (local.get $h))",
        &[-1, -1, BEYOND, BEYOND],
    );
    // A picture in every step of 20 ms is more than five a second.
    assert_eq!(fate(&guest("i32.const 0", step), 20, None), ("goes on".to_owned(), 20));
}

#[test]
fn a_picture_is_gone_with_its_step_and_the_skill_goes_on() {
    let step = body(
        "(if (global.get $kept)
            (then
                (call $r (global.get $kept) (i32.const 0) (i32.const 1) (i32.const 2048))
                (call $want (i32.const 2048) (i32.const {}))
                (call $d (global.get $kept) (i32.const 2048))
                (if (i32.ne (i32.load8_u offset=8 (i32.const 2048)) (i32.const {}))
                    (then unreachable)))
            (else (global.set $kept (call $take))))",
        &[GONE, GONE],
    );
    assert_eq!(fate(&guest("i32.const 0", step), 10, None), ("goes on".to_owned(), 1));
}

#[test]
fn forged_and_dropped_handles_end_the_guest_and_nobody_else() {
    for (what, text) in [
        (
            "a number out of the air",
            "(call $r (i32.const 77) (i32.const 0) (i32.const 1) (i32.const 2048))",
        ),
        ("zero", "(call $d (i32.const 0) (i32.const 2048))"),
        ("all bits", "(call $d (i32.const -1) (i32.const 2048))"),
        ("dropping what was never had", "(call $x (i32.const 3))"),
        (
            "the number behind the handle's place",
            "(drop (call $take)) (call $d (i32.const 2) (i32.const 2048))",
        ),
        (
            "use after drop",
            "(global.set $kept (call $take)) (call $x (global.get $kept))
             (call $r (global.get $kept) (i32.const 0) (i32.const 1) (i32.const 2048))",
        ),
        (
            "drop after drop",
            "(global.set $kept (call $take)) (call $x (global.get $kept)) (call $x (global.get $kept))",
        ),
        (
            "an answer that is to lie outside of its memory",
            "(call $r (call $take) (i32.const 0) (i32.const 1) (i32.const 65535))",
        ),
    ] {
        let (fate, given) = fate(&guest("i32.const 0", body(text, &[])), 3, None);
        assert!(fate.contains("the skill crashed"), "{what}: {fate}");
        assert!(given <= 1, "{what}: {given} pictures");
    }
}

#[test]
fn who_hoards_handles_gets_no_more_and_who_asks_too_often_is_ended() {
    // Four in each step, none of them dropped.
    let hoards = body(
        "(local $n i32)
         (loop $again
            (call $c (i32.const 2048))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 60))))
         (call $want (i32.const 2048) (i32.const {}))",
        &[TOO_OFTEN],
    );
    let hoarder = guest("i32.const 0", hoards);
    assert_eq!(fate(&hoarder, 1, None), ("goes on".to_owned(), MAX_FRAMES_PER_STEP));
    assert_eq!(fate(&hoarder, 40, None), ("goes on".to_owned(), MAX_FRAME_HANDLES));
    let storm = body("(loop $again (call $c (i32.const 2048)) (br $again))", &[]);
    let (ended, given) = fate(&guest("i32.const 0", storm), 2, None);
    assert!(ended.contains("more than 64 times in one step"), "{ended}");
    assert_eq!(given, MAX_FRAMES_PER_STEP);
    // Each dropped at once: what is left is the rate, 20 at once and then five a second.
    let drops = body(
        "(call $c (i32.const 2048))
         (if (i32.eqz (i32.load8_u (i32.const 2048))) (then (call $x (i32.load (i32.const 2052)))))",
        &[],
    );
    let (ended, given) = fate(&guest("i32.const 0", drops), 200, None);
    assert_eq!(ended, "goes on");
    assert!((20..=40).contains(&given), "{given} in four seconds");
}

#[test]
fn outside_of_a_step_and_where_it_is_refused_no_picture_is_taken() {
    let early =
        "(call $c (i32.const 2048)) (call $want (i32.const 2048) (i32.const 5)) i32.const 0";
    assert_eq!(UNAVAILABLE, 5);
    assert_eq!(fate(&guest(early, "i32.const 1024"), 2, None), ("goes on".to_owned(), 0));
    for (why, code) in [
        (FrameRefusal::NoCamera, NONE),
        (FrameRefusal::NotGranted, OFF),
        (FrameRefusal::Privacy, OFF),
        (FrameRefusal::Unavailable, UNAVAILABLE),
    ] {
        let text = "(call $c (i32.const 2048)) (call $want (i32.const 2048) (i32.const {}))";
        let guest = guest("i32.const 0", body(text, &[code]));
        assert_eq!(fate(&guest, 5, Some(why)), ("goes on".to_owned(), 0), "{why:?}");
    }
}

#[test]
fn a_robot_that_grants_no_camera_does_not_start_the_skill() {
    let host = Host::new(HostOptions::default()).unwrap();
    let bundle = guest("i32.const 0", "i32.const 1024");
    let mut granted = everything();
    granted.remove(&Capability::Camera);
    let ports = Box::new(Lens::default());
    let action = bundle.manifest().actions[0].clone();
    let refused = host.open(&bundle, &granted, &action, &BTreeMap::new(), ports, &[]);
    let Err(StartError::Capability { capability, .. }) = refused else { panic!("it was started") };
    assert_eq!(capability, Capability::Camera);
}

#[test]
fn what_was_built_for_the_world_before_runs_as_it_is_and_has_no_camera() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/skill-0.2.0.wit");
    let forged = Forged {
        imports: r#"(import "nooterra:skill/log@0.2.0" "line" (func $l (param i32 i32)))"#,
        step: "(call $l (i32.const 0) (i32.const 4)) i32.const 1024",
        ..Forged::default()
    };
    let component = forged.component_of(&wit).unwrap();
    let old = bundle(&component, "nooterra:skill@0.2.0");
    assert_eq!(fate(&old, 5, None), ("goes on".to_owned(), 0));
    // A manifest of that world cannot ask for what came after it.
    let mut manifest: serde_json::Value = serde_json::from_str(&template("misbehave")).unwrap();
    manifest["wit"] = "nooterra:skill@0.2.0".into();
    manifest["capabilities"].as_array_mut().unwrap().push("camera".into());
    let refused = pack(&manifest.to_string(), &component).unwrap_err().to_string();
    assert!(refused.contains("came with `nooterra:skill@0.2.1`"), "{refused}");
    // The camera came with 0.2.1; by the name of an earlier version there is none.
    let early = CAMERA.replace("0.2.2", "0.2.0");
    let early = Forged { imports: early.leak(), ..Forged::default() };
    assert!(early.component_of(&wit).is_err(), "the world of 0.2.0 has no camera");
}

#[test]
fn what_was_built_for_0_2_1_runs_as_it_is_with_its_pictures() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/skill-0.2.1.wit");
    let forged = Forged {
        imports: CAMERA.replace("0.2.2", "0.2.1").leak(),
        more: HELP,
        step: "(call $x (call $take)) i32.const 1024",
        ..Forged::default()
    };
    let component = forged.component_of(&wit).unwrap();
    let imports = |name: &[u8]| component.windows(name.len()).any(|part| part == name);
    assert!(imports(b"nooterra:skill/camera@0.2.1") && !imports(b"@0.2.2"));
    let old = bundle(&component, "nooterra:skill@0.2.1");
    assert_eq!(fate(&old, 5, None), ("goes on".to_owned(), 5));
    // Whose manifest is silent about the camera is told so, by the earlier name too.
    let silent = verify_signed(&pack(&template("misbehave"), &component).unwrap()).unwrap();
    let refused = Host::new(HostOptions::default()).unwrap().prepare(&silent).unwrap_err();
    let StartError::Undeclared { capability, .. } = refused else { panic!("{refused}") };
    assert_eq!(capability, Capability::Camera);
}
