//! `agent.toml`: read once at start, refused as a whole when any of it is not understood.
//!
//! A key that is ignored is worse than a refusal: the engineer believes that it holds. So an
//! unknown key is an error with its line and the nearest key that exists.

use nooterra_protocol::grant::Mode;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::skill::Capability;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/nooterra/agent.toml";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read: missing, or not readable for the agent's user.
    #[error("{}: {source}; write one from the template or name another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write instead.
        what: String,
    },
    /// A value outside its range.
    #[error("{}: `{key}` {what}", path.display())]
    Value {
        /// Such as `control.rate_hz`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write instead.
        what: String,
    },
}

/// The configuration; paths are absolute after [`Config::load`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who may ask for what.
    #[serde(default)]
    pub authority: Authority,
    /// What the black box keeps.
    #[serde(default)]
    pub blackbox: crate::recording::Blackbox,
    /// The control loop.
    #[serde(default)]
    pub control: Control,
    /// The flight recorder.
    #[serde(default)]
    pub flight: crate::recording::Flight,
    /// The channel to the cloud.
    #[serde(default)]
    pub link: Link,
    /// What is written to standard error.
    #[serde(default)]
    pub log: Log,
    /// The safety envelope.
    pub policy: Policy,
    /// What is driven.
    pub robot: Robot,
    /// Third-party code.
    #[serde(default)]
    pub skills: Skills,
    /// What the agent keeps.
    #[serde(default)]
    pub state: State,
    /// A stop button or relay on a GPIO line of this computer.
    #[serde(default)]
    pub stop_input: Option<nooterra_hal::stop_input::GpioLine>,
}

/// `[robot]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Robot {
    /// How the robot is reached.
    pub driver: Driver,
    /// Its id, as enrolled and as its policy names it.
    pub id: RobotId,
    /// For the simulated robot: the world, a TOML file.
    #[serde(default)]
    pub world: Option<PathBuf>,
}

/// A driver of this release.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// A simulated robot: a base, or an arm.
    Sim,
}

/// `[policy]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The signed policy document.
    #[serde(default = "policy_file")]
    pub file: PathBuf,
    /// The public key of the robot's owner, who alone signs policies.
    #[serde(default = "owner_key_file")]
    pub owner_key_file: PathBuf,
    /// A signed candidate that judges beside the policy in force, and moves nothing.
    #[serde(default)]
    pub shadow: Option<PathBuf>,
    /// A new policy on trial must be confirmed within so many seconds, 10 to 86400.
    #[serde(default = "trial_s")]
    pub trial_s: u32,
}

/// `[authority]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authority {
    /// The owner's signed rules; without them those of this release hold.
    pub file: Option<PathBuf>,
    /// How the robot is operated when the agent starts.
    pub mode: Mode,
}

/// `[skills]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Skills {
    /// What a version's own cases may take together on this machine, seconds, 1 to 3600.
    pub cases_s: u32,
    /// The most that compiled code may take on the disk, MiB, 0 to 1024; 0 keeps none.
    pub compiled_mib: u32,
    /// Which clock says whether trust documents and revocation lists are fresh.
    pub clock: SkillClock,
    /// The most that the pictures which skills were given may take on the disk, MiB, 0 to 65536;
    /// 0 keeps none.
    pub frames_mib: u32,
    /// The most that any skill is given; its manifest must ask for it too.
    pub grant: BTreeSet<Capability>,
    /// What the record of a skill's inputs may take, KiB in a second, 1 to 1024.
    pub input_kib_per_s: u32,
    /// Refuses a version without cases of its own, or with cases that this build cannot run.
    pub require_cases: bool,
    /// A folder of minisign public keys (`*.pub`) whose signatures are believed.
    pub trusted_keys_dir: PathBuf,
}

/// When the wall clock is believed about a trust document's expiry.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum SkillClock {
    /// Once the system says that it was set from the network.
    #[default]
    Network,
    /// Always: something that the agent cannot see keeps it.
    System,
}

