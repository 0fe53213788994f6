//! What entered a skill at each of its steps, so that its run can be repeated from the journal.
//!
//! An observation is a row of numbers as they are in memory, told by what changed since the
//! step before ([`crate::delta`]), and read back bit for bit. Each record begins anew, so that
//! one that is pruned takes no other with it.

use crate::codec::{Blob, Digest};
use crate::command::{MAX_JOINTS, PerJoint};
use crate::delta::{self, DeltaError};
use crate::geometry::{Pose, Twist};
use crate::ids::{JobId, SkillId, StepId};
use crate::observation::{Battery, JointStates, Observation, Scan, Timed};
use crate::time::MonoNanos;
use serde::{Deserialize, Serialize};

/// Steps in one record, at the most.
pub const MAX_STEPS: u32 = 4096;

/// An observation as a row, at the most: some 16,000 beams.
pub const MAX_ROW_BYTES: usize = 64 * 1024;

/// What a row has beside the beams of its scan, at the most: flags, times, numbers, joints, and
/// how the beams lie.
const BESIDE_BEAMS: usize = 1 + 4 * 8 + 7 * 8 + (8 + 3 * (8 + 8 * MAX_JOINTS)) + (8 + 3 * 8);

/// The most beams that a row has room for, whatever else is in it.
pub const MAX_BEAMS: usize = (MAX_ROW_BYTES - BESIDE_BEAMS) / size_of::<f32>();

/// What entered a skill, some steps of one run. Class normal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SkillInput {
    /// The action that runs.
    pub action: String,
    /// SHA-256 of the bundle that runs.
    pub bundle: Digest,
    /// How many steps are in it.
    pub count: u32,
    /// Number of the first of them, from 1 in each run.
    pub first: u64,
    /// The job.
    pub job: JobId,
    /// The observations, as [`crate::delta`] rows.
    pub rows: Blob,
    /// Which skill.
    pub skill: SkillId,
    /// The step of the plan.
    pub step: StepId,
    /// The skill saw the range sensor and it may not be kept: the rows do not have it, and the
    /// run cannot be repeated from them.
    pub withheld: bool,
}

/// Why a record of inputs cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InputError {
    /// More steps than a record has.
    #[error("a record of {0} steps; at most {MAX_STEPS} are in one")]
    Count(u32),
    /// Its rows are damaged.
    #[error("step {nth} of the record: {source}")]
    Delta {
        /// Which, from 0.
        nth: u32,
        /// What is wrong with it.
        source: DeltaError,
    },
    /// A row is no observation.
    #[error("step {0} of the record is no observation")]
    Form(u32),
    /// Something follows the last row.
    #[error("bytes after the last step")]
    Rest,
}

/// A step: when, by the skill's clock, and what it saw.
pub type Input = (MonoNanos, Observation);

/// Gathers steps to a record.
#[derive(Debug, Default)]
pub struct InputDraft {
    before: Vec<u8>,
    count: u32,
    row: Vec<u8>,
    rows: Vec<u8>,
}

impl InputDraft {
    /// Adds a step; returns by how many bytes the draft grew.
    pub fn push(&mut self, at: MonoNanos, seen: &Observation) -> usize {
        let size = self.rows.len();
        self.row.clear();
        write(&mut self.row, at, seen);
        delta::encode(&self.before, &self.row, &mut self.rows);
        std::mem::swap(&mut self.before, &mut self.row);
        self.count += 1;
        self.rows.len() - size
    }

    /// Takes the step back that was just added and grew it by `size`: it was never shown.
    pub fn take_back(&mut self, size: usize) {
        if let Some(count) = self.count.checked_sub(1) {
            self.count = count;
            self.rows.truncate(self.rows.len().saturating_sub(size));
            std::mem::swap(&mut self.before, &mut self.row);
        }
    }

    /// How many steps it has.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many bytes its rows have.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// How many steps there were, and their rows; the draft is empty then.
    pub fn take(&mut self) -> (u32, Blob) {
        self.before.clear();
        // The next record will be about as large.
        let next = Vec::with_capacity(self.rows.len());
        (std::mem::take(&mut self.count), Blob(std::mem::replace(&mut self.rows, next)))
    }
}

impl SkillInput {
    /// The steps, in order, bit for bit what entered the skill.
    ///
    /// # Errors
    /// [`InputError`] where it is not what [`InputDraft`] makes.
    pub fn inputs(&self) -> Result<Vec<Input>, InputError> {
        if self.count > MAX_STEPS {
            return Err(InputError::Count(self.count));
        }
        let (mut at, mut row, mut inputs) = (0, Vec::new(), Vec::new());
        for nth in 0..self.count {
            delta::decode(&self.rows.0, &mut at, MAX_ROW_BYTES, &mut row)
                .map_err(|source| InputError::Delta { nth, source })?;
            inputs.push(read(&row).ok_or(InputError::Form(nth))?);
        }
        if at == self.rows.0.len() { Ok(inputs) } else { Err(InputError::Rest) }
    }
}

