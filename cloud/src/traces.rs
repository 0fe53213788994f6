//! Traces for OpenTelemetry: requests of the API, what they wrote, what they dispatched.
//!
//! Off unless configured. Spans of the target [`TARGET`] go, and nothing else of the log does, by
//! OTLP (protobuf over HTTP) to a collector. They wait in a queue of [`QUEUE`] for one thread that
//! sends them; when it is full they are dropped and counted, and nobody waits. What the collector
//! does not take is counted too, and not sent again: a trace is no record.

use crate::outgoing;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use prometheus_client::metrics::counter::Counter;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// The spans of this target are traces, and no part of the log.
pub const TARGET: &str = "nooterra_cloud::traces";

/// Spans that may wait to be sent: some seconds of requests at the full rate.
const QUEUE: usize = 4096;

/// Spans in one message to the collector.
const MOST_TOGETHER: usize = 512;

/// How long the first span of a message waits for others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the collector may take over a message.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the collector takes traces, when the address names no path (OTLP/HTTP §default).
const PATH: &str = "/v1/traces";

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The address is none of a collector.
    #[error("`{0}` is no address of a collector; write http://HOST:4318 or https://HOST:4318")]
    Address(String),
    /// The exporter cannot be made.
    #[error("traces: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// Nothing says which collectors are trusted.
    #[error("traces by https: cannot read the roots in {}: {source}; name others with --webhook-roots", file.display())]
    Roots {
        /// What was read.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The thread that sends cannot be started.
    #[error("traces: cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// How many spans went which way.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceFigures {
    /// The queue was full.
    pub(crate) dropped: Counter,
    /// The collector did not take them.
    pub(crate) failed: Counter,
    /// The collector took them.
    pub(crate) sent: Counter,
}

/// What sends traces to a collector.
#[derive(Clone, Debug)]
pub struct Traces {
    figures: TraceFigures,
    provider: SdkTracerProvider,
}

impl Traces {
    /// To the collector at `address`, whose server leads, by https, to the roots in the file
    /// `roots`.
    ///
    /// # Errors
    /// [`TracesError`], with what to write instead.
    pub fn new(address: &str, roots: &Path) -> Result<Self, TracesError> {
        let endpoint = endpoint(address)?;
        // Without TLS nobody needs to be trusted.
        let roots = if endpoint.to_ascii_lowercase().starts_with("https:") {
            let no = |source| TracesError::Roots { file: roots.to_owned(), source };
            outgoing::roots(roots).map_err(no)?
        } else {
            Vec::new()
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Http(outgoing::config(roots, TIMEOUT).new_agent()))
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT)
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let figures = TraceFigures::default();
        let queue = Queue::start(exporter, figures.clone())?;
        let resource = Resource::builder_empty()
            .with_service_name("nooterra-cloud")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            // Whoever sent a request decides whether its trace is kept; nobody else's is left out.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource)
            .build();
        Ok(Self { figures, provider })
    }

    /// What takes the spans from the subscriber of a program.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("nooterra-cloud"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Sends what waits, for a few seconds at the most, and takes nothing more.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(%error, "some traces were not sent");
        }
    }

    pub(crate) const fn figures(&self) -> &TraceFigures {
        &self.figures
    }
}

/// Where traces are sent.
fn endpoint(address: &str) -> Result<String, TracesError> {
    let no = || TracesError::Address(address.to_owned());
    let uri: axum::http::Uri = address.parse().map_err(|_| no())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        return Err(no());
    }
    let base = address.trim_end_matches('/');
    Ok(if uri.path() == "/" { format!("{base}{PATH}") } else { base.to_owned() })
}

/// What the sending thread is told.
enum Told {
    Flush(SyncSender<()>),
    Span(Box<SpanData>),
}

/// Spans on their way to the sending thread.
struct Queue<E> {
    /// Until it is handed to the thread, which begins with the first span.
    exporter: Arc<std::sync::Mutex<E>>,
    figures: TraceFigures,
    tell: SyncSender<Told>,
}