/// `[state]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Identity, journal and skill bundles.
    pub dir: PathBuf,
}

/// `[control]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Ticks per second, 10 to 500.
    pub rate_hz: u32,
    /// Real-time scheduling and locked memory for the control thread.
    pub realtime: Realtime,
    /// SCHED_FIFO priority, 1 to 99.
    pub realtime_priority: u8,
}

/// Whether the control thread must be real-time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Realtime {
    /// Do not ask for it.
    Off,
    /// Refuse to start without it.
    Require,
    /// Ask, and log when the system refuses.
    Try,
}

/// `[link]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// MQTT keep-alive, seconds, 5 to 60.
    pub keep_alive_s: u16,
    /// Longest pause between attempts to connect, seconds, 1 to 3600.
    pub max_backoff_s: u32,
    /// The longest lease that an operator's command may ask for, milliseconds.
    pub max_lease_ms: u32,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A `tracing` filter such as `info` or `nooterra_agent=debug,info`.
    pub filter: String,
    /// One line of text or one JSON object for each event.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

fn policy_file() -> PathBuf {
    "policy.cbor".into()
}

fn owner_key_file() -> PathBuf {
    "owner.pub".into()
}

const fn trial_s() -> u32 {
    300
}

impl Default for Skills {
    fn default() -> Self {
        Self {
            cases_s: 300,
            compiled_mib: 64,
            clock: SkillClock::default(),
            frames_mib: 64,
            grant: BTreeSet::new(),
            input_kib_per_s: 64,
            require_cases: false,
            trusted_keys_dir: "skill-keys".into(),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { dir: "/var/lib/nooterra".into() }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { rate_hz: 50, realtime: Realtime::Try, realtime_priority: 50 }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self { keep_alive_s: 15, max_backoff_s: 60, max_lease_ms: 10_000 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Control {
    /// The time of one tick.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_secs(1) / self.rate_hz
    }
}

impl State {
    /// Where the journal lives.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Where key, certificate and cloud address live.
    #[must_use]
    pub fn identity_dir(&self) -> PathBuf {
        self.dir.join("identity")
    }

    /// Where the pictures lie that skills were given.
    #[must_use]
    pub fn frames_dir(&self) -> PathBuf {
        Self::frames_beside(&self.journal_dir())
    }

    /// Where those lie that belong to a journal, of this robot or copied from one.
    #[must_use]
    pub fn frames_beside(journal: &Path) -> PathBuf {
        journal.with_file_name("frames")
    }

    /// Where verified bundles are kept.
    #[must_use]
    pub fn skills_dir(&self) -> PathBuf {
        self.dir.join("skills")
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it count from the folder of the file.
    ///
    /// # Errors
    /// Every variant of [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(&text, path)?;
        let absolute = std::path::absolute(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let base = absolute.parent().unwrap_or(Path::new("/"));
        for file in [
            &mut config.policy.file,
            &mut config.policy.owner_key_file,
            &mut config.skills.trusted_keys_dir,
            &mut config.state.dir,
        ] {
            *file = base.join(&*file);
        }
        for file in [&mut config.robot.world, &mut config.authority.file].into_iter().flatten() {
            *file = base.join(&*file);
        }
        let stop_chip = config.stop_input.as_mut().map(|input| &mut input.chip);
        for file in [config.policy.shadow.as_mut(), stop_chip].into_iter().flatten() {
            *file = base.join(&*file);
        }
        Ok(config)
    }

    /// Reads and checks a text; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] and [`ConfigError::Value`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = parse_toml(text, path)?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        range(path, "control.rate_hz", self.control.rate_hz, 10, 500)?;
        range(path, "control.realtime_priority", self.control.realtime_priority, 1, 99)?;
        self.blackbox.check(path)?;
        self.flight.check(path)?;
        range(path, "skills.cases_s", self.skills.cases_s, 1, 3600)?;
        range(path, "skills.compiled_mib", self.skills.compiled_mib, 0, 1024)?;
        range(path, "skills.frames_mib", self.skills.frames_mib, 0, 65_536)?;
        range(path, "skills.input_kib_per_s", self.skills.input_kib_per_s, 1, 1024)?;
        range(path, "policy.trial_s", self.policy.trial_s, 10, 86_400)?;
        range(path, "link.keep_alive_s", self.link.keep_alive_s, 5, 60)?;
        range(path, "link.max_backoff_s", self.link.max_backoff_s, 1, 3_600)?;
        range(path, "link.max_lease_ms", self.link.max_lease_ms, 100, 60_000)?;
        let value = |key, what: &str| {
            Err(ConfigError::Value { key, path: path.to_owned(), what: what.to_owned() })
        };
        if self.robot.driver == Driver::Sim && self.robot.world.is_none() {
            return value("robot.world", "is missing: driver = \"sim\" needs a world to simulate");
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log.filter).is_err() {
            return value("log.filter", "is not a filter; write `info` or `debug`");
        }
        Ok(())
    }
}

fn range<T: PartialOrd + fmt::Display>(
    path: &Path,
    key: &'static str,
    found: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if found < least || found > most {
        let what = format!("is {found}, must be {least} to {most}");
        return Err(ConfigError::Value { key, path: path.to_owned(), what });
    }
    Ok(())
}

/// Reads a TOML text into a type that denies unknown fields, with errors that name the line
/// and the nearest key.
///
/// # Errors
/// [`ConfigError::Syntax`].
pub fn parse_toml<T: serde::de::DeserializeOwned>(
    text: &str,
    path: &Path,
) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        ConfigError::Syntax { line, path: path.to_owned(), what: explain(error.message()) }
    })
}

