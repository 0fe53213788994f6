//! The writer thread: takes what waits, gives it its order and its links, and makes it
//! durable block by block. What the journal says of itself is in `statements`, how it keeps
//! within its bound in `trim`, how openings go in `erasing`, how it goes on while a full block is
//! synced in `ahead`.

mod ahead;
mod erasing;
mod statements;
mod trim;

use crate::block::{Block, Encoded, HEAD_BYTES, Held, MAX_BYTES, ROW_BYTES, Running, TARGET_BYTES};
use crate::handle::{AppendError, Inbox, Item, Shared, What};
use crate::index::slot;
use crate::journal::{MARK_KEY, cursor_key};
use crate::leaves::{Known, TREE_KEY};
use crate::openings::{self, OpeningStore};
use crate::prune::Pruned;
use crate::rebuild::Holes;
use crate::roots::Fresh;
use crate::scan::Mark;
use crate::store::StoreError;
use ahead::{Lane, UnderWay};
use nooterra_evidence::{
    Checkpoint, GENESIS, RecordError, Seal, Tree, checkpoint, cose, head, leaf_hash, link,
};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry, Gap};
use nooterra_protocol::event::Fact;
use nooterra_protocol::time::{MonoNanos, Stamp, WallMillis};
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The longest that a record waits for company.
const COMMIT_EVERY: Duration = Duration::from_millis(10);

/// The longest that is waited to keep what a crash may take without harm: cursors, and the
/// shortcuts of the tree.
const KEPT_EVERY: Duration = Duration::from_secs(1);

/// The end of the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) actor_seq: u64,
    pub(crate) boot: u64,
    pub(crate) checkpoint_seq: u64,
    pub(crate) head: Digest,
    pub(crate) last_seq: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { actor_seq: 0, boot: 0, checkpoint_seq: 0, head: GENESIS, last_seq: 0 }
    }
}

impl Chain {
    /// The run mark at this point.
    pub(crate) const fn mark(&self, closed: bool) -> Mark {
        Mark { boot: self.boot, closed, last_seq: self.last_seq, head: self.head }
    }
}

type Reply<T> = SyncSender<Result<T, AppendError>>;

/// What becomes a record.
struct Ready {
    entry: Box<Entry>,
    reply: Option<Reply<u64>>,
    stamp: Stamp,
}

/// States to be kept, and who waits for them.
#[derive(Default)]
struct States {
    changes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Also what can wait for other changes.
    keeps: bool,
    replies: Vec<Reply<()>>,
}

/// What a journal was when it was opened, beside its chain.
pub(crate) struct Kept {
    pub(crate) holes: Holes,
    pub(crate) openings: OpeningStore,
    pub(crate) pruned: Pruned,
    pub(crate) tree: Tree,
}

/// A block under construction.
#[derive(Default)]
struct Draft {
    /// Its records, one after the other: an allocation for each would be given back by the
    /// hundred, which costs the allocator more than one that grows.
    body: Vec<u8>,
    /// What opens its records: durable before they are.
    openings: Vec<(Class, openings::format::Kept)>,
    /// The link before the first record.
    previous: Digest,
    records: Vec<Encoded<Range<usize>>>,
    replies: Vec<(u64, Reply<u64>)>,
    size: usize,
}

