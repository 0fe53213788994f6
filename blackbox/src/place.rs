//! The directory of a journal: made whole or not at all, locked by one process, and put aside
//! when it cannot be opened.
//!
//! ```text
//! journal/          the journal
//!   journal         text: format, id and checksum
//!   mark            the run mark of the last start or end, for a store that has lost its own
//!   store/          `log-…`, which hold the blocks, and sled's files: `db` holds the states
//! journal.keys/    keys of its openings, and
//! journal.openings/ those (`openings`): no part of the journal
//! journal.lock      held by the process that has the journal open
//! journal.bad-1     a journal that could not be opened, kept as it was
//! journal.new-1a2b  a journal that is being made
//! journal.rebuilt   a journal that takes the place of one that could not be opened
//! ```

use crate::journal::OpenError;
use crate::log;
use crate::scan::Mark;
use crate::store::{DB_FILE, Store, StoreError};
use nooterra_protocol::ids::{JournalId, from_entropy};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The text file that makes a directory a journal.
const ID_FILE: &str = "journal";

/// The file with the run mark.
const MARK_FILE: &str = "mark";

/// The first line of [`ID_FILE`].
const FORMAT: &str = "nooterra journal 1";

/// Begins the name of a journal that is being made, after that of the journal.
const NEW: &str = ".new-";

/// Begins the name of one that was put aside; a number follows.
const ASIDE: &str = ".bad-";

/// The name of one that is made, and waits for its place.
const REBUILT: &str = ".rebuilt";

/// How often the lock is asked for before it is held by another agent.
const LOCK_ATTEMPTS: u32 = 20;

/// Between two attempts.
const LOCK_EVERY: Duration = Duration::from_millis(10);

/// sled's directory.
pub(crate) const STORE_DIR: &str = "store";

/// What stands at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// Something else, which is not touched.
    Foreign,
    /// A journal by its files, with an id that cannot be read.
    Damaged(String),
    /// A journal.
    Journal(JournalId),
    /// Nothing, or an empty directory.
    Nothing,
}

/// Makes an error name the path that it is about.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path: path.clone(), source }
}

/// A path beside that of the journal.
pub(crate) fn sibling(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().map_or_else(|| OsString::from("journal"), OsString::from);
    name.push(suffix);
    dir.with_file_name(name)
}

/// Where it is.
pub(crate) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The lock that one process holds while it has the journal open.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do: a child that another thread is just starting holds it,
        // too, until it has become another program.
        let _ = self.0.unlock();
    }
}

/// Takes the lock.
pub(crate) fn lock(dir: &Path) -> Result<Lock, OpenError> {
    lock_patiently(dir, || std::thread::sleep(LOCK_EVERY))
}

fn lock_patiently(dir: &Path, mut wait: impl FnMut()) -> Result<Lock, OpenError> {
    fs::create_dir_all(parent(dir)).map_err(at(parent(dir)))?;
    let path = sibling(dir, ".lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            // Whoever only looks whether it is held holds it for a moment.
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => wait(),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
        }
    }
    Err(OpenError::Locked(dir.to_owned()))
}

