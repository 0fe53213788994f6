//! Reading a journal when it is opened: its blocks must form one chain up to where it was, and
//! what a crash tore off its end must not have been acknowledged.

use crate::block::{Block, Held};
use crate::index::Index;
use crate::journal::{MARK_KEY, cursor_key};
use crate::leaves::{Known, Leaves, TREE_KEY};
use crate::logtail::LogTail;
use crate::place;
use crate::prune::{PRUNED_KEY, Pruned};
use crate::rebuild::{HOLES_KEY, Holes};
use crate::scan::{self, Mark, Scan};
use crate::store::{DB_FILE, Store, StoreError};
use crate::writer::Chain;
use nooterra_evidence::{Tree, leaf_hash, link};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::entry::Class;
use std::collections::BTreeMap;
use std::path::Path;

/// Blocks that are removed with one sync.
const REMOVED_AT_ONCE: usize = 1024;

/// States by their keys.
type States = BTreeMap<Vec<u8>, Vec<u8>>;

/// What recovery found in a store.
pub(crate) struct Recovered {
    pub(crate) chain: Chain,
    pub(crate) clean: bool,
    pub(crate) cursors: [u64; 3],
    pub(crate) holes: Holes,
    pub(crate) index: Index,
    pub(crate) pruned: Pruned,
    pub(crate) tree: Tree,
}

/// Why a store is not continued.
pub(crate) enum Refused {
    /// Its content is at fault.
    Damage(String),
    /// Its place is at fault.
    Place(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        if error.is_damage() { Self::Damage(error.to_string()) } else { Self::Place(error) }
    }
}

/// Opens the store of a journal and reads it; what was lost of its end since it was written is
/// put back, or is damage.
pub(crate) fn open_store(dir: &Path) -> Result<(Store, Recovered), Refused> {
    let store_dir = dir.join(place::STORE_DIR);
    let db = store_dir.join(DB_FILE);
    let failed = |error| StoreError::io("read the end of the journal", error);
    let tail = LogTail::read(&db).map_err(failed)?;
    let opened = Store::open(&store_dir).map_err(Refused::from).and_then(|store| {
        let recovered = match store.is_of_an_earlier_build() {
            // Rebuilt, it has them where they belong.
            Ok(true) => Err(Refused::Damage("an earlier build has written it".to_owned())),
            Ok(false) => recover(&store, dir, &tail),
            Err(error) => Err(error.into()),
        };
        match recovered {
            Ok(recovered) => Ok((store, recovered)),
            Err(refused) => {
                store.close();
                Err(refused)
            }
        }
    });
    if let Err(Refused::Damage(_)) = opened {
        // Whatever sled has overwritten can still be read.
        tail.restore(&db).map_err(|error| StoreError::io("restore the journal", error))?;
    }
    opened
}

