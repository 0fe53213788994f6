//! From a verdict on every tick to a record of what mattered.
//!
//! A rule that holds for a hundred ticks is one run: written when it begins, when what it
//! allows changes much (at most every half second), and when it ends. Fixed memory, no
//! allocation. When more rules hold at once than fit, each tick of the surplus is written as
//! if it began: recorded beats unrecorded.

use nooterra_policy::GateVerdict;
use nooterra_protocol::command::Command;
use nooterra_protocol::entry::VerdictPhase;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// Rules that can hold at once; of more, no robot has come near.
const CAPACITY: usize = 32;

/// Between two records of one run, at the least.
const HOLD_EVERY: Duration = Duration::from_millis(500);

/// A change of what is allowed that is worth a record, m/s and rad/s.
const MUCH: f64 = 0.1;

/// The same of a joint, rad/s or m/s: a lift's are centimetres.
const MUCH_JOINT: f64 = 0.02;

#[derive(Clone, Copy, Debug)]
struct Run {
    recorded: Command,
    recorded_at: MonoNanos,
    seen_at: MonoNanos,
    verdict: GateVerdict,
}

/// The runs that are open.
#[derive(Debug)]
pub(super) struct Runs {
    open: [Option<Run>; CAPACITY],
}

impl Default for Runs {
    fn default() -> Self {
        Self { open: [None; CAPACITY] }
    }
}

impl Runs {
    /// Takes the verdicts of one tick and emits those that are worth a record. `allowed` is
    /// what the tick let through.
    pub(super) fn observe(
        &mut self,
        now: MonoNanos,
        verdicts: impl Iterator<Item = GateVerdict>,
        allowed: Command,
        mut emit: impl FnMut(VerdictPhase, GateVerdict),
    ) {
        for verdict in verdicts {
            let same = |run: &&mut Run| {
                run.verdict.rule == verdict.rule && run.verdict.zone == verdict.zone
            };
            if let Some(run) = self.open.iter_mut().flatten().find(same) {
                run.seen_at = now;
                run.verdict = verdict;
                let waited = now.since(run.recorded_at).is_none_or(|age| age >= HOLD_EVERY);
                if waited && differs(run.recorded, allowed) {
                    run.recorded = allowed;
                    run.recorded_at = now;
                    emit(VerdictPhase::Holds, verdict);
                }
                continue;
            }
            emit(VerdictPhase::Began, verdict);
            if let Some(free) = self.open.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(Run { recorded: allowed, recorded_at: now, seen_at: now, verdict });
            }
        }
        for slot in &mut self.open {
            if let Some(run) = slot.filter(|run| run.seen_at != now) {
                emit(VerdictPhase::Ended, run.verdict);
                *slot = None;
            }
        }
    }
}

fn differs(a: Command, b: Command) -> bool {
    if let (Command::Joints(a), Command::Joints(b)) = (&a, &b) {
        let (a, b) = (a.joints.as_slice(), b.joints.as_slice());
        return a.len() != b.len() || a.iter().zip(b).any(|(a, b)| (a - b).abs() > MUCH_JOINT);
    }
    (a.forward_mps() - b.forward_mps()).abs() > MUCH
        || (a.turning_radps() - b.turning_radps()).abs() > MUCH
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::command::{JointVelocities, PerJoint};
    use nooterra_protocol::entry::Rule;
    use nooterra_protocol::geometry::Twist;

    const VERDICT: GateVerdict = GateVerdict { limit: 1.2, rule: Rule::SpeedLinear, zone: None };

    fn phases(
        runs: &mut Runs,
        at_ms: u64,
        allowed: f64,
        verdicts: &[GateVerdict],
    ) -> Vec<VerdictPhase> {
        let mut seen = Vec::new();
        let now = MonoNanos(at_ms * 1_000_000);
        let allowed = Twist::new(allowed, 0.0).into();
        runs.observe(now, verdicts.iter().copied(), allowed, |phase, _| seen.push(phase));
        seen
    }

    #[test]
    fn a_rule_that_holds_is_written_when_it_begins_and_when_it_ends() {
        let mut runs = Runs::default();
        assert_eq!(phases(&mut runs, 0, 1.2, &[VERDICT]), [VerdictPhase::Began]);
        for tick in 1..100 {
            assert_eq!(phases(&mut runs, tick * 20, 1.2, &[VERDICT]), []);
        }
        assert_eq!(phases(&mut runs, 2000, 1.2, &[]), [VerdictPhase::Ended]);
        assert_eq!(phases(&mut runs, 2020, 1.2, &[]), []);
    }

    #[test]
    fn what_is_allowed_changing_much_is_written_but_not_every_tick() {
        let mut runs = Runs::default();
        phases(&mut runs, 0, 1.2, &[VERDICT]);
        assert_eq!(phases(&mut runs, 100, 0.6, &[VERDICT]), []);
        assert_eq!(phases(&mut runs, 600, 0.6, &[VERDICT]), [VerdictPhase::Holds]);
        assert_eq!(phases(&mut runs, 700, 0.0, &[VERDICT]), []);
    }

    #[test]
    fn any_joint_whose_velocity_changes_much_is_written_too() {
        let mut runs = Runs::default();
        let mut holds = |at_ms: u64, lift: f64| {
            let joints = PerJoint::new(&[0.5, lift]).unwrap();
            let (mut seen, now) = (Vec::new(), MonoNanos(at_ms * 1_000_000));
            let allowed = Command::Joints(JointVelocities { joints });
            runs.observe(now, [VERDICT].into_iter(), allowed, |phase, _| seen.push(phase));
            seen
        };
        assert_eq!(holds(0, 0.2), [VerdictPhase::Began]);
        assert_eq!(holds(600, 0.19), []);
        assert_eq!(holds(1200, 0.1), [VerdictPhase::Holds]);
    }

    #[test]
    fn more_rules_than_fit_are_written_every_time_rather_than_lost() {
        let mut runs = Runs::default();
        let many: Vec<_> =
            (0..40).map(|zone| GateVerdict { zone: Some(zone), ..VERDICT }).collect();
        assert_eq!(phases(&mut runs, 0, 0.0, &many).len(), 40);
        assert_eq!(phases(&mut runs, 20, 0.0, &many).len(), 8);
    }
}
