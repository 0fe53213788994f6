//! The bytes of the openings' files; `docs/record-format.md` has the layouts. Reading takes
//! whatever stands there: what is damaged is passed over, never guessed.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use nooterra_protocol::codec::{self, CodecError};
use nooterra_protocol::entry::Class;
use nooterra_protocol::ids::{JobId, JournalId};
use nooterra_protocol::private::Opening;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Begins a key's file; the last byte of each of these is the version.
const KEY_MAGIC: [u8; 8] = *b"NOOTKEY\x01";

/// Begins a file of openings.
const FILE_MAGIC: [u8; 8] = *b"NOOTOPN\x01";

/// Begins a frame.
const FRAME_MAGIC: [u8; 8] = *b"NOOTOPF\x01";

/// Of ChaCha20.
pub(crate) const KEY_BYTES: usize = 32;

/// What a frame has before its ciphertext.
const FRAME_HEAD_BYTES: usize = 36;

/// The longest ciphertext of a frame that is read; the longest that is written is far below.
const MAX_SEALED_BYTES: usize = 512 * 1024;

/// A key, overwritten in memory when it is dropped.
pub(crate) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// What was decrypted, overwritten in memory when it is dropped.
pub(crate) type Plain = Zeroizing<Vec<u8>>;

/// An opening with what is chosen by when it is erased.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) at: WallMillis,
    pub(crate) job: Option<JobId>,
    pub(crate) opening: Opening,
}

impl Kept {
    /// About what it takes.
    pub(crate) fn weight(&self) -> usize {
        let value = codec::to_vec(&self.opening.value).map_or(0, |bytes| bytes.len());
        value.saturating_add(256)
    }
}

/// The file of a key.
pub(crate) fn encode_key(epoch: u64, key: &KeyBytes) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(52));
    bytes.extend_from_slice(&KEY_MAGIC);
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&key[..]);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads the key of an epoch; `None` when it was overwritten, or is another's.
pub(crate) fn read_key(epoch: u64, bytes: &[u8]) -> Option<KeyBytes> {
    let (body, crc) = bytes.split_at_checked(8 + 8 + KEY_BYTES)?;
    let whole = crc == crc32fast::hash(body).to_be_bytes();
    let own = body[..8] == KEY_MAGIC && body[8..16] == epoch.to_be_bytes();
    (whole && own).then(|| Zeroizing::new(body[16..].try_into().unwrap_or_default()))
}

/// What a file of openings begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) class: Class,
    pub(crate) epoch: u64,
    pub(crate) journal: JournalId,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let id = self.journal.as_str().as_bytes();
        let mut bytes = FILE_MAGIC.to_vec();
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.push(match self.class {
            Class::Critical => 0,
            Class::Normal => 1,
            Class::Bulk => 2,
        });
        // An id has at most 64 bytes.
        bytes.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(id);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..18)?;
        let class = match head[16] {
            0 => Class::Critical,
            1 => Class::Normal,
            2 => Class::Bulk,
            _ => return None,
        };
        let end = 18 + usize::from(head[17]);
        let (id, crc) = (bytes.get(18..end)?, bytes.get(end..end + 4)?);
        if head[..8] != FILE_MAGIC || crc != crc32fast::hash(&bytes[..end]).to_be_bytes() {
            return None;
        }
        let epoch = u64::from_be_bytes(head[8..16].try_into().ok()?);
        let journal = JournalId::new(std::str::from_utf8(id).ok()?).ok()?;
        Some(Self { class, epoch, journal })
    }
}

/// A frame as it stands in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) first_seq: u64,
    head: &'a [u8],
    index: u64,
    pub(crate) last_seq: u64,
    sealed: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that begins at `bytes[0]`, and where it ends.
    fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_at_checked(FRAME_HEAD_BYTES)?;
        if head[..8] != FRAME_MAGIC {
            return None;
        }
        let number = |at: usize| head[at..at + 8].try_into().map_or(0, u64::from_be_bytes);
        let length = u32::from_be_bytes(head[32..].try_into().ok()?);
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_SEALED_BYTES)?;
        let (sealed, rest) = rest.split_at_checked(length)?;
        let end = FRAME_HEAD_BYTES + length;
        if rest.get(..4)? != crc32fast::hash(&bytes[..end]).to_be_bytes() {
            return None;
        }
        let (index, first_seq, last_seq) = (number(8), number(16), number(24));
        Some((Self { first_seq, head, index, last_seq, sealed }, end + 4))
    }
}

