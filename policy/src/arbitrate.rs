//! Whose wish counts.
//!
//! E-stop, then operator, then skill, then nobody: the first that wishes, wins. A lease that
//! has ended is no wish. A wish whose lease still holds but that has grown too old keeps its
//! place and brings the robot to rest: to pass the wheel to a lower source while a higher one
//! has merely fallen silent would be a surprise to both.

use nooterra_protocol::command::Source;
use nooterra_protocol::geometry::Twist;
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
    /// Body twist.
    pub twist: Twist,
    /// From this moment it is no wish any more.
    pub until: MonoNanos,
}

/// What all sources would like in this tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wishes {
    /// A stop that nothing overrules, from software or from a button.
    pub emergency_stop: bool,
    /// Of the person who holds the lease.
    pub operator: Option<Wish>,
    /// Of the skill of the running job.
    pub skill: Option<Wish>,
}

/// Who is in charge, and what that means for this tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Charge {
    /// The stop is pressed.
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
            Self::Fresh(source, _) | Self::Stale(source, _) => *source,
            Self::Idle => Source::Idle,
        }
    }

    /// What it wishes; standing still where it wishes nothing.
    #[must_use]
    pub const fn asked(&self) -> Twist {
        match self {
            Self::EmergencyStop | Self::Idle => Twist::ZERO,
            Self::Fresh(_, wish) | Self::Stale(_, wish) => wish.twist,
        }
    }
}

/// Puts one source in charge.
#[must_use]
pub fn arbitrate(wishes: &Wishes, now: MonoNanos, oldest: Duration) -> Charge {
    if wishes.emergency_stop {
        return Charge::EmergencyStop;
    }
    for (source, wish) in [(Source::Operator, wishes.operator), (Source::Skill, wishes.skill)] {
        match wish {
            Some(wish) if now < wish.until => {
                return match age(wish.at, now) {
                    Some(age) if age <= oldest => Charge::Fresh(source, wish),
                    _ => Charge::Stale(source, wish),
                };
            }
            _ => {}
        }
    }
    Charge::Idle
}

/// How old a stamp is; `None` when it lies ahead by more than [`STAMP_LEAD`].
pub(crate) fn age(at: MonoNanos, now: MonoNanos) -> Option<Duration> {
    now.since(at).or_else(|| (at.since(now)? <= STAMP_LEAD).then_some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn wish(at: u64, until: u64) -> Wish {
        Wish { at: MonoNanos(at), twist: Twist::new(0.5, 0.0), until: MonoNanos(until) }
    }

    fn charge(wishes: &Wishes) -> Charge {
        arbitrate(wishes, MonoNanos(10 * SECOND), Duration::from_millis(300))
    }

    #[test]
    fn the_first_that_wishes_wins() {
        let fresh = Some(wish(10 * SECOND, 11 * SECOND));
        let all = Wishes { emergency_stop: true, operator: fresh, skill: fresh };
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
        let with = |operator| charge(&Wishes { emergency_stop: false, operator, skill });
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
}
