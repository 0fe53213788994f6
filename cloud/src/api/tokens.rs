//! Tokens of the API: made, listed, revoked. The secret is shown once and kept nowhere.

use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::extract::{Body, Params};
use crate::access::{Family, Grant, Minted, Role, tenants};
use crate::core::Core;
use crate::jobs::JobError;
use crate::services::named;
use crate::store::tokens::{self, TokenRow};
use crate::store::{Connection, StoreError};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nooterra_protocol::ids::ActorId;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A token is good for so long unless asked otherwise, seconds: a shift's hour.
const TTL_S: u64 = 3600;

/// The shortest and the longest life, seconds: a minute, and thirty days.
const TTLS_S: std::ops::RangeInclusive<u64> = 60..=30 * 24 * 3600;

/// The same for a certificate, which is no secret that anybody could lose: a year, and from a
/// minute to ten years. The certificate has an end of its own.
const CERTIFICATE_TTL_S: u64 = 365 * 24 * 3600;
const CERTIFICATE_TTLS_S: std::ops::RangeInclusive<u64> = 60..=10 * CERTIFICATE_TTL_S;

/// Tokens in one answer, unless fewer are asked for.
const TOKENS: u32 = 1000;

/// Asks for a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// The name of a service's certificate that stands in place of a secret, such as
    /// `uri:spiffe://example/erp`, `dns:erp.example` or `cn:erp`. Only who reaches all tenants
    /// may name one, and one token of a name stands at a time.
    certificate: Option<String>,
    /// What it is for; each once, at least one.
    families: Vec<Family>,
    /// Who acts with it, as the audit trail and the robots' rules know them.
    #[schema(value_type = String, example = "alice")]
    principal: ActorId,
    /// What it may do with them.
    role: Role,
    /// Whose robots, jobs and skills it reaches, `*` for all tenants'; the maker's own unless
    /// given, `default` where the maker's reaches all.
    tenant: Option<String>,
    /// Seconds until it expires, 60 to 2592000; 3600 unless given, and never later than the token
    /// that it is made with. For a certificate up to 315360000; 31536000 unless given.
    ttl_s: Option<u64>,
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewToken {
    /// What was made.
    made: TokenJson,
    /// What `Authorization: Bearer` takes. It is shown once; null for a certificate.
    token: Option<String>,
}

/// A token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenJson {
    /// The name of the certificate that stands in place of its secret.
    certificate: Option<String>,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    expires_at: WallMillis,
    /// What it is for.
    families: Vec<Family>,
    /// What the audit trail calls it; no secret.
    id: String,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    made_at: WallMillis,
    /// The principal who asked for it.
    made_by: String,
    /// The token that it was made with, and is revoked with; null for the bootstrap token.
    parent: Option<String>,
    /// Who acts with it.
    #[schema(value_type = String)]
    principal: ActorId,
    /// Milliseconds since 1970.
    #[schema(value_type = Option<i64>)]
    revoked_at: Option<WallMillis>,
    /// The principal who revoked it.
    revoked_by: Option<String>,
    /// What it may do with its families.
    role: Role,
    /// `valid`, `expired` or `revoked`.
    state: &'static str,
    /// Whose robots, jobs and skills it reaches; `*` for all tenants'.
    tenant: String,
}

/// Tokens, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenList {
    /// What `after` takes to go on; null after the last.
    next: Option<i64>,
    tokens: Vec<TokenJson>,
}

/// Which tokens.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokenQuery {
    /// `next` of the page before; the oldest tokens without.
    after: Option<i64>,
    /// At most so many, up to 1000; 1000 unless given.
    limit: Option<u32>,
}

