//! A database as an earlier release left it is brought to this release's version, on a file and
//! on a real Postgres: nothing that was in it is gone or another, what is new is counted, and a
//! migration that was cut off is run again as a whole.

#[path = "../../tests/it/server.rs"]
mod server;

use super::sql::Value;
use super::webhooks::{Due, LetterRow};
use super::{Address, Connection, StoreError, copy, live, robot_skills, robots, sqlite, webhooks};
use crate::skill_registry::reported;
use nooterra_evidence::Record;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::{JournalId, RobotId, SkillId};
use nooterra_protocol::skill_install::{SkillInstall, SkillInstallStep as Step};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::path::Path;

/// The place in the list of the first migration that this module is about.
fn first() -> usize {
    let is_it = |sql: &&str| sql.contains("certificates ADD COLUMN device_key");
    sqlite::MIGRATIONS.iter().position(is_it).unwrap()
}

/// Rows of everything that those migrations touch, as that release wrote them.
fn fill(tx: &Connection) -> Result<(), StoreError> {
    for (robot, enrolled_at) in [("amr-1", 50), ("amr-2", 20)] {
        tx.execute(
            "INSERT INTO robots (id, device_key, enrolled_at, tenant) VALUES (?1, 'k', ?2, 'acme')",
            (robot, i64::from(enrolled_at)),
        )?;
    }
    // The first was made before its robot enrolled again, the last over a key that was revoked.
    for (serial, robot, issued_at) in
        [("01", "amr-1", 40), ("02", "amr-1", 50), ("03", "amr-2", 20), ("04", "amr-2", 30)]
    {
        tx.execute(
            "INSERT INTO certificates (serial, robot, issued_at, not_after) VALUES (?1, ?2, ?3, 900)",
            (serial, robot, i64::from(issued_at)),
        )?;
    }
    tx.execute(
        "INSERT INTO revoked_keys (device_key, robot, reason, revoked_at)
         VALUES ('old', ?1, 'stolen', 25)",
        ["amr-2"],
    )?;
    for (id, tenant, attempts) in [("wh_1", None, 0), ("wh_2", Some("acme"), 3)] {
        tx.execute(
            "INSERT INTO webhooks (id, tenant, url, types, secret, made_at, made_by, position,
                 attempts, error, next_at)
             VALUES (?1, ?2, 'https://erp.example/', 'BOOKED', 's', 5, 'alice', 7, ?3, 'late', 80)",
            (id, tenant, i64::from(attempts)),
        )?;
    }
    for (position, state) in [(3, "dead"), (4, "waiting")] {
        tx.execute(
            "INSERT INTO dead_letters (webhook, position, state, attempts, error, died_at)
             VALUES ('wh_2', ?1, ?2, 8, 'late', 60)",
            (i64::from(position), state),
        )?;
    }
    // One place of the second journal is there twice, as of a robot whose disk was copied.
    for (journal, seq, digest) in
        [("a", 4, 1), ("a", 5, 2), ("b", 1, 3), ("b", 2, 4), ("b", 2, 5), ("b", 9, 6)]
    {
        tx.execute(
            "INSERT INTO records (robot, journal, seq, digest, class, kind, mono, wall, bytes,
                 received_at)
             VALUES ('amr-1', ?1, ?2, ?3, 'normal', 'sample', 1, 1, ?3, 2)",
            (journal, i64::from(seq), [digest].as_slice().to_vec()),
        )?;
    }
    for (seq, step, version) in
        [(6, Step::Installed, 1), (7, Step::Activated, 1), (8, Step::Installed, 2)]
    {
        say(tx, seq, step, version)?;
    }
    Ok(())
}

/// A version of a skill.
fn bundle(version: u8) -> Digest {
    Digest::of(&[version])
}

/// What the first robot said of a version, kept as the release before kept it.
fn say(tx: &Connection, seq: i64, step: Step, version: u8) -> Result<(), StoreError> {
    let entry = Entry::SkillInstall(SkillInstall {
        bundle: Some(bundle(version)),
        reason: "by hand".to_owned(),
        skill: Some(SkillId::new("patrol").unwrap()),
        step,
        version: Some(format!("1.{version}.0")),
    });
    let stamp = Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1) };
    let place = u64::try_from(seq).unwrap();
    let record = Record::of_entry(&entry, Class::Critical, place, 1, stamp).unwrap();
    let bytes = record.encode().unwrap();
    tx.execute(
        "INSERT INTO records (robot, journal, seq, digest, class, kind, mono, wall, bytes,
             received_at)
         VALUES ('amr-1', 'a', ?1, ?2, 'critical', 'skill_install', 1, 1, ?3, ?4)",
        (seq, Digest::of(&bytes).as_bytes(), &bytes, 100 + seq),
    )?;
    Ok(())
}

