//! Following a journal while an agent writes it: its file is read where it is, nothing is locked
//! and nothing is written.

use crate::block::Block;
use crate::image::{failed, store_dir};
use crate::scan::{Scan, segment_header};
use crate::store::{DB_FILE, SEGMENT_BYTES};
use crate::verify::{TailRecord, VerifyError, tail_records};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
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
    db: PathBuf,
    /// The newest segment that was read, by its place in the log.
    newest: Option<u64>,
    next: u64,
    waited: u32,
}

impl Follow {
    /// From record `next` on.
    ///
    /// # Errors
    /// [`VerifyError`] when there is no journal.
    pub fn new(dir: &Path, next: u64) -> Result<Self, VerifyError> {
        let db = store_dir(dir)?.join(DB_FILE);
        Ok(Self { db, newest: None, next: next.max(1), waited: 0 })
    }

    /// The records that have come since the last time, in order.
    ///
    /// # Errors
    /// [`VerifyError::Io`] when the file cannot be read.
    pub fn poll(&mut self) -> Result<Vec<TailRecord>, VerifyError> {
        let file = File::open(&self.db).map_err(failed(&self.db))?;
        let length = file.metadata().map_err(failed(&self.db))?.len();
        let mut found = Scan::default();
        let mut newest = self.newest;
        for base in (0..length).step_by(SEGMENT_BYTES) {
            let mut head = [0; 20];
            // A segment is written from its beginning; the last may not be there yet.
            if file.read_exact_at(&mut head, base).is_err() {
                continue;
            }
            let lsn = segment_header(&head).map(|(lsn, _)| lsn);
            // The one that was written to the last time, and every later one.
            if lsn.is_some_and(|lsn| self.newest.is_some_and(|newest| lsn < newest)) {
                continue;
            }
            let size = (length - base).min(SEGMENT_BYTES as u64);
            let mut segment = vec![0; usize::try_from(size).unwrap_or(SEGMENT_BYTES)];
            if file.read_exact_at(&mut segment, base).is_ok() {
                found.add_segment(&segment, base);
                newest = newest.max(lsn);
            }
        }
        found.sort();
        let records = self.take(&file, &found)?;
        // A record that is still missing may stand in a segment that was read.
        if self.waited == 0 {
            self.newest = newest;
        }
        Ok(records)
    }

    fn take(&mut self, file: &File, found: &Scan) -> Result<Vec<TailRecord>, VerifyError> {
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
            let mut bytes = vec![0; copy.length];
            file.read_exact_at(&mut bytes, copy.offset).map_err(failed(&self.db))?;
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
