//! `nooterra-agent authority`: the owner's rules of who may ask for what.

use super::Answer;
use super::exit::{Code, coded};
use crate::authority::rules::{DEFAULT, RuleInfo, SCHEMA};
use crate::authority::{About, Access, Question, Rules, Situation, Skill, Who, signed};
use crate::config::Config;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use nooterra_protocol::grant::{Action, Mode, Sensor};
use nooterra_protocol::ids::{ActorId, JobId, RobotId, SkillId, ZoneId};
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::WallMillis;
use serde_json::json;
use std::path::{Path, PathBuf};

/// How long `explain` keeps data when nothing is said, seconds: a day.
const KEEP_S: u32 = 86_400;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check rules in Cedar: syntax, names, and that they are about things that exist
    Check {
        /// The rules.
        file: PathBuf,
    },
    /// Say whether somebody may do something in a situation, and by which rule
    Explain(Box<Explain>),
    /// Print the rules that are in force by the configuration
    Show {
        /// Print the rules of this release instead, to start your own from.
        #[arg(long, conflicts_with = "schema")]
        built_in: bool,
        /// Print what rules can be about instead.
        #[arg(long)]
        schema: bool,
    },
    /// Check rules and sign them
    #[cfg(feature = "tools")]
    Sign {
        /// The rules.
        file: PathBuf,
        /// The name of these rules.
        #[arg(long, value_name = "NAME", default_value = "authority")]
        id: nooterra_protocol::ids::PolicyId,
        /// The owner's private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the signed rules go.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The robot that they are for.
        #[arg(long, value_name = "ID")]
        robot: RobotId,
        /// Counts up; a robot never goes back to an older one.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        version: u32,
    },
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("who").required(true))]
pub(super) struct Explain {
    /// What is asked for: cancel_job, disconnect, drive, lift_veto, mark_incident, plan_access,
    /// read_sensor, reconnect, release_stop, retain_sensor, review_job, set_limits, set_mode,
    /// start_job or veto.
    #[arg(value_parser = named(Action::from_name, "an action"))]
    action: Action,
    /// An operator asks.
    #[arg(long, group = "who", value_name = "ID")]
    operator: Option<ActorId>,
    /// A skill asks.
    #[arg(long, group = "who", value_name = "ID")]
    skill: Option<SkillId>,
    /// How far the skill was tested.
    #[arg(long, value_enum, default_value_t = TierArg::Dev, requires = "skill")]
    tier: TierArg,
    /// Rules in Cedar; without them those that the configuration puts in force.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// The moment, in UTC; without it now.
    #[arg(long, value_name = "YYYY-MM-DDTHH:MM:SSZ", value_parser = moment)]
    at: Option<WallMillis>,
    /// The job that it is about and, for a skill, that is under way.
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,
    /// The job's access begins then.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "job")]
    access_from: Option<WallMillis>,
    /// The job's access ends then.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "job")]
    access_to: Option<WallMillis>,
    /// The job needs a person's review.
    #[arg(long, requires = "job")]
    needs_review: bool,
    /// Somebody who has reviewed the job.
    #[arg(long, value_name = "ID", requires = "job")]
    reviewed_by: Vec<ActorId>,
    /// What was agreed about privacy for the job.
    #[arg(long, value_name = "TEXT", requires = "job")]
    privacy: Option<String>,
    /// How the robot is operated: automatic, maintenance or manual.
    #[arg(long, default_value = "automatic", value_parser = named(Mode::from_name, "a mode"))]
    mode: Mode,
    /// Who set the robot's mode; without it the configuration did.
    #[arg(long, value_name = "ID")]
    mode_set_by: Option<ActorId>,
    /// The mode that is to be set, for `set_mode`.
    #[arg(long, value_name = "MODE", value_parser = named(Mode::from_name, "a mode"))]
    to_mode: Option<Mode>,
    /// The operator's session ends then.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "operator")]
    session_until: Option<WallMillis>,
    /// The sensor that it is about: camera, depth, microphone, position or range.
    #[arg(long, value_parser = named(Sensor::from_name, "a sensor"))]
    sensor: Option<Sensor>,
    /// How long the sensor's data would be kept, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = KEEP_S)]
    keep_s: u32,
    /// Somebody vetoed the robot's motion.
    #[arg(long)]
    vetoed: bool,
    /// A zone that the robot is in; without any it is not known where it is.
    #[arg(long, value_name = "ID")]
    zone: Vec<ZoneId>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum TierArg {
    Dev,
    FieldCert,
    LabCert,
}

pub(super) fn answer(
    command: Command,
    load: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<Answer> {
    match command {
        Command::Check { file } => {
            let (_, rules) = read(&file)?;
            let count = rules.infos().count();
            let are = if count == 1 { "rule is" } else { "rules are" };
            let mut text = format!("{}: {count} {are} in order", file.display());
            for warning in rules.warnings() {
                text.push_str(&format!("\nnote: {}:{warning}", file.display()));
            }
            let infos: Vec<_> = rules.infos().map(info).collect();
            let json = json!({ "ok": true, "rules": infos, "warnings": rules.warnings() });
            Ok(Answer::done(text, json))
        }
        Command::Explain(explain) => explain.answer(load),
        Command::Show { built_in: true, .. } => {
            Ok(Answer::done(DEFAULT.trim_end(), json!({ "rules": DEFAULT })))
        }
        Command::Show { schema: true, .. } => {
            Ok(Answer::done(SCHEMA.trim_end(), json!({ "schema": SCHEMA })))
        }
        Command::Show { .. } => {
            let in_force = signed::load(&load()?)?;
            let text = format!("// {}, {}\n{}", in_force.name(), in_force.hash, in_force.text());
            let json = json!({
                "name": in_force.name(), "hash": in_force.hash, "rules": in_force.text(),
            });
            Ok(Answer::done(text.trim_end(), json))
        }
        #[cfg(feature = "tools")]
        Command::Sign { file, id, key, out, robot, version } => {
            let (rules, _) = read(&file)?;
            let document =
                nooterra_protocol::grant::AuthorityDocument { id, robot, rules, version };
            tools::sign(document, &key, &out)
        }
    }
}

/// Reads and checks rules that are not signed.
fn read(file: &Path) -> anyhow::Result<(String, Rules)> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file)
        .with_context(name)
        .map_err(|error| coded(Code::Configuration, error))?;
    let rules = Rules::parse(&text).map_err(|error| {
        coded(Code::Configuration, anyhow::Error::msg(format!("{}:{error}", file.display())))
    })?;
    Ok((text, rules))
}

