//! One request: what it says of itself, how it is sent, what its answer is.

use crate::answer::{Answer, FromBody, Tag};
use crate::client::Client;
use crate::error::{ClientError, Refusal};
use crate::types::Problem;
use serde::Serialize;
use serde_json::Value;
use std::marker::PhantomData;
use std::time::Duration;
use ureq::http::{HeaderMap, Request, Response};

/// The largest answer that is read, bytes: a bundle has at most half of it.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// Whether a request may be sent again when no answer came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeat {
    /// It only reads, or doing it twice comes to the same.
    Always,
    /// Under one `Idempotency-Key` the cloud does it once.
    Keyed,
    /// Each time it does something more.
    Never,
}

/// A request that was not sent yet.
#[derive(Debug)]
#[must_use = "nothing is asked before `send`"]
pub struct Call<'c, T> {
    answer: PhantomData<fn() -> T>,
    body: Option<Result<Vec<u8>, String>>,
    client: &'c Client,
    if_match: Option<Tag>,
    if_none_match: Option<Tag>,
    key: Option<String>,
    method: &'static str,
    path: String,
    pub(crate) query: Vec<(String, String)>,
    repeat: Repeat,
    request_id: Option<String>,
}

/// What came back.
struct Raw {
    body: Vec<u8>,
    headers: HeaderMap,
    request_id: String,
    status: u16,
}

impl<'c, T> Call<'c, T> {
    pub(crate) fn new(
        client: &'c Client,
        method: &'static str,
        path: String,
        repeat: Repeat,
    ) -> Self {
        Self {
            answer: PhantomData,
            body: None,
            client,
            if_match: None,
            if_none_match: None,
            key: None,
            method,
            path,
            query: Vec::new(),
            repeat,
            request_id: None,
        }
    }

    pub(crate) fn get(client: &'c Client, path: String) -> Self {
        Self::new(client, "GET", path, Repeat::Always)
    }

    /// With a body, whose fields that are `None` are left out.
    pub(crate) fn with_body<B: Serialize>(mut self, body: &B) -> Self {
        let json = serde_json::to_value(body).map(without_nulls);
        let bytes = json.and_then(|json| serde_json::to_vec(&json));
        self.body = Some(bytes.map_err(|error| error.to_string()));
        self
    }

    /// With JSON as its body, as it is: what a person wrote, in place of what has a type here.
    pub fn json(mut self, body: &Value) -> Self {
        self.body = Some(serde_json::to_vec(body).map_err(|error| error.to_string()));
        self
    }

    /// With the fields of a query that are not `None`.
    pub(crate) fn with_query<Q: Serialize>(mut self, query: &Q) -> Self {
        // A query is a structure of texts and numbers, which has a JSON form.
        if let Ok(Value::Object(fields)) = serde_json::to_value(query) {
            for (name, value) in fields {
                let text = match value {
                    Value::Null => continue,
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                self.query.push((name, text));
            }
        }
        self
    }

    /// With one more parameter, in place of another of that name.
    pub fn parameter(mut self, name: &str, value: impl ToString) -> Self {
        self.query.retain(|(known, _)| known != name);
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Under this `Idempotency-Key`, 1 to 128 visible ASCII characters, instead of a fresh one:
    /// whoever keeps it may ask again after a crash and gets the first answer, for 24 hours. Only
    /// calls about jobs, commands and roll-outs take one; see [`crate::Operation::repeat`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only while what it is about is in this state; else `head_moved`.
    pub const fn if_match(mut self, tag: Tag) -> Self {
        self.if_match = Some(tag);
        self
    }

    /// Under this name, 1 to 64 visible ASCII characters, in the cloud's log and audit trail.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Reads it as another type: what this release has no type for.
    pub fn read_as<U>(self) -> Call<'c, U> {
        let Self { body, client, if_match, if_none_match, key, method, path, query, .. } = self;
        let (repeat, request_id) = (self.repeat, self.request_id);
        Call {
            answer: PhantomData,
            body,
            client,
            if_match,
            if_none_match,
            key,
            method,
            path,
            query,
            repeat,
            request_id,
        }
    }

    /// Method and path.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) const fn client(&self) -> &'c Client {
        self.client
    }

    pub(crate) fn target(&self) -> String {
        target(&self.path, &self.query)
    }

    /// Sends it, again where that is safe ([`crate::Retry`]), and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the cloud's problem, or why there is no answer.
    pub fn send(&self) -> Result<Answer<T>, ClientError>
    where
        T: FromBody,
    {
        self.read(self.exchange()?)
    }

    /// As [`Self::send`], but nothing where what was asked for is in this state still.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub fn send_if_changed(mut self, since: Tag) -> Result<Option<Answer<T>>, ClientError>
    where
        T: FromBody,
    {
        self.if_none_match = Some(since);
        let raw = self.exchange()?;
        if raw.status == 304 { Ok(None) } else { self.read(raw).map(Some) }
    }

    fn read(&self, raw: Raw) -> Result<Answer<T>, ClientError>
    where
        T: FromBody,
    {
        let Raw { body, headers, request_id, status } = raw;
        let odd = |why: String| ClientError::Answer {
            call: self.name(),
            request_id: request_id.clone(),
            why,
        };
        if !(200..300).contains(&status) {
            return Err(refusal(self.name(), status, &body, request_id));
        }
        let etag = match text(&headers, "etag") {
            Some(tag) => Some(tag.parse().map_err(|error| odd(format!("{error}")))?),
            None => None,
        };
        let body = T::from_body(body).map_err(odd)?;
        let replayed = text(&headers, "idempotency-replayed") == Some("true");
        Ok(Answer { body, etag, replayed, request_id, status })
    }

