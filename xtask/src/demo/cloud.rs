//! The cloud's HTTP API as an operator's program would use it: TLS that trusts the cloud's own
//! root and nothing else, and the administrator's token.

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::plan::SkillRef;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The line that `nooterra-cloud serve --json` prints when it answers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    /// File with the administrator's token.
    pub(crate) admin_token_file: String,
    /// Base URL of the API.
    pub(crate) http: String,
    /// Address of the MQTT endpoint.
    pub(crate) mqtt: String,
    /// SHA-256 of the root certificate's DER.
    pub(crate) root_sha256: String,
}

/// A client of one cloud.
#[derive(Debug)]
pub(crate) struct Cloud {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Cloud {
    /// Connects to a cloud that said it is ready. The root certificate lies in its data
    /// directory, and must be the one that it named.
    pub(crate) fn connect(ready: &Ready, data: &Path) -> Result<Self> {
        let root = root_certificate(data, &ready.root_sha256)?;
        let token = std::fs::read_to_string(&ready.admin_token_file)
            .with_context(|| format!("cannot read {}", ready.admin_token_file))?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![root])))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            base: ready.http.trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
        })
    }

    /// A claim code for a robot.
    pub(crate) fn claim_code(&self, robot: &str) -> Result<String> {
        let answer = self.post("/v1/claim-codes", &json!({ "robot": robot }))?;
        text(&answer, "code")
    }

    /// What the cloud knows of a robot; `None` before it was ever connected.
    pub(crate) fn robot(&self, robot: &str) -> Result<Option<Value>> {
        self.find(&format!("/v1/robots/{robot}"))
    }

    /// Publishes a bundle with its signature.
    pub(crate) fn publish_skill(&self, bundle: &[u8], signature: &str) -> Result<Value> {
        let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
        self.post("/v1/skills", &json!({ "bundle_base64": bundle, "signature": signature }))
    }

    /// Takes a published version back.
    pub(crate) fn revoke_skill(&self, skill: &SkillRef, reason: &str) -> Result<Value> {
        let path = format!("/v1/skills/{}/revoke", skill.bundle);
        self.post(&path, &json!({ "reason": reason }))
    }

    /// Creates a job and returns its id.
    pub(crate) fn create_job(&self, job: &Value) -> Result<String> {
        text(&self.post("/v1/jobs", job)?, "id")
    }

    /// Moves a job on (`quote`, `book`, `dispatch`) and returns it.
    pub(crate) fn job_action(&self, job: &str, action: &str) -> Result<Value> {
        let path = format!("/v1/jobs/{job}/{action}");
        let answer = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("authorization", self.bearer())
            .send_empty()
            .with_context(|| format!("POST {path}"))?;
        read("POST", &path, answer)
    }

    /// A job as the cloud sees it.
    pub(crate) fn job(&self, job: &str) -> Result<Value> {
        self.get(&format!("/v1/jobs/{job}"))
    }

    /// The events of a job after a position in its stream, in order.
    pub(crate) fn job_events(&self, job: &str, after: u64) -> Result<Vec<Value>> {
        list(self.get(&format!("/v1/jobs/{job}/events?after={after}"))?, "events")
    }

    /// Sends a signed command to a robot and returns its id.
    pub(crate) fn command(&self, robot: &str, command: &Value) -> Result<String> {
        let answer = self.post(&format!("/v1/robots/{robot}/commands"), command)?;
        text(&answer, "id")
    }

    /// What became of a command.
    pub(crate) fn command_status(&self, robot: &str, id: &str) -> Result<Value> {
        self.get(&format!("/v1/robots/{robot}/commands/{id}"))
    }

    /// All journal records of one kind, in order.
    pub(crate) fn records(&self, robot: &str, kind: &str) -> Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let (page, next) = self.page(robot, &format!("kind={kind}&after={after}"))?;
            if page.is_empty() {
                return Ok(all);
            }
            if next <= after {
                bail!("the cloud's cursor for `{kind}` records does not move on from {after}");
            }
            all.extend(page);
            after = next;
        }
    }

    /// The records that arrived after a cursor, of any kind, and the cursor after them.
    pub(crate) fn arrivals(&self, robot: &str, after: u64) -> Result<(Vec<Value>, u64)> {
        self.page(robot, &format!("after={after}"))
    }

    fn page(&self, robot: &str, query: &str) -> Result<(Vec<Value>, u64)> {
        let answer = self.get(&format!("/v1/robots/{robot}/records?{query}&limit={PAGE}"))?;
        let next = answer["next"].as_u64().context("the cloud's answer has no `next`")?;
        Ok((list(answer, "records")?, next))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.find(path)?.ok_or_else(|| anyhow!("GET {path}: 404, the cloud does not know it"))
    }

    fn find(&self, path: &str) -> Result<Option<Value>> {
        let answer = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("authorization", self.bearer())
            .call()
            .with_context(|| format!("GET {path}"))?;
        if answer.status() == 404 {
            return Ok(None);
        }
        read("GET", path, answer).map(Some)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("authorization", self.bearer())
            .send_json(body)
            .with_context(|| format!("POST {path}"))?;
        read("POST", path, answer)
    }
}

/// Records asked for at once.
const PAGE: usize = 1_000;

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

fn read(method: &str, path: &str, answer: ureq::http::Response<ureq::Body>) -> Result<Value> {
    let status = answer.status();
    let body = answer
        .into_body()
        .into_with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_string()
        .with_context(|| format!("{method} {path}: the answer broke off"))?;
    if !status.is_success() {
        bail!("{method} {path}: {status}: {}", body.trim());
    }
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&body).with_context(|| format!("{method} {path}: not JSON: {body}"))
}

/// The list under `name`.
fn list(mut answer: Value, name: &str) -> Result<Vec<Value>> {
    match answer.get_mut(name).map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => bail!("the cloud's answer holds no list `{name}`"),
    }
}

fn text(answer: &Value, key: &str) -> Result<String> {
    answer[key]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("the cloud's answer has no `{key}`: {answer}"))
}

/// The certificate in the cloud's data directory whose hash is `sha256`.
fn root_certificate(data: &Path, sha256: &str) -> Result<Certificate<'static>> {
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_certificate =
                path.extension().is_some_and(|end| end == "pem" || end == "crt" || end == "cer");
            let Some(certificate) = is_certificate
                .then(|| std::fs::read(&path).ok())
                .flatten()
                .and_then(|pem| Certificate::from_pem(&pem).ok())
            else {
                continue;
            };
            if Digest::of(certificate.der()).to_string() == sha256.to_ascii_lowercase() {
                return Ok(certificate);
            }
        }
    }
    bail!("no certificate with SHA-256 {sha256} lies under {}", data.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_list_is_an_error_and_not_an_empty_list() {
        assert_eq!(list(json!({"records": [1, 2]}), "records").unwrap().len(), 2);
        for answer in [json!({"other": []}), json!([1]), json!("x"), json!({"records": 3})] {
            assert!(list(answer, "records").is_err());
        }
    }

    #[test]
    fn a_directory_without_the_named_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("root.pem"), "not a certificate").unwrap();
        let error = root_certificate(dir.path(), &"0".repeat(64)).unwrap_err().to_string();
        assert!(error.contains("no certificate"), "{error}");
    }
}
