//! The registry's rows: keys, proofs, revocations, rules, labels, rings, and which version of a
//! skill the fleet has.

use super::{Connection, OptionalExtension as _, Row, StoreError, digest, tenants, typed};
use crate::access::Tenant;
use crate::skill_registry::revoke::Running;
use crate::skill_registry::rollout::Rollout;
use crate::skill_registry::{Certified, Proof, Revocation, Ring, Selection, tier_name, tier_of};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{JobId, RobotId, SkillId, StepId};
use nooterra_protocol::skill::Tier;
use nooterra_protocol::time::WallMillis;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// A key whose signatures count here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeyRow {
    pub(crate) added_at: WallMillis,
    /// Who has it: a developer as manifests name it, or a certifier.
    pub(crate) holder: String,
    /// The one line of a `.pub` file.
    pub(crate) key: String,
    pub(crate) key_id: String,
    /// Why and since when it is closed.
    pub(crate) revoked: Option<(WallMillis, String)>,
    /// `developer` or `certifier`.
    pub(crate) role: String,
    /// The highest that it may sign for.
    pub(crate) tier: Tier,
}

/// Every key of a tenant, closed ones too, by id.
pub(crate) fn keys(tx: &Connection, tenant: &Tenant) -> Result<Vec<KeyRow>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT key_id, key, holder, role, tier, added_at, revoked_at, reason FROM skill_keys
         WHERE tenant = ?1 ORDER BY key_id",
    )?;
    find.query_map([tenant.as_str()], key)?.collect()
}

/// Keeps a new key of a tenant; false where it has one with that id already.
pub(crate) fn add_key(tx: &Connection, tenant: &Tenant, key: &KeyRow) -> Result<bool, StoreError> {
    let added = tx
        .prepare_cached(
            "INSERT INTO skill_keys (tenant, key_id, key, holder, role, tier, added_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, key_id) DO NOTHING",
        )?
        .execute((
            tenant.as_str(),
            &key.key_id,
            &key.key,
            &key.holder,
            &key.role,
            tier_name(key.tier),
            key.added_at.0,
        ))?;
    Ok(added == 1)
}

/// Closes a key of a tenant; false where it has none of that id, or closed it already.
pub(crate) fn close_key(
    tx: &Connection,
    tenant: &Tenant,
    key_id: &str,
    reason: &str,
    now: WallMillis,
) -> Result<bool, StoreError> {
    let closed = tx
        .prepare_cached(
            "UPDATE skill_keys SET revoked_at = ?3, reason = ?4
             WHERE tenant = ?1 AND key_id = ?2 AND revoked_at IS NULL",
        )?
        .execute((tenant.as_str(), key_id, now.0, reason))?;
    Ok(closed == 1)
}

/// What was proven of a bundle to a tenant, by keys of its own. For who sees all tenants to the
/// default one, else to whichever comes first.
pub(crate) fn proof(
    tx: &Connection,
    tenant: Option<&Tenant>,
    of: &Digest,
) -> Result<Option<Proof>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT key_id, certifier_key, certified_until, record, signature FROM skill_proofs
         WHERE digest = ?1 AND (?2 = '' OR tenant = ?2)
         ORDER BY CASE WHEN tenant = 'default' THEN 0 ELSE 1 END, tenant LIMIT 1",
    )?;
    let read = |row: &Row<'_>| {
        let parts = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        let certification = match parts {
            (Some(key_id), Some(until), Some(record), Some(signature)) => {
                Some(Certified { key_id, record, signature, until: WallMillis(until) })
            }
            _ => None,
        };
        Ok(Proof { certification, key_id: row.get(0)? })
    };
    find.query_row((of.as_bytes(), tenants::name(tenant)), read).optional()
}

/// Keeps what was proven of a bundle to a tenant.
pub(crate) fn add_proof(
    tx: &Connection,
    tenant: &Tenant,
    of: &Digest,
    proof: &Proof,
) -> Result<(), StoreError> {
    let certified = proof.certification.as_ref();
    tx.prepare_cached(
        "INSERT INTO skill_proofs (tenant, digest, key_id, certifier_key, certified_until, record,
             signature) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        tenant.as_str(),
        of.as_bytes(),
        &proof.key_id,
        certified.map(|it| it.key_id.as_str()),
        certified.map(|it| it.until.0),
        certified.map(|it| it.record.as_str()),
        certified.map(|it| it.signature.as_str()),
    ))?;
    Ok(())
}

/// Whether a bundle was revoked.
pub(crate) fn revocation(tx: &Connection, of: &Digest) -> Result<Option<Revocation>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT reason, running, revoked_at FROM skill_revocations WHERE digest = ?1",
    )?;
    let read = |row: &Row<'_>| {
        let running: String = row.get(1)?;
        let running = Running::from_name(&running)
            .ok_or_else(|| StoreError::damaged("a revocation", running))?;
        Ok(Revocation { at: WallMillis(row.get(2)?), reason: row.get(0)?, running })
    };
    find.query_row([of.as_bytes()], read).optional()
}

/// Keeps that a bundle was revoked.
pub(crate) fn revoke(tx: &Connection, of: &Digest, why: &Revocation) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO skill_revocations (digest, reason, running, revoked_at)
         VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((of.as_bytes(), &why.reason, why.running.name(), why.at.0))?;
    Ok(())
}

