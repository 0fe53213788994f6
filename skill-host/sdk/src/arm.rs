//! Skills for an arm that stands where it stands: the world `arm-skill`, with the capability
//! `joints`.
//!
//! An arm's skill is a type that implements [`ArmSkill`], which differs from [`crate::Skill`] in
//! what a step sees and asks for, and [`crate::export_arm!`] makes the component of it. All else
//! that a skill can do it does as one for a base: [`crate::checkpoint`], [`crate::log`], ….
//!
//! ```
//! use nooterra_skill::arm::{self, ArmSkill, Observation, Request};
//! use nooterra_skill::types::{Param, Status};
//! use nooterra_skill::{Params, running};
//!
//! /// Moves the joints to zero, at `speed` (of what its owner allows, default 0.5).
//! struct Home {
//!     speed: f64,
//! }
//!
//! impl ArmSkill for Home {
//!     fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
//!         Ok(Self { speed: params.number("speed", 0.5, 0.05..=1.0)? })
//!     }
//!
//!     fn step(&mut self, seen: &Observation) -> (Request, Status) {
//!         let home = vec![0.0; seen.joints.len()];
//!         if arm::has_arrived(seen, &home, 0.01) {
//!             return (Request::Stop, Status::Done);
//!         }
//!         (arm::move_to(&home, self.speed), running(0.0, "on its way"))
//!     }
//! }
//!
//! nooterra_skill::export_arm!(Home);
//!
//! // In the tests of the skill, on your own machine:
//! use nooterra_skill::testing::Arm;
//! let mut arm = Arm::at(0.8, 0.0, 0.0);
//! let ran = arm.run::<Home>("home", &[("speed", 1.0.into())]);
//! assert_eq!(ran.end, Status::Done);
//! ```

use crate::Params;
use crate::geometry::wrap;
use crate::types::{Param, Point, Pose, Status};
use std::f64::consts::TAU;

/// The world `arm-skill` as `wit-bindgen` makes it; what it shares with the other is of the other.
#[allow(missing_docs, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "arm-skill",
        pub_export_macro: true,
        default_bindings_module: "nooterra_skill::arm::bindings",
        additional_derives: [PartialEq],
        with: {
            "nooterra:skill/assist@0.2.2": crate::bindings::nooterra::skill::assist,
            "nooterra:skill/camera@0.2.2": crate::bindings::nooterra::skill::camera,
            "nooterra:skill/checkpoint@0.2.2": crate::bindings::nooterra::skill::checkpoint,
            "nooterra:skill/evidence@0.2.2": crate::bindings::nooterra::skill::evidence,
            "nooterra:skill/log@0.2.2": crate::bindings::nooterra::skill::log,
            "nooterra:skill/types@0.2.2": crate::bindings::nooterra::skill::types,
        },
    });
}

pub use bindings::nooterra::skill::arm::{
    GripperTarget, Joint, JointTargets, Observation, Request,
};

/// An action of an arm's skill while it is under way.
pub trait ArmSkill: Sized + 'static {
    /// Prepares for `action`, one of those that the manifest names.
    ///
    /// # Errors
    /// For people: which parameter is missing or wrong.
    fn init(action: &str, params: &mut Params) -> Result<Self, String>;

    /// One step: what the arm sees, to what it shall do and how far the action has come.
    fn step(&mut self, seen: &Observation) -> (Request, Status);

    /// All that must be remembered to go on after a restart, at most 16 KiB. Empty, as here
    /// unless you say otherwise, begins the action anew.
    fn suspend(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on from what [`Self::suspend`] gave. The arm may have been moved meanwhile.
    ///
    /// # Errors
    /// For people: why that is not possible. It ends the action.
    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let bytes = state.len();
        Err(format!("this skill keeps no state, and was given {bytes} bytes of one"))
    }
}

/// Move the joints, base first and without the gripper, to these positions. `speed` is of what the
/// owner's policy allows to each, above 0 to 1.
#[must_use]
pub fn move_to(positions: &[f64], speed: f64) -> Request {
    Request::Joints(JointTargets { positions: positions.to_vec(), speed })
}

/// Open or close the jaws to `opening` metres; 0 closes until something is between them.
#[must_use]
pub const fn grip(opening: f64, speed: f64) -> Request {
    Request::Gripper(GripperTarget { opening, speed })
}

