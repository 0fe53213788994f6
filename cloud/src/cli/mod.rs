//! The commands that talk to a cloud: jobs, robots, skills, events.
//!
//! Each is a request or a few of the HTTP API, which is all that they know of the cloud; but for
//! `report`, which knows none.

mod client;
mod job;
mod pages;
mod report;
mod robot;
mod rollout;
mod show;
mod skill;
mod token;
mod verify;
mod webhook;

use clap::{Args, Subcommand};
use client::{ClientError, Connection, sent};
use nooterra_client::types::{ClaimCodeRequest, EventQuery};
use nooterra_client::{Call, Client};
use nooterra_protocol::ids::RobotId;
use serde_json::Value;
use std::io::Write as _;
use std::process::ExitCode;

/// What is asked of a cloud.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who changed what through the API, and what was refused to whom; oldest first.
    Audit(token::Audit),
    /// Make a claim code, with which one robot can be enrolled once.
    ///
    /// Prints the code alone, for `nooterra-agent enroll --code -`.
    Claim(Claim),
    /// List what happened, or follow it as it happens.
    Event(With<Event>),
    /// Make jobs, move them on, watch them.
    Job(With<job::Command>),
    /// Check a completion report that you were given.
    #[command(subcommand)]
    Report(verify::Command),
    /// See robots, send them commands, stop them.
    Robot(With<robot::Command>),
    /// Say which robots are in which ring, and see what that gives them.
    Ring(With<rollout::Ring>),
    /// Bring a version of a skill from ring to ring, and back.
    Rollout(With<rollout::Command>),
    /// Publish skills, list and revoke them, and say who may.
    Skill(With<skill::Command>),
    /// Make tokens of the API, list them, revoke them.
    Token(With<token::Command>),
    /// Have events told to an address, see what could not be told, send it anew.
    Webhook(With<webhook::Command>),
}

/// What is asked, and of which cloud.
#[derive(Args, Debug)]
pub(crate) struct With<C: Subcommand> {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: C,
}

/// For whom, and for how long.
#[derive(Args, Debug)]
pub(crate) struct Claim {
    #[command(flatten)]
    connection: Connection,
    /// The robot's id.
    robot: String,
    /// The code is good for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
}

/// Which events.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Only those after this position; 0 for all.
    #[arg(long, default_value_t = 0)]
    after: i64,
    /// Only those of this job.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only those of this type, such as `EXECUTION_COMPLETED`.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Event {
    /// Print events as they happen, until you end it; goes on by itself when the cloud comes
    /// back.
    Follow(Which),
    /// Print what happened.
    List(Which),
}

/// How a command ended that was understood and answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Done,
    /// A job that was watched ended in another way than completed.
    NotCompleted,
}

/// Runs a command; what it prints is all that it does here.
pub(crate) fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Audit(audit) => on(&audit.connection.clone(), |cloud| token::audit(cloud, &audit)),
        Command::Claim(claim) => on(&claim.connection.clone(), |cloud| cloud.claim(&claim)),
        Command::Event(With { connection, command }) => {
            on(&connection, |cloud| cloud.event(command))
        }
        Command::Job(With { connection, command }) => {
            on(&connection, |cloud| job::run(cloud, command))
        }
        Command::Report(command) => return verify::run(command),
        Command::Robot(With { connection, command }) => {
            on(&connection, |cloud| robot::run(cloud, command))
        }
        Command::Ring(With { connection, command }) => {
            on(&connection, |cloud| rollout::ring(cloud, command))
        }
        Command::Rollout(With { connection, command }) => {
            on(&connection, |cloud| rollout::run(cloud, command))
        }
        Command::Skill(With { connection, command }) => {
            on(&connection, |cloud| skill::run(cloud, command))
        }
        Command::Token(With { connection, command }) => {
            on(&connection, |cloud| token::run(cloud, command))
        }
        Command::Webhook(With { connection, command }) => {
            on(&connection, |cloud| webhook::run(cloud, command))
        }
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotCompleted) => ExitCode::from(6),
        Err(error) => failed(&error),
    }
}

