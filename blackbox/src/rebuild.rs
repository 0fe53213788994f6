//! A damaged journal made whole again, without what is lost.
//!
//! Every record that can still be read, from the store or from its raw file, is copied under
//! its number into a new store. The damaged journal is put aside with all its bytes; the new
//! one takes its place, and its first new record is a signed statement of what is missing.

use crate::block::{Block, Encoded, Held, Running};
use crate::image::{Image, Piece};
use crate::journal::{DOUBT_KEY, MARK_KEY, OpenError, cursor_key};
use crate::leaves::TREE_KEY;
use crate::place;
use crate::prune::{PRUNED_KEY, Pruned};
use crate::roots;
use crate::scan::Mark;
use crate::store::Store;
use crate::verify::VerifyError;
use nooterra_evidence::absence::{MAX_SPANS, Statement as _};
use nooterra_evidence::{Checkpoint, GENESIS, Prune, Record, Span, leaf_hash, link};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The state that holds the [`Holes`] of a rebuilt journal.
pub(crate) const HOLES_KEY: &[u8] = b"m/holes";

/// What a rebuild copies before it syncs.
const BATCH_BYTES: usize = 1024 * 1024;

/// How many numbers are left out where nobody knows how many records the lost end held: more
/// than any disk of a robot can hold, so that no number is ever used twice.
const UNKNOWN_END: u64 = 1 << 32;

/// What a rebuilt journal knows of what it lost.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holes {
    /// As far as facts were counted, or may have been.
    pub(crate) actor_seq: u64,
    /// The name of the damaged journal.
    pub(crate) aside: String,
    pub(crate) known_to: u64,
    /// The signed statement is not written yet.
    pub(crate) untold: bool,
    pub(crate) spans: Vec<Span>,
    pub(crate) why: String,
}

impl Holes {
    /// It is known that no block holds these records.
    pub(crate) fn explain(&self, first: u64, last: u64) -> bool {
        self.spans.iter().any(|span| span.first <= first && last <= span.last)
    }

    /// The last number that must not be used again after a journal that ends with `last_seq`.
    pub(crate) fn end(&self, last_seq: u64) -> u64 {
        let next = last_seq + 1;
        let span = self.spans.iter().find(|span| span.first <= next && next <= span.last);
        span.map_or(last_seq, |span| span.last)
    }
}

/// Where the damaged journal is now, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Rebuilt {
    pub(crate) aside: PathBuf,
    /// The journal goes on; otherwise nothing of it could be read.
    pub(crate) id: Option<JournalId>,
}

/// A new store that is filled.
pub(crate) struct Filled {
    pub(crate) holes: Holes,
    pub(crate) id: JournalId,
    /// Records that were pruned.
    pub(crate) pruned: u64,
    /// Records that are there.
    pub(crate) records: u64,
}

/// The new store while it is filled.
struct Filling<'a> {
    batch: Vec<(u64, Option<Vec<u8>>)>,
    batch_bytes: usize,
    head: Digest,
    holes: Holes,
    id: Option<JournalId>,
    /// What signs the journal's own statements; without one they are believed.
    key: Option<&'a VerifyingKey>,
    next: u64,
    /// The newest.
    prune: Option<Prune>,
    pruned: u64,
    records: u64,
    running: Running,
    store: Store,
}

/// Puts the journal in `dir` aside and builds it again; `id` where its id file could be read.
pub(crate) fn rebuild(
    dir: &Path,
    id: Option<JournalId>,
    why: &str,
    key: &VerifyingKey,
) -> Result<Rebuilt, OpenError> {
    let aside = place::free_name(dir);
    let image = match Image::take_own(dir) {
        Ok(image) => Some(image),
        Err(VerifyError::Io { path, source }) => return Err(OpenError::Io { path, source }),
        Err(_) => None,
    };
    let built = match image {
        Some(image) => {
            let new = place::begin(dir)?;
            let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let built = fill(&new, image, id, &name, why, Some(key), &|| None)?;
            if let Some(built) = &built {
                place::finish(dir, &new, &built.id)?;
            }
            built.map(|built| built.id)
        }
        None => None,
    };
    place::swap(dir, &aside)?;
    Ok(Rebuilt { aside, id: built })
}

