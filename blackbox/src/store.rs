//! What a journal keeps on the disk: blocks in a log of its own ([`crate::log`]), and small states
//! (cursors, marks, what was pruned, what the agent remembers) in sled, with the discipline that
//! makes it keep what it was given.
//!
//! Measured on sled 0.34.7: its `flush` starts writing and syncs nothing, so an fdatasync of
//! its `db` file follows each one; it panics on some damaged files, so every call goes through
//! [`quietly`]; and a leaf larger than a quarter of a segment goes to a blob file that is
//! never synced, so segments are large enough for a leaf of the largest states.

use crate::log::{self, Log};
use crate::state;
use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Once, PoisonError, RwLock};
use std::time::Duration;

/// Of sled. A quarter of it holds a leaf of 17 states of the largest size.
pub(crate) const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// Pages that sled keeps in memory.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Times 20 ms.
const LOCK_ATTEMPTS: u32 = 1000;

/// The one file that holds the states, inside the directory of the store.
pub(crate) const DB_FILE: &str = "db";

/// The tree in which earlier builds kept the blocks.
const OLD_BLOCKS: &[u8] = b"blocks";

/// Begins the name of what sled writes when it opens: where its pages are.
const SNAPSHOT: &str = "snap.";

/// Ends that name until all of it is written.
const UNFINISHED: &str = ".generating";

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The journal was closed, and a handle to it is still in use.
    #[error("the journal is closed")]
    Closed,
    /// The operating system refused: disk full, read-only, no permission, a failing device.
    #[error("{what}: {source}")]
    Io { what: &'static str, kind: io::ErrorKind, source: sled::Error },
    /// sled gave up in the middle; its files are damaged.
    #[error("the store panicked: {0}")]
    Panicked(String),
    /// sled found its files damaged.
    #[error("{what}: {source}")]
    Sled { what: &'static str, source: sled::Error },
    /// A state is not as it was written.
    #[error("the state `{0}` is damaged")]
    State(String),
}

impl StoreError {
    fn new(what: &'static str, source: sled::Error) -> Self {
        match &source {
            sled::Error::Io(error) => Self::Io { what, kind: error.kind(), source },
            _ => Self::Sled { what, source },
        }
    }

    pub(crate) fn io(what: &'static str, error: io::Error) -> Self {
        Self::new(what, sled::Error::Io(error))
    }

    /// Someone has the store open; sled says so in words only.
    fn is_lock(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.to_string().contains("acquire lock"))
    }

    /// The files themselves are at fault, not the place where they are.
    pub(crate) fn is_damage(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            Self::Io { .. } if self.is_lock() => false,
            Self::Io { kind, .. } => !matches!(
                kind,
                Kind::PermissionDenied
                    | Kind::StorageFull
                    | Kind::QuotaExceeded
                    | Kind::FileTooLarge
                    | Kind::ReadOnlyFilesystem
                    | Kind::OutOfMemory
                    | Kind::WouldBlock
            ),
            Self::Closed => false,
            Self::Panicked(_) | Self::Sled { .. } | Self::State(_) => true,
        }
    }
}

/// The log, and the tree with the file beneath it.
pub(crate) struct Store {
    // `None` once closed. Handles outlive the journal; sled's lock on its file must not.
    inner: RwLock<Option<Inner>>,
}

