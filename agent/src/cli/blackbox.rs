//! `nooterra-agent blackbox`: the journal, seen from outside.

use super::Answer;
use super::exit::{Code, coded};
use crate::config::Config;
use anyhow::Context as _;
use clap::Subcommand;
use nooterra_blackbox::{TailFrom, TailRecord, locate, read_openings, tail, verify};
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::event::Fact;
use nooterra_protocol::keys::{KeyError, VerifyingKey};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Destroy what opens private fields, for ever; the records stay
    Erase(super::erase::Arguments),
    /// Say at which bytes of which file a record is stored
    Locate {
        /// The journal; by default the configured one.
        dir: Option<PathBuf>,
        /// Sequence number of the record.
        #[arg(long)]
        seq: u64,
    },
    /// Print the last records
    Tail {
        /// The journal; by default the configured one.
        dir: Option<PathBuf>,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: u64,
        /// Begin at this record instead, to the end.
        #[arg(long, conflicts_with = "lines", value_name = "SEQ")]
        from: Option<u64>,
        /// Only records of this kind, such as `verdict` or `fact`.
        #[arg(long)]
        kind: Option<String>,
    },
    /// Check every record against the chain and the signed checkpoints
    Verify {
        /// The journal, or a copy of it; by default the configured one.
        dir: Option<PathBuf>,
        /// The robot's public key, as text: `p256:...`.
        #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
        key: Option<String>,
        /// The robot's public key, in a file; by default that of this robot. Whoever verifies
        /// another's box brings the key from enrolment, not from the box.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
}

pub(super) fn answer(
    command: Command,
    load: impl Fn() -> anyhow::Result<Config>,
    as_json: bool,
) -> anyhow::Result<Answer> {
    let journal = |dir: Option<PathBuf>| match dir {
        Some(dir) => Ok(dir),
        None => load().map(|config| config.state.journal_dir()),
    };
    match command {
        Command::Erase(arguments) => super::erase::answer(arguments, &load()?, as_json),
        Command::Locate { dir, seq } => {
            let place = locate(&journal(dir)?, seq)?;
            let text = format!(
                "record {seq}: {} bytes at offset {} of {}",
                place.len,
                place.offset,
                place.path.display()
            );
            let json = json!({ "file": place.path, "offset": place.offset, "len": place.len });
            Ok(Answer::done(text, json))
        }
        Command::Tail { dir, lines, from, kind } => {
            let from = from.map_or(TailFrom::Last(lines), TailFrom::Seq);
            print_tail(&journal(dir)?, from, kind.as_deref(), as_json)
        }
        Command::Verify { dir, key, key_file } => {
            let key_file = match (&key, &dir, key_file) {
                (None, None, None) => Some(load()?.state.identity_dir().join("device.pub")),
                (_, _, file) => file,
            };
            let key = read_key(key, key_file)?;
            check(&journal(dir)?, key.as_ref())
        }
    }
}

fn read_key(key: Option<String>, file: Option<PathBuf>) -> anyhow::Result<Option<VerifyingKey>> {
    let text = match (key, file) {
        (Some(text), _) => text,
        (None, Some(file)) => {
            std::fs::read_to_string(&file).with_context(|| file.display().to_string())?
        }
        (None, None) => return Ok(None),
    };
    let key: Result<VerifyingKey, KeyError> = text.trim().parse();
    key.map(Some).map_err(|error| coded(Code::Configuration, error))
}

fn check(dir: &std::path::Path, key: Option<&VerifyingKey>) -> anyhow::Result<Answer> {
    let mut shown = 0;
    let terminal = std::io::stderr().is_terminal();
    let found = verify(dir, key, &mut |seen| {
        if terminal && seen >= shown + 10_000 {
            shown = seen;
            eprint!("\r{seen} records");
            let _ = std::io::stderr().flush();
        }
    })?;
    if shown > 0 {
        eprintln!();
    }
    let intact = found.is_intact();
    let mut json = serde_json::to_value(&found)?;
    json["intact"] = Value::Bool(intact);
    // Without a key that its user trusts, the most that can be said is that it fits itself.
    let proven = intact && found.key_known && found.verified_through.is_some();
    json["identity_proven"] = Value::Bool(proven);
    let mut text = found.to_string();
    for note in &found.notes {
        text.push_str("\nnote: ");
        text.push_str(note);
    }
    Ok(Answer { code: if intact { Code::Done } else { Code::NotVerified }, json, text })
}

