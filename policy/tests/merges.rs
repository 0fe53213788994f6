//! What a merged policy lets through, each policy that it was made from lets through as well:
//! the gates themselves are the judges.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Plant, STEP, document, inputs, rectangle, skill, verified, zone};
use nooterra_policy::{Action, Gate, MergeError, merge};
use nooterra_protocol::codec::{Digest, to_vec};
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::policy::{
    BatteryReserve, Circle, Clear, Mode, MotionLimit, PolicyDocument, Zone, ZoneRule,
};
use nooterra_protocol::schedule::{TimeOfDay, Weekday, Window};
use nooterra_protocol::time::MonoNanos;
use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};

/// As the gate widens what it judges, metres.
const SLACK_M: f64 = 0.005;

const START: Pose = Pose { x: 2.0, y: 6.5, yaw: 0.0 };

/// A policy that says less or more than the others, with room around `START`.
fn policies() -> impl Strategy<Value = PolicyDocument> {
    let limits = (0.2..1.5, 0.05..0.5, 0.3..1.5, 0.4..2.0, 0.3..2.5, 0.8..5.0);
    let optional = (
        prop::option::of(0.2..2.0),
        prop::option::of(0.3..5.0),
        prop::option::of((1.0..20.0, 0.2..2.0)),
        prop::option::of(0.1..0.9),
    );
    let place = (0.02..0.1, -4.0..1.2, -3.0..5.5, 3.0..13.0, 7.4..11.0, any::<bool>());
    let zones = prop::collection::vec((3.2..11.0, 0.5..7.5, 0.3..1.5, any::<bool>()), 0..3);
    (limits, optional, place, zones).prop_map(|(limits, optional, place, zones)| {
        let mut document = document();
        let to = &mut document.limits;
        (to.max_linear_mps, to.max_reverse_mps, to.max_linear_accel_mps2) =
            (limits.0, limits.1, limits.2);
        (to.max_decel_mps2, to.max_angular_radps, to.max_angular_accel_radps2) =
            (limits.3, limits.4, limits.5);
        (to.max_lateral_accel_mps2, to.max_linear_jerk_mps3) = (optional.0, optional.1);
        document.motion = optional.2.map(|(max_s, rest_s)| MotionLimit { max_s, rest_s });
        document.battery = optional.3.map(|reserve| BatteryReserve {
            fraction_per_m: 0.01,
            home: Point::new(1.0, 6.5),
            reserve,
        });
        let (margin_m, left, low, right, high, round) = place;
        document.footprint.margin_m = margin_m;
        document.zones =
            vec![zone("room", rectangle((left, low), (right, high)), ZoneRule::KeepIn)];
        if round {
            document.zones[0].polygon.clear();
            let center = Point::new(right.min(4.0), 6.0);
            document.zones[0].circle = Some(Circle { center, radius_m: 2.9 + margin_m * 10.0 });
        }
        for (index, (x, y, half, slow)) in zones.into_iter().enumerate() {
            let corners = rectangle((x - half, y - half), (x + half, y + half));
            let rule =
                if slow { ZoneRule::Speed { max_linear_mps: 0.2 } } else { ZoneRule::KeepOut };
            document.zones.push(zone(&format!("z{index}"), corners, rule));
        }
        document
    })
}

fn wishes() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((-0.6..2.0, -2.0..2.0), 1..7)
}

