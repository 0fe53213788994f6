//! Jobs: made, quoted, booked, dispatched, cancelled, watched.

use super::auth::Admin;
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, OptionalBody, Params, job_id};
use super::json::EventJson;
use super::robots::{EVENTS, EventList, EventQuery};
use crate::commands::MAX_REASON_BYTES;
use crate::core::Core;
use crate::jobs::{JobError, Server};
use crate::store::jobs::{self, JobRow};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, RobotId, StepId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::time::WallMillis;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A start or cancel envelope is valid for so long unless asked otherwise: ten minutes.
const TTL: Duration = Duration::from_secs(600);

/// Jobs in one list.
const JOBS: u32 = 200;

/// A job to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    /// Its steps; every skill must be published.
    #[schema(value_type = Object)]
    plan: Plan,
    /// On whose behalf; `requester` unless given.
    #[schema(value_type = Option<String>)]
    requester: Option<ActorId>,
    /// By which robot.
    #[schema(value_type = String)]
    robot: RobotId,
}

/// A price.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QuoteRequest {
    /// In the currency's minor unit; 0 unless given.
    amount_minor: u64,
    /// ISO 4217; EUR unless given.
    currency: Option<String>,
}

/// How a job is dispatched.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DispatchRequest {
    /// The robot may take the job for so many milliseconds; 600000 unless given.
    ttl_ms: Option<u64>,
}

/// Why a job is cancelled.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CancelRequest {
    /// For the record.
    reason: Option<String>,
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobJson {
    /// The envelope that started it.
    #[schema(value_type = Option<String>)]
    command: Option<EnvelopeId>,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    created_at: WallMillis,
    /// Facts in its stream.
    events: u64,
    /// Its id.
    #[schema(value_type = String)]
    id: JobId,
    /// Its steps.
    #[schema(value_type = Object)]
    plan: Plan,
    /// SHA-256 of the plan's canonical CBOR: what a `review_job` of it names.
    #[schema(value_type = Option<String>)]
    plan_hash: Option<Digest>,
    /// Steps done of all, 0 to 1, as the robot last said.
    progress: f64,
    /// On whose behalf.
    #[schema(value_type = String)]
    requester: ActorId,
    /// By which robot.
    #[schema(value_type = String)]
    robot: RobotId,
    /// The step under way, as the robot last said.
    #[schema(value_type = Option<String>)]
    stage: Option<StepId>,
    /// Such as `EXECUTING`.
    #[schema(value_type = String)]
    state: JobState,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    updated_at: WallMillis,
}

/// Jobs, newest first; at most 200.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    jobs: Vec<JobJson>,
}

