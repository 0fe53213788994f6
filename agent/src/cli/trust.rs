//! `nooterra-agent trust`: whose skills this robot takes.

use super::Answer;
use super::exit::{Code, coded};
use crate::config::Config;
use crate::trust::{FolderError, InFolder, Judge, carried};
use clap::Subcommand;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill::Tier;
use nooterra_protocol::trust::Signers;
use nooterra_skill_host::{Back, Standing};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put a trust document or a revocation list in force
    Install {
        /// The document or list, JSON.
        file: PathBuf,
        /// Its signatures, one `.minisig` after the other; FILE.minisig unless named.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
        /// The first document of this robot, known by its hash (`sha256sum FILE`).
        #[arg(long, value_name = "SHA256", value_parser = digest)]
        first: Option<Digest>,
        /// Permit an older version than the one in force; with `--first`, begin anew.
        #[arg(long)]
        allow_older: bool,
    },
    /// Permit an older version of a skill than the newest that was taken
    Permit {
        /// The skill.
        skill: SkillId,
        /// Its older version.
        version: String,
    },
    /// Say what is in force, and whether new skills are taken
    Show,
}

pub(super) fn answer(
    command: Command,
    load: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<Answer> {
    let judge = Judge::of(&load()?);
    match command {
        Command::Install { file, signature, first, allow_older } => {
            let signature = signature.unwrap_or_else(|| minisig(&file));
            let back = if allow_older { Back::Permitted } else { Back::Never };
            install(&judge, &file, &signature, first, back)
        }
        Command::Permit { skill, version } => {
            judge.folder().permit(&skill, &version).map_err(of_folder)?;
            let text = format!("{skill} {version} may run, until a newer version is taken");
            Ok(Answer::done(text, json!({ "skill": skill, "version": version })))
        }
        Command::Show => show(&judge),
    }
}

/// For `check`: what bundles are judged by, where a document is in force.
pub(super) fn in_short(config: &Config) -> anyhow::Result<Option<String>> {
    let judge = Judge::of(config);
    let held = judge.folder().load().map_err(of_folder)?;
    Ok(held.map(|InFolder { trust, .. }| {
        let (document, standing) = (trust.document(), trust.standing(judge.now()));
        let new = if standing == Standing::Fresh { "taken" } else { "not taken" };
        format!(
            "skills of fleet {} by trust document {}, new ones {new}",
            document.fleet, document.version
        )
    }))
}

fn install(
    judge: &Judge,
    file: &Path,
    signature: &Path,
    first: Option<Digest>,
    back: Back,
) -> anyhow::Result<Answer> {
    let carried = carried(file, signature).map_err(of_folder)?;
    match judge.folder().install(&carried, first, back, judge.now()) {
        Ok(put) => {
            let standing = judge.folder().load().map_err(of_folder)?;
            let standing = standing.map(|held| held.trust.standing(judge.now()));
            let mut text = format!(
                "{} version {} is in force{}",
                put.file,
                put.version,
                if put.same { ", as it was" } else { "" }
            );
            if let Some(standing) = standing.filter(|standing| *standing != Standing::Fresh) {
                let _ = write!(text, "; no new skill is taken yet: {standing}");
            }
            let json = json!({
                "installed": true,
                "file": put.file,
                "version": put.version,
                "digest": put.digest,
                "same": put.same,
                "standing": standing.map(|standing| standing.to_string()),
            });
            Ok(Answer::done(text, json))
        }
        Err(error @ (FolderError::File { .. } | FolderError::Damaged { .. })) => {
            Err(of_folder(error))
        }
        Err(error) => {
            let reason = error.to_string();
            Ok(Answer {
                code: Code::NotVerified,
                text: format!("{}: refused: {reason}", file.display()),
                json: json!({ "installed": false, "reason": reason }),
            })
        }
    }
}

fn show(judge: &Judge) -> anyhow::Result<Answer> {
    let Some(InFolder { marks, trust, .. }) = judge.folder().load().map_err(of_folder)? else {
        let text = "no trust document is in force: the keys of `skills.trusted_keys_dir` vouch for \
                    skills of the tier dev, and for no others";
        return Ok(Answer::done(text, json!({ "document": null })));
    };
    let (document, standing) = (trust.document(), trust.standing(judge.now()));
    let signers = |role: &Signers| {
        let ids: Vec<String> = role
            .keys
            .iter()
            .map(|name| trust.key_id(name).map_or(name.to_string(), |id| format!("{name} {id}")))
            .collect();
        format!("{} of {}", role.threshold, ids.join(", "))
    };
    let mut text = format!(
        "fleet {}, trust document version {}, {} to {}\nSHA-256 {}\nroots: {}\n",
        document.fleet,
        document.version,
        document.issued,
        document.expires,
        trust.digest(),
        signers(&document.roots)
    );
    let _ = match &document.revokers {
        Some(revokers) => writeln!(text, "revokers: {}", signers(revokers)),
        None => writeln!(text, "revokers: none"),
    };
    for (name, tier) in
        [("dev", Tier::Dev), ("lab_cert", Tier::LabCert), ("field_cert", Tier::FieldCert)]
    {
        let _ = match document.tiers.of(tier) {
            Some(by) => writeln!(
                text,
                "{name}: developers {}{}",
                signers(&by.developers),
                by.certifiers
                    .as_ref()
                    .map_or(String::new(), |by| format!("; certifiers {}", signers(by)))
            ),
            None => writeln!(text, "{name}: not accepted"),
        };
    }
    let _ = match trust.list() {
        Some(list) => writeln!(
            text,
            "revocation list version {}, {} to {}: {} keys, {} bundles, {} versions{}",
            list.version,
            list.issued,
            list.expires,
            list.keys.len(),
            list.bundles.len(),
            list.versions.len(),
            if trust.list_holds() { "" } else { " (by revokers of an earlier document)" }
        ),
        None => writeln!(text, "revocation list: none"),
    };
    for (skill, mark) in marks.iter() {
        let permitted = mark.permitted.as_ref();
        let permitted = permitted.map_or(String::new(), |older| format!(", {older} is permitted"));
        let _ = writeln!(text, "{skill}: nothing older than {}{permitted}", mark.newest);
    }
    let _ = match standing {
        Standing::Fresh => write!(text, "new skills are taken"),
        other => write!(text, "no new skill is taken: {other}"),
    };
    let json = json!({
        "document": document,
        "digest": trust.digest(),
        "fresh": standing == Standing::Fresh,
        "list": trust.list(),
        "list_digest": trust.list_digest(),
        "skills": marks,
        "standing": standing.to_string(),
    });
    Ok(Answer::done(text, json))
}

fn of_folder(error: FolderError) -> anyhow::Error {
    let code = match &error {
        FolderError::File { .. } | FolderError::NothingToPermit { .. } => Code::Failed,
        _ => Code::NotVerified,
    };
    coded(code, error)
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text).ok_or_else(|| {
        format!("`{text}` is no SHA-256; write the 64 digits that `sha256sum FILE` prints")
    })
}

fn minisig(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}
