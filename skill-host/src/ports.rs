//! What a skill can reach beside its request, and how much of it.

use nooterra_protocol::frame::{Frame, FrameRefusal};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::skill_graph::GraphPosition;
use nooterra_protocol::time::MonoNanos;

/// The longest line of a log, bytes; the rest is cut.
pub const MAX_LOG_BYTES: usize = 512;

/// The longest name of a checkpoint or of a piece of evidence, bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// What all evidence of one step may hold together, bytes.
pub const MAX_EVIDENCE_BYTES: usize = 64 * 1024;

/// The longest reason of a request for help, bytes.
pub const MAX_ASSIST_BYTES: usize = 256;

/// How often all ports together may be called in one step, or in `init`; one more ends the
/// skill.
pub const MAX_CALLS_PER_STEP: u32 = 64;

/// A move of the policy graph.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GraphMove {
    /// The name of the step that runs now; none between two attempts and at the end.
    pub live: Option<String>,
    /// Where the graph stands now.
    pub position: GraphPosition,
    /// What moved it, in the graph's names and none of the skill's words.
    pub why: String,
}

/// Where the calls of a skill go. The agent supplies it.
///
/// It is called on the skill's own thread, only for capabilities that were granted, only
/// with arguments inside the bounds of this module, and never after the run has ended. An
/// implementation that blocks holds up its skill and nobody else: put what arrives into a
/// bounded queue and return.
pub trait Ports: Send {
    /// The skill asks people for help, and says why in at most [`MAX_ASSIST_BYTES`] without
    /// control characters.
    fn assist(&mut self, reason: &str);

    /// The skill states that a milestone was reached. `name` is 1 to [`MAX_NAME_BYTES`] bytes
    /// of `[a-zA-Z0-9_.+/-]`.
    fn checkpoint(&mut self, name: &str);

    /// The skill attaches evidence: a name as above, a media type of the same form, and at
    /// most [`MAX_EVIDENCE_BYTES`].
    fn evidence(&mut self, name: &str, media_type: &str, bytes: &[u8]);

    /// The skill asks for a picture, in a step. Whether it may exist is decided here, before any
    /// camera is touched; and what is given is recorded here, before the skill has it.
    ///
    /// # Errors
    /// [`FrameRefusal`]; the skill may go on.
    fn frame(&mut self) -> Result<Frame, FrameRefusal> {
        Err(FrameRefusal::NoCamera)
    }

    /// The next step begins with this: all that the skill can see in it. An error ends the
    /// skill, which then never sees it; so what is recorded here is what ran.
    ///
    /// # Errors
    /// Why the skill must not go on, for people.
    fn input(&mut self, _at: MonoNanos, _seen: &Observation) -> Result<(), String> {
        Ok(())
    }

    /// The policy graph moved. The state that goes with it comes by [`Self::suspended`] after the
    /// step, unless the action is over.
    fn moved(&mut self, _moved: &GraphMove) {}

    /// The skill writes a line of at most [`MAX_LOG_BYTES`], without control characters.
    fn log(&mut self, text: &str);

    /// The host says something about the run: a step was late, lines were dropped. Not a word
    /// in it is the skill's.
    fn note(&mut self, _text: &str) {}

    /// The instance was ended for overrunning its time, and a new one goes on; why, for
    /// people.
    fn restarted(&mut self, _why: &str) {}

    /// The state after a step, where it is another than before: what [`crate::Host::start`]
    /// takes to go on from here.
    fn suspended(&mut self, _state: &[u8]) {}
}

/// Ports that lead nowhere, for a skill that is granted none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPorts;

impl Ports for NoPorts {
    fn assist(&mut self, _reason: &str) {}
    fn checkpoint(&mut self, _name: &str) {}
    fn evidence(&mut self, _name: &str, _media_type: &str, _bytes: &[u8]) {}
    fn log(&mut self, _text: &str) {}
}

/// A name that may go into records, file names and pages as it is.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+/-".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(allowed)
}

/// One line of a log: no control characters that would forge others or steer a terminal.
pub(crate) fn log_line(text: &str) -> String {
    crate::world::plain(&text[..text.floor_char_boundary(MAX_LOG_BYTES)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_needs_escaping_is_refused() {
        for name in ["", "a b", "a\n", "é", "<b>", &"a".repeat(65)] {
            assert!(!is_name(name), "{name:?} was taken");
        }
        assert!(is_name("waypoint-1") && is_name("application/json") && is_name(&"a".repeat(64)));
    }

    #[test]
    fn a_log_line_is_one_line_and_not_too_long() {
        assert_eq!(log_line("a\nb\u{1b}[31m"), "a b [31m");
        let long = log_line(&"é".repeat(400));
        assert_eq!(long.len(), MAX_LOG_BYTES);
        // A control character of two bytes becomes a space of one: shorter, never longer.
        assert!(log_line(&"\u{85}".repeat(400)).len() <= MAX_LOG_BYTES);
    }
}
