//! What the walk says, beside what many small steps of the true outline say.

use super::*;
use crate::footprint::Body;
use crate::planar::Planar;
use crate::shape::Shape;
use crate::zones::SLACK_M;
use nooterra_protocol::policy::{Footprint, ZoneRule};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_oneof, proptest};
use std::f64::consts::TAU;

/// A robot, the zones, a path, and how well its beginning is known.
#[derive(Clone, Debug)]
struct Case {
    footprint: Footprint,
    path: Path,
    unsure: Uncertainty,
    zones: Vec<(ZoneRule, Shape)>,
}

impl Case {
    fn map(&self) -> ZoneMap {
        ZoneMap::new(Body::covering(&self.footprint, SLACK_M), self.zones.clone())
    }

    fn broken_by(&self, map: &ZoneMap) -> Option<Edge> {
        let (start, unsure) = (self.path.start, &self.unsure);
        let near = map.near(start, self.path.length_m(), unsure);
        map.broken_by(&self.path, &near, &map.standing(start, unsure), unsure)
    }

    /// Least distance of the true outline from an edge, on the right side of it, at a pose; for
    /// a zone with a speed, infinite where the path is slow enough.
    fn clearance_m(&self, pose: Pose, speed: f64) -> f64 {
        let outline = &self.footprint.outline;
        let (sin, cos) = pose.yaw.sin_cos();
        let sides = outline.iter().zip(outline.iter().cycle().skip(1));
        let edge: Vec<Point> = sides
            .flat_map(|(a, b)| {
                (0..6).map(move |part| {
                    let part = f64::from(part) / 6.0;
                    Point::new(a.x + part * (b.x - a.x), a.y + part * (b.y - a.y))
                })
            })
            .map(|p| Point::new(pose.x + p.x * cos - p.y * sin, pose.y + p.x * sin + p.y * cos))
            .collect();
        let mut least = f64::INFINITY;
        for (rule, shape) in &self.zones {
            let inside = match rule {
                ZoneRule::KeepIn => true,
                ZoneRule::KeepOut => false,
                ZoneRule::Speed { max_linear_mps } if speed <= *max_linear_mps + 1e-6 => continue,
                ZoneRule::Speed { .. } => false,
            };
            for at in &edge {
                let distance = shape.signed_distance(*at);
                least = least.min(if inside { -distance } else { distance });
            }
        }
        least
    }
}

fn star(radii: &[f64], x: f64, y: f64) -> Shape {
    let step = TAU / f64::from(u32::try_from(radii.len()).unwrap());
    let corner = |(index, radius): (u32, &f64)| {
        let (sin, cos) = (step * f64::from(index)).sin_cos();
        Point::new(x + radius * cos, y + radius * sin)
    };
    Shape::polygon(&(0..).zip(radii).map(corner).collect::<Vec<_>>(), &[]).unwrap()
}

fn cases() -> impl Strategy<Value = Case> {
    let robot = (0.1..0.8, 0.1..0.8, 0.1..0.5, 0.0..0.1);
    let room = prop::collection::vec(2.0..4.0, 3..20);
    // Larger than the robot, or it could lie inside the outline unseen by the test's samples.
    let islands = prop::collection::vec(
        (prop::collection::vec(0.7..1.2, 3..9), -4.0..4.0, -4.0..4.0, 0_u8..3),
        0..4,
    );
    let path = (-0.5..0.5, -0.5..0.5, -4.0..4.0, 0.0..0.3, 0.01..1.0);
    // A straight way is one span; a turn is many.
    let turn = prop_oneof![1 => Just(0.0), 2 => -2.0..2.0];
    let twist = (-2.0..2.0, -2.0..2.0, turn, any::<bool>());
    let unsure = (0.0..0.05, prop::bool::weighted(0.5), 0.0..0.4);
    (robot, room, islands, path, twist, unsure).prop_map(
        |(robot, room, islands, path, twist, (place_m, turned, yaw_rad))| {
            let (front, back, half, margin_m): (f64, f64, f64, f64) = robot;
            let outline = [(-back, -half), (front, -half), (front, half), (-back, half)]
                .map(|(x, y)| Point::new(x, y))
                .to_vec();
            let mut zones = vec![(ZoneRule::KeepIn, star(&room, 0.0, 0.0))];
            for (radii, x, y, kind) in islands {
                let shape = star(&radii, x, y);
                zones.push(match kind {
                    0 => (ZoneRule::KeepOut, shape),
                    1 => (ZoneRule::KeepOut, Shape::circle(Point::new(x, y), 0.8).unwrap()),
                    _ => (ZoneRule::Speed { max_linear_mps: 0.4 }, shape),
                });
            }
            let (x, y, yaw, hold_s, brake_s) = path;
            let (ahead, aside, angular, slides): (f64, f64, f64, bool) = twist;
            let twist = Planar::new(ahead, if slides { aside } else { 0.0 }, angular);
            Case {
                footprint: Footprint { margin_m, outline },
                path: Path { brake_s, hold_s, start: Pose { x, y, yaw }, twist },
                unsure: Uncertainty { place_m, yaw_rad: if turned { yaw_rad } else { 0.0 } },
                zones,
            }
        },
    )
}