/// Which of a tenant's robots may have a skill; none where all may.
pub(crate) fn rule(
    tx: &Connection,
    tenant: &Tenant,
    skill: &SkillId,
) -> Result<Option<Selection>, StoreError> {
    let mut find =
        tx.prepare_cached("SELECT rule FROM skill_rules WHERE tenant = ?1 AND skill = ?2")?;
    let of = [tenant.as_str(), skill.as_str()];
    let text: Option<String> = find.query_row(of, |row| row.get(0)).optional()?;
    text.map(|text| parse("a rule", &text)).transpose()
}

/// Sets which of a tenant's robots may have a skill; `None` for all.
pub(crate) fn set_rule(
    tx: &Connection,
    tenant: &Tenant,
    skill: &SkillId,
    rule: Option<&Selection>,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM skill_rules WHERE tenant = ?1 AND skill = ?2")?
        .execute([tenant.as_str(), skill.as_str()])?;
    if let Some(rule) = rule {
        tx.prepare_cached(
            "INSERT INTO skill_rules (tenant, skill, rule, since) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((tenant.as_str(), skill.as_str(), written("a rule", rule)?, now.0))?;
    }
    Ok(())
}

/// The labels of a robot.
pub(crate) fn labels(tx: &Connection, robot: &RobotId) -> Result<BTreeSet<String>, StoreError> {
    let mut find = tx.prepare_cached("SELECT label FROM robot_labels WHERE robot = ?1")?;
    find.query_map([robot.as_str()], |row| row.get(0))?.collect()
}

/// Sets the labels of a robot.
pub(crate) fn set_labels(
    tx: &Connection,
    robot: &RobotId,
    labels: &BTreeSet<String>,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM robot_labels WHERE robot = ?1")?.execute([robot.as_str()])?;
    let mut add = tx.prepare_cached("INSERT INTO robot_labels (robot, label) VALUES (?1, ?2)")?;
    labels.iter().try_for_each(|label| add.execute((robot.as_str(), label)).map(|_| ()))
}

/// A tenant's rings, in their order.
pub(crate) fn rings(tx: &Connection, tenant: &Tenant) -> Result<Vec<Ring>, StoreError> {
    let mut find = tx.prepare_cached("SELECT rule FROM rings WHERE tenant = ?1 ORDER BY place")?;
    let rows = find.query_map([tenant.as_str()], |row| row.get(0))?;
    let rows: Vec<String> = rows.collect::<Result<_, _>>()?;
    rows.iter().map(|text| parse("a ring", text)).collect()
}

/// Sets a tenant's rings.
pub(crate) fn set_rings(
    tx: &Connection,
    tenant: &Tenant,
    rings: &[Ring],
) -> Result<(), StoreError> {
    tx.execute("DELETE FROM rings WHERE tenant = ?1", [tenant.as_str()])?;
    let mut add =
        tx.prepare_cached("INSERT INTO rings (tenant, place, name, rule) VALUES (?1, ?2, ?3, ?4)")?;
    for (place, ring) in (0_i64..).zip(rings) {
        add.execute((tenant.as_str(), place, &ring.name, written("a ring", ring)?))?;
    }
    Ok(())
}

/// The version of a skill that a tenant's fleet has.
pub(crate) fn current(
    tx: &Connection,
    tenant: &Tenant,
    skill: &SkillId,
) -> Result<Option<Digest>, StoreError> {
    let mut find =
        tx.prepare_cached("SELECT digest FROM skill_current WHERE tenant = ?1 AND skill = ?2")?;
    find.query_row([tenant.as_str(), skill.as_str()], |row| digest(row, 0)).optional()
}

/// A roll-out was completed.
pub(crate) fn set_current(
    tx: &Connection,
    of: &Rollout,
    now: WallMillis,
) -> Result<(), StoreError> {
    let (tenant, skill) = (of.tenant.as_str(), of.skill.as_str());
    tx.prepare_cached("DELETE FROM skill_current WHERE tenant = ?1 AND skill = ?2")?
        .execute([tenant, skill])?;
    tx.prepare_cached(
        "INSERT INTO skill_current (tenant, skill, digest, rollout, since)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((tenant, skill, of.target.as_bytes(), &of.id, now.0))?;
    Ok(())
}

/// The steps of a job whose version the robot's ring chooses.
pub(crate) fn of_ring(tx: &Connection, job: &JobId) -> Result<BTreeSet<StepId>, StoreError> {
    let mut find = tx.prepare_cached("SELECT step FROM job_rings WHERE job = ?1")?;
    find.query_map([job.as_str()], |row| typed(row, 0))?.collect()
}

/// Keeps that the robot's ring chooses the version of a step.
pub(crate) fn add_of_ring(
    tx: &Connection,
    job: &JobId,
    step: &StepId,
    skill: &SkillId,
) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO job_rings (job, step, skill) VALUES (?1, ?2, ?3)")?
        .execute((job.as_str(), step.as_str(), skill.as_str()))?;
    Ok(())
}

fn key(row: &Row<'_>) -> Result<KeyRow, StoreError> {
    let tier: String = row.get(4)?;
    let since: Option<i64> = row.get(6)?;
    let reason: Option<String> = row.get(7)?;
    Ok(KeyRow {
        key_id: row.get(0)?,
        key: row.get(1)?,
        holder: row.get(2)?,
        role: row.get(3)?,
        tier: tier_of(&tier).ok_or_else(|| StoreError::damaged("a tier", tier))?,
        added_at: WallMillis(row.get(5)?),
        revoked: since.map(|since| (WallMillis(since), reason.unwrap_or_default())),
    })
}

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::damaged(what, error))
}

pub(super) fn written<T: Serialize + ?Sized>(
    what: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::damaged(what, error))
}
