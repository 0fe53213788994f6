//! Reading a journal from outside: verify it, show its end, find where a record's bytes are.

use crate::block::{Block, Held, Row};
use crate::image::{Image, Piece, Place, failed, store_dir};
use crate::place;
use crate::scan::{self, Files};
use nooterra_evidence::{Examined, Record, Verification, Verifier};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::keys::VerifyingKey;
use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// How often a journal in use is copied again when the copy shows damage.
const ATTEMPTS_IN_USE: u32 = 3;

/// Blocks that a thread is given at once: with a few its bytes stay near the processor.
const BLOCKS_AT_ONCE: usize = 8;

/// What waits for each thread, so that none waits for what is dealt out.
const DEALS_AHEAD: usize = 2;

/// Why nothing can be said about a journal.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file operation failed: no permission, or no room for the copy.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record is nowhere in the file.
    #[error("record {0} is not in the journal")]
    NoSuchRecord(u64),
    /// There is no journal at this path.
    #[error("{dir} is not a journal", dir = .0.display())]
    NotAJournal(PathBuf),
    /// The directory cannot be looked into.
    #[error("{0}")]
    Unreadable(String),
}

/// Where a record's bytes are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    /// How many bytes.
    pub len: usize,
    /// Offset of the first.
    pub offset: u64,
    /// In which file.
    pub path: PathBuf,
}

/// Where a tail begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TailFrom {
    /// So many records before the end.
    Last(u64),
    /// At this record.
    Seq(u64),
}

/// A record of a tail.
#[derive(Clone, Debug, PartialEq)]
pub struct TailRecord {
    /// What it says, or why it cannot be read.
    pub record: Result<Record, String>,
    /// Its sequence number.
    pub seq: u64,
}

/// The records of a journal from some point to its end.
#[derive(Debug)]
pub struct Tail {
    from: u64,
    image: Image,
    ready: VecDeque<TailRecord>,
}

