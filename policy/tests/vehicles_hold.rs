//! Every kind of vehicle, in a closed loop with the worst robot that its policy allows:
//! whatever is wished, it never leaves where it must stay.
//!
//! The worst robot answers after the full reaction time, speeds up at once and brakes no harder
//! than promised; its pose is off by as much as the margin covers, and old. Who judges is not
//! the gate: the true outline against the fence by another geometry library, the true height
//! and the true joints against numbers.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "vehicles/judge.rs"]
mod judge;
#[path = "vehicles/plant.rs"]
mod plant;

use common::{STEP, document, polygon, verified, zone};
use judge::Judge;
use nooterra_policy::{Gate, Grants, Inputs, Wish, Wishes};
use nooterra_protocol::command::{
    Command, JointVelocities, PerJoint, Steer, StopProfile, Velocity,
};
use nooterra_protocol::geometry::{Planar, Pose, Twist};
use nooterra_protocol::observation::Timed;
use nooterra_protocol::policy::{
    Flight, Footprint, Joint, Limits, PolicyDocument, Vehicle, ZoneRule,
};
use nooterra_protocol::time::MonoNanos;
use plant::Plant;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert};
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::f64::consts::{PI, TAU};
use std::time::Duration;

/// Ticks that one wish holds.
const HELD: u32 = 40;

/// One run: a place, what is wished one after the other, and how bad the measurements are.
#[derive(Clone, Debug)]
struct Episode {
    /// Age of the measurements at the tick, milliseconds.
    age_ms: u64,
    /// Radius of the fence at equal angles.
    fence: Vec<f64>,
    /// Part of the margin by which the pose is off.
    noise: f64,
    /// What must be kept out of: angle, distance, radius, corners.
    outs: Vec<(f64, f64, f64, u8)>,
    seed: u32,
    /// Parts of what the vehicle could do, beyond 1 more than it may.
    wishes: Vec<[f64; 4]>,
}

fn episodes() -> impl Strategy<Value = Episode> {
    (
        0_u64..20,
        prop::collection::vec(2.0..6.0, 4..12),
        prop_oneof_noise(),
        prop::collection::vec((0.0..TAU, 2.0..5.0, 0.2..0.8, 3_u8..8), 0..4),
        any::<u32>(),
        prop::collection::vec([-1.5..1.5, -1.5..1.5, -1.5..1.5, -1.5..1.5], 3..8),
    )
        .prop_map(|(age_ms, fence, noise, outs, seed, wishes)| Episode {
            age_ms,
            fence,
            noise,
            outs,
            seed,
            wishes,
        })
}

fn prop_oneof_noise() -> impl Strategy<Value = f64> {
    (any::<bool>(), 0.0..1.0).prop_flat_map(|(noisy, part)| Just(if noisy { part } else { 0.0 }))
}

/// A hall with a fence around the start and islands in it.
fn hall(episode: &Episode, vehicle: Vehicle) -> PolicyDocument {
    let around = |count: usize, radius: &dyn Fn(usize) -> f64, (x, y): (f64, f64)| {
        let corners: Vec<(f64, f64)> = (0..count)
            .map(|index| {
                let turn = TAU * index as f64 / count as f64;
                (x + radius(index) * turn.cos(), y + radius(index) * turn.sin())
            })
            .collect();
        polygon(&corners)
    };
    let fence = around(episode.fence.len(), &|index| episode.fence[index], (0.0, 0.0));
    let mut document = PolicyDocument { vehicle, ..document() };
    document.zones = vec![zone("fence", fence, ZoneRule::KeepIn)];
    for (index, (angle, distance, radius, corners)) in episode.outs.iter().enumerate() {
        let center = (distance * angle.cos(), distance * angle.sin());
        let island = around(usize::from(*corners), &|_| *radius, center);
        document.zones.push(zone(&format!("out-{index}"), island, ZoneRule::KeepOut));
    }
    document
}

fn omnidirectional(episode: &Episode) -> PolicyDocument {
    hall(episode, Vehicle::Omnidirectional { max_lateral_mps: 0.5 })
}

fn ackermann(episode: &Episode) -> PolicyDocument {
    let mut document = hall(
        episode,
        Vehicle::Ackermann {
            max_steering_rad: 0.6,
            max_steering_rate_radps: 1.0,
            wheelbase_m: 0.35,
        },
    );
    document.limits.max_lateral_accel_mps2 = Some(0.6);
    document
}

fn multirotor(episode: &Episode) -> PolicyDocument {
    let mut document = hall(
        episode,
        Vehicle::Multirotor(Flight {
            land_after_s: Some(5.0),
            max_altitude_m: 6.0,
            max_climb_mps: 1.5,
            max_descent_mps: 1.0,
            max_tilt_rad: 0.4,
            max_vertical_accel_mps2: 1.5,
            min_altitude_m: 1.0,
        }),
    );
    document.limits.max_linear_mps = 1.5;
    document.limits.max_decel_mps2 = 1.5;
    document.limits.max_linear_accel_mps2 = 1.5;
    document
}

