//! A skill before anybody signs it: the same sandbox, gate and simulated robot as in a daemon,
//! in a time of their own, without journal, cloud or keys.
//!
//! A run is a function of the skill, the stage and the script: what comes out is the same on
//! every machine and as fast as it is computed. What it costs ([`Cost`]) is measured, and is not.
//!
//! # What it never does
//! It is no proof for a robot: only simulated ones are driven here, the policy need not
//! be signed, and every capability that the manifest asks for is granted.

mod arm;
#[cfg(feature = "tools")]
mod arm_drawn;
pub mod cases;
pub mod gate;
#[cfg(feature = "tools")]
pub mod report;
mod stage;
mod told;
mod verdict;

pub use arm::ArmFrame;
pub use cases::{Fault, FaultKind};
pub use stage::{Stage, StageError};
pub use told::{Told, What};
pub use verdict::ended_in_words;

use crate::control::{Lease, joints_of};
use crate::jobs::{Epochs, in_words, lease, misfit};
use crate::review::ReviewError;
use nooterra_hal::sim::{ConfigError, Simulated};
use nooterra_hal::{HalError, Robot as _};
use nooterra_policy::{Action, Grants, Inputs, Outcome, Surroundings, Wish, Wishes};
use nooterra_protocol::entry::Rule;
use nooterra_protocol::geometry::{Point, Pose, Twist};
use nooterra_protocol::ids::ZoneId;
use nooterra_protocol::observation::{Observation, Timed};
use nooterra_protocol::plan::Param;
use nooterra_protocol::policy::{Joint, Sensor};
use nooterra_protocol::time::MonoNanos;
#[cfg(feature = "tools")]
use nooterra_skill_host::{Beside, TrustedKeys, keygen, pack_with, sign};
use nooterra_skill_host::{
    Bundle, Host, HostError, HostOptions, Session, SkillError, StartError, Status, Usage,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use told::Listening;

/// Between two ticks of the gate: the rate at which robots run.
pub const TICK: Duration = Duration::from_millis(20);

/// A run begins here, so that nothing rests on a clock that begins at zero.
const BEGIN: MonoNanos = MonoNanos(1_000_000_000);

/// After the end the robot is watched for so long while it comes to rest.
const REST_S: f64 = 3.0;

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The component, its manifest or a temporary key.
    #[error("{0}")]
    Bundle(String),
    /// The sandbox.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No instance can be had here: a fault of this machine.
    #[error(transparent)]
    Instance(SkillError),
    /// The skill is for another kind of robot; why.
    #[error("{0}; name a robot that it is for with --sim")]
    Misfit(String),
    /// The gate cannot be had.
    #[error(transparent)]
    Policy(#[from] ReviewError),
    /// The simulated robot refuses: a fault of the agent.
    #[error("the simulated robot: {0}")]
    Robot(#[from] HalError),
    /// Not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The start is outside the room.
    #[error("the world: {0}")]
    World(#[from] ConfigError),
}

/// What is run.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// One of the manifest's.
    pub action: String,
    /// State of charge at the start, 0 to 1; otherwise the world's.
    pub battery: Option<f64>,
    /// In any order.
    pub faults: Vec<Fault>,
    /// The run is given up after so long, seconds.
    pub limit_s: f64,
    /// What else stands in the room.
    pub obstacles: Vec<Vec<Point>>,
    /// Of the action.
    pub params: BTreeMap<String, Param>,
    /// Of the sensors' noise.
    pub seed: u64,
    /// Otherwise the world's, or its dock.
    pub start: Option<Pose>,
}

/// One tick.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What came through the gate.
    pub allowed: Twist,
    /// Where the robot is an arm.
    pub arm: Option<ArmFrame>,
    /// What was wished.
    pub asked: Twist,
    /// Used by its steps so far, where it is counted.
    pub fuel: u64,
    /// What the skill says of itself.
    pub note: String,
    /// Where the robot truly is.
    pub pose: Pose,
    /// How far, 0 to 1.
    pub progress: f64,
    /// What the skill asked for, in words.
    pub request: String,
    /// Which rules acted, where, and their limit.
    pub rules: Vec<(Rule, Option<ZoneId>, f64)>,
    /// Since the start, seconds.
    pub t_s: f64,
    /// How it truly moves.
    pub twist: Twist,
}

/// How a run ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
pub enum Ending {
    /// Ended by the host.
    Crashed(String),
    /// Achieved.
    Done,
    /// By its own words.
    Failed(String),
    /// Whoever watched had enough.
    Interrupted,
    /// Still running when its time was over.
    TimedOut,
}

impl Ending {
    /// As in a case's `outcome`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crashed(_) => "crashed",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
            Self::TimedOut => "timed_out",
        }
    }

    /// In the skill's words or the host's.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Crashed(reason) | Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// What one step cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// What a black box keeps of it, bytes: what it saw and said, without records' frames.
    pub journal_bytes: usize,
    /// On this machine, with the conversion of the observation.
    pub took: Duration,
    /// In the sandbox.
    pub usage: Usage,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Of each step.
    pub costs: Vec<Cost>,
    /// How it ended.
    pub ending: Ending,
    /// When, seconds.
    pub ended_s: f64,
    /// Tick by tick.
    pub frames: Vec<Frame>,
    /// Calls into the ports, in order.
    pub told: Vec<Told>,
}

