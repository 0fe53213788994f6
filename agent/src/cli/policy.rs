//! `nooterra-agent policy`: the owner's envelope, from TOML or JSON to a signed document.

use super::Answer;
use super::compared::Compared;
use super::exit::{Code, coded};
#[cfg(feature = "tools")]
use super::masks;
use crate::activation::Folder;
use crate::config::Config;
use crate::{envelope, policy_file};
use clap::Subcommand;
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::policy::PolicyDocument;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say when, how long and by how much a policy would have acted on a recording
    #[cfg(feature = "tools")]
    Backtest(super::backtest::Backtest),
    /// Put the staged policy in force at the agent's next start, on trial
    Activate {
        /// Have the agent end by itself, once the robot stands and nothing is under way; its
        /// service starts it anew.
        #[arg(long)]
        when_idle: bool,
    },
    /// Check a policy in TOML or JSON: numbers, polygons, limits
    Check {
        /// The document.
        file: PathBuf,
    },
    /// Keep the policy that is on trial
    Confirm,
    /// Say what a new policy allows that the old one did not, and the reverse, with examples
    #[cfg(feature = "tools")]
    Diff(super::review::Diff),
    /// Say what a policy makes of a command in a state, and by which rules
    #[cfg(feature = "tools")]
    Explain(super::review::Explain),
    /// Turn a drone's fence (QGroundControl, MAVLink, ArduPilot) into zones of a policy
    #[cfg(feature = "tools")]
    Import(super::import::Import),
    /// Make one policy out of several, that allows no more than each of them
    #[cfg(feature = "tools")]
    Merge(super::review::Merge),
    /// Make an owner's key
    #[cfg(feature = "tools")]
    Keygen {
        /// Where the private key goes; whoever reads it can sign envelopes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Where the public key goes; robots are given this one.
        #[arg(long, value_name = "FILE")]
        public: PathBuf,
    },
    /// Say what a candidate would have done on this robot, from its black box
    Shadow {
        /// The journal; by default the configured one.
        dir: Option<PathBuf>,
    },
    /// Give up the policy that is on trial, or else the staged one
    Rollback,
    /// Show the policy that is in force by the configuration, after verifying it
    Show,
    /// Verify a signed policy and keep it on the robot, to be activated; say what it changes
    Stage {
        /// The signed document, with its masks beside it.
        file: PathBuf,
        /// Refuse it, with exit code 1, when it allows something that the one in force does not.
        #[arg(long)]
        deny_looser: bool,
    },
    /// Say which policies are configured, staged, on trial, confirmed and rejected
    Status,
    /// Check a policy in TOML or JSON and sign it, with masks from Nav2's map files
    #[cfg(feature = "tools")]
    Sign {
        /// The document.
        file: PathBuf,
        /// The owner's private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the signed document goes, and the files of its masks beside it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        masks: masks::Options,
    },
}

