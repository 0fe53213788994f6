//! Tokens of the API, without their secrets.

use super::{Connection, OptionalExtension as _, Row, StoreError, digest, typed};
use crate::access::{Family, Grant, Tenant, tenants};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::time::WallMillis;

/// A token as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    /// The name of a client certificate that stands in place of the secret, which nobody knows.
    pub(crate) certificate: Option<String>,
    pub(crate) grant: Grant,
    /// SHA-256 of its secret.
    pub(crate) hash: Digest,
    pub(crate) id: String,
    pub(crate) made_at: WallMillis,
    /// The principal who asked for it.
    pub(crate) made_by: String,
    /// The token with which it was made; none where that was the bootstrap token.
    pub(crate) parent: Option<String>,
    /// When, and by which principal.
    pub(crate) revoked: Option<(WallMillis, String)>,
}

const COLUMNS: &str = "id, hash, principal, role, families, tenant, parent, made_at, made_by,
    expires_at, revoked_at, revoked_by, certificate";

/// Keeps a token.
pub(crate) fn add(tx: &Connection, token: &TokenRow) -> Result<(), StoreError> {
    let TokenRow { certificate, grant, hash, id, made_at, made_by, parent, .. } = token;
    let families: Vec<_> = grant.families.iter().map(|family| family.name()).collect();
    tx.prepare_cached(
        "INSERT INTO tokens (id, hash, principal, role, families, tenant, parent, made_at,
             made_by, expires_at, certificate)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute((
        id,
        hash.as_bytes(),
        grant.principal.as_str(),
        grant.role.name(),
        families.join(" "),
        grant.tenant_name(),
        parent.as_deref(),
        made_at.0,
        made_by,
        grant.expires_at.0,
        certificate.as_deref(),
    ))?;
    Ok(())
}

/// One token.
pub(crate) fn find(tx: &Connection, id: &str) -> Result<Option<TokenRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, n FROM tokens WHERE id = ?1");
    tx.prepare_cached(&sql)?.query_row([id], token).optional()
}

/// Those of a certificate's name, also those that are over; the newest last.
pub(crate) fn of_certificate(tx: &Connection, name: &str) -> Result<Vec<TokenRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, n FROM tokens WHERE certificate = ?1 ORDER BY n");
    let rows = tx.prepare_cached(&sql)?.query_map([name], token)?;
    rows.collect()
}

/// Tokens, oldest first, with the numbers that `after` takes; of one tenant where it is given.
pub(crate) fn page(
    tx: &Connection,
    tenant: Option<&Tenant>,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, TokenRow)>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, n FROM tokens
         WHERE n > ?1 AND (?2 = '' OR tenant = ?2) ORDER BY n LIMIT ?3"
    );
    let tenant = tenant.map_or("", Tenant::as_str);
    let rows = tx
        .prepare_cached(&sql)?
        .query_map((after, tenant, limit), |row| Ok((row.get(13)?, token(row)?)))?;
    rows.collect()
}

/// Ends a token and all that were made with it; how many of them still stood.
pub(crate) fn revoke(
    tx: &Connection,
    id: &str,
    by: &str,
    now: WallMillis,
) -> Result<usize, StoreError> {
    tx.prepare_cached(
        "WITH RECURSIVE family (id) AS (
             SELECT id FROM tokens WHERE id = ?1
             UNION SELECT tokens.id FROM tokens JOIN family ON tokens.parent = family.id)
         UPDATE tokens SET revoked_at = ?2, revoked_by = ?3
         WHERE revoked_at IS NULL AND id IN (SELECT id FROM family)",
    )?
    .execute((id, now.0, by))
}

fn token(row: &Row<'_>) -> Result<TokenRow, StoreError> {
    let families: String = row.get(4)?;
    let families = families.split(' ').map(str::parse).collect::<Result<Vec<Family>, _>>();
    let tenant: String = row.get(5)?;
    let at: Option<i64> = row.get(10)?;
    let by: Option<String> = row.get(11)?;
    Ok(TokenRow {
        certificate: row.get(12)?,
        grant: Grant {
            expires_at: WallMillis(row.get(9)?),
            families: families.map_err(|e| StoreError::damaged("a token", e))?,
            principal: typed(row, 2)?,
            role: typed(row, 3)?,
            tenant: tenants(&tenant).map_err(|e| StoreError::damaged("a token", e))?,
        },
        hash: digest(row, 1)?,
        id: row.get(0)?,
        made_at: WallMillis(row.get(7)?),
        made_by: row.get(8)?,
        parent: row.get(6)?,
        revoked: at.map(WallMillis).zip(by),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, grant};
    use crate::store::Store;

    #[test]
    fn revoking_a_token_revokes_those_that_were_made_with_it_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let make = |id: &str, parent: Option<&str>| {
            let row = TokenRow {
                certificate: Some(format!("cn:{id}")),
                grant: grant(Role::Admin, &[Family::Jobs, Family::Tokens], "t", 9),
                hash: Digest::of(id.as_bytes()),
                id: id.to_owned(),
                made_at: WallMillis(1),
                made_by: "bootstrap".to_owned(),
                parent: parent.map(str::to_owned),
                revoked: None,
            };
            store.with(|tx| add(tx, &row)).unwrap();
            row
        };
        let first = make("a", None);
        make("b", Some("a"));
        make("c", Some("b"));
        make("d", None);
        let found = store.with(|tx| find(tx, "a")).unwrap().unwrap();
        assert_eq!((found.grant, found.hash), (first.grant, first.hash));
        let named = store.with(|tx| of_certificate(tx, "cn:a")).unwrap();
        assert_eq!(named.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(store.with(|tx| of_certificate(tx, "cn:e")).unwrap().is_empty());
        assert_eq!(store.with(|tx| revoke(tx, "b", "alice", WallMillis(2))).unwrap(), 2);
        // The first reason stays.
        assert_eq!(store.with(|tx| revoke(tx, "a", "bob", WallMillis(3))).unwrap(), 1);
        let revoked = |id: &str| store.with(|tx| find(tx, id)).unwrap().unwrap().revoked;
        let by = |at, who: &str| Some((WallMillis(at), who.to_owned()));
        assert_eq!(revoked("a"), by(3, "bob"));
        assert_eq!((revoked("b"), revoked("c")), (by(2, "alice"), by(2, "alice")));
        assert_eq!(revoked("d"), None);
        let all = store.with(|tx| page(tx, None, 0, 3)).unwrap();
        let rest = store.with(|tx| page(tx, None, all[2].0, 3)).unwrap();
        assert_eq!((all.len(), rest.len(), rest[0].1.id.as_str()), (3, 1, "d"));
        assert!(store.with(|tx| page(tx, "u".parse().ok().as_ref(), 0, 9)).unwrap().is_empty());
    }
}
