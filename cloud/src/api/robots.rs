//! Robots and what their journals say.

use super::auth::{Admin, Caller};
use super::error::{ApiError, Problem};
use super::extract::{Params, robot_id};
use super::json::{EventJson, RecordJson};
use super::standing::StandingJson;
use crate::core::Core;
use crate::store::records::{self, Filter};
use crate::store::robots::{self, RobotRow};
use crate::store::standings::{self, StandingRow};
use crate::store::{Connection, StoreError, jobs};
use axum::Json;
use axum::extract::{Path, State};
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::observation::Capabilities;
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::uplink::Health;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Records in one answer unless asked otherwise.
const RECORDS: u32 = 200;

/// Records in one answer at most.
const MAX_RECORDS: u32 = 1000;

/// Robots in one answer, unless fewer are asked for.
const ROBOTS: u32 = 1000;

/// Facts in one answer.
pub(crate) const EVENTS: u32 = 1000;

/// A robot.
#[derive(Serialize, ToSchema)]
#[schema(as = Robot)]
pub(crate) struct RobotJson {
    /// What it can do, as it last said.
    #[schema(value_type = Option<Object>)]
    capabilities: Option<Capabilities>,
    /// `p256:BASE64`; signs its facts.
    device_key: String,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    enrolled_at: WallMillis,
    /// How it is, as it last said.
    #[schema(value_type = Option<Object>)]
    health: Option<Health>,
    /// Its id.
    #[schema(value_type = String)]
    id: RobotId,
    /// Milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    last_seen: Option<WallMillis>,
    /// Connected now.
    online: bool,
    /// In service, in maintenance, quarantined or revoked, since when and why.
    standing: StandingJson,
}

/// Robots, by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct RobotList {
    /// What `after` takes to go on; null after the last.
    next: Option<String>,
    robots: Vec<RobotJson>,
}

/// Which robots.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RobotQuery {
    /// Only robots after this id.
    after: Option<String>,
    /// At most so many, up to 1000; 1000 unless given.
    limit: Option<u32>,
}

/// Which records.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordQuery {
    /// Only records after this cursor.
    after: i64,
    /// Only records of this class: `critical`, `normal` or `bulk`.
    class: Option<String>,
    /// Only records of this kind, such as `verdict`.
    kind: Option<String>,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
}

/// Records in the order of their arrival.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordList {
    /// What `after` takes to go on.
    next: i64,
    records: Vec<RecordJson>,
}

/// Which facts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Only facts after this place.
    pub(crate) after: u64,
}

/// Facts of one stream, in order; at most 1000.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    pub(crate) events: Vec<EventJson>,
}

/// The robots, in pages.
#[utoipa::path(
    get, operation_id = "list_robots", path = "/v1/robots", tag = "robots",
    params(RobotQuery),
    responses((status = 200, description = "the robots", body = RobotList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Params(query): Params<RobotQuery>,
) -> Result<Json<RobotList>, ApiError> {
    let limit = query.limit.unwrap_or(ROBOTS).clamp(1, ROBOTS);
    let after = query.after.unwrap_or_default();
    let page = move |tx: &Connection| {
        Ok((
            robots::page(tx, caller.tenant(), &after, limit)?,
            standings::all(tx)?,
            tx.processes()?,
        ))
    };
    let (rows, mut standings, live) = core.store.read::<_, StoreError, _>(page).await?;
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|row| row.id.to_string());
    let robots = rows.into_iter().map(|row| {
        let standing = standings.remove(&row.id);
        robot(&core, row, standing, &live)
    });
    Ok(Json(RobotList { next, robots: robots.collect() }))
}

