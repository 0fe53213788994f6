//! What the gate does with each kind of tick.
#![allow(clippy::unwrap_used)]

mod common;

use common::{STEP, document, inputs, owner, rectangle, robot, signed, skill, verified, zone};
use nooterra_policy::{Action, Gate, Inputs, Outcome, PolicyError, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Command, Source, StopProfile};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::grid::{Frame, Grid};
use nooterra_protocol::ids::{RobotId, ZoneId};
use nooterra_protocol::keys::{Ed25519Key, Signer};
use nooterra_protocol::policy::{Mask, MaskRule, PolicyDocument, ZoneRule};
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// Far from any edge.
const OPEN: Pose = Pose { x: 2.0, y: 4.0, yaw: 0.0 };

const START: MonoNanos = MonoNanos(1_000_000_000);

fn rules(outcome: &Outcome) -> Vec<Rule> {
    outcome.verdicts.iter().map(|verdict| verdict.rule).collect()
}

fn is_stop(outcome: &Outcome) -> bool {
    matches!(outcome.action, Action::Stop(StopProfile::ControlledHold))
}

/// Ticks at one place with one wish until the ramps are over, and gives the last outcome.
fn settle(gate: &mut Gate, pose: Pose, wish: Twist) -> (Outcome, MonoNanos, u64) {
    let (mut now, mut moving) = (START, Twist::ZERO);
    let mut outcome = None;
    for tick in 1..=150 {
        now = now.plus(STEP);
        let next = gate.tick(&inputs(tick, now, pose, moving, skill(now, wish)));
        moving = next.allowed_twist();
        outcome = Some(next);
    }
    (outcome.unwrap(), now, 150)
}

fn gate() -> Gate {
    Gate::new(&verified(document()))
}

/// The first tick of a new gate, changed.
fn first(change: impl FnOnce(&mut Inputs)) -> Outcome {
    let mut inputs = inputs(1, START, OPEN, Twist::ZERO, skill(START, Twist::new(0.5, 0.0)));
    change(&mut inputs);
    gate().tick(&inputs)
}

#[test]
fn a_compliant_wish_passes_bit_for_bit_and_without_a_verdict() {
    let wish = Twist::new(0.371_234_567, -0.123_456_789);
    let (outcome, _, tick) = settle(&mut gate(), OPEN, wish);
    assert!(outcome.verdicts.is_empty(), "{:?}", rules(&outcome));
    assert_eq!(outcome.allowed_twist().linear.to_bits(), wish.linear.to_bits());
    assert_eq!(outcome.allowed_twist().angular.to_bits(), wish.angular.to_bits());
    let Action::Write(gated) = outcome.action else { panic!("stopped") };
    assert_eq!(gated.open(&robot(), tick), Ok(Command::Drive(wish)));
}

#[test]
fn a_wish_beyond_the_envelope_is_scaled_and_the_verdict_says_by_what() {
    let (outcome, _, _) = settle(&mut gate(), OPEN, Twist::new(1.6, 0.5));
    assert!((outcome.allowed_twist().linear - 0.8).abs() < 1e-12);
    assert!((outcome.allowed_twist().angular - 0.25).abs() < 1e-12, "the path kept its shape");
    let verdict = outcome.verdicts.as_slice()[0];
    assert_eq!((verdict.rule, verdict.limit), (Rule::SpeedLinear, 0.8));
    assert_eq!((verdict.limit, outcome.asked), (0.8, Twist::new(1.6, 0.5).into()));
    let (outcome, _, _) = settle(&mut gate(), OPEN, Twist::new(-0.6, 6.0));
    assert_eq!(rules(&outcome), [Rule::SpeedLinear, Rule::SpeedAngular]);
    assert!((outcome.allowed_twist().angular - 1.5).abs() < 1e-12);
    assert!((outcome.allowed_twist().linear + 0.15).abs() < 1e-12);
}

#[test]
fn speed_builds_up_no_faster_than_allowed() {
    let mut gate = gate();
    let outcome = gate.tick(&inputs(1, START, OPEN, Twist::ZERO, Wishes::default()));
    assert_eq!(outcome.allowed_twist(), Twist::ZERO);
    let now = START.plus(STEP);
    let wish = skill(now, Twist::new(0.8, 0.0));
    let outcome = gate.tick(&inputs(2, now, OPEN, Twist::ZERO, wish));
    assert!((outcome.allowed_twist().linear - 0.6 * 0.02).abs() < 1e-12);
    assert_eq!(rules(&outcome), [Rule::AccelLinear]);
}

