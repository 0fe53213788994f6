//! Who did what: the audit trail, in pages.

use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::extract::Params;
use crate::access::Tenant;
use crate::core::Core;
use crate::store::audit::{self, AuditRow, Filter};
use axum::Json;
use axum::extract::State;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Calls in one answer, unless asked otherwise.
const PAGE: u32 = 200;

/// Calls in one answer at the most.
const MAX_PAGE: u32 = 1000;

/// Which calls.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only calls after this one; 0 for all.
    after: i64,
    /// At most so many, up to 1000; 200 unless given.
    limit: Option<u32>,
    /// Only calls that ended so: `done`, `refused` or `failed`.
    outcome: Option<String>,
    /// Only calls of this principal.
    principal: Option<String>,
    /// Only the call of this request.
    request_id: Option<String>,
}

/// A call that changed something, or would have.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEntry {
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    at: WallMillis,
    /// Why it was refused, or what failed, as the answer's `code` says it.
    code: Option<String>,
    /// Such as `POST`.
    method: String,
    /// Its place in the trail.
    n: i64,
    /// `done`: the change and this entry were kept together. `refused`: nothing was changed.
    /// `failed`: the cloud could not, or does not know whether it did.
    outcome: String,
    /// What was called, its first 256 bytes.
    path: String,
    /// Who called: a token's principal, `bootstrap` for the token of the data directory,
    /// `robot:{id}` for a robot's certificate, `claim-code` for an enrolment.
    principal: String,
    /// The answer's `X-Request-Id`.
    request_id: String,
    /// The path as this document has it.
    route: String,
    /// The tenant that the caller was held to; null for all.
    tenant: Option<String>,
    /// The token's id.
    token: Option<String>,
}

/// Calls, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditPage {
    entries: Vec<AuditEntry>,
    /// What `after` takes to go on.
    next: i64,
}

/// Every call that changed something, and every one that was refused to somebody who is known;
/// oldest first. A caller of one tenant sees the calls that were held to it.
#[utoipa::path(
    get, operation_id = "list_audit", path = "/v1/audit", tag = "access", params(AuditQuery),
    responses((status = 200, description = "the calls", body = AuditPage), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Params(query): Params<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    let AuditQuery { after, limit, outcome, principal, request_id } = query;
    let filter = Filter {
        after,
        limit: limit.unwrap_or(PAGE).clamp(1, MAX_PAGE),
        outcome: outcome.unwrap_or_default(),
        principal: principal.unwrap_or_default(),
        request_id: request_id.unwrap_or_default(),
        tenant: caller.tenant().map(Tenant::to_string).unwrap_or_default(),
    };
    let rows = core.store.read(move |tx| audit::page(tx, &filter)).await?;
    let next = rows.last().map_or(after, |row| row.n);
    Ok(Json(AuditPage { entries: rows.into_iter().map(entry).collect(), next }))
}

fn entry(row: AuditRow) -> AuditEntry {
    let AuditRow {
        at,
        code,
        method,
        n,
        outcome,
        path,
        principal,
        request_id,
        route,
        tenant,
        token,
    } = row;
    AuditEntry { at, code, method, n, outcome, path, principal, request_id, route, tenant, token }
}
