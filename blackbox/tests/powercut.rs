//! What is left after a power cut, and after `kill -9` in the middle of any change to the files.
//!
//! Everything that the journal does to its files is recorded, syncs too, and disks are built
//! from the recording as they may be found after a cut at a random moment. Each must open, and
//! hold what was acknowledged before that moment. Every run prints its seed; `NOOTERRA_SEED`
//! repeats one, and `cargo xtask prove blackbox` tries a thousand disks for each.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used)]

mod common;
mod disk;

use common::{Bench, Dice, fact, log, picture, private, sample, seed};
use disk::image::Disk;
use disk::tape::{self, Op, Rules, Tape};
use nooterra_blackbox::{
    Clock as _, Erasure, Frames, Journal, JournalHandle, Opened, Quota, Record, TailFrom,
    read_openings, tail, verify,
};
use nooterra_evidence::absence::Statement as _;
use nooterra_evidence::{Erase, Found, Openings};
use nooterra_protocol::codec::{Digest, Value};
use nooterra_protocol::entry::Class;
use nooterra_protocol::keys::Signer as _;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Set by `cargo xtask prove`, which has the time for all of it.
const PROVE: &str = "NOOTERRA_PROVE";

/// What is said of a journal whose id file was scribbled over.
const SCRIBBLED: &str = "its file `journal` is damaged";

/// Where the child works, and which change it does not survive.
const CHILD: [&str; 2] = ["NOOTERRA_TEST_DIR", "NOOTERRA_TEST_KILL_AT"];

/// What the journal promised.
#[derive(Clone, Debug, PartialEq)]
enum Promise {
    /// Critical records up to here may be pruned from now on.
    Acked(u64),
    /// It was opened, and this is its start number.
    Boot(u64),
    /// Nothing up to here can be opened any more.
    Erased(u64),
    /// This critical record is durable.
    Fact(u64, String),
    /// This record is durable, and the picture that it names is kept.
    Picture(u64, String),
    /// This record is durable, and opens.
    Private(u64, String),
    /// So is this state.
    State(String, Vec<u8>),
}

/// What a journal did, and what it promised meanwhile.
struct Recording {
    promises: Vec<Promise>,
    tape: Tape,
}

impl Recording {
    /// What was promised before this recording holds in it, too: the promises are put in front
    /// of it, so that they count from its first moment on.
    fn follow(&mut self, before: &[Promise]) {
        for op in &mut self.tape.ops {
            if let Op::Synced { since, .. } = op {
                *since += before.len();
            }
        }
        self.tape.ops.splice(0..0, before.iter().map(|_| Op::Ack(0)));
        self.promises.splice(0..0, before.to_vec());
    }
}

/// Notes promises in the order in which they were made.
struct Work<'a> {
    bench: &'a Bench,
    dice: Dice,
    promises: Vec<Promise>,
}

