//! Requests that change something: done once however often they are sent, and only while what
//! they are about is as their sender last saw it.
//!
//! `Idempotency-Key` names a request. Its first answer is kept in the transaction that did what
//! was asked, for 24 hours, and the same request gets it again. A refusal changed nothing and is
//! not kept: sent again, the request is judged anew. `If-Match` names the state that the sender
//! saw, by the `ETag` of an earlier answer.

use super::auth::Caller;
use super::error::ApiError;
use crate::store::answers::{self, Kept};
use crate::store::{Connection, StoreError};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::time::WallMillis;
use serde::Serialize;
use std::convert::Infallible;

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in characters.
const MAX_KEY: usize = 128;

/// What a request says of itself beside its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// The states that the sender takes; any without.
    expected: Option<Vec<Digest>>,
    /// The request's name and the SHA-256 of all of it.
    key: Option<(String, Digest)>,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    body: String,
    etag: Option<Digest>,
    replayed: bool,
    status: StatusCode,
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Reads what a request says of itself, which takes its whole body.
pub(crate) async fn mark(request: Request, next: Next) -> Response {
    match read(request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn read(request: Request) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let expected = tags(&parts.headers, &IF_MATCH)?;
    let Some(key) = parts.headers.get(&IDEMPOTENCY_KEY) else {
        parts.extensions.insert(Call { expected, key: None });
        return Ok(Request::from_parts(parts, body));
    };
    let key = key.to_str().ok().filter(|key| {
        (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let key = key.map(str::to_owned).ok_or_else(|| {
        let message = format!("an Idempotency-Key has 1 to {MAX_KEY} visible ASCII characters");
        ApiError::bad("bad_idempotency_key", message, "a fresh UUID for each request will do")
    })?;
    // Of whoever holds a token of their own: what one was answered is nothing to another.
    let of = parts.extensions.get::<Caller>().and_then(|caller| caller.grant.as_ref());
    let key = match of {
        Some(grant) => format!("{}/{}/{key}", grant.tenant_name(), grant.principal),
        None => key,
    };
    let body = axum::body::to_bytes(body, super::MAX_BODY_BYTES).await.map_err(|_| {
        let message = "the request body is larger than this path takes";
        let hint = "send less in one request";
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, hint)
    })?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let all = [parts.method.as_str().as_bytes(), b" ", target.as_bytes(), b"\n", &body];
    let request = Digest::of_parts(&all);
    parts.extensions.insert(Call { expected, key: Some((key, request)) });
    Ok(Request::from_parts(parts, Body::from(body)))
}

impl Call {
    /// The answer to this request, where it was given already.
    pub(crate) fn known(
        &self,
        tx: &Connection,
        now: WallMillis,
    ) -> Result<Option<Answer>, ApiError> {
        let Some((key, request)) = &self.key else { return Ok(None) };
        let Some(Kept { body, request: first, status }) = answers::find(tx, key, now)? else {
            return Ok(None);
        };
        if first != *request {
            return Err(ApiError::unfit(
                "idempotency_key_reused",
                "this Idempotency-Key came with another request before",
                "take a fresh key for each request; send a request again only as it was",
            ));
        }
        let status = StatusCode::from_u16(status)
            .map_err(|e| StoreError::damaged("the status of an answer", e))?;
        Ok(Some(Answer { body, etag: None, replayed: true, status }))
    }

    /// Refuses unless the sender saw what has this head now.
    pub(crate) fn expect(&self, head: Digest) -> Result<(), ApiError> {
        match &self.expected {
            Some(expected) if !expected.contains(&head) => Err(ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "head_moved",
                format!("something has happened since: the head is {head} now"),
                "read it again, decide again, and send its ETag as If-Match",
            )),
            _ => Ok(()),
        }
    }

    /// Answers with `body`, and keeps the answer in the same transaction.
    pub(crate) fn answer<T: Serialize>(
        &self,
        tx: &Connection,
        status: StatusCode,
        body: &T,
        now: WallMillis,
    ) -> Result<Answer, ApiError> {
        let body = serde_json::to_string(body).map_err(|e| StoreError::damaged("an answer", e))?;
        if let Some((key, request)) = &self.key {
            let kept = Kept { body: body.clone(), request: *request, status: status.as_u16() };
            answers::keep(tx, key, &kept, now)?;
        }
        Ok(Answer { body, etag: None, replayed: false, status })
    }
}

impl Answer {
    /// Says which state it shows.
    pub(crate) const fn of(mut self, head: Digest) -> Self {
        self.etag = Some(head);
        self
    }
}

impl axum::response::IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.replayed {
            headers.insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(head) = self.etag {
            headers.insert(ETAG, etag(head));
        }
        response
    }
}

/// Something that was read, with its `ETag`; only that where the reader has it already.
pub(crate) fn seen<T: Serialize>(
    headers: &HeaderMap,
    head: Digest,
    body: &T,
) -> Result<Response, ApiError> {
    if is_known(headers, head)? {
        return Ok(tagged(StatusCode::NOT_MODIFIED, head));
    }
    Ok(tagged(axum::Json(body), head))
}

/// The reader of something has it already: its `If-None-Match` names it.
pub(crate) fn is_known(headers: &HeaderMap, head: Digest) -> Result<bool, ApiError> {
    Ok(tags(headers, &IF_NONE_MATCH)?.is_some_and(|known| known.contains(&head)))
}

/// An answer with the `ETag` of what it shows.
pub(crate) fn tagged(answer: impl axum::response::IntoResponse, head: Digest) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(ETAG, etag(head));
    response
}

fn etag(head: Digest) -> HeaderValue {
    // 64 hexadecimal digits in quotes always are a header's value.
    HeaderValue::from_str(&format!("\"{head}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The entity tags of a header (RFC 9110 §8.8.3); none where it is missing or `*`.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<Digest>>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let bad = || {
        let hint = "send the ETag of an earlier answer as it was, quotes included";
        ApiError::bad("bad_etag", format!("{name} holds no entity tag of this cloud"), hint)
    };
    let value = value.to_str().map_err(|_| bad())?.trim();
    if value == "*" {
        return Ok(None);
    }
    let tag = |text: &str| {
        let digits = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        Digest::from_hex(digits)
    };
    value.split(',').map(tag).collect::<Option<Vec<_>>>().map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_read_as_they_were_sent() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_str(text).unwrap());
            tags(&headers, &IF_MATCH).map_err(|_| ())
        };
        assert_eq!(etag(one), format!("\"{one}\"").as_str());
        assert_eq!(read(&format!("\"{one}\", \"{two}\"")), Ok(Some(vec![one, two])));
        assert_eq!(read("*"), Ok(None));
        for bad in [one.to_string(), format!("W/\"{one}\""), "\"\"".to_owned(), "\"".to_owned()] {
            assert_eq!(read(&bad), Err(()), "{bad}");
        }
        assert_eq!(tags(&HeaderMap::new(), &IF_MATCH).map_err(|_| ()), Ok(None));
    }
}
