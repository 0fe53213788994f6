//! A skill with a policy graph on a robot: its moves in the journal, and a crash in between.

use crate::common::rig::{Agent, CloudRig, dispatch, enroll, step, wait_for};
use crate::common::{Site, bundles, guests};
use nooterra_protocol::entry::Class;
use nooterra_skill_host::{Beside, GOES_ON, pack_with};
use serde_json::{Value, json};

const GRAPH: &str = include_str!("../../../examples/skills/rounds/graph.json");

fn publish(cloud: &CloudRig, site: &Site) -> Value {
    let (template, component) = (guests::template("rounds"), guests::component("rounds"));
    let beside = Beside { graph: Some(GRAPH), ..Beside::default() };
    let bundle = pack_with(&template, &component, beside).unwrap();
    bundles::publish(cloud, &bundle, &bundles::keys(site))
}

/// Each move: what runs from then on, and why.
fn moves(cloud: &CloudRig) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let records = cloud.records(Class::Normal).into_values();
    let moves = records.filter(|record| record["kind"] == "skill_graph");
    moves.map(|record| (text(&record["body"]["live"]), text(&record["body"]["why"]))).collect()
}

#[test]
fn a_graph_goes_on_after_a_crash_where_the_journal_says_that_it_stood() {
    let site = Site::new();
    let cloud = CloudRig::start(&site, |_| {});
    let skill = publish(&cloud, &site);
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    // To and fro, so that it is under way for long enough to be killed.
    let way = [[4.0, 1.2], [2.0, 1.2], [4.0, 1.2], [2.0, 1.2], [4.0, 1.2]];
    let way = way.map(|[x, y]| json!({ "x": x, "y": y }));
    let params = json!({ "waypoints": way, "dock": [{ "x": 1.0, "y": 1.0 }] });
    let job = dispatch(&cloud, &[step(&skill, "rounds", params)]);
    wait_for("the graph to come to its route", || {
        moves(&cloud).iter().any(|(live, _)| live == "route").then_some(())
    });
    agent.kill();
    let agent = Agent::run(&site);
    agent.says("taking up the job under way");
    cloud.wait_for_state(&job, "COMPLETED");
    // The job's end is more urgent than what its skill did, and comes first.
    let moves = wait_for("the graph's last move", || {
        Some(moves(&cloud)).filter(|moves| moves.last().is_some_and(|(live, _)| live == "-"))
    });
    let lives: Vec<&str> = moves.iter().map(|(live, _)| live.as_str()).collect();
    assert_eq!(lives, ["undock", "route", "route", "-"], "{moves:?}");
    assert_eq!(moves[2].1, GOES_ON);
    assert_eq!(moves[3].1, "`route` is done");
    assert!(agent.terminate().success());
}