#[test]
fn an_input_that_cannot_be_believed_ends_in_the_configured_stop() {
    let late = Duration::from_millis(101);
    let ago = |span: Duration| MonoNanos(START.0 - u64::try_from(span.as_nanos()).unwrap());
    let nan_wish = skill(START, Twist::new(f64::NAN, 0.0));
    let infinite = skill(START, Twist::new(0.1, f64::NEG_INFINITY));
    let pressed = Wishes { emergency_stop: true, ..skill(START, Twist::new(0.5, 0.0)) };
    for (outcome, rule) in [
        (first(|i| i.pose.at = ago(late)), Rule::InputStale),
        (first(|i| i.twist.at = ago(late)), Rule::InputStale),
        (first(|i| i.pose.at = START.plus(late)), Rule::InputStale),
        (first(|i| i.pose.value.x = f64::NAN), Rule::InputNan),
        (first(|i| i.pose.value.yaw = f64::INFINITY), Rule::InputNan),
        (first(|i| i.twist.value.angular = f64::NAN), Rule::InputNan),
        (first(|i| i.wishes = nan_wish), Rule::InputNan),
        (first(|i| i.wishes = infinite), Rule::InputNan),
        (first(|i| i.journal_age = late), Rule::JournalBehind),
        (first(|i| i.wishes = pressed), Rule::EmergencyStop),
    ] {
        assert!(is_stop(&outcome), "{rule}: {:?}", outcome.action);
        assert_eq!(rules(&outcome), [rule]);
        assert_eq!(outcome.allowed_twist(), Twist::ZERO);
    }
    assert!(!is_stop(&first(|_| ())));
    let at_bound = Duration::from_millis(100);
    assert!(!is_stop(&first(|i| (i.pose.at, i.journal_age) = (ago(at_bound), at_bound))));
}

#[test]
fn a_number_that_is_none_from_a_source_that_is_not_in_charge_changes_nothing() {
    let wish = |linear| {
        let until = START.plus(Duration::from_secs(1));
        Some(Wish { at: START, command: Twist::new(linear, 0.0).into(), until })
    };
    let with = |linear| Wishes { operator: wish(0.2), skill: wish(linear), ..Wishes::default() };
    let (one, other) = (first(|i| i.wishes = with(f64::NAN)), first(|i| i.wishes = with(0.1)));
    assert_eq!(one.source, Source::Operator);
    assert_eq!((one.allowed, rules(&one)), (other.allowed, rules(&other)));
}

#[test]
fn a_clock_that_jumps_stops_and_a_steady_one_goes_on() {
    for next in [START.0 - 1, START.0, START.0 + 250_000_001] {
        let mut gate = gate();
        let tick = |gate: &mut Gate, tick, now| {
            gate.tick(&inputs(tick, now, OPEN, Twist::ZERO, skill(now, Twist::new(0.5, 0.0))))
        };
        assert!(!is_stop(&tick(&mut gate, 1, START)));
        let outcome = tick(&mut gate, 2, MonoNanos(next));
        assert!(is_stop(&outcome) && rules(&outcome) == [Rule::ClockJump]);
        let after = MonoNanos(next).plus(STEP);
        assert!(!is_stop(&tick(&mut gate, 3, after)));
    }
}

#[test]
fn a_silent_source_with_a_lease_is_braked_and_no_lower_one_takes_over() {
    let mut gate = gate();
    let (outcome, mut now, _) = settle(&mut gate, OPEN, Twist::new(0.8, 0.0));
    let (said, mut moving) = (now, outcome.allowed_twist());
    let mut stale_from = None;
    for tick in 151..300 {
        now = now.plus(STEP);
        let until = said.plus(Duration::from_secs(60));
        let operator = Some(Wish { at: said, command: Twist::new(0.8, 0.0).into(), until });
        let wishes = Wishes { operator, ..skill(now, Twist::new(0.8, 0.0)) };
        let outcome = gate.tick(&inputs(tick, now, OPEN, moving, wishes));
        assert_eq!(outcome.source, Source::Operator);
        let old = now.since(said).unwrap() > Duration::from_millis(300);
        assert_eq!(rules(&outcome).contains(&Rule::SourceStale), old);
        if old {
            stale_from.get_or_insert(tick);
            let drop = moving.linear - outcome.allowed_twist().linear;
            assert!((0.0..=0.8 * 0.02 + 1e-12).contains(&drop), "braked by {drop}");
        }
        moving = outcome.allowed_twist();
    }
    assert!(stale_from.is_some());
    assert_eq!(moving, Twist::ZERO);
}

