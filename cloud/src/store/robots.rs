//! Robots, their keys, claim codes and certificates.

use super::{Connection, News, OptionalExtension as _, Row, StoreError, tenants, typed};
use crate::access::Tenant;
use crate::ca::{Issued, Refused};
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

/// Notes a certificate that was made over `key`.
pub(crate) fn add_certificate(
    tx: &Connection,
    robot: &RobotId,
    key: &VerifyingKey,
    issued: &Issued,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO certificates (serial, robot, device_key, issued_at, not_after)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((&issued.serial, robot.as_str(), key.to_string(), now.0, issued.not_after.0))?;
    Ok(())
}

/// Certificates that are good by their date and open nothing here, by serial number: as
/// [`standings::admission`](super::standings::admission) has it, the robot is revoked, or the key
/// is, or it is not the one that is enrolled. Of those whose key nobody noted, what was made
/// before the robot enrolled last or had a key revoked.
pub(crate) fn refused_certificates(
    tx: &Connection,
    now: WallMillis,
) -> Result<Vec<Refused>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT c.serial, coalesce(k.revoked_at, s.since, r.enrolled_at)
         FROM certificates AS c
         JOIN robots AS r ON r.id = c.robot
         LEFT JOIN standings AS s ON s.robot = c.robot AND s.state = 'revoked'
         LEFT JOIN revoked_keys AS k ON k.device_key = c.device_key
         WHERE c.not_after > ?1 AND (
             s.robot IS NOT NULL OR k.device_key IS NOT NULL OR c.device_key <> r.device_key
             OR (c.device_key IS NULL AND (c.issued_at < r.enrolled_at OR EXISTS (
                 SELECT 1 FROM revoked_keys AS old
                 WHERE old.robot = c.robot AND old.revoked_at >= c.issued_at))))
         ORDER BY c.serial",
    )?;
    let rows = find.query_map([now.0], |row| {
        Ok(Refused { at: WallMillis(row.get(1)?), serial: row.get(0)? })
    })?;
    rows.collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Standing;
    use crate::store::in_memory;
    use crate::store::standings::{self, StandingRow};
    use nooterra_protocol::keys::{Es256Key, Signer as _};

    /// A store with a robot that enrolled with `key` at 1, and a certificate over it.
    fn enrolled(tx: &Connection, name: &str, key: &VerifyingKey, serial: &str) -> RobotId {
        let robot = RobotId::new(name).unwrap();
        enrol(tx, &robot, key, WallMillis(1)).unwrap();
        certificate(tx, &robot, key, serial, 1);
        robot
    }

    fn certificate(tx: &Connection, robot: &RobotId, key: &VerifyingKey, serial: &str, at: i64) {
        let (not_after, pem) = (WallMillis(100), String::new());
        let issued = Issued { not_after, pem, serial: serial.to_owned() };
        add_certificate(tx, robot, key, &issued, WallMillis(at)).unwrap();
    }

    fn keys<const N: usize>() -> [VerifyingKey; N] {
        std::array::from_fn(|at| {
            let seed = [u8::try_from(at + 1).unwrap(); 32];
            Es256Key::from_seed(seed).unwrap().verifying_key()
        })
    }

    fn refused(tx: &Connection, now: i64) -> Vec<(String, i64)> {
        let all = refused_certificates(tx, WallMillis(now)).unwrap();
        all.into_iter().map(|it| (it.serial, it.at.0)).collect()
    }

    #[test]
    fn certificates_are_refused_whose_key_is_closed_or_replaced_until_they_end() {
        let tx = in_memory().unwrap();
        let [lost, newer, replaced, next, good] = keys();
        let robot = enrolled(&tx, "lost", &lost, "01");
        let other = enrolled(&tx, "replaced", &replaced, "02");
        let fine = enrolled(&tx, "good", &good, "03");
        certificate(&tx, &fine, &good, "04", 7);
        assert_eq!(refused(&tx, 10), []);
        let revoked = StandingRow {
            reason: "stolen".to_owned(),
            since: WallMillis(5),
            standing: Standing::Revoked,
        };
        standings::set(&tx, &robot, &revoked).unwrap();
        standings::revoke_key(&tx, &lost, &robot, "stolen", WallMillis(5)).unwrap();
        enrol(&tx, &other, &next, WallMillis(6)).unwrap();
        certificate(&tx, &other, &next, "05", 6);
        let both = [("01".to_owned(), 5), ("02".to_owned(), 6)];
        assert_eq!(refused(&tx, 10), both);
        // By another key it is let in again, and by the closed one it is not.
        let served = StandingRow { standing: Standing::InService, ..revoked };
        standings::set(&tx, &robot, &served).unwrap();
        enrol(&tx, &robot, &newer, WallMillis(7)).unwrap();
        certificate(&tx, &robot, &newer, "06", 7);
        assert_eq!(refused(&tx, 99), both);
        assert_eq!(refused(&tx, 100), []);
    }

    #[test]
    fn a_certificate_whose_key_nobody_noted_is_judged_by_when_it_was_made() {
        let tx = in_memory().unwrap();
        let [lost, newer, good] = keys();
        let robot = enrolled(&tx, "lost", &lost, "01");
        enrolled(&tx, "good", &good, "02");
        standings::revoke_key(&tx, &lost, &robot, "stolen", WallMillis(5)).unwrap();
        enrol(&tx, &robot, &newer, WallMillis(6)).unwrap();
        certificate(&tx, &robot, &newer, "03", 6);
        tx.execute("UPDATE certificates SET device_key = NULL", []).unwrap();
        assert_eq!(refused(&tx, 10), [("01".to_owned(), 6)]);
    }
}
