//! From samples to a timeline of planar poses, twists and accelerations: what the envelope is
//! about.
//!
//! # Projection
//! The envelope is planar. Of a recording in space it judges what a map shows: the position
//! over ground, the horizontal speed, and the turn around the vertical. Climbing, sinking,
//! rolling and pitching are left out, and a note says how much of them there was.
//!
//! # Derivation
//! A speed that was recorded is taken as it is. What was not (speeds where there are only
//! positions, turns where there are only attitudes, and every acceleration) is a difference
//! over a window around the moment: last sample within half a window after it minus first
//! within half a window before it, by the time between the two. Where the window holds one
//! sample only, its neighbours take part. A longer window smooths more and sees less.
//!
//! # Time and height
//! What time it was is asked by zones that hold only at times. Times of a recording after
//! September 2001 are taken for what they are, nanoseconds since 1970; any other count from an
//! epoch of the recording's own, and then somebody has to say when it began. Heights are counted
//! from the first position, or, in a tlog, from home.
//!
//! # Pieces
//! A pause in the recording that is longer than the gap ends a piece: nothing is derived
//! across it and nothing holds through it.

use super::recording::{Format, Motion, Quaternion, Recording, Sample, Velocity};
use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::geometry::{Pose, Twist};
use nooterra_protocol::policy::AltitudeReference;
use nooterra_protocol::time::WallMillis;

/// Slower than this a course says nothing about where a vehicle would go, m/s.
const COURSE_MPS: f64 = 0.05;

/// A count of nanoseconds beyond this is one since 1970: from 2001-09-09 to 2099.
const SINCE_1970_NS: std::ops::Range<i64> = 1_000_000_000_000_000_000..4_070_908_800_000_000_000;

/// A heading this steep is none: the x axis points up by more than 60°.
const STEEP: f64 = 0.87;

/// How a timeline is made.
#[derive(Clone, Copy, Debug)]
pub struct Derivation {
    /// A longer pause ends a piece, seconds.
    pub gap_s: f64,
    /// `None` is what the recording's kind of vehicle does.
    pub motion: Option<Motion>,
    /// What time it was at the first sample; `None` is what the recording says, if it does.
    pub start: Option<WallMillis>,
    /// The height of the point of take-off, as the recording counts heights, metres; `None` is
    /// that of the first position.
    pub takeoff_m: Option<f64>,
    /// Differences are taken over this, seconds.
    pub window_s: f64,
}

impl Default for Derivation {
    fn default() -> Self {
        Self { gap_s: 1.0, motion: None, start: None, takeoff_m: None, window_s: 0.3 }
    }
}

/// Motion in the plane, moment by moment.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// What time it was at the first moment, where that is known.
    pub began: Option<WallMillis>,
    /// Pauses, seconds since the first moment: from, to.
    pub gaps: Vec<(f64, f64)>,
    /// In order.
    pub moments: Vec<Moment>,
    /// How the vehicle moves.
    pub motion: Motion,
    /// What the projection left out, one sentence each.
    pub notes: Vec<String>,
    /// Length of the track, metres, without what lies in gaps.
    pub path_m: f64,
    /// The height of the point of take-off, as [`Moment::height_m`] counts.
    pub takeoff_m: f64,
}

/// One moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// m/s² and rad/s²; `None` for a piece of one moment.
    pub accel: Option<Twist>,
    /// Up, m/s.
    pub climb_mps: f64,
    /// As the recording counts it, metres; `None` where it was not recorded.
    pub height_m: Option<f64>,
    /// Until the next moment of the piece, seconds; 0 for its last.
    pub holds_s: f64,
    /// The first of its piece.
    pub is_first: bool,
    /// Where; with [`Motion::Course`], `yaw` is the course. `None` where it was not recorded.
    pub pose: Option<Pose>,
    /// Seconds since the first moment.
    pub t_s: f64,
    /// How fast.
    pub twist: Twist,
}

