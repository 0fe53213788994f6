//! The health gate of a version on trial: what it does in its first steps decides whether it is
//! the one that runs from now on, or is given up.

use super::shelf::Shelf;
use crate::installed::{Installed, PROVING_STEPS, Standing};
use crate::trust::Judge;
use nooterra_blackbox::JournalHandle;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep};
use nooterra_skill_host::{Bundle, End, Host, Recompiled, StartError};
use tracing::{info, warn};

/// A version while its action runs.
pub(super) struct Proving<'a> {
    bundle: &'a Bundle,
    installed: &'a Installed,
    judge: &'a Judge,
    on_trial: bool,
}

impl<'a> Proving<'a> {
    pub(super) fn new(
        installed: &'a Installed,
        judge: &'a Judge,
        bundle: &'a Bundle,
        standing: Standing,
    ) -> Self {
        Self { bundle, installed, judge, on_trial: standing == Standing::OnTrial }
    }

    pub(super) const fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// It was not started. Whether that is the version's own fault is decided here: what it may
    /// do on this robot and what the plan asks of it are not.
    pub(super) fn not_started(&mut self, why: &StartError) {
        match why {
            StartError::Component { .. }
            | StartError::Import { .. }
            | StartError::Undeclared { .. }
            | StartError::World { .. } => self.failed(&why.to_string()),
            StartError::Action { .. }
            | StartError::Capability { .. }
            | StartError::Machine { .. }
            | StartError::Thread(_) => self.answered(),
        }
    }

    /// It has made so many steps.
    pub(super) fn stepped(&mut self, steps: u64) {
        if steps >= PROVING_STEPS {
            self.proven(&format!("it made its first {PROVING_STEPS} steps"));
        }
    }

    /// It has ended by itself. A verdict of its own, such as a way that is blocked or a parameter
    /// that makes no sense, says nothing against it.
    pub(super) fn ended(&mut self, end: &End) {
        match end {
            End::Crashed(why) => self.failed(why),
            End::Done => self.proven("its action is done"),
            End::Failed(_) | End::Stopped => self.answered(),
        }
    }

    /// It came to an end in order, and stays on trial.
    pub(super) fn answered(&self) {
        if self.on_trial
            && let Err(error) = self.installed.answered(self.bundle)
        {
            warn!(%error, "its start counts as one without an end");
        }
    }

    /// Gives it up, where it is on trial.
    pub(super) fn failed(&mut self, why: &str) {
        if std::mem::take(&mut self.on_trial) {
            let manifest = self.bundle.manifest();
            warn!(skill = %manifest.id, version = manifest.version, why, "given up on its trial");
            let why = format!("on its trial: {why}");
            if let Err(error) = self.installed.failed(self.bundle, &why) {
                warn!(%error, "it is tried again: that it is given up cannot be stored");
                return;
            }
            if let Err(error) = self.go_back() {
                warn!(%error, "an older version is active, and not permitted to run");
            }
        }
    }

    /// The version that is active may run on, although a newer one was taken.
    fn go_back(&self) -> Result<(), Box<dyn std::error::Error>> {
        let skill = &self.bundle.manifest().id;
        let slots = self.installed.status()?.remove(skill);
        if let Some(active) = slots.and_then(|slots| slots.active) {
            self.judge.went_back(skill, &active.version)?;
        }
        Ok(())
    }

    fn proven(&mut self, why: &str) {
        if std::mem::take(&mut self.on_trial) {
            let manifest = self.bundle.manifest();
            info!(skill = %manifest.id, version = manifest.version, why, "has proven itself");
            if let Err(error) = self.installed.proven(self.bundle, why) {
                warn!(%error, "it stays on trial: that it has proven itself cannot be stored");
            }
        }
    }
}

/// Puts into the journal what became of skills' versions and of their compiled code.
pub(super) fn record_installed(journal: &JournalHandle, shelf: &Shelf, host: &Host) {
    let append = |step| match journal.append_durable(Entry::SkillInstall(step)) {
        Ok(_) => true,
        Err(error) => {
            warn!(%error, "a step of a skill's version is not in the journal yet");
            false
        }
    };
    if let Err(error) = shelf.installed().record(append) {
        warn!(%error, "steps of skills' versions are recorded again");
    }
    for recompiled in host.take_recompiled() {
        let Recompiled { bundle, reason, skill, version } = recompiled;
        warn!(%skill, version, reason, "compiled anew");
        append(SkillInstall {
            bundle: Some(bundle),
            reason,
            skill: Some(skill),
            step: SkillInstallStep::Recompiled,
            version: Some(version),
        });
    }
}
