//! A new policy in two steps: staged and looked at, then activated on trial, then confirmed.
//!
//! ```text
//! stage FILE     verified, its version newer                       -> staged.cbor
//! activate       asked for                                         -> activate
//!   --when-idle  and the agent is to start anew by itself          -> start_anew
//! next start     the robot stands: the new policy holds, on trial    staged.cbor -> trial.cbor
//! confirm        within the trial's time                             trial.cbor -> confirmed.cbor
//! no confirm     the agent ends and starts under the old one         trial.cbor -> rejected.cbor
//! crash, restart while on trial: the same                            trial.cbor -> rejected.cbor
//! ```
//! The command line writes requests, the daemon alone moves policies, and each move is one rename
//! in one folder: whenever the power goes, a policy is at one place or the other. The configured
//! file is never touched and never taken away. What is in force is the newest of it and of
//! the confirmed one; whatever does not verify is not in force.
//!
//! # What it never does
//! It never puts a policy in force while the robot may move: that happens at a start only. It
//! never goes back to an older version than one that was in force outside a trial; for that the
//! owner signs a new one.

use crate::config::Config;
use crate::envelope::{self, EnvelopeError};
use crate::files;
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{PolicyStep, PolicyStepKind};
use nooterra_protocol::policy::Mask;
use nooterra_protocol::time::MonoNanos;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ACTIVATE: &str = "activate";
const ANEW: &str = "start_anew";
const CONFIRM: &str = "confirm";
const CONFIRMED: &str = "confirmed.cbor";
const REJECTED: &str = "rejected.cbor";
const ROLL_BACK: &str = "roll_back";
const STAGED: &str = "staged.cbor";
const TRIAL: &str = "trial.cbor";

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The policy does not verify, or cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A file of the folder cannot be written or moved.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing is at the place that the step starts from.
    #[error("{0}")]
    Nothing(&'static str),
    /// A version that is not newer than the one in force.
    #[error("policy version {found} is not newer than {newest}, in force; sign a new version")]
    Older {
        /// In the file.
        found: u32,
        /// In force.
        newest: u32,
    },
}

/// The folder of policies in the agent's state.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

/// The policy to start under, and what led to it, for the journal.
#[derive(Debug)]
pub struct Started {
    /// In force from now on.
    pub policy: VerifiedPolicy,
    /// In order.
    pub steps: Vec<PolicyStep>,
    /// Where the policy is on trial.
    pub trial: Option<Trial>,
}

/// A policy on trial.
#[derive(Clone, Debug)]
pub struct Trial {
    folder: Folder,
    hash: Digest,
    until: MonoNanos,
    version: u32,
}

/// What became of a trial.
#[derive(Debug)]
pub enum Outcome {
    /// A person confirmed it in time: record the step, then [`Trial::keep`].
    Confirmed(PolicyStep),
    /// Its time is over, or a person gave it up: record the step, then stop the robot and end.
    /// The next start is under the old policy.
    Over(PolicyStep),
    /// Still on trial.
    Pending,
}

/// Where everything stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// The staged policy takes effect at the next start.
    pub activates: bool,
    /// The agent ends for that by itself, when nothing is under way.
    pub when_idle: bool,
    /// Hash and version, by place: `configured`, `confirmed`, `rejected`, `staged`, `trial`.
    pub policies: Vec<(&'static str, Digest, u32)>,
}

