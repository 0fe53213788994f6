//! `nooterra-cloud report verify`: a completion report by itself, without any cloud.

use super::show;
use clap::{Args, Subcommand};
use nooterra_cloud::{ReportError, VerifiedReport, verify_report};
use nooterra_protocol::keys::VerifyingKey;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Altered, or signed by another.
const ALTERED: u8 = 5;

/// Nothing is wrong, and not everything is shown.
const NOT_ALL_SHOWN: u8 = 8;

/// Nothing is wrong, and nothing shows whose it is.
const UNPROVEN: u8 = 10;

const VERIFY_CODES: &str = "\
Exit codes:
   0  what the report says in the robot's name lies in its black box, under checkpoints that the
      key signed; or it says nothing in the robot's name, as of a job that it never set out for
   2  a key cannot be read
   3  the file cannot be read, or is no completion report
   5  altered: a signature, a proof or the text is not as it was made
   8  nothing is wrong, and something that it says in the robot's name is not shown
  10  it agrees with itself, and no key of the robot was given to say whose records they are";

/// What a statement of the robot's is worth, and what it is not.
const WORTH: &str = "\
shown: the robot stated it then, and the statement lies in its black box before that checkpoint
not shown by this: that it is true, that the robot stated nothing else, and that its box is whole
  still; `nooterra-agent blackbox verify` asks the box itself
the cloud's word alone: who asked and approved, access, booking, holds, counts of facts; and where
  no line names them, that it was called off, why it ended and its incidents
";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a report that `job report --json` or `replay --report` printed, by the robot's public
    /// key alone: offline, and trusting no cloud.
    #[command(after_help = VERIFY_CODES)]
    Verify(Verify),
}

/// Which report, and whom to trust.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The report; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The cloud's public key, as robots learn it: `ed25519:...`. Without, the cloud's own
    /// signature is left unchecked.
    #[arg(long, value_name = "KEY")]
    cloud_key: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The robot's public key from its enrolment, as text: `p256:...`; several where it had
    /// several.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// The same in a file, such as `device.pub`.
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
}

/// Why a report was not looked at.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("`{0}` is no public key: {1}; it begins with `p256:` or `ed25519:`")]
    Key(String, String),
    #[error("{path}: {source}")]
    Report { path: PathBuf, source: ReportError },
}

impl Refused {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Key(..) => 2,
            Self::File { .. } | Self::Report { source: ReportError::Form(_), .. } => 3,
            Self::Report { .. } => ALTERED,
        }
    }
}

pub(super) fn run(command: Command) -> ExitCode {
    let Command::Verify(args) = command;
    match verified(&args) {
        Ok(report) => {
            let text = if args.json {
                serde_json::to_string(&report).unwrap_or_default() + "\n"
            } else {
                people(&report)
            };
            // Nobody reads any longer: the exit code says it.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            let has_key = !(args.key.is_empty() && args.key_file.is_empty());
            match (has_key, report.is_shown()) {
                (false, _) => ExitCode::from(UNPROVEN),
                (true, false) => ExitCode::from(NOT_ALL_SHOWN),
                (true, true) => ExitCode::SUCCESS,
            }
        }
        Err(refused) => {
            let _ = writeln!(std::io::stderr(), "nooterra-cloud: {refused}");
            ExitCode::from(refused.exit_code())
        }
    }
}

fn verified(args: &Verify) -> Result<VerifiedReport, Refused> {
    let mut keys = Vec::new();
    for text in &args.key {
        keys.push(key(text)?);
    }
    for file in &args.key_file {
        keys.push(key(&read(file)?)?);
    }
    let cloud = args.cloud_key.as_deref().map(key).transpose()?;
    let text = if args.file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
            .map_err(|source| Refused::File { path: args.file.clone(), source })?
    } else {
        read(&args.file)?
    };
    verify_report(&text, &keys, cloud.as_ref())
        .map_err(|source| Refused::Report { path: args.file.clone(), source })
}

fn key(text: &str) -> Result<VerifyingKey, Refused> {
    let text = text.trim();
    text.parse().map_err(|error| Refused::Key(text.to_owned(), format!("{error}")))
}

fn read(path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path).map_err(|source| Refused::File { path: path.to_owned(), source })
}

/// Whoever made the file chose the words: none of them moves a cursor or begins a line.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

fn people(report: &VerifiedReport) -> String {
    let VerifiedReport { cloud_signature_checked, identity_proven, job, proofs, robot, .. } =
        report;
    let by = |is_checked: bool| if is_checked { "checked" } else { "not checked: no key given" };
    let device =
        if *proofs == 0 { "nothing to check: no proof in it" } else { by(*identity_proven) };
    let mut text = format!(
        "job           {job}\nrobot         {robot}\nrobot's key   {}\ncloud's key   {}\n",
        device,
        by(*cloud_signature_checked)
    );
    for statement in &report.statements {
        let by = match &statement.shown_by {
            None => "NOT SHOWN".to_owned(),
            Some(by) => format!(
                "record {} of {}, under the checkpoint over {} of {}",
                by.seq,
                by.journal,
                by.checkpoint_size,
                show::time(&Value::from(by.checkpoint_at.0))
            ),
        };
        text.push_str(&format!("{:13} {by}\n", plain(&statement.what)));
    }
    for unproven in &report.unproven {
        let (fact, why) = (plain(&unproven.fact), plain(&unproven.why));
        text.push_str(&format!("{:13} {fact}: {why}\n", "no proof"));
    }
    let shown = report.statements.iter().filter(|it| it.shown_by.is_some()).count();
    let nobodys = *proofs > 0 && !identity_proven;
    let whose = if nobodys { ", by records of whom nothing shows" } else { "" };
    let all = report.statements.len();
    text.push_str(&format!("{shown} of {all} statements in the robot's name are shown{whose}\n"));
    text.push_str(WORTH);
    text
}