/// Fills a new store in `new`; nothing when there was nothing. Where nothing says which journal
/// it is, `name` may.
pub(crate) fn fill(
    new: &Path,
    mut image: Image,
    id: Option<JournalId>,
    aside: &str,
    why: &str,
    key: Option<&VerifyingKey>,
    name: &dyn Fn() -> Option<JournalId>,
) -> Result<Option<Filled>, OpenError> {
    let store = Store::open(&new.join(place::STORE_DIR))?;
    let holes = Holes {
        aside: aside.to_owned(),
        untold: true,
        why: why.chars().take(200).collect(),
        ..Holes::default()
    };
    let mut filling = Filling {
        batch: Vec::new(),
        batch_bytes: 0,
        head: GENESIS,
        holes,
        id,
        key,
        next: 1,
        prune: None,
        pruned: 0,
        records: 0,
        running: Running { boot: 0, actor_seq: 0, checkpoint_seq: 0 },
        store,
    };
    let mut read = 0_u64;
    while let Some(piece) = image.next() {
        match piece {
            Piece::Block(block, bytes) => {
                filling.copy(&block, &bytes)?;
                read += 1;
            }
            Piece::Lost { head, through, .. } => filling.lose(through, head),
            Piece::Pruned { head, through, .. } => {
                (filling.head, filling.next, filling.pruned) = (head, through + 1, through);
            }
        }
    }
    if read > 0 && filling.id.is_none() {
        filling.id = name();
    }
    if read == 0 || filling.id.is_none() {
        return Ok(None);
    }
    filling.end(&image)
}

