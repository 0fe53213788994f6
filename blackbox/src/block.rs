//! The block: what one group commit writes, in one piece.
//!
//! ```text
//!  0  magic            8   "NOOTBLK" and the version, 1
//!  8  first_seq        8   sequence number of the first record
//! 16  boot             8   start of the agent that wrote it
//! 24  actor_seq        8   highest actor_seq of a fact so far in this journal
//! 32  checkpoint_seq   8   last record of kind `checkpoint` so far, 0 when there is none
//! 40  previous        32   link of the record before the first
//! 72  count            4   records
//! 76  length           4   of the whole block
//! 80  body_crc         4   CRC-32 of the records
//! 84  head_crc         4   CRC-32 of bytes 0 to 84 and of the table
//! 88  table    37 x count  per record: length 4, class 1, link 32
//!     records             one after the other
//! ```
//! The class is 0 critical, 1 normal or 2 bulk; 0x80 is added where the record was pruned, and
//! its leaf hash stands in its place, and 0x40 where it was lost, and nothing does.
//!
//! Integers are big-endian. The CRCs tell torn or rotten bytes apart from a store that is in
//! order; against a person only the links and the checkpoints count.
//!
//! A block is found again in a damaged file by its magic, so it is not compressed.

use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::Class;

/// Begins every block; the last byte is the version.
pub(crate) const MAGIC: [u8; 8] = *b"NOOTBLK\x01";

/// The fixed part.
pub(crate) const HEAD_BYTES: usize = 88;

/// What each record adds to the table.
pub(crate) const ROW_BYTES: usize = 37;

/// A commit is closed when its records reach this size.
pub(crate) const TARGET_BYTES: usize = 48 * 1024;

/// No block is larger.
pub(crate) const MAX_BYTES: usize = 56 * 1024;

/// Why bytes are not a block.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BlockError {
    /// Shorter than its header or its length says.
    #[error("block is cut short")]
    Cut,
    /// The header or the table was altered, or this is no block.
    #[error("block framing is damaged")]
    Head,
}

/// Added to the class of a record that was lost.
const LOST: u8 = 0x40;

/// Added to the class of a record that was pruned.
const PRUNED: u8 = 0x80;

/// What a block holds of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Held {
    /// Its leaf hash: it was pruned.
    Leaf,
    /// Nothing: it was lost.
    Nothing,
    /// All of it.
    Whole,
}

/// One record inside a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) class: Class,
    pub(crate) held: Held,
    pub(crate) link: Digest,
    /// From the beginning of the block.
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// The header and the table, read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Block {
    pub(crate) first_seq: u64,
    pub(crate) boot: u64,
    pub(crate) actor_seq: u64,
    pub(crate) checkpoint_seq: u64,
    pub(crate) previous: Digest,
    pub(crate) length: usize,
    pub(crate) body_crc: u32,
    pub(crate) rows: Vec<Row>,
}

/// What a new block says about the journal so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) boot: u64,
    pub(crate) actor_seq: u64,
    pub(crate) checkpoint_seq: u64,
}

/// One record to be written; its bytes are its own, or stand elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Encoded<B = Vec<u8>> {
    /// What [`Self::held`] says.
    pub(crate) bytes: B,
    pub(crate) class: Class,
    pub(crate) held: Held,
    pub(crate) link: Digest,
}

const fn class_code(class: Class, held: Held) -> u8 {
    let class = match class {
        Class::Critical => 0,
        Class::Normal => 1,
        Class::Bulk => 2,
    };
    match held {
        Held::Leaf => class | PRUNED,
        Held::Nothing => class | LOST,
        Held::Whole => class,
    }
}

fn class_of(code: u8) -> Option<(Class, Held)> {
    let held = match code & (PRUNED | LOST) {
        0 => Held::Whole,
        PRUNED => Held::Leaf,
        LOST => Held::Nothing,
        _ => return None,
    };
    let class = match code & !(PRUNED | LOST) {
        0 => Class::Critical,
        1 => Class::Normal,
        2 => Class::Bulk,
        _ => return None,
    };
    Some((class, held))
}

/// Whether as many bytes may stand for a record of which so much is held.
const fn fits(held: Held, length: usize) -> bool {
    match held {
        Held::Leaf => length == 32,
        Held::Nothing => length == 0,
        Held::Whole => true,
    }
}

