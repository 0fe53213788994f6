//! A journal to look at: the original is never written to, may be on a read-only medium, and may
//! be in use. Its blocks are read where they are, which nobody ever changes; of sled's files,
//! which change as soon as it opens them, a copy is.

use crate::block::Block;
use crate::journal::MARK_KEY;
use crate::log;
use crate::place::{self, Found, STORE_DIR};
use crate::prune::{PRUNED_KEY, Pruned};
use crate::scan::{self, Candidate, Files, Mark, Scan};
use crate::store::{DB_FILE, Store};
use crate::verify::VerifyError;
use nooterra_protocol::codec::Digest;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How often a journal in use is looked through again when its last write is not whole.
const LOOKS_AGAIN: u32 = 2;

/// Between two looks. A write takes less, unless its process has to wait for a processor.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The blocks of a journal, in order, and its states: from sled where that answers, from its raw
/// file where it does not.
#[derive(Debug)]
pub(crate) struct Image {
    /// The run mark beside the store.
    beside: Option<Mark>,
    files: Arc<Files>,
    next: u64,
    /// What concerns no single record.
    pub(crate) notes: Vec<String>,
    pruned: Pruned,
    scan: Scan,
    /// A copy, with states only.
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

/// The same, of a block only where it is.
#[derive(Debug)]
pub(crate) enum Place {
    Block(u64, Candidate),
    Piece(Piece),
}

impl Image {
    /// Opens the journal in `dir`, with the copy of its states beside it, or in the temporary
    /// directory when nothing can be written there.
    pub(crate) fn take(dir: &Path) -> Result<Self, VerifyError> {
        Self::elsewhere(dir, dir)
    }

    /// The same for who reads a few blocks, or all of them: nobody has read them before, and notes
    /// about them are made by [`Self::look_at_copies`].
    pub(crate) fn take_unread(dir: &Path) -> Result<Self, VerifyError> {
        Self::of(dir, dir, scan::survey, place::is_locked)
    }

    /// Of a journal that its caller has locked, so that nobody writes to it.
    pub(crate) fn take_own(dir: &Path) -> Result<Self, VerifyError> {
        let mut image = Self::of(dir, dir, scan::scan, |_| false)?;
        image.look_at_copies();
        Ok(image)
    }

    /// The same, with the copy beside another directory.
    pub(crate) fn elsewhere(dir: &Path, beside: &Path) -> Result<Self, VerifyError> {
        let mut image = Self::of(dir, beside, scan::scan, place::is_locked)?;
        image.look_at_copies();
        Ok(image)
    }

