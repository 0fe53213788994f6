//! Subscribers, how far each was told, and what it could not be told.

use super::{Connection, News, OptionalExtension as _, Row, StoreError};
use crate::access::Tenant;
use crate::store::jobs::{self, FactRow, Feed};
use crate::webhooks::{TRIES, wait};
use nooterra_protocol::time::WallMillis;
use std::collections::HashMap;

/// Facts that are looked through at once for the next of a subscriber's types.
const AHEAD: u32 = 64;

/// A subscriber.
#[derive(Clone, Debug)]
pub(crate) struct WebhookRow {
    pub(crate) attempts: i64,
    pub(crate) dead: i64,
    pub(crate) ended_at: Option<WallMillis>,
    pub(crate) error: Option<String>,
    pub(crate) id: String,
    pub(crate) made_at: WallMillis,
    pub(crate) made_by: String,
    pub(crate) position: i64,
    pub(crate) tenant: Option<Tenant>,
    /// Separated by blanks; empty for all.
    pub(crate) types: String,
    pub(crate) url: String,
}

/// A subscriber that may be told something now.
#[derive(Clone)]
pub(crate) struct Due {
    pub(crate) id: String,
    /// It took the last call soon.
    pub(crate) prompt: bool,
    pub(crate) secret: String,
    /// Whose it is; empty for who reaches all.
    pub(crate) tenant: String,
    pub(crate) url: String,
}

/// A try that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    /// It was a dead letter that is sent anew.
    pub(crate) anew: bool,
    pub(crate) error: String,
    pub(crate) now: WallMillis,
    pub(crate) position: i64,
}

/// A try that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// It was a dead letter that is sent anew.
    pub(crate) anew: bool,
    pub(crate) position: i64,
    /// It was answered soon.
    pub(crate) prompt: bool,
}

/// An event of which a subscriber could not be told.
#[derive(Clone, Debug)]
pub(crate) struct LetterRow {
    pub(crate) attempts: i64,
    pub(crate) died_at: WallMillis,
    pub(crate) error: String,
    pub(crate) position: i64,
    pub(crate) state: String,
}

const COLUMNS: &str = "id, tenant, url, types, made_at, made_by, position, attempts, error,
    ended_at, (SELECT count(*) FROM dead_letters WHERE webhook = webhooks.id)";

/// Keeps a subscriber, which is told what comes after `position`, or after now without.
pub(crate) fn add(
    tx: &Connection,
    row: &WebhookRow,
    secret: &str,
    position: Option<i64>,
) -> Result<(), StoreError> {
    let last = jobs::count(tx)?;
    tx.prepare_cached(
        "INSERT INTO webhooks (id, tenant, url, types, secret, made_at, made_by, position)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute((
        &row.id,
        row.tenant.as_ref().map(Tenant::as_str),
        &row.url,
        &row.types,
        secret,
        row.made_at.0,
        &row.made_by,
        position.map_or(last, |position| position.clamp(0, last)),
    ))?;
    tx.tell(News::Events);
    Ok(())
}

/// Subscribers that were not ended, of one tenant where it is given.
pub(crate) fn standing(tx: &Connection, tenant: Option<&Tenant>) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "SELECT count(*) FROM webhooks WHERE ended_at IS NULL AND coalesce(tenant, '') = ?1",
    )?
    .query_row([tenant.map_or("", Tenant::as_str)], |row| row.get(0))
}

/// Subscribers in the order in which they were made; of one tenant where it is given.
pub(crate) fn all(tx: &Connection, tenant: Option<&Tenant>) -> Result<Vec<WebhookRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE ?1 = '' OR tenant = ?1 ORDER BY n");
    let mut find = tx.prepare_cached(&sql)?;
    find.query_map([tenant.map_or("", Tenant::as_str)], webhook)?.collect()
}

/// One subscriber; for a caller of one tenant, that tenant's only.
pub(crate) fn find(
    tx: &Connection,
    tenant: Option<&Tenant>,
    id: &str,
) -> Result<Option<WebhookRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE id = ?1 AND (?2 = '' OR tenant = ?2)");
    let mut find = tx.prepare_cached(&sql)?;
    find.query_row((id, tenant.map_or("", Tenant::as_str)), webhook).optional()
}

