//! `nooterra-agent blackbox`: the journal, seen from outside. Every command but `erase` only reads
//! it: those that open the store do so on a copy, and a running agent is not disturbed.

mod check;
mod picture;
mod wanted;
mod words;

use super::Answer;
use super::exit::{Code, coded};
use crate::config::Config;
#[cfg(feature = "tools")]
use crate::export::{self, Asked, Unreadable};
use anyhow::Context as _;
use clap::{Args, Subcommand};
#[cfg(feature = "tools")]
use nooterra_blackbox::Record;
use nooterra_blackbox::{
    Follow, SalvageError, TailFrom, TailRecord, locate, read_openings, salvage, tail,
};
use nooterra_evidence::Openings;
use nooterra_protocol::keys::{KeyError, VerifyingKey};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wanted::Wanted;

/// Between two looks at a journal that is followed.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

const VERIFY_CODES: &str = "\
Exit codes:
   0  verified: every record that should be there is, through a checkpoint signed by the key
   5  damaged: a record is not as it was written, or was taken away; or a message of an export is
      not the one that its record makes
   8  verified, but records are missing, and the journal says so in a signed statement
   9  cannot be read at all
  10  self-consistent, identity unproven: no key was given, or no checkpoint is there yet";

#[cfg(feature = "tools")]
const EXPORT_CODES: &str = "\
Exit codes:
   0  all that was asked for is written
   5  what is written does not verify: a record is forged, or of another robot than the key
   8  records that may have been asked for are damaged or missing, and are named on standard error;
      all others are written
What was pruned, as a signed record of the black box says, is not missing.";

