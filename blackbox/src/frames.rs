//! Pictures that skills were given, encrypted, in a folder of their own beside the journal.
//!
//! ```text
//! frames/       0000019f1c2d3e00-8a3b0f2255e1c7d4.frame  its end, its number; encrypted
//!               ffffffffffff15a0-5be11c0d9920ab31.frame  kept for a minute; no trusted end
//! frames.keys/  8a3b0f2255e1c7d4                         the key of that picture alone
//! ```
//! The journal says who was given which picture; here it lies as long as it may, at most up to a
//! bound on the disk, the next to expire goes first. A picture is whole or absent: its key is
//! synced, then it is written under another name, synced, and renamed. It goes by its key, as
//! openings do ([`crate::openings`]): who kept the encrypted file has nothing then. What an agent
//! before this one kept as it was is encrypted at a start; what the disk does not take stays as it
//! is until the next one, and is found, ends and is erased like the others. Nothing here reads a
//! clock, and the journal's own bound does not count these files.
//!
//! A picture ends by a time that is trusted, and by no other: a clock that was set wrong destroys
//! nothing. One that was taken while the time was not trusted has no end, only how long it is kept:
//! so long by the monotonic clock, from when it was taken or from the last start. However long the
//! time is not trusted, and however often there is a start, the bound on the disk holds.

mod format;

use crate::openings::{Places, absent, epochs_in, fresh_key, shred, sync_dir};
use crate::place;
use format::{Head, Lid};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::frame::MAX_FRAME_BYTES;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The end of a picture's name.
const SUFFIX: &str = ".frame";

/// A picture that is being written.
const PART: &str = "new.part";

/// What a file takes of the disk is a multiple of this, and so is counted.
const PAGE: u64 = 4096;

/// Where pictures are kept, and how much of them.
#[derive(Clone, Debug)]
pub struct FramesAt {
    /// The folder; their keys lie beside it, in one whose name ends in `.keys`.
    pub dir: PathBuf,
    /// What pictures and keys may take on the disk, each file counted in whole pages of 4 KiB.
    pub most_bytes: u64,
}

/// The pictures of one robot. They are opened with its journal, whose lock is theirs.
#[derive(Debug)]
pub struct Frames {
    kept: Mutex<Kept>,
    most_bytes: u64,
    places: Places,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    /// Of those without a trusted end, from when on this run counts.
    since: BTreeMap<Name, MonoNanos>,
    /// What each takes: first those without a trusted end, then the first to end first.
    sizes: BTreeMap<Name, u64>,
}

/// What the name of a picture says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Name {
    /// When it ends; below zero, for how long it is kept.
    until: WallMillis,
    number: u64,
    /// It is not encrypted, and this is its hash.
    plain: Option<Digest>,
}

/// Why a picture is not kept.
#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    /// The disk does not take it.
    #[error("pictures: {}: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Larger than all pictures together may be.
    #[error("a picture takes {bytes} bytes, and {most} are kept in all; raise skills.frames_mib")]
    TooLarge {
        /// What it takes on the disk, with its key.
        bytes: u64,
        /// The bound.
        most: u64,
    },
}

/// A picture's place, and what its head says.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) head: Head,
    pub(crate) number: u64,
}

impl Frames {
    /// Opens the folder, or makes it. What ended before `now`, where that is a trusted time, goes
    /// at once, as does what is beyond the bound, a key without a picture, and a picture whose key
    /// is gone; what is left and not encrypted is, as far as the disk takes it. Called under the
    /// journal's lock.
    pub(crate) fn open(at: &FramesAt, now: Stamp) -> Result<Self, FramesError> {
        let FramesAt { dir, most_bytes } = at;
        let places = Places::of(dir);
        let kept = Mutex::default();
        let frames = Self { kept, most_bytes: *most_bytes, places };
        let fault = |source| FramesError::Disk { path: dir.clone(), source };
        if *most_bytes == 0 && !dir.exists() {
            return Ok(frames);
        }
        frames.take_stock(now.mono).map_err(fault)?;
        frames.tidy(now)?;
        let mut kept = frames.lock();
        frames.make_room(&mut kept, 0)?;
        frames.encrypt_plain(&mut kept);
        // Encrypted, one may take a page more.
        frames.make_room(&mut kept, 0)?;
        drop(kept);
        Ok(frames)
    }

