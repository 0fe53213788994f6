//! The rules in force: the owner's, signed and read from their file, or those of this release.

use super::{Authority, Decisions, Now, Rules, RulesError, Situation};
use crate::clock::{SystemClock, mono};
use crate::config::Config;
use crate::envelope::{EnvelopeError, owner_key};
use crate::versions::{Of, Versions, VersionsError};
use nooterra_blackbox::{JournalHandle, StateError};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::envelope::{Signed, SignedError};
use nooterra_protocol::grant::AuthorityDocument;
use nooterra_protocol::ids::{ActorId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::error;

/// What people decided, in the journal's state.
pub(crate) const DECIDED_KEY: &str = "authority.decided";

/// Why no rules are in force.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error("{}: {fault}", path.display())]
    File {
        /// What the system says.
        fault: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// The owner's rules were in force here, and the configuration names none any more.
    #[error(
        "the owner's rules version {0} were in force and `authority.file` names none; put it back, \
         or have the owner sign a new version that says what holds now"
    )]
    Gone(u32),
    /// Older rules than those that were in force here: put back by mistake, or by somebody.
    #[error(
        "rules version {found} are older than {newest}, which were in force; sign a new version"
    )]
    Older {
        /// In the file.
        found: u32,
        /// Was in force.
        newest: u32,
    },
    /// The owner's key cannot be had.
    #[error(transparent)]
    Owner(#[from] EnvelopeError),
    /// For another robot; the wrong file was installed.
    #[error(
        "{}: the rules are for robot {found}, this is {expected}; install the ones for \
         {expected}", path.display()
    )]
    Robot {
        /// This robot.
        expected: RobotId,
        /// Whom the rules name.
        found: RobotId,
        /// The file.
        path: PathBuf,
    },
    /// The text is not rules.
    #[error("{}:{fault}", path.display())]
    Rules {
        /// What is wrong, and where.
        fault: RulesError,
        /// The file.
        path: PathBuf,
    },
    /// Not signed by the owner, altered, or no rules at all.
    #[error("{}: the rules are not signed by this robot's owner: {fault}", path.display())]
    Signed {
        /// What is wrong with it.
        fault: SignedError,
        /// The file.
        path: PathBuf,
    },
    /// The journal cannot say what people decided.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is not known which versions were in force.
    #[error(transparent)]
    Versions(#[from] VersionsError),
}

/// Rules and where they come from.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What the owner signed; `None` for the rules of this release.
    pub document: Option<AuthorityDocument>,
    /// SHA-256 of the signed bytes, or of the text of this release.
    pub hash: Digest,
    /// As read.
    pub rules: Rules,
}

impl InForce {
    /// For people: which rules these are.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.document {
            Some(document) => format!("rules {} version {}", document.id, document.version),
            None => "the built-in rules".to_owned(),
        }
    }

    /// The text of the rules.
    #[must_use]
    pub fn text(&self) -> &str {
        self.document.as_ref().map_or(super::rules::DEFAULT, |document| &document.rules)
    }
}

/// Reads and verifies the configured rules; without any, those of this release.
///
/// # Errors
/// [`AuthorityError`], except `Older`, `State` and `Versions`.
pub fn load(config: &Config) -> Result<InForce, AuthorityError> {
    let Some(path) = &config.authority.file else {
        let fault = |fault| AuthorityError::Rules { fault, path: "default.cedar".into() };
        let hash = Digest::of(super::rules::DEFAULT.as_bytes());
        return Ok(InForce { document: None, hash, rules: Rules::built_in().map_err(fault)? });
    };
    let owner = owner_key(&config.policy.owner_key_file)?;
    let bytes =
        std::fs::read(path).map_err(|fault| AuthorityError::File { fault, path: path.clone() })?;
    verify(&bytes, &owner, &config.robot.id, path)
}

/// Checks the owner's signature, the robot, and the rules, in that order; `path` is for messages.
///
/// # Errors
/// [`AuthorityError::Signed`], `Robot` and `Rules`.
pub fn verify(
    bytes: &[u8],
    owner: &VerifyingKey,
    robot: &RobotId,
    path: &Path,
) -> Result<InForce, AuthorityError> {
    let path = || path.to_owned();
    let owner_id = owner.key_id();
    let signed =
        Signed::<AuthorityDocument>::verify(bytes, |key| (key == owner_id).then_some(owner))
            .map_err(|fault| AuthorityError::Signed { fault, path: path() })?;
    let hash = signed.digest();
    let document = signed.into_body();
    if document.robot != *robot {
        let (expected, found) = (robot.clone(), document.robot);
        return Err(AuthorityError::Robot { expected, found, path: path() });
    }
    let rules = Rules::parse(&document.rules)
        .map_err(|fault| AuthorityError::Rules { fault, path: path() })?;
    Ok(InForce { document: Some(document), hash, rules })
}

/// Refuses rules that are older than some that were in force, also where the owner's are gone
/// from the configuration and those of the release would come back; remembers newer ones.
///
/// # Errors
/// [`AuthorityError::Older`], `Gone` and `Versions`.
pub fn never_back(rules: &InForce, versions: &Versions) -> Result<(), AuthorityError> {
    let found = rules.document.as_ref().map(|document| document.version);
    match (found, versions.newest(Of::Authority)?) {
        (None, Some(newest)) => Err(AuthorityError::Gone(newest)),
        (Some(found), Some(newest)) if found < newest => {
            Err(AuthorityError::Older { found, newest })
        }
        (Some(found), _) => Ok(versions.remember(Of::Authority, found)?),
        (None, None) => Ok(()),
    }
}

/// What people decided; what cannot be read counts as a veto: there may have been one.
pub(crate) fn read_decided(bytes: &[u8]) -> Decisions {
    codec::from_slice(bytes).unwrap_or_else(|error| {
        error!(%error, "what people decided cannot be read; the robot is taken for vetoed");
        Decisions { vetoed: nobody(), ..Decisions::default() }
    })
}

/// What people had decided once, as it is kept after what they decided later was lost: the robot
/// is taken for vetoed.
pub(crate) fn vetoed_after(kept: Option<Vec<u8>>) -> Vec<u8> {
    let mut decided = kept.map(|bytes| read_decided(&bytes)).unwrap_or_default();
    decided.vetoed = decided.vetoed.or_else(nobody);
    // Nothing reads as a veto too.
    codec::to_vec(&decided).unwrap_or_default()
}

/// Who vetoes where nobody is known to have.
fn nobody() -> Option<ActorId> {
    ActorId::new("unreadable-memory").ok()
}

/// The authority of the running agent, by its clocks, with what people decided before it was
/// started. A memory of that which cannot be read counts as a veto: there may have been one.
///
/// # Errors
/// [`AuthorityError::State`].
pub fn authority(
    config: &Config,
    rules: Rules,
    clock: Arc<SystemClock>,
    journal: &JournalHandle,
) -> Result<Authority, AuthorityError> {
    let decided = match journal.get_state(DECIDED_KEY)? {
        None => Decisions::default(),
        Some(bytes) => read_decided(&bytes),
    };
    let situation = Situation::after(config.authority.mode, decided);
    let now = move || Now { mono: mono(), wall: clock.judged_wall() };
    let journal = journal.clone();
    let keep = move |decided: &Decisions| {
        let bytes = codec::to_vec(decided).unwrap_or_default();
        if let Err(error) = journal.put_state(DECIDED_KEY, &bytes) {
            error!(%error, "what people decided is not kept; it holds until the next start");
        }
    };
    let authority = Authority::new(config.robot.id.clone(), rules, situation, Box::new(now));
    Ok(authority.keeping(Box::new(keep)))
}
