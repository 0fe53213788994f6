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
        let mut end = begin;
        loop {
            while end < row.len() && row[end] != before.get(end).copied().unwrap_or(0) {
                end += 1;
            }
            let gap = unchanged_from(before, row, end);
            if gap > BRIDGED || end + gap == row.len() {
                break;
            }
            end += gap;
        }
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

    proptest! {
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
