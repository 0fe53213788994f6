//! What the flight recorder keeps of one tick of the control loop, and what it writes when
//! something happened.
//!
//! A [`FlightTick`] is fixed in size, so that the control thread hands it over without an
//! allocation. A [`FlightBlock`] holds some hundred of them, in a row of [`TICK_BYTES`] each
//! (an arm's are longer), told by what changed ([`crate::delta`]). A [`FlightNote`] says when a dump
//! began and why, how it ended, and what was suppressed.

use crate::codec::{Blob, Digest};
use crate::command::{
    Asked, Command, JointVelocities, MAX_JOINTS, PerJoint, Source, Steer, Velocity,
};
use crate::delta::{self, DeltaError};
use crate::entry::Rule;
use crate::geometry::{Planar, Pose, Twist};
use crate::observation::{JointStates, Timed};
use crate::time::MonoNanos;
use serde::{Deserialize, Serialize};

/// Of a tick, so many verdicts are kept with their limits; of more, how many there were.
pub const VERDICTS: usize = 8;

/// The range sensor is kept as the nearest range in each of so many directions.
pub const SECTORS: usize = 72;

/// A tick of a robot without joints as a row of bytes.
pub const TICK_BYTES: usize =
    8 + 8 + 2 + 32 + 16 + 8 + 8 + 2 * 66 + 2 + VERDICTS * 11 + 4 + 8 + 2 * SECTORS;

/// The longest row: what an arm with the most joints adds to that.
pub const MAX_TICK_BYTES: usize = TICK_BYTES + 8 + 3 * (1 + 4 * MAX_JOINTS);

/// Ticks in one block, at the most; bounds what its reader allocates.
pub const MAX_TICKS: u32 = 4096;

/// One tick: what was seen, asked and allowed, and by which rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlightTick {
    /// What went to the robot.
    pub allowed: Command,
    /// What the source in charge wished; a number that was none is left out.
    pub asked: Asked,
    /// When.
    pub at: MonoNanos,
    /// State of charge, 0 to 1.
    pub battery: Option<f64>,
    /// On its dock.
    pub docked: bool,
    /// An emergency stop is in force, wherever it was pressed.
    pub emergency_stop: bool,
    /// What its joints measured, where it is an arm.
    pub joints: Option<FlightJoints>,
    /// How long the journal's oldest record waited, milliseconds.
    pub journal_ms: u32,
    /// The tightest speed limit, m/s.
    pub limit_mps: f64,
    /// Where the robot was, and when that was measured; `None` where it could not be read.
    pub pose: Option<(MonoNanos, Pose)>,
    /// The range sensor, where it may be kept.
    pub scan: Option<FlightScan>,
    /// In charge.
    pub source: Source,
    /// The robot was told to stop instead of being given a setpoint.
    pub stopped: bool,
    /// Tick of the control loop; one that is missing did not reach the recorder.
    pub tick: u64,
    /// How fast it was.
    pub twist: Twist,
    /// The rules that acted.
    pub verdicts: FlightVerdicts,
}

/// The rules that acted in one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlightVerdicts {
    /// How many there were; of more than [`VERDICTS`] the first are kept.
    pub acting: u8,
    /// The first of them.
    pub kept: [Option<FlightVerdict>; VERDICTS],
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlightVerdict {
    /// The limit, in the unit that the rule documents.
    pub limit: f64,
    /// The rule.
    pub rule: Rule,
    /// Index of the zone among those of the policy in force.
    pub zone: Option<u16>,
}

/// What an arm measured of its joints, in single precision: finer than encoders are, and half of
/// the memory in which every tick has room for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlightJoints {
    /// When it was measured.
    pub at: MonoNanos,
    /// N·m or N.
    pub effort: PerJoint<f32>,
    /// rad or m.
    pub position: PerJoint<f32>,
    /// rad/s or m/s.
    pub velocity: PerJoint<f32>,
}

/// What the range sensor saw, at a fixed size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlightScan {
    /// When it was measured.
    pub at: MonoNanos,
    /// The nearest range in each direction, millimetres rounded down, counter-clockwise from
    /// straight behind; `u16::MAX` where nothing was nearer than 65 m or no beam pointed there.
    pub nearest_mm: [u16; SECTORS],
}

