//! The order of map keys. serde writes a struct's fields as they are declared; the canonical form
//! has them by their encoded bytes.
//!
//! The bytes are sorted where they stand. A tree of values, which sorts itself, costs an
//! allocation for each key and each value, and took most of the time of appending a record.

use super::MAX_DEPTH;
use std::ops::Range;

/// Sorts every map in `bytes`, which is one item as serde_cbor writes it. `None` where that takes
/// more than sorting: lengths that were not known beforehand, keys that are no text or stand
/// twice, nesting beyond the limit. The bytes are then in any order.
pub(super) fn sort(bytes: &mut [u8], room: &mut Room) -> Option<()> {
    room.pairs.clear();
    let mut sorter = Sorter { bytes, room };
    let end = sorter.item(0, 0)?;
    (end == sorter.bytes.len()).then_some(())
}

/// A key, and where its value ends.
type Pair = (Range<usize>, usize);

/// What sorting takes, kept for the next item.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Of all maps that are being read, the innermost last.
    pairs: Vec<Pair>,
    scratch: Vec<u8>,
}

struct Sorter<'a> {
    bytes: &'a mut [u8],
    room: &'a mut Room,
}

impl Sorter<'_> {
    /// Sorts what is in the item at `at` and returns where it ends.
    fn item(&mut self, at: usize, depth: usize) -> Option<usize> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (major, argument, mut next) = self.begin(at)?;
        match major {
            // The width of a float is that of an argument.
            0 | 1 | 7 => Some(next),
            2 | 3 => {
                let end = next.checked_add(usize::try_from(argument).ok()?)?;
                (end <= self.bytes.len()).then_some(end)
            }
            4 => {
                for _ in 0..argument {
                    next = self.item(next, depth + 1)?;
                }
                Some(next)
            }
            5 => self.map(next, argument, depth),
            _ => None,
        }
    }

    fn map(&mut self, start: usize, count: u64, depth: usize) -> Option<usize> {
        let (first, mut next, mut is_sorted) = (self.room.pairs.len(), start, true);
        for _ in 0..count {
            let key_start = next;
            if self.bytes.get(key_start)? >> 5 != 3 {
                return None;
            }
            let key = key_start..self.item(key_start, depth + 1)?;
            next = self.item(key.end, depth + 1)?;
            if let Some((before, _)) = self.room.pairs[first..].last() {
                is_sorted &= self.bytes[before.clone()] < self.bytes[key.clone()];
            }
            self.room.pairs.push((key, next));
        }
        if !is_sorted {
            let Room { pairs, scratch } = &mut *self.room;
            let (bytes, pairs) = (&mut *self.bytes, &mut pairs[first..]);
            pairs.sort_unstable_by(|(a, _), (b, _)| bytes[a.clone()].cmp(&bytes[b.clone()]));
            if pairs.windows(2).any(|two| bytes[two[0].0.clone()] == bytes[two[1].0.clone()]) {
                return None;
            }
            scratch.clear();
            scratch.reserve(next - start);
            for (key, end) in pairs {
                scratch.extend_from_slice(&bytes[key.start..*end]);
            }
            bytes[start..next].copy_from_slice(scratch);
        }
        self.room.pairs.truncate(first);
        Some(next)
    }

    /// The type and the number that an item begins with, and where it goes on.
    fn begin(&self, at: usize) -> Option<(u8, u64, usize)> {
        let initial = *self.bytes.get(at)?;
        let width = match initial & 0x1f {
            info @ 0..=23 => return Some((initial >> 5, u64::from(info), at + 1)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return None,
        };
        let raw = self.bytes.get(at + 1..at + 1 + width)?;
        let number = raw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Some((initial >> 5, number, at + 1 + width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Value, to_vec};
    use proptest::prelude::*;
    use serde::Serialize;
    use std::collections::HashMap;

    /// As it was done before: by a tree that sorts itself.
    fn by_a_tree<T: Serialize>(value: &T) -> Vec<u8> {
        serde_cbor::to_vec(&serde_cbor::value::to_value(value).unwrap()).unwrap()
    }

    #[derive(Clone, Debug, Serialize)]
    struct Many {
        zeta: Option<Box<Many>>,
        a: f64,
        single: f32,
        longest_of_all: Shape,
        text: String,
        map: HashMap<String, i64>,
        nothing: (),
        pair: (u8, char),
    }

    #[derive(Clone, Debug, Serialize)]
    enum Shape {
        Unit,
        Newtype(u64),
        Tuple(bool, i8),
        Struct { z: Vec<u16>, a: String, bb: Option<u8> },
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Unit),
            any::<u64>().prop_map(Shape::Newtype),
            any::<(bool, i8)>().prop_map(|(a, b)| Shape::Tuple(a, b)),
            (any::<Vec<u16>>(), ".*", any::<Option<u8>>()).prop_map(|(z, a, bb)| Shape::Struct {
                z,
                a,
                bb
            }),
        ]
    }

    fn flat() -> impl Strategy<Value = Many> {
        let floats = (any::<u64>(), any::<u32>());
        let map = proptest::collection::hash_map("[a-z]{0,30}", any::<i64>(), 0..30);
        (floats, shape(), "\\PC{0,40}", map, any::<(u8, char)>()).prop_map(
            |((a, single), longest_of_all, text, map, pair)| Many {
                zeta: None,
                a: f64::from_bits(a),
                single: f32::from_bits(single),
                longest_of_all,
                text,
                map,
                nothing: (),
                pair,
            },
        )
    }

    fn many() -> impl Strategy<Value = Many> {
        (flat(), proptest::option::of(flat()))
            .prop_map(|(outer, inner)| Many { zeta: inner.map(Box::new), ..outer })
    }

    #[test]
    fn what_cannot_be_sorted_in_place_is_left_to_the_tree() {
        // An indefinite map, a key twice, a key that is a number, a tag, a text cut short.
        for bytes in ["bf616101ff", "a2616101616102", "a10101", "c100", "626161ff", "6361", "bb"] {
            let mut bytes = hex::decode(bytes).unwrap();
            assert_eq!(sort(&mut bytes, &mut Room::default()), None, "{bytes:02x?}");
        }
        let mut numbers = std::collections::BTreeMap::new();
        numbers.insert(Value::Integer(300), Value::Null);
        numbers.insert(Value::Integer(2), Value::Null);
        let value = Value::Map(numbers);
        assert_eq!(to_vec(&value).unwrap(), by_a_tree(&value));
    }

    proptest! {
        #[test]
        fn what_is_sorted_in_place_is_what_the_tree_makes(value in many()) {
            let bytes = to_vec(&value).unwrap();
            prop_assert_eq!(&bytes, &by_a_tree(&value));
            let mut again = bytes.clone();
            prop_assert_eq!(sort(&mut again, &mut Room::default()), Some(()));
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = sort(&mut bytes, &mut Room::default());
        }
    }
}