/// Verifies the journal in `dir`, on a copy. `progress` is called with the number of records
/// seen so far.
///
/// A journal in use is copied while it grows: what is verified is a state of the last moment,
/// and damage is only reported when it shows in several copies. For a definite answer stop
/// the agent. Where the store does not answer, the raw file does: every record that is
/// altered, missing or dropped is named by its number.
///
/// # Errors
/// [`VerifyError`] when there is nothing to verify; damage is not an error.
pub fn verify(
    dir: &Path,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, VerifyError> {
    let mut attempt = 1;
    loop {
        let in_use = place::is_locked(dir);
        let mut verification = verify_once(dir, key, progress)?;
        // An agent may have started meanwhile.
        let in_use = in_use || place::is_locked(dir);
        if verification.is_intact() || !in_use {
            return Ok(verification);
        }
        if attempt == ATTEMPTS_IN_USE {
            let note = "the journal was in use; stop the agent for a definite answer";
            verification.notes.push(note.to_owned());
            return Ok(verification);
        }
        attempt += 1;
    }
}

fn verify_once(
    dir: &Path,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, VerifyError> {
    let mut image = Image::take_unread(dir)?;
    let mut verifier = Verifier::new(key.cloned());
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let outcome = std::thread::scope(|scope| {
        let lanes = (0..cores).map(|_| Lane::start(scope, Arc::clone(image.files())));
        let lanes: Vec<_> = lanes.collect();
        let chained = chain(&mut image, &mut verifier, &lanes, progress);
        lanes.into_iter().map(Lane::end).fold(chained, Result::and)
    });
    // A thread that panicked has a defect; without what it saw nothing can be said.
    outcome.map_err(|Failed| VerifyError::Unreadable("a thread failed".into()))?;
    image.look_at_copies();
    let why = "the journal was once opened or closed with it, and it is missing";
    verifier.push_unreadable(image.promised(), None, why);
    let mut verification = verifier.finish();
    verification.notes.append(&mut image.notes);
    Ok(verification)
}

/// Deals the blocks out to all lanes, and chains what comes back, in order.
fn chain(
    image: &mut Image,
    verifier: &mut Verifier,
    lanes: &[Lane<'_>],
    progress: &mut dyn FnMut(u64),
) -> Result<(), Failed> {
    let (mut waiting, mut next) = (VecDeque::new(), lanes.iter().cycle());
    let mut rooms = Vec::new();
    loop {
        while waiting.len() < lanes.len() * DEALS_AHEAD
            && let Some(lane) = next.next()
        {
            let deal = deal(image, &mut rooms);
            if deal.is_empty() {
                break;
            }
            lane.jobs.send(deal).map_err(|_| Failed)?;
            waiting.push_back(lane);
        }
        let Some(lane) = waiting.pop_front() else {
            return Ok(());
        };
        for seen in lane.done.recv().map_err(|_| Failed)? {
            rooms.extend(push(image, verifier, seen));
        }
        progress(verifier.next_seq() - 1);
    }
}

/// Some of what comes next. Blocks are read into the room of earlier ones: a process that frees
/// and asks for megabytes all the time spends as long on its pages as on reading.
fn deal(image: &mut Image, rooms: &mut Vec<Vec<u8>>) -> Vec<Dealt> {
    let mut deal = Vec::with_capacity(BLOCKS_AT_ONCE);
    while deal.len() < BLOCKS_AT_ONCE
        && let Some(place) = image.next_place()
    {
        let bytes = rooms.pop().unwrap_or_default();
        deal.push(Dealt { block: None, bytes, examined: Vec::new(), intact: true, place });
    }
    deal
}

/// A piece on its way through a lane.
struct Dealt {
    /// Where it is one and was read.
    block: Option<Block>,
    bytes: Vec<u8>,
    examined: Vec<Option<Examined>>,
    /// Its records are as they were written, as far as a CRC can tell.
    intact: bool,
    place: Place,
}

impl Dealt {
    /// Reads and examines a block: all that can be told of it without those before it, while its
    /// bytes are near the processor.
    fn examine(&mut self, files: &Files) {
        if let Place::Block(_, candidate) = &self.place {
            self.block = files.block(&mut self.bytes, candidate);
            if let Some(block) = &self.block {
                self.examined = examine(block, &self.bytes);
                self.intact = candidate.seen || block.body_holds(&self.bytes);
            }
        }
    }
}

/// A thread that reads and examines, for as long as there is anything.
struct Lane<'scope> {
    done: Receiver<Vec<Dealt>>,
    jobs: SyncSender<Vec<Dealt>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

/// A lane ended before its time.
struct Failed;

impl<'scope> Lane<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, files: Arc<Files>) -> Self {
        let (jobs, waiting) = sync_channel::<Vec<Dealt>>(DEALS_AHEAD);
        let (tell, done) = sync_channel(DEALS_AHEAD);
        let thread = scope.spawn(move || {
            for mut deal in waiting {
                deal.iter_mut().for_each(|dealt| dealt.examine(&files));
                if tell.send(deal).is_err() {
                    break;
                }
            }
        });
        Self { done, jobs, thread }
    }

    fn end(self) -> Result<(), Failed> {
        let Self { done, jobs, thread } = self;
        drop((jobs, done));
        thread.join().map_err(|_| Failed)
    }
}

/// What can be told of the records of a block without those before it.
fn examine(block: &Block, bytes: &[u8]) -> Vec<Option<Examined>> {
    let mut all = Vec::with_capacity(block.rows.len());
    let whole = |(_, row, record): (u64, Row, _)| (row.held == Held::Whole).then_some(record);
    let mut records = block.records(bytes).map(whole);
    // Two by two: that is less work than one after the other.
    while let Some(one) = records.next() {
        match (one, records.next()) {
            (Some(one), Some(Some(other))) => all.extend(Examined::of_both([one, other]).map(Some)),
            (one, other) => {
                all.push(one.map(Examined::of));
                all.extend(other.map(|other| other.map(Examined::of)));
            }
        }
    }
    all
}

/// Chains a piece; back comes the room of a block.
fn push(image: &mut Image, verifier: &mut Verifier, dealt: Dealt) -> Option<Vec<u8>> {
    let Dealt { block, bytes, examined, intact, place } = dealt;
    let piece = match place {
        Place::Block(first_seq, candidate) => match block {
            Some(block) => {
                if !candidate.seen {
                    image.saw(first_seq, &candidate, intact);
                }
                if block.previous != verifier.head() {
                    verifier.note_bad(block.first_seq, "its block does not follow the one before");
                }
                push_block(verifier, &block, &bytes, Some(&examined), &mut |_| {});
                return Some(bytes);
            }
            None => image.cut_short(first_seq, candidate.last_seq),
        },
        Place::Piece(piece) => piece,
    };
    match piece {
        // A place is of a block, and no piece.
        Piece::Block(..) => {}
        Piece::Lost { head, through, why } => {
            verifier.push_unreadable(through, head.as_ref(), why);
        }
        Piece::Pruned { head, subtrees, through } => {
            verifier.push_removed(through, &head, subtrees);
        }
    }
    Some(bytes)
}

/// Chains the records of a block, and hands on the bytes of each that is chained and in its place.
pub(crate) fn push_block(
    verifier: &mut Verifier,
    block: &Block,
    bytes: &[u8],
    examined: Option<&[Option<Examined>]>,
    each: &mut dyn FnMut(&[u8]),
) {
    for (nth, (seq, row, record)) in block.records(bytes).enumerate() {
        let class = match (row.held, record.try_into()) {
            (Held::Leaf, Ok(leaf)) => {
                verifier.push_pruned(row.class, &Digest::from_bytes(leaf), Some(&row.link));
                continue;
            }
            (Held::Nothing, _) => {
                verifier.push_unreadable(seq, Some(&row.link), "it was lost");
                continue;
            }
            _ => match examined.and_then(|examined| examined.get(nth)?.as_ref()) {
                Some(known) => verifier.push_examined(record, known, Some(&row.link)),
                None => verifier.push_examined(record, &Examined::of(record), Some(&row.link)),
            },
        };
        if class.is_some() {
            each(record);
        }
        if class.is_some_and(|class| class != row.class) {
            verifier.note_bad(seq, "its block gives it another class than it has");
        }
    }
}

/// The records of the journal in `dir` from some point on, read from a copy.
///
/// # Errors
/// [`VerifyError`] when there is no journal to read.
pub fn tail(dir: &Path, from: TailFrom) -> Result<Tail, VerifyError> {
    let mut image = Image::take_unread(dir)?;
    let from = match from {
        TailFrom::Last(count) => image.last_seq().saturating_add(1).saturating_sub(count).max(1),
        TailFrom::Seq(seq) => seq.max(1),
    };
    image.seek(from);
    Ok(Tail { from, image, ready: VecDeque::new() })
}

impl Iterator for Tail {
    type Item = TailRecord;

    fn next(&mut self) -> Option<TailRecord> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            match self.image.next()? {
                Piece::Block(block, bytes) => {
                    self.ready.extend(tail_records(&block, &bytes, self.from));
                }
                Piece::Lost { through, why, .. } if through >= self.from => {
                    self.ready.push_back(TailRecord { record: Err(why.to_owned()), seq: through });
                }
                Piece::Lost { .. } => {}
                Piece::Pruned { through, .. } if through >= self.from => {
                    let record = Err("it was pruned, and all before it".to_owned());
                    self.ready.push_back(TailRecord { record, seq: through });
                }
                Piece::Pruned { .. } => {}
            }
        }
    }
}

