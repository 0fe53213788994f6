//! Pictures that skills were given, encrypted, in a folder of their own beside the journal.
//!
//! ```text
//! frames/       0000019f1c2d3e00-8a3b0f2255e1c7d4.frame  its end, its number; encrypted
//! frames.keys/  8a3b0f2255e1c7d4                         the key of that picture alone
//! ```
//! The journal says who was given which picture; here it lies as long as it may, at most up to a
//! bound on the disk, the next to expire goes first. A picture is whole or absent: its key is
//! synced, then it is written under another name, synced, and renamed. It goes by its key, as
//! openings do ([`crate::openings`]): who kept the encrypted file has nothing then. Nothing here
//! reads a clock, and the journal's own bound does not count these files.

mod format;

use crate::openings::{Places, absent, epochs_in, fresh_key, sync_dir};
use crate::place;
use format::{Head, Lid};
use nooterra_protocol::codec::Digest;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::WallMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// What each takes by end and number, the first to end first.
    sizes: BTreeMap<(WallMillis, u64), u64>,
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
    /// Opens the folder, or makes it. What ended before `now` goes at once, as does what is
    /// beyond the bound, a key without a picture, and a picture whose key is gone. Called under
    /// the journal's lock.
    pub(crate) fn open(at: &FramesAt, now: WallMillis) -> Result<Self, FramesError> {
        let FramesAt { dir, most_bytes } = at;
        let places = Places::of(dir);
        let kept = Mutex::default();
        let frames = Self { kept, most_bytes: *most_bytes, places };
        let fault = |source| FramesError::Disk { path: dir.clone(), source };
        if *most_bytes == 0 && !dir.exists() {
            return Ok(frames);
        }
        frames.take_stock().map_err(fault)?;
        frames.make_room(&mut frames.lock(), 0)?;
        frames.tidy(now)?;
        Ok(frames)
    }

    /// Looks at what is there.
    fn take_stock(&self) -> io::Result<()> {
        let dir = &self.places.sealed;
        fs::create_dir_all(place::parent(dir))?;
        self.places.make()?;
        let mut keys = epochs_in(&self.places.keys)?;
        let mut kept = self.lock();
        let mut plain = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(key) = key(name) {
                if keys.remove(&key.1) {
                    let size = takes(entry.metadata()?.len());
                    kept.bytes += size;
                    kept.sizes.insert(key, size);
                } else {
                    // Nobody can ever read it.
                    absent(fs::remove_file(entry.path()))?;
                }
            } else if let Some(named) = plain_key(name) {
                plain.push((named, entry));
            } else if name == PART {
                absent(fs::remove_file(entry.path()))?;
            }
            // What has another name is nobody's of ours.
        }
        self.places.destroy(&keys)?;
        // An agent before this one kept them as they were.
        for ((until, digest), entry) in plain {
            let at = entry.metadata()?.modified().ok();
            let at = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let at = at.and_then(|at| i64::try_from(at.as_millis()).ok());
            let bytes = fs::read(entry.path())?;
            if Digest::of(&bytes) == digest {
                let head = Head { at: WallMillis(at.unwrap_or(0)), job: None, sha256: digest };
                self.write(&mut kept, &head, until, &bytes).map_err(|(_, error)| error)?;
            }
            absent(fs::remove_file(entry.path()))?;
        }
        Ok(())
    }

    /// Keeps a picture that was taken `now` until its end, and returns its hash. It is on the
    /// disk then, encrypted. Others that end sooner may go for it.
    ///
    /// # Errors
    /// [`FramesError`]; the picture is not kept then.
    pub fn keep(
        &self,
        bytes: &[u8],
        job: Option<&JobId>,
        until: WallMillis,
        now: WallMillis,
    ) -> Result<Digest, FramesError> {
        let most = self.most_bytes;
        let head = Head { at: now, job: job.cloned(), sha256: Digest::of(bytes) };
        let size = takes((format::overhead(&head) + bytes.len()) as u64);
        if size > most {
            return Err(FramesError::TooLarge { bytes: size, most });
        }
        self.tidy(now)?;
        let mut kept = self.lock();
        self.make_room(&mut kept, size)?;
        self.write(&mut kept, &head, until, bytes)
            .map_err(|(path, source)| FramesError::Disk { path, source })?;
        Ok(head.sha256)
    }

    /// Writes a picture under a new number and a key of its own.
    fn write(
        &self,
        kept: &mut Kept,
        head: &Head,
        until: WallMillis,
        bytes: &[u8],
    ) -> Result<(), (PathBuf, io::Error)> {
        let dir = &self.places.sealed;
        let mut number = [0; 8];
        let random = |error: getrandom::Error| (dir.clone(), io::Error::other(error.to_string()));
        // By chance, so that no list of what is to go ever names a later picture.
        getrandom::fill(&mut number).map_err(random)?;
        let number = u64::from_be_bytes(number);
        let (path, part) = (self.path((until, number)), dir.join(PART));
        let done = fresh_key(&self.places, number).and_then(|key| {
            let sealed = Lid { number, until }.seal(&key, head, bytes);
            write(&part, &sealed)?;
            fs::rename(&part, &path)?;
            sync_dir(dir)?;
            Ok(takes(sealed.len() as u64))
        });
        let size = done.map_err(|error| {
            // A disk that is full: what is left of it now, the next start removes.
            let _ = self.places.shred_key(number);
            (path, error)
        })?;
        kept.bytes += size;
        kept.sizes.insert((until, number), size);
        Ok(())
    }

    /// The picture of that hash, where it is still kept and undamaged. Looks through all of them.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Vec<u8>> {
        let keys: Vec<_> = self.lock().sizes.keys().copied().collect();
        keys.into_iter().find_map(|key| read(&self.places, key, |head| head.sha256 == digest)?.1)
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

    /// Removes what has come to its end.
    ///
    /// # Errors
    /// [`FramesError::Disk`]; it is tried again at the next call.
    pub fn tidy(&self, now: WallMillis) -> Result<(), FramesError> {
        let mut kept = self.lock();
        while let Some((until, _)) = kept.sizes.first_key_value().map(|(key, _)| *key)
            && until <= now
        {
            self.remove_first(&mut kept)?;
        }
        Ok(())
    }

    /// What the pictures say of themselves; those that cannot be read are passed over.
    pub(crate) fn heads(&self) -> Vec<Looked> {
        let keys: Vec<_> = self.lock().sizes.keys().copied().collect();
        let looked =
            |key: (WallMillis, u64)| Some(Looked { head: head(&self.places, key)?, number: key.1 });
        keys.into_iter().filter_map(looked).collect()
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
            kept.sizes.keys().filter(|(_, number)| numbers.contains(number)).copied().collect();
        for key in gone {
            absent(fs::remove_file(self.path(key)))?;
            let size = kept.sizes.remove(&key).unwrap_or(0);
            kept.bytes = kept.bytes.saturating_sub(size);
        }
        absent(sync_dir(&self.places.sealed))
    }

    fn make_room(&self, kept: &mut Kept, size: u64) -> Result<(), FramesError> {
        while kept.bytes.saturating_add(size) > self.most_bytes && !kept.sizes.is_empty() {
            self.remove_first(kept)?;
        }
        Ok(())
    }

    /// The key is overwritten on the disk. That both files are gone need not be: a picture that a
    /// power cut brings back has no key, and goes at its end at the latest.
    fn remove_first(&self, kept: &mut Kept) -> Result<(), FramesError> {
        let Some((key, size)) = kept.sizes.first_key_value().map(|(key, size)| (*key, *size))
        else {
            return Ok(());
        };
        let path = self.path(key);
        let removed = self.places.shred_key(key.1).and_then(|()| absent(fs::remove_file(&path)));
        removed.map_err(|source| FramesError::Disk { path, source })?;
        kept.sizes.remove(&key);
        kept.bytes = kept.bytes.saturating_sub(size);
        Ok(())
    }

    fn path(&self, key: (WallMillis, u64)) -> PathBuf {
        path(&self.places, key)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The picture of that hash among those in `dir`, for whoever may read their keys. Changes
/// nothing; works beside a running agent. `None` when it is not kept, or no longer.
///
/// # Errors
/// [`FramesError::Disk`] when the folder is there and cannot be read.
pub fn read_picture(dir: &Path, digest: Digest) -> Result<Option<Vec<u8>>, FramesError> {
    let places = Places::of(dir);
    let keys = keys_in(&places)?;
    Ok(keys.into_iter().find_map(|key| read(&places, key, |head| head.sha256 == digest)?.1))
}

/// What the pictures in `dir` say of themselves, beside a running agent.
pub(crate) fn heads_in(dir: &Path) -> Result<Vec<Looked>, FramesError> {
    let places = Places::of(dir);
    let looked = |key: (WallMillis, u64)| Some(Looked { head: head(&places, key)?, number: key.1 });
    Ok(keys_in(&places)?.into_iter().filter_map(looked).collect())
}

fn keys_in(places: &Places) -> Result<Vec<(WallMillis, u64)>, FramesError> {
    let fault = |source| FramesError::Disk { path: places.sealed.clone(), source };
    let entries = match fs::read_dir(&places.sealed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fault)?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        keys.extend(entry.map_err(fault)?.file_name().to_str().and_then(key));
    }
    Ok(keys)
}

