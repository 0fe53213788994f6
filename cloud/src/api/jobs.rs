//! Jobs: made, quoted, booked, dispatched, cancelled, watched.

use super::auth::{Admin, Caller};
use super::call::{self, Answer, Call};
use super::error::{ApiError, Problem};
use super::extract::{Body, OptionalBody, Params, job_id};
use super::json::EventJson;
use super::robots::{EVENTS, EventList, EventQuery};
use crate::care::{Care, Stall};
use crate::commands::MAX_REASON_BYTES;
use crate::core::Core;
use crate::jobs::{JobError, Server};
use crate::report::{self, ReportJson};
use crate::skill_registry::OF_RING;
use crate::store::Connection;
use crate::store::jobs::{self, JobRow};
use crate::store::tenants;
use crate::traces::TARGET;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use nooterra_protocol::access::AccessPlan;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, RobotId, StepId};
use nooterra_protocol::job::JobState;
use nooterra_protocol::oversight::StallCause;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::time::WallMillis;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;
use utoipa::{IntoParams, ToSchema};

/// A start or cancel envelope is valid for so long unless asked otherwise: ten minutes.
pub(super) const TTL: Duration = Duration::from_secs(600);

/// Jobs in one page, unless asked otherwise.
const JOBS: u32 = 200;

/// Jobs in one page at the most.
const MAX_JOBS: u32 = 1000;

/// A job to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    /// Its steps; every skill must be published. A step whose `skill` is
    /// `{"id": ID, "version": "ring"}` gets the version that the robot's ring has at dispatch.
    #[schema(value_type = Object)]
    #[serde(deserialize_with = "plan_of_rings")]
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
    /// How and when its robot may be let in.
    #[schema(value_type = Option<Object>)]
    access: Option<AccessPlan>,
    /// The envelope that started it.
    #[schema(value_type = Option<String>)]
    command: Option<EnvelopeId>,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    created_at: WallMillis,
    /// Facts in its stream.
    events: u64,
    /// Hash of the last fact's place, which the `ETag` names too.
    #[schema(value_type = String)]
    head: Digest,
    /// When its robot was last heard of about it, milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    heard_at: Option<WallMillis>,
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
    /// Why it stands still, while it does.
    stall: Option<StallJson>,
    /// Such as `EXECUTING`.
    #[schema(value_type = String)]
    state: JobState,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    updated_at: WallMillis,
}

/// A job that stands still.
#[derive(Serialize, ToSchema)]
#[schema(as = Stall)]
pub(crate) struct StallJson {
    /// `silence`: nothing is heard of the robot. `paused`: somebody holds the job.
    #[schema(value_type = String)]
    cause: StallCause,
    /// When a person was called, milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    escalated_at: Option<WallMillis>,
    /// In the words of whoever paused it.
    reason: Option<String>,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    since: WallMillis,
}

/// Jobs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    jobs: Vec<JobJson>,
    /// What `after` takes to go on to older ones; null after the oldest.
    next: Option<i64>,
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobQuery {
    /// `next` of the page before; the newest jobs without.
    after: Option<i64>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
}

