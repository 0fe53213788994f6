//! The part of OMG CDR that ROS 2 messages are in: plain, little or big endian.

/// The header of a message: two bytes of representation, two of options. Alignment counts from
/// behind it.
const HEADER: usize = 4;

/// Why bytes are not the message that they should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum CdrError {
    /// They end before the message does.
    #[error("a message ends before its last field")]
    Ends,
    /// Not plain CDR.
    #[error("a message is in CDR representation {0}; plain CDR (0 or 1) is read")]
    Representation(u16),
    /// A string that is none.
    #[error("a message has a string that is not text")]
    Text,
}

/// Reads the fields of one message in order.
#[derive(Debug)]
pub(super) struct Cdr<'a> {
    at: usize,
    body: &'a [u8],
    is_little: bool,
}

impl<'a> Cdr<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, CdrError> {
        let (header, body) = bytes.split_at_checked(HEADER).ok_or(CdrError::Ends)?;
        let is_little = match u16::from_be_bytes([header[0], header[1]]) {
            0 => false,
            1 => true,
            other => return Err(CdrError::Representation(other)),
        };
        Ok(Self { at: 0, body, is_little })
    }

    pub(super) fn f64(&mut self) -> Result<f64, CdrError> {
        let bytes = self.aligned::<8>()?;
        Ok(if self.is_little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) })
    }

    pub(super) fn f64s<const N: usize>(&mut self) -> Result<[f64; N], CdrError> {
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = self.f64()?;
        }
        Ok(numbers)
    }

    pub(super) fn i32(&mut self) -> Result<i32, CdrError> {
        let bytes = self.aligned::<4>()?;
        Ok(if self.is_little { i32::from_le_bytes(bytes) } else { i32::from_be_bytes(bytes) })
    }

    pub(super) fn u32(&mut self) -> Result<u32, CdrError> {
        let bytes = self.aligned::<4>()?;
        Ok(if self.is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// A string with its length before it and a zero behind it, which counts.
    pub(super) fn text(&mut self) -> Result<&'a str, CdrError> {
        let length = usize::try_from(self.u32()?).map_err(|_| CdrError::Ends)?;
        let bytes = self.take(length)?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        std::str::from_utf8(bytes).map_err(|_| CdrError::Text)
    }

    fn aligned<const N: usize>(&mut self) -> Result<[u8; N], CdrError> {
        self.at = self.at.next_multiple_of(N);
        self.take(N)?.try_into().map_err(|_| CdrError::Ends)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CdrError> {
        let end = self.at.checked_add(count).ok_or(CdrError::Ends)?;
        let bytes = self.body.get(self.at..end).ok_or(CdrError::Ends)?;
        self.at = end;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_aligned_from_behind_the_header_in_either_order_of_bytes() {
        let little = b"\0\x01\0\0\x02\0\0\0a\0\0\0\0\0\0\0\0\0\xf0\x3f\x05\0\0\0";
        let mut cdr = Cdr::new(little).unwrap();
        assert_eq!(cdr.text(), Ok("a"));
        assert_eq!(cdr.f64().map(f64::to_bits), Ok(1.0_f64.to_bits()));
        assert_eq!(cdr.u32(), Ok(5));
        assert_eq!(cdr.u32(), Err(CdrError::Ends));
        let big = b"\0\0\0\0\xff\xff\xff\xfe\0\0\0\0\x3f\xf0\0\0\0\0\0\0";
        let mut cdr = Cdr::new(big).unwrap();
        assert_eq!(cdr.i32(), Ok(-2));
        assert_eq!(cdr.f64().map(f64::to_bits), Ok(1.0_f64.to_bits()));
    }

    #[test]
    fn a_length_beyond_the_end_and_another_representation_are_refused() {
        assert_eq!(Cdr::new(b"\0\x01\0").unwrap_err(), CdrError::Ends);
        assert_eq!(Cdr::new(b"\0\x03\0\0").unwrap_err(), CdrError::Representation(3));
        let mut cdr = Cdr::new(b"\0\x01\0\0\xff\xff\xff\xffab").unwrap();
        assert_eq!(cdr.text(), Err(CdrError::Ends));
        let mut cdr = Cdr::new(b"\0\x01\0\0\x02\0\0\0\xff\0").unwrap();
        assert_eq!(cdr.text(), Err(CdrError::Text));
    }
}
