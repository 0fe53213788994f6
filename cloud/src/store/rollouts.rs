//! Roll-outs, and the jobs that were given the versions that they bring.

use super::registry::{parse, written};
use super::{Connection, OptionalExtension as _, Row, StoreError, digest, tenants, typed};
use crate::access::Tenant;
use crate::skill_registry::rollout::{Rollout, Tally};
use nooterra_protocol::ids::{JobId, RobotId, SkillId};
use nooterra_protocol::time::WallMillis;

/// A job that was given the version of a roll-out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GivenRow {
    pub(crate) given_at: WallMillis,
    pub(crate) job: JobId,
    pub(crate) judged_at: Option<WallMillis>,
    /// Grows with each; what pages go on from.
    pub(crate) n: i64,
    /// `open`, `succeeded`, `failed` or `withdrawn`.
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    /// The robot's, when the version was given.
    pub(crate) ring: String,
    pub(crate) robot: RobotId,
    pub(crate) rollout: String,
}

const COLUMNS: &str = "id, skill, target, baseline, stages, state, stage, epoch, opened_at, reason,
    created_at, updated_at, tenant";

const GIVEN: &str = "n, rollout, job, robot, ring, given_at, outcome, reason, judged_at";

/// Begins a roll-out.
pub(crate) fn add(tx: &Connection, it: &Rollout) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO rollouts (id, skill, target, baseline, stages, reason, created_at, state,
             stage, epoch, opened_at, updated_at, tenant)
         VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, 'rolling', 0, 0, ?6, ?6, ?7)",
    )?
    .execute((
        &it.id,
        it.skill.as_str(),
        it.target.as_bytes(),
        it.baseline.as_ref().map(|digest| digest.as_bytes().to_vec()),
        written("the rings of a roll-out", &it.stages)?,
        it.created_at.0,
        it.tenant.as_str(),
    ))?;
    keep(tx, it)
}

/// Keeps what a step changed.
pub(crate) fn keep(tx: &Connection, it: &Rollout) -> Result<(), StoreError> {
    let stage = i64::try_from(it.stage).unwrap_or(i64::MAX);
    tx.prepare_cached(
        "UPDATE rollouts SET state = ?2, stage = ?3, epoch = ?4, opened_at = ?5, reason = ?6,
             updated_at = ?7 WHERE id = ?1",
    )?
    .execute((
        &it.id,
        it.state.name(),
        stage,
        it.epoch,
        it.opened_at.0,
        &it.reason,
        it.updated_at.0,
    ))?;
    Ok(())
}

/// One roll-out.
pub(crate) fn find(tx: &Connection, id: &str) -> Result<Option<Rollout>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM rollouts WHERE id = ?1");
    tx.prepare_cached(&sql)?.query_row([id], |row| rollout(row, 0)).optional()
}

/// A tenant's one of a skill that is not over, if there is one.
pub(crate) fn unfinished(
    tx: &Connection,
    tenant: &Tenant,
    skill: &SkillId,
) -> Result<Option<Rollout>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM rollouts
         WHERE tenant = ?1 AND skill = ?2 AND state IN ('rolling', 'paused')
         ORDER BY n DESC LIMIT 1"
    );
    let of = [tenant.as_str(), skill.as_str()];
    tx.prepare_cached(&sql)?.query_row(of, |row| rollout(row, 0)).optional()
}

/// Whether there is anything that time alone could change.
pub(crate) fn any_waits(tx: &Connection) -> Result<bool, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM rollouts WHERE state IN ('rolling', 'paused'))
             OR EXISTS (SELECT 1 FROM rollout_jobs WHERE outcome = 'open')",
    )?;
    find.query_row([], |row| row.get(0))
}

/// All that are not over, oldest first.
pub(crate) fn all_unfinished(tx: &Connection) -> Result<Vec<Rollout>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM rollouts WHERE state IN ('rolling', 'paused') ORDER BY n");
    tx.prepare_cached(&sql)?.query_map([], |row| rollout(row, 0))?.collect()
}

/// The newest first, each with its number; only those before the number `before`, and of one
/// tenant where it is given.
pub(crate) fn newest(
    tx: &Connection,
    tenant: Option<&Tenant>,
    before: i64,
    skill: Option<&str>,
    limit: u32,
) -> Result<Vec<(i64, Rollout)>, StoreError> {
    let sql = format!(
        "SELECT n, {COLUMNS} FROM rollouts WHERE n < ?1 AND (skill = ?2 OR ?2 IS NULL)
             AND (?3 = '' OR tenant = ?3)
         ORDER BY n DESC LIMIT ?4"
    );
    let mut find = tx.prepare_cached(&sql)?;
    let of = (before, skill, tenants::name(tenant), limit);
    find.query_map(of, |row| Ok((row.get(0)?, rollout(row, 1)?)))?.collect()
}