/// Places on a path, close together, and the speed at each.
fn places(path: &Path) -> impl Iterator<Item = (Pose, f64)> {
    let path = *path;
    (0..=150).map(move |part| {
        let held_s = path.whole_s() * f64::from(part) / 150.0;
        (path.place(held_s), path.speed(held_s))
    })
}

/// The same place if the start was turned and moved by an error.
fn swung(path: &Path, pose: Pose, yaw: f64, (x, y): (f64, f64)) -> Pose {
    let (sin, cos) = yaw.sin_cos();
    let (dx, dy) = (pose.x - path.start.x, pose.y - path.start.y);
    Pose {
        x: path.start.x + dx * cos - dy * sin + x,
        y: path.start.y + dx * sin + dy * cos + y,
        yaw: pose.yaw + yaw,
    }
}

proptest! {
    #[test]
    fn the_clearance_that_was_measured_for_the_paths_is_the_one_that_is_told(
        case in cases(), ahead_m in 0.0..2.0
    ) {
        let (map, start, unsure) = (case.map(), case.path.start, &case.unsure);
        let near = map.near(start, ahead_m, unsure);
        for (zone, (rule, _)) in (0..).zip(&case.zones) {
            let inside = *rule == ZoneRule::KeepIn;
            let rule = if inside { Rule::ZoneKeepIn } else { Rule::ZoneKeepOut };
            let told = map.clearance_near(rule, zone, start, &near, unsure);
            let measured = map.clearance_m(rule, zone, start, unsure);
            prop_assert!((told - measured).abs() < 1e-9, "{told} m, measured {measured} m");
        }
    }

    #[test]
    fn on_a_path_that_breaks_nothing_the_outline_keeps_its_margin_whatever_the_error(
        case in cases(), swing in -1.0..1.0, way in 0.0..TAU
    ) {
        let map = case.map();
        let clear = map.standing(case.path.start, &case.unsure).worst().is_none();
        if !clear || case.broken_by(&map).is_some() {
            return Ok(());
        }
        let off = (case.unsure.place_m * way.cos(), case.unsure.place_m * way.sin());
        for (pose, speed) in places(&case.path) {
            let truly = swung(&case.path, pose, case.unsure.yaw_rad * swing, off);
            let left = case.clearance_m(truly, speed) - case.footprint.margin_m;
            prop_assert!(left >= 0.0, "{left} m at {truly:?}");
        }
    }

    #[test]
    fn a_path_on_which_every_disc_has_room_is_not_refused(case in cases()) {
        let map = case.map();
        // All that is added along the path, at once, and what an arc is off its chord.
        let unsure = case.unsure.unsure();
        let more_m = unsure.at(case.path.length_m()) + 0.003;
        let room = places(&case.path).all(|(pose, speed)| {
            map.body().discs().iter().zip(map.body().centers(pose.point(), Heading::of(pose))).all(|(disc, center)| {
                let radius_m = disc.radius_m + more_m + disc.arm_m * unsure.swing;
                case.zones.iter().all(|(rule, shape)| match rule {
                    ZoneRule::KeepIn => -shape.signed_distance(center) >= radius_m,
                    ZoneRule::Speed { max_linear_mps } if speed <= *max_linear_mps => true,
                    _ => shape.signed_distance(center) >= radius_m,
                })
            })
        });
        let broken = case.broken_by(&map);
        prop_assert!(!room || broken.is_none(), "{broken:?}");
    }

    #[test]
    fn a_way_back_goes_nowhere_deeper_and_crosses_no_other_edge(case in cases()) {
        let (map, none) = (case.map(), Uncertainty::NONE);
        let case = Case { unsure: none, ..case };
        let standing = map.standing(case.path.start, &none);
        let Some(worst) = standing.worst() else {
            return Ok(());
        };
        if case.broken_by(&map).is_some() {
            return Ok(());
        }
        let entered = |pose: Pose| map.standing(pose, &none).entered & !standing.entered;
        for (pose, _) in places(&case.path) {
            // Between two steps of the walk a disc may cut a corner by half a step.
            let now = map.standing(pose, &none).worst().map_or(0.0, |edge| edge.clearance_m);
            let discs = map.body().discs().len() as f64;
            prop_assert!(now >= discs * worst.clearance_m - 0.003, "{worst:?}, then {now}");
            let other = entered(pose);
            for area in map.of(other) {
                let edge = map.clearance_m(Rule::ZoneKeepOut, area.index, pose, &none);
                prop_assert!(edge >= -0.003, "entered another zone by {edge} m");
            }
        }
    }

    #[test]
    fn no_number_makes_it_panic_or_pass_for_clear(bits in any::<[u64; 8]>()) {
        let number = |index: usize| f64::from_bits(bits[index]);
        let path = Path {
            brake_s: number(0),
            hold_s: number(1),
            start: Pose { x: number(2), y: number(3), yaw: number(4) },
            twist: Planar::new(number(5), number(6), number(7)),
        };
        let outline = [(-0.5, -0.2), (0.5, -0.2), (0.5, 0.2), (-0.5, 0.2)];
        let footprint =
            Footprint { margin_m: 0.0, outline: outline.map(|(x, y)| Point::new(x, y)).to_vec() };
        let zones = vec![(ZoneRule::KeepIn, star(&[3.0; 8], 0.0, 0.0))];
        let map = ZoneMap::new(Body::covering(&footprint, SLACK_M), zones);
        let none = Uncertainty::NONE;
        let near = map.near(path.start, path.length_m(), &none);
        let _ = map.broken_by(&path, &near, &map.standing(path.start, &none), &none);
        let odd = Path { start: Pose { x: f64::NAN, ..Pose::default() }, ..path };
        let standing = map.standing(odd.start, &none);
        prop_assert!(standing.worst().is_some());
    }
}