/// Makes a job.
#[utoipa::path(
    post, operation_id = "create_job", path = "/v1/jobs", tag = "jobs", request_body = JobRequest,
    responses((status = 201, description = "the job, CREATED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn create(
    caller: Caller,
    State(core): State<Arc<Core>>,
    call: Call,
    Body(request): Body<JobRequest>,
) -> Result<Answer, ApiError> {
    let JobRequest { plan, requester, robot } = request;
    let requester = match caller.speaks_for(requester)? {
        Some(requester) => requester,
        None => {
            ActorId::new("requester").map_err(|e| crate::store::StoreError::damaged("a name", e))?
        }
    };
    let server = core.server.clone();
    answer(&core, call, StatusCode::CREATED, move |_, tx| {
        of_one_tenant(tx, &caller, &robot, &plan)?;
        server.create(tx, &robot, &plan, &requester).map_err(ApiError::from)
    })
    .await
}

/// For a caller of one tenant, what is another's does not exist.
fn of_one_tenant(
    tx: &Connection,
    caller: &Caller,
    robot: &RobotId,
    plan: &Plan,
) -> Result<(), ApiError> {
    let Some(tenant) = caller.tenant() else { return Ok(()) };
    if !tenants::has_robot(tx, tenant, robot)? {
        return Err(JobError::UnknownRobot(robot.clone()).into());
    }
    for step in &plan.steps {
        let bundle = &step.skill.bundle;
        if !tenants::has_skill(tx, tenant, bundle)? {
            let message = format!("step {}: no skill with bundle {bundle} is published", step.id);
            return Err(JobError::Skill(message).into());
        }
    }
    Ok(())
}

/// The jobs, newest first, in pages.
#[utoipa::path(
    get, operation_id = "list_jobs", path = "/v1/jobs", tag = "jobs",
    params(JobQuery),
    responses((status = 200, description = "the jobs", body = JobList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Params(query): Params<JobQuery>,
) -> Result<Json<JobList>, ApiError> {
    let limit = query.limit.unwrap_or(JOBS).clamp(1, MAX_JOBS);
    let before = query.after.unwrap_or(i64::MAX);
    let newest = move |tx: &Connection| jobs::newest(tx, caller.tenant(), before, limit);
    let rows = core.store.read(newest).await?;
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|(number, _)| *number);
    Ok(Json(JobList { jobs: rows.into_iter().map(|(_, row)| job(row)).collect(), next }))
}

/// One job.
#[utoipa::path(
    get, operation_id = "show_job", path = "/v1/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn show(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = job_id(&id)?;
    let row =
        core.store.read(move |tx| jobs::find(tx, &id)?.ok_or(JobError::UnknownJob(id))).await?;
    call::seen(&headers, row.head, &job(row))
}

/// Proposes a price: CREATED to QUOTED.
#[utoipa::path(
    post, operation_id = "quote_job", path = "/v1/jobs/{id}/quote", tag = "jobs",
    params(("id" = String, Path, description = "the job")), request_body = Option<QuoteRequest>,
    responses((status = 200, description = "the job, QUOTED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn quote(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<QuoteRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let currency = request.currency.unwrap_or_else(|| "EUR".to_owned());
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let message = format!("`{currency}` is not a currency");
        return Err(ApiError::unfit("bad_currency", message, "use a code of ISO 4217, like EUR"));
    }
    let QuoteRequest { amount_minor, .. } = request;
    change(&core, call, id, move |server, tx, id| server.quote(tx, id, amount_minor, &currency))
        .await
}

/// Accepts the price: QUOTED to BOOKED.
#[utoipa::path(
    post, operation_id = "book_job", path = "/v1/jobs/{id}/book", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the job, BOOKED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn book(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    change(&core, call, id, move |server, tx, id| server.book(tx, id)).await
}

