//! A copy of a journal to look at: the original is never written to, may be on a read-only
//! medium, and may be in use.

use crate::block::Block;
use crate::place::{self, Found, STORE_DIR};
use crate::prune::{PRUNED_KEY, Pruned};
use crate::scan::{self, Candidate, Mark, Scan};
use crate::store::{DB_FILE, Store};
use crate::verify::VerifyError;
use nooterra_protocol::codec::Digest;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The blocks of a copy, in order: from the store where it answers, from the raw file where
/// it does not.
#[derive(Debug)]
pub(crate) struct Image {
    /// The run mark beside the store.
    beside: Option<Mark>,
    file: File,
    /// Set when the store has dropped what was once durable: a copy of a block that was
    /// written after this point of the log counts more than what the store still reads.
    dropped_after: Option<u64>,
    next: u64,
    /// What concerns no single record.
    pub(crate) notes: Vec<String>,
    pruned: Pruned,
    scan: Scan,
    store: Option<Store>,
    // Last: the files go when nothing has them open.
    _copy: TempDir,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A block whose frame holds; whether its records do is for the links to say.
    Block(Block, Vec<u8>),
    /// Records that are nowhere.
    Lost {
        /// Link of the last of them, where the block after them tells it.
        head: Option<Digest>,
        /// Sequence number of the last of them.
        through: u64,
        /// Why.
        why: &'static str,
    },
    /// The beginning of the journal, which was pruned.
    Pruned {
        /// Link of the last of it.
        head: Digest,
        /// Roots of its perfect subtrees.
        subtrees: Vec<Digest>,
        /// Sequence number of the last of it.
        through: u64,
    },
}

impl Image {
    /// Copies the journal in `dir` beside it, or to the temporary directory when nothing can
    /// be written there, and opens the copy.
    pub(crate) fn take(dir: &Path) -> Result<Self, VerifyError> {
        Self::of(dir, !place::is_locked(dir), dir)
    }

    /// The same of a journal that nobody writes to: its raw file is read where it is.
    pub(crate) fn salvage(dir: &Path) -> Result<Self, VerifyError> {
        Self::of(dir, true, dir)
    }

    /// The same, with the copy of the store beside another directory.
    pub(crate) fn elsewhere(dir: &Path, beside: &Path) -> Result<Self, VerifyError> {
        Self::of(dir, true, beside)
    }

    fn of(dir: &Path, still: bool, beside: &Path) -> Result<Self, VerifyError> {
        let store_dir = store_dir(dir)?;
        let copy = temp_dir(beside).map_err(failed(beside))?;
        copy_files(&store_dir, copy.path())?;
        let db = copy.path().join(DB_FILE);
        // Before the store opens it: opening may cut a tail off.
        let scan = scan::scan(&db).map_err(failed(&db))?;
        let kept = if still {
            store_dir.join(DB_FILE)
        } else {
            let kept = copy.path().join("raw");
            fs::copy(&db, &kept).map_err(failed(&kept))?;
            kept
        };
        let file = File::open(&kept).map_err(failed(&kept))?;
        let mut notes = Vec::new();
        let store = match Store::open_copy(copy.path()) {
            Ok(store) => Some(store),
            Err(error) => {
                notes.push(format!("the store does not open ({error}); read from the raw file"));
                None
            }
        };
        let (beside, dropped_after, pruned) = (place::read_mark(dir), None, Pruned::default());
        let mut image =
            Self { beside, file, dropped_after, next: 1, notes, pruned, scan, store, _copy: copy };
        image.compare();
        let pruned = image.states().get(PRUNED_KEY).and_then(|bytes| Pruned::read(bytes).ok());
        image.pruned = pruned.unwrap_or_default();
        Ok(image)
    }

