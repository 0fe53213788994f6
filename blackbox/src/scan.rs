//! Finding blocks in the raw file, without the store: for a store that does not open, for
//! records that it dropped, and for where a record's bytes are.
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
//! sled keeps a log of segments. A block may stand in it several times, because a leaf is
//! written again as it fills; the copy with the highest log sequence number is the one that
//! the store reads.

use crate::block::{Block, MAGIC};
use crate::state;
use crate::store::SEGMENT_BYTES;
use memchr::memmem;
use nooterra_protocol::codec::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

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

/// A place in the file where a block begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Candidate {
    /// The header and the table are as they were written.
    pub(crate) framed: bool,
    /// So are the records, as far as a CRC can tell.
    pub(crate) intact: bool,
    pub(crate) last_seq: u64,
    pub(crate) length: usize,
    /// Log sequence number: higher is newer.
    pub(crate) lsn: u64,
    pub(crate) offset: u64,
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

/// Scans the file. Memory: one segment, and a few dozen bytes per copy of a block.
pub(crate) fn scan(path: &Path) -> io::Result<Scan> {
    let mut file = File::open(path)?;
    let mut found = Scan::default();
    let mut segment = Vec::with_capacity(SEGMENT_BYTES);
    let mut base = 0_u64;
    loop {
        segment.clear();
        (&mut file).take(SEGMENT_BYTES as u64).read_to_end(&mut segment)?;
        if segment.is_empty() {
            break;
        }
        found.add_segment(&segment, base);
        base += segment.len() as u64;
    }
    found.sort();
    Ok(found)
}

impl Scan {
    /// What stands in one segment, which begins at `base`.
    pub(crate) fn add_segment(&mut self, segment: &[u8], base: u64) {
        let finder = memmem::Finder::new(MAGIC_STEM);
        let segment_lsn = segment_lsn(segment);
        let mut at = 0;
        while let Some(hit) = segment.get(at..).and_then(|rest| finder.find(rest)) {
            let start = at + hit;
            let bytes = &segment[start..];
            at = start + MAGIC_STEM.len();
            let lsn = segment_lsn.saturating_add(start as u64);
            if let Some(mark) = Mark::read(bytes) {
                self.mark = self.mark.max(Some(mark));
            } else if let Some((key, value)) = state::read(bytes) {
                let newest = self.states.entry(key.to_vec()).or_default();
                if lsn >= newest.0 {
                    *newest = (lsn, value.to_vec());
                }
            } else if let Some((first_seq, look)) = look(bytes) {
                if look.framed {
                    at = start + look.length.min(bytes.len());
                }
                let candidate = Candidate { lsn, offset: base + start as u64, ..look };
                self.blocks.entry(first_seq).or_default().push(candidate);
            }
        }
    }

    /// The newest copy of each block first.
    pub(crate) fn sort(&mut self) {
        for copies in self.blocks.values_mut() {
            copies.sort_by_key(|copy| std::cmp::Reverse((copy.lsn, copy.offset)));
        }
    }

    /// Whether more than one block was once durable that a store with this end no longer has.
    /// The writer syncs each write before it makes the next, so that a crash tears the last one
    /// only: a block beyond the one that follows was written on top of something synced.
    pub(crate) fn proves_more_than(&self, last_seq: u64) -> bool {
        let mut beyond = self.blocks.range(last_seq.saturating_add(2)..);
        beyond.any(|(_, copies)| copies.iter().any(|copy| copy.framed))
    }

    /// Also what another scan of the same file found.
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

/// The bytes of a candidate.
pub(crate) fn read_at(file: &mut File, candidate: &Candidate) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; candidate.length];
    file.seek(SeekFrom::Start(candidate.offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The block that begins at `bytes[0]`: its first sequence number and what it looks like.
fn look(bytes: &[u8]) -> Option<(u64, Candidate)> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let damaged =
        Candidate { framed: false, intact: false, last_seq: 0, length: 0, lsn: 0, offset: 0 };
    match Block::read_head(bytes) {
        Ok(block) => {
            let (last_seq, length) = (block.last_seq(), block.length);
            let intact = block.body_holds(bytes);
            let look = Candidate { framed: true, intact, last_seq, length, ..damaged };
            Some((block.first_seq, look))
        }
        Err(_) => {
            let first_seq = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
            Some((first_seq, Candidate { last_seq: first_seq, ..damaged }))
        }
    }
}

/// Where a segment stands in the log; 0 for one whose header is damaged.
fn segment_lsn(segment: &[u8]) -> u64 {
    segment_header(segment).map_or(0, |(lsn, _)| lsn)
}

/// Where a segment stands in the log, and up to where the log was complete when it was begun.
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
        store.commit(vec![(1, Some(vec![7; 100]))], &[]).unwrap();
        let bytes = std::fs::read(dir.path().join(crate::store::DB_FILE)).unwrap();
        // The first of a new log, of which nothing was complete when it was begun.
        assert_eq!(segment_header(&bytes), Some((0, 0)));
        assert_eq!(segment_header(&bytes[1..]), None);
        assert_eq!(segment_header(&bytes[..19]), None);
    }

    #[test]
    fn what_only_begins_like_a_block_is_no_block_and_no_panic() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for length in [8, 9, 15, 16, 40, 87, 88, 120] {
            file.write_all(&MAGIC).unwrap();
            file.write_all(&vec![0xff; length]).unwrap();
        }
        file.write_all(b"NOOT").unwrap();
        let found = scan(file.path()).unwrap();
        assert!(found.mark.is_none());
        assert!(found.blocks.values().flatten().all(|copy| !copy.framed));
    }
}
