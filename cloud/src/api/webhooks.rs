//! Subscribers that are called, and what they could not be told.

use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::extract::{Body, OptionalBody, Params};
use crate::access::Tenant;
use crate::core::Core;
use crate::jobs::{JobError, new_id};
use crate::store::Connection;
use crate::store::webhooks::{self, LetterRow, WebhookRow};
use crate::webhooks::key;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use nooterra_protocol::event::EventType;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The longest address, bytes.
const MAX_URL: usize = 1024;

/// Subscribers of one tenant that stand at the same time.
const MAX_WEBHOOKS: i64 = 100;

/// Dead letters in one answer, unless fewer are asked for.
const LETTERS: u32 = 1000;

/// Asks for events to be told to an address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookRequest {
    /// Only events after this position; those from now on unless given.
    after: Option<i64>,
    /// Only events of these types, such as `EXECUTION_COMPLETED`; all unless given.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    types: Vec<EventType>,
    /// An `https` address; `http` within networks that this cloud was started to allow.
    #[schema(example = "https://erp.example/nooterra")]
    url: String,
}

/// A subscriber that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewWebhook {
    /// What was made.
    made: WebhookJson,
    /// What `Nooterra-Signature` is made with. It is shown once.
    secret: String,
}

/// A subscriber.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookJson {
    /// Failed tries of the event that is next.
    attempts: i64,
    /// Events that it could not be told.
    dead_letters: i64,
    /// Milliseconds since 1970; nothing is told from then on.
    #[schema(value_type = Option<i64>)]
    ended_at: Option<WallMillis>,
    /// What the last failure said; null after a success.
    error: Option<String>,
    /// Its id.
    id: String,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    made_at: WallMillis,
    /// The principal who asked for it.
    made_by: String,
    /// It was told, or spared, every event up to this position.
    position: i64,
    /// Whose events; null for all tenants'.
    #[schema(value_type = Option<String>)]
    tenant: Option<Tenant>,
    /// Only events of these types; all where there is none.
    types: Vec<String>,
    /// Where it is called.
    url: String,
}

/// Subscribers in the order in which they were made.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookList {
    webhooks: Vec<WebhookJson>,
}

/// An event of which a subscriber could not be told.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    /// Tries so far.
    attempts: i64,
    /// When it was given up, milliseconds since 1970.
    #[schema(value_type = i64)]
    died_at: WallMillis,
    /// What the last failure said.
    error: String,
    /// Of the event; `GET /v1/events?after={position - 1}&limit=1` shows it.
    position: i64,
    /// `dead`, or `waiting` while it is sent anew.
    state: String,
}

/// Dead letters in the order of their events.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetterList {
    dead_letters: Vec<DeadLetter>,
    /// What `after` takes to go on; null after the last.
    next: Option<i64>,
}

/// Which dead letters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetterQuery {
    /// Only those after this position.
    after: i64,
    /// At most so many, up to 1000; 1000 unless given.
    limit: Option<u32>,
}

/// Which dead letters are sent anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedeliveryRequest {
    /// The one at this position; all unless given.
    position: Option<i64>,
}

/// Dead letters that are sent anew.
#[derive(Serialize, ToSchema)]
pub(crate) struct Redelivery {
    /// How many.
    waiting: usize,
}

/// Tells events to an address from now on, each at least once and in order.
#[utoipa::path(
    post, operation_id = "create_webhook", path = "/v1/webhooks", tag = "webhooks", request_body = WebhookRequest,
    responses((status = 201, description = "the subscriber; its secret is shown once", body = NewWebhook), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn create(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Body(request): Body<WebhookRequest>,
) -> Result<(StatusCode, Json<NewWebhook>), ApiError> {
    let WebhookRequest { after, types, url } = request;
    fit(&url, core.webhooks_in_the_clear)?;
    let (id, secret) = (new_id("wh").map_err(JobError::from)?, key().map_err(JobError::from)?);
    let types: Vec<_> = types.iter().map(|kind| kind.name()).collect();
    let row = WebhookRow {
        attempts: 0,
        dead: 0,
        ended_at: None,
        error: None,
        id: id.clone(),
        made_at: core.clock.wall(),
        made_by: caller.principal().to_owned(),
        position: 0,
        tenant: caller.tenant().cloned(),
        types: types.join(" "),
        url,
    };
    let kept = secret.clone();
    let made = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            if webhooks::standing(tx, caller.tenant())? >= MAX_WEBHOOKS {
                let message = format!("at most {MAX_WEBHOOKS} webhooks stand at the same time");
                let hint = "end one: POST /v1/webhooks/{id}/end";
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "too_many_webhooks",
                    message,
                    hint,
                ));
            }
            webhooks::add(tx, &row, &kept, after)?;
            own(tx, &caller, &id)
        })
        .await?;
    tracing::info!(webhook = made.id, "webhook made");
    Ok((StatusCode::CREATED, Json(NewWebhook { made: json(made), secret })))
}

/// The subscribers, also those that were ended.
#[utoipa::path(
    get, operation_id = "list_webhooks", path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, description = "the subscribers", body = WebhookList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
) -> Result<Json<WebhookList>, ApiError> {
    let rows = core.store.read(move |tx| webhooks::all(tx, caller.tenant())).await?;
    Ok(Json(WebhookList { webhooks: rows.into_iter().map(json).collect() }))
}

