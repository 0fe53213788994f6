//! How fast the journal is, for `cargo xtask bench blackbox`.
//!
//! The floor is a plain file in the same directory with the same bytes and as many fdatasync:
//! no order kept between threads, no chain, no checkpoint, nothing that could be found again.
//! `--dir DIR` names where; it must lie on the disk that is meant. `--only NAME` takes one part of
//! it (`at_rest` verifies and proves): for a profiler, or to repeat one figure.
#![allow(clippy::unwrap_used)] // Whatever is unexpected ends the run.

#[path = "large/mod.rs"]
mod large;
#[path = "../../xtask/bench/measure.rs"]
mod measure;

use measure::{Point, Samples, Unit, argument, curve, figure, samples, timed};
use nooterra_blackbox::flight::{FlightOptions, recorder};
use nooterra_blackbox::{
    AppendError, Clock, ControlRecord, Journal, JournalHandle, Opened, Options, SampleRecord,
    verify,
};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::command::{Asked, Source};
use nooterra_protocol::entry::{Class, Entry, Link, Rule, Sample};
use nooterra_protocol::flight::{FlightScan, FlightTick, FlightVerdict, FlightVerdicts, SECTORS};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::keys::{Es256Key, Signer};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// As the journal's writer: a block is full with so much.
const BLOCK_BYTES: usize = 48 * 1024;

/// The text of a record that has 512 bytes when it is stored.
const TEXT_BYTES: usize = 380;

const PLAIN: &str = "plain file, same bytes and blocks, fdatasync each";

/// One part of the bench.
type Measure = fn(&Bench);

fn main() {
    let dir = PathBuf::from(argument("--dir").unwrap_or_else(|| ".".to_owned()));
    if let Some(name) = large::opening() {
        return large::opens(&Bench { dir, key: Arc::new(key()) }, &name);
    }
    let dir = tempfile::tempdir_in(dir).unwrap();
    let bench = Bench { dir: dir.path().to_path_buf(), key: Arc::new(key()) };
    let only = argument("--only");
    let parts: [(&str, Measure); 9] = [
        ("batches", batches),
        ("durable", durable),
        ("control", control),
        ("flight", flight),
        ("call", call),
        ("at_rest", at_rest),
        ("by_size", by_size),
        ("by_length", by_length),
        ("large", large::measure),
    ];
    for (name, measure) in parts {
        if only.as_deref().is_none_or(|only| only == name) {
            measure(&bench);
        }
    }
}

/// Appending as fast as records come: the writer commits a block at a time.
fn batches(bench: &Bench) {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let opened = bench.open("batches");
    let mut plain = Plain::new(&bench.dir.join("batches.plain"));
    let count = samples(20_000);
    for round in 0..samples(30) + 1 {
        let (took, bytes) = append(&opened.journal.handle(), count, TEXT_BYTES);
        let also = plain.append(count, bytes / count);
        if round > 0 {
            ours.push_each(took, count);
            floor.push_each(also, count);
        }
    }
    opened.journal.close().unwrap();
    figure("blackbox.append", Unit::Micros, &ours, (PLAIN, &floor));
}

/// Each record waited for.
fn durable(bench: &Bench) {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let opened = bench.open("durable");
    let handle = opened.journal.handle();
    let mut plain = Plain::new(&bench.dir.join("durable.plain"));
    let (rounds, warm_up) = (samples(1500), samples(150));
    for round in 0..warm_up + rounds {
        let (seq, took) = timed(|| handle.append_durable(line(TEXT_BYTES)).unwrap());
        let bytes = stored(&handle, seq - 1).len();
        let ((), also) = timed(|| plain.commit(bytes));
        if round >= warm_up {
            ours.push(took);
            floor.push(also);
        }
    }
    drop(handle);
    opened.journal.close().unwrap();
    let what = "plain file, the same bytes, one fdatasync";
    figure("blackbox.append_durable", Unit::Micros, &ours, (what, &floor));
}

