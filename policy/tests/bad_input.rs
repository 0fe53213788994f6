//! What people draw and sign by mistake, and what sources send that are broken: each ends in a
//! clear error, or in the stop that the owner configured.
//!
//! What only one unit reads is tested there: units that nobody knows and keys that are
//! misspelt in the agent's reader of policies, a flood of commands in its downlink.
#![allow(clippy::unwrap_used)]

mod common;
mod harness;

use common::{STEP, document, inputs, owner, rectangle, robot, signed, skill, verified, zone};
use harness::vehicles::{KINDS, OPEN, START, axes, command, policy, settle, standing, told};
use nooterra_policy::{Action, Gate, Outcome, VerifiedPolicy, Wish, Wishes, check_document};
use nooterra_policy::{DocumentError, check_room};
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::keys::{Ed25519Key, Signer as _};
use nooterra_protocol::policy::{PolicyDocument, Proximity, ZoneRule};
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

fn refused(change: impl FnOnce(&mut PolicyDocument)) -> String {
    let mut document = document();
    change(&mut document);
    let error = check_document(&document).unwrap_err().to_string();
    // Whoever signed it all the same: no gate is made of it.
    let key = owner().verifying_key();
    let signed = VerifiedPolicy::verify(&signed(document), &key, &robot()).unwrap_err();
    assert_eq!(signed.to_string(), format!("the policy cannot be used: {error}"));
    error
}

fn acts(outcome: &Outcome, rule: Rule) -> bool {
    outcome.verdicts.iter().any(|verdict| verdict.rule == rule)
}

#[test]
fn a_polygon_that_crosses_or_touches_itself_is_refused_by_its_sides() {
    let bow = [(0.0, 0.0), (8.0, 8.0), (8.0, 0.0), (0.0, 8.0)];
    assert_eq!(
        refused(|d| d.zones[0].polygon = common::polygon(&bow)),
        "`zones[0].polygon`: the side after corner 0 meets the side after corner 2; list the \
         corners in order around the edge"
    );
    // Two squares that share a corner are no outline.
    let pinched = [
        (0.0, 0.0),
        (4.0, 0.0),
        (4.0, 4.0),
        (8.0, 4.0),
        (8.0, 8.0),
        (4.0, 8.0),
        (4.0, 4.0),
        (0.0, 4.0),
    ];
    let found = refused(|d| d.zones[0].polygon = common::polygon(&pinched));
    assert!(found.ends_with("list the corners in order around the edge"), "{found}");
    let twice = [(0.0, 0.0), (8.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0)];
    let found = refused(|d| d.zones[0].polygon = common::polygon(&twice));
    assert!(found.contains("corner 2"), "{found}");
}

#[test]
fn zones_that_share_corners_and_sides_are_taken_and_both_hold() {
    let mut document = document();
    document.limits.max_reverse_mps = 0.0;
    document.zones[1].polygon = rectangle((4.0, 0.0), (6.0, 4.0));
    document.zones.push(zone("next", rectangle((4.0, 4.0), (6.0, 8.0)), ZoneRule::KeepOut));
    let mut gate = Gate::new(&verified(document));
    // Along the corner that both have, between the two.
    let (mut now, mut pose, mut moving) = (START, Pose { x: 2.5, y: 4.0, yaw: 0.0 }, Twist::ZERO);
    for tick in 0..400 {
        now = now.plus(STEP);
        let wish = skill(now, Twist::new(0.8, 0.0));
        moving = gate.tick(&inputs(tick, now, pose, moving, wish)).allowed_twist();
        pose.x += moving.linear * STEP.as_secs_f64();
    }
    assert_eq!(moving, Twist::ZERO);
    assert!(pose.x > 3.5 && pose.x < 3.75, "{pose:?}");
}

#[test]
fn limits_the_wrong_way_round_are_refused_by_both_their_names() {
    let proximity = Proximity {
        human_mps: 1.6,
        intrusion_m: 0.1,
        release_ms: 100,
        sensor_ms: 200,
        slow_m: 0.3,
        slow_mps: 0.2,
        stop_m: 1.0,
        uncertainty_m: 0.1,
    };
    assert_eq!(
        refused(|d| d.proximity = Some(proximity)),
        "`proximity.stop_m` is not below `proximity.slow_m`; swap them, or correct one"
    );
    // A negative limit would let everything through, the other way.
    assert_eq!(
        refused(|d| d.limits.max_linear_mps = -0.8),
        "`limits.max_linear_mps` is -0.8; write 0.01 to 30 m/s"
    );
}

