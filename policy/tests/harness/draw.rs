//! Values from bytes.

/// Bytes that are drawn from the front; behind their end there are zeros.
#[derive(Clone, Debug)]
pub struct Draw<'a>(pub &'a [u8]);

impl Draw<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn bits(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Less than `count`.
    pub fn below(&mut self, count: u16) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]) % count.max(1))
    }

    pub fn within(&mut self, least: f64, most: f64) -> f64 {
        let part = u32::from_le_bytes(std::array::from_fn(|_| self.byte()));
        least + (most - least) * (f64::from(part) / f64::from(u32::MAX))
    }

    /// A number as it comes: mostly such as robots have, and any bits at all.
    pub fn number(&mut self) -> f64 {
        const ODD: [f64; 9] = [
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            -1e300,
        ];
        match self.byte() % 6 {
            0 => f64::from_bits(self.bits()),
            1 => ODD[usize::from(self.byte()) % ODD.len()],
            _ => self.within(-3.0, 3.0),
        }
    }

    pub fn numbers<const COUNT: usize>(&mut self) -> [f64; COUNT] {
        std::array::from_fn(|_| self.number())
    }

    /// Each within the same bounds.
    pub fn all_within<const COUNT: usize>(&mut self, least: f64, most: f64) -> [f64; COUNT] {
        std::array::from_fn(|_| self.within(least, most))
    }
}
