//! Reading openings from outside, while the journal may be in use.

use super::erase::{Erased, Erasure, Shown, preview};
use super::format::{Cipher, Frames, Header, Kept};
use super::{Places, epochs_in};
use crate::frames;
use crate::place::{self, Found};
use crate::verify::{TailFrom, VerifyError, tail};
use nooterra_evidence::absence::Statement as _;
use nooterra_evidence::{Erase, Openings};
use nooterra_protocol::ids::JournalId;
use std::fs;
use std::io;
use std::path::Path;

/// The openings of a journal.
#[derive(Clone, Debug)]
pub struct ReadOpenings {
    /// What could not be read, and why.
    pub notes: Vec<String>,
    /// What could.
    pub openings: Openings,
}

/// A file of openings, decrypted.
pub(crate) struct Opened {
    pub(crate) header: Header,
    pub(crate) kept: Vec<Kept>,
}

/// All files of a journal.
#[derive(Default)]
pub(crate) struct Looked {
    pub(crate) files: Vec<Opened>,
    pub(crate) notes: Vec<String>,
}

impl ReadOpenings {
    /// Adds what the journal in `dir` says of openings that were erased, so that they can be told
    /// from those that are withheld. Reads all of it, from a copy.
    ///
    /// # Errors
    /// [`VerifyError`] when there is no journal to read.
    pub fn with_erased(mut self, dir: &Path) -> Result<Self, VerifyError> {
        for found in tail(dir, TailFrom::Seq(1))? {
            if let Ok(record) = found.record
                && record.kind == Erase::KIND
                && let Ok(erase) = Erase::read(&record.body, None)
            {
                self.openings.add_erased(record.seq, erase);
            }
        }
        Ok(self)
    }
}

/// Reads all openings of the journal in `dir` for which the keys are there. For whoever may read
/// the keys; what somebody else is shown is chosen from it.
///
/// # Errors
/// [`VerifyError`] when there is no journal, or its openings may not be read. Openings that are
/// damaged are no error: each is named in the notes.
pub fn read_openings(dir: &Path) -> Result<ReadOpenings, VerifyError> {
    let journal = journal_id(dir)?;
    let looked = look_at(dir, &journal)?;
    let mut openings = Openings::new(journal);
    for kept in looked.files.into_iter().flat_map(|file| file.kept) {
        openings.add(kept.opening);
    }
    Ok(ReadOpenings { notes: looked.notes, openings })
}

/// What an erasing would take from the journal in `dir`, and of the pictures in `frames`; nothing
/// is changed. Where there are pictures, it reads all of the journal, from a copy.
///
/// # Errors
/// As [`read_openings`].
pub fn erasable(
    dir: &Path,
    frames: Option<&Path>,
    erasure: &Erasure,
) -> Result<Erased, VerifyError> {
    let looked = look_at(dir, &journal_id(dir)?)?;
    let pictures = frames.map_or_else(|| Ok(Vec::new()), frames::heads_in);
    let pictures = pictures.map_err(|error| VerifyError::Unreadable(error.to_string()))?;
    let mut shown = Shown::default();
    if !pictures.is_empty() {
        for found in tail(dir, TailFrom::Seq(1))? {
            // One that cannot be read names no picture.
            found.record.iter().for_each(|record| shown.add(record));
        }
    }
    Ok(preview(&looked, &pictures, &shown, erasure))
}

fn journal_id(dir: &Path) -> Result<JournalId, VerifyError> {
    match place::find(dir) {
        Ok(Found::Journal(id)) => Ok(id),
        Ok(Found::Damaged(why)) => Err(VerifyError::Unreadable(why)),
        Ok(Found::Foreign | Found::Nothing) => Err(VerifyError::NotAJournal(dir.to_owned())),
        Err(error) => Err(VerifyError::Unreadable(error.to_string())),
    }
}

fn look_at(dir: &Path, journal: &JournalId) -> Result<Looked, VerifyError> {
    let places = Places::of_journal(dir);
    look(&places, journal).map_err(|source| VerifyError::Io { path: places.sealed, source })
}

/// Decrypts all files of a journal.
pub(crate) fn look(places: &Places, journal: &JournalId) -> io::Result<Looked> {
    let mut looked = Looked::default();
    for epoch in epochs_in(&places.sealed)? {
        let path = places.sealed(epoch);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Pruned or erased meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut note = |why: String| looked.notes.push(format!("{}: {why}", path.display()));
        let header = Header::read(&bytes).filter(|header| header.epoch == epoch);
        let Some(header) = header else {
            note("its header is damaged".to_owned());
            continue;
        };
        if header.journal != *journal {
            continue;
        }
        let Some(key) = places.read_key(epoch)? else {
            note("there is no key for it".to_owned());
            continue;
        };
        let (cipher, frames) = (Cipher::new(&key, &header), Frames::of(&header, &bytes));
        for (from, to) in &frames.damaged {
            note(format!("bytes {from} to {to} are damaged"));
        }
        if frames.torn > 0 {
            note(format!("its last {} bytes are torn, as a crash leaves them", frames.torn));
        }
        let mut kept = Vec::new();
        for frame in &frames.frames {
            match cipher.open(frame) {
                Some(opened) => kept.extend(opened),
                None => note(format!(
                    "what opens records {} to {} was altered, or its key was",
                    frame.first_seq, frame.last_seq
                )),
            }
        }
        looked.files.push(Opened { header, kept });
    }
    Ok(looked)
}