#[test]
fn an_exclusion_that_swallows_its_inclusion_is_refused_and_signed_all_the_same_moves_nothing() {
    let mut swallowed = document();
    swallowed.zones[1].polygon = rectangle((-1.0, -1.0), (13.0, 9.0));
    assert_eq!(check_room(&swallowed), Err(DocumentError::NoRoom));
    let mut gate = Gate::new(&verified(swallowed));
    let (mut now, mut moved) = (START, 0.0_f64);
    for tick in 0..200 {
        now = now.plus(STEP);
        let pose = Pose { x: OPEN.0, y: OPEN.1, yaw: 0.0 };
        let outcome =
            gate.tick(&inputs(tick, now, pose, Twist::ZERO, skill(now, Twist::new(0.8, 0.3))));
        assert!(acts(&outcome, Rule::ZoneKeepOut), "{:?}", outcome.verdicts);
        moved = moved.max(outcome.allowed_twist().linear.abs());
    }
    assert!(moved <= 0.1, "faster than a crawl: {moved} m/s");
}

#[test]
fn a_million_corners_are_refused_before_they_are_looked_at() {
    let refused = |change: &dyn Fn(&mut PolicyDocument)| {
        let mut document = document();
        change(&mut document);
        // More than an envelope takes: it cannot even be signed.
        assert!(Signed::sign(document.clone(), &owner()).is_err());
        check_document(&document).unwrap_err().to_string()
    };
    let many = vec![Point::new(1.0, 1.0); 1_000_000];
    let found = refused(&|d| d.zones[0].polygon.clone_from(&many));
    assert!(found.contains("corners; at most 200000"), "{found}");
    let found = refused(&|d| d.footprint.outline.clone_from(&many));
    assert!(found.starts_with("`footprint.outline` has 1000000 corners; write 3 to"), "{found}");
}

#[test]
fn a_policy_signed_by_the_wrong_key_makes_no_gate_and_says_so() {
    let stranger = Ed25519Key::from_seed([9; 32]).verifying_key();
    let error = VerifiedPolicy::verify(&signed(document()), &stranger, &robot()).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("the policy is not signed by this robot's owner: "), "{said}");
}

#[test]
fn garbage_from_a_source_in_charge_is_the_configured_stop_of_each_vehicle() {
    for kind in 0..usize::from(KINDS) {
        for profile in [StopProfile::ControlledHold, StopProfile::ControlledStopThenPowerOff] {
            let (known, _) = policy(kind);
            let document = PolicyDocument { stop: profile, ..known.clone() };
            if check_document(&document).is_err() {
                continue; // Nobody switches a multirotor off in the air.
            }
            let policy = verified(document);
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut gate = Gate::new(&policy);
                let (before, now) = settle(&mut gate, command(known, [0.2; 4]), 30);
                let now = now.plus(STEP);
                let wish = command(known, [0.2, bad, 0.2, 0.2]);
                let outcome = gate.tick(&told(31, now, before.allowed, Some(wish)));
                let Action::Stop(stop) = outcome.action else {
                    panic!("{wish:?} became {:?}", outcome.allowed);
                };
                assert_eq!(stop, profile);
                assert_eq!(harness::vehicles::bits(outcome.allowed), [0; 4]);
                assert!(acts(&outcome, Rule::InputNan));
            }
            // Numbers that are numbers, and absurd, are held to the limits.
            let wish = command(known, [f64::MAX, f64::MIN, 1e300, -1e300]);
            let (outcome, _) = settle(&mut Gate::new(&policy), wish, 100);
            assert_eq!(harness::vehicles::beyond(known, outcome.allowed), None);
            assert!(!outcome.verdicts.is_empty());
        }
    }
}

/// Drives, then goes on with wishes that are made of the time since; what was seen last, and
/// the ticks until it stood still.
fn drive_then(kind: usize, wish: impl Fn(MonoNanos, Command) -> Wishes) -> (Outcome, u32) {
    let (document, policy) = policy(kind);
    let mut gate = Gate::new(policy);
    let asked = command(document, [0.3, 0.1, 0.1, 0.1]);
    let (mut outcome, mut now) = settle(&mut gate, asked, 100);
    let mut ticks = 0;
    for tick in 0..200 {
        now = now.plus(STEP);
        let mut inputs = told(200 + tick, now, outcome.allowed, None);
        inputs.wishes = wish(now, asked);
        outcome = gate.tick(&inputs);
        let steers = matches!(outcome.allowed, Command::Ackermann(_));
        let moves = axes(outcome.allowed);
        let moves = if steers { &moves[..1] } else { &moves[..] };
        ticks += u32::from(moves.iter().any(|axis| *axis != 0.0));
    }
    (outcome, ticks)
}

