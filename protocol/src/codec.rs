//! Canonical CBOR: the one module that knows how a value becomes bytes.
//!
//! The form is RFC 8949 §4.2.1 (core deterministic encoding): shortest integers and floats,
//! definite lengths, map keys sorted by their encoded bytes, none twice. On top of it this
//! project refuses map keys that are no text, tags, `undefined`, simple values, NaN other than
//! `f97e00`, nesting beyond [`MAX_DEPTH`] and anything after the one item.
//!
//! serde_cbor's decoder accepts all of those, and takes bytes or a field's number for its name, so [`validate`] always runs before it. Hashes
//! and signatures are over the bytes as they were stored or received, never over bytes that
//! were encoded again. `#[serde(flatten)]` is banned: it loses the type of what it buffers.

mod order;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;

pub use serde_cbor::Value;

/// The deepest nesting that is accepted; the deepest of our own types needs 9.
pub const MAX_DEPTH: usize = 32;

/// Most of what is encoded is smaller.
const ENCODED_BYTES: usize = 512;

/// What an [`Encoder`] keeps at most for the next value.
const MOST_KEPT: usize = 64 * 1024;

/// Why bytes are not an acceptable item, or a value cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Well-formed and canonical, but not the type that was expected: a newer writer, or the
    /// wrong kind of object.
    #[error("the value has another shape than expected: {0}")]
    Shape(#[source] serde_cbor::Error),
    /// A value that has no canonical form, such as a map whose keys are maps.
    #[error("cannot encode: {0}")]
    Encode(#[source] serde_cbor::Error),
    /// Not canonical CBOR: damaged, or written by an encoder that does not follow §4.2.
    #[error("not canonical CBOR at byte {at}: {why}")]
    NotCanonical {
        /// Offset of the item that breaks the rule.
        at: usize,
        /// The rule.
        why: &'static str,
    },
}

/// Encodes a value in canonical form.
///
/// # Errors
/// [`CodecError::Encode`] when the value has no CBOR form.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut encoder = Encoder::default();
    encoder.encode(value)?;
    Ok(encoder.bytes)
}

/// Encodes one value after the other, in memory that it keeps: for who encodes thousands.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    room: order::Room,
}

impl Encoder {
    /// The same bytes as those of [`to_vec`], until the next ones.
    ///
    /// # Errors
    /// As [`to_vec`].
    pub fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<&[u8], CodecError> {
        if self.bytes.capacity() > MOST_KEPT {
            *self = Self::default();
        }
        self.bytes.clear();
        self.bytes.reserve(ENCODED_BYTES);
        let mut serializer =
            serde_cbor::Serializer::new(serde_cbor::ser::IoWrite::new(&mut self.bytes));
        value.serialize(&mut serializer).map_err(CodecError::Encode)?;
        if order::sort(&mut self.bytes, &mut self.room).is_none() {
            // Through `Value`, slowly: its maps are ordered by encoded key, whatever the keys are.
            let value = serde_cbor::value::to_value(value).map_err(CodecError::Encode)?;
            self.bytes = serde_cbor::to_vec(&value).map_err(CodecError::Encode)?;
        }
        Ok(&self.bytes)
    }
}

/// Encodes a tree as it stands. A tree's maps are in order already; [`to_vec`] would copy it first.
///
/// # Errors
/// [`CodecError::Encode`] when it has no canonical form.
pub fn value_to_vec(value: &Value) -> Result<Vec<u8>, CodecError> {
    serde_cbor::to_vec(value).map_err(CodecError::Encode)
}

/// Decodes one canonical item and nothing else.
///
/// # Errors
/// [`CodecError::NotCanonical`] before any of it is interpreted, [`CodecError::Shape`] after.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    validate(bytes)?;
    serde_cbor::from_slice(bytes).map_err(CodecError::Shape)
}

/// A value as a generic tree.
///
/// # Errors
/// [`CodecError::Encode`] when the value has no CBOR form.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, CodecError> {
    serde_cbor::value::to_value(value).map_err(CodecError::Encode)
}

/// A generic tree as a typed value.
///
/// # Errors
/// [`CodecError::Shape`] when the tree is not a `T`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, CodecError> {
    serde_cbor::value::from_value(value).map_err(CodecError::Shape)
}

/// Checks that `bytes` are exactly one item in the canonical form.
///
/// # Errors
/// [`CodecError::NotCanonical`] with the offset and the rule that is broken.
pub fn validate(bytes: &[u8]) -> Result<(), CodecError> {
    let end = Checker { bytes }.item(0, 0)?;
    if end == bytes.len() {
        Ok(())
    } else {
        Err(CodecError::NotCanonical { at: end, why: "bytes after the end of the item" })
    }
}

/// Where the item that begins at `at` ends, of bytes that were validated: to read a part of a
/// record without making the rest of it.
///
/// # Errors
/// [`CodecError::NotCanonical`] when no item begins there.
pub fn end_of_item(bytes: &[u8], at: usize) -> Result<usize, CodecError> {
    Checker { bytes }.item(at, 0)
}

/// Where the item that begins at `at` ends, checked as [`validate`] would as a part of a larger
/// one, inside `depth` others: for who reads what stands around it by itself.
///
/// # Errors
/// [`CodecError::NotCanonical`].
pub fn validate_part(bytes: &[u8], at: usize, depth: usize) -> Result<usize, CodecError> {
    Checker { bytes }.item(at, depth)
}

struct Checker<'a> {
    bytes: &'a [u8],
}