/// The records of a block from one on.
pub(crate) fn tail_records<'a>(
    block: &'a Block,
    bytes: &'a [u8],
    from: u64,
) -> impl Iterator<Item = TailRecord> + 'a {
    let wanted = block.records(bytes).filter(move |(seq, ..)| *seq >= from);
    wanted.map(|(seq, row, record)| TailRecord {
        record: match row.held {
            Held::Leaf => Err("it was pruned".to_owned()),
            Held::Nothing => Err("it was lost".to_owned()),
            Held::Whole => Record::decode(record).map_err(|error| error.to_string()),
        },
        seq,
    })
}

/// Where the bytes of record `seq` are: in the copy that the store reads, when the file holds
/// several. For tools and tests that damage a journal on purpose.
///
/// # Errors
/// [`VerifyError::NoSuchRecord`] when no block in the files holds it.
pub fn locate(dir: &Path, seq: u64) -> Result<Location, VerifyError> {
    let store = store_dir(dir)?;
    let (found, files) = scan::scan(&store).map_err(failed(&store))?;
    let block = found.blocks.range(..=seq).rev().find_map(|(first_seq, copies)| {
        let copy = copies.iter().find(|copy| copy.framed && copy.last_seq >= seq)?;
        Some((*first_seq, *copy))
    });
    let Some((first_seq, copy)) = block else {
        return Err(VerifyError::NoSuchRecord(seq));
    };
    let bytes = files.read(&copy).map_err(failed(&store))?;
    let row = Block::read_head(&bytes).ok().and_then(|block| {
        let index = usize::try_from(seq - first_seq).ok()?;
        block.rows.get(index).copied().filter(|row| row.held == Held::Whole)
    });
    let row = row.ok_or(VerifyError::NoSuchRecord(seq))?;
    let path = files.path(&copy).unwrap_or(&store).to_owned();
    Ok(Location { len: row.length, offset: copy.offset + row.offset as u64, path })
}
