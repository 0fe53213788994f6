//! MAVLink telemetry logs: each frame, version 1 or 2, behind eight bytes of microseconds.
//!
//! `GLOBAL_POSITION_INT` has position, velocity and heading in one message and is preferred;
//! `LOCAL_POSITION_NED` has no heading and its origin may move during a flight. Times are the
//! vehicle's own (`time_boot_ms`): a ground station stamps what it receives, in bursts.
//!
//! Global positions are laid on the plane that touches the earth at the map's origin, which is
//! the first fix unless it is given: x east, y north. Within 10 km of it that is true to a
//! millimetre per metre.

use super::{ReadError, ReadOptions};
use crate::backtest::recording::{
    Format, Motion, Quaternion, Recording, Sample, Samples, Velocity,
};
use mavlink::dialects::common::{
    GLOBAL_POSITION_INT_DATA, HEARTBEAT_DATA, LOCAL_POSITION_NED_DATA, MavType,
};
use mavlink::{MavlinkVersion, MessageData, calculate_crc};
use std::collections::BTreeMap;
use std::io::BufRead;

/// Microseconds since 1970 in front of each frame.
const STAMP: usize = 8;

const V1: u8 = 0xfe;
const V2: u8 = 0xfd;

/// A vehicle's clock that goes back by more than this has started anew, milliseconds. Less is
/// a frame that came late.
const RESTART_MS: u32 = 10_000;

/// Equatorial radius of WGS 84, metres.
const EARTH_M: f64 = 6_378_137.0;

/// `hdg` says so when it is not known.
const NO_HEADING: u16 = u16::MAX;

/// The file begins with a stamp of a plausible time and a whole frame, and goes on so where it
/// is long enough to tell.
pub(super) fn begins_like_one(head: &[u8]) -> bool {
    let Some((stamp, frame)) = head.split_at_checked(STAMP) else {
        return false;
    };
    // Microseconds in the years 1970 to 2112; text has a letter there.
    if stamp[0] != 0 || !frame.first().is_some_and(|byte| [V1, V2].contains(byte)) {
        return false;
    }
    let Some(length) = frame_length(frame) else {
        return true;
    };
    let next = frame.get(length + STAMP);
    next.is_none_or(|byte| [V1, V2].contains(byte))
}

/// Reads frames to the end.
pub(super) fn read(input: &mut dyn BufRead, options: &ReadOptions) -> Result<Recording, ReadError> {
    let mut log = Log::default();
    let mut stamp = [0; STAMP];
    let mut at = 0_u64;
    loop {
        let cut = |log: &Log| ReadError::Cut {
            advice: "copy it anew, or cut it back to the frame before",
            samples: log.samples(),
            what: format!("the frame at byte {at}"),
        };
        match fill(input, &mut stamp)? {
            0 => break,
            STAMP => {}
            _ => return Err(cut(&log)),
        }
        let mut frame = [0; 300];
        // Both versions have their length in the first ten bytes, and no frame is shorter than
        // eight.
        if fill(input, &mut frame[..8])? < 8 {
            return Err(cut(&log));
        }
        if ![V1, V2].contains(&frame[0]) {
            let what = format!("no MAVLink frame begins at byte {}", at + STAMP as u64);
            return Err(if log.frames == 0 {
                ReadError::Foreign("no MAVLink telemetry log".to_owned())
            } else {
                ReadError::Damaged(what)
            });
        }
        let length = frame_length(&frame[..8]).unwrap_or(8);
        if fill(input, &mut frame[8..length])? < length - 8 {
            return Err(cut(&log));
        }
        log.frame(u64::from_be_bytes(stamp), &frame[..length])?;
        at += (STAMP + length) as u64;
    }
    log.recording(options)
}

/// As many bytes as there are, up to the buffer's length.
fn fill(input: &mut dyn BufRead, buffer: &mut [u8]) -> Result<usize, ReadError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// Header, payload, checksum and, in version 2, the signature; at most 280 bytes.
fn frame_length(frame: &[u8]) -> Option<usize> {
    let payload = usize::from(*frame.get(1)?);
    match frame.first()? {
        &V1 => Some(8 + payload),
        _ => Some(12 + payload + if frame.get(2)? & 1 == 1 { 13 } else { 0 }),
    }
}

/// Who speaks: system and component.
type Speaker = (u8, u8);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    // In the order of preference.
    Global,
    Local,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Global, Self::Local];

    const fn name(self) -> &'static str {
        match self {
            Self::Global => GLOBAL_POSITION_INT_DATA::NAME,
            Self::Local => LOCAL_POSITION_NED_DATA::NAME,
        }
    }
}

/// A position as it was sent; a global one waits for the origin.
#[derive(Clone, Copy, Debug)]
struct Fix {
    /// Degrees and metres, or metres north, east, down.
    position: [f64; 3],
    sample: Sample,
}

