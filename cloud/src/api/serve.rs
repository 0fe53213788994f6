//! One HTTP connection.

use super::auth::Peer;
use super::error::ApiError;
use super::linger::Lingering;
use crate::core::Core;
use crate::tls::{self, Accepted};
use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a client may take over the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection without a client certificate lasts this long at most.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(3600);

/// Says when the cloud stops, to answers that would go on for ever.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(pub(crate) watch::Receiver<bool>);

/// Serves requests on one connection until either side ends it, its certificate's time is
/// over, or the cloud stops.
pub(crate) async fn serve(
    core: Arc<Core>,
    router: Router,
    accepted: Accepted,
    mut stop: watch::Receiver<bool>,
) {
    let Accepted { identity, peer, service, stream } = accepted;
    let robots = identity.as_ref().map(|identity| identity.not_after);
    let not_after = robots.or(service.as_ref().map(|service| service.not_after));
    let lifetime = not_after.map_or(CONNECTION_LIFETIME, |not_after| {
        let left = not_after.millis_since(core.clock.wall());
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(CONNECTION_LIFETIME)
    });
    let router = router
        .layer(Extension(Peer { robot: identity.map(Arc::new), service: service.map(Arc::new) }))
        .layer(Extension(Stopping(stop.clone())));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(Lingering::new(stream)), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(lifetime) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = tls::stopping(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Ends requests that take too long: a client that sends its body drop by drop, mostly.
pub(crate) async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request took too long",
            "send it again; what was not confirmed may have been done",
        )
        .into_response(),
    }
}
