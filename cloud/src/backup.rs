//! All of a cloud in one file, and a cloud from such a file.
//!
//! The file is a tar archive: the keys of the data directory and the database, which is a SQLite
//! file whatever it was before; so a backup also moves a cloud from SQLite to Postgres, and back.
//! `backup.json` comes first and has the SHA-256 of each. The archive holds private keys, and is
//! readable by its owner only.

use crate::files;
use crate::replay::{self, Replay, ReplayError};
use crate::store::{Address, StoreError, copy};
use nooterra_protocol::codec::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

/// As what it is connected to a server.
const NAME: &str = "nooterra-cloud backup";

/// The database in the archive, and in a data directory.
const DATABASE: &str = "cloud.sqlite";

/// Every other file of a data directory that outlives the process.
const KEYS: [&str; 4] = ["admin_token", "ca.pem", "ca_key.pem", "command_key.pem"];

/// What the archive begins with.
const CONTENTS: &str = "backup.json";

/// The largest of the small files.
const MAX_SMALL: u64 = 1 << 20;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Not a backup, or not as it was written.
    #[error("{path}: {why}; take another backup")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// Nothing is overwritten.
    #[error("{0} is there already; name a path where nothing is")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The streams of the copy cannot be read.
    #[error("the copy cannot be checked: {0}")]
    Replay(#[from] ReplayError),
    /// The database.
    #[error("{database}: {source}")]
    Store {
        /// Which one.
        database: String,
        /// What is wrong.
        source: StoreError,
    },
}

/// What an archive says of itself.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// SHA-256 of each file.
    files: BTreeMap<String, Digest>,
    /// Of the archive's form.
    v: u32,
}

