//! Among things that a range sensor sees, in a closed loop with the worst base that the policy
//! allows: whatever is wished, the robot drives into none of them, also not in a curve.
//!
//! The judge has the true outline and the true discs; rays are cast by its own arithmetic.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Plant, STEP, document, inputs, rectangle, skill, verified, zone};
use nooterra_policy::{Action, Gate, Surroundings};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::observation::Scan;
use nooterra_protocol::policy::{PolicyDocument, Proximity, ZoneRule};
use nooterra_protocol::time::MonoNanos;
use proptest::prelude::{Strategy, prop, prop_assert, proptest};
use std::f64::consts::TAU;

/// x, y, radius.
type Thing = (f64, f64, f64);

const BEAMS: u32 = 720;

const FARTHEST_M: f64 = 12.0;

fn hall() -> PolicyDocument {
    let mut document = document();
    document.zones = vec![zone("hall", rectangle((-40.0, -40.0), (40.0, 40.0)), ZoneRule::KeepIn)];
    document.proximity = Some(Proximity {
        human_mps: 0.0,
        intrusion_m: 0.0,
        release_ms: 100,
        sensor_ms: 200,
        slow_m: 0.4,
        slow_mps: 0.3,
        stop_m: 0.05,
        uncertainty_m: 0.05,
    });
    document
}

/// What the sensor would measure, all around.
fn scan(pose: Pose, things: &[Thing]) -> Scan {
    let beam = |index: u32| {
        let angle = pose.yaw + TAU * f64::from(index) / f64::from(BEAMS);
        let (sin, cos) = angle.sin_cos();
        let hits = things.iter().filter_map(|(x, y, radius)| {
            let (x, y) = (x - pose.x, y - pose.y);
            let (along, across) = (x * cos + y * sin, y * cos - x * sin);
            let deep = radius * radius - across * across;
            (deep >= 0.0 && along > 0.0).then(|| along - deep.sqrt())
        });
        #[allow(clippy::cast_possible_truncation)]
        let nearest = hits.fold(FARTHEST_M, f64::min) as f32;
        nearest
    };
    #[allow(clippy::cast_possible_truncation)]
    let range_max = FARTHEST_M as f32;
    Scan {
        angle_min: 0.0,
        angle_step: TAU / f64::from(BEAMS),
        range_max: f64::from(range_max),
        ranges: (0..BEAMS).map(beam).collect(),
    }
}

/// Of the true outline from the nearest thing; negative where it touches one.
fn clearance(document: &PolicyDocument, pose: Pose, things: &[Thing]) -> f64 {
    let corners = &document.footprint.outline;
    let (sin, cos) = pose.yaw.sin_cos();
    let gaps = things.iter().map(|(x, y, radius)| {
        let (x, y) = (x - pose.x, y - pose.y);
        let (x, y) = (x * cos + y * sin, y * cos - x * sin);
        // The outline of this document is a rectangle around the origin.
        let (long, wide) = (corners[2].x, corners[2].y);
        let (out_x, out_y) = ((x.abs() - long).max(0.0), (y.abs() - wide).max(0.0));
        out_x.hypot(out_y) - radius
    });
    gaps.fold(f64::INFINITY, f64::min)
}

/// The least clearance, and how far it went.
fn run(things: &[Thing], wishes: &[(f64, f64)], brakes: f64) -> (f64, f64) {
    let document = hall();
    let mut gate = Gate::new(&verified(document.clone()));
    let mut base = document.clone();
    base.limits.max_decel_mps2 *= brakes;
    let mut plant = Plant::new(&base, Pose::default());
    let mut now = MonoNanos(1_000_000_000);
    let (mut least_m, mut way_m, mut tick) = (f64::INFINITY, 0.0, 0);
    for (linear, angular) in wishes {
        for _ in 0..60 {
            tick += 1;
            plant.pass(STEP, |pose, twist| {
                least_m = least_m.min(clearance(&document, pose, things));
                way_m += twist.linear.abs() * 1e-3;
            });
            now = now.plus(STEP);
            let wishes = skill(now, Twist::new(*linear, *angular));
            let mut inputs = inputs(tick, now, plant.pose, plant.twist, wishes);
            inputs.surroundings = Some(Surroundings::from_scan(now, &scan(plant.pose, things)));
            let outcome = gate.tick(&inputs);
            assert!(matches!(outcome.action, Action::Write(_)), "{:?}", outcome.verdicts);
            plant.write(outcome.allowed_twist());
        }
    }
    (least_m, way_m)
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    let thing = (0.0..TAU, 0.8..5.0, 0.15..0.4).prop_map(|(angle, away, radius)| {
        let away: f64 = away + radius;
        (away * angle.cos(), away * angle.sin(), radius)
    });
    prop::collection::vec(thing, 1..8)
}

proptest! {
    #[test]
    fn no_wish_drives_it_into_what_the_sensor_sees(
        things in things(),
        wishes in prop::collection::vec((-0.4..1.2, -1.5..1.5), 1..6),
    ) {
        let (least_m, _) = run(&things, &wishes, 1.0);
        prop_assert!(least_m >= 0.0, "{least_m} m");
    }
}

/// A curve of 1.2 m around the left, and things on it and beside it.
#[test]
fn a_thing_on_the_arc_ends_the_drive_and_one_beside_it_does_not() {
    let wishes = [(0.6, 0.5); 6];
    let on_it = [(1.2, 1.2, 0.15)];
    let (least_m, short_m) = run(&on_it, &wishes, 1.0);
    assert!((0.0..0.25).contains(&least_m) && short_m < 2.0, "{least_m} {short_m}");
    let beside = [(2.6, 0.0, 0.15), (0.0, 1.2, 0.15)];
    let (least_m, way_m) = run(&beside, &wishes, 1.0);
    assert!(least_m > 0.2 && way_m > 3.0, "{least_m} {way_m}");
}

#[test]
fn a_base_that_brakes_less_than_promised_is_seen_to_touch() {
    let straight = [(0.8, 0.0); 5];
    let (good, _) = run(&[(3.0, 0.0, 0.3)], &straight, 1.0);
    let (bad, _) = run(&[(3.0, 0.0, 0.3)], &straight, 0.3);
    assert!(good >= 0.0 && bad < 0.0, "{good} {bad}");
}
