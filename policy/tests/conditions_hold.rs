//! Zones that hold only between heights, or at times, in a closed loop with the worst
//! multirotor that its policy allows: whatever is wished, it is in none that is closed to it.
//!
//! Who judges knows the true height, the true time and the corners of the zones; its geometry
//! is the `geo` crate's. It knows nothing of spans, horizons or the gate.
#![allow(clippy::unwrap_used)]

mod common;
#[allow(dead_code)] // It also knows vehicles that have no height.
#[path = "vehicles/plant.rs"]
mod plant;

use common::{STEP, document, polygon, verified, zone};
use geo::{Contains as _, Coord, Distance as _, Euclidean, Intersects as _, LineString, Polygon};
use nooterra_policy::{Gate, Grants, Inputs, Wish, Wishes};
use nooterra_protocol::command::{Command, Velocity};
use nooterra_protocol::observation::{Flying, Timed};
use nooterra_protocol::policy::{
    AltitudeBand, AltitudeReference, Flight, PolicyDocument, Vehicle, Zone, ZoneRule,
};
use nooterra_protocol::schedule::{TimeOfDay, Weekday, Window};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use plant::Plant;
use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};
use std::f64::consts::TAU;
use std::time::Duration;

/// Monday 2026-11-16, 08:00 UTC.
const EIGHT: WallMillis = WallMillis(1_794_787_200_000 + 8 * 3_600_000);

/// Ticks that one wish holds.
const HELD: u32 = 50;

/// When a zone is there.
#[derive(Clone, Copy, Debug)]
enum When {
    /// Until eight.
    Before,
    /// From eight on.
    After,
    Always,
}

/// A zone of an episode: where, between which heights, when.
#[derive(Clone, Copy, Debug)]
struct Part {
    angle: f64,
    away: f64,
    band: Option<(f64, f64)>,
    radius: f64,
    when: When,
}

#[derive(Clone, Debug)]
struct Episode {
    age_ms: u64,
    /// The fence, and a second one over it.
    fences: [Part; 2],
    outs: Vec<Part>,
    slow: Part,
    /// Milliseconds from the start to eight o'clock.
    to_eight: i64,
    wishes: Vec<[f64; 3]>,
}

fn when() -> impl Strategy<Value = When> {
    (0..4_u8).prop_map(|when| match when {
        0 => When::Before,
        1 => When::After,
        _ => When::Always,
    })
}

fn part(away: f64, radius: std::ops::Range<f64>) -> impl Strategy<Value = Part> {
    let band = prop::option::weighted(0.7, (0.0..6.0, 0.3..4.0));
    let band = band.prop_map(|band| band.map(|(from, high): (f64, f64)| (from, from + high)));
    (0.0..TAU, 0.0..=away, band, radius, when())
        .prop_map(|(angle, away, band, radius, when)| Part { angle, away, band, radius, when })
}

fn episodes() -> impl Strategy<Value = Episode> {
    let fence = part(0.0, 4.0..7.0);
    let tower = part(1.5, 3.0..5.0);
    let outs = prop::collection::vec(part(4.0, 0.5..1.5), 0..4);
    let wishes = prop::collection::vec([-1.5..1.5, -1.5..1.5, -1.5..1.5], 3..8);
    (0_u64..20, fence, tower, outs, part(3.0, 0.5..2.0), -1_000_i64..6_000, wishes).prop_map(
        |(age_ms, fence, tower, outs, slow, to_eight, wishes)| Episode {
            age_ms,
            fences: [fence, tower],
            outs,
            slow,
            to_eight,
            wishes,
        },
    )
}

fn draw(id: &str, part: &Part, rule: ZoneRule) -> Zone {
    let (x, y) = (part.away * part.angle.cos(), part.away * part.angle.sin());
    let corners: Vec<(f64, f64)> = (0..8)
        .map(|corner| {
            let turn = TAU * f64::from(corner) / 8.0;
            (x + part.radius * turn.cos(), y + part.radius * turn.sin())
        })
        .collect();
    let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
    let window = |from, to| Window { days: vec![Weekday::Mon], from: time(from), to: time(to) };
    Zone {
        altitude: part.band.map(|(min_m, max_m)| AltitudeBand {
            max_m: Some(max_m),
            min_m: Some(min_m),
            reference: AltitudeReference::AboveTakeoff,
        }),
        windows: match part.when {
            When::Before => vec![window("06:00", "08:00")],
            When::After => vec![window("08:00", "20:00")],
            When::Always => vec![],
        },
        ..zone(id, polygon(&corners), rule)
    }
}

