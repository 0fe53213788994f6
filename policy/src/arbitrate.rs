//! Whose wish counts.
//!
//! Operator, then skill, then nobody: the first that wishes, wins; above all stand the emergency
//! stop and the veto, which latch. A lease that has ended is no wish. A wish whose lease still
//! holds but that has grown too old, or whose source may no longer move the robot, keeps its
//! place and brings the robot to rest: to pass the wheel to a lower source while a higher one
//! has merely fallen silent would be a surprise to both.

use nooterra_protocol::command::{Command, Source};
use nooterra_protocol::policy::Clear;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// How far a source's stamp may lie ahead of the tick's own time and still count as new: the
/// tick reads the clock first and the wishes after it. Further ahead is a broken clock, and
/// the wish is stale.
pub const STAMP_LEAD: Duration = Duration::from_millis(20);

/// What one source would like, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// When it was made or last confirmed.
    pub at: MonoNanos,
    /// What it would like.
    pub command: Command,
    /// From this moment it is no wish any more.
    pub until: MonoNanos,
}

/// What all sources would like in this tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wishes {
    /// When somebody who may last said that a stop may be lifted.
    pub acknowledged: Option<MonoNanos>,
    /// A stop that nothing overrules, from software or from a button.
    pub emergency_stop: bool,
    /// Of the person who holds the lease.
    pub operator: Option<Wish>,
    /// Of the skill of the running job.
    pub skill: Option<Wish>,
    /// A person who may has vetoed motion.
    pub veto: bool,
}

/// Until when each source may move the robot. What was not granted is not allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Grants {
    /// The operator, until this moment.
    pub operator_until: MonoNanos,
    /// The skill, until this moment.
    pub skill_until: MonoNanos,
}

impl Grants {
    /// Nobody may.
    pub const NONE: Self = Self { operator_until: MonoNanos(0), skill_until: MonoNanos(0) };

    /// Both may, without an end: where the policy document is all that limits.
    pub const ALL: Self =
        Self { operator_until: MonoNanos(u64::MAX), skill_until: MonoNanos(u64::MAX) };

    const fn until(&self, source: Source) -> MonoNanos {
        match source {
            Source::Operator => self.operator_until,
            Source::Skill => self.skill_until,
            Source::EmergencyStop | Source::Idle => MonoNanos(0),
        }
    }
}

/// Who is in charge, and what that means for this tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Charge {
    /// A source that may not move the robot now.
    Denied(Source, Wish),
    /// The stop is in force.
    EmergencyStop,
    /// A source with a fresh wish.
    Fresh(Source, Wish),
    /// Nobody wishes anything.
    Idle,
    /// A source whose lease holds and whose wish is too old.
    Stale(Source, Wish),
}

impl Charge {
    /// The source in charge.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self {
            Self::EmergencyStop => Source::EmergencyStop,
            Self::Denied(source, _) | Self::Fresh(source, _) | Self::Stale(source, _) => *source,
            Self::Idle => Source::Idle,
        }
    }

    /// What it wishes, if anything.
    #[must_use]
    pub const fn asked(&self) -> Option<Command> {
        match self {
            Self::EmergencyStop | Self::Idle => None,
            Self::Denied(_, wish) | Self::Fresh(_, wish) | Self::Stale(_, wish) => {
                Some(wish.command)
            }
        }
    }
}

/// Puts one source in charge. `stopped` tells that the emergency stop is in force.
#[must_use]
pub fn arbitrate(
    wishes: &Wishes,
    grants: &Grants,
    stopped: bool,
    now: MonoNanos,
    oldest: Duration,
) -> Charge {
    if stopped {
        return Charge::EmergencyStop;
    }
    let wished = |wish: &Option<Wish>| wish.as_ref().is_some_and(|wish| now < wish.until);
    let (source, wish) = if wished(&wishes.operator) {
        (Source::Operator, &wishes.operator)
    } else if wished(&wishes.skill) {
        (Source::Skill, &wishes.skill)
    } else {
        return Charge::Idle;
    };
    let Some(wish) = *wish else {
        return Charge::Idle;
    };
    if now >= grants.until(source) {
        return Charge::Denied(source, wish);
    }
    match age(wish.at, now) {
        Some(age) if age <= oldest => Charge::Fresh(source, wish),
        _ => Charge::Stale(source, wish),
    }
}

/// A stop that holds until its condition for clearing is met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latch {
    clear: Clear,
    /// When its cause was last there.
    since: Option<MonoNanos>,
}

impl Latch {
    pub(crate) const fn new(clear: Clear) -> Self {
        Self { clear, since: None }
    }

