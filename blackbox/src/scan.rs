//! Finding blocks in the raw file, without the store: for a store that does not open, for
//! records that it dropped, and for where a record's bytes are.
//!
//! The value that marks a clean end is framed too: `NOOTEND` and the version, 1; the last
//! sequence number, 8; its link, 32; CRC-32 of these, 4.
//!
//! sled keeps a log of segments. A block may stand in it several times, because a leaf is
//! written again as it fills; the copy with the highest log sequence number is the one that
//! the store reads.

use crate::block::{Block, MAGIC};
use crate::store::SEGMENT_BYTES;
use memchr::memmem;
use nooterra_protocol::codec::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// sled writes the numbers of a segment's header with these bits flipped, after a CRC-32.
const LSN_MASK: u64 = 0x7fff_ffff_ffff_ffff;

/// What both magics begin with.
const MAGIC_STEM: &[u8] = b"NOOT";

/// Begins an end mark.
const END_MAGIC: [u8; 8] = *b"NOOTEND\x01";

/// An end mark.
pub(crate) const END_BYTES: usize = 52;

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
    /// The highest sequence number at which the journal was ever closed; 0 for never.
    pub(crate) closed_at: u64,
}

/// Scans the file. Memory: one segment, and a few dozen bytes per copy of a block.
pub(crate) fn scan(path: &Path) -> io::Result<Scan> {
    let mut file = File::open(path)?;
    let mut found = Scan::default();
    let mut segment = Vec::with_capacity(SEGMENT_BYTES);
    let finder = memmem::Finder::new(MAGIC_STEM);
    let mut base = 0_u64;
    loop {
        segment.clear();
        (&mut file)
            .take(SEGMENT_BYTES as u64)
            .read_to_end(&mut segment)?;
        if segment.is_empty() {
            break;
        }
        let segment_lsn = segment_lsn(&segment);
        let mut at = 0;
        while let Some(hit) = segment.get(at..).and_then(|rest| finder.find(rest)) {
            let start = at + hit;
            let bytes = &segment[start..];
            at = start + MAGIC_STEM.len();
            if let Some((last_seq, _)) = read_end(bytes) {
                found.closed_at = found.closed_at.max(last_seq);
            } else if let Some((first_seq, look)) = look(bytes) {
                if look.framed {
                    at = start + look.length.min(bytes.len());
                }
                let lsn = segment_lsn.saturating_add(start as u64);
                let candidate = Candidate {
                    lsn,
                    offset: base + start as u64,
                    ..look
                };
                found.blocks.entry(first_seq).or_default().push(candidate);
            }
        }
        base += segment.len() as u64;
    }
    for copies in found.blocks.values_mut() {
        copies.sort_by_key(|copy| std::cmp::Reverse((copy.lsn, copy.offset)));
    }
    Ok(found)
}

impl Scan {
    /// Whether records after `last_seq` were once durable. The writer syncs each block before
    /// it makes the next, so that a crash tears the last one only: a block beyond the one that
    /// follows `last_seq`, or an end mark beyond it, was written on top of something synced.
    pub(crate) fn proves_more_than(&self, last_seq: u64) -> bool {
        let beyond = self.blocks.range(last_seq.saturating_add(2)..);
        self.closed_at > last_seq
            || beyond
                .into_iter()
                .any(|(_, copies)| copies.iter().any(|copy| copy.framed))
    }
}

/// The bytes of an end mark.
pub(crate) fn end_mark(last_seq: u64, head: &Digest) -> Vec<u8> {
    let mut mark = END_MAGIC.to_vec();
    mark.extend_from_slice(&last_seq.to_be_bytes());
    mark.extend_from_slice(head.as_bytes());
    mark.extend_from_slice(&crc32fast::hash(&mark).to_be_bytes());
    mark
}

/// Reads the end mark that begins at `bytes[0]`: the last record and its link.
pub(crate) fn read_end(bytes: &[u8]) -> Option<(u64, Digest)> {
    let mark = bytes.get(..END_BYTES)?;
    let crc = u32::from_be_bytes(mark[48..].try_into().ok()?);
    if mark[..8] != END_MAGIC || crc32fast::hash(&mark[..48]) != crc {
        return None;
    }
    let last_seq = u64::from_be_bytes(mark[8..16].try_into().ok()?);
    Some((last_seq, Digest::from_bytes(mark[16..48].try_into().ok()?)))
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
    let damaged = Candidate {
        framed: false,
        intact: false,
        last_seq: 0,
        length: 0,
        lsn: 0,
        offset: 0,
    };
    match Block::read_head(bytes) {
        Ok(block) => {
            let (last_seq, length) = (block.last_seq(), block.length);
            let intact = block.body_holds(bytes);
            let look = Candidate {
                framed: true,
                intact,
                last_seq,
                length,
                ..damaged
            };
            Some((block.first_seq, look))
        }
        Err(_) => {
            let first_seq = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
            Some((
                first_seq,
                Candidate {
                    last_seq: first_seq,
                    ..damaged
                },
            ))
        }
    }
}

/// Where a segment stands in the log; 0 for one whose header is damaged.
fn segment_lsn(segment: &[u8]) -> u64 {
    let field = |range: std::ops::Range<usize>| segment.get(range).unwrap_or_default();
    let stored = field(0..4).try_into().map_or(0, u32::from_le_bytes);
    if stored ^ 0xffff_ffff != crc32fast::hash(field(4..20)) ^ 0xffff_ffff {
        return 0;
    }
    let lsn = field(4..12).try_into().map_or(0, u64::from_le_bytes);
    lsn ^ LSN_MASK
}