/// How this version stands on the first robot, and since when that is known.
fn on_robot(tx: &Connection, version: u8) -> Result<Option<(&'static str, i64)>, StoreError> {
    let page = robot_skills::page(tx, None, &bundle(version), "", 1)?;
    Ok(page[0].held.map(|(held, at)| (held.name(), at.0)))
}

/// Databases to try it on, each as the release before left it: a file, and a server where there
/// is one.
fn before() -> Vec<(Address, Option<server::Database>, tempfile::TempDir)> {
    let dir = || tempfile::tempdir().unwrap();
    let file = dir();
    let mut all = vec![(Address::Sqlite(file.path().join("cloud.sqlite")), None, file)];
    match server::Database::new() {
        Ok(database) => {
            let address = Address::new(Some(&database.url()), "none".into(), "p").unwrap();
            all.push((address, Some(database), dir()));
        }
        Err(why) => server::skipped(&why),
    }
    for (address, ..) in &all {
        address.migrate_by(&sqlite::MIGRATIONS[..first()]).unwrap();
        address.connect().unwrap().writing(fill).unwrap();
    }
    all
}

/// Every row of every table that there was before, with the columns of then.
fn rows(address: &Address) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let then = dir.path().join("then.sqlite");
    sqlite::migrate(&then, &sqlite::MIGRATIONS[..first()]).unwrap();
    let mut connection = address.read_only().unwrap();
    let read = |tx: &Connection| {
        let mut all = Vec::new();
        for (table, columns) in copy::columns(&then)? {
            let sql = format!("SELECT {} FROM {table}", columns.join(", "));
            tx.database.query(&sql, &[], &mut |row| {
                let values: Result<Vec<Value<'_>>, _> =
                    (0..columns.len()).map(|column| row.value(column)).collect();
                all.push(format!("{table} {:?}", values?));
                Ok(true)
            })?;
        }
        all.sort();
        Ok::<_, StoreError>(all)
    };
    connection.reading(read).unwrap()
}

/// Of a journal: the first place, the last, and how many.
fn held(tx: &Connection) -> Result<(JournalId, u64, u64, u64), StoreError> {
    let held = live::held(tx, &RobotId::new("amr-1").unwrap())?.unwrap();
    Ok((held.journal, held.first_seq, held.last_seq, held.records))
}