    fn exchange(&self) -> Result<Raw, ClientError> {
        let id = match &self.request_id {
            Some(id) => id.clone(),
            None => fresh("req_")?,
        };
        let key = match (&self.key, self.repeat) {
            (Some(key), _) => Some(key.clone()),
            (None, Repeat::Keyed) => Some(fresh("")?),
            (None, _) => None,
        };
        let retry = &self.client.inner.retry;
        let again = self.repeat != Repeat::Never;
        let (mut failed, mut refreshed) = (0, false);
        loop {
            let token = self.client.token()?;
            let asked = match self.once(&id, key.as_deref(), token.as_deref()) {
                Ok(raw) => {
                    let after = text(&raw.headers, "retry-after");
                    let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
                    match raw.status {
                        401 if !refreshed && self.client.refresh(token.as_deref())? => {
                            refreshed = true;
                            continue;
                        }
                        429 if failed + 1 < retry.tries => after,
                        408 | 502 | 503 | 504 if again && failed + 1 < retry.tries => after,
                        _ => return Ok(raw),
                    }
                }
                Err(Sent::Not(error)) => return Err(error),
                Err(Sent::Perhaps(error))
                    if (again || was_not_sent(&error)) && failed + 1 < retry.tries =>
                {
                    None
                }
                Err(Sent::Perhaps(error)) => return Err(unreachable(self.client, error, id)),
            };
            failed += 1;
            retry.wait(failed, asked);
        }
    }

    fn once(&self, id: &str, key: Option<&str>, token: Option<&str>) -> Result<Raw, Sent> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("{}{}", self.client.inner.base, self.target()))
            .header("x-request-id", id);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(tag) = &self.if_match {
            request = request.header("if-match", tag.to_string());
        }
        if let Some(tag) = &self.if_none_match {
            request = request.header("if-none-match", tag.to_string());
        }
        let agent = &self.client.inner.calls;
        let unfit = |error: ureq::http::Error| Sent::Perhaps(ureq::Error::Http(error));
        let answer = match &self.body {
            Some(Err(why)) => return Err(Sent::Not(ClientError::Ask(why.clone()))),
            Some(Ok(body)) => {
                let request = request.header("content-type", "application/json");
                agent.run(request.body(body.as_slice()).map_err(unfit)?)
            }
            // A length of 0: some servers wait for a body without.
            None if self.method == "POST" => agent.run(request.body(&[][..]).map_err(unfit)?),
            None => agent.run(request.body(()).map_err(unfit)?),
        };
        let (parts, body) = answer.map(Response::into_parts).map_err(Sent::Perhaps)?;
        let body = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        Ok(Raw {
            body: body.map_err(Sent::Perhaps)?,
            request_id: text(&parts.headers, "x-request-id").unwrap_or(id).to_owned(),
            headers: parts.headers,
            status: parts.status.as_u16(),
        })
    }
}

/// A request without an answer.
enum Sent {
    Not(ClientError),
    Perhaps(ureq::Error),
}

/// Nobody listened, so nobody can have done it.
fn was_not_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        _ => false,
    }
}

/// A problem, where the answer is one.
pub(crate) fn refusal(call: String, status: u16, body: &[u8], request_id: String) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Refused(Box::new(Refusal { call, problem, request_id })),
        Err(_) => {
            let why = format!("status {status} without a problem of RFC 9457");
            ClientError::Answer { call, request_id, why }
        }
    }
}

pub(crate) fn unreachable(client: &Client, source: ureq::Error, request_id: String) -> ClientError {
    let url = client.inner.base.clone();
    ClientError::Unreachable { request_id, source: Box::new(source), url }
}

pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A name that nobody else has.
pub(crate) fn fresh(prefix: &str) -> Result<String, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().fold(prefix.to_owned(), |text, byte| text + &format!("{byte:02x}")))
}

pub(crate) fn target(path: &str, query: &[(String, String)]) -> String {
    let mut target = path.to_owned();
    for (at, (name, value)) in query.iter().enumerate() {
        let before = if at == 0 { '?' } else { '&' };
        target.push_str(&format!("{before}{}={}", encoded(name), encoded(value)));
    }
    target
}

/// Text as one part of a path or a query (RFC 3986 §2.1).
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // A part that is one or two dots would be taken for a step in the path.
    if out == "." || out == ".." { out.replace('.', "%2E") } else { out }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_put_into_a_path_stays_one_part_of_it() {
        assert_eq!(encoded("job_1-a.b~"), "job_1-a.b~");
        assert_eq!(encoded("../x?y#z é"), "..%2Fx%3Fy%23z%20%C3%A9");
        assert_eq!((encoded("."), encoded("..")), ("%2E".to_owned(), "%2E%2E".to_owned()));
    }

    #[test]
    fn what_is_none_is_not_sent() {
        let body = json!({ "a": null, "b": { "c": null, "d": 1 }, "e": [{ "f": null }] });
        assert_eq!(without_nulls(body), json!({ "b": { "d": 1 }, "e": [{}] }));
    }
}
