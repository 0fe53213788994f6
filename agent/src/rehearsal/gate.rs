//! A bundle's own cases as a gate: all of them come out as its developer says, on this build and
//! this machine, or it does not become active.
//!
//! They run where the developer ran them, around the example robot under its policy
//! ([`Stage::example_for`]): a case names places and walls, and what this robot's own policy makes of
//! the skill is for its trial to show. What all of them may take together is bounded
//! ([`Bounds`]); fuel and the robot's time are the same on every machine.

use super::cases::{self, CasesError};
use super::{RehearsalError, Stage, StageError, host, run};
use nooterra_skill_host::{Bundle, StartError};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What all cases of a bundle may take together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// In the sandbox's units. For all of the robot's time below, 2.7 million for each step of a
    /// skill at 10 Hz; the examples use less than a tenth of that. Of steps alone: what `init`,
    /// `resume` and `suspend` use is bounded by their own limits, and not counted.
    pub fuel: u64,
    /// Of the robot's time, seconds.
    pub simulated_s: f64,
    /// On this machine.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { fuel: 50_000_000_000, simulated_s: 1800.0, time: Duration::from_secs(300) }
    }
}

/// Why a bundle does not pass.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// What they may take was used up.
    #[error("case `{case}`: {what} that its cases may take together is used up")]
    Bound {
        /// In which one.
        case: String,
        /// Of what.
        what: &'static str,
    },
    /// The file of cases cannot be read.
    #[error(transparent)]
    Cases(#[from] CasesError),
    /// It came otherwise than its developer says.
    #[error("case `{case}`: {}", misses.join("; "))]
    Missed {
        /// Which one.
        case: String,
        /// A sentence each.
        misses: Vec<String>,
    },
    /// It could not be run, such as a case of an action that the skill does not have.
    #[error("case `{case}`: {source}")]
    NotRun {
        /// Which one.
        case: String,
        /// Why.
        source: Box<RehearsalError>,
    },
    /// There is no sandbox: a fault of this machine.
    #[error(transparent)]
    Sandbox(#[from] RehearsalError),
    /// There is no stage: a fault of this build.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Whoever waited for it does no longer.
    #[error("its cases were not run to their end")]
    Stopped,
    /// They took too long here; what else the machine did meanwhile counts too.
    #[error("case `{case}`: the time on this machine that its cases may take together is used up")]
    TooSlow {
        /// In which one.
        case: String,
    },
}

impl GateError {
    /// It says nothing against the bundle: the sandbox, the gate or the stage cannot be had here.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        match self {
            Self::NotRun { source, .. } => is_of_this_machine(source),
            Self::Sandbox(_) | Self::Stage(_) => true,
            Self::Bound { .. }
            | Self::Cases(_)
            | Self::Missed { .. }
            | Self::Stopped
            | Self::TooSlow { .. } => false,
        }
    }
}

const fn is_of_this_machine(error: &RehearsalError) -> bool {
    match error {
        RehearsalError::Host(_)
        | RehearsalError::Instance(_)
        | RehearsalError::Policy(_)
        | RehearsalError::Robot(_)
        | RehearsalError::Start(StartError::Machine { .. } | StartError::Thread(_)) => true,
        RehearsalError::Bundle(_)
        | RehearsalError::Misfit(_)
        | RehearsalError::Start(_)
        | RehearsalError::World(_) => false,
    }
}

/// Runs all cases of a file in its order, and gives their number when all came out as they must.
/// `goes_on` is asked at each tick, whether anybody still waits.
///
/// # Errors
/// [`GateError`] of the first case that did not.
pub fn pass(
    bundle: &Bundle,
    cases: &[u8],
    bounds: &Bounds,
    mut goes_on: impl FnMut() -> bool,
) -> Result<usize, GateError> {
    let text = std::str::from_utf8(cases).map_err(|error| CasesError::Json(error.to_string()))?;
    let (cases, stage) = (cases::parse(text)?, Stage::example_for(bundle.manifest())?);
    let (began, host) = (Instant::now(), host(true)?);
    let (mut fuel, mut simulated_s) = (0_u64, 0.0_f64);
    for case in &cases {
        let name = || case.name.clone();
        let bound = |what| GateError::Bound { case: name(), what };
        let mut stopped = None;
        let ran = run(&host, bundle, &stage, &case.script(), |frame| {
            // What is broken off is watched until the robot rests.
            if stopped.is_some() {
                return ControlFlow::Break(());
            }
            stopped = if !goes_on() {
                Some(GateError::Stopped)
            } else if began.elapsed() > bounds.time {
                Some(GateError::TooSlow { case: name() })
            } else if simulated_s + frame.t_s > bounds.simulated_s {
                Some(bound("the robot's time"))
            } else if fuel.saturating_add(frame.fuel) > bounds.fuel {
                Some(bound("the fuel"))
            } else {
                None
            };
            if stopped.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let ran =
            ran.map_err(|source| GateError::NotRun { case: name(), source: source.into() })?;
        if let Some(why) = stopped {
            return Err(why);
        }
        let misses = case.misses(&ran);
        if !misses.is_empty() {
            return Err(GateError::Missed { case: name(), misses });
        }
        fuel = fuel.saturating_add(ran.frames.last().map_or(0, |frame| frame.fuel));
        simulated_s += ran.frames.last().map_or(0.0, |frame| frame.t_s);
    }
    Ok(cases.len())
}
