//! Where the openings of private fields are kept: encrypted files beside the journal, one for
//! each epoch, and the epochs' keys in files of their own. What each byte means is in
//! `format`, how openings are erased in `erase`, how they are read from outside in `read`.
//!
//! ```text
//! journal.openings/   0000000000000001  encrypted, appended to by the writer thread
//! journal.keys/       0000000000000001  the key of that file
//! ```
//! Neither is part of the journal's directory: a copy of that holds commitments alone. No
//! failure here makes a record unreadable; a failure to write is one of the disk, and stops the
//! journal as any other, because a record whose opening is lost says less than it should.

mod erase;
pub(crate) mod format;
mod read;

pub use erase::{EraseError, Erased, Erasure};
pub(crate) use erase::{Intent, Shown};
pub(crate) use format::{Cipher, KeyBytes};
pub use read::{ReadOpenings, erasable, read_openings};

use crate::frames::Frames as Pictures;
use crate::place;
use format::{Frames, Header, KEY_BYTES, Kept, encode_key, read_key};
use nooterra_evidence::Horizons;
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::private::{PrivateError, SALT_BYTES, Salts};
use nooterra_protocol::time::MonoNanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// An epoch ends after this time: what is asked to be erased by its time is then mostly whole
/// epochs.
const EPOCH: Duration = Duration::from_secs(24 * 3600);

/// A frame is begun anew beyond this.
const FRAME_BYTES: usize = 64 * 1024;

/// The least that the openings may take.
const LEAST_BYTES: u64 = 256 * 1024;

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsSalts;

impl Salts for OsSalts {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| PrivateError::Salt(error.to_string()))?;
        Ok(salt)
    }
}

/// From the operating system.
pub(crate) fn os_salts() -> Arc<dyn Salts> {
    Arc::new(OsSalts)
}

/// The two directories.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) keys: PathBuf,
    pub(crate) sealed: PathBuf,
}

impl Places {
    /// Those of the journal in `dir`.
    pub(crate) fn of_journal(dir: &Path) -> Self {
        let [keys, sealed] = [".keys", ".openings"].map(|end| place::sibling(dir, end));
        Self { keys, sealed }
    }

    /// A folder of encrypted files, with their keys beside it.
    pub(crate) fn of(dir: &Path) -> Self {
        Self { keys: place::sibling(dir, ".keys"), sealed: dir.to_owned() }
    }

    fn key(&self, epoch: u64) -> PathBuf {
        self.keys.join(format!("{epoch:016x}"))
    }

    fn sealed(&self, epoch: u64) -> PathBuf {
        self.sealed.join(format!("{epoch:016x}"))
    }

