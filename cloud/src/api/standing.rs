//! How a robot stands in the fleet: revoked, quarantined, in maintenance, in service again.

use super::auth::Admin;
use super::error::{ApiError, Problem};
use super::extract::{Body, robot_id};
use super::robots::{RobotJson, shown};
use crate::commands::MAX_REASON_BYTES;
use crate::core::Core;
use crate::jobs::JobError;
use crate::standing::Standing;
use crate::store::standings::StandingRow;
use axum::Json;
use axum::extract::{Path, State};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Why a robot is to stand otherwise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandingRequest {
    /// For the record, 1 to 512 bytes.
    reason: String,
}

/// How a robot stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
pub(crate) struct StandingJson {
    /// Why; nothing while it simply is in service.
    reason: Option<String>,
    /// Milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    since: Option<WallMillis>,
    /// `in_service`, `maintenance`, `quarantined` or `revoked`.
    #[schema(value_type = String)]
    state: Standing,
}

impl StandingJson {
    pub(super) fn new(row: Option<StandingRow>) -> Self {
        match row {
            None => Self { reason: None, since: None, state: Standing::InService },
            Some(StandingRow { reason, since, standing }) => {
                Self { reason: Some(reason), since: Some(since), state: standing }
            }
        }
    }
}

/// Closes the robot's key: its connection drops, its certificates open nothing, nothing is
/// signed for it any more. It comes back only with another key and a new claim code.
#[utoipa::path(
    post, operation_id = "revoke_robot", path = "/v1/robots/{id}/revoke", tag = "robots",
    params(("id" = String, Path, description = "the robot")), request_body = StandingRequest,
    responses((status = 200, description = "the robot", body = RobotJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn revoke(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(request): Body<StandingRequest>,
) -> Result<Json<RobotJson>, ApiError> {
    stand(core, &id, Standing::Revoked, request).await
}

/// Takes the robot out of work: jobs under way are cancelled, and only what ends motion is sent.
/// It may connect and tell its journal.
#[utoipa::path(
    post, operation_id = "quarantine_robot", path = "/v1/robots/{id}/quarantine", tag = "robots",
    params(("id" = String, Path, description = "the robot")), request_body = StandingRequest,
    responses((status = 200, description = "the robot", body = RobotJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn quarantine(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(request): Body<StandingRequest>,
) -> Result<Json<RobotJson>, ApiError> {
    stand(core, &id, Standing::Quarantined, request).await
}

/// Gives the robot no further job; what is under way goes on, and commands reach it.
#[utoipa::path(
    post, operation_id = "maintain_robot", path = "/v1/robots/{id}/maintenance", tag = "robots",
    params(("id" = String, Path, description = "the robot")), request_body = StandingRequest,
    responses((status = 200, description = "the robot", body = RobotJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn maintain(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(request): Body<StandingRequest>,
) -> Result<Json<RobotJson>, ApiError> {
    stand(core, &id, Standing::Maintenance, request).await
}

/// Puts a quarantined robot, or one in maintenance, into service again.
#[utoipa::path(
    post, operation_id = "restore_robot", path = "/v1/robots/{id}/restore", tag = "robots",
    params(("id" = String, Path, description = "the robot")), request_body = StandingRequest,
    responses((status = 200, description = "the robot", body = RobotJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn restore(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Body(request): Body<StandingRequest>,
) -> Result<Json<RobotJson>, ApiError> {
    stand(core, &id, Standing::InService, request).await
}

async fn stand(
    core: Arc<Core>,
    id: &str,
    to: Standing,
    request: StandingRequest,
) -> Result<Json<RobotJson>, ApiError> {
    let reason = request.reason;
    if !(1..=MAX_REASON_BYTES).contains(&reason.len()) {
        let message = format!("a reason has 1 to {MAX_REASON_BYTES} bytes");
        return Err(ApiError::unfit("bad_reason", message, "say why in one line"));
    }
    let robot = super::robots::load(&core, robot_id(id)?.as_str()).await?.id;
    let (server, named) = (core.server.clone(), robot.clone());
    core.store.write::<_, JobError, _>(move |tx| server.stand(tx, &named, to, &reason)).await?;
    tracing::warn!(%robot, standing = to.name(), "the robot stands otherwise");
    Ok(Json(shown(&core, id).await?))
}
