//! Whose robots, jobs and skills: the functions that decide it, and nothing else does.
//!
//! A robot has a tenant from its first enrolment on. A job has that of its robot, and so have
//! the records, commands and facts of either; none of them is kept twice. A bundle is the same
//! for whoever publishes it: each tenant that did has it, with the signature that it sent.

use super::{Connection, OptionalExtension as _, StoreError, digest};
use crate::access::Tenant;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{JobId, RobotId};
use std::collections::HashSet;

/// Facts of one tenant, as a condition on a stream's name and the tenant's, which may be empty
/// for all.
pub(super) const OF_STREAM: &str = "(?5 = '' OR
    CASE WHEN stream LIKE 'rollout.%'
         THEN substr(stream, 9) IN (SELECT id FROM rollouts WHERE tenant = ?5)
         WHEN stream LIKE 'job.%'
         THEN (SELECT robot FROM jobs WHERE id = substr(stream, 5))
             IN (SELECT id FROM robots WHERE tenant = ?5)
         ELSE stream LIKE 'robot.%'
             AND substr(stream, 7) IN (SELECT id FROM robots WHERE tenant = ?5) END)";

/// The name, or an empty text for all of them.
pub(super) fn name(tenant: Option<&Tenant>) -> &str {
    tenant.map_or("", Tenant::as_str)
}

/// The tenant of a robot that is enrolled.
pub(crate) fn of_robot(tx: &Connection, robot: &RobotId) -> Result<Option<Tenant>, StoreError> {
    let mut find = tx.prepare_cached("SELECT tenant FROM robots WHERE id = ?1")?;
    let found: Option<String> = find.query_row([robot.as_str()], |row| row.get(0)).optional()?;
    found.map(|name| read(&name)).transpose()
}

/// The robot is enrolled, and this tenant's.
pub(crate) fn has_robot(
    tx: &Connection,
    tenant: &Tenant,
    robot: &RobotId,
) -> Result<bool, StoreError> {
    Ok(of_robot(tx, robot)?.is_some_and(|of| of == *tenant))
}

/// The job is there, and this tenant's.
pub(crate) fn has_job(tx: &Connection, tenant: &Tenant, job: &JobId) -> Result<bool, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT robots.tenant FROM jobs JOIN robots ON robots.id = jobs.robot WHERE jobs.id = ?1",
    )?;
    let found: Option<String> = find.query_row([job.as_str()], |row| row.get(0)).optional()?;
    Ok(found.is_some_and(|of| of == tenant.as_str()))
}

/// The roll-out is there, and this tenant's.
pub(crate) fn has_rollout(
    tx: &Connection,
    tenant: &Tenant,
    rollout: &str,
) -> Result<bool, StoreError> {
    let mut find = tx.prepare_cached("SELECT tenant FROM rollouts WHERE id = ?1")?;
    let found: Option<String> = find.query_row([rollout], |row| row.get(0)).optional()?;
    Ok(found.is_some_and(|of| of == tenant.as_str()))
}

/// This tenant published the bundle.
pub(crate) fn has_skill(
    tx: &Connection,
    tenant: &Tenant,
    bundle: &Digest,
) -> Result<bool, StoreError> {
    Ok(signature(tx, tenant, bundle)?.is_some())
}

/// The signature that this tenant sent with a bundle.
pub(crate) fn signature(
    tx: &Connection,
    tenant: &Tenant,
    bundle: &Digest,
) -> Result<Option<String>, StoreError> {
    let mut find =
        tx.prepare_cached("SELECT signature FROM skill_tenants WHERE tenant = ?1 AND digest = ?2")?;
    find.query_row((tenant.as_str(), bundle.as_bytes()), |row| row.get(0)).optional()
}

/// The bundles that this tenant published.
pub(crate) fn skills(tx: &Connection, tenant: &Tenant) -> Result<HashSet<Digest>, StoreError> {
    let mut find = tx.prepare_cached("SELECT digest FROM skill_tenants WHERE tenant = ?1")?;
    let rows = find.query_map([tenant.as_str()], |row| digest(row, 0))?;
    rows.collect()
}

/// The tenant publishes a bundle; `false` where it did already.
pub(crate) fn publish(
    tx: &Connection,
    tenant: &Tenant,
    bundle: &Digest,
    signature: &str,
) -> Result<bool, StoreError> {
    let added = tx
        .prepare_cached(
            "INSERT INTO skill_tenants (digest, tenant, signature) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute((bundle.as_bytes(), tenant.as_str(), signature))?;
    Ok(added == 1)
}

/// A claim code is for a robot of this tenant.
pub(crate) fn claim(tx: &Connection, secret: &Digest, tenant: &Tenant) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE claim_codes SET tenant = ?2 WHERE secret_hash = ?1")?
        .execute((secret.as_bytes(), tenant.as_str()))?;
    Ok(())
}

/// The tenant that a claim code is for.
pub(crate) fn of_claim(tx: &Connection, secret: &Digest) -> Result<Tenant, StoreError> {
    let mut find = tx.prepare_cached("SELECT tenant FROM claim_codes WHERE secret_hash = ?1")?;
    let name: String = find.query_row([secret.as_bytes()], |row| row.get(0))?;
    read(&name)
}

/// A robot that was just enrolled is this tenant's.
pub(crate) fn give(tx: &Connection, robot: &RobotId, tenant: &Tenant) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE robots SET tenant = ?2 WHERE id = ?1")?
        .execute((robot.as_str(), tenant.as_str()))?;
    Ok(())
}

fn read(name: &str) -> Result<Tenant, StoreError> {
    name.parse().map_err(|error| StoreError::damaged("a tenant", error))
}