    /// Makes what is not there.
    pub(crate) fn make(&self) -> io::Result<()> {
        for dir in [&self.keys, &self.sealed] {
            match DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        // Also of one that is there: a process that was killed may have left it unsynced.
        sync_dir(place::parent(&self.keys))
    }

    /// The key of an epoch; `None` when there is none that can be read.
    pub(crate) fn read_key(&self, epoch: u64) -> io::Result<Option<KeyBytes>> {
        match fs::read(self.key(epoch)) {
            Ok(bytes) => Ok(read_key(epoch, &Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Overwrites and removes the keys of epochs, and then the files that they opened.
    pub(crate) fn destroy(&self, epochs: &BTreeSet<u64>) -> io::Result<()> {
        if epochs.is_empty() {
            return Ok(());
        }
        self.shred_keys(epochs)?;
        for epoch in epochs {
            absent(fs::remove_file(self.sealed(*epoch)))?;
        }
        absent(sync_dir(&self.sealed))
    }

    /// Overwrites and removes keys.
    pub(crate) fn shred_keys(&self, epochs: &BTreeSet<u64>) -> io::Result<()> {
        epochs.iter().try_for_each(|epoch| self.shred_key(*epoch))?;
        absent(sync_dir(&self.keys))
    }

    /// Overwrites and removes a key. That it was overwritten is on the disk then, that it was
    /// removed need not be.
    pub(crate) fn shred_key(&self, epoch: u64) -> io::Result<()> {
        absent(shred(&self.key(epoch)))
    }
}

/// A new key of that number, on the disk.
pub(crate) fn fresh_key(places: &Places, epoch: u64) -> io::Result<KeyBytes> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut key[..]).map_err(|error| io::Error::other(error.to_string()))?;
    let mut file = create(&places.key(epoch))?;
    file.write_all(&encode_key(epoch, &key))?;
    file.sync_all()?;
    sync_dir(&places.keys)?;
    Ok(key)
}

/// A file that is not there yet, for its owner alone.
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Epochs by the names of the files in a directory; other files are not looked at.
pub(crate) fn epochs_in(dir: &Path) -> io::Result<BTreeSet<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut epochs = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().filter(|name| name.len() == 16);
        epochs.extend(name.and_then(|name| u64::from_str_radix(name, 16).ok()));
    }
    Ok(epochs)
}

/// What is gone already is gone.
pub(crate) fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Overwrites a file and removes it.
pub(crate) fn shred(path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()?;
    fs::remove_file(path)
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A file of openings of this journal.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    bytes: u64,
    class: Class,
    first_seq: u64,
    frames: u64,
    last_seq: u64,
}

/// A file that is being written.
struct Lane {
    begun: MonoNanos,
    bytes: u64,
    cipher: Cipher,
    class: Class,
    epoch: u64,
    file: File,
    frames: u64,
}

/// The openings of one journal. It belongs to the writer thread.
pub(crate) struct OpeningStore {
    bound: u64,
    epochs: BTreeMap<u64, Epoch>,
    journal: JournalId,
    /// At most one for each class, of this start.
    lanes: Vec<Lane>,
    next: u64,
    /// An erasing was begun and is not finished.
    pending: bool,
    /// What the records of kind `skill_frame` have the hash of; erased with the rest.
    pictures: Option<Arc<Pictures>>,
    places: Places,
}

impl OpeningStore {
    /// Looks at what is there, in a journal that ends with the record `through`. What was never
    /// begun to be used is removed; what cannot be read stays, and is named in the log.
    pub(crate) fn open(
        dir: &Path,
        journal: &JournalId,
        bound: u64,
        through: u64,
    ) -> io::Result<Self> {
        let places = Places::of_journal(dir);
        let (keys, files) = (epochs_in(&places.keys)?, epochs_in(&places.sealed)?);
        let next = keys.union(&files).max().map_or(1, |last| last.saturating_add(1));
        let mut store = Self {
            bound: bound.max(LEAST_BYTES),
            epochs: BTreeMap::new(),
            journal: journal.clone(),
            lanes: Vec::new(),
            next,
            pending: places.is_erasing(),
            pictures: None,
            places,
        };
        let mut unused: BTreeSet<u64> = keys.difference(&files).copied().collect();
        for epoch in files {
            let path = store.places.sealed(epoch);
            let bytes = fs::read(&path)?;
            let header = Header::read(&bytes).filter(|header| header.epoch == epoch);
            let Some(header) = header else {
                if bytes.iter().all(|byte| *byte == 0) {
                    // Made, and cut off before anything in it was durable.
                    unused.insert(epoch);
                } else {
                    tracing::error!(path = %path.display(), "a file of openings is damaged");
                }
                continue;
            };
            if header.journal != store.journal {
                continue;
            }
            let found = Frames::of(&header, &bytes);
            for (from, to) in &found.damaged {
                tracing::error!(path = %path.display(), from, to, "openings are damaged");
            }
            let first_seq = found.frames.iter().map(|frame| frame.first_seq).min();
            let last_seq = found.frames.iter().map(|frame| frame.last_seq).max();
            // One of which nothing can be read goes when all records that there are now are gone.
            let (first_seq, last_seq) = (first_seq.unwrap_or(through), last_seq.unwrap_or(through));
            if !keys.contains(&epoch) {
                tracing::error!(path = %path.display(), "openings without a key");
            }
            let (bytes, frames) = (bytes.len() as u64, found.frames.len() as u64);
            let epoch_found = Epoch { bytes, class: header.class, first_seq, frames, last_seq };
            store.epochs.insert(epoch, epoch_found);
        }
        store.places.destroy(&unused)?;
        Ok(store)
    }

    /// The same with pictures.
    pub(crate) fn with_pictures(self, pictures: Option<Arc<Pictures>>) -> Self {
        Self { pictures, ..self }
    }