impl Timeline {
    /// Derives a timeline.
    #[must_use]
    pub fn derive(recording: &Recording, derivation: &Derivation) -> Self {
        let motion = derivation.motion.unwrap_or(recording.motion);
        let window = Window::new(derivation.window_s);
        let gap_ns = nanos(derivation.gap_s);
        let samples = &recording.samples;
        let start_ns = samples.first().map_or(0, |sample| sample.at_ns);
        let seconds = |at_ns: i64| (at_ns.saturating_sub(start_ns)) as f64 / 1e9;
        let stamped = SINCE_1970_NS.contains(&start_ns).then_some(WallMillis(start_ns / 1_000_000));
        let first_m = samples.iter().find_map(|sample| sample.position).map(|[_, _, z]| z);
        let home = recording.format == Format::Tlog;
        let takeoff_m = derivation.takeoff_m.or(first_m.filter(|_| !home)).unwrap_or_default();
        let mut timeline = Self {
            began: derivation.start.or(stamped),
            gaps: Vec::new(),
            moments: Vec::new(),
            motion,
            notes: Vec::new(),
            path_m: 0.0,
            takeoff_m,
        };
        timeline.moments.reserve_exact(samples.len());
        let mut seen = Seen::default();
        let is_near = |a: &Sample, b: &Sample| b.at_ns.saturating_sub(a.at_ns) <= gap_ns;
        for piece in samples.chunk_by(is_near) {
            if let (Some(before), Some(first)) = (timeline.moments.last(), piece.first()) {
                timeline.gaps.push((before.t_s, seconds(first.at_ns)));
            }
            let times: Vec<i64> = piece.iter().map(|sample| sample.at_ns).collect();
            let planar: Vec<Planar> = (0..piece.len())
                .map(|at| Planar::of(piece, &times, at, &window, motion, &mut seen))
                .collect();
            for (at, sample) in piece.iter().enumerate() {
                let (a, b) = window.around(&times, at);
                let span_s = (times[b] - times[a]) as f64 / 1e9;
                let (one, other) = (planar[a].twist, planar[b].twist);
                let accel = (span_s > 0.0).then(|| {
                    Twist::new(
                        (other.linear - one.linear) / span_s,
                        (other.angular - one.angular) / span_s,
                    )
                });
                let next = times.get(at + 1);
                if let (Some(pose), Some(after)) =
                    (planar[at].pose, planar.get(at + 1).and_then(|planar| planar.pose))
                {
                    timeline.path_m += pose.point().distance(after.point());
                }
                timeline.moments.push(Moment {
                    accel,
                    climb_mps: planar[at].climb_mps,
                    height_m: sample.position.map(|[_, _, z]| z),
                    holds_s: next.map_or(0.0, |next| (next - sample.at_ns) as f64 / 1e9),
                    is_first: at == 0,
                    pose: planar[at].pose,
                    t_s: seconds(sample.at_ns),
                    twist: planar[at].twist,
                });
            }
        }
        timeline.notes = seen.notes(motion, samples.len());
        timeline
    }

    /// What time it was, where that is known.
    #[must_use]
    pub fn wall(&self, moment: &Moment) -> Option<WallMillis> {
        let since = std::time::Duration::try_from_secs_f64(moment.t_s).ok()?;
        Some(self.began?.plus(since))
    }

    /// What whoever reads the result should know of what zones are conditional on.
    #[must_use]
    pub fn notes_on(&self, policy: &VerifiedPolicy) -> Vec<String> {
        let (document, mut notes) = (policy.document(), Vec::new());
        match self.began {
            Some(began) if policy.asks_for_time() => {
                notes.push(format!("it began at {began}, by which zones with `windows` are judged"));
            }
            None if policy.asks_for_time() => notes.push(
                "what time it was is not known: zones with `windows` restrict, and permit nothing; \
                 say it with --start"
                    .to_owned(),
            ),
            _ => {}
        }
        let bands = document.zones.iter().map(|zone| zone.altitude);
        let bands: Vec<_> =
            bands.chain(document.privacy.iter().map(|zone| zone.altitude)).flatten().collect();
        // Only what flies has such zones.
        if bands.iter().any(|band| band.reference == AltitudeReference::AboveGround) {
            notes.push(
                "heights above the ground are not recorded: zones by them restrict, and permit \
                 nothing"
                    .to_owned(),
            );
        }
        if !bands.is_empty() {
            notes.push(format!(
                "take-off is taken to be at a height of {:.2} m; say another with --takeoff",
                self.takeoff_m
            ));
        }
        notes
    }

    /// From the first moment to the last, seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.moments.last().map_or(0.0, |moment| moment.t_s)
    }
}

/// Over what differences are taken.
#[derive(Clone, Copy, Debug)]
struct Window {
    half_ns: i64,
}

impl Window {
    fn new(window_s: f64) -> Self {
        Self { half_ns: nanos(window_s / 2.0) }
    }

