//! A robot of pure kinematics for a skill's unit tests: it does at once what it is asked, in an
//! empty square room, and knows no policy. [`Arm`] is the same for an arm's skill. How a skill does
//! under an owner's policy, with noise, acceleration and faults, is what `nooterra-agent skill
//! test` shows.

mod arm;

pub use arm::{Arm, ArmRan};

use crate::camera::{CameraError, Picture, PixelFormat};
use crate::geometry::wrap;
use crate::types::{
    Battery, Destination, Observation, Param, Point, Pose, Refusal, Request, Scan, Status, Twist,
};
use crate::{Skill, begin};
use std::cell::RefCell;

/// What the skill said beside its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// Reasons of its requests for help.
    pub assists: Vec<String>,
    /// Names.
    pub checkpoints: Vec<String>,
    /// Names, media types, bytes.
    pub evidence: Vec<(String, String, Vec<u8>)>,
    /// Of its log.
    pub lines: Vec<String>,
}

/// Width, height and grey pixels of what the camera gives, or why it gives nothing.
pub type Shown = Result<(u32, u32, Vec<u8>), CameraError>;

thread_local! {
    static HEARD: RefCell<Heard> = RefCell::default();
    static SHOWN: RefCell<Shown> = RefCell::new(Ok((4, 3, vec![128; 12])));
}

/// What the camera gives from now on, in this test; until then it is four by three pixels of grey.
///
/// # Panics
/// Where there are not as many pixels as width and height say.
pub fn show(shown: Shown) {
    if let Ok((width, height, pixels)) = &shown {
        assert_eq!((width * height) as usize, pixels.len(), "pixels");
    }
    SHOWN.set(shown);
}

pub(crate) fn shown() -> Result<(Picture, Vec<u8>), CameraError> {
    SHOWN.with_borrow(|shown| {
        let (width, height, pixels) = shown.clone()?;
        Ok((Picture { at_nanos: 0, format: PixelFormat::Grey8, height, width }, pixels))
    })
}

pub(crate) fn heard(take: impl FnOnce(&mut Heard)) -> Result<(), Refusal> {
    HEARD.with_borrow_mut(take);
    Ok(())
}

/// A run that came to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// The last status: done, failed, or still running when patience ended.
    pub end: Status,
    /// What it said.
    pub heard: Heard,
    /// What it asked, step by step.
    pub requests: Vec<Request>,
}

/// The robot: at most 1 m/s and 1 rad/s, walls 10 m from the origin.
#[derive(Clone, Debug)]
pub struct Robot {
    /// Between two steps, seconds.
    pub period_s: f64,
    /// Where it is.
    pub pose: Pose,
    /// Nothing that is asked moves it.
    pub is_held: bool,
    /// Steps that a run may take.
    pub patience: usize,
    at_nanos: u64,
    dock: Point,
    twist: Twist,
}

impl Robot {
    /// Stands there; that is also where its dock is.
    #[must_use]
    pub const fn at(x: f64, y: f64, yaw: f64) -> Self {
        Self {
            period_s: 0.1,
            pose: Pose { x, y, yaw },
            is_held: false,
            patience: 6000,
            at_nanos: 1_000_000_000,
            dock: Point { x, y },
            twist: Twist { linear: 0.0, angular: 0.0 },
        }
    }

    /// Carries out an action to its end.
    ///
    /// # Panics
    /// Where `init` refuses; [`Self::refusal`] is for that.
    pub fn run<S: Skill>(&mut self, action: &str, params: &[(&str, Param)]) -> Ran {
        let mut skill: S = begin(action, owned(params)).expect("`init` takes the parameters");
        HEARD.take();
        let mut requests = Vec::new();
        let mut end = crate::running(0.0, "");
        while matches!(end, Status::Running(_)) && requests.len() < self.patience {
            let (request, status) = skill.step(&self.sees());
            self.obey(&request);
            requests.push(request);
            end = status;
        }
        Ran { end, heard: HEARD.take(), requests }
    }

    /// What `init` says of an action that it refuses.
    ///
    /// # Panics
    /// Where it takes it.
    #[must_use]
    pub fn refusal<S: Skill>(action: &str, params: &[(&str, Param)]) -> String {
        match begin::<S>(action, owned(params)) {
            Err(why) => why,
            Ok(_) => panic!("`init` took the parameters"),
        }
    }

    /// What it sees now, for tests that step a skill themselves.
    #[must_use]
    pub fn sees(&self) -> Observation {
        let Pose { x, y, .. } = self.pose;
        let docked = crate::geometry::distance(Point { x, y }, self.dock) < 0.1
            && self.twist == Twist { linear: 0.0, angular: 0.0 };
        let angle_step = std::f64::consts::TAU / 36.0;
        let beams = (0..36).map(|beam| self.wall(f64::from(beam) * angle_step) as f32);
        Observation {
            at_nanos: self.at_nanos,
            battery: Some(Battery { charging: docked, fraction: 0.8 }),
            docked,
            pose: self.pose,
            scan: Some(Scan {
                angle_min: 0.0,
                angle_step,
                range_max: 30.0,
                ranges: beams.collect(),
            }),
            twist: self.twist,
        }
    }

    /// Does what is asked for one period.
    pub fn obey(&mut self, request: &Request) {
        let none = Twist { linear: 0.0, angular: 0.0 };
        let wish = match request {
            _ if self.is_held => none,
            Request::Drive(twist) => *twist,
            Request::GoTo(destination) => self.towards(destination),
            Request::Idle | Request::Stop => none,
        };
        let (linear, angular) = (wish.linear.clamp(-1.0, 1.0), wish.angular.clamp(-1.0, 1.0));
        self.twist = Twist { linear, angular };
        self.pose.yaw = wrap(self.pose.yaw + angular * self.period_s);
        self.pose.x += linear * self.period_s * self.pose.yaw.cos();
        self.pose.y += linear * self.period_s * self.pose.yaw.sin();
        self.at_nanos += (self.period_s * 1e9) as u64;
    }

    fn towards(&self, to: &Destination) -> Twist {
        let here = Point { x: self.pose.x, y: self.pose.y };
        let left = crate::geometry::distance(here, to.to);
        if left < 0.1 {
            let angular = to.yaw.map_or(0.0, |yaw| 2.0 * wrap(yaw - self.pose.yaw));
            return Twist { linear: 0.0, angular };
        }
        let error = wrap(crate::geometry::direction(here, to.to) - self.pose.yaw);
        let linear = if error.abs() < 0.3 { to.speed_mps.min(left * 2.0) } else { 0.0 };
        Twist { linear, angular: error * 3.0 }
    }

    fn wall(&self, beam: f64) -> f64 {
        let (sin, cos) = (self.pose.yaw + beam).sin_cos();
        let x = (10_f64.copysign(cos) - self.pose.x) / cos;
        let y = (10_f64.copysign(sin) - self.pose.y) / sin;
        x.min(y)
    }
}

fn owned(params: &[(&str, Param)]) -> Vec<(String, Param)> {
    params.iter().map(|(name, param)| ((*name).to_owned(), param.clone())).collect()
}