/// What the control thread pays for a record, beside the bare lock-free queue.
fn control(bench: &Bench) {
    const BURST: usize = 50;
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let opened = bench.open("control");
    let mut queue = opened.journal.handle().control_queue();
    let bare = crossbeam_queue::ArrayQueue::new(1024);
    for round in 0..samples(400) {
        let record = |nth: usize| {
            let at = Ticking.stamp().mono;
            ControlRecord::Sample(SampleRecord { at, sample: sample(nth as f64) })
        };
        let records: [ControlRecord; BURST] = std::array::from_fn(record);
        let copies = records;
        let (full, took) = timed(|| records.into_iter().filter(|r| !queue.push(*r)).count());
        let (rest, also) = timed(|| copies.into_iter().filter(|r| bare.push(*r).is_err()).count());
        assert_eq!((full, rest), (0, 0));
        while bare.pop().is_some() {}
        if round >= 20 {
            ours.push_each(took, BURST);
            floor.push_each(also, BURST);
        }
        // The writer empties the queue every 10 ms.
        std::thread::sleep(Duration::from_millis(25));
    }
    opened.journal.close().unwrap();
    let what = "the bare lock-free queue";
    figure("blackbox.control_push", Unit::Micros, &ours, (what, &floor));
}

/// What the control thread pays for a tick of the flight recorder, beside a copy of as many bytes.
fn flight(bench: &Bench) {
    const BURST: usize = 50;
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let opened = bench.open("flight");
    let mut handle = opened.journal.handle();
    let (mut recorder, mut queue, _) = recorder(FlightOptions::default());
    let mut copies = vec![tick(0); BURST];
    for round in 0..samples(4000) {
        let ticks: [FlightTick; BURST] = std::array::from_fn(|nth| tick(round * BURST + nth));
        let ((), took) = timed(|| ticks.iter().for_each(|tick| queue.push(*tick)));
        let ((), also) = timed(|| std::hint::black_box(&mut copies[..]).copy_from_slice(&ticks));
        recorder.step(Ticking.stamp().mono, &mut handle);
        if round >= 20 {
            ours.push_each(took, BURST);
            floor.push_each(also, BURST);
        }
    }
    assert_eq!(recorder.state().lost, 0);
    drop(handle);
    opened.journal.close().unwrap();
    let what = "a copy of the same bytes";
    figure("blackbox.flight_push", Unit::Micros, &ours, (what, &floor));
}

/// All that a tick hands over, each time by itself: a record and a tick of the flight recorder.
fn call(bench: &Bench) {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let opened = bench.open("call");
    let mut handle = opened.journal.handle();
    let mut control = handle.control_queue();
    let (mut recorder, mut queue, _) = recorder(FlightOptions::default());
    let mut copy = (tick(0), sample(0.0));
    for round in 0..samples(20_000) {
        let at = Ticking.stamp().mono;
        let (tick, sample) = (tick(round), sample(round as f64));
        let (queued, took) = timed(|| {
            queue.push(tick);
            control.push(ControlRecord::Sample(SampleRecord { at, sample }))
        });
        assert!(queued);
        let ((), also) = timed(|| *std::hint::black_box(&mut copy) = (tick, sample));
        ours.push(took);
        floor.push(also);
        if round.is_multiple_of(50) {
            recorder.step(at, &mut handle);
            // As on a robot, where the writer empties the queue between two ticks.
            std::thread::sleep(Duration::from_millis(12));
        }
    }
    drop(handle);
    opened.journal.close().unwrap();
    let what = "a copy of the same bytes";
    figure("blackbox.control_call", Unit::Micros, &ours, (what, &floor));
}

/// A tick with three rules that act.
fn tick(nth: usize) -> FlightTick {
    let at = MonoNanos(u64::try_from(nth).unwrap() * 20_000_000);
    let mut verdicts = FlightVerdicts::default();
    for rule in [Rule::SpeedLinear, Rule::ZoneSpeed, Rule::AccelLinear] {
        verdicts.push(FlightVerdict { limit: 0.8, rule, zone: Some(1) });
    }
    FlightTick {
        allowed: Twist::new(0.5, 0.1).into(),
        asked: Asked::from(Twist::new(0.6, 0.1)),
        at,
        battery: Some(0.75),
        docked: false,
        emergency_stop: false,
        joints: None,
        journal_ms: 3,
        limit_mps: 0.8,
        pose: Some((at, Pose { x: nth as f64, y: 0.25, yaw: 1.0 })),
        scan: Some(FlightScan { at, nearest_mm: [3000; SECTORS] }),
        source: Source::Skill,
        stopped: false,
        tick: u64::try_from(nth).unwrap(),
        twist: Twist::new(0.4, 0.1),
        verdicts,
    }
}

