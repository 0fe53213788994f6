//! Zones that hold only at times or between heights, and zones in which sensors are off.
#![allow(clippy::unwrap_used)]

mod common;

use common::{STEP, document, inputs, rectangle, skill, verified, zone};
use nooterra_policy::{Action, Gate, Inputs, Outcome, Privacy, Wish, Wishes};
use nooterra_protocol::command::{Command, Velocity};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::observation::{Flying, Timed};
use nooterra_protocol::policy::{
    AltitudeBand, AltitudeReference, Flight, PolicyDocument, PrivacyZone, Sensor, Vehicle, Zone,
    ZoneRule,
};
use nooterra_protocol::schedule::{TimeOfDay, Weekday, Window};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::time::Duration;

/// Monday 2026-11-16, 00:00 UTC.
const MONDAY: i64 = 1_794_787_200_000;

const STILL: Velocity = Velocity { x: 0.0, y: 0.0, yaw_rate: 0.0, z: 0.0 };

/// Where there is room all around; the robot faces east.
const OPEN: Pose = Pose { x: 2.0, y: 6.5, yaw: 0.0 };

fn at(hours: i64, minutes: i64) -> WallMillis {
    WallMillis(MONDAY + (hours * 60 + minutes) * 60_000)
}

fn on_mondays(from: &str, to: &str) -> Vec<Window> {
    let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
    vec![Window { days: vec![Weekday::Mon], from: time(from), to: time(to) }]
}

/// Ticks with one wish on a robot that does as it is told, from `OPEN`, until the end of
/// `seconds` or to its first outcome for which `done` holds.
fn drive(
    document: &PolicyDocument,
    wish: Twist,
    wall: Option<WallMillis>,
    trust: ClockTrust,
    seconds: u32,
) -> (Outcome, Pose) {
    let mut gate = Gate::new(&verified(document.clone()));
    let (mut now, mut moving, mut pose) = (MonoNanos(1_000_000_000), Twist::ZERO, OPEN);
    let mut wall = wall;
    let mut last = None;
    for tick in 0..u64::from(seconds) * 50 {
        now = now.plus(STEP);
        wall = wall.map(|wall| wall.plus(STEP));
        pose = nooterra_policy::planar::advance(pose, moving.into(), STEP.as_secs_f64());
        let mut inputs = inputs(tick, now, pose, moving, skill(now, wish));
        inputs.clock = wall.map(|wall| Stamp { mono: now, trust, wall });
        let outcome = gate.tick(&inputs);
        moving = outcome.allowed_twist();
        last = Some(outcome);
    }
    (last.unwrap(), pose)
}

fn acts(outcome: &Outcome, rule: Rule) -> bool {
    outcome.verdicts.iter().any(|verdict| verdict.rule == rule)
}

/// An aisle ahead of the robot that is closed from 08:00 to 18:00.
fn with_aisle() -> PolicyDocument {
    let mut document = document();
    let aisle = zone("aisle", rectangle((5.0, 5.5), (7.0, 7.5)), ZoneRule::KeepOut);
    document.zones.push(Zone { windows: on_mondays("08:00", "18:00"), ..aisle });
    document
}

#[test]
fn an_exclusion_holds_at_its_times_and_whenever_the_time_is_not_known() {
    let east = |wall, trust| drive(&with_aisle(), Twist::new(0.6, 0.0), wall, trust, 8);
    let (open, pose) = east(Some(at(20, 0)), ClockTrust::Network);
    assert!(pose.x > 5.0 && !acts(&open, Rule::ZoneKeepOut), "{pose:?}");
    for (wall, trust) in [
        (Some(at(9, 0)), ClockTrust::Network),
        (Some(at(20, 0)), ClockTrust::Untrusted),
        (None, ClockTrust::Network),
    ] {
        let (closed, pose) = east(wall, trust);
        assert!(pose.x < 4.75 && acts(&closed, Rule::ZoneKeepOut), "{wall:?} {trust:?}: {pose:?}");
    }
}