impl Work<'_> {
    fn promised(&mut self, promise: Promise) {
        tape::ack(self.promises.len());
        if std::env::var_os(CHILD[0]).is_some() {
            // For the parent; the child may not live to tell more.
            let mut out = std::io::stdout();
            if let Promise::Fact(seq, text) = &promise {
                writeln!(out, "ACK {seq} {text}").unwrap();
                out.flush().unwrap();
            }
            if let Promise::Private(seq, text) = &promise {
                writeln!(out, "SEALED {seq} {text}").unwrap();
                out.flush().unwrap();
            }
        }
        self.promises.push(promise);
    }

    fn open(&mut self) -> (Opened, JournalHandle) {
        let opened = self.bench.open();
        let handle = opened.journal.handle();
        self.promised(Promise::Boot(opened.boot));
        (opened, handle)
    }

    fn fact(&mut self, handle: &JournalHandle) {
        let text = format!("f{}", self.promises.len());
        let seq = handle.append_durable(fact(&text)).unwrap();
        self.promised(Promise::Fact(seq, text));
    }

    fn private(&mut self, handle: &JournalHandle) {
        let text = format!("p{}", self.promises.len());
        let seq = handle.append_durable(private(&text)).unwrap();
        self.promised(Promise::Private(seq, text));
    }

    /// A picture as an agent keeps it: first on the disk, then in the journal.
    fn picture(&mut self, opened: &Opened) {
        let frames = opened.frames.as_ref().unwrap().as_ref().unwrap();
        let text = format!("i{}{}", self.promises.len(), ".".repeat(self.dice.index(9000)));
        let now = self.bench.clock.stamp();
        frames.keep(text.as_bytes(), None, std::time::Duration::MAX, now).unwrap();
        let seq = opened.journal.handle().append_durable(picture(text.as_bytes())).unwrap();
        self.promised(Promise::Picture(seq, text));
    }

    fn state(&mut self, handle: &JournalHandle) {
        // No two are the same, in no recording: an older one must not pass for a newer one.
        static STATES: AtomicU64 = AtomicU64::new(0);
        let value = format!("{:>90}", STATES.fetch_add(1, Ordering::SeqCst)).into_bytes();
        let key = format!("k{}", self.dice.roll(3));
        handle.put_state(&key, &value).unwrap();
        self.promised(Promise::State(key, value));
    }

    /// Records of all sizes and classes, some of them promised.
    fn append(&mut self, handle: &JournalHandle, count: u64, largest: u64) {
        for _ in 0..count {
            match self.dice.roll(9) {
                0 | 1 => self.fact(handle),
                2 => self.state(handle),
                3 => handle.append(sample(0.5)).unwrap(),
                4 => {
                    let seq = self.dice.roll(handle.records() + 1);
                    self.promised(Promise::Acked(seq));
                    handle.set_acked(Class::Critical, seq);
                }
                5 => self.private(handle),
                _ => {
                    let size = self.dice.index(usize::try_from(largest).unwrap());
                    handle.append(log("l", size)).unwrap();
                }
            }
        }
        self.fact(handle);
    }
}

/// Made, closed in order, opened again.
fn creation(work: &mut Work<'_>) {
    let (opened, handle) = work.open();
    work.append(&handle, 4, 400);
    opened.journal.close().unwrap();
    let (opened, handle) = work.open();
    work.append(&handle, 4, 400);
    drop(opened.journal);
}

/// Several starts, some without a clean end, until the store has begun new segments.
fn steady(work: &mut Work<'_>) {
    for start in 0..5 {
        let (opened, handle) = work.open();
        work.append(&handle, 70, 6000);
        if start % 2 == 0 {
            opened.journal.close().unwrap();
        } else {
            drop(opened.journal);
        }
    }
}

/// Openings and pictures come, stay, and are erased, across several starts.
fn erasing(work: &mut Work<'_>) {
    for start in 0..4 {
        let (opened, handle) = work.open();
        for _ in 0..3 {
            work.append(&handle, 12, 600);
            work.picture(&opened);
            if start % 2 == 0 {
                // The pruning of the other work is of whole epochs; here some of each stay.
                work.bench.clock.advance(std::time::Duration::from_secs(1));
                let (before, last) = (work.bench.now(), handle.records());
                work.bench.clock.advance(std::time::Duration::from_secs(1));
                work.private(&handle);
                work.picture(&opened);
                let by = "op_7".to_owned();
                let before = Some(before);
                handle.erase(Erasure { before, by, ..Erasure::default() }).unwrap();
                work.promised(Promise::Erased(last));
            }
        }
        drop(opened.journal);
    }
}

/// Blocks so large that the store's log rotates through many segments.
fn rotation(work: &mut Work<'_>) {
    let (opened, handle) = work.open();
    work.append(&handle, 260, 45_000);
    opened.journal.close().unwrap();
    let (opened, handle) = work.open();
    work.append(&handle, 60, 45_000);
    drop(opened.journal);
}