    /// Looks at what is there.
    fn take_stock(&self, now: MonoNanos) -> io::Result<()> {
        let dir = &self.places.sealed;
        fs::create_dir_all(place::parent(dir))?;
        self.places.make()?;
        let mut keys = epochs_in(&self.places.keys)?;
        let mut kept = self.lock();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == PART {
                absent(fs::remove_file(entry.path()))?;
            }
            // What has another name is nobody's of ours.
            let Some(name) = Name::read(name) else { continue };
            if name.plain.is_some() || keys.remove(&name.number) {
                kept.add(name, takes(entry.metadata()?.len()), now);
            } else {
                // Nobody can ever read it.
                absent(fs::remove_file(entry.path()))?;
            }
        }
        self.places.destroy(&keys)
    }

    /// Encrypts what an agent before this one kept as it was. What cannot be stays: that is no
    /// reason to keep no other pictures.
    fn encrypt_plain(&self, kept: &mut Kept) {
        let plain: Vec<_> =
            kept.sizes.keys().filter(|name| name.plain.is_some()).copied().collect();
        for name in plain {
            if let Err(error) = self.encrypt(kept, name) {
                let path = self.path(name);
                tracing::error!(%error, path = %path.display(), "a picture is not encrypted yet");
            }
        }
    }

    fn encrypt(&self, kept: &mut Kept, plain: Name) -> io::Result<()> {
        let sealed = Name { plain: None, ..plain };
        // A crash may have left it after it was encrypted; what is damaged is none.
        if !kept.sizes.contains_key(&sealed)
            && let Some((head, pixels)) = read_plain(&self.places, plain)?
        {
            // Its end is in its name, whatever time it is.
            let now = kept.since.get(&plain).copied().unwrap_or(MonoNanos(0));
            self.write(kept, &head, (sealed, now), &pixels).map_err(|(_, error)| error)?;
        }
        self.remove(kept, plain)
    }

    /// Keeps a picture that was taken `now` for so long, and returns its hash. It is on the disk
    /// then, encrypted. Others that end sooner may go for it.
    ///
    /// # Errors
    /// [`FramesError`]; the picture is not kept then.
    pub fn keep(
        &self,
        bytes: &[u8],
        job: Option<&JobId>,
        keep_for: Duration,
        now: Stamp,
    ) -> Result<Digest, FramesError> {
        let most = self.most_bytes;
        let head = Head { at: now.wall, job: job.cloned(), sha256: Digest::of(bytes) };
        let size = takes((format::overhead(&head) + bytes.len()) as u64);
        if size > most {
            return Err(FramesError::TooLarge { bytes: size, most });
        }
        self.tidy(now)?;
        let mut kept = self.lock();
        self.make_room(&mut kept, size)?;
        let mut number = [0; 8];
        // By chance, so that no list of what is to go ever names a later picture.
        getrandom::fill(&mut number).map_err(|error| FramesError::Disk {
            path: self.places.sealed.clone(),
            source: io::Error::other(error.to_string()),
        })?;
        let until = match now.trust {
            ClockTrust::Untrusted => kept_for(keep_for),
            ClockTrust::Cloud | ClockTrust::Network => now.wall.plus(keep_for),
        };
        let name = Name { until, number: u64::from_be_bytes(number), plain: None };
        self.write(&mut kept, &head, (name, now.mono), bytes)
            .map_err(|(path, source)| FramesError::Disk { path, source })?;
        Ok(head.sha256)
    }

    /// Writes a picture under a number that no other has, and a key of its own.
    fn write(
        &self,
        kept: &mut Kept,
        head: &Head,
        (name, now): (Name, MonoNanos),
        bytes: &[u8],
    ) -> Result<(), (PathBuf, io::Error)> {
        let dir = &self.places.sealed;
        let (path, part) = (self.path(name), dir.join(PART));
        let done = fresh_key(&self.places, name.number).and_then(|key| {
            let sealed = name.lid().seal(&key, head, bytes);
            write(&part, &sealed)?;
            fs::rename(&part, &path)?;
            sync_dir(dir)?;
            Ok(takes(sealed.len() as u64))
        });
        let size = done.map_err(|error| {
            // A disk that is full: what is left of it now, the next start removes.
            let _ = self.places.shred_key(name.number);
            let _ = fs::remove_file(&part);
            (path, error)
        })?;
        kept.add(name, size, now);
        Ok(())
    }

    /// The picture of that hash, where it is still kept and undamaged. Looks through all of them.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Vec<u8>> {
        find(&self.places, self.names(), digest)
    }

    /// How many there are, and what they take.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        let kept = self.lock();
        (kept.sizes.len(), kept.bytes)
    }

    /// What they may take.
    #[must_use]
    pub const fn most_bytes(&self) -> u64 {
        self.most_bytes
    }

    /// Removes what has come to its end: by the wall clock where that is trusted, and by the
    /// monotonic one what has no such end.
    ///
    /// # Errors
    /// [`FramesError::Disk`]; it is tried again at the next call.
    pub fn tidy(&self, now: Stamp) -> Result<(), FramesError> {
        let mut kept = self.lock();
        let over = |(name, since): (&Name, &MonoNanos)| {
            let over = now.mono.since(*since).is_some_and(|age| age >= name.kept_for());
            over.then_some(*name)
        };
        let mut ended: Vec<Name> = kept.since.iter().filter_map(over).collect();
        if now.trust != ClockTrust::Untrusted {
            let dated = kept.dated().take_while(|name| name.until <= now.wall);
            ended.extend(dated);
        }
        ended.into_iter().try_for_each(|name| self.remove_one(&mut kept, name))
    }

    /// What the pictures say of themselves; those that cannot be read are passed over.
    pub(crate) fn heads(&self) -> Vec<Looked> {
        heads(&self.places, self.names())
    }

    /// Destroys the keys of pictures, then removes them. Of those that are gone nothing is left
    /// to do.
    pub(crate) fn destroy(&self, numbers: &BTreeSet<u64>) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut kept = self.lock();
        self.places.shred_keys(numbers)?;
        let gone: Vec<_> =
            kept.sizes.keys().filter(|name| numbers.contains(&name.number)).copied().collect();
        gone.into_iter().try_for_each(|name| self.remove(&mut kept, name))?;
        absent(sync_dir(&self.places.sealed))
    }

    fn names(&self) -> Vec<Name> {
        self.lock().sizes.keys().copied().collect()
    }

    fn make_room(&self, kept: &mut Kept, size: u64) -> Result<(), FramesError> {
        while kept.bytes.saturating_add(size) > self.most_bytes {
            let Some(name) = kept.next_to_go() else { break };
            self.remove_one(kept, name)?;
        }
        Ok(())
    }

    fn remove_one(&self, kept: &mut Kept, name: Name) -> Result<(), FramesError> {
        let removed = self.remove(kept, name);
        removed.map_err(|source| FramesError::Disk { path: self.path(name), source })
    }

    /// The key is overwritten on the disk. That both files are gone need not be: a picture that a
    /// power cut brings back has no key, and goes at its end at the latest.
    fn remove(&self, kept: &mut Kept, name: Name) -> io::Result<()> {
        let path = self.path(name);
        if name.plain.is_some() {
            // Where a full disk does not take that, it is removed at least.
            absent(shred(&path).or_else(|_| fs::remove_file(&path)))?;
        } else {
            self.places.shred_key(name.number)?;
            absent(fs::remove_file(&path))?;
        }
        kept.since.remove(&name);
        let size = kept.sizes.remove(&name).unwrap_or(0);
        kept.bytes = kept.bytes.saturating_sub(size);
        Ok(())
    }

    fn path(&self, name: Name) -> PathBuf {
        name.path(&self.places)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, name: Name, size: u64, now: MonoNanos) {
        self.bytes += size;
        self.sizes.insert(name, size);
        if !name.is_dated() {
            self.since.insert(name, now);
        }
    }

    /// Those with a trusted end, the first to end first.
    fn dated(&self) -> impl Iterator<Item = Name> {
        self.sizes.keys().copied().filter(|name| name.is_dated())
    }

    /// Whose room another may take: the first to end of those with a trusted end, which are the
    /// older ones where the time is not trusted any more, then the first to end of the others.
    fn next_to_go(&self) -> Option<Name> {
        let end = |(name, since): &(&Name, &MonoNanos)| (since.plus(name.kept_for()), **since);
        let other = || self.since.iter().min_by_key(end).map(|(name, _)| *name);
        self.dated().next().or_else(other)
    }
}

