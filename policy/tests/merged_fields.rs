//! Field by field: of two policies of one kind of vehicle, the merged one has the tighter of each,
//! and all that either adds.
#![allow(clippy::unwrap_used)]

mod common;

use common::{document, rectangle};
use nooterra_policy::{MergeError, merge};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::policy::{
    Circle, Flight, Footprint, Joint, Limits, Mask, MaskRule, PolicyDocument, PrivacyZone,
    Proximity, Vehicle,
};

const WHEELBASE_M: f64 = 0.4;

fn of(vehicle: Vehicle) -> PolicyDocument {
    PolicyDocument { vehicle, ..document() }
}

fn steered(max_steering_rad: f64, max_steering_rate_radps: f64, wheelbase_m: f64) -> Vehicle {
    Vehicle::Ackermann { max_steering_rad, max_steering_rate_radps, wheelbase_m }
}

fn flight(tight: bool) -> Flight {
    Flight {
        land_after_s: tight.then_some(20.0),
        max_altitude_m: if tight { 8.0 } else { 10.0 },
        max_climb_mps: if tight { 0.5 } else { 1.0 },
        max_descent_mps: if tight { 0.4 } else { 0.7 },
        max_tilt_rad: if tight { 0.3 } else { 0.5 },
        max_vertical_accel_mps2: if tight { 0.6 } else { 1.0 },
        min_altitude_m: if tight { 0.5 } else { 0.0 },
    }
}

fn joint(tight: bool) -> Joint {
    Joint {
        max_accel: if tight { 2.0 } else { 4.0 },
        max_effort: tight.then_some(30.0),
        max_position: if tight { 1.0 } else { 2.0 },
        max_velocity: if tight { 0.5 } else { 1.0 },
        min_position: if tight { -1.5 } else { -2.0 },
    }
}

fn arm(joints: Vec<Joint>, reaction_ms: u32) -> PolicyDocument {
    PolicyDocument {
        footprint: Footprint::default(),
        limits: Limits::default(),
        vehicle: Vehicle::Joints { joints, reaction_ms },
        zones: vec![],
        ..document()
    }
}

#[test]
fn of_every_kind_of_vehicle_each_limit_is_the_tighter_whichever_comes_first() {
    let lateral = |max_lateral_mps| of(Vehicle::Omnidirectional { max_lateral_mps });
    for (a, b, expected) in [
        (
            of(steered(0.5, 0.8, WHEELBASE_M)),
            of(steered(0.3, 1.0, WHEELBASE_M)),
            steered(0.3, 0.8, WHEELBASE_M),
        ),
        (lateral(0.4), lateral(0.2), lateral(0.2).vehicle),
        (
            of(Vehicle::Multirotor(flight(false))),
            of(Vehicle::Multirotor(flight(true))),
            Vehicle::Multirotor(flight(true)),
        ),
        (
            arm(vec![joint(false), joint(true)], 40),
            arm(vec![joint(true), joint(false)], 60),
            Vehicle::Joints { joints: vec![joint(true); 2], reaction_ms: 60 },
        ),
    ] {
        assert_eq!(merge(&a, &[&b]).unwrap().vehicle, expected);
        assert_eq!(merge(&b, &[&a]).unwrap().vehicle, expected);
    }
}

#[test]
fn vehicles_that_are_not_one_vehicle_are_refused_by_the_field_that_differs() {
    for (a, b, field) in [
        (of(Vehicle::Differential), of(steered(0.5, 1.0, WHEELBASE_M)), "vehicle.type"),
        (of(steered(0.5, 1.0, 0.4)), of(steered(0.5, 1.0, 0.5)), "vehicle.wheelbase_m"),
        (arm(vec![joint(false)], 40), arm(vec![joint(false); 2], 40), "vehicle.joints"),
    ] {
        let error = merge(&a, &[&b]).unwrap_err();
        assert!(matches!(error, MergeError::Differs { key, .. } if key == field), "{error}");
    }
}