#[test]
fn what_the_release_before_kept_reads_the_same_and_what_is_new_is_made_of_it() {
    for (address, ..) in before() {
        let then = rows(&address);
        assert!(then.len() > 16, "{then:?}");
        address.migrate().unwrap();
        assert_eq!(rows(&address), then);
        // Once more changes nothing.
        address.migrate().unwrap();
        assert_eq!(rows(&address), then);
        let mut connection = address.connect().unwrap();
        connection
            .writing(|tx| {
                let refused = robots::refused_certificates(tx, WallMillis(100))?;
                let refused: Vec<_> = refused.into_iter().map(|it| (it.serial, it.at.0)).collect();
                assert_eq!(refused, [("01".to_owned(), 50), ("03".to_owned(), 20)]);
                let due = |now| -> Result<Vec<_>, StoreError> {
                    let due = webhooks::due(tx, "p", WallMillis(now), 9)?;
                    Ok(due.into_iter().map(|Due { id, prompt, .. }| (id, prompt)).collect())
                };
                assert_eq!((due(79)?, due(80)?), (vec![], vec![("wh_2".to_owned(), false)]));
                let letters = webhooks::letters(tx, "wh_2", 0, 9)?.into_iter();
                let letters: Vec<_> = letters.map(|LetterRow { state, .. }| state).collect();
                assert_eq!(letters, ["dead", "waiting"]);
                // The last record is of the second journal.
                let b = (JournalId::new("b").unwrap(), 1, 9, 3);
                let count = "SELECT count(*) FROM held_journals";
                assert_eq!(tx.query_row(count, [], |row| row.get::<i64>(0))?, 2);
                assert_eq!(held(tx)?, b);
                // And so it is where nobody counted, as when a process of that release took them.
                tx.execute("DELETE FROM held_journals", [])?;
                assert_eq!(held(tx)?, b);
                // Which versions a robot has is read at the next start, from what was kept.
                assert_eq!((on_robot(tx, 1)?, on_robot(tx, 2)?), (None, None));
                reported::complete(tx)?;
                let trial = (Some(("active", 107)), Some(("on_trial", 108)));
                assert_eq!((on_robot(tx, 1)?, on_robot(tx, 2)?), trial);
                // What a process of that release keeps meanwhile is read at the start after it.
                say(tx, 9, Step::Activated, 2)?;
                reported::complete(tx)?;
                let proven = (Some(("before", 107)), Some(("active", 109)));
                assert_eq!((on_robot(tx, 1)?, on_robot(tx, 2)?), proven);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}

#[test]
fn a_migration_that_fails_half_way_leaves_nothing_and_is_run_again_as_a_whole() {
    for (address, ..) in before() {
        let then = rows(&address);
        for last in first()..sqlite::MIGRATIONS.len() {
            let broken = format!("{}\nSELECT 1 FROM no_such_table;", sqlite::MIGRATIONS[last]);
            let mut migrations = sqlite::MIGRATIONS[..last].to_vec();
            migrations.push(&broken);
            assert!(address.migrate_by(&migrations).is_err(), "{last}");
            assert_eq!(rows(&address), then, "{last}");
            // What it added would be there a second time.
            address.migrate_by(&sqlite::MIGRATIONS[..=last]).unwrap();
            assert_eq!(rows(&address), then, "{last}");
        }
        address.migrate().unwrap();
    }
}

/// The migrations up to and with the one at this place, which does not come to its end.
fn hanging(last: usize, hang: &str) -> Vec<String> {
    let before = sqlite::MIGRATIONS[..last].iter().map(|sql| (*sql).to_owned());
    before.chain([format!("{}\n{hang}", sqlite::MIGRATIONS[last])]).collect()
}

/// Which file the process that is to be killed migrates, and up to which place.
const KILLED: &str = "NOOTERRA_TEST_KILLED";

/// Not a test of its own: does nothing in the process of the others.
#[test]
fn child_that_migrates_until_it_is_killed() {
    let Ok(which) = std::env::var(KILLED) else { return };
    let (last, path) = which.split_once(' ').unwrap();
    let hang = "PRAGMA cache_size = 1; PRAGMA cache_spill = 1;
        INSERT INTO settings (name, value) SELECT 'hangs', count(*) FROM (
            WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n);";
    let all = hanging(last.parse().unwrap(), hang);
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let ended = Address::Sqlite(path.into()).migrate_by(&all);
    unreachable!("{ended:?}");
}

/// Migrates in a process of its own, which is killed once it has written what it was to write, or
/// would have.
fn kill(path: &Path, last: usize) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::upgrade::child_that_migrates_until_it_is_killed", "--nocapture"])
        .env(KILLED, format!("{last} {}", path.display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let probe = rusqlite::Connection::open(path).unwrap();
    probe.busy_timeout(std::time::Duration::ZERO).unwrap();
    let is_writing = || match probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK;") {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
            true
        }
    };
    while !is_writing() {
        assert!(child.try_wait().unwrap().is_none(), "it is to hang");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // It writes for as long as it takes; a transaction of a few pages may stay in memory.
    let written = || {
        ["", "-wal"].map(|end| {
            let file = std::fs::metadata(format!("{}{end}", path.display()));
            file.map_or(0, |file| file.len())
        })
    };
    let (mut seen, mut same) = (written(), 0);
    while same < 20 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let now = written();
        same = if now == seen { same + 1 } else { 0 };
        seen = now;
    }
    assert!(is_writing(), "it is killed within a migration");
    // Whoever comes next is the first, and finds what was left.
    drop(probe);
    assert!(child.try_wait().unwrap().is_none(), "it is to hang");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Migrates over a connection that is cut off in the midst of it.
fn cut(address: &Address, database: &server::Database, last: usize) {
    let Address::Postgres(server) = address else { unreachable!() };
    let (of, all) = (address.clone(), hanging(last, "SELECT pg_sleep(3600);"));
    let migrating = std::thread::spawn(move || {
        of.migrate_by(&all.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let sleeps = "SELECT 1 FROM pg_stat_activity
        WHERE wait_event = 'PgSleep' AND datname = current_database()";
    let mut client = server.client().unwrap();
    while client.query(sleeps, &[]).unwrap().is_empty() {
        assert!(!migrating.is_finished(), "{:?}", migrating.join());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    database.cut();
    assert!(migrating.join().unwrap().is_err());
}

#[test]
fn a_migration_that_was_killed_is_run_again_as_a_whole() {
    for (address, database, _dir) in before() {
        let then = rows(&address);
        for last in first()..sqlite::MIGRATIONS.len() {
            match (&address, &database) {
                (Address::Postgres(_), Some(database)) => cut(&address, database, last),
                (Address::Sqlite(path), _) => kill(path, last),
                (Address::Postgres(_), None) => unreachable!(),
            }
            assert_eq!(rows(&address), then, "{last}");
        }
        address.migrate().unwrap();
        assert_eq!(rows(&address), then);
        address.connect().unwrap().reading(held).unwrap();
    }
}
