//! `skill install`, `skill installed` and `skill rollback`: the versions on this robot.

use super::super::Answer;
use super::super::exit::{Code, coded};
use crate::config::Config;
use crate::installed::{InstallError, Installed, Slots, Standing};
use crate::jobs::Epochs;
use crate::own_cases::{self, NotPassed, Passed, Terms};
use crate::trust::{Judge, JudgeError};
use anyhow::Context as _;
use nooterra_protocol::ids::SkillId;
use nooterra_skill_host::{Bundle, Host, HostOptions, Origin, SkillError, StartError};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of `skill install`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Install {
    /// The bundle.
    file: PathBuf,
    /// Its signature; FILE.minisig unless named.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

impl Install {
    pub(super) fn answer(self, config: &Config) -> anyhow::Result<Answer> {
        let signature = self.signature.unwrap_or_else(|| super::minisig(&self.file));
        let judge = Judge::of(config);
        let bytes = std::fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        let signed = std::fs::read_to_string(&signature)
            .with_context(|| format!("{}: the bundle's signature", signature.display()))
            .map_err(|error| coded(Code::NotVerified, error))?;
        let refused = |reason: String| {
            let text = format!("{}: refused, nothing has changed: {reason}", self.file.display());
            let json = json!({ "installed": false, "reason": reason });
            Ok(Answer { code: Code::NotVerified, text, json })
        };
        let bundle = match judge.bundle(&bytes, &signed, Origin::New) {
            Ok(bundle) => bundle,
            Err(error @ JudgeError::Keys(_)) => return Err(coded(Code::Configuration, error)),
            Err(error) => return refused(error.to_string()),
        };
        let installed = Installed::new(config.state.skills_dir());
        match instantiates(config, &installed, &bundle)? {
            Ok(()) => {}
            Err(NotMade::Refused(reason)) => return refused(reason),
            Err(NotMade::Fault(why)) => return Err(fault(&self.file, &why)),
        }
        let cases = match own_cases::pass(&bundle, Terms::of(&config.skills), || true) {
            Ok(cases) => cases,
            Err(NotPassed::Failed(why) | NotPassed::TooSlow(why)) => return refused(why),
            Err(NotPassed::Fault(why)) => return Err(fault(&self.file, &why)),
            Err(NotPassed::Wanted(why)) => {
                return refused(format!("{why}, and `skills.require_cases` is set here"));
            }
            Err(NotPassed::Stopped) => return refused("it was interrupted".to_owned()),
        };
        let signers: Vec<String> = bundle.signers().iter().map(ToString::to_string).collect();
        let why = format!("by hand; signed by {}", signers.join(", "));
        let standing = installed.install(&bundle, &signed, &why)?;
        judge.taken(&bundle)?;
        let manifest = bundle.manifest();
        let says = match standing {
            Standing::OnTrial => "on trial: it is active once a job's first steps went well",
            Standing::Proven => "has proven itself here before",
        };
        let mut text = format!("{} {}: {says}", manifest.id, manifest.version);
        let cases = match cases {
            Passed::All(cases) => {
                let _ = write!(text, "; all of its {cases} cases came out as they must");
                Some(cases)
            }
            Passed::NotRun(_) if bundle.cases().is_none() => None,
            Passed::NotRun(why) => {
                let _ = write!(text, "; {why}");
                None
            }
        };
        let json = json!({
            "installed": true,
            "skill": manifest.id,
            "version": manifest.version,
            "bundle": bundle.digest(),
            "cases_passed": cases,
            "proven": standing == Standing::Proven,
        });
        Ok(Answer::done(text, json))
    }
}

/// Nothing was held against the bundle.
fn fault(file: &Path, why: &str) -> anyhow::Error {
    let file = file.display();
    let text = format!("{file}: not installed, nothing has changed: {why}");
    anyhow::anyhow!("{text}; that is a fault of this machine, not of the bundle")
}

/// Why there is no instance, in words.
enum NotMade {
    /// It is this machine's fault.
    Fault(String),
    /// It is the bundle's fault.
    Refused(String),
}

/// Compiles it, which leaves the code for the agent, and makes one instance.
fn instantiates(
    config: &Config,
    installed: &Installed,
    bundle: &Bundle,
) -> anyhow::Result<Result<(), NotMade>> {
    let mut host = Host::new(HostOptions::default())?;
    if let Some(code) = installed.compiled_code(config.skills.compiled_mib)? {
        host = host.with_disk(code);
    }
    let host = Arc::new(host);
    let _epochs = Epochs::count(&host);
    Ok(match host.try_out(bundle, &config.skills.grant) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ SkillError::Machine(_))) => Err(NotMade::Fault(error.to_string())),
        Err(error @ StartError::Machine { .. }) => Err(NotMade::Fault(error.to_string())),
        Ok(Err(error)) => Err(NotMade::Refused(error.to_string())),
        Err(error) => Err(NotMade::Refused(error.to_string())),
    })
}

/// Of `skill rollback`.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Rollback {
    /// The skill's id, as `skill installed` shows it.
    skill: SkillId,
}

impl Rollback {
    pub(super) fn answer(&self, config: &Config) -> anyhow::Result<Answer> {
        let Self { skill } = self;
        let installed = Installed::new(config.state.skills_dir());
        let rolled_back = match installed.roll_back(skill, "by hand") {
            Ok(rolled_back) => rolled_back,
            Err(error @ InstallError::Nothing(_)) => {
                let json = json!({ "rolled_back": false, "reason": error.to_string() });
                return Ok(Answer { code: Code::Failed, text: error.to_string(), json });
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(to) = &rolled_back.to {
            Judge::of(config).went_back(skill, &to.version)?;
        }
        let mut text = format!("{skill} {} is given up", rolled_back.from.version);
        let _ = match &rolled_back.to {
            Some(to) => write!(text, "; {} is active", to.version),
            None => write!(text, "; no version has proven itself"),
        };
        let json = json!({ "rolled_back": true, "from": rolled_back.from, "to": rolled_back.to });
        Ok(Answer::done(text, json))
    }
}

/// What `skill installed` says.
pub(super) fn installed(config: &Config) -> anyhow::Result<Answer> {
    let skills = Installed::new(config.state.skills_dir()).status()?;
    let mut text = String::new();
    for (skill, Slots { active, before, given_up, trial, .. }) in &skills {
        let _ = writeln!(text, "{skill}");
        let mut line = |what: &str, version: &str, more: &str| {
            let _ = writeln!(text, "  {what:<9} {version}{more}");
        };
        if let Some(active) = active {
            line("active", &active.version, "");
        }
        if let Some(before) = before {
            line("before", &before.version, "");
        }
        if let Some(trial) = trial {
            line("on trial", &trial.of.version, &format!(", started {} times", trial.starts));
        }
        for given_up in given_up {
            line("given up", &given_up.of.version, &format!(": {}", given_up.reason));
        }
    }
    if text.is_empty() {
        text = "no skill is installed; a job brings those of its plan".to_owned();
    }
    Ok(Answer::done(text.trim_end().to_owned(), json!({ "skills": skills })))
}
