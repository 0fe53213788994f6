//! Numbers that change little, told by what changed: each row of bytes as its difference from
//! the row before.
//!
//! ```text
//! row  = length, runs until that length is reached
//! run  = unchanged, changed, that many bytes XORed with the same bytes of the row before
//! ```
//! `length`, `unchanged` and `changed` are counts in LEB128. Bytes that the row before does not
//! have count as zero there. What is encoded is read back bit for bit, whatever the bits: that
//! is why the rows hold numbers as they are in memory, and no decimal or shortened form.

/// Two changes with fewer unchanged bytes between them are one run: a new one costs as much.
const BRIDGED: usize = 2;

/// Why bytes are not a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeltaError {
    /// It ends in the middle.
    #[error("a row is cut short")]
    Cut,
    /// A run goes beyond its row, or changes nothing: not what [`encode`] makes.
    #[error("a run does not fit its row")]
    Run,
    /// A row is longer than its reader takes.
    #[error("a row of {0} bytes")]
    TooLong(usize),
}

/// Appends `row` as its difference from `before`.
pub fn encode(before: &[u8], row: &[u8], into: &mut Vec<u8>) {
    put_count(row.len(), into);
    let mut at = 0;
    while at < row.len() {
        let unchanged = unchanged_from(before, row, at);
        let begin = at + unchanged;
        let end = changed_to(before, row, begin);
        put_count(unchanged, into);
        put_count(end - begin, into);
        let known = end.min(before.len()).max(begin);
        let old = before.get(begin..known).unwrap_or_default();
        into.extend(row[begin..known].iter().zip(old).map(|(new, old)| new ^ old));
        into.extend_from_slice(&row[known..end]);
        at = end;
    }
}

/// How many bytes from `at` on are as they were: eight at once, because most are.
fn unchanged_from(before: &[u8], row: &[u8], at: usize) -> usize {
    const WORD: usize = size_of::<u64>();
    let (new, old) = (&row[at..], before.get(at..).unwrap_or_default());
    let ((new_words, _), (old_words, _)) = (new.as_chunks::<WORD>(), old.as_chunks::<WORD>());
    let same = new_words.iter().zip(old_words).take_while(|(new, old)| new == old).count() * WORD;
    let rest = new[same..].iter().enumerate();
    let same_byte =
        |(nth, byte): &(usize, &u8)| **byte == old.get(same + *nth).copied().unwrap_or(0);
    same + rest.take_while(same_byte).count()
}

/// Where the run of changes ends that begins at `begin`: before the first gap of more than
/// [`BRIDGED`] bytes that did not change, or before those at the end of the row.
fn changed_to(before: &[u8], row: &[u8], begin: usize) -> usize {
    const WORD: usize = size_of::<u64>();
    let (new, old) = (&row[begin..], before.get(begin..).unwrap_or_default());
    let (new_words, old_words) = (new.as_chunks::<WORD>().0, old.as_chunks::<WORD>().0);
    // Bytes looked at, and which of the last word did not change.
    let (mut at, mut last) = (0, 0);
    for (new, old) in new_words.iter().zip(old_words) {
        let same = same_bytes(u64::from_le_bytes(*new) ^ u64::from_le_bytes(*old));
        // The last two bytes before the word stand in front of it: a gap may begin there.
        let bits = u32::from(same) << BRIDGED | u32::from(last >> 6);
        let gaps = bits & bits >> 1 & bits >> 2;
        if gaps != 0 {
            return begin + at + gaps.trailing_zeros() as usize - BRIDGED;
        }
        at += WORD;
        last = same;
    }
    // How many bytes before did not change, and where one last did.
    let mut gap = (last.leading_ones() as usize).min(BRIDGED);
    let mut end = at - gap;
    for (nth, byte) in new.iter().enumerate().skip(at) {
        if *byte != old.get(nth).copied().unwrap_or(0) {
            (gap, end) = (0, nth + 1);
        } else {
            gap += 1;
            if gap > BRIDGED {
                break;
            }
        }
    }
    begin + end
}

/// A bit for each byte of a word that is zero, the lowest for the lowest.
// The product's highest byte.
#[allow(clippy::cast_possible_truncation)]
const fn same_bytes(difference: u64) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The highest bit of each byte is set where the byte is zero, and no other bit is.
    let zero = !(((difference & LOW) + LOW) | difference | LOW);
    // Gathers these bits: each is shifted to another place of the highest byte.
    ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

