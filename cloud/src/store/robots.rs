//! Robots, their keys, claim codes and certificates.

use super::{Connection, News, OptionalExtension as _, Row, StoreError, tenants, typed};
use crate::access::Tenant;
use crate::ca::Issued;
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::uplink::State;
use std::collections::BTreeMap;

/// A robot as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct RobotRow {
    pub(crate) device_key: VerifyingKey,
    pub(crate) enrolled_at: WallMillis,
    pub(crate) id: RobotId,
    pub(crate) last_seen: Option<WallMillis>,
    /// The process that it was last connected to, unless the connection ended in order.
    pub(crate) process: Option<String>,
    pub(crate) state: Option<State>,
}

/// Why a claim code does not open the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClaimRefused {
    Expired,
    Unknown,
    Used,
}

const COLUMNS: &str = "id, device_key, enrolled_at, last_seen, state, process";

fn robot(row: &Row<'_>) -> Result<RobotRow, StoreError> {
    let state: Option<Vec<u8>> = row.get(4)?;
    Ok(RobotRow {
        id: typed(row, 0)?,
        device_key: typed(row, 1)?,
        enrolled_at: WallMillis(row.get(2)?),
        last_seen: row.get::<Option<i64>>(3)?.map(WallMillis),
        process: row.get(5)?,
        // A state that an older release wrote is as good as none: the next one replaces it.
        state: state.and_then(|bytes| codec::from_slice(&bytes).ok()),
    })
}

/// One robot.
pub(crate) fn find(tx: &Connection, id: &RobotId) -> Result<Option<RobotRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM robots WHERE id = ?1");
    tx.prepare_cached(&sql)?.query_row([id.as_str()], robot).optional()
}

/// Robots by id; only those after `after`, and of one tenant where it is given.
pub(crate) fn page(
    tx: &Connection,
    tenant: Option<&Tenant>,
    after: &str,
    limit: u32,
) -> Result<Vec<RobotRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM robots WHERE id > ?1 AND (?2 = '' OR tenant = ?2)
         ORDER BY id LIMIT ?3"
    );
    tx.prepare_cached(&sql)?.query_map((after, tenants::name(tenant), limit), robot)?.collect()
}

/// Every key that `robot` ever enrolled.
pub(crate) fn keys(tx: &Connection, robot: &RobotId) -> Result<Vec<VerifyingKey>, StoreError> {
    let mut find = tx.prepare_cached("SELECT key FROM device_keys WHERE robot = ?1")?;
    let keys = find.query_map([robot.as_str()], |row| typed(row, 0))?.collect::<Result<_, _>>()?;
    Ok(keys)
}

/// Every key of every robot, by the robot's name.
pub(crate) fn all_keys(tx: &Connection) -> Result<BTreeMap<String, Vec<VerifyingKey>>, StoreError> {
    let mut find = tx.prepare_cached("SELECT robot, key FROM device_keys")?;
    let rows = find.query_map([], |row| Ok((row.get(0)?, typed(row, 1)?)))?;
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in rows {
        let (robot, key) = row?;
        keys.entry(robot).or_default().push(key);
    }
    Ok(keys)
}

/// Every key that anybody ever enrolled.
#[cfg(test)]
pub(crate) fn every_key(tx: &Connection) -> Result<Vec<VerifyingKey>, StoreError> {
    let mut find = tx.prepare_cached("SELECT key FROM device_keys")?;
    find.query_map([], |row| typed(row, 0))?.collect()
}

/// Keeps a new claim code; only the hash of its secret.
pub(crate) fn add_claim_code(
    tx: &Connection,
    secret: &Digest,
    robot: &RobotId,
    expires_at: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO claim_codes (secret_hash, robot, expires_at) VALUES (?1, ?2, ?3)",
    )?
    .execute((secret.as_bytes(), robot.as_str(), expires_at.0))?;
    Ok(())
}