impl Folder {
    /// That of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { dir: config.state.dir.join("policy") }
    }

    /// Verifies a policy and keeps it, with its masks, for [`Folder::activate`]. One that was
    /// staged before is replaced, and is activated no more.
    ///
    /// # Errors
    /// [`ActivationError`]; nothing has changed for the robot.
    pub fn stage(&self, config: &Config, file: &Path) -> Result<VerifiedPolicy, ActivationError> {
        let policy = envelope::load_file(config, file)?;
        let (found, newest) = (policy.document().version, self.newest(config)?.version());
        if found <= newest {
            return Err(ActivationError::Older { found, newest });
        }
        let at = |path: &Path| path.to_owned();
        files::private_dir(&self.dir)
            .map_err(|source| ActivationError::File { path: at(&self.dir), source })?;
        self.take_away(ANEW)?;
        self.take_away(ACTIVATE)?;
        let beside = file.parent().unwrap_or(Path::new("."));
        // The masks first: a policy that is there has its masks.
        let names = policy.document().masks.iter().map(Mask::file_name);
        let copies = names.map(|name| (beside.join(&name), self.dir.join(name)));
        for (from, to) in copies.chain([(at(file), self.dir.join(STAGED))]) {
            let copied =
                std::fs::read(&from).and_then(|bytes| files::write_whole(&to, &bytes, 0o600));
            copied.map_err(|source| ActivationError::File { path: to, source })?;
        }
        // What is kept is what was verified, also if the file was changed meanwhile.
        let kept = envelope::load_file(config, &self.dir.join(STAGED))?;
        Ok(kept)
    }

    /// Asks for the staged policy to take effect at the next start.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn activate(&self, config: &Config) -> Result<VerifiedPolicy, ActivationError> {
        if !self.dir.join(STAGED).exists() {
            return Err(ActivationError::Nothing("no policy is staged; `policy stage FILE` first"));
        }
        let policy = envelope::load_file(config, &self.dir.join(STAGED))?;
        self.request(ACTIVATE, policy.digest())?;
        Ok(policy)
    }

    /// Asks for the staged policy to take effect as soon as the robot stands and nothing is under
    /// way: the agent then ends, and its service starts it anew.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn activate_when_idle(&self, config: &Config) -> Result<VerifiedPolicy, ActivationError> {
        let policy = self.activate(config)?;
        self.request(ANEW, policy.digest())?;
        Ok(policy)
    }

    /// The agent is to start anew for a policy that would then be on trial. One that does not
    /// verify is no reason to end.
    #[must_use]
    pub fn wants_anew(&self, config: &Config) -> bool {
        let Some(asked) = self.requested(ANEW) else {
            return false;
        };
        let staged = envelope::load_file(config, &self.dir.join(STAGED));
        self.requested(ACTIVATE).as_ref() == Some(&asked)
            && staged.is_ok_and(|policy| policy.digest().to_string() == asked)
    }

    /// What holds outside a trial.
    ///
    /// # Errors
    /// [`ActivationError::Envelope`] where nothing verifies.
    pub fn in_force(&self, config: &Config) -> Result<VerifiedPolicy, ActivationError> {
        self.newest(config).map(|in_force| in_force.0)
    }

    /// Asks for the policy on trial to be kept. The daemon does it within a few seconds.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn confirm(&self, config: &Config) -> Result<VerifiedPolicy, ActivationError> {
        let policy = self.on_trial(config)?;
        self.request(CONFIRM, policy.digest())?;
        Ok(policy)
    }

    /// Gives up what is on trial, or else what is staged. The daemon ends for a policy on trial
    /// within a few seconds, and starts under the old one.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn roll_back(&self, config: &Config) -> Result<&'static str, ActivationError> {
        if self.dir.join(TRIAL).exists() {
            self.request(ROLL_BACK, self.on_trial(config)?.digest())?;
            return Ok("the policy on trial");
        }
        if self.dir.join(STAGED).exists() {
            self.unstage()?;
            return Ok("the staged policy");
        }
        Err(ActivationError::Nothing("no policy is staged or on trial; nothing is to be undone"))
    }

    /// Gives up what is staged.
    ///
    /// # Errors
    /// [`ActivationError::File`].
    pub fn unstage(&self) -> Result<(), ActivationError> {
        self.take_away(ANEW)?;
        self.take_away(ACTIVATE)?;
        self.rename(STAGED, REJECTED)
    }

    /// Where everything stands; what does not verify is left out.
    #[must_use]
    pub fn status(&self, config: &Config) -> Status {
        let mut policies = Vec::new();
        let mut note = |name, policy: Result<VerifiedPolicy, EnvelopeError>| {
            if let Ok(policy) = policy {
                policies.push((name, policy.digest(), policy.document().version));
            }
        };
        note("configured", envelope::load(config));
        for name in [CONFIRMED, REJECTED, STAGED, TRIAL] {
            let policy = envelope::load_file(config, &self.dir.join(name));
            note(name.trim_end_matches(".cbor"), policy);
        }
        let (activates, when_idle) =
            (self.dir.join(ACTIVATE).exists(), self.dir.join(ANEW).exists());
        Status { activates, when_idle: activates && when_idle, policies }
    }

    /// Chooses the policy for this start, at `now`.
    ///
    /// # Errors
    /// [`ActivationError`] when there is none: the robot stands.
    pub fn start(
        &self,
        config: &Config,
        trial_s: Duration,
        now: MonoNanos,
    ) -> Result<Started, ActivationError> {
        let mut steps = Vec::new();
        // Asked of a trial that is over by now.
        self.take_away(CONFIRM)?;
        self.take_away(ROLL_BACK)?;
        self.take_away(ANEW)?;
        if self.dir.join(TRIAL).exists() {
            let policy = envelope::load_file(config, &self.dir.join(TRIAL));
            self.rename(TRIAL, REJECTED)?;
            let reason = "the agent ended while it was on trial";
            steps.push(step(PolicyStepKind::RolledBack, policy.as_ref().ok(), reason));
        }
        let old = self.newest(config);
        if let Some(asked) = self.requested(ACTIVATE) {
            self.take_away(ACTIVATE)?;
            let staged = envelope::load_file(config, &self.dir.join(STAGED));
            let newest = old.as_ref().map_or(0, InForce::version);
            match staged {
                Ok(policy)
                    if policy.digest().to_string() == asked
                        && policy.document().version > newest =>
                {
                    self.rename(STAGED, TRIAL)?;
                    steps.push(step(PolicyStepKind::OnTrial, Some(&policy), "activated"));
                    let trial = Trial {
                        folder: self.clone(),
                        hash: policy.digest(),
                        until: now.plus(trial_s),
                        version: policy.document().version,
                    };
                    return Ok(Started { policy, steps, trial: Some(trial) });
                }
                Ok(policy) => {
                    let why = "it is not the policy that was activated, or not newer";
                    steps.push(step(PolicyStepKind::Refused, Some(&policy), why));
                }
                Err(error) => {
                    steps.push(step(PolicyStepKind::Refused, None, &error.to_string()));
                }
            }
        }
        Ok(Started { policy: old?.0, steps, trial: None })
    }

    /// The newest of the configured and the confirmed policy. One that does not verify leaves
    /// the other; if neither does, the configured one's error says why.
    fn newest(&self, config: &Config) -> Result<InForce, ActivationError> {
        let confirmed = envelope::load_file(config, &self.dir.join(CONFIRMED));
        let policy = match (envelope::load(config), confirmed) {
            (Ok(configured), Ok(confirmed)) => {
                let newer = confirmed.document().version > configured.document().version;
                if newer { confirmed } else { configured }
            }
            (Ok(policy), Err(_)) | (Err(_), Ok(policy)) => policy,
            (Err(error), Err(_)) => return Err(error.into()),
        };
        Ok(InForce(policy))
    }

    fn on_trial(&self, config: &Config) -> Result<VerifiedPolicy, ActivationError> {
        if !self.dir.join(TRIAL).exists() {
            return Err(ActivationError::Nothing(
                "no policy is on trial; `policy status` says more",
            ));
        }
        Ok(envelope::load_file(config, &self.dir.join(TRIAL))?)
    }

    fn request(&self, name: &str, hash: Digest) -> Result<(), ActivationError> {
        let path = self.dir.join(name);
        let text = format!("{hash}\n");
        files::write_whole(&path, text.as_bytes(), 0o600)
            .map_err(|source| ActivationError::File { path, source })
    }

    fn requested(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ActivationError> {
        let path = self.dir.join(from);
        std::fs::rename(&path, self.dir.join(to))
            .and_then(|()| std::fs::File::open(&self.dir)?.sync_all())
            .map_err(|source| ActivationError::File { path, source })
    }

    /// Removes a request, durably; none is as good.
    fn take_away(&self, name: &str) -> Result<(), ActivationError> {
        let path = self.dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ActivationError::File { path, source }),
            Ok(()) => std::fs::File::open(&self.dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|source| ActivationError::File { path, source }),
        }
    }
}

