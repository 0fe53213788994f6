//! The example skill, in a robot of pure kinematics, without threads and without a clock.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // Tests throughout, helpers too.

mod common;

use common::{Heard, Listening, Toy, bundle, everything};
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::plan::Param;
use nooterra_skill_host::{Bundle, Host, HostOptions, Request, SkillError, Status};
use std::collections::BTreeMap;
use std::f64::consts::FRAC_PI_2;

type Params = BTreeMap<String, Param>;

fn params<const N: usize>(params: [(&str, Param); N]) -> Params {
    params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn points(points: &[(f64, f64)]) -> Param {
    Param::Points(points.iter().map(|(x, y)| Point::new(*x, *y)).collect())
}

/// Runs an action to its end; returns every step and what came through the ports.
fn run(
    host: &Host,
    bundle: &Bundle,
    toy: &mut Toy,
    action: &str,
    params: &Params,
) -> (Vec<(Request, Status)>, Heard) {
    let ports = Listening::default();
    let mut session =
        host.open(bundle, &everything(), action, params, ports.ports(), &[]).unwrap().unwrap();
    let mut steps = Vec::new();
    for _ in 0..3000 {
        let (request, status) = session.step(toy.at(), &toy.seen()).unwrap();
        toy.apply(&request);
        let over = !matches!(status, Status::Running { .. });
        steps.push((request, status));
        if over {
            return (steps, ports.heard());
        }
    }
    panic!("{action} does not end; last {:?} at {:?}", steps.last(), toy.pose);
}

fn refusal(action: &str, params: &Params) -> String {
    let host = Host::new(HostOptions::default()).unwrap();
    let ports = Listening::default().ports();
    match host.open(&bundle("patrol"), &everything(), action, params, ports, &[]).unwrap() {
        Err(SkillError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_round_from_dock_to_dock() {
    let (host, bundle) = (Host::new(HostOptions::default()).unwrap(), bundle("patrol"));
    let mut toy = Toy::docked_at(0.0, 0.0, 0.0);

    let (steps, _) =
        run(&host, &bundle, &mut toy, "undock", &params([("distance_m", Param::Number(1.5))]));
    assert_eq!(steps.last().unwrap().1, Status::Done);
    assert!(toy.pose.x >= 1.5 && toy.pose.y.abs() < 1e-9, "{:?}", toy.pose);

    let route = [(4.0, 0.0), (4.0, 4.0), (-2.0, 4.0)];
    let (steps, heard) =
        run(&host, &bundle, &mut toy, "patrol", &params([("waypoints", points(&route))]));
    assert_eq!(steps.last().unwrap().1, Status::Done);
    assert_eq!(heard.checkpoints, ["waypoint-1", "waypoint-2", "waypoint-3"]);
    assert!(toy.pose.point().distance(Point::new(-2.0, 4.0)) < 0.4, "{:?}", toy.pose);
    let (Request::GoTo { speed_mps, .. }, Status::Running { note, .. }) = &steps[0] else {
        panic!("{:?}", steps[0])
    };
    assert_eq!((*speed_mps, note.as_str()), (2.0, "waypoint 1 of 3, 2.5 m to go"));

    let (steps, heard) = run(&host, &bundle, &mut toy, "inspect", &Params::new());
    assert_eq!(steps.last().unwrap().1, Status::Done);
    assert_eq!(heard.checkpoints, ["inspected"]);
    let (name, media_type, bytes) = &heard.evidence[0];
    assert_eq!((name.as_str(), media_type.as_str()), ("surroundings.json", "application/json"));
    let report: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let nearest = report["nearest_m"].as_array().unwrap();
    assert_eq!(nearest.len(), 12);
    // The wall in the north is 6 m away, seen from y = 4.
    let north = nearest[3].as_f64().unwrap();
    assert!((5.5..6.5).contains(&north), "{report}");

    let home = params([("dock", points(&[(0.0, 0.0)])), ("approach_m", Param::Number(1.2))]);
    let (steps, heard) = run(&host, &bundle, &mut toy, "return", &home);
    assert_eq!(steps.last().unwrap().1, Status::Done, "{:?}", toy.pose);
    assert_eq!(heard.checkpoints, ["docked"]);
    assert!(toy.seen().docked && toy.pose.yaw.abs() < 0.1, "{:?}", toy.pose);
}

#[test]
fn it_docks_from_the_edge_of_its_approach_either_way_round() {
    let (host, bundle) = (Host::new(HostOptions::default()).unwrap(), bundle("patrol"));
    for (nose_first, y, yaw) in
        [(true, 0.29, 1.0), (true, -0.29, -2.0), (false, 0.29, 3.0), (false, -0.29, 0.0)]
    {
        // The dock looks north; the robot begins in front of it, to a side, turned anyhow.
        let mut toy = Toy::docked_at(2.0, 1.0, FRAC_PI_2);
        toy.pose = Pose { x: 2.0 + y, y: 2.0, yaw };
        let home = params([
            ("dock", points(&[(2.0, 1.0)])),
            ("dock_yaw_rad", Param::Number(FRAC_PI_2)),
            ("nose_first", Param::Flag(nose_first)),
        ]);
        let (steps, _) = run(&host, &bundle, &mut toy, "return", &home);
        assert_eq!(steps.last().unwrap().1, Status::Done, "{nose_first} {y} {yaw}: {:?}", toy.pose);
    }
}

#[test]
fn progress_never_runs_backwards_on_patrol() {
    let (host, bundle) = (Host::new(HostOptions::default()).unwrap(), bundle("patrol"));
    let mut toy = Toy::docked_at(0.0, 0.0, 0.0);
    let route = params([("waypoints", points(&[(2.0, 0.0), (2.0, 2.0)]))]);
    let (steps, _) = run(&host, &bundle, &mut toy, "patrol", &route);
    let progress: Vec<f64> = steps
        .iter()
        .filter_map(|(_, status)| match status {
            Status::Running { progress, .. } => Some(*progress),
            _ => None,
        })
        .collect();
    assert!(progress.is_sorted() && *progress.last().unwrap() > 0.0);
}

#[test]
fn a_way_that_leads_nowhere_is_given_up_with_a_reason() {
    let (host, bundle) = (Host::new(HostOptions::default()).unwrap(), bundle("patrol"));
    let mut toy = Toy::docked_at(0.0, 0.0, 0.0);
    let route = params([("waypoints", points(&[(5.0, 0.0)]))]);
    let ports = Listening::default().ports();
    let mut session =
        host.open(&bundle, &everything(), "patrol", &route, ports, &[]).unwrap().unwrap();
    for _ in 0..400 {
        let (request, status) = session.step(toy.at(), &toy.seen()).unwrap();
        // The gate lets nothing through.
        toy.apply(&Request::Idle);
        if let Status::Failed(reason) = status {
            assert_eq!(request, Request::Stop);
            assert_eq!(reason, "waypoint 1 came no nearer for 20 s: something is in the way");
            return;
        }
    }
    panic!("it waits for ever");
}

#[test]
fn a_dock_that_is_not_there_ends_in_a_reason_and_not_in_the_wall() {
    let (host, bundle) = (Host::new(HostOptions::default()).unwrap(), bundle("patrol"));
    let mut toy = Toy::docked_at(5.0, 5.0, 0.0);
    toy.pose.x -= 2.0;
    let home = params([("dock", points(&[(0.0, 0.0)]))]);
    let (steps, _) = run(&host, &bundle, &mut toy, "return", &home);
    let (request, Status::Failed(reason)) = steps.last().unwrap() else { panic!("{steps:?}") };
    assert_eq!(*request, Request::Stop);
    assert_eq!(reason, "the dock does not answer where the plan says it is");
    assert!(toy.pose.point().distance(Point::new(0.0, 0.0)) < 0.1, "{:?}", toy.pose);
}

#[test]
fn the_same_observations_give_the_same_requests_on_another_host() {
    let bundle = bundle("patrol");
    let round = || {
        let host = Host::new(HostOptions::default()).unwrap();
        let mut toy = Toy::docked_at(0.1, -0.2, 0.3);
        let route = params([("waypoints", points(&[(3.3, 1.7), (-1.9, 2.6)]))]);
        let patrol = run(&host, &bundle, &mut toy, "patrol", &route);
        let inspect = run(&host, &bundle, &mut toy, "inspect", &Params::new());
        // As text with every digit: equal bits, and not merely equal numbers.
        format!("{patrol:?} {inspect:?} {toy:?}")
    };
    assert_eq!(round(), round());
}

#[test]
fn a_plan_with_wrong_parameters_is_told_what_is_wrong() {
    assert_eq!(refusal("patrol", &Params::new()), "`waypoints` is missing: a list of points");
    let fast = params([("waypoints", points(&[(1.0, 1.0)])), ("speed_mps", Param::Number(50.0))]);
    assert_eq!(refusal("patrol", &fast), "`speed_mps` must be 0.05 to 5, is 50");
    let typo = params([("distance", Param::Number(1.0))]);
    assert_eq!(refusal("undock", &typo), "there is no parameter `distance`");
    let text = params([("turn_rad", Param::Text("all the way".to_owned()))]);
    assert_eq!(refusal("inspect", &text), "`turn_rad` must be a number");
    let two = params([("dock", points(&[(0.0, 0.0), (1.0, 1.0)]))]);
    assert_eq!(refusal("return", &two), "`dock` must hold 1 to 1 points, holds 2");
}
