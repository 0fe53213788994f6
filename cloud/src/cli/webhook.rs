//! `nooterra-cloud webhook`: subscribers that are called, and their dead letters.

use super::{ClientError, Cloud, Outcome, encoded, items, show};
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Have events told to an address. Prints its id and its secret, which is shown once.
    Create {
        /// Where, https.
        url: String,
        /// Also what happened after this position; only what comes unless given.
        #[arg(long, value_name = "POSITION")]
        after: Option<i64>,
        /// Only events of these types, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "TYPE,...")]
        types: Vec<String>,
    },
    /// What a subscriber could not be told.
    Dead {
        /// As `list` shows it.
        id: String,
    },
    /// Tell a subscriber nothing any more.
    End {
        /// As `list` shows it.
        id: String,
    },
    /// All subscribers.
    List,
    /// Send dead letters anew: all, or one.
    Redeliver {
        /// As `list` shows it.
        id: String,
        /// The one at this position.
        #[arg(long)]
        position: Option<i64>,
    },
}

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    let path = |id: &str, what: &str| format!("/v1/webhooks/{}/{what}", encoded(id));
    match command {
        Command::Create { url, after, types } => {
            let mut body = json!({ "types": types, "url": url });
            if let Some(after) = after {
                body["after"] = after.into();
            }
            let answer = cloud.client.post("/v1/webhooks", &body)?;
            cloud.print(&answer, |answer| {
                format!("{} {}\n", show::text(&answer["made"], "id"), show::text(answer, "secret"))
            })
        }
        Command::Dead { id } => {
            let mut table =
                show::Table::new(&["POSITION", "ATTEMPTS", "GIVEN UP", "STATE", "ERROR"]);
            let mut query = String::new();
            loop {
                let page = cloud.client.get(&format!("{}{query}", path(&id, "dead-letters")))?;
                cloud.print(&page, |page| table.page(&letters(items(page, "dead_letters"))))?;
                let Some(next) = page["next"].as_i64() else { return Ok(Outcome::Done) };
                query = format!("?after={next}");
            }
        }
        Command::End { id } => {
            let answer = cloud.client.post(&path(&id, "end"), &json!({}))?;
            cloud.print(&answer, |answer| list(std::slice::from_ref(answer)))
        }
        Command::List => {
            let answer = cloud.client.get("/v1/webhooks")?;
            cloud.print(&answer, |answer| list(items(answer, "webhooks")))
        }
        Command::Redeliver { id, position } => {
            let body = position.map_or(json!({}), |position| json!({ "position": position }));
            let answer = cloud.client.post(&path(&id, "redeliver"), &body)?;
            cloud.print(&answer, |answer| {
                format!("{} dead letters are sent anew\n", show::text(answer, "waiting"))
            })
        }
    }
}

fn list(webhooks: &[Value]) -> String {
    let row = |it: &Value| {
        vec![
            show::text(it, "id"),
            show::text(it, "url"),
            show::text(it, "position"),
            show::text(it, "dead_letters"),
            if it["ended_at"].is_null() { "stands" } else { "ended" }.to_owned(),
            show::text(it, "error"),
        ]
    };
    let rows: Vec<_> = webhooks.iter().map(row).collect();
    show::table(&["WEBHOOK", "URL", "POSITION", "DEAD", "STATE", "ERROR"], &rows)
}

fn letters(letters: &[Value]) -> Vec<Vec<String>> {
    let row = |it: &Value| {
        vec![
            show::text(it, "position"),
            show::text(it, "attempts"),
            show::time(&it["died_at"]),
            show::text(it, "state"),
            show::text(it, "error"),
        ]
    };
    letters.iter().map(row).collect()
}
