//! SQLite, as safe as the journal: write-ahead log, `synchronous = FULL`, one connection, the
//! statement prepared once. A journal without chain, signature and cursors would be this.

use crate::measure::{Samples, samples, timed};
use crate::peer;
use rusqlite::Connection;
use std::path::Path;

/// As large as the journal's records in the figure beside it.
const RECORD_BYTES: usize = 512;

/// What the journal commits at once: 48 KiB.
const BATCH: usize = 96;

pub(crate) fn measure(dir: &Path) {
    let dir = tempfile::tempdir_in(dir).expect("a folder on the disk that is meant");
    batches(&open(&dir.path().join("batches.db")));
    durable(&open(&dir.path().join("durable.db")));
}

/// As fast as records come, with a commit for as many as the journal commits at once.
fn batches(connection: &Connection) {
    let mut took = Samples::default();
    let count = samples(20_000);
    for round in 0..samples(30) + 1 {
        let ((), all) = timed(|| {
            for first in (0..count).step_by(BATCH) {
                connection.execute_batch("BEGIN").expect("it begins");
                (first..count.min(first + BATCH)).for_each(|_| insert(connection));
                connection.execute_batch("COMMIT").expect("it commits");
            }
        });
        if round > 0 {
            took.push_each(all, count);
        }
    }
    let what = "SQLite, WAL, synchronous = FULL, a commit for each 48 KiB";
    peer("blackbox.append_vs_sqlite", what, &took);
}

/// Each record waited for.
fn durable(connection: &Connection) {
    let mut took = Samples::default();
    let (rounds, warm_up) = (samples(1500), samples(150));
    for round in 0..warm_up + rounds {
        let ((), one) = timed(|| insert(connection));
        if round >= warm_up {
            took.push(one);
        }
    }
    let what = "SQLite, WAL, synchronous = FULL, a commit for each";
    peer("blackbox.append_durable_vs_sqlite", what, &took);
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE records (seq INTEGER PRIMARY KEY, class INTEGER NOT NULL,
                                   bytes BLOB NOT NULL);",
        )
        .expect("a table");
    let mode: String =
        connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal", "this disk cannot have a write-ahead log");
    connection
}

fn insert(connection: &Connection) {
    let record = [7_u8; RECORD_BYTES];
    let mut statement = connection
        .prepare_cached("INSERT INTO records (class, bytes) VALUES (1, ?1)")
        .expect("a statement");
    statement.execute([&record[..]]).expect("it is stored");
}