fn on(
    connection: &Connection,
    work: impl FnOnce(&Cloud) -> Result<Outcome, ClientError>,
) -> Result<Outcome, ClientError> {
    work(&Cloud { client: connection.client()?, json: connection.json })
}

fn failed(error: &ClientError) -> ExitCode {
    // One line; a closed standard error leaves the exit code to say it.
    let _ = writeln!(std::io::stderr(), "nooterra-cloud: {error}");
    ExitCode::from(error.exit_code())
}

/// A cloud, and how its answers are printed.
struct Cloud {
    client: Client,
    json: bool,
}

impl Cloud {
    fn claim(&self, claim: &Claim) -> Result<Outcome, ClientError> {
        let request = ClaimCodeRequest { robot: robot_id(&claim.robot)?, ttl_s: claim.ttl };
        let answer = sent(self.client.create_claim_code(&request))?;
        self.print(&answer, |answer| show::text(answer, "code") + "\n")
    }

    fn event(&self, event: Event) -> Result<Outcome, ClientError> {
        match event {
            Event::List(which) => {
                self.events(self.client.list_events(&which.query()), "position", which.after)
            }
            Event::Follow(which) => {
                // A cloud that is not there must be said rather than waited for.
                let one = EventQuery { limit: Some(1), ..which.query() };
                self.client.list_events(&one).send()?;
                for event in self.client.follow_events_as_sent(&which.query()).tries(None) {
                    self.line(&event?, show::event)?;
                }
                Ok(Outcome::Done)
            }
        }
    }

    /// Prints events page by page; `cursor` is the field of the last one that goes on from it.
    fn events<T>(
        &self,
        call: Call<'_, T>,
        cursor: &str,
        mut after: i64,
    ) -> Result<Outcome, ClientError> {
        let mut call = call.read_as::<Value>();
        loop {
            call = call.parameter("after", after);
            let page = call.send()?.body;
            let events = items(&page, "events");
            for event in events {
                self.line(event, show::event)?;
            }
            let Some(last) = events.last() else { return Ok(Outcome::Done) };
            match last[cursor].as_i64() {
                Some(next) if next > after => after = next,
                // A cloud that goes in circles would be listed for ever.
                _ => return Err(ClientError::Answer(cursor.to_owned())),
            }
        }
    }

    /// Asks what a person wrote as JSON.
    fn pass_on(&self, name: &str, parameters: &[&str], body: &Value) -> Result<Value, ClientError> {
        let call = self.client.operation(name, parameters);
        sent(call.ok_or_else(|| ClientError::Answer(name.to_owned()))?.json(body))
    }

    /// Prints an answer: as it is, or as people read it.
    fn print(
        &self,
        answer: &Value,
        people: impl FnOnce(&Value) -> String,
    ) -> Result<Outcome, ClientError> {
        let text = if self.json { format!("{answer}\n") } else { people(answer) };
        let mut out = std::io::stdout().lock();
        // Nobody reads any longer: that is no fault of the command.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        Ok(Outcome::Done)
    }

    /// Prints one of many, on its line.
    fn line(
        &self,
        item: &Value,
        people: impl FnOnce(&Value) -> String,
    ) -> Result<Outcome, ClientError> {
        self.print(item, |item| people(item) + "\n")
    }
}

impl Which {
    fn query(&self) -> EventQuery {
        EventQuery {
            after: Some(self.after),
            kind: self.kind.clone(),
            limit: None,
            stream: self.job.as_ref().map(|job| format!("job.{job}")),
        }
    }
}

/// An id that a robot can have.
fn robot_id(text: &str) -> Result<RobotId, ClientError> {
    RobotId::new(text).map_err(|error| ClientError::Robot(error.to_string()))
}

/// The list under `name`; nothing where the answer has none.
fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_passed_on_is_an_operation_of_the_api() {
        let find = |name| nooterra_client::OPERATIONS.iter().find(|it| it.name == name);
        for name in ["create_job", "issue_access", "send_command", "set_rings", "start_rollout"] {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
