//! Making a full block durable while the next one is made.
//!
//! A sync takes about as long as encoding, hashing and linking the records of a block. So where
//! more records wait than one block takes, a thread of its own writes and syncs it, and the
//! writer goes on. The disk sees no difference: a block is handed over when the one before is
//! durable, never earlier, and what depends on it (answers, the index, states, pruning) waits
//! until it is. What has room in one block is written by the writer itself.

use super::{Chain, Draft, Reply, Writer};
use crate::block::Block;
use crate::handle::Shared;
use crate::store::StoreError;
use nooterra_protocol::time::MonoNanos;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

/// One block, as the store takes it.
pub(super) type Blocks = [(u64, Option<Vec<u8>>); 1];

/// What came of a block.
type Done = (Blocks, Result<(), StoreError>);

/// The thread that writes.
pub(super) struct Lane {
    done: Receiver<Done>,
    /// `None` when it is to end.
    jobs: Option<SyncSender<Blocks>>,
    thread: Option<JoinHandle<()>>,
}

/// What is left to be done when the block that is being written is durable.
pub(super) struct UnderWay {
    /// At its end.
    chain: Chain,
    replies: Vec<(u64, Reply<u64>)>,
}

impl Lane {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Blocks>(1);
        let (tell, done) = sync_channel::<Done>(1);
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("journal sync".to_owned());
        let thread = thread.spawn(move || {
            for blocks in waiting {
                let written = shared.store.commit(&blocks, &[]);
                if tell.send((blocks, written)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { done, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a block over; back when the thread is gone.
    fn begin(&self, blocks: Blocks) -> Result<(), Blocks> {
        match &self.jobs {
            Some(jobs) => jobs.send(blocks).map_err(|refused| refused.0),
            None => Err(blocks),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The store turns its panics into errors; there is nothing else to tell.
            let _ = thread.join();
        }
    }
}

impl Writer {
    /// Makes a full draft durable, at the latest when something depends on it.
    pub(super) fn commit_ahead(&mut self, draft: Draft, now: MonoNanos) -> Result<(), StoreError> {
        // Openings are durable before what they open: that has its order from `commit`.
        if !draft.openings.is_empty() {
            return self.commit(draft, super::States::default(), now);
        }
        let Some(block) = self.block_of(&draft) else {
            return Ok(());
        };
        self.settle()?;
        if self.lane.is_none() {
            self.lane = Lane::start(&self.shared).ok();
        }
        let blocks = [(block.0, Some(block.1))];
        let refused = match &self.lane {
            Some(lane) => lane.begin(blocks).err(),
            None => Some(blocks),
        };
        let under_way = UnderWay { chain: self.chain, replies: draft.replies };
        match refused {
            None => self.under_way = Some(under_way),
            // Without the thread, as everything else is written.
            Some(blocks) => {
                let written = self.shared.store.commit(&blocks, &[]);
                self.written(&blocks, under_way, written)?;
            }
        }
        Ok(())
    }

    /// Waits for the block that is being written, and does what waited for it.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        let Some(under_way) = self.under_way.take() else {
            return Ok(());
        };
        let gone = || StoreError::Panicked("the thread that syncs ended".to_owned());
        let done = self.lane.as_ref().and_then(|lane| lane.done.recv().ok());
        let (blocks, written) = done.unwrap_or_else(|| ([(0, None)], Err(gone())));
        self.written(&blocks, under_way, written)
    }

    /// A block is durable, or nobody knows what is.
    pub(super) fn written(
        &mut self,
        blocks: &[(u64, Option<Vec<u8>>)],
        under_way: UnderWay,
        written: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let UnderWay { chain, replies } = under_way;
        if let Err(error) = written {
            // Before anyone is answered, and before what waits behind is dropped.
            self.shared.poison(&error.to_string());
            let refusal = self.shared.refusal();
            for (_, reply) in replies {
                let _ = reply.send(Err(refusal.clone()));
            }
            return Err(error);
        }
        if let [(_, Some(bytes))] = blocks
            && let Ok(block) = Block::read_head(bytes)
        {
            self.unpruned += block.length;
            self.shared.index.write().unwrap_or_else(PoisonError::into_inner).add(&block, bytes);
            self.shared.set_records(&chain);
        }
        // A receiver that is gone no longer wants to know.
        for (seq, reply) in replies {
            let _ = reply.send(Ok(seq));
        }
        Ok(())
    }
}

impl UnderWay {
    pub(super) const fn of(chain: Chain, replies: Vec<(u64, Reply<u64>)>) -> Self {
        Self { chain, replies }
    }
}
