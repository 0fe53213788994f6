//! Suspended state as a row of numbers: little enough to write by hand, and checked when it is
//! read, because it may come from another version of the skill.
//!
//! ```
//! use nooterra_skill::state::{Reader, Writer};
//! let state = Writer::new(1).u64(7).f64(0.5).end();
//! let mut read = Reader::new(&state, 1).unwrap();
//! assert_eq!((read.u64(), read.f64(), read.end()), (Ok(7), Ok(0.5), Ok(())));
//! assert!(Reader::new(&state, 2).is_err());
//! ```

/// Writes a state.
#[derive(Clone, Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins with the form's number: raise it when you change what you write.
    #[must_use]
    pub fn new(form: u8) -> Self {
        Self(vec![form])
    }

    /// A whole number.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Any number; comes back bit for bit.
    #[must_use]
    pub fn f64(self, value: f64) -> Self {
        self.u64(value.to_bits())
    }

    /// The state.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what a [`Writer`] wrote, in the same order.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks the form's number.
    ///
    /// # Errors
    /// Where it is another: the state is of another version of the skill.
    pub fn new(state: &'a [u8], form: u8) -> Result<Self, String> {
        match state.split_first() {
            Some((found, rest)) if *found == form => Ok(Self(rest)),
            _ => Err("the state is of another version of this skill".to_owned()),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// Where there is none left.
    pub fn u64(&mut self) -> Result<u64, String> {
        let (value, rest) =
            self.0.split_first_chunk().ok_or("the state ends too early".to_owned())?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*value))
    }

    /// Any number.
    ///
    /// # Errors
    /// Where there is none left.
    pub fn f64(&mut self) -> Result<f64, String> {
        self.u64().map(f64::from_bits)
    }

    /// All of it was read.
    ///
    /// # Errors
    /// Where something is left.
    pub fn end(self) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("the state holds more than was read".to_owned())
        }
    }
}
