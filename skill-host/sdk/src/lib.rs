//! What a skill is written with, in Rust.
//!
//! A skill is a type that implements [`Skill`]: made by `init` from an action and its
//! parameters, then asked `step` by step what the robot shall do. The robot calls `step` once
//! per period of the manifest and hands it all that it sees; the answer is a wish for motion
//! and how far the action has come.
//!
//! ```
//! use nooterra_skill::prelude::*;
//!
//! /// Goes to `place`, at `speed_mps` (0.05 to 1, default 0.5).
//! struct Go {
//!     place: Point,
//!     speed_mps: f64,
//! }
//!
//! impl Skill for Go {
//!     fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
//!         let place = params.point("place")?;
//!         let speed_mps = params.number("speed_mps", 0.5, 0.05..=1.0)?;
//!         Ok(Self { place, speed_mps })
//!     }
//!
//!     fn step(&mut self, seen: &Observation) -> (Request, Status) {
//!         let left = distance(position(seen), self.place);
//!         if left < 0.3 {
//!             return (Request::Stop, Status::Done);
//!         }
//!         (go_to(self.place, self.speed_mps), running(0.0, format!("{left:.1} m to go")))
//!     }
//! }
//!
//! nooterra_skill::export!(Go);
//!
//! // In the tests of the skill, on your own machine:
//! use nooterra_skill::testing::Robot;
//! let mut robot = Robot::at(0.0, 0.0, 0.0);
//! let ran = robot.run::<Go>("go", &[("place", vec![Point { x: 3.0, y: 1.0 }].into())]);
//! assert_eq!(ran.end, Status::Done);
//! ```
//!
//! # What there is
//! - [`types::Observation`] and [`types::Request`], [`types::Status`]: what goes in and comes
//!   out. `skill-host/wit/skill.wit` describes each field; metres, radians, seconds.
//! - [`Params`]: the action's parameters, each checked as it is taken. One that nobody took is
//!   refused for you.
//! - [`checkpoint`], [`evidence`], [`log`], [`request_assist`]: each needs the capability of
//!   its name in the manifest (`request_assist` needs `assist`). What you do not call is not
//!   in the component.
//! - [`camera`]: pictures, with the capability of that name.
//! - [`geometry`]: distances, directions and the [`geometry::Nearing`] that backs off where the way
//!   is barred, and knows when it leads nowhere.
//! - [`docking`]: the way onto a charging dock.
//! - [`state`]: `suspend` and `resume` in a line each.
//! - [`arm`]: the same for an arm that stands where it stands, with the capability `joints`;
//!   [`export_arm!`] instead of [`export!`].
//! - `testing`: a robot of pure kinematics for unit tests, on your own machine only. The real
//!   thing is `nooterra-agent skill test`, which runs the component in the simulator under an
//!   owner's policy.
//!
//! # What there is not
//! No clock (time is `seen.at_nanos`), no randomness, no file, no network, no thread. Do not
//! sleep: return, and wait for the next step. Two runs that see the same ask for the same.

mod params;
mod ports;

pub mod arm;
pub mod camera;
pub mod docking;
pub mod geometry;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use params::Params;
pub use ports::{checkpoint, evidence, log, request_assist};

/// The world `nooterra:skill` as `wit-bindgen` makes it. What a skill needs of it is at the
/// top of this crate.
#[allow(missing_docs, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "skill",
        pub_export_macro: true,
        default_bindings_module: "nooterra_skill::bindings",
        additional_derives: [PartialEq],
    });
}

/// The values that cross the boundary; `skill.wit` describes them.
pub mod types {
    pub use crate::bindings::nooterra::skill::types::{
        Battery, Destination, Observation, Param, Point, Pose, Progress, Refusal, Request, Scan,
        Status, Twist,
    };
}

