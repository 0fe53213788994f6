//! What each law of motion comes to in numbers that were worked out by hand.
#![allow(clippy::unwrap_used)]

mod common;
mod harness;

use common::{STEP, rectangle, verified, zone};
use harness::vehicles::{ARM, KINDS, axes, command, follow, gate, policy, settle, told};
use nooterra_policy::Gate;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::policy::ZoneRule;

/// Without the arm, which has no place.
const MOVING: [usize; KINDS as usize - 1] = [0, 1, 2, 3];

#[test]
fn a_speed_zone_slows_every_kind_of_vehicle_to_its_limit_and_leaves_the_path_its_shape() {
    for kind in MOVING {
        let mut document = policy(kind).0.clone();
        let slow = ZoneRule::Speed { max_linear_mps: 0.2 };
        document.zones.push(zone("slow", rectangle((1.0, 6.0), (3.0, 7.0)), slow));
        let wish = command(&document, [0.4, 0.1, 0.1, 0.1]);
        let (outcome, _) = settle(&mut Gate::new(&verified(document)), wish, 200);
        let speed = follow(outcome.allowed).speed();
        assert!((speed - 0.2).abs() < 1e-9, "kind {kind}: {speed} m/s");
        let rules: Vec<Rule> = outcome.verdicts.iter().map(|verdict| verdict.rule).collect();
        assert_eq!(rules, [Rule::ZoneSpeed], "kind {kind}");
    }
}

#[test]
fn what_steers_slows_for_a_curve_by_the_single_track_model() {
    // v² · tan δ / wheelbase = 0.5 m/s², at 0.5 rad and 0.4 m; the turning stays below 1.5 rad/s.
    let expected = (0.5 * 0.4 / 0.5_f64.tan()).sqrt();
    let wish = command(policy(1).0, [0.8, 0.5, 0.0, 0.0]);
    let (outcome, _) = settle(&mut gate(1), wish, 200);
    let [speed, steering, ..] = axes(outcome.allowed);
    assert!((speed - expected).abs() < 1e-9, "{speed} m/s, not {expected}");
    assert!((steering - 0.5).abs() < 1e-12);
    let rules: Vec<Rule> = outcome.verdicts.iter().map(|verdict| verdict.rule).collect();
    assert_eq!(rules, [Rule::AccelLateral]);
}

#[test]
fn beyond_an_edge_every_axis_brakes_as_hard_as_it_may() {
    for kind in MOVING {
        let mut gate = gate(kind);
        let wish = command(policy(kind).0, [0.5, 0.1, 0.4, 0.6]);
        let (before, now) = settle(&mut gate, wish, 200);
        let mut inputs = told(201, now.plus(STEP), before.allowed, Some(wish));
        // Somebody carried it out of the room, and it still drives on.
        inputs.pose.value.x = 13.0;
        let outcome = gate.tick(&inputs);
        assert!(outcome.verdicts.iter().any(|verdict| verdict.rule == Rule::ZoneKeepIn));
        let (was, is) = (follow(before.allowed).speed(), follow(outcome.allowed).speed());
        assert!((was - is - 0.8 * 0.02).abs() < 1e-9, "kind {kind}: from {was} to {is} m/s");
        if kind == 3 {
            let ([.., climbed, turned], [.., climbs, turns]) =
                (axes(before.allowed), axes(outcome.allowed));
            assert!((climbed - climbs - 1.0 * 0.02).abs() < 1e-9, "{climbed} to {climbs} m/s");
            assert!((turned - turns - 3.0 * 0.02).abs() < 1e-9, "{turned} to {turns} rad/s");
        }
    }
}

#[test]
fn the_joints_of_an_arm_come_to_rest_together() {
    let mut gate = gate(ARM);
    let wish = command(policy(ARM).0, [0.8, -0.4, 0.2, 0.0]);
    let (before, now) = settle(&mut gate, wish, 100);
    let zero = command(policy(ARM).0, [0.0; 4]);
    let outcome = gate.tick(&told(101, now.plus(STEP), before.allowed, Some(zero)));
    // The fastest brakes by 4 rad/s² for 20 ms; the others in proportion.
    let part = (0.8 - 4.0 * 0.02) / 0.8;
    for (was, is) in axes(before.allowed).into_iter().zip(axes(outcome.allowed)) {
        assert!((is - was * part).abs() < 1e-9, "{was} became {is}");
    }
}
