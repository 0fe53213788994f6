//! The job of the demo: leave the dock, patrol three waypoints faster than is allowed, look
//! around, return.

use super::scene::Scene;
use anyhow::{Context as _, Result};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::ids::{SkillId, StepId};
use nooterra_protocol::plan::{Param, Plan, PlanStep, SkillRef};
use nooterra_protocol::skill::SkillManifest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the patrol goes, in the `map` frame of `examples/robots/amr`.
pub(crate) const WAYPOINTS: [(&str, Point); 3] =
    [("A", Point::new(9.0, 1.2)), ("B", Point::new(10.5, 6.5)), ("C", Point::new(2.0, 6.8))];

/// What the skill is told to ask for; the policy allows 1.2.
const PATROL_SPEED_MPS: f64 = 2.0;

const RETURN_SPEED_MPS: f64 = 1.2;

/// How far off the dock it drives before the patrol, and where the last piece of the way back
/// begins; both are driven at a crawl.
const UNDOCK_M: f64 = 0.6;
const APPROACH_M: f64 = 0.45;

/// Half a turn is enough to look around: the scanner sees both sides.
const INSPECT_RAD: f64 = std::f64::consts::PI;

/// Of the command in the example's hall: twice what the way takes. A disk that is slow holds the
/// robot up on it.
const LEASE_MS: u32 = 8_000;

/// Of the command on a map that nobody looked at: a skill without a map must find its way on from
/// where the robot was driven.
const SHORT_LEASE_MS: u32 = 4_000;

/// A machine that does much else may hand it over late.
const TTL_MS: u32 = 30_000;

/// How long the steps beside the patrol may take, seconds: a guard against hanging, many times
/// what they take.
const STEP_S: u32 = 300;

/// In the example's hall the command is sent when this checkpoint is reached.
pub(crate) const COMMAND_AT: &str = "waypoint-1";

/// Straight towards a point inside the keep-out zone, by its near side: from where the robot
/// is held, the straight way on to the next waypoint is free. A skill without a map does not
/// find its way round a corner.
pub(crate) fn command() -> Value {
    straight_to(Point::new(6.8, 4.6), LEASE_MS)
}

/// A command straight to a point of a map, for a moment.
pub(crate) fn drive_to(to: Point) -> Value {
    straight_to(to, SHORT_LEASE_MS)
}

fn straight_to(to: Point, lease_ms: u32) -> Value {
    json!({
        "ask": {"type": "drive_to", "to": to, "speed_mps": 1.0, "lease_ms": lease_ms},
        "ttl_ms": TTL_MS
    })
}

/// The skill that a manifest and a bundle make.
pub(crate) fn skill_ref(manifest: &Path, bundle: &[u8]) -> Result<SkillRef> {
    let text = std::fs::read_to_string(manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let (id, version) =
        id_and_version(&text).with_context(|| format!("{} is no manifest", manifest.display()))?;
    Ok(SkillRef { bundle: Digest::of(bundle), id, version })
}

/// From a manifest, or from a template that leaves out what packing fills in.
fn id_and_version(text: &str) -> Result<(SkillId, String)> {
    if let Ok(manifest) = serde_json::from_str::<SkillManifest>(text) {
        return Ok((manifest.id, manifest.version));
    }
    let manifest: Value = serde_json::from_str(text)?;
    let field = |key: &str| {
        manifest[key].as_str().map(str::to_owned).with_context(|| format!("`{key}` is missing"))
    };
    Ok((SkillId::new(field("id")?)?, field("version")?))
}

/// The plan, for a robot that stands on its dock.
pub(crate) fn plan(skill: &SkillRef, dock: Pose, scene: &Scene) -> Result<Plan> {
    let points = scene.waypoints.iter().map(|(_, point)| *point).collect();
    let undock = BTreeMap::from([("distance_m".to_owned(), Param::Number(UNDOCK_M))]);
    let look = BTreeMap::from([("turn_rad".to_owned(), Param::Number(INSPECT_RAD))]);
    let back = BTreeMap::from([
        ("approach_m".to_owned(), Param::Number(APPROACH_M)),
        ("dock".to_owned(), Param::Points(vec![dock.point()])),
        ("dock_yaw_rad".to_owned(), Param::Number(dock.yaw)),
        ("speed_mps".to_owned(), Param::Number(RETURN_SPEED_MPS)),
    ]);
    let patrol = BTreeMap::from([
        ("speed_mps".to_owned(), Param::Number(PATROL_SPEED_MPS)),
        ("waypoints".to_owned(), Param::Points(points)),
    ]);
    let step = |action: &str, params, timeout_s| -> Result<PlanStep> {
        Ok(PlanStep {
            action: action.to_owned(),
            id: StepId::new(action)?,
            params,
            skill: skill.clone(),
            timeout_s,
        })
    };
    let plan = Plan {
        steps: vec![
            step("undock", undock, STEP_S)?,
            step("patrol", patrol, scene.patrol_s)?,
            step("inspect", look, STEP_S)?,
            step("return", back, STEP_S)?,
        ],
    };
    plan.check()?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::command::Ask;

    #[test]
    fn the_plan_is_acceptable_and_survives_json() {
        let skill = SkillRef {
            bundle: Digest::of(b"x"),
            id: SkillId::new("patrol").unwrap(),
            version: "0.1.0".to_owned(),
        };
        let plan =
            plan(&skill, Pose { x: 1.0, y: 1.0, yaw: 0.0 }, &Scene::new(None, 1).unwrap()).unwrap();
        assert!(plan.steps.len() >= 4);
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
    }

    #[test]
    fn the_command_is_one_that_the_protocol_knows() {
        let ask: Ask = serde_json::from_value(command()["ask"].clone()).unwrap();
        assert_eq!(ask.name(), "drive_to");
    }

    #[test]
    fn a_manifest_without_what_packing_fills_in_is_read() {
        let (id, version) = id_and_version(r#"{"id":"patrol","version":"1.2.3"}"#).unwrap();
        assert_eq!((id.as_str(), version.as_str()), ("patrol", "1.2.3"));
        assert!(id_and_version(r#"{"id":"patrol"}"#).is_err());
        assert!(id_and_version("").is_err());
    }
}