/// Ends a subscriber; what was ended stays so.
pub(crate) fn end(tx: &Connection, id: &str, now: WallMillis) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE webhooks SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL")?
        .execute((id, now.0))?;
    Ok(())
}

/// What a subscriber could not be told, in order.
pub(crate) fn letters(
    tx: &Connection,
    id: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<LetterRow>, StoreError> {
    let mut find = tx.prepare_cached(
        "SELECT attempts, died_at, error, position, state FROM dead_letters
         WHERE webhook = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
    )?;
    let rows = find.query_map((id, after, limit), |row| {
        Ok(LetterRow {
            attempts: row.get(0)?,
            died_at: WallMillis(row.get(1)?),
            error: row.get(2)?,
            position: row.get(3)?,
            state: row.get(4)?,
        })
    });
    rows?.collect()
}

/// Sends dead letters anew, all or the one at a position; how many.
pub(crate) fn redeliver(
    tx: &Connection,
    id: &str,
    position: Option<i64>,
) -> Result<usize, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE dead_letters SET state = 'waiting'
             WHERE webhook = ?1 AND state = 'dead' AND position BETWEEN ?2 AND ?3",
        )?
        .execute((id, position.unwrap_or(0), position.unwrap_or(i64::MAX)))?;
    if changed > 0 {
        tx.prepare_cached("UPDATE webhooks SET attempts = 0, next_at = 0 WHERE id = ?1")?
            .execute([id])?;
        tx.tell(News::Events);
    }
    Ok(changed)
}

/// There are subscribers.
pub(crate) fn any(tx: &Connection) -> Result<bool, StoreError> {
    tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM webhooks WHERE ended_at IS NULL)")?
        .query_row([], |row| row.get(0))
}

/// Whether this process may take a subscriber: nobody has it, or who had it took too long or is
/// gone. On a file there is no other process.
fn is_free(holder: Option<&str>, until: i64, now: WallMillis, me: &str, live: &[String]) -> bool {
    let Some(holder) = holder else { return true };
    holder == me || until <= now.0 || !live.iter().any(|process| process == holder)
}

/// Subscribers for whom there is something, whose wait is over, and whom no other process holds;
/// who waits longest first. Of each tenant at most `each` that are prompt and as many others.
pub(crate) fn due(
    tx: &Connection,
    me: &str,
    now: WallMillis,
    each: usize,
) -> Result<Vec<Due>, StoreError> {
    let last = jobs::count(tx)?;
    let live = tx.processes()?;
    let mut find = tx.prepare_cached(
        "SELECT id, secret, url, holder, held_until, coalesce(tenant, ''), prompt FROM webhooks
         WHERE ended_at IS NULL AND next_at <= ?1
             AND (position < ?2 OR EXISTS (SELECT 1 FROM dead_letters
                 WHERE webhook = webhooks.id AND state = 'waiting'))
         ORDER BY turn, n",
    )?;
    let rows = find.query_map((now.0, last), |row| {
        let holder: Option<String> = row.get(3)?;
        let free = is_free(holder.as_deref(), row.get(4)?, now, me, &live);
        let (id, secret, url) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(free.then_some(Due { id, prompt: row.get(6)?, secret, tenant: row.get(5)?, url }))
    });
    let mut of: HashMap<(bool, String), usize> = HashMap::new();
    let mut has_turn = |due: &Due| {
        let count = of.entry((due.prompt, due.tenant.clone())).or_default();
        *count += 1;
        *count <= each
    };
    let free = rows?.filter_map(Result::transpose);
    free.filter(|due| due.as_ref().map_or(true, &mut has_turn)).collect()
}

