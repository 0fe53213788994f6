//! The verifier: records in, in order, and out comes how far they are proved
//! ([`crate::verification`]).

use crate::absence::{Horizons, Loss, Prune, Statement};
use crate::chain::{GENESIS, leaf_hash, leaf_hashes, link};
use crate::checkpoint::Checkpoint;
use crate::erase::Erase;
use crate::hash;
use crate::head::Head;
use crate::record::{Record, RecordError};
use crate::seal::Reader;
use crate::tree::Tree;
use crate::verification::{Bad, Missing, Verification};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::VerifyingKey;

/// Takes the records of one journal from the first on and checks each against the chain and
/// the checkpoints. Its memory grows with the holes in the journal, not with the journal.
#[derive(Debug)]
pub struct Verifier {
    boot: u64,
    checkpoints: u64,
    /// Records that the last checkpoint covers.
    covered: u64,
    first_bad: Option<Bad>,
    head: Digest,
    /// What could not be read, for the statements that come later.
    holes: Vec<Hole>,
    journal: Option<JournalId>,
    /// First and last record of each class of which only the leaf hash is there.
    leaves: [Option<(u64, u64)>; 3],
    losses: Vec<(u64, Loss)>,
    next_seq: u64,
    /// Leaf hashes may stand for any record.
    may_withhold: bool,
    prune: Option<Prune>,
    pruned: u64,
    reader: Reader,
    records: u64,
    /// Roots of the beginning that the carrier says was pruned.
    removed_subtrees: Vec<Digest>,
    /// Of all records so far; `None` where the beginning of it is not known.
    tree: Option<Tree>,
    verified_through: Option<u64>,
}

/// Records that are not there.
#[derive(Debug)]
struct Hole {
    /// Link of the last of them, where it is known.
    after: Option<Digest>,
    before: Digest,
    /// Checkpoints that held before, and the last of them.
    checkpoints: (u64, Option<u64>),
    first: u64,
    last: u64,
    /// The carrier says that it was pruned: it is no part of another hole.
    removed: bool,
    why: String,
}

/// The most holes and losses that are kept apart; no journal of ours comes near.
const MAX_HOLES: usize = 4096;

impl Verifier {
    /// A verifier for a whole journal. Without a key it can find damage but not a forger.
    #[must_use]
    pub fn new(key: Option<VerifyingKey>) -> Self {
        Self {
            boot: 0,
            checkpoints: 0,
            covered: 0,
            first_bad: None,
            head: GENESIS,
            holes: Vec::new(),
            journal: None,
            leaves: [None; 3],
            losses: Vec::new(),
            may_withhold: false,
            next_seq: 1,
            prune: None,
            pruned: 0,
            reader: Reader::new(key),
            records: 0,
            removed_subtrees: Vec::new(),
            tree: Some(Tree::default()),
            verified_through: None,
        }
    }

    /// A verifier for an excerpt: whoever made it may have left a leaf hash in place of any
    /// record, which proves the others just as well. Those are counted as withheld.
    #[must_use]
    pub fn of_excerpt(key: Option<VerifyingKey>) -> Self {
        Self { may_withhold: true, ..Self::new(key) }
    }

