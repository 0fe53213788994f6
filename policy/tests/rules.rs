//! Rules that hold a wish back for what the robot carries, has left, has done, or sees.
#![allow(clippy::unwrap_used)]

mod common;

use common::{STEP, document, inputs, skill, verified};
use nooterra_policy::proximity::SECTORS;
use nooterra_policy::{Action, Gate, Inputs, Outcome, Surroundings, Wishes};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::policy::{BatteryReserve, Mode, MotionLimit, PolicyDocument, Proximity};
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// Where there is room all around; the robot faces east.
const OPEN: Pose = Pose { x: 2.0, y: 6.5, yaw: 0.0 };

/// Ticks with one wish on a robot that does as it is told without getting anywhere.
fn settle(
    document: &PolicyDocument,
    wish: Twist,
    ticks: u64,
    change: impl Fn(&mut Inputs),
) -> Outcome {
    settle_every(STEP, document, wish, ticks, change)
}

fn settle_every(
    step: Duration,
    document: &PolicyDocument,
    wish: Twist,
    ticks: u64,
    change: impl Fn(&mut Inputs),
) -> Outcome {
    let mut gate = Gate::new(&verified(document.clone()));
    let (mut now, mut moving) = (MonoNanos(1_000_000_000), Twist::ZERO);
    let mut last = None;
    for tick in 0..=ticks {
        now = now.plus(step);
        let mut inputs = inputs(tick, now, OPEN, moving, skill(now, wish));
        change(&mut inputs);
        let outcome = gate.tick(&inputs);
        moving = outcome.allowed_twist();
        last = Some(outcome);
    }
    last.unwrap()
}

fn acts(outcome: &Outcome, rule: Rule) -> bool {
    outcome.verdicts.iter().any(|verdict| verdict.rule == rule)
}

#[test]
fn below_its_reserve_only_the_way_home_is_open() {
    let mut document = document();
    // Home is 1 m behind it: 0.2 and 0.1 for the metre.
    document.battery =
        Some(BatteryReserve { fraction_per_m: 0.1, home: Point::new(1.0, 6.5), reserve: 0.2 });
    let drive = |linear, battery| {
        settle(&document, Twist::new(linear, 0.0), 100, |inputs| inputs.battery = battery)
    };
    let away = drive(0.3, Some(0.25));
    assert!(acts(&away, Rule::BatteryReserve) && away.allowed_twist() == Twist::ZERO);
    assert_eq!(drive(-0.2, Some(0.25)).allowed_twist(), Twist::new(-0.2, 0.0));
    assert_eq!(drive(0.3, Some(0.35)).allowed_twist(), Twist::new(0.3, 0.0));
    for unknown in [None, Some(f64::NAN)] {
        assert!(acts(&drive(0.3, unknown), Rule::BatteryReserve), "{unknown:?}");
    }
    // It may turn to face its home.
    let turned = settle(&document, Twist::new(0.3, 0.5), 100, |inputs| inputs.battery = Some(0.1));
    assert_eq!(turned.allowed_twist(), Twist::new(0.0, 0.5));
}

#[test]
fn what_has_moved_for_too_long_rests() {
    let mut document = document();
    document.motion = Some(MotionLimit { max_s: 2.0, rest_s: 1.0 });
    let drive = |ticks| settle(&document, Twist::new(0.3, 0.0), ticks, |_| ());
    assert_eq!(drive(95).allowed_twist(), Twist::new(0.3, 0.0));
    let tired = drive(140);
    assert!(acts(&tired, Rule::MotionDuration) && tired.allowed_twist() == Twist::ZERO);
    assert!(drive(200).allowed_twist().linear > 0.0, "it rested");
}

#[test]
fn a_mode_tightens_and_one_that_is_not_known_is_the_strictest() {
    let mut document = document();
    let mode = |id: &str, max_linear_mps, max_angular_radps| Mode {
        id: id.parse().unwrap(),
        max_angular_radps,
        max_decel_mps2: None,
        max_linear_accel_mps2: None,
        max_linear_mps,
    };
    document.modes = vec![mode("loaded", Some(0.4), None), mode("indoors", None, Some(0.2))];
    let drive = |mode| settle(&document, Twist::new(0.8, 0.0), 150, |inputs| inputs.mode = mode);
    let speed = |mode| drive(mode).allowed_twist().linear;
    assert!((speed(None) - 0.8).abs() < 1e-12 && (speed(Some(1)) - 0.8).abs() < 1e-12);
    assert!((speed(Some(0)) - 0.4).abs() < 1e-12 && (speed(Some(9)) - 0.4).abs() < 1e-12);
    let turn = settle(&document, Twist::new(0.0, 1.0), 150, |inputs| inputs.mode = Some(9));
    assert!((turn.allowed_twist().angular - 0.2).abs() < 1e-12);
}

