//! One cloud, from outside: its address, its root certificate, a token or a certificate.
//!
//! What is asked goes through `nooterra_client`, which knows what may be sent again; here is where
//! its files are, and how its errors end a command.

use nooterra_client::{Call, Client, FromBody, TokenError};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the cloud is and who asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connection {
    /// File with the cloud's root certificate, PEM; `ca.pem` of the data directory unless given.
    #[arg(long, env = "NOOTERRA_CLOUD_CA", global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with a service's certificate, PEM, in place of a token.
    #[arg(long, env = "NOOTERRA_CLOUD_CERT", global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The cloud's data directory, where it is on this machine: its certificate and token.
    #[arg(long, env = "NOOTERRA_CLOUD_DATA", global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// File with the private key of `--cert`, PEM.
    #[arg(long, env = "NOOTERRA_CLOUD_CERT_KEY", global = true, value_name = "FILE")]
    cert_key: Option<PathBuf>,
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

/// Why a command does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Api(#[from] nooterra_client::ClientError),
    #[error("{0} is not what the API of this release answers")]
    Answer(String),
    #[error("what is asked is not JSON: {0}; write it as in {{\"type\":\"release_stop\"}}")]
    Ask(String),
    #[error("cannot read {path}: {source}; name another with --{option}, or the cloud's --data")]
    File { option: &'static str, path: PathBuf, source: std::io::Error },
    #[error("--cert and --cert-key belong together: give both, or a token")]
    HalfAnIdentity,
    #[error("{path} is not JSON: {why}; write {{\"robot\":...,\"plan\":{{\"steps\":[...]}}}}")]
    Job { path: PathBuf, why: String },
    #[error("{path} is not JSON: {why}; see docs/registry.md for its form")]
    Json { path: PathBuf, why: String },
    #[error("say where the cloud is: --data DIR on its own machine, else --ca and --token-file")]
    Nowhere,
    #[error("{0}")]
    Robot(String),
}

impl ClientError {
    /// How the program ends.
    pub(crate) fn exit_code(&self) -> u8 {
        use nooterra_client::ClientError as Api;
        match self {
            Self::Answer(_) => 1,
            Self::Ask(_)
            | Self::HalfAnIdentity
            | Self::Job { .. }
            | Self::Json { .. }
            | Self::Nowhere
            | Self::Robot(_) => 2,
            Self::File { .. } => 3,
            Self::Api(Api::Ask(_) | Api::Url(_)) => 2,
            Self::Api(Api::Certificate { .. } | Api::Token(TokenError::File { .. })) => 3,
            Self::Api(Api::Refused(_)) => 7,
            Self::Api(_) => 1,
        }
    }
}

impl Connection {
    /// Reads certificates; connects when it is first asked.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        let of_data = |name: &str| self.data.as_ref().map(|dir| dir.join(name));
        let ca = self.ca.clone().or_else(|| of_data("ca.pem")).ok_or(ClientError::Nowhere)?;
        let builder = Client::builder(&self.url).root_pem(read("ca", &ca)?);
        let builder = match (&self.cert, &self.cert_key) {
            (Some(cert), Some(key)) => {
                builder.identity(read("cert", cert)?, read("cert-key", key)?)
            }
            (Some(_), None) | (None, Some(_)) => return Err(ClientError::HalfAnIdentity),
            (None, None) => {
                let token = self.token_file.clone().or_else(|| of_data("admin_token"));
                let token = token.ok_or(ClientError::Nowhere)?;
                // Before anything is asked, so that a missing file is named as one.
                read("token-file", &token)?;
                builder.token_file(token)
            }
        };
        Ok(builder.build()?)
    }
}

/// Sends a call; its answer as it was sent, for `--json`.
pub(crate) fn sent<T: FromBody>(call: Call<'_, T>) -> Result<Value, ClientError> {
    Ok(call.read_as::<Value>().send()?.body)
}

fn read(option: &'static str, path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|source| ClientError::File {
        option,
        path: path.to_owned(),
        source,
    })
}
