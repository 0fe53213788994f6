//! Finding blocks and states in the raw files, without the store: for one that does not open, for
//! who only looks, and for where a record's bytes are.
//!
//! A *run mark* is framed too, so that the file shows how often it was opened and closed:
//!
//! ```text
//!  0  magic      8   "NOOTRUN" and the version, 1
//!  8  boot       8   which start
//! 16  closed     8   0 written when the journal was opened, 1 when it was closed in order
//! 24  last_seq   8   the last record then
//! 32  head      32   its link
//! 64  crc        4   CRC-32 of bytes 0 to 64
//! ```
//!
//! A block may stand in several segments of the journal's log, and a state in several places of
//! sled's; the copy with the highest *log sequence number* is the one that counts. Of a block that
//! is made of the segment's number and the place in it, of a state it is sled's own. Blocks are
//! looked for in sled's file as well: journals of earlier releases kept them there.

use crate::block::{Block, BlockError, MAGIC, MAX_BYTES};
use crate::log;
use crate::state;
use crate::store::{DB_FILE, SEGMENT_BYTES};
use memchr::memmem;
use nooterra_protocol::codec::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Where a segment's number stands in a log sequence number.
const NUMBER_SHIFT: u32 = 40;

/// No frame is longer: what one look at a file has in common with the next.
const OVERLAP: usize = 2 * MAX_BYTES;

/// What a disk writes at once, or nothing of it.
const SECTOR_BYTES: usize = 512;

/// What is read of a block to see its frame: with records of some 100 bytes or more there is nothing
/// else to be read.
const FRAME_BYTES: usize = 8 * 1024;

/// How many files are kept open, so that they can be read when they are removed meanwhile.
const MOST_OPEN: usize = 600;

/// sled writes the numbers of a segment's header with these bits flipped, after a CRC-32.
const LSN_MASK: u64 = 0x7fff_ffff_ffff_ffff;

/// What sled writes before the log in each segment.
pub(crate) const SEGMENT_HEAD_BYTES: usize = 20;

/// What all magics begin with.
const MAGIC_STEM: &[u8] = b"NOOT";

/// Begins a run mark.
const MARK_MAGIC: [u8; 8] = *b"NOOTRUN\x01";

/// A run mark: the newest is the greatest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mark {
    pub(crate) boot: u64,
    pub(crate) closed: bool,
    pub(crate) last_seq: u64,
    pub(crate) head: Digest,
}

/// A place in a file where a block begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Candidate {
    /// The file ends in the middle of it, or a sector of it was never written: it lies in the
    /// reserve, which is zeros ([`crate::log`]).
    pub(crate) cut: bool,
    /// Which of the files.
    pub(crate) file: usize,
    /// The header and the table are as they were written.
    pub(crate) framed: bool,
    /// So are the records, as far as a CRC can tell; until it is `seen` that is only hoped.
    pub(crate) intact: bool,
    pub(crate) last_seq: u64,
    pub(crate) length: usize,
    /// Log sequence number: higher is newer.
    pub(crate) lsn: u64,
    pub(crate) offset: u64,
    /// Its records were read.
    pub(crate) seen: bool,
}

/// All that looks like a block, by first sequence number, the newest copy first.
pub(crate) type Candidates = BTreeMap<u64, Vec<Candidate>>;

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) blocks: Candidates,
    /// The newest run mark.
    pub(crate) mark: Option<Mark>,
    /// The newest copy of each state, with its log sequence number.
    pub(crate) states: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
}

/// The files of a store. What is removed while they are read can still be read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: Vec<Option<File>>,
    paths: Vec<PathBuf>,
    /// What a file is scanned in, kept for the next: pages that a process gets anew cost more than
    /// what is read into them.
    window: Vec<u8>,
}

impl Files {
    fn add(&mut self, path: PathBuf, file: File) -> usize {
        self.open.push((self.open.len() < MOST_OPEN).then_some(file));
        self.paths.push(path);
        self.paths.len() - 1
    }

    /// The bytes of a candidate.
    pub(crate) fn read(&self, candidate: &Candidate) -> io::Result<Vec<u8>> {
        self.read_into(Vec::new(), candidate)
    }

