//! The WIT world on the host's side: generated bindings, and the types of our own that the
//! rest of the robot sees instead of them.

use nooterra_protocol::command::PerJoint;
use nooterra_protocol::geometry::{Point, Twist};
use nooterra_protocol::observation::{JointStates, Observation, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::skill::Capability;
use nooterra_protocol::time::MonoNanos;
use std::borrow::Cow;

#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({ path: "wit", world: "skill" });
}

/// Of an arm's world what is its own: the rest is that of the other.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all)]
mod arm_bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "arm-skill",
        with: {
            "nooterra:skill/assist": super::bindings::nooterra::skill::assist,
            "nooterra:skill/camera": super::bindings::nooterra::skill::camera,
            "nooterra:skill/checkpoint": super::bindings::nooterra::skill::checkpoint,
            "nooterra:skill/evidence": super::bindings::nooterra::skill::evidence,
            "nooterra:skill/log": super::bindings::nooterra::skill::log,
            "nooterra:skill/types": super::bindings::nooterra::skill::types,
        },
    });
}

/// The types that cross the boundary; those of an arm's world have that in their names.
pub(crate) mod wit {
    pub(crate) use super::arm_bindings::nooterra::skill::arm::{
        GripperTarget, Joint, JointTargets, Observation as ArmObservation, Request as ArmRequest,
    };
    pub(crate) use super::bindings::nooterra::skill::types::{
        Battery, Destination, Observation, Param, Point, Pose, Progress, Refusal, Request, Scan,
        Status, Twist,
    };
}

pub(crate) use arm_bindings::{ArmSkill, ArmSkillPre};
pub(crate) use bindings::nooterra::skill::camera;
pub(crate) use bindings::{Skill, SkillPre};

/// The longest note of a [`Status::Running`], bytes.
pub const MAX_NOTE_BYTES: usize = 256;

/// The longest reason of a [`Status::Failed`], bytes.
pub const MAX_REASON_BYTES: usize = 512;

/// What a skill asks for until its next step.
///
/// The numbers are passed on exactly as the skill gave them, NaN and infinity included: the
/// gate refuses those itself and writes down that it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request {
    /// Move with this body twist.
    Drive(Twist),
    /// Go straight to a place.
    GoTo {
        /// How fast, m/s.
        speed_mps: f64,
        /// Where, in the `map` frame.
        to: Point,
        /// Which way to look once there, radians; `None` leaves it open.
        yaw: Option<f64>,
    },
    /// Open or close an arm's gripper, while its joints hold.
    Gripper {
        /// Between the jaws, metres.
        opening_m: f64,
        /// Of the velocity that the policy allows, 0 to 1.
        speed: f64,
    },
    /// Nothing.
    Idle,
    /// Move an arm's joints, while its gripper holds.
    Joints {
        /// Radians or metres, base first, without the gripper. Empty where the skill named more
        /// than any arm has, which no arm takes.
        positions: PerJoint<f64>,
        /// Of the velocity that the policy allows to each, 0 to 1.
        speed: f64,
    },
    /// Come to rest in the way that the policy sets.
    Stop,
}

impl Request {
    /// The capability that it takes, where it asks the robot to move.
    #[must_use]
    pub const fn needs(&self) -> Option<Capability> {
        match self {
            Self::Drive(_) | Self::GoTo { .. } => Some(Capability::Drive),
            Self::Gripper { .. } | Self::Joints { .. } => Some(Capability::Joints),
            Self::Idle | Self::Stop => None,
        }
    }
}

/// How it stands with the action.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Achieved; the skill is not stepped again.
    Done,
    /// Not achievable, and why, in the skill's words (at most [`MAX_REASON_BYTES`]).
    Failed(String),
    /// Under way.
    Running {
        /// For people (at most [`MAX_NOTE_BYTES`]).
        note: String,
        /// 0 to 1; what a skill says outside of it is brought inside, NaN counts as 0.
        progress: f64,
    },
}

