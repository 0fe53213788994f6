//! Where compiled code is kept on this robot, and the key that only this robot has.

use super::{InstallError, Installed, broken};
use crate::files;
use nooterra_skill_host::CompiledCode;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tracing::warn;

/// 32 random bytes. They are in no backup that is made of configuration and journal alone, and
/// are worth none: what they authenticate is made anew.
const KEY: &str = "compiled.key";

impl Installed {
    /// The folder of compiled code, at most so many MiB of it; none for 0. A key that is missing,
    /// damaged or open to others is replaced, and with it everything that is there.
    ///
    /// # Errors
    /// [`InstallError`]: there is no such folder, and skills are compiled at each start.
    pub fn compiled_code(&self, most_mib: u32) -> Result<Option<CompiledCode>, InstallError> {
        if most_mib == 0 {
            return Ok(None);
        }
        let _lock = self.lock()?;
        let path = self.dir.join(KEY);
        let key = match key(&path) {
            Ok(key) => key,
            Err(why) => {
                if let Some(why) = why {
                    warn!(path = %path.display(), why, "a new key for compiled code is made");
                }
                let mut key = [0; 32];
                getrandom::fill(&mut key)
                    .map_err(|error| broken(&path, io::Error::other(error)))?;
                files::write_whole(&path, &key, 0o600).map_err(|source| broken(&path, source))?;
                key
            }
        };
        let dir = self.dir.join("compiled");
        Ok(Some(CompiledCode::new(dir, key, u64::from(most_mib) << 20)))
    }
}

/// The key, or why the one that is there is not to be used; `None` where there is none.
fn key(path: &Path) -> Result<[u8; 32], Option<String>> {
    let read = || Ok((std::fs::metadata(path)?.permissions().mode(), std::fs::read(path)?));
    let (mode, bytes) = read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => None,
        _ => Some(error.to_string()),
    })?;
    if mode & 0o077 != 0 {
        return Err(Some(format!("others may read it or write it: mode {:o}", mode & 0o777)));
    }
    let length = bytes.len();
    bytes.try_into().map_err(|_| Some(format!("it has {length} bytes and not 32")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_the_same_unless_it_is_damaged_or_open_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let installed = Installed::new(dir.path().join("skills"));
        assert!(installed.compiled_code(0).unwrap().is_none());
        let path = installed.dir().join(KEY);
        assert!(!path.exists(), "no folder, no key");
        let key = || {
            assert!(installed.compiled_code(1).unwrap().is_some());
            std::fs::read(&path).unwrap()
        };
        let first = key();
        assert_eq!((first.len(), key()), (32, first.clone()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let second = key();
        assert_ne!(second, first);
        std::fs::write(&path, b"short").unwrap();
        assert_ne!(key(), second);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