/// Makes a token. Whoever holds one may make another that goes beyond it in nothing.
#[utoipa::path(
    post, operation_id = "create_token", path = "/v1/tokens", tag = "access",
    request_body = TokenRequest,
    responses((status = 201, description = "the token; its secret is shown once", body = NewToken), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn create(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<NewToken>), ApiError> {
    let now = core.clock.wall();
    let certificate = request.certificate.as_deref().map(|name| certificate(name, &caller));
    let certificate = certificate.transpose()?;
    let grant = grant(request, &caller, now)?;
    // For a certificate, what is kept is of a secret that nobody is told.
    let minted = Minted::new().map_err(JobError::from)?;
    let token = certificate.is_none().then_some(minted.text);
    let row = TokenRow {
        certificate,
        grant,
        hash: minted.hash,
        id: minted.id.clone(),
        made_at: now,
        made_by: caller.principal().to_owned(),
        parent: caller.token,
        revoked: None,
    };
    let kept = row.clone();
    core.store
        .write::<_, ApiError, _>(move |tx| {
            if let Some(name) = &kept.certificate {
                let others = tokens::of_certificate(tx, name)?;
                if let Some(other) = others.iter().find(|other| stands(other, now)) {
                    let message = format!("{name} is the certificate of the token {}", other.id);
                    let hint = "revoke that one first, or leave it as it is";
                    let status = StatusCode::CONFLICT;
                    return Err(ApiError::new(status, "certificate_taken", message, hint));
                }
            }
            Ok(tokens::add(tx, &kept)?)
        })
        .await?;
    tracing::info!(token = row.id, principal = %row.grant.principal, "token made");
    Ok((StatusCode::CREATED, Json(NewToken { made: json(row, now), token })))
}

/// The tokens, oldest first, in pages; also those that are over.
#[utoipa::path(
    get, operation_id = "list_tokens", path = "/v1/tokens", tag = "access", params(TokenQuery),
    responses((status = 200, description = "the tokens", body = TokenList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Params(query): Params<TokenQuery>,
) -> Result<Json<TokenList>, ApiError> {
    let limit = query.limit.unwrap_or(TOKENS).clamp(1, TOKENS);
    let after = query.after.unwrap_or(0);
    let page = move |tx: &Connection| tokens::page(tx, caller.tenant(), after, limit);
    let rows = core.store.read(page).await?;
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|(number, _)| *number);
    let now = core.clock.wall();
    Ok(Json(TokenList { next, tokens: rows.into_iter().map(|(_, row)| json(row, now)).collect() }))
}

/// Revokes a token, and every token that was made with it. What was revoked stays revoked.
#[utoipa::path(
    post, operation_id = "revoke_token", path = "/v1/tokens/{id}/revoke", tag = "access",
    params(("id" = String, Path, description = "the token's id")),
    responses((status = 200, description = "the token", body = TokenJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn revoke(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<TokenJson>, ApiError> {
    let now = core.clock.wall();
    let by = caller.principal().to_owned();
    let row = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            let own = |row: &TokenRow| {
                caller.tenant().is_none_or(|of| row.grant.tenant.as_ref() == Some(of))
            };
            let found = tokens::find(tx, &id)?.filter(own);
            let missing = || {
                let hint = "GET /v1/tokens lists the tokens";
                ApiError::missing("no_such_token", "there is no such token", hint)
            };
            found.ok_or_else(missing)?;
            tokens::revoke(tx, &id, &by, now)?;
            let row = tokens::find(tx, &id)?;
            Ok(row.ok_or_else(|| StoreError::damaged("a token", "it is gone"))?)
        })
        .await?;
    tracing::info!(token = row.id, "token revoked");
    Ok(Json(json(row, now)))
}

/// The name of a service's certificate, where the caller may give it a token.
fn certificate(name: &str, caller: &Caller) -> Result<String, ApiError> {
    // Names of certificates are one set for all tenants: one could take another's.
    if caller.tenant().is_some() {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "all_tenants_only",
            "whose a certificate is, is about all tenants, and the token is one tenant's",
            "ask whoever runs the cloud for a token of all tenants, `*`",
        ));
    }
    named(name).ok_or_else(|| {
        let message = format!("`{name}` names no certificate");
        let hint = "write uri:, dns: or cn: and the name as it stands in the certificate";
        ApiError::unfit("bad_certificate_name", message, hint)
    })
}

/// It was not revoked, and its time is not over.
pub(super) fn stands(row: &TokenRow, now: WallMillis) -> bool {
    row.revoked.is_none() && now < row.grant.expires_at
}

/// What a request asks for, where the caller may give it.
fn grant(request: TokenRequest, caller: &Caller, now: WallMillis) -> Result<Grant, ApiError> {
    let TokenRequest { certificate, mut families, principal, role, tenant, ttl_s } = request;
    let (ttls, usual) = match certificate {
        Some(_) => (CERTIFICATE_TTLS_S, CERTIFICATE_TTL_S),
        None => (TTLS_S, TTL_S),
    };
    let named = families.len();
    families.sort_unstable();
    families.dedup();
    if families.is_empty() || families.len() != named {
        let message = "`families` names at least one family, each once";
        return Err(ApiError::unfit("bad_families", message, "leave out what stands there twice"));
    }
    if ttl_s.is_some_and(|ttl_s| !ttls.contains(&ttl_s)) {
        let message = format!("ttl_s must be {} to {}", ttls.start(), ttls.end());
        return Err(ApiError::unfit("bad_ttl", message, "choose a value in that range"));
    }
    let mut expires_at = now.plus(Duration::from_secs(ttl_s.unwrap_or(usual)));
    if let (Some(own), None) = (&caller.grant, ttl_s) {
        expires_at = expires_at.min(own.expires_at);
    }
    let tenant = match tenant {
        None => Some(caller.tenant().cloned().unwrap_or_default()),
        Some(name) => tenants(&name).map_err(|error| {
            ApiError::unfit("bad_tenant", error.to_string(), "or write `*` for all tenants")
        })?,
    };
    let asked = Grant { expires_at, families, principal, role, tenant };
    match &caller.grant {
        Some(own) if !own.holds(&asked) => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "beyond_own_token",
            format!(
                "a token goes beyond the one it is made with in nothing, which gives {} to tenant \
                 {} until {}",
                own.scopes(),
                own.tenant_name(),
                own.expires_at
            ),
            "ask for less, or ask whoever holds more",
        )),
        _ => Ok(asked),
    }
}

fn json(row: TokenRow, now: WallMillis) -> TokenJson {
    let state = match &row.revoked {
        Some(_) => "revoked",
        None if row.grant.expires_at <= now => "expired",
        None => "valid",
    };
    let (revoked_at, revoked_by) = row.revoked.unzip();
    let tenant = row.grant.tenant_name().to_owned();
    let Grant { expires_at, families, principal, role, .. } = row.grant;
    TokenJson {
        certificate: row.certificate,
        expires_at,
        families,
        id: row.id,
        made_at: row.made_at,
        made_by: row.made_by,
        parent: row.parent,
        principal,
        revoked_at,
        revoked_by,
        role,
        state,
        tenant,
    }
}