/// A process has the journal in `dir` open now.
#[must_use]
pub fn is_locked(dir: &Path) -> bool {
    File::open(sibling(dir, ".lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Looks, and touches nothing.
pub(crate) fn find(dir: &Path) -> Result<Found, OpenError> {
    match fs::read(dir.join(ID_FILE)) {
        Ok(bytes) => Ok(match parse_id(&bytes) {
            Some(id) => Found::Journal(id),
            None => Found::Damaged(format!("its file `{ID_FILE}` is damaged")),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
                Ok(true) => Ok(Found::Nothing),
                Ok(false) if holds_a_store(dir) => {
                    Ok(Found::Damaged(format!("its file `{ID_FILE}` is missing")))
                }
                Ok(false) => Ok(Found::Foreign),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
                Err(source) => Err(OpenError::Io { path: dir.to_owned(), source }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Found::Foreign),
        Err(source) => Err(OpenError::Io { path: dir.join(ID_FILE), source }),
    }
}

/// There are files in it that only a journal has.
pub(crate) fn holds_a_store(dir: &Path) -> bool {
    let store = dir.join(STORE_DIR);
    store.join(DB_FILE).exists() || log::segments(&store).is_ok_and(|found| !found.is_empty())
}

fn parse_id(bytes: &[u8]) -> Option<JournalId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (id, _) = text.strip_prefix(FORMAT)?.strip_prefix('\n')?.split_once('\n')?;
    let id = JournalId::new(id).ok()?;
    (text == id_text(&id)).then_some(id)
}

/// The format, the id, and a CRC-32 of both: another id must not pass for this one.
fn id_text(id: &JournalId) -> String {
    let lines = format!("{FORMAT}\n{id}\n");
    let crc = crc32fast::hash(lines.as_bytes());
    format!("{lines}{crc:08x}\n")
}

/// Makes a new journal: in a directory beside, synced, and renamed when it is whole.
pub(crate) fn create(dir: &Path) -> Result<JournalId, OpenError> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|error| OpenError::Random(error.to_string()))?;
    let text = from_entropy("jr", entropy);
    let id = JournalId::new(text).map_err(|error| OpenError::Random(error.to_string()))?;

    let new = begin(dir)?;
    let store = new.join(STORE_DIR);
    drop(Store::open(&store).and_then(|store| store.flush().map(|()| store))?);
    write_id(&new, &id)?;
    sync_all(&new)?;
    fs::rename(&new, dir).map_err(at(dir))?;
    sync_dir(parent(dir))?;
    Ok(id)
}

/// A new directory beside the journal, with an empty one for the store.
pub(crate) fn begin(dir: &Path) -> Result<PathBuf, OpenError> {
    remove_unfinished(dir)?;
    let mut entropy = [0; 4];
    getrandom::fill(&mut entropy).map_err(|error| OpenError::Random(error.to_string()))?;
    let new = sibling(dir, &format!("{NEW}{:08x}", u32::from_be_bytes(entropy)));
    let store = new.join(STORE_DIR);
    fs::create_dir_all(&store).map_err(at(&store))?;
    Ok(new)
}

/// What was begun is a journal, and only waits for its place ([`swap`]).
pub(crate) fn finish(dir: &Path, new: &Path, id: &JournalId) -> Result<(), OpenError> {
    write_id(new, id)?;
    sync_all(new)?;
    let rebuilt = sibling(dir, REBUILT);
    fs::rename(new, &rebuilt).map_err(at(&rebuilt))?;
    sync_dir(parent(dir))
}

/// Puts the journal aside, and in its place what was rebuilt, if anything was.
pub(crate) fn swap(dir: &Path, aside: &Path) -> Result<(), OpenError> {
    fs::rename(dir, aside).map_err(at(dir))?;
    sync_dir(parent(dir))?;
    resume(dir)
}

/// Ends a swap that was cut off; what was rebuilt of a journal that is still in its place is
/// rebuilt again.
pub(crate) fn resume(dir: &Path) -> Result<(), OpenError> {
    let rebuilt = sibling(dir, REBUILT);
    if !rebuilt.exists() {
        return Ok(());
    }
    if matches!(find(dir)?, Found::Nothing) {
        fs::rename(&rebuilt, dir).map_err(at(dir))?;
    } else {
        fs::remove_dir_all(&rebuilt).map_err(at(&rebuilt))?;
    }
    sync_dir(parent(dir))
}

/// The run mark beside the store; `None` where there is none that can be read.
pub(crate) fn read_mark(dir: &Path) -> Option<Mark> {
    fs::read(dir.join(MARK_FILE)).ok().as_deref().and_then(Mark::read)
}

/// Writes it, whole or not at all.
pub(crate) fn write_mark(dir: &Path, mark: &Mark) -> Result<(), OpenError> {
    let (path, new) = (dir.join(MARK_FILE), dir.join(format!("{MARK_FILE}.new")));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(&mark.encode())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, &path)).map_err(at(&path))?;
    sync_dir(dir)
}

fn write_id(new: &Path, id: &JournalId) -> Result<(), OpenError> {
    fs::write(new.join(ID_FILE), id_text(id)).map_err(at(new))
}

/// Removes what a creation left that was cut off. Only called under the lock.
fn remove_unfinished(dir: &Path) -> Result<(), OpenError> {
    let prefix = sibling(dir, NEW);
    let Some(prefix) = prefix.file_name().and_then(|name| name.to_str()) else {
        return Ok(());
    };
    for entry in fs::read_dir(parent(dir)).map_err(at(parent(dir)))? {
        let entry = entry.map_err(at(parent(dir)))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

/// How the names of journals begin that were put aside.
pub(crate) fn aside_prefix(dir: &Path) -> Option<String> {
    let name = sibling(dir, ASIDE);
    Some(name.file_name()?.to_str()?.to_owned())
}

/// The first free name for a journal that is put aside.
pub(crate) fn free_name(dir: &Path) -> PathBuf {
    let mut number = 1_u32;
    loop {
        let target = sibling(dir, &format!("{ASIDE}{number}"));
        if !target.exists() {
            return target;
        }
        number += 1;
    }
}

fn sync_all(dir: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        }
    }
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_whether_it_is_open_keeps_no_agent_from_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        drop(lock(&journal).unwrap());
        let looking = File::open(sibling(&journal, ".lock")).unwrap();
        looking.lock_shared().unwrap();
        assert!(!is_locked(&journal), "two may look at once");
        let mut looking = Some(looking);
        let open = lock_patiently(&journal, || drop(looking.take())).unwrap();
        assert!(is_locked(&journal));
        assert!(matches!(lock(&journal), Err(OpenError::Locked(_))));
        drop(open);
        assert!(!is_locked(&journal));
    }
}