/// A component with its manifest and what lies beside them, signed with a key that is forgotten:
/// for a rehearsal there is nobody to trust.
///
/// # Errors
/// [`RehearsalError::Bundle`] where a robot would refuse it too.
#[cfg(feature = "tools")]
pub fn unsigned(
    manifest: &str,
    component: &[u8],
    beside: Beside<'_>,
) -> Result<Bundle, RehearsalError> {
    let packed = pack_with(manifest, component, beside);
    anonymous(&packed.map_err(|error| RehearsalError::Bundle(error.to_string()))?)
}

/// The same of a packed bundle.
///
/// # Errors
/// [`RehearsalError::Bundle`]
#[cfg(feature = "tools")]
pub fn anonymous(packed: &[u8]) -> Result<Bundle, RehearsalError> {
    let fault = |error: &dyn std::fmt::Display| RehearsalError::Bundle(error.to_string());
    let keys = keygen(None).map_err(|error| fault(&error))?;
    let signature = sign(packed, &keys.secret, None, "a rehearsal").map_err(|e| fault(&e))?;
    let trusted = TrustedKeys::from_texts([&keys.public]).map_err(|error| fault(&error))?;
    Bundle::verify(packed, &signature, &trusted).map_err(|error| fault(&error))
}

/// A sandbox; with `counts_fuel` each step's is in its [`Usage`].
///
/// # Errors
/// [`RehearsalError::Host`]
pub fn host(counts_fuel: bool) -> Result<Arc<Host>, RehearsalError> {
    Ok(Arc::new(Host::new(HostOptions { counts_fuel, ..HostOptions::default() })?))
}

/// Carries out a script. `watch` sees each tick, and may end the run.
///
/// # Errors
/// [`RehearsalError`] where there is nothing to run; what goes wrong in the run is its
/// [`Ending`].
pub fn run(
    host: &Arc<Host>,
    bundle: &Bundle,
    stage: &Stage,
    script: &Script,
    mut watch: impl FnMut(&Frame) -> ControlFlow<()>,
) -> Result<Rehearsed, RehearsalError> {
    let mut world = stage.world.clone();
    world.battery.start_fraction = script.battery.unwrap_or(world.battery.start_fraction);
    world.obstacles.extend(script.obstacles.iter().cloned());
    world.start = script.start.or(world.start);
    let reviewed = stage.reviewed()?;
    if let Some(why) = misfit(bundle.manifest(), world.arm.is_some()) {
        return Err(RehearsalError::Misfit(why));
    }
    let robot = Simulated::new(reviewed.document().robot.clone(), world, script.seed)?;
    // A skill that does not return is ended here too.
    let _epochs = Epochs::count(host);
    let mut run = Run {
        acknowledged: None,
        bundle,
        ended: None,
        frames: Vec::new(),
        fuel: 0,
        gate: reviewed.gate(),
        host,
        joints: joints_of(&reviewed.document().vehicle),
        keeps_distance: reviewed.document().proximity.is_some(),
        lease: None,
        listening: Listening::default(),
        robot,
        script,
        session: None,
        status: (0.0, String::new(), "nothing".to_owned()),
        costs: Vec::new(),
    };
    run.listening.see_by(run.robot.camera());
    run.open(&[])?;
    let ticks = ticks(script.limit_s);
    let mut last = ticks;
    let mut tick = 0;
    while tick <= last {
        tick += 1;
        let frame = run.tick(tick)?;
        let goes_on = watch(&frame);
        run.frames.push(frame);
        if goes_on.is_break() && run.ended.is_none() {
            run.end(tick, Ending::Interrupted);
        } else if tick == ticks && run.ended.is_none() {
            run.end(tick, Ending::TimedOut);
        }
        if let Some((at, _)) = &run.ended {
            last = last.min(at + self::ticks(REST_S));
        }
    }
    let (ended_at, ending) = run.ended.unwrap_or((tick, Ending::TimedOut));
    Ok(Rehearsed {
        costs: run.costs,
        ending,
        ended_s: seconds(ended_at),
        frames: run.frames,
        told: run.listening.take(),
    })
}