/// Reads every block's frame, checks that they form one chain, and hashes again what no
/// checkpoint covers yet.
fn recover(store: &Store, dir: &Path, tail: &LogTail) -> Result<Recovered, Refused> {
    let mut index = Index::default();
    let holes = match store.state(HOLES_KEY)? {
        Some(bytes) => codec::from_slice::<Holes>(&bytes)
            .map_err(|error| Refused::Damage(format!("what it lost is not readable: {error}")))?,
        None => Holes::default(),
    };
    let pruned = match store.state(PRUNED_KEY)? {
        Some(bytes) => Pruned::read(&bytes)
            .map_err(|error| Refused::Damage(format!("what it pruned is not readable: {error}")))?,
        None => Pruned::default(),
    };
    remove_pruned(store, &pruned)?;
    let known = store.state(TREE_KEY)?.as_deref().and_then(Known::read);
    let mut leaves = Leaves::begin(known, &pruned);
    let Pruned { head, through, .. } = pruned;
    let mut chain =
        Chain { actor_seq: holes.actor_seq, head, last_seq: through, ..Chain::default() };
    let mut unchecked = Vec::new();
    while let Some((key, bytes)) = store.block_from(chain.last_seq + 1)? {
        let next = chain.last_seq + 1;
        let block = Block::read(&bytes)
            .map_err(|error| Refused::Damage(format!("record {key} and after: {error}")))?;
        let follows =
            if key == next { block.previous == chain.head } else { holes.explain(next, key - 1) };
        if !follows || block.first_seq != key {
            return Err(Refused::Damage(format!("record {next} does not follow the one before")));
        }
        if block.checkpoint_seq >= key {
            unchecked.clear();
        }
        unchecked.push(key);
        index.add(&block, &bytes);
        leaves.add(&block, &bytes);
        chain = Chain {
            actor_seq: block.actor_seq.max(chain.actor_seq),
            boot: block.boot,
            checkpoint_seq: block.checkpoint_seq,
            head: block.head(),
            last_seq: block.last_seq(),
        };
    }
    chain.last_seq = holes.end(chain.last_seq);
    leaves.lose(chain.last_seq);
    let mark = store.state(MARK_KEY)?.as_deref().and_then(Mark::read);
    let beside = place::read_mark(dir);
    let clean = mark >= beside
        && mark.is_some_and(|mark| {
            mark.closed && (mark.last_seq, mark.head) == (chain.last_seq, chain.head)
        });
    // A start that wrote no record counts too.
    chain.boot = [mark, beside].into_iter().flatten().map(|m| m.boot).fold(chain.boot, u64::max);
    let mut cursors = [0; 3];
    for (cursor, class) in cursors.iter_mut().zip(Class::ALL) {
        let bytes = store.state(cursor_key(class).as_bytes())?;
        *cursor = bytes.and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
    }
    if !clean {
        for first_seq in unchecked {
            let bytes = store.block(first_seq)?.unwrap_or_default();
            rehash(&bytes)?;
        }
        // What the file of the states held before sled opened it: it may have dropped what was
        // acknowledged.
        let mut scan = scan::states(&dir.join(place::STORE_DIR)).unwrap_or_default();
        scan.merge(tail.scan());
        let states = if tail.is_empty() { States::new() } else { dropped_states(store, &scan)? };
        let marks = [mark, scan.mark, beside];
        let marks = marks.into_iter().flatten().map(|mark| mark.last_seq);
        let known = cursors.into_iter().chain(marks).max().unwrap_or(0);
        let marked = mark.max(scan.mark) >= beside;
        let lost = known > chain.last_seq || store.proves_more_than(chain.last_seq)?;
        if !marked || lost {
            let from = chain.last_seq + 1;
            return Err(Refused::Damage(format!("records from {from} on are lost")));
        }
        if !states.is_empty() {
            let states: Vec<_> = states.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            store.commit(&[], &states)?;
            return recover(store, dir, &LogTail::default());
        }
    }
    let tree = match leaves.end(chain.last_seq) {
        Some(tree) => tree,
        None => grow_tree(store, &pruned, chain.last_seq)?,
    };
    Ok(Recovered { chain, clean, cursors, holes, index, pruned, tree })
}

/// Ends a pruning that was cut off.
fn remove_pruned(store: &Store, pruned: &Pruned) -> Result<(), StoreError> {
    loop {
        let mut gone = Vec::new();
        let mut next = 1;
        while let Some(key) = store.key_from(next)?
            && key <= pruned.through
            && gone.len() < REMOVED_AT_ONCE
        {
            gone.push((key, None));
            next = key + 1;
        }
        if gone.is_empty() {
            return Ok(());
        }
        store.commit(&gone, &[])?;
    }
}

/// Hashes all records again.
fn grow_tree(store: &Store, pruned: &Pruned, last_seq: u64) -> Result<Tree, Refused> {
    let mut leaves = Leaves::begin(None, pruned);
    let mut next = 1;
    while let Some((key, bytes)) = store.block_from(next)? {
        let block = Block::read(&bytes)
            .map_err(|error| Refused::Damage(format!("record {key} and after: {error}")))?;
        leaves.add(&block, &bytes);
        next = block.last_seq().saturating_add(1);
    }
    leaves.lose(last_seq);
    let what = || Refused::Damage(format!("it has records beyond {last_seq}, its last"));
    leaves.end(last_seq).ok_or_else(what)
}

/// The states that stand in the end of sled's log with another value than the store has: they may
/// have been acknowledged, too. Not those that speak of records: they are written with the block
/// that says the same, and without it they would be wrong.
fn dropped_states(store: &Store, scan: &Scan) -> Result<States, StoreError> {
    let mut dropped = States::new();
    for (key, (_, value)) in &scan.states {
        if ![HOLES_KEY, PRUNED_KEY, TREE_KEY].contains(&&key[..])
            && store.state(key)?.as_ref() != Some(value)
        {
            dropped.insert(key.clone(), value.clone());
        }
    }
    Ok(dropped)
}

fn rehash(bytes: &[u8]) -> Result<(), Refused> {
    let block = Block::read(bytes).map_err(|error| Refused::Damage(error.to_string()))?;
    let mut head = block.previous;
    for (seq, row, record) in block.records(bytes) {
        head = match row.held {
            Held::Leaf => {
                record.try_into().map_or(head, |leaf| link(&head, &Digest::from_bytes(leaf)))
            }
            // What follows goes on from its link.
            Held::Nothing => row.link,
            Held::Whole => link(&head, &leaf_hash(record)),
        };
        if head != row.link {
            return Err(Refused::Damage(format!("record {seq} was altered")));
        }
    }
    Ok(())
}