#[test]
fn what_is_no_bound_on_the_error_leaves_no_place_clear() {
    let outline = [(-0.5, -0.2), (0.5, -0.2), (0.5, 0.2), (-0.5, 0.2)];
    let footprint =
        Footprint { margin_m: 0.0, outline: outline.map(|(x, y)| Point::new(x, y)).to_vec() };
    let zones = vec![(ZoneRule::KeepIn, star(&[3.0; 8], 0.0, 0.0))];
    let map = ZoneMap::new(Body::covering(&footprint, SLACK_M), zones);
    for (place_m, yaw_rad, clear) in [
        (0.1, 0.1, true),
        (5.0, 0.0, false),
        (f64::NAN, 0.0, false),
        (0.0, f64::NAN, false),
        (-1.0, 0.0, false),
        (0.0, -1.0, false),
        (f64::INFINITY, 0.0, false),
    ] {
        let unsure = Uncertainty { place_m, yaw_rad };
        assert_eq!(map.standing(Pose::default(), &unsure).worst().is_none(), clear, "{unsure:?}");
    }
}

#[test]
fn from_where_it_stands_clear_however_closely_it_may_drive_off() {
    let outline = [(-0.6, -0.2), (0.6, -0.2), (0.6, 0.2), (-0.6, 0.2)];
    let footprint =
        Footprint { margin_m: 0.05, outline: outline.map(|(x, y)| Point::new(x, y)).to_vec() };
    let wall = [(-9.0, 0.0), (9.0, 0.0), (9.0, -2.0), (-9.0, -2.0)];
    let wall = Shape::polygon(&wall.map(|(x, y)| Point::new(x, y)), &[]).unwrap();
    let body = Body::covering(&footprint, SLACK_M);
    let map = ZoneMap::new(body, vec![(ZoneRule::KeepOut, wall)]);
    let none = Uncertainty { place_m: 0.02, yaw_rad: 0.1 };
    for degrees in 0..360 {
        let yaw = f64::from(degrees).to_radians();
        // As near as it may stand at this heading, to a micrometre.
        let (mut low, mut high) = (0.0, 2.0);
        while high - low > 1e-6 {
            let y = f64::midpoint(low, high);
            let clear = map.standing(Pose { x: 0.0, y, yaw }, &none).worst().is_none();
            (low, high) = if clear { (low, y) } else { (y, high) };
        }
        let start = Pose { x: 0.0, y: high, yaw };
        // Straight away from the wall, whichever way it looks.
        let twist = Planar::new(0.2 * yaw.sin(), 0.2 * yaw.cos(), 0.0);
        let path = Path { brake_s: 0.3, hold_s: 0.1, start, twist };
        let near = map.near(start, path.length_m(), &none);
        let broken = map.broken_by(&path, &near, &map.standing(start, &none), &none);
        assert!(broken.is_none(), "{degrees}°: {broken:?}");
    }
}

