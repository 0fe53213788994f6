//! An export as it lies on the disk: its attachment, and its messages one by one. Nothing is read
//! whole that grows with the journal.
//!
//! The outer records are walked through from the first to the last, and no index is believed: it
//! could lead past what another reader shows.

use super::EXCERPT;
use mcap::McapError;
use mcap::io::MessageReader;
use mcap::records::op;
use mcap::sans_io::LinearReaderOptions;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};

/// The largest message that is read; ours are some times as large as a record, which is 48 KiB or
/// little more.
const MOST_RECORD: usize = 1 << 22;

/// What stands before a record: what it is, and its length.
const HEAD_BYTES: usize = 9;

/// What a name may take, where it is kept.
const MOST_NAME: u32 = 256;

/// The file is an MCAP, and not an excerpt that stands by itself.
pub(super) fn is_mcap(file: &mut BufReader<File>) -> io::Result<bool> {
    let mut magic = [0; mcap::MAGIC.len()];
    let begins = file.read_exact(&mut magic);
    file.rewind()?;
    match begins {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        begins => begins.map(|()| magic == *mcap::MAGIC),
    }
}

/// What wrote the file, as it says.
pub(super) fn library(file: &mut BufReader<File>) -> io::Result<String> {
    file.seek(SeekFrom::Start(mcap::MAGIC.len() as u64))?;
    let (kind, _) = head(file)?;
    if kind != op::HEADER {
        return Err(damaged("it does not begin with a header"));
    }
    let _profile = text(file)?;
    text(file)
}

/// Where the data of an attachment is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attached {
    pub(super) length: u64,
    pub(super) offset: u64,
}

/// The attachments that are named [`EXCERPT`]; of more than two the first two.
pub(super) fn excerpts(file: &mut BufReader<File>) -> io::Result<Vec<Attached>> {
    let mut found = Vec::new();
    let mut at = mcap::MAGIC.len() as u64;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let (kind, length) = head(file)?;
        let begins = at + HEAD_BYTES as u64;
        at = begins.checked_add(length).ok_or_else(|| damaged("a record is too long"))?;
        match kind {
            op::FOOTER => return Ok(found),
            op::ATTACHMENT if found.len() < 2 => {
                // When it was made, and when it was added.
                let _times: [u8; 16] = bytes(file)?;
                let name = text(file)?;
                let _media_type = text(file)?;
                let length = u64::from_le_bytes(bytes(file)?);
                let offset = file.stream_position()?;
                // A CRC follows.
                if offset.checked_add(length).and_then(|end| end.checked_add(4)) != Some(at) {
                    return Err(damaged("an attachment is not as long as it says"));
                }
                if name == EXCERPT {
                    found.push(Attached { length, offset });
                }
            }
            _ => {}
        }
    }
}

/// All messages, in the order of the file.
pub(super) fn messages(
    file: BufReader<File>,
) -> impl Iterator<Item = Result<mcap::Message<'static>, McapError>> {
    // No checksum is looked at: what a message should be is known.
    let options = LinearReaderOptions::default().with_record_length_limit(MOST_RECORD);
    MessageReader::new_with_options(Lean::new(file), options)
}

/// The file without its attachments and metadata, which a reader of messages would keep whole.
struct Lean {
    /// The head of the record that comes next, and how much of it was given.
    ahead: ([u8; HEAD_BYTES], usize, usize),
    file: BufReader<File>,
    /// What is left of the record.
    left: u64,
}

impl Lean {
    fn new(file: BufReader<File>) -> Self {
        Self { ahead: ([0; HEAD_BYTES], 0, 0), file, left: mcap::MAGIC.len() as u64 }
    }

    /// Goes on to the next record that is given.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let mut head = Vec::with_capacity(HEAD_BYTES);
            (&mut self.file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
            let mut ahead = [0; HEAD_BYTES];
            ahead.iter_mut().zip(&head).for_each(|(to, byte)| *to = *byte);
            let [kind, length @ ..] = ahead;
            let length = u64::from_le_bytes(length);
            if head.len() == HEAD_BYTES && matches!(kind, op::ATTACHMENT | op::METADATA) {
                let length = i64::try_from(length);
                let length = length.map_err(|_| damaged("a record is too long"))?;
                self.file.seek_relative(length)?;
                continue;
            }
            // Behind the footer there are no records; an end in the middle of a head is one, too.
            let is_last = head.len() < HEAD_BYTES || kind == op::FOOTER;
            self.left = if is_last { u64::MAX } else { length };
            self.ahead = (ahead, 0, head.len());
            return Ok(());
        }
    }
}

