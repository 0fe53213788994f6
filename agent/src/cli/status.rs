//! `nooterra-agent status`: what the agent of this robot last said of itself.

use super::Answer;
use super::exit::Code;
use crate::config::Config;
use crate::status::Status;
use serde_json::json;
use std::fmt::Write as _;

pub(super) fn answer(config: &Config) -> anyhow::Result<Answer> {
    let status = Status::read(&config.state.dir)?;
    let runs = status.is_alive(&config.state.journal_dir());
    let mut json = serde_json::to_value(&status)?;
    json["running"] = json!(runs);
    let code = if runs && status.poisoned.is_none() { Code::Done } else { Code::Failed };
    Ok(Answer { code, json, text: in_words(&status, runs) })
}

fn in_words(status: &Status, runs: bool) -> String {
    let mut text = String::new();
    let state = if runs { "runs" } else { "does not run" };
    let job = status.job.as_ref().map_or("none".to_owned(), ToString::to_string);
    // Writing to a text does not fail.
    let _ = writeln!(
        text,
        "{}: the agent {state} (process {}, start {}), as of {}\njob: {job}\nrecords: {}",
        status.robot, status.pid, status.boot, status.at.wall, status.records,
    );
    if let Some(usage) = status.journal {
        let _ = writeln!(
            text,
            "journal: {} on the disk of {} (critical {}, normal {}, bulk {}), {} put aside, \
             {} for both",
            mib(usage.disk_bytes),
            mib(usage.disk_quota_bytes),
            mib(usage.critical_bytes),
            mib(usage.normal_bytes),
            mib(usage.bulk_bytes),
            mib(status.aside_bytes),
            mib(status.disk_bound_bytes),
        );
        let oldest = usage.oldest.map_or("none".to_owned(), |oldest| oldest.to_string());
        let _ = writeln!(
            text,
            "oldest record: {oldest}; pruned from the beginning: {}",
            usage.pruned_through
        );
    }
    let _ = match &status.flight {
        None => write!(text, "flight recorder: off"),
        Some(flight) => write!(
            text,
            "flight recorder: {} ticks in {} of memory, {} dumps{}, {} triggers suppressed, \
             {} ticks lost",
            flight.ticks,
            mib(flight.memory_bytes as u64),
            flight.dumps,
            if flight.recording { ", one under way" } else { "" },
            flight.suppressed,
            flight.lost,
        ),
    };
    if let Some(why) = &status.poisoned {
        let _ = write!(text, "\nNOTHING IS RECORDED: {why}");
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
