//! The audit trail: who called for which change, and what came of it. It is only added to; the
//! database itself refuses anything else.
//!
//! A call that changes something has its row in the transaction of its first change: there is no
//! change without its row, whenever the process dies. What was refused has a row of its own.

use super::{Connection, Row, StoreError};
use crate::access::Tenant;
use nooterra_protocol::time::WallMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    /// The call that this task answers, where it is one that changes something.
    static CALL: Arc<Call>;
}

/// Runs what answers `call`; what it writes has the call's row beside it.
pub(crate) async fn answering<F: Future>(call: Arc<Call>, work: F) -> F::Output {
    CALL.scope(call, work).await
}

/// The call that is being answered.
pub(crate) fn current() -> Option<Arc<Call>> {
    CALL.try_with(Arc::clone).ok()
}

/// Who calls for what.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) at: WallMillis,
    /// Its row is in a transaction, which may still fail.
    pub(crate) begun: AtomicBool,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) principal: String,
    pub(crate) request_id: String,
    pub(crate) route: &'static str,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) token: Option<String>,
    /// Its row is committed.
    pub(crate) written: AtomicBool,
}

/// A call as the trail has it.
#[derive(Clone, Debug)]
pub(crate) struct AuditRow {
    pub(crate) at: WallMillis,
    pub(crate) code: Option<String>,
    pub(crate) method: String,
    pub(crate) n: i64,
    pub(crate) outcome: String,
    pub(crate) path: String,
    pub(crate) principal: String,
    pub(crate) request_id: String,
    pub(crate) route: String,
    pub(crate) tenant: Option<String>,
    pub(crate) token: Option<String>,
}

/// Which rows; an empty text is any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) after: i64,
    pub(crate) limit: u32,
    pub(crate) outcome: String,
    pub(crate) principal: String,
    pub(crate) request_id: String,
    pub(crate) tenant: String,
}

impl Call {
    /// Adds its row to the transaction of its first change.
    pub(super) fn begin(&self, tx: &Connection) -> Result<(), StoreError> {
        if self.begun.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        add(tx, self, "done", None)
    }

    /// What became of that transaction.
    pub(super) fn ended(&self, committed: bool) {
        if committed {
            self.written.store(true, Ordering::SeqCst);
        } else if !self.written.load(Ordering::SeqCst) {
            self.begun.store(false, Ordering::SeqCst);
        }
    }
}

/// Adds a row.
pub(crate) fn add(
    tx: &Connection,
    call: &Call,
    outcome: &str,
    code: Option<&str>,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO audit (at, principal, token, tenant, request_id, method, route, path,
             outcome, code)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        call.at.0,
        &call.principal,
        call.token.as_deref(),
        call.tenant.as_ref().map(Tenant::as_str),
        &call.request_id,
        call.method,
        call.route,
        &call.path,
        outcome,
        code,
    ))?;
    Ok(())
}

/// Rows, oldest first.
pub(crate) fn page(tx: &Connection, filter: &Filter) -> Result<Vec<AuditRow>, StoreError> {
    let Filter { after, limit, outcome, principal, request_id, tenant } = filter;
    let rows = tx
        .prepare_cached(
            "SELECT at, code, method, n, outcome, path, principal, request_id, route, tenant, token
             FROM audit
             WHERE n > ?1 AND (?2 = '' OR outcome = ?2) AND (?3 = '' OR principal = ?3)
                 AND (?4 = '' OR request_id = ?4) AND (?5 = '' OR tenant = ?5)
             ORDER BY n LIMIT ?6",
        )?
        .query_map((*after, outcome, principal, request_id, tenant, *limit), row)?;
    rows.collect()
}

fn row(row: &Row<'_>) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        at: WallMillis(row.get(0)?),
        code: row.get(1)?,
        method: row.get(2)?,
        n: row.get(3)?,
        outcome: row.get(4)?,
        path: row.get(5)?,
        principal: row.get(6)?,
        request_id: row.get(7)?,
        route: row.get(8)?,
        tenant: row.get(9)?,
        token: row.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn call() -> Arc<Call> {
        Arc::new(Call {
            at: WallMillis(1),
            begun: AtomicBool::default(),
            method: "POST",
            path: "/v1/jobs".to_owned(),
            principal: "alice".to_owned(),
            request_id: "req_1".to_owned(),
            route: "/v1/jobs",
            tenant: None,
            token: None,
            written: AtomicBool::default(),
        })
    }

    #[tokio::test]
    async fn a_change_and_its_row_are_kept_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        let change = |fails: bool| {
            let store = store.clone();
            async move {
                store
                    .write(move |tx| {
                        tx.execute("UPDATE counters SET value = value + 1", [])?;
                        if fails { Err(StoreError::Stopping) } else { Ok(()) }
                    })
                    .await
            }
        };
        let seen = || {
            let count = |sql: &str| store.with(|tx| tx.query_row(sql, [], |r| r.get::<i64>(0)));
            let rows = count("SELECT count(*) FROM audit").unwrap();
            (count("SELECT value FROM counters").unwrap(), rows)
        };
        // Outside of a call nothing is added.
        change(false).await.unwrap();
        assert_eq!(seen(), (1, 0));
        let call = call();
        answering(call.clone(), async {
            assert!(change(true).await.is_err());
            assert_eq!(seen(), (1, 0));
            assert!(!call.written.load(Ordering::SeqCst));
            // One row, however many changes.
            change(false).await.unwrap();
            change(false).await.unwrap();
            assert!(change(true).await.is_err());
        })
        .await;
        assert_eq!(seen(), (3, 1));
        assert!(call.written.load(Ordering::SeqCst));
    }

    #[test]
    fn the_database_refuses_to_change_or_remove_a_row() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.sqlite")).unwrap();
        store.with(|tx| add(tx, &call(), "done", None)).unwrap();
        for sql in ["UPDATE audit SET outcome = 'x'", "DELETE FROM audit"] {
            let refused = store.attempt(|tx| tx.execute(sql, []));
            assert!(refused.unwrap_err().to_string().contains("only added to"), "{sql}");
        }
        let rows = store.with(|tx| page(tx, &Filter { limit: 9, ..Filter::default() })).unwrap();
        assert_eq!((rows.len(), rows[0].outcome.as_str()), (1, "done"));
    }
}
