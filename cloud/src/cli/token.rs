//! `nooterra-cloud token` and `audit`: who may use the API, and who did.

use super::pages::{Limit, List};
use super::{ClientError, Cloud, Outcome, items, sent, show};
use nooterra_client::types::AuditQuery;
use serde_json::{Value, json};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token. Prints it alone; it is shown once. For a certificate, prints the token's id.
    Create {
        /// For a service with a certificate of this name, in place of a secret: `uri:NAME`,
        /// `dns:HOST` or `cn:NAME`, as it stands there; see `serve --service-ca`.
        #[arg(long, value_name = "NAME")]
        certificate: Option<String>,
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
        /// It is good for so many seconds; an hour unless given, a year for a certificate.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
    /// All tokens, oldest first; none of their secrets.
    List(Limit),
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
        Command::Create { certificate, families, principal, role, tenant, ttl } => {
            let mut body = json!({ "families": families, "principal": principal, "role": role });
            if let Some(certificate) = certificate {
                body["certificate"] = certificate.into();
            }
            if let Some(tenant) = tenant {
                body["tenant"] = tenant.into();
            }
            if let Some(ttl) = ttl {
                body["ttl_s"] = ttl.into();
            }
            let answer = cloud.pass_on("create_token", &[], &body)?;
            cloud.print(&answer, |answer| match answer["token"].as_str() {
                Some(token) => format!("{token}\n"),
                None => show::text(&answer["made"], "id") + "\n",
            })
        }
        Command::List(limit) => TOKENS.print(cloud, limit),
        Command::Revoke { id } => {
            let answer = sent(cloud.client.revoke_token(&id))?;
            cloud.print(&answer, |answer| show::table(TOKENS.head, &[row(answer)]))
        }
    }
}

pub(super) fn audit(cloud: &Cloud, audit: &Audit) -> Result<Outcome, ClientError> {
    let query = AuditQuery {
        after: None,
        limit: None,
        outcome: audit.outcome.clone(),
        principal: audit.principal.clone(),
        request_id: audit.request_id.clone(),
    };
    let mut call = cloud.client.list_audit(&query).read_as::<Value>();
    let mut after = audit.after;
    loop {
        call = call.parameter("after", after);
        let page = call.send()?.body;
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

const TOKENS: List = List {
    head: &["TOKEN", "PRINCIPAL", "ROLE", "FAMILIES", "TENANT", "EXPIRES", "STATE", "CERTIFICATE"],
    name: "tokens",
    path: "/v1/tokens",
    row,
};

fn row(token: &Value) -> Vec<String> {
    let families = token["families"].as_array().map_or(&[][..], Vec::as_slice);
    let families: Vec<_> = families.iter().filter_map(Value::as_str).collect();
    vec![
        show::text(token, "id"),
        show::text(token, "principal"),
        show::text(token, "role"),
        families.join(","),
        show::text(token, "tenant"),
        show::time(&token["expires_at"]),
        show::text(token, "state"),
        show::text(token, "certificate"),
    ]
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