struct Inner {
    db: sled::Db,
    file: File,
    log: Log,
    state: sled::Tree,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens, or makes, the store in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_settled(dir, settle)
    }

    /// Opens a copy of the states, which nobody needs after a power cut.
    pub(crate) fn open_copy(dir: &Path) -> Result<Self, StoreError> {
        Self::open_settled(dir, |dir| remove_snapshots(dir, UNFINISHED).map(|_| ()))
    }

    fn open_settled(
        dir: &Path,
        settle: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Self, StoreError> {
        let prepared = |error| StoreError::io("prepare to open the store", error);
        settle(dir).map_err(prepared)?;
        let mut attempt = 1;
        let store = loop {
            match Self::open_once(dir) {
                // sled's own threads let go of its lock a little after it was dropped.
                Err(error) if error.is_lock() && attempt < LOCK_ATTEMPTS => attempt += 1,
                // A snapshot only saves it from reading all of its log.
                Err(error)
                    if error.is_damage() && remove_snapshots(dir, "").map_err(prepared)? =>
                {
                    attempt = 1;
                }
                opened => break opened?,
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        // What recovery wrote, before anything is built on it.
        settle(dir).map_err(prepared)?;
        Ok(store)
    }

    fn open_once(dir: &Path) -> Result<Self, StoreError> {
        quietly(|| {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .mode(sled::Mode::LowSpace)
                .segment_size(SEGMENT_BYTES)
                .use_compression(false)
                .open()
                .map_err(|error| StoreError::new("open the store", error))?;
            let state = db.open_tree("state");
            let state = state.map_err(|error| StoreError::new("open the store", error))?;
            let file = File::open(dir.join(DB_FILE))
                .map_err(|error| StoreError::io("open the store's file", error))?;
            let log = Log::open(dir).map_err(|error| StoreError::io("read the journal", error))?;
            Ok(Self { inner: RwLock::new(Some(Inner { db, file, log, state })) })
        })
    }

    /// Earlier builds kept the blocks in sled, too, and these are there.
    pub(crate) fn is_of_an_earlier_build(&self) -> Result<bool, StoreError> {
        let failed = |error| StoreError::new("read the journal", error);
        self.with(|inner| {
            let blocks = inner.db.tree_names().into_iter().find(|name| name == OLD_BLOCKS);
            let blocks = blocks.map(|name| inner.db.open_tree(name)).transpose();
            Ok(blocks.map_err(failed)?.is_some_and(|blocks| !blocks.is_empty()))
        })
    }

    /// Runs `work` on the open store.
    fn with<T>(&self, work: impl FnOnce(&Inner) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.as_ref().map_or(Err(StoreError::Closed), |inner| quietly(|| work(inner)))
    }

    /// Lets go of the files. sled's own drop may panic on a damaged store.
    pub(crate) fn close(&self) {
        let inner = self.inner.write().unwrap_or_else(PoisonError::into_inner).take();
        let _ = quietly(move || {
            drop(inner);
            Ok(())
        });
    }

    /// Writes blocks, sets states, removes blocks, and returns when all of it is on the disk. A
    /// crash meanwhile may leave any beginning of that, in this order.
    pub(crate) fn commit(
        &self,
        blocks: &[(u64, Option<Vec<u8>>)],
        states: &[(&[u8], &[u8])],
    ) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("write to the journal", error);
        self.with(|inner| {
            let written = blocks.iter().filter_map(|(key, bytes)| Some((*key, bytes.as_deref()?)));
            let written: Vec<(u64, &[u8])> = written.collect();
            inner.log.append(&written).map_err(failed)?;
            inner.set(states)?;
            let gone = blocks.iter().filter(|(_, bytes)| bytes.is_none()).map(|(key, _)| *key);
            let gone = gone.filter(|key| !written.iter().any(|(written, _)| written == key));
            inner.log.remove(&gone.collect::<Vec<_>>()).map_err(failed)
        })
    }

    /// What sled writes of its own accord is on the disk, too.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.with(Inner::flush)
    }

    /// The block whose first record is `first_seq`.
    pub(crate) fn block(&self, first_seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |error| StoreError::io("read the journal", error);
        self.with(|inner| inner.log.block(first_seq).map_err(failed))
    }

    /// The first block at or after `first_seq`.
    pub(crate) fn block_from(&self, first_seq: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let mut from = first_seq;
        while let Some(key) = self.with(|inner| Ok(inner.log.from(from)))? {
            if let Some(bytes) = self.block(key)? {
                return Ok(Some((key, bytes)));
            }
            from = key.saturating_add(1);
        }
        Ok(None)
    }

    /// The number of the first block at or after `first_seq`.
    pub(crate) fn key_from(&self, first_seq: u64) -> Result<Option<u64>, StoreError> {
        self.with(|inner| Ok(inner.log.from(first_seq)))
    }

    /// The last block that begins at or before `seq`.
    pub(crate) fn block_before(&self, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self.with(|inner| Ok(inner.log.before(seq)))? {
            Some(first_seq) => self.block(first_seq),
            None => Ok(None),
        }
    }

    /// What the store takes on the disk.
    pub(crate) fn disk_bytes(&self) -> Result<u64, StoreError> {
        use std::os::unix::fs::MetadataExt as _;
        self.with(|inner| {
            let metadata = inner.file.metadata();
            let metadata =
                metadata.map_err(|error| StoreError::io("look at the journal's file", error))?;
            // POSIX counts in blocks of 512 bytes, whatever the file system's are.
            Ok(metadata.blocks().saturating_mul(512).saturating_add(inner.log.disk_bytes()))
        })
    }

    /// Whether the log has held more than one block beyond this record.
    pub(crate) fn proves_more_than(&self, last_seq: u64) -> Result<bool, StoreError> {
        self.with(|inner| Ok(inner.log.proves_more_than(last_seq)))
    }

    /// From which length on a segment of the log is followed by another.
    pub(crate) fn set_segment_bytes(&self, most: u64) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.log.set_segment_bytes(most);
            Ok(())
        })
    }

    /// Makes room in the log, so that it takes `most` bytes.
    pub(crate) fn compact(&self, most: u64) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("make room in the journal", error);
        self.with(|inner| inner.log.compact(most).map_err(failed))
    }

    /// Gives back the room in the log that no block has taken.
    pub(crate) fn trim(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("end the journal's files", error);
        self.with(|inner| inner.log.trim().map_err(failed))
    }

    /// A state.
    pub(crate) fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|inner| {
            let framed =
                inner.state.get(key).map_err(|error| StoreError::new("read a state", error))?;
            framed.map(|framed| unframed(key, &framed)).transpose()
        })
    }

    /// Every state.
    pub(crate) fn states(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        self.with(|inner| {
            let read = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
                let (key, framed) = pair.map_err(|error| StoreError::new("read a state", error))?;
                Ok((key.to_vec(), unframed(&key, &framed)?))
            };
            inner.state.iter().map(read).collect()
        })
    }
}

