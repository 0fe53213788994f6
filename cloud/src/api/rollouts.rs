//! Roll-outs: begun, watched, paused, resumed, moved on, rolled back.

use super::auth::{Admin, Caller};
use super::call::{Answer, Call};
use super::error::{ApiError, Problem};
use super::extract::{Body, Params};
use super::json::EventJson;
use super::registry::{ReasonRequest, reason};
use super::robots::{EVENTS, EventList, EventQuery};
use crate::core::Core;
use crate::skill_registry::rollout::{Gate, Rollout, State as RolloutState, Step, Tally};
use crate::skill_registry::steer::{RolloutError, Wanted, stream_of};
use crate::store::rollouts::{self, GivenRow};
use crate::store::{Connection, StoreError, jobs, skills, tenants};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{JobId, RobotId, SkillId};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Roll-outs, or jobs of one, in a page unless asked otherwise.
const PAGE: u32 = 200;

/// The same, at the most.
const MAX_PAGE: u32 = 1000;

/// A roll-out to be begun.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutRequest {
    /// SHA-256 of the version.
    #[schema(value_type = String)]
    bundle: Digest,
    /// For rings without a gate of their own.
    #[serde(default)]
    gate: Gate,
    /// By ring.
    #[serde(default)]
    gates: BTreeMap<String, Gate>,
    /// For the record, 1 to 512 bytes.
    reason: String,
}

/// Why the next ring is opened before its gate says so.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdvanceRequest {
    /// The ring that is open last: the one after it is opened, or the roll-out completed.
    past: String,
    /// For the record, 1 to 512 bytes.
    reason: String,
}

/// A roll-out.
#[derive(Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(crate) struct RolloutJson {
    /// What the fleet had before; null for the first.
    #[schema(value_type = Option<String>)]
    baseline: Option<Digest>,
    /// Its semantic version.
    baseline_version: Option<String>,
    /// What it brings.
    #[schema(value_type = String)]
    bundle: Digest,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    created_at: WallMillis,
    /// Its id.
    id: String,
    /// When the last ring was opened, or the roll-out resumed: what counts came since.
    #[schema(value_type = i64)]
    opened_at: WallMillis,
    /// Why it stands as it does.
    reason: String,
    /// The ring that is open last, and watched.
    ring: String,
    /// All rings, in their order.
    rings: Vec<RingJson>,
    /// The skill.
    #[schema(value_type = String)]
    skill: SkillId,
    /// `rolling`, `paused`, `completed` or `rolled_back`.
    #[schema(value_type = String)]
    state: RolloutState,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    updated_at: WallMillis,
    /// The semantic version that it brings.
    version: String,
    /// What was heard since `opened_at`.
    heard: HeardJson,
}

/// A ring of a roll-out.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutRing)]
pub(crate) struct RingJson {
    /// When it is good, and when it is bad.
    gate: Gate,
    /// Its name.
    name: String,
    /// Its robots have the version.
    open: bool,
}

/// What was heard of jobs that were given the version.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutHeard)]
pub(crate) struct HeardJson {
    /// Jobs that failed, of robots of any ring.
    failed: u32,
    /// Robots of the watched ring that completed one.
    robots: u32,
    /// Jobs that robots of the watched ring completed.
    succeeded: u32,
}

/// Roll-outs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolloutList {
    /// What `after` takes to go on to older ones; null after the oldest.
    next: Option<i64>,
    rollouts: Vec<RolloutJson>,
}

/// Which roll-outs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RolloutQuery {
    /// `next` of the page before; the newest without.
    after: Option<i64>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
    /// Only of this skill.
    skill: Option<String>,
}

/// A job that was given the version of a roll-out.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutJob)]
pub(crate) struct GivenJson {
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    given_at: WallMillis,
    /// The job.
    #[schema(value_type = String)]
    job: JobId,
    /// Milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    judged_at: Option<WallMillis>,
    /// `open`, `succeeded`, `failed`, or `withdrawn`: called off, which counts as neither.
    outcome: String,
    /// Why it failed or was withdrawn.
    reason: Option<String>,
    /// The robot's, when the version was given.
    ring: String,
    /// The robot.
    #[schema(value_type = String)]
    robot: RobotId,
}

/// Jobs of a roll-out, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct GivenList {
    jobs: Vec<GivenJson>,
    /// What `after` takes to go on; null after the newest.
    next: Option<i64>,
}

/// Which jobs of a roll-out.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct GivenQuery {
    /// `next` of the page before; from the oldest without.
    after: Option<i64>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
}

