//! How fast jobs move and streams are read again, for `cargo xtask bench cloud`.
//!
//! The floor of a transition is the insertion of the same signed bytes into a table of the same
//! database engine, as many to a commit: nothing signed, no state, no chain. The floor of a
//! replay is the hash over the same bytes.
//! `--dir DIR` names where; it must lie on the disk that is meant.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Whatever is unexpected ends the run.

#[path = "../../xtask/bench/measure.rs"]
mod measure;

use measure::{Samples, Unit, argument, figure, samples, timed};
use nooterra_cloud::measure::{Spine, bundle};
use nooterra_protocol::codec::Digest;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Jobs that move at the same time.
const TOGETHER: usize = 64;

/// Transitions of each.
const STEPS: usize = 4;

fn main() {
    let dir = argument("--dir").unwrap_or_else(|| ".".to_owned());
    let dir = tempfile::tempdir_in(dir).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(dir.path()));
}

async fn run(dir: &Path) {
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
    let plan = serde_json::from_value(plan).unwrap();
    let spine = Spine::open(dir, plan, serde_json::from_value(manifest).unwrap()).await;
    let bytes = {
        spine.four_transitions().await;
        spine.facts().await.last().unwrap().len()
    };
    let mut plain = Plain::new(&dir.join("plain.sqlite"));

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
        let also: Duration = (0..STEPS).map(|_| plain.insert(TOGETHER, bytes)).sum();
        if round > 1 {
            ours.push_each(took, TOGETHER * STEPS);
            floor.push_each(also, TOGETHER * STEPS);
        }
    }
    let what = "inserting the same bytes, 64 to a commit";
    figure("cloud.transition", Unit::Micros, &ours, (what, &floor));

    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    for _ in 0..samples(200) {
        let started = std::time::Instant::now();
        spine.four_transitions().await;
        ours.push_each(started.elapsed(), STEPS);
        let also: Duration = (0..STEPS).map(|_| plain.insert(1, bytes)).sum();
        floor.push_each(also, STEPS);
    }
    let what = "inserting the same bytes, one to a commit";
    figure("cloud.transition_alone", Unit::Micros, &ours, (what, &floor));

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