/// A job is given the version of a roll-out. A failure that is known of it stays one.
pub(crate) fn give(tx: &Connection, given: &GivenRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO rollout_jobs (rollout, job, robot, ring, given_at, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, 'open')
         ON CONFLICT (rollout, job) DO UPDATE SET robot = excluded.robot, ring = excluded.ring,
             given_at = excluded.given_at, outcome = 'open', reason = NULL, epoch = NULL,
             judged_at = NULL
         WHERE rollout_jobs.outcome <> 'failed'",
    )?
    .execute((
        &given.rollout,
        given.job.as_str(),
        given.robot.as_str(),
        &given.ring,
        given.given_at.0,
    ))?;
    Ok(())
}

/// What came of a job.
pub(crate) fn judge(
    tx: &Connection,
    given: &GivenRow,
    outcome: &str,
    reason: Option<&str>,
    epoch: u32,
    now: WallMillis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE rollout_jobs SET outcome = ?2, reason = ?3, epoch = ?4, judged_at = ?5
         WHERE n = ?1",
    )?
    .execute((given.n, outcome, reason, epoch, now.0))?;
    Ok(())
}

/// What is not known yet: of a robot, or of all.
pub(crate) fn open(tx: &Connection, robot: Option<&RobotId>) -> Result<Vec<GivenRow>, StoreError> {
    let sql = format!(
        "SELECT {GIVEN} FROM rollout_jobs
         WHERE outcome = 'open' AND (robot = ?1 OR ?1 IS NULL) ORDER BY n"
    );
    let mut find = tx.prepare_cached(&sql)?;
    find.query_map([robot.map(RobotId::as_str)], given)?.collect()
}

/// What a job was given.
pub(crate) fn of_job(tx: &Connection, job: &JobId) -> Result<Vec<GivenRow>, StoreError> {
    let sql = format!("SELECT {GIVEN} FROM rollout_jobs WHERE job = ?1 ORDER BY n");
    let mut find = tx.prepare_cached(&sql)?;
    find.query_map([job.as_str()], given)?.collect()
}

/// The jobs of a roll-out after the number `after`, oldest first.
pub(crate) fn jobs(
    tx: &Connection,
    id: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<GivenRow>, StoreError> {
    let sql = format!(
        "SELECT {GIVEN} FROM rollout_jobs WHERE rollout = ?1 AND n > ?2 ORDER BY n LIMIT ?3"
    );
    let mut find = tx.prepare_cached(&sql)?;
    find.query_map((id, after, limit), given)?.collect()
}

/// What was heard in the roll-out's epoch.
pub(crate) fn tally(tx: &Connection, it: &Rollout) -> Result<Tally, StoreError> {
    let ring = it.watched().map_or("", |stage| stage.ring.as_str());
    let count = |row: &Row<'_>, column| {
        let number: i64 = row.get(column)?;
        Ok::<_, StoreError>(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let failed = tx
        .prepare_cached(
            "SELECT count(*) FROM rollout_jobs
             WHERE rollout = ?1 AND epoch = ?2 AND outcome = 'failed'",
        )?
        .query_row((&it.id, it.epoch), |row| count(row, 0))?;
    let (succeeded, robots) = tx
        .prepare_cached(
            "SELECT count(*), count(DISTINCT robot) FROM rollout_jobs
             WHERE rollout = ?1 AND epoch = ?2 AND outcome = 'succeeded' AND ring = ?3",
        )?
        .query_row((&it.id, it.epoch, ring), |row| Ok((count(row, 0)?, count(row, 1)?)))?;
    Ok(Tally { failed, robots, succeeded })
}

fn rollout(row: &Row<'_>, from: usize) -> Result<Rollout, StoreError> {
    let whole = |column: usize| -> Result<i64, StoreError> { row.get(from + column) };
    let stages: String = row.get(from + 4)?;
    let baseline: Option<Vec<u8>> = row.get(from + 3)?;
    let baseline = match baseline {
        Some(_) => Some(digest(row, from + 3)?),
        None => None,
    };
    let damaged = |what| StoreError::damaged("a roll-out", what);
    Ok(Rollout {
        id: row.get(from)?,
        skill: typed(row, from + 1)?,
        target: digest(row, from + 2)?,
        baseline,
        stages: parse("the rings of a roll-out", &stages)?,
        state: typed(row, from + 5)?,
        stage: usize::try_from(whole(6)?).map_err(|_| damaged("its ring"))?,
        epoch: u32::try_from(whole(7)?).map_err(|_| damaged("its epoch"))?,
        opened_at: WallMillis(whole(8)?),
        reason: row.get(from + 9)?,
        created_at: WallMillis(whole(10)?),
        updated_at: WallMillis(whole(11)?),
        tenant: typed(row, from + 12)?,
    })
}

fn given(row: &Row<'_>) -> Result<GivenRow, StoreError> {
    Ok(GivenRow {
        n: row.get(0)?,
        rollout: row.get(1)?,
        job: typed(row, 2)?,
        robot: typed(row, 3)?,
        ring: row.get(4)?,
        given_at: WallMillis(row.get(5)?),
        outcome: row.get(6)?,
        reason: row.get(7)?,
        judged_at: row.get::<Option<i64>>(8)?.map(WallMillis),
    })
}
