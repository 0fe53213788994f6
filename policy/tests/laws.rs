//! Laws of the gate that hold for every kind of vehicle and whatever bits come in.
//!
//! The laws are in `harness/`; here proptest draws their bytes.
#![allow(clippy::unwrap_used)]

mod common;
mod harness;

use common::STEP;
use harness::LAWS;
use harness::draw::Draw;
use harness::vehicles::{START, command, gate, policies, policy, standing};
use nooterra_policy::Action;
use nooterra_protocol::command::{Command, PerJoint};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Planar;
use proptest::prelude::{any, prop};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// The most that a law draws.
const BYTES: usize = 2048;

/// Cases of one law, as many as proptest is asked for.
fn holds(name: &str) {
    let law = LAWS.iter().find_map(|(known, law)| (*known == name).then_some(law)).unwrap();
    let mut config = Config { source_file: Some(file!()), ..Config::default() };
    if cfg!(miri) {
        // A case takes seconds there, and no file can be written.
        (config.cases, config.failure_persistence) = (2, None);
    }
    let cases = config.cases;
    let words = prop::collection::vec(any::<u64>(), 1..=BYTES / 8);
    let outcome = TestRunner::new(config).run(&words, |words| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        law(&mut Draw(&bytes)).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{name}: {cases} cases held");
}

/// A test for each law, under its name.
macro_rules! laws {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        #[test]
        fn every_law_of_the_harness_is_a_test() {
            let tests = [$(stringify!($name)),*];
            assert_eq!(LAWS.map(|(name, _)| name), tests);
        }
    };
}

laws! {
    a_clock_that_stands_jumps_or_goes_back_is_a_stop
    a_compliant_command_passes_bit_for_bit_and_anything_else_is_explained
    a_denied_source_decides_nothing
    a_latch_is_lifted_only_on_its_condition
    a_path_keeps_its_shape_or_the_verdict_says_what_bent_it
    a_stop_from_wherever_it_was_let_go_ends_inside
    from_beyond_an_edge_some_wish_leads_back
    standing_still_is_always_within_reach_and_no_jerk_limit_delays_it
    tightening_a_policy_never_speeds_anything_up
    what_the_gate_lets_through_it_lets_through_again
    whatever_comes_in_what_goes_out_is_finite_within_every_limit_and_explained
}

#[test]
fn a_stop_is_not_lifted_while_a_joint_still_moves() {
    let document = policy(4).0;
    let mut gate = gate(4);
    let mut now = START;
    let mut tick = |pressed, velocity: f64| {
        now = now.plus(STEP);
        let mut inputs =
            standing(0, now, harness::vehicles::OPEN, Some(command(document, [0.2; 4])));
        inputs.wishes.emergency_stop = pressed;
        inputs.wishes.acknowledged = (!pressed).then_some(now);
        if let Some(joints) = &mut inputs.joints {
            joints.value.velocity = PerJoint::new(&[velocity; 3]).unwrap();
        }
        matches!(gate.tick(&inputs).action, Action::Stop(_))
    };
    assert!(!tick(false, 0.2));
    assert!(tick(true, 0.2));
    assert!(tick(false, 0.2), "it still moves");
    assert!(!tick(false, 0.0));
}

#[test]
fn a_command_for_another_kind_of_vehicle_is_a_stop() {
    for (index, document) in policies().iter().enumerate() {
        for (other, from) in policies().iter().enumerate() {
            let wish = command(from, [0.1; 4]);
            let inputs = standing(0, START, harness::vehicles::OPEN, Some(wish));
            let outcome = gate(index).tick(&inputs);
            let stopped = matches!(outcome.action, Action::Stop(_));
            assert_eq!(stopped, index != other, "{wish:?} to {:?}", document.vehicle);
            let kind = outcome.verdicts.iter().any(|verdict| verdict.rule == Rule::CommandKind);
            assert_eq!(kind, index != other);
        }
    }
}

#[test]
fn what_drifts_fast_beyond_an_edge_keeps_its_height_and_is_told_why() {
    const FLYING: usize = 3;
    let document = policy(FLYING).0;
    let outside = (2.0, -3.0);
    let sink = command(document, [0.0, 0.0, -0.5, 0.0]);
    let after_rest = |moving: Planar| {
        let mut gate = gate(FLYING);
        let rest = command(document, [0.0; 4]);
        gate.tick(&standing(0, START, outside, Some(rest)));
        let mut inputs = standing(1, START.plus(STEP), outside, Some(sink));
        inputs.twist.value = moving;
        gate.tick(&inputs)
    };
    let drifting = after_rest(Planar::new(-2.0, -2.0, 0.0));
    assert_eq!(drifting.allowed, command(document, [0.0; 4]));
    assert!(!drifting.verdicts.is_empty(), "{drifting:?}");
    // Where it stands it may sink.
    let still = after_rest(Planar::ZERO).allowed;
    assert!(matches!(still, Command::Fly(fly) if fly.z < 0.0), "{still:?}");
}