impl<E> fmt::Debug for Queue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("figures", &self.figures).finish_non_exhaustive()
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter + 'static> Queue<E> {
    fn start(exporter: E, figures: TraceFigures) -> Result<Self, TracesError> {
        let (tell, told) = sync_channel(QUEUE);
        let exporter = Arc::new(std::sync::Mutex::new(exporter));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(TracesError::Thread)?;
        let (shared, counted) = (exporter.clone(), figures.clone());
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || send(&shared, &told, &counted, &runtime))
            .map_err(TracesError::Thread)?;
        Ok(Self { exporter, figures, tell })
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter + 'static> SpanProcessor for Queue<E> {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.tell.try_send(Told::Span(Box::new(span))).is_err()
        {
            self.figures.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.shutdown_with_timeout(TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let until = Instant::now() + timeout;
        let (done, wait) = sync_channel(1);
        let mut told = Told::Flush(done);
        // The queue may be full of spans that wait for a collector.
        loop {
            match self.tell.try_send(told) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) if Instant::now() < until => {
                    told = again;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TrySendError::Full(_)) => return Err(OTelSdkError::Timeout(timeout)),
                Err(TrySendError::Disconnected(_)) => return Err(OTelSdkError::AlreadyShutdown),
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        wait.recv_timeout(left).map_err(|_| OTelSdkError::Timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        let mut exporter = self.exporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        exporter.set_resource(resource);
    }
}

/// Sends spans, many in one message, until nobody has any more.
fn send<E: opentelemetry_sdk::trace::SpanExporter>(
    exporter: &std::sync::Mutex<E>,
    told: &Receiver<Told>,
    figures: &TraceFigures,
    runtime: &tokio::runtime::Runtime,
) {
    let mut together = Vec::new();
    let mut until = Instant::now();
    loop {
        let wait = if together.is_empty() {
            told.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            told.recv_timeout(until.saturating_duration_since(Instant::now()))
        };
        let mut flushed = None;
        let mut over = false;
        match wait {
            Ok(Told::Span(span)) => {
                if together.is_empty() {
                    until = Instant::now() + PATIENCE;
                }
                together.push(*span);
                if together.len() < MOST_TOGETHER {
                    continue;
                }
            }
            Ok(Told::Flush(done)) => flushed = Some(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => over = true,
        }
        if !together.is_empty() {
            let batch = std::mem::take(&mut together);
            let count = batch.len() as u64;
            let exporter = exporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match runtime.block_on(exporter.export(batch)) {
                Ok(()) => {
                    figures.sent.inc_by(count);
                }
                Err(error) => {
                    figures.failed.inc_by(count);
                    tracing::debug!(%error, count, "the collector did not take traces");
                }
            }
        }
        if let Some(done) = flushed {
            // Who no longer waits is not told.
            let _ = done.try_send(());
        }
        if over {
            return;
        }
    }
}

/// HTTP by the client that the rest of the cloud has; it blocks the sending thread only.
#[derive(Debug)]
struct Http(ureq::Agent);

impl HttpClient for Http {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = self.0.run(Request::from_parts(parts, body.as_ref()))?;
            let (parts, body) = answer.into_parts();
            let body = body.into_with_config().limit(64 * 1024).read_to_vec()?;
            Ok(Response::from_parts(parts, Bytes::from(body)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
    use std::sync::{Condvar, Mutex};

    /// Takes a message only when it is let to, and counts spans.
    #[derive(Clone, Debug, Default)]
    struct Slow(Arc<(Mutex<(bool, usize)>, Condvar)>);

    impl opentelemetry_sdk::trace::SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let (state, changed) = &*self.0;
            let mut state = changed.wait_while(state.lock().unwrap(), |it| !it.0).unwrap();
            state.1 += batch.len();
            Ok(())
        }
    }

    #[test]
    fn what_the_queue_cannot_hold_is_dropped_and_counted_and_nobody_waits() {
        let (slow, figures) = (Slow::default(), TraceFigures::default());
        let queue = Queue::start(slow.clone(), figures.clone()).unwrap();
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        let all = 2 * (QUEUE + MOST_TOGETHER) as u64;
        for _ in 0..all {
            tracer.in_span("span", |context| assert!(context.span().is_recording()));
        }
        let dropped = figures.dropped.get();
        assert!(dropped >= QUEUE as u64, "{dropped}");
        let (state, changed) = &*slow.0;
        state.lock().unwrap().0 = true;
        changed.notify_all();
        provider.shutdown().unwrap();
        assert_eq!(state.lock().unwrap().1 as u64, all - dropped);
        assert_eq!((figures.sent.get(), figures.failed.get()), (all - dropped, 0));
    }

    #[test]
    fn a_collector_by_https_needs_roots_that_can_be_read_and_one_by_http_none() {
        let missing = Path::new("no-such-roots.pem");
        for address in ["https://collector:4318", "HTTPS://collector:4318"] {
            let refused = Traces::new(address, missing).err().unwrap().to_string();
            assert!(refused.contains("no-such-roots.pem: ") && refused.contains("--webhook-roots"));
        }
        assert!(Traces::new("http://collector:4318", missing).is_ok());
    }

    #[test]
    fn a_collector_is_named_by_its_address_and_has_a_usual_path() {
        for (address, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("https://collector/", "https://collector/v1/traces"),
            ("https://collector/otlp/traces", "https://collector/otlp/traces"),
        ] {
            assert_eq!(endpoint(address).unwrap(), expected);
        }
        for bad in ["", "collector", "grpc://collector:4317", "http://", "/v1/traces", "http://a b"]
        {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
