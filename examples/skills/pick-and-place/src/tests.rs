use super::*;
use nooterra_skill::testing::{Arm, ArmRan};
use nooterra_skill::types::Param;
use std::f64::consts::FRAC_PI_2;

const A: Point = Point { x: 0.8, y: 0.55 };
const B: Point = Point { x: 0.5, y: 0.35 };
const C: Point = Point { x: 1.15, y: 0.3 };

/// At the table's edge, with things at these points.
fn table(things: &[Point]) -> Arm {
    Arm::at(0.8, 0.0, FRAC_PI_2).with_things(things)
}

fn params(from: &[Point], to: &[Point]) -> [(&'static str, Param); 2] {
    [("from", from.to_vec().into()), ("to", to.to_vec().into())]
}

/// From the start, for tests that step it themselves.
fn begun() -> PickAndPlace {
    let params = params(&[A], &[C]).map(|(name, value)| (name.to_owned(), value));
    arm::begin("pick_and_place", params.to_vec()).unwrap()
}

fn why(ran: &ArmRan) -> &str {
    let Status::Failed(why) = &ran.end else { panic!("{:?}", ran.end) };
    why
}

fn near(found: Point, expected: Point) -> bool {
    nooterra_skill::geometry::distance(found, expected) < 0.02
}

#[test]
fn each_thing_comes_to_its_place() {
    let mut arm = table(&[A, B]);
    let ran = arm.run::<PickAndPlace>("pick_and_place", &params(&[A, B], &[C, A]));
    assert_eq!((ran.end, arm.held), (Status::Done, None));
    assert_eq!(ran.heard.checkpoints, ["placed-1", "placed-2"]);
    assert!(near(arm.things[0], C) && near(arm.things[1], A), "{:?}", arm.things);
}

#[test]
fn where_nothing_is_grasped_it_tries_once_more_and_says_so() {
    let ran = table(&[B]).run::<PickAndPlace>("pick_and_place", &params(&[A], &[C]));
    assert_eq!(why(&ran), "there is nothing to grasp at (0.80, 0.55)");
    assert_eq!(ran.heard.lines, ["nothing grasped at (0.80, 0.55), once more"]);
}

#[test]
fn a_point_out_of_reach_is_told_before_anything_is_touched() {
    let mut arm = table(&[A]);
    let far = Point { x: 0.8, y: 0.9 };
    let ran = arm.run::<PickAndPlace>("pick_and_place", &params(&[A, B], &[C, far]));
    assert_eq!(why(&ran), "(0.80, 0.90) is 0.90 m from the arm, which reaches 0.10 to 0.70 m");
    assert_eq!(ran.requests, [Request::Stop]);
}

#[test]
fn a_bend_that_the_owner_forbids_is_told_before_anything_is_touched() {
    let near = Point { x: 0.8, y: 0.25 };
    let run = |more: &[(&'static str, Param)]| {
        let mut arm = table(&[A]);
        arm.scara.max_position[1] = 2.4;
        arm.scara.min_position[1] = -2.4;
        let params = [&params(&[A], &[near])[..], more].concat();
        arm.run::<PickAndPlace>("pick_and_place", &params)
    };
    // Not told of it, it goes there and waits.
    assert_eq!(why(&run(&[])), "thing 1: the arm comes no nearer to where it shall be");
    let ran = run(&[("elbow_rad", 2.4.into())]);
    assert!(why(&ran).contains("its elbow from -2.4 to 2.4 rad"), "{}", why(&ran));
    assert_eq!(ran.requests, [Request::Stop]);
}

#[test]
fn an_arm_that_is_held_is_given_up_after_10_s() {
    let mut arm = table(&[A]);
    arm.is_held = true;
    let ran = arm.run::<PickAndPlace>("pick_and_place", &params(&[A], &[C]));
    assert_eq!(why(&ran), "thing 1: the arm comes no nearer to where it shall be");
    assert_eq!(ran.requests.len(), 201, "20 times a second, and the one that begins");
}

#[test]
fn a_restart_in_any_phase_goes_on_from_there() {
    for steps in (0..400).step_by(7) {
        let (mut arm, mut skill) = (table(&[A]), begun());
        for _ in 0..steps {
            let (request, status) = skill.step(&arm.sees());
            arm.obey(&request);
            if status == Status::Done {
                return assert!(steps > 150, "{steps}");
            }
        }
        let kept = skill.suspend();
        let mut again = begun();
        again.resume(&kept).unwrap();
        let ran = arm.go_on(&mut again);
        assert_eq!((ran.end, near(arm.things[0], C)), (Status::Done, true), "after {steps}");
    }
    panic!("it was never done");
}

#[test]
fn jaws_that_somebody_stopped_half_way_hold_nothing() {
    let mut arm = table(&[]);
    let mut skill = begun();
    while arm.opening > 0.05 {
        let (request, _) = skill.step(&arm.sees());
        arm.obey(&request);
    }
    arm.is_held = true;
    for _ in 0..100 {
        let (request, _) = skill.step(&arm.sees());
        arm.obey(&request);
        assert!(matches!(request, Request::Gripper(_)), "{request:?}");
    }
    arm.is_held = false;
    let ran = arm.go_on(&mut skill);
    assert_eq!(why(&ran), "there is nothing to grasp at (0.80, 0.55)");
}

#[test]
fn what_is_lost_on_the_way_ends_it() {
    let mut arm = table(&[A]);
    let mut skill = begun();
    while arm.held.is_none() || arm.joints[2] < 0.1 {
        let (request, _) = skill.step(&arm.sees());
        arm.obey(&request);
    }
    arm.held = None;
    assert_eq!(why(&arm.go_on(&mut skill)), "thing 1 was lost on the way");
}

#[test]
fn what_is_wrong_with_the_parameters_is_said() {
    let said = |params: &[(&str, Param)]| Arm::refusal::<PickAndPlace>("pick_and_place", params);
    assert_eq!(said(&params(&[A, B], &[C])), "`to` must hold 2 to 2 points, holds 1");
    for (from, to) in [([A, B], [B, C]), ([A, B], [C, C])] {
        assert!(said(&params(&from, &to)).ends_with("something lies then"));
    }
    assert!(said(&params(&[], &[])).contains("`from` must hold 1 to 16 points"));
}
