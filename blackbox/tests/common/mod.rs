//! What the tests of the journal share: a clock that is set by hand, a key, entries.
#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::unwrap_used)]

use nooterra_blackbox::{Clock, FramesAt, Journal, JournalHandle, OpenError, Opened, Options};
use nooterra_protocol::codec::{Blob, Digest};
use nooterra_protocol::command::{Asked, Source};
use nooterra_protocol::entry::{Entry, Link, Sample, SkillLog};
use nooterra_protocol::frame::{FrameTaken, PixelFormat, SkillFrame};
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::ids::{JobId, SkillId, StepId};
use nooterra_protocol::keys::{Es256Key, KeyError, Signer, VerifyingKey};
use nooterra_protocol::private::{PrivateError, SALT_BYTES, Salts};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    pub fn now(&self) -> MonoNanos {
        MonoNanos(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for HandClock {
    fn stamp(&self) -> Stamp {
        let mono = self.now();
        let wall = WallMillis(1_795_000_000_000 + i64::try_from(mono.0 / 1_000_000).unwrap());
        Stamp { mono, trust: ClockTrust::Network, wall }
    }
}

/// A device key whose signing can be held up, which holds up the writer thread.
pub struct Key {
    key: Es256Key,
    held: Mutex<bool>,
    released: Condvar,
    waiting: AtomicU64,
}

impl Key {
    pub fn new(seed: u8) -> Arc<Self> {
        let key = Es256Key::from_seed([seed; 32]).unwrap();
        let (held, released) = (Mutex::new(false), Condvar::new());
        Arc::new(Self { key, held, released, waiting: AtomicU64::new(0) })
    }

    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// The writer waits in `sign`.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

impl Signer for Key {
    fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut held = self.held.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *held {
            held = self.released.wait(held).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(held);
        self.key.sign(message)
    }
}

pub struct Bench {
    pub clock: Arc<HandClock>,
    pub dir: Place,
    pub key: Arc<Key>,
    pub options: Options,
}

/// A directory of the test's own, or one that somebody else removes.
pub enum Place {
    Given(PathBuf),
    Own(tempfile::TempDir),
}

impl Place {
    pub fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Own(dir) => dir.path(),
        }
    }
}

impl Bench {
    pub fn new() -> Self {
        Self::at(Place::Own(tempfile::tempdir().unwrap()))
    }

    pub fn in_dir(dir: &Path) -> Self {
        Self::at(Place::Given(dir.to_owned()))
    }

    fn at(dir: Place) -> Self {
        let (clock, key) = (Arc::new(HandClock::default()), Key::new(7));
        clock.advance(Duration::from_secs(5));
        let options = Options::new(clock.clone(), key.clone(), Digest::of(b"policy"));
        Self { clock, dir, key, options }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The same with room for pictures.
    pub fn with_frames(mut self) -> Self {
        let dir = self.dir.path().join("frames");
        self.options.frames = Some(FramesAt { dir, most_bytes: 1 << 20 });
        self
    }

    /// The records' own time.
    pub fn now(&self) -> WallMillis {
        self.clock.stamp().wall
    }

    pub fn open(&self) -> Opened {
        let mut opened = Journal::open(&self.path(), self.options.clone());
        // A child that another test is just starting holds all our files until it has become
        // another program, the lock among them.
        let since = Instant::now();
        while matches!(opened, Err(OpenError::Locked(_))) && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
            opened = Journal::open(&self.path(), self.options.clone());
        }
        opened.unwrap()
    }
}

/// A normal record of about `size` bytes.
pub fn log(text: &str, size: usize) -> Entry {
    let message = format!("{text}{}", ".".repeat(size.saturating_sub(text.len())));
    Entry::Link(Link { reason: Some(message), up: true })
}

/// A normal record with a private field.
pub fn private(text: &str) -> Entry {
    Entry::SkillLog(SkillLog { message: text.into(), skill: SkillId::new("patrol").unwrap() })
}

/// The record of a picture that was given and kept.
pub fn picture(pixels: &[u8]) -> Entry {
    let taken = FrameTaken {
        at: MonoNanos(1),
        format: PixelFormat::Grey8,
        height: 1,
        kept: true,
        sha256: Some(Digest::of(pixels)),
        width: u32::try_from(pixels.len()).unwrap(),
    };
    Entry::SkillFrame(SkillFrame {
        job: JobId::new("job_1").unwrap(),
        nth: 1,
        refused: None,
        skill: SkillId::new("lookout").unwrap(),
        step: StepId::new("s1").unwrap(),
        taken: Some(taken),
    })
}

/// Salts that are never the same twice, and the same in each run.
#[derive(Debug, Default)]
pub struct CountedSalts(AtomicU64);

impl Salts for CountedSalts {
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError> {
        let mut salt = [0; SALT_BYTES];
        salt[..8].copy_from_slice(&self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        Ok(salt)
    }
}

/// A critical record: bytes that stand for a signed fact.
pub fn fact(text: &str) -> Entry {
    Entry::Fact(Blob(text.as_bytes().to_vec()))
}

/// A normal record.
pub fn link(up: bool) -> Entry {
    Entry::Link(Link { reason: None, up })
}

/// A bulk record.
pub fn sample(x: f64) -> Entry {
    Entry::Sample(sample_at(x))
}

pub fn sample_at(x: f64) -> Sample {
    Sample {
        allowed: Twist::new(0.5, 0.1).into(),
        asked: Asked::from(Twist::new(f64::NAN, 0.1)),
        battery: Some(0.75),
        joints: None,
        limit_mps: 0.8,
        pose: Pose { x, y: 0.25, yaw: 1.0 },
        source: Source::Skill,
        twist: Twist::new(0.4, 0.1),
    }
}

/// A guard against hanging, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for the writer; it works on its own time.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn records_reach(handle: &JournalHandle, count: u64) {
    eventually("records are written", || handle.records() >= count);
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A small deterministic generator (SplitMix64), so that a seed is a whole bug report.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap()
    }
}

/// From the environment, so that a failure can be run again; otherwise from the clock.
pub fn seed() -> u64 {
    let seed = std::env::var("NOOTERRA_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(since.unwrap().as_nanos() & 0xffff_ffff).unwrap()
    });
    println!("NOOTERRA_SEED={seed}");
    seed
}