impl Checker<'_> {
    /// Checks the item at `at` and returns where it ends.
    fn item(&self, at: usize, depth: usize) -> Result<usize, CodecError> {
        let no = |why| Err(CodecError::NotCanonical { at, why });
        if depth > MAX_DEPTH {
            return no("nested too deeply");
        }
        let Some(&initial) = self.bytes.get(at) else {
            return no("ends in the middle of an item");
        };
        let (major, info) = (initial >> 5, initial & 0x1f);
        if major == 7 {
            return self.simple(at, info);
        }
        let (argument, mut next) = self.argument(at, info)?;
        match major {
            0 | 1 => Ok(next),
            2 | 3 => {
                let Some(end) = usize::try_from(argument).ok().and_then(|n| next.checked_add(n))
                else {
                    return no("length is larger than memory");
                };
                let Some(content) = self.bytes.get(next..end) else {
                    return no("string runs past the end");
                };
                // Nearly all text is ASCII, which is seen in a fifth of the time.
                if major == 3 && !is_ascii(content) && std::str::from_utf8(content).is_err() {
                    return no("text is not UTF-8");
                }
                Ok(end)
            }
            4 => {
                // Each element takes at least a byte: a huge count ends at the first gap.
                for _ in 0..argument {
                    next = self.item(next, depth + 1)?;
                }
                Ok(next)
            }
            5 => {
                let mut previous: Option<&[u8]> = None;
                for _ in 0..argument {
                    let key_end = self.item(next, depth + 1)?;
                    let key = &self.bytes[next..key_end];
                    // A reader that takes several spellings of a key gives one record several
                    // forms.
                    if key[0] >> 5 != 3 {
                        return Err(CodecError::NotCanonical {
                            at: next,
                            why: "a map key is no text",
                        });
                    }
                    if previous.is_some_and(|previous| previous >= key) {
                        return Err(CodecError::NotCanonical {
                            at: next,
                            why: "map keys are not sorted, or one appears twice",
                        });
                    }
                    previous = Some(key);
                    next = self.item(key_end, depth + 1)?;
                }
                Ok(next)
            }
            _ => no("tags are not used here"),
        }
    }

    /// The argument of the item at `at`, and where its content begins.
    fn argument(&self, at: usize, info: u8) -> Result<(u64, usize), CodecError> {
        let no = |why| Err(CodecError::NotCanonical { at, why });
        let (width, least) = match info {
            0..=23 => return Ok((u64::from(info), at + 1)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return no("indefinite length"),
            _ => return no("reserved length"),
        };
        let Some(raw) = self.bytes.get(at + 1..at + 1 + width) else {
            return no("ends in the middle of an item");
        };
        let argument = raw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if argument < least {
            return no("integer or length is not in its shortest form");
        }
        Ok((argument, at + 1 + width))
    }

    fn simple(&self, at: usize, info: u8) -> Result<usize, CodecError> {
        let no = |why| Err(CodecError::NotCanonical { at, why });
        let width = match info {
            20..=22 => return Ok(at + 1),
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return no("simple values other than true, false and null are not used here"),
        };
        let Some(raw) = self.bytes.get(at + 1..at + 1 + width) else {
            return no("ends in the middle of an item");
        };
        let bits = raw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let shortest = match width {
            2 => {
                let half = half::f16::from_bits(low16(bits));
                !half.is_nan() || bits == 0x7e00
            }
            4 => {
                let single = f32::from_bits(low32(bits));
                !single.is_nan()
                    && half::f16::from_f32(single).to_f32().to_bits() != single.to_bits()
            }
            _ => {
                let double = f64::from_bits(bits);
                // Narrowing is the question being asked: does it survive the round trip?
                #[allow(clippy::cast_possible_truncation)]
                let narrowed = f64::from(double as f32);
                !double.is_nan() && narrowed.to_bits() != double.to_bits()
            }
        };
        if shortest { Ok(at + 1 + width) } else { no("float is not in its shortest form") }
    }
}

/// As the library's, which looks for an early end after every few bytes: there is none nearly
/// always, and without it the processor takes many bytes at once.
fn is_ascii(text: &[u8]) -> bool {
    text.iter().fold(0, |all, byte| all | byte) < 0x80
}

// A two-byte and a four-byte field cannot hold more than their width.
#[allow(clippy::cast_possible_truncation)]
const fn low16(bits: u64) -> u16 {
    bits as u16
}

#[allow(clippy::cast_possible_truncation)]
const fn low32(bits: u64) -> u32 {
    bits as u32
}

/// A SHA-256 digest: 32 bytes in CBOR, 64 hexadecimal digits in JSON.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of no bytes at all is not this one: zeros stand for "nothing before".
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256 of several slices, one after the other.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex::encode(self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Blob(bytes) = Blob::from_text_or_bytes(deserializer, |text| hex::decode(text).ok())?;
        let bytes = bytes.try_into().map_err(|_| {
            serde::de::Error::custom("a SHA-256 digest has 32 bytes, or 64 hexadecimal digits")
        })?;
        Ok(Self(bytes))
    }
}

/// Bytes: a byte string in CBOR, base64 in JSON.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// Whichever of the two the format holds: a tagged enum buffers its content and forgets
    /// whether the format was readable, so the form of the data decides.
    fn from_text_or_bytes<'de, D: Deserializer<'de>>(
        deserializer: D,
        decode: fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, D::Error> {
        struct Either(fn(&str) -> Option<Vec<u8>>);
        impl Visitor<'_> for Either {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes, or their text form")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                (self.0)(text).map(Blob).ok_or_else(|| E::custom("not the text form of bytes"))
            }
        }
        deserializer.deserialize_any(Either(decode))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        if serializer.is_human_readable() {
            serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        Self::from_text_or_bytes(deserializer, |text| {
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        })
    }
}