    /// Whether the store still has what the file proves.
    fn compare(&mut self) {
        let Some(store) = &self.store else { return };
        let end = store.last_block().and_then(|first_seq| {
            let Some(first_seq) = first_seq else {
                return Ok((0, 0));
            };
            let block = store.block(first_seq)?.and_then(|bytes| Block::read_head(&bytes).ok());
            Ok((first_seq, block.map_or(first_seq, |block| block.last_seq())))
        });
        let (first_seq, last_seq) = match end {
            Ok(end) => end,
            Err(error) => {
                self.notes
                    .push(format!("the store does not read ({error}); read from the raw file"));
                self.store = None;
                return;
            }
        };
        let mark = store.state(crate::journal::MARK_KEY).ok().flatten();
        let mark = mark.as_deref().and_then(Mark::read);
        if self.scan.mark > mark || self.scan.proves_more_than(last_seq) {
            let copies = self.scan.blocks.get(&first_seq);
            let written = copies.and_then(|copies| copies.iter().map(|copy| copy.lsn).min());
            self.dropped_after = Some(written.unwrap_or(0));
            self.notes.push(format!("the store has dropped what follows record {last_seq}"));
        } else if self.scan.blocks.contains_key(&(last_seq + 1)) {
            self.notes.push(format!(
                "the last write, from record {} on, was torn by a power cut or is damaged",
                last_seq + 1
            ));
        }
        for (first_seq, copies) in &self.scan.blocks {
            if *first_seq <= last_seq && copies.first().is_some_and(|newest| !newest.intact) {
                self.notes.push(format!(
                    "a copy of the block from record {first_seq} on is damaged, or was torn by a \
                     power cut"
                ));
            }
        }
    }

    /// The highest sequence number that the raw file holds.
    pub(crate) fn last_seq(&self) -> u64 {
        let copies = self.scan.blocks.values().flatten().filter(|copy| copy.framed);
        copies.map(|copy| copy.last_seq).max().unwrap_or(0)
    }

    /// Goes on with the block that holds `seq`.
    pub(crate) fn seek(&mut self, seq: u64) {
        let mut before = self.scan.blocks.range(..=seq).rev();
        let block = before
            .find(|(_, copies)| copies.iter().any(|copy| copy.framed && copy.last_seq >= seq));
        self.next = block.map_or(seq, |(first_seq, _)| *first_seq);
    }

    /// The block that holds a record, where it is to be found. Whether its records are as they
    /// were written is for the links, or for a proof, to say.
    pub(crate) fn block_with(&mut self, seq: u64) -> Option<(Block, Vec<u8>)> {
        self.seek(seq);
        match self.next()? {
            Piece::Block(block, bytes) if (block.first_seq..=block.last_seq()).contains(&seq) => {
                Some((block, bytes))
            }
            _ => None,
        }
    }

    /// A state, from the store where it answers.
    pub(crate) fn state(&self, key: &[u8]) -> Option<Vec<u8>> {
        let stored = self.store.as_ref().map(|store| store.state(key));
        match stored {
            Some(Ok(value)) => value,
            _ => self.scan.states.get(key).map(|(_, value)| value.clone()),
        }
    }

