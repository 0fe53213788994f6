//! Jobs for which time may bring something: those in execution, and those whose access is over.

use super::jobs::{JobRow, find};
use super::{Connection, StoreError, typed};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::WallMillis;

/// All of them, oldest first. There are about as many as robots at work.
pub(crate) fn all(tx: &Connection, now: WallMillis) -> Result<Vec<JobRow>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT id FROM jobs WHERE state IN ('EXECUTING', 'ASSISTED', 'STALLED')
         UNION SELECT id FROM jobs WHERE access_until IS NOT NULL AND access_until <= ?1",
    )?;
    let ids = statement.query_map([now.0], |row| typed::<JobId>(row, 0))?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids {
        jobs.extend(find(tx, &id)?);
    }
    Ok(jobs)
}

/// Jobs that were projected by a release that did not keep all of what is kept now.
pub(crate) fn incomplete(tx: &Connection) -> Result<Vec<JobId>, StoreError> {
    let mut statement = tx.prepare_cached("SELECT id FROM jobs WHERE care IS NULL ORDER BY n")?;
    statement.query_map([], |row| typed(row, 0))?.collect()
}