/// Licenses the skills, reserves the robot and sends it the plan: BOOKED to RESERVED.
#[utoipa::path(
    post, operation_id = "dispatch_job", path = "/v1/jobs/{id}/dispatch", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    request_body = Option<DispatchRequest>,
    responses((status = 200, description = "the job, RESERVED", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn dispatch(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<DispatchRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let ttl = request.ttl_ms.map_or(TTL, Duration::from_millis);
    let span = tracing::info_span!(target: TARGET, "job.dispatch", job = %id);
    let done = change(&core, call, id, move |server, tx, id| server.dispatch(tx, id, ttl));
    done.instrument(span).await
}

/// Ends a job that is not over, through a safe exit where the robot is under way.
#[utoipa::path(
    post, operation_id = "cancel_job", path = "/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    request_body = Option<CancelRequest>,
    responses((status = 200, description = "the job, ABORTED or ABORTING_SAFE_EXIT", body = JobJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn cancel(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<CancelRequest>,
) -> Result<Answer, ApiError> {
    let id = job_id(&id)?;
    let reason = reason(request.reason, "cancelled by the operator")?;
    change(&core, call, id, move |server, tx, id| server.cancel(tx, id, &reason, TTL)).await
}

/// What somebody says about why, or `otherwise`.
pub(super) fn reason(said: Option<String>, otherwise: &str) -> Result<String, ApiError> {
    let reason = said.unwrap_or_else(|| otherwise.to_owned());
    if reason.len() > MAX_REASON_BYTES {
        let message = format!("a reason has at most {MAX_REASON_BYTES} bytes");
        return Err(ApiError::unfit("reason_too_long", message, "shorten it"));
    }
    Ok(reason)
}

/// The facts of a job, in their places.
#[utoipa::path(
    get, operation_id = "list_job_events", path = "/v1/jobs/{id}/events", tag = "jobs",
    params(("id" = String, Path, description = "the job"), EventQuery),
    responses((status = 200, description = "the facts", body = EventList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
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

/// The completion report of a job: who asked, who approved, when, what was done and what is not
/// known yet, made of its stream alone and signed by the cloud. Beside it, proofs that the robot's
/// statements in it lie in the robot's black box.
#[utoipa::path(
    get, operation_id = "report_job", path = "/v1/jobs/{id}/report", tag = "jobs",
    params(("id" = String, Path, description = "the job")),
    responses((status = 200, description = "the report", body = ReportJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn report(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = job_id(&id)?;
    let server = core.server.clone();
    let made = core.store.read::<_, JobError, _>(move |tx| report::of(tx, &id, server.key()));
    let report = made.await?;
    call::seen(&headers, report.tag(), &report)
}

/// Moves a job that is there.
pub(super) async fn change<F>(
    core: &Core,
    call: Call,
    id: JobId,
    work: F,
) -> Result<Answer, ApiError>
where
    F: FnOnce(&Server, &Connection, &JobId) -> Result<JobRow, JobError> + Send + 'static,
{
    let server = core.server.clone();
    answer(core, call, StatusCode::OK, move |call, tx| {
        let before = jobs::find(tx, &id)?.ok_or_else(|| JobError::UnknownJob(id.clone()))?;
        call.expect(before.head)?;
        Ok(work(&server, tx, &id)?)
    })
    .await
}

/// Does what a call asks for, unless that was done and answered already.
async fn answer<F>(core: &Core, call: Call, status: StatusCode, work: F) -> Result<Answer, ApiError>
where
    F: FnOnce(&Call, &Connection) -> Result<JobRow, ApiError> + Send + 'static,
{
    let now = core.clock.wall();
    let answer = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            if let Some(answer) = call.known(tx, now)? {
                return Ok(answer);
            }
            let row = work(&call, tx)?;
            tracing::info!(job = %row.id, state = %row.state, "job moves");
            let head = row.head;
            Ok(call.answer(tx, status, &job(row), now)?.of(head))
        })
        .await?;
    Ok(answer)
}

/// A plan in which a step may leave its version, and so its bundle, to the robot's ring.
fn plan_of_rings<'de, D: Deserializer<'de>>(from: D) -> Result<Plan, D::Error> {
    let mut plan = Value::deserialize(from)?;
    let steps = plan.get_mut("steps").and_then(Value::as_array_mut);
    for step in steps.into_iter().flatten() {
        let Some(skill) = step.get_mut("skill").and_then(Value::as_object_mut) else { continue };
        if skill.get("version").is_some_and(|version| version == OF_RING) {
            // Of no bundle: the one that is chosen takes its place.
            let named = skill.insert("bundle".to_owned(), Digest::ZERO.to_string().into());
            if named.is_some() {
                let why = "a step names a bundle, or leaves its version to the ring; not both";
                return Err(D::Error::custom(why));
            }
        }
    }
    Plan::deserialize(plan).map_err(D::Error::custom)
}

fn job(row: JobRow) -> JobJson {
    let Care { access, heard_at, stall, .. } = row.care;
    let stall = stall.map(|stall| {
        let Stall { cause, escalated_at, reason, since } = stall;
        StallJson { cause, escalated_at, reason, since }
    });
    JobJson {
        access,
        heard_at,
        stall,
        command: row.command,
        created_at: row.created_at,
        events: row.events,
        head: row.head,
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