#[test]
fn an_ended_lease_comes_to_rest_within_the_braking_limit() {
    let mut gate = gate();
    let (outcome, mut now, _) = settle(&mut gate, OPEN, Twist::new(0.8, 0.4));
    let mut moving = outcome.allowed_twist();
    for tick in 151..=201 {
        now = now.plus(STEP);
        let outcome = gate.tick(&inputs(tick, now, OPEN, moving, Wishes::default()));
        assert_eq!(outcome.source, Source::Idle);
        let Action::Write(_) = outcome.action else { panic!("idle is no stop") };
        if outcome.allowed_twist() != Twist::ZERO {
            let curvature = outcome.allowed_twist().angular / outcome.allowed_twist().linear;
            assert!((curvature - 0.5).abs() < 1e-9, "the path kept its shape");
        }
        moving = outcome.allowed_twist();
    }
    assert_eq!(moving, Twist::ZERO);
}

#[test]
fn a_speed_zone_holds_where_the_footprint_touches_it() {
    let mut document = document();
    let slow = ZoneRule::Speed { max_linear_mps: 0.3 };
    document.zones.push(zone("slow", rectangle((2.3, 0.0), (3.0, 8.0)), slow));
    let mut gate = Gate::new(&verified(document));
    let (outcome, _, _) = settle(&mut gate, OPEN, Twist::new(0.6, 0.2));
    assert!((outcome.allowed_twist().linear - 0.3).abs() < 1e-12);
    assert!((outcome.allowed_twist().angular - 0.1).abs() < 1e-12);
    assert!((outcome.limit_mps - 0.3).abs() < 1e-12);
    let verdict = outcome.verdicts.as_slice()[0];
    assert_eq!((verdict.rule, verdict.limit), (Rule::ZoneSpeed, 0.3));
    let zone = verdict.zone.and_then(|zone| gate.zone_id(zone)).unwrap();
    assert_eq!(zone.as_str(), "slow");
}

#[test]
fn before_an_edge_the_wish_is_refused_and_turning_on_the_spot_is_not() {
    // Without a way back it is judged by its circle.
    let mut document = document();
    document.limits.max_reverse_mps = 0.0;
    let gate = || Gate::new(&verified(document.clone()));
    let disc = common::radius(&document) + 0.05 + 0.005;
    let at_island = Pose { x: 4.0 - disc - 1e-4, y: 4.0, yaw: 0.0 };
    let (outcome, _, _) = settle(&mut gate(), at_island, Twist::new(0.8, 0.0));
    assert!(outcome.allowed_twist().linear < 1e-3, "{:?}", outcome.allowed_twist());
    let verdict = *outcome.verdicts.iter().find(|v| v.rule == Rule::ZoneKeepOut).unwrap();
    assert!((verdict.limit - 1e-4).abs() < 1e-9, "clearance {}", verdict.limit);
    let (outcome, _, _) = settle(&mut gate(), at_island, Twist::new(0.0, 1.0));
    assert_eq!((outcome.allowed_twist(), outcome.verdicts.len()), (Twist::new(0.0, 1.0), 0));
    let away = Pose { yaw: std::f64::consts::PI, ..at_island };
    let (outcome, _, _) = settle(&mut gate(), away, Twist::new(0.8, 0.0));
    assert_eq!(outcome.allowed_twist(), Twist::new(0.8, 0.0));
}

