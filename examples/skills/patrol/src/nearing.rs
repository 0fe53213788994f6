//! Whether a way leads anywhere: a robot that is held back for good should say so.

/// This much nearer counts as progress, metres.
const NEARER_M: f64 = 0.1;

/// Without progress for so long the way is given up, nanoseconds. Longer than an operator's
/// lease may last, who may lead the robot elsewhere meanwhile.
const PATIENCE_NS: u64 = 20_000_000_000;

/// The nearest so far, and since when.
#[derive(Default)]
pub struct Nearing(Option<(f64, u64)>);

impl Nearing {
    /// Forgets; for the next way.
    pub fn reset(&mut self) {
        self.0 = None;
    }

    /// Takes the distance that is left at a moment; true when it has long come no nearer.
    pub fn is_stuck(&mut self, left_m: f64, at_nanos: u64) -> bool {
        match &mut self.0 {
            Some((nearest, since)) if left_m > *nearest - NEARER_M => {
                at_nanos.saturating_sub(*since) >= PATIENCE_NS
            }
            nearest => {
                *nearest = Some((left_m, at_nanos));
                false
            }
        }
    }
}
