//! Whether a robot that is beyond an edge finds back, one short way after the other.
//!
//! The law of the harness asks it of a robot that is nearly as wide as it is long, and of the
//! whole gate; here it is asked of long ones, whose wheels are not in their middle. Not from
//! every place does one of them find back: what is counted is from how many.

use super::*;
use crate::footprint::Body;
use crate::planar::Planar;
use crate::shape::Shape;
use crate::zones::SLACK_M;
use nooterra_protocol::policy::{Footprint, ZoneRule};
use proptest::prelude::{Strategy, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::f64::consts::{PI, TAU};

/// Of a short way, m/s and rad/s.
const SPEED: f64 = 0.2;
const TURN: f64 = 0.4;

const HOLD_S: f64 = 0.05;
const BRAKE_S: f64 = 0.1;

/// Parts of them that are tried; a gate that is asked for more finds as much by itself.
const PARTS: [f64; 3] = [1.0, 0.2, 0.04];

/// Straight ahead and back, and in arcs: parts of speed and turn.
const WAYS: [(f64, f64); 10] = [
    (1.0, 0.0),
    (-1.0, 0.0),
    (1.0, 1.0),
    (1.0, -1.0),
    (-1.0, 1.0),
    (-1.0, -1.0),
    (0.3, 1.0),
    (0.3, -1.0),
    (-0.3, 1.0),
    (-0.3, -1.0),
];

/// More than the longest way out, with whole turns before it.
const MOST_WAYS: usize = 20_000;

/// Robots that are looked at.
const STRAYS: usize = 300;

/// One zone, and a robot somewhere at its edge that drives and turns like a pair of wheels.
#[derive(Clone, Debug)]
struct Stray {
    footprint: Footprint,
    start: Pose,
    zone: (ZoneRule, Shape),
}

impl Stray {
    fn map(&self) -> ZoneMap {
        ZoneMap::new(Body::covering(&self.footprint, SLACK_M), vec![self.zone.clone()])
    }

    fn is_clear(&self) -> bool {
        self.map().standing(self.start, &Uncertainty::NONE).worst().is_none()
    }

    fn gets_out(&self) -> bool {
        let map = self.map();
        let (mut pose, mut side, mut turned) = (self.start, 1.0, 0.0);
        for _ in 0..MOST_WAYS {
            let standing = map.standing(pose, &Uncertainty::NONE);
            if standing.worst().is_none() {
                return true;
            }
            let goes = |speed: f64, turn: f64| {
                let twist = Planar::new(speed * SPEED, 0.0, turn * TURN);
                let path = Path { brake_s: BRAKE_S, hold_s: HOLD_S, start: pose, twist };
                let near = map.near(pose, path.length_m(), &Uncertainty::NONE);
                let broken = map.broken_by(&path, &near, &standing, &Uncertainty::NONE);
                broken.is_none().then(|| path.place(path.whole_s()))
            };
            let tried = PARTS.iter().flat_map(|part| WAYS.map(|(v, w)| (part * v, part * w)));
            if let Some(next) = tried.into_iter().find_map(|(speed, turn)| goes(speed, turn)) {
                (pose, turned) = (next, 0.0);
                continue;
            }
            // It turns until a way is free, and the other way round where that ends.
            let turn = PARTS.iter().find_map(|part| Some((part, goes(0.0, part * side)?)));
            match turn {
                Some((part, next)) if turned < TAU => {
                    turned += part * TURN * (HOLD_S + BRAKE_S / 2.0);
                    pose = next;
                }
                _ if side > 0.0 => (side, turned) = (-1.0, 0.0),
                _ => return false,
            }
        }
        false
    }
}

/// Beyond the edge of a round or a square zone, or of a room.
fn strays() -> impl Strategy<Value = Stray> {
    let robot = (0.1..0.8, 0.1..0.8, 0.1..0.5, 0.0..0.1);
    let zone = prop_oneof![
        (0.8..2.0).prop_map(|radius_m: f64| {
            let shape = Shape::circle(Point::new(0.0, 0.0), radius_m).unwrap();
            (ZoneRule::KeepOut, shape, [radius_m; 2])
        }),
        (0.6..2.0, 0.6..2.0).prop_map(|(x, y)| (ZoneRule::KeepOut, rectangle(x, y), [x, y])),
        // A room is larger than what is in it.
        (1.6..3.0, 1.6..3.0).prop_map(|(x, y)| (ZoneRule::KeepIn, rectangle(x, y), [x, y])),
    ];
    let strays = (robot, zone, (-1.2..1.2, -1.2..1.2, -PI..PI)).prop_map(|(robot, zone, place)| {
        let (front, back, half, margin_m): (f64, f64, f64, f64) = robot;
        let ((rule, shape, [x, y]), (across, along, yaw)) = (zone, place);
        let outline = [(-back, -half), (front, -half), (front, half), (-back, half)]
            .map(|(x, y)| Point::new(x, y))
            .to_vec();
        Stray {
            footprint: Footprint { margin_m, outline },
            start: Pose { x: across * x, y: along * y, yaw },
            zone: (rule, shape),
        }
    });
    strays.prop_filter("it is clear", |stray| !stray.is_clear())
}

fn rectangle(x: f64, y: f64) -> Shape {
    let corners = [(-x, -y), (x, -y), (x, y), (-x, y)].map(|(x, y)| Point::new(x, y));
    Shape::polygon(&corners, &[]).unwrap()
}

#[test]
fn a_long_robot_finds_back_from_nearly_everywhere() {
    // The same ones each time: the share is what is claimed, not luck.
    let mut runner = TestRunner::deterministic();
    let out = (0..STRAYS)
        .filter(|_| strays().new_tree(&mut runner).unwrap().current().gets_out())
        .count();
    println!("{out} of {STRAYS} get out");
    assert!(out * 100 >= STRAYS * 90, "only {out} of {STRAYS} get out");
}

#[test]
fn a_long_robot_that_hardly_touches_a_wall_it_lies_along_gets_away() {
    for (front, back) in [(0.6, 0.6), (0.9, 0.3), (0.3, 0.9)] {
        for depth_m in [0.002, 0.005, 0.02, 0.1] {
            let outline = [(-back, -0.2), (front, -0.2), (front, 0.2), (-back, 0.2)];
            let outline = outline.map(|(x, y)| Point::new(x, y)).to_vec();
            let wall = rectangle(9.0, 1.0);
            let mut stray = Stray {
                footprint: Footprint { margin_m: 0.05, outline },
                start: Pose { x: 0.0, y: 2.0, yaw: 0.0 },
                zone: (ZoneRule::KeepOut, wall),
            };
            let above_m =
                stray.map().clearance_m(Rule::ZoneKeepOut, 0, stray.start, &Uncertainty::NONE);
            stray.start.y -= above_m + depth_m;
            assert!(!stray.is_clear() && stray.gets_out(), "{depth_m} m, {front} m, {back} m");
        }
    }
}

#[test]
fn from_deep_within_a_corner_a_short_robot_finds_back_however_it_stands() {
    let outline = [(-0.25, -0.2), (0.25, -0.2), (0.25, 0.2), (-0.25, 0.2)];
    let outline = outline.map(|(x, y)| Point::new(x, y)).to_vec();
    let inward_m = [0.175, 0.2, 0.25, 0.4];
    let mut stuck = Vec::new();
    for (x, y, turn) in inward_m.iter().flat_map(|x| {
        inward_m.iter().flat_map(move |y| (0..8).map(move |turn| (x, y, f64::from(turn))))
    }) {
        let stray = Stray {
            footprint: Footprint { margin_m: 0.05, outline: outline.clone() },
            start: Pose { x: 1.75 - x, y: 1.2 - y, yaw: turn * TAU / 8.0 },
            zone: (ZoneRule::KeepOut, rectangle(1.75, 1.2)),
        };
        if !stray.gets_out() {
            stuck.push(stray.start);
        }
    }
    assert!(stuck.is_empty(), "{} places: {stuck:?}", stuck.len());
}
