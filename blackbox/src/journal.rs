//! Opening a journal, and closing it in order.

use crate::age::Age;
use crate::aside::asides;
use crate::control::Contexts;
use crate::frames::{Frames, FramesAt, FramesError};
use crate::handle::{AppendError, Inbox, JournalHandle, Shared};
use crate::log::SEGMENT_BYTES;
use crate::openings::{OpeningStore, os_salts};
use crate::place::{self, Found};
use crate::prune::Quota;
use crate::rebuild::{Rebuilt, rebuild};
use crate::recover::{Recovered, Refused, open_store};
use crate::scan::Mark;
use crate::store::Store;
use crate::writer::{Chain, Kept, Writer};
use crossbeam_queue::ArrayQueue;
use nooterra_evidence::Seal;
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::Signer;
use nooterra_protocol::private::Salts;
use nooterra_protocol::time::Stamp;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use zeroize::Zeroizing;

/// The state that holds the run mark (`scan::Mark`).
pub(crate) const MARK_KEY: &[u8] = b"m/mark";

/// There while nobody has dealt with it that states were lost, or may be older than they were.
pub(crate) const DOUBT_KEY: &[u8] = b"m/doubt";

/// Both clocks, from above: the journal reads no clock of its own.
pub trait Clock: Send + Sync {
    /// Both clocks, read together.
    fn stamp(&self) -> Stamp;
}

/// How a journal is kept.
#[derive(Clone)]
pub struct Options {
    /// A checkpoint is due after this time, when there are new records.
    pub checkpoint_every: Duration,
    /// A checkpoint is due after this many records.
    pub checkpoint_every_records: u64,
    /// Stamps the records.
    pub clock: Arc<dyn Clock>,
    /// Fixed-size records that the control thread can be ahead of the writer.
    pub control_capacity: usize,
    /// Where pictures are kept that skills were given; none are without.
    pub frames: Option<FramesAt>,
    /// Entries that other threads can be ahead of the writer.
    pub inbox_capacity: usize,
    /// What the openings of private fields may take on the disk. Beyond it the oldest are
    /// erased, which is recorded; critical ones last. At least 256 KiB.
    pub openings_bytes: u64,
    /// What checkpoints name until a context names another.
    pub policy_hash: Digest,
    /// What it may take on the disk.
    pub quota: Quota,
    /// Salts of private fields.
    pub salts: Arc<dyn Salts>,
    /// A file of the log is followed by another when it has so many bytes. It is removed as a
    /// whole; a larger one costs fewer files, a smaller one is given back sooner. 4 KiB to 256 MiB.
    pub segment_bytes: u64,
    /// Checkpoints are signed by a key that lives for this start, certified by the device key:
    /// that one may be slow. Otherwise the device key signs each, on the writer thread, and
    /// while it signs, nothing is committed.
    pub session_key: bool,
    /// The device key.
    pub signer: Arc<dyn Signer>,
}

impl Options {
    /// The defaults: a checkpoint every 1000 records or 10 s, queues of 1024 and 4096, 1 GiB.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, signer: Arc<dyn Signer>, policy_hash: Digest) -> Self {
        Self {
            checkpoint_every: Duration::from_secs(10),
            checkpoint_every_records: 1000,
            clock,
            control_capacity: 1024,
            frames: None,
            inbox_capacity: 4096,
            openings_bytes: 64 * 1024 * 1024,
            policy_hash,
            quota: Quota::default(),
            salts: os_salts(),
            segment_bytes: SEGMENT_BYTES,
            session_key: true,
            signer,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("checkpoint_every", &self.checkpoint_every)
            .field("checkpoint_every_records", &self.checkpoint_every_records)
            .field("control_capacity", &self.control_capacity)
            .field("frames", &self.frames)
            .field("inbox_capacity", &self.inbox_capacity)
            .field("openings_bytes", &self.openings_bytes)
            .field("quota", &self.quota)
            .field("segment_bytes", &self.segment_bytes)
            .field("session_key", &self.session_key)
            .finish_non_exhaustive()
    }
}

/// Why a journal could not be opened, nor a new one made in its place.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed: no permission, disk full, read-only.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process, usually a second agent, has it open.
    #[error("{dir} is open in another process; stop that agent first", dir = .0.display())]
    Locked(PathBuf),
    /// The directory holds something else; it is left alone.
    #[error("{dir} is not a journal and not empty; name another directory", dir = .0.display())]
    NotAJournal(PathBuf),
    /// The operating system gave no randomness for the id of a new journal.
    #[error("no randomness for a new journal: {0}")]
    Random(String),
    /// The store cannot be opened or made for a reason outside its files.
    #[error("{0}; free space, check permissions, and start again")]
    Store(String),
    /// The writer thread could not be started.
    #[error("cannot start the journal's writer thread: {0}")]
    Thread(io::Error),
}

