//! The command line: what can be asked of the agent, and how it answers.

mod authority;
#[cfg(feature = "tools")]
mod backtest;
mod blackbox;
mod compared;
mod erase;
mod exit;
#[cfg(feature = "tools")]
mod import;
mod logging;
#[cfg(feature = "tools")]
mod masks;
mod policy;
#[cfg(feature = "tools")]
mod review;
mod shadow;
mod skill;
mod status;
mod trust;

pub use exit::Code;

use crate::config::{self, Config};
use crate::driver::SimOptions;
use crate::ending::Ending;
use crate::identity::{self, ClaimCode};
use crate::run;
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use exit::coded;
use nooterra_hal::stop_input::GpioInput;
use nooterra_policy::VerifiedPolicy;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for another reason, named on standard error
  2  the command line is wrong
  3  the configuration, policy or world is wrong
  4  this robot is not enrolled
  5  verification failed: altered, unsigned, or signed by a stranger
  6  the cloud refused, or could not be reached
  7  something that the agent needs is taken: journal locked by another agent
  8  records of a black box are missing, and are named; all others are verified, or written
  9  a black box cannot be read
 10  a black box is self-consistent, but nothing proves whose it is";

/// The Nooterra agent: keeps a robot inside its owner's envelope, runs signed skills, and
/// writes down what happened.
#[derive(Debug, Parser)]
#[command(name = "nooterra-agent", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration.
    #[arg(long, short, global = true, env = "NOOTERRA_CONFIG", value_name = "FILE",
          default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Answer with JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check, explain and show the rules of who may ask for what
    #[command(subcommand)]
    Authority(authority::Command),
    /// Verify, read, prove, salvage and export the black box
    #[command(subcommand)]
    Blackbox(blackbox::Command),
    /// Print a completion script for a shell
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Check the configuration and everything that it names
    Check,
    /// Turn a claim code into this robot's certificate
    Enroll {
        /// The cloud's API.
        #[arg(long, value_name = "https://HOST:PORT")]
        cloud: String,
        /// Made at the cloud for this robot; good once. `-` reads it from standard input,
        /// which keeps it out of the list of processes.
        #[arg(long)]
        code: String,
    },
    /// Check, sign and show the safety envelope
    #[command(subcommand)]
    Policy(policy::Command),
    /// Run the daemon until SIGTERM
    Run {
        /// Simulated robot only: seed of its sensors' noise.
        #[arg(long, default_value_t = 1, value_name = "N")]
        seed: u64,
        /// Simulated robot only: write where it truly is to a CSV file.
        #[arg(long, value_name = "FILE")]
        truth: Option<PathBuf>,
    },
    /// Begin, try out, pack, sign and verify skills
    #[command(subcommand)]
    Skill(skill::Command),
    /// Say whose skills this robot takes, and install trust documents and revocation lists
    #[command(subcommand)]
    Trust(trust::Command),
    /// Say how the agent of this robot stands, and what the black box takes of its bound
    Status,
}

/// What a command answers: for people, and the same for scripts.
struct Answer {
    code: Code,
    json: Value,
    text: String,
}

impl Answer {
    fn done(text: impl Into<String>, json: Value) -> Self {
        Self { code: Code::Done, json, text: text.into() }
    }

    /// The command printed as it went.
    const fn printed() -> Self {
        Self { code: Code::Done, json: Value::Null, text: String::new() }
    }

    fn print(self, as_json: bool) -> ExitCode {
        if as_json && self.json.is_null() {
            return self.code.into();
        }
        let said = if as_json {
            writeln!(std::io::stdout(), "{}", self.json)
        } else if self.text.is_empty() {
            Ok(())
        } else {
            writeln!(std::io::stdout(), "{}", self.text)
        };
        match said {
            // Whoever reads, such as `head`, has seen enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("nooterra-agent: cannot answer: {error}");
                Code::Failed.into()
            }
            _ => self.code.into(),
        }
    }
}

/// Reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let as_json = cli.json;
    match answer(cli) {
        Ok(answer) => answer.print(as_json),
        Err(error) => {
            let code = exit::of(&error);
            if as_json {
                println!("{}", json!({ "error": format!("{error:#}"), "exit_code": code as u8 }));
            }
            eprintln!("nooterra-agent: {error:#}");
            code.into()
        }
    }
}