impl Read for Lean {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.ahead.1 == self.ahead.2 && self.left == 0 {
            self.advance()?;
        }
        let (ahead, given, held) = &mut self.ahead;
        if given < held {
            let count = (&ahead[*given..*held]).read(into)?;
            *given += count;
            return Ok(count);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.file.read(&mut into[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

fn head(file: &mut impl Read) -> io::Result<(u8, u64)> {
    let [kind, length @ ..]: [u8; HEAD_BYTES] = bytes(file)?;
    Ok((kind, u64::from_le_bytes(length)))
}

/// A string, or nothing where it is longer than a name.
fn text(file: &mut BufReader<File>) -> io::Result<String> {
    let length = u32::from_le_bytes(bytes(file)?);
    if length > MOST_NAME {
        file.seek_relative(i64::from(length))?;
        return Ok(String::new());
    }
    let mut text = Vec::new();
    file.take(u64::from(length)).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the MCAP is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcap::records::{MessageHeader, Metadata};
    use std::collections::BTreeMap;
    use std::io::{BufWriter, Write as _};

    #[test]
    fn messages_are_read_before_and_behind_attachments_that_are_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let out = BufWriter::new(file.reopen().unwrap());
        let mut writer = mcap::WriteOptions::new().library("a test").create(out).unwrap();
        let channel_id = writer.add_channel(0, "/t", "cdr", &BTreeMap::new()).unwrap();
        let large: Vec<u8> = (0..=250).cycle().take(MOST_RECORD + 77).collect();
        for sequence in 1..=6 {
            let header = MessageHeader { channel_id, sequence, log_time: 7, publish_time: 7 };
            writer.write_to_known_channel(&header, &[1, 2, 3]).unwrap();
            if sequence % 2 == 0 {
                writer
                    .attach(&mcap::Attachment {
                        log_time: 1,
                        create_time: 2,
                        name: if sequence == 4 { EXCERPT } else { "another" }.to_owned(),
                        media_type: "x/y".to_owned(),
                        data: large.as_slice().into(),
                    })
                    .unwrap();
                let text = "x".repeat(MOST_RECORD + 1);
                let metadata = BTreeMap::from([("long".to_owned(), text)]);
                writer.write_metadata(&Metadata { name: "m".to_owned(), metadata }).unwrap();
            }
        }
        writer.finish().unwrap();
        writer.into_inner().flush().unwrap();

        let open = || BufReader::new(File::open(file.path()).unwrap());
        let seen: Vec<u32> = messages(open()).map(|message| message.unwrap().sequence).collect();
        assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
        assert_eq!(library(&mut open()).unwrap(), "a test");
        let [attached] = excerpts(&mut open()).unwrap()[..] else { panic!("one is ours") };
        let mut bytes = vec![0; usize::try_from(attached.length).unwrap()];
        let mut file = file.into_file();
        file.seek(SeekFrom::Start(attached.offset)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        assert!(bytes == large);
    }

    #[test]
    fn a_file_that_ends_anywhere_is_an_error_and_no_panic() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let out = BufWriter::new(file.reopen().unwrap());
        let mut writer = mcap::Writer::new(out).unwrap();
        let (name, data) = (EXCERPT.to_owned(), b"records".as_slice().into());
        let media_type = String::new();
        writer
            .attach(&mcap::Attachment { log_time: 1, create_time: 2, name, media_type, data })
            .unwrap();
        writer.finish().unwrap();
        writer.into_inner().flush().unwrap();
        let whole = std::fs::read(file.path()).unwrap();
        let open = || BufReader::new(File::open(file.path()).unwrap());
        assert_eq!(excerpts(&mut open()).unwrap().len(), 1);
        for length in 0..whole.len() {
            std::fs::write(file.path(), &whole[..length]).unwrap();
            let found = excerpts(&mut open());
            // The footer is the last that is looked at.
            assert!(found.is_err() || length > whole.len() - 40, "{length}: {found:?}");
            let _ = (is_mcap(&mut open()).unwrap(), library(&mut open()));
            assert!(messages(open()).all(|message| message.is_err()), "{length}");
        }
    }
}