    /// The sequence number that the next record must have.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The link of the last record.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Nothing wrong so far.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.first_bad.is_none()
    }

    /// The next record as it is stored, with its stored link where the carrier has one. With
    /// links a flipped bit is told to the record; without them, to the span between two
    /// checkpoints. Returns the record when it is chained and in its place.
    pub fn push(&mut self, bytes: &[u8], stored_link: Option<&Digest>) -> Option<Record> {
        let examined = Examined::of(bytes);
        self.push_examined(bytes, &examined, stored_link)?;
        // It was read a moment ago.
        Record::decode(bytes).ok()
    }

    /// The same with what was found out beforehand, which is most of the work and can be done
    /// on any thread. Returns the record's class when it is chained and in its place.
    pub fn push_examined(
        &mut self,
        bytes: &[u8],
        examined: &Examined,
        stored_link: Option<&Digest>,
    ) -> Option<Class> {
        let seq = self.next_seq;
        let leaf = &examined.leaf;
        let neighbour = self.tree.as_ref().and_then(Tree::neighbour);
        let (computed, pair) = match neighbour {
            Some(neighbour) => {
                let [link, node] = hash::pairs(0x01, [(&self.head, leaf), (neighbour, leaf)]);
                (link, Some(node))
            }
            None => (link(&self.head, leaf), None),
        };
        let brief = self.check(seq, examined, stored_link, &computed);
        if let Some(brief) = brief {
            self.boot = brief.boot;
            if brief.speaks {
                self.hear(seq, bytes);
            }
        }
        if let Some(tree) = &mut self.tree {
            tree.push_paired(examined.leaf, pair);
        }
        // After a bad record the stored link still connects what follows.
        self.head = stored_link.copied().unwrap_or(computed);
        self.next_seq = seq.saturating_add(1);
        self.records += 1;
        brief.map(|brief| brief.class)
    }

    /// A record in which the journal speaks of itself.
    fn hear(&mut self, seq: u64, bytes: &[u8]) {
        let record = match Record::decode(bytes) {
            Ok(record) if is_exact(&record, bytes) => record,
            _ => return self.bad(seq, "it is in another form than it was written".to_owned()),
        };
        match record.kind.as_str() {
            "checkpoint" => self.checkpoint(seq, &record),
            Erase::KIND => self.erase(seq, &record),
            Loss::KIND => self.loss(seq, &record),
            Prune::KIND => self.prune(seq, &record),
            _ => {}
        }
    }

    /// The next record was pruned, and its leaf hash stands in its place.
    pub fn push_pruned(&mut self, class: Class, leaf: &Digest, stored_link: Option<&Digest>) {
        let seq = self.next_seq;
        let computed = link(&self.head, leaf);
        if stored_link.is_some_and(|stored| *stored != computed) {
            self.bad(seq, "its leaf hash does not lead to its link in the chain".to_owned());
        }
        let run = &mut self.leaves[slot(class)];
        *run = Some((run.map_or(seq, |(first, _)| first), seq));
        if let Some(tree) = &mut self.tree {
            tree.push(*leaf);
        }
        self.head = stored_link.copied().unwrap_or(computed);
        self.next_seq = seq.saturating_add(1);
        self.pruned += 1;
    }

    /// The records from the next one up to and with `through_seq` cannot be read, for a
    /// reason that the caller knows; `head` is the link of the last of them, where known.
    /// Whether the journal says why they are not there, [`Self::finish`] knows.
    pub fn push_unreadable(&mut self, through_seq: u64, head: Option<&Digest>, why: &str) {
        let seq = self.next_seq;
        if through_seq < seq {
            return;
        }
        let full = self.holes.len() == MAX_HOLES;
        match self.holes.last_mut() {
            Some(hole) if hole.last + 1 == seq && !hole.removed => {
                (hole.last, hole.after) = (through_seq, head.copied());
            }
            _ if full => self.bad(seq, why.to_owned()),
            _ => self.holes.push(Hole {
                after: head.copied(),
                before: self.head,
                checkpoints: (self.checkpoints, self.verified_through),
                first: seq,
                last: through_seq,
                removed: false,
                why: why.to_owned(),
            }),
        }
        if let Some(tree) = &mut self.tree {
            tree.push_lost(through_seq - seq + 1);
        }
        self.head = head.copied().unwrap_or(self.head);
        self.next_seq = through_seq.saturating_add(1);
    }

    /// The carrier says that the records from the next one up to and with `through_seq` were
    /// pruned, that `head` is the link of the last of them, and that `subtrees` are the roots
    /// of the perfect subtrees over all to there. Whether that is so, [`Self::finish`] knows.
    pub fn push_removed(&mut self, through_seq: u64, head: &Digest, subtrees: Vec<Digest>) {
        self.push_unreadable(through_seq, Some(head), "it is missing");
        if let Some(hole) = self.holes.last_mut() {
            hole.removed = true;
        }
        self.tree = Tree::resume(through_seq, subtrees.clone());
        self.removed_subtrees = subtrees;
    }

    /// What the caller knows about a record beyond its bytes: a damaged frame around it, a
    /// class in an index that is not its own.
    pub fn note_bad(&mut self, seq: u64, why: &str) {
        self.bad(seq, why.to_owned());
    }

    /// What was found.
    #[must_use]
    pub fn finish(mut self) -> Verification {
        let leaves = self.pruned;
        let missing = self.explain_holes();
        if !self.may_withhold {
            self.explain_leaves();
        }
        let beyond = self.next_seq - 1 - self.verified_through.unwrap_or(0);
        Verification {
            beyond_last_checkpoint: beyond,
            checkpoints: self.checkpoints,
            first_bad: self.first_bad,
            head: self.head,
            journal: self.journal,
            key_known: self.reader.has_key(),
            missing,
            notes: Vec::new(),
            pruned: if self.may_withhold { self.pruned - leaves } else { self.pruned },
            records: self.records,
            verified_through: self.verified_through,
            withheld: if self.may_withhold { leaves } else { 0 },
        }
    }

    /// Looks for the statement about each hole; what none speaks of was taken away.
    fn explain_holes(&mut self) -> Vec<Missing> {
        let mut missing = Vec::new();
        let removed = std::mem::take(&mut self.removed_subtrees);
        let prune = self.prune.as_ref();
        let same_tree = prune.is_some_and(|prune| prune.subtrees == removed);
        let prune = prune.map(|prune| (prune.through, prune.head));
        for hole in std::mem::take(&mut self.holes) {
            if let Some((through, head)) = prune
                && hole.last <= through
            {
                self.pruned += hole.last - hole.first + 1;
                let fits = hole.after == Some(head) && same_tree == hole.removed;
                if hole.last == through && !fits {
                    self.hide(&hole, "what follows is not what followed when it was pruned");
                }
                continue;
            }
            let said = self.losses.iter().find_map(|(seq, loss)| {
                let mut spans = loss.spans.iter();
                let span = spans.find(|span| (span.first, span.last) == (hole.first, hole.last))?;
                Some((*seq, span.before))
            });
            match said {
                Some((said_in, before)) if before == hole.before => {
                    missing.push(Missing { first: hole.first, last: hole.last, said_in });
                }
                Some(_) => self.hide(&hole, "what stands before is not what stood there"),
                None => self.hide(&hole, &hole.why),
            }
        }
        missing
    }

    /// A hole that is not explained: no checkpoint after it counts.
    fn hide(&mut self, hole: &Hole, why: &str) {
        let (first, last) = (hole.first, hole.last);
        let why = match last {
            last if last == first => why.to_owned(),
            last => format!("records {first} to {last}: {why}"),
        };
        self.bad(first, why);
        let (checkpoints, through) = hole.checkpoints;
        if through < self.verified_through {
            (self.checkpoints, self.verified_through) = (checkpoints, through);
        }
    }

    /// Leaf hashes may stand for records only as far as a statement says.
    fn explain_leaves(&mut self) {
        let horizons = self.prune.as_ref().map_or_else(Horizons::default, |prune| prune.horizons);
        for class in Class::ALL {
            let Some((first, last)) = self.leaves[slot(class)] else {
                continue;
            };
            let horizon = horizons.of(class);
            if last > horizon {
                let seq = first.max(horizon + 1);
                let name = class.name();
                self.bad(seq, format!("{name} records to {last} are only leaf hashes from here"));
                if self.verified_through.is_some_and(|through| through >= seq) {
                    (self.checkpoints, self.verified_through) = (0, None);
                }
            }
        }
    }

    /// The record, if it is one, chained and in its place; otherwise the reason is noted.
    fn check(
        &mut self,
        seq: u64,
        examined: &Examined,
        stored_link: Option<&Digest>,
        computed: &Digest,
    ) -> Option<Brief> {
        if stored_link.is_some_and(|stored| stored != computed) {
            self.bad(seq, "its bytes do not lead to its link in the chain".to_owned());
            return None;
        }
        let brief = match &examined.brief {
            Ok(brief) => *brief,
            Err(error) => {
                self.bad(seq, error.to_string());
                return None;
            }
        };
        if brief.seq != seq {
            self.bad(seq, format!("in its place stands record {}", brief.seq));
            return None;
        }
        if brief.boot < self.boot {
            let (boot, before) = (brief.boot, self.boot);
            self.bad(seq, format!("it is of start {boot}, the record before of start {before}"));
            return None;
        }
        Some(brief)
    }

    /// A statement has explained a hole before this moment: from there on the robot's tree, too,
    /// has lost records in it. A checkpoint before that signed a tree with the true ones.
    fn is_told(&self, hole: &Hole) -> bool {
        let mut spans = self.losses.iter().flat_map(|(_, loss)| &loss.spans);
        hole.removed || spans.any(|span| (span.first, span.last) == (hole.first, hole.last))
    }

    fn checkpoint(&mut self, seq: u64, record: &Record) {
        let Ok(Some(Entry::Checkpoint(blob))) = record.entry() else {
            return self.bad(seq, "it is no checkpoint inside".to_owned());
        };
        let checkpoint = match Checkpoint::read_with(&mut self.reader, &blob.0) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.bad(seq, error.to_string()),
        };
        // Nothing of the record around it is left to chance: the signature covers all of it.
        let (stamp, boot) = (checkpoint.stamp, checkpoint.boot);
        if (record.stamp, record.boot, record.class) != (stamp, boot, Class::Normal) {
            return self.bad(seq, "it says otherwise than the checkpoint that it holds".to_owned());
        }
        if checkpoint.size != seq - 1 {
            let size = checkpoint.size;
            return self.bad(seq, format!("this checkpoint covers {size} records, not all before"));
        }
        if self.journal.as_ref().is_some_and(|journal| *journal != checkpoint.journal) {
            return self.bad(
                seq,
                format!("this checkpoint is of another journal, {}", checkpoint.journal),
            );
        }
        let (first, last) = (self.covered + 1, seq);
        // A record in between that is known to be wrong says more than the span.
        let is_named = self.first_bad.as_ref().is_some_and(|bad| (first..=last).contains(&bad.seq));
        if checkpoint.head != self.head {
            if !is_named {
                let what = "do not lead to what the checkpoint there says";
                self.bad(first, format!("records {first} to {last} {what}"));
            }
            return;
        }
        // After a bad record the tree is another anyway.
        let comparable = self.first_bad.is_none() && self.holes.iter().all(|h| self.is_told(h));
        let tree = self.tree.as_ref().filter(|_| comparable);
        if tree.is_some_and(|tree| tree.root() != checkpoint.root) {
            let what = "are not the tree that the checkpoint there says";
            return self.bad(first, format!("records {first} to {last} {what}"));
        }
        self.covered = checkpoint.size;
        self.journal = Some(checkpoint.journal);
        if self.first_bad.is_none() {
            self.checkpoints += 1;
            self.verified_through = Some(seq);
        }
    }

    /// A signed statement, where it says what its record says.
    fn statement<T: Statement>(&mut self, seq: u64, record: &Record) -> Option<T> {
        let statement = match T::read_with(&mut self.reader, &record.body) {
            Ok(statement) => statement,
            Err(error) => {
                self.bad(seq, error.to_string());
                return None;
            }
        };
        let (stamp, boot, journal) = statement.origin();
        if (record.stamp, record.boot, record.class) != (stamp, boot, Class::Critical) {
            self.bad(seq, "it says otherwise than the statement that it holds".to_owned());
            return None;
        }
        if self.journal.as_ref().is_some_and(|known| known != journal) {
            self.bad(seq, format!("this statement is about another journal, {journal}"));
            return None;
        }
        Some(statement)
    }

    fn erase(&mut self, seq: u64, record: &Record) {
        let erase = self.statement::<Erase>(seq, record);
        if erase.is_some_and(|erase| !erase.is_in_order(seq)) {
            self.bad(seq, "the records of which it speaks are not in order before it".to_owned());
        }
    }

    fn loss(&mut self, seq: u64, record: &Record) {
        let Some(loss) = self.statement::<Loss>(seq, record) else {
            return;
        };
        if loss.spans.iter().any(|span| span.last >= seq) {
            return self.bad(seq, "it speaks of records that come after it".to_owned());
        }
        if self.losses.len() < MAX_HOLES {
            self.losses.push((seq, loss));
        }
    }

    fn prune(&mut self, seq: u64, record: &Record) {
        let Some(prune) = self.statement::<Prune>(seq, record) else {
            return;
        };
        let furthest = Class::ALL.map(|class| prune.horizons.of(class)).into_iter().max();
        if prune.through >= seq || furthest >= Some(seq) {
            return self.bad(seq, "it speaks of records that come after it".to_owned());
        }
        self.prune = Some(prune);
    }

    fn bad(&mut self, seq: u64, why: String) {
        match &self.first_bad {
            Some(first) if first.seq <= seq => {}
            _ => self.first_bad = Some(Bad { seq, why }),
        }
    }
}