struct InForce(VerifiedPolicy);

impl InForce {
    fn version(&self) -> u32 {
        self.0.document().version
    }
}

impl Trial {
    /// Looks for what people asked, every few seconds, from a thread that may wait.
    #[must_use]
    pub fn look(&self, now: MonoNanos) -> Outcome {
        let step = |step, reason: &str| {
            let (hash, version) = (Some(self.hash), Some(self.version));
            PolicyStep { hash, reason: reason.to_owned(), step, version }
        };
        let over = |reason| Outcome::Over(step(PolicyStepKind::RolledBack, reason));
        let hash = self.hash.to_string();
        if self.folder.requested(ROLL_BACK).as_deref() == Some(hash.as_str()) {
            return over("a person gave it up");
        }
        if now >= self.until {
            return over("nobody confirmed it in time");
        }
        if self.folder.requested(CONFIRM).as_deref() == Some(hash.as_str()) {
            let reason = "a person confirmed it";
            return Outcome::Confirmed(step(PolicyStepKind::Confirmed, reason));
        }
        Outcome::Pending
    }

    /// Keeps a policy that was confirmed.
    ///
    /// # Errors
    /// [`ActivationError`]: still on trial.
    pub fn keep(&self) -> Result<(), ActivationError> {
        self.folder.rename(TRIAL, CONFIRMED)?;
        self.folder.take_away(CONFIRM)
    }
}

