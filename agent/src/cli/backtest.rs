//! `nooterra-agent policy backtest`: what a policy would have done to a recorded motion.

use super::Answer;
use super::exit::{Code, coded};
use crate::backtest::{
    self, Backtest as Outcome, Derivation, Format, Interval, Judged, Motion, ReadOptions,
    Recording, read, report,
};
use crate::files;
use anyhow::Context as _;
use nooterra_protocol::policy::PolicyDocument;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
A recording is MCAP with ROS 2 nav_msgs/Odometry, geometry_msgs/TwistStamped or Twist; a MAVLink \
tlog with GLOBAL_POSITION_INT or LOCAL_POSITION_NED; or a trajectory in the layout of EuRoC, TUM \
or KITTI. Recordings in space are judged as a map shows them: position and speed over ground, \
turn around the vertical. Each moment is judged as the robot was then; zones along its stopping \
path. The exit code is 0 when the recording was read, whatever was found in it.";

/// The most intervals that are listed for people; JSON and the page have them all.
const LISTED: usize = 40;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Backtest {
    /// The recording.
    log: PathBuf,
    /// The policy as it is written, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Draw it: a page of its own, nothing loaded from anywhere.
    #[arg(long, value_name = "REPORT.html")]
    out: Option<PathBuf>,
    /// The recording's layout; told by its first bytes when not given.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// MCAP: the topic; tlog: the message. The one that says most when not given.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// What counts as linear speed; by the kind of vehicle when not given.
    #[arg(long, value_enum)]
    motion: Option<Motion>,
    /// Differences (derived speeds, turns, accelerations) are taken over so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3, value_parser = seconds)]
    window: f64,
    /// A pause shorter than this does not end an interval.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, value_parser = seconds)]
    join: f64,
    /// A longer pause in the recording is a gap, through which nothing holds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    gap: f64,
    /// tlog: where the map's origin is, degrees; the first fix when not given.
    #[arg(long, value_name = "LAT,LON", value_parser = origin, allow_hyphen_values = true)]
    origin: Option<(f64, f64)>,
    /// KITTI: poses per second.
    #[arg(long, value_name = "HZ", default_value_t = 10.0, value_parser = rate)]
    rate: f64,
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("write a number from {least} to {most}")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 3600.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.01, 100_000.0)
}

fn origin(text: &str) -> Result<(f64, f64), String> {
    let (latitude, longitude) = text.split_once(',').ok_or("write LATITUDE,LONGITUDE")?;
    Ok((number(latitude, -89.0, 89.0)?, number(longitude, -180.0, 180.0)?))
}

impl Backtest {
    pub(super) fn answer(self) -> anyhow::Result<Answer> {
        let policy = super::policy::read(&self.policy)?;
        let options = ReadOptions {
            format: self.format,
            origin_deg: self.origin,
            rate_hz: self.rate,
            topic: self.topic.clone(),
        };
        let log = self.log.display().to_string();
        let recording = read::read(&self.log, &options).with_context(|| log.clone())?;
        let derivation = Derivation { gap_s: self.gap, motion: self.motion, window_s: self.window };
        // Checked when it was read; a fault is the policy's.
        let outcome = backtest::run(&policy, &recording, &derivation, self.join)
            .map_err(|error| coded(Code::Configuration, error))?;
        if let Some(out) = &self.out {
            let name = self.log.file_name().unwrap_or_default().to_string_lossy();
            let page = report::render(&name, &policy, &recording, &outcome);
            files::write_whole(out, page.as_bytes(), 0o644)
                .with_context(|| out.display().to_string())?;
        }
        let json = json!({
            "policy": { "id": policy.id, "version": policy.version },
            "recording": {
                "file": log,
                "format": recording.format.name(),
                "source": recording.source,
                "frame": recording.frame,
                "motion": outcome.timeline.motion.name(),
                "samples": recording.samples.len(),
                "duration_s": outcome.timeline.duration_s(),
                "path_m": outcome.timeline.path_m,
                "gaps": outcome.timeline.gaps,
                "notes": notes(&recording, &outcome),
            },
            "options": { "window_s": self.window, "join_s": self.join, "gap_s": self.gap },
            "rules": outcome.rules,
            "intervals": outcome.intervals,
            "report": self.out,
        });
        let mut text = text(&log, &policy, &recording, &outcome);
        if let Some(out) = &self.out {
            let _ = write!(text, "\ndrawn in {}", out.display());
        }
        Ok(Answer::done(text, json))
    }
}

fn notes<'a>(recording: &'a Recording, outcome: &'a Outcome) -> Vec<&'a String> {
    recording.notes.iter().chain(&outcome.timeline.notes).collect()
}

fn text(log: &str, policy: &PolicyDocument, recording: &Recording, outcome: &Outcome) -> String {
    let timeline = &outcome.timeline;
    let mut text = format!(
        "{log}: {} ({}), {} samples, {:.1} s, {:.1} m\nunder policy {} version {}:\n",
        recording.source,
        recording.format.name(),
        recording.samples.len(),
        timeline.duration_s(),
        timeline.path_m,
        policy.id,
        policy.version
    );
    let _ = writeln!(
        text,
        "  {:<28} {:>9} {:>9} {:>9} {:<6} {:>9} {:>9}",
        "rule", "limit", "99 %", "most", "", "intervals", "over, s"
    );
    for judged in &outcome.rules {
        let shown = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.3}"));
        let _ = writeln!(
            text,
            "  {:<28} {:>9.3} {:>9} {:>9} {:<6} {:>9} {:>9.2}",
            name(judged),
            judged.limit,
            shown(judged.p99),
            shown(judged.most),
            judged.unit,
            judged.intervals,
            judged.over_s
        );
    }
    if outcome.intervals.is_empty() {
        text.push_str("the policy would not have acted\n");
    } else {
        let _ = writeln!(
            text,
            "  {:>9} {:>9} {:>9}  {:<28} {:>9} {:>9}",
            "from, s", "to, s", "over, s", "rule", "worst", "by"
        );
    }
    for interval in outcome.intervals.iter().take(LISTED) {
        let _ = writeln!(
            text,
            "  {:>9.2} {:>9.2} {:>9.2}  {:<28} {:>9.3} {:>9.3}",
            interval.from_s,
            interval.to_s,
            interval.over_s,
            interval_name(interval),
            interval.worst.value,
            interval.worst.excess
        );
    }
    if outcome.intervals.len() > LISTED {
        let more = outcome.intervals.len() - LISTED;
        let _ = writeln!(text, "  and {more} more; --json and --out have them all");
    }
    for (from, to) in &timeline.gaps {
        let _ = writeln!(text, "gap: nothing was recorded from {from:.2} to {to:.2} s");
    }
    for note in notes(recording, outcome) {
        let _ = writeln!(text, "note: {note}");
    }
    text.truncate(text.trim_end().len());
    text
}

fn name(judged: &Judged) -> String {
    report::label(judged.rule, judged.way, judged.zone.as_ref())
}

fn interval_name(interval: &Interval) -> String {
    report::label(interval.rule, interval.way, interval.zone.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_and_half_an_origin_are_refused() {
        assert!(seconds("0.3").is_ok() && seconds("-1").is_err() && seconds("nan").is_err());
        assert!(rate("0").is_err() && rate("10").is_ok());
        assert!(origin("-35.36,149.1").is_ok());
        assert!(origin("-35.36").is_err() && origin("95,0").is_err());
    }
}
