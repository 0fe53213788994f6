//! SQLite: one file beside the process, WAL, `synchronous = FULL`, so that what was committed
//! survives a power cut.

use super::StoreError;
use super::news::News;
use super::sql::{Columns, Connection, Database, Intent, Row, Value};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OpenFlags, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// One after the other; the position in the list is the version after it, from 1. A migration
/// that was released is never changed. Postgres reads the same text, a few words exchanged; what
/// it cannot read has a file of the same name in `migrations/postgres`.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_positions_and_answers.sql"),
    include_str!("migrations/0003_connections.sql"),
    include_str!("migrations/0004_standings.sql"),
    include_str!("migrations/0010_registry.sql"),
    include_str!("migrations/0020_access.sql"),
    include_str!("migrations/0021_webhooks.sql"),
    include_str!("migrations/0030_care.sql"),
    include_str!("migrations/0040_skill_trust.sql"),
    include_str!("migrations/0050_service_certificates.sql"),
    include_str!("migrations/0051_registry_tenants.sql"),
    include_str!("migrations/0052_fact_records.sql"),
    include_str!("migrations/0053_skill_key_tenants.sql"),
    include_str!("migrations/0054_proofs_in_use.sql"),
    include_str!("migrations/0055_certificate_keys.sql"),
    include_str!("migrations/0056_webhook_turns.sql"),
    include_str!("migrations/0057_held_journals.sql"),
    include_str!("migrations/0058_webhook_prompt.sql"),
    include_str!("migrations/0059_robot_skills.sql"),
    include_str!("migrations/0060_jobs_under_way.sql"),
];

/// How long to wait for another process to write, such as a rebuild, on a disk that others keep
/// busy.
const BUSY: Duration = Duration::from_secs(30);

/// Statements that a connection keeps.
const STATEMENTS: usize = 64;

/// A connection that writes as the store promises.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    Ok(Connection::new(Sqlite(writing(path)?)))
}

/// A connection that cannot write.
pub(super) fn read_only(path: &Path) -> Result<Connection, StoreError> {
    Ok(Connection::new(Sqlite(reading(path)?)))
}

/// Brings the file to the version after `migrations`.
pub(super) fn migrate(path: &Path, migrations: &[&str]) -> Result<(), StoreError> {
    bring(&mut writing(path)?, migrations)
}

/// A database that is gone with the connection, for tests of very many steps.
#[cfg(test)]
pub(crate) fn in_memory() -> Result<Connection, StoreError> {
    let mut connection = rusqlite::Connection::open_in_memory()?;
    keep_statements(&connection)?;
    bring(&mut connection, MIGRATIONS)?;
    Ok(Connection::new(Sqlite(connection)))
}

fn bring(connection: &mut rusqlite::Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let found: usize = connection.pragma_query_value(None, "user_version", |row| {
        let version: u32 = row.get(0)?;
        usize::try_from(version).map_err(|_| rusqlite::Error::InvalidQuery)
    })?;
    if found > migrations.len() {
        return Err(StoreError::TooNew { found, known: migrations.len() });
    }
    for (i, sql) in migrations.iter().enumerate().skip(found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        let version = u32::try_from(i + 1).map_err(|_| rusqlite::Error::InvalidQuery)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn reading(path: &Path) -> Result<rusqlite::Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    keep_statements(&connection)?;
    Ok(connection)
}

fn writing(path: &Path) -> Result<rusqlite::Connection, StoreError> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Statements are prepared once. Without the second line SQLite prepares nearly each of them anew
/// for each use, in case the values at hand ask for another plan: longer than it takes to run it.
fn keep_statements(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

#[derive(Debug)]
struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.0.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

impl Database for Sqlite {
    fn batch(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.0.execute_batch(sql)?)
    }

    fn begin(&mut self, intent: Intent) -> Result<(), StoreError> {
        self.run(match intent {
            Intent::Read => "BEGIN DEFERRED",
            Intent::Write => "BEGIN IMMEDIATE",
        })
    }

    /// There is nobody to tell: one process uses the file.
    fn commit(&mut self, _: &[News]) -> Result<(), StoreError> {
        let committed = self.run("COMMIT");
        if committed.is_err() {
            self.rollback();
        }
        committed
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(values))?)
    }

    /// It does so by itself.
    fn filled(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// A full or failing disk makes SQLite roll back all of it, not only the last part.
    fn is_over(&self) -> bool {
        self.0.is_autocommit()
    }

    fn keep(&self) -> Result<(), StoreError> {
        self.run("RELEASE work")
    }

    fn part(&self) -> Result<(), StoreError> {
        self.run("SAVEPOINT work")
    }

    fn processes(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !each(&Row(row))? {
                break;
            }
        }
        Ok(())
    }

    fn rollback(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "the database does not roll back");
        }
    }

    /// Here, rows are read one by one in any case.
    fn scan(
        &self,
        sql: &str,
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.query(sql, &[], each)
    }

    fn undo(&self) -> Result<(), StoreError> {
        self.run("ROLLBACK TO work")?;
        self.run("RELEASE work")
    }
}

