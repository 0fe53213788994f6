//! `nooterra-cloud token` and `audit`: who may use the API, and who did.

use super::{ClientError, Cloud, Outcome, encoded, items, show};
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token. Prints it alone; it is shown once.
    Create {
        /// What it is for, separated by commas: audit, commands, events, jobs, metrics, records,
        /// robots, skills, tokens, webhooks.
        #[arg(long, required = true, value_delimiter = ',', value_name = "FAMILY,...")]
        families: Vec<String>,
        /// Who acts with it, as the audit trail and the robots' rules know them.
        #[arg(long, value_name = "ID")]
        principal: String,
        /// viewer reads, operator also writes, admin also manages.
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Whose robots, jobs and skills it reaches, `*` for all tenants; those of the token that
        /// makes it unless given.
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// It is good for so many seconds; an hour unless given.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
    /// All tokens, oldest first; none of their secrets.
    List,
    /// End a token, and every token that was made with it.
    Revoke {
        /// As `list` shows it.
        id: String,
    },
}

/// Which calls.
#[derive(clap::Args, Debug)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(super) connection: super::Connection,
    /// Only calls after this one; 0 for all.
    #[arg(long, default_value_t = 0)]
    after: i64,
    /// Only calls that ended so: done, refused or failed.
    #[arg(long)]
    outcome: Option<String>,
    /// Only calls of this principal.
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// Only the call of this request.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    match command {
        Command::Create { families, principal, role, tenant, ttl } => {
            let mut body = json!({ "families": families, "principal": principal, "role": role });
            if let Some(tenant) = tenant {
                body["tenant"] = tenant.into();
            }
            if let Some(ttl) = ttl {
                body["ttl_s"] = ttl.into();
            }
            let answer = cloud.client.post("/v1/tokens", &body)?;
            cloud.print(&answer, |answer| show::text(answer, "token") + "\n")
        }
        Command::List => {
            let mut table = show::Table::new(&HEAD);
            let mut query = String::new();
            loop {
                let page = cloud.client.get(&format!("/v1/tokens{query}"))?;
                cloud.print(&page, |page| table.page(&rows(items(page, "tokens"))))?;
                let Some(next) = page["next"].as_i64() else { return Ok(Outcome::Done) };
                query = format!("?after={next}");
            }
        }
        Command::Revoke { id } => {
            let path = format!("/v1/tokens/{}/revoke", encoded(&id));
            let answer = cloud.client.post(&path, &json!({}))?;
            cloud.print(&answer, |answer| show::table(&HEAD, &rows(std::slice::from_ref(answer))))
        }
    }
}

pub(super) fn audit(cloud: &Cloud, audit: &Audit) -> Result<Outcome, ClientError> {
    let mut filter = String::new();
    for (name, value) in [
        ("outcome", &audit.outcome),
        ("principal", &audit.principal),
        ("request_id", &audit.request_id),
    ] {
        if let Some(value) = value {
            filter.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let mut after = audit.after;
    loop {
        let page = cloud.client.get(&format!("/v1/audit?after={after}{filter}"))?;
        let entries = items(&page, "entries");
        for entry in entries {
            cloud.line(entry, line)?;
        }
        let next = page["next"].as_i64().unwrap_or(after);
        if entries.is_empty() || next == after {
            return Ok(Outcome::Done);
        }
        after = next;
    }
}

const HEAD: [&str; 7] = ["TOKEN", "PRINCIPAL", "ROLE", "FAMILIES", "TENANT", "EXPIRES", "STATE"];

fn rows(tokens: &[Value]) -> Vec<Vec<String>> {
    let families = |token: &Value| {
        let all = token["families"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    };
    let row = |token: &Value| {
        vec![
            show::text(token, "id"),
            show::text(token, "principal"),
            show::text(token, "role"),
            families(token),
            show::text(token, "tenant"),
            show::time(&token["expires_at"]),
            show::text(token, "state"),
        ]
    };
    tokens.iter().map(row).collect()
}

/// One call, one line.
fn line(entry: &Value) -> String {
    let code = entry["code"].as_str().map(|code| format!(" {code}")).unwrap_or_default();
    format!(
        "{}  {}  {:7}{code}  {} {}  {}",
        show::time(&entry["at"]),
        show::text(entry, "principal"),
        show::text(entry, "outcome"),
        show::text(entry, "method"),
        show::text(entry, "path"),
        show::text(entry, "request_id"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_one_line_that_says_who_what_and_how_it_ended() {
        let entry = json!({
            "at": 0, "principal": "alice", "outcome": "refused", "code": "scope_missing",
            "method": "POST", "path": "/v1/jobs", "request_id": "req_1",
        });
        assert_eq!(
            line(&entry),
            "1970-01-01 00:00:00Z  alice  refused scope_missing  POST /v1/jobs  req_1"
        );
    }
}
