//! The bytes of a picture's file; `docs/record-format.md` has the layout. Reading takes whatever
//! stands there: what is damaged is none.

use crate::openings::{Cipher, KeyBytes};
use nooterra_protocol::codec::{self, Digest};
use nooterra_protocol::frame::MAX_FRAME_BYTES;
use nooterra_protocol::ids::JobId;
use nooterra_protocol::time::WallMillis;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Begins the file; the last byte is the version.
const MAGIC: [u8; 8] = *b"NOOTPIC\x01";

/// What the encryption adds to each of the two parts.
const TAG_BYTES: usize = 16;

/// The longest head that is read; an id has at most 64 bytes.
const MAX_HEAD_BYTES: usize = 256;

/// What is chosen by when a picture is looked for or erased.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// When it was taken.
    pub(crate) at: WallMillis,
    pub(crate) job: Option<JobId>,
    /// Of its pixels.
    pub(crate) sha256: Digest,
}

/// What a picture's name says: its bytes are bound to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lid {
    pub(super) number: u64,
    pub(super) until: WallMillis,
}

/// How much longer the file is than its pixels.
pub(super) fn overhead(head: &Head) -> usize {
    let head = codec::to_vec(head).map_or(0, |bytes| bytes.len());
    MAGIC.len() + 2 + head + 2 * TAG_BYTES
}

impl Lid {
    fn cipher(self, key: &KeyBytes) -> Cipher {
        let [number, until] = [self.number.to_be_bytes(), self.until.0.to_be_bytes()];
        Cipher::of(key, [&MAGIC[..], &number, &until].concat())
    }

    /// The file of a picture.
    pub(super) fn seal(self, key: &KeyBytes, head: &Head, pixels: &[u8]) -> Vec<u8> {
        let cipher = self.cipher(key);
        // A head of three small fields has a form, and is far below 64 KiB.
        let head = codec::to_vec(head).unwrap_or_default();
        let head = cipher.seal(0, &[], &head);
        let length = u16::try_from(head.len()).unwrap_or(u16::MAX).to_be_bytes();
        let pixels = cipher.seal(1, &[], pixels);
        [&MAGIC[..], &length, &head, &pixels].concat()
    }

    /// The head, and the pixels where they are `wanted` and undamaged.
    pub(super) fn open(
        self,
        key: &KeyBytes,
        mut file: impl Read,
        wanted: impl FnOnce(&Head) -> bool,
    ) -> Option<(Head, Option<Vec<u8>>)> {
        let (mut magic, mut length) = ([0; 8], [0; 2]);
        file.read_exact(&mut magic).ok()?;
        file.read_exact(&mut length).ok()?;
        let length = usize::from(u16::from_be_bytes(length));
        if magic != MAGIC || length > MAX_HEAD_BYTES {
            return None;
        }
        let mut head = vec![0; length];
        file.read_exact(&mut head).ok()?;
        let cipher = self.cipher(key);
        let head = cipher.unseal(0, &[], &head)?;
        let head: Head = codec::from_slice(&head).ok()?;
        if !wanted(&head) {
            return Some((head, None));
        }
        let most = (MAX_FRAME_BYTES + TAG_BYTES + 1) as u64;
        let mut sealed = Vec::new();
        let read = file.take(most).read_to_end(&mut sealed).ok();
        let pixels = read
            .and_then(|_| cipher.unseal(1, &[], &sealed))
            .map(|mut it| std::mem::take(&mut *it));
        let pixels = pixels.filter(|pixels| Digest::of(pixels) == head.sha256);
        Some((head, pixels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn key() -> KeyBytes {
        Zeroizing::new([9; 32])
    }

    fn lid() -> Lid {
        Lid { number: 3, until: WallMillis(1_795_000_060_000) }
    }

    fn head() -> Head {
        let (at, job) = (WallMillis(1_795_000_000_000), JobId::new("job_1").ok());
        Head { at, job, sha256: Digest::of(b"pixels") }
    }

    fn opened(lid: Lid, key: &KeyBytes, bytes: &[u8]) -> Option<(Head, Option<Vec<u8>>)> {
        lid.open(key, bytes, |_| true)
    }

    #[test]
    fn a_file_has_the_bytes_of_the_golden_file() {
        let bytes = lid().seal(&key(), &head(), b"pixels");
        let lines = bytes
            .chunks(32)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
        let text: String = lines.collect();
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let golden = golden.join("picture.hex");
        if std::env::var_os("NOOTERRA_BLESS").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(golden).unwrap(), text, "the format changed");
        assert_eq!(bytes.len(), overhead(&head()) + 6);
        assert_eq!(opened(lid(), &key(), &bytes), Some((head(), Some(b"pixels".to_vec()))));
        assert_eq!(opened(lid(), &Zeroizing::new([8; 32]), &bytes), None);
        assert_eq!(opened(Lid { number: 4, ..lid() }, &key(), &bytes), None);
        assert_eq!(opened(Lid { until: WallMillis(0), ..lid() }, &key(), &bytes), None);
    }

    proptest! {
        #[test]
        fn noise_is_no_picture(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&MAGIC[..], &noise].concat();
            prop_assert_eq!(opened(lid(), &key(), &bytes), None);
            prop_assert_eq!(opened(lid(), &key(), &noise), None);
        }
    }
}
