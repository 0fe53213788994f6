//! A robot as it is watched: the newest of its journal, then what arrives.
//!
//! Whoever watches holds one cursor. Nothing is queued for a watcher: who reads slowly reads
//! pages from the store, later, and one that has fallen far behind is shown the newest again
//! instead of what it missed. The records stay where they are; this is no place to prove from.

use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::feed::last_event_id;
use super::json::RecordJson;
use super::robots::load;
use super::serve::Stopping;
use crate::access::Followed;
use crate::core::Core;
use crate::store::StoreError;
use crate::store::live;
use crate::store::records::RecordRow;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{Stream, unfold};
use nooterra_protocol::ids::RobotId;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// Records that a watcher's connection holds at once.
const AHEAD: u32 = 128;

/// A watcher that is further behind is shown the newest again.
const MAX_BEHIND: u32 = 1024;

/// What is shown first, by kind: how many of the newest. Each kind that people look at is here,
/// so that a page that was opened late says the same as one that was open all the time.
const FIRST: [(&str, u32); 17] = [
    ("boot", 1),
    ("checkpoint", 1),
    ("command_received", 20),
    ("command_refused", 10),
    ("crash", 3),
    ("fact", 5),
    ("flight_note", 5),
    ("gap", 10),
    ("link", 3),
    ("policy_step", 3),
    ("sample", 600),
    ("sensor_gated", 1),
    ("skill_checked", 5),
    ("skill_install", 5),
    ("skill_step", 10),
    ("stop", 10),
    ("verdict", 60),
];

/// Server-sent events. An event `start` says that what was shown is to be forgotten; the newest
/// records follow it, then those that arrive, each with its cursor as `id`, its kind as `event`
/// and as `data` what `/records` says of it, except kinds that only programs read (`flight`,
/// `policy`, `shadow`, `skill_input`). A client that connects again with `Last-Event-ID` goes on
/// after it, unless it missed so much that it is shown the newest again.
#[utoipa::path(
    get, operation_id = "watch_robot", path = "/v1/robots/{id}/live", tag = "robots",
    params(("id" = String, Path, description = "the robot"), ("last-event-id" = Option<i64>, Header, description = "the cursor to go on after")),
    responses((status = 200, description = "the records, without an end", body = String, content_type = "text/event-stream"), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn watch(
    caller: Caller,
    State(core): State<Arc<Core>>,
    Extension(Stopping(stop)): Extension<Stopping>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, ApiError> {
    let robot = load(&core, &id).await?.id;
    let after = last_event_id(&headers)?;
    let followed = caller.follow(&core)?;
    let (ahead, commits) = (VecDeque::new(), core.store.commits());
    let watcher = Watcher { after, ahead, caller, commits, core, _followed: followed, robot, stop };
    let events = unfold(watcher, |mut watcher| async move {
        let sent = match watcher.next().await? {
            Shown::Start => Event::default().event("start").json_data(serde_json::json!({})),
            Shown::Record(record) => {
                let id = record.cursor.to_string();
                Event::default().id(id).event(&record.kind).json_data(&*record)
            }
        };
        Some((sent, watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

enum Shown {
    Record(Box<RecordJson>),
    Start,
}

/// One connection that watches.
struct Watcher {
    /// None before the newest was shown.
    after: Option<i64>,
    ahead: VecDeque<Shown>,
    caller: Caller,
    commits: watch::Receiver<u64>,
    core: Arc<Core>,
    _followed: Option<Followed>,
    robot: RobotId,
    stop: watch::Receiver<bool>,
}

impl Watcher {
    /// Waits for what is shown next; none when the cloud stops, the token is over or the store
    /// cannot be read: the client connects again.
    async fn next(&mut self) -> Option<Shown> {
        loop {
            if let Some(shown) = self.ahead.pop_front() {
                return Some(shown);
            }
            // First, so that what is committed from here on is noticed.
            self.commits.borrow_and_update();
            if !self.caller.stands(&self.core).await {
                return None;
            }
            let (robot, after) = (self.robot.clone(), self.after);
            let page = self.core.store.read(move |tx| page(tx, &robot, after)).await.ok()?;
            self.after = Some(page.through);
            if page.anew {
                self.ahead.push_back(Shown::Start);
            }
            // A record that cannot be read is not shown; it stays in the store for who asks.
            let readable = page.rows.into_iter().filter_map(|row| RecordJson::new(row).ok());
            self.ahead.extend(readable.map(|record| Shown::Record(Box::new(record))));
            if self.ahead.is_empty() {
                tokio::select! {
                    () = crate::tls::stopping(&mut self.stop) => return None,
                    changed = self.commits.changed() => changed.ok()?,
                }
            }
        }
    }
}

struct Page {
    anew: bool,
    rows: Vec<RecordRow>,
    /// All up to this cursor was dealt with.
    through: i64,
}

fn page(
    tx: &crate::store::Connection,
    robot: &RobotId,
    after: Option<i64>,
) -> Result<Page, StoreError> {
    if let Some(after) = after {
        let rows = live::after(tx, robot, after, AHEAD)?;
        let through = rows.last().map_or(after, |row| row.cursor);
        let full = rows.len() >= AHEAD as usize;
        if !full || !live::is_behind(tx, robot, after, MAX_BEHIND)? {
            return Ok(Page { anew: false, rows, through });
        }
    }
    let mut rows = Vec::new();
    for (kind, limit) in FIRST {
        rows.extend(live::newest(tx, robot, kind, limit)?);
    }
    rows.sort_unstable_by_key(|row| row.cursor);
    let through = rows.last().map_or(0, |row| row.cursor);
    Ok(Page { anew: true, rows, through })
}
