//! What operators see of the API: whether it can work, how much it does, and which request a
//! line of the log is about.

use super::auth::Admin;
use super::error::{ApiError, Problem};
use crate::core::Core;
use crate::store::StoreError;
use crate::traces::{TARGET, TraceFigures};
use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use utoipa::ToSchema;

/// A store that does not commit for so long is not ready.
const COMMITS_WITHIN: Duration = Duration::from_secs(2);

/// The longest request id that is taken over from a request, in characters.
const MAX_REQUEST_ID: usize = 64;

/// Upper ends of the classes of durations, seconds.
const SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is counted under. Paths are those of the document, not of requests, so that
/// nobody can make up more of them.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Route {
    method: String,
    path: String,
}

/// A route and how its requests ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Ended {
    method: String,
    path: String,
    status: u16,
}

/// The figures of one cloud.
#[derive(Debug)]
pub(crate) struct Figures {
    commits: Gauge,
    durations: Family<Route, Histogram>,
    facts: Gauge,
    registry: Registry,
    requests: Family<Ended, Counter>,
    robots: Gauge,
    /// How often it was looked for subscribers that have something to be told.
    pub(crate) webhook_looks: Counter,
}

impl Figures {
    /// With those of traces, where there are any.
    pub(crate) fn new(traces: Option<&TraceFigures>) -> Self {
        let mut registry = Registry::with_prefix("nooterra");
        let classes: fn() -> Histogram = || Histogram::new(SECONDS);
        let durations = Family::new_with_constructor(classes);
        let (commits, facts, robots) = (Gauge::default(), Gauge::default(), Gauge::default());
        let requests = Family::<Ended, Counter>::default();
        let said = "How long requests took, until their answer began, seconds";
        registry.register("http_request_seconds", said, durations.clone());
        registry.register("http_requests", "Requests that were answered", requests.clone());
        let said = "Transactions of the store since the process started, many changes in one";
        registry.register("store_commits", said, commits.clone());
        registry.register("facts", "Facts in all streams", facts.clone());
        registry.register("robots_online", "Robots with a live connection", robots.clone());
        let webhook_looks = Counter::default();
        let said = "Looks for subscribers that there is something to tell";
        registry.register("webhook_looks", said, webhook_looks.clone());
        if let Some(TraceFigures { dropped, failed, sent }) = traces {
            let said = "Spans that the queue to the collector could not hold";
            registry.register("trace_spans_dropped", said, dropped.clone());
            let said = "Spans that the collector did not take";
            registry.register("trace_spans_failed", said, failed.clone());
            registry.register("trace_spans_sent", "Spans that the collector took", sent.clone());
        }
        Self { commits, durations, facts, registry, requests, robots, webhook_looks }
    }
}

/// The process can work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Always `ready`.
    status: &'static str,
}

/// Whether the store commits.
#[utoipa::path(
    get, operation_id = "ready", path = "/readyz",
    responses((status = 200, description = "the store commits", body = Ready), (status = 503, description = "it does not", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn ready(State(core): State<Arc<Core>>) -> Result<Json<Ready>, ApiError> {
    let commit = core.store.write::<_, StoreError, _>(|_| Ok(()));
    let why = match tokio::time::timeout(COMMITS_WITHIN, commit).await {
        Ok(Ok(())) => return Ok(Json(Ready { status: "ready" })),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the store has not committed in time".to_owned(),
    };
    let hint = "look at the cloud's log and at its disk";
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why, hint))
}

/// Figures in the format of OpenMetrics, which Prometheus reads.
#[utoipa::path(
    get, operation_id = "metrics", path = "/metrics",
    responses((status = 200, description = "the figures", body = String, content_type = "application/openmetrics-text"), (status = "4XX", description = "refused, with the reason", body = Problem, content_type = "application/problem+json")),
)]
pub(crate) async fn metrics(_: Admin, State(core): State<Arc<Core>>) -> Result<Response, ApiError> {
    let figures = &core.figures;
    let facts = core.store.read(crate::store::jobs::count).await?;
    figures.facts.set(facts);
    figures.commits.set(i64::try_from(*core.store.commits().borrow()).unwrap_or(i64::MAX));
    figures.robots.set(i64::try_from(core.registry.online()).unwrap_or(i64::MAX));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &figures.registry)
        .map_err(|e| StoreError::damaged("the figures", e))?;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, media_type)], text).into_response())
}

/// What a request is called, in its answer, in the log and in the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

/// Names, counts and times each request.
pub(crate) async fn each(
    State(core): State<Arc<Core>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().as_str().to_owned();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let id = request.headers().get(&REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    let id = id.cloned().unwrap_or_else(fresh);
    request.extensions_mut().insert(RequestId(id.clone()));
    let logged = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let traced = traced(&method, path.as_deref(), &id, request.headers());
    // The trace inside, so that what the request does is its child.
    let answer = next.run(request).instrument(traced.clone());
    let mut response = answer.instrument(logged).await;
    let status = response.status();
    traced.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        traced.record("otel.status_code", "ERROR");
    }
    drop(traced);
    response.headers_mut().insert(&REQUEST_ID, id);
    // A method beyond those of the document is counted with all that found no path.
    if let Some(path) = path.filter(|_| response.status() != StatusCode::METHOD_NOT_ALLOWED) {
        let route = Route { method, path };
        core.figures.durations.get_or_create(&route).observe(started.elapsed().as_secs_f64());
        let Route { method, path } = route;
        let ended = Ended { method, path, status: response.status().as_u16() };
        core.figures.requests.get_or_create(&ended).inc();
    } else {
        let ended = Ended {
            method: "other".to_owned(),
            path: "other".to_owned(),
            status: response.status().as_u16(),
        };
        core.figures.requests.get_or_create(&ended).inc();
    }
    response
}

/// The trace of a request, which goes on from the sender's where it came with `traceparent`
/// (W3C Trace Context). No query is in it, and nothing of the body.
fn traced(method: &str, path: Option<&str>, id: &HeaderValue, headers: &HeaderMap) -> Span {
    let path = path.unwrap_or("other");
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        http.request.method = method,
        http.response.status_code = Empty,
        http.route = path,
        nooterra.request_id = id.to_str().unwrap_or_default(),
        otel.kind = "server",
        otel.name = format_args!("{method} {path}"),
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        let sender = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // It fails where nobody takes traces.
        let _ = span.set_parent(sender);
    }
    span
}

/// A request id that nobody else has; a constant where the system gives no random bytes, which
/// only costs a line in the log its name.
fn fresh() -> HeaderValue {
    let id = crate::jobs::new_id("req").ok().and_then(|id| HeaderValue::from_str(&id).ok());
    id.unwrap_or(HeaderValue::from_static("req"))
}
