//! Subscribers that are called: every event is told to each of them at least once, in order.
//!
//! There is no outbox beside the facts. A subscriber has a position in their one order, which
//! moves on in a transaction after it answered, so that whatever dies, nothing is skipped; what
//! was answered but not noted is told again, with the same `Nooterra-Delivery`. One event of a
//! subscriber is under way at a time. What fails is tried again, later each time; after the last
//! try the event becomes a dead letter, and the next one is told. Whoever does not answer holds
//! up nobody who does: see [`slots`].
//!
//! # What it never does
//! It never keeps events in memory for a subscriber, follows a redirect, or connects to an
//! address that is not public unless its network was allowed.

mod address;
mod sign;
mod slots;

pub(crate) use address::Resolve;
pub use address::{Network, NoNetwork};
pub(crate) use sign::{key, signature};

use crate::api::EventJson;
use crate::core::Core;
use crate::outgoing;
use crate::store::webhooks::{self, Due, Failed, Told};
use crate::store::{Connection, StoreError, jobs};
use nooterra_protocol::time::WallMillis;
use slots::{OF_ONE, Slot, Slots};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use ureq::unversioned::transport::DefaultConnector;

/// Tries of one event before it is a dead letter.
pub(crate) const TRIES: u32 = 8;

/// The wait after the first failure; each further one is four times as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// One process tells a subscriber for so long before another may take over, or for longer where
/// subscribers are waited for that long.
const HOLD: Duration = Duration::from_secs(60);

/// Events of one subscriber that are told in one go, which also ends once it took as long as a
/// prompt call may.
const IN_ONE_GO: usize = 32;

/// Subscribers of one tenant that are looked at in one go: as many as may be called, beside as
/// many that are being called.
const LOOKED_AT: usize = 2 * OF_ONE;

/// How often it is looked for what has become due by time alone, or was not heard of. Events of
/// this process are looked at when they are committed, and of its other commits none is; of another
/// process every commit that is heard of is looked at, for it does not say whether it has events.
const LOOK: Duration = Duration::from_millis(500);

/// How long what is committed gathers before it is looked at.
const GATHER: Duration = Duration::from_millis(20);

/// The most that is kept of what a failure said, bytes.
const MAX_ERROR: usize = 200;

/// How long subscribers are waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Whoever does not answer within this time has failed.
    pub answer: Duration,
    /// Whoever answers within this time is prompt; nobody who is waits for longer for a call to
    /// somebody else.
    pub prompt: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_secs(10), prompt: Duration::from_secs(1) }
    }
}

