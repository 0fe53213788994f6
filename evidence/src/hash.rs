//! SHA-256 of the three inputs that a journal is made of: a byte before a record, and a byte
//! before two digests. The blocks are laid out here, so that each is compressed once and nothing
//! is gathered in a buffer first; for 65 bytes that is half of the work.

use nooterra_protocol::codec::Digest;
use sha2::block_api::compress256;

/// FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256(prefix ‖ left ‖ right).
pub(crate) fn pair(prefix: u8, left: &Digest, right: &Digest) -> Digest {
    let mut blocks = [[0; 64]; 2];
    let (left, right) = (left.as_bytes(), right.as_bytes());
    blocks[0][0] = prefix;
    blocks[0][1..33].copy_from_slice(left);
    blocks[0][33..].copy_from_slice(&right[..31]);
    blocks[1][0] = right[31];
    blocks[1][1] = 0x80;
    blocks[1][56..].copy_from_slice(&(65_u64 * 8).to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    finished(&state)
}

/// SHA-256(prefix ‖ bytes).
pub(crate) fn behind(prefix: u8, bytes: &[u8]) -> Digest {
    let mut state = INITIAL;
    let mut block = [0; 64];
    block[0] = prefix;
    let Some((first, rest)) = bytes.split_first_chunk::<63>() else {
        block[1..=bytes.len()].copy_from_slice(bytes);
        return end(state, block, bytes.len() + 1, bytes.len() + 1);
    };
    block[1..].copy_from_slice(first);
    compress256(&mut state, &[block]);
    let (whole, rest) = rest.as_chunks::<64>();
    compress256(&mut state, whole);
    block = [0; 64];
    block[..rest.len()].copy_from_slice(rest);
    end(state, block, rest.len(), bytes.len() + 1)
}

/// With a last block of which `used` bytes are taken, of `length` in all; zeros behind them.
fn end(mut state: [u32; 8], mut block: [u8; 64], used: usize, length: usize) -> Digest {
    let bits = (length as u64).wrapping_mul(8).to_be_bytes();
    let Some(mark) = block.get_mut(used) else {
        // The prefix and 63 bytes fill it.
        compress256(&mut state, &[block]);
        return end(state, [0; 64], 0, length);
    };
    *mark = 0x80;
    if used >= 56 {
        compress256(&mut state, &[block]);
        block = [0; 64];
    }
    block[56..].copy_from_slice(&bits);
    compress256(&mut state, &[block]);
    finished(&state)
}

fn finished(state: &[u32; 8]) -> Digest {
    let mut bytes = [0; 32];
    for (four, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *four = word.to_be_bytes();
    }
    Digest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_hashes_as_the_library_does() {
        let bytes: Vec<u8> = (0..=255).cycle().take(700).collect();
        for length in 0..bytes.len() {
            let bytes = &bytes[..length];
            for prefix in [0, 1, 0x80] {
                assert_eq!(behind(prefix, bytes), Digest::of_parts(&[&[prefix], bytes]));
            }
        }
    }

    #[test]
    fn two_digests_hash_as_the_library_does() {
        for nth in 0_u8..50 {
            let (left, right) = (Digest::of(&[nth]), Digest::of(&[nth, nth]));
            let expected = Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()]);
            assert_eq!(pair(1, &left, &right), expected);
        }
    }
}