fn hall(episode: &Episode) -> PolicyDocument {
    let mut document = document();
    document.vehicle = Vehicle::Multirotor(Flight {
        land_after_s: None,
        max_altitude_m: 8.0,
        max_climb_mps: 1.5,
        max_descent_mps: 1.0,
        max_tilt_rad: 0.4,
        max_vertical_accel_mps2: 1.5,
        min_altitude_m: 0.5,
    });
    document.limits.max_linear_mps = 1.5;
    document.limits.max_decel_mps2 = 1.5;
    document.limits.max_linear_accel_mps2 = 1.5;
    document.zones = vec![
        draw("fence", &episode.fences[0], ZoneRule::KeepIn),
        draw("tower", &episode.fences[1], ZoneRule::KeepIn),
        draw("slow", &episode.slow, ZoneRule::Speed { max_linear_mps: 0.3 }),
    ];
    for (index, part) in episode.outs.iter().enumerate() {
        document.zones.push(draw(&format!("out-{index}"), part, ZoneRule::KeepOut));
    }
    document
}

/// A zone as the judge sees it.
struct Judged {
    part: Part,
    ring: Polygon<f64>,
    rule: ZoneRule,
}

struct Judge {
    zones: Vec<Judged>,
    /// Around the outline, whichever way it faces.
    radius: f64,
}

/// What holds of a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    /// It is in a zone to be kept out of that is there now: a bit for each.
    inside: u32,
    /// Some zone to be kept in holds all of it.
    kept: bool,
    /// Some zone to be kept in is there, wherever the robot is.
    open: bool,
    /// Faster than a speed zone that it touches allows, m/s.
    over_mps: f64,
}

impl Judge {
    fn new(document: &PolicyDocument, episode: &Episode) -> Self {
        let [fence, tower] = episode.fences;
        let parts = [fence, tower, episode.slow].into_iter().chain(episode.outs.iter().copied());
        let zones = document.zones.iter().zip(parts).map(|(zone, part)| {
            let coords = zone.polygon.iter().map(|p| Coord { x: p.x, y: p.y }).collect();
            let ring = Polygon::new(LineString(coords), vec![]);
            Judged { part, ring, rule: zone.rule.clone() }
        });
        Self { zones: zones.collect(), radius: common::radius(document) }
    }

    fn look(&self, plant: &Plant, to_eight: i64) -> Seen {
        let at = geo::Point::new(plant.pose.x, plant.pose.y);
        let mut seen = Seen { inside: 0, kept: false, open: false, over_mps: f64::NEG_INFINITY };
        for (index, Judged { part, ring, rule }) in self.zones.iter().enumerate() {
            let in_time = match part.when {
                When::Before => to_eight > 0,
                When::After => to_eight <= 0,
                When::Always => true,
            };
            let height = plant.height_m;
            let in_band = part.band.is_none_or(|(from, to)| (from..=to).contains(&height));
            if !(in_time && in_band) {
                continue;
            }
            let edge = Euclidean.distance(&at, ring.exterior());
            let touches = ring.intersects(&at) || edge < self.radius;
            match rule {
                ZoneRule::KeepIn => {
                    seen.open = true;
                    seen.kept |= ring.contains(&at) && edge >= self.radius;
                }
                ZoneRule::KeepOut if touches => seen.inside |= 1 << index,
                ZoneRule::Speed { max_linear_mps } if touches => {
                    let speed = plant.body_twist().speed();
                    seen.over_mps = seen.over_mps.max(speed - max_linear_mps);
                }
                ZoneRule::KeepOut | ZoneRule::Speed { .. } => {}
            }
        }
        seen
    }
}

