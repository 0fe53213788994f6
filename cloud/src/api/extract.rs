//! Requests as checked values: every way to be wrong ends in the same form of error.

use super::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{EnvelopeId, JobId, RobotId};
use serde::de::DeserializeOwned;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be left out.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// The query of the URL.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        json(&bytes(request, state).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { json(&bytes).map(Self) }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => {
                let hint = "GET /v1/openapi.json lists the parameters of every path";
                Err(ApiError::bad("bad_query", error.body_text(), hint))
            }
        }
    }
}

/// The largest body that is read only to be refused politely, bytes.
const MAX_DROPPED_BYTES: usize = 4 * 1024 * 1024;

/// The largest body of a route, bytes; what axum counts as the body comes in is set beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit(pub(crate) usize);

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = "the request body is larger than this path takes";
        let hint = "send less in one request";
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, hint)
    };
    // A client that says beforehand how much it will send need not send all of it to be refused.
    let declared = request.headers().get(CONTENT_LENGTH);
    let declared: Option<usize> = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    let limit = request.extensions().get::<BodyLimit>().map_or(usize::MAX, |limit| limit.0);
    if declared.is_some_and(|declared| declared > limit) {
        // Most clients read the answer only after they sent everything, and a closed
        // connection would be all that they see: so a moderate excess is let in and dropped.
        if declared.is_some_and(|declared| declared <= MAX_DROPPED_BYTES) {
            let _ = axum::body::to_bytes(request.into_body(), MAX_DROPPED_BYTES).await;
        }
        return Err(too_large());
    }
    Bytes::from_request(request, state).await.map_err(|error| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large()
        } else {
            ApiError::bad("bad_body", error.body_text(), "send the request again")
        }
    })
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let hint = "send JSON with the keys that GET /v1/openapi.json lists for this path";
        ApiError::bad("bad_json", format!("the request body does not fit: {error}"), hint)
    })
}

/// A robot's id in a path.
pub(crate) fn robot_id(text: &str) -> Result<RobotId, ApiError> {
    RobotId::new(text).map_err(|error| {
        ApiError::missing("no_such_robot", error.to_string(), "GET /v1/robots lists the robots")
    })
}

/// A job's id in a path.
pub(crate) fn job_id(text: &str) -> Result<JobId, ApiError> {
    JobId::new(text).map_err(|error| {
        ApiError::missing("no_such_job", error.to_string(), "GET /v1/jobs lists the jobs")
    })
}

/// A command's id in a path.
pub(crate) fn command_id(text: &str) -> Result<EnvelopeId, ApiError> {
    EnvelopeId::new(text).map_err(|error| {
        let hint = "GET /v1/robots/{id}/commands lists the commands of a robot";
        ApiError::missing("no_such_command", error.to_string(), hint)
    })
}

/// A bundle's digest in a path.
pub(crate) fn bundle_digest(text: &str) -> Result<Digest, ApiError> {
    Digest::from_hex(text).ok_or_else(|| {
        let message = "a digest has 64 hexadecimal digits";
        ApiError::missing("no_such_skill", message, "GET /v1/skills lists the skills")
    })
}
