//! The frame around a small state, so that it is found again in a damaged file:
//!
//! ```text
//!  0  magic          8   "NOOTSTA" and the version, 1
//!  8  key length     4
//! 12  value length   4
//! 16  crc            4   CRC-32 of the lengths, the key and the value
//! 20  key, value
//! ```

/// Begins every frame; the last byte is the version.
const MAGIC: [u8; 8] = *b"NOOTSTA\x01";

const HEAD_BYTES: usize = 20;

/// Far more than a key and a value ever have.
const MAX_BYTES: usize = 64 * 1024;

/// A key and its value, framed.
pub(crate) fn frame(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for length in [key.len(), value.len()] {
        // Both are far below MAX_BYTES.
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    bytes.extend_from_slice(&crc(&bytes[8..16], key, value).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes
}

/// The key and the value of the frame that begins at `bytes[0]`; more may follow it.
pub(crate) fn read(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = bytes.get(..HEAD_BYTES)?;
    if head[..8] != MAGIC {
        return None;
    }
    let number = |at: usize| head[at..at + 4].try_into().ok().map(u32::from_be_bytes);
    let length = |at: usize| usize::try_from(number(at)?).ok().filter(|n| *n <= MAX_BYTES);
    let (key_length, value_length) = (length(8)?, length(12)?);
    let (key, rest) = bytes.get(HEAD_BYTES..)?.split_at_checked(key_length)?;
    let value = rest.get(..value_length)?;
    (number(16)? == crc(&head[8..16], key, value)).then_some((key, value))
}

fn crc(lengths: &[u8], key: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [lengths, key, value] {
        crc.update(part);
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_reads_back_whatever_follows_it() {
        let mut bytes = frame(b"key", b"value");
        bytes.extend_from_slice(b"more");
        assert_eq!(read(&bytes), Some((b"key".as_slice(), b"value".as_slice())));
        assert_eq!(read(&frame(b"", b"")), Some((b"".as_slice(), b"".as_slice())));
    }

    proptest! {
        #[test]
        fn no_altered_state_is_read_and_no_bytes_make_it_panic(
            at in 0_usize..28, bit in 0_u8..8, noise in proptest::collection::vec(any::<u8>(), 0..99)
        ) {
            let mut bytes = frame(b"key", b"value");
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read(&bytes), None);
            bytes.truncate(8);
            bytes.extend_from_slice(&noise);
            let _ = read(&bytes);
        }
    }
}