/// Each joint is within `tolerance` (radians or metres) of its position. Never where the arm has
/// another number of joints.
#[must_use]
pub fn has_arrived(seen: &Observation, positions: &[f64], tolerance: f64) -> bool {
    furthest(seen, positions) <= tolerance
}

/// How far the furthest joint is from its position, radians or metres; without end where the arm
/// has another number of joints, and no number where one of them is none.
#[must_use]
pub fn furthest(seen: &Observation, positions: &[f64]) -> f64 {
    let errors = seen.joints.iter().zip(positions).map(|(joint, to)| (joint.position - to).abs());
    let none = if seen.joints.len() == positions.len() { 0.0 } else { f64::INFINITY };
    errors.fold(none, |most, error| if error > most || error.is_nan() { error } else { most })
}

/// Slower than this jaws stand, m/s: above what encoders flicker by.
const STILL_MPS: f64 = 0.005;

/// Something is between the jaws: they push and stand, and are not closed. `closed_m` is how far
/// apart they may be and still count as closed.
#[must_use]
pub fn is_holding(seen: &Observation, closed_m: f64) -> bool {
    // What is no number is greater than nothing.
    seen.gripper.is_some_and(|jaws| {
        jaws.position > closed_m && jaws.effort.abs() > 0.0 && jaws.velocity.abs() <= STILL_MPS
    })
}

/// It cannot be achieved, and why: a stop and the end.
#[must_use]
pub fn failed(why: impl Into<String>) -> (Request, Status) {
    (Request::Stop, Status::Failed(why.into()))
}

/// An arm of two links in the plane: joint 0 is the shoulder, joint 1 the elbow, both in radians
/// and counter-clockwise, from the yaw of the base and from the upper arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scara {
    /// From elbow to tool, metres.
    pub fore_m: f64,
    /// How far shoulder and elbow turn counter-clockwise, radians. A skill is not told what the
    /// owner's policy allows: whoever writes the plan says it, or the arm stops at the edge.
    pub max_position: [f64; 2],
    /// And clockwise.
    pub min_position: [f64; 2],
    /// From shoulder to elbow, metres.
    pub upper_m: f64,
}

/// By so much a point at the edge of what can be reached may be beyond it.
const ROUNDING: f64 = 1e-9;

impl Scara {
    /// Where the tool is, in the `map` frame.
    #[must_use]
    pub fn point_of(&self, base: Pose, [shoulder, elbow]: [f64; 2]) -> Point {
        let upper = base.yaw + shoulder;
        let fore = upper + elbow;
        Point {
            x: base.x + self.upper_m * upper.cos() + self.fore_m * fore.cos(),
            y: base.y + self.upper_m * upper.sin() + self.fore_m * fore.sin(),
        }
    }

    /// Shoulder and elbow with the tool at `to`. Of the two ways to bend the elbow it is the one
    /// that turns least from `now`, among those that both joints can turn to.
    ///
    /// # Errors
    /// For people: the point is out of reach, and of which.
    pub fn joints_for(&self, base: Pose, to: Point, now: [f64; 2]) -> Result<[f64; 2], String> {
        let Self { fore_m, upper_m, max_position, min_position } = *self;
        let (x, y) = (to.x - base.x, to.y - base.y);
        let reach = x.hypot(y);
        let cos = (reach * reach - upper_m * upper_m - fore_m * fore_m) / (2.0 * upper_m * fore_m);
        // Stretched out, the last bit of a rounding may be too much.
        let cos = if (1.0..1.0 + ROUNDING).contains(&cos) { 1.0 } else { cos };
        let far = format!("({:.2}, {:.2}) is {reach:.2} m from the arm", to.x, to.y);
        if !(-1.0..=1.0).contains(&cos) {
            let (least, most) = ((upper_m - fore_m).abs(), upper_m + fore_m);
            return Err(format!("{far}, which reaches {least:.2} to {most:.2} m"));
        }
        let ways = [cos.acos(), -cos.acos()].into_iter().filter_map(|elbow| {
            let bent = (fore_m * elbow.sin()).atan2(upper_m + fore_m * elbow.cos());
            let shoulder = wrap(y.atan2(x) - base.yaw - bent);
            Some([self.turned(0, shoulder, now[0])?, self.turned(1, elbow, now[1])?])
        });
        let turn = |way: &[f64; 2]| (way[0] - now[0]).abs().max((way[1] - now[1]).abs());
        ways.min_by(|a, b| turn(a).total_cmp(&turn(b))).ok_or_else(|| {
            format!(
                "{far}, whose shoulder turns from {} to {} and its elbow from {} to {} rad, and \
                 not so that it comes there",
                min_position[0], max_position[0], min_position[1], max_position[1]
            )
        })
    }

