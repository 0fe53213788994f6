//! What the flight recorder is handed of each tick. Nothing here waits or allocates.

use nooterra_policy::Outcome;
use nooterra_protocol::command::{Asked, Command, Source};
use nooterra_protocol::flight::{
    FlightJoints, FlightScan, FlightTick, FlightVerdict, FlightVerdicts,
};
use nooterra_protocol::geometry::Twist;
use nooterra_protocol::observation::Observation;
use nooterra_protocol::time::MonoNanos;
use std::time::Duration;

/// What is known beside what was seen and decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) at: MonoNanos,
    pub(super) journal_age: Duration,
    /// The range sensor's data may be kept now.
    pub(super) keeps_scan: bool,
    pub(super) software_stop: bool,
    pub(super) stopped: bool,
    pub(super) tick: u64,
}

/// A tick that came to a decision.
pub(super) fn tick(around: &Around, seen: &Observation, outcome: &Outcome) -> FlightTick {
    let mut verdicts = FlightVerdicts::default();
    for verdict in outcome.verdicts.iter() {
        let (limit, rule, zone) = (verdict.limit, verdict.rule, verdict.zone);
        verdicts.push(FlightVerdict { limit, rule, zone });
    }
    let scan = seen.scan.as_ref().filter(|_| around.keeps_scan);
    FlightTick {
        allowed: outcome.allowed,
        asked: outcome.asked.into(),
        battery: seen.battery.map(|battery| battery.value.fraction),
        docked: seen.docked,
        emergency_stop: around.software_stop || seen.emergency_stop,
        joints: seen.joints.as_ref().map(FlightJoints::of),
        limit_mps: outcome.limit_mps,
        pose: Some((seen.pose.at, seen.pose.value)),
        scan: scan.map(|scan| FlightScan::of(scan.at, &scan.value)),
        source: outcome.source,
        twist: seen.twist.value,
        verdicts,
        ..unseen(around)
    }
}

/// A tick in which the robot could not be read.
pub(super) fn unseen(around: &Around) -> FlightTick {
    let stand = Command::Drive(Twist::ZERO);
    FlightTick {
        allowed: stand,
        asked: Asked::from(stand),
        at: around.at,
        battery: None,
        docked: false,
        emergency_stop: around.software_stop,
        joints: None,
        journal_ms: u32::try_from(around.journal_age.as_millis()).unwrap_or(u32::MAX),
        limit_mps: 0.0,
        pose: None,
        scan: None,
        source: Source::Idle,
        stopped: around.stopped,
        tick: around.tick,
        twist: Twist::ZERO,
        verdicts: FlightVerdicts::default(),
    }
}