impl FlightVerdicts {
    /// Counts a verdict, and keeps it where there is room.
    pub fn push(&mut self, verdict: FlightVerdict) {
        if let Some(free) = self.kept.iter_mut().find(|kept| kept.is_none()) {
            *free = Some(verdict);
        }
        self.acting = self.acting.saturating_add(1);
    }

    /// Those that are kept.
    pub fn iter(&self) -> impl Iterator<Item = &FlightVerdict> {
        self.kept.iter().flatten()
    }
}

impl FlightJoints {
    /// Rounded.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // What is beyond single precision is infinite.
    pub fn of(joints: &Timed<JointStates>) -> Self {
        let JointStates { effort, position, velocity } = joints.value;
        let single = |each: PerJoint<f64>| each.map(|number| number as f32);
        Self {
            at: joints.at,
            effort: single(effort),
            position: single(position),
            velocity: single(velocity),
        }
    }
}

impl FlightScan {
    /// The nearest of the beams in each direction.
    #[must_use]
    pub fn of(at: MonoNanos, scan: &crate::observation::Scan) -> Self {
        let mut nearest_mm = [u16::MAX; SECTORS];
        for (beam, range) in (0_u32..).zip(&scan.ranges) {
            let angle = scan.angle_min + f64::from(beam) * scan.angle_step;
            let turn = (angle / std::f64::consts::TAU + 0.5).rem_euclid(1.0);
            let millimetres = f64::from(*range) * 1000.0;
            if !turn.is_finite() || millimetres.is_nan() {
                continue;
            }
            // Both casts saturate; a sector beyond the last is the last.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let (sector, millimetres) = ((turn * SECTORS as f64) as usize, millimetres as u16);
            let nearest = &mut nearest_mm[sector.min(SECTORS - 1)];
            *nearest = millimetres.min(*nearest);
        }
        Self { at, nearest_mm }
    }
}

/// Some ticks of a dump, in order. Class normal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlightBlock {
    /// How many ticks are in it.
    pub count: u32,
    /// Which dump of this boot, from 1.
    pub dump: u64,
    /// Which block of it, from 0.
    pub index: u32,
    /// It is the last. A dump without one was cut off, and what there is of it is whole.
    pub last: bool,
    /// SHA-256 of `rows` of the block before, zero in the first: blocks cannot be exchanged.
    pub previous: Digest,
    /// The ticks, as [`crate::delta`] rows; the first one's row before is empty.
    pub rows: Blob,
    /// The rules that the rows name by index.
    pub rules: Vec<Rule>,
}

/// What a dump says of itself. Class normal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum FlightNote {
    /// A trigger fired; blocks follow.
    Began {
        /// The moment of the first tick that is written.
        from: MonoNanos,
        /// Which dump of this boot, from 1.
        dump: u64,
        /// The window before the trigger begins in what an earlier dump has written.
        follows: Option<u64>,
        /// The trigger.
        trigger: Trigger,
        /// When it fired.
        triggered_at: MonoNanos,
        /// Until when it records, unless another trigger extends it.
        until: MonoNanos,
    },
    /// All blocks of a dump are written.
    Ended {
        /// How many there are.
        blocks: u32,
        /// It was ended by its share of the disk, not by its window.
        cut: bool,
        /// Which dump.
        dump: u64,
        /// SHA-256 of the last block's `rows`.
        head: Digest,
        /// Ticks that were overwritten or never handed over.
        lost: u64,
        /// Triggers that fired while it was under way, by kind.
        merged: Vec<(Trigger, u64)>,
        /// How many ticks it has.
        ticks: u64,
    },
    /// Triggers fired and nothing was written for them: the hour's share of the disk is used.
    Suppressed {
        /// How often each, since the last such note.
        triggers: Vec<(Trigger, u64)>,
    },
}

/// Why a dump begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The gate held a wish back, by a rule other than those that smooth every start.
    Clamp,
    /// An emergency stop.
    #[serde(rename = "estop")]
    EmergencyStop,
    /// Somebody or something reported an incident.
    Incident,
    /// A skill crashed or was ended by its sandbox.
    SkillCrash,
    /// The robot was stopped.
    Stop,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 5] =
        [Self::Clamp, Self::EmergencyStop, Self::Incident, Self::SkillCrash, Self::Stop];

    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clamp => "clamp",
            Self::EmergencyStop => "estop",
            Self::Incident => "incident",
            Self::SkillCrash => "skill_crash",
            Self::Stop => "stop",
        }
    }
}

