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
use crate::verify::{TailRecord, VerifyError, push_block};
use nooterra_evidence::{Record, Verification, Verifier, leaf_hash};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::keys::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::Path;

/// Begins every excerpt; the last byte is the version.
const MAGIC: [u8; 8] = *b"NOOTEXC\x01";

/// The largest beginning: 64 roots and some.
const MOST_BEGINNING: usize = 16 * 1024;

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
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Taken {
    /// Records that are in it whole.
    pub records: u64,
    /// Records that stand as leaf hashes because they were not wanted.
    pub withheld: u64,
}

/// Writes an excerpt of the journal in `dir`, from a copy, and hands every record that is in
/// it to `wanted` on the way, which says whether it stays. What cannot be read is handed on, too.
///
/// # Errors
/// [`ExcerptError`].
pub fn excerpt(
    dir: &Path,
    out: &mut dyn Write,
    wanted: &mut dyn FnMut(&TailRecord) -> bool,
) -> Result<Taken, ExcerptError> {
    let mut image = Image::take(dir)?;
    let mut taken = Taken::default();
    let mut beginning = Beginning { promised: image.promised(), ..Beginning::default() };
    let mut begun = false;
    while let Some(piece) = image.next() {
        if let Piece::Pruned { head, subtrees, through } = &piece {
            (beginning.head, beginning.through) = (*head, *through);
            beginning.subtrees.clone_from(subtrees);
        }
        if !begun {
            begun = true;
            let bytes = codec::to_vec(&beginning).map_err(|_| ExcerptError::Damaged("no form"))?;
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            out.write_all(&MAGIC)?;
            out.write_all(&length.to_be_bytes())?;
            out.write_all(&bytes)?;
        }
        match piece {
            Piece::Block(block, bytes) => {
                out.write_all(&thinned(&block, &bytes, wanted, &mut taken))?;
            }
            Piece::Lost { through, why, .. } => {
                wanted(&TailRecord { record: Err(why.to_owned()), seq: through });
            }
            Piece::Pruned { through, .. } => {
                let record = Err("it was pruned, and all before it".to_owned());
                wanted(&TailRecord { record, seq: through });
            }
        }
    }
    if !begun {
        out.write_all(&MAGIC)?;
        let bytes = codec::to_vec(&beginning).map_err(|_| ExcerptError::Damaged("no form"))?;
        out.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        out.write_all(&bytes)?;
    }
    Ok(taken)
}

/// The block without the records that are not wanted.
fn thinned(
    block: &Block,
    bytes: &[u8],
    wanted: &mut dyn FnMut(&TailRecord) -> bool,
    taken: &mut Taken,
) -> Vec<u8> {
    let records = block.records(bytes).map(|(seq, row, record)| {
        let (class, link) = (row.class, row.link);
        let mut held = row.held;
        let mut kept = record.to_vec();
        if held == Held::Whole {
            let read = Record::decode(record).map_err(|error| error.to_string());
            let speaks = read.as_ref().is_ok_and(|record| {
                matches!(record.kind.as_str(), "checkpoint" | "loss" | "prune")
            });
            let is_wanted = wanted(&TailRecord { record: read, seq });
            if is_wanted || speaks {
                taken.records += 1;
            } else {
                taken.withheld += 1;
                held = Held::Leaf;
                kept = leaf_hash(record).as_bytes().to_vec();
            }
        }
        Encoded { bytes: kept, class, held, link }
    });
    let Block { boot, actor_seq, checkpoint_seq, .. } = *block;
    let running = Running { boot, actor_seq, checkpoint_seq };
    Block::encode(block.first_seq, &block.previous, running, &records.collect::<Vec<_>>())
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
        push_block(&mut verifier, &block, &buffer, None);
        progress(verifier.next_seq() - 1);
    }
    let why = "the journal was once opened or closed with it, and it is missing";
    verifier.push_unreadable(beginning.promised, None, why);
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