/// So many spans of records that cannot be read are named on standard error.
#[cfg(feature = "tools")]
const MOST_SAID: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a proof that `prove` wrote; needs no black box
    #[command(after_help = "Exit codes: 0 it holds, 5 it does not, 9 cannot be read, 10 it holds \
                            but no key was given")]
    CheckProof {
        /// The proof.
        file: PathBuf,
        #[command(flatten)]
        key: Key,
    },
    /// Destroy what opens private fields, for ever; the records stay
    Erase(super::erase::Arguments),
    /// Write records to a file that Foxglove and Rerun open, and that verifies again
    #[cfg(feature = "tools")]
    #[command(after_help = EXPORT_CODES)]
    Export {
        /// The journal, or a copy of it; by default the configured one.
        dir: Option<PathBuf>,
        /// The file to write; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        mcap: PathBuf,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        key: Key,
    },
    /// Say at which bytes of which file a record is stored
    Locate {
        /// The journal; by default the configured one.
        dir: Option<PathBuf>,
        /// Sequence number of the record.
        #[arg(long)]
        seq: u64,
    },
    /// Write the picture that a skill was given, as a record of kind `skill_frame` names it
    #[command(
        after_help = "Pictures are kept encrypted; whoever may read their keys, as the agent \
                            may, reads them."
    )]
    Picture {
        /// Sequence number of the record.
        seq: u64,
        /// The journal, or a copy of it with the folders `frames` and `frames.keys` beside it; by
        /// default the configured one.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The file to write (Netpbm: .pgm, .ppm); it must not be there yet.
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write a proof that a record is in the journal, for somebody who has nothing else of it
    Prove {
        /// Sequence number of the record.
        seq: u64,
        /// The journal, or a copy of it; by default the configured one.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The record is a checkpoint: prove that the newest one continues it.
        #[arg(long)]
        consistency: bool,
        /// The file to write; it must not be there yet.
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a new journal of all that can be read of a damaged one, which is left as it is
    #[command(after_help = "Exit codes: 0 nothing is missing, 8 records are missing and are \
                            named, 9 nothing can be read.\nStop the agent first, or work on a copy.")]
    Salvage {
        /// A damaged journal, a file of one, or a folder of files that were recovered.
        dir: PathBuf,
        /// The new journal; it must not be there yet.
        #[arg(long, short, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        key: Key,
    },
    /// Print one record in full, or those that are asked for
    Show {
        /// Sequence number of the record, or first and last: `17..40`.
        seq: Option<Span>,
        /// The journal, or a copy of it; by default the configured one.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        wanted: Wanted,
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
        /// Go on with every record that is written from now on.
        #[arg(long, short)]
        follow: bool,
        /// Only records of this kind, such as `verdict` or `fact`.
        #[arg(long)]
        kind: Option<String>,
    },
    /// Check every record against the chain and the signed checkpoints
    #[command(after_help = VERIFY_CODES)]
    Verify {
        /// The journal, a copy of it, or an export of it; by default the configured one.
        dir: Option<PathBuf>,
        #[command(flatten)]
        key: Key,
    },
}

/// Whom to trust.
#[derive(Args, Debug)]
pub(super) struct Key {
    /// The robot's public key, as text: `p256:...`.
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<String>,
    /// The robot's public key, in a file; of the configured journal, by default that of this
    /// robot. Whoever verifies another's box brings the key from enrolment, not from the box.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Sequence numbers, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: u64,
    last: u64,
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number"));
        let (first, last) = match text.split_once("..") {
            Some((first, "")) => (number(first)?, u64::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first > last {
            return Err(format!("{first} comes after {last}"));
        }
        Ok(Self { first, last })
    }
}

impl Key {
    /// Reads it; `robot` names the key to take when none is given.
    fn read(
        self,
        robot: impl FnOnce() -> anyhow::Result<Option<PathBuf>>,
    ) -> anyhow::Result<Option<VerifyingKey>> {
        let text = match (self.key, self.key_file) {
            (Some(text), _) => text,
            (None, file) => match file.map_or_else(robot, |file| Ok(Some(file)))? {
                Some(file) => {
                    std::fs::read_to_string(&file).with_context(|| file.display().to_string())?
                }
                None => return Ok(None),
            },
        };
        let key: Result<VerifyingKey, KeyError> = text.trim().parse();
        key.map(Some).map_err(|error| coded(Code::Configuration, error))
    }
}

pub(super) fn answer(
    command: Command,
    load: impl Fn() -> anyhow::Result<Config>,
    as_json: bool,
) -> anyhow::Result<Answer> {
    let journal = |dir: &Option<PathBuf>| match dir {
        Some(dir) => Ok(dir.clone()),
        None => load().map(|config| config.state.journal_dir()),
    };
    // Only of the configured journal is this robot's key the right one.
    let own_key = |dir: &Option<PathBuf>| match dir {
        Some(_) => Ok(None),
        None => load().map(|config| Some(config.state.identity_dir().join("device.pub"))),
    };
    match command {
        Command::CheckProof { file, key } => {
            check::check_proof(&file, key.read(|| Ok(None))?.as_ref())
        }
        Command::Erase(arguments) => super::erase::answer(arguments, &load()?, as_json),
        #[cfg(feature = "tools")]
        Command::Export { dir, mcap, wanted, key } => {
            let key = key.read(|| own_key(&dir))?;
            write_export(&journal(&dir)?, &mcap, wanted, key.as_ref())
        }
        Command::Locate { dir, seq } => {
            let place = locate(&journal(&dir)?, seq)?;
            let text = format!(
                "record {seq}: {} bytes at offset {} of {}",
                place.len,
                place.offset,
                place.path.display()
            );
            let json = json!({ "file": place.path, "offset": place.offset, "len": place.len });
            Ok(Answer::done(text, json))
        }
        Command::Picture { seq, dir, out } => {
            let frames = match &dir {
                Some(dir) => crate::config::State::frames_beside(dir),
                None => load()?.state.frames_dir(),
            };
            picture::write(&journal(&dir)?, &frames, seq, &out)
        }
        Command::Prove { seq, dir, consistency, out } => {
            check::make_proof(&journal(&dir)?, seq, consistency, &out)
        }
        Command::Salvage { dir, out, key } => {
            make_whole(&dir, &out, key.read(|| Ok(None))?.as_ref())
        }
        Command::Show { seq, dir, wanted } => show(&journal(&dir)?, seq, wanted, as_json),
        Command::Tail { dir, lines, from, follow, kind } => {
            let from = from.map_or(TailFrom::Last(lines), TailFrom::Seq);
            print_tail(&journal(&dir)?, from, kind.as_deref(), follow, as_json)
        }
        Command::Verify { dir, key } => {
            let key = key.read(|| own_key(&dir))?;
            check::check(&journal(&dir)?, key.as_ref())
        }
    }
}

#[cfg(feature = "tools")]
fn write_export(
    dir: &Path,
    out: &Path,
    wanted: Wanted,
    key: Option<&VerifyingKey>,
) -> anyhow::Result<Answer> {
    let filter = wanted.describe();
    let choice = wanted.choose(dir)?;
    let mut progress = check::Progress::new("read");
    let mut takes = |record: &Record| choice.takes(record);
    let asked = Asked { may_take: &|lost| choice.may_take(lost), takes: &mut takes };
    let exported = export::export(dir, out, key, asked, &mut |seen| progress.at(seen))?;
    progress.end();
    let mut text = format!("{}: {} records", out.display(), exported.records);
    for (topic, count) in &exported.messages {
        text.push_str(&format!("\n  {topic:<24}{count} messages"));
    }
    let (unreadable, elsewhere) = (exported.unreadable, exported.unreadable_elsewhere);
    let what = "records that may have been asked for";
    for (what, count) in [(what, unreadable), ("other records", elsewhere)] {
        if count > 0 {
            text.push_str(&format!("\n{count} {what} cannot be read"));
        }
    }
    // On standard output stands what is in the file; this is not.
    for Unreadable { first, last, why } in exported.unreadable_spans.iter().take(MOST_SAID) {
        if first == last {
            eprintln!("nooterra-agent: record {first} cannot be read: {why}");
        } else {
            eprintln!("nooterra-agent: records {first} to {last} cannot be read: {why}");
        }
    }
    if unreadable > 0 {
        eprintln!(
            "nooterra-agent: {unreadable} records that may have been asked for cannot be read; \
             all others are written"
        );
    }
    text.push_str(&format!("\nattached: {}", exported.verification));
    let code = if exported.is_forged {
        Code::NotVerified
    } else if unreadable > 0 {
        Code::Loss
    } else {
        Code::Done
    };
    let mut json = serde_json::to_value(&exported)?;
    json["file"] = json!(out);
    json["filter"] = filter;
    json["exit_code"] = json!(code as u8);
    Ok(Answer { code, json, text })
}

fn make_whole(dir: &Path, out: &Path, key: Option<&VerifyingKey>) -> anyhow::Result<Answer> {
    let found = salvage(dir, out, key).map_err(|error| match error {
        SalvageError::Nothing(_) | SalvageError::Unreadable(_) => coded(Code::Unreadable, error),
        other => other.into(),
    })?;
    let mut text =
        format!("{}: {} records of journal {}", out.display(), found.records, found.journal);
    if found.pruned > 0 {
        text.push_str(&format!(", {} pruned", found.pruned));
    }
    for (first, last) in &found.missing {
        text.push_str(&format!("\nmissing: {first} to {last}"));
    }
    if found.end_is_unknown {
        text.push_str("\nwhether more followed the last record, nobody knows");
    }
    for note in &found.notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    let is_whole = found.missing.is_empty() && !found.end_is_unknown;
    let code = if is_whole { Code::Done } else { Code::Loss };
    let mut json = serde_json::to_value(&found)?;
    json["dir"] = json!(out);
    Ok(Answer { code, json, text })
}

fn show(dir: &Path, span: Option<Span>, wanted: Wanted, as_json: bool) -> anyhow::Result<Answer> {
    let Span { first, last } = span.unwrap_or(Span { first: 1, last: u64::MAX });
    let choice = wanted.choose(dir)?;
    let mut printer = Printer::new(as_json);
    let private = Private::of(dir);
    let mut seen = false;
    for record in tail(dir, TailFrom::Seq(first))?.take_while(|record| record.seq <= last) {
        seen = true;
        let record = private.opened(record);
        // What cannot be read is never left out of what was asked for by number.
        if !record.record.as_ref().map_or(span.is_some(), |read| choice.takes(read)) {
            continue;
        }
        let is_open = if first == last && !as_json {
            printer.line(&words::in_full(&record))?
        } else {
            printer.record(&record)?
        };
        if !is_open {
            break;
        }
    }
    if first == last && !seen {
        anyhow::bail!("record {first} is not in the journal");
    }
    Ok(Answer::printed())
}

fn print_tail(
    dir: &Path,
    from: TailFrom,
    kind: Option<&str>,
    follow: bool,
    as_json: bool,
) -> anyhow::Result<Answer> {
    let mut printer = Printer::new(as_json);
    let wanted = |record: &TailRecord| {
        let is_of = |kind: &str| record.record.as_ref().is_ok_and(|read| read.kind == kind);
        kind.is_none_or(is_of)
    };
    let mut next = if let TailFrom::Seq(seq) = from { seq } else { 1 };
    let private = Private::of(dir);
    for record in tail(dir, from)? {
        let record = private.opened(record);
        next = record.seq.saturating_add(1);
        if wanted(&record) && !printer.record(&record)? {
            return Ok(Answer::printed());
        }
    }
    if follow {
        let mut follow = Follow::new(dir, next)?;
        loop {
            let records = follow.poll()?;
            // What opens a record is written no later than the record.
            let private = if records.is_empty() { Private(None) } else { Private::of(dir) };
            for record in records {
                let record = private.opened(record);
                if wanted(&record) && !printer.record(&record)? {
                    return Ok(Answer::printed());
                }
            }
            std::thread::sleep(FOLLOW_EVERY);
        }
    }
    Ok(Answer::printed())
}

/// What opens the private fields of a journal. Whoever may not read the keys sees commitments.
struct Private(Option<Openings>);

impl Private {
    fn of(dir: &Path) -> Self {
        Self(read_openings(dir).ok().map(|read| read.openings))
    }

    fn opened(&self, mut record: TailRecord) -> TailRecord {
        if let (Self(Some(openings)), Ok(read)) = (self, &mut record.record) {
            *read = openings.show(read);
        }
        record
    }
}

/// Records on standard output, as they come.
struct Printer {
    as_json: bool,
    out: std::io::Stdout,
}

impl Printer {
    fn new(as_json: bool) -> Self {
        Self { as_json, out: std::io::stdout() }
    }

    /// False when nobody reads any more: `| head` has seen enough.
    fn record(&mut self, record: &TailRecord) -> anyhow::Result<bool> {
        let line =
            if self.as_json { words::as_value(record).to_string() } else { words::as_line(record) };
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> anyhow::Result<bool> {
        match writeln!(self.out, "{line}") {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_or_two() {
        for (text, first, last) in [("7", 7, 7), ("3..9", 3, 9), ("3..", 3, u64::MAX)] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.first, span.last), (first, last));
        }
        for wrong in ["", "x", "9..3", "..", "1..x", "-1"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
