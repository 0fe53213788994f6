//! Whether a version may become active by its own cases, as far as this build can say.

use crate::config::Skills;
#[cfg(feature = "sim")]
use crate::rehearsal::gate::{self, Bounds, GateError};
use nooterra_skill_host::Bundle;
use std::time::Duration;

/// What came of it.
#[cfg_attr(not(feature = "sim"), allow(dead_code))]
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Passed {
    /// So many cases came out as they must.
    All(usize),
    /// It has none, or this build has no simulator, and this robot takes it all the same; in
    /// words.
    NotRun(&'static str),
}

/// Why not.
#[cfg_attr(not(feature = "sim"), allow(dead_code))] // Without the simulator nothing fails in it.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum NotPassed {
    /// A case says so; it is the bundle's fault, in words.
    Failed(String),
    /// This machine could not run them, in words: that says nothing against the bundle.
    Fault(String),
    /// Nobody waits for it any more.
    Stopped,
    /// They took longer on this machine than they may, in words: whose fault that is, is not
    /// known.
    TooSlow(String),
    /// This robot wants cases that came out, and there are none, or it cannot run them.
    Wanted(&'static str),
}

impl NotPassed {
    /// For people.
    #[cfg(all(feature = "sim", feature = "tools"))]
    pub(crate) fn in_words(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Fault(why) | Self::TooSlow(why) => why,
            Self::Stopped => "its cases were not run to their end",
            Self::Wanted(why) => why,
        }
    }
}

const NONE: &str = "it has no cases";

#[cfg(not(feature = "sim"))]
const NO_SIMULATOR: &str = "this build of the agent has no simulator for its cases";

/// What this robot asks of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// A bundle of which none could be run is refused.
    pub(crate) required: bool,
    /// What they may take together on this machine.
    pub(crate) time: Duration,
}

impl Terms {
    pub(crate) fn of(skills: &Skills) -> Self {
        let time = Duration::from_secs(u64::from(skills.cases_s));
        Self { required: skills.require_cases, time }
    }
}

/// Runs its cases, where it has some.
pub(crate) fn pass(
    bundle: &Bundle,
    terms: Terms,
    goes_on: impl FnMut() -> bool,
) -> Result<Passed, NotPassed> {
    let not_run =
        |why| if terms.required { Err(NotPassed::Wanted(why)) } else { Ok(Passed::NotRun(why)) };
    match bundle.cases() {
        None => not_run(NONE),
        #[cfg(not(feature = "sim"))]
        Some(_) => {
            let _ = goes_on;
            not_run(NO_SIMULATOR)
        }
        #[cfg(feature = "sim")]
        Some(cases) => {
            let bounds = Bounds { time: terms.time, ..Bounds::default() };
            gate::pass(bundle, cases, &bounds, goes_on).map(Passed::All).map_err(NotPassed::from)
        }
    }
}

#[cfg(feature = "sim")]
impl From<GateError> for NotPassed {
    fn from(error: GateError) -> Self {
        let why = format!("in the simulator: {error}");
        match error {
            GateError::Stopped => Self::Stopped,
            GateError::TooSlow { .. } => Self::TooSlow(why),
            fault if fault.is_of_this_machine() => Self::Fault(why),
            _ => Self::Failed(why),
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::rehearsal::RehearsalError;
    use nooterra_hal::HalError;
    use nooterra_skill_host::{HostError, SkillError, StartError};

    #[test]
    fn a_version_is_given_up_for_its_own_faults_and_not_for_those_of_the_machine() {
        let host = || RehearsalError::Host(HostError::Tick);
        let robot = || RehearsalError::Robot(HalError::Command);
        let action =
            StartError::Action { action: String::new(), known: Vec::new(), skill: String::new() };
        let case = String::new;
        let not_run =
            |source: RehearsalError| GateError::NotRun { case: case(), source: source.into() };
        let no_room = || RehearsalError::Instance(SkillError::Machine(String::new()));
        let faults = [host(), robot(), no_room()].map(not_run);
        for fault in [GateError::Sandbox(host())].into_iter().chain(faults) {
            assert!(matches!(NotPassed::from(fault), NotPassed::Fault(_)));
        }
        let missed = GateError::Missed { case: case(), misses: Vec::new() };
        let bound = GateError::Bound { case: case(), what: "the fuel" };
        for failed in [missed, bound, not_run(RehearsalError::Start(action))] {
            assert!(matches!(NotPassed::from(failed), NotPassed::Failed(_)));
        }
        let slow = NotPassed::from(GateError::TooSlow { case: case() });
        assert!(matches!(slow, NotPassed::TooSlow(_)));
        assert_eq!(NotPassed::from(GateError::Stopped), NotPassed::Stopped);
    }
}
