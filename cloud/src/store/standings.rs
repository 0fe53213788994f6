//! How robots stand in the fleet, and the keys that were revoked.

use super::{Connection, OptionalExtension as _, Row, StoreError, typed};
use crate::guard::Guard;
use crate::standing::{Admission, Standing};
use nooterra_protocol::ids::{JobId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::WallMillis;
use std::collections::HashMap;

/// A robot's standing with its reason; absent while the robot is in service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StandingRow {
    pub(crate) reason: String,
    pub(crate) since: WallMillis,
    pub(crate) standing: Standing,
}

/// The standing of one robot.
pub(crate) fn of(tx: &Connection, robot: &RobotId) -> Result<Option<StandingRow>, StoreError> {
    let mut find =
        tx.prepare_cached("SELECT state, reason, since FROM standings WHERE robot = ?1")?;
    find.query_row([robot.as_str()], |row| standing(row, 0)).optional()
}

/// Every robot that is not simply in service.
pub(crate) fn all(tx: &Connection) -> Result<HashMap<RobotId, StandingRow>, StoreError> {
    let mut find = tx.prepare_cached("SELECT robot, state, reason, since FROM standings")?;
    let rows = find.query_map([], |row| Ok((typed(row, 0)?, standing(row, 1)?)))?;
    rows.collect()
}

/// Sets the standing of a robot; in service has no row.
pub(crate) fn set(tx: &Connection, robot: &RobotId, to: &StandingRow) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM standings WHERE robot = ?1")?.execute([robot.as_str()])?;
    if to.standing == Standing::InService {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO standings (robot, state, reason, since) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((robot.as_str(), to.standing.name(), &to.reason, to.since.0))?;
    Ok(())
}

/// Closes a key for ever.
pub(crate) fn revoke_key(
    tx: &Connection,
    key: &VerifyingKey,
    robot: &RobotId,
    reason: &str,
    now: WallMillis,
) -> Result<(), StoreError> {
    if is_revoked(tx, key)? {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO revoked_keys (device_key, robot, reason, revoked_at)
         VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((key.to_string(), robot.as_str(), reason, now.0))?;
    Ok(())
}

/// The key was revoked.
pub(crate) fn is_revoked(tx: &Connection, key: &VerifyingKey) -> Result<bool, StoreError> {
    let mut find = tx.prepare_cached("SELECT 1 FROM revoked_keys WHERE device_key = ?1")?;
    Ok(find.query_row([key.to_string()], |_| Ok(())).optional()?.is_some())
}

/// Whether somebody may speak as `robot`: with this key, or, without one, on the word of a
/// broker that checked the certificate.
pub(crate) fn admission(
    tx: &Connection,
    robot: &RobotId,
    key: Option<&VerifyingKey>,
) -> Result<Admission, StoreError> {
    if !Guard::Admission.on() {
        return Ok(Admission::Admitted);
    }
    if key.map_or(Ok(false), |key| is_revoked(tx, key))? {
        return Ok(Admission::Revoked);
    }
    let mut find = tx.prepare_cached("SELECT device_key FROM robots WHERE id = ?1")?;
    let enrolled: Option<String> = find.query_row([robot.as_str()], |row| row.get(0)).optional()?;
    let Some(enrolled) = enrolled else { return Ok(Admission::Unknown) };
    if key.is_some_and(|key| key.to_string() != enrolled) {
        return Ok(Admission::Unknown);
    }
    let revoked = of(tx, robot)?.is_some_and(|row| row.standing == Standing::Revoked);
    Ok(if revoked { Admission::Revoked } else { Admission::Admitted })
}

/// The jobs that `robot` has begun and not ended.
pub(crate) fn under_way(tx: &Connection, robot: &RobotId) -> Result<Vec<JobId>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT id FROM jobs WHERE robot = ?1 AND state IN
             ('EN_ROUTE', 'ACCESS_GRANTED', 'EXECUTING', 'ASSISTED', 'STALLED') ORDER BY n",
    )?;
    let jobs = find.query_map([robot.as_str()], |row| typed(row, 0))?;
    jobs.collect()
}

/// A command will not be sent any more.
pub(crate) fn withdraw(
    tx: &Connection,
    command: &nooterra_protocol::ids::EnvelopeId,
    reason: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE commands SET state = 'refused', reason = ?2 WHERE id = ?1 AND state = 'sent'",
    )?
    .execute((command.as_str(), reason))?;
    Ok(())
}

fn standing(row: &Row<'_>, from: usize) -> Result<StandingRow, StoreError> {
    Ok(StandingRow {
        standing: typed(row, from)?,
        reason: row.get(from + 1)?,
        since: WallMillis(row.get(from + 2)?),
    })
}
