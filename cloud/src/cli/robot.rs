//! `nooterra-cloud robot`: who is there, what they were told, where their gates intervened.

use super::pages::{Limit, List};
use super::{ClientError, Cloud, Outcome, items, sent, show};
use nooterra_client::Call;
use nooterra_client::types::{RecordQuery, Robot, StandingRequest};
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// What the robot was told, newest first, and what became of it.
    Commands {
        /// The robot.
        id: String,
    },
    /// All robots, by id.
    List(Limit),
    /// Give the robot no further job; what is under way goes on, and commands reach it.
    Maintain(Stand),
    /// Take the robot out of work: it hears only what ends motion, and may tell its journal.
    Quarantine(Stand),
    /// Take an emergency stop back.
    Release {
        /// The robot.
        id: String,
    },
    /// Put a quarantined robot, or one in maintenance, into service again.
    Restore(Stand),
    /// Close the robot's key for ever: its connection drops, its certificates open nothing.
    ///
    /// It comes back with a new key and a new claim code.
    Revoke(Stand),
    /// Send a command as the API takes it, such as `{"type":"veto","reason":"..."}`; or by its
    /// name, such as `mark_incident --reason TEXT`, where it takes no more than a reason.
    Send {
        /// The robot.
        id: String,
        /// What is asked, JSON or a name.
        ask: String,
        /// In whose name; this cloud vouches for it.
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
        /// For the record, where what is asked takes a reason.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// The robot may take it for so many milliseconds.
        #[arg(long, value_name = "MS")]
        ttl: Option<u64>,
    },
    /// One robot.
    Show {
        /// The robot.
        id: String,
    },
    /// Stop the robot, until somebody releases it.
    Stop {
        /// The robot.
        id: String,
        /// For the record.
        #[arg(long, default_value = "stopped by an operator")]
        reason: String,
    },
    /// Where the robot's gate changed or refused a wish.
    Verdicts {
        /// The robot.
        id: String,
        /// Only those after this cursor.
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: u32,
    },
}

/// Which robot, and why.
#[derive(clap::Args, Debug)]
pub(crate) struct Stand {
    /// The robot.
    id: String,
    /// For the record.
    #[arg(long)]
    reason: String,
}

const ROBOTS: List = List {
    head: &["ROBOT", "LINK", "LAST SEEN", "VERSION", "STANDING"],
    name: "robots",
    path: "/v1/robots",
    row: |robot| {
        vec![
            show::text(robot, "id"),
            if robot["online"] == true { "online" } else { "offline" }.to_owned(),
            show::time(&robot["last_seen"]),
            show::text(&robot["health"], "version"),
            show::text(&robot["standing"], "state"),
        ]
    },
};

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    let api = &cloud.client;
    let send = |id: &str, ask: Value, operator: Option<String>, ttl: Option<u64>| {
        let body = json!({ "ask": ask, "operator": operator, "ttl_ms": ttl });
        let answer = cloud.pass_on("send_command", &[id], &body)?;
        cloud.print(&answer, |answer| commands(std::slice::from_ref(answer)))
    };
    let show = |call: Call<'_, Robot>| cloud.print(&sent(call)?, one);
    let why = |reason: String| StandingRequest { reason };
    match command {
        Command::Commands { id } => {
            let answer = sent(api.list_commands(&id))?;
            cloud.print(&answer, |answer| commands(items(answer, "commands")))
        }
        Command::List(limit) => ROBOTS.print(cloud, limit),
        Command::Maintain(Stand { id, reason }) => show(api.maintain_robot(&id, &why(reason))),
        Command::Quarantine(Stand { id, reason }) => show(api.quarantine_robot(&id, &why(reason))),
        Command::Restore(Stand { id, reason }) => show(api.restore_robot(&id, &why(reason))),
        Command::Revoke(Stand { id, reason }) => show(api.revoke_robot(&id, &why(reason))),
        Command::Release { id } => send(&id, json!({ "type": "release_stop" }), None, None),
        Command::Send { id, ask, operator, reason, ttl } => {
            send(&id, asked(&ask, reason.as_deref())?, operator, ttl)
        }
        Command::Show { id } => show(api.show_robot(&id)),
        Command::Stop { id, reason } => {
            send(&id, json!({ "type": "emergency_stop", "reason": reason }), None, None)
        }
        Command::Verdicts { id, after, limit } => {
            let query =
                RecordQuery { after: Some(after), limit: Some(limit), ..RecordQuery::default() };
            let answer = sent(api.list_verdicts(&id, &query))?;
            cloud.print(&answer, |answer| verdicts(items(answer, "records")))
        }
    }
}

/// What is asked, as the API takes it.
fn asked(ask: &str, reason: Option<&str>) -> Result<Value, ClientError> {
    let letters = |byte: u8| byte == b'_' || byte.is_ascii_lowercase();
    let mut ask = if !ask.is_empty() && ask.bytes().all(letters) {
        json!({ "type": ask })
    } else {
        serde_json::from_str(ask).map_err(|error| ClientError::Ask(error.to_string()))?
    };
    if let (Some(reason), Some(fields)) = (reason, ask.as_object_mut()) {
        fields.insert("reason".to_owned(), reason.into());
    }
    Ok(ask)
}

fn one(robot: &Value) -> String {
    let mut text = format!(
        "robot    {}\nlink     {}\nseen     {}\nenrolled {}\nkey      {}\nstanding {}\n",
        show::text(robot, "id"),
        if robot["online"] == true { "online" } else { "offline" },
        show::time(&robot["last_seen"]),
        show::time(&robot["enrolled_at"]),
        show::text(robot, "device_key"),
        standing(&robot["standing"]),
    );
    if let Some(health) = robot["health"].as_object() {
        text.push_str("health\n");
        for (name, value) in health.iter().filter(|(_, value)| !value.is_object()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("  {name}: {value}\n"));
        }
    }
    text
}

fn standing(standing: &Value) -> String {
    let state = show::text(standing, "state");
    match standing["reason"].as_str() {
        Some(reason) => format!("{state} since {}: {reason}", show::time(&standing["since"])),
        None => state,
    }
}

fn commands(commands: &[Value]) -> String {
    let rows: Vec<_> = commands
        .iter()
        .map(|command| {
            vec![
                show::text(command, "id"),
                show::text(&command["ask"], "type"),
                show::text(command, "state"),
                show::time(&command["issued_at"]),
                show::text(command, "reason"),
            ]
        })
        .collect();
    show::table(&["COMMAND", "ASK", "STATE", "ISSUED", "REASON"], &rows)
}

fn verdicts(records: &[Value]) -> String {
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let body = &record["body"];
            vec![
                show::text(record, "cursor"),
                show::time(&record["at"]["wall"]),
                show::text(body, "rule"),
                show::text(body, "limit"),
                show::text(body, "source"),
            ]
        })
        .collect();
    show::table(&["CURSOR", "AT", "RULE", "LIMIT", "WHOSE WISH"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_given_by_its_name_or_as_json() {
        let marked = json!({ "type": "mark_incident", "reason": "a \"near\" miss" });
        assert_eq!(asked("mark_incident", Some("a \"near\" miss")).unwrap(), marked);
        assert_eq!(asked("lift_veto", None).unwrap(), json!({ "type": "lift_veto" }));
        assert_eq!(asked(&marked.to_string(), None).unwrap(), marked);
        assert_eq!(asked(r#"{"type":"veto"}"#, Some("x")).unwrap()["reason"], "x");
        for ask in ["", "Veto", "{", "lift veto"] {
            assert!(matches!(asked(ask, None), Err(ClientError::Ask(_))), "{ask:?}");
        }
    }
}
