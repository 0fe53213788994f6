//! An export as it lies on the disk: its attachment, and its messages one by one. Nothing is read
//! whole that grows with the journal.
//!
//! The file is a stranger's. Its records are walked through from the first to the last, and no
//! index is believed: it could lead past what another reader shows. Only schemas, channels and
//! messages are parsed, by hand: what is not parsed cannot be wrong, and no length is believed
//! before it is seen to lie within its record. A file of which readers would show different
//! things, each after its manner of reading, is refused.

mod body;
mod index;
mod known;

pub(super) use known::{Digest, Found, digest};

use super::EXCERPT;
use body::Body;
use index::{Index, Indexes};
use known::Known;
use mcap::records::op;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// The largest message that is read; ours are some times as large as a record, which is 48 KiB or
/// little more.
const MOST_RECORD: usize = 1 << 22;

/// The largest chunk, packed and not; ours are a megabyte.
const MOST_CHUNK: usize = 1 << 24;

/// The largest schema or channel; ours are some kilobytes.
const MOST_DEFINITION: usize = 1 << 16;

/// The largest index of a chunk: of all channels that there can be.
const MOST_INDEX: usize = 1 << 20;

/// What the name of a compression may take.
const MOST_PACKING: u64 = 32;

/// The fields of a chunk, but for the name of its compression and its records.
const CHUNK_HEAD_BYTES: u64 = 40;

/// The fields of a footer.
const FOOTER_BYTES: usize = 20;

/// What stands before a record: what it is, and its length.
const HEAD_BYTES: usize = 9;

/// What a name may take, where it is kept.
const MOST_NAME: u32 = 256;

/// The file is an MCAP, and not an excerpt that stands by itself.
pub(super) fn is_mcap(file: &mut BufReader<impl Read + Seek>) -> io::Result<bool> {
    let mut magic = [0; mcap::MAGIC.len()];
    let begins = file.read_exact(&mut magic);
    file.rewind()?;
    match begins {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        begins => begins.map(|()| magic == *mcap::MAGIC),
    }
}

/// What wrote the file, as it says.
pub(super) fn library(file: &mut BufReader<impl Read + Seek>) -> io::Result<String> {
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
pub(super) fn excerpts(file: &mut BufReader<impl Read + Seek>) -> io::Result<Vec<Attached>> {
    let mut found = Vec::new();
    let mut at = mcap::MAGIC.len() as u64;
    file.seek(SeekFrom::Start(at))?;
    loop {
        let (kind, length) = head(file)?;
        at = end(at, length)?;
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
                // And the CRC.
                skip(file, length + 4)?;
            }
            _ => skip(file, length)?,
        }
    }
}

/// All messages, in the order of the file; an error is the last that comes.
pub(super) fn messages<R: Read + Seek>(file: BufReader<R>) -> Messages<R> {
    Messages {
        at: 0,
        chunk: Chunk::default(),
        data_end: None,
        file,
        first_offset: None,
        indexes: Indexes::new(),
        is_loose: false,
        is_over: false,
        known: Known::default(),
    }
}

/// The messages of a file, while it is walked through.
#[derive(Debug)]
pub(super) struct Messages<R> {
    /// Where the next record begins.
    at: u64,
    chunk: Chunk,
    /// Where the data ends, and the summary begins.
    data_end: Option<u64>,
    file: BufReader<R>,
    /// Where the offsets of the summary begin.
    first_offset: Option<u64>,
    indexes: Indexes,
    /// There are messages outside of chunks.
    is_loose: bool,
    is_over: bool,
    known: Known,
}