    /// First and last index of the window around `at`.
    fn around(self, times: &[i64], at: usize) -> (usize, usize) {
        let from = times[at].saturating_sub(self.half_ns);
        let to = times[at].saturating_add(self.half_ns);
        let a = times.partition_point(|time| *time < from);
        let b = times.partition_point(|time| *time <= to).saturating_sub(1);
        if a == b { (a.saturating_sub(1), (b + 1).min(times.len() - 1)) } else { (a, b) }
    }
}

fn nanos(seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // Saturates, which is as good as for ever.
    let nanos = (seconds * 1e9).round() as i64;
    nanos
}

/// A sample in the plane.
#[derive(Clone, Copy, Debug)]
struct Planar {
    climb_mps: f64,
    pose: Option<Pose>,
    twist: Twist,
}

impl Planar {
    fn of(
        piece: &[Sample],
        times: &[i64],
        at: usize,
        window: &Window,
        motion: Motion,
        seen: &mut Seen,
    ) -> Self {
        let sample = &piece[at];
        let (a, b) = window.around(times, at);
        let span_s = (times[b] - times[a]) as f64 / 1e9;
        let heading = sample.attitude.map(Quaternion::yaw);
        // In the frame of the positions, and along the body where that is how it was recorded.
        let (world, body) = match sample.velocity {
            Velocity::Body(linear, _) => (None, Some(linear)),
            Velocity::World(linear) => (Some(linear), None),
            Velocity::Unknown => match (piece[a].position, piece[b].position) {
                (Some(one), Some(other)) if span_s > 0.0 => {
                    let axis = |axis: usize| (other[axis] - one[axis]) / span_s;
                    (Some([axis(0), axis(1), axis(2)]), None)
                }
                _ => (Some([0.0; 3]), None),
            },
        };
        let turn = match (sample.velocity, piece[a].attitude, piece[b].attitude) {
            (Velocity::Body(_, turn), ..) => turn,
            (_, Some(one), Some(other)) if span_s > 0.0 => other.turn_since(one) / span_s,
            _ => 0.0,
        };
        let (speed, course) = match (world, body) {
            (Some([x, y, _]), _) => (x.hypot(y), Some(y.atan2(x))),
            (_, Some([x, y, _])) => (x.hypot(y), heading.map(|yaw| yaw + y.atan2(x))),
            _ => (0.0, None),
        };
        let along = match (world, body, heading) {
            (_, Some([x, ..]), _) => x,
            (Some([x, y, _]), _, Some(yaw)) => x * yaw.cos() + y * yaw.sin(),
            // Nothing says which way it faces: the way it goes.
            _ => speed,
        };
        let (linear, yaw) = match motion {
            Motion::Course => (speed, course.filter(|_| speed > COURSE_MPS).or(heading)),
            Motion::Heading => (along, heading.or(course)),
        };
        let climb_mps = match (world, piece[a].position, piece[b].position) {
            (Some([_, _, climb_mps]), ..) => climb_mps,
            (None, Some(one), Some(other)) if span_s > 0.0 => (other[2] - one[2]) / span_s,
            _ => 0.0,
        };
        seen.take(sample, world.or(body).unwrap_or_default(), along, speed);
        let pose = sample.position.map(|[x, y, _]| Pose { x, y, yaw: yaw.unwrap_or_default() });
        Self { climb_mps, pose, twist: Twist::new(linear, turn) }
    }
}

/// What the projection leaves out.
#[derive(Debug, Default)]
struct Seen {
    climb_mps: f64,
    heights: Option<(f64, f64)>,
    sideways_mps: f64,
    steep: usize,
    without_heading: usize,
}

impl Seen {
    fn take(&mut self, sample: &Sample, velocity: [f64; 3], along: f64, speed: f64) {
        self.climb_mps = self.climb_mps.max(velocity[2].abs());
        if let Some([_, _, height]) = sample.position {
            let (least, most) = self.heights.unwrap_or((height, height));
            self.heights = Some((least.min(height), most.max(height)));
        }
        let sideways = (speed * speed - along * along).max(0.0).sqrt();
        self.sideways_mps = self.sideways_mps.max(sideways);
        match sample.attitude {
            Some(attitude) => self.steep += usize::from(attitude.steepness() > STEEP),
            None => self.without_heading += 1,
        }
    }

