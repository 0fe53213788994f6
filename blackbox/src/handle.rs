//! What the agent holds of a journal: append, read, cursors, small states.

use crate::age::Age;
use crate::block::{Block, BlockError, Held};
use crate::control::{Context, ContextId, Contexts, ControlQueue, ControlRecord};
use crate::frames::Frames;
use crate::index::{Index, slot};
use crate::journal::{DOUBT_KEY, Options};
use crate::openings::{EraseError, Erased, Erasure, Shown};
use crate::prune::Usage;
use crate::store::Store;
use crossbeam_queue::ArrayQueue;
use nooterra_evidence::{MAX_RECORD_BYTES, Record};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::time::{MonoNanos, Stamp};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::Thread;
use std::time::Duration;

/// The largest small state, in bytes.
pub const MAX_STATE_BYTES: usize = 16 * 1024;

/// What the inbox may weigh.
const MAX_INBOX_BYTES: usize = 4 * 1024 * 1024;

/// What a record weighs beside the texts and bytes in it.
const RECORD_OVERHEAD: usize = 512;

/// How many blocks of a class are looked up at once.
const BLOCKS_AT_ONCE: usize = 32;

/// What is read at once of records in which pictures are looked for.
const READ_AT_ONCE: usize = 1024 * 1024;

/// Why an entry is not in the journal.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// It has no canonical form; nothing that this release makes.
    #[error("the entry cannot be encoded: {0}")]
    Encode(String),
    /// The disk does not keep up. Nothing was stored.
    #[error("the journal's queue is full; the disk does not keep up")]
    Full,
    /// A write failed before: disk full, a failing device. Nothing is stored any more.
    #[error("the journal stopped: {0}; free space or replace the disk, then restart the agent")]
    Poisoned(String),
    /// Larger than a record may be.
    #[error("an entry of about {0} bytes, a record has at most {MAX_RECORD_BYTES}")]
    TooLarge(usize),
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A block that was in order when it was opened or written no longer is.
    #[error("the journal is damaged at record {seq}: {why}; verify it")]
    Damaged {
        /// First record of the block.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// The store did not answer.
    #[error("the journal cannot be read: {0}")]
    Store(String),
}

/// Why a small state was not kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// As for an append.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store did not answer.
    #[error("the state cannot be read: {0}")]
    Store(String),
    /// Larger than [`MAX_STATE_BYTES`].
    #[error("a state of {0} bytes, at most {MAX_STATE_BYTES} are kept")]
    TooLarge(usize),
}

/// A journal, shared. All of it may be called from any thread; what waits says so.
#[derive(Clone)]
pub struct JournalHandle {
    pub(crate) shared: Arc<Shared>,
}