#[test]
fn somebody_ahead_slows_the_robot_then_stops_it_and_leaves_the_way_back_open() {
    let mut document = document();
    document.proximity = Some(Proximity {
        human_mps: 0.0,
        intrusion_m: 0.0,
        release_ms: 200,
        sensor_ms: 200,
        slow_m: 1.0,
        slow_mps: 0.2,
        stop_m: 0.3,
        uncertainty_m: 0.0,
    });
    let drive = |linear, range: Option<f32>| {
        settle(&document, Twist::new(linear, 0.0), 150, |inputs| {
            let mut nearest_m = [9.0; SECTORS];
            if let Some(range) = range {
                (nearest_m[0], nearest_m[SECTORS - 1]) = (range, range);
                inputs.surroundings = Some(Surroundings { at: inputs.now, nearest_m });
            }
        })
    };
    assert!((drive(0.6, Some(5.0)).allowed_twist().linear - 0.6).abs() < 1e-12);
    let near = drive(0.6, Some(1.2));
    assert!(acts(&near, Rule::ProximitySlow) || acts(&near, Rule::ProximitySeparation));
    assert!(near.allowed_twist().linear <= 0.2 + 1e-9 && near.allowed_twist().linear > 0.0);
    let nearer = drive(0.6, Some(0.5));
    assert!(acts(&nearer, Rule::ProximityStop) && nearer.allowed_twist() == Twist::ZERO);
    assert_eq!(drive(-0.2, Some(0.5)).allowed_twist(), Twist::new(-0.2, 0.0));
    assert!(acts(&drive(0.6, None), Rule::ProximityStop), "a silent sensor is an obstacle");
}

#[test]
fn a_slower_tick_keeps_further_from_people_by_what_they_walk_meanwhile() {
    let mut document = document();
    let (human_mps, apart_m) = (1.2, 0.3);
    document.proximity = Some(Proximity {
        human_mps,
        intrusion_m: 0.2,
        release_ms: 200,
        sensor_ms: 200,
        slow_m: 0.4,
        slow_mps: 0.2,
        stop_m: 0.3,
        uncertainty_m: 0.1,
    });
    let allowed = |step_ms| {
        let step = Duration::from_millis(step_ms);
        let outcome = settle_every(step, &document, Twist::new(0.8, 0.0), 200, |inputs| {
            let mut nearest_m = [9.0; SECTORS];
            (nearest_m[0], nearest_m[SECTORS - 1]) = (2.2, 2.2);
            inputs.surroundings = Some(Surroundings { at: inputs.now, nearest_m });
        });
        assert!(acts(&outcome, Rule::ProximitySeparation), "{outcome:?}");
        outcome.allowed_twist().linear
    };
    // They walk until it stands; it drives on until it brakes, and then brakes: 0.8 m/s², after
    // 100 ms and two ticks.
    let needed = |speed: f64, step_ms: u64| {
        let latency_s = 0.1 + 2.0 * Duration::from_millis(step_ms).as_secs_f64();
        let braking_s = speed / 0.8;
        human_mps * (latency_s + braking_s) + speed * (latency_s + braking_s / 2.0) + apart_m
    };
    let (quick, slow) = (allowed(20), allowed(100));
    assert!(slow < quick - 0.05, "{slow} m/s, and {quick} m/s");
    assert!((needed(quick, 20) - needed(slow, 100)).abs() < 1e-6, "{slow} m/s, and {quick} m/s");
}

#[test]
fn a_place_that_is_known_badly_makes_the_robot_larger_and_one_that_is_unknown_stops_it() {
    let document = document();
    // The room ends 2 m to the west of it.
    let back =
        |sigma| settle(&document, Twist::new(-0.2, 0.0), 150, |inputs| inputs.pose_sigma_m = sigma);
    assert_eq!(back(0.01).allowed_twist(), Twist::new(-0.2, 0.0), "the margin covers it");
    // 3 × 0.55 m, less the margin of 5 cm: 1.6 m larger all around.
    assert!(acts(&back(0.55), Rule::ZoneKeepIn));
    for unknown in [2.0, -0.1, f64::NAN, f64::INFINITY] {
        let outcome = back(unknown);
        assert!(matches!(outcome.action, Action::Stop(_)), "{unknown}");
        assert!(acts(&outcome, Rule::InputUncertain));
    }
}

#[test]
fn a_veto_holds_until_it_is_lifted_and_somebody_said_so() {
    let mut gate = Gate::new(&verified(document()));
    let mut now = MonoNanos(1_000_000_000);
    let mut stops = |veto, said: bool| {
        now = now.plus(STEP);
        let wishes =
            Wishes { acknowledged: said.then_some(now), veto, ..skill(now, Twist::new(0.2, 0.0)) };
        let outcome = gate.tick(&inputs(0, now, OPEN, Twist::ZERO, wishes));
        matches!(outcome.action, Action::Stop(_)) && acts(&outcome, Rule::Veto)
    };
    assert!(!stops(false, false));
    assert!(stops(true, false) && stops(true, true));
    assert!(stops(false, false), "lifted, and nobody said that it may move");
    assert!(!stops(false, true));
}
