//! Fences that programs draw: a hundred thousand corners are in force as ten are, and a million
//! are refused with what to do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{STEP, document, inputs, owner, robot, skill, zone};
use nooterra_policy::{Action, Gate, VerifiedPolicy, check_document};
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::keys::Signer as _;
use nooterra_protocol::policy::ZoneRule;
use nooterra_protocol::time::MonoNanos;
use std::f64::consts::TAU;

/// A wavy ring around the origin.
fn ring(corners: u32) -> Vec<Point> {
    (0..corners)
        .map(|corner| {
            let turn = TAU * f64::from(corner) / f64::from(corners);
            let radius = 9.0 + (turn * 5.0).sin();
            Point::new(radius * turn.cos(), radius * turn.sin())
        })
        .collect()
}

#[test]
fn a_hundred_thousand_corners_are_signed_loaded_and_held() {
    let mut document = document();
    document.zones = vec![zone("fence", ring(100_000), ZoneRule::KeepIn)];
    let signed = Signed::sign(document, &owner()).unwrap();
    let key = owner().verifying_key();
    let policy = VerifiedPolicy::verify(signed.bytes(), &key, &robot()).unwrap();
    let mut gate = Gate::new(&policy);
    let (mut now, mut pose, mut twist) = (MonoNanos(1), Pose::default(), Twist::ZERO);
    for tick in 1..2_000 {
        now = now.plus(STEP);
        let outcome = gate.tick(&inputs(tick, now, pose, twist, skill(now, Twist::new(0.8, 0.0))));
        assert!(matches!(outcome.action, Action::Write(_)));
        twist = outcome.allowed_twist();
        pose.x += twist.linear * STEP.as_secs_f64();
    }
    // The ring is 9 m away along x; the front of the robot and the margin take 0.3.
    assert!(pose.x > 8.0 && pose.x < 8.7, "{pose:?}");
}

#[test]
fn a_million_corners_are_refused_with_what_to_do() {
    let mut document = document();
    document.zones = vec![zone("fence", ring(1_000_000), ZoneRule::KeepIn)];
    let refused = check_document(&document).unwrap_err().to_string();
    assert!(refused.contains("1000000 corners; at most 200000"), "{refused}");
    document.zones[0].polygon.truncate(150_000);
    let refused = check_document(&document).unwrap_err().to_string();
    assert!(
        refused.contains("`zones[0].polygon` has 150000 corners; write 3 to 100000"),
        "{refused}"
    );
    // Nor is it signed: nobody could read it.
    document.zones[0].polygon = ring(1_000_000);
    let unsigned = Signed::sign(document, &owner()).unwrap_err();
    assert!(matches!(unsigned, SignedError::TooLarge(_, _)), "{unsigned}");
}
