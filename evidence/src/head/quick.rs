//! A record's head in one pass, for records as they are nearly always: the keys are compared with
//! their bytes, and the body is validated once. Anything else is left to the slow reader, which
//! knows what is wrong with it; what is taken here is taken there, too, and reads the same.

use super::Head;
use crate::record::VERSION;
use nooterra_protocol::codec;
use nooterra_protocol::entry::Class;
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};

/// The head, where the record is in order.
pub(super) fn read(bytes: &[u8]) -> Option<Head<'_>> {
    let mut rest = Rest { at: 0, bytes };
    rest.exact(b"\xa7\x61v")?;
    if rest.unsigned()? != u64::from(VERSION) {
        return None;
    }
    rest.exact(b"\x63seq")?;
    let seq = rest.unsigned()?;
    rest.exact(b"\x64body")?;
    // Inside the map that is the record.
    let end = codec::validate_part(bytes, rest.at, 1).ok()?;
    let body = bytes.get(rest.at..end)?;
    rest.at = end;
    rest.exact(b"\x64boot")?;
    let boot = rest.unsigned()?;
    rest.exact(b"\x64kind")?;
    let kind = rest.text()?;
    rest.exact(b"\x65class")?;
    let named = rest.text_bytes()?;
    let class = Class::ALL.into_iter().find(|class| class.name().as_bytes() == named)?;
    rest.exact(b"\x65stamp\xa3\x64mono")?;
    let mono = MonoNanos(rest.unsigned()?);
    rest.exact(b"\x64wall")?;
    let wall = match rest.begin()? {
        (0, number) => i64::try_from(number).ok()?,
        // -1 - number, in RFC 8949 §3.1.
        (1, number) => -1 - i64::try_from(number).ok()?,
        _ => return None,
    };
    rest.exact(b"\x65trust")?;
    let trust = match rest.text_bytes()? {
        b"cloud" => ClockTrust::Cloud,
        b"network" => ClockTrust::Network,
        b"untrusted" => ClockTrust::Untrusted,
        _ => return None,
    };
    let stamp = Stamp { mono, trust, wall: WallMillis(wall) };
    (rest.at == bytes.len()).then_some(Head { body, boot, class, kind, seq, stamp })
}

/// What is left of a record.
struct Rest<'a> {
    at: usize,
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    fn exact(&mut self, expected: &[u8]) -> Option<()> {
        let end = self.at + expected.len();
        (self.bytes.get(self.at..end)? == expected).then(|| self.at = end)
    }

    /// A type and a number in its shortest form.
    fn begin(&mut self) -> Option<(u8, u64)> {
        let initial = *self.bytes.get(self.at)?;
        let (width, least) = match initial & 0x1f {
            info @ 0..=23 => {
                self.at += 1;
                return Some((initial >> 5, u64::from(info)));
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return None,
        };
        let raw = self.bytes.get(self.at + 1..self.at + 1 + width)?;
        let number = raw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        self.at += 1 + width;
        (number >= least).then_some((initial >> 5, number))
    }

    fn unsigned(&mut self) -> Option<u64> {
        self.begin().and_then(|(major, number)| (major == 0).then_some(number))
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    /// The bytes of a text, for who compares them.
    fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let (3, length) = self.begin()? else { return None };
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let text = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(text)
    }
}