    fn notes(&self, motion: Motion, samples: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let (least, most) = self.heights.unwrap_or_default();
        if most - least > 0.5 || self.climb_mps > 0.2 {
            notes.push(format!(
                "projected to the plane: heights span {:.1} m and climbing or sinking reaches \
                 {:.1} m/s, neither of which is judged",
                most - least,
                self.climb_mps
            ));
        }
        if motion == Motion::Heading && self.steep * 2 > samples {
            notes.push(
                "the body's x axis points up or down most of the time, so its heading means \
                 little; judge with --motion course"
                    .to_owned(),
            );
        } else if motion == Motion::Heading && self.sideways_mps > 0.1 {
            notes.push(format!(
                "sideways speeds reach {:.2} m/s and are not judged; --motion course judges them",
                self.sideways_mps
            ));
        }
        if self.without_heading == samples {
            notes.push("there are no headings; turning is not judged unless recorded".to_owned());
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::recording::Format;

    fn recording(samples: Vec<Sample>) -> Recording {
        Recording {
            format: Format::Tum,
            frame: String::new(),
            motion: Motion::Heading,
            notes: Vec::new(),
            samples,
            source: String::new(),
        }
    }

    /// A circle of radius 2 m at 1 m/s, 50 samples per second, the heading along it.
    fn circle(backward: bool) -> Vec<Sample> {
        (0..200)
            .map(|i| {
                let angle = f64::from(i) * 0.01;
                let flip = if backward { std::f64::consts::PI } else { 0.0 };
                Sample {
                    at_ns: i64::from(i) * 20_000_000,
                    attitude: Some(Quaternion::from_yaw(
                        angle + std::f64::consts::FRAC_PI_2 + flip,
                    )),
                    position: Some([2.0 * angle.cos(), 2.0 * angle.sin(), 0.0]),
                    velocity: Velocity::Unknown,
                }
            })
            .collect()
    }

    #[test]
    fn speed_and_turn_are_derived_from_poses() {
        for backward in [false, true] {
            let timeline = Timeline::derive(&recording(circle(backward)), &Derivation::default());
            let middle = timeline.moments[100];
            let speed = if backward { -1.0 } else { 1.0 };
            assert!((middle.twist.linear - speed).abs() < 1e-3, "{middle:?}");
            assert!((middle.twist.angular - 0.5).abs() < 1e-9, "{middle:?}");
            assert!(middle.accel.unwrap().linear.abs() < 1e-6);
            assert!((timeline.path_m - 3.98).abs() < 1e-3);
            let course = Derivation { motion: Some(Motion::Course), ..Derivation::default() };
            let timeline = Timeline::derive(&recording(circle(backward)), &course);
            assert!((timeline.moments[100].twist.linear - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn nothing_is_derived_across_a_gap() {
        let mut samples = circle(false);
        for sample in &mut samples[100..] {
            sample.at_ns += 5_000_000_000;
        }
        samples.push(Sample { at_ns: 60_000_000_000, ..samples[0] });
        let timeline = Timeline::derive(&recording(samples), &Derivation::default());
        assert_eq!(timeline.gaps.len(), 2);
        assert!(
            (timeline.gaps[0].0 - 1.98).abs() < 1e-9 && (timeline.gaps[0].1 - 7.0).abs() < 1e-9
        );
        assert!(timeline.moments[100].is_first && timeline.moments[99].holds_s <= 0.0);
        assert!((timeline.moments[99].twist.linear - 1.0).abs() < 1e-3);
        let alone = timeline.moments[200];
        assert!(alone.accel.is_none() && alone.twist == Twist::ZERO);
    }

    #[test]
    fn a_window_of_one_sample_takes_its_neighbours() {
        let window = Window::new(0.3);
        let times = [0, 500, 1000, 1100].map(|ms: i64| ms * 1_000_000);
        assert_eq!(window.around(&times, 0), (0, 1));
        assert_eq!(window.around(&times, 1), (0, 2));
        assert_eq!(window.around(&times, 2), (2, 3));
        assert_eq!(window.around(&times, 3), (2, 3));
        assert_eq!(window.around(&times[..1], 0), (0, 0));
    }

    #[test]
    fn what_the_plane_does_not_show_is_said() {
        let mut samples = circle(false);
        for (index, sample) in samples.iter_mut().enumerate() {
            sample.position = Some([0.0, index as f64 * 0.01, index as f64 * 0.02]);
        }
        let timeline = Timeline::derive(&recording(samples), &Derivation::default());
        assert!(timeline.notes[0].contains("heights span 4.0 m"), "{:?}", timeline.notes);
        assert!(timeline.notes[0].contains("1.0 m/s"), "{:?}", timeline.notes);
        assert!(timeline.notes[1].starts_with("sideways"), "{:?}", timeline.notes);
    }
}