/// What all threads of this process have taken of the processors so far.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the program's name, which may hold anything: user and system time, in hundredths.
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    let ticks: u64 = fields.take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// A journal of a million records that lies still, and is opened.
fn at_rest(bench: &Bench) {
    offline(bench);
    proving(bench);
}

/// Verifying a journal that lies still: what it takes of one core, however many work at it. The
/// floor is hashed by as many threads: where two of them share a core, each waits for the other's
/// SHA-256, which is no work of the verifier's.
fn offline(bench: &Bench) {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let opened = bench.open("offline");
    // A million records; appending them takes most of the time.
    let (_, bytes) = append(&opened.journal.handle(), samples(1_000_000), TEXT_BYTES);
    opened.journal.close().unwrap();
    let key = bench.key.verifying_key();
    let plain = vec![7; bytes];
    for round in 0..samples(50).min(6) + 1 {
        let path = bench.dir.join("offline");
        let before = processor_time();
        let found = verify(&path, Some(&key), &mut |_| {}).unwrap();
        let took = processor_time() - before;
        assert!(found.is_intact(), "{found}");
        let records = usize::try_from(found.records).unwrap();
        let before = processor_time();
        let (each, cores) = (bytes / records, threads());
        std::thread::scope(|scope| {
            for part in plain.chunks(each * records.div_ceil(cores)) {
                // A link and a node of the tree are two hashes behind a byte.
                scope.spawn(move || {
                    for record in part.chunks(each) {
                        let pairs = (Digest::of(&[1; 65]), Digest::of(&[1; 65]));
                        std::hint::black_box((Digest::of(record), pairs));
                    }
                });
            }
        });
        let also = processor_time() - before;
        if round > 0 {
            ours.push_each(took, records);
            floor.push_each(also, records);
        }
    }
    let what = "SHA-256 of the same inputs, in memory, on as many threads: record, link and node";
    figure("blackbox.verify", Unit::Micros, &ours, (what, &floor));
}

/// As many as verify a journal.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Proving a record of a journal of a million, which is open.
fn proving(bench: &Bench) {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    // The journal of the figure before.
    let opened = bench.open("offline");
    let handle = opened.journal.handle();
    let records = handle.records();
    let key = bench.key.verifying_key();
    let block = vec![7; 256 * 512];
    for round in 0..samples(400) {
        // By a stride that meets every part of the tree.
        let seq = 1 + (round as u64 * 7_919 * 104_729) % (records - 2000);
        let (proof, took) = timed(|| handle.prove(seq).unwrap());
        let (_, also) = timed(|| std::hint::black_box(Digest::of(&block)));
        let nooterra_evidence::Proof::Inclusion { proof: path, .. } = &proof else {
            panic!("an inclusion proof");
        };
        let bytes = nooterra_protocol::codec::to_vec(path).unwrap();
        assert!(bytes.len() <= 1024, "{} bytes", bytes.len());
        proof.check(Some(&key)).unwrap();
        if round >= 5 {
            ours.push(took);
            floor.push(also);
        }
    }
    drop(handle);
    opened.journal.close().unwrap();
    let what = "SHA-256 of 256 records, what the smallest kept root is over";
    figure("blackbox.prove", Unit::Micros, &ours, (what, &floor));
}

/// Batches by the size of a record.
fn by_size(bench: &Bench) {
    let mut points = Vec::new();
    for text in [0_u16, 100, 380, 1000, 4000, 16_000] {
        let (mut ours, mut floor) = (Samples::default(), Samples::default());
        let opened = bench.open(&format!("size-{text}"));
        let mut plain = Plain::new(&bench.dir.join(format!("size-{text}.plain")));
        let text = usize::from(text);
        let count = samples(4_000_000 / (text + 200));
        let mut size = 0;
        for round in 0..samples(10) + 1 {
            let (took, bytes) = append(&opened.journal.handle(), count, text);
            size = bytes / count;
            let also = plain.append(count, size);
            if round > 0 {
                ours.push_each(took, count);
                floor.push_each(also, count);
            }
        }
        opened.journal.close().unwrap();
        points.push(Point { x: size as f64, ours, floor });
    }
    curve("blackbox.append_by_size", "bytes of a record", Unit::Micros, PLAIN, &points);
}

