//! How regularly a control loop ticked, by the clock of its own readings.

use crate::truth::Truth;
use serde::Serialize;

/// A period longer than this many usual ones means that a tick was left out.
const LEFT_OUT: f64 = 1.5;

/// The ticks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Cadence {
    /// Periods so long that at least one tick was left out.
    pub(crate) left_out: usize,
    /// Ticks per second, over the whole run.
    pub(crate) mean_hz: f64,
    /// Half of the periods are shorter, ms.
    pub(crate) p50_ms: f64,
    /// 99 of 100 periods are shorter, ms.
    pub(crate) p99_ms: f64,
    /// Periods.
    pub(crate) periods: usize,
    /// The longest, ms.
    pub(crate) worst_ms: f64,
}

/// The cadence of the readings; none where there are fewer than two.
pub(crate) fn of(samples: &[Truth]) -> Option<Cadence> {
    let mut periods: Vec<u64> =
        samples.windows(2).map(|pair| pair[1].mono_ns.saturating_sub(pair[0].mono_ns)).collect();
    periods.sort_unstable();
    let (worst, count) = (*periods.last()?, periods.len());
    let total: u64 = periods.iter().sum();
    let p50 = periods[count / 2];
    Some(Cadence {
        left_out: periods.iter().filter(|&&ns| ns as f64 > LEFT_OUT * p50 as f64).count(),
        mean_hz: if total == 0 { 0.0 } else { count as f64 * 1e9 / total as f64 },
        p50_ms: millis(p50),
        p99_ms: millis(periods[count * 99 / 100]),
        periods: count,
        worst_ms: millis(worst),
    })
}

fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl std::fmt::Display for Cadence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} Hz; period p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {} of {} too long",
            self.mean_hz, self.p50_ms, self.p99_ms, self.worst_ms, self.left_out, self.periods
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_protocol::geometry::Pose;

    fn ticks(millis: &[u64]) -> Vec<Truth> {
        let truth = |ms: &u64| Truth {
            mono_ns: ms * 1_000_000,
            pose: Pose { x: 0.0, y: 0.0, yaw: 0.0 },
            linear_mps: 0.0,
            angular_radps: 0.0,
        };
        millis.iter().map(truth).collect()
    }

    #[test]
    fn a_tick_that_was_left_out_is_counted_and_is_the_longest() {
        let cadence = of(&ticks(&[0, 20, 40, 80, 100])).unwrap();
        assert_eq!((cadence.left_out, cadence.periods), (1, 4));
        assert!((cadence.worst_ms - 40.0).abs() < 1e-9);
        assert!((cadence.mean_hz - 40.0).abs() < 1e-9);
    }

    #[test]
    fn one_reading_has_no_cadence_and_equal_ones_divide_by_nothing() {
        assert_eq!(of(&ticks(&[7])), None);
        assert!(of(&ticks(&[7, 7])).unwrap().mean_hz.abs() < 1e-9);
    }
}