proptest! {
    #[test]
    fn what_the_merged_policy_lets_through_passes_each_of_its_inputs_as_it_is(
        a in policies(), b in policies(), c in policies(), wishes in wishes(), battery in 0.0..1.0,
    ) {
        let merged = merge(&a, &[&b, &c]).unwrap();
        // Faster than a crawl, so that a start beyond an edge is told.
        let start = MonoNanos(1_000_000_000);
        let mut probe = inputs(0, start, START, Twist::ZERO, skill(start, Twist::new(0.15, 0.0)));
        probe.battery = Some(1.0);
        let probed = Gate::new(&verified(merged.clone())).tick(&probe);
        proptest::prelude::prop_assume!(probed.verdicts.iter().all(|v| v.zone.is_none()));
        let mut gate = Gate::new(&verified(merged.clone()));
        let mut judges = [&a, &b, &c].map(|input| Gate::new(&verified(input.clone())));
        let mut plant = Plant::new(&merged, START);
        let (mut now, mut before) = (MonoNanos(1_000_000_000), Twist::ZERO);
        'episode: for tick in 0..wishes.len() as u64 * 60 {
            let (linear, angular) = wishes[usize::try_from(tick / 60).unwrap()];
            now = now.plus(STEP);
            plant.pass(STEP, |_, _| ());
            let wish = |twist| {
                let mut inputs = inputs(tick, now, plant.pose, plant.twist, skill(now, twist));
                inputs.battery = Some(battery);
                inputs
            };
            let outcome = gate.tick(&wish(Twist::new(linear, angular)));
            let allowed = outcome.allowed_twist();
            for (judge, name) in judges.iter_mut().zip(["a", "b", "c"]) {
                let judged = judge.tick(&wish(allowed));
                // Where the merged one brakes already, one that may brake harder does.
                let slows = allowed.linear.abs() <= before.linear.abs();
                let turns_less = allowed.angular.abs() <= before.angular.abs();
                let rests = |verdicts: &nooterra_policy::Verdicts| {
                    let rules = [Rule::MotionDuration, Rule::BatteryReserve];
                    verdicts.iter().any(|verdict| rules.contains(&verdict.rule))
                };
                let at_edge = |verdicts: &nooterra_policy::Verdicts| {
                    verdicts.iter().any(|verdict| verdict.zone.is_some())
                };
                // By less than what an arc is off its chords, the longer path of the one that
                // brakes more softly may pass where the shorter does not, and the other way
                // round. Nearer than a few millimetres to an edge each goes its own way.
                let at_hand = |v: &nooterra_policy::GateVerdict| v.limit.abs() < SLACK_M;
                if judged.verdicts.iter().any(|v| v.zone.is_some() && at_hand(v)) {
                    break 'episode;
                }
                // Beyond an edge already, by what the base speeds up at once: only a way back is
                // allowed, and each has its own.
                if judged.verdicts.iter().any(|v| v.zone.is_some() && v.limit < 0.0) {
                    let shallow = |limit: f64| limit > -2e-3;
                    let all = judged.verdicts.iter();
                    prop_assert!(all.into_iter().all(|v| v.zone.is_none() || shallow(v.limit)));
                    break 'episode;
                }
                if rests(&judged.verdicts) && (slows || rests(&outcome.verdicts))
                    || (slows || turns_less)
                        && at_edge(&judged.verdicts)
                        && at_edge(&outcome.verdicts)
                {
                    // From here on they no longer go the same way.
                    break 'episode;
                }
                // Not to the last bit: each scales to its own limits.
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-9;
                let made = judged.allowed_twist();
                prop_assert!(
                    matches!(judged.action, Action::Write(_))
                        && near(made.linear, allowed.linear)
                        && near(made.angular, allowed.angular),
                    "{name} makes {:?} of {allowed:?} by {:?}",
                    judged.allowed_twist(),
                    judged.verdicts.iter().collect::<Vec<_>>()
                );
            }
            plant.write(allowed);
            before = allowed;
        }
    }

    #[test]
    fn the_order_of_further_policies_changes_no_limit(a in policies(), b in policies()) {
        let (one, other) = (merge(&a, &[&b]).unwrap(), merge(&b, &[&a]).unwrap());
        prop_assert!(one.limits == other.limits && one.motion == other.motion);
        prop_assert!(one.footprint == other.footprint && one.battery == other.battery);
        // Merged once more with what it was made of, nothing gets tighter.
        let again = merge(&one, &[&a]).unwrap();
        prop_assert!(again.limits == one.limits && again.modes == one.modes);
    }
}

fn error(a: &PolicyDocument, b: &PolicyDocument) -> String {
    merge(a, &[b]).unwrap_err().to_string()
}

#[test]
fn the_result_names_what_it_was_made_from_and_is_in_order() {
    let (a, mut b) = (document(), document());
    b.limits.max_linear_mps = 0.5;
    let merged = merge(&a, &[&b]).unwrap();
    let hashes = [&a, &b].map(|document| Digest::of(&to_vec(document).unwrap()));
    assert_eq!(merged.merged_from, hashes);
    assert_eq!((merged.limits.max_linear_mps, merged.version), (0.5, a.version));
    assert_eq!(merged.zones, a.zones, "the same zones are there once");
}