/// Opening by the length of the journal.
fn by_length(bench: &Bench) {
    let (mut points, mut records) = (Vec::new(), 0);
    for more in [1_000, 4_000, 15_000, 40_000] {
        let opened = bench.open("length");
        append(&opened.journal.handle(), more, TEXT_BYTES);
        opened.journal.close().unwrap();
        records += more;
        let (mut ours, mut floor) = (Samples::default(), Samples::default());
        for _ in 0..samples(10) {
            let (opened, took) = timed(|| bench.open("length"));
            assert!(opened.clean);
            opened.journal.close().unwrap();
            let (bytes, also) = timed(|| read_all(&bench.dir.join("length")));
            assert!(bytes > 0);
            ours.push(took);
            floor.push(also);
        }
        points.push(Point { x: records as f64, ours, floor });
    }
    let what = "reading its files once";
    curve("blackbox.open_by_length", "records in the journal", Unit::Millis, what, &points);
}

struct Bench {
    dir: PathBuf,
    key: Arc<Es256Key>,
}

impl Bench {
    fn open(&self, name: &str) -> Opened {
        let signer: Arc<dyn Signer> = Arc::<Es256Key>::clone(&self.key);
        let options = Options::new(Arc::new(Ticking), signer, Digest::of(b"bench"));
        Journal::open(&self.dir.join(name), options).unwrap()
    }
}

fn key() -> Es256Key {
    Es256Key::from_seed([7; 32]).unwrap()
}

/// The machine's clocks.
struct Ticking;

impl Clock for Ticking {
    fn stamp(&self) -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mono = MonoNanos(u64::try_from(since.as_nanos()).unwrap());
        let wall = WallMillis(i64::try_from(since.as_millis()).unwrap());
        Stamp { mono, trust: ClockTrust::Network, wall }
    }
}

/// Appends and waits for the last; how long, and how many bytes the records have.
fn append(handle: &JournalHandle, count: usize, text: usize) -> (Duration, usize) {
    let entries: Vec<Entry> = (0..count).map(|_| line(text)).collect();
    let mut last = 0;
    let begun = Instant::now();
    for (nth, entry) in entries.into_iter().enumerate() {
        if nth + 1 == count {
            last = handle.append_durable(entry).unwrap();
            break;
        }
        while let Err(refused) = handle.append(entry.clone()) {
            assert_eq!(refused, AppendError::Full);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let took = begun.elapsed();
    (took, stored(handle, last - 1).len() * count)
}

/// The first normal record after a place, as stored.
fn stored(handle: &JournalHandle, after: u64) -> Vec<u8> {
    let mut found = handle.read_from(Class::Normal, after, 1).unwrap();
    found.swap_remove(0).1
}

fn line(text: usize) -> Entry {
    Entry::Link(Link { reason: Some(".".repeat(text)), up: true })
}

fn sample(x: f64) -> Sample {
    Sample {
        allowed: Twist::new(0.5, 0.1).into(),
        asked: Asked::from(Twist::new(0.6, 0.1)),
        battery: Some(0.75),
        joints: None,
        limit_mps: 0.8,
        pose: Pose { x, y: 0.25, yaw: 1.0 },
        source: Source::Skill,
        twist: Twist::new(0.4, 0.1),
    }
}

/// The floor: a file that grows.
struct Plain {
    file: File,
    waiting: Vec<u8>,
}

impl Plain {
    fn new(path: &Path) -> Self {
        Self { file: File::create_new(path).unwrap(), waiting: Vec::with_capacity(BLOCK_BYTES) }
    }

    /// Gathers records to blocks and writes each block with one fdatasync.
    fn append(&mut self, count: usize, size: usize) -> Duration {
        let record = vec![7; size];
        let begun = Instant::now();
        for _ in 0..count {
            if self.waiting.len() + size > BLOCK_BYTES {
                self.flush();
            }
            self.waiting.extend_from_slice(std::hint::black_box(&record));
        }
        self.flush();
        begun.elapsed()
    }

    fn commit(&mut self, size: usize) {
        self.waiting.resize(size, 7);
        self.flush();
    }

    fn flush(&mut self) {
        self.file.write_all(&self.waiting).unwrap();
        self.file.sync_data().unwrap();
        self.waiting.clear();
    }
}

fn read_all(dir: &Path) -> usize {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        bytes += if path.is_dir() { read_all(&path) } else { std::fs::read(path).unwrap().len() };
    }
    bytes
}
