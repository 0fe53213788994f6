//! Published skill bundles, by the hash of the bundle.

use super::{Connection, OptionalExtension as _, Row, StoreError, digest, typed};
use crate::access::Tenant;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::SkillId;
use nooterra_protocol::skill::SkillManifest;
use nooterra_protocol::time::WallMillis;

/// A skill without its bundle.
#[derive(Clone, Debug)]
pub(crate) struct SkillRow {
    pub(crate) digest: Digest,
    pub(crate) id: SkillId,
    pub(crate) manifest: SkillManifest,
    pub(crate) published_at: WallMillis,
    pub(crate) version: String,
}

/// Keeps a bundle; `false` when it is there already.
pub(crate) fn add(
    tx: &Connection,
    digest: &Digest,
    manifest: &SkillManifest,
    signature: &str,
    bundle: &[u8],
    now: WallMillis,
) -> Result<bool, StoreError> {
    let text = serde_json::to_string(manifest).map_err(|e| StoreError::damaged("a manifest", e))?;
    let added = tx
        .prepare_cached(
            "INSERT INTO skills (digest, id, version, manifest, signature, bundle, published_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (digest) DO NOTHING",
        )?
        .execute((
            digest.as_bytes(),
            manifest.id.as_str(),
            &manifest.version,
            text,
            signature,
            bundle,
            now.0,
        ))?;
    Ok(added == 1)
}

/// The ids of skills of which the tenant has a version, in order; only those after `after`.
pub(crate) fn ids(
    tx: &Connection,
    tenant: &Tenant,
    after: &str,
    limit: u32,
) -> Result<Vec<SkillId>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT DISTINCT id FROM skills WHERE id > ?1
             AND digest IN (SELECT digest FROM skill_tenants WHERE tenant = ?2)
         ORDER BY id LIMIT ?3",
    )?;
    find.query_map((after, tenant.as_str(), limit), |row| typed(row, 0))?.collect()
}

/// The bundle that a tenant first published as this version.
pub(crate) fn of_version(
    tx: &Connection,
    tenant: &Tenant,
    id: &SkillId,
    version: &str,
) -> Result<Option<Digest>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT digest FROM skills WHERE id = ?1 AND version = ?2
             AND digest IN (SELECT digest FROM skill_tenants WHERE tenant = ?3)
         ORDER BY published_at, digest LIMIT 1",
    )?;
    find.query_row([id.as_str(), version, tenant.as_str()], |row| digest(row, 0)).optional()
}

/// The manifest of a tenant's first version of a skill: whose the skill is there.
pub(crate) fn first(
    tx: &Connection,
    tenant: &Tenant,
    id: &SkillId,
) -> Result<Option<SkillManifest>, StoreError> {
    let text: Option<String> = tx
        .prepare_cached(
            "SELECT manifest FROM skills WHERE id = ?1
                 AND digest IN (SELECT digest FROM skill_tenants WHERE tenant = ?2)
             ORDER BY published_at, digest LIMIT 1",
        )?
        .query_row([id.as_str(), tenant.as_str()], |row| row.get(0))
        .optional()?;
    text.map(|text| parse(&text)).transpose()
}

/// Versions after a place in the order of their publishing, of one skill or of all.
pub(crate) fn page(
    tx: &Connection,
    after: (WallMillis, &Digest),
    id: Option<&str>,
    limit: u32,
) -> Result<Vec<SkillRow>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT digest, id, manifest, published_at, version FROM skills
         WHERE (published_at > ?1 OR (published_at = ?1 AND digest > ?2))
             AND (id = ?3 OR ?3 IS NULL)
         ORDER BY published_at, digest LIMIT ?4",
    )?;
    find.query_map((after.0.0, after.1.as_bytes(), id, limit), skill)?.collect()
}

/// One version.
pub(crate) fn find(tx: &Connection, digest: &Digest) -> Result<Option<SkillRow>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT digest, id, manifest, published_at, version FROM skills WHERE digest = ?1",
    )?;
    find.query_row([digest.as_bytes()], skill).optional()
}

/// The manifest of a bundle.
pub(crate) fn manifest(
    tx: &Connection,
    digest: &Digest,
) -> Result<Option<SkillManifest>, StoreError> {
    let text: Option<String> = tx
        .prepare_cached("SELECT manifest FROM skills WHERE digest = ?1")?
        .query_row([digest.as_bytes()], |row| row.get(0))
        .optional()?;
    text.map(|text| parse(&text)).transpose()
}

/// The bundle itself.
pub(crate) fn bundle(tx: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let mut find = tx.prepare_cached("SELECT bundle FROM skills WHERE digest = ?1")?;
    find.query_row([digest.as_bytes()], |row| row.get(0)).optional()
}

/// The text of its signature file.
pub(crate) fn signature(tx: &Connection, digest: &Digest) -> Result<Option<String>, StoreError> {
    let mut find = tx.prepare_cached("SELECT signature FROM skills WHERE digest = ?1")?;
    find.query_row([digest.as_bytes()], |row| row.get(0)).optional()
}

fn parse(text: &str) -> Result<SkillManifest, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::damaged("a manifest", error))
}

fn skill(row: &Row<'_>) -> Result<SkillRow, StoreError> {
    let manifest: String = row.get(2)?;
    Ok(SkillRow {
        digest: digest(row, 0)?,
        id: typed(row, 1)?,
        manifest: parse(&manifest)?,
        published_at: WallMillis(row.get(3)?),
        version: row.get(4)?,
    })
}