impl Name {
    /// Reads a file's name back.
    fn read(name: &str) -> Option<Self> {
        let (until, rest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let until = WallMillis(hex(until)?.cast_signed());
        let (number, plain) = match Digest::from_hex(rest) {
            None => (hex(rest)?, None),
            // The same at each start: a list of what is to go means it, encrypted or not.
            plain => {
                (u64::from_be_bytes(*Digest::of(name.as_bytes()).as_bytes().first_chunk()?), plain)
            }
        };
        let read = Self { until, number, plain };
        (read.to_string() == name).then_some(read)
    }

    /// It was taken at a trusted time, and has its end.
    const fn is_dated(self) -> bool {
        self.until.0 >= 0
    }

    /// For how long it is kept, where it has no end.
    const fn kept_for(self) -> Duration {
        if self.is_dated() {
            Duration::MAX
        } else {
            Duration::from_millis(self.until.0.unsigned_abs())
        }
    }

    fn path(self, places: &Places) -> PathBuf {
        places.sealed.join(self.to_string())
    }

    const fn lid(self) -> Lid {
        Lid { number: self.number, until: self.until }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-", self.until.0)?;
        match self.plain {
            None => write!(f, "{:016x}{SUFFIX}", self.number),
            Some(sha256) => write!(f, "{sha256}{SUFFIX}"),
        }
    }
}

/// The picture of that hash among those in `dir`, for whoever may read their keys. Changes
/// nothing; works beside a running agent. `None` when it is not kept, or no longer.
///
/// # Errors
/// [`FramesError::Disk`] when the folder is there and cannot be read.
pub fn read_picture(dir: &Path, digest: Digest) -> Result<Option<Vec<u8>>, FramesError> {
    let places = Places::of(dir);
    Ok(find(&places, names_in(&places)?, digest))
}

/// What the pictures in `dir` say of themselves, beside a running agent.
pub(crate) fn heads_in(dir: &Path) -> Result<Vec<Looked>, FramesError> {
    let places = Places::of(dir);
    Ok(heads(&places, names_in(&places)?))
}

fn names_in(places: &Places) -> Result<Vec<Name>, FramesError> {
    let fault = |source| FramesError::Disk { path: places.sealed.clone(), source };
    let entries = match fs::read_dir(&places.sealed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fault)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(fault)?.file_name().to_str().and_then(Name::read));
    }
    Ok(names)
}

