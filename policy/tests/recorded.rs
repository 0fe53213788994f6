//! What is said of a recorded moment is what a gate does in it.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

mod common;

use common::{document, inputs, skill, verified};
use nooterra_policy::Gate;
use nooterra_policy::recorded::{LOOK_M, Recorded, Seen};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::policy::{PrivacyZone, Sensor};
use nooterra_protocol::schedule::{TimeOfDay, Weekday, Window};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use proptest::prelude::*;

const NOW: MonoNanos = MonoNanos(60_000_000_000);

/// A Wednesday, 16:00 UTC.
const FOUR: WallMillis = WallMillis(1_794_787_200_000 + (2 * 24 + 16) * 3_600_000);

/// The gate holds a first setpoint for so much longer than a recording says anything about:
/// two ticks of its own.
const TICKS_S: f64 = 0.02;

fn hour() -> Vec<Window> {
    let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
    vec![Window { days: vec![Weekday::Wed], from: time("16:00"), to: time("17:00") }]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_moment_is_broken_where_the_gate_acts(
        x in -1.0..13.0_f64,
        y in -1.0..9.0_f64,
        yaw in -3.2..3.2_f64,
        linear in prop_oneof![-0.3..-0.15_f64, 0.15..0.8_f64],
        angular in -0.9..0.9_f64,
        long in any::<bool>(),
        off_ms in -5_000..5_000_i64,
        timed in any::<bool>(),
        known in any::<bool>(),
    ) {
        let mut document = document();
        if long {
            for corner in &mut document.footprint.outline {
                *corner = Point::new(corner.x * 2.0, corner.y);
            }
        }
        if timed {
            for zone in &mut document.zones {
                zone.windows = hour();
            }
        }
        let policy = verified(document);
        let (pose, twist) = (Pose { x, y, yaw }, Twist::new(linear, angular));
        let wall = WallMillis(FOUR.0 + off_ms);
        let mut gate = Gate::new(&policy);
        let mut inputs = inputs(1, NOW, pose, twist, skill(NOW, twist));
        let stamp = Stamp { mono: NOW, trust: ClockTrust::Network, wall };
        inputs.clock = known.then_some(stamp);
        let outcome = gate.tick(&inputs);
        let edges = [Rule::ZoneClosed, Rule::ZoneKeepIn, Rule::ZoneKeepOut];
        let acts = outcome.verdicts.iter().any(|verdict| edges.contains(&verdict.rule));
        let closes =
            outcome.verdicts.iter().any(|verdict| verdict.rule == Rule::ZoneClosed);
        let clock = known.then_some(wall);
        let said = Recorded::new(&policy).judge(&Seen { clock, flying: None, pose, twist: twist.into() });
        prop_assert_eq!(said.closed, closes);
        let least_m = said.edges.iter().map(|edge| edge.clearance_m).fold(f64::INFINITY, f64::min);
        if least_m < -1e-6 {
            prop_assert!(acts, "{:?}, and the gate did nothing", said);
        }
        // Its discs reach no further in two ticks; and between two looks it sees more.
        let reach_m = policy.document().footprint.outline.iter().map(|c| c.x.hypot(c.y));
        let pace = linear.abs() + angular.abs() * reach_m.fold(0.0, f64::max);
        if acts && !closes {
            prop_assert!(least_m < pace * TICKS_S + LOOK_M, "{:?}, and the gate acted", said);
        }
    }
}

#[test]
fn sensors_are_off_where_and_when_the_gate_has_them_off() {
    let mut document = document();
    document.privacy = vec![PrivacyZone {
        altitude: None,
        circle: None,
        holes: Vec::new(),
        id: "ward".parse().unwrap(),
        keep_s: Some(60),
        polygon: common::rectangle((2.0, 1.0), (5.0, 3.0)),
        sensors: vec![Sensor::Camera],
        windows: hour(),
    }];
    let policy = verified(document);
    let twist = Twist::new(0.5, 0.0);
    for step in 0..400 {
        let pose = Pose { x: f64::from(step) * 0.02, y: 2.0, yaw: 0.0 };
        for wall in [FOUR, WallMillis(FOUR.0 - 60_000)] {
            let mut inputs = inputs(1, NOW, pose, twist, skill(NOW, twist));
            inputs.clock = Some(Stamp { mono: NOW, trust: ClockTrust::Cloud, wall });
            let outcome = Gate::new(&policy).tick(&inputs);
            let seen = Seen { clock: Some(wall), flying: None, pose, twist: twist.into() };
            let said = Recorded::new(&policy).judge(&seen);
            // A gate that stops allows no sensor at all.
            if outcome.limit_mps > 0.0
                && matches!(outcome.action, nooterra_policy::Action::Write(_))
            {
                assert_eq!(said.privacy, outcome.privacy, "{pose:?} {wall}");
            }
        }
    }
}

#[test]
fn whichever_way_it_faced_the_circle_around_it_is_judged() {
    let mut document = document();
    for corner in &mut document.footprint.outline {
        *corner = Point::new(corner.x * 2.0, corner.y);
    }
    let policy = verified(document);
    let (recorded, anywhere) = (Recorded::new(&policy), Recorded::new(&policy).facing_anywhere());
    assert!(recorded.body().discs().len() > 1 && anywhere.body().is_circle());
    // The discs stick out beyond the outline, and so beyond the circle around it.
    let more_m = recorded.body().circle_m() - anywhere.body().circle_m();
    assert!(more_m >= 0.0);
    let mut judges = [recorded, anywhere];
    for step in 0..60 {
        let pose = Pose { x: 6.0, y: 1.0, yaw: f64::from(step) * 0.1 };
        let seen = Seen { clock: None, flying: None, pose, twist: Twist::new(0.4, 0.2).into() };
        let [discs, circle] = judges.each_mut().map(|judge| judge.judge(&seen));
        for (discs, circle) in discs.edges.iter().zip(&circle.edges) {
            assert_eq!((discs.rule, discs.zone), (circle.rule, circle.zone));
            assert!(circle.clearance_m <= discs.clearance_m + more_m + 1e-9);
        }
    }
}
