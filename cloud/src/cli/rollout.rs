//! `nooterra-cloud rollout` and `ring`: how a version reaches the robots of each ring.

use super::pages::{Limit, List};
use super::{ClientError, Cloud, Outcome, items, sent, show};
use nooterra_client::types::{
    AdvanceRequest, LabelsRequest, NamedQuery, ReasonRequest, Rollout, StreamQuery,
};
use nooterra_client::{Call, encoded};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Open the next ring before its gate says so; after the last one the roll-out is completed.
    Advance {
        /// The roll-out.
        id: String,
        /// The ring that is open last, so that no other is passed by mistake.
        #[arg(long, value_name = "RING")]
        past: String,
        /// For the record.
        #[arg(long)]
        reason: String,
    },
    /// Every step of a roll-out, with its reason.
    Events {
        /// The roll-out.
        id: String,
    },
    /// The jobs that were given the version, and what came of them.
    Jobs {
        /// The roll-out.
        id: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Roll-outs, newest first.
    List(Limit),
    /// Open no further ring; those that are open keep the version.
    Pause(Why),
    /// Go on with a paused roll-out; the watched ring's count begins anew.
    Resume(Why),
    /// Give every ring the version of before.
    RollBack(Why),
    /// One roll-out.
    Show {
        /// The roll-out.
        id: String,
    },
    /// Begin to roll a version out: the first ring is open at once.
    Start {
        /// SHA-256 of its bundle.
        bundle: String,
        /// Gates by ring, JSON: `{"canary": {"jobs": 5, "soak_s": 3600}}`; `-` for standard
        /// input.
        #[arg(long, value_name = "FILE")]
        gates: Option<PathBuf>,
        /// For the record.
        #[arg(long)]
        reason: String,
    },
}

/// Which roll-out, and why.
#[derive(clap::Args, Debug)]
pub(crate) struct Why {
    /// The roll-out.
    id: String,
    /// For the record.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ring {
    /// Set the labels of a robot, by which rings and rules take it; none without.
    Label {
        /// The robot.
        robot: String,
        /// All that it is to have.
        labels: Vec<String>,
    },
    /// The rings, in their order.
    List,
    /// What a robot gets of each skill when its ring chooses, and why.
    Of {
        /// The robot.
        robot: String,
    },
    /// Set all rings from a file: `{"rings": [{"name": "canary", "of": {"labels": ["lab"]}}]}`.
    Set {
        /// The file; `-` for standard input.
        file: PathBuf,
    },
}

const ROLLOUTS: List = List {
    head: &["ROLLOUT", "SKILL", "VERSION", "BEFORE", "STATE", "RING", "CHANGED"],
    name: "rollouts",
    path: "/v1/rollouts",
    row: |it| {
        vec![
            show::text(it, "id"),
            show::text(it, "skill"),
            show::text(it, "version"),
            show::text(it, "baseline_version"),
            show::text(it, "state"),
            show::text(it, "ring"),
            show::time(&it["updated_at"]),
        ]
    },
};

const GIVEN: List = List {
    head: &["JOB", "ROBOT", "RING", "GIVEN", "OUTCOME", "WHY"],
    name: "jobs",
    path: "/v1/rollouts/{id}/jobs",
    row: given,
};

pub(super) fn run(cloud: &Cloud, command: Command) -> Result<Outcome, ClientError> {
    let api = &cloud.client;
    let show = |call: Call<'_, Rollout>| cloud.print(&sent(call)?, one);
    let why = |reason: String| ReasonRequest { reason };
    match command {
        Command::Advance { id, past, reason } => {
            show(api.advance_rollout(&id, &AdvanceRequest { past, reason }))
        }
        Command::Events { id } => {
            cloud.events(api.list_rollout_events(&id, &StreamQuery::default()), "seq", 0)
        }
        Command::Jobs { id, limit } => {
            GIVEN.print_at(cloud, &format!("/v1/rollouts/{}/jobs", encoded(&id)), limit)
        }
        Command::List(limit) => ROLLOUTS.print(cloud, limit),
        Command::Pause(Why { id, reason }) => show(api.pause_rollout(&id, &why(reason))),
        Command::Resume(Why { id, reason }) => show(api.resume_rollout(&id, &why(reason))),
        Command::RollBack(Why { id, reason }) => show(api.roll_back(&id, &why(reason))),
        Command::Show { id } => show(api.show_rollout(&id)),
        Command::Start { bundle, gates, reason } => {
            let mut body = json!({ "bundle": bundle, "reason": reason });
            if let Some(file) = gates {
                body["gates"] = read(&file)?;
            }
            cloud.print(&cloud.pass_on("start_rollout", &[], &body)?, one)
        }
    }
}