/// One vehicle's clock on the log's: the log's microseconds at its start.
#[derive(Clone, Copy, Debug)]
struct Boot {
    last_ms: u32,
    start_us: u64,
}

#[derive(Debug, Default)]
struct Log {
    bad: u64,
    boots: BTreeMap<Speaker, Boot>,
    fixes: BTreeMap<(Kind, Speaker), Vec<Fix>>,
    frames: u64,
    total: usize,
    vehicles: BTreeMap<Speaker, MavType>,
}

impl Log {
    const fn samples(&self) -> usize {
        self.total
    }

    fn frame(&mut self, stamp_us: u64, frame: &[u8]) -> Result<(), ReadError> {
        self.frames += 1;
        let (version, speaker, id, header) = match frame[0] {
            V1 => (MavlinkVersion::V1, (frame[3], frame[4]), u32::from(frame[5]), 6),
            _ => {
                let id = u32::from_le_bytes([frame[7], frame[8], frame[9], 0]);
                (MavlinkVersion::V2, (frame[5], frame[6]), id, 10)
            }
        };
        let extra = match id {
            GLOBAL_POSITION_INT_DATA::ID => GLOBAL_POSITION_INT_DATA::EXTRA_CRC,
            HEARTBEAT_DATA::ID => HEARTBEAT_DATA::EXTRA_CRC,
            LOCAL_POSITION_NED_DATA::ID => LOCAL_POSITION_NED_DATA::EXTRA_CRC,
            _ => return Ok(()),
        };
        let end = header + usize::from(frame[1]);
        let payload = &frame[header..end];
        let crc = u16::from_le_bytes([frame[end], frame[end + 1]]);
        // Any other flag changes the layout in a way that is not known here.
        let is_plain = version == MavlinkVersion::V1 || frame[2] & !1 == 0;
        if !is_plain || crc != calculate_crc(&frame[1..end], extra) {
            self.bad += 1;
            return Ok(());
        }
        match id {
            GLOBAL_POSITION_INT_DATA::ID => {
                if let Ok(data) = GLOBAL_POSITION_INT_DATA::deser(version, payload) {
                    let at_ns = self.time(speaker, stamp_us, data.time_boot_ms);
                    self.fix(Kind::Global, speaker, global(&data, at_ns))?;
                }
            }
            LOCAL_POSITION_NED_DATA::ID => {
                if let Ok(data) = LOCAL_POSITION_NED_DATA::deser(version, payload) {
                    let at_ns = self.time(speaker, stamp_us, data.time_boot_ms);
                    self.fix(Kind::Local, speaker, local(&data, at_ns))?;
                }
            }
            _ => {
                if let Ok(data) = HEARTBEAT_DATA::deser(version, payload) {
                    self.vehicles.insert(speaker, data.mavtype);
                }
            }
        }
        Ok(())
    }

    /// The vehicle's time on the log's clock, nanoseconds.
    fn time(&mut self, speaker: Speaker, stamp_us: u64, boot_ms: u32) -> i64 {
        let start_us = stamp_us.saturating_sub(u64::from(boot_ms) * 1000);
        let boot = self.boots.entry(speaker).or_insert(Boot { last_ms: boot_ms, start_us });
        if boot.last_ms.saturating_sub(boot_ms) > RESTART_MS {
            *boot = Boot { last_ms: boot_ms, start_us };
        }
        boot.last_ms = boot.last_ms.max(boot_ms);
        let micros = boot.start_us.saturating_add(u64::from(boot_ms) * 1000);
        i64::try_from(micros).unwrap_or(i64::MAX).saturating_mul(1000)
    }

    fn fix(&mut self, kind: Kind, speaker: Speaker, fix: Fix) -> Result<(), ReadError> {
        // Both kinds count: both are kept until one is chosen.
        if self.total == crate::backtest::recording::MAX_SAMPLES {
            return Err(ReadError::TooLong);
        }
        self.total += 1;
        self.fixes.entry((kind, speaker)).or_default().push(fix);
        Ok(())
    }

