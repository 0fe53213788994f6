//! The blocks on the disk: files of the journal's own, to which blocks are only added, each of a few
//! megabytes.
//!
//! ```text
//! log-0000000000000001      a segment; the number counts up and is never used again
//!    0  magic      8   "NOOTSEG" and the version, 1
//!    8  number     8   as in the name, for a file that has lost it
//!   16  crc        4   CRC-32 of bytes 0 to 16
//!   20  blocks         one after the other (`block`)
//! ```
//! A block is written behind the last one, and synced before the next one is: what a crash tears
//! is the end of the newest segment. No block is written over another. A block that is to
//! hold less (it was pruned) is written again at the end, and counts from there on: of several
//! copies the one in the segment with the higher number, and then further back, is the block. A
//! segment in which nothing counts any more is removed; one in which little does is *compacted*:
//! what counts is written again at the end, and then it goes.
//!
//! Behind the last block of the newest segment may be zeros up to the end of the file: the
//! *reserve*. A small block is written there instead of at the end of the file, because a sync that
//! finds the file no longer, and its pages where they were, waits for the data alone and for none
//! of the file system's own records. They are written with a small block that did not find room in
//! them, and are not relied on: a disk that has no room for them has none of them. Measured on
//! ext4, a write and its fdatasync, median in µs:
//!
//! ```text
//! bytes   at the end   fallocate 1 MiB   zeros 16 KiB   zeros 64 KiB   zeros 256 KiB   both
//!   620           91                62             62             62              63     62
//!  1500          105                91             68             66              67     65
//!  4096          158               157             86             71              72     70
//!  8192          153               152             96             74              73     71
//! 48000          228               218            228            257             119    247
//! ```
//! Room that was only allocated has to be noted as written with the first write to each page, so
//! that it is worth nothing to more than a page at once; a block that is large costs as much in
//! zeros as it saves, and is written at the end of the file. A journal that is closed in order has
//! no reserve.
//!
//! Why not in sled, which keeps the states: it holds 16 neighbours in a page and writes the page
//! anew after ten changes to it, so that each block was written some four times and its segments
//! were moved as well: 11 bytes reached the disk for one of payload. Its pages stayed in memory,
//! too, 345 MiB for a journal of 1 GiB.

use crate::block::{Block, MAGIC};
use memchr::memmem;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A segment that has so much is followed by another, unless the options say otherwise.
pub(crate) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// What the options may say at most: a segment is read at once.
const MOST_SEGMENT_BYTES: u64 = 64 * SEGMENT_BYTES;

/// What stands before the blocks.
pub(crate) const HEAD_BYTES: usize = 20;

/// In which file systems give room.
const PAGE_BYTES: u64 = 4096;

/// How many zeros are written behind a small block.
const RESERVE_BYTES: usize = 64 * 1024;

/// Up to this size a block is small. The zeros are then no more than what the file system would
/// write of its own for each sync of a file that grows, some three or four pages.
const SMALL_BYTES: u64 = 8 * 1024;

/// So many segments are emptied before what was written meanwhile has its turn.
const COMPACTED_AT_ONCE: usize = 4;

/// Begins a segment.
const SEGMENT_MAGIC: [u8; 8] = *b"NOOTSEG\x01";

/// Begins its name; the number follows.
const NAME: &str = "log-";

/// Where a block is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Spot {
    number: u64,
    offset: u32,
    length: u32,
}

/// A segment, and how much of it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// Of the file, with its reserve.
    length: u64,
    live: u64,
}

/// The segment that grows.
#[derive(Debug)]
struct Active {
    file: File,
    /// Where its blocks end.
    length: u64,
    number: u64,
    /// Where the file ends; between are zeros.
    reserved: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The segment that grows, or did.
    active: u64,
    /// The highest first number of anything that was framed like a block when it was opened.
    framed: u64,
    /// Blocks ceased to count since it was last looked at what to compact.
    loosened: bool,
    segments: BTreeMap<u64, Segment>,
    spots: BTreeMap<u64, Spot>,
}

/// All segments of a store.
#[derive(Debug)]
pub(crate) struct Log {
    active: Mutex<Option<Active>>,
    dir: PathBuf,
    /// The segment that was read last.
    last: Mutex<Option<(u64, Arc<File>)>>,
    segment_bytes: AtomicU64,
    state: RwLock<State>,
}

