//! A stop input on a line of the Linux GPIO character device.
//!
//! Wire a normally closed contact: between the line and the supply where pressed is low, between
//! the line and ground where pressed is high. The line's bias is asked to pull towards pressed,
//! so that a cut wire, a pulled plug and an opened contact are the same: a stop. A board that
//! has no bias of its own needs a resistor that does this.
//!
//! The level is read each tick, and edges between two ticks are not lost: the kernel keeps them.
//!
//! It has not been run on hardware yet. Its errors (no such chip, no chip, no permission) are
//! shown by tests against the system; the line's behaviour by tests with a double.

use crate::stop_input::{StopInput, StopReading};
use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Value};
use std::path::{Path, PathBuf};

/// Edges that are looked at in one tick. More than that is a contact that chatters: pressed.
const EDGES: usize = 16;

/// Which level means pressed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pressed {
    /// The contact ties the line to ground; open, the bias pulls it up.
    High,
    /// The contact ties the line to the supply; open, the bias pulls it down.
    #[default]
    Low,
}

/// Why a line cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "line {line} of {}: {source}; the stop input counts as pressed until it can be read: see \
     `gpiodetect`, the device's group, and DeviceAllow= of the unit", chip.display()
)]
pub struct GpioError {
    chip: PathBuf,
    line: u32,
    source: gpiocdev::Error,
}

/// A line as it is needed here. The kernel's is [`Request`]; tests have a double.
trait Line: Send {
    /// Whether the level says pressed.
    fn is_pressed(&mut self) -> Result<bool, gpiocdev::Error>;

    /// The next edge since the last call, without waiting: whether it was one to pressed.
    fn edge(&mut self) -> Result<Option<bool>, gpiocdev::Error>;
}

struct KernelLine {
    line: u32,
    request: Request,
}

impl Line for KernelLine {
    fn is_pressed(&mut self) -> Result<bool, gpiocdev::Error> {
        Ok(self.request.value(self.line)? == Value::Active)
    }

    fn edge(&mut self) -> Result<Option<bool>, gpiocdev::Error> {
        if !self.request.has_edge_event()? {
            return Ok(None);
        }
        Ok(Some(self.request.read_edge_event()?.kind == EdgeKind::Rising))
    }
}

/// A stop input on one line. Without the line it is pressed.
pub struct GpioStop {
    line: Option<Box<dyn Line>>,
    name: String,
}

impl std::fmt::Debug for GpioStop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpioStop").field("name", &self.name).finish_non_exhaustive()
    }
}

impl GpioStop {
    /// Takes a line of a chip, such as 17 of `/dev/gpiochip0`.
    ///
    /// # Errors
    /// [`GpioError`]: no such file, not a chip, no permission, no such line, or taken.
    pub fn open(chip: &Path, line: u32, pressed: Pressed) -> Result<Self, GpioError> {
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer("nooterra-stop").with_line(line).as_input();
        match pressed {
            Pressed::High => builder.as_active_high().with_bias(Bias::PullUp),
            Pressed::Low => builder.as_active_low().with_bias(Bias::PullDown),
        };
        let request = builder
            .with_edge_detection(EdgeDetection::BothEdges)
            .request()
            .map_err(|source| GpioError { chip: chip.to_owned(), line, source })?;
        let name = name(chip, line);
        Ok(Self { line: Some(Box::new(KernelLine { line, request })), name })
    }

    /// The input where [`GpioStop::open`] failed: pressed for good.
    #[must_use]
    pub fn absent(chip: &Path, line: u32) -> Self {
        Self { line: None, name: name(chip, line) }
    }
}

impl StopInput for GpioStop {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn read(&mut self) -> StopReading {
        match self.line.as_mut().map(|line| pressed(&mut **line)) {
            Some(Ok(false)) => StopReading::Released,
            Some(Ok(true)) => StopReading::Pressed,
            Some(Err(_)) | None => StopReading::Faulty,
        }
    }
}

fn name(chip: &Path, line: u32) -> String {
    format!("line {line} of {}", chip.display())
}

/// Pressed now, or for a moment since the last call.
fn pressed(line: &mut dyn Line) -> Result<bool, gpiocdev::Error> {
    let mut was = false;
    for edges in 0.. {
        if edges == EDGES {
            return Ok(true);
        }
        match line.edge()? {
            None => break,
            Some(pressed) => was |= pressed,
        }
    }
    // The level last: what an edge said may be over.
    Ok(line.is_pressed()? || was)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io;

    /// A test double of a line; there is no GPIO where the tests run.
    #[derive(Default)]
    struct DoubleLine {
        edges: VecDeque<bool>,
        gone: bool,
        level: bool,
    }

    impl Line for DoubleLine {
        fn is_pressed(&mut self) -> Result<bool, gpiocdev::Error> {
            let lost = || io::Error::from_raw_os_error(19).into();
            if self.gone { Err(lost()) } else { Ok(self.level) }
        }

        fn edge(&mut self) -> Result<Option<bool>, gpiocdev::Error> {
            Ok(self.edges.pop_front())
        }
    }

    fn read(line: DoubleLine) -> StopReading {
        GpioStop { line: Some(Box::new(line)), name: "a double".to_owned() }.read()
    }

    #[test]
    fn the_level_counts_and_so_does_an_edge_between_two_ticks() {
        let double = DoubleLine::default;
        assert_eq!(read(double()), StopReading::Released);
        assert_eq!(read(DoubleLine { level: true, ..double() }), StopReading::Pressed);
        let tapped = DoubleLine { edges: [true, false].into(), ..double() };
        assert_eq!(read(tapped), StopReading::Pressed, "it was pressed for a moment");
        let released = DoubleLine { edges: [false].into(), ..double() };
        assert_eq!(read(released), StopReading::Released);
        let chatter = DoubleLine { edges: [false; 64].into(), ..double() };
        assert_eq!(read(chatter), StopReading::Pressed, "a contact that chatters");
    }

    #[test]
    fn a_line_that_is_lost_or_never_was_there_stops() {
        let lost = DoubleLine { gone: true, ..DoubleLine::default() };
        assert_eq!(read(lost), StopReading::Faulty);
        let mut absent = GpioStop::absent(Path::new("/dev/gpiochip0"), 17);
        assert_eq!(absent.read(), StopReading::Faulty);
        assert_eq!(absent.name(), "line 17 of /dev/gpiochip0");
    }

    #[test]
    fn what_is_no_chip_is_refused_by_the_system_with_its_name() {
        let error = |chip: &str| {
            let refused = GpioStop::open(Path::new(chip), 17, Pressed::Low);
            refused.expect_err("there is no such chip").to_string()
        };
        for chip in ["/dev/there-is-no-gpiochip", "/dev/null", "/"] {
            let said = error(chip);
            assert!(said.starts_with(&format!("line 17 of {chip}: ")), "{said}");
            assert!(said.contains("counts as pressed"), "{said}");
        }
    }
}