fn print_tail(
    dir: &std::path::Path,
    from: TailFrom,
    kind: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Answer> {
    let mut out = std::io::stdout().lock();
    // Whoever may not read the keys sees commitments.
    let openings = read_openings(dir).map(|read| read.openings).ok();
    for mut record in tail(dir, from)? {
        if let (Some(openings), Ok(read)) = (&openings, &mut record.record) {
            *read = openings.show(read);
        }
        let wanted = |kind: &str| record.record.as_ref().is_ok_and(|record| record.kind == kind);
        if !kind.is_none_or(wanted) {
            continue;
        }
        let written = if as_json {
            writeln!(out, "{}", as_value(&record))
        } else {
            writeln!(out, "{}", as_line(&record))
        };
        match written {
            Ok(()) => {}
            // `| head` has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Answer::printed())
}

fn as_value(record: &TailRecord) -> Value {
    match &record.record {
        Ok(read) => json!({
            "seq": record.seq,
            "boot": read.boot,
            "at": read.stamp,
            "class": read.class,
            "kind": read.kind,
            "body": body(read),
        }),
        Err(why) => json!({ "seq": record.seq, "unreadable": why }),
    }
}

fn as_line(record: &TailRecord) -> String {
    match &record.record {
        Ok(read) => {
            let words = in_words(read);
            format!("{:>8}  {}  {:<16} {words}", record.seq, read.stamp.wall, read.kind)
        }
        Err(why) => format!("{:>8}  unreadable: {why}", record.seq),
    }
}

/// The body for people: the kinds that come often as a sentence, the others as they are.
fn in_words(record: &nooterra_evidence::Record) -> String {
    match record.entry() {
        Ok(Some(Entry::Verdict(verdict))) => {
            let asked =
                |part: Option<f64>| part.map_or("?".to_owned(), |part| format!("{part:.2}"));
            format!(
                "{} {}{}: {} asked {} m/s {} rad/s, allowed {:.2} m/s {:.2} rad/s, limit {:.2}",
                verdict.rule,
                word(&verdict.phase),
                verdict.zone.map_or(String::new(), |zone| format!(" ({zone})")),
                word(&verdict.source),
                asked(verdict.asked.forward_mps()),
                asked(verdict.asked.turning_radps()),
                verdict.allowed.forward_mps(),
                verdict.allowed.turning_radps(),
                verdict.limit,
            )
        }
        Ok(Some(Entry::Sample(sample))) => format!(
            "at ({:.2}, {:.2}) facing {:.2} rad, {:.2} m/s {:.2} rad/s, limit {:.2} m/s, for {}",
            sample.pose.x,
            sample.pose.y,
            sample.pose.yaw,
            sample.twist.linear,
            sample.twist.angular,
            sample.limit_mps,
            word(&sample.source),
        ),
        _ => body(record).to_string(),
    }
}

/// An enum's name as on the wire.
fn word<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("?").to_owned()
}

/// The body for people and scripts: of a signed fact, what it states.
fn body(record: &nooterra_evidence::Record) -> Value {
    match record.entry() {
        Ok(Some(Entry::Fact(bytes))) => match danger_unverified::<Fact>(&bytes.0) {
            Ok(fact) => json!({
                "type": fact.kind,
                "job": fact.job,
                "actor": fact.actor,
                "actor_seq": fact.actor_seq,
            }),
            Err(error) => json!({ "unreadable": error.to_string() }),
        },
        Ok(Some(Entry::Checkpoint(bytes))) => json!({ "signed_bytes": bytes.0.len() }),
        Ok(Some(Entry::CommandReceived(command))) => {
            json!({ "ask": command.ask, "id": command.id })
        }
        Ok(Some(entry)) => {
            let value = serde_json::to_value(entry).unwrap_or_default();
            value.get("body").cloned().unwrap_or(Value::Null)
        }
        Ok(None) => json!({ "note": "a later release wrote this kind" }),
        Err(error) => json!({ "unreadable": error.to_string() }),
    }
}