/// Why a block cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlightError {
    /// More ticks than a block has.
    #[error("a block of {0} ticks; at most {MAX_TICKS} are in one")]
    Count(u32),
    /// Its rows are damaged.
    #[error("tick {nth} of the block: {source}")]
    Delta {
        /// Which, from 0.
        nth: u32,
        /// What is wrong with it.
        source: DeltaError,
    },
    /// A row holds a number that stands for nothing, or is of another length.
    #[error("tick {0} of the block is of no known form")]
    Form(u32),
    /// Something follows the last row.
    #[error("bytes after the last tick")]
    Rest,
}

/// Gathers ticks to a block.
#[derive(Debug, Default)]
pub struct BlockDraft {
    before: Vec<u8>,
    count: u32,
    row: Vec<u8>,
    rows: Vec<u8>,
    rules: Vec<Rule>,
}

impl BlockDraft {
    /// Adds a tick.
    pub fn push(&mut self, tick: &FlightTick) {
        self.row.clear();
        Writer { row: &mut self.row, rules: &mut self.rules }.tick(tick);
        delta::encode(&self.before, &self.row, &mut self.rows);
        std::mem::swap(&mut self.before, &mut self.row);
        self.count += 1;
    }

    /// How many bytes its rows have.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// How many ticks it has.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The block; the draft is empty then.
    pub fn finish(&mut self, dump: u64, index: u32, previous: Digest, last: bool) -> FlightBlock {
        self.before.clear();
        FlightBlock {
            count: std::mem::take(&mut self.count),
            dump,
            index,
            last,
            previous,
            rows: Blob(std::mem::take(&mut self.rows)),
            rules: std::mem::take(&mut self.rules),
        }
    }
}

impl FlightBlock {
    /// The ticks, in order.
    ///
    /// # Errors
    /// [`FlightError`] where it is not what [`BlockDraft`] makes.
    pub fn ticks(&self) -> Result<Vec<FlightTick>, FlightError> {
        if self.count > MAX_TICKS {
            return Err(FlightError::Count(self.count));
        }
        let (mut at, mut row, mut ticks) = (0, Vec::new(), Vec::new());
        for nth in 0..self.count {
            delta::decode(&self.rows.0, &mut at, MAX_TICK_BYTES, &mut row)
                .map_err(|source| FlightError::Delta { nth, source })?;
            let mut reader = Reader { row: &row, rules: &self.rules };
            let tick = reader.tick().filter(|_| reader.row.is_empty());
            ticks.push(tick.ok_or(FlightError::Form(nth))?);
        }
        if at == self.rows.0.len() { Ok(ticks) } else { Err(FlightError::Rest) }
    }
}

/// Integers and the bits of floats are little-endian: the bytes that change most come first,
/// next to those of the field before.
struct Writer<'a> {
    row: &'a mut Vec<u8>,
    rules: &'a mut Vec<Rule>,
}

const SEEN: u8 = 1;
const DOCKED: u8 = 2;
const STOPPED: u8 = 4;
const BATTERY: u8 = 8;
const SCAN: u8 = 16;
const EMERGENCY_STOP: u8 = 32;
const JOINTS: u8 = 64;