/// What an episode came to.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    /// Into a zone that was closed, beside those that closed around it.
    entered: u32,
    /// Out of where it must be, beside where that ended around it.
    left: u32,
    /// Moved where nothing is open.
    moved: u32,
    /// Too fast in a speed zone.
    over: u32,
    travelled: f64,
}

impl Report {
    fn is_good(&self) -> bool {
        self.entered + self.left + self.moved + self.over == 0
    }
}

/// What the gate is told that is not so.
#[derive(Clone, Copy, Debug, Default)]
struct Lie {
    hours: i64,
    higher_m: f64,
}

/// Runs an episode; `None` where the start is closed, or so near to an edge or to a height at
/// which it would be, that the gate takes it for closed.
fn run(episode: &Episode, lie: Lie) -> Option<Report> {
    let document = hall(episode);
    let judge = Judge::new(&document, episode);
    let mut plant = Plant::new(&document, 1.0);
    let mut to_eight = episode.to_eight;
    let mut before = judge.look(&plant, to_eight);
    let wide = Judge {
        radius: judge.radius + document.footprint.margin_m + 0.01,
        ..Judge::new(&document, episode)
    };
    for aside_m in [-0.01, 0.0, 0.01] {
        let mut near = plant.clone();
        near.height_m += aside_m;
        let seen = wide.look(&near, to_eight);
        if !seen.kept || seen.inside != 0 {
            return None;
        }
    }
    let mut gate = Gate::new(&verified(document.clone()));
    let mut now = MonoNanos(1_000_000_000);
    let mut report = Report::default();
    let mut tick = 0;
    for wish in &episode.wishes {
        for _ in 0..HELD {
            tick += 1;
            let mut told = None;
            for millis in 0..20_u64 {
                plant.pass_a_millisecond();
                to_eight -= 1;
                if millis == 19 - episode.age_ms {
                    told = Some((plant.clone(), now.plus(Duration::from_millis(millis + 1))));
                }
                // Each 4 ms, and when the clock strikes.
                let strikes = to_eight == 0;
                if millis % 4 != 0 && !strikes {
                    continue;
                }
                let seen = judge.look(&plant, to_eight);
                let speed = plant.body_twist().speed();
                if strikes {
                    // What begins around it is nobody's fault. It rests, or is on its way, at a
                    // crawl, to what is left open.
                    let most = if seen.open { 0.11 } else { 0.01 };
                    report.moved += u32::from(!seen.kept && before.kept && speed > most);
                } else {
                    report.entered += u32::from(seen.inside & !before.inside != 0);
                    // What closes while the robot would brake has closed for it: it may climb
                    // or sink to what is open.
                    let closing = (0..2_000).contains(&to_eight)
                        && episode.fences.iter().any(|part| matches!(part.when, When::Before));
                    report.left += u32::from(before.kept && !seen.kept && !closing);
                    // Back to where it must be, at a crawl.
                    report.moved += u32::from(!seen.kept && speed > 0.11);
                }
                report.over += u32::from(seen.over_mps > 1e-3);
                before = seen;
            }
            now = now.plus(STEP);
            let (seen, at) = told.unwrap();
            let flying = seen.flying().map(|flying| Flying {
                above_takeoff_m: flying.above_takeoff_m + lie.higher_m,
                ..flying
            });
            let [a, b, c] = *wish;
            let command = Command::Fly(Velocity { x: a * 1.5, y: b * 1.5, yaw_rate: 0.0, z: c });
            let wish = Wish { at: now, command, until: now.plus(Duration::from_secs(1)) };
            let wall = WallMillis(EIGHT.0 - to_eight + lie.hours * 3_600_000);
            let inputs = Inputs {
                clock: Some(Stamp { mono: now, trust: ClockTrust::Network, wall }),
                flying: flying.map(|value| Timed { at, value }),
                grants: Grants::ALL,
                wishes: Wishes { skill: Some(wish), ..Wishes::default() },
                ..Inputs::new(
                    tick,
                    now,
                    Timed { at, value: seen.pose },
                    Timed { at, value: seen.body_twist() },
                )
            };
            plant.write(gate.tick(&inputs).allowed);
        }
    }
    report.travelled = plant.travelled;
    Some(report)
}

