//! `blackbox verify`, `prove` and `check-proof`: what is shown to somebody who trusts nobody.

use super::super::Answer;
use super::super::exit::{Code, coded};
use anyhow::Context as _;
#[cfg(not(feature = "tools"))]
use nooterra_blackbox::verify_excerpt;
use nooterra_blackbox::{
    ProveError, Record, TailRecord, Verification, prove, prove_consistency, verify,
};
use nooterra_evidence::Head;
use nooterra_evidence::proof::{Proof, ProofError};
use nooterra_protocol::keys::VerifyingKey;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

/// The records counted on a terminal, while it takes long.
pub(super) struct Progress {
    is_shown: bool,
    shown: u64,
    what: &'static str,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), shown: 0, what }
    }

    pub(super) fn at(&mut self, seen: u64) {
        if self.is_shown && seen >= self.shown + 10_000 {
            self.shown = seen;
            eprint!("\r{seen} records {}", self.what);
            let _ = std::io::stderr().flush();
        }
    }

    pub(super) fn end(&self) {
        if self.shown > 0 {
            eprintln!();
        }
    }
}

/// Of a journal, an export or an excerpt.
pub(super) fn check(path: &Path, key: Option<&VerifyingKey>) -> anyhow::Result<Answer> {
    let mut progress = Progress::new("checked");
    let unreadable = |error: anyhow::Error| coded(Code::Unreadable, error);
    let (found, drawn) = if path.is_file() {
        check_file(path, key, &mut |seen| progress.at(seen)).map_err(unreadable)?
    } else {
        let found = verify(path, key, &mut |seen| progress.at(seen));
        (found.map_err(|error| unreadable(error.into()))?, None)
    };
    progress.end();
    let is_drawn_so = drawn.as_ref().is_none_or(|drawn| drawn.is_intact);
    // What the records prove, whatever became of the messages.
    let proven = code(&found);
    let code = if is_drawn_so { proven } else { Code::NotVerified };
    let mut json = serde_json::to_value(&found)?;
    json["intact"] = Value::Bool(found.is_intact() && is_drawn_so);
    json["whole"] = Value::Bool(found.is_whole() && is_drawn_so);
    // Without a key that its user trusts, the most that can be said is that it fits itself.
    json["identity_proven"] = Value::Bool(matches!(proven, Code::Done | Code::Loss));
    json["exit_code"] = json!(code as u8);
    let mut text = in_words(&found);
    if let Some(drawn) = drawn {
        json["messages"] = drawn.json;
        text.push_str(&drawn.text);
    }
    Ok(Answer { code, json, text })
}

/// How the messages of an export stand to its records.
#[cfg_attr(not(feature = "tools"), allow(dead_code))] // Without them there are no exports.
struct Drawn {
    is_intact: bool,
    json: Value,
    /// In lines, each after another.
    text: String,
}

/// So many messages that are wrong are named in words.
#[cfg(feature = "tools")]
const MOST_SAID: usize = 100;