impl Log {
    /// Reads what is in `dir`, and changes nothing.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut state = State::default();
        let mut end = None;
        let mut bytes = Vec::new();
        for (number, path) in segments(dir)? {
            bytes.clear();
            File::open(path)?.read_to_end(&mut bytes)?;
            state.segments.insert(number, Segment { length: bytes.len() as u64, live: 0 });
            end = state.read(number, &bytes);
        }
        // Behind a torn write nothing is appended: that segment stays as it is.
        let mut active = None;
        if let Some((number, segment)) = state.segments.last_key_value()
            && let Some(length) = end
        {
            let (number, reserved) = (*number, segment.length);
            let file = File::options().read(true).write(true).open(dir.join(name(number)))?;
            active = Some(Active { file, length, number, reserved });
            state.active = number;
        }
        state.loosened = true;
        let (active, last) = (Mutex::new(active), Mutex::new(None));
        let (dir, segment_bytes) = (dir.to_owned(), AtomicU64::new(SEGMENT_BYTES));
        Ok(Self { active, dir, last, segment_bytes, state: RwLock::new(state) })
    }

    /// From which length on a segment is followed by another.
    pub(crate) fn set_segment_bytes(&self, most: u64) {
        self.segment_bytes.store(most.clamp(PAGE_BYTES, MOST_SEGMENT_BYTES), Ordering::Relaxed);
    }

    /// Writes blocks behind all others and returns when they are on the disk; they count from
    /// then on. After an error nobody knows what is.
    pub(crate) fn append(&self, blocks: &[(u64, &[u8])]) -> io::Result<()> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = blocks;
        while !rest.is_empty() {
            rest = &rest[self.append_some(&mut active, rest)?..];
        }
        Ok(())
    }

    /// As many as the segment takes. Readers do not wait for it.
    fn append_some(
        &self,
        active: &mut Option<Active>,
        blocks: &[(u64, &[u8])],
    ) -> io::Result<usize> {
        let mut bytes = Vec::new();
        let most = self.segment_bytes.load(Ordering::Relaxed);
        let begun = match active.take_if(|active| active.length < most) {
            Some(active) => active,
            None => {
                let before = self.write().segments.last_key_value().map(|(number, _)| *number);
                let number = before.unwrap_or(0) + 1;
                let path = self.dir.join(name(number));
                let file = File::options().read(true).write(true).create_new(true).open(path)?;
                bytes.extend_from_slice(&head(number));
                Active { file, length: 0, number, reserved: 0 }
            }
        };
        let Active { file, length, number, reserved } = begun;
        let mut spots = Vec::with_capacity(blocks.len());
        // Nearly always it is one block, which is written from where it stands.
        let alone = match blocks {
            [(_, block)] if bytes.is_empty() => Some(*block),
            _ => None,
        };
        for (first_seq, block) in blocks {
            let offset = length + bytes.len() as u64;
            if !spots.is_empty() && offset >= most {
                break;
            }
            let (offset, length) = (small(offset)?, small(block.len() as u64)?);
            spots.push((*first_seq, Spot { number, offset, length }));
            if alone.is_none() {
                bytes.extend_from_slice(block);
            }
        }
        let bytes = alone.unwrap_or(&bytes);
        file.write_all_at(bytes, length)?;
        let end = length + bytes.len() as u64;
        let reserved = match end > reserved && bytes.len() as u64 <= SMALL_BYTES {
            true => reserve(&file, end, most),
            false => reserved.max(end),
        };
        file.sync_data()?;
        if length == 0 {
            File::open(&self.dir)?.sync_all()?;
        }
        let length = end;
        let mut state = self.write();
        state.active = number;
        state.segments.entry(number).or_default().length = reserved;
        for (first_seq, spot) in &spots {
            state.put(*first_seq, *spot);
        }
        drop(state);
        *active = Some(Active { file, length, number, reserved });
        Ok(spots.len())
    }

    /// Gives the reserve back, so that the files hold blocks and nothing else. A power cut may bring
    /// it back: it needs no sync.
    pub(crate) fn trim(&self) -> io::Result<()> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = active.as_mut().filter(|active| active.length < active.reserved) {
            active.file.set_len(active.length)?;
            active.reserved = active.length;
            self.write().segments.entry(active.number).or_default().length = active.length;
        }
        Ok(())
    }

    /// These blocks do not count any more.
    pub(crate) fn remove(&self, blocks: &[u64]) -> io::Result<()> {
        let mut state = self.write();
        let mut touched = Vec::new();
        for first_seq in blocks {
            if let Some(spot) = state.spots.remove(first_seq) {
                state.release(spot);
                touched.push(spot.number);
            }
        }
        drop(state);
        touched.dedup();
        touched.into_iter().try_for_each(|number| self.remove_empty(number))
    }

    /// Makes room: rewrites what counts of the emptiest segments, until all take `most` bytes, and
    /// of any in which next to nothing counts.
    pub(crate) fn compact(&self, most: u64) -> io::Result<()> {
        for _ in 0..COMPACTED_AT_ONCE {
            let mut state = self.write();
            let loosened = std::mem::take(&mut state.loosened);
            let total: u64 = state.segments.values().map(|segment| segment.length).sum();
            let active = state.active;
            let sealed = state.segments.iter().filter(|(number, _)| **number != active);
            let worst = sealed.min_by_key(|(_, one)| one.live * 1024 / one.length.max(1));
            let worst = worst.map(|(number, segment)| (*number, *segment));
            drop(state);
            let Some((number, segment)) = worst.filter(|_| loosened || total > most) else {
                return Ok(());
            };
            let little = segment.live * 4 < segment.length;
            let pays = segment.live * 8 < segment.length * 7;
            if !little && (total <= most || !pays) {
                return Ok(());
            }
            self.empty(number)?;
        }
        self.write().loosened = true;
        Ok(())
    }

    /// Writes what counts of a segment again, and removes it.
    fn empty(&self, number: u64) -> io::Result<()> {
        let state = self.read();
        let of_it = state.spots.iter().filter(|(_, spot)| spot.number == number);
        let of_it: Vec<(u64, Spot)> = of_it.map(|(first_seq, spot)| (*first_seq, *spot)).collect();
        drop(state);
        let mut blocks = Vec::with_capacity(of_it.len());
        for (first_seq, spot) in of_it {
            let bytes = self.bytes_at(spot)?;
            if Block::read(&bytes).is_err() {
                let why = format!("the block from record {first_seq} on is damaged");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            blocks.push((first_seq, bytes));
        }
        let blocks: Vec<(u64, &[u8])> =
            blocks.iter().map(|(at, bytes)| (*at, &bytes[..])).collect();
        self.append(&blocks)?;
        self.remove_empty(number)
    }

    /// Removes a segment if nothing in it counts any more.
    fn remove_empty(&self, number: u64) -> io::Result<()> {
        let mut state = self.write();
        let empty = state.segments.get(&number).is_some_and(|segment| segment.live == 0);
        if empty && number != state.active {
            fs::remove_file(self.dir.join(name(number)))?;
            state.segments.remove(&number);
        }
        Ok(())
    }

    /// The block whose first record is `first_seq`.
    pub(crate) fn block(&self, first_seq: u64) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(spot) = self.read().spots.get(&first_seq).copied() else {
                return Ok(None);
            };
            match self.bytes_at(spot) {
                // Written again elsewhere, or pruned, since it was looked up.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.read().spots.get(&first_seq) == Some(&spot) {
                        return Err(error);
                    }
                }
                bytes => return bytes.map(Some),
            }
        }
    }

    /// The number of the first block at or after this one.
    pub(crate) fn from(&self, first_seq: u64) -> Option<u64> {
        self.read().spots.range(first_seq..).next().map(|(first_seq, _)| *first_seq)
    }

    /// The number of the last block at or before this one.
    pub(crate) fn before(&self, seq: u64) -> Option<u64> {
        self.read().spots.range(..=seq).next_back().map(|(first_seq, _)| *first_seq)
    }

    /// What all segments take on the disk, in whole pages.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let page = |segment: &Segment| segment.length.next_multiple_of(PAGE_BYTES);
        self.read().segments.values().map(page).sum()
    }

    /// Whether more than one block was once durable beyond this record. The writer syncs each
    /// write before it makes the next, so that a crash tears the last one only: a block beyond
    /// the one that follows was written on top of something synced.
    pub(crate) fn proves_more_than(&self, last_seq: u64) -> bool {
        self.read().framed >= last_seq.saturating_add(2)
    }

    fn bytes_at(&self, spot: Spot) -> io::Result<Vec<u8>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &*last {
            Some((number, file)) if *number == spot.number => Arc::clone(file),
            _ => {
                let file = Arc::new(File::open(self.dir.join(name(spot.number)))?);
                *last = Some((spot.number, Arc::clone(&file)));
                file
            }
        };
        drop(last);
        let mut bytes = vec![0; usize::try_from(spot.length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, u64::from(spot.offset))?;
        Ok(bytes)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The blocks of a segment; where they end, if there is nothing else in it but its reserve.
    fn read(&mut self, number: u64, bytes: &[u8]) -> Option<u64> {
        let mut whole = number_of(bytes) == Some(number);
        let mut at = HEAD_BYTES;
        let finder = memmem::Finder::new(&MAGIC);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match Block::read_head(rest) {
                Ok(block) => {
                    self.framed = self.framed.max(block.first_seq);
                    let spot = small(at as u64).and_then(|offset| {
                        let length = small(block.length as u64)?;
                        Ok(Spot { number, offset, length })
                    });
                    match spot {
                        Ok(spot) if block.body_holds(rest) => self.put(block.first_seq, spot),
                        _ => whole = false,
                    }
                    at += block.length.min(rest.len());
                }
                Err(_) if is_zero(rest) => break,
                Err(_) => {
                    whole = false;
                    let next = rest.get(1..).and_then(|rest| finder.find(rest));
                    at += next.map_or(rest.len(), |next| next + 1);
                }
            }
        }
        whole.then_some(at as u64)
    }

    /// A copy of a block that counts from now on.
    fn put(&mut self, first_seq: u64, spot: Spot) {
        self.segments.entry(spot.number).or_default().live += u64::from(spot.length);
        if let Some(before) = self.spots.insert(first_seq, spot) {
            self.release(before);
        }
    }

    fn release(&mut self, spot: Spot) {
        self.loosened = true;
        if let Some(segment) = self.segments.get_mut(&spot.number) {
            segment.live = segment.live.saturating_sub(u64::from(spot.length));
        }
    }
}