#[test]
fn stops_latches_and_modes_are_the_safer() {
    let (mut a, mut b) = (document(), document());
    b.stop = StopProfile::ControlledStopThenPowerOff;
    a.latches.veto = Clear::Released;
    let mode = |id: &str, max_linear_mps| Mode {
        id: id.parse().unwrap(),
        max_angular_radps: None,
        max_decel_mps2: None,
        max_linear_accel_mps2: None,
        max_linear_mps: Some(max_linear_mps),
    };
    a.modes = vec![mode("loaded", 0.4), mode("indoors", 0.7)];
    b.modes = vec![mode("loaded", 0.5), mode("ramp", 0.2)];
    let merged = merge(&a, &[&b]).unwrap();
    assert_eq!(merged.stop, StopProfile::ControlledStopThenPowerOff);
    assert_eq!(merged.latches.veto, Clear::Acknowledged);
    let speeds: Vec<_> = merged
        .modes
        .iter()
        .map(|mode| (mode.id.as_str().to_owned(), mode.max_linear_mps.unwrap()))
        .collect();
    // A mode that the other does not have is for it the strictest that it has.
    let expected = [("loaded", 0.4), ("indoors", 0.2), ("ramp", 0.2)];
    assert_eq!(speeds, expected.map(|(name, speed)| (name.to_owned(), speed)));
}

#[test]
fn two_zones_with_one_name_are_both_kept() {
    let (a, mut b) = (document(), document());
    b.zones[1].polygon = rectangle((8.0, 1.0), (9.0, 2.0));
    b.id = "site".parse().unwrap();
    let merged = merge(&a, &[&b]).unwrap();
    let names: Vec<_> = merged.zones.iter().map(|zone| zone.id.as_str()).collect();
    assert_eq!(names, ["room", "island", "island-site"]);
}

#[test]
fn what_cannot_be_combined_is_an_error_that_says_what_to_do() {
    let a = document();
    let with = |change: fn(&mut PolicyDocument)| {
        let mut b = document();
        b.id = "site".parse().unwrap();
        change(&mut b);
        b
    };
    let found = error(&a, &with(|b| b.robot = "amr-2".parse().unwrap()));
    assert_eq!(found, "`site` is for robot amr-2, the first is for amr-1; merge policies of one");
    let found = error(&a, &with(|b| b.footprint.outline[0].x -= 0.1));
    assert!(found.starts_with("`footprint.outline` of `site` is not that of"), "{found}");
    let found = error(&a, &with(|b| b.stop = StopProfile::ImmediatePowerRemoval));
    assert!(found.starts_with("`stop` of `site`") && found.contains("safer"), "{found}");
    let found = error(&a, &with(|b| b.limits.max_linear_mps = f64::NAN));
    assert!(found.starts_with("`site`: `limits.max_linear_mps` is NaN"), "{found}");
    // Two documents that cannot be turned round.
    let several = |document: PolicyDocument| {
        let more = zone("yard", rectangle((20.0, 0.0), (30.0, 8.0)), ZoneRule::KeepIn);
        let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
        let window = Window { days: vec![Weekday::Mon], from: time("08:00"), to: time("09:00") };
        let mut zones = document.zones.clone();
        zones.push(Zone { windows: vec![window], ..more });
        PolicyDocument { zones, ..document }
    };
    let other = several(with(|b| b.zones[0].polygon = rectangle((0.0, 0.0), (11.0, 8.0))));
    let found = merge(&several(document()), &[&other]).unwrap_err();
    assert!(matches!(found, MergeError::KeepIn { .. }), "{found}");
    assert!(found.to_string().contains("draw a single polygon"), "{found}");
    // One that can be is.
    let merged = merge(
        &several(document()),
        &[&with(|b| {
            b.zones[0].polygon = rectangle((0.0, 0.0), (11.0, 8.0));
        })],
    )
    .unwrap();
    let turned = merged.zones.last().unwrap();
    assert!(turned.rule == ZoneRule::KeepOut && turned.holes.len() == 1);
}
