//! What a driver was called with: times that never go back, and ticks that are written once.

use super::{LONGEST_CATCH_UP, STEP};
use crate::robot::HalError;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Calls {
    clock: Option<Clock>,
    last_tick: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    /// The latest call.
    called: MonoNanos,
    /// The world stands here, at most one step behind once it has caught up.
    world: MonoNanos,
}

impl Calls {
    /// Takes the time of a call. What lies between the world and it is to be simulated, step by
    /// step; the world is already past what is given back, a pause too long for that.
    pub(super) fn at(&mut self, now: MonoNanos) -> Result<Option<Duration>, HalError> {
        let mut clock = self.clock.unwrap_or(Clock { called: now, world: now });
        if now < clock.called {
            return Err(HalError::Clock(clock.called.0 - now.0));
        }
        clock.called = now;
        let behind = now.since(clock.world).unwrap_or_default();
        let skipped = behind.checked_sub(LONGEST_CATCH_UP);
        clock.world = clock.world.plus(skipped.unwrap_or_default());
        self.clock = Some(clock);
        Ok(skipped)
    }

    /// Moves the world by one step, unless that would be past the latest call; gives its end.
    pub(super) fn step(&mut self) -> Option<MonoNanos> {
        let clock = self.clock.as_mut()?;
        let end = clock.world.plus(STEP);
        if end > clock.called {
            return None;
        }
        clock.world = end;
        Some(end)
    }

    /// The latest call; `now` is the first.
    pub(super) fn latest(&self, now: MonoNanos) -> MonoNanos {
        self.clock.map_or(now, |clock| clock.called)
    }

    /// Where the world stands.
    pub(super) fn world(&self) -> MonoNanos {
        self.clock.map_or(MonoNanos(0), |clock| clock.world)
    }

    /// Whether a tick may be written.
    pub(super) const fn check_tick(&self, tick: u64) -> Result<(), HalError> {
        match self.last_tick {
            Some(last) if tick <= last => Err(HalError::Tick { found: tick, last }),
            _ => Ok(()),
        }
    }

    /// From now on this tick is written.
    pub(super) const fn wrote(&mut self, tick: u64) {
        self.last_tick = Some(tick);
    }
}
