//! SHA-256 of the three inputs that a journal is made of: a byte before a record, and a byte
//! before two digests. The blocks are laid out here, so that each is compressed once and nothing
//! is gathered in a buffer first; for 65 bytes that is half of the work. Two inputs that do not
//! depend on each other are compressed in turns, block by block: each block waits for the one before
//! it, and meanwhile the processor has room for the other.

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
    let mut state = INITIAL;
    compress256(&mut state, &laid_out(prefix, left, right));
    finished(&state)
}

/// The same of two pairs.
pub(crate) fn pairs(prefix: u8, both: [(&Digest, &Digest); 2]) -> [Digest; 2] {
    let blocks = both.map(|(left, right)| laid_out(prefix, left, right));
    let mut states = [INITIAL; 2];
    for nth in 0..2 {
        for (state, blocks) in states.iter_mut().zip(&blocks) {
            compress256(state, &blocks[nth..=nth]);
        }
    }
    states.map(|state| finished(&state))
}

fn laid_out(prefix: u8, left: &Digest, right: &Digest) -> [[u8; 64]; 2] {
    let mut blocks = [[0; 64]; 2];
    let (left, right) = (left.as_bytes(), right.as_bytes());
    blocks[0][0] = prefix;
    blocks[0][1..33].copy_from_slice(left);
    blocks[0][33..].copy_from_slice(&right[..31]);
    blocks[1][0] = right[31];
    blocks[1][1] = 0x80;
    blocks[1][56..].copy_from_slice(&(65_u64 * 8).to_be_bytes());
    blocks
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

/// SHA-256(prefix ‖ bytes) of two.
pub(crate) fn behind_both(prefix: u8, both: [&[u8]; 2]) -> [Digest; 2] {
    let [Some((first, rest)), Some((other_first, other_rest))] =
        both.map(<[u8]>::split_first_chunk::<63>)
    else {
        return both.map(|bytes| behind(prefix, bytes));
    };
    let mut blocks = [[prefix; 64]; 2];
    blocks[0][1..].copy_from_slice(first);
    blocks[1][1..].copy_from_slice(other_first);
    let mut states = [INITIAL; 2];
    for (state, block) in states.iter_mut().zip(&blocks) {
        compress256(state, std::slice::from_ref(block));
    }
    let [(whole, rest), (other, other_rest)] = [rest, other_rest].map(<[u8]>::as_chunks::<64>);
    let shared = whole.len().min(other.len());
    for (block, other) in whole.iter().zip(other) {
        compress256(&mut states[0], std::slice::from_ref(block));
        compress256(&mut states[1], std::slice::from_ref(other));
    }
    compress256(&mut states[0], &whole[shared..]);
    compress256(&mut states[1], &other[shared..]);
    let ended = |state, rest: &[u8], length: usize| {
        let mut block = [0; 64];
        block[..rest.len()].copy_from_slice(rest);
        end(state, block, rest.len(), length + 1)
    };
    [ended(states[0], rest, both[0].len()), ended(states[1], other_rest, both[1].len())]
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
    fn two_at_once_hash_as_each_does_whatever_their_lengths() {
        let bytes: Vec<u8> = (0..=255).cycle().take(700).collect();
        for length in 0..bytes.len() {
            for other in [0, 1, 62, 63, 64, 127, 128, 183, 184, 500, length, bytes.len()] {
                let both = [&bytes[..length], &bytes[bytes.len() - other..]];
                assert_eq!(behind_both(0, both), both.map(|bytes| behind(0, bytes)));
            }
        }
    }

    #[test]
    fn two_digests_hash_as_the_library_does() {
        for nth in 0_u8..50 {
            let (left, right) = (Digest::of(&[nth]), Digest::of(&[nth, nth]));
            let expected = Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()]);
            assert_eq!(pair(1, &left, &right), expected);
            let both = pairs(1, [(&left, &right), (&right, &right)]);
            assert_eq!(both, [expected, pair(1, &right, &right)]);
        }
    }
}
