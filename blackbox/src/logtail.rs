//! The end of sled's log, as it is before sled opens it.
//!
//! Where sled finds a message that it cannot read in the last segments of its log, it takes it
//! for a write that a crash tore, and overwrites all that follows. A flipped bit looks the same,
//! and what follows may be states that were acknowledged. So these segments are read before it
//! opens the file: what it dropped is set again, or they are put back where the store is damaged.

use crate::scan::{SEGMENT_HEAD_BYTES, Scan, segment_header};
use crate::store::SEGMENT_BYTES;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// More segments than sled ever has in this state: its buffers are far fewer.
const MOST_SEGMENTS: usize = 8;

/// The last segments.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    /// Offset and bytes.
    segments: Vec<(u64, Vec<u8>)>,
}

impl LogTail {
    /// Reads them; none where there is no file.
    pub(crate) fn read(db: &Path) -> io::Result<Self> {
        let file = match File::open(db) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut found = Vec::new();
        let mut complete = 0;
        for offset in (0..length).step_by(SEGMENT_BYTES) {
            let mut head = [0; SEGMENT_HEAD_BYTES];
            if file.read_exact_at(&mut head, offset).is_ok()
                && let Some((lsn, stable)) = segment_header(&head)
            {
                found.push((lsn, offset));
                complete = stable.max(complete);
            }
        }
        // From the segment on in which the log was last known to be complete.
        found.retain(|(lsn, _)| lsn.saturating_add(SEGMENT_BYTES as u64) > complete);
        found.sort_unstable();
        found.truncate(MOST_SEGMENTS);
        let mut segments = Vec::with_capacity(found.len());
        for (_, offset) in found {
            let rest = usize::try_from(length - offset).unwrap_or(usize::MAX);
            let mut bytes = vec![0; rest.min(SEGMENT_BYTES)];
            file.read_exact_at(&mut bytes, offset)?;
            segments.push((offset, bytes));
        }
        Ok(Self { segments })
    }

    /// There is nothing to compare with.
    pub(crate) const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// What stands in them.
    pub(crate) fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        for (offset, bytes) in &self.segments {
            let lsn = segment_header(bytes).map_or(0, |(lsn, _)| lsn);
            scan.add(bytes, bytes.len(), 0, *offset, lsn);
        }
        scan
    }

    /// Puts them back, durably.
    pub(crate) fn restore(&self, db: &Path) -> io::Result<()> {
        let file = File::options().write(true).open(db)?;
        for (offset, bytes) in &self.segments {
            file.write_all_at(bytes, *offset)?;
        }
        file.sync_all()
    }
}