/// The frames of a file, and at which bytes it cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Frames<'a> {
    pub(crate) damaged: Vec<(usize, usize)>,
    pub(crate) frames: Vec<Frame<'a>>,
    /// How much after the last frame is no frame. A crash may leave that.
    pub(crate) torn: usize,
}

impl<'a> Frames<'a> {
    /// Those of a file with this header.
    pub(crate) fn of(header: &Header, bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut at = header.encode().len();
        while at < bytes.len() {
            if let Some((frame, length)) = Frame::read(&bytes[at..]) {
                found.frames.push(frame);
                at += length;
            } else if let Some(next) = memchr::memmem::find(&bytes[at + 1..], &FRAME_MAGIC) {
                let next = at + 1 + next;
                // A frame that is no better than the last try is part of the same damage.
                match found.damaged.last_mut() {
                    Some((_, end)) if *end == at => *end = next,
                    _ => found.damaged.push((at, next)),
                }
                at = next;
            } else {
                found.torn = bytes.len() - at;
                break;
            }
        }
        found
    }
}

/// What encrypts and decrypts the frames of one file.
pub(crate) struct Cipher {
    cipher: ChaCha20Poly1305,
    header: Vec<u8>,
}

impl Cipher {
    pub(crate) fn new(key: &KeyBytes, header: &Header) -> Self {
        Self::of(key, header.encode())
    }

    /// For a file that begins with `header`, which all that is encrypted in it is bound to.
    pub(crate) fn of(key: &KeyBytes, header: Vec<u8>) -> Self {
        let key = Zeroizing::new(Key::from(**key));
        Self { cipher: ChaCha20Poly1305::new(&key), header }
    }

    /// Encrypts part number `index` of the file, which begins with `head`; 16 bytes longer. No
    /// number may come twice.
    pub(crate) fn seal(&self, index: u64, head: &[u8], plain: &[u8]) -> Vec<u8> {
        let aad = [&self.header[..], head].concat();
        let payload = Payload { aad: &aad, msg: plain };
        // ChaCha20 refuses only messages of 256 GiB.
        self.cipher.encrypt(&nonce(index), payload).unwrap_or_default()
    }

    /// What [`Cipher::seal`] was given; `None` when anything of it is not as it was.
    pub(crate) fn unseal(&self, index: u64, head: &[u8], sealed: &[u8]) -> Option<Plain> {
        let aad = [&self.header[..], head].concat();
        let payload = Payload { aad: &aad, msg: sealed };
        self.cipher.decrypt(&nonce(index), payload).ok().map(Zeroizing::new)
    }

    /// The frame number `index` of the file. No number may come twice.
    pub(crate) fn frame(&self, index: u64, kept: &[Kept]) -> Result<Vec<u8>, CodecError> {
        let plain = Zeroizing::new(codec::to_vec(kept)?);
        let seqs = || kept.iter().map(|kept| kept.opening.seq);
        let (first, last) = (seqs().min().unwrap_or(0), seqs().max().unwrap_or(0));
        let mut bytes = FRAME_MAGIC.to_vec();
        for number in [index, first, last] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        // With the tag of 16 bytes; a frame is far below 4 GiB.
        let length = u32::try_from(plain.len() + 16).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        let sealed = self.seal(index, &bytes, &plain);
        bytes.extend_from_slice(&sealed);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        Ok(bytes)
    }

    /// What is in a frame; `None` when it is not as it was written with this key.
    pub(crate) fn open(&self, frame: &Frame<'_>) -> Option<Vec<Kept>> {
        let plain = self.unseal(frame.index, frame.head, frame.sealed)?;
        read_plain(&plain)
    }
}

/// Reads what was decrypted.
pub(crate) fn read_plain(plain: &[u8]) -> Option<Vec<Kept>> {
    codec::from_slice(plain).ok()
}

