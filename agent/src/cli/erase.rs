//! `nooterra-agent blackbox erase`: destroys what opens private fields, and says so in the
//! journal.

use super::Answer;
use super::exit::{Code, coded};
use crate::activation::Folder;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::identity::{Identity, IdentityError, device_key};
use crate::start::{self, LastRun};
use anyhow::{Context as _, bail};
use clap::Args;
use nooterra_blackbox::{
    Clock, Erased, Erasure, Journal, OpenError, Opened, VerifyError, erasable,
};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::WallMillis;
use serde_json::json;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

#[derive(Debug, Args)]
#[command(after_help = "\
What is private in a record is kept encrypted beside the journal, as are the pictures that skills
were given. This destroys the keys, so that nobody can read it any more, here or in a copy of the
encrypted files. The records stay and verify; a signed record says what was erased, when, and on
whose word. Stop the agent first.")]
pub(super) struct Arguments {
    /// Erase what is older: 2026-10-01 (its beginning, UTC) or 2026-10-01T08:30:00Z.
    #[arg(long, value_name = "TIME", required_unless_present = "job", value_parser = moment)]
    before: Option<WallMillis>,
    /// Who asks for it, for the record; by default the user who runs this.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Erase what belongs to this job; with --before only what is older, too.
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,
    /// Say what would go, and end.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn answer(
    arguments: Arguments,
    config: &Config,
    as_json: bool,
) -> anyhow::Result<Answer> {
    let Arguments { before, by, job, dry_run, why, yes } = arguments;
    let by = match by.or_else(user) {
        Some(by) => by,
        None if dry_run => String::new(),
        None => bail!("say who asks for it with --by NAME"),
    };
    let erasure = Erasure { before, by, job, why };
    let dir = config.state.journal_dir();
    let frames = config.state.frames_dir();
    let found = erasable(&dir, Some(&frames), &erasure).map_err(|error| match error {
        VerifyError::NotAJournal(_) => coded(Code::Configuration, error),
        other => other.into(),
    })?;
    let text = in_words(&found);
    let json = |erased: bool, found: &Erased| {
        json!({
            "erased": erased,
            "openings": found.openings,
            "kinds": found.kinds,
            "first_seq": found.first_seq,
            "last_seq": found.last_seq,
            "oldest": found.oldest.map(|at| at.to_string()),
            "newest": found.newest.map(|at| at.to_string()),
        })
    };
    if found.openings == 0 {
        return Ok(Answer::done("nothing to erase", json(false, &found)));
    }
    if dry_run {
        return Ok(Answer::done(format!("would erase {text}"), json(false, &found)));
    }
    if !yes && !confirmed(&text, as_json)? {
        bail!("not erased");
    }
    let journal = open(config)?;
    let erased = journal.handle().erase(erasure);
    let closed = journal.close();
    let erased = erased?;
    closed?;
    Ok(Answer::done(format!("erased {}", in_words(&erased)), json(true, &erased)))
}

/// The journal, as this robot.
fn open(config: &Config) -> anyhow::Result<Journal> {
    let policy = Folder::of(config).in_force(config)?;
    let identity = config.state.identity_dir();
    // A robot that was taken off the cloud still has its key.
    let (signer, floor) = match Identity::load(&identity, &config.robot.id) {
        Ok(identity) => (identity.signer(), identity.not_before()),
        Err(IdentityError::NotEnrolled) if identity.join("device.key").exists() => {
            (device_key(&identity)?, WallMillis(0))
        }
        Err(IdentityError::NotEnrolled) => {
            return Err(coded(Code::NotEnrolled, IdentityError::NotEnrolled));
        }
        Err(error) => return Err(error.into()),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(floor));
    let options = start::journal_options(config, clock, signer, policy.digest());
    let dir = config.state.journal_dir();
    match Journal::open(&dir, options) {
        Ok(Opened { boot, clean, frames, journal, quarantined, .. }) => {
            // The next start finds a journal that was closed in order: what the last run left is
            // said here.
            let handle = journal.handle();
            let last = LastRun::of(&handle, boot);
            start::mistrust(&handle)?;
            if !clean {
                start::record_crash(&handle, &last, &config.state.dir, quarantined.as_deref())?;
            }
            match frames {
                Ok(_) => Ok(journal),
                Err(error) => {
                    journal.close()?;
                    Err(error.into())
                }
            }
        }
        Err(error @ OpenError::Locked(_)) => Err(coded(Code::Taken, error)),
        Err(error) => Err(error.into()),
    }
}

fn user() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
}

fn in_words(found: &Erased) -> String {
    let kinds: Vec<_> = found.kinds.iter().map(|(kind, n)| format!("{n} of {kind}")).collect();
    let time = |at: Option<WallMillis>| at.map_or("?".to_owned(), |at| at.to_string());
    format!(
        "{} openings ({}) of records {} to {}, from {} to {}",
        found.openings,
        kinds.join(", "),
        // Of a picture the record may have been pruned.
        found.first_seq.unwrap_or(0),
        found.last_seq.unwrap_or(0),
        time(found.oldest),
        time(found.newest),
    )
}

/// Asks on standard error, so that the answer of the command stays what a script reads.
fn confirmed(text: &str, as_json: bool) -> anyhow::Result<bool> {
    if as_json || !std::io::stdin().is_terminal() {
        bail!("this would erase {text}, for ever; add --yes to do it without being asked");
    }
    eprint!("erase {text}, for ever? [y/N] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("reading the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Reads a moment in UTC; days from the civil date after Hinnant, as `WallMillis` prints them.
pub(super) fn moment(text: &str) -> Result<WallMillis, String> {
    let bad = || format!("`{text}` is no moment: write 2026-10-01 or 2026-10-01T08:30:00Z");
    let (date, time) = match text.strip_suffix('Z').unwrap_or(text).split_once('T') {
        Some((date, time)) if text.ends_with('Z') => (date, time),
        None if !text.ends_with('Z') => (text, "00:00:00"),
        _ => return Err(bad()),
    };
    let (time, millis) = time.split_once('.').unwrap_or((time, "0"));
    let parts = |text: &str, by: char| -> Option<[i64; 3]> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<i64> = text
            .split(by)
            .map(|part| part.parse().ok().filter(|_| digits(part) && part.len() <= 4))
            .collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let [year, month, day] = parts(date, '-').ok_or_else(bad)?;
    let [hour, minute, second] = parts(time, ':').ok_or_else(bad)?;
    let millis: i64 = millis.parse::<u16>().ok().filter(|m| *m < 1000).ok_or_else(bad)?.into();
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let moment = WallMillis(seconds * 1000 + millis);
    // A 31st of June, an hour of 25, is printed as another.
    let printed = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if moment.to_string().starts_with(&printed) { Ok(moment) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_it_prints_and_nothing_else_is_one() {
        assert_eq!(moment("1970-01-01"), Ok(WallMillis(0)));
        for text in
            ["2026-02-28T23:59:59.999Z", "2024-02-29T00:00:00.000Z", "1999-12-31T12:30:00.000Z"]
        {
            assert_eq!(moment(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "Z",
            "T",
            "yesterday",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-06-31",
            "2026-01-00",
            "2026-01-01T25:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01Z",
            "-1-1-1",
            "+2026-01-01",
            "2026-01-01T00:00:00.9999Z",
            "99999-01-01",
            "2026-01-01T00:00:00.-1Z",
            "é",
        ] {
            assert!(moment(text).is_err(), "{text:?} was taken");
        }
    }
}
