//! Writing the part of OMG CDR that ROS 2 messages are in: plain, little endian.

/// One message, field by field.
#[derive(Debug)]
pub(super) struct Cdr {
    bytes: Vec<u8>,
}

/// The header of a message: plain CDR, little endian. Alignment counts from behind it.
const HEADER: [u8; 4] = [0, 1, 0, 0];

impl Cdr {
    pub(super) fn new() -> Self {
        Self { bytes: HEADER.to_vec() }
    }

    /// The message.
    pub(super) fn end(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn u8(self, number: u8) -> Self {
        self.put([number])
    }

    pub(super) fn u32(self, number: u32) -> Self {
        self.put(number.to_le_bytes())
    }

    pub(super) fn u64(self, number: u64) -> Self {
        self.put(number.to_le_bytes())
    }

    pub(super) fn f64(self, number: f64) -> Self {
        self.put(number.to_le_bytes())
    }

    pub(super) fn f64s(self, numbers: &[f64]) -> Self {
        numbers.iter().fold(self, |cdr, number| cdr.f64(*number))
    }

    /// Any number of them, with how many there are before them.
    pub(super) fn sequence(self, numbers: &[f64]) -> Self {
        // No record is near 4 GiB.
        self.u32(u32::try_from(numbers.len()).unwrap_or(u32::MAX)).f64s(numbers)
    }

    /// A string with its length before it and a zero behind it, which counts.
    pub(super) fn text(self, text: &str) -> Self {
        // A zero inside would end it early for a reader in C.
        let text: String = text.chars().filter(|c| *c != '\0').collect();
        // No record is near 4 GiB.
        let mut cdr = self.u32(u32::try_from(text.len() + 1).unwrap_or(u32::MAX));
        cdr.bytes.extend_from_slice(text.as_bytes());
        cdr.bytes.push(0);
        cdr
    }

    /// `std_msgs/Header`, of a moment in nanoseconds since 1970.
    pub(super) fn header(self, at_ns: u64, frame: &str) -> Self {
        let seconds = u32::try_from(at_ns / 1_000_000_000).unwrap_or(u32::MAX);
        let nanos = u32::try_from(at_ns % 1_000_000_000).unwrap_or_default();
        self.u32(seconds).u32(nanos).text(frame)
    }

    fn put<const N: usize>(mut self, little: [u8; N]) -> Self {
        while !(self.bytes.len() - HEADER.len()).is_multiple_of(N) {
            self.bytes.push(0);
        }
        self.bytes.extend_from_slice(&little);
        self
    }
}
