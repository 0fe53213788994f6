//! Pictures that skills were given, by hash, in a folder of their own beside the journal.
//!
//! The journal says who was given which picture; here it lies as long as it may, at most up to a
//! bound on the disk, the next to expire goes first. A picture is whole or absent: it is written
//! under another name, synced, and renamed. Nothing here reads a clock, and the journal's own
//! bound does not count these files.

use nooterra_protocol::codec::Digest;
use nooterra_protocol::time::WallMillis;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The end of a picture's name; before it are the moment of its end and its hash.
const SUFFIX: &str = ".frame";

/// A picture that is being written.
const PART: &str = "new.part";

/// The pictures of one robot. One process at a time has them open.
#[derive(Debug)]
pub struct Frames {
    dir: PathBuf,
    kept: Mutex<Kept>,
    most_bytes: u64,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    /// Sizes by end and hash, the first to end first.
    sizes: BTreeMap<(WallMillis, Digest), u64>,
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
    #[error("a picture of {bytes} bytes, and {most} are kept in all; raise skills.frames_mib")]
    TooLarge {
        /// Of the picture.
        bytes: usize,
        /// The bound.
        most: u64,
    },
}

impl Frames {
    /// Opens the folder, or makes it. What ended before `now` goes at once, as does what is
    /// beyond the bound.
    ///
    /// # Errors
    /// [`FramesError::Disk`]
    pub fn open(dir: &Path, most_bytes: u64, now: WallMillis) -> Result<Self, FramesError> {
        let fault = |source| FramesError::Disk { path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fault)?;
        let mut kept = Kept::default();
        for entry in fs::read_dir(dir).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let size = entry.metadata().map_err(fault)?.len();
            // What has another name is nobody's of ours.
            if let Some(key) = entry.file_name().to_str().and_then(key) {
                kept.bytes += size;
                kept.sizes.insert(key, size);
            }
        }
        let frames = Self { dir: dir.to_owned(), kept: Mutex::new(kept), most_bytes };
        frames.make_room(&mut frames.lock(), 0)?;
        frames.tidy(now)?;
        Ok(frames)
    }

    /// Keeps a picture until its end, and returns its hash. It is on the disk then. Others that
    /// end sooner may go for it.
    ///
    /// # Errors
    /// [`FramesError`]; the picture is not kept then.
    pub fn keep(
        &self,
        bytes: &[u8],
        until: WallMillis,
        now: WallMillis,
    ) -> Result<Digest, FramesError> {
        let most = self.most_bytes;
        let size = bytes.len() as u64;
        if size > most {
            return Err(FramesError::TooLarge { bytes: bytes.len(), most });
        }
        self.tidy(now)?;
        let digest = Digest::of(bytes);
        let mut kept = self.lock();
        if kept.sizes.contains_key(&(until, digest)) {
            return Ok(digest);
        }
        self.make_room(&mut kept, size)?;
        let (part, path) = (self.dir.join(PART), self.path((until, digest)));
        let written = write(&part, bytes)
            .and_then(|()| fs::rename(&part, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        written.map_err(|source| FramesError::Disk { path, source })?;
        kept.bytes += size;
        kept.sizes.insert((until, digest), size);
        Ok(digest)
    }

    /// The picture of that hash, where it is still kept and undamaged.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Vec<u8>> {
        let key = self.lock().sizes.keys().find(|(_, kept)| *kept == digest).copied()?;
        let bytes = fs::read(self.path(key)).ok()?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    }

    /// How many there are, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        let kept = self.lock();
        (kept.sizes.len(), kept.bytes)
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

    fn make_room(&self, kept: &mut Kept, size: u64) -> Result<(), FramesError> {
        while kept.bytes.saturating_add(size) > self.most_bytes && !kept.sizes.is_empty() {
            self.remove_first(kept)?;
        }
        Ok(())
    }

    fn remove_first(&self, kept: &mut Kept) -> Result<(), FramesError> {
        let Some((key, size)) = kept.sizes.first_key_value().map(|(key, size)| (*key, *size))
        else {
            return Ok(());
        };
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(FramesError::Disk { path, source });
            }
            _ => {}
        }
        kept.sizes.remove(&key);
        kept.bytes = kept.bytes.saturating_sub(size);
        Ok(())
    }

    fn path(&self, (until, digest): (WallMillis, Digest)) -> PathBuf {
        self.dir.join(format!("{:016x}-{digest}{SUFFIX}", until.0))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a name back.
fn key(name: &str) -> Option<(WallMillis, Digest)> {
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

    #[test]
    fn a_picture_is_found_by_its_hash_until_its_end_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let frames = Frames::open(dir.path(), 1000, at(0)).unwrap();
        let digest = frames.keep(b"picture", at(100), at(0)).unwrap();
        assert_eq!(digest, Digest::of(b"picture"));
        assert_eq!(frames.keep(b"picture", at(100), at(0)).unwrap(), digest);
        assert_eq!(frames.size(), (1, 7), "once");
        drop(frames);
        let frames = Frames::open(dir.path(), 1000, at(50)).unwrap();
        assert_eq!(frames.find(digest).as_deref(), Some(&b"picture"[..]));
        frames.tidy(at(99)).unwrap();
        assert_eq!(frames.size(), (1, 7));
        frames.tidy(at(100)).unwrap();
        assert_eq!((frames.find(digest), frames.size()), (None, (0, 0)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_ends_first_makes_room_and_nothing_goes_beyond_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let frames = Frames::open(dir.path(), 30, at(0)).unwrap();
        let [late, soon, middle] = [(1, 300), (2, 100), (3, 200)]
            .map(|(byte, until): (u8, i64)| frames.keep(&[byte; 10], at(until), at(0)).unwrap());
        frames.keep(&[4; 15], at(400), at(0)).unwrap();
        assert!(frames.find(soon).is_none() && frames.find(middle).is_none());
        assert!(frames.find(late).is_some());
        assert_eq!(frames.size(), (2, 25));
        assert!(matches!(
            frames.keep(&[5; 31], at(400), at(0)),
            Err(FramesError::TooLarge { bytes: 31, most: 30 })
        ));
        drop(frames);
        // The owner makes the bound smaller.
        assert_eq!(Frames::open(dir.path(), 20, at(0)).unwrap().size(), (1, 15));
    }

    #[test]
    fn a_damaged_picture_is_none_and_a_strange_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["note.txt", "0-1.frame", "000000000000000g-00.frame", ".frame", PART] {
            fs::write(dir.path().join(name), b"strange").unwrap();
        }
        let frames = Frames::open(dir.path(), 1000, at(0)).unwrap();
        assert_eq!(frames.size(), (0, 0));
        let digest = frames.keep(b"picture", at(100), at(0)).unwrap();
        let path = frames.path((at(100), digest));
        fs::write(&path, b"Picture").unwrap();
        assert!(frames.find(digest).is_none());
        fs::remove_file(&path).unwrap();
        frames.tidy(at(100)).unwrap();
        assert_eq!(frames.size(), (0, 0), "what somebody else removed is no error");
        assert!(dir.path().join("note.txt").exists());
    }
}
