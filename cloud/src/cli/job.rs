//! `nooterra-cloud job`: from a plan in a file to its end, step by step or in one go.

use super::pages::{Limit, List};
use super::{ClientError, Cloud, Outcome, items, report, robot_id, sent, show};
use nooterra_client::Call;
use nooterra_client::types::{
    ApprovalRequest, CancelRequest, DispatchRequest, EventQuery, Job, JobReasonRequest,
    QuoteRequest, RescheduleRequest, RevokeApprovalRequest, StreamQuery,
};
use nooterra_protocol::job::JobState;
use nooterra_protocol::time::WallMillis;
use serde_json::Value;
use std::path::{Path, PathBuf};

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
    let api = &cloud.client;
    let show = |call: Call<'_, Job>| cloud.print(&sent(call)?, one);
    match command {
        Command::Access { id, file } => {
            cloud.print(&cloud.pass_on("issue_access", &[&id], &read(&file)?)?, one)
        }
        Command::Approvals { id } => cloud.print(&sent(api.list_approvals(&id))?, approvals),
        Command::Approve { id, by, lasts, plan } => {
            let until =
                lasts.map(|seconds| WallMillis(now_ms().saturating_add(i64::from(seconds) * 1000)));
            show(api.approve_job(&id, &ApprovalRequest { by, plan, until }))
        }
        Command::Book { id } => show(api.book_job(&id)),
        Command::Cancel { id, reason } => show(api.cancel_job(&id, &CancelRequest { reason })),
        Command::Create { file } => {
            cloud.print(&cloud.pass_on("create_job", &[], &read(&file)?)?, one)
        }
        Command::Dispatch { id, ttl } => {
            let ttl_ms = ttl.map(|seconds| seconds.saturating_mul(1000));
            show(api.dispatch_job(&id, &DispatchRequest { ttl_ms }))
        }
        Command::Events { id } => {
            cloud.events(api.list_job_events(&id, &StreamQuery::default()), "seq", 0)
        }
        Command::List(limit) => JOBS.print(cloud, limit),
        Command::Pause { id, reason } => show(api.pause_job(&id, &JobReasonRequest { reason })),
        Command::Quote { id, amount, currency } => {
            let price = QuoteRequest { amount_minor: amount, currency: Some(currency) };
            show(api.quote_job(&id, &price))
        }
        Command::Report { id } => cloud.print(&sent(api.report_job(&id))?, report::people),
        Command::Reschedule { id, reason, robot } => {
            let robot = robot.map(|robot| robot_id(&robot)).transpose()?;
            show(api.reschedule_job(&id, &RescheduleRequest { reason, robot }))
        }
        Command::Resume { id } => show(api.resume_job(&id)),
        Command::RevokeAccess { id, reason } => {
            show(api.revoke_access(&id, &JobReasonRequest { reason }))
        }
        Command::RevokeApproval { id, by, reason } => {
            show(api.revoke_approval(&id, &RevokeApprovalRequest { by, reason }))
        }
        Command::Run { file } => {
            let job = cloud.pass_on("create_job", &[], &read(&file)?)?;
            let id = show::text(&job, "id");
            api.quote_job(&id, &QuoteRequest::default()).send()?;
            api.book_job(&id).send()?;
            api.dispatch_job(&id, &DispatchRequest::default()).send()?;
            watch(cloud, &id)
        }
        Command::Show { id } => show(api.show_job(&id)),
        Command::Watch { id } => watch(cloud, &id),
    }
}

/// Follows the job's stream, from its first fact to the one that ends it; it goes on by itself
/// when the cloud comes back.
fn watch(cloud: &Cloud, id: &str) -> Result<Outcome, ClientError> {
    let api = &cloud.client;
    // A job that is not there must be refused rather than waited for.
    api.show_job(id).send()?;
    let query = EventQuery { stream: Some(format!("job.{id}")), ..EventQuery::default() };
    for event in api.follow_events_as_sent(&query).tries(None) {
        let event = event?;
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
            match api.show_job(id).send()?.state {
                JobState::Completed | JobState::Settled => return Ok(Outcome::Done),
                JobState::Aborted => return Ok(Outcome::NotCompleted),
                _ => {}
            }
        }
    }
    Ok(Outcome::NotCompleted)
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
