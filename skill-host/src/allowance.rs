//! What a run may use of the ports in the long run.
//!
//! The budget of a step bounds what comes at once; a skill that uses up all of it in every step
//! would still fill a black box. Time here is the observations': the same run is allowed the
//! same when it is repeated.

use nooterra_protocol::time::MonoNanos;

/// Something that is allowed a number at once, and then one after each span.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    burst_ns: u64,
    cost_ns: u64,
    left_ns: u64,
}

impl Bucket {
    const fn new(burst: u64, cost_ns: u64) -> Self {
        let burst_ns = burst * cost_ns;
        Self { burst_ns, cost_ns, left_ns: burst_ns }
    }

    fn pass(&mut self, span_ns: u64) {
        self.left_ns = self.left_ns.saturating_add(span_ns).min(self.burst_ns);
    }

    /// Takes `units`, or nothing.
    fn take(&mut self, units: u64) -> bool {
        let left = units.checked_mul(self.cost_ns).and_then(|cost| self.left_ns.checked_sub(cost));
        if let Some(left) = left {
            self.left_ns = left;
        }
        left.is_some()
    }
}

/// One for each port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    assists: Bucket,
    checkpoints: Bucket,
    evidence_bytes: Bucket,
    frames: Bucket,
    last: Option<MonoNanos>,
    lines: Bucket,
}

impl Allowance {
    pub(crate) const fn new() -> Self {
        Self {
            assists: Bucket::new(3, 20_000_000_000),
            checkpoints: Bucket::new(64, 500_000_000),
            // 16 KiB a second.
            evidence_bytes: Bucket::new(1 << 20, 61_035),
            frames: Bucket::new(20, 200_000_000),
            last: None,
            lines: Bucket::new(128, 100_000_000),
        }
    }

    /// Nothing is left; it comes back with time.
    pub(crate) fn used_up(mut self) -> Self {
        for bucket in
            [&mut self.assists, &mut self.checkpoints, &mut self.evidence_bytes, &mut self.lines]
        {
            bucket.left_ns = 0;
        }
        self
    }

    /// The moment of the next step.
    pub(crate) fn pass(&mut self, at: MonoNanos) {
        let last = self.last.replace(at).unwrap_or(at);
        let span = at.0.saturating_sub(last.0);
        for bucket in [
            &mut self.assists,
            &mut self.checkpoints,
            &mut self.evidence_bytes,
            &mut self.frames,
            &mut self.lines,
        ] {
            bucket.pass(span);
        }
    }

    pub(crate) fn assist(&mut self) -> bool {
        self.assists.take(1)
    }

    pub(crate) fn checkpoint(&mut self) -> bool {
        self.checkpoints.take(1)
    }

    pub(crate) fn evidence(&mut self, bytes: usize) -> bool {
        // A piece costs at least as much as its record around it.
        self.evidence_bytes.take((bytes as u64).max(256))
    }

    pub(crate) fn frame(&mut self) -> bool {
        self.frames.take(1)
    }

    pub(crate) fn line(&mut self) -> bool {
        self.lines.take(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut allowance = Allowance::new();
        allowance.pass(MonoNanos(5));
        assert_eq!((0..200).filter(|_| allowance.line()).count(), 128);
        allowance.pass(MonoNanos(1_000_000_005));
        assert_eq!((0..200).filter(|_| allowance.line()).count(), 10);
        assert_eq!((0..9).filter(|_| allowance.assist()).count(), 3);
        allowance.pass(MonoNanos(u64::MAX));
        assert_eq!((0..9).filter(|_| allowance.assist()).count(), 3);
    }

    #[test]
    fn time_that_runs_backwards_allows_nothing_more() {
        let mut allowance = Allowance::new();
        allowance.pass(MonoNanos(u64::MAX));
        while allowance.checkpoint() {}
        allowance.pass(MonoNanos(0));
        assert!(!allowance.checkpoint());
    }

    #[test]
    fn evidence_counts_by_its_bytes() {
        let mut allowance = Allowance::new();
        assert_eq!((0..100).filter(|_| allowance.evidence(64 << 10)).count(), 16);
        assert!(!allowance.evidence(usize::MAX));
    }
}