impl Columns for rusqlite::Row<'_> {
    fn value(&self, column: usize) -> Result<Value<'_>, StoreError> {
        Ok(match self.get_ref(column)? {
            ValueRef::Blob(bytes) => Value::Blob(bytes),
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Null => Value::Null,
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(bytes) => Value::Text(
                std::str::from_utf8(bytes).map_err(|e| StoreError::damaged("a text", e))?,
            ),
        })
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Blob(bytes) => ValueRef::Blob(bytes),
            Value::Integer(number) => ValueRef::Integer(number),
            Value::Null => ValueRef::Null,
            Value::Real(number) => ValueRef::Real(number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_statement_is_prepared_once_for_all_its_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.sqlite");
        migrate(&path, MIGRATIONS).unwrap();
        for connection in [writing(&path).unwrap(), reading(&path).unwrap()] {
            // A column that is compared and one that orders; a limit.
            for sql in [
                "SELECT hash FROM facts WHERE stream = ?1 ORDER BY seq DESC LIMIT 1",
                "SELECT hash FROM facts WHERE stream > 'a' ORDER BY seq LIMIT ?1",
            ] {
                for value in [1, 2, 3] {
                    connection.prepare_cached(sql).unwrap().exists([value]).unwrap();
                }
                let statement = connection.prepare_cached(sql).unwrap();
                assert!(statement.get_status(StatementStatus::Run) >= 3, "{sql}");
                assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
            }
        }
    }

    #[test]
    fn what_was_set_before_there_were_tenants_of_it_is_the_default_ones() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        let before = MIGRATIONS.iter().position(|sql| sql.contains("tenant_rings")).unwrap();
        for sql in &MIGRATIONS[..before] {
            connection.execute_batch(sql).unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO rings (place, name, rule) VALUES (0, 'canary', '{}');
                 INSERT INTO skill_rules (skill, rule, since) VALUES ('patrol', '{}', 5);
                 INSERT INTO skill_current (skill, digest, rollout, since)
                     VALUES ('patrol', x'01', 'rollout_1', 5);
                 INSERT INTO skill_trust (digest, file, version, bytes, signatures, published_at)
                     VALUES (x'02', 'list', 3, x'03', 's', 5);",
            )
            .unwrap();
        connection.pragma_update(None, "user_version", u32::try_from(before).unwrap()).unwrap();
        bring(&mut connection, MIGRATIONS).unwrap();
        for table in ["rings", "skill_rules", "skill_current", "skill_trust"] {
            let sql = format!("SELECT count(*) FROM {table} WHERE tenant = 'default'");
            let kept: u32 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(kept, 1, "{table}");
        }
    }

    #[test]
    fn keys_that_counted_for_all_tenants_count_for_each_that_there_was() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        let before = MIGRATIONS.iter().position(|sql| sql.contains("tenant_skill_keys")).unwrap();
        for sql in &MIGRATIONS[..before] {
            connection.execute_batch(sql).unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO skill_keys (key_id, key, holder, role, tier, added_at, revoked_at,
                     reason)
                     VALUES ('K1', 'k', 'acme', 'developer', 'dev', 5, NULL, NULL),
                         ('K2', 'k', 'old', 'developer', 'dev', 5, 6, 'lost');
                 INSERT INTO skill_tenants (digest, tenant, signature) VALUES (x'01', 'a', 's');
                 INSERT INTO robots (id, device_key, enrolled_at, tenant) VALUES ('r', 'k', 1, 'b');
                 INSERT INTO skill_proofs (digest, key_id) VALUES (x'01', 'K1'), (x'02', 'K1');",
            )
            .unwrap();
        connection.pragma_update(None, "user_version", u32::try_from(before).unwrap()).unwrap();
        bring(&mut connection, MIGRATIONS).unwrap();
        let all = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let keys = "SELECT tenant || key_id || coalesce(reason, '') FROM skill_keys ORDER BY 1";
        assert_eq!(all(keys), ["aK1", "aK2lost", "bK1", "bK2lost", "defaultK1", "defaultK2lost"]);
        assert_eq!(all("SELECT tenant || hex(digest) FROM skill_proofs"), ["a01"]);
    }

    #[test]
    fn what_a_tenant_has_in_use_keeps_what_keys_of_all_tenants_proved_of_it() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        let keys = MIGRATIONS.iter().position(|sql| sql.contains("tenant_skill_keys")).unwrap();
        for sql in &MIGRATIONS[..=keys] {
            connection.execute_batch(sql).unwrap();
        }
        // K1 and K2 counted for all; K9 is a's own, and so is the K2 that b has since.
        connection
            .execute_batch(
                "INSERT INTO skill_keys (tenant, key_id, key, holder, role, tier, added_at) VALUES
                     ('a', 'K1', 'k', 'acme', 'developer', 'dev', 5),
                     ('a', 'K2', 'c', 'lab', 'certifier', 'field_cert', 5),
                     ('a', 'K9', 'o', 'acme', 'developer', 'dev', 9),
                     ('default', 'K1', 'k', 'acme', 'developer', 'dev', 5),
                     ('default', 'K2', 'c', 'lab', 'certifier', 'field_cert', 5),
                     ('b', 'K1', 'k', 'acme', 'developer', 'dev', 5),
                     ('b', 'K2', 'c', 'lab', 'certifier', 'field_cert', 9);
                 INSERT INTO skill_proofs (tenant, digest, key_id, certifier_key) VALUES
                     ('a', x'01', 'K1', NULL), ('a', x'02', 'K1', 'K2'), ('a', x'03', 'K1', NULL),
                     ('a', x'04', 'K1', NULL), ('a', x'09', 'K9', NULL);
                 INSERT INTO skill_current (tenant, skill, digest, rollout, since) VALUES
                     ('default', 'patrol', x'02', 'r', 5), ('default', 'survey', x'09', 'r', 5),
                     ('b', 'patrol', x'02', 'r', 5);
                 INSERT INTO rollouts (id, skill, target, baseline, stages, state, stage, epoch,
                     opened_at, reason, created_at, updated_at, tenant)
                     VALUES ('r', 'dock', x'03', x'01', '[]', 'rolling', 0, 0, 5, '', 5, 5, 'b');",
            )
            .unwrap();
        connection.pragma_update(None, "user_version", u32::try_from(keys + 1).unwrap()).unwrap();
        bring(&mut connection, MIGRATIONS).unwrap();
        let sql = "SELECT tenant || hex(digest) FROM skill_proofs ORDER BY 1";
        let mut statement = connection.prepare(sql).unwrap();
        let all: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(all, ["a01", "a02", "a03", "a04", "a09", "b01", "b03", "default02"]);
    }
}