    /// The newest run mark, in the raw file or beside the store.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.scan.mark.max(self.beside)
    }

    /// The store answers and its end is that of the journal, as far as the raw file shows.
    pub(crate) fn knows_its_end(&self) -> bool {
        let known = self.scan.mark >= self.beside;
        known && self.store.is_some() && self.dropped_after.is_none()
    }

    /// The states, from the store where it answers.
    pub(crate) fn states(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let stored = self.store.as_ref().and_then(|store| store.states().ok());
        stored.unwrap_or_else(|| {
            let raw = self.scan.states.iter();
            raw.map(|(key, (_, value))| (key.clone(), value.clone())).collect()
        })
    }

    /// The last record when the journal was last opened or closed; it holds that many or more.
    pub(crate) fn promised(&self) -> u64 {
        self.mark().map_or(0, |mark| mark.last_seq)
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let piece = self.find()?;
        self.next = match &piece {
            Piece::Block(block, _) => block.last_seq(),
            Piece::Lost { through, .. } | Piece::Pruned { through, .. } => *through,
        }
        .saturating_add(1);
        Some(piece)
    }

    fn find(&mut self) -> Option<Piece> {
        let next = self.next;
        if next <= self.pruned.through {
            // Whatever copies the raw file still has of it.
            let Pruned { head, through, .. } = self.pruned;
            let subtrees = self.pruned.subtrees.clone();
            return Some(Piece::Pruned { head, subtrees, through });
        }
        let from_store = self.store.as_ref().and_then(|store| match store.block(next) {
            Ok(bytes) => bytes.map(|bytes| bytes.to_vec()),
            Err(error) => {
                self.notes.push(format!("record {next}: {error}; read from the raw file"));
                None
            }
        });
        let newest = self.scan.blocks.get(&next).and_then(|copies| copies.first()).copied();
        if let Some(bytes) = from_store
            && !newest.is_some_and(|newest| self.is_overtaken_by(&newest))
            && let Ok(block) = Block::read_head(&bytes)
            && block.first_seq == next
            && block.length == bytes.len()
        {
            return Some(Piece::Block(block, bytes));
        }
        match newest {
            Some(newest) if newest.framed => {
                if let Ok(bytes) = scan::read_at(&mut self.file, &newest)
                    && let Ok(block) = Block::read_head(&bytes)
                {
                    return Some(Piece::Block(block, bytes));
                }
                Some(self.lost("its block is cut short"))
            }
            Some(_) => Some(self.lost("the frame of its block is damaged")),
            None => {
                let more = self.following().is_some();
                more.then(|| self.lost("it is missing"))
            }
        }
    }

    /// What the store reads is older than this damaged copy, which it has dropped.
    fn is_overtaken_by(&self, newest: &Candidate) -> bool {
        !newest.intact && self.dropped_after.is_some_and(|after| newest.lsn > after)
    }

    fn lost(&mut self, why: &'static str) -> Piece {
        match self.following() {
            Some((first_seq, head)) => Piece::Lost { head, through: first_seq - 1, why },
            None => Piece::Lost { head: None, through: self.next, why },
        }
    }

    /// The first block after the next one that is anywhere, and the link before it.
    fn following(&mut self) -> Option<(u64, Option<Digest>)> {
        let after = self.next.saturating_add(1);
        let stored = self.store.as_ref().and_then(|store| store.block_from(after).ok().flatten());
        let stored = stored.and_then(|(first_seq, bytes)| {
            Some((first_seq, Some(Block::read_head(&bytes).ok()?.previous)))
        });
        let raw = self.scan.blocks.range(after..).find_map(|(first_seq, copies)| {
            copies.iter().find(|copy| copy.framed).map(|copy| (*first_seq, *copy))
        });
        let raw = raw.map(|(first_seq, copy)| {
            let bytes = scan::read_at(&mut self.file, &copy).ok();
            let block = bytes.and_then(|bytes| Block::read_head(&bytes).ok());
            (first_seq, block.map(|block| block.previous))
        });
        match (stored, raw) {
            (Some(stored), Some(raw)) if raw.0 < stored.0 => Some(raw),
            (Some(stored), _) => Some(stored),
            (None, raw) => raw,
        }
    }
}

/// The store's directory, when `dir` is a journal.
pub(crate) fn store_dir(dir: &Path) -> Result<PathBuf, VerifyError> {
    let store = dir.join(STORE_DIR);
    match place::find(dir) {
        Ok(Found::Journal(_) | Found::Damaged(_)) => Ok(store),
        Ok(Found::Foreign | Found::Nothing) => Err(VerifyError::NotAJournal(dir.to_owned())),
        Err(error) => Err(VerifyError::Unreadable(error.to_string())),
    }
}

/// Makes an error name its path.
pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> VerifyError {
    let path = path.to_owned();
    move |source| VerifyError::Io { path: path.clone(), source }
}

pub(crate) fn temp_dir(dir: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nooterra-copy-");
    let beside = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    beside.map_or_else(
        || builder.tempdir(),
        |beside| builder.tempdir_in(beside).or_else(|_| builder.tempdir()),
    )
}

/// Not `fs::copy`: a read-only file must become a writable copy.
fn copy_files(from: &Path, to: &Path) -> Result<(), VerifyError> {
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let path = entry.map_err(failed(from))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir(&target).map_err(failed(&target))?;
            copy_files(&path, &target)?;
            continue;
        }
        let copied = File::open(&path)
            .and_then(|mut source| io::copy(&mut source, &mut File::create(&target)?));
        match copied {
            // sled replaces its snapshot while it runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => drop(other.map_err(failed(&path))?),
        }
    }
    Ok(())
}