impl Filling<'_> {
    /// One block, without those of its records that are not as they were written.
    fn copy(&mut self, block: &Block, bytes: &[u8]) -> Result<(), OpenError> {
        if block.first_seq > self.next {
            self.lose(block.first_seq - 1, Some(block.previous));
        }
        // Where the chain breaks the verifier says so; here nobody knows which side is right.
        self.head = block.previous;
        let mut records = Vec::with_capacity(block.rows.len());
        for (seq, row, record) in block.records(bytes) {
            let expected = match row.held {
                Held::Leaf => record.try_into().ok().map(Digest::from_bytes),
                Held::Nothing => None,
                Held::Whole => Some(leaf_hash(record)),
            };
            // With more holes than one statement names, the rest of the journal is the last.
            let holds = self.holes.spans.len() + 2 < MAX_SPANS
                && expected.is_some_and(|leaf| link(&self.head, &leaf) == row.link);
            let (held, record) = if holds { (row.held, record) } else { (Held::Nothing, &[][..]) };
            match held {
                Held::Leaf => self.pruned += 1,
                Held::Nothing => self.lose(seq, Some(row.link)),
                Held::Whole => {
                    self.records += 1;
                    self.learn(row.class, record);
                }
            }
            let (class, link) = (row.class, row.link);
            records.push(Encoded { bytes: record.to_vec(), class, held, link });
            (self.head, self.next) = (row.link, seq + 1);
        }
        self.running = Running {
            boot: block.boot.max(self.running.boot),
            actor_seq: block.actor_seq.max(self.running.actor_seq),
            checkpoint_seq: block.checkpoint_seq.max(self.running.checkpoint_seq),
        };
        let bytes = Block::encode(block.first_seq, &block.previous, self.running, &records);
        self.batch_bytes += bytes.len();
        self.batch.push((block.first_seq, Some(bytes)));
        if self.batch_bytes > BATCH_BYTES {
            self.batch_bytes = 0;
            self.store.commit(&std::mem::take(&mut self.batch), &[])?;
        }
        Ok(())
    }

    /// The records up to `through` are lost.
    fn lose(&mut self, through: u64, head: Option<Digest>) {
        if through < self.next {
            return;
        }
        let first = self.next;
        match self.holes.spans.last_mut() {
            Some(span) if span.last + 1 == first => span.last = through,
            _ => self.holes.spans.push(Span { before: self.head, first, last: through }),
        }
        self.head = head.unwrap_or(self.head);
        self.next = through.saturating_add(1);
    }

    /// A checkpoint names the journal, for one whose id file is damaged too, and a prune says
    /// what is not lost although it is not there.
    fn learn(&mut self, class: Class, record: &[u8]) {
        let wanted = match class {
            Class::Bulk => false,
            Class::Critical => true,
            Class::Normal => self.id.is_none(),
        };
        let Some(record) = wanted.then(|| Record::decode(record).ok()).flatten() else {
            return;
        };
        if record.kind == Prune::KIND
            && let Ok(prune) = Prune::read(&record.body, self.key)
        {
            self.prune = Some(prune);
        } else if self.id.is_none()
            && let Ok(Some(Entry::Checkpoint(blob))) = record.entry()
            && let Ok(checkpoint) = Checkpoint::read(&blob.0, self.key)
        {
            self.id = Some(checkpoint.journal);
        }
    }

    /// What was pruned is not lost.
    fn leave_out(&mut self, pruned: &Pruned) {
        self.holes.spans.retain(|span| span.last > pruned.through);
        if let Some(span) = self.holes.spans.first_mut()
            && span.first <= pruned.through
        {
            (span.first, span.before) = (pruned.through + 1, pruned.head);
        }
    }

    /// The end of the journal, and the states.
    fn end(mut self, image: &Image) -> Result<Option<Filled>, OpenError> {
        let (mut states, answered) = image.states();
        if !answered {
            states.insert(DOUBT_KEY.to_vec(), Vec::new());
        }
        let mark = states.remove(MARK_KEY).as_deref().and_then(Mark::read);
        let mark = mark.max(image.mark());
        let cursor = |class| {
            let bytes = states.get(cursor_key(class).as_bytes())?;
            bytes.as_slice().try_into().ok().map(u64::from_be_bytes)
        };
        let known = Class::ALL.into_iter().filter_map(cursor).max().unwrap_or(0);
        let known = known.max(mark.map_or(0, |mark| mark.last_seq)).max(self.next - 1);
        self.holes.known_to = known;
        self.lose(known, None);
        let end = (self.next - 1, self.head);
        let closed = mark.is_some_and(|mark| mark.closed && (mark.last_seq, mark.head) == end);
        if !closed && !image.knows_its_end() {
            self.lose(self.next.saturating_add(UNKNOWN_END), None);
            self.running.actor_seq = self.running.actor_seq.saturating_add(UNKNOWN_END);
        }
        let before = states.get(HOLES_KEY).and_then(|bytes| codec::from_slice::<Holes>(bytes).ok());
        let counted = before.map_or(0, |holes| holes.actor_seq);
        self.holes.actor_seq = self.running.actor_seq.max(counted);
        let stored = states.get(PRUNED_KEY).and_then(|bytes| Pruned::read(bytes).ok());
        let said = self.prune.as_ref().map(Pruned::of);
        if let Some(pruned) = stored.into_iter().chain(said).max_by_key(|pruned| pruned.through) {
            self.leave_out(&pruned);
            let bytes = pruned.encode().map_err(|error| OpenError::Store(error.to_string()))?;
            states.insert(PRUNED_KEY.to_vec(), bytes);
        }
        let boot = self.running.boot.max(mark.map_or(0, |mark| mark.boot));
        let last_seq = self.next - 1;
        let mark = Mark { boot, closed: false, last_seq, head: self.head }.encode();
        let holes = codec::to_vec(&self.holes)
            .map_err(|error| OpenError::Store(format!("what is lost cannot be noted: {error}")))?;
        states.insert(HOLES_KEY.to_vec(), holes);
        // Lost records have other leaves than the ones that were there.
        states.remove(TREE_KEY);
        states.retain(|key, _| !key.starts_with(roots::PREFIX));
        states.insert(MARK_KEY.to_vec(), mark);
        let states: Vec<_> = states.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        self.store.commit(&self.batch, &states)?;
        let Self { holes, pruned, records, .. } = self;
        Ok(self.id.map(|id| Filled { holes, id, pruned, records }))
    }
}
