//! Jobs for which time may bring something: those in execution, and those whose access is over.

use super::jobs::{JobRow, UNDER_WAY, find};
use super::{Connection, StoreError, typed};
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::WallMillis;

/// All of them, oldest first. There are about as many as robots at work.
pub(crate) fn all(tx: &Connection, now: WallMillis) -> Result<Vec<JobRow>, StoreError> {
    let sql = of_them();
    let mut statement = tx.prepare_cached(&sql)?;
    let ids = statement.query_map([now.0], |row| typed::<JobId>(row, 0))?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids {
        jobs.extend(find(tx, &id)?);
    }
    Ok(jobs)
}

/// For the index the first condition, which follows from the second.
fn of_them() -> String {
    format!(
        "SELECT id FROM jobs WHERE {UNDER_WAY} AND state IN ('EXECUTING', 'ASSISTED', 'STALLED')
         UNION SELECT id FROM jobs WHERE access_until IS NOT NULL AND access_until <= ?1"
    )
}

/// Jobs that were projected by a release that did not keep all of what is kept now.
pub(crate) fn incomplete(tx: &Connection) -> Result<Vec<JobId>, StoreError> {
    let mut statement = tx.prepare_cached("SELECT id FROM jobs WHERE care IS NULL ORDER BY n")?;
    statement.query_map([], |row| typed(row, 0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_are_over_are_not_read_to_find_those_that_are_watched() {
        let tx = crate::store::in_memory().unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {}", of_them());
        let mut statement = tx.prepare_cached(&plan).unwrap();
        let rows = statement.query_map([0_i64], |row| row.get::<String>(3)).unwrap();
        let steps: Vec<_> = rows.map(Result::unwrap).collect();
        for index in ["jobs_under_way", "jobs_with_access"] {
            let by_index = format!("SEARCH jobs USING INDEX {index}");
            assert!(steps.iter().any(|step| step.starts_with(&by_index)), "{steps:?}");
        }
    }
}
