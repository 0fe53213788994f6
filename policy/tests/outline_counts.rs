//! A long robot is judged by its outline: it goes where its circle would not fit, it does not
//! turn where a corner would sweep across, and it never gets itself stuck.
#![allow(clippy::unwrap_used)]

mod common;

use common::{STEP, document, inputs, radius, rectangle, skill, verified, zone};
use nooterra_policy::{Action, Gate};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::policy::{PolicyDocument, ZoneRule};
use nooterra_protocol::time::MonoNanos;
use std::f64::consts::FRAC_PI_2;

/// A robot of 1.2 by 0.4 m in a room of 12 by 8 m, with what is kept out of.
fn long(keep_outs: &[[(f64, f64); 2]]) -> PolicyDocument {
    let mut document = document();
    document.footprint.outline = rectangle((-0.6, -0.2), (0.6, 0.2));
    document.zones = vec![zone("room", rectangle((0.0, 0.0), (12.0, 8.0)), ZoneRule::KeepIn)];
    for (index, [from, to]) in keep_outs.iter().enumerate() {
        let corners = rectangle(*from, *to);
        document.zones.push(zone(&format!("z{index}"), corners, ZoneRule::KeepOut));
    }
    document
}

/// Drives with one wish on a base without delay, and gives where it ends.
fn drive(gate: &mut Gate, from: Pose, wish: Twist, ticks: u64) -> (Pose, Option<Rule>) {
    let (mut now, mut pose, mut twist) = (MonoNanos(1_000_000_000), from, Twist::ZERO);
    let mut rule = None;
    for tick in 1..=ticks {
        now = now.plus(STEP);
        let outcome = gate.tick(&inputs(tick, now, pose, twist, skill(now, wish)));
        assert!(matches!(outcome.action, Action::Write(_)), "{:?}", outcome.verdicts);
        let zone = outcome.verdicts.iter().find(|verdict| verdict.zone.is_some());
        rule = zone.map(|verdict| verdict.rule).or(rule);
        twist = outcome.allowed_twist();
        let half = pose.yaw + twist.angular * 0.01;
        pose.x += twist.linear * 0.02 * half.cos();
        pose.y += twist.linear * 0.02 * half.sin();
        pose.yaw += twist.angular * 0.02;
    }
    (pose, rule)
}

fn gate(document: &PolicyDocument) -> Gate {
    let mut document = document.clone();
    document.limits.reaction_ms = 0;
    Gate::new(&verified(document))
}

#[test]
fn a_long_robot_drives_through_a_gap_that_its_circle_would_not_fit() {
    // A passage of 0.8 m: the robot is 0.4 m wide and 1.2 m long.
    let document = long(&[[(4.0, 0.0), (6.0, 3.6)], [(4.0, 4.4), (6.0, 8.0)]]);
    assert!(radius(&document) > 0.6);
    let start = Pose { x: 2.0, y: 4.0, yaw: 0.0 };
    let (end, _) = drive(&mut gate(&document), start, Twist::new(0.5, 0.0), 700);
    assert!(end.x > 7.0, "{end:?}");
    // Across, it is not let in.
    let (end, rule) = drive(
        &mut gate(&long(&[[(4.0, 0.0), (6.0, 3.6)]])),
        Pose { x: 3.0, y: 3.0, yaw: 0.0 },
        Twist::new(0.5, 0.0),
        700,
    );
    assert!(end.x < 3.4 && rule == Some(Rule::ZoneKeepOut), "{end:?}");
}

#[test]
fn a_turn_beside_a_wall_ends_before_a_corner_sweeps_across() {
    // Along the room's south wall, 15 cm from it.
    let document = long(&[]);
    let start = Pose { x: 6.0, y: 0.35, yaw: 0.0 };
    for turn in [1.0, -1.0] {
        let (end, rule) = drive(&mut gate(&document), start, Twist::new(0.0, turn), 400);
        assert_eq!(rule, Some(Rule::ZoneKeepIn));
        // A corner is 0.6 m ahead and 0.2 m to the side; it swings towards the wall.
        let corner = 0.6 * end.yaw.abs().sin() + 0.2 * end.yaw.cos();
        assert!(end.yaw.abs() > 0.02 && corner < 0.35, "{end:?}");
        // The other way it comes free again, and it can drive off.
        let (back, _) = drive(&mut gate(&document), end, Twist::new(0.0, -turn), 10);
        assert!((back.yaw - end.yaw) * turn < -0.01, "{back:?}");
    }
    // In the open the same turn is free.
    let open = Pose { x: 6.0, y: 4.0, yaw: 0.0 };
    let (end, rule) = drive(&mut gate(&document), open, Twist::new(0.0, 1.0), 400);
    assert!(end.yaw > 6.0 && rule.is_none(), "{end:?}");
}

#[test]
fn a_robot_that_was_pushed_against_a_wall_has_a_way_out_at_every_heading() {
    let document = long(&[[(4.0, 3.0), (8.0, 5.0)]]);
    for step in 0..72 {
        let yaw = f64::from(step) * FRAC_PI_2 / 18.0;
        // Its nearest corner, and the margin, from 14 cm across the island's edge to clear.
        let reach = 0.6 * yaw.cos().abs() + 0.2 * yaw.sin().abs();
        for across in [-0.04, 0.02, 0.05, 0.14] {
            let start = Pose { x: 4.0 - reach + across, y: 4.0, yaw };
            let ways = [
                (-1.0, 0.0),
                (1.0, 0.0),
                (0.0, 1.0),
                (0.0, -1.0),
                (0.3, 1.0),
                (0.3, -1.0),
                (-0.3, 1.0),
                (-0.3, -1.0),
            ];
            let free = ways.iter().any(|(linear, angular)| {
                let wish = Twist::new(0.1 * linear, 0.5 * angular);
                let (end, _) = drive(&mut gate(&document), start, wish, 8);
                end != start
            });
            assert!(free, "stuck at {start:?}");
        }
    }
}

#[test]
fn a_robot_that_lies_along_a_wall_and_across_its_edge_turns_out_and_drives_off() {
    let document = long(&[]);
    // 3 cm of the margin are across.
    let start = Pose { x: 6.0, y: 0.22, yaw: 0.0 };
    let mut at = start;
    for _ in 0..80 {
        (at, _) = drive(&mut gate(&document), at, Twist::new(0.0, 0.3), 20);
        (at, _) = drive(&mut gate(&document), at, Twist::new(0.3, 0.0), 20);
    }
    assert!(at.y > 0.6, "{at:?}");
}

#[test]
fn a_base_that_cannot_drive_backward_is_not_let_where_it_could_not_turn() {
    let mut document = long(&[]);
    document.limits.max_reverse_mps = 0.0;
    let start = Pose { x: 6.0, y: 4.0, yaw: -FRAC_PI_2 };
    let (end, _) = drive(&mut gate(&document), start, Twist::new(0.5, 0.0), 900);
    assert!(end.y > radius(&document) && end.y < radius(&document) + 0.1, "{end:?}");
    let (turned, rule) = drive(&mut gate(&document), end, Twist::new(0.0, 1.0), 200);
    assert!(turned.yaw - end.yaw > 3.0 && rule.is_none(), "{turned:?}");
}
