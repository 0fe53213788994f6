//! What every format is read into: samples of pose and velocity, in one frame and one order.
//!
//! Axes are the policy's: x east or forward, y north or left, z up, metres. A reader turns its
//! format's axes into these, and says in a note what it had to leave out.

use super::read::ReadError;

/// The most samples of a recording: 83 minutes at 200 Hz. What is kept of one is below 200
/// bytes.
pub const MAX_SAMPLES: usize = 1_000_000;

/// Further from the origin than this is no position, metres.
const MOST_BELIEVED_M: f64 = 1e7;

/// Faster than this is no measurement, m/s or rad/s.
const MOST_BELIEVED_SPEED: f64 = 1e3;

/// A recording, in the order of its times.
#[derive(Clone, Debug)]
pub struct Recording {
    /// How it is laid out.
    pub format: Format,
    /// The frame that its positions are in, as the recording calls it.
    pub frame: String,
    /// How this kind of vehicle moves, unless the caller knows better.
    pub motion: Motion,
    /// What whoever reads the result should know, one sentence each.
    pub notes: Vec<String>,
    /// Times strictly ascending.
    pub samples: Vec<Sample>,
    /// The topic, message or vehicle that the samples are of.
    pub source: String,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Nanoseconds, from an epoch of the recording's own.
    pub at_ns: i64,
    /// Where the body's axes point.
    pub attitude: Option<Quaternion>,
    /// Metres.
    pub position: Option<[f64; 3]>,
    /// How it moves.
    pub velocity: Velocity,
}

/// A velocity, m/s, in the frame in which it was recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Velocity {
    /// Along the body's axes, and the turn around the body's z axis, rad/s.
    Body([f64; 3], f64),
    /// Not recorded; derived from positions.
    Unknown,
    /// Along the axes of the positions.
    World([f64; 3]),
}

/// Which layouts are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated: nanoseconds, position, quaternion w x y z, and velocity when there
    Euroc,
    /// Space-separated: the 12 numbers of a 3x4 matrix, camera axes, no times
    Kitti,
    /// MCAP with ROS 2 odometry or twists
    Mcap,
    /// MAVLink telemetry log of a ground station
    Tlog,
    /// Space-separated: seconds, position, quaternion x y z w
    Tum,
}

impl Format {
    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Euroc => "euroc",
            Self::Kitti => "kitti",
            Self::Mcap => "mcap",
            Self::Tlog => "tlog",
            Self::Tum => "tum",
        }
    }
}

/// What `linear` means for a vehicle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Motion {
    /// The speed over ground, whichever way it goes: aircraft, and bases that move sideways
    Course,
    /// The speed along the heading, backward negative: bases with wheels or tracks
    Heading,
}

impl Motion {
    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Course => "course",
            Self::Heading => "heading",
        }
    }
}

/// A rotation from the body's axes to the recording's, of length 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quaternion {
    w: f64,
    x: f64,
    y: f64,
    z: f64,
}

impl Quaternion {
    /// Scales to length 1; `None` where there is no length to speak of, which is how a missing
    /// orientation is recorded.
    #[must_use]
    pub fn new(w: f64, x: f64, y: f64, z: f64) -> Option<Self> {
        let length = (w * w + x * x + y * y + z * z).sqrt();
        (length.is_finite() && length > 0.1).then(|| Self {
            w: w / length,
            x: x / length,
            y: y / length,
            z: z / length,
        })
    }

    /// A turn around z, radians.
    #[must_use]
    pub fn from_yaw(yaw: f64) -> Self {
        let (sin, cos) = (yaw / 2.0).sin_cos();
        Self { w: cos, x: 0.0, y: 0.0, z: sin }
    }

    /// From the rows of a rotation matrix; `None` where they are far from one.
    #[must_use]
    pub fn from_matrix(rows: [[f64; 3]; 3]) -> Option<Self> {
        let [[a, b, c], [d, e, f], [g, h, i]] = rows;
        // The largest of the four squares is at least 1/4: no division by nothing.
        let squares = [1.0 + a + e + i, 1.0 + a - e - i, 1.0 - a + e - i, 1.0 - a - e + i];
        let (largest, square) =
            squares.into_iter().enumerate().max_by(|one, other| one.1.total_cmp(&other.1))?;
        let twice = square.sqrt();
        match largest {
            0 => Self::new(twice * twice, h - f, c - g, d - b),
            1 => Self::new(h - f, twice * twice, b + d, c + g),
            2 => Self::new(c - g, b + d, twice * twice, f + h),
            _ => Self::new(d - b, c + g, f + h, twice * twice),
        }
    }

    /// The body's x axis in the plane: counter-clockwise from x, radians.
    #[must_use]
    pub fn yaw(self) -> f64 {
        let Self { w, x, y, z } = self;
        (2.0 * (x * y + w * z)).atan2(1.0 - 2.0 * (y * y + z * z))
    }

    /// How steeply the body's x axis points up or down, 0 to 1: at 1 it has no heading.
    #[must_use]
    pub fn steepness(self) -> f64 {
        let Self { w, x, y, z } = self;
        (2.0 * (x * z - w * y)).abs()
    }

