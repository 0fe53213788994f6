//! What can still be read of a damaged journal, as a journal of its own. The damaged one is not
//! touched, and need not be one that anything else would open.

use crate::image::Image;
use crate::log;
use crate::place::{self, Found, STORE_DIR};
use crate::rebuild::{Filled, fill};
use crate::verify::VerifyError;
use crate::{OpenError, journal};
use nooterra_protocol::ids::JournalId;
use nooterra_protocol::keys::VerifyingKey;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What was salvaged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Salvaged {
    /// How the journal ended is not known: records may be missing after the last one, and
    /// nobody can say how many.
    pub end_is_unknown: bool,
    /// Which journal, by its own file or by a checkpoint in it.
    pub journal: JournalId,
    /// First and last of the records that are known to be missing.
    pub missing: Vec<(u64, u64)>,
    /// What the reader of the store had to say.
    pub notes: Vec<String>,
    /// Records that stand as leaf hashes, or whose beginning is gone, because they were pruned.
    pub pruned: u64,
    /// Records that are there.
    pub records: u64,
}

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// No block of a journal is in any of the files.
    #[error("{path} holds no block of a journal", path = .0.display())]
    Nothing(PathBuf),
    /// Something stands where the new journal would.
    #[error("{path} is there already; name a directory that is not", path = .0.display())]
    Occupied(PathBuf),
    /// The new journal cannot be made.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Nothing can be read.
    #[error("{0}")]
    Unreadable(#[from] VerifyError),
}

/// Scans what is at `from` (a journal, its store, a single file, or a directory of files that
/// were recovered) for blocks, and makes a journal in `to` of all that can be read. With the
/// device key, statements about pruned records and the journal's name count only when signed.
///
/// # Errors
/// [`SalvageError`].
pub fn salvage(
    from: &Path,
    to: &Path,
    key: Option<&VerifyingKey>,
) -> Result<Salvaged, SalvageError> {
    match place::find(to)? {
        Found::Nothing => {}
        _ => return Err(SalvageError::Occupied(to.to_owned())),
    }
    let (dir, _staged) = stage(from, to)?;
    let id = match place::find(&dir)? {
        Found::Journal(id) => Some(id),
        _ => None,
    };
    let image = Image::elsewhere(&dir, to)?;
    let notes = image.notes.clone();
    let new = place::begin(to)?;
    // Whatever happens, nothing half-made is left beside what was asked for.
    let unfinished = Unfinished(new.clone());
    let why = "salvaged from a damaged journal";
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let filled = fill(&new, image, id, &name, why, key, &journal::new_id)?;
    let Some(filled) = filled else {
        return Err(SalvageError::Nothing(from.to_owned()));
    };
    place::finish(to, &new, &filled.id)?;
    place::resume(to)?;
    drop(unfinished);
    let Filled { id, holes, pruned, records } = filled;
    let known = holes.known_to;
    let spans = holes.spans.iter().filter(|span| span.first <= known);
    Ok(Salvaged {
        end_is_unknown: holes.spans.last().is_some_and(|span| span.last > known),
        journal: id,
        missing: spans.map(|span| (span.first, span.last.min(known))).collect(),
        notes,
        pruned,
        records,
    })
}

/// Removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it was finished it is not there any more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A directory that looks like a journal: `from` itself, or a copy beside `to` of what is there.
fn stage(from: &Path, to: &Path) -> Result<(PathBuf, Option<TempDir>), SalvageError> {
    let at = |path: &Path, source| VerifyError::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(from).map_err(|error| at(from, error))?;
    if metadata.is_dir() && place::holds_a_store(from) {
        return Ok((from.to_owned(), None));
    }
    let dir = crate::image::temp_dir(to).map_err(|error| at(to, error))?;
    let store = dir.path().join(STORE_DIR);
    std::fs::create_dir(&store).map_err(|error| at(&store, error))?;
    let mut files = if metadata.is_dir() { files_in(from)? } else { vec![from.to_owned()] };
    files.sort();
    // Whatever they were: a segment says its own number, where its beginning is there.
    for (number, file) in (1..).zip(files) {
        let staged = store.join(log::name(number));
        std::fs::copy(&file, &staged).map_err(|error| at(&file, error))?;
    }
    Ok((dir.path().to_owned(), Some(dir)))
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let at = |source| VerifyError::Io { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        if entry.file_type().map_err(at)?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}