/// Makes a job.
#[utoipa::path(
    post, operation_id = "create_job", path = "/v1/jobs", tag = "jobs", security(("admin" = [])), request_body = JobRequest,
    responses((status = 201, description = "the job, CREATED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn create(
    _: Admin,
    State(core): State<Arc<Core>>,
    Body(request): Body<JobRequest>,
) -> Result<(StatusCode, Json<JobJson>), ApiError> {
    let JobRequest { plan, requester, robot } = request;
    let requester = match requester {
        Some(requester) => requester,
        None => {
            ActorId::new("requester").map_err(|e| crate::store::StoreError::damaged("a name", e))?
        }
    };
    let job = change(&core, move |server, tx| server.create(tx, &robot, &plan, &requester)).await?;
    Ok((StatusCode::CREATED, job))
}

/// The newest jobs.
#[utoipa::path(
    get, operation_id = "list_jobs", path = "/v1/jobs", tag = "jobs", security(("admin" = [])),
    responses((status = 200, description = "the jobs", body = JobList), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn list(
    _: Admin,
    State(core): State<Arc<Core>>,
) -> Result<Json<JobList>, ApiError> {
    let rows = core.store.read(|tx| jobs::newest(tx, JOBS)).await?;
    Ok(Json(JobList { jobs: rows.into_iter().map(job).collect() }))
}

/// One job.
#[utoipa::path(
    get, operation_id = "show_job", path = "/v1/jobs/{id}", tag = "jobs", security(("admin" = [])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job", body = JobJson), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn show(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<JobJson>, ApiError> {
    let id = job_id(&id)?;
    let row =
        core.store.read(move |tx| jobs::find(tx, &id)?.ok_or(JobError::UnknownJob(id))).await?;
    Ok(Json(job(row)))
}

/// Proposes a price: CREATED to QUOTED.
#[utoipa::path(
    post, operation_id = "quote_job", path = "/v1/jobs/{id}/quote", tag = "jobs", security(("admin" = [])),
    params(("id" = String, Path, description = "the job")), request_body = Option<QuoteRequest>,
    responses((status = 200, description = "the job, QUOTED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn quote(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<QuoteRequest>,
) -> Result<Json<JobJson>, ApiError> {
    let id = job_id(&id)?;
    let currency = request.currency.unwrap_or_else(|| "EUR".to_owned());
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let message = format!("`{currency}` is not a currency");
        return Err(ApiError::unfit("bad_currency", message, "use a code of ISO 4217, like EUR"));
    }
    change(&core, move |server, tx| server.quote(tx, &id, request.amount_minor, &currency)).await
}

/// Accepts the price: QUOTED to BOOKED.
#[utoipa::path(
    post, operation_id = "book_job", path = "/v1/jobs/{id}/book", tag = "jobs", security(("admin" = [])),
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job, BOOKED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn book(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<JobJson>, ApiError> {
    let id = job_id(&id)?;
    change(&core, move |server, tx| server.book(tx, &id)).await
}

/// Licenses the skills, reserves the robot and sends it the plan: BOOKED to RESERVED.
#[utoipa::path(
    post, operation_id = "dispatch_job", path = "/v1/jobs/{id}/dispatch", tag = "jobs", security(("admin" = [])),
    params(("id" = String, Path, description = "the job")),
    request_body = Option<DispatchRequest>,
    responses((status = 200, description = "the job, RESERVED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn dispatch(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<DispatchRequest>,
) -> Result<Json<JobJson>, ApiError> {
    let id = job_id(&id)?;
    let ttl = request.ttl_ms.map_or(TTL, Duration::from_millis);
    let job = change(&core, move |server, tx| server.dispatch(tx, &id, ttl)).await?;
    core.registry.wake(&job.robot);
    Ok(job)
}

/// Ends a job that is not over, through a safe exit where the robot is under way.
#[utoipa::path(
    post, operation_id = "cancel_job", path = "/v1/jobs/{id}/cancel", tag = "jobs", security(("admin" = [])),
    params(("id" = String, Path, description = "the job")),
    request_body = Option<CancelRequest>,
    responses((status = 200, description = "the job, ABORTED or ABORTING_SAFE_EXIT", body = JobJson), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn cancel(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<CancelRequest>,
) -> Result<Json<JobJson>, ApiError> {
    let id = job_id(&id)?;
    let reason = request.reason.unwrap_or_else(|| "cancelled by the operator".to_owned());
    if reason.len() > MAX_REASON_BYTES {
        let message = format!("a reason has at most {MAX_REASON_BYTES} bytes");
        return Err(ApiError::unfit("reason_too_long", message, "shorten it"));
    }
    let job = change(&core, move |server, tx| server.cancel(tx, &id, &reason, TTL)).await?;
    core.registry.wake(&job.robot);
    Ok(job)
}

/// The facts of a job, in their places.
#[utoipa::path(
    get, operation_id = "list_job_events", path = "/v1/jobs/{id}/events", tag = "jobs", security(("admin" = [])),
    params(("id" = String, Path, description = "the job"), EventQuery),
    responses((status = 200, description = "the facts", body = EventList), (status = "4XX", description = "refused, with the reason", body = ErrorBody)),
)]
pub(crate) async fn events(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<EventQuery>,
) -> Result<Json<EventList>, ApiError> {
    let id = job_id(&id)?;
    let rows = core
        .store
        .read::<_, JobError, _>(move |tx| {
            if jobs::find(tx, &id)?.is_none() {
                return Err(JobError::UnknownJob(id));
            }
            Ok(jobs::facts(tx, &jobs::stream_of(&id)?, query.after, EVENTS)?)
        })
        .await?;
    let events = rows.into_iter().map(EventJson::new).collect::<Result<_, _>>()?;
    Ok(Json(EventList { events }))
}

async fn change<F>(core: &Core, work: F) -> Result<Json<JobJson>, ApiError>
where
    F: FnOnce(&Server, &Connection) -> Result<JobRow, JobError> + Send + 'static,
{
    let server = core.server.clone();
    let row = core.store.write(move |tx| work(&server, tx)).await?;
    tracing::info!(job = %row.id, state = %row.state, "job moved");
    Ok(Json(job(row)))
}

fn job(row: JobRow) -> JobJson {
    JobJson {
        command: row.command,
        created_at: row.created_at,
        events: row.events,
        id: row.id,
        plan_hash: row.plan.digest().ok(),
        plan: row.plan,
        progress: row.progress,
        requester: row.requester,
        robot: row.robot,
        stage: row.stage,
        state: row.state,
        updated_at: row.updated_at,
    }
}