#[test]
fn beyond_an_edge_only_the_way_back_is_open_and_only_at_a_crawl() {
    for (pose, rule) in [
        (Pose { x: 4.1, y: 4.0, yaw: 0.0 }, Rule::ZoneKeepOut),
        (Pose { x: 11.9, y: 4.0, yaw: 0.0 }, Rule::ZoneKeepIn),
        (Pose { x: 14.0, y: 4.0, yaw: 0.0 }, Rule::ZoneKeepIn),
    ] {
        let (deeper, _, _) = settle(&mut gate(), pose, Twist::new(0.8, 0.0));
        assert_eq!(deeper.allowed_twist(), Twist::ZERO);
        assert!(rules(&deeper).contains(&rule));
        let (along, _, _) = settle(&mut gate(), Pose { yaw: 1.571, ..pose }, Twist::new(-0.3, 0.0));
        assert_eq!(along.allowed_twist(), Twist::ZERO);
        let (back, _, _) = settle(&mut gate(), pose, Twist::new(-0.3, 0.0));
        assert!((back.allowed_twist().linear + 0.1).abs() < 1e-12, "{:?}", back.allowed_twist());
        assert!(rules(&back).contains(&rule));
    }
}

#[test]
fn with_several_keep_in_zones_one_must_hold_the_whole_footprint() {
    let mut document = document();
    // Judged by its circle.
    document.limits.max_reverse_mps = 0.0;
    document.zones = vec![
        zone("west", rectangle((0.0, 0.0), (5.0, 8.0)), ZoneRule::KeepIn),
        zone("east", rectangle((3.0, 0.0), (9.0, 8.0)), ZoneRule::KeepIn),
    ];
    let mut gate = Gate::new(&verified(document.clone()));
    let between = Pose { x: 4.0, ..OPEN };
    let (outcome, _, _) = settle(&mut gate, between, Twist::new(0.8, 0.0));
    assert_eq!(outcome.allowed_twist(), Twist::new(0.8, 0.0));
    // Overlapping by less than the footprint is no way through.
    document.zones[1].polygon = rectangle((4.8, 0.0), (9.0, 8.0));
    let mut gate = Gate::new(&verified(document));
    let (outcome, _, _) = settle(&mut gate, Pose { x: 4.624, ..OPEN }, Twist::new(0.8, 0.0));
    assert!(outcome.allowed_twist().linear < 0.01, "{:?}", outcome.allowed_twist());
}

#[test]
fn a_robot_that_moves_faster_than_it_was_told_is_judged_by_the_faster() {
    // 0.4 m from the edge of the disc: room for 0.2 m/s, none for 1.2.
    let near = Pose { x: 3.2, y: 4.0, yaw: 0.0 };
    let told = Twist::new(0.2, 0.0);
    for (measured, free) in [(told, true), (Twist::new(1.2, 0.0), false)] {
        let mut gate = gate();
        let (outcome, now, tick) = settle(&mut gate, near, told);
        assert_eq!(outcome.allowed_twist(), told);
        let now = now.plus(STEP);
        let outcome = gate.tick(&inputs(tick + 1, now, near, measured, skill(now, told)));
        assert_eq!(
            outcome.allowed_twist() == told,
            free,
            "{measured:?}: {:?}",
            outcome.allowed_twist()
        );
    }
}

#[test]
fn what_is_told_to_stand_is_not_held_back_though_it_is_pushed_beyond_an_edge() {
    // The front of the island is 0.3 m away.
    let before = Pose { x: 3.45, y: 4.0, yaw: 0.0 };
    let mut gate = gate();
    let (_, now, tick) = settle(&mut gate, before, Twist::ZERO);
    let now = now.plus(STEP);
    let pushed = Twist::new(1.0, 0.0);
    let stands = gate.tick(&inputs(tick + 1, now, before, pushed, skill(now, Twist::ZERO)));
    assert_eq!((stands.allowed_twist(), rules(&stands)), (Twist::ZERO, vec![]));
    // A wish of the same moment is held back by that edge.
    let now = now.plus(STEP);
    let wish = skill(now, Twist::new(0.3, 0.0));
    let held = gate.tick(&inputs(tick + 2, now, before, pushed, wish));
    assert_eq!(held.allowed_twist(), Twist::ZERO);
    assert!(rules(&held).contains(&Rule::ZoneKeepOut), "{:?}", rules(&held));
}

#[test]
fn after_a_stop_the_ramp_begins_at_the_measured_speed() {
    let mut gate = gate();
    let (_, now, _) = settle(&mut gate, OPEN, Twist::new(0.8, 0.0));
    let now = now.plus(STEP);
    let behind = Inputs {
        journal_age: Duration::from_secs(1),
        ..inputs(151, now, OPEN, Twist::new(0.8, 0.0), Wishes::default())
    };
    assert!(is_stop(&gate.tick(&behind)));
    let now = now.plus(STEP);
    let wish = skill(now, Twist::new(0.8, 0.0));
    let outcome = gate.tick(&inputs(152, now, OPEN, Twist::new(0.3, 0.0), wish));
    assert!((outcome.allowed_twist().linear - (0.3 + 0.6 * 0.02)).abs() < 1e-12);
}

