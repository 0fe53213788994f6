//! Commands to robots, and what became of them.

use super::auth::{Admin, Caller};
use super::call::{Answer, Call};
use super::error::{ApiError, Problem};
use super::extract::{Body, command_id};
use super::json::VerdictJson;
use super::robots::load;
use crate::commands::{self as make, MAX_REASON_BYTES};
use crate::core::Core;
use crate::store::commands::{self, CommandRow};
use crate::store::{StoreError, records};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::command::Ask;
use nooterra_protocol::command::RemoteCommand;
use nooterra_protocol::ids::{ActorId, EnvelopeId, JobId, RobotId};
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Valid for so long unless asked otherwise, milliseconds.
const TTL_MS: u64 = 30_000;

/// Commands in one list.
const COMMANDS: u32 = 200;

/// Verdicts with one command.
const VERDICTS: u32 = 1000;

/// A command to be signed and sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRequest {
    /// What to ask, such as `{"type":"emergency_stop","reason":"…"}`.
    #[schema(value_type = Object)]
    ask: Ask,
    /// In whose name, for the robot's rules of who may ask for what; the token's
    /// principal unless given, the cloud itself for the bootstrap token. Only the bootstrap token
    /// may name another, and vouches for it.
    #[schema(value_type = Option<String>)]
    operator: Option<ActorId>,
    /// Void after so many milliseconds; 30000 unless given.
    ttl_ms: Option<u64>,
}

/// A command and its fate.
#[derive(Serialize, ToSchema)]
#[schema(as = Command)]
pub(crate) struct CommandJson {
    /// What it asks.
    #[schema(value_type = Object)]
    ask: Ask,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    expires_at: WallMillis,
    /// Of the envelope; what the robot's journal names.
    #[schema(value_type = String)]
    id: EnvelopeId,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    issued_at: WallMillis,
    /// The job that it starts or cancels.
    #[schema(value_type = Option<String>)]
    job: Option<JobId>,
    /// Why it was refused.
    reason: Option<String>,
    /// To which robot.
    #[schema(value_type = String)]
    robot: RobotId,
    /// `sent` until the robot's journal names it, then `accepted` or `refused`; `expired` when
    /// its time ended first.
    state: String,
    /// Interventions of the robot's gate that name this command; not in lists.
    verdicts: Vec<VerdictJson>,
}

/// Commands, newest first; at most 200.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommandList {
    commands: Vec<CommandJson>,
}

/// Signs a command for a robot. It is sent now, or when the robot connects in time.
#[utoipa::path(
    post, operation_id = "send_command", path = "/v1/robots/{id}/commands", tag = "commands",
    params(("id" = String, Path, description = "the robot")), request_body = CommandRequest,
    responses((status = 202, description = "signed; sent now, or when the robot connects in time", body = CommandJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn send(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    call: Call,
    Body(request): Body<CommandRequest>,
) -> Result<Answer, ApiError> {
    let robot = load(&core, &id).await?.id;
    let CommandRequest { ask, operator, ttl_ms } = request;
    fit(&ask)?;
    let operator = caller.speaks_for(operator)?;
    let ttl = Duration::from_millis(ttl_ms.unwrap_or(TTL_MS));
    let (server, now) = (core.server.clone(), core.clock.wall());
    let answer = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            if let Some(answer) = call.known(tx, now)? {
                return Ok(answer);
            }
            let issuer = operator.unwrap_or_else(|| server.actor().id.clone());
            let id = make::issue_for(tx, &server, &issuer, &robot, &ask, ttl, None)?;
            let row = commands::find(tx, &robot, &id)?
                .ok_or_else(|| StoreError::damaged("a command", "it is gone"))?;
            let command = command(row, Vec::new(), now)?;
            call.answer(tx, StatusCode::ACCEPTED, &command, now)
        })
        .await?;
    Ok(answer)
}

/// The robot's commands.
#[utoipa::path(
    get, operation_id = "list_commands", path = "/v1/robots/{id}/commands", tag = "commands",
    params(("id" = String, Path, description = "the robot")),
    responses((status = 200, description = "the commands", body = CommandList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<CommandList>, ApiError> {
    let robot = load(&core, &id).await?.id;
    let rows = core.store.read(move |tx| commands::newest(tx, &robot, COMMANDS)).await?;
    let now = core.clock.wall();
    let commands =
        rows.into_iter().map(|row| command(row, Vec::new(), now)).collect::<Result<_, _>>()?;
    Ok(Json(CommandList { commands }))
}

/// One command with the verdicts about it.
#[utoipa::path(
    get, operation_id = "show_command", path = "/v1/robots/{id}/commands/{cid}", tag = "commands",
    params(
        ("id" = String, Path, description = "the robot"),
        ("cid" = String, Path, description = "the command"),
    ),
    responses((status = 200, description = "the command", body = CommandJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn show(
    _: Admin,
    State(core): State<Arc<Core>>,
    Path((id, cid)): Path<(String, String)>,
) -> Result<Json<CommandJson>, ApiError> {
    let robot = load(&core, &id).await?.id;
    let wanted = command_id(&cid)?;
    let found = core
        .store
        .read::<_, StoreError, _>(move |tx| {
            let row = commands::find(tx, &robot, &wanted)?;
            Ok((row, records::verdicts(tx, &robot, &wanted, VERDICTS)?))
        })
        .await?;
    let (Some(row), verdicts) = found else {
        let message = format!("robot {id} was sent no command {cid}");
        let hint = "GET /v1/robots/{id}/commands lists the commands of a robot";
        return Err(ApiError::missing("no_such_command", message, hint));
    };
    let verdicts = verdicts.into_iter().filter_map(|row| VerdictJson::new(row).transpose());
    let verdicts = verdicts.collect::<Result<_, _>>()?;
    Ok(Json(command(row, verdicts, core.clock.wall())?))
}

/// Jobs are started and cancelled through their own paths, which keep their streams.
fn fit(ask: &Ask) -> Result<(), ApiError> {
    match ask {
        Ask::CancelJob { .. }
        | Ask::PauseJob { .. }
        | Ask::ResumeJob { .. }
        | Ask::StartJob { .. } => Err(ApiError::unfit(
            "use_jobs",
            format!("`{}` is not sent from here", ask.name()),
            "POST /v1/jobs/{id}/dispatch and /cancel send it and keep the job's stream",
        )),
        Ask::Disconnect { reason } | Ask::EmergencyStop { reason } | Ask::Veto { reason }
            if reason.len() > MAX_REASON_BYTES =>
        {
            Err(ApiError::unfit(
                "reason_too_long",
                format!("a reason has at most {MAX_REASON_BYTES} bytes"),
                "shorten it",
            ))
        }
        _ => Ok(()),
    }
}

fn command(
    row: CommandRow,
    verdicts: Vec<VerdictJson>,
    now: WallMillis,
) -> Result<CommandJson, StoreError> {
    let expired = row.state == "sent" && now >= row.expires_at;
    Ok(CommandJson {
        ask: ask_of(&row.signed)?,
        expires_at: row.expires_at,
        id: row.id,
        issued_at: row.issued_at,
        job: row.job,
        reason: row.reason,
        robot: row.robot,
        state: if expired { "expired".to_owned() } else { row.state },
        verdicts,
    })
}

/// What a command of our own making asks; its signature is ours and is not checked again.
fn ask_of(signed: &[u8]) -> Result<Ask, StoreError> {
    let envelope: RemoteCommand =
        danger_unverified(signed).map_err(|e| StoreError::damaged("a command", e))?;
    Ok(envelope.body)
}