impl<R: Read + Seek> Iterator for Messages<R> {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.advance().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: Read + Seek> Messages<R> {
    fn advance(&mut self) -> io::Result<Option<Found>> {
        loop {
            if let Some((kind, body)) = self.chunk.next()? {
                if !matches!(kind, op::SCHEMA | op::CHANNEL | op::MESSAGE) {
                    let what = format!("a chunk holds a record of kind {kind:#04x}");
                    return Err(damaged(&what));
                }
                let found = self.known.record(kind, body)?;
                if let Some(found) = &found
                    && !(self.chunk.first..=self.chunk.last).contains(&found.times_ns[0])
                {
                    return Err(damaged("a message is of a time that its chunk is not of"));
                }
                if found.is_some() {
                    return Ok(found);
                }
                continue;
            }
            if self.at == 0 {
                let _magic: [u8; mcap::MAGIC.len()] = bytes(&mut self.file)?;
                self.at = mcap::MAGIC.len() as u64;
            }
            let begins = self.at;
            let (kind, length) = head(&mut self.file).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged("it ends before its footer"),
                _ => error,
            })?;
            self.at = end(begins, length)?;
            let is_data = matches!(
                kind,
                op::MESSAGE | op::CHUNK | op::MESSAGE_INDEX | op::ATTACHMENT | op::METADATA
            );
            if self.data_end.is_some() && (is_data || kind == op::DATA_END) {
                return Err(damaged("data stands behind the end of the data"));
            }
            match kind {
                op::SCHEMA | op::CHANNEL | op::MESSAGE => {
                    let body = self.body(kind, length)?;
                    self.is_loose |= kind == op::MESSAGE;
                    if let Some(found) = self.known.record(kind, &body)? {
                        return Ok(Some(found));
                    }
                }
                op::CHUNK => self.open(begins, length)?,
                op::CHUNK_INDEX => {
                    let body = self.body(kind, length)?;
                    self.indexes.index(Body(&body))?;
                }
                op::FOOTER => {
                    let body = self.body(kind, length)?;
                    return self.footer(begins, Body(&body)).map(|()| None);
                }
                _ => {
                    match kind {
                        op::DATA_END => self.data_end = Some(self.at),
                        op::SUMMARY_OFFSET if self.first_offset.is_none() => {
                            self.first_offset = Some(begins);
                        }
                        _ => {}
                    }
                    skip(&mut self.file, length)?;
                }
            }
        }
    }

    /// A whole record, where it is not longer than one of its kind may be.
    fn body(&mut self, kind: u8, length: u64) -> io::Result<Vec<u8>> {
        let most = match kind {
            op::SCHEMA | op::CHANNEL => MOST_DEFINITION,
            op::CHUNK_INDEX => MOST_INDEX,
            op::FOOTER => FOOTER_BYTES,
            _ => MOST_RECORD,
        };
        if length > most as u64 {
            return Err(too_long(kind, length, most));
        }
        let mut body = Vec::new();
        (&mut self.file).take(length).read_to_end(&mut body)?;
        match body.len() as u64 == length {
            true => Ok(body),
            false => Err(damaged("it ends in the middle of a record")),
        }
    }

    /// Unpacks a chunk.
    fn open(&mut self, begins: u64, length: u64) -> io::Result<()> {
        let file = &mut self.file;
        let [first, last, size] =
            [bytes(file)?, bytes(file)?, bytes(file)?].map(u64::from_le_bytes);
        let checksum = u32::from_le_bytes(bytes(file)?);
        let name_length = u64::from(u32::from_le_bytes(bytes(file)?));
        if name_length > MOST_PACKING {
            return Err(damaged("a chunk is packed with something of too long a name"));
        }
        let mut name = Vec::new();
        file.take(name_length).read_to_end(&mut name)?;
        let packed = u64::from_le_bytes(bytes(file)?);
        if (CHUNK_HEAD_BYTES + name_length).checked_add(packed) != Some(length) {
            return Err(damaged("a chunk is not as long as it says"));
        }
        if size.max(packed) > MOST_CHUNK as u64 {
            let most = MOST_CHUNK >> 20;
            return Err(damaged(&format!("a chunk has more than {most} MiB")));
        }
        let fails =
            |error: &dyn std::fmt::Display| damaged(&format!("a chunk does not unpack: {error}"));
        let mut source = file.take(packed);
        let mut records = std::mem::take(&mut self.chunk.records);
        records.clear();
        match name.as_slice() {
            b"" => drop(source.read_to_end(&mut records)?),
            b"zstd" => {
                let mut decoder = FrameDecoder::new();
                decoder.set_max_window_size(MOST_CHUNK as u64);
                let stream = StreamingDecoder::new_with_decoder(&mut source, decoder);
                let mut stream = stream.map_err(|error| fails(&error))?.take(size + 1);
                stream.read_to_end(&mut records).map_err(|error| fails(&error))?;
            }
            name => {
                let name = String::from_utf8_lossy(name);
                return Err(damaged(&format!("a chunk is packed with {name:?}; zstd is read")));
            }
        }
        if source.limit() > 0 || records.len() as u64 != size {
            return Err(damaged("a chunk does not unpack to as much as it says"));
        }
        // Zero: its writer made none.
        if checksum != 0 && checksum != crc32fast::hash(&records) {
            return Err(damaged("a chunk does not match its checksum"));
        }
        let index = Index {
            begins,
            first,
            last,
            length: HEAD_BYTES as u64 + length,
            name: &name,
            packed,
            size,
        };
        self.indexes.chunk(&index);
        self.chunk = Chunk { at: 0, first, last, records };
        Ok(())
    }

    /// Looks whether those who begin at the end read the same: where the footer leads, and what
    /// is behind it.
    fn footer(&mut self, begins: u64, mut body: Body<'_>) -> io::Result<()> {
        let (summary, offsets, _checksum) = (body.u64()?, body.u64()?, body.bytes::<4>()?);
        if summary != 0 && Some(summary) != self.data_end
            || offsets != 0 && offsets != self.first_offset.unwrap_or(begins)
        {
            return Err(damaged("its footer leads elsewhere than to its summary"));
        }
        self.indexes.end(self.is_loose)?;
        let mut rest = Vec::new();
        (&mut self.file).take(mcap::MAGIC.len() as u64 + 1).read_to_end(&mut rest)?;
        match rest.strip_prefix(mcap::MAGIC) {
            Some([]) => Ok(()),
            Some(_) => Err(damaged("something stands behind its end")),
            None => Err(damaged("it ends behind its footer")),
        }
    }
}