fn arm(_: &Episode) -> PolicyDocument {
    let joint = |min_position, max_position, max_velocity, max_accel| Joint {
        max_accel,
        max_effort: Some(50.0),
        max_position,
        max_velocity,
        min_position,
    };
    PolicyDocument {
        footprint: Footprint::default(),
        limits: Limits::default(),
        vehicle: Vehicle::Joints {
            joints: vec![
                joint(-2.9, 2.9, 1.5, 4.0),
                joint(-0.4, 0.6, 1.0, 2.0),
                joint(-1.0, 0.1, 2.0, 6.0),
            ],
            reaction_ms: 60,
        },
        zones: vec![],
        ..document()
    }
}

/// The command that parts of what the vehicle could do come to.
fn command(document: &PolicyDocument, [a, b, c, d]: [f64; 4]) -> Command {
    let limits = &document.limits;
    let linear = limits.max_linear_mps;
    match &document.vehicle {
        Vehicle::Ackermann { max_steering_rad, .. } => Command::Ackermann(Steer {
            speed_mps: a * linear,
            steering_rad: (b * max_steering_rad).clamp(-1.5, 1.5),
        }),
        Vehicle::Differential => {
            Command::Drive(Twist::new(a * linear, b * limits.max_angular_radps))
        }
        Vehicle::Joints { joints, .. } => {
            let velocities: Vec<f64> = joints
                .iter()
                .zip([a, b, c])
                .map(|(joint, part)| part * joint.max_velocity)
                .collect();
            Command::Joints(JointVelocities { joints: PerJoint::new(&velocities).unwrap() })
        }
        Vehicle::Multirotor(flight) => Command::Fly(Velocity {
            x: a * linear,
            y: b * linear,
            yaw_rate: d,
            z: c * flight.max_climb_mps,
        }),
        Vehicle::Omnidirectional { max_lateral_mps } => Command::Omni(Planar::new(
            a * linear,
            b * max_lateral_mps,
            c * limits.max_angular_radps,
        )),
    }
}

