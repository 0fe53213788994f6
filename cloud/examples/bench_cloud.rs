//! How fast jobs move and streams are read again, for `cargo xtask bench cloud`.
//!
//! The floor of a transition is the insertion of the same signed bytes into a table of the same
//! database engine, as many to a commit: nothing signed, no state, no chain. The floor of a
//! replay is the hash over the same bytes. The same once more over a Postgres of its own, where
//! there is one to start; its data lies where its own user may write.
//! `--dir DIR` names where; it must lie on the disk that is meant.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Whatever is unexpected ends the run.

#[path = "../../xtask/bench/measure.rs"]
mod measure;
#[path = "../tests/it/server.rs"]
mod server;

use measure::{Samples, Unit, argument, figure, samples, timed};
use nooterra_cloud::measure::{Spine, bundle};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::plan::Plan;
use nooterra_protocol::skill::SkillManifest;
use postgres::Client;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use server::Database;
use std::path::Path;
use std::time::Duration;

/// Jobs that move at the same time.
const TOGETHER: usize = 64;

/// Transitions of each.
const STEPS: usize = 4;

fn main() {
    let dir = argument("--dir").unwrap_or_else(|| ".".to_owned());
    let dir = tempfile::tempdir_in(dir).unwrap();
    // What speaks to it blocks, which it must not within the runtime.
    let mut postgres = match Database::durable() {
        Ok(database) => Some((server::connect(&database.url()).unwrap(), database)),
        Err(why) => {
            eprintln!("SKIPPED: cloud over Postgres: {why}");
            None
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(dir.path()));
    if let Some((client, database)) = &mut postgres {
        runtime.block_on(over_postgres(client, &database.url()));
    }
    // Before the server goes.
    drop(runtime);
}

fn plan_and_skill() -> (Plan, SkillManifest) {
    let skill = json!({ "bundle": bundle(), "id": "patrol", "version": "1.0.0" });
    let plan = json!({ "steps": [
        { "action": "patrol", "id": "s1", "timeout_s": 60, "skill": skill }
    ]});
    let manifest = json!({
        "actions": ["patrol"], "capabilities": [], "component_sha256": Digest::of(b"c"),
        "developer": "d", "id": "patrol", "licence": "MIT", "memory_mib": 1, "name": "P",
        "period_ms": 100, "tier": "dev", "v": 1, "version": "1.0.0",
        "wit": nooterra_protocol::skill::WIT,
    });
    (serde_json::from_value(plan).unwrap(), serde_json::from_value(manifest).unwrap())
}

async fn over_postgres(client: &mut Client, url: &str) {
    let (plan, manifest) = plan_and_skill();
    let spine = Spine::open_at(url, plan, manifest).await;
    let create = "CREATE TABLE plain (n BIGINT PRIMARY KEY, signed BYTEA NOT NULL)";
    let insert = tokio::task::block_in_place(|| {
        client.batch_execute(create).unwrap();
        client.prepare("INSERT INTO plain (n, signed) VALUES ($1, $2)").unwrap()
    });
    let mut last = 0_i64;
    let floor = |count: usize, bytes: usize| {
        let signed = vec![7_u8; bytes];
        let ((), took) = timed(|| {
            tokio::task::block_in_place(|| {
                let mut tx = client.transaction().unwrap();
                for _ in 0..count {
                    last += 1;
                    tx.execute(&insert, &[&last, &signed]).unwrap();
                }
                tx.commit().unwrap();
            });
        });
        took
    };
    let names = ["cloud.transition_postgres", "cloud.transition_alone_postgres"];
    transitions(&spine, floor, names).await;
}

/// Transitions of many jobs at the same time, and of one alone, each beside the insertion of the
/// same bytes in as many commits.
async fn transitions(
    spine: &Spine,
    mut plain: impl FnMut(usize, usize) -> Duration,
    [together, alone]: [&str; 2],
) {
    let bytes = {
        spine.four_transitions().await;
        spine.facts().await.last().unwrap().len()
    };
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    for round in 0..samples(30) + 2 {
        let started = std::time::Instant::now();
        let all: Vec<_> = (0..TOGETHER)
            .map(|_| {
                let spine = spine.clone();
                tokio::spawn(async move { spine.four_transitions().await })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        let took = started.elapsed();
        let also: Duration = (0..STEPS).map(|_| plain(TOGETHER, bytes)).sum();
        if round > 1 {
            ours.push_each(took, TOGETHER * STEPS);
            floor.push_each(also, TOGETHER * STEPS);
        }
    }
    let what = "inserting the same bytes, 64 to a commit";
    figure(together, Unit::Micros, &ours, (what, &floor));

    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    for _ in 0..samples(200) {
        let started = std::time::Instant::now();
        spine.four_transitions().await;
        ours.push_each(started.elapsed(), STEPS);
        let also: Duration = (0..STEPS).map(|_| plain(1, bytes)).sum();
        floor.push_each(also, STEPS);
    }
    let what = "inserting the same bytes, one to a commit";
    figure(alone, Unit::Micros, &ours, (what, &floor));
}

async fn run(dir: &Path) {
    let (plan, manifest) = plan_and_skill();
    let spine = Spine::open(dir, plan, manifest).await;
    let mut plain = Plain::new(&dir.join("plain.sqlite"));
    let floor = |count, bytes| plain.insert(count, bytes);
    transitions(&spine, floor, ["cloud.transition", "cloud.transition_alone"]).await;

    let facts = spine.facts().await;
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    for _ in 0..samples(10) {
        let started = std::time::Instant::now();
        let count = usize::try_from(spine.replay(false).await).unwrap();
        ours.push_each(started.elapsed(), count);
        let (_, also) = timed(|| {
            for fact in &facts {
                std::hint::black_box(Digest::of(fact));
            }
        });
        floor.push_each(also, count);
    }
    let what = "SHA-256 of the same bytes in memory";
    figure("cloud.replay", Unit::Micros, &ours, (what, &floor));
}

/// A table in a database that promises the same of the disk.
struct Plain {
    connection: Connection,
    count: i64,
}

impl Plain {
    fn new(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        let table = "CREATE TABLE facts (n INTEGER PRIMARY KEY, signed BLOB NOT NULL) STRICT";
        connection.execute(table, []).unwrap();
        Self { connection, count: 0 }
    }

    fn insert(&mut self, count: usize, bytes: usize) -> Duration {
        let signed = vec![7_u8; bytes];
        let Self { connection, count: last } = self;
        let ((), took) = timed(|| {
            let behavior = TransactionBehavior::Immediate;
            let tx = connection.transaction_with_behavior(behavior).unwrap();
            for _ in 0..count {
                *last += 1;
                let insert = "INSERT INTO facts (n, signed) VALUES (?1, ?2)";
                tx.prepare_cached(insert).unwrap().execute((*last, &signed)).unwrap();
            }
            tx.commit().unwrap();
        });
        took
    }
}
