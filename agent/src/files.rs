//! Files that are whole or absent, whenever the power goes.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

/// What a temporary file's name begins with, and how many letters and digits follow by chance.
const TEMPORARY: (&str, usize) = (".tmp", 6);

/// Writes a file so that after a power cut it holds the old bytes or the new ones: temporary
/// file, fsync, rename, fsync of the folder. `mode` is the permission bits, such as `0o600`.
///
/// # Errors
/// Whatever the file system says; the old file is then untouched.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut file = temporary_in(folder, mode)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // By the standard library, as the rest: what the tests record of a disk, they record there.
    let temporary = file.into_temp_path();
    std::fs::rename(&temporary, path)?;
    // Under its old name nothing is left to remove.
    let _ = temporary.keep();
    std::fs::File::open(folder)?.sync_all()
}

/// A temporary file that is moved to its place once it is written; a killed process leaves it to
/// [`sweep`].
pub(crate) fn temporary_in(folder: &Path, mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY.0)
        .rand_bytes(TEMPORARY.1)
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
}

/// Removes temporary files that nobody writes any more, and says how many: plain files under the
/// names that [`write_whole`] makes, that were last written `older` ago or more. Follows no link.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn sweep(folder: &Path, older: Duration) -> std::io::Result<u32> {
    let (prefix, letters) = TEMPORARY;
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours =
            name.to_str().and_then(|name| name.strip_prefix(prefix)).is_some_and(|rest| {
                rest.len() == letters && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
        if !is_ours {
            continue;
        }
        // Of the entry itself: what a link leads to is not asked.
        let Ok(metadata) = entry.metadata() else { continue };
        // One from the future was written before the clock was set back.
        let in_hand = metadata.modified()?.elapsed().is_ok_and(|age| age < older);
        if metadata.is_file() && !in_hand {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes a folder, and those above it, that only this user enters.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn private_dir(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_with_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_whole(&path, b"old", 0o644).unwrap();
        write_whole(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn what_a_kill_left_half_written_is_swept_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let strange = [".tmp", ".tmpabc", ".tmpabcdefg", ".tmpabc-12", "tmpabc123", "job.cbor"];
        for name in strange {
            std::fs::write(path(name), b"").unwrap();
        }
        // A link under our name, and a folder.
        std::os::unix::fs::symlink(path("job.cbor"), path(".tmpLINK01")).unwrap();
        std::fs::create_dir(path(".tmpDIRS01")).unwrap();
        std::fs::write(path(".tmpDIRS01/.tmpaaaaaa"), b"").unwrap();
        // As `write_whole` has it before it moves the file.
        let (_, killed) = temporary_in(dir.path(), 0o600).unwrap().keep().unwrap();
        assert_eq!(sweep(dir.path(), Duration::from_secs(3600)).unwrap(), 0, "somebody writes it");
        assert!(killed.exists());
        assert_eq!(sweep(dir.path(), Duration::ZERO).unwrap(), 1);
        assert!(!killed.exists());
        assert!(strange.iter().all(|name| path(name).exists()));
        assert!(path(".tmpLINK01").symlink_metadata().unwrap().is_symlink());
        assert!(path(".tmpDIRS01/.tmpaaaaaa").exists());
        // And that of a clock that was ahead.
        std::fs::write(path(".tmpzzzzzz"), b"").unwrap();
        let future = std::time::SystemTime::now() + Duration::from_secs(7200);
        std::fs::File::open(path(".tmpzzzzzz")).unwrap().set_modified(future).unwrap();
        assert_eq!(sweep(dir.path(), Duration::from_secs(3600)).unwrap(), 1);
    }
}