impl Inner {
    /// Sets states, durably.
    fn set(&self, states: &[(&[u8], &[u8])]) -> Result<(), StoreError> {
        if states.is_empty() {
            return Ok(());
        }
        let failed = |error| StoreError::new("write to the journal", error);
        for (key, value) in states {
            self.state.insert(key, state::frame(key, value)).map_err(failed)?;
        }
        self.flush()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| StoreError::new("write to the journal", error))?;
        self.file.sync_data().map_err(|error| StoreError::io("sync the journal", error))
    }
}

/// Makes what stands in the directory durable. A process that was killed leaves writes that
/// were never synced; sled reads them, and writes its snapshot on top of them. Of the log that is
/// the newest segment at most: none is begun before all of the one before it is synced, and a sync
/// of hundreds of files takes a disk some time, though there is nothing to write.
fn settle(dir: &Path) -> io::Result<()> {
    // Cut off while it was written: sled takes it for a snapshot.
    remove_snapshots(dir, UNFINISHED)?;
    let segments = log::segments(dir)?;
    let newest = segments.last_key_value().map(|(_, path)| path);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let settled = path.file_name().is_some_and(log::is_name) && Some(&path) != newest;
        if path.is_file() && !settled {
            File::open(path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

/// Removes sled's snapshots whose names end so; returns whether there was any.
fn remove_snapshots(dir: &Path, end: &str) -> io::Result<bool> {
    let mut removed = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_one = |name: &str| name.starts_with(SNAPSHOT) && name.ends_with(end);
        if entry.file_name().to_str().is_some_and(is_one) {
            fs::remove_file(entry.path())?;
            removed = true;
        }
    }
    Ok(removed)
}

fn unframed(key: &[u8], framed: &[u8]) -> Result<Vec<u8>, StoreError> {
    match state::read(framed) {
        Some((named, value)) if named == key => Ok(value.to_vec()),
        _ => Err(StoreError::State(String::from_utf8_lossy(key).into_owned())),
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` and turns a panic inside sled into an error, without the panic's message on
/// standard error: it is in the returned error. Panics of other threads print as before.
fn quietly<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    // Unwind safety: after a panic the store is only dropped, never used again.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    result.unwrap_or_else(|payload| Err(StoreError::Panicked(message(payload.as_ref()))))
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a message".to_owned())
}