/// What a file of so many bytes takes, with its key.
const fn takes(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_add(1).saturating_mul(PAGE)
}

fn path(places: &Places, (until, number): (WallMillis, u64)) -> PathBuf {
    places.sealed.join(format!("{:016x}-{number:016x}{SUFFIX}", until.0))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn head(places: &Places, key: (WallMillis, u64)) -> Option<Head> {
    read(places, key, |_| false).map(|(head, _)| head)
}

/// Reads a picture's head, and its pixels where they are `wanted` and undamaged.
fn read(
    places: &Places,
    (until, number): (WallMillis, u64),
    wanted: impl FnOnce(&Head) -> bool,
) -> Option<(Head, Option<Vec<u8>>)> {
    let key = places.read_key(number).ok()??;
    let file = File::open(path(places, (until, number))).ok()?;
    Lid { number, until }.open(&key, file, wanted)
}

/// Reads a name back.
fn key(name: &str) -> Option<(WallMillis, u64)> {
    let (until, number) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let hex = |text: &str| match text.len() {
        16 => u64::from_str_radix(text, 16).ok(),
        _ => None,
    };
    Some((WallMillis(hex(until)?.cast_signed()), hex(number)?))
}

/// Reads the name of one that an earlier agent kept in the clear.
fn plain_key(name: &str) -> Option<(WallMillis, Digest)> {
    let (until, digest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let until = (until.len() == 16).then(|| u64::from_str_radix(until, 16).ok())??;
    Some((WallMillis(until.cast_signed()), Digest::from_hex(digest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> WallMillis {
        WallMillis(ms)
    }

    fn open(dir: &Path, most_bytes: u64, now: i64) -> Frames {
        Frames::open(&FramesAt { dir: dir.join("frames"), most_bytes }, at(now)).unwrap()
    }

    fn names(dir: &Path, folder: &str) -> Vec<PathBuf> {
        fs::read_dir(dir.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_picture_is_found_by_its_hash_until_its_end_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let digest = frames.keep(b"picture", None, at(100), at(0)).unwrap();
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
    fn nothing_of_a_picture_is_readable_without_its_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let secret = b"somebody is at the door".repeat(400);
        let job = JobId::new("job_of_somebody").unwrap();
        let digest = frames.keep(&secret, Some(&job), at(100), at(0)).unwrap();
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
        frames.keep(b"another", None, at(100), at(0)).unwrap();
        let other = names(dir.path(), "frames.keys").into_iter().find(|path| path != key).unwrap();
        fs::copy(&other, key).unwrap();
        assert_eq!(frames.find(digest), None);
        fs::write(key, whole).unwrap();
        assert!(frames.find(digest).is_some());
        let later = path(
            &frames.places,
            (at(900), super::key(file.file_name().unwrap().to_str().unwrap()).unwrap().1),
        );
        fs::rename(file, later).unwrap();
        assert_eq!(open(dir.path(), 1 << 20, 0).find(digest), None);
    }

    #[test]
    fn what_ends_first_makes_room_and_nothing_goes_beyond_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 3 * 8192, 0);
        let [late, soon, middle] =
            [(1, 300), (2, 100), (3, 200)].map(|(byte, until): (u8, i64)| {
                frames.keep(&[byte; 10], None, at(until), at(0)).unwrap()
            });
        // Two pages, and one for its key.
        frames.keep(&[4; 5000], None, at(400), at(0)).unwrap();
        assert!(frames.find(soon).is_none() && frames.find(middle).is_none());
        assert!(frames.find(late).is_some());
        assert_eq!(frames.size(), (2, 5 * 4096));
        assert_eq!(names(dir.path(), "frames.keys").len(), 2);
        assert!(matches!(
            frames.keep(&[5; 25_000], None, at(400), at(0)),
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
        let digest = frames.keep(b"picture", None, at(100), at(0)).unwrap();
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
        let stays = frames.keep(b"stays", None, at(100), at(0)).unwrap();
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

    #[test]
    fn what_an_earlier_agent_kept_in_the_clear_is_encrypted_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, digest) = (dir.path().join("frames"), Digest::of(b"picture"));
        fs::create_dir(&folder).unwrap();
        let name = |digest| folder.join(format!("{:016x}-{digest}.frame", 100));
        fs::write(name(digest), b"picture").unwrap();
        fs::write(name(Digest::of(b"another")), b"damaged").unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        assert_eq!(frames.find(digest).as_deref(), Some(&b"picture"[..]));
        assert_eq!(frames.size().0, 1);
        let files = names(dir.path(), "frames");
        assert!(!fs::read(&files[0]).unwrap().windows(7).any(|part| part == b"picture"));
        frames.tidy(at(100)).unwrap();
        assert_eq!(frames.size(), (0, 0), "its end is what it was");
    }

    #[test]
    fn a_picture_that_is_destroyed_cannot_be_read_from_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let frames = open(dir.path(), 1 << 20, 0);
        let [goes, stays] =
            [b"goes ", b"stays"].map(|bytes| frames.keep(bytes, None, at(100), at(0)).unwrap());
        let looked = frames.heads();
        let number = looked.iter().find(|it| it.head.sha256 == goes).unwrap().number;
        let path = frames.path((at(100), number));
        let copy = fs::read(&path).unwrap();
        frames.destroy(&[number, 77].into()).unwrap();
        assert_eq!(frames.size(), (1, 8192));
        fs::write(&path, copy).unwrap();
        assert!(frames.find(goes).is_none() && frames.find(stays).is_some());
        assert_eq!(read_picture(&dir.path().join("frames"), goes).unwrap(), None);
    }
}
