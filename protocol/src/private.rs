//! Fields that a record commits to and does not tell.
//!
//! A [`Private`] field of an entry stands in the record as a *commitment*: a salted hash that
//! binds the record to the value and says nothing of it. The salt and the value are the
//! *opening*; it is kept elsewhere, shown to whom it may be shown, and can be erased, and the
//! record stays what it was. Which fields are private is a property of their type: a value that
//! was not sealed has no form in CBOR, so that none can slip into a record.
//!
//! # Why the commitment binds and hides
//! It is SHA-256 over a fixed prefix, a salt of fixed length, and one canonical CBOR item that
//! holds the place and the value. No two different inputs have the same bytes, so who opens one
//! commitment in two ways has found a collision. The salt is 128 random bits of its own for each
//! field, so that a guess at the value cannot be tried without it; the place is hashed too, so
//! that each trial is one at a single commitment, however many are known, and no opening fits
//! another field, record or journal.

use crate::codec::{self, Blob, CodecError, Digest, Value};
use crate::ids::{ActorId, JournalId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Begins what is hashed. The first byte keeps a commitment apart from leaves (0) and from
/// links and nodes (1).
pub const DOMAIN: &[u8] = b"\x02nooterra/private/1";

/// 128 bits.
pub const SALT_BYTES: usize = 16;

/// The key of a placeholder that holds the commitment.
const SEALED: &str = "sealed";

/// The key of a placeholder that names the type of the value.
const TYPE: &str = "type";

/// Why a private field was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The value has no canonical form.
    #[error("a private field cannot be sealed: {0}")]
    Codec(#[from] CodecError),
    /// The operating system gave no randomness.
    #[error("no randomness for the salt of a private field: {0}")]
    Salt(String),
}

/// Where salts come from: this crate draws no randomness.
pub trait Salts: Send + Sync {
    /// 16 bytes that nobody can foresee and that are never given twice.
    ///
    /// # Errors
    /// [`PrivateError::Salt`].
    fn salt(&self) -> Result<[u8; SALT_BYTES], PrivateError>;
}

/// What a private field may hold.
pub trait Sealable: Serialize + DeserializeOwned {
    /// Stands beside the commitment, readable by all.
    const TYPE: &'static str;
}

impl Sealable for ActorId {
    const TYPE: &'static str = "id";
}

impl Sealable for Blob {
    const TYPE: &'static str = "bytes";
}

impl Sealable for String {
    const TYPE: &'static str = "text";
}

/// What stands in a record for a private value: a map of exactly `sealed` and `type`. Nothing
/// else in a record has that form, so that placeholders are found in kinds that a later release
/// wrote, too. It does not tell how long the value is: "yes" and "no" differ in that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placeholder {
    /// The commitment.
    pub sealed: Digest,
    /// What the value is: `bytes`, `id`, `text`.
    pub kind: String,
}

impl Placeholder {
    /// Reads it; `None` when it is anything else.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let Value::Map(map) = value else {
            return None;
        };
        let field = |key: &str| map.get(&Value::Text(key.to_owned()));
        let sealed = match field(SEALED)? {
            Value::Bytes(bytes) => Digest::from_bytes(bytes.as_slice().try_into().ok()?),
            Value::Text(text) => Digest::from_hex(text)?,
            _ => return None,
        };
        let Value::Text(kind) = field(TYPE)? else {
            return None;
        };
        (map.len() == 2).then(|| Self { sealed, kind: kind.clone() })
    }
}

impl Serialize for Placeholder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(SEALED, &self.sealed)?;
        map.serialize_entry(TYPE, &self.kind)?;
        map.end()
    }
}

/// A value that a record commits to. Before the record is written it holds the value; read back
/// from a record, the placeholder; after it was opened, the value again.
#[derive(Clone, Eq, PartialEq)]
pub struct Private<T>(State<T>);

#[derive(Clone, Eq, PartialEq)]
enum State<T> {
    Open(T),
    Sealed(Placeholder),
}

impl<T> Private<T> {
    /// The value; `None` while it is sealed.
    #[must_use]
    pub const fn get(&self) -> Option<&T> {
        match &self.0 {
            State::Open(value) => Some(value),
            State::Sealed(_) => None,
        }
    }

