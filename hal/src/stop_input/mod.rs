//! A stop button, relay or safety output that is wired to this computer, beside the robot's own
//! stop and never instead of it.
//!
//! # Vocabulary
//! The input is *pressed* or *released*. It is wired so that whatever fails reads as pressed: a
//! contact that is closed while it is released (normally closed), a line that its bias pulls to
//! the pressed level when the wire is open. The *level* of a line is its voltage, high or low.
//!
//! # What it never does
//! It stops nothing by itself: who reads it hands what it says to the gate. It does not debounce,
//! because a press of a millisecond is a press, and it remembers none: what latches is above.

#[cfg(feature = "gpio")]
mod gpio;

#[cfg(feature = "gpio")]
pub use gpio::{Bias, GpioInput, GpioLine, Level};

use std::path::PathBuf;

/// A stop input as its reader uses it.
///
/// One thread reads it, many times a second, and never the control thread: behind an expander
/// on a bus a reading takes milliseconds, and on a bus that hangs it takes for ever.
pub trait StopInput: Send {
    /// Whether it is pressed now.
    ///
    /// # Errors
    /// [`StopInputError`] when that cannot be said, which its reader takes for pressed.
    fn is_pressed(&mut self) -> Result<bool, StopInputError>;
}

/// Why a stop input cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StopInputError {
    /// There is no such file: another chip, or its driver is not loaded.
    #[error("{}: there is no such GPIO chip; `gpiodetect` lists those that there are", path.display())]
    Absent {
        /// The configured chip.
        path: PathBuf,
    },
    /// The system forbids it.
    #[error(
        "{}: not permitted; give the service DeviceAllow={} rw and the device's group by SupplementaryGroups=",
        path.display(), path.display()
    )]
    Denied {
        /// The configured chip.
        path: PathBuf,
    },
    /// The kernel does not hand out the line: it has no such number, or another program or
    /// driver holds it.
    #[error("{} line {line}: {what}; `gpioinfo` shows the lines and who holds them", path.display())]
    Line {
        /// Its number on the chip.
        line: u32,
        /// The configured chip.
        path: PathBuf,
        /// What the kernel says.
        what: String,
    },
    /// The file is something else.
    #[error("{} is no GPIO chip; write one such as /dev/gpiochip0", path.display())]
    NotChip {
        /// The configured chip.
        path: PathBuf,
    },
    /// It was open, and cannot be read: the chip was unplugged, or its driver removed.
    #[error("the stop input cannot be read: {0}")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