impl JournalHandle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues an entry, stamped now; it is durable some 10 ms later. Does not wait.
    ///
    /// # Errors
    /// [`AppendError::Full`] when the writer is behind by the queue's length: nothing was
    /// stored. All others of [`AppendError`].
    pub fn append(&self, entry: Entry) -> Result<(), AppendError> {
        let item = self.item(entry, None)?;
        let mut inbox = self.shared.inbox();
        self.shared.admit(&inbox)?;
        if !inbox.has_room(&item) {
            return Err(AppendError::Full);
        }
        let many = inbox.push(item, &self.shared.age);
        drop(inbox);
        if many {
            self.shared.wake_writer();
        }
        Ok(())
    }

    /// Appends an entry and waits until it is on the disk; also waits for room in a full
    /// queue. Returns its sequence number.
    ///
    /// # Errors
    /// [`AppendError`], except `Full`.
    pub fn append_durable(&self, entry: Entry) -> Result<u64, AppendError> {
        let (reply, answer) = sync_channel(1);
        let item = self.item(entry, Some(reply))?;
        self.submit(item)?;
        answer.recv().unwrap_or_else(|_| Err(self.shared.refusal()))
    }

    /// The producer's end of the control queue, for the one real-time thread.
    #[must_use]
    pub fn control_queue(&self) -> ControlQueue {
        ControlQueue { age: Arc::clone(&self.shared.age), queue: Arc::clone(&self.shared.control) }
    }

    /// What control records mean from now on; they carry the returned id.
    pub fn set_context(&self, context: Context) -> ContextId {
        self.shared.contexts.set(context)
    }

    /// How long the oldest critical or normal record, or control record, has waited to
    /// become durable; zero when none waits, [`Duration::MAX`] when the journal is poisoned.
    /// Atomics only.
    #[must_use]
    pub fn oldest_uncommitted_age(&self, now: MonoNanos) -> Duration {
        self.shared.age.oldest(now)
    }

    /// Durable records of a class after a sequence number, in order, as stored: at most
    /// `max_bytes` of them, and at least one when there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_from(
        &self,
        class: Class,
        after_seq: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
        let (mut found, mut size, mut after) = (Vec::new(), 0_usize, after_seq);
        loop {
            let blocks = self.index().blocks_after(class, after, BLOCKS_AT_ONCE);
            let (before, last_round) = (after, blocks.len() < BLOCKS_AT_ONCE);
            for first_seq in blocks {
                let Some(bytes) = self.block(first_seq)? else {
                    continue;
                };
                let block = read_block(first_seq, &bytes)?;
                for (seq, row, record) in block.records(&bytes) {
                    if row.class != class || row.held != Held::Whole || seq <= before {
                        continue;
                    }
                    size = size.saturating_add(record.len());
                    if size > max_bytes && !found.is_empty() {
                        return Ok(found);
                    }
                    found.push((seq, record.to_vec()));
                }
                after = after.max(block.last_seq());
            }
            if last_round {
                return Ok(found);
            }
        }
    }

    /// What to call after each commit, from the writer thread: short, and never waiting.
    /// Replaces the one before.
    pub fn set_notify(&self, notify: Box<dyn Fn() + Send + Sync>) {
        *self.shared.notify.write().unwrap_or_else(PoisonError::into_inner) = Some(notify);
    }

    /// How far the cloud has acknowledged a class; 0 when nothing.
    #[must_use]
    pub fn acked(&self, class: Class) -> u64 {
        self.shared.cursors[slot(class)].load(Ordering::Acquire)
    }

    /// The cloud has made this class durable up to and with `seq`. Kept at the latest a second
    /// later: after a crash a little is sent again. Never goes back,
    /// and an acknowledgement of what was never written is ignored.
    pub fn set_acked(&self, class: Class, seq: u64) {
        if seq > self.records() {
            tracing::warn!(class = class.name(), seq, "acknowledged a record that is not written");
            return;
        }
        self.shared.cursors[slot(class)].fetch_max(seq, Ordering::AcqRel);
    }

    /// The highest `actor_seq` of a durable fact of this journal; 0 when there is none.
    #[must_use]
    pub fn last_actor_seq(&self) -> u64 {
        self.shared.last_actor_seq.load(Ordering::Acquire)
    }

    /// Durable records, which is also the last one's sequence number.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Acquire)
    }

    /// Which journal this is.
    #[must_use]
    pub fn journal_id(&self) -> &JournalId {
        &self.shared.id
    }

    /// Why nothing is written any more, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a small state beside the journal: replay-protection memory, a job's progress,
    /// the last trusted time. Durable when it returns. States are not part of the chain:
    /// nothing that must be proved belongs here.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_state(&self, key: &str, bytes: &[u8]) -> Result<(), StateError> {
        let size = key.len() + bytes.len();
        if size > MAX_STATE_BYTES {
            return Err(StateError::TooLarge(size));
        }
        self.set_state(state_key(key).into_bytes(), bytes.to_vec())
    }

    fn set_state(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StateError> {
        let (reply, answer) = sync_channel(1);
        let weight = key.len() + value.len();
        self.submit(Item { weight, what: What::State { key, value, reply } })?;
        Ok(answer.recv().unwrap_or_else(|_| Err(self.shared.refusal()))?)
    }

    /// Queues a small state that is durable before every entry that is queued after it. Does not
    /// wait: for who must not, and needs the order only.
    ///
    /// # Errors
    /// [`AppendError::Full`] when the writer is behind by the queue's length: nothing is kept.
    /// [`AppendError::TooLarge`] beyond [`MAX_STATE_BYTES`]. All others of [`AppendError`].
    pub fn queue_state(&self, key: &str, bytes: &[u8]) -> Result<(), AppendError> {
        let size = key.len() + bytes.len();
        if size > MAX_STATE_BYTES {
            return Err(AppendError::TooLarge(size));
        }
        let (key, value) = (state_key(key).into_bytes(), bytes.to_vec());
        let item = Item { weight: size, what: What::Ahead { key, value } };
        let mut inbox = self.shared.inbox();
        self.shared.admit(&inbox)?;
        if !inbox.has_room(&item) {
            return Err(AppendError::Full);
        }
        inbox.push(item, &self.shared.age);
        Ok(())
    }

    /// A small state; `None` when it was never kept.
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub fn get_state(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let value = self.shared.store.state(state_key(key).as_bytes());
        value.map_err(|error| StateError::Store(error.to_string()))
    }

    /// States were lost with a damaged journal, or may be older than they were: nothing came over
    /// into this one, or what was found among damaged bytes. It stays so, whatever happens, until
    /// [`JournalHandle::settle_states`].
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub fn states_are_doubted(&self) -> Result<bool, StateError> {
        let doubt = self.shared.store.state(DOUBT_KEY);
        // Settled, it holds a byte.
        let doubt = doubt.map_err(|error| StateError::Store(error.to_string()))?;
        Ok(doubt.is_some_and(|doubt| doubt.is_empty()))
    }

    /// Whoever keeps states has dealt with their loss.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settle_states(&self) -> Result<(), StateError> {
        self.set_state(DOUBT_KEY.to_vec(), vec![1])
    }

    /// Erases openings of private fields and pictures, for ever, and records that it did. Returns
    /// what went when it is gone; records are as before, and verify. Waits, and holds up the
    /// writer while it does: some milliseconds for each megabyte of openings, and one sync of the
    /// disk for each picture. Where there are pictures, it reads all normal records before.
    ///
    /// # Errors
    /// [`EraseError`]. After an error of the files the next start finishes what was begun.
    pub fn erase(&self, erasure: Erasure) -> Result<Erased, EraseError> {
        let shown = self.shown();
        let (reply, answer) = sync_channel(1);
        let erasure = Box::new(erasure);
        self.submit(Item { weight: 0, what: What::Erase { erasure, reply, shown } })?;
        answer.recv().unwrap_or_else(|_| Err(self.shared.refusal().into()))
    }

    /// Which records name a picture, where there are any. Pictures can be erased though some of
    /// the records cannot be read.
    fn shown(&self) -> Shown {
        let mut shown = Shown::default();
        if self.shared.frames.as_ref().is_none_or(|frames| frames.size().0 == 0) {
            return shown;
        }
        let mut after = 0;
        loop {
            match self.read_from(Class::Normal, after, READ_AT_ONCE) {
                Ok(records) => {
                    let Some((last, _)) = records.last() else { return shown };
                    after = *last;
                    for (_, bytes) in &records {
                        // One that this release cannot read names no picture that it knows.
                        if let Ok(record) = Record::decode(bytes) {
                            shown.add(&record);
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "not every picture that is erased is named by record");
                    return shown;
                }
            }
        }
    }

    /// What the journal takes on the disk, and what it may take. Asks the file system.
    ///
    /// # Errors
    /// [`StateError::Store`] when that does not answer.
    pub fn usage(&self) -> Result<Usage, StateError> {
        let disk_bytes = self.shared.store.disk_bytes();
        let disk_bytes = disk_bytes.map_err(|error| StateError::Store(error.to_string()))?;
        let index = self.index();
        Ok(Usage {
            bulk_bytes: index.class_bytes(Class::Bulk),
            critical_bytes: index.class_bytes(Class::Critical),
            disk_bytes,
            disk_quota_bytes: self.shared.options.quota.disk_bytes,
            normal_bytes: index.class_bytes(Class::Normal),
            oldest: index.oldest(),
            pruned_through: index.first_seq().unwrap_or(1).saturating_sub(1),
        })
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn item(
        &self,
        entry: Entry,
        reply: Option<SyncSender<Result<u64, AppendError>>>,
    ) -> Result<Item, AppendError> {
        let weight = weigh(&entry);
        if weight > MAX_RECORD_BYTES {
            return Err(AppendError::TooLarge(weight));
        }
        let stamp = self.shared.options.clock.stamp();
        Ok(Item { weight, what: What::Entry { entry: Box::new(entry), reply, stamp } })
    }

    /// Queues and wakes the writer; waits while there is no room.
    fn submit(&self, item: Item) -> Result<(), AppendError> {
        let mut inbox = self.shared.inbox();
        loop {
            self.shared.admit(&inbox)?;
            if inbox.has_room(&item) {
                break;
            }
            inbox = self.shared.room.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        inbox.push(item, &self.shared.age);
        drop(inbox);
        self.shared.wake_writer();
        Ok(())
    }

    /// A block; `None` when it was pruned since it was looked up.
    fn block(&self, first_seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        match self.shared.store.block(first_seq) {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) if !self.index().contains(first_seq) => Ok(None),
            Ok(None) => Err(ReadError::Damaged { seq: first_seq, why: "it is missing".to_owned() }),
            Err(error) => Err(ReadError::Store(error.to_string())),
        }
    }
}

impl fmt::Debug for JournalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalHandle({}, {} records)", self.shared.id, self.records())
    }
}