#[test]
fn people_are_kept_away_from_as_the_more_careful_says() {
    let proximity = |tight: bool| Proximity {
        human_mps: if tight { 1.6 } else { 1.2 },
        intrusion_m: if tight { 0.2 } else { 0.1 },
        release_ms: if tight { 500 } else { 200 },
        sensor_ms: if tight { 100 } else { 200 },
        slow_m: if tight { 1.5 } else { 1.0 },
        slow_mps: if tight { 0.1 } else { 0.2 },
        stop_m: if tight { 0.6 } else { 0.3 },
        uncertainty_m: if tight { 0.1 } else { 0.05 },
    };
    let with = |proximity| PolicyDocument { proximity, ..document() };
    let (loose, tight) = (with(Some(proximity(false))), with(Some(proximity(true))));
    for (a, b) in [(&loose, &tight), (&tight, &loose), (&with(None), &tight)] {
        assert_eq!(merge(a, &[b]).unwrap().proximity, tight.proximity);
    }
    assert_eq!(merge(&loose, &[&with(None)]).unwrap().proximity, loose.proximity);
}

#[test]
fn masks_and_private_zones_of_both_are_kept_each_under_a_name_of_its_own() {
    let mask = |id: &str, bytes: &[u8]| Mask {
        id: id.parse().unwrap(),
        rule: MaskRule::KeepOut,
        sha256: Digest::of(bytes),
    };
    let private = |id: &str, at: f64| PrivacyZone {
        altitude: None,
        circle: None,
        holes: vec![],
        id: id.parse().unwrap(),
        keep_s: None,
        polygon: rectangle((at, 1.0), (at + 1.0, 2.0)),
        sensors: vec![nooterra_protocol::policy::Sensor::Camera],
        windows: vec![],
    };
    let (mut a, mut b) = (document(), document());
    b.id = "site".parse().unwrap();
    (a.masks, a.privacy) = (vec![mask("floor", b"1")], vec![private("desk", 1.0)]);
    (b.masks, b.privacy) = (a.masks.clone(), vec![private("desk", 3.0)]);
    b.masks.push(mask("dock", b"2"));
    let merged = merge(&a, &[&b]).unwrap();
    let masks: Vec<_> = merged.masks.iter().map(|mask| mask.id.as_str()).collect();
    let privacy: Vec<_> = merged.privacy.iter().map(|zone| zone.id.as_str()).collect();
    assert_eq!(masks, ["floor", "dock"], "the same one is there once");
    assert_eq!(privacy, ["desk", "desk-site"]);
}

#[test]
fn what_only_the_second_fences_is_fenced_and_a_fence_with_a_hole_can_be_turned_round() {
    let (mut open, fenced) = (document(), document());
    open.zones.remove(0);
    let merged = merge(&open, &[&fenced]).unwrap();
    assert!(merged.zones.iter().any(|zone| zone.id.as_str() == "room"));
    // A ring around the middle, and a round one: one of the two is kept out of instead.
    let mut ring = document();
    ring.zones.truncate(1);
    ring.zones[0].holes = vec![rectangle((5.0, 3.0), (6.0, 4.0))];
    let mut round = ring.clone();
    round.id = "round".parse().unwrap();
    (round.zones[0].polygon, round.zones[0].holes) = (vec![], vec![]);
    round.zones[0].circle =
        Some(Circle { center: nooterra_protocol::geometry::Point::new(3.0, 6.0), radius_m: 2.5 });
    for (a, b) in [(&ring, &round), (&round, &ring)] {
        let merged = merge(a, &[b]).unwrap();
        let turned = merged.zones.iter().filter(|zone| !zone.holes.is_empty()).count();
        assert!(merged.zones.len() >= 2 && turned >= 1, "{:?}", merged.zones);
    }
}

#[test]
fn a_base_that_only_one_lets_drive_backward_is_judged_as_wide_as_the_circle() {
    let (mut a, mut b) = (document(), document());
    a.limits.max_reverse_mps = 0.0;
    b.limits.max_reverse_mps = 0.3;
    let merged = merge(&a, &[&b]).unwrap();
    assert!(merged.limits.max_reverse_mps <= 0.0);
    assert!(merged.footprint.margin_m >= a.footprint.margin_m);
}