#[cfg(feature = "tools")]
fn check_file(
    path: &Path,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<(Verification, Option<Drawn>)> {
    let (found, messages) = crate::export::verify_export(path, key, progress)?;
    let drawn = messages.map(|messages| drawn(&messages)).transpose()?;
    Ok((found, drawn))
}

#[cfg(feature = "tools")]
fn drawn(messages: &crate::export::Messages) -> anyhow::Result<Drawn> {
    let crate::export::Messages { notes, same, wrong, wrong_messages, .. } = messages;
    let mut text = match wrong {
        0 => format!("\nmessages:                 {same}, as they are made of the records"),
        _ => format!("\nmessages:                 {same} are as they are made, {wrong} are not"),
    };
    for message in wrong_messages.iter().take(MOST_SAID) {
        let crate::export::WrongMessage { seq, topic, what, why } = message;
        let what = serde_json::to_value(what)?;
        let what = what.as_str().unwrap_or_default();
        text.push_str(&format!("\nmessage of record {seq}, {topic}: {what}: {why}"));
    }
    for note in notes {
        text.push_str("\nnote: ");
        text.push_str(note);
    }
    Ok(Drawn { is_intact: messages.is_intact(), json: serde_json::to_value(messages)?, text })
}

#[cfg(not(feature = "tools"))]
fn check_file(
    path: &Path,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<(Verification, Option<Drawn>)> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok((verify_excerpt(&mut std::io::BufReader::new(file), key, progress)?, None))
}

/// Damage is said before loss, loss before what is not proved.
const fn code(found: &Verification) -> Code {
    if !found.is_intact() {
        Code::NotVerified
    } else if !found.key_known || found.verified_through.is_none() {
        Code::Unproven
    } else if found.is_whole() {
        Code::Done
    } else {
        Code::Loss
    }
}

/// The four things that must not be taken for each other, each on its line.
fn in_words(found: &Verification) -> String {
    let mut text = found.to_string();
    let mut line = |name: &str, said: String| {
        text.push_str(&format!("\n{name:<26}{said}"));
    };
    let sure = match (found.verified_through, found.key_known) {
        (Some(seq), true) => format!("through record {seq}, by {} checkpoints", found.checkpoints),
        (Some(seq), false) => {
            format!("nothing; self-consistent through record {seq}, identity unproven")
        }
        (None, _) => "nothing".to_owned(),
    };
    line("verified:", sure);
    let missing = found.missing.iter().map(|m| format!("{} to {}", m.first, m.last));
    let missing: Vec<String> = missing.collect();
    let none = || "none".to_owned();
    line("missing, and said to be:", if missing.is_empty() { none() } else { missing.join(", ") });
    let count = |count: u64| if count == 0 { none() } else { format!("{count} records") };
    line("pruned, and said to be:", count(found.pruned));
    line("beyond the last checkpoint:", format!(" {}", count(found.beyond_last_checkpoint)));
    if found.withheld > 0 {
        line("withheld or pruned:", count(found.withheld));
    }
    for note in &found.notes {
        text.push_str("\nnote: ");
        text.push_str(note);
    }
    text
}

/// Writes a proof.
pub(super) fn make_proof(
    dir: &Path,
    seq: u64,
    is_consistency: bool,
    out: &Path,
) -> anyhow::Result<Answer> {
    let made = if is_consistency { prove_consistency(dir, seq) } else { prove(dir, seq) };
    let proof = made.map_err(|error| {
        let code = match &error {
            ProveError::Mismatch(_) => Code::NotVerified,
            ProveError::Unreadable(_) => Code::Unreadable,
            _ => Code::Failed,
        };
        coded(code, error)
    })?;
    let bytes = proof.encode()?;
    let named = || out.display().to_string();
    let mut file = File::create_new(out).with_context(named)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).with_context(named)?;
    let (steps, size) = match &proof {
        // Made by whoever has records without their tree; never here.
        Proof::Chain { leaves, .. } => (leaves.len(), seq),
        Proof::Consistency { proof, .. } => (proof.path.len(), proof.second),
        Proof::Inclusion { proof, .. } => (proof.path.len(), proof.size),
    };
    let what = if is_consistency { "checkpoint" } else { "record" };
    let text = format!(
        "{}: {what} {seq} under a checkpoint of {size} records, {steps} steps, {} bytes",
        out.display(),
        bytes.len()
    );
    let json = json!({
        "file": out, "seq": seq, "size": size, "steps": steps, "bytes": bytes.len(),
        "type": if is_consistency { "consistency" } else { "inclusion" },
    });
    Ok(Answer::done(text, json))
}

/// Checks one, without any box.
pub(super) fn check_proof(file: &Path, key: Option<&VerifyingKey>) -> anyhow::Result<Answer> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string());
    let bytes = bytes.map_err(|error| coded(Code::Unreadable, error))?;
    let refused = |error: ProofError| coded(Code::NotVerified, error);
    let proof = Proof::decode(&bytes).map_err(refused)?;
    let shown = proof.check(key).map_err(refused)?;
    let checkpoint = &shown.checkpoint;
    let signed = if key.is_some() {
        "signed by the key".to_owned()
    } else {
        "self-consistent, identity unproven: no key was given".to_owned()
    };
    let under = format!(
        "the checkpoint of journal {} over {} records, {}",
        checkpoint.journal, checkpoint.size, checkpoint.stamp.wall
    );
    let mut json = json!({
        "identity_proven": key.is_some(),
        "journal": checkpoint.journal,
        "size": checkpoint.size,
        "checkpoint_at": checkpoint.stamp,
    });
    let text = if let Some(older) = &shown.older {
        json["older_size"] = json!(older.size);
        let then = older.stamp.wall;
        format!(
            "what a checkpoint said of records 1 to {}, {then}, is the beginning of {under}\n{signed}",
            older.size
        )
    } else {
        let mut text = match shown.records.len() {
            1 => format!("this record is under {under}\n{signed}"),
            many => format!("these {many} records are under {under}\n{signed}"),
        };
        let mut records = Vec::new();
        for bytes in &shown.records {
            let record = Record::decode(bytes);
            let seq = Head::read(bytes)?.seq;
            let record = TailRecord { seq, record: record.map_err(|error| error.to_string()) };
            records.push(super::words::as_value(&record));
            text.push_str(&format!("\n{}", super::words::in_full(&record)));
        }
        match proof {
            // One, as it always was.
            Proof::Inclusion { .. } => json["record"] = records.pop().unwrap_or_default(),
            _ => json["records"] = json!(records),
        }
        text
    };
    let code = if key.is_some() { Code::Done } else { Code::Unproven };
    Ok(Answer { code, json, text })
}
