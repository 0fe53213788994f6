//! The little HTTP that the agent speaks: one request on one TLS connection, bounded in time
//! and size.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest that one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer that is read where nothing else is said.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The answer is not what the API promises.
    #[error("{url} answered something else than expected: {what}")]
    Answer {
        /// What was wrong.
        what: String,
        /// What was asked.
        url: String,
    },
    /// No connection: the cloud is down, or the address is wrong.
    #[error("cannot reach {url}: {what}")]
    Connect {
        /// What the system says.
        what: String,
        /// What was asked.
        url: String,
    },
    /// The cloud said no.
    #[error("{url} refused with {status}: {what}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The cloud's own words.
        what: String,
        /// What was asked.
        url: String,
    },
    /// Slower than a minute.
    #[error("{0} did not answer within {TIMEOUT:?}")]
    Timeout(String),
    /// Not `https://host:port`.
    #[error("`{0}` is not an address of a cloud; write https://HOST:PORT")]
    Url(String),
}

/// A cloud's HTTP address and how to speak TLS to it.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// A client of the API at `url` (`https://host:port`).
    ///
    /// # Errors
    /// [`HttpError::Url`].
    pub fn new(url: &str, tls: Arc<ClientConfig>) -> Result<Self, HttpError> {
        let bad = || HttpError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        if uri.scheme_str() != Some("https") || uri.path().len() > 1 {
            return Err(bad());
        }
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(443),
            tls,
        })
    }

    /// Posts JSON and reads JSON.
    ///
    /// # Errors
    /// Every variant of [`HttpError`] but `Url`.
    pub async fn post_json<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, HttpError> {
        let body = serde_json::to_vec(body).map_err(|error| HttpError::Answer {
            what: error.to_string(),
            url: format!("{}{path}", self.base),
        })?;
        let bytes = self.exchange(Method::POST, path, body, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| HttpError::Answer {
            what: error.to_string(),
            url: format!("{}{path}", self.base),
        })
    }

    /// Reads a file of at most `max_bytes`.
    ///
    /// # Errors
    /// Every variant of [`HttpError`] but `Url`.
    pub async fn get(&self, path: &str, max_bytes: usize) -> Result<Bytes, HttpError> {
        self.exchange(Method::GET, path, Vec::new(), max_bytes).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<Bytes, HttpError> {
        let url = format!("{}{path}", self.base);
        let answer = tokio::time::timeout(TIMEOUT, self.once(method, path, &url, body, max_bytes));
        let (status, bytes) = answer.await.map_err(|_| HttpError::Timeout(url.clone()))??;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(HttpError::Refused { status, what: words(&bytes), url })
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        url: &str,
        body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let connect = |what: String| HttpError::Connect { what, url: url.to_owned() };
        let answer = |what: String| HttpError::Answer { what, url: url.to_owned() };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| HttpError::Url(self.base.clone()))?;
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| connect(error.to_string()))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, tcp)
            .await
            .map_err(|error| connect(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|error| connect(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("{}:{}", self.host, self.port))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| answer(error.to_string()))?;
        let result = async {
            let response =
                sender.send_request(request).await.map_err(|error| connect(error.to_string()))?;
            let status = response.status();
            let bytes = Limited::new(response.into_body(), max_bytes)
                .collect()
                .await
                .map_err(|error| answer(error.to_string()))?
                .to_bytes();
            Ok((status, bytes))
        }
        .await;
        driver.abort();
        result
    }
}

/// The words of the API's problem details (RFC 9457), or the start of whatever came.
fn words(bytes: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let field = |name: &str| {
        let value = parsed.as_ref()?.get(name)?.as_str()?;
        Some(value.to_owned())
    };
    match (field("detail"), field("hint")) {
        (Some(message), Some(hint)) if !hint.is_empty() => format!("{message}; {hint}"),
        (Some(message), _) => message,
        _ => String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clouds_own_words_are_shown() {
        let body = br#"{"code":"used","detail":"this code was used","hint":"make another"}"#;
        assert_eq!(words(body), "this code was used; make another");
        assert_eq!(words(b"gateway broken"), "gateway broken");
    }
}
