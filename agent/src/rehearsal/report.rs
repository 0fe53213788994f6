//! A rehearsal as a page: one file, complete without scripts; it loads nothing. Drawn as a
//! backtest is, with what the gate did in place of what it would have done.

use super::{Ending, Frame, Rehearsed, What};
use super::{arm_drawn, ended_in_words};
use crate::backtest::judge::Worst;
use crate::backtest::recording::{Quaternion, Sample, Velocity};
use crate::backtest::report::{esc, page, track};
use crate::backtest::{Backtest, Derivation, Format, Interval, Motion, Recording, Timeline};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::skill::SkillManifest;
use std::fmt::Write as _;

/// A pause that is shorter does not end an intervention, seconds.
const JOIN_S: f64 = 0.5;

/// The most rows of what was said.
const MOST_ROWS: usize = 500;

/// The stretches in which each rule acted.
#[must_use]
pub fn interventions(ran: &Rehearsed) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    let tick_s = super::TICK.as_secs_f64();
    for frame in &ran.frames {
        for (rule, zone, limit) in &frame.rules {
            let worst = worst(frame, *limit);
            let open = intervals.iter_mut().rev().find(|known| {
                known.rule == *rule && known.zone == *zone && frame.t_s - known.to_s <= JOIN_S
            });
            match open {
                Some(known) => {
                    (known.to_s, known.over_s) = (frame.t_s, known.over_s + tick_s);
                    if worst.excess > known.worst.excess {
                        known.worst = worst;
                    }
                }
                None => intervals.push(interval(*rule, zone.clone(), frame.t_s, worst)),
            }
        }
    }
    intervals
}

fn interval(rule: Rule, zone: Option<ZoneId>, t_s: f64, worst: Worst) -> Interval {
    let over_s = super::TICK.as_secs_f64();
    Interval { from_s: t_s, over_s, rule, to_s: t_s, way: None, worst, zone }
}

/// What was taken of the wish, whatever the rule is about.
fn worst(frame: &Frame, limit: f64) -> Worst {
    let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
    let ((value, excess), at) = match &frame.arm {
        Some(arm) => (arm_drawn::most_taken(arm), arm.truth.tool),
        None => {
            let linear = finite(frame.asked.linear);
            ((linear, (linear - frame.allowed.linear).abs()), frame.pose.point())
        }
    };
    let limit = finite(limit);
    Worst { excess, limit, t_s: frame.t_s, value, x: Some(at.x), y: Some(at.y) }
}

/// The whole file.
#[must_use]
pub fn render(
    manifest: &SkillManifest,
    action: &str,
    policy: &PolicyDocument,
    ran: &Rehearsed,
) -> String {
    let backtest = Backtest {
        discs: Vec::new(),
        intervals: interventions(ran),
        private: Vec::new(),
        rules: Vec::new(),
        timeline: timeline(ran),
    };
    let verdict = match &ran.ending {
        Ending::Done => format!("Done after {:.1} s", ran.ended_s),
        other => format!("After {:.1} s it {}", ran.ended_s, ended_in_words(other)),
    };
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{skill}: {action} in the simulator</title>
<style>
{style}</style>
</head>
<body>
<header><p class="quiet">Skill {skill} {version}, action {action}, policy {policy}, in the simulator</p>
<h1>{verdict}</h1>
<p class="quiet">{steps} steps, {path:.1} m, {count} interventions of the policy. Drawn is where the robot truly was; marks are where the policy held it back.</p></header>
<main>
<section><h2>Where</h2>{map}</section>
<section><h2>Speed against its limits</h2>
{charts}</section>
<section><h2>What it said</h2>{said}</section>
<section><h2>Interventions</h2>{interventions}</section>
</main>
</body>
</html>
"#,
        skill = esc(manifest.id.as_str()),
        version = esc(&manifest.version),
        action = esc(action),
        policy = esc(policy.id.as_str()),
        style = page::STYLE,
        verdict = esc(&verdict),
        steps = ran.costs.len(),
        path = path_m(ran),
        count = backtest.intervals.len(),
        map = arm_drawn::map(ran).or_else(|| track::svg(policy, &backtest)).unwrap_or_default(),
        charts = match ran.frames.first().and_then(|frame| frame.arm.as_ref()) {
            Some(_) => arm_drawn::charts(policy, ran, &backtest.intervals),
            None => page::charts(policy, &backtest),
        },
        said = said(ran),
        interventions = page::intervals(&backtest.intervals),
    )
}

/// The way of the base, or of an arm's tool, metres.
#[must_use]
pub fn path_m(ran: &Rehearsed) -> f64 {
    let at = |frame: &Frame| frame.arm.as_ref().map_or(frame.pose.point(), |arm| arm.truth.tool);
    ran.frames.windows(2).map(|pair| at(&pair[0]).distance(at(&pair[1]))).sum()
}

fn timeline(ran: &Rehearsed) -> Timeline {
    let samples = ran.frames.iter().map(|frame| Sample {
        at_ns: nanos(frame.t_s),
        attitude: Some(Quaternion::from_yaw(frame.pose.yaw)),
        position: Some([frame.pose.x, frame.pose.y, 0.0]),
        velocity: Velocity::Body([frame.twist.linear, 0.0, 0.0], frame.twist.angular),
    });
    let recording = Recording {
        format: Format::Euroc,
        frame: "map".to_owned(),
        motion: Motion::Heading,
        notes: Vec::new(),
        samples: samples.collect(),
        source: "the simulator".to_owned(),
    };
    Timeline::derive(&recording, &Derivation::default())
}

#[allow(clippy::cast_possible_truncation)] // Of a day at most.
fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

fn said(ran: &Rehearsed) -> String {
    let mut rows = String::new();
    for told in ran.told.iter().take(MOST_ROWS) {
        let (kind, text) = match &told.what {
            What::Assist { reason } => ("asks for help", reason.clone()),
            What::Checkpoint { name } => ("checkpoint", name.clone()),
            What::Evidence { bytes, media_type, name } => {
                ("evidence", format!("{name}: {bytes} bytes of {media_type}"))
            }
            What::Log { text } => ("log", text.clone()),
            What::Moved { live, why } => {
                ("the graph", format!("{}: {why}", live.as_deref().unwrap_or("nothing")))
            }
            What::Note { text } => ("the host", text.clone()),
            What::Picture { refused: Some(why), .. } => ("no picture", why.name().to_owned()),
            What::Picture { height, width, .. } => ("picture", format!("{width} by {height}")),
        };
        let _ = write!(
            rows,
            r#"<tr><td class="number">{:.2}</td><td>{kind}</td><td>{}</td></tr>"#,
            told.at_s,
            esc(&text)
        );
    }
    page::table(&["At, s", "What", ""], &rows)
}