pub(super) fn answer(
    command: Command,
    load: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<Answer> {
    match command {
        #[cfg(feature = "tools")]
        Command::Backtest(backtest) => backtest.answer(),
        Command::Check { file } => {
            let document = read(&file)?;
            let text = format!(
                "{}: policy {} version {} for robot {} is in order",
                file.display(),
                document.id,
                document.version,
                document.robot
            );
            Ok(Answer::done(text, json!({ "ok": true, "policy": document })))
        }
        #[cfg(feature = "tools")]
        Command::Diff(diff) => diff.answer(),
        #[cfg(feature = "tools")]
        Command::Explain(explain) => explain.answer(),
        #[cfg(feature = "tools")]
        Command::Import(import) => import.answer(),
        #[cfg(feature = "tools")]
        Command::Merge(merge) => merge.answer(),
        #[cfg(feature = "tools")]
        Command::Keygen { out, public } => tools::keygen(&out, &public),
        Command::Shadow { dir } => {
            let dir = dir.map_or_else(|| Ok(load()?.state.journal_dir()), anyhow::Ok)?;
            super::shadow::answer(&dir)
        }
        Command::Activate { when_idle: false } => {
            let config = load()?;
            let policy = Folder::of(&config).activate(&config)?;
            Ok(of("takes effect at the agent's next start, on trial", &policy))
        }
        Command::Activate { when_idle: true } => {
            let config = load()?;
            let policy = Folder::of(&config).activate_when_idle(&config)?;
            let becomes = "takes effect, on trial, when the robot stands and nothing is under way: \
                           the agent then ends, and its service starts it anew";
            Ok(of(becomes, &policy))
        }
        Command::Confirm => {
            let config = load()?;
            let policy = Folder::of(&config).confirm(&config)?;
            Ok(of("is to be kept; the agent does so within a few seconds", &policy))
        }
        Command::Rollback => {
            let config = load()?;
            let what = Folder::of(&config).roll_back(&config)?;
            Ok(Answer::done(format!("{what} is given up"), json!({ "given_up": what })))
        }
        Command::Stage { file, deny_looser } => stage(&load()?, &file, deny_looser),
        Command::Status => {
            let config = load()?;
            let status = Folder::of(&config).status(&config);
            let line = |(name, hash, version): &(&str, Digest, u32)| {
                format!("{name:<11} version {version}, SHA-256 {hash}")
            };
            let mut lines: Vec<String> = status.policies.iter().map(line).collect();
            if status.activates {
                let moment = if status.when_idle {
                    "as soon as nothing is under way: the agent then ends, and starts anew"
                } else {
                    "at the agent's next start"
                };
                lines.push(format!("the staged policy takes effect {moment}"));
            }
            Ok(Answer::done(lines.join("\n"), json!(status)))
        }
        Command::Show => {
            let policy = envelope::load(&load()?)?;
            let text = serde_json::to_string_pretty(policy.document())?;
            Ok(Answer::done(text, json!({ "policy": policy.document(), "hash": policy.digest() })))
        }
        #[cfg(feature = "tools")]
        Command::Sign { file, key, out, masks } => tools::sign(&read(&file)?, &masks, &key, &out),
    }
}

/// Keeps a policy, and says what it changes of the one in force.
fn stage(config: &Config, file: &Path, deny_looser: bool) -> anyhow::Result<Answer> {
    let folder = Folder::of(config);
    let new = envelope::load_file(config, file)?;
    let (digest, compared) = (new.digest(), Compared::of(folder.in_force(config)?, new));
    if deny_looser && compared.looser {
        anyhow::bail!(
            "not staged: the new policy allows more than the one in force:\n{}",
            compared.text
        );
    }
    let policy = folder.stage(config, file)?;
    // What was compared is what was kept, also if the file was changed meanwhile.
    if policy.digest() != digest {
        folder.unstage()?;
        anyhow::bail!("{} was changed meanwhile; stage it again", file.display());
    }
    let mut answer = of("is staged; `policy activate` puts it in force", &policy);
    answer.text = format!("{}\nagainst the policy in force:\n{}", answer.text, compared.text);
    if let (Some(all), Some(told)) = (answer.json.as_object_mut(), compared.json.as_object()) {
        all.extend(told.clone());
    }
    Ok(answer)
}

/// What becomes of a signed policy.
fn of(becomes: &str, policy: &VerifiedPolicy) -> Answer {
    let (document, hash) = (policy.document(), policy.digest());
    let text = format!("policy {} version {} {becomes}", document.id, document.version);
    let json = json!({ "policy": document.id, "version": document.version, "hash": hash });
    Answer::done(text, json)
}

/// Reads a policy that is not signed yet.
pub(super) fn read(file: &Path) -> anyhow::Result<PolicyDocument> {
    policy_file::load(file).map_err(|error| coded(Code::Configuration, error))
}

#[cfg(feature = "tools")]
mod tools {
    use super::{Answer, Code, PolicyDocument, coded, masks};
    use crate::files;
    use anyhow::Context as _;
    use nooterra_policy::check_document;
    use nooterra_protocol::envelope::Signed;
    use nooterra_protocol::keys::{Ed25519Key, Signer as _};
    use serde_json::json;
    use std::fmt::Write as _;
    use std::path::Path;

    pub(super) fn keygen(out: &Path, public: &Path) -> anyhow::Result<Answer> {
        anyhow::ensure!(!out.exists(), "{} exists; a key is never overwritten", out.display());
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("no randomness for a key")?;
        let key = Ed25519Key::from_seed(seed);
        files::write_whole(out, key.to_pem()?.as_bytes(), 0o600)
            .with_context(|| out.display().to_string())?;
        let text = key.verifying_key().to_string();
        files::write_whole(public, format!("{text}\n").as_bytes(), 0o644)
            .with_context(|| public.display().to_string())?;
        Ok(Answer::done(format!("owner's public key: {text}"), json!({ "public_key": text })))
    }

    pub(super) fn sign(
        document: &PolicyDocument,
        masks: &masks::Options,
        key: &Path,
        out: &Path,
    ) -> anyhow::Result<Answer> {
        let mut document = document.clone();
        let drawn = masks::read(masks).map_err(|error| coded(Code::Configuration, error))?;
        let files: Vec<_> =
            drawn.iter().map(|(mask, file)| (mask.file_name(), file.as_slice())).collect();
        document.masks.extend(drawn.iter().map(|(mask, _)| mask.clone()));
        check_document(&document).map_err(|error| coded(Code::Configuration, error))?;
        let pem = std::fs::read_to_string(key).with_context(|| key.display().to_string())?;
        let key = Ed25519Key::from_pem(&pem).with_context(|| key.display().to_string())?;
        let signed = Signed::sign(document, &key)?;
        // The masks first: a policy that is there has its masks.
        for (name, bytes) in &files {
            let path = out.with_file_name(name);
            files::write_whole(&path, bytes, 0o644).with_context(|| path.display().to_string())?;
        }
        files::write_whole(out, signed.bytes(), 0o644)
            .with_context(|| out.display().to_string())?;
        let document = signed.body();
        let mut text = format!(
            "{}: policy {} version {}, signed, SHA-256 {}",
            out.display(),
            document.id,
            document.version,
            signed.digest()
        );
        for (name, bytes) in &files {
            let _ = write!(
                text,
                "\n{}: mask, {} bytes",
                out.with_file_name(name).display(),
                bytes.len()
            );
        }
        let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
        Ok(Answer::done(
            text,
            json!({ "hash": signed.digest(), "version": document.version, "masks": names }),
        ))
    }
}
