//! One line of a Linux GPIO character device (`/dev/gpiochipN`, uAPI v2: Linux 5.10 and later).
//!
//! Its paths that fail are tested; a line that answers has not been: no machine of ours has one.

use super::{StopInput, StopInputError};
use gpiocdev::line::{Bias as Pull, Offset, Value};
use gpiocdev::{Error, Request};
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What the kernel shows as the line's user.
const CONSUMER: &str = "nooterra-stop-input";

/// Which line, and how it is wired.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct GpioLine {
    /// What holds an open wire at the pressed level.
    #[serde(default)]
    pub bias: Bias,
    /// The device, such as `/dev/gpiochip0`.
    pub chip: PathBuf,
    /// The line's number on the chip.
    pub line: u32,
    /// The level that means pressed.
    #[serde(default)]
    pub pressed: Level,
}

/// A voltage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Near the supply. Pressed for a normally closed contact to ground.
    High,
    /// Near ground. Pressed for a normally closed contact to the supply.
    #[default]
    Low,
}

/// What pulls a line whose wire is open.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// A resistor on the board, which must pull to the pressed level.
    External,
    /// The chip's own resistor, switched to the pressed level. The kernel does not complain about
    /// a chip that has none.
    #[default]
    Internal,
}

/// An open line. The kernel gives it to nobody else until this is dropped.
#[derive(Debug)]
pub struct GpioInput {
    line: Offset,
    pressed: Value,
    request: Request,
}

impl GpioInput {
    /// Takes the line from the kernel.
    ///
    /// # Errors
    /// [`StopInputError`], except `Unreadable`.
    pub fn open(config: &GpioLine) -> Result<Self, StopInputError> {
        let GpioLine { bias, chip, line, pressed } = config;
        let mut request = Request::builder();
        request.on_chip(chip).with_consumer(CONSUMER).with_line(*line).as_input();
        if *bias == Bias::Internal {
            request.with_bias(match pressed {
                Level::High => Pull::PullUp,
                Level::Low => Pull::PullDown,
            });
        }
        let request = request.request().map_err(|error| refused(error, chip, *line))?;
        let pressed = match pressed {
            Level::High => Value::Active,
            Level::Low => Value::Inactive,
        };
        Ok(Self { line: *line, pressed, request })
    }
}

impl StopInput for GpioInput {
    fn is_pressed(&mut self) -> Result<bool, StopInputError> {
        let value = self.request.value(self.line);
        let value = value.map_err(|error| StopInputError::Unreadable(Box::new(error)))?;
        Ok(value == self.pressed)
    }
}

fn refused(error: Error, chip: &Path, line: Offset) -> StopInputError {
    let path = chip.to_owned();
    match error {
        Error::GpioChip(..) => StopInputError::NotChip { path },
        Error::Os(number) => match std::io::Error::from_raw_os_error(number.0).kind() {
            ErrorKind::NotFound => StopInputError::Absent { path },
            ErrorKind::PermissionDenied => StopInputError::Denied { path },
            _ => StopInputError::Line { line, path, what: number.to_string() },
        },
        other => StopInputError::Line { line, path, what: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Uid, setfsuid};
    use std::os::unix::fs::PermissionsExt as _;

    fn refusal(chip: &Path) -> String {
        let config =
            GpioLine { bias: Bias::Internal, chip: chip.to_owned(), line: 17, pressed: Level::Low };
        GpioInput::open(&config).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_chip_that_is_not_there_is_refused_and_the_way_to_find_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let found = refusal(&dir.path().join("gpiochip0"));
        assert!(found.contains("no such GPIO chip; `gpiodetect`"), "{found}");
    }

    #[test]
    fn a_file_or_a_device_that_is_no_chip_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gpiochip0");
        std::fs::write(&file, b"no chip").unwrap();
        for path in [&*file, dir.path(), Path::new("/dev/null")] {
            let found = refusal(path);
            assert!(found.contains("is no GPIO chip; write one"), "{}: {found}", path.display());
        }
    }

    #[test]
    fn a_chip_that_is_forbidden_says_what_the_service_needs() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::write(closed.join("gpiochip0"), b"").unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Of this thread only, and it is where root's right to look everywhere is taken off too.
        let found = std::thread::spawn(move || {
            setfsuid(Uid::from_raw(65_534));
            refusal(&closed.join("gpiochip0"))
        });
        let found = found.join().unwrap();
        assert!(found.contains("not permitted; give the service DeviceAllow="), "{found}");
    }

    #[test]
    fn by_default_an_open_wire_is_a_stop_whichever_level_means_pressed() {
        let config: GpioLine = toml::from_str("chip = \"/dev/gpiochip0\"\nline = 17").unwrap();
        assert_eq!((config.pressed, config.bias), (Level::Low, Bias::Internal));
        let wrong = toml::from_str::<GpioLine>("chip = \"/dev/gpiochip0\"\nline = -1");
        assert!(wrong.is_err());
        let unknown = toml::from_str::<GpioLine>("chip = \"a\"\nline = 1\nactive = \"low\"");
        assert!(unknown.unwrap_err().to_string().contains("unknown field `active`"));
    }
}