#[test]
fn an_exclusion_that_begins_while_the_robot_would_still_brake_has_begun() {
    // Five seconds to the aisle, and as long until it closes.
    let soon = WallMillis(at(8, 0).0 - 5_000);
    let wish = Twist::new(0.6, 0.0);
    let (held, pose) = drive(&with_aisle(), wish, Some(soon), ClockTrust::Network, 10);
    assert!(acts(&held, Rule::ZoneKeepOut) && pose.x < 4.75, "{pose:?}");
}

#[test]
fn from_inside_a_zone_that_has_just_begun_only_the_way_out_is_open() {
    let mut document = document();
    let around = zone("around", rectangle((0.5, 5.5), (2.6, 7.5)), ZoneRule::KeepOut);
    document.zones.push(Zone { windows: on_mondays("08:00", "18:00"), ..around });
    let drive =
        |linear| drive(&document, Twist::new(linear, 0.0), Some(at(9, 0)), ClockTrust::Network, 3);
    let (out, pose) = drive(0.6);
    assert!(pose.x > OPEN.x + 0.05 && acts(&out, Rule::ZoneKeepOut), "{pose:?}");
    let (deeper, pose) = drive(-0.2);
    assert!((pose.x - OPEN.x).abs() < 0.01 && acts(&deeper, Rule::ZoneKeepOut), "{pose:?}");
}

#[test]
fn where_nothing_is_open_the_robot_stands_and_the_verdict_says_so() {
    let mut document = document();
    document.zones[0].windows = on_mondays("08:00", "18:00");
    let east = |wall, trust| drive(&document, Twist::new(0.3, 0.0), wall, trust, 2);
    let (open, pose) = east(Some(at(9, 0)), ClockTrust::Network);
    assert!(pose.x > 2.3 && open.verdicts.is_empty());
    for (wall, trust) in [
        (Some(at(7, 0)), ClockTrust::Network),
        (Some(WallMillis(at(18, 0).0 - 1_000)), ClockTrust::Network),
        (Some(at(9, 0)), ClockTrust::Untrusted),
        (None, ClockTrust::Cloud),
    ] {
        let (closed, pose) = east(wall, trust);
        assert!(matches!(closed.action, Action::Stop(_)) && acts(&closed, Rule::ZoneClosed));
        assert!(pose.x < 2.3, "{wall:?}: {pose:?}");
    }
}

#[test]
fn a_speed_zone_holds_at_its_times_and_whenever_the_time_is_not_known() {
    let mut document = document();
    let crossing = zone(
        "crossing",
        rectangle((0.0, 5.5), (9.0, 8.0)),
        ZoneRule::Speed { max_linear_mps: 0.2 },
    );
    document.zones.push(Zone { windows: on_mondays("08:00", "18:00"), ..crossing });
    let speed = |wall, trust| {
        drive(&document, Twist::new(0.6, 0.0), wall, trust, 3).0.allowed_twist().linear
    };
    assert!((speed(Some(at(20, 0)), ClockTrust::Network) - 0.6).abs() < 1e-9);
    assert!((speed(Some(at(9, 0)), ClockTrust::Network) - 0.2).abs() < 1e-9);
    assert!((speed(Some(at(20, 0)), ClockTrust::Untrusted) - 0.2).abs() < 1e-9);
}

/// A multirotor in the middle of a yard.
fn yard(zones: Vec<Zone>) -> PolicyDocument {
    let mut document = document();
    document.vehicle = Vehicle::Multirotor(Flight {
        land_after_s: None,
        max_altitude_m: 60.0,
        max_climb_mps: 2.0,
        max_descent_mps: 1.5,
        max_tilt_rad: 0.4,
        max_vertical_accel_mps2: 2.0,
        min_altitude_m: 0.0,
    });
    document.zones = vec![zone("yard", rectangle((-30.0, -30.0), (30.0, 30.0)), ZoneRule::KeepIn)];
    document.zones.extend(zones);
    document
}

fn banded(id: &str, rule: ZoneRule, min_m: Option<f64>, max_m: Option<f64>) -> Zone {
    let altitude = AltitudeBand { max_m, min_m, reference: AltitudeReference::AboveTakeoff };
    let zone = zone(id, rectangle((-5.0, -5.0), (5.0, 5.0)), rule);
    Zone { altitude: Some(altitude), ..zone }
}