/// Takes a subscriber for this process; moves it past events that are none of its types, so that
/// they are not looked through again. `false` where another process holds it.
pub(crate) fn hold(
    tx: &Connection,
    id: &str,
    me: &str,
    now: WallMillis,
    until: WallMillis,
) -> Result<bool, StoreError> {
    let found: Option<(Option<String>, i64)> = tx
        .prepare_cached(
            "SELECT holder, held_until FROM webhooks WHERE id = ?1 AND ended_at IS NULL",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((holder, before)) = found else { return Ok(false) };
    if !is_free(holder.as_deref(), before, now, me, &tx.processes()?) {
        return Ok(false);
    }
    tx.prepare_cached("UPDATE webhooks SET holder = ?2, held_until = ?3 WHERE id = ?1")?
        .execute((id, me, until.0))?;
    if let (_, Ahead::Nothing(through)) = ahead(tx, id)? {
        tx.prepare_cached("UPDATE webhooks SET position = ?2 WHERE id = ?1")?
            .execute((id, through))?;
    }
    Ok(true)
}

/// This process is done with it for now: others have their turn before it has another.
pub(crate) fn release(tx: &Connection, id: &str, me: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE webhooks SET holder = NULL, held_until = 0,
             turn = (SELECT max(turn) + 1 FROM webhooks)
         WHERE id = ?1 AND holder = ?2",
    )?
    .execute((id, me))?;
    Ok(())
}

/// What is next for a subscriber, and whether it is a dead letter that is sent anew.
pub(crate) fn next(tx: &Connection, id: &str) -> Result<Option<(FactRow, bool)>, StoreError> {
    let waiting: Option<i64> = tx
        .prepare_cached(
            "SELECT min(position) FROM dead_letters WHERE webhook = ?1 AND state = 'waiting'",
        )?
        .query_row([id], |row| row.get(0))?;
    if let Some(position) = waiting {
        let feed = Feed { after: position - 1, kind: None, limit: 1, stream: None, tenant: None };
        let found = jobs::feed(tx, &feed)?.into_iter().next();
        return Ok(found.filter(|fact| fact.position == position).map(|fact| (fact, true)));
    }
    Ok(match ahead(tx, id)? {
        (false, Ahead::Event(fact)) => Some((*fact, false)),
        _ => None,
    })
}

/// It took the event, soon or not.
pub(crate) fn told(tx: &Connection, id: &str, told: &Told) -> Result<(), StoreError> {
    let Told { anew, position, prompt } = *told;
    if anew {
        tx.prepare_cached("DELETE FROM dead_letters WHERE webhook = ?1 AND position = ?2")?
            .execute((id, position))?;
    }
    tx.prepare_cached(
        "UPDATE webhooks SET attempts = 0, next_at = 0, error = NULL, prompt = ?3,
             position = CASE WHEN position < ?2 THEN ?2 ELSE position END
         WHERE id = ?1",
    )?
    .execute((id, position, prompt))?;
    Ok(())
}