    fn of(
        dir: &Path,
        beside: &Path,
        look: fn(&Path) -> io::Result<(Scan, Files)>,
        is_in_use: fn(&Path) -> bool,
    ) -> Result<Self, VerifyError> {
        let store_dir = store_dir(dir)?;
        let mut in_use = is_in_use(dir);
        // First the blocks: what is pruned of them meanwhile can still be read, and the states
        // say of it at most that it is gone.
        let (mut scan, mut files) = look(&store_dir).map_err(failed(&store_dir))?;
        for _ in 0..LOOKS_AGAIN {
            if scan.is_settled() {
                break;
            }
            // An agent may have started meanwhile.
            in_use |= is_in_use(dir);
            if !in_use {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
            (scan, files) = look(&store_dir).map_err(failed(&store_dir))?;
        }
        // Of a write that another process has not ended a reader may see any part. It was
        // acknowledged to nobody, and is told apart from damage when it is ended.
        let is_unfinished = in_use && scan.leave_unfinished();
        let copy = temp_dir(beside).map_err(failed(beside))?;
        copy_states(&store_dir, copy.path())?;
        let mut notes = Vec::new();
        if is_unfinished {
            let what = "the last write is not whole: it is being written, or is damaged; stop the \
                        agent for a definite answer";
            notes.push(what.to_owned());
        }
        let store = match copy.path().join(DB_FILE).exists() {
            true => match Store::open_copy(copy.path()) {
                Ok(store) => Some(store),
                Err(error) => {
                    let what = format!("the store does not open ({error}); read from the raw file");
                    notes.push(what);
                    None
                }
            },
            false => None,
        };
        let (beside, pruned) = (place::read_mark(dir), Pruned::default());
        let files = Arc::new(files);
        let mut image = Self { beside, files, next: 1, notes, pruned, scan, store, _copy: copy };
        let pruned = image.states().0.get(PRUNED_KEY).and_then(|bytes| Pruned::read(bytes).ok());
        image.pruned = pruned.unwrap_or_default();
        Ok(image)
    }

    /// Notes what is not as it was written, and need not have been acknowledged.
    pub(crate) fn look_at_copies(&mut self) {
        self.scan.see(&self.files, |_| true);
        let last_seq = self.last_whole();
        for (first_seq, copies) in &self.scan.blocks {
            if copies.first().is_some_and(|newest| newest.intact) {
                continue;
            }
            self.notes.push(if *first_seq == last_seq + 1 {
                format!(
                    "the last write, from record {first_seq} on, was torn by a power cut or is \
                     damaged"
                )
            } else {
                format!(
                    "a copy of the block from record {first_seq} on is damaged, or was torn by a \
                     power cut"
                )
            });
        }
    }

    /// The last record of the last block that is as it was written.
    fn last_whole(&self) -> u64 {
        let mut copies = self.scan.blocks.values().rev();
        let whole = copies.find_map(|copies| chosen(copies).filter(|copy| copy.intact));
        whole.map_or(0, |copy| copy.last_seq)
    }

    /// The highest sequence number that is there.
    pub(crate) fn last_seq(&self) -> u64 {
        let blocks = self.scan.blocks.values().filter_map(|copies| chosen(copies));
        // One that a crash tore is beyond the end.
        let blocks = blocks.filter(|copy| !copy.cut);
        blocks.map(|copy| copy.last_seq).max().unwrap_or(0)
    }

    /// Goes on with the block that holds `seq`.
    pub(crate) fn seek(&mut self, seq: u64) {
        let mut before = self.scan.blocks.range(..=seq).rev();
        let block =
            before.find(|(_, copies)| chosen(copies).is_some_and(|copy| copy.last_seq >= seq));
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

    /// Nothing speaks of records behind the last one that is whole.
    pub(crate) fn knows_its_end(&self) -> bool {
        let known = self.scan.mark >= self.beside;
        let behind = self.scan.blocks.range(self.last_whole() + 1..).next();
        known && self.store.is_some() && behind.is_none()
    }

    /// The states, from the store where it answers; and whether it did. What is found in its raw
    /// file may be of any age. Every store that was ever open has a mark.
    pub(crate) fn states(&self) -> (BTreeMap<Vec<u8>, Vec<u8>>, bool) {
        let stored = self.store.as_ref().and_then(|store| store.states().ok());
        match stored.filter(|states| states.contains_key(MARK_KEY)) {
            Some(states) => (states, true),
            None => {
                let raw = self.scan.states.iter();
                (raw.map(|(key, (_, value))| (key.clone(), value.clone())).collect(), false)
            }
        }
    }

    /// The last record when the journal was last opened or closed; it holds that many or more.
    pub(crate) fn promised(&self) -> u64 {
        self.mark().map_or(0, |mark| mark.last_seq)
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let (first_seq, candidate) = match self.next_place()? {
            Place::Block(first_seq, candidate) => (first_seq, candidate),
            Place::Piece(piece) => return Some(piece),
        };
        let mut bytes = Vec::new();
        let Some(block) = self.files.block(&mut bytes, &candidate) else {
            let piece = self.cut_short(first_seq, first_seq);
            if let Piece::Lost { through, .. } = &piece {
                self.next = through.saturating_add(1);
            }
            return Some(piece);
        };
        Some(Piece::Block(block, bytes))
    }

    /// The next piece, unread where it is a block: its place is for [`Self::files`].
    pub(crate) fn next_place(&mut self) -> Option<Place> {
        let place = self.find()?;
        self.next = match &place {
            Place::Block(_, candidate) => candidate.last_seq,
            Place::Piece(Piece::Block(block, _)) => block.last_seq(),
            Place::Piece(Piece::Lost { through, .. } | Piece::Pruned { through, .. }) => *through,
        }
        .saturating_add(1);
        Some(place)
    }

    /// Where the blocks are read.
    pub(crate) const fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The block that was found at this place was read, and its records are as they were written,
    /// or are not.
    pub(crate) fn saw(&mut self, first_seq: u64, found: &Candidate, intact: bool) {
        let copies = self.scan.blocks.get_mut(&first_seq);
        if let Some(copy) = copies.and_then(|copies| copies.iter_mut().find(|c| *c == found)) {
            (copy.intact, copy.seen) = (intact, true);
        }
    }

    /// What there is in the place of a block, at least through `last`, that cannot be read although
    /// it was found.
    pub(crate) fn cut_short(&self, first_seq: u64, last: u64) -> Piece {
        match self.lost(first_seq, "its block is cut short") {
            Piece::Lost { head, through, why } => {
                Piece::Lost { head, through: through.max(last), why }
            }
            other => other,
        }
    }

    fn find(&mut self) -> Option<Place> {
        let next = self.next;
        if next <= self.pruned.through {
            // Whatever copies the raw file still has of it.
            let Pruned { head, through, .. } = self.pruned;
            let subtrees = self.pruned.subtrees.clone();
            return Some(Place::Piece(Piece::Pruned { head, subtrees, through }));
        }
        let Some(copies) = self.scan.blocks.get(&next) else {
            let more = self.following(next).is_some();
            return more.then(|| Place::Piece(self.lost(next, "it is missing")));
        };
        if copies.iter().all(|copy| copy.cut) && self.following(next).is_none() {
            // The last write, of which a crash left the beginning: it was not acknowledged. Where
            // the journal knows of later records they are missing all the same.
            return None;
        }
        let Some(copy) = chosen(copies) else {
            return Some(Place::Piece(self.lost(next, "the frame of its block is damaged")));
        };
        Some(Place::Block(next, *copy))
    }

    /// The records from `next` on that are nowhere.
    fn lost(&self, next: u64, why: &'static str) -> Piece {
        match self.following(next) {
            Some((first_seq, head)) => Piece::Lost { head, through: first_seq - 1, why },
            None => Piece::Lost { head: None, through: next, why },
        }
    }

    /// The first block after this record that is anywhere, and the link before it.
    fn following(&self, next: u64) -> Option<(u64, Option<Digest>)> {
        let after = next.saturating_add(1);
        let mut blocks = self.scan.blocks.range(after..);
        let found = blocks.find_map(|(first_seq, copies)| Some((*first_seq, chosen(copies)?)));
        found.map(|(first_seq, copy)| {
            let bytes = self.files.read(copy).ok();
            let block = bytes.and_then(|bytes| Block::read_head(&bytes).ok());
            (first_seq, block.map(|block| block.previous))
        })
    }
}

/// The copy of a block that counts: the newest one that is whole, or the newest of which the
/// frame is.
fn chosen(copies: &[Candidate]) -> Option<&Candidate> {
    let whole = copies.iter().find(|copy| copy.intact);
    whole.or_else(|| copies.iter().find(|copy| copy.framed))
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

/// All but the blocks. Not `fs::copy`: a read-only file must become a writable copy.
fn copy_states(from: &Path, to: &Path) -> Result<(), VerifyError> {
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let path = entry.map_err(failed(from))?.path();
        let Some(name) = path.file_name().filter(|name| !log::is_name(name)) else {
            continue;
        };
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir(&target).map_err(failed(&target))?;
            copy_states(&path, &target)?;
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
