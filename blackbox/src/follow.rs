//! Following a journal while an agent writes it: its file is read where it is, nothing is locked
//! and nothing is written.

use crate::block::Block;
use crate::image::{failed, store_dir};
use crate::log;
use crate::scan::{Files, Scan};
use crate::verify::{TailRecord, VerifyError, tail_records};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// How often a record may be missing while later ones are there, before it is given up: the
/// file is written while it is read.
const PATIENCE: u32 = 20;

/// A place in a journal that moves on as the journal grows.
///
/// What it gives was written, and may not be synced yet: a power cut can still take the last
/// of it. What has to be certain is asked of [`crate::verify()`].
#[derive(Debug)]
pub struct Follow {
    /// The number of the newest segment that was read.
    newest: u64,
    next: u64,
    store: PathBuf,
    waited: u32,
}

impl Follow {
    /// From record `next` on.
    ///
    /// # Errors
    /// [`VerifyError`] when there is no journal.
    pub fn new(dir: &Path, next: u64) -> Result<Self, VerifyError> {
        Ok(Self { newest: 0, next: next.max(1), store: store_dir(dir)?, waited: 0 })
    }

    /// The records that have come since the last time, in order.
    ///
    /// # Errors
    /// [`VerifyError::Io`] when the file cannot be read.
    pub fn poll(&mut self) -> Result<Vec<TailRecord>, VerifyError> {
        let (mut found, mut files) = (Scan::default(), Files::default());
        let mut newest = self.newest;
        let segments = log::segments(&self.store).map_err(failed(&self.store))?;
        // The one that was written to the last time, and every later one.
        for (number, path) in segments.into_iter().filter(|(number, _)| *number >= self.newest) {
            let file = match File::open(&path) {
                // Pruned since its name was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(failed(&path))?,
            };
            let added = found.add_file(&mut files, number, path.clone(), file);
            added.map_err(failed(&path))?;
            newest = number;
        }
        found.sort();
        let records = self.take(&files, &found)?;
        // A record that is still missing may stand in a segment that was read.
        if self.waited == 0 {
            self.newest = newest;
        }
        Ok(records)
    }

    fn take(&mut self, files: &Files, found: &Scan) -> Result<Vec<TailRecord>, VerifyError> {
        let mut records = Vec::new();
        loop {
            // The block with the next record in it, or the first one after it.
            let before = found.blocks.range(..=self.next).rev().take(2);
            let after = found.blocks.range(self.next..).take(1);
            let block = before.chain(after).find_map(|(_, copies)| {
                copies.iter().find(|copy| copy.intact && copy.last_seq >= self.next)
            });
            let Some(copy) = block else {
                self.waited = 0;
                return Ok(records);
            };
            let bytes = files.read(copy).map_err(failed(&self.store))?;
            let Ok(block) = Block::read(&bytes) else {
                // Overwritten since it was found; it is somewhere else the next time.
                return Ok(records);
            };
            if block.first_seq > self.next {
                if self.waited < PATIENCE {
                    self.waited += 1;
                    return Ok(records);
                }
                let why = Err("it is missing".to_owned());
                records.push(TailRecord { record: why, seq: block.first_seq - 1 });
                self.next = block.first_seq;
            }
            self.waited = 0;
            records.extend(tail_records(&block, &bytes, self.next));
            self.next = block.last_seq().saturating_add(1);
        }
    }
}