pub(crate) fn params(
    params: &std::collections::BTreeMap<String, Param>,
) -> Vec<(String, wit::Param)> {
    params
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Param::Flag(flag) => wit::Param::Flag(*flag),
                Param::Number(number) => wit::Param::Number(*number),
                Param::Points(points) => wit::Param::Points(
                    points.iter().map(|point| wit::Point { x: point.x, y: point.y }).collect(),
                ),
                Param::Text(text) => wit::Param::Text(text.clone()),
            };
            (name.clone(), value)
        })
        .collect()
}

/// The scan is dropped here unless it was granted: it never reaches the skill's thread.
pub(crate) fn visible(seen: &Observation, scan: bool) -> Cow<'_, Observation> {
    if scan || seen.scan.is_none() {
        return Cow::Borrowed(seen);
    }
    Cow::Owned(Observation { scan: None, ..seen.clone() })
}

/// What a skill has seen before its first step, and the buffers for what it sees then.
pub(crate) const fn unseen() -> wit::Observation {
    wit::Observation {
        at_nanos: 0,
        battery: None,
        docked: false,
        pose: wit::Pose { x: 0.0, y: 0.0, yaw: 0.0 },
        scan: None,
        twist: wit::Twist { angular: 0.0, linear: 0.0 },
    }
}

/// Puts an observation into `into`, whose buffers are used again: a step allocates nothing for a
/// scan as large as the one before.
pub(crate) fn observe(into: &mut wit::Observation, at: MonoNanos, seen: &Observation) {
    let buffer = into.scan.take().map(|scan| scan.ranges);
    *into = wit::Observation {
        at_nanos: at.0,
        battery: seen.battery.map(|battery| wit::Battery {
            charging: battery.value.charging,
            fraction: battery.value.fraction,
        }),
        docked: seen.docked,
        pose: wit::Pose { x: seen.pose.value.x, y: seen.pose.value.y, yaw: seen.pose.value.yaw },
        scan: seen.scan.as_ref().map(|scan| {
            let mut ranges = buffer.unwrap_or_default();
            ranges.clone_from(&scan.value.ranges);
            wit::Scan {
                angle_min: scan.value.angle_min,
                angle_step: scan.value.angle_step,
                range_max: scan.value.range_max,
                ranges,
            }
        }),
        twist: wit::Twist { angular: seen.twist.value.angular, linear: seen.twist.value.linear },
    };
}

/// The same of an arm's skill.
pub(crate) const fn unseen_by_arm() -> wit::ArmObservation {
    wit::ArmObservation {
        at_nanos: 0,
        gripper: None,
        joints: Vec::new(),
        pose: wit::Pose { x: 0.0, y: 0.0, yaw: 0.0 },
    }
}

/// Puts what an arm's skill sees into `into`, whose buffer is used again. What is not measured of a
/// joint is zero, as the world has it of an effort.
pub(crate) fn observe_arm(into: &mut wit::ArmObservation, at: MonoNanos, seen: &Observation) {
    let wit::ArmObservation { at_nanos, gripper, joints, pose } = into;
    *at_nanos = at.0;
    *pose = wit::Pose { x: seen.pose.value.x, y: seen.pose.value.y, yaw: seen.pose.value.yaw };
    joints.clear();
    if let Some(Timed { value: JointStates { effort, position, velocity }, .. }) = &seen.joints {
        let of = |values: &PerJoint<f64>, nth: usize| {
            values.as_slice().get(nth).copied().unwrap_or_default()
        };
        joints.extend(position.as_slice().iter().enumerate().map(|(nth, position)| wit::Joint {
            effort: of(effort, nth),
            position: *position,
            velocity: of(velocity, nth),
        }));
    }
    *gripper = if seen.gripper { joints.pop() } else { None };
}

