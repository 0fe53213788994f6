//! A stop that a person presses on the robot itself: a button or a relay's contact.
//!
//! The contract is one reading a tick. Whatever is not surely released is pressed: a contact
//! that cannot be read, a chip that is missing and a wire that is open all stop. The rated stop
//! below us does not depend on any of this; here it is made known to the gate, so that nothing
//! begins to move when the power of the drives comes back.

use nooterra_protocol::time::MonoNanos;

/// A contact that stops the robot while it is open.
pub trait StopInput: Send {
    /// What it is, for the log.
    fn name(&self) -> String;

    /// Reads it. Called once a tick, from one thread; waits for nothing.
    fn read(&mut self) -> StopReading;
}

/// What one reading says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopReading {
    /// It cannot be read, which counts as pressed.
    Faulty,
    /// It is pressed, or was for a moment since the last reading.
    Pressed,
    /// It is released.
    Released,
}

impl StopReading {
    /// The robot must stop.
    #[must_use]
    pub const fn stops(self) -> bool {
        !matches!(self, Self::Released)
    }
}

/// Keeps a stop in force until the input is released and a person has said, after that, that it
/// may be lifted.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopLatch {
    /// When the input last stopped.
    since: Option<MonoNanos>,
}

impl StopLatch {
    /// Takes one reading, and tells whether the stop is in force. `acknowledged` is when a
    /// permitted person last said that stops may be lifted; what was said before the input was
    /// released, or in the future, lifts nothing.
    pub fn holds(
        &mut self,
        reading: StopReading,
        acknowledged: Option<MonoNanos>,
        now: MonoNanos,
    ) -> bool {
        if reading.stops() {
            self.since = Some(now);
        } else if let (Some(since), Some(at)) = (self.since, acknowledged)
            && at > since
            && at <= now
        {
            self.since = None;
        }
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_lifted_only_by_release_and_then_a_persons_word() {
        let at = MonoNanos;
        let (mut latch, released) = (StopLatch::default(), StopReading::Released);
        assert!(!latch.holds(released, None, at(1)));
        assert!(latch.holds(StopReading::Pressed, None, at(2)));
        assert!(latch.holds(released, None, at(3)), "nobody said so");
        assert!(latch.holds(released, Some(at(2)), at(4)), "said while it was pressed");
        assert!(latch.holds(released, Some(at(9)), at(4)), "said in the future");
        assert!(latch.holds(StopReading::Faulty, Some(at(5)), at(5)), "it cannot be read");
        assert!(latch.holds(released, Some(at(5)), at(6)));
        assert!(!latch.holds(released, Some(at(7)), at(7)));
        assert!(latch.holds(StopReading::Pressed, Some(at(7)), at(8)), "an old word is used up");
    }

    #[test]
    fn whatever_is_not_surely_released_stops() {
        assert!(StopReading::Faulty.stops() && StopReading::Pressed.stops());
        assert!(!StopReading::Released.stops());
    }
}
