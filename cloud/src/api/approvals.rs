//! Approvals of a job: who lets it be carried out, over which plan, until when.

use super::auth::{Admin, Caller};
use super::call::{Answer, Call};
use super::error::{ApiError, Problem};
use super::extract::{Body, OptionalBody, job_id};
use super::jobs::{JobJson, change, reason};
use crate::care::{Approval, Ended};
use crate::core::Core;
use crate::jobs::{JobError, load};
use axum::Json;
use axum::extract::{Path, State};
use nooterra_protocol::approval::ApprovalGranted;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::ActorId;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is approved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalRequest {
    /// Who approves; the token's principal, and for the bootstrap token the job's requester
    /// unless given.
    #[schema(value_type = Option<String>)]
    by: Option<ActorId>,
    /// `plan_hash` of the job whose plan was looked at.
    #[schema(value_type = String)]
    plan: Digest,
    /// Not from then on, milliseconds since 1970; until the job is over unless given.
    #[schema(value_type = Option<i64>)]
    until: Option<WallMillis>,
}

/// Why an approval is taken back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RevokeApprovalRequest {
    /// Who takes it back, as for the approval.
    #[schema(value_type = Option<String>)]
    by: Option<ActorId>,
    /// For the record.
    reason: Option<String>,
}

/// That somebody lets a job be carried out.
#[derive(Serialize, ToSchema)]
#[schema(as = Approval)]
pub(crate) struct ApprovalJson {
    /// When it came, milliseconds since 1970.
    #[schema(value_type = i64)]
    at: WallMillis,
    /// Who approved.
    #[schema(value_type = String)]
    by: ActorId,
    /// How it ended; null while it holds.
    ended: Option<EndedJson>,
    /// SHA-256 of the plan that was approved.
    #[schema(value_type = String)]
    plan: Digest,
    /// Not from then on, milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    until: Option<WallMillis>,
}

/// How an approval ended.
#[derive(Serialize, ToSchema)]
#[schema(as = ApprovalEnd)]
pub(crate) struct EndedJson {
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    at: WallMillis,
    /// Who ended it; null where its time was over, or the job went to another robot.
    #[schema(value_type = Option<String>)]
    by: Option<ActorId>,
    /// Why.
    reason: String,
}

/// Approvals, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalList {
    approvals: Vec<ApprovalJson>,
    /// The job is not sent before somebody approves it.
    needed: bool,
    /// What an approval names now.
    #[schema(value_type = Option<String>)]
    plan: Option<Digest>,
}

/// Every approval that the job was given, those that ended too.
#[utoipa::path(
    get, operation_id = "list_approvals", path = "/v1/jobs/{id}/approvals", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the approvals", body = ApprovalList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<ApprovalList>, ApiError> {
    let id = job_id(&id)?;
    let row = core.store.read::<_, JobError, _>(move |tx| load(tx, &id)).await?;
    let (needed, plan) = (row.care.lacks_approval(), row.plan.digest().ok());
    let approvals = row.care.approvals.into_iter().map(approval).collect();
    Ok(Json(ApprovalList { approvals, needed, plan }))
}

/// Approves a job with the plan that was looked at, and no other. A robot that has the job is
/// told, and ends it by itself when the time is over.
#[utoipa::path(
    post, operation_id = "approve_job", path = "/v1/jobs/{id}/approvals", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = ApprovalRequest,
    responses((status = 200, description = "the job", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn grant(
    caller: Caller,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    Body(request): Body<ApprovalRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let ApprovalRequest { by, plan, until } = request;
    let by = caller.speaks_for(by)?;
    change(&core, call, id, move |server, tx, id| {
        let by = by.map_or_else(|| load(tx, id).map(|job| job.requester), Ok)?;
        server.approve(tx, id, &by, &ApprovalGranted { plan, until })
    })
    .await
}

/// Takes the right to go on away: all approvals that hold end. A job that has not begun waits for
/// another one; one under way leaves through the robot's safe exit.
#[utoipa::path(
    post, operation_id = "revoke_approval", path = "/v1/jobs/{id}/approvals/revoke", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = Option<RevokeApprovalRequest>,
    responses((status = 200, description = "the job, where it was, BOOKED or ABORTING_SAFE_EXIT", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn revoke(
    caller: Caller,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<RevokeApprovalRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let by = caller.speaks_for(request.by)?;
    let said = reason(request.reason, "taken back by whoever may approve")?;
    change(&core, call, id, move |server, tx, id| {
        let by = by.map_or_else(|| load(tx, id).map(|job| job.requester), Ok)?;
        server.revoke_approval(tx, id, &by, &said)
    })
    .await
}

fn approval(approval: Approval) -> ApprovalJson {
    let Approval { at, by, ended, plan, until } = approval;
    let ended = ended.map(|Ended { at, by, reason }| EndedJson { at, by, reason });
    ApprovalJson { at, by, ended, plan, until }
}