/// Reads the row at `at` of `bytes`, moves `at` behind it, and leaves it in `row`, which holds
/// the row before: at most `most` bytes.
///
/// # Errors
/// [`DeltaError`]; `row` is in no useful state then.
pub fn decode(
    bytes: &[u8],
    at: &mut usize,
    most: usize,
    row: &mut Vec<u8>,
) -> Result<(), DeltaError> {
    let length = take_count(bytes, at)?;
    if length > most {
        return Err(DeltaError::TooLong(length));
    }
    row.resize(length, 0);
    let mut next = 0_usize;
    while next < length {
        let unchanged = take_count(bytes, at)?;
        let changed = take_count(bytes, at)?;
        let begin = next.checked_add(unchanged).ok_or(DeltaError::Run)?;
        let end = begin.checked_add(changed).ok_or(DeltaError::Run)?;
        if end == next {
            return Err(DeltaError::Run);
        }
        let into = row.get_mut(begin..end).ok_or(DeltaError::Run)?;
        let from = at.checked_add(changed).and_then(|after| bytes.get(*at..after));
        for (byte, difference) in into.iter_mut().zip(from.ok_or(DeltaError::Cut)?) {
            *byte ^= difference;
        }
        (*at, next) = (*at + changed, end);
    }
    Ok(())
}

// Seven bits fit.
#[allow(clippy::cast_possible_truncation)]
fn put_count(mut count: usize, into: &mut Vec<u8>) {
    while count >= 0x80 {
        into.push((count & 0x7f) as u8 | 0x80);
        count >>= 7;
    }
    into.push(count as u8);
}

/// At most four bytes: no row is that long.
fn take_count(bytes: &[u8], at: &mut usize) -> Result<usize, DeltaError> {
    let mut count = 0;
    for shift in [0, 7, 14, 21] {
        let byte = *bytes.get(*at).ok_or(DeltaError::Cut)?;
        *at += 1;
        count |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(count);
        }
    }
    Err(DeltaError::Run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn read_all(bytes: &[u8], rows: usize) -> Result<Vec<Vec<u8>>, DeltaError> {
        let (mut at, mut row, mut all) = (0, Vec::new(), Vec::new());
        for _ in 0..rows {
            decode(bytes, &mut at, 4096, &mut row)?;
            all.push(row.clone());
        }
        if at == bytes.len() { Ok(all) } else { Err(DeltaError::Run) }
    }

    #[test]
    fn a_row_that_did_not_change_costs_a_few_bytes() {
        let row = [7; 480];
        let mut bytes = Vec::new();
        encode(&row, &row, &mut bytes);
        assert!(bytes.len() <= 5, "{bytes:?}");
    }

    /// The same, said byte by byte.
    fn plainly(before: &[u8], row: &[u8]) -> Vec<u8> {
        let same = |at: usize| row[at] == before.get(at).copied().unwrap_or(0);
        let gap = |at: usize| (at..row.len()).take_while(|at| same(*at)).count();
        let (mut bytes, mut at) = (Vec::new(), 0);
        put_count(row.len(), &mut bytes);
        while at < row.len() {
            let (unchanged, begin) = (gap(at), at + gap(at));
            let mut end = begin;
            while end < row.len() && gap(end) <= BRIDGED && end + gap(end) < row.len() {
                end += gap(end) + 1;
            }
            put_count(unchanged, &mut bytes);
            put_count(end - begin, &mut bytes);
            let differences = (begin..end).map(|at| row[at] ^ before.get(at).unwrap_or(&0));
            bytes.extend(differences);
            at = end;
        }
        bytes
    }

    proptest! {
        #[test]
        fn eight_bytes_at_once_say_the_same_as_one(
            before in vec(0_u8..3, 0..90),
            row in vec(0_u8..3, 0..90),
            common in 0_usize..90,
        ) {
            // Much alike, as rows are.
            let mut alike = row.clone();
            let common = common.min(before.len()).min(row.len());
            alike[..common].copy_from_slice(&before[..common]);
            for row in [row, alike] {
                let mut bytes = Vec::new();
                encode(&before, &row, &mut bytes);
                prop_assert_eq!(bytes, plainly(&before, &row));
            }
        }

        #[test]
        fn each_byte_that_is_zero_has_its_bit(word in vec(0_u8..3, 8)) {
            let bytes: [u8; 8] = word.try_into().unwrap();
            let bits = same_bytes(u64::from_le_bytes(bytes));
            for (nth, byte) in bytes.into_iter().enumerate() {
                prop_assert_eq!(bits >> nth & 1 == 1, byte == 0);
            }
        }

        #[test]
        fn rows_are_read_back_bit_for_bit(
            rows in vec(vec(0_u8..4, 0..200), 1..20),
        ) {
            let (mut bytes, mut before) = (Vec::new(), Vec::new());
            for row in &rows {
                encode(&before, row, &mut bytes);
                before.clone_from(row);
            }
            prop_assert_eq!(read_all(&bytes, rows.len()).unwrap(), rows);
        }

        #[test]
        fn bytes_that_are_no_rows_never_panic_and_never_grow_beyond_the_bound(
            bytes in vec(any::<u8>(), 0..200),
        ) {
            let (mut at, mut row) = (0, Vec::new());
            while decode(&bytes, &mut at, 300, &mut row).is_ok() && at < bytes.len() {
                prop_assert!(row.len() <= 300);
            }
        }
    }
}
