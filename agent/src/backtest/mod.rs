//! A policy against a recording: when, for how long and by how much the envelope would have
//! acted on what a robot did.
//!
//! - [`read`] — files of other people's recorders, one module for each format.
//! - [`recording`] — what they are read into.
//! - [`timeline`] — planar pose, twist and acceleration, moment by moment.
//! - [`judge`] — rules, limits, intervals.
//! - [`report`] — a page to look at.
//!
//! It is for setting limits from what a robot is seen to do, and for showing what a change of
//! the policy would mean. It judges what was measured, sample by sample; it is neither the gate
//! (which judges wishes, and whose answer changes what happens next) nor a simulation. A
//! developer's tool: the robot's package leaves it out.

pub mod judge;
pub mod read;
pub mod recording;
pub mod report;
pub mod timeline;

pub use judge::{Interval, Judged, Way};
pub use read::{ReadError, ReadOptions};
pub use recording::{Format, Motion, Recording};
pub use timeline::{Derivation, Timeline};

use nooterra_policy::DocumentError;
use nooterra_protocol::policy::PolicyDocument;

/// The outcome.
#[derive(Clone, Debug)]
pub struct Backtest {
    /// In the order of their beginnings.
    pub intervals: Vec<Interval>,
    /// Every rule that was judged, in the order of the policy.
    pub rules: Vec<Judged>,
    /// What was judged.
    pub timeline: Timeline,
}

/// Judges a recording by a policy. `join_s` is the longest pause, in seconds, that does not
/// end an interval.
///
/// # Errors
/// [`DocumentError`] when the policy makes no sense.
pub fn run(
    policy: &PolicyDocument,
    recording: &Recording,
    derivation: &Derivation,
    join_s: f64,
) -> Result<Backtest, DocumentError> {
    let timeline = Timeline::derive(recording, derivation);
    let (rules, intervals) = judge::judge(policy, &timeline, join_s)?;
    Ok(Backtest { intervals, rules, timeline })
}
