//! Ends the connection of a robot whose certificate opens nothing any more to the broker, which
//! knows nothing of that: the robot was revoked, or enrolled again with another key.
//!
//! A broker has one connection for each client id, and ends the older one. So the cloud connects
//! under the robot's name, by a certificate of its own authority that is good for minutes, says
//! nothing, and leaves. Whoever was put out may come back until the broker has read its revocation
//! list again; so this is done more than once. The broker does not tell with which key a robot is
//! connected: one with a good key is put out too, and is back within a second.

use super::{Client, Lost, WITHIN};
use crate::config::Broker;
use crate::core::Core;
use crate::standing::Standing;
use crate::store::{News, StoreError, standings};
use crate::tls;
use nooterra_protocol::ids::RobotId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Pauses before each time: the broker reads its list meanwhile, within a moment or, where nobody
/// told it, much later.
const AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

/// Connections to the broker for this at once.
const AT_ONCE: usize = 64;

/// The store that could not be read is asked again.
const AGAIN: Duration = Duration::from_secs(10);

/// Hears of revocations and replaced keys and carries them to the broker, until the cloud stops.
pub(crate) async fn keep(
    core: Arc<Core>,
    broker: Broker,
    mut news: broadcast::Receiver<News>,
    mut stop: watch::Receiver<bool>,
) {
    let mut evictions = Evictions {
        broker,
        core: core.clone(),
        of: HashMap::new(),
        tasks: JoinSet::new(),
        turns: Arc::new(Semaphore::new(AT_ONCE)),
    };
    // Nobody knows what happened before the start.
    let mut all = Some(Instant::now());
    loop {
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            Some(ended) = evictions.tasks.join_next() => {
                // The others were replaced.
                if let Ok(robot) = ended {
                    evictions.forget(&robot);
                }
            }
            () = super::until(all) => match revoked(&core).await {
                Ok(robots) => {
                    all = None;
                    robots.into_iter().for_each(|robot| evictions.begin(robot));
                }
                Err(error) => {
                    tracing::warn!(%error, "who is to be put out of the broker is not known");
                    all = Some(Instant::now() + AGAIN);
                }
            },
            heard = news.recv() => match heard {
                Ok(News::Enrolled(robot, _) | News::Revoked(robot, _)) => evictions.begin(robot),
                Ok(News::Missed) | Err(RecvError::Lagged(_)) => all = Some(Instant::now()),
                Ok(News::Commands(_) | News::Connected(..) | News::Events) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Whoever is revoked now.
async fn revoked(core: &Core) -> Result<Vec<RobotId>, StoreError> {
    let all = core.store.read(standings::all).await?;
    let revoked = all.into_iter().filter(|(_, row)| row.standing == Standing::Revoked);
    Ok(revoked.map(|(robot, _)| robot).collect())
}

/// Who is being put out: one task for each robot at most.
struct Evictions {
    broker: Broker,
    core: Arc<Core>,
    of: HashMap<RobotId, AbortHandle>,
    tasks: JoinSet<RobotId>,
    turns: Arc<Semaphore>,
}

impl Evictions {
    /// From the first time on, whatever was done for the robot before.
    fn begin(&mut self, robot: RobotId) {
        let (core, broker, turns) = (self.core.clone(), self.broker.clone(), self.turns.clone());
        let task = self.tasks.spawn(put_out(core, broker, turns, robot.clone()));
        if let Some(earlier) = self.of.insert(robot, task) {
            earlier.abort();
        }
    }

    /// Its task ended, unless another has begun meanwhile.
    fn forget(&mut self, robot: &RobotId) {
        if self.of.get(robot).is_some_and(AbortHandle::is_finished) {
            self.of.remove(robot);
        }
    }
}

async fn put_out(
    core: Arc<Core>,
    broker: Broker,
    turns: Arc<Semaphore>,
    robot: RobotId,
) -> RobotId {
    for pause in AFTER {
        sleep(pause).await;
        // It is never closed.
        let _turn = turns.acquire().await;
        let done = timeout(WITHIN, take_place(&core, &broker, &robot)).await;
        match done.unwrap_or(Err(Lost::Silent)) {
            Ok(()) => tracing::info!(%robot, "put out of the broker"),
            Err(error) => tracing::warn!(%robot, %error, "not put out of the broker yet"),
        }
    }
    robot
}

/// Connects as `robot`, which ends its connection, and leaves.
async fn take_place(core: &Core, broker: &Broker, robot: &RobotId) -> Result<(), Lost> {
    let identity = core.ca.certify_eviction(robot, core.clock.wall())?;
    Client::connect(core, broker, robot.as_str(), identity).await?.leave().await
}