fn seconds(tick: u64) -> f64 {
    Duration::from_millis(tick * 20).as_secs_f64()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Of a day at most.
fn ticks(seconds: f64) -> u64 {
    (seconds.clamp(0.0, 86_400.0) / TICK.as_secs_f64()).ceil() as u64
}

struct Run<'a> {
    acknowledged: Option<MonoNanos>,
    bundle: &'a Bundle,
    costs: Vec<Cost>,
    ended: Option<(u64, Ending)>,
    frames: Vec<Frame>,
    fuel: u64,
    gate: nooterra_policy::Gate,
    host: &'a Host,
    /// Of an arm, as the policy limits them; none otherwise.
    joints: &'a [Joint],
    keeps_distance: bool,
    lease: Option<Lease>,
    listening: Listening,
    robot: Simulated,
    script: &'a Script,
    session: Option<Session>,
    /// Progress, note, request.
    status: (f64, String, String),
}

impl Run<'_> {
    fn open(&mut self, state: &[u8]) -> Result<(), RehearsalError> {
        let granted = self.bundle.manifest().capabilities.iter().copied().collect();
        let Script { action, params, .. } = self.script;
        let ports = self.listening.ports();
        match self.host.open(self.bundle, &granted, action, params, ports, state)? {
            Ok(session) => self.session = Some(session),
            Err(error) => self.fail(0, error)?,
        }
        Ok(())
    }

    fn tick(&mut self, tick: u64) -> Result<Frame, RehearsalError> {
        let now = BEGIN.plus(TICK * u32::try_from(tick).unwrap_or(u32::MAX));
        let t_s = seconds(tick);
        self.listening.now(t_s);
        let pressed = self.is_on(FaultKind::EmergencyStop, t_s);
        self.robot.press_emergency_stop(pressed);
        let mut seen = self.robot.read(now)?;
        if self.is_lifted(tick) {
            self.acknowledged = Some(now);
        }
        if self.is_on(FaultKind::NoScan, t_s) {
            seen.scan = None;
        }
        if self.script.faults.iter().any(|f| f.fault == FaultKind::Restart && ticks(f.at_s) == tick)
        {
            self.restart(tick)?;
        }
        let period = ticks(f64::from(self.bundle.manifest().period_ms) / 1e3).max(1);
        if self.ended.is_none() && (tick - 1).is_multiple_of(period) {
            self.step(tick, &seen)?;
        }
        let outcome = self.judge(tick, now, t_s, &seen);
        // From the next tick on: as on a robot, a skill asks what the last tick found.
        let camera = outcome.privacy.allowed.contains(Sensor::Camera);
        self.listening.camera_on(camera && !self.is_on(FaultKind::NoCamera, t_s));
        let rules = outcome.verdicts.iter().map(|verdict| {
            let zone = verdict.zone.and_then(|zone| self.gate.zone_id(zone)).cloned();
            (verdict.rule, zone, verdict.limit)
        });
        let truth = self.robot.arm();
        let frame = Frame {
            allowed: outcome.allowed_twist(),
            arm: truth.map(|truth| ArmFrame::new(truth, outcome.asked, outcome.allowed)),
            asked: outcome.asked.twist().unwrap_or(Twist::ZERO),
            fuel: self.fuel,
            note: self.status.1.clone(),
            pose: self.robot.truth(),
            progress: self.status.0,
            request: self.status.2.clone(),
            rules: rules.collect(),
            t_s,
            twist: self.robot.truth_twist(),
        };
        match outcome.action {
            Action::Stop(profile) => self.robot.stop(now, profile)?,
            Action::Write(command) => self.robot.write(now, tick, command)?,
        }
        Ok(frame)
    }

    fn step(&mut self, tick: u64, seen: &Observation) -> Result<(), RehearsalError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let began = Instant::now();
        let stepped = session.step(seen.pose.at, seen);
        let took = began.elapsed();
        let (request, status) = match stepped {
            Ok(stepped) => stepped,
            Err(error) => return self.fail(tick, error),
        };
        let usage = session.usage();
        self.fuel = self.fuel.saturating_add(usage.fuel.unwrap_or(0));
        self.lease = lease(seen.pose.at, &request);
        self.status.2 = in_words(&request);
        match status {
            Status::Running { note, progress } => {
                self.listening.said(&self.status.2, &note);
                (self.status.0, self.status.1) = (progress, note);
            }
            Status::Done => self.end(tick, Ending::Done),
            Status::Failed(reason) => self.end(tick, Ending::Failed(reason)),
        }
        self.costs.push(Cost { journal_bytes: self.listening.journal_bytes(), took, usage });
        Ok(())
    }

    fn restart(&mut self, tick: u64) -> Result<(), RehearsalError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        self.lease = None;
        match session.suspend() {
            Ok(state) => {
                drop(session);
                self.open(&state)
            }
            Err(error) => self.fail(tick, error),
        }
    }

    /// The skill ended by this, unless it is no fault of the skill: then there is no run.
    fn fail(&mut self, tick: u64, error: SkillError) -> Result<(), RehearsalError> {
        let ending = match &error {
            SkillError::Machine(_) => return Err(RehearsalError::Instance(error)),
            SkillError::NoJoints
            | SkillError::Refused(_)
            | SkillError::Unrecorded(_)
            | SkillError::Ungranted(_) => Ending::Failed(error.to_string()),
            _ => Ending::Crashed(error.to_string()),
        };
        self.end(tick, ending);
        Ok(())
    }

    fn judge(&mut self, tick: u64, now: MonoNanos, t_s: f64, seen: &Observation) -> Outcome {
        let scan = seen.scan.as_ref().filter(|_| self.keeps_distance);
        let wish = self.lease.map(|lease| Wish {
            at: lease.renewed,
            command: lease.goal.command(seen, self.joints),
            until: lease.until,
        });
        let twist = Timed { at: seen.twist.at, value: seen.twist.value.into() };
        self.gate.tick(&Inputs {
            battery: seen.battery.map(|battery| battery.value.fraction),
            grants: Grants::ALL,
            joints: seen.joints,
            surroundings: scan.map(|scan| Surroundings::from_scan(scan.at, &scan.value)),
            wishes: Wishes {
                acknowledged: self.acknowledged,
                emergency_stop: seen.emergency_stop,
                operator: None,
                skill: wish,
                veto: self.is_on(FaultKind::Veto, t_s),
            },
            ..Inputs::new(tick, now, seen.pose, twist)
        })
    }

    fn end(&mut self, tick: u64, ending: Ending) {
        self.ended = Some((tick, ending));
        self.lease = None;
        self.session = None;
        self.status.2 = "nothing".to_owned();
    }

    fn is_on(&self, fault: FaultKind, t_s: f64) -> bool {
        let during = |f: &Fault| f.fault == fault && f.at_s <= t_s && t_s < f.at_s + f.for_s;
        self.script.faults.iter().any(during)
    }

    /// What held the robot ends with this tick, and somebody says that it may go on.
    fn is_lifted(&self, tick: u64) -> bool {
        self.script.faults.iter().any(|f| {
            let holds = matches!(f.fault, FaultKind::EmergencyStop | FaultKind::Veto);
            holds && ticks(f.at_s + f.for_s) == tick
        })
    }
}
