//! What is asked, tick by tick: may this setpoint be written?
//!
//! The numbers are those of a drive as in `policy/examples/bench_gate.rs`: the same wishes, the
//! same twelve limits, a fence of 50 corners. Here the fence is convex, so that it is 50
//! comparisons, which both languages can make; the gate's may have any shape. And the peers are
//! told where the robot would come to rest. They are asked for less than the gate does: it
//! looks along the whole way, and says by which rule and how fast instead.

use std::f64::consts::TAU;

const STEP_S: f64 = 0.02;
const TICKS: u32 = 4096;
const SIDES: u32 = 50;

/// From the middle to each side.
const RADIUS_M: f64 = 8.0;

/// The circle around the robot, and the margin.
const KEEP_AWAY_M: f64 = 0.404;

/// The limits, in thousandths: neither language compares floating-point numbers alike.
pub(crate) const MAX_LINEAR: i64 = 800;
pub(crate) const MAX_REVERSE: i64 = 300;
pub(crate) const MAX_ANGULAR: i64 = 1500;
/// For each tick.
pub(crate) const MAX_FASTER: i64 = 12;
pub(crate) const MAX_SLOWER: i64 = 16;
pub(crate) const MAX_TURN: i64 = 60;
/// Milliseconds.
pub(crate) const MAX_COMMAND_AGE: i64 = 300;
pub(crate) const MAX_JOURNAL_AGE: i64 = 100;
pub(crate) const MAX_ODOMETRY_AGE: i64 = 100;

/// A side of the fence, moved in by the robot's own size: inside is `nx * x + ny * y <= most`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) most: i64,
    pub(crate) nx: i64,
    pub(crate) ny: i64,
}

/// The fence around the start.
pub(crate) fn fence() -> Vec<Side> {
    let side = |index: u32| {
        let turn = TAU * f64::from(index) / f64::from(SIDES);
        let most = thousandths((RADIUS_M - KEEP_AWAY_M) * 1e3);
        Side { most, nx: thousandths(turn.cos()), ny: thousandths(turn.sin()) }
    };
    (0..SIDES).map(side).collect()
}

/// One tick. Speeds in mm/s and mrad/s, ages in ms; `x` and `y` are where the robot would come
/// to rest, in mm.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Question {
    pub(crate) angular: i64,
    pub(crate) angular_before: i64,
    pub(crate) command_age: i64,
    pub(crate) journal_age: i64,
    pub(crate) linear: i64,
    pub(crate) linear_before: i64,
    pub(crate) pose_age: i64,
    pub(crate) twist_age: i64,
    pub(crate) x: i64,
    pub(crate) y: i64,
}

impl Question {
    pub(crate) const NAMES: [&str; 10] = [
        "angular",
        "angular_before",
        "command_age",
        "journal_age",
        "linear",
        "linear_before",
        "pose_age",
        "twist_age",
        "x",
        "y",
    ];

    /// In the order of the names.
    pub(crate) const fn numbers(&self) -> [i64; 10] {
        [
            self.angular,
            self.angular_before,
            self.command_age,
            self.journal_age,
            self.linear,
            self.linear_before,
            self.pose_age,
            self.twist_age,
            self.x,
            self.y,
        ]
    }

    /// The right answer.
    pub(crate) fn is_allowed(&self, fence: &[Side]) -> bool {
        self.linear <= MAX_LINEAR
            && self.linear >= -MAX_REVERSE
            && self.angular <= MAX_ANGULAR
            && self.angular >= -MAX_ANGULAR
            && self.linear - self.linear_before <= MAX_FASTER
            && self.linear_before - self.linear <= MAX_SLOWER
            && self.angular - self.angular_before <= MAX_TURN
            && self.angular_before - self.angular <= MAX_TURN
            && self.command_age <= MAX_COMMAND_AGE
            && self.journal_age <= MAX_JOURNAL_AGE
            && self.pose_age <= MAX_ODOMETRY_AGE
            && self.twist_age <= MAX_ODOMETRY_AGE
            && fence.iter().all(|side| side.nx * self.x + side.ny * self.y <= side.most)
    }
}

/// The questions of a drive; many of them are answered with no.
pub(crate) fn of_a_drive() -> Vec<Question> {
    let fence = fence();
    let (mut x, mut y, mut yaw) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut linear, mut angular) = (0.0_f64, 0.0_f64);
    let questions: Vec<Question> = (0..TICKS)
        .map(|tick| {
            let turn = f64::from(tick);
            // Here and there, and faster than is allowed now and then.
            let (wish, turning) = (0.5 + 0.7 * (turn / 130.0).sin(), 1.2 * (turn / 170.0).cos());
            let rest = |linear: f64| {
                let reach = (linear.abs() * 0.1 + linear * linear / 1.6).copysign(linear);
                [x + reach * yaw.cos(), y + reach * yaw.sin()].map(thousandths)
            };
            let [rest_x, rest_y] = rest(wish);
            let asked = Question {
                angular: thousandths(turning),
                angular_before: thousandths(angular),
                command_age: 20,
                journal_age: 8,
                linear: thousandths(wish),
                linear_before: thousandths(linear),
                pose_age: 10,
                twist_age: 10,
                x: rest_x,
                y: rest_y,
            };
            linear = wish.clamp(-0.3, 0.8).clamp(linear - 0.016, linear + 0.012);
            angular = turning.clamp(angular - 0.06, angular + 0.06);
            let [rest_x, rest_y] = rest(linear);
            if !fence.iter().all(|side| side.nx * rest_x + side.ny * rest_y <= side.most) {
                linear = 0.0;
            }
            yaw += angular * STEP_S;
            x += linear * STEP_S * yaw.cos();
            y += linear * STEP_S * yaw.sin();
            asked
        })
        .collect();
    let allowed = questions.iter().filter(|question| question.is_allowed(&fence)).count();
    assert!(allowed > 100 && allowed + 100 < questions.len(), "{allowed} are allowed");
    questions
}

#[allow(clippy::cast_possible_truncation)]
fn thousandths(number: f64) -> i64 {
    // Speeds and rooms of a robot: far within.
    (number * 1e3).round() as i64
}

/// The questions, again and again.
pub(crate) struct Round<'a> {
    at: usize,
    questions: &'a [Question],
}

impl<'a> Round<'a> {
    pub(crate) const fn new(questions: &'a [Question]) -> Self {
        Self { at: 0, questions }
    }

    pub(crate) fn next(&mut self) -> &'a Question {
        self.at = (self.at + 1) % self.questions.len();
        &self.questions[self.at]
    }
}
