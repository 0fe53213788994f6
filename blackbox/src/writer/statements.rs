//! What the journal says of itself, signed: what it lost, what it pruned.

use super::{Draft, States, Writer};
use crate::rebuild::HOLES_KEY;
use crate::store::StoreError;
use nooterra_evidence::absence::{self, Statement};
use nooterra_evidence::{Loss, Record, record};
use nooterra_protocol::codec;
use nooterra_protocol::entry::Class;
use nooterra_protocol::time::Stamp;
use serde::Serialize;

impl Writer {
    /// A signed statement as a record; false when the key does not sign, which is no reason to
    /// stop recording.
    pub(super) fn add_statement<T: Statement>(
        &mut self,
        statement: T,
        draft: &mut Draft,
    ) -> Result<bool, StoreError> {
        let stamp = statement.origin().0;
        let body = match statement.into_body(&self.seal) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, kind = T::KIND, "a statement was not signed");
                return Ok(false);
            }
        };
        let (boot, seq) = (self.chain.boot, self.chain.last_seq + 1);
        let (class, kind) = (Class::Critical, T::KIND.to_owned());
        let record = Record { body, boot, class, kind, seq, stamp, v: record::VERSION };
        match record.encode() {
            Ok(bytes) => {
                self.put(class, &bytes, stamp, draft)?;
                self.uncovered += 1;
                Ok(true)
            }
            Err(error) => {
                tracing::error!(%error, kind = T::KIND, "a statement was refused by the journal");
                Ok(false)
            }
        }
    }

    /// Says what a rebuilt journal lost, and has it signed with all before it. A key that does
    /// not sign is asked again when a checkpoint is due.
    pub(super) fn tell_holes(&mut self, now: Stamp) -> Result<(), StoreError> {
        if !self.holes.untold {
            return Ok(());
        }
        let holes = self.holes.clone();
        let loss = Loss {
            aside: holes.aside.clone(),
            boot: self.chain.boot,
            journal: self.shared.id.clone(),
            known_to: holes.known_to,
            spans: holes.spans.clone(),
            stamp: now,
            v: absence::VERSION,
            why: holes.why.clone(),
        };
        let mut draft = Draft::default();
        if !self.add_statement(loss, &mut draft)? {
            return Ok(());
        }
        self.add_checkpoint(now, &mut draft)?;
        self.holes.untold = false;
        let changes = vec![(HOLES_KEY.to_vec(), encoded(&self.holes)?)];
        self.commit(draft, States { changes, ..States::default() }, now.mono)
    }
}

/// A state of the journal's own.
pub(super) fn encoded<T: Serialize>(state: &T) -> Result<Vec<u8>, StoreError> {
    codec::to_vec(state).map_err(|error| StoreError::State(error.to_string()))
}