pub(super) fn ring(cloud: &Cloud, command: Ring) -> Result<Outcome, ClientError> {
    let api = &cloud.client;
    match command {
        Ring::Label { robot, labels } => {
            let answer = sent(api.label_robot(&robot, &LabelsRequest { labels }))?;
            cloud.print(&answer, of_robot)
        }
        Ring::List => {
            let answer = sent(api.list_rings())?;
            cloud.print(&answer, |answer| rings(items(answer, "rings")))
        }
        Ring::Of { robot } => {
            let query = NamedQuery { after: None, limit: Some(1000) };
            let answer = sent(api.list_robot_skills(&robot, &query))?;
            cloud.print(&answer, of_robot)
        }
        Ring::Set { file } => {
            let answer = cloud.pass_on("set_rings", &[], &read(&file)?)?;
            cloud.print(&answer, |answer| rings(items(answer, "rings")))
        }
    }
}

fn read(path: &Path) -> Result<Value, ClientError> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|source| ClientError::File {
        option: "gates",
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text)
        .map_err(|error| ClientError::Json { path: path.to_owned(), why: error.to_string() })
}

fn given(job: &Value) -> Vec<String> {
    vec![
        show::text(job, "job"),
        show::text(job, "robot"),
        show::text(job, "ring"),
        show::time(&job["given_at"]),
        show::text(job, "outcome"),
        show::text(job, "reason"),
    ]
}

fn names(list: &Value) -> String {
    let names: Vec<_> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

fn rings(rings: &[Value]) -> String {
    let row = |ring: &Value| {
        let of = &ring["of"];
        let everyone = if of["everyone"] == true { "yes" } else { "no" };
        let tier = show::text(ring, "tier");
        let name = show::text(ring, "name");
        vec![name, tier, names(&of["labels"]), names(&of["robots"]), everyone.to_owned()]
    };
    let rows: Vec<_> = rings.iter().map(row).collect();
    show::table(&["RING", "FROM TIER", "LABELS", "ROBOTS", "EVERYONE"], &rows)
}

fn of_robot(answer: &Value) -> String {
    let head =
        format!("ring {}, labels {}\n", show::text(answer, "ring"), names(&answer["labels"]));
    let row = |skill: &Value| {
        vec![show::text(skill, "id"), show::text(skill, "version"), show::text(skill, "why")]
    };
    let rows: Vec<_> = items(answer, "skills").iter().map(row).collect();
    head + &show::table(&["SKILL", "VERSION", "WHY"], &rows)
}

fn one(it: &Value) -> String {
    let heard = &it["heard"];
    let head = format!(
        "{}  {} {} after {}: {}\n{}\nring {}: {} completed by {} robots, {} failed\n",
        show::text(it, "id"),
        show::text(it, "skill"),
        show::text(it, "version"),
        show::text(it, "baseline_version"),
        show::text(it, "state"),
        show::text(it, "reason"),
        show::text(it, "ring"),
        heard["succeeded"],
        heard["robots"],
        heard["failed"],
    );
    let row = |ring: &Value| {
        let gate = &ring["gate"];
        let open = if ring["open"] == true { "yes" } else { "no" };
        let number = |name: &str| show::text(gate, name);
        vec![
            show::text(ring, "name"),
            open.to_owned(),
            number("jobs"),
            number("robots"),
            number("soak_s"),
            number("pause_at"),
            number("roll_back_at"),
        ]
    };
    let rows: Vec<_> = items(it, "rings").iter().map(row).collect();
    let columns = ["RING", "OPEN", "JOBS", "ROBOTS", "SOAK S", "PAUSE AT", "ROLL BACK AT"];
    head + &show::table(&columns, &rows)
}
