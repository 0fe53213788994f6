//! What robots send, judged and kept, whatever carried it here: this endpoint or a broker.

use crate::core::Core;
use crate::ingest::{self, IngestError};
use crate::standing::Admission;
use crate::store::{StoreError, robots, standings};
use nooterra_protocol::codec;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::RobotId;
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::uplink::{Ack, State};

/// Who sent something.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// Of the certificate that was shown here; none where a broker checked it.
    pub(super) key: Option<VerifyingKey>,
    pub(super) robot: RobotId,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Taken {
    /// The sender is no longer let in.
    Barred,
    /// It is durable; a batch has an acknowledgement.
    Kept(Option<Ack>),
    /// It says something of another robot.
    NotIts,
    /// It cannot be read; nothing of it is kept.
    Unreadable,
}

/// How a robot is, as it says.
pub(super) async fn state(
    core: &Core,
    sender: &Sender,
    payload: &[u8],
) -> Result<Taken, StoreError> {
    let Sender { key, robot } = sender.clone();
    match codec::from_slice::<State>(payload) {
        Ok(state) if state.robot == robot => {
            // What a robot says as it leaves does not erase how it was.
            let payload = state.health.is_some().then(|| payload.to_vec());
            let now = core.clock.wall();
            let keep = move |tx: &_| match standings::admission(tx, &robot, key.as_ref())? {
                Admission::Admitted => {
                    robots::seen(tx, &robot, payload.as_deref(), now)?;
                    Ok(Taken::Kept(None))
                }
                _ => Ok(Taken::Barred),
            };
            core.store.write(keep).await
        }
        Ok(_) => Ok(Taken::NotIts),
        Err(error) => {
            tracing::warn!(%robot, %error, "state refused");
            Ok(Taken::Unreadable)
        }
    }
}

/// Records of a robot's journal.
pub(super) async fn batch(
    core: &Core,
    sender: &Sender,
    class: Class,
    payload: &[u8],
) -> Result<Taken, StoreError> {
    let Sender { key, robot } = sender.clone();
    let now = core.clock.wall();
    let kept = match ingest::check(class, payload) {
        Ok(checked) => {
            let server = core.server.clone();
            let keep = move |tx: &_| match standings::admission(tx, &robot, key.as_ref())? {
                Admission::Admitted => {
                    Ok(Taken::Kept(Some(ingest::keep(tx, &server, &robot, &checked, now)?)))
                }
                _ => Ok(Taken::Barred),
            };
            core.store.write(keep).await.map_err(IngestError::Store)
        }
        Err(error) => Err(error),
    };
    match kept {
        Ok(taken) => Ok(taken),
        Err(IngestError::Store(error)) => {
            tracing::error!(robot = %sender.robot, %error, "a batch was not kept");
            Err(error)
        }
        Err(error) => {
            tracing::warn!(robot = %sender.robot, %error, "a batch was refused");
            Ok(Taken::Unreadable)
        }
    }
}