fn u32_of(length: usize) -> [u8; 4] {
    // Every length here is at most MAX_BYTES.
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

impl Block {
    /// The bytes of a block of `records` that follows the link `previous`.
    pub(crate) fn encode<B: AsRef<[u8]>>(
        first_seq: u64,
        previous: &Digest,
        running: Running,
        records: &[Encoded<B>],
    ) -> Vec<u8> {
        let body: usize = records.iter().map(|record| record.bytes.as_ref().len()).sum();
        let length = HEAD_BYTES + ROW_BYTES * records.len() + body;
        let mut body_crc = crc32fast::Hasher::new();
        for record in records {
            body_crc.update(record.bytes.as_ref());
        }
        let mut block = Vec::with_capacity(length);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&first_seq.to_be_bytes());
        block.extend_from_slice(&running.boot.to_be_bytes());
        block.extend_from_slice(&running.actor_seq.to_be_bytes());
        block.extend_from_slice(&running.checkpoint_seq.to_be_bytes());
        block.extend_from_slice(previous.as_bytes());
        block.extend_from_slice(&u32_of(records.len()));
        block.extend_from_slice(&u32_of(length));
        block.extend_from_slice(&body_crc.finalize().to_be_bytes());
        block.extend_from_slice(&[0; 4]);
        for record in records {
            block.extend_from_slice(&u32_of(record.bytes.as_ref().len()));
            block.push(class_code(record.class, record.held));
            block.extend_from_slice(record.link.as_bytes());
        }
        let head_crc = head_crc(&block);
        block[84..88].copy_from_slice(&head_crc.to_be_bytes());
        for record in records {
            block.extend_from_slice(record.bytes.as_ref());
        }
        block
    }

    /// Reads the header and the table of the block that begins at `bytes[0]`; more may follow
    /// it. The records are not looked at.
    pub(crate) fn read_head(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() < HEAD_BYTES {
            return Err(BlockError::Cut);
        }
        if bytes[..8] != MAGIC {
            return Err(BlockError::Head);
        }
        let count = usize_at(bytes, 72);
        let length = usize_at(bytes, 76);
        let table_end = count.checked_mul(ROW_BYTES).and_then(|n| n.checked_add(HEAD_BYTES));
        let Some(table_end) = table_end.filter(|end| *end <= length && length <= MAX_BYTES) else {
            return Err(BlockError::Head);
        };
        if bytes.len() < table_end {
            return Err(BlockError::Cut);
        }
        if head_crc(&bytes[..table_end]) != u32_at(bytes, 84) {
            return Err(BlockError::Head);
        }
        let mut rows = Vec::with_capacity(count);
        let mut offset = table_end;
        for row in bytes[HEAD_BYTES..table_end].chunks_exact(ROW_BYTES) {
            let length = usize_at(row, 0);
            let (class, held) = class_of(row[4]).ok_or(BlockError::Head)?;
            if !fits(held, length) {
                return Err(BlockError::Head);
            }
            rows.push(Row { class, held, link: digest_at(row, 5), offset, length });
            offset = offset.checked_add(length).ok_or(BlockError::Head)?;
        }
        if offset != length || rows.is_empty() {
            return Err(BlockError::Head);
        }
        Ok(Self {
            first_seq: u64_at(bytes, 8),
            boot: u64_at(bytes, 16),
            actor_seq: u64_at(bytes, 24),
            checkpoint_seq: u64_at(bytes, 32),
            previous: digest_at(bytes, 40),
            length,
            body_crc: u32_at(bytes, 80),
            rows,
        })
    }

    /// How long the block that begins at `bytes[0]` is: as its table says, where the header holds
    /// with that; as it says itself, where it is something that a block has; or as it may be at most.
    pub(crate) fn claimed_length(bytes: &[u8]) -> usize {
        let length = if bytes.len() < HEAD_BYTES { 0 } else { usize_at(bytes, 76) };
        let length = Self::tabled_length(bytes).unwrap_or(length);
        if (HEAD_BYTES..=MAX_BYTES).contains(&length) { length } else { MAX_BYTES }
    }

    /// What the table adds up to, where the header and the table are as they were written with
    /// that in the place of the length. A write that was torn leaves no such header: what it did not
    /// write is a whole sector, and this is four bytes between others.
    fn tabled_length(bytes: &[u8]) -> Option<usize> {
        let count = usize_at(bytes.get(..HEAD_BYTES)?, 72);
        let table_end = count.checked_mul(ROW_BYTES)?.checked_add(HEAD_BYTES)?;
        let mut head = bytes.get(..table_end).filter(|head| head.len() <= MAX_BYTES)?.to_vec();
        let mut length = table_end;
        for row in head.get(HEAD_BYTES..)?.chunks_exact(ROW_BYTES) {
            length = length.checked_add(usize_at(row, 0))?;
        }
        head[76..80].copy_from_slice(&u32_of(length));
        (head_crc(&head) == u32_at(bytes, 84)).then_some(length)
    }

    /// Reads a whole block: exactly `bytes`, with its records as they were written.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BlockError> {
        let block = Self::read_head(bytes)?;
        if block.length != bytes.len() {
            return Err(BlockError::Cut);
        }
        if block.body_holds(bytes) { Ok(block) } else { Err(BlockError::Head) }
    }

    /// The records are as they were written, as far as a CRC can tell.
    pub(crate) fn body_holds(&self, bytes: &[u8]) -> bool {
        let start = HEAD_BYTES + ROW_BYTES * self.rows.len();
        bytes.get(start..self.length).is_some_and(|body| crc32fast::hash(body) == self.body_crc)
    }

    /// Sequence number of the last record.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.rows.len() as u64).saturating_sub(1)
    }

    /// Link of the last record.
    pub(crate) fn head(&self) -> Digest {
        self.rows.last().map_or(self.previous, |row| row.link)
    }

    /// The records with their sequence numbers, or what is held of them; `bytes` is the block
    /// that was read.
    pub(crate) fn records<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (u64, Row, &'a [u8])> {
        self.rows.iter().zip(self.first_seq..).filter_map(move |(row, seq)| {
            Some((seq, *row, bytes.get(row.offset..row.offset + row.length)?))
        })
    }
}

