//! The fields of one record. No length is believed before it is seen to lie within the record.

use super::damaged;
use std::io;

/// What was not read yet of a record.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let parts = self.0.split_first_chunk();
        let (bytes, rest) = parts.ok_or_else(|| damaged("a record ends before its last field"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A part that is preceded by its length.
    pub(super) fn part(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(u32::from_le_bytes(self.bytes()?));
        let parts = length.ok().and_then(|length| self.0.split_at_checked(length));
        let (part, rest) = parts.ok_or_else(|| damaged("a field is longer than its record"))?;
        self.0 = rest;
        Ok(part)
    }

    pub(super) fn end(&self) -> io::Result<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(damaged("a record goes on behind its last field")),
        }
    }
}
