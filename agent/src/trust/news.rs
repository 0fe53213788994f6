//! What the cloud has about the trust in skills: asked for now and then, and judged like what a
//! person installs.

use super::{FolderError, Judge};
use crate::http::{Client, HttpError};
use crate::identity::{self, Identity};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::trust::{Carried, MAX_TRUST_BYTES, TrustNews};
use nooterra_skill_host::{Back, TrustError};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often it is asked for.
const EVERY: Duration = Duration::from_secs(900);

/// How often while the cloud is not reached.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// Four documents and a list, in base64.
const MAX_NEWS_BYTES: usize = 5 * (MAX_TRUST_BYTES / 3 * 4 + 64 * 1024);

/// What was refused is remembered, so that it is one record and not one each time; so many.
const MAX_REFUSED: usize = 64;

/// Asks the cloud.
#[derive(Debug)]
pub struct News {
    identity_dir: PathBuf,
    judge: Arc<Judge>,
    refused: BTreeSet<Digest>,
    robot: RobotId,
}

impl News {
    /// Who asks with the robot's certificate, and puts in force what `judge` takes.
    #[must_use]
    pub const fn new(identity_dir: PathBuf, robot: RobotId, judge: Arc<Judge>) -> Self {
        Self { identity_dir, judge, refused: BTreeSet::new(), robot }
    }

    /// Asks for ever. A robot without a trust document asks nobody: its first one comes from a
    /// person.
    pub async fn follow(mut self) {
        loop {
            let asked = self.ask().await;
            if let Err(error) = &asked {
                debug!(%error, "no news of the trust in skills");
            }
            tokio::time::sleep(if asked.is_ok() { EVERY } else { RETRY_EVERY }).await;
        }
    }

    /// Asks once, and again while there are more documents.
    ///
    /// # Errors
    /// [`HttpError`]
    pub async fn ask(&mut self) -> Result<(), HttpError> {
        let url = |what: &dyn std::fmt::Display| HttpError::Url(what.to_string());
        loop {
            let held = self.judge.folder().load().map_err(|error| url(&error))?;
            let Some(after) = held.map(|held| held.trust.document().version) else {
                return Ok(());
            };
            // Read each time: the certificate may have been renewed.
            let identity = Identity::load(&self.identity_dir, &self.robot);
            let identity = identity.map_err(|error| url(&error))?;
            let tls = identity::client_config(&identity).map_err(|error| url(&error))?;
            let client = Client::new(&identity.cloud().http, tls)?;
            let path = format!("/v1/skill-trust?after={after}");
            let bytes = client.get(&path, MAX_NEWS_BYTES).await?;
            let news: TrustNews = serde_json::from_slice(&bytes).map_err(|error| url(&error))?;
            if !self.take(&news) {
                return Ok(());
            }
        }
    }

    /// Puts in force what is newer; whether a document was.
    pub fn take(&mut self, news: &TrustNews) -> bool {
        let mut changed = false;
        for document in &news.documents {
            // The next is signed by this one's roots.
            if !self.install(document) {
                break;
            }
            changed = true;
            // What the roots or revokers before would not have is another question now.
            self.refused.clear();
        }
        if let Some(list) = &news.list {
            self.install(list);
        }
        self.judge.look();
        changed
    }

    fn install(&mut self, carried: &Carried) -> bool {
        let digest = Digest::of(&carried.bytes.0);
        let held = self.judge.folder().load().ok().flatten();
        let same = held.is_some_and(|held| {
            held.trust.digest() == digest || held.trust.list_digest() == Some(digest)
        });
        if same || self.refused.contains(&digest) {
            return false;
        }
        let now = self.judge.now();
        match self.judge.folder().install(carried, None, Back::Never, now) {
            Ok(put) => {
                info!(version = put.version, "the cloud had a newer {}", put.file);
                true
            }
            Err(error) => {
                let older = matches!(error, FolderError::Trust(TrustError::Older { .. }));
                warn!(%error, older, "what the cloud has about the trust in skills is refused");
                if self.refused.len() >= MAX_REFUSED {
                    self.refused.clear();
                }
                self.refused.insert(digest);
                false
            }
        }
    }
}
