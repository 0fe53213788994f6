//! Which records: by number, time, kind and job.

use anyhow::{Context as _, bail};
use clap::Args;
#[cfg(feature = "tools")]
use nooterra_blackbox::Lost;
use nooterra_blackbox::{Record, TailFrom, tail};
use nooterra_evidence::cose::danger_unverified;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::event::Fact;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::WallMillis;
use std::path::Path;

/// What is asked for on the command line.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct Wanted {
    /// Only records from this moment on: 2026-03-04T05:06:07Z, or a part of it.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<WallMillis>,
    /// Only records before this moment.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<WallMillis>,
    /// Only these kinds, such as `verdict,fact,stop,sample`.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only records of this job, and what happened between the first and the last of them.
    #[arg(long, value_name = "JOB")]
    job: Option<JobId>,
}

/// The same, once it is known when the job was.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    span: Option<(u64, u64)>,
    wanted: Wanted,
}

impl Wanted {
    /// Looks for the job, where one is asked for.
    pub(super) fn choose(self, dir: &Path) -> anyhow::Result<Choice> {
        let Some(job) = &self.job else {
            return Ok(Choice { span: None, wanted: self });
        };
        let mut span: Option<(u64, u64)> = None;
        for record in tail(dir, TailFrom::Seq(1))? {
            if let Ok(read) = &record.record
                && job_of(read).as_ref() == Some(job)
            {
                span = Some((span.map_or(record.seq, |(first, _)| first), record.seq));
            }
        }
        let span = span.with_context(|| format!("no record is of job {job}"))?;
        Ok(Choice { span: Some(span), wanted: self })
    }

    /// As text, for a summary.
    #[cfg(feature = "tools")]
    pub(super) fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "since": self.since, "until": self.until, "kinds": self.kind, "job": self.job,
        })
    }
}

impl Choice {
    pub(super) fn takes(&self, record: &Record) -> bool {
        let Wanted { since, until, kind, job } = &self.wanted;
        let wall = record.stamp.wall;
        if since.is_some_and(|since| wall < since) || until.is_some_and(|until| wall >= until) {
            return false;
        }
        if !kind.is_empty() && !kind.contains(&record.kind) {
            return false;
        }
        let (Some(job), Some((first, last))) = (job, self.span) else {
            return true;
        };
        // What names no job belongs to the one that was under way.
        (first..=last).contains(&record.seq) && job_of(record).is_none_or(|of| of == *job)
    }
}

#[cfg(feature = "tools")]
impl Choice {
    /// Whether records that cannot be read may be among those that it takes. Of what kind they
    /// were nobody knows, nor whether they named the job; of when they were the records beside them
    /// tell.
    pub(super) fn may_take(&self, lost: &Lost) -> bool {
        let Wanted { since, until, .. } = self.wanted;
        let beside = [lost.before, lost.after].map(|stamp| stamp.map(|stamp| stamp.wall));
        let is_early = |wall| since.is_some_and(|since| wall < since);
        let is_late = |wall| until.is_some_and(|until| wall >= until);
        // At the ends of the journal nothing stands on one side; time goes on beyond them.
        !match beside {
            [Some(before), Some(after)] => {
                is_early(before) && is_early(after) || is_late(before) && is_late(after)
            }
            [None, Some(after)] => is_early(after),
            [Some(before), None] => is_late(before),
            [None, None] => false,
        }
    }
}

/// The job that a record names.
fn job_of(record: &Record) -> Option<JobId> {
    if !matches!(record.kind.as_str(), "fact" | "skill_step" | "verdict") {
        return None;
    }
    match record.entry().ok()?? {
        Entry::Fact(bytes) => danger_unverified::<Fact>(&bytes.0).ok()?.job,
        Entry::SkillStep(step) => Some(step.job),
        Entry::Verdict(verdict) => verdict.job,
        _ => None,
    }
}

/// Reads the beginning of an RFC 3339 moment in UTC: a day, or down to milliseconds.
fn moment(text: &str) -> anyhow::Result<WallMillis> {
    const FORM: &str = "write it in UTC, as 2026-03-04, 2026-03-04T05:06Z or 2026-03-04T05:06:07Z";
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let time = time.strip_suffix('Z').unwrap_or(time);
    let numbers = |text: &str, separator: char| -> anyhow::Result<Vec<i64>> {
        let plain = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let part = |part: &str| Some(part).filter(plain).and_then(|part| part.parse().ok());
        text.split(separator).map(|p| part(p).context(FORM)).collect()
    };
    let [year, month, day] = numbers(day, '-')?[..] else { bail!(FORM) };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let (hour, minute, second) = match numbers(clock, ':') {
        Ok(parts) => match parts[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => bail!(FORM),
        },
        Err(_) if time.is_empty() => (0, 0, 0),
        Err(error) => return Err(error),
    };
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let milli: i64 = digits.parse().context(FORM)?;
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = usize::try_from(month - 1).ok().and_then(|month| lengths.get(month));
    let exists = length.is_some_and(|length| (1..=*length).contains(&day));
    if !exists || !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 {
        bail!("there is no such moment; {FORM}");
    }
    // Days from civil, after Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Ok(WallMillis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moment_may_be_a_day_or_a_millisecond() {
        for (text, full) in [
            ("1970-01-01", "1970-01-01T00:00:00.000Z"),
            ("2024-02-29T05:06Z", "2024-02-29T05:06:00.000Z"),
            ("2026-11-20T23:59:59.9", "2026-11-20T23:59:59.900Z"),
            ("2026-11-20 23:59:59.999Z", "2026-11-20T23:59:59.999Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), full);
        }
        for wrong in ["", "now", "2026", "2026-13-01", "2026-02-29", "2026-01-01T25:00", "-1-1-1"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "tools")]
    #[test]
    fn what_cannot_be_read_counts_unless_it_was_certainly_not_asked_for() {
        use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp};
        let stamp = |wall| {
            let (mono, trust) = (MonoNanos(0), ClockTrust::Network);
            Stamp { mono, trust, wall: WallMillis(wall) }
        };
        let lost = |before: Option<i64>, after: Option<i64>| Lost {
            after: after.map(stamp),
            before: before.map(stamp),
            first: 10,
            last: 12,
            why: String::new(),
        };
        let wanted = Wanted {
            since: Some(WallMillis(1000)),
            until: Some(WallMillis(2000)),
            ..Wanted::default()
        };
        let choice = Choice { span: None, wanted };
        for (before, after, counts) in [
            (Some(500), Some(1000), true),
            (Some(500), Some(999), false),
            (Some(500), Some(2500), true),
            (Some(1999), Some(2500), true),
            (Some(2000), Some(2500), false),
            // The clock was set back between.
            (Some(2000), Some(1500), true),
            (None, Some(999), false),
            (None, Some(1500), true),
            (Some(2000), None, false),
            (Some(500), None, true),
            (None, None, true),
        ] {
            assert_eq!(choice.may_take(&lost(before, after)), counts, "{before:?} to {after:?}");
        }
        // The first that named a job, or the last, may be among them wherever they are.
        let choice = Choice { span: Some((100, 120)), wanted: Wanted::default() };
        assert!(choice.may_take(&lost(None, None)));
    }

    proptest! {
        #[test]
        fn every_printed_moment_reads_back(millis in 0_i64..253_402_300_800_000) {
            prop_assert_eq!(moment(&WallMillis(millis).to_string()).unwrap().0, millis);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}", digits in "[0-9TZ:. -]{0,30}") {
            let _ = (moment(&text), moment(&digits));
        }
    }
}