    /// The `angle` or a full turn more or less, as the joint can turn to it; nearest to `now`.
    fn turned(&self, joint: usize, angle: f64, now: f64) -> Option<f64> {
        let range = self.min_position[joint] - ROUNDING..=self.max_position[joint] + ROUNDING;
        let turns = [angle, angle - TAU, angle + TAU].into_iter().filter(|at| range.contains(at));
        turns.min_by(|a, b| (a - now).abs().total_cmp(&(b - now).abs()))
    }
}

/// Makes a component for an arm of a type that implements [`ArmSkill`](crate::arm::ArmSkill): once
/// per crate, at its root, and instead of [`export!`](crate::export!).
#[macro_export]
macro_rules! export_arm {
    ($skill:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static RUN: ::std::cell::RefCell<::std::option::Option<$skill>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Exported;

            impl $crate::arm::bindings::Guest for Exported {
                fn init(
                    action: ::std::string::String,
                    params: ::std::vec::Vec<(::std::string::String, $crate::types::Param)>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    RUN.set(::std::option::Option::Some($crate::arm::begin(&action, params)?));
                    ::std::result::Result::Ok(())
                }

                fn step(
                    seen: $crate::arm::Observation,
                ) -> ($crate::arm::Request, $crate::types::Status) {
                    RUN.with_borrow_mut(|run| match run {
                        ::std::option::Option::Some(run) => $crate::arm::ArmSkill::step(run, &seen),
                        ::std::option::Option::None => $crate::arm::failed("`step` before `init`"),
                    })
                }

                fn suspend() -> ::std::vec::Vec<u8> {
                    RUN.with_borrow(|run| {
                        run.as_ref().map($crate::arm::ArmSkill::suspend).unwrap_or_default()
                    })
                }

                fn resume(
                    state: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    RUN.with_borrow_mut(|run| match run {
                        ::std::option::Option::Some(run) => {
                            $crate::arm::ArmSkill::resume(run, &state)
                        }
                        ::std::option::Option::None => {
                            ::std::result::Result::Err("`resume` before `init`".to_owned())
                        }
                    })
                }
            }

    $crate::arm::bindings::export!(Exported with_types_in $crate::arm::bindings);
        };
    };
}

