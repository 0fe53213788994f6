//! Which robots have a version of a skill, and which get it.

use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::extract::{Params, bundle_digest};
use super::skills::missing;
use crate::core::Core;
use crate::skill_registry::reported::{self, Has};
use crate::store::{Connection, StoreError, skills};
use axum::Json;
use axum::extract::{Path, State};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Robots in one page, unless asked otherwise.
const ROBOTS: u32 = 200;

/// Robots in one page at the most.
const MAX_ROBOTS: u32 = 1000;

/// A robot that has a version, or gets it.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillRobot)]
pub(crate) struct SkillRobotJson {
    /// The robot.
    #[schema(value_type = String)]
    id: RobotId,
    /// How many of the jobs that it was given, and that are not over, name the version.
    jobs: u32,
    /// When the record in which it says so came here, milliseconds since 1970; for `before`, the
    /// one in which it said last that the version is active.
    #[schema(value_type = Option<i64>)]
    reported_at: Option<WallMillis>,
    /// The ring by which its next job gets the version, where the plan leaves the choice to the
    /// ring.
    ring: Option<String>,
    /// As its journal said last: `active`, the one that runs; `before`, the one before that;
    /// `on_trial`, not yet proven. Null where it has not said that it has it.
    state: Option<&'static str>,
}

/// Robots, by id.
#[derive(Serialize, ToSchema)]
#[schema(as = SkillRobotList)]
pub(crate) struct SkillRobotList {
    /// What `after` takes to go on; null after the last.
    next: Option<String>,
    /// Those that have the version or get it: fewer than asked for, or none, where very many were
    /// looked at for the page.
    robots: Vec<SkillRobotJson>,
}

/// Which robots.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SkillRobotQuery {
    /// Only robots after this id.
    after: Option<String>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
}

/// The robots that say that they have a version, and those that get it: by their ring, or by a job
/// that names it. In pages.
#[utoipa::path(
    get, operation_id = "list_skill_robots", path = "/v1/skills/{digest}/robots", tag = "skills",
    params(("digest" = String, Path, description = "SHA-256 of the bundle"), SkillRobotQuery),
    responses((status = 200, description = "the robots", body = SkillRobotList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
    Params(query): Params<SkillRobotQuery>,
) -> Result<Json<SkillRobotList>, ApiError> {
    let (wanted, now) = (bundle_digest(&digest)?, core.clock.wall());
    let limit = query.limit.unwrap_or(ROBOTS).clamp(1, MAX_ROBOTS);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (after, tenant) = (query.after.unwrap_or_default(), caller.tenant().cloned());
    let page = move |tx: &Connection| {
        if skills::manifest(tx, &wanted)?.is_none() {
            return Ok(None);
        }
        reported::robots_of(tx, tenant.as_ref(), &wanted, (&after, limit), now).map(Some)
    };
    let found = core.store.read::<_, StoreError, _>(page).await?;
    let (robots, next) = found.ok_or_else(|| missing(&digest))?;
    Ok(Json(SkillRobotList { next, robots: robots.into_iter().map(shown).collect() }))
}

fn shown(robot: Has) -> SkillRobotJson {
    let Has { held, id, jobs, ring } = robot;
    SkillRobotJson {
        id,
        jobs,
        reported_at: held.map(|(_, at)| at),
        ring,
        state: held.map(|(held, _)| held.name()),
    }
}