/// So little room that records are pruned all the time, across several starts.
fn pruning(work: &mut Work<'_>) {
    for _ in 0..3 {
        let (opened, handle) = work.open();
        for _ in 0..12 {
            work.append(&handle, 12, 3000);
            let seq = handle.records();
            work.promised(Promise::Acked(seq));
            handle.set_acked(Class::Critical, seq);
            std::thread::sleep(std::time::Duration::from_millis(15));
        }
        drop(opened.journal);
    }
}

/// More at once than a block holds, so that blocks are synced while the next are made.
fn burst(work: &mut Work<'_>) {
    for _ in 0..2 {
        let (opened, handle) = work.open();
        for _ in 0..4 {
            // One of them is waited for in the middle of the blocks.
            for nth in 0..200 {
                if nth == 120 {
                    work.fact(&handle);
                }
                handle.append(log("b", 700)).unwrap();
            }
            work.fact(&handle);
        }
        drop(opened.journal);
    }
}

const WORKS: [fn(&mut Work<'_>); 6] = [burst, creation, erasing, pruning, rotation, steady];

/// A bench for a work.
fn bench_for(work: fn(&mut Work<'_>)) -> Bench {
    let mut bench = Bench::new().with_frames();
    if std::ptr::fn_addr_eq(work, pruning as fn(&mut Work<'_>)) {
        bench.options.checkpoint_every_records = 20;
        // So small that many are emptied, written anew and removed.
        bench.options.segment_bytes = 20_000;
        bench.options.quota = Quota {
            bulk_bytes: Some(2000),
            critical_bytes: Some(2000),
            normal_bytes: Some(40_000),
            ..Quota::default()
        };
    }
    bench
}

/// Runs `work` in the directory of `bench` and records it.
fn record(bench: &Bench, seed: u64, rules: Rules, work: fn(&mut Work<'_>)) -> Recording {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    tape::start(bench.dir.path(), rules);
    let mut recorder = Work { bench, dice: Dice(seed), promises: Vec::new() };
    work(&mut recorder);
    let promises = recorder.promises;
    // sled's threads let go of its files a little after they were closed.
    std::thread::sleep(std::time::Duration::from_millis(100));
    Recording { promises, tape: tape::stop() }
}

/// Moments to cut at, ascending: half anywhere, half shortly after a promise.
fn moments(tape: &Tape, count: usize, dice: &mut Dice) -> Vec<usize> {
    let is_ack = |at: &usize| matches!(tape.ops[*at], Op::Ack(_));
    let acks: Vec<usize> = (0..tape.ops.len()).filter(is_ack).collect();
    let mut moments: Vec<usize> = (0..count)
        .map(|index| match acks.get(dice.index(acks.len())) {
            Some(ack) if index % 2 == 0 => (ack + 1 + dice.index(3)).min(tape.ops.len()),
            _ => dice.index(tape.ops.len() + 1),
        })
        .collect();
    moments.sort_unstable();
    moments
}

/// Opens the journal of an image as an agent would and looks for what was promised.
fn check(bench: &Bench, image: &Path, promises: &[Promise]) -> Result<(), String> {
    let dir = image.join("journal");
    let mut options = bench.options.clone();
    if let Some(frames) = &mut options.frames {
        frames.dir = image.join("frames");
    }
    let opened = Journal::open(&dir, options).map_err(|error| error.to_string())?;
    let frames = opened.frames.map_err(|error| error.to_string())?;
    if let Some(why) = opened.quarantine_reason
        && !(opened.rebuilt && why.contains(SCRIBBLED))
    {
        return Err(format!("put aside: {why}"));
    }
    let handle = opened.journal.handle();
    let states: BTreeMap<_, Vec<_>> = promises.iter().fold(BTreeMap::new(), |mut all, promise| {
        if let Promise::State(key, value) = promise {
            all.entry(key).or_insert_with(Vec::new).push(value);
        }
        all
    });
    for (key, values) in states {
        let found = handle.get_state(key).map_err(|error| error.to_string())?;
        // A later value may have been written and not promised yet.
        let newest = values.last().copied() == found.as_ref();
        let older = values.iter().any(|value| Some(*value) == found.as_ref());
        if found.is_none() || (older && !newest) {
            return Err(format!("state {key} is lost"));
        }
    }
    handle.append_durable(fact("after")).map_err(|error| error.to_string())?;
    opened.journal.close().map_err(|error| error.to_string())?;

    let key = bench.key.verifying_key();
    let found = verify(&dir, Some(&key), &mut |_| {}).map_err(|error| error.to_string())?;
    if !found.is_intact() {
        return Err(format!("{found}; {:?}", found.notes));
    }
    let mut records = BTreeMap::new();
    for found in tail(&dir, TailFrom::Seq(1)).map_err(|error| error.to_string())? {
        match found.record {
            Ok(record) => drop(records.insert(found.seq, record)),
            Err(why) if why.contains("pruned") => {}
            Err(why) => return Err(format!("record {}: {why}", found.seq)),
        }
    }
    let openings = read_openings(&dir).and_then(|read| read.with_erased(&dir));
    let openings = openings.map_err(|error| error.to_string())?.openings;
    check_openings(&records, &openings, promises)?;
    if let Some(frames) = frames {
        check_pictures(&records, &frames, promises)?;
    }
    let entry = |seq: &u64| records.get(seq).map(|record| record.entry().unwrap());
    let acked = promises.iter().map(|promise| match promise {
        Promise::Acked(seq) => *seq,
        _ => 0,
    });
    let acked = acked.max().unwrap_or(0);
    for promise in promises {
        match promise {
            Promise::Boot(boot) if *boot >= opened.boot => {
                return Err(format!("start {boot} is forgotten"));
            }
            Promise::Fact(seq, text) if entry(seq) != Some(Some(fact(text))) => {
                if !records.contains_key(seq) && *seq <= acked {
                    continue;
                }
                return Err(format!("record {seq} is lost, {:?} in its place", entry(seq)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every private field that is there opens, or was erased, which the journal says.
fn check_openings(
    records: &BTreeMap<u64, Record>,
    openings: &Openings,
    promises: &[Promise],
) -> Result<(), String> {
    let mut found = BTreeMap::new();
    for (seq, record) in records {
        for field in openings.open(record) {
            if matches!(field.found, Found::Withheld | Found::Forged) {
                return Err(format!("record {seq}: {:?}", field.found));
            }
            found.insert(*seq, field.found);
        }
    }
    let erased = promises.iter().filter_map(|promise| match promise {
        Promise::Erased(through) => Some(*through),
        _ => None,
    });
    let erased = erased.max().unwrap_or(0);
    for promise in promises {
        if let Promise::Private(seq, text) = promise
            && let Some(found) = found.get(seq)
        {
            match found {
                Found::Opened(value) if *seq > erased && *value == Value::Text(text.clone()) => {}
                Found::Erased { .. } => {}
                other => return Err(format!("record {seq} of {text}: {other:?}")),
            }
        }
    }
    Ok(())
}

/// Every picture that was kept is there, unless it was erased, which the journal says.
fn check_pictures(
    records: &BTreeMap<u64, Record>,
    frames: &Frames,
    promises: &[Promise],
) -> Result<(), String> {
    let said = records.values().filter(|record| record.kind == Erase::KIND);
    let said: Vec<_> = said.map(|record| Erase::read(&record.body, None).unwrap()).collect();
    let erased = promises.iter().filter_map(|promise| match promise {
        Promise::Erased(through) => Some(*through),
        _ => None,
    });
    let erased = erased.max().unwrap_or(0);
    for promise in promises {
        let Promise::Picture(seq, text) = promise else { continue };
        let found = frames.find(Digest::of(text.as_bytes()));
        match found {
            Some(_) if *seq <= erased => return Err(format!("picture {seq} was erased")),
            Some(bytes) if bytes == text.as_bytes() => {}
            None if said.iter().any(|erase| erase.covers(*seq, Class::Normal)) => {}
            other => return Err(format!("picture {seq}: {:?}", other.map(|it| it.len()))),
        }
    }
    Ok(())
}

/// Cuts a recording at `count` moments; what went wrong, by moment.
fn cut(bench: &Bench, recording: &Recording, count: usize, dice: &mut Dice) -> Vec<String> {
    let Recording { promises, tape } = recording;
    let mut disk = Disk::new(tape);
    let (mut failures, mut promised) = (Vec::new(), 0);
    let mut seen = 0;
    for moment in moments(tape, count, dice) {
        disk.advance(moment);
        for op in &tape.ops[seen..moment] {
            promised += usize::from(matches!(op, Op::Ack(_)));
        }
        seen = moment;
        let image = tempfile::tempdir().unwrap();
        disk.cut(dice, image.path());
        if let Err(why) = check(bench, image.path(), &promises[..promised]) {
            failures.push(format!("cut after {moment} of {} changes: {why}", tape.ops.len()));
        }
    }
    failures
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_owned();
            if path.is_dir() {
                all.insert(name, Vec::new());
                open.push(path);
            } else {
                all.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    all
}

#[test]
fn the_tape_has_all_that_was_done_to_the_files() {
    for work in WORKS {
        let bench = bench_for(work);
        let recording = record(&bench, 5, Rules::default(), work);
        let mut disk = Disk::new(&recording.tape);
        disk.advance(recording.tape.ops.len());
        let target = tempfile::tempdir().unwrap();
        disk.whole(target.path());
        let (played, real) = (files(target.path()), files(bench.dir.path()));
        assert!(played.keys().eq(real.keys()), "{:?} {:?}", played.keys(), real.keys());
        assert!(played == real, "the same files with other bytes");
        assert!(recording.tape.ops.iter().any(|op| matches!(op, Op::Synced { .. })));
        // Room that is made ahead is a write like any other, which a cut may lose, tear or turn round.
        let zeros = |bytes: &[u8]| bytes.len() > 10_000 && bytes.iter().all(|byte| *byte == 0);
        let ahead = |op: &Op| matches!(op, Op::Write { bytes, .. } if zeros(bytes));
        assert!(recording.tape.ops.iter().any(ahead), "no room was made ahead");
    }
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let seed = seed();
    let images = if std::env::var_os(PROVE).is_some() { 1000 } else { 60 };
    let (mut dice, mut failures) = (Dice(seed), Vec::new());
    let mut promises = 0;
    for work in WORKS {
        let bench = bench_for(work);
        let recording = record(&bench, seed, Rules::default(), work);
        promises += recording.promises.len();
        let count = images / WORKS.len() + 1;
        failures.extend(cut(&bench, &recording, count, &mut dice));
    }
    println!("{images} images, {promises} promises, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_cut_while_it_recovers_from_a_cut_loses_nothing_either() {
    let seed = seed();
    let rounds = if std::env::var_os(PROVE).is_some() { 40 } else { 4 };
    let (mut dice, mut failures) = (Dice(seed), Vec::new());
    let bench = Bench::new();
    let first = record(&bench, seed, Rules::default(), steady);
    let mut disk = Disk::new(&first.tape);
    let mut promised = 0;
    let mut seen = 0;
    for moment in moments(&first.tape, rounds, &mut dice) {
        disk.advance(moment);
        let is_ack = |op: &&Op| matches!(op, Op::Ack(_));
        promised += first.tape.ops[seen..moment].iter().filter(is_ack).count();
        seen = moment;
        let mut again = Bench::new();
        again.options = bench.options.clone();
        disk.cut(&mut dice, again.dir.path());
        let mut second = record(&again, seed, Rules::default(), creation);
        second.follow(&first.promises[..promised]);
        failures.extend(cut(&bench, &second, 4, &mut dice));
    }
    println!("{} images of a recovery, {} failures", 4 * rounds, failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_cut_while_a_damaged_journal_is_rebuilt_loses_nothing_that_could_be_read() {
    let seed = seed();
    let images = if std::env::var_os(PROVE).is_some() { 400 } else { 30 };
    let (bench, mut dice) = (Bench::new(), Dice(seed));
    let promises = record(&bench, seed, Rules::default(), steady).promises;
    let opened = bench.open();
    opened.journal.close().unwrap();
    std::fs::write(bench.path().join("journal"), "scribble").unwrap();
    let mut recording = record(&bench, seed, Rules::default(), creation);
    assert!(bench.dir.path().join("journal.bad-1").exists());
    recording.follow(&promises);
    let failures = cut(&bench, &recording, images, &mut dice);
    println!("{images} images of a rebuild, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn without_its_syncs_the_journal_loses_records_and_the_cuts_show_it() {
    let (seed, rules) = (seed(), Rules { swallow_syncs: true, ..Rules::default() });
    let (bench, mut dice) = (Bench::new(), Dice(seed));
    let recording = record(&bench, seed, rules, steady);
    let failures = cut(&bench, &recording, 25, &mut dice);
    println!("{} of 25 images without syncs show a loss", failures.len());
    assert!(failures.len() >= 10, "{failures:?}");
}

/// The child of the test below; without its variables there is nothing for it to do.
#[test]
fn child_that_is_killed_in_the_middle_of_a_change() {
    let [Some(dir), Some(kill_at)] = CHILD.map(std::env::var_os) else { return };
    let kill_at: u64 = kill_at.to_str().unwrap().parse().unwrap();
    let bench = Bench::in_dir(Path::new(&dir));
    let rules = Rules { kill_at: Some(kill_at), ..Rules::default() };
    tape::start(bench.dir.path(), rules);
    let mut work = Work { bench: &bench, dice: Dice(1), promises: Vec::new() };
    creation(&mut work);
    steady(&mut work);
    burst(&mut work);
    println!("CHANGES {}", tape::changes());
    std::io::stdout().flush().unwrap();
    std::process::exit(0);
}

/// What a child said: what it acknowledged, and how many changes it made if it lived.
fn child(dir: &Path, kill_at: u64) -> (Vec<Promise>, Option<u64>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed_in_the_middle_of_a_change"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD[0], dir)
        .env(CHILD[1], kill_at.to_string())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // The test harness may have printed the beginning of the line.
    let facts = said.lines().filter_map(|line| {
        if let Some((_, sealed)) = line.split_once("SEALED ") {
            let (seq, text) = sealed.split_once(' ')?;
            return Some(Promise::Private(seq.parse().ok()?, text.to_owned()));
        }
        let (seq, text) = line.split_once("ACK ")?.1.split_once(' ')?;
        Some(Promise::Fact(seq.parse().ok()?, text.to_owned()))
    });
    let changes = said.lines().find_map(|line| line.split_once("CHANGES ")?.1.parse().ok());
    assert_eq!(output.status.success(), changes.is_some(), "{said}");
    (facts.collect(), changes)
}

#[test]
fn kill_9_in_the_middle_of_any_change_loses_nothing_that_was_acknowledged() {
    let seed = seed();
    let kills = if std::env::var_os(PROVE).is_some() { 500 } else { 25 };
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let changes = child(dir.path(), u64::MAX).1.unwrap();
    let mut failures = Vec::new();
    for kill in 0..kills {
        // Evenly, so that as many kills as changes reach each of them.
        let step = changes / kills;
        let kill_at = 1 + (kill * changes / kills + dice.roll(step.max(1))) % changes;
        let dir = tempfile::tempdir().unwrap();
        let (promises, _) = child(dir.path(), kill_at);
        let bench = Bench::new();
        if let Err(why) = check(&bench, dir.path(), &promises) {
            failures.push(format!("killed at change {kill_at} of {changes}: {why}"));
        }
    }
    println!("{kills} kills over {changes} changes, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