/// Makes the skill and refuses what it left of the parameters; for
/// [`export_arm!`](crate::export_arm!).
///
/// # Errors
/// The skill's own, or that there is no such parameter.
#[doc(hidden)]
pub fn begin<S: ArmSkill>(action: &str, params: Vec<(String, Param)>) -> Result<S, String> {
    let mut params = Params::new(params);
    let skill = S::init(action, &mut params)?;
    params.none_left()?;
    Ok(skill)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::distance;

    const SCARA: Scara =
        Scara { fore_m: 0.3, max_position: [2.6; 2], min_position: [-2.6; 2], upper_m: 0.4 };
    const BASE: Pose = Pose { x: 0.8, y: 0.1, yaw: 1.2 };

    /// Angles from -2.6 to 2.6.
    fn angles() -> impl Iterator<Item = f64> + Clone {
        (-26..=26).map(|tenth| f64::from(tenth) / 10.0)
    }

    #[test]
    fn joints_for_the_point_of_some_joints_lead_there_and_turn_least() {
        for (shoulder, elbow) in angles().flat_map(|a| angles().map(move |b| (a, b))) {
            let joints = [shoulder, elbow];
            let point = SCARA.point_of(BASE, joints);
            for now in [joints, [0.0, 0.0], [-2.0, 1.0]] {
                let found = SCARA.joints_for(BASE, point, now).unwrap();
                assert!(distance(SCARA.point_of(BASE, found), point) < 1e-6, "{joints:?}");
                assert!(found.iter().all(|at| at.abs() <= 2.6 + ROUNDING));
                if now == joints {
                    // From where the arm is it stays, but for the last bits near a straight elbow.
                    let turned = [0, 1].map(|at| (found[at] - joints[at]).abs());
                    assert!(turned.iter().all(|turned| *turned < 1e-6), "{joints:?} {found:?}");
                }
            }
        }
    }

    #[test]
    fn the_elbow_bends_to_the_side_where_the_arm_is() {
        let to = Point { x: BASE.x + 0.3, y: BASE.y + 0.4 };
        for side in [1.0, -1.0] {
            let found = SCARA.joints_for(BASE, to, [0.0, side * 1.5]).unwrap();
            assert_eq!(found[1].signum(), side);
        }
    }

    #[test]
    fn what_is_out_of_reach_is_said_with_the_reach() {
        let at = |x: f64| Point { x: BASE.x + x, y: BASE.y };
        let said = |x: f64| SCARA.joints_for(BASE, at(x), [0.0; 2]).unwrap_err();
        assert_eq!(said(0.75), "(1.55, 0.10) is 0.75 m from the arm, which reaches 0.10 to 0.70 m");
        assert!(said(0.05).contains("reaches 0.10 to 0.70 m"), "{}", said(0.05));
        assert!(said(0.11).contains("its elbow from -2.6 to 2.6 rad"), "{}", said(0.11));
        assert!(said(f64::NAN).contains("NaN"));
        let behind = Pose { yaw: std::f64::consts::PI, ..BASE };
        assert!(SCARA.joints_for(behind, at(0.7), [0.0; 2]).unwrap_err().contains("2.6 rad"));
    }

    #[test]
    fn the_elbow_bends_as_its_range_lets_it_and_not_at_all_where_neither_way_is_within() {
        let to = Point { x: BASE.x + 0.3, y: BASE.y + 0.4 };
        for (min, max, side) in [(0.0, 2.6, 1.0), (-2.6, 0.0, -1.0)] {
            let one_way = Scara { min_position: [-2.6, min], max_position: [2.6, max], ..SCARA };
            for now in [1.5, -1.5] {
                let found = one_way.joints_for(BASE, to, [0.0, now]).unwrap();
                assert_eq!(found[1].signum(), side);
                assert!(distance(SCARA.point_of(BASE, found), to) < 1e-6);
            }
        }
        let stiff = Scara { min_position: [-2.6, -0.5], max_position: [2.6, 0.5], ..SCARA };
        let said = stiff.joints_for(BASE, to, [0.0; 2]).unwrap_err();
        assert!(said.contains("its elbow from -0.5 to 0.5 rad"), "{said}");
        // The shoulder's range decides as well, and that of one that turns past half a turn.
        let right = Scara { min_position: [-2.6; 2], max_position: [-1.0, 2.6], ..SCARA };
        assert!(right.joints_for(BASE, to, [0.0; 2]).is_err());
        let far = Scara { min_position: [4.0, -2.6], max_position: [8.0, 2.6], ..SCARA };
        let found = far.joints_for(BASE, to, [6.0, 0.0]).unwrap();
        assert!((4.0..=8.0).contains(&found[0]), "{found:?}");
        assert!(distance(SCARA.point_of(BASE, found), to) < 1e-6);
    }

    #[test]
    fn arrival_is_of_all_joints_and_of_as_many_as_the_arm_has() {
        let joint = |position| Joint { effort: 0.0, position, velocity: 0.0 };
        let seen = Observation {
            at_nanos: 0,
            gripper: Some(Joint { effort: -3.0, ..joint(0.04) }),
            joints: vec![joint(1.0), joint(0.5)],
            pose: BASE,
        };
        assert!(has_arrived(&seen, &[1.0, 0.504], 0.005));
        assert!(!has_arrived(&seen, &[1.0, 0.51], 0.005));
        assert!(!has_arrived(&seen, &[1.0], 0.005));
        assert!(!has_arrived(&seen, &[1.0, f64::NAN], 0.005));
        assert!(is_holding(&seen, 0.005) && !is_holding(&seen, 0.05));
        let jaws = |effort, velocity| Joint { effort, position: 0.04, velocity };
        for jaws in [jaws(f64::NAN, 0.0), jaws(0.0, 0.0), jaws(-3.0, -0.05), jaws(-3.0, f64::NAN)] {
            let seen = Observation { gripper: Some(jaws), ..seen.clone() };
            assert!(!is_holding(&seen, 0.005), "{jaws:?}");
        }
    }
}