fn find(places: &Places, names: Vec<Name>, digest: Digest) -> Option<Vec<u8>> {
    names.into_iter().find_map(|name| read(places, name, |head| head.sha256 == digest)?.1)
}

fn heads(places: &Places, names: Vec<Name>) -> Vec<Looked> {
    let looked = |name: Name| {
        let (head, _) = read(places, name, |_| false)?;
        Some(Looked { head, number: name.number })
    };
    names.into_iter().filter_map(looked).collect()
}

/// In the place of an end, for how long a picture is kept.
fn kept_for(span: Duration) -> WallMillis {
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    WallMillis(ms.max(1).saturating_neg())
}

/// What a file of so many bytes takes, with its key.
const fn takes(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_add(1).saturating_mul(PAGE)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a picture's head, and its pixels where they are `wanted` and undamaged.
fn read(
    places: &Places,
    name: Name,
    wanted: impl FnOnce(&Head) -> bool,
) -> Option<(Head, Option<Vec<u8>>)> {
    if name.plain.is_some() {
        let (head, pixels) = read_plain(places, name).ok()??;
        let pixels = wanted(&head).then_some(pixels);
        return Some((head, pixels));
    }
    let key = places.read_key(name.number).ok()??;
    let file = File::open(name.path(places)).ok()?;
    name.lid().open(&key, file, wanted)
}

/// One that is not encrypted; `None` where it is damaged. It does not say of which job it is, and
/// was taken when its file was written.
fn read_plain(places: &Places, name: Name) -> io::Result<Option<(Head, Vec<u8>)>> {
    let file = File::open(name.path(places))?;
    let at = file.metadata()?.modified().ok();
    let at = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let at = at.and_then(|at| i64::try_from(at.as_millis()).ok());
    let mut pixels = Vec::new();
    file.take(MAX_FRAME_BYTES as u64 + 1).read_to_end(&mut pixels)?;
    let sha256 = Digest::of(&pixels);
    let head = Head { at: WallMillis(at.unwrap_or(0)), job: None, sha256 };
    Ok((name.plain == Some(sha256)).then_some((head, pixels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment by a trusted clock.
    fn at(ms: u64) -> Stamp {
        let wall = WallMillis(ms.cast_signed());
        Stamp { mono: MonoNanos(ms * 1_000_000), trust: ClockTrust::Network, wall }
    }

    /// So long.
    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn open(dir: &Path, most_bytes: u64, now: u64) -> Frames {
        Frames::open(&FramesAt { dir: dir.join("frames"), most_bytes }, at(now)).unwrap()
    }

    fn names(dir: &Path, folder: &str) -> Vec<PathBuf> {
        fs::read_dir(dir.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_picture_is_found_by_its_hash_until_its_end_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let digest = frames.keep(b"picture", None, ms(100), at(0)).unwrap();
        assert_eq!(digest, Digest::of(b"picture"));
        assert_eq!(frames.size(), (1, 8192), "a page, and one for the key");
        drop(frames);
        let frames = open(dir.path(), 1 << 20, 50);
        assert_eq!(frames.find(digest).as_deref(), Some(&b"picture"[..]));
        assert_eq!(frames.find(Digest::of(b"another")), None);
        let outside = read_picture(&dir.path().join("frames"), digest).unwrap();
        assert_eq!(outside.as_deref(), Some(&b"picture"[..]));
        frames.tidy(at(99)).unwrap();
        assert_eq!(frames.size().0, 1);
        frames.tidy(at(100)).unwrap();
        assert_eq!((frames.find(digest), frames.size()), (None, (0, 0)));
        assert!(
            names(dir.path(), "frames").is_empty() && names(dir.path(), "frames.keys").is_empty()
        );
    }

    #[test]
    fn a_clock_that_is_not_trusted_ends_no_picture_and_what_was_taken_by_it_ends_by_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = |wall, mono_ms: u64| Stamp {
            mono: MonoNanos(mono_ms * 1_000_000),
            trust: ClockTrust::Untrusted,
            wall: WallMillis(wall),
        };
        let far = i64::MAX / 2;
        let frames = open(dir.path(), 1 << 20, 0);
        let dated = frames.keep(b"dated", None, ms(100), at(0)).unwrap();
        frames.tidy(wrong(far, 99_999)).unwrap();
        let ahead = frames.keep(b"ahead", None, ms(100), wrong(far, 50)).unwrap();
        let behind = frames.keep(b"behind", None, ms(60), wrong(-5, 50)).unwrap();
        let there = |frames: &Frames| [dated, ahead, behind].map(|it| frames.find(it).is_some());
        assert_eq!(there(&frames), [true; 3], "no clock of those is believed");
        // Right again: what was taken at a wrong time has been there for 50 ms by then.
        let right = |wall, mono_ms| Stamp { trust: ClockTrust::Network, ..wrong(wall, mono_ms) };
        frames.tidy(right(100, 100)).unwrap();
        assert_eq!(there(&frames), [false, true, true]);
        frames.tidy(right(101, 110)).unwrap();
        assert_eq!(there(&frames), [false, true, false]);
        drop(frames);
        // Nobody knows how long the agent was down, nor what the monotonic clock was: it counts
        // from here.
        let at = FramesAt { dir: dir.path().join("frames"), most_bytes: 1 << 20 };
        let frames = Frames::open(&at, wrong(far, 7)).unwrap();
        frames.tidy(wrong(far, 106)).unwrap();
        assert_eq!(there(&frames), [false, true, false]);
        frames.tidy(wrong(0, 107)).unwrap();
        assert_eq!(frames.size(), (0, 0));
    }

    #[test]
    fn however_long_the_time_is_not_trusted_the_bound_holds_and_the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = |mono| Stamp { mono: MonoNanos(mono), trust: ClockTrust::Untrusted, ..at(0) };
        let frames = open(dir.path(), 3 * 8192, 0);
        let dated = frames.keep(b"dated", None, ms(100), at(0)).unwrap();
        let kept: Vec<Digest> = (1..=6_u8)
            .map(|nth| frames.keep(&[nth], None, Duration::MAX, wrong(nth.into())).unwrap())
            .collect();
        assert_eq!((frames.find(dated), frames.size().0), (None, 3));
        let there: Vec<bool> = kept.iter().map(|it| frames.find(*it).is_some()).collect();
        assert_eq!(there, [false, false, false, true, true, true]);
    }

    #[test]
    fn nothing_of_a_picture_is_readable_without_its_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let secret = b"somebody is at the door".repeat(400);
        let job = JobId::new("job_of_somebody").unwrap();
        let digest = frames.keep(&secret, Some(&job), ms(100), at(0)).unwrap();
        let (files, keys) = (names(dir.path(), "frames"), names(dir.path(), "frames.keys"));
        let (file, key) = (&files[0], &keys[0]);
        let bytes = fs::read(file).unwrap();
        let name = file.to_str().unwrap().as_bytes();
        for told in [&secret[..23], job.as_str().as_bytes(), digest.to_string().as_bytes()] {
            let within = |bytes: &[u8]| bytes.windows(told.len()).any(|part| part == told);
            assert!(!within(&bytes) && !within(name), "{}", String::from_utf8_lossy(told));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(file), mode(key)), (0o600, 0o600));
        assert_eq!(
            (mode(&dir.path().join("frames")), mode(&dir.path().join("frames.keys"))),
            (0o700, 0o700)
        );
        // With the key of another, or an end that somebody put off, it is none either.
        let whole = fs::read(key).unwrap();
        frames.keep(b"another", None, ms(100), at(0)).unwrap();
        let other = names(dir.path(), "frames.keys").into_iter().find(|path| path != key).unwrap();
        fs::copy(&other, key).unwrap();
        assert_eq!(frames.find(digest), None);
        fs::write(key, whole).unwrap();
        assert!(frames.find(digest).is_some());
        let name = Name::read(file.file_name().unwrap().to_str().unwrap()).unwrap();
        fs::rename(file, frames.path(Name { until: WallMillis(900), ..name })).unwrap();
        assert_eq!(open(dir.path(), 1 << 20, 0).find(digest), None);
    }

    #[test]
    fn what_ends_first_makes_room_and_nothing_goes_beyond_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 3 * 8192, 0);
        let [late, soon, middle] =
            [(1, 300), (2, 100), (3, 200)].map(|(byte, until): (u8, u64)| {
                frames.keep(&[byte; 10], None, ms(until), at(0)).unwrap()
            });
        // Two pages, and one for its key.
        frames.keep(&[4; 5000], None, ms(400), at(0)).unwrap();
        assert!(frames.find(soon).is_none() && frames.find(middle).is_none());
        assert!(frames.find(late).is_some());
        assert_eq!(frames.size(), (2, 5 * 4096));
        assert_eq!(names(dir.path(), "frames.keys").len(), 2);
        assert!(matches!(
            frames.keep(&[5; 25_000], None, ms(400), at(0)),
            Err(FramesError::TooLarge { bytes: 32_768, most: 24_576 })
        ));
        drop(frames);
        // The owner makes the bound smaller.
        assert_eq!(open(dir.path(), 3 * 4096, 0).size(), (1, 3 * 4096));
        // And wants none at all.
        assert_eq!(open(dir.path(), 0, 0).size(), (0, 0));
        assert!(
            names(dir.path(), "frames").is_empty() && names(dir.path(), "frames.keys").is_empty()
        );
    }

    #[test]
    fn a_damaged_picture_is_none_and_a_strange_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("frames");
        fs::create_dir(&folder).unwrap();
        for name in ["note.txt", "0-1.frame", "000000000000000g-00.frame", ".frame"] {
            fs::write(folder.join(name), b"strange").unwrap();
        }
        let frames = open(dir.path(), 1 << 20, 0);
        assert_eq!(frames.size(), (0, 0));
        let digest = frames.keep(b"picture", None, ms(100), at(0)).unwrap();
        let path = frames.path(*frames.lock().sizes.keys().next().unwrap());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(frames.find(digest).is_none(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(frames.find(digest).is_none(), "{at} bytes");
        }
        fs::remove_file(&path).unwrap();
        frames.tidy(at(100)).unwrap();
        assert_eq!(frames.size(), (0, 0), "what somebody else removed is no error");
        assert!(folder.join("note.txt").exists());
    }

    #[test]
    fn what_a_crash_left_half_done_is_ended_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let stays = frames.keep(b"stays", None, ms(100), at(0)).unwrap();
        // A key whose picture was not written; a picture whose key went; a part.
        fs::write(dir.path().join("frames.keys/00000000000000aa"), [7; 52]).unwrap();
        fs::write(dir.path().join("frames/0000000000000064-00000000000000bb.frame"), b"x").unwrap();
        fs::write(dir.path().join("frames").join(PART), b"x").unwrap();
        drop(frames);
        let frames = open(dir.path(), 1 << 20, 0);
        assert_eq!((frames.size(), frames.find(stays).is_some()), ((1, 8192), true));
        assert_eq!(
            (names(dir.path(), "frames").len(), names(dir.path(), "frames.keys").len()),
            (1, 1)
        );
    }

    /// Keeps one as an earlier agent did.
    fn plain(dir: &Path, pixels: &[u8], until: i64) -> (PathBuf, Digest) {
        let (folder, digest) = (dir.join("frames"), Digest::of(pixels));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{until:016x}-{digest}.frame"));
        fs::write(&path, pixels).unwrap();
        (path, digest)
    }

    #[test]
    fn what_an_earlier_agent_kept_in_the_clear_is_encrypted_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let (path, digest) = plain(dir.path(), b"picture", 100);
        fs::write(plain(dir.path(), b"another", 100).0, b"damaged").unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        assert_eq!(frames.find(digest).as_deref(), Some(&b"picture"[..]));
        assert_eq!(frames.size(), (1, 8192));
        let files = names(dir.path(), "frames");
        assert!(!fs::read(&files[0]).unwrap().windows(7).any(|part| part == b"picture"));
        drop(frames);
        // A crash before it was removed.
        fs::write(path, b"picture").unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        assert_eq!((frames.size(), names(dir.path(), "frames")), ((1, 8192), files));
        frames.tidy(at(100)).unwrap();
        assert_eq!(frames.size(), (0, 0), "its end is what it was");
    }

    #[test]
    fn what_an_earlier_agent_kept_and_the_disk_does_not_take_is_found_and_goes_like_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let pictures = [(1, 100), (2, 200), (3, 300), (4, 400)];
        let pictures = pictures.map(|(byte, until)| plain(dir.path(), &[byte; 10], until));
        let places = Places::of(&dir.path().join("frames"));
        let frames = Frames { kept: Mutex::default(), most_bytes: 1 << 20, places };
        frames.take_stock(MonoNanos(0)).unwrap();
        // No key can be made.
        let keys = dir.path().join("frames.keys");
        fs::remove_dir(&keys).unwrap();
        frames.encrypt_plain(&mut frames.lock());
        let is_there = || pictures.each_ref().map(|(path, _)| path.exists());
        assert_eq!((is_there(), frames.size().0), ([true; 4], 4));
        assert_eq!(frames.find(pictures[2].1).as_deref(), Some(&[3; 10][..]));
        frames.tidy(at(100)).unwrap();
        assert_eq!(is_there(), [false, true, true, true]);
        fs::create_dir(&keys).unwrap();
        let looked = frames.heads();
        assert!(looked.iter().all(|it| it.head.job.is_none() && it.head.at.0 > 0));
        let number = looked.iter().find(|it| it.head.sha256 == pictures[1].1).unwrap().number;
        frames.destroy(&[number].into()).unwrap();
        assert_eq!(is_there(), [false, false, true, true]);
        // Erased at a start that could not end it: the next one knows it, encrypted.
        let number = frames.heads()[0].number;
        let frames = open(dir.path(), 1 << 20, 0);
        assert_eq!((is_there(), frames.size().0), ([false; 4], 2));
        frames.destroy(&[number].into()).unwrap();
        assert!(frames.find(pictures[2].1).is_none() && frames.find(pictures[3].1).is_some());
    }

    #[test]
    fn a_picture_that_is_destroyed_cannot_be_read_from_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let [goes, stays] =
            [b"goes ", b"stays"].map(|bytes| frames.keep(bytes, None, ms(100), at(0)).unwrap());
        let looked = frames.heads();
        let number = looked.iter().find(|it| it.head.sha256 == goes).unwrap().number;
        let path = frames.path(Name { until: WallMillis(100), number, plain: None });
        let copy = fs::read(&path).unwrap();
        frames.destroy(&[number, 77].into()).unwrap();
        assert_eq!(frames.size(), (1, 8192));
        fs::write(&path, copy).unwrap();
        assert!(frames.find(goes).is_none() && frames.find(stays).is_some());
        assert_eq!(read_picture(&dir.path().join("frames"), goes).unwrap(), None);
    }
}
