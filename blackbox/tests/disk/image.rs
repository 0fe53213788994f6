//! Disks as they may be found after a power cut at some moment of a recording.
//!
//! What is durable: a write or a new length, once a sync of its file began after it and
//! returned; a name that was made, moved or removed, once a sync of its directory did. All else
//! is at the disk's mercy: it may be there or not, whole or in sectors, in any order; a file
//! may be longer than what reached it. Two promises of any disk and file system are kept: a
//! rename happens whole or not at all, and a name is not changed before what was done earlier
//! to the same name.

use super::tape::{Base, Id, Op, ROOT, Tape};
use crate::common::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// A name in a directory.
type Place = (Id, OsString);

/// What a directory holds.
type Names = BTreeMap<OsString, Id>;

/// A file: what is durable, and which ops may have reached it since.
#[derive(Clone, Debug, Default)]
struct Node {
    bytes: Vec<u8>,
    pending: Vec<usize>,
}

/// A disk that follows a recording.
#[derive(Debug)]
pub struct Disk<'a> {
    at: usize,
    dirs: BTreeMap<Id, Names>,
    files: BTreeMap<Id, Node>,
    /// Ops on names that are not durable.
    pending: Vec<usize>,
    tape: &'a Tape,
}

/// What becomes of the changes to a file that are not durable.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// All are there.
    Kept,
    /// None is.
    Lost,
    /// Each sector of each by chance.
    Scattered,
    /// Each is there as a whole or not at all.
    Shuffled,
    /// All but the last, and that up to some byte.
    Torn,
}

impl<'a> Disk<'a> {
    /// The disk before the first op.
    pub fn new(tape: &'a Tape) -> Self {
        let mut disk = Self {
            at: 0,
            dirs: BTreeMap::from([(ROOT, Names::new())]),
            files: BTreeMap::new(),
            pending: Vec::new(),
            tape,
        };
        for base in &tape.base {
            let (dir, name, id) = match base {
                Base::Dir { dir, name, id } => {
                    disk.dirs.insert(*id, Names::new());
                    (dir, name, id)
                }
                Base::File { dir, name, id, bytes } => {
                    let node = Node { bytes: bytes.clone(), pending: Vec::new() };
                    disk.files.insert(*id, node);
                    (dir, name, id)
                }
            };
            disk.dirs.get_mut(dir).unwrap().insert(name.clone(), *id);
        }
        disk
    }

    /// Goes on to where `end` ops have happened.
    pub fn advance(&mut self, end: usize) {
        for at in self.at..end {
            match &self.tape.ops[at] {
                Op::Ack(_) => {}
                Op::Create { id, .. } => {
                    self.files.insert(*id, Node::default());
                    self.pending.push(at);
                }
                Op::MakeDir { id, .. } => {
                    self.dirs.insert(*id, Names::new());
                    self.pending.push(at);
                }
                Op::Remove { .. } | Op::Rename { .. } => self.pending.push(at),
                Op::Resize { id, .. } | Op::Write { id, .. } => {
                    self.files.get_mut(id).unwrap().pending.push(at);
                }
                Op::Synced { id, since } => self.sync(*id, *since),
            }
        }
        self.at = end;
    }

    fn sync(&mut self, id: Id, since: usize) {
        if let Some(node) = self.files.get_mut(&id) {
            let (done, open): (Vec<_>, Vec<_>) = node.pending.iter().partition(|&&at| at < since);
            for at in done {
                whole(&mut node.bytes, &self.tape.ops[at]);
            }
            node.pending = open;
            return;
        }
        // What was done to names of this directory, and before that to the same names.
        let mut touched = BTreeSet::new();
        let mut done = BTreeSet::new();
        for &at in self.pending.iter().rev().filter(|&&at| at < since) {
            let op = &self.tape.ops[at];
            let places = places(op);
            if home(op) == Some(id) || places.iter().any(|place| touched.contains(place)) {
                touched.extend(places);
                done.insert(at);
            }
        }
        for at in &done {
            apply_name(&mut self.dirs, &self.tape.ops[*at]);
        }
        self.pending.retain(|at| !done.contains(at));
    }

    /// Makes a disk in `target` (empty) that may be found when the power fails now.
    pub fn cut(&self, dice: &mut Dice, target: &Path) {
        let mut dirs = self.dirs.clone();
        // A journaling file system keeps the order of names, an older one does not.
        let (ordered, end) = (dice.roll(2) == 0, dice.index(self.pending.len() + 1));
        let mut dropped = BTreeSet::new();
        for (index, at) in self.pending.iter().enumerate() {
            let op = &self.tape.ops[*at];
            let places = places(op);
            let kept = if ordered { index < end } else { dice.roll(2) == 0 };
            if kept && !places.iter().any(|place| dropped.contains(place)) {
                apply_name(&mut dirs, op);
            } else {
                dropped.extend(places);
            }
        }
        self.write(&dirs, ROOT, target, &mut |node| self.content(node, dice));
    }