/// Ends a subscriber: nothing is told to it any more.
#[utoipa::path(
    post, operation_id = "end_webhook", path = "/v1/webhooks/{id}/end", tag = "webhooks",
    params(("id" = String, Path, description = "the subscriber")),
    responses((status = 200, description = "the subscriber", body = WebhookJson), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn end(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<Json<WebhookJson>, ApiError> {
    let now = core.clock.wall();
    let ended = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            own(tx, &caller, &id)?;
            webhooks::end(tx, &id, now)?;
            own(tx, &caller, &id)
        })
        .await?;
    Ok(Json(json(ended)))
}

/// What a subscriber could not be told, in pages.
#[utoipa::path(
    get, operation_id = "list_dead_letters", path = "/v1/webhooks/{id}/dead-letters", tag = "webhooks",
    params(("id" = String, Path, description = "the subscriber"), DeadLetterQuery),
    responses((status = 200, description = "the dead letters", body = DeadLetterList), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn dead_letters(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    Params(query): Params<DeadLetterQuery>,
) -> Result<Json<DeadLetterList>, ApiError> {
    let limit = query.limit.unwrap_or(LETTERS).clamp(1, LETTERS);
    let letters = move |tx: &Connection| {
        own(tx, &caller, &id)?;
        Ok::<_, ApiError>(webhooks::letters(tx, &id, query.after, limit)?)
    };
    let rows = core.store.read(letters).await?;
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|row| row.position);
    Ok(Json(DeadLetterList { dead_letters: rows.into_iter().map(letter).collect(), next }))
}

/// Sends dead letters anew, before what is next for the subscriber.
#[utoipa::path(
    post, operation_id = "redeliver", path = "/v1/webhooks/{id}/redeliver", tag = "webhooks",
    params(("id" = String, Path, description = "the subscriber")), request_body = Option<RedeliveryRequest>,
    responses((status = 200, description = "how many", body = Redelivery), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn redeliver(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<RedeliveryRequest>,
) -> Result<Json<Redelivery>, ApiError> {
    let position = request.position;
    if position.is_some_and(|position| position < 1) {
        let hint = "GET /v1/webhooks/{id}/dead-letters lists them";
        return Err(ApiError::unfit("bad_position", "positions begin with 1", hint));
    }
    let waiting = core
        .store
        .write::<_, ApiError, _>(move |tx| {
            own(tx, &caller, &id)?;
            Ok(webhooks::redeliver(tx, &id, position)?)
        })
        .await?;
    Ok(Json(Redelivery { waiting }))
}

/// A subscriber that is there for the caller.
fn own(tx: &Connection, caller: &Caller, id: &str) -> Result<WebhookRow, ApiError> {
    webhooks::find(tx, caller.tenant(), id)?.ok_or_else(|| {
        let hint = "GET /v1/webhooks lists the webhooks";
        ApiError::missing("no_such_webhook", "there is no such webhook", hint)
    })
}

/// Where the address leads is judged when it is called; here only its form is.
fn fit(url: &str, in_the_clear: bool) -> Result<(), ApiError> {
    let wrong = |why: String| {
        let hint = "write https://HOST/PATH, without a user, a password or a fragment";
        ApiError::unfit("bad_url", why, hint)
    };
    if url.len() > MAX_URL {
        return Err(wrong(format!("an address has at most {MAX_URL} bytes")));
    }
    let parsed: Uri = url.parse().map_err(|error| wrong(format!("`{url}`: {error}")))?;
    match parsed.scheme_str() {
        Some("https") => {}
        Some("http") if in_the_clear => {}
        _ => return Err(wrong(format!("`{url}` does not begin with https://"))),
    }
    let host = parsed.host().filter(|host| !host.is_empty());
    if host.is_none() || parsed.authority().is_none_or(|it| it.as_str().contains('@')) {
        return Err(wrong(format!("`{url}` names no host alone")));
    }
    Ok(())
}

fn json(row: WebhookRow) -> WebhookJson {
    WebhookJson {
        attempts: row.attempts,
        dead_letters: row.dead,
        ended_at: row.ended_at,
        error: row.error,
        id: row.id,
        made_at: row.made_at,
        made_by: row.made_by,
        position: row.position,
        tenant: row.tenant,
        types: row.types.split_whitespace().map(str::to_owned).collect(),
        url: row.url,
    }
}

fn letter(row: LetterRow) -> DeadLetter {
    let LetterRow { attempts, died_at, error, position, state } = row;
    DeadLetter { attempts, died_at, error, position, state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_https_with_a_host_and_nobody_in_it() {
        for good in ["https://erp.example/hook?x=1", "https://10.0.0.1:8443", "https://[::1]/"] {
            assert!(fit(good, false).is_ok(), "{good}");
        }
        for bad in [
            "",
            "erp.example",
            "http://erp.example/",
            "ftp://x/",
            "https://",
            "https://u@x/",
            "https://u:p@x/",
            "file:///etc/passwd",
            "https:///x",
            "/x",
            "https://a b/",
        ] {
            assert!(fit(bad, false).is_err(), "{bad}");
        }
        assert!(fit("http://127.0.0.1:1/", true).is_ok());
        assert!(fit(&format!("https://x/{}", "a".repeat(MAX_URL)), false).is_err());
    }

    proptest! {
        #[test]
        fn whatever_address_is_given_is_taken_or_refused(text in "(https?://)?\\PC{0,40}") {
            let _ = fit(&text, true);
        }
    }
}
