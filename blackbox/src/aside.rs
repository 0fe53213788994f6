//! Journals that were put aside: they hold what could not be read, count against the disk, and
//! go one day.

use crate::place;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A damaged journal beside the one that took its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Aside {
    /// What it takes on the disk.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
    /// When it was put there, seconds since 1970 by the clock of that moment.
    pub since_s: i64,
}

impl Aside {
    /// Its name beside the journal, as a `loss` names it.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Removes it for good. Record that first.
    ///
    /// # Errors
    /// Whatever the file system says; it may be gone in part then, and is still an aside.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// What was put aside of the journal in `dir`, the first one first.
///
/// # Errors
/// Whatever the file system says.
pub fn asides(dir: &Path) -> io::Result<Vec<Aside>> {
    let mut found = Vec::new();
    let Some(prefix) = place::aside_prefix(dir) else {
        return Ok(Vec::new());
    };
    let folder = dir.parent().filter(|folder| !folder.as_os_str().is_empty());
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u32>().ok());
        if let Some(number) = number
            && entry.file_type()?.is_dir()
        {
            let (path, metadata) = (entry.path(), entry.metadata()?);
            // A rename changes no content, but it is a change.
            let aside = Aside { bytes: bytes_of(&path)?, path, since_s: metadata.ctime() };
            found.push((number, aside));
        }
    }
    found.sort_unstable_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, aside)| aside).collect())
}

fn bytes_of(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_of(&entry.path())?
        } else {
            // POSIX counts in blocks of 512 bytes, whatever the file system's are.
            metadata.blocks().saturating_mul(512)
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_is_found_by_its_number_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        for name in ["journal", "journal.bad-10", "journal.bad-2", "journal.bad-x", "other.bad-1"] {
            fs::create_dir_all(dir.path().join(name).join("store")).unwrap();
            fs::write(dir.path().join(name).join("store/db"), [7; 5000]).unwrap();
        }
        let found = asides(&journal).unwrap();
        let names: Vec<_> = found.iter().map(Aside::name).collect();
        assert_eq!(names, ["journal.bad-2", "journal.bad-10"]);
        assert!(found[0].bytes >= 5000 && found[0].since_s > 0);
        found[0].remove().unwrap();
        assert_eq!(asides(&journal).unwrap().len(), 1);
        assert_eq!(asides(&dir.path().join("none")).unwrap(), []);
    }
}