/// Flies with one wish from a height over the yard's middle; the last outcome and the height.
fn fly(
    document: &PolicyDocument,
    height_m: f64,
    wish: Velocity,
    seconds: u32,
    change: impl Fn(&mut Inputs),
) -> (Outcome, f64, Pose) {
    let mut gate = Gate::new(&verified(document.clone()));
    let mut now = MonoNanos(1_000_000_000);
    let (mut height_m, mut pose, mut told) = (height_m, Pose::default(), STILL);
    let mut last = None;
    for tick in 0..u64::from(seconds) * 50 {
        now = now.plus(STEP);
        let step_s = STEP.as_secs_f64();
        height_m += told.z * step_s;
        pose.x += told.x * step_s;
        pose.y += told.y * step_s;
        let flying = Flying {
            above_ground_m: None,
            above_takeoff_m: height_m,
            climb_mps: told.z,
            tilt_rad: 0.0,
        };
        let twist = nooterra_policy::Planar::new(told.x, told.y, 0.0);
        let until = now.plus(Duration::from_secs(1));
        let wish = Wish { at: now, command: Command::Fly(wish), until };
        let mut inputs = Inputs {
            flying: Some(Timed { at: now, value: flying }),
            grants: nooterra_policy::Grants::ALL,
            wishes: Wishes { skill: Some(wish), ..Wishes::default() },
            ..Inputs::new(
                tick,
                now,
                Timed { at: now, value: pose },
                Timed { at: now, value: twist },
            )
        };
        change(&mut inputs);
        let outcome = gate.tick(&inputs);
        if let Command::Fly(velocity) = outcome.allowed {
            told = velocity;
        }
        last = Some(outcome);
    }
    (last.unwrap(), height_m, pose)
}

fn up(z: f64) -> Velocity {
    Velocity { x: 0.0, y: 0.0, yaw_rate: 0.0, z }
}

#[test]
fn a_climb_ends_below_an_exclusion_and_a_descent_above_it() {
    let document = yard(vec![banded("stack", ZoneRule::KeepOut, Some(20.0), Some(30.0))]);
    let (held, height_m, _) = fly(&document, 15.0, up(2.0), 10, |_| ());
    assert!((19.5..20.0).contains(&height_m), "{height_m}");
    let verdict = held.verdicts.iter().find(|verdict| verdict.rule == Rule::Altitude).unwrap();
    assert_eq!((verdict.limit, verdict.zone), (20.0, Some(1)));
    let (_, height_m, _) = fly(&document, 35.0, up(-1.5), 10, |_| ());
    assert!((30.0..30.5).contains(&height_m), "{height_m}");
    // Under it and over it the way is free.
    let east = Velocity { x: 0.8, ..STILL };
    let (free, _, pose) = fly(&document, 15.0, east, 10, |_| ());
    assert!(free.verdicts.is_empty() && pose.x > 6.0, "{pose:?}");
}

#[test]
fn a_height_above_ground_that_is_not_measured_is_inside_of_what_restricts() {
    let mut stack = banded("stack", ZoneRule::KeepOut, Some(20.0), Some(30.0));
    stack.altitude.as_mut().unwrap().reference = AltitudeReference::AboveGround;
    let mut beside = yard(vec![stack]);
    beside.zones[1].polygon = rectangle((3.0, -5.0), (8.0, 5.0));
    let east = Velocity { x: 0.8, ..STILL };
    let (held, _, pose) = fly(&beside, 10.0, east, 10, |_| ());
    assert!(acts(&held, Rule::ZoneKeepOut) && pose.x < 3.0, "{pose:?}");
    let (free, _, pose) = fly(&beside, 10.0, east, 10, |inputs| {
        inputs.flying.as_mut().unwrap().value.above_ground_m = Some(10.0);
    });
    assert!(free.verdicts.is_empty() && pose.x > 6.0, "{pose:?}");
}