/// The records of a chunk.
#[derive(Debug, Default)]
struct Chunk {
    /// Where the next begins.
    at: usize,
    /// When the first of its messages was logged.
    first: u64,
    last: u64,
    records: Vec<u8>,
}

impl Chunk {
    fn next(&mut self) -> io::Result<Option<(u8, &[u8])>> {
        let mut rest = self.records.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let cut = || damaged("a chunk ends in the middle of a record");
        let (kind, length) = head(&mut rest).map_err(|_| cut())?;
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
        let length = length.ok_or_else(cut)?;
        self.at = self.records.len() - rest.len() + length;
        Ok(Some((kind, &rest[..length])))
    }
}

/// Where a record ends.
fn end(begins: u64, length: u64) -> io::Result<u64> {
    let end = begins.checked_add(HEAD_BYTES as u64).and_then(|begins| begins.checked_add(length));
    end.ok_or_else(|| damaged("a record is too long"))
}

fn skip(file: &mut BufReader<impl Read + Seek>, length: u64) -> io::Result<()> {
    let length = i64::try_from(length).map_err(|_| damaged("a record is too long"))?;
    file.seek_relative(length)
}

fn too_long(kind: u8, length: u64, most: usize) -> io::Error {
    damaged(&format!("a record of kind {kind:#04x} has {length} bytes; at most {most} are read"))
}

fn head(file: &mut impl Read) -> io::Result<(u8, u64)> {
    let [kind, length @ ..]: [u8; HEAD_BYTES] = bytes(file)?;
    Ok((kind, u64::from_le_bytes(length)))
}

