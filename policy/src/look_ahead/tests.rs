//! The memory of setpoints, and the search for the setpoint that is nearest to a wish.

use super::*;
use crate::document::tests::document;
use crate::footprint::Body;
use crate::shape::Shape;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::{Footprint, ZoneRule};
use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;
use proptest::{option, prop_oneof};

#[test]
fn what_was_in_force_and_what_followed_is_found_in_a_ring_of_any_fill() {
    for noted in [0, 1, 5, MEMORY - 1, MEMORY, MEMORY + 1, 3 * MEMORY] {
        let mut memory = Memory::new();
        let at = |index: usize| MonoNanos(1_000 + 10 * u64::try_from(index).unwrap());
        for index in 0..noted {
            let mut axes = Axes::ZERO;
            axes.0[0] = f64::from(u32::try_from(index).unwrap());
            memory.note(at(index), axes);
        }
        let kept = noted.saturating_sub(MEMORY)..noted;
        for from in [0, 999, 1_000, 1_005, 1_040, at(noted).0 - 15, at(noted).0 - 10, u64::MAX] {
            let before = kept.clone().rfind(|index| at(*index).0 <= from);
            let (in_force, later) = memory.since(MonoNanos(from));
            let index = |axes: &Axes| axes.0[0];
            let expected = before.map(|index| f64::from(u32::try_from(index).unwrap()));
            assert_eq!(in_force.map(index), expected, "{noted} noted, from {from}");
            let follow: Vec<MonoNanos> = later.map(|(at, _)| *at).collect();
            let expected: Vec<MonoNanos> =
                kept.clone().filter(|index| at(*index).0 > from).map(at).collect();
            assert_eq!(follow, expected, "{noted} noted, from {from}");
        }
    }
}

fn breach(part: u32) -> Breach {
    Breach::of(Rule::ZoneKeepIn, f64::from(part))
}

/// What the search comes to by halving alone.
fn halved(mut broken_at: impl FnMut(u32) -> Option<Breach>) -> (u32, Option<Breach>) {
    let (mut good, mut bad, mut broken) = (0, PARTS, None);
    while bad - good > 1 {
        let part = u32::midpoint(good, bad);
        match broken_at(part) {
            Some(breach) => (bad, broken) = (part, Some(breach)),
            None => good = part,
        }
    }
    (good, broken)
}

#[test]
fn whatever_is_guessed_the_search_ends_where_halving_does_and_a_good_guess_is_soon_there() {
    for limit in 0..PARTS {
        let broken_at = |part: u32| (part > limit).then(|| breach(part));
        let expected = halved(broken_at);
        assert_eq!(expected.0, limit);
        for guess in (0..PARTS + 2).chain([u32::MAX]).map(Some).chain([None]) {
            let mut looks = 0;
            let found = furthest(guess, |part| {
                looks += 1;
                assert!((1..PARTS).contains(&part), "{part}: both ends are known");
                broken_at(part)
            });
            assert_eq!(found, expected, "{limit}, guessed {guess:?}");
            let most = match guess.map(|guess| guess.abs_diff(limit)) {
                Some(0) => 2,
                Some(1..=4) => 5,
                Some(_) => HALVINGS + 3,
                None => HALVINGS,
            };
            assert!(looks <= most, "{limit}, guessed {guess:?}: {looks} looks");
        }
    }
}

fn rectangle(x: f64, y: f64, wide: f64, high: f64) -> Vec<Point> {
    [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)]
        .map(|(x, y)| Point::new(x, y))
        .to_vec()
}

fn zone_map(zones: Vec<(ZoneRule, Shape)>) -> ZoneMap {
    let footprint = Footprint { margin_m: 0.05, outline: rectangle(-0.4, -0.2, 0.9, 0.4) };
    ZoneMap::new(Body::covering(&footprint, SLACK_M), zones)
}

/// A setpoint of a differential base.
fn drive(linear: f64, angular: f64) -> Axes {
    let mut axes = Axes::ZERO;
    [axes.0[0], axes.0[1]] = [linear, angular];
    axes
}

