//! Jobs on their way: held and let go on, scheduled anew, let in, no longer let in.

use super::auth::{Admin, Caller};
use super::call::{Answer, Call};
use super::error::{ApiError, Problem};
use super::extract::{Body, OptionalBody, job_id};
use super::jobs::{JobJson, TTL, change, reason};
use crate::core::Core;
use crate::jobs::{JobError, load};
use crate::store::tenants;
use axum::extract::{Path, State};
use nooterra_protocol::access::{AccessMethod, AccessPlan, AccessScope};
use nooterra_protocol::ids::{ActorId, RobotId};
use nooterra_protocol::time::WallMillis;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How dispatch starts over.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RescheduleRequest {
    /// For the record.
    reason: Option<String>,
    /// By this robot from now on; by the same unless given.
    #[schema(value_type = Option<String>)]
    robot: Option<RobotId>,
}

/// Why something is taken from a job.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
// Another of that name is in the document, whose reason is not left out.
#[schema(as = JobReasonRequest)]
pub(crate) struct ReasonRequest {
    /// For the record.
    reason: Option<String>,
}

/// An access plan, as `access::AccessPlan` of the protocol.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessRequest {
    /// Where the secret is kept, 1 to 256 bytes. Never the secret.
    credential_ref: Option<String>,
    /// `SMART_LOCK_CODE`, `BUILDING_CONCIERGE`, `ON_SITE_OWNER` or `DOCKED_IN_BUILDING`.
    #[schema(value_type = String)]
    method: AccessMethod,
    /// A person must review the job at the robot before it begins.
    #[serde(default)]
    needs_review: bool,
    /// What was agreed about privacy, 1 to 256 bytes.
    privacy: Option<String>,
    /// Who asked for it; the job's requester unless given.
    #[schema(value_type = Option<String>)]
    requested_by: Option<ActorId>,
    /// It may be taken back before its time is over; so it is unless given.
    revocable: Option<bool>,
    /// `{"areas":[...],"no_go":[...]}` in the names of the robot's map; anywhere unless given.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    scope: AccessScope,
    /// Not before, milliseconds since 1970.
    #[schema(value_type = i64)]
    valid_from: WallMillis,
    /// Not from then on, milliseconds since 1970.
    #[schema(value_type = i64)]
    valid_to: WallMillis,
}

/// Holds a job: EXECUTING or ASSISTED to STALLED. Its robot is told to come to rest and to keep
/// the job; no heartbeat ends what a person holds.
#[utoipa::path(
    post, operation_id = "pause_job", path = "/v1/jobs/{id}/pause", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = Option<ReasonRequest>,
    responses((status = 200, description = "the job, STALLED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn pause(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<ReasonRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let said = reason(request.reason, "held by the operator")?;
    change(&core, call, id, move |server, tx, id| server.pause(tx, id, &said, TTL)).await
}

/// Asks the robot of a job that somebody holds to go on. The job is EXECUTING again when its
/// robot says so.
#[utoipa::path(
    post, operation_id = "resume_job", path = "/v1/jobs/{id}/resume", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job, still STALLED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn resume(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    change(&core, call, id, move |server, tx, id| server.resume(tx, id, TTL)).await
}

/// Starts dispatch and access over: BOOKED, MATCHED or RESERVED to BOOKED. A start that was sent
/// is void, and its robot is told to give the job up.
#[utoipa::path(
    post, operation_id = "reschedule_job", path = "/v1/jobs/{id}/reschedule", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = Option<RescheduleRequest>,
    responses((status = 200, description = "the job, BOOKED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn reschedule(
    caller: Caller,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<RescheduleRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let RescheduleRequest { reason: said, robot } = request;
    let said = reason(said, "scheduled anew by the operator")?;
    if let (Some(tenant), Some(robot)) = (caller.tenant().cloned(), robot.clone()) {
        let named = robot.clone();
        // Another tenant's robot does not exist.
        if !core.store.read(move |tx| tenants::has_robot(tx, &tenant, &named)).await? {
            return Err(JobError::UnknownRobot(robot).into());
        }
    }
    change(&core, call, id, move |server, tx, id| server.reschedule(tx, id, robot, &said, TTL))
        .await
}

/// Says how and when the robot may be let in. It replaces an earlier plan; a robot that has the
/// job is told, and ends it by itself when the time is over.
#[utoipa::path(
    post, operation_id = "issue_access", path = "/v1/jobs/{id}/access", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = AccessRequest,
    responses((status = 200, description = "the job with its plan", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn issue_access(
    caller: Caller,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    Body(request): Body<AccessRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let requested_by = caller.speaks_for(request.requested_by)?;
    change(&core, call, id, move |server, tx, id| {
        let requested_by = match requested_by {
            Some(requested_by) => requested_by,
            None => load(tx, id)?.requester,
        };
        let plan = AccessPlan {
            credential_ref: request.credential_ref,
            method: request.method,
            needs_review: request.needs_review,
            privacy: request.privacy,
            requested_by,
            revocable: request.revocable.unwrap_or(true),
            scope: request.scope,
            valid_from: request.valid_from,
            valid_to: request.valid_to,
        };
        server.issue_access(tx, id, &plan)
    })
    .await
}

/// Takes access back: the job ends, through the robot's safe exit where it is under way.
#[utoipa::path(
    post, operation_id = "revoke_access", path = "/v1/jobs/{id}/access/revoke", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = Option<ReasonRequest>,
    responses((status = 200, description = "the job, ABORTED or ABORTING_SAFE_EXIT", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn revoke_access(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<ReasonRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let said = reason(request.reason, "revoked by the operator")?;
    change(&core, call, id, move |server, tx, id| server.revoke_access(tx, id, &said)).await
}
