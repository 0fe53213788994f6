//! One form only: every golden file, of this crate and of `evidence`, in every way in which CBOR
//! could say the same otherwise. The strict validator refuses all of them; another decoder
//! (ciborium) agrees about the golden files themselves.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

use nooterra_protocol::codec::{self, Value};
use std::path::Path;

/// An item, taken apart as far as its form has choices.
#[derive(Clone, Debug)]
enum Node {
    Array(Vec<Node>),
    /// Floats, true, false, null: as they are.
    Fixed(Vec<u8>),
    Integer(u8, u64),
    Map(Vec<(Node, Node)>),
    String(u8, Vec<u8>),
}

/// A way to write an item that says the same, or nearly, in other bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Twist {
    /// The first pair of a map once more.
    DoubledKey,
    /// A string in chunks, an array or a map with an end.
    Indefinite,
    /// The keys of a map as byte strings.
    KeysAsBytes,
    /// The keys of a map as numbers of fields.
    KeysAsNumbers,
    /// Two neighbours of a map exchanged.
    Swapped,
    /// With a tag before it.
    Tagged,
    /// Its number or length in so many bytes more than needed.
    Wide(u32),
    /// A float in the next width, or in the one after that.
    WideFloat(u32),
}

const TWISTS: [Twist; 12] = [
    Twist::DoubledKey,
    Twist::Indefinite,
    Twist::KeysAsBytes,
    Twist::KeysAsNumbers,
    Twist::Swapped,
    Twist::Tagged,
    Twist::Wide(1),
    Twist::Wide(2),
    Twist::Wide(3),
    Twist::Wide(4),
    Twist::WideFloat(1),
    Twist::WideFloat(2),
];

impl Node {
    fn read(bytes: &[u8], at: &mut usize) -> Self {
        let (major, info) = (bytes[*at] >> 5, bytes[*at] & 0x1f);
        let width = match info {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let (begin, end) = (*at, *at + 1 + width);
        *at = end;
        let number = bytes[begin + 1..end].iter().fold(0_u64, |sum, b| sum << 8 | u64::from(*b));
        let number = if width == 0 { u64::from(info) } else { number };
        match major {
            0 | 1 => Self::Integer(major, number),
            2 | 3 => {
                *at += usize::try_from(number).unwrap();
                Self::String(major, bytes[end..*at].to_vec())
            }
            4 => Self::Array((0..number).map(|_| Self::read(bytes, at)).collect()),
            5 => {
                let pair = |_| (Self::read(bytes, at), Self::read(bytes, at));
                Self::Map((0..number).map(pair).collect())
            }
            7 => Self::Fixed(bytes[begin..end].to_vec()),
            _ => panic!("no golden file has tags"),
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::Array(items) => items.iter().map(Self::count).sum(),
            Self::Map(pairs) => pairs.iter().map(|(key, value)| key.count() + value.count()).sum(),
            _ => 0,
        }
    }

    /// Writes it, the item of number `target` with a twist; whether the twist applies there.
    fn write(&self, out: &mut Vec<u8>, next: &mut usize, target: usize, twist: Twist) -> bool {
        let mine = (*next == target).then_some(twist);
        *next += 1;
        if mine == Some(Twist::Tagged) {
            out.push(0xc1);
        }
        let wide = if let Some(Twist::Wide(more)) = mine { more } else { 0 };
        let mut applies = mine == Some(Twist::Tagged);
        match self {
            Self::Integer(major, number) => applies |= head(out, *major, *number, wide),
            Self::String(major, bytes) if mine == Some(Twist::Indefinite) => {
                out.push(major << 5 | 0x1f);
                head(out, *major, bytes.len() as u64, 0);
                out.extend_from_slice(bytes);
                out.push(0xff);
                applies = true;
            }
            Self::String(major, bytes) => {
                applies |= head(out, *major, bytes.len() as u64, wide);
                out.extend_from_slice(bytes);
            }
            Self::Fixed(bytes) => match (mine, float(bytes)) {
                (Some(Twist::WideFloat(steps)), Some(value)) => match (bytes.len(), steps) {
                    (3, 1) => {
                        out.push(0xfa);
                        #[allow(clippy::cast_possible_truncation)] // It came from 16 bits.
                        out.extend_from_slice(&(value as f32).to_be_bytes());
                        applies = true;
                    }
                    (3, _) | (5, 1) => {
                        out.push(0xfb);
                        out.extend_from_slice(&value.to_be_bytes());
                        applies = true;
                    }
                    _ => out.extend_from_slice(bytes),
                },
                _ => out.extend_from_slice(bytes),
            },
            Self::Array(items) => {
                let open = mine == Some(Twist::Indefinite);
                if open {
                    out.push(0x9f);
                    applies = true;
                } else {
                    applies |= head(out, 4, items.len() as u64, wide);
                }
                for item in items {
                    applies |= item.write(out, next, target, twist);
                }
                if open {
                    out.push(0xff);
                }
            }
            Self::Map(pairs) => {
                let mut pairs = pairs.clone();
                match mine {
                    Some(Twist::DoubledKey) if !pairs.is_empty() => {
                        pairs.insert(0, pairs[0].clone());
                        applies = true;
                    }
                    Some(Twist::Swapped) if pairs.len() > 1 => {
                        pairs.swap(0, 1);
                        applies = true;
                    }
                    Some(Twist::KeysAsBytes | Twist::KeysAsNumbers) if !pairs.is_empty() => {
                        for (nth, (key, _)) in pairs.iter_mut().enumerate() {
                            if let Self::String(major, _) = key {
                                *major = 2;
                            }
                            if mine == Some(Twist::KeysAsNumbers) {
                                *key = Self::Integer(0, nth as u64);
                            }
                        }
                        applies = true;
                    }
                    _ => {}
                }
                let open = mine == Some(Twist::Indefinite);
                if open {
                    out.push(0xbf);
                    applies = true;
                } else {
                    applies |= head(out, 5, pairs.len() as u64, wide);
                }
                for (key, value) in &pairs {
                    applies |= key.write(out, next, target, twist);
                    applies |= value.write(out, next, target, twist);
                }
                if open {
                    out.push(0xff);
                }
            }
        }
        applies
    }

    /// Objects within: what is signed is a byte string around another item.
    fn within(&self, found: &mut Vec<Vec<u8>>) {
        match self {
            Self::Array(items) => items.iter().for_each(|item| item.within(found)),
            Self::Map(pairs) => pairs.iter().for_each(|(_, value)| value.within(found)),
            Self::String(2, bytes) if codec::validate(bytes).is_ok() && bytes.len() > 8 => {
                found.push(bytes.clone());
                Self::read(bytes, &mut 0).within(found);
            }
            _ => {}
        }
    }
}

fn float(bytes: &[u8]) -> Option<f64> {
    match bytes {
        [0xf9, high, low] => Some(f64::from(half::f16::from_be_bytes([*high, *low]))),
        [0xfa, rest @ ..] => Some(f64::from(f32::from_be_bytes(rest.try_into().ok()?))),
        _ => None,
    }
}

/// Writes a type and a number, in `wider` steps more than needed; whether there are so many.
fn head(out: &mut Vec<u8>, major: u8, number: u64, wider: u32) -> bool {
    let widths = [0, 1, 2, 4, 8];
    let least = match number {
        0..=23 => 0,
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 3,
        _ => 4,
    };
    let step = least + usize::try_from(wider).unwrap();
    let (step, applies) = if step > 4 { (least, false) } else { (step, wider > 0) };
    let info = match step {
        0 => u8::try_from(number).unwrap(),
        step => 23 + u8::try_from(step).unwrap(),
    };
    out.push(major << 5 | info);
    out.extend_from_slice(&number.to_be_bytes()[8 - widths[step]..]);
    applies
}

/// Every golden file of both crates, and the objects inside of signed ones.
fn golden() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for folder in ["tests/golden", "../evidence/tests/golden"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // A link is a bare hash.
            if !name.ends_with(".hex") || name == "link.hex" {
                continue;
            }
            let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
            let bytes = hex::decode(text).unwrap();
            let mut within = Vec::new();
            Node::read(&bytes, &mut 0).within(&mut within);
            all.extend(within.into_iter().map(|inner| (format!("within {name}"), inner)));
            all.push((name, bytes));
        }
    }
    all
}