fn answer(cli: Cli) -> anyhow::Result<Answer> {
    let load = || Config::load(&cli.config).map_err(|error| coded(Code::Configuration, error));
    match cli.command {
        Command::Authority(command) => authority::answer(command, load),
        Command::Blackbox(command) => blackbox::answer(command, load, cli.json),
        Command::Check => check(&load()?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nooterra-agent", &mut script);
            let text = String::from_utf8_lossy(&script).trim_end().to_owned();
            Ok(Answer::done(text.clone(), json!({ "script": text })))
        }
        Command::Enroll { cloud, code } => enroll(&load()?, &cloud, code),
        Command::Policy(command) => policy::answer(command, load),
        Command::Run { seed, truth } => {
            let (runtime, ending) = Ending::listen()?;
            let config = load()?;
            logging::init(&config.log);
            run::run(&config, &SimOptions { seed, truth }, runtime, ending)?;
            Ok(Answer::done("", json!({ "ended": "in order" })))
        }
        Command::Skill(command) => skill::answer(command, load, cli.json),
        Command::Status => status::answer(&load()?),
        Command::Trust(command) => trust::answer(command, load),
    }
}

fn check(config: &Config) -> anyhow::Result<Answer> {
    let policy = crate::envelope::load(config)?;
    let in_force = crate::authority::signed::load(config)?;
    let keys = crate::jobs::trusted_keys(&config.skills.trusted_keys_dir)
        .map_err(|error| coded(Code::Configuration, error))?
        .ids()
        .count();
    let trust = trust::in_short(config)?;
    let robot = crate::driver::open(config, &SimOptions::default())?;
    let shadow = crate::envelope::load_shadow(config)?;
    let shadow = shadow.as_ref().map(VerifiedPolicy::document);
    // Taken and given back: a running agent holds the line, and then this fails.
    let line = config.stop_input.as_ref();
    line.map(GpioInput::open).transpose().map_err(|error| coded(Code::Configuration, error))?;
    let document = policy.document();
    let text = format!(
        "configuration of {} is in order: {}, policy {} version {} ({} zones, {} masks), {}, \
         {}{}{}",
        config.robot.id,
        robot.capabilities().model,
        document.id,
        document.version,
        document.zones.len(),
        document.masks.len(),
        in_force.name(),
        trust.clone().unwrap_or_else(|| format!("{keys} skill keys")),
        shadow.map_or(String::new(), |candidate| {
            format!(", shadow {} version {}", candidate.id, candidate.version)
        }),
        if line.is_some() { ", a stop input" } else { "" },
    );
    Ok(Answer::done(
        text,
        json!({
            "robot": config.robot.id,
            "model": robot.capabilities().model,
            "policy": { "id": document.id, "version": document.version, "hash": policy.digest() },
            "authority": { "rules": in_force.name(), "hash": in_force.hash },
            "shadow": shadow.map(|candidate| json!({ "id": candidate.id, "version": candidate.version })),
            "skill_keys": keys,
            "skill_trust": trust,
            "stop_input": line.map(|line| json!({ "chip": line.chip, "line": line.line })),
        }),
    ))
}

fn enroll(config: &Config, cloud: &str, code: String) -> anyhow::Result<Answer> {
    let code = if code == "-" {
        std::io::read_to_string(std::io::stdin()).context("reading the claim code")?
    } else {
        code
    };
    let code: ClaimCode = code.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dir = config.state.identity_dir();
    let enrolled = runtime.block_on(identity::enroll(&dir, &config.robot.id, cloud, &code))?;
    let text = format!(
        "{} is enrolled at {cloud}; its certificate lasts until {}",
        config.robot.id,
        enrolled.not_after()
    );
    Ok(Answer::done(
        text,
        json!({
            "robot": config.robot.id,
            "cloud": cloud,
            "mqtt": enrolled.cloud().mqtt,
            "not_after": enrolled.not_after().to_string(),
            "device_key": enrolled.signer().verifying_key().to_string(),
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
