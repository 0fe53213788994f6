//! Time for the job runner, so that a test can supply its own.

use crate::clock;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// A clock to wait by.
pub trait Pace: Send {
    /// Now.
    fn now(&self) -> MonoNanos;

    /// Comes back when `span` has passed.
    fn sleep(&self, span: Duration);
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemPace;

impl Pace for SystemPace {
    fn now(&self) -> MonoNanos {
        clock::mono()
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}
