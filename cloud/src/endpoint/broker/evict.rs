//! Ends the connection of a revoked robot to the broker, which knows nothing of that.
//!
//! A broker has one connection for each client id, and ends the older one. So the cloud connects
//! under the robot's name, by a certificate of its own authority that is good for minutes, says
//! nothing, and leaves. The robot may come back until the broker has read its revocation list
//! again; so this is done more than once.

use super::{Client, Lost, WITHIN};
use crate::config::Broker;
use crate::core::Core;
use crate::standing::Admission;
use crate::store::{News, standings};
use crate::tls;
use nooterra_protocol::ids::RobotId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Pauses before each time: the broker reads its list meanwhile, within a moment or, where nobody
/// told it, much later.
const AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

/// Robots that are put out at once; more wait for their turn in the news.
const AT_ONCE: usize = 64;

/// Hears of revocations and carries them to the broker, until the cloud stops.
pub(crate) async fn keep(
    core: Arc<Core>,
    broker: Broker,
    mut news: broadcast::Receiver<News>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = tls::stopping(&mut stop) => return,
            Some(_) = tasks.join_next() => {}
            heard = news.recv(), if tasks.len() < AT_ONCE => match heard {
                Ok(News::Revoked(robot, _)) => {
                    tasks.spawn(put_out(core.clone(), broker.clone(), robot));
                }
                // What was missed is kept out by the list at its next connection.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

async fn put_out(core: Arc<Core>, broker: Broker, robot: RobotId) {
    for pause in AFTER {
        sleep(pause).await;
        let id = robot.clone();
        let admission = core.store.read(move |tx| standings::admission(tx, &id, None)).await;
        if matches!(admission, Ok(Admission::Admitted)) {
            // It has another key by now, and that connection is not to be ended.
            return;
        }
        let done = timeout(WITHIN, take_place(&core, &broker, &robot)).await;
        match done.unwrap_or(Err(Lost::Silent)) {
            Ok(()) => tracing::info!(%robot, "put out of the broker"),
            Err(error) => tracing::warn!(%robot, %error, "not put out of the broker yet"),
        }
    }
}

/// Connects as `robot`, which ends its connection, and leaves.
async fn take_place(core: &Core, broker: &Broker, robot: &RobotId) -> Result<(), Lost> {
    let identity = core.ca.certify_eviction(robot, core.clock.wall())?;
    Client::connect(core, broker, robot.as_str(), identity).await?.leave().await
}