fn read_block(seq: u64, bytes: &[u8]) -> Result<Block, ReadError> {
    Block::read(bytes)
        .map_err(|error: BlockError| ReadError::Damaged { seq, why: error.to_string() })
}

fn state_key(key: &str) -> String {
    format!("s/{key}")
}

/// About how large the record will be: exact for what can be large.
fn weigh(entry: &Entry) -> usize {
    let carried = match entry {
        Entry::Checkpoint(blob) | Entry::Fact(blob) => blob.0.len(),
        Entry::CommandReceived(body) => {
            body.signed.get().map_or(0, |signed| signed.0.len()) + body.ask.len()
        }
        Entry::CommandRefused(body) => body.reason.len(),
        Entry::Gap(body) => body.reason.len(),
        Entry::Link(body) => body.reason.as_ref().map_or(0, String::len),
        Entry::PolicyStep(body) => body.reason.len(),
        Entry::SkillLog(body) => body.message.get().map_or(0, String::len),
        Entry::SkillChecked(body) => body.reason.len(),
        Entry::SkillGraph(body) => body.why.len() + 32 * body.position.0.len(),
        Entry::SkillInstall(body) => body.reason.len(),
        Entry::SkillTrust(body) => body.reason.len(),
        Entry::SkillStep(body) => body.request.len() + body.status.get().map_or(0, String::len),
        Entry::Stop(body) => body.reason.len(),
        Entry::Boot(body) => body.agent_version.len(),
        Entry::Flight(body) => body.rows.0.len() + 32 * body.rules.len(),
        Entry::SkillInput(body) => body.rows.0.len() + body.action.len(),
        Entry::AsideRemoved(body) => body.reason.len() + body.name.len(),
        Entry::Crash(_)
        | Entry::FlightNote(_)
        | Entry::Incident(_)
        | Entry::Sample(_)
        | Entry::Policy(_)
        | Entry::SensorGated(_)
        | Entry::Shadow(_)
        | Entry::SkillFrame(_)
        | Entry::SkillSensor(_)
        | Entry::Verdict(_) => 0,
    };
    carried.saturating_add(RECORD_OVERHEAD)
}