#[test]
fn only_the_owners_policy_for_this_robot_makes_a_gate() {
    let (key, bytes) = (owner().verifying_key(), signed(document()));
    let policy = VerifiedPolicy::verify(&bytes, &key, &robot()).unwrap();
    assert_eq!(policy.document(), &document());
    assert_eq!(policy.digest(), nooterra_protocol::codec::Digest::of(&bytes));
    let stranger = Ed25519Key::from_seed([8; 32]).verifying_key();
    let other = RobotId::new("amr-2").unwrap();
    assert!(matches!(
        VerifiedPolicy::verify(&bytes, &stranger, &robot()),
        Err(PolicyError::Signed(_))
    ));
    assert!(matches!(VerifiedPolicy::verify(&bytes, &key, &other), Err(PolicyError::Robot { .. })));
    let mut senseless = document();
    senseless.limits.max_decel_mps2 = f64::NAN;
    assert!(matches!(
        VerifiedPolicy::verify(&signed(senseless), &key, &robot()),
        Err(PolicyError::Document(_))
    ));
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(VerifiedPolicy::verify(&altered, &key, &robot()).is_err(), "byte {at}");
    }
}

/// Free ground, far around.
fn free_mask() -> (Mask, Vec<u8>) {
    let frame = Frame {
        cell_m: 0.5,
        height: 120,
        origin: Pose { x: -24.0, y: -26.0, yaw: 0.0 },
        width: 120,
    };
    let cells = (0..frame.cells()).map(|_| 0).collect();
    let file = Grid::new(frame, cells).unwrap().encode();
    let id = ZoneId::new("free").unwrap();
    (Mask { id, rule: MaskRule::KeepOut, sha256: Digest::of(&file) }, file)
}

#[test]
fn where_ground_is_known_to_be_open_a_tick_comes_to_what_it_comes_to_where_all_is_looked_at() {
    // Near a mask no ground is ever known to be open: there every tick looks.
    let (mask, file) = free_mask();
    let masked = PolicyDocument { masks: vec![mask], ..document() };
    let read = |_: &Mask| Ok(file.clone());
    let looking = VerifiedPolicy::verify_with_masks(
        &signed(masked),
        &owner().verifying_key(),
        &robot(),
        read,
    );
    let (mut knows, mut looks) = (Gate::new(&verified(document())), Gate::new(&looking.unwrap()));
    let (mut pose, mut moving, mut now) = (OPEN, Twist::ZERO, START);
    let (mut free, mut held) = (0, 0);
    for tick in 1_u32..=6_000 {
        now = now.plus(STEP);
        let turn = f64::from(tick);
        let wish = Twist::new(0.4 + 0.7 * (turn / 113.0).sin(), 1.4 * (turn / 171.0).cos());
        // Now and then it is not where, or not as fast as, it was told.
        let odd = if tick % 97 == 0 { 0.2 } else { 0.0 };
        let seen = Twist::new(moving.linear + odd, moving.angular);
        let inputs = inputs(u64::from(tick), now, pose, seen, skill(now, wish));
        let (ours, theirs) = (knows.tick(&inputs), looks.tick(&inputs));
        let bits = |outcome: &Outcome| {
            let twist = outcome.allowed_twist();
            [twist.linear, twist.angular, outcome.limit_mps].map(f64::to_bits)
        };
        assert_eq!(bits(&ours), bits(&theirs), "tick {tick} at {pose:?}");
        assert_eq!(ours.verdicts.as_slice(), theirs.verdicts.as_slice(), "tick {tick} at {pose:?}");
        let by_zone = ours.verdicts.iter().any(|verdict| verdict.zone.is_some());
        (free, held) = (free + u32::from(!by_zone), held + u32::from(by_zone));
        moving = ours.allowed_twist();
        pose.yaw += moving.angular * 0.02;
        pose.x += moving.linear * 0.02 * pose.yaw.cos();
        pose.y += moving.linear * 0.02 * pose.yaw.sin();
    }
    assert!(free > 1_000 && held > 200, "{free} free, {held} held");
}
