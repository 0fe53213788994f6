//! An excerpt of a journal that verifies by itself: the records that its maker chose, and of all
//! others the leaf hashes, so that the chain and the tree still lead to the signed checkpoints.
//!
//! ```text
//!  0  magic     8   "NOOTEXC" and the version, 1
//!  8  length    4   of what follows
//! 12  beginning     canonical CBOR: what was pruned before the first block (`Beginning`)
//!     blocks        one after the other, as in the store
//! ```
//! A block of an excerpt holds what a block of the store does; a record that was left out stands
//! as its leaf hash, like one that was pruned. What the journal says of itself (checkpoints,
//! losses, prunes) is never left out.

use crate::block::{Block, Encoded, HEAD_BYTES, Held, MAX_BYTES, Running};
use crate::image::{Image, Piece};
use crate::prune::leaf_of;
use crate::verify::{VerifyError, push_block};
use nooterra_evidence::absence::Statement as _;
use nooterra_evidence::{Head, Prune, Record, Verification, Verifier, link};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::keys::VerifyingKey;
use nooterra_protocol::time::Stamp;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::Path;

/// Begins every excerpt; the last byte is the version.
const MAGIC: [u8; 8] = *b"NOOTEXC\x01";

/// The largest beginning: 64 roots and some.
const MOST_BEGINNING: usize = 16 * 1024;

/// So many spans of lost records are told apart; of any further ones the records are counted.
const MOST_LOST: usize = 4096;

/// Why the end of a journal is missing.
const PROMISED: &str = "the journal was once opened or closed with it, and it is missing";

/// What stood before the first block.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    /// Link of the last record that was pruned.
    head: Digest,
    /// The last record when the journal was last opened or closed.
    promised: u64,
    /// Roots of the perfect subtrees over what was pruned.
    subtrees: Vec<Digest>,
    /// The records from 1 to this number are gone.
    through: u64,
}

/// Why bytes are no excerpt, or none can be made.
#[derive(Debug, thiserror::Error)]
pub enum ExcerptError {
    /// Not what this module writes, or damaged outside of its records.
    #[error("the excerpt is damaged: {0}; copy it anew from where it was made")]
    Damaged(&'static str),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no journal to take it from.
    #[error("{0}")]
    Journal(#[from] VerifyError),
}

/// What was written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Taken {
    /// What should be in the journal and cannot be read, in order: it is damaged, missing, or was
    /// lost before. Not what was pruned, where a signed record says so.
    pub lost: Vec<Lost>,
    /// Records of further such spans, where there are more than are told apart.
    pub more_lost: u64,
    /// Records that are in it whole.
    pub records: u64,
    /// Records that stand as leaf hashes because they were not wanted.
    pub withheld: u64,
}

/// Records in a row that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Of the next record that can be read.
    pub after: Option<Stamp>,
    /// Of the last record before that can be read.
    pub before: Option<Stamp>,
    /// Sequence number of the first.
    pub first: u64,
    /// Sequence number of the last.
    pub last: u64,
    /// Why.
    pub why: String,
}

/// Writes an excerpt of the journal in `dir`, from a copy, and hands every record that can be
/// read, as it was written, to `wanted` on the way, which says whether it stays.
///
/// # Errors
/// [`ExcerptError`]. What cannot be read is no error: [`Taken::lost`] names it.
pub fn excerpt(
    dir: &Path,
    out: &mut dyn Write,
    wanted: &mut dyn FnMut(&Record) -> bool,
) -> Result<Taken, ExcerptError> {
    let mut image = Image::take(dir)?;
    let prune = newest_prune(&mut image);
    let mut taker = Taker { before: None, last: 0, prune, taken: Taken::default(), wanted };
    let mut beginning = Beginning { promised: image.promised(), ..Beginning::default() };
    let mut begun = false;
    while let Some(piece) = image.next() {
        if let Piece::Pruned { head, subtrees, through } = &piece {
            (beginning.head, beginning.through) = (*head, *through);
            beginning.subtrees.clone_from(subtrees);
        }
        if !begun {
            begun = true;
            begin(out, &beginning)?;
        }
        match piece {
            Piece::Block(block, bytes) => out.write_all(&taker.thinned(&block, &bytes))?,
            Piece::Lost { through, why, .. } => taker.lose_through(through, why),
            Piece::Pruned { through, .. } => {
                taker.lose_through(through, "it was pruned, and no signed record says so");
            }
        }
    }
    if !begun {
        begin(out, &beginning)?;
    }
    taker.lose_through(beginning.promised, PROMISED);
    Ok(taker.taken)
}