/// Something for the writer to do.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) weight: usize,
    pub(crate) what: What,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum What {
    /// A state that is durable before what was queued after it, and after what was before it.
    Ahead {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Entry {
        entry: Box<Entry>,
        reply: Option<SyncSender<Result<u64, AppendError>>>,
        stamp: Stamp,
    },
    Erase {
        /// Boxed: every record that waits has the size of the largest of these.
        erasure: Box<Erasure>,
        reply: SyncSender<Result<Erased, EraseError>>,
        shown: Shown,
    },
    State {
        key: Vec<u8>,
        value: Vec<u8>,
        reply: SyncSender<Result<(), AppendError>>,
    },
}

/// What waits for the writer.
#[derive(Debug)]
pub(crate) struct Inbox {
    capacity: usize,
    items: VecDeque<Item>,
    /// `Some(true)`: end in order; `Some(false)`: end without the clean mark.
    pub(crate) stop: Option<bool>,
    weight: usize,
}

impl Inbox {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, items: VecDeque::new(), stop: None, weight: 0 }
    }

    pub(crate) fn stop(&mut self, clean: bool) {
        self.stop.get_or_insert(clean);
    }

    pub(crate) fn take(&mut self) -> VecDeque<Item> {
        self.weight = 0;
        std::mem::take(&mut self.items)
    }

    /// What was queued before the next state that has its place among the entries, or that state
    /// and what is behind it, up to the next.
    pub(crate) fn split(items: &mut VecDeque<Item>) -> VecDeque<Item> {
        let mut behind = items.iter().enumerate().skip(1);
        let next = behind.find(|(_, item)| matches!(item.what, What::Ahead { .. }));
        let rest = next.map(|(at, _)| at).map(|at| items.split_off(at)).unwrap_or_default();
        std::mem::replace(items, rest)
    }

    fn has_room(&self, item: &Item) -> bool {
        self.items.len() < self.capacity && self.weight + item.weight <= MAX_INBOX_BYTES
    }

    /// Returns whether a full block waits.
    fn push(&mut self, item: Item, age: &Age) -> bool {
        if let What::Entry { entry, stamp, .. } = &item.what
            && entry.class() != Class::Bulk
        {
            age.queued(stamp.mono);
        }
        self.weight += item.weight;
        self.items.push_back(item);
        self.weight > crate::block::TARGET_BYTES
    }
}

