//! An arm's rehearsal as pictures: the table from above, and each joint's velocity against its
//! limits.

use super::{ArmFrame, Frame, Rehearsed};
use crate::backtest::Interval;
use crate::backtest::report::chart::Chart;
use crate::backtest::report::px;
use crate::backtest::report::track::Frame as Map;
use crate::control::joints_of;
use nooterra_hal::sim::{ArmTruth, ThingTruth};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::policy::PolicyDocument;
use std::fmt::Write as _;

/// The arm is drawn faintly in so many places of its way.
const GHOSTS: usize = 8;

/// The velocity of the joint of which the gate took most: as wished, and how much was taken.
pub(super) fn most_taken(arm: &ArmFrame) -> (f64, f64) {
    let joints = arm.asked.as_slice().iter().zip(arm.allowed.as_slice());
    let taken = joints.map(|(asked, allowed)| (*asked, (asked - allowed).abs()));
    taken.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or_default()
}

/// The table from above: where the tool went, the arm on its way and at the end, the things where
/// they were (dashed) and where they are. `None` of a run without an arm.
pub(super) fn map(ran: &Rehearsed) -> Option<String> {
    let arms = || ran.frames.iter().filter_map(|frame| frame.arm.as_ref().map(|arm| &arm.truth));
    let (first, last) = (arms().next()?, arms().next_back()?);
    let things = first.things.iter().chain(&last.things).map(|thing| thing.at);
    let points = arms().flat_map(|arm| [arm.shoulder, arm.elbow, arm.tool]).chain(things);
    let map = Map::around(points, 0.2)?;
    let mut svg = format!(
        r#"<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="The way of the tool, from above">"#,
        px(map.width()),
        px(map.height())
    );
    for thing in &first.things {
        draw_thing(&mut svg, &map, thing, "keep-in", "at the start");
    }
    let every = (ran.frames.len() / GHOSTS).max(1);
    for arm in arms().step_by(every) {
        draw_arm(&mut svg, &map, arm, 0.15);
    }
    let mut way = String::new();
    for arm in arms() {
        let command = if way.is_empty() { 'M' } else { 'L' };
        let _ = write!(way, "{command}{} {}", px(map.x(arm.tool)), px(map.y(arm.tool)));
    }
    let _ = write!(svg, r#"<path class="track" d="{way}"/>"#);
    for thing in &last.things {
        draw_thing(&mut svg, &map, thing, "slow", if thing.held { "held" } else { "at the end" });
    }
    draw_arm(&mut svg, &map, last, 0.8);
    map.scale_bar(&mut svg);
    svg.push_str("</svg>");
    Some(svg)
}

fn draw_arm(svg: &mut String, map: &Map, arm: &ArmTruth, opacity: f64) {
    let at = |point: Point| format!("{},{}", px(map.x(point)), px(map.y(point)));
    let _ = write!(
        svg,
        r#"<g opacity="{opacity}"><polyline class="measured" style="stroke-width:5" points="{} {} {}"/><circle class="mark speed" cx="{}" cy="{}" r="5"/></g>"#,
        at(arm.shoulder),
        at(arm.elbow),
        at(arm.tool),
        px(map.x(arm.tool)),
        px(map.y(arm.tool))
    );
}

fn draw_thing(svg: &mut String, map: &Map, thing: &ThingTruth, class: &str, when: &str) {
    let half = thing.size_m / 2.0;
    let corner = Point::new(thing.at.x - half, thing.at.y + half);
    let side = map.pixels(thing.size_m);
    let _ = write!(
        svg,
        r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"><title>{:.3}, {:.3} {when}</title></rect>"#,
        px(map.x(corner)),
        px(map.y(corner)),
        px(side),
        px(side),
        thing.at.x,
        thing.at.y
    );
}

/// One for each joint, as the gate let it move.
pub(super) fn charts(policy: &PolicyDocument, ran: &Rehearsed, intervals: &[Interval]) -> String {
    let rules = [Rule::AccelJoint, Rule::JointPosition, Rule::SpeedJoint];
    let joints = joints_of(&policy.vehicle).iter().enumerate();
    let charts = joints.map(|(index, joint)| {
        let velocity = |frame: &Frame| {
            let arm = frame.arm.as_ref()?;
            Some((frame.t_s, arm.allowed.as_slice().get(index).copied()))
        };
        let chart = Chart {
            duration_s: ran.frames.last().map_or(0.0, |frame| frame.t_s),
            gaps: &[],
            intervals: intervals.iter().filter(|held| rules.contains(&held.rule)).collect(),
            limits: &[joint.max_velocity, -joint.max_velocity],
            title: "Velocity of a joint",
            unit: "rad/s or m/s",
            values: ran.frames.iter().filter_map(velocity).collect(),
        };
        let nth = index + 1;
        format!("<h3>Joint {nth}, rad/s or m/s</h3><figure>{}</figure>", chart.svg())
    });
    charts.collect()
}