/// serde says ``unknown field `a`, expected one of `b`, `c` ``; people want one suggestion.
pub(crate) fn explain(message: &str) -> String {
    if !message.starts_with("unknown field") {
        return message.replace('\n', " ");
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(2))
        .min();
    match nearest {
        Some((_, name)) => format!("unknown key `{unknown}`; did you mean `{name}`?"),
        None => format!("unknown key `{unknown}`; the keys here are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[robot]\nid = \"amr-1\"\ndriver = \"sim\"\nworld = \"w.toml\"\n[policy]\n";

    fn refused(extra: &str) -> String {
        let text = format!("{LEAST}{extra}");
        Config::parse(&text, Path::new("agent.toml")).unwrap_err().to_string()
    }

    #[test]
    fn the_least_configuration_is_the_robot_and_where_its_policy_is() {
        let config = Config::parse(LEAST, Path::new("agent.toml")).unwrap();
        assert_eq!(config.control.rate_hz, 50);
        assert_eq!(config.state.dir, Path::new("/var/lib/nooterra"));
        assert!(config.skills.grant.is_empty(), "a skill is given nothing by default");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
        assert_eq!(
            refused("[control]\nrate_hz = 50\nrealtime_prio = 3\n"),
            "agent.toml:8: unknown key `realtime_prio`; did you mean `realtime_priority`?"
        );
        assert_eq!(
            refused("[controll]\n"),
            "agent.toml:6: unknown key `controll`; did you mean `control`?"
        );
        assert!(refused("[log]\nqqqqqqqqqq = 1\n").contains("the keys here are"));
    }

    #[test]
    fn a_number_that_is_no_number_or_out_of_range_is_refused_by_name() {
        assert!(refused("[control]\nrate_hz = nan\n").starts_with("agent.toml:7: invalid type"));
        assert!(refused("[control]\nrate_hz = 5\n").contains("`control.rate_hz` is 5, must be"));
        assert!(refused("[control]\nrate_hz = -1\n").starts_with("agent.toml:7:"));
    }

    #[test]
    fn an_id_that_is_no_id_is_refused_with_its_line() {
        let text = LEAST.replace("amr-1", "AMR 1");
        let error = Config::parse(&text, Path::new("agent.toml")).unwrap_err().to_string();
        assert!(error.starts_with("agent.toml:2: `AMR 1` is not an id"), "{error}");
    }
}
