//! Whose skills this robot takes: the trust document and the revocation list in force.
//!
//! What they mean for a bundle is decided in `nooterra-skill-host` ([`Trust`]); here is where
//! they are kept ([`Folder`]), which clock they are judged by, and what the journal remembers of
//! them ([`Judge`]). Without a document the keys of the configured folder vouch for skills of
//! the tier `dev`.
//!
//! # What it never does
//! It never forgets that a document was in force: where the folder lost it, or holds an older
//! one than the journal has seen, no skill runs, instead of those that any key would vouch for.
//! It never believes a first document that nobody named by its hash.

mod folder;
mod news;

pub use folder::{Folder, FolderError, InFolder, PutInForce, carried};
pub use news::News;

use crate::clock::SystemClock;
use crate::config::{Config, SkillClock};
use crate::jobs::{ShelfError, trusted_keys};
use nooterra_blackbox::{Clock as _, JournalHandle};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::entry::Entry;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::time::{ClockTrust, WallMillis};
use nooterra_protocol::trust::{SkillTrust, SkillTrustStep, TrustFile};
use nooterra_skill_host::{
    Bundle, DistrustError, Now, Origin, Standing, TrustedKeys, without_document,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{error, info, warn};

#[allow(unused_imports)] // Named by the documentation.
use nooterra_skill_host::Trust;

/// What was in force, in the journal's state.
const SEEN_KEY: &str = "skill_trust.seen";

/// Why a bundle is not taken here.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// By what is in force.
    #[error(transparent)]
    Distrust(#[from] DistrustError),
    /// What is in force cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder of keys cannot be read.
    #[error(transparent)]
    Keys(Box<ShelfError>),
    /// What was in force is gone.
    #[error("no skill runs: {0}")]
    Lost(String),
}

/// Says whether a bundle is taken.
#[derive(Debug)]
pub struct Judge {
    /// How often what is in force was seen to change.
    changes: AtomicU64,
    clock: Arc<SystemClock>,
    folder: Folder,
    keys_dir: PathBuf,
    /// Of the running agent; the command line has none.
    memory: Option<Mutex<JournalHandle>>,
    source: SkillClock,
}

/// What the journal has seen in force.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    document: Option<(Digest, u32)>,
    /// With whose lists it is counted.
    list: Option<(Digest, u32, Option<Digest>)>,
    lost: Option<String>,
    stale: Option<String>,
}

/// By what bundles are judged.
enum InForce {
    Document(Box<InFolder>),
    Keys(TrustedKeys),
}

