//! What robots send up: batches of journal records, kept as they are, and what follows.

use crate::jobs::{JobError, Server, take_from_robot};
use crate::skill_registry::reported;
use crate::store::live::{self, Grown};
use crate::store::records::{self, Added, NewRecord};
use crate::store::{Connection, StoreError, commands};
use nooterra_evidence::{Record, RecordError};
use nooterra_protocol::codec::{self, CodecError};
use nooterra_protocol::entry::{Class, Entry, Incident, IncidentCause, SkillChecked};
use nooterra_protocol::ids::{JournalId, RobotId};
use nooterra_protocol::time::WallMillis;
use nooterra_protocol::uplink::{Ack, Batch, Since};

/// The kind of a record that carries a fact.
const FACT: &str = "fact";

/// Why a batch is not taken. Nothing of it is kept then, and nothing acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    #[error("a record of class {found:?} came on the topic of {expected:?}")]
    Class { expected: Class, found: Class },
    #[error("the batch cannot be read: {0}")]
    Codec(#[from] CodecError),
    #[error("the batch is empty")]
    Empty,
    #[error("record {at} of the batch: {source}")]
    Record { at: usize, source: RecordError },
    #[error("sequence number {0} does not follow the one before, or is beyond 2^63")]
    Order(u64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A batch that was read; not one record of it is in doubt.
#[derive(Debug)]
pub(crate) struct Checked {
    batch: Batch,
    class: Class,
    records: Vec<Record>,
    through_seq: u64,
}

impl Checked {
    /// What stands before it, as far as its sender says.
    pub(crate) const fn since(&self) -> Option<Since> {
        self.batch.since
    }

    /// Which journal it is of, and up to where it goes.
    pub(crate) fn through(&self) -> (&JournalId, u64) {
        (&self.batch.journal, self.through_seq)
    }
}

/// Reads a batch as it came on the topic of `class`.
pub(crate) fn check(class: Class, payload: &[u8]) -> Result<Checked, IngestError> {
    let batch: Batch = codec::from_slice(payload)?;
    let mut records = Vec::with_capacity(batch.records.len());
    let mut through_seq = None;
    for (at, bytes) in batch.records.iter().enumerate() {
        let record =
            Record::decode(&bytes.0).map_err(|source| IngestError::Record { at, source })?;
        if record.class != class {
            return Err(IngestError::Class { expected: class, found: record.class });
        }
        if through_seq.is_some_and(|last| record.seq <= last) || i64::try_from(record.seq).is_err()
        {
            return Err(IngestError::Order(record.seq));
        }
        through_seq = Some(record.seq);
        records.push(record);
    }
    let through_seq = through_seq.ok_or(IngestError::Empty)?;
    Ok(Checked { batch, class, records, through_seq })
}

/// Keeps a batch, within the caller's transaction, and says what may be acknowledged once that
/// is committed. A record that is there already is left as it is.
pub(crate) fn keep(
    tx: &Connection,
    server: &Server,
    robot: &RobotId,
    checked: &Checked,
    now: WallMillis,
) -> Result<Ack, StoreError> {
    let journal = &checked.batch.journal;
    let (mut facts, mut grown) = (false, None);
    for (record, bytes) in checked.records.iter().zip(&checked.batch.records) {
        let new = NewRecord {
            bytes: &bytes.0,
            class: record.class,
            journal,
            kind: &record.kind,
            robot,
            seq: record.seq,
            stamp: record.stamp,
        };
        if let Some(Added { cursor, first_there }) = records::add(tx, &new, now)? {
            if first_there {
                grown = Some(Grown::with(grown, record.seq));
            }
            facts |= record.kind == FACT;
            follow(tx, server, robot, record, cursor, now)?;
        }
    }
    if let Some(grown) = grown {
        live::grew(tx, (robot, journal), grown)?;
    }
    if facts {
        moved(server.tend_rollouts(tx, Some(robot)), robot)?;
    }
    crate::store::robots::seen(tx, robot, None, now)?;
    Ok(Ack { class: checked.class, journal: journal.clone(), through_seq: checked.through_seq })
}

/// A roll-out that cannot be moved is no reason to refuse a record: it is looked at again.
fn moved(result: Result<(), JobError>, robot: &RobotId) -> Result<(), StoreError> {
    match result {
        Ok(()) => Ok(()),
        Err(JobError::Store(error)) => Err(error),
        Err(error) => {
            tracing::error!(%robot, %error, "a roll-out waits");
            Ok(())
        }
    }
}

/// What a new record means beyond being kept.
fn follow(
    tx: &Connection,
    server: &Server,
    robot: &RobotId,
    record: &Record,
    cursor: i64,
    now: WallMillis,
) -> Result<(), StoreError> {
    let entry = match record.entry() {
        Ok(Some(entry)) => entry,
        // A later release wrote it; it is kept for a later release of this.
        Ok(None) => return Ok(()),
        Err(error) => return records::note(tx, cursor, &format!("cannot be read: {error}")),
    };
    match entry {
        Entry::CommandReceived(received) => {
            commands::accepted(tx, robot, &received.id)?;
            records::about(tx, cursor, &received.id)
        }
        Entry::CommandRefused(refused) => {
            match commands::refused(tx, robot, &refused.digest, &refused.reason)? {
                Some(id) => {
                    match server.start_refused(tx, robot, &id, &refused.reason) {
                        Ok(()) => {}
                        Err(JobError::Store(error)) => return Err(error),
                        Err(error) => {
                            tracing::error!(%robot, command = %id, %error, "a refused job waits");
                        }
                    }
                    records::about(tx, cursor, &id)
                }
                None => Ok(()),
            }
        }
        Entry::Fact(signed) => {
            match take_from_robot(server, tx, robot, (cursor, &signed.0), now)? {
                Some(note) => {
                    tracing::warn!(%robot, seq = record.seq, note);
                    records::note(tx, cursor, &note)
                }
                None => Ok(()),
            }
        }
        Entry::Incident(Incident {
            cause: IncidentCause::SkillCrash,
            job: Some(job),
            step,
            ..
        }) => moved(server.skill_crashed(tx, robot, &job, step.as_ref()), robot),
        Entry::SkillChecked(SkillChecked { accepted: false, bundle, reason, .. }) => {
            moved(server.bundle_refused(tx, robot, &bundle, &reason), robot)
        }
        Entry::SkillInstall(_) => reported::catch_up(tx, robot),
        Entry::Verdict(verdict) => match &verdict.command {
            Some(id) => records::about(tx, cursor, id),
            None => Ok(()),
        },
        Entry::AsideRemoved(_)
        | Entry::Boot(_)
        | Entry::Checkpoint(_)
        | Entry::Crash(_)
        | Entry::Flight(_)
        | Entry::FlightNote(_)
        | Entry::Gap(_)
        | Entry::Incident(_)
        | Entry::Link(_)
        | Entry::Policy(_)
        | Entry::SensorGated(_)
        | Entry::PolicyStep(_)
        | Entry::SkillLog(_)
        | Entry::SkillChecked(_)
        | Entry::SkillFrame(_)
        | Entry::SkillGraph(_)
        | Entry::SkillInput(_)
        | Entry::SkillSensor(_)
        | Entry::SkillStep(_)
        | Entry::SkillTrust(_)
        | Entry::Sample(_)
        | Entry::Shadow(_)
        | Entry::Stop(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::codec::Blob;
    use nooterra_protocol::entry::Link;
    use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn batch(seqs: &[u64]) -> Vec<u8> {
        let stamp =
            Stamp { mono: MonoNanos(1), trust: ClockTrust::Network, wall: WallMillis(1_000) };
        let entry = Entry::Link(Link { reason: None, up: true });
        let records = seqs
            .iter()
            .map(|seq| Record::of_entry(&entry, Class::Normal, *seq, 1, stamp).unwrap())
            .map(|record| Blob(record.encode().unwrap()))
            .collect();
        codec::to_vec(&Batch { journal: JournalId::new("j").unwrap(), records, since: None })
            .unwrap()
    }

    proptest! {
        #[test]
        fn a_damaged_batch_never_panics(at in 0_usize..4096, byte: u8, cut in 0_usize..4096) {
            let mut bytes = batch(&[1, 5, 9]);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = check(Class::Normal, &bytes);
            bytes.truncate(cut);
            let _ = check(Class::Normal, &bytes);
        }

        #[test]
        fn noise_is_no_batch(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert!(check(Class::Critical, &bytes).is_err());
        }

        #[test]
        fn only_ascending_records_are_taken_and_the_last_is_acknowledged(
            seqs in proptest::collection::vec(0_u64..20, 1..6),
        ) {
            let ascending = seqs.windows(2).all(|pair| pair[0] < pair[1]);
            let checked = check(Class::Normal, &batch(&seqs));
            prop_assert_eq!(checked.is_ok(), ascending);
            if let Ok(checked) = checked {
                prop_assert_eq!(Some(&checked.through_seq), seqs.last());
            }
        }
    }

    #[test]
    fn a_position_that_the_store_cannot_count_is_refused() {
        assert!(matches!(
            check(Class::Normal, &batch(&[u64::MAX])),
            Err(IngestError::Order(u64::MAX))
        ));
    }
}
