//! `nooterra-agent policy backtest`: what a policy would have done to a recorded motion.

use super::Answer;
use crate::backtest::{
    self, Backtest as Outcome, Derivation, Format, Interval, Judged, Motion, Off, ReadOptions,
    Recording, read, report,
};
use crate::files;
use anyhow::Context as _;
use nooterra_protocol::policy::PolicyDocument;
use nooterra_protocol::time::WallMillis;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
A recording is MCAP with ROS 2 nav_msgs/Odometry, geometry_msgs/TwistStamped or Twist; a MAVLink \
tlog with GLOBAL_POSITION_INT or LOCAL_POSITION_NED; or a trajectory in the layout of EuRoC, TUM \
or KITTI. Recordings in space are judged as a map shows them: position and speed over ground, \
turn around the vertical. Each moment is judged as the robot was then; zones along its stopping \
path, by the discs that the gate judges the robot by, where and when they were in force. What is \
not known of time and height restricts and permits nothing, as in the gate. Masks that the policy \
names are read from the files beside it. The exit code is 0 when the recording was read, whatever was found in it.";

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
    /// What time it was at the first sample, in UTC, for zones with `windows`; as the recording
    /// says when not given, if it does.
    #[arg(long, value_name = "TIME", value_parser = super::erase::moment)]
    start: Option<WallMillis>,
    /// The height of take-off, as the recording counts heights, metres, for zones with
    /// `altitude`; that of the first position when not given (tlog: of home).
    #[arg(long, value_name = "METRES", value_parser = height, allow_hyphen_values = true)]
    takeoff: Option<f64>,
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

fn height(text: &str) -> Result<f64, String> {
    number(text, -20_000.0, 20_000.0)
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
        let reviewed = super::review::reviewed(&self.policy)?;
        let policy = reviewed.document();
        let options = ReadOptions {
            format: self.format,
            origin_deg: self.origin,
            rate_hz: self.rate,
            topic: self.topic.clone(),
        };
        let log = self.log.display().to_string();
        let recording = read::read(&self.log, &options).with_context(|| log.clone())?;
        let derivation = Derivation {
            gap_s: self.gap,
            motion: self.motion,
            start: self.start,
            takeoff_m: self.takeoff,
            window_s: self.window,
        };
        let outcome = backtest::run(reviewed.policy(), &recording, &derivation, self.join);
        if let Some(out) = &self.out {
            let name = self.log.file_name().unwrap_or_default().to_string_lossy();
            let page = report::render(&name, policy, &recording, &outcome);
            files::write_whole(out, page.as_bytes(), 0o644)
                .with_context(|| out.display().to_string())?;
        }
        let discs: Vec<_> = outcome
            .discs
            .iter()
            .map(
                |disc| json!({ "x": disc.center.x, "y": disc.center.y, "radius_m": disc.radius_m }),
            )
            .collect();
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
            "discs": discs,
            "rules": outcome.rules,
            "intervals": outcome.intervals,
            "sensors_off": outcome.private,
            "report": self.out,
        });
        let mut text = text(&log, policy, &recording, &outcome);
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
    for off in outcome.private.iter().take(LISTED) {
        let _ = writeln!(text, "{}", in_words(off));
    }
    if outcome.private.len() > LISTED {
        let _ = writeln!(text, "and {} more times", outcome.private.len() - LISTED);
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

/// `sensors off from 1.00 to 2.00 s: camera; what the others record is kept 60 s at most`
fn in_words(off: &Off) -> String {
    let names: Vec<&str> = off.off.iter().map(|sensor| sensor.name()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let kept = off.keep_s.map_or(String::new(), |keep_s| {
        format!("; what the others record is kept {keep_s} s at most")
    });
    format!("sensors off from {:.2} to {:.2} s: {names}{kept}", off.from_s, off.to_s)
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