#[test]
fn a_source_that_falls_silent_is_braked_to_rest_and_named() {
    for kind in 0..usize::from(KINDS) {
        let said = START.plus(STEP * 100);
        let silent = |_, command| Wishes {
            skill: Some(Wish { at: said, command, until: said.plus(Duration::from_secs(60)) }),
            ..Wishes::default()
        };
        let (outcome, ticks) = drive_then(kind, silent);
        assert!(acts(&outcome, Rule::SourceStale), "{:?}", outcome.verdicts);
        assert!(ticks < 60, "kind {kind} went on for {ticks} ticks");
    }
}

#[test]
fn a_source_that_restarts_with_its_clock_at_zero_or_ahead_is_stale_until_it_is_right_again() {
    let until = |now: MonoNanos| now.plus(Duration::from_secs(60));
    for kind in 0..usize::from(KINDS) {
        for reset in [MonoNanos(0), MonoNanos(20_000_000), MonoNanos(u64::MAX)] {
            let (outcome, ticks) = drive_then(kind, |now, command| Wishes {
                skill: Some(Wish { at: reset, command, until: until(now) }),
                ..Wishes::default()
            });
            assert!(acts(&outcome, Rule::SourceStale), "{:?}", outcome.verdicts);
            assert!(ticks < 60, "kind {kind} went on for {ticks} ticks");
        }
        let (outcome, ticks) = drive_then(kind, |now, command| Wishes {
            skill: Some(Wish { at: now, command, until: until(now) }),
            ..Wishes::default()
        });
        assert!(!acts(&outcome, Rule::SourceStale) && ticks == 200);
        // A lease that ends on a clock of its own has ended.
        let (outcome, ticks) = drive_then(kind, |now, command| Wishes {
            skill: Some(Wish { at: now, command, until: MonoNanos(0) }),
            ..Wishes::default()
        });
        assert_eq!(outcome.source, nooterra_protocol::command::Source::Idle);
        assert!(ticks < 60, "kind {kind} went on for {ticks} ticks");
    }
}

#[test]
fn a_sensor_that_restarts_with_its_clock_at_zero_is_the_configured_stop() {
    for kind in 0..usize::from(KINDS) {
        let (document, policy) = policy(kind);
        for reset in [MonoNanos(0), MonoNanos(u64::MAX)] {
            let mut gate = Gate::new(policy);
            let wish = command(document, [0.1; 4]);
            let (_, now) = settle(&mut gate, wish, 10);
            let now = now.plus(STEP);
            let mut inputs = standing(11, now, OPEN, Some(wish));
            (inputs.pose.at, inputs.twist.at) = (reset, reset);
            if let Some(joints) = &mut inputs.joints {
                joints.at = reset;
            }
            let outcome = gate.tick(&inputs);
            assert!(acts(&outcome, Rule::InputStale), "{:?}", outcome.verdicts);
            assert!(matches!(outcome.action, Action::Stop(StopProfile::ControlledHold)));
        }
    }
}

#[test]
fn a_source_that_floods_speeds_nothing_up_and_the_last_it_said_counts() {
    for kind in 0..usize::from(KINDS) {
        let (document, policy) = policy(kind);
        // A tick for each of a thousand wishes, a microsecond apart: ramps go by time.
        let mut gate = Gate::new(policy);
        let mut now = START;
        let wish = command(document, [1.0; 4]);
        let mut last = gate.tick(&standing(0, now, OPEN, Some(command(document, [0.0; 4]))));
        for tick in 1..=1_000 {
            now = now.plus(Duration::from_micros(1));
            last = gate.tick(&told(tick, now, last.allowed, Some(wish)));
        }
        let fastest = axes(last.allowed).into_iter().map(f64::abs).fold(0.0, f64::max);
        assert!(fastest <= 4.0 * 1e-3 + 1e-9, "kind {kind}: {fastest} after a millisecond");
        assert!(!last.verdicts.is_empty());
    }
}