/// One robot.
#[utoipa::path(
    get, operation_id = "show_robot", path = "/v1/robots/{id}", tag = "robots",
    params(("id" = String, Path, description = "the robot")),
    responses((status = 200, description = "the robot", body = RobotJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn show(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<RobotJson>, ApiError> {
    Ok(Json(shown(&core, &id).await?))
}

/// What the robot's journal says, as far as it came here.
#[utoipa::path(
    get, operation_id = "list_records", path = "/v1/robots/{id}/records", tag = "robots",
    params(("id" = String, Path, description = "the robot"), RecordQuery),
    responses((status = 200, description = "the records", body = RecordList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn records(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<RecordQuery>,
) -> Result<Json<RecordList>, ApiError> {
    read(&core, &id, query).await
}

/// The same with `kind=verdict`: where the gate intervened.
#[utoipa::path(
    get, operation_id = "list_verdicts", path = "/v1/robots/{id}/verdicts", tag = "robots",
    params(("id" = String, Path, description = "the robot"), RecordQuery),
    responses((status = 200, description = "the verdicts", body = RecordList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn verdicts(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<RecordQuery>,
) -> Result<Json<RecordList>, ApiError> {
    read(&core, &id, RecordQuery { kind: Some("verdict".to_owned()), ..query }).await
}

/// The robot's own stream: its facts that belong to no job of its own.
#[utoipa::path(
    get, operation_id = "list_robot_events", path = "/v1/robots/{id}/events", tag = "robots",
    params(("id" = String, Path, description = "the robot"), EventQuery),
    responses((status = 200, description = "the facts", body = EventList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn events(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<EventQuery>,
) -> Result<Json<EventList>, ApiError> {
    let robot = load(&core, &id).await?.id;
    let rows = core
        .store
        .read(move |tx| jobs::facts(tx, &jobs::robot_stream(&robot)?, query.after, EVENTS))
        .await?;
    let events = rows.into_iter().map(EventJson::new).collect::<Result<_, _>>()?;
    Ok(Json(EventList { events }))
}

/// The robot of a path, if it is enrolled.
pub(crate) async fn load(core: &Core, id: &str) -> Result<RobotRow, ApiError> {
    let robot = robot_id(id)?;
    let row = core.store.read::<_, StoreError, _>(move |tx| robots::find(tx, &robot)).await?;
    row.ok_or_else(|| {
        let message = format!("robot {id} is not enrolled");
        ApiError::missing("no_such_robot", message, "GET /v1/robots lists the robots")
    })
}

/// A robot as it is shown, if it is enrolled.
pub(super) async fn shown(core: &Core, id: &str) -> Result<RobotJson, ApiError> {
    let row = load(core, id).await?;
    let named = row.id.clone();
    let look = move |tx: &Connection| Ok((standings::of(tx, &named)?, tx.processes()?));
    let (standing, live) = core.store.read::<_, StoreError, _>(look).await?;
    Ok(robot(core, row, standing, &live))
}

async fn read(core: &Core, id: &str, query: RecordQuery) -> Result<Json<RecordList>, ApiError> {
    let robot = load(core, id).await?.id;
    let class = match query.class {
        None => None,
        Some(name) => Some(Class::from_name(&name).ok_or_else(|| {
            let message = format!("`{name}` is not a class");
            ApiError::bad("bad_query", message, "critical, normal or bulk")
        })?),
    };
    let limit = query.limit.unwrap_or(RECORDS).clamp(1, MAX_RECORDS);
    let filter = Filter { after: query.after, class, kind: query.kind, limit };
    let rows = core.store.read(move |tx| records::list(tx, &robot, &filter)).await?;
    let next = rows.last().map_or(query.after, |row| row.cursor);
    let records = rows.into_iter().map(RecordJson::new).collect::<Result<_, _>>()?;
    Ok(Json(RecordList { next, records }))
}

/// `live` are the processes on the database.
fn robot(core: &Core, row: RobotRow, standing: Option<StandingRow>, live: &[String]) -> RobotJson {
    let health = row.state.and_then(|state| state.health);
    let elsewhere = row.process.filter(|process| *process != core.process);
    RobotJson {
        capabilities: health.as_ref().map(|health| health.capabilities.clone()),
        device_key: row.device_key.to_string(),
        enrolled_at: row.enrolled_at,
        health,
        last_seen: row.last_seen,
        online: core.registry.is_online(&row.id)
            || elsewhere.is_some_and(|process| live.contains(&process)),
        standing: StandingJson::new(standing),
        id: row.id,
    }
}