/// What the bytes of a record say by themselves, wherever they stand.
#[derive(Debug)]
pub struct Examined {
    brief: Result<Brief, RecordError>,
    leaf: Digest,
}

/// What the verifier needs to know of a record.
#[derive(Clone, Copy, Debug)]
struct Brief {
    boot: u64,
    class: Class,
    seq: u64,
    /// It is of a kind in which the journal speaks of itself.
    speaks: bool,
}

impl Brief {
    fn of(bytes: &[u8]) -> Result<Self, RecordError> {
        Head::read(bytes).map(|head| Self {
            boot: head.boot,
            class: head.class,
            seq: head.seq,
            speaks: matches!(head.kind, "checkpoint" | Erase::KIND | Loss::KIND | Prune::KIND),
        })
    }
}

impl Examined {
    /// Hashes the bytes and reads what stands around the body.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { brief: Brief::of(bytes), leaf: leaf_hash(bytes) }
    }

    /// The same of two records, in less time.
    #[must_use]
    pub fn of_both(records: [&[u8]; 2]) -> [Self; 2] {
        let [one, other] = leaf_hashes(records);
        let [first, second] = records;
        let one = Self { brief: Brief::of(first), leaf: one };
        [one, Self { brief: Brief::of(second), leaf: other }]
    }

    /// The leaf hash.
    #[must_use]
    pub const fn leaf(&self) -> Digest {
        self.leaf
    }
}

const fn slot(class: Class) -> usize {
    match class {
        Class::Critical => 0,
        Class::Normal => 1,
        Class::Bulk => 2,
    }
}

/// The bytes are those that the record is written in: a reader also takes keys that are bytes
/// instead of text. All other records are covered by the checkpoint after them.
fn is_exact(record: &Record, bytes: &[u8]) -> bool {
    record.encode().is_ok_and(|exact| exact == bytes)
}
