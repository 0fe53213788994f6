//! What the tests of both simulated robots begin with.
#![allow(dead_code, unreachable_pub)] // Each test has a use for some of it.

use nooterra_policy::VerifiedPolicy;
use nooterra_protocol::command::StopProfile;
use nooterra_protocol::envelope::Signed;
use nooterra_protocol::geometry::Point;
use nooterra_protocol::ids::{PolicyId, RobotId};
use nooterra_protocol::keys::{Ed25519Key, Signer};
use nooterra_protocol::policy::{Footprint, Freshness, Latches, Limits, PolicyDocument, Vehicle};

pub fn robot() -> RobotId {
    RobotId::new("sim-1").unwrap()
}

pub fn rectangle(from: (f64, f64), to: (f64, f64)) -> Vec<Point> {
    [from, (to.0, from.1), to, (from.0, to.1)].map(|(x, y)| Point::new(x, y)).to_vec()
}

/// A base of 0.4 by 0.4 m without zones.
pub fn document() -> PolicyDocument {
    PolicyDocument {
        battery: None,
        footprint: Footprint { margin_m: 0.05, outline: rectangle((-0.2, -0.2), (0.2, 0.2)) },
        freshness: Freshness { command_ms: 300, journal_ms: 100, odometry_ms: 100 },
        id: PolicyId::new("hall").unwrap(),
        latches: Latches::default(),
        limits: Limits {
            max_angular_accel_radps2: 4.0,
            max_angular_radps: 1.5,
            max_decel_mps2: 0.8,
            max_lateral_accel_mps2: None,
            max_linear_accel_mps2: 0.6,
            max_linear_jerk_mps3: None,
            max_linear_mps: 0.8,
            max_reverse_mps: 0.3,
            reaction_ms: 100,
        },
        masks: Vec::new(),
        merged_from: Vec::new(),
        modes: Vec::new(),
        motion: None,
        privacy: Vec::new(),
        proximity: None,
        robot: robot(),
        stop: StopProfile::ControlledHold,
        vehicle: Vehicle::Differential,
        version: 1,
        zones: Vec::new(),
    }
}

pub fn verified(document: PolicyDocument) -> VerifiedPolicy {
    let owner = Ed25519Key::from_seed([7; 32]);
    let signed = Signed::sign(document, &owner).unwrap();
    VerifiedPolicy::verify(signed.bytes(), &owner.verifying_key(), &robot()).unwrap()
}

pub fn close(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found}, expected {expected} within {within}");
}
