//! Files that are whole or absent, whenever the power goes.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Writes a file so that after a power cut it holds the old bytes or the new ones: temporary
/// file, fsync, rename, fsync of the folder. `mode` is the permission bits, such as `0o600`.
///
/// # Errors
/// Whatever the file system says; the old file is then untouched.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // By the standard library, as the rest: what the tests record of a disk, they record there.
    let temporary = file.into_temp_path();
    std::fs::rename(&temporary, path)?;
    // Under its old name nothing is left to remove.
    let _ = temporary.keep();
    std::fs::File::open(folder)?.sync_all()
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
}