fn nonce(index: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::codec::{Blob, Digest, Value};
    use proptest::prelude::*;

    fn header() -> Header {
        let journal = JournalId::new("jr_00112233445566778899aabbccddeeff").unwrap();
        Header { class: Class::Normal, epoch: 3, journal }
    }

    fn kept(seq: u64) -> Kept {
        let (kind, path) = ("skill_log".to_owned(), "message".to_owned());
        let (salt, value) = (Blob(vec![7; 16]), Value::Text(format!("line {seq}")));
        let opening = Opening { kind, path, salt, sealed: Digest::of(b"x"), seq, value };
        Kept { at: WallMillis(1_795_000_000_000), job: JobId::new("job_1").ok(), opening }
    }

    fn key() -> KeyBytes {
        Zeroizing::new([9; KEY_BYTES])
    }

    fn file() -> Vec<u8> {
        let cipher = Cipher::new(&key(), &header());
        let mut bytes = header().encode();
        bytes.extend(cipher.frame(0, &[kept(4), kept(5)]).unwrap());
        bytes.extend(cipher.frame(1, &[kept(9)]).unwrap());
        bytes
    }

    fn opened(bytes: &[u8]) -> Vec<u64> {
        let Some(header) = Header::read(bytes) else { return Vec::new() };
        let cipher = Cipher::new(&key(), &header);
        let found = Frames::of(&header, bytes);
        let all = found.frames.iter().filter_map(|frame| cipher.open(frame)).flatten();
        all.map(|kept| kept.opening.seq).collect()
    }

    #[test]
    fn a_file_has_the_bytes_of_the_golden_files() {
        let golden = |name: &str, bytes: &[u8]| {
            let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            let lines = bytes.chunks(32).map(|line| {
                line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
            });
            let text: String = lines.collect();
            if std::env::var_os("NOOTERRA_BLESS").is_some() {
                std::fs::create_dir_all(&dir).unwrap();
                std::fs::write(dir.join(name), &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(dir.join(name)).unwrap(), text, "{name} changed");
        };
        golden("openings.hex", &file());
        golden("openings_key.hex", &encode_key(3, &key()));
        assert_eq!(Header::read(&file()), Some(header()));
        assert_eq!(opened(&file()), [4, 5, 9]);
        assert_eq!(read_key(3, &encode_key(3, &key())), Some(key()));
        assert_eq!(read_key(4, &encode_key(3, &key())), None);
        assert_eq!(read_key(3, &[0; 52]), None);
    }

    #[test]
    fn a_frame_is_read_only_with_its_key_at_its_place() {
        let bytes = file();
        let found = Frames::of(&header(), &bytes);
        let stranger = Cipher::new(&Zeroizing::new([8; KEY_BYTES]), &header());
        assert_eq!(stranger.open(&found.frames[0]), None);
        let elsewhere = Cipher::new(&key(), &Header { epoch: 4, ..header() });
        assert_eq!(elsewhere.open(&found.frames[0]), None);
        let moved = Frame { index: 1, ..found.frames[0] };
        assert_eq!(Cipher::new(&key(), &header()).open(&moved), None);
    }

    #[test]
    fn what_is_damaged_in_the_middle_costs_its_own_frame_only() {
        let whole = file();
        let mut bytes = whole.clone();
        let at = header().encode().len() + FRAME_HEAD_BYTES + 5;
        bytes[at] ^= 1;
        let found = Frames::of(&header(), &bytes);
        assert_eq!(found.damaged.len(), 1);
        assert_eq!(opened(&bytes), [9]);
        bytes.clone_from(&whole);
        bytes.truncate(whole.len() - 1);
        assert!(Frames::of(&header(), &bytes).torn > 0);
        assert_eq!(opened(&bytes), [4, 5]);
    }

    proptest! {
        #[test]
        fn no_altered_byte_opens_something_else(at in 0_usize..600, bit in 0_u8..8) {
            let mut bytes = file();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let found = opened(&bytes);
            prop_assert!([&[4, 5, 9][..], &[4, 5], &[9], &[]].contains(&&found[..]), "{found:?}");
            prop_assert_ne!(found, [4, 5, 9]);
        }

        #[test]
        fn noise_makes_nothing_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = header().encode();
            bytes.extend_from_slice(&FRAME_MAGIC);
            bytes.extend_from_slice(&noise);
            prop_assert_eq!(opened(&bytes), Vec::<u64>::new());
            let _ = Header::read(&noise);
            let _ = read_key(1, &noise);
            let _ = read_plain(&noise);
        }
    }
}
