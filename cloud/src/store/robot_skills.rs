//! Which versions of skills robots have, as they said last: rows that are made of the records in
//! which robots say so, by [`crate::skill_registry::reported`].

use super::{Connection, OptionalExtension as _, Row, StoreError, typed};
use crate::access::Tenant;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::{RobotId, SkillId};
use nooterra_protocol::time::WallMillis;

/// How a version that is on a robot stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Held {
    /// It has proven itself, and ran last.
    Active,
    /// It was active before the one that is.
    Before,
    /// It is there and has not proven itself.
    OnTrial,
}

impl Held {
    const ALL: [Self; 3] = [Self::Active, Self::Before, Self::OnTrial];

    /// Its word in the store and on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Before => "before",
            Self::OnTrial => "on_trial",
        }
    }
}

/// A record in which a robot says what became of a version.
#[derive(Debug)]
pub(crate) struct SaidRow {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cursor: i64,
    pub(crate) received_at: WallMillis,
}

/// A robot, and whether it has a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RobotRow {
    /// Since when that is known, too.
    pub(crate) held: Option<(Held, WallMillis)>,
    pub(crate) id: RobotId,
    pub(crate) tenant: Tenant,
}

/// The cursor up to which the robot's records were read; none where it is not enrolled.
pub(crate) fn read_through(tx: &Connection, robot: &RobotId) -> Result<Option<i64>, StoreError> {
    let mut find = tx.prepare_cached("SELECT skills_through FROM robots WHERE id = ?1")?;
    find.query_row([robot.as_str()], |row| row.get(0)).optional()
}

/// Its records were read up to this cursor.
pub(crate) fn set_read_through(
    tx: &Connection,
    robot: &RobotId,
    cursor: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE robots SET skills_through = ?2 WHERE id = ?1")?
        .execute((robot.as_str(), cursor))?;
    Ok(())
}

/// Robots of which records were not read.
pub(crate) fn unread(tx: &Connection) -> Result<Vec<RobotId>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT id FROM robots WHERE EXISTS (SELECT 1 FROM records
             WHERE robot = robots.id AND kind = 'skill_install' AND cursor > robots.skills_through)
         ORDER BY id",
    )?;
    find.query_map([], |row| typed(row, 0))?.collect()
}

/// What a robot said after a cursor, in the order in which it came.
pub(crate) fn said(
    tx: &Connection,
    robot: &RobotId,
    after: i64,
    limit: u32,
) -> Result<Vec<SaidRow>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT cursor, bytes, received_at FROM records
         WHERE robot = ?1 AND kind = 'skill_install' AND cursor > ?2 ORDER BY cursor LIMIT ?3",
    )?;
    let rows = find.query_map((robot.as_str(), after, limit), |row| {
        let received_at = WallMillis(row.get(2)?);
        Ok(SaidRow { bytes: row.get(1)?, cursor: row.get(0)?, received_at })
    })?;
    rows.collect()
}

/// A version is on a robot, by this record.
pub(crate) fn put(
    tx: &Connection,
    robot: &RobotId,
    (skill, bundle, held): (&SkillId, &Digest, Held),
    said: &SaidRow,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO robot_skills (robot, digest, skill, state, cursor, reported_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (robot, digest) DO UPDATE SET
             skill = excluded.skill, state = excluded.state, cursor = excluded.cursor,
             reported_at = excluded.reported_at",
    )?
    .execute((
        robot.as_str(),
        bundle.as_bytes(),
        skill.as_str(),
        held.name(),
        said.cursor,
        said.received_at.0,
    ))?;
    Ok(())
}

/// What was active of a skill is what was before.
pub(crate) fn set_back(
    tx: &Connection,
    robot: &RobotId,
    skill: &SkillId,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE robot_skills SET state = 'before'
         WHERE robot = ?1 AND skill = ?2 AND state = 'active'",
    )?
    .execute([robot.as_str(), skill.as_str()])?;
    Ok(())
}

