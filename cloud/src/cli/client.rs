//! One cloud, from outside: its address, its root certificate, a token.
//!
//! A request that changes something carries an `Idempotency-Key`, so that it may be sent again
//! when the connection broke before its answer came.

use serde_json::Value;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The largest answer that is read, bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// How often a request is sent before its connection is given up.
const TRIES: u32 = 3;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the cloud is and who asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connection {
    /// File with the cloud's root certificate, PEM; `ca.pem` of the data directory unless given.
    #[arg(long, env = "NOOTERRA_CLOUD_CA", global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The cloud's data directory, where it is on this machine: its certificate and token.
    #[arg(long, env = "NOOTERRA_CLOUD_DATA", global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// File with a token, one line; `admin_token` of the data directory unless given.
    #[arg(long, env = "NOOTERRA_CLOUD_TOKEN_FILE", global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the cloud's HTTP API is.
    #[arg(
        long,
        default_value = "https://127.0.0.1:8443",
        env = "NOOTERRA_CLOUD_URL",
        global = true
    )]
    url: String,
}

/// Why there is no answer, or which.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{0} is not what the API of this release answers")]
    Answer(String),
    #[error("what is asked is not JSON: {0}; write it as in {{\"type\":\"release_stop\"}}")]
    Ask(String),
    #[error("cannot read {path}: {source}; name another with --{option}, or the cloud's --data")]
    File { option: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} is not JSON: {why}; write {{\"robot\":...,\"plan\":{{\"steps\":[...]}}}}")]
    Job { path: PathBuf, why: String },
    #[error("{path} is not JSON: {why}; see docs/registry.md for its form")]
    Json { path: PathBuf, why: String },
    #[error("{path} holds no certificate: {why}")]
    NoCertificate { path: PathBuf, why: String },
    #[error("say where the cloud is: --data DIR on its own machine, else --ca and --token-file")]
    Nowhere,
    #[error("{path}: {detail}{hint}", hint = dashed(hint))]
    Refused { detail: String, hint: String, path: String },
    #[error("cannot reach {url}: {source}")]
    Unreachable { source: Box<ureq::Error>, url: String },
    #[error("`{0}` is not an address of a cloud; write https://HOST:PORT")]
    Url(String),
}

/// A client of one cloud.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Client {
    /// Reads certificate and token; connects when it is first asked.
    pub(crate) fn new(connection: &Connection) -> Result<Self, ClientError> {
        let of_data = |name: &str| connection.data.as_ref().map(|dir| dir.join(name));
        let ca = connection.ca.clone().or_else(|| of_data("ca.pem"));
        let token = connection.token_file.clone().or_else(|| of_data("admin_token"));
        let (Some(ca), Some(token)) = (ca, token) else { return Err(ClientError::Nowhere) };
        let pem = read("ca", &ca)?;
        let root = Certificate::from_pem(pem.as_bytes())
            .map_err(|e| ClientError::NoCertificate { path: ca, why: e.to_string() })?;
        let token = read("token-file", &token)?.trim().to_owned();
        let base = connection.url.trim_end_matches('/').to_owned();
        if !base.starts_with("https://") {
            return Err(ClientError::Url(base));
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![root.to_owned()])))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .build()
            .new_agent();
        Ok(Self { agent, base, token })
    }

    /// Reads.
    pub(crate) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.again(|| {
            let request = self.agent.get(self.url(path)).header("Authorization", self.bearer());
            request.config().timeout_global(Some(TIMEOUT)).build().call()
        })
        .and_then(|answer| value(path, answer))
    }

    /// Changes something, once.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        // A fresh name for each request; should the system give no random bytes, none, and then
        // the request is sent once.
        let mut name = [0; 16];
        let key = getrandom::fill(&mut name)
            .ok()
            .map(|()| name.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let send = || {
            let request = self.agent.post(self.url(path)).header("Authorization", self.bearer());
            let request = match &key {
                Some(key) => request.header("Idempotency-Key", key),
                None => request,
            };
            request.config().timeout_global(Some(TIMEOUT)).build().send_json(body)
        };
        let answer =
            if key.is_some() { self.again(send) } else { send().map_err(|e| self.unreachable(e)) };
        answer.and_then(|answer| value(path, answer))
    }

    /// Follows events after `after`, one JSON text a time, until `each` says that it is enough
    /// or the cloud ends it.
    pub(crate) fn follow(
        &self,
        query: &str,
        after: i64,
        mut each: impl FnMut(i64, Value) -> Result<bool, ClientError>,
    ) -> Result<i64, ClientError> {
        let path = format!("/v1/events/stream?{query}");
        let request = self.agent.get(self.url(&path)).header("Authorization", self.bearer());
        let request = request.header("Last-Event-ID", after.to_string());
        let answer = request.call().map_err(|e| self.unreachable(e))?;
        if !answer.status().is_success() {
            return value(&path, answer).map(|_| after);
        }
        let mut last = after;
        let lines = std::io::BufReader::new(answer.into_body().into_reader()).lines();
        // A broken connection ends it like the cloud does: the caller goes on from `last`.
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.strip_prefix("id:") {
                last = id.trim().parse().map_err(|_| ClientError::Answer(path.clone()))?;
            } else if let Some(data) = line.strip_prefix("data:") {
                let event =
                    serde_json::from_str(data).map_err(|_| ClientError::Answer(path.clone()))?;
                if !each(last, event)? {
                    break;
                }
            }
        }
        Ok(last)
    }

    fn again(
        &self,
        send: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<ureq::http::Response<ureq::Body>, ClientError> {
        let mut tries = 1;
        loop {
            match send() {
                Ok(answer) => return Ok(answer),
                Err(ureq::Error::Io(_)) if tries < TRIES => {
                    std::thread::sleep(Duration::from_millis(200) * tries);
                    tries += 1;
                }
                Err(error) => return Err(self.unreachable(error)),
            }
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn unreachable(&self, source: ureq::Error) -> ClientError {
        ClientError::Unreachable { source: Box::new(source), url: self.base.clone() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn read(option: &'static str, path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|source| ClientError::File {
        option,
        path: path.to_owned(),
        source,
    })
}

fn value(path: &str, answer: ureq::http::Response<ureq::Body>) -> Result<Value, ClientError> {
    let odd = || ClientError::Answer(path.to_owned());
    let success = answer.status().is_success();
    let body = answer.into_body().into_with_config().limit(MAX_ANSWER_BYTES).read_to_string();
    let body: Value =
        body.ok().and_then(|body| serde_json::from_str(&body).ok()).ok_or_else(odd)?;
    if success {
        return Ok(body);
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Err(ClientError::Refused { detail: text("detail"), hint: text("hint"), path: path.to_owned() })
}

fn dashed(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}
