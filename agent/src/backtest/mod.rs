//! A policy against a recording: when, for how long and by how much the envelope would have
//! acted on what a robot did.
//!
//! - [`read`] — files of other people's recorders, one module for each format.
//! - [`recording`] — what they are read into.
//! - [`timeline`] — planar pose, twist and acceleration, moment by moment.
//! - [`judge`] — rules, limits, intervals.
//! - [`private`] — when sensors would have been off.
//! - [`report`] — a page to look at.
//!
//! It is for setting limits from what a robot is seen to do, and for showing what a change of
//! the policy would mean. It judges what was measured, sample by sample, with the gate's own
//! geometry and conditions; it is neither the gate (which judges wishes, and whose answer changes
//! what happens next) nor a simulation. A developer's tool: the robot's package leaves it out.

pub mod judge;
pub mod private;
pub mod read;
pub mod recording;
pub mod report;
pub mod timeline;

pub use judge::{Interval, Judged, Way};
pub use private::Off;
pub use read::{ReadError, ReadOptions};
pub use recording::{Format, Motion, Recording};
pub use timeline::{Derivation, Timeline};

use judge::Verdict;
use nooterra_policy::VerifiedPolicy;
use nooterra_policy::footprint::Disc;

/// The outcome.
#[derive(Clone, Debug)]
pub struct Backtest {
    /// What of the robot was judged against the zones.
    pub discs: Vec<Disc>,
    /// In the order of their beginnings.
    pub intervals: Vec<Interval>,
    /// When sensors would have been off.
    pub private: Vec<Off>,
    /// Every rule that was judged, in the order of the policy.
    pub rules: Vec<Judged>,
    /// What was judged.
    pub timeline: Timeline,
}

/// Judges a recording by a policy, whoever signed it. `join_s` is the longest pause, in seconds,
/// that does not end an interval.
#[must_use]
pub fn run(
    policy: &VerifiedPolicy,
    recording: &Recording,
    derivation: &Derivation,
    join_s: f64,
) -> Backtest {
    let mut timeline = Timeline::derive(recording, derivation);
    let notes = timeline.notes_on(policy);
    timeline.notes.extend(notes);
    let discs = judge::recorded(policy, timeline.motion).body().discs().to_vec();
    let Verdict { intervals, private, rules } = judge::judge(policy, &timeline, join_s);
    Backtest { discs, intervals, private, rules, timeline }
}

/// A document as a policy that nobody's key stands for.
#[cfg(test)]
fn verified(document: &nooterra_protocol::policy::PolicyDocument) -> VerifiedPolicy {
    use nooterra_protocol::envelope::Signed;
    use nooterra_protocol::keys::{Ed25519Key, Signer as _};
    let nobody = Ed25519Key::from_seed([0; 32]);
    let signed = Signed::sign(document.clone(), &nobody).unwrap();
    VerifiedPolicy::verify(signed.bytes(), &nobody.verifying_key(), &document.robot).unwrap()
}