/// Every excerpt holds a record of this kind, whether it was wanted or not: without what the
/// journal says of itself nothing can be verified.
#[must_use]
pub fn is_always_taken(record: &Record) -> bool {
    matches!(record.kind.as_str(), "checkpoint" | "loss" | "prune")
}

/// Writes what stands before the blocks.
fn begin(out: &mut dyn Write, beginning: &Beginning) -> Result<(), ExcerptError> {
    let bytes = codec::to_vec(beginning).map_err(|_| ExcerptError::Damaged("no form"))?;
    out.write_all(&MAGIC)?;
    out.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes())?;
    Ok(out.write_all(&bytes)?)
}

/// What the journal says last, signed, of what was pruned from it. That the signature holds is
/// for who verifies the excerpt: that record is always in it.
fn newest_prune(image: &mut Image) -> Option<Prune> {
    let mut newest = None;
    while let Some(piece) = image.next() {
        let Piece::Block(block, bytes) = piece else {
            continue;
        };
        for (_, row, record) in block.records(&bytes) {
            let is_one = row.held == Held::Whole
                && Head::read(record).is_ok_and(|head| head.kind == Prune::KIND);
            if is_one && let Ok(record) = Record::decode(record) {
                newest = Prune::read(&record.body, None).ok().or(newest);
            }
        }
    }
    image.seek(1);
    newest
}

/// An excerpt while it is made.
struct Taker<'a> {
    /// Of the last record that could be read.
    before: Option<Stamp>,
    /// The last record so far, whatever there is of it.
    last: u64,
    /// What the journal says of what was pruned.
    prune: Option<Prune>,
    taken: Taken,
    wanted: &'a mut dyn FnMut(&Record) -> bool,
}

impl Taker<'_> {
    /// The block without the records that are not wanted.
    fn thinned(&mut self, block: &Block, bytes: &[u8]) -> Vec<u8> {
        let horizons = self.prune.as_ref().map(|prune| prune.horizons).unwrap_or_default();
        let mut before = block.previous;
        let mut records = Vec::with_capacity(block.rows.len());
        for (seq, row, record) in block.records(bytes) {
            let leaf = leaf_of(row.held, record);
            let follows = leaf.is_some_and(|leaf| link(&before, &leaf) == row.link);
            before = row.link;
            let (class, mut held, link) = (row.class, row.held, row.link);
            let mut kept = record.to_vec();
            match (held, leaf) {
                (Held::Whole, Some(leaf)) => {
                    if !self.keeps(seq, record, follows) {
                        held = Held::Leaf;
                        kept = leaf.as_bytes().to_vec();
                    }
                }
                (Held::Leaf, _) if seq > horizons.of(class) => {
                    let why = "only its leaf hash is there, and no signed record says that it was \
                               pruned";
                    self.lose(seq, seq, why);
                }
                (Held::Leaf, _) => {}
                (Held::Nothing | Held::Whole, _) => self.lose(seq, seq, "it was lost"),
            }
            self.last = seq;
            records.push(Encoded { bytes: kept, class, held, link });
        }
        let Block { boot, actor_seq, checkpoint_seq, .. } = *block;
        let running = Running { boot, actor_seq, checkpoint_seq };
        Block::encode(block.first_seq, &block.previous, running, &records)
    }

    /// Whether a record stays. One that is not as it was written is no more shown than one that
    /// is not there; its leaf hash tells who verifies the excerpt that it is wrong.
    fn keeps(&mut self, seq: u64, record: &[u8], follows: bool) -> bool {
        let read = match Record::decode(record) {
            Ok(_) if !follows => Err("its bytes do not lead to its link in the chain".to_owned()),
            read => read.map_err(|error| error.to_string()),
        };
        let record = match read {
            Ok(record) => record,
            Err(why) => {
                self.lose(seq, seq, &why);
                return false;
            }
        };
        self.before = Some(record.stamp);
        let waiting = self.taken.lost.iter_mut().rev().take_while(|lost| lost.after.is_none());
        waiting.for_each(|lost| lost.after = Some(record.stamp));
        let stays = (self.wanted)(&record) || is_always_taken(&record);
        let count = if stays { &mut self.taken.records } else { &mut self.taken.withheld };
        *count += 1;
        stays
    }

    /// From the next record to this one there is nothing; where that was pruned, and is said to
    /// be, it is not lost.
    fn lose_through(&mut self, through: u64, why: &str) {
        let pruned = self.prune.as_ref().map_or(0, |prune| prune.through);
        self.lose(self.last.max(pruned).saturating_add(1), through, why);
        self.last = self.last.max(through);
    }

    fn lose(&mut self, first: u64, last: u64, why: &str) {
        if last < first {
            return;
        }
        let is_full = self.taken.lost.len() == MOST_LOST;
        match self.taken.lost.last_mut() {
            Some(span) if span.last + 1 == first && span.why == why => span.last = last,
            _ if is_full => self.taken.more_lost += last - first + 1,
            _ => self.taken.lost.push(Lost {
                after: None,
                before: self.before,
                first,
                last,
                why: why.to_owned(),
            }),
        }
    }
}

