//! SIGTERM and SIGINT, caught before anything is read, written or started.
//!
//! A start takes a while: a long journal is checked, skills are compiled. Whoever ends the agent
//! meanwhile, as systemd does that is told to stop what it has just started, must find it ending
//! in order, with its journal closed, and not killed by the signal's default.

use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longer than the runtime needs to look at what has come: its clock's smallest step.
const LOOK: Duration = Duration::from_millis(1);

/// Whether the agent was asked to end.
#[derive(Debug)]
pub struct Ending {
    asked: bool,
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    /// Catches the signals from now on, and gives the runtime that carries them.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<(Runtime, Self)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(inside);
        Ok((runtime, Self { asked: false, interrupt, terminate }))
    }

    /// Waits for it; at once where it was asked before.
    pub(crate) async fn asked(&mut self) {
        if self.asked {
            return;
        }
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.asked = true;
    }

    /// Looks whether it was asked, between two steps of the start.
    pub(crate) fn is_asked(&mut self, runtime: &Runtime) -> bool {
        // The wait makes the runtime look at what came; what came is then taken first.
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.asked() => true,
                () = tokio::time::sleep(LOOK) => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal as Sent, raise};

    #[test]
    fn a_signal_between_two_looks_is_seen_at_the_next_and_at_each_after_it() {
        // SIGWINCH's default is to be ignored, so that no other test can be hit.
        let (runtime, mut ending) = Ending::listen().unwrap();
        let inside = runtime.enter();
        ending.terminate = signal(SignalKind::window_change()).unwrap();
        drop(inside);
        assert!(!ending.is_asked(&runtime));
        raise(Sent::SIGWINCH).unwrap();
        assert!(ending.is_asked(&runtime));
        assert!(ending.is_asked(&runtime));
        runtime.block_on(ending.asked());
    }
}