/// Begins to roll a version out: the first ring is open at once.
#[utoipa::path(
    post, operation_id = "start_rollout", path = "/v1/rollouts", tag = "skills",
    request_body = RolloutRequest,
    responses((status = 201, description = "the roll-out", body = RolloutJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn start(
    caller: Caller,
    State(core): State<Arc<Core>>,
    call: Call,
    Body(request): Body<RolloutRequest>,
) -> Result<Answer, ApiError> {
    let RolloutRequest { bundle, gate, gates, reason: why } = request;
    let tenant = caller.decides_for();
    let wanted = Wanted { bundle, gate, gates, reason: reason(why)?, tenant };
    let server = core.server.clone();
    answer(&core, call, StatusCode::CREATED, move |tx| {
        // What another tenant published does not exist, for who sees all tenants either: the
        // robots that are given it are of one.
        if !tenants::has_skill(tx, &wanted.tenant, &bundle)? {
            return Err(RolloutError::NotPublished(bundle));
        }
        server.start_rollout(tx, &wanted)
    })
    .await
}

/// Roll-outs, newest first, in pages.
#[utoipa::path(
    get, operation_id = "list_rollouts", path = "/v1/rollouts", tag = "skills",
    params(RolloutQuery),
    responses((status = 200, description = "the roll-outs", body = RolloutList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Params(query): Params<RolloutQuery>,
) -> Result<Json<RolloutList>, ApiError> {
    let RolloutQuery { after, limit, skill } = query;
    let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let list = core.store.read::<_, StoreError, _>(move |tx| {
        let before = after.unwrap_or(i64::MAX);
        let rows = rollouts::newest(tx, caller.tenant(), before, skill.as_deref(), limit)?;
        let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = rows.last().filter(|_| full).map(|(number, _)| *number);
        let rollouts = rows.into_iter().map(|(_, it)| rollout(tx, it)).collect::<Result<_, _>>()?;
        Ok(RolloutList { next, rollouts })
    });
    Ok(Json(list.await?))
}

/// One roll-out.
#[utoipa::path(
    get, operation_id = "show_rollout", path = "/v1/rollouts/{id}", tag = "skills",
    params(("id" = String, Path, description = "the roll-out")),
    responses((status = 200, description = "the roll-out", body = RolloutJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn show(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<RolloutJson>, ApiError> {
    let found = core.store.read::<_, RolloutError, _>(move |tx| {
        let it = rollouts::find(tx, &id)?.ok_or(RolloutError::Unknown(id))?;
        Ok(rollout(tx, it)?)
    });
    Ok(Json(found.await?))
}

/// Every step of a roll-out, with its reason and what was heard until then: signed facts.
#[utoipa::path(
    get, operation_id = "list_rollout_events", path = "/v1/rollouts/{id}/events", tag = "skills",
    params(("id" = String, Path, description = "the roll-out"), EventQuery),
    responses((status = 200, description = "the facts", body = EventList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn events(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<EventQuery>,
) -> Result<Json<EventList>, ApiError> {
    let rows = core.store.read::<_, RolloutError, _>(move |tx| {
        let it = rollouts::find(tx, &id)?.ok_or(RolloutError::Unknown(id))?;
        Ok(jobs::facts(tx, &stream_of(&it.id)?, query.after, EVENTS)?)
    });
    let events = rows.await?.into_iter().map(EventJson::new).collect::<Result<_, _>>()?;
    Ok(Json(EventList { events }))
}

/// The jobs that were given the version, and what came of them.
#[utoipa::path(
    get, operation_id = "list_rollout_jobs", path = "/v1/rollouts/{id}/jobs", tag = "skills",
    params(("id" = String, Path, description = "the roll-out"), GivenQuery),
    responses((status = 200, description = "the jobs", body = GivenList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn given(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<GivenQuery>,
) -> Result<Json<GivenList>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let after = query.after.unwrap_or(0);
    let rows = core.store.read::<_, RolloutError, _>(move |tx| {
        let it = rollouts::find(tx, &id)?.ok_or(RolloutError::Unknown(id))?;
        Ok(rollouts::jobs(tx, &it.id, after, limit)?)
    });
    let rows = rows.await?;
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|row| row.n);
    Ok(Json(GivenList { jobs: rows.into_iter().map(given_job).collect(), next }))
}

/// Opens no further ring; those that are open keep the version.
#[utoipa::path(
    post, operation_id = "pause_rollout", path = "/v1/rollouts/{id}/pause", tag = "skills",
    params(("id" = String, Path, description = "the roll-out")), request_body = ReasonRequest,
    responses((status = 200, description = "the roll-out", body = RolloutJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn pause(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    Body(request): Body<ReasonRequest>,
) -> Result<Answer, ApiError> {
    step(&core, call, id, Step::Pause, None, request.reason).await
}

/// Goes on with a paused roll-out; the watched ring's count begins anew.
#[utoipa::path(
    post, operation_id = "resume_rollout", path = "/v1/rollouts/{id}/resume", tag = "skills",
    params(("id" = String, Path, description = "the roll-out")), request_body = ReasonRequest,
    responses((status = 200, description = "the roll-out", body = RolloutJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn resume(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    Body(request): Body<ReasonRequest>,
) -> Result<Answer, ApiError> {
    step(&core, call, id, Step::Resume, None, request.reason).await
}

/// Opens the next ring though its gate has not passed; after the last one the roll-out is
/// completed. A paused roll-out is resumed first.
#[utoipa::path(
    post, operation_id = "advance_rollout", path = "/v1/rollouts/{id}/advance", tag = "skills",
    params(("id" = String, Path, description = "the roll-out")), request_body = AdvanceRequest,
    responses((status = 200, description = "the roll-out", body = RolloutJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn advance(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    Body(AdvanceRequest { past, reason }): Body<AdvanceRequest>,
) -> Result<Answer, ApiError> {
    step(&core, call, id, Step::Advance, Some(past), reason).await
}

/// Gives every ring the version of before. Jobs that run go on; a start that its robot has not
/// answered is withdrawn, and its job booked again.
#[utoipa::path(
    post, operation_id = "roll_back", path = "/v1/rollouts/{id}/roll_back", tag = "skills",
    params(("id" = String, Path, description = "the roll-out")), request_body = ReasonRequest,
    responses((status = 200, description = "the roll-out", body = RolloutJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn roll_back(
    _: Admin,
    State(core): State<Arc<Core>>,
    call: Call,
    Path(id): Path<String>,
    Body(request): Body<ReasonRequest>,
) -> Result<Answer, ApiError> {
    step(&core, call, id, Step::RollBack, None, request.reason).await
}

async fn step(
    core: &Core,
    call: Call,
    id: String,
    step: Step,
    past: Option<String>,
    why: String,
) -> Result<Answer, ApiError> {
    let (server, why) = (core.server.clone(), reason(why)?);
    answer(core, call, StatusCode::OK, move |tx| {
        server.command_rollout(tx, &id, step, past.as_deref(), &why)
    })
    .await
}

/// Does what a call asks for, unless that was done and answered already.
async fn answer<F>(core: &Core, call: Call, status: StatusCode, work: F) -> Result<Answer, ApiError>
where
    F: FnOnce(&Connection) -> Result<Rollout, RolloutError> + Send + 'static,
{
    let now = core.clock.wall();
    core.store
        .write::<_, ApiError, _>(move |tx| {
            if let Some(answer) = call.known(tx, now)? {
                return Ok(answer);
            }
            let it = work(tx)?;
            call.answer(tx, status, &rollout(tx, it)?, now)
        })
        .await
}

fn rollout(tx: &Connection, it: Rollout) -> Result<RolloutJson, StoreError> {
    let version = |digest: &Digest| {
        Ok::<_, StoreError>(skills::manifest(tx, digest)?.map(|manifest| manifest.version))
    };
    let Tally { failed, robots, succeeded } = rollouts::tally(tx, &it)?;
    let baseline_version = it.baseline.as_ref().map(version).transpose()?.flatten();
    let rings = it.stages.iter().map(|stage| RingJson {
        gate: stage.gate,
        name: stage.ring.clone(),
        open: it.has_opened(&stage.ring),
    });
    Ok(RolloutJson {
        baseline_version,
        heard: HeardJson { failed, robots, succeeded },
        ring: it.watched().map(|stage| stage.ring.clone()).unwrap_or_default(),
        rings: rings.collect(),
        version: version(&it.target)?.unwrap_or_default(),
        baseline: it.baseline,
        bundle: it.target,
        created_at: it.created_at,
        id: it.id,
        opened_at: it.opened_at,
        reason: it.reason,
        skill: it.skill,
        state: it.state,
        updated_at: it.updated_at,
    })
}

fn given_job(row: GivenRow) -> GivenJson {
    let GivenRow { given_at, job, judged_at, outcome, reason, ring, robot, .. } = row;
    GivenJson { given_at, job, judged_at, outcome, reason, ring, robot }
}

impl From<RolloutError> for ApiError {
    fn from(error: RolloutError) -> Self {
        let message = error.to_string();
        let conflict = |code, hint: &str| Self::new(StatusCode::CONFLICT, code, &*message, hint);
        match error {
            RolloutError::Gate { .. } => Self::unfit("bad_gate", message, "correct that gate"),
            RolloutError::Job(error) => error.into(),
            RolloutError::NoRings => conflict("no_rings", "POST /v1/rings sets the rings"),
            RolloutError::NotNewer { .. } => conflict(
                "not_newer",
                "a roll-out goes forward: publish what is needed as a later version",
            ),
            RolloutError::NotPublished(_) => {
                Self::unfit("unknown_skill", message, "publish the bundle first (POST /v1/skills)")
            }
            RolloutError::Passed { .. } => {
                conflict("ring_passed", "look again: GET /v1/rollouts/{id}, and name its `ring`")
            }
            RolloutError::Refused(_) => conflict("wrong_state", "GET /v1/rollouts/{id} shows it"),
            RolloutError::Revoked { .. } => {
                conflict("skill_revoked", "choose another version: GET /v1/skills?revoked=false")
            }
            RolloutError::Tier { .. } => {
                conflict("tier_too_low", "have it certified, or change the ring: POST /v1/rings")
            }
            RolloutError::UnderWay { .. } => {
                conflict("rollout_under_way", "end it first: complete it or roll it back")
            }
            RolloutError::Unknown(_) => {
                Self::missing("no_such_rollout", message, "GET /v1/rollouts lists them")
            }
            RolloutError::UnknownRing(_) => {
                Self::unfit("unknown_ring", message, "GET /v1/rings lists the rings")
            }
        }
    }
}
