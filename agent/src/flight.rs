//! The flight recorder's thread: it takes what the control thread hands over and writes dumps.

use crate::clock;
use crate::recording;
use nooterra_blackbox::JournalHandle;
use nooterra_blackbox::flight::{
    FlightOptions, FlightQueue, FlightState, FlightTriggers, Recorder, recorder,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::error;

/// Between two steps: a tenth of what its queue holds at the most.
const EVERY: Duration = Duration::from_millis(100);

/// What the configuration says, for a control loop of so many ticks in a second; `None` when
/// nothing is recorded.
pub(crate) fn options(config: &recording::Flight, rate_hz: u32) -> Option<FlightOptions> {
    (!config.triggers.is_empty()).then(|| FlightOptions {
        after: Duration::from_secs(config.after_s.into()),
        before: Duration::from_secs(config.before_s.into()),
        bytes_per_hour: u64::from(config.mib_per_hour) << 20,
        bytes_per_s: u64::from(config.kib_per_s) << 10,
        rate_hz,
        triggers: config.triggers.clone(),
    })
}

/// The running recorder.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) triggers: FlightTriggers,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<FlightState>,
    stop: AtomicBool,
}

impl Flight {
    /// Starts recording; the queue is for the control loop.
    pub(crate) fn start(
        options: FlightOptions,
        journal: JournalHandle,
    ) -> std::io::Result<(Self, FlightQueue)> {
        let (recorder, queue, triggers) = recorder(options);
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("flight".to_owned()).spawn(move || {
            let run = AssertUnwindSafe(|| run(recorder, journal, &ours));
            if catch_unwind(run).is_err() {
                // Whatever else is recorded goes on; the robot does not depend on it.
                error!("the flight recorder panicked; nothing more is recorded by it");
            }
        })?;
        Ok((Self { triggers, shared, thread }, queue))
    }

    /// How it stands.
    pub(crate) fn watch(&self) -> impl Fn() -> FlightState + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || *shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the rest of a dump and ends.
    pub(crate) fn end(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // It catches its own panics.
        let _ = self.thread.join();
    }
}

fn run(mut recorder: Recorder, mut journal: JournalHandle, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        recorder.step(clock::mono(), &mut journal);
        *shared.state.lock().unwrap_or_else(PoisonError::into_inner) = recorder.state();
        std::thread::park_timeout(EVERY);
    }
    recorder.finish(clock::mono(), &mut journal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_the_configuration_is_a_minute_and_every_trigger() {
        let config = recording::Flight::default();
        assert_eq!(options(&config, 50), Some(FlightOptions::default()));
        let off = recording::Flight { triggers: Vec::new(), ..config };
        assert_eq!(options(&off, 50), None);
    }
}
