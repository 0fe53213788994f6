//! Trust documents and revocation lists for skills.

use super::{Connection, OptionalExtension as _, Row, StoreError};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::trust::{Carried, TrustFile, TrustNews};

/// So many documents are handed out at once; whoever missed more asks again.
pub(crate) const MAX_DOCUMENTS: u32 = 4;

/// What became of a file that was published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Added {
    /// Another document has its version.
    Differs,
    /// It is new.
    New,
    /// It was there.
    Same,
}

/// Keeps a document or a list.
pub(crate) fn add(
    tx: &Connection,
    file: TrustFile,
    version: u32,
    carried: &Carried,
    now: WallMillis,
) -> Result<Added, StoreError> {
    let digest = Digest::of(&carried.bytes.0);
    let mut find = tx.prepare_cached("SELECT version FROM skill_trust WHERE digest = ?1")?;
    let known: Option<i64> = find.query_row([digest.as_bytes()], |row| row.get(0)).optional()?;
    if known.is_some() {
        // The signatures may be more than they were.
        tx.prepare_cached("UPDATE skill_trust SET signatures = ?2 WHERE digest = ?1")?
            .execute((digest.as_bytes(), &carried.signatures))?;
        return Ok(Added::Same);
    }
    if file == TrustFile::Document {
        let mut find = tx.prepare_cached(
            "SELECT version FROM skill_trust WHERE file = 'document' AND version = ?1",
        )?;
        let taken: Option<i64> =
            find.query_row([i64::from(version)], |row| row.get(0)).optional()?;
        if taken.is_some() {
            return Ok(Added::Differs);
        }
    }
    tx.prepare_cached(
        "INSERT INTO skill_trust (digest, file, version, bytes, signatures, published_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        digest.as_bytes(),
        name(file),
        i64::from(version),
        &carried.bytes.0,
        &carried.signatures,
        now.0,
    ))?;
    Ok(Added::New)
}

/// The documents after a version, in their order, and the list that was published last.
pub(crate) fn news(tx: &Connection, after: u32) -> Result<TrustNews, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT bytes, signatures FROM skill_trust WHERE file = 'document' AND version > ?1
         ORDER BY version LIMIT ?2",
    )?;
    let documents = find
        .query_map((i64::from(after), i64::from(MAX_DOCUMENTS)), carried)?
        .collect::<Result<Vec<_>, _>>()?;
    // Not the one with the highest version: other revokers count anew.
    let mut find = tx.prepare_cached(
        "SELECT bytes, signatures FROM skill_trust WHERE file = 'list'
         ORDER BY published_at DESC, version DESC LIMIT 1",
    )?;
    let list = find.query_row([], carried).optional()?;
    Ok(TrustNews { documents, list })
}

const fn name(file: TrustFile) -> &'static str {
    match file {
        TrustFile::Document => "document",
        TrustFile::List => "list",
    }
}

fn carried(row: &Row<'_>) -> Result<Carried, StoreError> {
    Ok(Carried { bytes: Blob(row.get(0)?), signatures: row.get(1)? })
}