fn head_crc(head_and_table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head_and_table[..84]);
    hasher.update(&head_and_table[HEAD_BYTES..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn digest_at(bytes: &[u8], at: usize) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(&bytes[at..at + 32]);
    Digest::from_bytes(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(count: u8) -> Vec<u8> {
        let records: Vec<Encoded> = (0..count)
            .map(|i| Encoded {
                bytes: vec![i; usize::from(i) * 3 + 1],
                class: Class::ALL[usize::from(i) % 3],
                held: Held::Whole,
                link: Digest::of(&[i]),
            })
            .collect();
        let running = Running { boot: 2, actor_seq: 9, checkpoint_seq: 4 };
        Block::encode(7, &Digest::of(b"before"), running, &records)
    }

    #[test]
    fn a_block_reads_back_as_it_was_written() {
        let bytes = sample(5);
        let block = Block::read(&bytes).unwrap();
        assert_eq!((block.first_seq, block.last_seq(), block.boot), (7, 11, 2));
        assert_eq!((block.actor_seq, block.checkpoint_seq), (9, 4));
        assert_eq!(block.previous, Digest::of(b"before"));
        assert_eq!(block.head(), Digest::of(&[4]));
        let records: Vec<_> = block.records(&bytes).collect();
        assert_eq!(records[3].0, 10);
        assert_eq!(records[3].1.class, Class::Critical);
        assert_eq!(records[3].2, [3; 10]);
    }

    #[test]
    fn a_block_has_the_bytes_that_the_format_says() {
        let bytes = sample(1);
        let head = [
            b"NOOTBLK\x01".as_slice(),
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 9],
            &[0, 0, 0, 0, 0, 0, 0, 4],
            Digest::of(b"before").as_bytes(),
            &[0, 0, 0, 1],
            &[0, 0, 0, 126],
            // CRC-32 (IEEE 802.3) of one zero byte.
            &[0xd2, 0x02, 0xef, 0x8d],
        ]
        .concat();
        assert_eq!(bytes[..84], head);
        assert_eq!(bytes[88..93], [0, 0, 0, 1, 0]);
        assert_eq!(&bytes[93..125], Digest::of(&[0]).as_bytes());
        assert_eq!(bytes[125..], [0]);
    }

    #[test]
    fn what_is_pruned_or_lost_reads_back_and_nothing_else_passes_for_it() {
        let leaf = Digest::of(b"leaf");
        let record = |held, bytes: &[u8]| {
            let (bytes, link) = (bytes.to_vec(), Digest::of(b"link"));
            let records = [Encoded { bytes, class: Class::Bulk, held, link }];
            let running = Running { boot: 1, actor_seq: 0, checkpoint_seq: 0 };
            Block::encode(1, &Digest::ZERO, running, &records)
        };
        for (held, bytes) in [(Held::Leaf, leaf.as_bytes().as_slice()), (Held::Nothing, &[])] {
            let block = Block::read(&record(held, bytes)).unwrap();
            assert_eq!((block.rows[0].held, block.rows[0].class), (held, Class::Bulk));
        }
        assert!(Block::read(&record(Held::Leaf, b"short")).is_err());
        assert!(Block::read(&record(Held::Nothing, b"long")).is_err());
    }

    #[test]
    fn a_block_whose_length_was_altered_is_as_long_as_its_table_says() {
        let bytes = sample(5);
        let room = [&bytes[..], &[0; 3000]].concat();
        assert_eq!(Block::claimed_length(&room), bytes.len());
        for bit in 0..32 {
            let mut altered = room.clone();
            altered[76 + bit / 8] ^= 1 << (bit % 8);
            assert!(Block::read_head(&altered).is_err());
            assert_eq!(Block::claimed_length(&altered), bytes.len(), "bit {bit}");
            // Where something else is wrong, too, nothing says how long it was.
            altered[30] ^= 1;
            assert_ne!(Block::claimed_length(&altered), bytes.len(), "bit {bit}");
        }
        // Of so many records no table is as long.
        let mut altered = room;
        altered[72..76].fill(0xff);
        assert_eq!(Block::claimed_length(&altered), bytes.len());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0_usize..400, bit in 0_u8..8) {
            let mut bytes = sample(6);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Block::read(&bytes).is_err());
        }

        #[test]
        fn bytes_that_are_no_block_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), lead in any::<bool>()) {
            if lead && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&MAGIC);
            }
            prop_assert!(Block::read(&bytes).is_err());
        }
    }
}