/// A string, or nothing where it is longer than a name.
fn text(file: &mut BufReader<impl Read + Seek>) -> io::Result<String> {
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
    use crate::export::schema::Topic;
    use mcap::records::{MessageHeader, Metadata};
    use std::collections::BTreeMap;
    use std::fs::File;
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

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind], body.len().to_le_bytes().as_slice(), body].concat()
    }

    fn part(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_le_bytes(), text].concat()
    }

    fn schema_record(name: &str) -> Vec<u8> {
        let parts = [part(name.as_bytes()), part(b"ros2msg"), part(b"uint8 x")];
        record(op::SCHEMA, &[&[1, 0], parts.concat().as_slice()].concat())
    }

    fn channel_record(topic: &str) -> Vec<u8> {
        let parts = [part(topic.as_bytes()), part(b"cdr"), part(b"")].concat();
        record(op::CHANNEL, &[&[1, 0, 1, 0], parts.as_slice()].concat())
    }

    fn message_record() -> Vec<u8> {
        let times = [7_u64.to_le_bytes(), 7_u64.to_le_bytes()].concat();
        record(op::MESSAGE, &[&[1, 0, 9, 0, 0, 0], times.as_slice(), b"data"].concat())
    }

    /// All that makes a message.
    fn drawn() -> Vec<u8> {
        [schema_record("a/B"), channel_record("/odom"), message_record()].concat()
    }

    fn chunk_record(packing: &str, packed: &[u8], size: usize) -> Vec<u8> {
        let mut body = [7_u64, 7, size as u64].map(u64::to_le_bytes).concat();
        body.extend([0; 4]);
        body.extend(part(packing.as_bytes()));
        body.extend((packed.len() as u64).to_le_bytes());
        body.extend(packed);
        record(op::CHUNK, &body)
    }

    fn index_record(begins: usize, chunk: &[u8], packed: usize, size: usize) -> Vec<u8> {
        let mut body = [7, 7, begins as u64, chunk.len() as u64].map(u64::to_le_bytes).concat();
        body.extend([part(b""), 0_u64.to_le_bytes().to_vec(), part(b"")].concat());
        body.extend([packed as u64, size as u64].map(u64::to_le_bytes).concat());
        record(op::CHUNK_INDEX, &body)
    }

    /// What stands before the first record but the header.
    fn begun() -> Vec<u8> {
        [mcap::MAGIC, &record(op::HEADER, &[0; 8])].concat()
    }

    fn whole(data: &[u8], summary: &[u8]) -> Vec<u8> {
        let mut file = [begun(), data.to_vec(), record(op::DATA_END, &[0; 4])].concat();
        let begins = if summary.is_empty() { 0 } else { file.len() as u64 };
        file.extend(summary);
        let footer = [&begins.to_le_bytes(), [0; 12].as_slice()].concat();
        file.extend([record(op::FOOTER, &footer), mcap::MAGIC.to_vec()].concat());
        file
    }

    fn read(file: &[u8]) -> Vec<io::Result<Found>> {
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(on_disk.path(), file).unwrap();
        messages(BufReader::new(on_disk.reopen().unwrap())).collect()
    }

    #[track_caller]
    fn refused(file: &[u8], why: &str) {
        let mut read = read(file);
        let error = read.pop().unwrap().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(read.iter().all(Result::is_ok), "{read:?}");
    }

    #[track_caller]
    fn reads(file: &[u8]) {
        let read = read(file);
        assert!(read.len() == 1, "{read:?}");
        let found = read[0].as_ref().unwrap();
        assert_eq!((found.channel.named, found.channel.topic), (Some(Topic::Odometry), None));
        assert_eq!((found.sequence, found.data), (9, digest(b"data")));
    }

    #[test]
    fn a_chunk_holds_what_belongs_in_one_and_not_more_than_it_holds() {
        let records = drawn();
        reads(&whole(&chunk_record("", &records, records.len()), b""));
        let strange = [records.clone(), record(op::ATTACHMENT, &[0; 32])].concat();
        let strange = chunk_record("", &strange, strange.len());
        refused(&whole(&strange, b""), "a chunk holds a record of kind 0x09");
        let nested = chunk_record("", &records, records.len());
        let nested = chunk_record("", &nested, nested.len());
        refused(&whole(&nested, b""), "a chunk holds a record of kind 0x06");
        for less in 1..=5 {
            let cut = &records[..records.len() - less];
            let cut = whole(&chunk_record("", cut, cut.len()), b"");
            refused(&cut, "a chunk ends in the middle of a record");
        }
        let unlike = whole(&chunk_record("", &records, records.len() + 1), b"");
        refused(&unlike, "a chunk does not unpack to as much as it says");
        let odd = whole(&chunk_record("lz4", &records, records.len()), b"");
        refused(&odd, "packed with \"lz4\"");
        let mut early = chunk_record("", &records, records.len());
        early[HEAD_BYTES] = 8;
        refused(&whole(&early, b""), "a message is of a time that its chunk is not of");
        let mut longer = chunk_record("", &records, records.len());
        longer.push(0);
        let length = (longer.len() - HEAD_BYTES) as u64;
        longer[1..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        refused(&whole(&longer, b""), "a chunk is not as long as it says");
    }

    #[test]
    fn a_packed_chunk_is_one_frame_of_the_length_that_it_says() {
        let records = drawn();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let packed = ruzstd::encoding::compress_to_vec(records.as_slice(), level);
        reads(&whole(&chunk_record("zstd", &packed, records.len()), b""));
        let why = "a chunk does not unpack to as much as it says";
        refused(&whole(&chunk_record("zstd", &packed, records.len() - 35), b""), why);
        let twice = packed.repeat(2);
        refused(&whole(&chunk_record("zstd", &twice, records.len()), b""), why);
        let bomb = vec![0; MOST_CHUNK + 1];
        let bomb = ruzstd::encoding::compress_to_vec(bomb.as_slice(), level);
        refused(&whole(&chunk_record("zstd", &bomb, MOST_CHUNK), b""), why);
        refused(&whole(&chunk_record("zstd", &bomb, MOST_CHUNK + 1), b""), "more than 16 MiB");
    }

    #[test]
    fn no_length_is_believed() {
        // Of the name of a schema, of a topic, and of a compression.
        for (at, file) in [
            (HEAD_BYTES + 2, schema_record("a/B")),
            (HEAD_BYTES + 4, [schema_record("a/B"), channel_record("/odom")].concat()),
        ] {
            let at = at + if file.len() > 60 { schema_record("a/B").len() } else { 0 };
            for is_in_chunk in [false, true] {
                let mut wrong = file.clone();
                wrong[at..at + 4].fill(0xff);
                if is_in_chunk {
                    wrong = chunk_record("", &wrong, wrong.len());
                }
                refused(&whole(&wrong, b""), "a field is longer than its record");
            }
        }
        let mut chunk = chunk_record("", &drawn(), drawn().len());
        chunk[HEAD_BYTES + 28..HEAD_BYTES + 32].fill(0xff);
        refused(&whole(&chunk, b""), "too long a name");
        // Of whole records.
        for kind in [op::SCHEMA, op::CHANNEL, op::MESSAGE, op::CHUNK_INDEX, op::FOOTER] {
            let endless = [&[kind], [0xff; 7].as_slice(), &[0]].concat();
            refused(&[begun(), endless].concat(), "bytes; at most");
        }
        let long = "x".repeat(MOST_DEFINITION);
        refused(&whole(&schema_record(&long), b""), "at most 65536 are read");
        let long = schema_record(&long);
        refused(&whole(&chunk_record("", &long, long.len()), b""), "at most 65536 are read");
    }

    #[test]
    fn nothing_is_defined_twice_in_two_ways() {
        let (schema, channel) = (schema_record("a/B"), channel_record("/odom"));
        reads(&whole(&drawn(), &[schema.clone(), channel.clone()].concat()));
        reads(&whole(&[schema, channel, drawn()].concat(), b""));
        refused(&whole(&drawn(), &channel_record("/tf")), "channel 1 is defined twice");
        refused(&whole(&drawn(), &schema_record("a/C")), "schema 1 is defined twice");
        let other = channel_record("/tf");
        let inside = [drawn(), chunk_record("", &other, other.len())].concat();
        refused(&whole(&inside, b""), "channel 1 is defined twice");
        refused(&whole(&message_record(), b""), "channel 1, which is not there yet");
        refused(&whole(&channel_record("/odom"), b""), "schema 1, which is not there yet");
    }

    #[test]
    fn who_begins_at_the_end_reads_what_is_walked_through() {
        let file = whole(&drawn(), &schema_record("a/B"));
        reads(&file);
        let behind = "something stands behind its end";
        refused(&[file.clone(), whole(b"", b"")].concat(), behind);
        refused(&[file.clone(), vec![0]].concat(), behind);
        refused(&file[..file.len() - 1], "it ends behind its footer");
        refused(&file[..file.len() - 40], "it ends");
        refused(&whole(&drawn(), &message_record()), "data stands behind the end of the data");
        let end = file.len() - mcap::MAGIC.len() - FOOTER_BYTES;
        for at in [end, end + 8] {
            let mut elsewhere = file.clone();
            elsewhere[at] ^= 1;
            refused(&elsewhere, "its footer leads elsewhere");
        }

        let records = drawn();
        let (begins, size) = (begun().len(), records.len());
        let chunk = chunk_record("", &records, size);
        let index = index_record(begins, &chunk, size, size);
        reads(&whole(&chunk, &index));
        let why = "the indexes of its chunks are not those of its chunks";
        refused(&whole(&chunk, &index_record(begins + 1, &chunk, size, size)), why);
        refused(&whole(&chunk, &index.repeat(2)), why);
        refused(&whole(b"", &index), why);
        refused(&whole(&[chunk.clone(), chunk.clone()].concat(), &index), why);
        refused(&whole(&[chunk.clone(), message_record()].concat(), &index), why);
        // When its messages were: who looks for those of a time would not look here.
        let mut never = index;
        never[HEAD_BYTES] = 0;
        refused(&whole(&chunk, &never), why);
    }

    #[test]
    fn no_altered_byte_brings_the_reader_down() {
        let records = drawn();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let packed = ruzstd::encoding::compress_to_vec(records.as_slice(), level);
        let chunk = chunk_record("zstd", &packed, records.len());
        let plain = chunk_record("", &message_record(), message_record().len());
        let file = whole(&[chunk, plain, message_record()].concat(), &schema_record("a/B"));
        assert_eq!(read(&file).into_iter().filter(Result::is_ok).count(), 3);
        for at in 0..file.len() {
            for flip in [1, 0x80, 0xff] {
                let mut altered = file.clone();
                altered[at] ^= flip;
                assert!(read(&altered).len() <= 4);
            }
        }
    }
}
