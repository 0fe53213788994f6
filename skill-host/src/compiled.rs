//! Compiled code kept on the disk, so that a skill starts without being compiled again.
//!
//! Loading compiled code is running it: nothing in it is checked by the engine. So an entry is
//! used only where its authentication, with a key that never leaves this robot, holds over the
//! very bytes that are loaded, and where it was made from this component by this engine: the
//! release of wasmtime, its settings, the processor's features. Whatever else is found there was
//! changed, cut short, or brought from elsewhere; it is never loaded, the component is compiled
//! again, and the host says so ([`crate::Host::take_recompiled`]).
//!
//! ```text
//! COMPONENT.code or COMPONENT.fuel.code    named by SHA-256 of the component
//!   0    8  "NOOTCC01"
//!   8   32  HMAC-SHA-256 of the component's hash and all that follows
//!  40   32  SHA-256 of what the engine compiles with
//!  72    -  the code, as wasmtime serialises it
//! ```
//! The folder is bounded: where a new entry does not fit, the oldest go.

use hmac::{Hmac, KeyInit as _, Mac as _};
use nooterra_protocol::codec::Digest;
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::Engine;
use wasmtime::component::Component;

/// An entry begins with it; another number is another format.
const MAGIC: &[u8; 8] = b"NOOTCC01";

const TAG: std::ops::Range<usize> = 8..40;
const ENGINE: std::ops::Range<usize> = 40..72;

/// The largest entry that is read, bytes: native code is a few times as large as the component
/// that it is made of, and a bundle has at most 32 MiB.
const MAX_ENTRY_BYTES: u64 = 256 * 1024 * 1024;

const SUFFIX: &str = "code";

/// A folder of compiled code that only this robot can have written.
pub struct CompiledCode {
    dir: PathBuf,
    key: [u8; 32],
    most_bytes: u64,
}

impl fmt::Debug for CompiledCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, most_bytes, .. } = self;
        let mut it = f.debug_struct("CompiledCode");
        it.field("dir", dir).field("most_bytes", most_bytes).finish_non_exhaustive()
    }
}

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// Shorter than its head, or does not begin as one.
    #[error("it is cut short or no compiled code of ours")]
    Cut,
    /// Its authentication is right and the engine says no.
    #[error("the engine does not take it: {0}")]
    Engine(String),
    /// By another robot, changed, damaged, or of another component.
    #[error("it was not made by this robot for this component, or changed since")]
    Foreign,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Another wasmtime, other settings, or another processor.
    #[error("it was made by another release, with other settings or for another processor")]
    Stale,
}

impl CompiledCode {
    /// In `dir`, at most `most_bytes` of it. `key` is the robot's own: whoever knows it can have
    /// any code run in the agent's process.
    #[must_use]
    pub const fn new(dir: PathBuf, key: [u8; 32], most_bytes: u64) -> Self {
        Self { dir, key, most_bytes }
    }

    /// The code of a component for this engine.
    #[allow(unsafe_code)]
    pub(crate) fn load(
        &self,
        engine: &Engine,
        component: Digest,
        fuel: bool,
    ) -> Result<Component, Unusable> {
        let entry = read(&self.path(component, fuel))?;
        if entry.len() < ENGINE.end || !entry.starts_with(MAGIC) {
            return Err(Unusable::Cut);
        }
        let tag = self.tag(component, &entry[TAG.end..]);
        tag.verify_slice(&entry[TAG]).map_err(|_| Unusable::Foreign)?;
        if entry[ENGINE] != engine_id(engine) {
            return Err(Unusable::Stale);
        }
        // SAFETY: these bytes, which nobody else can change any more, are what `Component::serialize`
        // gave `store` in a process of this robot: the tag above was made with the robot's key over
        // all of them. They come from an engine that compiles as this one does; wasmtime checks
        // that once more.
        let loaded = unsafe { Component::deserialize(engine, &entry[ENGINE.end..]) };
        loaded.map_err(|error| Unusable::Engine(format!("{error:#}")))
    }

