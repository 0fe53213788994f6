//! How long the robot has been in motion, and whether it has rested since.

use nooterra_protocol::policy::MotionLimit;
use nooterra_protocol::time::MonoNanos;

/// The owner's limit, and since when the robot moves or rests.
#[derive(Debug)]
pub(crate) struct Endurance {
    limit: Option<MotionLimit>,
    moving_since: Option<MonoNanos>,
    resting_since: Option<MonoNanos>,
}

impl Endurance {
    pub(crate) const fn new(limit: Option<MotionLimit>) -> Self {
        Self { limit, moving_since: None, resting_since: None }
    }

    /// Takes note of a tick. Only a rest that is long enough ends a motion.
    pub(crate) fn note(&mut self, now: MonoNanos, rests: bool) {
        let Some(limit) = self.limit else {
            return;
        };
        if !rests {
            self.moving_since.get_or_insert(now);
            self.resting_since = None;
            return;
        }
        let since = *self.resting_since.get_or_insert(now);
        if seconds(since, now) >= limit.rest_s {
            self.moving_since = None;
        }
    }

    /// The limit in seconds, once it has moved for longer and not rested since.
    pub(crate) fn exhausted(&self, now: MonoNanos) -> Option<f64> {
        let limit = self.limit?;
        (seconds(self.moving_since?, now) > limit.max_s).then_some(limit.max_s)
    }
}

fn seconds(from: MonoNanos, to: MonoNanos) -> f64 {
    to.since(from).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_pause_is_no_rest() {
        let at = |seconds: u64| MonoNanos(seconds * 1_000_000_000);
        let mut endurance = Endurance::new(Some(MotionLimit { max_s: 10.0, rest_s: 5.0 }));
        endurance.note(at(1), false);
        endurance.note(at(6), true);
        endurance.note(at(8), false);
        assert_eq!(endurance.exhausted(at(11)), None);
        assert_eq!(endurance.exhausted(at(12)), Some(10.0));
        endurance.note(at(12), true);
        endurance.note(at(16), true);
        assert_eq!(endurance.exhausted(at(16)), Some(10.0));
        endurance.note(at(17), true);
        assert_eq!(endurance.exhausted(at(18)), None);
    }
}
