//! What is asked of a policy beside the tick: which zones a robot is in, and what a candidate
//! would have done.
#![allow(clippy::unwrap_used)]

mod common;

use common::{STEP, document, inputs, skill, verified};
use nooterra_policy::zones::Uncertainty;
use nooterra_policy::{Gate, Shadow};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::policy::{Mode, PolicyDocument};
use nooterra_protocol::shadow::Difference;
use nooterra_protocol::time::MonoNanos;

const OPEN: Pose = Pose { x: 2.0, y: 6.5, yaw: 0.0 };

#[test]
fn a_robot_is_in_the_zones_that_any_part_of_it_touches() {
    let policy = verified(document());
    let names = |x: f64, y: f64, place_m: f64| -> Vec<String> {
        let unsure = Uncertainty { place_m, yaw_rad: 0.0 };
        let zones = policy.zones_at(Pose { x, y, yaw: 0.0 }, &unsure).unwrap();
        zones.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(2.0, 6.5, 0.0), ["room"]);
    // The island begins at 4 m; half of the robot and its margin are 0.3 m.
    assert_eq!(names(3.5, 3.5, 0.0), ["room"]);
    assert_eq!(names(3.8, 3.5, 0.0), ["island", "room"]);
    assert_eq!(names(3.5, 3.5, 0.3), ["island", "room"], "it may be there");
    assert_eq!(names(-5.0, -5.0, 0.0), [""; 0]);
    for odd in [f64::NAN, f64::INFINITY] {
        assert_eq!(policy.zones_at(Pose { x: odd, ..OPEN }, &Uncertainty::NONE), None);
    }
}

/// What both make of a second of one wish.
fn beside(
    candidate: PolicyDocument,
    mode: Option<u8>,
) -> (Option<Difference>, Option<Rule>, Option<String>) {
    let mut in_force = document();
    in_force.modes = vec![Mode {
        id: "loaded".parse().unwrap(),
        max_angular_radps: None,
        max_decel_mps2: None,
        max_linear_accel_mps2: None,
        max_linear_mps: None,
    }];
    let in_force = verified(in_force);
    let candidate = verified(candidate);
    let mut gate = Gate::new(&in_force);
    let mut shadow = Shadow::new(&candidate, &in_force);
    let (mut now, mut moving) = (MonoNanos(1_000_000_000), Twist::ZERO);
    let mut last = (None, None, None);
    for tick in 0..150 {
        now = now.plus(STEP);
        let mut inputs = inputs(tick, now, OPEN, moving, skill(now, Twist::new(0.6, 0.0)));
        inputs.mode = mode;
        let opinion = shadow.judge(&inputs);
        let outcome = gate.tick(&inputs);
        moving = outcome.allowed_twist();
        let difference = opinion.differs(&outcome.allowed);
        let because = difference.and_then(|it| opinion.because(it, &outcome.verdicts));
        let zone = because.and_then(|verdict| verdict.zone);
        let zone = zone.and_then(|zone| shadow.zone_id(zone)).map(ToString::to_string);
        last = (difference, because.map(|verdict| verdict.rule), zone);
    }
    last
}

#[test]
fn a_candidate_says_what_it_would_have_done_and_by_which_rule() {
    assert_eq!(beside(document(), None), (None, None, None));
    let mut slower = document();
    slower.limits.max_linear_mps = 0.2;
    let (difference, rule, _) = beside(slower, None);
    assert_eq!((difference, rule), (Some(Difference::WouldSlow), Some(Rule::SpeedLinear)));
    let mut elsewhere = document();
    elsewhere.zones[0].polygon = common::rectangle((3.0, 0.0), (12.0, 8.0));
    let (difference, rule, zone) = beside(elsewhere, None);
    assert_eq!(difference, Some(Difference::WouldSlow), "back in, at a crawl");
    assert_eq!((rule, zone.as_deref()), (Some(Rule::ZoneKeepIn), Some("room")));
}

#[test]
fn a_mode_is_found_in_the_candidate_by_its_name_and_is_the_strictest_where_it_is_not() {
    let with = |id: &str, max_linear_mps| {
        let mut candidate = document();
        let mode = |id: &str, max_linear_mps| Mode {
            id: id.parse().unwrap(),
            max_angular_radps: None,
            max_decel_mps2: None,
            max_linear_accel_mps2: None,
            max_linear_mps: Some(max_linear_mps),
        };
        candidate.modes = vec![mode("night", 0.1), mode(id, max_linear_mps)];
        candidate
    };
    assert_eq!(beside(with("loaded", 0.7), Some(0)).0, None);
    assert_eq!(beside(with("loaded", 0.3), Some(0)).0, Some(Difference::WouldSlow));
    assert_eq!(beside(with("other", 0.7), Some(0)).0, Some(Difference::WouldSlow));
}