/// Verifies an excerpt: every record in it, and that the leaf hashes of the others are those of
/// the records that were signed.
///
/// # Errors
/// [`ExcerptError::Damaged`] where the framing does not hold, [`ExcerptError::Io`]. Records that
/// are not as they were written are no error.
pub fn verify_excerpt(
    input: &mut dyn Read,
    key: Option<&VerifyingKey>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, ExcerptError> {
    verify_each(input, key, &mut |_| {}, progress)
}

/// The same, and hands on every record that is in it whole, chained and in its place, in order:
/// one at a time, so that whoever takes them needs no room for all. Whether a checkpoint covers
/// it shows at the end.
///
/// # Errors
/// As [`verify_excerpt`].
pub fn verify_each(
    input: &mut dyn Read,
    key: Option<&VerifyingKey>,
    each: &mut dyn FnMut(&Record),
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, ExcerptError> {
    let mut head = [0; 12];
    input.read_exact(&mut head).map_err(|_| ExcerptError::Damaged("it is cut short"))?;
    if head[..8] != MAGIC {
        return Err(ExcerptError::Damaged("it begins with something else"));
    }
    let length = head[8..].iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length > MOST_BEGINNING {
        return Err(ExcerptError::Damaged("its beginning is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes).map_err(|_| ExcerptError::Damaged("it is cut short"))?;
    let beginning: Beginning =
        codec::from_slice(&bytes).map_err(|_| ExcerptError::Damaged("its beginning"))?;
    let mut verifier = Verifier::of_excerpt(key.cloned());
    if beginning.through > 0 {
        verifier.push_removed(beginning.through, &beginning.head, beginning.subtrees);
    }
    let mut buffer = Vec::new();
    while let Some(block) = next_block(input, &mut buffer)? {
        if block.first_seq < verifier.next_seq() {
            return Err(ExcerptError::Damaged("a block stands twice"));
        }
        let why = "it is missing";
        verifier.push_unreadable(block.first_seq - 1, Some(&block.previous), why);
        if block.previous != verifier.head() {
            verifier.note_bad(block.first_seq, "its block does not follow the one before");
        }
        push_block(&mut verifier, &block, &buffer, None, &mut |bytes| {
            if let Ok(record) = Record::decode(bytes) {
                each(&record);
            }
        });
        progress(verifier.next_seq() - 1);
    }
    verifier.push_unreadable(beginning.promised, None, PROMISED);
    Ok(verifier.finish())
}

/// Reads the next block into `buffer`; `None` at the end.
fn next_block(input: &mut dyn Read, buffer: &mut Vec<u8>) -> Result<Option<Block>, ExcerptError> {
    buffer.clear();
    input.take(HEAD_BYTES as u64).read_to_end(buffer)?;
    if buffer.is_empty() {
        return Ok(None);
    }
    if buffer.len() < HEAD_BYTES {
        return Err(ExcerptError::Damaged("it ends in the middle of a block"));
    }
    let length = buffer[76..80].iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if !(HEAD_BYTES..=MAX_BYTES).contains(&length) {
        return Err(ExcerptError::Damaged("a block is too long"));
    }
    input.take((length - HEAD_BYTES) as u64).read_to_end(buffer)?;
    if buffer.len() < length {
        return Err(ExcerptError::Damaged("it ends in the middle of a block"));
    }
    let block = Block::read_head(buffer);
    block.map(Some).map_err(|_| ExcerptError::Damaged("the framing of a block"))
}