impl From<wit::ArmRequest> for Request {
    fn from(request: wit::ArmRequest) -> Self {
        match request {
            wit::ArmRequest::Gripper(wit::GripperTarget { opening, speed }) => {
                Self::Gripper { opening_m: opening, speed }
            }
            wit::ArmRequest::Idle => Self::Idle,
            wit::ArmRequest::Joints(wit::JointTargets { positions, speed }) => {
                Self::Joints { positions: PerJoint::new(&positions).unwrap_or_default(), speed }
            }
            wit::ArmRequest::Stop => Self::Stop,
        }
    }
}

impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        match request {
            wit::Request::Drive(twist) => Self::Drive(Twist::new(twist.linear, twist.angular)),
            wit::Request::GoTo(wit::Destination { to, yaw, speed_mps }) => {
                Self::GoTo { speed_mps, to: Point::new(to.x, to.y), yaw }
            }
            wit::Request::Idle => Self::Idle,
            wit::Request::Stop => Self::Stop,
        }
    }
}

impl From<wit::Status> for Status {
    fn from(status: wit::Status) -> Self {
        match status {
            wit::Status::Done => Self::Done,
            wit::Status::Failed(reason) => Self::Failed(tidy(reason, MAX_REASON_BYTES)),
            wit::Status::Running(wit::Progress { fraction, note }) => Self::Running {
                note: tidy(note, MAX_NOTE_BYTES),
                progress: if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) },
            },
        }
    }
}

/// `text` as it may stand on a line among others: nothing in it ends the line, steers a terminal
/// or turns the direction of what follows. Never longer.
pub(crate) fn plain(text: &str) -> String {
    let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

/// `text` cut to `most` bytes and made [`plain`], which most texts are as they come.
pub(crate) fn tidy(text: String, most: usize) -> String {
    let text = cut(text, most);
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_plain { text } else { plain(&text) }
}

/// `text` without what goes beyond `most` bytes; never in the middle of a character.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Pose;
    use nooterra_protocol::observation::{Scan, Timed};

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("aé".to_owned(), 2), "a");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
        assert_eq!(cut("abc".to_owned(), 3), "abc");
    }

    #[test]
    fn a_scan_that_was_not_granted_is_not_passed_on() {
        let at = MonoNanos(7);
        let seen = Observation {
            battery: None,
            docked: true,
            emergency_stop: false,
            gripper: false,
            joints: None,
            pose: Timed { at, value: Pose { x: 1.0, y: 2.0, yaw: 3.0 } },
            scan: Some(Timed { at, value: Scan { ranges: vec![1.0], ..Scan::default() } }),
            twist: Timed { at, value: Twist::new(4.0, 5.0) },
        };
        let mut passed = unseen();
        observe(&mut passed, at, &visible(&seen, true));
        assert_eq!(passed.scan.as_ref().map(|scan| scan.ranges.clone()), Some(vec![1.0]));
        observe(&mut passed, at, &visible(&seen, false));
        assert!(passed.scan.is_none(), "nor does the one before stay");
        assert_eq!((passed.at_nanos, passed.docked), (7, true));
        assert_eq!((passed.pose.yaw, passed.twist.linear, passed.twist.angular), (3.0, 4.0, 5.0));
    }

    #[test]
    fn progress_is_brought_into_its_range_and_the_request_is_left_alone() {
        for (said, kept) in [(f64::NAN, 0.0), (-1.0, 0.0), (0.5, 0.5), (f64::INFINITY, 1.0)] {
            let status =
                wit::Status::Running(wit::Progress { fraction: said, note: String::new() });
            assert_eq!(
                Status::from(status),
                Status::Running { note: String::new(), progress: kept }
            );
        }
        let request = wit::Request::Drive(wit::Twist { linear: f64::NAN, angular: f64::INFINITY });
        let Request::Drive(twist) = Request::from(request) else { panic!("another request") };
        assert!(twist.linear.is_nan() && twist.angular.is_infinite());
    }
}