#[test]
fn another_decoder_reads_every_golden_file_alike_and_writes_it_the_same() {
    let all = golden();
    assert!(all.len() >= 14, "{} golden files", all.len());
    for (name, bytes) in all {
        let theirs: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
        let mut written = Vec::new();
        ciborium::into_writer(&theirs, &mut written).unwrap();
        assert_eq!(written, bytes, "{name}: ciborium writes it otherwise");
        let ours: Value = codec::from_slice(&bytes).unwrap();
        assert_eq!(codec::to_vec(&ours).unwrap(), bytes, "{name}");
        assert_eq!(alike(&ours), theirs, "{name}: ciborium reads it otherwise");
    }
}

fn alike(value: &Value) -> ciborium::Value {
    use ciborium::Value as Theirs;
    match value {
        Value::Null => Theirs::Null,
        Value::Bool(flag) => Theirs::Bool(*flag),
        Value::Integer(number) => Theirs::Integer((*number).try_into().unwrap()),
        Value::Float(number) => Theirs::Float(*number),
        Value::Text(text) => Theirs::Text(text.clone()),
        Value::Bytes(bytes) => Theirs::Bytes(bytes.clone()),
        Value::Array(items) => Theirs::Array(items.iter().map(alike).collect()),
        // serde_cbor keeps its maps in the canonical order.
        Value::Map(map) => Theirs::Map(map.iter().map(|(k, v)| (alike(k), alike(v))).collect()),
        other => panic!("no golden file has {other:?}"),
    }
}

#[test]
fn every_other_form_of_every_golden_file_is_refused() {
    let mut refused = [0_usize; TWISTS.len()];
    for (name, bytes) in golden() {
        let node = Node::read(&bytes, &mut 0);
        let count = node.count();
        let mut same = Vec::new();
        node.write(&mut same, &mut 0, usize::MAX, Twist::Tagged);
        assert_eq!(same, bytes, "{name} is not taken apart rightly");
        for target in 0..count {
            for (nth, twist) in TWISTS.into_iter().enumerate() {
                let mut twisted = Vec::new();
                if node.write(&mut twisted, &mut 0, target, twist) {
                    let found = codec::validate(&twisted);
                    assert!(found.is_err(), "{name}: {twist:?} of item {target} was taken");
                    refused[nth] += 1;
                }
            }
        }
        for more in 0..=u8::MAX {
            let trailing = [bytes.as_slice(), &[more]].concat();
            assert!(codec::validate(&trailing).is_err(), "{name} and {more:#x}");
        }
        for cut in 0..bytes.len() {
            assert!(codec::validate(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
    println!("refused: {refused:?}");
    for (count, twist) in refused.into_iter().zip(TWISTS) {
        assert!(count > 0, "no golden file has a place for {twist:?}");
    }
}