proptest! {
    #[test]
    fn what_flies_is_in_no_zone_at_a_height_or_a_time_at_which_it_is_closed(
        episode in episodes()
    ) {
        if let Some(report) = run(&episode, Lie::default()) {
            prop_assert!(report.is_good(), "{report:?}");
        }
    }

    #[test]
    fn a_clock_and_a_height_of_any_bits_never_open_what_may_be_closed(
        wall in any::<i64>(), mono in any::<u64>(), bits in any::<[u64; 3]>(), trusted in any::<bool>()
    ) {
        let always = Part { angle: 0.0, away: 0.0, band: None, radius: 5.0, when: When::Always };
        let closed = Part { radius: 1.0, when: When::After, ..always };
        let episode = Episode {
            age_ms: 0,
            fences: [always, always],
            outs: vec![closed],
            slow: always,
            to_eight: 0,
            wishes: vec![],
        };
        let mut gate = Gate::new(&verified(hall(&episode)));
        let now = MonoNanos(10_000_000_000);
        let trust = if trusted { ClockTrust::Network } else { ClockTrust::Untrusted };
        let [above_takeoff_m, climb_mps, tilt_rad] = bits.map(f64::from_bits);
        let value = Flying { above_ground_m: None, above_takeoff_m, climb_mps, tilt_rad };
        let pose = Timed { at: now, value: nooterra_protocol::geometry::Pose::default() };
        let twist = Timed { at: now, value: nooterra_policy::Planar::ZERO };
        let inputs = Inputs {
            clock: Some(Stamp { mono: MonoNanos(mono), trust, wall: WallMillis(wall) }),
            flying: Some(Timed { at: now, value }),
            ..Inputs::new(1, now, pose, twist)
        };
        let outcome = gate.tick(&inputs);
        prop_assert!(outcome.allowed.is_finite());
    }
}

/// A fixed set of episodes: into zones over, under and beside it, before and after eight.
fn fixed() -> impl Iterator<Item = Episode> {
    (0..48_u32).map(|seed| {
        let turn = f64::from(seed) * 2.399;
        let when = match seed % 3 {
            0 => When::Before,
            1 => When::After,
            _ => When::Always,
        };
        let always = Part { angle: 0.0, away: 0.0, band: None, radius: 6.0, when: When::Always };
        let high = Part { band: Some((4.0, 6.0)), radius: 2.0, ..always };
        let out = match seed % 2 {
            0 => Part { when, ..high },
            _ => Part { away: 3.0, angle: turn, band: None, radius: 1.0, when },
        };
        let climb = if seed % 2 == 0 { 1.2 } else { 0.0 };
        Episode {
            age_ms: 10,
            fences: [Part { band: Some((0.0, 7.0)), ..always }, always],
            outs: vec![out],
            slow: Part { away: 5.0, angle: turn + 2.0, radius: 0.5, ..always },
            to_eight: 2_000 + i64::from(seed) * 31,
            wishes: vec![[turn.cos(), turn.sin(), climb].map(|part| part * 0.7); 6],
        }
    })
}

#[test]
fn a_gate_that_is_told_a_wrong_time_or_height_is_seen_to_fail() {
    let faults = |lie: Lie| {
        fixed().filter_map(|episode| run(&episode, lie)).filter(|report| !report.is_good()).count()
    };
    assert_eq!(faults(Lie::default()), 0);
    assert!(faults(Lie { hours: 30, higher_m: 0.0 }) > 0, "the judge does not know the time");
    assert!(faults(Lie { hours: 0, higher_m: -2.0 }) > 0, "the judge does not know the height");
}

#[test]
fn it_still_gets_somewhere() {
    let reports: Vec<_> = fixed().filter_map(|episode| run(&episode, Lie::default())).collect();
    let travelled: f64 = reports.iter().map(|report| report.travelled).sum();
    assert!(reports.len() > 40 && travelled / 48.0 > 1.0, "{travelled} m in {}", reports.len());
}
