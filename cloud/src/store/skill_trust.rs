//! Trust documents and revocation lists for skills.

use super::{Connection, OptionalExtension as _, Row, StoreError};
use crate::access::Tenant;
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

/// Keeps a document or a list of a tenant.
pub(crate) fn add(
    tx: &Connection,
    tenant: &Tenant,
    file: TrustFile,
    version: u32,
    carried: &Carried,
    now: WallMillis,
) -> Result<Added, StoreError> {
    let digest = Digest::of(&carried.bytes.0);
    let mut find =
        tx.prepare_cached("SELECT version FROM skill_trust WHERE tenant = ?1 AND digest = ?2")?;
    let of = (tenant.as_str(), digest.as_bytes());
    let known: Option<i64> = find.query_row(of, |row| row.get(0)).optional()?;
    if known.is_some() {
        // The signatures may be more than they were.
        tx.prepare_cached(
            "UPDATE skill_trust SET signatures = ?3 WHERE tenant = ?1 AND digest = ?2",
        )?
        .execute((tenant.as_str(), digest.as_bytes(), &carried.signatures))?;
        return Ok(Added::Same);
    }
    if file == TrustFile::Document {
        let mut find = tx.prepare_cached(
            "SELECT version FROM skill_trust
             WHERE tenant = ?1 AND file = 'document' AND version = ?2",
        )?;
        let of = (tenant.as_str(), i64::from(version));
        let taken: Option<i64> = find.query_row(of, |row| row.get(0)).optional()?;
        if taken.is_some() {
            return Ok(Added::Differs);
        }
    }
    tx.prepare_cached(
        "INSERT INTO skill_trust (tenant, digest, file, version, bytes, signatures, published_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        tenant.as_str(),
        digest.as_bytes(),
        name(file),
        i64::from(version),
        &carried.bytes.0,
        &carried.signatures,
        now.0,
    ))?;
    Ok(Added::New)
}

/// A tenant's documents after a version, in their order, and the list that it published last.
pub(crate) fn news(tx: &Connection, tenant: &Tenant, after: u32) -> Result<TrustNews, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT bytes, signatures FROM skill_trust WHERE tenant = ?1 AND file = 'document'
             AND version > ?2 ORDER BY version LIMIT ?3",
    )?;
    let documents = find
        .query_map((tenant.as_str(), i64::from(after), MAX_DOCUMENTS), carried)?
        .collect::<Result<Vec<_>, _>>()?;
    // Not the one with the highest version: other revokers count anew.
    let mut find = tx.prepare_cached(
        "SELECT bytes, signatures FROM skill_trust WHERE tenant = ?1 AND file = 'list'
         ORDER BY published_at DESC, version DESC LIMIT 1",
    )?;
    let list = find.query_row([tenant.as_str()], carried).optional()?;
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
