//! `nooterra-cloud webhook`: subscribers that are called, and their dead letters.

use super::pages::{Limit, List};
use super::{ClientError, Cloud, Outcome, items, sent, show};
use nooterra_client::encoded;
use nooterra_client::types::{RedeliveryRequest, WebhookRequest};
use serde_json::Value;

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
        #[command(flatten)]
        limit: Limit,
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
    let api = &cloud.client;
    match command {
        Command::Create { url, after, types } => {
            let answer = sent(api.create_webhook(&WebhookRequest { after, types, url }))?;
            cloud.print(&answer, |answer| {
                format!("{} {}\n", show::text(&answer["made"], "id"), show::text(answer, "secret"))
            })
        }
        Command::Dead { id, limit } => {
            DEAD.print_at(cloud, &format!("/v1/webhooks/{}/dead-letters", encoded(&id)), limit)
        }
        Command::End { id } => {
            let answer = sent(api.end_webhook(&id))?;
            cloud.print(&answer, |answer| list(std::slice::from_ref(answer)))
        }
        Command::List => {
            let answer = sent(api.list_webhooks())?;
            cloud.print(&answer, |answer| list(items(answer, "webhooks")))
        }
        Command::Redeliver { id, position } => {
            let answer = sent(api.redeliver(&id, &RedeliveryRequest { position }))?;
            cloud.print(&answer, |answer| {
                format!("{} dead letters are sent anew\n", show::text(answer, "waiting"))
            })
        }
    }
}

const DEAD: List = List {
    head: &["POSITION", "ATTEMPTS", "GIVEN UP", "STATE", "ERROR"],
    name: "dead_letters",
    path: "/v1/webhooks/{id}/dead-letters",
    row: |it| {
        vec![
            show::text(it, "position"),
            show::text(it, "attempts"),
            show::time(&it["died_at"]),
            show::text(it, "state"),
            show::text(it, "error"),
        ]
    },
};

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