/// The thread's state.
pub(crate) struct Writer {
    /// When it was last looked at what is too old.
    ages_at: MonoNanos,
    chain: Chain,
    kept_at: MonoNanos,
    cursors_kept: [u64; 3],
    /// This start said what the erasing is about that is not finished.
    erase_said: bool,
    /// When openings may be erased for room again, after that did not succeed.
    erasing_at: MonoNanos,
    /// What the journal lost.
    holes: Holes,
    /// Syncs full blocks; `None` until there was one.
    lane: Option<Lane>,
    last_checkpoint_at: MonoNanos,
    openings: OpeningStore,
    /// What it pruned.
    pruned: Pruned,
    /// What all blocks weighed when it was last looked at what to prune.
    pruned_at_bytes: u64,
    /// When it may say again that it prunes, after a key did not sign.
    pruning_at: MonoNanos,
    /// Where records are encoded.
    room: head::Room,
    /// Of the tree, not kept yet.
    roots: Fresh,
    seal: Seal,
    shared: Arc<Shared>,
    /// Of all records.
    tree: Tree,
    /// The tree that the last checkpoint signed, until it is kept.
    tree_to_keep: Option<Known>,
    /// Records since the last checkpoint.
    uncovered: u64,
    /// The block that is being synced.
    under_way: Option<UnderWay>,
    /// Bytes of blocks since it was last looked at what to prune.
    unpruned: usize,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, chain: Chain, kept: Kept, seal: Seal) -> Self {
        let Kept { holes, openings, pruned, tree } = kept;
        let now = shared.options.clock.stamp().mono;
        let cursors_kept = [0, 1, 2].map(|i| shared.cursors[i].load(Ordering::Acquire));
        let uncovered = chain.last_seq - chain.checkpoint_seq;
        Self {
            ages_at: now,
            chain,
            kept_at: now,
            cursors_kept,
            erase_said: false,
            erasing_at: now,
            holes,
            lane: None,
            last_checkpoint_at: now,
            openings,
            pruned,
            pruned_at_bytes: 0,
            pruning_at: now,
            room: head::Room::default(),
            roots: Fresh::default(),
            seal,
            shared,
            tree,
            tree_to_keep: None,
            uncovered,
            under_way: None,
            unpruned: 0,
        }
    }

    /// Until asked to stop or poisoned.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let ended = catch_unwind(AssertUnwindSafe(move || self.work()));
        let why = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the writer thread panicked".to_owned()),
        };
        if let Some(why) = why {
            shared.poison(&why);
        }
        // What still waits is refused: its senders are dropped, or answered here.
        let mut inbox = shared.inbox();
        inbox.stop(false);
        let items = inbox.take();
        drop(inbox);
        shared.room.notify_all();
        for item in items {
            refuse(item, &shared.refusal());
        }
        notify(&shared);
        // A callback that holds a handle would keep all of this alive for ever.
        *shared.notify.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn work(&mut self) -> Result<(), StoreError> {
        self.tell_holes(self.shared.options.clock.stamp())?;
        self.bound_openings(self.shared.options.clock.stamp())?;
        loop {
            let dropped = self.shared.age.taking();
            let mut inbox = self.shared.inbox();
            let (mut items, stop) = (inbox.take(), inbox.stop);
            drop(inbox);
            self.shared.room.notify_all();
            let mut work = self.round(Inbox::split(&mut items), dropped)?;
            while !items.is_empty() {
                work |= self.round(Inbox::split(&mut items), 0)?;
            }
            self.shared.age.committed();
            match stop {
                Some(true) => return self.end(),
                Some(false) => return Ok(()),
                None => {}
            }
            if work {
                notify(&self.shared);
            }
            self.prune(self.shared.options.clock.stamp())?;
            self.bound_openings(self.shared.options.clock.stamp())?;
            std::thread::park_timeout(COMMIT_EVERY);
        }
    }

    /// Commits all that was taken; returns whether there was anything.
    fn round(&mut self, items: VecDeque<Item>, dropped: u64) -> Result<bool, StoreError> {
        let now = self.shared.options.clock.stamp();
        let mut ready = Vec::with_capacity(items.len());
        let mut states = States::default();
        let mut erasures = Vec::new();
        for item in items {
            match item.what {
                // It is the first of its round.
                What::Ahead { key, value } => {
                    let changes = vec![(key, value)];
                    let states = States { changes, ..States::default() };
                    self.commit(Draft::default(), states, now.mono)?;
                }
                What::Entry { entry, reply, stamp } => {
                    ready.push(Ready { entry, reply, stamp });
                }
                What::Erase { erasure, reply, shown } => erasures.push((erasure, shown, reply)),
                What::State { key, value, reply } => {
                    states.changes.push((key, value));
                    states.replies.push(reply);
                }
            }
        }
        for _ in 0..self.shared.control.capacity() {
            let Some(record) = self.shared.control.pop() else {
                break;
            };
            let stamp = stamp_at(record.at(), now);
            let entry = Box::new(record.into_entry(&self.shared.contexts));
            ready.push(Ready { entry, reply: None, stamp });
        }
        if dropped > 0 {
            tracing::error!(dropped, "the control queue was full; verdicts are missing");
            let reason = "the control queue was full".to_owned();
            let entry = Box::new(Entry::Gap(Gap { dropped, reason }));
            ready.push(Ready { entry, reply: None, stamp: now });
        }
        // Two queues, one order: that of the moments. Stable, so each queue keeps its own.
        ready.sort_by_key(|ready| ready.stamp.mono);

        let had_work = !ready.is_empty() || !states.changes.is_empty();
        let mut draft = Draft::default();
        for ready in ready {
            self.add(ready, &mut draft)?;
            if self.unpruned >= trim::ROUND_BYTES {
                self.commit(std::mem::take(&mut draft), States::default(), now.mono)?;
                self.prune(now)?;
            }
        }
        if self.checkpoint_due(now.mono) {
            if self.holes.untold {
                // What it says is a block of its own, behind all that has its number already.
                self.commit(std::mem::take(&mut draft), States::default(), now.mono)?;
            }
            self.tell_holes(now)?;
            self.add_checkpoint(now, &mut draft)?;
        }
        let kept_due = now.mono.since(self.kept_at).is_none_or(|age| age >= KEPT_EVERY);
        states.keeps = kept_due;
        if !draft.records.is_empty() || !states.changes.is_empty() || kept_due {
            self.commit(draft, states, now.mono)?;
        }
        self.settle()?;
        for (erasure, shown, reply) in erasures {
            self.erase(&erasure, &shown, &reply, now)?;
        }
        Ok(had_work)
    }

    /// Puts one record into the draft; commits the draft first when it has no room.
    fn add(&mut self, ready: Ready, draft: &mut Draft) -> Result<(), StoreError> {
        let Ready { mut entry, reply, stamp } = ready;
        let (seq, boot) = (self.chain.last_seq + 1, self.chain.boot);
        let covers = matches!(*entry, Entry::Checkpoint(_));
        let actor_seq = self.actor_seq_of(&entry);
        let sealed = self.seal_entry(&mut entry, seq, stamp);
        let (class, mut room) = (entry.class(), std::mem::take(&mut self.room));
        let encoded = match sealed {
            Ok(openings) => head::encode(&mut room, &entry, class, seq, boot, stamp)
                .map(|bytes| (bytes, openings)),
            Err(error) => Err(error),
        };
        let (bytes, openings) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(%error, "an entry was refused by the journal");
                if let Some(reply) = reply {
                    let _ = reply.send(Err(match error {
                        RecordError::TooLarge(size) => AppendError::TooLarge(size),
                        other => AppendError::Encode(other.to_string()),
                    }));
                }
                return Ok(());
            }
        };
        self.put(class, bytes, stamp, draft)?;
        self.room = room;
        // A commit is bounded in what it opens, too.
        draft.size += openings.iter().map(|kept| kept.weight()).sum::<usize>();
        draft.openings.extend(openings.into_iter().map(|kept| (class, kept)));
        self.chain.actor_seq = self.chain.actor_seq.max(actor_seq.unwrap_or(0));
        draft.replies.extend(reply.map(|reply| (seq, reply)));
        if !covers {
            self.uncovered += 1;
            if self.uncovered >= self.shared.options.checkpoint_every_records {
                self.add_checkpoint(stamp, draft)?;
            }
        }
        Ok(())
    }

    /// Puts the bytes of the next record into the draft.
    fn put(
        &mut self,
        class: Class,
        bytes: &[u8],
        stamp: Stamp,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        let size = ROW_BYTES + bytes.len();
        if !draft.records.is_empty()
            && (draft.size >= TARGET_BYTES || HEAD_BYTES + draft.size + size > MAX_BYTES)
        {
            self.commit_ahead(std::mem::take(draft), stamp.mono)?;
        }
        if draft.records.is_empty() {
            draft.previous = self.chain.head;
        }
        let leaf = leaf_hash(bytes);
        self.chain.head = link(&self.chain.head, &leaf);
        self.chain.last_seq += 1;
        let roots = &mut self.roots;
        self.tree.push_noting(leaf, &mut |level, index, root| roots.note(level, index, root));
        draft.size += size;
        let (held, link) = (Held::Whole, self.chain.head);
        let start = draft.body.len();
        draft.body.extend_from_slice(bytes);
        let bytes = start..draft.body.len();
        draft.records.push(Encoded { bytes, class, held, link });
        Ok(())
    }

    fn checkpoint_due(&self, now: MonoNanos) -> bool {
        let age = now.since(self.last_checkpoint_at);
        self.uncovered > 0 && age.is_none_or(|age| age >= self.shared.options.checkpoint_every)
    }

    /// A checkpoint over all before it. A key that does not sign is no reason to stop
    /// recording: it is tried again when the next one is due.
    fn add_checkpoint(&mut self, now: Stamp, draft: &mut Draft) -> Result<(), StoreError> {
        (self.uncovered, self.last_checkpoint_at) = (0, now.mono);
        let options = &self.shared.options;
        let context = self.shared.contexts.newest();
        let checkpoint = Checkpoint {
            boot: self.chain.boot,
            head: self.chain.head,
            journal: self.shared.id.clone(),
            policy_hash: context.map_or(options.policy_hash, |context| context.policy_hash),
            root: self.tree.root(),
            size: self.chain.last_seq,
            stamp: now,
            v: checkpoint::VERSION,
        };
        match checkpoint.into_entry(&self.seal) {
            Ok(entry) => {
                let before = self.chain.last_seq;
                self.tree_to_keep = Some(Known::of(&self.tree, self.chain.head));
                self.add(Ready { entry: Box::new(entry), reply: None, stamp: now }, draft)?;
                if self.chain.last_seq > before {
                    self.chain.checkpoint_seq = self.chain.last_seq;
                }
            }
            Err(error) => tracing::error!(%error, "a checkpoint was not signed"),
        }
        Ok(())
    }

    /// Makes a draft and states durable, then tells whoever waits.
    fn commit(&mut self, draft: Draft, states: States, now: MonoNanos) -> Result<(), StoreError> {
        self.settle()?;
        let States { mut changes, keeps, replies } = states;
        if keeps || !changes.is_empty() {
            changes.extend(self.waiting(now));
        }
        let block = self.block_of(&draft);
        if block.is_none() && changes.is_empty() {
            return Ok(());
        }
        let changes: Vec<_> = changes.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        let block = block.map(|(first_seq, bytes)| [(first_seq, Some(bytes))]);
        let opened = self.openings.append(&draft.openings, now);
        let opened = opened.map_err(|error| StoreError::io("write the openings", error));
        let blocks = block.as_ref().map_or(&[][..], |block| &block[..]);
        let commit = |()| self.shared.store.commit(blocks, &changes);
        let written = opened.and_then(commit);
        let written = self.written(blocks, UnderWay::of(self.chain, draft.replies), written);
        let answer = written.as_ref().map_err(|_| self.shared.refusal()).copied();
        for reply in replies {
            let _ = reply.send(answer.clone());
        }
        written
    }

    /// The states that can wait, and have changed: to lose them costs a crash some time only.
    fn waiting(&mut self, now: MonoNanos) -> Vec<(Vec<u8>, Vec<u8>)> {
        let cursors = [0, 1, 2].map(|i| self.shared.cursors[i].load(Ordering::Acquire));
        let mut changes: Vec<(Vec<u8>, Vec<u8>)> = Class::ALL
            .into_iter()
            .filter(|class| cursors[slot(*class)] != self.cursors_kept[slot(*class)])
            .map(|class| {
                (cursor_key(class).into_bytes(), cursors[slot(class)].to_be_bytes().to_vec())
            })
            .collect();
        (self.cursors_kept, self.kept_at) = (cursors, now);
        if let Some(known) = self.tree_to_keep.take()
            && let Ok(bytes) = known.encode()
        {
            changes.push((TREE_KEY.to_vec(), bytes));
        }
        changes.extend(self.roots.take());
        changes
    }

    /// The draft as a block; it ends where the chain ends now.
    fn block_of(&self, draft: &Draft) -> Option<(u64, Vec<u8>)> {
        if draft.records.is_empty() {
            return None;
        }
        let first_seq = self.chain.last_seq + 1 - draft.records.len() as u64;
        let Chain { boot, actor_seq, checkpoint_seq, .. } = self.chain;
        let running = Running { boot, actor_seq, checkpoint_seq };
        let records = draft.records.iter().map(|record| {
            let Encoded { class, held, link, .. } = *record;
            let bytes = draft.body.get(record.bytes.clone()).unwrap_or_default();
            Encoded { bytes, class, held, link }
        });
        let records: Vec<Encoded<&[u8]>> = records.collect();
        Some((first_seq, Block::encode(first_seq, &draft.previous, running, &records)))
    }

    /// The last checkpoint and the clean mark.
    fn end(&mut self) -> Result<(), StoreError> {
        let now = self.shared.options.clock.stamp();
        let mut draft = Draft::default();
        if self.uncovered > 0 {
            self.add_checkpoint(now, &mut draft)?;
        }
        self.commit(draft, States { keeps: true, ..States::default() }, now.mono)?;
        // Nothing is lost by zeros that stay.
        if let Err(error) = self.shared.store.trim() {
            tracing::warn!(%error, "the journal keeps room that it needs no more");
        }
        let mark = self.chain.mark(true).encode();
        self.shared.store.commit(&[], &[(MARK_KEY, &mark)])
    }

    /// The count of a fact of this journal.
    fn actor_seq_of(&self, entry: &Entry) -> Option<u64> {
        let Entry::Fact(blob) = entry else {
            return None;
        };
        let fact: Fact = cose::danger_unverified(&blob.0).ok()?;
        (fact.journal == self.shared.id).then_some(fact.actor_seq)
    }
}

fn refuse(item: Item, error: &AppendError) {
    match item.what {
        What::Entry { reply: Some(reply), .. } => drop(reply.send(Err(error.clone()))),
        What::Ahead { .. } | What::Entry { reply: None, .. } => {}
        What::Erase { reply, .. } => drop(reply.send(Err(error.clone().into()))),
        What::State { reply, .. } => drop(reply.send(Err(error.clone()))),
    }
}

fn notify(shared: &Shared) {
    if let Some(notify) = &*shared.notify.read().unwrap_or_else(PoisonError::into_inner) {
        notify();
    }
}

/// Both clocks at an earlier moment of this boot.
fn stamp_at(at: MonoNanos, now: Stamp) -> Stamp {
    let ago = now.mono.since(at).unwrap_or_default();
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Stamp { mono: at, trust: now.trust, wall: WallMillis(now.wall.0.saturating_sub(ago)) }
}