    /// The same, in the room of bytes that nobody needs any more.
    pub(crate) fn read_into(
        &self,
        mut bytes: Vec<u8>,
        candidate: &Candidate,
    ) -> io::Result<Vec<u8>> {
        bytes.resize(candidate.length, 0);
        match (self.open.get(candidate.file), self.paths.get(candidate.file)) {
            (Some(Some(file)), _) => file.read_exact_at(&mut bytes, candidate.offset)?,
            (_, Some(path)) => File::open(path)?.read_exact_at(&mut bytes, candidate.offset)?,
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(bytes)
    }

    /// The block of a candidate, whose records may be anything; `bytes` are its room, and then its
    /// bytes. `None` where it is not there any more.
    pub(crate) fn block(&self, bytes: &mut Vec<u8>, candidate: &Candidate) -> Option<Block> {
        *bytes = self.read_into(std::mem::take(bytes), candidate).ok()?;
        let block = Block::read_head(bytes).ok()?;
        (block.length == candidate.length).then_some(block)
    }

    /// Where a candidate is.
    pub(crate) fn path(&self, candidate: &Candidate) -> Option<&Path> {
        self.paths.get(candidate.file).map(PathBuf::as_path)
    }
}

/// Scans the files of a store. Memory: one segment, and a few dozen bytes per copy of a block.
pub(crate) fn scan(store: &Path) -> io::Result<(Scan, Files)> {
    look_through(store, false)
}

/// The same for who reads the blocks anyway, or a few of them: where nothing but blocks stands in a
/// segment, one behind the other, only their frames are read. Where there are several copies of a
/// block, which of them counts is known all the same.
pub(crate) fn survey(store: &Path) -> io::Result<(Scan, Files)> {
    let (mut found, files) = look_through(store, true)?;
    found.see(&files, |copies| copies.len() > 1);
    Ok((found, files))
}

fn look_through(store: &Path, frames_only: bool) -> io::Result<(Scan, Files)> {
    let (mut found, mut files) = (Scan::default(), Files::default());
    for (number, path) in log::segments(store)? {
        match File::open(&path) {
            Ok(file) if frames_only && found.add_frames(files.paths.len(), &file)? => {
                files.add(path, file);
            }
            Ok(file) => found.add_file(&mut files, number, path, file)?,
            // Pruned since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let path = store.join(DB_FILE);
    match File::open(&path) {
        Ok(file) => found.add_file(&mut files, 0, path, file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    found.sort();
    files.window = Vec::new();
    Ok((found, files))
}

/// Scans what sled wrote in a store.
pub(crate) fn states(store: &Path) -> io::Result<Scan> {
    let path = store.join(DB_FILE);
    let mut found = Scan::default();
    found.add_file(&mut Files::default(), 0, path.clone(), File::open(path)?)?;
    Ok(found)
}

impl Scan {
    /// What stands in a file that is named as this segment.
    pub(crate) fn add_file(
        &mut self,
        files: &mut Files,
        number: u64,
        path: PathBuf,
        mut file: File,
    ) -> io::Result<()> {
        let (mut window, mut base) = (std::mem::take(&mut files.window), 0);
        window.clear();
        window.reserve(SEGMENT_BYTES);
        let nth = files.paths.len();
        let mut first_lsn = number << NUMBER_SHIFT;
        // sled begins a segment anew after each of its length; no frame in it goes beyond.
        let mut of_sled = path.file_name().is_some_and(|name| name == DB_FILE);
        loop {
            let before = window.len();
            let most = SEGMENT_BYTES - before.min(SEGMENT_BYTES);
            let read = (&mut file).take(most as u64).read_to_end(&mut window)?;
            let is_last = read < most;
            let header = segment_header(&window).map(|(lsn, _)| lsn);
            if base == 0 {
                of_sled |= header.is_some();
                let number = log::number_of(&window).unwrap_or(number);
                first_lsn = number << NUMBER_SHIFT;
            }
            let (end, lsn) = match (of_sled, is_last) {
                (true, _) => (window.len(), header.unwrap_or(0)),
                (false, true) => (window.len(), first_lsn.saturating_add(base)),
                (false, false) => (window.len() - OVERLAP, first_lsn.saturating_add(base)),
            };
            let end = self.add(&window, end, nth, base, lsn);
            if is_last {
                break;
            }
            window.drain(..end);
            base += end as u64;
        }
        files.window = window;
        files.add(path, file);
        Ok(())
    }

    /// The blocks of a segment, by their frames; false, and nothing, where anything else is in it
    /// than its reserve, or the last write before that was torn.
    /// An end that comes early is the reserve that its journal just took back.
    fn add_frames(&mut self, file: usize, segment: &File) -> io::Result<bool> {
        match self.add_whole_frames(file, segment) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            added => added,
        }
    }

    fn add_whole_frames(&mut self, file: usize, segment: &File) -> io::Result<bool> {
        let length = segment.metadata()?.len();
        let mut head = [0; log::HEAD_BYTES];
        if length < head.len() as u64 {
            return Ok(false);
        }
        segment.read_exact_at(&mut head, 0)?;
        let Some(number) = log::number_of(&head).filter(|_| segment_header(&head).is_none()) else {
            return Ok(false);
        };
        let (mut found, mut bytes) = (Vec::new(), Vec::new());
        let mut offset = head.len() as u64;
        while offset < length {
            let rest = usize::try_from(length - offset).unwrap_or(usize::MAX);
            let mut read = Err(BlockError::Cut);
            for most in [FRAME_BYTES, MAX_BYTES] {
                bytes.resize(rest.min(most), 0);
                segment.read_exact_at(&mut bytes, offset)?;
                read = Block::read_head(&bytes);
                if read != Err(BlockError::Cut) {
                    break;
                }
            }
            let Some(block) = read.ok().filter(|block| block.length <= rest) else {
                if !is_reserve(segment, offset, &mut bytes)? {
                    return Ok(false);
                }
                break;
            };
            let candidate = Candidate {
                cut: false,
                file,
                framed: true,
                intact: true,
                last_seq: block.last_seq(),
                length: block.length,
                lsn: (number << NUMBER_SHIFT).saturating_add(offset),
                offset,
                seen: false,
            };
            found.push((block.first_seq, candidate));
            offset += block.length as u64;
        }
        if !last_holds(segment, &found)? {
            return Ok(false);
        }
        for (first_seq, candidate) in found {
            self.blocks.entry(first_seq).or_default().push(candidate);
        }
        Ok(true)
    }

    /// Reads the records of those blocks of which only the frame was, and of which it is wished.
    pub(crate) fn see(&mut self, files: &Files, wished: impl Fn(&[Candidate]) -> bool) {
        let mut bytes = Vec::new();
        for copies in self.blocks.values_mut().filter(|copies| wished(copies)) {
            for copy in copies.iter_mut().filter(|copy| !copy.seen) {
                // What is gone since it was found is for who reads it to tell.
                let block = files.block(&mut bytes, copy);
                copy.intact = block.is_none_or(|block| block.body_holds(&bytes));
                copy.seen = true;
            }
        }
    }

    /// What begins in `bytes` before `end`; where to go on.
    pub(crate) fn add(
        &mut self,
        bytes: &[u8],
        end: usize,
        file: usize,
        base: u64,
        first_lsn: u64,
    ) -> usize {
        let finder = memmem::Finder::new(MAGIC_STEM);
        let mut at = 0;
        while let Some(hit) = bytes.get(at..).and_then(|rest| finder.find(rest)) {
            let start = at + hit;
            if start >= end {
                break;
            }
            let rest = &bytes[start..];
            at = start + MAGIC_STEM.len();
            let lsn = first_lsn.saturating_add(start as u64);
            if let Some(mark) = Mark::read(rest) {
                self.mark = self.mark.max(Some(mark));
            } else if let Some((key, value)) = state::read(rest) {
                let newest = self.states.entry(key.to_vec()).or_default();
                if lsn >= newest.0 {
                    *newest = (lsn, value.to_vec());
                }
            } else if let Some((first_seq, look)) = look(rest) {
                if look.framed {
                    at = start + look.length.min(rest.len());
                }
                let offset = base + start as u64;
                let cut = look.cut || (!look.intact && is_torn(rest, offset));
                let candidate = Candidate { cut, file, lsn, offset, ..look };
                self.blocks.entry(first_seq).or_default().push(candidate);
            }
        }
        at.max(end).min(bytes.len())
    }

    /// The newest copy of each block first.
    pub(crate) fn sort(&mut self) {
        for copies in self.blocks.values_mut() {
            copies.sort_by_key(|copy| std::cmp::Reverse((copy.lsn, copy.offset)));
        }
    }

    /// The write that stands last, and the block with the highest number, are whole, and so is the
    /// block before, which that one follows.
    pub(crate) fn is_settled(&self) -> bool {
        let mut next = None;
        let mut blocks = self.blocks.iter().rev().take(2);
        let follow = blocks.all(|(first_seq, copies)| {
            let whole = copies.iter().find(|copy| copy.intact);
            let before = next.replace(*first_seq);
            whole.is_some_and(|copy| before.is_none_or(|next| copy.last_seq + 1 == next))
        });
        follow && self.last_write().is_none_or(|(_, copy)| copy.intact)
    }

    /// Takes no notice of the write that stands last where it is not whole; whether it was not.
    pub(crate) fn leave_unfinished(&mut self) -> bool {
        let last = self.last_write().filter(|(_, copy)| !copy.intact);
        let Some((first_seq, last)) = last.map(|(first_seq, copy)| (first_seq, *copy)) else {
            return false;
        };
        if let Some(copies) = self.blocks.get_mut(&first_seq) {
            copies.retain(|copy| *copy != last);
            if copies.is_empty() {
                self.blocks.remove(&first_seq);
            }
        }
        true
    }

    /// What looks like a block furthest behind in the newest segment, and the number that it says:
    /// where it is not whole, that is not to be believed.
    fn last_write(&self) -> Option<(u64, &Candidate)> {
        let copies = self.blocks.iter();
        let copies = copies.flat_map(|(first_seq, all)| all.iter().map(|copy| (*first_seq, copy)));
        copies.max_by_key(|(_, copy)| copy.lsn)
    }

    /// Also what another scan found, of the same files where it found blocks.
    pub(crate) fn merge(&mut self, other: Self) {
        self.mark = self.mark.max(other.mark);
        for (first_seq, copies) in other.blocks {
            self.blocks.entry(first_seq).or_default().extend(copies);
        }
        for (key, (lsn, value)) in other.states {
            let newest = self.states.entry(key).or_default();
            if lsn >= newest.0 {
                *newest = (lsn, value);
            }
        }
        self.sort();
    }
}

impl Mark {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MARK_MAGIC.to_vec();
        for number in [self.boot, u64::from(self.closed), self.last_seq] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(self.head.as_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// Reads the mark that begins at `bytes[0]`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.get(..68)?.split_at(64);
        if body[..8] != MARK_MAGIC || crc != crc32fast::hash(body).to_be_bytes() {
            return None;
        }
        let number = |at: usize| body[at..at + 8].try_into().ok().map(u64::from_be_bytes);
        Some(Self {
            boot: number(8)?,
            closed: number(16)? == 1,
            last_seq: number(24)?,
            head: Digest::from_bytes(body[32..].try_into().ok()?),
        })
    }
}

/// All of a segment from here on is zeros.
fn is_reserve(segment: &File, mut offset: u64, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(MAX_BYTES, 0);
    loop {
        match segment.read_at(bytes, offset) {
            Ok(0) => return Ok(true),
            Ok(read) if log::is_zero(&bytes[..read]) => offset += read as u64,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The last block that was found is as it was written, or there is none.
fn last_holds(segment: &File, found: &[(u64, Candidate)]) -> io::Result<bool> {
    let Some((_, last)) = found.last() else {
        return Ok(true);
    };
    let mut bytes = vec![0; last.length];
    segment.read_exact_at(&mut bytes, last.offset)?;
    Ok(Block::read(&bytes).is_ok())
}

/// A sector, or what a damaged block has of one, is zeros: it was not written.
fn is_torn(bytes: &[u8], offset: u64) -> bool {
    let mut rest = &bytes[..bytes.len().min(Block::claimed_length(bytes))];
    let into = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let mut sector = SECTOR_BYTES - into;
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(rest.len().min(sector));
        if log::is_zero(piece) {
            return true;
        }
        (rest, sector) = (next, SECTOR_BYTES);
    }
    false
}

/// The block that begins at `bytes[0]`: its first sequence number and what it looks like.
fn look(bytes: &[u8]) -> Option<(u64, Candidate)> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let damaged = Candidate {
        cut: false,
        file: 0,
        framed: false,
        intact: false,
        last_seq: 0,
        length: 0,
        lsn: 0,
        offset: 0,
        seen: true,
    };
    match Block::read_head(bytes) {
        Ok(block) => {
            let (last_seq, length) = (block.last_seq(), block.length);
            let intact = block.body_holds(bytes);
            let cut = bytes.len() < length;
            let look = Candidate { cut, framed: true, intact, last_seq, length, ..damaged };
            Some((block.first_seq, look))
        }
        Err(error) => {
            let first_seq = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
            let cut = error == BlockError::Cut;
            Some((first_seq, Candidate { cut, last_seq: first_seq, ..damaged }))
        }
    }
}

/// Where a segment of sled's stands in its log, and up to where the log was complete when it was begun.
pub(crate) fn segment_header(segment: &[u8]) -> Option<(u64, u64)> {
    let field = |range: std::ops::Range<usize>| segment.get(range).unwrap_or_default();
    let stored = field(0..4).try_into().map_or(0, u32::from_le_bytes);
    if segment.len() < SEGMENT_HEAD_BYTES || stored ^ 0xffff_ffff != crc32fast::hash(field(4..20)) {
        return None;
    }
    let number = |range| field(range).try_into().map_or(0, u64::from_le_bytes) ^ LSN_MASK;
    // Both are signed; -1 means nowhere yet.
    let number = |range| i64::from_le_bytes(number(range).to_le_bytes());
    let number = |range| u64::try_from(number(range)).unwrap_or(0);
    Some((number(4..12), number(12..20)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Encoded, Held, Running};
    use nooterra_protocol::entry::Class;
    use std::io::Write as _;

    fn mark() -> Mark {
        Mark { boot: 3, closed: true, last_seq: 99, head: Digest::of(b"head") }
    }

    #[test]
    fn a_mark_reads_back_and_no_altered_one_does() {
        let bytes = mark().encode();
        assert_eq!(Mark::read(&bytes), Some(mark()));
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(Mark::read(&altered), None, "byte {at}");
            assert_eq!(Mark::read(&bytes[..at]), None);
        }
    }

    #[test]
    fn marks_are_ordered_by_start_and_then_by_closing() {
        let opened = Mark { closed: false, ..mark() };
        let next = Mark { boot: 4, closed: false, last_seq: 99, ..mark() };
        assert!(opened < mark() && mark() < next);
    }

    #[test]
    fn the_header_of_a_segment_of_the_store_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(dir.path()).unwrap();
        store.commit(&[], &[(b"key", b"value")]).unwrap();
        let bytes = std::fs::read(dir.path().join(crate::store::DB_FILE)).unwrap();
        // The first of a new log, of which nothing was complete when it was begun.
        assert_eq!(segment_header(&bytes), Some((0, 0)));
        assert_eq!(segment_header(&bytes[1..]), None);
        assert_eq!(segment_header(&bytes[..19]), None);
    }

    fn block(seq: u64, size: usize) -> Vec<u8> {
        let (class, held, link) = (Class::Bulk, Held::Whole, Digest::of(b"link"));
        let record = |size| Encoded { bytes: vec![7; size], class, held, link };
        let running = Running { boot: 1, actor_seq: 0, checkpoint_seq: 0 };
        // Of some the table is longer than what is read of a frame at first.
        let records: Vec<_> = (0..1 + seq % 3 * 150).map(|_| record(size)).collect();
        Block::encode(seq * 1000, &Digest::ZERO, running, &records)
    }

    #[test]
    fn a_survey_finds_what_a_scan_finds_whatever_is_wrong_with_a_segment() {
        let dir = tempfile::tempdir().unwrap();
        let written = log::Log::open(dir.path()).unwrap();
        written.set_segment_bytes(4096);
        for (seq, size) in (1..=12).map(|seq| (seq, 90)).chain([(3, 5), (4, 5)]) {
            written.append(&[(seq * 1000, &block(seq, size))]).unwrap();
        }
        let same = |what: &str| {
            let (mut surveyed, files) = survey(dir.path()).unwrap();
            let all = surveyed.blocks.values().flatten();
            let unread = all.filter(|copy| !copy.seen).count();
            surveyed.see(&files, |_| true);
            assert_eq!(surveyed.blocks, scan(dir.path()).unwrap().0.blocks, "{what}");
            unread
        };
        // Two are there twice, and of these it must be known which counts.
        assert_eq!(same("in order"), 10);
        for (number, path) in log::segments(dir.path()).unwrap() {
            let bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            for at in [0, 9, 19, 20, 28, 100, 110, last / 2, last] {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                std::fs::write(&path, altered).unwrap();
                same(&format!("byte {at} of segment {number} is altered"));
            }
            for length in [0, 5, 20, 60, 150, last] {
                std::fs::write(&path, &bytes[..length]).unwrap();
                same(&format!("segment {number} has {length} bytes"));
            }
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for zeros in [50, 90, 5000] {
                let reserve = vec![0; zeros];
                std::fs::write(&path, [&bytes[..used], &reserve].concat()).unwrap();
                assert!(same(&format!("{zeros} zeros behind segment {number}")) > 0);
                // The last write did not reach the disk, or not all of it.
                for length in [used - 1, used - 90, used - 200] {
                    std::fs::write(&path, [&bytes[..length], &reserve].concat()).unwrap();
                    same(&format!("{length} bytes and {zeros} zeros in segment {number}"));
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }

    #[test]
    fn what_only_begins_like_a_block_is_no_block_and_no_panic() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for length in [8, 9, 15, 16, 40, 87, 88, 120] {
            file.write_all(&MAGIC).unwrap();
            file.write_all(&vec![0xff; length]).unwrap();
        }
        file.write_all(b"NOOT").unwrap();
        let mut found = Scan::default();
        let opened = File::open(file.path()).unwrap();
        found.add_file(&mut Files::default(), 1, file.path().to_owned(), opened).unwrap();
        assert!(found.mark.is_none());
        assert!(found.blocks.values().flatten().all(|copy| !copy.framed));
    }
}