/// An open journal. Dropped without [`Journal::close`], it writes what is queued and leaves no
/// clean mark, as after a crash.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    handle: JournalHandle,
    writer: Option<JoinHandle<()>>,
    // Released last, when the writer is gone.
    _lock: place::Lock,
}

/// A journal and what was found on opening it.
#[derive(Debug)]
pub struct Opened {
    /// Which start this is, from 1.
    pub boot: u64,
    /// It was closed in order, or is the first of its directory; otherwise the last run
    /// crashed or lost power.
    pub clean: bool,
    /// The pictures, where [`Options::frames`] says that there are any. The journal goes on
    /// without those that cannot be opened.
    pub frames: Result<Option<Arc<Frames>>, FramesError>,
    /// The journal.
    pub journal: Journal,
    /// Where the journal that could not be opened was put, and why it could not.
    pub quarantined: Option<PathBuf>,
    /// Why it was put there.
    pub quarantine_reason: Option<String>,
    /// The journal goes on with all that could be read of the one that was put aside; what is
    /// missing is said by its first new record. Otherwise a new journal begins.
    pub rebuilt: bool,
}

impl Journal {
    /// Opens the journal in `dir`, or makes one. After a crash the tail since the last
    /// checkpoint is verified again. A journal that cannot be opened, or that has lost what
    /// it had acknowledged, is renamed to `DIR.bad-N`; all that can still be read of it is
    /// copied into a new one that goes on in its place and says what is missing.
    ///
    /// # Errors
    /// [`OpenError`]; damaged content is not an error.
    pub fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
        let lock = place::lock(dir)?;
        place::resume(dir)?;
        let mut put_aside = None;
        let existing = match place::find(dir)? {
            Found::Foreign => return Err(OpenError::NotAJournal(dir.to_owned())),
            Found::Nothing => None,
            Found::Damaged(why) => mend(dir, None, why, &options, &mut put_aside)?,
            Found::Journal(id) => match open_store(dir) {
                Ok((store, recovered)) => Some((id, store, recovered)),
                Err(Refused::Place(error)) => return Err(error.into()),
                Err(Refused::Damage(why)) => mend(dir, Some(id), why, &options, &mut put_aside)?,
            },
        };
        let rebuilt = put_aside.is_some() && existing.is_some();
        let (id, store, recovered) = match existing {
            Some(existing) => existing,
            None => {
                let id = place::create(dir)?;
                match open_store(dir) {
                    Ok((store, mut recovered)) => {
                        recovered.clean = put_aside.is_none();
                        (id, store, recovered)
                    }
                    Err(Refused::Place(error)) => return Err(error.into()),
                    Err(Refused::Damage(why)) => return Err(OpenError::Store(why)),
                }
            }
        };
        let Recovered { mut chain, clean, cursors, holes, index, pruned, tree } = recovered;
        chain.boot += 1;
        let boot = chain.boot;
        store.set_segment_bytes(options.segment_bytes)?;
        // Whatever happens from here on is not a clean end until `close` says so again.
        let mark = chain.mark(false).encode();
        let mut begun: Vec<(&[u8], &[u8])> = vec![(MARK_KEY, &mark)];
        // The first start of a journal that came into the place of one that was put aside, whenever
        // that was: nothing came over.
        if boot == 1 && !asides(dir).map_err(place::at(dir))?.is_empty() {
            begun.push((DOUBT_KEY, &[]));
        }
        store.commit(&[], &begun)?;
        place::write_mark(dir, &chain.mark(false))?;