impl Judge {
    /// For the command line: by the folder alone.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            clock: Arc::new(SystemClock::new(WallMillis(0))),
            folder: Folder::new(&config.state.dir),
            keys_dir: config.skills.trusted_keys_dir.clone(),
            memory: None,
            changes: AtomicU64::new(1),
            source: config.skills.clock,
        }
    }

    /// For the running agent: with what the journal has seen, which also takes what changes.
    #[must_use]
    pub fn remembering(config: &Config, clock: Arc<SystemClock>, journal: JournalHandle) -> Self {
        Self { clock, memory: Some(Mutex::new(journal)), ..Self::of(config) }
    }

    /// Where documents and lists are kept.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The moment that expiry is judged by.
    #[must_use]
    pub fn now(&self) -> Now {
        let trusted = match self.source {
            SkillClock::Network => self.clock.stamp().trust != ClockTrust::Untrusted,
            SkillClock::System => true,
        };
        Now { trusted, wall: self.clock.judged_wall() }
    }

    /// Checks everything about a bundle that can be checked without running it.
    ///
    /// # Errors
    /// [`JudgeError`]
    pub fn bundle(
        &self,
        bytes: &[u8],
        signatures: &str,
        origin: Origin,
    ) -> Result<Bundle, JudgeError> {
        Ok(match self.in_force()? {
            InForce::Document(held) => {
                held.trust.bundle(bytes, signatures, origin, &held.marks, self.now())?
            }
            InForce::Keys(keys) => without_document(bytes, signatures, &keys)?,
        })
    }

    /// A bundle was taken: older versions of its skill are not, from now on. Robots without a
    /// trust document keep no such marks.
    ///
    /// # Errors
    /// [`JudgeError::Folder`]
    pub fn taken(&self, bundle: &Bundle) -> Result<(), JudgeError> {
        if matches!(self.in_force()?, InForce::Document(_)) {
            let manifest = bundle.manifest();
            self.folder.taken(&manifest.id, &manifest.version)?;
        }
        Ok(())
    }

    /// A version was given up, and this older one is active again: it may run, although a newer
    /// one was taken.
    ///
    /// # Errors
    /// [`JudgeError::Folder`]
    pub fn went_back(&self, skill: &SkillId, version: &str) -> Result<(), JudgeError> {
        match self.folder.permit(skill, version) {
            // Without a document nothing was noted of the newer one.
            Ok(()) | Err(FolderError::NothingToPermit { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts into the journal what has changed since the last look: by the command line, or by
    /// the passing of time.
    pub fn look(&self) {
        if let Err(error) = self.in_force() {
            // Recorded when it began.
            tracing::debug!(%error, "the trust in skills");
        }
    }

    /// Asks again about a bundle that runs, where something has changed since `asked`, which is
    /// 0 before the first time. What cannot be read is no reason to end it: it is one not to
    /// start the next.
    ///
    /// # Errors
    /// [`DistrustError`]: it may not go on.
    pub fn may_go_on(&self, bundle: &Bundle, asked: &mut u64) -> Result<(), DistrustError> {
        let changes = self.changes.load(Ordering::Acquire);
        if std::mem::replace(asked, changes) == changes {
            return Ok(());
        }
        match self.folder.load() {
            Ok(Some(held)) => held.trust.still_takes(bundle),
            _ => Ok(()),
        }
    }

    fn in_force(&self) -> Result<InForce, JudgeError> {
        let held = self.folder.load();
        if let Some(memory) = &self.memory {
            let journal = memory.lock().unwrap_or_else(PoisonError::into_inner);
            self.folder.take_notes(|note| record(&journal, note));
            self.remember(&held, &journal)?;
        }
        match held? {
            Some(held) => Ok(InForce::Document(Box::new(held))),
            None => trusted_keys(&self.keys_dir)
                .map(InForce::Keys)
                .map_err(|error| JudgeError::Keys(Box::new(error))),
        }
    }

    /// Compares what is in force with what the journal has seen, and records what differs.
    fn remember(
        &self,
        held: &Result<Option<InFolder>, FolderError>,
        journal: &JournalHandle,
    ) -> Result<(), JudgeError> {
        let stored = journal.get_state(SEEN_KEY).map_err(|error| {
            JudgeError::Lost(format!("the journal does not say what was in force: {error}"))
        })?;
        let before: Seen = match stored.map(|bytes| codec::from_slice(&bytes)) {
            None => Seen::default(),
            Some(Ok(seen)) => seen,
            Some(Err(error)) => {
                let what = format!("the journal's memory of what was in force is damaged: {error}");
                return Err(JudgeError::Lost(what));
            }
        };
        let mut seen = before.clone();
        let lost = lost(&before, held);
        match (&lost, held) {
            (None, Ok(Some(held))) => {
                let (trust, now) = (&held.trust, self.now());
                let (document, list) = in_words(held);
                if before.document.map(|(digest, _)| digest) != Some(trust.digest()) {
                    let digest = Some(trust.digest());
                    let version = Some(trust.document().version);
                    let file = Some(TrustFile::Document);
                    let step = SkillTrustStep::PutInForce;
                    record(journal, SkillTrust { digest, file, reason: document, step, version });
                }
                if trust.list_digest().is_some()
                    && before.list.map(|(digest, ..)| digest) != trust.list_digest()
                {
                    let (digest, version) = (trust.list_digest(), trust.list().map(|l| l.version));
                    let (file, step) = (Some(TrustFile::List), SkillTrustStep::PutInForce);
                    record(journal, SkillTrust { digest, file, reason: list, step, version });
                }
                let held_list = trust.list().filter(|_| trust.list_holds());
                seen.document = Some((trust.digest(), trust.document().version));
                seen.list = trust
                    .list_digest()
                    .zip(held_list)
                    .map(|(digest, list)| (digest, list.version, trust.revokers()))
                    // Until the new revokers speak, what the old ones said last is remembered.
                    .or(before.list);
                let standing = trust.standing(now);
                seen.stale = (standing != Standing::Fresh).then(|| standing.to_string());
                if seen.stale.is_some() != before.stale.is_some() {
                    let (step, reason) = match &seen.stale {
                        Some(why) => (SkillTrustStep::Stale, why.clone()),
                        None => (SkillTrustStep::Fresh, "new skills are taken again".to_owned()),
                    };
                    record(
                        journal,
                        SkillTrust { digest: None, file: None, reason, step, version: None },
                    );
                }
            }
            (Some(why), _) if before.lost.as_ref() != Some(why) => {
                let (reason, step) = (why.clone(), SkillTrustStep::Lost);
                record(
                    journal,
                    SkillTrust { digest: None, file: None, reason, step, version: None },
                );
            }
            _ => {}
        }
        seen.lost.clone_from(&lost);
        if seen != before {
            self.changes.fetch_add(1, Ordering::AcqRel);
            let kept = codec::to_vec(&seen).map(|bytes| journal.put_state(SEEN_KEY, &bytes));
            if !matches!(kept, Ok(Ok(()))) {
                error!("what is in force for skills is not remembered");
            }
        }
        match lost {
            Some(why) => Err(JudgeError::Lost(why)),
            None => Ok(()),
        }
    }
}

/// Why what is in force is not what was.
fn lost(before: &Seen, held: &Result<Option<InFolder>, FolderError>) -> Option<String> {
    let held = match held {
        Ok(Some(held)) => held,
        Ok(None) => {
            let (_, version) = before.document?;
            return Some(format!(
                "trust document version {version} was in force here and is gone; install it again: \
                 `nooterra-agent trust install FILE --first SHA256`"
            ));
        }
        Err(error) => return Some(error.to_string()),
    };
    let (document, list) = held.permitted;
    if let Some((digest, newest)) = before.document {
        let found = held.trust.document().version;
        if found < newest && held.trust.digest() != digest && !document {
            return Some(format!(
                "trust document version {found} lies where version {newest} was in force; install \
                 that again: `nooterra-agent trust install FILE`"
            ));
        }
    }
    let (digest, newest, revokers) = before.list?;
    // Other revokers count anew; so does a document that an operator began anew with.
    if revokers != held.trust.revokers() || document {
        return None;
    }
    let found = held.trust.list().filter(|_| held.trust.list_holds()).map(|list| list.version);
    let older = found.is_none_or(|found| found < newest);
    (older && held.trust.list_digest() != Some(digest) && !list).then(|| {
        format!(
            "revocation list version {newest} was in force here and is gone; install it, or a \
             newer one: `nooterra-agent trust install FILE`"
        )
    })
}

/// For the records.
fn in_words(held: &InFolder) -> (String, String) {
    let (trust, (document, list)) = (&held.trust, held.permitted);
    let by_operator = |permitted| if permitted { ", by an operator's permission" } else { "" };
    let until = |expires: WallMillis| format!("in force until {expires}");
    (
        until(trust.document().expires) + by_operator(document),
        trust.list().map_or(String::new(), |held| until(held.expires)) + by_operator(list),
    )
}

fn record(journal: &JournalHandle, change: SkillTrust) -> bool {
    match change.step {
        SkillTrustStep::Fresh | SkillTrustStep::Permitted | SkillTrustStep::PutInForce => {
            info!(reason = change.reason, "trust in skills: {:?}", change.step);
        }
        SkillTrustStep::Lost | SkillTrustStep::Refused | SkillTrustStep::Stale => {
            warn!(reason = change.reason, "trust in skills: {:?}", change.step);
        }
    }
    let appended = journal.append_durable(Entry::SkillTrust(change));
    if let Err(error) = &appended {
        error!(%error, "a change of the trust in skills is not in the journal");
    }
    appended.is_ok()
}
