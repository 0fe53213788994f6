//! What every driver must do, as one function that a driver's own test calls.
//!
//! It moves the robot a little, at a crawl and to a stop: forward, or the first joint of an arm,
//! by half a metre or half a radian in all. It makes its commands as everybody must, through a
//! gate, so it needs a policy for the robot under test, which says what kind of robot it is; a
//! policy of the test's own without zones will do.

use crate::robot::{HalError, Robot};
use nooterra_policy::{Action, Gate, Gated, Grants, Inputs, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::{
    Command, JointVelocities, PerJoint, Steer, StopProfile, Velocity,
};
use nooterra_protocol::geometry::{Planar, Twist};
use nooterra_protocol::observation::{JointStates, Observation, Timed};
use nooterra_protocol::policy::Vehicle;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// Between two ticks.
const STEP: Duration = Duration::from_millis(20);

/// How fast it moves, m/s or rad/s.
const CRAWL: f64 = 0.1;

/// Standing still, as far as noisy odometry can say, m/s or rad/s.
const STILL: f64 = 0.03;

/// What a driver got wrong.
#[derive(Debug, thiserror::Error)]
pub enum Nonconformance {
    /// The policy does not let the robot move as it stands.
    #[error(
        "the gate stops the robot as it stands; give a policy without zones, and for an arm \
             one whose first joint has room to move up"
    )]
    Gate,
    /// Time that went back was taken.
    #[error("`read` took a time earlier than the call before")]
    Clock,
    /// A call that must work did not.
    #[error("`{call}` failed: {source}")]
    Failed {
        /// Which call.
        call: &'static str,
        /// How.
        source: HalError,
    },
    /// A reading from the future.
    #[error("a reading is stamped later than the time that was given to `read`")]
    Future,
    /// Not the joints of the robot that the policy is for.
    #[error("`read` gave {found} joints, and the policy has {expected}")]
    Joints {
        /// In the policy; none for what is no arm.
        expected: usize,
        /// In what was read.
        found: usize,
    },
    /// A number that is none.
    #[error("`read` gave a pose, twist or joint that is not finite")]
    NotFinite,
    /// A gated command of another tick, or a tick for the second time, was taken.
    #[error("`write` took a command of another tick, or the same tick twice")]
    Tick,
    /// The robot does not do what it is told.
    #[error("the robot moves at {found} m/s or rad/s {when}")]
    Motion {
        /// How fast it is ahead, m/s; of an arm its fastest joint, rad/s or m/s.
        found: f64,
        /// In what situation.
        when: &'static str,
    },
}

/// Tries a driver against the contract of [`Robot`]. `pass` is called with each time before it
/// is used: a simulator has nothing to do there, a real robot waits until it is that late.
///
/// # Errors
/// The first [`Nonconformance`].
pub fn check(
    robot: &mut dyn Robot,
    policy: &VerifiedPolicy,
    from: MonoNanos,
    mut pass: impl FnMut(MonoNanos),
) -> Result<(), Nonconformance> {
    let gate = Gate::new(policy);
    let mut run = Run { gate, now: from, pass: &mut pass, policy, robot, tick: 0 };
    run.drive(50)?;
    let seen = run.read()?;
    let joints = seen.joints.map(|joints| joints.value.velocity).unwrap_or_default();
    let (first, others) = joints.as_slice().split_first().unzip();
    let found = first.copied().unwrap_or(seen.twist.value.linear);
    if found < CRAWL - STILL {
        return Err(Nonconformance::Motion { found, when: "when told to crawl" });
    }
    // Joints in another order are the worst that a driver can get wrong.
    if let Some(found) = others.unwrap_or_default().iter().find(|v| v.abs() > STILL) {
        let when = "in a joint that was told to hold";
        return Err(Nonconformance::Motion { found: *found, when });
    }
    run.refuses_other_ticks()?;
    run.drive(10)?;
    run.rests("after silence beyond the write watchdog", None)?;
    for profile in [
        StopProfile::ControlledHold,
        StopProfile::ControlledStopThenPowerOff,
        StopProfile::ImmediatePowerRemoval,
    ] {
        run.drive(50)?;
        run.rests("after a stop", Some(profile))?;
    }
    let earlier = MonoNanos(run.now.0.saturating_sub(1_000_000));
    match run.robot.read(earlier) {
        Err(HalError::Clock(_)) => Ok(()),
        _ => Err(Nonconformance::Clock),
    }
}

struct Run<'a> {
    gate: Gate,
    now: MonoNanos,
    pass: &'a mut dyn FnMut(MonoNanos),
    policy: &'a VerifiedPolicy,
    robot: &'a mut dyn Robot,
    tick: u64,
}