        let openings = OpeningStore::open(dir, &id, options.openings_bytes, chain.last_seq);
        let openings = openings.map_err(place::at(&place::sibling(dir, ".openings")))?;
        let frames = options.frames.as_ref();
        let frames = frames.map(|at| Frames::open(at, options.clock.stamp()).map(Arc::new));
        let frames = frames.transpose();
        let known = frames.as_ref().ok().cloned().flatten();
        let openings = openings.with_pictures(known.clone());
        // It goes with the writer: when that has ended, nobody can sign for this start.
        let seal = seal(&options, boot, &id);
        let shared = Arc::new(Shared {
            age: Arc::new(Age::new()),
            contexts: Contexts::default(),
            control: Arc::new(ArrayQueue::new(options.control_capacity.max(1))),
            frames: known,
            cursors: cursors.map(AtomicU64::new),
            id,
            inbox: Mutex::new(Inbox::new(options.inbox_capacity.max(1))),
            index: RwLock::new(index),
            last_actor_seq: AtomicU64::new(chain.actor_seq),
            notify: RwLock::new(None),
            options,
            poison: Mutex::new(None),
            records: AtomicU64::new(chain.last_seq),
            room: Condvar::new(),
            store,
            writer: std::sync::OnceLock::new(),
        });
        let kept = Kept { holes, openings, pruned, tree };
        let writer = Writer::new(Arc::clone(&shared), chain, kept, seal);
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        // The one set of this cell: it was made a few lines above.
        let _ = shared.writer.set(writer.thread().clone());
        let handle = JournalHandle::new(shared);
        let dir = dir.to_owned();
        let journal = Self { dir, handle, writer: Some(writer), _lock: lock };
        let (quarantined, quarantine_reason) = put_aside.unzip();
        Ok(Opened { boot, clean, frames, journal, quarantined, quarantine_reason, rebuilt })
    }

    /// What the rest of the agent uses; clones are cheap.
    #[must_use]
    pub fn handle(&self) -> JournalHandle {
        self.handle.clone()
    }

    /// Writes what is queued, a last checkpoint and the clean mark. Handles that remain
    /// refuse from then on.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`] when any of it could not be written.
    pub fn close(mut self) -> Result<(), AppendError> {
        self.handle.shared.stop(true);
        self.join();
        match self.handle.poisoned() {
            None => Ok(()),
            Some(why) => Err(AppendError::Poisoned(why)),
        }
    }

    fn join(&mut self) {
        if let Some(writer) = self.writer.take() {
            // It catches its own panics and poisons the journal.
            let _ = writer.join();
            let store = &self.handle.shared.store;
            let mark = store.state(MARK_KEY).ok().flatten().as_deref().and_then(Mark::read);
            if let Some(mark) = mark.filter(|mark| mark.closed)
                && let Err(error) = place::write_mark(&self.dir, &mark)
            {
                tracing::warn!(%error, "the mark beside the journal's store was not written");
            }
            store.close();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.handle.shared.stop(false);
        self.join();
    }
}

/// What signs the checkpoints of this start: where no session key can be made, the device key.
fn seal(options: &Options, boot: u64, journal: &JournalId) -> Seal {
    let device = Seal::Device(Arc::clone(&options.signer));
    let mut seed = Zeroizing::new([0; 32]);
    if !options.session_key || getrandom::fill(&mut seed[..]).is_err() {
        return device;
    }
    let (signer, stamp) = (options.signer.as_ref(), options.clock.stamp());
    Seal::session(signer, *seed, boot, journal.clone(), stamp).unwrap_or_else(|error| {
        tracing::error!(%error, "the device key certified no session key");
        device
    })
}

/// An open journal, before its writer starts.
type Existing = (JournalId, Store, Recovered);

/// Rebuilds a damaged journal; `None` when nothing of it could be read.
fn mend(
    dir: &Path,
    id: Option<JournalId>,
    why: String,
    options: &Options,
    put_aside: &mut Option<(PathBuf, String)>,
) -> Result<Option<Existing>, OpenError> {
    let rebuilt = match rebuild(dir, id, &why, &options.signer.verifying_key()) {
        Ok(rebuilt) => rebuilt,
        Err(error) => {
            // No room for a second journal, most likely. The robot must still record.
            tracing::error!(%error, "a damaged journal was not rebuilt; a new one begins");
            let aside = place::free_name(dir);
            place::swap(dir, &aside)?;
            Rebuilt { aside, id: None }
        }
    };
    tracing::error!(path = %rebuilt.aside.display(), why, "a damaged journal was put aside");
    *put_aside = Some((rebuilt.aside, why));
    let Some(id) = rebuilt.id else {
        return Ok(None);
    };
    match open_store(dir) {
        Ok((store, recovered)) => Ok(Some((id, store, recovered))),
        Err(Refused::Place(error)) => Err(error.into()),
        Err(Refused::Damage(why)) => {
            // What was just written does not read: the disk is failing, or this is a defect.
            tracing::error!(why, "the rebuilt journal does not open; a new one begins");
            place::swap(dir, &place::free_name(dir))?;
            Ok(None)
        }
    }
}

/// A name for a journal of which nothing says which one it is.
pub(crate) fn new_id() -> Option<JournalId> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).ok()?;
    JournalId::new(nooterra_protocol::ids::from_entropy("jr", entropy)).ok()
}

/// Under which state a cursor is kept.
pub(crate) fn cursor_key(class: Class) -> String {
    format!("m/cursor/{}", class.name())
}

impl Shared {
    /// Asks the writer to end.
    pub(crate) fn stop(&self, clean: bool) {
        self.inbox().stop(clean);
        self.room.notify_all();
        self.wake_writer();
    }

    pub(crate) fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    pub(crate) fn set_records(&self, chain: &Chain) {
        self.last_actor_seq.store(chain.actor_seq, Ordering::Release);
        self.records.store(chain.last_seq, Ordering::Release);
    }
}