    /// Makes the disk as it is when nothing fails.
    pub fn whole(&self, target: &Path) {
        let mut dirs = self.dirs.clone();
        for at in &self.pending {
            apply_name(&mut dirs, &self.tape.ops[*at]);
        }
        self.write(&dirs, ROOT, target, &mut |node| {
            let mut bytes = node.bytes.clone();
            for at in &node.pending {
                whole(&mut bytes, &self.tape.ops[*at]);
            }
            bytes
        });
    }

    fn write(
        &self,
        dirs: &BTreeMap<Id, Names>,
        dir: Id,
        target: &Path,
        content: &mut dyn FnMut(&Node) -> Vec<u8>,
    ) {
        for (name, id) in &dirs[&dir] {
            let path = target.join(name);
            if let Some(node) = self.files.get(id) {
                write_sparsely(&path, &content(node));
            } else {
                std::fs::create_dir(&path).unwrap();
                self.write(dirs, *id, &path, content);
            }
        }
    }

    fn content(&self, node: &Node, dice: &mut Dice) -> Vec<u8> {
        let fates =
            [Fate::Kept, Fate::Lost, Fate::Scattered, Fate::Scattered, Fate::Shuffled, Fate::Torn];
        let fate = fates[dice.index(fates.len())];
        let mut bytes = node.bytes.clone();
        let mut longest = bytes.len();
        for (index, at) in node.pending.iter().enumerate() {
            let op = &self.tape.ops[*at];
            if let Op::Write { offset, bytes, .. } = op {
                longest = longest.max(usize::try_from(*offset).unwrap() + bytes.len());
            }
            let last = index + 1 == node.pending.len();
            match fate {
                Fate::Lost => {}
                Fate::Shuffled if dice.roll(2) == 0 => {}
                Fate::Scattered => scattered(&mut bytes, op, dice),
                Fate::Torn if last => torn(&mut bytes, op, dice),
                Fate::Kept | Fate::Shuffled | Fate::Torn => whole(&mut bytes, op),
            }
        }
        match dice.roll(4) {
            // The length reached the disk, and what fills it did not.
            0 if bytes.len() < longest => bytes.resize(longest, 0),
            // What fills it reached the disk, and the length did not.
            1 if bytes.len() > node.bytes.len() => bytes.truncate(node.bytes.len()),
            _ => {}
        }
        bytes
    }
}

/// The names that an op changes.
fn places(op: &Op) -> Vec<Place> {
    match op {
        Op::Create { dir, name, .. } | Op::MakeDir { dir, name, .. } | Op::Remove { dir, name } => {
            vec![(*dir, name.clone())]
        }
        Op::Rename { from, to } => vec![from.clone(), to.clone()],
        _ => Vec::new(),
    }
}

/// The directory whose sync makes an op durable.
fn home(op: &Op) -> Option<Id> {
    places(op).last().map(|(dir, _)| *dir)
}

fn apply_name(dirs: &mut BTreeMap<Id, Names>, op: &Op) {
    match op {
        Op::Create { dir, name, id } | Op::MakeDir { dir, name, id } => {
            dirs.get_mut(dir).unwrap().insert(name.clone(), *id);
        }
        Op::Remove { dir, name } => {
            dirs.get_mut(dir).unwrap().remove(name);
        }
        Op::Rename { from, to } => {
            if let Some(id) = dirs.get_mut(&from.0).unwrap().remove(&from.1) {
                dirs.get_mut(&to.0).unwrap().insert(to.1.clone(), id);
            }
        }
        _ => {}
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn whole(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Resize { length, .. } => file.resize(usize::try_from(*length).unwrap(), 0),
        Op::Write { offset, bytes, .. } => put(file, usize::try_from(*offset).unwrap(), bytes),
        _ => {}
    }
}

fn scattered(file: &mut Vec<u8>, op: &Op, dice: &mut Dice) {
    let Op::Write { offset, bytes, .. } = op else {
        if dice.roll(2) == 0 {
            whole(file, op);
        }
        return;
    };
    let mut at = usize::try_from(*offset).unwrap();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (sector, next) = rest.split_at(rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
        if dice.roll(2) == 0 {
            put(file, at, sector);
        }
        at += sector.len();
        rest = next;
    }
}

fn torn(file: &mut Vec<u8>, op: &Op, dice: &mut Dice) {
    match op {
        Op::Write { offset, bytes, .. } => {
            let kept = &bytes[..dice.index(bytes.len() + 1)];
            put(file, usize::try_from(*offset).unwrap(), kept);
        }
        _ => scattered(file, op, dice),
    }
}

/// Zeros are left out, so that an image costs what was written to it.
fn write_sparsely(path: &Path, bytes: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, chunk) in bytes.chunks(64 * 1024).enumerate() {
        if chunk.iter().any(|byte| *byte != 0) {
            file.write_all_at(chunk, index as u64 * 64 * 1024).unwrap();
        }
    }
}