fn info(info: &RuleInfo) -> serde_json::Value {
    let effect = if info.forbids { "forbid" } else { "permit" };
    json!({ "id": info.id, "effect": effect, "line": info.line, "say": info.say })
}

impl Explain {
    fn answer(self, load: impl Fn() -> anyhow::Result<Config>) -> anyhow::Result<Answer> {
        let (rules, robot, from) = match &self.rules {
            Some(file) => (read(file)?.1, RobotId::new("robot")?, file.display().to_string()),
            None => {
                let config = load()?;
                let in_force = signed::load(&config)?;
                let name = in_force.name();
                (in_force.rules, config.robot.id, name)
            }
        };
        let question = self.question()?;
        let asked = format!("{} {} {}", question.who, question.action, question.about);
        let line = |rule: &str| rules.infos().find(|info| info.id == rule).map(|info| info.line);
        let (allowed, why, names) = match rules.judge(&question, &self.situation(), &robot) {
            Ok(names) => {
                let listed = names
                    .iter()
                    .map(|name| format!("`{name}` (line {})", line(name).unwrap_or(0)))
                    .collect::<Vec<_>>();
                (true, format!("permitted by {}", listed.join(", ")), names)
            }
            Err(denied) => {
                let rule = match &denied {
                    crate::authority::Denied::Faulty { rule, .. }
                    | crate::authority::Denied::Forbidden { rule, .. } => vec![rule.clone()],
                    _ => Vec::new(),
                };
                let at = rule.first().and_then(|rule| line(rule));
                let at = at.map(|line| format!(" (line {line})")).unwrap_or_default();
                (false, format!("{denied}{at}"), rule)
            }
        };
        let word = if allowed { "yes" } else { "no" };
        let text = format!("{asked}: {word}\n{why}\nby {from}, at {}", question.now);
        let json = json!({
            "allowed": allowed, "asked": asked, "at": question.now.to_string(), "by": from,
            "rules": names, "why": why,
        });
        Ok(Answer::done(text, json))
    }

