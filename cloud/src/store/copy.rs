//! All rows of one database into another, of this release's version both.

use super::sql::Connection;
use super::{Address, StoreError};
use std::path::Path;

/// A table and its columns.
struct Table {
    columns: Vec<String>,
    name: String,
}

/// Copies one state of the database at `from` into the file `to`, which is not there or empty.
pub(crate) fn into_file(from: &Address, to: &Path) -> Result<(), StoreError> {
    let mut source = from.read_only()?;
    if let Address::Sqlite(_) = from {
        // SQLite's own way: one state, beside whoever writes, and without its free pages.
        let to = to.to_str().ok_or_else(|| StoreError::damaged("a path", "it is not UTF-8"))?;
        source.execute("VACUUM INTO ?1", [to])?;
        return Ok(());
    }
    let target = Address::Sqlite(to.to_owned());
    target.migrate()?;
    copy(&mut source, &mut target.connect()?, &tables(to)?)
}

/// Copies the file `from` into the database at `to`; one that holds something already is refused.
pub(crate) fn from_file(from: &Path, to: &Address) -> Result<(), StoreError> {
    let source = Address::Sqlite(from.to_owned());
    source.migrate()?;
    to.migrate()?;
    let tables = tables(from)?;
    copy(&mut source.read_only()?, &mut to.connect()?, &tables)
}

fn copy(
    source: &mut Connection,
    target: &mut Connection,
    tables: &[Table],
) -> Result<(), StoreError> {
    source.reading(|from| {
        target.writing(|to| {
            // The first keeps what a new database counts from; whoever used it has a journal.
            let used: i64 = to.query_row("SELECT count(*) FROM settings", [], |row| row.get(0))?;
            if used > 0 {
                return Err(StoreError::NotEmpty);
            }
            tables.iter().try_for_each(|table| fill(from, to, table))
        })
    })
}

/// In the order in which they were made: those that others refer to come first.
fn tables(file: &Path) -> Result<Vec<Table>, StoreError> {
    let mut connection = Address::Sqlite(file.to_owned()).read_only()?;
    connection.reading(|tx| {
        let list = |sql: &str, of: &str| {
            let mut statement = tx.prepare_cached(sql)?;
            statement.query_map([of], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
        };
        let names = list(
            "SELECT name FROM sqlite_master
             WHERE type = 'table' AND name NOT LIKE ?1 ORDER BY rowid",
            "sqlite_%",
        )?;
        let columns = "SELECT name FROM pragma_table_info(?1) ORDER BY cid";
        names.into_iter().map(|name| Ok(Table { columns: list(columns, &name)?, name })).collect()
    })
}

/// As [`tables`]: each with its columns.
#[cfg(test)]
pub(super) fn columns(file: &Path) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    Ok(tables(file)?.into_iter().map(|table| (table.name, table.columns)).collect())
}

fn fill(from: &Connection, to: &Connection, table: &Table) -> Result<(), StoreError> {
    let Table { columns, name } = table;
    to.execute(&format!("DELETE FROM {name}"), [])?;
    let places: Vec<_> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
    let (columns, places) = (columns.join(", "), places.join(", "));
    let insert = format!("INSERT INTO {name} ({columns}) VALUES ({places})");
    let count = table.columns.len();
    from.database.scan(&format!("SELECT {columns} FROM {name}"), &mut |row| {
        let values = (0..count).map(|column| row.value(column)).collect::<Result<Vec<_>, _>>()?;
        to.database.execute(&insert, &values)?;
        Ok(true)
    })?;
    to.database.filled(name)?;
    let sql = format!("SELECT count(*) FROM {name}");
    let rows = |tx: &Connection| tx.query_row(&sql, [], |row| row.get::<i64>(0));
    let (read, written) = (rows(from)?, rows(to)?);
    if read != written {
        let why = format!("{written} of {read} rows of {name} arrived");
        return Err(StoreError::damaged("the copy", why));
    }
    Ok(())
}