/// What a tick looks ahead from, as a gate would have it.
fn with_judge<T>(
    map: &ZoneMap,
    ahead: &Ahead,
    (candidates, hold_s): ([&Axes; 2], f64),
    unsure: Uncertainty,
    asked: impl FnOnce(&Judge<'_>) -> T,
) -> T {
    let law = Law::new(&document(), None);
    let near = map.near(ahead.start, ahead.reach_m(&law, candidates, hold_s), &unsure);
    let standing = map.standing_in(&near, &unsure);
    let place = Place { standing: &standing, unsure, zones: map };
    asked(&Judge::new(&law, place, ahead, &near, hold_s))
}

fn from(start: Pose) -> Ahead {
    Ahead { doubt: None, height: None, reach: None, start }
}

#[test]
fn driving_straight_at_a_wall_the_guess_is_right_to_a_part() {
    let hall = Shape::polygon(&rectangle(-9.0, -5.0, 18.0, 10.0), &[]).unwrap();
    let map = zone_map(vec![(ZoneRule::KeepIn, hall)]);
    let (mut guessed, mut right) = (0, 0);
    for degrees in (0..360).step_by(7) {
        let yaw = f64::from(degrees).to_radians();
        for millimetres in 0..60 {
            // Toward the wall, from where it comes just to it, or not.
            let y = 5.0 - 0.75 - 0.01 * f64::from(millimetres);
            let ahead = from(Pose { x: 0.0, y, yaw });
            let (brake, wish) = (drive(0.2, 0.0), drive(0.8, 0.0));
            with_judge(&map, &ahead, ([&brake, &wish], 0.1), Uncertainty::NONE, |judge| {
                let Some(Stopped { free_m: Some(free_m), .. }) = judge.stopped_by(&wish) else {
                    return;
                };
                if judge.broken_by(&brake).is_some() {
                    return;
                }
                let guess = judge.part_of(&brake, &wish, free_m).unwrap();
                let at = |part: u32| brake.towards(&wish, f64::from(part) / f64::from(PARTS));
                let (good, _) = halved(|part| judge.broken_by(&at(part)));
                guessed += 1;
                right += u32::from(guess.abs_diff(good) <= 1);
            });
        }
    }
    assert!(guessed > 100 && right == guessed, "{right} of {guessed}");
}

fn zones() -> impl Strategy<Value = Vec<(ZoneRule, Shape)>> {
    let rule = prop_oneof![
        Just(ZoneRule::KeepIn),
        Just(ZoneRule::KeepOut),
        Just(ZoneRule::Speed { max_linear_mps: 0.3 }),
    ];
    let around = (0.6..4.0_f64, 0.6..4.0_f64, 0.6..4.0_f64, 0.6..4.0_f64);
    let zone = (rule, proptest::bool::ANY, around).prop_map(|(rule, round, (a, b, c, d))| {
        let inside = rule == ZoneRule::KeepIn;
        let shape = match (inside, round) {
            // Around the robot, which is near the origin, or beside it.
            (true, true) => Shape::circle(Point::new(0.2 * (a - b), 0.2 * (c - d)), 0.3 + a),
            (true, false) => Shape::polygon(&rectangle(-a, -b, a + c, b + d), &[]),
            (false, true) => Shape::circle(Point::new(a, c - d), 0.4 * b),
            (false, false) => Shape::polygon(&rectangle(a, -b, 1.0, b + d), &[]),
        };
        (rule, shape.unwrap())
    });
    prop::collection::vec(zone, 1..4)
}

proptest! {
    #[test]
    fn what_is_found_is_what_halving_finds_wherever_slower_is_safer(
        zones in zones(),
        place in (-0.5..0.5, -0.5..0.5, -3.2..3.2),
        brake in (-0.2..0.6, -1.0..1.0),
        wish in (-0.2..0.8, -1.5..1.5),
        hold_s in 0.02..0.5,
        unsure in option::of((0.0..0.05, 0.0..0.05)),
        doubt in option::of((-0.1..0.1, -0.1..0.1, -0.2..0.8, -1.0..1.0)),
    ) {
        let map = zone_map(zones);
        let start = Pose { x: place.0, y: place.1, yaw: place.2 };
        let mut ahead = from(start);
        ahead.doubt = doubt.map(|(x, y, linear, angular)| {
            let there = Pose { x: start.x + x, y: start.y + y, ..start };
            (there, Planar::new(linear, 0.0, angular))
        });
        let unsure = unsure.map_or(Uncertainty::NONE, |(place_m, yaw_rad)| {
            Uncertainty { place_m, yaw_rad }
        });
        let (brake, wish) = (drive(brake.0, brake.1), drive(wish.0, wish.1));
        let told = ([&brake, &wish], hold_s);
        with_judge(&map, &ahead, told, unsure, |judge| -> Result<(), TestCaseError> {
            let (found, breach) = judge.nearest(&brake, &wish);
            let Some(whole) = judge.broken_by(&wish) else {
                prop_assert_eq!((found, breach), (wish, None));
                return Ok(());
            };
            if let Some(least) = judge.broken_by(&brake) {
                prop_assert_eq!((found, breach), (brake, Some(least)));
                return Ok(());
            }
            let at = |part: u32| match part {
                0 => brake,
                _ => brake.towards(&wish, f64::from(part) / f64::from(PARTS)),
            };
            let broken: Vec<Option<Breach>> =
                (0..PARTS).map(|part| judge.broken_by(&at(part))).chain([Some(whole)]).collect();
            let first_bad = broken.iter().position(Option::is_some).unwrap();
            if broken[first_bad..].iter().all(Option::is_some) {
                let (good, by) = halved(|part| broken[part as usize]);
                prop_assert_eq!((found, breach), (at(good), by.or(Some(whole))));
            }
            // In any case it is on the grid, good, and the next one is not.
            let good = (0..PARTS).find(|part| at(*part) == found).unwrap() as usize;
            prop_assert!(broken[good].is_none(), "{:?}", broken[good]);
            prop_assert_eq!(breach, broken[good + 1]);
            Ok(())
        })?;
    }
}

proptest! {
    #[test]
    fn a_robot_that_does_as_it_was_told_is_foreseen_no_further_than_it_drifts(
        told in prop::collection::vec((1_u64..60, -0.3..0.8, -1.5..1.5), 0..12),
        measured in (-0.3..0.8, -1.5..1.5),
        as_told in proptest::bool::weighted(0.8),
        age_ms in 0_u64..100,
        yaw in -3.2..3.2,
    ) {
        let (law, mut memory) = (Law::new(&document(), None), Memory::new());
        let mut now = MonoNanos(10_000_000_000);
        for (wait_ms, linear, angular) in told {
            memory.note(now, drive(linear, angular));
            now = now.plus(Duration::from_millis(wait_ms));
        }
        let at = MonoNanos(now.0 - age_ms * 1_000_000);
        let (in_force, _) = memory.since(effect_from(at, now, law.reaction()));
        let told = in_force.filter(|_| as_told).map(|axes| law.planar(axes));
        let moving = told.unwrap_or(Planar::new(measured.0, 0.0, measured.1));
        let pose = Timed { at, value: Pose { x: 1.0, y: -2.0, yaw } };
        let reaction = law.reaction();
        let measured = Measured { flying: None, joints: None, moving, now, pose, reaction };
        let ahead = Ahead::new(&measured, &memory, &law);
        let drift_m = drift_m(moving, [at, now], &memory, &law);
        prop_assert_eq!(drift_m.is_none(), ahead.doubt.is_some());
        let way_m = ahead.start.point().distance(pose.value.point());
        prop_assert!(drift_m.is_none_or(|drift_m| way_m <= drift_m + 1e-9), "{way_m}, {drift_m:?}");
    }
}

#[test]
fn what_is_no_number_is_never_dropped_for_a_smaller_one() {
    assert_eq!((larger(1.0, 2.0), larger(2.0, 1.0)), (2.0, 2.0));
    assert!(larger(f64::NAN, 1.0).is_nan() && larger(1.0, f64::NAN).is_nan());
}