/// Writes zeros behind the block that ends at `end`; where they end. Without room for them, at
/// `end`: they are nothing that is missed.
fn reserve(file: &File, end: u64, most: u64) -> u64 {
    static ZEROS: [u8; RESERVE_BYTES] = [0; RESERVE_BYTES];
    let to = (end + ZEROS.len() as u64).min(most) / PAGE_BYTES * PAGE_BYTES;
    let zeros = usize::try_from(to.saturating_sub(end)).ok().and_then(|count| ZEROS.get(..count));
    match zeros.map(|zeros| file.write_all_at(zeros, end)) {
        Some(Ok(())) => to.max(end),
        None => end,
        Some(Err(_)) => {
            // What was made of them is taken back: nobody counts it.
            let _ = file.set_len(end);
            end
        }
    }
}

/// Nothing was ever written here, or zeros were.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The segments in a store, by number.
pub(crate) fn segments(dir: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(number) = number_in(&entry.file_name()) {
            found.insert(number, entry.path());
        }
    }
    Ok(found)
}

/// A file of this name is a segment.
pub(crate) fn is_name(name: &OsStr) -> bool {
    number_in(name).is_some()
}

fn number_in(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix(NAME)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16).then_some(number)
}

/// The name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{NAME}{number:016x}")
}

