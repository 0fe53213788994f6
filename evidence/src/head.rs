//! What stands around a record's body, read without making the body: all that the chain and the
//! verifier need, and the strict form of it.

mod quick;

use crate::record::{MAX_RECORD_BYTES, RecordError, VERSION};
use nooterra_protocol::codec;
use nooterra_protocol::entry::{Class, Entry};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};

/// The fields of a record, and its body as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head<'a> {
    /// The body's canonical bytes.
    pub body: &'a [u8],
    /// Which start of the agent wrote it.
    pub boot: u64,
    /// How urgent it is.
    pub class: Class,
    /// The name of the entry's variant.
    pub kind: &'a str,
    /// Its place in the journal.
    pub seq: u64,
    /// When it happened.
    pub stamp: Stamp,
}

impl<'a> Head<'a> {
    /// Reads it. Exactly one form is taken: all of `bytes` canonical, the keys of a record as
    /// text and no others. A reader made by serde would also take an array for a map.
    ///
    /// # Errors
    /// Every variant of [`RecordError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        match quick::read(bytes) {
            Some(head) => Ok(head),
            None => Self::read_slowly(bytes),
        }
    }

    /// As [`Self::read`], and knows what is wrong.
    fn read_slowly(bytes: &'a [u8]) -> Result<Self, RecordError> {
        codec::validate(bytes)?;
        let mut fields = Fields { at: 0, bytes };
        let keys = fields.map()?;
        // Sorted by their encoded bytes, the shorter ones come first.
        fields.key("v")?;
        let version = fields.unsigned()?;
        if version != u64::from(VERSION) {
            return Err(RecordError::Version(u32::try_from(version).unwrap_or(u32::MAX)));
        }
        if keys != 7 {
            return Err(RecordError::Shape("it has not the keys of a record"));
        }
        fields.key("seq")?;
        let seq = fields.unsigned()?;
        fields.key("body")?;
        let body = fields.item()?;
        fields.key("boot")?;
        let boot = fields.unsigned()?;
        fields.key("kind")?;
        let kind = fields.text()?;
        fields.key("class")?;
        let class = Class::from_name(fields.text()?);
        let class = class.ok_or(RecordError::Shape("its class is none that there is"))?;
        fields.key("stamp")?;
        Ok(Self { body, boot, class, kind, seq, stamp: fields.stamp()? })
    }
}

/// Where records are encoded, one after the other: it keeps its memory.
#[derive(Debug, Default)]
pub struct Room {
    bytes: Vec<u8>,
    entry: codec::Encoder,
}

/// The bytes of a record around what it says: those of [`Record::encode`](crate::Record::encode),
/// without the tree of values that a [`Record`](crate::Record) holds. They stand in `room`.
///
/// # Errors
/// [`RecordError::Codec`] when the entry has no canonical form, [`RecordError::TooLarge`].
pub fn encode<'a>(
    room: &'a mut Room,
    entry: &Entry,
    class: Class,
    seq: u64,
    boot: u64,
    stamp: Stamp,
) -> Result<&'a [u8], RecordError> {
    let Room { bytes, entry: encoder } = room;
    // A map of `body` and `kind`, in this order.
    let entry = encoder.encode(entry)?;
    let mut fields = Fields { at: 0, bytes: entry };
    fields.map()?;
    fields.key("body")?;
    let body = fields.item()?;
    fields.key("kind")?;
    let kind = fields.item()?;
    if entry.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLarge(entry.len()));
    }
    bytes.clear();
    bytes.reserve(entry.len() + AROUND_BYTES);
    // A map of seven, and in it a map of three, with their keys.
    bytes.extend_from_slice(b"\xa7\x61v");
    begin(bytes, 0, u64::from(VERSION));
    bytes.extend_from_slice(b"\x63seq");
    begin(bytes, 0, seq);
    bytes.extend_from_slice(b"\x64body");
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\x64boot");
    begin(bytes, 0, boot);
    bytes.extend_from_slice(b"\x64kind");
    bytes.extend_from_slice(kind);
    bytes.extend_from_slice(b"\x65class");
    text(bytes, class.name());
    bytes.extend_from_slice(b"\x65stamp\xa3\x64mono");
    begin(bytes, 0, stamp.mono.0);
    bytes.extend_from_slice(b"\x64wall");
    match u64::try_from(stamp.wall.0) {
        Ok(wall) => begin(bytes, 0, wall),
        // -1 - number, in RFC 8949 §3.1.
        Err(_) => begin(bytes, 1, stamp.wall.0.unsigned_abs() - 1),
    }
    bytes.extend_from_slice(b"\x65trust");
    text(bytes, trust_name(stamp.trust));
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// What stands around the entry of a record, at most.
const AROUND_BYTES: usize = 128;