/// Uses a claim code up and says which robot it is for.
pub(crate) fn use_claim_code(
    tx: &Connection,
    secret: &Digest,
    now: WallMillis,
) -> Result<Result<RobotId, ClaimRefused>, StoreError> {
    let found = tx
        .prepare_cached(
            "SELECT robot, expires_at, used_at FROM claim_codes WHERE secret_hash = ?1",
        )?
        .query_row([secret.as_bytes()], |row| {
            Ok((typed(row, 0)?, row.get::<i64>(1)?, row.get::<Option<i64>>(2)?))
        })
        .optional()?;
    let Some((robot, expires_at, used_at)) = found else {
        return Ok(Err(ClaimRefused::Unknown));
    };
    if used_at.is_some() {
        return Ok(Err(ClaimRefused::Used));
    }
    if now.0 >= expires_at {
        return Ok(Err(ClaimRefused::Expired));
    }
    tx.prepare_cached("UPDATE claim_codes SET used_at = ?2 WHERE secret_hash = ?1")?
        .execute((secret.as_bytes(), now.0))?;
    Ok(Ok(robot))
}

/// Enrols `robot` with `key`, anew or again.
pub(crate) fn enrol(
    tx: &Connection,
    robot: &RobotId,
    key: &VerifyingKey,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO robots (id, device_key, enrolled_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET device_key = ?2, enrolled_at = ?3",
    )?
    .execute((robot.as_str(), key.to_string(), now.0))?;
    tx.prepare_cached(
        "INSERT INTO device_keys (robot, key_id, key, enrolled_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )?
    .execute((robot.as_str(), key.key_id().as_bytes(), key.to_string(), now.0))?;
    Ok(())
}

/// Notes a certificate that was made.
pub(crate) fn add_certificate(
    tx: &Connection,
    robot: &RobotId,
    issued: &Issued,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO certificates (serial, robot, issued_at, not_after) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((&issued.serial, robot.as_str(), now.0, issued.not_after.0))?;
    Ok(())
}

/// The robot is connected to `process`: the number of the connection, which is higher than that
/// of every other so far.
pub(crate) fn connected(
    tx: &Connection,
    robot: &RobotId,
    process: &str,
    now: WallMillis,
) -> Result<i64, StoreError> {
    let number = tx
        .prepare_cached(
            "UPDATE robots SET last_seen = ?2, process = ?3, connection = connection + 1
             WHERE id = ?1 RETURNING connection",
        )?
        .query_row((robot.as_str(), now.0, process), |row| row.get(0))?;
    tx.tell(News::Connected(robot.clone(), number));
    Ok(number)
}

/// The connection of that number ended.
pub(crate) fn disconnected(
    tx: &Connection,
    robot: &RobotId,
    number: i64,
    now: WallMillis,
) -> Result<(), StoreError> {
    seen(tx, robot, None, now)?;
    tx.prepare_cached("UPDATE robots SET process = NULL WHERE id = ?1 AND connection = ?2")?
        .execute((robot.as_str(), number))?;
    Ok(())
}

/// Every connection of `robot` so far is over, to whichever process; they hear `why`.
pub(crate) fn end_connections(
    tx: &Connection,
    robot: &RobotId,
    why: fn(RobotId, i64) -> News,
) -> Result<(), StoreError> {
    let number = tx
        .prepare_cached(
            "UPDATE robots SET connection = connection + 1 WHERE id = ?1 RETURNING connection",
        )?
        .query_row([robot.as_str()], |row| row.get(0))?;
    tx.tell(why(robot.clone(), number));
    Ok(())
}

/// The number that the connection of each robot has at least.
pub(crate) fn connections(tx: &Connection) -> Result<Vec<(RobotId, i64)>, StoreError> {
    let mut statement = tx.prepare_cached("SELECT id, connection FROM robots")?;
    statement.query_map([], |row| Ok((typed(row, 0)?, row.get(1)?)))?.collect()
}

/// The robot was heard of, and perhaps said how it is.
pub(crate) fn seen(
    tx: &Connection,
    robot: &RobotId,
    state: Option<&[u8]>,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE robots SET last_seen = ?2, state = coalesce(?3, state) WHERE id = ?1",
    )?
    .execute((robot.as_str(), now.0, state))?;
    Ok(())
}