/// What the handles and the writer share.
pub(crate) struct Shared {
    pub(crate) age: Arc<Age>,
    pub(crate) contexts: Contexts,
    pub(crate) control: Arc<ArrayQueue<ControlRecord>>,
    pub(crate) cursors: [AtomicU64; 3],
    pub(crate) frames: Option<Arc<Frames>>,
    pub(crate) id: JournalId,
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) index: RwLock<Index>,
    pub(crate) last_actor_seq: AtomicU64,
    pub(crate) notify: RwLock<Option<Box<dyn Fn() + Send + Sync>>>,
    pub(crate) options: Options,
    pub(crate) poison: Mutex<Option<String>>,
    pub(crate) records: AtomicU64,
    pub(crate) room: Condvar,
    pub(crate) store: Store,
    pub(crate) writer: OnceLock<Thread>,
}

impl Shared {
    /// A thread that panicked with the lock held left nothing half done: each change under it
    /// is one assignment or one push.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything may still be queued.
    fn admit(&self, inbox: &Inbox) -> Result<(), AppendError> {
        if self.age.is_poisoned() || inbox.stop.is_some() { Err(self.refusal()) } else { Ok(()) }
    }

    /// Nothing will be written any more; the first reason stays.
    pub(crate) fn poison(&self, why: &str) {
        let mut poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        if poison.is_none() {
            tracing::error!(why, "the journal stopped; nothing is recorded any more");
            *poison = Some(why.to_owned());
        }
        drop(poison);
        self.age.poison();
    }

    /// Why nothing is queued any more.
    pub(crate) fn refusal(&self) -> AppendError {
        let poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        poison.clone().map_or(AppendError::Closed, AppendError::Poisoned)
    }
}