/// Writes the cloud in `dir`, with its database at `store` or in there, to the file `out`. The
/// cloud may run meanwhile: the backup has one state of it. The copy is then read again as
/// [`replay()`](crate::replay()) does, by which the answer is found.
///
/// # Errors
/// [`BackupError`]; there is no file then.
pub fn backup(
    dir: &Path,
    store: Option<&str>,
    out: &Path,
    skip_signatures: bool,
) -> Result<Replay, BackupError> {
    if fs::exists(out).map_err(at(out))? {
        return Err(BackupError::Exists(out.to_owned()));
    }
    let address = address(store, dir)?;
    if let Address::Sqlite(path) = &address {
        fs::metadata(path).map_err(at(path))?;
    }
    let beside = |end: &str| {
        let mut name = out.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (database, archive) = (Beside(beside(".sqlite")), Beside(beside(".new")));
    for Beside(path) in [&database, &archive] {
        // What an earlier run left, that was cut short.
        let _ = fs::remove_file(path);
        files::touch_private(path).map_err(at(path))?;
    }
    copy::into_file(&address, &database.0).map_err(of(&address))?;
    let replay = replay::check(dir, &Address::Sqlite(database.0.clone()), skip_signatures)?;
    let mut all = KEYS.map(|name| (name, dir.join(name))).to_vec();
    all.push((DATABASE, database.0.clone()));
    let mut contents = Contents { files: BTreeMap::new(), v: 1 };
    for (name, path) in &all {
        contents.files.insert((*name).to_owned(), digest(path).map_err(at(path))?);
    }
    write(&archive.0, &contents, &all).map_err(at(&archive.0))?;
    fs::rename(&archive.0, out).map_err(at(out))?;
    sync_parent(out).map_err(at(out))?;
    Ok(replay)
}

/// Makes the data directory `dir` from the file `from`, and puts the database into `store` where
/// that is named; then reads all of it again, by which the answer is found.
///
/// # Errors
/// [`BackupError`]; nothing is left then, neither in `dir` nor in the database.
pub fn restore(
    from: &Path,
    dir: &Path,
    store: Option<&str>,
    skip_signatures: bool,
) -> Result<Replay, BackupError> {
    let used = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if used || dir.is_file() {
        return Err(BackupError::Exists(dir.to_owned()));
    }
    let mut name = dir.as_os_str().to_owned();
    name.push(".restoring");
    let beside = PathBuf::from(name);
    let _ = fs::remove_dir_all(&beside);
    files::make_private_dir(&beside).map_err(at(&beside))?;
    let restored = fill(from, &beside, store, skip_signatures).and_then(|replay| {
        fs::rename(&beside, dir).map_err(at(dir))?;
        sync_parent(dir).map_err(at(dir))?;
        Ok(replay)
    });
    if restored.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    restored
}

fn fill(
    from: &Path,
    dir: &Path,
    store: Option<&str>,
    skip_signatures: bool,
) -> Result<Replay, BackupError> {
    unpack(from, dir)?;
    let file = dir.join(DATABASE);
    let address = address(store, dir)?;
    let inside = Address::Sqlite(file.clone());
    // Of an earlier release, perhaps.
    inside.migrate().map_err(of(&inside))?;
    // Before anything is put into a server.
    let replay = replay::check(dir, &inside, skip_signatures)?;
    if matches!(address, Address::Sqlite(_)) {
        return Ok(replay);
    }
    copy::from_file(&file, &address).map_err(of(&address))?;
    for name in [DATABASE, "cloud.sqlite-wal", "cloud.sqlite-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
    // Its signatures are those that were checked.
    let copied = replay::check(dir, &address, true)?;
    Ok(if copied.agrees() { replay } else { copied })
}

/// Writes the archive's files into `dir`, each as it was.
fn unpack(from: &Path, dir: &Path) -> Result<(), BackupError> {
    let damaged = |why: &str| BackupError::Damaged { path: from.to_owned(), why: why.to_owned() };
    let mut archive = tar::Archive::new(File::open(from).map_err(at(from))?);
    let mut contents: Option<Contents> = None;
    let mut missing: Vec<&str> = KEYS.into_iter().chain([DATABASE]).collect();
    for entry in archive.entries().map_err(at(from))? {
        let mut entry = entry.map_err(at(from))?;
        let name = entry.path().map_err(at(from))?.to_string_lossy().into_owned();
        let Some(said) = &contents else {
            if name != CONTENTS {
                return Err(damaged("is no backup: it does not begin with backup.json"));
            }
            let mut text = String::new();
            entry.take(MAX_SMALL).read_to_string(&mut text).map_err(at(from))?;
            let said: Contents =
                serde_json::from_str(&text).map_err(|e| damaged(&e.to_string()))?;
            if said.v != 1 {
                return Err(damaged("was written by a later release; restore it with that"));
            }
            contents = Some(said);
            continue;
        };
        let Some(place) = missing.iter().position(|wanted| *wanted == name) else {
            return Err(damaged("holds a file that no backup holds, or one twice"));
        };
        let name = missing.swap_remove(place);
        let path = dir.join(name);
        if name == DATABASE {
            files::touch_private(&path).map_err(at(&path))?;
            let mut file = File::options().write(true).open(&path).map_err(at(&path))?;
            io::copy(&mut entry, &mut file).and_then(|_| file.sync_all()).map_err(at(&path))?;
        } else {
            let mut text = String::new();
            entry.take(MAX_SMALL).read_to_string(&mut text).map_err(at(from))?;
            files::write_private(&path, &text).map_err(at(&path))?;
        }
        if said.files.get(name) != Some(&digest(&path).map_err(at(&path))?) {
            return Err(damaged("is damaged: a file in it is not as it was written"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(damaged("is cut short: files are missing")) }
}

fn write(to: &Path, contents: &Contents, all: &[(&str, PathBuf)]) -> io::Result<()> {
    let mut archive = tar::Builder::new(File::options().write(true).open(to)?);
    let text = serde_json::to_string(contents)?;
    archive.append_data(&mut header(text.len() as u64), CONTENTS, text.as_bytes())?;
    for (name, path) in all {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        // A file that grows meanwhile was not the one that was counted.
        archive.append_data(&mut header(length), name, file.take(length))?;
    }
    let mut file = archive.into_inner()?;
    file.flush()?;
    file.sync_all()
}

fn header(length: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    header.set_cksum();
    header
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Digest::from_bytes(hash.finalize().into()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

fn address(store: Option<&str>, dir: &Path) -> Result<Address, BackupError> {
    let unnamed = |source| BackupError::Store { database: "--store".to_owned(), source };
    Address::new(store, dir.join(DATABASE), NAME).map_err(unnamed)
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path: path.clone(), source }
}

fn of(address: &Address) -> impl Fn(StoreError) -> BackupError {
    let database = address.to_string();
    move |source| BackupError::Store { database: database.clone(), source }
}

/// The name itself lives in the directory.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// A file that is gone when the work is done, however it was done.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
