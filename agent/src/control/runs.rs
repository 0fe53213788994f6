//! From a verdict on every tick to a record of what mattered.
//!
//! A rule that holds for a hundred ticks is one run: written when it begins, when what it
//! allows changes much (at most every half second), and when it ends. Fixed memory, no
//! allocation. When more rules hold at once than fit, each tick of the surplus is written as
//! if it began: recorded beats unrecorded.

use nooterra_policy::GateVerdict;
use nooterra_protocol::entry::VerdictPhase;
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// Rules that can hold at once; 13 rules, three of them for several zones.
const CAPACITY: usize = 32;

/// Between two records of one run, at the least.
const HOLD_EVERY: Duration = Duration::from_millis(500);

/// A change of what is allowed that is worth a record, m/s and rad/s.
const MUCH: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Run {
    recorded: Twist,
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
    /// Takes the verdicts of one tick and emits those that are worth a record. `asked` and
    /// `allowed` are of the tick as a whole, for runs that end.
    pub(super) fn observe(
        &mut self,
        now: MonoNanos,
        verdicts: impl Iterator<Item = GateVerdict>,
        (asked, allowed): (Twist, Twist),
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
                if waited && differs(run.recorded, verdict.allowed) {
                    run.recorded = verdict.allowed;
                    run.recorded_at = now;
                    emit(VerdictPhase::Holds, verdict);
                }
                continue;
            }
            emit(VerdictPhase::Began, verdict);
            if let Some(free) = self.open.iter_mut().find(|slot| slot.is_none()) {
                let recorded = verdict.allowed;
                *free = Some(Run { recorded, recorded_at: now, seen_at: now, verdict });
            }
        }
        for slot in &mut self.open {
            if let Some(run) = slot.filter(|run| run.seen_at != now) {
                emit(VerdictPhase::Ended, GateVerdict { asked, allowed, ..run.verdict });
                *slot = None;
            }
        }
    }
}

fn differs(a: Twist, b: Twist) -> bool {
    (a.linear - b.linear).abs() > MUCH || (a.angular - b.angular).abs() > MUCH
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::entry::Rule;

    fn verdict(allowed: f64) -> GateVerdict {
        GateVerdict {
            allowed: Twist::new(allowed, 0.0),
            asked: Twist::new(2.0, 0.0),
            limit: 1.2,
            rule: Rule::SpeedLinear,
            zone: None,
        }
    }

    fn phases(runs: &mut Runs, at_ms: u64, verdicts: &[GateVerdict]) -> Vec<VerdictPhase> {
        let mut seen = Vec::new();
        let now = MonoNanos(at_ms * 1_000_000);
        let tick = (Twist::new(2.0, 0.0), Twist::new(1.2, 0.0));
        runs.observe(now, verdicts.iter().copied(), tick, |phase, _| seen.push(phase));
        seen
    }

    #[test]
    fn a_rule_that_holds_is_written_when_it_begins_and_when_it_ends() {
        let mut runs = Runs::default();
        assert_eq!(phases(&mut runs, 0, &[verdict(1.2)]), [VerdictPhase::Began]);
        for tick in 1..100 {
            assert_eq!(phases(&mut runs, tick * 20, &[verdict(1.2)]), []);
        }
        assert_eq!(phases(&mut runs, 2000, &[]), [VerdictPhase::Ended]);
        assert_eq!(phases(&mut runs, 2020, &[]), []);
    }

    #[test]
    fn what_is_allowed_changing_much_is_written_but_not_every_tick() {
        let mut runs = Runs::default();
        phases(&mut runs, 0, &[verdict(1.2)]);
        assert_eq!(phases(&mut runs, 100, &[verdict(0.6)]), []);
        assert_eq!(phases(&mut runs, 600, &[verdict(0.6)]), [VerdictPhase::Holds]);
        assert_eq!(phases(&mut runs, 700, &[verdict(0.0)]), []);
    }

    #[test]
    fn more_rules_than_fit_are_written_every_time_rather_than_lost() {
        let mut runs = Runs::default();
        let many: Vec<_> =
            (0..40).map(|zone| GateVerdict { zone: Some(zone), ..verdict(0.0) }).collect();
        assert_eq!(phases(&mut runs, 0, &many).len(), 40);
        assert_eq!(phases(&mut runs, 20, &many).len(), 8);
    }
}
