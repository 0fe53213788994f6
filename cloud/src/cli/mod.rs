//! The commands that talk to a cloud: jobs, robots, skills, events.
//!
//! Each is a request or a few of the HTTP API, which is all that they know of the cloud.

mod client;
mod job;
mod pages;
mod report;
mod robot;
mod rollout;
mod show;
mod skill;
mod token;
mod webhook;

use clap::{Args, Subcommand};
use client::{Client, ClientError, Connection};
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
    work(&Cloud { client: Client::new(connection)?, json: connection.json })
}

fn failed(error: &ClientError) -> ExitCode {
    // One line; a closed standard error leaves the exit code to say it.
    let _ = writeln!(std::io::stderr(), "nooterra-cloud: {error}");
    ExitCode::from(match error {
        ClientError::Answer(_) | ClientError::Unreachable { .. } => 1,
        ClientError::Ask(_)
        | ClientError::Job { .. }
        | ClientError::Json { .. }
        | ClientError::Nowhere
        | ClientError::Url(_) => 2,
        ClientError::File { .. } | ClientError::NoCertificate { .. } => 3,
        ClientError::Refused { .. } => 7,
    })
}

/// A cloud, and how its answers are printed.
struct Cloud {
    client: Client,
    json: bool,
}

impl Cloud {
    fn claim(&self, claim: &Claim) -> Result<Outcome, ClientError> {
        let mut body = serde_json::json!({ "robot": claim.robot });
        if let Some(ttl) = claim.ttl {
            body["ttl_s"] = ttl.into();
        }
        let answer = self.client.post("/v1/claim-codes", &body)?;
        self.print(&answer, |answer| show::text(answer, "code") + "\n")
    }

    fn event(&self, event: Event) -> Result<Outcome, ClientError> {
        match event {
            Event::List(which) => {
                let mut after = which.after;
                loop {
                    let page =
                        self.client.get(&format!("/v1/events?{}&after={after}", which.query()))?;
                    let events = items(&page, "events");
                    for event in events {
                        self.line(event, show::event)?;
                    }
                    let next = page["next"].as_i64().unwrap_or(after);
                    if events.is_empty() || next == after {
                        return Ok(Outcome::Done);
                    }
                    after = next;
                }
            }
            Event::Follow(which) => {
                let mut after = which.after;
                loop {
                    after = self.client.follow(&which.query(), after, |_, event| {
                        self.line(&event, show::event)?;
                        Ok(true)
                    })?;
                    std::thread::sleep(std::time::Duration::from_millis(500));
                }
            }
        }
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
    fn query(&self) -> String {
        let mut query = String::new();
        if let Some(job) = &self.job {
            query.push_str(&format!("stream=job.{}&", encoded(job)));
        }
        if let Some(kind) = &self.kind {
            query.push_str(&format!("type={}&", encoded(kind)));
        }
        query
    }
}

/// The list under `name`; nothing where the answer has none.
fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

/// Text as a part of a path or a query (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_path_stays_one_part_of_it() {
        assert_eq!(encoded("job_1-a.b~"), "job_1-a.b~");
        assert_eq!(encoded("../x?y#z é"), "..%2Fx%3Fy%23z%20%C3%A9");
    }
}