/// All that most skills need.
pub mod prelude {
    pub use crate::geometry::{Nearing, ahead_of, direction, distance, position, wrap};
    pub use crate::state::{Reader, Writer};
    pub use crate::types::{
        Destination, Observation, Param, Point, Pose, Refusal, Request, Status, Twist,
    };
    pub use crate::{
        Params, Skill, checkpoint, drive, evidence, failed, go_to, log, request_assist, running,
    };
}

use types::{Destination, Observation, Param, Point, Progress, Request, Status, Twist};

/// An action of a skill while it is under way.
pub trait Skill: Sized + 'static {
    /// Prepares for `action`, one of those that the manifest names.
    ///
    /// # Errors
    /// For people: which parameter is missing or wrong.
    fn init(action: &str, params: &mut Params) -> Result<Self, String>;

    /// One step: what the robot sees, to what it shall do and how far the action has come.
    fn step(&mut self, seen: &Observation) -> (Request, Status);

    /// All that must be remembered to go on after a restart, at most 16 KiB. Empty, as here
    /// unless you say otherwise, begins the action anew.
    fn suspend(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on from what [`Self::suspend`] gave. The robot may have been moved meanwhile.
    ///
    /// # Errors
    /// For people: why that is not possible. It ends the action.
    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let bytes = state.len();
        Err(format!("this skill keeps no state, and was given {bytes} bytes of one"))
    }
}

/// Move with this body velocity: m/s forward, rad/s counter-clockwise.
#[must_use]
pub const fn drive(linear: f64, angular: f64) -> Request {
    Request::Drive(Twist { linear, angular })
}

/// Go straight to a place.
#[must_use]
pub const fn go_to(to: Point, speed_mps: f64) -> Request {
    Request::GoTo(Destination { to, yaw: None, speed_mps })
}

/// There is more to do; `fraction` is brought into 0 to 1.
#[must_use]
pub fn running(fraction: f64, note: impl Into<String>) -> Status {
    Status::Running(Progress { fraction: fraction.clamp(0.0, 1.0), note: note.into() })
}

/// It cannot be achieved, and why: a stop and the end.
#[must_use]
pub fn failed(why: impl Into<String>) -> (Request, Status) {
    (Request::Stop, Status::Failed(why.into()))
}

/// Makes a component of a type that implements [`Skill`]: once per crate, at its root.
#[macro_export]
macro_rules! export {
    ($skill:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static RUN: ::std::cell::RefCell<::std::option::Option<$skill>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Exported;

            impl $crate::bindings::Guest for Exported {
                fn init(
                    action: ::std::string::String,
                    params: ::std::vec::Vec<(::std::string::String, $crate::types::Param)>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    RUN.set(::std::option::Option::Some($crate::begin(&action, params)?));
                    ::std::result::Result::Ok(())
                }

                fn step(
                    seen: $crate::types::Observation,
                ) -> ($crate::types::Request, $crate::types::Status) {
                    RUN.with_borrow_mut(|run| match run {
                        ::std::option::Option::Some(run) => $crate::Skill::step(run, &seen),
                        ::std::option::Option::None => $crate::failed("`step` before `init`"),
                    })
                }

                fn suspend() -> ::std::vec::Vec<u8> {
                    RUN.with_borrow(|run| {
                        run.as_ref().map($crate::Skill::suspend).unwrap_or_default()
                    })
                }

                fn resume(
                    state: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    RUN.with_borrow_mut(|run| match run {
                        ::std::option::Option::Some(run) => $crate::Skill::resume(run, &state),
                        ::std::option::Option::None => {
                            ::std::result::Result::Err("`resume` before `init`".to_owned())
                        }
                    })
                }
            }

    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Makes the skill and refuses what it left of the parameters; for [`export!`].
///
/// # Errors
/// The skill's own, or that there is no such parameter.
#[doc(hidden)]
pub fn begin<S: Skill>(action: &str, params: Vec<(String, Param)>) -> Result<S, String> {
    let mut params = Params::new(params);
    let skill = S::init(action, &mut params)?;
    params.none_left()?;
    Ok(skill)
}