    /// Makes openings durable.
    pub(crate) fn append(&mut self, openings: &[(Class, Kept)], now: MonoNanos) -> io::Result<()> {
        for class in Class::ALL {
            let own = openings.iter().filter(|(of, _)| *of == class);
            let own: Vec<Kept> = own.map(|(_, kept)| kept.clone()).collect();
            if !own.is_empty() {
                self.write(class, &own, now)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, class: Class, kept: &[Kept], now: MonoNanos) -> io::Result<()> {
        let most = self.bound / 16;
        let ended = |lane: &Lane| {
            lane.class == class
                && (lane.bytes >= most || now.since(lane.begun).is_none_or(|age| age >= EPOCH))
        };
        self.lanes.retain(|lane| !ended(lane));
        let found = self.lanes.iter().position(|lane| lane.class == class);
        let at = match found {
            Some(at) => at,
            None => {
                let lane = self.begin(class, now)?;
                self.lanes.push(lane);
                self.lanes.len() - 1
            }
        };
        let lane = &mut self.lanes[at];
        let new = lane.frames == 0;
        let mut bytes = if new { lane.header(&self.journal).encode() } else { Vec::new() };
        let mut rest = kept;
        while !rest.is_empty() {
            let mut weight = 0;
            let within = |kept: &&Kept| {
                weight += kept.weight();
                weight <= FRAME_BYTES
            };
            let (now, later) = rest.split_at(rest.iter().take_while(within).count().max(1));
            let frame = lane.cipher.frame(lane.frames, now).map_err(io::Error::other)?;
            bytes.extend_from_slice(&frame);
            lane.frames += 1;
            rest = later;
        }
        lane.file.write_all(&bytes)?;
        if new {
            lane.file.sync_all()?;
            sync_dir(&self.places.sealed)?;
        } else {
            lane.file.sync_data()?;
        }
        lane.bytes += bytes.len() as u64;
        let seqs = || kept.iter().map(|kept| kept.opening.seq);
        let (first, last) = (seqs().min().unwrap_or(0), seqs().max().unwrap_or(0));
        let (bytes, frames) = (lane.bytes, lane.frames);
        let entry = self.epochs.entry(lane.epoch);
        let first_seq = first;
        let epoch = entry.or_insert(Epoch { bytes, class, first_seq, frames, last_seq: last });
        (epoch.bytes, epoch.frames) = (bytes, frames);
        (epoch.first_seq, epoch.last_seq) = (epoch.first_seq.min(first), epoch.last_seq.max(last));
        Ok(())
    }

    /// A new epoch, with its key on the disk.
    fn begin(&mut self, class: Class, now: MonoNanos) -> io::Result<Lane> {
        self.places.make()?;
        let epoch = self.next;
        self.next = self.next.saturating_add(1);
        let key = fresh_key(&self.places, epoch)?;
        let header = Header { class, epoch, journal: self.journal.clone() };
        let cipher = Cipher::new(&key, &header);
        let file = create(&self.places.sealed(epoch))?;
        Ok(Lane { begun: now, bytes: 0, cipher, class, epoch, file, frames: 0 })
    }

    /// Removes the epochs of which every record was pruned.
    pub(crate) fn prune(&mut self, horizons: &Horizons) -> io::Result<()> {
        let gone = |epoch: &Epoch| epoch.last_seq <= horizons.of(epoch.class);
        let gone = self.epochs.iter().filter(|(_, epoch)| gone(epoch)).map(|(id, _)| *id);
        self.remove(&gone.collect())
    }

    fn remove(&mut self, epochs: &BTreeSet<u64>) -> io::Result<()> {
        if epochs.is_empty() {
            return Ok(());
        }
        self.lanes.retain(|lane| !epochs.contains(&lane.epoch));
        self.places.destroy(epochs)?;
        self.epochs.retain(|epoch, _| !epochs.contains(epoch));
        Ok(())
    }

    /// What the files weigh.
    pub(crate) fn bytes(&self) -> u64 {
        self.epochs.values().map(|epoch| epoch.bytes).sum()
    }
}

impl Lane {
    fn header(&self, journal: &JournalId) -> Header {
        Header { class: self.class, epoch: self.epoch, journal: journal.clone() }
    }
}