impl Writer<'_> {
    fn tick(&mut self, tick: &FlightTick) {
        let flag = |holds: bool, bit: u8| if holds { bit } else { 0 };
        self.u64(tick.tick);
        self.u64(tick.at.0);
        self.row.push(
            flag(tick.pose.is_some(), SEEN)
                | flag(tick.docked, DOCKED)
                | flag(tick.stopped, STOPPED)
                | flag(tick.battery.is_some(), BATTERY)
                | flag(tick.scan.is_some(), SCAN)
                | flag(tick.emergency_stop, EMERGENCY_STOP)
                | flag(tick.joints.is_some(), JOINTS),
        );
        self.row.push(source_code(tick.source));
        let (seen_at, pose) = tick.pose.unwrap_or_default();
        self.u64(seen_at.0);
        self.floats(&[pose.x, pose.y, pose.yaw]);
        self.floats(&[tick.twist.linear, tick.twist.angular]);
        self.floats(&[tick.battery.unwrap_or(0.0)]);
        self.floats(&[tick.limit_mps]);
        self.setpoint(&tick.asked);
        self.setpoint(&Asked::from(tick.allowed));
        self.row.push(tick.verdicts.acting);
        let kept = tick.verdicts.iter().count();
        self.row.push(u8::try_from(kept).unwrap_or(u8::MAX));
        for verdict in tick.verdicts.kept {
            let rule = verdict.map_or(0, |verdict| self.rule(verdict.rule));
            self.row.push(rule);
            self.floats(&[verdict.map_or(0.0, |verdict| verdict.limit)]);
            // No policy has 65,535 zones.
            let zone = verdict.and_then(|verdict| verdict.zone).unwrap_or(u16::MAX);
            self.row.extend(zone.to_le_bytes());
        }
        self.row.extend(tick.journal_ms.to_le_bytes());
        self.u64(tick.scan.map_or(0, |scan| scan.at.0));
        for nearest in tick.scan.map_or([0; SECTORS], |scan| scan.nearest_mm) {
            self.row.extend(nearest.to_le_bytes());
        }
        if let Some(FlightJoints { at, effort, position, velocity }) = &tick.joints {
            self.u64(at.0);
            for of_each in [effort, position, velocity] {
                let of_each = of_each.as_slice();
                // At most eight.
                self.row.push(u8::try_from(of_each.len()).unwrap_or(u8::MAX));
                for number in of_each {
                    self.row.extend(number.to_bits().to_le_bytes());
                }
            }
        }
    }

    fn u64(&mut self, number: u64) {
        self.row.extend(number.to_le_bytes());
    }

    fn floats(&mut self, numbers: &[f64]) {
        for number in numbers {
            self.u64(number.to_bits());
        }
    }

    /// What is no number stands for what was left out.
    fn setpoint(&mut self, asked: &Asked) {
        let mut numbers = [0.0; MAX_JOINTS];
        let mut fill = |parts: &[Option<f64>]| {
            for (number, part) in numbers.iter_mut().zip(parts) {
                *number = part.unwrap_or(f64::NAN);
            }
            u8::try_from(parts.len()).unwrap_or(u8::MAX)
        };
        let (kind, count) = match *asked {
            Asked::Ackermann { speed_mps, steering_rad } => (0, fill(&[speed_mps, steering_rad])),
            Asked::Drive { angular, linear } => (1, fill(&[angular, linear])),
            Asked::Fly { x, y, yaw_rate, z } => (2, fill(&[x, y, yaw_rate, z])),
            Asked::Joints { joints } => (3, fill(joints.as_slice())),
            Asked::Omni { angular, x, y } => (4, fill(&[angular, x, y])),
        };
        self.row.extend([kind, count]);
        self.floats(&numbers);
    }

    fn rule(&mut self, rule: Rule) -> u8 {
        let known = self.rules.iter().position(|known| *known == rule);
        let at = known.unwrap_or_else(|| {
            self.rules.push(rule);
            self.rules.len() - 1
        });
        // There are some dozen rules.
        u8::try_from(at).unwrap_or(u8::MAX)
    }
}

struct Reader<'a> {
    row: &'a [u8],
    rules: &'a [Rule],
}