    /// What stands in the record; `None` while it is open.
    #[must_use]
    pub const fn placeholder(&self) -> Option<&Placeholder> {
        match &self.0 {
            State::Open(_) => None,
            State::Sealed(placeholder) => Some(placeholder),
        }
    }
}

impl<T> From<T> for Private<T> {
    fn from(value: T) -> Self {
        Self(State::Open(value))
    }
}

impl From<&str> for Private<String> {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

/// Not the value: what is private is not for logs either.
impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Open(_) => f.write_str("private"),
            State::Sealed(placeholder) => write!(f, "sealed {}", placeholder.sealed),
        }
    }
}

impl<T: Sealable> Serialize for Private<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            // JSON is what people are shown; records are CBOR.
            State::Open(value) if serializer.is_human_readable() => value.serialize(serializer),
            State::Open(_) => Err(serde::ser::Error::custom(
                "a private field was not sealed before it is written",
            )),
            State::Sealed(placeholder) => placeholder.serialize(serializer),
        }
    }
}

impl<'de, T: Sealable> Deserialize<'de> for Private<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = Value::deserialize(deserializer)?;
        match Placeholder::of(&value) {
            Some(placeholder) if placeholder.kind == T::TYPE => {
                Ok(Self(State::Sealed(placeholder)))
            }
            Some(placeholder) => Err(D::Error::custom(format!(
                "a commitment to `{}` where one to `{}` is expected",
                placeholder.kind,
                T::TYPE
            ))),
            // A record that was opened for a reader.
            None => {
                let value: T = codec::from_value(value).map_err(D::Error::custom)?;
                Ok(Self(State::Open(value)))
            }
        }
    }
}

/// Where a private value stands. All of it is hashed into the commitment.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// In which journal.
    pub journal: &'a JournalId,
    /// In a record of which kind.
    pub kind: &'a str,
    /// Where in the body: the keys that lead there, joined by `/`; of an array's element its
    /// index.
    pub path: &'a str,
    /// In which record.
    pub seq: u64,
}

impl Place<'_> {
    /// SHA-256([`DOMAIN`] ‖ salt ‖ canonical CBOR of the array of journal, sequence number, kind,
    /// path and value).
    ///
    /// # Errors
    /// [`CodecError`] when the value has no canonical form.
    pub fn commitment(&self, salt: &[u8; SALT_BYTES], value: &Value) -> Result<Digest, CodecError> {
        let item = codec::to_vec(&Value::Array(vec![
            Value::Text(self.journal.as_str().to_owned()),
            Value::Integer(self.seq.into()),
            Value::Text(self.kind.to_owned()),
            Value::Text(self.path.to_owned()),
            value.clone(),
        ]))?;
        Ok(Digest::of_parts(&[DOMAIN, salt, &item]))
    }
}

/// What opens a commitment.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The kind of the record.
    pub kind: String,
    /// Where in its body.
    pub path: String,
    /// 16 bytes.
    pub salt: Blob,
    /// The commitment: an opening is found by it, never by its place, which a record that was
    /// cut off by a crash leaves to another.
    pub sealed: Digest,
    /// The record.
    pub seq: u64,
    /// The value.
    pub value: Value,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening(record {}, {}/{})", self.seq, self.kind, self.path)
    }
}

impl Opening {
    /// Whether it opens its commitment at its place in `journal`.
    #[must_use]
    pub fn holds(&self, journal: &JournalId) -> bool {
        let Self { kind, path, seq, .. } = self;
        let Ok(salt) = <&[u8; SALT_BYTES]>::try_from(self.salt.0.as_slice()) else {
            return false;
        };
        let place = Place { journal, kind, path, seq: *seq };
        place.commitment(salt, &self.value).is_ok_and(|found| found == self.sealed)
    }
}

/// Seals the private fields of one entry, one after the other.
pub(crate) struct Sealer<'a> {
    pub(crate) journal: &'a JournalId,
    pub(crate) kind: &'a str,
    pub(crate) openings: Vec<Opening>,
    pub(crate) salts: &'a dyn Salts,
    pub(crate) seq: u64,
}