/// A type and a number, in the shortest form.
fn begin(bytes: &mut Vec<u8>, major: u8, number: u64) {
    let (width, info) = match number {
        // Below 24 it is the information itself.
        0..24 => return bytes.push(major << 5 | number.to_be_bytes()[7]),
        24..0x100 => (1, 24),
        0x100..0x1_0000 => (2, 25),
        0x1_0000..0x1_0000_0000 => (4, 26),
        _ => (8, 27),
    };
    bytes.push(major << 5 | info);
    bytes.extend_from_slice(&number.to_be_bytes()[8 - width..]);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    begin(bytes, 3, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

const fn trust_name(trust: ClockTrust) -> &'static str {
    match trust {
        ClockTrust::Cloud => "cloud",
        ClockTrust::Network => "network",
        ClockTrust::Untrusted => "untrusted",
    }
}

/// Canonical bytes, item by item.
struct Fields<'a> {
    at: usize,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next item, whatever it is.
    fn item(&mut self) -> Result<&'a [u8], RecordError> {
        let end = codec::end_of_item(self.bytes, self.at)?;
        let item = self.bytes.get(self.at..end);
        self.at = end;
        item.ok_or(RecordError::Shape("it ends before its fields do"))
    }

    /// The type and the number that the next item begins with.
    fn begin(&mut self) -> Result<(u8, u64), RecordError> {
        let cut = || RecordError::Shape("it ends before its fields do");
        let initial = *self.bytes.get(self.at).ok_or_else(cut)?;
        let width = match initial & 0x1f {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let start = self.at + 1;
        let raw = self.bytes.get(start..start + width).ok_or_else(cut)?;
        self.at = start + width;
        let number = raw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Ok((initial >> 5, if width == 0 { u64::from(initial & 0x1f) } else { number }))
    }

    fn map(&mut self) -> Result<u64, RecordError> {
        match self.begin()? {
            (5, count) => Ok(count),
            _ => Err(RecordError::Shape("it is no map")),
        }
    }

    fn key(&mut self, name: &'static str) -> Result<(), RecordError> {
        if self.text().is_ok_and(|found| found == name) {
            Ok(())
        } else {
            Err(RecordError::Shape("it has not the keys of a record"))
        }
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let (major, length) = self.begin()?;
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let raw = end.and_then(|end| self.bytes.get(self.at..end));
        match raw.and_then(|raw| std::str::from_utf8(raw).ok()) {
            Some(text) if major == 3 => {
                self.at += text.len();
                Ok(text)
            }
            _ => Err(RecordError::Shape("a field that is a text in every record is none")),
        }
    }

    fn unsigned(&mut self) -> Result<u64, RecordError> {
        match self.begin()? {
            (0, number) => Ok(number),
            _ => Err(RecordError::Shape("a field that counts in every record is no number")),
        }
    }

    fn stamp(&mut self) -> Result<Stamp, RecordError> {
        if self.map()? != 3 {
            return Err(RecordError::Shape("its stamp is not one"));
        }
        self.key("mono")?;
        let mono = MonoNanos(self.unsigned()?);
        self.key("wall")?;
        let (major, number) = self.begin()?;
        let wall = i64::try_from(number).ok().and_then(|number| match major {
            0 => Some(number),
            // -1 - number, in RFC 8949 §3.1.
            1 => Some(-1 - number),
            _ => None,
        });
        let wall = WallMillis(wall.ok_or(RecordError::Shape("its wall clock is no time"))?);
        self.key("trust")?;
        let trust = match self.text()? {
            "cloud" => ClockTrust::Cloud,
            "network" => ClockTrust::Network,
            "untrusted" => ClockTrust::Untrusted,
            _ => return Err(RecordError::Shape("its clock is trusted in a way that is unknown")),
        };
        Ok(Stamp { mono, trust, wall })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use nooterra_protocol::codec::{Blob, Value};
    use nooterra_protocol::command::{Asked, Source};
    use nooterra_protocol::entry::{Gap, Link, Sample};
    use nooterra_protocol::geometry::{Pose, Twist};
    use proptest::prelude::*;

    fn record(kind: &str, seq: u64, wall: i64) -> Record {
        Record {
            body: Value::Array(vec![Value::Null, Value::Float(0.5), Value::Text("é".to_owned())]),
            boot: 3,
            class: Class::Bulk,
            kind: kind.to_owned(),
            seq,
            stamp: Stamp {
                mono: MonoNanos(u64::MAX),
                trust: ClockTrust::Cloud,
                wall: WallMillis(wall),
            },
            v: VERSION,
        }
    }

    #[test]
    fn nothing_is_taken_quickly_that_is_not_taken_slowly() {
        let mut deep = record("link", 1, -7);
        for _ in 0..codec::MAX_DEPTH + 2 {
            let bytes = codec::to_vec(&deep).unwrap();
            assert_eq!(quick::read(&bytes), Head::read_slowly(&bytes).ok());
            deep.body = Value::Array(vec![deep.body]);
        }
        // Every byte replaced by every other, and every cut.
        let bytes = record("link", 300, -70_000).encode().unwrap();
        for at in 0..bytes.len() {
            assert_eq!(quick::read(&bytes[..at]), None);
            for to in 0..=255 {
                let mut bytes = bytes.clone();
                bytes[at] = to;
                if let Some(head) = quick::read(&bytes) {
                    assert_eq!(Head::read_slowly(&bytes).unwrap(), head, "{at} {to}");
                }
            }
        }
    }

    #[test]
    fn an_array_in_place_of_the_map_is_no_record() {
        // What serde would read just as well.
        let record = record("link", 1, 0);
        let fields = (
            record.body.clone(),
            record.boot,
            record.class,
            record.kind.clone(),
            record.seq,
            record.stamp,
            record.v,
        );
        let bytes = codec::to_vec(&fields).unwrap();
        assert_eq!(codec::from_slice::<Record>(&bytes).unwrap(), record);
        assert!(matches!(Record::decode(&bytes), Err(RecordError::Shape(_))));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(
            kind in "[a-z]{0,300}", seq in any::<u64>(), wall in any::<i64>(),
        ) {
            let record = record(&kind, seq, wall);
            let bytes = record.encode().unwrap();
            let head = quick::read(&bytes).unwrap();
            prop_assert_eq!(Head::read_slowly(&bytes).unwrap(), head);
            prop_assert_eq!((head.seq, head.boot, head.class), (seq, 3, Class::Bulk));
            prop_assert_eq!((head.kind, head.stamp), (kind.as_str(), record.stamp));
            prop_assert_eq!(codec::from_slice::<Value>(head.body).unwrap(), record.body);
        }

        #[test]
        fn a_record_that_is_written_at_once_is_the_one_that_is_written_through_a_tree(
            text in "\\PC{0,400}", seq in any::<u64>(), boot in any::<u64>(), mono in any::<u64>(),
            wall in any::<i64>(), trust in 0_usize..3, class in 0_usize..3, x in any::<u64>(),
        ) {
            let trust = [ClockTrust::Cloud, ClockTrust::Network, ClockTrust::Untrusted][trust];
            let stamp = Stamp { mono: MonoNanos(mono), trust, wall: WallMillis(wall) };
            let class = Class::ALL[class];
            let pose = Pose { x: f64::from_bits(x), y: 0.5, yaw: -0.0 };
            let sample = Sample {
                allowed: Twist::new(f64::from_bits(mono), 0.1).into(),
                asked: Asked::from(Twist::new(0.6, f64::from_bits(seq))),
                battery: None,
                joints: None,
                limit_mps: 0.8,
                pose,
                source: Source::Skill,
                twist: Twist::new(0.4, 0.1),
            };
            let mut room = Room::default();
            for entry in [
                Entry::Link(Link { reason: Some(text.clone()), up: true }),
                Entry::Gap(Gap { dropped: x, reason: text.clone() }),
                Entry::Fact(Blob(text.clone().into_bytes())),
                Entry::Sample(sample),
                Entry::Link(Link { reason: None, up: false }),
            ] {
                let expected = Record::of_entry(&entry, class, seq, boot, stamp).unwrap();
                let bytes = encode(&mut room, &entry, class, seq, boot, stamp).unwrap();
                prop_assert_eq!(bytes, &expected.encode().unwrap());
                prop_assert!(Head::read(bytes).is_ok());
            }
        }

        #[test]
        fn a_record_has_one_form_only(
            at in any::<prop::sample::Index>(), to in any::<u8>(), more in any::<bool>(),
        ) {
            let mut bytes = record("link", 7, -5).encode().unwrap();
            let at = at.index(bytes.len());
            if more {
                bytes.insert(at, to);
            } else {
                bytes[at] = to;
            }
            if let Some(head) = quick::read(&bytes) {
                prop_assert_eq!(Head::read_slowly(&bytes).unwrap(), head);
            }
            if let Ok(read) = Record::decode(&bytes) {
                prop_assert_eq!(read.encode().unwrap(), bytes);
            }
        }
    }
}
