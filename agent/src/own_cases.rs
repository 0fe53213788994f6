//! Whether a version may become active by its own cases, as far as this build can say.

use nooterra_skill_host::Bundle;

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
    /// Nobody waits for it any more.
    Stopped,
    /// This robot wants cases that came out, and there are none, or it cannot run them.
    Wanted(&'static str),
}

const NONE: &str = "it has no cases";

#[cfg(not(feature = "sim"))]
const NO_SIMULATOR: &str = "this build of the agent has no simulator for its cases";

/// Runs its cases, where it has some. `required` refuses a bundle of which none could be run.
pub(crate) fn pass(
    bundle: &Bundle,
    required: bool,
    goes_on: impl FnMut() -> bool,
) -> Result<Passed, NotPassed> {
    let not_run =
        |why| if required { Err(NotPassed::Wanted(why)) } else { Ok(Passed::NotRun(why)) };
    match bundle.cases() {
        None => not_run(NONE),
        #[cfg(not(feature = "sim"))]
        Some(_) => {
            let _ = goes_on;
            not_run(NO_SIMULATOR)
        }
        #[cfg(feature = "sim")]
        Some(cases) => {
            use crate::rehearsal::gate::{self, Bounds, GateError};
            match gate::pass(bundle, cases, &Bounds::default(), goes_on) {
                Ok(cases) => Ok(Passed::All(cases)),
                Err(GateError::Stopped) => Err(NotPassed::Stopped),
                Err(why) => Err(NotPassed::Failed(format!("in the simulator: {why}"))),
            }
        }
    }
}