/// How long to wait after so many failures.
pub(crate) fn wait(failures: u32) -> Duration {
    let factor = 4_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

/// What calls subscribers.
pub(crate) struct Caller {
    agent: ureq::Agent,
    patience: Patience,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    /// One that trusts the roots in the file `roots`; none where it cannot be read, and then
    /// nothing is delivered by https.
    pub(crate) fn new(roots: &Path, networks: &[Network], patience: Patience) -> Self {
        let found = outgoing::roots(roots).unwrap_or_else(|error| {
            let file = roots.display();
            tracing::warn!(%file, %error, "no roots: webhooks by https will fail");
            Vec::new()
        });
        let config = outgoing::config(found, patience.answer);
        let resolve = Resolve::new(networks);
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolve);
        Self { agent, patience }
    }

    /// Tells one event; or why it was not taken. It blocks.
    fn tell(&self, to: &Due, delivery: &str, body: &str, now: WallMillis) -> Result<(), String> {
        let at = now.0.div_euclid(1000);
        let answer = self
            .agent
            .post(&to.url)
            .header("Content-Type", "application/json")
            .header("Nooterra-Webhook", &to.id)
            .header("Nooterra-Delivery", delivery)
            .header("Nooterra-Signature", signature(&to.secret, at, body.as_bytes()))
            .send(body);
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Tells subscribers until the cloud stops.
pub(crate) async fn deliver(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut events = core.store.events();
    let mut under_way = UnderWay::default();
    let mut slots = Slots::default();
    loop {
        // First, so that what is committed from here on is noticed.
        events.borrow_and_update();
        core.figures.webhook_looks.inc();
        let now = core.clock.wall();
        let me = core.process.clone();
        let look = move |tx: &Connection| {
            Ok::<_, StoreError>((webhooks::any(tx)?, webhooks::due(tx, &me, now, LOOKED_AT)?))
        };
        let (any, due) = core.store.read(look).await.unwrap_or_default();
        for (due, slot) in slots.take(due) {
            let (core, id) = (core.clone(), due.id.clone());
            under_way.begin(id.clone(), async move {
                if let Err(error) = tell(&core, due, &slot).await {
                    tracing::warn!(%error, webhook = id, "a webhook waits for the store");
                }
            });
        }
        tokio::select! {
            () = crate::tls::stopping(&mut stop) => return,
            Some(id) = under_way.over() => slots.free(&id),
            changed = events.changed(), if any && slots.waits_for_none() => {
                if changed.is_err() {
                    return;
                }
                // What is committed at once is looked at together.
                tokio::time::sleep(GATHER).await;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The calls that are under way: a task each, and whom it calls.
#[derive(Default)]
struct UnderWay {
    of: HashMap<task::Id, String>,
    tasks: JoinSet<()>,
}

impl UnderWay {
    fn begin(&mut self, id: String, call: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(call).id();
        self.of.insert(task, id);
    }

    /// Who is called no longer: the next call that is over, in order or by a defect, which ends no
    /// other. None where none is under way.
    async fn over(&mut self) -> Option<String> {
        let done = self.tasks.join_next_with_id().await?;
        let task = done.map_or_else(|error| error.id(), |(task, ())| task);
        self.of.remove(&task)
    }
}

/// Tells one subscriber what is next for it.
async fn tell(core: &Arc<Core>, due: Due, slot: &Slot) -> Result<(), StoreError> {
    let (id, me, now) = (due.id.clone(), core.process.clone(), core.clock.wall());
    let Patience { answer, prompt } = core.caller.patience;
    // Not over before those events and one call more.
    let until = now.plus(HOLD.max(answer.saturating_add(prompt).saturating_mul(2)));
    let held = core.store.write(move |tx| webhooks::hold(tx, &id, &me, now, until)).await?;
    if !held {
        return Ok(());
    }
    let began = Instant::now();
    for _ in 0..IN_ONE_GO {
        if began.elapsed() >= prompt {
            break;
        }
        let id = due.id.clone();
        let next = core.store.read(move |tx| webhooks::next(tx, &id)).await?;
        let Some((fact, anew)) = next else { break };
        let position = fact.position;
        let called = Instant::now();
        let outcome = one(core, &due, fact, slot).await;
        let prompt = called.elapsed() < prompt;
        let (id, now) = (due.id.clone(), core.clock.wall());
        let failed = outcome.is_err();
        core.store
            .write(move |tx| match outcome {
                Ok(()) => webhooks::told(tx, &id, &Told { anew, position, prompt }),
                Err(mut error) => {
                    error.truncate(error.floor_char_boundary(MAX_ERROR));
                    webhooks::failed(tx, &id, &Failed { anew, error, now, position })
                }
            })
            .await?;
        if failed {
            break;
        }
    }
    let (id, me) = (due.id, core.process.clone());
    core.store.write(move |tx| webhooks::release(tx, &id, &me)).await
}

async fn one(core: &Arc<Core>, due: &Due, fact: jobs::FactRow, slot: &Slot) -> Result<(), String> {
    let delivery = format!("{}.{}", due.id, fact.position);
    let event = EventJson::new(fact).map_err(|_| "the event cannot be read".to_owned())?;
    let body = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    let (core, due, now) = (core.clone(), due.clone(), core.clock.wall());
    let prompt = core.caller.patience.prompt;
    let call = move || core.caller.tell(&due, &delivery, &body, now);
    let mut told = tokio::task::spawn_blocking(call);
    let told = match tokio::time::timeout(prompt, &mut told).await {
        Ok(told) => told,
        Err(_) => {
            slot.is_slow();
            told.await
        }
    };
    told.unwrap_or_else(|_| Err("the call was given up".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_is_over_and_no_other_is() {
        let mut under_way = UnderWay::default();
        assert_eq!(under_way.over().await, None);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        under_way.begin("silent".to_owned(), async { drop(ended.await) });
        under_way.begin("defect".to_owned(), async { panic!("on purpose") });
        assert_eq!(under_way.over().await.as_deref(), Some("defect"));
        let other = under_way.over();
        tokio::pin!(other);
        let now = std::future::poll_fn(|cx| std::task::Poll::Ready(other.as_mut().poll(cx)));
        assert!(now.await.is_pending());
        end.send(()).unwrap();
        assert_eq!(other.await.as_deref(), Some("silent"));
    }

    #[test]
    fn each_wait_is_four_times_the_one_before_up_to_an_hour() {
        let waits: Vec<_> = (1..TRIES).map(|failures| wait(failures).as_secs()).collect();
        assert_eq!(waits, [1, 4, 16, 64, 256, 1024, 3600]);
        assert_eq!(wait(u32::MAX), LONGEST_WAIT);
    }
}