    fn question(&self) -> anyhow::Result<Question> {
        let job = || self.job.clone().map(About::Job).context("name the job with --job");
        let sensor = || self.sensor.context("name the sensor with --sensor");
        let about = match self.action {
            Action::CancelJob | Action::PlanAccess | Action::ReviewJob | Action::StartJob => job(),
            Action::SetMode => {
                self.to_mode.map(About::Mode).context("name the mode to be set with --to-mode")
            }
            Action::ReadSensor => sensor().map(About::Sensor),
            Action::RetainSensor => sensor().map(|sensor| About::Keep(sensor, self.keep_s)),
            Action::Disconnect
            | Action::Drive
            | Action::LiftVeto
            | Action::MarkIncident
            | Action::Reconnect
            | Action::ReleaseStop
            | Action::SetLimits
            | Action::Veto => Ok(About::Robot),
        }?;
        let tier = match self.tier {
            TierArg::Dev => Tier::Dev,
            TierArg::FieldCert => Tier::FieldCert,
            TierArg::LabCert => Tier::LabCert,
        };
        let who = match (&self.operator, &self.skill) {
            (Some(operator), _) => Who::Operator(operator.clone()),
            (None, Some(skill)) => Who::Skill(Skill { id: skill.clone(), tier }),
            (None, None) => anyhow::bail!("say who asks, with --operator or --skill"),
        };
        let now = self.at.unwrap_or_else(crate::clock::wall);
        Ok(Question { about, action: self.action, now, who })
    }

    fn situation(&self) -> Situation {
        let access = Access {
            from: self.access_from,
            needs_review: self.needs_review,
            privacy: self.privacy.clone(),
            reviewed_by: self.reviewed_by.iter().cloned().collect(),
            reviewed_plan: None,
            to: self.access_to,
        };
        // A job that somebody wants to begin is not under way.
        let before = [Action::PlanAccess, Action::ReviewJob, Action::StartJob];
        let under_way = !before.contains(&self.action);
        Situation {
            disconnected: None,
            job: self.job.clone().filter(|_| under_way),
            jobs: self.job.iter().map(|job| (job.clone(), access.clone())).collect(),
            limits: None,
            mode: self.mode,
            mode_set_by: self.mode_set_by.clone(),
            operator: self.operator.clone(),
            sessions: self.operator.iter().cloned().zip(self.session_until).collect(),
            skill: None,
            vetoed: self.vetoed.then(|| ActorId::new("somebody").ok()).flatten(),
            zones: (!self.zone.is_empty()).then(|| self.zone.iter().cloned().collect()),
        }
    }
}

/// A parser of names, for the command line.
fn named<T: Clone + Send + Sync + 'static>(
    from_name: fn(&str) -> Option<T>,
    what: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |name| from_name(name).ok_or_else(|| format!("`{name}` is not {what}"))
}

/// A moment as people write it: RFC 3339 in UTC, to the second.
fn moment(text: &str) -> Result<WallMillis, String> {
    WallMillis::from_rfc3339(text)
        .ok_or_else(|| format!("`{text}` is no moment; write as in 2026-11-20T08:30:00Z"))
}

#[cfg(feature = "tools")]
mod tools {
    use super::{Answer, json};
    use crate::files;
    use anyhow::Context as _;
    use nooterra_protocol::envelope::Signed;
    use nooterra_protocol::grant::AuthorityDocument;
    use nooterra_protocol::keys::Ed25519Key;
    use std::path::Path;

    pub(super) fn sign(
        document: AuthorityDocument,
        key: &Path,
        out: &Path,
    ) -> anyhow::Result<Answer> {
        let pem = std::fs::read_to_string(key).with_context(|| key.display().to_string())?;
        let key = Ed25519Key::from_pem(&pem).with_context(|| key.display().to_string())?;
        let signed = Signed::sign(document, &key)?;
        files::write_whole(out, signed.bytes(), 0o644)
            .with_context(|| out.display().to_string())?;
        let document = signed.body();
        let text = format!(
            "{}: rules {} version {} for robot {}, signed, SHA-256 {}",
            out.display(),
            document.id,
            document.version,
            document.robot,
            signed.digest()
        );
        let json = json!({ "hash": signed.digest(), "version": document.version });
        Ok(Answer::done(text, json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_printed() {
        for millis in [0, 951_782_400_000, 1_795_219_199_000, 4_102_444_800_000] {
            let text = WallMillis(millis).to_string().replace(".000Z", "Z");
            assert_eq!(moment(&text), Ok(WallMillis(millis)), "{text}");
        }
        for text in [
            "",
            "2026-06-31T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00+",
            "2026-00-01T00:00:00Z",
            "é026-01-01T00:00:0Z",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