#[test]
fn an_error_of_the_heading_counts_for_more_the_further_the_path_leads() {
    let outline = [(-0.2, -0.2), (0.2, -0.2), (0.2, 0.2), (-0.2, 0.2)];
    let outline: Vec<Point> = outline.map(|(x, y)| Point::new(x, y)).to_vec();
    let footprint = Footprint { margin_m: 0.0, outline };
    // Beyond y = -0.5 is a wall; the path leads along it.
    let wall = [(-9.0, -0.5), (9.0, -0.5), (9.0, -2.0), (-9.0, -2.0)];
    let wall = Shape::polygon(&wall.map(|(x, y)| Point::new(x, y)), &[]).unwrap();
    let map = ZoneMap::new(Body::covering(&footprint, SLACK_M), vec![(ZoneRule::KeepOut, wall)]);
    // 0.25 m are left beside it: an error of 0.1 rad takes them up after 2.2 m.
    for (hold_s, yaw_rad, free) in
        [(3.0, 0.0, true), (1.5, 0.1, true), (3.0, 0.1, false), (1.5, 0.3, false)]
    {
        let twist = Planar::new(1.0, 0.0, 0.0);
        let path = Path { brake_s: 0.2, hold_s, start: Pose::default(), twist };
        let unsure = Uncertainty { place_m: 0.0, yaw_rad };
        let near = map.near(path.start, path.length_m(), &unsure);
        let standing = map.standing(path.start, &unsure);
        let broken = map.broken_by(&path, &near, &standing, &unsure);
        assert_eq!(broken.is_none(), free, "{hold_s} s, {yaw_rad} rad: {broken:?}");
    }
}

/// A small robot that is one disc, among round zones.
fn among(zones: Vec<(ZoneRule, [f64; 3])>) -> ZoneMap {
    let outline = [(-0.1, -0.1), (0.1, -0.1), (0.1, 0.1), (-0.1, 0.1)];
    let outline = outline.map(|(x, y)| Point::new(x, y)).to_vec();
    let zones = zones
        .into_iter()
        .map(|(rule, [x, y, radius_m])| (rule, Shape::circle(Point::new(x, y), radius_m).unwrap()));
    ZoneMap::new(Body::circle(&Footprint { margin_m: 0.05, outline }, SLACK_M), zones.collect())
}

/// The zone that a short way from the origin breaks.
fn broken_towards(map: &ZoneMap, x: f64, y: f64) -> Option<u16> {
    let twist = Planar::new(x, y, 0.0);
    let path = Path { brake_s: 0.0, hold_s: 0.05, start: Pose::default(), twist };
    let near = map.near(path.start, path.length_m(), &Uncertainty::NONE);
    let standing = map.standing(path.start, &Uncertainty::NONE);
    map.broken_by(&path, &near, &standing, &Uncertainty::NONE).map(|edge| edge.zone)
}

#[test]
fn of_two_fences_the_one_that_holds_better_counts() {
    let (tight, wide) = ([0.9, 0.0, 1.0], [0.0, 0.0, 5.0]);
    for (zones, wider) in [([tight, wide], 1), ([wide, tight], 0)] {
        let map = among(zones.map(|zone| (ZoneRule::KeepIn, zone)).to_vec());
        assert_eq!(map.standing(Pose::default(), &Uncertainty::NONE).worst(), None);
        assert_eq!(broken_towards(&map, -1.0, 0.0), None);
        // Out of both it is the nearer that is named, and that the way back leads to.
        let beyond = Pose { x: -5.5, ..Pose::default() };
        let worst = map.standing(beyond, &Uncertainty::NONE).worst().unwrap();
        assert_eq!(worst.zone, wider);
    }
}

#[test]
fn from_within_two_zones_the_way_leads_out_of_the_one_that_is_deeper() {
    let (shallow, deep) = ([-0.7, 0.0, 1.0], [0.5, 0.0, 1.0]);
    for (zones, place) in [([shallow, deep], 1), ([deep, shallow], 0)] {
        let map = among(zones.map(|zone| (ZoneRule::KeepOut, zone)).to_vec());
        assert_eq!(broken_towards(&map, 1.0, 0.0), Some(place));
        assert_eq!(broken_towards(&map, -1.0, 0.0), None);
    }
}

#[test]
fn no_way_out_of_one_zone_leads_into_another_that_only_the_margin_touches() {
    let deep = (ZoneRule::KeepOut, [0.5, 0.0, 1.0]);
    let beside = |away_m: f64| (ZoneRule::KeepOut, [-1.0 - away_m, 0.0, 1.0]);
    // The outline reaches 0.141 m, and what is added to it 0.196 m.
    assert_eq!(broken_towards(&among(vec![deep.clone(), beside(0.17)]), -1.0, 0.0), Some(1));
    assert_eq!(broken_towards(&among(vec![deep.clone(), beside(0.3)]), -1.0, 0.0), None);
    // The outline itself is in it: then the deeper counts.
    assert_eq!(broken_towards(&among(vec![deep, beside(0.1)]), -1.0, 0.0), None);
    let left = (ZoneRule::KeepIn, [1.0, 0.0, 1.17]);
    let within = (ZoneRule::KeepOut, [0.5, 0.0, 1.0]);
    assert_eq!(broken_towards(&among(vec![left, within]), -1.0, 0.0), Some(0));
}