fn step(kind: PolicyStepKind, policy: Option<&VerifiedPolicy>, reason: &str) -> PolicyStep {
    PolicyStep {
        hash: policy.map(VerifiedPolicy::digest),
        reason: reason.to_owned(),
        step: kind,
        version: policy.map(|policy| policy.document().version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::envelope::Signed;
    use nooterra_protocol::keys::{Ed25519Key, Signer as _};
    use nooterra_protocol::policy::PolicyDocument;

    const TRIAL_TIME: Duration = Duration::from_secs(60);

    struct Site {
        config: Config,
        dir: tempfile::TempDir,
        document: PolicyDocument,
        folder: Folder,
    }

    fn site() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let amr = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/amr");
        std::fs::copy(amr.join("agent.toml"), dir.path().join("agent.toml")).unwrap();
        let text = std::fs::read_to_string(amr.join("policy.json")).unwrap();
        let mut document: PolicyDocument = serde_json::from_str(&text).unwrap();
        document.version = 1;
        let owner = Ed25519Key::from_seed([9; 32]).verifying_key().to_string();
        std::fs::write(dir.path().join("owner.pub"), owner).unwrap();
        let config = Config::load(&dir.path().join("agent.toml")).unwrap();
        let folder = Folder::of(&config);
        let site = Site { config, dir, document, folder };
        std::fs::rename(site.signed(1), site.dir.path().join("policy.cbor")).unwrap();
        site
    }

    impl Site {
        fn signed(&self, version: u32) -> PathBuf {
            let document = PolicyDocument { version, ..self.document.clone() };
            let signed = Signed::sign(document, &Ed25519Key::from_seed([9; 32])).unwrap();
            let path = self.dir.path().join(format!("v{version}.cbor"));
            std::fs::write(&path, signed.bytes()).unwrap();
            path
        }

        /// A start: the version in force, and the steps.
        fn start(&self) -> (u32, Vec<PolicyStepKind>, Option<Trial>) {
            let started = self.folder.start(&self.config, TRIAL_TIME, MonoNanos(0)).unwrap();
            let steps = started.steps.iter().map(|step| step.step).collect();
            (started.policy.document().version, steps, started.trial)
        }

        fn stage(&self, version: u32) -> Result<VerifiedPolicy, ActivationError> {
            self.folder.stage(&self.config, &self.signed(version))
        }

        fn put(&self, name: &str, version: u32) {
            let bytes = std::fs::read(self.signed(version)).unwrap();
            std::fs::create_dir_all(&self.folder.dir).unwrap();
            std::fs::write(self.folder.dir.join(name), bytes).unwrap();
        }
    }

    #[test]
    fn a_policy_is_staged_activated_tried_and_confirmed() {
        let site = site();
        assert_eq!(site.start().0, 1);
        assert!(matches!(site.stage(1), Err(ActivationError::Older { found: 1, newest: 1 })));
        site.stage(2).unwrap();
        assert_eq!(site.start().0, 1, "staged is not activated");
        site.folder.activate(&site.config).unwrap();
        let (version, steps, trial) = site.start();
        assert_eq!((version, steps), (2, vec![PolicyStepKind::OnTrial]));
        let trial = trial.unwrap();
        assert!(matches!(trial.look(MonoNanos(59_999_999_999)), Outcome::Pending));
        site.folder.confirm(&site.config).unwrap();
        assert!(matches!(trial.look(MonoNanos(59_999_999_999)), Outcome::Confirmed(_)));
        trial.keep().unwrap();
        let (version, steps, trial) = site.start();
        assert_eq!((version, steps), (2, vec![]));
        assert!(trial.is_none());
    }

    #[test]
    fn a_trial_that_nobody_confirms_or_that_a_crash_ends_is_rolled_back() {
        let site = site();
        site.stage(2).unwrap();
        site.folder.activate(&site.config).unwrap();
        let trial = site.start().2.unwrap();
        assert!(matches!(trial.look(MonoNanos(60_000_000_000)), Outcome::Over(_)));
        // Confirmed too late: the agent has ended.
        site.folder.confirm(&site.config).unwrap();
        assert!(matches!(trial.look(MonoNanos(60_000_000_000)), Outcome::Over(_)));
        let (version, steps, trial) = site.start();
        assert_eq!((version, steps), (1, vec![PolicyStepKind::RolledBack]));
        assert!(trial.is_none());
        let error = site.folder.confirm(&site.config).unwrap_err();
        assert!(error.to_string().contains("no policy is on trial"), "{error}");
        assert_eq!(site.start().1, vec![]);
    }

    #[test]
    fn a_person_gives_up_what_is_on_trial_or_staged() {
        let site = site();
        assert!(matches!(site.folder.roll_back(&site.config), Err(ActivationError::Nothing(_))));
        site.stage(2).unwrap();
        site.folder.activate(&site.config).unwrap();
        let trial = site.start().2.unwrap();
        assert_eq!(site.folder.roll_back(&site.config).unwrap(), "the policy on trial");
        assert!(matches!(trial.look(MonoNanos(0)), Outcome::Over(_)));
        assert_eq!(site.start().0, 1);
        site.stage(3).unwrap();
        site.folder.activate(&site.config).unwrap();
        assert_eq!(site.folder.roll_back(&site.config).unwrap(), "the staged policy");
        assert_eq!(site.start().0, 1);
    }

    #[test]
    fn wherever_the_power_goes_a_start_finds_the_old_or_the_new_policy() {
        let request = |site: &Site, name: &str, version: u32| {
            let policy = envelope::load_file(&site.config, &site.signed(version)).unwrap();
            site.folder.request(name, policy.digest()).unwrap();
        };
        // Each state that a cut between two renames leaves, and the version of the next start.
        type Cut<'a> = (&'a str, &'a [(&'a str, u32)], &'a [(&'a str, u32)], u32);
        let cuts: [Cut<'_>; 8] = [
            ("nothing was written", &[], &[], 1),
            ("staged", &[(STAGED, 2)], &[], 1),
            ("asked for", &[(STAGED, 2)], &[(ACTIVATE, 2)], 2),
            ("asked for, then another was staged", &[(STAGED, 3)], &[(ACTIVATE, 2)], 1),
            ("the request is gone, the move is not done", &[(STAGED, 2)], &[], 1),
            ("on trial", &[(TRIAL, 2)], &[], 1),
            ("on trial, asked to be kept", &[(TRIAL, 2)], &[(CONFIRM, 2)], 1),
            ("kept, the request not gone", &[(CONFIRMED, 2)], &[(CONFIRM, 2)], 2),
        ];
        for (what, files, requests, version) in cuts {
            let site = site();
            std::fs::create_dir_all(&site.folder.dir).unwrap();
            for (name, version) in files {
                site.put(name, *version);
            }
            for (name, version) in requests {
                request(&site, name, *version);
            }
            assert_eq!(site.start().0, version, "{what}");
        }
    }

    #[test]
    fn a_policy_that_does_not_load_leaves_the_old_one_in_force() {
        let site = site();
        site.stage(2).unwrap();
        site.folder.activate(&site.config).unwrap();
        std::fs::write(site.folder.dir.join(STAGED), b"cut short").unwrap();
        let (version, steps, _) = site.start();
        assert_eq!((version, steps), (1, vec![PolicyStepKind::Refused]));
        site.put(CONFIRMED, 2);
        std::fs::write(site.dir.path().join("policy.cbor"), b"cut short").unwrap();
        assert_eq!(site.start().0, 2, "the confirmed one is still whole");
        std::fs::write(site.folder.dir.join(CONFIRMED), b"cut short").unwrap();
        let none = site.folder.start(&site.config, TRIAL_TIME, MonoNanos(0));
        assert!(matches!(none, Err(ActivationError::Envelope(_))), "without any the robot stands");
    }

    #[test]
    fn a_strangers_policy_is_not_staged() {
        let site = site();
        let document = PolicyDocument { version: 9, ..site.document.clone() };
        let signed = Signed::sign(document, &Ed25519Key::from_seed([8; 32])).unwrap();
        let path = site.dir.path().join("stranger.cbor");
        std::fs::write(&path, signed.bytes()).unwrap();
        let refused = site.folder.stage(&site.config, &path).unwrap_err();
        assert!(refused.to_string().contains("not signed by this robot's owner"), "{refused}");
    }
}