impl Sealer<'_> {
    /// Puts the placeholder in the place of the value, and the opening to the others. What is
    /// sealed already stays as it is.
    pub(crate) fn field<T: Sealable>(
        &mut self,
        path: &str,
        field: &mut Private<T>,
    ) -> Result<(), PrivateError> {
        let State::Open(value) = &field.0 else {
            return Ok(());
        };
        let (salt, value) = (self.salts.salt()?, codec::to_value(value)?);
        let Self { journal, kind, seq, .. } = *self;
        let sealed = Place { journal, kind, path, seq }.commitment(&salt, &value)?;
        field.0 = State::Sealed(Placeholder { sealed, kind: T::TYPE.to_owned() });
        let (kind, path, salt) = (kind.to_owned(), path.to_owned(), Blob(salt.to_vec()));
        self.openings.push(Opening { kind, path, salt, sealed, seq, value });
        Ok(())
    }
}

/// Every placeholder in the body of a record, with its path.
#[must_use]
pub fn placeholders(body: &Value) -> Vec<(String, Placeholder)> {
    let mut found = Vec::new();
    walk(body, "", &mut found);
    found
}

fn walk(value: &Value, path: &str, found: &mut Vec<(String, Placeholder)>) {
    if let Some(placeholder) = Placeholder::of(value) {
        return found.push((path.to_owned(), placeholder));
    }
    for (step, child) in children(value) {
        walk(child, &join(path, &step), found);
    }
}

/// The body with `show(path, placeholder)` in the place of each placeholder for which it gives
/// something.
#[must_use]
pub fn filled(body: &Value, show: &dyn Fn(&str, &Placeholder) -> Option<Value>) -> Value {
    fill(body, "", show)
}

fn fill(value: &Value, path: &str, show: &dyn Fn(&str, &Placeholder) -> Option<Value>) -> Value {
    if let Some(placeholder) = Placeholder::of(value) {
        return show(path, &placeholder).unwrap_or_else(|| value.clone());
    }
    match value {
        Value::Array(_) => Value::Array(
            children(value).map(|(step, child)| fill(child, &join(path, &step), show)).collect(),
        ),
        Value::Map(map) => {
            let filled = map.iter().map(|(key, child)| match key {
                Value::Text(step) => (key.clone(), fill(child, &join(path, step), show)),
                _ => (key.clone(), child.clone()),
            });
            Value::Map(filled.collect::<BTreeMap<_, _>>())
        }
        other => other.clone(),
    }
}

/// What is directly inside, with the step that leads there.
fn children(value: &Value) -> Box<dyn Iterator<Item = (String, &Value)> + '_> {
    match value {
        Value::Array(items) => {
            Box::new(items.iter().enumerate().map(|(nth, item)| (nth.to_string(), item)))
        }
        Value::Map(map) => Box::new(map.iter().filter_map(|(key, item)| match key {
            Value::Text(step) => Some((step.clone(), item)),
            _ => None,
        })),
        _ => Box::new(std::iter::empty()),
    }
}

fn join(path: &str, step: &str) -> String {
    if path.is_empty() { step.to_owned() } else { format!("{path}/{step}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sealed_has_no_form_in_cbor() {
        let open: Private<String> = "secret".into();
        let refused = codec::to_vec(&open).unwrap_err();
        assert!(refused.to_string().contains("not sealed"), "{refused}");
        assert_eq!(format!("{open:?}"), "private");
    }

    #[test]
    fn placeholders_are_found_wherever_they_are_and_nothing_else_is_one() {
        let placeholder = Placeholder { sealed: Digest::of(b"x"), kind: "text".to_owned() };
        let value = codec::to_value(&placeholder).unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let list = Value::Array(vec![Value::Null, value.clone()]);
        let body = Value::Map([(text("a"), list), (text("b"), value.clone())].into());
        let found = placeholders(&body);
        assert_eq!(found, [("a/1".to_owned(), placeholder.clone()), ("b".to_owned(), placeholder)]);
        let shown = filled(&body, &|path, _| (path == "a/1").then_some(Value::Bool(true)));
        assert_eq!(placeholders(&shown).len(), 1);

        let Value::Map(mut map) = value else { panic!() };
        map.insert(text("more"), Value::Null);
        assert_eq!(Placeholder::of(&Value::Map(map)), None);
    }
}