fn head(number: u64) -> Vec<u8> {
    let mut bytes = SEGMENT_MAGIC.to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// The number of the segment that begins at `bytes[0]`.
pub(crate) fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = bytes.get(8..16)?.try_into().ok().map(u64::from_be_bytes)?;
    (bytes.get(..HEAD_BYTES)? == head(number)).then_some(number)
}

/// Offsets and lengths in a segment: it ends with the block that fills it.
fn small(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| io::Error::other("a segment of more than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Encoded, Held, Running};
    use nooterra_protocol::codec::Digest;
    use nooterra_protocol::entry::Class;

    /// A block of one record with this number and so many bytes.
    fn block(seq: u64, size: usize) -> Vec<u8> {
        let (class, held, link) = (Class::Bulk, Held::Whole, Digest::of(b"link"));
        let record = Encoded { bytes: vec![7; size], class, held, link };
        let running = Running { boot: 1, actor_seq: 0, checkpoint_seq: 0 };
        Block::encode(seq, &Digest::ZERO, running, &[record])
    }

    fn write(log: &Log, seq: u64, size: usize) {
        log.append(&[(seq, &block(seq, size))]).unwrap();
    }

    fn opened(dir: &Path) -> Log {
        let log = Log::open(dir).unwrap();
        log.set_segment_bytes(PAGE_BYTES);
        log
    }

    fn held(log: &Log) -> Vec<(u64, usize)> {
        let mut all = Vec::new();
        let mut next = log.from(0);
        while let Some(seq) = next {
            all.push((seq, log.block(seq).unwrap().unwrap().len()));
            next = log.from(seq + 1);
        }
        all
    }

    #[test]
    fn what_was_appended_is_there_after_another_start_across_segments() {
        let dir = tempfile::tempdir().unwrap();
        let log = opened(dir.path());
        (1..=20).for_each(|seq| write(&log, seq, 1000));
        let before = held(&log);
        assert_eq!(before.len(), 20);
        assert!(segments(dir.path()).unwrap().len() >= 4);
        let again = opened(dir.path());
        assert_eq!(held(&again), before);
        write(&again, 21, 10);
        assert_eq!((again.before(99), again.from(22)), (Some(21), None));
    }

    #[test]
    fn the_copy_that_was_written_last_counts_and_what_is_empty_goes() {
        let dir = tempfile::tempdir().unwrap();
        let log = opened(dir.path());
        (1..=12).for_each(|seq| write(&log, seq, 1000));
        (1..=8).for_each(|seq| write(&log, seq, 10));
        log.compact(u64::MAX).unwrap();
        let before = held(&log);
        assert!(before[..8].iter().all(|(_, length)| *length < 200), "{before:?}");
        assert!(!segments(dir.path()).unwrap().contains_key(&1));
        assert_eq!(held(&opened(dir.path())), before);
        log.remove(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(log.from(0), Some(9));
    }

    #[test]
    fn the_log_keeps_within_its_bound_by_writing_again_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let log = opened(dir.path());
        (1..=200).for_each(|seq| write(&log, seq, 1000));
        // Half of each segment counts no more.
        (1..=200).step_by(2).for_each(|seq| write(&log, seq, 10));
        let before = held(&log);
        assert!(log.disk_bytes() > 400_000);
        (0..100).for_each(|_| log.compact(150_000).unwrap());
        // Each segment takes whole pages.
        assert!(log.disk_bytes() < 300_000, "{}", log.disk_bytes());
        assert_eq!(held(&log), before);
        assert_eq!(held(&opened(dir.path())), before);
    }

    #[test]
    fn behind_a_torn_write_nothing_is_appended_and_nothing_before_it_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let log = opened(dir.path());
        (1..=3).for_each(|seq| write(&log, seq, 300));
        log.trim().unwrap();
        let path = dir.path().join(name(1));
        let length = fs::metadata(&path).unwrap().len();
        for cut in [1, 50, 100, 200, 380] {
            File::options().write(true).open(&path).unwrap().set_len(length - cut).unwrap();
            let again = opened(dir.path());
            assert_eq!(held(&again).len(), 2, "{cut} bytes are missing");
            assert!(!again.proves_more_than(2));
            write(&again, 3, 5);
            assert_eq!(fs::metadata(&path).unwrap().len(), length - cut);
            assert_eq!(held(&opened(dir.path())).len(), 3);
            fs::remove_file(dir.path().join(name(2))).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            let last = block(3, 300);
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&last, length - last.len() as u64).unwrap();
        }
    }

    #[test]
    fn small_blocks_are_written_where_zeros_stand_and_the_file_stays_as_long_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let path = dir.path().join(name(1));
        let length = || fs::metadata(&path).unwrap().len();
        write(&log, 1, 300);
        let reserved = length();
        assert!(reserved >= RESERVE_BYTES as u64 && reserved.is_multiple_of(PAGE_BYTES));
        (2..=100).for_each(|seq| write(&log, seq, 300));
        // What is reserved counts, too.
        assert_eq!((length(), log.disk_bytes()), (reserved, reserved));
        (101..=200).for_each(|seq| write(&log, seq, 300));
        assert!(length() > reserved, "used up, it is made anew");
        // The file ends with one that is large, and no more is reserved than a segment takes.
        (201..=202).for_each(|seq| write(&log, seq, 50_000));
        let large = length();
        assert!(!fs::read(&path).unwrap().ends_with(&[0]));
        let before = held(&log);
        let again = Log::open(dir.path()).unwrap();
        assert_eq!(held(&again), before);
        again.set_segment_bytes(large + 1000);
        write(&again, 203, 300);
        assert!(length() <= large + 1000);
        (204..=210).for_each(|seq| write(&again, seq, 300));
        assert!(segments(dir.path()).unwrap().len() == 2);
    }

    #[test]
    fn zeros_behind_the_last_block_are_the_end_whatever_left_them_there() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let path = dir.path().join(name(1));
        (1..=3).for_each(|seq| write(&log, seq, 300));
        let reserved = fs::metadata(&path).unwrap().len();
        // As after a crash.
        let again = Log::open(dir.path()).unwrap();
        write(&again, 4, 300);
        assert_eq!(fs::metadata(&path).unwrap().len(), reserved);
        again.trim().unwrap();
        let trimmed = fs::metadata(&path).unwrap().len();
        assert_eq!(trimmed, HEAD_BYTES as u64 + 4 * block(1, 300).len() as u64);
        assert_eq!(again.disk_bytes(), trimmed.next_multiple_of(PAGE_BYTES));
        // The power went before that was on the disk; or the length was, and no block.
        for zeros in [1, 87, 88, 5000] {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(trimmed + zeros).unwrap();
            let again = Log::open(dir.path()).unwrap();
            assert_eq!(held(&again).len(), 4);
            file.set_len(trimmed).unwrap();
        }
        let again = Log::open(dir.path()).unwrap();
        write(&again, 5, 300);
        assert_eq!((held(&again).len(), segments(dir.path()).unwrap().len()), (5, 1));
        assert_eq!(held(&Log::open(dir.path()).unwrap()).len(), 5);
    }

    #[test]
    fn a_write_that_was_torn_in_the_reserve_is_left_and_the_log_goes_on_in_another_segment() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let path = dir.path().join(name(1));
        (1..=2).for_each(|seq| write(&log, seq, 300));
        let torn = block(3, 1500);
        let at = HEAD_BYTES + 2 * block(1, 300).len();
        let whole = fs::read(&path).unwrap();
        for range in [0..1, 0..50, 0..200, 0..1400, 600..1500, 100..300] {
            let mut bytes = whole.clone();
            bytes[at..][range.clone()].copy_from_slice(&torn[range.clone()]);
            fs::write(&path, &bytes).unwrap();
            let again = Log::open(dir.path()).unwrap();
            assert_eq!(held(&again).len(), 2, "{range:?} of it is there");
            assert!(!again.proves_more_than(2));
            write(&again, 3, 5);
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(held(&Log::open(dir.path()).unwrap()).len(), 3);
            fs::remove_file(dir.path().join(name(2))).unwrap();
        }
    }

    #[test]
    fn a_disk_that_has_no_room_for_zeros_has_none_of_them() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"block").unwrap();
        // Opened to be read, it takes no more than a full disk would.
        let refusing = File::open(file.path()).unwrap();
        assert_eq!(reserve(&refusing, 5, u64::MAX), 5);
        assert_eq!(reserve(file.as_file(), 5, 100), 5, "less than a page is left of the segment");
        let reserved = reserve(file.as_file(), 5, u64::MAX);
        assert_eq!(fs::metadata(file.path()).unwrap().len(), reserved);
        assert!(fs::read(file.path()).unwrap().starts_with(b"block\0"));
    }

    #[test]
    fn a_block_beyond_a_damaged_one_is_found_and_says_that_more_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let log = opened(dir.path());
        (1..=4).for_each(|seq| write(&log, seq, 300));
        let path = dir.path().join(name(1));
        let mut bytes = fs::read(&path).unwrap();
        let second = HEAD_BYTES + block(1, 300).len();
        for at in [second, second + 90, second + 200] {
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let again = opened(dir.path());
            assert_eq!(held(&again).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 4]);
            assert!(again.proves_more_than(1));
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn a_segment_says_its_number() {
        assert_eq!(number_of(&head(77)), Some(77));
        assert_eq!(number_in(OsStr::new(&name(77))), Some(77));
        for other in ["log-77", "log-000000000000004g", "db", "log-00000000000000004d"] {
            assert_eq!(number_in(OsStr::new(other)), None);
        }
        let mut altered = head(77);
        altered[12] ^= 1;
        assert_eq!(number_of(&altered), None);
    }
}
