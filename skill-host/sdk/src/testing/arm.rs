//! An arm of pure kinematics and a table with things, for the unit tests of an arm's skill.

use super::{HEARD, Heard, owned};
use crate::arm::{
    ArmSkill, GripperTarget, Joint, JointTargets, Observation, Request, Scara, begin,
};
use crate::geometry::distance;
use crate::types::{Param, Point, Pose, Status};

/// How high and wide a thing is, metres.
const THING_M: f64 = 0.04;

/// How fast shoulder, elbow and lift move, and the jaws, rad/s or m/s.
const FASTEST: [f64; 3] = [1.5, 1.5, 0.3];
const JAWS_MPS: f64 = 0.1;

/// A run of an arm's skill that came to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmRan {
    /// The last status: done, failed, or still running when patience ended.
    pub end: Status,
    /// What it said.
    pub heard: Heard,
    /// What it asked, step by step.
    pub requests: Vec<Request>,
}

/// The arm: a shoulder and an elbow (rad), a lift (m above the table) and jaws (m between them).
/// Things are cubes of 4 cm; jaws that close around one hold it, and let it fall when they open.
#[derive(Clone, Debug)]
pub struct Arm {
    /// Where it stands.
    pub base: Pose,
    /// Which of the things it holds.
    pub held: Option<usize>,
    /// Nothing that is asked moves it.
    pub is_held: bool,
    /// Shoulder, elbow, lift.
    pub joints: [f64; 3],
    /// Between the jaws, metres.
    pub opening: f64,
    /// Steps that a run may take.
    pub patience: usize,
    /// Between two steps, seconds.
    pub period_s: f64,
    /// How long it is, and how far it turns.
    pub scara: Scara,
    /// Where the things are.
    pub things: Vec<Point>,
    at_nanos: u64,
    velocities: [f64; 4],
}

impl Arm {
    /// Stands there, folded a little, lifted and open; upper arm 0.4 m, fore arm 0.3 m.
    #[must_use]
    pub const fn at(x: f64, y: f64, yaw: f64) -> Self {
        Self {
            base: Pose { x, y, yaw },
            held: None,
            is_held: false,
            joints: [0.6, -1.2, 0.25],
            opening: 0.08,
            patience: 6000,
            period_s: 0.05,
            scara: Scara {
                fore_m: 0.3,
                max_position: [2.6; 2],
                min_position: [-2.6; 2],
                upper_m: 0.4,
            },
            things: Vec::new(),
            at_nanos: 1_000_000_000,
            velocities: [0.0; 4],
        }
    }

    /// The same with things on its table, their middles at these points.
    #[must_use]
    pub fn with_things(self, things: &[Point]) -> Self {
        Self { things: things.to_vec(), ..self }
    }

    /// Carries out an action to its end.
    ///
    /// # Panics
    /// Where `init` refuses; [`Self::refusal`] is for that.
    pub fn run<S: ArmSkill>(&mut self, action: &str, params: &[(&str, Param)]) -> ArmRan {
        let mut skill: S = begin(action, owned(params)).expect("`init` takes the parameters");
        self.go_on(&mut skill)
    }

    /// The same from the middle: of a skill that was resumed, say.
    pub fn go_on<S: ArmSkill>(&mut self, skill: &mut S) -> ArmRan {
        HEARD.take();
        let mut requests = Vec::new();
        let mut end = crate::running(0.0, "");
        while matches!(end, Status::Running(_)) && requests.len() < self.patience {
            let (request, status) = skill.step(&self.sees());
            self.obey(&request);
            requests.push(request);
            end = status;
        }
        ArmRan { end, heard: HEARD.take(), requests }
    }

    /// What `init` says of an action that it refuses.
    ///
    /// # Panics
    /// Where it takes it.
    #[must_use]
    pub fn refusal<S: ArmSkill>(action: &str, params: &[(&str, Param)]) -> String {
        match begin::<S>(action, owned(params)) {
            Err(why) => why,
            Ok(_) => panic!("`init` took the parameters"),
        }
    }

    /// Where its tool is.
    #[must_use]
    pub fn tool(&self) -> Point {
        let [shoulder, elbow, _] = self.joints;
        self.scara.point_of(self.base, [shoulder, elbow])
    }

    /// What it sees now, for tests that step a skill themselves.
    #[must_use]
    pub fn sees(&self) -> Observation {
        let joint = |nth: usize| Joint {
            effort: 0.0,
            position: self.joints[nth],
            velocity: self.velocities[nth],
        };
        let effort = if self.held.is_some() { 10.0 } else { 0.0 };
        Observation {
            at_nanos: self.at_nanos,
            gripper: Some(Joint { effort, position: self.opening, velocity: self.velocities[3] }),
            joints: vec![joint(0), joint(1), joint(2)],
            pose: self.base,
        }
    }

    /// Does what is asked for one period.
    pub fn obey(&mut self, request: &Request) {
        self.at_nanos += (self.period_s * 1e9) as u64;
        let before = (self.joints, self.opening);
        match request {
            _ if self.is_held => {}
            Request::Joints(targets) => self.turn(targets),
            Request::Gripper(target) => self.grip(target),
            Request::Idle | Request::Stop => {}
        }
        for nth in 0..3 {
            self.velocities[nth] = (self.joints[nth] - before.0[nth]) / self.period_s;
        }
        self.velocities[3] = (self.opening - before.1) / self.period_s;
        let tool = self.tool();
        if let Some(thing) = self.held.and_then(|held| self.things.get_mut(held)) {
            *thing = tool;
        }
    }

    fn turn(&mut self, JointTargets { positions, speed }: &JointTargets) {
        let Ok(to) = <[f64; 3]>::try_from(positions.as_slice()) else { return };
        for nth in 0..3 {
            let most = FASTEST[nth] * speed.clamp(0.0, 1.0) * self.period_s;
            self.joints[nth] += (to[nth] - self.joints[nth]).clamp(-most, most);
        }
        // As the owner's gate: what is beyond is not gone to.
        let (min, max) = (self.scara.min_position, self.scara.max_position);
        for nth in 0..2 {
            self.joints[nth] = self.joints[nth].max(min[nth]).min(max[nth]);
        }
    }

    fn grip(&mut self, target: &GripperTarget) {
        let most = JAWS_MPS * target.speed.clamp(0.0, 1.0) * self.period_s;
        let was_around = self.opening >= THING_M;
        self.opening += (target.opening.max(0.0) - self.opening).clamp(-most, most);
        if self.opening > THING_M + 0.001 {
            self.held = None;
        } else if was_around && self.opening <= THING_M {
            let tool = self.tool();
            let near = |thing: &Point| distance(*thing, tool) < THING_M / 2.0;
            let between = self.things.iter().position(near).filter(|_| self.joints[2] < THING_M);
            self.held = self.held.or(between);
            self.opening = if self.held.is_some() { THING_M } else { self.opening };
        }
    }
}
