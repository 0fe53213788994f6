//! What every driver must do, as one function that a driver's own test calls.
//!
//! It drives the robot a little: forward at a crawl and to a stop. It makes its commands as
//! everybody must, through a gate, so it needs a policy for the robot under test; a policy of
//! the test's own without zones will do.

use crate::robot::{HalError, Robot};
use nooterra_policy::{Action, Gate, Gated, Grants, Inputs, VerifiedPolicy, Wish, Wishes};
use nooterra_protocol::command::{Command, StopProfile};
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// Between two ticks.
const STEP: Duration = Duration::from_millis(20);

/// How fast it drives, m/s.
const CRAWL_MPS: f64 = 0.1;

/// Standing still, as far as noisy odometry can say, m/s.
const STILL_MPS: f64 = 0.03;

/// What a driver got wrong.
#[derive(Debug, thiserror::Error)]
pub enum Nonconformance {
    /// The policy does not let the robot drive where it stands.
    #[error("the gate stops the robot where it stands; give a policy without zones")]
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
    /// A number that is none.
    #[error("`read` gave a pose or twist that is not finite")]
    NotFinite,
    /// A gated command of another tick, or a tick for the second time, was taken.
    #[error("`write` took a command of another tick, or the same tick twice")]
    Tick,
    /// The robot does not do what it is told.
    #[error("the robot moves at {found_mps} m/s {when}")]
    Motion {
        /// What it does.
        found_mps: f64,
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
    let moving = run.read()?.twist.value.linear;
    if moving < CRAWL_MPS - STILL_MPS {
        return Err(Nonconformance::Motion { found_mps: moving, when: "when told to crawl" });
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
        let scan = seen.scan.as_ref().map_or(seen.pose.at, |scan| scan.at);
        let battery = seen.battery.as_ref().map_or(seen.pose.at, |battery| battery.at);
        if [seen.pose.at, seen.twist.at, scan, battery].iter().any(|at| *at > self.now) {
            return Err(Nonconformance::Future);
        }
        Ok(seen)
    }

    /// Lets one tick pass and gates a crawl in it.
    fn gated(&mut self) -> Result<Gated<Command>, Nonconformance> {
        self.now = self.now.plus(STEP);
        (self.pass)(self.now);
        self.tick += 1;
        let seen = self.read()?;
        let until = self.now.plus(Duration::from_secs(1));
        let wish = Wish { at: self.now, command: Twist::new(CRAWL_MPS, 0.0).into(), until };
        let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
        let outcome = self.gate.tick(&Inputs {
            grants: Grants::ALL,
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
        let found_mps = self.read()?.twist.value.linear;
        // The gate has seen no tick for as long; a new one begins as after a restart.
        self.gate = Gate::new(self.policy);
        if found_mps.abs() > STILL_MPS {
            return Err(Nonconformance::Motion { found_mps, when });
        }
        Ok(())
    }
}

fn failed(call: &'static str) -> impl Fn(HalError) -> Nonconformance {
    move |source| Nonconformance::Failed { call, source }
}
