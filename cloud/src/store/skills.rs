//! Published skill bundles, by the hash of the bundle.

use super::{Connection, OptionalExtension as _, Row, StoreError, digest, typed};
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

/// All skills, oldest first.
pub(crate) fn all(tx: &Connection) -> Result<Vec<SkillRow>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT digest, id, manifest, published_at, version FROM skills ORDER BY published_at, digest",
    )?;
    statement
        .query_map([], row)?
        .map(|row| {
            let (digest, id, manifest, published_at, version) = row?;
            Ok(SkillRow { digest, id, manifest: parse(&manifest)?, published_at, version })
        })
        .collect()
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

fn row(row: &Row<'_>) -> Result<(Digest, SkillId, String, WallMillis, String), StoreError> {
    Ok((digest(row, 0)?, typed(row, 1)?, row.get(2)?, WallMillis(row.get(3)?), row.get(4)?))
}