/// Uniform in -1 to 1, from a counter: noise that a failing case repeats.
fn noise(seed: u32, count: u64) -> f64 {
    let mut mixed = (u64::from(seed) << 32 | count).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 29;
    f64::from(u32::try_from(mixed >> 32).unwrap()) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// What an episode came to.
#[derive(Clone, Copy, Debug)]
struct Report {
    /// How far it went beyond an edge, m or rad; 0 when it never did.
    beyond: f64,
    /// How much it moved in all, m or rad.
    travelled: f64,
}

/// Runs an episode with a robot that brakes at `brakes` of what the policy says it does.
/// `None` where the start is not free.
fn run(episode: &Episode, document: &PolicyDocument, brakes: f64) -> Option<Report> {
    let judge = Judge::new(document);
    let mut plant = Plant::new(document, brakes);
    if judge.beyond(&plant) > -0.1 {
        return None;
    }
    let mut gate = Gate::new(&verified(document.clone()));
    let mut now = MonoNanos(1_000_000_000);
    let (mut tick, mut report) = (0, Report { beyond: 0.0, travelled: 0.0 });
    // Nothing here moves faster than this, m/s or rad/s; so long an edge is out of reach.
    let (mut out_of_reach_ms, fastest) = (0.0, 4.0);
    for wish in &episode.wishes {
        for _ in 0..HELD {
            tick += 1;
            let mut seen = None;
            for millis in 0..20_u64 {
                plant.pass_a_millisecond();
                if millis == 19 - episode.age_ms {
                    seen = Some((plant.clone(), now.plus(Duration::from_millis(millis + 1))));
                }
                out_of_reach_ms -= 1.0;
                if out_of_reach_ms <= 0.0 {
                    let beyond = judge.beyond(&plant);
                    report.beyond = report.beyond.max(beyond);
                    out_of_reach_ms = (-beyond / fastest * 1e3).clamp(4.0, 100.0);
                }
            }
            now = now.plus(STEP);
            let (seen, at) = seen.unwrap();
            let off = document.footprint.margin_m * episode.noise * noise(episode.seed, 2 * tick);
            let towards = PI * noise(episode.seed, 2 * tick + 1);
            let pose = Pose {
                x: seen.pose.x + off * towards.cos(),
                y: seen.pose.y + off * towards.sin(),
                yaw: seen.pose.yaw,
            };
            let wish = Wish {
                at: now,
                command: command(document, *wish),
                until: now.plus(Duration::from_secs(1)),
            };
            let inputs = Inputs {
                flying: seen.flying().map(|value| Timed { at, value }),
                grants: Grants::ALL,
                joints: seen.joints().map(|value| Timed { at, value }),
                wishes: Wishes { skill: Some(wish), ..Wishes::default() },
                ..Inputs::new(
                    tick,
                    now,
                    Timed { at, value: pose },
                    Timed { at, value: seen.body_twist() },
                )
            };
            plant.write(gate.tick(&inputs).allowed);
        }
    }
    report.travelled = plant.travelled;
    Some(report)
}

type Making = fn(&Episode) -> PolicyDocument;

const KINDS: [(&str, Making); 4] = [
    ("omnidirectional", omnidirectional),
    ("ackermann", ackermann),
    ("multirotor", multirotor),
    ("arm", arm),
];

/// As many random episodes as proptest is asked for, of one kind of vehicle; says how many of
/// them were driven: where the start is not free there is nothing to drive.
fn holds(name: &str, making: Making) {
    let config = Config { source_file: Some(file!()), ..Config::default() };
    let (asked, driven) = (config.cases, Cell::new(0_u32));
    let outcome = TestRunner::new(config).run(&episodes(), |episode| {
        if let Some(report) = run(&episode, &making(&episode), 1.0) {
            driven.set(driven.get() + 1);
            prop_assert!(report.beyond <= 0.0, "{} beyond an edge", report.beyond);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
    println!("{name}: {} of {asked} episodes driven, 0 exits", driven.get());
    assert!(u64::from(driven.get()) * 4 > u64::from(asked), "{name}: hardly a start is free");
}

#[test]
fn an_omnidirectional_base_stays_inside() {
    holds("omnidirectional", omnidirectional);
}

#[test]
fn a_base_that_steers_stays_inside() {
    holds("ackermann", ackermann);
}

#[test]
fn a_multirotor_stays_inside_and_between_floor_and_ceiling() {
    holds("multirotor", multirotor);
}

#[test]
fn an_arm_stays_within_the_range_of_its_joints() {
    holds("arm", arm);
}

/// A fixed set of episodes, with wishes that go on into an edge.
fn into_edges() -> impl Iterator<Item = Episode> {
    (0..40_u32).map(|seed| {
        let part = |count| noise(seed, count);
        // Straight on, or with some of the other axes.
        let beside = |axis: u32| {
            let part = part(u64::from(axis));
            if seed >> axis & 1 == 0 { 0.0 } else { part.signum() * part.abs().max(0.7) }
        };
        let wish = [1.2, beside(0), beside(1), beside(2)];
        Episode {
            age_ms: 10,
            fence: (0..8).map(|corner| 4.0 + part(10 + corner)).collect(),
            noise: 0.0,
            outs: vec![],
            seed,
            wishes: vec![wish; 12],
        }
    })
}

#[test]
fn weaker_brakes_than_promised_are_noticed_by_the_judge() {
    for (name, making) in KINDS {
        let exits = |brakes| {
            into_edges()
                .filter_map(|episode| run(&episode, &making(&episode), brakes))
                .filter(|report| report.beyond > 0.0)
                .count()
        };
        assert_eq!(exits(1.0), 0, "{name}");
        assert!(exits(0.3) > 0, "{name}: the judge sees nothing");
    }
}

#[test]
fn every_vehicle_gets_somewhere() {
    for (name, making) in KINDS {
        let travelled: f64 = into_edges()
            .filter_map(|episode| run(&episode, &making(&episode), 1.0))
            .map(|report| report.travelled)
            .sum();
        assert!(travelled / 40.0 > 0.5, "{name}: {travelled} in 40 episodes");
    }
}

#[test]
fn a_stop_that_lasts_lands_what_flies() {
    let episode = into_edges().next().unwrap();
    let document = multirotor(&episode);
    let mut gate = Gate::new(&verified(document.clone()));
    let plant = Plant::new(&document, 1.0);
    let mut stop_at = |seconds: u64, emergency_stop| {
        let mut last = None;
        for tick in 0..50 {
            let now = MonoNanos(seconds * 1_000_000_000 + tick * 20_000_000);
            let flying = plant.flying().map(|value| Timed { at: now, value });
            let wishes = Wishes { emergency_stop, ..Wishes::default() };
            let pose = Timed { at: now, value: plant.pose };
            let twist = Timed { at: now, value: Planar::ZERO };
            let inputs = Inputs { flying, wishes, ..Inputs::new(tick, now, pose, twist) };
            last = match gate.tick(&inputs).action {
                nooterra_policy::Action::Stop(profile) => Some(profile),
                nooterra_policy::Action::Write(_) => None,
            };
        }
        last
    };
    assert_eq!(stop_at(1, false), None);
    assert_eq!(stop_at(2, true), Some(StopProfile::ControlledHold));
    for seconds in 3..7 {
        assert_eq!(stop_at(seconds, true), Some(StopProfile::ControlledHold));
    }
    assert_eq!(stop_at(7, true), Some(StopProfile::Land));
}