    /// Takes note of the cause, and tells whether the stop is in force. It is lifted when the
    /// cause is gone, the robot `rests`, and the owner's condition is met.
    pub(crate) fn holds(
        &mut self,
        cause: bool,
        acknowledged: Option<MonoNanos>,
        rests: bool,
        now: MonoNanos,
    ) -> bool {
        if cause {
            self.since = Some(now);
        } else if let Some(since) = self.since {
            let cleared = match self.clear {
                Clear::Released => true,
                // An acknowledgement from before, or from a broken clock, lifts nothing.
                Clear::Acknowledged => {
                    acknowledged.is_some_and(|at| at >= since && age(at, now).is_some())
                }
            };
            if cleared && rests {
                self.since = None;
            }
        }
        self.since.is_some()
    }
}

/// How old a stamp is; `None` when it lies ahead by more than [`STAMP_LEAD`].
pub(crate) fn age(at: MonoNanos, now: MonoNanos) -> Option<Duration> {
    now.since(at).or_else(|| (at.since(now)? <= STAMP_LEAD).then_some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Twist;

    const SECOND: u64 = 1_000_000_000;

    fn wish(at: u64, until: u64) -> Wish {
        let command = Twist::new(0.5, 0.0).into();
        Wish { at: MonoNanos(at), command, until: MonoNanos(until) }
    }

    fn charge(wishes: &Wishes) -> Charge {
        let (now, oldest) = (MonoNanos(10 * SECOND), Duration::from_millis(300));
        arbitrate(wishes, &Grants::ALL, wishes.emergency_stop, now, oldest)
    }

    #[test]
    fn the_first_that_wishes_wins() {
        let fresh = Some(wish(10 * SECOND, 11 * SECOND));
        let all =
            Wishes { emergency_stop: true, operator: fresh, skill: fresh, ..Wishes::default() };
        assert_eq!(charge(&all).source(), Source::EmergencyStop);
        assert_eq!(charge(&Wishes { emergency_stop: false, ..all }).source(), Source::Operator);
        let skill = Wishes { skill: fresh, ..Wishes::default() };
        assert_eq!(charge(&skill).source(), Source::Skill);
        assert_eq!(charge(&Wishes::default()), Charge::Idle);
    }

    #[test]
    fn a_lease_that_has_ended_gives_way_and_a_silent_one_does_not() {
        let skill = Some(wish(10 * SECOND, 11 * SECOND));
        let ended = Some(wish(10 * SECOND, 10 * SECOND));
        let silent = Some(wish(9 * SECOND, 11 * SECOND));
        let with = |operator| charge(&Wishes { operator, skill, ..Wishes::default() });
        assert!(matches!(with(ended), Charge::Fresh(Source::Skill, _)));
        assert!(matches!(with(silent), Charge::Stale(Source::Operator, _)));
    }

    #[test]
    fn a_wish_from_the_future_is_stale_unless_it_is_only_the_order_of_reading() {
        let ahead = |nanos| Wishes {
            skill: Some(wish(10 * SECOND + nanos, 12 * SECOND)),
            ..Wishes::default()
        };
        assert!(matches!(charge(&ahead(1_000)), Charge::Fresh(..)));
        assert!(matches!(charge(&ahead(SECOND)), Charge::Stale(..)));
    }

    #[test]
    fn a_grant_ends_by_itself_and_what_was_not_granted_is_denied() {
        let skill = Some(wish(10 * SECOND, 11 * SECOND));
        let wishes = Wishes { skill, ..Wishes::default() };
        let with = |grants| {
            arbitrate(&wishes, &grants, false, MonoNanos(10 * SECOND), Duration::from_millis(300))
        };
        let until = |at| Grants { skill_until: MonoNanos(at), ..Grants::NONE };
        assert!(matches!(with(until(10 * SECOND + 1)), Charge::Fresh(Source::Skill, _)));
        assert!(matches!(with(until(10 * SECOND)), Charge::Denied(Source::Skill, _)));
        assert!(matches!(with(Grants::default()), Charge::Denied(Source::Skill, _)));
    }

    #[test]
    fn a_latch_clears_only_on_its_condition() {
        let at = |seconds: u64| MonoNanos(seconds * SECOND);
        let mut latch = Latch::new(Clear::Acknowledged);
        assert!(!latch.holds(false, Some(at(1)), true, at(1)));
        assert!(latch.holds(true, None, true, at(2)));
        assert!(latch.holds(false, None, true, at(3)), "nobody said so");
        assert!(latch.holds(false, Some(at(1)), true, at(4)), "said before the cause");
        assert!(latch.holds(false, Some(at(90)), true, at(4)), "said in the future");
        assert!(latch.holds(false, Some(at(5)), false, at(5)), "still moving");
        assert!(latch.holds(true, Some(at(5)), true, at(6)), "the cause is back");
        assert!(latch.holds(false, Some(at(5)), true, at(7)), "said before it came back");
        assert!(!latch.holds(false, Some(at(8)), true, at(8)));
        let mut latch = Latch::new(Clear::Released);
        assert!(latch.holds(true, None, true, at(2)));
        assert!(!latch.holds(false, None, true, at(3)));
    }
}
