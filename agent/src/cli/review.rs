//! `nooterra-agent policy explain` and `diff`: what a policy would do, before it is signed.

use super::Answer;
use super::compared::{differences, limit, motion};
use super::exit::{Code, coded};
use super::policy;
use crate::review::compare::compare;
use crate::review::explain::{Explained, explain};
use crate::review::{Reviewed, State};
use anyhow::Context as _;
use nooterra_policy::Planar;
use nooterra_protocol::geometry::{Pose, Twist};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXPLAIN_HELP: &str = "\
The state is JSON, such as
  {\"command\": {\"type\": \"drive\", \"linear\": 0.8, \"angular\": 0.0},
   \"pose\": {\"x\": 2.0, \"y\": 1.0, \"yaw\": 0.0}, \"twist\": {\"x\": 0.3, \"y\": 0.0, \"angular\": 0.0}}
with `command` alone required; a file, or - for standard input. For a differential base --drive, \
--at and --moving say the same shorter. Commands of other vehicles: ackermann {speed_mps, \
steering_rad}, omni {x, y, angular}, fly {x, y, z, yaw_rate}, joints {joints: [...]}.
For zones that hold only at times, `clock` says what time it is: milliseconds since 1970 in UTC \
(date -d '2026-11-16 09:00Z' +%s000); left out, it is not known. \
Masks that the policy names are read from the files beside it.";

const MERGE_HELP: &str = "\
Of each limit the tighter counts; what must be kept out of is all of it, what must be kept in what \
all agree on. What cannot be combined, such as two outlines, is an error (exit code 3). The result \
has the first policy's id and version, and `merged_from` names all by the hash of their content. \
It is not signed: check it, sign it, and compare it with `policy diff`.";

const DIFF_HELP: &str = "\
Numbers are compared by themselves; what zones do together is found by asking both policies about \
the same states, drawn from a seed. An example is a state to put to `policy explain`. The exit \
code is 0 whatever differs; with --deny-looser it is 1 when the new policy allows more.";

/// The command line of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPLAIN_HELP)]
pub(super) struct Explain {
    /// The policy as it is written, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The state and the command, JSON; - for standard input.
    #[arg(required_unless_present = "drive", conflicts_with = "drive")]
    state: Option<PathBuf>,
    /// A differential base is asked for this: m/s, rad/s.
    #[arg(long, value_name = "LINEAR,ANGULAR", value_parser = two, allow_hyphen_values = true)]
    drive: Option<[f64; 2]>,
    /// It stands here: m, m, degrees.
    #[arg(long, value_name = "X,Y,YAW", value_parser = three, allow_hyphen_values = true, requires = "drive")]
    at: Option<[f64; 3]>,
    /// It moves like this: m/s, rad/s.
    #[arg(long, value_name = "LINEAR,ANGULAR", value_parser = two, allow_hyphen_values = true, requires = "drive")]
    moving: Option<[f64; 2]>,
    /// Goes on with the command for so long, while the robot does as it is told.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10.0, value_parser = span)]
    span: f64,
}

/// The command line of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF_HELP)]
pub(super) struct Diff {
    /// The policy that is in force, TOML or JSON.
    old: PathBuf,
    /// The one that would replace it.
    new: PathBuf,
    /// How many states both are asked about.
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    states: u32,
    /// Where the states are drawn from.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Exit with 1 when the new policy allows something that the old one did not.
    #[arg(long)]
    deny_looser: bool,
}

/// The command line of `merge`.
#[derive(Debug, clap::Args)]
#[command(after_help = MERGE_HELP)]
pub(super) struct Merge {
    /// The owner's policy, TOML or JSON.
    first: PathBuf,
    /// Further ones, such as a site's or a job's.
    #[arg(required = true)]
    further: Vec<PathBuf>,
    /// Where the merged policy goes: TOML where the name ends so, otherwise JSON.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Merge {
    pub(super) fn answer(&self) -> anyhow::Result<Answer> {
        let first = policy::read(&self.first)?;
        let further: Vec<_> =
            self.further.iter().map(|file| policy::read(file)).collect::<anyhow::Result<_>>()?;
        let merged = nooterra_policy::merge(&first, &further.iter().collect::<Vec<_>>())
            .map_err(|error| coded(Code::Configuration, error))?;
        let is_toml =
            self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        let text = if is_toml {
            toml::to_string_pretty(&merged)?
        } else {
            format!("{}\n", serde_json::to_string_pretty(&merged)?)
        };
        // What was written must read, with its room checked, as what was merged.
        crate::policy_file::parse(&text, &self.out)
            .map_err(|error| coded(Code::Configuration, error))?;
        crate::files::write_whole(&self.out, text.as_bytes(), 0o644)
            .with_context(|| self.out.display().to_string())?;
        let text = format!(
            "{}: policy {} version {}, merged from {} policies: {} zones, {} masks; not signed",
            self.out.display(),
            merged.id,
            merged.version,
            merged.merged_from.len(),
            merged.zones.len(),
            merged.masks.len()
        );
        Ok(Answer::done(text, json!({ "out": self.out, "policy": merged })))
    }
}

impl Explain {
    pub(super) fn answer(&self) -> anyhow::Result<Answer> {
        let reviewed = reviewed(&self.policy)?;
        let state = self.state().map_err(|error| coded(Code::Configuration, error))?;
        let explained = explain(&reviewed, &state, Duration::from_secs_f64(self.span))
            .map_err(|error| coded(Code::Configuration, error))?;
        let text = in_words(&reviewed, &state, &explained);
        let json = json!({
            "policy": reviewed.document().id,
            "version": reviewed.document().version,
            "state": state,
            "explained": explained,
        });
        Ok(Answer::done(text, json))
    }

    fn state(&self) -> anyhow::Result<State> {
        if let Some([linear, angular]) = self.drive {
            let [x, y, degrees] = self.at.unwrap_or_default();
            let [moving, turning] = self.moving.unwrap_or_default();
            return Ok(State {
                pose: Pose { x, y, yaw: degrees.to_radians() },
                twist: Planar::new(moving, 0.0, turning),
                ..State::new(Twist::new(linear, angular).into())
            });
        }
        let path = self.state.as_deref().context("name a file with the state, or --drive")?;
        let text = if path == Path::new("-") {
            let mut text = String::new();
            // A state is a few hundred bytes; whatever is longer is none.
            std::io::stdin().take(1 << 20).read_to_string(&mut text)?;
            text
        } else {
            std::fs::read_to_string(path).with_context(|| path.display().to_string())?
        };
        serde_json::from_str(&text).with_context(|| format!("{} is no state", path.display()))
    }
}

impl Diff {
    pub(super) fn answer(&self) -> anyhow::Result<Answer> {
        let (old, new) = (reviewed(&self.old)?, reviewed(&self.new)?);
        let comparison = compare(&old, &new, self.states, self.seed)
            .map_err(|error| coded(Code::Configuration, error))?;
        let looser = comparison.is_looser();
        if self.deny_looser && looser {
            let text = differences(&comparison);
            anyhow::bail!("the new policy allows more than the old one:\n{text}");
        }
        let json =
            json!({ "looser": looser, "same": comparison.is_same(), "comparison": comparison });
        Ok(Answer::done(differences(&comparison), json))
    }
}

/// A policy as its owner wrote it, with the masks beside it.
pub(super) fn reviewed(file: &Path) -> anyhow::Result<Reviewed> {
    let document = policy::read(file)?;
    let beside = file.parent().unwrap_or(Path::new("."));
    Reviewed::new(&document, beside)
        .with_context(|| file.display().to_string())
        .map_err(|error| coded(Code::Configuration, error))
}

fn in_words(reviewed: &Reviewed, state: &State, explained: &Explained) -> String {
    let document = reviewed.document();
    let mut text = format!(
        "policy {} version {}: {} at ({:.2}, {:.2}), heading {:.1} degrees",
        document.id,
        document.version,
        motion(&state.command),
        state.pose.x,
        state.pose.y,
        state.pose.yaw.to_degrees()
    );
    if explained.passes {
        text.push_str("\nnow: passes as it is");
    } else {
        match explained.stop {
            Some(profile) => {
                let _ = write!(text, "\nnow: stop ({})", word(&profile));
            }
            None => {
                let _ = write!(text, "\nnow: {}", motion(&explained.allowed));
            }
        }
    }
    for rule in &explained.rules {
        let _ = write!(text, "\n  {}", limit(rule));
    }
    if !explained.sensors_off.is_empty() {
        let off: Vec<_> = explained.sensors_off.iter().map(|sensor| sensor.name()).collect();
        let _ = write!(text, "\n  off here: {}", off.join(", "));
    }
    if !explained.then.is_empty() {
        text.push_str("\nthen, while the command goes on:");
    }
    for change in &explained.then {
        let what = if change.began { "from" } else { "until" };
        let _ = write!(text, "\n  {what:<5} {:>6.2} s  {}", change.t_s, limit(&change.rule));
    }
    let end = &explained.end;
    let _ = write!(
        text,
        "\nafter {:.1} s: {} at ({:.2}, {:.2})",
        end.t_s,
        motion(&end.allowed),
        end.pose.x,
        end.pose.y
    );
    text
}

/// An enum as it is written in files.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => "?".to_owned(),
    }
}

fn two(text: &str) -> Result<[f64; 2], String> {
    numbers(text)
}

fn three(text: &str) -> Result<[f64; 3], String> {
    numbers(text)
}

fn numbers<const N: usize>(text: &str) -> Result<[f64; N], String> {
    let parts: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    parts
        .ok()
        .and_then(|parts| parts.try_into().ok())
        .ok_or_else(|| format!("write {N} numbers with commas between them"))
}

fn span(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds".to_owned())?;
    if (0.0..=600.0).contains(&seconds) { Ok(seconds) } else { Err("write 0 to 600".to_owned()) }
}