#[test]
fn from_below_what_it_must_be_kept_in_it_may_climb_there_and_do_nothing_else() {
    let mut document = yard(vec![]);
    document.zones[0].altitude = Some(AltitudeBand {
        max_m: Some(40.0),
        min_m: Some(10.0),
        reference: AltitudeReference::AboveTakeoff,
    });
    let (sideways, _, pose) = fly(&document, 5.0, Velocity { x: 0.8, ..STILL }, 3, |_| ());
    assert!(acts(&sideways, Rule::ZoneClosed) && pose.x.abs() < 1e-9);
    let (_, height_m, _) = fly(&document, 5.0, up(-1.0), 3, |_| ());
    assert!((height_m - 5.0).abs() < 1e-9);
    let (climbs, height_m, _) = fly(&document, 5.0, up(2.0), 3, |_| ());
    assert!(climbs.verdicts.is_empty() && height_m > 9.0, "{height_m}");
    // And once it is there it stays.
    let (_, height_m, _) = fly(&document, 12.0, up(-1.5), 10, |_| ());
    assert!((10.0..10.5).contains(&height_m), "{height_m}");
    let (_, height_m, _) = fly(&document, 38.0, up(2.0), 10, |_| ());
    assert!((39.5..40.0).contains(&height_m), "{height_m}");
}

fn private(
    from: (f64, f64),
    to: (f64, f64),
    sensors: &[Sensor],
    keep_s: Option<u32>,
) -> PrivacyZone {
    PrivacyZone {
        altitude: None,
        circle: None,
        holes: Vec::new(),
        id: "kitchen".parse().unwrap(),
        keep_s,
        polygon: rectangle(from, to),
        sensors: sensors.to_vec(),
        windows: Vec::new(),
    }
}

/// What may be recorded, standing at `OPEN`.
fn standing(document: &PolicyDocument, change: impl Fn(&mut Inputs)) -> Privacy {
    let mut gate = Gate::new(&verified(document.clone()));
    let now = MonoNanos(1_000_000_000);
    let mut inputs = inputs(1, now, OPEN, Twist::ZERO, skill(now, Twist::ZERO));
    change(&mut inputs);
    gate.tick(&inputs).privacy
}

#[test]
fn in_a_privacy_zone_its_sensors_are_off_and_where_the_place_is_not_known_too() {
    let mut document = document();
    assert_eq!(standing(&document, |_| ()), Privacy::OPEN);
    let off = [Sensor::Camera, Sensor::Microphone];
    document.privacy = vec![private((6.0, 5.0), (9.0, 8.0), &off, Some(60))];
    assert_eq!(standing(&document, |_| ()), Privacy::OPEN, "it stands beside it");
    document.privacy = vec![private((1.0, 5.0), (4.0, 8.0), &off, Some(60))];
    let inside = standing(&document, |_| ());
    assert_eq!(
        (inside.allowed.missing().collect::<Vec<_>>(), inside.keep_s),
        (off.to_vec(), Some(60))
    );
    assert!(inside.allowed.contains(Sensor::RangeScanner));
    document.privacy = vec![private((6.0, 5.0), (9.0, 8.0), &off, None)];
    let changes: [fn(&mut Inputs); 5] = [
        |inputs| inputs.pose.value.x = f64::NAN,
        |inputs| inputs.pose.at = MonoNanos(0),
        |inputs| inputs.pose_sigma_m = f64::NAN,
        |inputs| inputs.pose_sigma_m = 50.0,
        // Nearer than that it may be.
        |inputs| inputs.pose_sigma_m = 1.4,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let unknown = standing(&document, change);
        assert!(!unknown.allowed.contains(Sensor::Camera), "{index}");
    }
}

#[test]
fn a_privacy_zone_holds_at_its_times_and_whenever_the_time_is_not_known() {
    let mut document = document();
    let zone = private((1.0, 5.0), (4.0, 8.0), &[Sensor::Camera], None);
    document.privacy = vec![PrivacyZone { windows: on_mondays("08:00", "18:00"), ..zone }];
    let camera = |wall: Option<WallMillis>, trust| {
        let privacy = standing(&document, |inputs| {
            inputs.clock = wall.map(|wall| Stamp { mono: inputs.now, trust, wall });
        });
        privacy.allowed.contains(Sensor::Camera)
    };
    assert!(camera(Some(at(20, 0)), ClockTrust::Network));
    assert!(!camera(Some(at(9, 0)), ClockTrust::Network));
    assert!(!camera(Some(at(20, 0)), ClockTrust::Untrusted));
    assert!(!camera(None, ClockTrust::Network));
}
