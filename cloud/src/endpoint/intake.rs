//! What robots send, judged and kept, whatever carried it here: this endpoint or a broker.

use crate::core::Core;
use crate::ingest::{self, Checked, IngestError};
use crate::standing::Admission;
use crate::store::{StoreError, robots, standings};
use nooterra_protocol::codec;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::{JournalId, RobotId};
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::uplink::{Ack, Since, State};

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
    /// A batch before it did not come; nothing of it is kept, so that nothing after a gap is
    /// acknowledged.
    OutOfOrder,
    /// It cannot be read; nothing of it is kept.
    Unreadable,
}

/// How far each class of one robot's journal came without a gap, on a carrier that may lose a
/// batch between two others.
#[derive(Debug, Default)]
pub(super) struct Order {
    journal: Option<JournalId>,
    through: [Option<u64>; 3],
}

impl Order {
    /// Whether the batch follows what came before, or what the robot was acknowledged. Who does
    /// not say what it follows is not believed.
    fn follows(&self, class: Class, batch: &Checked) -> bool {
        let Some(Since { acked, after }) = batch.since() else { return false };
        let kept = self.journal.as_ref().filter(|journal| *journal == batch.through().0);
        let kept = kept.and(self.through[slot(class)]).unwrap_or(0);
        after <= acked.max(kept)
    }

    fn kept(&mut self, class: Class, journal: JournalId, through: u64) {
        if self.journal.as_ref() != Some(&journal) {
            *self = Self { journal: Some(journal), through: [None; 3] };
        }
        let place = &mut self.through[slot(class)];
        *place = (*place).max(Some(through));
    }
}

const fn slot(class: Class) -> usize {
    match class {
        Class::Critical => 0,
        Class::Normal => 1,
        Class::Bulk => 2,
    }
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

/// Records of a robot's journal, where they come in the order in which they were sent.
pub(super) async fn batch(
    core: &Core,
    sender: &Sender,
    class: Class,
    payload: &[u8],
) -> Result<Taken, StoreError> {
    read(core, sender, ingest::check(class, payload)).await
}

/// Records of a robot's journal, where one batch may be lost and the next may come.
pub(super) async fn batch_in_order(
    core: &Core,
    sender: &Sender,
    class: Class,
    payload: &[u8],
    order: &mut Order,
) -> Result<Taken, StoreError> {
    let checked = ingest::check(class, payload);
    let mut through = None;
    if let Ok(batch) = &checked {
        if !order.follows(class, batch) {
            let robot = &sender.robot;
            tracing::warn!(%robot, ?class, "a batch before this one did not come; not taken");
            return Ok(Taken::OutOfOrder);
        }
        let (journal, seq) = batch.through();
        through = Some((journal.clone(), seq));
    }
    let taken = read(core, sender, checked).await?;
    if let (Taken::Kept(_), Some((journal, seq))) = (&taken, through) {
        order.kept(class, journal, seq);
    }
    Ok(taken)
}

async fn read(
    core: &Core,
    sender: &Sender,
    checked: Result<Checked, IngestError>,
) -> Result<Taken, StoreError> {
    let Sender { key, robot } = sender.clone();
    let now = core.clock.wall();
    let kept = match checked {
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

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_evidence::Record;
    use nooterra_protocol::codec::Blob;
    use nooterra_protocol::entry::{Entry, Link};
    use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
    use nooterra_protocol::uplink::Batch;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    /// What happens to a robot behind a carrier that loses what it likes.
    #[derive(Clone, Debug)]
    enum Act {
        /// The next records of its journal; the batch or its acknowledgement may be lost.
        Send { ack_lost: bool, lost: bool, records: u64 },
        /// It begins again behind what was acknowledged.
        Reconnect,
        /// The cloud forgets what it knows of the robot.
        Forget,
    }

    fn act() -> impl Strategy<Value = Act> {
        let send = (any::<bool>(), any::<bool>(), 1..4_u64);
        prop_oneof![
            6 => send.prop_map(|(ack_lost, lost, records)| Act::Send { ack_lost, lost, records }),
            2 => Just(Act::Reconnect),
            1 => Just(Act::Forget),
        ]
    }

    fn batch(from: u64, through: u64, since: Option<Since>) -> Checked {
        let stamp =
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1_000) };
        let entry = Entry::Link(Link { reason: None, up: true });
        let record = |seq| Record::of_entry(&entry, Class::Normal, seq, 1, stamp).unwrap();
        let records = (from..=through).map(|seq| Blob(record(seq).encode().unwrap())).collect();
        let batch = Batch { journal: JournalId::new("j").unwrap(), records, since };
        ingest::check(Class::Normal, &codec::to_vec(&batch).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_is_lost_on_the_way_nothing_behind_a_gap_is_acknowledged(
            acts in proptest::collection::vec(act(), 1..60),
        ) {
            let mut order = Order::default();
            // Of the robot, and what the cloud has.
            let (mut acked, mut sent, mut kept) = (0, 0, std::collections::BTreeSet::new());
            for act in acts {
                match act {
                    Act::Send { ack_lost, lost, records } => {
                        let (after, through) = (sent, sent + records);
                        sent = through;
                        if lost {
                            continue;
                        }
                        let batch = batch(after + 1, through, Some(Since { acked, after }));
                        if !order.follows(Class::Normal, &batch) {
                            continue;
                        }
                        order.kept(Class::Normal, batch.through().0.clone(), through);
                        kept.extend(after + 1..=through);
                        if !ack_lost {
                            acked = acked.max(through);
                        }
                    }
                    Act::Reconnect => sent = acked,
                    Act::Forget => order = Order::default(),
                }
                let all: Vec<u64> = (1..=kept.last().copied().unwrap_or(0)).collect();
                prop_assert_eq!(kept.iter().copied().collect::<Vec<_>>(), all);
            }
        }
    }

    #[test]
    fn a_new_journal_begins_anew_and_who_does_not_say_what_it_follows_is_not_believed() {
        let mut order = Order::default();
        order.kept(Class::Normal, JournalId::new("older").unwrap(), 50);
        let since = |after| Some(Since { acked: 0, after });
        assert!(!order.follows(Class::Normal, &batch(8, 9, since(7))));
        assert!(order.follows(Class::Normal, &batch(1, 2, since(0))));
        assert!(!order.follows(Class::Normal, &batch(1, 2, None)));
    }
}