    fn recording(mut self, options: &ReadOptions) -> Result<Recording, ReadError> {
        let asked = |kind: Kind| options.topic.as_deref().is_none_or(|name| name == kind.name());
        let there: Vec<&str> = Kind::ALL
            .into_iter()
            .filter(|kind| self.fixes.keys().any(|(found, _)| found == kind))
            .map(Kind::name)
            .collect();
        if there.is_empty() {
            return Err(ReadError::NoMotion(format!(
                "no GLOBAL_POSITION_INT and no LOCAL_POSITION_NED in its {} frames{}",
                self.frames,
                if self.bad > 0 { " that are whole" } else { "" }
            )));
        }
        let chosen = self
            .fixes
            .iter()
            .filter(|((kind, _), _)| asked(*kind))
            // The preferred kind, and of its speakers the one that says most.
            .min_by_key(|((kind, _), fixes)| (*kind, usize::MAX - fixes.len()))
            .map(|(key, _)| *key);
        let Some((kind, speaker)) = chosen else {
            let asked = options.topic.clone().unwrap_or_default();
            return Err(ReadError::Topic { asked, there: there.join(", ") });
        };
        let fixes = self.fixes.remove(&(kind, speaker)).unwrap_or_default();
        let mut notes = Vec::new();
        let others = self.fixes.keys().filter(|(found, _)| *found == kind).count();
        if others > 0 {
            notes.push(format!("{others} more vehicles are in the log; this one says most"));
        }
        if self.bad > 0 {
            notes.push(format!("{} frames with a wrong checksum were left out", self.bad));
        }
        let first = fixes.first().map(|fix| (fix.position[0], fix.position[1]));
        let origin = options.origin_deg.or(first).unwrap_or_default();
        let frame = match kind {
            Kind::Global => {
                notes.push(format!(
                    "the map's origin is {:.7}, {:.7} (latitude, longitude)",
                    origin.0, origin.1
                ));
                "east, north of the origin"
            }
            Kind::Local => "east, north of the vehicle's own origin",
        };
        let mut samples = Samples::default();
        for fix in fixes {
            samples.push(fix.placed(kind, origin))?;
        }
        let vehicle = self.vehicles.get(&speaker).copied();
        Ok(Recording {
            format: Format::Tlog,
            frame: frame.to_owned(),
            motion: match vehicle {
                Some(MavType::MAV_TYPE_GROUND_ROVER | MavType::MAV_TYPE_SURFACE_BOAT) => {
                    Motion::Heading
                }
                _ => Motion::Course,
            },
            samples: samples.in_order(&mut notes),
            notes,
            source: format!("{} of system {}", kind.name(), speaker.0),
        })
    }
}

/// Velocity is north, east, down; in the map it is east, north, up.
fn global(data: &GLOBAL_POSITION_INT_DATA, at_ns: i64) -> Fix {
    let [north, east, down] = [data.vx, data.vy, data.vz].map(|speed| f64::from(speed) / 100.0);
    let heading = f64::from(data.hdg) / 100.0;
    Fix {
        position: [
            f64::from(data.lat) / 1e7,
            f64::from(data.lon) / 1e7,
            f64::from(data.relative_alt) / 1000.0,
        ],
        sample: Sample {
            at_ns,
            // Clockwise from north.
            attitude: (data.hdg != NO_HEADING)
                .then(|| Quaternion::from_yaw((90.0 - heading).to_radians())),
            position: None,
            velocity: Velocity::World([east, north, -down]),
        },
    }
}

fn local(data: &LOCAL_POSITION_NED_DATA, at_ns: i64) -> Fix {
    Fix {
        position: [data.x, data.y, data.z].map(f64::from),
        sample: Sample {
            at_ns,
            attitude: None,
            position: None,
            velocity: Velocity::World([data.vy, data.vx, -data.vz].map(f64::from)),
        },
    }
}

impl Fix {
    fn placed(self, kind: Kind, (latitude, longitude): (f64, f64)) -> Sample {
        let [a, b, c] = self.position;
        let position = match kind {
            Kind::Global => {
                let east = (b - longitude).to_radians() * latitude.to_radians().cos() * EARTH_M;
                [east, (a - latitude).to_radians() * EARTH_M, c]
            }
            Kind::Local => [b, a, -c],
        };
        Sample { position: Some(position), ..self.sample }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refused, survives_mutation};
    use super::super::{ReadOptions, read_from};
    use super::*;

    /// A frame of version 1 behind its stamp.
    fn v1(stamp_us: u64, id: u8, extra: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![V1, u8::try_from(payload.len()).unwrap(), 0, 1, 1, id];
        frame.extend(payload);
        let crc = calculate_crc(&frame[1..], extra);
        [&stamp_us.to_be_bytes()[..], &frame, &crc.to_le_bytes()].concat()
    }

    /// The same of version 2, where zeros at the end of the payload are not sent.
    fn v2(stamp_us: u64, id: u8, extra: u8, payload: &[u8]) -> Vec<u8> {
        let kept = payload.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let mut frame = vec![V2, u8::try_from(kept).unwrap(), 0, 0, 0, 1, 1, id, 0, 0];
        frame.extend(&payload[..kept]);
        let crc = calculate_crc(&frame[1..], extra);
        [&stamp_us.to_be_bytes()[..], &frame, &crc.to_le_bytes()].concat()
    }