/// It did not: it is tried again later, or is a dead letter.
pub(crate) fn failed(tx: &Connection, id: &str, failed: &Failed) -> Result<(), StoreError> {
    let Failed { anew, error, now, position } = failed;
    let before: i64 = tx
        .prepare_cached("SELECT attempts FROM webhooks WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let tries = u32::try_from(before + 1).unwrap_or(u32::MAX);
    if tries < TRIES {
        tx.prepare_cached(
            "UPDATE webhooks SET attempts = ?2, next_at = ?3, error = ?4, prompt = 0
             WHERE id = ?1",
        )?
        .execute((id, tries, now.plus(wait(tries)).0, error))?;
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO dead_letters (webhook, position, state, attempts, error, died_at)
         VALUES (?1, ?2, 'dead', ?3, ?4, ?5)
         ON CONFLICT (webhook, position)
         DO UPDATE SET state = 'dead', attempts = dead_letters.attempts + ?3, error = ?4,
             died_at = ?5",
    )?
    .execute((id, *position, tries, error, now.0))?;
    let through = if *anew { 0 } else { *position };
    tx.prepare_cached(
        "UPDATE webhooks SET attempts = 0, next_at = 0, error = ?3, prompt = 0,
             position = CASE WHEN position < ?2 THEN ?2 ELSE position END
         WHERE id = ?1",
    )?
    .execute((id, through, error))?;
    Ok(())
}

/// What lies before a subscriber.
enum Ahead {
    Event(Box<FactRow>),
    /// Nothing for it, up to this position.
    Nothing(i64),
}

/// What lies before a subscriber, and whether that is over.
fn ahead(tx: &Connection, id: &str) -> Result<(bool, Ahead), StoreError> {
    let Some(row) = find(tx, None, id)? else { return Ok((true, Ahead::Nothing(0))) };
    let ended = row.ended_at.is_some();
    let types: Vec<&str> = row.types.split_whitespace().collect();
    let last = jobs::count(tx)?;
    let mut after = row.position;
    loop {
        let feed =
            Feed { after, kind: None, limit: AHEAD, stream: None, tenant: row.tenant.clone() };
        let page = jobs::feed(tx, &feed)?;
        let Some(through) = page.last().map(|fact| fact.position) else {
            return Ok((ended, Ahead::Nothing(last.max(row.position))));
        };
        let wanted = |fact: &FactRow| types.is_empty() || types.contains(&fact.kind.as_str());
        if let Some(fact) = page.into_iter().find(wanted) {
            return Ok((ended, Ahead::Event(Box::new(fact))));
        }
        after = through;
    }
}

fn webhook(row: &Row<'_>) -> Result<WebhookRow, StoreError> {
    let tenant: Option<String> = row.get(1)?;
    let tenant = tenant.map(|name| name.parse()).transpose();
    Ok(WebhookRow {
        attempts: row.get(7)?,
        dead: row.get(10)?,
        ended_at: row.get::<Option<i64>>(9)?.map(WallMillis),
        error: row.get(8)?,
        id: row.get(0)?,
        made_at: WallMillis(row.get(4)?),
        made_by: row.get(5)?,
        position: row.get(6)?,
        tenant: tenant.map_err(|error| StoreError::damaged("a tenant", error))?,
        types: row.get(3)?,
        url: row.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_told_by_one_process_until_that_is_gone_or_took_too_long() {
        let live = ["a", "b"].map(str::to_owned);
        let free = |holder, until, me| is_free(holder, until, WallMillis(10), me, &live);
        assert!(free(None, 99, "a") && free(Some("a"), 99, "a"));
        assert!(!free(Some("a"), 11, "b"));
        assert!(free(Some("a"), 10, "b") && free(Some("dead"), 99, "b"));
        assert!(is_free(Some("a"), 99, WallMillis(10), "b", &[]));
    }

    #[test]
    fn whoever_was_told_last_is_told_after_all_others_and_a_tenant_has_its_share_only() {
        let tx = crate::store::in_memory().unwrap();
        let now = WallMillis(1);
        for (id, tenant) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
            let row = WebhookRow {
                attempts: 0,
                dead: 0,
                ended_at: None,
                error: None,
                id: id.to_owned(),
                made_at: now,
                made_by: "alice".to_owned(),
                position: 0,
                tenant: tenant.parse().ok(),
                types: String::new(),
                url: "https://erp.example/".to_owned(),
            };
            add(&tx, &row, "secret", None).unwrap();
            tx.execute(
                "INSERT INTO dead_letters (webhook, position, state, attempts, error, died_at)
                 VALUES (?1, 1, 'waiting', 8, 'late', 1)",
                [id],
            )
            .unwrap();
        }
        let due = |each| -> Vec<String> {
            due(&tx, "me", now, each).unwrap().into_iter().map(|due| due.id).collect()
        };
        assert_eq!(due(9), ["a1", "a2", "a3", "b1"]);
        assert_eq!(due(2), ["a1", "a2", "b1"]);
        for id in ["a1", "a2"] {
            assert!(hold(&tx, id, "me", now, WallMillis(9)).unwrap());
            release(&tx, id, "me").unwrap();
        }
        assert_eq!(due(2), ["a3", "b1", "a1"]);
        // Those that are prompt do not count with the others, and are no longer when they fail.
        let position = 1;
        for id in ["a3", "a1"] {
            told(&tx, id, &Told { anew: false, position, prompt: true }).unwrap();
        }
        let prompt = || -> Vec<String> {
            let all = super::due(&tx, "me", now, 9).unwrap().into_iter();
            all.filter(|due| due.prompt).map(|due| due.id).collect()
        };
        assert_eq!((due(1), prompt()), (strings(["a3", "b1", "a2"]), strings(["a3", "a1"])));
        let error = "it answered 500".to_owned();
        let past = WallMillis(-9999);
        failed(&tx, "a3", &Failed { anew: false, error, now: past, position }).unwrap();
        told(&tx, "a1", &Told { anew: false, position, prompt: false }).unwrap();
        assert_eq!((due(1), prompt()), (strings(["a3", "b1"]), Vec::new()));
    }

    fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }
}
