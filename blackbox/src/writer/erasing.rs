//! Sealing what is private in a record, and erasing what opens it: first the signed record that
//! says so is durable, then the keys go.

use super::trim::PATIENCE;
use super::{Draft, States, Writer};
use crate::handle::AppendError;
use crate::openings::format::Kept;
use crate::openings::{EraseError, Erased, Erasure, Intent, Shown};
use crate::store::StoreError;
use nooterra_evidence::{Erase, RecordError, absence, cose};
use nooterra_protocol::codec::Blob;
use nooterra_protocol::command::{Ask, RemoteCommand};
use nooterra_protocol::entry::Entry;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::private::PrivateError;
use nooterra_protocol::time::{MonoNanos, Stamp};
use std::sync::mpsc::SyncSender;

/// How much of an erasing is said in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    All,
    Nothing,
    /// What is said has to come true.
    Part,
}

impl Writer {
    /// Puts commitments in the place of all that is private in what becomes record `seq`.
    pub(super) fn seal_entry(
        &self,
        entry: &mut Entry,
        seq: u64,
        stamp: Stamp,
    ) -> Result<Vec<Kept>, RecordError> {
        let job = job_of(entry);
        let salts = self.shared.options.salts.as_ref();
        let openings = match entry.seal(&self.shared.id, seq, salts) {
            Ok(openings) => openings,
            Err(PrivateError::Codec(error)) => return Err(error.into()),
            Err(error @ PrivateError::Salt(_)) => return Err(RecordError::Unsealed(error)),
        };
        if openings.is_empty() {
            return Ok(Vec::new());
        }
        let under_way = || self.shared.contexts.newest().and_then(|context| context.job.clone());
        let job = job.or_else(under_way);
        let kept = |opening| Kept { at: stamp.wall, job: job.clone(), opening };
        Ok(openings.into_iter().map(kept).collect())
    }

    /// Erases what is asked, and answers.
    pub(super) fn erase(
        &mut self,
        erasure: &Erasure,
        shown: &Shown,
        reply: &SyncSender<Result<Erased, EraseError>>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let files = |error: std::io::Error| EraseError::Files(error.to_string());
        let answer = match self.openings.prepare(erasure, shown, self.chain.last_seq, now.mono) {
            Err(error) => Err(files(error)),
            Ok(None) => Ok(Erased::default()),
            Ok(Some((intent, erased))) => match self.tell_erase(&intent, now) {
                Ok(Told::All) => self.openings.finish(&intent).map(|()| erased).map_err(files),
                Ok(Told::Nothing) => {
                    self.openings.give_up().map_err(files).and(Err(EraseError::Unsigned))
                }
                Ok(Told::Part) => {
                    let why = "the key did not sign; the next start finishes it";
                    Err(EraseError::Files(why.to_owned()))
                }
                Err(error) => {
                    // Whoever asked must not wait for a writer that has ended.
                    let why = AppendError::Poisoned(error.to_string());
                    let _ = reply.send(Err(why.into()));
                    return Err(error);
                }
            },
        };
        // A receiver that is gone no longer wants to know.
        let _ = reply.send(answer);
        Ok(())
    }

    /// Erases the oldest openings where they take more than they may; first it finishes what was
    /// begun. That is said once more by each start: whether an earlier one said it is not known
    /// without reading the whole journal.
    pub(super) fn bound_openings(&mut self, now: Stamp) -> Result<(), StoreError> {
        if now.mono.since(self.erasing_at).is_none() {
            return Ok(());
        }
        let due = match self.openings.is_pending() {
            true => self.openings.unfinished(),
            false => {
                self.erase_said = false;
                self.openings.excess(self.chain.last_seq)
            }
        };
        match due {
            Ok(Some(intent)) => self.tell_and_finish(&intent, now)?,
            Ok(None) => {}
            Err(error) => self.postpone(&error, now),
        }
        Ok(())
    }

    /// Removes the openings of records that were pruned. One that stays is no reason to stop.
    pub(super) fn prune_openings(&mut self) {
        if let Err(error) = self.openings.prune(&self.pruned.horizons) {
            tracing::error!(%error, "openings of pruned records were not removed");
        }
    }

    fn tell_and_finish(&mut self, intent: &Intent, now: Stamp) -> Result<(), StoreError> {
        let told = if self.erase_said { Told::All } else { self.tell_erase(intent, now)? };
        let done = match told {
            Told::All => self.openings.finish(intent),
            Told::Nothing | Told::Part => Err(std::io::Error::other("the key did not sign")),
        };
        if let Err(error) = done {
            self.postpone(&error, now);
        }
        Ok(())
    }

    fn postpone(&mut self, error: &std::io::Error, now: Stamp) {
        tracing::error!(%error, "openings were not erased; it is tried again");
        let wait = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        self.erasing_at = MonoNanos(now.mono.0.saturating_add(wait));
    }

    /// Makes signed records of what is about to go durable.
    fn tell_erase(&mut self, intent: &Intent, now: Stamp) -> Result<Told, StoreError> {
        self.erase_said = false;
        let mut draft = Draft::default();
        for (nth, words) in intent.words.iter().cloned().enumerate() {
            let erase = Erase {
                before: words.before,
                boot: self.chain.boot,
                by: words.by,
                class: words.class,
                job: words.job,
                journal: self.shared.id.clone(),
                openings: words.openings,
                spans: words.spans,
                stamp: now,
                v: absence::VERSION,
                why: words.why,
            };
            if !self.add_statement(erase, &mut draft)? {
                let told = if nth == 0 { Told::Nothing } else { Told::Part };
                self.commit(draft, States::default(), now.mono)?;
                return Ok(told);
            }
        }
        self.add_checkpoint(now, &mut draft)?;
        self.commit(draft, States::default(), now.mono)?;
        self.erase_said = true;
        Ok(Told::All)
    }
}

/// The job that an entry names.
fn job_of(entry: &Entry) -> Option<JobId> {
    match entry {
        Entry::CommandReceived(received) => {
            let Blob(signed) = received.signed.get()?;
            let command: RemoteCommand = cose::danger_unverified(signed).ok()?;
            match command.body {
                Ask::CancelJob { job, .. }
                | Ask::PauseJob { job, .. }
                | Ask::PlanAccess { job, .. }
                | Ask::ResumeJob { job }
                | Ask::ReviewJob { job, .. }
                | Ask::StartJob { job, .. } => Some(job),
                _ => None,
            }
        }
        Entry::SkillStep(step) => Some(step.job.clone()),
        _ => None,
    }
}
