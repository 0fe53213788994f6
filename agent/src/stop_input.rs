//! The configured stop input: opened at start, latched in the control loop, and remembered as a
//! software emergency stop, which outlives a restart and which only a permitted release lifts.

use crate::control::{Desk, View};
use nooterra_hal::gpio::{GpioError, GpioStop, Pressed};
use nooterra_hal::{StopInput, StopLatch, StopReading};
use nooterra_protocol::time::MonoNanos;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// How soon a press is made to outlive a restart; it stops within a tick.
const REMEMBERED_WITHIN: Duration = Duration::from_millis(100);

/// `[stop_input]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopInputConfig {
    /// The GPIO character device.
    pub chip: PathBuf,
    /// The line's offset on the chip.
    pub line: u32,
    /// The level that means pressed.
    #[serde(default)]
    pub pressed: PressedLevel,
}

/// A level of the line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum PressedLevel {
    /// A closed contact to ground.
    High,
    /// A closed contact to the supply.
    #[default]
    Low,
}

impl StopInputConfig {
    /// Takes the line.
    ///
    /// # Errors
    /// [`GpioError`].
    pub fn open(&self) -> Result<GpioStop, GpioError> {
        let pressed = match self.pressed {
            PressedLevel::High => Pressed::High,
            PressedLevel::Low => Pressed::Low,
        };
        GpioStop::open(&self.chip, self.line, pressed)
    }

    /// Takes the line; where that fails the robot stands until the agent is started again with
    /// the line in order.
    #[must_use]
    pub fn open_or_pressed(&self) -> Box<dyn StopInput> {
        match self.open() {
            Ok(input) => Box::new(input),
            Err(error) => {
                error!(%error, "the stop input cannot be had; the robot stands");
                Box::new(GpioStop::absent(&self.chip, self.line))
            }
        }
    }
}

/// An input and its latch, for the control loop.
pub(crate) struct Watched {
    input: Box<dyn StopInput>,
    last: StopReading,
    latch: StopLatch,
}

impl Watched {
    pub(crate) fn new(input: Box<dyn StopInput>) -> Self {
        Self { input, last: StopReading::Released, latch: StopLatch::default() }
    }

    /// Whether its stop is in force. What it reads is said when it changes.
    pub(crate) fn stops(
        &mut self,
        view: &View,
        acknowledged: Option<MonoNanos>,
        now: MonoNanos,
    ) -> bool {
        let reading = self.input.read();
        view.see_stop_input(reading.stops());
        if reading != self.last {
            self.last = reading;
            match reading {
                StopReading::Faulty => error!(input = self.input.name(), "cannot be read: stop"),
                StopReading::Pressed => warn!(input = self.input.name(), "pressed: stop"),
                StopReading::Released => warn!(input = self.input.name(), "released"),
            }
        }
        self.latch.holds(reading, acknowledged, now)
    }
}

/// Makes the input's stop a software emergency stop, until the runtime ends.
pub(crate) async fn remember(desk: Arc<Desk>, view: Arc<View>) {
    let mut every = tokio::time::interval(REMEMBERED_WITHIN);
    let mut known = 0;
    loop {
        every.tick().await;
        let (presses, pressed) = view.stop_input();
        // Also one that is over by now; but not one that was lifted since.
        if (pressed || presses != known) && !desk.emergency_stop() {
            desk.press_emergency_stop();
        }
        known = presses;
    }
}
