//! What happened, over all streams: in pages, and as it happens.
//!
//! A follower holds one number, the position of the last event that it has dealt with. It is
//! never pushed more than it reads: whoever is slow reads pages from the store, later.

use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::extract::Params;
use super::json::EventJson;
use super::serve::Stopping;
use crate::access::{Followed, Tenant};
use crate::core::Core;
use crate::store::jobs;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::{Extension, Json};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};

/// Events in one page, unless asked otherwise.
const PAGE: u32 = 200;

/// Events in one page at the most.
const MAX_PAGE: u32 = 1000;

/// Events that a follower's connection holds at once.
const AHEAD: u32 = 64;

/// Set by browsers and libraries when they connect again.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedQuery {
    /// Only events after this position; 0 for all.
    after: i64,
    /// At most so many, up to 1000; 200 unless given. Without meaning for a stream.
    limit: Option<u32>,
    /// Only events of this stream, such as `job.{id}`.
    stream: Option<String>,
    /// Only events of this type, such as `EXECUTION_COMPLETED`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
}

/// Events of all streams, in the order in which they got their places.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedPage {
    events: Vec<EventJson>,
    /// What `after` takes to go on.
    next: i64,
}

/// What happened, in pages.
#[utoipa::path(
    get, operation_id = "list_events", path = "/v1/events", tag = "events",
    params(FeedQuery),
    responses((status = 200, description = "the events", body = FeedPage), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn list(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Params(query): Params<FeedQuery>,
) -> Result<Json<FeedPage>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let after = query.after;
    let events = page(&core, query, limit, caller.tenant().cloned()).await?;
    let next = events.last().map_or(after, |event| event.position);
    Ok(Json(FeedPage { events, next }))
}

/// What happens, as it happens: server-sent events. Each has its position as `id`, its type as
/// `event`, and as `data` what the pages say of it. A client that connects again with
/// `Last-Event-ID` misses nothing and gets nothing twice.
#[utoipa::path(
    get, operation_id = "follow_events", path = "/v1/events/stream", tag = "events",
    params(FeedQuery, ("last-event-id" = Option<i64>, Header, description = "in place of `after`")),
    responses((status = 200, description = "the events, without an end", body = String, content_type = "text/event-stream"), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn follow(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Extension(Stopping(stop)): Extension<Stopping>,
    headers: HeaderMap,
    Params(mut query): Params<FeedQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, ApiError> {
    query.after = last_event_id(&headers)?.unwrap_or(query.after);
    let followed = caller.follow(&core)?;
    let commits = core.store.commits();
    let ahead = VecDeque::new();
    let follower = Follower { ahead, caller, commits, core, _followed: followed, query, stop };
    let events = unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        let id = event.position.to_string();
        let sent = Event::default().id(id).event(event.kind.name()).json_data(&event);
        Some((sent, follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Where a client that connects again goes on.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(last) = headers.get(&LAST_EVENT_ID) else { return Ok(None) };
    let last = last.to_str().ok().and_then(|text| text.trim().parse().ok());
    last.map(Some).ok_or_else(|| {
        let hint = "send the id of the last event that was dealt with, or leave it out";
        ApiError::bad("bad_last_event_id", "Last-Event-ID is no position", hint)
    })
}

/// One connection that follows.
struct Follower {
    ahead: VecDeque<EventJson>,
    caller: Caller,
    commits: watch::Receiver<u64>,
    core: Arc<Core>,
    _followed: Option<Followed>,
    query: FeedQuery,
    stop: watch::Receiver<bool>,
}

impl Follower {
    /// Waits for the next event; none when the cloud stops, the token is over or the store cannot
    /// be read: the client connects again, and goes on where it was.
    async fn next(&mut self) -> Option<EventJson> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                self.query.after = event.position;
                return Some(event);
            }
            // First, so that what is committed from here on is noticed.
            self.commits.borrow_and_update();
            if !self.caller.stands(&self.core).await {
                return None;
            }
            let tenant = self.caller.tenant().cloned();
            match page(&self.core, self.query.clone(), AHEAD, tenant).await {
                Ok(page) if !page.is_empty() => self.ahead.extend(page),
                Ok(_) => {
                    tokio::select! {
                        () = crate::tls::stopping(&mut self.stop) => return None,
                        changed = self.commits.changed() => changed.ok()?,
                    }
                }
                Err(_) => return None,
            }
        }
    }
}

async fn page(
    core: &Core,
    query: FeedQuery,
    limit: u32,
    tenant: Option<Tenant>,
) -> Result<Vec<EventJson>, ApiError> {
    let FeedQuery { after, kind, stream, .. } = query;
    let filter = jobs::Feed { after, kind, limit, stream, tenant };
    let rows = core.store.read(move |tx| jobs::feed(tx, &filter)).await?;
    rows.into_iter().map(EventJson::new).collect()
}