/// A version is on a robot no longer.
pub(crate) fn remove(tx: &Connection, robot: &RobotId, bundle: &Digest) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM robot_skills WHERE robot = ?1 AND digest = ?2")?
        .execute((robot.as_str(), bundle.as_bytes()))?;
    Ok(())
}

/// None is.
pub(crate) fn clear(tx: &Connection, robot: &RobotId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM robot_skills WHERE robot = ?1")?.execute([robot.as_str()])?;
    Ok(())
}

/// Keeps the versions of a robot that were told of last, at most so many.
pub(crate) fn keep_newest(tx: &Connection, robot: &RobotId, most: u32) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM robot_skills WHERE robot = ?1 AND cursor <= (
             SELECT cursor FROM robot_skills WHERE robot = ?1
             ORDER BY cursor DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute((robot.as_str(), most))?;
    Ok(())
}

/// Of no robot anything is known, and nothing was read.
pub(crate) fn forget(tx: &Connection) -> Result<(), StoreError> {
    tx.execute("DELETE FROM robot_skills", [])?;
    tx.execute("UPDATE robots SET skills_through = 0", [])?;
    Ok(())
}

/// Robots by id, whether they have the version or not; only those after `after`, and of one
/// tenant where it is given.
pub(crate) fn page(
    tx: &Connection,
    tenant: Option<&Tenant>,
    bundle: &Digest,
    after: &str,
    limit: u32,
) -> Result<Vec<RobotRow>, StoreError> {
    let read = |row: &Row<'_>| {
        let (state, at): (Option<String>, Option<i64>) = (row.get(2)?, row.get(3)?);
        let held = state.zip(at).map(|(state, at)| {
            let held = Held::ALL.into_iter().find(|held| held.name() == state);
            let held = held.ok_or_else(|| StoreError::damaged("a robot's version", state))?;
            Ok::<_, StoreError>((held, WallMillis(at)))
        });
        Ok(RobotRow { held: held.transpose()?, id: typed(row, 0)?, tenant: typed(row, 1)? })
    };
    match tenant {
        Some(tenant) => {
            let of = (bundle.as_bytes(), after, limit, tenant.as_str());
            tx.prepare_cached(PAGE_OF_TENANT)?.query_map(of, read)?.collect()
        }
        None => tx
            .prepare_cached(
                "SELECT robots.id, robots.tenant, held.state, held.reported_at FROM robots
                 LEFT JOIN robot_skills AS held ON held.robot = robots.id AND held.digest = ?1
                 WHERE robots.id > ?2 ORDER BY robots.id LIMIT ?3",
            )?
            .query_map((bundle.as_bytes(), after, limit), read)?
            .collect(),
    }
}

/// A statement of its own: only so are the robots of others not read.
const PAGE_OF_TENANT: &str =
    "SELECT robots.id, robots.tenant, held.state, held.reported_at FROM robots
     LEFT JOIN robot_skills AS held ON held.robot = robots.id AND held.digest = ?1
     WHERE robots.tenant = ?4 AND robots.id > ?2 ORDER BY robots.id LIMIT ?3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_tenant_no_robot_of_another_is_read() {
        let tx = crate::store::in_memory().unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {PAGE_OF_TENANT}");
        let mut statement = tx.prepare_cached(&plan).unwrap();
        let of = ([0_u8; 32].as_slice(), "", 1_u32, "acme");
        let rows = statement.query_map(of, |row| row.get::<String>(3)).unwrap();
        let steps: Vec<_> = rows.map(Result::unwrap).collect();
        let by_index =
            |it: &String| it.contains("robots USING") && it.contains("(tenant=? AND id>?)");
        assert!(steps.iter().any(by_index), "{steps:?}");
        assert!(!steps.iter().any(|it| it.contains("TEMP B-TREE")), "{steps:?}");
    }
}