    fn global_payload(boot_ms: u32, lat: i32, vx: i16, heading: u16) -> Vec<u8> {
        let mut payload = boot_ms.to_le_bytes().to_vec();
        for number in [lat, 1_491_649_392, 587_850, 6_750] {
            payload.extend(number.to_le_bytes());
        }
        for number in [vx, 6, -50] {
            payload.extend(number.to_le_bytes());
        }
        payload.extend(heading.to_le_bytes());
        payload
    }

    fn heartbeat(kind: u8) -> Vec<u8> {
        v1(1_000_000, 0, HEARTBEAT_DATA::EXTRA_CRC, &[0, 0, 0, 0, kind, 3, 0, 4, 3])
    }

    fn flight(kind: u8) -> Vec<u8> {
        let extra = GLOBAL_POSITION_INT_DATA::EXTRA_CRC;
        let at = |ms: u32, lat, vx| global_payload(ms, lat, vx, 9_000);
        [
            heartbeat(kind),
            // Something of a dialect that is not read here.
            v1(1_000_000, 178, 47, &[1; 28]),
            v1(1_000_000, 33, extra, &at(500, -353_629_904, -188)),
            v2(1_900_000, 33, extra, &at(1_000, -353_629_804, 500)),
            // Sent before, received after.
            v1(1_900_100, 33, extra, &at(750, -353_629_854, 0)),
        ]
        .concat()
    }

    #[test]
    fn positions_are_east_north_up_of_the_first_fix_on_the_vehicles_clock() {
        let read = read_from(&mut &*flight(1), &ReadOptions::default()).unwrap();
        assert_eq!((read.format, read.motion), (Format::Tlog, Motion::Course));
        let times: Vec<i64> = read.samples.iter().map(|s| s.at_ns - 1_000_000_000).collect();
        assert_eq!(times, [0, 250_000_000, 500_000_000]);
        assert_eq!(read.samples[0].velocity, Velocity::World([0.06, -1.88, 0.5]));
        let [east, north, up] = read.samples[2].position.unwrap();
        // 100 units of 1e-7 degrees.
        assert!(east.abs() < 1e-9 && (north - 1.113_194_9).abs() < 1e-6 && up > 6.7);
        let yaw = read.samples[0].attitude.unwrap().yaw();
        assert!(yaw.abs() < 1e-12, "90° from north is along x: {yaw}");
        assert!(read.notes.iter().any(|note| note.starts_with("1 samples came late")));
    }

    #[test]
    fn a_rover_moves_along_its_heading_and_an_origin_can_be_given() {
        let options =
            ReadOptions { origin_deg: Some((-35.362_980_4, 149.0)), ..ReadOptions::default() };
        let read = read_from(&mut &*flight(10), &options).unwrap();
        assert_eq!(read.motion, Motion::Heading);
        let [east, north, _] = read.samples[0].position.unwrap();
        assert!(east > 10_000.0 && (north + 1.113_194_9).abs() < 1e-4, "{east} {north}");
    }

    #[test]
    fn a_vehicle_that_starts_anew_goes_on_by_the_logs_clock() {
        let extra = GLOBAL_POSITION_INT_DATA::EXTRA_CRC;
        let at = |stamp, ms| v1(stamp, 33, extra, &global_payload(ms, 1, 1, NO_HEADING));
        let bytes = [at(100_000_000, 90_000), at(105_000_000, 2_000)].concat();
        let read = read_from(&mut &*bytes, &ReadOptions::default()).unwrap();
        assert_eq!(read.samples[1].at_ns - read.samples[0].at_ns, 5_000_000_000);
        assert!(read.samples[0].attitude.is_none());
    }

    #[test]
    fn a_log_that_is_cut_damaged_or_silent_says_so() {
        let options = ReadOptions::default();
        let bytes = flight(1);
        refused(&bytes[..bytes.len() - 1], &options, "cut");
        refused(&bytes[..bytes.len() - 37], &options, "after 2 samples");
        refused(&heartbeat(1), &options, "no LOCAL_POSITION_NED in its 1 frames");
        let mut shifted = bytes.clone();
        shifted.insert(80, 0);
        refused(&shifted, &options, "no MAVLink frame begins at byte");
        let mut flipped = bytes;
        let last = flipped.len() - 10;
        flipped[last] ^= 1;
        let read = read_from(&mut &*flipped, &options).unwrap();
        assert!(read.notes.iter().any(|note| note.starts_with("1 frames with a wrong checksum")));
        let local =
            ReadOptions { topic: Some("LOCAL_POSITION_NED".to_owned()), ..ReadOptions::default() };
        refused(&flight(1), &local, "it is on GLOBAL_POSITION_INT");
    }

    #[test]
    fn no_mutation_brings_the_reader_down() {
        survives_mutation(&flight(1), &ReadOptions::default());
    }
}
