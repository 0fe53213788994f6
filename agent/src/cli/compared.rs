//! Two policies beside each other, in words: for `policy diff`, and for whoever puts a new one on
//! a robot.

use crate::review::Reviewed;
use crate::review::compare::{Comparison, Effect, Example, compare};
use crate::review::explain::Acting;
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::command::Command;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How many states both policies are asked about when one is staged: on a robot's processor that
/// is a moment. `policy diff` asks about more.
const STATES: u32 = 5_000;

/// Where the states are drawn from.
const SEED: u64 = 1;

/// What a new policy changes of the one in force.
pub(super) struct Compared {
    pub(super) json: Value,
    pub(super) looser: bool,
    pub(super) text: String,
}

impl Compared {
    /// Asks both. Policies for different kinds of vehicle cannot be compared: that counts as
    /// looser.
    pub(super) fn of(in_force: VerifiedPolicy, new: VerifiedPolicy) -> Self {
        let (old, new) = (Reviewed::of(in_force), Reviewed::of(new));
        match compare(&old, &new, STATES, SEED) {
            Ok(comparison) => {
                let (looser, same) = (comparison.is_looser(), comparison.is_same());
                let text = differences(&comparison);
                let json = json!({ "comparison": comparison, "looser": looser, "same": same });
                Self { json, looser, text }
            }
            Err(error) => {
                let text = error.to_string();
                let json = json!({ "comparison": null, "looser": true, "same": false });
                Self { json, looser: true, text }
            }
        }
    }
}

/// Every difference, one a line.
pub(super) fn differences(comparison: &Comparison) -> String {
    if comparison.is_same() {
        return format!("no difference, in {} states either", comparison.states);
    }
    let mut text = String::new();
    for changed in &comparison.changed {
        let effect = match changed.effect {
            Effect::Looser => "looser ",
            Effect::Other => "changed",
            Effect::Tighter => "tighter",
        };
        let value = |value: &Option<serde_json::Value>| match value {
            None => "none".to_owned(),
            Some(value @ (serde_json::Value::Array(_) | serde_json::Value::Object(_))) => {
                let text = value.to_string();
                if text.len() > 60 { format!("{} bytes of it", text.len()) } else { text }
            }
            Some(value) => value.to_string(),
        };
        let (old, new) = (value(&changed.old), value(&changed.new));
        let _ = writeln!(text, "{effect}  {}: {old} -> {new}", changed.key);
    }
    for (what, examples) in [
        ("only the new policy lets go on", &comparison.allows),
        ("only the old policy lets go on", &comparison.forbids),
    ] {
        if examples.is_empty() {
            let _ = writeln!(text, "{what}: nothing, in {} states", comparison.states);
            continue;
        }
        let _ = writeln!(text, "{what}:");
        for example in examples {
            let _ = writeln!(text, "  {}", sentence(example));
        }
    }
    text.trim_end().to_owned()
}

fn sentence(example: &Example) -> String {
    let pose = example.state.pose;
    format!(
        "{} at ({:.2}, {:.2}), heading {:.1} degrees; the other: {}, by {}",
        motion(&example.state.command),
        pose.x,
        pose.y,
        pose.yaw.to_degrees(),
        motion(&example.held_to),
        limit(&example.rule)
    )
}

/// A rule with its limit.
pub(super) fn limit(rule: &Acting) -> String {
    let zone = rule.zone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
    if rule.unit.is_empty() {
        return format!("{}{zone}", rule.rule);
    }
    let what = if rule.rule.name().starts_with("zone.keep") { "clearance" } else { "limit" };
    format!("{}{zone}: {what} {:.2} {}", rule.rule, rule.limit, rule.unit)
}

/// A command in its own numbers.
pub(super) fn motion(command: &Command) -> String {
    match command {
        Command::Ackermann(steer) => {
            format!("{:.2} m/s steering {:.2} rad", steer.speed_mps, steer.steering_rad)
        }
        Command::Drive(twist) => format!("{:.2} m/s {:.2} rad/s", twist.linear, twist.angular),
        Command::Fly(v) => {
            format!("({:.2}, {:.2}, {:.2}) m/s {:.2} rad/s", v.x, v.y, v.z, v.yaw_rate)
        }
        Command::Joints(velocities) => {
            let joints = velocities.joints.as_slice();
            let parts: Vec<String> = joints.iter().map(|v| format!("{v:.2}")).collect();
            format!("joints at {} rad/s or m/s", parts.join(", "))
        }
        Command::Omni(planar) => {
            format!("({:.2}, {:.2}) m/s {:.2} rad/s", planar.x, planar.y, planar.angular)
        }
    }
}