const DOCKED: u8 = 1;
const EMERGENCY_STOP: u8 = 2;
const BATTERY: u8 = 4;
const CHARGING: u8 = 8;
const SCAN: u8 = 16;
const JOINTS: u8 = 32;
const GRIPPER: u8 = 64;

/// Everything of an observation, without exception: a field that is added does not compile
/// until it has its place here.
fn write(row: &mut Vec<u8>, at: MonoNanos, seen: &Observation) {
    let Observation { battery, docked, emergency_stop, gripper, joints, pose, scan, twist } = seen;
    let flag = |holds: bool, bit: u8| if holds { bit } else { 0 };
    let none =
        Timed { at: MonoNanos(0), value: Battery { charging: false, fraction: 0.0, volts: 0.0 } };
    let charge = battery.unwrap_or(none);
    row.push(
        flag(*docked, DOCKED)
            | flag(*emergency_stop, EMERGENCY_STOP)
            | flag(battery.is_some(), BATTERY)
            | flag(charge.value.charging, CHARGING)
            | flag(scan.is_some(), SCAN)
            | flag(joints.is_some(), JOINTS)
            | flag(*gripper, GRIPPER),
    );
    let mut u64 = |number: u64| row.extend_from_slice(&number.to_le_bytes());
    let Timed { at: pose_at, value: Pose { x, y, yaw } } = pose;
    let Timed { at: twist_at, value: Twist { linear, angular } } = twist;
    for time in [at, *pose_at, *twist_at, charge.at] {
        u64(time.0);
    }
    for number in [x, y, yaw, linear, angular, &charge.value.fraction, &charge.value.volts] {
        u64(number.to_bits());
    }
    if let Some(Timed { at, value: JointStates { effort, position, velocity } }) = joints {
        u64(at.0);
        for of_each in [effort, position, velocity] {
            u64(of_each.as_slice().len() as u64);
            for number in of_each.as_slice() {
                u64(number.to_bits());
            }
        }
    }
    if let Some(Timed { at, value: Scan { angle_min, angle_step, range_max, ranges } }) = scan {
        u64(at.0);
        for number in [angle_min, angle_step, range_max] {
            u64(number.to_bits());
        }
        let begin = row.len();
        row.resize(begin + size_of_val(ranges.as_slice()), 0);
        let (places, _) = row[begin..].as_chunks_mut();
        for (place, range) in places.iter_mut().zip(ranges) {
            *place = range.to_bits().to_le_bytes();
        }
    }
}

fn read(row: &[u8]) -> Option<Input> {
    let ([flags], mut rest) = row.split_first_chunk()?;
    let mut take = || {
        let (taken, after) = rest.split_first_chunk()?;
        rest = after;
        Some(u64::from_le_bytes(*taken))
    };
    let mut times = [MonoNanos(0); 4];
    for time in &mut times {
        *time = MonoNanos(take()?);
    }
    let mut numbers = [0.0; 7];
    for number in &mut numbers {
        *number = f64::from_bits(take()?);
    }
    let flag = |bit: u8| flags & bit != 0;
    let joints = if flag(JOINTS) {
        let at = MonoNanos(take()?);
        let mut of_each = || {
            let count = usize::try_from(take()?).ok().filter(|count| *count <= MAX_JOINTS)?;
            let mut values = [0.0; MAX_JOINTS];
            for value in values.get_mut(..count)? {
                *value = f64::from_bits(take()?);
            }
            PerJoint::new(values.get(..count)?).ok()
        };
        let (effort, position, velocity) = (of_each()?, of_each()?, of_each()?);
        Some(Timed { at, value: JointStates { effort, position, velocity } })
    } else {
        None
    };
    let scan = if flag(SCAN) {
        let at = MonoNanos(take()?);
        let mut geometry = [0.0; 3];
        for number in &mut geometry {
            *number = f64::from_bits(take()?);
        }
        let [angle_min, angle_step, range_max] = geometry;
        let (beams, odd) = rest.as_chunks();
        let ranges = beams.iter().map(|beam| f32::from_bits(u32::from_le_bytes(*beam)));
        odd.is_empty().then_some(())?;
        Some(Timed {
            at,
            value: Scan { angle_min, angle_step, range_max, ranges: ranges.collect() },
        })
    } else {
        rest.is_empty().then_some(())?;
        None
    };
    let ([at, pose_at, twist_at, battery_at], [x, y, yaw, linear, angular, fraction, volts]) =
        (times, numbers);
    let battery =
        Timed { at: battery_at, value: Battery { charging: flag(CHARGING), fraction, volts } };
    let seen = Observation {
        battery: flag(BATTERY).then_some(battery),
        docked: flag(DOCKED),
        emergency_stop: flag(EMERGENCY_STOP),
        gripper: flag(GRIPPER),
        joints,
        pose: Timed { at: pose_at, value: Pose { x, y, yaw } },
        scan,
        twist: Timed { at: twist_at, value: Twist { linear, angular } },
    };
    Some((at, seen))
}