impl Reader<'_> {
    fn tick(&mut self) -> Option<FlightTick> {
        let (tick, at) = (self.u64()?, MonoNanos(self.u64()?));
        let [flags, source] = self.take()?;
        let flag = |bit: u8| flags & bit != 0;
        let seen_at = MonoNanos(self.u64()?);
        let pose = Pose { x: self.f64()?, y: self.f64()?, yaw: self.f64()? };
        let twist = Twist::new(self.f64()?, self.f64()?);
        let (battery, limit_mps) = (self.f64()?, self.f64()?);
        let (asked, allowed) = (self.setpoint()?, command(self.setpoint()?));
        let [acting, kept] = self.take()?;
        let mut verdicts = FlightVerdicts { acting, ..FlightVerdicts::default() };
        for (nth, place) in verdicts.kept.iter_mut().enumerate() {
            let [rule] = self.take()?;
            let limit = self.f64()?;
            let zone = u16::from_le_bytes(self.take()?);
            if nth < usize::from(kept) {
                let rule = *self.rules.get(usize::from(rule))?;
                *place =
                    Some(FlightVerdict { limit, rule, zone: (zone != u16::MAX).then_some(zone) });
            }
        }
        let journal_ms = u32::from_le_bytes(self.take()?);
        let scan_at = MonoNanos(self.u64()?);
        let mut nearest_mm = [0; SECTORS];
        for nearest in &mut nearest_mm {
            *nearest = u16::from_le_bytes(self.take()?);
        }
        let joints = if flag(JOINTS) { Some(self.joints()?) } else { None };
        Some(FlightTick {
            allowed,
            asked,
            at,
            battery: flag(BATTERY).then_some(battery),
            docked: flag(DOCKED),
            emergency_stop: flag(EMERGENCY_STOP),
            joints,
            journal_ms,
            limit_mps,
            pose: flag(SEEN).then_some((seen_at, pose)),
            scan: flag(SCAN).then_some(FlightScan { at: scan_at, nearest_mm }),
            source: source_of(source)?,
            stopped: flag(STOPPED),
            tick,
            twist,
            verdicts,
        })
    }

    fn joints(&mut self) -> Option<FlightJoints> {
        let at = MonoNanos(self.u64()?);
        let (effort, position, velocity) = (self.each()?, self.each()?, self.each()?);
        Some(FlightJoints { at, effort, position, velocity })
    }

    fn each(&mut self) -> Option<PerJoint<f32>> {
        let [count] = self.take()?;
        let mut values = [0.0; MAX_JOINTS];
        let values = values.get_mut(..usize::from(count))?;
        for value in &mut *values {
            *value = f32::from_bits(u32::from_le_bytes(self.take()?));
        }
        PerJoint::new(values).ok()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.row.split_first_chunk()?;
        self.row = rest;
        Some(*taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn f64(&mut self) -> Option<f64> {
        self.u64().map(f64::from_bits)
    }

    fn setpoint(&mut self) -> Option<Asked> {
        let [kind, count] = self.take()?;
        let mut parts = [None; MAX_JOINTS];
        for part in &mut parts {
            let number = self.f64()?;
            *part = (!number.is_nan()).then_some(number);
        }
        let [a, b, c, d, ..] = parts;
        Some(match (kind, count) {
            (0, 2) => Asked::Ackermann { speed_mps: a, steering_rad: b },
            (1, 2) => Asked::Drive { angular: a, linear: b },
            (2, 4) => Asked::Fly { x: a, y: b, yaw_rate: c, z: d },
            (3, count) => {
                Asked::Joints { joints: PerJoint::new(parts.get(..usize::from(count))?).ok()? }
            }
            (4, 3) => Asked::Omni { angular: a, x: b, y: c },
            _ => return None,
        })
    }
}

/// What went to a robot has only numbers in it. Where one has none all the same, the tick is not
/// made unreadable by it.
fn command(asked: Asked) -> Command {
    let number = |part: Option<f64>| part.unwrap_or(f64::NAN);
    match asked {
        Asked::Ackermann { speed_mps, steering_rad } => Command::Ackermann(Steer {
            speed_mps: number(speed_mps),
            steering_rad: number(steering_rad),
        }),
        Asked::Drive { angular, linear } => {
            Command::Drive(Twist::new(number(linear), number(angular)))
        }
        Asked::Fly { x, y, yaw_rate, z } => Command::Fly(Velocity {
            x: number(x),
            y: number(y),
            yaw_rate: number(yaw_rate),
            z: number(z),
        }),
        Asked::Joints { joints } => {
            let joints: Vec<f64> = joints.as_slice().iter().copied().map(number).collect();
            // As many as there were.
            Command::Joints(JointVelocities { joints: PerJoint::new(&joints).unwrap_or_default() })
        }
        Asked::Omni { angular, x, y } => {
            Command::Omni(Planar { angular: number(angular), x: number(x), y: number(y) })
        }
    }
}

const fn source_code(source: Source) -> u8 {
    match source {
        Source::EmergencyStop => 0,
        Source::Operator => 1,
        Source::Skill => 2,
        Source::Idle => 3,
    }
}

const fn source_of(code: u8) -> Option<Source> {
    Some(match code {
        0 => Source::EmergencyStop,
        1 => Source::Operator,
        2 => Source::Skill,
        3 => Source::Idle,
        _ => return None,
    })
}
