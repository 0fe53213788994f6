//! `nooterra-cloud job`: from a plan in a file to its end, step by step or in one go.

use super::pages::{Limit, List};
use super::{ClientError, Cloud, Outcome, encoded, items, report, show};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say how and when a job's robot may be let in, from a file: `{ "method": ..., "valid_from":
    /// ..., "valid_to": ... }`.
    Access {
        /// The job.
        id: String,
        /// The file; `-` for standard input.
        file: PathBuf,
    },
    /// The approvals of a job, those that ended too.
    Approvals {
        /// The job.
        id: String,
    },
    /// Let a job be carried out with the plan that you looked at.
    Approve {
        /// The job.
        id: String,
        /// In whose name, where the token leaves it open.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// For so many seconds; until the job is over unless given.
        #[arg(long = "for", value_name = "SECONDS")]
        lasts: Option<u32>,
        /// The plan's hash, as `job show` prints it.
        #[arg(long, value_name = "HASH")]
        plan: String,
    },
    /// Accept a job's price: QUOTED to BOOKED.
    Book {
        /// The job.
        id: String,
    },
    /// End a job that is not over, through a safe exit where the robot is under way.
    Cancel {
        /// The job.
        id: String,
        /// For the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make a job from a file: `{ "robot": ..., "plan": { "steps": [...] } }`.
    Create {
        /// The file; `-` for standard input.
        file: PathBuf,
    },
    /// Send a job to its robot: BOOKED to RESERVED.
    Dispatch {
        /// The job.
        id: String,
        /// The robot may take it for so many seconds.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
    /// The facts of a job.
    Events {
        /// The job.
        id: String,
    },
    /// All jobs, newest first.
    List(Limit),
    /// Hold a job that is under way: its robot comes to rest and keeps it.
    Pause {
        /// The job.
        id: String,
        /// For the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Propose a price: CREATED to QUOTED.
    Quote {
        /// The job.
        id: String,
        /// In the currency's minor unit.
        #[arg(long, default_value_t = 0)]
        amount: u64,
        /// ISO 4217.
        #[arg(long, default_value = "EUR")]
        currency: String,
    },
    /// What a job's stream says of it in the end, signed by the cloud: who asked, who approved,
    /// when, what was done, and what is not known yet. `--json` prints the signed bytes too.
    Report {
        /// The job.
        id: String,
    },
    /// Start the dispatch of a job that has not begun over: back to BOOKED.
    Reschedule {
        /// The job.
        id: String,
        /// For the record.
        #[arg(long)]
        reason: Option<String>,
        /// By this robot from now on.
        #[arg(long)]
        robot: Option<String>,
    },
    /// Ask the robot of a job that was paused to go on.
    Resume {
        /// The job.
        id: String,
    },
    /// Take access back: the job ends, through a safe exit where the robot is under way.
    RevokeAccess {
        /// The job.
        id: String,
        /// For the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take back what approved a job: one that has not begun waits for another approval, one that
    /// is under way ends through the robot's safe exit.
    RevokeApproval {
        /// The job.
        id: String,
        /// In whose name, where the token leaves it open.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// For the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make a job, quote it at no price, book it, dispatch it, and watch it to its end.
    Run {
        /// As for `create`.
        file: PathBuf,
    },
    /// One job.
    Show {
        /// The job.
        id: String,
    },
    /// Print what happens to a job until it is over. Exit code 6 when it is not completed.
    Watch {
        /// The job.
        id: String,
    },
}

const JOBS: List = List {
    head: &["JOB", "STATE", "DONE", "STAGE", "ROBOT", "CHANGED"],
    name: "jobs",
    path: "/v1/jobs",
    row: |job| {
        vec![
            show::text(job, "id"),
            show::text(job, "state"),
            show::percent(&job["progress"]),
            show::text(job, "stage"),
            show::text(job, "robot"),
            show::time(&job["updated_at"]),
        ]
    },
};

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    let of = |id: &str| format!("/v1/jobs/{}", encoded(id));
    let step = |id: &str, name: &str, body: Value| {
        let job = cloud.client.post(&format!("{}/{name}", of(id)), &body)?;
        cloud.print(&job, one)
    };
    match command {
        Command::Access { id, file } => step(&id, "access", read(&file)?),
        Command::Approvals { id } => {
            let answer = cloud.client.get(&format!("{}/approvals", of(&id)))?;
            cloud.print(&answer, approvals)
        }
        Command::Approve { id, by, lasts, plan } => {
            let until = lasts.map(|seconds| now_ms().saturating_add(i64::from(seconds) * 1000));
            step(&id, "approvals", json!({ "by": by, "plan": plan, "until": until }))
        }
        Command::Book { id } => step(&id, "book", json!({})),
        Command::Cancel { id, reason } => step(&id, "cancel", json!({ "reason": reason })),
        Command::Create { file } => {
            let job = cloud.client.post("/v1/jobs", &read(&file)?)?;
            cloud.print(&job, one)
        }
        Command::Dispatch { id, ttl } => step(
            &id,
            "dispatch",
            json!({ "ttl_ms": ttl.map(|seconds| seconds.saturating_mul(1000)) }),
        ),
        Command::Events { id } => {
            let mut after = 0;
            loop {
                let path = format!("{}/events?after={after}", of(&id));
                let answer = cloud.client.get(&path)?;
                let events = items(&answer, "events");
                for event in events {
                    cloud.line(event, show::event)?;
                }
                let Some(last) = events.last() else { return Ok(Outcome::Done) };
                let seq = last["seq"].as_u64().filter(|seq| *seq > after);
                after = seq.ok_or(ClientError::Answer(path))?;
            }
        }
        Command::List(limit) => JOBS.print(cloud, limit),
        Command::Pause { id, reason } => step(&id, "pause", json!({ "reason": reason })),
        Command::Quote { id, amount, currency } => {
            step(&id, "quote", json!({ "amount_minor": amount, "currency": currency }))
        }
        Command::Report { id } => {
            let answer = cloud.client.get(&format!("{}/report", of(&id)))?;
            cloud.print(&answer, report::people)
        }
        Command::Reschedule { id, reason, robot } => {
            step(&id, "reschedule", json!({ "reason": reason, "robot": robot }))
        }
        Command::Resume { id } => step(&id, "resume", json!({})),
        Command::RevokeAccess { id, reason } => {
            step(&id, "access/revoke", json!({ "reason": reason }))
        }
        Command::RevokeApproval { id, by, reason } => {
            step(&id, "approvals/revoke", json!({ "by": by, "reason": reason }))
        }
        Command::Run { file } => {
            let job = cloud.client.post("/v1/jobs", &read(&file)?)?;
            let id = show::text(&job, "id");
            for name in ["quote", "book", "dispatch"] {
                cloud.client.post(&format!("{}/{name}", of(&id)), &json!({}))?;
            }
            watch(cloud, &id)
        }
        Command::Show { id } => {
            let job = cloud.client.get(&of(&id))?;
            cloud.print(&job, one)
        }
        Command::Watch { id } => watch(cloud, &id),
    }
}

/// Follows the job's stream, from its first fact to the one that ends it.
fn watch(cloud: &Cloud, id: &str) -> Result<Outcome, ClientError> {
    let path = format!("/v1/jobs/{}", encoded(id));
    // A job that is not there must be refused rather than waited for.
    cloud.client.get(&path)?;
    let query = format!("stream=job.{}", encoded(id));
    let (mut after, mut end) = (0, None);
    while end.is_none() {
        after = cloud.client.follow(&query, after, |_, event| {
            cloud.line(&event, show::event)?;
            let over = matches!(
                event["type"].as_str(),
                Some(
                    "EXECUTION_COMPLETED"
                        | "EXECUTION_ABORTED"
                        | "CANCELLED"
                        | "ACCESS_REVOKED"
                        | "ACCESS_EXPIRED"
                        | "APPROVAL_REVOKED"
                        | "APPROVAL_EXPIRED"
                )
            );
            if over && event["late"] == false {
                let job = cloud.client.get(&path)?;
                end = match job["state"].as_str() {
                    Some("COMPLETED" | "SETTLED") => Some(Outcome::Done),
                    Some("ABORTED") => Some(Outcome::NotCompleted),
                    _ => None,
                };
            }
            Ok(end.is_none())
        })?;
        if end.is_none() {
            // The cloud went away; it is asked again from where this stopped.
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    Ok(end.unwrap_or(Outcome::NotCompleted))
}

fn read(path: &Path) -> Result<Value, ClientError> {
    let file = |source| ClientError::File { option: "data", path: path.to_owned(), source };
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(file)?;
    serde_json::from_str(&text)
        .map_err(|error| ClientError::Job { path: path.to_owned(), why: error.to_string() })
}

fn one(job: &Value) -> String {
    let steps = items(&job["plan"], "steps").iter().map(|step| show::text(step, "id"));
    let rows = [
        ("job", show::text(job, "id")),
        ("state", show::text(job, "state")),
        ("stalled", show::text(&job["stall"], "cause")),
        ("done", show::percent(&job["progress"])),
        ("stage", show::text(job, "stage")),
        ("robot", show::text(job, "robot")),
        ("for", show::text(job, "requester")),
        ("plan", show::text(job, "plan_hash")),
        ("steps", steps.collect::<Vec<_>>().join(", ")),
        ("made", show::time(&job["created_at"])),
        ("changed", show::time(&job["updated_at"])),
        ("facts", show::text(job, "events")),
        ("head", show::text(job, "head")),
    ];
    rows.iter().map(|(name, value)| format!("{name:8} {value}\n")).collect()
}

fn approvals(answer: &Value) -> String {
    let mut text = format!("plan {}\n", show::text(answer, "plan"));
    for it in items(answer, "approvals") {
        let until =
            if it["until"].is_null() { "the end".to_owned() } else { show::time(&it["until"]) };
        let end = match &it["ended"] {
            Value::Null => format!("holds until {until}"),
            ended => format!("ended {}: {}", show::time(&ended["at"]), show::text(ended, "reason")),
        };
        let (by, at) = (show::text(it, "by"), show::time(&it["at"]));
        text.push_str(&format!("{by} approved {} {at}, {end}\n", show::text(it, "plan")));
    }
    if answer["needed"] == true {
        text.push_str("it is not sent before somebody approves it\n");
    }
    text
}

/// By this machine's clock, milliseconds since 1970.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}