    /// Keeps the code of a component. One that is larger than the whole folder may be is not kept.
    pub(crate) fn store(
        &self,
        engine: &Engine,
        component: Digest,
        fuel: bool,
        compiled: &Component,
    ) -> io::Result<()> {
        let code = compiled.serialize().map_err(|error| io::Error::other(format!("{error:#}")))?;
        let mut entry = Vec::with_capacity(ENGINE.end + code.len());
        entry.extend_from_slice(MAGIC);
        entry.resize(TAG.end, 0);
        entry.extend_from_slice(&engine_id(engine));
        entry.extend_from_slice(&code);
        let tag = self.tag(component, &entry[TAG.end..]).finalize().into_bytes();
        entry[TAG].copy_from_slice(&tag);
        if entry.len() as u64 > self.most_bytes {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.path(component, fuel);
        self.make_room(&path, entry.len() as u64)?;
        // Not synced: an entry that a power cut tears is compiled again.
        let new = self.dir.join("new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&entry)?;
        drop(file);
        std::fs::rename(&new, &path)
    }

    fn tag(&self, component: Digest, rest: &[u8]) -> Hmac<Sha256> {
        // A key of a whole block: HMAC fills up a shorter one with zeros itself.
        let mut block = [0; 64];
        block[..self.key.len()].copy_from_slice(&self.key);
        let mut tag = Hmac::<Sha256>::new(&block.into());
        tag.update(component.as_bytes());
        tag.update(rest);
        tag
    }

    fn path(&self, component: Digest, fuel: bool) -> PathBuf {
        let fuel = if fuel { "fuel." } else { "" };
        self.dir.join(format!("{component}.{fuel}{SUFFIX}"))
    }

    /// Removes the oldest entries until so many bytes fit beside what stays. What is at `path` is
    /// about to be replaced.
    fn make_room(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut entries: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let (found, about) = (entry.path(), entry.metadata()?);
            let is_code = found.extension() == Some(OsStr::new(SUFFIX));
            if is_code && about.is_file() && found != path {
                entries.push((about.modified()?, found, about.len()));
            }
        }
        entries.sort();
        let mut held: u64 = entries.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, oldest, size) in entries {
            if held.saturating_add(bytes) <= self.most_bytes {
                break;
            }
            std::fs::remove_file(oldest)?;
            held -= size;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Absent,
        _ => Unusable::Read(error),
    };
    // A pipe would block for ever; a link leads to bytes that fail the authentication.
    let about = std::fs::metadata(path).map_err(absent)?;
    if !about.is_file() {
        return Err(Unusable::Cut);
    }
    let mut entry =
        Vec::with_capacity(usize::try_from(about.len().min(MAX_ENTRY_BYTES)).unwrap_or(0));
    File::open(path).map_err(absent)?.take(MAX_ENTRY_BYTES).read_to_end(&mut entry)?;
    Ok(entry)
}

/// What an engine compiles with: the processor and its features, the compiler's flags, wasmtime's
/// release, all settings.
fn engine_id(engine: &Engine) -> [u8; 32] {
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// All 256 bits of a hash where the standard library's trait gives 64.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config;

    fn component(engine: &Engine, number: usize) -> (Digest, Component) {
        // With a function in it, so that there is code.
        let text = format!(
            r#"(component (core module $m (func (export "f") (result i32) i32.const {number}))
                (core instance $i (instantiate $m))
                (func (export "f") (result s32) (canon lift (core func $i "f"))))"#
        );
        let binary = wat::parse_str(text).unwrap();
        (Digest::of(&binary), Component::from_binary(engine, &binary).unwrap())
    }

    fn entries(dir: &Path) -> u64 {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn what_was_kept_is_loaded_by_the_same_robot_for_the_same_component_and_engine_only() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&config(false)).unwrap();
        let kept = |key| CompiledCode::new(dir.path().to_owned(), [key; 32], u64::MAX);
        let (digest, compiled) = component(&engine, 1);
        let ours = kept(1);
        assert!(matches!(ours.load(&engine, digest, false), Err(Unusable::Absent)));
        ours.store(&engine, digest, false, &compiled).unwrap();
        ours.load(&engine, digest, false).unwrap();
        assert!(matches!(kept(2).load(&engine, digest, false), Err(Unusable::Foreign)));
        let fuelled = Engine::new(&config(true)).unwrap();
        assert!(matches!(ours.load(&fuelled, digest, false), Err(Unusable::Stale)));
        // The code of another component under this one's name.
        let (other, compiled) = component(&engine, 2);
        ours.store(&engine, other, false, &compiled).unwrap();
        std::fs::copy(ours.path(other, false), ours.path(digest, false)).unwrap();
        assert!(matches!(ours.load(&engine, digest, false), Err(Unusable::Foreign)));
    }

    #[test]
    fn no_changed_or_shortened_entry_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&config(false)).unwrap();
        let ours = CompiledCode::new(dir.path().to_owned(), [1; 32], u64::MAX);
        let (digest, compiled) = component(&engine, 1);
        ours.store(&engine, digest, false, &compiled).unwrap();
        let path = ours.path(digest, false);
        let good = std::fs::read(&path).unwrap();
        let heads = 0..ENGINE.end + 64;
        for at in heads.chain((ENGINE.end..good.len()).step_by(97)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bad).unwrap();
            let found = ours.load(&engine, digest, false);
            assert!(matches!(found, Err(Unusable::Cut | Unusable::Foreign)), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            let found = ours.load(&engine, digest, false);
            assert!(matches!(found, Err(Unusable::Cut | Unusable::Foreign)), "{at} bytes");
        }
        std::fs::write(&path, &good).unwrap();
        ours.load(&engine, digest, false).unwrap();
    }

    #[test]
    fn the_oldest_entries_make_room_and_what_never_fits_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&config(false)).unwrap();
        let all = CompiledCode::new(dir.path().to_owned(), [1; 32], u64::MAX);
        let made: Vec<_> = (1..=4).map(|number| component(&engine, number)).collect();
        for (at, (digest, compiled)) in made[..3].iter().enumerate() {
            all.store(&engine, *digest, false, compiled).unwrap();
            let file = File::options().append(true).open(all.path(*digest, false)).unwrap();
            let age = std::time::Duration::from_secs(at as u64);
            file.set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
        }
        let most = entries(dir.path());
        let bounded = CompiledCode::new(dir.path().to_owned(), [1; 32], most);
        let (digest, compiled) = &made[3];
        bounded.store(&engine, *digest, false, compiled).unwrap();
        assert!(entries(dir.path()) <= most);
        let loads = |at: usize| bounded.load(&engine, made[at].0, false).is_ok();
        assert_eq!([loads(0), loads(1), loads(2), loads(3)], [false, true, true, true]);
        let tiny = CompiledCode::new(dir.path().to_owned(), [1; 32], 100);
        tiny.store(&engine, *digest, true, compiled).unwrap();
        assert!(matches!(tiny.load(&engine, *digest, true), Err(Unusable::Absent)));
    }
}