impl Run<'_> {
    fn read(&mut self) -> Result<Observation, Nonconformance> {
        let seen = self.robot.read(self.now).map_err(failed("read"))?;
        if !seen.pose.value.is_finite() || !seen.twist.value.is_finite() {
            return Err(Nonconformance::NotFinite);
        }
        self.check_joints(&seen)?;
        let joints = seen.joints.as_ref().map_or(seen.pose.at, |joints| joints.at);
        let scan = seen.scan.as_ref().map_or(seen.pose.at, |scan| scan.at);
        let battery = seen.battery.as_ref().map_or(seen.pose.at, |battery| battery.at);
        if [seen.pose.at, seen.twist.at, joints, scan, battery].iter().any(|at| *at > self.now) {
            return Err(Nonconformance::Future);
        }
        Ok(seen)
    }

    fn check_joints(&self, seen: &Observation) -> Result<(), Nonconformance> {
        let expected = match &self.policy.document().vehicle {
            Vehicle::Joints { joints, .. } => joints.len(),
            _ => 0,
        };
        if seen.joints.is_some() != (expected > 0) || seen.gripper && expected == 0 {
            let found = seen.joints.map_or(0, |joints| joints.value.position.as_slice().len());
            return Err(Nonconformance::Joints { expected, found });
        }
        let JointStates { effort, position, velocity } =
            seen.joints.map(|joints| joints.value).unwrap_or_default();
        for found in [effort, position, velocity] {
            let found = found.as_slice();
            if found.len() != expected {
                return Err(Nonconformance::Joints { expected, found: found.len() });
            }
            if !found.iter().all(|number| number.is_finite()) {
                return Err(Nonconformance::NotFinite);
            }
        }
        Ok(())
    }

    /// Lets one tick pass and gates a crawl in it.
    fn gated(&mut self) -> Result<Gated<Command>, Nonconformance> {
        self.now = self.now.plus(STEP);
        (self.pass)(self.now);
        self.tick += 1;
        let seen = self.read()?;
        let until = self.now.plus(Duration::from_secs(1));
        let command = crawl(&self.policy.document().vehicle);
        let wish = Wish { at: self.now, command, until };
        let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
        let outcome = self.gate.tick(&Inputs {
            grants: Grants::ALL,
            joints: seen.joints,
            wishes: Wishes { skill: Some(wish), ..Wishes::default() },
            ..Inputs::new(self.tick, self.now, seen.pose, twist)
        });
        match outcome.action {
            Action::Stop(_) => Err(Nonconformance::Gate),
            Action::Write(gated) => Ok(gated),
        }
    }

    fn drive(&mut self, ticks: u32) -> Result<(), Nonconformance> {
        for _ in 0..ticks {
            let gated = self.gated()?;
            self.robot.write(self.now, self.tick, gated).map_err(failed("write"))?;
        }
        Ok(())
    }

    fn refuses_other_ticks(&mut self) -> Result<(), Nonconformance> {
        let gated = self.gated()?;
        match self.robot.write(self.now, self.tick + 1, gated) {
            Err(HalError::Gated(_)) => {}
            _ => return Err(Nonconformance::Tick),
        }
        self.drive(1)?;
        // The gate makes what the loop would never ask for: the same tick once more.
        self.tick -= 1;
        let gated = self.gated()?;
        match self.robot.write(self.now, self.tick, gated) {
            Err(HalError::Tick { .. }) => Ok(()),
            _ => Err(Nonconformance::Tick),
        }
    }

    /// Lets two seconds pass in silence, or with a stop every tick, and expects rest.
    fn rests(
        &mut self,
        when: &'static str,
        stop: Option<StopProfile>,
    ) -> Result<(), Nonconformance> {
        for _ in 0..100 {
            self.now = self.now.plus(STEP);
            (self.pass)(self.now);
            if let Some(profile) = stop {
                self.robot.stop(self.now, profile).map_err(failed("stop"))?;
            }
            self.read()?;
        }
        let found = fastest(&self.read()?);
        // The gate has seen no tick for as long; a new one begins as after a restart.
        self.gate = Gate::new(self.policy);
        if found.abs() > STILL {
            return Err(Nonconformance::Motion { found, when });
        }
        Ok(())
    }
}

/// Ahead, or the first joint of an arm.
fn crawl(vehicle: &Vehicle) -> Command {
    match vehicle {
        Vehicle::Ackermann { .. } => {
            Command::Ackermann(Steer { speed_mps: CRAWL, steering_rad: 0.0 })
        }
        Vehicle::Differential => Twist::new(CRAWL, 0.0).into(),
        Vehicle::Joints { joints, .. } => {
            let mut velocities = vec![0.0; joints.len()];
            if let Some(first) = velocities.first_mut() {
                *first = CRAWL;
            }
            // No policy has more joints than there is room for.
            let joints = PerJoint::new(&velocities).unwrap_or_default();
            Command::Joints(JointVelocities { joints })
        }
        Vehicle::Multirotor(_) => Command::Fly(Velocity { x: CRAWL, ..Velocity::default() }),
        Vehicle::Omnidirectional { .. } => Command::Omni(Planar::new(CRAWL, 0.0, 0.0)),
    }
}

/// How fast it is ahead, or the fastest joint of an arm is.
fn fastest(seen: &Observation) -> f64 {
    let Some(joints) = &seen.joints else { return seen.twist.value.linear };
    let velocities = joints.value.velocity.as_slice().iter().copied();
    velocities.max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0)
}

fn failed(call: &'static str) -> impl Fn(HalError) -> Nonconformance {
    move |source| Nonconformance::Failed { call, source }
}
