//! The law of the vehicle in each of the document's modes.

use crate::law::Law;
use nooterra_protocol::policy::{Mode, PolicyDocument};

/// The law of the vehicle, by mode.
#[derive(Debug)]
pub(super) struct Laws {
    /// In each of the document's modes, then in the strictest of all.
    modes: Vec<Law>,
    /// Without a mode.
    pub(super) widest: Law,
}

impl Laws {
    pub(super) fn new(document: &PolicyDocument) -> Self {
        let widest = Law::new(document, None);
        let mut modes: Vec<Law> =
            document.modes.iter().map(|mode| Law::new(document, Some(mode))).collect();
        if let Some(strictest) = strictest(&document.modes) {
            modes.push(Law::new(document, Some(&strictest)));
        }
        Self { modes, widest }
    }

    /// The law that holds in a mode; the strictest for a mode that the document does not have.
    pub(super) fn in_mode(&self, mode: Option<u8>) -> &Law {
        let Some(mode) = mode else {
            return &self.widest;
        };
        self.modes.get(usize::from(mode)).or_else(|| self.modes.last()).unwrap_or(&self.widest)
    }
}

/// A mode with the tightest of each limit of all.
fn strictest(modes: &[Mode]) -> Option<Mode> {
    let (first, rest) = modes.split_first()?;
    let least = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Some(rest.iter().fold(first.clone(), |strict, mode| Mode {
        id: strict.id,
        max_angular_radps: least(strict.max_angular_radps, mode.max_angular_radps),
        max_decel_mps2: least(strict.max_decel_mps2, mode.max_decel_mps2),
        max_linear_accel_mps2: least(strict.max_linear_accel_mps2, mode.max_linear_accel_mps2),
        max_linear_mps: least(strict.max_linear_mps, mode.max_linear_mps),
    }))
}