    /// The turn around the vertical since `earlier`, the short way, radians: the vertical part
    /// of the one rotation that leads from there to here.
    #[must_use]
    pub fn turn_since(self, earlier: Self) -> f64 {
        // self * conj(earlier)
        let (a, b) = (self, earlier);
        let w = a.w * b.w + a.x * b.x + a.y * b.y + a.z * b.z;
        let x = -a.w * b.x + a.x * b.w - a.y * b.z + a.z * b.y;
        let y = -a.w * b.y + a.x * b.z + a.y * b.w - a.z * b.x;
        let z = -a.w * b.z - a.x * b.y + a.y * b.x + a.z * b.w;
        let sign = if w < 0.0 { -1.0 } else { 1.0 };
        let length = (x * x + y * y + z * z).sqrt();
        if length < 1e-12 {
            return 2.0 * sign * z;
        }
        2.0 * length.atan2(w.abs()) * sign * z / length
    }

    fn is_finite(self) -> bool {
        self.w.is_finite() && self.x.is_finite() && self.y.is_finite() && self.z.is_finite()
    }
}

/// Samples as they come, bounded, with a count of those that are no measurement.
#[derive(Debug, Default)]
pub(super) struct Samples {
    dropped: usize,
    samples: Vec<Sample>,
}

impl Samples {
    /// Takes a sample; one with a number that is none, or that nothing on earth does, is
    /// counted and left out.
    pub(super) fn push(&mut self, sample: Sample) -> Result<(), ReadError> {
        if !is_believable(&sample) {
            self.dropped += 1;
            return Ok(());
        }
        if self.samples.len() == MAX_SAMPLES {
            return Err(ReadError::TooLong);
        }
        self.samples.push(sample);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// In the order of their times, each time once, with notes on what that took.
    pub(super) fn in_order(self, notes: &mut Vec<String>) -> Vec<Sample> {
        let mut samples = self.samples;
        if self.dropped > 0 {
            notes.push(format!(
                "{} samples with a number that is no measurement were left out",
                self.dropped
            ));
        }
        let late = samples.windows(2).filter(|pair| pair[1].at_ns < pair[0].at_ns).count();
        if late > 0 {
            notes.push(format!("{late} samples came late and were put in order"));
        }
        samples.sort_by_key(|sample| sample.at_ns);
        let before = samples.len();
        samples.dedup_by_key(|sample| sample.at_ns);
        if samples.len() < before {
            notes.push(format!(
                "{} samples with the time of another were left out",
                before - samples.len()
            ));
        }
        samples
    }
}

fn is_believable(sample: &Sample) -> bool {
    let near = |numbers: &[f64], most: f64| numbers.iter().all(|number| number.abs() <= most);
    sample.position.is_none_or(|position| near(&position, MOST_BELIEVED_M))
        && sample.attitude.is_none_or(Quaternion::is_finite)
        && match sample.velocity {
            Velocity::Body(linear, turn) => {
                near(&linear, MOST_BELIEVED_SPEED) && near(&[turn], MOST_BELIEVED_SPEED)
            }
            Velocity::Unknown => true,
            Velocity::World(linear) => near(&linear, MOST_BELIEVED_SPEED),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_PI_2, PI};

    #[test]
    fn a_turn_is_counted_the_short_way_and_around_the_vertical() {
        let turn =
            |from: f64, to: f64| Quaternion::from_yaw(to).turn_since(Quaternion::from_yaw(from));
        assert!((turn(0.1, 0.3) - 0.2).abs() < 1e-12);
        assert!((turn(PI - 0.1, -PI + 0.1) - 0.2).abs() < 1e-12);
        assert!((turn(0.3, 0.3)).abs() < 1e-12);
        // Rolling is no turn, also with the nose up.
        let up = Quaternion::new(1.0, 0.0, -1.0, 0.0).unwrap();
        let level = Quaternion::from_yaw(0.0);
        assert!(up.turn_since(level).abs() < 1e-12);
        assert!((up.steepness() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_matrix_and_a_quaternion_mean_the_same_turn() {
        for yaw in [0.0, 1.0, -2.5, PI, FRAC_PI_2] {
            let (sin, cos) = f64::sin_cos(yaw);
            let rows = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]];
            let found = Quaternion::from_matrix(rows).unwrap();
            assert!(found.turn_since(Quaternion::from_yaw(yaw)).abs() < 1e-9, "{yaw}");
        }
        // Half a turn around each axis, where the trace is -1.
        for rows in [
            [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]],
            [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]],
            [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]],
        ] {
            assert!(Quaternion::from_matrix(rows).unwrap().is_finite());
        }
        assert!(Quaternion::from_matrix([[f64::NAN; 3]; 3]).is_none());
    }

    #[test]
    fn samples_are_put_in_order_once_each_and_nonsense_is_counted() {
        let at = |at_ns, x: f64| Sample {
            at_ns,
            attitude: None,
            position: Some([x, 0.0, 0.0]),
            velocity: Velocity::Unknown,
        };
        let mut samples = Samples::default();
        for sample in [at(3, 0.0), at(1, 1.0), at(1, 2.0), at(2, f64::NAN), at(4, 1e300)] {
            samples.push(sample).unwrap();
        }
        let mut notes = Vec::new();
        let times: Vec<i64> = samples.in_order(&mut notes).iter().map(|s| s.at_ns).collect();
        assert_eq!(times, [1, 3]);
        assert_eq!(notes.len(), 3, "{notes:?}");
    }
}
