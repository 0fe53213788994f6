//! What this robot states and signs.

use nooterra_blackbox::{AppendError, Clock, JournalHandle};
use nooterra_protocol::codec::Blob;
use nooterra_protocol::entry::Entry;
use nooterra_protocol::envelope::SignedError;
use nooterra_protocol::event::{Actor, ActorKind, EventType, Fact, Statement};
use nooterra_protocol::ids::{ActorId, IdError, JobId, RobotId};
use nooterra_protocol::keys::Signer;
use serde::Serialize;
use std::sync::Arc;

/// Why a fact was not stated.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The journal does not take it: full disk, damaged store.
    #[error("a fact is not in the journal: {0}")]
    Journal(#[from] AppendError),
    /// The device key did not sign.
    #[error("a fact is not signed: {0}")]
    Sign(#[from] SignedError),
}

/// States facts, counting them without gaps.
pub struct Facts {
    actor: Actor,
    clock: Arc<dyn Clock>,
    journal: JournalHandle,
    seq: u64,
    signer: Arc<dyn Signer>,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("actor", &self.actor)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// Goes on counting where the journal ends.
    ///
    /// # Errors
    /// Never in practice: a robot's id is an actor's id.
    pub fn new(
        robot: &RobotId,
        journal: JournalHandle,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdError> {
        let actor = Actor { id: ActorId::new(robot.as_str())?, kind: ActorKind::Robot };
        let seq = journal.last_actor_seq();
        Ok(Self { actor, clock, journal, seq, signer })
    }

    /// States a fact about a job. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`FactsError`]; the fact was then not stated, and its number is free.
    pub fn state<P: Serialize>(
        &mut self,
        job: &JobId,
        kind: EventType,
        payload: &P,
    ) -> Result<(), FactsError> {
        let statement = Statement {
            actor: &self.actor,
            actor_seq: self.seq + 1,
            at: self.clock.stamp(),
            job: Some(job),
            journal: self.journal.journal_id(),
            kind,
        };
        let fact = Fact::sign(&statement, payload, self.signer.as_ref())?;
        self.journal.append_durable(Entry::Fact(Blob(fact.bytes().to_vec())))?;
        self.seq += 1;
        Ok(())
    }
}
